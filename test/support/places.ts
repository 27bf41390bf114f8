/**
 * Every place of a server that takes a token for a proof: how a good one is made for it, how it is presented, and what a
 * refusal there looks like.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { KeyObject } from 'node:crypto'
import { createDecipheriv, createPrivateKey, createPublicKey, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { LOGIN } from '../../src/config/index.ts'
import { makeIssuer } from '../../src/model/issuer.ts'
import type { ClientConfig } from '../../src/model/token.ts'
import { isPruned } from '../../src/store/port.ts'
import { faultWorld, ref, withPolicy } from '../faults/support.ts'
import type { FaultWorld } from '../faults/support.ts'
import type { Good } from './confusion.ts'
import type { Claims, SigningKey } from './issuer.ts'
import { mintRaw, publicJwk, testKey } from './issuer.ts'
import { ISSUER_AUDIENCE, ISSUER_URL, athOf, tokenConfig } from './oauth.ts'
import type { RogueIdp } from './rogue-idp.ts'
import { rogueIdp, rogueProvider } from './rogue-idp.ts'

const POLICY = withPolicy(
  '@id("ledger-read") permit (principal in Group::"readers", action == Action::"ledger:read", resource is Api);',
)
const JWT = 'urn:ietf:params:oauth:token-type:jwt'
const BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const GRANT = 'urn:ietf:params:oauth:grant-type:'
const LEDGER = { audience: 'Api/ledger', scope: 'ledger:read' }
/** What signs at issuers and clients. */
const ALGORITHMS = ['ES256', 'RS256', 'EdDSA']
const API = '/access/v1/evaluation'

export type Seen = Readonly<{ status: number; body: Readonly<Record<string, unknown>>; headers: Headers }>

export type Place = Readonly<{
  name: string
  /** What a good token may be signed with here. */
  algorithms: readonly string[]
  /** A good one, made now. */
  good(alg: string): Promise<Good>
  present(token: string): Promise<Seen>
  /** Whether what came of it is what comes of a good one. */
  accepted(seen: Seen): boolean
  refused: Readonly<{ status: number; error?: string }>
  /** The entry that its refusal leaves; none where it is no refusal, or where it is taken for a key or a session. */
  entry(token: string): 'token.refused' | 'session.refused' | undefined
  /** Types that are right, and what is exact beside the type, by claim. */
  types: readonly (string | undefined)[]
  exact: readonly [claim: string, claim: string]
  /** Whether it can be sent at all. */
  carries(token: string): boolean
}>

const anything = (): boolean => true
/** A header holds neither line breaks nor much, and loses spaces at its ends. */
const inHeader = (token: string): boolean => /^[\x21-\x7e]{1,14000}$/u.test(token)

export type Places = AsyncDisposable &
  Readonly<{
    world: FaultWorld
    places: readonly Place[]
    /** The entries since the last call. */
    news(): Promise<readonly Readonly<Record<string, unknown>>[]>
    /** How many tokens and sessions there are. */
    issued(): Promise<number>
  }>

/** A server with one of each. */
export async function openPlaces(): Promise<Places> {
  const rogue = await rogueIdp(testKey('ES256', 4))
  const client: ClientConfig = {
    id: 'web',
    subject: ref('Service/web'),
    keys: ALGORITHMS.map((alg) => publicJwk(clientKey(alg))),
    serves: [ref('Api/ledger')],
  }
  const world = await faultWorld({
    http: true,
    policies: POLICY,
    entities: [
      { type: 'Api', id: 'ledger', kind: 'resource', sensitivity: 1 },
      { type: 'Service', id: 'web', kind: 'workload', parents: [ref('Group/readers')] },
      { type: 'Service', id: 'job', kind: 'workload', parents: [ref('Group/readers')] },
      { type: 'Service', id: 'tool', kind: 'workload', parents: [ref('Group/readers')] },
    ],
    config: {
      issuers: [
        makeIssuer({
          name: 'idp',
          issuer: ISSUER_URL,
          audiences: [ISSUER_AUDIENCE],
          algorithms: ALGORITHMS,
          types: ['JWT', null],
          keys: { from: 'jwks', keys: ALGORITHMS.map((alg) => publicJwk(testKey(alg))) },
          rules: [{ subject: { type: 'Service', claims: ['sub'] } }],
        }),
      ],
      tokens: tokenConfig([client]),
      login: { ...LOGIN, providers: [rogueProvider(rogue.issuer)] },
    },
  })
  let seen = (await world.app.store.log.head()).size
  return {
    world,
    places: placesOf(world, rogue),
    async news() {
      const { size } = await world.app.store.log.head()
      const found = await world.app.store.log.entries(seen, size)
      seen = size
      return found.flatMap((entry) =>
        isPruned(entry) ? [] : [JSON.parse(Buffer.from(entry.bytes).toString()) as Record<string, unknown>],
      )
    },
    async issued() {
      const lists = await Promise.all(
        (['token', 'session'] as const).map((kind) => world.app.store.list(kind, { limit: 1_000 })),
      )
      return lists.reduce((sum, { items }) => sum + items.length, 0)
    },
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]()
      await rogue[Symbol.asyncDispose]()
    },
  }
}

const clientKey = (alg: string): SigningKey => ({ ...testKey(alg, 2), kid: `web-${alg}` })
const holder = testKey('ES256', 3)

function placesOf(world: FaultWorld, rogue: RogueIdp): readonly Place[] {
  const { url } = world.app
  const seconds = (): number => Math.floor(world.clock.wall() / 1_000)

  const read = async (response: Response): Promise<Seen> => {
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.includes('json') === true
    return {
      status: response.status,
      headers: response.headers,
      body: isJson && text !== '' ? (JSON.parse(text) as Record<string, unknown>) : { text },
    }
  }
  const post = async (
    path: string,
    form: Readonly<Record<string, string>>,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Seen> =>
    read(
      await fetch(url + path, {
        method: 'POST',
        headers,
        body: new URLSearchParams(form),
        redirect: 'manual',
      }),
    )
  const ask = async (headers: Readonly<Record<string, string>>): Promise<Seen> =>
    read(
      await fetch(url + API, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json', ...headers },
        body: JSON.stringify({
          subject: { type: 'Service', id: 'job' },
          action: { name: 'ledger:read' },
          resource: { type: 'Api', id: 'ledger' },
        }),
      }),
    )

  const fromIssuer = (alg: string, sub: string): Good => {
    const key = testKey(alg)
    const at = seconds()
    const claims = { iss: ISSUER_URL, aud: ISSUER_AUDIENCE, sub, iat: at, exp: at + 300, jti: randomUUID() }
    return { key, header: { alg, kid: key.kid, typ: 'JWT' }, claims }
  }
  const ofClient = (alg: string): Good => {
    const key = clientKey(alg)
    const at = seconds()
    const claims = { iss: 'web', sub: 'web', aud: url, iat: at, exp: at + 60, jti: randomUUID() }
    return { key, header: { alg, kid: key.kid, typ: 'JWT' }, claims }
  }
  const proofOf = (more: Claims): Good => {
    const jwk = holder.publicKey.export({ format: 'jwk' })
    const claims = { htm: 'POST', htu: `${url}/oauth/token`, iat: seconds(), jti: randomUUID(), ...more }
    return { key: holder, header: { alg: 'ES256', typ: 'dpop+jwt', jwk }, claims, embedded: true }
  }
  const minted = ({ key, header, claims }: Good): string => mintRaw(header, claims, key.privateKey)
  const authenticated = (): Record<string, string> => ({
    client_assertion_type: BEARER,
    client_assertion: minted(ofClient('ES256')),
  })
  const nonce = (): string => world.app.flows.tokens.dpop.nonce(world.clock.wall())

  /** A token of ours, and its key: what somebody would have who has the key file. */
  async function ours(form: Readonly<Record<string, string>>, dpop?: string): Promise<Good> {
    const answer = await post(
      '/oauth/token',
      { grant_type: 'client_credentials', ...authenticated(), ...form },
      dpop === undefined ? {} : { dpop },
    )
    assert.equal(answer.status, 200, JSON.stringify(answer.body))
    const [head = '', body = ''] = String(answer.body['access_token']).split('.')
    const part = (text: string) => JSON.parse(Buffer.from(text, 'base64url').toString()) as Claims
    const privateKey = await tokenKey(world)
    const header = part(head)
    const key = {
      kid: String(header['kid']),
      alg: 'ES256',
      privateKey,
      publicKey: createPublicKey(privateKey),
    }
    return { key, header, claims: part(body) }
  }

  const token = (form: Readonly<Record<string, string>>, headers?: Readonly<Record<string, string>>) =>
    post('/oauth/token', form, headers)
  const exchange = (form: Readonly<Record<string, string>>) =>
    token({
      grant_type: `${GRANT}token-exchange`,
      subject_token_type: JWT,
      ...(form['actor_token'] === undefined ? {} : { actor_token_type: JWT }),
      ...LEDGER,
      ...form,
    })

  const isIssued = ({ status, body }: Seen): boolean =>
    status === 200 && typeof body['access_token'] === 'string'
  const isOk = ({ status }: Seen): boolean => status === 200
  const issuer = { algorithms: ALGORITHMS, types: ['JWT', undefined], exact: ['aud', 'iss'] } as const
  const own = { algorithms: ['ES256'], types: ['at+jwt'], exact: ['aud', 'iss'] } as const
  const client = {
    algorithms: ALGORITHMS,
    types: ['JWT', 'client-authentication+jwt', undefined],
    exact: ['aud', 'iss'],
  } as const
  const onRecord = () => 'token.refused' as const
  const form = { accepted: isIssued, entry: onRecord, carries: anything } as const
  const api = {
    accepted: isOk,
    refused: { status: 401 },
    entry: (text: string) => (text.includes('.') ? ('token.refused' as const) : undefined),
    carries: inHeader,
  } as const

  // a proof at the API is for the token that comes with it
  let bound = ''
  const jar = { cookie: '' }

  return [
    {
      ...issuer,
      ...api,
      name: 'bearer token of an issuer',
      good: async (alg) => fromIssuer(alg, 'job'),
      present: (text) => ask({ authorization: `Bearer ${text}` }),
    },
    {
      ...own,
      ...api,
      name: 'bearer token of ours',
      good: () => ours({ resource: url }),
      present: (text) => ask({ authorization: `Bearer ${text}` }),
    },
    {
      ...own,
      ...api,
      name: 'bearer token at introspection',
      good: () => ours({ resource: url }),
      present: (text) => post('/oauth/introspect', { token: 'x' }, { authorization: `Bearer ${text}` }),
    },
    {
      ...issuer,
      ...form,
      name: 'subject_token of an issuer',
      refused: { status: 400, error: 'invalid_request' },
      good: async (alg) => fromIssuer(alg, 'job'),
      present: (text) => exchange({ subject_token: text }),
    },
    {
      ...own,
      ...form,
      name: 'subject_token of ours',
      refused: { status: 400, error: 'invalid_request' },
      good: () => ours(LEDGER),
      present: (text) => exchange({ subject_token: text, ...authenticated() }),
    },
    {
      ...issuer,
      ...form,
      name: 'actor_token',
      refused: { status: 400, error: 'invalid_request' },
      good: async (alg) => fromIssuer(alg, 'tool'),
      present: (text) => exchange({ subject_token: minted(fromIssuer('ES256', 'job')), actor_token: text }),
    },
    {
      ...issuer,
      ...form,
      name: 'assertion as a grant',
      refused: { status: 400, error: 'invalid_grant' },
      good: async (alg) => fromIssuer(alg, 'job'),
      present: (text) => token({ grant_type: `${GRANT}jwt-bearer`, assertion: text, ...LEDGER }),
    },
    {
      ...client,
      ...form,
      name: 'client_assertion by a client',
      refused: { status: 401, error: 'invalid_client' },
      good: async (alg) => ofClient(alg),
      present: (text) =>
        token({
          grant_type: 'client_credentials',
          client_assertion_type: BEARER,
          client_assertion: text,
          ...LEDGER,
        }),
    },
    {
      ...issuer,
      ...form,
      name: 'client_assertion by an issuer',
      refused: { status: 401, error: 'invalid_client' },
      good: async (alg) => fromIssuer(alg, 'job'),
      present: (text) =>
        token({
          grant_type: 'client_credentials',
          client_assertion_type: BEARER,
          client_assertion: text,
          ...LEDGER,
        }),
    },
    {
      ...client,
      ...form,
      name: 'client_assertion at introspection',
      accepted: isOk,
      refused: { status: 401, error: 'invalid_client' },
      good: async (alg) => ofClient(alg),
      present: (text) =>
        post('/oauth/introspect', { token: 'x', client_assertion_type: BEARER, client_assertion: text }),
    },
    {
      ...own,
      name: 'token that is looked at',
      accepted: ({ status, body }) => status === 200 && body['active'] === true,
      // RFC 7662 §2.2: not a refusal
      refused: { status: 200 },
      entry: () => undefined,
      carries: anything,
      good: () => ours(LEDGER),
      present: (text) => post('/oauth/introspect', { token: text, ...authenticated() }),
    },
    {
      name: 'DPoP proof for a token',
      algorithms: ['ES256'],
      types: ['dpop+jwt'],
      exact: ['htu', 'htm'],
      accepted: isIssued,
      refused: { status: 400, error: 'invalid_dpop_proof' },
      entry: onRecord,
      carries: inHeader,
      good: async () => proofOf({ nonce: nonce() }),
      present: (text) =>
        token({ grant_type: 'client_credentials', ...authenticated(), ...LEDGER }, { dpop: text }),
    },
    {
      ...api,
      entry: onRecord,
      name: 'DPoP proof with a token',
      algorithms: ['ES256'],
      types: ['dpop+jwt'],
      exact: ['htu', 'ath'],
      good: async () => {
        bound = minted(await ours({ resource: url }, minted(proofOf({ nonce: nonce() }))))
        return proofOf({ htu: url + API, ath: athOf(bound) })
      },
      present: (text) => ask({ authorization: `DPoP ${bound}`, dpop: text }),
    },
    {
      name: 'ID token of a sign-in',
      algorithms: ['ES256'],
      types: ['JWT', undefined],
      exact: ['aud', 'iss'],
      accepted: ({ status, body }) => status === 403 && /u-1/u.test(String(body['text'])),
      refused: { status: 401 },
      entry: () => 'session.refused' as const,
      carries: anything,
      good: async () => {
        const begun = await fetch(`${url}/signin/provider`, {
          method: 'POST',
          headers: { 'sec-fetch-site': 'same-origin' },
          body: new URLSearchParams({ provider: 'corp' }),
          redirect: 'manual',
        })
        const to = /content="0;url=([^"]+)"/u.exec(await begun.text())?.[1] ?? ''
        const asked = new URL(to.replaceAll('&amp;', '&')).searchParams
        const cookie = begun.headers.getSetCookie()[0]?.split(';')[0] ?? ''
        jar.cookie = `${cookie}\n${asked.get('state') ?? ''}`
        rogue.how.begun = { nonce: asked.get('nonce') ?? '' }
        const key = testKey('ES256', 4)
        // the library that signs people in has a clock of its own
        const at = Math.floor(Date.now() / 1_000)
        const claims = { iss: rogue.issuer, aud: 'writ', sub: 'u-1', iat: at, exp: at + 300 }
        return {
          key,
          header: { alg: 'ES256', kid: key.kid, typ: 'JWT' },
          claims: { ...claims, nonce: rogue.how.begun.nonce },
        }
      },
      present: async (text) => {
        const [cookie = '', state = ''] = jar.cookie.split('\n')
        rogue.how.token = () => ({ access_token: 'a', token_type: 'Bearer', id_token: text })
        return read(
          await fetch(`${url}/login/callback/corp?code=c&state=${state}`, {
            headers: { cookie },
            redirect: 'manual',
          }),
        )
      },
    },
  ]
}

/** The private half of the key that signs access tokens, opened with the key file. */
async function tokenKey({ app, config }: FaultWorld): Promise<KeyObject> {
  const { items } = await app.store.list('signer', { index: 'signer.use', value: 'token' })
  const signer = items.find(({ value }) => value.retiredAt === undefined)?.value
  assert.ok(signer !== undefined)
  const bytes = Buffer.from(signer.sealed, 'base64')
  const file = Buffer.from(readFileSync(config.keyFile, 'utf8').trim(), 'base64')
  const opened = createDecipheriv('aes-256-gcm', file, bytes.subarray(0, 12))
    .setAAD(Buffer.from(`writ/1\n${app.decision.installation}\nsigner/${signer.id}`))
    .setAuthTag(bytes.subarray(12, 28))
  return createPrivateKey(Buffer.concat([opened.update(bytes.subarray(28)), opened.final()]).toString())
}
