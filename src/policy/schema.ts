/**
 * The composed schema: what the user declared (or what was derived), and what Writ adds to every action and type.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import type { SchemaJson } from '@cedar-policy/cedar-wasm/nodejs'
import type { Token } from './engine/parse.ts'
import { tokenize } from './engine/parse.ts'
import type { SchemaType } from './facts.ts'
import { facts } from './facts.ts'
import type { Problem } from './problems.ts'
import { fromByteOffset, SourceFile, suggest } from './problems.ts'
import { unquote } from './scan.ts'
import type { EntityUid } from './types.ts'
import { uidText } from './types.ts'

/** A resolved type: no names of common types are left. */
export type Type =
  | Readonly<{ kind: 'long' | 'string' | 'bool' }>
  | Readonly<{ kind: 'set'; element: Type }>
  | Readonly<{ kind: 'record'; fields: ReadonlyMap<string, Field> }>
  | Readonly<{ kind: 'entity'; name: string }>
  | Readonly<{ kind: 'extension'; name: Extension }>
export type Field = Readonly<{ type: Type; required: boolean }>
export type Extension = 'decimal' | 'ipaddr' | 'datetime' | 'duration'

export type EntityType = Readonly<{
  name: string
  fields: ReadonlyMap<string, Field>
  memberOf: readonly string[]
  /** For enumerated types: the only ids there are. */
  ids?: ReadonlySet<string>
}>

export type ActionType = Readonly<{
  uid: EntityUid
  principals: ReadonlySet<string>
  resources: ReadonlySet<string>
  /** Everything but `live` and `proof`. */
  context: ReadonlyMap<string, Field>
  /** The action itself and every action above it, as `uidText`. */
  self: ReadonlySet<string>
}>

/**
 * Cedar lets no namespace declare a name that the empty one has, so that the user's `Action::"read"` and Writ's own
 * cannot stand in one schema: policies on Writ's actions are validated against a schema of their own.
 */
export type Schema = Readonly<{
  text: string
  /** For ordinary policies: everything but the actions of Writ. */
  ordinary: SchemaJson<string>
  /** For policies on Writ's own actions: all entity types, and no other actions. */
  writ: SchemaJson<string>
  entityTypes: ReadonlyMap<string, EntityType>
  actions: ReadonlyMap<string, ActionType>
  /** Types of the facts, by name. */
  facts: ReadonlyMap<string, Field>
}>

/** Context keys that are Writ's: never taken from a PEP, never declared by a user. */
export const reservedKeys: ReadonlySet<string> = new Set([
  'live',
  'proof',
  'task',
  'grant',
  'approval',
  'delegation',
])

export const WRIT = 'Writ'
export const writAction = (name: string): EntityUid => ({ type: 'Writ::Action', id: name })
/** The resource of what is done to Writ itself. */
export const writSystem: EntityUid = { type: 'Writ::System', id: 'writ' }
/** Actions that only take away; see `FactDefinition.pulled`. */
export const narrowingActions: ReadonlySet<string> = new Set(['revoke', 'deny'])

type Attributes = Record<string, SchemaType & { required?: boolean }>
type EntityJson = { memberOfTypes?: string[]; shape?: SchemaType; tags?: SchemaType; enum?: string[] }
type ActionJson = {
  appliesTo?: { principalTypes: string[]; resourceTypes: string[]; context?: SchemaType }
  memberOf?: { id: string; type?: string }[]
}
export type NamespaceJson = {
  commonTypes?: Record<string, SchemaType>
  entityTypes: Record<string, EntityJson>
  actions: Record<string, ActionJson>
}
/** Cedar's JSON schema with every type resolved. */
export type ResolvedSchema = Record<string, NamespaceJson>

/** Types that every installation has, unless the user declares them. */
export const builtins: Readonly<Record<string, readonly string[]>> = {
  Person: ['Group', 'Role'],
  Group: ['Group'],
  Role: [],
}

const builtinText = (name: string, parents: readonly string[]): string =>
  `entity ${name}${parents.length === 0 ? '' : ` in [${parents.join(', ')}]`};`

/** The user's schema with every type resolved and the built-in types added. */
export function parseUserSchema(
  file: SourceFile,
): { ok: true; schema: ResolvedSchema } | { ok: false; problems: Problem[] } {
  let full: string
  const isJson = file.text.trimStart().startsWith('{')
  if (isJson) {
    let json: ResolvedSchema
    try {
      json = JSON.parse(file.text) as ResolvedSchema
      const root = (json[''] ??= { entityTypes: {}, actions: {} })
      for (const [name, memberOfTypes] of Object.entries(builtins)) {
        root.entityTypes[name] ??= { memberOfTypes: [...memberOfTypes] }
      }
    } catch (error) {
      const message = `not a schema in JSON: ${(error as Error).message}`
      return { ok: false, problems: [file.problem('P002', firstLine(file), message)] }
    }
    const printed = guarded(() => cedar.schemaToText(json as SchemaJson<string>))
    if (printed.type === 'failure')
      return { ok: false, problems: schemaProblems(file, printed.errors, false) }
    full = printed.text
  } else {
    const declared = declaredTypes(file.text)
    const missing = Object.entries(builtins).filter(([name]) => !declared.root.has(name))
    full = [file.text, ...missing.map(([name, parents]) => builtinText(name, parents))].join('\n')
  }
  const resolved = guarded(() => cedar.schemaToJsonWithResolvedTypes(full))
  if (resolved.type === 'failure')
    return { ok: false, problems: schemaProblems(file, resolved.errors, !isJson) }
  return { ok: true, schema: resolved.json }
}

/** Names of the types that schema text declares, those outside namespaces apart. */
function declaredTypes(text: string): { root: Set<string>; all: Set<string> } {
  const [root, all] = [new Set<string>(), new Set<string>()]
  const tokens = tokenize(text)
  let depth = 0
  let spaces = 0
  for (const [at, token] of tokens.entries()) {
    if (token.text === '{') {
      if (depth === spaces && namespaceOpens(tokens, at)) spaces++
      depth++
    }
    if (token.text === '}') {
      depth--
      spaces = Math.min(spaces, depth)
    }
    if (depth !== spaces || (token.text !== 'entity' && token.text !== 'type')) continue
    for (let next = at + 1; tokens[next]?.kind === 'word'; next += 2) {
      const name = (tokens[next] as Token).text
      all.add(name)
      if (spaces === 0) root.add(name)
      if (tokens[next + 1]?.text !== ',') break
    }
  }
  return { root, all }
}

/** Whether the `{` at `at` belongs to `namespace A::B {`. */
function namespaceOpens(tokens: readonly Token[], at: number): boolean {
  let before = at - 1
  while (tokens[before - 1]?.text === '::') before -= 2
  return tokens[before]?.kind === 'word' && tokens[before - 1]?.text === 'namespace'
}

type Failure = { type: 'failure'; errors: cedar.DetailedError[] }

/** A trap inside the library is reported like any other failure. */
function guarded<T>(run: () => T | Failure): T | Failure {
  try {
    return run()
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return {
      type: 'failure',
      errors: [{ message, help: null, code: null, url: null, severity: null }],
    }
  }
}

function schemaProblems(
  file: SourceFile,
  errors: readonly cedar.DetailedError[],
  placed: boolean,
): Problem[] {
  return errors.flatMap((error) => {
    const located = placed ? error.sourceLocations?.[0] : undefined
    const span = located
      ? { start: fromByteOffset(file.text, located.start), end: fromByteOffset(file.text, located.end) }
      : firstLine(file)
    const unknown = /^failed to resolve types?: (.+)$/.exec(error.message)?.[1]
    if (unknown !== undefined) {
      const known = [...declaredTypes(file.text).all, ...primitives]
      return [...new Set(unknown.split(', '))].map((name) =>
        file.problem('P002', place(file, [name]), `unknown type \`${name}\``, {
          hint: suggest(name, known, 'types'),
        }),
      )
    }
    const message = error.message
      .replace(/^failed to parse schema from string: /, '')
      .replace(/^error parsing schema: /, '')
    return file.problem('P002', span, message, { hint: located?.label ?? error.help ?? undefined })
  })
}

const primitives = [
  'Long',
  'String',
  'Bool',
  'Set',
  'datetime',
  'decimal',
  'duration',
  'ipaddr',
  'Person',
  'Group',
  'Role',
]

function firstLine(file: SourceFile) {
  const end = file.text.indexOf('\n')
  return { start: 0, end: end === -1 ? file.text.length : end }
}

export const qualify = (space: string, name: string): string => (space === '' ? name : `${space}::${name}`)

/**
 * Adds what is Writ's. Everything the user may not declare is a problem at its place.
 *
 * @param file where to point at, `undefined` for a derived schema
 */
export function compose(
  user: ResolvedSchema,
  pools: readonly string[],
  file: SourceFile | undefined,
): { ok: true; schema: Schema } | { ok: false; problems: Problem[] } {
  const problems: Problem[] = []
  const at = (...words: string[]) => place(file as SourceFile, words)
  const complain = (code: 'P007' | 'P010' | 'P002', words: string[], message: string, hint: string) => {
    problems.push(
      (file ?? nowhere).problem(code, file ? at(...words) : { start: 0, end: 0 }, message, { hint }),
    )
  }
  const resolver = new Resolver(user)
  const composed = Object.create(null) as ResolvedSchema
  for (const [space, { commonTypes, entityTypes, actions }] of Object.entries(user)) {
    if (space === WRIT || space.startsWith(`${WRIT}::`)) {
      complain(
        'P007',
        ['namespace', WRIT],
        `namespace \`${space}\` belongs to Writ`,
        'choose another namespace',
      )
      continue
    }
    composed[space] = {
      ...(commonTypes === undefined ? {} : { commonTypes }),
      entityTypes: mapValues(entityTypes, (entity, name) => {
        if (entity.enum !== undefined) return entity
        const shape = resolver.record(entity.shape)
        if (shape === undefined) {
          complain(
            'P002',
            ['entity', name],
            `\`${qualify(space, name)}\` must be a record`,
            'write `entity X = { … };`',
          )
          return entity
        }
        const attributes: Attributes = { ...shape }
        for (const [attribute, wanted, hint] of injected) {
          const declared = attributes[attribute]
          if (declared !== undefined && !sameType(resolver.type(declared), resolver.builtin(wanted))) {
            const full = `${qualify(space, name)}.${attribute}`
            complain(
              'P010',
              ['entity', name, attribute],
              `\`${full}\` must be ${hint}`,
              'Writ fills it from the inventory',
            )
          }
          // The inventory always knows a sensitivity; a declared `owner` keeps what the user said about its presence.
          if (declared === undefined || attribute === 'sensitivity') attributes[attribute] = wanted
        }
        return { ...entity, shape: { type: 'Record', attributes } }
      }),
      actions: mapValues(actions, (action, name) => {
        for (const group of action.memberOf ?? []) {
          if (group.type === 'Writ::Action') {
            complain(
              'P007',
              ['action', name],
              `action \`${name}\` may not be in \`${uidText({ type: group.type, id: group.id })}\``,
              'actions of Writ have no members',
            )
          }
        }
        if (action.appliesTo === undefined) return action
        const context = resolver.record(action.appliesTo.context)
        if (context === undefined) {
          complain(
            'P002',
            ['action', name],
            `the context of \`${name}\` must be a record`,
            'write `context: { … }`',
          )
          return action
        }
        for (const key of Object.keys(context)) {
          if (!reservedKeys.has(key)) continue
          const hint =
            key === 'live' || key === 'proof'
              ? `Writ declares \`context.${key}\` itself; remove it`
              : `\`context.${key}\` is taken out before policies are asked; read \`context.live\` or \`context.proof\``
          complain('P007', ['action', name, key], `\`context.${key}\` belongs to Writ`, hint)
        }
        return { ...action, appliesTo: { ...action.appliesTo, context: withLive(context) } }
      }),
    }
  }
  const root = (composed[''] ??= { entityTypes: {}, actions: {} })
  for (const [name, parents] of Object.entries(builtins)) {
    root.entityTypes[name] ??= {
      ...(parents.length === 0 ? {} : { memberOfTypes: [...parents] }),
      shape: { type: 'Record', attributes: Object.fromEntries(injected.map(([key, type]) => [key, type])) },
    }
  }
  if (problems.length > 0) return { ok: false, problems }
  const own = writNamespace(pools, entityTypeNames(composed))
  const ordinary = { ...composed, [WRIT]: { ...own, entityTypes: {}, actions: {} } }
  const writ = { ...mapValues(composed, (space) => ({ ...space, actions: {} })), [WRIT]: own }
  const texts: string[] = []
  for (const json of [ordinary, writ] as SchemaJson<string>[]) {
    const checked = guarded(() => cedar.checkParseSchema(json))
    if (checked.type === 'failure')
      return { ok: false, problems: schemaProblems(file ?? nowhere, checked.errors, false) }
    const printed = guarded(() => cedar.schemaToText(json))
    if (printed.type === 'failure')
      return { ok: false, problems: schemaProblems(file ?? nowhere, printed.errors, false) }
    texts.push(printed.text)
  }
  const block = /^namespace Writ \{$[^]*?^\}$/m
  const declared = (texts[0] as string).replace(block, '').trim()
  const text = `${declared}\n\n// Added by Writ.\n${block.exec(texts[1] as string)?.[0] ?? ''}\n`
  return {
    ok: true,
    schema: {
      text,
      ordinary: ordinary,
      writ: writ,
      ...model({ ...composed, [WRIT]: own }),
    },
  }
}

/** Stands for a file where there is none: problems of what was derived. */
export const nowhere = new SourceFile('derived schema', '')

const injected: readonly (readonly [string, SchemaType & { required?: boolean }, string])[] = [
  ['sensitivity', { type: 'Long' }, 'a Long'],
  ['owner', { type: 'Entity', name: 'Person', required: false }, 'a Person'],
  ['team', { type: 'Entity', name: 'Group', required: false }, 'a Group'],
  ['third_party', { type: 'Boolean', required: false }, 'a Bool'],
]

/** Attributes that come from the inventory alone. */
export const injectedNames: ReadonlySet<string> = new Set(injected.map(([name]) => name))

function withLive(context: Attributes): SchemaType {
  return {
    type: 'Record',
    attributes: { ...context, live: { type: 'Writ::Live' }, proof: { type: 'Writ::Proof' } },
  }
}

function writNamespace(pools: readonly string[], types: readonly string[]): NamespaceJson {
  const all = [...types, 'Writ::System']
  const on = (
    principals: readonly string[],
    resources: readonly string[],
    context: Attributes = {},
  ): ActionJson => ({
    appliesTo: { principalTypes: [...principals], resourceTypes: [...resources], context: withLive(context) },
  })
  return {
    commonTypes: {
      Live: {
        type: 'Record',
        attributes: mapValues(facts, ({ type, optional }) =>
          optional ? { ...type, required: false } : type,
        ),
      },
      Proof: {
        type: 'Record',
        attributes: {
          approvals: {
            type: 'Record',
            attributes: Object.fromEntries(pools.map((pool) => [pool, { type: 'Long' }])),
          },
          justification: { type: 'Bool' },
          reauth: { type: 'Bool' },
        },
      },
    },
    entityTypes: {
      System: {
        shape: { type: 'Record', attributes: Object.fromEntries(injected.map(([key, type]) => [key, type])) },
      },
    },
    actions: {
      approve: on(['Person'], all, { pool: { type: 'String' }, action: { type: 'String' } }),
      publish: on(all, ['Writ::System']),
      administer: on(all, ['Writ::System']),
      revoke: on(all, all),
      deny: on(all, ['Writ::System']),
      read: on(all, all),
      // may be governed; where no policy names it, people delegate as they like
      delegate: on(['Person'], all),
      // what targets themselves say was done there, told by a collector that may do nothing else
      observe: on(all, ['Writ::System'], { target: { type: 'String' } }),
      // a fact of somebody or something, told by whoever manages devices, sessions or risk
      report: on(all, ['Writ::System'], { fact: { type: 'String' }, about: { type: 'String' } }),
      unlock: on(all, ['Writ::System'], { what: { type: 'String' }, about: { type: 'String' } }),
    },
  }
}

/** Names of the actions in the `Writ` namespace. */
export const writActions = [
  'approve',
  'publish',
  'administer',
  'revoke',
  'deny',
  'read',
  'delegate',
  'observe',
  'report',
  'unlock',
] as const

function entityTypeNames(schema: ResolvedSchema): string[] {
  return Object.entries(schema)
    .flatMap(([space, { entityTypes }]) => Object.keys(entityTypes).map((name) => qualify(space, name)))
    .sort()
}

/** A schema as text that could be saved as a user's own. */
export function schemaText(schema: ResolvedSchema): string {
  const printed = guarded(() => cedar.schemaToText(schema as SchemaJson<string>))
  return printed.type === 'success' ? printed.text : ''
}

function mapValues<A, B>(
  record: Readonly<Record<string, A>>,
  change: (value: A, key: string) => B,
): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value, key)]))
}

/** Looks types up in a resolved schema. */
class Resolver {
  readonly #schema: ResolvedSchema

  constructor(schema: ResolvedSchema) {
    this.#schema = schema
  }

  #common(name: string): SchemaType | undefined {
    const cut = name.lastIndexOf('::')
    const types = this.#schema[cut === -1 ? '' : name.slice(0, cut)]?.commonTypes
    const last = cut === -1 ? name : name.slice(cut + 2)
    return types !== undefined && Object.hasOwn(types, last) ? types[last] : undefined
  }

  /** Attributes of a record type or of a name for one; none for `undefined`; `undefined` if it is something else. */
  record(type: SchemaType | undefined): Attributes | undefined {
    if (type === undefined) return {}
    if (type.type === 'Record') return { ...type.attributes }
    const common = this.#common(type.type)
    return common === undefined ? undefined : this.record(common)
  }

  type(type: SchemaType): Type {
    switch (type.type) {
      case 'Set':
        return { kind: 'set', element: this.type(type.element as SchemaType) }
      case 'Record':
        return { kind: 'record', fields: this.fields(type.attributes ?? {}) }
      case 'Entity':
        return { kind: 'entity', name: type.name as string }
      case 'Extension':
        return { kind: 'extension', name: type.name as Extension }
      default: {
        const common = this.#common(type.type)
        return common === undefined ? this.builtin(type) : this.type(common)
      }
    }
  }

  builtin(type: SchemaType): Type {
    if (type.type === 'Entity') return { kind: 'entity', name: type.name as string }
    const name = type.type.replace(/^__cedar::/, '')
    switch (name) {
      case 'Long':
        return { kind: 'long' }
      case 'String':
        return { kind: 'string' }
      case 'Bool':
      case 'Boolean':
        return { kind: 'bool' }
      case 'decimal':
      case 'ipaddr':
      case 'datetime':
      case 'duration':
        return { kind: 'extension', name }
      default:
        throw new TypeError(`unknown type ${type.type}`)
    }
  }

  fields(attributes: Readonly<Record<string, SchemaType & { required?: boolean }>>): Map<string, Field> {
    return new Map(
      Object.entries(attributes).map(([name, type]) => [
        name,
        { type: this.type(type), required: type.required !== false },
      ]),
    )
  }
}

function model(schema: ResolvedSchema): Pick<Schema, 'entityTypes' | 'actions' | 'facts'> {
  const resolver = new Resolver(schema)
  const entityTypes = new Map<string, EntityType>()
  const declared = new Map<string, { uid: EntityUid; json: ActionJson; above: string[] }>()
  for (const [space, namespace] of Object.entries(schema)) {
    for (const [short, json] of Object.entries(namespace.entityTypes)) {
      const name = qualify(space, short)
      entityTypes.set(name, {
        name,
        fields: resolver.fields(resolver.record(json.shape) ?? {}),
        memberOf: json.memberOfTypes ?? [],
        ...(json.enum === undefined ? {} : { ids: new Set(json.enum) }),
      })
    }
    const type = qualify(space, 'Action')
    for (const [id, json] of Object.entries(namespace.actions)) {
      const above = (json.memberOf ?? []).map((group) => uidText({ type: group.type ?? type, id: group.id }))
      declared.set(uidText({ type, id }), { uid: { type, id }, json, above })
    }
  }
  const actions = new Map<string, ActionType>()
  for (const [key, { uid, json }] of declared) {
    const self = new Set<string>([key])
    for (const name of self) for (const above of declared.get(name)?.above ?? []) self.add(above)
    const context = resolver.fields(resolver.record(json.appliesTo?.context) ?? {})
    context.delete('live')
    context.delete('proof')
    actions.set(key, {
      uid,
      principals: new Set(json.appliesTo?.principalTypes ?? []),
      resources: new Set(json.appliesTo?.resourceTypes ?? []),
      context,
      self,
    })
  }
  const live = resolver.type({ type: 'Writ::Live' })
  return { entityTypes, actions, facts: live.kind === 'record' ? live.fields : new Map() }
}

function sameType(a: Type, b: Type): boolean {
  return typeText(a) === typeText(b)
}

/** A type as Cedar schema syntax. */
export function typeText(type: Type): string {
  switch (type.kind) {
    case 'long':
      return 'Long'
    case 'string':
      return 'String'
    case 'bool':
      return 'Bool'
    case 'set':
      return `Set<${typeText(type.element)}>`
    case 'entity':
    case 'extension':
      return type.name
    case 'record': {
      const fields = [...type.fields].map(
        ([name, field]) => `${JSON.stringify(name)}${field.required ? '' : '?'}: ${typeText(field.type)}`,
      )
      return `{ ${fields.join(', ')} }`
    }
  }
}

/** The place of the last of `words` that can be found after the ones before it. */
function place(file: SourceFile, words: readonly string[]) {
  let span = { start: 0, end: Math.max(0, file.text.indexOf('\n')) }
  let from = 0
  const tokens = tokenize(file.text)
  for (const word of words) {
    const found = tokens.find(
      (token) =>
        token.start >= from &&
        (token.text === word || (token.kind === 'string' && unquote(token.text) === word)),
    )
    if (found === undefined) continue
    span = { start: found.start, end: found.end }
    from = found.end
  }
  return span
}
