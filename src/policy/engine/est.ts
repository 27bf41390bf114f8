/**
 * Cedar's JSON policy form, read into trees. The reference wrote or accepted it, so only what the language cannot say is
 * refused here.
 *
 * @module
 */
import type { ActionHead, Binary, Expr, Head, Pattern, Policy, Slot, Variable } from './tree.ts'
import { binaries, chain, pattern } from './tree.ts'
import type { Long } from './values.ts'
import { EntityRef } from './values.ts'

type Node = Readonly<Record<string, unknown>>

/** The exact integer that a text stands for in the form, if it is such a text: JSON numbers beyond 2^53 are not exact. */
export type Marked = (text: string) => Long | undefined

/** @throws {TypeError} for a form that is not known here, which is never skipped. */
export function readPolicy(json: unknown, marked: Marked = () => undefined): Policy {
  const policy = node(json)
  const effect = policy['effect']
  if (effect !== 'permit' && effect !== 'forbid') throw new TypeError(`unknown effect \`${String(effect)}\``)
  const reader = new Reader(marked)
  return {
    effect,
    principal: readHead(node(policy['principal'])),
    action: readActionHead(node(policy['action'])),
    resource: readHead(node(policy['resource'])),
    conditions: list(policy['conditions']).map((entry) => {
      const { kind, body } = node(entry)
      if (kind !== 'when' && kind !== 'unless') throw new TypeError(`unknown condition \`${String(kind)}\``)
      return { kind, body: reader.expression(body) }
    }),
  }
}

function readHead(head: Node): Head {
  switch (head['op']) {
    case 'All':
      return { eq: undefined, is: undefined, in: undefined }
    case '==':
      return { eq: entityOrSlot(head), is: undefined, in: undefined }
    case 'in':
      return { eq: undefined, is: undefined, in: entityOrSlot(head) }
    case 'is': {
      const below = head['in'] === undefined || head['in'] === null ? undefined : entityOrSlot(node(head['in']))
      return { eq: undefined, is: text(head['entity_type']), in: below }
    }
    default:
      throw new TypeError(`unknown head \`${String(head['op'])}\``)
  }
}

function entityOrSlot(head: Node): EntityRef | Slot {
  const slot = head['slot']
  if (slot === '?principal' || slot === '?resource') return slot
  return readUid(head['entity'])
}

function readActionHead(head: Node): ActionHead {
  switch (head['op']) {
    case 'All':
      return { eq: undefined, in: undefined }
    case '==':
      return { eq: readUid(head['entity']), in: undefined }
    case 'in': {
      const named = head['entities'] === undefined ? [head['entity']] : list(head['entities'])
      return { eq: undefined, in: named.map(readUid) }
    }
    default:
      throw new TypeError(`unknown head \`${String(head['op'])}\``)
  }
}

class Reader {
  readonly #marked: Marked

  constructor(marked: Marked) {
    this.#marked = marked
  }

  expression(json: unknown): Expr {
    const entries = Object.entries(node(json))
    const [name, body] = entries[0] ?? []
    if (entries.length !== 1 || name === undefined) throw new TypeError('unknown expression')
    switch (name) {
      case 'Value':
        return this.value(body)
      case 'Var':
        return { op: 'variable', name: text(body) as Variable }
      case '!':
        return { op: 'not', arg: this.expression(node(body)['arg']) }
      case 'neg': {
        const arg = this.expression(node(body)['arg'])
        return this.#negative(arg) ?? { op: 'neg', arg }
      }
      case 'isEmpty':
        return { op: name, arg: this.expression(node(body)['arg']) }
      case '&&':
      case '||':
        return this.#chain(name, body)
      case '.':
        return { op: 'attribute', of: this.expression(node(body)['left']), name: text(node(body)['attr']) }
      case 'has': {
        const { left, attr } = node(body)
        const path = typeof attr === 'string' ? [attr] : list(attr).map(text)
        return { op: 'has', of: this.expression(left), path }
      }
      case 'like': {
        const { left, pattern: parts } = node(body)
        return { op: 'like', of: this.expression(left), pattern: readPattern(parts) }
      }
      case 'is': {
        const { left, entity_type: type, in: below } = node(body)
        const outer = below === undefined || below === null ? undefined : this.expression(below)
        return { op: 'is', of: this.expression(left), type: text(type), in: outer }
      }
      case 'if-then-else': {
        const { if: test, then: yes, else: no } = node(body)
        return {
          op: 'if',
          test: this.expression(test),
          yes: this.expression(yes),
          no: this.expression(no),
        }
      }
      case 'Set':
        return { op: 'set', items: list(body).map((item) => this.expression(item)) }
      case 'Record':
        return {
          op: 'record',
          fields: Object.entries(node(body)).map(([key, value]) => [key, this.expression(value)]),
        }
      default:
        if ((binaries as readonly string[]).includes(name)) {
          const { left, right } = node(body)
          return {
            op: 'binary',
            name: name as Binary,
            left: this.expression(left),
            right: this.expression(right),
          }
        }
        if (!Array.isArray(body)) throw new TypeError(`unknown expression \`${name}\``)
        return { op: 'call', name, args: body.map((arg) => this.expression(arg)) }
    }
  }

  /** Down the left side without recursion: that is how long chains are nested. */
  #chain(name: '&&' | '||', json: unknown): Expr {
    const right: unknown[] = []
    let left = json
    for (;;) {
      const body = node(left)
      right.push(body['right'])
      const inner = node(body['left'])
      if (inner[name] === undefined) {
        right.push(inner)
        break
      }
      left = inner[name]
    }
    return chain(
      name === '&&' ? 'and' : 'or',
      right.toReversed().map((item) => this.expression(item)),
    )
  }

  /** `-9223372036854775808` is one literal, though its digits alone are none. */
  #negative(arg: Expr): Expr | undefined {
    return arg.op === 'literal' && arg.value === 2n ** 63n ? { op: 'literal', value: -(2n ** 63n) } : undefined
  }

  value(value: unknown): Expr {
    switch (typeof value) {
      case 'boolean':
        return { op: 'literal', value }
      case 'number':
        if (!Number.isSafeInteger(value)) throw new RangeError(`the number ${value} is not exact`)
        return { op: 'literal', value: value + 0 }
      case 'string':
        return { op: 'literal', value: this.#marked(value) ?? value }
      default:
        break
    }
    if (Array.isArray(value)) return { op: 'set', items: value.map((item) => this.value(item)) }
    const members = node(value)
    const keys = Object.keys(members)
    if (keys.length === 1 && keys[0] === '__entity') return { op: 'literal', value: readUid(members) }
    if (keys.length === 1 && keys[0] === '__extn') {
      const { fn, arg, args } = node(members['__extn'])
      const given = args === undefined ? [arg] : list(args)
      return { op: 'call', name: text(fn), args: given.map((one) => this.value(one)) }
    }
    return { op: 'record', fields: Object.entries(members).map(([key, member]) => [key, this.value(member)]) }
  }
}

function readPattern(parts: unknown): Pattern {
  return pattern(
    list(parts).map((part) => (part === 'Wildcard' ? null : text(node(part)['Literal']))),
  )
}

export function readUid(json: unknown): EntityRef {
  const outer = node(json)
  const { type, id } = outer['__entity'] === undefined ? outer : node(outer['__entity'])
  return new EntityRef(text(type), text(id))
}

function node(value: unknown): Node {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TypeError('expected an object')
  }
  return value as Node
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new TypeError('expected a list')
  return value
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('expected a string')
  return value
}
