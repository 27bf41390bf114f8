/**
 * What everybody types, sends and suffers sooner or later. Each time: one clear sentence with its mend, the exit code
 * or HTTP status that says what kind it is, and nothing lost.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { createWrit } from '../../client/src/index.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import type { Json } from '../../src/model/canonical.ts'
import { Cli, stop } from '../support/cli.ts'
import type { CliOptions, Ran } from '../support/cli.ts'
import { ordersDb } from '../support/orders-db.ts'
import { manualClock } from '../support/store.ts'
import type { World } from '../support/world.ts'
import { activeGrant, declare, openWorld, ref, requestMigration } from '../support/world.ts'
import { startWorld } from '../targets/world.ts'

/** One sentence after the mark, perhaps a hint, never a stack: with this exit code. */
function failsClearly(ran: Ran, code: number, says: RegExp, what = ''): void {
  assert.equal(ran.code, code, `${what}\n${ran.stdout}${ran.stderr}`)
  assert.match(ran.stderr, says, what)
  assert.doesNotMatch(ran.stderr, /writ: unexpected|undefined|\[object|\n\s+at |Error:/, what)
  const sentences = ran.stderr.split('\n').filter((line) => line.startsWith('✗ writ: '))
  assert.equal(sentences.length, 1, `${what}: ${ran.stderr}`)
  assert.match(sentences[0] ?? '', /^✗ writ: \S.*[^.\s]$/, what)
}

type Case = readonly [args: readonly string[], code: number, says: RegExp, options?: CliOptions]

/** A few at a time: each is a process of its own, unless `how` says otherwise. */
async function allFailClearly(cli: Cli, cases: readonly Case[], how: 'run' | 'here' = 'run'): Promise<void> {
  const left = [...cases]
  const work = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [args, code, says, options] = next
      failsClearly(await cli[how](args, options), code, says, args.join(' '))
    }
  }
  await Promise.all([work(), work(), work()])
}

type Members = Readonly<Record<string, Json>>

const said = (value: Json | undefined): string =>
  typeof value === 'string' ? value : JSON.stringify(value ?? null)

/** Knocks at a world's HTTP door as one of its people or callers. */
function knocker(world: World) {
  return async (who: string, method: string, path: string, body?: unknown) => {
    const token = (world.tokens as Readonly<Record<string, string>>)[who] ?? who
    const response = await fetch(world.app.url + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const answer = (await response.json()) as Members
    return { status: response.status, type: response.headers.get('content-type') ?? '', body: answer }
  }
}

type Knock = ReturnType<typeof knocker>

/** A problem document with a stable type and code, one sentence, and a mend. */
function isProblem(
  answer: Awaited<ReturnType<Knock>>,
  status: number,
  code: string,
  detail: RegExp,
  hint?: RegExp,
): void {
  const shown = JSON.stringify(answer.body)
  assert.equal(answer.status, status, shown)
  assert.match(answer.type, /^application\/problem\+json/)
  const { body } = answer
  assert.equal(body['code'], code, shown)
  assert.equal(body['type'], `urn:writ:error:${code.slice(4).toLowerCase().replaceAll('_', '-')}`)
  assert.equal(body['status'], status)
  assert.match(said(body['detail']), detail)
  assert.doesNotMatch(
    said(body['detail']),
    /^[A-Z][a-z]|\.$|\n/,
    'one sentence, begun small, without a period',
  )
  if (hint !== undefined) assert.match(said(body['hint']), hint, shown)
  assert.match(said(body['request_id']), /\S/)
}

const migrate = (more: Members = {}) => ({
  subject: { type: 'Agent', id: 'migrator' },
  action: { name: 'db:migrate' },
  resource: { type: 'Database', id: 'orders' },
  ...more,
})
const readHandbook = migrate({ action: { name: 'read' }, resource: { type: 'Document', id: 'handbook' } })
const taskInput = {
  purpose: 'p',
  scope: { actions: ['db:migrate'], resources: [{ type: 'Database', id: 'orders' }] },
}

/** The whole log verifies and holds at least what it held. */
async function nothingLost(world: World, atLeast = 0): Promise<void> {
  const verified = await verifyLog(world.app.store.log)
  assert.ok(verified.ok, JSON.stringify(verified.firstBad))
  assert.ok(verified.size >= atLeast)
}

suite('bad input', { concurrency: 3 }, () => {
  test('wrong words, wrong flags, wrong configuration, no server', async () => {
    using cli = new Cli()
    const file = (name: string, text: string): string => {
      writeFileSync(join(cli.home, name), text)
      return name
    }
    const nowhere = { env: { WRIT_URL: 'http://127.0.0.1:9' } }
    const old = join(cli.home, 'old.cjs')
    file(
      'old.cjs',
      `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.20.2' } })
       Object.defineProperty(process, 'version', { value: 'v20.20.2' })`,
    )
    await allFailClearly(cli, [
      [['requets', 'ls'], 2, /unknown command `requets`\n.*did you mean `request` or `requests`\?/],
      [['grants', 'ls', '--tsk', 'x'], 2, /unknown option `--tsk`\n.*did you mean `--task`\?/],
      [['run', '--wiat'], 125, /unknown option `--wiat`\n.*did you mean `--wait`\?/],
      [
        ['server', '-c', file('typo.yaml', 'prot: 1\n')],
        2,
        /typo\.yaml:1:1: unknown setting `prot`, did you mean `port`\?/,
      ],
      [['server', '-c', file('word.yaml', 'port: eighty\n')], 2, /word\.yaml:1:7: `port` is not a number/],
      [['task', 'ls'], 7, /cannot reach `http:\/\/127\.0\.0\.1:9`.*\n.*is the server running/, nowhere],
      [['keys', 'create', 'k', '--subject', 'Agent/a', '--out', 'k.key'], 7, /cannot reach/, nowhere],
      [['run', '--for', 'a', '--on', 'R/r', '--reason', 'x', '--', 'true'], 125, /cannot reach/, nowhere],
    ])
    assert.equal(existsSync(join(cli.home, 'k.key')), false, 'a key that was not made leaves no file')
    assert.equal(existsSync(join(cli.home, 'writ-data')), false, 'what does not start makes nothing')
    // bin/writ.js speaks before anything else is loaded, so plainly
    const aged = await cli.run(['status'], { env: { NODE_OPTIONS: `--require ${old}` } })
    assert.equal(aged.code, 1)
    assert.equal(aged.stderr, 'writ: needs Node.js 24 or newer; this is v20.20.2\n')
  })

  test('a port that is taken, a folder that is served, made for dev, sealed with another key, or damaged', async () => {
    using cli = new Cli({ WRIT_PORT: '0', WRIT_DATA: 'data' })
    mkdirSync(join(cli.home, 'policies')) // so that dev writes no samples
    writeFileSync(
      join(cli.home, 'policies/a.cedar'),
      readFileSync(new URL('../../policies/writ.cedar', import.meta.url)),
    )
    const [server, dev] = [cli.start(['server']), cli.start(['dev', '--data', 'dev'])]
    const [url] = await server.says(/http:\S+/, 'stdout')
    await dev.says(/You are/, 'stdout')
    assert.equal(await stop(dev), 0)
    const busy = createServer().listen(0, '127.0.0.1').unref()
    await once(busy, 'listening')
    const { port } = busy.address() as AddressInfo
    const key = (name: string, text: string, mode: number): string => {
      writeFileSync(join(cli.home, name), text)
      chmodSync(join(cli.home, name), mode)
      return name
    }
    const loose = key('loose.key', Buffer.alloc(32).toString('base64'), 0o644)
    const wrong = key('wrong.key', 'not a key', 0o600)
    // each in a folder of its own: they run at once, and a folder is one process's
    await allFailClearly(cli, [
      [
        ['server'],
        1,
        /another Writ is running on the data folder `\S+data`\n.*stop it, or name another folder/,
      ],
      [
        ['server', '--data', 'third', '--port', String(port)],
        2,
        new RegExp(`port ${port} on 127\\.0\\.0\\.1 is taken\\n.*--port`),
      ],
      [['server', '--data', 'dev'], 2, /this data folder was made by `writ dev`\n.*--data/],
      [
        ['server', '--data', 'fourth', '--key-file', loose],
        2,
        /others may read the key file `\S+loose\.key`\n.*chmod 600/,
      ],
      [
        ['server', '--data', 'fifth', '--key-file', wrong],
        2,
        /`\S+wrong\.key` is not a key file\n.*restore it from your backup/,
      ],
      [
        ['server', '--data', 'sixth', '--key-file', 'policies'],
        2,
        /cannot read the key file|others may read the key file/,
      ],
    ])
    busy.close()
    assert.equal((await fetch(`${url}/healthz`)).status, 200, 'the first server goes on')
    assert.equal(await stop(server), 0)
    failsClearly(
      await cli.run(['dev']),
      2,
      /this data folder belongs to a server, not to `writ dev`\n.*--data/,
    )

    const database = join(cli.home, 'data/writ.db')
    const sound = readFileSync(database)
    const damaged = Buffer.from(sound).fill(0x5a, 4096, 3 * 4096)
    writeFileSync(database, damaged)
    failsClearly(
      await cli.run(['server']),
      1,
      /the data in `\S+data` is damaged and is not served\n.*restore a backup/,
    )
    const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
    assert.equal(digest(readFileSync(database)), digest(damaged), 'what is damaged stays as it was found')
    writeFileSync(database, sound)
    const again = cli.start(['server'])
    await again.says(/http:/, 'stdout')
    assert.equal(await stop(again), 0)
  })

  test('over HTTP and at the command line: types, policies, targets, tasks, tokens, ids', async () => {
    const clock = manualClock(Date.now())
    await using world = await openWorld({ clock })
    using cli = new Cli({ WRIT_URL: world.app.url, WRIT_TOKEN: world.tokens.migrator })
    const knock = knocker(world)
    const { flows } = world.app
    const as = (who: 'ada' | 'grace') => ({ env: { WRIT_TOKEN: world.tokens[who] } })

    // a type that is none, and one that nobody knows: the second looks like any other deny
    const noType = migrate({ resource: { type: 'no type', id: 'orders' } })
    isProblem(await knock('migrator', 'POST', '/access/v1/evaluation', noType), 400, 'ERR_INPUT_INVALID', /`resource\.type` must be an entity type/, /openapi/) // prettier-ignore
    isProblem(await knock('ada', 'PUT', '/v1/inventory', { entities: [{ type: 'no type', id: 'x' }] }), 400, 'ERR_INPUT_INVALID', /`entities\.0\.type` must be an entity type/) // prettier-ignore
    const ask = async (type: string, id: string): Promise<Members> => {
      const { evaluation_id, evaluated_at, ...rest } = (
        await knock('migrator', 'POST', '/access/v1/evaluation', migrate({ resource: { type, id } }))
      ).body['context'] as Members
      assert.ok(evaluation_id !== undefined && evaluated_at !== undefined)
      return rest
    }
    assert.deepEqual(await ask('Databse', 'orders'), await ask('Database', 'nowhere'))

    // a policy that does not load: its place, what was meant, and the set in force stays
    const before = (await knock('ada', 'GET', '/v1/policies/current')).body['version']
    const text = 'permit (principal, action == Action::"db:migrate", resource is Databse)\nwhen { true };\n'
    const refused = await knock('ada', 'POST', '/v1/policies', { policies: [{ name: 'a.cedar', text }] })
    isProblem(refused, 422, 'ERR_POLICY_INVALID', /^a\.cedar:1:64: unknown entity type `Databse`$/, /did you mean `Database`\?/) // prettier-ignore
    mkdirSync(join(cli.home, 'policies'))
    writeFileSync(join(cli.home, 'policies/a.cedar'), `${text}permit (\n`)
    writeFileSync(
      join(cli.home, 'inventory.yaml'),
      'entities: [{type: Database, id: a}, {type: Agent, id: b}]\n',
    )

    // a task that has ended
    const ended = await declare(world)
    await flows.endTask(world.migrator, ended, 'completed')
    isProblem(await knock('migrator', 'POST', `/v1/tasks/${ended}/heartbeat`, {}), 409, 'ERR_CONFLICT', /^task `task_\w+` has ended$/, /declare a new task/) // prettier-ignore
    const late = await knock(
      'migrator',
      'POST',
      '/access/v1/evaluation',
      migrate({ context: { task: ended } }),
    )
    assert.deepEqual([late.status, late.body['decision']], [200, false])
    assert.equal((late.body['context'] as Members)['reason'], 'task_ended')

    // nobody's token, somebody else's ids, a target that is none, a body that is none
    const { task, grant } = await activeGrant(world)
    const other = (await flows.createKey(world.ada, { name: 'other', subject: ref('Service/orders-ci') }))
      .secret
    for (const path of [`/v1/tasks/${task}`, `/v1/grants/${grant}`, '/v1/tasks/task_none'])
      isProblem(
        await knock(other.expose(), 'GET', path),
        404,
        'ERR_NOT_FOUND',
        /^there is no (?:task|grant) `\w+`$/,
      )
    isProblem(await knock(other.expose(), 'POST', '/v1/credentials', { grant }), 404, 'ERR_NOT_FOUND', /^there is no grant/) // prettier-ignore
    isProblem(await knock('writ_key_wrong', 'GET', '/v1/tasks'), 401, 'ERR_UNAUTHENTICATED', /credentials are missing, unknown or no longer valid/, /Authorization: Bearer/) // prettier-ignore
    isProblem(await knock('migrator', 'POST', '/v1/credentials', { grant, target: 'nowhere' }), 404, 'ERR_NOT_FOUND', /target `nowhere` does not serve `db:migrate` on Database\/orders/, /writ target add/) // prettier-ignore
    isProblem(await knock('ada', 'GET', '/v1/targets/nowhere/check'), 404, 'ERR_NOT_FOUND', /there is no target `nowhere`/) // prettier-ignore
    isProblem(await knock('migrator', 'POST', '/access/v1/evaluation', '{"subject":'), 400, 'ERR_INPUT_INVALID', /the body is not JSON/, /one JSON value/) // prettier-ignore

    const target = ['--role', 'm=o', '--for', 'a', '--on', 'D/d', '--with-password']
    await allFailClearly(
      cli,
      [
        [['can-i', 'db:migrate', 'orders'], 2, /`orders` is not a reference[^]*Type\/id/],
        [['policy', 'check'], 3, /error\[P001\][^]*policies\/a\.cedar:3:9[^]*1 problem in \.\/policies/],
        [
          ['policy', 'publish'],
          3,
          /✗ writ: a\.cedar:3:9: unexpected end of input\n.*the set in force stays/,
          as('ada'),
        ],
        [['target', 'check', 'nowhere'], 1, /there is no target `nowhere`/, as('ada')],
        [['target', 'add', 'x', '--kind', 'oracle', '--address', 'x://a@h/d', ...target], 2, /`oracle` is not a kind of target\n.*postgres/, { stdin: 'p', ...as('ada') }], // prettier-ignore
        [['target', 'add', 'x', '--address', 'postgresql://a@127.0.0.1:9/d', ...target], 1, /✗ writ: target `x` does not answer: ECONNREFUSED.*\n.*running and reachable/, { stdin: 'p', ...as('ada') }], // prettier-ignore
        [['task', 'heartbeat', ended], 1, /task `task_\w+` has ended\n.*declare a new task/],
        [['run', '--nest', '--for', 'db:migrate', '--on', 'Database/orders', '--reason', 'r', '--', 'true'], 125, /task `task_\w+` has ended\n.*declare a task of its own/, { env: { WRIT_TASK: ended } }], // prettier-ignore
        [['task', 'ls'], 4, /credentials are missing, unknown[^]*writ login --code/, { env: { WRIT_TOKEN: 'writ_key_wrong' } }], // prettier-ignore
        [['task', 'ls'], 4, /cannot read the token file `\S+gone\.key` \(ENOENT\)\n.*keys create --out/, { env: { WRIT_TOKEN: '', WRIT_TOKEN_FILE: 'gone.key' } }], // prettier-ignore
        [
          ['grants', 'show', grant],
          1,
          /there is no grant `grant_\w+`/,
          { env: { WRIT_TOKEN: other.expose() } },
        ],
        [['requests', 'approve'], 2, /nothing waits for your approval\n.*writ requests ls/, as('grace')],
      ],
      'here',
    )
    assert.equal((await knock('ada', 'GET', '/v1/policies/current')).body['version'], before)
    assert.equal(
      (await knock('migrator', 'POST', '/access/v1/evaluation', readHandbook)).body['decision'],
      true,
    )
    await nothingLost(world)
  })

  test('an approval that expires: nobody gave it, or nobody used it', async () => {
    const clock = manualClock(Date.now())
    // the tasks live on: what ends is the approval alone
    const defaults = {
      request: 900_000,
      task: 3_600_000,
      heartbeat: 3_600_000,
      grant: 900_000,
      thirdPartyGrant: 300_000,
    }
    await using world = await openWorld({ clock, config: { defaults } })
    using cli = new Cli({ WRIT_URL: world.app.url, WRIT_TOKEN: world.tokens.migrator })
    const running = cli.start([
      'run', '--for', 'db:migrate', '--on', 'Database/orders', '--reason', 'r', '--wait', '--',
      process.execPath, '-e', 'console.log("ran")',
    ]) // prettier-ignore
    const unused = await requestMigration(world, await declare(world))
    await world.app.flows.approve(world.grace, unused.id, { statement: unused.digest })
    const [, id = ''] = await running.says(/access request (req_\w+)/)
    const waiting = cli.start(['requests', 'wait', id])
    await Promise.all([running.says(/is pending/), waiting.says(/is pending/)])
    clock.advance(16 * 60_000)
    const [ran, waited] = await Promise.all([running.done, waiting.done])
    failsClearly(
      ran,
      125,
      new RegExp(`access request ${id} expired: nobody approved it in time\\n.*run it again`),
    )
    assert.equal(ran.stdout, '')
    assert.deepEqual([waited.code, waited.stdout], [6, 'expired\n'])
    assert.match(waited.stderr, new RegExp(`nobody approved ${id} in time · ask again`))
    const { digest } = await world.app.flows.request(world.grace, id)
    isProblem(await knocker(world)('grace', 'POST', `/v1/requests/${id}/approve`, { statement: digest }), 409, 'ERR_CONFLICT', /is expired already/, /asked for again/) // prettier-ignore
    const tooLate = await cli.run([
      'run',
      '--request',
      unused.id,
      '--',
      process.execPath,
      '-e',
      'console.log("ran")',
    ])
    failsClearly(tooLate, 125, /does not count: it was used, or not used in time\n.*ask again/)
    assert.equal(tooLate.stdout, '')
    await nothingLost(world)
  })

  test('B31 a clock that was set back: nothing widens, everything narrows, and it is said', async () => {
    const clock = manualClock(Date.now())
    await using world = await openWorld({ clock })
    using cli = new Cli({ WRIT_URL: world.app.url, WRIT_TOKEN: world.tokens.ada })
    const knock = knocker(world)
    const { grant } = await activeGrant(world)
    clock.rewind(3_600_000)
    const read = await knock('migrator', 'POST', '/access/v1/evaluation', readHandbook)
    assert.deepEqual([read.status, read.body['decision']], [200, false])
    assert.equal((read.body['context'] as Members)['reason'], 'clock_behind')
    isProblem(await knock('migrator', 'POST', '/v1/tasks', taskInput), 503, 'ERR_CLOCK_INVALID', /^the clock is 1h behind the record$/, /set the clock/) // prettier-ignore
    const [doctor, run] = await Promise.all([
      cli.here(['doctor']),
      cli.run(['run', '--for', 'db:migrate', '--on', 'Database/orders', '--reason', 'r', '--', 'true'], {
        env: { WRIT_TOKEN: world.tokens.migrator },
      }),
    ])
    assert.equal(doctor.code, 1)
    assert.match(
      doctor.stdout,
      /✗ problem {2}the clock is 1h behind what is already recorded: nothing new is permitted/,
    )
    failsClearly(run, 125, /the clock is 1h behind the record\n.*set the clock/)
    assert.equal(
      (await knock('ada', 'POST', `/v1/grants/${grant}/revoke`, { reason: 'r' })).body['recorded'],
      true,
    )
    clock.rewind(-3_600_000) // set right again
    assert.equal(
      (await knock('migrator', 'POST', '/access/v1/evaluation', readHandbook)).body['decision'],
      true,
    )
    await nothingLost(world)
  })

  test('B68 a full disk: 507 with its mend, what narrows still works, and nothing that was answered is gone', async () => {
    await using world = await openWorld({ maxBytes: 1_500_000 })
    using cli = new Cli({ WRIT_URL: world.app.url, WRIT_TOKEN: world.tokens.ada })
    const knock = knocker(world)
    const grants = [await activeGrant(world), await activeGrant(world)]
    const pad = 'x'.repeat(8_000)
    let answer: Awaited<ReturnType<Knock>>
    let filled = 0
    do {
      const blob = { type: 'Blob', id: `b${filled}`, kind: 'resource', attrs: { pad } }
      answer = await knock('ada', 'PUT', '/v1/inventory', { entities: [blob] })
      if (answer.status === 200) filled += 1
    } while (answer.status === 200 && filled < 500)
    const full = ['ERR_STORE_FULL', /^there is no room left to record this, so it was not done$/, /free space on the disk/] as const // prettier-ignore
    isProblem(answer, 507, ...full)
    isProblem(await knock('migrator', 'POST', '/v1/tasks', taskInput), 507, ...full)
    isProblem(await knock('migrator', 'POST', '/access/v1/evaluation', readHandbook), 507, ...full)
    const { size } = await world.app.flows.head()
    const [first, second] = grants
    const [doctor, request, end] = await Promise.all([
      cli.here(['doctor']),
      cli.here(['request', 'read', '--on', 'Document/handbook'], {
        env: { WRIT_TOKEN: world.tokens.migrator },
      }),
      cli.here(['task', 'end', first?.task ?? ''], { env: { WRIT_TOKEN: world.tokens.migrator } }),
    ])
    assert.equal(doctor.code, 1)
    assert.match(doctor.stdout, /✗ problem {2}there is no room left: only what narrows is recorded/)
    failsClearly(request, 1, /there is no room left to record this, so it was not done\n.*free space/)
    assert.deepEqual([end.code, end.stdout], [0, 'completed\n'], end.stderr)
    const revoked = await knock('ada', 'POST', `/v1/grants/${second?.grant ?? ''}/revoke`, { reason: 'r' })
    assert.deepEqual([revoked.status, revoked.body['denied'], revoked.body['recorded']], [200, true, true])
    await nothingLost(world, size + 2)
    const listed = await world.app.flows.inventory(world.ada, { type: 'Blob', limit: 500 })
    assert.equal(listed.items.length, filled)
  })

  test('B49 a database that is down: access is denied at once, the credential is shown until it is gone', async () => {
    const [world, database] = await Promise.all([openWorld(), startWorld()])
    await using _world = world
    await using _database = database
    using cli = new Cli({ WRIT_URL: world.app.url, WRIT_TOKEN: world.tokens.ada })
    const ada = createWrit({ url: world.app.url, token: world.tokens.ada })
    const migrator = createWrit({ url: world.app.url, token: world.tokens.migrator })
    await ada.targets.add(ordersDb(database))
    const logins = () =>
      database.sql(`select 1 from pg_roles where rolname like 'writ\\_%' and rolname <> 'writ_admin'`)
    const [held, never] = [await activeGrant(world), await activeGrant(world)]
    await migrator.credentials.issue(held.grant)
    assert.equal((await logins()).length, 1)
    await database.kill()

    const refused = await knocker(world)('migrator', 'POST', '/v1/credentials', { grant: never.grant })
    isProblem(
      refused,
      504,
      'ERR_TARGET_UNREACHABLE',
      /^target `orders-db` does not answer$/,
      /running and reachable/,
    )
    await migrator.tasks.end(held.task, 'completed')
    await until(async () => (await migrator.tasks.get(held.task)).credentials[0]?.state === 'unresolved')
    const denied = await migrator.grants.activate({ action: 'db:migrate', resource: 'Database/orders', context: { task: held.task } }) // prettier-ignore
    assert.deepEqual([denied.decision.outcome, denied.decision.reason], ['deny', 'task_ended'])
    const [status, show, doctor] = await Promise.all([
      cli.here(['status']),
      cli.here(['task', 'show', held.task], { env: { WRIT_TOKEN: world.tokens.migrator } }),
      cli.here(['doctor']),
    ])
    assert.equal(status.code, 0, status.stderr)
    assert.match(status.stdout, /degraded[^]*credential `cred_\w+` at `orders-db` is unresolved: target `orders-db` does not answer/) // prettier-ignore
    assert.match(show.stdout, /credential {2}cred_\w+ {2}unresolved at orders-db: target `orders-db` does not answer · access is denied, tried \d+ times, next/) // prettier-ignore
    assert.equal(doctor.code, 1)
    assert.match(doctor.stdout, /✗ problem {2}target orders-db: target `orders-db` does not answer/)
    assert.match(
      doctor.stdout,
      /✗ problem {2}credential cred_\w+ at orders-db is unresolved[^]*access is denied already; tried/,
    )

    await database.restart()
    await until(async () => (await migrator.tasks.get(held.task)).clean)
    assert.deepEqual(await logins(), [])
    const after = await cli.here(['task', 'show', held.task], { env: { WRIT_TOKEN: world.tokens.migrator } })
    assert.match(after.stdout, /completed · clean[^]*absent at orders-db/)
    await nothingLost(world)
  })
})

/** What the server does in its own time; the test fails, and does not hang, when it never does. */
async function until(holds: () => Promise<boolean>, within = 240_000): Promise<void> {
  const began = performance.now()
  while (!(await holds())) {
    assert.ok(performance.now() - began < within, 'it never happened')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
