/**
 * Telling others what Writ takes away: streams for configured listeners, and what a listener may ask of its own.
 *
 * @module
 */
import type { Caller } from '../../../model/access.ts'
import { refKey } from '../../../model/entity.ts'
import { WritError } from '../../../model/errors.ts'
import type { Json } from '../../../model/canonical.ts'
import type { SignalStream, StreamStatus, TransmitterConfig } from '../../../model/signal.ts'
import { toldEvents } from '../../../model/signal.ts'
import type { Instant, Millis } from '../../../model/time.ts'
import { SECOND } from '../../../model/time.ts'
import type { StreamOptions } from './stream.ts'
import { ListenerStream } from './stream.ts'

/** A stream as its listener sees it. */
export type ListenerView = Readonly<{
  id: string
  audience: string
  method: 'push' | 'poll'
  url?: string
  supported: readonly string[]
  requested: readonly string[]
  delivered: readonly string[]
  description?: string
  /** Seconds. */
  verifyEvery: number
}>

/** What a listener wants of its stream. `events` are short names; what is not understood was left out. */
export type StreamWish = Readonly<{
  method?: 'push' | 'poll'
  url?: string
  authorization?: string
  events?: readonly string[]
  description?: string
}>

/** Between two verifications that one listener asks for. */
const VERIFY_EVERY: Millis = 5 * SECOND
/** Polls of one listener that may wait for news. */
const HOLDING_MOST = 2

export class Transmitter {
  readonly #streams: ReadonlyMap<string, ListenerStream>
  readonly #options: StreamOptions
  readonly #verifiedAt = new Map<string, Instant>()
  readonly #holding = new Map<string, number>()
  #unsubscribe: (() => void)[] = []

  constructor({ listeners }: TransmitterConfig, options: StreamOptions) {
    this.#options = options
    this.#streams = new Map(listeners.map((one) => [refKey(one.subject), new ListenerStream(one, options)]))
  }

  get issuer(): string {
    return this.#options.issuer()
  }

  async recover(): Promise<void> {
    for (const stream of this.#streams.values()) await stream.recover()
  }

  start(): void {
    if (this.#unsubscribe.length > 0) return
    this.#unsubscribe = [...this.#streams.values()].map((stream) => stream.start())
  }

  async stop(): Promise<void> {
    for (const unsubscribe of this.#unsubscribe) unsubscribe()
    await Promise.all([...this.#streams.values()].map((stream) => stream.stop()))
  }

  mayPrune(seq: number): boolean {
    return [...this.#streams.values()].every((stream) => stream.mayPrune(seq))
  }

  problems(now: Instant): readonly string[] {
    return [...this.#streams.values()].flatMap((stream) => stream.problems(now))
  }

  /** The stream of the caller; with `id`, that one and no other. @throws {WritError} `ERR_NOT_FOUND`. */
  show(caller: Caller, id?: string): ListenerView {
    return this.#view(this.#own(caller, id))
  }

  /** @throws {WritError} `ERR_CONFLICT` if it was made before. */
  async make(caller: Caller, wish: StreamWish): Promise<ListenerView> {
    const stream = this.#of(caller)
    if (stream.state.made && !stream.state.gone)
      throw new WritError('ERR_CONFLICT', 'you have a stream already', {
        hint: 'change it, or delete it first',
      })
    const changed = this.#wished(stream, wish)
    await stream.change(
      (state) => ({ ...state, ...changed(state), made: true, gone: false }),
      changeEntry(caller, stream, 'made', wish),
    )
    return this.#view(stream)
  }

  /** `whole`: what is not said goes back to how it was configured. */
  async update(
    caller: Caller,
    id: string | undefined,
    wish: StreamWish,
    whole: boolean,
  ): Promise<ListenerView> {
    const stream = this.#own(caller, id)
    const changed = this.#wished(stream, wish)
    await stream.change(
      (state) => {
        const { requested: _requested, description: _description, ...rest } = state
        return changed(whole ? rest : state)
      },
      changeEntry(caller, stream, whole ? 'replaced' : 'changed', wish),
    )
    return this.#view(stream)
  }

  async delete(caller: Caller, id?: string): Promise<void> {
    const stream = this.#own(caller, id)
    await stream.change(
      (state) => ({ ...state, made: false, gone: true }),
      changeEntry(caller, stream, 'deleted'),
    )
  }

  status(caller: Caller, id?: string): Readonly<{ id: string; status: StreamStatus; reason?: string }> {
    const stream = this.#own(caller, id)
    const { status, reason } = stream.state
    return { id: stream.id, status, ...(reason === undefined ? {} : { reason }) }
  }

  async setStatus(caller: Caller, id: string, status: StreamStatus, reason?: string): Promise<void> {
    const stream = this.#own(caller, id)
    await stream.change(
      ({ reason: _reason, ...state }) => ({ ...state, status, ...(reason === undefined ? {} : { reason }) }),
      {
        kind: 'signal.stream',
        listener: stream.config.name,
        status,
        by: caller.id,
        ...(reason === undefined ? {} : { reason }),
      },
    )
  }

  /** An event that says that everything before it has been delivered. @throws {WritError} `ERR_RATE_LIMITED`. */
  async verify(caller: Caller, id: string, state?: string): Promise<void> {
    const stream = this.#own(caller, id)
    const { now } = await this.#options.store.read([])
    const last = this.#verifiedAt.get(stream.id)
    if (last !== undefined && now >= last && now - last < VERIFY_EVERY)
      throw new WritError('ERR_RATE_LIMITED', 'a stream is verified once in a few seconds', {
        hint: `see \`min_verification_interval\`: ${VERIFY_EVERY / SECOND} s`,
      })
    this.#verifiedAt.set(stream.id, now)
    const entry: Readonly<Record<string, Json>> = {
      kind: 'signal.verify',
      listener: stream.config.name,
      ...(state === undefined ? {} : { state }),
    }
    await stream.change((before) => before, entry)
  }

  /** RFC 8936: takes what is acknowledged or refused off the stream, and hands out what waits. */
  async poll(
    caller: Caller,
    ask: Readonly<{
      most: number
      immediately: boolean
      ack: readonly string[]
      errors: Readonly<Record<string, Readonly<{ err: string; description?: string }>>>
    }>,
    signal?: AbortSignal,
  ): Promise<Readonly<{ sets: Readonly<Record<string, string>>; more: boolean }>> {
    const stream = this.#own(caller)
    if (stream.state.method !== 'poll')
      throw new WritError('ERR_CONFLICT', 'this stream is pushed', {
        hint: 'change its `delivery` to poll it',
      })
    await stream.settle(ask.ack, ask.errors)
    const holding = this.#holding.get(stream.id) ?? 0
    const immediately = ask.immediately || holding >= HOLDING_MOST
    this.#holding.set(stream.id, holding + 1)
    try {
      const { sets, more } = await stream.waiting(ask.most, immediately, signal)
      return { sets: Object.fromEntries(sets.map(({ jti, token }) => [jti, token])), more }
    } finally {
      this.#holding.set(stream.id, (this.#holding.get(stream.id) ?? 1) - 1)
    }
  }

  /** How each listener stands. */
  streams(now: Instant): readonly SignalStream[] {
    return [...this.#streams.values()].map((stream) => {
      const { status, gone, method, dead } = stream.state
      const { behindSince } = stream
      return {
        name: stream.config.name,
        direction: 'out',
        delivery: method,
        status: gone ? 'gone' : status,
        ...(behindSince === undefined ? {} : { behindSince }),
        refused: dead.length,
        problems: stream.problems(now),
      }
    })
  }

  /** Sends what `name` refused once more; how many. */
  async redeliver(name: string, by: string): Promise<number> {
    return this.#named(name).redeliver(by)
  }

  #named(name: string): ListenerStream {
    const stream = [...this.#streams.values()].find(({ config }) => config.name === name)
    if (stream !== undefined) return stream
    const names = [...this.#streams.values()].map(({ config }) => `\`${config.name}\``)
    throw new WritError('ERR_NOT_FOUND', `there is no listener \`${name}\``, {
      hint: `those that are told are ${names.join(', ')}`,
    })
  }

  #of(caller: Caller): ListenerStream {
    const stream = this.#streams.get(refKey(caller.subject))
    // a stream is told about everybody: what somebody may do for its listener is not that
    if (stream === undefined || caller.chain !== undefined || caller.scope !== undefined)
      throw new WritError(
        'ERR_FORBIDDEN',
        `${refKey(caller.subject)} is not listed under \`signals.transmitter\``,
      )
    return stream
  }

  #own(caller: Caller, id?: string): ListenerStream {
    const stream = this.#of(caller)
    if (stream.state.gone || (id !== undefined && id !== stream.id))
      throw new WritError('ERR_NOT_FOUND', 'you have no such stream')
    return stream
  }

  /** What a wish makes of the state; a listener is pushed to where an operator said, and nowhere else (B3). */
  #wished(stream: ListenerStream, wish: StreamWish) {
    const { endpoint, name } = stream.config
    if (wish.method === 'push' && !isAllowed(wish.url, endpoint)) {
      throw new WritError('ERR_INPUT_INVALID', '`delivery.endpoint_url` is not the one that is configured', {
        hint: `an operator lists it as \`endpoint\` of \`${name}\` under \`signals.transmitter\``,
      })
    }
    const sealed =
      wish.authorization === undefined ? undefined : this.#options.seal(`ssf/${name}`, wish.authorization)
    const events = wish.events?.filter((event) => toldEvents.some((known) => known === event))
    return (state: ListenerStream['state']): ListenerStream['state'] => {
      const { url: _url, authorization: _authorization, ...rest } = state
      return {
        ...(wish.method === undefined ? state : { ...rest, method: wish.method }),
        ...(wish.method === 'push' && wish.url !== undefined ? { url: new URL(wish.url).href } : {}),
        ...(wish.method === 'push' && sealed !== undefined ? { authorization: sealed } : {}),
        ...(events === undefined ? {} : { requested: events }),
        ...(wish.description === undefined ? {} : { description: wish.description }),
      }
    }
  }

  #view(stream: ListenerStream): ListenerView {
    const { method, url, requested, description } = stream.state
    const { events, audience } = stream.config
    return {
      id: stream.id,
      audience,
      method,
      ...(method === 'push' && url !== undefined ? { url } : {}),
      supported: events,
      requested: requested ?? events,
      delivered: stream.delivered,
      ...(description === undefined ? {} : { description }),
      verifyEvery: VERIFY_EVERY / SECOND,
    }
  }
}

/** What a listener did with its stream; paths of addresses may hold secrets. */
function changeEntry(
  caller: Caller,
  { config }: ListenerStream,
  change: 'made' | 'changed' | 'replaced' | 'deleted',
  { method, url, events, description }: StreamWish = {},
): Readonly<Record<string, Json>> {
  return {
    kind: 'signal.listener',
    listener: config.name,
    change,
    by: caller.id,
    ...(method === undefined ? {} : { delivery: method }),
    ...(method === 'push' && url !== undefined ? { to: new URL(url).origin } : {}),
    ...(events === undefined ? {} : { events }),
    ...(description === undefined ? {} : { description }),
  }
}

/** Exactly the configured address, or below it if that ends in a slash. */
function isAllowed(given: string | undefined, endpoint: string | undefined): boolean {
  const url = given === undefined ? null : URL.parse(given)
  if (url === null || endpoint === undefined) return false
  if (url.username !== '' || url.password !== '' || url.hash !== '') return false
  // encoded dots and slashes may mean another path to whoever reads them
  if (/%2e|%2f|%5c|\/\.{1,2}(?:;|%3b)/iu.test(url.pathname)) return false
  const allowed = new URL(endpoint)
  return endpoint.endsWith('/') && allowed.search === ''
    ? url.origin === allowed.origin && url.pathname.startsWith(allowed.pathname)
    : url.href === allowed.href
}
