/**
 * Continuous evaluation: what a grant was given on changes, and what would no longer be permitted ends; exactly that, in
 * whatever order and however much it is, and nobody waits for it.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { LiveEvent } from '../../src/flows/port.ts'
import type { FactName } from '../../src/model/fact.ts'
import type { Grant } from '../../src/model/grant.ts'
import { MINUTE, SECOND } from '../../src/model/time.ts'
import { openTestStore } from '../support/store.ts'
import { activeGrant, declare } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import {
  attempt,
  entries,
  faultWorld,
  interpose,
  keyFor,
  put,
  ref,
  sessionFor,
  settle,
  withPolicy,
} from './support.ts'

const text = `
@id("look") permit (principal, action == Action::"look", resource)
when { context.live has posture && context.live.posture.compliant };
@id("stow") permit (principal, action == Action::"stow", resource);
@id("risky") forbid (principal, action == Action::"stow", resource)
when { context.live has risk.level && context.live.risk.level > 2 };
@id("delegates") permit (principal, action == Writ::Action::"delegate", resource);
`
const policies = withPolicy(text)

const agents = ['one', 'two', 'three']

/** Agents with a grant to stow and one to look each, by their names. */
async function stage(): Promise<FaultWorld & { grants: Record<string, string> }> {
  const world = await faultWorld({ policies })
  const { flows } = world.app
  const grants: Record<string, string> = {}
  for (const name of agents) {
    await put(world, { type: 'Agent', id: name, kind: 'agent', owner: ref('Person/hedy') })
    await observe(world, 'posture', `Agent/${name}`, { compliant: true, status: 'compliant' })
    const caller = await keyFor(world, `Agent/${name}`)
    for (const action of ['stow', 'look']) {
      const what = attempt(`Agent/${name}`, action, `Document/${name}`)
      const { grant, decision } = await flows.activate(caller, what)
      grants[`${name} ${action}`] = grant?.id ?? assert.fail(decision.reason)
    }
  }
  await flows.settled()
  world.clock.advance(SECOND)
  return { ...world, grants }
}

function observe(
  world: FaultWorld,
  name: FactName,
  about: string,
  value: Record<string, string | number | boolean>,
  maxAge = 10 * MINUTE,
): Promise<void> {
  const observed = { name, about, value, observedAt: world.clock.wall(), maxAge }
  return world.app.flows.facts.observe('test', 'test', [observed])
}

type Stored = Readonly<{ version: number; value: Grant }>
const all = async (world: FaultWorld & { grants: Record<string, string> }): Promise<Map<string, Stored>> => {
  const ids = Object.values(world.grants)
  const view = await world.app.store.read(ids.map((id) => ({ kind: 'grant' as const, id })))
  return new Map(Object.entries(world.grants).map(([name, id]) => [name, view.get('grant', id) as Stored]))
}

const agentOf = (name: string): string => name.slice(0, name.indexOf(' '))

/** The grant without its notes of what it depends on. */
function lived(grant: Grant | undefined): unknown {
  const { reads: _reads, urgency: _urgency, reviewAt: _reviewAt, ...rest } = grant ?? ({} as Grant)
  return rest
}

/** The names of those that `change` ends; the others are as they were. */
async function ended(
  world: FaultWorld & { grants: Record<string, string> },
  change: () => Promise<unknown>,
): Promise<string[]> {
  const before = await all(world)
  await change()
  await settle(world.app)
  const after = [...(await all(world))]
  const over = after.flatMap(([name, { value }]) => (value.state === 'active' ? [] : name))
  const concerned = new Set(over.map(agentOf))
  for (const [name, { version, value }] of after) {
    const was = before.get(name)
    if (value.state !== 'active') continue
    // the same agent's others may have been looked at again, and note no more than that
    if (concerned.has(agentOf(name))) assert.deepEqual(lived(value), lived(was?.value), `${name} was changed`)
    else assert.equal(version, was?.version, `${name} was touched`)
  }
  return over.sort()
}

describe('C2 what would no longer be permitted ends, exactly that', () => {
  test('a fact that gets worse', async () => {
    await using world = await stage()
    const worse = { compliant: false, status: 'not-compliant' }
    assert.deepEqual(await ended(world, () => observe(world, 'posture', 'Agent/two', worse)), ['two look'])
    const [entry] = (await entries(world.app)).filter(({ kind }) => kind === 'grant.ended')
    assert.equal(entry?.['reason'], '`posture` changed: policy_denied')
  })

  test('a fact that nobody had said anything of; what may not be known of it is not told', async () => {
    await using world = await stage()
    assert.deepEqual(await ended(world, () => observe(world, 'risk', 'Agent/one', { level: 3 })), [
      'one stow',
    ])
    const grant = (await all(world)).get('one stow')?.value
    assert.equal(grant?.reason, 'what is known changed: policy_denied')
    assert.equal(JSON.stringify(grant.reason).includes('risk'), false)
  })

  test('a line of the inventory, a key, a person, a policy', async () => {
    for (const [change, over] of [
      [(w) => w.app.flows.deleteEntity(w.ada, ref('Agent/three')), ['three look', 'three stow']],
      [
        async (w) => {
          const { items } = await w.app.flows.keys(w.ada, {})
          const key = items.find(({ subject }) => subject.id === 'two')
          return w.app.flows.revokeKey(w.ada, key?.id ?? '')
        },
        ['two look', 'two stow'],
      ],
      [
        (w) =>
          w.app.flows.publish(w.ada, {
            policies: withPolicy(`${text} @id("no") forbid (principal, action == Action::"look", resource);`),
          }),
        ['one look', 'three look', 'two look'],
      ],
      // whoever owns them may be somebody else by now: that is read, and changes nothing
      [(w) => put(w, { type: 'Person', id: 'hedy', name: 'Hedy' }), []],
    ] as const satisfies readonly (readonly [(world: FaultWorld) => Promise<unknown>, readonly string[]])[]) {
      await using world = await stage()
      assert.deepEqual(await ended(world, () => change(world)), over)
    }
  })

  test('a session that is over, by itself or because it was left', async () => {
    for (const how of ['left', 'late'] as const) {
      await using world = await stage()
      const eve = await sessionFor(world, 'eve')
      const { flows } = world.app
      if (how === 'late') world.clock.advance(24 * 60 * MINUTE - 2 * MINUTE)
      const given = await flows.activate(eve, attempt('Person/eve', 'stow', 'Document/eve'))
      const id = given.grant?.id ?? assert.fail(given.decision.reason)
      const eves = { ...world, grants: { eve: id } }
      const { endsAt, reviewAt } = (await all(eves)).get('eve')?.value ?? assert.fail()
      if (how === 'late') {
        assert.ok(reviewAt !== undefined && reviewAt < endsAt)
        world.clock.advance(reviewAt - world.clock.wall())
      } else await flows.signOut(eve)
      await settle(world.app)
      const grant = (await all(eves)).get('eve')?.value
      const why = how === 'late' ? 'time has passed' : 'its session ended'
      assert.deepEqual([grant?.state, grant?.reason], ['closed', `${why}: subject_locked`])
    }
  })

  test('C6 a fact that nobody repeats: looked at again when it is too old, not before', async () => {
    await using world = await stage()
    const before = (await all(world)).get('one look')?.value
    assert.equal(before?.reviewAt, world.clock.wall() - SECOND + 10 * MINUTE)
    // said again, it is believed for longer, and that is no news
    const same = { compliant: true, status: 'compliant' }
    assert.deepEqual(await ended(world, () => observe(world, 'posture', 'Agent/one', same)), [])
    world.clock.advance(10 * MINUTE - SECOND)
    await settle(world.app)
    const found = await all(world)
    assert.equal(found.get('one look')?.value.state, 'active')
    assert.equal(found.get('one look')?.value.reviewAt, world.clock.wall() + SECOND)
    assert.equal(found.get('two look')?.value.state, 'closed')
    assert.equal(found.get('two look')?.value.reason, 'time has passed: policy_denied')
    assert.equal(found.get('two stow')?.value.state, 'active')
    world.clock.advance(SECOND)
    await settle(world.app)
    assert.equal((await all(world)).get('one look')?.value.state, 'closed')
  })

  test('C3 what ends earlier now is shortened', async () => {
    await using world = await stage()
    const { grants } = world
    const endsAt = world.clock.wall() + MINUTE
    await put(world, { type: 'Agent', id: 'one', endsAt })
    await settle(world.app)
    const { grant } = await world.app.flows.grant(world.ada, grants['one stow'] ?? '')
    assert.deepEqual([grant.state, grant.endsAt], ['active', endsAt])
    const shorter = text.replace('@id("stow")', '@id("stow") @ttl("2m")')
    await world.app.flows.publish(world.ada, { policies: withPolicy(shorter) })
    await settle(world.app)
    const two = (await all(world)).get('two stow')?.value
    assert.deepEqual([two?.state, two?.endsAt], ['active', (two?.startedAt ?? 0) + 2 * MINUTE])
  })

  test('C3 S24 what a third party has is shorter, whatever policy gives it, and also once it is known to be one', async () => {
    for (const marked of ['Agent/one', 'Person/hedy']) {
      await using world = await stage()
      const { flows } = world.app
      const before = (await all(world)).get('one stow')?.value ?? assert.fail()
      assert.equal(before.endsAt - before.startedAt, 15 * MINUTE)
      const [type = '', id = ''] = marked.split('/')
      await put(world, { type, id, thirdParty: true })
      await settle(world.app)
      const after = (await all(world)).get('one stow')?.value
      assert.deepEqual([after?.state, after?.endsAt], ['active', before.startedAt + 5 * MINUTE], marked)
      const caller = await keyFor(world, 'Agent/one')
      const { grant } = await flows.activate(caller, attempt('Agent/one', 'stow', 'Document/new'))
      assert.equal((grant?.endsAt ?? 0) - (grant?.startedAt ?? 0), 5 * MINUTE, marked)
      const other = (await all(world)).get('two stow')?.value
      const isOwners = marked === 'Person/hedy'
      assert.equal((other?.endsAt ?? 0) - (other?.startedAt ?? 0), (isOwners ? 5 : 15) * MINUTE, marked)
    }
  })

  test('what changes while it is looked at counts, though nobody had read it before', async () => {
    await using world = await stage()
    // from now on risk is read of whoever looks
    const more = `${text} @id("risky-look") forbid (principal, action == Action::"look", resource)
      when { context.live has risk.level && context.live.risk.level > 2 };`
    await world.app.flows.publish(world.ada, { policies: withPolicy(more) })
    // the fact is committed after each analysis and before what it found is kept
    interpose(world, () => observe(world, 'risk', 'Agent/two', { level: 3 }))
    await settle(world.app)
    const found = await all(world)
    assert.equal(found.get('two look')?.value.state, 'closed')
    assert.equal(found.get('one look')?.value.state, 'active')
    assert.ok(found.get('one look')?.value.reads?.includes('fact/risk Agent/one'))
  })

  test('what changed when nobody was there to react is found after a start', async () => {
    await using world = await stage()
    await world.app.stop()
    // as if it had been recorded in the instant of a crash
    const store = await openTestStore({ folder: world.config.data, clock: world.clock })
    await store.commit({
      reads: [{ kind: 'fact', id: 'posture Agent/two' }],
      run: (tx) => {
        const fact = tx.get('fact', 'posture Agent/two')?.value ?? assert.fail()
        tx.put('fact', fact.id, { ...fact, value: { compliant: false, status: 'lost' } })
      },
    })
    await store.close()
    const again = await world.restart()
    await again.app.flows.settled()
    const found = await all({ ...world, app: again.app })
    const over = [...found].filter(([, { value }]) => value.state !== 'active').map(([name]) => name)
    assert.deepEqual(over, ['two look'])
    await again.app.stop()
  })

  test('what cannot be looked at is looked at again', async () => {
    await using world = await stage()
    const store = world.app.decision.store as { read: typeof world.app.store.read }
    const { read } = store
    store.read = () => Promise.reject(new Error('a bad day'))
    await observe(world, 'posture', 'Agent/two', { compliant: false, status: 'lost' })
    await world.app.flows.settled()
    store.read = read
    assert.deepEqual(await ended(world, () => settle(world.app)), ['two look'])
  })
})

describe('who is told', () => {
  test('whoever had it, and whoever owns it or what it was for', async () => {
    await using world = await stage()
    const hedy = await sessionFor(world, 'hedy')
    const told = Promise.withResolvers<LiveEvent>()
    const stop = await world.app.flows.events(hedy, undefined, (event) => {
      if (event.kind === 'grant.ended') told.resolve(event)
    })
    await observe(world, 'risk', 'Agent/one', { level: 3 })
    await settle(world.app)
    const event = await told.promise
    stop()
    assert.ok(event.refs.includes('Person/hedy') && event.refs.includes('Agent/one'))
    assert.equal(JSON.stringify(event).includes('risk'), false)
  })

  test('B37 its credentials go at their targets', async () => {
    await using world = await faultWorld({ targets: true })
    const { flows } = world.app
    const { grant } = await activeGrant(world, await declare(world))
    await flows.issueCredential(world.migrator, grant)
    assert.equal(world.system.shelf.names().length, 1)
    await put(world, { type: 'Agent', id: 'migrator', parents: [] })
    await flows.settled()
    assert.deepEqual(world.system.shelf.names(), [])
  })
})

describe('S24 who is first', () => {
  test('third parties end first, also where it takes longer to look at them', async () => {
    await using world = await stage()
    await put(world, { type: 'Agent', id: 'two', thirdParty: true })
    await settle(world.app)
    const store = world.app.decision.store as { read: typeof world.app.store.read }
    const { read } = store
    const asked: string[] = []
    // each read of what is theirs takes turns of the microtask queue that the others do not need
    store.read = async (reads) => {
      const more = reads.some((one) => 'id' in one && one.id === 'Agent/two') ? 50 : 0
      for (let turns = 0; turns < more; turns += 1) await Promise.resolve()
      asked.push(...reads.flatMap((one) => ('id' in one && one.kind === 'grant' ? [one.id] : [])))
      return read(reads)
    }
    const { size } = await world.app.store.log.head()
    const none = withPolicy(`${text} @id("no") forbid (principal, action == Action::"stow", resource);`)
    await world.app.flows.publish(world.ada, { policies: none })
    await settle(world.app)
    store.read = read
    const ended = (await entries(world.app)).slice(size).filter(({ kind }) => kind === 'grant.ended')
    const of = new Map(Object.entries(world.grants).map(([name, id]) => [id, name]))
    const names = ended.map(({ grant }) => of.get(String(grant)))
    assert.equal(names[0], 'two stow')
    assert.deepEqual(new Set(names), new Set(['one stow', 'three stow', 'two stow']))
    assert.ok(asked.includes(world.grants['two stow'] ?? ''))
  })
})

describe('B50 a storm', () => {
  const MANY = 3_000

  /** So many more of a grant, each for a document of its own. */
  async function many(world: FaultWorld & { grants: Record<string, string> }): Promise<void> {
    const like = (await all(world)).get('one stow')?.value ?? assert.fail()
    for (let from = 0; from < MANY; from += 1_000) {
      await world.app.decision.store.commit({
        reads: [],
        run: (tx) => {
          for (let i = from; i < from + 1_000; i += 1) {
            const id = `grant_storm${i}`
            const resource = { type: 'Document', id: `storm${i}` }
            const analysed = { ...(like.analysed as Record<string, never>), resource }
            const reads = (like.reads ?? []).map((key) => key.replace('Document/one', `Document/storm${i}`))
            tx.put('grant', id, {
              ...like,
              id,
              resource,
              analysed,
              reads: reads.sort(),
              urgency: 4 + (i % 4),
            })
          }
        },
      })
    }
  }

  /** Turns of the event loop that `work` takes. */
  async function turnsOf(work: () => Promise<unknown>): Promise<number> {
    let turns = 0
    const over = new AbortController()
    const running = work().finally(() => over.abort())
    while (!over.signal.aborted) {
      await new Promise(setImmediate)
      turns += 1
    }
    await running
    return turns
  }

  test('thousands of grants at once delay no decision, the urgent ones end first, and all that should do', async () => {
    await using world = await stage()
    await many(world)
    await world.app.flows.settled()
    const asking = () =>
      world.app.flows.evaluate(world.migrator, attempt('Agent/migrator', 'stow', 'Document/x'))
    const calm = await turnsOf(asking)
    const { size } = await world.app.store.log.head()
    await observe(world, 'risk', 'Agent/one', { level: 3 })
    // how many are looked at in one turn of the loop
    const store = world.app.decision.store as { read: typeof world.app.store.read }
    const { read } = store
    let looked = 0
    let atOnce = 0
    store.read = (reads) => {
      const [first, ...more] = reads
      if (more.length === 0 && first !== undefined && 'id' in first && first.id.startsWith('grant_storm'))
        looked += 1
      return read(reads)
    }
    const watching = (async () => {
      while (store.read !== read) {
        await new Promise(setImmediate)
        atOnce = Math.max(atOnce, looked)
        looked = 0
      }
    })()
    let most = 0
    let during = 0
    for (; during < 50; during += 1) most = Math.max(most, await turnsOf(asking))
    const active = async () =>
      (await world.app.store.list('grant', { index: 'grant.state', value: 'active', limit: 1_000 })).items
    store.read = read
    await watching
    assert.ok(atOnce > 0 && atOnce <= 16, `${atOnce} grants were looked at in one turn`)
    assert.equal((await active()).length, 1_000, 'the storm is over too soon to say anything')
    assert.ok(most <= calm + 2, `${most} turns of the event loop, without the storm ${calm}`)
    await world.app.flows.settled()
    assert.deepEqual(
      (await active()).map(({ value }) => value.subject.id).filter((id) => id === 'one'),
      ['one'],
      'one look is left',
    )
    const order: number[] = []
    for (let from = size; from < (await world.app.store.log.head()).size; from += 1_000)
      for (const entry of await world.app.store.log.entries(from, from + 1_000)) {
        if (!('bytes' in entry)) continue
        const { kind, grant } = JSON.parse(Buffer.from(entry.bytes).toString()) as Record<string, string>
        const [, nth] = /^grant_storm(\d+)$/.exec(grant ?? '') ?? []
        if (kind === 'grant.ended' && nth !== undefined) order.push(Number(nth) % 4)
      }
    assert.equal(order.length, MANY)
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    )
  })
})
