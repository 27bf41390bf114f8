import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseVerifierKey } from '../../src/audit/note.ts'
import { Cli } from '../support/cli.ts'
import { openWorld } from '../support/world.ts'

test('B45 `writ audit keys` shows what to pin; `rotate` asks, and only an administrator may', async () => {
  await using world = await openWorld()
  using cli = new Cli({ WRIT_URL: world.app.url })
  const as = (who: 'ada' | 'migrator', ...args: string[]) =>
    cli.here(args, { env: { WRIT_TOKEN: world.tokens[who] } })
  const shown = async () => {
    const { stdout, code } = await as('migrator', 'audit', 'keys', '--json')
    assert.equal(code, 0)
    return (JSON.parse(stdout) as { items: { state: string; vkey: string }[] }).items
  }
  const [before, ...none] = await shown()
  assert.deepEqual([before?.state, none], ['current', []])
  assert.ok(parseVerifierKey(before?.vkey ?? ''))

  const unasked = await as('ada', 'audit', 'rotate', '--no-input')
  assert.equal(unasked.code, 2)
  assert.match(unasked.stderr, /--yes/)
  const bare = await as('ada', 'audit', 'rotate', '--compromised', '--yes')
  assert.equal(bare.code, 2)
  assert.match(bare.stderr, /`--reason` is missing/)
  assert.equal((await as('migrator', 'audit', 'rotate', '--yes')).code, 5)
  assert.equal((await shown()).length, 1)

  const rotated = await as('ada', 'audit', 'rotate', '--yes', '--reason', 'yearly')
  assert.equal(rotated.code, 0, rotated.stderr)
  const given = await as('ada', 'audit', 'rotate', '--compromised', '--reason', 'the disk was sold', '--yes')
  assert.equal(given.code, 0, given.stderr)
  const keys = await shown()
  assert.deepEqual(
    keys.map(({ state }) => state),
    ['retired', 'compromised', 'current'],
  )
  assert.equal(rotated.stdout.trim(), keys[1]?.vkey)
  assert.equal(given.stdout.trim(), keys[2]?.vkey)
  const table = await as('ada', 'audit', 'keys')
  assert.match(table.stdout, /^STATE +FROM +UNTIL +KEY/)
  assert.match(table.stderr, /keep its current key where this server has no hand in it/)
})
