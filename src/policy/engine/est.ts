/**
 * Cedar's JSON policy form, read into trees. The reference wrote or accepted it, so only what the language cannot say is
 * refused here.
 *
 * @module
 */
import type { ActionHead, Binary, Expr, Head, Pattern, Policy, Slot, Variable } from './tree.ts'
import { binaries, chain, pattern } from './tree.ts'
import { EntityRef, toLong } from './values.ts'

type Node = Readonly<Record<string, unknown>>

/** @throws {TypeError} for a form that is not known here, which is never skipped. */
export function readPolicy(json: unknown): Policy {
  const policy = node(json)
  const effect = policy['effect']
  if (effect !== 'permit' && effect !== 'forbid') throw new TypeError(`unknown effect \`${String(effect)}\``)
  return {
    effect,
    principal: readHead(node(policy['principal'])),
    action: readActionHead(node(policy['action'])),
    resource: readHead(node(policy['resource'])),
    conditions: list(policy['conditions']).map((entry) => {
      const { kind, body } = node(entry)
      if (kind !== 'when' && kind !== 'unless') throw new TypeError(`unknown condition \`${String(kind)}\``)
      return { kind, body: expression(body) }
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
      const below =
        head['in'] === undefined || head['in'] === null ? undefined : entityOrSlot(node(head['in']))
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

function expression(json: unknown): Expr {
  const entries = Object.entries(node(json))
  const [name, body] = entries[0] ?? []
  if (entries.length !== 1 || name === undefined) throw new TypeError('unknown expression')
  switch (name) {
    case 'Value':
      return readValue(body)
    case 'Var':
      return { op: 'variable', name: text(body) as Variable }
    case '!':
      return { op: 'not', arg: expression(node(body)['arg']) }
    case 'neg':
    case 'isEmpty':
      return { op: name, arg: expression(node(body)['arg']) }
    case '&&':
    case '||':
      return readChain(name, body)
    case '.':
      return { op: 'attribute', of: expression(node(body)['left']), name: text(node(body)['attr']) }
    case 'has': {
      const { left, attr } = node(body)
      const path = typeof attr === 'string' ? [attr] : list(attr).map(text)
      return { op: 'has', of: expression(left), path }
    }
    case 'like': {
      const { left, pattern: parts } = node(body)
      return { op: 'like', of: expression(left), pattern: readPattern(parts) }
    }
    case 'is': {
      const { left, entity_type: type, in: below } = node(body)
      const outer = below === undefined || below === null ? undefined : expression(below)
      return { op: 'is', of: expression(left), type: text(type), in: outer }
    }
    case 'if-then-else': {
      const { if: test, then: yes, else: no } = node(body)
      return {
        op: 'if',
        test: expression(test),
        yes: expression(yes),
        no: expression(no),
      }
    }
    case 'Set':
      return { op: 'set', items: list(body).map((item) => expression(item)) }
    case 'Record':
      return {
        op: 'record',
        fields: Object.entries(node(body)).map(([key, value]) => [key, expression(value)]),
      }
    default:
      if ((binaries as readonly string[]).includes(name)) {
        const { left, right } = node(body)
        return {
          op: 'binary',
          name: name as Binary,
          left: expression(left),
          right: expression(right),
        }
      }
      if (!Array.isArray(body)) throw new TypeError(`unknown expression \`${name}\``)
      return { op: 'call', name, args: body.map((arg) => expression(arg)) }
  }
}

/** Down the left side without recursion: that is how long chains are nested. */
function readChain(name: '&&' | '||', json: unknown): Expr {
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
    right.toReversed().map((item) => expression(item)),
  )
}

function readValue(value: unknown): Expr {
  switch (typeof value) {
    case 'boolean':
      return { op: 'literal', value }
    case 'number':
      if (!Number.isSafeInteger(value)) throw new RangeError(`the number ${value} is not exact`)
      return { op: 'literal', value: value + 0 }
    case 'string':
      return { op: 'literal', value }
    case 'bigint': {
      const long = toLong(value)
      if (long === undefined) throw new RangeError('an integer has more than 64 bits')
      return { op: 'literal', value: long }
    }
    default:
      break
  }
  if (Array.isArray(value)) return { op: 'set', items: value.map((item) => readValue(item)) }
  const members = node(value)
  const keys = Object.keys(members)
  if (keys.length === 1 && keys[0] === '__entity') return { op: 'literal', value: readUid(members) }
  if (keys.length === 1 && keys[0] === '__extn') {
    const { fn, arg, args } = node(members['__extn'])
    const given = args === undefined ? [arg] : list(args)
    return { op: 'call', name: text(fn), args: given.map((one) => readValue(one)) }
  }
  return { op: 'record', fields: Object.entries(members).map(([key, member]) => [key, readValue(member)]) }
}

function readPattern(parts: unknown): Pattern {
  return pattern(list(parts).map((part) => (part === 'Wildcard' ? null : text(node(part)['Literal']))))
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
