/**
 * What several groups of routes share.
 *
 * @module
 */
import * as z from 'zod'
import type { Flows } from '../../../flows/port.ts'
import type { Caller } from '../../../model/access.ts'
import { isWritError } from '../../../model/errors.ts'
import { flag, given, id } from '../../../wire/bounds.ts'
import { problem } from '../../../wire/problem.ts'
import type { ResponseSpec } from '../route.ts'

export const byId = z.strictObject({ id })

/** `record=true` adds what stands in the record alone: requests, uses, actions. */
export const recordQuery = z.strictObject({ record: flag.exactOptional() })

/** Our pages of lists on the wire. */
export function pageOf<T, W>(
  page: { readonly items: readonly T[]; readonly next: string | undefined },
  encode: (item: T) => W,
): { items: W[]; next_cursor?: string } {
  return { items: page.items.map(encode), ...given('next_cursor', page.next) }
}

/** Where access requests are submitted. */
export const requestsEndpoint = (origin: string): string => `${origin}/access/v1/requests`

export const failed = (description: string): ResponseSpec => ({
  description,
  schema: problem,
  type: 'application/problem+json',
})

export const NOT_FOUND = failed("Unknown, or not the caller's to see")
export const CONFLICT = failed('The same `Idempotency-Key` with another body, or a life that has moved on')

/** Whether the caller may read what concerns everybody: the log. */
export async function mayRead(flows: Flows, caller: Caller): Promise<boolean> {
  try {
    await flows.entries(caller, 0, 0)
    return true
  } catch (error) {
    if (isWritError(error, 'ERR_FORBIDDEN')) return false
    throw error
  }
}
