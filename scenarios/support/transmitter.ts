/**
 * A transmitter of security signals of a story: what manages devices, sees risk or runs sessions elsewhere. It is found by
 * its metadata, keeps the stream that a receiver makes there, and tells by SETs that it signs with RS256, pushed or polled
 * (SSF 1.0, CAEP 1.0, RFC 8935, RFC 8936).
 *
 * @module
 */
import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CryptoKey } from 'jose'
import { SignJWT, exportJWK, generateKeyPair } from 'jose'
import type { Part } from './story.ts'

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type/'
const SSF = 'https://schemas.openid.net/secevent/ssf/event-type/'
const PUSH = 'urn:ietf:rfc:8935'
const POLL = 'urn:ietf:rfc:8936'

/** What is told of whom. */
export type Signal = Readonly<{
  event: string
  /** Its own name of whom it speaks of. */
  about: string
  payload?: Readonly<Record<string, unknown>>
  /** When it happened, epoch milliseconds; by default now. */
  at?: number
  claims?: Readonly<Record<string, unknown>>
}>

/** How a receiver answered one SET: taken, or the code of its refusal. */
export type Answered = Readonly<{ taken: boolean; err?: string }>

export type Transmitter = Part &
  Readonly<{
    url: string
    /** Its entry under `signals.receivers`. */
    config: Readonly<Record<string, unknown>>
    /** Resolves when a receiver has made its stream and was told, in a signed event, that it works. */
    streaming: Promise<void>
    sign(signal: Signal): Promise<string>
    /** The same under the same name, signed with a key of somebody else. */
    forge(signal: Signal): Promise<string>
    /** Sends a SET, whoever signed it; resolves with the answer. `secret` is what it shows of itself, where it pushes. */
    send(set: string, secret?: string): Promise<Answered>
    /** Signs and sends. */
    tell(signal: Signal): Promise<Answered>
  }>

export type TransmitterOptions = Readonly<{
  name: string
  delivery: 'push' | 'poll'
  /** Whom its names stand for at the receiver, e.g. `{ 'dev-4711': 'Person/ada' }`. */
  subjects: Readonly<Record<string, string>>
}>

type Stream = { id: string; requested: readonly string[]; endpoint?: string; secret?: string }
type Waiting = Readonly<{ set: string; answered: PromiseWithResolvers<Answered> }>

export async function openTransmitter({
  name,
  delivery,
  subjects,
}: TransmitterOptions): Promise<Transmitter> {
  const folder = mkdtempSync(join(tmpdir(), 'writ-transmitter-'))
  const secretFile = (file: string): Readonly<{ path: string; text: string }> => {
    const text = randomBytes(24).toString('base64url')
    const path = join(folder, file)
    writeFileSync(path, `${text}\n`, { mode: 0o600 })
    return { path, text }
  }
  const [token, shown] = [secretFile('token'), secretFile('shown')]
  const [own, foreign] = await Promise.all([
    generateKeyPair('RS256', { extractable: true }),
    generateKeyPair('RS256'),
  ])
  const kid = randomUUID()
  const audience = `https://writ.example/ssf/${name}`
  const working = Promise.withResolvers<void>()
  let stream: Stream | undefined
  /** By `jti`, until the receiver says that it has them. */
  const waiting = new Map<string, Waiting>()
  const polls = new Set<() => void>()

  const set = (uri: string, subject: object, payload: object, key: CryptoKey, claims: object = {}) =>
    new SignJWT({
      iss: url,
      aud: audience,
      jti: randomUUID(),
      // not in whole seconds: what happens within one of them stays in order
      iat: Date.now() / 1_000,
      sub_id: subject,
      events: { [uri]: payload },
      ...claims,
    })
      .setProtectedHeader({ alg: 'RS256', typ: 'secevent+jwt', kid })
      .sign(key)
  const caep = (
    { event, about, payload, at = Date.now(), claims }: Signal,
    key: CryptoKey,
  ): Promise<string> =>
    set(
      `${CAEP}${event}`,
      { format: 'opaque', id: about },
      { event_timestamp: at / 1_000, ...payload },
      key,
      claims,
    )

  async function push(text: string, secret: string | undefined): Promise<Answered> {
    assert.ok(stream?.endpoint !== undefined, 'nobody has made a stream')
    const answer = await fetch(stream.endpoint, {
      method: 'POST',
      headers: {
        'content-type': 'application/secevent+jwt',
        accept: 'application/json',
        ...(secret === undefined ? {} : { authorization: secret }),
      },
      body: text,
    })
    if (answer.status === 202) return { taken: true }
    const { err } = (await answer.json()) as { err?: string }
    return { taken: false, err: err ?? String(answer.status) }
  }
  const send: Transmitter['send'] = async (text, secret = stream?.secret) => {
    if (delivery === 'push') return push(text, secret)
    const answered = Promise.withResolvers<Answered>()
    // what is sent again is another delivery
    waiting.set(`${jtiOf(text)} ${randomUUID()}`, { set: text, answered })
    for (const wake of polls) wake()
    return answered.promise
  }

  /** What a poll brings; held until there is something, unless it asks for what there is. */
  async function polled(asked: Asked, gone: Promise<unknown>): Promise<object> {
    for (const [jti, answer] of [
      ...(asked.ack ?? []).map((jti) => [jti, { taken: true }] as const),
      ...Object.entries(asked.setErrs ?? {}).map(([jti, { err }]) => [jti, { taken: false, err }] as const),
    ]) {
      const [key] = [...waiting.keys()].filter((one) => one.startsWith(`${jti} `))
      if (key === undefined) continue
      waiting.get(key)?.answered.resolve(answer)
      waiting.delete(key)
    }
    if (waiting.size === 0 && asked.returnImmediately !== true) {
      const woken = Promise.withResolvers<void>()
      polls.add(woken.resolve)
      await Promise.race([woken.promise, gone])
      polls.delete(woken.resolve)
    }
    const sets: Record<string, string> = {}
    for (const [key, one] of waiting) sets[key.split(' ', 1)[0] ?? ''] ??= one.set
    return { sets }
  }

  const describe = ({ id, requested, endpoint }: Stream): object => ({
    stream_id: id,
    iss: url,
    aud: audience,
    delivery: {
      method: delivery === 'push' ? PUSH : POLL,
      endpoint_url: delivery === 'push' ? endpoint : `${url}/poll`,
    },
    events_supported: requested,
    events_requested: requested,
    events_delivered: requested,
  })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = ''
    for await (const chunk of request) text += String(chunk)
    const body = (text === '' ? {} : JSON.parse(text)) as Asked
    const say = (status: number, document?: unknown): void =>
      void response
        .writeHead(status, { 'content-type': 'application/json' })
        .end(document === undefined ? '' : JSON.stringify(document))
    const { pathname } = new URL(request.url ?? '/', url)
    if (pathname === '/.well-known/ssf-configuration')
      return say(200, {
        spec_version: '1_0',
        issuer: url,
        jwks_uri: `${url}/jwks`,
        delivery_methods_supported: [PUSH, POLL],
        configuration_endpoint: `${url}/stream`,
        status_endpoint: `${url}/status`,
        verification_endpoint: `${url}/verify`,
        default_subjects: 'ALL',
      })
    if (pathname === '/jwks')
      return say(200, { keys: [{ ...(await exportJWK(own.publicKey)), kid, alg: 'RS256', use: 'sig' }] })
    if (request.headers.authorization !== `Bearer ${token.text}`) return say(401, {})
    if (pathname === '/stream' && request.method === 'POST') {
      stream = { id: randomUUID(), requested: body.events_requested ?? [], ...endpointOf(body) }
      return say(201, describe(stream))
    }
    if (stream === undefined) return say(404, {})
    if (pathname === '/stream' && request.method === 'PATCH') Object.assign(stream, endpointOf(body))
    if (pathname === '/stream') return say(200, describe(stream))
    if (pathname === '/status') return say(200, { stream_id: stream.id, status: 'enabled' })
    if (pathname === '/poll') return say(200, await polled(body, once(response, 'close')))
    if (pathname !== '/verify') return say(404, {})
    say(204)
    const about = { format: 'opaque', id: stream.id }
    const { taken } = await send(
      await set(`${SSF}verification`, about, { state: body.state }, own.privateKey),
    )
    if (taken) working.resolve()
  }
  const failed: unknown[] = []
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      failed.push(error)
      response.destroy()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  return {
    url,
    config: {
      name,
      issuer: url,
      audiences: [audience],
      delivery,
      token_file: token.path,
      ...(delivery === 'push' ? { authorization_file: shown.path } : {}),
      subjects: { map: subjects },
      unsafe_http: true,
      allow_private: true,
    },
    streaming: working.promise,
    sign: (signal) => caep(signal, own.privateKey),
    forge: (signal) => caep(signal, foreign.privateKey),
    send,
    tell: async (signal) => send(await caep(signal, own.privateKey)),
    log: () => failed.map(String),
    async [Symbol.asyncDispose]() {
      for (const wake of polls) wake()
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** What is asked of it, as far as it cares. */
type Asked = Readonly<{
  delivery?: Readonly<{ endpoint_url?: string; authorization_header?: string }>
  events_requested?: readonly string[]
  state?: string
  ack?: readonly string[]
  setErrs?: Readonly<Record<string, Readonly<{ err: string }>>>
  returnImmediately?: boolean
}>

function endpointOf({ delivery = {} }: Asked): Pick<Stream, 'endpoint' | 'secret'> {
  const { endpoint_url: endpoint, authorization_header: secret } = delivery
  return {
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(secret === undefined ? {} : { secret }),
  }
}

function jtiOf(set: string): string {
  const [, claims = ''] = set.split('.')
  return (JSON.parse(Buffer.from(claims, 'base64url').toString('utf8')) as { jti: string }).jti
}
