import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Grant } from './grant.ts'
import { closeGrant, endGrant, grantEnd, hasUses, isLiveGrant, spendUse } from './grant.ts'

const instant = fc.integer({ min: 0, max: 4_000_000_000_000 })
const bound = fc.option(instant, { nil: undefined })

function grant(more: Partial<Grant> = {}): Grant {
  return {
    id: 'grant_1',
    state: 'active',
    subject: { type: 'Agent', id: 'a' },
    chain: [{ type: 'Agent', id: 'a' }],
    generations: { 'Agent/a': 0 },
    action: 'db:migrate',
    resource: { type: 'Database', id: 'd' },
    binding: 'attempt',
    statement: 'sha256:s',
    attempt: 'sha256:a',
    analysed: {},
    evidence: { approvals: [], justification: false },
    used: 0,
    startedAt: 1_000,
    endsAt: 2_000,
    obligations: { binding: 'attempt', notify: [] },
    decision: 'dec_1',
    policy: 'p',
    caller: 'key:k',
    asked: { id: 'key:k', kind: 'key', subject: { type: 'Agent', id: 'a' }, generation: 0 },
    ...more,
  }
}

describe('C3 a grant ends no later than anything that bounds it', () => {
  test('for all bounds, and it is one of them', () => {
    fc.assert(
      fc.property(
        instant,
        fc.integer({ min: 1, max: 900_000 }),
        fc.record({ task: bound, window: bound, parent: bound, subject: bound }),
        (startedAt, ttl, bounds) => {
          const ends = grantEnd(startedAt, { ttl, ...bounds })
          const all = [startedAt + ttl, ...Object.values(bounds).filter((at) => at !== undefined)]
          for (const at of all) assert.ok(ends <= at)
          assert.ok(all.includes(ends))
        },
      ),
    )
  })

  test('B27 the instant of the end is too late, the one before is not', () => {
    assert.equal(isLiveGrant(grant(), 1_999), true)
    assert.equal(isLiveGrant(grant(), 2_000), false)
    assert.equal(isLiveGrant(grant({ state: 'ended' }), 1_500), false)
    assert.equal(isLiveGrant(grant({ state: 'closed' }), 1_500), false)
  })
})

describe('C9 uses', () => {
  test('k uses are k uses', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), (uses) => {
        let current = grant({ uses })
        let spent = 0
        while (hasUses(current)) {
          current = spendUse(current)
          spent += 1
        }
        assert.equal(spent, uses)
        assert.throws(() => spendUse(current), TypeError)
      }),
    )
  })
})

describe('a grant ends once and closes after that', () => {
  test('the first ending stands', () => {
    const ended = endGrant(grant(), 'revoked', 1_200, 'enough', 'ada')
    assert.deepEqual([ended.state, ended.end, ended.reason], ['ended', 'revoked', 'enough'])
    assert.equal(endGrant(ended, 'completed', 1_300, 'again', 'bob'), ended)
    const closed = closeGrant(ended, 1_400)
    assert.equal(closed.state, 'closed')
    assert.equal(endGrant(closed, 'completed', 1_500, 'again', 'bob'), closed)
    assert.equal(closeGrant(grant(), 1_400).state, 'active')
  })
})
