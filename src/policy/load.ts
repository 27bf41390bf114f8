/**
 * From text to a policy set: parse, compose the schema, validate, check what is Writ's own. Every problem at once.
 *
 * @module
 */
import type { Annotations } from './annotations.ts'
import { annotationTexts, readAnnotations } from './annotations.ts'
import type { PlacedPolicy } from './derive.ts'
import { deriveSteps } from './derive.ts'
import { unknownCall } from './engine/compile.ts'
import { readPolicy } from './engine/est.ts'
import type { Cut } from './engine/parse.ts'
import { cutAt, ends, Gap, parsePolicy, tokenize } from './engine/parse.ts'
import type { Rule } from './engine/rule.ts'
import { toBody, toRule } from './engine/rule.ts'
import type { Expr, Policy } from './engine/tree.ts'
import { accessOf, children, walk } from './engine/tree.ts'
import { facts } from './facts.ts'
import type { JudgedError, JudgeInput, Judgement } from './judge.ts'
import { judge } from './judge.ts'
import type { Problem, Span } from './problems.ts'
import { fromByteOffset, nowhereSpan, SourceFile, suggest, tidy } from './problems.ts'
import type { Reads } from './reads.ts'
import { entityFields, poolOf, readsOf } from './reads.ts'
import { firstToken, pathIn } from './scan.ts'
import type { Field, Schema } from './schema.ts'
import { compose, narrowingActions, parseUserSchema, schemaText, typeText, writAction } from './schema.ts'
import { namesWrit, scopeOf } from './scope.ts'
import { keysOf, readKeys } from './lookup.ts'
import type { LoadedPolicy, Parts } from './set.ts'
import { LoadedSet, lookupSteps } from './set.ts'
import type { EntityData, PolicyInfo, PolicyReads, PolicySet, PolicySource } from './types.ts'
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

/** A policy before it is known to be valid. */
type Placed = PlacedPolicy &
  Readonly<{
    id: string
    text: string
    annotations: Annotations
    notes: Readonly<Record<string, string>>
    base: number
    /** The policy of the same text in the set before. */
    before: LoadedPolicy | undefined
  }>

/**
 * `hash` is that of a text, e.g. `sha256:…`; the version is the hash of policies and user schema. `inventory` is what a
 * missing schema is derived from, and what the schema is held against. `derived` is the text of the schema that was
 * derived from another inventory (`ownSchemaText`), to be used instead of deriving one. What `previous` has accepted is
 * not judged again.
 */
export type LoadOptions = Readonly<{
  hash(text: string): string
  /** `hash` of a text that comes in parts, so that a long one can be hashed in steps. */
  hashing?: (() => Hashing) | undefined
  inventory: readonly EntityData[]
  derived?: string
  previous?: PolicySet | undefined
  /** For tests: without an index, or with one that is as deep as it can be. */
  index?: boolean | 'deep'
}>

export type Hashing = Readonly<{ update(text: string): void; digest(): string }>

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
  if (!loaded.ok) return loaded
  const { parts, warnings } = loaded
  const lookups = yield* pausing(lookupSteps(parts.policies, options.index))
  return { ok: true, set: new LoadedSet(parts, lookups), warnings }
}

const pause: Step = { kind: 'pause' }

/** Steps that ask nothing. */
function* pausing<T>(steps: Generator<undefined, T, undefined>): Steps<T> {
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
    yield pause
  }
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

/** What the reference said of texts so far. */
type Heard = {
  /** It does not parse. */
  readonly refused: Map<string, readonly JudgedError[]>
  /** Read by the reference, since the parser here gave up. */
  readonly read: Map<string, unknown>
  /** It parses. */
  readonly accepted: Set<string>
  /** It is valid, and something is to be said about it. */
  readonly warned: Set<string>
}

function* partSteps(source: PolicySource, options: LoadOptions): Steps<PartsResult> {
  const heard: Heard = { refused: new Map(), read: new Map(), accepted: new Set(), warned: new Set() }
  for (;;) {
    const attempt = yield* attemptSteps(source, options, heard)
    if (attempt.ok) return attempt
    // Something is wrong. What does not even parse is said before what follows from it.
    const doubtful = attempt.texts.filter((text) => !heard.accepted.has(text) && !heard.refused.has(text))
    if (doubtful.length === 0) return attempt
    const judgement = yield { kind: 'judge', input: { kind: 'check', texts: doubtful } }
    if (judgement?.kind !== 'check') throw unasked()
    for (const text of doubtful) heard.accepted.add(text)
    for (const { at, errors } of judgement.refused) {
      const text = doubtful[at] as string
      heard.accepted.delete(text)
      heard.refused.set(text, errors)
    }
    if (judgement.refused.length === 0) return attempt
  }
}

const unasked = (): TypeError => new TypeError('expected another judgement')

type Attempt =
  | Readonly<{ ok: true; parts: Parts; warnings: Problem[] }>
  | Readonly<{ ok: false; problems: Problem[]; texts: readonly string[] }>

function* attemptSteps(source: PolicySource, options: LoadOptions, heard: Heard): Steps<Attempt> {
  const before = options.previous instanceof LoadedSet ? options.previous.parts : undefined
  const problems: Problem[] = []
  let texts: readonly string[] = []
  const fail = () => ({ ok: false, problems: tidy(problems), texts }) as const

  const files = filesOf(source, before)
  checkSize(files, problems)
  if (problems.length > 0) return fail()
  const policies = yield* policySteps(files, before, heard, problems)
  texts = policies.map(({ text }) => text)
  yield pause
  const [surplus] = policies.slice(policyLimits.policies)
  if (surplus !== undefined) {
    const hint = `at most ${policyLimits.policies} are allowed`
    problems.push(surplus.file.problem('P022', surplus.slice, 'there are too many policies', { hint }))
  }
  if (problems.some(({ code }) => code === 'P022')) return { ...fail(), texts: [] }
  yield* uniqueIds(policies, problems)
  const parsed = !problems.some(({ code }) => code === 'P001' || code === 'P006')
  yield pause
  const pools = poolsOf(policies)

  // With a policy missing, pools and what is derived would be incomplete: the rest is checked once everything parses.
  const given =
    source.schema ?? (options.derived === undefined ? undefined : { name: 'derived', text: options.derived })
  const schemaFile = given === undefined ? undefined : new SourceFile(given.name, given.text)
  let schema: Schema | undefined
  let ownSchemaText = given?.text ?? ''
  /** What was composed of the same is the same. */
  const composedBefore = (text: string): Schema | undefined =>
    before?.ownSchemaText === text && JSON.stringify(before.pools) === JSON.stringify(pools)
      ? before.schema
      : undefined
  if (schemaFile !== undefined) {
    schema = composedBefore(schemaFile.text)
    if (schema === undefined) {
      checkText(schemaFile, problems)
      const deep = schemaDepth(schemaFile.text) > 4 * policyLimits.brackets
      if (deep) problems.push(schemaFile.problem('P022', nowhereSpan, 'the schema is too deeply nested'))
      const user = deep ? ({ ok: false, problems: [] } as const) : parseUserSchema(schemaFile)
      yield pause
      if (!user.ok) problems.push(...user.problems)
      else {
        const composed = compose(user.schema, pools, schemaFile)
        if (composed.ok) schema = composed.schema
        else problems.push(...composed.problems)
      }
    }
  } else if (parsed) {
    const derived = yield* pausing(deriveSteps(policies, options.inventory))
    problems.push(...derived.problems)
    ownSchemaText = schemaText(derived.schema)
    yield pause
    if (derived.problems.length === 0) {
      schema = composedBefore(ownSchemaText)
      if (schema === undefined) {
        const composed = compose(derived.schema, pools, undefined)
        if (composed.ok) schema = composed.schema
        else problems.push(...composed.problems)
      }
    }
  }
  if (schema === undefined) return fail()
  yield pause
  const isSame = before !== undefined && before.schema.text === schema.text
  if (parsed) yield* checkPools(policies, pools, isSame, problems)
  if (isSame) schema = before.schema
  yield* validate(policies, schema, isSame, heard, problems)
  const loaded = yield* loadedSteps(policies, schema, pools, isSame, heard)
  for (const [index, policy] of loaded.entries()) {
    if (index % (8 * BREATH) === 0) yield pause
    checkNarrowing(policy, problems)
  }
  yield* checkInventory(schema, options.inventory, problems)
  if (problems.some(({ severity }) => severity === 'error')) return fail()
  const parts = {
    version: yield* versionOf(source, options),
    source,
    derivedSchema: source.schema === undefined,
    ownSchemaText,
    schema,
    pools,
    policies: loaded,
  }
  return { ok: true, parts, warnings: tidy(problems) }
}

/** Files that are as they were are the same files. */
function filesOf(source: PolicySource, before: Parts | undefined): SourceFile[] {
  const known = new Map<string, SourceFile>()
  for (const { file } of before?.policies ?? []) known.set(file.name, file)
  return source.policies.map(({ name, text }) => {
    const file = known.get(name)
    return file?.text === text ? file : new SourceFile(name, text)
  })
}

/** Reads of each policy, and the rule that runs it. */
function* loadedSteps(
  policies: readonly Placed[],
  schema: Schema,
  pools: readonly string[],
  isSame: boolean,
  heard: Heard,
): Steps<LoadedPolicy[]> {
  const world = { allFacts: [...schema.facts.keys()], pools, entityFields: entityFields(schema) }
  const contextKeys = new Set([...schema.actions.values()].flatMap(({ context }) => [...context.keys()]))
  const intern = new Interned(contextKeys)
  const taken = new Set<Reads>()
  const loaded: LoadedPolicy[] = []
  for (const [position, policy] of policies.entries()) {
    if (position % BREATH === 0) yield pause
    const { id, text, before, file, slice, tree, scope, annotations, base } = policy
    const known = isSame ? before : undefined
    if (known !== undefined && !taken.has(known.reads)) {
      taken.add(known.reads)
      intern.keep(known)
    }
    if (known !== undefined && known.file === file && known.rule.position === position) {
      loaded.push(known)
      continue
    }
    const rule =
      before === undefined
        ? toRule(id, position, tree, toBody(tree))
        : ({ ...before.rule, id, position } satisfies Rule)
    const isClean = !heard.warned.has(text)
    const same = { file, slice, tree, scope, annotations, base, rule, isClean }
    if (known === undefined) {
      const { reads, told, readers } = intern.reads(readsOf(tree, world))
      const info = infoOf(policy, told)
      const { head, opening } = keysOf({ info, tree, rule })
      const keys = { head: intern.text(head), opening: intern.text(opening), readers }
      loaded.push({ ...same, reads, info, keys })
    } else {
      const info = { ...known.info, id, file: file.name, line: lineOf(policy) }
      loaded.push({ ...same, reads: known.reads, info, keys: known.keys })
    }
  }
  return loaded
}

/** What policies read, with what is told of it. */
type KnownReads = Readonly<{ reads: Reads; told: PolicyReads; readers: readonly string[] }>

/** What is the same for many policies is kept once: it is most of what a policy takes. */
class Interned {
  readonly #texts = new Map<string, string>()
  readonly #reads = new Map<string, KnownReads>()
  /** What is told of reads of the whole context. */
  readonly #contextKeys: ReadonlySet<string>

  constructor(contextKeys: ReadonlySet<string>) {
    this.#contextKeys = contextKeys
  }

  text(text: string): string {
    const known = this.#texts.get(text)
    if (known === undefined) this.#texts.set(text, text)
    return known ?? text
  }

  reads(reads: Reads): KnownReads {
    const key = readsKey(reads)
    let known = this.#reads.get(key)
    if (known === undefined) {
      known = { reads, told: toldReads(reads, this.#contextKeys), readers: [...readKeys(reads)] }
      this.#reads.set(key, known)
    }
    return known
  }

  /** Those of a policy that is taken over. */
  keep({ reads, info, keys }: LoadedPolicy): void {
    const key = readsKey(reads)
    if (!this.#reads.has(key)) this.#reads.set(key, { reads, told: info.reads, readers: keys.readers })
  }
}

function readsKey(reads: Reads): string {
  const { facts: names, context, principal, resource, anyEntity, approvals, justification, reauth } = reads
  const counts = [...approvals].map(([pool, some]) => [pool, ...some])
  const entity = [principal, resource, [...anyEntity]]
  return JSON.stringify([[...names], context, entity, counts, justification, reauth])
}

function toldReads(reads: Reads, contextKeys: ReadonlySet<string>): PolicyReads {
  const isWhole = reads.context.some((path) => path.length === 0)
  return {
    facts: reads.facts,
    contextKeys: isWhole ? contextKeys : new Set(reads.context.map(([first]) => first as string)),
    approvals: new Map(
      [...reads.approvals].map(([pool, counts]) => [pool, [...counts].sort((a, b) => a - b)]),
    ),
    justification: reads.justification,
    reauth: reads.reauth,
  }
}

const lineOf = ({ file, slice }: PlacedPolicy): number => file.lineAt(slice.start)

/** Policies looked at between two places to pause. */
const BREATH = 25

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

/** The hash of the files, the same for any order of them. */
function* versionOf(source: PolicySource, { hash, hashing }: LoadOptions): Steps<string> {
  const policies = source.policies
    .map(({ name, text }) => [name, text] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  const schema = source.schema?.text ?? null
  if (hashing === undefined) return hash(JSON.stringify({ policies, schema }))
  // the same text, said bit by bit
  const state = hashing()
  state.update('{"policies":[')
  for (const [index, [name, text]] of policies.entries()) {
    state.update(`${index === 0 ? '' : ','}[${JSON.stringify(name)},"`)
    for (let at = 0; at < text.length;) {
      const end = pieceEnd(text, at)
      state.update(JSON.stringify(text.slice(at, end)).slice(1, -1))
      at = end
      yield pause
    }
    state.update('"]')
  }
  state.update(`],"schema":${JSON.stringify(schema)}}`)
  return state.digest()
}

/** Hashed at once. */
const PIECE = 128 * 1024

function pieceEnd(text: string, from: number): number {
  const end = from + PIECE
  if (end >= text.length) return text.length
  const code = text.charCodeAt(end - 1)
  return code >= 0xd800 && code < 0xdc00 ? end + 1 : end
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
  const count = files.reduce((sum, file) => sum + semicolons(file.text), 0)
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

function semicolons(text: string): number {
  let count = 0
  for (let at = text.indexOf(';'); at !== -1; at = text.indexOf(';', at + 1)) count += 1
  return count
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

/** A policy that the parser here gave up on, until the reference has read it. */
type GapPiece = Readonly<{ file: SourceFile; cut: Cut; text: string; gap: true }>

/** The policies of all files, as far as they can be read. */
function* policySteps(
  files: readonly SourceFile[],
  parts: Parts | undefined,
  heard: Heard,
  problems: Problem[],
): Steps<Placed[]> {
  const byText = new Map<string, LoadedPolicy>()
  const byFile = new Map<SourceFile, LoadedPolicy[]>()
  for (const [index, policy] of parts?.policies.entries() ?? []) {
    if (index % (8 * BREATH) === 0) yield pause
    byText.set(policy.info.text, policy)
    const known = byFile.get(policy.file)
    if (known === undefined) byFile.set(policy.file, [policy])
    else known.push(policy)
  }
  const found: (Placed | GapPiece)[] = []
  const gaps = new Set<string>()
  let steps = 0
  for (const file of files) {
    const same = byFile.get(file)
    if (same !== undefined) {
      for (const policy of same) {
        if ((steps += 1) % BREATH === 0) yield pause
        found.push(asPlaced(policy))
      }
      continue
    }
    checkText(file, problems)
    for (const slice of ends(file.text)) {
      if ((steps += 1) % BREATH === 0) yield pause
      const text = textOf(file, slice)
      const before = byText.get(text)
      const placed =
        before === undefined
          ? readText(file, slice, text, heard, problems)
          : asPlaced(movedTo(before, file, slice), before, idOf(before.annotations, file, slice))
      if (placed === undefined) continue
      if ('gap' in placed) gaps.add(text)
      found.push(placed)
    }
  }
  if (gaps.size === 0) return found as Placed[]
  yield* readGaps([...gaps], heard)
  return found.flatMap((one) => {
    if (!('gap' in one)) return one
    return place(one.file, one.cut, one.text, readByReference(one, heard, problems), problems) ?? []
  })
}

function movedTo(before: LoadedPolicy, file: SourceFile, { start, end }: Span): LoadedPolicy {
  return { ...before, file, slice: { start, end }, base: before.base + start - before.slice.start }
}

const idOf = (annotations: Annotations, file: SourceFile, { start }: Span): string =>
  annotations.id ?? `${file.name}:${file.lineAt(start)}`

/** A policy of the set before, perhaps at another place. */
function asPlaced(policy: LoadedPolicy, before = policy, id = policy.info.id): Placed {
  const { file, slice, tree, scope, annotations, base, info } = policy
  return {
    file, slice, tree, scope, annotations, base, before, id, text: info.text, notes: info.annotations,
  } // prettier-ignore
}

/** `undefined` for what is refused. */
function readText(
  file: SourceFile,
  slice: Span,
  text: string,
  heard: Heard,
  problems: Problem[],
): Placed | GapPiece | undefined {
  const cut = cutAt(file.text, slice.start, policyLimits.tokens)
  if (cut === undefined) return undefined
  const { tokens } = cut
  const slot = tokens.find((token) => token.kind === 'slot' && /^\?(principal|resource)$/.test(token.text))
  if (slot !== undefined) {
    const hint = 'write one policy per case, or name a group'
    problems.push(file.problem('P006', slot, 'policy templates are not supported', { hint }))
    return undefined
  }
  if (!isWithinLimits(cut)) return void problems.push(tooDeep(file, cut))
  const refused = heard.refused.get(text)
  if (refused !== undefined) return void problems.push(...refusals(file, cut, text, refused))
  const gap = { file, cut, text, gap: true } as const
  try {
    const tree = parsePolicy(cut)
    // the reference says it better
    return unknownCall(tree) === undefined ? place(file, cut, text, tree, problems) : gap
  } catch (error) {
    if (error instanceof Gap) return gap
    throw error
  }
}

/** Whether the Cedar library can be given a policy. */
export function isWithinLimits({ tokens, shape }: Pick<Cut, 'tokens' | 'shape'>): boolean {
  const { brackets, ifs, tokens: most } = policyLimits
  return shape.brackets <= brackets && shape.ifs <= ifs && tokens.length <= most
}

function tooDeep(file: SourceFile, cut: Cut): Problem {
  const message = 'the policy is too large or too deeply nested'
  return file.problem('P022', cut.tokens[0] ?? cut, message, { hint: 'split it into several policies' })
}

function refusals(file: SourceFile, cut: Cut, text: string, errors: readonly JudgedError[]): Problem[] {
  return errors.map(({ message: whole, help, place }) => {
    const span = place === undefined ? cut : within(text, cut, place)
    const message = whole.replace(/^failed to parse policy from string: /, '')
    const label = place?.label ?? help
    const hint = label !== undefined && label.length > 120 ? `${label.slice(0, 110)}…` : label
    return file.problem('P001', span, message, { hint })
  })
}

/** Has the reference read what the parser here gave up on. */
function* readGaps(gaps: readonly string[], heard: Heard): Steps<void> {
  const texts = gaps.filter((text) => !heard.read.has(text))
  if (texts.length === 0) return
  const judgement = yield { kind: 'judge', input: { kind: 'parse', texts } }
  if (judgement?.kind !== 'parse') throw unasked()
  for (const [index, parsed] of judgement.parsed.entries()) {
    const text = texts[index] as string
    if (parsed.ok) {
      heard.read.set(text, parsed.json)
      heard.accepted.add(text)
    } else heard.refused.set(text, parsed.errors)
  }
}

function readByReference(
  { file, cut, text }: GapPiece,
  heard: Heard,
  problems: Problem[],
): Policy | undefined {
  const refused = heard.refused.get(text)
  if (refused !== undefined) return void problems.push(...refusals(file, cut, text, refused))
  try {
    const tree = readPolicy(heard.read.get(text))
    const called = unknownCall(tree)
    if (called === undefined) return tree
    return void problems.push(file.problem('P001', cut, `\`${called}\` has no value when a decision is made`))
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error
    return void problems.push(file.problem('P001', cut, `the policy cannot be read: ${error.message}`))
  }
}

function place(
  file: SourceFile,
  cut: Cut,
  text: string,
  tree: Policy | undefined,
  problems: Problem[],
): Placed | undefined {
  if (tree === undefined) return undefined
  if (depthOf(tree) > policyLimits.depth) return void problems.push(tooDeep(file, cut))
  const { annotations, problems: malformed } = readAnnotations(file, cut, tree.effect)
  problems.push(...malformed)
  const scope = scopeOf(tree)
  const { action } = scope
  if (namesWrit(action) && !action.any && action.oneOf.some((uid) => uid.type !== 'Writ::Action')) {
    const hint = 'write one policy for each'
    const message = 'the policy names actions of Writ and others'
    return void problems.push(file.problem('P024', cut.tokens[0] ?? cut, message, { hint }))
  }
  const { start, end } = cut
  return {
    file,
    slice: { start, end },
    tree,
    scope,
    annotations,
    notes: annotationTexts(cut),
    text,
    id: idOf(annotations, file, cut),
    base: 0,
    before: undefined,
  }
}

/** How deep the reference has to go for it: conditions are joined into one expression, and chains nest to the left. */
function depthOf({ conditions }: Policy): number {
  let deepest = 0
  for (const { body } of conditions) {
    const open: { expr: Expr; depth: number }[] = [{ expr: body, depth: 1 }]
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { expr, depth } = next
      deepest = Math.max(deepest, depth)
      const below = depth + (expr.op === 'and' || expr.op === 'or' ? expr.items.length - 1 : 1)
      for (const child of children(expr)) open.push({ expr: child, depth: below })
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

function* uniqueIds(policies: readonly Placed[], problems: Problem[]): Steps<void> {
  const first = new Map<string, Placed>()
  for (const [index, policy] of policies.entries()) {
    if (index % (8 * BREATH) === 0) yield pause
    const before = first.get(policy.id)
    if (before === undefined) {
      first.set(policy.id, policy)
      continue
    }
    const line = lineOf(before)
    const message = `the id \`${policy.id}\` is taken by ${before.file.name}:${line}`
    const start = firstToken(policy.file, policy.slice) ?? policy.slice
    problems.push(policy.file.problem('P003', start, message, { hint: 'give it another `@id`' }))
  }
}

/**
 * The kinds of approval there are: whatever text policies on `Writ::Action::"approve"` compare `context.pool` with.
 */
export function poolsOf(policies: readonly Pick<PlacedPolicy, 'scope' | 'tree'>[]): string[] {
  const pools = new Set<string>()
  const approve = writAction('approve')
  const isPool = (expr: Expr): boolean => {
    const access = accessOf(expr)
    return access?.root === 'context' && access.names.length === 1 && access.names[0] === 'pool'
  }
  const add = (expr: Expr): void => {
    if (expr.op === 'literal' && typeof expr.value === 'string') pools.add(expr.value)
    if (expr.op === 'set') expr.items.forEach(add)
  }
  for (const { scope, tree } of policies) {
    if (scope.action.any || !scope.action.oneOf.some((uid) => sameUid(uid, approve))) continue
    for (const { body } of tree.conditions) {
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

function* checkPools(
  policies: readonly Placed[],
  pools: readonly string[],
  isSame: boolean,
  problems: Problem[],
): Steps<void> {
  for (const [index, { file, slice, tree, text, before }] of policies.entries()) {
    if (index % BREATH === 0) yield pause
    // spelled in another way it is a name that the validator does not know
    if ((isSame && before !== undefined) || !text.includes('approvals')) continue
    for (const { body } of tree.conditions) {
      for (const part of walk(body)) {
        const pool = poolOf(part) ?? testedPool(part)
        if (pool === undefined || pools.includes(pool)) continue
        const span = pathIn(file, slice, ['context', 'proof', 'approvals', pool]) ?? slice
        const hint =
          suggest(pool, pools, 'pools') ??
          `say who may approve: \`permit(principal in Group::"…", action == Writ::Action::"approve", resource) when { context.pool == ${JSON.stringify(pool)} };\``
        problems.push(file.problem('P011', span, `unknown approval pool \`${pool}\``, { hint }))
      }
    }
  }
}

function testedPool(part: Expr): string | undefined {
  if (part.op !== 'has') return undefined
  const chain = accessOf(part.of)
  if (chain?.root !== 'context') return undefined
  const [first, second, third] = [...chain.names, ...part.path]
  return first === 'proof' && second === 'approvals' ? third : undefined
}

/**
 * Cedar's strict validation: ordinary policies without Writ's actions, policies that name those with them. Each text is
 * judged once, and not at all if it was accepted under the same schema before.
 */
function* validate(
  policies: readonly Placed[],
  schema: Schema,
  isSame: boolean,
  heard: Heard,
  problems: Problem[],
): Steps<void> {
  for (const isWrit of [false, true]) {
    const byText = new Map<string, Placed[]>()
    for (const [index, policy] of policies.entries()) {
      if (index % (8 * BREATH) === 0) yield pause
      const { text, before } = policy
      if (namesWrit(policy.scope.action) !== isWrit) continue
      if (isSame && before?.isClean === true) continue
      const known = byText.get(text)
      if (known === undefined) byText.set(text, [policy])
      else known.push(policy)
    }
    const texts = [...byText.keys()]
    const [first] = byText.values()
    if (first === undefined) continue
    const input = { kind: 'validate', texts, schema: isWrit ? schema.writ : schema.ordinary } as const
    const judgement = yield { kind: 'judge', input }
    if (judgement?.kind !== 'validate') throw unasked()
    if (judgement.failed !== undefined) {
      const [policy] = first
      if (policy !== undefined) problems.push(policy.file.problem('P019', policy.slice, judgement.failed))
      continue
    }
    for (const text of texts) heard.accepted.add(text)
    const errors: Problem[] = []
    const wrong = new Set<number>()
    for (const { at, error } of judgement.errors) {
      wrong.add(at)
      for (const policy of byText.get(texts[at] ?? '') ?? [])
        errors.push(translateError(policy, error, schema))
    }
    problems.push(...merged(errors))
    // A policy that has an error is often impossible because of it: only the cause is said.
    for (const { at, error } of judgement.warnings) {
      heard.warned.add(texts[at] ?? '')
      if (wrong.has(at)) continue
      for (const policy of byText.get(texts[at] ?? '') ?? []) problems.push(translateWarning(policy, error))
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
    const word = pathIn(file, slice, [policy.tree.effect]) ?? slice
    return file.problem('P015', word, 'this policy can never fire', {
      hint: 'its head and conditions exclude every attempt that the schema allows',
    })
  }
  const text = textOf(file, slice)
  const { place } = error
  const span = place === undefined ? slice : within(text, slice, place)
  return file.problem('P023', span, message, { severity: 'warning', hint: error.help ?? undefined })
}

function checkNarrowing({ file, slice, scope, reads }: LoadedPolicy, problems: Problem[]): void {
  if (scope.action.any) return
  const narrowing = scope.action.oneOf.some(
    (uid) => uid.type === 'Writ::Action' && narrowingActions.has(uid.id),
  )
  if (!narrowing) return
  for (const fact of reads.facts) {
    if (!Object.hasOwn(facts, fact) || facts[fact]?.pulled !== true) continue
    const span = pathIn(file, slice, ['context', 'live', fact]) ?? slice
    const hint = 'taking away must work while the source is down'
    problems.push(file.problem('P018', span, `\`context.live.${fact}\` may not be read here`, { hint }))
  }
}

/** What the schema cannot hold of the inventory is unknown to policies; better said now than found out later. */
function* checkInventory(schema: Schema, inventory: readonly EntityData[], problems: Problem[]): Steps<void> {
  const file = new SourceFile('inventory', '')
  const warn = (message: string, hint: string) => {
    if (problems.length < 200)
      problems.push(file.problem('P021', nowhereSpan, message, { severity: 'warning', hint }))
  }
  for (const [index, { uid, attrs, parents }] of inventory.entries()) {
    if (index % BREATH === 0) yield pause
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

function infoOf(policy: Placed, reads: PolicyReads): PolicyInfo {
  const { file, tree, scope } = policy
  return {
    id: policy.id,
    file: file.name,
    line: lineOf(policy),
    effect: tree.effect,
    annotations: policy.notes,
    scope,
    reads,
    governsWrit: namesWrit(scope.action),
    text: policy.text,
  }
}
