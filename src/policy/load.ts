/**
 * From text to a policy set: parse, compose the schema, validate, check what is Writ's own. Every problem at once.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import type { Annotations } from './annotations.ts'
import { readAnnotations } from './annotations.ts'
import type { PlacedPolicy } from './derive.ts'
import { deriveSchema } from './derive.ts'
import type { Expression, ParsedPolicy } from './expression.ts'
import { chainOf, children, readPolicy, walk } from './expression.ts'
import { facts } from './facts.ts'
import type { Problem, Span } from './problems.ts'
import type { JudgedError, JudgeInput, Judgement } from './judge.ts'
import { judge } from './judge.ts'
import { fromByteOffset, nowhereSpan, SourceFile, suggest, tidy } from './problems.ts'
import type { Reads } from './reads.ts'
import { entityFields, poolOf, readsOf } from './reads.ts'
import type { PolicySlice } from './scan.ts'
import { findPath, slices, tokenize } from './scan.ts'
import type { Field, Schema } from './schema.ts'
import { compose, narrowingActions, parseUserSchema, schemaText, typeText, writAction } from './schema.ts'
import { namesWrit } from './scope.ts'
import type { LoadedPolicy, Parts } from './set.ts'
import { LoadedSet } from './set.ts'
import type { EntityData, PolicyInfo, PolicySet, PolicySource } from './types.ts'
import { sameUid, uidText } from './types.ts'
import type { Findings } from './typing.ts'
import { typeFields } from './typing.ts'

/**
 * Bounds of a set. Sizes keep validation short. Depths keep well below what overflows the stack of the Cedar library
 * (measured: 112 brackets, 288 nested operators), because an overflow leaves it unusable for every later call.
 */
export const policyLimits = {
  characters: 16 * 1024 * 1024,
  policies: 20_000,
  tokens: 4_000,
  brackets: 32,
  ifs: 64,
  depth: 120,
} as const

type Placed = PlacedPolicy & Readonly<{ id: string; annotations: Annotations }>

/**
 * `hash` is that of a text, e.g. `sha256:…`; the version is the hash of policies and user schema. `inventory` is what a
 * missing schema is derived from, and what the schema is held against. `derived` is the text of the schema that was
 * derived from another inventory (`ownSchemaText`), to be used instead of deriving one. What `previous` has accepted is
 * not judged again.
 */
export type LoadOptions = Readonly<{
  hash(text: string): string
  inventory: readonly EntityData[]
  derived?: string
  previous?: PolicySet | undefined
}>

export type LoadResult =
  | Readonly<{ ok: true; set: PolicySet; warnings: Problem[] }>
  | Readonly<{ ok: false; problems: Problem[] }>

/** A place to pause, or a question to be answered with `judge(input)`, here or in a worker. */
export type Step = Readonly<{ kind: 'pause' }> | Readonly<{ kind: 'judge'; input: JudgeInput }>

type Steps<T> = Generator<Step, T, Judgement | undefined>

/** Parses and validates; a set that has any error is not a set. */
export function loadPolicySet(source: PolicySource, options: LoadOptions): LoadResult {
  return driven(loadSteps(source, options))
}

/**
 * `loadPolicySet` in steps, so that whoever loads can do other things between them, and have others judge. `next` takes
 * the judgement that was asked for.
 */
export function* loadSteps(source: PolicySource, options: LoadOptions): Steps<LoadResult> {
  const loaded = yield* partSteps(source, options)
  return loaded.ok ? { ok: true, set: new LoadedSet(loaded.parts), warnings: loaded.warnings } : loaded
}

/** All steps at once. */
function driven<T>(steps: Steps<T>): T {
  let judgement: Judgement | undefined
  for (;;) {
    const step = steps.next(judgement)
    if (step.done === true) return step.value
    judgement = step.value.kind === 'judge' ? judge(step.value.input) : undefined
  }
}

type PartsResult =
  | Readonly<{ ok: true; parts: Parts; warnings: Problem[] }>
  | Readonly<{ ok: false; problems: Problem[] }>

/** What a set is made of. */
export function loadParts(source: PolicySource, options: LoadOptions): PartsResult {
  return driven(partSteps(source, options))
}

function* partSteps(source: PolicySource, options: LoadOptions): Steps<PartsResult> {
  const problems: Problem[] = []
  const files = source.policies.map(({ name, text }) => new SourceFile(name, text))
  const fail = () => ({ ok: false, problems: tidy(problems) }) as const

  checkSize(files, problems)
  if (problems.length > 0) return fail()
  const policies: Placed[] = []
  for (const file of files) {
    policies.push(...parseFile(file, problems))
    yield pause
  }
  const [surplus] = policies.slice(policyLimits.policies)
  if (surplus !== undefined) {
    const hint = `at most ${policyLimits.policies} are allowed`
    problems.push(surplus.file.problem('P022', surplus.slice, 'there are too many policies', { hint }))
  }
  if (problems.some(({ code }) => code === 'P022')) return fail()
  uniqueIds(policies, problems)
  const parsed = !problems.some(({ code }) => code === 'P001' || code === 'P006')
  const pools = poolsOf(policies.map((policy) => policy.parsed))

  // With a policy missing, pools and what is derived would be incomplete: the rest is checked once everything parses.
  const given =
    source.schema ?? (options.derived === undefined ? undefined : { name: 'derived', text: options.derived })
  const schemaFile = given === undefined ? undefined : new SourceFile(given.name, given.text)
  let schema: Schema | undefined
  let ownSchemaText = given?.text ?? ''
  if (schemaFile !== undefined) {
    checkText(schemaFile, problems)
    const deep = schemaDepth(schemaFile.text) > 4 * policyLimits.brackets
    if (deep) problems.push(schemaFile.problem('P022', nowhereSpan, 'the schema is too deeply nested'))
    const user = deep ? ({ ok: false, problems: [] } as const) : parseUserSchema(schemaFile)
    if (!user.ok) problems.push(...user.problems)
    else {
      const composed = compose(user.schema, pools, schemaFile)
      if (composed.ok) schema = composed.schema
      else problems.push(...composed.problems)
    }
  } else if (parsed) {
    const derived = deriveSchema(policies, options.inventory)
    problems.push(...derived.problems)
    ownSchemaText = schemaText(derived.schema)
    if (derived.problems.length === 0) {
      const composed = compose(derived.schema, pools, undefined)
      if (composed.ok) schema = composed.schema
      else problems.push(...composed.problems)
    }
  }
  if (schema === undefined) return fail()
  if (parsed) for (const policy of policies) checkPools(policy, pools, problems)
  yield* validate(policies, schema, problems)
  const world = { allFacts: [...schema.facts.keys()], pools, entityFields: entityFields(schema) }
  const keys = new Set([...schema.actions.values()].flatMap(({ context }) => [...context.keys()]))
  const loaded = policies.map((policy): LoadedPolicy => {
    const reads = readsOf(policy.parsed, world)
    return { ...policy, reads, info: infoOf(policy, reads, keys) }
  })
  for (const policy of loaded) checkNarrowing(policy, problems)
  checkInventory(schema, options.inventory, problems)
  if (problems.some(({ severity }) => severity === 'error')) return fail()
  const parts = {
    version: options.hash(versionText(source)),
    source,
    derivedSchema: source.schema === undefined,
    ownSchemaText,
    schema,
    pools,
    policies: loaded,
  }
  return { ok: true, parts, warnings: tidy(problems) }
}

const pause: Step = { kind: 'pause' }

function schemaDepth(text: string): number {
  let depth = 0
  let deepest = 0
  for (const token of tokenize(text)) {
    if (token.kind !== 'mark') continue
    if ('([{<'.includes(token.text)) deepest = Math.max(deepest, ++depth)
    else if (')]}>'.includes(token.text)) depth--
  }
  return deepest
}

/** What the version is the hash of: the same for any order of the same files. */
function versionText(source: PolicySource): string {
  const policies = source.policies
    .map(({ name, text }) => [name, text] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return JSON.stringify({ policies, schema: source.schema?.text ?? null })
}

function checkSize(files: readonly SourceFile[], problems: Problem[]): void {
  const total = files.reduce((sum, file) => sum + file.text.length, 0)
  const [first] = files
  if (total > policyLimits.characters && first !== undefined) {
    problems.push(
      first.problem('P022', nowhereSpan, `the policies have ${total} characters`, {
        hint: `at most ${policyLimits.characters} are allowed`,
      }),
    )
  }
  const count = files.reduce((sum, file) => sum + file.text.split(';').length - 1, 0)
  if (count > 2 * policyLimits.policies && first !== undefined) {
    const hint = `at most ${policyLimits.policies} are allowed`
    problems.push(first.problem('P022', nowhereSpan, 'there are too many policies', { hint }))
  }
  const names = new Set<string>()
  for (const file of files) {
    if (names.has(file.name)) {
      problems.push(
        file.problem('P003', nowhereSpan, `two files are called \`${file.name}\``, { hint: 'rename one' }),
      )
    }
    names.add(file.name)
  }
}

/** Text that reaches Cedar as something else than it looks here. */
function checkText(file: SourceFile, problems: Problem[]): void {
  if (!file.text.isWellFormed()) {
    const start = [...file.text.matchAll(/\p{Cs}/gu)][0]?.index ?? 0
    problems.push(
      file.problem('P001', { start, end: start + 1 }, 'the text holds half a character', {
        hint: 'save it as UTF-8',
      }),
    )
  }
  const start = file.text.indexOf('__proto__')
  if (start !== -1) {
    problems.push(
      file.problem('P007', { start, end: start + 9 }, '`__proto__` cannot be a name', {
        hint: 'choose another',
      }),
    )
  }
}

function parseFile(file: SourceFile, problems: Problem[]): Placed[] {
  checkText(file, problems)
  const found: Placed[] = []
  for (const slice of slices(file.text)) {
    const { tokens } = slice
    const slot = tokens.findIndex(
      ({ text }, at) => text === '?' && /^(principal|resource)$/.test(tokens[at + 1]?.text ?? ''),
    )
    if (slot !== -1) {
      const span = { start: tokens[slot]?.start ?? 0, end: tokens[slot + 1]?.end ?? 0 }
      const hint = 'write one policy per case, or name a group'
      problems.push(file.problem('P006', span, 'policy templates are not supported', { hint }))
      continue
    }
    const ifs = tokens.filter(({ text }) => text === 'if').length
    const flat =
      slice.depth <= policyLimits.brackets && ifs <= policyLimits.ifs && tokens.length <= policyLimits.tokens
    const parsed = flat ? parseSlice(file, slice, problems) : undefined
    if (!flat || (parsed !== undefined && depthOf(parsed) > policyLimits.depth)) {
      const hint = 'split it into several policies'
      problems.push(
        file.problem('P022', tokens[0] ?? slice, 'the policy is too large or too deeply nested', { hint }),
      )
    }
    if (!flat || parsed === undefined) continue
    const { annotations, problems: malformed } = readAnnotations(file, slice, parsed.effect)
    problems.push(...malformed)
    const { action } = parsed.scope
    if (namesWrit(action) && !action.any && action.oneOf.some((uid) => uid.type !== 'Writ::Action')) {
      const hint = 'write one policy for each'
      problems.push(
        file.problem('P024', slice.tokens[0] ?? slice, 'the policy names actions of Writ and others', {
          hint,
        }),
      )
      continue
    }
    const { line } = file.place(slice.start)
    found.push({ file, slice, parsed, annotations, id: annotations.id ?? `${file.name}:${line}` })
  }
  return found
}

function parseSlice(file: SourceFile, slice: PolicySlice, problems: Problem[]): ParsedPolicy | undefined {
  const text = textOf(file, slice)
  try {
    const answer = cedar.policyToJson(text)
    if (answer.type === 'success') return readPolicy(answer.json)
    for (const error of answer.errors) {
      const place = error.sourceLocations?.[0]
      const span = place === undefined ? slice : within(text, slice, place)
      const message = error.message.replace(/^failed to parse policy from string: /, '')
      const label = place?.label ?? error.help
      const hint = label === null ? undefined : label.length > 120 ? `${label.slice(0, 110)}…` : label
      problems.push(file.problem('P001', span, message, { hint }))
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    problems.push(file.problem('P001', slice, `the policy cannot be read: ${message}`))
  }
  return undefined
}

/** How deep the Cedar library has to go for it: conditions are joined into one expression. */
function depthOf({ conditions }: ParsedPolicy): number {
  let deepest = 0
  for (const { body } of conditions) {
    let level: readonly Expression[] = [body]
    for (let depth = 1; level.length > 0; depth++) {
      deepest = Math.max(deepest, depth)
      level = level.flatMap(children)
    }
  }
  return deepest + conditions.length
}

const textOf = (file: SourceFile, slice: Span): string => file.text.slice(slice.start, slice.end)

function within(text: string, slice: Span, place: { start: number; end: number }): Span {
  return {
    start: slice.start + fromByteOffset(text, place.start),
    end: slice.start + fromByteOffset(text, place.end),
  }
}

function uniqueIds(policies: readonly Placed[], problems: Problem[]): void {
  const first = new Map<string, Placed>()
  for (const policy of policies) {
    const before = first.get(policy.id)
    if (before === undefined) {
      first.set(policy.id, policy)
      continue
    }
    const { line } = before.file.place(before.slice.start)
    const message = `the id \`${policy.id}\` is taken by ${before.file.name}:${line}`
    const start = policy.slice.tokens[0]
    problems.push(
      policy.file.problem('P003', start ?? policy.slice, message, { hint: 'give it another `@id`' }),
    )
  }
}

/**
 * The kinds of approval there are: whatever text policies on `Writ::Action::"approve"` compare `context.pool` with.
 */
export function poolsOf(policies: readonly ParsedPolicy[]): string[] {
  const pools = new Set<string>()
  const isPool = (expression: Expression): boolean => {
    const chain = chainOf(expression)
    return chain?.root === 'context' && chain.names.length === 1 && chain.names[0] === 'pool'
  }
  const add = (expression: Expression): void => {
    if (expression.op === 'literal' && typeof expression.value === 'string') pools.add(expression.value)
    if (expression.op === 'set') expression.items.forEach(add)
  }
  for (const { scope, conditions } of policies) {
    if (scope.action.any || !scope.action.oneOf.some((uid) => sameUid(uid, writAction('approve')))) continue
    for (const { body } of conditions) {
      for (const part of walk(body)) {
        if (part.op !== 'binary') continue
        if ((part.name === '==' || part.name === '!=') && isPool(part.left)) add(part.right)
        if ((part.name === '==' || part.name === '!=') && isPool(part.right)) add(part.left)
        if (part.name === 'contains' && isPool(part.right)) add(part.left)
      }
    }
  }
  return [...pools].sort()
}

function checkPools(policy: Placed, pools: readonly string[], problems: Problem[]): void {
  for (const { body } of policy.parsed.conditions) {
    for (const part of walk(body)) {
      const pool = poolOf(part) ?? testedPool(part)
      if (pool === undefined || pools.includes(pool)) continue
      const span = findPath(policy.slice, ['context', 'proof', 'approvals', pool]) ?? policy.slice
      const hint =
        suggest(pool, pools, 'pools') ??
        `say who may approve: \`permit(principal in Group::"…", action == Writ::Action::"approve", resource) when { context.pool == ${JSON.stringify(pool)} };\``
      problems.push(policy.file.problem('P011', span, `unknown approval pool \`${pool}\``, { hint }))
    }
  }
}

function testedPool(part: Expression): string | undefined {
  if (part.op !== 'has') return undefined
  const chain = chainOf(part.of)
  if (chain?.root !== 'context') return undefined
  const [first, second, third] = [...chain.names, ...part.path]
  return first === 'proof' && second === 'approvals' ? third : undefined
}

/** Cedar's strict validation: ordinary policies without Writ's actions, policies that name those with them. */
function* validate(policies: readonly Placed[], schema: Schema, problems: Problem[]): Steps<void> {
  const groups = [
    { json: schema.ordinary, members: policies.filter(({ parsed }) => !namesWrit(parsed.scope.action)) },
    { json: schema.writ, members: policies.filter(({ parsed }) => namesWrit(parsed.scope.action)) },
  ]
  for (const { json, members } of groups) {
    const [first] = members
    if (first === undefined) continue
    const texts = members.map((policy) => textOf(policy.file, policy.slice))
    const judgement = yield { kind: 'judge', input: { kind: 'validate', texts, schema: json } }
    if (judgement?.kind !== 'validate') throw new TypeError('expected a judgement')
    if (judgement.failed !== undefined) {
      problems.push(first.file.problem('P019', first.slice, judgement.failed))
      continue
    }
    const errors = judgement.errors.map(({ at, error }) =>
      translateError(members[at] as Placed, error, schema),
    )
    problems.push(...merged(errors))
    const wrong = new Set(judgement.errors.map(({ at }) => at))
    // A policy that has an error is often impossible because of it: only the cause is said.
    for (const { at, error } of judgement.warnings) {
      if (!wrong.has(at)) problems.push(translateWarning(members[at] as Placed, error))
    }
  }
}

/** One finding for each place: what several types lack is said once. */
function merged(errors: readonly Problem[]): Problem[] {
  const byPlace = new Map<string, Problem[]>()
  for (const problem of errors) {
    const key =
      problem.code === 'P014' ? `${problem.file}:${problem.line}:${problem.column}` : `${byPlace.size}`
    byPlace.set(key, [...(byPlace.get(key) ?? []), problem])
  }
  return [...byPlace.values()].map((all) => {
    const [first, ...others] = all as [Problem, ...Problem[]]
    const lacking = [...new Set(all.map(({ message }) => / on `(.+)`$/.exec(message)?.[1]))].filter(
      (type) => type !== undefined,
    )
    if (others.length === 0 || lacking.length < 2) return first
    const types = lacking.slice(0, 3).map((type) => `\`${type}\``)
    const rest = lacking.length > types.length ? ` and ${lacking.length - types.length} more types` : ''
    return { ...first, message: `${first.message.replace(/ on `.+`$/, '')} on ${types.join(', ')}${rest}` }
  })
}

function translateError(policy: Placed, error: JudgedError, schema: Schema): Problem {
  const { file, slice } = policy
  const text = textOf(file, slice)
  const { place } = error
  const span = place === undefined ? slice : within(text, slice, place)
  const message = error.message.replace(/^for policy `[^`]*`, /, '')
  const help = error.help?.replace(/^for policy `[^`]*`, /, '') ?? undefined
  const missing =
    /^attribute `([^`]*)` (?:in context for (.+?)|on entity type `(.+?)`|on record type.*?|.*?) ?not found$/.exec(
      message,
    )
  if (missing !== null) {
    const path = (missing[1] as string).split('.')
    const at = upTo(file, span, path)
    const fields =
      missing[3] === undefined
        ? contextFields(missing[2], schema)
        : schema.entityTypes.get(missing[3])?.fields
    const names = fieldsBelow(fields, path.slice(0, -1))
    if (path[0] === 'proof' && path[1] === 'approvals') {
      return file.problem('P011', span, `unknown approval pool \`${path[2] ?? ''}\``, {
        hint: suggest(path[2] ?? '', names, 'pools'),
      })
    }
    const having = missing[3] === undefined ? [] : typesWith(schema, path[0] ?? '')
    const shown = textOf(file, at)
    const narrow = /^(principal|resource)\.\w+$/.exec(shown)
    const hint =
      having.length > 0 && narrow !== null
        ? `only some types have it: \`${narrow[1]} is ${having[0]} && …\``
        : (suggest(path.at(-1) ?? '', names, 'attributes') ?? help)
    const what = missing[3] === undefined ? '' : ` on \`${missing[3]}\``
    return file.problem('P014', at, `unknown attribute \`${short(textOf(file, at))}\`${what}`, { hint })
  }
  const optional = /^unable to guarantee safety of access to optional attribute `([^`]*)`/.exec(message)?.[1]
  if (optional !== undefined) {
    const at = upTo(file, span, optional.split('.'))
    const shown = short(textOf(file, at))
    return file.problem('P013', at, `\`${shown}\` may be absent`, {
      hint: `test it first: \`${hasText(shown)} && …\``,
    })
  }
  const type = /^unrecognized entity type `(.+)`$/.exec(message)?.[1]
  if (type !== undefined) {
    return file.problem('P008', span, `unknown entity type \`${type}\``, {
      hint: suggest(type, schema.entityTypes.keys(), 'types'),
    })
  }
  const action = /^unrecognized action `(.+)`$/.exec(message)?.[1]
  if (action !== undefined) {
    const known = [...schema.actions.values()].map(({ uid }) => uidText(uid))
    return file.problem('P009', span, `unknown action \`${action}\``, {
      hint: suggest(action, known, 'actions'),
    })
  }
  if (/type/.test(message)) return file.problem('P012', span, message, { hint: help })
  return file.problem('P019', span, message, { hint: help })
}

const typesWith = (schema: Schema, attribute: string): string[] =>
  [...schema.entityTypes.values()].filter(({ fields }) => fields.has(attribute)).map(({ name }) => name)

function contextFields(action: string | undefined, schema: Schema): ReadonlyMap<string, Field> | undefined {
  const known = action === undefined ? undefined : schema.actions.get(action)
  if (known === undefined) return undefined
  const live: Field = { type: { kind: 'record', fields: schema.facts }, required: true }
  return new Map([...known.context, ['live', live]])
}

function fieldsBelow(fields: ReadonlyMap<string, Field> | undefined, path: readonly string[]): string[] {
  let at = fields
  for (const name of path) {
    const type = at?.get(name)?.type
    at = type?.kind === 'record' ? type.fields : undefined
  }
  return [...(at?.keys() ?? [])]
}

/** The part of an access such as `context.live.task.id` that ends with the names the library complains about. */
function upTo(file: SourceFile, span: Span, names: readonly string[]): Span {
  const text = textOf(file, span)
  if (!/^\w+(\.\w+)*$/.test(text)) return span
  const parts = text.split('.')
  for (let end = names.length + 1; end < parts.length; end++) {
    const head = parts.slice(0, end)
    if (head.slice(-names.length).join('.') === names.join('.'))
      return { start: span.start, end: span.start + head.join('.').length }
  }
  return span
}

/** `context.a.b` as `context.a has b`. */
function hasText(access: string): string {
  const match = /^([^]+)\.(\w+)$/.exec(access)
  return match === null ? 'e has attribute' : `${match[1]} has ${match[2]}`
}

function short(text: string): string {
  const line = text.replace(/\s+/g, ' ')
  return line.length > 60 ? `${line.slice(0, 57)}…` : line
}

function translateWarning(policy: Placed, error: JudgedError): Problem {
  const { file, slice } = policy
  const message = error.message.replace(/^for policy `[^`]*`, /, '')
  if (/impossible|unable to find an applicable action/.test(message)) {
    const word = slice.tokens.find(({ text }) => text === policy.parsed.effect) ?? slice
    return file.problem('P015', word, 'this policy can never fire', {
      hint: 'its head and conditions exclude every attempt that the schema allows',
    })
  }
  const text = textOf(file, slice)
  const { place } = error
  const span = place === undefined ? slice : within(text, slice, place)
  return file.problem('P023', span, message, { severity: 'warning', hint: error.help ?? undefined })
}

function checkNarrowing({ file, slice, parsed, reads }: LoadedPolicy, problems: Problem[]): void {
  if (parsed.scope.action.any) return
  const narrowing = parsed.scope.action.oneOf.some(
    (uid) => uid.type === 'Writ::Action' && narrowingActions.has(uid.id),
  )
  if (!narrowing) return
  for (const fact of reads.facts) {
    if (!Object.hasOwn(facts, fact) || facts[fact]?.pulled !== true) continue
    const span = findPath(slice, ['context', 'live', fact]) ?? slice
    const hint = 'taking away must work while the source is down'
    problems.push(file.problem('P018', span, `\`context.live.${fact}\` may not be read here`, { hint }))
  }
}

/** What the schema cannot hold of the inventory is unknown to policies; better said now than found out later. */
function checkInventory(schema: Schema, inventory: readonly EntityData[], problems: Problem[]): void {
  const file = new SourceFile('inventory', '')
  const warn = (message: string, hint: string) => {
    if (problems.length < 200)
      problems.push(file.problem('P021', nowhereSpan, message, { severity: 'warning', hint }))
  }
  for (const { uid, attrs, parents } of inventory) {
    const type = schema.entityTypes.get(uid.type)
    if (type === undefined) {
      warn(
        `\`${uidText(uid)}\` has an undeclared type`,
        suggest(uid.type, schema.entityTypes.keys(), 'types') ?? '',
      )
      continue
    }
    for (const parent of parents) {
      if (!type.memberOf.includes(parent.type)) {
        warn(
          `\`${uidText(uid)}\` is in \`${uidText(parent)}\``,
          `declare \`entity ${uid.type} in [${parent.type}]\``,
        )
      }
    }
    const found: Findings = { unknown: [], dropped: [] }
    typeFields(attrs, type.fields, schema.entityTypes, [], found)
    for (const path of found.unknown) {
      const field = type.fields.get(path[0] as string)
      if (path[0] === 'sensitivity' && !Object.hasOwn(attrs, 'sensitivity')) continue
      warn(
        `\`${path.join('.')}\` of \`${uidText(uid)}\` is unknown to policies`,
        `it must be ${field === undefined ? 'declared' : typeText(field.type)}`,
      )
    }
  }
}

function infoOf(policy: Placed, reads: Reads, keys: ReadonlySet<string>): PolicyInfo {
  const { file, slice, parsed } = policy
  const whole = reads.context.some((path) => path.length === 0)
  return {
    id: policy.id,
    file: file.name,
    line: file.place(slice.start).line,
    effect: parsed.effect,
    annotations: Object.fromEntries([...parsed.annotations].map(([name, value]) => [name, value ?? ''])),
    scope: parsed.scope,
    reads: {
      facts: reads.facts,
      contextKeys: whole ? keys : new Set(reads.context.map(([first]) => first as string)),
      approvals: new Map(
        [...reads.approvals].map(([pool, counts]) => [pool, [...counts].sort((a, b) => a - b)]),
      ),
      justification: reads.justification,
    },
    governsWrit: namesWrit(parsed.scope.action),
    text: textOf(file, slice),
  }
}
