/**
 * The stream that a transmitter keeps for us: made, kept as it should be, and asked to prove that it works (B54).
 *
 * @module
 */
import type { ReceiverConfig, StreamDescription, TransmitterMetadata } from '../../model/signal.ts'
import type { Log } from './loop.ts'
import { SinkError, reasonOf } from '../sink.ts'
import type { TransmitterClient } from './client.ts'
import { bearer, secretIn } from './client.ts'
import type { SsfCodec } from './codec.ts'
import type { SignalReceiver } from './receiver.ts'

type Options = Readonly<{
  receiver: SignalReceiver
  client: TransmitterClient
  codec: SsfCodec
  readText: (path: string) => Promise<string>
  /** Where SETs are pushed to; `undefined` while nobody listens. */
  pushUrl: () => string | undefined
  newState: () => string
  log: Log
}>

export class StreamKeeper {
  readonly #options: Options
  readonly #config: ReceiverConfig
  #pollUrl: string | undefined
  #problem: string | undefined

  constructor(options: Options) {
    this.#options = options
    this.#config = options.receiver.config
    this.#pollUrl = this.#config.pollUrl
  }

  /** Where to poll, once it is known. */
  get pollUrl(): string | undefined {
    return this.#pollUrl
  }

  get problem(): string | undefined {
    return this.#problem
  }

  /** Looks after the stream and asks for a verification. Never throws: what fails shows as silence if it goes on. */
  async tend(): Promise<void> {
    if (!this.#config.manage) return
    try {
      const { id, metadata } = await this.#ensure()
      await this.#verify(metadata, id)
      this.#problem = undefined
    } catch (error) {
      this.#problem = reasonOf(error)
      this.#options.log('warn', 'the stream of a transmitter could not be looked after', {
        transmitter: this.#config.name,
        problem: this.#problem,
      })
    }
  }

  /** Ends the stream there. */
  async end(): Promise<void> {
    const { receiver, client } = this.#options
    const { stream } = await receiver.heard()
    const { configurationEndpoint } = await client.metadata()
    if (stream !== undefined && configurationEndpoint !== undefined)
      await client.delete(configurationEndpoint, stream)
  }

  async #ensure(): Promise<Readonly<{ id: string; metadata: TransmitterMetadata }>> {
    const { receiver, client } = this.#options
    const metadata = await client.metadata()
    const endpoint = metadata.configurationEndpoint
    if (endpoint === undefined) throw new SinkError('its metadata have no `configuration_endpoint`')
    const known = (await receiver.heard()).stream
    const found = known === undefined ? undefined : await client.stream(endpoint, known)
    if (known !== undefined && found === undefined)
      await receiver.streamIs('disabled', 'it is no longer there')
    const stream = found ?? (await this.#make(endpoint))
    if (stream.id !== known) await receiver.joined(stream.id)
    await this.#judge(await this.#mend(endpoint, stream), metadata)
    return { id: stream.id, metadata }
  }

  /** Ours of before, if a start forgot it; else a new one. */
  async #make(endpoint: string): Promise<StreamDescription> {
    const { client, codec } = this.#options
    const mine = (await client.streams(endpoint)).find(
      ({ issuer, audiences }) =>
        issuer === this.#config.issuer && audiences.some((one) => this.#config.audiences.includes(one)),
    )
    return mine ?? client.create(endpoint, codec.encodeStreamRequest(await this.#wanted()))
  }

  async #wanted() {
    const { codec, pushUrl, readText } = this.#options
    const { authorizationFile, delivery, events } = this.#config
    const url = pushUrl()
    if (delivery === 'push' && url === undefined) throw new SinkError('nobody listens here to what it pushes')
    const authorization =
      authorizationFile === undefined ? undefined : bearer(await secretIn(readText, authorizationFile))
    return {
      ...(delivery === 'push' && url !== undefined
        ? { push: { url, ...(authorization === undefined ? {} : { authorization }) } }
        : {}),
      events: events.map((event) => codec.eventUri(event)),
      description: 'Writ',
    }
  }

  /** The stream as we want it, changed there if it is not. */
  async #mend(endpoint: string, stream: StreamDescription): Promise<StreamDescription> {
    const { client, codec } = this.#options
    const wanted = await this.#wanted()
    const method = codec.methods[this.#config.delivery]
    const isRight =
      stream.delivery.method === method &&
      (wanted.push === undefined || stream.delivery.url === wanted.push.url) &&
      wanted.events.every((event) => stream.requested.includes(event))
    return isRight ? stream : client.update(endpoint, codec.encodeStreamRequest({ id: stream.id, ...wanted }))
  }

  async #judge(stream: StreamDescription, { statusEndpoint }: TransmitterMetadata): Promise<void> {
    const { receiver, client, codec } = this.#options
    const { audiences, delivery, events, issuer } = this.#config
    if (delivery === 'poll') {
      if (stream.delivery.url === undefined) throw new SinkError('its stream does not say where to poll')
      this.#pollUrl = stream.delivery.url
    }
    let status = statusEndpoint === undefined ? undefined : await client.status(statusEndpoint, stream.id)
    if (status?.status === 'paused' && statusEndpoint !== undefined) {
      await receiver.streamIs('paused', status.reason)
      await client.setStatus(statusEndpoint, stream.id, 'enabled')
      status = await client.status(statusEndpoint, stream.id)
    }
    const missing = events.filter((event) => !stream.delivered.includes(codec.eventUri(event)))
    const why =
      stream.issuer !== issuer
        ? 'its stream is of another issuer'
        : !stream.audiences.every((one) => audiences.includes(one))
          ? 'its stream is for another audience'
          : missing.length > 0
            ? `its stream does not deliver ${missing.map((event) => `\`${event}\``).join(', ')}`
            : status?.reason
    await receiver.streamIs(status?.status ?? 'enabled', why)
  }

  async #verify(metadata: TransmitterMetadata, id: string): Promise<void> {
    const { receiver, client, newState } = this.#options
    if (metadata.verificationEndpoint === undefined)
      throw new SinkError('its metadata have no `verification_endpoint`')
    const state = newState()
    // written down before it is asked: the answer may be here first
    await receiver.asked(state)
    await client.verify(metadata.verificationEndpoint, id, state)
  }
}
