/**
 * Webhooks of ticket and incident systems: what they prove, that they come once, and what they tell becomes a fact like
 * what those systems say when they are asked. Refusals are on the record; forged deliveries cost little (B22, B53).
 *
 * @module
 */
import { SKEW } from '../context/asked.ts'
import { SourceError } from '../context/port.ts'
import type { TellingSource, Told } from '../context/told.ts'
import { readOf, spendProof, spentProof } from '../identity/spent.ts'
import { WritError, isWritError } from '../model/errors.ts'
import type { Observation } from '../model/fact.ts'
import { readJson } from '../model/json.ts'
import type { SecretPlace, WebhookConfig } from '../model/source.ts'
import type { Instant } from '../model/time.ts'
import { SECOND } from '../model/time.ts'
import type { Delivery, Proof } from '../signals/incoming.ts'
import { DeliveryRefused, proveDelivery } from '../signals/incoming.ts'
import type { FlowDeps } from './deps.ts'
import { Noted } from './noted.ts'

export type WebhookDeps = Readonly<{
  store: Pick<FlowDeps['store'], 'read' | 'commit'>
  hooks: readonly WebhookConfig[]
  /** Those that hooks name. */
  sources: readonly TellingSource[]
  /** The text of a secret. @throws if it cannot be read. */
  secret(place: SecretPlace): Promise<string>
  observe(source: string, by: string, observations: readonly Observation[]): Promise<void>
  log: FlowDeps['log']
}>

/** `taken`; known `again`; or about nothing that its source answers for. */
export type Received = 'taken' | 'again' | 'nothing'

/** Genuine deliveries of one source: so many at once, then so many a second. */
const BURST = 1_000
const PER_SECOND = 100
const DEPTH_MOST = 64

/** `aside`: for what is about nothing of ours. */
type Hook = Readonly<{ config: WebhookConfig; source: TellingSource; noted: Noted; pace: Pace; aside: Pace }>

export class Webhooks {
  readonly #deps: WebhookDeps
  readonly #hooks: ReadonlyMap<string, Hook>

  constructor(deps: WebhookDeps) {
    this.#deps = deps
    this.#hooks = new Map(
      deps.hooks.map((config) => {
        const source = deps.sources.find(({ name }) => name === config.source)
        if (source === undefined) throw new TypeError(`there is no source \`${config.source}\``)
        return [config.source, { config, source, noted: new Noted(), pace: new Pace(), aside: new Pace() }]
      }),
    )
  }

  /**
   * Takes one delivery for `name`. It is in effect, and on the record, when this returns.
   *
   * @throws {WritError} `ERR_NOT_FOUND`, `ERR_UNAUTHENTICATED`, `ERR_INPUT_INVALID`, `ERR_RATE_LIMITED`.
   */
  async receive(name: string, delivery: Delivery): Promise<Received> {
    const hook = this.#hooks.get(name)
    if (hook === undefined) throw new WritError('ERR_NOT_FOUND', 'nobody tells anything under this name')
    const { now } = await this.#deps.store.read([])
    try {
      return await this.#take(hook, delivery, now)
    } catch (error) {
      if (isWritError(error)) throw error
      const why = error instanceof DeliveryRefused || error instanceof SourceError ? error.message : undefined
      if (why === undefined) throw error
      await this.#refused(hook, why, now)
      if (error instanceof SourceError) {
        // it is theirs: somebody has to mend the mapping, or what is sent
        this.#deps.log('warn', 'a webhook was refused', { source: name, why })
        throw new WritError('ERR_INPUT_INVALID', `the delivery is refused: ${why}`)
      }
      throw new WritError('ERR_UNAUTHENTICATED', 'the delivery is not signed as it must be', { detail: why })
    }
  }

  async #take(hook: Hook, delivery: Delivery, now: Instant): Promise<Received> {
    const { config, source, pace, aside } = hook
    const proof = await proveDelivery(config, () => this.#secrets(config), delivery, now)
    const keep = async (to: Pace): Promise<void> => {
      if (to.take(now)) return
      await this.#refused(hook, 'too many at once', now)
      throw new WritError('ERR_RATE_LIMITED', 'too many deliveries', { hint: 'send it again in a second' })
    }
    const told = source.told(parse(delivery.body))
    if (told === undefined || !source.answersFor(told.about)) {
      await keep(aside)
      return 'nothing'
    }
    const observedAt = this.#toldAt(config, told, proof, now)
    const { about, value } = told
    const observed = { name: source.fact, about, value, observedAt, maxAge: source.maxAge }
    const isDated = told.at !== undefined || proof.triedAt !== undefined
    // without a time two bodies may be the same and mean another time; whoever shows the secret could change it anyway
    if (!isDated) {
      await keep(pace)
      return this.#observe(hook, proof, observed, now)
    }
    const spent = spentProof('webhook', source.name, proof.id, now + config.window + SKEW)
    const view = await this.#deps.store.read([readOf(spent)])
    if (view.get('proof', spent.id) !== undefined) {
      await this.#refused(hook, 'it came before', now)
      return 'again'
    }
    // what comes again takes nothing from the share of what is new
    await keep(pace)
    const received = await this.#observe(hook, proof, observed, now)
    if (received !== 'taken') return received
    // afterwards: what was not recorded comes again, and to observe it twice changes nothing
    await this.#deps.store.commit({
      reads: [readOf(spent)],
      narrowing: true,
      run: (tx) => void spendProof(tx, spent),
    })
    return 'taken'
  }

  async #observe(hook: Hook, { id }: Proof, observed: Observation, now: Instant): Promise<Received> {
    try {
      await this.#deps.observe(hook.source.name, id, [observed])
      return 'taken'
    } catch (error) {
      // one thing more than it may tell of: whoever needs to know of it has it asked
      if (!isWritError(error, 'ERR_TOO_LARGE')) throw error
      await this.#refused(hook, error.message, now)
      return 'nothing'
    }
  }

  /** When it became so. @throws {SourceError} for what is too old, or yet to be. */
  #toldAt({ scheme, window }: WebhookConfig, { at }: Told, { triedAt }: Proof, now: Instant): Instant {
    // whoever shows a shared secret signs no time, nor anything else
    const known = at ?? triedAt ?? (scheme === 'header' ? now : undefined)
    if (known === undefined) throw new SourceError('it does not say when it happened')
    if (known > now + SKEW) throw new SourceError('it happened at a time that has not come')
    if (known < now - window) throw new SourceError('it happened too long ago')
    return known
  }

  async #secrets({ secrets }: WebhookConfig): Promise<readonly string[]> {
    try {
      return (await Promise.all(secrets.map((place) => this.#deps.secret(place)))).map((text) => text.trim())
    } catch (error) {
      this.#deps.log('error', 'the secret of a webhook cannot be read', { error })
      throw new DeliveryRefused('the secret for it cannot be read')
    }
  }

  async #refused({ source, noted }: Hook, why: string, now: Instant): Promise<void> {
    const uncounted = noted.take(now)
    if (uncounted === undefined) return
    try {
      await this.#deps.store.commit({
        reads: [],
        run: (tx) =>
          tx.append({
            kind: 'webhook.refused',
            refs: [],
            source: source.name,
            why,
            ...(uncounted === 0 ? {} : { uncounted }),
          }),
      })
    } catch (error) {
      // a record that is full makes no refusal another one
      if (!isWritError(error, 'ERR_STORE_FULL', 'ERR_CLOCK_INVALID')) throw error
      noted.missed(1 + uncounted)
    }
  }
}

/** A token bucket. */
class Pace {
  #left = BURST
  #at: Instant = 0

  take(now: Instant): boolean {
    this.#left = Math.min(BURST, this.#left + (Math.max(0, now - this.#at) * PER_SECOND) / SECOND)
    this.#at = now
    if (this.#left < 1) return false
    this.#left -= 1
    return true
  }
}

function parse(body: Uint8Array): unknown {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch {
    throw new SourceError('its body is not UTF-8')
  }
  const read = readJson(text, DEPTH_MOST)
  if (read.problem !== undefined) throw new SourceError('its body is not the JSON that it should be')
  return read.value
}
