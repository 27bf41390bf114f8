/**
 * The proof of why: made from a log of 100,000 entries, and verified. Its peer is the same file parsed and hashed.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import { parseVerifierKey } from '../src/audit/note.ts'
import { verifyBundle } from '../src/audit/proof.ts'
import { referee } from '../src/decision/reference.ts'
import { sha256 } from '../src/store/hash.ts'
import { activeGrant, migration, openWorld } from '../test/support/world.ts'
import type { Row } from './measure.ts'
import { rows, rss, sample } from './measure.ts'

const ENTRIES = 100_000
const AT_ONCE = 5_000

export async function proof(): Promise<readonly Row[]> {
  await using world = await openWorld({ http: false })
  const { flows, store } = world.app
  const { task, grant } = await activeGrant(world)
  await flows.evaluate(world.migrator, migration(task, { grant }))
  const fill = async (most: number): Promise<void> => {
    for (let at = (await flows.head()).size; at < most; at += AT_ONCE) {
      await store.commit({
        reads: [],
        run(tx) {
          for (let i = 0; i < AT_ONCE; i += 1)
            tx.append({
              kind: 'bench.filler',
              refs: [`filler_${at % 977}`],
              text: 'x'.repeat(200),
              at_most: at + i,
            })
        },
      })
    }
  }
  await fill(ENTRIES / 2)
  await flows.endTask(world.migrator, task, 'completed')
  await fill(ENTRIES)
  const keys = flows.transparency.keys().keys.flatMap(({ vkey }) => parseVerifierKey(vkey) ?? [])
  const text = await flows.prove(world.ada, grant)
  const bytes = Buffer.from(text)
  assert.equal(JSON.parse(text).about, grant)

  const parsed = async (): Promise<void> => {
    assert.ok(JSON.parse(text) !== sha256(bytes))
  }
  const peer = {
    name: 'the file parsed and hashed',
    sample: await sample(parsed, { seconds: 1, concurrency: 1 }),
  }
  const make = async (): Promise<void> => {
    assert.ok((await flows.prove(world.ada, grant)).length > 1_000)
  }
  const judge = referee()
  const verify = async (): Promise<void> => {
    assert.ok(verifyBundle(bytes, { keys }, judge).ok)
  }
  return [
    ...rows('proof', `made, of ${ENTRIES} entries`, await sample(make, { seconds: 2, concurrency: 1 }), peer),
    ...rows('proof', 'verified', await sample(verify, { seconds: 2, concurrency: 1 }), peer),
    { bench: 'proof', metric: 'size', value: bytes.length / 2 ** 20, unit: 'MiB', peer: null, ratio: null },
    rss('proof'),
  ]
}
