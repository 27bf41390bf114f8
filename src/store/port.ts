/**
 * The store: state and journal in one transaction. One port, written so that a second engine can join without
 * touching callers: a caller names beforehand everything it will read (one round trip), then runs synchronously over
 * what was read, and the engine writes what it put and appended (one round trip).
 *
 * @module
 */
import type { Instant } from '../model/time.ts'
import type { Json } from '../model/canonical.ts'
import type { IndexKind, IndexName, Kind, Records } from '../model/records.ts'

/** One record with the version it had when read: a number that rises with every write of any record. */
export type Stored<K extends Kind> = Readonly<{ kind: K; id: string; version: number; value: Records[K] }>

/** What will be read: one record, or every record that an index lists under a value (bounded, see `SCAN_LIMIT`). */
export type Read = Readonly<{ kind: Kind; id: string }> | Readonly<{ index: IndexName; value: string }>

/** Most records one index read may return; a scan that would exceed it fails `ERR_TOO_LARGE`. */
export const SCAN_LIMIT = 100_000

/** A consistent picture of what was asked for. Reading anything that was not declared is a `TypeError`. */
export interface View {
  /** The store's clock at this picture; never goes backwards. */
  readonly now: Instant
  get<K extends Kind>(kind: K, id: string): Stored<K> | undefined
  /** In the order of ids. */
  scan<I extends IndexName>(index: I, value: string): readonly Stored<IndexKind<I>>[]
}

/** A journal entry before the store gives it `seq` and `at`. `refs` are the ids under which it can be found. */
export type EntryBody = Readonly<{
  kind: string
  refs: readonly string[]
  [member: string]: Json | undefined
}>

/** A picture that can be written to; writes are seen by later items of the same batch, in log order. */
export interface Transaction extends View {
  /** The sequence number that the next appended entry will get. */
  readonly nextSeq: number
  /** Returns what it replaces. */
  put<K extends Kind>(kind: K, id: string, value: Records[K]): Records[K] | undefined
  /** Returns what it removes. */
  delete<K extends Kind>(kind: K, id: string): Records[K] | undefined
  /** Appends an entry; returns its sequence number (0-based index in the log). */
  append(entry: EntryBody): number
}

/** One item of a sealed batch. */
export type Item<T> = Readonly<{
  reads: readonly Read[]
  /** Narrowing items use reserved log space and are retried when the disk is full. */
  narrowing?: boolean
  /**
   * Pure over `tx`: reads, then puts and appends. A throw discards this item's writes only and rejects only its
   * promise. It must not await.
   */
  run(tx: Transaction): T
}>

export type LogHead = Readonly<{ size: number; root: string /* lowercase hex SHA-256, RFC 6962 */ }>
export type LogEntry = Readonly<{ seq: number; at: Instant; bytes: Uint8Array /* canonical JSON, UTF-8 */ }>
/** An entry of which only the hash is kept: retention has pruned it, every proof about it still holds. */
export type PrunedEntry = Readonly<{ seq: number; at: Instant; leaf: Uint8Array; pruned: true }>

export function isPruned(entry: LogEntry | PrunedEntry): entry is PrunedEntry {
  return 'pruned' in entry
}

/**
 * What entries are searched by: all `terms` must apply, e.g. `['Agent/triage', 'kind=decision', 'outcome=deny']`. A
 * term is a reference as in `refs`, or `kind=…`, `outcome=…`, `action=…` of the entry.
 */
export type LogSearch = Readonly<{
  terms: readonly string[]
  /** Only entries before this sequence number; the cursor of the page before. */
  before?: number
  /** Only entries from this sequence number on. */
  from?: number
  /** 1–1000. */
  limit?: number
}>

export type Page<T> = Readonly<{ items: readonly T[]; next: string | undefined }>

export interface Store {
  /** Reads committed state only. */
  read(reads: readonly Read[]): Promise<View>
  /** Joins the next sealed batch. Resolves with what `run` returned once the batch is durable. */
  commit<T>(item: Item<T>): Promise<T>
  /** Pages through a kind (or an index value) in the order of ids; `limit` 1–1000. */
  list<K extends Kind>(
    kind: K,
    options?: { index?: IndexName; value?: string; after?: string; limit?: number },
  ): Promise<Page<Stored<K>>>
  readonly log: {
    head(): Promise<LogHead>
    /** Entries from `from` (inclusive) to `to` (exclusive), at most 1000. */
    entries(from: number, to: number): Promise<readonly (LogEntry | PrunedEntry)[]>
    /**
     * Hashes `from` (inclusive) to `to` (exclusive) of a level of the tree: level 0 are leaf hashes, level L the roots
     * of complete subtrees of 256^L leaves (C2SP tlog-tiles). At most 256; fewer where the log ends.
     */
    hashes(level: number, from: number, to: number): Promise<readonly Uint8Array[]>
    /** Sequence number of the first entry dated `at` or later; the size of the log if there is none. */
    seqAt(at: Instant): Promise<number>
    /**
     * Newest first. What it costs does not depend on how long the log is: a page may be short, or empty, although there
     * is a `next`.
     */
    search(query: LogSearch): Promise<Page<number>>
    /** What an entry holds only the digest of (`sha256:…`), canonical JSON; `undefined` if it was pruned or never was. */
    body(digest: string): Promise<Uint8Array | undefined>
    /**
     * Replaces the entries `seqs` by their hashes, with what only they held; their references are forgotten. The caller
     * has recorded it (`log.pruned`). Entries that are gone already are no error.
     */
    prune(seqs: readonly number[]): Promise<void>
    /** Sequence numbers of entries that carry `ref`, ascending (or descending), beyond `after`. */
    find(
      ref: string,
      options?: { after?: number; limit?: number; descending?: boolean },
    ): Promise<readonly number[]>
    /** Called after each durable batch with the new head and entries. Returns the unsubscribe function. */
    subscribe(listener: (entries: readonly LogEntry[], head: LogHead) => void): () => void
  }
  /** What an operator should know, e.g. reserve released, clock behind. Empty when well. */
  problems(): readonly string[]
  /** How far the wall clock is behind the store's clock, in ms; 0 when it is not. Widening is refused above 2000. */
  clockBehind(): number
  close(): Promise<void>
}
