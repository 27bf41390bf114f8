import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { Listed, Place } from './recent.ts'
import { Recent } from './recent.ts'

const NONE: Listed = { done: 0, until: 0, place: undefined }

const key = ({ list, text, seq }: Place): string => `${list} ${text} ${String(seq).padStart(6, '0')}`

/** Every row that entries 0 to `size` are listed by. */
function rowsOf(entries: readonly Entry[]): string[] {
  return entries.flatMap(({ seq, refs, terms }) => [
    ...refs.map((text) => key({ list: 'ref', text, seq })),
    ...terms.map((text) => key({ list: 'term', text, seq })),
  ])
}

type Entry = Readonly<{ seq: number; refs: readonly string[]; terms: readonly string[] }>

const text = fc.constantFrom('a', 'b', 'b/c', 'é', '\u{1f600}', 'zz')
const plan = fc.record({
  refs: fc.uniqueArray(text, { maxLength: 4 }),
  terms: fc.uniqueArray(text, { maxLength: 2 }),
})
const batch = fc.record({
  entries: fc.array(plan, { maxLength: 6 }),
  fails: fc.boolean(),
  restart: fc.nat({ max: 4 }).map((n) => n === 0),
  prune: fc.option(fc.nat({ max: 40 }), { nil: undefined }),
})

test('however batches fall, fail and are cut short by an end, every row is written once, and found in between', () => {
  fc.assert(
    fc.property(fc.array(batch, { maxLength: 25 }), fc.integer({ min: 1, max: 9 }), (batches, stretch) => {
      let recent = new Recent(NONE, stretch)
      let listed = NONE
      let log: Entry[] = []
      let written: string[] = []
      for (const { entries, fails, restart, prune } of batches) {
        const step = recent.step(entries.length)
        if (fails) continue
        const added = entries.map((entry, i) => ({ seq: log.length + i, ...entry }))
        log.push(...added)
        for (const entry of added) recent.add(entry)
        if (step !== undefined) {
          written.push(...step.rows.map(key))
          listed = step.listed
          recent.stepped(step)
        }
        const gone = prune === undefined ? undefined : log[prune]
        if (gone !== undefined) {
          if (gone.seq >= listed.done) recent.forget(gone)
          const rows = rowsOf([gone])
          written = written.filter((row) => !rows.includes(row))
          log = log.with(gone.seq, { seq: gone.seq, refs: [], terms: [] })
        }
        if (restart) {
          recent = new Recent(listed, stretch)
          for (const entry of log.slice(listed.done)) recent.add(entry)
        }
        assert.equal(recent.from, listed.done)
        for (const ref of ['a', 'b/c', 'none']) {
          const expected = log.filter(({ seq, refs }) => seq >= recent.from && refs.includes(ref))
          assert.deepEqual(
            recent.seqs('ref', ref),
            expected.map(({ seq }) => seq),
          )
        }
        // what the tables have is what they say they have
        const { done, until, place } = listed
        const isWritten = (row: Place): boolean =>
          row.seq < done || (row.seq < until && place !== undefined && key(row) <= key(place))
        const expected = log.flatMap(({ seq, refs, terms }) => [
          ...refs.map((it): Place => ({ list: 'ref', text: it, seq })),
          ...terms.map((it): Place => ({ list: 'term', text: it, seq })),
        ])
        assert.deepEqual(written.toSorted(), expected.filter(isWritten).map(key).toSorted())
      }
      for (let step = recent.step(0, 3); step !== undefined; step = recent.step(0, 3)) {
        written.push(...step.rows.map(key))
        recent.stepped(step)
      }
      assert.equal(recent.from, log.length)
      assert.deepEqual(written.toSorted(), rowsOf(log).toSorted())
    }),
  )
})

test('P10 a stretch is written before the next one is full, a few rows with every batch', () => {
  const recent = new Recent(NONE, 1_000)
  let waiting = 0
  for (let seq = 0; seq < 20_000; seq += 10) {
    const step = recent.step(10)
    for (let i = 0; i < 10; i += 1)
      recent.add({ seq: seq + i, refs: [`id-${seq + i}`, `of-${seq % 70}`], terms: ['kind=k'] })
    if (step !== undefined) recent.stepped(step)
    assert.ok((step?.rows.length ?? 0) <= 40)
    waiting = Math.max(waiting, seq + 10 - recent.from)
  }
  assert.ok(waiting <= 2_000, `${waiting} entries wait`)
})
