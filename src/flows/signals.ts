/**
 * Signals in and out, put together: what transmitters tell becomes a fact or an end, and what Writ takes away is told to
 * those who listen.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { sign } from 'node:crypto'
import type { Fetcher } from '../identity/issuers/fetcher.ts'
import { signEs256 } from '../identity/jws.ts'
import type { Caller } from '../model/access.ts'
import type { Json } from '../model/canonical.ts'
import { refKey } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { SignalStream, SignalsConfig } from '../model/signal.ts'
import type { Signer } from '../model/signer.ts'
import type { Instant, Millis } from '../model/time.ts'
import { DAY } from '../model/time.ts'
import type { OutboundOptions } from '../signals/outbound.ts'
import type { SsfCodec } from '../signals/ssf/codec.ts'
import type { SignalVerbs } from '../signals/ssf/effects.ts'
import type { Taken } from '../signals/ssf/receiver.ts'
import { SignalReceivers } from '../signals/ssf/receivers.ts'
import { Transmitter } from '../signals/ssf/transmitter/transmitter.ts'
import type { Clock } from '../store/clock.ts'
import type { Store } from '../store/port.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { Sessions } from './sessions.ts'
import type { Signers } from './signers.ts'

/** What signals are configured with, and what others supply. */
export type SignalDeps = Readonly<{
  config: SignalsConfig
  codec: SsfCodec
  clock: Clock
  fetch: Fetcher
  readText: (path: string) => Promise<string>
  /** Where this server is found, without a slash at the end; empty while it does not listen. */
  origin: () => string
  lookup?: OutboundOptions['lookup']
}>

/** A retired key is published so long: what it signed may still be on its way. */
const PUBLISHED: Millis = 7 * DAY

export class Signals {
  readonly receivers: SignalReceivers
  /** Nothing, if nobody is told. */
  readonly #transmitter: Transmitter | undefined
  readonly #signers: Signers
  readonly #attempts: Attempts
  readonly #store: Pick<Store, 'read'>
  readonly #issuer: () => string

  constructor(
    deps: FlowDeps,
    parts: Readonly<{
      attempts: Attempts
      signers: Signers
      sessions: Sessions
      observe: SignalVerbs['observe']
    }>,
  ) {
    const { store, randomBytes, jitter, log, seal, open, decision, signals } = deps
    this.#signers = parts.signers
    this.#attempts = parts.attempts
    this.#store = store
    const config = signals?.config ?? { receivers: [] }
    const shared = {
      store,
      jitter,
      log,
      ...(signals?.lookup === undefined ? {} : { lookup: signals.lookup }),
    }
    const origin = (): string => signals?.origin() ?? ''
    this.#issuer = () => origin() || `urn:writ:${decision.installation}`
    this.receivers = new SignalReceivers(signals === undefined ? [] : config.receivers, {
      ...shared,
      ...((signals ?? {}) as SignalDeps),
      randomBytes,
      verbs: {
        observe: parts.observe,
        endSessions: (subject, cause) => parts.sessions.end(subject, cause),
      },
      pushUrl: (name) => (origin() === '' ? undefined : `${origin()}/ssf/push/${name}`),
    })
    this.#transmitter =
      signals === undefined || config.transmitter === undefined
        ? undefined
        : new Transmitter(config.transmitter, {
            ...shared,
            codec: signals.codec,
            readText: signals.readText,
            installation: decision.installation,
            issuer: this.#issuer,
            sign: (claims) => this.#sign(claims),
            seal,
            open,
          })
  }

  /** Our name in `iss`. */
  get issuer(): string {
    return this.#issuer()
  }

  /** @throws {WritError} `ERR_NOT_FOUND` where nobody is told anything. */
  get transmitter(): Transmitter {
    if (this.#transmitter !== undefined) return this.#transmitter
    throw new WritError('ERR_NOT_FOUND', 'this server tells nobody of signals', {
      hint: 'an operator configures it under `signals.transmitter`',
    })
  }

  async recover(): Promise<void> {
    await this.receivers.recover()
    await this.#transmitter?.recover()
  }

  start(): void {
    this.receivers.start()
    this.#transmitter?.start()
  }

  async stop(): Promise<void> {
    await this.receivers.stop()
    await this.#transmitter?.stop()
  }

  /** Whether everybody was told of entry `seq`: retention takes nothing away before. */
  mayPrune(seq: number): boolean {
    return this.#transmitter?.mayPrune(seq) !== false
  }

  async problems(now: Instant): Promise<readonly string[]> {
    return [...(await this.receivers.problems(now)), ...(this.#transmitter?.problems(now) ?? [])]
  }

  /**
   * Transmitters that are listened to, and listeners that are told.
   *
   * @throws {WritError} `ERR_FORBIDDEN`
   */
  async streams(caller: Caller): Promise<readonly SignalStream[]> {
    if (!(await this.#attempts.may(caller, 'read')))
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not see the streams of signals`, {
        hint: 'policy permits it with `Writ::read`',
      })
    const { now } = await this.#store.read([])
    return [...(await this.receivers.streams(now)), ...(this.#transmitter?.streams(now) ?? [])]
  }

  /**
   * Sends what a listener refused once more; how many.
   *
   * @throws {WritError} `ERR_FORBIDDEN`, `ERR_NOT_FOUND`
   */
  async redeliver(caller: Caller, listener: string): Promise<number> {
    await this.#attempts.administer(caller, 'administer')
    return this.transmitter.redeliver(listener, caller.id)
  }

  push(name: string, token: string, authorization: string | undefined): Promise<Taken | undefined> {
    return this.receivers.push(name, token, authorization)
  }

  /** The public keys of our SETs. */
  keys(now: Instant): readonly Readonly<Record<string, string>>[] {
    return this.#signers
      .all('signal')
      .filter(
        ({ compromised, retiredAt }) =>
          compromised !== true && (retiredAt === undefined || now < retiredAt + PUBLISHED),
      )
      .map((signer) => ({ ...signer.public, kid: signer.id, use: 'sig', alg: algorithmOf(signer) }))
  }

  async #sign(claims: Readonly<Record<string, Json>>): Promise<string> {
    const { signer, privateKey } = this.#signers.current('signal')
    const alg = algorithmOf(signer)
    const part = (value: Json): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const input = `${part({ alg, typ: 'secevent+jwt', kid: signer.id })}.${part(claims)}`
    return alg === 'ES256' ? signEs256(input, privateKey) : signRs256(input, privateKey)
  }
}

/** RS256 is what the interoperability profile of the Shared Signals Framework asks for. */
const algorithmOf = (signer: Signer): 'ES256' | 'RS256' => (signer.public['kty'] === 'EC' ? 'ES256' : 'RS256')

function signRs256(input: string, key: KeyObject): Promise<string> {
  return new Promise((resolve, reject) => {
    sign('sha256', Buffer.from(input), key, (error, signature) => {
      if (error === null) resolve(`${input}.${signature.toString('base64url')}`)
      else reject(error)
    })
  })
}
