import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Cli } from '../support/cli.ts'
import { openWorld, ref } from '../support/world.ts'

test('B75 after a restore an administrator signs in by a code, sees what came back, and acknowledges it', async () => {
  const world = await openWorld()
  const { app, ada } = world
  const late = await app.flows.createKey(ada, { name: 'late', subject: ref('Service/orders-ci') })
  await app.flows.revokeKey(ada, late.id)
  await app.flows.locks.lock(ada, { what: 'subject', about: 'Service/orders-ci', reason: 'INC-7' })
  await app.flows.locks.lock(ada, { what: 'tool', about: 'db:migrate', reason: 'INC-8' })
  await app.stop()
  const mark = readdirSync(world.folder).find((name) => name.endsWith('.mark')) ?? ''
  rmSync(join(world.folder, mark))
  const { app: restored } = await world.restart()
  using cli = new Cli({ WRIT_URL: restored.url })
  try {
    const as = (token: string, ...args: string[]) => cli.here(args, { env: { WRIT_TOKEN: token } })
    const refused = await as(world.tokens.migrator, 'can-i', 'read', 'Document/handbook')
    assert.equal(refused.code, 5)
    assert.match(refused.stdout, /a backup was put back[^]*\(restored\)/)
    const listed = await as(world.tokens.migrator, 'keys', 'ls')
    assert.equal(listed.code, 5)
    assert.equal((await as(world.tokens.ada, 'keys', 'ls')).code, 4)

    const file = restored.restoreFile ?? ''
    const [code = ''] = readFileSync(file, 'utf8').split(' ')
    assert.equal((await cli.run(['login', '--code'], { stdin: `${code}\n` })).code, 0)
    const doctor = await cli.run(['doctor'])
    assert.match(doctor.stdout + doctor.stderr, /put back from a copy[^]*writ audit acknowledge/)
    const keys = await cli.here(['keys', 'ls', '--json'])
    const { items } = JSON.parse(keys.stdout) as {
      items: { id: string; name: string; revoked_at?: string }[]
    }
    const revoked = new Map(items.map(({ name, revoked_at: at }) => [name, at !== undefined]))
    assert.deepEqual([items.length, revoked.get('late'), revoked.get('migrator')], [2, true, false])
    // neither the secret nor what it is known by
    assert.doesNotMatch(keys.stdout, /writ_key_|hash\w*":|[0-9a-f]{64}/)
    const unasked = await cli.run(['audit', 'acknowledge', '--no-input'])
    assert.equal(unasked.code, 2)
    assert.equal(existsSync(file), true)
    const done = await cli.run(['audit', 'acknowledge', '--yes'])
    assert.equal(done.code, 0, done.stderr)
    assert.match(
      done.stderr,
      /the copy was last written .*\npolicy in force: \S+\nAPI keys that open doors: 1\n {2}key_\S+ {2}migrator {2}Agent\/migrator\nlocked: 2\n {2}subject Service\/orders-ci {2}INC-7\n {2}tool db:migrate {2}INC-8\npasskeys: 0\nlinked accounts: 0\ndelegations: 0\n/,
    )
    assert.equal(existsSync(file), false)
    assert.equal((await as(world.tokens.migrator, 'can-i', 'read', 'Document/handbook')).code, 0)
    const again = await cli.here(['audit', 'acknowledge', '--json'])
    assert.equal(again.code, 0)
    assert.match(again.stderr, /no restore waits/)
    assert.match(again.stdout, /"acknowledged"/)
  } finally {
    await restored.stop()
    rmSync(world.folder, { recursive: true, force: true })
  }
})
