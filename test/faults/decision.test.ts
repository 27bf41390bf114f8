import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Caller } from '../../src/flows/port.ts'
import { activeGrant, declare, migration, requestMigration, starterPolicies } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import {
  attempt,
  callerOf,
  entries,
  fails,
  faultWorld,
  interpose,
  keyFor,
  put,
  ref,
  sessionFor,
  tally,
  withPolicy,
} from './support.ts'

const read = attempt('Agent/migrator', 'read', 'Document/handbook')
const closed = starterPolicies().map(({ name, text }) => ({
  name,
  text: text.replaceAll('sensitivity <= 1', 'sensitivity <= 0'),
}))

describe('B12 one decision sees one version of policy', () => {
  test('a set that is swapped while an attempt is under way decides it whole', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const before = (await flows.policy(world.ada))?.version
    interpose(world, () => flows.publish(world.ada, { policies: closed }))
    const decision = await flows.evaluate(world.migrator, read)
    const after = (await flows.policy(world.ada))?.version
    assert.notEqual(before, after)
    assert.deepEqual([decision.outcome, decision.policy, decision.determining], ['deny', after, []])
    const entry = (await entries(world.app)).findLast((e) => e['id'] === decision.id)
    assert.equal(entry?.['policy'], after)
  })

  test('what never comes to rest is denied, not decided by half', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const set = (nth: number) =>
      withPolicy(`@id("p${nth}") permit (principal, action == Action::"other", resource);`)
    interpose(world, (nth) => flows.publish(world.ada, { policies: set(nth) }), 3)
    const decision = await flows.evaluate(world.migrator, read)
    assert.deepEqual([decision.outcome, decision.reason, decision.nextAction], ['deny', 'contended', 'retry'])
  })
})

describe('B14 whatever an attempt has read must still hold when it commits', () => {
  type Change = (
    world: FaultWorld,
    made: { task: string; approval: string; request: string; key: Caller },
  ) => Promise<unknown>
  const whole = { type: 'Agent', id: 'migrator', kind: 'agent' } as const
  const changes: Readonly<Record<string, Change>> = {
    'the resource becomes critical': (w) =>
      put(w, { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 4 }),
    'the subject leaves its group': (w) => put(w, { ...whole, parents: [] }),
    'the subject is locked': (w) =>
      w.app.flows.locks.lock(w.ada, { what: 'subject', about: 'Agent/migrator', reason: 'r' }),
    'the subject is deleted': (w) => w.app.flows.deleteEntity(w.ada, ref('Agent/migrator')),
    'the subject has ended': (w) =>
      put(w, {
        ...whole,
        owner: ref('Person/ada'),
        parents: [ref('Group/deployers')],
        endsAt: w.clock.wall(),
      }),
    'the key is revoked': (w, { key }) => w.app.flows.revokeKey(w.ada, key.id.slice(4)),
    'the task is cancelled': (w, { task }) => w.app.flows.endTask(w.migrator, task, 'cancelled'),
    'the task is revoked': (w, { task }) => w.app.flows.revokeTask(w.ada, task, 'r'),
    'the approval is spent': (w, { task, approval }) =>
      w.app.flows.evaluate(w.migrator, migration(task, { approval })),
    'the approver leaves the pool': (w) => put(w, { type: 'Person', id: 'grace', parents: [] }),
    'the approver is locked': (w) =>
      w.app.flows.locks.lock(w.ada, { what: 'subject', about: 'Person/grace', reason: 'r' }),
    'the approver is deleted': (w) => w.app.flows.deleteEntity(w.ada, ref('Person/grace')),
    'the approver becomes the owner': (w) =>
      put(w, { ...whole, owner: ref('Person/grace'), parents: [ref('Group/deployers')] }),
    'the owner is deleted': (w) => w.app.flows.deleteEntity(w.ada, ref('Person/eve')),
    'time passes activate_by': async (w) => w.clock.advance(15 * 60_000),
    'the clock is set back': async (w) => w.clock.rewind(5_000),
  }
  for (const [name, change] of Object.entries(changes)) {
    test(name, async () => {
      await using world = await faultWorld({ entities: [{ type: 'Person', id: 'eve' }] })
      const { flows } = world.app
      if (name.startsWith('the owner'))
        await put(world, { ...whole, owner: ref('Person/eve'), parents: [ref('Group/deployers')] })
      const task = await declare(world)
      const request = await requestMigration(world, task)
      const { approval = '' } = await flows.approve(world.grace, request.id, { statement: request.digest })
      const key = await keyFor(world, 'Agent/migrator')
      interpose(world, () => change(world, { task, approval, request: request.id, key }))
      const decision = await flows.evaluate(key, migration(task, { approval }))
      assert.notEqual(decision.outcome, 'permit')
      assert.deepEqual(
        (await flows.grants(world.ada, {})).items.filter((grant) => grant.caller === key.id),
        [],
      )
    })
  }
})

describe('B14 a grant that ends between analysis and commit carries nothing', () => {
  for (const name of ['revoked', 'expired', 'spent'] as const) {
    test(name, async () => {
      await using world = await faultWorld()
      const { flows } = world.app
      const { task, grant } = await activeGrant(world)
      interpose(world, async () => {
        if (name === 'revoked') await flows.revokeGrant(world.ada, grant, 'r')
        if (name === 'expired') world.clock.advance(10 * 60_000)
        if (name === 'spent') await flows.evaluate(world.migrator, migration(task))
      })
      const decision = await flows.evaluate(world.migrator, migration(task, { grant }))
      const reason = { revoked: 'grant_ended', expired: 'task_ended', spent: 'grant_spent' }[name]
      assert.deepEqual([decision.outcome, decision.reason], ['deny', reason])
    })
  }
})

describe('C3 ends are tested again by the clock of the commit', () => {
  const inAMoment = 10
  for (const what of ['key', 'subject', 'carrier'] as const) {
    test(`of the ${what}`, async () => {
      await using world = await faultWorld()
      const { flows } = world.app
      const { secret } = await flows.createKey(world.ada, {
        name: 'k',
        subject: ref('Service/orders-ci'),
        pep: { subjects: ['Agent'], attributes: {} },
        ...(what === 'key' ? { life: inAMoment } : {}),
      })
      const key = await callerOf(world.app, secret.expose())
      const endsAt = world.clock.wall() + inAMoment
      if (what === 'subject') await put(world, { type: 'Agent', id: 'migrator', kind: 'agent', endsAt })
      if (what === 'carrier') await put(world, { type: 'Service', id: 'orders-ci', kind: 'workload', endsAt })
      assert.equal((await flows.evaluate(key, read)).outcome, 'permit')
      interpose(world, async () => world.clock.advance(inAMoment))
      const late = await flows.evaluate(key, read)
      assert.deepEqual([late.outcome, late.reason], ['deny', 'subject_locked'])
    })
  }
})

describe('C6 absence never widens', () => {
  const policies = withPolicy(`
    @id("small") permit (principal, action == Action::"export", resource is Document) when { context has rows && context.rows < 100 };
    @id("never") forbid (principal, action == Action::"export", resource is Document) when { context has target && context.target == "public" };
  `)
  const ask = async (world: FaultWorld, context: Record<string, unknown>) => {
    const sent = {
      ...attempt('Agent/migrator', 'export', 'Document/handbook'),
      context: context as Record<string, never>,
    }
    return world.app.flows.evaluate(world.migrator, sent)
  }

  test('a context value that its type cannot hold is unknown, to permits and to forbids', async () => {
    await using world = await faultWorld({ policies })
    assert.equal((await ask(world, { rows: 5 })).outcome, 'permit')
    assert.equal((await ask(world, { rows: 5, target: 'internal' })).outcome, 'permit')
    assert.equal((await ask(world, { rows: 5, target: 'public' })).outcome, 'deny')
    for (const rows of ['5', 5.5, null, [5], { n: 5 }, true, 1e300]) {
      const decision = await ask(world, { rows })
      assert.equal(decision.outcome, 'deny', JSON.stringify(rows))
      assert.ok(
        decision.operator.unknown.includes('context.rows') || rows === null,
        JSON.stringify(decision.operator),
      )
    }
    for (const target of [5, true, ['public'], { a: 1 }]) {
      const decision = await ask(world, { rows: 5, target })
      assert.equal(decision.outcome, 'deny', JSON.stringify(target))
      assert.equal(
        decision.operator.errors.some((e) => e.policy === 'never'),
        true,
      )
    }
    assert.equal((await ask(world, {})).outcome, 'deny')
  })

  test('nobody but Writ fills live, proof and the properties of the action', async () => {
    await using world = await faultWorld({
      policies: withPolicy(`
        @id("p") permit (principal, action == Action::"wipe", resource is Document) when { context.proof.approvals.dba >= 1 };
        @id("q") permit (principal, action == Action::"dry", resource is Document)
          when { context has action_properties && context.action_properties has dry && context.action_properties.dry };
      `),
    })
    const { flows } = world.app
    const forged = { proof: { approvals: { dba: 9 }, justification: true }, live: { task: { id: 'x' } } }
    const wipe = { ...attempt('Agent/migrator', 'wipe', 'Document/handbook'), context: forged }
    const denied = await flows.evaluate(world.migrator, wipe)
    assert.notEqual(denied.outcome, 'permit')
    assert.deepEqual(denied.operator.dropped.filter((d) => d === 'proof' || d === 'live').sort(), [
      'live',
      'proof',
    ])

    const dry = attempt('Agent/migrator', 'dry', 'Document/handbook')
    const asContext = { ...dry, context: { action_properties: { dry: true } } }
    const smuggled = await flows.evaluate(world.migrator, asContext)
    assert.equal(smuggled.outcome, 'deny')
    assert.ok(smuggled.operator.dropped.includes('action_properties'))
    const said = { ...dry, action: { name: 'dry', properties: { dry: true } } }
    assert.equal((await flows.evaluate(world.migrator, said)).outcome, 'permit')
  })

  test('what nobody registered counts as critical, and a caller cannot say otherwise', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const unknown = attempt('Agent/migrator', 'read', 'Document/nowhere')
    assert.equal((await flows.evaluate(world.migrator, unknown)).outcome, 'deny')
    const claimed = {
      ...unknown,
      resource: { ...unknown.resource, properties: { sensitivity: 1, owner: 'Agent/migrator' } },
    }
    const trusted = await keyFor(world, 'Service/orders-ci', {
      subjects: ['*'],
      attributes: { Document: ['sensitivity', 'owner', 'parents', 'team'] },
    })
    for (const caller of [world.migrator, trusted]) {
      const decision = await flows.evaluate(caller, claimed)
      assert.equal(decision.outcome, 'deny')
      assert.ok(decision.operator.dropped.includes('resource.properties.sensitivity'))
    }
  })

  test('a claimed chain denies, and nobody speaks for another without being trusted to', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const acting = { ...read, subject: { ...read.subject, properties: { act: { sub: 'Agent/x' } } } }
    assert.equal((await flows.evaluate(world.migrator, acting)).reason, 'delegation')
    for (const subject of ['Person/ada', 'Service/orders-ci', 'Agent/other']) {
      const decision = await flows.evaluate(world.migrator, attempt(subject, 'read', 'Document/handbook'))
      assert.equal(decision.reason, 'forbidden_assertion')
    }
    const pep = await keyFor(world, 'Service/orders-ci', { subjects: ['Agent'], attributes: {} })
    assert.equal((await flows.evaluate(pep, read)).outcome, 'permit')
    const person = await flows.evaluate(pep, attempt('Person/ada', 'read', 'Document/handbook'))
    assert.equal(person.reason, 'forbidden_assertion')
  })

  test('B34 a subject that was deleted is nobody, not somebody unregistered', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const pep = await keyFor(world, 'Service/orders-ci', { subjects: ['Agent'], attributes: {} })
    assert.equal((await flows.evaluate(pep, read)).outcome, 'permit')
    await flows.deleteEntity(world.ada, ref('Agent/migrator'))
    assert.equal((await flows.evaluate(pep, read)).reason, 'subject_locked')
    assert.equal((await flows.evaluate(world.migrator, read)).reason, 'subject_locked')
    await flows.deleteEntity(world.ada, ref('Service/orders-ci'))
    assert.equal(
      (await flows.evaluate(pep, attempt('Agent/other', 'read', 'Document/handbook'))).reason,
      'subject_locked',
    )
  })

  test('Writ’s own verbs are permitted to a caller for itself alone', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const gateway = await keyFor(world, 'Service/orders-ci', { subjects: ['*'], attributes: {} })
    const asAda = await flows.evaluate(
      gateway,
      attempt('Person/ada', 'Writ::administer', 'Writ::System/writ'),
    )
    assert.equal(asAda.outcome, 'permit') // as anybody it may speak for; it is only an answer
    await fails(flows.putEntities(gateway, [{ type: 'Document', id: 'x' }]), 'ERR_FORBIDDEN')
    await fails(flows.publish(gateway, { policies: starterPolicies() }), 'ERR_FORBIDDEN')
    await fails(
      flows.locks.lock(gateway, { what: 'subject', about: 'Person/grace', reason: 'r' }),
      'ERR_FORBIDDEN',
    )
  })
})

describe('B32 counters are tested and spent in log order', () => {
  const history = withPolicy(`
    @id("few") permit (principal, action == Action::"call", resource is Document)
      when { context.live has history && context.live.history.calls < 10 };
  `)
  const many = async (world: FaultWorld, tasks: readonly string[], action: string, count: number) =>
    tally(
      await Promise.all(
        Array.from({ length: count }, (_, i) => {
          const task = tasks[i % tasks.length] ?? ''
          return world.app.flows.evaluate(
            world.migrator,
            attempt('Agent/migrator', action, 'Document/handbook', { task }),
          )
        }),
      ),
    )
  const scope = (...actions: string[]) => ({ scope: { actions, resources: [ref('Document/handbook')] } })

  test('500 parallel calls on a budget of 10 are exactly 10 permits, none contended', async () => {
    await using world = await faultWorld()
    const task = await declare(world, { ...scope('read'), limits: { calls: 10 } })
    assert.deepEqual(await many(world, [task], 'read', 500), { permit: 10, 'deny task_limit': 490 })
    const state = await world.app.flows.task(world.migrator, task)
    assert.deepEqual([state.task.calls, state.task.denials], [10, 490])
  })

  test('also when a policy reads the history', async () => {
    await using world = await faultWorld({ policies: history })
    const task = await declare(world, scope('call'))
    assert.deepEqual(await many(world, [task], 'call', 500), { permit: 10, 'deny policy_denied': 490 })
  })

  test('also when the budget is that of a parent, and children spend it', async () => {
    await using world = await faultWorld()
    const parent = await declare(world, { ...scope('read'), limits: { calls: 10 } })
    const children = [
      await declare(world, { ...scope('read'), parent }),
      await declare(world, { ...scope('read'), parent, limits: { calls: 7 } }),
    ]
    assert.deepEqual(await many(world, children, 'read', 60), { permit: 10, 'deny task_limit': 50 })
  })

  test('also when children spend while a policy reads the history of their parent', async () => {
    await using world = await faultWorld({ policies: history })
    const parent = await declare(world, scope('read', 'call'))
    const child = await declare(world, { ...scope('read'), parent })
    const [below, above] = await Promise.all([
      many(world, [child], 'read', 40),
      many(world, [parent], 'call', 40),
    ])
    assert.deepEqual(below, { permit: 40 })
    assert.equal(above['deny contended'], undefined)
    assert.ok((above['permit'] ?? 0) <= 10)
  })

  test('N parallel uses of a k-use grant are exactly k permits', async () => {
    await using world = await faultWorld({
      policies: withPolicy(`
        @id("call") @uses("7") @binding("task") permit (principal, action == Action::"call", resource is Database)
          when { context.proof.approvals.dba >= 1 };
      `),
    })
    const { flows } = world.app
    const task = await declare(world, { scope: { actions: ['call'], resources: [ref('Database/orders')] } })
    const call = attempt('Agent/migrator', 'call', 'Database/orders', { task })
    const approvals = await Promise.all(
      ['one', 'two'].map(async (justification) => {
        const { id, requestableUntil = 0 } = await flows.evaluate(world.migrator, call)
        const denial = { evaluationId: id, expiresAt: requestableUntil }
        const request = await flows.submit(world.migrator, { ...call, denial, justification })
        return (await flows.approve(world.grace, request.id, { statement: request.digest })).approval ?? ''
      }),
    )
    const [first = '', second = ''] = approvals
    const one = await flows.activate(world.migrator, { ...call, context: { task, approval: first } })
    const counts = tally(
      await Promise.all(Array.from({ length: 60 }, () => flows.evaluate(world.migrator, call))),
    )
    assert.deepEqual(counts, { permit: 7, 'challenge evidence_required': 53 })
    assert.equal((await flows.grant(world.migrator, one.grant?.id ?? '')).grant.used, 7)

    // two grants are two times k, although all look at the same one first
    const spent = await flows.activate(world.migrator, { ...call, context: { task, approval: second } })
    assert.notEqual(spent.grant?.id, one.grant?.id)
    const more = tally(
      await Promise.all(Array.from({ length: 60 }, () => flows.evaluate(world.migrator, call))),
    )
    assert.deepEqual(more, { permit: 7, 'challenge evidence_required': 53 })
  })
})

describe('the challenge a requester sees', () => {
  test('is hidden by a forbid unless it says @explain, and looks like any other deny', async () => {
    const forbid = (more: string) =>
      withPolicy(
        `@id("freeze") ${more} forbid (principal, action == Action::"db:migrate", resource is Database) when { resource has frozen && resource.frozen && context.proof.approvals.dba < 2 };`,
      )
    for (const [annotation, outcome] of [
      ['', 'deny'],
      ['@explain', 'challenge'],
    ] as const) {
      await using world = await faultWorld({
        policies: forbid(annotation),
        entities: [{ type: 'Database', id: 'other', attrs: { frozen: false } }],
      })
      await put(world, {
        type: 'Database',
        id: 'orders',
        kind: 'resource',
        sensitivity: 3,
        attrs: { frozen: true },
      })
      const decision = await world.app.flows.evaluate(world.migrator, migration(await declare(world)))
      assert.equal(decision.outcome, outcome)
      if (outcome === 'deny') {
        const plain = await world.app.flows.evaluate(
          world.migrator,
          attempt('Agent/migrator', 'read', 'Database/orders'),
        )
        const seen = ({ reason, alternatives, truncated, nextAction }: typeof decision) => ({
          reason,
          alternatives,
          truncated,
          nextAction,
        })
        assert.deepEqual(seen(decision), seen(plain))
      } else {
        assert.deepEqual(
          decision.alternatives.map((s) => s.requirements),
          [[{ kind: 'approval', pool: 'dba', count: 2 }]],
        )
      }
    }
  })

  test('offers nothing that nobody independent could give', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    await put(
      world,
      { type: 'Person', id: 'grace', parents: [] },
      { type: 'Person', id: 'hedy', parents: [] },
      { type: 'Person', id: 'ada', parents: [ref('Group/administrators'), ref('Group/dba')] },
    )
    const task = await declare(world)
    assert.equal((await flows.evaluate(world.migrator, migration(task))).outcome, 'deny')
    await sessionFor(world, 'alan', ['Group/dba'])
    assert.equal((await flows.evaluate(world.migrator, migration(task))).outcome, 'challenge')
    // and what time alone changes is noticed too
    const until = world.clock.wall() + 60_000
    await flows.locks.lock(world.ada, { what: 'subject', about: 'Person/alan', reason: 'r', until })
    assert.equal((await flows.evaluate(world.migrator, migration(task))).outcome, 'deny')
    world.clock.set(until)
    assert.equal((await flows.evaluate(world.migrator, migration(task))).outcome, 'challenge')
    await put(world, { type: 'Person', id: 'alan', endsAt: until + 60_000 })
    assert.equal((await flows.evaluate(world.migrator, migration(task))).outcome, 'challenge')
    world.clock.advance(60_000)
    assert.equal((await flows.evaluate(world.migrator, migration(task))).outcome, 'deny')
  })
})
