/** Re-evaluation: what an approval is good for, and what is said when it is not. */
import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { after, before, beforeEach, describe, test } from 'node:test'
import { MINUTE } from '../../src/model/time.ts'
import { put, withPolicy } from '../faults/support.ts'
import { ref } from '../support/world.ts'
import type { Answer, Bench, Evaluation, any_ } from './support.ts'
import { carrying, decoded, openBench, pay } from './support.ts'

let bench: Bench
before(async () => (bench = await openBench()))
after(() => bench[Symbol.asyncDispose]())
beforeEach(async () => {
  bench.clock.advance(20 * MINUTE)
  await bench.flows.sweeper.sweep()
})

/** Denied, for `reason`, with what to do next; `request` with a fresh offer and never without. */
function denied({ status, body }: Answer, reason: string, next: 'request' | 'retry' | 'none'): any_ {
  assert.equal(status, 200, JSON.stringify(body))
  assert.equal(body.decision, false)
  const { context } = body
  assert.deepEqual([context.reason, context.next_action], [reason, next])
  assert.equal(context.access_request !== undefined, next === 'request')
  assert.equal(context.approval, undefined)
  assert.equal(context.grant, undefined)
  return context
}

const again = (evaluation: Evaluation, approval: any_, who?: string): Promise<Answer> =>
  bench.evaluate(carrying(evaluation, approval), who)

/** `state` with other claims, by a key of our own under the same name. */
function forged(state: string, claims: any_ = {}, header: any_ = {}): string {
  const { header: h, payload } = decoded(state)
  const part = (value: any_): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${part({ ...h, ...header })}.${part({ ...payload, ...claims })}`
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const signature =
    header.alg === 'none'
      ? ''
      : sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString(
          'base64url',
        )
  return `${input}.${signature}`
}

describe('an approval that is carried back', () => {
  test('AGAIN-1 unchanged, permits once, and is named with its end', async () => {
    const { result } = await bench.approved(pay())
    const { body } = await again(pay(), result.approval)
    assert.equal(body.decision, true)
    assert.equal(body.context.approval.id, result.approval.id)
    assert.equal(Date.parse(body.context.approval.approved_until), bench.clock.wall() + 10 * MINUTE)
    assert.ok(Date.parse(body.context.approval.approved_until) <= Date.parse(result.approval.approved_until))
    assert.equal(body.context.grant.ends_at, body.context.approval.approved_until)
  })

  test('AGAIN-2 by another, for another, is nothing', async () => {
    const { result } = await bench.approved(pay())
    const pep = await bench.key('Service/orders-ci', ['*'])
    denied(await again(pay(), result.approval, pep), 'approval_unverifiable', 'none')
    denied(await again(pay(), { id: result.approval.id }, pep), 'approval_unverifiable', 'none')
    await put(bench.world, {
      type: 'Agent',
      id: 'twin',
      kind: 'agent',
      owner: ref('Person/ada'),
      parents: [ref('Group/deployers')],
    })
    const twin = await bench.key('Agent/twin')
    const subject = { type: 'Agent', id: 'twin' }
    denied(await again(pay({ subject }), { id: result.approval.id }, twin), 'approval_unverifiable', 'none')
    denied(await again(pay({ subject }), result.approval, twin), 'approval_unverifiable', 'none')
    assert.equal((await again(pay(), result.approval)).body.decision, true)
  })

  test('AGAIN-3 what is written beside it is not believed', async () => {
    const { result } = await bench.approved(pay())
    const { id, state } = result.approval
    bench.clock.advance(15 * MINUTE)
    for (const approval of [
      { ...result.approval, approved_until: '2099-01-01T00:00:00Z' },
      { id, approved_until: '2099-01-01T00:00:00Z', approved_at: new Date(bench.clock.wall()).toISOString() },
      { id, state, status: 'approved', 'vendor.example.com/x': true },
    ]) {
      denied(await again(pay(), approval), 'approval_expired', 'request')
    }
    const fresh = await bench.approved(pay({ context: { n: 3 } }))
    const { body } = await again(pay({ context: { n: 3 } }), {
      ...fresh.result.approval,
      approved_until: '2000-01-01T00:00:00Z',
    })
    assert.equal(body.decision, true)
    assert.ok(Date.parse(body.context.approval.approved_until) > bench.clock.wall())
  })

  test('AGAIN-4 id and state of two approvals', async () => {
    const one = (await bench.approved(pay({ context: { n: 4 } }))).result.approval
    const two = (
      await bench.approved(pay({ context: { n: 4 }, resource: { type: 'Database', id: 'payments' } }))
    ).result.approval
    const three = (await bench.approved(pay({ context: { n: 4, more: 1 } }))).result.approval
    const evaluation = pay({ context: { n: 4 } })
    denied(await again(evaluation, { id: two.id, state: one.state }), 'approval_unverifiable', 'none')
    denied(await again(evaluation, { id: one.id, state: two.state }), 'approval_unverifiable', 'none')
    denied(await again(evaluation, { id: three.id, state: one.state }), 'approval_unverifiable', 'none')
    assert.equal((await again(evaluation, one)).body.decision, true)
  })

  test('AGAIN-5 a state that is forged, changed, or something else', async () => {
    const { approval } = (await bench.approved(pay())).result
    const token = (await bench.denied(pay())).access_request.binding_token
    for (const state of [
      forged(approval.state),
      forged(approval.state, { exp: 4_000_000_000 }),
      forged(approval.state, {}, { kid: 'key_none' }),
      forged(approval.state, {}, { alg: 'none' }),
      forged(approval.state, { aud: 'urn:writ:other' }),
      approval.state.replace(/\.[^.]*$/, '.'),
      `${approval.state}x.`,
      token,
      'x',
      '',
      {},
      { jws: approval.state },
      [approval.state],
      null,
      7,
    ]) {
      denied(await again(pay(), { ...approval, state }), 'approval_unverifiable', 'none')
    }
    assert.equal((await again(pay(), approval)).body.decision, true)
  })

  test('AGAIN-6 the state finds it', async () => {
    const { approval } = (await bench.approved(pay())).result
    const { body } = await again(pay(), { state: approval.state })
    assert.deepEqual([body.decision, body.context.approval.id], [true, approval.id])
  })

  test('AGAIN-7 exactly what was approved', async () => {
    const exact: Evaluation = {
      subject: { type: 'Agent', id: 'migrator', properties: { level: 1, note: null } },
      action: { name: 'pay', properties: { to: ['a', 'b'], amount: 1.5 } },
      resource: { type: 'Database', id: 'orders', properties: { stage: 'prod' } },
      context: { ticket: 'INC-1', parts: [1, 2], nothing: null },
    }
    const { approval } = (await bench.approved(exact)).result
    const others: Partial<Evaluation>[] = [
      { subject: { type: 'Agent', id: 'migrator', properties: { level: 1 } } },
      { subject: { type: 'Agent', id: 'migrator', properties: { level: true, note: null } } },
      { action: { name: 'pay', properties: { to: ['b', 'a'], amount: 1.5 } } },
      { action: { name: 'pay', properties: { to: ['a', 'b'], amount: 1.51 } } },
      { action: { name: 'pay' } },
      { action: { name: 'wire', properties: { to: ['a', 'b'], amount: 1.5 } } },
      { resource: { type: 'Database', id: 'orders' } },
      { resource: { type: 'Database', id: 'orders', properties: { stage: 'PROD' } } },
      { resource: { type: 'Database', id: 'payments', properties: { stage: 'prod' } } },
      { context: { ticket: 'INC-1', parts: [1, 2] } },
      { context: { ticket: 'INC-1', parts: [2, 1], nothing: null } },
      { context: { ticket: 'INC-1 ', parts: [1, 2], nothing: null } },
      { context: { ticket: 'INC-1', parts: [1, 2], nothing: null, dry_run: false } },
      { context: { ticket: 'INC-1', parts: [1, 2], nothing: 0 } },
    ]
    for (const other of others) {
      // whoever looks it up and whoever verifies it say the same
      for (const form of [approval, { id: approval.id }]) {
        denied(await again({ ...exact, ...other }, form), 'out_of_scope', 'request')
      }
    }
    const same = {
      ...exact,
      context: { nothing: null, parts: [1, 2.0], ticket: 'INC-1', time: 'later', justification: 'x' },
    }
    assert.equal((await again(same, approval)).body.decision, true)
  })

  test('AGAIN-8 its standing now: giver, subject, generation', async () => {
    const { approval } = (await bench.approved(pay({ context: { n: 8 } }))).result
    const evaluation = pay({ context: { n: 8 } })
    await put(bench.world, { type: 'Person', id: 'grace', parents: [] })
    denied(await again(evaluation, approval), 'approval_expired', 'request')
    await put(bench.world, { type: 'Person', id: 'grace', parents: [ref('Group/dba')] })
    const other = await openBench()
    try {
      const { approval: locked } = (await other.approved(pay())).result
      await other.flows.locks.lock(other.world.ada, {
        what: 'subject',
        about: 'Agent/migrator',
        reason: 'out',
        until: other.clock.wall() + MINUTE,
      })
      const during = await other.evaluate(carrying(pay(), locked))
      assert.deepEqual([during.body.decision, during.body.context.access_request], [false, undefined])
      other.clock.advance(2 * MINUTE)
      const later = await other.evaluate(carrying(pay(), locked))
      assert.deepEqual([later.body.decision, later.body.context.reason], [false, 'approval_expired'])
    } finally {
      await other[Symbol.asyncDispose]()
    }
    assert.equal((await again(evaluation, approval)).body.decision, true)
  })

  test('AGAIN-9 policy as it is now', async () => {
    await using other = await openBench()
    const { approval } = (await other.approved(pay())).result
    await other.flows.publish(other.world.ada, {
      policies: withPolicy(`
        @id("freeze") forbid (principal, action == Action::"pay", resource);
        @id("pay") permit (principal in Group::"deployers", action == Action::"pay", resource is Database)
          when { context.proof.approvals.dba >= 1 };`),
    })
    const { body } = await other.evaluate(carrying(pay(), approval))
    assert.deepEqual(
      [body.decision, body.context.reason, body.context.next_action, body.context.access_request],
      [false, 'policy_denied', 'none', undefined],
    )
  })

  test('AGAIN-10 after its time, with a way on', async () => {
    const { approval } = (await bench.approved(pay())).result
    bench.clock.advance(15 * MINUTE)
    const context = denied(await again(pay(), approval), 'approval_expired', 'request')
    const { status } = await bench.submit({
      ...pay(),
      denial: { expires_at: context.access_request.expires_at, evaluation_id: context.evaluation_id },
    })
    assert.equal(status, 202)
    bench.clock.set(Date.parse(approval.approved_until) + 1_000)
    denied(await again(pay(), approval), 'approval_expired', 'request')
  })

  test('AGAIN-11 before a window opens', async () => {
    const startsAt = bench.clock.wall() + 30 * MINUTE
    const { id: task } = await bench.flows.declareTask(bench.world.migrator, {
      purpose: 'tonight',
      scope: { actions: ['pay'], resources: [ref('Database/orders')] },
      window: { startsAt, endsAt: startsAt + 60 * MINUTE },
    })
    const evaluation = pay({ context: { task } })
    const { approval } = (await bench.approved(evaluation)).result
    const context = denied(await again(evaluation, approval), 'grant_pending', 'retry')
    assert.equal(context.retry_after, 30 * 60)
    bench.clock.set(startsAt)
    assert.equal((await again(evaluation, approval)).body.decision, true)
  })

  test('AGAIN-12 what names nothing, and nothing else changes', async () => {
    for (const approval of [
      'appr_none',
      { id: 'appr_none' },
      { id: '' },
      { id: 7 },
      {},
      [],
      7,
      true,
      null,
      'x'.repeat(200),
    ]) {
      denied(await again(pay(), approval), 'approval_unverifiable', 'none')
      // who needs none is not kept from what it may do
      assert.equal((await again(pay({ action: { name: 'look' } }), approval)).body.decision, true)
    }
  })

  test('AGAIN-13 no offer, no `request`', async () => {
    const { approval } = (await bench.approved(pay())).result
    // nobody is left who could give it
    bench.clock.advance(15 * MINUTE)
    for (const id of ['grace', 'hedy']) await put(bench.world, { type: 'Person', id, parents: [] })
    denied(await again(pay(), approval), 'approval_expired', 'none')
    for (const id of ['grace', 'hedy'])
      await put(bench.world, { type: 'Person', id, parents: [ref('Group/dba')] })
    denied(await again(pay(), approval), 'approval_expired', 'request')
    denied(await again(pay({ action: { name: 'erase' } }), { id: approval.id }), 'approval_expired', 'none')
  })

  test('AGAIN-14 C9 B20 B32 forty at once over HTTP', async () => {
    const { approval } = (await bench.approved(pay())).result
    const all = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        again(pay(), [approval, { id: approval.id }, { state: approval.state }, approval.id][i % 4]),
      ),
    )
    const permits = all.filter(({ body }) => body.decision === true)
    assert.equal(permits.length, 1)
    for (const answer of all) if (answer !== permits[0]) denied(answer, 'approval_expired', 'request')
    denied(await again(pay(), approval), 'approval_expired', 'request')
    // and after a restart
    bench = await bench.restarted()
    denied(await again(pay(), approval), 'approval_expired', 'request')
  })
})

describe('beside it', () => {
  let bench: Bench
  before(async () => (bench = await openBench()))
  after(() => bench[Symbol.asyncDispose]())

  test('AGAIN-15 a permit that stands by itself, or by a grant, names no approval', async () => {
    const { approval } = (await bench.approved(pay())).result
    const look = await bench.evaluate(carrying(pay({ action: { name: 'look' } }), approval))
    assert.deepEqual([look.body.decision, look.body.context.approval], [true, undefined])
    const { grant } = await bench.flows.activate(bench.world.migrator, {
      ...(pay() as any_),
      context: { approval },
    })
    const carried = await bench.evaluate(
      pay({ context: { grant: grant?.id ?? '', approval: 'appr_of_somebody' } }),
    )
    assert.deepEqual([carried.body.decision, carried.body.context.approval], [true, undefined])
  })

  test('AGAIN-16 a task, and no other', async () => {
    const task = await bench.declare(['sweep', 'pay'])
    const sweep = pay({ action: { name: 'sweep' }, context: { task } })
    const { approval } = (await bench.approved(sweep)).result
    const other = await bench.declare(['sweep'])
    for (const form of [approval, { id: approval.id }]) {
      const elsewhere = await bench.evaluate(
        carrying(pay({ action: { name: 'sweep' }, context: { task: other } }), form),
      )
      denied(elsewhere, 'out_of_scope', 'request')
    }
    assert.equal((await bench.evaluate(carrying(sweep, approval))).body.decision, true)
    const wider = { ...sweep, action: { name: 'sweep', properties: { fast: true } } }
    assert.equal((await bench.evaluate(carrying(wider, approval))).body.decision, true)
  })

  test('AGAIN-17 in a batch', async () => {
    const { approval } = (await bench.approved(pay({ context: { n: 17 } }))).result
    const { body } = await bench.call('migrator', 'POST', '/access/v1/evaluations', {
      evaluations: [
        carrying(pay({ context: { n: 17 } }), approval),
        carrying(pay({ context: { n: 17 } }), { id: 'appr_none' }),
        carrying(pay({ context: { n: 18 } }), approval),
        pay({ action: { name: 'look' } }),
      ],
      options: { evaluations_semantic: 'execute_all' },
    })
    const [permit, unknown, other, plain] = body.evaluations
    assert.deepEqual([permit.decision, permit.context.approval.id], [true, approval.id])
    assert.deepEqual(
      [unknown.decision, unknown.context.reason, unknown.context.next_action],
      [false, 'approval_unverifiable', 'none'],
    )
    assert.equal(other.context.reason, 'out_of_scope')
    assert.deepEqual(plain, { decision: true })
    // the same when it has been spent, in whatever order a batch is worked on
    const later = await bench.evaluate(carrying(pay({ context: { n: 18 } }), approval))
    denied(later, 'out_of_scope', 'request')
  })
})
