import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { constants, createServer } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { createLocalJWKSet, exportJWK, jwtVerify } from 'jose'
import { githubClaims, gitlabClaims, kubernetesClaims } from '../../../test/support/token-server.ts'
import { isWritClientError } from '../../../client/src/index.ts'
import { CliError } from '../exit.ts'
import { workloadOf } from './claims.ts'
import { Identity, findSource } from './index.ts'
import type { Around, Source } from './source.ts'
import { fetchJwtSvid, parseEndpoint } from './workload-api.ts'

const WRIT = 'https://writ.example'
const NOW = Date.parse('2026-11-22T12:00:00Z')

const jwt = (claims: object): string =>
  ['{"alg":"RS256","typ":"JWT"}', JSON.stringify(claims), 'signature']
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.')
const token = (claims: object, life = 300): string =>
  jwt({ iss: 'https://issuer.example', exp: NOW / 1_000 + life, ...claims })

type World = Partial<Omit<Around, 'read'>> & Readonly<{ files?: Readonly<Record<string, string>> }>

function around({ files = {}, ...world }: World = {}): Around {
  return {
    env: {},
    read: (path) => files[path],
    fetch: () => assert.fail('nobody may be asked'),
    now: () => NOW,
    random: () => 'random',
    audience: WRIT,
    asClient: () => assert.fail('nobody may be asked'),
    ...world,
  }
}

const found = (world: World): Source => findSource(around(world)) ?? assert.fail('no identity')

async function refuses(work: Promise<unknown>, message: RegExp, hint: RegExp): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof CliError, String(error))
    assert.equal(error.exitCode, 4)
    assert.match(error.message, message)
    assert.match(error.hint ?? '', hint)
    return true
  })
}

const github = {
  ACTIONS_ID_TOKEN_REQUEST_URL: 'https://runner.example/token?api-version=2.0',
  ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'canary',
}
const PROJECTED = '/var/run/secrets/writ/token'

describe('which identity is found', () => {
  const all = {
    env: {
      ...github,
      WRIT_CLIENT_KEY: 'key.pem',
      WRIT_CLIENT_ID: 'ci',
      WRIT_ID_TOKEN: 'x',
      WRIT_SPIFFE_JWT_FILE: 'svid',
      SPIFFE_ENDPOINT_SOCKET: 'unix:///agent.sock',
    },
    files: { [PROJECTED]: 'x' },
  }
  const without = (...names: string[]): World => ({
    ...all,
    env: Object.fromEntries(Object.entries(all.env).filter(([name]) => !names.includes(name))),
  })

  test('the order: a key, GitHub, GitLab, Kubernetes, SPIFFE; of SPIFFE the file first', () => {
    assert.equal(found(all).kind, 'key')
    assert.equal(found(without('WRIT_CLIENT_KEY')).kind, 'github')
    assert.equal(found(without('WRIT_CLIENT_KEY', 'ACTIONS_ID_TOKEN_REQUEST_URL')).kind, 'gitlab')
    const last = without('WRIT_CLIENT_KEY', 'ACTIONS_ID_TOKEN_REQUEST_TOKEN', 'WRIT_ID_TOKEN')
    assert.equal(found(last).kind, 'kubernetes')
    assert.deepEqual(
      [found({ ...last, files: {} }).kind, found({ ...last, files: {} }).from],
      ['spiffe', '`svid`'],
    )
    assert.equal(findSource(around()), undefined)
  })
  test('an empty variable is none', () => {
    assert.equal(findSource(around({ env: { WRIT_ID_TOKEN: '', WRIT_IDENTITY: '' } })), undefined)
  })
  test('WRIT_IDENTITY forces one, or none, and names what is missing', () => {
    const force = (kind: string): World => ({ ...all, env: { ...all.env, WRIT_IDENTITY: kind } })
    for (const kind of ['key', 'github', 'gitlab', 'kubernetes', 'spiffe'])
      assert.equal(found(force(kind)).kind, kind)
    assert.equal(findSource(around(force('none'))), undefined)
    const missing: [string, RegExp][] = [
      ['key', /WRIT_CLIENT_KEY/],
      ['github', /no job of GitHub/],
      ['gitlab', /id_tokens.+WRIT_ID_TOKEN.+https:\/\/writ\.example/],
      ['kubernetes', /projected token/],
      ['spiffe', /SPIFFE_ENDPOINT_SOCKET/],
    ]
    for (const [kind, hint] of missing) {
      assert.throws(
        () => findSource(around({ env: { WRIT_IDENTITY: kind } })),
        (error) => error instanceof CliError && error.exitCode === 4 && hint.test(error.hint ?? ''),
      )
    }
    assert.throws(
      () => findSource(around({ env: { WRIT_IDENTITY: 'github', GITHUB_ACTIONS: 'true' } })),
      (error) => error instanceof CliError && /id-token: write/.test(error.hint ?? ''),
    )
    assert.throws(
      () => findSource(around({ env: { WRIT_IDENTITY: 'GitHub' } })),
      (error) => error instanceof CliError && error.exitCode === 2 && /github/.test(error.hint ?? ''),
    )
  })
})

describe('GitHub', () => {
  const answering = (...answers: (Response | Error)[]) => {
    const asked: Request[] = []
    const fetch: Around['fetch'] = (input, init) => {
      asked.push(new Request(input, init))
      const next = answers[asked.length - 1] ?? assert.fail('asked too often')
      return next instanceof Error ? Promise.reject(next) : Promise.resolve(next)
    }
    return { asked, fetch }
  }
  const value = token(githubClaims(WRIT))
  const ok = (): Response => Response.json({ count: value.length, value })

  test('is asked for a token for the server alone', async () => {
    const { asked, fetch } = answering(ok())
    assert.equal((await found({ env: github, fetch }).token()).token, value)
    const [request] = asked
    assert.equal(
      request?.url,
      'https://runner.example/token?api-version=2.0&audience=https%3A%2F%2Fwrit.example',
    )
    assert.equal(request?.headers.get('authorization'), 'Bearer canary')
    assert.equal(request?.redirect, 'manual')
  })
  test('an outage is waited out twice, and is told from a refusal', async () => {
    const late = answering(new TypeError('fetch failed'), new Response('canary', { status: 503 }), ok())
    assert.equal((await found({ env: github, fetch: late.fetch }).token()).token, value)
    const down = answering(...[1, 2, 3].map(() => new Response('canary', { status: 502 })))
    await assert.rejects(found({ env: github, fetch: down.fetch }).token(), (error) => {
      assert.ok(isWritClientError(error, 'ERR_UNREACHABLE'))
      assert.doesNotMatch(`${error.message}${error.hint}`, /canary|runner\.example/)
      return true
    })
    const refused = answering(new Response('canary', { status: 403 }))
    await refuses(found({ env: github, fetch: refused.fetch }).token(), /status 403/, /id-token: write/)
  })
  test('a redirect and an answer that holds no token are none', async () => {
    const moved = answering(Response.redirect('https://evil.example/'))
    await refuses(found({ env: github, fetch: moved.fetch }).token(), /status 302/, /id-token/)
    const odd = answering(Response.json({ value: 'a b' }))
    await refuses(found({ env: github, fetch: odd.fetch }).token(), /no token/, /./)
  })
})

describe('GitLab, Kubernetes and files of SPIFFE', () => {
  const gitlab = (value: string): Source => found({ env: { WRIT_ID_TOKEN: value } })

  test('the token as it is, and when it ends', async () => {
    const value = token(gitlabClaims(WRIT))
    assert.deepEqual(await gitlab(`${value}\n`).token(), { token: value, endsAt: NOW + 300_000 })
  })
  test('B1 a token for somebody else, or for several, is not sent anywhere', async () => {
    for (const aud of ['https://other.example', [WRIT, 'https://other.example'], [], undefined]) {
      const value = token({ ...gitlabClaims(WRIT), aud })
      await refuses(gitlab(value).token(), /is for .+, not for `https:\/\/writ\.example` alone/, /id_tokens/)
      await refuses(found({ files: { [PROJECTED]: value } }).token(), /not for/, /serviceAccountToken/)
      const spiffe = { env: { WRIT_SPIFFE_JWT_FILE: 'svid' }, files: { svid: value } }
      await refuses(found(spiffe).token(), /not for/, /audience/)
    }
    const slash = token(gitlabClaims(`${WRIT}/`))
    assert.equal((await gitlab(slash).token()).token, slash)
  })
  test('one that has ended says so, and why', async () => {
    await refuses(gitlab(token(gitlabClaims(WRIT), -1)).token(), /has ended/, /timeout/)
  })
  test('a file is read again each time', async () => {
    const files = { [PROJECTED]: token({ ...kubernetesClaims(WRIT), jti: '1' }) }
    const source = found({ files })
    const identity = new Identity(source, () => NOW)
    const first = await identity.token()
    files[PROJECTED] = token({ ...kubernetesClaims(WRIT), jti: '2' })
    assert.notEqual(await identity.token(), first)
    delete (files as Record<string, string>)[PROJECTED]
    await refuses(identity.token(), /is gone/, /mounted/)
    const named = found({ env: { WRIT_TOKEN_FILE: 'mine' }, files: { mine: 'opaque' } })
    assert.deepEqual([named.kind, (await named.token()).token], ['kubernetes', 'opaque'])
  })
  test('what is no token is not sent', async () => {
    for (const text of ['', ' \n', 'two words', 'a\nb', 'x'.repeat(20_000)])
      await refuses(found({ files: { [PROJECTED]: text } }).token(), /no token|holds something/, /./)
  })
})

describe('what is kept', () => {
  const source = (...held: (string | Error)[]): Source => ({
    kind: 'github',
    from: 'test',
    keep: true,
    token: () => {
      const next = held.shift() ?? assert.fail('asked too often')
      return next instanceof Error ? Promise.reject(next) : Promise.resolve({ token: next })
    },
  })
  const [a, b] = [token({ jti: 'a' }), token({ jti: 'b' }, 600)]

  test('a token is used until 30 s before its end, and asked for once at a time', async () => {
    let now = NOW
    const identity = new Identity(source(a, b), () => now)
    assert.deepEqual(await Promise.all([identity.token(), identity.token()]), [a, a])
    now += 269_999
    assert.equal(await identity.token(), a)
    now += 1
    assert.equal(await identity.token(), b)
  })
  test('one that was refused is not used again', async () => {
    const identity = new Identity(source(a, b), () => NOW)
    assert.equal(await identity.token(), a)
    assert.equal(await identity.token(a), b)
    assert.equal(await identity.token(), b)
  })
  test('with the issuer away the last one serves to its end, and no longer', async () => {
    let now = NOW
    const away = new Error('away')
    const identity = new Identity(source(a, away, away, away), () => now)
    await identity.token()
    now += 299_999
    assert.equal(await identity.token(), a)
    await assert.rejects(identity.token(a), away)
    now += 1
    await assert.rejects(identity.token(), away)
  })
  test('one that does not say when it ends is not kept', async () => {
    const identity = new Identity(source('opaque', 'other'), () => NOW)
    assert.deepEqual([await identity.token(), await identity.token()], ['opaque', 'other'])
  })
})

describe('a key', () => {
  const kinds = [
    ['ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
    ['ES384', generateKeyPairSync('ec', { namedCurve: 'P-384' })],
    ['EdDSA', generateKeyPairSync('ed25519')],
    ['RS256', generateKeyPairSync('rsa', { modulusLength: 2048 })],
  ] as const
  const pem = (pair: (typeof kinds)[number][1]): string =>
    pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()

  for (const [alg, pair] of kinds) {
    test(`${alg} signs for itself, for the server alone and a minute`, async () => {
      const world = { env: { WRIT_CLIENT_KEY: 'key', WRIT_CLIENT_ID: 'ci' }, files: { key: pem(pair) } }
      const assertion = await found(world).client?.assertion(WRIT)
      const keys = createLocalJWKSet({ keys: [await exportJWK(pair.publicKey)] })
      const { payload, protectedHeader } = await jwtVerify(assertion ?? '', keys, {
        issuer: 'ci',
        subject: 'ci',
        audience: WRIT,
        currentDate: new Date(NOW),
      })
      assert.equal(protectedHeader.alg, alg)
      assert.equal(protectedHeader.kid, undefined)
      assert.deepEqual([payload.jti, (payload.exp ?? 0) - (payload.iat ?? 0)], ['random', 60])
    })
  }
  test('a JWK names itself; the bearer is what the server gives for it', async () => {
    const jwk = { ...kinds[0][1].privateKey.export({ format: 'jwk' }), kid: 'named' }
    const source = found({
      env: { WRIT_CLIENT_KEY: 'key', WRIT_CLIENT_ID: 'ci' },
      files: { key: JSON.stringify(jwk) },
      asClient: async ({ id, assertion }) => {
        assert.equal(id, 'ci')
        const [header = ''] = (await assertion(WRIT)).split('.')
        assert.equal(
          (JSON.parse(Buffer.from(header, 'base64url').toString()) as { kid: string }).kid,
          'named',
        )
        return { token: 'given', endsAt: NOW + 1 }
      },
    })
    assert.deepEqual(await source.token(), { token: 'given', endsAt: NOW + 1 })
  })
  test('what is missing or no key is said without showing any of it', async () => {
    const at = (files: Record<string, string>, env = {}): Source =>
      found({ env: { WRIT_CLIENT_KEY: 'key', WRIT_CLIENT_ID: 'ci', ...env }, files })
    await refuses(at({}, { WRIT_CLIENT_ID: '' }).token(), /WRIT_CLIENT_ID is missing/, /whose/)
    const broken = at({ key: '-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----' })
    await refuses(broken.client?.assertion(WRIT) ?? Promise.resolve(), /^`key` holds no private key$/, /PEM/)
    await refuses(
      at({ key: '{"kty":"EC","d":"canary"}' }).client?.assertion(WRIT) ?? Promise.resolve(),
      /holds no/,
      /./,
    )
    await refuses(at({}).client?.assertion(WRIT) ?? Promise.resolve(), /does not exist/, /WRIT_CLIENT_KEY/)
  })
})

describe('the SPIFFE Workload API', () => {
  // `JWTSVIDResponse`, `JWTSVID`: every field is a number, a kind and a length
  const bytes = (number: number, value: string | Buffer): Buffer => {
    const data = Buffer.from(value)
    const length = data.length < 128 ? [data.length] : [(data.length & 0x7f) | 0x80, data.length >>> 7]
    return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), data])
  }
  const framed = (message: Buffer): Buffer => {
    const head = Buffer.alloc(5)
    head.writeUInt32BE(message.length, 1)
    return Buffer.concat([head, message])
  }
  const svid = (id: string, value: string): Buffer =>
    bytes(1, Buffer.concat([bytes(1, id), bytes(2, value), bytes(3, 'hint')]))
  type Seen = { headers: Record<string, unknown>; body: Buffer }

  async function agent(answer: { body?: Buffer; status?: string; silent?: boolean }) {
    const folder = mkdtempSync(join(tmpdir(), 'writ-agent-'))
    const path = join(folder, 'agent.sock')
    const seen: Seen[] = []
    const server = createServer()
    server.on('stream', (stream, headers) => {
      const chunks: Buffer[] = []
      stream.on('error', () => undefined)
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        seen.push({ headers, body: Buffer.concat(chunks) })
        if (answer.silent === true) return
        const status = answer.status ?? '0'
        if (answer.body === undefined) {
          stream.respond(
            { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': status },
            { endStream: true },
          )
          return
        }
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status }))
        stream.end(answer.body)
      })
    })
    await new Promise<void>((done) => server.listen(path, done))
    return {
      path,
      seen,
      [Symbol.dispose]() {
        server.close()
        rmSync(folder, { recursive: true, force: true })
      },
    }
  }

  test('gives the first identity, for the audience that was named', async () => {
    const value = token({ sub: 'spiffe://acme.example/shop/orders', aud: [WRIT] })
    using there = await agent({ body: framed(Buffer.concat([svid('a', value), svid('b', 'second')])) })
    const env = { SPIFFE_ENDPOINT_SOCKET: `unix://${there.path}` }
    assert.deepEqual(await found({ env }).token(), { token: value, endsAt: NOW + 300_000 })
    const [seen] = there.seen
    assert.equal(seen?.headers[constants.HTTP2_HEADER_PATH], '/SpiffeWorkloadAPI/FetchJWTSVID')
    assert.equal(seen?.headers['workload.spiffe.io'], 'true')
    assert.equal(seen?.headers['content-type'], 'application/grpc')
    assert.deepEqual(seen?.body, framed(bytes(1, WRIT)))
  })
  test('says what is wrong where there is none', async () => {
    using denied = await agent({ status: '7' })
    await refuses(fetchJwtSvid({ path: denied.path }, WRIT), /no identity for this process/, /registered/)
    using odd = await agent({ status: '12' })
    await refuses(fetchJwtSvid({ path: odd.path }, WRIT), /gRPC status 12/, /registered/)
    for (const body of [
      framed(Buffer.alloc(0)),
      framed(Buffer.from([0x0a, 0xff])),
      Buffer.from('junk'),
      Buffer.alloc(300_000),
    ]) {
      using broken = await agent({ body })
      await assert.rejects(fetchJwtSvid({ path: broken.path }, WRIT), /SPIFFE Workload API/)
    }
    using starting = await agent({ status: '14' })
    await assert.rejects(fetchJwtSvid({ path: starting.path }, WRIT), (error) =>
      isWritClientError(error, 'ERR_UNREACHABLE'),
    )
    using silent = await agent({ silent: true })
    for (const path of [silent.path, '/nonexistent/agent.sock']) {
      await assert.rejects(
        fetchJwtSvid({ path }, WRIT, 200),
        (error) => isWritClientError(error, 'ERR_UNREACHABLE') && /agent/.test(error.hint ?? ''),
      )
    }
  })
  test('whatever an agent answers is a token or a sentence, never a crash', async () => {
    const answer: { body: Buffer } = { body: Buffer.alloc(0) }
    using there = await agent(answer)
    const message = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      // fields of every kind, lengths that promise more than there is, and what only looks like an SVID
      fc
        .array(
          fc
            .tuple(fc.nat(3), fc.nat(7), fc.uint8Array({ maxLength: 12 }))
            .map(([number, kind, data]) =>
              Buffer.concat([Buffer.from([(number << 3) | kind]), Buffer.from(data)]),
            ),
          { maxLength: 4 },
        )
        .map((fields) => Buffer.concat(fields)),
      fc.string({ maxLength: 40 }).map((value) => svid('a', value)),
    )
    await fc.assert(
      fc.asyncProperty(message, fc.boolean(), async (bytesOf, whole) => {
        answer.body = whole ? framed(Buffer.from(bytesOf)) : Buffer.from(bytesOf)
        try {
          assert.equal(typeof (await fetchJwtSvid({ path: there.path }, WRIT)), 'string')
        } catch (error) {
          assert.match(error instanceof Error ? error.message : '', /SPIFFE Workload API/)
        }
      }),
      { numRuns: 150 },
    )
  })
  test('endpoints are unix sockets and addresses, nothing else', () => {
    assert.deepEqual(parseEndpoint('unix:///run/spire/agent.sock'), { path: '/run/spire/agent.sock' })
    assert.deepEqual(parseEndpoint('unix:/run/agent.sock'), { path: '/run/agent.sock' })
    assert.deepEqual(parseEndpoint('tcp://127.0.0.1:8081'), { host: '127.0.0.1', port: 8081 })
    assert.deepEqual(parseEndpoint('tcp://[::1]:8081'), { host: '::1', port: 8081 })
    for (const wrong of [
      '',
      '/run/agent.sock',
      'unix://host/agent.sock',
      'unix:///',
      'tcp://localhost:1',
      'tcp://127.0.0.1',
      'http://127.0.0.1:1',
      'tcp://127.0.0.1:1/x',
      'unix:///a?b',
      'unix:///a%zz',
      'unix:///a%00b',
      'tcp://127.0.0.1:99999',
    ])
      assert.equal(parseEndpoint(wrong), undefined, wrong)
  })
})

test('what policies would see of each kind', () => {
  const names = (kind: Parameters<typeof workloadOf>[0], claims: object) =>
    Object.fromEntries(workloadOf(kind, claims as Record<string, unknown>))
  const ofGithub = names('github', githubClaims(WRIT))
  assert.equal(ofGithub['repository_id'], '5678')
  assert.equal(ofGithub['actor_id'], '583231')
  assert.equal('head_ref' in ofGithub, false)
  assert.equal(names('gitlab', gitlabClaims(WRIT))['project_id'], '20')
  assert.equal('user_email' in names('gitlab', gitlabClaims(WRIT)), false)
  assert.deepEqual(names('kubernetes', kubernetesClaims(WRIT)), {
    namespace: 'shop',
    service_account: 'orders',
    service_account_uid: '14ee3fa4-a7e2-420f-9f9a-dbc4507c3798',
    pod: 'orders-5d9f',
    pod_uid: '5e0bd49b-f040-43b0-99b7-22765a53f7f3',
    node: 'node-1',
  })
  assert.deepEqual(names('spiffe', { sub: 'spiffe://acme.example/shop/orders' }), {
    trust_domain: 'acme.example',
    path: '/shop/orders',
  })
})
