import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isWritError } from '../../src/model/errors.ts'
import { MINUTE, SECOND } from '../../src/model/time.ts'
import { activeGrant, declare, migration, requestMigration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import {
  attempt,
  callerOf,
  entries,
  fails,
  faultWorld,
  interpose,
  keyFor,
  kindsOf,
  put,
  ref,
  serve,
  sessionFor,
  settle,
  withPolicy,
} from './support.ts'

const read = (task?: string) =>
  attempt('Agent/migrator', 'read', 'Document/handbook', task === undefined ? {} : { task })
const reading = { scope: { actions: ['read'], resources: [ref('Document/handbook')] } }

/** A live credential for the migration at the fake target. */
async function issued(world: FaultWorld) {
  const { task, grant } = await activeGrant(world)
  const { credential, secret } = await world.app.flows.issueCredential(world.migrator, grant)
  assert.ok(credential !== undefined && secret !== undefined)
  return { task, grant, credential: credential.id, name: `fake_${credential.id}` }
}

const credentialState = async (world: FaultWorld, grant: string) =>
  (await world.app.flows.grant(world.ada, grant)).credentials.map((c) => c.state)

describe('C2 what is revoked permits nothing from then on', () => {
  test('a grant, at once, and its credential is verified gone', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const { grant, task, name } = await issued(world)
    assert.deepEqual(world.system.shelf.names(), [name])
    const narrowing = await flows.revokeGrant(world.ada, grant, 'enough')
    assert.deepEqual(
      [narrowing.denied, narrowing.recorded, narrowing.grants.map((g) => g.end)],
      [true, true, ['revoked']],
    )
    const decision = await flows.evaluate(world.migrator, migration(task, { grant }))
    assert.deepEqual([decision.outcome, decision.reason], ['deny', 'grant_ended'])
    await fails(flows.issueCredential(world.migrator, 'grant_none'), 'ERR_NOT_FOUND')
    assert.equal((await flows.issueCredential(world.migrator, grant)).decision.outcome, 'deny')
    await flows.settled()
    assert.deepEqual([world.system.shelf.names(), await credentialState(world, grant)], [[], ['absent']])
    assert.equal((await flows.grant(world.migrator, grant)).grant.state, 'closed')
  })

  test('a task, and everything below it', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const root = await declare(world, reading)
    const child = await declare(world, { ...reading, parent: root })
    const leaf = await declare(world, { ...reading, parent: child })
    for (const task of [root, child, leaf])
      assert.equal((await flows.evaluate(world.migrator, read(task))).outcome, 'permit')
    await flows.revokeTask(world.ada, root, 'enough')
    for (const task of [root, child, leaf])
      assert.equal((await flows.evaluate(world.migrator, read(task))).reason, 'task_ended')
    await fails(flows.heartbeat(world.migrator, leaf), 'ERR_CONFLICT')
    await fails(declare(world, { ...reading, parent: leaf }), 'ERR_CONFLICT')
  })

  test('a subject: tasks, grants, credentials, requests; a lock ends when it says, and no later lock shortens it', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const { grant, task } = await issued(world)
    const waiting = await declare(world)
    const request = await requestMigration(world, waiting)
    const until = world.clock.wall() + 5 * MINUTE
    await flows.locks.lock(world.ada, {
      what: 'subject',
      about: 'Agent/migrator',
      reason: 'compromised',
      until,
    })
    await flows.settled()
    assert.equal((await flows.evaluate(world.migrator, read())).reason, 'subject_locked')
    assert.equal((await flows.task(world.ada, task)).task.state, 'cancelled')
    assert.equal((await flows.request(world.ada, request.id)).status, 'cancelled')
    assert.deepEqual(await credentialState(world, grant), ['absent'])
    await fails(declare(world), 'ERR_FORBIDDEN')
    // somebody who may only take away must not give back
    await flows.locks.lock(world.ada, {
      what: 'subject',
      about: 'Agent/migrator',
      reason: 'again',
      until: world.clock.wall() + 1,
    })
    world.clock.advance(MINUTE)
    assert.equal((await flows.evaluate(world.migrator, read())).reason, 'subject_locked')
    world.clock.advance(4 * MINUTE)
    assert.equal((await flows.evaluate(world.migrator, read())).outcome, 'permit')
    await flows.locks.lock(world.ada, { what: 'subject', about: 'Agent/migrator', reason: 'for good' })
    await flows.locks.lock(world.ada, {
      what: 'subject',
      about: 'Agent/migrator',
      reason: 'again',
      until: world.clock.wall() + 1,
    })
    world.clock.advance(60 * MINUTE)
    assert.equal((await flows.evaluate(world.migrator, read())).reason, 'subject_locked')
  })

  test('a subject nobody registered is locked too, and what can be no subject is refused', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const pep = await keyFor(world, 'Service/orders-ci', { subjects: ['*'], attributes: {} })
    const stranger = attempt('Robot/r2', 'read', 'Document/handbook')
    await flows.locks.lock(world.ada, { what: 'subject', about: 'Robot/r2', reason: 'r' })
    assert.equal((await flows.evaluate(pep, stranger)).reason, 'subject_locked')
    for (const bad of ['Bad Type/x', 'Writ::System/writ', 'Action/read', 'Robot/ r2']) {
      await fails(
        flows.locks.lock(world.ada, { what: 'subject', about: bad, reason: 'r' }),
        'ERR_INPUT_INVALID',
      )
    }
    const again = await world.restart()
    assert.equal((await again.app.flows.evaluate(pep, stranger)).reason, 'subject_locked')
    await again.app.stop()
  })

  test('a key and a session, with what they obtained', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const made = await flows.createKey(world.ada, { name: 'k', subject: ref('Agent/migrator') })
    const key = await callerOf(world.app, made.secret.expose())
    const { grant } = await issued({ ...world, migrator: key })
    await flows.revokeKey(world.ada, made.id)
    await flows.settled()
    assert.equal((await flows.evaluate(key, read())).reason, 'subject_locked')
    await fails(callerOf(world.app, made.secret.expose()), 'ERR_UNAUTHENTICATED')
    assert.deepEqual(await credentialState(world, grant), ['absent'])
    assert.equal((await flows.evaluate(world.migrator, read())).outcome, 'permit')
    await fails(flows.revokeKey(world.ada, 'key_none'), 'ERR_NOT_FOUND')
    await fails(flows.revokeKey(world.migrator, made.id), 'ERR_FORBIDDEN')

    await flows.signOut(world.grace)
    await fails(callerOf(world.app, world.tokens.grace), 'ERR_UNAUTHENTICATED')
    const signedOut = await flows.evaluate(world.grace, attempt('Person/grace', 'read', 'Document/handbook'))
    assert.equal(signedOut.reason, 'subject_locked')
    assert.equal(world.app.decision.barrier.size, 0)
  })

  test('the owner may take back what is theirs, others may not', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    await put(world, {
      type: 'Agent',
      id: 'migrator',
      kind: 'agent',
      owner: ref('Person/eve'),
      parents: [ref('Group/deployers')],
    })
    const eve = await sessionFor(world, 'eve')
    const { grant } = await activeGrant(world)
    await fails(
      flows.locks.lock(world.grace, { what: 'subject', about: 'Agent/migrator', reason: 'r' }),
      'ERR_FORBIDDEN',
    )
    await fails(flows.locks.lock(eve, { what: 'subject', about: 'Person/ada', reason: 'r' }), 'ERR_FORBIDDEN')
    assert.equal(
      (await flows.locks.lock(eve, { what: 'subject', about: 'Agent/migrator', reason: 'r' })).grants[0]?.id,
      grant,
    )
  })

  test('what policy or inventory no longer permits ends by itself', async () => {
    for (const change of ['policy', 'inventory', 'end'] as const) {
      await using world = await faultWorld({ targets: true })
      const { flows } = world.app
      const { grant } = await issued(world)
      const whole = { type: 'Agent', id: 'migrator', kind: 'agent', owner: ref('Person/ada') } as const
      await put(world, { type: 'Document', id: 'beside' })
      assert.equal((await flows.grant(world.ada, grant)).grant.state, 'active')
      if (change === 'policy')
        await flows.publish(world.ada, {
          policies: withPolicy('@id("no") forbid (principal, action == Action::"db:migrate", resource);'),
        })
      if (change === 'inventory') await put(world, { ...whole, parents: [] })
      if (change === 'end') {
        // C3: the end of a subject that is set while its grant lives bounds it
        await put(world, {
          ...whole,
          parents: [ref('Group/deployers')],
          endsAt: world.clock.wall() + 5 * SECOND,
        })
        await flows.settled()
        assert.equal((await flows.grant(world.ada, grant)).grant.endsAt, world.clock.wall() + 5 * SECOND)
        world.clock.advance(5 * SECOND)
        await settle(world.app)
      }
      await flows.settled()
      assert.deepEqual(
        [world.system.shelf.names(), await credentialState(world, grant)],
        [[], ['absent']],
        change,
      )
    }
  })
})

describe('B49 revoking and issuing are in one order', () => {
  // the revocation comes at every commit and at every call of the target on the way of an issue
  const places = [
    'before',
    'commit 1',
    'at the target, before',
    'at the target, after',
    'commit 2',
    'after',
  ] as const
  const verbs = {
    grant: (w: FaultWorld, m: { grant: string }) => w.app.flows.revokeGrant(w.ada, m.grant, 'r'),
    task: (w: FaultWorld, m: { task: string }) => w.app.flows.revokeTask(w.ada, m.task, 'r'),
    subject: (w: FaultWorld) =>
      w.app.flows.locks.lock(w.ada, { what: 'subject', about: 'Agent/migrator', reason: 'r' }),
  }
  for (const [what, verb] of Object.entries(verbs)) {
    test(`of a ${what}, wherever it comes in between`, async () => {
      await using world = await faultWorld({ targets: true })
      const { flows } = world.app
      for (const place of places) {
        const agent = {
          type: 'Agent',
          id: 'migrator',
          kind: 'agent',
          owner: ref('Person/ada'),
          parents: [ref('Group/deployers')],
        } as const
        if (what === 'subject') {
          await flows.deleteEntity(world.ada, ref('Agent/migrator'))
          await put(world, agent)
        }
        const as = { ...world, migrator: await keyFor(world, 'Agent/migrator') }
        const made = await activeGrant(as)
        const revoke = async () => {
          assert.equal((await verb(world, made)).denied, true)
        }
        const { system } = world
        if (place === 'commit 1') interpose(world, revoke)
        if (place === 'at the target, before') system.at('issue', 'before', revoke)
        if (place === 'at the target, after') system.at('issue', 'after', revoke)
        if (place === 'commit 2') system.at('issue', 'after', () => void interpose(world, revoke))
        if (place === 'before') await revoke()
        const answer = await flows.issueCredential(as.migrator, made.grant)
        if (place === 'after') await revoke()
        system.around = undefined
        await settle(world.app)
        if (place !== 'after')
          assert.deepEqual([answer.decision.outcome, answer.secret], ['deny', undefined], place)
        assert.deepEqual(system.shelf.names(), [], place)
        const { grant, credentials } = await flows.grant(world.ada, made.grant)
        assert.equal(grant.state, 'closed', place)
        assert.ok(
          credentials.every((c) => c.state === 'absent'),
          place,
        )
      }
    })
  }

  test('C8 an issue that outlives its revocation is removed although its row was verified absent before', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const { grant } = await activeGrant(world)
    world.system.at('issue', 'before', async () => {
      await flows.revokeGrant(world.ada, grant, 'r')
      await flows.settled() // seen absent: it does not exist yet
      assert.deepEqual(await credentialState(world, grant), ['absent'])
    })
    const { secret } = await flows.issueCredential(world.migrator, grant)
    assert.deepEqual([secret, world.system.shelf.names()], [undefined, []])
  })

  test('no attempt that begins after a revocation returned is permitted, in hundreds of interleavings', async () => {
    await using world = await faultWorld({
      policies:
        withPolicy(`@id("call") @binding("task") permit (principal in Group::"deployers", action == Action::"call", resource is Database)
        when { context.proof.approvals.dba >= 1 };`),
    })
    const { flows } = world.app
    for (let round = 0; round < 12; round += 1) {
      const task = await declare(world, { scope: { actions: ['call'], resources: [ref('Database/orders')] } })
      const call = attempt('Agent/migrator', 'call', 'Database/orders', { task })
      const denied = await flows.evaluate(world.migrator, call)
      const request = await flows.submit(world.migrator, {
        ...call,
        denial: { evaluationId: denied.id, expiresAt: 0 },
      })
      const { approval = '' } = await flows.approve(world.grace, request.id, { statement: request.digest })
      const { grant } = await flows.activate(world.migrator, { ...call, context: { task, approval } })
      let returned = false
      const began: { after: boolean; outcome: string }[] = []
      const attempts: Promise<void>[] = []
      const one = (): void => {
        const after = returned
        attempts.push(
          flows.evaluate(world.migrator, call).then(({ outcome }) => void began.push({ after, outcome })),
        )
      }
      const revoking = (async () => {
        for (let i = 0; i < round; i += 1) await Promise.resolve()
        await flows.revokeGrant(world.ada, grant?.id ?? '', 'r')
        returned = true
      })()
      for (let i = 0; i < 24; i += 1) {
        one()
        if (i % 3 === round % 3) await new Promise((next) => setImmediate(next))
      }
      await revoking
      for (let i = 0; i < 4; i += 1) one()
      await Promise.all(attempts)
      assert.ok(began.some((b) => b.after))
      assert.deepEqual(
        began.filter((b) => b.after && b.outcome === 'permit'),
        [],
      )
    }
  })
})

describe('B40 no credential without a committed permit', () => {
  test('a target that fails hands out nothing, and what it may have made is taken back', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const { grant } = await activeGrant(world)
    world.system.at('issue', 'after', () => Promise.reject(new Error('lost')))
    await assert.rejects(flows.issueCredential(world.migrator, grant), { message: 'lost' })
    await flows.settled()
    assert.deepEqual([world.system.shelf.names(), await credentialState(world, grant)], [[], ['absent']])
    // one use is one use: doors that act never act twice
    assert.equal((await flows.issueCredential(world.migrator, grant)).decision.outcome, 'deny')
  })

  test('the row and the permit are on the record before the target is asked', async () => {
    await using world = await faultWorld({ targets: true })
    const { grant } = await activeGrant(world)
    let seen: readonly string[] = []
    world.system.at('issue', 'before', async () => {
      seen = await kindsOf(world.app)
    })
    await world.app.flows.issueCredential(world.migrator, grant)
    assert.deepEqual(seen.slice(-2), ['decision', 'credential.planned'])
    assert.equal((await kindsOf(world.app)).at(-1), 'credential.live')
  })

  test('under a foreign, ended or spent grant nothing is issued', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const { grant } = await issued(world)
    assert.equal((await flows.issueCredential(world.migrator, grant)).decision.reason, 'grant_spent')
    const other = await keyFor(world, 'Service/orders-ci')
    await fails(flows.issueCredential(other, grant), 'ERR_NOT_FOUND')
    assert.equal(world.system.shelf.names().length, 1)
  })
})

describe('B46 a dead target stalls nobody else, and is tried for ever', () => {
  test('the others are clean at once; the dead one is shown, and resolved when it is back', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    await serve(world, 'payments-db', 'db:migrate', 'Database/payments')
    const first = await issued(world)
    world.system.fault = 'down'
    await flows.revokeGrant(world.ada, first.grant, 'r')
    await flows.settled()
    assert.deepEqual(await credentialState(world, first.grant), ['unresolved'])
    assert.match(
      (await flows.problems()).join(),
      /`orders-db` is unresolved: target `orders-db` does not answer/,
    )
    assert.equal((await flows.grant(world.ada, first.grant)).grant.state, 'ended')
    const told = () =>
      kindsOf(world.app).then((kinds) => kinds.filter((k) => k === 'credential.unresolved').length)
    for (let i = 0; i < 20; i += 1) {
      world.clock.advance(MINUTE + 30 * SECOND)
      await settle(world.app)
    }
    assert.equal(await told(), 1) // a retry is no news
    const [credential] = (await flows.grant(world.ada, first.grant)).credentials
    assert.ok((credential?.tries ?? 0) >= 20)
    world.system.fault = 'none'
    world.clock.advance(2 * MINUTE)
    await settle(world.app)
    assert.deepEqual(
      [await credentialState(world, first.grant), world.system.shelf.names()],
      [['absent'], []],
    )
  })

  test('one that hangs holds only its own places', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    await put(world, { type: 'Database', id: 'stock', kind: 'resource', sensitivity: 3 })
    await serve(world, 'stock-db', 'db:migrate', 'Database/stock')
    const held: (() => void)[] = []
    world.system.at('revoke', 'before', () => new Promise((resolve) => held.push(resolve)))
    const hanging = await issued(world)
    await flows.revokeGrant(world.ada, hanging.grant, 'r')

    const task = await declare(world, {
      scope: { actions: ['db:migrate'], resources: [ref('Database/stock')] },
    })
    const input = { ...migration(task), resource: ref('Database/stock') }
    const { id } = await flows.evaluate(world.migrator, input)
    const request = await flows.submit(world.migrator, {
      ...input,
      denial: { evaluationId: id, expiresAt: 0 },
    })
    const { approval = '' } = await flows.approve(world.grace, request.id, { statement: request.digest })
    const { grant } = await flows.activate(world.migrator, { ...input, context: { task, approval } })
    await flows.issueCredential(world.migrator, grant?.id ?? '')
    const absent = new Promise<void>((resolve) => {
      const stop = world.app.store.log.subscribe((batch) => {
        if (!batch.some(({ bytes }) => Buffer.from(bytes).includes('"credential.absent"'))) return
        stop()
        resolve()
      })
    })
    await flows.endTask(world.migrator, task, 'completed')
    await absent
    assert.deepEqual(await credentialState(world, grant?.id ?? ''), ['absent'])
    assert.deepEqual(await credentialState(world, hanging.grant), ['revoking'])
    world.system.around = undefined
    held.forEach((release) => release())
    await flows.settled()
    assert.deepEqual(await credentialState(world, hanging.grant), ['absent'])
  })
})

describe('C8 the reconciler', () => {
  test('removes what has no row, keeps what has one, and never forgets what it could not remove', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const { name } = await issued(world)
    const revoked: string[] = []
    world.system.at('revoke', 'after', (orphan) => void revoked.push(orphan))
    world.system.shelf.add('fake_orphan')
    await settle(world.app)
    assert.deepEqual([world.system.shelf.names(), revoked], [[name], ['fake_orphan']])
    const kinds = await kindsOf(world.app)
    assert.deepEqual(
      kinds.filter((k) => k.startsWith('credential.orphan')),
      ['credential.orphan', 'credential.orphan-absent'],
    )

    world.system.shelf.add('fake_stubborn')
    world.system.fault = 'stays'
    for (let i = 0; i < 5; i += 1) {
      world.clock.advance(MINUTE)
      await settle(world.app)
    }
    assert.match(
      (await flows.problems()).join(),
      /`fake_stubborn` at `orders-db` has no row and is unresolved: something else holds on to it/,
    )
    const later = await kindsOf(world.app)
    assert.equal(later.filter((k) => k === 'credential.orphan').length, 2)
    assert.equal(later.filter((k) => k === 'credential.orphan-absent').length, 1)
    world.system.fault = 'none'
    world.clock.advance(MINUTE)
    await settle(world.app)
    assert.doesNotMatch((await flows.problems()).join(), /stubborn/)
    assert.equal(world.system.shelf.names().includes('fake_stubborn'), false)
  })
})

describe('B47 what was revoked stays revoked, what was under way goes on', () => {
  test('after a restart a revocation is finished, and a credential nobody can have is taken back', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const first = await issued(world)
    world.system.fault = 'down'
    await flows.revokeGrant(world.ada, first.grant, 'r')
    await flows.settled()
    // planned, its server gone before it was live
    const second = await activeGrant(world)
    const planned = 'fake_planned'
    world.system.shelf.add(planned)
    await world.app.store.commit({
      reads: [],
      run: (tx) =>
        tx.put('credential', 'cred_lost', {
          id: 'cred_lost',
          state: 'planned',
          grant: second.grant,
          task: second.task,
          target: 'orders-db',
          planned: { id: 'cred_lost', target: 'orders-db', name: planned, shape: {} },
          plannedAt: tx.now,
          endsAt: tx.now + MINUTE,
          tries: 0,
        }),
    })
    world.system.fault = 'none'
    const again = await world.restart()
    world.clock.advance(MINUTE)
    await settle(again.app)
    assert.deepEqual(world.system.shelf.names(), [])
    assert.equal((await again.app.flows.grant(again.ada, first.grant)).grant.state, 'closed')
    const attempted = await again.app.flows.evaluate(
      again.migrator,
      migration(first.task, { grant: first.grant }),
    )
    assert.equal(attempted.outcome, 'deny')
    await again.app.stop()
  })

  test('after a restart everything that ends by itself still does', async () => {
    await using world = await faultWorld({ targets: true })
    const { grant, task } = await issued(world)
    const pending = await requestMigration(world, await declare(world))
    const again = await world.restart()
    world.clock.advance(16 * SECOND)
    await settle(again.app)
    const state = await again.app.flows.task(again.ada, task)
    assert.deepEqual([state.task.state, state.clean], ['timed-out', true])
    assert.equal((await again.app.flows.grant(again.ada, grant)).grant.state, 'closed')
    world.clock.advance(15 * MINUTE)
    await settle(again.app)
    assert.equal((await again.app.flows.request(again.ada, pending.id)).status, 'expired')
    await again.app.stop()
  })
})

describe('B30 a heartbeat that lapses ends the task and what is under it', () => {
  test('at its instant, before anybody sweeps, and cleanly afterwards', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const { task, grant } = await issued(world)
    world.clock.advance(14_999)
    assert.equal((await flows.heartbeat(world.migrator, task)).state, 'open')
    world.clock.advance(15_000)
    assert.equal((await flows.evaluate(world.migrator, migration(task, { grant }))).reason, 'task_ended')
    await fails(flows.heartbeat(world.migrator, task), 'ERR_CONFLICT')
    await settle(world.app)
    const state = await flows.task(world.migrator, task)
    assert.deepEqual([state.task.state, state.clean, world.system.shelf.names()], ['timed-out', true, []])
  })

  test('B28 of a parent, whatever its children do', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const parent = await declare(world, reading)
    const child = await declare(world, { ...reading, parent })
    assert.equal((await flows.evaluate(world.migrator, read(child))).outcome, 'permit')
    world.clock.advance(10 * SECOND)
    await flows.heartbeat(world.migrator, child)
    world.clock.advance(5 * SECOND)
    assert.equal((await flows.evaluate(world.migrator, read(child))).reason, 'task_ended')
    await settle(world.app)
    assert.equal((await flows.task(world.migrator, child)).task.state, 'timed-out')
  })
})

describe('B27 the last instant renews nothing', () => {
  test('a grant and a task are over at their end, whatever was done just before', async () => {
    await using world = await faultWorld({
      config: {
        defaults: {
          request: 15 * MINUTE,
          task: 2 * MINUTE,
          heartbeat: 15 * SECOND,
          grant: MINUTE,
          thirdPartyGrant: MINUTE,
        },
      },
      policies: withPolicy(
        `@id("call") @binding("task") permit (principal in Group::"deployers", action == Action::"call", resource is Document);`,
      ),
    })
    const { flows } = world.app
    const task = await declare(world, { scope: { actions: ['call'], resources: [ref('Document/handbook')] } })
    const call = attempt('Agent/migrator', 'call', 'Document/handbook', { task })
    const { grant } = await flows.activate(world.migrator, call)
    const began = world.clock.wall()
    assert.equal(grant?.endsAt, began + MINUTE) // the configured bound holds where policy says nothing
    const at = async (after: number) => {
      while (world.clock.wall() < began + after) {
        world.clock.advance(Math.min(14 * SECOND, began + after - world.clock.wall()))
        if (world.clock.wall() < began + 2 * MINUTE) await flows.heartbeat(world.migrator, task)
      }
      await settle(world.app)
      return (await flows.evaluate(world.migrator, { ...call, context: { task, grant: grant?.id ?? '' } }))
        .outcome
    }
    assert.equal(await at(MINUTE - 1), 'permit')
    assert.equal((await flows.grant(world.migrator, grant?.id ?? '')).grant.state, 'active')
    await at(MINUTE)
    assert.equal((await flows.grant(world.migrator, grant?.id ?? '')).grant.end, 'expired')
    const last = await flows.activate(world.migrator, call)
    assert.equal(last.grant?.endsAt, began + 2 * MINUTE)
    assert.equal(await at(2 * MINUTE - 1), 'permit')
    assert.equal(await at(2 * MINUTE), 'deny')
    await fails(flows.heartbeat(world.migrator, task), 'ERR_CONFLICT')
    assert.equal((await flows.task(world.migrator, task)).task.state, 'timed-out')
  })

  test('B31 a machine that slept finds over what ended meanwhile', async () => {
    await using world = await faultWorld({ targets: true })
    const { grant, task } = await issued(world)
    world.clock.set(world.clock.wall() + 8 * 60 * MINUTE) // the wall clock jumps, no time passed by the other
    const decision = await world.app.flows.evaluate(world.migrator, migration(task, { grant }))
    assert.equal(decision.outcome, 'deny')
    await settle(world.app)
    assert.deepEqual([world.system.shelf.names(), await credentialState(world, grant)], [[], ['absent']])
  })
})

describe('C5 child tasks only narrow', () => {
  test('in scope, limits, life and subject', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const parent = await declare(world, {
      ...reading,
      life: 2 * MINUTE,
      heartbeat: 60 * MINUTE,
      limits: { calls: 3 },
    })
    const wider = { scope: { actions: ['read', 'write'], resources: [ref('Document/handbook')] }, parent }
    await fails(declare(world, wider), 'ERR_FORBIDDEN')
    await fails(
      declare(world, { scope: { actions: ['read'], resources: [{ type: 'Document' }] }, parent }),
      'ERR_FORBIDDEN',
    )
    const child = await declare(world, {
      ...reading,
      parent,
      life: 60 * MINUTE,
      heartbeat: 60 * MINUTE,
      limits: { calls: 99 },
    })
    world.clock.advance(10 * SECOND)
    assert.equal((await flows.evaluate(world.migrator, read(parent))).outcome, 'permit')
    world.clock.advance(MINUTE)
    assert.equal((await flows.evaluate(world.migrator, read(child))).outcome, 'permit')
    const opened = (await flows.task(world.migrator, child)).task
    assert.equal(opened.endsAt, (await flows.task(world.migrator, parent)).task.endsAt)
    assert.equal((await flows.evaluate(world.migrator, read(child))).outcome, 'permit')
    assert.equal((await flows.evaluate(world.migrator, read(child))).reason, 'task_limit')
    world.clock.advance(MINUTE)
    assert.equal((await flows.evaluate(world.migrator, read(child))).reason, 'task_ended')
    const other = await keyFor(world, 'Service/orders-ci')
    await fails(flows.declareTask(other, { purpose: 'p', ...reading, parent }), 'ERR_NOT_FOUND')
  })
})

describe('B31 a clock that is set back extends nothing', () => {
  test('while it runs: nothing widens, ends still come, and narrowing works', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const { task, grant } = await activeGrant(world)
    world.clock.advance(5 * SECOND)
    await flows.heartbeat(world.migrator, task)
    world.clock.rewind(60 * MINUTE)
    const refused = await flows.evaluate(world.migrator, migration(task, { grant }))
    assert.deepEqual([refused.outcome, refused.reason, refused.nextAction], ['deny', 'clock_behind', 'retry'])
    world.clock.advance(15 * SECOND)
    await settle(world.app)
    assert.equal((await flows.task(world.migrator, task)).task.state, 'timed-out')
    assert.match((await flows.problems()).join(), /clock/)
  })

  test('across a restart: a clear refusal of what widens, and revocation goes through', async () => {
    await using world = await faultWorld({ targets: true })
    const { grant, task } = await issued(world)
    const request = await requestMigration(world, await declare(world))
    world.clock.rewind(24 * 60 * MINUTE)
    const again = await world.restart()
    const { flows } = again.app
    assert.equal((await flows.evaluate(again.migrator, read())).reason, 'clock_behind')
    for (const widening of [
      declare(again),
      flows.approve(again.grace, request.id, { statement: request.digest }),
      flows.createKey(again.ada, { name: 'k', subject: ref('Agent/migrator') }),
      flows.putEntities(again.ada, [{ type: 'Document', id: 'x' }]),
      flows.publish(again.ada, {
        policies: withPolicy('@id("x") permit (principal, action == Action::"read", resource);'),
      }),
    ]) {
      const error = await fails(widening, 'ERR_CLOCK_INVALID')
      assert.match(error.message, /behind the record/)
    }
    assert.equal((await flows.issueCredential(again.migrator, grant)).decision.outcome, 'deny')
    const narrowing = await flows.revokeGrant(again.ada, grant, 'r')
    assert.deepEqual([narrowing.recorded, narrowing.grants.length], [true, 1])
    await flows.denyRequest(again.grace, request.id, { statement: request.digest })
    await flows.endTask(again.migrator, task, 'completed')
    await flows.settled()
    assert.deepEqual(world.system.shelf.names(), [])
    await again.app.stop()
  })
})

describe('C1 a full disk', () => {
  test('widens nothing; revoking still works, first on the record, then ahead of it', async () => {
    let disk: 'free' | 'stuffed' = 'free'
    const step = (): void => {
      // SQLite says this of a full disk; what is kept back makes room for what narrows
      if (disk === 'stuffed') throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    }
    await using world = await faultWorld({ targets: true, hooks: { step }, maxBytes: 3 << 20 })
    const { flows } = world.app
    const first = await issued(world)
    const second = await issued(world)
    const third = await activeGrant(world)
    const request = await requestMigration(world, await declare(world))
    const ended = await declare(world)
    const key = await flows.createKey(world.ada, { name: 'k', subject: ref('Agent/migrator') })
    const late = await callerOf(world.app, key.secret.expose())
    let filling = 0
    for (let size = 200_000; size >= 500; size = Math.floor(size / 2)) {
      try {
        for (;;) {
          filling += 1
          const id = `fill-${filling}`
          await world.app.store.commit({
            reads: [],
            run: (tx) => tx.put('meta', id, { padding: 'x'.repeat(size) }),
          })
        }
      } catch (error) {
        if (!isWritError(error, 'ERR_STORE_FULL')) throw error
      }
    }
    for (const widening of [
      flows.evaluate(world.migrator, read()),
      declare(world),
      flows.activate(world.migrator, migration(third.task, { grant: third.grant })),
      flows.issueCredential(world.migrator, third.grant),
      flows.approve(world.grace, request.id, { statement: request.digest }),
      flows.createKey(world.ada, { name: 'k', subject: ref('Agent/migrator') }),
    ]) {
      await fails(widening, 'ERR_STORE_FULL')
    }
    const recorded = await flows.revokeGrant(world.ada, first.grant, 'r')
    assert.equal(recorded.recorded, true)
    await flows.settled()
    assert.equal(world.system.shelf.names().includes(first.name), false)

    disk = 'stuffed'
    const before = (await world.app.store.log.head()).size
    for (const narrowing of [
      await flows.revokeGrant(world.ada, second.grant, 'r'),
      await flows.revokeTask(world.ada, ended, 'r'),
    ]) {
      assert.deepEqual([narrowing.denied, narrowing.recorded], [true, false])
    }
    await flows.denyRequest(world.grace, request.id, { statement: request.digest })
    await flows.revokeKey(world.ada, key.id)
    await settle(world.app) // takes back at the target whatever the record can hold
    assert.equal((await world.app.store.log.head()).size, before)
    assert.equal(world.system.shelf.names().includes(second.name), false)
    assert.match((await flows.problems()).join(), /4 revocations are in effect but not yet on the record/)
    assert.equal(
      (await flows.ask(world.migrator, migration(second.task, { grant: second.grant }))).outcome,
      'deny',
    )
    assert.equal((await flows.ask(late, read())).outcome, 'deny')

    disk = 'free'
    await world.app.store.commit({
      reads: Array.from({ length: filling }, (_, i) => ({ kind: 'meta' as const, id: `fill-${i + 1}` })),
      narrowing: true,
      run: (tx) => {
        for (let i = 1; i <= filling; i += 1) tx.delete('meta', `fill-${i}`)
      },
    })
    world.clock.advance(10 * SECOND)
    await settle(world.app)
    const kinds = (await entries(world.app)).slice(before).map((e) => e['kind'])
    for (const kind of ['grant.ended', 'task.ended', 'request.denied', 'key.revoked'])
      assert.ok(kinds.includes(kind), kind)
    assert.doesNotMatch((await flows.problems()).join(), /not yet on the record/)
    assert.equal(world.app.decision.barrier.size, 0)
    assert.equal((await flows.evaluate(late, read())).reason, 'subject_locked')
    assert.equal((await flows.evaluate(world.migrator, read())).outcome, 'permit')
    assert.equal((await flows.grant(world.ada, second.grant)).grant.state, 'closed')
  })
})
