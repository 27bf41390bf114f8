/**
 * Grants and credentials on the wire.
 *
 * @module
 */
import * as z from 'zod'
import type { Credential } from '../../model/credential.ts'
import type { Grant } from '../../model/grant.ts'
import type { AccessRequest } from '../../model/request.ts'
import { countByPool } from '../../model/request.ts'
import type { EvaluationRequest } from '../authzen/v1_0.ts'
import { action, resource, subject } from '../authzen/tuple.ts'
import type { Instant } from '../../model/time.ts'
import {
  durationOut,
  encodeDuration,
  encodeInstant,
  encodeRef,
  given,
  id,
  instantOut,
  jsonOut,
  page,
  properties,
  refOut,
  text,
} from '../bounds.ts'
import { encodeAction, encodeUse, recordedAction, use } from './actions.ts'
import { decision } from './decisions.ts'
import { accessRequest, encodeAccessRequest } from './requests.ts'

export const activation = z
  .strictObject({
    subject: subject.exactOptional().meta({ description: "Defaults to the caller's own subject" }),
    action,
    resource,
    context: properties.exactOptional(),
  })
  .meta({
    id: 'Activation',
    description: 'An attempt that, permitted, becomes a grant without spending a use',
  })

export type Activation = Omit<EvaluationRequest, 'subject'> & { subject?: EvaluationRequest['subject'] }

export const grant = z
  .object({
    id: z.string(),
    state: z.enum(['active', 'ended', 'closed']),
    task: z.string().exactOptional(),
    subject: refOut,
    chain: z.array(refOut),
    delegation: z.string().exactOptional(),
    action: z.string(),
    resource: refOut,
    binding: z.enum(['attempt', 'task']),
    uses: z.int().exactOptional(),
    used: z.int(),
    started_at: instantOut,
    ends_at: instantOut,
    obligations: z.object({
      ttl: durationOut.exactOptional(),
      uses: z.int().exactOptional(),
      binding: z.enum(['attempt', 'task']),
      review: durationOut.exactOptional(),
      notify: z.array(z.string()),
    }),
    evidence: z
      .object({
        approval: z.string().exactOptional(),
        request: z.string().exactOptional(),
        approvals: z.record(z.string(), z.int()),
        justification: z.boolean(),
      })
      .meta({
        description: 'Approvals are counted by pool; who gave them is in the access request and the log',
      }),
    decision: z.string(),
    policy: z.string(),
    ended_at: instantOut.exactOptional(),
    end: z.enum(['completed', 'failed', 'expired', 'revoked']).exactOptional(),
    reason: z.string().exactOptional(),
    ended_by: z.string().exactOptional(),
    closed_at: instantOut.exactOptional(),
  })
  .meta({ id: 'Grant' })

export type WireGrant = z.infer<typeof grant>

const at = <M extends string>(member: M, when: Instant | undefined): { [member in M]?: string } =>
  given(member, when === undefined ? undefined : encodeInstant(when))

export function encodeGrant(value: Grant): WireGrant {
  const { obligations, evidence } = value
  return {
    id: value.id,
    state: value.state,
    ...given('task', value.task),
    subject: encodeRef(value.subject),
    chain: value.chain.map(encodeRef),
    ...given('delegation', value.delegation),
    action: value.action,
    resource: encodeRef(value.resource),
    binding: value.binding,
    ...given('uses', value.uses),
    used: value.used,
    started_at: encodeInstant(value.startedAt),
    ends_at: encodeInstant(value.endsAt),
    obligations: {
      ...(obligations.ttl === undefined ? {} : { ttl: encodeDuration(obligations.ttl) }),
      ...given('uses', obligations.uses),
      binding: obligations.binding,
      ...(obligations.review === undefined ? {} : { review: encodeDuration(obligations.review) }),
      notify: [...obligations.notify],
    },
    evidence: {
      ...given('approval', evidence.approval),
      ...given('request', evidence.request),
      approvals: { ...countByPool(evidence.approvals) },
      justification: evidence.justification,
    },
    decision: value.decision,
    policy: value.policy,
    ...at('ended_at', value.endedAt),
    ...given('end', value.end),
    ...given('reason', value.reason),
    ...given('ended_by', value.endedBy),
    ...at('closed_at', value.closedAt),
  }
}

export const credential = z
  .object({
    id: z.string(),
    state: z.enum(['planned', 'live', 'revoking', 'absent', 'unresolved']),
    grant: z.string(),
    task: z.string().exactOptional(),
    target: z.string(),
    planned: jsonOut.meta({
      description: 'What was decided beforehand, e.g. the name at the target; never a secret',
    }),
    planned_at: instantOut,
    ends_at: instantOut,
    live_at: instantOut.exactOptional(),
    revoking_at: instantOut.exactOptional(),
    absent_at: instantOut.exactOptional(),
    tries: z.int(),
    next_try_at: instantOut.exactOptional(),
    problem: z.string().exactOptional().meta({ description: 'Why it is unresolved' }),
    report: jsonOut
      .exactOptional()
      .meta({ description: 'What the target reported: sessions cut, objects left behind' }),
  })
  .meta({ id: 'Credential' })

export type WireCredential = z.infer<typeof credential>

export function encodeCredential(value: Credential): WireCredential {
  return {
    id: value.id,
    state: value.state,
    grant: value.grant,
    ...given('task', value.task),
    target: value.target,
    planned: value.planned,
    planned_at: encodeInstant(value.plannedAt),
    ends_at: encodeInstant(value.endsAt),
    ...at('live_at', value.liveAt),
    ...at('revoking_at', value.revokingAt),
    ...at('absent_at', value.absentAt),
    tries: value.tries,
    ...at('next_try_at', value.nextTryAt),
    ...given('problem', value.problem),
    ...given('report', value.report),
  }
}

export const activationResponse = z
  .object({ decision, grant: grant.exactOptional() })
  .meta({ id: 'ActivationResponse', description: '`grant` is present when the decision is a permit' })

/** What stands in the record alone, when it was asked for: one place for what was asked, agreed, permitted and done. */
export const joinedRecord = z
  .object({
    requests: z.array(accessRequest),
    uses: z.array(use),
    actions: z.array(recordedAction),
    more: z.boolean().meta({ description: 'Older uses and actions were left out' }),
  })
  .meta({ id: 'JoinedRecord' })

export type WireJoinedRecord = z.infer<typeof joinedRecord>

export function encodeRecord(
  value: {
    readonly requests: readonly AccessRequest[]
    readonly uses: readonly Parameters<typeof encodeUse>[0][]
    readonly actions: readonly Parameters<typeof encodeAction>[0][]
    readonly more: boolean
  },
  people: boolean,
): WireJoinedRecord {
  return {
    requests: value.requests.map((request) => encodeAccessRequest(request, people)),
    uses: value.uses.map(encodeUse),
    actions: value.actions.map(encodeAction),
    more: value.more,
  }
}

export const grantDetail = z
  .object({ grant, credentials: z.array(credential), record: joinedRecord.exactOptional() })
  .meta({ id: 'GrantDetail' })
export const grantPage = page(grant).meta({ id: 'GrantPage' })
export const credentialPage = page(credential).meta({ id: 'CredentialPage' })

export const issue = z.strictObject({ grant: id, target: id.exactOptional() }).meta({
  id: 'CredentialIssue',
  description: 'Issues a credential under a grant; its secret is in this answer and nowhere else',
})

export type CredentialIssue = z.input<typeof issue>

/** The secret as its target shapes it; `env` is what a child process is given. */
export const secret = z
  .looseObject({ kind: z.string(), env: z.record(z.string(), z.string()) })
  .meta({ id: 'Secret', description: 'Shown once, never stored' })

export const issueResponse = z
  .object({ decision, credential: credential.exactOptional(), secret: secret.exactOptional() })
  .meta({ id: 'CredentialIssueResponse' })

export const revocation = z.strictObject({ reason: text.min(1) }).meta({ id: 'Revocation' })
export type Revocation = z.input<typeof revocation>

/** Denied at once; absent per target as each is verified. */
export const narrowing = z
  .object({
    denied: z.literal(true),
    recorded: z.boolean().meta({ description: 'False until the entry is durable' }),
    grants: z.array(grant),
    credentials: z.array(credential),
    ending: z
      .boolean()
      .exactOptional()
      .meta({ description: 'More of it is denied already and ends after this answer' }),
  })
  .meta({ id: 'Narrowing' })

export type WireNarrowing = z.infer<typeof narrowing>

export function encodeNarrowing(value: {
  readonly denied: true
  readonly recorded: boolean
  readonly grants: readonly Grant[]
  readonly credentials: readonly Credential[]
  readonly ending?: boolean
}): WireNarrowing {
  return {
    denied: true,
    recorded: value.recorded,
    grants: value.grants.map(encodeGrant),
    credentials: value.credentials.map(encodeCredential),
    ...(value.ending === true ? { ending: true } : {}),
  }
}
