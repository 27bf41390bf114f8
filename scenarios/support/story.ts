/**
 * What a scenario is, and what it has at hand while it runs.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import type { Decision } from '../../client/src/index.ts'
import { NotPermitted, WritClientError } from '../../client/src/index.ts'

/** One story, made executable. */
export type Scenario = Readonly<{
  id: string
  name: string
  /** What must be possible, in a few words. */
  right: string
  /** What must fail right beside it, in a few words. */
  wrong: string
  run(story: Story): Promise<void>
}>

/** Something that a story opens. */
export type Part = AsyncDisposable &
  Readonly<{
    /** What must hold of it when the story is over. */
    atEnd?: Readonly<{ what: string; prove(): Promise<void> }>
    /** What its operator would read when something went wrong. */
    log?(): readonly string[]
  }>

export type Check = Readonly<{ half: 'right' | 'wrong' | 'end'; what: string; ms?: number }>

export class Story {
  readonly checks: Check[] = []
  readonly figures: string[] = []
  /** What was being checked when it went red. */
  failing: Check | undefined
  readonly #parts: Readonly<{ part: Part; where: string }>[] = []
  /** What is being opened, with the line that opens it. */
  readonly #opening = new Map<Promise<unknown>, string>()
  readonly #stopped: AbortSignal
  readonly #endsWithin: number
  #isOver = false

  /** Every part has `endsWithin` milliseconds to go. */
  constructor(stopped: AbortSignal, endsWithin = ENDS_WITHIN) {
    this.#stopped = stopped
    this.#endsWithin = endsWithin
  }

  /** A check that something is possible. */
  right<T>(what: string, act: () => Promise<T> | T): Promise<T> {
    return this.#check({ half: 'right', what }, act)
  }

  /** A check that something is not possible; `act` asserts the refusal. */
  wrong<T>(what: string, act: () => Promise<T> | T): Promise<T> {
    return this.#check({ half: 'wrong', what }, act)
  }

  /** A number to show, never a condition: machines differ. */
  figure(text: string): void {
    this.figures.push(text)
  }

  /** Takes a part in: it is asked to prove its end after the story, and is removed whatever happens. */
  async part<P extends Part>(opening: Promise<P>): Promise<P> {
    const where = lineOf(new Error('here'))
    this.#opening.set(opening, where)
    try {
      const part = await opening
      // nobody waits for it any more
      if (this.#isOver) await part[Symbol.asyncDispose]()
      else this.#parts.push({ part, where })
      if (this.#isOver || this.#stopped.aborted) throw stopped()
      return part
    } finally {
      this.#opening.delete(opening)
    }
  }

  /** The end of what the parts have told their operators. */
  logs(): readonly string[] {
    return this.#parts.flatMap(({ part }) => part.log?.().slice(-10) ?? [])
  }

  /** Every part proves its end, last opened first: credentials are taken back before their database is looked at. */
  async finish(): Promise<void> {
    for (const half of ['right', 'wrong'] as const) {
      assert.ok(
        this.checks.some((check) => check.half === half),
        `the scenario checked nothing that is ${half}`,
      )
    }
    for (const { atEnd } of this.#parts.map(({ part }) => part).toReversed()) {
      if (atEnd !== undefined) await this.#check({ half: 'end', what: atEnd.what }, () => atEnd.prove())
    }
  }

  /** Removes everything, last opened first; what failed or hung is told after all were tried. */
  async dispose(): Promise<void> {
    const failures: unknown[] = []
    const opened = Promise.allSettled(this.#opening.keys())
    if (!(await this.#isIn(opened))) {
      const lines = [...this.#opening.values()].join(', ')
      failures.push(new Error(`not open after ${this.#endsWithin} ms more: what is opened at ${lines}`))
    }
    this.#isOver = true
    for (const { part, where } of this.#parts.splice(0).toReversed()) {
      try {
        if (await this.#isIn(part[Symbol.asyncDispose]())) continue
        const log = (part.log?.().slice(-10) ?? []).map((line) => `\n  ${line}`).join('')
        failures.push(new Error(`not gone within ${this.#endsWithin} ms: what was opened at ${where}${log}`))
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 1) throw new AggregateError(failures, failures.map(String).join('\n'))
    if (failures.length > 0) throw failures[0]
  }

  /** Whether `work` is done in time; throws what it throws. */
  async #isIn(work: PromiseLike<unknown>): Promise<boolean> {
    const timer = new AbortController()
    const late = pause(this.#endsWithin, false, { signal: timer.signal }).catch(() => false)
    try {
      return await Promise.race([Promise.resolve(work).then(() => true), late])
    } finally {
      timer.abort()
    }
  }

  async #check<T>(check: Check, act: () => Promise<T> | T): Promise<T> {
    if (this.#stopped.aborted) throw stopped()
    this.failing = check
    const started = performance.now()
    const result = await act()
    this.failing = undefined
    this.checks.push({ ...check, ms: Math.round(performance.now() - started) })
    return result
  }
}

/** How long one part may take to go. */
const ENDS_WITHIN = 20_000

/** The line, outside of this file, that `error` was made under. */
function lineOf({ stack = '' }: Error): string {
  const line = stack.split('\n').find((one) => one.includes('file:') && !one.includes(import.meta.url))
  return /[\w.-]+:\d+(?=:\d+\)?$)/u.exec(line ?? '')?.[0] ?? 'an unknown line'
}

const stopped = (): Error => new Error('interrupted')

/** Waits until `look` finds something; for what has no event. */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  within = 120_000,
): Promise<T> {
  const end = performance.now() + within
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    assert.ok(performance.now() < end, `not within ${within} ms: ${what}`)
    await pause(20)
  }
}

/** Asserts a denial, for one of `reasons`. */
export function denied(decision: Pick<Decision, 'outcome' | 'reason'>, ...reasons: string[]): void {
  assert.equal(decision.outcome, 'deny', `expected a denial, got ${decision.outcome} (${decision.reason})`)
  assert.ok(
    reasons.includes(decision.reason),
    `denied for \`${decision.reason}\`, not for ${reasons.join(' or ')}`,
  )
}

/** Asserts that Writ refuses: an error of the server, or a credential that is not issued. */
export async function refused(acting: Promise<unknown>, ...codes: string[]): Promise<WritClientError> {
  try {
    const result = await acting
    assert.fail(`expected a refusal, got ${inspect(result, { depth: 1 })}`)
  } catch (error) {
    if (!(error instanceof WritClientError)) throw error
    const reason = error instanceof NotPermitted ? error.decision.reason : undefined
    const known = codes.includes(error.code) || (reason !== undefined && codes.includes(reason))
    assert.ok(known, `refused with \`${error.code}\` (${error.message}), not with ${codes.join(' or ')}`)
    return error
  }
}

/** SQLSTATEs by what they mean here. */
export const sql = {
  /** No right to do it. */
  noRight: ['42501'],
  /** No such role, or its password is refused. */
  noLogin: ['28P01', '28000'],
  /** The session was ended by the database, or is gone. */
  cut: ['57P01', 'ECONNRESET', 'EPIPE', 'closed'],
} as const

/** Asserts that the database refuses, with one of the given states. */
export async function sqlRefused(
  acting: Promise<unknown>,
  ...states: readonly (readonly string[])[]
): Promise<void> {
  const known = states.flat()
  try {
    await acting
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'closed'
    // pg has no code for a connection that it knows to be gone
    const gone = error instanceof Error && /Connection terminated|not queryable/u.test(error.message)
    assert.ok(
      known.includes(code) && (code !== 'closed' || gone),
      `refused with ${code} (${String(error)}), not with ${known.join(' or ')}`,
    )
    return
  }
  assert.fail('the database did it')
}
