/**
 * A process that writes to the store of `folder`, and kills itself before step `killAt` of its commits. Says on its
 * output which batches it had answers for; without a kill, how many steps there were.
 *
 * @module
 */
import { writeSync } from 'node:fs'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'
import { manualClock } from '../support/store.ts'
import { batches, PRUNED } from './store-batches.ts'

const [folder = '', killAt = '0'] = process.argv.slice(2)
let steps = 0

const store = await openSqliteStore({
  folder,
  clock: manualClock(),
  reserveBytes: 4096,
  // the second batch fills a stretch, the third writes some of it, the end the rest
  stretch: 4,
  hooks: {
    step(name) {
      // dying after one write is dying before the next, except after the commit
      if (!name.endsWith(': before') && name !== 'commit: after') return
      steps += 1
      if (steps === Number(killAt)) process.kill(process.pid, 'SIGKILL')
    },
  },
})
for (const [i, items] of batches.entries()) {
  await Promise.all(items.map((item) => store.commit(item)))
  writeSync(1, `answered ${i}\n`)
}
await store.log.prune(PRUNED)
writeSync(1, 'pruned\n')
await store.close()
writeSync(1, `steps ${steps}\n`)
