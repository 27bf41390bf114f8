import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { appended } from './policy-test-from.ts'

const added = { name: 'new', principals: ['Agent/a'], task: { reason: 'two\nlines: [' }, expect: 'deny' }

describe('a test is added to a file', () => {
  const layouts: Readonly<Record<string, string>> = {
    indented: '# top\nnow: x\ntests:\n  # first\n  - name: old # same line\n    expect: permit\n  # last\n',
    'not indented': 'now: x\ntests:\n- name: old\n  expect: permit\n',
    'with members after it':
      'tests:\n  - name: old\n    expect: permit\n\n# about the time\nnow: x\npolicies: [a.cedar]\n',
    'without an end of line': 'tests:\n  - name: old\n    expect: permit',
    'with the dash on a line of its own': 'tests:\n  -\n    name: old\n    expect: permit\nnow: x\n',
    'on one line': '# top\n{ now: x, tests: [{ name: old, expect: permit }] }\n',
    'as a list on one line': 'now: x # when\ntests: [{ name: old, expect: permit }]\n',
    'with a text block at the end':
      'tests:\n  - expect: permit\n    name: old\n    why: |\n      a\n\n      b\n\nnow: x\n',
    'with anchors': 'tests:\n  - &a { name: old, expect: permit }\n  - { <<: *a, name: older }\nnow: x\n',
    'with other ends of lines': 'now: x\r\ntests:\r\n  - name: old\r\n    expect: permit\r\n',
  }
  for (const [name, text] of Object.entries(layouts)) {
    test(name, () => {
      const read = (from: string) => parse(from, { merge: true }) as { tests: unknown[] }
      const before = read(text)
      const after = appended(text, added) ?? ''
      assert.deepEqual(read(after), { ...before, tests: [...before.tests, added] })
      for (const comment of text.match(/# .*/gu) ?? []) assert.ok(after.includes(comment.trim()), after)
    })
  }

  test('and what was there stays as it was written, where it can', () => {
    for (const name of [
      'indented',
      'not indented',
      'with members after it',
      'with a text block at the end',
    ]) {
      const text = layouts[name] ?? ''
      const after = appended(text, added) ?? ''
      const lines = after.split('\n')
      assert.deepEqual(
        text.split('\n').filter((line) => line !== '' && !lines.includes(line)),
        [],
        after,
      )
    }
  })

  test('once', () => {
    assert.equal(appended('tests:\n  - name: new\n', added), undefined)
  })
})
