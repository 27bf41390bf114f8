/**
 * Accounts at issuers on the wire, and the people they are.
 *
 * @module
 */
import * as z from 'zod'
import type { Account, Passkey } from '../../model/identity.ts'
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

export const passkey = z
  .object({
    id: z.string().meta({ description: 'Credential id' }),
    person: refOut,
    name: z.string(),
    created_at: instantOut,
    used_at: instantOut.exactOptional(),
  })
  .meta({ id: 'Passkey', description: 'What a person signs in and proves with; made on the pages alone' })

export type WirePasskey = z.infer<typeof passkey>

export const passkeyList = z.object({ items: z.array(passkey) }).meta({ id: 'PasskeyList' })

export const passkeyName = z
  .strictObject({ id: z.string().min(1).max(2_048).meta({ description: 'Credential id' }) })
  .meta({ id: 'PasskeyName' })

export function encodePasskey({ id, person, name, createdAt, usedAt }: Passkey): WirePasskey {
  return {
    id,
    person: encodeRef(person),
    name,
    created_at: encodeInstant(createdAt),
    ...(usedAt === undefined ? {} : { used_at: encodeInstant(usedAt) }),
  }
}
