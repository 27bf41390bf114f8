/**
 * The barrier (law 2): what was revoked is denied from this instant on, before its entry is durable. Kept in memory
 * because it must hold even when the disk is full; the records take over once they are written.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import type { EntityRef } from '../model/entity.ts'
import { refKey, sameRef } from '../model/entity.ts'

export type Barred = Readonly<{
  kind: 'grant' | 'task' | 'subject' | 'caller' | 'request' | 'delegation' | 'lock'
  id: string
}>

/** Taking back must always go on; also by whoever was not to be trusted with more. */
const NARROWING: ReadonlySet<string> = new Set(['Writ::revoke', 'Writ::deny'])

export class Barrier {
  readonly #barred = new Map<string, number>()
  #restored = false

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
    delegation?: string | undefined
    caller: string
    /** The locks that would refuse it. */
    locks?: readonly string[]
  }): 'subject_locked' | 'locked' | 'task_ended' | 'grant_ended' | 'delegation_ended' | undefined {
    if (this.#barred.size === 0) return undefined
    if (attempt.chain.some((ref) => this.#barred.has(`subject\n${refKey(ref)}`))) return 'subject_locked'
    if (this.#barred.has(`caller\n${attempt.caller}`)) return 'subject_locked'
    if (attempt.locks?.some((id) => this.#barred.has(`lock\n${id}`)) === true) return 'locked'
    if (attempt.delegation !== undefined && this.#barred.has(`delegation\n${attempt.delegation}`))
      return 'delegation_ended'
    if (attempt.tasks.some((id) => this.#barred.has(`task\n${id}`))) return 'task_ended'
    if (attempt.grant !== undefined && this.#barred.has(`grant\n${attempt.grant}`)) return 'grant_ended'
    return undefined
  }

  /** Whether this one thing is barred. */
  bars(kind: Barred['kind'], id: string): boolean {
    return this.#barred.has(`${kind}\n${id}`)
  }

  /** Whether this is a copy that was put back, and nobody has looked yet at what came back with it. */
  get restored(): boolean {
    return this.#restored
  }

  set restored(restored: boolean) {
    this.#restored = restored
  }

  /**
   * Whether a restore denies the attempt until it is acknowledged (B75). Among the keys of the copy are some that were
   * revoked since, so nothing widens but what people do about Writ itself, in sessions that began after the restore.
   */
  suspends(caller: Caller, { subject, action }: Pick<Attempt, 'subject' | 'action'>): boolean {
    if (!this.#restored || NARROWING.has(action.name)) return false
    const inPerson = caller.kind === 'session' && sameRef(caller.subject, subject)
    return !inPerson || !action.name.startsWith('Writ::')
  }

  /** How many things are barred in memory only. */
  get size(): number {
    return this.#barred.size
  }
}
