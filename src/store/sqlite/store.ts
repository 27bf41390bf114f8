/**
 * The embedded engine: one SQLite file in WAL mode, every commit synced, one writer, group commit.
 *
 * @module
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { isWritError, WritError } from '../../model/errors.ts'
import type { IndexKind, IndexName, Kind } from '../../model/records.ts'
import { indexes } from '../../model/records.ts'
import type { Instant, Millis } from '../../model/time.ts'
import { formatDuration, HOUR, MINUTE, SECOND } from '../../model/time.ts'
import type { AnyStored, Base, Changes, NewEntry, Outcome } from '../batch.ts'
import { Batch, readKey, listKey, recordKey, undeclared } from '../batch.ts'
import type { Clock } from '../clock.ts'
import { StoreClock } from '../clock.ts'
import { frontierRoot } from '../frontier.ts'
import { hex } from '../hash.ts'
import type {
  Item,
  LogEntry,
  LogHead,
  LogSearch,
  Page,
  PrunedEntry,
  Read,
  Store,
  Stored,
  View,
} from '../port.ts'
import { Cache } from './cache.ts'
import { corrupt, faultOf, storeError } from './faults.ts'
import { DATABASE_FILE, lockFolder, looseMode, prepareFolder, Reserve } from './folder.ts'
import type { State, StoreHooks } from './rows.ts'
import { Damage, readList, requireListed, Rows } from './rows.ts'
import { migrate, reindex } from './schema.ts'

export type SqliteOptions = Readonly<{
  /** Made, with mode 0700, if it is not there. */
  folder: string
  clock: Clock
  hooks?: StoreHooks
  /** Records kept in memory, and ids of lists; 100,000. */
  cacheLimit?: number
  /** Most bytes of the database file; unlimited. Narrowing may exceed it by the reserve. */
  maxBytes?: number
  /** Space kept back for narrowing; 8 MiB. */
  reserveBytes?: number
  /** Entries after which what they can be found by is written from memory to the file; 16,384. */
  stretch?: number
  /** Freezes what is handed out, so that a test that changes it fails. */
  freeze?: boolean
}>

/** Most items of one batch. */
const BATCH_ITEMS = 1024
/** A batch is sealed early after this long, so that nothing else waits for it. */
const BATCH_MS: Millis = 8
/** How often a store that was full looks whether there is room again. */
const RECOVERY_MS: Millis = 5_000
/** A wall clock this far behind is worth an operator's attention. */
const CLOCK_TOLERANCE_MS: Millis = 2_000
const PAGE_LIMIT = 1_000
const HASH_LIMIT = 256
const DEFAULT_PAGE = 100
/** Pages that must be free below `maxBytes` before widening is allowed again. */
const FREE_PAGES = 64

/**
 * Opens the data folder, makes it if it is new, and takes it for this process.
 *
 * @throws {WritError} `ERR_STORE_BUSY` if another process has the folder, `ERR_STORE_CORRUPT` if its data contradicts
 *   itself, `ERR_STORE_FULL` without room even for opening, `ERR_CONFIG_INVALID` if it cannot be written or was
 *   written by a newer version.
 */
export async function openSqliteStore(options: SqliteOptions): Promise<Store> {
  const { folder } = options
  prepareFolder(folder)
  const unlock = lockFolder(folder)
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(join(folder, DATABASE_FILE), { timeout: 250 })
    db.exec('PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY')
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 2000')
    db.exec('PRAGMA cache_size = -65536; PRAGMA secure_delete = FAST')
    migrate(db, folder)
    reindex(db)
    return new SqliteStore(options, db, unlock)
  } catch (error) {
    db?.close()
    unlock()
    throw isWritError(error) ? error : storeError(faultOf(error), folder, error)
  }
}

type Job = Readonly<{
  item: Item<unknown>
  resolve: (value: unknown) => void
  reject: (error: unknown) => void
}>

class SqliteStore implements Store, Base {
  readonly log: Store['log']
  readonly #folder: string
  readonly #monotonic: () => Millis
  readonly #freeze: boolean
  readonly #db: DatabaseSync
  readonly #unlock: () => void
  readonly #rows: Rows
  readonly #cache: Cache
  readonly #clock: StoreClock
  readonly #reserve: Reserve
  readonly #pageLimit: { widening: number; narrowing: number } | undefined
  readonly #looseMode: string | undefined
  readonly #listeners = new Set<(entries: readonly LogEntry[], head: LogHead) => void>()
  readonly #notes = new Set<string>()
  #queue: Job[] = []
  #scheduled = false
  #state: State
  #head: LogHead
  #foreign: number
  /** Since when, by the monotonic clock, there is no room for what widens. */
  #fullSince: Millis | undefined
  #broken: WritError | undefined
  #closing: Promise<void> | undefined

  constructor(options: SqliteOptions, db: DatabaseSync, unlock: () => void) {
    this.#folder = options.folder
    this.#monotonic = () => options.clock.monotonic()
    this.#freeze = options.freeze ?? false
    this.#db = db
    this.#unlock = unlock
    this.#rows = new Rows(db, options.hooks, options.stretch)
    this.#cache = new Cache(options.cacheLimit ?? 100_000)
    this.#state = this.#rows.load()
    this.#head = headOf(this.#state)
    this.#clock = new StoreClock(options.clock, this.#state.at)
    this.#foreign = this.#rows.foreignChanges()
    this.#looseMode = looseMode(options.folder)
    const reserveBytes = options.reserveBytes ?? 8 << 20
    this.#reserve = new Reserve(options.folder, reserveBytes)
    if (options.maxBytes !== undefined) {
      const { bytes } = this.#rows.pages()
      const widening = Math.floor(options.maxBytes / bytes)
      this.#pageLimit = { widening, narrowing: widening + Math.ceil(reserveBytes / bytes) }
    }
    if (!this.#hasRoom()) this.#fullSince = this.#monotonic()
    this.log = {
      head: async () => this.#reading(() => this.#head),
      entries: async (from, to) => this.#reading(() => this.#entries(from, to)),
      hashes: async (level, from, to) => this.#reading(() => this.#hashes(level, from, to)),
      seqAt: async (at) => this.#reading(() => this.#rows.seqAt(at, this.#head.size)),
      search: async (query) => this.#reading(() => this.#search(query)),
      body: async (digest) => this.#reading(() => this.#rows.body(digest)),
      prune: async (seqs) => this.#reading(() => this.#rows.prune(seqs)),
      find: async (ref, { after, limit = DEFAULT_PAGE, descending = false } = {}) =>
        this.#reading(() => this.#rows.found(ref, after, pageLimit(limit), descending)),
      subscribe: (listener) => {
        this.#listeners.add(listener)
        return () => this.#listeners.delete(listener)
      },
    }
  }

  async read(reads: readonly Read[]): Promise<View> {
    return this.#reading(() => new Snapshot(this, this.#clock.now(), reads))
  }

  commit<T>(item: Item<T>): Promise<T> {
    const refused = this.#refusal(item)
    if (refused !== undefined) return Promise.reject(refused)
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ item, resolve: resolve as (value: unknown) => void, reject })
      this.#schedule()
    })
  }

  async list<K extends Kind>(
    kind: K,
    options: { index?: IndexName; value?: string; after?: string; limit?: number } = {},
  ): Promise<Page<Stored<K>>> {
    const { index, value, after = '', limit = DEFAULT_PAGE } = options
    return this.#reading(() => {
      const most = pageLimit(limit)
      const items =
        index === undefined
          ? this.#rows.records(kind, after, most + 1)
          : this.#listed(kind, index, value, after, most + 1)
      for (const item of items) if (this.#freeze) deepFreeze(item)
      const page = items.slice(0, most) as unknown as Stored<K>[]
      return { items: page, next: items.length > most ? page.at(-1)?.id : undefined }
    })
  }

  problems(): readonly string[] {
    const problems = [...this.#notes]
    const behind = this.clockBehind()
    if (this.#broken !== undefined) problems.push(this.#broken.message)
    if (this.#fullSince !== undefined) {
      problems.push(
        'there is no room left: only what narrows is recorded, in space kept back for it; free some space',
      )
    }
    if (behind > CLOCK_TOLERANCE_MS) {
      const by = Number.isFinite(behind)
        ? `${formatDuration(roughly(behind))} behind what is already recorded`
        : 'unreadable'
      problems.push(
        `the clock is ${by}: nothing new is permitted until it is right; if it was ahead before, stop Writ for as long`,
      )
    }
    if (this.#looseMode !== undefined) {
      problems.push(
        `others may look into the data folder (mode ${this.#looseMode}): run chmod 700 ${this.#folder}`,
      )
    }
    return problems
  }

  clockBehind(): number {
    return this.#clock.behind()
  }

  close(): Promise<void> {
    this.#closing ??= Promise.resolve().then(() => {
      try {
        while (this.#queue.length > 0) this.#flush()
        // so that a clock set back while nobody ran is noticed (B31); without room the last entry's time must do
        const isDue = this.#broken === undefined && this.#fullSince === undefined
        if (isDue) {
          this.#rows.listAll()
          this.#state = this.#rows.write(
            NO_CHANGES,
            this.#state,
            this.#clock.now(),
            this.#state.version,
            false,
          )
        }
      } finally {
        this.#db.close()
        this.#unlock()
      }
    })
    return this.#closing
  }

  /** Committed; `undefined` when absent. */
  record(kind: Kind, id: string): AnyStored | undefined {
    const cached = this.#cache.record(kind, id)
    if (cached !== undefined) return cached ?? undefined
    // ill-formed text is never stored, but would be found under the name that SQLite makes of it
    const stored = id.isWellFormed() ? this.#rows.record(kind, id) : undefined
    if (this.#freeze && stored !== undefined) deepFreeze(stored)
    this.#cache.keepRecord(kind, id, stored ?? null)
    return stored
  }

  ids(index: IndexName, value: string): readonly string[] {
    const cached = this.#cache.ids(index, value)
    if (cached !== undefined) return cached
    const ids = value.isWellFormed()
      ? readList(this.#rows, index, value, (kind, id) => this.record(kind, id))
      : []
    this.#cache.keepIds(index, value, ids)
    return ids
  }

  #listed(
    kind: Kind,
    index: IndexName,
    value: string | undefined,
    after: string,
    limit: number,
  ): AnyStored[] {
    if (indexes[index].kind !== kind) throw new TypeError(`index \`${index}\` does not list kind \`${kind}\``)
    if (value === undefined) throw new TypeError('`value` is needed with `index`')
    if (!value.isWellFormed()) return []
    return this.#rows
      .listed(index, value, after, limit)
      .map((id) => requireListed(index, value, id, this.record(kind, id)))
  }

  #hashes(level: number, from: number, to: number): readonly Uint8Array[] {
    requireRange(from, to)
    if (!Number.isSafeInteger(level) || level < 0) throw new TypeError('`level` must be one of the tree')
    return this.#rows.hashes(level, from, Math.min(to, from + HASH_LIMIT))
  }

  #search({ terms, before, from = 0, limit = DEFAULT_PAGE }: LogSearch): Page<number> {
    const most = pageLimit(limit)
    const { size } = this.#head
    // text that is no Unicode is under nothing, though the engine would find it under something else
    if (!terms.every((term) => term.isWellFormed())) return { items: [], next: undefined }
    const { items, next } = this.#rows.search(
      [...new Set(terms)],
      Math.max(from, 0),
      Math.min(before ?? size, size) - 1,
      most,
    )
    return { items, next: next === undefined ? undefined : String(next + 1) }
  }

  #entries(from: number, to: number): readonly (LogEntry | PrunedEntry)[] {
    requireRange(from, to)
    return this.#rows.entries(from, Math.min(to, from + PAGE_LIMIT))
  }

  /** Runs a read; a contradiction in what is read ends the service (B72). */
  #reading<T>(read: () => T): T {
    if (this.#closing !== undefined) throw closed()
    if (this.#broken !== undefined) throw this.#broken
    try {
      return read()
    } catch (error) {
      throw this.#isOurs(error) ? this.#break(error) : error
    }
  }

  /** Whether an error speaks of the file, not of what the caller asked for. */
  #isOurs(error: unknown): boolean {
    return error instanceof Damage || (error instanceof Error && 'errcode' in error)
  }

  #break(error: unknown): WritError {
    const fault = faultOf(error)
    if (fault !== 'broken') return storeError(fault, this.#folder, error)
    this.#broken ??= corrupt(this.#folder, error instanceof Error ? error.message : String(error), error)
    return this.#broken
  }

  #refusal(item: Item<unknown>): Error | undefined {
    if (this.#closing !== undefined) return closed()
    if (this.#broken !== undefined) return this.#broken
    if (item.narrowing !== true && this.#isFull()) return storeError('full', this.#folder)
    return undefined
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      if (this.#queue.length > 0) this.#flush()
      if (this.#queue.length > 0) this.#schedule()
    })
  }

  /** Seals a batch and settles it. When more is waiting than fits, what narrows goes first. */
  #flush(): void {
    let jobs = this.#queue
    this.#queue = []
    if (jobs.length > BATCH_ITEMS) {
      jobs = [...jobs.filter(isNarrowing), ...jobs.filter((job) => !isNarrowing(job))]
      this.#queue = jobs.splice(BATCH_ITEMS)
    }
    try {
      const taken = this.#settle(jobs)
      this.#queue = [...jobs.slice(taken), ...this.#queue]
    } catch (error) {
      const reason = this.#break(error)
      for (const job of jobs) job.reject(reason)
    }
  }

  /** Runs and writes jobs, as many as one batch may take; returns how many that were. */
  #settle(jobs: readonly Job[]): number {
    if (this.#broken !== undefined) throw this.#broken
    this.#noticeForeignChange()
    const { batch, outcomes } = this.#run(jobs)
    const taken = jobs.slice(0, outcomes.length)
    try {
      this.#write(batch)
    } catch (error) {
      this.#unwritten(taken, error)
      return taken.length
    }
    for (const [i, job] of taken.entries()) {
      const outcome = outcomes[i] as Outcome
      if (outcome.ok) job.resolve(outcome.value)
      else job.reject(outcome.error)
    }
    return taken.length
  }

  #run(jobs: readonly Job[]): { batch: Batch; outcomes: Outcome[] } {
    const start = { size: this.#state.frontier.size, version: this.#state.version }
    const batch = new Batch(this, start, () => this.#clock.now())
    const outcomes: Outcome[] = []
    const began = this.#monotonic()
    for (const { item } of jobs) {
      const outcome = batch.run(item)
      if (!outcome.ok && this.#isOurs(outcome.error)) throw outcome.error
      outcomes.push(outcome)
      if (this.#monotonic() - began > BATCH_MS) break
    }
    return { batch, outcomes }
  }

  /** Makes a batch durable, then visible. */
  #write(batch: Batch): void {
    const { changes, version } = batch
    if (changes.isEmpty) return
    // without room only what must be is written
    const isListing = this.#fullSince === undefined
    this.#state = this.#rows.write(changes, this.#state, this.#clock.now(), version, isListing)
    if (this.#freeze) for (const { written } of changes.records.values()) deepFreeze(written?.stored)
    this.#cache.apply(changes)
    if (changes.entries.length === 0) return
    this.#head = headOf(this.#state)
    this.#publish(changes.entries)
  }

  #publish(entries: readonly NewEntry[]): void {
    for (const listener of this.#listeners) {
      try {
        listener(entries, this.#head)
      } catch (error) {
        // the entries are durable whatever a listener makes of them
        this.#listeners.delete(listener)
        this.#notes.add(`a listener of the log failed and was dropped: ${String(error)}`)
      }
    }
  }

  /** Nothing of this batch was written. Without room, what narrows is tried again in the space kept back (B68). */
  #unwritten(jobs: readonly Job[], error: unknown): void {
    const fault = faultOf(error)
    const reason = this.#break(error)
    const again = fault === 'full' && this.#fullSince === undefined ? jobs.filter(isNarrowing) : []
    if (fault === 'full') this.#giveUpReserve()
    for (const job of jobs) if (!again.includes(job)) job.reject(reason)
    for (let rest = again; rest.length > 0;) rest = rest.slice(this.#settle(rest))
  }

  #giveUpReserve(): void {
    this.#fullSince = this.#monotonic()
    this.#reserve.release()
    if (this.#pageLimit !== undefined) this.#rows.limitPages(this.#pageLimit.narrowing)
  }

  #isFull(): boolean {
    if (this.#fullSince === undefined) return false
    if (this.#monotonic() - this.#fullSince < RECOVERY_MS) return true
    this.#fullSince = this.#hasRoom() ? undefined : this.#monotonic()
    return this.#fullSince !== undefined
  }

  /** Takes back the reserve and the limit, if there is room for both. */
  #hasRoom(): boolean {
    const limit = this.#pageLimit
    if (limit !== undefined) {
      const isOver = this.#rows.pages().used + FREE_PAGES > limit.widening
      this.#rows.limitPages(isOver ? limit.narrowing : limit.widening)
      if (isOver) return false
    }
    return this.#reserve.take()
  }

  /** We are the only writer: a change by anybody else voids what we remember, and an operator should know. */
  #noticeForeignChange(): void {
    const foreign = this.#rows.foreignChanges()
    if (foreign === this.#foreign) return
    this.#foreign = foreign
    this.#cache.clear()
    this.#notes.add('another program changed the database while Writ was running: run `writ audit verify`')
  }
}

/** Committed state at one moment, of what was asked for. */
class Snapshot implements View {
  readonly now: Instant
  readonly #records = new Map<string, AnyStored | undefined>()
  readonly #lists = new Map<string, readonly AnyStored[]>()

  constructor(base: Base, now: Instant, reads: readonly Read[]) {
    this.now = now
    for (const read of reads) {
      if ('kind' in read) this.#records.set(readKey(read), base.record(read.kind, read.id))
      else {
        const { kind } = indexes[read.index]
        const ids = base.ids(read.index, read.value)
        this.#lists.set(
          readKey(read),
          ids.map((id) => base.record(kind, id) as AnyStored),
        )
      }
    }
  }

  get<K extends Kind>(kind: K, id: string): Stored<K> | undefined {
    const key = recordKey(kind, id)
    const stored = this.#records.get(key)
    if (stored === undefined && !this.#records.has(key)) throw undeclared(key)
    return stored as Stored<K> | undefined
  }

  scan<I extends IndexName>(index: I, value: string): readonly Stored<IndexKind<I>>[] {
    const key = listKey(index, value)
    const stored = this.#lists.get(key)
    if (stored === undefined) throw undeclared(key)
    return stored as unknown as readonly Stored<IndexKind<I>>[]
  }
}

const NO_CHANGES: Changes = new Batch(
  { record: () => undefined, ids: () => [] },
  { size: 0, version: 0 },
  () => 0,
).changes

const isNarrowing = ({ item }: Job): boolean => item.narrowing === true

function headOf({ frontier }: State): LogHead {
  return { size: frontier.size, root: hex(frontierRoot(frontier)) }
}

function requireRange(from: number, to: number): void {
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 0) {
    throw new TypeError('`from` and `to` must be indexes of the log')
  }
}

function pageLimit(limit: number): number {
  if (!Number.isInteger(limit) || limit < 1 || limit > PAGE_LIMIT) {
    throw new TypeError(`\`limit\` must be between 1 and ${PAGE_LIMIT}`)
  }
  return limit
}

/** To the minute above an hour, else to the second: what a person would say. */
function roughly(millis: Millis): Millis {
  const unit = millis >= HOUR ? MINUTE : SECOND
  return Math.round(millis / unit) * unit
}

function closed(): WritError {
  return new WritError('ERR_STORE_CLOSED', 'the store is closed')
}

function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return
  Object.freeze(value)
  for (const member of Object.values(value)) deepFreeze(member)
}
