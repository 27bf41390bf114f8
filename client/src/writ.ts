/**
 * `createWrit`: the client of one Writ server.
 *
 * @module
 */
import type { AccessState, AccessTask, ApprovalReference, WaitOptions } from './access.ts'
import { cancelAccess, getAccess, submitAccess, waitForAccess } from './access.ts'
import type { Authority } from './authority.ts'
import type {
  Attempt,
  AttemptInput,
  Challenge,
  Decision,
  Deny,
  Permit,
  ReadDecision,
  RequestHandle,
  RequestOptions,
} from './decision.ts'
import { readDecision, readOutcome, toAttempt, toRef } from './decision.ts'
import type { Duration } from './duration.ts'
import { toMillis, toWire } from './duration.ts'
import { WritClientError, isWritClientError } from './error.ts'
import type { EventOptions } from './events.ts'
import { followEvents } from './events.ts'
import type { Answer, Call, TransportOptions } from './http.ts'
import { Transport, sleep } from './http.ts'
import { Lease } from './lease.ts'
import type { ActionSearch, ResourceSearch, SearchPage, SubjectSearch } from './search.ts'
import { ofType, readAction, readEntity, readPage, toSearch } from './search.ts'
import type { ClientProof, ExchangeInput, ServerMetadata, TokenAnswer } from './token.ts'
import type { DpopKey } from './token-proof.ts'
import { SIGN_IN, askToken, exchangeParameters, readMetadata, readToken, revokeToken } from './token.ts'
import type { Checkpoint, KeyRotated, KeyRotation, LogKeys, LogOptions } from './log.ts'
import { LogMemory } from './log.ts'
import type {
  AccessRequest,
  Account,
  ActionFlag,
  ActionReport,
  Credential,
  Delegation,
  Fact,
  FactInput,
  LiveContext,
  Lock,
  LockInput,
  SignalStream,
  Locked,
  Lockable,
  DelegationInput,
  Entity,
  EntityInput,
  Finding,
  Grant,
  Health,
  Invitation,
  ExplainedDecision,
  JoinedRecord,
  Json,
  EpochState,
  Passkey,
  Key,
  KeyInput,
  LogEntry,
  LogQuery,
  PrunedLogEntry,
  LogHead,
  LogWitness,
  Me,
  Narrowing,
  Page,
  PolicySource,
  PolicyReplay,
  PolicyVersion,
  ReplayReport,
  RecordedAction,
  Ref,
  ReportedAction,
  SecretMaterial,
  Session,
  Subject,
  Target,
  TargetInput,
  Task,
  TaskDeclaration,
  TaskState,
  WritEvent,
} from './types.ts'

export type WritOptions = Readonly<{
  /** By default the variable `WRIT_URL`, else `http://127.0.0.1:9748`. */
  url?: string | undefined
  /**
   * By default the variable `WRIT_TOKEN`. A function is asked before every request, and once more with a token that the
   * server refused: another one is then tried.
   */
  token?: string | TransportOptions['token'] | undefined
  fetch?: typeof fetch | undefined
  /** For one try of a request; 10 s by default. */
  timeout?: Duration | undefined
  /** How often a request that cannot act twice is tried again; 3 by default. */
  retries?: number | undefined
  /** Named in the server's log beside the client's own name. */
  userAgent?: string | undefined
  /**
   * Which key signs the log, and where the newest checkpoint is remembered: reads of the record are refused when the
   * log contradicts it. `false` gives that up.
   */
  log?: LogOptions | false | undefined
  random?: (() => number) | undefined
  now?: (() => number) | undefined
  sleep?: ((millis: number, signal?: AbortSignal) => Promise<void>) | undefined
}>

export type PageQuery = Readonly<{ cursor?: string | undefined; limit?: number | undefined }>
type CallOptions = Readonly<{ idempotencyKey?: string | undefined; signal?: AbortSignal | undefined }>

/** What `acquire` is told about while it waits. */
export type Progress =
  | Readonly<{ step: 'declared'; task: Task }>
  | Readonly<{ step: 'challenged'; challenge: Challenge }>
  | Readonly<{ step: 'requested'; state: AccessState }>
  | Readonly<{ step: 'waiting'; state: AccessState }>
  | Readonly<{ step: 'unreachable'; error: WritClientError }>
  | Readonly<{ step: 'granted'; grant: Grant }>

export type AcquireOptions = AttemptInput &
  Readonly<{
    /** An existing task, or the declaration of one that ends with the lease. By default one for just this attempt. */
    task?: string | (Partial<TaskDeclaration> & Readonly<{ purpose: string }>) | undefined
    /** The delegation that it is done under. */
    delegation?: string | undefined
    reason?: string | undefined
    /** How long the grant is wanted. */
    ttl?: Duration | undefined
    /** How long to wait for approval: `true` as long as the request lives; by default not at all. */
    wait?: boolean | Duration | undefined
    signal?: AbortSignal | undefined
    onProgress?: ((progress: Progress) => void) | undefined
  }>

/** No grant was had; `decision` says why, and holds the access request if one is still waiting. */
export class NotPermitted extends WritClientError {
  readonly decision: Deny | Challenge
  readonly task: Task | undefined

  constructor(decision: Deny | Challenge, task: Task | undefined) {
    const pending = decision.reason === 'grant_pending'
    super(pending ? 'ERR_NOT_APPROVED' : 'ERR_DENIED', sentence(decision))
    this.decision = decision
    this.task = task
  }
}

function sentence(decision: Deny | Challenge): string {
  if (decision.outcome === 'challenge') return 'not permitted: evidence is missing'
  const { request } = decision
  if (decision.reason === 'grant_pending' && request)
    return `access request ${request.id} was not approved in time`
  if (request) return `access request ${request.id} is ${request.status}`
  return `denied: ${decision.reason}`
}

/** The client. It keeps nothing on disk; every method names the error codes of the server in what it throws. */
export type Writ = ReturnType<typeof createWrit>

/** A client of the server at `options.url`. */
export function createWrit(options: WritOptions = {}) {
  const env = environment()
  const { token } = options
  const now = options.now ?? Date.now
  const transport = new Transport({
    url: options.url ?? env['WRIT_URL'] ?? 'http://127.0.0.1:9748',
    token: typeof token === 'function' ? token : () => token ?? env['WRIT_TOKEN'],
    fetch: options.fetch ?? ((input, init) => fetch(input, init)),
    timeout: toMillis(options.timeout ?? '10s'),
    retries: options.retries ?? 3,
    userAgent: options.userAgent === undefined ? 'writ-client' : `writ-client ${options.userAgent}`,
    random: options.random ?? Math.random,
    sleep: options.sleep ?? sleep,
  })

  const memory = options.log === false ? undefined : new LogMemory(transport, options.log ?? {}, now)
  const send = async <T>(call: Call): Promise<T> => (await transport.call(call)).body as T
  const get = <T>(path: string, query?: Call['query']): Promise<T> =>
    send<T>({ method: 'GET', path, ...(query === undefined ? {} : { query }) })
  /** A read of the record: refused when the log contradicts what was seen of it before. */
  const recorded = async <T>(path: string, query?: Call['query']): Promise<T> => {
    await memory?.check()
    return get<T>(path, query)
  }
  const post = <T>(path: string, body: unknown, more: CallOptions = {}): Promise<T> =>
    send<T>({ method: 'POST', path, body, ...more })
  const segment = encodeURIComponent

  let self: Promise<Subject> | undefined
  /** Whom the token speaks for; asked once. */
  const whoami = (): Promise<Subject> => {
    self ??= me().then((answer) => toRef(answer.subject))
    // a failed question is asked again
    self.catch(() => (self = undefined))
    return self
  }
  const complete = async (input: AttemptInput): Promise<Attempt> =>
    toAttempt(input, input.subject === undefined ? await whoami() : toRef(input.subject))

  const me = (): Promise<Me> => get<Me>('/v1/me')

  /** A read decision with its hands: a challenge that can be requested. */
  const arm = (
    read: ReadDecision,
    attempt: Attempt,
    again: (approval: ApprovalReference) => Promise<Decision>,
  ): Decision => {
    if (read.outcome !== 'challenge') return read
    const receivedAt = now()
    return { ...read, request: (how = {}) => request(read, attempt, how, receivedAt, again) }
  }

  const request = (
    challenge: Omit<Challenge, 'request'>,
    attempt: Attempt,
    how: RequestOptions,
    receivedAt: number,
    again: (approval: ApprovalReference) => Promise<Decision>,
  ): RequestHandle => {
    const key = how.idempotencyKey ?? crypto.randomUUID()
    const body = submission(challenge, attempt, how, now() - receivedAt, now)
    const first = submitAccess(transport, body, { idempotencyKey: key })
    // whoever holds the handle hears of a failure when asking; nobody may ask
    first.catch(() => undefined)
    return {
      submitted: async () => (await first).task,
      cancel: async (reason) => (await cancelAccess(transport, (await first).task.id, reason)).task,
      settled: async (wait = {}) => {
        const state = await waitForAccess(transport, await first, { ...wait, now })
        return state.approval === undefined ? notApproved(state) : await again(state.approval)
      },
    }
  }

  const evaluate = async (input: AttemptInput, how: CallOptions = {}): Promise<Decision> => {
    const attempt = await complete(input)
    const body = await post('/access/v1/evaluation', attempt, how)
    return arm(readDecision(body), attempt, (approval) => evaluate(withApproval(attempt, approval)))
  }

  /** Several attempts at once, in order. An item that cannot be requested says no more than permit or deny. */
  const evaluations = async (
    inputs: readonly AttemptInput[],
    how: CallOptions & { semantics?: 'execute_all' | 'deny_on_first_deny' | 'permit_on_first_permit' } = {},
  ): Promise<Decision[]> => {
    const { semantics, ...more } = how
    const attempts = await Promise.all(inputs.map(complete))
    const body = await post<{ evaluations?: unknown }>(
      '/access/v1/evaluations',
      {
        evaluations: attempts,
        ...(semantics === undefined ? {} : { options: { evaluations_semantic: semantics } }),
      },
      more,
    )
    const items: unknown = body.evaluations
    if (!Array.isArray(items) || items.length > attempts.length) {
      throw new WritClientError('ERR_PROTOCOL', 'the answer holds no list of decisions')
    }
    return items.map((item, at) => {
      const attempt = attempts[at] as Attempt
      return arm(readDecision(item), attempt, (approval) => evaluate(withApproval(attempt, approval)))
    })
  }

  /** What would happen. It consumes nothing and authorises nothing: act on `evaluate` alone. */
  const ask = async (input: AttemptInput): Promise<ReadDecision> =>
    readOutcome(await post('/v1/questions', await complete(input)))

  /** What would be permitted now, page by page. It authorises nothing: act on `evaluate` alone. */
  const search = {
    /** Which subjects of a type may do this, as far as the token speaks for them. */
    subjects: async ({ subject, action, resource, ...how }: SubjectSearch): Promise<SearchPage<Ref>> =>
      readPage(
        await post(
          '/access/v1/search/subject',
          toSearch({ subject: ofType(subject), action, resource: toRef(resource) }, how),
          { signal: how.signal },
        ),
        readEntity,
      ),
    /** On which resources of a type the subject may do this. */
    resources: async ({ subject, action, resource, ...how }: ResourceSearch): Promise<SearchPage<Ref>> => {
      const who = subject === undefined ? await whoami() : toRef(subject)
      const body = toSearch({ subject: who, action, resource: ofType(resource) }, how)
      return readPage(await post('/access/v1/search/resource', body, { signal: how.signal }), readEntity)
    },
    /** What the subject may do on the resource. */
    actions: async ({ subject, resource, ...how }: ActionSearch): Promise<SearchPage<string>> => {
      const who = subject === undefined ? await whoami() : toRef(subject)
      const body = toSearch({ subject: who, resource: toRef(resource) }, how)
      return readPage(await post('/access/v1/search/action', body, { signal: how.signal }), readAction)
    },
  }

  const tasks = {
    declare: (declaration: TaskDeclaration, how: CallOptions = {}): Promise<Task> =>
      post<Task>('/v1/tasks', declaration, how),
    get: (id: string, how: { record?: boolean } = {}): Promise<TaskState> =>
      get<TaskState>(`/v1/tasks/${segment(id)}`, how),
    list: (query: PageQuery & { live?: boolean | undefined } = {}): Promise<Page<Task>> =>
      get<Page<Task>>('/v1/tasks', query),
    heartbeat: (id: string, how: { timeout?: number } = {}): Promise<Task> =>
      send<Task>({ method: 'POST', path: `/v1/tasks/${segment(id)}/heartbeat`, body: {}, ...how }),
    end: (id: string, status: 'completed' | 'failed' | 'cancelled', reason?: string): Promise<TaskState> =>
      post<TaskState>(`/v1/tasks/${segment(id)}/end`, {
        status,
        ...(reason === undefined ? {} : { reason }),
      }),
    revoke: (id: string, reason: string): Promise<Narrowing> =>
      post<Narrowing>(`/v1/tasks/${segment(id)}/revoke`, { reason }),
  }

  /** An attempt that, permitted, becomes a grant without spending a use. */
  const activate = async (
    input: AttemptInput,
    how: CallOptions = {},
  ): Promise<Readonly<{ decision: Decision; grant?: Grant }>> => {
    const attempt = await complete(input)
    const body = await post<{ decision?: unknown; grant?: Grant }>('/v1/grants', attempt, how)
    const read = readOutcome(body.decision)
    if (read.outcome === 'permit' && body.grant === undefined) {
      throw new WritClientError('ERR_PROTOCOL', 'the answer permits without a grant')
    }
    const decision = arm(
      read,
      attempt,
      async (approval) => (await activate(withApproval(attempt, approval))).decision,
    )
    return { decision, ...(decision.outcome === 'permit' && body.grant ? { grant: body.grant } : {}) }
  }

  const grants = {
    activate,
    get: (id: string, how: { record?: boolean } = {}) =>
      get<Readonly<{ grant: Grant; credentials: readonly Credential[]; record?: JoinedRecord }>>(
        `/v1/grants/${segment(id)}`,
        how,
      ),
    list: (
      query: PageQuery & { task?: string | undefined; live?: boolean | undefined } = {},
    ): Promise<Page<Grant>> => get<Page<Grant>>('/v1/grants', query),
    revoke: (id: string, reason: string): Promise<Narrowing> =>
      post<Narrowing>(`/v1/grants/${segment(id)}/revoke`, { reason }),
  }

  const credentials = {
    /**
     * Issues a credential; the secret is in this answer and nowhere else, so an answer that was lost is never
     * asked for again: what was issued ends with its grant.
     *
     * @throws {NotPermitted} when the issue is denied.
     */
    issue: async (
      grant: string,
      target?: string,
    ): Promise<Readonly<{ credential: Credential; secret: SecretMaterial }>> => {
      const body = await send<{ decision?: unknown; credential?: Credential; secret?: SecretMaterial }>({
        method: 'POST',
        path: '/v1/credentials',
        body: { grant, ...(target === undefined ? {} : { target }) },
        retry: 'unsent',
        timeout: Math.max(transport.options.timeout, 30_000),
      })
      const read = readOutcome(body.decision)
      if (read.outcome !== 'permit') {
        throw new NotPermitted(read.outcome === 'deny' ? read : asDeny(read), undefined)
      }
      if (body.credential === undefined || typeof body.secret?.env !== 'object') {
        throw new WritClientError('ERR_PROTOCOL', 'the answer permits without a credential')
      }
      return { credential: body.credential, secret: body.secret }
    },
    list: (query: PageQuery & { open?: boolean | undefined } = {}): Promise<Page<Credential>> =>
      get<Page<Credential>>('/v1/credentials', query),
  }

  const actions = {
    /**
     * What was done; all of it is on the record when this returns, or nothing. Sent again with the same ids it is one
     * entry each. With `observed` a collector tells what the log of a target says.
     */
    report: async (
      items: readonly ActionReport[],
      how: Readonly<{ observed?: string; timeout?: number; signal?: AbortSignal }> = {},
    ): Promise<readonly ReportedAction[]> => {
      const { observed, ...more } = how
      const body = { items, ...(observed === undefined ? {} : { observed: true, target: observed }) }
      return (
        await send<{ items: readonly ReportedAction[] }>({
          method: 'POST',
          path: '/v1/actions',
          body,
          ...more,
        })
      ).items
    },
    /** Newest first; exactly one of `grant`, `credential`, `task` and `subject`. */
    list: (
      query: Readonly<{
        grant?: string
        credential?: string
        task?: string
        subject?: string
        before?: number
        limit?: number
      }>,
    ): Promise<Page<RecordedAction>> => recorded<Page<RecordedAction>>('/v1/actions', query),
    /** Says why something was done that no grant covers. */
    resolve: (flag: string, reason: string): Promise<ActionFlag> =>
      post<ActionFlag>(`/v1/actions/flags/${segment(flag)}/resolve`, { reason }),
  }

  const requests = {
    get: (id: string): Promise<AccessRequest> => get<AccessRequest>(`/v1/requests/${segment(id)}`),
    list: (query: PageQuery & { pending?: boolean | undefined } = {}): Promise<Page<AccessRequest>> =>
      get<Page<AccessRequest>>('/v1/requests', query),
    /** The state of a request that may have been made elsewhere, once it has settled. */
    wait: async (id: string, wait: WaitOptions = {}): Promise<AccessState> =>
      waitForAccess(transport, await getAccess(transport, id, wait.signal), { ...wait, now }),
    cancel: async (id: string, reason?: string): Promise<AccessTask> =>
      (await cancelAccess(transport, id, reason)).task,
    /** `statement` is the digest of what the approver was shown. */
    approve: (
      id: string,
      statement: string,
      how: { pool?: string; comment?: string } = {},
    ): Promise<AccessRequest> =>
      post<AccessRequest>(`/v1/requests/${segment(id)}/approve`, { statement, ...how }),
    deny: (id: string, statement: string, reason?: string): Promise<AccessRequest> =>
      post<AccessRequest>(`/v1/requests/${segment(id)}/deny`, {
        statement,
        ...(reason === undefined ? {} : { reason }),
      }),
  }

  /**
   * Authority for one piece of work: declares its task, gets the grant, waiting for approval if asked to, and keeps
   * it alive. `await using lease = await writ.acquire(…)` gives it back on leaving scope.
   *
   * @throws {NotPermitted} when there is no grant to be had; then the task it declared is cancelled, unless an access
   * request is still waiting under it.
   */
  const acquire = async (input: AcquireOptions): Promise<Lease> => {
    const { onProgress, signal } = input
    const subject = input.subject === undefined ? await whoami() : toRef(input.subject)
    const { subject: _subject, ...rest } = toAttempt(input, subject)
    const ownsTask = typeof input.task !== 'string'
    const task =
      typeof input.task === 'string'
        ? (await tasks.get(input.task)).task
        : await tasks.declare(declaration(input, subject, rest), { signal })
    onProgress?.({ step: 'declared', task })
    const delegation = input.delegation ?? task.delegation
    const attempt: Attempt = {
      ...rest,
      subject,
      context: { ...rest.context, ...(delegation === undefined ? {} : { delegation }), task: task.id },
    }
    let requested = false
    try {
      const { decision, grant } = await activate(attempt, { signal })
      if (decision.outcome !== 'challenge') return lease(decision, grant, task, ownsTask, onProgress)
      onProgress?.({ step: 'challenged', challenge: decision })
      const { wait } = input
      if (wait === undefined || wait === false) throw new NotPermitted(decision, task)
      const body = submission(decision, attempt, { reason: input.reason, ttl: input.ttl }, 0, now)
      const state = await submitAccess(transport, body, { idempotencyKey: crypto.randomUUID(), signal })
      requested = true
      onProgress?.({ step: 'requested', state })
      return await claim(attempt, state, task, ownsTask, { wait, signal, onProgress })
    } catch (error) {
      const waiting =
        (error instanceof NotPermitted && error.code === 'ERR_NOT_APPROVED') ||
        (requested && isWritClientError(error, 'ERR_ABORTED'))
      if (ownsTask && !waiting) await cancelQuietly(task.id)
      throw error
    }
  }

  /**
   * Comes back to an access request that was made before, perhaps elsewhere: waits if it is pending and takes the
   * grant. The task it was made under, if any, ends with the lease.
   *
   * @throws {NotPermitted} when it was not approved (in time), or the grant is denied now.
   */
  const resume = async (
    id: string,
    how: Pick<AcquireOptions, 'wait' | 'signal' | 'onProgress'> = {},
  ): Promise<Lease> => {
    const made = await requests.get(id)
    const task = made.task === undefined ? undefined : (await tasks.get(made.task)).task
    const state = await getAccess(transport, id, how.signal)
    how.onProgress?.({ step: 'requested', state })
    return claim(attemptOf(made), state, task, task !== undefined, how)
  }

  /** Waits for the request and turns its approval into a grant. */
  const claim = async (
    attempt: Attempt,
    first: AccessState,
    task: Task | undefined,
    ownsTask: boolean,
    how: Pick<AcquireOptions, 'wait' | 'signal' | 'onProgress'>,
  ): Promise<Lease> => {
    const { wait = false, signal, onProgress } = how
    const state = await waitForAccess(transport, first, {
      timeout: wait === true ? undefined : wait === false ? 1 : wait,
      signal,
      now,
      onState: (seen) =>
        onProgress?.(
          seen instanceof WritClientError
            ? { step: 'unreachable', error: seen }
            : { step: 'waiting', state: seen },
        ),
    })
    if (state.approval === undefined) throw new NotPermitted(notApproved(state), task)
    const { decision, grant } = await activate(withApproval(attempt, state.approval), { signal })
    return lease(decision, grant, task, ownsTask, onProgress)
  }

  const lease = (
    decision: Decision,
    grant: Grant | undefined,
    task: Task | undefined,
    ownsTask: boolean,
    onProgress: AcquireOptions['onProgress'],
  ): Lease => {
    if (decision.outcome !== 'permit') throw new NotPermitted(decision, task)
    if (grant === undefined) throw new NotPermitted(asDeny(decision), task)
    onProgress?.({ step: 'granted', grant })
    return new Lease({
      decision,
      grant,
      task,
      ownsTask,
      tasks,
      grants,
      issue: credentials.issue,
      log: { head: () => get<LogHead>('/v1/log/head') },
      events: (how) => followEvents(transport, how),
      now,
    })
  }

  /** The task has no authority yet and lapses by itself; ending it now is only tidy. */
  const cancelQuietly = async (id: string): Promise<void> => {
    try {
      await tasks.end(id, 'cancelled', 'no grant was had')
    } catch (error) {
      if (!(error instanceof WritClientError)) throw error
    }
  }

  let described: Promise<ServerMetadata | undefined> | undefined
  /** The server's OAuth endpoints; `undefined` where it has none. Asked once. */
  const metadata = (): Promise<ServerMetadata | undefined> => {
    described ??= readMetadata(transport)
    described.catch(() => (described = undefined))
    return described
  }
  const endpoints = async (): Promise<ServerMetadata> => {
    const found = await metadata()
    if (found === undefined) {
      throw new WritClientError('ERR_UNSUPPORTED', `\`${transport.url}\` issues no tokens`, {
        hint: 'it says nothing of a token endpoint: is it a Writ server that has one?',
      })
    }
    return found
  }

  const tokens = {
    metadata,
    /**
     * A token for something else, by token exchange: whatever the subject and the actor may both do there now. A refusal
     * is a value; a challenge is requested with `request`, and the exchange made again with its approval.
     *
     * @throws {WritClientError} where nothing was decided.
     */
    exchange: async (input: ExchangeInput): Promise<TokenAnswer> => {
      const { client, dpop, signal } = input
      const form = exchangeParameters(input)
      const answer = await askToken(transport, await endpoints(), form, { client, dpop, signal, now })
      const self = member(answer.body, 'access_request') === undefined ? undefined : await whoami()
      return readToken(answer, input, self, now())
    },
    /** Asks for the evidence that a challenged exchange lacks. */
    request: async (
      answer: Extract<TokenAnswer, { outcome: 'challenge' }>,
      how: RequestOptions & Readonly<{ signal?: AbortSignal | undefined }> = {},
    ): Promise<AccessState> =>
      submitAccess(transport, submission(answer.challenge, answer.attempt, how, 0, now), {
        idempotencyKey: how.idempotencyKey ?? crypto.randomUUID(),
        signal: how.signal,
      }),
    /** A token for Writ itself, by the client's own signature (RFC 7523). */
    asClient: async (
      client: ClientProof,
      how: Readonly<{ dpop?: DpopKey | undefined }> = {},
    ): Promise<TokenAnswer> => {
      const found = await endpoints()
      const form = new URLSearchParams({ grant_type: 'client_credentials', resource: found.issuer })
      const answer = await askToken(transport, found, form, { client, ...how, now })
      return readToken(answer, how, undefined, now())
    },
    /** Where people let a program in, by code and PKCE; `undefined` where they cannot. */
    signIn: (): Promise<ServerMetadata | undefined> => readMetadata(transport, SIGN_IN),
    /** A token for an authorization code (RFC 6749 §4.1.3, with PKCE). */
    redeem: async (
      grant: Readonly<{ code: string; redirectUri: string; verifier: string; clientId: string }>,
    ): Promise<TokenAnswer> => {
      const form = new URLSearchParams({
        grant_type: 'authorization_code',
        code: grant.code,
        redirect_uri: grant.redirectUri,
        code_verifier: grant.verifier,
        client_id: grant.clientId,
      })
      const found = await readMetadata(transport, SIGN_IN)
      if (found === undefined)
        throw new WritClientError('ERR_UNSUPPORTED', `nobody signs in to \`${transport.url}\` by a program`)
      return readToken(await askToken(transport, found, form, { now }), undefined, undefined, now())
    },
    /** Ends a token; one that nobody knows has ended. */
    revoke: async (token: string, how: Readonly<{ client?: ClientProof | undefined }> = {}): Promise<void> =>
      revokeToken(transport, await endpoints(), token, how),
  }

  return {
    url: transport.url,
    me,
    tokens,
    evaluate,
    evaluations,
    ask,
    search,
    acquire,
    resume,
    /** Runs `work` under a lease; a throw ends its task as failed. */
    with: async <T>(input: AcquireOptions, work: (lease: Lease) => T | Promise<T>): Promise<T> => {
      const lease = await acquire(input)
      try {
        const result = await work(lease)
        await lease.end('completed')
        return result
      } catch (error) {
        await lease.fail(error instanceof Error ? error.name : 'the work failed')
        throw error
      }
    },
    tasks,
    grants,
    actions,
    credentials,
    requests,
    locks: {
      /** Refuses it at once with everything under it. */
      lock: (input: LockInput): Promise<Locked> => post<Locked>('/v1/locks', input),
      /** Takes a lock away; what it ended stays ended. */
      unlock: (input: Readonly<{ what: Lockable; about: string; reason?: string }>): Promise<Lock> =>
        post<Lock>('/v1/locks/unlock', input),
      /** Locks in force. */
      list: (query: PageQuery = {}): Promise<Page<Lock>> => get<Page<Lock>>('/v1/locks', query),
    },
    signals: {
      /** Transmitters that are listened to and listeners that are told, with what is wrong. */
      list: (): Promise<Readonly<{ items: readonly SignalStream[] }>> =>
        get<Readonly<{ items: readonly SignalStream[] }>>('/v1/signals'),
      /** Sends what a listener refused once more. */
      redeliver: (listener: string): Promise<Readonly<{ listener: string; again: number }>> =>
        post<Readonly<{ listener: string; again: number }>>('/v1/signals/redeliver', { listener }),
    },
    facts: {
      /** Says what was observed: for who is trusted to. */
      report: (facts: readonly FactInput[]): Promise<void> => post<void>('/v1/facts', { facts }),
      /** What is known about something. */
      about: (about: string): Promise<Readonly<{ items: readonly Fact[] }>> =>
        get<Readonly<{ items: readonly Fact[] }>>('/v1/facts', { about }),
      /** What a decision would see. */
      seen: (
        query: Readonly<{
          subject: string
          resource?: string | undefined
          action?: string | undefined
          task?: string | undefined
        }>,
      ): Promise<LiveContext> => get<LiveContext>('/v1/context', query),
    },
    delegations: {
      /** Lets an agent or a workload act for you; it names the id as `context.delegation`. */
      make: (input: DelegationInput): Promise<Delegation> => post<Delegation>('/v1/delegations', input),
      /** Those that one gives or has. */
      list: (
        query: PageQuery & { subject?: string | undefined; live?: boolean | undefined } = {},
      ): Promise<Page<Delegation>> => get<Page<Delegation>>('/v1/delegations', query),
      get: (id: string): Promise<Delegation> => get<Delegation>(`/v1/delegations/${segment(id)}`),
      /** Takes it back with everything under it. */
      revoke: (id: string, reason: string): Promise<Narrowing> =>
        post<Narrowing>(`/v1/delegations/${segment(id)}/revoke`, { reason }),
    },
    accounts: {
      /** Says whose account it is. */
      link: (input: Readonly<{ issuer: string; account: string; person: string }>): Promise<Account> =>
        post<Account>('/v1/accounts', input),
      list: (query: PageQuery & { person?: string | undefined } = {}): Promise<Page<Account>> =>
        get<Page<Account>>('/v1/accounts', query),
      unlink: async (input: Readonly<{ issuer: string; account: string }>): Promise<void> => {
        await post('/v1/accounts/unlink', input)
      },
    },
    passkeys: {
      /** Of oneself; of anybody for administrators. */
      list: (query: { person?: string | undefined } = {}): Promise<Readonly<{ items: readonly Passkey[] }>> =>
        get<Readonly<{ items: readonly Passkey[] }>>('/v1/passkeys', query),
      /** One of somebody else who has lost it: administrators, in a session. */
      remove: async (id: string): Promise<void> => {
        await post('/v1/passkeys/remove', { id })
      },
    },
    inventory: {
      list: (query: PageQuery & { type?: string | undefined } = {}): Promise<Page<Entity>> =>
        get<Page<Entity>>('/v1/inventory', query),
      put: async (entities: readonly EntityInput[]): Promise<readonly Entity[]> =>
        (
          await send<{ items: readonly Entity[] }>({
            method: 'PUT',
            path: '/v1/inventory',
            body: { entities },
          })
        ).items,
      delete: async (ref: string | Ref): Promise<void> => {
        const { type, id } = toRef(ref)
        await send({ method: 'DELETE', path: `/v1/inventory/${segment(type)}/${segment(id)}` })
      },
    },
    decisions: {
      list: (
        query: { ref?: string | undefined; before?: number | undefined; limit?: number | undefined } = {},
      ): Promise<Page<Json>> => recorded<Page<Json>>('/v1/decisions', query),
      get: (id: string): Promise<Json> => recorded<Json>(`/v1/decisions/${segment(id)}`),
      /** The rules behind a decision, for who may read them. */
      explain: (id: string): Promise<ExplainedDecision> =>
        recorded<ExplainedDecision>(`/v1/decisions/${segment(id)}/explanation`),
    },
    log: {
      /**
       * The newest signed checkpoint, verified to continue the one seen before, which it replaces.
       *
       * @throws {WritClientError} `ERR_LOG_CONTRADICTED`, `ERR_LOG_KEY`, `ERR_UNSUPPORTED`.
       */
      checkpoint: (): Promise<Checkpoint> => (memory ?? new LogMemory(transport, {}, now)).checkpoint(),
      witnesses: async (): Promise<readonly LogWitness[]> =>
        (await get<{ items: readonly LogWitness[] }>('/v1/log/witnesses')).items,
      /** Every key that has signed checkpoints, the oldest first. */
      keys: (): Promise<LogKeys> => get<LogKeys>('/v1/log/keys'),
      /** A new key signs from now on; the old one vouches for it, unless it is compromised. */
      rotateKey: (input: KeyRotation = {}): Promise<KeyRotated> =>
        post<KeyRotated>('/v1/log/keys/rotate', input),
      /** How the present epoch began; after a restore, also what to look at before it is acknowledged. */
      epoch: (): Promise<EpochState> => get<EpochState>('/v1/log/epochs/current'),
      /** Says that what came back with a restored copy was looked at; until then nothing widens. */
      acknowledge: async (epoch: number): Promise<void> => {
        await post('/v1/log/epochs/acknowledge', { epoch })
      },
      head: (): Promise<LogHead> => recorded<LogHead>('/v1/log/head'),
      entries: (
        from: number,
        to: number,
      ): Promise<Readonly<{ items: readonly (LogEntry | PrunedLogEntry)[]; next?: number }>> =>
        recorded('/v1/log/entries', { from, to }),
      /** Entries by what they name, newest first. A page may be short, or empty, although there is a `next_cursor`. */
      search: (query: LogQuery = {}): Promise<Page<LogEntry | PrunedLogEntry>> =>
        recorded<Page<LogEntry | PrunedLogEntry>>('/v1/log/search', query),
      /**
       * The proof of why, of a decision, grant, credential, task or access request: the text of a file that is kept as it
       * is, and that `writ audit verify` verifies without the server.
       */
      prove: async (id: string): Promise<string> => {
        await memory?.check()
        return send<string>({
          method: 'GET',
          path: `/v1/log/proofs/${segment(id)}`,
          text: true,
          timeout: Math.max(transport.options.timeout, 60_000),
        })
      },
    },
    events: (how: EventOptions = {}): AsyncGenerator<WritEvent, void, undefined> =>
      followEvents(transport, how),
    policies: {
      publish: (source: PolicySource): Promise<PolicyVersion> => post<PolicyVersion>('/v1/policies', source),
      current: (): Promise<PolicyVersion> => get<PolicyVersion>('/v1/policies/current'),
      get: (version: string): Promise<PolicyVersion> =>
        get<PolicyVersion>(`/v1/policies/${segment(version)}`),
      agree: (version: string): Promise<PolicyVersion> =>
        post<PolicyVersion>(`/v1/policies/${segment(version)}/agree`, {}),
      /** Recorded decisions through a draft: what would have been answered otherwise. Nothing is decided. */
      replay: (input: PolicyReplay): Promise<ReplayReport> =>
        send<ReplayReport>({
          method: 'POST',
          path: '/v1/policies/replay',
          body: input,
          timeout: Math.max(transport.options.timeout, 600_000),
        }),
    },
    /** What a subject could do at an instant (by default now), and why, from the log alone. */
    authority: (query: Readonly<{ subject: string; at?: string }>): Promise<Authority> =>
      recorded<Authority>('/v1/authority', query),
    keys: {
      create: (input: KeyInput): Promise<Readonly<{ id: string; secret: string }>> => post('/v1/keys', input),
      /** Those that ended too. */
      list: (query: PageQuery = {}): Promise<Page<Key>> => get<Page<Key>>('/v1/keys', query),
      revoke: async (id: string): Promise<void> => {
        await send({ method: 'DELETE', path: `/v1/keys/${segment(id)}` })
      },
    },
    people: {
      invite: (input: { id: string; name?: string; groups?: readonly string[] }): Promise<Invitation> =>
        post<Invitation>('/v1/people/invitations', input),
    },
    sessions: {
      /** A one-time code becomes a session; needs no token. */
      redeem: (code: string): Promise<Session> =>
        send<Session>({
          method: 'POST',
          path: '/v1/sessions',
          body: { code },
          retry: 'unsent',
          authenticate: false,
        }),
      end: async (): Promise<void> => {
        await send({ method: 'DELETE', path: '/v1/sessions/current' })
      },
    },
    targets: {
      add: (
        input: TargetInput,
      ): Promise<Readonly<{ id: string; notices: readonly string[]; findings: readonly Finding[] }>> =>
        post('/v1/targets', input),
      list: async (): Promise<readonly Target[]> =>
        (await get<{ items: readonly Target[] }>('/v1/targets')).items,
      check: async (id: string): Promise<readonly Finding[]> =>
        (await get<{ items: readonly Finding[] }>(`/v1/targets/${segment(id)}/check`)).items,
    },
    /** Whether it can decide; needs no token. With `problems` and a token, also what is wrong. */
    ready: async (options: Readonly<{ problems?: boolean }> = {}): Promise<Health> => {
      const authenticate = options.problems === true
      const answer: Answer = await transport.call({ method: 'GET', path: '/readyz', authenticate })
      return answer.body as Health
    },
  }
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined
}

/** The variables of the process, where there is one. */
function environment(): Readonly<Record<string, string | undefined>> {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } }
  return process?.env ?? {}
}

// what goes into a submission

function submission(
  challenge: Omit<Challenge, 'request'>,
  attempt: Attempt,
  how: RequestOptions,
  elapsed: number,
  now: () => number,
): unknown {
  const { approval: _approval, ...context } = attempt.context ?? {}
  const { evaluated_at: evaluatedAt, access_request: offer } = challenge.context
  const { binding_token: token, template } = (offer ?? {}) as Readonly<Record<string, Json | undefined>>
  // the server's own clock, moved on by how long ago it answered: nobody's clock has to be right
  const evaluated = typeof evaluatedAt === 'string' ? Date.parse(evaluatedAt) : Number.NaN
  const from = Number.isFinite(evaluated) ? evaluated + elapsed : now()
  return {
    ...attempt,
    context: { ...context, ...(how.reason === undefined ? {} : { justification: how.reason }) },
    denial: {
      expires_at: challenge.expiresAt,
      ...(challenge.id === undefined ? {} : { evaluation_id: challenge.id }),
      ...(typeof evaluatedAt === 'string' ? { evaluated_at: evaluatedAt } : {}),
      ...(challenge.reason === '' ? {} : { reason: challenge.reason }),
      // echoed as they came: they are the server's to read
      ...(typeof token === 'string' ? { binding_token: token } : {}),
      ...(typeof template === 'string' ? { template } : {}),
    },
    ...(how.ttl === undefined && how.emergency === undefined
      ? {}
      : {
          requested_access: {
            ...(how.ttl === undefined
              ? {}
              : { requested_until: new Date(from + toMillis(how.ttl)).toISOString() }),
            ...(how.emergency === undefined ? {} : { emergency: how.emergency }),
          },
        }),
    client: { name: 'writ-client' },
  }
}

function withApproval(attempt: Attempt, approval: ApprovalReference): Attempt {
  return { ...attempt, context: { ...attempt.context, approval } }
}

/** A request that was not approved, as the denial that it is. */
function notApproved(state: AccessState): Deny {
  const pending = state.status === 'pending'
  return {
    outcome: 'deny',
    id: undefined,
    reason: pending
      ? 'grant_pending'
      : state.status === 'approved'
        ? 'approval_unverifiable'
        : `request_${state.status}`,
    nextAction: pending ? 'retry' : 'none',
    context: {},
    request: state.task,
  }
}

/** For where no permit counts although the decision was one, or a challenge that nobody can request. */
function asDeny(read: ReadDecision | Permit): Deny {
  return { outcome: 'deny', id: read.id, reason: read.reason, nextAction: 'none', context: read.context }
}

/** The attempt that a request was made for, so that it can be made again exactly. */
function attemptOf(made: AccessRequest): Attempt {
  const own = {
    ...(made.task === undefined ? {} : { task: made.task }),
    ...(made.delegation === undefined ? {} : { delegation: made.delegation }),
  }
  const { statement } = made
  if (
    typeof statement === 'object' &&
    statement !== null &&
    'kind' in statement &&
    statement.kind === 'attempt'
  ) {
    const { subject, action, resource, context } = statement as unknown as Attempt
    return { subject, action, resource, context: { ...context, ...own } }
  }
  return {
    subject: toRef(made.subject),
    action: { name: made.action },
    resource: toRef(made.resource),
    context: own,
  }
}

function declaration(
  input: AcquireOptions,
  subject: Ref,
  attempt: Omit<Attempt, 'subject'>,
): TaskDeclaration {
  const given = typeof input.task === 'object' ? input.task : undefined
  const { action, resource } = attempt
  return {
    subject: `${subject.type}/${subject.id}`,
    ...(input.delegation === undefined ? {} : { delegation: input.delegation }),
    ...(input.reason === undefined ? {} : { reason: input.reason }),
    ...(input.ttl === undefined ? {} : { ttl: toWire(input.ttl) }),
    scope: { actions: [action.name], resources: [{ type: resource.type, id: resource.id }] },
    purpose: `${action.name} on ${resource.type}/${resource.id}`,
    ...given,
  }
}
