/**
 * The command line in a job of GitHub, and with a key of its own, against a real server: who it is there, the tokens it
 * gets, and what it is refused.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createWrit } from '../../client/src/index.ts'
import { makeIssuer } from '../../src/model/issuer.ts'
import { Cli } from '../support/cli.ts'
import { compiled, engineFlags } from '../support/engine.ts'
import { claimsOf, tokenConfig } from '../support/oauth.ts'
import { githubClaims, openIssuer } from '../support/token-server.ts'
import type { Issuer } from '../support/token-server.ts'
import { declare, openWorld, ref, starterPolicies } from '../support/world.ts'
import type { World } from '../support/world.ts'

const AUDIENCE = 'https://writ.example'
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

let issuer: Issuer
let world: World
let cli: Cli
let job: Record<string, string>
let key: Record<string, string>

before(async () => {
  issuer = await openIssuer()
  const github = makeIssuer({
    name: 'github',
    kind: 'github',
    issuer: issuer.url,
    audiences: [AUDIENCE],
    keys: { from: 'jwks', keys: issuer.keys },
    allowPrivate: true,
    // the job that may migrate: this repository's, from this environment and branch
    rules: [
      {
        when: { repository_id: '5678', environment: 'production', ref: 'refs/heads/main' },
        subject: ref('Agent/migrator'),
      },
    ],
  })
  world = await openWorld({
    http: true,
    config: {
      issuers: [github],
      tokens: tokenConfig([
        {
          id: 'ci',
          subject: ref('Agent/migrator'),
          keys: [publicKey.export({ format: 'jwk' }) as Record<string, string>],
          serves: [],
        },
      ]),
    },
    entities: [{ type: 'Api', id: 'ledger', kind: 'resource', sensitivity: 1 }],
    policies: [
      ...starterPolicies(),
      {
        name: 'ledger.cedar',
        text: '@id("ledger") permit (principal in Group::"deployers", action == Action::"ledger:read", resource is Api);',
      },
    ],
  })
  cli = new Cli({ WRIT_URL: world.app.url })
  job = { ...issuer.githubEnv, WRIT_AUDIENCE: AUDIENCE }
  writeFileSync(join(cli.home, 'key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }), {
    mode: 0o600,
  })
  key = { WRIT_CLIENT_KEY: 'key.pem', WRIT_CLIENT_ID: 'ci' }
})
after(async () => {
  // whatever of it there is: a server that is left open would keep this process
  const made = [issuer, world] as readonly (AsyncDisposable | undefined)[]
  ;(cli as Cli | undefined)?.[Symbol.dispose]()
  for (const one of made) await one?.[Symbol.asyncDispose]()
})

const ledger = ['token', 'exchange', '--resource', 'Api/ledger', '--scope', 'ledger:read']

describe('a job of GitHub', () => {
  test('is who the server’s rules say', async () => {
    const ran = await cli.run(['doctor'], { env: job })
    assert.match(ran.stdout, /repository_id 5678[^]*you are Agent\/migrator to it/)
  })
  test('S03 a fork, another branch and another environment are nobody', async () => {
    for (const other of [
      { repository_id: '9' },
      { ref: 'refs/heads/x' },
      { environment: 'staging' },
      { aud: 'https://other.example' },
    ]) {
      const WRIT_TOKEN = await issuer.sign({ ...githubClaims(AUDIENCE), ...other })
      assert.equal((await cli.here(['status'], { env: { WRIT_TOKEN } })).code, 4, JSON.stringify(other))
      const refused = await cli.here(ledger, { env: { WRIT_TOKEN } })
      assert.deepEqual([refused.code, refused.stdout], [2, ''])
      assert.match(refused.stderr, /invalid_request/)
    }
  })
  test('gets a token by what policies permit, and ends it', async () => {
    const ran = await cli.run([...ledger, '--into', 'token'], { env: job })
    assert.equal(ran.code, 0, ran.stderr)
    const text = readFileSync(join(cli.home, 'token'), 'utf8').trim()
    const { sub, aud, scope, jti } = claimsOf(text)
    assert.deepEqual([sub, aud, scope], ['Agent/migrator', 'Api/ledger', 'ledger:read'])
    const ended = await cli.run(['token', 'revoke', '--from', 'token'], { env: job })
    assert.equal(ended.code, 0, ended.stderr)
    const { items } = await world.app.flows.tokens.list(world.ada, {})
    assert.notEqual(items.find(({ id }) => id === jti)?.revokedAt, undefined)
  })
  test('S06 an auditor sees later what was proved, and verifies it with nothing but the file and a key', async () => {
    const ran = await cli.here(ledger, { env: job })
    const jti = claimsOf(ran.stdout.trim())['jti'] as string
    const auditor = { WRIT_TOKEN: world.tokens.ada }
    const at = new Date().toISOString()
    const why = await cli.here(['why', jti], { env: auditor })
    assert.match(why.stdout, /proved by issuer github[^]*repository_id 5678[^]*set going by account 583231/)
    assert.match(why.stdout, /PERMIT {2}standing[^]*Permitted by: ledger\.cedar/)
    assert.match((await cli.here(['why', 'tok_none'], { env: auditor })).stderr, /no token `tok_none`/)
    const then = async (): Promise<string> =>
      (await cli.here(['why', '--subject', 'Agent/migrator', '--at', at], { env: auditor })).stdout
    const tokens = async (): Promise<string> => /^Tokens\n([^]*?)\n\n/mu.exec(await then())?.[1] ?? ''
    assert.match(await tokens(), new RegExp(`${jti}[^]*repository_id 5678`, 'u'))
    // what is revoked later was good then
    await cli.run(['token', 'revoke'], { env: job, stdin: ran.stdout })
    assert.match(await tokens(), new RegExp(jti, 'u'))
    const now = await cli.here(
      ['why', '--subject', 'Agent/migrator', '--at', new Date().toISOString(), '--json'],
      { env: auditor },
    )
    const { tokens: left } = JSON.parse(now.stdout) as { tokens: { id: string }[] }
    assert.equal(
      left.some(({ id }) => id === jti),
      false,
    )
    const proved = await cli.here(['audit', 'prove', jti, '-o', `${jti}.json`], { env: auditor })
    assert.equal(proved.code, 0, proved.stderr)
    const keys = JSON.parse((await cli.here(['audit', 'keys', '--json'], { env: auditor })).stdout) as {
      items: { vkey: string }[]
    }
    const verified = await cli.here(['audit', 'verify', `${jti}.json`, '--key', keys.items[0]?.vkey ?? ''])
    assert.equal(verified.code, 0, verified.stderr)
    assert.match(
      verified.stdout,
      new RegExp(
        `Token ${jti} for Api/ledger \\(ledger:read\\)[^]*issuer .github.[^]*repository_id "5678"[^]*revoked at`,
        'u',
      ),
    )
  })
  test('is refused what no policy permits', async () => {
    const ran = await cli.here(['token', 'exchange', '--resource', 'Api/ledger', '--scope', 'ledger:post'], {
      env: job,
    })
    assert.deepEqual([ran.code, ran.stdout], [5, ''])
    assert.match(
      ran.stderr,
      /no token: ledger:post on Api\/ledger is not permitted \(invalid_target\)[^]*writ why dec_/,
    )
  })
})

test('S27 the action of GitHub has a task and a token, and after a job that failed neither', async () => {
  const folder = join(import.meta.dirname, '../../examples/github-action')
  const step = async (file: string, more: Record<string, string>): Promise<string> => {
    const child = spawn(process.execPath, [...engineFlags, join(folder, file)], {
      env: {
        ...job,
        ...compiled(),
        PATH: process.env['PATH'],
        GITHUB_OUTPUT: join(cli.home, 'github-output'),
        GITHUB_STATE: join(cli.home, 'github-state'),
        INPUT_URL: world.app.url,
        INPUT_AUDIENCE: AUDIENCE,
        INPUT_RESOURCE: 'Api/ledger',
        INPUT_SCOPE: 'ledger:read',
        INPUT_TTL: '1h',
        ...more,
      },
    })
    let log = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (log += text))
    const [code] = (await once(child, 'close')) as [number]
    assert.equal(code, 0, log)
    return log
  }
  const kept = (name: string): string =>
    new RegExp(`^${name}<<(.+)\n(.+)\n\\1$`, 'mu').exec(
      readFileSync(join(cli.home, 'github-state'), 'utf8'),
    )?.[2] ?? ''

  await step('main.mjs', {})
  const [task, token] = [kept('task'), kept('token')]
  assert.deepEqual([claimsOf(token)['writ_task'], claimsOf(token)['sub']], [task, 'Agent/migrator'])
  await step('post.mjs', { STATE_task: task, STATE_token: token, 'INPUT_JOB-STATUS': 'failure' })
  const ada = createWrit({ url: world.app.url, token: world.tokens.ada })
  assert.equal((await ada.tasks.get(task)).task.state, 'failed')
  const { items } = await world.app.flows.tokens.list(world.ada, {})
  assert.notEqual(items.find(({ id }) => id === claimsOf(token)['jti'])?.revokedAt, undefined)
})

describe('a key', () => {
  test('signs in, and gets tokens in its own name', async () => {
    const status = await cli.here(['status'], { env: key })
    assert.match(status.stdout, /you are Agent\/migrator/, status.stderr)
    const ran = await cli.here(ledger, { env: key })
    assert.equal(ran.code, 0, ran.stderr)
    assert.deepEqual(
      [claimsOf(ran.stdout.trim())['client_id'], claimsOf(ran.stdout.trim())['sub']],
      ['ci', 'Agent/migrator'],
    )
    const revoked = await cli.here(['token', 'revoke'], { env: key, stdin: ran.stdout })
    assert.equal(revoked.code, 0, revoked.stderr)
  })
  test('waits for approval, and gets a token that is bound to its key and to the task', async () => {
    const task = await declare(world)
    const migrate = [
      'token',
      'exchange',
      '--resource',
      'Database/orders',
      '--scope',
      'db:migrate',
      '--task',
      task,
    ]
    const told = await cli.here([...migrate, '--dpop', 'holder.jwk'], { env: key })
    assert.deepEqual([told.code, told.stdout], [5, ''])
    assert.match(told.stderr, /needs one approval by dba[^]*--wait/)
    // that it would be bound to a key is no secret; that it would be permitted is
    const unbound = await cli.here(migrate, { env: key })
    assert.equal(unbound.code, 5, unbound.stderr)
    assert.match(unbound.stderr, /needs one approval by dba[^]*--wait[^]*--dpop FILE[^]*bound to a key/)
    const running = cli.start([...migrate, '--dpop', 'holder.jwk', '--reason', 'INC-42', '--wait'], {
      env: key,
    })
    const [, id = ''] = await running.says(/access request (req_\w+)/)
    const grace = createWrit({ url: world.app.url, token: world.tokens.grace })
    const { digest } = await grace.requests.get(id)
    await grace.requests.approve(id, digest)
    const ran = await running.done
    assert.equal(ran.code, 0, ran.stderr)
    const claims = claimsOf(ran.stdout.trim())
    assert.equal(claims['writ_task'], task)
    assert.match((claims['cnf'] as { jkt: string }).jkt, /^[\w-]{43}$/)
    assert.match(ran.stderr, /bound to its key/)
  })
  test('of somebody else is nobody', async () => {
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    writeFileSync(join(cli.home, 'other.pem'), other.export({ type: 'pkcs8', format: 'pem' }), {
      mode: 0o600,
    })
    const ran = await cli.here(ledger, { env: { ...key, WRIT_CLIENT_KEY: 'other.pem' } })
    assert.deepEqual([ran.code, ran.stdout], [4, ''])
    assert.match(ran.stderr, /invalid_client/)
  })
})

test('a session and an API key are exchanged for nothing, and it is said what is', async () => {
  const ran = await cli.here(ledger, { env: { WRIT_TOKEN: world.tokens.migrator } })
  assert.deepEqual([ran.code, ran.stdout], [4, ''])
  assert.match(ran.stderr, /no token that can be exchanged[^]*writ doctor/)
})
