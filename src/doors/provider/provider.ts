/**
 * The embedded sign-in server for programs: the command line, and MCP clients. Authorization code with PKCE and nothing else;
 * people sign in on our own pages and are asked each time. Its tokens are worth what the person is worth at each use: the
 * command line acts as the person, every other program as itself on behalf of the person, and none can approve.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { generateKeyPairSync } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ClientMetadata, Configuration, KoaContextWithOIDC } from 'oidc-provider'
import Provider, { errors, interactionPolicy } from 'oidc-provider'
import type { Fetcher } from '../../identity/issuers/fetcher.ts'
import { DOCUMENT_MOST, FETCH_TIMEOUT } from '../../identity/issuers/fetcher.ts'
import type { Caller } from '../../model/access.ts'
import type { EntityRef } from '../../model/entity.ts'
import { refKey } from '../../model/entity.ts'
import { WritError } from '../../model/errors.ts'
import { isIdentity } from '../../model/name.ts'
import type { Instant } from '../../model/time.ts'
import { SECOND } from '../../model/time.ts'
import { Storage } from './storage.ts'

/** Below this everything is its own; the token endpoint for machines is elsewhere. */
export const MOUNT = '/login/oidc'
/** The metadata of its issuer, where RFC 8414 §3 looks for it. */
export const METADATA = `/.well-known/oauth-authorization-server${MOUNT}`
/** The command line, by the name under which it asks. */
export const CLI_CLIENT = 'writ-cli'

/** What a program may: ask in the name of whoever let it in. */
const SCOPE = 'writ'
const CODE_LIFE = 60
const INTERACTION_LIFE = 600
const CLI_TOKEN_LIFE = 12 * 3_600
const TOKEN_LIFE = 3_600
/** Host names under which one server is found. */
const ORIGINS_MOST = 4

export type ProgramsConfig = Readonly<{
  /** Whether a program may be named by the URL of its metadata document. */
  clientMetadata: boolean
  registration: boolean
}>

/** A sign-in that waits for its person. */
export type Waiting = Readonly<{
  uid: string
  client: Readonly<{ name: string; id: string; at: string; known: boolean }>
}>

export interface Programs {
  /** Whether the request is one of its own; then it is answered. */
  handle(request: IncomingMessage, response: ServerResponse, origin: string): boolean
  /** What waits for an answer in this browser; nothing if nothing does. */
  waiting(request: IncomingMessage, response: ServerResponse, origin: string): Promise<Waiting | undefined>
  /** The person's answer; where the browser goes on. */
  answer(
    request: IncomingMessage,
    response: ServerResponse,
    origin: string,
    person: Caller | undefined,
  ): Promise<string>
  /** The caller behind an access token. @throws {WritError} `ERR_UNAUTHENTICATED`. */
  caller(token: string): Promise<Caller | undefined>
}

type Options = Readonly<{
  config: ProgramsConfig
  /** The URL under which people reach this server, as it is configured. */
  publicUrl?: string
  /** Whether `person` of that generation may be signed in now. */
  stands(person: EntityRef, generation: number): Promise<boolean>
  fetch: Fetcher
  now(): Instant
  /** Signs cookies. */
  cookieKey: Uint8Array
  log(message: string, detail: string): void
  errorPage(detail: string): string
}>

export function createPrograms(options: Options): Programs {
  const storage = new Storage(options.now)
  // nothing is signed with it: there are no ID tokens. The library would use one that everybody knows
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const providers = new Map<string, Provider>()

  /** One for each origin; `public_url` is the only one where it is set. */
  function at(origin: string): Provider | undefined {
    const fixed = options.publicUrl === undefined ? origin : new URL(options.publicUrl).origin
    const known = providers.get(fixed)
    if (known !== undefined) return known
    if (options.publicUrl === undefined && !isLocal(fixed)) return undefined
    if (providers.size >= ORIGINS_MOST) return undefined
    const made = createProvider(fixed, options, storage, privateKey)
    providers.set(fixed, made)
    return made
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
      const isOurs = path.startsWith(`${MOUNT}/`) || path === METADATA
      const provider = isOurs ? at(origin) : undefined
      if (provider === undefined) return false
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
        const id = String(params['client_id'])
        const client = await provider.Client.find(id)
        if (client === undefined) return undefined
        return {
          uid,
          client: {
            id,
            name: client.clientName ?? id,
            at: new URL(String(params['redirect_uri'])).host,
            known: id === CLI_CLIENT,
          },
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
        const accountId = accountOf(person.subject, person.generation)
        const grant = new provider.Grant({ accountId, clientId: String(params['client_id']) })
        const asked: readonly unknown[] = [params['resource'] ?? new URL(provider.issuer).origin].flat()
        for (const resource of asked) grant.addResourceScope(String(resource), SCOPE)
        return await provider.interactionResult(request, response, {
          login: { accountId, remember: false },
          consent: { grantId: await grant.save() },
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
      if (clientId === CLI_CLIENT) {
        return { id: `program:${clientId} ${refKey(person)}`, kind: 'issuer', subject: person, generation }
      }
      return {
        id: `program:${encodeURIComponent(clientId)} ${refKey(person)}`,
        kind: 'issuer',
        subject: { type: 'Agent', id: clientId },
        generation: 0,
        chain: [person],
        instigators: [person],
      }
    },
  }
}

/** RFC 6749 §3.3: there is one scope, and the answer names it, whatever was asked for. */
function withScope(url: string): string {
  if (!url.startsWith('/auth?')) return url
  const others = url
    .slice('/auth?'.length)
    .split('&')
    .filter((one) => !/^scope(?:=|$)/.test(one))
  return `/auth?${[...others, `scope=${SCOPE}`].join('&')}`
}

const isLocal = (origin: string): boolean =>
  ['localhost', '127.0.0.1', '[::1]'].includes(new URL(origin).hostname)

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

function createProvider(origin: string, options: Options, storage: Storage, key: KeyObject): Provider {
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
        // it becomes the name of an agent
        allowFetch: async (_ctx, clientId) => clientId.length <= 256 && isIdentity(clientId),
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
      ctx.body = errorPage(out.error_description ?? out.error)
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
