/**
 * P4: a grant: decided, stored and on the record in one durable commit.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import { attempt, openWorld } from '../test/support/world.ts'
import { DURABLE_ROW, durableRow } from './durable.ts'
import type { Row } from './measure.ts'
import { rows, rss, sample } from './measure.ts'

export async function grants(): Promise<readonly Row[]> {
  await using world = await openWorld({ http: false })
  const { flows } = world.app
  const read = attempt('Agent/migrator', 'read', 'Document/handbook')
  const once = async (): Promise<void> => {
    const { grant } = await flows.activate(world.migrator, read)
    assert.equal(grant?.state, 'active')
  }
  using row = durableRow()
  const peerOnce = async (): Promise<void> => row.write()
  const peer = { name: DURABLE_ROW, sample: await sample(peerOnce, { seconds: 1, concurrency: 1 }) }
  return [
    ...rows('grants', '1 at a time', await sample(once, { seconds: 2, concurrency: 1 }), peer),
    ...rows('grants', '64 in flight', await sample(once, { seconds: 2, concurrency: 64 }), peer),
    rss('grants'),
  ]
}
