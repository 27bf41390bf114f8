/**
 * Which grant an action was done under, and whether that covers it: found from what is known of grants, credentials and
 * tasks, without reading or writing anything.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { ActionLink, ActionOutcome, Outside } from '../model/action.ts'
import { CLOCKS_DIFFER, outsideCredential, outsideGrant, wasThere } from '../model/action.ts'
import type { Json } from '../model/canonical.ts'
import type { Credential } from '../model/credential.ts'
import type { EntityRef } from '../model/entity.ts'
import { refKey, sameRef } from '../model/entity.ts'
import type { Grant } from '../model/grant.ts'
import type { Task } from '../model/task.ts'
import { inScope } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import { mine as myTask } from './tasks.ts'

/** Something that was done. `grant`, `credential` or `task` says under what; an observation may say who it was there instead. */
export type ActionReport = Readonly<{
  /** The reporter's own: the same report again is one entry. */
  id: string
  grant?: string
  credential?: string
  task?: string
  action: string
  resource?: EntityRef
  /** When, by the reporter's clock; the moment of the report if left out. */
  at?: Instant
  outcome: ActionOutcome
  detail?: Json
  /** Of observations: the name of the session's user at the target, and what its client calls itself. */
  role?: string
  application?: string
}>

export type Joined = Readonly<{
  link: ActionLink
  outside: readonly Outside[]
  claimed?: true
  grant?: Grant
  credential?: Credential
  task?: string
  decision?: string
  /** Several could be meant: each is named, none is taken for it. */
  candidates?: readonly string[]
}>

/** What is known around a batch, as one transaction sees it. */
export type Surroundings = Readonly<{
  grant(id: string): Grant | undefined
  credential(id: string): Credential | undefined
  task(id: string): Task | undefined
  grantsOf(task: string): readonly Grant[]
  named(role: string): readonly Credential[]
  under(grant: string): readonly Credential[]
}>

export const isRefused = ({ outside }: Joined): boolean =>
  outside.includes('foreign') || outside.includes('unknown')
const refusal = (outside: 'foreign' | 'unknown'): Joined => ({ link: 'none', outside: [outside] })

export function joinOwn(
  caller: Caller,
  report: ActionReport,
  around: Surroundings,
  permits: ReadonlyMap<string, string>,
  now: Instant,
): Joined {
  const { action, resource } = report
  const did = { action, ...(resource === undefined ? {} : { resource }), at: report.at ?? now }
  const credential = report.credential === undefined ? undefined : around.credential(report.credential)
  if (report.credential !== undefined && credential === undefined) return refusal('unknown')
  const grantId = report.grant ?? credential?.grant
  if (grantId !== undefined) {
    const grant = around.grant(grantId)
    if (grant === undefined) return refusal('unknown')
    if (!myGrant(caller, grant)) return refusal('foreign')
    // what does not hang together is somebody else's as far as this report goes
    const apart =
      (credential !== undefined && credential.grant !== grant.id) ||
      (report.task !== undefined && report.task !== grant.task)
    if (apart) return refusal('unknown')
    return {
      link: report.credential === undefined ? 'grant' : 'credential',
      grant,
      ...(credential === undefined ? {} : { credential }),
      outside: merged(
        outsideGrant(grant, did, now),
        credential === undefined ? [] : outsideCredential(credential, did.at),
      ),
    }
  }
  if (report.task === undefined) return refusal('unknown')
  const task = around.task(report.task)
  if (task === undefined) return refusal('unknown')
  if (!myTask(caller, task)) return refusal('foreign')
  const fitting = around
    .grantsOf(task.id)
    .map((grant) => ({ grant, outside: outsideGrant(grant, did, now) }))
    .toSorted((a, b) => a.outside.length - b.outside.length || b.grant.startedAt - a.grant.startedAt)
  const [best] = fitting
  if (best !== undefined && best.outside.length === 0)
    return { link: 'task', task: task.id, grant: best.grant, outside: [] }
  const decision = permits.get(permitKey(report))
  const ended = did.at > (task.endedAt ?? Infinity) + CLOCKS_DIFFER ? (['after_end'] as const) : ([] as const)
  if (decision !== undefined) return { link: 'task', task: task.id, decision, outside: [...ended] }
  if (best !== undefined && !best.outside.includes('action') && !best.outside.includes('resource'))
    return { link: 'task', task: task.id, grant: best.grant, outside: best.outside }
  const inside =
    resource === undefined ? task.scope.actions.includes(action) : inScope(task.scope, action, resource)
  return {
    link: 'task',
    task: task.id,
    outside: [...(inside ? [] : (['action'] as const)), 'no_grant', ...ended],
  }
}

export function joinObserved(
  report: ActionReport,
  target: string,
  around: Surroundings,
  now: Instant,
): Joined {
  const at = report.at ?? now
  const of = (credential: Credential, link: ActionLink, claimed?: true): Joined => {
    const grant = around.grant(credential.grant)
    return {
      link,
      credential,
      ...(grant === undefined ? {} : { grant }),
      ...(claimed === undefined ? {} : { claimed }),
      // what the target calls it is another language than that of grants: the role decides what it may do there
      outside: merged(
        grant === undefined ? ['no_grant'] : outsideGrant(grant, { at }, now),
        outsideCredential(credential, at),
      ),
    }
  }
  // who may speak for one target says nothing about what was issued at another
  const elsewhere: Joined = { link: 'none', outside: ['target'] }
  if (report.credential !== undefined) {
    const credential = around.credential(report.credential)
    if (credential === undefined) return { link: 'none', outside: ['unknown'] }
    return credential.target === target ? of(credential, 'credential') : elsewhere
  }
  if (report.grant !== undefined) {
    const grant = around.grant(report.grant)
    if (grant === undefined) return { link: 'none', outside: ['unknown'] }
    if (!around.under(grant.id).some((credential) => credential.target === target)) return elsewhere
    const { action, resource } = report
    const did = { action, ...(resource === undefined ? {} : { resource }), at }
    return { link: 'grant', grant, outside: outsideGrant(grant, did, now) }
  }
  const { role } = report
  const named = role === undefined ? [] : around.named(role)
  const own = named.find((credential) => !isLift(credential))
  if (own !== undefined) return of(own, 'role')
  // an account that is lifted is not this credential's alone: what the session calls itself is all there is
  const label = labelOf(report.application)
  const labelled =
    label === undefined
      ? []
      : around.under(label).filter((c) => c.target === target && (role === undefined || isNamed(c, role)))
  const there = labelled.find((credential) => wasThere(credential, at)) ?? labelled[0]
  if (there !== undefined) return of(there, 'application_name', true)
  const lifted = named.filter((credential) => isLift(credential) && wasThere(credential, at))
  const [only, ...others] = lifted
  // a label that is no grant's is not made better by the time
  if (only === undefined || label !== undefined) return { link: 'none', outside: [] }
  if (others.length === 0) return of(only, 'time', true)
  return { link: 'time', claimed: true, outside: [], candidates: lifted.map(({ id }) => id) }
}

function merged(...lists: readonly (readonly Outside[])[]): Outside[] {
  return [...new Set(lists.flat())]
}

export const isLift = (credential: Credential): boolean =>
  (credential.planned as { shape?: { shape?: Json } } | null)?.shape?.shape === 'lift'
const isNamed = (credential: Credential, role: string): boolean => {
  const planned = credential.planned as { name?: Json; shape?: { account?: Json } } | null
  return planned?.name === role || planned?.shape?.account === role
}
export const mayMean = (credential: Credential, report: ActionReport, at: Instant): boolean =>
  labelOf(report.application) === credential.grant || wasThere(credential, report.at ?? at)

/** The grant in `writ grant_…`, as sessions under credentials are labelled. */
export function labelOf(application: string | undefined): string | undefined {
  return /^writ (grant_[0-9a-z]{1,60})$/.exec(application ?? '')?.[1]
}
export const claimsGrant = ({ application, grant, credential }: ActionReport): boolean =>
  (grant ?? credential ?? labelOf(application)) !== undefined

export function myGrant(caller: Caller, grant: Grant): boolean {
  return caller.id === grant.caller || sameRef(caller.subject, grant.subject)
}

export const permitKey = ({ task, action, resource }: ActionReport): string =>
  `${task ?? ''}\n${action}\n${resource === undefined ? '' : refKey(resource)}`
