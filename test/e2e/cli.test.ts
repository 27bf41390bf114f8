/**
 * The commands of `writ` as child processes, against a real server.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { createWrit } from '../../client/src/index.ts'
import { formatVerifierKey, verifierKey } from '../../src/audit/note.ts'
import { Cli, onTerminal, stop, terminals } from '../support/cli.ts'
import { fakeServer } from '../support/fake-server.ts'
import { openWorld, starterPolicies } from '../support/world.ts'
import type { World } from '../support/world.ts'

type Members = Record<string, unknown>
const json = (text: string) => JSON.parse(text) as Members

suite('with a server', () => {
  let world: World
  let cli: Cli
  let as: (who: 'ada' | 'grace' | 'migrator', ...args: string[]) => ReturnType<Cli['run']>

  const migration = ['db:migrate', '--on', 'Database/orders']
  const startTask = (reason: string, ...more: string[]): ReturnType<Cli['run']> =>
    as('migrator', 'task', 'start', '--purpose', 'p', '--action', ...migration, '--reason', reason, ...more)
  const ask = (task: string, reason: string, ...more: string[]): ReturnType<Cli['run']> =>
    as('migrator', 'request', ...migration, '--task', task, '--reason', reason, ...more)

  before(async () => {
    world = await openWorld()
    cli = new Cli({ WRIT_URL: world.app.url })
    as = (who, ...args) => cli.here(args, { env: { WRIT_TOKEN: world.tokens[who] } })
  })
  after(async () => {
    cli[Symbol.dispose]()
    await world[Symbol.asyncDispose]()
  })

  test('exit codes: 0, 1, 2, 3, 4, 5, 7', async () => {
    const bad = join(cli.home, 'bad')
    mkdirSync(bad)
    writeFileSync(
      join(bad, 'a.cedar'),
      'permit (principal, action == Action::"x", resource)\nwhen { principal.nmae == "ada" };\n',
    )
    const cases: [number, string[], Record<string, string>, RegExp][] = [
      [0, ['status'], {}, /^$/],
      [1, ['task', 'show', 'task_none'], {}, /task_none/],
      [2, ['grants', 'lst'], {}, /did you mean `ls`\?/],
      [2, ['request', 'db:migrate'], {}, /`--on` is missing/],
      [2, ['can-i', 'db:migrate', 'orders'], {}, /`orders` is not a reference[^]*Type\/id/],
      [3, ['policy', 'check', bad], {}, /error\[P0\d\d\][^]*bad\/a\.cedar:2:8/],
      [4, ['task', 'ls'], { WRIT_TOKEN: 'writ_key_wrong' }, /writ login --code/],
      [5, ['can-i', 'db:migrate', 'Database/orders'], {}, /asked without a task/],
      [5, ['people', 'invite', 'eve'], {}, /./],
      [7, ['status'], { WRIT_URL: 'http://127.0.0.1:9' }, /cannot reach `http:\/\/127\.0\.0\.1:9`/],
    ]
    for (const [code, args, env, message] of cases) {
      const ran = await cli.run(args, { env: { WRIT_TOKEN: world.tokens.migrator, ...env } })
      assert.equal(ran.code, code, `${args.join(' ')}: ${ran.stderr}`)
      assert.match(ran.stderr, message)
      assert.doesNotMatch(ran.stderr, /unexpected|\n\s+at /)
    }
  })

  test('who asks without a reason where one is needed is told which flag is missing', async () => {
    const started = await as('migrator', 'task', 'start', '--purpose', 'p', '--action', ...migration)
    const asked = await as('migrator', 'request', ...migration, '--task', started.stdout.trim())
    assert.deepEqual([asked.code, /`--reason` is missing/.test(asked.stderr)], [2, true], asked.stderr)
  })

  test('standard output is data, also when it is a question', async () => {
    const asked = await as('migrator', 'can-i', 'db:migrate', 'Database/orders', '--json')
    assert.equal(asked.code, 5)
    const answer = json(asked.stdout)
    assert.deepEqual(
      [answer['schema_version'], answer['outcome']],
      [1, 'deny'],
      'without a task there is nothing to be had',
    )
    const started = await startTask('INC-1')
    const task = started.stdout.trim()
    assert.match(task, /^task_\w+$/)
    const challenged = await as('migrator', 'can-i', 'db:migrate', 'Database/orders', '--task', task)
    assert.deepEqual([challenged.code, challenged.stdout], [5, 'not yet: needs one approval by dba\n'])
    const read = await as('migrator', 'can-i', 'read', 'Document/handbook')
    assert.deepEqual([read.code, read.stdout, read.stderr], [0, 'yes\n', ''])
    const listed = await as('migrator', 'task', 'ls', '-o', 'ndjson')
    const ids = listed.stdout
      .trimEnd()
      .split('\n')
      .map((line) => json(line)['id'])
    assert.ok(ids.includes(task), listed.stdout)
    const shown = await as('migrator', 'task', 'show', task, '--json=task,clean')
    assert.deepEqual(Object.keys(json(shown.stdout)), ['schema_version', 'task', 'clean'])
    const ended = await as('migrator', 'task', 'end', task, '--status', 'cancelled')
    assert.deepEqual([ended.code, ended.stdout], [0, 'cancelled\n'])
  })

  test('a request: asked, shown, approved for exactly what was shown, claimed', async () => {
    const { stdout } = await startTask('INC-2', '--heartbeat', '60s')
    const task = stdout.trim()
    const asked = await ask(task, 'INC-2 \u001B[2Jnow', '--ttl', '5m')
    assert.equal(asked.code, 2, 'control characters never reach a person')
    const request = await ask(task, 'INC-2', '--ttl', '5m')
    assert.equal(request.code, 0, request.stderr)
    const id = request.stdout.trim()
    const inbox = await as('grace', 'requests', 'ls')
    assert.match(
      inbox.stdout,
      new RegExp(
        `${id}\\s+pending\\s+Agent/migrator\\s+db:migrate on Database/orders\\s+INC-2\\s+in \\d+:\\d\\d\\s+dba`,
      ),
    )
    const shown = await as('grace', 'requests', 'show', id)
    assert.match(shown.stdout, /“INC-2” \(not verified\)/)
    const digest = /digest {6}(sha256:[0-9a-f]{64})/.exec(shown.stdout)?.[1] ?? ''

    const unseen = await as('grace', 'requests', 'approve', id)
    assert.deepEqual([unseen.code, unseen.stdout], [2, ''])
    assert.match(unseen.stderr, /nobody can answer here; give --statement sha256:/)
    const blind = await as('grace', 'requests', 'approve', id, '--yes')
    assert.equal(blind.code, 2, 'a yes in advance is a yes to whatever stands there by then')
    const other = await as('grace', 'requests', 'approve', id, '--statement', `sha256:${'0'.repeat(64)}`)
    assert.equal(other.code, 1, other.stderr)
    const own = await as('migrator', 'requests', 'approve', id, '--statement', digest)
    assert.equal(own.code, 5, own.stderr)

    const waiting = cli.start(['requests', 'wait', id], { env: { WRIT_TOKEN: world.tokens.migrator } })
    await waiting.says(/is pending/)
    const approved = await as('grace', 'requests', 'approve', id, '--statement', digest, '--comment', 'go')
    assert.deepEqual([approved.code, approved.stdout], [0, 'approved\n'], approved.stderr)
    assert.deepEqual([(await waiting.done).code, (await waiting.done).stdout], [0, 'approved\n'])
  })

  test('not in time is 6, denied is 5, interrupted leaves it pending', async () => {
    const { stdout } = await startTask('INC-3')
    const late = await ask(stdout.trim(), 'INC-3', '--wait=1s')
    assert.equal(late.code, 6, late.stderr)
    const id = late.stderr.match(/req_\w+/)?.[0] ?? ''
    const waiting = cli.start(['requests', 'wait', id], { env: { WRIT_TOKEN: world.tokens.migrator } })
    await waiting.says(/is pending/)
    waiting.process.kill('SIGINT')
    const interrupted = await waiting.done
    assert.equal(interrupted.code, 130)
    assert.match(interrupted.stderr, new RegExp(`still pending[^]*writ requests wait ${id}`))
    const shown = json((await as('grace', 'requests', 'show', id, '--json')).stdout)
    const denied = await as(
      'grace',
      'requests',
      'deny',
      id,
      '--statement',
      String(shown['digest']),
      '--reason',
      'no',
    )
    assert.equal(denied.code, 0, denied.stderr)
    assert.equal((await as('migrator', 'requests', 'wait', id)).code, 5)
  })

  test('why: rules for operators, what is missing for requesters', async () => {
    const { stdout } = await startTask('INC-4')
    await ask(stdout.trim(), 'INC-4')
    const operator = await as('ada', 'why', '--subject', 'Agent/migrator')
    assert.equal(operator.code, 0, operator.stderr)
    assert.match(operator.stdout, /^CHALLENGE {2}evidence_required {2}dec_\w+ {2}policy set [0-9a-f]{12}\n/)
    assert.match(operator.stdout, /\nAgent\/migrator → db:migrate on Database\/orders {3}for task_\w+\n/)
    assert.match(
      operator.stdout,
      /\nNearest rule: \w+\.cedar:\d+ "migrate-with-approval"\n[^]*\n {2}✗ approvals by dba ≥ 1 \(none\)\n/,
    )
    assert.match(
      operator.stdout,
      /would allow it:\n[^]*one approval by dba\s+→ writ request db:migrate --on Database\/orders/,
    )
    assert.match(operator.stdout, /\nWould NOT help: [^]*\nNo forbid rule applies\.\n$/)
    const id = /dec_\w+/.exec(operator.stdout)?.[0] ?? ''
    const told = json((await as('ada', 'why', id, '--json')).stdout)
    const explanation = told['explanation'] as { nearest: { clauses: { status: string; text: string }[] }[] }
    assert.deepEqual(
      explanation.nearest[0]?.clauses.filter(({ status }) => status !== 'holds').map(({ text }) => text),
      ['context.proof.approvals.dba >= 1'],
    )
    const requester = await as('migrator', 'why', id)
    assert.equal(requester.code, 0, requester.stderr)
    assert.match(requester.stdout, /would allow it:\n {2}one approval by dba\s+→ writ request/)
    assert.doesNotMatch(requester.stdout, /rule|\.cedar|policy set/)
    assert.equal((await as('migrator', 'why', 'dec_none')).code, 1)
    assert.equal((await as('migrator', 'why')).code, 2)
  })

  test('why at a time: what it could do then, for people and programs; only who may read the record is told', async () => {
    await startTask('INC-5')
    const then = await as('ada', 'why', '--subject', 'Agent/migrator', '--at', 'now')
    assert.equal(then.code, 0, then.stderr)
    assert.match(then.stdout, /^Agent\/migrator at \d{4}-\d{2}-\d{2} [^]*UTC\)?\n/)
    assert.match(then.stdout, /\nTasks\n {2}task_\w+ {2}declared/)
    assert.match(then.stdout, /\nStanding rights\n {2}read on Document\/handbook {2}by low-risk-read/)
    assert.match(then.stdout, /not told: heartbeats are not on the record/)
    const before = await as('ada', 'why', '--subject', 'Agent/migrator', '--at', '2h ago', '--json')
    assert.equal(before.code, 0, before.stderr)
    const answer = json(before.stdout)
    assert.deepEqual([answer['registered'], answer['grants'], answer['standing']], [false, [], []])
    for (const at of ['25:00', 'soon', '2026-11-22']) {
      const wrong = await as('ada', 'why', '--subject', 'Agent/migrator', '--at', at)
      assert.deepEqual([wrong.code, wrong.stdout], [2, ''], wrong.stderr)
      assert.match(wrong.stderr, /is no time/)
    }
    assert.equal((await as('ada', 'why', 'dec_x', '--subject', 'Agent/migrator')).code, 2)
    assert.equal((await as('migrator', 'why', '--subject', 'Person/ada', '--at', 'now')).code, 5)
  })

  test('policy replay: what flips, what it permits first; a draft that is not valid and one that widens are 3', async () => {
    const folder = join(world.folder, 'draft')
    mkdirSync(folder)
    for (const { name, text } of starterPolicies()) {
      const wider = text.replace('context.live has task &&', 'context.live has task ||')
      writeFileSync(join(folder, name), wider)
    }
    const replay = await as('ada', 'policy', 'replay', '--since', '1d', '--against', folder)
    assert.equal(replay.code, 0, replay.stderr)
    assert.match(replay.stdout, /^\d+ of \d+ flip · since /)
    assert.match(replay.stdout, /\n▲ deny → permit {2}\d+ × {2}Agent\/migrator {2}db:migrate/)
    assert.match(replay.stdout, /\n {2}e\.g\. dec_\w+ {2}on Database\/orders/)
    assert.match(replay.stderr, /a challenge counts as the denial it is/)
    const gate = await as('ada', 'policy', 'replay', '--against', folder, '--fail-on-widening', '--json')
    assert.equal(gate.code, 3, gate.stderr)
    assert.ok(Number(json(gate.stdout)['widened']) > 0)
    writeFileSync(join(folder, 'bad.cedar'), 'permit (principal, action == Action::"read", resource) when {')
    const broken = await as('ada', 'policy', 'replay', '--against', folder)
    assert.deepEqual([broken.code, broken.stdout], [3, ''])
    assert.match(broken.stderr, /error\[P001\][^]*bad\.cedar/)
    assert.equal((await as('migrator', 'policy', 'replay', '--since', '1d', '--against', folder)).code, 5)
    assert.equal((await as('ada', 'policy', 'replay', '--since', 'long ago', '--against', folder)).code, 2)
  })

  test('B43 secrets come in by standard input and files, and go out once', async () => {
    const invited = await as('ada', 'people', 'invite', 'joan', '--group', 'dba')
    assert.equal(invited.code, 0, invited.stderr)
    const login = await cli.run(['login', '--code'], { stdin: invited.stdout })
    assert.deepEqual([login.code, login.stdout], [0, 'Person/joan\n'], login.stderr)
    const sessions = join(cli.home, 'config/writ/sessions.json')
    assert.equal(statSync(sessions).mode & 0o777, 0o600)
    assert.match((await cli.run(['status'])).stdout, /you are Person\/joan \(signed in here/)
    const twice = await cli.run(['login', '--code'], { stdin: invited.stdout })
    assert.equal(twice.code, 4, twice.stderr)
    assert.equal((await cli.run(['login', '--code'], { stdin: '' })).code, 2)
    assert.equal((await cli.run(['logout'])).code, 0)
    assert.deepEqual(json(readFileSync(sessions, 'utf8')), {})
    assert.equal((await cli.run(['status'])).code, 4)

    const key = await as('ada', 'keys', 'create', 'k', '--subject', 'Service/orders-ci', '--out', 'ci.key')
    assert.equal(key.code, 0, key.stderr)
    const secret = readFileSync(join(cli.home, 'ci.key'), 'utf8').trim()
    assert.match(secret, /^writ_key_/)
    assert.ok(!`${key.stdout}${key.stderr}`.includes(secret))
    assert.equal(statSync(join(cli.home, 'ci.key')).mode & 0o777, 0o600)
    const again = await as('ada', 'keys', 'create', 'k', '--subject', 'Service/orders-ci', '--out', 'ci.key')
    assert.equal(again.code, 1)
    assert.match(again.stderr, /exists already/)
    const none = await as('ada', 'keys', 'create', 'k', '--subject', 'Service/nobody', '--out', 'none.key')
    assert.equal(none.code, 1)
    assert.equal(existsSync(join(cli.home, 'none.key')), false)
    assert.match(
      (await cli.run(['status'], { env: { WRIT_TOKEN_FILE: 'ci.key' } })).stdout,
      /Service\/orders-ci/,
    )
    const password = await as(
      'ada',
      'target',
      'add',
      'x',
      '--address',
      'postgres://a:hunter2@h/d',
      '--role',
      'm=o',
      '--for',
      'a',
      '--on',
      'D/d',
    )
    assert.equal(password.code, 2)
    assert.doesNotMatch(password.stderr, /hunter2/)
    assert.match(password.stderr, /may not stand on the command line/)
  })

  test('bad input is one clear sentence with the mend', async () => {
    const cases: [string[], number, RegExp][] = [
      [['inventory', 'apply', 'gone.yaml'], 1, /`.*gone\.yaml` does not exist/],
      [['target', 'check', 'nowhere'], 1, /no target `nowhere`/],
      [['task', 'ls', '--limit', 'many'], 2, /not a number/],
      [['status', '--json=nope'], 2, /no field `nope`[^]*`subject`/],
      [['status', '--json', '-o', 'yaml'], 2, /do not go together/],
      [['-c', 'gone.yaml', 'status'], 2, /no configuration file `gone\.yaml`/],
      [['status', '--profile', 'prod'], 2, /no profile `prod`/],
      [['status', '-o', 'xml'], 2, /Allowed choices are table, json, yaml, ndjson/],
      [['policy', 'check', 'nowhere'], 2, /no folder `nowhere`[^]*writ init/],
      [['audit', 'verify', '--head', 'x'], 2, /no data folder|is no head/],
      [['task', 'end', 'task_x', '--status', 'done'], 2, /not one of completed, failed, cancelled/],
      [['completion', 'tcsh'], 2, /bash, zsh, fish/],
    ]
    for (const [args, code, message] of cases) {
      const ran = await as('ada', ...args)
      assert.equal(ran.code, code, `${args.join(' ')}: ${ran.stderr}`)
      assert.match(ran.stderr, message, args.join(' '))
      assert.doesNotMatch(ran.stderr, /unexpected|\n\s+at /)
    }
    writeFileSync(
      join(cli.home, 'inv.yaml'),
      'entities:\n  - {type: Database, id: a, sensitivty: 3}\n  - {type: "no type", id: b}\n',
    )
    const inventory = await as('ada', 'inventory', 'apply', 'inv.yaml')
    assert.equal(inventory.code, 2)
    assert.match(inventory.stderr, /inv\.yaml: `entity` of Database\/a: .*sensitivty/)
    assert.match(inventory.stderr, /inv\.yaml: `type` of no type\/b/)
  })

  test('the log is verified from afar, and one that contradicts what was seen is refused', async () => {
    const first = await as('ada', 'audit', 'verify', '--remote')
    assert.equal(first.code, 0, first.stderr)
    const head = / head (\d+:[0-9a-f]{64})/.exec(first.stdout)?.[1] ?? ''
    assert.equal((await as('ada', 'audit', 'verify', '--remote')).code, 0)
    const local = await cli.run(['audit', 'verify', '--data', world.config.data, '--head', head])
    assert.equal(local.code, 0, local.stderr)
    const [size = '0'] = head.split(':')
    const contradicted = await cli.run([
      'audit',
      'verify',
      '--data',
      world.config.data,
      '--head',
      `${size}:${'0'.repeat(64)}`,
    ])
    assert.equal(contradicted.code, 9)
    assert.match(contradicted.stdout, /verify FAILED at #/)
    const pinned = (key: string): ReturnType<Cli['run']> =>
      cli.run(['audit', 'verify', '--remote'], {
        env: { WRIT_TOKEN: world.tokens.ada, WRIT_LOG_KEY: key, XDG_STATE_HOME: join(cli.home, 'pinned') },
      })
    const [own] = world.app.flows.transparency.keys().keys
    assert.equal((await pinned(own?.vkey ?? '')).code, 0)
    const other = verifierKey(world.app.flows.transparency.origin(), 'log', new Uint8Array(32).fill(7))
    const refused = await pinned(formatVerifierKey(other))
    assert.equal(refused.code, 9, refused.stderr)
    assert.match(refused.stderr, /signed by no key that is trusted here/)
  })

  test('completion scripts complete', async () => {
    const { stdout } = await cli.run(['completion', 'bash'])
    const complete = async (line: string): Promise<string[]> => {
      const words = line.split(' ')
      const script = `${stdout}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _writ; printf '%s\\n' "\${COMPREPLY[@]}"`
      const shell = spawn('bash', ['-c', script])
      let text = ''
      shell.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
      await once(shell, 'close')
      return text.trim().split('\n')
    }
    assert.deepEqual(await complete('writ requ'), ['request', 'requests'])
    assert.deepEqual(await complete('writ requests app'), ['approve'])
    assert.deepEqual(await complete('writ run --rea'), ['--reason'])
    assert.match(
      (await cli.run(['completion', 'fish'])).stdout,
      /complete -c writ -n '__fish_use_subcommand' -a 'run'/,
    )
  })
})

suite('without a server', () => {
  test('init writes samples that are valid, and never overwrites', async () => {
    using cli = new Cli()
    const first = await cli.run(['init', '--json'])
    const files = json(first.stdout)['items'] as { file: string; written: boolean }[]
    assert.ok(files.length >= 4 && files.every((file) => file.written))
    writeFileSync(join(cli.home, 'inventory.yaml'), 'entities: [] # mine\n')
    const again = json((await cli.run(['init', '--json'])).stdout)['items'] as { written: boolean }[]
    assert.ok(again.every((file) => !file.written))
    assert.match(readFileSync(join(cli.home, 'inventory.yaml'), 'utf8'), /mine/)
    const explained = await cli.run(['config', 'explain', '--json=name,origin'])
    assert.equal(explained.code, 0, explained.stderr)
    using fresh = new Cli()
    await fresh.run(['init'])
    const checked = await fresh.run(['policy', 'check'])
    assert.equal(checked.code, 0, checked.stderr)
  })

  test('init leaves the policies, tests and inventory of the situations that are asked for, and no others', async () => {
    using cli = new Cli()
    const listed = await cli.run(['init', '--list', '--json'])
    const items = json(listed.stdout)['items'] as { name: string; sentence: string }[]
    assert.ok(items.some(({ name }) => name === 'vendor') && items.every(({ sentence }) => sentence !== ''))
    assert.deepEqual(readdirSync(cli.home), [], '--list writes nothing')
    const unknown = await cli.run(['init', '--with', 'vendor,break-glas'])
    assert.deepEqual([unknown.code, unknown.stdout, readdirSync(cli.home)], [2, '', []])
    assert.match(unknown.stderr, /no starter policies for `break-glas`[^]*did you mean `break-glass`\?/)
    const made = await cli.run(['init', '--with', 'vendor,release-window'])
    assert.equal(made.code, 0, made.stderr)
    assert.match(made.stderr, /next: `writ policy test`/)
    const kept = ['migration', 'release-window', 'vendor', 'writ']
    assert.deepEqual(
      readdirSync(join(cli.home, 'policies')).sort(),
      kept.flatMap((name) => [`${name}.cedar`, `${name}.test.yaml`]),
    )
    const inventory = readFileSync(join(cli.home, 'inventory.yaml'), 'utf8')
    assert.match(inventory, /Group\/vendors/)
    assert.doesNotMatch(inventory, /Group\/treasury/)
    for (const command of [['check'], ['test', '--min-coverage', '100'], ['lint']]) {
      const ran = await cli.run(['policy', ...command])
      assert.equal(ran.code, 0, ran.stderr)
    }
    const more = await cli.run(['init', '--with', 'agent-payment'])
    assert.match(more.stderr, /the inventory was there before: .*policies\/agent-payment\.test\.yaml/)
    assert.equal(readFileSync(join(cli.home, 'inventory.yaml'), 'utf8'), inventory)
    const again = await cli.run(['policy', 'test'])
    assert.equal(again.code, 0, again.stderr)
  })

  test('config explain names every origin', async () => {
    using cli = new Cli({ WRIT_PORT: '1234', WRIT_URLL: 'x' })
    writeFileSync(join(cli.home, 'writ.config.yaml'), 'host: 127.0.0.2\n')
    const { stdout, stderr } = await cli.run(['config', 'explain', '--json'])
    const items = json(stdout)['items'] as { name: string; value: unknown; origin: string }[]
    const of = (name: string) => items.find((item) => item.name === name)
    assert.deepEqual([of('port')?.value, of('port')?.origin], [1234, 'WRIT_PORT'])
    assert.equal(of('host')?.origin, './writ.config.yaml:1:7')
    assert.equal(of('data')?.origin, 'default')
    assert.match(stderr, /nothing reads the variable `WRIT_URLL`, did you mean `WRIT_URL`\?/)
    writeFileSync(join(cli.home, 'writ.config.yaml'), 'hots: 127.0.0.2\n')
    const wrong = await cli.run(['config', 'explain'])
    assert.deepEqual([wrong.code, wrong.stdout], [2, ''])
    assert.match(wrong.stderr, /writ\.config\.yaml:1:1: unknown setting `hots`, did you mean `host`\?/)
  })

  test('dev starts from an empty folder, signs the command line in, reloads policies, keeps the old ones when they break', async () => {
    using cli = new Cli()
    const dev = cli.start(['dev', '--port', '0'])
    const [, url = ''] = await dev.says(/Console {2}(http:\/\/127\.0\.0\.1:\d+)\/\?code=/, 'stdout')
    const env = { WRIT_URL: url }
    assert.match((await cli.run(['status'], { env })).stdout, /you are Person\/local/)
    const version = async (): Promise<unknown> =>
      json((await cli.run(['policy', 'show', '--json=version'], { env })).stdout)['version']
    const before = await version()
    const file = join(cli.home, 'policies/migration.cedar')
    writeFileSync(
      file,
      `${readFileSync(file, 'utf8')}\npermit (principal, action == Action::"read", resource) when { principle.x };\n`,
    )
    await dev.says(/error\[P\d+\][^]*policies\/migration\.cedar:\d+:\d+[^]*the set in force stays/)
    assert.equal(await version(), before)
    writeFileSync(
      file,
      readFileSync(file, 'utf8').replace(
        /\npermit \(principal, action == Action::"read", resource\) when \{ principle[^]*$/,
        '\n// reloaded\n',
      ),
    )
    await dev.says(/policies in force[^]*policies in force/)
    assert.notEqual(await version(), before)
    const doctor = await cli.run(['doctor', '--json'], { env })
    assert.equal(doctor.code, 0, doctor.stdout)
    const refused = await cli.run(['server', '--port', '0'])
    assert.equal(refused.code, 1, 'a second process on the folder')
    assert.equal(await stop(dev), 0)
    const server = await cli.run(['server', '--port', '0'])
    assert.equal(server.code, 2, server.stderr)
    assert.match(server.stderr, /made by `writ dev`/)
    assert.deepEqual(json(readFileSync(join(cli.home, 'config/writ/sessions.json'), 'utf8')), {})
  })

  test('a server is bootstrapped once, says when a port is taken, and stops in order', async () => {
    using cli = new Cli()
    await cli.run(['init'])
    const server = cli.start(['server', '--port', '0', '--person', 'ada'])
    const [url = ''] = await server.says(/http:\/\/127\.0\.0\.1:\d+/, 'stdout')
    const [, file = ''] = await server.says(/writ login --code < (\S+)`/)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const env = { WRIT_URL: url }
    const login = await cli.run(['login', '--code'], { env, stdin: readFileSync(file, 'utf8') })
    assert.deepEqual([login.code, login.stdout], [0, 'Person/ada\n'], login.stderr)
    assert.equal((await cli.run(['policy', 'publish'], { env })).code, 0)
    assert.equal((await cli.run(['inventory', 'apply', 'inventory.yaml'], { env })).code, 0)
    const busy = createServer()
    await new Promise<void>((done) => busy.listen(0, '127.0.0.1', done))
    const { port } = busy.address() as AddressInfo
    const taken = await cli.run(['server', '--port', String(port), '--data', 'other'])
    assert.equal(taken.code, 2, taken.stderr)
    assert.match(taken.stderr, new RegExp(`port ${port} on 127\\.0\\.0\\.1 is taken[^]*--port`))
    busy.close()
    assert.equal(await stop(server), 0)
    const verified = await cli.run(['audit', 'verify'])
    assert.equal(verified.code, 0, verified.stderr)
    const again = cli.start(['server', '--port', '0'])
    await again.says(/http:/, 'stdout')
    assert.equal(await stop(again), 0)
    assert.doesNotMatch((await again.done).stderr, /login --code/)
  })

  test('a server that answers nonsense is unreachable or unreadable, never a yes', async () => {
    using cli = new Cli({ WRIT_TOKEN: 't' })
    await using fake = await fakeServer(() => ({ text: '<html>Sign in to this network</html>' }))
    const ran = await cli.run(['can-i', 'a', 'R/r', '--as', 'Agent/a'], { env: { WRIT_URL: fake.url } })
    assert.deepEqual([ran.code, ran.stdout], [1, ''])
    assert.match(ran.stderr, /is it a Writ server that answers at this URL\?/)
  })
})

suite('at a terminal', { skip: terminals }, () => {
  test('an approver reads what it is before answering; colours come with words', async () => {
    await using world = await openWorld()
    using cli = new Cli({ WRIT_URL: world.app.url })
    const migrator = createWrit({ url: world.app.url, token: world.tokens.migrator })
    const task = await migrator.tasks.declare({
      purpose: 'p',
      reason: 'INC-9',
      scope: { actions: ['db:migrate'], resources: [{ type: 'Database', id: 'orders' }] },
    })
    const d = await migrator.evaluate({
      action: 'db:migrate',
      resource: 'Database/orders',
      context: { task: task.id },
    })
    assert.equal(d.outcome, 'challenge')
    const { id } = await d.request({ reason: 'INC-9' }).submitted()
    const env = { WRIT_TOKEN: world.tokens.grace }
    const no = await onTerminal(cli, ['requests', 'approve', id], [[/Approve this\? \[y\/N\] /, '\n']], env)
    assert.equal(no.code, 1, no.screen)
    assert.match(no.screen, /Agent\/migrator wants db:migrate on Database\/orders/)
    const yes = await onTerminal(cli, ['requests', 'approve', id], [[/Approve this\? \[y\/N\] /, 'y\n']], env)
    assert.equal(yes.code, 0, yes.screen)
    assert.match(yes.screen, /\u001B\[32m✓\u001B\[39m access request is approved/)
    const plain = await onTerminal(cli, ['requests', 'show', id], [], { ...env, NO_COLOR: '1' })
    assert.doesNotMatch(plain.screen, /\u001B\[3\dm/)
    const asked = await onTerminal(cli, ['requests', 'approve', id, '--no-input'], [], env)
    assert.equal(asked.code, 2, asked.screen)
  })

  test('a one-time code is typed without being shown', async () => {
    await using world = await openWorld()
    using cli = new Cli({ WRIT_URL: world.app.url })
    const ada = createWrit({ url: world.app.url, token: world.tokens.ada })
    const { code } = await ada.people.invite({ id: 'joan' })
    const login = await onTerminal(cli, ['login', '--code'], [[/one-time code: /, `${code}\r`]])
    assert.equal(login.code, 0, login.screen)
    assert.ok(!login.screen.includes(code))
  })

  test('waiting counts down on one line; Ctrl-C leaves the request pending', async () => {
    await using world = await openWorld()
    using cli = new Cli({ WRIT_URL: world.app.url, WRIT_TOKEN: world.tokens.migrator })
    const ran = await onTerminal(
      cli,
      ['run', '--for', 'db:migrate', '--on', 'Database/orders', '--reason', 'r', '--wait', '--', 'true'],
      [[/waiting for approval · expires 1[45]:\d\d · req_/, '\u0003']],
    )
    assert.equal(ran.code, 130, ran.screen)
    assert.match(ran.screen, /still pending/)
  })
})
