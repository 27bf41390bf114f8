/**
 * What systems of others share, whether they are asked or tell by themselves.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import type { Observation } from '../model/fact.ts'
import type { Instant, Millis } from '../model/time.ts'
import type { Clock } from '../store/clock.ts'
import type { Said } from './asked.ts'
import { SKEW } from './asked.ts'
import type { FactSource } from './port.ts'
import { SourceError } from './port.ts'

export type Value = Readonly<Record<string, Json>>

/** What the body of a webhook says: of what, what is so (`null`: it is gone), and when it became so. */
export type Told = Readonly<{ about: string; value: Value | null; at?: Instant }>

/** A system that can be asked, and whose webhooks are understood by the same mapping. */
export interface TellingSource extends FactSource {
  /** How long what it says may be believed. */
  readonly maxAge: Millis
  /**
   * What a verified body tells; `undefined` where it tells of something else.
   *
   * @throws {SourceError} for a body that cannot be read.
   */
  told(body: unknown): Told | undefined
}

/** Whether a key begins with one of the configured texts. */
export const begins = (keys: readonly string[], about: string): boolean =>
  keys.some((key) => about.startsWith(key))

/**
 * A key that can stand in a path or a query without meaning anything else there.
 *
 * @throws {SourceError}
 */
export function plainKey(about: string): string {
  if (/^[A-Za-z0-9._-]{1,128}$/u.test(about) && !/^\.+$/u.test(about)) return about
  throw new SourceError('what it is asked for is no key of its')
}

/** The base of an API, and a path below it. */
export const below = (base: string, path: string): URL => new URL(`${base.replace(/\/+$/u, '')}${path}`)

/**
 * The observation of what was said about `about`.
 *
 * @throws {SourceError} when it is of something else, or changed at a time that has not come.
 */
export function observation(
  { fact, maxAge }: Pick<TellingSource, 'fact' | 'maxAge'>,
  about: string,
  { at }: Said,
  found: Readonly<{ value: Value; changedAt: Instant | undefined }> | undefined,
): Observation {
  if (found === undefined) return { name: fact, about, value: null, observedAt: at, maxAge }
  if (found.value['id'] !== about) throw new SourceError('it answers for something else')
  // an answer from before can be no more than a few seconds older than the change that it shows
  if (found.changedAt !== undefined && found.changedAt > at + SKEW) {
    throw new SourceError('it says that it changed at a time that has not come')
  }
  return { name: fact, about, value: found.value, observedAt: at, maxAge }
}

/** Things of one system whose changes are remembered. */
const REMEMBERED_MOST = 4_096

/**
 * The latest change that a system showed of each thing, for as long as that is believed: an answer from before it, as a
 * copy that lags behind or a cache would give, is not what is so now.
 */
export class Changes {
  readonly #maxAge: Millis
  readonly #clock: Clock
  readonly #latest = new Map<string, Readonly<{ changedAt: Instant; shownAt: Millis }>>()

  constructor(maxAge: Millis, clock: Clock) {
    this.#maxAge = maxAge
    this.#clock = clock
  }

  /** An answer. @throws {SourceError} for what was so before something that was shown. */
  answered(about: string, changedAt: Instant | undefined): void {
    if (this.#isPast(about, changedAt)) throw new SourceError('it says what was so before its last change')
    this.shown(about, changedAt)
  }

  // what does not say when it changed cannot be told apart
  #isPast(about: string, changedAt: Instant | undefined): boolean {
    const known = this.#latest.get(about)
    if (known === undefined || changedAt === undefined) return false
    return changedAt < known.changedAt && this.#clock.monotonic() - known.shownAt < this.#maxAge
  }

  /** An answer, or what a webhook told: those come in any order. */
  shown(about: string, changedAt: Instant | undefined): void {
    // a time that has not come would make everything past
    if (changedAt === undefined || changedAt > this.#clock.wall() + SKEW) return
    if (this.#isPast(about, changedAt)) return
    // the one that was shown longest ago makes room
    this.#latest.delete(about)
    this.#latest.set(about, { changedAt, shownAt: this.#clock.monotonic() })
    if (this.#latest.size > REMEMBERED_MOST) this.#latest.delete(this.#latest.keys().next().value as string)
  }
}

/** Members that are there. */
export const given = (members: Readonly<Record<string, Json | undefined>>): Value =>
  Object.fromEntries(
    Object.entries(members).filter((entry): entry is [string, Json] => entry[1] !== undefined),
  )
