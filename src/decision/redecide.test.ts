import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inputsOf } from './redecide.ts'

test('an entry from before there were retries is decided again as it was', () => {
  const ref = { type: 'Agent', id: 'migrator' }
  const entry = {
    kind: 'decision',
    says: 'permit',
    inputs: 'sha256:0',
    policy: 'p',
    schema: 'sha256:1',
    attempt: { chain: [ref], action: { name: 'look' }, resource: ref, context: {} },
    facts: { now: '2026-11-22T10:00:00.000Z', history: { calls: 3, denials: 1, resources: 2 } },
  }
  assert.deepEqual(inputsOf(entry, []).live['history'], {
    calls: 3,
    denials: 1,
    retries: 0,
    resources: 2,
    systems: 0,
    rate: 0,
  })
  assert.equal(inputsOf({ ...entry, facts: {} }, []).live['history'], undefined)
})
