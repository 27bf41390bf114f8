/**
 * A schema as the reference uses it for a decision: entities and context are read by their types, so that extension values
 * and entity references need no escapes, and what does not conform is refused.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { WritError } from '../../model/errors.ts'
import { callExtension } from './extensions.ts'
import { members, readUid, readValue, refuse } from './json.ts'
import type { Result, Value } from './values.ts'
import {
  CedarRecord,
  CedarSet,
  DATETIME,
  DECIMAL,
  DURATION,
  entityKey,
  EntityRef,
  IP,
  isFailure,
  isLong,
} from './values.ts'

/** Cedar schema text, or its JSON form. */
export type SchemaForm = string | Readonly<Record<string, unknown>>

export type Type =
  | Readonly<{ kind: 'bool' | 'long' | 'string' }>
  | Readonly<{ kind: 'entity'; name: string }>
  | Readonly<{ kind: 'extension'; name: 'decimal' | 'ipaddr' | 'datetime' | 'duration' }>
  | Readonly<{ kind: 'set'; element: Type }>
  | Readonly<{ kind: 'record'; fields: ReadonlyMap<string, Field> }>

type Field = Readonly<{ type: Type; required: boolean }>

export type EntityType = Readonly<{
  fields: ReadonlyMap<string, Field>
  tags: Type | undefined
  /** Types of whatever it may be in, however far above. */
  above: ReadonlySet<string>
  /** The ids that there are, for an enumerated type. */
  ids: ReadonlySet<string> | undefined
}>

export type ActionType = Readonly<{
  ref: EntityRef
  principals: ReadonlySet<string>
  resources: ReadonlySet<string>
  context: ReadonlyMap<string, Field>
  parents: readonly EntityRef[]
}>

type Json = Readonly<Record<string, unknown>>
type Namespace = Readonly<{ commonTypes?: Json; entityTypes?: Json; actions?: Json }>

const PRIMITIVES: ReadonlyMap<string, 'bool' | 'long' | 'string'> = new Map([
  ['Bool', 'bool'],
  ['Boolean', 'bool'],
  ['Long', 'long'],
  ['String', 'string'],
])
const EXTENSIONS = ['decimal', 'ipaddr', 'datetime', 'duration'] as const
const KINDS = { decimal: DECIMAL, ipaddr: IP, datetime: DATETIME, duration: DURATION } as const
const CONSTRUCTORS = { decimal: 'decimal', ipaddr: 'ip', datetime: 'datetime', duration: 'duration' } as const

export class Schema {
  readonly entityTypes: ReadonlyMap<string, EntityType>
  /** By entity key. */
  readonly actions: ReadonlyMap<string, ActionType>

  /** @throws {WritError} `ERR_POLICY_INVALID` for what the reference refuses, and for attributes of actions. */
  constructor(form: SchemaForm) {
    const namespaces = resolved(form)
    const common = new Map<string, unknown>()
    for (const [namespace, { commonTypes = {} }] of namespaces) {
      for (const [name, type] of Object.entries(commonTypes)) common.set(qualified(namespace, name), type)
    }
    const types = new Types(common)
    this.entityTypes = entityTypesOf(namespaces, types)
    this.actions = actionsOf(namespaces, types)
  }

  /** @throws {WritError} `ERR_INPUT_INVALID` for attempts of which the schema knows nothing. */
  check(principal: EntityRef, action: EntityRef, resource: EntityRef): ActionType {
    const known = this.actions.get(action.key)
    if (known === undefined) throw refuse(`action \`${text(action)}\` is not declared`)
    for (const [ref, allowed, role] of [
      [principal, known.principals, 'principal'],
      [resource, known.resources, 'resource'],
    ] as const) {
      if (!allowed.has(ref.type)) throw refuse(`\`${ref.type}\` cannot be the ${role} of \`${text(action)}\``)
      this.checkId(ref)
    }
    return known
  }

  checkId({ type, id }: EntityRef): void {
    const ids = this.entityTypes.get(type)?.ids
    if (ids !== undefined && !ids.has(id))
      throw refuse(`\`${id}\` is not an id of the enumerated type \`${type}\``)
  }

  /** Values by name, each of its type. */
  record(json: unknown, fields: ReadonlyMap<string, Field>, what: string, depth = 0): CedarRecord {
    const source = members(json, what)
    const values = new Map<string, Value>()
    for (const name of Object.keys(source)) {
      const value = source[name]
      if (value === undefined) continue
      const field = fields.get(name)
      if (field === undefined) throw refuse(`${what} has \`${name}\`, which is not declared`)
      values.set(name, this.value(value, field.type, what, depth + 1))
    }
    for (const [name, { required }] of fields) {
      if (required && !values.has(name)) throw refuse(`${what} lacks \`${name}\``)
    }
    return new CedarRecord(values)
  }

  value(json: unknown, type: Type, what: string, depth: number): Value {
    switch (type.kind) {
      case 'entity': {
        const ref = readUid(json)
        if (ref.type !== type.name)
          throw refuse(`${what}: expected a \`${type.name}\`, got a \`${ref.type}\``)
        this.checkId(ref)
        return ref
      }
      case 'extension':
        return readExtension(json, type.name, what)
      case 'set':
        if (!Array.isArray(json)) throw refuse(`${what}: expected a set`)
        return new CedarSet(json.map((item) => this.value(item, type.element, what, depth + 1)))
      case 'record':
        return this.record(json, type.fields, what, depth)
      default: {
        const value = readValue(json, what, depth)
        const fits =
          type.kind === 'long'
            ? isLong(value)
            : typeof value === (type.kind === 'bool' ? 'boolean' : 'string')
        if (!fits) throw refuse(`${what}: expected a ${type.kind}`)
        return value
      }
    }
  }
}

const text = ({ type, id }: EntityRef): string => `${type}::${JSON.stringify(id)}`

/** Text for the constructor, a call without its escape, or the escape. */
function readExtension(json: unknown, name: keyof typeof KINDS, what: string): Value {
  const result = typeof json === 'string' ? callExtension(CONSTRUCTORS[name], [json]) : readCall(json, what)
  if (isFailure(result)) throw refuse(`${what}: ${result.message}`)
  if (typeof result !== 'object' || result.kind !== KINDS[name]) throw refuse(`${what}: expected a ${name}`)
  return result
}

/** What functions that may stand in JSON take, where it is not text. */
const ARGUMENTS: ReadonlyMap<string, readonly (keyof typeof KINDS)[]> = new Map([
  ['offset', ['datetime', 'duration']],
  ['durationSince', ['datetime', 'datetime']],
  ['toDate', ['datetime']],
  ['toTime', ['datetime']],
])

function readCall(json: unknown, what: string): Result {
  const outer = members(json, what)
  const { fn, arg, args } = Object.hasOwn(outer, '__extn') ? members(outer['__extn'], what) : outer
  const given: unknown = arg !== undefined ? [arg] : args
  if (typeof fn !== 'string' || !Array.isArray(given)) throw refuse(`${what}: expected a call`)
  const types = ARGUMENTS.get(fn)
  return callExtension(
    fn,
    given.map((one: unknown, index) => {
      const type = types?.[index]
      return type === undefined ? readValue(one, what) : readExtension(one, type, what)
    }),
  )
}

function invalid(message: string): WritError {
  return new WritError('ERR_POLICY_INVALID', message)
}

const qualified = (namespace: string, name: string): string =>
  namespace === '' ? name : `${namespace}::${name}`

function resolved(form: SchemaForm): [string, Namespace][] {
  const judgement = cedar.checkParseSchema(form as cedar.Schema)
  if (judgement.type === 'failure') throw invalid(judgement.errors.map(({ message }) => message).join('; '))
  let source = form
  if (typeof source !== 'string') {
    const answer = cedar.schemaToText(withPlainShapes(source as Readonly<Record<string, Namespace>>))
    if (answer.type === 'failure') throw invalid(answer.errors.map(({ message }) => message).join('; '))
    source = answer.text
  }
  const answer = cedar.schemaToJsonWithResolvedTypes(source)
  if (answer.type === 'failure') throw invalid(answer.errors.map(({ message }) => message).join('; '))
  return Object.entries(answer.json as Readonly<Record<string, Namespace>>)
}

/** Text has no way to say that the shape of an entity type is a common type: the common type stands there instead. */
function withPlainShapes(schema: Readonly<Record<string, Namespace>>): cedar.Schema {
  const commonTypes = (namespace: string): Json => schema[namespace]?.commonTypes ?? {}
  const plain = (namespace: string, shape: unknown): unknown => {
    let at = shape as Json | undefined
    for (let depth = 0; at !== undefined && at['type'] !== 'Record' && depth < 200; depth += 1) {
      const name = String(at['type'] === 'EntityOrCommon' ? at['name'] : at['type'])
      const own = name.startsWith(`${namespace}::`) ? name.slice(namespace.length + 2) : name
      // a namespace never gives a name of the empty one another meaning
      const from = [commonTypes(namespace), commonTypes('')].find((types) => Object.hasOwn(types, own))
      at = from?.[own] as Json | undefined
    }
    return at ?? shape
  }
  return Object.fromEntries(
    Object.entries(schema).map(([namespace, { entityTypes = {}, ...rest }]) => {
      const types = Object.entries(entityTypes as Readonly<Record<string, Json>>).map(([name, type]) =>
        type['shape'] === undefined
          ? [name, type]
          : [name, { ...type, shape: plain(namespace, type['shape']) }],
      )
      return [namespace, { ...rest, entityTypes: Object.fromEntries(types) as Json }]
    }),
  ) as unknown as cedar.Schema
}

class Types {
  readonly #common: ReadonlyMap<string, unknown>

  constructor(common: ReadonlyMap<string, unknown>) {
    this.#common = common
  }

  read(json: unknown, depth = 0): Type {
    if (depth > 200) throw invalid('a type is nested too deeply')
    const { type, name, element, attributes, additionalAttributes } = json as Json
    switch (type) {
      case 'Set':
        return { kind: 'set', element: this.read(element, depth + 1) }
      case 'Record':
        if (additionalAttributes === true) throw invalid('open records are not supported')
        return { kind: 'record', fields: this.fields(attributes ?? {}, depth) }
      case 'Entity':
        return { kind: 'entity', name: String(name) }
      case 'Extension':
        return this.#named(String(name), depth)
      default:
        return this.#named(String(type), depth)
    }
  }

  #named(name: string, depth: number): Type {
    const common = this.#common.get(name)
    if (common !== undefined) return this.read(common, depth + 1)
    const plain = name.replace(/^__cedar::/, '')
    const primitive = PRIMITIVES.get(plain)
    if (primitive !== undefined) return { kind: primitive }
    const extension = EXTENSIONS.find((one) => one === plain)
    if (extension === undefined) throw invalid(`unknown type \`${name}\``)
    return { kind: 'extension', name: extension }
  }

  fields(json: unknown, depth = 0): Map<string, Field> {
    return new Map(
      Object.entries(json as Readonly<Record<string, Json>>).map(([name, attribute]) => [
        name,
        { type: this.read(attribute, depth + 1), required: attribute['required'] !== false },
      ]),
    )
  }

  /** The members of a type that must be a record. */
  shape(json: unknown): ReadonlyMap<string, Field> {
    if (json === undefined) return new Map()
    const type = this.read(json)
    if (type.kind !== 'record') throw invalid('a shape must be a record')
    return type.fields
  }
}

function entityTypesOf(namespaces: readonly [string, Namespace][], types: Types): Map<string, EntityType> {
  const parents = new Map<string, readonly string[]>()
  for (const [namespace, { entityTypes = {} }] of namespaces) {
    for (const [name, json] of Object.entries(entityTypes as Readonly<Record<string, Json>>)) {
      parents.set(qualified(namespace, name), (json['memberOfTypes'] ?? []) as string[])
    }
  }
  const above = (name: string): Set<string> => {
    const found = new Set(parents.get(name))
    for (const one of found) for (const parent of parents.get(one) ?? []) found.add(parent)
    return found
  }
  return new Map(
    namespaces.flatMap(([namespace, { entityTypes = {} }]) =>
      Object.entries(entityTypes as Readonly<Record<string, Json>>).map(
        ([name, json]): [string, EntityType] => {
          const full = qualified(namespace, name)
          const ids = json['enum'] as readonly string[] | undefined
          return [
            full,
            {
              fields: types.shape(json['shape']),
              tags: json['tags'] === undefined ? undefined : types.read(json['tags']),
              above: above(full),
              ids: ids === undefined ? undefined : new Set(ids),
            },
          ]
        },
      ),
    ),
  )
}

function actionsOf(namespaces: readonly [string, Namespace][], types: Types): Map<string, ActionType> {
  const actions = new Map<string, ActionType>()
  for (const [namespace, { actions: declared = {} }] of namespaces) {
    const own = qualified(namespace, 'Action')
    for (const [id, json] of Object.entries(declared as Readonly<Record<string, Json>>)) {
      if (Object.keys(json['attributes'] ?? {}).length > 0) {
        throw invalid(`the action \`${id}\` has attributes, which are not supported`)
      }
      const applies = (json['appliesTo'] ?? {}) as Readonly<Record<string, readonly string[]>>
      actions.set(entityKey(own, id), {
        ref: new EntityRef(own, id),
        principals: new Set(applies['principalTypes']),
        resources: new Set(applies['resourceTypes']),
        context: types.shape(applies['context']),
        parents: ((json['memberOf'] ?? []) as readonly Readonly<{ type?: string; id: string }>[]).map(
          ({ type = own, id: parent }) => new EntityRef(type, parent),
        ),
      })
    }
  }
  return actions
}
