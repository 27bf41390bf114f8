import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { LogLine, Reader } from './pglog.ts'
import { LINE_MOST, actionOf, readCsv, readJson, reduceSql } from './pglog.ts'

const ROLE = 'writ_3f9c0a1b_cred_01k2m_5be0c1a2f3d4e5f60718'

/** As PostgreSQL writes it: text quoted, quotes twice. */
function csv(
  over: Partial<Record<'message' | 'user' | 'statement' | 'application' | 'severity' | 'state', string>>,
  line = 1,
): string {
  const q = (text: string | undefined): string =>
    text === undefined ? '' : `"${text.replaceAll('"', '""')}"`
  const { severity = 'LOG', state = '00000' } = over
  return `${[
    '2026-11-22 14:00:00.123 UTC', q(over.user ?? ROLE), q('orders'), '4242', q('127.0.0.1:5000'), '6921a1b2.1092', line,
    q('idle'), '2026-11-22 13:59:59 UTC', '3/7', '0', severity, state, q(over.message ?? 'statement: select 1'), '', '', '', '',
    '', q(over.statement), '', '', q(over.application ?? 'writ grant_1'), q('client backend'), '', '0',
  ].join(',')}\n` // prettier-ignore
}

function json(message: string, line = 1): string {
  return `${JSON.stringify({
    timestamp: '2026-11-22 14:00:00.123 UTC',
    user: ROLE,
    dbname: 'orders',
    session_id: '6921a1b2.1092',
    line_num: line,
    error_severity: 'LOG',
    message,
    application_name: 'writ grant_1',
  })}\n`
}

/** Reads as a collector does: what comes in pieces, and then what is left. */
function all(read: Reader, bytes: Buffer, piece: number): { lines: LogLine[]; garbled: number } {
  const lines: LogLine[] = []
  let garbled = 0
  let within = false
  let pending = Buffer.alloc(0)
  const take = (final: boolean): void => {
    for (;;) {
      const step = read(pending, final, within)
      if (step === undefined) return
      assert.ok(step.length > 0, 'a step that goes nowhere never ends')
      assert.ok(pending.length < 2 * LINE_MOST, 'what is too long is not kept')
      pending = pending.subarray(step.length)
      within = step.within === true
      if (step.line !== undefined) lines.push(step.line)
      if (step.garbled === true) garbled += 1
    }
  }
  for (let at = 0; at < bytes.length; at += piece) {
    pending = Buffer.concat([pending, bytes.subarray(at, at + piece)])
    take(false)
  }
  take(true)
  return { lines, garbled }
}

describe('reading', () => {
  test('B69 whatever a statement holds, and however it comes, it is one line', () => {
    const message = fc
      .string({ unit: 'binary', maxLength: 40 })
      .filter((text) => text.isWellFormed() && !text.includes('\0'))
    const forged = fc.constantFrom(csv({ user: 'evil' }), `"\n${csv({ user: 'evil' })}`, '","",\n', json('x'))
    const texts = fc.array(fc.oneof(message, forged), { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(texts, fc.integer({ min: 1, max: 300 }), (messages, piece) => {
        for (const [read, encode] of [
          [readCsv, (text: string, n: number) => csv({ message: text }, n)],
          [readJson, json],
        ] as const) {
          const { lines, garbled } = all(read, Buffer.from(messages.map(encode).join('')), piece)
          assert.equal(garbled, 0)
          assert.deepEqual(
            lines.map((line) => [line.message, line.line, line.user]),
            messages.map((text, n) => [text, n, ROLE]),
          )
        }
      }),
    )
  })

  test('what is broken is counted and never more than it breaks', () => {
    const good = (n: number) => csv({ message: `statement: select ${n}` }, n)
    const broken = [
      good(9).slice(0, 150), // cut off inside a quoted field; the next entry begins a line
      good(9).slice(0, 150).concat('\n'),
      'not a line of any log\n',
      '2026-11-22 14:00:00.123 UTC,"x"\n',
      '"\n',
      '\0\0\0\0\n',
    ]
    for (const bad of broken) {
      const text = `${good(1)}${bad}${bad.endsWith('\n') ? '' : '\n'}${good(2)}${good(3)}`
      const { lines, garbled } = all(readCsv, Buffer.from(text), 64)
      assert.deepEqual(
        lines.map(({ line }) => line),
        [1, 2, 3],
        bad,
      )
      assert.ok(garbled >= 1, bad)
    }
    const { lines, garbled } = all(readJson, Buffer.from(`${json('a', 1)}{"x\n${json('b', 2)}[]\n17\n{}`), 10)
    assert.deepEqual([lines.map(({ line }) => line), garbled], [[1, 2], 4])
  })

  test('B69 a statement that is too long for an entry forges none with what it holds', () => {
    const forged = csv({ message: 'x' }, 666).replaceAll('"', '')
    const bytes = LINE_MOST + 300_000
    for (const filler of [forged, `\n${forged}""`, '"', `'"',"\n${forged}`]) {
      const sql = filler.repeat(Math.ceil(bytes / filler.length))
      for (const piece of [65_536, 65_537, 400_000]) {
        const text = csv({ message: `statement: ${sql}` }, 1) + csv({}, 2) + csv({}, 3)
        const { lines, garbled } = all(readCsv, Buffer.from(text), piece)
        assert.deepEqual(
          lines.map(({ line }) => line),
          [2, 3],
          filler.slice(0, 20),
        )
        assert.ok(garbled >= 1)
      }
    }
  })

  test('bytes of any kind neither throw nor stand still', () => {
    const anything = fc.oneof(
      fc.uint8Array({ maxLength: 400 }),
      fc.string({ maxLength: 400 }).map((text) => Buffer.from(text)),
    )
    fc.assert(
      fc.property(
        anything,
        fc.integer({ min: 0, max: 500 }),
        fc.integer({ min: 1, max: 100 }),
        (noise, at, piece) => {
          const text = Buffer.from(csv({}, 1) + csv({}, 2))
          const bytes = Buffer.concat([text.subarray(0, at), Buffer.from(noise), text.subarray(at)])
          all(readCsv, bytes, piece)
          all(readJson, bytes, piece)
        },
      ),
    )
  })

  test('a zone without a number is no time', () => {
    const at = (zone: string) =>
      readCsv(Buffer.from(csv({}).replace('14:00:00.123 UTC', `14:00:00.123 ${zone}`)), true)?.line?.at
    assert.equal(at('UTC'), Date.UTC(2026, 10, 22, 14, 0, 0, 123))
    assert.equal(at('+01'), Date.UTC(2026, 10, 22, 13, 0, 0, 123))
    assert.equal(at('-0330'), Date.UTC(2026, 10, 22, 17, 30, 0, 123))
    assert.equal(at('IST'), undefined)
  })
})

describe('B43 what is kept of a statement', () => {
  test('holds no value', () => {
    const cases: [string, string, string | undefined][] = [
      [
        `select * from a where x = 'it''s' and y in (1, 2.5, 0x1F)`,
        'SELECT',
        'select * from a where x = ? and y in (?, …)',
      ],
      [`alter role x password 'hunter2'`, 'ALTER ROLE', 'alter role x password ?'],
      ['set app.password = hunter2', 'SET', 'set app.password = ?'],
      ['alter role x set app.key to hunter2', 'ALTER ROLE', 'alter role x set app.key to ?'],
      ['set role orders_owner', 'SET', 'set role orders_owner'],
      [`insert into t values ($1, E'a\\'b', U&'x', $q$it's$q$)`, 'INSERT', 'insert into t values ($1, ?, …)'],
      [
        `create or replace function f() returns text as $$ select 'x' $$ language sql`,
        'CREATE FUNCTION',
        'create or replace function f() returns text as ? language sql',
      ],
      ['/* hunter2 /* and */ more */ begin; -- hunter2\n commit', 'BEGIN', 'begin; commit'],
      [`select 'unfinished`, 'SELECT', undefined],
      [`select 'a\\' , 'hunter2'`, 'SELECT', undefined],
      ['hunter2', 'OTHER', undefined],
      ['', 'OTHER', undefined],
    ]
    for (const [sql, tag, text] of cases) {
      const reduced = reduceSql(sql)
      assert.deepEqual([reduced.tag, reduced.text], [tag, text], sql)
    }
  })

  test('whatever is quoted, and however', () => {
    const wrap = fc.constantFrom(
      (v: string) => `'${v}'`,
      (v: string) => `E'${v}'`,
      (v: string) => `$$${v}$$`,
      (v: string) => `$tag$${v}$tag$`,
      (v: string) => `'it''s ${v}'`,
      (v: string) => `E'\\'${v}'`,
      (v: string) => `'\\'${v}'`,
      (v: string) => `U&'${v}'`,
      (v: string) => `'\\' ${v} \\''`,
      (v: string) => `/* ${v} */ 1`,
      (v: string) => `-- ${v}\n 1`,
      (v: string) => `'${v}`,
      (v: string) => `$x$${v}`,
      (v: string) => `'a' '${v}'`,
    )
    const before = fc.constantFrom(
      'select ',
      'insert into t values (',
      'update t set x = ',
      'set app.x = ',
      'call f(',
      'do ',
    )
    fc.assert(
      fc.property(before, fc.array(wrap, { minLength: 1, maxLength: 4 }), (start, wraps) => {
        const sql = start + wraps.map((w) => w('canary')).join(', ')
        assert.doesNotMatch(JSON.stringify(reduceSql(sql)), /canary/u, sql)
      }),
    )
  })

  test('nor does an action of a failed statement, whose words may be a mistyped value', () => {
    const text = csv({
      severity: 'ERROR',
      state: '42601',
      message: 'syntax error at or near "canary"',
      statement: 'canary one two',
    })
    const line = readCsv(Buffer.from(text), true)?.line
    assert.ok(line)
    const action = actionOf(line, new Set())
    assert.doesNotMatch(JSON.stringify(action), /canary/u)
    assert.deepEqual(
      [action?.action, action?.outcome, action?.detail['sql_state']],
      ['sql:OTHER', 'failed', '42601'],
    )
  })
})

test('whose lines are sent, and what they say was done', () => {
  const of = (over: Parameters<typeof csv>[0], accounts: string[] = []) => {
    const line = readCsv(Buffer.from(csv(over)), true)?.line
    assert.ok(line)
    const action = actionOf(line, new Set(accounts))
    return action === undefined ? undefined : [action.action, action.outcome]
  }
  assert.deepEqual(of({}), ['sql:SELECT', 'unknown'])
  assert.deepEqual(of({ message: 'duration: 1.25 ms  execute <unnamed>: delete from t' }), [
    'sql:DELETE',
    'succeeded',
  ])
  assert.equal(of({ message: 'duration: 1.25 ms  parse <unnamed>: delete from t' }), undefined)
  assert.equal(of({ message: 'checkpoint starting: time' }), undefined)
  assert.deepEqual(of({ message: 'connection authorized: user=x' }), ['session:open', 'succeeded'])
  assert.deepEqual(of({ message: 'disconnection: session time: 0:00:01' }), ['session:close', 'succeeded'])
  assert.deepEqual(of({ severity: 'FATAL', state: '28P01', message: 'password authentication failed' }), [
    'session:open',
    'failed',
  ])
  assert.deepEqual(of({ severity: 'FATAL', state: '57P01', message: 'terminating' }), [
    'session:close',
    'succeeded',
  ])
  assert.equal(of({ user: 'postgres', application: 'psql' }), undefined)
  assert.equal(of({ user: 'writ_admin', application: 'writ' }), undefined)
  assert.equal(of({ user: 'svc', application: 'psql' }), undefined)
  assert.deepEqual(of({ user: 'svc', application: 'psql' }, ['svc']), ['sql:SELECT', 'unknown'])
  assert.deepEqual(of({ user: 'svc', application: 'writ grant_1' }), ['sql:SELECT', 'unknown'])
})
