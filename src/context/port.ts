/**
 * Sources of facts. One that is asked (`pull`) is asked in parallel with others, under a deadline and only for what the
 * policies in scope read; what it says is recorded like what others push, so that a decision reads stored facts alone.
 *
 * @module
 */
import type { FactName, Observation } from '../model/fact.ts'
import type { FactRef } from './facts.ts'
import type { Millis } from '../model/time.ts'

/**
 * A source that can be asked. It bounds itself: nothing it reads or waits for is without a limit, and it is never asked
 * again while it fails (`breaker.ts`).
 */
export interface FactSource {
  /** The configured name, which stands in the record. */
  readonly name: string
  readonly fact: FactName
  /** How old what it said may be before it is asked again, ms. */
  readonly fresh: Millis
  /** Whether it answers for `about`, e.g. by the prefix of a ticket. */
  answersFor(about: string): boolean
  /**
   * What is so now. `value: null` where it knows that there is none. Throws, or is late, where it does not know: then the
   * fact is unknown.
   *
   * @throws {SourceError} with a reason that is safe to show.
   */
  observe(about: string, signal: AbortSignal): Promise<Observation>
}

/** What a decision knows of sources. */
export interface LiveContext {
  /** The configured calendars. */
  readonly calendars: readonly string[]
  /** Whether a source answers for it, so that its silence is no absence. */
  answersFor(ref: FactRef): boolean
  /** Has sources say what is so now, as far as they do within the deadline, where what is stored is not fresh. */
  refresh(refs: readonly FactRef[]): Promise<void>
  /** Sources that do not say, in sentences. */
  problems?(): readonly string[]
}

/** Where nobody can be asked. */
export const NO_SOURCES: LiveContext = {
  calendars: [],
  answersFor: () => false,
  refresh: () => Promise.resolve(),
}

/** Why a source did not say, as an operator may read it. */
export class SourceError extends Error {
  override readonly name = 'SourceError'
}
