/**
 * The facts of a decision: what Writ knows itself, and what is stored of others after their sources were asked. Everything
 * that is read goes into the picture.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { EntityRef } from '../model/entity.ts'
import { sameRef } from '../model/entity.ts'
import type { Fact } from '../model/fact.ts'
import { factId } from '../model/fact.ts'
import type { Task } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import type { FactRef, Facts, Situation } from '../context/facts.ts'
import { factsNeeded, moreNeeded, ownFacts, withLive } from '../context/facts.ts'
import type { LiveContext } from '../context/port.ts'
import { hasThirdParty, registered } from '../identity/inventory.ts'
import type { Picture } from '../store/picture.ts'

/** What is asked: who asks for whom, under which task (without calls that do not count against it). */
export type Asking = Readonly<{
  caller: Pick<Caller, 'id' | 'kind' | 'subject' | 'auth' | 'workload' | 'provedAt'>
  chain: readonly EntityRef[]
  task: Task | undefined
}>

/** What Writ knows itself at `now`. */
export function knownOf({ caller, chain, task }: Asking, now: Instant): Facts {
  // an enforcement point's own proof says nothing of whom it speaks for
  const isOwn = chain[0] !== undefined && sameRef(caller.subject, chain[0])
  return ownFacts(
    now,
    caller.id,
    chain,
    task,
    isOwn ? caller.workload : undefined,
    isOwn ? caller.provedAt : undefined,
  )
}

/** What policies that read `names` see; `at` tells what they would see then, if nothing were written. */
export type Live = Readonly<{ facts: Facts; needed: readonly FactRef[]; at: (time: Instant) => Facts }>

/**
 * Asks sources, then reads what is stored. The chain and its owners are in the picture.
 *
 * @throws whatever the store does.
 */
export async function liveFacts(
  picture: Picture,
  context: LiveContext,
  asking: Asking,
  names: ReadonlySet<string>,
): Promise<Live> {
  const { caller, chain, task } = asking
  const situation: Situation = {
    names,
    chain,
    caller,
    task,
    standing: (party) => ({
      isRegistered: registered(picture, party) !== undefined,
      isThirdParty: hasThirdParty(picture, [party]),
    }),
    calendars: context.calendars,
  }
  const load = (refs: readonly FactRef[]): Promise<void> =>
    picture.load(
      refs.map(({ name, about, device }) => ({ kind: 'fact' as const, id: factId(name, about, device) })),
    )
  const stored = ({ name, about, device }: FactRef): Fact | undefined => {
    const id = factId(name, about, device)
    return picture.has('fact', id) ? picture.get('fact', id)?.value : undefined
  }
  const needed = factsNeeded(situation)
  if (needed.length > 0) {
    await context.refresh(needed)
    await load(needed)
  }
  const more = moreNeeded(situation, stored)
  if (more.length > 0) await load(more)
  const expected = (ref: FactRef): boolean => context.answersFor(ref)
  const at = (time: Instant): Facts => withLive(knownOf(asking, time), situation, time, stored, expected)
  return { facts: at(picture.now), needed: [...needed, ...more], at }
}
