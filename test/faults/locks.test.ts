/**
 * The kill switch: what is locked permits nothing from that call on, what was given under it ends, and only who may takes the
 * lock away.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Lockable } from '../../src/model/lock.ts'
import { MINUTE } from '../../src/model/time.ts'
import { openTestStore } from '../support/store.ts'
import { activeGrant, declare, migration, requestMigration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import {
  attempt,
  entries,
  fails,
  faultWorld,
  interpose,
  kindsOf,
  put,
  ref,
  sessionFor,
  settle,
  withPolicy,
} from './support.ts'

const read = (subject: string, resource = 'Document/handbook') => attempt(subject, 'read', resource)
const policies = withPolicy(`
@id("shelved") permit (principal, action == Action::"stow", resource);
@id("eve-revokes") permit (principal == Person::"eve", action in [Writ::Action::"revoke", Writ::Action::"unlock"], resource);
@id("hedy-unlocks") permit (principal == Person::"hedy", action == Writ::Action::"unlock", resource);
`)

/** The agent is hedy's, Document/page lies below Document/handbook, and each has a grant. */
async function stage(): Promise<FaultWorld & { grants: Readonly<Record<string, string>> }> {
  const world = await faultWorld({ policies, targets: true })
  await put(
    world,
    {
      type: 'Agent',
      id: 'migrator',
      kind: 'agent',
      owner: ref('Person/hedy'),
      parents: [ref('Group/deployers')],
    },
    { type: 'Document', id: 'page', kind: 'resource', parents: [ref('Document/handbook')], sensitivity: 1 },
    { type: 'Document', id: 'other', kind: 'resource', sensitivity: 1 },
  )
  const { flows } = world.app
  const given = async (subject: 'migrator' | 'ada', action: string, resource: string): Promise<string> => {
    const who = subject === 'ada' ? 'Person/ada' : 'Agent/migrator'
    const { grant, decision } = await flows.activate(world[subject], attempt(who, action, resource))
    return grant?.id ?? assert.fail(decision.reason)
  }
  const grants = {
    page: await given('migrator', 'read', 'Document/page'),
    handbook: await given('ada', 'read', 'Document/handbook'),
    other: await given('ada', 'read', 'Document/other'),
    stow: await given('ada', 'stow', 'Document/other'),
  }
  world.clock.advance(1)
  return { ...world, grants }
}

const living = async (
  world: FaultWorld & { grants: Readonly<Record<string, string>> },
): Promise<string[]> => {
  await world.app.flows.settled()
  const view = await world.app.store.read(
    Object.values(world.grants).map((id) => ({ kind: 'grant' as const, id })),
  )
  return Object.entries(world.grants)
    .filter(([, id]) => view.get('grant', id)?.value.state === 'active')
    .map(([name]) => name)
}

describe('C2 what is locked is refused at once, and what was given under it ends; nothing else', () => {
  const cases: readonly [Lockable, string, readonly string[]][] = [
    ['subject', 'Agent/migrator', ['handbook', 'other', 'stow']],
    ['subject', 'Person/ada', ['page']],
    ['tool', 'stow', ['page', 'handbook', 'other']],
    ['resource', 'Document/handbook', ['other', 'stow']],
    ['resource', 'Document/page', ['handbook', 'other', 'stow']],
    ['owner', 'Person/hedy', ['handbook', 'other', 'stow']],
    ['owner', 'Person/nobody', ['page', 'handbook', 'other', 'stow']],
  ]
  for (const [what, about, left] of cases) {
    test(`${what} ${about}`, async () => {
      await using world = await stage()
      const { flows } = world.app
      const admin = await sessionFor(world, 'zoe', ['Group/administrators'])
      world.clock.advance(1)
      const { denied, recorded } = await flows.locks.lock(admin, { what, about, reason: 'INC-42' })
      assert.deepEqual([denied, recorded], [true, true])
      // at once, before anything was looked at again
      const outcomes = await Promise.all([
        flows.ask(world.migrator, read('Agent/migrator', 'Document/page')),
        flows.ask(world.ada, read('Person/ada')),
        flows.ask(world.ada, read('Person/ada', 'Document/other')),
        flows.ask(world.ada, attempt('Person/ada', 'stow', 'Document/other')),
      ])
      const permitted = ['page', 'handbook', 'other', 'stow'].filter(
        (_, i) => outcomes[i]?.outcome === 'permit',
      )
      assert.deepEqual(permitted, left)
      for (const { outcome, reason } of outcomes)
        if (outcome !== 'permit') assert.equal(reason, what === 'subject' ? 'subject_locked' : 'locked')
      assert.deepEqual(await living(world), left)
      const ended = (await entries(world.app)).filter(({ kind }) => kind === 'grant.ended')
      for (const entry of ended) assert.match(String(entry['reason']), /INC-42/)
      const listed = (await flows.locks.list(admin, {})).items
      assert.deepEqual(
        listed.map((lock) => [lock.what, lock.about, lock.reason]),
        [[what, about, 'INC-42']],
      )

      world.clock.advance(1)
      assert.equal((await flows.locks.unlock(admin, what, about)).endedAt, world.clock.wall())
      await fails(flows.locks.unlock(admin, what, about), 'ERR_NOT_FOUND')
      assert.deepEqual((await flows.locks.list(admin, {})).items, [])
      const again = await flows.ask(world.migrator, read('Agent/migrator', 'Document/page'))
      assert.equal(again.outcome, 'permit')
      // what ended stays ended, also after a restart
      assert.deepEqual(await living(world), left)
    })
  }

  test('a task with what is below it', async () => {
    await using world = await stage()
    const { flows } = world.app
    const task = await declare(world)
    const beside = await declare(world)
    const child = await declare(world, { parent: task })
    const { grant } = await activeGrant(world, child)
    world.clock.advance(1)
    await flows.locks.lock(world.ada, { what: 'task', about: task, reason: 'INC-42' })
    await flows.settled()
    assert.equal((await flows.grant(world.ada, grant)).grant.state, 'closed')
    assert.equal((await flows.evaluate(world.migrator, migration(child))).outcome, 'deny')
    await fails(flows.locks.unlock(world.migrator, 'task', task), 'ERR_FORBIDDEN')
    await flows.locks.unlock(world.ada, 'task', task)
    assert.equal((await flows.evaluate(world.migrator, migration(task))).reason, 'task_ended')
    assert.equal((await flows.evaluate(world.migrator, migration(beside))).outcome, 'challenge')
    await fails(
      flows.locks.lock(world.ada, { what: 'task', about: 'task_none', reason: 'r' }),
      'ERR_FORBIDDEN',
    )
  })

  test('a decision under way when it comes is none', async () => {
    for (const [what, about] of [
      ['tool', 'read'],
      ['resource', 'Document/handbook'],
      ['owner', 'Person/hedy'],
    ] as const) {
      await using world = await stage()
      const { flows } = world.app
      interpose(world, () => flows.locks.lock(world.ada, { what, about, reason: 'now' }))
      const { outcome, reason } = await flows.evaluate(
        world.migrator,
        read('Agent/migrator', 'Document/page'),
      )
      assert.deepEqual([outcome, reason], ['deny', 'locked'], what)
    }
  })

  test('B49 no secret leaves for what was locked while it was made', async () => {
    await using world = await stage()
    const { flows } = world.app
    const { grant } = await activeGrant(world)
    world.clock.advance(1)
    const reached = Promise.withResolvers<void>()
    const held = Promise.withResolvers<void>()
    world.system.around = (call, moment) => {
      if (call !== 'issue' || moment !== 'after') return undefined
      reached.resolve()
      return held.promise
    }
    const issuing = flows.issueCredential(world.migrator, grant)
    await reached.promise
    await flows.locks.lock(world.ada, { what: 'resource', about: 'Database/orders', reason: 'now' })
    held.resolve()
    const { decision, secret } = await issuing
    assert.deepEqual([decision.outcome, secret], ['deny', undefined])
    await flows.settled()
    assert.deepEqual(world.system.shelf.names(), [])
  })

  test('B20 what was approved before it was locked is void, and so is a grant that nobody has ended yet', async () => {
    await using world = await stage()
    const { flows } = world.app
    const task = await declare(world)
    const request = await requestMigration(world, task)
    const { approval = '' } = await flows.approve(world.grace, request.id, { statement: request.digest })
    const { grant } = await activeGrant(world)
    world.clock.advance(1)
    // taken away at once, before anything was looked at
    await flows.locks.lock(world.ada, { what: 'tool', about: 'db:migrate', reason: 'now' })
    await flows.locks.unlock(world.ada, 'tool', 'db:migrate')
    world.clock.advance(1)
    const activated = await flows.activate(world.migrator, migration(task, { approval }))
    assert.deepEqual([activated.grant, activated.decision.reason], [undefined, 'approval_expired'])
    await flows.settled()
    assert.equal((await flows.grant(world.ada, grant)).grant.state, 'closed')
  })

  test('B20 so has one on a subject', async () => {
    await using world = await stage()
    await world.app.stop()
    const store = await openTestStore({ folder: world.config.data, clock: world.clock })
    const at = world.clock.wall()
    await store.commit({
      reads: [{ kind: 'entity', id: 'Person/ada' }],
      run: (tx) => {
        const entity = tx.get('entity', 'Person/ada')?.value ?? assert.fail()
        tx.put('entity', 'Person/ada', { ...entity, locked: { reason: 'r', at, until: at + 1 } })
      },
    })
    await store.close()
    world.clock.advance(2)
    const again = await world.restart()
    assert.deepEqual(await living({ ...world, app: again.app }), ['page'])
    await again.app.stop()
  })

  test('B20 a lock that came and went while nobody was there to react has ended what was given before', async () => {
    await using world = await stage()
    await world.app.stop()
    const store = await openTestStore({ folder: world.config.data, clock: world.clock })
    const at = world.clock.wall()
    const lock = { id: 'tool stow', what: 'tool', about: 'stow', reason: 'r', by: 'x' } as const
    await store.commit({ reads: [], run: (tx) => tx.put('lock', lock.id, { ...lock, at, endedAt: at + 1 }) })
    await store.close()
    world.clock.advance(1)
    const again = await world.restart()
    assert.deepEqual(await living({ ...world, app: again.app }), ['page', 'handbook', 'other'])
    await again.app.stop()
  })
})

/** More than end with the lock itself. */
const MANY = 40

describe('C2 P6c what is much is denied at once, and ends some at a time after the lock is on the record', () => {
  /** Tasks of the agent, one below another, a grant under each, an ask, and grants without a task. */
  async function crowd(world: FaultWorld): Promise<{ tasks: string[]; grants: string[]; request: string }> {
    const { flows } = world.app
    const scope = {
      actions: ['read', 'db:migrate'],
      resources: [ref('Document/handbook'), ref('Database/orders')],
    }
    const tasks: string[] = []
    const grants: string[] = []
    for (let i = 0; i < MANY; i += 1) {
      const parent = i % 4 === 0 ? undefined : tasks.at(-1)
      const task = await declare(world, { scope, ...(parent === undefined ? {} : { parent }) })
      tasks.push(task)
      const asked = attempt('Agent/migrator', 'read', 'Document/handbook', { task })
      const { grant } = await flows.activate(world.migrator, asked)
      grants.push(grant?.id ?? assert.fail())
    }
    const { id } = await requestMigration(world, tasks[0] as string)
    world.clock.advance(1)
    return { tasks, grants, request: id }
  }

  const states = async (
    app: FaultWorld['app'],
    found: { tasks: string[]; grants: string[]; request: string },
  ) => {
    const view = await app.store.read([
      ...found.tasks.map((id) => ({ kind: 'task' as const, id })),
      ...found.grants.map((id) => ({ kind: 'grant' as const, id })),
      { kind: 'request', id: found.request },
    ])
    return [
      [...new Set(found.tasks.map((id) => view.get('task', id)?.value.state))],
      [...new Set(found.grants.map((id) => view.get('grant', id)?.value.state))],
      view.get('request', found.request)?.value.status,
    ]
  }

  for (const kind of ['subject', 'task'] as const) {
    test(`of a ${kind}`, async () => {
      await using world = await faultWorld({ policies })
      const { flows } = world.app
      const found = await crowd(world)
      let about = 'Agent/migrator'
      if (kind === 'task') {
        // so that all of them are below one
        about = await declare(world, { scope: { actions: ['read'], resources: [ref('Document/handbook')] } })
        for (let i = 0; i < MANY; i += 1) {
          const child = await declare(world, {
            parent: about,
            scope: { actions: ['read'], resources: [ref('Document/handbook')] },
          })
          const { grant } = await flows.activate(
            world.migrator,
            attempt('Agent/migrator', 'read', 'Document/handbook', { task: child }),
          )
          found.grants.push(grant?.id ?? assert.fail())
          found.tasks.push(child)
        }
        found.grants.splice(0, MANY)
        found.tasks.splice(0, MANY)
        world.clock.advance(1)
      }
      const before = (await world.app.store.log.head()).size
      const answer = await flows.locks.lock(world.ada, { what: kind, about, reason: 'INC-42' })
      assert.deepEqual([answer.denied, answer.recorded, answer.ending, answer.grants], [true, true, true, []])
      // at once, whatever has ended yet
      const all = await Promise.all(
        found.tasks.map((task) =>
          flows.ask(world.migrator, attempt('Agent/migrator', 'read', 'Document/handbook', { task })),
        ),
      )
      assert.ok(all.every(({ outcome }) => outcome === 'deny'))
      await flows.settled()
      const [tasks, grants, request] = await states(world.app, found)
      assert.deepEqual([tasks, grants], [['cancelled'], ['closed']])
      assert.equal(request, kind === 'subject' ? 'cancelled' : 'pending')
      const [lock] = (await flows.locks.list(world.ada, {})).items
      const told = kind === 'task' ? MANY + 1 : MANY
      assert.deepEqual([lock?.ended, lock?.isEnding], [{ tasks: told, grants: MANY }, false])
      // the lock is on the record before anything that it ended, and those below go before their tasks
      const since = (await entries(world.app)).slice(before)
      assert.match(String(since[0]?.['kind']), /^(?:lock\.set|subject\.locked)$/)
      for (const { kind: what, reason } of since)
        if (what === 'grant.ended' || what === 'task.ended') assert.match(String(reason), /locked: INC-42/)
      const at = new Map(
        since.flatMap((entry, i) => (entry.kind === 'task.ended' ? [[entry['task'], i]] : [])),
      )
      const view = await world.app.store.read(found.tasks.map((id) => ({ kind: 'task' as const, id })))
      for (const id of found.tasks) {
        const parent = view.get('task', id)?.value.parent
        if (parent !== undefined) assert.ok((at.get(id) as number) < (at.get(parent) as number))
      }
    })
  }

  test('C1 and what a crash left is ended before anything is served, also after the lock is over', async () => {
    await using world = await faultWorld({ policies })
    const found = await crowd(world)
    await world.app.stop()
    // as it is on the disk when the process dies right after the lock
    const store = await openTestStore({ folder: world.config.data, clock: world.clock })
    const at = world.clock.wall()
    const lock = {
      id: 'subject Agent/migrator',
      what: 'subject',
      about: 'Agent/migrator',
      reason: 'INC-42',
    } as const
    await store.commit({
      reads: [{ kind: 'entity', id: 'Agent/migrator' }],
      run: (tx) => {
        tx.put('lock', lock.id, { ...lock, by: 'x', at, until: at + MINUTE, owes: true })
        const entity = tx.get('entity', 'Agent/migrator')?.value ?? assert.fail()
        tx.put('entity', 'Agent/migrator', {
          ...entity,
          locked: { reason: 'INC-42', at, until: at + MINUTE },
        })
      },
    })
    await store.close()
    world.clock.advance(2 * MINUTE)
    const again = await world.restart()
    const [tasks, , request] = await states(again.app, found)
    assert.deepEqual([tasks, request], [['cancelled'], 'cancelled'])
    await again.app.flows.settled()
    assert.deepEqual((await states(again.app, found))[1], ['closed'])
    const view = await again.app.store.read([{ kind: 'lock', id: lock.id }])
    assert.equal(view.get('lock', lock.id)?.value.owes, undefined)
    await again.app.stop()
  })

  test('B20 a lock that is taken away before all of it has ended ends it all the same', async () => {
    await using world = await faultWorld({ policies })
    const { flows } = world.app
    const found = await crowd(world)
    await flows.locks.lock(world.ada, { what: 'subject', about: 'Agent/migrator', reason: 'INC-42' })
    await flows.locks.unlock(world.ada, 'subject', 'Agent/migrator')
    world.clock.advance(1)
    for (const grant of found.grants) {
      const asked = attempt('Agent/migrator', 'read', 'Document/handbook', { grant })
      assert.equal((await flows.ask(world.migrator, asked)).reason === 'evidence', false)
    }
    await flows.settled()
    assert.deepEqual((await states(world.app, found)).slice(0, 2), [['cancelled'], ['closed']])
    // and nothing that began afterwards
    const { grant } = await flows.activate(world.migrator, read('Agent/migrator'))
    await flows.settled()
    assert.equal((await flows.grant(world.ada, grant?.id ?? '')).grant.state, 'active')
  })
})

describe('the lock itself', () => {
  test('covers what a team owns, and none of the team takes it away; nor another name of who is locked', async () => {
    await using world = await stage()
    const { flows } = world.app
    await put(
      world,
      { type: 'Person', id: 'eve-2', kind: 'human', owner: ref('Person/eve') },
      {
        type: 'Agent',
        id: 'migrator',
        kind: 'agent',
        team: ref('Group/pair'),
        parents: [ref('Group/deployers')],
      },
    )
    const eve = await sessionFor(world, 'eve', ['Group/pair'])
    await flows.locks.lock(world.ada, { what: 'owner', about: 'Group/pair', reason: 'r' })
    const asked = read('Agent/migrator', 'Document/page')
    assert.equal((await flows.ask(world.migrator, asked)).reason, 'locked')
    await fails(flows.locks.unlock(eve, 'owner', 'Group/pair'), 'ERR_FORBIDDEN')
    await flows.locks.unlock(world.ada, 'owner', 'Group/pair')
    await flows.locks.lock(world.ada, { what: 'subject', about: 'Person/eve-2', reason: 'r' })
    await fails(flows.locks.unlock(eve, 'subject', 'Person/eve-2'), 'ERR_FORBIDDEN')
    await flows.locks.lock(world.ada, { what: 'subject', about: 'Agent/migrator', reason: 'r' })
    await flows.locks.unlock(eve, 'subject', 'Agent/migrator')
    // nor whoever acts for who is under it, although both may
    await flows.locks.lock(world.ada, { what: 'owner', about: 'Person/hedy', reason: 'r' })
    const acting = { ...eve, chain: [eve.subject, ref('Person/hedy')] }
    await fails(flows.locks.unlock(acting, 'owner', 'Person/hedy'), 'ERR_FORBIDDEN')
    await flows.locks.unlock(eve, 'owner', 'Person/hedy')
  })

  test('that ends soon is a problem that doctor tells, and one that has passed already is refused', async () => {
    await using world = await stage()
    const { flows } = world.app
    const lock = { what: 'resource', about: 'Document/other', reason: 'r' } as const
    const now = world.clock.wall()
    await fails(flows.locks.lock(world.ada, { ...lock, until: now }), 'ERR_INPUT_INVALID')
    await flows.locks.lock(world.ada, { ...lock, until: now + 60 * MINUTE })
    assert.doesNotMatch((await flows.problems()).join(), /the lock on/)
    world.clock.advance(50 * MINUTE)
    assert.match(
      (await flows.problems()).join(),
      /the lock on the resource `Document\/other` ends at .*: lock it again/,
    )
    world.clock.advance(10 * MINUTE)
    assert.doesNotMatch((await flows.problems()).join(), /the lock on/)
  })

  test('ends when it says, is never shortened, and holds across a restart', async () => {
    await using world = await stage()
    const { flows } = world.app
    const until = world.clock.wall() + 10 * MINUTE
    const asked = read('Person/ada', 'Document/other')
    const lock = { what: 'resource', about: 'Document/other', reason: 'r' } as const
    await flows.locks.lock(world.ada, { ...lock, until })
    await flows.locks.lock(world.ada, { ...lock, until: until - MINUTE })
    world.clock.advance(9 * MINUTE)
    assert.equal((await flows.evaluate(world.ada, asked)).reason, 'locked')
    const again = await world.restart()
    assert.equal((await again.app.flows.evaluate(world.ada, asked)).reason, 'locked')
    world.clock.advance(MINUTE)
    assert.equal((await again.app.flows.evaluate(world.ada, asked)).outcome, 'permit')
    assert.deepEqual((await again.app.flows.locks.list(world.ada, {})).items, [])
    await again.app.stop()
  })

  test('is set by who may revoke, an owner of what is theirs; and taken away by who may unlock, never by who is under it', async () => {
    await using world = await stage()
    const { locks } = world.app.flows
    const hedy = await sessionFor(world, 'hedy')
    const eve = await sessionFor(world, 'eve')
    const mine = { what: 'owner', about: 'Person/hedy', reason: 'stolen laptop' } as const
    await fails(locks.lock(world.grace, mine), 'ERR_FORBIDDEN')
    await fails(locks.lock(world.migrator, { ...mine, what: 'tool', about: 'read' }), 'ERR_FORBIDDEN')
    await locks.lock(hedy, mine)
    await fails(locks.unlock(hedy, 'owner', 'Person/hedy'), 'ERR_FORBIDDEN')
    await fails(locks.unlock(world.grace, 'owner', 'Person/hedy'), 'ERR_FORBIDDEN')
    await fails(locks.list(hedy, {}), 'ERR_FORBIDDEN')
    await locks.unlock(eve, 'owner', 'Person/hedy')
    // also whom policy would let: not out of their own lock
    await locks.lock(world.ada, { what: 'subject', about: 'Person/eve', reason: 'r' })
    await fails(locks.unlock(eve, 'subject', 'Person/eve'), 'ERR_FORBIDDEN')
    await locks.lock(world.ada, { what: 'owner', about: 'Person/eve', reason: 'r' })
    await locks.unlock(world.ada, 'subject', 'Person/eve')
    await fails(locks.unlock(eve, 'owner', 'Person/eve'), 'ERR_FORBIDDEN')
  })

  test('what can be no subject, resource or action is refused, and nobody locks Writ out of itself', async () => {
    await using world = await stage()
    const { locks } = world.app.flows
    for (const [what, about] of [
      ['resource', 'orders'],
      ['owner', 'Person/'],
      ['subject', 'no type/x'],
      ['resource', 'Writ::System/writ'],
      ['tool', 'Writ::revoke'],
      ['tool', 'read\u200b'],
      // it would hold for nobody
      ['subject', 'Group/deployers'],
    ] as const)
      await fails(locks.lock(world.ada, { what, about, reason: 'r' }), 'ERR_INPUT_INVALID')
  })

  test('C1 works ahead of its record when the disk is full, credentials and all, and is recorded when there is room', async () => {
    let full = false
    const step = (): void => {
      if (full) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    }
    await using world = await faultWorld({ targets: true, hooks: { step } })
    const { flows } = world.app
    const { grant } = await activeGrant(world)
    await flows.issueCredential(world.migrator, grant)
    assert.equal(world.system.shelf.names().length, 1)
    world.clock.advance(1)
    const lock = { what: 'resource', about: 'Database/orders', reason: 'INC-42' } as const
    // also for a decision under way, although there is room for it again
    interpose(world, async () => {
      full = true
      await flows.locks.lock(world.ada, { ...lock, about: 'Document/handbook' })
      full = false
      world.clock.advance(MINUTE)
    })
    const late = await flows.evaluate(world.migrator, read('Agent/migrator'))
    assert.deepEqual([late.outcome, late.reason], ['deny', 'locked'])
    full = true
    const { denied, recorded } = await flows.locks.lock(world.ada, lock)
    assert.deepEqual([denied, recorded], [true, false])
    await flows.settled()
    assert.deepEqual(world.system.shelf.names(), [])
    assert.equal((await flows.ask(world.migrator, migration(undefined))).reason, 'locked')
    full = false
    world.clock.advance(MINUTE)
    await settle(world.app)
    assert.ok((await kindsOf(world.app)).includes('lock.set'))
    assert.equal((await flows.grant(world.ada, grant)).grant.state, 'closed')
    assert.equal(world.app.decision.barrier.size, 0)
  })
})
