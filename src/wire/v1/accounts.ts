/**
 * Accounts at issuers on the wire, and the people they are.
 *
 * @module
 */
import * as z from 'zod'
import type { Account } from '../../model/identity.ts'
import { encodeInstant, encodeRef, id, instantOut, page, ref, refOut } from '../bounds.ts'

const named = {
  issuer: id.meta({ description: 'The configured name of the issuer' }),
  account: id.meta({ description: 'Its immutable id there, e.g. the `actor_id` of GitHub' }),
}

export const accountLink = z
  .strictObject({ ...named, person: ref.meta({ description: 'Whose it is' }) })
  .meta({ id: 'AccountLink' })

export type AccountLink = z.input<typeof accountLink>

export const accountName = z.strictObject(named).meta({ id: 'AccountName' })

export const account = z
  .object({
    issuer: z.string(),
    account: z.string(),
    person: refOut,
    linked_at: instantOut,
  })
  .meta({ id: 'Account', description: 'An account is one person; what it sets going, they cannot approve' })

export type WireAccount = z.infer<typeof account>

export const accountPage = page(account).meta({ id: 'AccountPage' })

export function encodeAccount(value: Account): WireAccount {
  return {
    issuer: value.issuer,
    account: value.account,
    person: encodeRef(value.person),
    linked_at: encodeInstant(value.linkedAt),
  }
}
