/**
 * Callbacks: where a requester wants to hear how its access request ended. Owed from the moment the request ends, until
 * it was taken or nobody can be expected to take it any more.
 *
 * @module
 */
import type { AccessRequest, RequestStatus } from './request.ts'
import type { Instant, Millis } from './time.ts'
import { DAY, MINUTE, SECOND } from './time.ts'

/** The ends of a request that one can ask to be told of. */
export const callbackEvents = ['approved', 'denied', 'expired', 'cancelled', 'failed'] as const
export type CallbackEvent = (typeof callbackEvents)[number]

/** What a submission asks for. `state` comes back as it was given. */
export type CallbackWish = Readonly<{ endpoint: string; state?: string; events: readonly CallbackEvent[] }>

export type Callback = CallbackWish &
  Readonly<{
    /** The same in every try: receivers tell a repetition by it. */
    id: string
    /** The enforcement point that asked for it, as `refKey`: the endpoint must stay registered for it. */
    by: string
    tries: number
    nextTryAt?: Instant
    /** Why the last try failed. */
    problem?: string
    deliveredAt?: Instant
    gaveUpAt?: Instant
  }>

/** Most callbacks of one request: identical asks are merged, each may bring its own. */
export const MOST_CALLBACKS = 8
/** The callbacks of a request with one more; who asks again for the same is told once. `undefined` when there are too many. */
export function withCallback(known: readonly Callback[], added: Callback): readonly Callback[] | undefined {
  const isSame = (it: Callback): boolean =>
    it.endpoint === added.endpoint && it.state === added.state && it.by === added.by
  const events = [...new Set([...(known.find(isSame)?.events ?? []), ...added.events])]
  if (known.some(isSame)) return known.map((it) => (isSame(it) ? { ...it, events } : it))
  return known.length < MOST_CALLBACKS ? [...known, added] : undefined
}

/** A receiver that was never there for so long is not waited for any more. */
export const CALLBACK_FOR: Millis = DAY
const LONGEST_PAUSE: Millis = 5 * MINUTE

const isEvent = (status: RequestStatus): status is CallbackEvent => status !== 'pending'

/** The callbacks that are owed: those of a request that has ended in a way they asked for. */
export function owedCallbacks(request: AccessRequest): readonly Callback[] {
  const { status, callbacks = [] } = request
  if (!isEvent(status)) return []
  return callbacks.filter(
    (it) => it.events.includes(status) && it.deliveredAt === undefined && it.gaveUpAt === undefined,
  )
}

/** When the next try of any of them is due. */
export function callbackDueAt(request: AccessRequest): Instant | undefined {
  const due = owedCallbacks(request).map((it) => it.nextTryAt ?? request.endedAt ?? 0)
  return due.length === 0 ? undefined : Math.min(...due)
}

/** What a try came to: taken, to be tried again, or never to be taken. */
export type CallbackTry = 'delivered' | Readonly<{ problem: string; final: boolean }>

/**
 * The request after a try of callback `id`. The pauses between tries double up to five minutes; `jitter` in [0, 1)
 * spreads them by half.
 */
export function triedCallback(
  request: AccessRequest,
  id: string,
  result: CallbackTry,
  now: Instant,
  jitter: number,
): AccessRequest {
  const callbacks = (request.callbacks ?? []).map((it): Callback => {
    if (it.id !== id || it.deliveredAt !== undefined || it.gaveUpAt !== undefined) return it
    const { nextTryAt: _next, problem: _problem, ...rest } = it
    const tries = it.tries + 1
    if (result === 'delivered') return { ...rest, tries, deliveredAt: now }
    const { problem, final } = result
    if (final || now - (request.endedAt ?? now) >= CALLBACK_FOR)
      return { ...rest, tries, problem, gaveUpAt: now }
    const pause = Math.min(SECOND * 2 ** Math.min(it.tries, 20), LONGEST_PAUSE)
    return { ...rest, tries, problem, nextTryAt: now + Math.round(pause * (0.5 + jitter)) }
  })
  return { ...request, callbacks }
}
