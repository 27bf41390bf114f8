/**
 * Grants and credentials, questions, revocation.
 *
 * @module
 */
import * as z from 'zod'
import type { Caller } from '../../../model/access.ts'
import type { Action, Properties, Resource, Subject } from '../../../model/entity.ts'
import { cursor, flag, given, id, limit } from '../../../wire/bounds.ts'
import {
  activation,
  activationResponse,
  credentialPage,
  decision,
  encodeCredential,
  encodeDecision,
  encodeGrant,
  encodeNarrowing,
  encodeRecord,
  grantDetail,
  grantPage,
  issue,
  issueResponse,
  narrowing,
  question,
  revocation,
} from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { CONFLICT, NOT_FOUND, byId, failed, pageOf, recordQuery, requestsEndpoint } from './shared.ts'

type Asked = Readonly<{ subject?: Subject; action: Action; resource: Resource; context?: Properties }>

/** An attempt of the caller's own subject unless it names another. */
const attemptOf = (caller: Caller, asked: Asked) => ({ ...asked, subject: asked.subject ?? caller.subject })

export function grantRoutes({ flows }: Door): Route[] {
  const tag = 'Grants and credentials'
  return [
    route({
      method: 'POST',
      path: '/v1/questions',
      tag: 'Decisions',
      summary: 'Ask what would happen; this consumes nothing and authorises nothing',
      who: 'caller',
      audit: { none: 'a question leaves no entry' },
      consumes: 'json',
      body: question,
      responses: { 200: { description: 'What the answer would be', schema: decision } },
      handle: async ({ caller, body, origin }) =>
        ok(encodeDecision(await flows.ask(caller, attemptOf(caller, body)), requestsEndpoint(origin))),
    }),
    route({
      method: 'POST',
      path: '/v1/grants',
      tag,
      summary: 'Activate a grant: an attempt that, permitted, carries later ones',
      who: 'caller',
      audit: { event: 'grant.activated' },
      consumes: 'json',
      idempotent: true,
      body: activation,
      responses: {
        200: { description: 'Not permitted; the decision says why', schema: activationResponse },
        201: { description: 'Permitted, with its grant', schema: activationResponse },
        409: CONFLICT,
      },
      handle: async ({ caller, body, idempotencyKey, origin }) => {
        const options = given('idempotencyKey', idempotencyKey)
        const { decision, grant } = await flows.activate(caller, attemptOf(caller, body), options)
        const encoded = encodeDecision(decision, requestsEndpoint(origin))
        if (grant === undefined) return ok({ decision: encoded })
        return {
          status: 201,
          body: { decision: encoded, grant: encodeGrant(grant) },
          headers: { location: `/v1/grants/${grant.id}` },
        }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/grants',
      tag,
      summary: 'Grants the caller may see',
      who: 'caller',
      heavy: true,
      audit: READS,
      query: z.strictObject({
        task: id.exactOptional(),
        live: flag.exactOptional(),
        cursor: cursor.exactOptional(),
        limit: limit.exactOptional(),
      }),
      responses: { 200: { description: 'A page', schema: grantPage } },
      handle: async ({ caller, query }) => {
        const { cursor: after, ...rest } = query
        return ok(pageOf(await flows.grants(caller, { ...rest, ...given('after', after) }), encodeGrant))
      },
    }),
    route({
      method: 'GET',
      path: '/v1/grants/:id',
      tag,
      summary: 'A grant with its credentials',
      who: 'caller',
      audit: READS,
      params: byId,
      query: recordQuery,
      responses: { 200: { description: 'The grant', schema: grantDetail }, 404: NOT_FOUND },
      handle: async ({ caller, params, query }) => {
        const { grant, credentials } = await flows.grant(caller, params.id)
        const record = query.record === true ? await flows.grantRecord(caller, params.id) : undefined
        return ok({
          grant: encodeGrant(grant),
          credentials: credentials.map(encodeCredential),
          ...(record === undefined ? {} : { record: encodeRecord(record, caller.kind === 'session') }),
        })
      },
    }),
    route({
      method: 'POST',
      path: '/v1/grants/:id/revoke',
      tag,
      summary: 'Take a grant back: denied at once, credentials absent as each is verified',
      who: 'caller',
      audit: { event: 'grant.ended' },
      consumes: 'json',
      params: byId,
      body: revocation,
      responses: {
        200: { description: 'Denied at once', schema: narrowing },
        403: failed('Not allowed'),
        404: NOT_FOUND,
      },
      handle: async ({ caller, params, body }) =>
        ok(encodeNarrowing(await flows.revokeGrant(caller, params.id, body.reason))),
    }),
    route({
      method: 'POST',
      path: '/v1/credentials',
      tag,
      summary: 'Issue a credential under a grant; its secret is in this answer and nowhere else',
      who: 'caller',
      audit: { event: 'credential.planned' },
      consumes: 'json',
      body: issue,
      responses: {
        200: { description: 'Not permitted; the decision says why', schema: issueResponse },
        201: { description: 'Issued', schema: issueResponse },
        404: NOT_FOUND,
        502: failed('The target refused'),
        504: failed('The target did not answer: the credential is unresolved and will be taken back'),
      },
      handle: async ({ caller, body, origin }) => {
        const issued = await flows.issueCredential(caller, body.grant, given('target', body.target))
        const decision = encodeDecision(issued.decision, requestsEndpoint(origin))
        if (issued.credential === undefined) return ok({ decision })
        return {
          status: 201,
          body: { decision, credential: encodeCredential(issued.credential), secret: issued.secret.expose() },
        }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/credentials',
      tag,
      summary: 'Credentials; `open` ones may still exist at their target',
      who: 'caller',
      heavy: true,
      audit: READS,
      query: z.strictObject({
        open: flag.exactOptional(),
        cursor: cursor.exactOptional(),
        limit: limit.exactOptional(),
      }),
      responses: { 200: { description: 'A page', schema: credentialPage } },
      handle: async ({ caller, query }) => {
        const { cursor: after, ...rest } = query
        return ok(
          pageOf(await flows.credentials(caller, { ...rest, ...given('after', after) }), encodeCredential),
        )
      },
    }),
  ]
}
