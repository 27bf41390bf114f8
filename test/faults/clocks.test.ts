/**
 * Clocks that are put back and forward, machines that sleep: nothing that was to end by then lasts longer for it (law 3).
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { DAY, HOUR, MINUTE, SECOND } from '../../src/model/time.ts'
import { TEST_START } from '../support/store.ts'
import { activeGrant, declare, migration } from '../support/world.ts'
import { attempt, faultWorld, ref, settle, withPolicy } from './support.ts'

const LIVES = 5 * MINUTE
const policies = withPolicy(`
@id("look") permit (principal, action == Action::"look", resource)
when { context.live has posture && context.live.posture.compliant };
@id("stow") permit (principal, action == Action::"stow", resource);
`)

/** What somebody does to the clock, and how much time really passes. */
type Step = Readonly<{ does: 'passes' | 'jumps'; by: number }>

describe('B31 whatever is done to the clock', () => {
  test('a fact, a window, a lock and a grant end no later than by the time that has really passed', async () => {
    await using world = await faultWorld({ policies })
    const { flows } = world.app
    const step: fc.Arbitrary<Step> = fc.oneof(
      fc.record({
        does: fc.constant('passes' as const),
        by: fc.integer({ min: 1, max: 3 }).map((n) => n * MINUTE),
      }),
      fc.record({
        does: fc.constant('jumps' as const),
        by: fc.constantFrom(-DAY * 365, -DAY, -HOUR, -MINUTE, -SECOND, SECOND, MINUTE, 2 * MINUTE),
      }),
    )
    const may = async (action: string, more: Record<string, string> = {}): Promise<boolean> =>
      (await flows.evaluate(world.migrator, attempt('Agent/migrator', action, 'Document/handbook', more)))
        .outcome === 'permit'
    /** Somebody sets it right: until then nothing widens. */
    const mended = async () => {
      const view = await world.app.store.read([])
      world.clock.set(view.now)
      return view
    }
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 7 }), async (steps) => {
        const { now } = await mended()
        const value = { compliant: true, status: 'compliant' }
        // a source that is ahead of us makes nothing last longer either
        const observedAt = now + DAY
        await flows.facts.observe('mdm', 'test', [
          { name: 'posture', about: 'Agent/migrator', value, observedAt, maxAge: LIVES },
        ])
        const { id: task } = await flows.declareTask(world.migrator, {
          purpose: 'look around',
          heartbeat: HOUR,
          scope: { actions: ['stow'], resources: [ref('Document/handbook')] },
          window: { startsAt: now, endsAt: now + LIVES },
        })
        const { grant } = await flows.activate(
          world.migrator,
          attempt('Agent/migrator', 'stow', 'Document/handbook', { task }),
        )
        assert.ok(grant !== undefined && grant.endsAt <= now + LIVES)
        // time that has passed at least, and time that the clock ever showed
        let passed = 0
        let shown = now
        for (const { does, by } of steps) {
          if (does === 'passes') {
            world.clock.advance(by)
            passed += by
          } else world.clock.set(world.clock.wall() + by)
          shown = Math.max(shown, world.clock.wall())
          const seen = await Promise.all([may('look'), may('stow', { task })])
          const { now: at } = await world.app.store.read([])
          assert.ok(at >= shown && at >= now + passed, 'time never goes back')
          const isOver = at >= now + LIVES
          if (world.clock.wall() < at - MINUTE) assert.deepEqual(seen, [false, false], 'the clock is behind')
          assert.ok(!isOver || seen.every((one) => !one), `${JSON.stringify(steps)}: permitted after its end`)
          if (isOver) assert.equal((await flows.grant(world.ada, grant.id)).grant.endsAt <= now + LIVES, true)
        }
        // set right, nothing that is over comes back
        await mended()
        world.clock.advance(LIVES)
        assert.deepEqual(await Promise.all([may('look'), may('stow', { task })]), [false, false])
      }),
      { numRuns: process.env['WRIT_SOAK'] === '1' ? 100 : 8 },
    )
  })

  test('a lock that ends is not shorter for a clock that is put back, nor what it ended back for one put forward', async () => {
    await using world = await faultWorld({ policies })
    const { flows } = world.app
    const { grant } = await activeGrant(world, await declare(world, { heartbeat: HOUR }))
    const { now } = await world.app.store.read([])
    const lock = {
      what: 'subject',
      about: 'Agent/migrator',
      reason: 'INC-42',
      until: now + 10 * MINUTE,
    } as const
    await flows.locks.lock(world.ada, lock)
    const may = async () =>
      (await flows.evaluate(world.migrator, attempt('Agent/migrator', 'stow', 'Document/x'))).outcome
    world.clock.rewind(DAY)
    assert.equal(await may(), 'deny')
    world.clock.advance(10 * MINUTE - 1)
    assert.equal(await may(), 'deny')
    world.clock.advance(1)
    assert.equal(await may(), 'deny', 'a clock that is behind')
    world.clock.set(now + 10 * MINUTE)
    assert.equal(await may(), 'permit', 'ten minutes have passed, whatever the clock shows')
    world.clock.set(TEST_START + 2 * HOUR)
    assert.equal((await flows.evaluate(world.migrator, migration(undefined, { grant }))).outcome, 'deny')
    await settle(world.app)
    assert.notEqual((await flows.grant(world.ada, grant)).grant.state, 'active')
  })

  test('a start with the clock behind: what was known then is as old as it is', async () => {
    await using first = await faultWorld({ policies })
    const { now } = await first.app.store.read([])
    const value = { compliant: true, status: 'compliant' }
    await first.app.flows.facts.observe('mdm', 'test', [
      { name: 'posture', about: 'Agent/migrator', value, observedAt: now, maxAge: LIVES },
    ])
    first.clock.advance(LIVES)
    await first.app.flows.declareTask(first.migrator, {
      purpose: 'write the time down',
      scope: { actions: ['stow'], resources: [ref('Document/handbook')] },
    })
    first.clock.rewind(HOUR)
    const again = await first.restart()
    const looked = await again.app.flows
      .evaluate(first.migrator, attempt('Agent/migrator', 'look', 'Document/handbook'))
      .then(
        ({ outcome }) => outcome,
        (error: unknown) => String((error as { code?: string }).code),
      )
    assert.notEqual(looked, 'permit')
    await again.app.stop()
  })
})
