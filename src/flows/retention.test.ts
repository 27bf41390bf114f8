import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import type { TestStore } from '../../test/support/store.ts'
import { openTestStore } from '../../test/support/store.ts'
import { openLogFolder } from '../audit/folder.ts'
import { Prover } from '../audit/proofs.ts'
import { isIncluded } from '../audit/tree.ts'
import { verifyLog } from '../audit/verify.ts'
import type { Kind, Records } from '../model/records.ts'
import { DAY, MINUTE } from '../model/time.ts'
import { isPruned } from '../store/port.ts'
import { Retention } from './retention.ts'

const KEEP = 30 * DAY

const retention = (
  store: Pick<TestStore, 'read' | 'commit' | 'log'>,
  mayPrune: (seq: number) => boolean = () => true,
) => new Retention({ store, log: (_, message) => assert.fail(message) }, { keep: KEEP, mayPrune })

const append = (store: TestStore, kind: string, refs: readonly string[] = [], more = {}) =>
  store.commit({ reads: [], run: (tx) => tx.append({ kind, refs, ...more }) })

const put = <K extends Kind>(store: TestStore, kind: K, id: string, value: Partial<Records[K]>) =>
  store.commit({ reads: [], run: (tx) => tx.put(kind, id, { id, ...value } as unknown as Records[K]) })

async function prunedOf(store: TestStore): Promise<number[]> {
  const { size } = await store.log.head()
  return (await store.log.entries(0, size)).filter(isPruned).map(({ seq }) => seq)
}

async function verified(store: TestStore) {
  const source = openLogFolder(store.folder)
  try {
    return await verifyLog(source)
  } finally {
    source.close()
  }
}

test('retention leaves the hashes of what is too old, on the record first, and every proof holds', async () => {
  await using store = await openTestStore()
  for (let i = 0; i < 450; i += 1)
    await append(store, 'decision', ['Agent/a', `dec_${i}`], { i, outcome: 'permit', why: 'only here' })
  store.clock.advance(KEEP - MINUTE)
  await append(store, 'decision', ['Agent/a'])
  const before = await store.log.head()
  const leaves = await store.log.hashes(0, 0, 256)

  await retention(store).run()
  assert.deepEqual(await prunedOf(store), [])

  store.clock.advance(2 * MINUTE)
  await retention(store).run()
  assert.deepEqual(
    await prunedOf(store),
    Array.from({ length: 450 }, (_, i) => i),
  )
  assert.deepEqual((await store.log.find('Agent/a')).length, 1)
  assert.deepEqual((await store.log.search({ terms: ['outcome=permit'] })).items, [])
  const records = await store.log.search({ terms: ['kind=log.pruned'] })
  assert.deepEqual(records.items, [453, 452, 451])

  const verdict = await verified(store)
  assert.ok(verdict.ok, JSON.stringify(verdict))
  assert.deepEqual((await verifyLog(store.log, before)).ok, true)
  const prover = new Prover(store.log)
  const proof = await prover.inclusion(7, before.size)
  assert.ok(isIncluded(leaves[7] as Uint8Array, 7, before.size, proof, Buffer.from(before.root, 'hex')))

  // nothing of it is left in the file
  await store.close()
  assert.ok((await verified(store)).ok)
  for (const file of ['writ.db', 'writ.db-wal'].map((name) => join(store.folder, name)))
    assert.ok(!existsSync(file) || !readFileSync(file).includes('only here'), file)
  const again = await store.reopen()
  assert.equal((await again.log.head()).size, 454)
  await again.close()
})

test('what tells how Writ came to be as it is, is never pruned', async () => {
  await using store = await openTestStore()
  const kinds = ['installation.made', 'server.started', 'config.changed', 'signer.made', 'epoch.began']
  kinds.push('policy.published', 'log.pruned', 'witness.changed')
  for (const kind of kinds) {
    const said = { from: 0, to: 0, count: 0, before: 0, times: 'sha256:' + '0'.repeat(64) }
    await append(store, kind, [], kind === 'log.pruned' ? said : {})
  }
  await append(store, 'policies.other')
  store.clock.advance(KEEP + 1)
  await retention(store).run()
  assert.deepEqual(await prunedOf(store), [kinds.length])
})

const far = Number.MAX_SAFE_INTEGER
const held: readonly [
  string,
  string,
  (store: TestStore) => Promise<unknown>,
  (store: TestStore) => Promise<unknown>,
][] = [
  [
    'an active grant',
    'grant_1',
    (store) => put(store, 'grant', 'grant_1', { state: 'active', chain: [] }),
    (store) => put(store, 'grant', 'grant_1', { state: 'closed', chain: [] }),
  ],
  [
    'a grant whose credentials are not known to be absent',
    'grant_1',
    (store) => put(store, 'grant', 'grant_1', { state: 'ended', chain: [] }),
    (store) => put(store, 'grant', 'grant_1', { state: 'closed', chain: [] }),
  ],
  [
    'an open task',
    'task_1',
    (store) => put(store, 'task', 'task_1', { chain: [], state: 'open', subject: { type: 'A', id: 'a' } }),
    (store) => put(store, 'task', 'task_1', { chain: [], state: 'completed' }),
  ],
  [
    'a pending request',
    'req_1',
    (store) => put(store, 'request', 'req_1', { status: 'pending', requester: { type: 'A', id: 'a' } }),
    (store) => put(store, 'request', 'req_1', { status: 'denied' }),
  ],
  [
    'an approval that is not spent',
    'req_1',
    (store) => put(store, 'request', 'req_1', { status: 'approved', activateBy: far }),
    (store) => put(store, 'request', 'req_1', { status: 'approved', activateBy: 0 }),
  ],
  [
    'an approval that a live grant carries',
    'req_1',
    async (store) => {
      await put(store, 'grant', 'grant_1', { state: 'active', chain: [] })
      await put(store, 'request', 'req_1', { status: 'approved', spentAt: 1, grant: 'grant_1' })
    },
    (store) => put(store, 'grant', 'grant_1', { state: 'closed', chain: [] }),
  ],
  [
    'an unresolved credential',
    'cred_1',
    (store) =>
      put(store, 'credential', 'cred_1', { state: 'unresolved', planned: {}, grant: 'g', target: 't' }),
    (store) => put(store, 'credential', 'cred_1', { state: 'absent', planned: {}, grant: 'g', target: 't' }),
  ],
]
for (const [what, ref, begin, end] of held) {
  test(`what belongs to ${what} is not pruned before that is over`, async () => {
    await using store = await openTestStore()
    await append(store, 'decision', ['Agent/a', 'dec_other'])
    await append(store, 'decision', ['Agent/a', ref])
    await append(store, 'decision', ['Agent/a', 'dec_other'])
    await begin(store)
    store.clock.advance(KEEP + 1)
    const pruning = retention(store)
    await pruning.run()
    assert.deepEqual(await prunedOf(store), [0, 2])
    assert.ok((await verified(store)).ok)
    await end(store)
    store.clock.advance(2 * 60 * MINUTE)
    await pruning.run()
    assert.deepEqual((await prunedOf(store)).slice(0, 3), [0, 1, 2])
    assert.ok((await verified(store)).ok)
  })
}

test('a denial stays as long as the request that answers it', async () => {
  await using store = await openTestStore()
  await append(store, 'decision', ['dec_1', 'Agent/a'])
  await append(store, 'request.submitted', ['req_1', 'Agent/a', 'dec_1'])
  await put(store, 'request', 'req_1', { status: 'pending', requester: { type: 'A', id: 'a' } })
  store.clock.advance(KEEP + 1)
  await retention(store).run()
  assert.deepEqual(await prunedOf(store), [])
})

test('what an entity was stays as long as something recorded is explained by it', async () => {
  await using store = await openTestStore()
  await append(store, 'inventory.put', ['Agent/a', 'Agent/b'])
  await append(store, 'inventory.put', ['Agent/a'])
  await append(store, 'inventory.put', ['Agent/c'])
  await append(store, 'inventory.deleted', ['Agent/c'])
  store.clock.advance(KEEP + 1)
  await append(store, 'inventory.put', ['Agent/b'])
  await retention(store).run()
  // Agent/b of the first entry was so until now
  assert.deepEqual(await prunedOf(store), [2])
})

test('nothing is pruned that somebody who is sent the log has not got', async () => {
  await using store = await openTestStore()
  for (let i = 0; i < 4; i += 1) await append(store, 'decision')
  store.clock.advance(KEEP + 1)
  let delivered = 2
  const pruning = retention(store, (seq) => seq < delivered)
  await pruning.run()
  assert.deepEqual(await prunedOf(store), [0, 1])
  delivered = 9
  store.clock.advance(2 * 60 * MINUTE)
  await pruning.run()
  assert.deepEqual(await prunedOf(store), [0, 1, 2, 3])
})

test('stopped between the record and the cut, it is recorded and cut again', async () => {
  await using store = await openTestStore()
  for (let i = 0; i < 3; i += 1) await append(store, 'decision')
  store.clock.advance(KEEP + 1)
  const failing = {
    read: store.read.bind(store),
    commit: store.commit.bind(store),
    log: { ...store.log, prune: () => Promise.reject(new Error('stopped')) },
  }
  await assert.rejects(retention(failing).run(), /stopped/)
  assert.deepEqual(await prunedOf(store), [])
  assert.ok((await verified(store)).ok)
  await retention(store).run()
  assert.deepEqual(await prunedOf(store), [0, 1, 2])
  assert.ok((await verified(store)).ok)
})
