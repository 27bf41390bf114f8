/**
 * What the sign-in server for programs remembers: in memory, bounded, gone with the process. Its programs then have people
 * sign in again; what they must not do meanwhile is checked against the inventory at every use.
 *
 * @module
 */
import type { Adapter, AdapterPayload } from 'oidc-provider'
import type { Instant } from '../../model/time.ts'
import { SECOND } from '../../model/time.ts'

type Row = { payload: AdapterPayload; endsAt: Instant; size: number }

/** Of each kind; the oldest make room. */
const MOST = 5_000
/** Of all kinds together, in characters of JSON; the oldest of the largest kind make room, so that no flood of one drowns another. */
const SIZE_MOST = 32 * 1_024 * 1_024
/** More than any honest request says. */
const ROW_MOST = 64 * 1_024

export class Storage {
  readonly #now: () => Instant
  readonly #sizeMost: number
  readonly #kinds = new Map<string, Map<string, Row>>()
  readonly #sizes = new Map<Map<string, Row>, number>()

  constructor(now: () => Instant, sizeMost = SIZE_MOST) {
    this.#now = now
    this.#sizeMost = sizeMost
  }

  /** Characters that are kept. */
  get size(): number {
    return [...this.#sizes.values()].reduce((sum, size) => sum + size, 0)
  }

  /** One that has not ended. */
  get(kind: string, id: string): AdapterPayload | undefined {
    const row = this.#of(kind).get(id)
    return row === undefined || this.#now() >= row.endsAt ? undefined : row.payload
  }

  /** All of a kind that have not ended, the oldest first. */
  all(kind: string): readonly Readonly<{ id: string; payload: AdapterPayload; endsAt: Instant }>[] {
    const now = this.#now()
    return [...this.#of(kind)].flatMap(([id, { payload, endsAt }]) =>
      now >= endsAt ? [] : [{ id, payload, endsAt }],
    )
  }

  /** Writes down something of ours beside what the library keeps; it must be small. */
  note(kind: string, id: string, more: Readonly<Record<string, unknown>>): void {
    const row = this.#of(kind).get(id)
    if (row !== undefined) row.payload = { ...row.payload, ...more }
  }

  /** For the library: the part of one of its models. */
  adapter(kind: string): Adapter {
    const rows = this.#of(kind)
    const find = (id: string): AdapterPayload | undefined => this.get(kind, id)
    const by = (member: 'uid' | 'userCode', value: string): AdapterPayload | undefined => {
      for (const [id, { payload }] of rows) if (payload[member] === value) return find(id)
      return undefined
    }
    return {
      upsert: async (id, payload, expiresIn) => {
        const size = JSON.stringify(payload).length
        if (size > ROW_MOST) throw new RangeError('more than is remembered of one sign-in')
        this.#delete(rows, id)
        rows.set(id, {
          payload,
          endsAt: expiresIn === undefined ? Infinity : this.#now() + expiresIn * SECOND,
          size,
        })
        this.#sizes.set(rows, (this.#sizes.get(rows) ?? 0) + size)
        this.#makeRoom(rows)
      },
      find: async (id) => find(id),
      findByUid: async (uid) => by('uid', uid),
      findByUserCode: async (code) => by('userCode', code),
      consume: async (id) => {
        const row = rows.get(id)
        if (row !== undefined) row.payload = { ...row.payload, consumed: Math.floor(this.#now() / SECOND) }
      },
      destroy: async (id) => this.#delete(rows, id),
      revokeByGrantId: async (grantId) => {
        for (const kept of this.#kinds.values()) {
          for (const [id, { payload }] of kept) if (payload.grantId === grantId) this.#delete(kept, id)
        }
      },
    }
  }

  #of(kind: string): Map<string, Row> {
    const known = this.#kinds.get(kind)
    if (known !== undefined) return known
    const rows = new Map<string, Row>()
    this.#kinds.set(kind, rows)
    return rows
  }

  #delete(rows: Map<string, Row>, id: string): void {
    const row = rows.get(id)
    if (row === undefined) return
    rows.delete(id)
    this.#sizes.set(rows, (this.#sizes.get(rows) ?? 0) - row.size)
  }

  #makeRoom(rows: Map<string, Row>): void {
    const now = this.#now()
    // the oldest stand first; those of one kind live about equally long
    for (const [id, { endsAt }] of rows) {
      if (now < endsAt) break
      this.#delete(rows, id)
    }
    if (rows.size > MOST) {
      for (const [id, { endsAt }] of rows) if (now >= endsAt) this.#delete(rows, id)
      this.#deleteOldest(rows, () => rows.size <= MOST)
    }
    while (this.size > this.#sizeMost) {
      const [largest] = [...this.#sizes].toSorted(([, a], [, b]) => b - a)
      if (largest === undefined) return
      this.#deleteOldest(largest[0], () => true)
    }
  }

  #deleteOldest(rows: Map<string, Row>, isEnough: () => boolean): void {
    for (const id of rows.keys()) {
      this.#delete(rows, id)
      if (isEnough()) return
    }
  }
}
