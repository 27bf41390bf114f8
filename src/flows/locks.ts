/**
 * The kill switch: what is locked is refused from this call on with everything under it, and what was given under it ends,
 * the most urgent first. It works where nothing else is recorded any more, and is lifted only by who may.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Caller } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import type { Entity, EntityRef } from '../model/entity.ts'
import { defaultKind, parseRef, refKey, sameRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Lock, Lockable } from '../model/lock.ts'
import { isHeld, laterEnd, lockId } from '../model/lock.ts'
import { isIdentity, isTypeName } from '../model/name.ts'
import type { IndexName, Records } from '../model/records.ts'
import { isEnded } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import { MINUTE, toRfc3339 } from '../model/time.ts'
import { analyse } from '../decision/analyse.ts'
import type { Barred } from '../decision/barrier.ts'
import { ownersOf } from '../decision/dependencies.ts'
import { registered } from '../identity/inventory.ts'
import { humanRoots } from '../identity/roots.ts'
import type { Below, Ended } from '../lives/ending.ts'
import { endAccessRequest, endGrants, endTasks } from '../lives/ending.ts'
import { Picture } from '../store/picture.ts'
import type { Page, Read, Transaction } from '../store/port.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { Narrower } from './narrow.ts'
import type { Narrowing } from './port.ts'
import type { Reacting } from './reacting.ts'
import { lockKey } from './watch.ts'

export type LockInput = Readonly<{
  what: Lockable
  /** `Agent/migrator`, a task's id, an action's name. */
  about: string
  reason: string
  until?: Instant
}>

/** A lock, and whether something under it has still to be looked at or ended. */
export type LockState = Lock & Readonly<{ isEnding: boolean }>

export type Locked = Narrowing &
  Readonly<{
    lock: LockState
    /** False where nobody registered it, or no policy names it: perhaps it is misspelt. */
    isKnown: boolean
  }>

/** So many end with the lock itself; of more, some at a time after it. */
const FEW = 32

/** So long before it ends by itself somebody should know. */
const LAPSES_SOON = 15 * MINUTE

type Which = Pick<Lock, 'what' | 'about'>
type Under = Readonly<{
  tasks: readonly string[]
  requests: readonly string[]
  grants: readonly string[]
  /** By grant: who is told. */
  owners: ReadonlyMap<string, readonly string[]>
}>

export class Locks {
  readonly #deps: FlowDeps
  readonly #parts: Readonly<{ attempts: Attempts; narrower: Narrower; reacting: Reacting }>
  /** Locks under which tasks have still to be ended. */
  readonly #owed = new Set<string>()
  readonly #working = new Map<string, Promise<void>>()

  constructor(
    deps: FlowDeps,
    parts: Readonly<{ attempts: Attempts; narrower: Narrower; reacting: Reacting }>,
  ) {
    this.#deps = deps
    this.#parts = parts
  }

  /**
   * Refuses it at once. What is under it ends with the lock if that is little, and some at a time otherwise. A lock that is
   * in force already is never shortened by another.
   *
   * @throws {WritError} `ERR_FORBIDDEN`, `ERR_INPUT_INVALID` for what cannot be locked, `ERR_NOT_FOUND` for no such task.
   */
  async lock(caller: Caller, input: LockInput): Promise<Locked> {
    const { what, about, reason, until } = input
    checkLockable(what, about)
    const { attempts, narrower } = this.#parts
    if (!(await this.#mayLock(caller, what, about)))
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not lock ${described(input)}`)
    if (what === 'task' && (await attempts.taskOf(about)) === undefined) throw noTask(about)
    const { now } = await this.#deps.store.read([])
    if (what === 'subject') await this.#requireSubject(about)
    if (until !== undefined && until <= now)
      throw new WritError('ERR_INPUT_INVALID', '`until` has passed', {
        hint: 'name a later instant, or none',
      })
    const id = lockId(what, about)
    const isKnown = await this.#isKnown(input)
    let under: Under | undefined
    let lock: Lock = { id, what, about, reason, by: caller.id, who: refKey(caller.subject), at: now }
    const find = async (): Promise<Under> => (under = await this.#under(input))
    const isFew = await this.#isFew(input)
    const ended = await narrower.narrow({
      barred: barredBy(input),
      ...(isFew ? { find } : { meanwhile: find }),
      reads: [{ kind: 'lock', id }, ...(what === 'subject' ? [{ kind: 'entity' as const, id: about }] : [])],
      apply: (tx, below) => {
        const cause = { reason: `locked: ${reason}`, by: caller.id }
        const all = isFew ? endAll(tx, below, under as Under, cause) : undefined
        const owes = all === undefined && (what === 'subject' || what === 'task')
        if (owes) this.#owed.add(id)
        const done = { tasks: all?.tasks.length ?? 0, grants: all?.grants.length ?? 0 }
        lock = setLock(tx, input, caller, done, owes)
        return all ?? { tasks: [], grants: [], credentials: [] }
      },
    })
    void this.#goOn(id)
    const { recorded, grants, credentials } = ended
    const isEnding = !isFew || !recorded
    return {
      denied: true,
      recorded,
      grants,
      credentials,
      ...(isEnding ? { ending: true } : {}),
      lock: { ...lock, isEnding },
      isKnown,
    }
  }

  /**
   * Takes a lock away: what ended stays ended. Decided by policy (`Writ::unlock`), and never for whoever is under it.
   *
   * @throws {WritError} `ERR_NOT_FOUND` where nothing is locked, `ERR_FORBIDDEN`.
   */
  async unlock(caller: Caller, what: Lockable, about: string, reason?: string): Promise<Lock> {
    const id = lockId(what, about)
    const { attempts } = this.#parts
    if (await this.#isUnder(caller, what, about))
      throw new WritError('ERR_FORBIDDEN', 'who is locked does not take the lock away', {
        hint: 'ask somebody else who may',
      })
    await this.#goOn(id)
    let lifted: Lock | undefined
    const isSubject = what === 'subject'
    await attempts.administer(caller, 'unlock', {
      context: { what, about },
      also: {
        reads: [{ kind: 'lock', id }, ...(isSubject ? [{ kind: 'entity' as const, id: about }] : [])],
        run: (tx) => {
          const lock = tx.get('lock', id)?.value
          const entity = isSubject ? tx.get('entity', about)?.value : undefined
          if (lock === undefined || !isHeld(lock, tx.now)) throw notLocked(what, about)
          // grants say themselves that they are older than it; tasks do not
          if (lock.owes === true)
            throw new WritError('ERR_CONFLICT', `${described(lock)} is still being taken apart`, {
              hint: 'the lock can be taken away once its tasks have ended: `writ locks`',
            })
          lifted = { ...lock, endedAt: tx.now, endedBy: caller.id }
          tx.put('lock', id, lifted)
          // that it was locked until now stays, since what was approved before is void
          if (entity?.locked !== undefined)
            tx.put('entity', about, { ...entity, locked: { ...entity.locked, until: tx.now } })
          tx.append({
            kind: isSubject ? 'subject.unlocked' : 'lock.ended',
            refs: [id, about],
            ...(isSubject ? { subject: about } : { what, about }),
            by: caller.id,
            ...(reason === undefined ? {} : { reason }),
          })
          return undefined
        },
      },
    })
    return lifted as unknown as Lock
  }

  /** Locks in force, for who may read them. */
  async list(caller: Caller, query: { after?: string; limit?: number }): Promise<Page<LockState>> {
    const { attempts } = this.#parts
    if (!(await attempts.may(caller, 'read')) && !(await attempts.may(caller, 'revoke')))
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not see locks`)
    const { now } = await this.#deps.store.read([])
    const { after, limit = 100 } = query
    const page = await this.#deps.store.list('lock', {
      index: 'lock.all',
      value: 'all',
      limit,
      ...(after === undefined ? {} : { after }),
    })
    const held = page.items.map(({ value }) => value).filter((lock) => isHeld(lock, now))
    // a subject that was made again is somebody new, whom nobody has locked
    const subjects = held.filter(({ what }) => what === 'subject')
    const view = await this.#deps.store.read(
      subjects.map(({ about }): Read => ({ kind: 'entity', id: about })),
    )
    const items = held.filter(
      ({ what, about }) => what !== 'subject' || view.get('entity', about)?.value.locked !== undefined,
    )
    return { items: items.map((lock) => ({ ...lock, isEnding: this.#isEnding(lock) })), next: page.next }
  }

  /** Goes on with what was being ended when the process stopped, before anything is served. */
  async recover(): Promise<void> {
    let after: string | undefined
    do {
      const page = await this.#deps.store.list('lock', {
        index: 'lock.all',
        value: 'all',
        limit: 500,
        ...(after === undefined ? {} : { after }),
      })
      for (const { value } of page.items) if (value.owes === true) this.#owed.add(value.id)
      after = page.next
    } while (after !== undefined)
    for (const id of this.#owed) await this.#goOn(id)
  }

  /** Locks that end by themselves before long, in sentences. */
  async problems(now: Instant): Promise<readonly string[]> {
    const page = await this.#deps.store.list('lock', { index: 'lock.all', value: 'all', limit: 500 })
    return page.items.flatMap(({ value }) =>
      isHeld(value, now) && value.until !== undefined && value.until - now <= LAPSES_SOON
        ? [`the lock on ${described(value)} ends at ${toRfc3339(value.until)}: lock it again to keep it`]
        : [],
    )
  }

  /** Tries again to end what could not be ended. */
  retry(): void {
    for (const id of this.#owed) void this.#goOn(id)
  }

  /** Resolves when nothing is being ended. */
  async idle(): Promise<void> {
    await Promise.all(this.#working.values())
  }

  /** Who may end what is under it may lock it: an administrator, or its owner. */
  async #mayLock(caller: Caller, what: Lockable, about: string): Promise<boolean> {
    const { attempts } = this.#parts
    if (what === 'tool') return attempts.may(caller, 'revoke')
    const task = what === 'task' ? await attempts.taskOf(about) : undefined
    if (what === 'task') return task !== undefined && attempts.mayRevoke(caller, task.subject)
    if (what === 'owner' && refKey(caller.subject) === about) return true
    return attempts.mayRevoke(caller, refOf(about))
  }

  /** Whether the caller is among those that the lock is about, or somebody behind it is. Who acts for others unlocks nothing. */
  async #isUnder(caller: Caller, what: Lockable, about: string): Promise<boolean> {
    if (what === 'tool' || what === 'resource') return false
    const own = caller.subject
    if (what === 'task') {
      const task = await this.#parts.attempts.taskOf(about)
      return task !== undefined && [...task.chain, task.declaredBy].some((ref) => sameRef(ref, own))
    }
    if (refKey(own) === about) return true
    const picture = new Picture(this.#deps.store)
    const { roots } = await humanRoots(picture, [own])
    if (roots.includes(about)) return true
    const ref = refOf(about)
    await picture.load([{ kind: 'entity', id: about }])
    const kind = registered(picture, ref)?.kind
    // a person of several names, and each of a team whose things are locked
    if (kind !== 'human' && kind !== 'group') return false
    return (await humanRoots(picture, [ref])).roots.some((one) => roots.includes(one))
  }

  /** @throws {WritError} `ERR_INPUT_INVALID` for a group: its members act, each under a name of their own. */
  async #requireSubject(about: string): Promise<void> {
    const entity = (await this.#deps.store.read([{ kind: 'entity', id: about }])).get('entity', about)?.value
    const isThere = entity !== undefined && entity.deletedAt === undefined
    if ((isThere ? entity.kind : defaultKind(refOf(about).type)) !== 'group') return
    throw new WritError('ERR_INPUT_INVALID', `\`${about}\` is a group, and does nothing itself`, {
      hint: 'lock its members, each as a `subject`, or what it owns as an `owner`',
    })
  }

  async #isKnown({ what, about }: Which): Promise<boolean> {
    if (what === 'task') return true
    const { store, decision, watch } = this.#deps
    if (what === 'tool') {
      const version = (await store.read([{ kind: 'meta', id: 'policy' }])).get('meta', 'policy')?.value[
        'version'
      ]
      const set = typeof version === 'string' ? decision.policies.get(version) : undefined
      return (
        set?.actions.some(({ uid }) => uid.id === about) === true ||
        watch.under(lockKey({ what, about })).length > 0
      )
    }
    // a group is there as soon as somebody is in it
    const view = await store.read([
      { kind: 'entity', id: about },
      { index: 'entity.parent', value: about },
    ])
    const entity = view.get('entity', about)?.value
    return (
      (entity !== undefined && entity.deletedAt === undefined) || view.scan('entity.parent', about).length > 0
    )
  }

  /** Whether all that is under it can end with it without keeping others waiting. */
  async #isFew(which: Which): Promise<boolean> {
    const { watch } = this.#deps
    if (watch.under(lockKey(which)).length > FEW) return false
    const tasks = await this.#tasksUnder(which, FEW + 1)
    return tasks.length <= FEW && tasks.every((id) => watch.under(`task/${id}`).length <= FEW)
  }

  /** All that is under it. The lock is in force, or what is locked is barred. */
  async #under(which: Which): Promise<Under> {
    const { store, decision, watch } = this.#deps
    const ids = watch.under(lockKey(which))
    const view = await store.read(ids.map((id): Read => ({ kind: 'grant', id })))
    const owners = new Map<string, readonly string[]>()
    for (const [at, id] of ids.entries()) {
      if (at % FEW === FEW - 1) await breathe()
      const grant = view.get('grant', id)?.value
      if (grant?.state !== 'active') continue
      const attempt = { ...(grant.analysed as unknown as Attempt), grant: id }
      const analysis = await analyse(decision, grant.asked, attempt, {
        again: grant,
        own: grant.counted ?? 0,
      })
      const isUnder =
        REFUSED.has(analysis.reason) || (which.what === 'task' && analysis.reason === 'task_ended')
      if (isUnder) owners.set(id, ownersOf(analysis))
    }
    return {
      tasks: await this.#tasksUnder(which),
      requests: await this.#requestsUnder(which),
      grants: [...owners.keys()],
      owners,
    }
  }

  /** Tasks under it that have not ended, and those below them; at most `most` or so, if given. */
  async #tasksUnder(which: Which, most = Infinity): Promise<readonly string[]> {
    const found = new Set(await this.#rootsUnder(which, most))
    for (const id of found) {
      if (found.size > most) break
      for (const child of await this.#liveBelow([id])) found.add(child)
    }
    return [...found]
  }

  async #rootsUnder({ what, about }: Which, most: number, until = Infinity): Promise<readonly string[]> {
    if (what === 'task') {
      const task = (await this.#deps.store.read([{ kind: 'task', id: about }])).get('task', about)?.value
      return task === undefined || isEnded(task) ? [] : [about]
    }
    if (what !== 'subject') return []
    const declared = (task: Readonly<{ declaredAt: Instant }>): boolean => task.declaredAt <= until
    const [own, behind] = await Promise.all([
      this.#indexed('task', 'task.subject', about, declared, most),
      this.#indexed('task', 'task.behind', about, declared, most),
    ])
    return [...new Set([...own, ...behind])]
  }

  async #requestsUnder(
    { what, about }: Which,
    most = Infinity,
    until = Infinity,
  ): Promise<readonly string[]> {
    if (what !== 'subject') return []
    const asked = (request: Readonly<{ requestedAt: Instant }>): boolean => request.requestedAt <= until
    const [own, behind] = await Promise.all([
      this.#indexed('request', 'request.requester', about, asked, most),
      this.#indexed('request', 'request.behind', about, asked, most),
    ])
    return [...new Set([...own, ...behind])]
  }

  /** At most `most` that are listed under `value`, a little at a time. */
  async #indexed<K extends 'task' | 'request'>(
    kind: K,
    index: IndexName & `${K}.${string}`,
    value: string,
    isMeant: (record: Records[K]) => boolean,
    most: number,
  ): Promise<readonly string[]> {
    const found: string[] = []
    let after: string | undefined
    do {
      const limit = Math.min(most, PAGE)
      const page = await this.#deps.store.list(kind, {
        index,
        value,
        limit,
        ...(after === undefined ? {} : { after }),
      })
      for (const stored of page.items) if (isMeant(stored.value)) found.push(stored.id)
      after = page.next
    } while (after !== undefined && found.length < most)
    return found.slice(0, most)
  }

  async #liveBelow(parents: readonly string[]): Promise<readonly string[]> {
    const view = await this.#deps.store.read(parents.map((value): Read => ({ index: 'task.parent', value })))
    return parents.flatMap((id) =>
      view.scan('task.parent', id).flatMap(({ value }) => (isEnded(value) ? [] : [value.id])),
    )
  }

  #isEnding(lock: Lock): boolean {
    if (lock.owes === true) return true
    return this.#parts.reacting.isBusy && this.#deps.watch.under(lockKey(lock)).length > 0
  }

  /** Ends the tasks and asks under a lock, some at a time. Never throws: what fails is tried again by the sweeper. */
  #goOn(id: string): Promise<void> {
    const known = this.#working.get(id)
    if (known !== undefined || !this.#owed.has(id)) return known ?? Promise.resolve()
    const work = this.#endTasks(id)
      .catch((error: unknown) =>
        this.#deps.log('error', 'what is locked could not be ended yet and is tried again', {
          lock: id,
          error,
        }),
      )
      .finally(() => this.#working.delete(id))
    this.#working.set(id, work)
    return work
  }

  async #endTasks(id: string): Promise<void> {
    const { store } = this.#deps
    for (;;) {
      const lock = (await store.read([{ kind: 'lock', id }])).get('lock', id)?.value
      if (lock?.owes !== true) break
      const requests = await this.#requestsUnder(lock, FEW, lock.at)
      // the lowest first: a task that has ended leads nobody to those below it
      let tasks = await this.#rootsUnder(lock, FEW, lock.at)
      for (;;) {
        const below = (await this.#liveBelow(tasks)).slice(0, FEW)
        if (below.length === 0) break
        tasks = below
      }
      const isDone = tasks.length === 0 && requests.length === 0
      await store.commit({
        narrowing: true,
        reads: [
          { kind: 'lock', id },
          ...tasks.flatMap((task): Read[] => [
            { kind: 'task', id: task },
            { index: 'task.parent', value: task },
          ]),
          ...requests.map((request): Read => ({ kind: 'request', id: request })),
        ],
        run: (tx) => {
          const now = tx.get('lock', id)?.value
          if (now?.owes !== true) return
          const lowest = tasks.filter((task) =>
            tx.scan('task.parent', task).every(({ value }) => isEnded(value)),
          )
          const cause = { reason: `locked: ${now.reason}`, by: now.by }
          // its grants end as they are looked at again
          const below = { tasks: lowest, grants: [], credentials: [], requests: [] }
          const { tasks: over } = endTasks(tx, below, lowest, 'cancelled', cause)
          for (const request of requests) {
            const open = tx.get('request', request)?.value
            if (open !== undefined) endAccessRequest(tx, open, 'cancelled', cause)
          }
          const { owes: _owes, ...rest } = now
          const ended = { grants: now.ended?.grants ?? 0, tasks: (now.ended?.tasks ?? 0) + over.length }
          tx.put('lock', id, { ...(isDone ? rest : now), ended })
        },
      })
      await breathe()
    }
    this.#owed.delete(id)
  }
}

/** What an attempt is refused with that is under a lock. */
const REFUSED: ReadonlySet<string> = new Set(['locked', 'subject_locked'])

/** Records that are read at once. */
const PAGE = 500

function barredBy({ what, about }: Which): readonly Barred[] {
  if (what === 'subject') return [{ kind: 'subject', id: about }]
  const lock = { kind: 'lock' as const, id: lockId(what, about) }
  return what === 'task' ? [lock, { kind: 'task', id: about }] : [lock]
}

/** Ends it all in one, each grant with those told who own what it is about. */
function endAll(
  tx: Transaction,
  below: Below,
  { owners }: Under,
  cause: Readonly<{ reason: string; by: string }>,
): Ended {
  const first = below.grants.map((id) =>
    endGrants(tx, { ...below, grants: [id] }, 'revoked', { ...cause, owners: owners.get(id) ?? [] }),
  )
  const { tasks } = endTasks(tx, below, below.tasks, 'cancelled', cause)
  return {
    tasks,
    grants: first.flatMap(({ grants }) => grants),
    credentials: first.flatMap(({ credentials }) => credentials),
  }
}

/** Writes the lock, and on the subject that it is locked: everybody who reads who that is reads it there. */
function setLock(
  tx: Transaction,
  { what, about, reason, until: asked }: LockInput,
  { id: by, subject: setter }: Caller,
  done: Readonly<{ tasks: number; grants: number }>,
  owes: boolean,
): Lock {
  const id = lockId(what, about)
  const known = tx.get('lock', id)?.value
  const entity = what === 'subject' ? tx.get('entity', about)?.value : undefined
  const inForce = isHeld(known, tx.now) ? known : undefined
  // taking away never gives back: a lock that holds longer stays
  const end = laterEnd(inForce, asked)
  const until = end === undefined ? {} : { until: end }
  const ended = {
    tasks: done.tasks + (inForce?.ended?.tasks ?? 0),
    grants: done.grants + (inForce?.ended?.grants ?? 0),
  }
  const lock: Lock = { id, what, about, reason, by, who: refKey(setter), at: tx.now, ...until, ended }
  tx.put('lock', id, owes || known?.owes === true ? { ...lock, owes: true } : lock)
  if (what !== 'subject') {
    tx.append({ kind: 'lock.set', refs: [id, about], what, about, reason, by, ...until })
    return lock
  }
  const ref = refOf(about)
  const locked: Entity = {
    ...(entity ?? {
      ...ref,
      kind: defaultKind(ref.type) === 'human' ? ('human' as const) : ('workload' as const),
      sensitivity: 4 as const,
      parents: [],
      attrs: {},
      generation: 0,
    }),
    locked: { reason, at: tx.now, ...until },
  }
  tx.put('entity', about, locked)
  tx.append({
    kind: 'subject.locked',
    refs: [about],
    subject: about,
    reason,
    by,
    ...until,
    ...(entity === undefined ? { entities: [locked] } : {}),
  })
  return lock
}

/** @throws {WritError} `ERR_INPUT_INVALID` */
function checkLockable(what: Lockable, about: string): void {
  if (what === 'task') return
  const isWrits = /(^|::)Action\/|^Writ(::|\/|$)/.test(about)
  if (what === 'tool') {
    if (isIdentity(about) && !isWrits) return
  } else {
    const ref = parseRef(about)
    if (ref !== undefined && isTypeName(ref.type) && isIdentity(ref.id) && !isWrits) return
  }
  const form =
    what === 'tool' ? 'the name of an action, e.g. `db:migrate`' : '`Type/id`, e.g. `Agent/migrator`'
  throw new WritError('ERR_INPUT_INVALID', `\`${about}\` is no ${what} that can be locked`, {
    hint: `give ${form}`,
  })
}

function refOf(about: string): EntityRef {
  const ref = parseRef(about)
  if (ref === undefined) throw new TypeError(`\`${about}\` is no reference`)
  return ref
}

const described = ({ what, about }: Pick<Lock, 'what' | 'about'>): string =>
  what === 'owner' ? `what \`${about}\` owns` : `the ${what} \`${about}\``

const noTask = (id: string): WritError => new WritError('ERR_NOT_FOUND', `there is no task \`${id}\``)

const notLocked = (what: Lockable, about: string): WritError =>
  new WritError('ERR_NOT_FOUND', `${described({ what, about })} is not locked`, {
    hint: '`writ locks` lists what is',
  })
