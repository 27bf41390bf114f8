/**
 * A process that fills the disk under its store, and says what happened to it as JSON. `ballast` names a file that it
 * may remove to make room again.
 *
 * @module
 */
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { isWritError } from '../../src/model/errors.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'

const [folder = '', ballast = ''] = process.argv.slice(2)
let monotonic = 0
const clock = { wall: () => Date.now(), monotonic: () => monotonic }
const store = await openSqliteStore({ folder, clock, reserveBytes: 1 << 20 })

async function append(kind: string, narrowing: boolean, pad = 0): Promise<string> {
  try {
    const run = (tx: { append(entry: { kind: string; refs: string[]; pad: string }): number }) =>
      tx.append({ kind, refs: [], pad: 'x'.repeat(pad) })
    await store.commit({ reads: [], narrowing, run })
    return 'done'
  } catch (error) {
    return isWritError(error) ? error.code : String(error)
  }
}

let filled = 'done'
let answered = 0
for (let i = 0; i < 5_000 && filled === 'done'; i++) {
  filled = await append('issued', false, 30_000)
  if (filled === 'done') answered += 1
}
const reserve = existsSync(join(folder, 'reserve'))
const widening = await append('issued', false)
const narrowing: string[] = []
for (let i = 0; i < 10; i++) narrowing.push(await append('revoked', true, 1_000))
const problems = store.problems().length
rmSync(ballast, { force: true })
monotonic += 10_000
const later = await append('issued', false)
const { size } = await store.log.head()
await store.close()
console.log(
  JSON.stringify({
    filled,
    answered,
    reserve,
    widening,
    narrowing: [...new Set(narrowing)],
    problems,
    later,
    size,
  }),
)
