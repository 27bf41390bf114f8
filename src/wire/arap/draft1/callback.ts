/**
 * The callback companion of the profile: what a submission asks to be told, and what it is told.
 *
 * @module
 */
import * as z from 'zod'
import type { Callback, CallbackWish } from '../../../model/callback.ts'
import { callbackEvents } from '../../../model/callback.ts'
import type { AccessRequest } from '../../../model/request.ts'
import { given, text } from '../../bounds.ts'
import { encodeTaskResponse } from './task.ts'

/** Most characters of an endpoint, and of the state that comes back with it. */
const ENDPOINT_MOST = 2_048
const STATE_MOST = 1_024

export const callback = z
  .object({
    endpoint: z.url({ protocol: /^https?$/u, error: 'must be an https URL' }).max(ENDPOINT_MOST),
    state: text.max(STATE_MOST).exactOptional(),
    /** Other names are those of ends that a request here cannot have, `partial` for one. */
    events: z.array(z.string().max(64)).min(1).max(16).exactOptional(),
  })
  .meta({
    id: 'AccessRequestCallback',
    description: 'Where to tell how the request ended; must be registered',
  })

export function decodeCallback(parsed: z.output<typeof callback>): CallbackWish {
  return {
    endpoint: parsed.endpoint,
    ...given('state', parsed.state),
    events:
      parsed.events === undefined
        ? callbackEvents
        : callbackEvents.filter((event) => parsed.events?.includes(event)),
  }
}

/** The body of a callback: the task as its holder sees it, its result, and the state that was given. */
export function encodeCallback(request: AccessRequest, { state }: Callback, endpoint: string): string {
  return JSON.stringify({ ...encodeTaskResponse(request, endpoint), ...given('state', state) })
}
