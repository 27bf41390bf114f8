/**
 * What an issuer proved of a workload is what policies read, and only of who asks for itself.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Caller } from '../../src/flows/port.ts'
import { requestPage } from '../../src/doors/http/pages/views.ts'
import { encodeAccessRequest } from '../../src/wire/v1/requests.ts'
import { attempt, entries, faultWorld, ref, withPolicy } from './support.ts'

const POLICY = `
@id("from-production")
permit (principal is Service, action == Action::"release", resource is Document)
when { context.live has workload.environment && context.live.workload.environment == "production" };
@id("by-payments")
permit (principal is Service, action == Action::"look", resource is Document)
when { context.live has workload.claims && context.live.workload.claims.contains("team=payments") };
`

const job = (workload: Caller['workload'], more: Partial<Caller> = {}): Caller => ({
  id: 'issuer:github Service/orders-ci by 7',
  kind: 'issuer',
  subject: ref('Service/orders-ci'),
  generation: 0,
  instigators: [{ issuer: 'github', id: '7' }],
  ...(workload === undefined ? {} : { workload }),
  ...more,
})

describe('S03 what an issuer proved of a workload', () => {
  test('is what policies read, at every attempt, and stands in the record with who set it going', async () => {
    await using world = await faultWorld({ policies: withPolicy(POLICY) })
    const { flows } = world.app
    const tried = (caller: Caller, action = 'release') =>
      flows.evaluate(caller, attempt('Service/orders-ci', action, 'Document/handbook'))
    const permitted = await tried(job({ issuer: 'github', environment: 'production' }))
    assert.equal(permitted.outcome, 'permit')
    for (const workload of [
      undefined,
      { issuer: 'github' },
      { issuer: 'github', environment: 'staging' },
      { issuer: 'github', environment: ['production'] },
      { issuer: 'github', environment: { production: true } },
    ])
      assert.equal((await tried(job(workload))).outcome, 'deny', JSON.stringify(workload))
    assert.equal((await tried(job({ issuer: 'corp', team: 'payments' }), 'look')).outcome, 'permit')
    assert.equal((await tried(job({ issuer: 'corp', team: 'orders' }), 'look')).outcome, 'deny')
    const entry = (await entries(world.app)).find((one) => one['id'] === permitted.id)
    const { facts, instigators } = entry as unknown as {
      facts: { workload: unknown }
      instigators: unknown
    }
    assert.deepEqual(facts.workload, { issuer: 'github', environment: 'production' })
    assert.deepEqual(instigators, [{ issuer: 'github', id: '7' }])
  })

  test('is shown to who approves, beside what the requester says', async () => {
    await using world = await faultWorld({ policies: withPolicy(POLICY) })
    const { flows } = world.app
    await flows.accounts.link(world.ada, { issuer: 'github', id: '7' }, ref('Person/ada'))
    const caller = job({ issuer: 'github', environment: '<b>production</b>', team: 'payments' })
    const { id: task } = await flows.declareTask(caller, {
      purpose: 'release',
      reason: 'INC-42',
      scope: { actions: ['db:migrate'], resources: [ref('Database/orders')] },
    })
    const input = attempt('Service/orders-ci', 'db:migrate', 'Database/orders', { task })
    const denied = await flows.evaluate(caller, input)
    assert.equal(denied.outcome, 'challenge', denied.reason)
    const denial = { evaluationId: denied.id, expiresAt: denied.requestableUntil ?? 0 }
    const { id } = await flows.submit(caller, { ...input, denial })
    const seen = await flows.request(world.grace, id)
    assert.deepEqual(seen.proved, {
      issuer: 'github',
      environment: '<b>production</b>',
      claims: ['team=payments'],
    })
    assert.deepEqual(seen.instigators, [{ issuer: 'github', id: '7' }])
    const shown = requestPage(ref('Person/grace'), { ...seen, mayApprove: ['dba'] }, world.clock.wall())
    assert.match(shown, /What is proved about who asks[^]*team=payments[^]*&lt;b&gt;production/)
    assert.match(shown, /account <bdi>7<\/bdi> at <bdi>github<\/bdi>/)
    const wire = encodeAccessRequest(seen, true)
    assert.deepEqual(wire.instigators, ['github 7'])
  })

  test('is shown of each who asks for the same, so that nobody hides behind the first', async () => {
    await using world = await faultWorld({ policies: withPolicy(POLICY) })
    const { flows } = world.app
    await flows.accounts.link(world.ada, { issuer: 'github', id: '7' }, ref('Person/ada'))
    await flows.accounts.link(world.ada, { issuer: 'github', id: '8' }, ref('Person/hedy'))
    const main = { issuer: 'github', ref: 'refs/heads/main' }
    const { id: task } = await flows.declareTask(job(main), {
      purpose: 'release',
      reason: 'INC-42',
      scope: { actions: ['db:migrate'], resources: [ref('Database/orders')] },
    })
    const input = attempt('Service/orders-ci', 'db:migrate', 'Database/orders', { task })
    const asked = async (caller: Caller): Promise<string> => {
      const denied = await flows.evaluate(caller, input)
      const denial = { evaluationId: denied.id, expiresAt: denied.requestableUntil ?? 0 }
      return (await flows.submit(caller, { ...input, denial })).id
    }
    const id = await asked(job(main))
    assert.equal(await asked(job(main)), id)
    assert.equal((await flows.request(world.grace, id)).provedAlso, undefined)
    const other = { issuer: 'github', ref: 'refs/heads/mine' }
    for (let times = 0; times < 2; times += 1)
      assert.equal(await asked(job(other, { instigators: [{ issuer: 'github', id: '8' }] })), id)
    assert.equal(await asked(job(undefined)), id)
    const seen = await flows.request(world.grace, id)
    assert.deepEqual(seen.provedAlso, [other, {}])
    assert.deepEqual(
      seen.instigators?.map(({ id: account }) => account),
      ['7', '8'],
    )
    const shown = requestPage(ref('Person/grace'), { ...seen, mayApprove: ['dba'] }, world.clock.wall())
    assert.match(shown, /refs\/heads\/main[^]*Asked for the same again[^]*refs\/heads\/mine[^]*Nothing\./u)
    assert.deepEqual(encodeAccessRequest(seen, true).proved_also, [other, {}])
    for (let at = 0; at < 9; at += 1) await asked(job({ issuer: 'github', ref: `refs/heads/${at}` }))
    assert.equal((await flows.request(world.grace, id)).provedAlso?.length, 5)
  })

  test('is never what policies read of somebody else whom an enforcement point speaks for', async () => {
    await using world = await faultWorld({ policies: withPolicy(POLICY) })
    const gateway = job(
      { issuer: 'github', environment: 'production' },
      { subject: ref('Service/gateway'), pep: { subjects: ['Service'], attributes: {} } },
    )
    const carried = await world.app.flows.evaluate(
      gateway,
      attempt('Service/orders-ci', 'release', 'Document/handbook'),
    )
    assert.deepEqual([carried.outcome, carried.reason], ['deny', 'policy_denied'])
  })
})
