/** Submissions, idempotency. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { DAY, MINUTE } from '../../src/model/time.ts'
import { entries } from '../faults/support.ts'
import type { Bench, Evaluation } from './support.ts'
import { byReference, denialOf, openBench, ordinary, pay, problem, submissionOf } from './support.ts'

let bench: Bench
before(async () => (bench = await openBench()))
after(() => bench[Symbol.asyncDispose]())
// what earlier tests asked for is over, so that nobody has too much open
beforeEach(async () => {
  bench.clock.advance(20 * MINUTE)
  await bench.flows.sweeper.sweep()
})

const EXACT: Evaluation = pay({
  subject: { type: 'Agent', id: 'migrator', properties: { level: 1, note: null } },
  action: { name: 'pay', properties: { to: ['a', 'b'], amount: 1.5 } },
  resource: { type: 'Database', id: 'orders', properties: { stage: 'prod' } },
  context: { ticket: 'INC-1', parts: [1, 2], nested: { deep: { x: null } }, time: 'ignored' },
})

describe('a submission', () => {
  test('SUBMIT-1 what is missing or malformed is an ordinary error', async () => {
    const whole = submissionOf(pay(), await bench.denied(pay()))
    for (const member of ['subject', 'action', 'resource', 'denial']) {
      const { [member]: _left, ...rest } = whole
      ordinary(await bench.submit(rest), 400)
    }
    const { expires_at: _end, ...endless } = whole.denial
    for (const denial of [endless, { ...whole.denial, expires_at: 'tomorrow' }, [], 'x', null]) {
      ordinary(await bench.submit({ ...whole, denial }), 400)
    }
    ordinary(await bench.submit('{'), 400)
    ordinary(await bench.submit({ ...whole, requested_access: { emergency: 'yes' } }), 400)
  })

  test('SUBMIT-2 without id and token nothing is bound', async () => {
    const { expires_at } = denialOf(await bench.denied(pay()))
    problem(await bench.submit({ ...pay(), denial: { expires_at } }), 'invalid_denial_binding', 400)
  })

  test('SUBMIT-3 202, a pending task, and where it is', async () => {
    const { status, body, headers } = await bench.asked(pay())
    assert.equal(status, 202)
    assert.equal(body.task.status, 'pending')
    assert.equal(body.result, undefined)
    assert.equal(headers.get('location'), body.task.status_endpoint)
    const polled = await bench.call('migrator', 'GET', body.task.status_endpoint)
    assert.deepEqual([polled.status, polled.body], [200, body])
  })

  test('SUBMIT-4 201 where a reason is all that was missing', async () => {
    const note = pay({ action: { name: 'note' } })
    const { status, body } = await bench.asked(note, { context: { justification: 'INC-42' } })
    assert.equal(status, 201)
    assert.equal(body.task.status, 'approved')
    const again = await bench.evaluate({ ...note, context: { approval: body.result.approval } })
    assert.equal(again.body.decision, true)
  })

  test('SUBMIT-5 what was denied, exactly', async () => {
    const denial = denialOf(await bench.denied(EXACT))
    const others: Partial<Record<keyof Evaluation, unknown>>[] = [
      { subject: { type: 'Agent', id: 'migrator' } },
      { subject: { type: 'Agent', id: 'migrator', properties: { level: 1 } } },
      { subject: { type: 'Agent', id: 'migrator', properties: { level: '1', note: null } } },
      { subject: { type: 'Agent', id: 'other', properties: { level: 1, note: null } } },
      { action: { name: 'pay', properties: { to: ['b', 'a'], amount: 1.5 } } },
      { action: { name: 'pay', properties: { to: ['a', 'b'], amount: 1.5, more: true } } },
      { action: { name: 'pay' } },
      { resource: { type: 'Database', id: 'orders', properties: {} } },
      { resource: { type: 'Database', id: 'payments', properties: { stage: 'prod' } } },
    ]
    for (const form of [denial, byReference(denial)]) {
      for (const other of others) {
        problem(await bench.submit({ ...EXACT, ...other, denial: form }), 'invalid_denial_binding', 400)
      }
    }
    // the same numbers and members, written otherwise
    const text = JSON.stringify({ ...EXACT, denial }).replace('"amount":1.5', '"amount":15e-1')
    assert.equal((await bench.submit(text)).status, 202)
    assert.equal(
      (
        await bench.submit({
          ...EXACT,
          denial,
          subject: { properties: { note: null, level: 1.0 }, ...(EXACT.subject as object) },
        })
      ).status,
      202,
    )
  })

  test('SUBMIT-6 bound context neither changes nor goes', async () => {
    const denial = denialOf(await bench.denied(EXACT))
    const { context = {} } = EXACT
    const { ticket: _ticket, ...dropped } = context
    for (const form of [denial, byReference(denial)]) {
      for (const changed of [
        undefined,
        {},
        dropped,
        { ...context, ticket: 'INC-2' },
        { ...context, ticket: null },
        { ...context, parts: [2, 1] },
        { ...context, parts: ['1', '2'] },
        { ...context, nested: { deep: {} } },
      ]) {
        const { context: _context, ...rest } = EXACT
        const body = { ...rest, ...(changed === undefined ? {} : { context: changed }), denial: form }
        problem(await bench.submit(body), 'invalid_denial_binding', 400)
      }
    }
    // a task is part of what was denied
    const task = await bench.declare(['pay'])
    const under = pay({ context: { task } })
    const bound = denialOf(await bench.denied(under))
    problem(await bench.submit({ ...pay(), denial: bound }), 'invalid_denial_binding', 400)
    const other = await bench.declare(['pay'])
    problem(
      await bench.submit({ ...pay({ context: { task: other } }), denial: bound }),
      'invalid_denial_binding',
      400,
    )
    problem(
      await bench.submit({ ...pay({ context: { task } }), denial: denialOf(await bench.denied(pay())) }),
      'invalid_denial_binding',
      400,
    )
  })

  test('SUBMIT-7 what is added is nowhere in what is approved', async () => {
    const context = {
      ...EXACT.context,
      time: 'later',
      note: 'please',
      evaluation_id: 'x',
      approval: { id: 'y' },
    }
    const { body } = await bench.asked(EXACT, { context })
    const { body: shown } = await bench.call('grace', 'GET', `/v1/requests/${body.task.id}`)
    const { time: _time, ...bound } = EXACT.context ?? {}
    assert.deepEqual(shown.statement.context, bound)
    await bench.approve(body.task.id)
    const { body: done } = await bench.call('migrator', 'GET', body.task.status_endpoint)
    const again = await bench.evaluate({
      ...EXACT,
      context: { ...EXACT.context, approval: done.result.approval },
    })
    assert.equal(again.body.decision, true)
  })

  test('SUBMIT-8 an unknown evaluation', async () => {
    const denial = {
      expires_at: new Date(bench.clock.wall() + MINUTE).toISOString(),
      evaluation_id: 'dec_unknown',
    }
    problem(await bench.submit({ ...pay(), denial }), 'invalid_denial_binding', 400)
  })

  test('SUBMIT-9 a permit and a final denial are not requestable', async () => {
    for (const name of ['look', 'erase']) {
      const evaluation = pay({ action: { name } })
      const { body } = await bench.evaluate(evaluation)
      const denial = {
        expires_at: new Date(bench.clock.wall() + MINUTE).toISOString(),
        evaluation_id: body.context.evaluation_id,
      }
      problem(await bench.submit({ ...evaluation, denial }), 'not_requestable', 400)
    }
  })

  test('SUBMIT-10 the recorded end counts', async () => {
    const denial = byReference(denialOf(await bench.denied(pay())))
    const past = { ...denial, expires_at: '2020-01-01T00:00:00Z' }
    const first = await bench.submit({ ...pay(), denial: past })
    assert.equal(first.status, 202)
    const { expires_at } = denialOf(await bench.denied(pay({ context: { n: 1 } })))
    bench.clock.set(Date.parse(expires_at) - 1)
    assert.equal((await bench.submit({ ...pay(), denial })).status, 202)
    bench.clock.set(Date.parse(denial.expires_at))
    const future = { ...denial, expires_at: '2099-01-01T00:00:00Z' }
    problem(await bench.submit({ ...pay(), denial: future }), 'expired_denial', 410)
  })

  test('SUBMIT-11 another’s denial and no denial look alike', async () => {
    const denial = denialOf(await bench.denied(pay()))
    const other = await bench.key('Service/orders-ci', ['Agent'])
    const theirs = await bench.submit({ ...pay(), denial: byReference(denial) }, other)
    problem(theirs, 'invalid_denial_binding', 400)
    const none = await bench.submit(
      { ...pay(), denial: { ...byReference(denial), evaluation_id: 'dec_none' } },
      other,
    )
    const shown = ({ body }: { body: Record<string, unknown> }) => ({ ...body, request_id: '' })
    assert.deepEqual(shown(theirs), shown(none))
    problem(await bench.submit({ ...pay(), denial }, other), 'invalid_denial_binding', 400)
  })

  test('SUBMIT-12 nobody is 401 with a challenge', async () => {
    const body = submissionOf(pay(), await bench.denied(pay()))
    for (const [who, challenge] of [
      [undefined, 'Bearer realm="writ"'],
      ['writ_key_wrong', 'Bearer realm="writ", error="invalid_token"'],
    ] as const) {
      const answer = await bench.call(who, 'POST', '/access/v1/requests', body)
      ordinary(answer, 401)
      assert.equal(answer.headers.get('www-authenticate'), challenge)
    }
  })

  test('SUBMIT-13 requested access narrows, and only that', async () => {
    const until = new Date(bench.clock.wall() + 2 * MINUTE).toISOString()
    const asked = await bench.asked(pay(), {
      requested_access: { requested_until: until, role: 'root', 'vendor.example.com/x': { y: 1 } },
    })
    const { body } = await bench.call('grace', 'GET', `/v1/requests/${asked.body.task.id}`)
    assert.equal(body.ttl, '2m')
    const long = new Date(bench.clock.wall() + DAY).toISOString()
    const more = await bench.asked(pay({ context: { n: 2 } }), {
      requested_access: { requested_until: long },
    })
    const { body: bounded } = await bench.call('grace', 'GET', `/v1/requests/${more.body.task.id}`)
    assert.equal(bounded.ttl, '10m')
    const late = submissionOf(pay(), await bench.denied(pay()), {
      requested_access: { requested_until: '2020-01-01T00:00:00Z' },
    })
    ordinary(await bench.submit(late), 400)
  })

  test('SUBMIT-14 client, actor and source give nothing', async () => {
    const evaluation = pay({ context: { n: 3 } })
    const client = {
      id: 'console',
      name: 'Console',
      actor: { id: 'grace', issuer: 'https://evil.example', type: 'Person' },
      source: { session_id: 's' },
    }
    const { body } = await bench.asked(evaluation, { client })
    const { body: shown } = await bench.call('grace', 'GET', `/v1/requests/${body.task.id}`)
    assert.deepEqual(shown.client, { id: 'console', name: 'Console' })
    assert.equal(JSON.stringify(shown).includes('evil.example'), false)
    const { id } = body.task
    const other = await bench.key('Service/orders-ci', ['Agent'])
    problem(await bench.call(other, 'GET', `/access/v1/requests/${id}`), 'unknown_task', 404)
  })

  test('SUBMIT-15 bulk submissions are refused', async () => {
    const whole = submissionOf(pay(), await bench.denied(pay()))
    const answer = await bench.submit({
      ...whole,
      items: [{ action: whole.action, resource: whole.resource }],
    })
    ordinary(answer, 400)
    assert.match(answer.body.detail, /`items` must not be there/)
    const { action: _action, resource: _resource, ...rest } = whole
    ordinary(await bench.submit({ ...rest, items: [] }), 400)
  })

  test('SUBMIT-16 whatever template is echoed, the same people are asked for the same', async () => {
    const context = await bench.denied(pay())
    const denial = { ...denialOf(context), template: 'auto-approve' }
    const { status, body } = await bench.submit({ ...pay(), denial })
    assert.deepEqual([status, body.task.status], [202, 'pending'])
    const { body: shown } = await bench.call('grace', 'GET', `/v1/requests/${body.task.id}`)
    assert.deepEqual(shown.alternatives, context.access_request.display.alternatives)
  })

  test('SUBMIT-17 a reason that is required cannot be left out', async () => {
    const both = pay({ action: { name: 'both' } })
    const whole = submissionOf(both, await bench.denied(both))
    for (const context of [undefined, {}, { justification: '' }, { justification: '  ' }]) {
      const answer = await bench.submit({ ...whole, ...(context === undefined ? {} : { context }) })
      ordinary(answer, 400)
      assert.match(answer.body.detail, /justification/)
    }
    assert.equal((await bench.submit({ ...whole, context: { justification: 'why' } })).status, 202)
  })

  test('SUBMIT-18 too many are told to wait', async () => {
    await using slow = await openBench({ config: { limits: { body: 262_144, depth: 32, rate: 20 } } })
    const answers = await Promise.all(
      Array.from({ length: 40 }, () => slow.call('migrator', 'GET', '/access/v1/requests/req_none')),
    )
    const limited = answers.filter(({ status }) => status === 429)
    assert.ok(limited.length > 0)
    for (const { headers } of limited) assert.match(headers.get('retry-after') ?? '', /^\d+$/)
  })
})

describe('an idempotency key', () => {
  const key = (name: string) => ({ 'idempotency-key': name })

  test('KEY-1 same key, same body, same task, whatever has become of it', async () => {
    const body = submissionOf(pay({ context: { k: 1 } }), await bench.denied(pay({ context: { k: 1 } })))
    const first = await bench.submit(body, 'migrator', key('one'))
    const turned = JSON.stringify(Object.fromEntries(Object.entries(body).toReversed()), undefined, 2)
    const again = await bench.submit(turned, 'migrator', key('one'))
    assert.equal(again.body.task.id, first.body.task.id)
    await bench.approve(first.body.task.id)
    bench.clock.advance(11 * MINUTE) // the denial is too old by now
    const late = await bench.submit(body, 'migrator', key('one'))
    assert.deepEqual(
      [late.status, late.body.task.id, late.body.task.status],
      [201, first.body.task.id, 'approved'],
    )
    assert.ok(late.body.result)
  })

  test('KEY-2 same key, another body', async () => {
    const body = submissionOf(pay({ context: { k: 2 } }), await bench.denied(pay({ context: { k: 2 } })))
    await bench.submit(body, 'migrator', key('two'))
    for (const other of [
      { ...body, context: { ...body.context, justification: 'more' } },
      { ...body, requested_access: { emergency: true } },
      { ...body, client: { name: 'x' } },
      { ...body, denial: byReference(body.denial) },
      submissionOf(pay(), await bench.denied(pay())),
    ]) {
      problem(await bench.submit(other, 'migrator', key('two')), 'duplicate_request', 409)
    }
  })

  test('KEY-3 another caller’s key is another key', async () => {
    const mine = await bench.asked(pay({ context: { k: 3 } }), {}, 'migrator')
    const gateway = await bench.key('Service/orders-ci', ['Agent'])
    const evaluation = pay({ context: { k: 3 } })
    const body = submissionOf(evaluation, await bench.denied(evaluation, gateway))
    await bench.submit(submissionOf(pay(), await bench.denied(pay())), 'migrator', key('three'))
    const theirs = await bench.submit(body, gateway, key('three'))
    assert.equal(theirs.status, 202)
    assert.notEqual(theirs.body.task.id, mine.body.task.id)
  })

  test('KEY-4 it is remembered for a day after the end, and forgotten later', async () => {
    const body = submissionOf(pay({ context: { k: 4 } }), await bench.denied(pay({ context: { k: 4 } })))
    const { task } = (await bench.submit(body, 'migrator', key('four'))).body
    await bench.approve(task.id)
    bench.clock.advance(DAY - MINUTE)
    await bench.flows.sweeper.sweep()
    assert.equal((await bench.submit(body, 'migrator', key('four'))).body.task.id, task.id)
    bench.clock.advance(2 * 60 * MINUTE)
    await bench.flows.sweeper.sweep()
    problem(await bench.submit(body, 'migrator', key('four')), 'expired_denial', 410)
  })

  test('KEY-5 C9 fifty at once with one key', async () => {
    const evaluation = pay({ context: { k: 5 } })
    const body = submissionOf(evaluation, await bench.denied(evaluation))
    const before = await submitted()
    const all = await Promise.all(
      Array.from({ length: 50 }, () => bench.submit(body, 'migrator', key('five'))),
    )
    assert.equal(new Set(all.map(({ status, body: { task } }) => `${status} ${task.id}`)).size, 1)
    assert.equal((await submitted()) - before, 1)
  })

  test('KEY-6 C9 fifty at once without one', async () => {
    for (const [name, context] of [
      ['pay', { k: 6 }],
      ['note', { k: 6, justification: 'a reason is enough' }],
    ] as const) {
      const evaluation = pay({ action: { name }, context })
      const body = submissionOf(evaluation, await bench.denied(evaluation))
      for (const denial of [body.denial, byReference(body.denial)]) {
        const before = await submitted()
        const all = await Promise.all(Array.from({ length: 50 }, () => bench.submit({ ...body, denial })))
        assert.equal(new Set(all.map(({ body: { task } }) => task?.id)).size, 1, JSON.stringify(all[0]?.body))
        // by reference it is the same denial, asked about already
        assert.equal((await submitted()) - before, denial === body.denial ? 1 : 0)
      }
    }
  })

  const submitted = async (): Promise<number> =>
    (await entries(bench.world.app)).filter(({ kind }) => kind === 'request.submitted').length
})
