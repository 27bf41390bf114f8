import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Coverage } from './coverage.ts'
import type { ClauseResult, PolicyInfo, RuleResult } from './types.ts'

const info = (id: string, line: number): PolicyInfo => ({
  id,
  file: 'a.cedar',
  line,
  effect: 'permit',
  annotations: {},
  scope: { principal: {}, action: { any: true }, resource: {} },
  reads: {
    facts: new Set(),
    contextKeys: new Set(),
    approvals: new Map(),
    justification: false,
    reauth: false,
  },
  governsWrit: false,
  text: '',
})
const clause = (
  line: number,
  status: ClauseResult['status'],
  more: Partial<ClauseResult> = {},
): ClauseResult => ({
  kind: 'when',
  text: `clause ${line}`,
  line,
  column: 1,
  endLine: line,
  endColumn: 9,
  status,
  actual: [],
  ...more,
})
const rule = (policy: string, ...clauses: ClauseResult[]): RuleResult => ({
  policy,
  file: 'a.cedar',
  line: 1,
  effect: 'permit',
  clauses,
})

test('a clause tells something once it was seen to hold and to fail; what errs or is unknown fails', () => {
  const coverage = new Coverage([info('a', 1), info('b', 9)])
  coverage.note([rule('a', clause(2, 'holds'), clause(3, 'holds'), clause(4, 'unknown'))], ['a'])
  coverage.note([rule('a', clause(2, 'holds'), clause(3, 'errors'), clause(4, 'fails'))], [])
  const report = coverage.report()
  assert.deepEqual(
    report.policies.map(({ policy, inScope, decided }) => [policy, inScope, decided]),
    [
      ['a', 2, 1],
      ['b', 0, 0],
    ],
  )
  assert.deepEqual(
    report.policies[0]?.clauses.map(({ line, held, failed }) => [line, held, failed]),
    [
      [2, true, false],
      [3, true, true],
      [4, false, true],
    ],
  )
  // one policy of two, one clause of three
  assert.deepEqual([report.decided, report.telling, report.clauses, report.percent], [1, 1, 3, 40])
})

test('the parts of a disjunction count each for itself, the head does not count', () => {
  const coverage = new Coverage([info('a', 1)])
  const either = (one: ClauseResult['status'], other: ClauseResult['status']): ClauseResult =>
    clause(2, 'holds', {
      endColumn: 30,
      any: [clause(2, one), clause(2, other, { column: 14, endColumn: 22 })],
    })
  coverage.note([rule('a', clause(1, 'holds', { kind: 'scope' }), either('holds', 'fails'))], ['a'])
  coverage.note([rule('a', clause(1, 'holds', { kind: 'scope' }), either('fails', 'holds'))], ['a'])
  const { telling, clauses } = coverage.report()
  assert.deepEqual([telling, clauses], [2, 3])
})

test('nothing to cover is covered', () => {
  assert.equal(new Coverage([]).report().percent, 100)
})
