import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MINUTE } from '../model/time.ts'
import { declaredTask, migrator } from '../../test/support/task.ts'
import { ownFacts } from './facts.ts'

const NOW = Date.UTC(2026, 10, 22, 14, 0, 0)
const declared = declaredTask(NOW - 2 * MINUTE)

test('without a task policies see the time, the caller and the chain, and no history', () => {
  const chain = [{ type: 'Service', id: 'orders-ci' }, migrator]
  const { live, unknown, observedAt } = ownFacts(NOW, 'key:key_1', chain, undefined)
  assert.deepEqual(live, {
    now: '2026-11-22T14:00:00.000Z',
    caller: 'key:key_1',
    chain: ['Service/orders-ci', 'Agent/migrator'],
  })
  assert.deepEqual([[...unknown], observedAt], [[], NOW])
})

test('C6 what a task does not have is left out, not made up', () => {
  const { live } = ownFacts(NOW, 'key:key_1', declared.chain, declared)
  assert.deepEqual(live['task'], {
    id: 'task_1',
    purpose: 'add a column',
    state: 'declared',
    declaredAt: '2026-11-22T13:58:00.000Z',
  })
  assert.deepEqual(live['history'], {
    calls: 0,
    denials: 0,
    retries: 0,
    resources: 0,
    systems: 0,
    rate: 0,
  })
})

test('a task is seen with all that it says of itself, and its history in numbers', () => {
  const open = declaredTask(declared.declaredAt, {
    state: 'open',
    reason: 'INC-42',
    ticket: 'OPS-7',
    parent: 'task_0',
    openedAt: NOW - MINUTE,
    calls: 3,
    denials: 2,
    resources: ['Database/orders', 'Database/payments'],
  })
  const { live } = ownFacts(NOW, 'key:key_1', open.chain, open)
  assert.deepEqual(live['task'], {
    id: 'task_1',
    purpose: 'add a column',
    state: 'open',
    reason: 'INC-42',
    ticket: 'OPS-7',
    declaredAt: '2026-11-22T13:58:00.000Z',
    openedAt: '2026-11-22T13:59:00.000Z',
    parent: 'task_0',
  })
  assert.deepEqual(live['history'], {
    calls: 3,
    denials: 2,
    retries: 0,
    resources: 2,
    systems: 1,
    rate: 0,
  })
})

test('the window of a task is seen, with the calendar that it is of where it is of one', () => {
  const window = { startsAt: NOW, endsAt: NOW + MINUTE }
  const seen = (more: object): unknown => {
    const { live } = ownFacts(NOW, 'key:key_1', declared.chain, {
      ...declared,
      window: { ...window, ...more },
    })
    return (live['task'] as Record<string, unknown>)['window']
  }
  const told = { startsAt: '2026-11-22T14:00:00.000Z', endsAt: '2026-11-22T14:01:00.000Z' }
  assert.deepEqual(seen({}), told)
  assert.deepEqual(seen({ calendar: { name: 'release', uid: 'a' } }), { ...told, calendar: 'release' })
})

test('what was proved of a workload is seen as text; what is no plain value is left out, and other claims are named', () => {
  const workload = {
    issuer: 'github',
    repository_id: '456',
    ref_protected: true,
    environment: '',
    team: 'payments',
    groups: ['a'],
    __proto__x: 3,
  }
  const { live } = ownFacts(NOW, 'issuer:github Service/ci', [migrator], undefined, workload)
  assert.deepEqual(live['workload'], {
    issuer: 'github',
    repository_id: '456',
    ref_protected: 'true',
    claims: ['__proto__x=3', 'team=payments'],
  })
})
