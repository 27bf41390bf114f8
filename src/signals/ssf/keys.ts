/**
 * The keys of a transmitter: those configured, or at the `jwks_uri` of its metadata; fetched, kept and bounded like the keys
 * of issuers (B3, B45).
 *
 * @module
 */
import type { Fetcher } from '../../identity/issuers/fetcher.ts'
import type { KeySource } from '../../identity/issuers/keys.ts'
import { KEY_FLOOR, createKeySource } from '../../identity/issuers/keys.ts'
import type { IssuerKeys } from '../../model/issuer.ts'
import { makeIssuer } from '../../model/issuer.ts'
import type { ReceiverConfig, TransmitterMetadata } from '../../model/signal.ts'
import type { Instant, Millis } from '../../model/time.ts'
import { MINUTE } from '../../model/time.ts'
import type { Clock } from '../../store/clock.ts'

/** Metadata are looked at again after this long, and when a key is unknown. */
const METADATA_FRESH: Millis = 15 * MINUTE

export type TransmitterKeys = Pick<KeySource, 'find' | 'instead'>

type Options = Readonly<{
  config: ReceiverConfig
  fetch: Fetcher
  clock: Clock
  /** The metadata of the transmitter, fetched now. @throws with a reason that is safe to show. */
  metadata(): Promise<TransmitterMetadata>
}>

export function transmitterKeys({ config, fetch, clock, metadata }: Options): TransmitterKeys {
  const sourceOf = (keys: IssuerKeys): KeySource =>
    createKeySource({
      issuer: makeIssuer({
        name: config.name,
        issuer: config.issuer,
        audiences: config.audiences,
        algorithms: config.algorithms,
        keys,
        allowPrivate: config.allowPrivate,
        ...(config.ca === undefined ? {} : { ca: config.ca }),
      }),
      fetch,
      readText: () => Promise.reject(new TypeError('its keys are in no file')),
      clock,
    })
  if (config.keys !== undefined) return sourceOf(config.keys)

  let known: Readonly<{ uri: string; source: KeySource; at: Instant }> | undefined
  let triedAt = -Infinity
  let flight: Promise<KeySource | Readonly<{ reason: string }>> | undefined

  function source(fresh: Millis): Promise<KeySource | Readonly<{ reason: string }>> {
    if (known !== undefined && clock.monotonic() - known.at < fresh) return Promise.resolve(known.source)
    if (flight !== undefined) return flight
    if (clock.monotonic() - triedAt < KEY_FLOOR) {
      return Promise.resolve(known?.source ?? { reason: 'its metadata could not be read a moment ago' })
    }
    triedAt = clock.monotonic()
    flight = look().finally(() => {
      flight = undefined
    })
    return flight
  }

  async function look(): Promise<KeySource | Readonly<{ reason: string }>> {
    let uri: string | undefined
    try {
      uri = (await metadata()).jwksUri
    } catch (error) {
      // its keys may still be had where they were
      return (
        known?.source ?? { reason: error instanceof Error ? error.message : 'its metadata cannot be read' }
      )
    }
    if (uri === undefined) return known?.source ?? { reason: 'its metadata have no `jwks_uri`' }
    const at = clock.monotonic()
    known = { uri, source: known?.uri === uri ? known.source : sourceOf({ from: 'uri', uri }), at }
    return known.source
  }

  return {
    async find(algorithm, kid) {
      const first = await source(METADATA_FRESH)
      if ('reason' in first) return { problem: 'unavailable', reason: first.reason }
      const found = await first.find(algorithm, kid)
      if (found.problem === undefined) return found
      // it may have moved its keys
      const moved = await source(0)
      return 'reason' in moved || moved === first ? found : moved.find(algorithm, kid)
    },
    async instead(algorithm, refused) {
      const now = await source(METADATA_FRESH)
      return 'reason' in now ? undefined : now.instead(algorithm, refused)
    },
  }
}
