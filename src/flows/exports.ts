/**
 * Sending the record away, continuously: each sink is fed from the log by a loop of its own, in order and at least once.
 *
 * Nothing is queued in memory and nobody waits for a sink: the log itself is the queue, and what a sink has is a number
 * in the store that rises only after the sink took a batch. A sink that is dead, slow or full is tried again, further
 * and further apart, for as long as it takes; the log keeps what it lacks (`mayPrune`).
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import { Origins, EPOCH_BEGAN, PRUNED, recorded } from '../audit/export/record.ts'
import type { ExportFormat } from '../audit/export/formats.ts'
import { encodeLine, syslogSeverity } from '../audit/export/formats.ts'
import type { Instant, Millis } from '../model/time.ts'
import { MINUTE, toRfc3339 } from '../model/time.ts'
import type { Batch, Line, Sink } from '../signals/sink.ts'
import { SinkError, aborted, reasonOf } from '../signals/sink.ts'
import type { Store } from '../store/port.ts'
import type { Log } from './deps.ts'

/** One export: what is sent where. */
export type Export = Readonly<{
  id: string
  format: ExportFormat
  /** Kinds of entries, or their beginnings with a dot at the end; all when absent. */
  kinds?: readonly string[]
  /** Where it begins the first time. */
  from: 'start' | 'now'
  /** How long one batch may take. */
  timeout: Millis
  /** Most entries of one batch. */
  batch: number
  sink: Sink
}>

export type ExportDeps = Readonly<{
  store: Store
  installation: string
  /** Of Writ. */
  version: string
  log: Log
  /** In [0, 1): spreads retries. */
  jitter(): number
}>

/** How an export stands. */
export type ExportState = Readonly<{
  id: string
  /** Entries below this are delivered, and known to be after a crash too. */
  next: number
  /** Entries that the log has and the sink has not. */
  behind: number
  /** When the oldest of them was written. */
  since?: Instant
  /** Why the last try failed. */
  problem?: string
}>

/** Entries read before others get their turn. */
const AT_ONCE = 50
/** Entries looked at for one batch, those of other kinds included. */
const SCAN_MOST = 2_000
/** Bytes after which a batch is full. */
const BYTES_MOST = 1_048_576
/** A batch that is not full waits so long for the next one: commits cost, and a sink is no race. */
const LINGER: Millis = 100
/** The first retry after a failure, and the longest pause between two. */
const FIRST_RETRY: Millis = 250
const LAST_RETRY: Millis = 60_000
/** Behind for longer than this is worth a word even while the sink takes what it is given. */
const SLOW: Millis = MINUTE

export class Exports {
  readonly #deps: ExportDeps
  readonly #feeders: readonly Feeder[]
  readonly #origins: Origins

  constructor(deps: ExportDeps, exports: readonly Export[]) {
    this.#deps = deps
    this.#origins = new Origins(deps.installation)
    this.#feeders = exports.map((one) => new Feeder(deps, one, this.#origins))
  }

  /** After a start: where each export stood. What is new begins at the start of the log, or now. */
  async recover(): Promise<void> {
    if (this.#feeders.length === 0) return
    await this.#learnEpochs()
    for (const feeder of this.#feeders) await feeder.recover()
  }

  start(): void {
    for (const feeder of this.#feeders) feeder.start()
  }

  /** Ends what is under way; what was not acknowledged is sent again after the next start. */
  async stop(): Promise<void> {
    await Promise.all(this.#feeders.map((feeder) => feeder.stop()))
  }

  /** Whether every sink has entry `seq`: retention prunes nothing that one still lacks. */
  mayPrune(seq: number): boolean {
    return this.#feeders.every((feeder) => seq < feeder.kept)
  }

  states(): readonly ExportState[] {
    return this.#feeders.map((feeder) => feeder.state())
  }

  /** What is wrong, each one sentence. */
  problems(now: Instant): readonly string[] {
    return this.states().flatMap(({ id, behind, since, problem }) => {
      if (problem === undefined && (since === undefined || now - since < SLOW)) return []
      const entries = behind === 1 ? '1 entry' : `${behind} entries`
      const when = since === undefined ? '' : ` since ${toRfc3339(since)}`
      return [`export \`${id}\` is ${entries} behind${when}: ${problem ?? 'it takes them too slowly'}`]
    })
  }

  async #learnEpochs(): Promise<void> {
    const { log } = this.#deps.store
    const found: number[] = []
    let before: number | undefined
    do {
      const page = await log.search({
        terms: [`kind=${EPOCH_BEGAN}`],
        limit: 1_000,
        ...(before === undefined ? {} : { before }),
      })
      found.unshift(...page.items.toReversed())
      before = page.next === undefined ? undefined : Number(page.next)
    } while (before !== undefined)
    for (const seq of found) {
      for (const entry of await log.entries(seq, seq + 1)) this.#origins.see(recorded(entry, this.#origins))
    }
  }
}

/** Feeds one sink. */
class Feeder {
  readonly #deps: ExportDeps
  readonly #export: Export
  readonly #origins: Origins
  readonly #stopping = new AbortController()
  /** The next entry to send, and how far that is durable. */
  #next = 0
  #kept = 0
  #size = 0
  #failures = 0
  #problem: string | undefined
  /** When the oldest entry was written that the sink lacks. */
  #since: Instant | undefined
  /** Most entries of a batch; less for a receiver that finds them too large. */
  #most: number
  #wake: (() => void) | undefined
  #running: Promise<void> | undefined

  constructor(deps: ExportDeps, one: Export, origins: Origins) {
    this.#deps = deps
    this.#export = one
    this.#origins = origins
    this.#most = one.batch
  }

  get kept(): number {
    return this.#kept
  }

  state(): ExportState {
    const behind = Math.max(0, this.#size - this.#next)
    return {
      id: this.#export.id,
      next: this.#kept,
      behind,
      ...(behind === 0 || this.#since === undefined ? {} : { since: this.#since }),
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
    }
  }

  async recover(): Promise<void> {
    const { store } = this.#deps
    const id = `export/${this.#export.id}`
    const { size } = await store.log.head()
    const known = (await store.read([{ kind: 'meta', id }])).get('meta', id)?.value['next']
    this.#size = size
    this.#next = typeof known === 'number' ? known : this.#export.from === 'now' ? size : 0
    this.#kept = typeof known === 'number' ? known : 0
    try {
      if (this.#next > this.#kept) await this.#keep()
    } catch (error) {
      this.#failed(error) // without room for a number a server starts all the same; it is tried again
    }
  }

  start(): void {
    if (this.#running !== undefined) return
    const unsubscribe = this.#deps.store.log.subscribe((entries, { size }) => {
      this.#since ??= this.#next < size ? entries[0]?.at : undefined
      this.#size = size
      this.#wake?.()
    })
    this.#running = this.#run().finally(unsubscribe)
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new SinkError('it was stopped'))
    this.#wake?.()
    await this.#running
    await this.#export.sink.close()
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        await this.#step()
        this.#recovered()
      } catch (error) {
        if (signal.aborted) return
        this.#failed(error)
        await this.#pause(this.#retryIn(error))
        continue
      }
      if (this.#next < this.#size) {
        await breathe()
        continue
      }
      await this.#news()
      await this.#pause(LINGER)
    }
  }

  /** One batch: read, sent, and remembered as sent, in this order. */
  async #step(): Promise<void> {
    // taken but not yet remembered: the store was full, the sink need not have it twice
    if (this.#kept < this.#next) await this.#keep()
    this.#size = (await this.#deps.store.log.head()).size
    if (this.#next >= this.#size) {
      this.#since = undefined
      return
    }
    const { batch, next, full } = await this.#gather()
    if (batch.lines.length > 0) await this.#send(batch)
    this.#next = next
    this.#since = undefined
    if (!full) this.#most = Math.min(this.#export.batch, this.#most * 2)
    await this.#keep()
  }

  /** The next entries of the log, as many as one batch may have. */
  async #gather(): Promise<{ batch: Batch; next: number; full: boolean }> {
    const { store, version } = this.#deps
    const lines: Line[] = []
    let bytes = 0
    let next = this.#next
    const isFull = (): boolean => lines.length >= this.#most || bytes >= BYTES_MOST
    while (!isFull() && next < this.#size && next - this.#next < SCAN_MOST) {
      const entries = await store.log.entries(next, Math.min(this.#size, next + AT_ONCE))
      if (entries.length === 0) break
      for (const entry of entries) {
        if (isFull()) break
        const of = recorded(entry, this.#origins)
        if (next === this.#next) this.#since = entry.at
        this.#origins.see(of)
        next = entry.seq + 1
        if (!this.#wants(of.kind)) continue
        const text = encodeLine(of, this.#export.format, version)
        bytes += text.length
        lines.push({
          seq: of.seq,
          kind: of.kind,
          time: toRfc3339(of.at),
          severity: syslogSeverity(of),
          text,
        })
      }
      await breathe()
    }
    const id = `${this.#deps.installation}-${lines[0]?.seq ?? 0}-${lines.at(-1)?.seq ?? 0}`
    return { batch: { id, lines }, next, full: isFull() }
  }

  #wants(kind: string): boolean {
    const { kinds } = this.#export
    if (kinds === undefined || kind === PRUNED) return true // what was pruned may have been of any kind
    return kinds.some((wanted) => (wanted.endsWith('.') ? kind.startsWith(wanted) : kind === wanted))
  }

  async #send(batch: Batch): Promise<void> {
    const { sink, timeout } = this.#export
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(timeout)])
    const { promise, reject } = Promise.withResolvers<never>()
    const giveUp = (): void => reject(aborted(signal))
    signal.addEventListener('abort', giveUp, { once: true })
    try {
      // whatever a sink does with the signal, nobody waits for it longer than this
      await Promise.race([sink.send(batch, signal), promise])
    } finally {
      signal.removeEventListener('abort', giveUp)
    }
  }

  /** The number that says what the sink has; it never falls. */
  async #keep(): Promise<void> {
    const id = `export/${this.#export.id}`
    const next = this.#next
    await this.#deps.store.commit({
      reads: [{ kind: 'meta', id }],
      run: (tx) => tx.put('meta', id, { next }),
    })
    this.#kept = next
  }

  #recovered(): void {
    if (this.#failures > 0)
      this.#deps.log('info', 'an export goes on', { export: this.#export.id, next: this.#next })
    this.#failures = 0
    this.#problem = undefined
  }

  #failed(error: unknown): void {
    const tooLarge = error instanceof SinkError && error.tooLarge && this.#most > 1
    if (tooLarge) this.#most = Math.floor(this.#most / 2)
    this.#failures = tooLarge ? 1 : this.#failures + 1
    const problem = this.#kept < this.#next ? 'its place could not be recorded' : reasonOf(error)
    if (problem !== this.#problem)
      this.#deps.log('warn', 'an export does not go on and is tried again', {
        export: this.#export.id,
        problem,
      })
    this.#problem = problem
  }

  /** Twice as long after each failure, spread, and never sooner than the receiver asked. */
  #retryIn(error: unknown): Millis {
    const asked = error instanceof SinkError ? (error.retryAfter ?? 0) : 0
    const backedOff = Math.min(LAST_RETRY, FIRST_RETRY * 2 ** Math.min(this.#failures - 1, 20))
    return Math.max(asked, backedOff * (0.5 + this.#deps.jitter() / 2))
  }

  /** Resolves when there is more, or nothing more is wanted. */
  async #news(): Promise<void> {
    if (this.#next < this.#size || this.#stopping.signal.aborted) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = resolve
    await promise
    this.#wake = undefined
  }

  async #pause(length: Millis): Promise<void> {
    const { signal } = this.#stopping
    if (signal.aborted) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, length)
    timer.unref()
    const stop = (): void => resolve()
    signal.addEventListener('abort', stop, { once: true })
    await promise
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
}
