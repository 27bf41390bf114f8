/**
 * The kill switch: what is locked is refused from this call on with everything under it, and what was given under it ends,
 * the most urgent first. It works where nothing else is recorded any more, and is lifted only by who may.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import type { EntityRef } from '../model/entity.ts'
import { parseRef, refKey } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Lock, Lockable } from '../model/lock.ts'
import { isHeld, laterEnd, lockId } from '../model/lock.ts'
import { isIdentity, isTypeName } from '../model/name.ts'
import type { Instant } from '../model/time.ts'
import { analyse } from '../decision/analyse.ts'
import { humanRoots } from '../identity/roots.ts'
import { endTasks } from '../lives/ending.ts'
import { Picture } from '../store/picture.ts'
import type { Page, Read } from '../store/port.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { Grants } from './grants.ts'
import type { Narrower, NarrowSpec } from './narrow.ts'
import { NOTHING } from './narrow.ts'
import type { Narrowing } from './port.ts'
import { lockKey } from './watch.ts'

export type LockInput = Readonly<{
  what: Lockable
  /** `Agent/migrator`, a task's id, an action's name. */
  about: string
  reason: string
  until?: Instant
}>

export class Locks {
  readonly #deps: FlowDeps
  readonly #parts: Readonly<{ attempts: Attempts; narrower: Narrower; grants: Grants }>

  constructor(deps: FlowDeps, parts: Readonly<{ attempts: Attempts; narrower: Narrower; grants: Grants }>) {
    this.#deps = deps
    this.#parts = parts
  }

  /**
   * Refuses it at once. A lock that is in force already is never shortened by another.
   *
   * @throws {WritError} `ERR_FORBIDDEN`, `ERR_INPUT_INVALID` for what cannot be locked, `ERR_NOT_FOUND` for no such task.
   */
  async lock(caller: Caller, input: LockInput): Promise<Narrowing> {
    const { what, about, reason } = input
    checkLockable(what, about)
    const { attempts, narrower, grants } = this.#parts
    if (what === 'subject') return grants.revokeSubject(caller, refOf(about), reason, until(input.until))
    if (!(await this.#mayLock(caller, what, about)))
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not lock ${described(input)}`)
    if (what === 'task' && (await attempts.taskOf(about)) === undefined) throw noTask(about)
    const id = lockId(what, about)
    const below: Pick<NarrowSpec, 'tasks'> = what === 'task' ? { tasks: [about] } : {}
    const ended = await narrower.narrow({
      barred: [{ kind: 'lock', id }, ...(what === 'task' ? [{ kind: 'task' as const, id: about }] : [])],
      ...below,
      reads: [{ kind: 'lock', id }],
      meanwhile: () => this.#under(what, about),
      apply: (tx, found) => {
        const known = tx.get('lock', id)?.value
        const end = laterEnd(isHeld(known, tx.now) ? known : undefined, input.until)
        const lock: Lock = {
          id,
          what,
          about,
          reason,
          by: caller.id,
          at: tx.now,
          ...(end === undefined ? {} : { until: end }),
        }
        tx.put('lock', id, lock)
        tx.append({
          kind: 'lock.set',
          refs: [id, about],
          what,
          about,
          reason,
          by: caller.id,
          ...(end === undefined ? {} : { until: end }),
        })
        if (what !== 'task') return NOTHING
        return endTasks(tx, found, [about], 'cancelled', { reason: `locked: ${reason}`, by: caller.id })
      },
    })
    return { denied: true, recorded: ended.recorded, grants: ended.grants, credentials: ended.credentials }
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
  async list(caller: Caller, query: { after?: string; limit?: number }): Promise<Page<Lock>> {
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
    return { items, next: page.next }
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

  /** Whether the caller is among those that the lock is about. */
  async #isUnder(caller: Caller, what: Lockable, about: string): Promise<boolean> {
    const own = refKey(caller.subject)
    if (what === 'subject') return own === about
    if (what === 'owner') {
      const { roots } = await humanRoots(new Picture(this.#deps.store), [caller.subject])
      return own === about || roots.includes(about)
    }
    if (what !== 'task') return false
    const task = await this.#parts.attempts.taskOf(about)
    return task !== undefined && [...task.chain, task.declaredBy].some((ref) => refKey(ref) === own)
  }

  /** The grants under it as long as that is not on the record: their credentials go all the same. */
  async #under(what: Lockable, about: string): Promise<Readonly<{ grants: readonly string[] }>> {
    const { store, decision, watch } = this.#deps
    const ids = watch.under(lockKey({ what, about }))
    const view = await store.read(ids.map((id): Read => ({ kind: 'grant', id })))
    const grants: string[] = []
    for (const id of ids) {
      const grant = view.get('grant', id)?.value
      if (grant?.state !== 'active') continue
      const attempt = { ...(grant.analysed as unknown as Attempt), grant: id }
      const { reason } = await analyse(decision, grant.asked, attempt, {
        again: grant,
        own: grant.counted ?? 0,
      })
      if (reason === 'locked') grants.push(id)
    }
    return { grants }
  }
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

const until = (at: Instant | undefined): { until?: Instant } => (at === undefined ? {} : { until: at })

const described = ({ what, about }: Pick<Lock, 'what' | 'about'>): string =>
  what === 'owner' ? `what \`${about}\` owns` : `the ${what} \`${about}\``

const noTask = (id: string): WritError => new WritError('ERR_NOT_FOUND', `there is no task \`${id}\``)

const notLocked = (what: Lockable, about: string): WritError =>
  new WritError('ERR_NOT_FOUND', `${described({ what, about })} is not locked`, {
    hint: '`writ locks` lists what is',
  })
