/**
 * Cedar expressions as a small tree, read from Cedar's JSON policy form.
 *
 * @module
 */
import type { EntityUid, HeadConstraint, Scope } from './types.ts'

export type Variable = 'principal' | 'action' | 'resource' | 'context'

export type Expression =
  | Readonly<{ op: 'literal'; value: boolean | number | string }>
  | Readonly<{ op: 'entity'; uid: EntityUid }>
  | Readonly<{ op: 'variable'; name: Variable }>
  | Readonly<{ op: 'unary'; name: '!' | 'neg' | 'isEmpty'; arg: Expression }>
  | Readonly<{ op: 'binary'; name: Binary; left: Expression; right: Expression }>
  | Readonly<{ op: 'attribute'; of: Expression; name: string }>
  | Readonly<{ op: 'has'; of: Expression; path: readonly string[] }>
  | Readonly<{ op: 'like'; of: Expression }>
  | Readonly<{ op: 'is'; of: Expression; type: string; in?: Expression }>
  | Readonly<{ op: 'if'; test: Expression; yes: Expression; no: Expression }>
  | Readonly<{ op: 'set'; items: readonly Expression[] }>
  | Readonly<{ op: 'record'; fields: readonly (readonly [string, Expression])[] }>
  | Readonly<{ op: 'call'; name: string; args: readonly Expression[] }>

const binaries = [
  '==', '!=', '<', '<=', '>', '>=', '&&', '||', '+', '-', '*', 'in',
  'contains', 'containsAll', 'containsAny', 'getTag', 'hasTag',
] as const // prettier-ignore
export type Binary = (typeof binaries)[number]

/** A policy as Cedar parsed it. */
export type ParsedPolicy = Readonly<{
  effect: 'permit' | 'forbid'
  scope: Scope
  conditions: readonly Readonly<{ kind: 'when' | 'unless'; body: Expression }>[]
  annotations: ReadonlyMap<string, string | undefined>
}>

type Node = Readonly<Record<string, unknown>>

/** @throws {TypeError} for a form that this version of Writ does not know, which is never skipped. */
export function readPolicy(json: unknown): ParsedPolicy {
  const policy = node(json)
  const effect = policy['effect']
  if (effect !== 'permit' && effect !== 'forbid') throw new TypeError(`unknown effect ${String(effect)}`)
  return {
    effect,
    scope: {
      principal: readHead(node(policy['principal'])),
      action: readActionHead(node(policy['action'])),
      resource: readHead(node(policy['resource'])),
    },
    conditions: list(policy['conditions']).map((entry) => {
      const { kind, body } = node(entry)
      if (kind !== 'when' && kind !== 'unless') throw new TypeError(`unknown condition ${String(kind)}`)
      return { kind, body: readExpression(body) }
    }),
    annotations: new Map(
      Object.entries(node(policy['annotations'] ?? {})).map(([name, value]) => [
        name,
        typeof value === 'string' ? value : undefined,
      ]),
    ),
  }
}

function readHead(head: Node): HeadConstraint {
  switch (head['op']) {
    case 'All':
      return {}
    case '==':
      return { eq: readUid(head['entity']) }
    case 'in':
      return { in: readUid(head['entity']) }
    case 'is': {
      const type = text(head['entity_type'])
      return head['in'] === undefined ? { is: type } : { is: type, in: readUid(node(head['in'])['entity']) }
    }
    default:
      throw new TypeError(`unknown head ${String(head['op'])}`)
  }
}

function readActionHead(head: Node): Scope['action'] {
  switch (head['op']) {
    case 'All':
      return { any: true }
    case '==':
      return { any: false, exact: true, oneOf: [readUid(head['entity'])] }
    case 'in': {
      const named = head['entities'] === undefined ? [head['entity']] : list(head['entities'])
      return { any: false, exact: false, oneOf: named.map(readUid) }
    }
    default:
      throw new TypeError(`unknown action head ${String(head['op'])}`)
  }
}

function readExpression(json: unknown): Expression {
  const entries = Object.entries(node(json))
  const [name, body] = entries[0] ?? []
  if (entries.length !== 1 || name === undefined) throw new TypeError('unknown expression')
  switch (name) {
    case 'Value':
      return readValue(body)
    case 'Var':
      return { op: 'variable', name: body as Variable }
    case '!':
    case 'neg':
    case 'isEmpty':
      return { op: 'unary', name, arg: readExpression(node(body)['arg']) }
    case '.':
      return { op: 'attribute', of: readExpression(node(body)['left']), name: text(node(body)['attr']) }
    case 'has': {
      const { left, attr } = node(body)
      return {
        op: 'has',
        of: readExpression(left),
        path: typeof attr === 'string' ? [attr] : list(attr).map(text),
      }
    }
    case 'like':
      return { op: 'like', of: readExpression(node(body)['left']) }
    case 'is': {
      const { left, entity_type: type, in: below } = node(body)
      const plain = { op: 'is', of: readExpression(left), type: text(type) } as const
      return below === undefined ? plain : { ...plain, in: readExpression(below) }
    }
    case 'if-then-else': {
      const { if: test, then: yes, else: no } = node(body)
      return { op: 'if', test: readExpression(test), yes: readExpression(yes), no: readExpression(no) }
    }
    case 'Set':
      return { op: 'set', items: list(body).map(readExpression) }
    case 'Record':
      return {
        op: 'record',
        fields: Object.entries(node(body)).map(([key, value]) => [key, readExpression(value)]),
      }
    default:
      if ((binaries as readonly string[]).includes(name)) {
        const { left, right } = node(body)
        return {
          op: 'binary',
          name: name as Binary,
          left: readExpression(left),
          right: readExpression(right),
        }
      }
      if (Array.isArray(body)) return { op: 'call', name, args: body.map(readExpression) }
      throw new TypeError(`unknown expression ${name}`)
  }
}

function readValue(value: unknown): Expression {
  if (typeof value === 'boolean' || typeof value === 'number' || typeof value === 'string')
    return { op: 'literal', value }
  if (typeof value === 'bigint') return { op: 'literal', value: Number(value) }
  if (Array.isArray(value)) return { op: 'set', items: value.map(readValue) }
  const members = node(value)
  if (members['__entity'] !== undefined) return { op: 'entity', uid: readUid(members['__entity']) }
  if (members['__extn'] !== undefined) {
    const { fn, arg, args } = node(members['__extn'])
    return { op: 'call', name: text(fn), args: (args === undefined ? [arg] : list(args)).map(readValue) }
  }
  return { op: 'record', fields: Object.entries(members).map(([key, member]) => [key, readValue(member)]) }
}

function readUid(json: unknown): EntityUid {
  const outer = node(json)
  const { type, id } = outer['__entity'] === undefined ? outer : node(outer['__entity'])
  return { type: text(type), id: text(id) }
}

function node(value: unknown): Node {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new TypeError('expected an object')
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

/** The direct parts of an expression. */
export function children(expression: Expression): readonly Expression[] {
  switch (expression.op) {
    case 'literal':
    case 'entity':
    case 'variable':
      return []
    case 'unary':
      return [expression.arg]
    case 'binary':
      return [expression.left, expression.right]
    case 'attribute':
    case 'has':
    case 'like':
      return [expression.of]
    case 'is':
      return expression.in === undefined ? [expression.of] : [expression.of, expression.in]
    case 'if':
      return [expression.test, expression.yes, expression.no]
    case 'set':
      return expression.items
    case 'record':
      return expression.fields.map(([, value]) => value)
    case 'call':
      return expression.args
  }
}

/** `context.a.b` as its root and names; `undefined` for anything else. */
export type Chain = Readonly<{ root: Variable | EntityUid; names: readonly string[] }>

export function chainOf(expression: Expression): Chain | undefined {
  const names: string[] = []
  let at = expression
  while (at.op === 'attribute') {
    names.push(at.name)
    at = at.of
  }
  names.reverse()
  if (at.op === 'variable') return { root: at.name, names }
  if (at.op === 'entity') return { root: at.uid, names }
  return undefined
}

/** Every expression of a tree, parents first. */
export function* walk(expression: Expression): Generator<Expression> {
  const open = [expression]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    yield next
    const parts = children(next)
    for (let at = parts.length - 1; at >= 0; at--) open.push(parts[at] as Expression)
  }
}
