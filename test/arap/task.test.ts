/** Tasks and cancelling. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { DAY, MINUTE } from '../../src/model/time.ts'
import { entries, put } from '../faults/support.ts'
import { callerOf, ref } from '../support/world.ts'
import type { Bench } from './support.ts'
import { denialOf, openBench, ordinary, pay, problem, submissionOf } from './support.ts'

let bench: Bench
before(async () => (bench = await openBench()))
after(() => bench[Symbol.asyncDispose]())
beforeEach(async () => {
  bench.clock.advance(20 * MINUTE)
  await bench.flows.sweeper.sweep()
})

const path = (id: string): string => `/access/v1/requests/${id}`

describe('a task', () => {
  test('TASK-1 ids of tasks and approvals are random', async () => {
    const ids: string[] = []
    for (let i = 0; i < 4; i += 1) {
      const { task, result } = await bench.approved(pay({ context: { i } }))
      ids.push(task.id, result.approval.id)
    }
    assert.equal(new Set(ids).size, ids.length)
    // 128 bits in base32, and nothing of the tuple, the time or a counter
    for (const id of ids) assert.match(id, /^(?:req|appr)_[0-9a-hjkmnp-tv-z]{26}$/)
    const tails = ids.map((id) => id.slice(id.indexOf('_') + 1, -1))
    for (const [i, one] of tails.entries())
      for (const other of tails.slice(i + 1)) assert.notEqual(one.slice(0, 8), other.slice(0, 8))
  })

  test('TASK-2 an end is final', async () => {
    const { task } = (await bench.asked(pay())).body
    const { body } = await bench.call('grace', 'GET', `/v1/requests/${task.id}`)
    const denied = { statement: body.digest, reason: 'not today' }
    assert.equal((await bench.call('grace', 'POST', `/v1/requests/${task.id}/deny`, denied)).status, 200)
    const shown = (await bench.call('migrator', 'GET', task.status_endpoint)).body
    assert.deepEqual([shown.task.status, shown.task.display.reason], ['denied', 'not today'])
    for (const verb of ['approve', 'deny']) {
      const again = await bench.call('hedy', 'POST', `/v1/requests/${task.id}/${verb}`, {
        statement: body.digest,
      })
      assert.equal(again.status, 409)
    }
    problem(await bench.call('migrator', 'POST', `${path(task.id)}/cancel`), 'invalid_task_state', 409)
    bench.clock.advance(20 * MINUTE)
    await bench.flows.sweeper.sweep()
    assert.deepEqual((await bench.call('migrator', 'GET', task.status_endpoint)).body, shown)
  })

  test('TASK-3 progress counts, and names nobody', async () => {
    const { task } = (await bench.asked(pay({ action: { name: 'wire' } }))).body
    assert.deepEqual(task.progress, { current_step: 1, total_steps: 2, step_name: 'dba' })
    await bench.approve(task.id, 'grace')
    const half = await bench.call('migrator', 'GET', task.status_endpoint)
    assert.equal(half.body.task.status, 'pending')
    assert.deepEqual(half.body.task.progress, { current_step: 2, total_steps: 2, step_name: 'dba' })
    assert.equal(JSON.stringify(half.body).includes('grace'), false)
    await bench.approve(task.id, 'hedy')
    const whole = await bench.call('migrator', 'GET', task.status_endpoint)
    assert.deepEqual([whole.body.task.status, whole.body.task.progress], ['approved', undefined])
  })

  test('TASK-4 `Retry-After` while it is pending, and no longer', async () => {
    const { headers, body } = await bench.asked(pay())
    assert.match(headers.get('retry-after') ?? '', /^[1-9]\d*$/)
    const polled = await bench.call('migrator', 'GET', body.task.status_endpoint)
    assert.match(polled.headers.get('retry-after') ?? '', /^[1-9]\d*$/)
    await bench.approve(body.task.id)
    const done = await bench.call('migrator', 'GET', body.task.status_endpoint)
    assert.equal(done.headers.get('retry-after'), null)
  })

  test('TASK-5 it expires at its end, whether or not anybody has swept', async () => {
    const { task } = (await bench.asked(pay())).body
    const { body } = await bench.call('grace', 'GET', `/v1/requests/${task.id}`)
    bench.clock.set(Date.parse(task.expires_at) - 1)
    assert.equal((await bench.call('migrator', 'GET', task.status_endpoint)).body.task.status, 'pending')
    bench.clock.set(Date.parse(task.expires_at))
    const expired = (await bench.call('migrator', 'GET', task.status_endpoint)).body
    assert.equal(expired.task.status, 'expired')
    assert.equal(
      (await bench.call('grace', 'POST', `/v1/requests/${task.id}/approve`, { statement: body.digest }))
        .status,
      409,
    )
    problem(await bench.call('migrator', 'POST', `${path(task.id)}/cancel`), 'invalid_task_state', 409)
    await bench.flows.sweeper.sweep()
    assert.deepEqual((await bench.call('migrator', 'GET', task.status_endpoint)).body, expired)
  })

  test('TASK-6 its handle ends a day after it did', async () => {
    // of its own, because sessions do not last that long
    await using bench = await openBench()
    const denied = (await bench.asked(pay({ context: { i: 1 } }))).body.task
    const approved = (await bench.asked(pay({ context: { i: 2 } }))).body.task
    await bench.approve(approved.id)
    await bench.call('migrator', 'POST', `${path(denied.id)}/cancel`)
    for (const { id } of [denied, approved]) {
      const { task } = (await bench.call('migrator', 'GET', path(id))).body
      assert.equal(Date.parse(task.expires_at), bench.clock.wall() + DAY)
    }
    bench.clock.advance(DAY - 1)
    for (const { id } of [denied, approved])
      assert.equal((await bench.call('migrator', 'GET', path(id))).status, 200)
    bench.clock.advance(1)
    for (const { id } of [denied, approved])
      problem(await bench.call('migrator', 'GET', path(id)), 'task_expired', 410)
  })

  test('TASK-7 B33 what is another’s is unknown', async () => {
    const { task } = (await bench.asked(pay())).body
    const other = await bench.key('Service/orders-ci', ['*'])
    const shown = ({ status, body }: { status: number; body: { detail: string } }, id: string) => [
      status,
      { ...body, request_id: '', detail: body.detail.replace(id, 'X') },
    ]
    for (const [method, tail] of [
      ['GET', ''],
      ['POST', '/cancel'],
    ] as const) {
      const none = 'req_00000000000000000000000000'
      for (const who of [other, 'ada', 'grace', 'hedy']) {
        const theirs = await bench.call(who, method, path(task.id) + tail)
        problem(theirs, 'unknown_task', 404)
        const unknown = await bench.call(who, method, path(none) + tail)
        assert.deepEqual(shown(theirs, task.id), shown(unknown, none))
      }
      ordinary(await bench.call(undefined, method, path(task.id) + tail), 401)
    }
  })

  test('TASK-8 a new key of the same party holds it, a namesake does not', async () => {
    const subject = { type: 'Agent', id: 'carried' }
    await put(bench.world, {
      ...subject,
      kind: 'agent',
      owner: ref('Person/ada'),
      parents: [ref('Group/deployers')],
    })
    await put(bench.world, { type: 'Service', id: 'gate', kind: 'workload', owner: ref('Person/ada') })
    const old = await bench.key('Service/gate', ['Agent'])
    const { task } = (await bench.asked(pay({ subject }), {}, old)).body
    const { id } = await callerOf(bench.world.app, old)
    await bench.flows.revokeKey(bench.world.ada, id.slice('key:'.length))
    ordinary(await bench.call(old, 'GET', task.status_endpoint), 401)
    const fresh = await bench.key('Service/gate', ['Agent'])
    assert.equal((await bench.call(fresh, 'GET', task.status_endpoint)).status, 200)
    await bench.approve(task.id)
    const { result } = (await bench.call(fresh, 'GET', task.status_endpoint)).body
    // one that may not speak for agents is no enforcement point for this one
    for (const trust of [undefined, ['Person']]) {
      problem(
        await bench.call(await bench.key('Service/gate', trust), 'GET', task.status_endpoint),
        'unknown_task',
        404,
      )
    }
    // B34 a later one of that name is somebody else
    await bench.flows.deleteEntity(bench.world.ada, ref('Service/gate'))
    await put(bench.world, { type: 'Service', id: 'gate', kind: 'workload', owner: ref('Person/ada') })
    const namesake = await bench.key('Service/gate', ['Agent'])
    problem(await bench.call(namesake, 'GET', task.status_endpoint), 'unknown_task', 404)
    const used = await bench.evaluate(pay({ subject, context: { approval: result.approval } }), namesake)
    assert.deepEqual([used.body.decision, used.body.context.reason], [false, 'approval_unverifiable'])
  })

  test('TASK-9 nothing of approvers, at no time', async () => {
    const { task } = (await bench.asked(pay({ action: { name: 'wire' } }))).body
    const seen: string[] = [JSON.stringify(task)]
    for (const who of ['grace', 'hedy']) {
      await bench.approve(task.id, who)
      seen.push(JSON.stringify((await bench.call('migrator', 'GET', task.status_endpoint)).body))
    }
    // an id may hold any four letters
    const told = /(?<![a-z0-9])(?:grace|hedy|review|awaiting|policy|statement)/
    for (const text of seen) assert.doesNotMatch(text, told)
  })

  test('TASK-10 a person has somewhere to look, an agent does not', async () => {
    await put(bench.world, { type: 'Person', id: 'pat', kind: 'human' })
    const gateway = await bench.key('Service/orders-ci', ['Person'])
    const subject = { type: 'Person', id: 'pat' }
    const { task } = (await bench.asked(pay({ subject }), {}, gateway)).body
    assert.equal(task.links.ticket, `${bench.world.app.url}/requests/${task.id}`)
    assert.equal((await bench.asked(pay())).body.task.links.ticket, undefined)
  })

  test('TASK-11 a result when it is approved, and only then', async () => {
    const { task } = (await bench.asked(pay())).body
    const at = async () => (await bench.call('migrator', 'GET', task.status_endpoint)).body
    assert.equal((await at()).result, undefined)
    await bench.approve(task.id)
    const { result } = await at()
    assert.equal(result.mode, 'reevaluate')
    assert.deepEqual(Object.keys(result.approval).sort(), ['approved_at', 'approved_until', 'id', 'state'])
    assert.ok(Date.parse(result.approval.approved_until) > bench.clock.wall())
    for (const end of ['cancel', 'expire', 'deny']) {
      const other = (await bench.asked(pay({ context: { end } }))).body.task
      if (end === 'cancel') await bench.call('migrator', 'POST', `${path(other.id)}/cancel`)
      if (end === 'expire') bench.clock.advance(15 * MINUTE)
      if (end === 'deny') {
        const { body } = await bench.call('grace', 'GET', `/v1/requests/${other.id}`)
        await bench.call('grace', 'POST', `/v1/requests/${other.id}/deny`, { statement: body.digest })
      }
      const { body } = await bench.call('migrator', 'GET', other.status_endpoint)
      assert.notEqual(body.task.status, 'pending')
      assert.equal(body.result, undefined)
    }
  })
})

describe('cancelling', () => {
  test('CANCEL-1 a pending task, with or without a body', async () => {
    for (const [i, body] of [
      undefined,
      {},
      { reason: 'superseded', comment: 'found another way' },
    ].entries()) {
      const { task } = (await bench.asked(pay({ context: { i } }))).body
      assert.equal(task.links.cancel, `${task.status_endpoint}/cancel`)
      const done = await bench.call('migrator', 'POST', task.links.cancel, body)
      assert.deepEqual([done.status, done.body.task.status], [200, 'cancelled'])
      const ended = (await entries(bench.world.app)).filter(
        (entry) => entry['kind'] === 'request.ended' && entry['request'] === task.id,
      )
      assert.equal(ended.length, 1)
      if (body?.reason !== undefined) assert.equal(ended[0]?.['reason'], 'superseded: found another way')
    }
  })

  test('CANCEL-2 after the end', async () => {
    const { task } = await bench.approved(pay())
    assert.equal(task.links?.cancel, undefined)
    problem(await bench.call('migrator', 'POST', `${task.status_endpoint}/cancel`), 'invalid_task_state', 409)
    const other = (await bench.asked(pay({ context: { n: 1 } }))).body.task
    const both = await Promise.all([1, 2, 3, 4].map(() => bench.call('migrator', 'POST', other.links.cancel)))
    assert.deepEqual(
      both.map(({ status }) => status).toSorted((a, b) => a - b),
      [200, 409, 409, 409],
    )
  })

  test('CANCEL-3 nothing but POST', async () => {
    const { task } = (await bench.asked(pay())).body
    for (const method of ['GET', 'DELETE', 'PUT']) {
      const answer = await bench.call('migrator', method, task.links.cancel)
      ordinary(answer, 405)
      assert.equal(answer.headers.get('allow'), 'POST')
    }
    ordinary(await bench.call('migrator', 'DELETE', task.status_endpoint), 405)
  })

  test('CANCEL-4 B26 approvers, administrators and strangers cannot', async () => {
    const { task } = (await bench.asked(pay())).body
    const other = await bench.key('Service/orders-ci', ['*'])
    for (const who of ['grace', 'hedy', 'ada', other]) {
      problem(await bench.call(who, 'POST', task.links.cancel), 'unknown_task', 404)
    }
    assert.equal((await bench.call('migrator', 'GET', task.status_endpoint)).body.task.status, 'pending')
    // nor does whoever asks for the same in another's stead get hold of it
    const evaluation = pay()
    const theirs = await bench.submit(submissionOf(evaluation, await bench.denied(evaluation, other)), other)
    assert.notEqual(theirs.body.task.id, task.id)
    const mine = denialOf(await bench.denied(evaluation))
    assert.equal((await bench.submit({ ...evaluation, denial: mine }, other)).status, 400)
  })
})
