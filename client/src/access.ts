/**
 * Access requests (AuthZEN Access Request and Approval Profile): submit, wait, and nothing else. An approval grants
 * nothing; whoever waited asks again, carrying it.
 *
 * @module
 */
import type { Duration } from './duration.ts'
import { toMillis } from './duration.ts'
import { WritClientError, isWritClientError } from './error.ts'
import type { Answer, Transport } from './http.ts'
import { retryAfterMillis } from './http.ts'
import type { Json } from './types.ts'

/** `pending`, or how it ended. What this client does not know counts as not approved. */
export type RequestStatus = 'pending' | 'approved' | 'denied' | 'expired' | 'cancelled' | 'failed'

/** The handle of an access request; ARAP calls it a task. */
export type AccessTask = Readonly<{
  id: string
  status: string
  status_endpoint?: string
  expires_at?: string
  display?: Json
  progress?: Json
  links?: Readonly<Record<string, string>>
}>

/** What is carried into the next evaluation, unchanged, at `context.approval`. */
export type ApprovalReference = Readonly<{
  id: string
  approved_until: string
  [member: string]: Json | undefined
}>

/** An access request as it stands. `approval` is there only if it was approved in a way this client understands. */
export type AccessState = Readonly<{
  task: AccessTask
  status: string
  approval?: ApprovalReference
  /** How long the server wants to be left alone, in milliseconds. */
  retryAfter?: number
}>

export type WaitOptions = Readonly<{
  /** Stop waiting after this long; the request itself goes on. */
  timeout?: Duration | undefined
  signal?: AbortSignal | undefined
  /** Told about every state that was seen, and of the server being out of reach. */
  onState?: ((state: AccessState | WritClientError) => void) | undefined
}>

const PATH = '/access/v1/requests'
const POLL_FIRST = 1_000
const POLL_MOST = 60_000

const final: ReadonlySet<string> = new Set(['approved', 'denied', 'expired', 'cancelled', 'failed'])

/** Whether an access request will not change any more. An unknown status is waited on, and never approves. */
export const isSettled = (state: AccessState): boolean => final.has(state.status)

/** The state of a request, from an answer `{ task, result? }`. */
export function readAccess(answer: Answer): AccessState {
  const { body } = answer
  const task = member(body, 'task')
  const id = member(task, 'id')
  const status = member(task, 'status')
  if (typeof id !== 'string' || typeof status !== 'string') {
    throw new WritClientError('ERR_PROTOCOL', 'the answer holds no access request', { status: answer.status })
  }
  const retryAfter = retryAfterMillis(answer.headers)
  const approval = status === 'approved' ? readApproval(member(body, 'result')) : undefined
  return {
    task: task as AccessTask,
    status,
    ...(approval === undefined ? {} : { approval }),
    ...(retryAfter === undefined ? {} : { retryAfter }),
  }
}

/** The approval of a result whose mode this client knows; unknown modes are not approved. */
function readApproval(result: unknown): ApprovalReference | undefined {
  if (member(result, 'mode') !== 'reevaluate') return undefined
  const approval = member(result, 'approval')
  return typeof member(approval, 'id') === 'string' && typeof member(approval, 'approved_until') === 'string'
    ? (approval as ApprovalReference)
    : undefined
}

/** Submits; the key makes a repeated submission the same request. */
export async function submitAccess(
  transport: Transport,
  body: unknown,
  options: { idempotencyKey: string; signal?: AbortSignal | undefined },
): Promise<AccessState> {
  return readAccess(await transport.call({ method: 'POST', path: PATH, body, ...options }))
}

export async function getAccess(
  transport: Transport,
  id: string,
  signal?: AbortSignal,
): Promise<AccessState> {
  return readAccess(
    await transport.call({ method: 'GET', path: `${PATH}/${encodeURIComponent(id)}`, signal }),
  )
}

export async function cancelAccess(transport: Transport, id: string, reason?: string): Promise<AccessState> {
  return readAccess(
    await transport.call({
      method: 'POST',
      path: `${PATH}/${encodeURIComponent(id)}/cancel`,
      body: reason === undefined ? {} : { reason },
    }),
  )
}

/**
 * The state once it will not change any more, or as it is when `timeout` or the handle's own time has passed (then still
 * `pending`).
 *
 * Polls; `Retry-After` is obeyed (ARAP makes it binding), else the distance grows from a second to a minute, with
 * jitter. A server that cannot be reached is waited for just as long.
 *
 * @throws {WritClientError} `ERR_ABORTED` when the signal aborts; and what cannot be mended by waiting.
 */
export async function waitForAccess(
  transport: Transport,
  first: AccessState,
  options: WaitOptions & { now?: () => number } = {},
): Promise<AccessState> {
  const { signal, onState } = options
  const now = options.now ?? Date.now
  const { random, sleep } = transport.options
  const until = options.timeout === undefined ? Infinity : now() + toMillis(options.timeout)
  let state = first
  for (let polls = 0; ; polls++) {
    onState?.(state)
    if (isSettled(state)) return state
    const left = until - now()
    if (left <= 0 || isOverdue(state, now())) return state
    const backoff = Math.min(POLL_MOST, POLL_FIRST * 1.5 ** Math.min(polls, 20)) * (0.5 + random() / 2)
    // later than asked is allowed, earlier is not; jitter keeps many waiting clients apart
    const asked = state.retryAfter === undefined ? undefined : state.retryAfter * (1 + random() / 10)
    await sleep(Math.min(Math.max(asked ?? backoff, 50), left), signal)
    if (asked !== undefined && asked > left) return state
    try {
      state = await getAccess(transport, first.task.id, signal)
    } catch (error) {
      if (!isWritClientError(error, 'ERR_UNREACHABLE', 'ERR_TIMEOUT', 'ERR_RATE_LIMITED', 'ERR_INTERNAL'))
        throw error
      onState?.(error)
      state = withoutRetry(state)
    }
  }
}

/** Clocks of two machines may differ by so much. */
const SKEW_MOST = 60_000

/** A handle whose time is over is not polled any more, whatever it said last. */
function isOverdue({ task }: AccessState, now: number): boolean {
  return now >= Date.parse(task.expires_at ?? '') + SKEW_MOST
}

function withoutRetry(state: AccessState): AccessState {
  const { retryAfter: _retryAfter, ...rest } = state
  return rest
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined
}
