/**
 * The authorization server: tokens by exchange, assertion and client credentials; introspection, revocation, metadata.
 *
 * @module
 */
import * as z from 'zod'
import type { Caller } from '../../../model/access.ts'
import { isWritError } from '../../../model/errors.ts'
import { isOAuthError, oauthErrors, refuse } from '../../../model/refusal.ts'
import type { ClientProof, Token } from '../../../model/token.ts'
import {
  cursor,
  encodeInstant,
  encodeRef,
  given,
  instantOut,
  limit,
  page,
  refOut,
} from '../../../wire/bounds.ts'
import type { Fields } from '../../../wire/oauth/index.ts'
import {
  GRANT_ASSERTION,
  GRANT_CLIENT,
  GRANT_EXCHANGE,
  INTROSPECT_PATH,
  METADATA_PATH,
  REVOKE_PATH,
  TOKEN_PATH,
  authorizationServer,
  encodeDenied,
  encodeError,
  encodeIntrospection,
  encodeServerMetadata,
  encodeTokenResponse,
  errorOfDenial,
  introspection,
  oauthError,
  parseTokenForm,
  parseTokenRequest,
  tokenResponse,
} from '../../../wire/oauth/index.ts'
import type { Answer, Context, Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { pageOf, requestsEndpoint } from './shared.ts'

const NO_STORE = { 'cache-control': 'no-store', pragma: 'no-cache' }
/** Metadata changes with the configuration only. */
const METADATA_CACHED = 'public, max-age=300'

/** Names and values in the order they were sent; which may be there twice is the codec's to say. */
const fieldsOf = (form: z.ZodType) =>
  z
    .custom<Fields>((value) => Array.isArray(value))
    .default([])
    .meta({ schema: form })

const clientFields = {
  client_id: z.string().exactOptional(),
  client_assertion_type: z.string().exactOptional(),
  client_assertion: z.string().exactOptional().meta({ description: 'RFC 7523; there are no secrets' }),
}
const tokenForm = z
  .looseObject({
    grant_type: z.enum([GRANT_EXCHANGE, GRANT_CLIENT, GRANT_ASSERTION]),
    ...clientFields,
    subject_token: z.string().exactOptional(),
    subject_token_type: z.string().exactOptional(),
    actor_token: z.string().exactOptional(),
    actor_token_type: z.string().exactOptional(),
    requested_token_type: z.string().exactOptional(),
    assertion: z.string().exactOptional(),
    audience: z.string().exactOptional().meta({ description: 'A resource such as `Api/payments`' }),
    resource: z.string().exactOptional().meta({ description: 'The URI of a resource, or of this server' }),
    scope: z.string().exactOptional().meta({ description: 'Names of actions on it' }),
    authorization_details: z.string().exactOptional().meta({ description: 'RFC 9396, type `writ`' }),
    writ_task: z.string().exactOptional(),
    writ_grant: z.string().exactOptional(),
    writ_delegation: z
      .string()
      .exactOptional()
      .meta({ description: 'A registered delegation to whoever acts' }),
    approval: z.string().exactOptional().meta({ description: 'Of an approved access request, unchanged' }),
    access_request: z
      .string()
      .exactOptional()
      .meta({ description: '`submit`, or the id of a submitted access request' }),
    justification: z.string().exactOptional(),
  })
  .meta({ id: 'TokenRequest' })
const aboutForm = z.looseObject({ token: z.string(), ...clientFields }).meta({ id: 'TokenForm' })

const failed = { description: 'Refused: the code of the standard and one sentence', schema: oauthError }

const wireToken = z
  .object({
    id: z.string(),
    audience: refOut,
    chain: z.array(refOut),
    scope: z.array(z.string()),
    client: z.string(),
    grants: z.array(z.string()),
    tasks: z.array(z.string()),
    bound: z.boolean(),
    single_use: z.boolean(),
    issued_at: instantOut,
    ends_at: instantOut,
    used_at: instantOut.exactOptional(),
    revoked_at: instantOut.exactOptional(),
  })
  .meta({ id: 'Token', description: 'An access token; its text is kept nowhere' })

function encodeToken(token: Token): z.infer<typeof wireToken> {
  return {
    id: token.id,
    audience: encodeRef(token.audience),
    chain: token.chain.map(encodeRef),
    scope: [...token.scope],
    client: token.client,
    grants: [...token.grants],
    tasks: [...token.tasks],
    bound: token.jkt !== undefined,
    single_use: token.singleUse,
    issued_at: encodeInstant(token.issuedAt),
    ends_at: encodeInstant(token.endsAt),
    ...given('used_at', token.usedAt === undefined ? undefined : encodeInstant(token.usedAt)),
    ...given('revoked_at', token.revokedAt === undefined ? undefined : encodeInstant(token.revokedAt)),
  }
}

/** RFC 6749 §3.2: what stands in a URL stands in logs, and may say another thing than the body. */
function requireNoQuery({ url }: Readonly<{ url: string }>): void {
  if (url.includes('?')) throw refuse('invalid_request', 'parameters stand in the body alone, not in the URL')
}

export function oauthRoutes(door: Door): Route[] {
  const tag = 'OAuth'

  /** What can be read of a form; what cannot is on the record. */
  async function parsed<T>(read: () => T): Promise<T> {
    try {
      return read()
    } catch (error) {
      if (isWritError(error) && isOAuthError(error.problem)) await door.flows.tokens.refused(error)
      throw error
    }
  }

  const arrival = (context: Context<unknown, unknown, unknown, unknown>, path: string) => {
    const { dpop } = context.request.headers
    return { url: `${context.origin}${path}`, ...(typeof dpop === 'string' ? { dpop } : {}) }
  }

  /** Who asks about a token: by `Authorization` as everywhere, or by a client assertion. */
  async function asking(
    context: Context<unknown, unknown, unknown, Fields>,
  ): Promise<Readonly<{ by: Caller | ClientProof; token: string }>> {
    const { token, client } = await parsed(() => {
      requireNoQuery(context.request)
      return parseTokenForm(context.body)
    })
    const { authorization } = context.request.headers
    if (authorization === undefined) return { by: client, token }
    if (client.assertion !== undefined) throw refuse('invalid_request', 'there are two proofs of who asks')
    return { by: await door.callers.authenticate({ authorization }), token }
  }

  return [
    route({
      method: 'GET',
      path: METADATA_PATH,
      tag,
      summary: 'Where this authorization server answers, and what it can (RFC 8414)',
      who: 'public',
      audit: { none: 'constant' },
      responses: { 200: { description: 'Metadata', schema: authorizationServer } },
      handle: async () => ({
        ...ok(encodeServerMetadata(door.flows.tokens.issuer)),
        headers: { 'cache-control': METADATA_CACHED },
      }),
    }),
    route({
      method: 'POST',
      path: TOKEN_PATH,
      tag,
      summary:
        'Get an access token: each thing that it is for is decided first (RFC 6749, 7523, 8693, 9396, 9449)',
      who: 'client',
      audit: { event: 'token.issued' },
      errors: 'oauth',
      consumes: 'fields',
      body: fieldsOf(tokenForm),
      responses: { 200: { description: 'The token', schema: tokenResponse }, 400: failed, 401: failed },
      handle: async (context): Promise<Answer> => {
        const { reply, body, origin, request: sent } = context
        reply.header('dpop-nonce', door.flows.tokens.dpop.nonce(door.now()))
        const request = await parsed(() => {
          requireNoQuery(sent)
          if (sent.headers.authorization !== undefined) {
            throw refuse('invalid_client', 'no client has a secret here; send a client_assertion (RFC 7523)')
          }
          return parseTokenRequest(body)
        })
        const issued = await door.flows.tokens.token(request, arrival(context, TOKEN_PATH))
        if ('token' in issued) {
          const exchanged = request.grant === 'exchange' ? request.requested : undefined
          return { status: 200, body: encodeTokenResponse(issued, exchanged), headers: NO_STORE }
        }
        const { denied, pending } = issued
        const endpoint = requestsEndpoint(origin)
        const offered = encodeDenied(denied, request, endpoint)
        const status = oauthErrors[errorOfDenial(denied, request.details.length > 0)]
        if (pending === undefined) {
          const retry = denied.retryAfter === undefined ? {} : { 'retry-after': String(denied.retryAfter) }
          return { status, body: offered, headers: { ...NO_STORE, ...retry } }
        }
        return {
          status,
          body: {
            ...offered,
            ...encodeError(
              'authorization_pending',
              `somebody is asked; ask again with access_request=${pending.id} every few seconds`,
            ),
            access_request_id: pending.id,
            status_endpoint: `${endpoint}/${pending.id}`,
            interval: 5,
          },
          headers: NO_STORE,
        }
      },
    }),
    route({
      method: 'POST',
      path: INTROSPECT_PATH,
      tag,
      summary:
        'What an access token is worth now, for its server (RFC 7662); looking at one that is good once uses it',
      who: 'client',
      audit: { event: 'token.used' },
      errors: 'oauth',
      consumes: 'fields',
      body: fieldsOf(aboutForm),
      responses: {
        200: { description: 'Active with its claims, or not active and nothing else', schema: introspection },
        400: failed,
        401: failed,
      },
      handle: async (context) => {
        const { by, token } = await asking(context)
        const found = await door.flows.tokens.introspect(by, token, arrival(context, INTROSPECT_PATH))
        return { ...ok(encodeIntrospection(found, door.flows.tokens.issuer)), headers: NO_STORE }
      },
    }),
    route({
      method: 'POST',
      path: REVOKE_PATH,
      tag,
      summary: 'End an access token (RFC 7009); what is unknown or has ended is no error',
      who: 'client',
      audit: { event: 'token.revoked' },
      errors: 'oauth',
      consumes: 'fields',
      body: fieldsOf(aboutForm),
      responses: { 200: { description: 'It is worth nothing' }, 400: failed, 401: failed },
      handle: async (context) => {
        const { by, token } = await asking(context)
        await door.flows.tokens.revoke(by, token, arrival(context, REVOKE_PATH))
        return { status: 200, headers: NO_STORE }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/tokens',
      tag,
      summary: "Access tokens that have not ended long ago: the caller's own, all for who may read",
      who: 'caller',
      heavy: true,
      audit: READS,
      query: z.strictObject({ cursor: cursor.exactOptional(), limit: limit.exactOptional() }),
      responses: { 200: { description: 'A page', schema: page(wireToken) } },
      handle: async ({ caller, query }) => {
        const { cursor: after, ...rest } = query
        return ok(
          pageOf(await door.flows.tokens.list(caller, { ...rest, ...given('after', after) }), encodeToken),
        )
      },
    }),
  ]
}
