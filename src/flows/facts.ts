/**
 * What others observe, recorded: the one way by which a fact changes, whether it was pushed, signalled or asked for.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import { canonical } from '../model/canonical.ts'
import { WritError } from '../model/errors.ts'
import type { Fact, Observation } from '../model/fact.ts'
import { factId, merge } from '../model/fact.ts'
import type { Instant } from '../model/time.ts'
import { DAY } from '../model/time.ts'
import type { Read } from '../store/port.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'

/** Observations that come at once. */
export const MOST_OBSERVED = 100
/** What one fact may hold, characters of canonical JSON. */
const MOST_VALUE = 65_536
/** Without an age of its own a fact that somebody pushes is believed this long. */
export const BELIEVED = DAY

export class Facts {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts

  constructor(deps: FlowDeps, attempts: Attempts) {
    this.#deps = deps
    this.#attempts = attempts
  }

  /**
   * Records what `source` says, with `by` as where it came from. The same again, older, or in another order changes
   * nothing; only another value leaves an entry, and has what depends on it looked at again.
   *
   * @throws {WritError} `ERR_INPUT_INVALID` for too many or too large.
   */
  async observe(source: string, by: string, observations: readonly Observation[]): Promise<void> {
    if (observations.length === 0) return
    if (observations.length > MOST_OBSERVED) throw tooMuch(`more than ${MOST_OBSERVED} facts at once`)
    for (const { value } of observations)
      if (canonical(value).length > MOST_VALUE) throw tooMuch(`a fact of more than ${MOST_VALUE} characters`)
    await this.#deps.store.commit({
      reads: observations.map(({ name, about }): Read => ({ kind: 'fact', id: factId(name, about) })),
      narrowing: true,
      run: (tx) => {
        for (const observation of observations) {
          const id = factId(observation.name, observation.about)
          const known = tx.get('fact', id)?.value
          const arrived = arrivedAt(observation, tx.now, { id, source, by })
          const fact = merge(known, arrived)
          if (fact === known) continue
          tx.put('fact', id, fact)
          if (known !== undefined && canonical(known.value) === canonical(fact.value)) continue
          tx.append({
            kind: 'fact.observed',
            refs: [fact.about, id],
            name: fact.name,
            about: fact.about,
            source,
            by,
            value: fact.value,
            observed_at: fact.observedAt,
            ...(fact.maxAge === undefined ? {} : { max_age: fact.maxAge }),
            ...(known === undefined ? {} : { before: known.value }),
          })
        }
      },
    })
  }

  /**
   * A caller reports facts that it is trusted to know: policy decides on `Writ::report` for each thing that it speaks of.
   *
   * @throws {WritError} `ERR_FORBIDDEN`, `ERR_INPUT_INVALID`.
   */
  async report(caller: Caller, observations: readonly Observation[]): Promise<void> {
    for (const { name, about } of observations)
      await this.#attempts.administer(caller, 'report', { context: { fact: name, about } })
    await this.observe(caller.id, caller.id, observations)
  }

  /** What is stored about something, with its age and source: for who may read. */
  async about(caller: Caller, about: string): Promise<readonly Fact[]> {
    if (!(await this.#attempts.may(caller, 'read')))
      throw new WritError('ERR_FORBIDDEN', 'you may not see facts', { hint: 'ask an administrator' })
    const view = await this.#deps.store.read([{ index: 'fact.about', value: about }])
    return view.scan('fact.about', about).map(({ value }) => value)
  }
}

/** What arrived at `now`: a source whose clock runs ahead observed it now, and an age is bounded. */
function arrivedAt(observation: Observation, now: Instant, from: Pick<Fact, 'id' | 'source' | 'by'>): Fact {
  return {
    ...observation,
    ...from,
    observedAt: Math.min(observation.observedAt, now),
    maxAge: Math.min(observation.maxAge ?? BELIEVED, BELIEVED),
    receivedAt: now,
  }
}

const tooMuch = (what: string): WritError =>
  new WritError('ERR_INPUT_INVALID', what, { hint: 'send less at once' })
