import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { AttemptInput, Caller } from '../../src/flows/port.ts'
import type { AccessRequest } from '../../src/model/request.ts'
import { MAX_PENDING } from '../../src/flows/requests.ts'
import { MINUTE } from '../../src/model/time.ts'
import { activeGrant, declare, migration, requestMigration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import {
  attempt,
  entries,
  fails,
  faultWorld,
  keyFor,
  put,
  ref,
  sessionFor,
  settle,
  withPolicy,
} from './support.ts'

/** Evaluates as `caller`, is challenged, and submits. */
async function ask(
  world: FaultWorld,
  caller: Caller,
  input: AttemptInput,
  justification?: string,
): Promise<AccessRequest> {
  const decision = await world.app.flows.evaluate(caller, input)
  assert.equal(decision.outcome, 'challenge', decision.reason)
  return world.app.flows.submit(caller, {
    ...input,
    denial: { evaluationId: decision.id, expiresAt: decision.requestableUntil ?? 0 },
    ...(justification === undefined ? {} : { justification }),
  })
}

const approve = (
  world: FaultWorld,
  person: Caller,
  request: AccessRequest,
  pool?: string,
): Promise<AccessRequest> =>
  world.app.flows.approve(person, request.id, {
    statement: request.digest,
    ...(pool === undefined ? {} : { pool }),
  })

const deployers = { parents: [ref('Group/deployers')] }

describe('B18 nobody approves what they asked for, own, or stand behind', () => {
  // ada is in the pool too, and so has only separation against her
  const dba = { type: 'Person', id: 'ada', parents: [ref('Group/administrators'), ref('Group/dba')] }
  const cases: Readonly<Record<string, readonly Parameters<typeof put>[1][]>> = {
    'its own agent': [{ type: 'Agent', id: 'x', ...deployers, owner: ref('Person/ada') }],
    'the agent of its agent': [
      { type: 'Agent', id: 'y', owner: ref('Person/ada') },
      { type: 'Agent', id: 'x', ...deployers, owner: ref('Agent/y') },
    ],
    'the agent of a group it is in': [{ type: 'Agent', id: 'x', ...deployers, owner: ref('Group/pair') }],
    'the agent of a team it is in, through another group': [
      { type: 'Agent', id: 'x', ...deployers, team: ref('Group/outer') },
    ],
  }
  for (const [name, agents] of Object.entries(cases)) {
    test(name, async () => {
      await using world = await faultWorld()
      await put(
        world,
        { ...dba, parents: [...dba.parents, ref('Group/pair')] },
        { type: 'Group', id: 'pair', parents: [ref('Group/outer')] },
        ...agents,
      )
      const agent = await keyFor(world, 'Agent/x')
      const request = await ask(
        world,
        agent,
        attempt('Agent/x', 'db:migrate', 'Database/orders', { task: await taskOf(world, agent) }),
      )
      assert.ok(request.roots.includes('Person/ada'))
      await fails(approve(world, world.ada, request), 'ERR_FORBIDDEN')
      assert.equal((await approve(world, world.grace, request)).status, 'approved')
    })
  }

  async function taskOf(world: FaultWorld, caller: Caller): Promise<string> {
    const scope = { actions: ['db:migrate'], resources: [ref('Database/orders')] }
    return (await world.app.flows.declareTask(caller, { purpose: 'p', reason: 'r', scope })).id
  }

  test('what it asked for itself', async () => {
    await using world = await faultWorld()
    await put(world, { type: 'Person', id: 'grace', parents: [ref('Group/dba'), ref('Group/deployers')] })
    const task = await taskOf(world, world.grace)
    const request = await ask(
      world,
      world.grace,
      attempt('Person/grace', 'db:migrate', 'Database/orders', { task }),
    )
    await fails(approve(world, world.grace, request), 'ERR_FORBIDDEN')
    assert.equal((await approve(world, world.hedy, request)).status, 'approved')
  })

  test('a request behind which somebody cannot be named takes no approval at all', async () => {
    await using world = await faultWorld()
    await put(world, { type: 'Agent', id: 'x', ...deployers })
    const agent = await keyFor(world, 'Agent/x')
    const task = await taskOf(world, agent)
    const decision = await world.app.flows.evaluate(
      agent,
      attempt('Agent/x', 'db:migrate', 'Database/orders', { task }),
    )
    assert.equal(decision.outcome, 'deny')
    // known when asked, no longer when it is approved and used
    await put(world, { type: 'Agent', id: 'x', ...deployers, owner: ref('Person/ada') })
    const request = await ask(world, agent, attempt('Agent/x', 'db:migrate', 'Database/orders', { task }))
    const { approval = '' } = await approve(world, world.grace, request)
    await put(world, { type: 'Agent', id: 'x', owner: null })
    const tried = await world.app.flows.evaluate(
      agent,
      attempt('Agent/x', 'db:migrate', 'Database/orders', { task, approval }),
    )
    assert.notEqual(tried.outcome, 'permit')
  })

  test('a carrying enforcement point is no instigator, its declared task makes whoever owns it one', async () => {
    await using world = await faultWorld()
    await put(
      world,
      { type: 'Person', id: 'ada', parents: [ref('Group/administrators'), ref('Group/dba')] },
      { type: 'Agent', id: 'x', ...deployers, owner: ref('Person/grace') },
    )
    // ada owns the gateway that carries what grace's agent asks
    const gateway = await keyFor(world, 'Service/orders-ci', { subjects: ['Agent'], attributes: {} })
    const scope = { actions: ['db:migrate'], resources: [ref('Database/orders')] }
    const { id: task } = await world.app.flows.declareTask(gateway, {
      purpose: 'p',
      reason: 'r',
      scope,
      subject: ref('Agent/x'),
    })
    const input = attempt('Agent/x', 'db:migrate', 'Database/orders', { task })
    const request = await ask(world, gateway, input)
    assert.deepEqual(request.roots, ['Person/grace'])
    await fails(approve(world, world.grace, request), 'ERR_FORBIDDEN')
    const { approval = '' } = await approve(world, world.ada, request)
    // asked by the agent itself, the task's declarer stands behind it: ada's approval counts no more
    const agent = await keyFor(world, 'Agent/x')
    const tried = await world.app.flows.evaluate(agent, { ...input, context: { task, approval } })
    assert.notEqual(tried.outcome, 'permit')
  })

  test('one human is counted once, whatever pools they are in', async () => {
    await using world = await faultWorld({
      policies: withPolicy(`
        @id("both") @binding("attempt") permit (principal in Group::"deployers", action == Action::"drop", resource is Database)
          when { context.proof.approvals.dba >= 1 && context.proof.approvals.security >= 1 };
        @id("security") permit (principal in Group::"security", action == Writ::Action::"approve", resource is Database)
          when { context.pool == "security" };
      `),
      entities: [{ type: 'Group', id: 'security' }],
    })
    await put(world, { type: 'Person', id: 'grace', parents: [ref('Group/dba'), ref('Group/security')] })
    const request = await ask(world, world.migrator, attempt('Agent/migrator', 'drop', 'Database/orders'))
    assert.equal((await approve(world, world.grace, request, 'dba')).status, 'pending')
    await fails(approve(world, world.grace, request, 'security'), 'ERR_CONFLICT')
    await fails(approve(world, world.hedy, request, 'security'), 'ERR_FORBIDDEN')
    const lise = await sessionFor(world, 'lise', ['Group/security'])
    const { approval = '' } = await approve(world, lise, request)
    const used = await world.app.flows.evaluate(
      world.migrator,
      attempt('Agent/migrator', 'drop', 'Database/orders', { approval }),
    )
    assert.equal(used.outcome, 'permit')
  })

  test('no key, no token and no carried person approves or denies', async () => {
    await using world = await faultWorld()
    const request = await requestMigration(world, await declare(world))
    await put(world, {
      type: 'Service',
      id: 'bot',
      kind: 'workload',
      owner: ref('Person/grace'),
      parents: [ref('Group/dba')],
    })
    const bot = await keyFor(world, 'Service/bot', { subjects: ['*'], attributes: {} })
    const posing: Caller = { ...bot, subject: ref('Person/grace') }
    const token: Caller = {
      id: 'issuer:x:grace',
      kind: 'issuer',
      subject: ref('Person/grace'),
      generation: 0,
    }
    for (const caller of [bot, posing, token, world.migrator]) {
      await fails(approve(world, caller, request), 'ERR_FORBIDDEN')
      const denied = world.app.flows.denyRequest(caller, request.id, { statement: request.digest })
      await fails(denied, 'ERR_FORBIDDEN')
    }
  })
})

describe('B19 an approval is for exactly what was shown', () => {
  test('C10 anything that differs at activation is out of scope', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const task = await declare(world, {
      scope: { actions: ['db:migrate', 'read'], resources: [{ type: 'Database' }] },
    })
    const base = migration(task, { version: '7' })
    const request = await ask(world, world.migrator, base)
    const { approval = '' } = await approve(world, world.grace, request)
    const other = await declare(world)
    const edited: Readonly<Record<string, AttemptInput>> = {
      resource: { ...base, resource: ref('Database/payments') },
      'properties of the resource': { ...base, resource: { ...base.resource, properties: { stage: 'dev' } } },
      'properties of the action': { ...base, action: { name: 'db:migrate', properties: { drop: true } } },
      'properties of the subject': { ...base, subject: { ...base.subject, properties: { on_call: true } } },
      'a value of the context': migration(task, { version: '8' }),
      'more context': migration(task, { version: '7', dry: 'no' }),
      'less context': migration(task),
      'another task': migration(other, { version: '7' }),
    }
    for (const [what, input] of Object.entries(edited)) {
      const tried = await flows.evaluate(world.migrator, {
        ...input,
        context: { ...input.context, approval },
      })
      assert.notEqual(tried.outcome, 'permit', what)
      assert.equal(tried.reason, 'out_of_scope', what)
    }
    const right = await flows.evaluate(
      world.migrator,
      migration(task, { version: '7', approval, reason: 'said again' }),
    )
    assert.equal(right.outcome, 'permit')
  })

  test('the approver signs the digest that was displayed, and what is submitted is what was denied', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const task = await declare(world)
    const request = await requestMigration(world, task)
    await fails(flows.approve(world.grace, request.id, { statement: 'sha256:other' }), 'ERR_CONFLICT')
    await fails(flows.denyRequest(world.grace, request.id, { statement: 'sha256:other' }), 'ERR_CONFLICT')
    const decision = await flows.evaluate(world.migrator, migration(task))
    const denial = { evaluationId: decision.id, expiresAt: 0 }
    for (const input of [
      { ...migration(task), resource: ref('Database/payments') },
      migration(undefined),
      migration(await declare(world)),
    ]) {
      const error = await fails(flows.submit(world.migrator, { ...input, denial }), 'ERR_INPUT_INVALID')
      assert.equal(error.problem, 'invalid_denial_binding')
    }
    // what is added to the context binds nothing and is nowhere in what is asked
    const added = await flows.submit(world.migrator, { ...migration(task, { x: 'y' }), denial })
    assert.deepEqual([added.id, added.digest, added.attempt.context], [request.id, request.digest, {}])
    // a request that carries more than was denied shows more than was denied: another statement, another answer
    const more = await flows.submit(world.migrator, {
      ...migration(task),
      denial,
      justification: 'harmless, really',
    })
    assert.notEqual(more.digest, request.digest)
    await approve(world, world.grace, request)
    assert.equal((await flows.request(world.migrator, more.id)).status, 'pending')
  })

  test('B69 a denial that is too long for its entry can be asked about, and be seen by whom it is about', async () => {
    await using world = await faultWorld()
    const long = Object.fromEntries(Array.from({ length: 550 }, (_, n) => [`k${n}`, 'v'.repeat(15)]))
    const { subject, action, resource, context } = migration(await declare(world))
    const input: AttemptInput = {
      subject: { ...subject, properties: long },
      action: { ...action, properties: long },
      resource: { ...resource, properties: long },
      ...(context === undefined ? {} : { context: { ...context, ...long } }),
    }
    const { flows } = world.app
    const decision = await flows.evaluate(world.migrator, input)
    const [kept] = (await entries(world.app)).filter(({ id }) => id === decision.id)
    assert.deepEqual(kept?.['cut'], ['/attempt'])
    const { status } = await flows.submit(world.migrator, {
      ...input,
      denial: { evaluationId: decision.id, expiresAt: decision.requestableUntil ?? 0 },
    })
    assert.equal(status, 'pending')
    const other = await keyFor(world, 'Agent/migrator')
    const seen = (await flows.decision(other, decision.id)) as { attempt?: { subject?: unknown } }
    assert.deepEqual(seen.attempt?.subject, input.subject)
  })

  test('an old denial, a plain one and somebody else’s cannot be asked about', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const task = await declare(world)
    const decision = await flows.evaluate(world.migrator, migration(task))
    const plain = await flows.evaluate(world.migrator, attempt('Agent/migrator', 'read', 'Database/orders'))
    const submit = (caller: Caller, id: string, input = migration(task)) =>
      flows.submit(caller, { ...input, denial: { evaluationId: id, expiresAt: Number.MAX_SAFE_INTEGER } })
    const other = await keyFor(world, 'Service/orders-ci')
    assert.equal(
      (await fails(submit(other, decision.id), 'ERR_INPUT_INVALID')).problem,
      'invalid_denial_binding',
    )
    assert.equal(
      (
        await fails(
          submit(world.migrator, plain.id, attempt('Agent/migrator', 'read', 'Database/orders')),
          'ERR_INPUT_INVALID',
        )
      ).problem,
      'not_requestable',
    )
    world.clock.advance(10 * MINUTE)
    assert.equal((await fails(submit(world.migrator, decision.id), 'ERR_CONFLICT')).problem, 'expired_denial')
  })
})

describe('B20 an approval is spent once, by whom it was for, while its giver is eligible', () => {
  test('C9 parallel activations of one approval make one grant', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const task = await declare(world)
    const request = await requestMigration(world, task)
    const { approval = '' } = await approve(world, world.grace, request)
    const all = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        i % 2 === 0
          ? flows.activate(world.migrator, migration(task, { approval }))
          : flows.evaluate(world.migrator, migration(task, { approval })),
      ),
    )
    assert.ok(all.length > 0)
    const { items } = await flows.grants(world.migrator, { task })
    assert.equal(items.length, 1)
    assert.equal(items[0]?.used, 1)
    const activated = (await entries(world.app)).filter((e) => e['kind'] === 'grant.activated')
    assert.equal(activated.length, 1)
    // and nothing is left of it later
    const late = await flows.evaluate(world.migrator, migration(task, { approval }))
    assert.deepEqual([late.outcome, late.reason], ['challenge', 'approval_expired'])
  })

  test('nobody else comes back with it', async () => {
    await using world = await faultWorld()
    const task = await declare(world)
    const request = await requestMigration(world, task)
    const { approval = '' } = await approve(world, world.grace, request)
    const other = await keyFor(world, 'Service/orders-ci')
    const stolen = await world.app.flows.evaluate(
      other,
      attempt('Service/orders-ci', 'db:migrate', 'Database/orders', { approval }),
    )
    assert.equal(stolen.reason, 'approval_unverifiable')
    const gateway = await keyFor(world, 'Service/orders-ci', { subjects: ['Agent'], attributes: {} })
    assert.equal(
      (await world.app.flows.evaluate(gateway, migration(task, { approval }))).reason,
      'approval_unverifiable',
    )
    const unknown = await world.app.flows.evaluate(
      other,
      attempt('Service/orders-ci', 'db:migrate', 'Database/orders', { approval: 'appr_none' }),
    )
    assert.equal(unknown.reason, 'approval_unverifiable')
  })

  for (const [name, change] of Object.entries({
    'left the pool': (w: FaultWorld) => put(w, { type: 'Person', id: 'grace', parents: [] }),
    'was locked': (w: FaultWorld) =>
      w.app.flows.locks.lock(w.ada, { what: 'subject', about: 'Person/grace', reason: 'r' }),
    'was deleted': (w: FaultWorld) => w.app.flows.deleteEntity(w.ada, ref('Person/grace')),
    'was deleted and made again': async (w: FaultWorld) => {
      await w.app.flows.deleteEntity(w.ada, ref('Person/grace'))
      await put(w, { type: 'Person', id: 'grace', parents: [ref('Group/dba')] })
    },
    'became the owner': (w: FaultWorld) =>
      put(w, { type: 'Agent', id: 'migrator', kind: 'agent', ...deployers, owner: ref('Person/grace') }),
  })) {
    test(`a giver who ${name} before activation does not count`, async () => {
      await using world = await faultWorld()
      const task = await declare(world)
      const { approval = '' } = await approve(world, world.grace, await requestMigration(world, task))
      await change(world)
      const late = await world.app.flows.evaluate(world.migrator, migration(task, { approval }))
      assert.notEqual(late.outcome, 'permit')
      assert.equal(late.reason, 'approval_expired')
    })
  }

  test('B34 nor does an approval for an earlier one of the same name, or from before it was locked', async () => {
    const policies = withPolicy(`
      @id("drop") permit (principal is Agent, action == Action::"drop", resource is Database) when { context.proof.approvals.dba >= 1 };
    `)
    for (const again of ['made again', 'locked for a minute'] as const) {
      await using world = await faultWorld({ policies })
      const { flows } = world.app
      const drop = attempt('Agent/migrator', 'drop', 'Database/orders')
      const { approval = '' } = await approve(world, world.grace, await ask(world, world.migrator, drop))
      const pending = await ask(world, world.migrator, { ...drop, resource: ref('Database/payments') })
      let agent = world.migrator
      if (again === 'made again') {
        await flows.deleteEntity(world.ada, ref('Agent/migrator'))
        await put(world, {
          type: 'Agent',
          id: 'migrator',
          kind: 'agent',
          ...deployers,
          owner: ref('Person/ada'),
        })
        agent = await keyFor(world, 'Agent/migrator')
      } else {
        await flows.locks.lock(world.ada, {
          what: 'subject',
          about: 'Agent/migrator',
          reason: 'r',
          until: world.clock.wall() + MINUTE,
        })
        world.clock.advance(MINUTE)
      }
      const tried = await flows.evaluate(agent, { ...drop, context: { approval } })
      assert.deepEqual([tried.outcome, tried.reason], ['challenge', 'approval_expired'], again)
      assert.equal((await flows.request(world.ada, pending.id)).status, 'cancelled', again)
    }
  })

  test('one denial ends it for good', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const request = await ask(world, world.migrator, {
      ...migration(
        await declare(world, { scope: { actions: ['db:migrate'], resources: [{ type: 'Database' }] } }),
      ),
      resource: ref('Database/payments'),
    })
    assert.equal((await approve(world, world.grace, request)).status, 'pending')
    assert.equal(
      (await flows.denyRequest(world.hedy, request.id, { statement: request.digest, reason: 'no' })).status,
      'denied',
    )
    const alan = await sessionFor(world, 'alan', ['Group/dba'])
    await fails(approve(world, alan, request), 'ERR_CONFLICT')
    await fails(flows.denyRequest(alan, request.id, { statement: request.digest }), 'ERR_CONFLICT')
  })

  test('what nobody answered in time is over, before and after it is swept up', async () => {
    await using world = await faultWorld()
    const request = await requestMigration(world, await declare(world))
    world.clock.advance(15 * MINUTE)
    await fails(approve(world, world.grace, request), 'ERR_CONFLICT')
    await settle(world.app)
    assert.equal((await world.app.flows.request(world.migrator, request.id)).status, 'expired')
    await fails(approve(world, world.grace, request), 'ERR_CONFLICT')
  })
})

describe('B21 evidence never reaches further than its parts', () => {
  const policies = withPolicy(`
    @id("deploy") @binding("task") permit (principal in Group::"deployers", action == Action::"deploy", resource is Database)
      when { context.proof.approvals.dba >= 1 };
    @id("purge") @binding("task") @uses("1") @ttl("1m") permit (principal in Group::"deployers", action == Action::"purge", resource is Database)
      when { context.proof.approvals.dba >= 1 };
    @id("drop") permit (principal in Group::"deployers", action == Action::"drop", resource is Database)
      when { context.proof.approvals.dba >= 1 };
    @id("orders-only") permit (principal == Person::"lise", action == Writ::Action::"approve", resource == Database::"orders")
      when { context.pool == "dba" };
    @id("deploy-only") permit (principal == Person::"emmy", action == Writ::Action::"approve", resource is Database)
      when { context.pool == "dba" && context.action == "deploy" };
  `)
  const entities = [
    { type: 'Person', id: 'lise' },
    { type: 'Person', id: 'emmy' },
  ]
  const scope = { actions: ['deploy', 'purge', 'drop'], resources: [{ type: 'Database' }] }
  const on = (
    task: string,
    action: string,
    resource = 'Database/orders',
    more: Record<string, string> = {},
  ) => attempt('Agent/migrator', action, resource, { task, ...more })

  async function granted(world: FaultWorld, giver: Caller): Promise<string> {
    const task = await declare(world, { scope })
    const { approval = '' } = await approve(
      world,
      giver,
      await ask(world, world.migrator, on(task, 'deploy')),
    )
    const { grant } = await world.app.flows.activate(
      world.migrator,
      on(task, 'deploy', 'Database/orders', { approval }),
    )
    assert.equal(grant?.binding, 'task')
    return task
  }
  const outcome = async (world: FaultWorld, input: AttemptInput) =>
    (await world.app.flows.evaluate(world.migrator, input)).outcome

  test('a task-bound grant serves the task it was shown for, within its scope, and nothing that binds to the attempt', async () => {
    await using world = await faultWorld({
      policies,
      entities,
    })
    const task = await granted(world, world.grace)
    assert.equal(await outcome(world, on(task, 'deploy')), 'permit')
    assert.equal(await outcome(world, on(task, 'deploy', 'Database/payments')), 'permit')
    assert.equal(await outcome(world, on(task, 'drop')), 'challenge')
    assert.equal(await outcome(world, on(await declare(world, { scope }), 'deploy')), 'challenge')
    assert.equal(await outcome(world, attempt('Agent/migrator', 'deploy', 'Database/orders')), 'challenge')
  })

  test('it counts only givers who may give evidence for what is attempted', async () => {
    for (const [id, elsewhere] of [
      ['lise', ['deploy', 'Database/payments']],
      ['emmy', ['purge', 'Database/orders']],
    ] as const) {
      await using world = await faultWorld({
        policies,
        entities,
      })
      const task = await granted(world, await sessionFor(world, id))
      assert.equal(await outcome(world, on(task, 'deploy')), 'permit')
      assert.equal(await outcome(world, on(task, elsewhere[0], elsewhere[1])), 'challenge', id)
    }
  })

  test('stricter obligations of what is attempted hold although the grant was given under milder ones', async () => {
    await using world = await faultWorld({
      policies,
      entities,
    })
    const task = await granted(world, world.grace)
    const purges = await Promise.all(Array.from({ length: 5 }, () => outcome(world, on(task, 'purge'))))
    assert.equal(purges.filter((o) => o === 'permit').length, 1)
    assert.equal(await outcome(world, on(task, 'deploy')), 'permit')
    const other = await granted(world, world.grace)
    for (let i = 0; i < 5; i += 1) {
      world.clock.advance(12_000)
      await world.app.flows.heartbeat(world.migrator, other)
    }
    assert.equal(await outcome(world, on(other, 'purge')), 'challenge')
    assert.equal(await outcome(world, on(other, 'deploy')), 'permit')
  })
})

describe('B25 approvers are not flooded', () => {
  test('identical asks are one, and a requester has a bounded number of others', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const task = await declare(world)
    const first = await requestMigration(world, task)
    for (let i = 0; i < 5; i += 1) assert.equal((await requestMigration(world, task)).id, first.id)
    assert.equal((await flows.requests(world.grace, { pending: true })).items.length, 1)
    assert.equal((await flows.request(world.grace, first.id)).merged, 5)
    for (let i = 1; i < MAX_PENDING; i += 1) await ask(world, world.migrator, migration(task), `reason ${i}`)
    const decision = await flows.evaluate(world.migrator, migration(task))
    const denial = { evaluationId: decision.id, expiresAt: 0 }
    await fails(
      flows.submit(world.migrator, { ...migration(task), denial, justification: 'one more' }),
      'ERR_RATE_LIMITED',
    )
    // parallel asks do not slip past, and room comes back with an answer
    await flows.cancelRequest(world.migrator, first.id)
    const more = await Promise.allSettled(
      Array.from({ length: 10 }, (_, i) =>
        flows.submit(world.migrator, { ...migration(task), denial, justification: `more ${i}` }),
      ),
    )
    assert.equal(more.filter(({ status }) => status === 'fulfilled').length, 1)
  })

  test('a task that has ended is not asked about', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const task = await declare(world)
    const decision = await flows.evaluate(world.migrator, migration(task))
    await flows.endTask(world.migrator, task, 'completed')
    const denial = { evaluationId: decision.id, expiresAt: 0 }
    const error = await fails(flows.submit(world.migrator, { ...migration(task), denial }), 'ERR_CONFLICT')
    assert.match(error.message, /has ended/)
  })
})

describe('C3 waiting never eats authority', () => {
  test('ask, disconnect, be approved a minute later, come back after a restart, run', async () => {
    await using world = await faultWorld()
    const task = await declare(world)
    const request = await requestMigration(world, task)
    world.clock.advance(14 * MINUTE)
    await settle(world.app)
    const { approval = '' } = await approve(world, world.grace, request)
    const again = await world.restart()
    world.clock.advance(14 * MINUTE)
    await settle(again.app)
    const { grant, decision } = await again.app.flows.activate(again.migrator, migration(task, { approval }))
    assert.equal(decision.outcome, 'permit')
    assert.equal(grant?.endsAt, world.clock.wall() + 10 * MINUTE)
    const { task: open } = await again.app.flows.task(again.migrator, task)
    assert.deepEqual([open.state, open.endsAt], ['open', world.clock.wall() + 30 * MINUTE])
    await again.app.stop()
  })

  test('B28 waiting below keeps what is above waiting', async () => {
    await using world = await faultWorld()
    const parent = await declare(world)
    const task = await declare(world, { parent })
    world.clock.advance(10 * MINUTE)
    const request = await requestMigration(world, task)
    world.clock.advance(14 * MINUTE)
    await settle(world.app)
    const { approval = '' } = await approve(world, world.grace, request)
    world.clock.advance(14 * MINUTE)
    await settle(world.app)
    const decision = await world.app.flows.evaluate(world.migrator, migration(task, { approval }))
    assert.equal(decision.outcome, 'permit')
  })

  test('evidence may be asked for before a window opens; it activates from there on, and not after it closes', async () => {
    for (const [after, outcome] of [
      [0, 'permit'],
      [14, 'permit'],
      [15, 'challenge'],
      [60, 'deny'],
    ] as const) {
      await using world = await faultWorld()
      const startsAt = world.clock.wall() + 60 * MINUTE
      const parent = await declare(world, { window: { startsAt, endsAt: startsAt + 60 * MINUTE } })
      const task = await declare(world, { parent })
      const request = await requestMigration(world, task)
      const { approval = '', activateBy } = await approve(world, world.grace, request)
      assert.equal(activateBy, startsAt + 15 * MINUTE)
      const early = await world.app.flows.evaluate(world.migrator, migration(task, { approval }))
      assert.deepEqual(
        [early.outcome, early.reason, early.nextAction, early.retryAfter],
        ['deny', 'task_scope', 'retry', 3600],
      )
      world.clock.set(startsAt + after * MINUTE)
      const decision = await world.app.flows.evaluate(world.migrator, migration(task, { approval }))
      assert.equal(decision.outcome, outcome, String(after))
    }
  })

  test('nothing is permitted before a window, with or without evidence', async () => {
    await using world = await faultWorld()
    const startsAt = world.clock.wall() + 60 * MINUTE
    const scope = { actions: ['read'], resources: [ref('Document/handbook')] }
    const task = await declare(world, { scope, window: { startsAt, endsAt: startsAt + MINUTE } })
    const read = attempt('Agent/migrator', 'read', 'Document/handbook', { task })
    assert.equal((await world.app.flows.evaluate(world.migrator, read)).outcome, 'deny')
    world.clock.set(startsAt)
    assert.equal((await world.app.flows.evaluate(world.migrator, read)).outcome, 'permit')
    world.clock.advance(MINUTE)
    assert.equal((await world.app.flows.evaluate(world.migrator, read)).outcome, 'deny')
  })
})

describe('a retry with the same idempotency key', () => {
  const key = { idempotencyKey: 'k' }

  test('of a permit is answered again, consuming nothing; of a deny it is decided afresh', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const task = await declare(world)
    const denied = await flows.evaluate(world.migrator, migration(task), key)
    const request = await requestMigration(world, task)
    const { approval = '' } = await approve(world, world.grace, request)
    const first = await flows.evaluate(world.migrator, migration(task, { approval }), key)
    assert.deepEqual([denied.outcome, first.outcome], ['challenge', 'permit'])
    const retried = await flows.evaluate(world.migrator, migration(task, { approval }), key)
    assert.deepEqual(retried, first)
    const { grant } = await flows.grant(world.migrator, first.grant?.id ?? '')
    assert.equal(grant.used, 1)
    assert.equal((await flows.task(world.migrator, task)).task.calls, 1)
    assert.equal((await entries(world.app)).filter((e) => e['kind'] === 'decision.replayed').length, 1)
  })

  test('while the first is under way consumes once', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const { task, grant } = await activeGrant(world)
    const all = await Promise.all(
      Array.from({ length: 30 }, () => flows.evaluate(world.migrator, migration(task), key)),
    )
    assert.equal(new Set(all.map((d) => `${d.outcome} ${d.id}`)).size, 1)
    assert.equal(all[0]?.outcome, 'permit')
    assert.equal((await flows.grant(world.migrator, grant)).grant.used, 1)
  })

  test('for another attempt is a conflict, from another caller another key', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const { task } = await activeGrant(world)
    assert.equal((await flows.evaluate(world.migrator, migration(task), key)).outcome, 'permit')
    await fails(flows.evaluate(world.migrator, migration(task, { x: 'y' }), key), 'ERR_CONFLICT')
    const other = await keyFor(world, 'Agent/migrator')
    assert.notEqual((await flows.evaluate(other, migration(task), key)).outcome, 'permit')
  })

  test('of an activation never answers for a use', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const task = await declare(world)
    const { approval = '' } = await approve(world, world.grace, await requestMigration(world, task))
    const input = migration(task, { approval })
    const { grant } = await flows.activate(world.migrator, input, key)
    const uses = await Promise.all([
      flows.evaluate(world.migrator, input, key),
      flows.evaluate(world.migrator, migration(task)),
    ])
    assert.equal(uses.filter((d) => d.outcome === 'permit').length, 1)
    assert.equal((await flows.grant(world.migrator, grant?.id ?? '')).grant.used, 1)
    assert.equal((await flows.activate(world.migrator, input, key)).grant?.id, grant?.id)
  })

  for (const [name, change] of Object.entries({
    'its grant was revoked': (w: FaultWorld, grant: string) => w.app.flows.revokeGrant(w.ada, grant, 'r'),
    'its task ended': (w: FaultWorld, _: string, task: string) =>
      w.app.flows.endTask(w.migrator, task, 'completed'),
    'its task lapsed': async (w: FaultWorld) => w.clock.advance(20_000),
    'its subject was locked': (w: FaultWorld) =>
      w.app.flows.locks.lock(w.ada, { what: 'subject', about: 'Agent/migrator', reason: 'r' }),
    'policy forbids it now': (w: FaultWorld) =>
      w.app.flows.publish(w.ada, {
        policies: withPolicy('@id("no") forbid (principal, action == Action::"db:migrate", resource);'),
      }),
  })) {
    test(`is denied as changed when ${name}`, async () => {
      await using world = await faultWorld()
      const { flows } = world.app
      const { task, grant } = await activeGrant(world)
      assert.equal((await flows.evaluate(world.migrator, migration(task), key)).outcome, 'permit')
      await change(world, grant, task)
      const retried = await flows.evaluate(world.migrator, migration(task), key)
      assert.deepEqual([retried.outcome, retried.reason], ['deny', 'changed'])
    })
  }

  test('of a permit that stood by itself is not carried by evidence that came later', async () => {
    const open = withPolicy(
      '@id("open") permit (principal, action == Action::"db:migrate", resource is Database);',
    )
    await using world = await faultWorld({ policies: open })
    const { flows } = world.app
    const task = await declare(world)
    assert.equal((await flows.evaluate(world.migrator, migration(task), key)).reason, 'standing')
    await flows.publish(world.ada, { policies: open.slice(0, -1) })
    const { grant } = await activeGrant(world, task)
    const retried = await flows.evaluate(world.migrator, migration(task), key)
    assert.deepEqual([retried.outcome, retried.reason], ['deny', 'changed'])
    assert.equal((await flows.grant(world.migrator, grant)).grant.used, 0)
  })

  test('does not count what it counted itself', async () => {
    await using world = await faultWorld({
      policies: withPolicy(`@id("once") permit (principal, action == Action::"call", resource is Document)
        when { context.live has history && context.live.history.calls < 1 };`),
    })
    const { flows } = world.app
    const task = await declare(world, { scope: { actions: ['call'], resources: [ref('Document/handbook')] } })
    const call = attempt('Agent/migrator', 'call', 'Document/handbook', { task })
    const { grant } = await flows.activate(world.migrator, call, key)
    assert.ok(grant !== undefined)
    assert.equal((await flows.activate(world.migrator, call, key)).decision.outcome, 'permit')
    assert.equal((await flows.evaluate(world.migrator, call)).outcome, 'deny')
    // nor does continuous evaluation
    await put(world, { type: 'Document', id: 'other' })
    assert.equal((await flows.grant(world.migrator, grant.id)).grant.state, 'active')
  })

  test('after a minute it is an attempt of its own, and what was kept is forgotten', async () => {
    await using world = await faultWorld()
    const { flows, store } = { flows: world.app.flows, store: world.app.store }
    const read = attempt('Agent/migrator', 'read', 'Document/handbook')
    const first = await flows.evaluate(world.migrator, read, key)
    world.clock.advance(MINUTE)
    const second = await flows.evaluate(world.migrator, read, key)
    assert.deepEqual([second.outcome, second.id === first.id], ['permit', false])
    world.clock.advance(2 * MINUTE)
    await settle(world.app)
    assert.equal((await store.list('replay')).items.length, 0)
  })
})

describe('B26 an emergency asks loudly and skips nothing', () => {
  test('the same people are asked for the same, and told that it is urgent', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const task = await declare(world)
    const decision = await flows.evaluate(world.migrator, migration(task))
    const denial = { evaluationId: decision.id, expiresAt: decision.requestableUntil ?? 0 }
    const asked = await flows.submit(world.migrator, { ...migration(task), denial, emergency: true })
    assert.deepEqual(
      [asked.status, asked.emergency, asked.alternatives],
      ['pending', true, decision.alternatives],
    )
    assert.notEqual((await flows.evaluate(world.migrator, migration(task))).outcome, 'permit')
    const calm = await requestMigration(world, task)
    // it is no part of what is approved: the same ask without it is the same request, and stays loud
    assert.deepEqual([calm.id, calm.digest, calm.emergency], [asked.id, asked.digest, true])
    await fails(approve(world, world.ada, asked), 'ERR_FORBIDDEN')
    const said = (await entries(world.app)).find((entry) => entry['kind'] === 'request.submitted')
    assert.equal(said?.['emergency'], true)
  })

  test('a request is neither cancelled nor taken over by another', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const task = await declare(world)
    const request = await requestMigration(world, task)
    const other = await keyFor(world, 'Service/orders-ci', { subjects: ['*'], attributes: {} })
    for (const caller of [other, world.grace, world.ada]) {
      assert.equal(
        (await fails(flows.cancelRequest(caller, request.id), 'ERR_NOT_FOUND')).problem,
        'unknown_task',
      )
    }
    // a trusted enforcement point that asks for the same has a request of its own
    const decision = await flows.evaluate(other, migration(task))
    const denial = { evaluationId: decision.id, expiresAt: decision.requestableUntil ?? 0 }
    const theirs = await flows.submit(other, { ...migration(task), denial })
    assert.notEqual(theirs.id, request.id)
    const { approval = '' } = await approve(world, world.grace, request)
    const taken = await flows.evaluate(other, migration(task, { approval }))
    assert.deepEqual([taken.outcome, taken.reason], ['deny', 'approval_unverifiable'])
    assert.equal((await flows.evaluate(world.migrator, migration(task, { approval }))).outcome, 'permit')
  })
})
