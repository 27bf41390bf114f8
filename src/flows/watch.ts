/**
 * Which grants read what, and which of them have to be looked at again because it changed. In memory alone: the grants
 * say what they read, and after a start all of them are looked at.
 *
 * @module
 */
import { sameAuthority } from '../model/authority.ts'
import { refKey } from '../model/entity.ts'
import { factOf } from '../model/fact.ts'
import type { Grant } from '../model/grant.ts'
import type { Lock } from '../model/lock.ts'
import type { Kind, Records } from '../model/records.ts'
import { facts } from '../policy/index.ts'

/** A record that was written or deleted, once that is durable. */
export type Change = {
  [K in Kind]: Readonly<{
    kind: K
    id: string
    before: Records[K] | undefined
    after: Records[K] | undefined
  }>
}[Kind]

/** A grant to be analysed again, and because of what. */
export type Affected = Readonly<{ id: string; why: string }>

/** What every grant reads: a change of it concerns them all, after those that something of their own concerns. */
const POLICY = 'meta/policy'

/** Before and after: what concerns single grants goes ahead of what concerns all. */
const TIERS = 2
/** Third parties, then the others; each from the most sensitive resource to the least. */
const URGENCIES = 8

export class Watch {
  readonly #readers = new Map<string, string | Set<string>>()
  readonly #grants = new Map<string, Readonly<{ keys: readonly string[]; urgency: number }>>()
  readonly #lanes: Lane[] = Array.from({ length: TIERS * URGENCIES }, () => new Lane())
  readonly #waiting = new Map<string, { lane: number; why: Set<string> }>()
  #listener: () => void = () => undefined

  /** Whom to tell that there is something to take. */
  onWork(listener: () => void): void {
    this.#listener = listener
  }

  /** What it reads, as it says itself; what is not active any more reads nothing. */
  note(grant: Grant): void {
    if (grant.state !== 'active') {
      this.#forget(grant.id)
      this.#waiting.delete(grant.id)
      return
    }
    const keys = keysOf(grant)
    const known = this.#grants.get(grant.id)
    const urgency = Math.min(Math.max(grant.urgency ?? 0, 0), URGENCIES - 1)
    if (known !== undefined && known.urgency === urgency && sameList(known.keys, keys)) return
    this.#forget(grant.id)
    this.#grants.set(grant.id, { keys, urgency })
    for (const key of keys) {
      const readers = this.#readers.get(key)
      if (readers === undefined) this.#readers.set(key, grant.id)
      else if (typeof readers === 'string') this.#readers.set(key, new Set([readers, grant.id]))
      else readers.add(grant.id)
    }
  }

  /** What is durable by now, in log order. */
  changed(changes: readonly Change[]): void {
    for (const { kind, after } of changes) if (kind === 'grant' && after !== undefined) this.note(after)
    for (const change of changes) {
      const { kind, before, after } = change
      const key = keyOf(change)
      if (kind === 'grant' || key === undefined) continue
      if (key !== POLICY && !this.#readers.has(key)) continue
      if (sameAuthority(kind, before, after)) continue
      if (key === POLICY) this.all('policy changed')
      else for (const reader of this.under(key)) this.again(reader, whyOf(change))
    }
  }

  /** Every active grant, one tier after what concerns single ones. */
  all(why: string): void {
    for (const id of this.#grants.keys()) this.#enqueue(id, why, 1)
    this.#listener()
  }

  /** One grant; one that is waiting already is not looked at twice. */
  again(id: string, why: string): void {
    this.#enqueue(id, why, 0)
    this.#listener()
  }

  /** The grants that read `key`, e.g. `entity/Database/orders` or `action/db:migrate`. */
  under(key: string): readonly string[] {
    const readers = this.#readers.get(key)
    return readers === undefined ? [] : typeof readers === 'string' ? [readers] : [...readers]
  }

  /** The most urgent ones that are waiting. */
  take(most: number): readonly Affected[] {
    const taken: Affected[] = []
    for (const [at, lane] of this.#lanes.entries()) {
      while (taken.length < most) {
        const id = lane.shift()
        if (id === undefined) break
        const waiting = this.#waiting.get(id)
        // it moved ahead since, or has ended
        if (waiting === undefined || waiting.lane !== at) continue
        this.#waiting.delete(id)
        taken.push({ id, why: [...waiting.why].join(', ') })
      }
    }
    return taken
  }

  /** How many are waiting. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** How many grants are known. */
  get size(): number {
    return this.#grants.size
  }

  #enqueue(id: string, why: string, tier: number): void {
    const grant = this.#grants.get(id)
    if (grant === undefined) return
    const lane = tier * URGENCIES + grant.urgency
    const waiting = this.#waiting.get(id)
    if (waiting !== undefined) {
      waiting.why.add(why)
      if (waiting.lane <= lane) return
      waiting.lane = lane
    } else this.#waiting.set(id, { lane, why: new Set([why]) })
    ;(this.#lanes[lane] as Lane).push(id)
  }

  #forget(id: string): void {
    for (const key of this.#grants.get(id)?.keys ?? []) {
      const readers = this.#readers.get(key)
      if (readers === id) this.#readers.delete(key)
      else if (typeof readers === 'object') {
        readers.delete(id)
        if (readers.size === 0) this.#readers.delete(key)
      }
    }
    this.#grants.delete(id)
  }
}

/** A queue that does not move what is in it each time. */
class Lane {
  #items: string[] = []
  #at = 0

  push(id: string): void {
    this.#items.push(id)
  }

  shift(): string | undefined {
    if (this.#at === this.#items.length) {
      this.#items = []
      this.#at = 0
      return undefined
    }
    const id = this.#items[this.#at]
    this.#at += 1
    return id
  }
}

/** All that leads to it. What it did not say, as one that an earlier version made, is what can be told from it. */
function keysOf(grant: Grant): readonly string[] {
  const reads = grant.reads ?? [
    ...[...grant.chain, grant.resource, grant.asked.subject].map((ref) => `entity/${refKey(ref)}`),
    ...(grant.task === undefined ? [] : [`task/${grant.task}`]),
    ...(grant.delegation === undefined ? [] : [`delegation/${grant.delegation}`]),
  ]
  return [...reads.filter((key) => key !== POLICY), `action/${grant.action}`]
}

/** Where the readers of a record are found; a lock concerns who reads what it is about. */
function keyOf(change: Change): string | undefined {
  if (change.kind !== 'lock') return `${change.kind}/${change.id}`
  const lock = change.after ?? change.before
  if (lock === undefined) return undefined
  return lockKey(lock)
}

/** Who may be under a lock: the grants that read this. */
export function lockKey({ what, about }: Pick<Lock, 'what' | 'about'>): string {
  if (what === 'task') return `task/${about}`
  return what === 'tool' ? `action/${about}` : `entity/${about}`
}

/** Facts that policies read under another name. */
const CATALOGUED: Readonly<Record<string, string>> = { calendar: 'calendars' }

/** What is told to whoever had the grant: that something changed, never what the catalogue of facts hides. */
function whyOf(change: Change): string {
  const { kind, id, after } = change
  if (kind === 'entity') return 'the inventory changed'
  if (kind === 'key') return 'its key was revoked'
  if (kind === 'session') return 'its session ended'
  if (kind === 'task') return 'its task changed'
  if (kind === 'delegation') return 'its delegation changed'
  if (kind === 'lock') return after === undefined || after.endedAt !== undefined ? 'a lock ended' : 'locked'
  if (kind === 'fact') {
    const name = factOf(id)
    return facts[CATALOGUED[name] ?? name]?.disclosed === true ? `\`${name}\` changed` : 'what is known changed'
  }
  return 'what it was given on changed'
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((one, i) => one === b[i])
}
