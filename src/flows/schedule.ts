/**
 * What becomes due when: ends, lapses, expiries and retries, so that nothing is polled. A due item is only a reason to
 * look at its record again; the record decides.
 *
 * @module
 */
import { callbackDueAt } from '../model/callback.ts'
import type { Credential } from '../model/credential.ts'
import type { Grant } from '../model/grant.ts'
import type { Kind, Records } from '../model/records.ts'
import type { AccessRequest } from '../model/request.ts'
import type { Task } from '../model/task.ts'
import { taskLapsesAt } from '../model/task.ts'
import type { Instant } from '../model/time.ts'

export type DueKind = 'task' | 'grant' | 'request' | 'credential'
export type Due = Readonly<{ at: Instant; kind: DueKind; id: string }>

/** When `value` next becomes due by itself, or `undefined`. */
export function dueAt<K extends Kind>(kind: K, value: Records[K]): Instant | undefined {
  if (kind === 'task') return taskLapsesAt(value as Task)
  if (kind === 'grant') {
    const grant = value as Grant
    return grant.state === 'active' ? Math.min(grant.endsAt, grant.reviewAt ?? Infinity) : undefined
  }
  if (kind === 'request') {
    const request = value as AccessRequest
    return request.status === 'pending' ? request.expiresAt : callbackDueAt(request)
  }
  if (kind === 'credential') {
    const credential = value as Credential
    if (credential.state === 'revoking') return credential.revokingAt
    return credential.state === 'unresolved' ? credential.nextTryAt : undefined
  }
  return undefined
}

/** Places of what has moved that may pile up before they are cleared away. */
const SLACK = 1_024

/** A binary heap with at most one live place per record; earlier places of it are dropped when they come up. */
export class Schedule {
  #heap: Due[] = []
  readonly #current = new Map<string, Instant>()

  set(kind: DueKind, id: string, at: Instant | undefined): void {
    const key = `${kind}/${id}`
    if (at === undefined) {
      this.#current.delete(key)
      return
    }
    if (this.#current.get(key) === at) return
    this.#current.set(key, at)
    this.#push({ at, kind, id })
    if (this.#heap.length > 2 * this.#current.size + SLACK) this.#compact()
  }

  /** The earliest instant at which something is due. */
  get next(): Instant | undefined {
    this.#drop()
    return this.#heap[0]?.at
  }

  /** Takes everything that is due at `now`, earliest first. */
  take(now: Instant, most: number): readonly Due[] {
    const due: Due[] = []
    for (;;) {
      this.#drop()
      const [first] = this.#heap
      if (first === undefined || first.at > now || due.length >= most) return due
      this.#pop()
      this.#current.delete(`${first.kind}/${first.id}`)
      due.push(first)
    }
  }

  get size(): number {
    return this.#current.size
  }

  /** Places in memory, those that will be dropped included. */
  get places(): number {
    return this.#heap.length
  }

  /** What moved or ended long before its time would otherwise stay until then. */
  #compact(): void {
    const live = this.#heap.filter(({ kind, id, at }) => this.#current.get(`${kind}/${id}`) === at)
    live.sort((a, b) => a.at - b.at) // sorted is a heap
    this.#heap = live
  }

  #drop(): void {
    for (let [first] = this.#heap; first !== undefined; [first] = this.#heap) {
      if (this.#current.get(`${first.kind}/${first.id}`) === first.at) return
      this.#pop()
    }
  }

  #push(due: Due): void {
    const heap = this.#heap
    heap.push(due)
    for (let at = heap.length - 1; at > 0;) {
      const parent = (at - 1) >> 1
      if ((heap[parent] as Due).at <= due.at) break
      heap[at] = heap[parent] as Due
      heap[parent] = due
      at = parent
    }
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    heap[0] = last
    for (let at = 0; ;) {
      const left = 2 * at + 1
      const right = left + 1
      let least = at
      if (left < heap.length && (heap[left] as Due).at < (heap[least] as Due).at) least = left
      if (right < heap.length && (heap[right] as Due).at < (heap[least] as Due).at) least = right
      if (least === at) return
      const swap = heap[least] as Due
      heap[least] = heap[at] as Due
      heap[at] = swap
      at = least
    }
  }
}
