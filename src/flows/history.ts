/**
 * What was known then, out of the log alone: entries put together again, the inventory before an entry, the policy set
 * and the schema that were in force, and with them any recorded decision, decided again.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { PolicyVersion } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import type { Json } from '../model/canonical.ts'
import type { Entity, EntityRef } from '../model/entity.ts'
import { parseRef, refKey } from '../model/entity.ts'
import type { Asserted } from '../decision/analyse.ts'
import { NO_POLICY } from '../decision/policies.ts'
import type { Redecided } from '../decision/redecide.ts'
import {
  difference,
  entitiesDigest,
  recordedOf,
  redecide,
  schemaDigest,
  wasEvaluated,
  withAsserted,
} from '../decision/redecide.ts'
import { cedarEntity } from '../identity/inventory.ts'
import type { EntityData, PolicySet, PolicySource } from '../policy/index.ts'
import { loadPolicySet } from '../policy/index.ts'
import { restored } from '../store/entry.ts'
import { hex, sha256 } from '../store/hash.ts'
import type { Store } from '../store/port.ts'
import { isPruned } from '../store/port.ts'
import type { Checking } from './checking.ts'
import { sourceOf } from './versions.ts'

/** An entry with everything that was cut from it back in its place, as far as it is kept. */
export type Entry = Readonly<Record<string, Json | undefined>>
export type Whole = Readonly<{ seq: number; at: number; entry: Entry; complete: boolean }>

/** A policy set as it was in force: its files, and the schema that the user wrote or that was derived then. */
export type RebuiltPolicy = Readonly<{
  version: string
  files: readonly Readonly<{ name: string; text: string }>[]
  /** Digest of `schemaText`. */
  schema: string
  schemaText: string
  /** The name of the user's file; absent when the schema was derived. */
  schemaName?: string
  /** Entries that tell of it: its publication, and of a derived schema its text. */
  seqs: readonly number[]
}>

/** Why something cannot be told any more; `why` continues "it cannot be rebuilt: …". */
export type Lost = Readonly<{
  ok: false
  cause: 'unknown' | 'pruned' | 'missing' | 'older' | 'differs'
  why: string
  seq?: number
  entry?: Entry
}>

export type Rebuilt = Readonly<{
  ok: true
  seq: number
  entry: Entry
  /** What policy was given; empty when no policy was asked. */
  entities: readonly EntityData[]
  /** Entries that say what `entities` were, ascending. */
  entitySeqs: readonly number[]
  /** Absent before the first publish. */
  policy?: RebuiltPolicy
}>

/** A decision decided again; `same` when nothing is different, and when no policy was asked for it. */
export type Again = Readonly<{
  ok: true
  same: boolean
  evaluated: boolean
  recorded?: Redecided
  again?: Redecided
  why?: string
}>

type State = Readonly<{ entity: Entity; seqs: readonly number[] }>
type Get = (key: string) => Promise<State | undefined> | State | undefined

/** Kinds of entries that say what an entity is. */
export const INVENTORY_KINDS = [
  'inventory.put',
  'inventory.deleted',
  'person.enrolled',
  'subject.locked',
  'subject.unlocked',
] as const
const changesInventory = new Set<unknown>(INVENTORY_KINDS)

/** Entries looked at before others get their turn. */
const AT_ONCE = 50
const PAGE = 1_000
/** Policy sets kept loaded. */
const MOST_SETS = 8

/** What the log says the inventory is, entry after entry. */
export class Inventory {
  readonly #states = new Map<string, State>()

  get(key: string): State | undefined {
    return this.#states.get(key)
  }

  /** Live entities. */
  get entities(): readonly Entity[] {
    return [...this.#states.values()].map(({ entity }) => entity).filter((it) => it.deletedAt === undefined)
  }

  apply(seq: number, at: number, entry: Entry): void {
    for (const [key, state] of changesOf(seq, at, entry, (known) => this.#states.get(known)))
      this.#states.set(key, state)
  }
}

/** What an entry makes of the entities it tells of. */
function changesOf(
  seq: number,
  at: number,
  entry: Entry,
  before: (key: string) => State | undefined,
): [string, State][] {
  if (!changesInventory.has(entry['kind'])) return []
  const { entities } = entry
  const written = Array.isArray(entities) ? (entities as unknown as readonly Entity[]) : []
  const changes = written.map((entity): [string, State] => [refKey(entity), { entity, seqs: [seq] }])
  if (changes.length > 0) return changes
  const key = (entry['entity'] ?? entry['subject'] ?? entry['person']) as string | undefined
  const known = key === undefined ? undefined : before(key)
  if (key === undefined || known === undefined) return []
  const { entity } = known
  const changed = (now: Entity): [string, State][] => [[key, { entity: now, seqs: [...known.seqs, seq] }]]
  switch (entry['kind'] as string) {
    case 'inventory.deleted':
      return entity.deletedAt === undefined
        ? changed({ ...entity, deletedAt: at, generation: entity.generation + 1 })
        : []
    case 'subject.locked':
      return changed({
        ...entity,
        locked: {
          reason: typeof entry['reason'] === 'string' ? entry['reason'] : '',
          at,
          ...(typeof entry['until'] === 'number' ? { until: entry['until'] } : {}),
        },
      })
    case 'subject.unlocked':
      return entity.locked === undefined
        ? []
        : changed({ ...entity, locked: { ...entity.locked, until: at } })
    case 'person.enrolled': {
      const groups = (entry['groups'] as readonly string[] | undefined) ?? []
      return changed({ ...entity, parents: groups.flatMap((group) => parseRef(group) ?? []) })
    }
  }
  return []
}

export class History {
  readonly #store: Pick<Store, 'log' | 'read'>
  readonly #checking: Checking | undefined
  readonly #sets = new Map<string, PolicySet>()
  readonly #policies = new Map<string, RebuiltPolicy>()

  /** Without `checking`, sets are loaded at once: for whom nobody else waits. */
  constructor({ store, checking }: Readonly<{ store: Pick<Store, 'log' | 'read'>; checking?: Checking }>) {
    this.#store = store
    this.#checking = checking
  }

  /** One entry with everything that was cut from it; `undefined` when there is none, or it was pruned. */
  async whole(seq: number): Promise<Whole | undefined> {
    const [found] = await this.#store.log.entries(seq, seq + 1)
    if (found === undefined || isPruned(found)) return undefined
    return this.#whole(found)
  }

  async #whole({ seq, at, bytes }: { seq: number; at: number; bytes: Uint8Array }): Promise<Whole> {
    const entry = JSON.parse(Buffer.from(bytes).toString('utf8')) as Entry
    if (!Array.isArray(entry['cut'])) return { seq, at, entry, complete: true }
    const bodies = new Map<string, Uint8Array | undefined>()
    for (;;) {
      const wanted = new Set<string>()
      const mended = restored(entry, (digest) => {
        if (!bodies.has(digest)) wanted.add(digest)
        return bodies.get(digest)
      }) as Entry
      if (wanted.size === 0) {
        const complete = [...bodies.values()].every((body) => body !== undefined)
        return { seq, at, entry: mended, complete }
      }
      for (const digest of wanted) bodies.set(digest, await this.#store.log.body(digest))
    }
  }

  /** The newest entry under all `terms` before `before`. */
  async last(terms: readonly string[], before?: number): Promise<Whole | undefined> {
    const { items } = await this.#store.log.search({
      terms,
      limit: 1,
      ...(before === undefined ? {} : { before }),
    })
    return items[0] === undefined ? undefined : this.whole(items[0])
  }

  /** Sequence numbers under all `terms`, newest first, at most `most`. */
  async seqs(
    terms: readonly string[],
    bounds: Readonly<{ before?: number; from?: number; most?: number }> = {},
  ): Promise<readonly number[]> {
    const { most = Infinity, from } = bounds
    const found: number[] = []
    let before = bounds.before
    while (found.length < most) {
      const { items, next } = await this.#store.log.search({
        terms,
        limit: Math.min(PAGE, most - found.length),
        ...(before === undefined ? {} : { before }),
        ...(from === undefined ? {} : { from }),
      })
      found.push(...items)
      if (next === undefined || items.length === 0) break
      before = items.at(-1) as number
      await breathe()
    }
    return found
  }

  /** The entry of a decision, by its id or sequence number. */
  async decision(which: string | number): Promise<Whole | undefined> {
    if (typeof which === 'number') {
      const found = await this.whole(which)
      return found?.entry['kind'] === 'decision' ? found : undefined
    }
    for (const seq of await this.#store.log.find(which, { limit: 20 })) {
      const found = await this.whole(seq)
      if (found?.entry['kind'] === 'decision' && found.entry['id'] === which) return found
    }
    return undefined
  }

  /** Everything that a recorded decision was made on, as the log gives it. */
  async rebuild(which: string | number): Promise<Rebuilt | Lost> {
    const found = await this.decision(which)
    if (found !== undefined) {
      const states = new Map<string, Promise<State | undefined>>()
      return this.#rebuild(found, (key) => {
        const known = states.get(key) ?? this.entityBefore(key, found.seq)
        states.set(key, known)
        return known
      })
    }
    if (typeof which === 'number') {
      const [there] = await this.#store.log.entries(which, which + 1)
      if (there !== undefined && isPruned(there))
        return { ok: false, cause: 'pruned', why: `entry ${which} was pruned by retention`, seq: which }
    }
    return { ok: false, cause: 'unknown', why: `there is no decision \`${which}\` in the log` }
  }

  async #rebuild({ seq, entry, complete }: Whole, get: Get): Promise<Rebuilt | Lost> {
    const lost = (cause: Lost['cause'], why: string): Lost => ({ ok: false, cause, why, seq, entry })
    if (!complete) return lost('pruned', 'what was too long for its entry was pruned by retention')
    const version = entry['policy'] as string
    const evaluated = wasEvaluated(entry)
    // a permit by policy always says so: one that does not was recorded before anybody wrote it down
    if (!evaluated && entry['outcome'] === 'permit' && version !== NO_POLICY)
      return lost('older', 'it was recorded by a version of Writ that did not note what it was given')
    const policy =
      version === NO_POLICY
        ? undefined
        : await this.policy(version, { schema: entry['schema'] as string | undefined, before: seq })
    if (policy !== undefined && 'ok' in policy) {
      if (evaluated) return lost(policy.cause, policy.why)
      return { ok: true, seq, entry, entities: [], entitySeqs: [] }
    }
    const known = policy === undefined ? {} : { policy }
    if (!evaluated) return { ok: true, seq, entry, entities: [], entitySeqs: [], ...known }
    const { entities, seqs } = await entitiesOf(entry, get)
    if (entitiesDigest(entities) !== entry['inputs']) {
      const pruned = (await this.#store.log.search({ terms: ['kind=log.pruned'], limit: 1 })).items.length > 0
      const what = 'the inventory before it, as the log tells it, is not what it was decided on'
      return pruned ? lost('pruned', `${what}: entries were pruned by retention`) : lost('differs', what)
    }
    return { ok: true, seq, entry, entities, entitySeqs: [...seqs].sort((a, b) => a - b), ...known }
  }

  /** What an entity was before the entry `seq`, deleted or not. */
  async entityBefore(key: string, seq: number): Promise<State | undefined> {
    let base: Whole | undefined
    for (const kind of INVENTORY_KINDS) {
      // a lock tells what the entity is only where there was none before
      if (kind === 'subject.locked' && base !== undefined) continue
      if (kind === 'subject.unlocked') continue
      const found = await this.last([key, `kind=${kind}`], seq)
      if (found !== undefined && (base === undefined || found.seq > base.seq)) base = found
    }
    if (base === undefined) return undefined
    const { entry } = base
    const written = (entry['entities'] as unknown as readonly Entity[] | undefined)?.find(
      (entity) => refKey(entity) === key,
    )
    const before = written === undefined ? await this.entityBefore(key, base.seq) : undefined
    const state =
      written === undefined
        ? changesOf(base.seq, base.at, entry, () => before)[0]?.[1]
        : { entity: written, seqs: [base.seq] }
    if (state === undefined) return before
    const lock = await this.last([key, 'kind=subject.locked'], seq)
    if (lock === undefined || lock.seq <= base.seq) return state
    const locked = changesOf(lock.seq, lock.at, { ...lock.entry, entities: [] }, () => state)[0]?.[1]
    if (locked === undefined) return state
    const lifted = await this.last([key, 'kind=subject.unlocked'], seq)
    const then =
      lifted === undefined || lifted.seq < lock.seq
        ? locked
        : changesOf(lifted.seq, lifted.at, lifted.entry, () => locked)[0]?.[1]
    // what a lock changes is not what policies read: the entries prove nothing of them
    return { entity: (then ?? locked).entity, seqs: state.seqs }
  }

  /** The whole inventory before the entry `seq`. */
  async inventoryBefore(seq: number): Promise<Inventory> {
    const seqs: number[] = []
    for (const kind of INVENTORY_KINDS) seqs.push(...(await this.seqs([`kind=${kind}`], { before: seq })))
    const inventory = new Inventory()
    for (const [looked, at] of seqs.sort((a, b) => a - b).entries()) {
      if (looked % AT_ONCE === AT_ONCE - 1) await breathe()
      const found = await this.whole(at)
      if (found !== undefined) inventory.apply(found.seq, found.at, found.entry)
    }
    return inventory
  }

  /**
   * Every entry from `from` (inclusive) to `to` (exclusive) with the inventory before it, a few at a time so that
   * everybody else gets their turn. `visit` returns `false` to stop.
   */
  async walk(
    from: number,
    to: number,
    visit: (
      entry: Whole | Readonly<{ seq: number; at: number; pruned: true }>,
      rebuild: () => Promise<Rebuilt | Lost>,
    ) => Promise<boolean | void>,
  ): Promise<void> {
    const inventory = await this.inventoryBefore(from)
    for (let next = from; next < to;) {
      const page = await this.#store.log.entries(next, Math.min(next + AT_ONCE, to))
      if (page.length === 0) return
      for (const found of page) {
        next = found.seq + 1
        if (isPruned(found)) {
          const gone: Lost = { ok: false, cause: 'pruned', why: 'it was pruned by retention', seq: found.seq }
          const stop = await visit({ seq: found.seq, at: found.at, pruned: true }, async () => gone)
          if (stop === false) return
          continue
        }
        const whole = await this.#whole(found)
        const go = await visit(whole, () => this.#rebuild(whole, (key) => inventory.get(key)))
        if (go === false) return
        inventory.apply(whole.seq, whole.at, whole.entry)
      }
      await breathe()
    }
  }

  /**
   * The files of a version and its schema: the one with the digest `schema`, else the last that was derived before.
   * They are what was published, or they are lost.
   */
  async policy(
    version: string,
    { schema, before }: Readonly<{ schema?: string | undefined; before?: number }> = {},
  ): Promise<RebuiltPolicy | Lost> {
    const cached = this.#policies.get(`${version}\n${schema ?? ''}`)
    if (cached !== undefined) return cached
    const lost = (cause: Lost['cause'], why: string): Lost => ({ ok: false, cause, why })
    const kept = (await this.#store.read([{ kind: 'policy', id: version }])).get('policy', version)?.value
    if (kept === undefined) return lost('missing', `policy set \`${version}\` is not kept`)
    const published =
      (await this.last([version, 'kind=policy.published'], before)) ??
      (await this.last([version, 'kind=policy.published']))
    if (published === undefined)
      return lost('missing', `nothing on the record says that \`${version}\` was published`)
    if (!isWhatWasPublished(kept, published.entry))
      return lost('differs', `the files of policy set \`${version}\` are not those that were published`)
    const base = { version, files: kept.policies }
    if (kept.schema !== undefined) {
      const digest = schemaDigest(kept.schema.text)
      if (schema !== undefined && schema !== digest)
        return lost('differs', `the schema of policy set \`${version}\` is not the one it was decided with`)
      const { text, name } = kept.schema
      return this.#keep(
        { ...base, schema: digest, schemaText: text, schemaName: name, seqs: [published.seq] },
        schema,
      )
    }
    const derived = await this.last(
      [version, ...(schema === undefined ? [] : [schema]), 'kind=policy.schema'],
      schema === undefined ? before : undefined,
    )
    const text = derived?.entry['text']
    if (derived === undefined || typeof text !== 'string')
      return lost('missing', 'the schema that was derived then is not on the record')
    const digest = schemaDigest(text)
    if (digest !== derived.entry['schema'])
      return lost('differs', 'the schema that was derived then is not what its entry says')
    return this.#keep(
      { ...base, schema: digest, schemaText: text, seqs: [published.seq, derived.seq].sort((a, b) => a - b) },
      schema,
    )
  }

  /** Kept only under the exact schema: which one is the last depends on when one asks. */
  #keep(policy: RebuiltPolicy, schema: string | undefined): RebuiltPolicy {
    if (schema !== undefined) {
      this.#policies.set(`${policy.version}\n${schema}`, policy)
      if (this.#policies.size > MOST_SETS) this.#policies.delete(this.#policies.keys().next().value as string)
    }
    return policy
  }

  /** The loaded set. @throws {Error} when it does not load as it did. */
  async set(policy: RebuiltPolicy): Promise<PolicySet> {
    const key = `${policy.version}\n${policy.schema}`
    const known = this.#sets.get(key)
    if (known !== undefined) return known
    const source = policySource(policy)
    const given = { inventory: [], derived: policy.schemaText }
    const loaded =
      this.#checking === undefined
        ? loadPolicySet(source, { hash: (text) => hex(sha256(text)), ...given })
        : await this.#checking.check(source, given)
    if (!loaded.ok || loaded.set.version !== policy.version) {
      const why = loaded.ok ? `it is \`${loaded.set.version}\`` : (loaded.problems[0]?.message ?? 'no reason')
      throw new Error(`policy set \`${policy.version}\` does not load as it did: ${why}`)
    }
    this.#sets.set(key, loaded.set)
    if (this.#sets.size > MOST_SETS) this.#sets.delete(this.#sets.keys().next().value as string)
    return loaded.set
  }

  /** Decides what was rebuilt again, with the engine, and says whether anything is different. */
  async again({ entry, entities, policy }: Rebuilt, using?: Pick<PolicySet, 'evaluate'>): Promise<Again> {
    if (!wasEvaluated(entry) || policy === undefined) return { ok: true, same: true, evaluated: false }
    const recorded = recordedOf(entry)
    const again = redecide(entry, entities, using ?? (await this.set(policy)))
    const why = difference(recorded, again)
    return {
      ok: true,
      same: why === undefined,
      evaluated: true,
      recorded,
      again,
      ...(why === undefined ? {} : { why }),
    }
  }
}

/** What `loadPolicySet` and `referenceSet` take, beside `schemaText`. */
export function policySource({ files, schemaName, schemaText }: RebuiltPolicy): PolicySource {
  return {
    policies: files,
    ...(schemaName === undefined ? {} : { schema: { name: schemaName, text: schemaText } }),
  }
}

function isWhatWasPublished(kept: PolicyVersion, entry: Entry): boolean {
  const { policies, schema } = sourceOf(kept)
  const told = new Map(
    (entry['files'] as readonly { name: string; sha256: string }[]).map(({ name, sha256: sum }) => [
      name,
      sum,
    ]),
  )
  const toldSchema = (entry['schema'] as { sha256: string } | undefined)?.sha256
  return (
    told.size === policies.length &&
    policies.every(({ name, text }) => told.get(name) === hex(sha256(text))) &&
    toldSchema === (schema === undefined ? undefined : hex(sha256(schema.text)))
  )
}

/** The entities that an attempt is evaluated on: its chain, its resource and their owners, with all above them. */
async function entitiesOf(
  entry: Entry,
  get: Get,
): Promise<Readonly<{ entities: readonly EntityData[]; seqs: ReadonlySet<number> }>> {
  const attempt = entry['attempt'] as unknown as Attempt
  const asserted = (entry['asserted'] ?? {}) as Asserted
  const found = new Map<string, EntityData>()
  const seqs = new Set<number>()
  const live = async (ref: EntityRef): Promise<Entity | undefined> => {
    const state = await get(refKey(ref))
    for (const seq of state?.seqs ?? []) seqs.add(seq)
    return state === undefined || state.entity.deletedAt !== undefined ? undefined : state.entity
  }
  const visit = async (ref: EntityRef): Promise<void> => {
    if (found.has(refKey(ref))) return
    const entity = await live(ref)
    if (entity === undefined) return
    found.set(refKey(ref), cedarEntity(entity))
    for (const parent of entity.parents) await visit(parent)
  }
  const named = [...attempt.chain, attempt.resource]
  for (const ref of named) await visit(ref)
  for (const ref of named) {
    const entity = await live(ref)
    for (const owner of [entity?.owner, entity?.team]) if (owner !== undefined) await visit(owner)
  }
  for (const side of ['subject', 'resource'] as const) {
    const names = asserted[side]
    if (names === undefined) continue
    const ref = attempt[side]
    const values = Object.fromEntries(names.map((name) => [name, ref.properties?.[name] ?? null]))
    found.set(refKey(ref), withAsserted(ref, found.get(refKey(ref)), values))
  }
  return { entities: [...found.values()], seqs }
}
