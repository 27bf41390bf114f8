import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { AccessRequest, Approval, RequirementSet } from './request.ts'
import {
  ACTIVATE_WITHIN,
  approve,
  countByPool,
  deny,
  endRequest,
  isSpendable,
  meets,
  seated,
  settle,
  spend,
} from './request.ts'
import { MINUTE } from './time.ts'

const needs = (...pools: readonly [string, number][]): RequirementSet => ({
  requirements: pools.map(([pool, count]) => ({ kind: 'approval', pool, count })),
  binding: 'attempt',
})

function request(more: Partial<AccessRequest> = {}): AccessRequest {
  return {
    id: 'req_1',
    status: 'pending',
    attempt: {
      subject: { type: 'Agent', id: 'a' },
      action: { name: 'x' },
      resource: { type: 'Database', id: 'd' },
      context: {},
      chain: [{ type: 'Agent', id: 'a' }],
    },
    decision: 'dec_1',
    policy: 'p',
    statement: {},
    digest: 'sha256:s',
    attemptDigest: 'sha256:a',
    binding: 'attempt',
    alternatives: [needs(['dba', 2])],
    caller: 'key:k',
    requester: { type: 'Agent', id: 'a' },
    roots: [],
    unresolved: false,
    ttl: MINUTE,
    requestedAt: 0,
    expiresAt: 15 * MINUTE,
    approvals: [],
    merged: 0,
    ...more,
  }
}

const approval = (root: string, pool = 'dba', at = 1): Approval => ({
  person: root,
  root,
  pool,
  at,
  generation: 0,
})

/** Seats filled by trying every way, as a reference. */
function most(seats: readonly string[], approvals: readonly { pool: string; root: string }[]): number {
  const [pool, ...rest] = seats
  if (pool === undefined) return 0
  const roots = new Set(approvals.filter((a) => a.pool === pool).map((a) => a.root))
  const without = most(rest, approvals)
  return Math.max(
    without,
    ...[...roots].map(
      (root) =>
        1 +
        most(
          rest,
          approvals.filter((a) => a.root !== root),
        ),
    ),
  )
}

describe('C4 k of n counts distinct people, each in one pool', () => {
  test('the matching is as good as trying everything', () => {
    const pool = fc.constantFrom('a', 'b', 'c')
    const pair = fc.record({ pool, root: fc.constantFrom('1', '2', '3', '4') })
    fc.assert(
      fc.property(fc.array(pool, { maxLength: 5 }), fc.array(pair, { maxLength: 9 }), (seats, approvals) => {
        assert.equal(seated(seats, approvals), most(seats, approvals))
      }),
      { numRuns: 2_000 },
    )
  })

  test('one person in both pools is one person', () => {
    const set = needs(['dba', 1], ['security', 1])
    const both = [approval('ada', 'dba'), approval('ada', 'security')]
    const met = (approvals: typeof both) => meets(set, { approvals, justified: false, proved: [] })
    assert.equal(met(both), false)
    assert.equal(met([...both, approval('bob', 'dba')]), true)
    assert.deepEqual({ ...countByPool(both) }, { dba: 1 })
  })

  test('B18 a second approval of the same root does not count', () => {
    const once = approve(request(), approval('ada'), 'appr', undefined, undefined)
    assert.equal(once.status, 'pending')
    assert.equal(approve(once, approval('ada', 'security'), 'appr', undefined, undefined), once)
    assert.equal(approve(once, approval('bob'), 'appr', undefined, undefined).status, 'approved')
  })

  test('counts never come from names that objects have by themselves', () => {
    assert.equal(countByPool([])['constructor'], undefined)
    assert.deepEqual({ ...countByPool([approval('a', '__proto__')]) }, { ['__proto__']: 1 })
  })
})

describe('one answer ends a request', () => {
  const approved = settle(request(), 'appr', 100, undefined, undefined)
  const denied = deny(request(), 'ada', 100, 'no')

  test('and the first one stands', () => {
    assert.equal(deny(approved, 'ada', 200, 'no'), approved)
    assert.equal(approve(denied, approval('bob'), 'appr', undefined, undefined), denied)
    assert.equal(settle(denied, 'appr', 200, undefined, undefined), denied)
    assert.equal(endRequest(denied, 'expired', 300, 'late'), denied)
    assert.equal(endRequest(request(), 'expired', 300, 'late').status, 'expired')
  })

  test('C9 an approval is spent once', () => {
    assert.equal(isSpendable(approved, 100), true)
    const spent = spend(approved, 'grant_1', 101)
    assert.equal(isSpendable(spent, 102), false)
    assert.throws(() => spend(spent, 'grant_2', 103), TypeError)
    assert.equal(isSpendable(denied, 100), false)
  })
})

describe('C3 activate_by', () => {
  test('runs from the approval, or from where the window starts, and never past its end', () => {
    const by = (now: number, start?: number, end?: number) =>
      settle(request(), 'appr', now, start, end).activateBy
    assert.equal(by(100), 100 + ACTIVATE_WITHIN)
    assert.equal(by(100, 60 * MINUTE), 60 * MINUTE + ACTIVATE_WITHIN)
    assert.equal(by(100, 60 * MINUTE, 61 * MINUTE), 61 * MINUTE)
    assert.equal(by(90 * MINUTE, 60 * MINUTE, 200 * MINUTE), 105 * MINUTE)
  })

  test('is too late at its own instant', () => {
    const approved = settle(request(), 'appr', 0, undefined, undefined)
    assert.equal(isSpendable(approved, ACTIVATE_WITHIN - 1), true)
    assert.equal(isSpendable(approved, ACTIVATE_WITHIN), false)
  })
})
