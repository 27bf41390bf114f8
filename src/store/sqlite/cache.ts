/**
 * The committed state in memory. Exact, because this process is the only writer and tells the cache of every commit.
 *
 * @module
 */
import type { AnyStored, Changes } from '../batch.ts'
import { listKey, recordKey } from '../batch.ts'
import type { IndexName, Kind } from '../../model/records.ts'
import { mergeIds } from '../order.ts'

/**
 * A map that forgets what was not used for long: two generations, the older of which is dropped when the younger has
 * grown to half of `limit`. Cheaper than a list in order of use, and as good here.
 */
class Generations<V> {
  readonly #limit: number
  #young = new Map<string, V>()
  #old = new Map<string, V>()
  #weight = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  get(key: string): V | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young
    const old = this.#old.get(key)
    if (old !== undefined) this.set(key, old, 1)
    return old
  }

  set(key: string, value: V, weight: number): void {
    this.#old.delete(key)
    this.#young.set(key, value)
    this.#weight += weight
    if (this.#weight <= this.#limit / 2) return
    this.#old = this.#young
    this.#young = new Map()
    this.#weight = 0
  }

  delete(key: string): void {
    this.#young.delete(key)
    this.#old.delete(key)
  }

  clear(): void {
    this.#young.clear()
    this.#old.clear()
    this.#weight = 0
  }
}

/** Ids as last read, and what has changed since: merged when somebody asks, so that a write costs the same at any length. */
type CachedList = { ids: readonly string[]; changes: Map<string, boolean> }

/** Bounded to about `limit` records and as many ids in lists. */
export class Cache {
  readonly #records: Generations<AnyStored | null>
  readonly #lists: Generations<CachedList>

  constructor(limit: number) {
    this.#records = new Generations(limit)
    this.#lists = new Generations(limit)
  }

  /** `null`: known to be absent; `undefined`: not known. */
  record(kind: Kind, id: string): AnyStored | null | undefined {
    return this.#records.get(recordKey(kind, id))
  }

  keepRecord(kind: Kind, id: string, stored: AnyStored | null): void {
    this.#records.set(recordKey(kind, id), stored, 1)
  }

  ids(index: IndexName, value: string): readonly string[] | undefined {
    const list = this.#lists.get(listKey(index, value))
    if (list === undefined) return undefined
    if (list.changes.size > 0) {
      list.ids = mergeIds(list.ids, list.changes)
      list.changes = new Map()
    }
    return list.ids
  }

  keepIds(index: IndexName, value: string, ids: readonly string[]): void {
    this.#lists.set(listKey(index, value), { ids, changes: new Map() }, 1 + ids.length)
  }

  /** What a batch changed, once it is durable. */
  apply(changes: Changes): void {
    for (const { kind, id, written } of changes.records.values())
      this.keepRecord(kind, id, written?.stored ?? null)
    for (const [key, { ids }] of changes.lists) {
      const list = this.#lists.get(key)
      if (list === undefined) continue
      for (const [id, listed] of ids) list.changes.set(id, listed)
      // a list that nobody asks for must not grow here without bound
      if (list.changes.size > 1024 + list.ids.length) this.#lists.delete(key)
    }
  }

  clear(): void {
    this.#records.clear()
    this.#lists.clear()
  }
}
