import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { openTestStore } from '../../test/support/store.ts'
import type { EntityRef } from './entity.ts'
import type { Grant } from './grant.ts'
import type { Account, Delegation } from './identity.ts'
import { accountId } from './identity.ts'
import { kinds } from './records.ts'
import type { AccessRequest } from './request.ts'
import type { Task } from './task.ts'

const ref = (type: string, id: string): EntityRef => ({ type, id })
const [person, agent] = [ref('Person', 'p'), ref('Agent', 'a')]

const delegation: Delegation = {
  id: 'd',
  delegator: person,
  actor: agent,
  generations: {},
  createdBy: 'x',
  createdAt: 0,
  endsAt: 9,
}
const account: Account = {
  id: accountId({ issuer: 'i', id: '1' }),
  issuer: 'i',
  account: '1',
  person,
  generation: 0,
  linkedBy: 'x',
  linkedAt: 0,
}
const chain = [agent, person]
const task = { id: 't', state: 'open', subject: agent, chain, delegation: 'd' } as unknown as Task
const grant = { id: 'g', state: 'active', chain, delegation: 'd' } as unknown as Grant
const request = {
  id: 'r',
  status: 'pending',
  requester: agent,
  behind: { 'Person/p': 0 },
  delegation: 'd',
  approvals: [],
} as unknown as AccessRequest

describe('C2 what hangs on a delegation is found by it, until it has ended', () => {
  test('at both parties, with its tasks, grants and requests; accounts at their person', async () => {
    await using store = await openTestStore()
    const reads = [
      { index: 'delegation.party', value: 'Person/p' },
      { index: 'delegation.party', value: 'Agent/a' },
      { index: 'task.delegation', value: 'd' },
      { index: 'task.behind', value: 'Person/p' },
      { index: 'task.behind', value: 'Agent/a' },
      { index: 'grant.delegation', value: 'd' },
      { index: 'request.delegation', value: 'd' },
      { index: 'request.behind', value: 'Person/p' },
      { index: 'request.behind', value: 'Agent/a' },
      { index: 'account.person', value: 'Person/p' },
    ] as const
    const found = async (): Promise<readonly string[]> => {
      const view = await store.read(reads)
      return reads.map(({ index, value }) =>
        view
          .scan(index, value)
          .map(({ id }) => id)
          .join(),
      )
    }
    await store.commit({
      reads: [],
      run(tx) {
        tx.put('delegation', 'd', delegation)
        tx.put('task', 't', task)
        tx.put('grant', 'g', grant)
        tx.put('request', 'r', request)
        tx.put('account', account.id, account)
      },
    })
    assert.deepEqual(await found(), ['d', 'd', 't', 't', '', 'g', 'r', 'r', '', 'i\n1'])
    await store.commit({
      reads: [],
      run(tx) {
        tx.put('delegation', 'd', { ...delegation, revokedAt: 1 })
        tx.put('task', 't', { ...task, state: 'cancelled' })
        tx.put('grant', 'g', { ...grant, state: 'ended' })
        tx.put('request', 'r', { ...request, status: 'cancelled' })
        tx.put('account', account.id, { ...account, endedAt: 1 })
      },
    })
    assert.deepEqual(
      await found(),
      reads.map(() => ''),
    )
  })

  test('every kind is listed once', () => {
    assert.equal(new Set(kinds).size, kinds.length)
  })
})
