/**
 * What Writ should do, said a second time and as simply as possible: people, tasks, requests, grants, credentials and a
 * clock in plain maps. Shares nothing with `src`; where the two differ, one of them is wrong.
 *
 * `ended` and `status` follow what is recorded, time is judged anew on every look, as Writ does between two sweeps.
 *
 * @module
 */

import assert from 'node:assert/strict'
import type { FactKind, Known, Lock, LockKind, Said, Seen, Value } from './live.ts'
import {
  CALENDARS,
  deskOf,
  eventsIn,
  factsOf,
  FRESH,
  idOf,
  isBelieved,
  isNews,
  isOpen,
  joined,
  leftOf,
  lockIdOf,
} from './live.ts'

export const SECOND = 1_000
export const MINUTE = 60_000
/** How far the wall clock may be behind before nothing widens. */
export const TOLERANCE = 2 * SECOND
const REQUEST_LIFE = 15 * MINUTE
const ACTIVATE_WITHIN = 15 * MINUTE
const DECLARED_WAIT = 15 * MINUTE
const DENIAL_LIFE = 10 * MINUTE
const LONGEST_GRANT = 15 * MINUTE
const REPLAY_FOR = MINUTE
const DEEPEST = 8

export type Pool = 'dba' | 'security'
/** `frozen` forbids everything on databases, `strict` wants two for a query, `narrow` takes people out of a pool. */
export type Policy = 'base' | 'frozen' | 'strict' | 'narrow'
export const policyNames: readonly Policy[] = ['base', 'frozen', 'strict', 'narrow']
export type Amount = 1 | 2 | -1 | 'text'

export type Who = {
  readonly key: string
  readonly human: boolean
  owner?: string
  team?: string
  groups: readonly string[]
  generation: number
  deleted: boolean
  locked?: { at: number; until: number }
  endsAt?: number
}

export type Caller = Readonly<{
  id: string
  session: boolean
  subject: string
  generation: number
  /** Types of subjects it may speak for. */
  speaksFor: readonly string[]
}>

export type Attempt = Readonly<{
  subject: string
  action: string
  resource: string
  amount?: Amount
  task?: string
  /** Claims to act for somebody, which nobody has verified. */
  act?: boolean
}>

export type Given = Readonly<{ root: string; pool: Pool; generation: number }>

export type Task = {
  readonly id: string
  readonly subject: string
  readonly declaredBy: string
  readonly callerId: string
  readonly instigators: readonly string[]
  readonly parent?: string
  readonly actions: readonly string[]
  readonly resources: readonly string[]
  readonly limit?: number
  /** `calendar` and `uid` where it is that of an event. */
  readonly window?: { startsAt: number; endsAt: number; calendar?: string; uid?: string }
  readonly ticket?: string
  readonly reason: boolean
  readonly life: number
  readonly heartbeat: number
  waitUntil: number
  ended: boolean
  openedAt?: number
  endsAt: number
  heartbeatAt: number
  calls: number
}

export type NeededSet = Readonly<{
  dba: number
  security: number
  justification: boolean
  binding: 'attempt' | 'task'
  ttl?: number
  uses?: number
}>

export type Denied = Readonly<{
  id: string
  at: number
  attempt: Attempt
  callerId: string
  sets: readonly NeededSet[]
}>

export type Request = {
  readonly id: string
  readonly attempt: Attempt
  readonly callerId: string
  readonly submitter: Readonly<{ subject: string; generation: number }>
  readonly generation: number
  readonly same: string
  readonly binding: 'attempt' | 'task'
  readonly sets: readonly NeededSet[]
  roots: ReadonlySet<string>
  unresolved: boolean
  readonly justification: boolean
  readonly ttl: number
  readonly uses?: number
  readonly requestedAt: number
  readonly expiresAt: number
  status: 'pending' | 'approved' | 'denied' | 'over'
  approvals: readonly Given[]
  approval?: string
  activateBy: number
  /** Into this grant it was spent. */
  grant?: string
}

export type Grant = {
  readonly id: string
  readonly attempt: Attempt
  readonly asked: Caller
  readonly generation: number
  readonly binding: 'attempt' | 'task'
  readonly approvals: readonly Given[]
  readonly justification: boolean
  readonly uses?: number
  readonly startedAt: number
  used: number
  /** Calls that it counted on its task. */
  counted: number
  endsAt: number
  ended: boolean
}

/** `stuck`: the target was in trouble when it should have gone. */
export type Credential = { readonly id: string; readonly grant: string; state: 'live' | 'stuck' | 'gone' }

/** What a key stands for; only a permit is given again. */
type Replay = Readonly<{
  attempt: string
  at: number
  decision: string
  isPermit: boolean
  grant: string | undefined
}>

export type Evidence = Readonly<{ grant?: string; approval?: string }>

/** What an attempt comes to, and what would carry it. */
export type Verdict = Readonly<{
  outcome: 'permit' | 'challenge' | 'deny'
  /** Any of these live grants may carry the permit. */
  grants: readonly string[]
  request?: string
  counted: readonly Given[]
  sets: readonly NeededSet[]
  rule: Rule
}>

type Proof = Readonly<{ dba: number; security: number; justification: boolean }>
type Rule = Readonly<{
  permit: boolean
  hidden: boolean
  binding?: 'attempt' | 'task'
  ttl?: number
  uses?: number
}>

const NO_RULE: Rule = { permit: false, hidden: false }
/** What is above a resource, and whose it is. */
const ABOVE: Readonly<Record<string, readonly string[]>> = {
  'Database/orders': ['Cluster/shop'],
  'Database/payments': ['Cluster/shop'],
}
const OWNED: Readonly<Record<string, string>> = { 'Database/payments': 'Person/ken' }
const SESSION_IDLE = 8 * 60 * MINUTE
/** How far clocks of others may be off. */
const SKEW = MINUTE

const sensitivity: Readonly<Record<string, number>> = {
  'Database/orders': 3,
  'Database/payments': 4,
  'Document/handbook': 1,
}

export const typeOf = (key: string): string => key.slice(0, key.indexOf('/'))

export const sameAttempt = ({ subject, action, resource, amount, task, act }: Attempt): string =>
  JSON.stringify([subject, action, resource, amount ?? null, task ?? null, act ?? false])

export class Model {
  now: number
  wall: number
  policy: Policy = 'base'
  readonly who = new Map<string, Who>()
  readonly tasks = new Map<string, Task>()
  readonly denials = new Map<string, Denied>()
  readonly #asked = new Map<string, string>()
  readonly requests = new Map<string, Request>()
  readonly grants = new Map<string, Grant>()
  readonly credentials = new Map<string, Credential>()
  readonly replays = new Map<string, Replay>()
  readonly facts = new Map<string, Known>()
  /** Locks that were ever set, as they were set last. */
  readonly locks = new Map<string, Lock>()
  /** By the id of its caller. */
  readonly sessions = new Map<
    string,
    { readonly person: string; readonly createdAt: number; ended: boolean }
  >()
  /** What systems were asked for and when, whatever they said. */
  readonly asked = new Set<string>()
  /** Whether what is analysed was decided, so that systems must have been asked. */
  #isDecided = true
  /** Grants that were to be looked at again, once it is known what the systems say. */
  readonly #affected = new Set<Grant>()
  /** Whether the target would take a credential back now. */
  troubled = false

  constructor(now: number) {
    this.now = now
    this.wall = now
  }

  // time

  advance(by: number): void {
    this.wall += by
    this.now = Math.max(this.now + by, this.wall)
  }

  rewind(by: number): void {
    this.wall -= by
  }

  jump(by: number): void {
    this.wall += by
    this.now = Math.max(this.now, this.wall)
  }

  /** Whether anything may widen. */
  get clockIsRight(): boolean {
    return this.now - this.wall <= TOLERANCE
  }

  /** Instants at which something changes by itself. */
  instants(): number[] {
    const found = new Set<number>()
    for (const task of this.tasks.values()) {
      if (task.ended) continue
      found.add(this.lapsesAt(task))
      if (task.window !== undefined) found.add(task.window.startsAt).add(task.window.endsAt)
    }
    for (const grant of this.grants.values()) if (!grant.ended) found.add(grant.endsAt)
    for (const request of this.requests.values()) {
      if (request.status === 'pending') found.add(request.expiresAt)
      if (request.status === 'approved' && request.grant === undefined) found.add(request.activateBy)
    }
    for (const denial of this.denials.values()) found.add(denial.at + DENIAL_LIFE)
    for (const replay of this.replays.values()) found.add(replay.at + REPLAY_FOR)
    for (const { name, observedAt, maxAge, value } of this.facts.values()) {
      found.add(observedAt + maxAge)
      if (name === 'ticket' && typeof value?.['endsAt'] === 'number') found.add(value['endsAt'])
      for (const event of eventsIn(value)) found.add(event.startsAt).add(event.endsAt)
    }
    for (const { until } of this.locks.values()) if (Number.isFinite(until)) found.add(until)
    for (const { locked, endsAt } of this.who.values()) {
      if (locked !== undefined && Number.isFinite(locked.until)) found.add(locked.until)
      if (endsAt !== undefined) found.add(endsAt)
    }
    return [...found].filter((at) => at > this.now).sort((a, b) => a - b)
  }

  lapsesAt(task: Task): number {
    return task.openedAt === undefined
      ? Math.min(task.waitUntil, task.window?.endsAt ?? Infinity)
      : Math.min(task.heartbeatAt + task.heartbeat, task.endsAt)
  }

  isLive(task: Task): boolean {
    return !task.ended && this.now < this.lapsesAt(task)
  }

  isLiveGrant(grant: Grant): boolean {
    return !grant.ended && this.now < grant.endsAt
  }

  // what others say

  /** Something is said. Whoever read it is affected, nobody else. */
  observe(said: Said): void {
    const before = this.facts.get(idOf(said))
    const after = joined(before, said, this.now)
    this.facts.set(idOf(said), after)
    if (isNews(before, after)) this.react((grant) => this.#reads(grant, said))
  }

  #reads({ attempt, asked }: Grant, { name, about }: Pick<Said, 'name' | 'about'>): boolean {
    const kinds = factsOf[attempt.action] ?? []
    if (name === 'calendar')
      return (
        kinds.includes(name) || this.lineage(attempt.task).some(({ window }) => window?.calendar === about)
      )
    if (!kinds.includes(name)) return false
    if (name === 'session') return about === asked.id
    return about === (name === 'ticket' || name === 'incident' ? this.#ticketOf(attempt) : attempt.subject)
  }

  #ticketOf({ task }: Attempt): string | undefined {
    return this.tasks.get(task ?? '')?.ticket
  }

  /** What an attempt sees of what others say. What was never said is absent, unless somebody answers for it (law 6). */
  seen(caller: Caller, attempt: Attempt): Seen {
    const say = (name: FactKind, about: string | undefined): Value | 'unknown' | undefined => {
      if (about === undefined) return undefined
      const known = this.facts.get(`${name} ${about}`)
      if (known === undefined)
        return name === 'calendar' || deskOf(about)?.name === name ? 'unknown' : undefined
      if (!isBelieved(known, this.now)) return 'unknown'
      return known.value ?? undefined
    }
    const tell = <T>(
      said: Value | 'unknown' | undefined,
      of: (value: Value) => T,
    ): T | 'unknown' | undefined => (said === undefined || said === 'unknown' ? said : of(said))
    const [posture, risk] = [say('posture', attempt.subject), say('risk', attempt.subject)]
    const session = caller.session ? say('session', caller.id) : undefined
    const ticket = this.#ticketOf(attempt)
    const calendars = CALENDARS.map((name) => ({ name, said: say('calendar', name) }))
    const isKnown = calendars.every(({ said }) => said !== 'unknown')
    const seen = {
      posture: tell(posture, (value) => value?.['compliant'] === true),
      risk: tell(risk, (value) => Number(value?.['level'])),
      session: caller.session
        ? (tell(session, (value) => value?.['compromised'] !== true && value?.['addressChanged'] !== true) ??
          true)
        : undefined,
      ticket: say('ticket', ticket),
      incident: say('incident', ticket),
    }
    const open = calendars.filter(({ said }) => said !== 'unknown' && isOpen(said ?? null, this.now))
    return {
      ...(Object.fromEntries(Object.entries(seen).filter(([, one]) => one !== undefined)) as Partial<Seen>),
      calendars: isKnown ? new Set(open.map(({ name }) => name as string)) : 'unknown',
    }
  }

  /** Whether a decision about it has to ask a system first, because nobody did lately. */
  mustAsk(attempt: Attempt): string | undefined {
    const about = this.#ticketOf(attempt)
    const desk = about === undefined ? undefined : deskOf(about)
    const who = this.who.get(attempt.subject)
    const isInScope =
      who?.groups.includes('deployers') === true && typeOf(attempt.resource) === 'Database' && !who.deleted
    if (desk === undefined || !isInScope || factsOf[attempt.action]?.includes(desk.name) !== true)
      return undefined
    const id = `${desk.name} ${about}`
    const known = this.facts.get(id)
    return known === undefined || this.now >= known.observedAt + FRESH ? id : undefined
  }

  /** A calendar says something else, and the tasks whose window is of it have looked. */
  calendarSays(calendar: string): void {
    const value = this.facts.get(`calendar ${calendar}`)?.value
    if (value === undefined) return
    for (const task of this.tasks.values()) {
      const { window } = task
      if (task.ended || window?.calendar !== calendar) continue
      const left = leftOf(window, window.uid as string, value)
      if (left === undefined) {
        this.endTask(task.id)
        continue
      }
      if (left.startsAt === window.startsAt && left.endsAt === window.endsAt) continue
      Object.assign(window, left)
      if (task.openedAt === undefined)
        task.waitUntil = Math.max(task.waitUntil, left.startsAt + DECLARED_WAIT)
      else task.endsAt = Math.min(task.endsAt, left.endsAt)
      const under = new Set([task.id, ...this.below(task.id).map(({ id }) => id)])
      for (const grant of this.grants.values()) {
        if (grant.ended || !under.has(grant.attempt.task ?? '')) continue
        if (left.startsAt > this.now) this.endGrant(grant)
        else grant.endsAt = Math.min(grant.endsAt, left.endsAt)
      }
    }
  }

  // locks

  /** Names of the locks that it would be under. */
  locksOn(attempt: Pick<Attempt, 'subject' | 'action' | 'resource' | 'task'>): readonly string[] {
    const { subject, action, resource, task } = attempt
    const owners = [...this.#ownersOf(subject), ...(OWNED[resource] === undefined ? [] : [OWNED[resource]])]
    return [
      `tool ${action}`,
      ...[resource, ...(ABOVE[resource] ?? [])].map((key) => `resource ${key}`),
      ...new Set(owners.map((owner) => `owner ${owner}`)),
      ...this.lineage(task).map(({ id }) => `task ${id}`),
    ]
  }

  /** Whose it is, owner after owner, and the teams of those. */
  #ownersOf(key: string): string[] {
    const found = new Set<string>()
    const climb = (one: string): void => {
      const who = this.who.get(one)
      for (const owner of who === undefined || who.deleted ? [] : [who.owner, who.team]) {
        if (owner === undefined || found.has(owner)) continue
        found.add(owner)
        climb(owner)
      }
    }
    climb(key)
    return [...found]
  }

  isUnderLock(attempt: Pick<Attempt, 'subject' | 'action' | 'resource' | 'task'>): boolean {
    return this.locksOn(attempt).some((id) => this.now < (this.locks.get(id)?.until ?? 0))
  }

  /** When the last of the locks that it may be under was set: what was had before is worth nothing. */
  #lockedAt(attempt: Attempt): number {
    return Math.max(-Infinity, ...this.locksOn(attempt).map((id) => this.locks.get(id)?.at ?? -Infinity))
  }

  lock(what: LockKind, about: string, until: number | undefined): void {
    const id = lockIdOf({ what, about })
    const before = this.locks.get(id)
    const held = before !== undefined && this.now < before.until ? before.until : 0
    this.locks.set(id, { what, about, at: this.now, until: Math.max(held, until ?? Infinity) })
    if (what === 'task') this.endTask(about)
    this.react((grant) => this.locksOn(grant.attempt).includes(id))
  }

  /** Whether it may be lifted by this caller: by whoever may, and never by whom it is about. */
  mayUnlock(caller: Caller, { what, about, until }: Lock): boolean {
    const { subject, generation, session } = caller
    const who = this.who.get(subject)
    const task = what === 'task' ? this.tasks.get(about) : undefined
    const isUnder =
      (what === 'subject' || what === 'owner' ? subject === about : false) ||
      (task !== undefined && [task.subject, task.declaredBy].includes(subject))
    const may = who?.groups.some((group) => group === 'administrators' || group === 'security') === true
    return (
      !isUnder &&
      may &&
      session &&
      this.isAble(subject, generation) &&
      this.sessions.get(caller.id)?.ended !== true &&
      this.clockIsRight &&
      this.now < until
    )
  }

  unlock(lock: Lock): void {
    lock.until = this.now
    const who = lock.what === 'subject' ? this.who.get(lock.about) : undefined
    if (who?.locked !== undefined) who.locked = { ...who.locked, until: this.now }
    if (who !== undefined) this.changed(who.key)
  }

  // sessions

  /** What `person` began no later than `until` is over. */
  endSessions(person: string, until: number): readonly string[] {
    const ended: string[] = []
    for (const [id, session] of this.sessions) {
      const isTheirs = session.person === person && session.createdAt <= until
      if (session.ended || !isTheirs || this.now >= session.createdAt + SESSION_IDLE) continue
      session.ended = true
      ended.push(id)
    }
    this.react(({ asked }) => ended.includes(asked.id))
    return ended
  }

  /** A session of theirs is worth less than it was: each that began before, and what is known against it stays known. */
  worsen(person: string, at: number, worse: Readonly<Record<string, boolean>>, maxAge: number): void {
    for (const [about, session] of this.sessions) {
      if (session.ended || session.person !== person || session.createdAt > at + SKEW) continue
      const before = this.facts.get(`session ${about}`)
      const isKnown = Object.keys(worse).every((name) => before?.value?.[name] === true)
      if (before !== undefined && isKnown && before.observedAt >= at) continue
      const observedAt = before === undefined || before.observedAt < at ? at : before.observedAt + 1
      const value = { ...before?.value, ...worse }
      this.observe({ name: 'session', about, value, observedAt, maxAge, source: 'idp' })
    }
  }

  // people

  isLocked(who: Who | undefined): boolean {
    return who?.locked !== undefined && this.now < who.locked.until
  }

  /** Whether this identity, as it was when the caller proved it, may have any authority now. */
  isAble(key: string, generation?: number): boolean {
    const who = this.who.get(key)
    if (who === undefined || who.deleted || this.isLocked(who) || this.now >= (who.endsAt ?? Infinity))
      return false
    return generation === undefined || generation === who.generation
  }

  inPool(key: string, pool: Pool): boolean {
    const who = this.who.get(key)
    if (who === undefined || !who.human || !this.isAble(key) || !who.groups.includes(pool)) return false
    return !(this.policy === 'narrow' && pool === 'dba' && who.groups.includes('security'))
  }

  /** Law 4: everyone who stands behind, as people. */
  roots(caller: Caller, attempt: Attempt): { roots: ReadonlySet<string>; unresolved: boolean } {
    const tasks = this.lineage(attempt.task)
    const carries = caller.subject !== attempt.subject && !caller.session
    const instigators = new Set([attempt.subject])
    for (const { declaredBy } of tasks)
      if (!(carries && declaredBy === caller.subject)) instigators.add(declaredBy)
    if (!carries) instigators.add(caller.subject)
    const owners = new Set<string>()
    const team = new Set<string>()
    let unresolved = false
    let isVerified = false
    for (const instigator of instigators) {
      const mine: string[] = []
      let teams = 0
      const seen = new Set<string>()
      for (let key: string | undefined = instigator; key !== undefined && !seen.has(key);) {
        seen.add(key)
        const who: Who | undefined = this.who.get(key)
        if (who === undefined || who.deleted) break
        if (who.human) {
          mine.push(key)
          break
        }
        for (const member of this.who.values()) {
          if (who.team === undefined || !member.human || member.deleted) continue
          if (!member.groups.includes(who.team.slice('Group/'.length))) continue
          team.add(member.key)
          teams += 1
        }
        key = who.owner
      }
      for (const owner of mine) owners.add(owner)
      if (mine.includes(instigator)) isVerified = true
      if (mine.length + teams === 0) unresolved = true
    }
    const roots = new Set([...owners, ...(isVerified ? [] : team)])
    if (roots.size === 0) unresolved = true
    return { roots: new Set([...roots, ...tasks.flatMap((task) => task.instigators)]), unresolved }
  }

  // policy

  /** `own` calls on the task do not count against what is looked at again. */
  rule(attempt: Attempt, { dba, security, justification }: Proof, seen: Seen, own = 0): Rule {
    const { action, resource, amount } = attempt
    const task = this.tasks.get(attempt.task ?? '')
    const grade = sensitivity[resource] ?? 4
    if (action === 'read') return { permit: grade <= 1, hidden: false }
    if (typeOf(resource) !== 'Database') return NO_RULE
    if (this.policy === 'frozen') return { permit: false, hidden: true }
    if (action === 'db:guess') return { permit: amount === 1, hidden: false }
    const who = this.who.get(attempt.subject)
    const isDeployer = who !== undefined && !who.deleted && who.groups.includes('deployers')
    const inTask = isDeployer && task !== undefined
    switch (action) {
      case 'db:migrate': {
        const permit = inTask && justification && dba >= 1 && !(grade >= 4 && dba < 2)
        return { permit, hidden: false, binding: 'attempt', ttl: 10 * MINUTE, uses: 1 }
      }
      case 'db:query': {
        const permit = inTask && dba >= (this.policy === 'strict' ? 2 : 1)
        return { permit, hidden: false, binding: 'task', ttl: 5 * MINUTE, uses: 3 }
      }
      case 'db:peek':
        return { permit: isDeployer && dba >= 1, hidden: false, binding: 'attempt', ttl: 20 * MINUTE }
      case 'db:drop':
        return { permit: isDeployer && dba >= 1 && security >= 1, hidden: false }
      case 'db:count': {
        // 2 overflows, text is no number: the forbid that reads it then counts as fired
        const isFine = amount === undefined || amount === 1
        return { permit: isFine && inTask, hidden: !isFine }
      }
      case 'db:step':
        return { permit: inTask && task.calls - own < 3, hidden: false }
      case 'db:look':
        return { permit: isDeployer && seen.posture === true, hidden: false }
      case 'db:stow': {
        const limit = this.policy === 'strict' ? 1 : 2
        const isRisky = seen.risk === 'unknown' || (seen.risk ?? 1) > limit
        return { permit: isDeployer && !isRisky, hidden: isRisky, binding: 'task' }
      }
      case 'db:keep': {
        // its forbid is left out while nobody knows
        const isRisky = seen.risk !== 'unknown' && (seen.risk ?? 1) > 2
        return { permit: isDeployer && !isRisky, hidden: isRisky, binding: 'task' }
      }
      case 'db:change': {
        const { ticket } = seen
        const isRight =
          typeof ticket === 'object' &&
          ticket?.['open'] === true &&
          ticket['approved'] === true &&
          this.now < Number(ticket['endsAt'] ?? Infinity)
        return { permit: isDeployer && isRight && dba >= 1, hidden: false, binding: 'task', ttl: 12 * MINUTE }
      }
      case 'db:fix': {
        const { incident } = seen
        const isOn = typeof incident === 'object' && incident?.['open'] === true
        return { permit: isDeployer && isOn, hidden: false, binding: 'task' }
      }
      case 'db:release': {
        const { calendars } = seen
        const isFrozen = calendars === 'unknown' || calendars.has('freeze')
        return { permit: isDeployer && !isFrozen && calendars.has('release'), hidden: isFrozen }
      }
      case 'db:sit':
        return { permit: isDeployer && seen.session === true, hidden: false, ttl: 14 * MINUTE }
      default:
        return NO_RULE
    }
  }

  bindingOf(rule: Rule, attempt: Attempt): 'attempt' | 'task' {
    if (attempt.task === undefined) return 'attempt'
    return rule.binding ?? ((sensitivity[attempt.resource] ?? 4) >= 3 ? 'attempt' : 'task')
  }

  // decisions

  lineage(id: string | undefined): Task[] {
    const found: Task[] = []
    for (let task = this.tasks.get(id ?? ''); task !== undefined; task = this.tasks.get(task.parent ?? ''))
      found.push(task)
    return found
  }

  /** `again`: the grant of an earlier answer, whatever is left of it; `null` when that had none. `own` as in `rule`. */
  analyse(caller: Caller, attempt: Attempt, evidence: Evidence, again?: Grant | null, own = 0): Verdict {
    const verdict = this.#analyse(caller, attempt, evidence, again, own)
    const opensAt = Math.max(...this.lineage(attempt.task).map(({ window }) => window?.startsAt ?? 0), 0)
    return verdict.outcome === 'permit' && this.now < opensAt ? { ...verdict, outcome: 'deny' } : verdict
  }

  #analyse(
    caller: Caller,
    attempt: Attempt,
    evidence: Evidence,
    again: Grant | null | undefined,
    own: number,
  ): Verdict {
    const none: Verdict = { outcome: 'deny', grants: [], counted: [], sets: [], rule: NO_RULE }
    const speaks = caller.subject === attempt.subject || caller.speaksFor.includes(typeOf(attempt.subject))
    if (!speaks || attempt.act === true) return none
    if (!this.isAble(caller.subject, caller.generation) || !this.isAble(attempt.subject)) return none
    if (this.sessions.get(caller.id)?.ended === true) return none
    const isCaught = again !== undefined && again !== null && again.startedAt <= this.#lockedAt(attempt)
    if (this.isUnderLock(attempt) || isCaught) return none
    const tasks = this.lineage(attempt.task)
    if (attempt.task !== undefined) {
      if (tasks[0]?.subject !== attempt.subject) return none
      for (const task of tasks) {
        if (!this.isLive(task)) return none
        if (!task.actions.includes(attempt.action) || !task.resources.includes(attempt.resource)) return none
        if (this.now >= (task.window?.endsAt ?? Infinity)) return none
        if (again === undefined && task.limit !== undefined && task.calls >= task.limit) return none
      }
    }
    const isUnknown = (name: string): boolean => {
      const known = this.facts.get(`calendar ${name}`)
      return known === undefined || !isBelieved(known, this.now)
    }
    // whether its event was cancelled is not known then
    if (tasks.some(({ window }) => window?.calendar !== undefined && isUnknown(window.calendar))) return none
    const seen = this.seen(caller, attempt)
    const unasked = this.#isDecided ? this.mustAsk(attempt) : undefined
    assert.ok(
      unasked === undefined || this.asked.has(`${unasked} ${this.now}`),
      `${unasked} is not known, and nobody was asked`,
    )
    const justified = tasks[0]?.reason ?? false
    const standing = this.rule(attempt, { dba: 0, security: 0, justification: justified }, seen, own)
    if (standing.permit) return { ...none, outcome: 'permit', rule: standing }
    if (again === null) return none

    if (again !== undefined) {
      const rule = this.#carries(again, attempt, seen, own, true)
      return rule === undefined ? none : { ...none, outcome: 'permit', grants: [again.id], rule }
    }
    if (evidence.grant !== undefined) {
      const grant = this.grants.get(evidence.grant)
      if (grant?.attempt.subject !== attempt.subject || !this.isLiveGrant(grant) || !hasUses(grant))
        return none
      const rule = this.#carries(grant, attempt, seen)
      if (rule !== undefined) return { ...none, outcome: 'permit', grants: [grant.id], rule }
    } else if (evidence.approval !== undefined) {
      const request = this.#named(caller, attempt, evidence.approval)
      // what names nothing of the caller's is no ground to offer it something
      if (request === undefined) return none
      const verdict = this.#approved(caller, attempt, request, seen)
      if (verdict !== undefined) return { ...none, ...verdict }
    } else if (attempt.task !== undefined) {
      const carrying = [...this.grants.values()].filter(
        (grant) =>
          grant.attempt.task === attempt.task &&
          this.isLiveGrant(grant) &&
          hasUses(grant) &&
          grant.attempt.subject === attempt.subject &&
          this.#carries(grant, attempt, seen) !== undefined,
      )
      const [first] = carrying
      if (first !== undefined) {
        const rule = this.#carries(first, attempt, seen) as Rule
        return { ...none, outcome: 'permit', grants: carrying.map(({ id }) => id), rule }
      }
    }
    if (standing.hidden) return none
    const sets = this.#remedies(caller, attempt, seen, justified)
    return sets.length === 0 ? none : { ...none, outcome: 'challenge', sets }
  }

  /** As `analyse`, and what the commit adds: nothing widens while the clock is wrong. */
  decide(caller: Caller, attempt: Attempt, evidence: Evidence): Verdict {
    const verdict = this.analyse(caller, attempt, evidence)
    return verdict.outcome === 'permit' && !this.clockIsRight ? { ...verdict, outcome: 'deny' } : verdict
  }

  #carries(grant: Grant, attempt: Attempt, seen: Seen, own = 0, isAgain = false): Rule | undefined {
    if (grant.startedAt <= this.#lockedAt(attempt)) return undefined
    const isMeant =
      grant.binding === 'attempt'
        ? sameAttempt(grant.attempt) === sameAttempt(attempt)
        : grant.attempt.task === attempt.task && grant.attempt.subject === attempt.subject
    if (!isMeant || this.who.get(attempt.subject)?.generation !== grant.generation) return undefined
    const isSame = grant.attempt.action === attempt.action && grant.attempt.resource === attempt.resource
    const counted = grant.approvals.filter((given) => isSame || this.#stillGives(given))
    const justification = grant.justification || (this.tasks.get(attempt.task ?? '')?.reason ?? false)
    const rule = this.rule(attempt, { ...count(counted), justification }, seen, own)
    if (!rule.permit) return undefined
    if (this.bindingOf(rule, attempt) === 'attempt' && grant.binding !== 'attempt') return undefined
    // what it reaches may be bound more strictly than what it was given for
    if (rule.ttl !== undefined && this.now >= grant.startedAt + rule.ttl) return undefined
    return !isAgain && rule.uses !== undefined && grant.used >= rule.uses ? undefined : rule
  }

  #stillGives({ root, pool, generation }: Given): boolean {
    return this.who.get(root)?.generation === generation && this.inPool(root, pool)
  }

  /** The request of an approval with which this caller may come back for this subject. */
  #named(caller: Caller, attempt: Attempt, approval: string): Request | undefined {
    const request = [...this.requests.values()].find((it) => it.approval === approval)
    if (request?.attempt.subject !== attempt.subject) return undefined
    return caller.subject === attempt.subject || isSubmitter(caller, request) ? request : undefined
  }

  #approved(caller: Caller, attempt: Attempt, request: Request, seen: Seen): Partial<Verdict> | undefined {
    const spent = this.grants.get(request.grant ?? '')
    if (spent !== undefined) {
      // who comes back with it means what is left of the grant
      const rule = this.isLiveGrant(spent) && hasUses(spent) ? this.#carries(spent, attempt, seen) : undefined
      return rule === undefined ? undefined : { outcome: 'permit', grants: [spent.id], rule }
    }
    if (request.status !== 'approved' || this.now >= request.activateBy) return undefined
    const who = this.who.get(attempt.subject)
    // what was given to an earlier holder of the name, or before everything of its was ended, is gone (B34, law 2)
    if (who?.generation !== request.generation) return undefined
    if (who.locked !== undefined && request.requestedAt <= who.locked.at) return undefined
    if (request.requestedAt <= this.#lockedAt(attempt)) return undefined
    const isMeant =
      request.binding === 'attempt'
        ? sameAttempt(request.attempt) === sameAttempt(attempt)
        : attempt.task !== undefined && request.attempt.task === attempt.task
    if (!isMeant) return undefined
    const { roots, unresolved } = this.roots(caller, attempt)
    const counted = request.approvals.filter(
      (given) =>
        !unresolved && !roots.has(given.root) && !request.roots.has(given.root) && this.#stillGives(given),
    )
    const justification = request.justification || (this.tasks.get(attempt.task ?? '')?.reason ?? false)
    const rule = this.rule(attempt, { ...count(counted), justification }, seen)
    if (!rule.permit) return undefined
    if (this.bindingOf(rule, attempt) === 'attempt' && request.binding !== 'attempt') return undefined
    return { outcome: 'permit', request: request.id, counted, rule }
  }

  /** Every minimal set of evidence that people could give now and that would change the answer. */
  #remedies(caller: Caller, attempt: Attempt, seen: Seen, justified: boolean): NeededSet[] {
    const { roots, unresolved } = this.roots(caller, attempt)
    const people = [...this.who.keys()].filter((key) => !roots.has(key))
    const dbas = unresolved ? [] : people.filter((key) => this.inPool(key, 'dba'))
    const guards = unresolved ? [] : people.filter((key) => this.inPool(key, 'security'))
    const either = new Set([...dbas, ...guards]).size
    const found: NeededSet[] = []
    const justifications = justified || attempt.action !== 'db:migrate' ? [false] : [false, true]
    for (const [dba, security] of [
      [0, 0],
      [1, 0],
      [0, 1],
      [2, 0],
      [1, 1],
      [2, 1],
    ] as const) {
      if (dba > dbas.length || security > guards.length || dba + security > either) continue
      for (const justification of justifications) {
        if (dba + security === 0 && !justification) continue
        const rule = this.rule(attempt, { dba, security, justification: justified || justification }, seen)
        if (!rule.permit) continue
        const isSmallest = !found.some(
          (it) => it.dba <= dba && it.security <= security && (!it.justification || justification),
        )
        if (!isSmallest) continue
        const { ttl, uses } = rule
        found.push({
          dba,
          security,
          justification,
          binding: this.bindingOf(rule, attempt),
          ...(ttl === undefined ? {} : { ttl }),
          ...(uses === undefined ? {} : { uses }),
        })
      }
    }
    return found
  }

  /** Whether the grant `under` may be spent for an issue by this caller. */
  mayIssue(caller: Caller, grant: Grant): boolean {
    const { outcome } = this.decide(caller, grant.attempt, { grant: grant.id })
    return outcome === 'permit' && this.isLiveGrant(grant) && hasUses(grant)
  }

  /** What a committed permit leaves; `grant` is the one that the answer names. */
  permitted(
    caller: Caller,
    attempt: Attempt,
    verdict: Verdict,
    how: 'use' | 'activate',
    grant: string | undefined,
  ): void {
    const tasks = this.lineage(attempt.task)
    let latest = Infinity
    for (const task of tasks.toReversed()) {
      if (task.openedAt === undefined) {
        task.openedAt = this.now
        task.heartbeatAt = this.now
        task.endsAt = Math.min(this.now + task.life, latest, task.window?.endsAt ?? Infinity)
      }
      latest = task.endsAt
      task.calls += 1
    }
    const carrier = verdict.grants.includes(grant ?? '') ? this.grants.get(grant as string) : undefined
    if (carrier !== undefined) {
      carrier.counted += 1
      if (how === 'use') carrier.used += 1
      return
    }
    const request = verdict.request === undefined ? undefined : this.requests.get(verdict.request)
    if (request === undefined && how === 'use') return
    const binding = request?.binding ?? this.bindingOf(verdict.rule, attempt)
    const uses = binding === 'attempt' ? 1 : least(verdict.rule.uses, request?.uses)
    const who = this.who.get(attempt.subject) as Who
    const ttl = Math.min(LONGEST_GRANT, verdict.rule.ttl ?? Infinity, request?.ttl ?? Infinity)
    this.grants.set(grant as string, {
      id: grant as string,
      attempt,
      asked: caller,
      generation: who.generation,
      binding,
      approvals: verdict.counted,
      justification: request?.justification ?? false,
      ...(uses === undefined ? {} : { uses }),
      used: how === 'use' ? 1 : 0,
      counted: 1,
      startedAt: this.now,
      endsAt: Math.min(this.now + ttl, latest, tasks[0]?.window?.endsAt ?? Infinity, who.endsAt ?? Infinity),
      ended: false,
    })
    if (request !== undefined) request.grant = grant as string
  }

  issued(caller: Caller, grant: Grant): void {
    this.permitted(
      caller,
      grant.attempt,
      { ...NOTHING, outcome: 'permit', grants: [grant.id] },
      'use',
      grant.id,
    )
  }

  /** A retry: the recorded answer if nothing it rests on has changed, `undefined` when there is none to repeat. */
  replay(key: string, caller: Caller, attempt: Attempt): 'conflict' | 'again' | 'changed' | undefined {
    const replay = this.replays.get(key)
    if (replay === undefined || this.now - replay.at >= REPLAY_FOR) return undefined
    if (replay.attempt !== sameAttempt(attempt)) return 'conflict'
    if (!replay.isPermit) return undefined
    const grant = replay.grant === undefined ? null : (this.grants.get(replay.grant) ?? null)
    const { outcome } = this.analyse(caller, attempt, {}, grant, 1)
    const isWhole = grant === null || this.isLiveGrant(grant)
    return outcome === 'permit' && isWhole && this.clockIsRight ? 'again' : 'changed'
  }

  // tasks

  mayDeclare(
    caller: Caller,
    subject: string,
    parent: Task | undefined,
    scope: Pick<Task, 'actions' | 'resources'>,
  ): boolean {
    if (subject !== caller.subject && !caller.speaksFor.includes(typeOf(subject))) return false
    if (!this.clockIsRight || !this.isAble(subject) || !this.isAble(caller.subject, caller.generation))
      return false
    if (parent === undefined) return true
    const above = this.lineage(parent.id)
    return (
      above.length < DEEPEST &&
      this.isTheirs(caller, parent) &&
      above.every((task) => this.isLive(task)) &&
      scope.actions.every((action) => parent.actions.includes(action)) &&
      scope.resources.every((resource) => parent.resources.includes(resource))
    )
  }

  declared(task: Omit<Task, 'waitUntil' | 'ended' | 'endsAt' | 'heartbeatAt' | 'calls'>): void {
    const opens = [task, ...this.lineage(task.parent)].map(({ window }) => window?.startsAt ?? 0)
    const waitUntil = Math.max(this.now, ...opens) + DECLARED_WAIT
    this.tasks.set(task.id, { ...task, waitUntil, ended: false, endsAt: Infinity, heartbeatAt: 0, calls: 0 })
  }

  isTheirs(caller: Caller, task: Task): boolean {
    return (
      caller.id === task.callerId || caller.subject === task.subject || caller.subject === task.declaredBy
    )
  }

  below(id: string): Task[] {
    const children = [...this.tasks.values()].filter((task) => task.parent === id)
    return children.flatMap((child) => [child, ...this.below(child.id)])
  }

  endTask(id: string): void {
    const ending = [this.tasks.get(id) as Task, ...this.below(id)]
    for (const task of ending) {
      task.ended = true
      for (const request of this.requests.values()) {
        if (request.attempt.task === task.id && request.status === 'pending') request.status = 'over'
      }
      for (const grant of this.grants.values()) if (grant.attempt.task === task.id) this.endGrant(grant)
    }
  }

  // requests

  maySubmit(caller: Caller, denied: Denied, justification: boolean): boolean {
    const { attempt, sets } = denied
    const isTheirs = denied.callerId === caller.id || attempt.subject === caller.subject
    const isReasoned = justification || !sets.every((set) => set.justification)
    if (!isTheirs || !isReasoned || this.now >= denied.at + DENIAL_LIFE) return false
    if (this.settledSame(caller, denied, justification) !== undefined) return true
    const task = this.tasks.get(attempt.task ?? '')
    return (
      this.isAble(attempt.subject) &&
      this.isAble(caller.subject, caller.generation) &&
      (task === undefined || this.lineage(task.id).every((it) => this.isLive(it)))
    )
  }

  /** The open request that an identical ask joins: one that the caller may hold. */
  pendingSame(caller: Caller, denied: Denied, justification: boolean): Request | undefined {
    const { same } = shownOf(denied, justification)
    return [...this.requests.values()]
      .filter((it) => it.same === same && it.status === 'pending' && holds(caller, it))
      .toSorted((a, b) => (a.id < b.id ? -1 : 1))[0]
  }

  /** The request that the same ask about the same denial has made before, when it is settled. */
  settledSame(caller: Caller, denied: Denied, justification: boolean): Request | undefined {
    const request = this.requests.get(this.#asked.get(askOf(caller, denied, justification)) ?? '')
    return request?.status === 'pending' ? undefined : request
  }

  submitted(id: string, caller: Caller, denied: Denied, justification: boolean): void {
    const { attempt, sets } = denied
    const behind = this.roots(caller, attempt)
    const same = this.pendingSame(caller, denied, justification)
    const request: Request = same ?? {
      id,
      attempt,
      callerId: caller.id,
      submitter: { subject: caller.subject, generation: caller.generation },
      generation: this.who.get(attempt.subject)?.generation ?? 0,
      ...shownOf(denied, justification),
      sets,
      ...behind,
      justification,
      requestedAt: this.now,
      expiresAt: this.now + REQUEST_LIFE,
      status: 'pending',
      approvals: [],
      activateBy: 0,
    }
    // whoever joins an ask stands behind it too
    request.roots = new Set([...request.roots, ...behind.roots])
    request.unresolved ||= behind.unresolved
    this.requests.set(request.id, request)
    this.#asked.set(askOf(caller, denied, justification), request.id)
    this.#keepWaiting(attempt.task, request.expiresAt)
  }

  poolsOf(key: string, request: Request): Pool[] {
    const wanted = (['dba', 'security'] as const).filter((pool) => request.sets.some((set) => set[pool] > 0))
    if (request.unresolved || request.roots.has(key)) return []
    return wanted.filter((pool) => this.inPool(key, pool))
  }

  mayApprove(caller: Caller, request: Request, pool: Pool | undefined): Pool | undefined {
    const mine = this.poolsOf(caller.subject, request)
    const given = (wanted: Pool) => request.approvals.filter((it) => it.pool === wanted).length
    const missing = mine.find((it) => request.sets.some((set) => given(it) < set[it]))
    const chosen = pool ?? missing ?? mine[0]
    const isRight =
      caller.session &&
      this.clockIsRight &&
      this.isAble(caller.subject, caller.generation) &&
      this.sessions.get(caller.id)?.ended !== true &&
      !this.isUnderLock({ subject: caller.subject, action: '', resource: request.attempt.resource }) &&
      request.status === 'pending' &&
      this.now < request.expiresAt &&
      !request.approvals.some(({ root }) => root === caller.subject)
    return isRight && chosen !== undefined && mine.includes(chosen) ? chosen : undefined
  }

  approved(caller: Caller, request: Request, pool: Pool, approval: string): boolean {
    request.approvals = [...request.approvals, { root: caller.subject, pool, generation: caller.generation }]
    const { dba, security } = count(request.approvals)
    const isMet = request.sets.some(
      (set) => dba >= set.dba && security >= set.security && (!set.justification || request.justification),
    )
    if (!isMet) return false
    const windows = this.lineage(request.attempt.task).map(({ window }) => window)
    request.status = 'approved'
    request.approval = approval
    request.activateBy = Math.min(
      Math.max(this.now, ...windows.map((window) => window?.startsAt ?? this.now)) + ACTIVATE_WITHIN,
      ...windows.map((window) => window?.endsAt ?? Infinity),
    )
    this.#keepWaiting(request.attempt.task, request.activateBy)
    return true
  }

  /** Waiting never eats authority, not of a parent either. */
  #keepWaiting(id: string | undefined, at: number): void {
    for (const task of this.lineage(id)) {
      if (!task.ended && task.openedAt === undefined)
        task.waitUntil = Math.max(task.waitUntil, at + DECLARED_WAIT)
    }
  }

  // grants and credentials

  endGrant(grant: Grant): void {
    if (grant.ended) return
    grant.ended = true
    for (const credential of this.credentials.values()) {
      if (credential.grant === grant.id) this.takeBack(credential)
    }
  }

  takeBack(credential: Credential): void {
    if (credential.state === 'live') credential.state = this.troubled ? 'stuck' : 'gone'
  }

  /** Everything below a subject ends; its open asks too. */
  endSubject(key: string): void {
    for (const task of this.tasks.values()) if (task.subject === key && !task.ended) this.endTask(task.id)
    for (const grant of this.grants.values()) if (grant.attempt.subject === key) this.endGrant(grant)
    for (const request of this.requests.values()) {
      if (request.attempt.subject === key && request.status === 'pending') request.status = 'over'
    }
  }

  /** Continuous evaluation: of what is affected, what would no longer be permitted ends, and nothing outlives its bounds. */
  react(affects: (grant: Grant) => boolean = () => true): void {
    for (const grant of this.grants.values()) {
      if (grant.ended || !affects(grant)) continue
      // what a system says is known once it was asked
      const kinds = factsOf[grant.attempt.action] ?? []
      if (kinds.includes('ticket') || kinds.includes('incident')) this.#affected.add(grant)
      else this.#judge(grant)
    }
  }

  /** Judges what was to be looked at again. */
  judge(): void {
    for (const grant of this.#affected) if (!grant.ended) this.#judge(grant)
    this.#affected.clear()
  }

  /** Whether it would not be permitted any more: time takes what nobody has looked at yet. */
  isOver({ ...grant }: Grant): boolean {
    return this.peek(() => this.#again(grant).outcome !== 'permit')
  }

  #again(grant: Grant): Verdict {
    return this.analyse(grant.asked, grant.attempt, {}, grant, grant.counted)
  }

  /** What would be decided, while nobody decides. */
  peek<T>(look: () => T): T {
    const before = this.#isDecided
    this.#isDecided = false
    try {
      return look()
    } finally {
      this.#isDecided = before
    }
  }

  #judge(grant: Grant): void {
    const { attempt, startedAt } = grant
    const { outcome, rule } = this.peek(() => this.#again(grant))
    if (outcome !== 'permit') {
      // nothing ends because nobody asked
      this.#again(grant)
      this.endGrant(grant)
    } else
      grant.endsAt = Math.min(
        grant.endsAt,
        startedAt + (rule.ttl ?? Infinity),
        this.who.get(attempt.subject)?.endsAt ?? Infinity,
        ...this.lineage(attempt.task).map((task) => task.window?.endsAt ?? Infinity),
      )
  }

  /** A line of the inventory has changed: whoever read it is affected, nobody else. */
  changed(key: string): void {
    this.react(({ attempt: { subject }, asked }) =>
      [subject, this.who.get(subject)?.owner, asked.subject].includes(key),
    )
  }

  sweep(): void {
    for (const task of this.tasks.values()) if (!task.ended && !this.isLive(task)) this.endTask(task.id)
    for (const grant of this.grants.values())
      if (!grant.ended && !this.isLiveGrant(grant)) this.endGrant(grant)
    // what was known to change by now
    this.react((grant) =>
      [
        this.who.get(grant.asked.subject)?.endsAt,
        ...this.lineage(grant.attempt.task).flatMap(({ endsAt, window }) => [endsAt, window?.endsAt]),
        ...[...this.facts.values()]
          .filter((said) => this.#reads(grant, said))
          .flatMap(({ observedAt, maxAge, value }) => [
            observedAt + maxAge,
            value?.['endsAt'] as number | undefined,
            // what is on ends, what is not begins
            ...eventsIn(value).flatMap(({ startsAt, endsAt }) => [startsAt, endsAt]),
          ]),
      ].some((at) => at !== undefined && this.now >= at),
    )
    for (const request of this.requests.values()) {
      if (request.status === 'pending' && this.now >= request.expiresAt) request.status = 'over'
    }
  }
}

/** The bounds that a giver is shown; asks that show the same are one. */
function shownOf(denied: Denied, justification: boolean): Pick<Request, 'same' | 'binding' | 'ttl' | 'uses'> {
  const { attempt, sets } = denied
  const ttl = Math.min(LONGEST_GRANT, Math.max(...sets.map((set) => set.ttl ?? LONGEST_GRANT)))
  const isCounted = sets.every((set) => set.uses !== undefined)
  const uses = isCounted ? Math.max(...sets.map((set) => set.uses as number)) : undefined
  const binding = sets.some((set) => set.binding === 'attempt') ? 'attempt' : 'task'
  const shown = binding === 'attempt' ? sameAttempt(attempt) : `${attempt.subject} ${attempt.task}`
  const same = JSON.stringify([attempt.subject, binding, shown, ttl, uses ?? null, justification])
  return { same, binding, ttl, ...(uses === undefined ? {} : { uses }) }
}

/** Whether it is the caller that asked, by whatever credential it has today. */
const isSubmitter = (caller: Caller, { callerId, submitter }: Request): boolean =>
  caller.id === callerId ||
  (caller.subject === submitter.subject && caller.generation === submitter.generation)

/** Whether a request is the caller's own, by whatever credential it has today. */
function holds(caller: Caller, request: Request): boolean {
  const { subject } = request.attempt
  if (caller.subject === subject) return caller.generation === request.generation
  const type = subject.slice(0, subject.indexOf('/'))
  return isSubmitter(caller, request) && caller.speaksFor.some((it) => it === '*' || it === type)
}

/** A denial is asked about once in the same words. */
const askOf = (caller: Caller, denied: Denied, justification: boolean): string =>
  `${caller.id} ${denied.id} ${shownOf(denied, justification).same}`

const NOTHING: Verdict = { outcome: 'deny', grants: [], counted: [], sets: [], rule: NO_RULE }

export const hasUses = (grant: Grant): boolean => grant.uses === undefined || grant.used < grant.uses

function count(given: readonly Given[]): { dba: number; security: number } {
  return {
    dba: given.filter(({ pool }) => pool === 'dba').length,
    security: given.filter(({ pool }) => pool === 'security').length,
  }
}

function least(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return Math.min(a, b)
}
