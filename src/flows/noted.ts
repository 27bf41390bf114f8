/**
 * Refusals on the record: one by one, and of many at once only their number in the next one, so that nobody fills the
 * record by being refused (law 12).
 *
 * @module
 */
import type { Instant } from '../model/time.ts'
import { SECOND } from '../model/time.ts'

const PER_SECOND = 20
const BURST = 200

export class Noted {
  #left = BURST
  #at: Instant = 0
  #skipped = 0

  /** How many were passed over before this one; nothing if it is passed over itself. */
  take(now: Instant): number | undefined {
    this.#left = Math.min(BURST, this.#left + (Math.max(0, now - this.#at) * PER_SECOND) / SECOND)
    this.#at = now
    if (this.#left < 1) {
      this.#skipped += 1
      return undefined
    }
    this.#left -= 1
    const skipped = this.#skipped
    this.#skipped = 0
    return skipped
  }

  /** As many were to be recorded and could not be. */
  missed(count: number): void {
    this.#skipped += count
  }
}
