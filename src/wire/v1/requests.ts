/**
 * Access requests as approvers and requesters see them.
 *
 * @module
 */
import * as z from 'zod'
import type { AccessRequest } from '../../model/request.ts'
import { alternative, encodeAlternatives } from '../alternative.ts'
import { arapStatuses } from '../arap/draft1/index.ts'
import {
  actionName,
  durationOut,
  encodeDuration,
  encodeInstant,
  encodeRef,
  given,
  instantOut,
  jsonOut,
  page,
  refOut,
  text,
} from '../bounds.ts'

/** The digest of a statement, as it was shown: `sha256:` and 64 hexadecimal digits. */
export const statementDigest = z
  .string()
  .max(80)
  .regex(/^sha256:[0-9a-f]{64}$/, { error: 'must be the digest that was shown, `sha256:…`' })

export const approve = z
  .strictObject({
    statement: statementDigest,
    pool: actionName.exactOptional(),
    comment: text.exactOptional(),
  })
  .meta({
    id: 'Approve',
    description: 'The approver signs the digest that was displayed; another digest is a conflict',
  })

export const denyRequest = z
  .strictObject({ statement: statementDigest, reason: text.exactOptional() })
  .meta({ id: 'DenyRequest' })

export type Approve = z.input<typeof approve>
export type DenyRequest = z.input<typeof denyRequest>

export const accessRequest = z
  .object({
    id: z.string(),
    status: z.enum(arapStatuses),
    requester: refOut,
    subject: refOut,
    action: z.string(),
    resource: refOut,
    chain: z.array(refOut),
    proved: jsonOut.exactOptional().meta({
      description: 'What the issuer of its token proved of whoever asked: `issuer` and claims',
    }),
    proved_also: z
      .array(jsonOut)
      .exactOptional()
      .meta({ description: 'What was proved otherwise of those who asked for the same again, the last few' }),
    instigators: z
      .array(z.string())
      .exactOptional()
      .meta({ description: 'Who set it going, as proved: `Type/id`, or an account as `issuer account`' }),
    task: z.string().exactOptional(),
    delegation: z.string().exactOptional(),
    binding: z.enum(['attempt', 'task']),
    alternatives: z.array(alternative),
    justification: z.string().exactOptional().meta({ description: 'Untrusted: written by the requester' }),
    emergency: z.boolean().exactOptional().meta({
      description: 'The requester says that it is urgent; it changes nothing that is asked or needed',
    }),
    client: z
      .object({ id: z.string().exactOptional(), name: z.string().exactOptional() })
      .exactOptional()
      .meta({ description: 'Untrusted: what the submitting application calls itself' }),
    ttl: durationOut,
    statement: jsonOut.meta({ description: 'Exactly what the evidence would be given for' }),
    digest: z.string(),
    decision: z.string(),
    policy: z.string(),
    requested_at: instantOut,
    expires_at: instantOut,
    approvals: z.array(
      z.object({
        pool: z.string(),
        at: instantOut,
        person: z.string().exactOptional(),
        comment: z.string().exactOptional(),
      }),
    ),
    approval: z.string().exactOptional(),
    approved_at: instantOut.exactOptional(),
    activate_by: instantOut.exactOptional(),
    grant: z.string().exactOptional(),
    denied_by: z.string().exactOptional(),
    reason: z.string().exactOptional(),
    ended_at: instantOut.exactOptional(),
    merged: z.int().meta({ description: 'Identical asks that were merged into this one' }),
    may_approve: z
      .array(z.string())
      .exactOptional()
      .meta({ description: 'Pools in which the caller could approve now' }),
  })
  .meta({ id: 'AccessRequest' })

export type WireAccessRequest = z.infer<typeof accessRequest>

export const accessRequestPage = page(accessRequest).meta({ id: 'AccessRequestPage' })

/** `Person/ada`, or `github 4711`. */
const instigatorText = (one: NonNullable<AccessRequest['instigators']>[number]): string =>
  'issuer' in one ? `${one.issuer} ${one.id}` : encodeRef(one)

/** `people` says whether the caller may see who approved and who denied: people may, enforcement points may not. */
export function encodeAccessRequest(
  value: AccessRequest & { readonly mayApprove?: readonly string[] },
  people: boolean,
): WireAccessRequest {
  return {
    id: value.id,
    status: value.status,
    requester: encodeRef(value.requester),
    subject: encodeRef(value.attempt.subject),
    action: value.attempt.action.name,
    resource: encodeRef(value.attempt.resource),
    chain: value.attempt.chain.map(encodeRef),
    ...given('proved', value.proved),
    ...given('proved_also', value.provedAlso?.slice()),
    ...given('instigators', value.instigators?.map(instigatorText)),
    ...given('task', value.task),
    ...given('delegation', value.delegation),
    binding: value.binding,
    alternatives: encodeAlternatives(value.alternatives),
    ...given('justification', value.justification),
    ...given('emergency', value.emergency),
    ...given('client', value.client),
    ttl: encodeDuration(value.ttl),
    statement: value.statement,
    digest: value.digest,
    decision: value.decision,
    policy: value.policy,
    requested_at: encodeInstant(value.requestedAt),
    expires_at: encodeInstant(value.expiresAt),
    approvals: value.approvals.map((approval) => ({
      pool: approval.pool,
      at: encodeInstant(approval.at),
      ...(people ? { person: approval.person, ...given('comment', approval.comment) } : {}),
    })),
    ...given('approval', value.approval),
    ...(value.approvedAt === undefined ? {} : { approved_at: encodeInstant(value.approvedAt) }),
    ...(value.activateBy === undefined ? {} : { activate_by: encodeInstant(value.activateBy) }),
    ...given('grant', value.grant),
    ...(people ? given('denied_by', value.deniedBy) : {}),
    ...given('reason', value.reason),
    ...(value.endedAt === undefined ? {} : { ended_at: encodeInstant(value.endedAt) }),
    merged: value.merged,
    ...(value.mayApprove === undefined ? {} : { may_approve: [...value.mayApprove] }),
  }
}
