/**
 * Circuit breaker: whoever keeps failing is left alone for a while, then tried once, so that a system that is down costs
 * nobody a wait and gets no crowd when it comes back.
 *
 * @module
 */
import type { Instant, Millis } from '../model/time.ts'
import { MINUTE, SECOND } from '../model/time.ts'

export type BreakerOptions = Readonly<{
  /** Failures in a row after which nobody asks any more. */
  failures?: number
  /** How long nobody asks then; twice as long each time that the trial fails too. */
  rest?: Millis
  /** The longest rest, also where the other side asks for a longer one. */
  longest?: Millis
  /** A clock that only goes forward. */
  monotonic(): Millis
}>

/** Whoever was let through says how it went, exactly once. */
export type Passage = Readonly<{
  succeeded(): void
  /** `rest`: how long the other side asked to be left alone. */
  failed(rest?: Millis): void
}>

export class Breaker {
  readonly #failures: number
  readonly #rest: Millis
  readonly #longest: Millis
  readonly #monotonic: () => Millis
  #failed = 0
  /** Until then nobody is let through; absent while it is closed. */
  #until: Instant | undefined
  #lastRest: Millis = 0
  #trial = false
  /** Rises with every change, so that a passage from before says nothing about what is so now. */
  #era = 0

  constructor({ failures = 3, rest = 5 * SECOND, longest = 5 * MINUTE, monotonic }: BreakerOptions) {
    this.#failures = failures
    this.#rest = rest
    this.#longest = longest
    this.#monotonic = monotonic
  }

  /** `closed`: everybody may ask. `open`: nobody. `half-open`: one may, to try. */
  get state(): 'closed' | 'open' | 'half-open' {
    if (this.#until === undefined) return 'closed'
    return this.#monotonic() < this.#until ? 'open' : 'half-open'
  }

  /** How long it rests yet, ms. */
  get resting(): Millis {
    return this.#until === undefined ? 0 : Math.max(0, this.#until - this.#monotonic())
  }

  /** Lets one through, or nobody: `undefined`. */
  enter(): Passage | undefined {
    const state = this.state
    if (state === 'open' || (state === 'half-open' && this.#trial)) return undefined
    const isTrial = state === 'half-open'
    if (isTrial) this.#trial = true
    const era = this.#era
    let told = false
    const once = (tell: () => void) => (): void => {
      if (told) return
      told = true
      // who entered before it opened, or before it closed again, is late with the news
      if (era === this.#era) tell()
    }
    return {
      succeeded: once(() => {
        this.#failed = 0
        if (isTrial) this.#close()
      }),
      failed: (rest) =>
        once(() => {
          this.#failed += 1
          if (isTrial || this.#failed >= this.#failures || rest !== undefined) this.#open(rest)
        })(),
    }
  }

  #close(): void {
    this.#until = undefined
    this.#lastRest = 0
    this.#trial = false
    this.#era += 1
  }

  #open(asked: Millis | undefined): void {
    const next = Math.max(this.#lastRest === 0 ? this.#rest : this.#lastRest * 2, asked ?? 0)
    this.#lastRest = Math.min(next, this.#longest)
    this.#until = this.#monotonic() + this.#lastRest
    this.#trial = false
    this.#failed = 0
    this.#era += 1
  }
}
