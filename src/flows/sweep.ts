/**
 * The sweeper: what ends by itself ends on time, what is owed is tried again, what nobody asked for is removed.
 *
 * @module
 */
import type { Credential } from '../model/credential.ts'
import { credentialRevoking } from '../model/credential.ts'
import type { Grant } from '../model/grant.ts'
import type { Kind } from '../model/records.ts'
import { isLive } from '../model/task.ts'
import type { Instant, Millis } from '../model/time.ts'
import { HOUR } from '../model/time.ts'
import { REPLAY_FOR } from '../decision/decide.ts'
import type { Callbacks } from './callbacks.ts'
import type { Delegations } from './delegations.ts'
import type { FlowDeps } from './deps.ts'
import type { Grants } from './grants.ts'
import type { Locks } from './locks.ts'
import type { Narrower } from './narrow.ts'
import type { Reacting } from './reacting.ts'
import type { Requests } from './requests.ts'
import type { Retention } from './retention.ts'
import type { DueKind } from './schedule.ts'
import { dueAt } from './schedule.ts'
import type { TakeBack } from './takeback.ts'
import type { Tasks } from './tasks.ts'
import type { Passkeys } from './passkeys.ts'
import type { Tokens } from './tokens.ts'

/** The longest nap: a wall clock that jumps forward is noticed within it. */
const NAP: Millis = 250

/** How often targets are searched for what has no row. */
const RECONCILE_EVERY: Millis = 60_000

/** How often answers kept for retries are looked through, and how long those to submissions are kept (ARAP: a day more). */
const TIDY_EVERY: Millis = 60_000
const SUBMISSION_KEPT: Millis = 25 * HOUR

/** Items handled before other work gets a turn. */
const AT_ONCE = 64

export class Sweeper {
  readonly #deps: FlowDeps
  readonly #parts: Readonly<{
    tasks: Tasks
    requests: Requests
    grants: Grants
    narrower: Narrower
    reacting: Reacting
    takeBack: TakeBack
    callbacks: Callbacks
    tokens: Tokens
    passkeys: Passkeys
    delegations: Delegations
    locks: Locks
    retention?: Retention | undefined
  }>
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  #reconciledAt = -Infinity
  readonly #reconciling = new Map<string, Promise<void>>()
  #tidiedAt = 0
  #stopped = false

  constructor(
    deps: FlowDeps,
    parts: Readonly<{
      tasks: Tasks
      requests: Requests
      grants: Grants
      narrower: Narrower
      reacting: Reacting
      takeBack: TakeBack
      callbacks: Callbacks
      tokens: Tokens
      passkeys: Passkeys
      delegations: Delegations
      locks: Locks
      retention?: Retention | undefined
    }>,
  ) {
    this.#deps = deps
    this.#parts = parts
  }

  /**
   * After a start: everything live is scheduled again, and credentials whose secret nobody can have received (planned,
   * never live) are taken back.
   */
  async recover(): Promise<void> {
    const { store, schedule, watch } = this.#deps
    const live = [
      ['task', 'task.live', 'live'],
      ['grant', 'grant.state', 'active'],
      ['request', 'request.pending', 'pending'],
      ['request', 'request.callback', 'owed'],
      ['credential', 'credential.open', 'open'],
    ] as const
    const lost: string[] = []
    for (const [kind, index, value] of live) {
      let after: string | undefined
      do {
        const page = await store.list(kind, {
          index,
          value,
          limit: 1_000,
          ...(after === undefined ? {} : { after }),
        })
        for (const stored of page.items) {
          schedule.set(kind, stored.id, dueAt(kind as Kind, stored.value))
          if (kind === 'credential' && 'state' in stored.value && stored.value.state === 'planned')
            lost.push(stored.id)
          if (kind === 'grant') watch.note(stored.value as Grant)
          if (kind === 'credential') watch.noteCredential(stored.value as Credential)
        }
        after = page.next
      } while (after !== undefined)
    }
    for (const id of lost) {
      await store.commit({
        reads: [{ kind: 'credential', id }],
        narrowing: true,
        run: (tx) => {
          const credential = tx.get('credential', id)?.value
          if (credential?.state !== 'planned') return
          tx.put('credential', id, credentialRevoking(credential, tx.now))
          tx.append({
            kind: 'credential.abandoned',
            refs: [id, credential.grant],
            credential: id,
            why: 'the server stopped while it was issued',
          })
        },
      })
    }
  }

  start(): void {
    this.#nap()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#running
    await this.#parts.locks.idle()
    await this.#parts.reacting.stop()
    await this.#parts.takeBack.stop()
    await this.#parts.callbacks.stop()
    await this.#parts.retention?.stop()
  }

  /** Handles everything that is due now. One sweep runs at a time; a call during one joins it and sweeps once more. */
  async sweep(): Promise<void> {
    await this.#running
    this.#running = this.#sweep().finally(() => {
      this.#running = undefined
    })
    await this.#running
  }

  async #sweep(): Promise<void> {
    const { store, schedule } = this.#deps
    await this.#parts.narrower.retry()
    this.#parts.reacting.retry()
    this.#parts.locks.retry()
    for (;;) {
      const { now } = await store.read([])
      const due = schedule.take(now, AT_ONCE)
      if (due.length === 0) break
      // together, so that many that end at once share their commits
      const handling = due.map(({ kind, id }) =>
        this.#handle(kind, id).catch((error: unknown) => {
          this.#deps.log('error', 'something that is due could not be handled and is tried again', {
            kind,
            id,
            error,
          })
          schedule.set(kind, id, now + NAP)
        }),
      )
      await Promise.all(handling)
      if (due.some(({ at }) => at > now)) break
    }
    this.#parts.retention?.start()
    const { now } = await store.read([])
    if (now - this.#tidiedAt >= TIDY_EVERY) {
      this.#tidiedAt = now
      await this.#tidy(now)
      await this.#parts.tokens.tidy(now)
      await this.#parts.delegations.tidy(now)
    }
    if (now - this.#reconciledAt >= RECONCILE_EVERY) {
      this.#reconciledAt = now
      for (const target of this.#deps.targets.all()) this.#startReconcile(target.id)
    }
  }

  /** Forgets answers that were kept for retries and are too old for one. */
  async #tidy(now: Instant): Promise<void> {
    const { store } = this.#deps
    let after: string | undefined
    do {
      const page = await store.list('replay', { limit: 500, ...(after === undefined ? {} : { after }) })
      const old = page.items.filter(
        ({ value }) =>
          now >= (value.until ?? value.at + (value.kind === 'attempt' ? REPLAY_FOR : SUBMISSION_KEPT)),
      )
      if (old.length > 0) {
        await store.commit({
          reads: old.map(({ id }) => ({ kind: 'replay', id })),
          run: (tx) =>
            old.forEach(
              ({ id, version }) => tx.get('replay', id)?.version === version && tx.delete('replay', id),
            ),
        })
      }
      after = page.next
    } while (after !== undefined)
  }

  /** Resolves when no target is being searched. */
  async reconciled(): Promise<void> {
    await Promise.all(this.#reconciling.values())
  }

  /** One search of a target at a time; none waits for another target. */
  #startReconcile(id: string): void {
    if (this.#reconciling.has(id)) return
    const search = this.#reconcile(id).finally(() => this.#reconciling.delete(id))
    this.#reconciling.set(id, search)
  }

  async #reconcile(id: string): Promise<void> {
    const target = this.#deps.targets.get(id)
    if (target === undefined) return
    try {
      const orphans = await this.#parts.grants.reconcile(target)
      if (orphans.length > 0) this.#deps.log('warn', 'removed what had no row', { target: id, orphans })
    } catch (error) {
      this.#deps.log('warn', 'a target could not be searched for orphans and is searched again', {
        target: id,
        error,
      })
    }
  }

  async #handle(kind: DueKind, id: string): Promise<void> {
    const view = await this.#deps.store.read([{ kind, id }])
    if (kind === 'task') {
      const task = view.get('task', id)?.value
      if (task === undefined || (task.state !== 'declared' && task.state !== 'open')) return
      if (isLive(task, view.now)) {
        this.#deps.schedule.set('task', id, dueAt('task', task))
        return
      }
      const reason =
        task.state === 'declared'
          ? 'nothing happened in time'
          : view.now >= (task.endsAt ?? 0)
            ? 'its deadline passed'
            : 'its heartbeat lapsed'
      await this.#parts.tasks.endBelow(id, 'timed-out', { reason, by: 'writ' })
    } else if (kind === 'grant') {
      const grant = view.get('grant', id)?.value
      if (grant?.state !== 'active') return
      if (view.now < grant.endsAt) {
        const { reviewAt = Infinity, endsAt } = grant
        if (view.now >= reviewAt) this.#deps.watch.again(id, 'time has passed')
        this.#deps.schedule.set('grant', id, view.now < reviewAt ? Math.min(reviewAt, endsAt) : endsAt)
      } else {
        const cause = { end: 'expired', reason: 'its time is over', by: 'writ' } as const
        await this.#parts.reacting.end(id, cause)
      }
    } else if (kind === 'request') {
      const request = view.get('request', id)?.value
      if (request?.status === 'pending') await this.#parts.requests.expire(id)
      else this.#parts.callbacks.start(id)
    } else {
      this.#parts.takeBack.start(id)
    }
  }

  #nap(): void {
    if (this.#stopped) return
    this.#timer = setTimeout(() => {
      this.sweep()
        .catch((error: unknown) => this.#deps.log('error', 'a sweep failed and is tried again', { error }))
        .finally(() => this.#nap())
    }, NAP)
    this.#timer.unref()
  }
}
