/**
 * P5: tokens over HTTP and in process. `oidc-provider`, its adapter in memory, does the same for the same client in the
 * same run, turn by turn: it verifies the assertion and signs an ES256 token, but decides nothing, records nothing, and
 * forgets everything when it stops. It has no token exchange: there it stands with its client credentials. The load
 * generator is `node:http` with keep-alive in this process.
 *
 * @module
 */
import * as jose from 'jose'
import { strict as assert } from 'node:assert'
import { fork } from 'node:child_process'
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto'
import { once as happens } from 'node:events'
import { existsSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { createDpop } from '../src/identity/dpop.ts'
import { createVerifier } from '../src/identity/issuers/verify.ts'
import type { Json } from '../src/model/canonical.ts'
import type { Properties } from '../src/model/entity.ts'
import type { TokenRequest } from '../src/model/token.ts'
import { systemClock } from '../src/store/clock.ts'
import type { Key } from '../test/support/oauth.ts'
import {
  clientConfig,
  idpToken,
  ISSUER_AUDIENCE,
  ISSUER_URL,
  issuerConfig,
  newKey,
  OAuthClient,
  tokenConfig,
} from '../test/support/oauth.ts'
import { openWorld, ref, starterPolicies } from '../test/support/world.ts'
import { DURABLE_ROW, durableRow } from './durable.ts'
import type { Row, Sample } from './measure.ts'
import { pair, rows } from './measure.ts'
import type { TokenServer } from './token-server.ts'
import { entities, POLICY } from './token-server.ts'

/** What is signed before each measurement, since the client's work is not ours; more is signed while it runs. */
const BEFOREHAND = 20_000
/** As long at most, in ms. */
const PREPARING = 2_000
const SECONDS = 1

/** A file system in memory, where there is one. */
const MEMORY = '/dev/shm'
const PEER = 'oidc-provider in memory'
const JWT = 'urn:ietf:params:oauth:token-type:jwt'
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'

export async function tokens(): Promise<readonly Row[]> {
  return [...(await overHttp()), ...(await inProcess())]
}

// over HTTP

async function overHttp(): Promise<Row[]> {
  const theirs = await serve('oidc-provider')
  const ours = await serve('writ')
  try {
    const result: Row[] = []
    for (const concurrency of [1, 32]) {
      const at = `c=${concurrency}`
      result.push(
        ...(await compared(`client credentials ${at}`, ours, theirs, concurrency, {
          ours: credentials(ours),
          theirs: credentials(theirs),
        })),
        ...(await compared(`exchange ${at}`, ours, theirs, concurrency, {
          ours: exchange(ours),
          theirs: credentials(theirs),
          peer: `${PEER}, client credentials`,
        })),
      )
    }
    const dpop = { ours: credentials(ours, true), theirs: credentials(theirs, true) }
    const peer = `${PEER}, opaque token`
    return [
      ...result,
      ...(await compared('client credentials with DPoP c=32', ours, theirs, 32, dpop)),
      ...(await notDurable(theirs)),
      ...(await compared('introspection c=32', ours, theirs, 32, {
        ours: await introspection(ours),
        theirs: await introspection(theirs),
        peer,
      })),
      ...(await compared('introspection by API key c=32', ours, theirs, 32, {
        ours: await introspection(ours, true),
        theirs: await introspection(theirs),
        peer: `${peer}, by assertion`,
      })),
      {
        bench: 'tokens',
        metric: 'server rss',
        value: (await ours.used()).rss / 2 ** 20,
        unit: 'MiB',
        peer: PEER,
        ratio: (await theirs.used()).rss / (await ours.used()).rss,
      },
    ]
  } finally {
    await theirs.stop()
    await ours.stop()
  }
}

/** The same with the data where it costs nothing to keep and nothing is kept: what remains is not what durability costs. */
async function notDurable(theirs: Served): Promise<Row[]> {
  if (!existsSync(MEMORY)) return []
  const ours = await serve('writ', MEMORY)
  try {
    const what = 'client credentials, nothing durable c=32'
    return await compared(what, ours, theirs, 32, { ours: credentials(ours), theirs: credentials(theirs) })
  } finally {
    await ours.stop()
  }
}

type Served = Readonly<{
  what: 'writ' | 'oidc-provider'
  url: string
  resource: string
  key: string
  idp: Key
  client: OAuthClient
  agent: Agent
  used(): Promise<Readonly<{ cpu: number; rss: number }>>
  stop(): Promise<void>
}>

async function serve(what: Served['what'], folder?: string): Promise<Served> {
  // what the peer warns about is not ours
  const child = fork(new URL('./token-server.ts', import.meta.url), [what], {
    ...(folder === undefined ? {} : { env: { ...process.env, TMPDIR: folder } }),
    stdio: ['ignore', 'ignore', what === 'writ' ? 'inherit' : 'ignore', 'ipc'],
  })
  const [{ url, resource, key, client, idp }] = (await happens(child, 'message')) as [TokenServer]
  // closed before the server would close it: what is prepared takes longer than it waits
  const agent = new Agent({ keepAlive: true, maxSockets: 64, timeout: 3_000 })
  return {
    what,
    url,
    resource,
    key,
    idp: keyOf('idp', idp),
    client: new OAuthClient('web', url, Date.now, keyOf('web', client)),
    agent,
    async used() {
      const told = happens(child, 'message')
      child.send('used')
      return ((await told) as [{ cpu: number; rss: number }])[0]
    },
    async stop() {
      agent.destroy()
      const gone = happens(child, 'exit')
      child.send('stop')
      await gone
    },
  }
}

function keyOf(kid: string, jwk: Properties): Key {
  const privateKey = createPrivateKey({ key: jwk, format: 'jwk' })
  return { kid, privateKey, jwk: createPublicKey(privateKey).export({ format: 'jwk' }) as Properties }
}

/** What is sent, ready made, and what the answer must be. */
type Load = Readonly<{
  path: string
  prepare(): Readonly<{ form: Readonly<Record<string, string>>; headers?: Readonly<Record<string, string>> }>
  check(body: Readonly<Record<string, Json>>): void
  /** Before anything is prepared. */
  begin?(): Promise<void>
}>

const TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/** Good long enough for all that is measured. */
const authentication = ({ client }: Served) => ({
  client_assertion_type: TYPE,
  client_assertion: client.assertion({ exp: client.seconds + 500 }),
})

const tokenPath = ({ what }: Served): string => (what === 'writ' ? '/oauth/token' : '/token')

function isToken(body: Readonly<Record<string, Json>>): void {
  const token = body['access_token']
  // a signed one, not a handle
  assert.ok(typeof token === 'string' && token.split('.').length === 3, JSON.stringify(body))
}

function credentials(at: Served, withKey = false): Load {
  const form = { grant_type: 'client_credentials', scope: 'ledger:read', resource: at.resource }
  return {
    path: tokenPath(at),
    prepare: () => ({
      form: { ...form, ...authentication(at) },
      ...(withKey ? { headers: { dpop: at.client.proof({}, {}, tokenPath(at)) } } : {}),
    }),
    check: isToken,
    async begin() {
      if (!withKey) return
      // whoever has no nonce yet is told one
      const sent = {
        form: { ...form, ...authentication(at) },
        headers: { dpop: at.client.proof({}, {}, tokenPath(at)) },
      }
      const { headers } = await post(at, tokenPath(at), encode(sent.form), sent.headers)
      at.client.nonce = headers['dpop-nonce'] as string
    },
  }
}

/** Each time two tokens that were never seen before. */
const exchange = (at: Served): Load => ({
  path: tokenPath(at),
  prepare: () => ({
    form: {
      grant_type: EXCHANGE,
      scope: 'ledger:read',
      resource: at.resource,
      subject_token: idpToken(at.idp, 'web', Date.now()),
      subject_token_type: JWT,
      actor_token: idpToken(at.idp, 'api', Date.now()),
      actor_token_type: JWT,
    },
  }),
  check: isToken,
})

async function introspection(at: Served, byKey = false): Promise<Load> {
  const isOurs = at.what === 'writ'
  const form = {
    grant_type: 'client_credentials',
    scope: 'ledger:read',
    // those that the peer signs it cannot look up
    ...(isOurs ? { resource: at.resource } : {}),
  }
  const issued = await post(at, tokenPath(at), encode({ ...form, ...authentication(at) }))
  const token = issued.body['access_token'] as string
  return {
    path: isOurs ? '/oauth/introspect' : '/token/introspection',
    prepare: () =>
      byKey
        ? { form: { token }, headers: { authorization: `Bearer ${at.key}` } }
        : { form: { token, ...authentication(at) } },
    check: (body) => assert.equal(body['active'], true),
  }
}

const encode = (form: Readonly<Record<string, string>>): Buffer =>
  Buffer.from(new URLSearchParams(form).toString())

/** The two by turns, with what each request cost their processors: that tells more than the clock of a busy machine. */
async function compared(
  what: string,
  ours: Served,
  theirs: Served,
  concurrency: number,
  { ours: mine, theirs: other, peer = PEER }: Readonly<{ ours: Load; theirs: Load; peer?: string }>,
): Promise<Row[]> {
  let [done, asked] = [0, 0]
  const driven = async (at: Served, load: Load, count: () => void): Promise<() => Promise<void>> => {
    await load.begin?.()
    const ready = (): readonly [Buffer, Readonly<Record<string, string>> | undefined] => {
      const { form, headers } = load.prepare()
      return [encode(form), headers]
    }
    const next = beforehand(ready)
    return async () => {
      const [form, headers] = next()
      const { status, body } = await post(at, load.path, form, headers)
      assert.equal(status, 200, JSON.stringify(body))
      load.check(body)
      count()
    }
  }
  const [a, b] = [
    await driven(ours, mine, () => (done += 1)),
    await driven(theirs, other, () => (asked += 1)),
  ]
  const before = [(await ours.used()).cpu, (await theirs.used()).cpu] as const
  const samples = await pair(a, b, { seconds: SECONDS, concurrency })
  const spent = ((await ours.used()).cpu - before[0]) / done
  const theirsSpent = ((await theirs.used()).cpu - before[1]) / asked
  return [
    ...rows('tokens', what, samples.ours, { name: peer, sample: samples.theirs }),
    { bench: 'tokens', metric: `${what} CPU`, value: spent, unit: 'µs', peer, ratio: theirsSpent / spent },
  ]
}

async function post(
  at: Served,
  path: string,
  form: Buffer,
  more: Readonly<Record<string, string>> = {},
): Promise<Readonly<{ status: number; body: Readonly<Record<string, Json>>; headers: Headers }>> {
  const { status, text, headers } = await sending(at, path, form, more)
  return { status, headers, body: JSON.parse(text) as Readonly<Record<string, Json>> }
}

type Headers = Readonly<Record<string, unknown>>

function sending(
  { url, agent }: Served,
  path: string,
  form: Buffer,
  more: Readonly<Record<string, string>>,
): Promise<Readonly<{ status: number; text: string; headers: Headers }>> {
  const headers = {
    'content-type': 'application/x-www-form-urlencoded',
    'content-length': form.length,
    ...more,
  }
  return new Promise((resolve, reject) => {
    const sent = request(`${url}${path}`, { method: 'POST', agent, headers }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          text: Buffer.concat(chunks).toString(),
          headers: response.headers,
        })
      })
    })
    sent.on('error', reject)
    sent.end(form)
  })
}

// in process

async function inProcess(): Promise<Row[]> {
  const idp = newKey('idp')
  const client = { id: 'web', key: newKey('web') }
  await using world = await openWorld({
    http: false,
    policies: [...starterPolicies(), { name: 'api.cedar', text: POLICY }],
    entities,
    config: {
      issuers: [issuerConfig(idp)],
      tokens: tokenConfig([clientConfig(client, 'Service/web', ['Api/ledger'])]),
    },
  })
  const { flows } = world.app
  const asking = new OAuthClient('web', flows.tokens.issuer, Date.now, client.key)
  const arrival = { url: `${flows.tokens.issuer}/oauth/token` }
  const wanted = {
    requested: 'access_token',
    audience: { ref: ref('Api/ledger') },
    scope: ['ledger:read'],
    details: [],
  } as const
  const issue = async (request: TokenRequest): Promise<string> => {
    const issued = await flows.tokens.token(request, arrival)
    assert.ok('token' in issued && issued.text.length > 0)
    return issued.text
  }
  const fresh = (sub: string): string => idpToken(idp, sub, Date.now())
  const exchanged = (subjectToken: string, actorToken: string): TokenRequest => ({
    ...wanted,
    grant: 'exchange',
    client: {},
    subjectToken,
    actorToken,
  })
  const same = exchanged(fresh('web'), fresh('api'))
  const assertion = beforehand(() => asking.assertion({ exp: asking.seconds + 500 }))
  const [subject, actor] = [beforehand(() => fresh('web')), beforehand(() => fresh('api'))]

  using row = durableRow()
  const durable = { name: DURABLE_ROW, once: async (): Promise<void> => row.write() }
  const result: Row[] = []
  const measured = async (
    what: string,
    once: () => Promise<unknown>,
    peer: Readonly<{ name: string; once: () => Promise<unknown> }>,
    concurrency: number,
  ): Promise<void> => {
    const samples: Readonly<{ ours: Sample; theirs: Sample }> = await pair(
      async () => void (await once()),
      async () => void (await peer.once()),
      { seconds: SECONDS, concurrency },
    )
    result.push(...rows('tokens', what, samples.ours, { name: peer.name, sample: samples.theirs }))
  }
  const inside = 'in process, 32 in flight'
  await measured(`exchange ${inside}`, () => issue(exchanged(subject(), actor())), durable, 32)
  await measured(`exchange of the same ${inside}`, () => issue(same), durable, 32)
  const credentialsRequest = (): TokenRequest => ({
    ...wanted,
    grant: 'client',
    client: { assertion: assertion() },
  })
  await measured(`client credentials ${inside}`, () => issue(credentialsRequest()), durable, 32)
  const text = await issue(credentialsRequest())
  const server = { ...world.migrator, subject: ref('Api/ledger'), generation: 0 }
  await measured(
    `introspection ${inside}`,
    async () => assert.ok(await flows.tokens.introspect(server, text, arrival)),
    durable,
    32,
  )

  // what arrives is verified, and by whom it is shown
  const verifier = createVerifier({
    issuers: [issuerConfig(idp)],
    fetch: () => Promise.reject(new Error('nothing is fetched')),
    readText: () => Promise.reject(new Error('nothing is read')),
    clock: systemClock,
  })
  const publicKey = createPublicKey(idp.privateKey)
  const [seen, unseen] = [beforehand(() => fresh('web')), beforehand(() => fresh('web'))]
  const jwtVerify = { issuer: ISSUER_URL, audience: ISSUER_AUDIENCE, algorithms: ['ES256'], typ: 'JWT' }
  await measured(
    'token of an issuer verified',
    async () => assert.ok((await verifier.verify(unseen(), Date.now())).proved),
    { name: 'jose jwtVerify', once: () => jose.jwtVerify(seen(), publicKey, jwtVerify) },
    1,
  )
  const [known] = [fresh('web')]
  await measured(
    'the same token verified again',
    async () => assert.ok((await verifier.verify(known, Date.now())).proved),
    { name: 'jose jwtVerify', once: () => jose.jwtVerify(known, publicKey, jwtVerify) },
    1,
  )
  const dpop = createDpop(randomBytes(32))
  asking.nonce = dpop.nonce(Date.now())
  const [shown, showing] = [beforehand(() => asking.proof()), beforehand(() => asking.proof())]
  await measured(
    'DPoP proof verified',
    () => dpop.verify(shown(), { method: 'POST', url: arrival.url, now: Date.now(), nonce: 'required' }),
    {
      name: 'jose jwtVerify and thumbprint',
      once: async () => {
        const { protectedHeader } = await jose.jwtVerify(showing(), jose.EmbeddedJWK, {
          typ: 'dpop+jwt',
          algorithms: ['ES256'],
        })
        return jose.calculateJwkThumbprint(protectedHeader.jwk as jose.JWK)
      },
    },
    1,
  )
  return result
}

/** Made before it is asked for, as many as there is time for; anew once they are used up. */
function beforehand<T>(make: () => T): () => T {
  const ready: T[] = []
  for (const until = performance.now() + PREPARING; ready.length < BEFOREHAND && performance.now() < until;)
    ready.push(make())
  return () => ready.pop() ?? make()
}
