/**
 * Policy sets loaded beside the requests: Cedar's own judgement of new texts is a thread's work, everything else is done
 * in slices between which decisions get their turn. Whatever becomes of the thread, the set in force stays.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import { WritError, isWritError } from '../model/errors.ts'
import type { Millis } from '../model/time.ts'
import type {
  EntityData,
  JudgeInput,
  Judgement,
  LoadResult,
  PolicySet,
  PolicySource,
} from '../policy/index.ts'
import { loadSteps } from '../policy/index.ts'
import { hex, sha256 } from '../store/hash.ts'
import { entryOf, Thread, ThreadError } from './thread.ts'
import type { ThreadOptions } from './thread.ts'
import type { Lines } from './versions.ts'
import { setOf } from './versions.ts'

/** How long loading goes on before others get their turn. */
const SLICE: Millis = 2

const OPTIONS: ThreadOptions = {
  entry: entryOf('checking-thread', import.meta.url),
  waiting: 16,
  timeout: 60_000,
  memory: 1_024,
}

export type LoadInput = Readonly<{
  inventory: readonly EntityData[]
  /** The set in force: what it accepted under the same schema is not judged again. */
  previous?: PolicySet | undefined
  derived?: string
}>

export class Checking {
  readonly #monotonic: () => Millis
  readonly #thread: Thread<JudgeInput, Judgement>

  constructor(monotonic: () => Millis, options: Partial<ThreadOptions> = {}) {
    this.#monotonic = monotonic
    this.#thread = new Thread({ ...OPTIONS, ...options })
  }

  /** As `loadPolicySet`. @throws {WritError} `ERR_TOO_LARGE`, `ERR_RATE_LIMITED` when nobody could judge. */
  async check(source: PolicySource, { derived, previous, inventory }: LoadInput): Promise<LoadResult> {
    const steps = loadSteps(source, {
      hash: (text) => hex(sha256(text)),
      inventory,
      ...(derived === undefined ? {} : { derived }),
      ...(previous === undefined ? {} : { previous }),
    })
    let since = this.#monotonic()
    let judgement: Judgement | undefined
    for (;;) {
      const { done, value } = steps.next(judgement)
      if (done === true) return value
      judgement = undefined
      if (value.kind === 'judge') judgement = await this.#judge(value.input)
      else if (this.#monotonic() - since < SLICE) continue
      else await breathe()
      since = this.#monotonic()
    }
  }

  /** @throws {WritError} `ERR_POLICY_INVALID` with every problem, and as `check`. */
  async load(source: PolicySource, input: LoadInput): Promise<PolicySet> {
    return setOf(await this.check(source, input))
  }

  /** `loadAgain` in the same way. */
  async loadAgain(
    source: PolicySource,
    { live, deleted }: Lines,
    previous: PolicySet | undefined,
  ): Promise<PolicySet> {
    try {
      return await this.load(source, { inventory: live, previous })
    } catch (error) {
      if (!isWritError(error, 'ERR_POLICY_INVALID') || deleted.length === 0) throw error
      const again = await this.check(source, { inventory: [...live, ...deleted], previous })
      if (again.ok) return again.set
      throw error // what is wrong with the inventory of now is what somebody can mend
    }
  }

  async stop(): Promise<void> {
    await this.#thread.stop()
  }

  async #judge(input: JudgeInput): Promise<Judgement> {
    try {
      return await this.#thread.run(input)
    } catch (cause) {
      if (!(cause instanceof ThreadError)) throw cause
      const detail = cause.message
      switch (cause.why) {
        case 'busy':
          throw new WritError('ERR_RATE_LIMITED', 'other policy sets are being checked', {
            hint: 'try again in a moment',
            detail,
            cause,
          })
        case 'late':
          throw new WritError(
            'ERR_TOO_LARGE',
            'the policies took too long to check; the set in force stays',
            {
              hint: 'publish fewer or simpler policies',
              detail,
              cause,
            },
          )
        case 'died':
          throw new WritError('ERR_TOO_LARGE', 'the policies broke their checker; the set in force stays', {
            hint: 'the log of the server says how; publish fewer or simpler policies',
            detail,
            cause,
          })
        case 'stopped':
          throw new WritError('ERR_STORE_CLOSED', 'the server stops', { cause })
      }
    }
  }
}
