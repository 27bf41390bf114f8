import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { parse } from 'yaml'
import { WritClientError } from '../../client/src/index.ts'
import { WritError, errorCodes } from '../model/errors.ts'
import { CliError, exit, exitOfCode, runExit, tell } from './exit.ts'
import { render } from './output.ts'
import type { Column } from './output.ts'
import { createProgram, normaliseArgv } from './program.ts'
import { countdown, plain, requirements, took, when } from './text.ts'

const columns: readonly Column[] = [
  { title: 'ID', value: (row) => String(row['id']) },
  { title: 'NAME', value: (row) => String(row['name']) },
]
const items = [
  { id: 'a', name: '漢字' },
  { id: 'long-id', name: 'x\u001B[31mred\nnext\u202E' },
]

suite('output', () => {
  test('a table lines up, also with wide characters, and nothing in it moves the cursor', () => {
    assert.equal(
      render({ items }, 'table', { columns: [columns[1] as Column, columns[0] as Column] }),
      'NAME             ID\n漢字             a\nx\uFFFD[31mred next\uFFFD  long-id\n',
    )
  })

  test('B69 data at a terminal moves no cursor and reorders nothing, and means the same', () => {
    const evil = 'a\u001b[31m\u009b31m\u202eb\u2028\u0085c'
    const item = { id: evil, 'k\u009b': [evil, 'line\nline', 'plain'] }
    for (const format of ['json', 'ndjson', 'yaml'] as const) {
      for (const data of [{ item }, { items: [item] }]) {
        const text = render(data, format, {})
        assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u202e]/u, format)
        const read = (format === 'yaml' ? parse(text) : JSON.parse(text)) as { items?: object[] }
        const [back] = format === 'ndjson' || 'item' in data ? [read] : (read.items ?? [])
        const { schema_version: _, ...members } = back as Record<string, unknown>
        assert.deepEqual(members, item, format)
      }
    }
  })

  test('a terminal gets rows below each other where a table does not fit, and no empty columns', () => {
    const view = { columns: [...columns, { title: 'NOTE', value: () => '' }] }
    const rows = {
      items: [
        { id: 'a', name: 'first' },
        { id: 'long-id', name: 'second' },
      ],
    }
    assert.equal(
      render(rows, 'table', view, undefined, 40),
      'ID       NAME\na        first\nlong-id  second\n',
    )
    assert.equal(render(rows, 'table', view, undefined, 10), 'a\n  name  first\nlong-id\n  name  second\n')
    assert.match(render(rows, 'table', view), /^ID       NAME    NOTE\n/)
  })

  test('programs get a schema version, every member, and lists as lists', () => {
    assert.deepEqual(JSON.parse(render({ items, more: { next_cursor: 'c' } }, 'json', {})), {
      schema_version: 1,
      items,
      next_cursor: 'c',
    })
    assert.deepEqual(JSON.parse(render({ item: { id: 'a' } }, 'json', { lines: ['a'] })), {
      schema_version: 1,
      id: 'a',
    })
    assert.equal(
      render({ items: [{ id: 1 }, { id: 2 }] }, 'ndjson', {}),
      '{"schema_version":1,"id":1}\n{"schema_version":1,"id":2}\n',
    )
    assert.equal(render({ item: { id: 'a', b: [1] } }, 'yaml', {}), 'schema_version: 1\nid: a\nb:\n  - 1\n')
    assert.equal(render({ items: [{ id: 1, b: 2 }] }, 'ndjson', {}, ['b']), '{"schema_version":1,"b":2}\n')
    assert.equal(render({ items: [] }, 'table', { columns }), '')
  })

  test('exit codes never change', () => {
    assert.deepEqual(exit, {
      ok: 0,
      error: 1,
      usage: 2,
      policyInvalid: 3,
      authNeeded: 4,
      denied: 5,
      notApproved: 6,
      unreachable: 7,
      revokeUnconfirmed: 8,
      contradicted: 9,
    })
    assert.deepEqual(runExit, { ourFailure: 125, cannotExecute: 126, notFound: 127 })
    assert.deepEqual(exitOfCode, {
      ERR_INPUT_INVALID: 2,
      ERR_TOO_LARGE: 2,
      ERR_CONFIG_INVALID: 2,
      ERR_POLICY_INVALID: 3,
      ERR_UNAUTHENTICATED: 4,
      ERR_FORBIDDEN: 5,
      ERR_DENIED: 5,
      ERR_NOT_APPROVED: 6,
      ERR_UNREACHABLE: 7,
      ERR_TIMEOUT: 7,
      ERR_LOG_CONTRADICTED: 9,
      ERR_LOG_KEY: 9,
    })
  })

  test('every error becomes one sentence with an exit code; what nobody foresaw says so', () => {
    for (const code of errorCodes) {
      const own = tell(new WritError(code, 'a sentence', { hint: 'a mend' }))
      const heard = tell(new WritClientError(code, 'a sentence', { hint: 'a mend' }))
      assert.deepEqual([own.exitCode, own.message], [exitOfCode[code] ?? 1, 'a sentence'])
      assert.deepEqual(heard, own)
    }
    assert.deepEqual(tell(new CliError(6, 'late', 'wait')), { exitCode: 6, message: 'late', hint: 'wait' })
    const missing = Object.assign(new Error('x'), { code: 'ENOENT', path: 'a.yaml' })
    assert.deepEqual(tell(missing), { exitCode: 1, message: '`a.yaml` does not exist' })
    assert.match(tell(new TypeError('boom')).message, /^unexpected: boom/)
    assert.equal(tell('thrown text').exitCode, 1)
  })

  test('words for times and requirements', () => {
    assert.deepEqual([0, 59_001, 291_000, 3_722_000].map(countdown), ['0:00', '1:00', '4:51', '1:02:02'])
    assert.deepEqual([100, 12_400, 180_000].map(took), ['0.1 s', '12 s', '3 min'])
    const now = Date.parse('2026-11-22T14:00:00Z')
    assert.equal(when('2026-11-22T14:04:51Z', now), 'in 4:51')
    assert.equal(when('2026-11-22T13:59:48Z', now), '12 s ago')
    assert.equal(when('2026-11-20T13:59:48.123Z', now), '2026-11-20T13:59:48Z')
    assert.equal(
      requirements([
        { requirements: [{ kind: 'approval', pool: 'dba', count: 2 }, { kind: 'justification' }] },
        { requirements: [{ kind: 'approval', pool: 'on-call', count: 1 }] },
      ]),
      'two approvals by dba and a reason, or one approval by on-call',
    )
    assert.equal(plain('a\r\nb\u0007\u2028c'), 'a  b\uFFFD\uFFFDc')
  })

  test('`--json` and `--wait` take a value only with `=`', () => {
    assert.deepEqual(normaliseArgv(['grants', 'ls', '--json', '--wait', 'x']), [
      'grants',
      'ls',
      '--json',
      '--wait',
      'x',
    ])
    assert.deepEqual(normaliseArgv(['--json=id,state', '--wait=10m', '--', '--json=x']), [
      '--json',
      '--json-fields=id,state',
      '--wait',
      '--wait-for=10m',
      '--',
      '--json=x',
    ])
  })

  test('every command has a summary, a help text and an example that names it', () => {
    let seen = 0
    const program = createProgram(
      {
        env: {},
        cwd: '/',
        home: '/',
        interactive: false,
        live: false,
        columns: 80,
        liveColumns: 0,
        now: () => 0,
        out: () => undefined,
        err: () => undefined,
        style: (_style, text) => text,
        styleOut: (_style, text) => text,
        stdin: () => Promise.resolve(''),
        ask: () => Promise.resolve(''),
      },
      () => undefined,
    )
    const walk = (command: typeof program, path: string): void => {
      for (const child of command.commands) {
        const name = `${path} ${child.name()}`
        assert.notEqual(child.summary(), '', name)
        if (child.commands.length > 0) walk(child, name)
        else {
          let text = ''
          child.configureOutput({ writeOut: (part) => (text += part) }).outputHelp()
          assert.match(text, /\nExample:\n {2}\$ .*writ /, name)
          const words = name.split(' ').slice(0, 3).join(' ')
          assert.ok(text.includes(words), name)
          seen += 1
        }
      }
    }
    walk(program, 'writ')
    assert.ok(seen > 35)
  })
})
