/**
 * Accounts at issuers, and the people they are (law 4).
 *
 * @module
 */
import type { EntityRef } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'
import type { Account, AccountRef } from '../model/identity.ts'
import { accountId } from '../model/identity.ts'
import type { Picture } from '../store/picture.ts'
import { registered } from './inventory.ts'

export const isAccount = (instigator: AccountRef | EntityRef): instigator is AccountRef =>
  'issuer' in instigator

export const isPerson = (instigator: AccountRef | EntityRef): instigator is EntityRef =>
  !isAccount(instigator)

/**
 * The person that the account is linked to; `undefined` when it is linked to nobody, or to somebody who has been deleted or
 * made again since (B34).
 */
export async function personOf(picture: Picture, account: AccountRef): Promise<EntityRef | undefined> {
  const id = accountId(account)
  await picture.load([{ kind: 'account', id }])
  const linked = picture.get('account', id)?.value
  if (linked === undefined || linked.endedAt !== undefined) return undefined
  await picture.load([{ kind: 'entity', id: refKey(linked.person) }])
  const person = registered(picture, linked.person)
  return person?.kind === 'human' && person.generation === linked.generation ? linked.person : undefined
}

/** Whether the link holds, as far as the account itself says. */
export const isLinked = (account: Account | undefined): account is Account =>
  account !== undefined && account.endedAt === undefined
