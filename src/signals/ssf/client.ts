/**
 * What a receiver asks of its transmitter: metadata, its stream, verification, and polling (SSF 1.0 §7 and §8, RFC 8936).
 * Every address is configured or one that the metadata name, and none is weaker than the issuer's own.
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import { isLoopback } from '../../model/issuer.ts'
import type { Json } from '../../model/canonical.ts'
import { readJson } from '../../model/json.ts'
import type {
  ReceiverConfig,
  SetError,
  StreamDescription,
  StreamStatus,
  TransmitterMetadata,
} from '../../model/signal.ts'
import type { Millis } from '../../model/time.ts'
import { SECOND } from '../../model/time.ts'
import type { OutboundOptions, OutboundRequest } from '../outbound.ts'
import { outbound } from '../outbound.ts'
import { SinkError } from '../sink.ts'
import type { SsfCodec } from './codec.ts'

const TIMEOUT: Millis = 10 * SECOND
/** A poll may be held until there is something to say. */
const POLL_TIMEOUT: Millis = 90 * SECOND
const DOCUMENT_MOST = 65_536
/** Of one poll: at most 100 SETs of 16 KiB. */
const POLL_BYTES_MOST = 2 * 1_048_576

export type PollResult = Readonly<{ sets: Readonly<Record<string, string>>; more: boolean }>

type Options = Readonly<{
  config: ReceiverConfig
  codec: SsfCodec
  /** The text of a file; read anew each time, so that it may be changed. */
  readText: (path: string) => Promise<string>
  lookup?: OutboundOptions['lookup']
}>

export class TransmitterClient {
  readonly #config: ReceiverConfig
  readonly #codec: SsfCodec
  readonly #options: Options

  constructor(options: Options) {
    this.#options = options
    this.#config = options.config
    this.#codec = options.codec
  }

  /** @throws {SinkError} if there are none, or they are of another issuer (SSF 1.0 §7.2.3). */
  async metadata(): Promise<TransmitterMetadata> {
    const at = this.#codec.metadataUrl(this.#config.issuer)
    if (at === undefined) throw new SinkError('its issuer is no URL')
    const { status, body } = await this.#ask(at, { method: 'GET' }, { token: false })
    const found = status === 200 ? this.#codec.parseMetadata(body) : undefined
    if (found === undefined) throw new SinkError(`its metadata cannot be read (it answered ${status})`)
    if (found.issuer !== this.#config.issuer) throw new SinkError('its metadata are of another issuer')
    const { jwksUri, configurationEndpoint, statusEndpoint, verificationEndpoint } = found
    for (const url of [jwksUri, configurationEndpoint, statusEndpoint, verificationEndpoint])
      if (url !== undefined) this.#checked(url)
    return found
  }

  /** Our streams there. */
  async streams(endpoint: string): Promise<readonly StreamDescription[]> {
    const { status, body } = await this.#ask(this.#checked(endpoint), { method: 'GET' })
    if (status === 404) return []
    const all = status === 200 ? this.#codec.parseStreams(body) : undefined
    if (all === undefined) throw new SinkError(`its streams cannot be read (it answered ${status})`)
    return all
  }

  async stream(endpoint: string, id: string): Promise<StreamDescription | undefined> {
    const url = this.#checked(endpoint)
    url.searchParams.set('stream_id', id)
    const { status, body } = await this.#ask(url, { method: 'GET' })
    if (status === 404) return undefined
    return this.#oneOf(status, body)
  }

  async create(endpoint: string, stream: Json): Promise<StreamDescription> {
    const answer = await this.#ask(this.#checked(endpoint), { method: 'POST', body: JSON.stringify(stream) })
    return this.#oneOf(answer.status === 201 ? 200 : answer.status, answer.body)
  }

  async update(endpoint: string, stream: Json): Promise<StreamDescription> {
    const answer = await this.#ask(this.#checked(endpoint), { method: 'PATCH', body: JSON.stringify(stream) })
    return this.#oneOf(answer.status === 202 ? 200 : answer.status, answer.body)
  }

  async delete(endpoint: string, id: string): Promise<void> {
    const url = this.#checked(endpoint)
    url.searchParams.set('stream_id', id)
    const { status } = await this.#ask(url, { method: 'DELETE' })
    if (status !== 204 && status !== 404) throw new SinkError(`it answered ${status}`)
  }

  async status(
    endpoint: string,
    id: string,
  ): Promise<Readonly<{ status: StreamStatus; reason?: string }> | undefined> {
    const url = this.#checked(endpoint)
    url.searchParams.set('stream_id', id)
    const { status, body } = await this.#ask(url, { method: 'GET' })
    if (status === 404) return undefined
    const read = status === 200 ? this.#codec.parseStatus(body) : undefined
    if (read === undefined)
      throw new SinkError(`the status of its stream cannot be read (it answered ${status})`)
    return read
  }

  async setStatus(endpoint: string, id: string, status: StreamStatus): Promise<void> {
    const body = JSON.stringify({ stream_id: id, status })
    const answer = await this.#ask(this.#checked(endpoint), { method: 'POST', body })
    if (answer.status !== 200 && answer.status !== 202) throw new SinkError(`it answered ${answer.status}`)
  }

  /** Asks for a verification event with `state`. */
  async verify(endpoint: string, id: string, state: string): Promise<void> {
    const body = JSON.stringify({ stream_id: id, state })
    const { status } = await this.#ask(this.#checked(endpoint), { method: 'POST', body })
    if (status !== 204 && status !== 200 && status !== 202)
      throw new SinkError(`it does not verify its stream (it answered ${status})`)
  }

  async poll(
    endpoint: string,
    ask: Readonly<{
      most: number
      immediately: boolean
      ack: readonly string[]
      errors: Readonly<Record<string, SetError>>
    }>,
    signal: AbortSignal,
  ): Promise<PollResult> {
    const { status, body } = await this.#ask(
      this.#checked(endpoint),
      { method: 'POST', body: JSON.stringify(this.#codec.encodePoll(ask)), signal },
      { timeout: POLL_TIMEOUT, maxBytes: POLL_BYTES_MOST },
    )
    const read = status === 200 ? this.#codec.parsePollAnswer(body) : undefined
    if (read === undefined) throw new SinkError(`it cannot be polled (it answered ${status})`)
    return read
  }

  #oneOf(status: number, body: unknown): StreamDescription {
    const [only] = (status === 200 ? this.#codec.parseStreams(body) : undefined) ?? []
    if (only === undefined) throw new SinkError(`its stream cannot be had (it answered ${status})`)
    return only
  }

  /** An address that the transmitter names is no weaker than its issuer. @throws {SinkError} */
  #checked(text: string): URL {
    const url = URL.parse(text)
    const isSafe =
      url !== null &&
      url.username === '' &&
      url.password === '' &&
      (url.protocol === 'https:' ||
        (url.protocol === 'http:' &&
          this.#config.unsafeHttp &&
          (this.#config.allowPrivate || isLoopback(url))))
    if (!isSafe) throw new SinkError('one of its addresses is not https')
    return url
  }

  async #ask(
    url: URL,
    request: OutboundRequest,
    more: Readonly<{ token?: boolean; timeout?: Millis; maxBytes?: number }> = {},
  ): Promise<Readonly<{ status: number; body: unknown }>> {
    const { config, lookup } = this.#options
    const { token = true, timeout = TIMEOUT, maxBytes = DOCUMENT_MOST } = more
    const authorization = token ? await this.#authorization() : undefined
    const answer = await outbound(
      url,
      {
        ...request,
        headers: {
          accept: 'application/json',
          ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(authorization === undefined ? {} : { authorization }),
        },
      },
      {
        allowPrivate: config.allowPrivate,
        timeout,
        maxBytes,
        ...(config.ca === undefined ? {} : { ca: config.ca }),
        ...(lookup === undefined ? {} : { lookup }),
      },
    )
    if (answer.body.length === 0 || !isUtf8(answer.body)) return { status: answer.status, body: undefined }
    const read = readJson(Buffer.from(answer.body).toString('utf8'), 16)
    return { status: answer.status, body: read.problem === undefined ? read.value : undefined }
  }

  async #authorization(): Promise<string | undefined> {
    const { tokenFile } = this.#config
    if (tokenFile === undefined) return undefined
    return bearer(await secretIn(this.#options.readText, tokenFile))
  }
}

/** A bare token is a bearer token; `Basic …` and the like are taken as they are. */
export const bearer = (text: string): string => (text.includes(' ') ? text : `Bearer ${text}`)

/** The one line of a secret file. @throws {SinkError} */
export async function secretIn(readText: (path: string) => Promise<string>, path: string): Promise<string> {
  let text: string
  try {
    text = (await readText(path)).trim()
  } catch (cause) {
    throw new SinkError('its secret file cannot be read', { cause })
  }
  if (!/^[\x20-\x7e]+$/u.test(text)) throw new SinkError('its secret file holds no secret')
  return text
}
