/**
 * P2: the whole decision in process (caller, task, facts, Cedar, commit), against Cedar's own evaluation alone, which
 * is a part of it: the ratio says what everything around Cedar costs.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { strict as assert } from 'node:assert'
import { analyse } from '../src/decision/analyse.ts'
import { toAttempt } from '../src/flows/attempts.ts'
import { attempt, openWorld, ref, starterPolicies } from '../test/support/world.ts'
import type { Row } from './measure.ts'
import { rows, rss, sample } from './measure.ts'

export async function decision(): Promise<readonly Row[]> {
  await using world = await openWorld({ http: false })
  const { flows } = world.app
  const read = attempt('Agent/migrator', 'read', 'Document/handbook')
  const once = async (): Promise<void> => {
    const { outcome } = await flows.evaluate(world.migrator, read)
    assert.equal(outcome, 'permit')
  }
  const reading = toAttempt(read)
  const asked = async (): Promise<void> => {
    const { outcome } = await analyse(world.app.decision, world.migrator, reading, 'question')
    assert.equal(outcome, 'permit')
  }

  const texts = starterPolicies().map(({ text }) => text)
  const parsed = cedar.preparsePolicySet('peer', { staticPolicies: texts.join('\n') })
  assert.equal(parsed.type, 'success')
  const peerOnce = async (): Promise<void> => {
    const answer = cedar.statefulIsAuthorized({
      principal: ref('Agent/migrator'),
      action: { type: 'Action', id: 'read' },
      resource: ref('Document/handbook'),
      context: {},
      preparsedPolicySetId: 'peer',
      entities: [
        { uid: ref('Document/handbook'), attrs: { sensitivity: 1 }, parents: [] },
        { uid: ref('Agent/migrator'), attrs: { sensitivity: 4 }, parents: [ref('Group/deployers')] },
      ],
    })
    assert.equal(answer.type === 'success' && answer.response.decision, 'allow')
  }
  const peer = {
    name: 'cedar-wasm, evaluation alone',
    sample: await sample(peerOnce, { seconds: 1, concurrency: 1 }),
  }
  return [
    ...rows('decision', 'analyse', await sample(asked, { seconds: 1, concurrency: 1 }), peer),
    ...rows('decision', 'decide, 1 at a time', await sample(once, { seconds: 2, concurrency: 1 }), peer),
    ...rows('decision', 'decide, 256 in flight', await sample(once, { seconds: 2, concurrency: 256 }), peer),
    rss('decision'),
  ]
}
