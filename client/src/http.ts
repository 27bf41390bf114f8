/**
 * One request to Writ: time-limited, size-limited, retried within bounds where a retry cannot act twice.
 *
 * @module
 */
import { WritClientError } from './error.ts'
import type { DpopKey } from './token-proof.ts'
import { dpopProof } from './token-proof.ts'

/** A token that is worth nothing without its key: each request proves that it is held (RFC 9449). */
export type BoundToken = Readonly<{ token: string; key: DpopKey }>

export type TransportOptions = Readonly<{
  url: string
  /** Called for every request, so that a renewed token is used at once; with one that was refused, for another. */
  token: (refused?: string) => string | BoundToken | undefined | Promise<string | BoundToken | undefined>
  fetch: typeof fetch
  /** For one try, in milliseconds. */
  timeout: number
  /** How often a request is tried again. */
  retries: number
  userAgent: string
  random: () => number
  sleep: (millis: number, signal?: AbortSignal) => Promise<void>
}>

export type Call = Readonly<{
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  path: string
  /** In place of `path`: where the server said that it is, at its own origin. */
  at?: URL
  query?: Readonly<Record<string, string | number | boolean | undefined>>
  body?: unknown
  /** In place of `body`: as OAuth sends it. */
  form?: URLSearchParams
  headers?: Readonly<Record<string, string>>
  /** For POST: the key under which a retry is recognised; made up when absent, so that a lost answer is no second act. */
  idempotencyKey?: string | undefined
  /** `unsent`: tried again only when the request cannot have arrived, because the act must not be repeated. */
  retry?: 'safe' | 'unsent'
  accept?: string
  /** The answer is no JSON; its text is taken as it is. */
  text?: boolean
  /** The answer is read whatever its status: OAuth says in it what is wrong. */
  anyStatus?: boolean
  lastEventId?: string | undefined
  /** False where no token may be sent. */
  authenticate?: boolean
  signal?: AbortSignal | undefined
  timeout?: number | undefined
}>

export type Answer = Readonly<{ status: number; headers: Headers; body: unknown }>

/** The largest answer that is read. */
const ANSWER_MOST = 32 * 1024 * 1024
const RETRY_FIRST = 200
const RETRY_MOST = 5_000

/** Connection errors after which the server has seen nothing of the request. */
const unsentCodes: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
])

/** Problems of the moment: the server itself says that it did nothing. */
const passingCodes: ReadonlySet<string> = new Set(['ERR_RATE_LIMITED', 'ERR_STORE_BUSY', 'ERR_STORE_CLOSED'])

/** Sends requests; the only part of the client that touches the network. */
export class Transport {
  readonly options: TransportOptions
  readonly #base: URL
  /** What the server wants in the next proof. */
  #nonce: string | undefined

  constructor(options: TransportOptions) {
    this.options = options
    this.#base = baseUrl(options.url)
  }

  get url(): string {
    return this.#base.href
  }

  /** The URL of a path of ours. Paths are ours alone: no answer of a server ever says where a token is sent to. */
  urlOf(path: string, query: Call['query'] = {}): URL {
    const url = new URL(this.#base.pathname.replace(/\/$/, '') + path, this.#base)
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value))
    }
    return url
  }

  /**
   * The answer, when its status is 2xx.
   *
   * @throws {WritClientError} with the problem that the server described, or `ERR_UNREACHABLE`, `ERR_TIMEOUT`,
   * `ERR_ABORTED`, `ERR_PROTOCOL`.
   */
  async call(call: Call): Promise<Answer> {
    const key = call.method === 'POST' ? (call.idempotencyKey ?? crypto.randomUUID()) : undefined
    for (let tries = 0; ; tries++) {
      const outcome = await this.#once(call, key)
      if (!(outcome instanceof Failed)) return outcome
      const mayRetry = call.retry === 'unsent' ? outcome.unsent : outcome.passing
      if (!mayRetry || tries >= this.options.retries) throw outcome.error
      const backoff = Math.min(RETRY_MOST, RETRY_FIRST * 2 ** tries) * (0.5 + this.options.random() / 2)
      await this.options.sleep(Math.max(backoff, outcome.retryAfter ?? 0), call.signal)
    }
  }

  /** An open response whose body is read by the caller, e.g. a stream of events. */
  async open(call: Call): Promise<Response> {
    const response = await this.#fetch(call, undefined, call.signal)
    if (response instanceof Failed) throw response.error
    if (!response.ok) throw (await failure(response)).error
    return response
  }

  async #once(call: Call, key: string | undefined): Promise<Answer | Failed> {
    const limit = AbortSignal.timeout(call.timeout ?? this.options.timeout)
    const signal = call.signal ? AbortSignal.any([limit, call.signal]) : limit
    const response = await this.#fetch(call, key, signal)
    if (response instanceof Failed) return response
    try {
      if (!response.ok && !(call.anyStatus === true && isJson(response.headers)))
        return await failure(response)
      const text = await readText(response)
      const body = call.text === true ? text : parse(text, response)
      return { status: response.status, headers: response.headers, body }
    } catch (error) {
      if (error instanceof WritClientError) throw error
      return this.#broken(error, call)
    }
  }

  async #fetch(
    call: Call,
    key: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Response | Failed> {
    const headers = new Headers({
      accept: call.accept ?? 'application/json',
      'user-agent': this.options.userAgent,
    })
    for (const [name, value] of Object.entries(call.headers ?? {})) headers.set(name, value)
    if (call.lastEventId !== undefined) headers.set('last-event-id', call.lastEventId)
    if (call.body !== undefined) headers.set('content-type', 'application/json')
    if (key !== undefined) headers.set('idempotency-key', key)
    const url = call.at ?? this.urlOf(call.path, call.query)
    if (url.origin !== this.#base.origin)
      throw new WritClientError('ERR_PROTOCOL', 'the server leads to another one')
    const body = call.form ?? (call.body === undefined ? undefined : JSON.stringify(call.body))
    const send = async (): Promise<Response | Failed> => {
      try {
        return await this.options.fetch(url, {
          method: call.method,
          headers,
          // a redirect would carry the token to wherever it points
          redirect: 'manual',
          ...(body === undefined ? {} : { body }),
          ...(signal === undefined ? {} : { signal }),
        })
      } catch (error) {
        return this.#broken(error, call)
      }
    }
    if (call.authenticate === false) return send()
    const held = await this.options.token()
    if (held === undefined) return send()
    const response = await this.#prove(held, call.method, url, headers, send)
    if (response instanceof Failed || response.status !== 401) return response
    // it may have ended just now; what was refused has done nothing, so that asking again repeats nothing
    const renewed = await this.options.token(textOf(held))
    if (renewed === undefined || textOf(renewed) === textOf(held)) return response
    await response.body?.cancel()
    return this.#prove(renewed, call.method, url, headers, send)
  }

  /** Sends with a token, and with proof of its key where it has one; again, once, with the nonce that is wanted. */
  async #prove(
    held: string | BoundToken,
    method: string,
    url: URL,
    headers: Headers,
    send: () => Promise<Response | Failed>,
  ): Promise<Response | Failed> {
    if (typeof held === 'string') {
      headers.delete('dpop')
      headers.set('authorization', `Bearer ${held}`)
      return send()
    }
    const { token, key } = held
    headers.set('authorization', `DPoP ${token}`)
    for (let tries = 0; ; tries++) {
      const used = this.#nonce
      headers.set(
        'dpop',
        await dpopProof(key, { method, url, now: Date.now(), nonce: used, accessToken: token }),
      )
      const response = await send()
      if (response instanceof Failed) return response
      this.#nonce = response.headers.get('dpop-nonce') ?? used
      if (response.status !== 401 || this.#nonce === used || tries > 0) return response
      await response.body?.cancel()
    }
  }

  #broken(error: unknown, call: Call): Failed {
    if (call.signal?.aborted === true) {
      return new Failed(
        new WritClientError('ERR_ABORTED', 'the request was aborted', { cause: call.signal.reason }),
      )
    }
    if (error instanceof Error && (error.name === 'TimeoutError' || error.name === 'AbortError')) {
      const limit = call.timeout ?? this.options.timeout
      const timeout = new WritClientError(
        'ERR_TIMEOUT',
        `\`${this.#base.origin}\` did not answer in ${limit} ms`,
        {
          hint: 'is the server overloaded, or something else behind this URL?',
          cause: error,
        },
      )
      return new Failed(timeout, { passing: true })
    }
    const code = causeCode(error)
    const unreachable = new WritClientError(
      'ERR_UNREACHABLE',
      `cannot reach \`${this.#base.origin}\`${code === undefined ? '' : ` (${code})`}`,
      { hint: 'is the server running, and the URL right? see WRIT_URL', cause: error },
    )
    return new Failed(unreachable, { passing: true, unsent: code !== undefined && unsentCodes.has(code) })
  }
}

/** A try without an answer that can be used, and what is known of it. */
class Failed {
  readonly error: WritClientError
  /** Trying again is likely to help. */
  readonly passing: boolean
  /** The request did not arrive, or the server says that it did nothing. */
  readonly unsent: boolean
  readonly retryAfter: number | undefined

  constructor(
    error: WritClientError,
    how: { passing?: boolean; unsent?: boolean; retryAfter?: number | undefined } = {},
  ) {
    this.error = error
    this.passing = how.passing ?? false
    this.unsent = how.unsent ?? false
    this.retryAfter = how.retryAfter
  }
}

/** What an answer other than 2xx says: problem details, or the plain sentence that AuthZEN has. */
async function failure(response: Response): Promise<Failed> {
  const { status, headers } = response
  const text = await readText(response)
  const fields = problemFields(text, headers)
  const requestId = fields.request_id ?? headers.get('x-request-id') ?? undefined
  const code = fields.code ?? codeOf(status)
  const sentence = fields.detail ?? fields.title ?? plain(text) ?? `the server answered with status ${status}`
  const redirect = status >= 300 && status < 400
  const error = new WritClientError(code, redirect ? `the server answered with a redirect` : sentence, {
    status,
    requestId,
    type: fields.type,
    hint:
      fields.hint ??
      (redirect ? 'give the URL that it redirects to: a token follows no redirect' : undefined),
  })
  const passing =
    fields.code === undefined ? [429, 502, 503, 504].includes(status) : passingCodes.has(fields.code)
  return new Failed(error, {
    passing,
    unsent: status === 429 || (fields.code !== undefined && passing),
    retryAfter: retryAfterMillis(headers),
  })
}

type Fields = { [member in 'type' | 'title' | 'detail' | 'code' | 'hint' | 'request_id']?: string }

function problemFields(text: string, headers: Headers): Fields {
  if (!isJson(headers)) return {}
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    return {} // the status alone has to do
  }
  if (typeof body === 'string') return { detail: body }
  if (typeof body !== 'object' || body === null) return {}
  const fields: Fields = {}
  for (const member of ['type', 'title', 'detail', 'code', 'hint', 'request_id'] as const) {
    const value = (body as Record<string, unknown>)[member]
    if (typeof value === 'string' && value !== '') fields[member] = value
  }
  return fields
}

const textOf = (held: string | BoundToken): string => (typeof held === 'string' ? held : held.token)

const isJson = (headers: Headers): boolean => /\bjson\b/.test(headers.get('content-type') ?? '')

/** A short plain sentence, but no page of a proxy. */
function plain(text: string): string | undefined {
  const line = text.trim()
  return line !== '' && line.length <= 300 && !line.startsWith('<') && !line.startsWith('{')
    ? line
    : undefined
}

function codeOf(status: number): string {
  if (status === 400 || status === 415 || status === 422) return 'ERR_INPUT_INVALID'
  if (status === 401) return 'ERR_UNAUTHENTICATED'
  if (status === 403) return 'ERR_FORBIDDEN'
  if (status === 404 || status === 410) return 'ERR_NOT_FOUND'
  if (status === 409) return 'ERR_CONFLICT'
  if (status === 413) return 'ERR_TOO_LARGE'
  if (status === 429) return 'ERR_RATE_LIMITED'
  if (status === 502 || status === 503 || status === 504) return 'ERR_UNREACHABLE'
  return status >= 300 && status < 500 ? 'ERR_PROTOCOL' : 'ERR_INTERNAL'
}

/** Milliseconds to wait, of `Retry-After` in seconds or as a date. */
export function retryAfterMillis(headers: Headers, now: () => number = Date.now): number | undefined {
  const text = headers.get('retry-after')
  if (text === null) return undefined
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000
  const at = Date.parse(text)
  return Number.isFinite(at) ? Math.max(0, at - now()) : undefined
}

async function readText(response: Response): Promise<string> {
  const reader = (response.body as ReadableStream<Uint8Array> | null)?.getReader()
  if (!reader) return ''
  const decoder = new TextDecoder()
  let text = ''
  let size = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return text + decoder.decode()
    size += value.byteLength
    if (size > ANSWER_MOST) {
      await reader.cancel()
      throw new WritClientError('ERR_PROTOCOL', `the answer is larger than ${ANSWER_MOST} bytes`)
    }
    text += decoder.decode(value, { stream: true })
  }
}

function parse(text: string, response: Response): unknown {
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new WritClientError('ERR_PROTOCOL', 'the answer is not JSON', {
      status: response.status,
      hint: 'is it a Writ server that answers at this URL?',
      cause: error,
    })
  }
}

function causeCode(error: unknown): string | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if ('code' in at && typeof at.code === 'string') return at.code
    if (at instanceof AggregateError && at.errors.length > 0) return causeCode(at.errors[0])
  }
  return undefined
}

function baseUrl(text: string): URL {
  let url: URL
  try {
    url = new URL(text)
  } catch (error) {
    throw new WritClientError('ERR_INPUT_INVALID', `\`${text}\` is not a URL`, { cause: error })
  }
  if ((url.protocol !== 'http:' && url.protocol !== 'https:') || url.username !== '' || url.password !== '') {
    throw new WritClientError(
      'ERR_INPUT_INVALID',
      `\`${url.protocol}//${url.host}\` is no URL of a Writ server`,
      {
        hint: 'give an http or https URL without user and password',
      },
    )
  }
  url.hash = ''
  url.search = ''
  return url
}

/** Resolves after `millis`; rejects with `ERR_ABORTED` when `signal` aborts first. */
export function sleep(millis: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => {
      clearTimeout(timer)
      reject(new WritClientError('ERR_ABORTED', 'waiting was aborted', { cause: signal?.reason }))
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', aborted)
      resolve()
    }, millis)
    if (signal?.aborted === true) aborted()
    else signal?.addEventListener('abort', aborted, { once: true })
  })
}
