/**
 * Policies as text, in one of the many ways in which the same policy may be written.
 *
 * @module
 */
import type { Choices } from './cases.ts'

type Node = Readonly<Record<string, unknown>>

/** What operators of the form may have. */
type Parts = Readonly<{
  left: Node
  right: Node
  arg: Node
  attr: string | readonly string[]
  pattern: readonly (string | Node)[]
  entity_type: string
  in?: Node
  if: Node
  then: Node
  else: Node
}>

type Form = Readonly<{
  effect: string
  principal: Node
  action: Node
  resource: Node
  conditions: readonly Readonly<{ kind: string; body: Node }>[]
}>

/** Binding strength of what stands at a place; an operand that binds less is put in brackets. */
const IF = 0
const OR = 1
const AND = 2
const RELATION = 3
const SUM = 4
const PRODUCT = 5
const UNARY = 6
const MEMBER = 7

const METHODS = ['contains', 'containsAll', 'containsAny', 'getTag', 'hasTag']
const FUNCTIONS = ['ip', 'decimal', 'datetime', 'duration']

export class Printer {
  readonly #c: Choices

  constructor(choices: Choices) {
    this.#c = choices
  }

  policy(policy: Node): string {
    const { effect, principal, action, resource, conditions } = policy as Form
    const note = this.#c.once(4) ? `@id("x;\\"}")${this.#gap()}@flag ` : ''
    const clauses = conditions.map(
      ({ kind, body }) =>
        `${this.#gap()}${kind}${this.#gap()}{${this.#gap()}${this.#expr(body, IF)}${this.#gap()}}`,
    )
    const heads = [this.#head('principal', principal), this.#action(action), this.#head('resource', resource)]
    return `${note}${effect}${this.#gap()}(${heads.join(`${this.#gap()},${this.#gap()}`)})${clauses.join('')}${this.#gap()};`
  }

  #gap(): string {
    return this.#c.pick(['', '', ' ', '\n', '\t', ' // it\'s "; {\n', '//;\r\n', '//\r', '\u{a0}'])
  }

  #head(name: string, { op, entity, slot, entity_type: type, in: below }: Node): string {
    const target = (of: Node): string =>
      of['slot'] === undefined ? this.#uid(of['entity'] as Node) : (of['slot'] as string)
    switch (op) {
      case 'All':
        return name
      case 'is':
        return `${name} is ${String(type)}${below === undefined ? '' : ` in ${target(below as Node)}`}`
      default:
        return `${name} ${String(op)} ${target({ entity, slot })}`
    }
  }

  #action({ op, entity, entities }: Node): string {
    if (op === 'All') return 'action'
    if (entities === undefined) return `action ${String(op)} ${this.#uid(entity as Node)}`
    return `action in [${(entities as Node[]).map((one) => this.#uid(one)).join(', ')}]`
  }

  #uid({ type, id }: Node): string {
    return `${String(type).replaceAll('::', `${this.#gap()}::${this.#gap()}`)}${this.#gap()}::${this.#string(String(id))}`
  }

  #string(text: string, star = false): string {
    const characters = Array.from(text, (one) => {
      if (one === '*' && star) return '\\*'
      if (one === '"' || one === '\\') return `\\${one}`
      if (one === '\0') return '\\0'
      const point = (one.codePointAt(0) as number).toString(16)
      if (this.#c.once(8))
        return this.#c.once(3) && point.length > 1 ? `\\u{${point[0]}_${point.slice(1)}}` : `\\u{${point}}`
      if (one === '\n') return this.#c.once(2) ? '\\n' : one
      return one
    })
    return `"${characters.join('')}"`
  }

  #list(items: readonly string[]): string {
    return items.map((item) => `${this.#gap()}${item}`).join(`${this.#gap()},`)
  }

  #expr(json: Node, place: number): string {
    const [text, strength] = this.#plain(json)
    return strength < place || this.#c.once(6) ? `(${this.#gap()}${text}${this.#gap()})` : text
  }

  #plain(json: Node): [string, number] {
    const [operator, body] = Object.entries(json)[0] as [string, unknown]
    const parts = body as Parts
    const { left, right, arg, attr } = parts
    const infix = (at: number, l: number, r: number): [string, number] => [
      `${this.#expr(left, l)} ${this.#gap()}${operator}${this.#gap()} ${this.#expr(right, r)}`,
      at,
    ]
    switch (operator) {
      case 'Value':
        return this.#value(body)
      case 'Var':
        return [body as string, MEMBER]
      case '||':
        return infix(OR, OR, AND)
      case '&&':
        return infix(AND, AND, RELATION)
      case '==':
      case '!=':
      case '<':
      case '<=':
      case '>':
      case '>=':
      case 'in':
        return infix(RELATION, SUM, SUM)
      case '+':
      case '-':
        return infix(SUM, SUM, PRODUCT)
      case '*':
        return infix(PRODUCT, PRODUCT, UNARY)
      case '!':
        return [`!${this.#gap()}${this.#expr(arg, MEMBER)}`, UNARY]
      case 'neg':
        // a number would become part of it
        return [
          `-${this.#gap()}${'Value' in arg ? `(${this.#expr(arg, IF)})` : this.#expr(arg, MEMBER)}`,
          UNARY,
        ]
      case 'if-then-else': {
        const { if: test, then: yes, else: no } = parts
        return [`if ${this.#expr(test, IF)} then ${this.#expr(yes, IF)} else ${this.#expr(no, IF)}`, IF]
      }
      case 'has': {
        const path = typeof attr === 'string' ? this.#key(attr) : attr.join('.')
        return [`${this.#expr(left, SUM)} has ${path}`, RELATION]
      }
      case 'like': {
        const pieces = parts.pattern.map((part) =>
          typeof part === 'string'
            ? this.#c.pick(['*', '*', '\\u{2a}', '\\x2A'])
            : this.#string(String(part['Literal']), true).slice(1, -1),
        )
        return [`${this.#expr(left, SUM)} like "${pieces.join('')}"`, RELATION]
      }
      case 'is': {
        const below = parts.in === undefined ? '' : ` in ${this.#expr(parts.in, SUM)}`
        return [`${this.#expr(left, SUM)} is ${parts.entity_type}${below}`, RELATION]
      }
      case '.':
        return this.#c.once(2) && isIdentifier(attr as string)
          ? [`${this.#expr(left, MEMBER)}${this.#gap()}.${this.#gap()}${attr as string}`, MEMBER]
          : [`${this.#expr(left, MEMBER)}[${this.#string(attr as string)}]`, MEMBER]
      case 'Set':
        return [`[${this.#list((body as Node[]).map((item) => this.#expr(item, IF)))}${this.#gap()}]`, MEMBER]
      case 'Record': {
        const fields = Object.entries(body as Readonly<Record<string, Node>>)
        return [
          `{${this.#list(fields.map(([key, value]) => `${this.#key(key)}${this.#gap()}:${this.#expr(value, IF)}`))}}`,
          MEMBER,
        ]
      }
      case 'isEmpty':
        return [`${this.#expr(arg, MEMBER)}.isEmpty()`, MEMBER]
      default:
        if (METHODS.includes(operator))
          return [`${this.#expr(left, MEMBER)}.${operator}(${this.#expr(right, IF)})`, MEMBER]
        return this.#call(operator, body as Node[])
    }
  }

  #call(operator: string, args: readonly Node[]): [string, number] {
    if (FUNCTIONS.includes(operator))
      return [`${operator}(${args.map((one) => this.#expr(one, IF)).join(', ')})`, MEMBER]
    const [of, ...rest] = args as [Node, ...Node[]]
    return [
      `${this.#expr(of, MEMBER)}.${operator}(${this.#list(rest.map((one) => this.#expr(one, IF)))})`,
      MEMBER,
    ]
  }

  #key(key: string): string {
    return this.#c.once(2) && isIdentifier(key) ? key : this.#string(key)
  }

  #value(value: unknown): [string, number] {
    if (typeof value === 'string') return [this.#string(value), MEMBER]
    if (Array.isArray(value)) return this.#plain({ Set: value.map((one: unknown) => ({ Value: one })) })
    if (typeof value === 'object' && value !== null) return this.#members(value as Node)
    return [`${value as number}`, typeof value !== 'boolean' && (value as number) < 0 ? UNARY : MEMBER]
  }

  #members(value: Node): [string, number] {
    const { __entity: name, __extn: call } = value
    if (name !== undefined) return [this.#uid(name as Node), MEMBER]
    if (call === undefined) {
      const fields = Object.entries(value).map(([key, one]) => [key, { Value: one }])
      return this.#plain({ Record: Object.fromEntries(fields) as Node })
    }
    const { fn, arg, args } = call as Readonly<{ fn: string; arg?: unknown; args?: readonly unknown[] }>
    return this.#plain({ [fn]: (args ?? [arg]).map((one) => ({ Value: one })) })
  }
}

function isIdentifier(name: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && name !== 'if'
}
