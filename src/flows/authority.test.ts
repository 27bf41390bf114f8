/**
 * "What could it do then": the answer from the log, held against what the server itself said at that instant.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FaultWorld } from '../../test/faults/support.ts'
import { faultWorld, withPolicy } from '../../test/faults/support.ts'
import { attempt, declare, migration, ref, requestMigration } from '../../test/support/world.ts'
import { isWritError } from '../model/errors.ts'
import { refKey } from '../model/entity.ts'
import { isLiveGrant } from '../model/grant.ts'
import { isSpendable } from '../model/request.ts'
import { isEnded } from '../model/task.ts'
import { MINUTE, SECOND } from '../model/time.ts'
import type { Authority } from './authority.ts'

const AGENT = 'Agent/migrator'
const ACTIONS = [
  'db:migrate',
  'docs:read',
  'read',
  'nothing:known',
  'Writ::read',
  'Writ::revoke',
  'Writ::publish',
]

/** What the server says now, question by question. */
async function now(world: FaultWorld, subject: string): Promise<Record<string, unknown>> {
  const { app, ada } = world
  const at = world.clock.wall()
  const { flows, store } = app
  const all = await Promise.all([
    store.list('grant', { limit: 1_000 }),
    store.list('credential', { limit: 1_000 }),
    store.list('task', { limit: 1_000 }),
    store.list('request', { limit: 1_000 }),
    store.list('entity', { limit: 1_000 }),
  ])
  const [grants, credentials, tasks, requests, entities] = [
    all[0].items.map(({ value }) => value),
    all[1].items.map(({ value }) => value),
    all[2].items.map(({ value }) => value),
    all[3].items.map(({ value }) => value),
    all[4].items.map(({ value }) => value),
  ]
  const standing: string[] = []
  const resources = [...entities.filter((it) => it.deletedAt === undefined).map(refKey), 'Writ::System/writ']
  for (const action of ACTIONS) {
    for (const resource of resources) {
      if (action.startsWith('Writ::') !== resource.startsWith('Writ::')) continue
      const answer = await flows.ask(ada, attempt(subject, action, resource))
      if (answer.outcome === 'permit') standing.push(`${action} ${resource}`)
    }
  }
  const mine = grants.filter((grant) => refKey(grant.subject) === subject)
  const entity = entities.find((it) => refKey(it) === subject)
  return {
    at,
    standing: standing.sort(),
    grants: mine
      .filter((grant) => isLiveGrant(grant, at))
      .map((grant) => ({
        id: grant.id,
        endsAt: grant.endsAt,
        left: grant.uses === undefined ? undefined : grant.uses - grant.used,
        roots: grant.evidence.approvals.map(({ root }) => root).sort(),
        action: grant.action,
        resource: refKey(grant.resource),
      })),
    credentials: credentials
      .filter(({ grant, state }) => state !== 'absent' && mine.some(({ id }) => id === grant))
      .map(({ id, state, target }) => ({ id, state, target })),
    tasks: tasks
      .filter((task) => refKey(task.subject) === subject && !isEnded(task))
      .map(({ id, state, endsAt }) => ({ id, state, endsAt })),
    requests: requests
      .filter(({ requester }) => refKey(requester) === subject)
      .filter((it) => (it.status === 'pending' && at < it.expiresAt) || isSpendable(it, at))
      .map(({ id, status }) => ({ id, status })),
    locked: entity?.locked !== undefined && at < (entity.locked.until ?? Infinity),
    deleted: entity?.deletedAt !== undefined,
  }
}

const byId = <T extends { id: string }>(items: readonly T[]): readonly T[] =>
  items.toSorted((a, b) => (a.id < b.id ? -1 : 1))

/** The same of an answer from the log. */
function asAsked(answer: Authority): Record<string, unknown> {
  const known = new Set(ACTIONS)
  return {
    at: answer.at,
    standing: answer.standing
      .filter(({ action }) => known.has(action))
      .map(({ action, resource }) => `${action} ${resource}`)
      .sort(),
    grants: byId(
      answer.grants.map(({ id, endsAt, usesLeft, approvals, action, resource }) => ({
        id,
        endsAt,
        left: usesLeft,
        roots: approvals.map(({ by }) => by).sort(),
        action,
        resource,
      })),
    ),
    credentials: byId(answer.credentials.map(({ id, state, target }) => ({ id, state, target }))),
    tasks: byId(answer.tasks.map(({ id, state, endsAt }) => ({ id, state, endsAt }))),
    requests: byId(answer.requests.map(({ id, state }) => ({ id, status: state }))),
    locked: answer.locks.length > 0,
    deleted: answer.over === 'deleted',
  }
}

test('S06 what a subject could do at each instant of a story is what the server said at that instant', async () => {
  await using world = await faultWorld({
    targets: true,
    policies: withPolicy(
      `permit (principal in Group::"developers", action == Action::"docs:read", resource is Document);
       permit (principal, action == Action::"docs:read", resource is Database)
       when { context.live.now < datetime("2026-11-22T12:00:20Z") };`,
    ),
  })
  const { clock, ada, grace, hedy, migrator, app } = world
  const { flows } = app
  const moments: Record<string, unknown>[] = []
  const moment = async (): Promise<void> => {
    await flows.settled()
    clock.advance(SECOND)
    await flows.sweeper.sweep()
    await flows.settled()
    moments.push(await now(world, AGENT))
    clock.advance(SECOND)
  }
  await moment()
  const task = await declare(world)
  await moment()
  const request = await requestMigration(world, task)
  await moment()
  const approved = await flows.approve(grace, request.id, { statement: request.digest, comment: 'go on' })
  await moment()
  const { grant } = await flows.activate(migrator, migration(task, { approval: approved.approval ?? '' }))
  assert.ok(grant !== undefined)
  await moment()
  const issued = await flows.issueCredential(migrator, grant.id)
  assert.ok(issued.credential !== undefined)
  await moment()
  await flows.heartbeat(migrator, task)
  // a second one, spent by its first use, and one that ends by itself
  const second = await declare(world, { parent: task })
  const asked = await requestMigration(world, second)
  await moment()
  await flows.approve(hedy, asked.id, { statement: asked.digest })
  await flows.heartbeat(migrator, task)
  await moment()
  const approval = (await flows.request(migrator, asked.id)).approval ?? ''
  await flows.evaluate(migrator, migration(second, { approval }))
  await moment()
  await flows.putEntities(ada, [
    { type: 'Agent', id: 'migrator', parents: [ref('Group/deployers'), ref('Group/developers')] },
  ])
  await moment()
  await flows.putEntities(ada, [
    { type: 'Document', id: 'more', sensitivity: 1, team: ref('Group/developers') },
  ])
  await moment()
  await flows.heartbeat(migrator, task)
  await flows.revokeGrant(migrator, grant.id, 'done')
  await moment()
  const third = await declare(world)
  const waiting = await requestMigration(world, third)
  await moment()
  await flows.denyRequest(grace, waiting.id, { statement: waiting.digest, reason: 'no' })
  await moment()
  await flows.locks.lock(ada, {
    what: 'subject',
    about: AGENT,
    reason: 'odd',
    until: clock.wall() + 5 * MINUTE,
  })
  await moment()
  clock.advance(6 * MINUTE)
  await moment()
  await flows.deleteEntity(ada, ref('Document/more'))
  await moment()
  await flows.deleteEntity(ada, ref(AGENT))
  await moment()
  clock.advance(60 * MINUTE)
  await moment()

  assert.ok(
    moments.some((one) => (one['standing'] as unknown[]).length > 0),
    'there are standing rights to see',
  )
  for (const [index, expected] of moments.entries()) {
    const answer = await flows.authority(ada, ref(AGENT), expected['at'] as number)
    const sorted = {
      ...expected,
      grants: byId(expected['grants'] as { id: string }[]),
      credentials: byId(expected['credentials'] as { id: string }[]),
      tasks: byId(expected['tasks'] as { id: string }[]),
      requests: byId(expected['requests'] as { id: string }[]),
    }
    assert.deepEqual(asAsked(answer), sorted, `moment ${index}`)
    assert.equal(answer.truncated, false)
  }
  const [, , , , , live] = moments
  const then = await flows.authority(ada, ref(AGENT), (live as { at: number }).at)
  const [given] = then.grants
  assert.deepEqual(
    given?.approvals.map(({ by, statement, comment }) => ({ by, statement, comment })),
    [{ by: 'Person/grace', statement: request.digest, comment: 'go on' }],
  )
  assert.equal(given?.policy, then.policy?.version)
  assert.ok(then.before.length > 0 && then.after.length > 0)
  assert.ok(!JSON.stringify(then).includes('canary'), 'never a secret')
})

test('B70 what a subject could do is told to who may read the record, and to nobody else', async () => {
  await using world = await faultWorld()
  const { flows } = world.app
  for (const caller of [world.migrator, world.grace]) {
    await assert.rejects(flows.authority(caller, ref(AGENT), world.clock.wall()), (error) =>
      isWritError(error, 'ERR_FORBIDDEN'),
    )
  }
  await assert.rejects(flows.authority(world.ada, ref(AGENT), world.clock.wall() + MINUTE), (error) =>
    isWritError(error, 'ERR_INPUT_INVALID'),
  )
  const early = await flows.authority(world.ada, ref(AGENT), 1_000)
  assert.deepEqual([early.registered, early.grants, early.standing, early.policy], [false, [], [], undefined])
})
