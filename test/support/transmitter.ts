/**
 * A transmitter of signals over HTTP on this machine, that does what its standard says until a test has it do otherwise.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Instant } from '../../src/model/time.ts'
import { publicJwk, testKey } from './issuer.ts'
import type { JsonServer } from './json-server.ts'
import { jsonServer } from './json-server.ts'
import type { SetOptions } from './ssf.ts'
import { SET_AUDIENCE, SSF, mintSet } from './ssf.ts'

const POLL = 'urn:ietf:rfc:8936'

export type FakeTransmitter = AsyncDisposable & {
  /** Its issuer, too. */
  readonly url: string
  /** What it was asked: `POST /poll`. */
  readonly asked: string[]
  readonly headers: JsonServer['headers']
  /** The bodies of polls. */
  readonly polls: Readonly<{
    ack?: readonly string[]
    setErrs?: Readonly<Record<string, Readonly<{ err: string }>>>
  }>[]
  /** Put over what it says of itself. */
  metadata: Record<string, unknown>
  /** Put over what it says of the stream; `undefined` when there is none. */
  stream: Record<string, unknown> | undefined
  status: Readonly<{ status: string; reason?: string }>
  /** What waits to be polled. */
  waiting: Map<string, string>
  /** Verifications are answered. */
  answers: boolean
  /** Its JSON key set. */
  jwks: unknown
  /** Comes before all else; true when it has answered. */
  meddle: (request: IncomingMessage, response: ServerResponse, body: string) => boolean
  /** Has an event wait; its `jti`. */
  tells(event: string, payload?: Readonly<Record<string, unknown>>, options?: SetOptions): Promise<string>
}

export async function fakeTransmitter(now: () => Instant): Promise<FakeTransmitter> {
  const server = await jsonServer((request, response) => {
    void answer(request, response)
  })
  const { url } = server
  let nth = 0
  /** Polls that wait for something to say. */
  const held: (() => void)[] = []
  const it: FakeTransmitter = {
    url,
    asked: server.asked,
    headers: server.headers,
    polls: [],
    metadata: {},
    stream: {},
    status: { status: 'enabled' },
    waiting: new Map(),
    answers: true,
    jwks: { keys: [publicJwk(testKey('ES256')), publicJwk(testKey('RS256'))] },
    meddle: () => false,
    async tells(event, payload = {}, options = {}) {
      const jti = options.jti ?? `told-${(nth += 1)}`
      const set = { at: now(), jti, ...options, claims: { iss: url, ...options.claims } }
      it.waiting.set(jti, await mintSet(event, payload, set))
      for (const go of held.splice(0)) go()
      return jti
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }

  const streamNow = () => ({
    stream_id: 'stream-1',
    iss: url,
    aud: SET_AUDIENCE,
    delivery: { method: POLL, endpoint_url: `${url}/poll` },
    events_requested: ['https://schemas.openid.net/secevent/caep/event-type/session-revoked'],
    events_delivered: ['https://schemas.openid.net/secevent/caep/event-type/session-revoked'],
    ...it.stream,
  })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks).toString()
    if (it.meddle(request, response, body)) return
    const { pathname } = new URL(request.url ?? '/', url)
    const say = (status: number, what?: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(what === undefined ? '' : JSON.stringify(what))
    }
    const said = (body === '' ? {} : JSON.parse(body)) as Record<string, unknown>
    switch (`${request.method ?? ''} ${pathname}`) {
      case 'GET /.well-known/ssf-configuration':
        return say(200, {
          issuer: url,
          jwks_uri: `${url}/jwks`,
          configuration_endpoint: `${url}/stream`,
          status_endpoint: `${url}/status`,
          verification_endpoint: `${url}/verify`,
          ...it.metadata,
        })
      case 'GET /jwks':
        return say(200, it.jwks)
      case 'GET /stream':
        return it.stream === undefined ? say(404) : say(200, streamNow())
      case 'POST /stream':
        it.stream = {}
        return say(201, streamNow())
      case 'PATCH /stream':
        return say(200, streamNow())
      case 'GET /status':
        return say(200, { stream_id: 'stream-1', ...it.status })
      case 'POST /status':
        it.status = said as typeof it.status
        return say(200, { stream_id: 'stream-1', ...it.status })
      case 'POST /verify': {
        if (it.answers) {
          const subject = { format: 'opaque', id: 'stream-1' }
          await it.tells(`${SSF}verification`, { state: said['state'] }, { subject })
        }
        return say(204)
      }
      case 'POST /poll': {
        const { ack = [], setErrs = {} }: FakeTransmitter['polls'][number] = said
        it.polls.push(said)
        if (said['returnImmediately'] !== true && it.waiting.size === 0)
          await new Promise<void>((go) => held.push(go))
        for (const jti of [...ack, ...Object.keys(setErrs)]) it.waiting.delete(jti)
        return say(200, { sets: Object.fromEntries(it.waiting) })
      }
      default:
        return say(404)
    }
  }
  return it
}
