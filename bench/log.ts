/**
 * P7 and P10: what the log costs to write, verify, prove and search, short and long. Entries are shaped like decisions.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLogFolder } from '../src/audit/folder.ts'
import { Prover } from '../src/audit/proofs.ts'
import { isContinued, isIncluded } from '../src/audit/tree.ts'
import { verifyLog } from '../src/audit/verify.ts'
import { idMaker } from '../src/flows/ids.ts'
import { systemClock } from '../src/store/clock.ts'
import type { EntryBody, Store } from '../src/store/port.ts'
import { openSqliteStore } from '../src/store/sqlite/store.ts'
import { DURABLE_ROW, durableRow } from './durable.ts'
import type { Row } from './measure.ts'
import { median, percentiles, sample } from './measure.ts'

/** Subjects and resources that decisions are about. */
const SUBJECTS = 200
const RESOURCES = 1_000
/** Decisions that join one batch while the log is filled. */
const TOGETHER = 256

const newId = idMaker(() => Date.now(), randomBytes)

function decision(i: number): EntryBody {
  const [id, grant] = [newId('dec'), newId('grant')]
  const [subject, resource] = [`migrator-${i % SUBJECTS}`, `handbook-${(i * 7) % RESOURCES}`]
  return {
    kind: 'decision',
    refs: [id, `Agent/${subject}`, `Document/${resource}`, grant],
    id,
    outcome: i % 9 === 0 ? 'deny' : 'permit',
    reason: 'permitted',
    caller: 'key:key_7h2m0c5tq9e1n4k8w3x6z0b2d4',
    attempt: {
      subject: { type: 'Agent', id: subject },
      action: { name: i % 4 === 0 ? 'write' : 'read' },
      resource: { type: 'Document', id: resource },
    },
    policy: 'sha256:6b1f0c9d2e3a4b5c6d7e8f900112233445566778899aabbccddeeff001122334',
    determining: ['readers.handbook'],
    read_set: [`entity/Agent/${subject}@17`, `entity/Document/${resource}@4`],
    grant,
  }
}

async function append(store: Store, from: number, count: number): Promise<void> {
  const entries = Array.from({ length: count }, (_, i) => decision(from + i))
  await Promise.all(entries.map((entry) => store.commit({ reads: [], run: (tx) => tx.append(entry) })))
}

const row = (
  metric: string,
  value: number,
  unit: Row['unit'],
  peer?: { name: string; ratio: number },
): Row => ({
  bench: 'log',
  metric,
  value,
  unit,
  peer: peer?.name ?? null,
  ratio: peer?.ratio ?? null,
})

/** `full`: to 10⁷ entries, which takes half an hour and 20 GB; otherwise to 10⁶. */
export async function log({ full = false } = {}): Promise<readonly Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'writ-bench-'))
  const store = await openSqliteStore({ folder, clock: systemClock })
  try {
    const rows = await batches()
    const steps = [1_000, 10_000, 100_000, 1_000_000, ...(full ? [10_000_000] : [])]
    const first = new Map<string, number>()
    for (const size of steps) {
      for (let { size: at } = await store.log.head(); at < size; at += TOGETHER)
        await append(store, at, TOGETHER)
      const measured = await at(store)
      for (const { metric, value, unit } of measured) {
        const before = first.get(metric) ?? value
        first.set(metric, before)
        const peer = size === steps[0] ? undefined : { name: 'the same at 10³', ratio: before / value }
        rows.push(row(`${metric} at ${power(size)}`, value, unit, peer))
      }
      if (size !== steps[0]) {
        rows.push(...(await beside(store, size, 1_000)))
        rows.push(...(await beside(store, size, 20_000)))
      }
    }
    rows.push(...(await verification(store, folder)))
    return rows
  } finally {
    await store.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Entries per second that are durable when their promise resolves. */
async function batches(): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'writ-bench-'))
  const store = await openSqliteStore({ folder, clock: systemClock })
  using peer = durableRow()
  try {
    const alone = await sample(async () => peer.write(), { seconds: 1, concurrency: 1 })
    const rows: Row[] = []
    for (const together of [1, 16, 256, 1_024]) {
      let { size } = await store.log.head()
      const once = async (): Promise<void> => {
        await append(store, size, together)
        size += together
      }
      const { rate } = await sample(once, { seconds: 1, concurrency: 1, warmup: 1 })
      const ratio = (rate * together) / alone.rate
      rows.push(row(`append, ${together} at a time`, rate * together, '/s', { name: DURABLE_ROW, ratio }))
    }
    return rows
  } finally {
    await store.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * What appending to a long log costs, in turns with a short one, so that what else the machine does troubles both. What
 * 10³ entries are found by is still in memory; from 2·10⁴ on it is written with later batches, as in a long log.
 */
async function beside(long: Store, size: number, least: number): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'writ-bench-'))
  const short = await openSqliteStore({ folder, clock: systemClock })
  const timed = async (store: Store, together: number): Promise<number> => {
    const { size: at } = await store.log.head()
    const before = performance.now()
    await append(store, at, together)
    return ((performance.now() - before) * 1_000) / together
  }
  try {
    for (let at = 0; at < least; at += 100) await append(short, at, 100)
    const rows: Row[] = []
    for (const [together, turns] of [
      [TOGETHER, 64],
      [1, 256],
    ] as const) {
      const took = { short: 0, long: 0 }
      for (let turn = 0; turn < turns; turn += 1) {
        // who was first pays for what the other left behind
        const first = turn % 2 === 0
        if (first) took.short += await timed(short, together)
        took.long += await timed(long, together)
        if (!first) took.short += await timed(short, together)
      }
      const name = `a log of ${least === 1_000 ? '10³' : '2·10⁴'}, in turns`
      const peer = { name, ratio: took.short / took.long }
      rows.push(row(`append, ${together} at a time at ${power(size)}`, took.long / turns, 'µs', peer))
    }
    return rows
  } finally {
    await short.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** What the log costs at its present size. */
async function at(store: Store): Promise<Row[]> {
  const micros = async (times: number, once: (i: number) => Promise<void>): Promise<number> => {
    const took: number[] = []
    for (let i = 0; i < times; i += 1) {
      const before = performance.now()
      await once(i)
      took.push((performance.now() - before) * 1_000)
    }
    return median(took)
  }
  const { size, root } = await store.log.head()
  const grown = Buffer.from(root, 'hex')
  const any = (): number => Math.floor(Math.random() * size)
  const rows: Row[] = []

  const prover = new Prover(store.log)
  const times: number[] = []
  for (let i = 0; i < 400; i += 1) {
    const index = any()
    const [leaf] = await store.log.hashes(0, index, index + 1)
    const before = performance.now()
    const proof = await prover.inclusion(index, size)
    // those before were the warm-up
    if (i >= 100) times.push(performance.now() - before)
    assert.ok(isIncluded(leaf as Uint8Array, index, size, proof, grown))
  }
  const inclusion = percentiles(times, 1)
  rows.push(row('inclusion proof p50', inclusion.p50, 'ms'), row('inclusion proof p99', inclusion.p99, 'ms'))
  rows.push(
    row(
      'consistency proof p50',
      (await micros(200, async () => {
        const before = 1 + any()
        const proof = await prover.consistency(before, size)
        assert.ok(proof.length > 0 || before === size)
      })) / 1_000,
      'ms',
    ),
  )
  const early = await prover.root(700)
  assert.ok(isContinued(700, early, size, grown, await prover.consistency(700, size)))

  const ids: [number, string][] = []
  for (let i = 0; i < 300; i += 1) {
    const seq = any()
    const [entry] = await store.log.entries(seq, seq + 1)
    assert.ok(entry !== undefined && 'bytes' in entry)
    ids.push([entry.seq, (JSON.parse(Buffer.from(entry.bytes).toString()) as { id: string }).id])
  }
  const found = async (i: number): Promise<void> => {
    const [seq, id] = ids[i] as [number, string]
    assert.deepEqual(await store.log.find(id), [seq])
  }
  rows.push(row('find one id', await micros(ids.length, found), 'µs'))
  const searching = (terms: (i: number) => string[], found: number) =>
    micros(300, async (i) => {
      const { items } = await store.log.search({ terms: terms(i), limit: 50 })
      assert.ok(items.length >= Math.min(found, 50))
    })
  const ofAgent = (i: number) => [`Agent/migrator-${i % SUBJECTS}`, 'outcome=deny']
  rows.push(row('search agent and outcome', await searching(ofAgent, 0), 'µs'))
  const ofBoth = (i: number) => ['kind=decision', 'action=write', `Document/handbook-${i % RESOURCES}`]
  rows.push(row('search kind, action and resource', await searching(ofBoth, 0), 'µs'))
  const { items } = await store.log.search({ terms: ['outcome=permit'] })
  assert.equal(items.length, 100)
  const middle = Math.floor(size / 2)
  const [some] = await store.log.entries(middle, middle + 1)
  rows.push(
    row(
      'first entry of a time',
      await micros(300, async () => assert.ok((await store.log.seqAt(some?.at ?? 0)) <= size)),
      'µs',
    ),
  )
  return rows
}

async function verification(store: Store, folder: string): Promise<Row[]> {
  const source = openLogFolder(folder)
  try {
    const rows: Row[] = []
    for (const [what, log] of [
      [
        'verify, the log alone',
        { head: () => source.head(), entries: (from: number, to: number) => source.entries(from, to) },
      ],
      ['verify, with all that is beside it', source],
    ] as const) {
      const before = performance.now()
      const { ok, size } = await verifyLog(log, await store.log.head())
      assert.ok(ok)
      const rate = size / ((performance.now() - before) / 1_000)
      rows.push(row(`${what}, ${power(size)} entries`, rate, '/s'))
    }
    return rows
  } finally {
    source.close()
  }
}

const power = (size: number): string => `10${'⁰¹²³⁴⁵⁶⁷⁸⁹'[Math.round(Math.log10(size))] ?? ''}`
