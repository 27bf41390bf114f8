/**
 * How issuers are reached: a port, so that this part knows neither the network nor what is private in it.
 *
 * @module
 */
import type { Millis } from '../../model/time.ts'

export type FetchOptions = Readonly<{
  timeout: Millis
  /** Most bytes of an answer that are read. */
  maxBytes: number
  /** Whether the address may be one that is not public. */
  allowPrivate: boolean
  /** PEM of further certificate authorities. */
  ca?: string
  /** Posted if there is one. */
  body?: string
  headers?: Readonly<Record<string, string>>
  /** Gives up before the time is over. */
  signal?: AbortSignal
}>

/** What was answered, redirects included, or why nothing was, in words that are safe to show. */
export type Fetched =
  | Readonly<{
      status: number
      headers: Readonly<Record<string, string | readonly string[] | undefined>>
      body: Uint8Array
      failed?: undefined
    }>
  | Readonly<{ failed: string }>

/** One request, judged by its address after the name was looked up; never follows a redirect. */
export type Fetcher = (url: URL, options: FetchOptions) => Promise<Fetched>

/** Longest document of an issuer, bytes. */
export const DOCUMENT_MOST = 256 * 1024
/** How long an issuer may take over one document. */
export const FETCH_TIMEOUT: Millis = 5_000
