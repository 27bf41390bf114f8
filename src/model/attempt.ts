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
 * PEP sent, without the members that are Writ's own (`task`, `grant`, `approval`), which stand beside it.
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
}>

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
 * The statement of one exact attempt: what an approver is shown and what the digest is taken over. Absent is not null;
 * `subject.properties.act` is left out, because the chain stands for it.
 */
export function attemptStatement(installation: string, attempt: Attempt): Json {
  const { act: _act, ...subjectProperties } = attempt.subject.properties ?? {}
  return {
    kind: 'attempt',
    installation,
    subject: {
      type: attempt.subject.type,
      id: attempt.subject.id,
      ...(attempt.subject.properties === undefined ? {} : { properties: subjectProperties }),
    },
    action: { ...attempt.action },
    resource: { ...attempt.resource },
    context: bindingContext(attempt.context),
    chain: attempt.chain.map(refKey),
    ...(attempt.task === undefined ? {} : { task: attempt.task }),
  }
}
