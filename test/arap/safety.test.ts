/** What holds whatever is sent. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { entries } from '../faults/support.ts'
import type { Bench } from './support.ts'
import { carrying, openBench, pay } from './support.ts'

let bench: Bench
before(async () => (bench = await openBench()))
after(() => bench[Symbol.asyncDispose]())

const SAID = { requested_access: { emergency: true } }

test('SAFE-1 B26 an emergency is loud, and nothing is easier for it', async () => {
  const { status, body } = await bench.asked(pay(), SAID)
  assert.deepEqual([status, body.task.status], [202, 'pending'])
  assert.equal((await bench.evaluate(pay())).body.decision, false)
  const shown = (await bench.call('grace', 'GET', `/v1/requests/${body.task.id}`)).body
  assert.equal(shown.emergency, true)
  const calm = (await bench.asked(pay({ context: { n: 1 } }))).body.task
  const other = (await bench.call('grace', 'GET', `/v1/requests/${calm.id}`)).body
  assert.deepEqual(
    [other.emergency, other.ttl, other.alternatives],
    [undefined, shown.ttl, shown.alternatives],
  )
  const page = await fetch(`${bench.world.app.url}/requests/${body.task.id}`, {
    headers: { cookie: `writ_session=${bench.world.tokens.grace}`, accept: 'text/html' },
  })
  assert.match(await page.text(), /EMERGENCY/)
  // whoever repeats it louder is heard
  await bench.asked(pay({ context: { n: 1 } }), SAID)
  assert.equal((await bench.call('grace', 'GET', `/v1/requests/${calm.id}`)).body.emergency, true)
  const said = (await entries(bench.world.app)).filter((entry) => entry['emergency'] === true)
  assert.deepEqual(
    said.map(({ kind }) => kind),
    ['request.submitted', 'request.merged'],
  )
  // two are still two, and the requester's owner is still nobody to ask
  const two = (await bench.asked(pay({ action: { name: 'wire' } }), SAID)).body.task
  await bench.approve(two.id, 'grace')
  assert.equal((await bench.call('migrator', 'GET', two.status_endpoint)).body.task.status, 'pending')
})

test('SAFE-2 the story of a request stands in the log, from its denial to its use', async () => {
  const evaluation = pay({ context: { n: 2 } })
  const { task, result } = await bench.approved(evaluation)
  const used = await bench.evaluate(carrying(evaluation, result.approval))
  const all = await entries(bench.world.app)
  const about = all.filter((entry) => (entry['refs'] as string[]).includes(task.id))
  const [submitted] = about
  const denial = all.find((entry) => entry['kind'] === 'decision' && entry['id'] === submitted?.['decision'])
  assert.deepEqual([denial?.['outcome'], denial?.['binds']], ['challenge', ['n']])
  assert.deepEqual(
    about.map(({ kind }) => kind),
    ['request.submitted', 'approval.given', 'request.approved', 'decision', 'grant.activated'],
  )
  assert.equal(about.find(({ kind }) => kind === 'decision')?.['id'], used.body.context.evaluation_id)
  assert.equal(about.find(({ kind }) => kind === 'request.approved')?.['approval'], result.approval.id)
  // no artifact and no key is in the log
  const text = JSON.stringify(all)
  assert.equal(text.includes(result.approval.state), false)
})

test('SAFE-3 B18 not by who asks, owns or stands behind it', async () => {
  const { task } = (await bench.asked(pay({ context: { n: 3 } }))).body
  const { body } = await bench.call('ada', 'GET', `/v1/requests/${task.id}`)
  for (const who of ['migrator', 'ada']) {
    const answer = await bench.call(who, 'POST', `/v1/requests/${task.id}/approve`, {
      statement: body.digest,
    })
    assert.equal(answer.status, 403)
  }
})
