import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmodSync, cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { openLogFolder } from '../../src/audit/folder.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { engineFlags } from '../support/engine.ts'
import { openTestStore } from '../support/store.ts'
import { isPruned } from '../../src/store/port.ts'
import { FILLED, recordsAfter, sizeAfter } from './store-batches.ts'

const scratch = mkdtempSync(join(tmpdir(), 'writ-crash-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

/** A log that is about to complete a subtree. */
const filled = (async () => {
  const store = await openTestStore({ folder: join(scratch, 'filled'), reserveBytes: 4096 })
  const fill = () => store.commit({ reads: [], run: (tx) => tx.append({ kind: 'fill', refs: ['f'] }) })
  await Promise.all(Array.from({ length: FILLED }, fill))
  await store.close()
  return store.folder
})()

type Ended = Readonly<{
  answered: number
  pruned: boolean
  steps: number
  signal: string | undefined
  errors: string
}>

/** Runs the writing process until it ends, by itself or at the step where it is killed. */
async function run(folder: string, killAt: number): Promise<Ended> {
  cpSync(await filled, folder, { recursive: true })
  chmodSync(folder, 0o700)
  const child = join(import.meta.dirname, 'store-child.ts')
  return new Promise((resolve) => {
    execFile(process.execPath, [...engineFlags, child, folder, String(killAt)], (error, stdout, stderr) => {
      const answered = stdout.match(/^answered/gm)?.length ?? 0
      const steps = Number(/^steps (\d+)$/m.exec(stdout)?.[1] ?? 0)
      resolve({
        answered,
        pruned: /^pruned$/m.test(stdout),
        steps,
        signal: error?.signal ?? undefined,
        errors: stderr,
      })
    })
  })
}

/** What is left, read by the verifier and by the store: some number of whole batches. */
async function survivors(folder: string): Promise<{ kept: number; pruned: number }> {
  const source = openLogFolder(folder)
  const { ok, size, firstBad } = await verifyLog(source)
  source.close()
  assert.ok(ok, JSON.stringify(firstBad))
  const store = await openTestStore({ folder })
  const { items } = await store.list('credential')
  const count = sizeAfter.indexOf(size)
  assert.notEqual(count, -1, `half a batch: ${size} entries`)
  assert.deepEqual(
    items.map(({ value }) => `${value.id}:${value.state}`),
    recordsAfter[count],
  )
  const view = await store.read([{ index: 'credential.open', value: 'open' }])
  const open = view.scan('credential.open', 'open').map(({ value }) => `${value.id}:${value.state}`)
  assert.deepEqual(
    open,
    recordsAfter[count]?.filter((it) => !it.endsWith(':absent')),
  )
  assert.deepEqual(store.problems(), [])
  // the log goes on where it stopped
  const next = await store.commit({ reads: [], run: (tx) => tx.append({ kind: 'after', refs: [] }) })
  assert.equal(next, size)
  assert.ok((await verifyLog(store.log)).ok)
  const pruned = (await store.log.entries(0, 4)).filter(isPruned).length
  assert.equal((await store.log.find('f')).includes(0), pruned === 0)
  await store.close()
  return { kept: count, pruned }
}

test('law 1, B47: killed at any write, what was answered is there, and every batch is there wholly or not at all', async () => {
  const whole = await run(join(scratch, 'whole'), 0)
  assert.equal(whole.errors, '')
  assert.equal(whole.answered, 3)
  assert.ok(whole.steps > 30, `${whole.steps} steps`)
  assert.deepEqual(await survivors(join(scratch, 'whole')), { kept: 3, pruned: 2 })

  const seen = new Set<number>()
  let lost = 0
  const killAndLook = async (killAt: number): Promise<void> => {
    const folder = join(scratch, `kill-${killAt}`)
    const { answered, signal, errors, ...said } = await run(folder, killAt)
    assert.equal(signal, 'SIGKILL', `step ${killAt}: ${errors}`)
    const { kept, pruned } = await survivors(folder)
    assert.ok(pruned === 0 || pruned === 2, `step ${killAt}: half a pruning`)
    assert.ok(!said.pruned || pruned === 2, `step ${killAt}: pruned, and it is there again`)
    assert.ok(kept >= answered && kept <= answered + 1, `step ${killAt}: ${answered} answered, ${kept} kept`)
    if (kept === answered) lost += 1
    seen.add(kept)
  }
  // two at a time: the machine has more to do
  const pending = Array.from({ length: whole.steps }, (_, i) => i + 1)
  const worker = async (): Promise<void> => {
    for (let killAt = pending.shift(); killAt !== undefined; killAt = pending.shift())
      await killAndLook(killAt)
  }
  await Promise.all([worker(), worker()])
  assert.deepEqual(
    [...seen].sort((a, b) => a - b),
    [0, 1, 2, 3],
  )
  assert.ok(lost > 0)
})
