/**
 * A rehearsal says what a running Writ says to the same attempt.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, suite, test } from 'node:test'
import type { AttemptInput, EntityInput } from '../flows/port.ts'
import type { Entity } from '../model/entity.ts'
import type { RequirementSet } from '../model/request.ts'
import type { PolicySet } from '../policy/index.ts'
import { loadPolicySet, renderProblem } from '../policy/index.ts'
import { cedarEntity, toEntity } from '../identity/inventory.ts'
import type { World } from '../../test/support/world.ts'
import {
  attempt,
  declare,
  migration,
  openWorld,
  people,
  ref,
  requestMigration,
  starterPolicies,
} from '../../test/support/world.ts'
import type { Rehearsed, RehearsedTask } from './rehearse.ts'
import { rehearse } from './rehearse.ts'

const more: readonly EntityInput[] = [
  // whoever owns it may not approve for it: with grace gone, only hedy is left
  {
    type: 'Agent',
    id: 'of-grace',
    kind: 'agent',
    owner: ref('Person/grace'),
    parents: [ref('Group/deployers')],
  },
  { type: 'Agent', id: 'orphan', kind: 'agent', parents: [ref('Group/deployers')] },
]
const extra = `
@id("history-is-short") @ttl("5m")
permit (principal in Group::"deployers", action == Action::"ticket:note", resource is Database)
when { context.live has history && context.live.history.calls < 2 };

@id("not-too-much") @explain
forbid (principal, action == Action::"ticket:note", resource)
when { context has action_properties && context.action_properties has rows && context.action_properties.rows > 10 };
`
const policies = [...starterPolicies(), { name: 'extra.cedar', text: extra }]

const load = (entities: readonly Entity[]): PolicySet => {
  const loaded = loadPolicySet(
    { policies },
    {
      hash: (text) => `sha256:${createHash('sha256').update(text).digest('hex')}`,
      inventory: entities.map(cedarEntity),
    },
  )
  if (!loaded.ok) throw new Error(loaded.problems.map(renderProblem).join('\n'))
  return loaded.set
}

const entities = [...people, ...more].map((input) => toEntity(input))
const set = load(entities)
const now = Date.parse('2026-11-22T10:00:00Z')

const alike = (sets: readonly RequirementSet[]): string[] => sets.map((one) => JSON.stringify(one)).sort()

suite('the same attempt, rehearsed and made', () => {
  let world: World
  before(async () => {
    world = await openWorld({ http: false, policies, entities: more })
  })
  after(() => world[Symbol.asyncDispose]())

  /** What both say, after seeing that it is the same. */
  async function same(
    input: AttemptInput,
    how: { task?: RehearsedTask; evidence?: { approvals: Record<string, number> } } = {},
  ): Promise<Rehearsed> {
    const caller = { ...world.ada, kind: 'key' as const, pep: { subjects: ['*'], attributes: {} } }
    const own = input.subject?.id === 'migrator'
    const said = await world.app.flows.evaluate(own ? world.migrator : caller, input)
    const { task: _task, approval: _approval, ...context } = input.context ?? {}
    const told = await rehearse({
      set,
      entities,
      subject: input.subject ?? ref('Agent/migrator'),
      action: input.action,
      resource: input.resource,
      context,
      now,
      ...how,
    })
    const name = `${input.subject?.id ?? ''} ${input.action.name} ${input.resource.id}`
    assert.deepEqual([told.outcome, told.reason], [said.outcome, said.reason], name)
    assert.deepEqual(alike(told.alternatives), alike(said.alternatives), name)
    assert.equal(told.truncated, said.truncated, name)
    if (told.evaluation !== undefined)
      assert.deepEqual([...told.evaluation.determining].sort(), [...said.determining].sort(), name)
    if (told.outcome === 'permit') assert.deepEqual(told.obligations, said.obligations, name)
    return told
  }

  test('without a task', async () => {
    const outcomes: string[] = []
    for (const subject of [
      'Agent/migrator',
      'Service/orders-ci',
      'Agent/of-grace',
      'Agent/orphan',
      'Agent/none',
    ])
      for (const [action, resource] of [
        ['read', 'Document/handbook'],
        ['read', 'Document/unregistered'],
        ['read', 'Database/orders'],
        ['db:migrate', 'Database/orders'],
        ['db:migrate', 'Database/payments'],
        ['db:nothing', 'Database/orders'],
      ] as const)
        outcomes.push((await same(attempt(subject, action, resource))).outcome)
    assert.deepEqual([...new Set(outcomes)].sort(), ['deny', 'permit'])
  })

  test('under a task: challenged with who could give it, the owner left out (law 4)', async () => {
    const task = { purpose: 'add a column', reason: 'INC-42' }
    const orders = await same(migration(await declare(world)), { task })
    assert.deepEqual(orders.alternatives[0]?.requirements, [{ kind: 'approval', pool: 'dba', count: 1 }])

    const resource = ref('Database/payments')
    const scope = { actions: ['db:migrate'], resources: [resource] }
    const critical = await same(
      { ...migration(await declare(world, { scope })), resource },
      { task: { ...task, scope } },
    )
    assert.deepEqual(critical.alternatives[0]?.requirements, [{ kind: 'approval', pool: 'dba', count: 2 }])

    // the same for an agent of one of the two: nobody can supply it
    const told = await rehearse({
      set,
      entities,
      subject: ref('Agent/of-grace'),
      action: { name: 'db:migrate' },
      resource,
      task,
      now,
    })
    assert.deepEqual([told.outcome, told.alternatives], ['deny', []])
  })

  test('without a reason a justification is asked for too', async () => {
    const told = await same(migration(await declare(world, { reason: undefined })), {
      task: { purpose: 'p' },
    })
    assert.deepEqual(told.alternatives[0]?.requirements, [
      { kind: 'approval', pool: 'dba', count: 1 },
      { kind: 'justification' },
    ])
  })

  test('the bounds of a task come before policy', async () => {
    const id = await declare(world)
    const outside = { ...migration(id), resource: ref('Database/payments') }
    const scope = { actions: ['db:migrate'], resources: [ref('Database/orders')] }
    const told = await same(outside, { task: { purpose: 'p', scope } })
    assert.deepEqual([told.reason, told.evaluation], ['task_scope', undefined])

    const note = await declare(world, {
      scope: { actions: ['ticket:note'], resources: [ref('Database/orders')] },
      limits: { calls: 1 },
    })
    const noting = attempt('Agent/migrator', 'ticket:note', 'Database/orders', { task: note })
    await same(noting, { task: { purpose: 'p', limits: { calls: 1 } } })
    const spent = await same(noting, { task: { purpose: 'p', limits: { calls: 1 }, calls: 1 } })
    assert.equal(spent.reason, 'task_limit')
  })

  test('history and properties count as they would', async () => {
    const scope = { actions: ['ticket:note'], resources: [ref('Database/orders')] }
    const id = await declare(world, { scope })
    const noting = attempt('Agent/migrator', 'ticket:note', 'Database/orders', { task: id })
    for (const [calls, outcome] of [
      [0, 'permit'],
      [1, 'permit'],
      [2, 'deny'],
    ] as const)
      assert.equal((await same(noting, { task: { purpose: 'p', calls } })).outcome, outcome)
  })

  test('with evidence: the permit of the grant, by the same policies', async () => {
    const task = await declare(world)
    const request = await requestMigration(world, task)
    const { approval = '' } = await world.app.flows.approve(world.grace, request.id, {
      statement: request.digest,
    })
    const told = await same(migration(task, { approval }), {
      task: { purpose: 'add a column', reason: 'INC-42' },
      evidence: { approvals: { dba: 1 } },
    })
    assert.deepEqual(
      [told.outcome, told.reason, told.proof],
      ['permit', 'evidence', { approvals: { dba: 1 }, justification: true, reauth: false }],
    )
  })

  test('a fired forbid that explains nothing offers nothing; one that does stays in the way', async () => {
    const told = await rehearse({
      set,
      entities,
      subject: ref('Agent/migrator'),
      action: { name: 'ticket:note', properties: { rows: 11 } },
      resource: ref('Database/orders'),
      task: { purpose: 'p' },
      now,
    })
    assert.equal(told.outcome, 'deny')
    assert.deepEqual(told.evaluation?.determining, ['not-too-much'])
    assert.equal(told.explanation?.fired[0]?.policy, 'not-too-much')
  })
})

test('law 6 an unknown fact denies what reads it, and is gone from what policy sees', async () => {
  const told = await rehearse({
    set,
    entities,
    subject: ref('Agent/migrator'),
    action: { name: 'ticket:note' },
    resource: ref('Database/orders'),
    task: { purpose: 'p' },
    unknown: ['history'],
    now,
  })
  assert.equal(told.outcome, 'deny')
  assert.deepEqual(
    told.evaluation?.errors.map(({ policy, cause }) => [policy, cause]),
    [['history-is-short', 'unknown']],
  )
  assert.equal(told.query?.live['history'], undefined)
})

test('evidence that is not enough is said with what was given', async () => {
  const told = await rehearse({
    set,
    entities,
    subject: ref('Agent/migrator'),
    action: { name: 'db:migrate' },
    resource: ref('Database/payments'),
    task: { purpose: 'p', reason: 'INC-42' },
    evidence: { approvals: { dba: 1 } },
    now,
  })
  assert.equal(told.outcome, 'challenge')
  assert.deepEqual(told.proof, { approvals: { dba: 1 }, justification: true, reauth: false })
  assert.deepEqual(told.evaluation?.determining, ['critical-needs-two'])
})

test('asserted properties replace the inventory, but never its judgement', async () => {
  const told = await rehearse({
    set,
    entities,
    subject: ref('Agent/migrator'),
    action: { name: 'read' },
    resource: ref('Database/orders'),
    asserted: { resource: { sensitivity: 1 } },
    now,
  })
  assert.equal(told.outcome, 'deny')
  assert.deepEqual(told.dropped, ['resource.properties.sensitivity'])
})
