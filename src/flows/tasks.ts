/**
 * Tasks: declared first, opened by the first permit, ended with everything below them.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Window } from '../model/calendar.ts'
import { windowFrom } from '../model/calendar.ts'
import type { EntityRef } from '../model/entity.ts'
import { isOver, refKey, sameRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Fact } from '../model/fact.ts'
import { factId, isFresh } from '../model/fact.ts'
import type { Task, TaskEnd } from '../model/task.ts'
import { beat, DECLARED_WAIT, isEnded, isLive, narrows, windowOf } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import { DAY, HOUR, SECOND } from '../model/time.ts'
import { isAtTarget } from '../model/credential.ts'
import type { Page, Read } from '../store/port.ts'
import { digestOf } from '../decision/statement.ts'
import { CLOCK_TOLERANCE, clockBehind, REPLAY_FOR, stillRestored } from '../decision/decide.ts'
import { CHAIN_MOST, chainOf, delegationEnded } from '../identity/chain.ts'
import { endTasks, findBelow } from '../lives/ending.ts'
import { ownPage } from './own-page.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { Narrower } from './narrow.ts'
import type { Narrowing, TaskInput, TaskState } from './port.ts'

/** Live tasks that one subject may have at once. */
export const MAX_LIVE_TASKS = 1_000

/** Longest window. */
const MAX_WINDOW = 31 * DAY

/** Children may be declared this deep. */
export const MAX_TASK_DEPTH = 8

export class Tasks {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  readonly #narrower: Narrower

  constructor(deps: FlowDeps, attempts: Attempts, narrower: Narrower) {
    this.#deps = deps
    this.#attempts = attempts
    this.#narrower = narrower
  }

  async declare(caller: Caller, input: TaskInput, options: { idempotencyKey?: string } = {}): Promise<Task> {
    const { store, decision, defaults } = this.#deps
    const subject = input.subject ?? caller.subject
    const mayspeak =
      sameRef(subject, caller.subject) ||
      (caller.pep?.subjects.some((t) => t === '*' || t === subject.type) ?? false)
    if (!mayspeak) {
      throw new WritError('ERR_FORBIDDEN', `this caller may not declare a task for ${refKey(subject)}`, {
        hint: 'declare it with the key of the subject itself, or trust this caller for its type',
      })
    }
    const life = Math.min(input.life ?? defaults.task, defaults.task)
    const heartbeat = input.heartbeat ?? defaults.heartbeat
    if (heartbeat < SECOND || heartbeat > HOUR) {
      throw new WritError('ERR_INPUT_INVALID', '`heartbeat` must be between 1s and 1h')
    }
    if (input.scope.actions.length === 0 || input.scope.resources.length === 0) {
      throw new WritError('ERR_INPUT_INVALID', 'a task names at least one action and one resource')
    }
    if (input.scope.actions.some((action) => action.startsWith('Writ::'))) {
      throw new WritError('ERR_INPUT_INVALID', 'a task cannot cover the administration of Writ')
    }
    const wished = input.window
    if (
      wished !== undefined &&
      'startsAt' in wished &&
      (wished.endsAt <= wished.startsAt || wished.endsAt - wished.startsAt > MAX_WINDOW)
    ) {
      throw new WritError('ERR_INPUT_INVALID', '`window` must end after it starts, within 31 days')
    }
    const id = decision.newId('task')
    const replayId =
      options.idempotencyKey === undefined ? undefined : `${caller.id}\ntask\n${options.idempotencyKey}`
    const digest = digestOf(input)
    const ancestors = await this.#ancestors(input.parent)
    const chain = await this.#chain(caller, subject, input.delegation)
    const reads: Read[] = [
      ...[...new Set([...chain, caller.subject].map(refKey))].map((key): Read => ({
        kind: 'entity',
        id: key,
      })),
      { index: 'task.subject', value: refKey(subject) },
      ...(input.delegation === undefined ? [] : [{ kind: 'delegation' as const, id: input.delegation }]),
      ...ancestors.map((task): Read => ({ kind: 'task', id: task })),
      ...(replayId === undefined ? [] : [{ kind: 'replay' as const, id: replayId }]),
      ...(wished !== undefined && 'calendar' in wished
        ? [{ kind: 'fact' as const, id: factId('calendar', wished.calendar) }]
        : []),
    ]
    return store.commit({
      reads,
      run: (tx) => {
        const before = replayId === undefined ? undefined : tx.get('replay', replayId)?.value
        if (before !== undefined && tx.now - before.at < REPLAY_FOR) {
          if (before.digest === digest) return before.answer as unknown as Task
          throw new WritError('ERR_CONFLICT', 'the idempotency key was used for another task', {
            hint: 'use a new key for each task',
          })
        }
        if (store.clockBehind() > CLOCK_TOLERANCE) throw clockBehind(store.clockBehind())
        if (decision.barrier.restored) throw stillRestored()
        const delegation =
          input.delegation === undefined ? undefined : tx.get('delegation', input.delegation)?.value
        if (input.delegation !== undefined) {
          const generationOf = (key: string): number => tx.get('entity', key)?.value.generation ?? 0
          const ended = delegation === undefined || delegationEnded(delegation, generationOf, tx.now)
          if (ended || decision.barrier.bars('delegation', input.delegation)) {
            throw new WritError('ERR_FORBIDDEN', `delegation \`${input.delegation}\` has ended`, {
              problem: 'delegation_ended',
            })
          }
        }
        for (const ref of [...chain, caller.subject]) {
          const entity = tx.get('entity', refKey(ref))?.value
          const barred = decision.barrier.denies({ chain: [ref], tasks: ancestors, caller: caller.id })
          // what an earlier one of this name declares, the present one would inherit (B34)
          const earlier = ref === caller.subject && (entity?.generation ?? 0) !== caller.generation
          if (isOver(entity, tx.now) || earlier || barred !== undefined) {
            throw new WritError('ERR_FORBIDDEN', `${refKey(ref)} is locked or has ended`)
          }
        }
        if (tx.scan('task.subject', refKey(subject)).length >= MAX_LIVE_TASKS) {
          throw new WritError(
            'ERR_TOO_LARGE',
            `${refKey(subject)} has ${MAX_LIVE_TASKS} live tasks already`,
            {
              hint: 'end tasks that are done',
            },
          )
        }
        const parents = ancestors.map((parent) => tx.get('task', parent)?.value as Task)
        const [parent] = parents
        if (parent !== undefined) {
          if (!mine(caller, parent)) throw notFound(parent.id)
          if (parents.some((p) => isEnded(p) || !isLive(p, tx.now))) {
            throw new WritError('ERR_CONFLICT', `task \`${parent.id}\` has ended`, {
              hint: 'nothing new starts below it; declare a task of its own',
            })
          }
          const behind = parents.flatMap((p) => p.chain.slice(1))
          const left = behind.some((ref) => !chain.some((party) => sameRef(party, ref)))
          if (left || parents.some((p) => (p.delegation ?? input.delegation) !== input.delegation)) {
            throw new WritError(
              'ERR_FORBIDDEN',
              `task \`${parent.id}\` is done for somebody, and this is not`,
              {
                hint: 'name the `delegation` of its parent',
              },
            )
          }
          if (!narrows(input.scope, parent.scope)) {
            throw new WritError(
              'ERR_FORBIDDEN',
              `the scope reaches beyond that of its parent \`${parent.id}\``,
              {
                hint: 'a child task only narrows: name actions and resources that its parent has',
              },
            )
          }
        }
        const window =
          wished === undefined || !('calendar' in wished)
            ? wished
            : eventWindow(wished.calendar, tx.get('fact', factId('calendar', wished.calendar))?.value, tx.now)
        const triggers = [...(caller.instigators ?? []), ...parents.flatMap((p) => p.triggers ?? [])]
        const task: Task = {
          id,
          state: 'declared',
          purpose: input.purpose,
          ...(input.reason === undefined ? {} : { reason: input.reason }),
          ...(input.ticket === undefined ? {} : { ticket: input.ticket }),
          subject: { type: subject.type, id: subject.id },
          chain,
          ...(input.delegation === undefined ? {} : { delegation: input.delegation }),
          declaredBy: caller.subject,
          instigators: [
            ...new Set([
              ...(caller.kind === 'session' ? [refKey(caller.subject)] : []),
              ...parents.flatMap((p) => p.instigators),
            ]),
          ],
          ...(triggers.length === 0 ? {} : { triggers }),
          caller: caller.id,
          scope: {
            actions: [...input.scope.actions],
            resources: input.scope.resources.map((r) => ({ ...r })),
          },
          limits: input.limits ?? {},
          ...(parent === undefined ? {} : { parent: parent.id }),
          ...(window === undefined ? {} : { window }),
          declaredAt: tx.now,
          waitUntil: Math.max(tx.now, window?.startsAt ?? 0, windowOf(parents).startsAt ?? 0) + DECLARED_WAIT,
          life: parent === undefined ? life : Math.min(life, parent.life),
          heartbeat,
          calls: 0,
          denials: 0,
          resources: [],
        }
        tx.put('task', id, task)
        tx.append({
          kind: 'task.declared',
          refs: [id, refKey(subject), ...(parent === undefined ? [] : [parent.id])],
          task: id,
          ...(caller.dev === true ? { dev: true } : {}),
          by: caller.id,
          declared: task,
        })
        if (replayId !== undefined) {
          tx.put('replay', replayId, {
            kind: 'task',
            caller: caller.id,
            digest,
            at: tx.now,
            decision: id,
            answer: task,
          })
        }
        return task
      },
    })
  }

  /** @throws {WritError} `ERR_NOT_FOUND` for a task that is unknown or not the caller's to see. */
  async state(caller: Caller, id: string): Promise<TaskState> {
    await this.#own(caller, id, true)
    return this.#stateOf(id)
  }

  async list(caller: Caller, query: { live?: boolean; after?: string; limit?: number }): Promise<Page<Task>> {
    const all = await this.#attempts.may(caller, 'read')
    const index = query.live === true ? { index: 'task.live' as const, value: 'live' } : {}
    const list = async (part: Readonly<{ after?: string; limit: number }>): Promise<Page<Task>> => {
      const page = await this.#deps.store.list('task', { ...index, ...part })
      return { items: page.items.map(({ value }) => value), next: page.next }
    }
    const { after, limit = 100 } = query
    if (all) return list({ limit, ...(after === undefined ? {} : { after }) })
    return ownPage(list, query, (tasks) => tasks.filter((task) => mine(caller, task)))
  }

  async heartbeat(caller: Caller, id: string): Promise<Task> {
    await this.#own(caller, id, false)
    return this.#deps.store.commit({
      reads: [{ kind: 'task', id }],
      run: (tx) => {
        const task = tx.get('task', id)?.value
        if (task === undefined) throw notFound(id)
        const barred = this.#deps.decision.barrier.denies({
          chain: task.chain,
          tasks: [id],
          caller: caller.id,
        })
        if (barred !== undefined || isEnded(task) || !isLive(task, tx.now)) {
          throw new WritError('ERR_CONFLICT', `task \`${id}\` has ended`, {
            hint: `${task.ending?.reason ?? 'its heartbeat lapsed'}; declare a new task to go on`,
            problem: 'task_ended',
          })
        }
        const beaten = beat(task, tx.now)
        tx.put('task', id, beaten)
        return beaten
      },
    })
  }

  async end(
    caller: Caller,
    id: string,
    how: 'completed' | 'failed' | 'cancelled',
    reason?: string,
  ): Promise<TaskState> {
    await this.#own(caller, id, false)
    await this.endBelow(id, how, { reason: reason ?? how, by: caller.id })
    return this.#stateOf(id)
  }

  async revoke(caller: Caller, id: string, reason: string): Promise<Narrowing> {
    const task = await this.#find(id)
    const allowed =
      task !== undefined && (mine(caller, task) || (await this.#attempts.mayRevoke(caller, task.subject)))
    if (!allowed) throw notFound(id)
    const { grants, credentials, recorded } = await this.endBelow(id, 'cancelled', { reason, by: caller.id })
    return { denied: true, recorded, grants, credentials }
  }

  /** Ends a task and everything below it; used by callers, lapses and locks alike. */
  async endBelow(
    id: string,
    how: TaskEnd,
    cause: { reason: string; by: string },
  ): ReturnType<Narrower['narrow']> {
    return this.#narrower.narrow({
      barred: [{ kind: 'task', id }],
      tasks: [id],
      apply: (tx, below) => endTasks(tx, below, [id], how, cause),
    })
  }

  async #stateOf(id: string): Promise<TaskState> {
    const below = await findBelow(this.#deps.store, { tasks: [id] })
    const view = await this.#deps.store.read([
      ...below.tasks.map((task): Read => ({ kind: 'task', id: task })),
      ...below.grants.map((grant): Read => ({ kind: 'grant', id: grant })),
      ...below.credentials.map((credential): Read => ({ kind: 'credential', id: credential })),
      ...below.requests.map((request): Read => ({ kind: 'request', id: request })),
    ])
    const pick = <T>(found: Readonly<{ value: T }> | undefined): T[] =>
      found === undefined ? [] : [found.value]
    const tasks = below.tasks.flatMap((task) => pick(view.get('task', task)))
    const task = tasks.find((t) => t.id === id)
    if (task === undefined) throw notFound(id)
    const credentials = below.credentials.flatMap((credential) => pick(view.get('credential', credential)))
    return {
      task,
      grants: below.grants.flatMap((grant) => pick(view.get('grant', grant))),
      credentials,
      requests: below.requests.flatMap((request) => pick(view.get('request', request))),
      children: tasks.filter((t) => t.id !== id),
      clean: isEnded(task) && !credentials.some(isAtTarget),
    }
  }

  async #find(id: string): Promise<Task | undefined> {
    return (await this.#deps.store.read([{ kind: 'task', id }])).get('task', id)?.value
  }

  async #own(caller: Caller, id: string, reading: boolean): Promise<void> {
    const task = await this.#find(id)
    if (task !== undefined && mine(caller, task)) return
    if (task !== undefined && reading && (await this.#attempts.may(caller, 'read'))) return
    throw notFound(id)
  }

  /** Whom it is done for: what the caller has proved, and the delegator of the delegation that is named. */
  async #chain(caller: Caller, subject: EntityRef, id: string | undefined): Promise<readonly EntityRef[]> {
    const { store } = this.#deps
    const delegation =
      id === undefined
        ? undefined
        : (await store.read([{ kind: 'delegation', id }])).get('delegation', id)?.value
    if (id !== undefined && !(delegation !== undefined && sameRef(delegation.actor, subject))) {
      throw new WritError('ERR_NOT_FOUND', `${refKey(subject)} has no delegation \`${id}\``)
    }
    if ((caller.chain?.length ?? 0) > 0 && !sameRef(caller.subject, subject)) {
      throw new WritError('ERR_FORBIDDEN', 'whoever acts for another speaks for nobody else beside')
    }
    const chain = chainOf(caller, subject, delegation)
    if (chain.length > CHAIN_MOST || new Set(chain.map(refKey)).size !== chain.length) {
      throw new WritError('ERR_FORBIDDEN', `a chain has at most ${CHAIN_MOST} parties, and nobody twice`)
    }
    return chain
  }

  async #ancestors(parent: string | undefined): Promise<readonly string[]> {
    const ids: string[] = []
    for (let next = parent; next !== undefined;) {
      const task = await this.#find(next)
      if (task === undefined) throw notFound(next)
      ids.push(next)
      if (ids.length >= MAX_TASK_DEPTH) {
        throw new WritError('ERR_TOO_LARGE', `tasks nest at most ${MAX_TASK_DEPTH} deep`)
      }
      next = task.parent
    }
    return ids
  }
}

/** A task is its subject's, its declarer's, and its caller's. */
export function mine(caller: Caller, task: Task): boolean {
  return (
    caller.id === task.caller ||
    sameRef(caller.subject, task.subject) ||
    sameRef(caller.subject, task.declaredBy)
  )
}

const notFound = (id: string): WritError => new WritError('ERR_NOT_FOUND', `there is no task \`${id}\``)

/** The window of a calendar's event: as it is known now, or none. @throws {WritError} `ERR_CONFLICT` */
function eventWindow(name: string, fact: Fact | undefined, now: Instant): Window {
  if (fact === undefined || !isFresh(fact, now)) {
    throw new WritError('ERR_CONFLICT', `what calendar \`${name}\` says is not known just now`, {
      hint: 'check its name; an operator sees in the log of the server why it cannot be read',
    })
  }
  const window = windowFrom(name, fact, now)
  if (window === undefined) {
    throw new WritError('ERR_CONFLICT', `calendar \`${name}\` has no event, now or within its horizon`, {
      hint: 'have the change entered into the calendar first',
    })
  }
  // an event without end in sight (a season) is a window of as long as one may be
  return { ...window, endsAt: Math.min(window.endsAt, Math.max(now, window.startsAt) + MAX_WINDOW) }
}
