/**
 * The epoch of the log, and what came back with a copy that began it.
 *
 * @module
 */
import * as z from 'zod'
import type { ApiKey } from '../../model/access.ts'
import type { Lock } from '../../model/lock.ts'
import type { Instant } from '../../model/time.ts'
import type { Account, Delegation, Passkey } from '../../model/identity.ts'
import { encodeInstant, instantOut } from '../bounds.ts'
import { encodeKey, key } from './access.ts'
import { account, encodeAccount, encodePasskey, passkey } from './accounts.ts'
import { delegation, encodeDelegation } from './delegations.ts'
import { encodeLock, lock } from './locks.ts'

export const epochState = z
  .object({
    epoch: z.int(),
    origin: z.string().meta({ description: 'First line of the checkpoints of this epoch' }),
    restored: z
      .object({
        why: z.string(),
        at: instantOut.meta({ description: 'When it was noticed' }),
        copy_ends_at: instantOut
          .exactOptional()
          .meta({ description: 'What changed later is not known here' }),
        acknowledged: z.object({ by: z.string(), at: instantOut }).exactOptional(),
      })
      .exactOptional()
      .meta({ description: 'The restore that it began with; nothing widens until it is acknowledged' }),
    keys: z.object({ total: z.int(), items: z.array(key) }).meta({ description: 'API keys that open doors' }),
    locks: z.object({ total: z.int(), items: z.array(lock) }).meta({ description: 'What is locked' }),
    passkeys: z
      .object({
        total: z.int(),
        items: z.array(passkey),
      })
      .meta({ description: 'Passkeys that people sign in with; nobody does until it is acknowledged' }),
    accounts: z
      .object({ total: z.int(), items: z.array(account) })
      .meta({ description: 'Accounts that are linked to people, as passkeys' }),
    delegations: z
      .object({ total: z.int(), items: z.array(delegation) })
      .meta({ description: 'Delegations that have not ended' }),
    policy: z.string().exactOptional().meta({ description: 'The version in force' }),
  })
  .meta({
    id: 'EpochState',
    description:
      'The first hundred of each; all keys, locks, accounts and delegations are listed elsewhere too',
  })

export type WireEpochState = z.infer<typeof epochState>

export const acknowledgement = z
  .strictObject({ epoch: z.int().min(1).meta({ description: 'The epoch that was looked at' }) })
  .meta({ id: 'Acknowledgement' })

export function encodeEpochState(value: {
  readonly epoch: number
  readonly origin: string
  readonly restored?: {
    readonly why: string
    readonly at: Instant
    readonly copyEndsAt?: Instant
    readonly acknowledged?: { readonly by: string; readonly at: Instant }
  }
  readonly keys: { readonly total: number; readonly items: readonly ApiKey[] }
  readonly locks: { readonly total: number; readonly items: readonly Lock[] }
  readonly passkeys: { readonly total: number; readonly items: readonly Passkey[] }
  readonly accounts: { readonly total: number; readonly items: readonly Account[] }
  readonly delegations: { readonly total: number; readonly items: readonly Delegation[] }
  readonly policy?: string
}): WireEpochState {
  const { epoch, origin, restored, keys, locks, passkeys, accounts, delegations, policy } = value
  return {
    epoch,
    origin,
    ...(restored === undefined
      ? {}
      : {
          restored: {
            why: restored.why,
            at: encodeInstant(restored.at),
            ...(restored.copyEndsAt === undefined
              ? {}
              : { copy_ends_at: encodeInstant(restored.copyEndsAt) }),
            ...(restored.acknowledged === undefined
              ? {}
              : {
                  acknowledged: {
                    by: restored.acknowledged.by,
                    at: encodeInstant(restored.acknowledged.at),
                  },
                }),
          },
        }),
    keys: { total: keys.total, items: keys.items.map(encodeKey) },
    locks: { total: locks.total, items: locks.items.map((one) => encodeLock(one)) },
    passkeys: {
      total: passkeys.total,
      items: passkeys.items.map(encodePasskey),
    },
    accounts: { total: accounts.total, items: accounts.items.map(encodeAccount) },
    delegations: {
      total: delegations.total,
      items: delegations.items.map((one) => encodeDelegation({ ...one, live: true })),
    },
    ...(policy === undefined ? {} : { policy }),
  }
}
