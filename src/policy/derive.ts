/**
 * A schema for those who wrote none: entity types and attributes from the inventory, actions and context keys from the
 * policies. Whatever cannot be told is a problem: nothing runs unvalidated.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import type { SchemaType } from './facts.ts'
import { facts } from './facts.ts'
import type { Expr, Policy } from './engine/tree.ts'
import { accessOf, namedEntity, walk } from './engine/tree.ts'
import type { Problem, SourceFile, Span } from './problems.ts'
import { closest, SourceFile as File } from './problems.ts'
import { pathIn } from './scan.ts'
import type { NamespaceJson, ResolvedSchema } from './schema.ts'
import { builtins, injectedNames, reservedKeys } from './schema.ts'
import { namesWrit } from './scope.ts'
import { entityValue, isName } from './typing.ts'
import type { EntityData, EntityUid, HeadConstraint, Scope } from './types.ts'
import { uidText } from './types.ts'

/** A parsed policy with its place: spans of `tree` are offsets in `file`. */
export type PlacedPolicy = Readonly<{ file: SourceFile; slice: Span; tree: Policy; scope: Scope }>

type Attribute = { type: SchemaType; count: number }
type EntityDraft = {
  parents: Set<string>
  attributes: Map<string, Attribute>
  count: number
  registered: boolean
}

/** What is known of one context key. */
type Draft = { type?: SchemaType; at: Place; tested: boolean; fields?: Map<string, Draft> }
type Place = Readonly<{ file: SourceFile; span: Span }>

const inventoryFile = new File('inventory', '')

/** Entities and policies looked at between two places to pause. */
const BREATH = 50

export function* deriveSteps(
  policies: readonly PlacedPolicy[],
  inventory: readonly EntityData[],
): Generator<undefined, { schema: ResolvedSchema; problems: Problem[] }, undefined> {
  const problems: Problem[] = []
  const types = yield* entityTypes(policies, inventory, problems)
  const actions = new Map<
    string,
    { uid: EntityUid; principals: Set<string>; resources: Set<string>; context: Map<string, Draft> }
  >()
  const ordinary = policies.filter(({ scope }) => !isOnlyWrit(scope))
  for (const [index, policy] of ordinary.entries()) {
    if (index % BREATH === 0) yield
    for (const uid of namedActions(policy)) {
      actions.set(uidText(uid), { uid, principals: new Set(), resources: new Set(), context: new Map() })
    }
  }
  const [first] = ordinary
  if (first !== undefined && actions.size === 0) {
    problems.push(
      first.file.problem('P020', first.slice, 'no policy names an action', {
        hint: 'name one, e.g. `action == Action::"read"`, or write a schema',
      }),
    )
  }
  for (const [index, policy] of ordinary.entries()) {
    if (index % BREATH === 0) yield
    const { scope } = policy
    const oneOf = scope.action.any ? undefined : new Set(scope.action.oneOf.map(uidText))
    for (const key of oneOf ?? actions.keys()) {
      const action = actions.get(key)
      if (action === undefined) continue
      const named = oneOf !== undefined
      if (named) {
        for (const type of typesOf(scope.principal, types, true)) action.principals.add(type)
        for (const type of typesOf(scope.resource, types, false)) action.resources.add(type)
      }
      contextKeys(policy, types, action.context, problems)
    }
  }
  const schema: ResolvedSchema = Object.create(null) as ResolvedSchema
  const space = (full: string): [NamespaceJson, string] => {
    const cut = full.lastIndexOf('::')
    const name = cut === -1 ? '' : full.slice(0, cut)
    return [(schema[name] ??= { entityTypes: {}, actions: {} }), cut === -1 ? full : full.slice(cut + 2)]
  }
  for (const [name, { parents, attributes, count }] of types) {
    const [namespace, short] = space(name)
    namespace.entityTypes[short] = {
      ...(parents.size === 0 ? {} : { memberOfTypes: [...parents].sort() }),
      shape: {
        type: 'Record',
        attributes: Object.fromEntries(
          [...attributes].map(([key, { type, count: seen }]) => [
            key,
            seen < count ? { ...type, required: false } : type,
          ]),
        ),
      },
    }
  }
  for (const { uid, principals, resources, context } of actions.values()) {
    const [namespace] = space(uid.type)
    namespace.actions[uid.id] = {
      appliesTo: {
        principalTypes: [...(principals.size > 0 ? principals : typesOf({}, types, true))].sort(),
        resourceTypes: [...(resources.size > 0 ? resources : typesOf({}, types, false))].sort(),
        context: recordOf(context, ['context'], uid, problems),
      },
    }
  }
  return { schema, problems }
}

const isAction = (uid: EntityUid): boolean => uid.type === 'Action' || uid.type.endsWith('::Action')
const isWrit = (type: string): boolean => type.startsWith('Writ::')
/** Governs nothing but Writ's own actions, whose context is fixed. */
const isOnlyWrit = ({ action }: Scope): boolean =>
  namesWrit(action) && !action.any && action.oneOf.every((uid) => isWrit(uid.type))

function namedActions({ scope, tree }: PlacedPolicy): EntityUid[] {
  const inBody = tree.conditions.flatMap(({ body }) =>
    [...walk(body)].flatMap((part): EntityUid[] => {
      const named = namedEntity(part)
      return named === undefined ? [] : [{ type: named.type, id: named.id }]
    }),
  )
  return [...(scope.action.any ? [] : scope.action.oneOf), ...inBody].filter(
    (uid) => isAction(uid) && !isWrit(uid.type),
  )
}

function* entityTypes(
  policies: readonly PlacedPolicy[],
  inventory: readonly EntityData[],
  problems: Problem[],
): Generator<undefined, Map<string, EntityDraft>, undefined> {
  const types = new Map<string, EntityDraft>()
  const draft = (name: string, registered: boolean): EntityDraft => {
    let known = types.get(name)
    if (known === undefined) {
      known = {
        parents: new Set(Object.hasOwn(builtins, name) ? builtins[name] : []),
        attributes: new Map(),
        count: 0,
        registered,
      }
      types.set(name, known)
    }
    known.registered ||= registered
    return known
  }
  for (const name of Object.keys(builtins)) draft(name, true)
  const usable = inventory.filter(({ uid }) => {
    if (isWrit(uid.type)) return false
    if (isName(uid)) return true
    const message = `\`${uid.type}\` cannot be an entity type`
    const hint = 'use letters, digits and `_`, e.g. `ServiceAccount`'
    problems.push(inventoryFile.problem('P021', { start: 0, end: 0 }, message, { hint }))
    return false
  })
  for (const [index, { uid, parents }] of usable.entries()) {
    if (index % BREATH === 0) yield
    draft(uid.type, true).count++
    for (const parent of parents) {
      if (isWrit(parent.type) || !isName(parent)) continue
      draft(parent.type, true)
      draft(uid.type, true).parents.add(parent.type)
    }
  }
  for (const [index, policy] of policies.entries()) {
    if (index % BREATH === 0) yield
    for (const [type, name] of typesNamed(policy)) {
      if (types.has(type) || isWrit(type)) continue
      const meant = closest(
        type,
        [...types].filter(([, known]) => known.registered).map(([known]) => known),
      )
      if (meant !== undefined) {
        const span = pathIn(policy.file, policy.slice, [name]) ?? policy.slice
        const hint = `did you mean \`${meant}\`?`
        problems.push(policy.file.problem('P008', span, `unknown entity type \`${type}\``, { hint }))
        continue
      }
      // Nobody registered one yet; its members may stand in any group.
      for (const parent of ['Group', 'Role']) draft(type, false).parents.add(parent)
    }
  }
  for (const [index, { uid, attrs }] of usable.entries()) {
    if (index % BREATH === 0) yield
    for (const [name, value] of Object.entries(attrs)) {
      if (value === undefined || value === null || injectedNames.has(name)) continue
      const { attributes } = draft(uid.type, true)
      const type = valueType(value, types)
      const before = attributes.get(name)
      const merged =
        type === undefined ? undefined : before === undefined ? type : mergeTypes(before.type, type)
      if (merged === undefined) {
        const where = `\`${name}\` of \`${uidText(uid)}\``
        const message =
          type === undefined ? `${where} has no Cedar type` : `${where} has another type than before`
        const hint =
          'use whole numbers, text, true or false, lists and records of these, the same for every entity of a type; or write a schema'
        problems.push(
          inventoryFile.problem(type === undefined ? 'P016' : 'P017', { start: 0, end: 0 }, message, {
            hint,
          }),
        )
        continue
      }
      attributes.set(name, { type: merged, count: (before?.count ?? 0) + 1 })
    }
  }
  return types
}

/** Entity types that a policy names, each with the word to find it by. */
function typesNamed({ scope, tree }: PlacedPolicy): [string, string][] {
  const found: string[] = []
  for (const head of [scope.principal, scope.resource]) {
    if (head.eq !== undefined) found.push(head.eq.type)
    if (head.in !== undefined) found.push(head.in.type)
    if (head.is !== undefined) found.push(head.is)
  }
  for (const { body } of tree.conditions) {
    for (const part of walk(body)) {
      const named = namedEntity(part)
      if (named !== undefined && !isAction(named)) found.push(named.type)
      if (part.op === 'is') found.push(part.type)
    }
  }
  return [...new Set(found)].map((type) => [type, type.slice(type.lastIndexOf(':') + 1)])
}

function typesOf(head: HeadConstraint, types: ReadonlyMap<string, EntityDraft>, acting: boolean): string[] {
  if (head.eq !== undefined) return types.has(head.eq.type) ? [head.eq.type] : []
  if (head.is !== undefined) return types.has(head.is) ? [head.is] : []
  const all = [...types.keys()]
  // Groups and roles do not act; a policy that means one names it.
  if (head.in === undefined) return acting ? all.filter((type) => type !== 'Group' && type !== 'Role') : all
  const wanted = head.in.type
  return all.filter((type) => {
    const above = new Set([type])
    for (const name of above) for (const parent of types.get(name)?.parents ?? []) above.add(parent)
    return above.has(wanted) && !(acting && type === 'Group' && wanted === 'Group' && all.length > 1)
  })
}

function valueType(value: Json, types: ReadonlyMap<string, EntityDraft>, depth = 0): SchemaType | undefined {
  if (typeof value === 'boolean') return { type: 'Bool' }
  if (typeof value === 'number') return Number.isSafeInteger(value) ? { type: 'Long' } : undefined
  if (value === null || depth > 16) return undefined
  const uid = entityValue(value)
  if (uid !== undefined && types.has(uid.type)) return { type: 'Entity', name: uid.type }
  if (typeof value === 'string') return { type: 'String' }
  if (Array.isArray(value)) {
    const items = (value as readonly Json[]).map((item) => valueType(item, types, depth + 1))
    let element: SchemaType | undefined = items.length === 0 ? { type: 'String' } : items[0]
    for (const item of items.slice(1)) element = element && item && mergeTypes(element, item)
    return element && { type: 'Set', element }
  }
  const attributes: [string, SchemaType][] = []
  for (const [key, member] of Object.entries(value)) {
    if (member === undefined || member === null) continue
    const type = valueType(member, types, depth + 1)
    if (type === undefined) return undefined
    attributes.push([key, type])
  }
  return { type: 'Record', attributes: Object.fromEntries(attributes) }
}

/** One type for both; records keep what either has, optional where one lacks it. */
function mergeTypes(a: SchemaType, b: SchemaType): SchemaType | undefined {
  if (a.type !== b.type || a.name !== b.name) return undefined
  if (a.element !== undefined && b.element !== undefined) {
    const element = mergeTypes(a.element, b.element)
    return element && { type: 'Set', element }
  }
  if (a.attributes === undefined || b.attributes === undefined) return a
  const attributes: [string, SchemaType & { required?: boolean }][] = []
  for (const key of new Set([...Object.keys(a.attributes), ...Object.keys(b.attributes)])) {
    const [left, right] = [a, b].map(({ attributes: all }) =>
      all !== undefined && Object.hasOwn(all, key) ? all[key] : undefined,
    )
    const merged = left !== undefined && right !== undefined ? mergeTypes(left, right) : (left ?? right)
    if (merged === undefined) return undefined
    const optional =
      left === undefined || right === undefined || left.required === false || right.required === false
    attributes.push([key, optional ? { ...merged, required: false } : merged])
  }
  return { type: 'Record', attributes: Object.fromEntries(attributes) }
}

/** Adds the context keys of one policy to what is known of an action's. */
function contextKeys(
  policy: PlacedPolicy,
  types: ReadonlyMap<string, EntityDraft>,
  keys: Map<string, Draft>,
  problems: Problem[],
): void {
  const note = (names: readonly string[], type: SchemaType | undefined, tested: boolean): void => {
    if (names.length === 0 || reservedKeys.has(names[0] as string)) return
    let fields = keys
    for (const [index, name] of names.entries()) {
      const at = () => ({
        file: policy.file,
        span: pathIn(policy.file, policy.slice, ['context', ...names.slice(0, index + 1)]) ?? policy.slice,
      })
      let draft = fields.get(name)
      if (draft === undefined) fields.set(name, (draft = { at: at(), tested: false }))
      const last = index === names.length - 1
      if (last && tested) draft.tested = true
      if (!last) {
        if (draft.type !== undefined)
          return clash(policy, names.slice(0, index + 1), draft, 'a record', at().span, problems)
        fields = draft.fields ??= new Map()
      } else if (type !== undefined) {
        if (draft.fields !== undefined)
          return clash(policy, names, draft, typeName(type), at().span, problems)
        const merged = draft.type === undefined ? type : mergeTypes(draft.type, type)
        if (merged === undefined) return clash(policy, names, draft, typeName(type), at().span, problems)
        draft.type = merged
      }
    }
  }
  const visit = (expression: Expr, expected: SchemaType | undefined): void => {
    switch (expression.op) {
      case 'attribute': {
        const chain = accessOf(expression)
        if (chain?.root === 'context') note(chain.names, expected, false)
        else if (chain === undefined) visit(expression.of, undefined)
        return
      }
      case 'has': {
        const chain = accessOf(expression.of)
        if (chain?.root === 'context') {
          if (chain.names.length > 0) note(chain.names, undefined, false)
          for (let at = 1; at <= expression.path.length; at++) {
            note([...chain.names, ...expression.path.slice(0, at)], undefined, true)
          }
        } else if (chain === undefined) visit(expression.of, undefined)
        return
      }
      case 'like':
        return visit(expression.of, { type: 'String' })
      case 'is':
        visit(expression.of, { type: 'Entity', name: expression.type })
        if (expression.in !== undefined) visit(expression.in, undefined)
        return
      case 'if':
        visit(expression.test, { type: 'Bool' })
        visit(expression.yes, expected)
        visit(expression.no, expected)
        return
      case 'not':
        return visit(expression.arg, { type: 'Bool' })
      case 'neg':
        return visit(expression.arg, { type: 'Long' })
      case 'isEmpty':
        return visit(expression.arg, undefined)
      case 'and':
      case 'or':
        for (const item of expression.items) visit(item, { type: 'Bool' })
        return
      case 'set':
        for (const item of expression.items) visit(item, expected?.element)
        return
      case 'record':
        for (const [, value] of expression.fields) visit(value, undefined)
        return
      case 'call': {
        const [self, other] = callTypes[expression.name] ?? []
        expression.args.forEach((arg, index) => {
          const type = index === 0 ? self : other
          visit(arg, type === undefined ? undefined : { type })
        })
        return
      }
      case 'binary':
        return binary(expression.name, expression.left, expression.right)
      default:
        return
    }
  }
  const binary = (name: string, left: Expr, right: Expr): void => {
    const [a, b] = [typeOf(left), typeOf(right)]
    const set = (element: SchemaType | undefined): SchemaType | undefined =>
      element && { type: 'Set', element }
    switch (name) {
      case '+':
      case '-':
      case '*':
        visit(left, { type: 'Long' })
        return visit(right, { type: 'Long' })
      case 'contains':
        visit(left, set(b))
        return visit(right, a?.element)
      case 'in':
        visit(left, b?.type === 'Entity' ? b : b?.element)
        return visit(right, undefined)
      default:
        // Comparisons, and sets against sets: both sides have one type.
        visit(left, b)
        return visit(right, a)
    }
  }
  const typeOf = (expression: Expr): SchemaType | undefined => {
    switch (expression.op) {
      case 'literal': {
        const { value } = expression
        switch (typeof value) {
          case 'object':
            return { type: 'Entity', name: value.type }
          case 'string':
            return { type: 'String' }
          case 'boolean':
            return { type: 'Bool' }
          default:
            return { type: 'Long' }
        }
      }
      case 'variable': {
        if (expression.name === 'context' || expression.name === 'action') return undefined
        const [only, ...others] = typesOf(
          policy.scope[expression.name],
          types,
          expression.name === 'principal',
        )
        return only === undefined || others.length > 0 ? undefined : { type: 'Entity', name: only }
      }
      case 'attribute':
        return attributeType(expression)
      case 'has':
      case 'like':
      case 'is':
      case 'not':
      case 'and':
      case 'or':
      case 'isEmpty':
        return { type: 'Bool' }
      case 'neg':
        return { type: 'Long' }
      case 'binary':
        return { type: ['+', '-', '*'].includes(expression.name) ? 'Long' : 'Bool' }
      case 'if':
        return typeOf(expression.yes) ?? typeOf(expression.no)
      case 'set': {
        const element = expression.items.map(typeOf).find((type) => type !== undefined)
        return element && { type: 'Set', element }
      }
      case 'record':
        return undefined
      case 'call': {
        const result = callResults[expression.name]
        return result === undefined ? undefined : { type: result }
      }
    }
  }
  const attributeType = (expression: Expr): SchemaType | undefined => {
    const chain = accessOf(expression)
    if (chain === undefined || typeof chain.root !== 'string') return undefined
    const [first, second, third] = chain.names
    if (chain.root === 'context') {
      if (first === 'proof') return { type: second === 'approvals' ? 'Long' : 'Bool' }
      const fact =
        first === 'live' && second !== undefined && Object.hasOwn(facts, second)
          ? facts[second]?.type
          : undefined
      return third === undefined ? fact : fact?.attributes?.[third]
    }
    if (chain.names.length !== 1 || first === undefined) return undefined
    if (first === 'sensitivity') return { type: 'Long' }
    if (first === 'owner') return { type: 'Entity', name: 'Person' }
    if (first === 'team') return { type: 'Entity', name: 'Group' }
    if (first === 'third_party') return { type: 'Bool' }
    for (const { attributes } of types.values()) {
      const known = attributes.get(first)
      if (known !== undefined) return known.type
    }
    return undefined
  }
  for (const { body } of policy.tree.conditions) visit(body, { type: 'Bool' })
}

function clash(
  policy: PlacedPolicy,
  names: readonly string[],
  before: Draft,
  now: string,
  span: Span,
  problems: Problem[],
): void {
  const was = before.fields !== undefined ? 'a record' : typeName(before.type as SchemaType)
  const { line } = before.at.file.place(before.at.span.start)
  const message = `\`${['context', ...names].join('.')}\` is used as ${now} here and as ${was} in ${before.at.file.name}:${line}`
  problems.push(policy.file.problem('P017', span, message, { hint: 'use one type, or write a schema' }))
}

function recordOf(
  keys: ReadonlyMap<string, Draft>,
  path: readonly string[],
  action: EntityUid,
  problems: Problem[],
): SchemaType {
  const attributes: [string, SchemaType & { required?: boolean }][] = []
  for (const [name, draft] of keys) {
    const full = [...path, name]
    const type = draft.fields === undefined ? draft.type : recordOf(draft.fields, full, action, problems)
    if (type === undefined) {
      const message = `the type of \`${full.join('.')}\` cannot be told from the policies`
      const hint = `write a schema with \`action ${JSON.stringify(action.id)} appliesTo { …, context: { ${name}?: String } }\``
      problems.push(draft.at.file.problem('P016', draft.at.span, message, { hint }))
      continue
    }
    attributes.push([name, draft.tested ? { ...type, required: false } : type])
  }
  return { type: 'Record', attributes: Object.fromEntries(attributes) }
}

function typeName(type: SchemaType): string {
  if (type.type === 'Set') return `Set<${type.element === undefined ? '?' : typeName(type.element)}>`
  return type.name ?? type.type.replace(/^__cedar::/, '')
}

const datetime = '__cedar::datetime'
const duration = '__cedar::duration'
const decimal = '__cedar::decimal'
const ipaddr = '__cedar::ipaddr'

/** Types of the object and the argument of each method. */
const callTypes: Readonly<Record<string, readonly [string, string?]>> = {
  isIpv4: [ipaddr],
  isIpv6: [ipaddr],
  isLoopback: [ipaddr],
  isMulticast: [ipaddr],
  isInRange: [ipaddr, ipaddr],
  lessThan: [decimal, decimal],
  lessThanOrEqual: [decimal, decimal],
  greaterThan: [decimal, decimal],
  greaterThanOrEqual: [decimal, decimal],
  offset: [datetime, duration],
  durationSince: [datetime, datetime],
  toDate: [datetime],
  toTime: [datetime],
  toMilliseconds: [duration],
  toSeconds: [duration],
  toMinutes: [duration],
  toHours: [duration],
  toDays: [duration],
}

const callResults: Readonly<Record<string, string>> = {
  ip: ipaddr,
  decimal,
  datetime,
  duration,
  offset: datetime,
  toDate: datetime,
  toTime: duration,
  durationSince: duration,
  toMilliseconds: 'Long',
  toSeconds: 'Long',
  toMinutes: 'Long',
  toHours: 'Long',
  toDays: 'Long',
  isIpv4: 'Bool',
  isIpv6: 'Bool',
  isLoopback: 'Bool',
  isMulticast: 'Bool',
  isInRange: 'Bool',
  lessThan: 'Bool',
  lessThanOrEqual: 'Bool',
  greaterThan: 'Bool',
  greaterThanOrEqual: 'Bool',
}
