/**
 * Every decision that policy was asked for is taken again by reference Cedar, in a thread, after it was recorded and from
 * what was recorded (law 7). A difference is an alarm: on the record, in the server's log, and in what is wrong until the
 * next start. What could not be checked is counted and said in the same places.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Json } from '../model/canonical.ts'
import type { Millis } from '../model/time.ts'
import { MINUTE, SECOND } from '../model/time.ts'
import { wasEvaluated } from '../decision/redecide.ts'
import type { EntityData } from '../policy/index.ts'
import type { EntryBody, LogEntry } from '../store/port.ts'
import type { FlowDeps } from './deps.ts'
import type { Entry, History, RebuiltPolicy } from './history.ts'
import { entryOf, Thread, ThreadError } from './thread.ts'
import type { ThreadOptions } from './thread.ts'

/** A set as a proof holds it, to be kept by the thread under `key`. */
export type CheckedPolicy = Readonly<{
  key: string
  version: string
  files: RebuiltPolicy['files']
  schema?: Readonly<{ name: string; text: string }>
  schemaText: string
}>

/** What the thread is given: entries as JSON, the sets that it does not have yet, and whether to forget the others. */
export type Batch = Readonly<{
  fresh: boolean
  policies: readonly CheckedPolicy[]
  checks: readonly Check[]
}>
export type Check = Readonly<{ entry: string; entities: readonly EntityData[]; key: string }>

/** In what each check differs, as a sentence; `null` where it does not. */
export type Checked = readonly (string | null)[]

/** Decisions that wait to be checked; more are not checked, and that is said. */
const MOST_WAITING = 2_000
/** Most decisions given to the thread at once, and how long it should have with them. */
const MOST_AT_ONCE = 64
const ABOUT: Millis = 250
/** Policy sets that the thread keeps. */
const MOST_SETS = 4
/** Alarms of one start that are recorded and shown one by one. */
const MOST_RECORDED = 100
const MOST_SHOWN = 5
/** How long a stop waits for what is still to be checked. */
const LINGER: Millis = 2_000
/** What was not verified is recorded together: this long after the first of it, and not more often than every minute. */
const SOON: Millis = SECOND

const OPTIONS: ThreadOptions = {
  entry: entryOf('verifying-thread', import.meta.url),
  waiting: 1,
  timeout: 60_000,
  memory: 1_024,
}

/** What decisions were evaluated on, kept for a while by the digest that their entries name. */
export class Given {
  readonly #entities = new Map<string, readonly EntityData[]>()

  note(digest: Json | undefined, entities: readonly EntityData[]): void {
    if (typeof digest !== 'string') return
    this.#entities.delete(digest)
    this.#entities.set(digest, entities)
    if (this.#entities.size > MOST_WAITING)
      this.#entities.delete(this.#entities.keys().next().value as string)
  }

  of(digest: unknown): readonly EntityData[] | undefined {
    return typeof digest === 'string' ? this.#entities.get(digest) : undefined
  }
}

type VerifyDeps = Pick<FlowDeps, 'store' | 'log' | 'decision'>
type Waiting = Pick<LogEntry, 'seq' | 'bytes'>
type Prepared = Readonly<{ seq: number; entry: Entry; check: Check; policy: RebuiltPolicy }>

export class Verifying {
  readonly #deps: VerifyDeps
  readonly #history: History
  readonly #given: Given
  readonly #thread: Thread<Batch, Checked>
  readonly #most: number
  readonly #waiting: Waiting[] = []
  readonly #differing: string[] = []
  /** Keys of the sets that the thread has. */
  readonly #known = new Set<string>()
  #unsubscribe: (() => void) | undefined
  #working: Promise<void> | undefined
  #atOnce = 1
  #checked = 0
  #differences = 0
  #unverified = 0
  /** What is not on record yet of what was not verified. */
  #unsaid: { count: number; first: number; last: number; why: string } | undefined
  #saidAt: Millis = -Infinity
  #sayLater: NodeJS.Timeout | undefined

  constructor(
    deps: VerifyDeps,
    history: History,
    given: Given,
    { most = MOST_WAITING, ...options }: Partial<ThreadOptions & Readonly<{ most: number }>> = {},
  ) {
    this.#most = most
    this.#deps = deps
    this.#history = history
    this.#given = given
    this.#thread = new Thread({ ...OPTIONS, ...options })
  }

  start(): void {
    this.#unsubscribe ??= this.#deps.store.log.subscribe((entries) => {
      for (const { seq, bytes } of entries) if (isDecision(bytes)) this.#offer({ seq, bytes })
    })
  }

  /** Checks what waits, for a moment; says what it did not come to. */
  async stop(): Promise<void> {
    if (this.#unsubscribe === undefined) return
    this.#unsubscribe()
    const { promise, resolve } = Promise.withResolvers<void>()
    const enough = setTimeout(resolve, LINGER)
    await Promise.race([this.idle(), promise])
    clearTimeout(enough)
    for (const { seq } of this.#waiting.splice(0)) this.#miss(seq, STOPPED)
    await this.#thread.stop()
    await this.idle()
    clearTimeout(this.#sayLater)
    await this.#say()
  }

  /** Resolves when nothing waits. */
  async idle(): Promise<void> {
    while (this.#working !== undefined) await this.#working
  }

  get counts(): Readonly<{ checked: number; differences: number; unverified: number }> {
    return { checked: this.#checked, differences: this.#differences, unverified: this.#unverified }
  }

  /** What is wrong, each one sentence. */
  problems(): readonly string[] {
    const more = this.#differences - this.#differing.length
    return [
      ...this.#differing,
      ...(more > 0 ? [`reference Cedar answers otherwise to ${more} more decisions`] : []),
      ...(this.#unverified > 0 ? [`${this.#unverified} decisions since the start were not verified`] : []),
    ]
  }

  #offer(found: Waiting): void {
    if (this.#waiting.length >= this.#most) return this.#miss(found.seq, BEHIND)
    this.#waiting.push(found)
    this.#working ??= this.#work().finally(() => (this.#working = undefined))
  }

  async #work(): Promise<void> {
    while (this.#waiting.length > 0) {
      const taken = this.#waiting.splice(0, this.#atOnce)
      const startedAt = this.#deps.decision.monotonic()
      try {
        const prepared: Prepared[] = []
        for (const one of taken) prepared.push(...(await this.#prepare(one)))
        await this.#check(prepared)
      } catch (error) {
        this.#failed(taken, error)
      }
      const took = this.#deps.decision.monotonic() - startedAt
      this.#atOnce = Math.max(1, Math.min(MOST_AT_ONCE, took < ABOUT ? this.#atOnce * 2 : this.#atOnce >> 1))
    }
  }

  /** What the thread needs for one decision; nothing for one that policy was not asked for. */
  async #prepare({ seq, bytes }: Waiting): Promise<readonly Prepared[]> {
    const text = Buffer.from(bytes).toString('utf8')
    const cut = JSON.parse(text) as Entry
    const entry = Array.isArray(cut['cut']) ? (await this.#history.whole(seq))?.entry : cut
    if (entry === undefined) throw new TypeError('its entry is gone')
    if (!wasEvaluated(entry)) return []
    const { policy: version, schema } = entry as { policy: string; schema: string }
    const policy = await this.#history.policy(version, { schema, before: seq })
    if ('ok' in policy) throw new TypeError(policy.why)
    const entities = this.#given.of(entry['inputs']) ?? (await this.#rebuilt(seq))
    const check = { entry: entry === cut ? text : JSON.stringify(entry), entities, key: keyOf(policy) }
    return [{ seq, entry, check, policy }]
  }

  /** What the record says that it was evaluated on, when memory has lost it. */
  async #rebuilt(seq: number): Promise<readonly EntityData[]> {
    const rebuilt = await this.#history.rebuild(seq)
    if (!rebuilt.ok) throw new TypeError(rebuilt.why)
    return rebuilt.entities
  }

  async #check(prepared: readonly Prepared[]): Promise<void> {
    if (prepared.length === 0) return breathe()
    const found = await this.#ask(prepared)
    this.#checked += prepared.length
    for (const [at, one] of prepared.entries()) {
      if (found[at] === null) continue
      // once more, by a thread that has seen nothing yet: a library that failed before may say anything
      const [why] = await this.#ask([one])
      if (typeof why === 'string') await this.#alarm(one, why)
    }
  }

  async #ask(prepared: readonly Prepared[]): Promise<Checked> {
    const wanted = new Map(prepared.map(({ policy }) => [keyOf(policy), policy]))
    const fresh = new Set([...this.#known, ...wanted.keys()]).size > MOST_SETS
    if (fresh) this.#known.clear()
    const missing = [...wanted].filter(([key]) => !this.#known.has(key))
    const policies = missing.map(([key, { version, files, schemaText, schemaName }]): CheckedPolicy => ({
      key,
      version,
      files,
      schemaText,
      ...(schemaName === undefined ? {} : { schema: { name: schemaName, text: schemaText } }),
    }))
    try {
      const found = await this.#thread.run({ fresh, policies, checks: prepared.map(({ check }) => check) })
      // a thread that found a difference is no more
      if (found.some((why) => why !== null)) this.#known.clear()
      else for (const key of wanted.keys()) this.#known.add(key)
      return found
    } catch (error) {
      this.#known.clear()
      throw error
    }
  }

  async #alarm({ seq, entry }: Prepared, why: string): Promise<void> {
    const { id, policy, schema } = entry as { id: string; policy: string; schema: string }
    this.#differences += 1
    if (this.#differing.length < MOST_SHOWN)
      this.#differing.push(`reference Cedar answers otherwise to decision \`${id}\`: ${why}`)
    this.#deps.log('error', 'reference Cedar answers otherwise', { decision: id, policy, why })
    if (this.#differences > MOST_RECORDED) return
    await this.#append({
      kind: 'engine.differs',
      refs: [id, policy],
      decision: id,
      decision_seq: seq,
      policy,
      schema,
      why,
    })
  }

  /** Nothing of a batch counts as verified when something went wrong with it. */
  #failed(taken: readonly Waiting[], error: unknown): void {
    const stops = error instanceof ThreadError && error.why === 'stopped'
    const why = stops ? STOPPED : error instanceof Error ? error.message : 'no reason'
    for (const { seq } of taken) this.#miss(seq, why)
    if (!stops) this.#deps.log('warn', 'decisions could not be verified', { decisions: taken.length, why })
  }

  #miss(seq: number, why: string): void {
    this.#unverified += 1
    if (this.#unsaid === undefined) {
      this.#unsaid = { count: 0, first: seq, last: seq, why }
      const wait = Math.max(SOON, this.#saidAt + MINUTE - this.#deps.decision.monotonic())
      this.#sayLater = setTimeout(() => void this.#say(), wait).unref()
    }
    this.#unsaid.count += 1
    this.#unsaid.first = Math.min(this.#unsaid.first, seq)
    this.#unsaid.last = Math.max(this.#unsaid.last, seq)
  }

  async #say(): Promise<void> {
    const unsaid = this.#unsaid
    if (unsaid === undefined) return
    this.#unsaid = undefined
    this.#saidAt = this.#deps.decision.monotonic()
    this.#deps.log('warn', 'decisions were not verified', unsaid)
    await this.#append({ kind: 'engine.unverified', refs: [], ...unsaid })
  }

  async #append(entry: EntryBody): Promise<void> {
    try {
      await this.#deps.store.commit({ reads: [], run: (tx) => void tx.append(entry) })
    } catch (error) {
      this.#deps.log('error', `\`${entry.kind}\` could not be recorded`, { error })
    }
  }
}

const BEHIND = 'there were more than reference Cedar could take again'
const STOPPED = 'the server stopped'

const keyOf = ({ version, schema }: RebuiltPolicy): string => `${version}\n${schema}`

const KIND = Buffer.from('"kind":"decision",')

/** Rather too many than too few: who reads the entry sees what it is. */
const isDecision = (bytes: Uint8Array): boolean =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(KIND)
