/**
 * Asking a system of others for one JSON document: bounded in time, size and number, without redirects, behind a breaker,
 * and with the time by the clock of that system, so that what it says and what its webhooks tell are in one order.
 *
 * @module
 */
import { readJson } from '../model/json.ts'
import type { Credential, CredentialScheme, SecretPlace } from '../model/source.ts'
import type { Instant, Millis } from '../model/time.ts'
import { MINUTE, SECOND } from '../model/time.ts'
import type { Clock } from '../store/clock.ts'
import { Breaker } from './breaker.ts'
import { SourceError } from './port.ts'

/** One request, judged by its address after the name was looked up; never follows a redirect. */
export type Fetch = (
  url: URL,
  options: Readonly<{
    headers: Readonly<Record<string, string>>
    timeout: Millis
    maxBytes: number
    allowPrivate: boolean
    ca?: string
    signal: AbortSignal
  }>,
) => Promise<
  | Readonly<{
      status: number
      headers: Readonly<Record<string, string | readonly string[] | undefined>>
      body: Uint8Array
      failed?: undefined
    }>
  | Readonly<{ failed: string }>
>

export type AskedDeps = Readonly<{
  fetch: Fetch
  /** The text of a secret. @throws if it cannot be read. */
  secret(place: SecretPlace): Promise<string>
  clock: Clock
}>

/** What was asked, and how. */
export type AskedConfig = Readonly<{
  timeout: Millis
  allowPrivate: boolean
  ca?: string
  credential?: Credential
  accept: string
  /** Where the credential names none. */
  scheme: CredentialScheme
}>

/** A document and the time by the clock of who said it; without a document it knows of none. */
export type Said = Readonly<{ document?: unknown; at: Instant }>

/** Longest answer that is read, bytes. */
export const ANSWER_MOST = 262_144
const DEPTH_MOST = 32
/** Questions under way at one system, and more that wait until one of them is answered. */
const AT_ONCE = 16
const WAITING_MOST = 64
/** A clock that differs by more than this is wrong: ours or theirs. */
export const SKEW: Millis = MINUTE

export class Asked {
  readonly #config: AskedConfig
  readonly #deps: AskedDeps
  readonly #breaker: Breaker
  /** Whoever waits for a place. */
  readonly #waiting = new Set<() => void>()
  #under = 0

  constructor(config: AskedConfig, deps: AskedDeps) {
    this.#config = config
    this.#deps = deps
    this.#breaker = new Breaker({ monotonic: () => deps.clock.monotonic() })
  }

  /** @throws {SourceError} for every reason not to know. */
  async ask(url: URL, signal: AbortSignal): Promise<Said> {
    await this.#place(signal)
    let answer: Answer
    try {
      answer = await this.#tried(url, signal)
    } finally {
      this.#under -= 1
      const [next] = this.#waiting
      next?.()
    }
    return said(answer, this.#deps.clock.wall())
  }

  /** Many are asked for at once where many are looked at again at once: to refuse them would end what stands on them. */
  async #place(signal: AbortSignal): Promise<void> {
    if (this.#under >= AT_ONCE) {
      if (this.#waiting.size >= WAITING_MOST)
        throw new SourceError(`${AT_ONCE} questions to it are under way, and ${WAITING_MOST} wait`)
      await new Promise<void>((resolve, reject) => {
        const over = (): void => {
          this.#waiting.delete(go)
          reject(new SourceError(`${AT_ONCE} questions to it are under way`))
        }
        const go = (): void => {
          this.#waiting.delete(go)
          signal.removeEventListener('abort', over)
          // the place is taken before anybody else can see it
          this.#under += 1
          resolve()
        }
        this.#waiting.add(go)
        if (signal.aborted) over()
        else signal.addEventListener('abort', over, { once: true })
      })
    } else this.#under += 1
  }

  async #tried(url: URL, signal: AbortSignal): Promise<Answer> {
    const passage = this.#breaker.enter()
    if (passage === undefined) {
      const seconds = Math.ceil(this.#breaker.resting / SECOND)
      throw new SourceError(`it failed and is asked again in ${Math.max(1, seconds)} s`)
    }
    try {
      const answer = await this.#answer(url, signal)
      passage.succeeded()
      return answer
    } catch (error) {
      passage.failed(error instanceof Unavailable ? error.rest : undefined)
      throw error instanceof SourceError ? error : new SourceError('it failed in an unexpected way')
    }
  }

  async #answer(url: URL, signal: AbortSignal): Promise<Answer> {
    const { clock, fetch } = this.#deps
    const { timeout, allowPrivate, ca } = this.#config
    const headers = {
      accept: this.#config.accept,
      'cache-control': 'no-cache',
      ...(await this.#authorized()),
    }
    const sentAt = clock.wall()
    const started = clock.monotonic()
    const fetched = await fetch(url, {
      headers,
      timeout,
      maxBytes: ANSWER_MOST,
      allowPrivate,
      signal,
      ...(ca === undefined ? {} : { ca }),
    })
    if (fetched.failed !== undefined) throw new SourceError(fetched.failed)
    const { status } = fetched
    if (status === 401 || status === 403) throw new SourceError(`it refuses our credentials (${status})`)
    if (status === 429 || status >= 500) {
      throw new Unavailable(`it answered ${status}`, pause(header(fetched, 'retry-after'), clock.wall()))
    }
    return { ...fetched, sentAt, elapsed: clock.monotonic() - started }
  }

  async #authorized(): Promise<Readonly<Record<string, string>>> {
    const { credential, scheme } = this.#config
    if (credential === undefined) return {}
    let secret: string
    try {
      secret = (await this.#deps.secret(credential.from)).trim()
    } catch {
      throw new SourceError('the credential for it cannot be read') // the error names the place, for whoever may know it
    }
    // what a header cannot hold would be told in the message of an error
    if (!/^[\x21-\x7e][\x20-\x7e]{0,8191}$/u.test(secret)) {
      throw new SourceError('the credential for it is empty or cannot stand in a header')
    }
    return { [credential.header]: written(credential.scheme ?? scheme, secret) }
  }
}

type Answer = Readonly<{
  status: number
  headers: Readonly<Record<string, string | readonly string[] | undefined>>
  body: Uint8Array
  sentAt: Instant
  elapsed: Millis
}>

/** It cannot answer now, and may have said for how long. */
class Unavailable extends SourceError {
  readonly rest: Millis | undefined

  constructor(message: string, rest: Millis | undefined) {
    super(message)
    this.rest = rest
  }
}

function written(scheme: CredentialScheme, secret: string): string {
  switch (scheme) {
    case 'bearer':
      return `Bearer ${secret}`
    case 'basic':
      return `Basic ${Buffer.from(secret).toString('base64')}`
    case 'token':
      return `Token token=${secret}`
    case 'geniekey':
      return `GenieKey ${secret}`
    case 'none':
      return secret
  }
}

/** What is so by an answer that came. One thing that is answered wrongly says nothing of others: no breaker opens. */
function said(answer: Answer, now: Instant): Said {
  const { status, body } = answer
  if (status >= 300 && status < 400) throw new SourceError('it redirects, which is not followed')
  const isGone = status === 404 || status === 410
  if (status !== 200 && !isGone) throw new SourceError(`it answered ${status}`)
  const at = saidAt(answer, now)
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch {
    throw new SourceError('its answer is not UTF-8')
  }
  const read = readJson(text, DEPTH_MOST)
  // a page of something that stands before it does not know that there is no such thing
  if (read.problem !== undefined) throw new SourceError('its answer is not the JSON that it should be')
  return isGone ? { at } : { document: read.value, at }
}

/**
 * When it was so, by its own clock: when it answered, less all that the answer may have taken, so that a change which its
 * webhooks tell is never older than an answer from before. Whole seconds, since its header has no others.
 */
function saidAt(answer: Answer, now: Instant): Instant {
  const date = header(answer, 'date')
  if (date === undefined) return answer.sentAt
  const at = Date.parse(date)
  if (!Number.isFinite(at)) throw new SourceError('the time that it names cannot be read')
  if (Math.abs(at - now) > SKEW + answer.elapsed) {
    throw new SourceError('its clock differs from ours by more than a minute')
  }
  const age = /^\d{1,9}$/u.exec(header(answer, 'age') ?? '')?.[0] ?? '0'
  return Math.floor((at - answer.elapsed) / SECOND) * SECOND - Number(age) * SECOND
}

function header({ headers }: Pick<Answer, 'headers'>, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'string' ? value : value?.[0]
}

function pause(text: string | undefined, now: Instant): Millis | undefined {
  if (text === undefined) return undefined
  const millis = /^\d{1,9}$/u.test(text) ? Number(text) * SECOND : Date.parse(text) - now
  return Number.isFinite(millis) && millis > 0 ? millis : undefined
}
