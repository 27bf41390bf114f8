/**
 * A grant held for as long as a piece of work lasts: kept alive by heartbeats, given back on leaving scope.
 *
 * @module
 */
import type { Permit } from './decision.ts'
import { toMillis } from './duration.ts'
import type { Duration } from './duration.ts'
import { WritClientError, isWritClientError } from './error.ts'
import type { EventOptions } from './events.ts'
import { sleep } from './http.ts'
import type {
  Credential,
  Grant,
  LogHead,
  Narrowing,
  SecretMaterial,
  Task,
  TaskState,
  WritEvent,
} from './types.ts'

/** What the lease needs of the client that made it. */
export type LeaseParts = Readonly<{
  decision: Permit
  grant: Grant
  task: Task | undefined
  /** The lease declared the task and therefore ends it. */
  ownsTask: boolean
  tasks: Readonly<{
    get: (id: string) => Promise<TaskState>
    heartbeat: (id: string, options?: { timeout?: number }) => Promise<Task>
    end: (id: string, status: 'completed' | 'failed' | 'cancelled', reason?: string) => Promise<TaskState>
  }>
  grants: Readonly<{
    get: (id: string) => Promise<Readonly<{ grant: Grant; credentials: readonly Credential[] }>>
    revoke: (id: string, reason: string) => Promise<Narrowing>
  }>
  issue: (
    grant: string,
    target?: string,
  ) => Promise<Readonly<{ credential: Credential; secret: SecretMaterial }>>
  log: Readonly<{ head: () => Promise<LogHead> }>
  events: (options: EventOptions) => AsyncIterable<WritEvent>
  now: () => number
}>

/** What is left of a lease that was given back. */
export type Ending = Readonly<{
  /** Every credential under it was verified absent. */
  clean: boolean
  credentials: readonly Credential[]
  task?: Task
}>

const live: ReadonlySet<string> = new Set(['declared', 'open'])

export class Lease {
  readonly decision: Permit
  readonly grant: Grant
  readonly task: Task | undefined
  readonly #parts: LeaseParts
  readonly #lost = new AbortController()
  readonly #stop = new AbortController()
  #ended: Promise<Ending> | undefined

  constructor(parts: LeaseParts) {
    this.#parts = parts
    this.decision = parts.decision
    this.grant = parts.grant
    this.task = parts.task
    if (parts.task) void this.#beat(parts.task)
    this.#watchEnd()
  }

  /** Aborts when the authority is gone before it was given back; its reason is a `WritClientError` that says why. */
  get signal(): AbortSignal {
    return this.#lost.signal
  }

  /**
   * Has `signal` abort when the authority ends, and not with the next heartbeat. This holds a connection, which keeps the
   * process alive until the lease ends.
   */
  follow(): void {
    void this.#follow()
  }

  /**
   * A credential under the grant; the secret is in this answer and nowhere else.
   *
   * @throws {WritClientError} `ERR_FORBIDDEN` when the issue itself is denied.
   */
  credential(target?: string): Promise<Readonly<{ credential: Credential; secret: SecretMaterial }>> {
    return this.#parts.issue(this.grant.id, target)
  }

  /** Gives the authority back: ends the task it declared, else revokes the grant. Ends once. */
  end(status: 'completed' | 'failed' | 'cancelled' = 'completed', reason?: string): Promise<Ending> {
    this.#ended ??= this.#giveBack(status, reason)
    return this.#ended
  }

  fail(reason: string): Promise<Ending> {
    return this.end('failed', reason)
  }

  /** Waits until everything is verified gone, at most `timeout`; call after `end`. */
  async clean(timeout: Duration = '10s'): Promise<Ending> {
    const until = this.#parts.now() + toMillis(timeout)
    for (let tries = 0; ; tries++) {
      const ending = await this.#state()
      if (ending.clean || this.#parts.now() >= until) return ending
      await sleep(Math.min(50 * 1.6 ** Math.min(tries, 8), 1_000))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end()
  }

  async #giveBack(status: 'completed' | 'failed' | 'cancelled', reason: string | undefined): Promise<Ending> {
    this.#stop.abort()
    const { task, grant } = this
    if (task && this.#parts.ownsTask) {
      try {
        return fromTask(await this.#parts.tasks.end(task.id, status, reason))
      } catch (error) {
        // ended by somebody else in the meantime: what is left is to see that it is clean
        if (!isWritClientError(error, 'ERR_CONFLICT')) throw error
        return this.#state()
      }
    }
    const narrowed = await this.#parts.grants.revoke(grant.id, reason ?? status)
    const { credentials } = narrowed
    return { clean: credentials.every(isAbsent), credentials, ...(task === undefined ? {} : { task }) }
  }

  async #state(): Promise<Ending> {
    const { task, grant } = this
    if (task && this.#parts.ownsTask) return fromTask(await this.#parts.tasks.get(task.id))
    const { credentials, grant: now } = await this.#parts.grants.get(grant.id)
    return { clean: now.state !== 'active' && credentials.every(isAbsent), credentials }
  }

  /**
   * Three beats per heartbeat, each of which also looks after the grant. A refused one means that the task is over; when
   * none arrived for a whole heartbeat the server has ended it, whether it can be asked or not.
   */
  async #beat(task: Task): Promise<void> {
    const heartbeat = toMillis(task.heartbeat)
    const every = Math.max(100, Math.min(heartbeat / 3, 5_000))
    let heardAt = this.#parts.now()
    while (!this.#stop.signal.aborted) {
      if (!(await pause(every, this.#stop.signal))) return
      const sentAt = this.#parts.now()
      try {
        const beaten = await this.#parts.tasks.heartbeat(task.id, { timeout: Math.max(250, heartbeat) })
        heardAt = sentAt
        if (!live.has(beaten.state))
          return this.#lose(`the task ended: ${beaten.ending?.reason ?? beaten.state}`)
        const ended = await this.#endOfGrant()
        if (ended !== undefined) return this.#lose(`the grant ended: ${ended}`)
      } catch (error) {
        const passing = isWritClientError(
          error,
          'ERR_UNREACHABLE',
          'ERR_TIMEOUT',
          'ERR_INTERNAL',
          'ERR_RATE_LIMITED',
        )
        if (!passing) return this.#lose(await this.#whyRefused(task.id, error))
        if (this.#parts.now() - heardAt >= heartbeat) {
          return this.#lose(`no heartbeat reached the server for ${task.heartbeat}`)
        }
      }
    }
  }

  /** Looks whenever the server says that the grant or its task ended. */
  async #follow(): Promise<void> {
    const { events, log, grants, tasks } = this.#parts
    const signal = this.#stop.signal
    const ends: Readonly<Record<string, string | undefined>> = {
      'grant.ended': this.grant.id,
      'task.ended': this.task?.id,
    }
    try {
      const { size } = await log.head()
      // what ended before that is not told any more
      const { grant } = await grants.get(this.grant.id)
      if (grant.state !== 'active') return this.#lose(`the grant ended: ${whyEnded(grant)}`)
      for await (const { kind, refs } of events({ after: size - 1, signal })) {
        const id = ends[kind]
        if (id === undefined || !refs.includes(id)) continue
        if (kind === 'grant.ended') {
          const ended = await this.#endOfGrant()
          if (ended !== undefined) return this.#lose(`the grant ended: ${ended}`)
        } else {
          const { task } = await tasks.get(id)
          return this.#lose(`the task ended: ${task.ending?.reason ?? task.state}`)
        }
      }
    } catch (error) {
      // then the heartbeats tell, a little later
      if (!(error instanceof WritClientError)) throw error
    }
  }

  /** Why the grant is over although its task goes on: a fact that it was given on changed, say. */
  async #endOfGrant(): Promise<string | undefined> {
    try {
      const { grant } = await this.#parts.grants.get(this.grant.id)
      return grant.state === 'active' ? undefined : whyEnded(grant)
    } catch (error) {
      // it is asked again with the next beat
      if (!(error instanceof WritClientError)) throw error
      return undefined
    }
  }

  /** A refusal says little: the task itself says how it ended, if it may still be seen. */
  async #whyRefused(id: string, error: unknown): Promise<string> {
    try {
      const { task } = await this.#parts.tasks.get(id)
      if (!live.has(task.state)) return `the task ended: ${task.ending?.reason ?? task.state}`
    } catch (unseen) {
      if (!(unseen instanceof WritClientError)) throw unseen
    }
    return `the heartbeat was refused: ${error instanceof Error ? error.message : String(error)}`
  }

  #watchEnd(): void {
    const left = Date.parse(this.grant.ends_at) - this.#parts.now()
    // a clock that is off by more than the grant's life says nothing; the heartbeat then tells
    if (!Number.isFinite(left) || left <= 0) return
    void pause(left, this.#stop.signal).then((ended) => {
      if (ended) this.#lose('the grant has reached its end')
    })
  }

  #lose(why: string): void {
    if (this.#stop.signal.aborted) return
    this.#stop.abort()
    this.#lost.abort(new WritClientError('ERR_LEASE_LOST', why))
  }
}

/** Whether the whole time passed; false when `signal` aborted first. Keeps no process alive. */
function pause(millis: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    // longer than 24 days would overflow into no time at all
    const timer: unknown = setTimeout(done, Math.min(millis, 2 ** 31 - 1), true)
    const aborted = (): void => done(false)
    function done(whole: boolean): void {
      clearTimeout(timer as number)
      signal.removeEventListener('abort', aborted)
      resolve(whole)
    }
    // browsers have numbers, which keep nothing alive
    ;(timer as { unref?: () => void }).unref?.()
    if (signal.aborted) done(false)
    else signal.addEventListener('abort', aborted, { once: true })
  })
}

const whyEnded = ({ reason, end, state }: Grant): string => reason ?? end ?? state

const isAbsent = (credential: Credential): boolean => credential.state === 'absent'

function fromTask(state: TaskState): Ending {
  return { clean: state.clean, credentials: state.credentials, task: state.task }
}
