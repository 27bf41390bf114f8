import { test } from 'node:test'
import assert from 'node:assert/strict'
import {
  closest,
  editDistance,
  fromByteOffset,
  problemCodes,
  problemHelp,
  renderProblem,
  SourceFile,
} from './problems.ts'

test('a problem reads as promised', () => {
  const text = 'permit(principal, action, resource)\nwhen { principal.devicePosture == "ok" }\n;'
  const start = text.indexOf('principal.device')
  const problem = new SourceFile('policies/deploy.cedar', text).problem(
    'P014',
    { start, end: start + 'principal.devicePosture'.length },
    'unknown attribute `principal.devicePosture`',
    { hint: 'did you mean `device_posture`?' },
  )
  assert.equal(
    renderProblem(problem),
    [
      'error[P014]: unknown attribute `principal.devicePosture`',
      '  policies/deploy.cedar:2:8',
      '2 | when { principal.devicePosture == "ok" }',
      '  |        ^^^^^^^^^^^^^^^^^^^^^^^ did you mean `device_posture`?',
    ].join('\n'),
  )
})

test('a problem over several lines is underlined to the end of its first', () => {
  const problem = new SourceFile('a.cedar', 'ab\ncdef\ngh').problem('P001', { start: 4, end: 9 }, 'wrong')
  assert.equal(renderProblem(problem), 'error[P001]: wrong\n  a.cedar:2:2\n2 | cdef\n  |  ^^^')
  assert.deepEqual([problem.endLine, problem.endColumn], [3, 2])
})

test('a very long line is shown around the place', () => {
  const text = `${'x'.repeat(1000)}HERE${'y'.repeat(1000)}`
  const lines = renderProblem(
    new SourceFile('a', text).problem('P001', { start: 1000, end: 1004 }, 'm'),
  ).split('\n')
  const caret = (lines[3] as string).indexOf('^')
  assert.equal((lines[2] as string).slice(caret, caret + 4), 'HERE')
  assert.ok((lines[2] as string).length < 200)
})

test('columns count characters, and a file cannot move the cursor of a terminal', () => {
  const text = '/* \u{1F600}\u001b[2J\u202e */ x'
  const problem = new SourceFile('a', text).problem(
    'P001',
    { start: text.length - 1, end: text.length },
    'bad \u0007',
  )
  assert.equal(problem.column, Array.from(text).length)
  assert.doesNotMatch(renderProblem(problem), /[\u001b\u0007\u202e]/)
})

test('byte offsets of the library become string offsets', () => {
  assert.equal(fromByteOffset('aé€\u{1F600}b', 1), 1)
  assert.equal(fromByteOffset('aé€\u{1F600}b', 3), 2)
  assert.equal(fromByteOffset('aé€\u{1F600}b', 6), 3)
  assert.equal(fromByteOffset('aé€\u{1F600}b', 10), 5)
  assert.equal(fromByteOffset('ab', 99), 2)
})

test('the name that was meant is found, and none is made up', () => {
  assert.equal(closest('devicePosture', ['device_posture', 'devices']), 'device_posture')
  assert.equal(closest('Databse', ['Document', 'Database']), 'Database')
  assert.equal(closest('b', ['a', 'c']), undefined)
  assert.equal(closest('owner', ['sensitivity', 'team']), undefined)
  assert.equal(editDistance('ab', 'ba'), 1)
  assert.equal(editDistance('', 'abc'), 3)
})

test('every code is documented by one sentence', () => {
  for (const [code, sentence] of Object.entries(problemCodes)) {
    assert.match(code, /^[PL]0\d\d$/)
    assert.match(sentence, /^[a-z].*[^.]$/)
    assert.match(problemHelp[code as keyof typeof problemHelp], /^[A-Z`].*\.$/, code)
  }
})
