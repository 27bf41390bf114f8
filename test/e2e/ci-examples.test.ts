/**
 * The examples for GitHub and GitLab against a local issuer with their real claims: a small runner does with them what
 * those do, also when the job fails or is cancelled.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { EmbeddedJWK, calculateJwkThumbprint, jwtVerify } from 'jose'
import { parse } from 'yaml'
import { compiled, engineFlags } from '../support/engine.ts'
import { gitlabClaims, openIssuer, openTokenServer } from '../support/token-server.ts'
import type { Issuer, TokenServer } from '../support/token-server.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const ACTION = join(ROOT, 'examples/github-action')
/** Any token of an issuer. */
const TOKEN = /eyJ[\w-]*\.[\w-]/u

let issuer: Issuer
let server: TokenServer
let home: string

before(async () => {
  issuer = await openIssuer()
})
after(() => issuer[Symbol.asyncDispose]())
beforeEach(async () => {
  server = await openTokenServer(issuer)
  home = mkdtempSync(join(tmpdir(), 'writ-ci-'))
})
afterEach(async () => {
  await server[Symbol.asyncDispose]()
  rmSync(home, { recursive: true, force: true })
})

type Step = Readonly<{
  code: number | null
  log: string
  masked: string[]
  outputs: Record<string, string>
  state: Record<string, string>
}>

/** What a step wrote for the runner: `name<<end`, lines, `end`. */
function readFileCommands(file: string): Record<string, string> {
  const found: Record<string, string> = {}
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : []
  for (let at = 0; at < lines.length; at++) {
    const head = /^(.+?)<<(.+)$/u.exec(lines[at] ?? '')
    if (head === null) continue
    const end = lines.indexOf(head[2] as string, at)
    found[head[1] as string] = lines.slice(at + 1, end).join('\n')
    at = end
  }
  return found
}

describe('the GitHub Action', () => {
  const action = parse(readFileSync(join(ACTION, 'action.yml'), 'utf8')) as {
    inputs: Record<string, { default?: string; required?: boolean }>
    outputs: Record<string, unknown>
    runs: Record<string, string>
  }

  /** Inputs as the runner hands them over: defaults of the definition, with its expressions worked out. */
  const inputs = (given: Record<string, string>, status: string): Record<string, string> =>
    Object.fromEntries(
      Object.keys(action.inputs).map((name) => [
        `INPUT_${name.toUpperCase()}`,
        given[name] ?? (action.inputs[name]?.default ?? '').replace('${{ job.status }}', status),
      ]),
    )

  type Job = {
    given?: Record<string, string>
    state?: Record<string, string>
    status?: string
    env?: Record<string, string>
  }

  function start(file: string, { given = {}, state = {}, status = 'success', env = issuer.githubEnv }: Job) {
    const folder = mkdtempSync(join(home, 'step-'))
    const [outputFile, stateFile] = [join(folder, 'output'), join(folder, 'state')]
    const child = spawn(process.execPath, [...engineFlags, join(ACTION, file)], {
      env: {
        ...compiled(),
        PATH: process.env['PATH'],
        GITHUB_OUTPUT: outputFile,
        GITHUB_STATE: stateFile,
        GITHUB_REPOSITORY: 'acme/orders',
        GITHUB_RUN_ID: '1658821493',
        GITHUB_JOB: 'deploy',
        ...inputs({ url: server.url, resource: 'Api/payments', scope: 'payment:refund', ...given }, status),
        ...Object.fromEntries(Object.entries(state).map(([name, value]) => [`STATE_${name}`, value])),
        ...env,
      },
    })
    let log = ''
    const watchers = new Set<() => void>()
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        log += text
        for (const look of watchers) look()
      })
    const done = once(child, 'close').then(([code]): Step => ({
      code: code as number | null,
      log,
      masked: [...log.matchAll(/::add-mask::(.+)/gu)].map((match) => match[1] as string),
      outputs: readFileCommands(outputFile),
      state: readFileCommands(stateFile),
    }))
    const says = (pattern: RegExp): Promise<void> =>
      new Promise((found, lost) => {
        const look = (): void => {
          if (pattern.test(log)) found()
        }
        watchers.add(look)
        look()
        void done.then(() => lost(new Error(`ended without saying ${String(pattern)}: ${log}`)))
      })
    return { child, done, says }
  }
  const main = (job: Job = {}): Promise<Step> => start(action.runs['main'] ?? '', job).done
  const post = (before: Step, job: Job = {}): Promise<Step> =>
    start(action.runs['post'] ?? '', { ...job, state: before.state }).done

  /** In the log the runner shows stars for what was masked; nothing else may be in it. */
  function keepsSecrets(...steps: Step[]): void {
    for (const { log, masked } of steps) {
      const shown = log.replaceAll(/::add-mask::.+\n/gu, '')
      assert.doesNotMatch(shown, TOKEN)
      for (const secret of ['request-token-canary', ...server.issued, ...masked])
        assert.equal(shown.includes(secret), false, shown)
    }
  }

  test('is what the runner expects', () => {
    assert.equal(action.runs['using'], 'node24')
    assert.equal(action.runs['post-if'], 'always()')
    for (const file of ['main', 'post']) assert.ok(existsSync(join(ACTION, action.runs[file] ?? 'none')))
    for (const file of ['main.mjs', 'post.mjs', 'writ.mjs', 'runner.mjs']) {
      const imported = [...readFileSync(join(ACTION, file), 'utf8').matchAll(/ from '([^']+)'/gu)].map(
        (match) => match[1],
      )
      for (const name of imported) assert.match(name ?? '', /^(?:node:|\.\/)/)
    }
  })
  test('a token under a task of the job; after the job both have ended', async () => {
    const before = await main()
    assert.equal(before.code, 0, before.log)
    const [token] = server.issued
    assert.equal(before.outputs['token'], token)
    assert.match(before.outputs['expires-at'] ?? '', /Z$/)
    const task = before.outputs['task'] ?? ''
    assert.equal(server.tasks.get(task), 'declared')
    assert.ok(before.masked.includes(token ?? ''))
    const sent = server.seen.find(({ path }) => path === '/oauth/token')?.form
    assert.equal(sent?.get('writ_task'), task)
    const claims = await issuer.verify(sent?.get('subject_token') ?? '', server.url)
    assert.deepEqual([claims['repository_id'], claims['actor_id']], ['5678', '583231'])
    const declared = server.seen.find(({ path }) => path === '/v1/tasks')?.body
    assert.deepEqual(declared?.['scope'], {
      actions: ['payment:refund'],
      resources: [{ type: 'Api', id: 'payments' }],
    })
    assert.equal(declared?.['heartbeat'], declared?.['ttl'])

    const afterwards = await post(before)
    assert.equal(afterwards.code, 0, afterwards.log)
    assert.equal(server.tasks.get(task), 'completed')
    assert.deepEqual([...server.revoked], [token])
    keepsSecrets(before, afterwards)
  })
  test('after a job that failed or was cancelled they have ended too, as what it was', async () => {
    for (const [status, ended] of [
      ['failure', 'failed'],
      ['cancelled', 'cancelled'],
    ] as const) {
      const before = await main()
      assert.equal((await post(before, { status })).code, 0)
      assert.equal(server.tasks.get(before.outputs['task'] ?? ''), ended)
      assert.equal(server.revoked.has(before.outputs['token'] ?? ''), true)
    }
  })
  test('cancelled while it waits for approval: the request is withdrawn, the task ended', async () => {
    server.how.challenge = true
    const running = start('main.mjs', { given: { wait: '600', reason: 'INC-42' } })
    await running.says(/waiting for approval of access request req_1/)
    running.child.kill('SIGINT')
    const before = await running.done
    assert.deepEqual([before.outputs['token'], before.state['request']], [undefined, 'req_1'])
    const afterwards = await post(before, { status: 'cancelled' })
    assert.equal(afterwards.code, 0, afterwards.log)
    assert.equal(server.tasks.get(before.state['task'] ?? ''), 'cancelled')
    assert.equal(
      server.seen.some(({ path }) => path === '/access/v1/requests/req_1/cancel'),
      true,
    )
    assert.deepEqual(server.issued, [])
    keepsSecrets(before, afterwards)
  })
  test('approved while it waits: the token comes with the approval', async () => {
    server.how.challenge = true
    const running = start('main.mjs', { given: { wait: '600', reason: 'INC-42' } })
    await running.says(/waiting for approval/)
    server.approve()
    const before = await running.done
    assert.equal(before.code, 0, before.log)
    assert.equal(before.state['request'], '')
    const sent = server.seen.filter(({ path }) => path === '/oauth/token').at(-1)?.form
    assert.equal((JSON.parse(sent?.get('approval') ?? '{}') as { id?: string }).id, 'apr_1')
    const submitted = server.seen.find(({ path }) => path === '/access/v1/requests')?.body
    assert.deepEqual(submitted?.['subject'], { type: 'Service', id: '5678' })
    assert.deepEqual(submitted?.['context'], { task: before.outputs['task'], justification: 'INC-42' })
  })
  test('bound to a key of the job, which is gone after it', async () => {
    server.how.nonce = 'n1'
    const env = { ...issuer.githubEnv, RUNNER_TEMP: home }
    const before = await main({ given: { dpop: 'true' }, env })
    assert.equal(before.code, 0, before.log)
    const file = before.outputs['key-file'] ?? ''
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const key = JSON.parse(readFileSync(file, 'utf8')) as { kty: string; crv: string; x: string; y: string }
    const proofs = server.seen.flatMap(({ headers }) => headers['dpop'] ?? [])
    assert.equal(proofs.length, 2)
    const { payload, protectedHeader } = await jwtVerify(proofs[1] ?? '', EmbeddedJWK, { typ: 'dpop+jwt' })
    assert.deepEqual(
      [payload['htm'], payload['htu'], payload['nonce']],
      ['POST', `${server.url}/oauth/token`, 'n1'],
    )
    assert.equal(await calculateJwkThumbprint(protectedHeader.jwk ?? {}), await calculateJwkThumbprint(key))
    const afterwards = await post(before, { env })
    assert.equal(afterwards.code, 0, afterwards.log)
    assert.equal(existsSync(file), false)
    server.how.token = () => ({
      status: 400,
      body: { error: 'invalid_dpop_proof', error_description: 'bound' },
    })
    assert.match((await main()).log, /::error::no token: bound; set `dpop: true`/)
  })
  test('what is refused fails the step with a sentence, and leaves no task behind', async () => {
    server.how.token = () => ({
      status: 400,
      body: { error: 'access_denied', error_description: 'no policy permits it' },
    })
    const before = await main()
    assert.equal(before.code, 1)
    assert.match(before.log, /::error::no token: no policy permits it/)
    assert.equal((await post(before, { status: 'failure' })).code, 0)
    assert.equal(server.tasks.get(before.state['task'] ?? ''), 'failed')
    server.how.token = () => undefined
    server.how.challenge = true
    const unasked = await main()
    assert.match(unasked.log, /::error::no token: evidence is missing/)
    assert.equal(
      server.seen.some(({ path }) => path === '/access/v1/requests'),
      false,
    )
  })
  test('what cannot be confirmed after the job fails it; the rest is tried all the same', async () => {
    const before = await main()
    server.how.revoke = { status: 500, body: { error: 'server_error' } }
    const afterwards = await post(before)
    assert.equal(afterwards.code, 1)
    assert.match(afterwards.log, /::error::not confirmed: token ended: .*status 500/)
    assert.equal(server.tasks.get(before.outputs['task'] ?? ''), 'completed')
    // ended by itself in the meantime is ended
    delete server.how.revoke
    server.how.end = { status: 409, body: { code: 'ERR_CONFLICT' } }
    assert.equal((await post(before)).code, 0)
  })
  test('a task that was given is not ended, and a job that got nothing has nothing to end', async () => {
    const before = await main({ given: { task: 'task_mine' } })
    assert.equal(before.outputs['task'], 'task_mine')
    assert.equal((await post(before)).code, 0)
    assert.equal(server.tasks.size, 0)
    const none = await main({ env: {} })
    assert.match(none.log, /::error::.*id-token: write/)
    const seen = server.seen.length
    assert.equal((await post(none, { env: {} })).code, 0)
    assert.equal(server.seen.length, seen)
  })
  test('inputs that are missing, an issuer that fails, a server of another name', async () => {
    assert.match((await main({ given: { scope: '' } })).log, /::error::the input `scope` is missing/)
    assert.match((await main({ given: { wait: '10m' } })).log, /::error::the input `wait`/)
    issuer.broken.gives = { status: 403, body: { message: 'request-token-canary' } }
    const refused = await main()
    delete issuer.broken.gives
    assert.match(refused.log, /::error::GitHub gave no token of this job \(status 403\)/)
    server.how.metadata = { issuer: 'https://writ.example' }
    const other = await main()
    assert.match(other.log, /::error::the server calls itself https:\/\/writ\.example/)
    server.how.metadata = { token_endpoint: 'https://evil.example/token' }
    assert.match((await main()).log, /::error::the token_endpoint is not at the server/)
    assert.deepEqual(server.issued, [])
    keepsSecrets(refused, other)
  })
})

describe('the GitLab jobs', () => {
  type Job = {
    extends?: string
    id_tokens?: Record<string, { aud: string }>
    variables?: Record<string, string>
    before_script?: string[]
    script?: string[]
    after_script?: string[]
  }
  const file = parse(readFileSync(join(ROOT, 'examples/gitlab/writ.gitlab-ci.yml'), 'utf8')) as Record<
    string,
    Job
  >

  /** A job as `extends` makes it. */
  const jobOf = (name: string): Job => {
    const { extends: from, ...own } = file[name] ?? assert.fail(`no job ${name}`)
    return { ...(from === undefined ? {} : jobOf(from)), ...own }
  }

  type Finished = { code: number; log: string }

  /** The scripts of a job as the runner runs them: one shell for the work, another after it, whatever happened. */
  async function run(
    job: Job,
    variables: Record<string, string>,
    kill?: { after: RegExp },
  ): Promise<Finished> {
    const bin = join(home, 'bin')
    mkdirSync(bin, { recursive: true })
    writeFileSync(
      join(bin, 'writ'),
      `#!/bin/sh\nexec '${process.execPath}' ${engineFlags.join(' ')} '${join(ROOT, 'bin/writ.js')}' "$@"\n`,
    )
    chmodSync(join(bin, 'writ'), 0o755)
    const known: Record<string, string> = {
      WRIT_URL: server.url,
      CI_PROJECT_DIR: home,
      CI_JOB_URL: 'https://gitlab.example/acme/orders/-/jobs/302',
      ...variables,
    }
    const expand = (text: string): string =>
      text.replaceAll(/\$(\w+)/gu, (_, name: string) => known[name] ?? '')
    for (const [name, value] of Object.entries(job.variables ?? {})) known[name] = expand(value)
    const tokens = await Promise.all(
      Object.entries(job.id_tokens ?? {}).map(async ([name, { aud }]) => [
        name,
        await issuer.sign(gitlabClaims(expand(aud))),
      ]),
    )
    const env = {
      PATH: `${bin}:${process.env['PATH']}`,
      HOME: home,
      ...compiled(),
      ...known,
      ...(Object.fromEntries(tokens) as Record<string, string>),
    }
    const shell = async (lines: readonly string[]): Promise<Finished> => {
      const child = spawn('/bin/sh', ['-ec', lines.join('\n')], { env, cwd: home, detached: true })
      let log = ''
      let isKilled = false
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => {
          log += text
          if (isKilled || kill?.after.test(log) !== true || child.pid === undefined) return
          // once: what is said after it may be of a group that is gone
          isKilled = true
          process.kill(-child.pid, 'SIGTERM')
        })
      const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
      return { code: code ?? (signal === null ? 0 : 143), log }
    }
    const work = await shell([...(job.before_script ?? []), ...(job.script ?? [])])
    const afterwards = await shell(job.after_script ?? [])
    return { code: work.code, log: work.log + afterwards.log }
  }

  const payments = { WRIT_RESOURCE: 'Api/payments', WRIT_SCOPE: 'payment:refund' }
  const use = 'test "$(cat "$WRIT_TOKEN_PATH")" && echo used'

  test('a token for the job, ended after it', async () => {
    const ran = await run({ ...jobOf('.writ-token'), script: [use] }, payments)
    assert.equal(ran.code, 0, ran.log)
    assert.match(ran.log, /used/)
    assert.deepEqual([...server.revoked], server.issued)
    assert.equal(server.issued.length, 1)
    assert.doesNotMatch(ran.log, TOKEN)
    for (const secret of server.issued) assert.equal(ran.log.includes(secret), false, ran.log)
    const form = server.seen.find(({ path }) => path === '/oauth/token')?.form
    assert.equal((await issuer.verify(form?.get('subject_token') ?? '', server.url))['project_id'], '20')
  })
  test('also after a job that failed, or was cancelled', async () => {
    const failed = await run({ ...jobOf('.writ-token'), script: [use, 'exit 3'] }, payments)
    assert.equal(failed.code, 3, failed.log)
    assert.deepEqual([...server.revoked], server.issued)
    const cancelled = await run({ ...jobOf('.writ-token'), script: [use, 'exec sleep 60'] }, payments, {
      after: /used/,
    })
    assert.notEqual(cancelled.code, 0)
    assert.deepEqual([...server.revoked], server.issued)
    assert.equal(server.issued.length, 2)
  })
  test('a job that got none has none to end, and fails as what it was', async () => {
    server.how.token = () => ({
      status: 400,
      body: { error: 'access_denied', error_description: 'no policy permits it' },
    })
    const ran = await run({ ...jobOf('.writ-token'), script: [use] }, payments)
    assert.equal(ran.code, 5, ran.log)
    assert.doesNotMatch(ran.log, /used/)
    assert.equal(server.revoked.size, 0)
  })
  test('a token that GitLab made for another server is not sent', async () => {
    const job = {
      ...jobOf('.writ-token'),
      id_tokens: { WRIT_ID_TOKEN: { aud: 'https://other.example' } },
      script: [use],
    }
    const ran = await run(job, payments)
    assert.equal(ran.code, 4, ran.log)
    assert.match(ran.log, /is for `https:\/\/other\.example`/)
  })
  test('`.writ-run` hands `writ run` its identity', async () => {
    const ran = await run(jobOf('.writ-run'), {
      WRIT_FOR: 'db:migrate',
      WRIT_ON: 'Database/orders',
      WRIT_COMMAND: 'true',
    })
    // no grants are to be had at this server: what counts is that the job was known to it
    assert.equal(ran.code, 125, ran.log)
    assert.equal(
      server.seen.some(({ path, body }) => path === '/v1/tasks' && body['subject'] === 'Service/20'),
      true,
    )
  })
})
