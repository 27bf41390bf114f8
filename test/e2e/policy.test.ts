/**
 * The policy tools of `writ` without any server: in this process, and as children where it makes a difference.
 *
 * @module
 */
import assert from 'node:assert/strict'
import {
  chmodSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { Cli, onTerminal, terminals } from '../support/cli.ts'

type Members = Readonly<Record<string, unknown>>
type Printed = Members &
  Readonly<{
    items: Members[]
    alternatives: Members[]
    determining: Members[]
    explanation: { nearest: Members[] }
  }>
const json = (text: string) => JSON.parse(text) as Printed

const SAMPLES = resolve(import.meta.dirname, '../../policies')
const controls =
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/u

const odd = `@id("open")
permit (principal, action, resource)
when { true };

@id("typo")
@ttl("5m")
permit (
  principal in Group::"deployrs",
  action == Action::"deploy",
  resource is Database
);
`

suite('policies without a server', () => {
  let cli: Cli
  const at = (...names: string[]): string => join(cli.home, ...names)
  const write = (name: string, text: string | Uint8Array): void => {
    mkdirSync(resolve(at(name), '..'), { recursive: true })
    writeFileSync(at(name), text)
  }

  before(() => {
    cli = new Cli()
    mkdirSync(at('policies'))
    for (const name of ['migration.cedar', 'writ.cedar'])
      copyFileSync(join(SAMPLES, name), at('policies', name))
    copyFileSync(join(SAMPLES, 'inventory.yaml'), at('inventory.yaml'))
    write('odd/a.cedar', odd)
  })
  after(() => cli[Symbol.dispose]())

  test('the starter policies are quiet, formatted and valid', async () => {
    const linted = await cli.run(['policy', 'lint', '--strict'])
    assert.deepEqual([linted.code, linted.stdout], [0, ''])
    assert.match(linted.stderr, /^✓ 2 policy files in \.\/policies are valid, and nothing looks wrong\n$/)
    const all = await cli.here(['policy', 'lint', '--strict', SAMPLES])
    assert.equal(all.code, 0, all.stderr)
  })

  test('what looks wrong is told at its place, with a way on', async () => {
    const linted = await cli.here(['policy', 'lint', 'odd'])
    assert.deepEqual([linted.code, linted.stdout], [0, ''])
    assert.match(
      linted.stderr,
      /warning\[L006\]: this permits every action, also those to come\n {2}odd\/a\.cedar:2:20\n2 \| permit \(principal, action, resource\)\n {2}\| {20}\^{6} name them/,
    )
    assert.match(linted.stderr, /warning\[L001\]: this condition always holds\n {2}odd\/a\.cedar:3:8\n/)
    assert.match(linted.stderr, /warning\[L008\][^]*did you mean `Group::"deployers"`\?/)
    assert.match(
      linted.stderr,
      /see docs\/reference\/policy-problems\.md, or `writ policy explain L006`\n! 1 policy file/,
    )
    for (const flag of ['--strict', '--deny-warnings']) {
      const strict = await cli.here(['policy', 'lint', 'odd', flag])
      assert.equal(strict.code, 3)
      assert.match(strict.stderr, /✗ writ: 3 warnings in odd\n$/)
    }
    assert.equal(
      (await cli.here(['policy', 'check', 'odd', '--strict'])).code,
      0,
      'nothing of it is a problem',
    )
    const both = await cli.here(['policy', 'check', 'odd', '--lint', '--json=code,line'])
    assert.deepEqual(json(both.stdout).items, [
      { code: 'L006', line: 2 },
      { code: 'L001', line: 3 },
      { code: 'L008', line: 8 },
    ])
  })

  test('what is meant is not told', async () => {
    const meant = odd
      .replace('@id("open")', '@id("open")\n@lint_ignore("wildcard-action always-true")')
      .replace('deployrs', 'deployers')
    write('meant/a.cedar', meant)
    const linted = await cli.here(['policy', 'lint', 'meant', '--strict'])
    assert.equal(linted.code, 0, linted.stderr)
  })

  test('without an inventory nothing is said about who there is', async () => {
    const linted = await cli.here(['policy', 'lint', at('odd')], { cwd: at('odd') })
    assert.doesNotMatch(linted.stderr, /L008/)
    assert.match(linted.stderr, /· without an inventory/)
    const missing = await cli.here(['policy', 'lint', 'odd', '--inventory', 'none.yaml'])
    assert.deepEqual([missing.code, /no inventory `none\.yaml`/.test(missing.stderr)], [2, true])
  })

  test('an inventory that the server would refuse is refused here too', async () => {
    const circle = ['a', 'b'].map(
      (id) => `  - {type: Group, id: ${id}, parents: [Group/${id === 'a' ? 'b' : 'a'}]}`,
    )
    write('circle.yaml', `entities:\n${circle.join('\n')}\n`)
    const ran = await cli.here(['policy', 'check', 'policies', '--inventory', 'circle.yaml'])
    assert.equal(ran.code, 3)
    assert.match(ran.stderr, /circle\.yaml: `Group\/a` would be its own ancestor/u)
  })

  test('a folder that is not valid is exit 3, with one place that explains', async () => {
    write(
      'bad/a.cedar',
      'permit (principal is Agent, action == Action::"x", resource)\nwhen { principal.nmae == "ada" };\n',
    )
    const checked = await cli.here(['policy', 'lint', 'bad'])
    assert.equal(checked.code, 3)
    assert.match(
      checked.stderr,
      /bad\/a\.cedar:2:8[^]*see docs\/reference\/policy-problems\.md#p\d{3}, or `writ policy explain P\d{3}`\n/,
    )
    const page = readFileSync(join(SAMPLES, '../docs/reference/policy-problems.md'), 'utf8')
    const code = /#(p\d{3})/.exec(checked.stderr)?.[1]?.toUpperCase() ?? ''
    assert.match(page, new RegExp(`^## ${code}$`, 'm'))
    const explained = await cli.here(['policy', 'explain', code.toLowerCase()])
    assert.match(explained.stdout, new RegExp(`^${code}: `))
  })

  test('SARIF 2.1.0: every member that the standard asks for, at the places that people see', async () => {
    write('odd dir/ä#.cedar', odd)
    const told = await cli.here(['policy', 'lint', 'odd dir', '-o', 'sarif'])
    assert.equal(told.code, 0)
    const log = json(told.stdout)
    assert.deepEqual(Object.keys(log), ['$schema', 'version', 'runs'])
    assert.equal(log['version'], '2.1.0')
    const [run] = log['runs'] as [
      {
        tool: { driver: { name: string; rules: Members[] } }
        columnKind: string
        results: {
          ruleId: string
          ruleIndex: number
          level: string
          message: { text: string }
          locations: { physicalLocation: { artifactLocation: Members; region: Members } }[]
        }[]
      },
    ]
    assert.equal(run.columnKind, 'unicodeCodePoints')
    const { name, rules } = run.tool.driver
    assert.equal(name, 'writ')
    assert.equal(new Set(rules.map(({ id }) => id)).size, rules.length, 'ids are unique (§3.19.23)')
    for (const rule of rules) {
      assert.match(String(rule['id']), /^[PL]\d{3}$/)
      for (const member of ['shortDescription', 'fullDescription', 'help'])
        assert.match((rule[member] as { text: string }).text, /\S/, `${String(rule['id'])} ${member}`)
    }
    assert.deepEqual(
      run.results.map(({ ruleId }) => ruleId),
      ['L006', 'L001', 'L008'],
    )
    for (const { ruleId, ruleIndex, level, message, locations } of run.results) {
      assert.equal(rules[ruleIndex]?.['id'], ruleId)
      assert.ok(['none', 'note', 'warning', 'error'].includes(level))
      assert.match(message.text, /\S/)
      assert.equal(locations.length, 1)
      const { artifactLocation, region } = locations[0]?.physicalLocation ?? assert.fail()
      assert.deepEqual(artifactLocation, { uri: 'odd%20dir/%C3%A4%23.cedar', uriBaseId: '%SRCROOT%' })
      for (const member of ['startLine', 'startColumn', 'endLine', 'endColumn'])
        assert.ok(Number.isInteger(region[member]) && Number(region[member]) >= 1, member)
    }
    assert.deepEqual(run.results[1]?.locations[0]?.physicalLocation.region, {
      startLine: 3,
      startColumn: 8,
      endLine: 3,
      endColumn: 12,
    })
    const bad = await cli.here(['policy', 'check', 'bad', '--sarif'])
    assert.equal(bad.code, 3)
    assert.match(bad.stdout, /"level": "error"/)
    assert.equal(
      (await cli.here(['policy', 'publish', 'bad', '-o', 'sarif'])).code,
      2,
      'a format of findings alone',
    )
  })

  test('no policy file is left out in silence: links are followed, what cannot be read is told', async () => {
    const permit = 'permit (principal in Group::"dba", action == Action::"x", resource is Database);\n'
    write('linked/a.cedar', permit)
    write('kept/..2026/forbid.cedar', 'forbid (principal, action == Action::"x", resource is Database);\n')
    symlinkSync('../kept/..2026/forbid.cedar', at('linked/forbid.cedar'))
    const both = await cli.here(['policy', 'check', 'linked'])
    assert.deepEqual([both.code, /2 policy files/.test(both.stderr)], [0, true], both.stderr)
    // a mounted folder: hidden folders, and links to the files in them
    symlinkSync('..2026/forbid.cedar', at('kept/forbid.cedar'))
    assert.match((await cli.here(['policy', 'check', 'kept'])).stderr, /^✓ 1 policy file in kept is valid/)
    for (const [name, make, code, said] of [
      ['gone', (file: string) => symlinkSync('nowhere', file), 2, /leads nowhere/],
      ['folder', (file: string) => mkdirSync(file), 2, /is a folder with the name of a policy file/],
      [
        'bytes',
        (file: string) => writeFileSync(file, Uint8Array.of(0x2f, 0x2f, 0xff, 0x0a)),
        3,
        /is not UTF-8/,
      ],
    ] as const) {
      write(`${name}/a.cedar`, permit)
      make(at(`${name}/b.cedar`))
      const ran = await cli.here(['policy', 'check', name])
      assert.deepEqual([ran.code, said.test(ran.stderr)], [code, true], `${name}\n${ran.stderr}`)
    }
  })

  test('B79 an inventory that cannot be read is a sentence, one of thousands of lines is none', async () => {
    const laughs = ['a: &a [x, x, x, x, x, x, x, x]']
    for (const [from, to] of ['ab', 'bc', 'cd', 'de', 'ef'])
      laughs.push(`${to}: &${to} [${Array.from({ length: 8 }, () => `*${from}`).join()}]`)
    const many = Array.from({ length: 1_500 }, (_, n) => `  - { type: Agent, id: a${n} }`)
    for (const [text, code, said] of [
      [`${laughs.join('\n')}\nentities: *f\n`, 2, /repeats its anchors too often/],
      [
        'entities:\n  - { type: Agent, id: a }\n  - { type: Agent, id: a }\n',
        2,
        /two lines are Agent\/a: keep one/,
      ],
      [Uint8Array.of(0xff, 0xfe), 2, /is not UTF-8/],
      [`${'['.repeat(20_000)}${']'.repeat(20_000)}`, 2, /too deeply nested/],
      [`entities:\n${many.join('\n')}\n`, 0, /is valid|are valid/],
    ] as const) {
      write('odd.yaml', text)
      const ran = await cli.here(['policy', 'check', '--inventory', 'odd.yaml'])
      assert.deepEqual([ran.code, said.test(ran.stderr)], [code, true], ran.stderr)
      assert.doesNotMatch(ran.stderr, /unexpected/)
    }
  })

  test('files are formatted whole or not at all', async () => {
    const ugly = '// head\n\n@id("a") permit(principal,action,resource);// beside\n'
    const pretty = '// head\n\n@id("a")\npermit (principal, action, resource);// beside\n'
    write('fmt/a.cedar', ugly)
    write('fmt/deep/b.cedar', pretty)
    write('fmt/other.txt', ugly)
    write('elsewhere/c.cedar', ugly)
    chmodSync(at('fmt/a.cedar'), 0o640)
    symlinkSync('../elsewhere/c.cedar', at('fmt/link.cedar'))
    const would = await cli.here(['policy', 'fmt', '--check', 'fmt'])
    assert.deepEqual([would.code, would.stdout], [3, 'fmt/a.cedar\n'])
    assert.equal(readFileSync(at('fmt/a.cedar'), 'utf8'), ugly)
    const done = await cli.here(['policy', 'fmt', 'fmt', 'fmt/link.cedar'])
    assert.deepEqual([done.code, done.stdout], [0, 'fmt/a.cedar\nfmt/link.cedar\n'], done.stderr)
    assert.match(done.stderr, /2 files formatted, 1 file was so already/)
    assert.equal(readFileSync(at('fmt/a.cedar'), 'utf8'), pretty)
    assert.equal(readFileSync(at('elsewhere/c.cedar'), 'utf8'), pretty)
    assert.ok(lstatSync(at('fmt/link.cedar')).isSymbolicLink())
    assert.equal(statSync(at('fmt/a.cedar')).mode & 0o777, 0o640)
    assert.deepEqual(readdirSync(at('fmt')).sort(), ['a.cedar', 'deep', 'link.cedar', 'other.txt'])
    assert.equal((await cli.here(['policy', 'fmt', '--check', 'fmt'])).code, 0)

    mkdirSync(at('fmt-none'))
    const none = await cli.here(['policy', 'fmt', '--check', 'fmt-none'])
    assert.deepEqual(
      [none.code, /`fmt-none` holds no policy files/.test(none.stderr)],
      [2, true],
      none.stderr,
    )

    const lost = 'permit(principal,action,resource) when { [1, // mine\n].contains(1) };\n'
    write('fmt/lost.cedar', lost)
    write('fmt/bytes.cedar', Uint8Array.of(0x2f, 0x2f, 0xff, 0x0a))
    write('fmt/new.cedar', ugly)
    const refused = await cli.here(['policy', 'fmt', 'fmt', '--json'])
    assert.equal(refused.code, 3)
    assert.deepEqual(
      json(refused.stdout).items.map(({ file, state }) => [file, state]),
      [
        ['fmt/a.cedar', 'unchanged'],
        ['fmt/bytes.cedar', 'refused'],
        ['fmt/deep/b.cedar', 'unchanged'],
        ['fmt/lost.cedar', 'refused'],
        ['fmt/new.cedar', 'formatted'],
      ],
    )
    assert.match(refused.stderr, /would lose or move a comment[^]*2 files are left as they were/)
    assert.equal(readFileSync(at('fmt/lost.cedar'), 'utf8'), lost)

    const piped = await cli.run(['policy', 'fmt', '-'], { stdin: ugly })
    assert.deepEqual([piped.code, piped.stdout, piped.stderr], [0, pretty, ''])
    assert.equal((await cli.here(['policy', 'fmt', '-', '--check'], { stdin: ugly })).code, 3)
    assert.equal((await cli.here(['policy', 'fmt', '-'], { stdin: 'permit(' })).code, 3)
    assert.equal((await cli.here(['policy', 'fmt', 'fmt/other.txt'])).code, 2)
  })

  const migration = ['Agent/migrator', 'db:migrate', 'Database/orders']
  const task = ['--task', '{"purpose": "schema 42", "reason": "INC-42"}']

  test('an attempt is answered as a server would: 0 for yes, 5 for no', async () => {
    const none = await cli.here(['policy', 'eval', ...migration])
    assert.equal(none.code, 5)
    assert.match(none.stdout, /^DENY {2}policy_denied\nAgent\/migrator → db:migrate on Database\/orders\n/)
    assert.match(none.stderr, /asked without a task/)
    const asked = await cli.here(['policy', 'eval', ...migration, ...task, '--json'])
    assert.equal(asked.code, 5)
    const { outcome, alternatives } = json(asked.stdout)
    assert.equal(outcome, 'challenge')
    assert.deepEqual(
      alternatives.map(({ requirements }) => requirements),
      [[{ kind: 'approval', pool: 'dba', count: 1 }]],
    )
    const given = await cli.here(['policy', 'eval', ...migration, ...task, '--approval', 'dba=1', '--json'])
    assert.equal(given.code, 0, given.stderr)
    const answer = json(given.stdout)
    assert.deepEqual(
      [answer['outcome'], answer.determining[0]?.['policy']],
      ['permit', 'migrate-with-approval'],
    )
    assert.equal(answer.determining[0]?.['file'], 'policies/migration.cedar')
    assert.deepEqual(answer['obligations'], { ttl: '10m', uses: 1, binding: 'attempt', notify: [] })
    const justified = ['--task', 'schema 42', '--justification', '--approval', 'dba']
    assert.equal((await cli.here(['policy', 'eval', ...migration, ...justified])).code, 0)
    assert.equal(
      (await cli.here(['policy', 'eval', ...migration, ...justified, '--unknown', 'task'])).code,
      5,
    )
    const read = await cli.here(['policy', 'eval', 'Agent/migrator', 'read', 'Document/handbook'])
    assert.equal(read.code, 0, read.stderr)
  })

  test('the clock can stand elsewhere, and the context and properties be given', async () => {
    write(
      'clock/a.cedar',
      '@id("late") permit (principal, action == Action::"deploy", resource is Database)\nwhen { context.live.now > datetime("2030-01-01T00:00:00Z") };\n@id("few") permit (principal, action == Action::"note", resource is Database)\nwhen { context has action_properties && context.action_properties has rows && context.action_properties.rows < 5 && context has from && context.from == "here" };\n',
    )
    const on = (action: string, ...more: string[]) =>
      cli.here(['policy', 'eval', 'Agent/migrator', action, 'Database/orders', '--folder', 'clock', ...more])
    assert.equal((await on('deploy', '--at', '2029-01-01T00:00:00Z')).code, 5)
    assert.equal((await on('deploy', '--at', '2031-01-01T00:00:00Z')).code, 0)
    assert.equal((await on('note', '--properties', '{"rows":4}', '--context', '{"from":"here"}')).code, 0)
    const other = await on('note', '--properties', '{"rows":5}', '--context', '{"from":"here","more":1}')
    assert.equal(other.code, 5)
    assert.match(other.stderr, /dropped from the context[^]*more/)
  })

  test('wrong use is exit 2 and names what was meant', async () => {
    const cases: [string[], RegExp][] = [
      [['eval', 'migrator', 'read', 'Document/handbook'], /`migrator` is not a reference[^]*Type\/id/],
      [['eval', ...migration, '--approval', 'dbaa'], /approvals `dbaa`[^]*did you mean `dba`\?/],
      [['eval', ...migration, '--unknown', 'histroy'], /no fact `histroy`[^]*did you mean `history`\?/],
      [['eval', ...migration, '--context', '{'], /`--context` is not JSON/],
      [['eval', ...migration, '--task', '{"calls": -1}'], /`--task`: `calls` must be at least 0/],
      [['eval', ...migration, '--folder', 'nowhere'], /no folder `nowhere`/],
      [['explain', 'migrate-with-aproval'], /did you mean `migrate-with-approval`\?/],
      [['explain', 'a', 'b'], /name a policy, or an attempt/],
      [['lint', 'odd/a.cedar'], /`odd\/a\.cedar` is not a folder/],
    ]
    for (const [words, message] of cases) {
      const ran = await cli.here(['policy', ...words])
      assert.equal(ran.code, 2, `${words.join(' ')}: ${ran.stderr}`)
      assert.match(ran.stderr, message)
    }
    const slip = await cli.here(['policy', 'eval', 'Agent/migrtor', 'db:migrte', 'Database/orders'])
    assert.equal(slip.code, 5)
    assert.match(slip.stderr, /did you mean db:migrate\?[^]*did you mean Agent\/migrator\?/)
    const bad = await cli.here(['policy', 'eval', ...migration, '--folder', 'bad'])
    assert.equal(bad.code, 3)
  })

  test('an attempt is explained clause by clause, a policy in words', async () => {
    const attempt = await cli.here(['policy', 'explain', ...migration, '--task', 'schema 42'])
    assert.equal(attempt.code, 5)
    assert.match(
      attempt.stdout,
      /^CHALLENGE [^]*Nearest rule: policies\/migration\.cedar:\d+ "migrate-with-approval"\n/,
    )
    assert.match(attempt.stdout, /✓ live has task[^]*✗ [^\n]*dba[^]*one approval by dba and a reason/)
    const whole = await cli.here(['policy', 'explain', ...migration, '--json'])
    const { explanation } = json(whole.stdout)
    assert.equal(explanation.nearest[0]?.['file'], 'policies/migration.cedar')
    const policy = await cli.here(['policy', 'explain', 'migrate-with-approval'])
    assert.equal(policy.code, 0)
    for (const line of [
      /^permit migrate-with-approval {2}policies\/migration\.cedar:\d+$/m,
      /^ {2}who {7}principal in Group::"deployers" {2}\(now Agent\/migrator, Service\/orders-ci\)$/m,
      /^ {2}when {6}context\.live has task {2}policies\/migration\.cedar:\d+$/m,
      /^ {2}asks {6}one approval by dba, [^\n]*dba-approve[^\n]*; a reason$/m,
      /^ {2}limits {4}at most 10m · 1 use · for this attempt alone$/m,
      /^ {2}reads {5}task \(the task that the attempt names\)$/m,
    ])
      assert.match(policy.stdout, line)
    const told = json((await cli.here(['policy', 'explain', 'migrate-with-approval', '--json'])).stdout)
    assert.deepEqual(told['asks'], {
      approvals: { dba: { count: 1, givers: ['dba-approve'] } },
      justification: true,
      reauth: false,
    })
  })

  test('B69 nothing in a file reaches the terminal as anything but text', { skip: terminals }, async () => {
    const evil = '\u001b[2J\u009b31m\u202e\u2028'
    write(
      `evil/a\u001b[31m.cedar`,
      `// ${evil}\n@id("x")\n@doc("${evil}")\npermit (principal, action, resource) when { true && context.note == "${evil}" };\npermit (principal in Group::"${evil}", action == Action::"read", resource) when { context.live has task };\n`,
    )
    for (const words of [
      ['lint', 'evil'],
      ['check', 'evil', '--lint', '--json'],
      ['check', 'evil', '--lint', '--sarif'],
      ['explain', 'x', '--folder', 'evil'],
      [
        'explain',
        'Agent/migrator',
        'read',
        'Database/orders',
        '--folder',
        'evil',
        '--context',
        JSON.stringify({ note: evil }),
      ],
      ['eval', 'Agent/migrator', 'read', 'Database/orders', '--folder', 'evil'],
      ['eval', `Agent/${evil}`, 'read', 'Database/orders', '--folder', 'evil'],
      ['fmt', '--check', 'evil'],
    ]) {
      const ran = await cli.here(['policy', ...words])
      assert.ok(ran.stdout !== '' || ran.stderr !== '', words.join(' '))
      assert.doesNotMatch(ran.stdout, controls, words.join(' '))
      assert.doesNotMatch(ran.stderr, controls, words.join(' '))
    }
    const { screen: shown } = await onTerminal(cli, ['policy', 'lint', 'evil'], [])
    assert.match(shown, /L006/)
    // colours are ours; what the file brings is not
    assert.doesNotMatch(shown, /\u001b\[(?:2J|31m\u202e)|[\u009b\u202e\u2028]/u)
  })

  test('a folder is looked at again when it changes', async () => {
    write('watched/a.cedar', odd)
    const running = cli.start(['policy', 'lint', 'watched', '--watch'])
    await running.says(/with 3 warnings[^]*waiting/)
    write('watched/a.cedar', odd.replace('deployrs', 'deployers'))
    await running.says(/with 2 warnings[^]*waiting/)
    write('watched/a.cedar', 'permit (')
    await running.says(/error\[P001\][^]*1 problem in watched[^]*waiting/)
    running.process.kill('SIGINT')
    assert.equal((await running.done).code, 0)
  })

  test('the commands complete', async () => {
    const { stdout } = await cli.here(['completion', 'bash'])
    assert.match(stdout, /'policy'\) words='check lint fmt test eval explain publish/)
    assert.match(stdout, /'policy eval'\) words='--folder[^']* --approval /)
  })
})
