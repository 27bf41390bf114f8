/**
 * What anybody could have remembered of a permit: from the answer to a revocation, a lock or a signal on, none of it
 * permits. One node; what others remember of ours is told to them by signals.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import { createWrit } from '../../client/src/index.ts'
import { tokenIn } from '../support/oauth.ts'
import { listenTo, mintSet } from '../support/ssf.ts'
import { callerOf, ref } from '../support/world.ts'
import { attempt, settle } from './support.ts'
import { LEDGER, stage as tokenStage } from './token-stage.ts'

const subjects = { map: { 'w-web': ref('Service/web'), 'u-grace': ref('Person/grace') } }

async function stage() {
  const s = await tokenStage({ config: { signals: { receivers: [listenTo({ subjects })] } } })
  const { flows, url } = s.world.app
  const what = attempt('Service/web', 'ledger:read', 'Api/ledger')
  const made = await flows.createKey(s.world.ada, { name: 'web', subject: ref('Service/web') })
  const key = made.secret.expose()
  const caller = await callerOf(s.world.app, key)
  const writ = createWrit({ url, token: key, retries: 0 })
  const post = async (headers: Readonly<Record<string, string>>): Promise<boolean> => {
    const answer = await fetch(`${url}/access/v1/evaluation`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(what),
    })
    return answer.status === 200 && ((await answer.json()) as { decision: boolean }).decision
  }
  /** Tokens and a grant, new. */
  const given = async () => {
    const token = tokenIn(await s.web.token(LEDGER))
    const own = tokenIn(await s.web.token({ resource: s.web.url }))
    const { grant } = await flows.activate(caller, what)
    return { token, own, grant: grant?.id ?? assert.fail() }
  }
  type Given = Awaited<ReturnType<typeof given>>
  /** Every way in which it could be permitted yet. */
  const ways: Readonly<Record<string, (it: Given) => Promise<boolean>>> = {
    key: () => post({ authorization: `Bearer ${key}` }),
    client: () =>
      writ.evaluate(what).then(
        ({ outcome }) => outcome === 'permit',
        () => false,
      ),
    introspection: async ({ token }) => (await s.api.introspect(token)).body['active'] === true,
    token: ({ own }) =>
      post({
        authorization: `DPoP ${own}`,
        dpop: s.web.proof(
          { ath: createHash('sha256').update(own).digest('base64url') },
          {},
          '/access/v1/evaluation',
        ),
      }),
    grant: async ({ grant }) => (await flows.grant(s.world.ada, grant)).grant.state === 'active',
    session: async () =>
      (await fetch(`${url}/v1/me`, { headers: { authorization: `Bearer ${s.world.tokens.grace}` } }))
        .status === 200,
  }
  /** Those that permit, all asked at once, again and again before. */
  const permitting = async (it: Given, warm = 1): Promise<readonly string[]> => {
    const names = Object.keys(ways)
    let found: readonly boolean[] = []
    for (let nth = 0; nth < warm; nth += 1)
      found = await Promise.all(names.map((name) => ways[name]?.(it) ?? assert.fail()))
    return names.filter((_name, at) => found[at])
  }
  const signal = async (id: string): Promise<void> => {
    const answer = await fetch(`${url}/ssf/push/idp`, {
      method: 'POST',
      headers: { 'content-type': 'application/secevent+jwt' },
      body: await mintSet('session-revoked', {}, { at: s.now(), subject: { format: 'opaque', id } }),
    })
    assert.equal(answer.status, 202)
  }
  return { ...s, made, given, permitting, signal, ways: Object.keys(ways) }
}

describe('B48 nothing that is remembered permits', () => {
  test('after a signal, a lock or a revocation was answered, at any door', async () => {
    const s = await stage()
    await using _ = s
    const { flows, url } = s.world.app
    const first = await s.given()
    assert.deepEqual(await s.permitting(first, 3), s.ways)

    // a stream that is open is cut, not only the next one refused
    const events = await fetch(`${url}/v1/events`, {
      headers: { authorization: `Bearer ${s.world.tokens.grace}` },
    })
    const reader = (events.body ?? assert.fail()).getReader()
    // it was looked at just now: later, with the next event and not only with the next heartbeat
    s.world.clock.advance(100)
    await s.signal('u-grace')
    assert.deepEqual(
      await s.permitting(first),
      s.ways.filter((way) => way !== 'session'),
    )
    while (!(await reader.read()).done);

    await s.signal('w-web')
    assert.deepEqual(await s.permitting(first), ['key', 'client', 'grant'], 'a key is no session')

    s.world.clock.advance(120_000)
    const second = await s.given()
    assert.deepEqual(await s.permitting(second, 2), ['key', 'client', 'introspection', 'token', 'grant'])
    await flows.revokeGrant(s.world.ada, second.grant, 'test')
    assert.deepEqual(await s.permitting(second), ['key', 'client', 'introspection', 'token'])
    await flows.locks.lock(s.world.ada, { what: 'subject', about: 'Service/web', reason: 'test' })
    assert.deepEqual(await s.permitting(second), [])
    s.world.clock.advance(1)
    await flows.locks.unlock(s.world.ada, 'subject', 'Service/web')
    assert.deepEqual(await s.permitting(second), ['key', 'client'], 'what ended does not come back')
    s.world.clock.advance(1)
    const third = await s.given()
    assert.deepEqual(await s.permitting(third), ['key', 'client', 'introspection', 'token', 'grant'])
    await flows.locks.lock(s.world.ada, { what: 'resource', about: 'Api/ledger', reason: 'test' })
    // the token for Writ itself is for no ledger
    assert.deepEqual(await s.permitting(third), [])
    s.world.clock.advance(1)
    await flows.locks.unlock(s.world.ada, 'resource', 'Api/ledger')
    await settle(s.world.app)
    assert.deepEqual(await s.permitting(third), ['key', 'client', 'token'])
    await flows.revokeKey(s.world.ada, s.made.id)
    assert.deepEqual(await s.permitting(second), [])
  })
})
