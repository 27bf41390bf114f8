import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Caller } from '../model/access.ts'
import { Barrier } from './barrier.ts'
import { Policies } from './policies.ts'
import type { PolicySet } from '../policy/index.ts'

const attempt = {
  chain: [{ type: 'Agent', id: 'a' }],
  tasks: ['task_1', 'task_0'],
  grant: 'grant_1',
  caller: 'key:k',
}

describe('C2 the barrier', () => {
  test('B75 after a restore only narrowing passes, and what people do about Writ in their own session', () => {
    const barrier = new Barrier()
    const person = { type: 'Person', id: 'ada' }
    const session: Caller = { id: 'session:s', kind: 'session', subject: person, generation: 0 }
    const key: Caller = { ...session, id: 'key:k', kind: 'key', pep: { subjects: ['*'], attributes: {} } }
    const suspends = (caller: Caller, name: string, subject = person): boolean =>
      barrier.suspends(caller, { subject, action: { name } })
    assert.equal(suspends(key, 'db:migrate'), false)
    barrier.restored = true
    for (const [caller, name, waits] of [
      [session, 'Writ::publish', false],
      [session, 'Writ::administer', false],
      [session, 'Writ::read', false],
      [session, 'db:migrate', true],
      [session, 'Writ', true],
      [key, 'Writ::administer', true],
      [key, 'Writ::read', true],
      [key, 'db:migrate', true],
      [{ ...key, kind: 'issuer' }, 'Writ::publish', true],
      [key, 'Writ::revoke', false],
      [key, 'Writ::deny', false],
    ] as const) {
      assert.equal(suspends(caller, name), waits, `${caller.kind} ${name}`)
    }
    assert.equal(suspends(session, 'Writ::administer', { type: 'Person', id: 'bob' }), true)
    barrier.restored = false
    assert.equal(suspends(key, 'db:migrate'), false)
  })

  test('bars what is revoked and everything that names it', () => {
    for (const [kind, id, why] of [
      ['subject', 'Agent/a', 'subject_locked'],
      ['caller', 'key:k', 'subject_locked'],
      ['task', 'task_0', 'task_ended'],
      ['grant', 'grant_1', 'grant_ended'],
    ] as const) {
      const barrier = new Barrier()
      assert.equal(barrier.denies(attempt), undefined)
      const lower = barrier.raise([{ kind, id }])
      assert.equal(barrier.denies(attempt), why)
      assert.equal(barrier.bars(kind, id), true)
      lower()
      assert.equal(barrier.denies(attempt), undefined)
      assert.equal(barrier.size, 0)
    }
  })

  test('overlapping bars are counted: the first to go opens nothing for the second', () => {
    const barrier = new Barrier()
    const first = barrier.raise([{ kind: 'grant', id: 'grant_1' }])
    const second = barrier.raise([{ kind: 'grant', id: 'grant_1' }])
    first()
    first()
    assert.equal(barrier.denies(attempt), 'grant_ended')
    second()
    assert.equal(barrier.denies(attempt), undefined)
  })

  test('kinds do not mix', () => {
    const barrier = new Barrier()
    barrier.raise([
      { kind: 'task', id: 'grant_1' },
      { kind: 'subject', id: 'key:k' },
      { kind: 'request', id: 'task_1' },
    ])
    assert.equal(barrier.denies(attempt), undefined)
  })
})

describe('policy sets in memory', () => {
  const set = (version: string): PolicySet => ({ version }) as PolicySet

  test('B12 what is decided with is never pushed out, and the rest is bounded', () => {
    const policies = new Policies()
    policies.add(set('in force'))
    for (let i = 0; i < 100; i += 1) {
      policies.add(set(`other ${i}`))
      assert.equal(policies.get('in force')?.version, 'in force')
    }
    assert.equal(policies.get('other 0'), undefined)
    assert.equal(policies.get('other 99')?.version, 'other 99')
  })
})
