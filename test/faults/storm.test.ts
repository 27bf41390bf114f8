/**
 * Storms that are counted, not timed: how often each grant is looked at, and what others wait meanwhile (law 12).
 *
 * @module
 */
import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, test } from 'node:test'
import type { Grant } from '../../src/model/grant.ts'
import { HOUR } from '../../src/model/time.ts'
import { listenTo, mintSet } from '../support/ssf.ts'
import type { FaultWorld } from './support.ts'
import { attempt, faultWorld, sessionFor, withPolicy } from './support.ts'

const MANY = 2_000
const policies = withPolicy(`
@id("stow") permit (principal, action == Action::"stow", resource);
@id("risky") forbid (principal, action == Action::"stow", resource)
when { context.live has risk.level && context.live.risk.level > 2 };
`)

/** So many more of a grant, each for a document of its own. */
async function many({ app }: FaultWorld, like: Grant, most = MANY): Promise<void> {
  for (let from = 0; from < most; from += 500)
    await app.decision.store.commit({
      reads: [],
      run: (tx) => {
        for (let nth = from; nth < from + 500; nth += 1) {
          const resource = { type: 'Document', id: `storm${nth}` }
          const analysed = { ...(like.analysed as Record<string, never>), resource }
          const reads = (like.reads ?? []).map((key) => key.replace('Document/one', `Document/storm${nth}`))
          tx.put('grant', `grant_storm${nth}`, {
            ...like,
            id: `grant_storm${nth}`,
            resource,
            analysed,
            reads: reads.sort(),
          })
        }
      },
    })
}

/** Turns of the event loop that `work` takes. */
async function turnsOf(work: () => Promise<unknown>): Promise<number> {
  let turns = 0
  const over = new AbortController()
  const running = work().finally(() => over.abort())
  while (!over.signal.aborted) {
    await turn()
    turns += 1
  }
  await running
  return turns
}

/** Most entries that were written in one commit from now on. */
function largestCommit({ app }: FaultWorld): () => number {
  let most = 0
  app.store.log.subscribe((entries) => {
    most = Math.max(most, entries.length)
  })
  return () => most
}

/** That 64 grants ended and closed, and some decisions. */
const MOST_ENTRIES = 2 * 64 + 16

const active = async ({ app }: FaultWorld): Promise<number> => {
  const { items } = await app.store.list('grant', { index: 'grant.state', value: 'active', limit: 1_000 })
  return items.length
}

describe('B50 a storm that is counted', () => {
  test('many signals about the same 2,000 grants have each looked at once for all that came meanwhile; decisions interleave', async () => {
    await using world = await faultWorld({
      policies,
      config: {
        signals: { receivers: [listenTo()] },
        defaults: { request: HOUR, task: HOUR, heartbeat: HOUR, grant: HOUR, thirdPartyGrant: HOUR },
      },
    })
    const { flows, store } = world.app
    const { grant } = await flows.activate(world.migrator, attempt('Agent/migrator', 'stow', 'Document/one'))
    const like = (await store.read([{ kind: 'grant', id: grant?.id ?? '' }])).get(
      'grant',
      grant?.id ?? '',
    )?.value
    await many(world, like ?? assert.fail())
    await flows.settled()
    const ask = () => flows.evaluate(world.grace, attempt('Person/grace', 'stow', 'Document/x'))
    await ask()
    const calm = await turnsOf(ask)
    // the first read of an analysis is of the grant alone
    const spied = world.app.decision.store as { read: typeof store.read }
    const { read } = spied
    const looked = new Map<string, number>()
    let gate: PromiseWithResolvers<void> | undefined
    spied.read = async (reads) => {
      const [first, ...more] = reads
      if (more.length === 0 && first !== undefined && 'id' in first && first.id.startsWith('grant_storm')) {
        await gate?.promise
        looked.set(first.id, (looked.get(first.id) ?? 0) + 1)
      }
      return read(reads)
    }
    // how far a storm comes while a signature is verified, by another thread, is the machine's affair: it waits
    const meanwhile = async (work: () => Promise<void>): Promise<void> => {
      gate = Promise.withResolvers()
      await work()
      gate.resolve()
      gate = undefined
    }
    const tell = async (level: string, nth: number): Promise<void> => {
      const token = await mintSet(
        'risk-level-change',
        { principal: 'ROBOT', current_level: level },
        { at: world.clock.wall(), subject: { format: 'opaque', id: 'w-migrator' }, jti: `storm-${nth}` },
      )
      assert.deepEqual(await flows.signals.push('idp', token, undefined), { taken: true })
      world.clock.advance(1_000)
    }
    // up and down, ten times: none of it can permit what the last one forbids
    await meanwhile(async () => {
      for (let nth = 0; nth < 10; nth += 1) await tell(nth % 2 === 0 ? 'MEDIUM' : 'LOW', nth)
    })
    let most = 0
    for (let nth = 0; nth < 10; nth += 1) most = Math.max(most, await turnsOf(ask))
    assert.ok(most <= calm + 2, `${most} turns of the event loop, without the storm ${calm}`)
    await meanwhile(async () => {
      await tell('HIGH', 10)
      const denied = await flows.evaluate(world.migrator, attempt('Agent/migrator', 'stow', 'Document/y'))
      assert.equal(denied.outcome, 'deny', 'at once, whatever has been looked at')
    })
    await flows.settled()
    spied.read = read
    assert.equal(await active(world), 0)
    const looks = [...looked.values()]
    assert.equal(looks.length, MANY)
    const all = looks.reduce((sum, one) => sum + one, 0)
    assert.ok(all <= 3 * MANY, `${all} analyses of ${MANY} grants for 11 signals`)
  })

  test('one signal that ends a session with 2,000 grants denies them at once and ends them some at a time, and others decide meanwhile', async () => {
    await using world = await faultWorld({
      policies,
      config: {
        signals: { receivers: [listenTo()] },
        defaults: { request: HOUR, task: HOUR, heartbeat: HOUR, grant: HOUR, thirdPartyGrant: HOUR },
      },
    })
    const { flows, store } = world.app
    const eve = await sessionFor(world, 'grace')
    const { grant } = await flows.activate(eve, attempt('Person/grace', 'stow', 'Document/one'))
    const like = (await store.read([{ kind: 'grant', id: grant?.id ?? '' }])).get(
      'grant',
      grant?.id ?? '',
    )?.value
    await many(world, like ?? assert.fail())
    await flows.settled()
    const ask = () => flows.evaluate(world.migrator, attempt('Agent/migrator', 'stow', 'Document/x'))
    await ask()
    const calm = await turnsOf(ask)
    const token = await mintSet('session-revoked', {}, { at: world.clock.wall() })
    const largest = largestCommit(world)
    let isOver = false
    store.log.subscribe((written) => {
      isOver ||= written.some(({ bytes }) => Buffer.from(bytes).includes('"session.ended"'))
    })
    const over = new AbortController()
    const pushed = flows.signals.push('idp', token, undefined).finally(() => over.abort())
    const turns: number[] = []
    let ending = 0
    const last = `grant_storm${MANY - 1}`
    do {
      turns.push(await turnsOf(ask))
      if (!isOver) continue
      const isBarred = world.app.decision.barrier.bars('grant', last)
      const left = (await store.read([{ kind: 'grant', id: last }])).get('grant', last)?.value
      if (left?.state !== 'active') continue
      ending += 1
      assert.ok(isBarred, 'denied until it has ended')
      const again = { ...attempt('Person/grace', 'stow', `Document/storm${MANY - 1}`), grant: last }
      assert.equal((await flows.evaluate(eve, again)).outcome, 'deny')
    } while (!over.signal.aborted)
    assert.deepEqual(await pushed, { taken: true })
    assert.equal(await active(world), 0, 'acknowledged is ended')
    assert.ok(ending > 0, 'nobody could look while they ended')
    assert.ok(largest() <= MOST_ENTRIES, `${largest()} entries in one commit`)
    assert.ok(Math.max(...turns) <= calm + 6, `${turns.join()} turns of the event loop, without ${calm}`)
    await flows.settled()
  })

  for (const isSlow of [false, true])
    test(`what ends in the same second ends ${isSlow ? 'a few' : 'some'} at a time${isSlow ? ', where it takes long' : ''}`, async () => {
      await using world = await faultWorld({
        policies,
        config: {
          defaults: { request: HOUR, task: HOUR, heartbeat: HOUR, grant: HOUR, thirdPartyGrant: HOUR },
        },
      })
      const { flows, store } = world.app
      const { grant } = await flows.activate(
        world.migrator,
        attempt('Agent/migrator', 'stow', 'Document/one'),
      )
      const view = await store.read([{ kind: 'grant', id: grant?.id ?? '' }])
      const count = isSlow ? 500 : MANY
      await many(world, view.get('grant', grant?.id ?? '')?.value ?? assert.fail(), count)
      await flows.settled()
      if (isSlow) {
        let now = 0
        const decision = world.app.decision as { monotonic: () => number }
        decision.monotonic = () => (now += 10)
      }
      const largest = largestCommit(world)
      world.clock.advance(2 * HOUR)
      await flows.sweeper.sweep()
      assert.equal(await active(world), 0, 'when a sweep is over')
      assert.ok(largest() <= (isSlow ? 2 * 4 + 4 : MOST_ENTRIES), `${largest()} entries in one commit`)
      const last = `grant_storm${count - 1}`
      const ended = (await store.read([{ kind: 'grant', id: last }])).get('grant', last)?.value
      assert.deepEqual([ended?.end, ended?.reason, ended?.endedBy], ['expired', 'its time is over', 'writ'])
      await flows.settled()
    })
})
