/**
 * The barrier (law 2): what was revoked is denied from this instant on, before its entry is durable. Kept in memory
 * because it must hold even when the disk is full; the records take over once they are written.
 *
 * @module
 */
import type { EntityRef } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'

export type Barred = Readonly<{ kind: 'grant' | 'task' | 'subject' | 'caller' | 'request'; id: string }>

export class Barrier {
  readonly #barred = new Map<string, number>()

  /** Bars at once; call the returned function when the records carry it. Overlapping bars are counted. */
  raise(what: readonly Barred[]): () => void {
    const keys = what.map((b) => `${b.kind}\n${b.id}`)
    for (const key of keys) this.#barred.set(key, (this.#barred.get(key) ?? 0) + 1)
    let raised = true
    return () => {
      if (!raised) return
      raised = false
      for (const key of keys) {
        const count = (this.#barred.get(key) ?? 1) - 1
        if (count === 0) this.#barred.delete(key)
        else this.#barred.set(key, count)
      }
    }
  }

  /** Why an attempt must be denied, or `undefined`. */
  denies(attempt: {
    chain: readonly EntityRef[]
    tasks: readonly string[]
    grant?: string | undefined
    caller: string
  }): 'subject_locked' | 'task_ended' | 'grant_ended' | undefined {
    if (this.#barred.size === 0) return undefined
    if (attempt.chain.some((ref) => this.#barred.has(`subject\n${refKey(ref)}`))) return 'subject_locked'
    if (this.#barred.has(`caller\n${attempt.caller}`)) return 'subject_locked'
    if (attempt.tasks.some((id) => this.#barred.has(`task\n${id}`))) return 'task_ended'
    if (attempt.grant !== undefined && this.#barred.has(`grant\n${attempt.grant}`)) return 'grant_ended'
    return undefined
  }

  /** Whether this one thing is barred. */
  bars(kind: Barred['kind'], id: string): boolean {
    return this.#barred.has(`${kind}\n${id}`)
  }

  /** How many things are barred in memory only. */
  get size(): number {
    return this.#barred.size
  }
}
