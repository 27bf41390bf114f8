/**
 * A growing picture of the store: what an analysis has read, each record with the version it had. Handed to the commit
 * it is the read set.
 *
 * @module
 */
import { sameAuthority } from '../model/authority.ts'
import type { IndexKind, IndexName, Kind } from '../model/records.ts'
import type { Instant } from '../model/time.ts'
import type { Read, Store, Stored, View } from './port.ts'

export class Picture {
  readonly #store: Pick<Store, 'read'>
  readonly #seen = new Map<string, { kind: Kind; id: string; stored: Stored<Kind> | undefined }>()
  readonly #scans = new Map<string, readonly Stored<Kind>[]>()
  #now: Instant = 0

  constructor(store: Pick<Store, 'read'>) {
    this.#store = store
  }

  /** The store's clock at the last load. */
  get now(): Instant {
    return this.#now
  }

  /** Reads what is not in the picture yet. */
  async load(reads: readonly Read[]): Promise<void> {
    const missing = reads.filter((read) =>
      'index' in read ? !this.#scans.has(scanKey(read)) : !this.#seen.has(key(read)),
    )
    const view = await this.#store.read(missing)
    this.#now = Math.max(this.#now, view.now)
    for (const read of missing) {
      if ('index' in read) this.#scans.set(scanKey(read), view.scan(read.index, read.value))
      else this.#seen.set(key(read), { ...read, stored: view.get(read.kind, read.id) })
    }
  }

  /** @throws {TypeError} for what was never loaded: an analysis must know what it read. */
  get<K extends Kind>(kind: K, id: string): Stored<K> | undefined {
    const seen = this.#seen.get(key({ kind, id }))
    if (seen === undefined) throw new TypeError(`\`${kind}/${id}\` was not loaded`)
    return seen.stored as Stored<K> | undefined
  }

  has(kind: Kind, id: string): boolean {
    return this.#seen.has(key({ kind, id }))
  }

  /** What an index listed; scans are not part of the read set, the records chosen from them are. */
  scan<I extends IndexName>(index: I, value: string): readonly Stored<IndexKind<I>>[] {
    const found = this.#scans.get(scanKey({ index, value }))
    if (found === undefined) throw new TypeError(`index \`${index}\` was not loaded`)
    return found as readonly Stored<IndexKind<I>>[]
  }

  /** The records read, absent ones too. */
  get readSet(): readonly Readonly<{ kind: Kind; id: string; version: number | null }>[] {
    return [...this.#seen.values()].map(({ kind, id, stored }) => ({
      kind,
      id,
      version: stored?.version ?? null,
    }))
  }

  /**
   * The first record (of `only`, where given) whose authority differs in `view`, or `undefined` when the picture still
   * holds.
   */
  staleIn(view: View, only?: Kind): string | undefined {
    for (const { kind, id, stored } of this.#seen.values()) {
      if (only !== undefined && kind !== only) continue
      const current = view.get(kind, id)
      if (current?.version !== stored?.version && !sameAuthority(kind, stored?.value, current?.value)) {
        return `${kind}/${id}`
      }
    }
    return undefined
  }
}

const key = (read: { kind: Kind; id: string }): string => `${read.kind}\n${read.id}`
const scanKey = (read: { index: IndexName; value: string }): string => `${read.index}\n${read.value}`
