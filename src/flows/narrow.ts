/**
 * Narrowing: denied in memory at once, recorded, then taken back at the targets. A full disk cannot stop it.
 *
 * @module
 */
import { isWritError } from '../model/errors.ts'
import type { Barred } from '../decision/barrier.ts'
import type { Below, Ended } from '../lives/ending.ts'
import { findBelow, readsOf, unseen } from '../lives/ending.ts'
import type { Read, Transaction } from '../store/port.ts'
import type { FlowDeps } from './deps.ts'
import type { TakeBack } from './takeback.ts'

export type NarrowSpec = Readonly<{
  /** What is denied from this call on. */
  barred: readonly Barred[]
  tasks?: readonly string[]
  grants?: readonly string[]
  /** More roots that must be found in the store, e.g. the grants of a subject. */
  find?(): Promise<
    Readonly<{ tasks?: readonly string[]; grants?: readonly string[]; requests?: readonly string[] }>
  >
  reads?: readonly Read[]
  /** What is taken back at the targets as long as it is not on the record, beside what is found. */
  meanwhile?(): Promise<Readonly<{ tasks?: readonly string[]; grants: readonly string[] }>>
  apply(tx: Transaction, below: Below): Ended
}>

export type Narrowed = Ended & Readonly<{ recorded: boolean }>

/** Whether there is nothing to narrow, or no more: what a verb found out, not what kept the store from writing it. */
const isSettled = (error: unknown): boolean => isWritError(error, 'ERR_CONFLICT', 'ERR_NOT_FOUND')

/** What a narrowing that ends neither tasks nor grants has ended. */
export const NOTHING: Ended = { tasks: [], grants: [], credentials: [] }

/** Narrowing whose entry is still owed, retried by the sweeper; denied all the while. */
export class Narrower {
  readonly #deps: FlowDeps
  readonly #takeBack: TakeBack
  /** With each what lowers its bars, and the credentials that were seen gone at their targets meanwhile. */
  readonly #owed = new Map<NarrowSpec, Readonly<{ lower: () => void; gone: Set<string> }>>()
  readonly #cleaning = new Map<NarrowSpec, Promise<void>>()

  constructor(deps: FlowDeps, takeBack: TakeBack) {
    this.#deps = deps
    this.#takeBack = takeBack
  }

  /** How many narrowings are in effect but not yet on the record. */
  get unrecorded(): number {
    return this.#owed.size
  }

  /** Denies at once; returns when recorded, or with `recorded: false` while the entry is owed. */
  async narrow(spec: NarrowSpec): Promise<Narrowed> {
    const lower = this.#deps.decision.barrier.raise(spec.barred)
    try {
      const ended = await this.#record(spec)
      lower()
      for (const credential of ended.credentials) this.#takeBack.start(credential.id)
      return { ...ended, recorded: true }
    } catch (error) {
      if (isSettled(error)) {
        lower()
        throw error
      }
      // whatever keeps it from the record (no room, a locked file, damage): it stays denied in memory, and the targets
      // are cleaned without waiting
      this.#deps.log('error', 'a narrowing is in effect but not yet recorded', { error })
      this.#owed.set(spec, { lower, gone: new Set() })
      this.#startClean(spec)
      return { ...NOTHING, recorded: false }
    }
  }

  /** Tries again to record what is owed; once recorded, the records take over from the bars. */
  async retry(): Promise<void> {
    for (const [spec, { lower }] of this.#owed) {
      try {
        const ended = await this.#record(spec)
        for (const credential of ended.credentials) this.#takeBack.start(credential.id)
      } catch (error) {
        if (!isSettled(error)) {
          // one that fails must not keep the others waiting, and stays denied
          this.#deps.log('warn', 'a narrowing could not be recorded yet', { error })
          this.#startClean(spec)
          continue
        }
        // what it was to end has ended otherwise
      }
      this.#owed.delete(spec)
      lower()
    }
  }

  /** Resolves when nothing is being taken back ahead of its record. */
  async idle(): Promise<void> {
    await Promise.all(this.#cleaning.values())
  }

  /** One at a time for each, and nobody waits for a target that does not answer. */
  #startClean(spec: NarrowSpec): void {
    if (this.#cleaning.has(spec)) return
    this.#cleaning.set(
      spec,
      this.#clean(spec).finally(() => this.#cleaning.delete(spec)),
    )
  }

  /** Takes back at the targets what cannot be recorded yet. Never throws. */
  async #clean(spec: NarrowSpec): Promise<void> {
    const gone = this.#owed.get(spec)?.gone ?? new Set<string>()
    try {
      const { credentials } = await this.#below(spec, await spec.meanwhile?.())
      const left = credentials.filter((id) => !gone.has(id))
      await Promise.all(
        left.map(async (id) => {
          if (await this.#takeBack.unrecorded(id)) gone.add(id)
        }),
      )
    } catch (error) {
      this.#deps.log('error', 'what a narrowing ends cannot be found yet', { error })
    }
  }

  async #below(
    spec: NarrowSpec,
    more?: Readonly<{ tasks?: readonly string[]; grants: readonly string[] }>,
  ): Promise<Below> {
    const found = await spec.find?.()
    return findBelow(this.#deps.store, {
      tasks: [...(spec.tasks ?? []), ...(found?.tasks ?? []), ...(more?.tasks ?? [])],
      grants: [...(spec.grants ?? []), ...(found?.grants ?? []), ...(more?.grants ?? [])],
      requests: found?.requests ?? [],
    })
  }

  async #record(spec: NarrowSpec): Promise<Ended> {
    for (;;) {
      const below = await this.#below(spec)
      const reads = new Map(
        [...readsOf(below), ...(spec.reads ?? [])].map((read) => [JSON.stringify(read), read]),
      )
      const ended = await this.#deps.store.commit({
        reads: [...reads.values()],
        narrowing: true,
        run: (tx) => (unseen(tx, below) ? undefined : spec.apply(tx, below)),
      })
      if (ended !== undefined) return ended
    }
  }
}
