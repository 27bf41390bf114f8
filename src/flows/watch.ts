/**
 * Which grants read what, and which of them have to be looked at again because it changed. In memory alone: the grants
 * say what they read, and after a start all of them are looked at.
 *
 * @module
 */
import { sameAuthority } from '../model/authority.ts'
import type { Credential } from '../model/credential.ts'
import { isAtTarget } from '../model/credential.ts'
import { refKey } from '../model/entity.ts'
import { factOf } from '../model/fact.ts'
import type { Grant } from '../model/grant.ts'
import type { Lock } from '../model/lock.ts'
import type { Kind, Records } from '../model/records.ts'
import { historyKey } from '../decision/dependencies.ts'
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
export type Affected = Readonly<{
  id: string
  why: string
  /** Its place among others, least first. */
  turn: number
}>

/** What every grant reads: a change of it concerns them all, after those that something of their own concerns. */
const POLICY = 'meta/policy'

/** Before and after: what concerns single grants goes ahead of what concerns all. */
const TIERS = 2
/** Of a grant: third parties, then the others; each from the most sensitive resource to the least. */
const URGENCIES = 8
/**
 * Places of a tier: third parties first, and of each those with a credential at a target before those that need Writ for
 * all they do, which are denied from the change on.
 */
const PLACES = 2 * URGENCIES
const THIRD_PARTIES = PLACES / 2

/** Grants that are put in their places at once: of many, some with each slice. */
const SPREAD = 2_000
/** Times that the others wait for all to have their places: whoever causes ever more changes keeps nobody waiting. */
const MOST_WITHHELD = 64

/** Who reads a record; most records have one reader. */
type Readers = { readonly key: string; ids: string | Set<string> }

export class Watch {
  readonly #readers = new Map<string, Readers>()
  readonly #grants = new Map<string, Readonly<{ reads: readonly Readers[]; urgency: number }>>()
  /** Credentials at targets, by grant. */
  readonly #open = new Map<string, Set<string>>()
  /** Affected, and not in their places yet. */
  #spreading: { readonly ids: Iterator<string>; readonly why: string; readonly tier: number }[] = []
  /** Slices in a row in which not all had their places. */
  #withheld = 0
  readonly #lanes: Lane[] = Array.from({ length: TIERS * PLACES }, () => new Lane())
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
    if (known !== undefined && known.urgency === urgency && isOf(known.reads, keys)) return
    this.#forget(grant.id)
    this.#grants.set(grant.id, { reads: keys.map((key) => this.#read(key, grant.id)), urgency })
  }

  /** That it is at its target, or no more. */
  noteCredential(credential: Credential): void {
    const { id, grant } = credential
    const open = this.#open.get(grant)
    if (isAtTarget(credential)) {
      if (open === undefined) this.#open.set(grant, new Set([id]))
      else open.add(id)
    } else if (open?.delete(id) === true && open.size === 0) this.#open.delete(grant)
  }

  /** What is durable by now, in log order. */
  changed(changes: readonly Change[]): void {
    for (const { kind, after } of changes) {
      if (kind === 'grant' && after !== undefined) this.note(after)
      if (kind === 'credential' && after !== undefined) this.noteCredential(after)
    }
    for (const change of changes) {
      const { kind, before, after } = change
      const key = keyOf(change)
      if (kind === 'grant' || key === undefined) continue
      if (kind === 'task' && before?.denials !== after?.denials)
        this.#spread(this.#idsOf(historyKey(change.id)), 'what is known changed', 0)
      if (key !== POLICY && !this.#readers.has(key)) continue
      if (sameAuthority(kind, before, after)) continue
      if (key === POLICY) this.all('policy changed')
      else this.#spread(this.#idsOf(key), whyOf(change), 0)
    }
  }

  /** Every active grant, one tier after what concerns single ones. */
  all(why: string): void {
    this.#spread(this.#grants.keys(), why, 1)
  }

  /** One grant; one that is waiting already is not looked at twice. */
  again(id: string, why: string): void {
    this.#enqueue(id, why, 0)
    this.#listener()
  }

  /** The grants that read `key`, e.g. `entity/Database/orders` or `action/db:migrate`. */
  under(key: string): readonly string[] {
    return [...this.#idsOf(key)]
  }

  /** The most urgent ones that are waiting. */
  take(most: number): readonly Affected[] {
    const taken: Affected[] = []
    this.#place()
    // who is first is known when all have their places; third parties are in any case
    this.#withheld = this.#spreading.length === 0 ? 0 : this.#withheld + 1
    const isWithheld = this.#withheld > 0 && this.#withheld <= MOST_WITHHELD
    const lanes = isWithheld ? this.#lanes.slice(0, THIRD_PARTIES) : this.#lanes
    for (const [at, lane] of lanes.entries()) {
      while (taken.length < most) {
        const id = lane.shift()
        if (id === undefined) break
        const waiting = this.#waiting.get(id)
        // it moved ahead since, or has ended
        if (waiting === undefined || waiting.lane !== at) continue
        this.#waiting.delete(id)
        taken.push({ id, why: [...waiting.why].join(', '), turn: at })
      }
    }
    return taken
  }

  /** The place that one grant has among others. */
  turnOf(id: string): number {
    return placeOf(this.#grants.get(id)?.urgency ?? 0, this.#open.has(id))
  }

  /** Whether there is something to take, now or soon. */
  get isWaiting(): boolean {
    return this.#waiting.size > 0 || this.#spreading.length > 0
  }

  /** How many grants are known. */
  get size(): number {
    return this.#grants.size
  }

  #enqueue(id: string, why: string, tier: number): void {
    const grant = this.#grants.get(id)
    if (grant === undefined) return
    const lane = tier * PLACES + this.turnOf(id)
    const waiting = this.#waiting.get(id)
    if (waiting !== undefined) {
      waiting.why.add(why)
      if (waiting.lane <= lane) return
      waiting.lane = lane
    } else this.#waiting.set(id, { lane, why: new Set([why]) })
    ;(this.#lanes[lane] as Lane).push(id)
  }

  #spread(ids: Iterator<string>, why: string, tier: number): void {
    this.#spreading.push({ ids, why, tier })
    this.#listener()
  }

  /** Puts some of those that are affected in their places. */
  #place(): void {
    for (let left = SPREAD; left > 0; left -= 1) {
      const [first] = this.#spreading
      if (first === undefined) return
      const next = first.ids.next()
      if (next.done === true) this.#spreading.shift()
      else this.#enqueue(next.value, first.why, first.tier)
    }
  }

  #idsOf(key: string): SetIterator<string> {
    const ids = this.#readers.get(key)?.ids ?? new Set<string>()
    return (typeof ids === 'string' ? new Set([ids]) : ids).values()
  }

  #read(key: string, id: string): Readers {
    const known = this.#readers.get(key)
    if (known === undefined) {
      const made = { key, ids: id }
      this.#readers.set(key, made)
      return made
    }
    if (typeof known.ids === 'string') known.ids = new Set([known.ids, id])
    else known.ids.add(id)
    return known
  }

  #forget(id: string): void {
    for (const readers of this.#grants.get(id)?.reads ?? []) {
      if (typeof readers.ids === 'object' && readers.ids.delete(id) && readers.ids.size > 0) continue
      this.#readers.delete(readers.key)
    }
    this.#grants.delete(id)
  }
}

function placeOf(urgency: number, isOpen: boolean): number {
  const half = URGENCIES / 2
  const isThird = urgency < half
  return (isThird ? 0 : THIRD_PARTIES) + (isOpen ? 0 : half) + (urgency % half)
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
  return [...new Set([...reads.filter((key) => key !== POLICY), `action/${grant.action}`])]
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
    return facts[CATALOGUED[name] ?? name]?.disclosed === true
      ? `\`${name}\` changed`
      : 'what is known changed'
  }
  return 'what it was given on changed'
}

function isOf(reads: readonly Readers[], keys: readonly string[]): boolean {
  return reads.length === keys.length && reads.every(({ key }, i) => key === keys[i])
}
