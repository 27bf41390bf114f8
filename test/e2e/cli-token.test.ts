/**
 * Getting a token without a secret: the command line in a job of GitHub, of GitLab, in a pod, and at a person's desk.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { EmbeddedJWK, calculateJwkThumbprint, importSPKI, jwtVerify } from 'jose'
import { Cli } from '../support/cli.ts'
import type { Ran } from '../support/cli.ts'
import {
  githubClaims,
  gitlabClaims,
  kubernetesClaims,
  openIssuer,
  openTokenServer,
} from '../support/token-server.ts'
import type { Issuer, TokenServer } from '../support/token-server.ts'

let issuer: Issuer
let server: TokenServer
let cli: Cli
let github: Record<string, string>

before(async () => {
  issuer = await openIssuer()
  github = issuer.githubEnv
})
after(() => issuer[Symbol.asyncDispose]())
beforeEach(async () => {
  server = await openTokenServer(issuer)
  cli = new Cli({ WRIT_URL: server.url })
  delete issuer.broken.gives
})
afterEach(async () => {
  cli[Symbol.dispose]()
  await server[Symbol.asyncDispose]()
})

const exchange = (...more: string[]): string[] => [
  'token', 'exchange', '--resource', 'Api/payments', '--scope', 'payment:refund', ...more,
] // prettier-ignore

/** Nothing that opens something is anywhere but where it was asked for. */
function keepsSecrets({ stdout, stderr }: Ran, given = ''): void {
  // any token of an issuer; what is random may hold the three letters that it begins with
  for (const text of [stdout, stderr]) assert.doesNotMatch(text, /eyJ[\w-]*\.[\w-]/u)
  for (const secret of [
    'request-token-canary',
    ...server.issued,
    ...server.seen.flatMap(({ form }) => form.get('subject_token') ?? []),
  ]) {
    assert.equal(stderr.includes(secret), false, `standard error shows ${secret}`)
    if (secret !== given) assert.equal(stdout.includes(secret), false, `standard output shows ${secret}`)
  }
}

describe('doctor and status', () => {
  test('say which identity was found, what policies would see, and who it is there', async () => {
    const ran = await cli.run(['doctor'], { env: github })
    assert.match(
      ran.stdout,
      /identity: GitHub Actions \(github\) · issuer http:\S+ · subject repo:acme@1234\/orders@5678:environment:production · for http:\S+ · ends in [1-5]:/,
    )
    assert.match(
      ran.stdout,
      /policies would see, as context\.live\.workload:\s+repository_id 5678,\s+repository acme\/orders,[^]*environment production,\s+event_name push/,
    )
    assert.match(ran.stdout, /you are Service\/5678 to it/)
    keepsSecrets(ran)
    const json = JSON.parse((await cli.here(['doctor', '--json'], { env: github })).stdout) as {
      items: Record<string, unknown>[]
    }
    const { identity } = json.items.find((item) => 'identity' in item) as {
      identity: Record<string, unknown>
    }
    assert.equal(identity['kind'], 'github')
    assert.equal(identity['audience'], server.url)
    assert.equal((identity['workload'] as Record<string, string>)['actor_id'], '583231')
    const status = await cli.here(['status'], { env: github })
    assert.match(status.stdout, /you are Service\/5678 \(by a token from GitHub Actions\)/)
    assert.equal(
      (JSON.parse((await cli.here(['status', '--json'], { env: github })).stdout) as { token: string }).token,
      'github',
    )
  })
  test('say why there is none, and how there would be one', async () => {
    const [without, broken, none] = await Promise.all([
      cli.here(['doctor'], { env: { GITHUB_ACTIONS: 'true' } }),
      cli.here(['doctor'], { env: { WRIT_IDENTITY: 'spiffe' } }),
      cli.here(['doctor']),
    ])
    assert.match(without.stdout, /no identity is found here[^]*id-token: write/)
    assert.match(broken.stdout, /WRIT_IDENTITY is `spiffe`, but there is none here[^]*SPIFFE_ENDPOINT_SOCKET/)
    assert.match(none.stdout, /no identity is found here[^]*writ login/)
    for (const { code } of [without, broken, none]) assert.equal(code, 4)
  })
  test('say that the server does not accept it', async () => {
    server.how.refuse = () => true
    const ran = await cli.here(['doctor'], { env: github })
    assert.equal(ran.code, 4)
    assert.match(ran.stdout, /it does not accept this identity[^]*`issuers`/)
    keepsSecrets(ran)
  })
  test('a key that others may read is named', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    writeFileSync(join(cli.home, 'key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }), {
      mode: 0o644,
    })
    const ran = await cli.here(['doctor'], { env: { WRIT_CLIENT_KEY: 'key.pem', WRIT_CLIENT_ID: 'ci' } })
    assert.match(ran.stdout, /others may read the private key key\.pem[^]*chmod 600/)
    assert.match(ran.stdout, /you are Service\/client to it/)
    keepsSecrets(ran)
  })
})

test('what else proves somebody is named, and not used; a name that is no resource costs no request', async () => {
  const given = await issuer.sign(gitlabClaims(server.url))
  const ran = await cli.here(['doctor'], { env: { ...github, WRIT_TOKEN: given } })
  assert.match(ran.stdout, /also here, and not used: github \(GitHub Actions\); WRIT_IDENTITY=github would/)
  const alone = await cli.here(['doctor'], { env: github })
  assert.doesNotMatch(alone.stdout, /also here/)
  const typo = await cli.here(['token', 'exchange', '--resource', 'payments', '--scope', 'x'], {
    env: github,
  })
  assert.deepEqual([typo.code, typo.stdout], [2, ''])
  assert.match(typo.stderr, /`payments` is no resource[^]*Type\/id/)
  const lost = await cli.here(exchange('--into', 'nowhere/token'), { env: github })
  assert.equal(lost.code, 1)
  assert.match(lost.stderr, /cannot write `nowhere\/token` \(ENOENT\)[^]*nothing was issued/)
  const key = await cli.run(['token', 'revoke'], { env: github, stdin: 'writ_key_canary' })
  assert.equal(key.code, 2)
  assert.match(key.stderr, /no access token[^]*writ keys revoke/)
  assert.doesNotMatch(key.stderr, /canary/)
})

describe('which proof is used', () => {
  const who = async (env: Record<string, string>): Promise<string> => {
    const ran = await cli.here(['status', '--json'], { env })
    return ran.code === 0
      ? (JSON.parse(ran.stdout) as { token: string }).token
      : `exit ${ran.code}: ${ran.stderr}`
  }
  test('a token that was given, then a session, then what is found; WRIT_IDENTITY forces', async () => {
    const given = await issuer.sign(gitlabClaims(server.url))
    assert.equal(await who({ ...github, WRIT_TOKEN: given }), 'WRIT_TOKEN')
    writeFileSync(join(cli.home, 'given'), given)
    assert.equal(await who({ ...github, WRIT_TOKEN_FILE: 'given' }), 'token_file')
    assert.equal(await who({ WRIT_IDENTITY: 'kubernetes', WRIT_TOKEN_FILE: 'given' }), 'kubernetes')
    assert.equal(await who({ ...github, WRIT_TOKEN: given, WRIT_IDENTITY: 'github' }), 'github')
    const login = await cli.run(['login', '--with-token'], { env: github, stdin: given })
    assert.equal(login.code, 0, login.stderr)
    assert.match(login.stderr, /as Service\/20/)
    assert.equal(await who(github), 'session')
    assert.equal(await who({ ...github, WRIT_IDENTITY: 'github' }), 'github')
    assert.equal(await who({ ...github, WRIT_IDENTITY: 'none' }), 'session')
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    writeFileSync(join(cli.home, 'key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }), {
      mode: 0o600,
    })
    assert.equal(await who({ ...github, WRIT_CLIENT_KEY: 'key.pem', WRIT_CLIENT_ID: 'ci' }), 'key')
  })
  test('B1 a token for another server is not sent to the one that a project names', async () => {
    const token = await issuer.sign(gitlabClaims('https://writ.example'))
    const ran = await cli.here(['status'], { env: { WRIT_ID_TOKEN: token } })
    assert.equal(ran.code, 4)
    assert.match(ran.stderr, /is for `https:\/\/writ\.example`, not for/)
    assert.equal(
      server.seen.some(({ headers }) => headers.authorization !== undefined),
      false,
    )
    keepsSecrets(ran)
  })
  test('a pod: the file is found where it is mounted, its audience a list of one', async () => {
    writeFileSync(join(cli.home, 'projected'), await issuer.sign(kubernetesClaims(server.url)))
    const env = { WRIT_IDENTITY: 'kubernetes', WRIT_TOKEN_FILE: 'projected' }
    const ran = await cli.here(['doctor'], { env })
    assert.match(
      ran.stdout,
      /policies would see, as context\.live\.workload:\s+namespace shop,\s+service_account orders,[^]*node node-1/,
    )
    assert.match(ran.stdout, /you are Service\/system:serviceaccount:shop:orders to it/)
  })
  test('a token that is refused is asked for anew, once', async () => {
    let first: string | undefined
    server.how.refuse = (token) => token === (first ??= token)
    const ran = await cli.here(['status'], { env: github })
    assert.equal(ran.code, 0, ran.stderr)
  })
  test('an issuer that is away is out of reach, not wrong', async () => {
    issuer.broken.gives = { status: 503, body: { canary: 'request-token-canary' } }
    const ran = await cli.here(['status'], { env: github })
    assert.equal(ran.code, 7, ran.stderr)
    assert.match(ran.stderr, /GitHub answered with status 503/)
    keepsSecrets(ran)
  })
})

describe('token exchange', () => {
  test('the token alone is on standard output', async () => {
    const ran = await cli.run(exchange('--task', 'task_1'), { env: github })
    assert.equal(ran.code, 0, ran.stderr)
    assert.deepEqual(ran.stdout, `${server.issued[0]}\n`)
    assert.match(ran.stderr, /token for payment:refund, ends in [1-5]:/)
    keepsSecrets(ran, server.issued[0])
    const form = server.seen.find(({ path }) => path === '/oauth/token')?.form
    const claims = await issuer.verify(form?.get('subject_token') ?? '', server.url)
    assert.equal(claims['repository_id'], githubClaims('')['repository_id'])
    assert.deepEqual(
      ['subject_token_type', 'audience', 'resource', 'scope', 'writ_task', 'client_assertion'].map((name) =>
        form?.get(name),
      ),
      ['urn:ietf:params:oauth:token-type:jwt', 'Api/payments', null, 'payment:refund', 'task_1', null],
    )
  })
  test('URLs are resources, names audiences; the actor comes from a file; JSON says the rest', async () => {
    writeFileSync(join(cli.home, 'actor'), `${await issuer.sign(gitlabClaims(server.url))}\n`)
    const ran = await cli.here(
      exchange(
        '--resource',
        'https://api.example/pay',
        '--audience',
        'x',
        '--scope',
        'other',
        '--actor-token-file',
        'actor',
        '--json',
      ),
      { env: { ...github, WRIT_TASK: 'task_9' } },
    )
    assert.equal(ran.code, 0, ran.stderr)
    const printed = JSON.parse(ran.stdout) as Record<string, unknown>
    assert.equal(printed['access_token'], server.issued[0])
    assert.match(String(printed['expires_at']), /Z$/)
    const form = server.seen.find(({ path }) => path === '/oauth/token')?.form
    assert.deepEqual(form?.getAll('resource'), ['https://api.example/pay'])
    assert.deepEqual(form?.getAll('audience'), ['Api/payments', 'x'])
    assert.equal(form?.get('scope'), 'payment:refund other')
    assert.equal(form?.get('actor_token_type'), 'urn:ietf:params:oauth:token-type:jwt')
    assert.equal(form?.get('writ_task'), 'task_9')
  })
  test('into a file of one’s own, and ended from it', async () => {
    writeFileSync(join(cli.home, 'token'), 'old', { mode: 0o644 })
    const ran = await cli.here(exchange('--into', 'token'), { env: github })
    assert.deepEqual([ran.code, ran.stdout], [0, ''])
    const file = join(cli.home, 'token')
    assert.equal(readFileSync(file, 'utf8'), `${server.issued[0]}\n`)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    keepsSecrets(ran)
    const ended = await cli.here(['token', 'revoke', '--from', 'token'], { env: github })
    assert.equal(ended.code, 0, ended.stderr)
    assert.deepEqual([...server.revoked], server.issued)
    assert.equal(readdirSync(cli.home).includes('token'), false)
    const piped = await cli.run(['token', 'revoke'], { env: github, stdin: 'other\n' })
    assert.equal(piped.code, 0, piped.stderr)
    assert.equal(server.revoked.has('other'), true)
  })
  test('nothing is issued that could not be written down', async () => {
    mkdirSync(join(cli.home, 'folder'))
    const ran = await cli.here(exchange('--into', 'missing/token'), { env: github })
    assert.notEqual(ran.code, 0)
    assert.deepEqual(server.issued, [])
  })
  test('bound to a key that is made, kept and used again', async () => {
    server.how.nonce = 'n1'
    const ran = await cli.here(exchange('--dpop', 'key.jwk'), { env: github })
    assert.equal(ran.code, 0, ran.stderr)
    assert.match(ran.stderr, /made the key `key\.jwk`[^]*bound to its key/)
    assert.equal(statSync(join(cli.home, 'key.jwk')).mode & 0o777, 0o600)
    const again = await cli.here(exchange('--dpop', 'key.jwk'), { env: github })
    assert.equal(again.code, 0, again.stderr)
    assert.doesNotMatch(again.stderr, /made the key/)
    const proofs = server.seen.flatMap(({ headers }) => headers['dpop'] ?? [])
    const keys = await Promise.all(
      proofs.map(async (proof) => {
        const { protectedHeader } = await jwtVerify(proof, EmbeddedJWK, { typ: 'dpop+jwt' })
        return calculateJwkThumbprint(protectedHeader.jwk ?? {})
      }),
    )
    assert.equal(new Set(keys).size, 1)
    chmodSync(join(cli.home, 'key.jwk'), 0o644)
    const open = await cli.here(exchange('--dpop', 'key.jwk'), { env: github })
    assert.deepEqual([open.code, open.stdout], [4, ''])
    assert.match(open.stderr, /others may read .*key\.jwk/)
    writeFileSync(join(cli.home, 'bad'), 'canary', { mode: 0o600 })
    assert.equal((await cli.here(exchange('--dpop', 'bad'), { env: github })).code, 2)
  })
  test('a client signs for itself, and asks in its own name', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    writeFileSync(join(cli.home, 'key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }), {
      mode: 0o600,
    })
    const env = { WRIT_CLIENT_KEY: 'key.pem', WRIT_CLIENT_ID: 'ci' }
    const ran = await cli.here(exchange('--task', 'task_1', '--into', 'token'), { env })
    assert.equal(ran.code, 0, ran.stderr)
    assert.equal((await cli.here(['token', 'revoke', '--from', 'token'], { env })).code, 0)
    assert.deepEqual([...server.revoked], server.issued)
    const [asked, ended] = server.seen
      .filter(({ path }) => path.startsWith('/oauth/'))
      .map(({ form, headers }) => ({ form, headers }))
    assert.equal(asked?.form.get('grant_type'), 'client_credentials')
    assert.equal(asked?.form.get('subject_token'), null)
    assert.deepEqual(
      ['client_id', 'audience', 'scope', 'writ_task'].map((name) => asked?.form.get(name)),
      ['ci', 'Api/payments', 'payment:refund', 'task_1'],
    )
    assert.equal(ended?.headers.authorization, undefined)
    const key = await importSPKI(publicKey.export({ type: 'spki', format: 'pem' }).toString(), 'ES256')
    const ids = await Promise.all(
      [asked, ended].map(async (sent) => {
        const options = { issuer: 'ci', subject: 'ci', audience: server.url }
        return (await jwtVerify(sent?.form.get('client_assertion') ?? '', key, options)).payload.jti
      }),
    )
    assert.equal(new Set(ids).size, 2)
    assert.equal((await cli.here(exchange('--actor-token-file', 'key.pem'), { env })).code, 2)
  })
  test('where every client must say who it is, the token of the workload says it', async () => {
    server.how.metadata = { token_endpoint_auth_methods_supported: ['private_key_jwt'] }
    assert.equal((await cli.here(exchange(), { env: github })).code, 0)
    const form = server.seen.find(({ path }) => path === '/oauth/token')?.form
    assert.equal(form?.get('client_assertion'), form?.get('subject_token'))
  })
  test('what is wrong is said in its exit code', async () => {
    const fails = async (
      code: number,
      pattern: RegExp,
      args: string[],
      env: Record<string, string> = github,
    ) => {
      const ran = await cli.run(args, { env })
      assert.equal(ran.code, code, ran.stderr)
      assert.match(ran.stderr, pattern)
      assert.equal(ran.stdout, '')
      keepsSecrets(ran)
    }
    await fails(2, /--resource/, ['token', 'exchange', '--scope', 'x'])
    await fails(2, /--scope/, ['token', 'exchange', '--resource', 'Api/x'])
    await fails(4, /nobody to get a token for[^]*writ login/, exchange(), {})
    await fails(4, /id-token: write/, exchange(), { GITHUB_ACTIONS: 'true' })
    server.how.token = () => ({
      status: 400,
      body: { error: 'access_denied', error_description: 'no policy permits it', evaluation_id: 'dec_7' },
    })
    await fails(5, /no token: no policy permits it \(access_denied\)[^]*writ why dec_7/, exchange())
    const body = {
      error: 'invalid_target',
      error_description: 'x on y is not permitted',
      evaluation_id: 'dec_8',
    }
    server.how.token = () => ({ status: 400, body: { ...body, reason: 'task_scope' } })
    const env = { ...github, WRIT_TASK: 'task_run' }
    await fails(
      5,
      /WRIT_TASK is not for that[^]*writ task start[^]*writ run --nest[^]*--task/,
      exchange(),
      env,
    )
    await fails(5, /writ why dec_8/, exchange('--task', 'task_own'), env)
    server.how.token = () => ({
      status: 400,
      body: { error: 'invalid_dpop_proof', error_description: 'bound' },
    })
    await fails(1, /bound \(invalid_dpop_proof\)[^]*--dpop FILE/, exchange())
    server.how.token = () => ({ status: 401, body: { error: 'invalid_client' } })
    await fails(4, /invalid_client/, exchange())
    server.how.metadata = null
    await fails(1, /issues no tokens/, exchange())
  })
})

describe('a challenge', () => {
  beforeEach(() => {
    server.how.challenge = true
  })
  test('is told without --wait, and asked for with it', async () => {
    const told = await cli.here(exchange(), { env: github })
    assert.deepEqual([told.code, told.stdout], [5, ''])
    assert.match(told.stderr, /payment:refund needs one approval by release[^]*--wait/)
    const running = cli.start(exchange('--wait', '--reason', 'INC-42'), { env: github })
    await running.says(/access request req_1/)
    server.approve()
    const ran = await running.done
    assert.equal(ran.code, 0, ran.stderr)
    assert.equal(ran.stdout, `${server.issued[0]}\n`)
    const submitted = server.seen.find(({ path }) => path === '/access/v1/requests')?.body
    assert.equal((submitted?.['context'] as Record<string, unknown> | undefined)?.['justification'], 'INC-42')
    keepsSecrets(ran, server.issued[0])
  })
  test('not approved in time is 6, and is come back to', async () => {
    const late = await cli.here(exchange('--wait=1s'), { env: github })
    assert.equal(late.code, 6, late.stderr)
    assert.match(late.stderr, /req_1 was not approved in time[^]*--request req_1/)
    assert.equal((await cli.here(exchange('--request', 'req_1'), { env: github })).code, 6)
    server.approve()
    const ran = await cli.here(exchange('--request', 'req_1'), { env: github })
    assert.deepEqual([ran.code, ran.stdout], [0, `${server.issued[0]}\n`])
  })
  test('denied is 5', async () => {
    server.approve('denied')
    const ran = await cli.here(exchange('--wait'), { env: github })
    assert.equal(ran.code, 5)
    assert.match(ran.stderr, /req_1 is denied/)
  })
})

describe('login on the page of the server', () => {
  const page = (stderr: string): URL =>
    new URL(/(http:\S+\/oauth\/authorize\?\S+)/.exec(stderr)?.[1] ?? 'none:')
  const back = (url: URL, answer: Record<string, string>): Promise<Response> => {
    const to = new URL(url.searchParams.get('redirect_uri') ?? '')
    for (const [name, value] of Object.entries(answer)) to.searchParams.set(name, value)
    return fetch(to)
  }
  const begin = async () => {
    const running = cli.start(['login', '--oidc', 'corp'])
    const [, shown = ''] = await running.says(/(http:\S+\/oauth\/authorize\?\S+\n)/)
    const url = page(shown)
    return { running, url, state: url.searchParams.get('state') ?? '', iss: `${server.url}/login/oidc` }
  }

  test('code, PKCE and a redirect to this machine; the session is kept', async () => {
    const { running, url, state, iss } = await begin()
    const asked = Object.fromEntries(url.searchParams)
    assert.equal(asked['response_type'], 'code')
    assert.equal(asked['code_challenge_method'], 'S256')
    assert.equal(asked['provider'], 'corp')
    assert.match(asked['redirect_uri'] ?? '', /^http:\/\/127\.0\.0\.1:\d+\/callback$/)
    // what any page could send changes nothing
    assert.equal((await back(url, { code: 'evil', state: 'wrong', iss })).status, 404)
    assert.equal((await back(url, { code: 'evil', iss })).status, 404)
    const answered = await back(url, { code: 'good', state, iss })
    assert.equal(answered.status, 200)
    assert.match(await answered.text(), /You are signed in/)
    const ran = await running.done
    assert.equal(ran.code, 0, ran.stderr)
    assert.equal(ran.stdout, 'Service/client\n')
    const form = server.seen.find(({ path }) => path === '/oauth/token')?.form
    assert.equal(form?.get('grant_type'), 'authorization_code')
    assert.equal(form?.get('code'), 'good')
    assert.equal(form?.get('redirect_uri'), asked['redirect_uri'])
    const challenge = createHash('sha256')
      .update(form?.get('code_verifier') ?? '')
      .digest('base64url')
    assert.equal(challenge, asked['code_challenge'])
    keepsSecrets(ran)
    assert.match(
      (await cli.here(['status'])).stdout,
      /you are Service\/client \(signed in here, until in [1-5]:/,
    )
  })
  test('an answer of another server, or none at all, signs nobody in', async () => {
    for (const [answer, why] of [
      [{ code: 'x', iss: 'https://evil.example' }, /came from another server/],
      [{ code: 'x' }, /came from another server/],
      [{ error: 'access_denied', error_description: 'you said no' }, /not signed in: you said no/],
      [{}, /sent no code/],
    ] as const) {
      const { running, url, state, iss } = await begin()
      const named = 'code' in answer ? {} : { iss }
      assert.equal((await back(url, { state, ...named, ...answer })).status, 400)
      const ran = await running.done
      assert.equal(ran.code, 4)
      assert.match(ran.stderr, why)
    }
    assert.equal(
      server.seen.some(({ path }) => path === '/oauth/token'),
      false,
    )
  })
  test('a token that does not work is not kept', async () => {
    server.how.refuse = () => true
    const { running, url, state, iss } = await begin()
    await back(url, { code: 'good', state, iss })
    assert.equal((await running.done).code, 4)
    assert.equal((await cli.here(['logout'])).code, 1)
  })
  test('a server without a page says how else', async () => {
    server.how.metadata = { authorization_endpoint: undefined }
    const ran = await cli.here(['login', '--oidc', 'corp'])
    assert.equal(ran.code, 4)
    assert.match(ran.stderr, /has no sign-in page for the command line[^]*writ login --code/)
    server.how.metadata = null
    assert.equal((await cli.here(['login', '--oidc', 'corp'])).code, 4)
    assert.equal((await cli.here(['login'])).code, 2)
  })
  test('interrupted, it says so', async () => {
    const { running } = await begin()
    running.process.kill('SIGINT')
    const ran = await running.done
    assert.equal(ran.code, 130)
    assert.match(ran.stderr, /interrupted, not signed in/)
  })
})
