/**
 * Listening to one transmitter: what arrives is verified, spent once, acted on and recorded, in this order so that a crash
 * in between has it acted on again, which changes nothing (B52). It speaks for its own subjects, as often as was
 * configured (B53), and when it falls silent somebody is told (B54).
 *
 * @module
 */
import { refKey } from '../../model/entity.ts'
import type { Json } from '../../model/canonical.ts'
import { canonical } from '../../model/canonical.ts'
import { isWritError } from '../../model/errors.ts'
import type { SpentProof } from '../../model/identity.ts'
import type { ReceiverConfig, SetClaims, SetError, StreamStatus } from '../../model/signal.ts'
import type { Instant, Millis } from '../../model/time.ts'
import { DAY, MINUTE, SECOND, formatDuration, toRfc3339 } from '../../model/time.ts'
import { readOf, spendProof, spentProof } from '../../identity/spent.ts'
import type { Read, Store } from '../../store/port.ts'
import type { SsfCodec } from './codec.ts'
import type { Outcome, SignalVerbs } from './effects.ts'
import { takeEffect } from './effects.ts'
import type { TransmitterKeys } from './keys.ts'
import type { InTurn } from './loop.ts'
import { subjectOf } from './subjects.ts'
import { SKEW, verifySet } from './verify.ts'

/** A `jti` is remembered so long; one that comes again later is acted on again, which ends nothing newer than itself. */
const SPENT_FOR: Millis = 7 * DAY
/** Refusals on the record, of one transmitter: one by one up to this many in a minute, then their number. */
const REFUSALS_PER_MINUTE = 30
/** Verifications that may be answered late. */
const STATES_KEPT = 4
const NO_REFUSALS = { since: -Infinity, noted: 0, skipped: 0 }

export type Taken =
  | Readonly<{ taken: true; refused?: undefined; again?: undefined }>
  | Readonly<{ refused: SetError; taken?: undefined; again?: undefined }>
  /** Nothing was done: it is to be sent again, after some seconds. */
  | Readonly<{ again: string; retryAfter: number; taken?: undefined; refused?: undefined }>

export type ReceiverDeps = Readonly<{
  store: Store
  codec: SsfCodec
  keys: TransmitterKeys
  verbs: SignalVerbs
  /** What adds to what is known of a session, of all transmitters together. */
  inTurn: InTurn
}>

/** What is kept of a transmitter between starts. */
export type Heard = Readonly<{
  stream?: string
  /** When listening began, when it last said anything that was verified, and when it last answered a verification. */
  since: Instant
  heardAt?: Instant
  verifiedAt?: Instant
  /** Verifications asked for, the latest last. */
  states: readonly string[]
  /** Since when it is known to be silent. */
  silentSince?: Instant
  status?: StreamStatus
  /** Why the stream may lack something. */
  gap?: string
}>

export class SignalReceiver {
  readonly config: ReceiverConfig
  readonly #deps: ReceiverDeps
  readonly #flying = new Map<string, Promise<Taken>>()
  #left: number
  #leftAt: Instant | undefined
  /** Of what it said itself, and of what anybody else may have sent: those hide none of these. */
  readonly #refusals = { its: { ...NO_REFUSALS }, others: { ...NO_REFUSALS } }
  #floodedAt = -Infinity
  #accepted = 0

  constructor(config: ReceiverConfig, deps: ReceiverDeps) {
    this.config = config
    this.#deps = deps
    this.#left = config.rate
  }

  get #id(): string {
    return `signals/${this.config.name}`
  }

  /** How many SETs were acted on, each once. */
  get accepted(): number {
    return this.#accepted
  }

  /** Takes one SET. `jti` is the name under which it was handed over, where it was. Never throws for what a SET says. */
  async take(token: string, jti?: string): Promise<Taken> {
    const { now } = await this.#deps.store.read([])
    const { set, refused, again } = await verifySet(token, now, this.config, this.#deps)
    if (again !== undefined) return { again, retryAfter: 10 }
    if (refused !== undefined) return this.#refuse(refused, now)
    if (jti !== undefined && jti !== set.jti)
      return this.#refuse({ err: 'invalid_request', description: 'its `jti` is another one' }, now, set)
    // one that bears the name of another is another: a transmitter that uses a name twice hides nothing
    const { event, subject, device = null, at } = set
    const name = canonical([set.jti, at, { ...event }, subject === undefined ? null : { ...subject }, device])
    const spent = spentProof('set', this.config.issuer, name, now + SPENT_FOR)
    const flying = this.#flying.get(spent.id)
    if (flying !== undefined) return flying
    const work = this.#once(set, spent, now).finally(() => this.#flying.delete(spent.id))
    this.#flying.set(spent.id, work)
    return work
  }

  async #once(set: SetClaims, spent: SpentProof, now: Instant): Promise<Taken> {
    const view = await this.#deps.store.read([readOf(spent)])
    if (view.get('proof', spent.id) !== undefined) return { taken: true }
    if (!this.#mayAct(now)) {
      await this.#flooded(now)
      return { again: 'it says more than it may', retryAfter: 5 }
    }
    const done = await this.#act(set)
    if ('refused' in done) return this.#refuse(done.refused, now, set)
    const subject = done.subject
    // what was said so long ago may be a recording of it: it tells nothing of how the stream is now
    const isNews = set.issuedAt > now - (SPENT_FOR - SKEW)
    await this.#deps.store.commit({
      reads: [readOf(spent), this.#read],
      narrowing: true,
      run: (tx) => {
        if (!spendProof(tx, spent)) return
        tx.put(
          'meta',
          this.#id,
          encodeHeard({
            ...this.#heard(tx.get('meta', this.#id)?.value, tx.now),
            ...(isNews ? { heardAt: tx.now } : {}),
          }),
        )
        // its own answers are no news for the record; their absence is
        if (set.event.kind === 'verification') return
        tx.append({
          kind: 'signal.received',
          refs: subject === undefined ? [] : [subject],
          transmitter: this.config.name,
          jti: set.jti,
          event: set.event.kind === 'unknown' ? set.event.uri : set.event.kind,
          happened: set.at,
          ...(subject === undefined ? {} : { subject }),
          ...(set.txn === undefined ? {} : { txn: set.txn }),
          ...done.outcome,
        })
      },
    })
    this.#accepted += 1
    if (!isNews) return { taken: true }
    if (set.event.kind === 'verification') await this.#heardAgain(set.event.state)
    if (set.event.kind === 'stream-updated') await this.streamIs(set.event.status, set.event.reason)
    return { taken: true }
  }

  async #act(
    set: SetClaims,
  ): Promise<Readonly<{ refused: SetError }> | Readonly<{ outcome: Outcome; subject?: string }>> {
    const { event, subject: id } = set
    const { store, verbs } = this.#deps
    if (event.kind === 'unknown') return { outcome: { outcome: 'ignored' } }
    if (event.kind === 'verification' || event.kind === 'stream-updated') {
      const { stream, states } = await this.heard()
      if (stream !== undefined && !(id?.format === 'opaque' && id.id === stream))
        return refusal('invalid_request', 'it is about another stream')
      if (event.kind === 'verification' && event.state !== undefined && !states.includes(event.state))
        return refusal('invalid_request', 'its `state` is not one that was asked for')
      return { outcome: { outcome: 'ignored' } }
    }
    if (id === undefined)
      return refusal('invalid_request', 'its subject is named in a format that is not understood')
    const subject = await subjectOf(store, this.config.subjects, id)
    if (subject === undefined)
      return refusal('invalid_request', 'its subject is not one that it may speak of')
    const { maxAge, name } = this.config
    const work = (): Promise<Outcome> => takeEffect({ store, verbs, source: name, maxAge }, subject, set)
    // what one adds to a session the next one must see
    const adds = event.kind === 'assurance-level-change' || event.kind === 'token-claims-change'
    let outcome: Outcome
    try {
      outcome = await (adds ? this.#deps.inTurn(work) : work())
    } catch (error) {
      // e.g. one device more than are kept of a subject: its transmitter is told, and it stands in the record
      if (isWritError(error, 'ERR_INPUT_INVALID', 'ERR_TOO_LARGE'))
        return refusal('invalid_request', error.message)
      throw error
    }
    return { outcome, subject: refKey(subject) }
  }

  /** Its budget: so many events a minute, twice as many at once as come in a second are never the point. */
  #mayAct(now: Instant): boolean {
    const { rate } = this.config
    const passed = Math.max(0, now - (this.#leftAt ?? now))
    this.#left = Math.min(rate, this.#left + (passed * rate) / MINUTE)
    this.#leftAt = now
    if (this.#left < 1) return false
    this.#left -= 1
    return true
  }

  async #flooded(now: Instant): Promise<void> {
    if (now - this.#floodedAt < MINUTE) return
    this.#floodedAt = now
    await this.#note('signal.flooded', { rate: this.config.rate })
  }

  /** A refusal is on the record, with the next one how many were not (law 12). */
  async #refuse(error: SetError, now: Instant, set?: SetClaims): Promise<Taken> {
    const counted = this.#refusals[set === undefined ? 'others' : 'its']
    if (now - counted.since >= MINUTE) Object.assign(counted, { since: now, noted: 0 })
    if (counted.noted >= REFUSALS_PER_MINUTE) {
      counted.skipped += 1
      return { refused: error }
    }
    counted.noted += 1
    const { skipped } = counted
    counted.skipped = 0
    await this.#note('signal.refused', {
      err: error.err,
      why: error.description,
      ...(set === undefined
        ? {}
        : {
            jti: set.jti,
            event: set.event.kind,
            ...(set.subject === undefined ? {} : { named: { ...set.subject } }),
          }),
      ...(skipped === 0 ? {} : { uncounted: skipped }),
    })
    return { refused: error }
  }

  /** Somebody came who did not show what the transmitter is known by. */
  async unauthenticated(): Promise<Taken> {
    const { now } = await this.#deps.store.read([])
    return this.#refuse({ err: 'authentication_failed', description: 'it did not show its secret' }, now)
  }

  get #read(): Read {
    return { kind: 'meta', id: this.#id }
  }

  async heard(): Promise<Heard> {
    const view = await this.#deps.store.read([this.#read])
    return this.#heard(view.get('meta', this.#id)?.value, view.now)
  }

  #heard(meta: Readonly<Record<string, Json>> | undefined, now: Instant): Heard {
    return meta === undefined ? { since: now, states: [] } : (meta as unknown as Heard)
  }

  /** Writes down from when on it is listened to. */
  async begin(): Promise<void> {
    await this.#change((heard) => heard)
  }

  async joined(stream: string): Promise<void> {
    await this.#change(({ stream: _before, ...heard }) => ({ ...heard, stream }))
  }

  async asked(state: string): Promise<void> {
    await this.#change((heard) => ({ ...heard, states: [...heard.states, state].slice(-STATES_KEPT) }))
  }

  /** A stream that is not enabled, or lacks what was asked for, may lack more: that is on the record until it is mended. */
  async streamIs(status: StreamStatus, why?: string): Promise<void> {
    const gap = status === 'enabled' ? why : `its stream is ${status}${why === undefined ? '' : `: ${why}`}`
    const before = await this.heard()
    if (before.status === status && before.gap === gap) return
    await this.#change(
      ({ gap: _gap, ...heard }) => ({ ...heard, status, ...(gap === undefined ? {} : { gap }) }),
      gap === before.gap
        ? undefined
        : gap === undefined
          ? { kind: 'signal.mended' }
          : { kind: 'signal.gap', why: gap },
    )
  }

  async #heardAgain(state: string | undefined): Promise<void> {
    const { silentSince } = await this.heard()
    await this.#change(
      ({ silentSince: _silent, ...heard }, now) => ({
        ...heard,
        verifiedAt: now,
        states: heard.states.filter((one) => one !== state),
      }),
      silentSince === undefined ? undefined : { kind: 'signal.heard', since: silentSince },
    )
  }

  /** Whether it has been silent for too long; the first time it is, that is on the record. */
  async checkSilence(): Promise<void> {
    const { now } = await this.#deps.store.read([])
    const heard = await this.heard()
    const last = this.#lastSign(heard)
    if (now - last < this.config.silence) {
      // anything that was verified tells that it speaks, where nothing else can be asked for
      if (heard.silentSince !== undefined)
        await this.#change(({ silentSince: _silent, ...rest }) => rest, {
          kind: 'signal.heard',
          since: heard.silentSince,
        })
      return
    }
    if (heard.silentSince !== undefined) return
    await this.#change((rest) => ({ ...rest, silentSince: last }), { kind: 'signal.silent', since: last })
  }

  /** Of a stream of ours only an answer to our question counts: that events come tells nothing of those that do not. */
  #lastSign({ since, heardAt, verifiedAt }: Heard): Instant {
    return Math.max(since, (this.config.manage ? verifiedAt : heardAt) ?? since)
  }

  async problems(now: Instant): Promise<readonly string[]> {
    const { name, silence } = this.config
    const heard = await this.heard()
    const last = this.#lastSign(heard)
    return [
      ...(now - last >= silence
        ? [
            `transmitter \`${name}\` has been silent since ${toRfc3339(last)}, longer than ${formatDuration(silence)}: what it knows may be missing`,
          ]
        : []),
      ...(heard.gap === undefined ? [] : [`transmitter \`${name}\`: ${heard.gap}`]),
    ]
  }

  async #change(
    to: (heard: Heard, now: Instant) => Heard,
    entry?: Readonly<{ kind: string }> & Readonly<Record<string, Json>>,
  ): Promise<void> {
    await this.#deps.store.commit({
      reads: [this.#read],
      narrowing: true,
      run: (tx) => {
        const before = tx.get('meta', this.#id)?.value
        const after = encodeHeard(to(this.#heard(before, tx.now), tx.now))
        tx.put('meta', this.#id, after)
        if (entry !== undefined) tx.append({ refs: [], transmitter: this.config.name, ...entry })
      },
    })
  }

  async #note(kind: string, more: Readonly<Record<string, Json>>): Promise<void> {
    await this.#deps.store.commit({
      reads: [],
      narrowing: true,
      run: (tx) => {
        tx.append({ kind, refs: [], transmitter: this.config.name, ...more })
      },
    })
  }
}

const refusal = (err: SetError['err'], description: string) => ({ refused: { err, description } })

const encodeHeard = (heard: Heard): Readonly<Record<string, Json>> => heard

export const seconds = (millis: Millis): number => Math.max(1, Math.ceil(millis / SECOND))
