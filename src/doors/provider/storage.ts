/**
 * What the sign-in server for programs remembers: in memory, bounded, gone with the process. Its programs then have people
 * sign in again; what they must not do meanwhile is checked against the inventory at every use.
 *
 * @module
 */
import type { Adapter, AdapterPayload } from 'oidc-provider'
import type { Instant } from '../../model/time.ts'
import { SECOND } from '../../model/time.ts'

type Row = { payload: AdapterPayload; endsAt: Instant }

/** Of each kind; the oldest make room. */
const MOST = 5_000

export class Storage {
  readonly #now: () => Instant
  readonly #kinds = new Map<string, Map<string, Row>>()

  constructor(now: () => Instant) {
    this.#now = now
  }

  /** One that has not ended. */
  get(kind: string, id: string): AdapterPayload | undefined {
    const row = this.#of(kind).get(id)
    return row === undefined || this.#now() >= row.endsAt ? undefined : row.payload
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
        rows.delete(id)
        rows.set(id, {
          payload,
          endsAt: expiresIn === undefined ? Infinity : this.#now() + expiresIn * SECOND,
        })
        if (rows.size > MOST) this.#makeRoom(rows)
      },
      find: async (id) => find(id),
      findByUid: async (uid) => by('uid', uid),
      findByUserCode: async (code) => by('userCode', code),
      consume: async (id) => {
        const row = rows.get(id)
        if (row !== undefined) row.payload = { ...row.payload, consumed: Math.floor(this.#now() / SECOND) }
      },
      destroy: async (id) => {
        rows.delete(id)
      },
      revokeByGrantId: async (grantId) => {
        for (const kept of this.#kinds.values()) {
          for (const [id, { payload }] of kept) if (payload.grantId === grantId) kept.delete(id)
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

  #makeRoom(rows: Map<string, Row>): void {
    const now = this.#now()
    for (const [id, { endsAt }] of rows) if (now >= endsAt) rows.delete(id)
    for (const id of rows.keys()) {
      if (rows.size <= MOST) return
      rows.delete(id)
    }
  }
}
