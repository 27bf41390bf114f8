import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { openTestStore } from '../../test/support/store.ts'
import type { Credential } from '../model/credential.ts'
import type { Grant } from '../model/grant.ts'
import type { AccessRequest } from '../model/request.ts'
import type { Task } from '../model/task.ts'
import type { Store, Transaction } from '../store/port.ts'
import type { Below } from './ending.ts'
import { closeIfClean, endGrants, endTasks, findBelow, readsOf, unseen } from './ending.ts'

const subject = { type: 'Agent', id: 'a' }
const task = (id: string, parent?: string): Task =>
  ({
    id,
    state: 'open',
    subject,
    chain: [subject],
    calls: 0,
    denials: 0,
    ...(parent === undefined ? {} : { parent }),
  }) as unknown as Task
const grant = (id: string, of: string): Grant =>
  ({ id, state: 'active', task: of, subject, chain: [subject], used: 0 }) as unknown as Grant
const credential = (id: string, of: string): Credential => ({
  id,
  state: 'live',
  grant: of,
  target: 't',
  planned: {},
  plannedAt: 0,
  endsAt: 9,
  tries: 0,
})
const request = (id: string, of: string, status: string): AccessRequest =>
  ({ id, status, task: of, requester: subject, digest: id, approvals: [] }) as unknown as AccessRequest

/** parent with two children; one grant with two credentials below a child, one grant without any below the parent. */
function plant(tx: Transaction): void {
  tx.put('task', 'parent', task('parent'))
  tx.put('task', 'child', task('child', 'parent'))
  tx.put('task', 'other', task('other', 'parent'))
  tx.put('task', 'stranger', task('stranger'))
  tx.put('grant', 'g1', grant('g1', 'child'))
  tx.put('grant', 'g2', grant('g2', 'parent'))
  tx.put('grant', 'g3', grant('g3', 'stranger'))
  tx.put('credential', 'c1', credential('c1', 'g1'))
  tx.put('credential', 'c2', credential('c2', 'g1'))
  tx.put('request', 'r1', request('r1', 'child', 'pending'))
  tx.put('request', 'r2', request('r2', 'child', 'approved'))
}

const commit = <T>(store: Store, below: Below, run: (tx: Transaction) => T): Promise<T> =>
  store.commit({ reads: readsOf(below), narrowing: true, run })

describe('C2 what is below ends with it', () => {
  test('children, grants, credentials and open requests, and nothing beside', async () => {
    await using store = await openTestStore()
    await store.commit({ reads: [], run: plant })
    const below = await findBelow(store, { tasks: ['parent'] })
    assert.deepEqual(
      [[...below.tasks].sort(), [...below.grants].sort(), below.credentials, below.requests],
      [
        ['child', 'other', 'parent'],
        ['g1', 'g2'],
        ['c1', 'c2'],
        ['r1', 'r2'],
      ],
    )
    const ended = await commit(store, below, (tx) =>
      endTasks(tx, below, ['parent'], 'completed', { reason: 'done', by: 'a' }),
    )
    const state = Object.fromEntries(ended.tasks.map((t) => [t.id, t.state]))
    assert.deepEqual(state, { parent: 'completed', child: 'cancelled', other: 'cancelled' })
    const view = await store.read([
      { kind: 'grant', id: 'g1' },
      { kind: 'grant', id: 'g2' },
      { kind: 'grant', id: 'g3' },
      { kind: 'credential', id: 'c1' },
      { kind: 'request', id: 'r1' },
      { kind: 'request', id: 'r2' },
    ])
    assert.equal(view.get('grant', 'g1')?.value.state, 'ended')
    assert.equal(view.get('grant', 'g2')?.value.state, 'closed')
    assert.equal(view.get('grant', 'g3')?.value.state, 'active')
    assert.equal(view.get('credential', 'c1')?.value.state, 'revoking')
    assert.equal(view.get('request', 'r1')?.value.status, 'cancelled')
    assert.equal(view.get('request', 'r2')?.value.status, 'approved')
  })

  test('a newcomer is noticed in the transaction', async () => {
    await using store = await openTestStore()
    await store.commit({ reads: [], run: plant })
    const below = await findBelow(store, { tasks: ['parent'] })
    assert.equal(await commit(store, below, (tx) => unseen(tx, below)), false)
    await store.commit({ reads: [], run: (tx) => tx.put('task', 'late', task('late', 'child')) })
    assert.equal(await commit(store, below, (tx) => unseen(tx, below)), true)
  })

  test('C8 a grant closes with the last of its credentials, and not before', async () => {
    await using store = await openTestStore()
    await store.commit({ reads: [], run: plant })
    const below = await findBelow(store, { grants: ['g1'] })
    await commit(store, below, (tx) => endGrants(tx, below, 'revoked', { reason: 'enough', by: 'ada' }))
    const gone = (id: string) =>
      commit(store, below, (tx) => {
        tx.put('credential', id, { ...credential(id, 'g1'), state: 'absent' })
        closeIfClean(tx, 'g1')
        return tx.get('grant', 'g1')?.value.state
      })
    assert.equal(await gone('c1'), 'ended')
    assert.equal(await gone('c2'), 'closed')
  })
})
