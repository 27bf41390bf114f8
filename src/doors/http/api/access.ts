/**
 * Keys, people, sessions, targets.
 *
 * @module
 */
import * as z from 'zod'
import { WritError, isWritError } from '../../../model/errors.ts'
import { cursor, encodeInstant, encodeRef, given, limit } from '../../../wire/bounds.ts'
import {
  addedTarget,
  createdKey,
  encodeKey,
  findingList,
  invitation,
  invitationInput,
  keyInput,
  keyPage,
  me,
  session,
  sessionInput,
  targetInput,
  targetList,
} from '../../../wire/v1/index.ts'
import { setSessionCookie } from '../guard.ts'
import type { Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { CONFLICT, NOT_FOUND, byId, failed, pageOf } from './shared.ts'

export function accessRoutes({ flows, now }: Door): Route[] {
  return [
    route({
      method: 'POST',
      path: '/v1/keys',
      tag: 'Callers',
      summary: 'Make an API key; its secret is in this answer and nowhere else',
      who: 'caller',
      audit: { event: 'key.created' },
      consumes: 'json',
      body: keyInput,
      responses: { 201: { description: 'The key', schema: createdKey }, 403: failed('Not allowed') },
      handle: async ({ caller, body }) => {
        const { ttl, ...input } = body
        const { id, secret } = await flows.createKey(caller, { ...input, ...given('life', ttl) })
        return { status: 201, body: { id, secret: secret.expose() } }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/keys',
      tag: 'Callers',
      summary: 'API keys, those that ended too; never their secrets',
      who: 'caller',
      audit: READS,
      query: z.strictObject({ cursor: cursor.exactOptional(), limit: limit.exactOptional() }),
      responses: { 200: { description: 'A page', schema: keyPage }, 403: failed('Not allowed') },
      handle: async ({ caller, query }) => {
        const { cursor: after, ...rest } = query
        return ok(pageOf(await flows.keys(caller, { ...rest, ...given('after', after) }), encodeKey))
      },
    }),
    route({
      method: 'DELETE',
      path: '/v1/keys/:id',
      tag: 'Callers',
      summary: 'Revoke an API key',
      who: 'caller',
      audit: { event: 'key.revoked' },
      params: byId,
      responses: { 204: { description: 'Revoked' }, 403: failed('Not allowed'), 404: NOT_FOUND },
      handle: async ({ caller, params }) => {
        await flows.revokeKey(caller, params.id)
        return { status: 204 }
      },
    }),
    route({
      method: 'POST',
      path: '/v1/people/invitations',
      tag: 'Callers',
      summary: 'Invite a person with a one-time code',
      who: 'caller',
      audit: { event: 'person.invited' },
      consumes: 'json',
      body: invitationInput,
      responses: {
        201: { description: 'The code', schema: invitation },
        403: failed('Not allowed'),
        409: CONFLICT,
      },
      handle: async ({ caller, body }) => {
        const { code, endsAt } = await flows.invite(caller, body)
        return { status: 201, body: { code: code.expose(), ends_at: encodeInstant(endsAt) } }
      },
    }),
    route({
      method: 'POST',
      path: '/v1/sessions',
      tag: 'Callers',
      summary: 'Turn a one-time code into a session; wrong, used and late codes look alike',
      who: 'public',
      audit: { event: 'person.enrolled' },
      consumes: 'json',
      guessable: true,
      body: sessionInput,
      responses: {
        201: { description: 'The session, also as a cookie', schema: session },
        401: failed('No such code'),
      },
      handle: async ({ body, origin }) => {
        const { token, person, endsAt } = await flows.redeem(body.code)
        return {
          status: 201,
          body: { token: token.expose(), person: encodeRef(person), ends_at: encodeInstant(endsAt) },
          headers: {
            'set-cookie': setSessionCookie(
              token.expose(),
              (endsAt - now()) / 1000,
              origin.startsWith('https:'),
            ),
          },
        }
      },
    }),
    route({
      method: 'DELETE',
      path: '/v1/sessions/current',
      tag: 'Callers',
      summary: 'End the session',
      who: 'person',
      audit: { event: 'session.ended' },
      responses: { 204: { description: 'Ended' } },
      handle: async ({ caller, origin }) => {
        await flows.signOut(caller)
        return {
          status: 204,
          headers: { 'set-cookie': setSessionCookie('', 0, origin.startsWith('https:')) },
        }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/me',
      tag: 'Callers',
      summary: 'Who the caller is to this server',
      who: 'caller',
      audit: READS,
      responses: { 200: { description: 'The caller', schema: me } },
      handle: async ({ caller }) =>
        ok({
          id: caller.id,
          kind: caller.kind,
          subject: encodeRef(caller.subject),
          ...given('pep', caller.pep),
          ...given('dev', caller.dev),
        }),
    }),
    route({
      method: 'POST',
      path: '/v1/targets',
      tag: 'Targets',
      summary: "Configure a target; its administrator's password is sealed and never shown again",
      who: 'caller',
      audit: { event: 'target.added' },
      consumes: 'json',
      body: targetInput,
      responses: {
        201: { description: 'Added, with what to know about it', schema: addedTarget },
        403: failed('Not allowed'),
        409: CONFLICT,
      },
      handle: async ({ caller, body }) => {
        try {
          return { status: 201, body: await flows.addTarget(caller, body) }
        } catch (error) {
          // here the configuration is what the caller sent
          if (!isWritError(error, 'ERR_CONFIG_INVALID')) throw error
          const { message, hint, detail } = error
          const more = { ...given('hint', hint), ...given('detail', detail) }
          throw new WritError('ERR_INPUT_INVALID', message, { ...more, cause: error })
        }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/targets',
      tag: 'Targets',
      summary: 'Configured targets, without secrets',
      who: 'caller',
      audit: READS,
      responses: { 200: { description: 'Targets', schema: targetList } },
      handle: async ({ caller }) => ok({ items: await flows.targets(caller) }),
    }),
    route({
      method: 'GET',
      path: '/v1/targets/:id/check',
      tag: 'Targets',
      summary: 'Look at a target without changing it; no findings means all is well',
      who: 'caller',
      audit: READS,
      params: byId,
      responses: { 200: { description: 'Findings', schema: findingList }, 404: NOT_FOUND },
      handle: async ({ caller, params }) => ok({ items: await flows.checkTarget(caller, params.id) }),
    }),
  ]
}
