/**
 * The store's clock: never goes backwards, so that no lifetime is ever extended (B31).
 *
 * @module
 */
import type { Instant, Millis } from '../model/time.ts'

/** What a machine knows of time. `monotonic` has no meaning but its differences. */
export type Clock = Readonly<{ wall(): Instant; monotonic(): Millis }>

export const systemClock: Clock = { wall: () => Date.now(), monotonic: () => performance.now() }

/** The last instant a `Date` can hold. */
const END_OF_TIME: Instant = 8_640_000_000_000_000

/**
 * The latest of everything that says how late it is: the time last persisted or returned, the wall clock, and the time
 * that has passed since either by the monotonic clock. A wall clock that jumps back is not followed, one that jumps
 * forward is; one that cannot be read counts as infinitely far behind.
 */
export class StoreClock {
  readonly #clock: Clock
  #last: Instant
  #anchorAt: Instant
  #anchorMonotonic: Millis

  /** `persisted` is the latest time the store has recorded, after which everything else happens. */
  constructor(clock: Clock, persisted: Instant = 0) {
    this.#clock = clock
    this.#last = persisted
    this.#anchorAt = persisted
    this.#anchorMonotonic = clock.monotonic()
  }

  now(): Instant {
    const wall = this.#clock.wall()
    const monotonic = this.#clock.monotonic()
    const elapsed = monotonic - this.#anchorMonotonic
    let at = elapsed > 0 ? this.#anchorAt + elapsed : this.#anchorAt
    if (wall >= at && isTime(wall)) {
      at = wall
      this.#anchorAt = wall
      this.#anchorMonotonic = monotonic
    }
    this.#last = Math.max(this.#last, Math.floor(at))
    return this.#last
  }

  /** How far the wall clock is behind, in ms. */
  behind(): Millis {
    const wall = this.#clock.wall()
    return isTime(wall) ? Math.max(0, this.now() - Math.floor(wall)) : Number.POSITIVE_INFINITY
  }
}

const isTime = (wall: Instant): boolean => wall >= 0 && wall <= END_OF_TIME
