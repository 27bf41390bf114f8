/**
 * What a grant depends on, as its last analysis found it: the records it read, who is looked at first when many are
 * affected, and when time alone will have changed what was read.
 *
 * @module
 */
import { refKey } from '../model/entity.ts'
import { knownUntil } from '../model/fact.ts'
import type { Grant } from '../model/grant.ts'
import { grantEnd } from '../model/grant.ts'
import { heldUntil, lockId } from '../model/lock.ts'
import type { Kind } from '../model/records.ts'
import type { Instant } from '../model/time.ts'
import { hasThirdParty, registered } from '../identity/inventory.ts'
import type { Analysis, LongestGrant } from './analyse.ts'
import { calendarsOf, callerRecord, grantTtl } from './analyse.ts'

/** What a grant is itself and was made of; locks are found under what they are about. */
const NO_DEPENDENCY: ReadonlySet<Kind> = new Set<Kind>(['grant', 'request', 'lock'])

/** Where those are found that read how often something was denied under a task. */
export const historyKey = (task: string): string => `history/${task}`

/** What stands in a grant of its analysis. */
export type Dependencies = Required<Pick<Grant, 'reads' | 'urgency'>> & Pick<Grant, 'reviewAt'>

/** What `analysis` found, for a grant that ends at `endsAt`. */
export function dependenciesOf(analysis: Analysis, endsAt: Instant): Dependencies {
  const known = Math.min(changesAt(analysis), endsAt)
  const at = analysis.turnsAt?.(known) ?? known
  return {
    reads: [
      ...analysis.picture.readSet
        .filter(({ kind }) => !NO_DEPENDENCY.has(kind))
        .map(({ kind, id }) => `${kind}/${id}`),
      // counters are no part of the task that others read
      ...(analysis.readsHistory ? analysis.tasks.slice(0, 1).map(({ id }) => historyKey(id)) : []),
    ].sort(),
    urgency: urgencyOf(analysis),
    ...(at < endsAt ? { reviewAt: at } : {}),
  }
}

/** Third parties are taken back from first, and from the most sensitive things first. */
function urgencyOf({ attempt, picture }: Analysis): number {
  return (
    (hasThirdParty(picture, attempt.chain) ? 0 : 4) +
    4 -
    (registered(picture, attempt.resource)?.sensitivity ?? 4)
  )
}

/** The first instant at which what was read would be read otherwise although nothing was written. */
function changesAt({ at: from, facts, picture, caller, tasks }: Analysis): Instant {
  const known = [
    facts.changesAt,
    registered(picture, caller.subject)?.endsAt,
    ...callerRecord(caller).map(({ kind, id }) => picture.get(kind, id)?.value.endsAt),
    ...tasks.flatMap((task) => [task.endsAt, task.window?.startsAt, task.window?.endsAt]),
    ...calendarsOf(tasks).map((id) => {
      const fact = picture.get('fact', id)?.value
      return fact === undefined ? undefined : knownUntil(fact)
    }),
  ]
  // later loads moved the time of the picture on: what changed since it was judged has still to be seen
  return Math.min(Infinity, ...(known.filter((at) => at !== undefined && at > from) as Instant[]))
}

/** Whether time alone has changed by `now` what was read, or how policies compare it. */
export const hasTurned = (analysis: Analysis, now: Instant): boolean =>
  changesAt(analysis) <= now || analysis.turnsAt?.(now + 1) !== undefined

/** When `grant` ends by what is known now (law 3): earlier than it says where something of it ends earlier. */
export function endNow(deps: LongestGrant, grant: Grant, analysis: Analysis): Instant {
  const { tasks } = analysis
  return Math.min(
    grant.endsAt,
    grantEnd(grant.startedAt, {
      ttl: grantTtl(deps, analysis),
      task: Math.min(Infinity, ...tasks.map((task) => task.endsAt ?? Infinity)),
      window: Math.min(Infinity, ...tasks.map((task) => task.window?.endsAt ?? Infinity)),
      subject: analysis.endsAt,
    }),
  )
}

/** Who is told besides its subject when it ends: the owners of who had it and of what it was for. */
export function ownersOf({ attempt, picture }: Analysis): readonly string[] {
  const owners = [...attempt.chain, attempt.resource].flatMap((ref) => {
    const entity = registered(picture, ref)
    return [entity?.owner, entity?.team].filter((owner) => owner !== undefined).map(refKey)
  })
  return [...new Set(owners)]
}

/** The lock that ends `grant`, and why in the words of whoever set it: one that is in force, or was set after it began. */
export function lockOn(
  { attempt, caller, picture, locks, reason }: Analysis,
  grant: Grant,
): Readonly<{ id: string; reason: string }> | undefined {
  if (reason !== 'locked' && reason !== 'subject_locked') return undefined
  const subjects = [...attempt.chain, caller.subject].flatMap((ref) => {
    const locked = registered(picture, ref)?.locked
    return locked === undefined ? [] : [{ id: lockId('subject', refKey(ref)), ...locked }]
  })
  const named = locks.flatMap((id) => picture.get('lock', id)?.value ?? [])
  return [...subjects, ...named].find((lock) => picture.now < heldUntil(lock) || grant.startedAt <= lock.at)
}
