/**
 * Every transmitter that is listened to: what they push, polling those that do not, and watching for silence.
 *
 * @module
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { Fetcher } from '../../identity/issuers/fetcher.ts'
import type { ReceiverConfig, SetError, SignalStream } from '../../model/signal.ts'
import type { Instant, Millis } from '../../model/time.ts'
import { MINUTE, SECOND } from '../../model/time.ts'
import type { Clock } from '../../store/clock.ts'
import type { Store } from '../../store/port.ts'
import type { OutboundOptions } from '../outbound.ts'
import { reasonOf } from '../sink.ts'
import { TransmitterClient, bearer, secretIn } from './client.ts'
import type { SsfCodec } from './codec.ts'
import type { SignalVerbs } from './effects.ts'
import { transmitterKeys } from './keys.ts'
import type { InTurn, Log } from './loop.ts'
import { backedOff, oneByOne, pause } from './loop.ts'
import type { Taken } from './receiver.ts'
import { SignalReceiver } from './receiver.ts'
import { StreamKeeper } from './stream.ts'

export type ReceiversOptions = Readonly<{
  store: Store
  codec: SsfCodec
  clock: Clock
  fetch: Fetcher
  verbs: SignalVerbs
  readText: (path: string) => Promise<string>
  /** Where `name` finds our push door, e.g. `https://writ.example/ssf/push/idp`. */
  pushUrl: (name: string) => string | undefined
  randomBytes: (size: number) => Uint8Array
  /** In [0, 1). */
  jitter: () => number
  log: Log
  lookup?: OutboundOptions['lookup']
}>

/** SETs of one poll, and how many polls that bring nothing may follow each other at once. */
const AT_ONCE = 50
const FIRST_RETRY: Millis = 500
const LAST_RETRY: Millis = MINUTE
/** A transmitter that does not hold a poll is asked this often. */
const IDLE: Millis = SECOND
/** One that sends the same again and again, or nothing that is its own, waits longer each time, at most this long. */
const FRUITLESS_MOST: Millis = 10 * SECOND
/** Polls that fail one after another before somebody should know. */
const WORRYING = 5

export class SignalReceivers {
  readonly #options: ReceiversOptions
  readonly #all: ReadonlyMap<string, Listening>

  constructor(configs: readonly ReceiverConfig[], options: ReceiversOptions) {
    this.#options = options
    const inTurn = oneByOne()
    this.#all = new Map(configs.map((config) => [config.name, new Listening(config, options, inTurn)]))
  }

  get names(): readonly string[] {
    return [...this.#all.keys()]
  }

  /** A SET that was pushed by whoever shows `authorization`; `undefined` if nobody is listened to under that name. */
  async push(name: string, token: string, authorization: string | undefined): Promise<Taken | undefined> {
    const one = this.#all.get(name)
    if (one === undefined || one.receiver.config.delivery !== 'push') return undefined
    const { authorizationFile } = one.receiver.config
    if (authorizationFile !== undefined) {
      const wanted = bearer(await secretIn(this.#options.readText, authorizationFile))
      if (authorization === undefined || !isSame(authorization, wanted)) return one.receiver.unauthenticated()
    }
    return one.receiver.take(token)
  }

  async recover(): Promise<void> {
    for (const { receiver } of this.#all.values()) await receiver.begin()
  }

  start(): void {
    for (const one of this.#all.values()) one.start()
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#all.values()].map((one) => one.stop()))
  }

  /** Looks after every stream now, and for silence. */
  async tend(): Promise<void> {
    await Promise.all([...this.#all.values()].map((one) => one.tend()))
  }

  /** Ends the streams that are kept at the transmitters. */
  async endStreams(): Promise<void> {
    for (const { keeper, receiver } of this.#all.values()) if (receiver.config.manage) await keeper.end()
  }

  /** How each transmitter stands. */
  streams(now: Instant): Promise<readonly SignalStream[]> {
    return Promise.all([...this.#all.values()].map((one) => one.describe(now)))
  }

  async problems(now: Instant): Promise<readonly string[]> {
    return (await Promise.all([...this.#all.values()].map((one) => one.problems(now)))).flat()
  }
}

class Listening {
  readonly receiver: SignalReceiver
  readonly keeper: StreamKeeper
  readonly #client: TransmitterClient
  readonly #options: ReceiversOptions
  readonly #stopping = new AbortController()
  #running: Promise<unknown> | undefined
  #failures = 0
  #problem: string | undefined

  constructor(config: ReceiverConfig, options: ReceiversOptions, inTurn: InTurn) {
    const { codec, readText, lookup, clock, fetch, store, verbs, randomBytes, log } = options
    this.#options = options
    this.#client = new TransmitterClient({
      config,
      codec,
      readText,
      ...(lookup === undefined ? {} : { lookup }),
    })
    const keys = transmitterKeys({ config, fetch, clock, metadata: () => this.#client.metadata() })
    this.receiver = new SignalReceiver(config, { store, codec, keys, verbs, inTurn })
    this.keeper = new StreamKeeper({
      receiver: this.receiver,
      client: this.#client,
      codec,
      readText,
      pushUrl: () => options.pushUrl(config.name),
      newState: () => Buffer.from(randomBytes(18)).toString('base64url'),
      log,
    })
  }

  start(): void {
    const { delivery } = this.receiver.config
    this.#running ??= Promise.all([this.#tending(), ...(delivery === 'poll' ? [this.#polling()] : [])])
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  async tend(): Promise<void> {
    await this.keeper.tend()
    await this.receiver.checkSilence()
  }

  async describe(now: Instant): Promise<SignalStream> {
    const { name, delivery } = this.receiver.config
    const { heardAt, status } = await this.receiver.heard()
    return {
      name,
      direction: 'in',
      delivery,
      ...(status === undefined ? {} : { status }),
      ...(heardAt === undefined ? {} : { heardAt }),
      problems: await this.problems(now),
    }
  }

  async problems(now: Instant): Promise<readonly string[]> {
    const { name } = this.receiver.config
    return [
      ...(await this.receiver.problems(now)),
      ...(this.#problem !== undefined && this.#failures >= WORRYING
        ? [`transmitter \`${name}\` cannot be polled: ${this.#problem}`]
        : []),
      ...(this.keeper.problem === undefined
        ? []
        : [`the stream of transmitter \`${name}\` cannot be looked after: ${this.keeper.problem}`]),
    ]
  }

  async #tending(): Promise<void> {
    const { signal } = this.#stopping
    const { verifyEvery, silence } = this.receiver.config
    const least = Math.min(verifyEvery, silence, MINUTE)
    let tendedAt = -Infinity
    while (!signal.aborted) {
      try {
        const now = this.#options.clock.monotonic()
        const isDue = now - tendedAt >= verifyEvery || this.keeper.problem !== undefined
        if (isDue) {
          tendedAt = now
          await this.keeper.tend()
        }
        await this.receiver.checkSilence()
      } catch (error) {
        this.#options.log('error', 'a transmitter could not be watched', {
          transmitter: this.receiver.config.name,
          error,
        })
      }
      await pause(least * (0.75 + this.#options.jitter() / 4), signal)
    }
  }

  async #polling(): Promise<void> {
    const { signal } = this.#stopping
    let ack: string[] = []
    let errors: Record<string, SetError> = {}
    let fruitless = 0
    while (!signal.aborted) {
      const url = this.keeper.pollUrl
      if (url === undefined) {
        await pause(FIRST_RETRY, signal)
        continue
      }
      try {
        const had = ack.length + Object.keys(errors).length
        const startedAt = this.#options.clock.monotonic()
        const accepted = this.receiver.accepted
        const { sets } = await this.#client.poll(
          url,
          // what is owed to it is told at once, and so is the wish for more
          { most: AT_ONCE, immediately: had > 0, ack, errors },
          signal,
        )
        const taken = await this.#takeAll(sets)
        ack = taken.ack
        errors = taken.errors
        this.#recovered()
        const isEmpty = Object.keys(sets).length === 0
        const wasHeld = this.#options.clock.monotonic() - startedAt >= IDLE
        const { jitter } = this.#options
        // whatever it says of more to come
        if (isEmpty && had === 0 && !wasHeld) await pause(IDLE, signal)
        else if (taken.again) await pause(backedOff(1, jitter(), 5 * SECOND, LAST_RETRY), signal)
        fruitless = isEmpty || this.receiver.accepted > accepted ? 0 : fruitless + 1
        if (fruitless > 0) await pause(backedOff(fruitless, jitter(), FIRST_RETRY, FRUITLESS_MOST), signal)
      } catch (error) {
        if (signal.aborted) return
        this.#failed(error)
        await pause(backedOff(this.#failures, this.#options.jitter(), FIRST_RETRY, LAST_RETRY), signal)
      }
    }
  }

  /** What was acted on is acknowledged, and nothing else: the rest comes again. */
  async #takeAll(sets: Readonly<Record<string, string>>) {
    const ack: string[] = []
    const errors: Record<string, SetError> = {}
    let again = false
    for (const [jti, token] of Object.entries(sets).slice(0, 2 * AT_ONCE)) {
      const taken = await this.receiver.take(token, jti)
      if (taken.taken === true) ack.push(jti)
      else if (taken.refused !== undefined) errors[jti] = taken.refused
      else again = true
    }
    return { ack, errors, again }
  }

  #recovered(): void {
    if (this.#failures >= WORRYING)
      this.#options.log('info', 'a transmitter is polled again', { transmitter: this.receiver.config.name })
    this.#failures = 0
    this.#problem = undefined
  }

  #failed(error: unknown): void {
    this.#failures += 1
    const problem = reasonOf(error)
    if (problem !== this.#problem)
      this.#options.log('warn', 'a transmitter could not be polled and is asked again', {
        transmitter: this.receiver.config.name,
        problem,
      })
    this.#problem = problem
  }
}

/** In a time that says nothing about the secret. */
function isSame(given: string, wanted: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(wanted))
}
