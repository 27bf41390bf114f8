/**
 * `writ policy test` from its command line on: what it says of tests that pass, fail and make no sense, while files change,
 * and of decisions that a real server took.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, suite, test } from 'node:test'
import { Cli } from '../support/cli.ts'
import type { World } from '../support/world.ts'
import {
  attempt,
  declare,
  migration,
  openWorld,
  requestMigration,
  starterPolicies,
} from '../support/world.ts'

type Members = Record<string, unknown>
const json = (text: string) => JSON.parse(text) as Members

/** In this process; that it is the same as a child the watch shows. */
const command = (cli: Cli, args: readonly string[], env: Record<string, string> = {}) =>
  cli.here(['policy', 'test', ...args], { env })

const policies = `
@id("deploy-in-task") @ttl("10m") @uses("1") @binding("attempt")
permit (principal in Group::"deployers", action == Action::"deploy", resource is Service)
when { context.live has task && context.proof.approvals.release >= 1 };

@id("nobody-on-fire") @explain
forbid (principal, action, resource) when { resource has on_fire && resource.on_fire };

@id("read") permit (principal, action == Action::"read", resource is Service)
when { resource.sensitivity <= 2 || principal in Group::"deployers" };

@id("release-approve")
permit (principal in Group::"releases", action == Writ::Action::"approve", resource is Service)
when { context.pool == "release" };
`
const inventory = `entities:
  - { type: Person, id: ada }
  - { type: Person, id: grace, parents: [Group/releases] }
  - { type: Agent, id: robot, owner: Person/ada, parents: [Group/deployers] }
  - { type: Agent, id: tourist, owner: Person/ada }
  - { type: Service, id: api, sensitivity: 2, attrs: { on_fire: false } }
  - { type: Service, id: db, sensitivity: 4, attrs: { on_fire: true } }
`
const tests = `# kept
now: 2026-11-22T10:00:00Z
tests:
  - name: a deployment asks for a release
    principals: [Agent/robot]
    actions: [deploy]
    resources: [Service/api]
    task: { purpose: deploy }
    expect: challenge
    requires: [[{ approval: release }]]
    obligations: { ttl: 10m, uses: 1, binding: attempt }
  - name: with it, by one policy
    principals: [Agent/robot]
    actions: [deploy]
    resources: [Service/api]
    task: { purpose: deploy }
    evidence: { approvals: { release: 1 } }
    expect: permit
    by: [deploy-in-task]
  - name: reading
    principals: [Agent/robot, Agent/tourist]
    actions: [read]
    resources: [Service/api]
    expect: { default: permit } # and this too
`

suite('a folder', () => {
  const cli = new Cli()
  const folder = join(cli.home, 'policies')
  const file = join(folder, 'deploy.test.yaml')
  const run = (...args: string[]) => command(cli, args)
  const write = (text: string) => writeFileSync(file, text)
  before(() => mkdirSync(folder))
  after(() => cli[Symbol.dispose]())
  beforeEach(() => {
    writeFileSync(join(folder, 'deploy.cedar'), policies)
    writeFileSync(join(folder, 'inventory.yaml'), inventory)
    write(tests)
  })

  test('what passes is told in a line each, as data', async () => {
    const ran = await run()
    assert.deepEqual([ran.code, ran.stderr], [0, '✓ 3 tests passed · 4 attempts\n'], ran.stdout)
    assert.equal(
      ran.stdout,
      'policies/deploy.test.yaml\n  ✓ a deployment asks for a release\n  ✓ with it, by one policy\n  ✓ reading  × 2\n',
    )
    const told = json((await run(file, '--json')).stdout)
    assert.deepEqual([told['passed'], told['failed'], told['mistakes']], [3, 0, []])
    const some = await run('policies', '--filter', 'READING')
    assert.match(some.stderr, /1 test passed · 2 attempts/)
    assert.equal((await run('--filter', 'nothing')).code, 2)
  })

  test('what fails is told with the attempt, what was expected, and the rules behind it; exit 3', async () => {
    write(`${tests}  - name: wrong
    principals: [Agent/robot, Agent/tourst]
    actions: [deploy, read]
    resources: [Service/db]
    task: { purpose: deploy }
    expect: { default: permit, Agent/tourst: deny }
  - name: other evidence, other rules
    principals: [Agent/robot]
    actions: [deploy]
    resources: [Service/api]
    task: { purpose: deploy }
    expect: challenge
    by: [read]
    requires: [[{ approval: release, count: 2 }, justification]]
    obligations: { ttl: 5m }
`)
    const ran = await run()
    assert.equal(ran.code, 3, ran.stderr)
    assert.match(ran.stderr, /2 of 5 tests failed/)
    assert.match(
      ran.stdout,
      /✗ wrong {2}× 4\n {6}Agent\/robot × deploy × Service\/db {2}policies\/deploy\.test\.yaml:\d+\n/,
    )
    assert.match(ran.stdout, /expected permit, got deny \(policy_denied\)[^]*nobody-on-fire/)
    assert.match(ran.stdout, /expected to be decided by \[read\], was decided by \[\]/)
    assert.match(
      ran.stdout,
      /expected to be asked for 2 × release and a reason, would be asked for 1 × release/,
    )
    assert.match(ran.stdout, /expected `ttl` 5m, got 10m/)
    const [, , , wrong] = json((await run('--json')).stdout)['items'] as Members[]
    const [failure] = (wrong ?? {})['failures'] as Members[]
    assert.deepEqual(
      ['principal', 'action', 'resource', 'expected', 'got', 'by'].map((member) => failure?.[member]),
      ['Agent/robot', 'deploy', 'Service/db', 'permit', 'deny', ['nobody-on-fire']],
    )
  })

  test('every mistake of a test file is told with its place and what was meant; exit 2', async () => {
    write(`now: yesterday
polices: [deploy.cedar]
tests:
  - name: one
    principal: [Agent/robot]
    principals: [robot]
    actions: []
    resources: [Service/api]
    task: { purpos: x, calls: -1 }
    expect: allow
`)
    const shape = await run()
    assert.equal(shape.code, 2)
    for (const line of [
      '1:6: `now` must be an RFC 3339 time',
      '2:1: unknown member `polices` · did you mean `policies`?',
      '5:5: unknown member `principal` · did you mean `principals`?',
      '6:18: in `principals` must be a reference such as `Agent/migrator`',
      '7:5: `actions` must not be empty',
      '9:13: unknown member `purpos` · did you mean `purpose`?',
      '9:31: `calls` must be at least 0',
      '10:13: `expect` must be `permit`, `deny` or `challenge`',
    ])
      assert.ok(shape.stderr.includes(`policies/deploy.test.yaml:${line}`), `${line}\n${shape.stderr}`)

    write(`now: 2026-11-22T10:00:00Z
tests:
  - name: names
    principals: [Agent/robot, Agnt/robot]
    actions: [read, raed]
    resources: [Service/api]
    unknown: [histroy]
    expect: { Agent/robto: deny }
  - { name: names, principals: [Agent/robot], actions: [read], resources: [Service/api], expect: deny }
`)
    const sense = await run()
    assert.equal(sense.code, 2)
    for (const line of [
      '7:15: there is no fact `histroy` · did you mean `history`?',
      '8:15: `Agent/robto` is none of the principals of this test · did you mean `Agent/robot`?',
      '8:5: nothing is expected for `Agent/robot`',
      '9:13: two tests are named `names`',
    ])
      assert.ok(sense.stderr.includes(`policies/deploy.test.yaml:${line}`), `${line}\n${sense.stderr}`)

    write(`now: 2026-11-22T10:00:00Z
policies: [deplyo.cedar]
tests:
  - name: names
    principals: [Agent/robot, Agnt/robot]
    actions: [read, raed]
    resources: [Service/api]
    evidence: { approvals: { relaese: 1 } }
    by: [raed]
    expect: deny
`)
    const names = await run()
    assert.equal(names.code, 2)
    for (const line of [
      '2:12: no policy of the set stands in `deplyo.cedar` · did you mean `deploy.cedar`?',
      '5:31: there is no type `Agnt` for Agnt/robot · did you mean `Agent/robot`?',
      '6:21: there is no action `raed` · did you mean `read`?',
      '8:30: no policy says who gives approvals `relaese` · did you mean `release`?',
      '9:10: there is no policy `raed` · did you mean `read`?',
    ])
      assert.ok(names.stderr.includes(`policies/deploy.test.yaml:${line}`), `${line}\n${names.stderr}`)
    assert.equal(names.stderr.match(/deploy\.test\.yaml:/g)?.length, 5)
  })

  test('what is said and would never be looked at is a mistake, or fails', async () => {
    const test = (more: string): string => `now: 2026-11-22T10:00:00Z
tests:
  - name: one
    principals: [Agent/robot, Agent/tourist]
    actions: [deploy]
    resources: [Service/api]
    task: { purpose: release }
${more}`
    for (const [more, said] of [
      [
        '    expect: { default: deny, Agent/robot: challenge }\n    obligations: { review: 1d }\n',
        /9:28: `review` goes with `expect: permit`/,
      ],
      [
        '    expect: { default: deny, Agent/robot: challenge }\n    by: [read]\n',
        /9:5: `by` is not looked at where some are denied and others challenged/,
      ],
      [
        '    expect: { default: challenge, Agent/robot: deny, Agent/tourist: deny }\n    requires: [[justification]]\n',
        /8:15: no principal of this test has the default/,
      ],
      ['    expect: { default: deny, __proto__: permit }\n', /8:30: `__proto__` is none of the principals/],
      ['    expect: !!js/function deny\n', /8:13: unresolved tag/],
      ['    expect: deny\n    requires: []\n', /`requires` must not be empty/],
      ['    expect: deny\n---\n', /the file holds several documents: make it one, or several files/],
    ] as const) {
      write(test(more))
      const ran = await run()
      assert.equal(ran.code, 2, `${more}\n${ran.stdout}`)
      assert.match(ran.stderr, said)
    }
    writeFileSync(join(folder, 'odd.test.yaml'), Buffer.from(tests, 'utf8').fill(0xff, 2, 3))
    assert.match((await run()).stderr, /odd\.test\.yaml:1:1: the file is not UTF-8/)
    rmSync(join(folder, 'odd.test.yaml'))
  })

  test('a property that no policy hears is no reason for a denial if its name is nearly one they read', async () => {
    writeFileSync(
      join(folder, 'deploy.cedar'),
      `${policies}
@id("pay") permit (principal in Group::"deployers", action == Action::"pay", resource is Service)
when { context has action_properties.amount && context.action_properties.amount <= 5 };
`,
    )
    const test = (name: string, expected: string): string => `now: 2026-11-22T10:00:00Z
tests:
  - name: one
    principals: [Agent/robot]
    actions: [pay]
    resources: [Service/api]
    properties: { ${name}: 5, note: any }
    expect: ${expected}
`
    write(test('amount', 'permit'))
    assert.equal((await run()).code, 0)
    write(test('amuont', 'deny'))
    const ran = await run()
    assert.equal(ran.code, 3, ran.stdout)
    assert.match(ran.stdout, /`action_properties\.amuont` was not seen: did you mean `amount`\?/)
  })

  test('a test that is linked into the folder runs, and a link that leads nowhere is told', async () => {
    write(tests)
    const elsewhere = join(cli.home, 'kept.yaml')
    renameSync(join(folder, 'deploy.test.yaml'), elsewhere)
    symlinkSync(elsewhere, join(folder, 'deploy.test.yaml'))
    assert.equal((await run()).code, 0)
    symlinkSync(join(cli.home, 'nowhere'), join(folder, 'gone.test.yaml'))
    const ran = await run()
    assert.deepEqual([ran.code, /gone\.test\.yaml:1:1: /.test(ran.stderr)], [2, true], ran.stderr)
    for (const name of ['gone.test.yaml', 'deploy.test.yaml']) rmSync(join(folder, name))
  })

  test('B79 what is no YAML, too deep, or a hierarchy in a circle is a sentence', async () => {
    for (const [text, said] of [
      ['now: [\ntests', /deploy\.test\.yaml:\d+:\d+: /],
      ['now: 1\nnow: 2\n', /map keys must be unique/],
      [
        `now: 2026-11-22T10:00:00Z\ntests: ${'['.repeat(300)}${']'.repeat(300)}\n`,
        /deploy\.test\.yaml:2:\d+: /,
      ],
      [
        `${tests}entities:\n  - { type: Agent, id: a, parents: [Agent/b] }\n  - { type: Agent, id: b, parents: [Agent/a] }\n`,
        /would be its own ancestor/,
      ],
      [`inventory: nowhere.yaml\n${tests}`, /1:12: there is no inventory `nowhere\.yaml`/],
      ['', /`tests` is missing|the file must be/],
    ] as const) {
      write(text)
      const ran = await run()
      assert.equal(ran.code, 2, ran.stderr)
      assert.match(ran.stderr, said)
      assert.doesNotMatch(ran.stderr, /unexpected|\n\s+at /)
    }
    assert.equal((await run('nowhere')).code, 2)
    assert.equal((await run(join(folder, 'deploy.cedar'))).code, 2)
  })

  test('policies that are not valid are told as a check tells them; exit 3', async () => {
    writeFileSync(join(folder, 'deploy.cedar'), policies.replace('sensitivity', 'sensitivty'))
    const ran = await run()
    assert.equal(ran.code, 3)
    assert.match(ran.stderr, /error\[P\d+\][^]*policies\/deploy\.cedar:\d+:\d+/)
  })

  test('coverage: what no test tried, and too little of it is exit 3', async () => {
    const ran = await run('--coverage')
    assert.equal(ran.code, 0, ran.stderr)
    assert.match(ran.stdout, /✗ nobody-on-fire {2}deploy\.cedar:6 {2}never decided\n {6}7:\d+ .*never/)
    assert.match(ran.stderr, /% covered · 3 of 4 policies decided something/)
    const short = await run('--min-coverage', '90')
    assert.equal(short.code, 3)
    assert.match(short.stderr, /less than 90 %/)
    assert.equal((await run('--min-coverage', 'most')).code, 2)
    // counted are the policies that the file names; the whole set is loaded all the same
    writeFileSync(
      join(folder, 'other.cedar'),
      '@id("other") permit (principal, action == Action::"x", resource);\n',
    )
    write(tests.replace('tests:', 'policies: [deploy.cedar]\ntests:'))
    const report = json((await run('--coverage', '--json')).stdout)['coverage'] as Members
    const counted = report['policies'] as Members[]
    assert.deepEqual(
      counted.map(({ policy, decided }) => [policy, Number(decided) > 0]),
      [
        ['deploy-in-task', true],
        ['nobody-on-fire', false],
        ['read', true],
        ['release-approve', true],
      ],
    )
    // of an `unless` it is told how what stands there came out, not how the clause did
    writeFileSync(
      join(folder, 'other.cedar'),
      '@id("other") forbid (principal, action == Action::"read", resource is Service) unless { resource.sensitivity <= 2 };\n',
    )
    write(tests)
    assert.match(
      (await run('--coverage')).stdout,
      /✗ other .*\n {6}1:\d+ {2}never fails: resource\.sensitivity <= 2\n/,
    )
    rmSync(join(folder, 'other.cedar'))
  })

  test('the watch runs again on every change, lives through what is broken, and ends when it is told to', async () => {
    const watch = cli.start(['policy', 'test', '--watch'])
    const turn = async (pattern: RegExp): Promise<void> => {
      await watch.says(pattern)
    }
    await turn(/3 tests passed[^]*waiting for changes/)
    write('tests: [')
    await turn(/1 mistake in test files[^]*waiting for changes/)
    write(tests.replace('by: [deploy-in-task]', 'by: [read]'))
    await turn(/1 of 3 tests failed[^]*waiting/)
    writeFileSync(join(folder, 'deploy.cedar'), 'permit (')
    await turn(/error\[P001\][^]*the policies are not valid[^]*waiting/)
    rmSync(file)
    await turn(/holds no tests[^]*waiting/)
    write(tests)
    writeFileSync(join(folder, 'deploy.cedar'), policies)
    await turn(/holds no tests[^]*3 tests passed[^]*waiting/)
    watch.process.kill('SIGINT')
    const { code, signal } = await watch.done
    assert.deepEqual([code, signal], [0, null])
  })
})

test('the example of the documentation does what it says, with the starter policies', async () => {
  using cli = new Cli()
  const folder = join(cli.home, 'policies')
  mkdirSync(folder)
  const page = readFileSync(new URL('../../docs/policy-tests.md', import.meta.url), 'utf8')
  const [example = '', told = ''] = [/```yaml\n([^]*?)```/u, /\$ writ policy test\n([^]*?)```/u].map(
    (block) => block.exec(page)?.[1],
  )
  for (const { name, text } of starterPolicies())
    if (name === 'migration.cedar') writeFileSync(join(folder, name), text)
  writeFileSync(join(folder, 'migration.test.yaml'), example)
  const { code, stdout, stderr } = await command(cli, [])
  assert.deepEqual([code, stdout + stderr], [0, told])
})

suite('a decision of a server', () => {
  let world: World
  let cli: Cli
  let folder: string
  before(async () => {
    world = await openWorld()
    cli = new Cli({ WRIT_URL: world.app.url, WRIT_TOKEN: world.tokens.ada })
    folder = join(cli.home, 'policies')
    mkdirSync(folder)
    for (const { name, text } of starterPolicies()) writeFileSync(join(folder, name), text)
  })
  after(async () => {
    cli[Symbol.dispose]()
    await world[Symbol.asyncDispose]()
  })

  test('becomes a test that passes with the same policies, and is added without touching what is there', async () => {
    const { flows } = world.app
    const decisions: string[] = []
    const take = async (
      input: Parameters<typeof flows.evaluate>[1],
      who = world.migrator,
    ): Promise<string> => {
      const { id, outcome } = await flows.evaluate(who, input)
      decisions.push(id)
      return outcome
    }
    const task = await declare(world)
    const outcomes = [
      await take(attempt('Agent/migrator', 'read', 'Document/handbook')),
      await take(migration(undefined)),
      await take(migration(task)),
      await take(migration(await declare(world, { reason: undefined }))),
      // outside of the scope of its task
      await take({ ...migration(task), resource: { type: 'Database', id: 'payments' } }),
      await take(attempt('Agent/migrator', 'read', 'Document/unregistered')),
    ]
    const request = await requestMigration(world, task)
    const approved = await flows.approve(world.grace, request.id, { statement: request.digest })
    outcomes.push(await take(migration(task, { approval: approved.approval ?? '' })))
    assert.deepEqual(outcomes, ['permit', 'deny', 'challenge', 'challenge', 'deny', 'deny', 'permit'])

    const [first = '', ...rest] = decisions
    const file = join(folder, 'recorded.test.yaml')
    const printed = await command(cli, ['--from', first])
    assert.equal(printed.code, 0, printed.stderr)
    writeFileSync(file, `# mine\n${printed.stdout}`)
    for (const id of rest) {
      const before = readFileSync(file, 'utf8')
      const added = await command(cli, ['--from', id, '--into', file])
      assert.equal(added.code, 0, added.stderr)
      assert.ok(readFileSync(file, 'utf8').startsWith(before.trimEnd()), 'what was there stays')
    }
    const ran = await command(cli, [file])
    assert.equal(ran.code, 0, `${ran.stdout}${ran.stderr}\n${readFileSync(file, 'utf8')}`)
    assert.match(ran.stderr, /7 tests passed/)
    assert.doesNotMatch(readFileSync(file, 'utf8'), new RegExp(Object.values(world.tokens).join('|')))

    const twice = await command(cli, ['--from', first, '--into', file])
    assert.equal(twice.code, 2)
    assert.match(twice.stderr, /has a test named `dec_/)
  })

  test('is refused where no test could repeat it, and where the caller may not see it', async () => {
    const task = await declare(world)
    const unknown = await world.app.flows.evaluate(world.migrator, migration('task_none'))
    const refused = await command(cli, ['--from', unknown.id])
    assert.equal(refused.code, 2, refused.stderr)
    assert.match(refused.stderr, /was settled by `task_unknown`, before policy/)
    const own = await world.app.flows.evaluate(world.migrator, migration(task))
    const blind = await command(cli, ['--from', own.id], { WRIT_TOKEN: world.tokens.migrator })
    assert.equal(blind.code, 1, blind.stderr)
    assert.equal((await command(cli, ['--into', 'x.test.yaml'])).code, 2)
    assert.equal((await command(cli, ['--from', own.id, '--watch'])).code, 2)
    assert.equal((await command(cli, ['--from', own.id, '--into', 'x.yaml'])).code, 2)
  })
})
