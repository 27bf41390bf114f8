import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Cli } from '../support/cli.ts'
import { openWorld, ref } from '../support/world.ts'

test('a device manager reports devices apart, and an administrator sees what a decision would see', async () => {
  await using world = await openWorld()
  const { flows } = world.app
  const entity = { type: 'Service', id: 'mdm', kind: 'workload', owner: ref('Person/ada') } as const
  await flows.putEntities(world.ada, [{ ...entity, parents: [ref('Group/reporters')] }])
  const { secret } = await flows.createKey(world.ada, { name: 'mdm', subject: ref('Service/mdm') })
  using cli = new Cli({ WRIT_URL: world.app.url })
  const as = (token: string, ...args: string[]) =>
    cli.here(['context', ...args], { env: { WRIT_TOKEN: token } })
  const report = (device: string, value: string, ...more: string[]) =>
    as(secret.expose(), 'report', 'posture', 'Person/grace', '--device', device, '--value', value, ...more)
  const first = await report('laptop-7', '{"compliant":true,"status":"ok"}', '--max-age', '2h')
  assert.equal(first.code, 0, first.stderr)
  await report('phone-1', '{"compliant":false,"status":"lost"}')
  assert.equal((await report('phone-1', '{compliant')).code, 2)
  assert.equal(
    (
      await as(
        world.tokens.migrator,
        'report',
        'posture',
        'Person/grace',
        '--value',
        '{"compliant":true,"status":"ok"}',
      )
    ).code,
    5,
  )

  const shown = await as(
    world.tokens.ada,
    'show',
    '--subject',
    'Person/grace',
    '--resource',
    'Database/unheard-of',
  )
  assert.match(shown.stdout, /posture +compliant false · status lost · device phone-1/u)
  assert.match(shown.stdout, /risk +score 30 · contributions device not compliant \+30/u)
  assert.match(shown.stdout, /posture of Person\/grace on laptop-7 by key:.*, known for \d+ (?:min|h) more/u)
  assert.match(shown.stdout, /Database\/unheard-of: not registered, sensitivity 4/u)

  await report('phone-1', 'null')
  const facts = await as(world.tokens.ada, 'facts', 'Person/grace')
  assert.match(facts.stdout, /on phone-1 by .*: null/u)
  const again = await as(world.tokens.ada, 'show', '--subject', 'Person/grace')
  assert.match(again.stdout, /device laptop-7/u)
  assert.match(again.stdout, /risk +score 0 · contributions none/u)
})
