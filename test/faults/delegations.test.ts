/**
 * Who acts for whom: chains that were proved, and delegations that people made.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { AttemptInput, Caller } from '../../src/flows/port.ts'
import type { Json } from '../../src/model/canonical.ts'
import type { EntityInput } from '../../src/model/entity.ts'
import { DAY, HOUR, MINUTE } from '../../src/model/time.ts'
import type { FaultWorld } from './support.ts'
import {
  attempt,
  entries,
  fails,
  faultWorld,
  interpose,
  keyFor,
  kindsOf,
  publish,
  put,
  ref,
  sessionFor,
  settle,
  withPolicy,
} from './support.ts'

/** People of `helped` and their helpers may stow; agents and deployers migrate with an approval, and so may grace. */
const policies = withPolicy(`
@id("stow") permit (principal in Group::"helped", action == Action::"stow", resource);
@id("fetch") permit (principal in Group::"helped", action == Action::"fetch", resource);
`)

const helped = { parents: [ref('Group/helped')] }
const extra: readonly EntityInput[] = [
  { type: 'Agent', id: 'helper', kind: 'agent', owner: ref('Person/hedy'), parents: [ref('Group/helped')] },
  { type: 'Agent', id: 'other', kind: 'agent', owner: ref('Person/hedy'), parents: [ref('Group/helped')] },
  { type: 'Shelf', id: 'room', kind: 'resource', sensitivity: 1 },
  { type: 'Shelf', id: 'low', kind: 'resource', sensitivity: 1, parents: [ref('Shelf/room')] },
  { type: 'Shelf', id: 'high', kind: 'resource', sensitivity: 1 },
]

async function delegationWorld(
  options: { targets?: boolean } = {},
): Promise<FaultWorld & { helper: Caller }> {
  const world = await faultWorld({ policies, entities: extra, ...options })
  await put(world, { type: 'Person', id: 'grace', parents: [ref('Group/dba'), ref('Group/helped')] })
  return { ...world, helper: await keyFor(world, 'Agent/helper') }
}

const stow = (resource = 'Shelf/low', context: Record<string, string> = {}, action = 'stow'): AttemptInput =>
  attempt('Agent/helper', action, resource, context)

const graces = (world: FaultWorld, more: Record<string, unknown> = {}) =>
  world.app.flows.delegations.make(world.grace, { actor: ref('Agent/helper'), ...more })

async function reasonOf(world: FaultWorld, caller: Caller, input: AttemptInput): Promise<string> {
  const { outcome, reason } = await world.app.flows.evaluate(caller, input)
  return outcome === 'permit' ? outcome : reason
}

describe('C5, B29 a registered delegation', () => {
  test('is decided as the actor and as the delegator, and both are on the record', async () => {
    await using world = await delegationWorld()
    const { id } = await graces(world)
    const decision = await world.app.flows.evaluate(world.helper, stow('Shelf/low', { delegation: id }))
    assert.equal(decision.outcome, 'permit')
    assert.deepEqual(decision.attempt.chain, [ref('Agent/helper'), ref('Person/grace')])
    const { chain } = decision.operator.facts as Record<string, Json>
    assert.deepEqual(chain, ['Agent/helper', 'Person/grace'])
    assert.equal((decision.attempt.context as Record<string, Json>)['delegation'], undefined)

    // the delegator loses it, the actor does not: alone it may, for her it may not
    await put(world, { type: 'Person', id: 'grace', parents: [ref('Group/dba')] })
    assert.equal(await reasonOf(world, world.helper, stow('Shelf/low', { delegation: id })), 'policy_denied')
    assert.equal(await reasonOf(world, world.helper, stow()), 'permit')
    const hers = (await entries(world.app)).filter(
      ({ kind, refs }) => kind === 'decision' && (refs as readonly string[]).includes(id),
    )
    assert.deepEqual(
      hers.map(({ outcome, refs }) => [outcome, (refs as readonly string[]).includes('Person/grace')]),
      [
        ['permit', true],
        ['deny', true],
      ],
    )
  })

  test('gives the actor nothing that it has not itself', async () => {
    await using world = await delegationWorld()
    const { id } = await graces(world)
    await put(world, { type: 'Agent', id: 'helper', parents: [] })
    assert.equal(await reasonOf(world, world.helper, stow('Shelf/low', { delegation: id })), 'policy_denied')
  })

  test('is bounded by its actions, and by its resources with what is below them, before policy', async () => {
    await using world = await delegationWorld()
    const { id } = await graces(world, { actions: ['stow'], resources: [ref('Shelf/room')] })
    const tried = (action: string, resource: string) =>
      reasonOf(world, world.helper, stow(resource, { delegation: id }, action))
    assert.equal(await tried('stow', 'Shelf/room'), 'permit')
    assert.equal(await tried('stow', 'Shelf/low'), 'permit')
    assert.equal(await tried('stow', 'Shelf/high'), 'out_of_scope')
    assert.equal(await tried('stow', 'Shelf/unknown'), 'out_of_scope')
    assert.equal(await tried('fetch', 'Shelf/low'), 'out_of_scope')
    const all = await graces(world)
    const system = stow('Writ::System/writ', { delegation: all.id }, 'Writ::read')
    assert.equal(await reasonOf(world, world.helper, system), 'out_of_scope')
  })

  test('B33 of somebody else is as good as none', async () => {
    await using world = await delegationWorld()
    const { id } = await world.app.flows.delegations.make(world.grace, { actor: ref('Agent/other') })
    const foreign = await world.app.flows.evaluate(world.helper, stow('Shelf/low', { delegation: id }))
    const nothing = await world.app.flows.evaluate(
      world.helper,
      stow('Shelf/low', { delegation: 'dlg_0000000000000000' }),
    )
    assert.deepEqual([foreign.outcome, foreign.reason], ['deny', 'delegation'])
    assert.deepEqual([nothing.outcome, nothing.reason], ['deny', 'delegation'])
    const { flows } = world.app
    for (const call of [
      flows.delegations.show(world.helper, id),
      flows.delegations.revoke(world.helper, id, 'r'),
      flows.declareTask(world.helper, { ...taskFor(), delegation: id }),
    ]) {
      await fails(call, 'ERR_NOT_FOUND')
    }
    assert.deepEqual((await flows.delegations.list(world.helper, {})).items, [])
    assert.deepEqual((await flows.delegations.list(world.helper, { subject: ref('Agent/other') })).items, [])
  })

  test('ends with its time, and what was given under it ends no later', async () => {
    await using world = await delegationWorld()
    const { id, endsAt } = await graces(world, { life: 5 * MINUTE })
    const { grant } = await world.app.flows.activate(world.helper, stow('Shelf/low', { delegation: id }))
    assert.equal(grant?.endsAt, endsAt)
    assert.equal(grant.delegation, id)
    world.clock.advance(5 * MINUTE)
    assert.equal(
      await reasonOf(world, world.helper, stow('Shelf/low', { delegation: id })),
      'delegation_ended',
    )
    assert.equal((await world.app.flows.delegations.show(world.helper, id)).live, false)
  })

  test('that is over is under its parties no more, so that theirs can be counted and listed', async () => {
    await using world = await delegationWorld()
    const { flows, store } = world.app
    const short = await graces(world, { life: MINUTE })
    const long = await graces(world, { life: 8 * HOUR })
    const gone = await graces(world, { life: MINUTE })
    await flows.delegations.revoke(world.grace, gone.id, 'r')
    const listed = async (party: string) => {
      const read = { index: 'delegation.party', value: party } as const
      return (await store.read([read])).scan(read.index, read.value).map(({ id }) => id)
    }
    await flows.sweeper.sweep()
    assert.deepEqual(new Set(await listed('Person/grace')), new Set([short.id, long.id]))
    world.clock.advance(HOUR)
    await flows.sweeper.sweep()
    for (const party of ['Person/grace', 'Agent/helper']) assert.deepEqual(await listed(party), [long.id])
    const shown = await flows.delegations.show(world.grace, short.id)
    assert.deepEqual([shown.live, shown.revokedAt], [false, undefined])
    assert.equal((await flows.delegations.show(world.grace, long.id)).live, true)
    assert.equal(
      await reasonOf(world, world.helper, stow('Shelf/low', { delegation: short.id })),
      'delegation_ended',
    )
    assert.equal(await reasonOf(world, world.helper, stow('Shelf/low', { delegation: long.id })), 'permit')
    // and what ends later is found without a look at everything
    world.clock.advance(8 * HOUR)
    await flows.sweeper.sweep()
    assert.deepEqual(await listed('Agent/helper'), [])
    // those of before a start too
    const last = await graces(world, { life: MINUTE })
    world.clock.advance(HOUR)
    await using again = await world.restart({ clock: world.clock })
    const view = () => again.app.store.read([{ index: 'delegation.party', value: 'Agent/helper' }])
    assert.equal((await view()).scan('delegation.party', 'Agent/helper')[0]?.id, last.id)
    await again.app.flows.sweeper.sweep()
    assert.deepEqual((await view()).scan('delegation.party', 'Agent/helper'), [])
  })

  test('is made in person, by a person, for an agent or a workload, and never for Writ itself', async () => {
    await using world = await delegationWorld()
    const { delegations } = world.app.flows
    const actor = ref('Agent/other')
    await fails(delegations.make(world.helper, { actor }), 'ERR_FORBIDDEN')
    await fails(delegations.make({ ...world.grace, chain: [ref('Person/ada')] }, { actor }), 'ERR_FORBIDDEN')
    await fails(delegations.make(world.grace, { actor: ref('Person/ada') }), 'ERR_INPUT_INVALID')
    await fails(delegations.make(world.grace, { actor: ref('Shelf/low') }), 'ERR_INPUT_INVALID')
    await fails(delegations.make(world.grace, { actor: ref('Agent/nobody') }), 'ERR_NOT_FOUND')
    await fails(delegations.make(world.grace, { actor, actions: ['Writ::approve'] }), 'ERR_INPUT_INVALID')
    await fails(delegations.make(world.grace, { actor, actions: [] }), 'ERR_INPUT_INVALID')
    await fails(delegations.make(world.grace, { actor, life: 91 * DAY }), 'ERR_INPUT_INVALID')
    await world.app.flows.locks.lock(world.ada, { what: 'subject', about: 'Agent/other', reason: 'r' })
    await fails(delegations.make(world.grace, { actor }), 'ERR_FORBIDDEN')
    await world.app.flows.signOut(world.grace)
    await fails(delegations.make(world.grace, { actor: ref('Agent/helper') }), 'ERR_FORBIDDEN')
    assert.equal((await kindsOf(world.app)).includes('delegation.made'), false)
  })

  test('needs policy where policy names it', async () => {
    await using world = await delegationWorld()
    await graces(world)
    await publish(world, [
      ...policies,
      {
        name: 'delegate.cedar',
        text: '@id("own") permit (principal, action == Writ::Action::"delegate", resource) when { resource has owner && resource.owner == principal };',
      },
    ])
    await fails(graces(world), 'ERR_FORBIDDEN')
    const made = await world.app.flows.delegations.make(world.hedy, { actor: ref('Agent/helper') })
    assert.equal(made.live, true)
  })
})

const taskFor = () => ({
  purpose: 'p',
  reason: 'r',
  scope: { actions: ['stow'], resources: [ref('Shelf/low')] },
})

describe('C2 revoking a delegation', () => {
  test('is a barrier for all that is under it: tasks, grants, credentials, open requests', async () => {
    await using world = await delegationWorld({ targets: true })
    const { flows } = world.app
    await put(
      world,
      { type: 'Agent', id: 'helper', parents: [ref('Group/helped'), ref('Group/deployers')] },
      { type: 'Person', id: 'ada', parents: [ref('Group/administrators'), ref('Group/deployers')] },
    )
    const { id } = await flows.delegations.make(world.ada, { actor: ref('Agent/helper') })
    const scope = { actions: ['db:migrate'], resources: [ref('Database/orders')] }
    const declared = await flows.declareTask(world.helper, { ...taskFor(), scope, delegation: id })
    assert.deepEqual(declared.chain, [ref('Agent/helper'), ref('Person/ada')])
    const child = await flows.declareTask(world.helper, {
      ...taskFor(),
      scope,
      delegation: id,
      parent: declared.id,
    })
    const input = attempt('Agent/helper', 'db:migrate', 'Database/orders', {
      task: declared.id,
      delegation: id,
    })
    const asked = async (): Promise<{ id: string; digest: string }> => {
      const denied = await flows.evaluate(world.helper, input)
      const denial = { evaluationId: denied.id, expiresAt: denied.requestableUntil ?? 0 }
      return flows.submit(world.helper, { ...input, denial })
    }
    const request = await asked()
    // ada stands behind what is done for her
    await fails(flows.approve(world.ada, request.id, { statement: request.digest }), 'ERR_FORBIDDEN')
    const { approval = '' } = await flows.approve(world.grace, request.id, { statement: request.digest })
    const { grant } = await flows.activate(world.helper, {
      ...input,
      context: { ...input.context, approval },
    })
    assert.ok(grant !== undefined)
    const issued = await flows.issueCredential(world.helper, grant.id)
    assert.equal(issued.credential?.state, 'live')
    const open = await asked()

    const done = await flows.delegations.revoke(world.ada, id, 'enough')
    assert.equal(done.denied, true)
    assert.deepEqual(
      done.grants.map((it) => it.id),
      [grant.id],
    )
    await settle(world.app)
    assert.equal((await flows.grant(world.helper, grant.id)).credentials[0]?.state, 'absent')
    for (const task of [declared.id, child.id])
      assert.equal((await flows.task(world.helper, task)).task.state, 'cancelled')
    assert.equal((await flows.request(world.helper, open.id)).status, 'cancelled')
    assert.equal(await reasonOf(world, world.helper, input), 'delegation_ended')
    await fails(flows.declareTask(world.helper, { ...taskFor(), delegation: id }), 'ERR_FORBIDDEN')
    assert.equal((await flows.delegations.show(world.ada, id)).live, false)
    assert.deepEqual((await flows.delegations.list(world.ada, { live: true })).items, [])
  })

  test('bars what was analysed before and commits after', async () => {
    await using world = await delegationWorld()
    const { id } = await graces(world)
    interpose(world, async () => {
      await world.app.flows.delegations.revoke(world.grace, id, 'r')
    })
    assert.equal(
      await reasonOf(world, world.helper, stow('Shelf/low', { delegation: id })),
      'delegation_ended',
    )
  })

  test('holds while it cannot be recorded', async () => {
    await using world = await delegationWorld()
    const { id } = await graces(world)
    const lower = world.app.decision.barrier.raise([{ kind: 'delegation', id }])
    assert.equal(
      await reasonOf(world, world.helper, stow('Shelf/low', { delegation: id })),
      'delegation_ended',
    )
    lower()
    assert.equal(await reasonOf(world, world.helper, stow('Shelf/low', { delegation: id })), 'permit')
  })

  test('is for its delegator, its actor, the owner of that, and who may revoke', async () => {
    await using world = await delegationWorld()
    const { delegations } = world.app.flows
    const eve = await sessionFor(world, 'eve')
    for (const caller of [world.grace, world.helper, world.hedy, world.ada]) {
      const { id } = await graces(world)
      await fails(delegations.revoke(eve, id, 'r'), 'ERR_NOT_FOUND')
      await delegations.revoke(caller, id, 'r')
      assert.equal((await delegations.show(world.ada, id)).live, false)
    }
    const kinds = await kindsOf(world.app)
    assert.equal(kinds.filter((kind) => kind === 'delegation.revoked').length, 4)
  })

  test('locking the delegator ends what was begun for them', async () => {
    await using world = await delegationWorld()
    const { flows } = world.app
    const { id } = await graces(world)
    const task = await flows.declareTask(world.helper, { ...taskFor(), delegation: id })
    await flows.locks.lock(world.ada, {
      what: 'subject',
      about: 'Person/grace',
      reason: 'r',
      until: (await world.app.store.read([])).now + HOUR,
    })
    assert.equal((await flows.task(world.helper, task.id)).task.state, 'cancelled')
    assert.equal(await reasonOf(world, world.helper, stow('Shelf/low', { delegation: id })), 'subject_locked')
  })
})

describe('B34 whoever was made again', () => {
  for (const who of ['Agent/helper', 'Person/grace']) {
    test(`inherits no delegation: ${who}`, async () => {
      await using world = await delegationWorld()
      const { id } = await graces(world)
      const entity = (await world.app.flows.inventory(world.ada, { limit: 100 })).items.find(
        (one) => `${one.type}/${one.id}` === who,
      )
      assert.ok(entity !== undefined)
      await world.app.flows.deleteEntity(world.ada, ref(who))
      const { type, id: name, kind, parents, owner } = entity
      await put(world, { type, id: name, kind, parents, ...(owner === undefined ? {} : { owner }) })
      const helper = who === 'Agent/helper' ? await keyFor(world, who) : world.helper
      assert.equal(await reasonOf(world, helper, stow('Shelf/low')), 'permit')
      assert.equal(await reasonOf(world, helper, stow('Shelf/low', { delegation: id })), 'delegation_ended')
      assert.equal((await world.app.flows.delegations.show(world.ada, id)).live, false)
    })
  }
})

describe('a chain that was proved', () => {
  const acting = (world: FaultWorld & { helper: Caller }, ...behind: readonly string[]): Caller => ({
    id: 'issuer:idp x',
    kind: 'issuer',
    subject: world.helper.subject,
    generation: 0,
    ...(behind.length === 0 ? {} : { chain: behind.map(ref) }),
  })

  test('is the chain of every attempt, and nobody speaks for another beside', async () => {
    await using world = await delegationWorld()
    const caller = acting(world, 'Person/grace')
    const decision = await world.app.flows.evaluate(caller, stow())
    assert.deepEqual([decision.outcome, decision.attempt.chain.length], ['permit', 2])
    const pep = { subjects: ['*'], attributes: {} }
    const other = attempt('Agent/other', 'stow', 'Shelf/low')
    assert.equal(await reasonOf(world, { ...caller, pep }, other), 'delegation')
    assert.equal(await reasonOf(world, { ...acting(world), pep }, other), 'permit')
    // somebody who may not is behind it
    assert.equal(await reasonOf(world, acting(world, 'Person/hedy'), stow()), 'policy_denied')
  })

  test('that is only claimed denies', async () => {
    await using world = await delegationWorld()
    const claimed = {
      ...stow(),
      subject: { ...stow().subject, properties: { act: { sub: 'Person/grace' } } },
    }
    assert.equal(await reasonOf(world, world.helper, claimed), 'delegation')
  })

  test('has no loops, nobody twice and at most four who act for one, with a delegation too', async () => {
    await using world = await delegationWorld()
    const many = ['a', 'b', 'c', 'd', 'e'].map((id) => ({
      type: 'Agent',
      id,
      kind: 'agent' as const,
      ...helped,
    }))
    await put(world, ...many)
    const { id } = await graces(world)
    const named = stow('Shelf/low', { delegation: id })
    const a = ['Agent/a', 'Agent/b', 'Agent/c']
    assert.equal(await reasonOf(world, acting(world, ...a, 'Agent/d'), stow()), 'permit')
    assert.equal(await reasonOf(world, acting(world, ...a, 'Agent/d', 'Agent/e'), stow()), 'delegation')
    assert.equal(await reasonOf(world, acting(world, ...a), named), 'permit')
    assert.equal(await reasonOf(world, acting(world, ...a, 'Agent/d'), named), 'delegation')
    assert.equal(await reasonOf(world, acting(world, 'Agent/a', 'Agent/helper'), stow()), 'delegation')
    assert.equal(await reasonOf(world, acting(world, 'Person/grace'), named), 'delegation')
  })

  test('goes with the tasks that are declared under it', async () => {
    await using world = await delegationWorld()
    const { flows } = world.app
    const task = await flows.declareTask(acting(world, 'Person/grace'), taskFor())
    const input = stow('Shelf/low', { task: task.id })
    assert.equal(await reasonOf(world, world.helper, input), 'task_scope')
    assert.equal(await reasonOf(world, acting(world, 'Person/grace'), input), 'permit')
    await fails(flows.declareTask(world.helper, { ...taskFor(), parent: task.id }), 'ERR_FORBIDDEN')
    const { id } = await graces(world)
    const under = await flows.declareTask(world.helper, { ...taskFor(), delegation: id })
    assert.equal(await reasonOf(world, world.helper, stow('Shelf/low', { task: under.id })), 'task_scope')
    const named = stow('Shelf/low', { task: under.id, delegation: id })
    assert.equal(await reasonOf(world, world.helper, named), 'permit')
    // the same people by another way are not the same delegation
    const proved = stow('Shelf/low', { task: under.id })
    assert.equal(await reasonOf(world, acting(world, 'Person/grace'), proved), 'task_scope')
  })

  test('B29 what is permitted with a chain is permitted to each of it alone', async () => {
    await using world = await delegationWorld()
    const names = ['a', 'b', 'c', 'd']
    const text = names
      .map(
        (id, at) =>
          `@id("p${id}") permit (principal in Group::"g${at % 2}", action == Action::"do${at}", resource is Shelf);
           @id("f${id}") forbid (principal == Agent::"${id}", action == Action::"do${(at + 1) % 4}", resource == Shelf::"high");`,
      )
      .join('\n')
    await put(
      world,
      ...names.map((id, at) => ({
        type: 'Agent',
        id,
        kind: 'agent' as const,
        parents: [ref(`Group/g${at % 2}`), ...(at === 3 ? [ref('Group/g0')] : [])],
      })),
    )
    await publish(world, [...policies, { name: 'random.cedar', text }])
    const alone = async (id: string, action: string, resource: string): Promise<string> => {
      const caller: Caller = {
        id: `issuer:x ${id}`,
        kind: 'issuer',
        subject: ref(`Agent/${id}`),
        generation: 0,
      }
      return (await world.app.flows.ask(caller, attempt(`Agent/${id}`, action, resource))).outcome
    }
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray(names, { minLength: 1 }),
        fc.constantFrom('do0', 'do1', 'do2', 'do3'),
        fc.constantFrom('Shelf/low', 'Shelf/high'),
        async ([first = 'a', ...behind], action, resource) => {
          const caller: Caller = {
            id: `issuer:x ${first}`,
            kind: 'issuer',
            subject: ref(`Agent/${first}`),
            generation: 0,
            ...(behind.length === 0 ? {} : { chain: behind.map((id) => ref(`Agent/${id}`)) }),
          }
          const together = await world.app.flows.ask(caller, attempt(`Agent/${first}`, action, resource))
          const each = await Promise.all([first, ...behind].map((id) => alone(id, action, resource)))
          assert.equal(
            together.outcome === 'permit',
            each.every((outcome) => outcome === 'permit'),
          )
        },
      ),
      { numRuns: 40 },
    )
  })
})

describe('B70 the record of a delegation', () => {
  test('says who, whom, what and until when', async () => {
    await using world = await delegationWorld()
    const made = await graces(world, {
      actions: ['stow'],
      resources: [ref('Shelf/room')],
      reason: 'holidays',
    })
    const entry = (await entries(world.app)).find(({ kind }) => kind === 'delegation.made')
    assert.equal(entry?.['delegation'], made.id)
    assert.equal(entry?.['delegator'], 'Person/grace')
    assert.equal(entry?.['actor'], 'Agent/helper')
    assert.deepEqual(entry?.['actions'], ['stow'])
    assert.deepEqual(entry?.['resources'], ['Shelf/room'])
    assert.deepEqual(entry?.['generations'], { 'Person/grace': 0, 'Agent/helper': 0 })
    assert.equal(entry?.['reason'], 'holidays')
    assert.equal(entry?.['ends_at'], made.endsAt)
  })
})
