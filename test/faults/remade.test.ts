/**
 * B34: whoever is deleted and made again has nothing that was proved of, or approved for, the one before.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { AttemptInput, Caller } from '../../src/flows/port.ts'
import { MINUTE } from '../../src/model/time.ts'
import type { AccessRequest } from '../../src/model/request.ts'
import { TestIssuer } from '../support/issuer.ts'
import {
  clientConfig,
  idpToken,
  issuerConfig,
  newKey,
  OAuthClient,
  tokenConfig,
  tokenIn,
} from '../support/oauth.ts'
import type { FaultWorld } from './support.ts'
import { attempt, entries, fails, faultWorld, put, ref, withPolicy } from './support.ts'

const POLICY = withPolicy(`
@id("ledger-read") permit (principal in Group::"readers", action == Action::"ledger:read", resource is Api);
@id("vacuum") permit (principal in Group::"deployers", action == Action::"db:vacuum", resource is Database)
when { context.proof.approvals.dba >= 1 };
`)

const reader = { kind: 'workload' as const, owner: ref('Person/ada'), parents: [ref('Group/readers')] }

describe('B34 a token', () => {
  test('that was made before its subject was made again proves nobody, at every door', async () => {
    await using issuer = await TestIssuer.start()
    await using world = await faultWorld({ http: true, config: { issuers: [issuer.config('github')] } })
    const { url } = world.app
    const ask = async (token: string): Promise<number> => {
      const answer = await fetch(`${url}/v1/me`, { headers: { authorization: `Bearer ${token}` } })
      await answer.arrayBuffer()
      return answer.status
    }
    const seconds = (): number => Math.floor(world.clock.wall() / 1_000)
    const mint = (more: Readonly<Record<string, unknown>> = {}): string =>
      issuer.mint('github', { iat: seconds(), nbf: seconds(), exp: seconds() + 3_600, ...more })
    const entity = { type: 'Service', id: 'orders-ci', kind: 'workload' as const }
    await put(world, entity)
    const old = mint()
    const timeless = mint({ iat: undefined })
    assert.equal(await ask(old), 200)
    assert.equal(await ask(timeless), 200)
    world.clock.advance(MINUTE)
    await world.app.flows.deleteEntity(world.ada, ref('Service/orders-ci'))
    const between = mint()
    assert.equal(await ask(between), 401)
    world.clock.advance(MINUTE)
    await put(world, entity)
    for (const token of [old, timeless, between]) assert.equal(await ask(token), 401)
    assert.equal(await ask(mint({ iat: seconds() - 1 })), 401)
    world.clock.advance(1_000)
    assert.equal(await ask(mint()), 200)
    // and a line that is only changed stays who it is
    world.clock.advance(MINUTE)
    const fresh = mint()
    world.clock.advance(MINUTE)
    await put(world, { ...entity, name: 'orders' })
    assert.equal(await ask(fresh), 200)
    assert.equal(await ask(old), 401)
  })

  test('is exchanged for nothing either, for whomever in its chain was made again', async () => {
    const idp = newKey('idp-1')
    const key = newKey('api')
    await using world = await faultWorld({
      http: true,
      policies: POLICY,
      entities: [
        { type: 'Api', id: 'ledger', kind: 'resource', sensitivity: 1 },
        ...['web', 'api', 'cron'].map((id) => ({ type: 'Service', id, ...reader })),
      ],
      config: {
        issuers: [issuerConfig(idp)],
        tokens: tokenConfig([clientConfig({ id: 'api', key }, 'Service/api')]),
      },
    })
    const now = (): number => world.clock.wall()
    const api = new OAuthClient('api', world.app.url, now, key)
    const want = { audience: 'Api/ledger', scope: 'ledger:read' }
    const exchange = (token: string) => api.exchange({ subject_token: token, ...want }, { dpop: false })
    const direct = idpToken(idp, 'web', now())
    const acted = idpToken(idp, 'web', now(), { act: { sub: 'cron' } })
    for (const token of [direct, acted]) assert.ok(tokenIn(await exchange(token)))
    world.clock.advance(1_000)
    await world.app.flows.deleteEntity(world.ada, ref('Service/web'))
    await put(world, { type: 'Service', id: 'web', ...reader })
    world.clock.advance(1_000)
    for (const token of [direct, acted]) {
      const { status, body } = await exchange(token)
      assert.deepEqual([status, body['error']], [400, 'invalid_request'])
    }
    const assertion = await api.token(
      { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion: direct, ...want },
      { dpop: false, client: false },
    )
    assert.equal(assertion.body['error'], 'invalid_grant')
    assert.ok(tokenIn(await exchange(idpToken(idp, 'web', now()))))
    const bearer = async (token: string): Promise<number> => {
      const answer = await fetch(`${world.app.url}/v1/me`, {
        headers: { authorization: `Bearer ${token}` },
      })
      await answer.arrayBuffer()
      return answer.status
    }
    assert.equal(await bearer(acted), 401)
    assert.equal(await bearer(idpToken(idp, 'web', now(), { act: { sub: 'cron' } })), 200)
    const refused = (await entries(world.app)).filter(({ kind }) => kind === 'token.refused')
    assert.ok(refused.length >= 3)
  })
})

describe('B34 what was approved for somebody to do for another', () => {
  const forKim = (): Caller => ({
    id: 'issuer:idp Agent/migrator Person/kim',
    kind: 'issuer',
    subject: ref('Agent/migrator'),
    generation: 0,
    chain: [ref('Person/kim')],
  })
  const kim = { type: 'Person', id: 'kim', parents: [ref('Group/deployers')] }

  const want = attempt('Agent/migrator', 'db:vacuum', 'Database/orders')

  async function asked({ app: { flows } }: FaultWorld): Promise<AccessRequest> {
    const caller = forKim()
    const denial = await flows.evaluate(caller, want)
    assert.equal(denial.outcome, 'challenge', denial.reason)
    const evidence = { evaluationId: denial.id, expiresAt: denial.requestableUntil ?? 0 }
    return flows.submit(caller, { ...want, denial: evidence })
  }

  async function approved(world: FaultWorld): Promise<AttemptInput> {
    const request = await asked(world)
    const done = await world.app.flows.approve(world.hedy, request.id, { statement: request.digest })
    assert.equal(done.status, 'approved')
    return { ...want, context: { approval: done.approval as string } }
  }

  test('is not inherited by who comes to have the name of that other, and does not survive their lock', async () => {
    for (const how of ['deleted', 'locked', 'neither'] as const) {
      await using world = await faultWorld({ policies: POLICY, entities: [kim] })
      const carried = await approved(world)
      world.clock.advance(1_000)
      if (how === 'deleted') {
        await world.app.flows.deleteEntity(world.ada, ref('Person/kim'))
        await put(world, kim)
      } else if (how === 'locked') {
        const { now } = await world.app.store.read([])
        await world.app.flows.locks.lock(world.ada, {
          what: 'subject',
          about: 'Person/kim',
          reason: 'r',
          until: now + MINUTE,
        })
        world.clock.advance(2 * MINUTE)
      }
      const { outcome, reason } = await world.app.flows.evaluate(forKim(), carried)
      if (how === 'neither') assert.equal(outcome, 'permit')
      else assert.deepEqual([outcome === 'permit', reason], [false, 'approval_expired'], how)
    }
  })

  test('and what they have open is called off with them', async () => {
    await using world = await faultWorld({ policies: POLICY, entities: [kim] })
    const request = await asked(world)
    await world.app.flows.deleteEntity(world.ada, ref('Person/kim'))
    assert.equal((await world.app.flows.request(world.ada, request.id)).status, 'cancelled')
  })
})

test('B34 a group that is made again has no members of before', async () => {
  await using world = await faultWorld({ entities: [{ type: 'Group', id: 'dba', kind: 'group' }] })
  const { flows } = world.app
  await fails(flows.deleteEntity(world.ada, ref('Group/dba')), 'ERR_CONFLICT')
  for (const id of ['grace', 'hedy']) await put(world, { type: 'Person', id, parents: [] })
  await flows.deleteEntity(world.ada, ref('Group/dba'))
  await put(world, { type: 'Group', id: 'dba', kind: 'group' })
  const people = (await flows.inventory(world.ada, { type: 'Person' })).items
  assert.ok(!people.some(({ parents }) => parents.some(({ id }) => id === 'dba')))
})
