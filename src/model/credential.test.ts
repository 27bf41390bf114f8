import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Credential } from './credential.ts'
import {
  credentialAbsent,
  credentialLive,
  credentialRevoking,
  credentialUnresolved,
  isAtTarget,
} from './credential.ts'

const planned: Credential = {
  id: 'cred_1',
  state: 'planned',
  grant: 'grant_1',
  target: 't',
  planned: {},
  plannedAt: 0,
  endsAt: 1_000,
  tries: 0,
}

describe('C8 a credential leaves its target only by being seen absent', () => {
  const steps: readonly ((c: Credential, now: number) => Credential)[] = [
    (c, now) => credentialLive(c, now),
    (c, now) => credentialRevoking(c, now),
    (c, now) => credentialUnresolved(c, now, 'down', 0.5),
    (c, now) => credentialAbsent(c, now, { absent: true }),
  ]

  test('whatever happens in whatever order, it stays listed until verified, and never lives again', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(3), { maxLength: 20 }), (order) => {
        let now = 0
        let current = planned
        let leaving = false
        for (const index of order) {
          const before = current
          current = (steps[index] as (typeof steps)[number])(current, (now += 1))
          if (before.state === 'absent') assert.equal(current, before)
          if (current.state === 'absent' && before.state !== 'absent') assert.equal(index, 3)
          leaving ||= current.state === 'revoking' || current.state === 'unresolved'
          if (leaving) assert.notEqual(current.state, 'live')
          assert.equal(isAtTarget(current), current.state !== 'absent')
        }
      }),
    )
  })

  test('what was only planned may exist: it is taken back, not forgotten', () => {
    assert.equal(credentialRevoking(planned, 1).state, 'revoking')
    assert.equal(credentialAbsent(planned, 1, {}), planned)
  })

  test('B46 tries never end; their distance grows to a minute and no further', () => {
    let current = credentialRevoking(planned, 0)
    for (let i = 0; i < 100; i += 1) {
      current = credentialUnresolved(current, 1_000, 'down', 0.999)
      assert.ok((current.nextTryAt ?? Infinity) <= 1_000 + 90_000)
    }
    assert.equal(current.tries, 100)
    assert.ok((current.nextTryAt ?? 0) > 1_000 + 60_000)
    assert.equal(credentialUnresolved(credentialRevoking(planned, 0), 1_000, 'down', 0).nextTryAt, 1_250)
  })
})
