/**
 * OAuth tokens of Writ: the endpoints it names (RFC 8414), token exchange (RFC 8693) and revocation (RFC 7009).
 *
 * @module
 */
import type { ApprovalReference } from './access.ts'
import type { Attempt, Challenge } from './decision.ts'
import { readDecision, toRef } from './decision.ts'
import { WritClientError, isWritClientError } from './error.ts'
import type { Answer, Transport } from './http.ts'
import type { DpopKey } from './token-proof.ts'
import { dpopProof } from './token-proof.ts'
import type { Json, Properties, Subject } from './types.ts'

/** What the server says about its OAuth side. Every endpoint is at the server's own origin. */
export type ServerMetadata = Readonly<{
  issuer: string
  tokenEndpoint?: URL
  authorizationEndpoint?: URL
  revocationEndpoint?: URL
  /** How a client may say who it is at the token endpoint; absent when the server does not say. */
  authMethods?: readonly string[]
  /** Every answer of the authorization endpoint names its issuer (RFC 9207). */
  namesIssuer: boolean
}>

const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:'
export const accessTokenType = `${TOKEN_TYPE}access_token`
export const jwtType = `${TOKEN_TYPE}jwt`
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/** A token that proves somebody, with its type; see `typeOfToken`. */
export type ProofToken = Readonly<{ token: string; type: string }>

/** Who the client itself is (RFC 7523): a signed statement, made anew for each request, and for whom it is. */
export type ClientProof = Readonly<{ id?: string; assertion: (issuer: string) => string | Promise<string> }>

export type ExchangeInput = Readonly<{
  /** Who it is for; without it the client itself (`client_credentials`). */
  subject?: ProofToken | undefined
  /** Who acts, where that is somebody else. */
  actor?: ProofToken | undefined
  /** Absolute URIs. */
  resource?: readonly string[] | undefined
  /** Names of what it is for, e.g. `Api/payments`. */
  audience?: readonly string[] | undefined
  /** What it may do there: names of actions. */
  scope?: readonly string[] | undefined
  /** Binds the token to this task: it ends when the task does. */
  task?: string | undefined
  /** A registered delegation to whoever acts: it is for its delegator too. */
  delegation?: string | undefined
  /** An approval that was had for exactly this. */
  approval?: ApprovalReference | undefined
  /** Binds the token to this key: without it nobody can use it. */
  dpop?: DpopKey | undefined
  client?: ClientProof | undefined
  signal?: AbortSignal | undefined
}>

export type IssuedToken = Readonly<{
  token: string
  /** `Bearer`, `DPoP`, or `N_A` where it is no access token. */
  tokenType: string
  issuedType: string
  /** What it may do, as granted. */
  scope: readonly string[]
  /** RFC 3339, where the server says how long it lives. */
  endsAt?: string
  /** The answer with all its members but the token. */
  more: Properties
}>

/** What the token endpoint answered. A refusal is a value, as every denial is. */
export type TokenAnswer =
  | Readonly<{ outcome: 'issued'; issued: IssuedToken }>
  | Readonly<{
      outcome: 'refused'
      error: string
      description: string
      /** Of the decision, where there was one. */
      id?: string
      reason?: string
    }>
  | Readonly<{
      outcome: 'challenge'
      error: string
      description: string
      challenge: Omit<Challenge, 'request'>
      /** What the missing evidence is for, as the server understood the request. */
      attempt: Attempt
    }>

const METADATA = '/.well-known/oauth-authorization-server'
/** Below the server's own URL: the issuer with which people let programs in. */
export const SIGN_IN = '/login/oidc'

/**
 * Where the endpoints are, or `undefined` where the server has none.
 *
 * @throws {WritClientError} `ERR_PROTOCOL` when it speaks for another server (RFC 8414 §3.3), or leads elsewhere.
 */
export async function readMetadata(
  transport: Transport,
  below: '' | typeof SIGN_IN = '',
  signal?: AbortSignal,
): Promise<ServerMetadata | undefined> {
  const base = new URL(transport.url)
  const path = base.pathname.replace(/\/$/u, '') + below
  let answer: Answer
  try {
    answer = await transport.call({
      method: 'GET',
      path: METADATA,
      at: new URL(METADATA + path, base),
      authenticate: false,
      signal,
    })
  } catch (error) {
    if (isWritClientError(error, 'ERR_NOT_FOUND')) return undefined
    throw error
  }
  const issuer = member(answer.body, 'issuer')
  if (typeof issuer !== 'string')
    throw new WritClientError('ERR_PROTOCOL', 'the server does not say who it is')
  if (withoutSlash(issuer) !== withoutSlash(base.href) + below) {
    throw new WritClientError(
      'ERR_PROTOCOL',
      `\`${withoutSlash(base.href)}${below}\` calls itself \`${issuer}\``,
      {
        hint: `give \`${issuer}\` as the URL of the server, if that is the one you mean`,
      },
    )
  }
  const endpoint = (name: string): URL | undefined => {
    const value = member(answer.body, name)
    if (value === undefined) return undefined
    const url = typeof value === 'string' ? URL.parse(value) : null
    // a token goes to nobody but the server it is for
    if (url === null || url.origin !== base.origin) {
      throw new WritClientError('ERR_PROTOCOL', `the \`${name}\` of \`${issuer}\` is not at that server`)
    }
    return url
  }
  const methods = member(answer.body, 'token_endpoint_auth_methods_supported')
  return {
    issuer,
    ...given('tokenEndpoint', endpoint('token_endpoint')),
    ...given('authorizationEndpoint', endpoint('authorization_endpoint')),
    ...given('revocationEndpoint', endpoint('revocation_endpoint')),
    ...(Array.isArray(methods) ? { authMethods: methods.filter((one) => typeof one === 'string') } : {}),
    namesIssuer: member(answer.body, 'authorization_response_iss_parameter_supported') === true,
  }
}

/** The type under which a token is handed over: one of Writ's own is an access token, any other JWT a JWT. */
export function typeOfToken(token: string): string {
  const [head = '', ...rest] = token.split('.')
  if (rest.length !== 2) return accessTokenType
  try {
    const { typ } = JSON.parse(fromBase64url(head)) as { typ?: unknown }
    return typeof typ === 'string' && /^(?:application\/)?at\+jwt$/iu.test(typ) ? accessTokenType : jwtType
  } catch {
    return accessTokenType // the server says what is wrong with it
  }
}

/** Parameters of RFC 8693 in the order of its §2.1. */
export function exchangeParameters(input: ExchangeInput): URLSearchParams {
  const { subject, actor } = input
  const form = new URLSearchParams({ grant_type: subject === undefined ? 'client_credentials' : EXCHANGE })
  for (const resource of input.resource ?? []) form.append('resource', resource)
  for (const audience of input.audience ?? []) form.append('audience', audience)
  if (input.scope !== undefined && input.scope.length > 0) form.set('scope', input.scope.join(' '))
  if (subject !== undefined) {
    form.set('requested_token_type', accessTokenType)
    form.set('subject_token', subject.token)
    form.set('subject_token_type', subject.type)
  }
  if (actor !== undefined) {
    form.set('actor_token', actor.token)
    form.set('actor_token_type', actor.type)
  }
  if (input.task !== undefined) form.set('writ_task', input.task)
  if (input.delegation !== undefined) form.set('writ_delegation', input.delegation)
  // carried back unchanged: it is the server's to read
  if (input.approval !== undefined) form.set('approval', JSON.stringify(input.approval))
  return form
}

/** Asks the token endpoint once, and again with the nonce it wants (RFC 9449 §8). Never after it may have answered. */
export async function askToken(
  transport: Transport,
  metadata: ServerMetadata,
  form: URLSearchParams,
  how: Readonly<{
    client?: ClientProof | undefined
    dpop?: DpopKey | undefined
    signal?: AbortSignal | undefined
    now: () => number
  }>,
): Promise<Answer> {
  const endpoint = metadata.tokenEndpoint
  if (endpoint === undefined) {
    throw new WritClientError('ERR_UNSUPPORTED', `\`${metadata.issuer}\` issues no tokens`, {
      hint: 'it has no token endpoint',
    })
  }
  let nonce: string | undefined
  for (let tries = 0; ; tries++) {
    const body = new URLSearchParams(form)
    if (how.client !== undefined) {
      if (how.client.id !== undefined) body.set('client_id', how.client.id)
      body.set('client_assertion_type', ASSERTION)
      body.set('client_assertion', await how.client.assertion(metadata.issuer))
    }
    const proof =
      how.dpop === undefined
        ? undefined
        : await dpopProof(how.dpop, { method: 'POST', url: endpoint, now: how.now(), nonce })
    const answer = await transport.call({
      method: 'POST',
      path: endpoint.pathname,
      at: endpoint,
      form: body,
      authenticate: false,
      anyStatus: true,
      retry: 'unsent',
      ...(proof === undefined ? {} : { headers: { dpop: proof } }),
      signal: how.signal,
    })
    const wanted = answer.headers.get('dpop-nonce')
    if (member(answer.body, 'error') !== 'use_dpop_nonce' || wanted === null || tries > 0) return answer
    nonce = wanted
  }
}

/** What the server refuses with when it has decided; any other error says that it could not. */
const refusals: ReadonlySet<string> = new Set([
  'access_denied',
  'invalid_scope',
  'invalid_target',
  'interaction_required',
  'insufficient_user_authentication',
  'unmet_authentication_requirements',
])

/**
 * What the answer of a token endpoint says.
 *
 * @throws {WritClientError} where nothing was decided: the proof does not count, or the request is wrong.
 */
export function readToken(
  answer: Answer,
  asked: ExchangeInput | undefined,
  self: Subject | undefined,
  now: number,
): TokenAnswer {
  if (answer.status === 200) return { outcome: 'issued', issued: readIssued(answer, asked, now) }
  const error = member(answer.body, 'error')
  if (typeof error !== 'string') throw unreadable(answer)
  const described = member(answer.body, 'error_description')
  const description = typeof described === 'string' && described !== '' ? described : error
  const id = member(answer.body, 'evaluation_id')
  const offer = member(answer.body, 'access_request')
  if (offer !== undefined) {
    const challenge = readDecision({
      decision: false,
      context: {
        reason: error,
        access_request: offer,
        evaluation_id: id ?? null,
        evaluated_at: member(answer.body, 'evaluated_at') ?? null,
      },
    })
    const attempt = attemptOf(member(answer.body, 'attempt'), asked, self)
    if (challenge.outcome === 'challenge' && attempt !== undefined) {
      return { outcome: 'challenge', error, description, challenge, attempt }
    }
  }
  if (refusals.has(error)) {
    const reason = member(answer.body, 'reason')
    return {
      outcome: 'refused',
      error,
      description,
      ...(typeof id === 'string' ? { id } : {}),
      ...(typeof reason === 'string' ? { reason } : {}),
    }
  }
  throw oauthFailure(answer)
}

/** An answer of the token endpoint that is none. */
export function oauthFailure(answer: Answer): WritClientError {
  const error = member(answer.body, 'error')
  if (typeof error !== 'string') return unreadable(answer)
  const described = member(answer.body, 'error_description')
  const requestId = answer.headers.get('x-request-id') ?? undefined
  const sentence = typeof described === 'string' && described !== '' ? `${described} (${error})` : error
  return new WritClientError(errorCodes[error] ?? 'ERR_INPUT_INVALID', sentence, {
    status: answer.status,
    requestId,
    type: error,
    hint: hints[error],
  })
}

const hints: Readonly<Record<string, string>> = {
  invalid_dpop_proof: 'bind the token to a key of yours: `dpop`',
}

const errorCodes: Readonly<Record<string, string>> = {
  invalid_client: 'ERR_UNAUTHENTICATED',
  invalid_grant: 'ERR_UNAUTHENTICATED',
  invalid_token: 'ERR_UNAUTHENTICATED',
  unauthorized_client: 'ERR_FORBIDDEN',
  access_denied: 'ERR_FORBIDDEN',
  server_error: 'ERR_INTERNAL',
  temporarily_unavailable: 'ERR_UNREACHABLE',
}

function readIssued(answer: Answer, asked: ExchangeInput | undefined, now: number): IssuedToken {
  const { body } = answer
  const token = member(body, 'access_token')
  const tokenType = member(body, 'token_type')
  // only an exchange has to say it
  const isExchange = asked?.subject !== undefined
  const issuedType = member(body, 'issued_token_type') ?? (isExchange ? undefined : accessTokenType)
  if (typeof token !== 'string' || token === '' || typeof tokenType !== 'string') throw unreadable(answer)
  if (typeof issuedType !== 'string') throw unreadable(answer)
  // a token that anybody could use in place of one that only we can is not what was asked for
  if (asked?.dpop !== undefined && tokenType.toLowerCase() !== 'dpop') {
    throw new WritClientError('ERR_PROTOCOL', 'the token is not bound to the key, though that was asked for')
  }
  const scope = member(body, 'scope')
  const lives = member(body, 'expires_in')
  const { access_token: _token, ...more } = body as Properties
  return {
    token,
    tokenType,
    issuedType,
    // absent means: as asked for (RFC 8693 §2.2.1)
    scope: typeof scope === 'string' ? scope.split(' ').filter((one) => one !== '') : (asked?.scope ?? []),
    ...(typeof lives === 'number' && Number.isFinite(lives)
      ? { endsAt: new Date(now + lives * 1_000).toISOString() }
      : {}),
    more,
  }
}

/** The attempt that evidence is missing for: as the server says, else the only one that was asked for. */
function attemptOf(
  sent: unknown,
  asked: ExchangeInput | undefined,
  self: Subject | undefined,
): Attempt | undefined {
  const [subject, action, resource] = ['subject', 'action', 'resource'].map((name) => member(sent, name))
  if (isNamed(subject) && isNamed(resource) && typeof member(action, 'name') === 'string') {
    const context = member(sent, 'context')
    return {
      subject: subject as Attempt['subject'],
      action: action as Attempt['action'],
      resource: resource as Attempt['resource'],
      ...(typeof context === 'object' && context !== null ? { context: context as Properties } : {}),
    }
  }
  if (asked === undefined || self === undefined || asked.actor !== undefined) return undefined
  const targets = [...(asked.resource ?? []), ...(asked.audience ?? [])]
  const [scope] = asked.scope ?? []
  const [target] = targets
  if (asked.scope?.length !== 1 || targets.length !== 1 || scope === undefined || target === undefined)
    return undefined
  // which resource a URL stands for, the server alone knows
  if (target.includes('://')) return undefined
  return {
    subject: self,
    action: { name: scope },
    resource: toRef(target),
    ...(asked.task === undefined && asked.delegation === undefined
      ? {}
      : { context: { ...given('task', asked.task), ...given('delegation', asked.delegation) } }),
  }
}

const isNamed = (value: unknown): boolean =>
  typeof member(value, 'type') === 'string' && typeof member(value, 'id') === 'string'

/**
 * Ends a token. A server that does not know it says the same (RFC 7009 §2.2).
 *
 * @throws {WritClientError} where that is not confirmed.
 */
export async function revokeToken(
  transport: Transport,
  metadata: ServerMetadata,
  token: string,
  how: Readonly<{ client?: ClientProof | undefined; signal?: AbortSignal | undefined }> = {},
): Promise<void> {
  const endpoint = metadata.revocationEndpoint
  if (endpoint === undefined) {
    throw new WritClientError('ERR_UNSUPPORTED', `\`${metadata.issuer}\` takes no token back before its end`)
  }
  const form = new URLSearchParams({ token, token_type_hint: 'access_token' })
  if (how.client !== undefined) {
    if (how.client.id !== undefined) form.set('client_id', how.client.id)
    form.set('client_assertion_type', ASSERTION)
    form.set('client_assertion', await how.client.assertion(metadata.issuer))
  }
  const answer = await transport.call({
    method: 'POST',
    path: endpoint.pathname,
    at: endpoint,
    form,
    authenticate: how.client === undefined,
    anyStatus: true,
    signal: how.signal,
  })
  if (answer.status !== 200) throw oauthFailure(answer)
}

function unreadable(answer: Answer): WritClientError {
  return new WritClientError(
    answer.status >= 500 ? 'ERR_INTERNAL' : 'ERR_PROTOCOL',
    'the token endpoint gave no answer that can be read',
    { status: answer.status, requestId: answer.headers.get('x-request-id') ?? undefined },
  )
}

const withoutSlash = (url: string): string => url.replace(/\/$/u, '')

function given<K extends string, V>(name: K, value: V | undefined): { [member in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { [member in K]: V })
}

function fromBase64url(text: string): string {
  return atob(text.replaceAll('-', '+').replaceAll('_', '/'))
}

function member(value: unknown, name: string): Json | undefined {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, Json>)[name]
    : undefined
}
