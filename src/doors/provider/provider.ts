/**
 * The embedded sign-in server for programs: the command line, and MCP clients. Authorization code with PKCE and nothing else;
 * people sign in on our own pages and are asked each time. Its tokens are worth what the person is worth at each use: the
 * command line acts as the person, every other program as itself on behalf of the person, and none can approve.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { createHash, generateKeyPairSync } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { ClientMetadata, Configuration, KoaContextWithOIDC } from 'oidc-provider'
import Provider, { errors, interactionPolicy } from 'oidc-provider'
import { DOCUMENT_MOST, FETCH_TIMEOUT } from '../../identity/issuers/fetcher.ts'
import type { EntityRef } from '../../model/entity.ts'
import { refKey } from '../../model/entity.ts'
import { WritError } from '../../model/errors.ts'
import { isIdentity } from '../../model/name.ts'
import type { Instant } from '../../model/time.ts'
import { SECOND } from '../../model/time.ts'
import type { Programs, ProgramsOptions, Waiting } from './port.ts'
import { CLI_CLIENT, METADATA, MOUNT, isOfPrograms } from './port.ts'
import { Storage } from './storage.ts'

/** What a program may: ask in the name of whoever let it in. */
const SCOPE = 'writ'
const CODE_LIFE = 60
const INTERACTION_LIFE = 600
const CLI_TOKEN_LIFE = 12 * 3_600
const TOKEN_LIFE = 3_600
/** Host names under which one server is found. */
const ORIGINS_MOST = 4
/** Of what programs call themselves. */
const NAME_MOST = 60

export function createProvider(options: ProgramsOptions): Programs {
  const storage = new Storage(options.now)
  // nothing is signed with it: there are no ID tokens. The library would use one that everybody knows
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const providers = new Map<string, Provider>()

  /** One for each origin; `public_url` is the only one where it is set. Names that nobody has used for long make room. */
  function at(origin: string): Provider | undefined {
    const { publicUrl } = options
    if (!isOfPrograms(origin, publicUrl)) return undefined
    const fixed = publicUrl === undefined ? origin : new URL(publicUrl).origin
    const provider = providers.get(fixed) ?? providerAt(fixed, options, storage, privateKey)
    providers.delete(fixed)
    providers.set(fixed, provider)
    for (const oldest of providers.keys()) if (providers.size > ORIGINS_MOST) providers.delete(oldest)
    return provider
  }

  const required = (origin: string): Provider => {
    const provider = at(origin)
    if (provider === undefined)
      throw new WritError('ERR_NOT_FOUND', 'programs cannot sign in at this address')
    return provider
  }

  return {
    handle(request, response, origin) {
      const { url = '' } = request
      const [path = ''] = url.split('?')
      const provider = required(origin)
      const inside =
        path === METADATA ? '/.well-known/openid-configuration' : withScope(url.slice(MOUNT.length))
      asFrom(request, provider.issuer)
      // as a framework does that mounts it: what is below its own path, and all of it
      Object.assign(request, { originalUrl: `${MOUNT}${inside}`, url: inside })
      void provider.callback()(request, response)
      return true
    },
    async waiting(request, response, origin) {
      const provider = required(origin)
      asFrom(request, provider.issuer)
      try {
        const { uid, params } = await provider.interactionDetails(request, response)
        const client = await shownClient(provider, params)
        if (client === undefined) return undefined
        const { provider: chosen } = params
        return {
          uid,
          ...(typeof chosen === 'string' && chosen !== '' ? { provider: chosen } : {}),
          client,
        }
      } catch (error) {
        if (error instanceof errors.SessionNotFound) return undefined
        throw error
      }
    },
    async answer(request, response, origin, person) {
      const provider = required(origin)
      asFrom(request, provider.issuer)
      try {
        if (person === undefined) {
          return await provider.interactionResult(request, response, {
            error: 'access_denied',
            error_description: 'the person said no',
          })
        }
        const { params } = await provider.interactionDetails(request, response)
        const shown = await shownClient(provider, params)
        const accountId = accountOf(person.subject, person.generation)
        const grant = new provider.Grant({ accountId, clientId: String(params['client_id']) })
        const asked: readonly unknown[] = [params['resource'] ?? new URL(provider.issuer).origin].flat()
        for (const resource of asked) grant.addResourceScope(String(resource), SCOPE)
        const grantId = await grant.save()
        storage.note('Grant', grantId, { shown, since: options.now() })
        return await provider.interactionResult(request, response, {
          login: { accountId, remember: false },
          consent: { grantId },
        })
      } catch (error) {
        if (!(error instanceof errors.SessionNotFound)) throw error
        throw new WritError('ERR_NOT_FOUND', 'this sign-in has ended', { hint: 'begin again in the program' })
      }
    },
    async caller(token) {
      const found = /^[\w-]{43}$/.test(token) ? storage.get('AccessToken', token) : undefined
      if (found === undefined) return undefined
      const { accountId, clientId, grantId } = found
      const account = personOf(accountId)
      const granted = grantId !== undefined && storage.get('Grant', grantId) !== undefined
      const stands = account !== undefined && (await options.stands(account.person, account.generation))
      if (!granted || !stands || clientId === undefined) {
        throw new WritError('ERR_UNAUTHENTICATED', 'credentials are missing, unknown or no longer valid', {
          detail: 'the person or the grant behind an access token has ended',
        })
      }
      const { person, generation } = account
      storage.note('Grant', grantId, { usedAt: options.now() })
      const id = callerOf(clientId, person)
      if (clientId === CLI_CLIENT) return { id, kind: 'issuer', subject: person, generation }
      return {
        id,
        kind: 'issuer',
        subject: { type: 'Agent', id: clientId },
        generation: 0,
        chain: [person],
        instigators: [person],
      }
    },
    async admitted({ subject, generation }) {
      const found = grantsOf(subject, generation).flatMap(({ id, payload }) => {
        const { shown, since, usedAt } = payload as Noted
        const until = storage.all('AccessToken').find((token) => token.payload.grantId === id)?.endsAt
        if (shown === undefined || since === undefined || (until === undefined && !isOnItsWay(id))) return []
        return {
          id: shownId(id),
          client: shown,
          since,
          ...(until === undefined ? {} : { until }),
          ...(usedAt === undefined ? {} : { usedAt }),
        }
      })
      return found.toReversed()
    },
    async end({ subject, generation }, id) {
      const grant = grantsOf(subject, generation).find((one) => shownId(one.id) === id)
      const { shown } = (grant?.payload ?? {}) as Noted
      if (grant === undefined || shown === undefined) return undefined
      await storage.adapter('Grant').destroy(grant.id)
      await storage.adapter('AccessToken').revokeByGrantId(grant.id)
      return { client: shown, caller: callerOf(shown.id, subject) }
    },
  }

  function grantsOf(person: EntityRef, generation: number): ReturnType<Storage['all']> {
    const accountId = accountOf(person, generation)
    return storage.all('Grant').filter(({ payload }) => payload.accountId === accountId)
  }

  /** Whether the program may still come for its token. */
  function isOnItsWay(grantId: string): boolean {
    return (
      storage
        .all('AuthorizationCode')
        .some(({ payload }) => payload.grantId === grantId && payload.consumed === undefined) ||
      storage.all('Interaction').some(({ payload }) => {
        const { consent } = (payload['result'] ?? {}) as Readonly<{ consent?: { grantId?: string } }>
        return consent?.grantId === grantId
      })
    )
  }
}

/** What we write down beside a grant of the library's. */
type Noted = Readonly<{ shown?: Waiting['client']; since?: Instant; usedAt?: Instant }>

/** Who acts with a token of a program, for the record. */
const callerOf = (clientId: string, person: EntityRef): string =>
  `program:${encodeURIComponent(clientId)} ${refKey(person)}`

/** The library's own ids are nobody's business. */
const shownId = (grantId: string): string =>
  createHash('sha256').update(`program\n${grantId}`).digest('base64url').slice(0, 22)

/** What the person is shown of a program that asks. */
async function shownClient(
  provider: Provider,
  params: Readonly<Record<string, unknown>>,
): Promise<Waiting['client'] | undefined> {
  const id = String(params['client_id'])
  const client = await provider.Client.find(id)
  if (client === undefined) return undefined
  return {
    id,
    name: shownName(client.clientName) ?? id,
    at: whereTo(String(params['redirect_uri'])),
    known: id === CLI_CLIENT,
  }
}

/**
 * RFC 6749 §3.3: there is one scope, and the answer names it, whatever was asked for. The answer goes into the address:
 * a page that posts it by script would be another's form on our page.
 */
function withScope(url: string): string {
  if (!url.startsWith('/auth?')) return url
  const asked = url.slice('/auth?'.length).split('&')
  const name = (one: string): string => new URLSearchParams(one).keys().next().value ?? ''
  const others = asked.filter((one) => !['scope', ''].includes(name(one)))
  const kept = others.map((one) =>
    name(one) === 'response_mode' && new URLSearchParams(one).get('response_mode') !== 'query'
      ? 'response_mode=none'
      : one,
  )
  return `/auth?${[...kept, `scope=${SCOPE}`].join('&')}`
}

/** What a program calls itself, if that can be shown; it is a word of its own. */
function shownName(name: string | undefined): string | undefined {
  const trimmed = name?.trim() ?? ''
  return trimmed === '' || trimmed.length > NAME_MOST || !isIdentity(trimmed) ? undefined : trimmed
}

/** RFC 9700 §4.1.1: over TLS, or on this machine. */
function requireSafeRedirects(
  _ctx: unknown,
  _key: string,
  _value: unknown,
  { redirect_uris: uris }: ClientMetadata,
): void {
  for (const uri of Array.isArray(uris) ? uris : []) {
    const url = URL.parse(String(uri))
    if (url?.protocol === 'http:' && !isOfPrograms(url.origin, undefined))
      throw new errors.InvalidRedirectUri('redirect_uris must use https, but for this machine')
  }
}

/** The host, or the program of this machine that opens such addresses (RFC 8252 §7.1). */
function whereTo(redirect: string): string {
  const { host, protocol } = new URL(redirect)
  return ['http:', 'https:'].includes(protocol) ? host : protocol
}

/** What the library builds addresses from: the origin that we know, not what a request says. */
function asFrom(request: IncomingMessage, issuer: string): void {
  const { protocol, host } = new URL(issuer)
  Object.assign(request.headers, { 'x-forwarded-proto': protocol.slice(0, -1), 'x-forwarded-host': host })
  delete request.headers['x-forwarded-for']
}

const accountOf = ({ type, id }: EntityRef, generation: number): string =>
  Buffer.from(JSON.stringify([type, id, generation])).toString('base64url')

function personOf(accountId: unknown): Readonly<{ person: EntityRef; generation: number }> | undefined {
  if (typeof accountId !== 'string') return undefined
  const [type, id, generation] = JSON.parse(Buffer.from(accountId, 'base64url').toString()) as [
    string,
    string,
    number,
  ]
  return { person: { type, id }, generation }
}

function providerAt(origin: string, options: ProgramsOptions, storage: Storage, key: KeyObject): Provider {
  const issuer = `${origin}${MOUNT}`
  const { config, stands, cookieKey, fetch, log, errorPage } = options
  const cookies = { signed: true, httpOnly: true, sameSite: 'lax', path: '/' } as const
  const { Check, base } = interactionPolicy
  const policy = base()
  // a program is let in by somebody who is looking, each time: a local one could open the page by itself
  for (const name of ['login', 'consent'] as const) {
    policy
      .get(name)
      ?.checks.add(
        new Check('asked_each_time', 'people are asked each time', 'interaction_required', (ctx) =>
          ctx.oidc.result?.[name] === undefined ? Check.REQUEST_PROMPT : Check.NO_NEED_TO_PROMPT,
        ),
      )
  }
  const clients: ClientMetadata[] = [
    {
      client_id: CLI_CLIENT,
      client_name: 'the command line',
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code'],
      response_types: ['code'],
      // RFC 8252 §7.3: the port does not count
      redirect_uris: ['http://127.0.0.1/callback'],
    },
  ]
  const resources: ReadonlySet<string> = new Set([origin, `${origin}/`, issuer])
  const configuration: Configuration = {
    adapter: (name: string) => storage.adapter(name),
    clients,
    // there are no ID tokens; a program asks who it is for at `/v1/me`
    scopes: [],
    claims: {},
    responseTypes: ['code'],
    clientAuthMethods: ['none', 'private_key_jwt'],
    clientDefaults: {
      grant_types: ['authorization_code'],
      response_types: ['code'],
      id_token_signed_response_alg: 'ES256',
    },
    // beside its own rules, by which anybody on the way reads the code of a web application
    extraClientMetadata: { properties: ['writ'], validator: requireSafeRedirects },
    extraParams: ['provider'],
    pkce: { required: () => true },
    jwks: { keys: [{ ...key.export({ format: 'jwk' }), use: 'sig', alg: 'ES256' }] },
    cookies: {
      keys: [Buffer.from(cookieKey).toString('base64url')],
      names: { session: 'writ_programs', interaction: 'writ_program', resume: 'writ_program_resume' },
      long: cookies,
      short: cookies,
    },
    interactions: { policy, url: (_ctx, { uid }) => `/login/continue/${uid}` },
    findAccount: async (_ctx, sub) => {
      const account = personOf(sub)
      if (account === undefined || !(await stands(account.person, account.generation))) return undefined
      return { accountId: sub, claims: async () => ({ sub }) }
    },
    expiresWithSession: async () => false,
    issueRefreshToken: async () => false,
    ttl: {
      AuthorizationCode: CODE_LIFE,
      Interaction: INTERACTION_LIFE,
      Session: INTERACTION_LIFE,
      Grant: CLI_TOKEN_LIFE,
      AccessToken: (_ctx, _token, client) => (client.clientId === CLI_CLIENT ? CLI_TOKEN_LIFE : TOKEN_LIFE),
    },
    features: {
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      claimsParameter: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      dPoP: { enabled: false },
      revocation: {
        enabled: true,
        allowedPolicy: async (_ctx, client, token) => token.clientId === client.clientId,
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: async () => origin,
        useGrantedResource: async () => true,
        getResourceServerInfo: async (_ctx, resource) => {
          if (!resources.has(resource)) throw new errors.InvalidTarget('this server issues tokens for itself')
          return { scope: SCOPE, audience: origin, accessTokenFormat: 'opaque' }
        },
      },
      registration: { enabled: config.registration },
      clientIdMetadataDocument: {
        enabled: config.clientMetadata,
        ack: 'draft-02',
        // it becomes the name of an agent: one spelling, in letters that look like no others
        allowFetch: async (_ctx, clientId) =>
          clientId.length <= 256 && isIdentity(clientId) && URL.parse(clientId)?.href === clientId,
      },
    },
    fetch: async (url: URL | string | Request, init: RequestInit = {}) => {
      if (url instanceof Request) throw new TypeError('documents are asked for by their address')
      const { method = 'GET' } = init
      if (method !== 'GET') throw new TypeError('documents are only read')
      const answer = await fetch(new URL(url), {
        timeout: FETCH_TIMEOUT,
        maxBytes: DOCUMENT_MOST,
        allowPrivate: false,
        headers: { accept: 'application/json' },
      })
      if (answer.failed !== undefined) throw new TypeError(answer.failed)
      const headers = new Headers()
      for (const [name, value] of Object.entries(answer.headers)) {
        for (const one of value === undefined ? [] : [value].flat()) headers.append(name, one)
      }
      return new Response(Buffer.from(answer.body), { status: answer.status, headers })
    },
    renderError: (ctx: KoaContextWithOIDC, out) => {
      ctx.type = 'html'
      ctx.set('content-security-policy', ERROR_POLICY)
      ctx.body = errorPage({ error: out.error, description: out.error_description })
    },
  }
  const provider = new Provider(issuer, configuration)
  // only what `asFrom` has written
  provider.proxy = true
  const told = (ctx: KoaContextWithOIDC, error: Error): void =>
    log('a program could not sign anybody in', `${ctx.path}: ${error.message}`)
  provider.on('authorization.error', told)
  provider.on('grant.error', told)
  provider.on('server_error', told)
  return provider
}

const ERROR_POLICY =
  "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"

/** How long a token of the command line lives. */
export const CLI_LIFE = CLI_TOKEN_LIFE * SECOND
