/**
 * What a subject could do at an instant, as the server answers it.
 *
 * @module
 */
import type { Json, Scope } from './types.ts'

export type ApprovalThen = Readonly<{
  by: string
  pool: string
  at: string
  /** Digest of what was approved. */
  statement: string
  comment?: string
}>

export type DecisionThen = Readonly<{
  id: string
  at: string
  outcome: string
  reason: string
  action: string
  resource: string
}>

export type Authority = Readonly<{
  subject: string
  at: string
  seq: number
  registered: boolean
  /** Why it had no authority at all. */
  over?: string
  /** The set in force then. */
  policy?: Readonly<{ version: string; schema: string; published_at: string }>
  locks: readonly Readonly<{ reason: string; at: string; by?: string; until?: string }>[]
  grants: readonly Readonly<{
    id: string
    action: string
    resource: string
    binding: string
    task?: string
    scope?: Scope
    started_at: string
    ends_at: string
    uses?: number
    uses_left?: number
    decision: string
    policy: string
    determining: readonly string[]
    request?: string
    statement: Json
    approvals: readonly ApprovalThen[]
    justification?: string
  }>[]
  credentials: readonly Readonly<{
    id: string
    state: string
    grant?: string
    target: string
    name: string
    ends_at: string
  }>[]
  tasks: readonly Readonly<{
    id: string
    state: string
    purpose: string
    scope: Scope
    declared_at: string
    opened_at?: string
    ends_at?: string
    parent?: string
  }>[]
  /** Access tokens that it could use. */
  tokens: readonly Readonly<{
    id: string
    audience: string
    scope: readonly string[]
    chain: readonly string[]
    /** What was proved of each party, by whose token or key. */
    proofs: readonly Readonly<{ [member: string]: Json }>[]
    decisions: readonly string[]
    issued_at: string
    ends_at: string
    jkt?: string
  }>[]
  /** Who let it act for them. */
  delegations: readonly Readonly<{
    id: string
    delegator: string
    actions?: readonly string[]
    resources?: readonly string[]
    reason?: string
    made_at: string
    ends_at: string
  }>[]
  requests: readonly Readonly<{
    id: string
    state: string
    action: string
    resource: string
    task?: string
    requested_at: string
    until: string
    approvals: readonly ApprovalThen[]
  }>[]
  /** What policy alone permitted, without evidence. */
  standing: readonly Readonly<{ action: string; resource: string; policies: readonly string[] }>[]
  tried: number
  before: readonly DecisionThen[]
  after: readonly DecisionThen[]
  truncated: boolean
  leaves_out: readonly string[]
}>
