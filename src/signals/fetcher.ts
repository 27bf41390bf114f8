/**
 * How issuers are reached: the guarded outbound request, its failures told as reasons that are safe to show.
 *
 * @module
 */
import type { Fetcher } from '../identity/issuers/fetcher.ts'
import type { OutboundOptions } from './outbound.ts'
import { outbound } from './outbound.ts'
import { reasonOf } from './sink.ts'

/** `lookup` is the system's resolver unless a test says otherwise. */
export function outboundFetcher(lookup?: OutboundOptions['lookup']): Fetcher {
  return async (url, { body, headers, signal, ...limits }) => {
    const request = {
      method: body === undefined ? ('GET' as const) : ('POST' as const),
      ...(headers === undefined ? {} : { headers }),
      ...(body === undefined ? {} : { body }),
      ...(signal === undefined ? {} : { signal }),
    }
    try {
      return await outbound(url, request, { ...limits, ...(lookup === undefined ? {} : { lookup }) })
    } catch (error) {
      return { failed: reasonOf(error) }
    }
  }
}
