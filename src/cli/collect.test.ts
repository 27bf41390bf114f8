import assert from 'node:assert/strict'
import {
  appendFileSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import fc from 'fast-check'
import type { ActionReport, ReportedAction } from '../../client/src/index.ts'
import { WritClientError } from '../../client/src/index.ts'
import { Collector, LogFiles, Position } from './collect.ts'

let made = 0
/** A line as jsonlog writes it, by a role of Writ; each has its own number. */
function line(text = ''): string {
  made += 1
  return `${JSON.stringify({
    timestamp: '2026-11-22 14:00:00.123 UTC',
    user: 'writ_3f9c0a1b_cred_01k2m_5be0c1a2f3d4e5f60718',
    session_id: '6921a1b2.1092',
    line_num: made,
    error_severity: 'LOG',
    message: `statement: select ${made} ${text}`,
  })}\n`
}

/** A server that keeps what it is sent as Writ does, and fails when it is told to. */
class FakeRecord {
  readonly lines: number[] = []
  calls = 0
  /** What happens to a call: nothing, or an error before or after it was recorded. */
  fault: (call: number, items: readonly ActionReport[]) => 'before' | 'after' | Error | undefined = () =>
    undefined
  readonly #seen = new Set<string>()
  readonly #waiting: { count: number; done: () => void }[] = []

  readonly actions = {
    report: async (items: readonly ActionReport[]): Promise<readonly ReportedAction[]> => {
      this.calls += 1
      const fault = this.fault(this.calls, items)
      if (fault instanceof Error) throw fault
      if (fault === 'before') throw new WritClientError('ERR_UNREACHABLE', 'nobody answers')
      const answers = items.map(({ id, detail }): ReportedAction => {
        const status = this.#seen.has(id) ? 'duplicate' : 'recorded'
        this.#seen.add(id)
        if (status === 'recorded') this.lines.push((detail as { line: number }).line)
        return { id, action: `act_${id}`, status }
      })
      for (const { count, done } of this.#waiting) if (this.lines.length >= count) done()
      if (fault === 'after') throw new WritClientError('ERR_TIMEOUT', 'the answer was lost')
      return answers
    },
  } as unknown as ConstructorParameters<typeof Collector>[0]['writ']['actions']

  /** Resolves once `count` lines are on the record. */
  async has(count: number): Promise<void> {
    if (this.lines.length >= count) return
    await new Promise<void>((done) => this.#waiting.push({ count, done }))
  }
}

function setUp(t: TestContext | undefined) {
  const folder = mkdtempSync(join(tmpdir(), 'writ-collect-'))
  t?.after(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'postgresql.json')
  const record = new FakeRecord()
  const said: string[] = []
  const start = (
    more: Partial<ConstructorParameters<typeof Collector>[0]> = {},
  ): { collector: Collector; stop: () => void; done: Promise<void> } => {
    const abort = new AbortController()
    const collector = new Collector({
      writ: record,
      files: new LogFiles(file),
      state: new Position(join(folder, 'state')),
      target: 'orders-db',
      accounts: new Set(),
      follow: false,
      fromStart: true,
      signal: abort.signal,
      say: (_kind, text) => void said.push(text),
      poll: 1,
      backOff: 1,
      ...more,
    })
    return { collector, stop: () => abort.abort(), done: collector.run() }
  }
  return { folder, file, record, said, start }
}

const from = (first: number, to = made): number[] =>
  Array.from({ length: to - first + 1 }, (_, i) => first + i)

test('the first time it begins with what is yet to come, unless told otherwise', async (t) => {
  const { file, record, start } = setUp(t)
  writeFileSync(file, line() + line())
  await start({ fromStart: false }).done
  assert.deepEqual(record.lines, [])
  const first = made + 1
  appendFileSync(file, line())
  await start({ fromStart: false }).done
  assert.deepEqual(record.lines, from(first))
})

test('nothing is lost and nothing is twice, wherever it is stopped and whatever answers are lost', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.tuple(
          fc.integer({ min: 0, max: 150 }),
          fc.constantFrom('ok', 'before', 'after', 'kill', 'locked out'),
        ),
        {
          minLength: 1,
          maxLength: 6,
        },
      ),
      fc.boolean(),
      async (steps, keep) => {
        const { folder, file, record, start } = setUp(undefined)
        try {
          const first = made + 1
          writeFileSync(file, '')
          for (const [lines, what] of steps) {
            appendFileSync(file, Array.from({ length: lines }, () => line()).join(''))
            // an attacker cannot end an entry early, so a torn last line is only ever the newest
            if (keep) appendFileSync(file, '{"timestamp":"2026')
            const run = start()
            const begun = record.calls
            record.fault = (call) => {
              if (what === 'kill') run.stop()
              if (what === 'locked out') return new WritClientError('ERR_UNAUTHENTICATED', 'nobody we know')
              return call === begun + 1 && (what === 'before' || what === 'after') ? what : undefined
            }
            // where there was nothing to send nobody was asked
            await run.done.catch((error: unknown) => assert.match(String(error), /nobody we know/))
            record.fault = () => undefined
            if (keep) {
              truncateSync(file, statSync(file).size - '{"timestamp":"2026'.length)
            }
          }
          await start().done
          assert.deepEqual(record.lines, from(first))
        } finally {
          rmSync(folder, { recursive: true, force: true })
        }
      },
    ),
    { numRuns: 40 },
  )
})

test('a log that is renamed is read to its end, and then the new one; also across a restart', async (t) => {
  const { file, record, start } = setUp(t)
  const first = made + 1
  writeFileSync(file, line())
  const following = start({ follow: true })
  await record.has(1)
  appendFileSync(file, line())
  renameSync(file, `${file}.1`)
  appendFileSync(`${file}.1`, line())
  writeFileSync(file, line())
  await record.has(4)
  following.stop()
  await following.done
  appendFileSync(file, line())
  renameSync(file, `${file}.2`)
  writeFileSync(file, line())
  // twice while nobody was looking
  renameSync(file, `${file}.3`)
  writeFileSync(file, line())
  await start().done
  assert.deepEqual(record.lines, from(first))
})

test('a folder is read in the order in which its files were written', async (t) => {
  const { folder, record, start } = setUp(t)
  const files = new LogFiles(folder)
  const first = made + 1
  const write = (name: string, text: string): void => appendFileSync(join(folder, name), text)
  write('a.json', line() + line())
  const following = start({ files, follow: true })
  await record.has(2)
  write('b.json', line())
  await record.has(3)
  write('b.json', line().slice(0, -1)) // not ended
  write('c.json', line())
  await record.has(4)
  following.stop()
  await following.done
  assert.equal(following.collector.tally.garbled, 1, 'what breaks off at the end of a file is counted')
  assert.deepEqual(
    record.lines,
    from(first).filter((n) => n !== made - 1),
  )
})

test('a log that is cut off is read from its beginning, and it is said', async (t) => {
  const { file, record, said, start } = setUp(t)
  const first = made + 1
  writeFileSync(file, line() + line())
  const following = start({ follow: true })
  await record.has(2)
  truncateSync(file, 0)
  appendFileSync(file, line())
  await record.has(3)
  following.stop()
  await following.done
  assert.deepEqual(record.lines, from(first))
  assert.equal(following.collector.tally.truncated, 1)
  assert.match(said.join('\n'), /was cut off/)
  // and while nobody was looking, although it is longer than before
  truncateSync(file, 0)
  appendFileSync(file, Array.from({ length: 9 }, () => line('longer')).join(''))
  const again = start()
  await again.done
  assert.equal(again.collector.tally.truncated, 1)
  assert.deepEqual(record.lines, from(first))
})

test('a server that is away is waited for; one that refuses a line is not', async (t) => {
  const { file, record, said, start } = setUp(t)
  const first = made + 1
  writeFileSync(file, line() + line() + line())
  record.fault = (call) => (call < 9 ? 'before' : undefined)
  const following = start({ follow: true })
  await record.has(3)
  following.stop()
  await following.done
  assert.deepEqual(record.lines, from(first))
  assert.match(said.join('\n'), /trying until it works/)
  assert.match(said.join('\n'), /nothing was lost/)
  // not followed, it gives up in the end, and the next one goes on from there
  appendFileSync(file, line())
  record.fault = () => 'before'
  await assert.rejects(start().done, { code: 'ERR_UNREACHABLE' })
  const bad = made + 2
  appendFileSync(file, line() + line() + line())
  record.fault = (_call, items) =>
    items.some(({ detail }) => (detail as { line: number }).line === bad)
      ? new WritClientError('ERR_CONFLICT', 'reported with other content')
      : undefined
  const last = start()
  await last.done
  assert.equal(last.collector.tally.refused, 1)
  assert.deepEqual(
    record.lines,
    from(first).filter((n) => n !== bad),
  )
  // who may not observe is told so at once
  appendFileSync(file, line())
  record.fault = () => new WritClientError('ERR_FORBIDDEN', 'may not')
  await assert.rejects(start({ follow: true }).done, { code: 'ERR_FORBIDDEN' })
  record.fault = () => undefined
  await start().done
  assert.deepEqual(
    record.lines,
    from(first).filter((n) => n !== bad),
  )
})

test('a damaged position is refused, not guessed', async (t) => {
  const { folder, file, start } = setUp(t)
  writeFileSync(file, line())
  writeFileSync(join(folder, 'state'), '{"offset":-1}')
  await assert.rejects(start().done, /is damaged/)
})
