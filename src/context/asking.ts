/**
 * Asks sources what is so now, in parallel, under one deadline: whoever is late or fails costs a decision no more than
 * that, and widens nothing.
 *
 * @module
 */
import type { Fact, Observation } from '../model/fact.ts'
import { factId } from '../model/fact.ts'
import type { Millis } from '../model/time.ts'
import type { Store } from '../store/port.ts'
import type { FactRef } from './facts.ts'
import { askedAgainFrom } from './facts.ts'
import type { FactSource, LiveContext } from './port.ts'
import { SourceError } from './port.ts'

/** How long a decision waits for sources. */
export const DEADLINE: Millis = 250
/** How long one answer may take: who comes later than a decision serves the next one. */
const MOST: Millis = 10_000
/** Asked of one source at once; more wait for the next decision. One that hangs takes nobody else's places. */
const MOST_AT_ONCE = 64
/** Failures in a row before somebody should know. */
const WORRYING = 3

export type AskingDeps = Readonly<{
  store: Pick<Store, 'read'>
  sources: readonly FactSource[]
  calendars: readonly string[]
  /** Records what a source said. */
  observe(source: string, by: string, observations: readonly Observation[]): Promise<void>
  /** Resolves after `ms`, or when `signal` aborts. */
  sleep(ms: Millis, signal: AbortSignal): Promise<void>
  log(message: string, fields: Readonly<Record<string, unknown>>): void
}>

export class Asking implements LiveContext {
  readonly #deps: AskingDeps
  readonly #asked = new Map<string, Promise<void>>()
  readonly #under = new Map<FactSource, number>()
  /** How often in a row it did not say, and why last. */
  readonly #failing = new Map<FactSource, Readonly<{ times: number; why: string }>>()

  constructor(deps: AskingDeps) {
    this.#deps = deps
  }

  get calendars(): readonly string[] {
    return this.#deps.calendars
  }

  answersFor(ref: FactRef): boolean {
    // a calendar is read from where it is configured, beside all decisions
    return ref.name === 'calendar' || this.#sourceOf(ref) !== undefined
  }

  async refresh(refs: readonly FactRef[]): Promise<void> {
    const asked = refs.flatMap((ref) => {
      const source = this.#sourceOf(ref)
      return source === undefined ? [] : [{ source, id: factId(ref.name, ref.about), about: ref.about }]
    })
    if (asked.length === 0) return
    const view = await this.#deps.store.read(asked.map(({ id }) => ({ kind: 'fact', id })))
    const stale = asked.filter(({ id, source }) => {
      const fact: Fact | undefined = view.get('fact', id)?.value
      return fact === undefined || view.now >= Math.min(fact.observedAt + source.fresh, askedAgainFrom(fact))
    })
    if (stale.length === 0) return
    const late = new AbortController()
    try {
      await Promise.race([
        Promise.all(stale.map(({ source, id, about }) => this.#ask(source, id, about))),
        this.#deps.sleep(DEADLINE, late.signal),
      ])
    } finally {
      late.abort()
    }
  }

  problems(): readonly string[] {
    return [...this.#failing].flatMap(([{ name, fact }, { times, why }]) =>
      times < WORRYING
        ? []
        : [
            `source \`${name}\` did not say ${times} times in a row (${why}): policies that read \`${fact}\` of it do not permit once what is known is too old`,
          ],
    )
  }

  #sourceOf({ name, about }: FactRef): FactSource | undefined {
    return this.#deps.sources.find((source) => source.fact === name && source.answersFor(about))
  }

  /** Once at a time for each thing: whoever else wants to know waits for the same answer. Never throws. */
  #ask(source: FactSource, id: string, about: string): Promise<void> {
    const under = this.#asked.get(id)
    if (under !== undefined) return under
    const before = this.#under.get(source) ?? 0
    if (before >= MOST_AT_ONCE) return Promise.resolve()
    this.#under.set(source, before + 1)
    const asking = this.#answer(source, about).finally(() => {
      this.#asked.delete(id)
      this.#under.set(source, (this.#under.get(source) ?? 1) - 1)
    })
    this.#asked.set(id, asking)
    return asking
  }

  async #answer(source: FactSource, about: string): Promise<void> {
    const [over, answered] = [new AbortController(), new AbortController()]
    try {
      const said = await Promise.race([
        source.observe(about, over.signal),
        // one that does not even hear that it is given up is asked again all the same
        this.#deps.sleep(MOST, answered.signal).then(() => {
          throw new SourceError('it did not say in time')
        }),
      ])
      // what a source says of something else is not what it was asked
      if (said.name !== source.fact || said.about !== about)
        throw new SourceError('it answers for something else')
      this.#failing.delete(source)
      await this.#deps.observe(source.name, 'asked', [said])
    } catch (error) {
      const why = error instanceof SourceError ? error.message : 'it failed in an unexpected way'
      this.#failing.set(source, { times: (this.#failing.get(source)?.times ?? 0) + 1, why })
      this.#deps.log('a source of facts did not say', {
        source: source.name,
        about,
        why,
        ...(error instanceof SourceError ? {} : { error }),
      })
    } finally {
      answered.abort()
      over.abort()
    }
  }
}
