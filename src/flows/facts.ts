/**
 * What others observe, recorded: the one way by which a fact changes, whether it was pushed, signalled or asked for.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Json } from '../model/canonical.ts'
import { canonical } from '../model/canonical.ts'
import type { EntityRef } from '../model/entity.ts'
import { refKey, sameRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Fact, Observation } from '../model/fact.ts'
import { MOST_OBSERVED, factId, factNames, merge } from '../model/fact.ts'
import type { Instant } from '../model/time.ts'
import { DAY } from '../model/time.ts'
import type { Read } from '../store/port.ts'
import { Picture } from '../store/picture.ts'
import type { FactRef, Situation } from '../context/facts.ts'
import { factsNeeded, ownFacts, withLive } from '../context/facts.ts'
import { actionUid } from '../decision/redecide.ts'
import { cedarEntities, loadClosure, registered } from '../identity/inventory.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'

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

  /**
   * What a decision about `attempt` would see, with all facts that there are: for who may read.
   *
   * @throws {WritError} `ERR_FORBIDDEN`.
   */
  async seen(
    caller: Caller,
    {
      subject,
      resource,
      action,
      task,
    }: Readonly<{ subject: EntityRef; resource?: EntityRef; action?: string; task?: string }>,
  ): Promise<Seen> {
    await this.#requireReader(caller)
    const { decision } = this.#deps
    const picture = new Picture(this.#deps.store)
    await picture.load([
      { kind: 'meta', id: 'policy' },
      ...(task === undefined ? [] : [{ kind: 'task' as const, id: task }]),
    ])
    await loadClosure(picture, [subject, ...(resource === undefined ? [] : [resource])])
    const found = task === undefined ? undefined : picture.get('task', task)?.value
    const mine = found !== undefined && sameRef(found.subject, subject) ? found : undefined
    const situation: Situation = {
      names: new Set([...factNames, 'calendars']),
      chain: [subject],
      // whether somebody is signed in is known of who asks alone
      caller: sameRef(caller.subject, subject) ? caller : { id: '', kind: 'key', subject },
      ticket: mine?.ticket,
      calendars: decision.context.calendars,
    }
    const needed = factsNeeded(situation)
    await decision.context.refresh(needed)
    await picture.load(needed.map(({ name, about }): Read => ({ kind: 'fact', id: factId(name, about) })))
    const stored = ({ name, about }: FactRef) => {
      const id = factId(name, about)
      return picture.has('fact', id) ? picture.get('fact', id)?.value : undefined
    }
    const own = ownFacts(picture.now, caller.id, [subject], mine)
    const facts = withLive(own, situation, picture.now, stored, (ref) => decision.context.answersFor(ref))
    const version = picture.get('meta', 'policy')?.value['version'] as string | undefined
    const policy = version === undefined ? undefined : decision.policies.get(version)
    const entity = resource === undefined ? undefined : registered(picture, resource)
    return {
      at: picture.now,
      live: { ...facts.live, ...facts.of?.[refKey(subject)] },
      unknown: [...facts.unknown].sort(),
      ...(policy === undefined || resource === undefined || action === undefined
        ? {}
        : {
            read: [
              ...policy.readsFor(
                { principal: subject, action: actionUid(action), resource },
                cedarEntities(picture, [subject, resource]),
              ).facts,
            ].sort(),
          }),
      facts: needed.map(stored).filter((fact) => fact !== undefined),
      ...(resource === undefined
        ? {}
        : {
            resource: {
              id: refKey(resource),
              registered: entity !== undefined,
              // what nobody registered counts as the most sensitive
              sensitivity: entity?.sensitivity ?? 4,
              ...(entity?.owner === undefined ? {} : { owner: refKey(entity.owner) }),
              ...(entity?.team === undefined ? {} : { team: refKey(entity.team) }),
            },
          }),
    }
  }

  /** What is stored about something, with its age and source: for who may read. */
  async about(caller: Caller, about: string): Promise<readonly Fact[]> {
    await this.#requireReader(caller)
    const view = await this.#deps.store.read([{ index: 'fact.about', value: about }])
    return view.scan('fact.about', about).map(({ value }) => value)
  }

  async #requireReader(caller: Caller): Promise<void> {
    if (await this.#attempts.may(caller, 'read')) return
    throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not see facts of others`, {
      hint: 'policy permits it with `Writ::read`',
    })
  }
}

export type Seen = Readonly<{
  at: Instant
  live: Readonly<Record<string, Json>>
  unknown: readonly string[]
  /** Facts that the policies in scope read, where an action and a resource are named. */
  read?: readonly string[]
  facts: readonly Fact[]
  resource?: Readonly<{ id: string; registered: boolean; sensitivity: number; owner?: string; team?: string }>
}>

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
