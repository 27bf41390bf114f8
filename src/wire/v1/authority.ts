/**
 * What a subject could do at an instant, on the wire.
 *
 * @module
 */
import * as z from 'zod'
import type { Json } from '../../model/canonical.ts'
import type { Instant } from '../../model/time.ts'
import { encodeInstant, instant, instantOut, jsonOut, ref, refOut } from '../bounds.ts'

export const authorityQuery = z.strictObject({
  subject: ref,
  at: instant.exactOptional().meta({ description: 'By default now' }),
})

const scope = z.object({
  actions: z.array(z.string()),
  resources: z.array(z.object({ type: z.string(), id: z.string().exactOptional() })),
})

const approval = z.object({
  by: refOut,
  pool: z.string(),
  at: instantOut,
  statement: z.string().meta({ description: 'Digest of what was approved' }),
  comment: z.string().exactOptional(),
})

const grant = z.object({
  id: z.string(),
  action: z.string(),
  resource: refOut,
  binding: z.enum(['attempt', 'task']),
  task: z.string().exactOptional(),
  scope: scope.exactOptional(),
  started_at: instantOut,
  ends_at: instantOut,
  uses: z.int().exactOptional(),
  uses_left: z.int().exactOptional(),
  decision: z.string(),
  policy: z.string(),
  determining: z.array(z.string()),
  request: z.string().exactOptional(),
  statement: jsonOut,
  approvals: z.array(approval),
  justification: z.string().exactOptional(),
})

const credential = z.object({
  id: z.string(),
  state: z.enum(['planned', 'live', 'revoking', 'unresolved']),
  grant: z.string().exactOptional(),
  target: z.string(),
  name: z.string().meta({ description: 'What it is called at its target' }),
  ends_at: instantOut,
})

const task = z.object({
  id: z.string(),
  state: z.enum(['declared', 'open']),
  purpose: z.string(),
  scope,
  declared_at: instantOut,
  opened_at: instantOut.exactOptional(),
  ends_at: instantOut.exactOptional(),
  parent: z.string().exactOptional(),
})

const request = z.object({
  id: z.string(),
  state: z.enum(['pending', 'approved']),
  action: z.string(),
  resource: refOut,
  task: z.string().exactOptional(),
  requested_at: instantOut,
  until: instantOut,
  approvals: z.array(approval),
})

const decision = z.object({
  id: z.string(),
  at: instantOut,
  outcome: z.string(),
  reason: z.string(),
  action: z.string(),
  resource: refOut,
})

const proof = z.object({
  chain: z.array(refOut),
  issuer: z.string().exactOptional().meta({ description: 'The configured issuer whose token it was' }),
  client: z.string().exactOptional().meta({ description: 'The client whose key it was' }),
  token: z.string().exactOptional().meta({ description: 'The access token that it was' }),
  jti: z.string().exactOptional(),
  instigator: z.unknown().exactOptional().meta({ description: 'The account that set it going' }),
  workload: z.unknown().exactOptional().meta({ description: 'Claims of the workload as they were proved' }),
})

const token = z.object({
  id: z.string(),
  audience: refOut,
  scope: z.array(z.string()),
  chain: z.array(refOut).meta({ description: 'The acting party first' }),
  proofs: z.array(proof),
  decisions: z.array(z.string()),
  issued_at: instantOut,
  ends_at: instantOut,
  jkt: z.string().exactOptional().meta({ description: 'Thumbprint of the key that it was bound to' }),
})

const delegation = z.object({
  id: z.string(),
  delegator: refOut,
  actions: z.array(z.string()).exactOptional(),
  resources: z.array(refOut).exactOptional(),
  reason: z.string().exactOptional(),
  made_at: instantOut,
  ends_at: instantOut,
})

export const authority = z
  .object({
    subject: refOut,
    at: instantOut,
    seq: z.int().meta({ description: 'Everything before this entry counts' }),
    registered: z.boolean(),
    over: z
      .enum(['locked', 'deleted', 'ended'])
      .exactOptional()
      .meta({ description: 'Why it had no authority' }),
    policy: z
      .object({ version: z.string(), schema: z.string(), published_at: instantOut })
      .exactOptional()
      .meta({ description: 'The set in force then' }),
    locks: z.array(
      z.object({
        reason: z.string(),
        at: instantOut,
        by: z.string().exactOptional(),
        until: instantOut.exactOptional(),
      }),
    ),
    grants: z.array(grant),
    credentials: z.array(credential),
    tasks: z.array(task),
    tokens: z.array(token).meta({ description: 'Access tokens that it could use' }),
    delegations: z.array(delegation).meta({ description: 'Who let it act for them' }),
    requests: z.array(request),
    standing: z
      .array(z.object({ action: z.string(), resource: refOut, policies: z.array(z.string()) }))
      .meta({ description: 'What policy alone permitted, without evidence' }),
    tried: z.int().meta({ description: 'Pairs of action and resource that were tried for it' }),
    before: z.array(decision),
    after: z.array(decision),
    truncated: z.boolean(),
    leaves_out: z.array(z.string()),
  })
  .meta({ id: 'Authority', description: 'What a subject could do at an instant, from the log alone' })

export type WireAuthority = z.infer<typeof authority>

type Approval = Readonly<{ by: string; pool: string; at: Instant; statement: string; comment?: string }>

/** `flows/authority.ts` says what each member means. */
export type AuthorityAnswer = Readonly<{
  subject: string
  at: Instant
  seq: number
  registered: boolean
  over?: 'locked' | 'deleted' | 'ended' | undefined
  policy?: Readonly<{ version: string; schema: string; publishedAt: Instant }>
  locks: readonly Readonly<{ reason: string; at: Instant; by?: string; until?: Instant }>[]
  grants: readonly Readonly<{
    id: string
    action: string
    resource: string
    binding: 'attempt' | 'task'
    task?: string
    scope?: Scope
    startedAt: Instant
    endsAt: Instant
    uses?: number
    usesLeft?: number
    decision: string
    policy: string
    determining: readonly string[]
    request?: string
    statement: Json
    approvals: readonly Approval[]
    justification?: string
  }>[]
  credentials: readonly Readonly<{
    id: string
    state: 'planned' | 'live' | 'revoking' | 'unresolved'
    grant?: string
    target: string
    name: string
    endsAt: Instant
  }>[]
  tasks: readonly Readonly<{
    id: string
    state: 'declared' | 'open'
    purpose: string
    scope: Scope
    declaredAt: Instant
    openedAt?: Instant
    endsAt?: Instant
    parent?: string
  }>[]
  tokens: readonly Readonly<{
    id: string
    audience: string
    scope: readonly string[]
    chain: readonly string[]
    proofs: readonly Proof[]
    decisions: readonly string[]
    issuedAt: Instant
    endsAt: Instant
    jkt?: string
  }>[]
  delegations: readonly Readonly<{
    id: string
    delegator: string
    actions?: readonly string[]
    resources?: readonly string[]
    reason?: string
    madeAt: Instant
    endsAt: Instant
  }>[]
  requests: readonly Readonly<{
    id: string
    state: 'pending' | 'approved'
    action: string
    resource: string
    task?: string
    requestedAt: Instant
    until: Instant
    approvals: readonly Approval[]
  }>[]
  standing: readonly Readonly<{ action: string; resource: string; policies: readonly string[] }>[]
  tried: number
  before: readonly DecisionThen[]
  after: readonly DecisionThen[]
  truncated: boolean
  leavesOut: readonly string[]
}>

type Proof = Readonly<{
  chain: readonly string[]
  issuer?: string
  client?: string
  token?: string
  jti?: string
  instigator?: Json
  workload?: Json
}>
type Scope = Readonly<{
  actions: readonly string[]
  resources: readonly Readonly<{ type: string; id?: string }>[]
}>
type DecisionThen = Readonly<{
  id: string
  at: Instant
  outcome: string
  reason: string
  action: string
  resource: string
}>

export function encodeAuthority(value: AuthorityAnswer): WireAuthority {
  const { publishedAt, ...set } = value.policy ?? {}
  return {
    subject: value.subject,
    at: encodeInstant(value.at),
    seq: value.seq,
    registered: value.registered,
    ...(value.over === undefined ? {} : { over: value.over }),
    ...(publishedAt === undefined
      ? {}
      : {
          policy: {
            ...(set as { version: string; schema: string }),
            published_at: encodeInstant(publishedAt),
          },
        }),
    locks: value.locks.map(({ at, until, ...lock }) => ({
      ...lock,
      at: encodeInstant(at),
      ...(until === undefined ? {} : { until: encodeInstant(until) }),
    })),
    grants: value.grants.map(
      ({ startedAt, endsAt, usesLeft, scope: reach, approvals, determining, ...rest }) => ({
        ...rest,
        ...(reach === undefined ? {} : { scope: encodeScope(reach) }),
        ...(usesLeft === undefined ? {} : { uses_left: usesLeft }),
        determining: [...determining],
        started_at: encodeInstant(startedAt),
        ends_at: encodeInstant(endsAt),
        approvals: approvals.map(encodeApproval),
      }),
    ),
    credentials: value.credentials.map(({ endsAt, ...rest }) => ({
      ...rest,
      ends_at: encodeInstant(endsAt),
    })),
    tasks: value.tasks.map(({ declaredAt, openedAt, endsAt, scope: reach, ...rest }) => ({
      ...rest,
      scope: encodeScope(reach),
      declared_at: encodeInstant(declaredAt),
      ...(openedAt === undefined ? {} : { opened_at: encodeInstant(openedAt) }),
      ...(endsAt === undefined ? {} : { ends_at: encodeInstant(endsAt) }),
    })),
    tokens: value.tokens.map(({ issuedAt, endsAt, scope: reach, chain, proofs, decisions, ...rest }) => ({
      ...rest,
      scope: [...reach],
      chain: [...chain],
      proofs: proofs.map((one) => ({ ...one, chain: [...one.chain] })),
      decisions: [...decisions],
      issued_at: encodeInstant(issuedAt),
      ends_at: encodeInstant(endsAt),
    })),
    delegations: value.delegations.map(({ madeAt, endsAt, actions, resources, ...rest }) => ({
      ...rest,
      ...(actions === undefined ? {} : { actions: [...actions] }),
      ...(resources === undefined ? {} : { resources: [...resources] }),
      made_at: encodeInstant(madeAt),
      ends_at: encodeInstant(endsAt),
    })),
    requests: value.requests.map(({ requestedAt, until, approvals, ...rest }) => ({
      ...rest,
      requested_at: encodeInstant(requestedAt),
      until: encodeInstant(until),
      approvals: approvals.map(encodeApproval),
    })),
    standing: value.standing.map(({ policies, ...rest }) => ({ ...rest, policies: [...policies] })),
    tried: value.tried,
    before: value.before.map(encodeDecisionThen),
    after: value.after.map(encodeDecisionThen),
    truncated: value.truncated,
    leaves_out: [...value.leavesOut],
  }
}

const encodeApproval = ({ at, ...rest }: Approval): z.infer<typeof approval> => ({
  ...rest,
  at: encodeInstant(at),
})

const encodeDecisionThen = ({ at, ...rest }: DecisionThen): z.infer<typeof decision> => ({
  ...rest,
  at: encodeInstant(at),
})

const encodeScope = ({ actions, resources }: Scope): z.infer<typeof scope> => ({
  actions: [...actions],
  resources: resources.map(({ type, id }) => ({ type, ...(id === undefined ? {} : { id }) })),
})
