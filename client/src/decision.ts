/**
 * What Writ answers to an attempt: permit, deny or challenge, never a bare boolean.
 *
 * @module
 */
import type { AccessTask, ApprovalReference, WaitOptions } from './access.ts'
import { WritClientError } from './error.ts'
import type { Duration } from './duration.ts'
import type { Action, Alternative, Json, Properties, Ref, Resource, Subject } from './types.ts'

/** An attempt; short forms are `Agent/migrator`, `db:migrate` and `Database/orders`. */
export type AttemptInput = Readonly<{
  /** Who acts; by default whom the token speaks for. */
  subject?: string | Subject
  action: string | Action
  resource: string | Resource
  context?: Properties
}>

/** An attempt as it goes over the wire. */
export type Attempt = Readonly<{ subject: Subject; action: Action; resource: Resource; context?: Properties }>

type Common = Readonly<{
  /** Of the evaluation, to ask `why` about; a question has none. */
  id: string | undefined
  /** A stable machine code. */
  reason: string
  /** The decision's context as it came. */
  context: Properties
}>

/**
 * What the enforcement point must do beside permitting (AuthZEN Obligations Profile, Draft 1). Who cannot must take the
 * permit for a denial.
 */
export type Obligation = Readonly<{ id: string; type: string; properties: Properties }>

export type Permit = Common &
  Readonly<{
    outcome: 'permit'
    obligations?: readonly Obligation[]
    grant?: Readonly<{ id: string; ends_at: string; uses_left?: number }>
    approval?: ApprovalReference
  }>

export type Deny = Common &
  Readonly<{
    outcome: 'deny'
    nextAction: 'request' | 'retry' | 'none'
    /** Seconds, with `retry`. */
    retryAfter?: number
    /** The access request that was not approved, when one was waited for. */
    request?: AccessTask
  }>

/** A denial that the evidence in any one of `alternatives` would change. */
export type Challenge = Common &
  Readonly<{
    outcome: 'challenge'
    alternatives: readonly Alternative[]
    /** The search for alternatives hit a bound: there may be others. */
    truncated: boolean
    /** An access request may be submitted until here. */
    expiresAt: string
    /** Asks for the evidence. */
    request: (options?: RequestOptions) => RequestHandle
  }>

export type Decision = Permit | Deny | Challenge

export type RequestOptions = Readonly<{
  /** Why; who approves reads it. */
  reason?: string | undefined
  /** How long the authority is wanted, counted from when it is first used. */
  ttl?: Duration | undefined
  /** Tells approvers that it is urgent. It skips nothing. */
  emergency?: boolean | undefined
  /** Repeats with the same key are the same request. */
  idempotencyKey?: string | undefined
}>

/** An access request under way. It lives at the server: a lost handle loses nothing. */
export interface RequestHandle {
  /** The request as it was accepted. */
  submitted(): Promise<AccessTask>
  /** Waits for the end and, approved, evaluates again: what comes back is a decision like any other. */
  settled(options?: WaitOptions): Promise<Decision>
  cancel(reason?: string): Promise<AccessTask>
}

/** `{ type, id }` of `Type/id`. */
export function toRef(ref: string | Ref): Ref {
  if (typeof ref !== 'string') return ref
  const cut = ref.indexOf('/')
  if (cut < 1 || cut === ref.length - 1) {
    throw new WritClientError('ERR_INPUT_INVALID', `\`${ref}\` is not a reference`, {
      hint: 'write it as `Type/id`, e.g. `Database/orders`',
    })
  }
  return { type: ref.slice(0, cut), id: ref.slice(cut + 1) }
}

/** The attempt with its short forms written out. */
export function toAttempt(input: AttemptInput, self: Subject): Attempt {
  return {
    subject: input.subject === undefined ? self : toRef(input.subject),
    action: typeof input.action === 'string' ? { name: input.action } : input.action,
    resource: toRef(input.resource),
    ...(input.context === undefined ? {} : { context: input.context }),
  }
}

/** What of an answer is a decision, before anybody can act on a challenge. */
export type ReadDecision = Permit | Deny | Omit<Challenge, 'request'>

/**
 * A decision out of `{ decision, context }`. Only `decision: true` is a permit; what cannot be read throws, so that
 * nobody takes it for one.
 */
export function readDecision(body: unknown): ReadDecision {
  const decision = get(body, 'decision')
  if (typeof decision !== 'boolean') throw new WritClientError('ERR_PROTOCOL', 'the answer holds no decision')
  const context: Properties = asObject(get(body, 'context')) ?? {}
  const common = {
    id: asString(context['evaluation_id']),
    reason: asString(context['reason']) ?? '',
    context,
  }
  if (decision) {
    const grant = asObject(context['grant'])
    const approval = asObject(context['approval'])
    const obligations = context['obligations']
    return {
      ...common,
      outcome: 'permit',
      ...(obligations === undefined ? {} : { obligations: readObligations(obligations) }),
      ...(grant === undefined ? {} : { grant: grant as NonNullable<Permit['grant']> }),
      ...(approval === undefined ? {} : { approval: approval as ApprovalReference }),
    }
  }
  const offer = asObject(context['access_request'])
  const expiresAt = asString(offer?.['expires_at'])
  if (offer !== undefined && expiresAt !== undefined) {
    const display = asObject(offer['display']) ?? {}
    const alternatives = Array.isArray(display['alternatives']) ? display['alternatives'] : []
    return {
      ...common,
      outcome: 'challenge',
      expiresAt,
      alternatives: alternatives as readonly Alternative[],
      truncated: display['truncated'] === true,
    }
  }
  const retryAfter = context['retry_after']
  return {
    ...common,
    outcome: 'deny',
    nextAction: nextActionOf(context),
    ...(typeof retryAfter === 'number' ? { retryAfter } : {}),
  }
}

/** A decision out of our own API (`/v1`), where the outcome is spelled out. */
export function readOutcome(body: unknown): ReadDecision {
  const value = asObject(body)
  const outcome = value?.['outcome']
  if (value === undefined || (outcome !== 'permit' && outcome !== 'deny' && outcome !== 'challenge')) {
    throw new WritClientError('ERR_PROTOCOL', 'the answer holds no decision')
  }
  const { id, at, ...rest } = value
  const context = { ...rest, evaluation_id: id ?? null, evaluated_at: at ?? null }
  return readDecision({ decision: outcome === 'permit', context })
}

/** What a re-evaluation's reasons mean where the answer does not say what to do next. */
const defaultAction: Readonly<Record<string, 'retry'>> = { grant_pending: 'retry' }

/** To ask again needs an offer; whoever comes here has none, so that only `retry` and `none` are left. */
function nextActionOf(context: Properties): 'retry' | 'none' {
  const named = context['next_action']
  if (named === 'request' || named === 'retry' || named === 'none')
    return named === 'retry' ? 'retry' : 'none'
  return defaultAction[asString(context['reason']) ?? ''] ?? 'none'
}

/** An obligation that cannot be read cannot be fulfilled, so that there is no permit either. */
function readObligations(sent: unknown): readonly Obligation[] {
  const unreadable = (): WritClientError =>
    new WritClientError('ERR_PROTOCOL', 'the obligations of a permit cannot be read')
  if (!Array.isArray(sent)) throw unreadable()
  return (sent as readonly unknown[]).map((one) => {
    const id = asString(get(one, 'id'))
    const type = asString(get(one, 'type'))
    const properties = asObject(get(one, 'properties'))
    if (id === undefined || type === undefined || properties === undefined) throw unreadable()
    return { id, type, properties }
  })
}

type Members = Readonly<Record<string, Json>>

function get(value: unknown, name: string): unknown {
  return asObject(value)?.[name]
}

function asObject(value: unknown): Members | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : undefined
}

function asString(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
