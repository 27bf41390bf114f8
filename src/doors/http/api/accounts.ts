/**
 * Accounts at issuers, and the people they are.
 *
 * @module
 */
import * as z from 'zod'
import { cursor, given, limit, ref } from '../../../wire/bounds.ts'
import {
  account,
  accountLink,
  accountName,
  accountPage,
  encodeAccount,
  encodePasskey,
  passkeyList,
  passkeyName,
} from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { CONFLICT, NOT_FOUND, failed, pageOf } from './shared.ts'

export function accountRoutes({ flows }: Door): Route[] {
  const tag = 'Accounts'
  return [
    route({
      method: 'POST',
      path: '/v1/accounts',
      tag,
      summary: 'Say whose account it is: what it sets going is theirs',
      who: 'caller',
      audit: { event: 'account.linked' },
      consumes: 'json',
      body: accountLink,
      responses: {
        201: { description: 'The link', schema: account },
        403: failed('Not allowed'),
        404: failed('There is no such person'),
        409: CONFLICT,
      },
      handle: async ({ caller, body }) => {
        const { issuer, account: id, person } = body
        return { status: 201, body: encodeAccount(await flows.accounts.link(caller, { issuer, id }, person)) }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/accounts',
      tag,
      summary: "Linked accounts: one's own, all for who may read",
      who: 'caller',
      audit: READS,
      query: z.strictObject({
        person: ref.exactOptional(),
        cursor: cursor.exactOptional(),
        limit: limit.exactOptional(),
      }),
      responses: { 200: { description: 'A page', schema: accountPage } },
      handle: async ({ caller, query }) => {
        const { cursor: after, ...rest } = query
        return ok(
          pageOf(await flows.accounts.list(caller, { ...rest, ...given('after', after) }), encodeAccount),
        )
      },
    }),
    route({
      method: 'POST',
      path: '/v1/accounts/unlink',
      tag,
      summary: 'End the link of an account: its person, or an administrator',
      who: 'caller',
      audit: { event: 'account.unlinked' },
      consumes: 'json',
      body: accountName,
      responses: { 204: { description: 'Unlinked' }, 404: NOT_FOUND },
      handle: async ({ caller, body }) => {
        await flows.accounts.unlink(caller, { issuer: body.issuer, id: body.account })
        return { status: 204 }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/passkeys',
      tag,
      summary: "Passkeys of a person: one's own, anybody's for administrators",
      who: 'caller',
      audit: READS,
      query: z.strictObject({ person: ref.exactOptional() }),
      responses: { 200: { description: 'All of them', schema: passkeyList }, 403: failed('Not allowed') },
      handle: async ({ caller, query }) => {
        const found = await flows.passkeys.of(caller, query.person ?? caller.subject)
        return ok({ items: found.map(encodePasskey) })
      },
    }),
    route({
      method: 'POST',
      path: '/v1/passkeys/remove',
      tag,
      summary: 'Remove a lost passkey of somebody else: administrators, in person',
      who: 'person',
      audit: { event: 'passkey.removed' },
      consumes: 'json',
      body: passkeyName,
      responses: { 204: { description: 'Removed' }, 403: failed('Not allowed'), 404: NOT_FOUND },
      handle: async ({ caller, body }) => {
        await flows.passkeys.remove(caller, body.id)
        return { status: 204 }
      },
    }),
  ]
}
