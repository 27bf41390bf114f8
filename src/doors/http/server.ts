/**
 * The HTTP door: AuthZEN, access requests, `/v1`, events, and the pages for people.
 *
 * @module
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { LogController, fastify } from 'fastify'
import type { z } from 'zod'
import type { Flows } from '../../flows/port.ts'
import type { Callers, Credentials } from '../../identity/callers.ts'
import { EndedCredentialError } from '../../identity/callers.ts'
import type { Caller } from '../../model/access.ts'
import { WritError, isWritError } from '../../model/errors.ts'
import type { Instant, Millis } from '../../model/time.ts'
import { MINUTE, SECOND } from '../../model/time.ts'
import { describeIssues } from '../../wire/bounds.ts'
import { DPOP_ALGORITHMS, encodeChallenge } from '../../wire/oauth/index.ts'
import { accessRoutes } from './api/access.ts'
import { accountRoutes } from './api/accounts.ts'
import { actionRoutes } from './api/actions.ts'
import { authzenRoutes } from './api/authzen.ts'
import type { Stream } from './api/events.ts'
import { delegationRoutes } from './api/delegations.ts'
import { factRoutes } from './api/facts.ts'
import { lockRoutes } from './api/locks.ts'
import { eventRoutes } from './api/events.ts'
import { grantRoutes } from './api/grants.ts'
import { healthRoutes } from './api/health.ts'
import { inventoryRoutes } from './api/inventory.ts'
import { policyRoutes } from './api/policies.ts'
import { oauthRoutes } from './api/oauth.ts'
import { proofRoutes } from './api/proofs.ts'
import { recordRoutes } from './api/record.ts'
import { requestRoutes } from './api/requests.ts'
import { signalRoutes } from './api/signals.ts'
import { ssfRoutes } from './api/ssf.ts'
import { taskRoutes } from './api/tasks.ts'
import { transparencyRoutes } from './api/transparency.ts'
import { webhookRoutes } from './api/webhooks.ts'
import { witnessRoutes } from './api/witnesses.ts'
import { hostTest, hostnameOf, requireSameOrigin, secureHeaders, sessionCookie } from './guard.ts'
import { parseFields, parseForm, parseJson } from './json.ts'
import { openapi } from './openapi.ts'
import type { Programs } from '../provider/port.ts'
import { METADATA, MOUNT } from '../provider/port.ts'
import { errorPage, pageRoutes } from './pages/routes.ts'
import { publicError, renderOAuthError, renderProblem } from './problems.ts'
import { Rates, Turns, addressKey } from './rates.ts'
import type { Answer, Door, Log, Route } from './route.ts'
import { TAKEN } from './route.ts'

export type HttpConfig = Readonly<{
  /** The address that will be listened on: on loopback only names of this machine are answered. */
  host: string
  /** The URL under which callers reach this server, when a proxy stands before it. */
  publicUrl?: string
  /** Further host names that callers use, e.g. of a container network. */
  hosts?: readonly string[]
  /** Addresses of proxies whose `X-Forwarded-*` count; nobody's if left out (B55). */
  trustedProxies?: readonly string[]
  /** PEM texts. */
  tls?: Readonly<{ cert: string; key: string }>
  /** Largest body, deepest JSON, requests a second of one caller. */
  limits: Readonly<{ body: number; depth: number; rate: number }>
}>

export type HttpOptions = Readonly<{
  flows: Flows
  callers: Callers
  config: HttpConfig
  clock: Readonly<{
    now(): Instant
    /** For rates, which a clock that is set back must not stop; `now` if left out. */
    monotonic?(): Millis
  }>
  random: (bytes: number) => Uint8Array
  log: Log
  version: string
  /** Programs that have people sign in, if they may. */
  programs?: Programs
}>

/** Bodies of most doors; those for whole inventories and policy sets take what is configured. */
const BODY_MOST = 65_536
const REQUEST_MOST: Millis = 30 * SECOND
const HEADERS_MOST: Millis = 10 * SECOND
/** A connection on which nothing moves; event streams move every 15 s. */
const IDLE_MOST: Millis = MINUTE
const KEEP_ALIVE: Millis = 65 * SECOND
const HEADER_BYTES = 16 * 1_024
const REQUESTS_PER_SOCKET = 100_000
const CONNECTIONS_MOST = 10_000
/** What is still being answered when the server stops has this long. */
const CLOSE_MOST: Millis = 2 * SECOND

/** What nobody authenticated may do, per address. */
const ANONYMOUS = { perSecond: 20, burst: 60 }
/** Tries at one-time codes, per address. */
const GUESSES = { perSecond: 0.2, burst: 10 }

/** What a caller may name its request: it comes back in headers and stands in the operator's log. */
const REQUEST_ID = /^[\x21-\x7e]{1,256}$/
/** What comes back all the same at the doors of AuthZEN, for which it is an arbitrary string; it stands in no log. */
const ECHOED = /^[\x20-\x7e]{1,8192}$/
/** Headers that are there once: of two, a proxy before us may have gone by the other one (B56). */
const ONCE: ReadonlySet<string> = new Set([
  'authorization',
  'content-length',
  'content-type',
  'dpop',
  'host',
  'idempotency-key',
  'last-event-id',
  'origin',
  'sec-fetch-site',
])

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The row of the route table that is answered here. */
    writ?: Route
  }
}

/** Every route of this door, in the order of the documentation. */
export function httpRoutes(door: Door, streams: Set<Stream> = new Set()): Route[] {
  let document: unknown
  const routes: Route[] = [
    ...authzenRoutes(door),
    ...requestRoutes(door),
    ...oauthRoutes(door),
    ...ssfRoutes(door),
    ...signalRoutes(door),
    ...webhookRoutes(door),
    ...taskRoutes(door),
    ...delegationRoutes(door),
    ...factRoutes(door),
    ...lockRoutes(door),
    ...grantRoutes(door),
    ...actionRoutes(door),
    ...inventoryRoutes(door),
    ...recordRoutes(door),
    ...proofRoutes(door),
    ...transparencyRoutes(door),
    ...witnessRoutes(door),
    ...eventRoutes(door, streams),
    ...policyRoutes(door),
    ...accessRoutes(door),
    ...accountRoutes(door),
    ...healthRoutes(door, () => (document ??= openapi(routes, door.version))),
    ...pageRoutes(door),
  ]
  return routes
}

/**
 * A server that is not listening yet: `await server.listen({ host, port })`. Closing it ends event streams and waits
 * for answers that are under way.
 */
export function createHttp(options: HttpOptions): FastifyInstance {
  const { flows, callers, config, clock, random, log, version } = options
  const now = (): Instant => clock.now()
  const { programs } = options
  /** A token that is not good is on the record, as it is at the token endpoint. */
  async function note(error: unknown, authorization: string | undefined): Promise<void> {
    if (error instanceof EndedCredentialError) return flows.refused(error.credential)
    // what has no dot is a key or a session that nobody knows, or nothing
    if (!isWritError(error, 'ERR_UNAUTHENTICATED') || authorization?.includes('.') !== true) return
    const { message, detail, problem = 'invalid_token' } = error
    const why = detail === undefined ? {} : { detail }
    await flows.tokens.refused(new WritError('ERR_UNAUTHENTICATED', message, { problem, ...why }))
  }
  const noting: Pick<Callers, 'authenticate'> = {
    async authenticate(credentials) {
      try {
        return await callers.authenticate(credentials)
      } catch (error) {
        await note(error, credentials.authorization)
        throw error
      }
    },
  }
  const door: Door = {
    flows,
    callers: noting,
    now,
    log,
    version,
    ...(programs === undefined ? {} : { programs }),
  }
  const streams = new Set<Stream>()
  const routes = httpRoutes(door, streams)

  const ticks = (): Instant => Math.round(clock.monotonic?.() ?? clock.now())
  const rates = {
    caller: new Rates({ perSecond: config.limits.rate, burst: config.limits.rate }, ticks),
    anonymous: new Rates(ANONYMOUS, ticks),
    guesses: new Rates(GUESSES, ticks),
  }
  const turns = new Turns()
  const publicOrigin = config.publicUrl === undefined ? undefined : new URL(config.publicUrl).origin
  const names = [
    ...(config.publicUrl === undefined ? [] : [new URL(config.publicUrl).hostname]),
    ...(config.hosts ?? []),
  ]
  const isOurHost = hostTest(config.host, names)

  // the prefix keeps ids of two runs apart, the counter those of one
  const run = Buffer.from(random(9)).toString('base64url')
  let count = 0
  const newRequestId = (): string => `req_${run}${(count++).toString(36)}`

  const common = {
    logger: false,
    logController: new LogController({ disableRequestLogging: true }),
    exposeHeadRoutes: false,
    bodyLimit: Math.min(BODY_MOST, config.limits.body),
    connectionTimeout: IDLE_MOST,
    keepAliveTimeout: KEEP_ALIVE,
    requestTimeout: REQUEST_MOST,
    maxRequestsPerSocket: REQUESTS_PER_SOCKET,
    forceCloseConnections: 'idle',
    trustProxy: config.trustedProxies === undefined ? false : [...config.trustedProxies],
    routerOptions: { maxParamLength: 3 * 256 },
    genReqId: (raw: { headers: NodeJS.Dict<string | string[]> }): string => {
      const sent = raw.headers['x-request-id']
      return typeof sent === 'string' && REQUEST_ID.test(sent) ? sent : newRequestId()
    },
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) => {
      reply.header('x-request-id', echoed(request))
      fail(error, request, reply)
    },
  } as const
  const nodeOptions = { headersTimeout: HEADERS_MOST, maxHeaderSize: HEADER_BYTES }
  const server = (
    config.tls === undefined
      ? fastify({ ...common, http: nodeOptions })
      : fastify({
          ...common,
          https: { ...nodeOptions, cert: config.tls.cert, key: config.tls.key, minVersion: 'TLSv1.2' },
        })
  ) as FastifyInstance
  server.server.maxConnections = CONNECTIONS_MOST

  const requestOrigin = (request: FastifyRequest): string => `${request.protocol}://${request.host}`

  function fail(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const shown = publicError(error)
    if (
      shown.code === 'ERR_INTERNAL' ||
      (shown.detail !== undefined && shown.code !== 'ERR_UNAUTHENTICATED')
    ) {
      const cause = shown === error ? shown.detail : stackOf(error)
      log({
        level: shown.code === 'ERR_INTERNAL' ? 'error' : 'warn',
        message: shown.message,
        code: shown.code,
        request: request.id.slice(0, 256),
        ...(cause === undefined ? {} : { detail: cause }),
      })
    }
    const route = request.routeOptions.config.writ
    const style = route?.errors ?? (isPagePath(request) ? 'page' : 'problem')
    const { status, body, headers } = renderProblem(shown, request.id, style === 'arap')
    secureHeaders(reply, style === 'page', request.protocol === 'https')
    reply.code(status).headers(headers)
    // RFC 6750 §3.1: a token that was sent and is not good is told from none
    if (status === 401 && request.headers.authorization !== undefined)
      reply.header('www-authenticate', 'Bearer realm="writ", error="invalid_token"')
    const { problem } = shown
    if (status === 401 && (problem === 'invalid_dpop_proof' || problem === 'use_dpop_nonce')) {
      const algorithms = DPOP_ALGORITHMS
      reply.header('www-authenticate', encodeChallenge('DPoP', { error: problem, algorithms }))
      reply.header('dpop-nonce', flows.tokens.dpop.nonce(now()))
    }
    if (style === 'page') {
      if (status === 401) {
        void reply.code(303).header('location', '/signin').send()
        return
      }
      void reply.type('text/html; charset=utf-8').send(errorPage(body))
      return
    }
    if (style === 'oauth') {
      const oauth = renderOAuthError(shown)
      // RFC 6749 §5.2: who tried to authenticate by header is told by header, nobody else
      if (request.headers.authorization === undefined) reply.removeHeader('www-authenticate')
      void reply.code(oauth.status).type('application/json; charset=utf-8').send(JSON.stringify(oauth.body))
      return
    }
    // AuthZEN: the body is an error message string; who asks for JSON gets all of it
    if (style === 'authzen' && !(request.headers.accept ?? '').includes('json')) {
      void reply.type('text/plain; charset=utf-8').send(body.detail)
      return
    }
    void reply.type('application/problem+json').send(JSON.stringify(body))
  }

  /** A request for a token that could not even be read is refused like one that could. */
  async function noteUnread(error: unknown, request: FastifyRequest): Promise<void> {
    const { code, message, problem } = publicError(error)
    if (request.routeOptions.config.writ?.errors !== 'oauth' || problem !== undefined) return
    if (code !== 'ERR_INPUT_INVALID' && code !== 'ERR_TOO_LARGE') return
    await flows.tokens.refused(new WritError(code, message, { problem: 'invalid_request' }))
  }

  /** The key that a DPoP proof shows to be the caller's; the token says whether it is the one it is bound to. */
  async function possession(
    request: FastifyRequest,
    origin: string,
  ): Promise<Awaited<ReturnType<Flows['tokens']['possession']>> | undefined> {
    const { authorization = '', dpop } = request.headers
    const [, accessToken] = /^DPoP +(\S+)$/i.exec(authorization) ?? []
    if (accessToken === undefined || typeof dpop !== 'string') return undefined
    const [path = ''] = request.url.split('?')
    return flows.tokens.possession(dpop, { method: request.method, url: `${origin}${path}`, accessToken })
  }

  async function authenticate(route: Route, request: FastifyRequest, origin: string) {
    const { authorization, cookie } = request.headers
    const session =
      authorization === undefined ? sessionCookie(cookie, origin.startsWith('https:')) : undefined
    let caller: Caller
    try {
      const proof = await possession(request, origin)
      const credentials: Credentials = { authorization, session, confirmed: proof?.jkt }
      caller = await callers.authenticate(credentials)
      // anybody can make proofs: those of strangers are not kept
      await proof?.spend()
    } catch (error) {
      // whoever fails often from one address waits; whoever authenticates there is not touched
      if (isWritError(error, 'ERR_UNAUTHENTICATED')) rates.anonymous.take(addressKey(request.ip))
      await note(error, authorization)
      throw error
    }
    const cookieOnly = session !== undefined
    if (cookieOnly && request.method !== 'GET') requireSameOrigin(request, [origin, requestOrigin(request)])
    if (route.who === 'person' && caller.kind !== 'session') {
      throw new WritError('ERR_FORBIDDEN', 'only a person in their own session may do this', {
        hint: 'sign in with a one-time code from `writ people invite`',
      })
    }
    rates.caller.take(caller.id)
    return { caller, cookie: cookieOnly }
  }

  async function answerTo(
    route: Route,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<Answer | typeof TAKEN> {
    const origin = publicOrigin ?? requestOrigin(request)
    let who: { caller: Caller; cookie: boolean } | undefined
    if (route.who === 'public') {
      rates.anonymous.take(addressKey(request.ip))
      if (isGuess(route, request)) rates.guesses.take(addressKey(request.ip))
    } else if (route.who === 'client') {
      rates.caller.take(`address:${addressKey(request.ip)}`)
    } else {
      who = await authenticate(route, request, origin)
    }
    const context = {
      caller: who?.caller,
      cookie: who?.cookie ?? false,
      params: route.params === undefined ? undefined : read(route.params, request.params),
      query: readQuery(route.query, request.query),
      body: route.body === undefined ? undefined : read(route.body, request.body),
      idempotencyKey: idempotencyKey(request.headers['idempotency-key']),
      origin,
      charge: (calls: number): void => {
        if (who !== undefined) rates.caller.take(who.caller.id, calls)
      },
      request,
      reply,
    }
    const { caller } = context
    if (route.who === 'client') {
      try {
        return await route.handle(context)
      } catch (error) {
        // whoever fails often from one address waits; whoever authenticates there is not touched
        if (isRefusal(error)) rates.anonymous.take(addressKey(request.ip))
        throw error
      }
    }
    if (route.heavy !== true || caller === undefined) return route.handle(context)
    return turns.take(caller.id, () => route.handle(context))
  }

  /** The sign-in server for programs reads and answers by itself. */
  function answerPrograms(
    programs: Programs,
    request: FastifyRequest,
    reply: FastifyReply,
    done: () => void,
  ): void {
    rates.anonymous.take(addressKey(request.ip))
    for (const [name, value] of Object.entries(PROGRAM_HEADERS)) reply.raw.setHeader(name, value)
    if (programs.handle(request.raw, reply.raw, publicOrigin ?? requestOrigin(request))) reply.hijack()
    else done()
  }

  server.removeAllContentTypeParsers()
  server.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    try {
      // a content type without content is the same as neither, and nobody reads what was sent to no route
      if (body.length === 0 || request.is404) {
        done(null, undefined)
        return
      }
      const type = /^application\/json *(?:; *charset="?utf-8"? *)?$/i
      if (request.routeOptions.config.writ?.consumes === 'raw') {
        requireBody(request, 'raw', type)
        done(null, body)
        return
      }
      requireBody(request, 'json', type)
      done(null, parseJson(body as Buffer, config.limits.depth))
    } catch (error) {
      done(error as Error)
    }
  })
  server.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'buffer' },
    (request, body, done) => {
      try {
        const type = /^application\/x-www-form-urlencoded *(?:; *charset="?utf-8"? *)?$/i
        if (request.routeOptions.config.writ?.consumes === 'fields') {
          requireBody(request, 'fields', type)
          done(null, parseFields(body as Buffer))
          return
        }
        requireBody(request, 'form', type)
        done(null, parseForm(body as Buffer))
      } catch (error) {
        done(error as Error)
      }
    },
  )

  server.addContentTypeParser('application/secevent+jwt', { parseAs: 'string' }, (request, body, done) => {
    try {
      requireBody(request, 'set', /^application\/secevent\+jwt *$/i)
      done(null, body)
    } catch (error) {
      done(error as Error)
    }
  })

  server.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', echoed(request))
    const twice = repeated(request.raw.rawHeaders)
    if (twice !== undefined) {
      done(new WritError('ERR_INPUT_INVALID', `the header \`${twice}\` is there twice`))
      return
    }
    if (isOurHost(hostnameOf(request.host))) {
      try {
        if (programs === undefined || !isOfPrograms(request)) done()
        else answerPrograms(programs, request, reply, done)
      } catch (error) {
        done(error as Error)
      }
      return
    }
    done(
      new WritError('ERR_FORBIDDEN', 'this server does not answer under that host name', {
        hint: 'use the address it printed, or set `public_url`',
      }),
    )
  })
  server.setErrorHandler(async (error, request, reply) => {
    await noteUnread(error, request)
    fail(error, request, reply)
    return reply
  })
  const paths = routes.map(({ method, path }) => ({
    method,
    pattern: new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/:\w+/g, '[^/]+').replace(/\*$/, '.+')}$`),
  }))
  server.setNotFoundHandler((request, reply) => {
    const [path = ''] = request.url.split('?')
    const methods = [
      ...new Set(paths.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method)),
    ]
    if (methods.length === 0) {
      throw new WritError('ERR_NOT_FOUND', 'there is nothing at this path', { hint: 'see `/openapi.json`' })
    }
    secureHeaders(reply, false, request.protocol === 'https')
    const { body } = renderProblem(
      new WritError('ERR_INPUT_INVALID', `this path answers ${methods.join(', ')} only`),
      request.id,
      false,
    )
    return reply
      .code(405)
      .header('allow', methods.join(', '))
      .type('application/problem+json')
      .send(JSON.stringify({ ...body, status: 405 }))
  })

  for (const route of routes) {
    server.route({
      method: route.method,
      url: route.path,
      config: { writ: route },
      ...(route.large === true ? { bodyLimit: config.limits.body } : {}),
      handler: async (request, reply) => {
        const answer = await answerTo(route, request, reply)
        if (answer === TAKEN) return reply
        send(route, answer, request, reply)
        return reply
      },
    })
  }

  // a browser opens connections ahead of any request, which Node does not count as idle: stopping must not wait for them
  const silent = new Set<Socket>()
  const opened = config.tls === undefined ? 'connection' : 'secureConnection'
  server.server.on(opened, (socket: Socket) => {
    silent.add(socket)
    socket.once('close', () => silent.delete(socket))
  })
  server.server.on('request', (request: IncomingMessage) => silent.delete(request.socket))
  server.addHook('preClose', (done) => {
    for (const stream of streams) stream.end()
    for (const socket of silent) socket.destroy()
    setTimeout(() => server.server.closeAllConnections(), CLOSE_MOST).unref()
    done()
  })
  return server
}

function send(route: Route, answer: Answer, request: FastifyRequest, reply: FastifyReply): void {
  secureHeaders(reply, route.errors === 'page', request.protocol === 'https')
  reply.code(answer.status)
  if (answer.headers !== undefined) reply.headers(answer.headers)
  if (answer.body === undefined) {
    void reply.send()
    return
  }
  if (typeof answer.body === 'string' || Buffer.isBuffer(answer.body))
    void reply.type(answer.type ?? 'text/html; charset=utf-8').send(answer.body)
  else void reply.type(answer.type ?? 'application/json; charset=utf-8').send(JSON.stringify(answer.body))
}

const isOfPrograms = ({ url }: FastifyRequest): boolean =>
  url.startsWith(`${MOUNT}/`) || url.split('?')[0] === METADATA

const PROGRAM_HEADERS = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
} as const

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.name) : typeof error
}

/** The request id that an answer carries. */
function echoed({ id, url, headers }: FastifyRequest): string {
  const sent = headers['x-request-id']
  return url.startsWith('/access/') && typeof sent === 'string' && ECHOED.test(sent) ? sent : id
}

/** What is refused to who may be trying: nothing that was proved. */
const isRefusal = (error: unknown): boolean =>
  isWritError(error, 'ERR_UNAUTHENTICATED') ||
  (isWritError(error) &&
    ['invalid_request', 'invalid_grant', 'invalid_client', 'invalid_dpop_proof'].includes(
      error.problem ?? '',
    ))

/** The first header that is there more than once and must not be. */
function repeated(raw: readonly string[]): string | undefined {
  const seen = new Set<string>()
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] as string).toLowerCase()
    if (!ONCE.has(name)) continue
    if (seen.has(name)) return name
    seen.add(name)
  }
  return undefined
}

/** Whether a one-time code is tried: at `/` only if there is one in the query. */
function isGuess({ guessable, method }: Route, { query }: FastifyRequest): boolean {
  return guessable === true && (method !== 'GET' || (query as { code?: unknown }).code !== undefined)
}

/** Pages are at the paths that are no API's. */
function isPagePath({ url, headers }: FastifyRequest): boolean {
  return (headers.accept ?? '').includes('text/html') && !/^\/(?:access|v1|\.well-known)\//.test(url)
}

const bodyTypes = {
  json: 'application/json',
  form: 'application/x-www-form-urlencoded',
  fields: 'application/x-www-form-urlencoded',
  set: 'application/secevent+jwt',
  raw: 'application/json',
} as const

/** A body is read as what its route takes, and as nothing else (B78). */
function requireBody(request: FastifyRequest, kind: NonNullable<Route['consumes']>, type: RegExp): void {
  const { config } = request.routeOptions
  if (config.writ?.consumes === kind && type.test(request.headers['content-type'] ?? '')) return
  const expected = bodyTypes[config.writ?.consumes ?? 'json']
  throw new WritError('ERR_INPUT_INVALID', `the content type is not \`${expected}\``, {
    hint: `send \`Content-Type: ${expected}\``,
  })
}

function read<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new WritError('ERR_INPUT_INVALID', describeIssues(parsed.error), { hint: 'see `/openapi.json`' })
}

/** Routes without a query take none: a misspelt name is never ignored. */
function readQuery(schema: z.ZodType | undefined, query: unknown): unknown {
  if (schema !== undefined) return read(schema, { ...(query as object) })
  return undefined
}

function idempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined
  if (typeof header === 'string' && /^[\x21-\x7e]{1,256}$/.test(header)) return header
  throw new WritError('ERR_INPUT_INVALID', '`Idempotency-Key` must be 1 to 256 visible ASCII characters')
}
