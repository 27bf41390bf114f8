/**
 * Delegations on the wire: who lets whom act for them, and within which bounds.
 *
 * @module
 */
import * as z from 'zod'
import type { Delegation } from '../../model/identity.ts'
import type { EntityRef } from '../../model/entity.ts'
import type { Millis } from '../../model/time.ts'
import {
  actionName,
  duration,
  encodeInstant,
  encodeRef,
  given,
  instantOut,
  page,
  ref,
  refOut,
  text,
} from '../bounds.ts'

/** Most actions, and most resources, that one delegation names. */
const BOUNDS_MOST = 64

export const delegationInput = z
  .strictObject({
    actor: ref.meta({ description: 'The agent or workload that may act' }),
    actions: z
      .array(actionName)
      .min(1)
      .max(BOUNDS_MOST)
      .exactOptional()
      .meta({ description: 'All if left out' }),
    resources: z
      .array(ref)
      .min(1)
      .max(BOUNDS_MOST)
      .exactOptional()
      .meta({ description: 'Each with what is below it; all if left out' }),
    ttl: duration.exactOptional().meta({ description: '8h if left out, 90d at most' }),
    reason: text.exactOptional(),
  })
  .meta({ id: 'DelegationInput' })

export type DelegationInput = z.input<typeof delegationInput>

/** What a door hands on. */
export type DecodedDelegation = Readonly<{
  actor: EntityRef
  actions?: readonly string[]
  resources?: readonly EntityRef[]
  life?: Millis
  reason?: string
}>

export function decodeDelegation(parsed: z.output<typeof delegationInput>): DecodedDelegation {
  const { ttl, ...rest } = parsed
  return { ...rest, ...given('life', ttl) }
}

export const delegation = z
  .object({
    id: z.string(),
    delegator: refOut,
    actor: refOut,
    actions: z.array(z.string()).exactOptional(),
    resources: z.array(refOut).exactOptional(),
    reason: z.string().exactOptional(),
    live: z.boolean().meta({ description: 'Whether it gives anything now' }),
    created_at: instantOut,
    ends_at: instantOut,
    revoked_at: instantOut.exactOptional(),
  })
  .meta({
    id: 'Delegation',
    description: 'Named by `context.delegation` it makes the delegator part of the chain',
  })

export type WireDelegation = z.infer<typeof delegation>

export const delegationPage = page(delegation).meta({ id: 'DelegationPage' })

export function encodeDelegation(value: Delegation & Readonly<{ live: boolean }>): WireDelegation {
  return {
    id: value.id,
    delegator: encodeRef(value.delegator),
    actor: encodeRef(value.actor),
    ...(value.actions === undefined ? {} : { actions: [...value.actions] }),
    ...(value.resources === undefined ? {} : { resources: value.resources.map(encodeRef) }),
    ...given('reason', value.reason),
    live: value.live,
    created_at: encodeInstant(value.createdAt),
    ends_at: encodeInstant(value.endsAt),
    ...(value.revokedAt === undefined ? {} : { revoked_at: encodeInstant(value.revokedAt) }),
  }
}
