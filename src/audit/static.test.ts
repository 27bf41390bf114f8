import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import type { Get } from '../../test/support/tile-reader.ts'
import { readLog } from '../../test/support/tile-reader.ts'
import { nodeHash, leafHash } from '../store/hash.ts'
import type { LogEntry, PrunedEntry } from '../store/port.ts'
import { formatCheckpoint, formatNote } from './note.ts'
import { Prover } from './proofs.ts'
import { StaticLog } from './static.ts'

/** A log in memory of as many entries as are asked for; some pruned. */
function syntheticLog() {
  const levels: Uint8Array[][] = [[]]
  const pruned = new Set<number>()
  const bytesOf = (seq: number): Uint8Array => Buffer.from(`{"seq":${seq}}`)
  return {
    pruned,
    grow(to: number): void {
      for (let seq = levels[0]?.length ?? 0; seq < to; seq += 1) {
        let hash = leafHash(bytesOf(seq))
        for (let level = 0; ; level += 1) {
          const row = (levels[level] ??= [])
          row.push(hash)
          if (row.length % 256 !== 0) break
          let above = row.slice(-256)
          while (above.length > 1) {
            const pairs: Uint8Array[] = []
            for (let i = 0; i < above.length; i += 2) {
              pairs.push(nodeHash(above[i] as Uint8Array, above[i + 1] as Uint8Array))
            }
            above = pairs
          }
          hash = above[0] as Uint8Array
        }
      }
    },
    hashes: async (level: number, from: number, to: number) => (levels[level] ?? []).slice(from, to),
    entries: async (from: number, to: number): Promise<readonly (LogEntry | PrunedEntry)[]> =>
      (levels[0] ?? []).slice(from, to).map((leaf, i) => {
        const seq = from + i
        return pruned.has(seq) ? { seq, at: 0, leaf, pruned: true } : { seq, at: 0, bytes: bytesOf(seq) }
      }),
  }
}

type Synthetic = ReturnType<typeof syntheticLog>

async function noteAt(log: Synthetic, size: number, origin = 'writ/test'): Promise<string> {
  log.grow(size)
  const root = Buffer.from(await new Prover(log).root(size)).toString('hex')
  const signature = { name: origin, id: '00000000', bytes: Buffer.alloc(64) }
  return formatNote({ text: formatCheckpoint({ origin, size, root }), signatures: [signature] })
}

async function publish(files: StaticLog, note: string): Promise<number> {
  for (let steps = 1; ; steps += 1) if (await files.publish(note)) return steps
}

const from =
  (folder: string): Get =>
  async (path) =>
    existsSync(join(folder, path)) ? readFileSync(join(folder, path)) : undefined

async function agrees(folder: string, size: number): Promise<void> {
  const read = await readLog(from(folder))
  assert.equal(read.size, size)
  assert.deepEqual([read.fromEntries, read.fromTiles], [read.root, read.root], `at ${size}`)
}

function scratch(): { folder: string } & Disposable {
  const parent = mkdtempSync(join(tmpdir(), 'writ-tiles-'))
  return {
    folder: join(parent, 'log'),
    [Symbol.dispose]: () => rmSync(parent, { recursive: true, force: true }),
  }
}

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile())
    .map((file) => join(file.parentPath, file.name).slice(folder.length + 1))
    .toSorted()

describe('the log as files, read by who knows only the text of C2SP', () => {
  for (const size of [0, 1, 2, 255, 256, 257, 511, 512, 65_536, 70_000]) {
    test(`${size} entries at once`, async () => {
      using at = scratch()
      const log = syntheticLog()
      await publish(new StaticLog(at.folder, log), await noteAt(log, size))
      await agrees(at.folder, size)
    })
  }

  test('growing, with stops in between, and any start finding what the one before left', async () => {
    using at = scratch()
    const log = syntheticLog()
    let files = new StaticLog(at.folder, log)
    for (const [i, size] of [1, 7, 200, 255, 256, 256, 300, 511, 513, 1_500, 1_501].entries()) {
      if (i % 3 === 2) files = new StaticLog(at.folder, log)
      await publish(files, await noteAt(log, size))
      await agrees(at.folder, size)
    }
    // partial tiles of checkpoints that were given out stay as long as the full one is not there, no longer
    const partials = filesIn(at.folder).filter((name) => name.includes('.p/'))
    assert.deepEqual(
      partials.filter((name) => name.startsWith('tile/0/') || name.startsWith('tile/entries/')),
      ['tile/0/005.p/220', 'tile/0/005.p/221', 'tile/entries/005.p/220', 'tile/entries/005.p/221'],
    )
  })

  test('of a bundle that grows only the latest partials stay', async () => {
    using at = scratch()
    const log = syntheticLog()
    let files = new StaticLog(at.folder, log)
    for (let size = 1; size <= 40; size += 1) {
      if (size === 20) files = new StaticLog(at.folder, log)
      await publish(files, await noteAt(log, size))
    }
    assert.equal(readdirSync(join(at.folder, 'tile/entries/000.p')).length, 8)
    assert.equal(readdirSync(join(at.folder, 'tile/0/000.p')).length, 40)
    await agrees(at.folder, 40)
  })

  test('a step is bounded, and the checkpoint comes last', async () => {
    using at = scratch()
    const log = syntheticLog()
    const files = new StaticLog(at.folder, log)
    await publish(files, await noteAt(log, 10))
    const note = await noteAt(log, 100_000)
    const counted: number[] = []
    for (let before = filesIn(at.folder).length; ;) {
      const done = await files.publish(note)
      const now = filesIn(at.folder).length
      counted.push(now - before)
      before = now
      if (done) break
      assert.equal(readFileSync(join(at.folder, 'checkpoint'), 'utf8').split('\n')[1], '10')
    }
    assert.ok(counted.length > 20 && counted.every((count) => count <= 40), String(counted))
    await agrees(at.folder, 100_000)
  })

  test('what a crash left half written is written again', async () => {
    using at = scratch()
    const log = syntheticLog()
    await publish(new StaticLog(at.folder, log), await noteAt(log, 300))
    for (const path of ['tile/0/001.p/44', 'tile/entries/001.p/44', 'new']) {
      writeFileSync(join(at.folder, path), 'torn')
    }
    // full tiles beyond the checkpoint, as when it was not reached any more
    for (const path of ['tile/0/001', 'tile/entries/001']) {
      mkdirSync(dirname(join(at.folder, path)), { recursive: true })
      writeFileSync(join(at.folder, path), '')
    }
    await publish(new StaticLog(at.folder, log), await noteAt(log, 300))
    await agrees(at.folder, 300)
    await publish(new StaticLog(at.folder, log), await noteAt(log, 600))
    await agrees(at.folder, 600)
  })

  test('what is there of another log, or of another epoch, goes', async () => {
    using at = scratch()
    const log = syntheticLog()
    await publish(new StaticLog(at.folder, log), await noteAt(log, 700))
    await publish(new StaticLog(at.folder, log), await noteAt(log, 300, 'writ/test/2'))
    await agrees(at.folder, 300)
    assert.equal(existsSync(join(at.folder, 'tile/0/001')), false)
    writeFileSync(join(at.folder, 'checkpoint'), 'damaged')
    await publish(new StaticLog(at.folder, log), await noteAt(log, 301, 'writ/test/2'))
    await agrees(at.folder, 301)
  })

  test('bundles with pruned entries are not there, or vanish; the tree stays whole', async () => {
    using at = scratch()
    const log = syntheticLog()
    log.grow(600)
    log.pruned.add(3)
    const files = new StaticLog(at.folder, log)
    await publish(files, await noteAt(log, 600))
    const has = (index: string): boolean => existsSync(join(at.folder, 'tile/entries', index))
    assert.deepEqual(['000', '001', '002.p/88'].map(has), [false, true, true])
    log.pruned.add(400).add(599)
    await files.forget([400, 599])
    assert.deepEqual(['000', '001', '002.p/88'].map(has), [false, false, false])
    await publish(files, await noteAt(log, 800))
    assert.deepEqual(['001', '002', '003.p/32'].map(has), [false, false, true])
    await assert.rejects(readLog(from(at.folder)), /entries\/000 is missing/)
    assert.deepEqual(
      [0, 1, 2].map((n) => readFileSync(join(at.folder, `tile/0/00${n}`)).length),
      [8_192, 8_192, 8_192],
    )
  })
})
