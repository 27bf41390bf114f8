/**
 * `writ demo`, as a newcomer starts it.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { Cli, onTerminal, terminals } from '../support/cli.ts'

/** A command line whose temporary folder can be looked into. */
function demoCli(): Cli & { left(): string[] } {
  const cli = new Cli()
  const folder = join(cli.home, 'tmp')
  mkdirSync(folder)
  cli.env['TMPDIR'] = folder
  return Object.assign(cli, {
    left: () => readdirSync(folder).filter((name) => name.startsWith('writ-demo')),
  })
}

suite('demo', () => {
  test('without a terminal it answers itself, twice at once, and leaves nothing', async () => {
    using cli = demoCli()
    const both = await Promise.all([cli.run(['demo']), cli.run(['demo'])])
    for (const { code, stdout, stderr } of both) {
      assert.equal(code, 0, stderr)
      const steps = [
        /1 Agent\/migrator {2}read on Document\/handbook +PERMIT +standing/,
        /2 Agent\/migrator {2}db:migrate on Database\/orders +CHALLENGE one approval by dba/,
        /3 approved → grant for \d+:\d\d/,
        /as orders_owner: the migration ran/,
        /login absent at orders-db after \d+\.\d s ✓/,
        /cut, its write is refused ✓/,
        /4 Agent\/migrator {2}the same call again +DENY +task_ended/,
        /✗ approvals by dba ≥ 1 \(none\)/,
        /verify FAILED at #\d+/,
        /audit prove grant_\w+ -o why\.json/,
        /verified offline with the log's key alone ✓/,
        /\d+ entries are in the log of \d+/,
        /\d decisions, taken again with reference Cedar/,
        /INC-42 in it made INC-43 → verify FAILED: entry \d+: bytes do not match the proof/,
        /Try: .*writ/,
      ]
      let at = 0
      for (const step of steps) {
        const match = step.exec(stdout.slice(at))
        assert.ok(match, `${String(step)} in\n${stdout}`)
        at += match.index
      }
    }
    assert.deepEqual(cli.left(), [])
  })

  test('at a terminal a key approves, the server stays, Ctrl-C cleans up', { skip: terminals }, async () => {
    using cli = demoCli()
    const ran = await onTerminal(
      cli,
      ['demo'],
      [
        [/waiting for you · expires in 1[45]:\d\d · a approve · d deny/, 'a'],
        [
          /Still running at http:\/\/127\.0\.0\.1:\d+ until Ctrl-C[^]*why dec_[^]*audit verify --remote/,
          '\u0003',
        ],
      ],
    )
    assert.equal(ran.code, 0, ran.screen)
    assert.match(ran.screen, /4 Agent\/migrator {2}the same call again/)
    assert.deepEqual(cli.left(), [])
  })

  test('denied at a terminal: nothing ran, and it says so', { skip: terminals }, async () => {
    using cli = demoCli()
    const ran = await onTerminal(cli, ['demo'], [[/a approve · d deny/, 'd']])
    assert.equal(ran.code, 5, ran.screen)
    assert.match(ran.screen, /is denied/)
    assert.doesNotMatch(ran.screen, /migration ran/)
    assert.deepEqual(cli.left(), [])
  })

  test('Ctrl-C in the middle cleans up', { skip: terminals }, async () => {
    using cli = demoCli()
    const ran = await onTerminal(cli, ['demo'], [[/a approve · d deny/, '\u0003']])
    assert.equal(ran.code, 130, ran.screen)
    assert.match(ran.screen, /cleaning up/)
    assert.deepEqual(cli.left(), [])
  })
})
