/**
 * Token buckets: each caller has its own, and what is not yet authenticated shares one per address (law 12).
 *
 * @module
 */
import { WritError } from '../../model/errors.ts'
import type { Instant, Millis } from '../../model/time.ts'
import { SECOND } from '../../model/time.ts'

/** `burst` at once, then `perSecond`. */
export type Rate = Readonly<{ perSecond: number; burst: number }>

/** Buckets kept; the one that was unused longest makes room. */
const BUCKETS_MOST = 50_000

/** Too many; `retryAfter` seconds from now there is room again. */
export class RateLimited extends WritError {
  readonly retryAfter: number

  constructor(retryAfter: number) {
    super('ERR_RATE_LIMITED', 'too many requests', { hint: `try again in ${retryAfter} s` })
    this.retryAfter = retryAfter
  }
}

type Bucket = { tokens: number; at: Instant }

export class Rates {
  readonly #rate: Rate
  readonly #now: () => Instant
  readonly #buckets = new Map<string, Bucket>()

  constructor(rate: Rate, now: () => Instant) {
    this.#rate = rate
    this.#now = now
  }

  /** Takes a token of `key`, or as many as a call is worth. @throws {RateLimited} when it has too few. */
  take(key: string, worth = 1): void {
    const { perSecond, burst } = this.#rate
    // whatever is worth more than there can ever be costs all of it
    const price = Math.min(worth, burst)
    const now = this.#now()
    let bucket = this.#buckets.get(key)
    if (bucket === undefined) {
      bucket = { tokens: burst, at: now }
      if (this.#buckets.size >= BUCKETS_MOST) this.#drop()
      this.#buckets.set(key, bucket)
    }
    const passed: Millis = Math.max(0, now - bucket.at)
    bucket.tokens = Math.min(burst, bucket.tokens + (passed * perSecond) / SECOND)
    bucket.at = Math.max(bucket.at, now)
    if (bucket.tokens < price)
      throw new RateLimited(Math.max(1, Math.ceil((price - bucket.tokens) / perSecond)))
    bucket.tokens -= price
  }

  /** Full buckets say nothing and go first; if there are none, the oldest goes. */
  #drop(): void {
    const { perSecond, burst } = this.#rate
    const now = this.#now()
    let oldest: string | undefined
    for (const [key, { tokens, at }] of this.#buckets) {
      oldest ??= key
      if (tokens + ((now - at) * perSecond) / SECOND >= burst) this.#buckets.delete(key)
    }
    if (this.#buckets.size >= BUCKETS_MOST && oldest !== undefined) this.#buckets.delete(oldest)
  }
}

/** Calls of one caller that may wait for their turn. */
const WAITING_MOST = 64

/** One call after another for each key: whoever sends many at once waits for itself, not others for it (law 12). */
export class Turns {
  readonly #lines = new Map<string, { last: Promise<unknown>; waiting: number }>()

  /** Runs `work` when the calls of `key` before it are done. @throws {RateLimited} when too many wait. */
  async take<T>(key: string, work: () => Promise<T>): Promise<T> {
    const line = this.#lines.get(key) ?? { last: Promise.resolve(), waiting: 0 }
    if (line.waiting >= WAITING_MOST) throw new RateLimited(1)
    this.#lines.set(key, line)
    line.waiting++
    const turn = line.last.then(work)
    line.last = turn.catch(() => undefined) // its own caller hears of it
    try {
      return await turn
    } finally {
      line.waiting--
      if (line.waiting === 0) this.#lines.delete(key)
    }
  }
}

/** What counts as one address: IPv6 callers own a /64. */
export function addressKey(ip: string): string {
  if (!ip.includes(':') || ip.includes('.')) return ip
  const [head = '', tail] = ip.split('::')
  const groups = head.split(':')
  if (tail !== undefined) {
    const rest = tail === '' ? [] : tail.split(':')
    const left = head === '' ? [] : groups
    return [...left, ...Array.from({ length: 8 - left.length - rest.length }, () => '0'), ...rest]
      .slice(0, 4)
      .join(':')
  }
  return groups.slice(0, 4).join(':')
}
