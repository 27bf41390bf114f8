/**
 * Downstream actions: what is joined to which grant, what is said when nothing covers it, and what strangers learn.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { ActionReport } from '../../src/flows/actions.ts'
import type { Caller } from '../../src/flows/port.ts'
import { MINUTE, SECOND } from '../../src/model/time.ts'
import { FakeTarget } from '../support/fake-target.ts'
import { activeGrant, declare, migration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import {
  attempt,
  entries,
  fails,
  faultWorld,
  keyFor,
  put,
  ref,
  serve,
  settle,
  withPolicy,
} from './support.ts'

const did = (id: string, more: Partial<ActionReport>): ActionReport => ({
  id,
  action: 'db:migrate',
  outcome: 'succeeded',
  ...more,
})

const actionsIn = async (world: FaultWorld) =>
  (await entries(world.app)).filter(({ kind }) => String(kind).startsWith('action.'))

/** A collector: its key may observe, and nothing else. */
async function collector(world: FaultWorld): Promise<Caller> {
  await put(world, { type: 'Service', id: 'collector', kind: 'workload', parents: [ref('Group/collectors')] })
  return keyFor(world, 'Service/collector')
}

/** A credential under a new grant, and the name of its role. */
async function issued(world: FaultWorld) {
  const { grant, task } = await activeGrant(world)
  const { credential } = await world.app.flows.issueCredential(world.migrator, grant)
  assert.ok(credential)
  const role = (credential.planned as { name: string }).name
  return { grant, task, credential: credential.id, role }
}

describe('reports', () => {
  test('are found under grant, task, credential and subject, joined to the decision and the request', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const { grant, task, credential } = await issued(world)
    const answers = await flows.reportActions(world.migrator, {
      items: [
        did('a', { grant, detail: { rows: 3 } }),
        did('b', { credential, resource: ref('Database/orders') }),
        did('c', { task }),
      ],
    })
    assert.deepEqual(
      answers.map(({ status, outside, grant: under }) => [status, outside, under]),
      [
        ['recorded', undefined, grant],
        ['recorded', undefined, grant],
        ['recorded', undefined, grant],
      ],
    )
    const { request, decision } = (await actionsIn(world))[0] as Record<string, string>
    const known = (await flows.grant(world.migrator, grant)).grant
    assert.deepEqual([decision, request], [known.decision, known.evidence.request])
    for (const query of [{ grant }, { task }, { subject: ref('Agent/migrator') }]) {
      const { items } = await flows.actions(world.migrator, query)
      assert.deepEqual(
        items.map(({ entry }) => entry['reported_id']),
        ['c', 'b', 'a'],
        JSON.stringify(query),
      )
    }
    const { items } = await flows.actions(world.migrator, { credential })
    assert.deepEqual(
      items.map(({ entry }) => entry['reported_id']),
      ['b'],
    )
    assert.deepEqual(await flows.problems(), [])
    const record = await flows.grantRecord(world.migrator, grant)
    assert.deepEqual([record.actions.length, record.requests.length, record.more], [3, 1, false])
    assert.deepEqual(
      record.uses.map(({ decision: id }) => id).includes(known.decision),
      true,
      'the activation is among the uses',
    )
    assert.equal((await flows.taskRecord(world.migrator, task)).actions.length, 3)
  })

  test('pages go back one by one, and miss nothing', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const { grant } = await activeGrant(world)
    const ids = Array.from({ length: 25 }, (_, i) => `n${i}`)
    await flows.reportActions(world.migrator, { items: ids.map((id) => did(id, { grant })) })
    const seen: unknown[] = []
    let before: number | undefined
    do {
      const page = await flows.actions(world.migrator, {
        grant,
        limit: 7,
        ...(before === undefined ? {} : { before }),
      })
      seen.push(...page.items.map(({ entry }) => entry['reported_id']))
      before = page.next === undefined ? undefined : Number(page.next)
    } while (before !== undefined)
    assert.deepEqual(seen, ids.toReversed())
  })

  test('B35 the same report again is one entry, other content under its id is a conflict', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const { grant } = await activeGrant(world)
    const again = () => flows.reportActions(world.migrator, { items: [did('a', { grant })] })
    const many = await Promise.all(Array.from({ length: 20 }, again))
    assert.equal(many.flat().filter(({ status }) => status === 'recorded').length, 1)
    const other = { items: [did('b', { grant }), did('a', { grant, outcome: 'failed' as const })] }
    await fails(flows.reportActions(world.migrator, other), 'ERR_CONFLICT')
    assert.equal((await actionsIn(world)).length, 1, 'a refused batch leaves nothing')
    // also long after the answers that are kept for retries are gone
    world.clock.advance(10 * 24 * 60 * MINUTE)
    await settle(world.app)
    assert.equal((await again())[0]?.status, 'duplicate')
    await fails(flows.reportActions(world.migrator, other), 'ERR_CONFLICT')
  })

  test('what lies outside is recorded as that, and stays a problem until somebody says why', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const { grant, task } = await activeGrant(world)
    const now = world.clock.wall()
    const [wrong, early, future] = await flows.reportActions(world.migrator, {
      items: [
        did('wrong', { grant, action: 'db:drop', resource: ref('Database/payments') }),
        did('early', { grant, at: now - MINUTE }),
        did('future', { grant, at: now + 2 * MINUTE }),
      ],
    })
    assert.deepEqual(wrong?.outside, ['action', 'resource'])
    assert.deepEqual(early?.outside, ['before_start'])
    assert.deepEqual(future?.outside, ['future'])
    await flows.endTask(world.migrator, task, 'completed')
    world.clock.advance(10 * SECOND)
    const [late, other] = await flows.reportActions(world.migrator, {
      items: [did('late', { grant }), did('task', { task, action: 'db:drop' })],
    })
    assert.deepEqual(late?.outside, ['after_end'])
    assert.deepEqual(other?.outside, ['action', 'no_grant', 'after_end'])
    const problems = await flows.problems()
    assert.equal(problems.length, 2)
    assert.match(problems.join('\n'), new RegExp(`under \`${grant}\` lies outside it`))
    for (const problem of problems) {
      const flag = /resolve (flag_\w+)/.exec(problem)?.[1] ?? ''
      await fails(flows.resolveFlag(world.migrator, flag, 'it was me'), 'ERR_FORBIDDEN')
      const resolved = await flows.resolveFlag(world.ada, flag, 'a drill')
      assert.equal(resolved.resolvedBy, world.ada.id)
    }
    assert.deepEqual(await flows.problems(), [])
    await flows.reportActions(world.migrator, { items: [did('again', { grant })] })
    assert.equal((await flows.problems()).length, 1, 'what happens again is a problem again')
  })

  test('what standing policy permitted under a task is covered by its decision', async () => {
    await using world = await faultWorld({
      policies: withPolicy('@id("s") permit (principal, action == Action::"look", resource);'),
    })
    const { flows } = world.app
    const task = await declare(world, {
      scope: { actions: ['look', 'db:migrate'], resources: [ref('Database/orders')] },
    })
    const looked = attempt('Agent/migrator', 'look', 'Database/orders', { task })
    const before = did('before', { task, action: 'look', resource: ref('Database/orders') })
    const [none] = await flows.reportActions(world.migrator, { items: [before] })
    assert.deepEqual(none?.outside, ['no_grant'])
    const { id } = await flows.evaluate(world.migrator, looked)
    const [some] = await flows.reportActions(world.migrator, { items: [{ ...before, id: 'after' }] })
    assert.equal(some?.outside, undefined)
    assert.equal((await actionsIn(world)).at(-1)?.['decision'], id)
    assert.equal((await flows.taskRecord(world.migrator, task)).uses[0]?.decision, id)
  })

  test('C12 a batch under a task with a long history reads what it asks for, not the history', async () => {
    await using world = await faultWorld()
    const { flows, store } = world.app
    const { grant, task } = await activeGrant(world)
    for (let batch = 0; batch < 3; batch += 1) {
      const items = Array.from({ length: 100 }, (_, n) => did(`${batch}-${n}`, { grant }))
      await flows.reportActions(world.migrator, { items })
    }
    let read = 0
    const entriesOf = store.log.entries.bind(store.log)
    store.log.entries = (...range) => {
      read += 1
      return entriesOf(...range)
    }
    const items = Array.from({ length: 100 }, (_, n) => did(`last-${n}`, { task, action: `other:${n}` }))
    const answers = await flows.reportActions(world.migrator, { items })
    assert.deepEqual(answers[99]?.outside, ['action', 'no_grant'])
    assert.ok(read < 100, `${read} entries were read`)
  })

  test('C12 what strangers name a grant in buries nothing that was done under it', async () => {
    await using world = await faultWorld()
    const { flows, store } = world.app
    const { grant } = await activeGrant(world)
    await flows.reportActions(world.migrator, { items: [did('a', { grant })] })
    for (let batch = 0; batch < 25; batch += 1) {
      await store.commit({
        reads: [],
        run: (tx) => {
          for (let n = 0; n < 100; n += 1) tx.append({ kind: 'decision', refs: [grant], outcome: 'deny' })
        },
      })
    }
    const { items, next } = await flows.actions(world.migrator, { grant })
    assert.deepEqual([items.map(({ entry }) => entry['reported_id']), next], [['a'], undefined])
    const { actions, uses, more } = await flows.grantRecord(world.migrator, grant)
    assert.deepEqual([actions.length, uses.length > 0, more], [1, true, false])
  })

  test('B33 a foreign grant and none at all look alike, and the attempt is on the record', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const { grant, task, credential } = await issued(world)
    const stranger = await keyFor(world, 'Service/orders-ci')
    const before = (await actionsIn(world)).length
    for (const [member, id] of Object.entries({ grant, task, credential })) {
      const said = async (value: string): Promise<string> => {
        const error = await fails(
          flows.reportActions(stranger, { items: [did(`${member}-x`.slice(0, 20), { [member]: value })] }),
          'ERR_NOT_FOUND',
        )
        return `${error.message} ${error.hint}`.replaceAll(value, 'ID')
      }
      const nothing = `${id.slice(0, id.indexOf('_'))}_00000000000000000000000000`
      const first = await said(id)
      const other = await fails(
        flows.reportActions(stranger, { items: [did(`${member}-y`, { [member]: nothing })] }),
        'ERR_NOT_FOUND',
      )
      assert.equal(first.replaceAll('-x', ''), `${other.message} ${other.hint}`.replaceAll('-y', ''))
      for (const query of [{ [member]: id }, { [member]: nothing }]) {
        await fails(flows.actions(stranger, query), 'ERR_NOT_FOUND')
      }
    }
    await fails(flows.actions(stranger, { subject: ref('Agent/migrator') }), 'ERR_FORBIDDEN')
    const left = (await actionsIn(world)).slice(before)
    assert.deepEqual(
      left.map(({ kind, outside }) => [kind, ...(outside as string[])]),
      ['foreign', 'unknown', 'foreign', 'unknown', 'foreign', 'unknown'].map((why) => [
        'action.refused',
        why,
      ]),
    )
    // the stranger sees that it was refused, not why
    const own = await flows.actions(stranger, { subject: ref('Service/orders-ci') })
    assert.deepEqual(
      own.items.map(({ entry }) => entry['outside']),
      own.items.map(() => ['unknown']),
    )
    assert.equal(own.items.length, 6)
    const refs = new Set(left.flatMap((entry) => entry['refs'] as string[]))
    assert.ok(!refs.has('Agent/migrator'), 'whose grant it is stands in no refs of a refusal')
    // and nothing of it counts as done under the grant
    assert.equal((await flows.problems()).length, 1)
    const record = await flows.grantRecord(world.migrator, grant)
    assert.deepEqual(record.actions, [], 'a stranger cannot fill the record of a grant')
  })

  test('B33 ids that do not belong together are refused, not guessed', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const one = await issued(world)
    const other = await issued(world)
    for (const mixed of [
      { grant: one.grant, credential: other.credential },
      { grant: one.grant, task: other.task },
      { credential: one.credential, task: other.task },
    ]) {
      const items = [did(JSON.stringify(mixed).slice(0, 100), mixed)]
      await fails(flows.reportActions(world.migrator, { items }), 'ERR_NOT_FOUND')
    }
  })

  test('C12 what is refused is recorded without what came with it', async () => {
    await using world = await faultWorld()
    const item = did('a', { grant: 'grant_00000000000000000000000000', detail: 'canary'.repeat(10_000) })
    await fails(world.app.flows.reportActions(world.migrator, { items: [item] }), 'ERR_NOT_FOUND')
    const [refused] = await actionsIn(world)
    assert.match(String(refused?.['digest']), /^sha256:/u)
    assert.doesNotMatch(JSON.stringify(refused), /canary|kept/u)
  })

  test('one that may ask for others reports what it asked for, and nobody else does', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const pep = await keyFor(world, 'Service/orders-ci', { subjects: ['Agent'], attributes: {} })
    const task = await flows.declareTask(pep, {
      purpose: 'p',
      reason: 'INC-42',
      subject: ref('Agent/migrator'),
      scope: { actions: ['db:migrate'], resources: [ref('Database/orders')] },
    })
    const asked = migration(task.id)
    const denied = await flows.evaluate(pep, asked)
    const request = await flows.submit(pep, {
      ...asked,
      denial: { evaluationId: denied.id, expiresAt: denied.requestableUntil ?? 0 },
    })
    const { approval } = await flows.approve(world.grace, request.id, { statement: request.digest })
    const { grant } = await flows.activate(pep, migration(task.id, { approval: approval ?? '' }))
    assert.ok(grant)
    for (const caller of [pep, world.migrator]) {
      const [answer] = await flows.reportActions(caller, { items: [did('a', { grant: grant.id })] })
      assert.equal(answer?.status, 'recorded')
    }
    for (const caller of [world.ada, world.grace]) {
      const items = [did('a', { grant: grant.id })]
      await fails(flows.reportActions(caller, { items }), 'ERR_NOT_FOUND')
    }
  })

  test('B69 what is too long for an entry is kept under its digest; what an id may hold is bounded', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const { grant } = await activeGrant(world)
    const detail = { note: 'x'.repeat(120_000), exit: 0 }
    await flows.reportActions(world.migrator, { items: [did('big', { grant, detail })] })
    const entry = (await actionsIn(world)).at(-1) as Record<string, unknown>
    assert.deepEqual(entry['cut'], ['/detail/note'])
    const { note, exit } = entry['detail'] as { note: { $digest: string }; exit: number }
    assert.equal(exit, 0)
    const body = await world.app.store.log.body(note.$digest)
    assert.equal(JSON.parse(Buffer.from(body ?? []).toString()), detail.note)
  })
})

describe('observations', () => {
  test('need the right to observe that target, and give no other', async () => {
    await using world = await faultWorld({
      targets: true,
      policies: withPolicy(
        `@id("one") permit (principal == Service::"one", action == Writ::Action::"observe", resource) when { context.target == "orders-db" };`,
      ),
    })
    const { flows } = world.app
    await serve(world, 'pay-db', 'pay', 'Database/payments')
    const { role, grant } = await issued(world)
    await put(world, { type: 'Service', id: 'one', kind: 'workload' })
    const one = await keyFor(world, 'Service/one')
    const items = [did('l1', { action: 'sql:SELECT', role })]
    for (const caller of [world.migrator, world.ada, world.grace]) {
      await fails(flows.reportActions(caller, { items, observed: { target: 'orders-db' } }), 'ERR_FORBIDDEN')
    }
    await fails(flows.reportActions(one, { items, observed: { target: 'pay-db' } }), 'ERR_FORBIDDEN')
    assert.deepEqual(await actionsIn(world), [])
    const [answer] = await flows.reportActions(one, { items, observed: { target: 'orders-db' } })
    assert.deepEqual([answer?.status, answer?.grant], ['recorded', grant])
    await fails(flows.grant(one, grant), 'ERR_NOT_FOUND')
    await fails(flows.actions(one, { grant }), 'ERR_NOT_FOUND')
    await fails(flows.entries(one, 0, 1), 'ERR_FORBIDDEN')
    await fails(flows.reportActions(one, { items: [did('own', { grant })] }), 'ERR_NOT_FOUND')
    const all = await collector(world)
    await fails(flows.reportActions(all, { items, observed: { target: 'no-db' } }), 'ERR_NOT_FOUND')
  })

  test('by a role of Writ are joined to its credential, also when it is gone since', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const watcher = await collector(world)
    const { role, grant, credential, task } = await issued(world)
    const at = world.clock.wall()
    await flows.endTask(world.migrator, task, 'completed')
    await settle(world.app)
    world.clock.advance(MINUTE)
    const items = [
      did('in-time', { action: 'sql:INSERT', role, at, application: 'psql' }),
      did('too-late', { action: 'sql:INSERT', role, at: at + MINUTE }),
    ]
    const observed = { target: 'orders-db' }
    const [inTime, tooLate] = await flows.reportActions(watcher, { items, observed })
    assert.deepEqual([inTime?.credential, inTime?.grant, inTime?.outside], [credential, grant, undefined])
    assert.deepEqual(tooLate?.outside, ['after_end'])
    const [entry] = await actionsIn(world)
    assert.deepEqual(
      [entry?.['kind'], entry?.['link'], entry?.['claimed']],
      ['action.observed', 'role', undefined],
    )
    assert.ok((entry as { refs: string[] }).refs.includes('Agent/migrator'))
    assert.equal((await flows.problems()).length, 1)
    // whatever key a collector uses, a line is one entry
    const second = await keyFor(world, 'Service/collector')
    assert.deepEqual(
      (await flows.reportActions(second, { items, observed })).map(({ status }) => status),
      ['duplicate', 'duplicate'],
    )
    const { items: seen } = await flows.actions(world.migrator, { grant })
    assert.equal(seen.length, 2)
  })

  test('S28 by a role that no credential covers are unmatched, and a problem', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const watcher = await collector(world)
    const observed = { target: 'orders-db' }
    const items = [1, 2, 3].map((n) => did(`l${n}`, { action: 'sql:DELETE', role: 'fake_cred_of_nobody' }))
    const answers = await flows.reportActions(watcher, { items, observed })
    assert.deepEqual(
      answers.map(({ status }) => status),
      ['unmatched', 'unmatched', 'unmatched'],
    )
    assert.deepEqual(
      (await actionsIn(world)).map(({ kind }) => kind),
      ['action.unmatched', 'action.unmatched', 'action.unmatched'],
    )
    const [problem, ...more] = await flows.problems()
    assert.deepEqual(more, [])
    assert.match(
      problem ?? '',
      /^`fake_cred_of_nobody` acted at `orders-db`, and no credential covers it, 3 times/,
    )
  })

  test('C12 names that are tried at a target in vain are one problem, however many there are', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const watcher = await collector(world)
    const tries = Array.from({ length: 50 }, (_, n) =>
      did(`t${n}`, { action: 'session:open', outcome: 'failed', role: `fake_cred_guess_${n}` }),
    )
    const done = did('done', { action: 'sql:DELETE', role: 'fake_cred_of_nobody' })
    await flows.reportActions(watcher, { items: [...tries, done], observed: { target: 'orders-db' } })
    const problems = (await flows.problems()).toSorted()
    assert.equal(problems.length, 2, problems.join('\n'))
    assert.match(problems[0] ?? '', /^`fake_cred_of_nobody` acted at `orders-db`/u)
    assert.match(
      problems[1] ?? '',
      /^sessions at `orders-db` are refused to names that no credential has, the last to `fake_cred_guess_49`, 50 times/u,
    )
  })

  test('B33 a role that is called like an id, an entity or a term is found under none of them', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows, store } = { flows: world.app.flows, store: world.app.store }
    const watcher = await collector(world)
    const { grant } = await activeGrant(world)
    const observe = (id: string, role: string) =>
      flows.reportActions(watcher, {
        items: [did(id, { action: 'sql:DELETE', role })],
        observed: { target: 'orders-db' },
      })
    // the id that the migrator's first report will have: who knows it must not be able to take it
    const id = createHash('sha256').update('Agent/migrator\na').digest('hex').slice(0, 32)
    for (const [n, role] of [`act_${id}`, grant, 'Agent/migrator', 'kind=decision'].entries())
      assert.equal((await observe(`l${n}`, role))[0]?.status, 'unmatched')
    const [own] = await flows.reportActions(world.migrator, { items: [did('a', { grant })] })
    assert.deepEqual([own?.action, own?.status], [`act_${id}`, 'recorded'])
    for (const query of [{ grant }, { subject: ref('Agent/migrator') }]) {
      const { items } = await flows.actions(world.migrator, query)
      assert.deepEqual(
        items.map(({ entry }) => entry['reported_id']),
        ['a'],
      )
    }
    const { items: decisions } = await store.log.search({ terms: ['kind=decision', 'orders-db'], limit: 10 })
    assert.deepEqual(decisions, [])
    // explaining it names nothing of ours either
    const [problem = ''] = (await flows.problems()).filter((one) => one.includes(grant))
    await flows.resolveFlag(world.ada, /flag_[0-9a-f]+/u.exec(problem)?.[0] ?? '', 'a drill')
    assert.equal(
      (await store.log.search({ terms: [grant, 'kind=action.resolved'], limit: 10 })).items.length,
      0,
    )
    assert.equal((await store.log.search({ terms: [`role=${grant}`], limit: 10 })).items.length, 2)
  })

  test('of a credential at another target are not covered here', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    await serve(world, 'pay-db', 'pay', 'Database/payments')
    const watcher = await collector(world)
    const { role, credential, grant } = await issued(world)
    const observed = { target: 'pay-db' }
    const answers = await flows.reportActions(watcher, {
      items: [
        did('role', { role }),
        did('id', { credential }),
        did('grant', { grant }),
        did('label', { role, application: `writ ${grant}` }),
      ],
      observed,
    })
    assert.deepEqual(
      answers.map(({ status, grant: under }) => [status, under]),
      answers.map(() => ['unmatched', undefined]),
    )
    // nor is any of it in the record of the grant, whoever holds the key of that collector
    assert.deepEqual((await flows.grantRecord(world.ada, grant)).actions, [])
    const here = {
      items: [did('id', { credential }), did('grant', { grant })],
      observed: { target: 'orders-db' },
    }
    assert.deepEqual(
      (await flows.reportActions(watcher, here)).map(({ status, grant: under }) => [status, under]),
      [
        ['recorded', grant],
        ['recorded', grant],
      ],
    )
  })

  test('of a lifted account say that their link is only claimed, and its own work is nobody’s grant', async (t) => {
    t.mock.method(
      FakeTarget.prototype,
      'plan',
      function plan(this: FakeTarget, id: string, { role, label }: { role: string; label?: string }) {
        return {
          id,
          target: this.id,
          name: `fake_${id}`,
          shape: { shape: 'lift', account: 'svc', role, label: label ?? id },
        }
      },
    )
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const driver = FakeTarget.prototype as { carries?: (name: string) => boolean }
    driver.carries = (name) => name.startsWith('fake_')
    t.after(() => delete driver.carries)
    const watcher = await collector(world)
    const observed = { target: 'orders-db' }
    const svc = (id: string, more: Partial<ActionReport> = {}) => did(id, { role: 'svc', ...more })
    assert.equal(
      (await flows.reportActions(watcher, { items: [svc('idle')], observed }))[0]?.status,
      'ignored',
    )
    const one = await issued(world)
    const [timed, labelled, lying] = await flows.reportActions(watcher, {
      items: [
        svc('timed'),
        svc('labelled', { application: `writ ${one.grant}` }),
        svc('lying', { application: 'writ grant_00000000000000000000000000' }),
      ],
      observed,
    })
    assert.deepEqual([timed?.grant, labelled?.grant], [one.grant, one.grant])
    assert.equal(lying?.status, 'unmatched')
    const links = (await actionsIn(world)).map(({ link, claimed }) => [link, claimed])
    assert.deepEqual(links, [
      ['time', true],
      ['application_name', true],
      ['none', undefined],
    ])
    const other = await issued(world)
    const [either] = await flows.reportActions(watcher, { items: [svc('either')], observed })
    assert.deepEqual([either?.status, either?.grant], ['recorded', undefined])
    assert.deepEqual(
      ((await actionsIn(world)).at(-1) as { candidates: string[] }).candidates.toSorted(),
      [one.credential, other.credential].toSorted(),
    )
    // B33 whose grant it may have been sees that it may, and not whose else
    const seen = async (caller: Caller) =>
      (await flows.actions(caller, { credential: one.credential })).items[0]?.entry['candidates']
    assert.deepEqual(await seen(world.migrator), [one.credential])
    assert.deepEqual(await seen(world.ada), [one.credential, other.credential].toSorted())
  })
})

test('property: an action is covered exactly while its grant was, whatever is reported in which order', async () => {
  await using world = await faultWorld()
  const { flows } = world.app
  const { grant, task } = await activeGrant(world)
  const { startedAt } = (await flows.grant(world.migrator, grant)).grant
  world.clock.advance(3 * MINUTE)
  await flows.endTask(world.migrator, task, 'completed')
  const { endedAt } = (await flows.grant(world.migrator, grant)).grant
  assert.ok(endedAt !== undefined)
  world.clock.advance(10 * MINUTE)
  let n = 0
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: -MINUTE, max: 5 * MINUTE }), async (after) => {
      n += 1
      const at = startedAt + after
      const [answer] = await flows.reportActions(world.migrator, { items: [did(`p${n}`, { grant, at })] })
      const covered = at >= startedAt - 2 * SECOND && at <= endedAt + 2 * SECOND
      assert.equal(answer?.outside === undefined, covered, `${after}`)
    }),
    { numRuns: 60 },
  )
})
