/**
 * Requests to endpoints that somebody else named: no redirect, bounded in time and size, and never to an address that is
 * not public unless that was allowed. The address is judged after the name was looked up, and the connection is made to
 * that very address, so that a name which changes its mind (DNS rebinding) gains nothing (B3).
 *
 * @module
 */
import type { LookupAddress } from 'node:dns'
import { lookup as systemLookup } from 'node:dns'
import { request as httpRequest } from 'node:http'
import type { IncomingHttpHeaders, IncomingMessage, RequestOptions } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { LookupFunction } from 'node:net'
import type { Millis } from '../model/time.ts'
import { isPublicAddress, literalAddress } from './addresses.ts'
import { SinkError } from './sink.ts'

export type OutboundOptions = Readonly<{
  /** True where an operator has said that this endpoint may be in a private network. */
  allowPrivate: boolean
  timeout: Millis
  /** Most bytes of an answer that are read. */
  maxBytes: number
  /** PEM of further certificate authorities. */
  ca?: string
  /** All addresses of a name; the system's resolver unless a test says otherwise. */
  lookup?: (name: string) => Promise<readonly LookupAddress[]>
}>

export type OutboundRequest = Readonly<{
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  headers?: Readonly<Record<string, string>>
  body?: string
  signal?: AbortSignal
}>

export type OutboundAnswer = Readonly<{ status: number; headers: IncomingHttpHeaders; body: Uint8Array }>

/**
 * One request; redirects are answers like others and never followed.
 *
 * @throws {SinkError} with a reason that is safe to show, before anything was sent when the address is refused.
 */
export async function outbound(
  url: URL,
  request: OutboundRequest,
  options: OutboundOptions,
): Promise<OutboundAnswer> {
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw new SinkError('it is not an http(s) URL')
  if (url.username !== '' || url.password !== '') throw new SinkError('its URL holds credentials')
  const literal = literalAddress(url)
  if (literal !== undefined && !options.allowPrivate && !isPublicAddress(literal)) throw notPublic()
  const timer = AbortSignal.timeout(options.timeout)
  const signal = request.signal === undefined ? timer : AbortSignal.any([timer, request.signal])
  const secure = url.protocol === 'https:'
  const settings: RequestOptions & { ca?: string } = {
    method: request.method,
    headers: {
      'user-agent': 'writ',
      ...(request.body === undefined ? {} : { 'content-length': String(Buffer.byteLength(request.body)) }),
      ...request.headers,
    },
    // a connection kept from before was judged by what was allowed then
    agent: false,
    signal,
    lookup: guarded(options),
    ...(options.ca === undefined ? {} : { ca: options.ca }),
  }
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const sent = (secure ? httpsRequest : httpRequest)(url, settings, resolve)
    sent.on('error', (error) => reject(refusalIn(error) ?? error))
    // whoever answers by another protocol (101) is cut off, and nothing else would tell of it
    sent.once('close', () => reject(new SinkError('it ended the connection without an answer')))
    sent.end(request.body)
  })
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of answer) {
    size += (chunk as Uint8Array).length
    if (size > options.maxBytes) {
      answer.destroy()
      throw new SinkError(`its answer is longer than ${options.maxBytes} bytes`)
    }
    chunks.push(chunk as Uint8Array)
  }
  return { status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks) }
}

const notPublic = (): SinkError =>
  new SinkError('its address is not public, and private ones are not allowed')

/** A refusal of ours, also where the connection code has wrapped it among others. */
function refusalIn(error: unknown): SinkError | undefined {
  if (error instanceof SinkError) return error
  if (error instanceof AggregateError) return error.errors.map(refusalIn).find((one) => one !== undefined)
  return undefined
}

/** Looks a name up and lets it pass only if every one of its addresses may be reached. */
function guarded({ allowPrivate, lookup = systemAddresses }: OutboundOptions): LookupFunction {
  return (name, { all }, answer) => {
    lookup(name).then(
      (found) => {
        const [first] = found
        if (first === undefined) answer(new SinkError('its host has no address'), '', 0)
        else if (!allowPrivate && !found.every(({ address }) => isPublicAddress(address)))
          answer(notPublic(), '', 0)
        else if (all === true) answer(null, [...found])
        else answer(null, first.address, first.family)
      },
      (error: unknown) => answer(error as NodeJS.ErrnoException, '', 0),
    )
  }
}

function systemAddresses(name: string): Promise<readonly LookupAddress[]> {
  return new Promise((resolve, reject) => {
    systemLookup(name, { all: true, order: 'verbatim' }, (error, found) => {
      if (error === null) resolve(found)
      else reject(error)
    })
  })
}
