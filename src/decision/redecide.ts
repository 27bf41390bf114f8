/**
 * Deciding a recorded decision again, from what its entry says and the entities it was made on. Pure, so that somebody
 * with nothing but a proof in hand can do it too.
 *
 * @module
 */
import type { Attempt } from '../model/attempt.ts'
import type { Json } from '../model/canonical.ts'
import { canonical } from '../model/canonical.ts'
import type { EntityRef, Properties } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'
import { historyNames } from '../model/task.ts'
import type { EntityData, Evaluation, PolicySet, Proof, Query } from '../policy/index.ts'
import { NO_PROOF } from '../policy/index.ts'
import { hex, sha256 } from '../store/hash.ts'

type Members = Readonly<Record<string, Json | undefined>>

/** Everything that policy was given: per principal of the chain only the head differs. */
export type RedecideInputs = Readonly<{
  /** Version of the policy set. */
  policy: string
  /** Digest of the schema that the user wrote, or that was derived (see `schemaDigest`). */
  schema: string
  chain: readonly EntityRef[]
  action: EntityRef
  resource: EntityRef
  context: Properties
  live: Readonly<Record<string, Json>>
  /** What single parties of the chain were evaluated with beside it, by `refKey`. */
  of: Readonly<Record<string, Readonly<Record<string, Json>>>>
  unknown: readonly string[]
  proof: Proof
  entities: readonly EntityData[]
}>

/** What policy alone said, and why; `determining` and `errors` are ids of policies, sorted. */
export type Redecided = Readonly<{
  says: 'permit' | 'deny'
  determining: readonly string[]
  errors: readonly string[]
}>

/** The Cedar action of an AuthZEN action name; `Writ::publish` is Writ's own. */
export function actionUid(name: string): EntityRef {
  return name.startsWith('Writ::')
    ? { type: 'Writ::Action', id: name.slice(6) }
    : { type: 'Action', id: name }
}

/** The context that policy sees of an attempt: nothing but the action's own properties fills `action_properties`. */
export function contextOf({ action, context }: Pick<Attempt, 'action' | 'context'>): Properties {
  const { action_properties: _sent, ...sent } = context
  return { ...sent, ...(action.properties === undefined ? {} : { action_properties: action.properties }) }
}

/** An entity as its caller says it is, in what the caller is trusted for. */
export function withAsserted(ref: EntityRef, known: EntityData | undefined, values: Properties): EntityData {
  return {
    uid: { type: ref.type, id: ref.id },
    attrs: { sensitivity: 4, ...known?.attrs, ...values },
    parents: known?.parents ?? [],
  }
}

const texts = new WeakMap<EntityData, string>()

/** `sha256:` over the canonical form of `entities`, in the order of their names. */
export function entitiesDigest(entities: readonly EntityData[]): string {
  const sorted = entities
    .map((entity) => [refKey(entity.uid), entity] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return `sha256:${hex(sha256(`[${sorted.map(([, entity]) => textOf(entity)).join(',')}]`))}`
}

function textOf(entity: EntityData): string {
  const before = texts.get(entity)
  if (before !== undefined) return before
  const { uid, attrs, parents } = entity
  const plain = { uid: bare(uid), attrs, parents: parents.map(bare) }
  let text: string
  try {
    text = canonical(plain)
  } catch {
    text = escaped(plain) // half a character somewhere, which has no canonical form
  }
  texts.set(entity, text)
  return text
}

const bare = ({ type, id }: EntityRef): EntityRef => ({ type, id })

/** The canonical form with `\ud800` escapes for what has no UTF-8 form. */
function escaped(value: Json | undefined): string {
  if (Array.isArray(value)) return `[${value.map(escaped).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value as Members)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${escaped(member)}`).join(',')}}`
}

/** `sha256:` over the text of a schema: what the user wrote, or what was derived. */
export function schemaDigest(text: string): string {
  return `sha256:${hex(sha256(text))}`
}

/** Whether policy was asked for this decision at all: a lock, an end or a bound may have denied before. */
export function wasEvaluated(entry: Members): boolean {
  return (
    entry['kind'] === 'decision' && typeof entry['says'] === 'string' && typeof entry['inputs'] === 'string'
  )
}

/**
 * What an entry says that policy was given.
 *
 * @throws {TypeError} for an entry of which no policy was asked, or that lacks what it was given.
 */
export function inputsOf(entry: Members, entities: readonly EntityData[]): RedecideInputs {
  const attempt = entry['attempt'] as Partial<Attempt> | undefined
  const proof = entry['proof'] as Partial<RedecideInputs['proof']> | undefined
  if (!wasEvaluated(entry)) throw new TypeError('no policy was asked for this decision')
  const { action, resource, chain, context } = attempt ?? {}
  const facts = entry['facts']
  if (
    action === undefined ||
    resource === undefined ||
    context === undefined ||
    !Array.isArray(chain) ||
    chain.length === 0 ||
    typeof facts !== 'object' ||
    facts === null ||
    Array.isArray(facts) ||
    typeof entry['policy'] !== 'string' ||
    typeof entry['schema'] !== 'string'
  ) {
    throw new TypeError('the entry lacks what its decision was made on')
  }
  return {
    policy: entry['policy'],
    schema: entry['schema'],
    chain: (chain as readonly EntityRef[]).map(bare),
    action: actionUid(action.name),
    resource: bare(resource),
    context: contextOf({ action, context }),
    live: asOf(facts as Readonly<Record<string, Json>>),
    of: (entry['facts_of'] ?? {}) as RedecideInputs['of'],
    unknown: (entry['unknown'] as readonly string[] | undefined) ?? [],
    proof: { ...NO_PROOF, ...proof },
    entities,
  }
}

/** Facts in the form of today: what they lacked when they were recorded, no policy of that time could read. */
function asOf(live: Readonly<Record<string, Json>>): Readonly<Record<string, Json>> {
  const { history } = live
  if (typeof history !== 'object' || history === null || Array.isArray(history)) return live
  return { ...live, history: { ...noHistory, ...(history as object) } }
}

const noHistory = Object.fromEntries(historyNames.map((name) => [name, 0]))

/** The question that each party of the chain is asked with. */
export function queriesOf(inputs: RedecideInputs): Query[] {
  const { chain, action, resource, context, of, proof, entities } = inputs
  const unknown = new Set(inputs.unknown)
  return chain.map((principal) => {
    const live = { ...inputs.live, ...of[refKey(principal)] }
    return { principal, action, resource, context, live, unknown, proof, entities }
  })
}

/** What the entry says that policy said: the same form as `redecide` gives. */
export function recordedOf(entry: Members): Redecided {
  const errors = (entry['errors'] as readonly { policy: string }[] | undefined) ?? []
  return {
    says: entry['says'] as 'permit' | 'deny',
    determining: sorted((entry['determining'] as readonly string[] | undefined) ?? []),
    errors: sorted(errors.map(({ policy }) => policy)),
  }
}

/**
 * Decides again. `set` is a loaded policy set, or the reference (`referenceSet`), which shares nothing with the engine
 * but the schema.
 */
export function redecide(
  entry: Members,
  entities: readonly EntityData[],
  set: Pick<PolicySet, 'evaluate'>,
): Redecided {
  return redecideInputs(inputsOf(entry, entities), set)
}

/** Permit only if the acting party and every delegator are permitted; whatever decided for any of them counts. */
export function redecideInputs(inputs: RedecideInputs, set: Pick<PolicySet, 'evaluate'>): Redecided {
  const answers: readonly Evaluation[] = queriesOf(inputs).map((query) => set.evaluate(query))
  const errors = answers.flatMap(({ errors: found, mismatch }) => [
    ...found.map(({ policy }) => policy),
    ...(mismatch === undefined ? [] : ['schema']),
  ])
  return {
    says: answers.every(({ decision }) => decision === 'permit') ? 'permit' : 'deny',
    determining: sorted(answers.flatMap(({ determining }) => determining)),
    errors: sorted(errors),
  }
}

/** In what two answers differ, as a sentence; `undefined` when they are the same. */
export function difference(recorded: Redecided, again: Redecided): string | undefined {
  if (recorded.says !== again.says) return `it said ${recorded.says}, policy says ${again.says}`
  for (const what of ['determining', 'errors'] as const) {
    const [a, b] = [recorded[what].join(', '), again[what].join(', ')]
    if (a !== b) return `its ${what} policies were [${a}], they are [${b}]`
  }
  return undefined
}

const sorted = (ids: readonly string[]): readonly string[] => [...new Set(ids)].sort()
