/**
 * Policy sets loaded beside the requests: Cedar's own judgement of new texts is a thread's work, everything else is done
 * in slices between which decisions get their turn. Whatever becomes of the thread, the set in force stays.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { availableParallelism } from 'node:os'
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

/** Texts that a thread judges at a time: what is said to the library once for all of them is what costs. */
const PART = 2_500
/** All of a set; no part is begun later. */
const LONGEST: Millis = 120_000

const OPTIONS: ThreadOptions = {
  entry: entryOf('checking-thread', import.meta.url),
  waiting: 16,
  timeout: 30_000,
  memory: 1_024,
}

type Judges = Thread<JudgeInput, Judgement>

/** The threads of this process: starting one costs more than most sets. Judging leaves nothing behind in them. */
let common: { threads: readonly Judges[]; users: number } | undefined

/** They run below decisions in priority, so that every core may be one's. */
const MOST_THREADS = Math.min(4, availableParallelism())

const open = (count: number, options: Partial<ThreadOptions> = {}): readonly Judges[] =>
  Array.from({ length: count }, () => new Thread({ ...OPTIONS, ...options }))

export type CheckingOptions = Partial<ThreadOptions & Readonly<{ threads: number; part: number }>>

export type LoadInput = Readonly<{
  inventory: readonly EntityData[]
  /** The set in force: what it accepted under the same schema is not judged again. */
  previous?: PolicySet | undefined
  derived?: string
}>

export class Checking {
  readonly #monotonic: () => Millis
  readonly #threads: readonly Judges[]
  /** Texts that are judged at once. */
  readonly #part: number

  /** With `options` it has threads of its own, one if not said otherwise. */
  constructor(monotonic: () => Millis, options?: CheckingOptions) {
    this.#monotonic = monotonic
    if (options !== undefined) {
      const { threads = 1, part = PART, ...more } = options
      this.#part = part
      this.#threads = open(threads, more)
      return
    }
    this.#part = PART
    common ??= { threads: open(MOST_THREADS), users: 0 }
    common.users += 1
    this.#threads = common.threads
  }

  /** As `loadPolicySet`. @throws {WritError} `ERR_TOO_LARGE`, `ERR_RATE_LIMITED` when nobody could judge. */
  async check(source: PolicySource, { derived, previous, inventory }: LoadInput): Promise<LoadResult> {
    const steps = loadSteps(source, {
      hash: (text) => hex(sha256(text)),
      hashing: () => {
        const state = createHash('sha256')
        return { update: (part) => void state.update(part), digest: () => state.digest('hex') }
      },
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

  /** Ends what is under way; idle threads stay for whoever comes next. */
  async stop(): Promise<void> {
    if (common?.threads === this.#threads) {
      common.users -= 1
      if (common.users > 0 || this.#threads.every(({ isIdle }) => isIdle)) return
      common = undefined
    }
    await Promise.all(this.#threads.map((thread) => thread.stop()))
  }

  /** In parts, on as many threads as there are: what is handed over is copied, and no copy should take long. */
  async #judge(input: JudgeInput): Promise<Judgement> {
    const parts: Judgement[] = []
    const count = Math.max(1, Math.ceil(input.texts.length / this.#part))
    const startedAt = this.#monotonic()
    let next = 0
    const lane = async (thread: Judges): Promise<void> => {
      while (next < count) {
        const part = next
        next += 1
        const at = part * this.#part
        const texts = input.texts.slice(at, at + this.#part)
        try {
          if (this.#monotonic() - startedAt > LONGEST) throw tooLate()
          parts[part] = shifted(await ask(thread, { ...input, texts }), at)
        } catch (error) {
          next = count // nobody wants the rest
          throw error
        }
      }
    }
    await Promise.all(this.#threads.slice(0, count).map(lane))
    return parts.reduce(joined)
  }
}

async function ask(thread: Judges, input: JudgeInput): Promise<Judgement> {
  try {
    return await thread.run(input)
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
        throw tooLate(cause)
      case 'died':
        throw new WritError('ERR_TOO_LARGE', 'the policies broke their checker; the set in force stays', {
          hint: 'publish fewer or simpler policies',
          detail,
          cause,
        })
      case 'stopped':
        throw new WritError('ERR_STORE_CLOSED', 'the server stops', { cause })
    }
  }
}

const tooLate = (cause?: unknown): WritError =>
  new WritError('ERR_TOO_LARGE', 'the policies took too long to check; the set in force stays', {
    hint: 'publish fewer or simpler policies',
    cause,
  })

/** The judgement of texts that begin at `by` of all. */
function shifted(judgement: Judgement, by: number): Judgement {
  const moved = <T extends Readonly<{ at: number }>>(all: readonly T[]): T[] =>
    all.map((one) => ({ ...one, at: one.at + by }))
  switch (judgement.kind) {
    case 'parse':
      return judgement
    case 'check':
      return { ...judgement, refused: moved(judgement.refused) }
    case 'validate':
      return { ...judgement, errors: moved(judgement.errors), warnings: moved(judgement.warnings) }
  }
}

function joined(one: Judgement, other: Judgement): Judgement {
  if (one.kind === 'parse' && other.kind === 'parse')
    return { kind: 'parse', parsed: [...one.parsed, ...other.parsed] }
  if (one.kind === 'check' && other.kind === 'check')
    return { kind: 'check', refused: [...one.refused, ...other.refused] }
  if (one.kind !== 'validate' || other.kind !== 'validate') throw new TypeError('judged as another kind')
  const failed = one.failed ?? other.failed
  return {
    kind: 'validate',
    errors: [...one.errors, ...other.errors],
    warnings: [...one.warnings, ...other.warnings],
    ...(failed === undefined ? {} : { failed }),
  }
}
