/**
 * An attempt: one subject trying one action on one resource, now, with a context.
 *
 * @module
 */
import type { Json } from './canonical.ts'
import type { Action, EntityRef, Properties, Resource, Subject } from './entity.ts'
import { refKey } from './entity.ts'

/**
 * `subject` is the acting party; `chain` lists it and everyone it acts for, outermost actor first. `context` is what the
 * PEP sent, without the members that are Writ's own (`task`, `grant`, `approval`, `delegation`), which stand beside it.
 */
export type Attempt = Readonly<{
  subject: Subject
  action: Action
  resource: Resource
  context: Properties
  chain: readonly EntityRef[]
  task?: string
  grant?: string
  approval?: string
  /** A registered delegation: its delegator is the last of the chain. */
  delegation?: string
  /** An approval was named that counts for nothing: what came with it does not verify. */
  approvalRefused?: 'approval_unverifiable' | 'out_of_scope' | 'approval_expired'
}>

/** What is compared exactly: `context` holds the relevant members only. */
export type Tuple = Readonly<{ subject: Subject; action: Action; resource: Resource; context: Properties }>

/** Context members that never bind (`arap.md`, comparison rules): volatile, or Writ's own. */
const unbound: ReadonlySet<string> = new Set([
  'access_request',
  'evaluation_id',
  'evaluated_at',
  'reason',
  'approval',
  'task',
  'grant',
  'time',
  'justification',
])

/** The context members that evidence binds to. */
export function bindingContext(context: Properties): Properties {
  return Object.fromEntries(Object.entries(context).filter(([member]) => !unbound.has(member)))
}

/**
 * Names of the context members that a denial binds, in order: those that evidence binds to, the task and the delegation. Fixed when the
 * denial is recorded; whoever submits may add others, which bind nothing.
 */
export function bindingMembers(attempt: Pick<Attempt, 'context' | 'task' | 'delegation'>): readonly string[] {
  const members = Object.keys(bindingContext(attempt.context))
  const own = (['task', 'delegation'] as const).filter((member) => attempt[member] !== undefined)
  return [...members, ...own].sort()
}

/** The tuple of an attempt, or of what is asked for, over `members` of its context. */
export function tupleOf(
  {
    subject,
    action,
    resource,
    context,
    task,
    delegation,
  }: Pick<Attempt, keyof Tuple | 'task' | 'delegation'>,
  members: readonly string[],
): Tuple {
  const all: Properties = {
    ...context,
    ...(task === undefined ? {} : { task }),
    ...(delegation === undefined ? {} : { delegation }),
  }
  return {
    subject: withoutAct(subject),
    action: { ...action },
    resource: { ...resource },
    context: Object.fromEntries(
      members.filter((member) => Object.hasOwn(all, member)).map((member) => [member, all[member] as Json]),
    ),
  }
}

/** The chain stands for `properties.act`, which is never compared. */
function withoutAct(subject: Subject): Subject {
  const { act: _act, ...properties } = subject.properties ?? {}
  return {
    type: subject.type,
    id: subject.id,
    ...(subject.properties === undefined ? {} : { properties }),
  }
}

/**
 * The statement of one exact attempt: what an approver is shown and what the digest is taken over. Absent is not null;
 * `subject.properties.act` is left out, because the chain stands for it.
 */
export function attemptStatement(installation: string, attempt: Attempt): Json {
  return {
    kind: 'attempt',
    installation,
    subject: withoutAct(attempt.subject),
    action: { ...attempt.action },
    resource: { ...attempt.resource },
    context: bindingContext(attempt.context),
    chain: attempt.chain.map(refKey),
    ...(attempt.task === undefined ? {} : { task: attempt.task }),
    ...(attempt.delegation === undefined ? {} : { delegation: attempt.delegation }),
  }
}
