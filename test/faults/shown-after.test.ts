/**
 * S34: a credential of ours that is shown after its end is on the record, whoever shows it; what nobody knows is not.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MINUTE } from '../../src/model/time.ts'
import { changed } from '../support/changed.ts'
import { tokenIn } from '../support/oauth.ts'
import type { FaultWorld } from './support.ts'
import { entries, faultWorld, ref } from './support.ts'
import { stage } from './token-stage.ts'

const shown = async (world: FaultWorld, kind: string): Promise<readonly Record<string, unknown>[]> =>
  (await entries(world.app)).filter((entry) => entry['kind'] === kind)

test('S34 a key that was revoked: once in a minute, with how often', async () => {
  await using world = await faultWorld({ http: true })
  const { flows, url } = world.app
  const key = await flows.createKey(world.ada, { name: 'ci', subject: ref('Agent/migrator') })
  const show = async (secret: string): Promise<number> =>
    (await fetch(`${url}/v1/me`, { headers: { authorization: `Bearer ${secret}` } })).status
  const secret = key.secret.expose()
  assert.equal(await show(secret), 200)
  await flows.revokeKey(world.ada, key.id)
  for (let times = 0; times < 3; times += 1) assert.equal(await show(secret), 401)
  assert.equal(await show(changed(secret)), 401)
  const [first, ...more] = await shown(world, 'key.refused')
  assert.deepEqual(more, [])
  assert.deepEqual([first?.['refs'], first?.['key']], [[key.id, 'Agent/migrator'], key.id])
  assert.match(String(first?.['why']), /is revoked/)
  world.clock.advance(MINUTE)
  assert.equal(await show(secret), 401)
  const [, second] = await shown(world, 'key.refused')
  assert.equal(second?.['again'], 2)
  assert.ok(!JSON.stringify(await entries(world.app)).includes(secret))
})

test('S34 a session that has ended, by header and by cookie, without what it was kept under', async () => {
  await using world = await faultWorld({ http: true })
  const { flows, url } = world.app
  const { code } = await flows.invite(world.ada, { id: 'ida' })
  const token = (await flows.redeem(code.expose())).token.expose()
  const headers = { authorization: `Bearer ${token}` }
  assert.equal((await fetch(`${url}/v1/sessions/current`, { method: 'DELETE', headers })).status, 204)
  assert.equal((await fetch(`${url}/v1/me`, { headers })).status, 401)
  assert.equal((await fetch(`${url}/v1/me`, { headers: { cookie: `writ_session=${token}` } })).status, 401)
  const found = await shown(world, 'session.refused')
  assert.deepEqual(
    found.map(({ refs, subject, why }) => [refs, subject, why]),
    [[['Person/ida'], 'Person/ida', 'session of `Person/ida` is over']],
  )
})

test('S34 a token, at its server, after its end; nobody else leaves an entry by asking', async () => {
  await using s = await stage()
  const token = tokenIn(await s.web.token({ audience: 'Api/ledger', scope: 'ledger:read' }))
  assert.equal((await s.api.introspect(token)).body['active'], true)
  await s.world.app.flows.tokens.revoke(s.world.ada, token, { url: '' })
  assert.deepEqual((await s.web.introspect(token)).body, { active: false })
  assert.deepEqual(await shown(s.world, 'token.refused'), [])
  assert.deepEqual((await s.api.introspect(token)).body, { active: false })
  const [entry, ...more] = await shown(s.world, 'token.refused')
  assert.deepEqual(more, [])
  assert.deepEqual([entry?.['error'], entry?.['chain']], ['invalid_token', ['Service/web']])
  assert.match(String(entry?.['detail']), /^token `tok_\w+`: revoked$/)
})
