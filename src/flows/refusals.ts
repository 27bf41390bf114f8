/**
 * Keys and sessions that were good once and are shown again: each is on the record, since whoever shows it may have
 * copied it. What nobody knows is no news: anybody can make it up.
 *
 * @module
 */
import type { EntityRef } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'
import { isWritError } from '../model/errors.ts'
import type { Instant, Millis } from '../model/time.ts'
import { MINUTE } from '../model/time.ts'
import type { FlowDeps } from './deps.ts'
import { Noted } from './noted.ts'

/** A credential of ours that is worth nothing any more. */
export type EndedCredential = Readonly<{
  kind: 'key' | 'session'
  /** Of the key; of a session the digest that it is kept under. */
  id: string
  subject: EntityRef
  why: string
}>

/** A program that does not notice shows its key again and again: that is one entry in so long, with their number. */
const AGAIN: Millis = MINUTE
const REMEMBERED = 1_000

export class Refusals {
  readonly #store: FlowDeps['store']
  readonly #noted = new Noted()
  readonly #last = new Map<string, { at: Instant; since: number }>()

  constructor({ store }: Pick<FlowDeps, 'store'>) {
    this.#store = store
  }

  async note({ kind, id, subject, why }: EndedCredential): Promise<void> {
    const { now } = await this.#store.read([])
    const last = this.#last.get(id)
    if (last !== undefined && now < last.at + AGAIN) {
      last.since += 1
      return
    }
    const skipped = this.#noted.take(now)
    if (skipped === undefined) return
    this.#last.delete(id)
    if (this.#last.size >= REMEMBERED) this.#last.delete(this.#last.keys().next().value as string)
    this.#last.set(id, { at: now, since: 0 })
    const who = refKey(subject)
    try {
      await this.#store.commit({
        reads: [],
        run: (tx) =>
          tx.append({
            kind: `${kind}.refused`,
            refs: kind === 'key' ? [id, who] : [who],
            ...(kind === 'key' ? { key: id } : {}),
            subject: who,
            why,
            ...(last === undefined || last.since === 0 ? {} : { again: last.since }),
            ...(skipped === 0 ? {} : { uncounted: skipped }),
          }),
      })
    } catch (error) {
      // a record that is full makes no refusal another one
      if (!isWritError(error, 'ERR_STORE_FULL', 'ERR_CLOCK_INVALID')) throw error
      this.#noted.missed(1 + skipped)
    }
  }
}
