import assert from 'node:assert/strict'
import { existsSync, renameSync } from 'node:fs'
import { test } from 'node:test'
import { createApp } from './app.ts'
import { FakeSystem } from '../test/support/fake-target.ts'
import { openWorld } from '../test/support/world.ts'

test('a key file that is gone is asked for, not made anew, while something is sealed under it', async () => {
  const system = new FakeSystem()
  const targetKinds = { fake: (record: { id: string }) => system.connect(record.id) }
  await using world = await openWorld({ http: false, sweeper: false, targetKinds })
  await world.app.flows.addTarget(world.ada, {
    id: 'orders-db',
    kind: 'fake',
    config: { access: [{ action: 'db:migrate', resource: 'Database/orders', role: 'migrate' }] },
    admin: { user: 'admin', password: 'secret' },
  })
  await world.app.stop()
  const { keyFile } = world.config
  renameSync(keyFile, `${keyFile}.away`)
  const options = { mode: 'server', http: false, sweeper: false, targetKinds, log: () => undefined } as const
  await assert.rejects(createApp(world.config, options), /the key file .* is gone/)
  assert.ok(!existsSync(keyFile))
  renameSync(`${keyFile}.away`, keyFile)
  const again = await createApp(world.config, options)
  await again.stop()
})
