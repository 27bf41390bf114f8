/**
 * Facts and continuous evaluation under attack: what passes between looking and deciding, what misbehaving adds, whoever
 * hides behind another, and much at once.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { MINUTE, SECOND } from '../../src/model/time.ts'
import { attempt, faultWorld, interpose, settle, withPolicy } from './support.ts'

const policies = withPolicy(`
@id("look") permit (principal, action == Action::"look", resource)
when { context.live has posture && context.live.posture.compliant };
@id("early") permit (principal, action == Action::"early", resource)
when { context.live.now.toTime() < duration("12h1m") };
`)

const on = (action: string) => attempt('Agent/migrator', action, 'Document/handbook')

describe('law 6: between looking and deciding', () => {
  for (const [what, action, observed] of [
    ['a fact grows too old', 'look', true],
    ['an hour comes that a policy asks for', 'early', false],
  ] as const)
    test(`B17 B32 ${what}: what was permitted a moment ago is denied, and nothing is given`, async () => {
      await using w = await faultWorld({ policies })
      const { flows } = w.app
      // a minute before noon and one minute, by the clock of the store
      const noon = Math.floor(w.clock.wall() / (24 * 60 * MINUTE)) * 24 * 60 * MINUTE + 12 * 60 * MINUTE
      w.clock.set((noon < w.clock.wall() ? noon + 24 * 60 * MINUTE : noon) + MINUTE - SECOND)
      const value = { compliant: true, status: 'ok' }
      const say = () =>
        flows.facts.observe('mdm', 'test', [
          { name: 'posture', about: 'Agent/migrator', value, observedAt: w.clock.wall(), maxAge: SECOND },
        ])
      if (observed) await say()
      interpose(w, () => Promise.resolve(w.clock.advance(SECOND)))
      const { outcome, reason } = await flows.evaluate(w.migrator, on(action))
      assert.deepEqual([outcome, reason], ['deny', 'policy_denied'])
      w.clock.set(w.clock.wall() + 24 * 60 * MINUTE - SECOND)
      if (observed) await say()
      interpose(w, () => Promise.resolve(w.clock.advance(SECOND)))
      const { decision, grant } = await flows.activate(w.migrator, on(action))
      assert.deepEqual([decision.outcome, grant], ['deny', undefined])
      await settle(w.app)
    })
})
