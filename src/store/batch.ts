/**
 * Running a sealed batch: items one after another, each over what the earlier ones left, none of it visible outside
 * until the engine has written it. Knows no engine.
 *
 * @module
 */
import { WritError } from '../model/errors.ts'
import { indexes } from '../model/records.ts'
import type { IndexKind, IndexName, Kind, Records } from '../model/records.ts'
import type { Instant } from '../model/time.ts'
import type { Body } from './entry.ts'
import { encodeEntry } from './entry.ts'
import { mergeIds } from './order.ts'
import type { EntryBody, Item, LogEntry, Read, Stored, Transaction } from './port.ts'
import { SCAN_LIMIT } from './port.ts'

export type AnyStored = Stored<Kind>

/** Committed state. `ids` are sorted; more than `SCAN_LIMIT` of them fail `ERR_TOO_LARGE`. */
export interface Base {
  record(kind: Kind, id: string): AnyStored | undefined
  ids(index: IndexName, value: string): readonly string[]
}

/** A record as it will be written: `body` is its JSON. */
export type Written = Readonly<{ stored: AnyStored; body: string }>
export type NewEntry = LogEntry &
  Readonly<{ refs: readonly string[]; terms: readonly string[]; bodies: readonly Body[] }>

/** Keys are injective because neither a kind nor an index name holds `/`. */
export const recordKey = (kind: Kind, id: string): string => `${kind}/${id}`
export const listKey = (index: IndexName, value: string): string => `${index}/${value}`

export type RecordChange = Readonly<{ kind: Kind; id: string; written: Written | undefined }>
export type ListChange = Readonly<{ index: IndexName; value: string; ids: Map<string, boolean> }>

/** What a batch, or one item of it, leaves: changes by key, and entries in log order. */
export class Changes {
  readonly records = new Map<string, RecordChange>()
  readonly lists = new Map<string, ListChange>()
  readonly entries: NewEntry[] = []

  get isEmpty(): boolean {
    return this.records.size === 0 && this.entries.length === 0
  }

  list(index: IndexName, value: string, id: string, listed: boolean): void {
    const key = listKey(index, value)
    let change = this.lists.get(key)
    if (change === undefined) {
      change = { index, value, ids: new Map() }
      this.lists.set(key, change)
    }
    change.ids.set(id, listed)
  }

  add(later: Changes): void {
    for (const [key, change] of later.records) this.records.set(key, change)
    for (const { index, value, ids } of later.lists.values()) {
      for (const [id, listed] of ids) this.list(index, value, id, listed)
    }
    for (const entry of later.entries) this.entries.push(entry)
  }
}

export type Outcome = Readonly<{ ok: true; value: unknown } | { ok: false; error: unknown }>

/** State of the log and of the write counter that a batch starts from. */
export type Start = Readonly<{ size: number; version: number }>

export class Batch {
  readonly changes = new Changes()
  readonly #base: Base
  readonly #now: () => Instant
  readonly #start: Start
  #version: number

  constructor(base: Base, start: Start, now: () => Instant) {
    this.#base = base
    this.#start = start
    this.#now = now
    this.#version = start.version
  }

  /** The last version given to a write. */
  get version(): number {
    return this.#version
  }

  /** Runs one item; its writes join the batch only if it returns. */
  run(item: Item<unknown>): Outcome {
    const tx = new ItemTransaction(this.#base, this.changes, item.reads, {
      now: this.#now(),
      nextSeq: this.#start.size + this.changes.entries.length,
      nextVersion: () => ++this.#version,
    })
    try {
      const value = item.run(tx)
      if (isThenable(value)) throw new TypeError('an item of a batch must not await')
      this.changes.add(tx.changes)
      return { ok: true, value }
    } catch (error) {
      return { ok: false, error }
    } finally {
      tx.end()
    }
  }
}

class ItemTransaction implements Transaction {
  readonly changes = new Changes()
  readonly now: Instant
  readonly #base: Base
  readonly #earlier: Changes
  readonly #declared: Declared
  readonly #firstSeq: number
  readonly #nextVersion: () => number
  #ended = false

  constructor(
    base: Base,
    earlier: Changes,
    reads: readonly Read[],
    at: { now: Instant; nextSeq: number; nextVersion: () => number },
  ) {
    this.now = at.now
    this.#base = base
    this.#earlier = earlier
    this.#declared = new Declared(reads)
    this.#firstSeq = at.nextSeq
    this.#nextVersion = at.nextVersion
  }

  /** After this every use is a mistake: the writes would be lost. */
  end(): void {
    this.#ended = true
  }

  get nextSeq(): number {
    return this.#firstSeq + this.changes.entries.length
  }

  get<K extends Kind>(kind: K, id: string): Stored<K> | undefined {
    this.#live()
    // an item may always read what it wrote itself
    if (!this.changes.records.has(recordKey(kind, id))) this.#declared.record(kind, id)
    return this.#current(kind, id)
  }

  scan<I extends IndexName>(index: I, value: string): readonly Stored<IndexKind<I>>[] {
    this.#live()
    this.#declared.list(index, value)
    const key = listKey(index, value)
    let ids = this.#base.ids(index, value)
    for (const changes of [this.#earlier, this.changes]) {
      const change = changes.lists.get(key)
      if (change !== undefined) ids = mergeIds(ids, change.ids)
    }
    if (ids.length > SCAN_LIMIT) throw tooMany(index)
    const kind: IndexKind<I> = indexes[index].kind
    return ids.map((id) => this.#current(kind, id) as Stored<IndexKind<I>>)
  }

  put<K extends Kind>(kind: K, id: string, value: Records[K]): Records[K] | undefined {
    this.#live()
    requireText(id, 'id')
    if (id === '') throw new WritError('ERR_INPUT_INVALID', 'id is empty')
    const body = JSON.stringify(value) as string | undefined
    if (body === undefined) throw new TypeError(`a ${kind} has no JSON form`)
    const before = this.#current(kind, id)
    const stored: Stored<K> = { kind, id, version: this.#nextVersion(), value }
    this.#relist(kind, id, before?.value, value)
    this.changes.records.set(recordKey(kind, id), {
      kind,
      id,
      written: { stored, body },
    })
    return before?.value
  }

  delete<K extends Kind>(kind: K, id: string): Records[K] | undefined {
    this.#live()
    const before = this.#current(kind, id)
    if (before === undefined) return undefined
    this.#relist(kind, id, before.value, undefined)
    this.changes.records.set(recordKey(kind, id), { kind, id, written: undefined })
    return before.value
  }

  append(entry: EntryBody): number {
    this.#live()
    const seq = this.nextSeq
    for (const ref of entry.refs) requireText(ref, 'reference')
    const encoded = encodeEntry(seq, this.now, entry)
    this.changes.entries.push({ seq, at: this.now, ...encoded, refs: [...new Set(entry.refs)] })
    return seq
  }

  #current<K extends Kind>(kind: K, id: string): Stored<K> | undefined {
    const key = recordKey(kind, id)
    const change = this.changes.records.get(key) ?? this.#earlier.records.get(key)
    const stored = change === undefined ? this.#base.record(kind, id) : change.written?.stored
    return stored as Stored<K> | undefined
  }

  #relist<K extends Kind>(
    kind: K,
    id: string,
    before: Records[K] | undefined,
    after: Records[K] | undefined,
  ): void {
    for (const { name, values } of indexesOf(kind)) {
      const was = before === undefined ? [] : values(before)
      const is = after === undefined ? [] : values(after)
      for (const value of was) if (!is.includes(value)) this.changes.list(name, value, id, false)
      for (const value of is) {
        if (was.includes(value)) continue
        requireText(value, `value of index \`${name}\``)
        this.changes.list(name, value, id, true)
      }
    }
  }

  #live(): void {
    if (this.#ended) throw new TypeError('this item of the batch has ended')
  }
}

/** What an item or a view said it would read. */
class Declared {
  readonly #reads: readonly Read[]
  #keys: Set<string> | undefined

  constructor(reads: readonly Read[]) {
    this.#reads = reads
  }

  record(kind: Kind, id: string): void {
    const isDeclared =
      this.#reads.length > FEW
        ? this.#set().has(recordKey(kind, id))
        : this.#reads.some((read) => 'kind' in read && read.id === id && read.kind === kind)
    if (!isDeclared) throw undeclared(`${kind}/${id}`)
  }

  list(index: IndexName, value: string): void {
    const isDeclared =
      this.#reads.length > FEW
        ? this.#set().has(listKey(index, value))
        : this.#reads.some((read) => 'index' in read && read.value === value && read.index === index)
    if (!isDeclared) throw undeclared(`${index}/${value}`)
  }

  /** No kind is also the name of an index, so one set holds both. */
  #set(): Set<string> {
    this.#keys ??= new Set(this.#reads.map(readKey))
    return this.#keys
  }
}

const FEW = 8

export const readKey = (read: Read): string =>
  'kind' in read ? recordKey(read.kind, read.id) : listKey(read.index, read.value)

export function undeclared(what: string): TypeError {
  return new TypeError(`\`${what}\` was not declared among the reads`)
}

export function tooMany(index: IndexName): WritError {
  return new WritError('ERR_TOO_LARGE', `index \`${index}\` lists more than ${SCAN_LIMIT} records`, {
    hint: 'page through them with `list`',
  })
}

type KindIndex = Readonly<{ name: IndexName; values: (value: Records[Kind]) => readonly string[] }>

const byKind = Map.groupBy(
  Object.entries(indexes).map(([name, { kind, values }]) => ({ name, kind, values })),
  ({ kind }) => kind,
) as ReadonlyMap<Kind, readonly KindIndex[]>

/** The indexes of a kind. */
export function indexesOf(kind: Kind): readonly KindIndex[] {
  return byKind.get(kind) ?? []
}

/** Text that cannot be told from other text once it is UTF-8 must not name anything. */
function requireText(text: string, what: string): void {
  if (typeof text !== 'string') throw new TypeError(`${what} must be a string`)
  if (!text.isWellFormed()) throw new WritError('ERR_INPUT_INVALID', `${what} is not well-formed Unicode`)
}

function isThenable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
