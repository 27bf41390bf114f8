/**
 * What every engine of the store must do, as one suite: `storeContract({ name, open })`.
 *
 * @module
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { treeRoot } from '../../src/audit/tree.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import type { Credential } from '../../src/model/credential.ts'
import { isWritError } from '../../src/model/errors.ts'
import { hex, leafHash } from '../../src/store/hash.ts'
import { isPruned } from '../../src/store/port.ts'
import type { Read, Transaction } from '../../src/store/port.ts'
import { compareIds } from '../../src/store/order.ts'
import type { TestStore } from '../support/store.ts'
import { TEST_START, unpruned } from '../support/store.ts'

/** `open` gives an empty store each time; small caches and the like are the engine's to choose. */
export type Engine = Readonly<{ name: string; open(): Promise<TestStore> }>

/** Ids that sort, encode and prefix in awkward ways. */
const IDS = ['a', 'b', 'a/b', 'A', 'é', '\uffff', '\u{1f600}', 'a\0', '%', "'; --", '__proto__']
const GRANTS = ['g', 'g/1', '\u{1f600}']
const STATES = ['planned', 'live', 'absent'] as const

function credential(id: string, over: Partial<Credential> = {}): Credential {
  return {
    id,
    state: 'live',
    grant: 'g',
    target: 'db',
    planned: {},
    plannedAt: 0,
    endsAt: 1,
    tries: 0,
    ...over,
  }
}

const everything: readonly Read[] = [
  ...IDS.map((id) => ({ kind: 'credential', id }) as const),
  ...GRANTS.map((value) => ({ index: 'credential.grant', value }) as const),
  { index: 'credential.open', value: 'open' },
  { index: 'credential.open', value: 'shut' },
]

type Op = Readonly<
  | { do: 'put'; id: string; grant: string; state: (typeof STATES)[number] }
  | { do: 'delete'; id: string }
  | { do: 'get'; id: string }
  | { do: 'scan'; grant: string }
  | { do: 'append' }
>
type Plan = Readonly<{ ops: readonly Op[]; throws: boolean }>

export function storeContract({ name, open }: Engine): void {
  const it = (what: string, body: (store: TestStore) => Promise<void>): void => {
    test(`${name}: ${what}`, async () => {
      await using store = await open()
      await body(store)
    })
  }

  const put = (store: TestStore, id: string, over: Partial<Credential> = {}) =>
    store.commit({ reads: [], run: (tx) => tx.put('credential', id, credential(id, over)) })

  it('law 1: what a commit answers is durable, and seen by every later read', async (store) => {
    const seq = await store.commit({
      reads: [],
      run(tx) {
        tx.put('credential', 'c', credential('c'))
        return tx.append({ kind: 'credential.planned', refs: ['c', 'g', 'c'] })
      },
    })
    assert.equal(seq, 0)
    const view = await store.read(everything)
    assert.deepEqual(
      view.scan('credential.grant', 'g').map((it) => it.id),
      ['c'],
    )
    const again = await store.reopen()
    const { items } = await again.list('credential')
    assert.deepEqual(
      items.map((it) => it.value),
      [credential('c')],
    )
    assert.deepEqual(await again.log.find('c'), [0])
    assert.deepEqual(await again.log.head(), { size: 1, root: (await verifyLog(again.log)).root })
    await again.close()
  })

  it('reads see committed state only, at one moment', async (store) => {
    await put(store, 'a')
    const before = await store.read(everything)
    const writing = store.commit({
      reads: [],
      run(tx) {
        tx.put('credential', 'a', credential('a', { tries: 1 }))
        tx.put('credential', 'b', credential('b'))
        tx.append({ kind: 'test', refs: [] })
      },
    })
    assert.equal((await store.read(everything)).get('credential', 'a')?.value.tries, 0)
    assert.equal((await store.log.head()).size, 0)
    await writing
    assert.equal(before.get('credential', 'a')?.value.tries, 0)
    assert.equal(before.get('credential', 'b'), undefined)
    assert.deepEqual(
      before.scan('credential.grant', 'g').map((it) => it.id),
      ['a'],
    )
    assert.equal((await store.read(everything)).scan('credential.grant', 'g').length, 2)
  })

  it('a write returns what it replaces, that of an earlier item of the batch too', async (store) => {
    await put(store, 'a')
    const replaced: (number | undefined)[] = []
    const tries = (nth: number) =>
      store.commit({
        reads: [],
        run: (tx) => {
          replaced.push(tx.put('credential', 'a', credential('a', { tries: nth }))?.tries)
          replaced.push(tx.put('credential', 'new', credential('new'))?.tries)
          replaced.push(tx.delete('credential', 'new')?.tries)
          replaced.push(tx.delete('credential', 'new')?.tries)
        },
      })
    await Promise.all([tries(1), tries(2)])
    assert.deepEqual(replaced, [0, undefined, 0, undefined, 1, undefined, 0, undefined])
  })

  it('reading what was not declared is a mistake, except what the item wrote itself', async (store) => {
    await put(store, 'a')
    const view = await store.read([{ kind: 'credential', id: 'a' }])
    assert.throws(() => view.get('credential', 'b'), TypeError)
    assert.throws(() => view.get('grant', 'a'), TypeError)
    assert.throws(() => view.scan('credential.grant', 'g'), TypeError)
    const many = Array.from({ length: 30 }, (_, i) => ({ kind: 'credential', id: `c${i}` }) as const)
    for (const reads of [[], many]) {
      const run = (use: (tx: Transaction) => unknown) => store.commit({ reads, run: use })
      await assert.rejects(
        run((tx) => tx.get('credential', 'a')),
        TypeError,
      )
      await assert.rejects(
        run((tx) => tx.scan('credential.grant', 'g')),
        TypeError,
      )
      const own = await run((tx) => {
        tx.put('credential', 'n', credential('n'))
        return tx.get('credential', 'n')?.id
      })
      assert.equal(own, 'n')
    }
  })

  it('a throwing item loses its own writes only, and only its own promise rejects', async (store) => {
    const refusal = new Error('refused')
    const [first, second, third] = await Promise.allSettled([
      put(store, 'a'),
      store.commit({
        reads: [],
        run(tx) {
          tx.put('credential', 'b', credential('b'))
          tx.delete('credential', 'a')
          tx.append({ kind: 'lost', refs: ['b'] })
          throw refusal
        },
      }),
      store.commit({
        reads: everything,
        run(tx) {
          const seen = tx.scan('credential.grant', 'g').map((it) => it.id)
          return [seen, tx.nextSeq, tx.append({ kind: 'kept', refs: [] })] as const
        },
      }),
    ])
    assert.equal(first.status, 'fulfilled')
    assert.deepEqual(second, { status: 'rejected', reason: refusal })
    assert.deepEqual(third, { status: 'fulfilled', value: [['a'], 0, 0] })
    assert.deepEqual(await store.log.find('b'), [])
  })

  it('an item that awaits is refused, and cannot write afterwards', async (store) => {
    let late: unknown
    const writing = store.commit({
      reads: [],
      async run(tx) {
        await Promise.resolve()
        try {
          tx.put('credential', 'a', credential('a'))
        } catch (error) {
          late = error
        }
      },
    })
    await assert.rejects(writing, TypeError)
    assert.ok(late instanceof TypeError)
    assert.equal((await store.list('credential')).items.length, 0)
  })

  it('a budget of 10 is spent exactly 10 times by 500 at once', async (store) => {
    await put(store, 'budget', { tries: 0 })
    const reads = [{ kind: 'credential', id: 'budget' }] as const
    const spend = () =>
      store.commit({
        reads,
        run(tx) {
          const spent = tx.get('credential', 'budget')?.value.tries ?? Number.NaN
          if (!(spent < 10)) return false
          tx.put('credential', 'budget', credential('budget', { tries: spent + 1 }))
          tx.append({ kind: 'spent', refs: ['budget'] })
          return true
        },
      })
    const answers = await Promise.all(Array.from({ length: 500 }, spend))
    assert.equal(answers.filter(Boolean).length, 10)
    assert.equal((await store.read(reads)).get('credential', 'budget')?.value.tries, 10)
    assert.equal((await store.log.head()).size, 10)
  })

  it('every write has a new version, so that what was read can be told from what stands there now', async (store) => {
    const version = async () => (await store.read(everything)).get('credential', 'a')?.version ?? -1
    const seen: number[] = []
    for (let i = 0; i < 3; i++) {
      await put(store, 'a')
      seen.push(await version())
    }
    await store.commit({ reads: [], run: (tx) => tx.delete('credential', 'a') })
    assert.equal(await version(), -1)
    const again = await store.reopen()
    await put(again, 'a')
    seen.push((await again.list('credential')).items[0]?.version ?? -1)
    assert.deepEqual(
      seen,
      [...new Set(seen)].sort((a, b) => a - b),
    )
    await again.close()
  })

  it('B12 B14 a stale picture is recognised inside the batch, after what earlier items left', async (store) => {
    await put(store, 'a')
    const read = (await store.read(everything)).get('credential', 'a')
    const useIfFresh = () =>
      store.commit({
        reads: [{ kind: 'credential', id: 'a' }],
        run(tx) {
          if (tx.get('credential', 'a')?.version !== read?.version) return 'stale'
          tx.put('credential', 'a', credential('a', { tries: 1 }))
          return 'used'
        },
      })
    assert.deepEqual(await Promise.all([useIfFresh(), useIfFresh()]), ['used', 'stale'])
  })

  it('the log is in the order of commits; entries carry place and time', async (store) => {
    const append = (kind: string) =>
      store.commit({ reads: [], run: (tx) => tx.append({ kind, refs: ['r', kind] }) })
    assert.deepEqual(await Promise.all(['a', 'b', 'c'].map(append)), [0, 1, 2])
    store.clock.advance(5)
    assert.equal(await append('d'), 3)
    const entries = unpruned(await store.log.entries(1, 9))
    assert.deepEqual(
      entries.map(({ seq, at }) => [seq, at]),
      [
        [1, TEST_START],
        [2, TEST_START],
        [3, TEST_START + 5],
      ],
    )
    assert.deepEqual(JSON.parse(Buffer.from(entries[2]?.bytes ?? []).toString()), {
      v: 1,
      seq: 3,
      at: TEST_START + 5,
      kind: 'd',
      refs: ['r', 'd'],
    })
    assert.deepEqual(await store.log.find('r'), [0, 1, 2, 3])
    assert.deepEqual(await store.log.find('r', { after: 1, limit: 1 }), [2])
    assert.deepEqual(await store.log.find('r', { descending: true, after: 3, limit: 2 }), [2, 1])
    assert.deepEqual(await store.log.find('R'), [])
    assert.deepEqual(await verifyLog(store.log), { ok: true, ...(await store.log.head()) })
  })

  it('law 11: hashes of every level are those of the tree, across restarts', async (store) => {
    const leaves: Uint8Array[] = []
    const append = (kind: string) => store.commit({ reads: [], run: (tx) => tx.append({ kind, refs: [] }) })
    await Promise.all(Array.from({ length: 300 }, (_, i) => append(`a${i}`)))
    const again = await store.reopen()
    const more = () => again.commit({ reads: [], run: (tx) => tx.append({ kind: 'b', refs: [] }) })
    await Promise.all(Array.from({ length: 300 }, more))
    for (let from = 0; from < 600; from += 100)
      leaves.push(...unpruned(await again.log.entries(from, from + 100)).map(({ bytes }) => leafHash(bytes)))
    assert.deepEqual((await again.log.hashes(0, 0, 1_000)).map(hex), leaves.slice(0, 256).map(hex))
    assert.deepEqual((await again.log.hashes(0, 599, 700)).map(hex), [hex(leaves[599] as Uint8Array)])
    const nodes = [0, 256].map((from) => hex(treeRoot(leaves.slice(from, from + 256))))
    assert.deepEqual((await again.log.hashes(1, 0, 256)).map(hex), nodes)
    assert.deepEqual((await again.log.hashes(1, 1, 2)).map(hex), [nodes[1]])
    assert.deepEqual(await again.log.hashes(2, 0, 256), [])
    for (const [level, from, to] of [
      [-1, 0, 1],
      [0.5, 0, 1],
      [0, -1, 1],
      [0, 0, Number.NaN],
    ] as const)
      await assert.rejects(again.log.hashes(level, from, to), TypeError)
    await again.close()
  })

  it('entries are found by when they were written', async (store) => {
    assert.equal(await store.log.seqAt(0), 0)
    for (let i = 0; i < 20; i++) {
      await store.commit({ reads: [], run: (tx) => tx.append({ kind: 'k', refs: [] }) })
      if (i % 3 === 2) store.clock.advance(10)
    }
    for (let i = 0; i < 7; i++) {
      assert.equal(await store.log.seqAt(TEST_START + 10 * i), 3 * i)
      assert.equal(await store.log.seqAt(TEST_START + 10 * i - 9), 3 * i)
    }
    assert.equal(await store.log.seqAt(TEST_START + 61), 20)
    assert.equal(await store.log.seqAt(0), 0)
    assert.equal(await store.log.seqAt(Number.POSITIVE_INFINITY), 20)
  })

  it('entries are searched by what they have in common, newest first, page by page', async (store) => {
    const kinds = ['a', 'b'] as const
    await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        store.commit({
          reads: [],
          run: (tx) =>
            tx.append({
              kind: kinds[i % 2] as string,
              refs: [`r${i % 3}`, `s${i % 5}`, 'kind=none'],
              ...(i % 7 === 0 ? { outcome: 'deny' } : {}),
              ...(i % 11 === 0 ? { attempt: { action: { name: 'read' } } } : {}),
            }),
        }),
      ),
    )
    const queries: readonly (readonly [readonly string[], (i: number) => boolean])[] = [
      [[], () => true],
      [['r1'], (i) => i % 3 === 1],
      [['kind=b', 'r1'], (i) => i % 2 === 1 && i % 3 === 1],
      [['s4', 'r2', 'kind=a'], (i) => i % 5 === 4 && i % 3 === 2 && i % 2 === 0],
      [['outcome=deny', 'r0', 'r0'], (i) => i % 21 === 0],
      [['action=read', 'outcome=deny'], (i) => i % 77 === 0],
      [['r1', 'r2'], () => false],
      [['kind=none'], () => false],
      [['\ud800'], () => false],
      [['r1', 'nowhere'], () => false],
    ]
    for (const [terms, isFound] of queries) {
      for (const [from, before, limit] of [
        [0, undefined, 1_000],
        [0, undefined, 3],
        [50, 150, 7],
      ] as const) {
        const expected = Array.from({ length: 200 }, (_, i) => 199 - i).filter(
          (i) => isFound(i) && i >= from && i < (before ?? 200),
        )
        const found: number[] = []
        for (let next: number | undefined = before; ;) {
          const page = await store.log.search({
            terms,
            from,
            limit,
            ...(next === undefined ? {} : { before: next }),
          })
          assert.ok(page.items.length <= limit)
          found.push(...page.items)
          if (page.next === undefined) break
          next = Number(page.next)
        }
        assert.deepEqual(found, expected, terms.join(' '))
      }
    }
    await assert.rejects(store.log.search({ terms: [], limit: 0 }), TypeError)
  })

  it('a search of what is rarely together is cut into pages that hold up nobody', async (store) => {
    const often = (kind: string) => ({ reads: [], run: (tx: Transaction) => tx.append({ kind, refs: [] }) })
    for (let i = 0; i < 5; i++)
      await Promise.all(
        Array.from({ length: 1_000 }, (_, k) =>
          store.commit({ reads: [], run: (tx) => tx.append({ kind: 'k', refs: [k % 2 === 0 ? 'a' : 'b'] }) }),
        ),
      )
    const both = { reads: [], run: (tx: Transaction) => tx.append({ kind: 'k', refs: ['a', 'b'] }) }
    const seq = await store.commit(both)
    for (let i = 0; i < 8; i++)
      await Promise.all(
        Array.from({ length: 1_000 }, (_, k) =>
          store.commit({ reads: [], run: (tx) => tx.append({ kind: 'k', refs: [k % 2 === 0 ? 'a' : 'b'] }) }),
        ),
      )
    await store.commit(often('z'))
    const found: number[] = []
    let pages = 0
    for (let before: number | undefined; ;) {
      const { items, next } = await store.log.search({
        terms: ['a', 'b'],
        ...(before === undefined ? {} : { before }),
      })
      found.push(...items)
      pages += 1
      if (next === undefined) break
      assert.ok(before === undefined || Number(next) < before)
      before = Number(next)
    }
    assert.deepEqual(found, [seq])
    assert.ok(pages <= 3, `${pages} pages`)
  })

  it('B69 what an entry was too long for is kept, as long as the entry is', async (store) => {
    const huge = 'x'.repeat(70_000)
    const append = (value: string) =>
      store.commit({ reads: [], run: (tx) => tx.append({ kind: 'k', refs: ['r', value], sql: value }) })
    const [first, second] = [await append(huge), await append(huge)]
    const [entry] = unpruned(await store.log.entries(first, first + 1))
    const { sql } = JSON.parse(Buffer.from(entry?.bytes ?? []).toString()) as { sql: { $digest: string } }
    const kept = async (on: TestStore) => on.log.body(sql.$digest)
    assert.equal(Buffer.from((await kept(store)) ?? []).toString(), JSON.stringify(huge))
    assert.equal(await store.log.body(`sha256:${'0'.repeat(64)}`), undefined)
    await store.log.prune([first])
    assert.ok((await kept(store)) !== undefined)
    await store.log.prune([second])
    assert.equal(await kept(store), undefined)
    assert.deepEqual(await store.log.find(huge), [])
    assert.deepEqual((await store.log.search({ terms: ['kind=k'] })).items, [])
  })

  it('what is pruned leaves its hash, and nothing to be found by', async (store) => {
    const append = (i: number) =>
      store.commit({
        reads: [],
        run: (tx) => tx.append({ kind: 'k', refs: ['r', `i${i}`], outcome: 'deny' }),
      })
    for (let i = 0; i < 5; i++) await append(i)
    const before = await store.log.hashes(0, 0, 5)
    const head = await store.log.head()
    await store.log.prune([1, 3])
    await store.log.prune([3, 99])
    const again = await store.reopen()
    const entries = await again.log.entries(0, 9)
    assert.deepEqual(
      entries.map((it) => isPruned(it)),
      [false, true, false, true, false],
    )
    assert.deepEqual(entries[1], { seq: 1, at: TEST_START, leaf: before[1], pruned: true })
    assert.deepEqual((await again.log.hashes(0, 0, 5)).map(hex), before.map(hex))
    assert.deepEqual(await again.log.head(), head)
    assert.deepEqual(await again.log.find('r'), [0, 2, 4])
    assert.deepEqual(await again.log.find('i3'), [])
    assert.deepEqual((await again.log.search({ terms: ['outcome=deny'] })).items, [4, 2, 0])
    assert.equal(await again.log.seqAt(TEST_START), 0)
    // pruned without a word: the verifier says so
    assert.equal((await verifyLog(again.log)).firstBad?.index, 1)
    await again.close()
  })

  it('listeners hear of each durable batch, in order, and one that fails troubles nobody', async (store) => {
    const heard: number[][] = []
    store.log.subscribe(() => {
      throw new Error('listener')
    })
    const stop = store.log.subscribe((entries, head) =>
      heard.push([...entries.map((it) => it.seq), head.size]),
    )
    const append = () => store.commit({ reads: [], run: (tx) => tx.append({ kind: 'k', refs: [] }) })
    await Promise.all([append(), append()])
    await append()
    stop()
    await append()
    assert.deepEqual(heard, [
      [0, 1, 2],
      [2, 3],
    ])
    assert.match(store.problems().join(), /listener/)
  })

  it('B31 its clock goes on when the wall clock is set back, also over a restart', async (store) => {
    const at = (on: TestStore) =>
      on.commit({ reads: [], run: (tx) => (tx.append({ kind: 'k', refs: [] }), tx.now) })
    store.clock.advance(1_000)
    assert.equal(await at(store), TEST_START + 1_000)
    store.clock.rewind(3_600_000)
    assert.equal(await at(store), TEST_START + 1_000)
    assert.equal(store.clockBehind(), 3_600_000)
    assert.match(store.problems().join(), /clock is 1h behind/)
    store.clock.advance(2_000)
    assert.equal((await store.read([])).now, TEST_START + 3_000)
    const again = await store.reopen()
    assert.ok((await at(again)) >= TEST_START + 3_000)
    assert.equal(again.clockBehind(), 3_600_000)
    store.clock.advance(3_600_000)
    store.clock.set(TEST_START + 2 * 3_600_000)
    assert.equal(again.clockBehind(), 0)
    assert.deepEqual(again.problems(), [])
    assert.ok((await verifyLog(again.log)).ok)
    await again.close()
  })

  it('pages run through a kind or an index in the order of ids, each once', async (store) => {
    const ids = IDS.toSorted(compareIds)
    await Promise.all(ids.toReversed().map((id) => put(store, id, { grant: id < 'b' ? 'g' : 'h' })))
    for (const limit of [1, 2, 3, 1000]) {
      for (const options of [{}, { index: 'credential.grant', value: 'g' } as const]) {
        const expected = ids.filter((id) => !('value' in options) || id < 'b')
        const found: string[] = []
        for (let after: string | undefined = ''; after !== undefined;) {
          const page: { items: readonly { id: string }[]; next: string | undefined } = await store.list(
            'credential',
            {
              ...options,
              limit,
              ...(after === '' ? {} : { after }),
            },
          )
          found.push(...page.items.map((it) => it.id))
          after = page.next
        }
        assert.deepEqual(found, expected)
      }
    }
    await assert.rejects(store.list('credential', { limit: 0 }), TypeError)
    await assert.rejects(store.list('credential', { index: 'grant.task', value: 'x' }), TypeError)
    await assert.rejects(store.list('credential', { index: 'credential.grant' }), TypeError)
  })

  it('text that is not Unicode names nothing, and is found nowhere', async (store) => {
    await put(store, '\ufffd', { grant: '\ufffd' })
    await assert.rejects(put(store, ''), (error) => isWritError(error, 'ERR_INPUT_INVALID'))
    await assert.rejects(put(store, '\ud800'), (error) => isWritError(error, 'ERR_INPUT_INVALID'))
    await assert.rejects(put(store, 'x', { grant: '\ud800' }), (error) =>
      isWritError(error, 'ERR_INPUT_INVALID'),
    )
    const appendRef = store.commit({ reads: [], run: (tx) => tx.append({ kind: 'k', refs: ['\ud800'] }) })
    await assert.rejects(appendRef, (error) => isWritError(error, 'ERR_INPUT_INVALID'))
    const view = await store.read([
      { kind: 'credential', id: '\ud800' },
      { index: 'credential.grant', value: '\ud800' },
    ])
    assert.equal(view.get('credential', '\ud800'), undefined)
    assert.deepEqual(view.scan('credential.grant', '\ud800'), [])
  })

  it('closing finishes what was queued; afterwards nothing is answered', async (store) => {
    const last = put(store, 'a')
    await store.close()
    await last
    await store.close()
    for (const use of [store.read([]), put(store, 'b'), store.list('grant'), store.log.head()]) {
      await assert.rejects(use, (error) => isWritError(error, 'ERR_STORE_CLOSED'))
    }
    const again = await store.reopen()
    assert.equal((await again.list('credential')).items.length, 1)
    await again.close()
  })

  test(`${name}: random batches leave what one item after another leaves in a map`, async () => {
    const id = fc.constantFrom(...IDS)
    const grant = fc.constantFrom(...GRANTS)
    const op: fc.Arbitrary<Op> = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ do: fc.constant('put'), id, grant, state: fc.constantFrom(...STATES) }),
      },
      fc.record({ do: fc.constant('delete'), id }),
      fc.record({ do: fc.constant('get'), id }),
      { weight: 2, arbitrary: fc.record({ do: fc.constant('scan'), grant }) },
      fc.record({ do: fc.constant('append') }),
    )
    const throws = fc.integer({ min: 0, max: 3 }).map((n) => n === 0)
    const batch = fc.array(fc.record({ ops: fc.array(op, { maxLength: 5 }), throws }), { maxLength: 6 })
    const step = fc.oneof({ weight: 6, arbitrary: batch }, fc.constant('reopen' as const))
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
        let store = await open()
        const model = new Model()
        try {
          for (const plans of steps) {
            if (plans === 'reopen') {
              store = await store.reopen()
              continue
            }
            const settled = await Promise.allSettled(plans.map((plan) => store.commit(itemOf(plan))))
            for (const [i, plan] of plans.entries()) {
              assert.deepEqual(outcomeOf(settled[i]), { seen: model.run(plan), thrown: plan.throws })
            }
            await model.compare(store)
          }
          assert.deepEqual(await verifyLog(store.log), { ok: true, ...(await store.log.head()) })
        } finally {
          await store[Symbol.asyncDispose]()
        }
      }),
      { numRuns: Number(process.env['WRIT_SOAK'] ?? 0) > 0 ? 1_000 : 40 },
    )
  })
}

function outcomeOf(settled: PromiseSettledResult<readonly unknown[]> | undefined): unknown {
  if (settled?.status === 'fulfilled') return { seen: settled.value, thrown: false }
  return settled?.reason instanceof Seen ? { seen: settled.reason.seen, thrown: true } : settled?.reason
}

class Seen extends Error {
  readonly seen: readonly unknown[]

  constructor(seen: readonly unknown[]) {
    super('thrown on purpose')
    this.seen = seen
  }
}

function itemOf({ ops, throws }: Plan) {
  return {
    reads: everything,
    run(tx: Transaction): readonly unknown[] {
      const seen = ops.map((op) => {
        switch (op.do) {
          case 'put':
            return tx.put('credential', op.id, credential(op.id, { grant: op.grant, state: op.state }))
          case 'delete':
            return tx.delete('credential', op.id)
          case 'get':
            return tx.get('credential', op.id)?.value.grant
          case 'scan':
            return tx.scan('credential.grant', op.grant).map((it) => it.id)
          default:
            return tx.append({ kind: 'k', refs: [] })
        }
      })
      if (throws) throw new Seen(seen)
      return seen
    },
  }
}

class Model {
  records = new Map<string, Credential>()
  size = 0

  run({ ops, throws }: Plan): readonly unknown[] {
    const [records, size] = [new Map(this.records), this.size]
    const seen = ops.map((op) => {
      switch (op.do) {
        case 'put': {
          const before = this.records.get(op.id)
          this.records.set(op.id, credential(op.id, { grant: op.grant, state: op.state }))
          return before
        }
        case 'delete': {
          const before = this.records.get(op.id)
          this.records.delete(op.id)
          return before
        }
        case 'get':
          return this.records.get(op.id)?.grant
        case 'scan':
          return this.ids((it) => it.grant === op.grant)
        default:
          return this.size++
      }
    })
    if (throws) [this.records, this.size] = [records, size]
    return seen
  }

  ids(matches: (it: Credential) => boolean): string[] {
    return [...this.records.values()]
      .filter(matches)
      .map((it) => it.id)
      .sort(compareIds)
  }

  async compare(store: TestStore): Promise<void> {
    const view = await store.read(everything)
    for (const id of IDS) assert.deepEqual(view.get('credential', id)?.value, this.records.get(id))
    for (const grant of GRANTS) {
      assert.deepEqual(
        view.scan('credential.grant', grant).map((it) => it.id),
        this.ids((it) => it.grant === grant),
      )
    }
    assert.deepEqual(
      view.scan('credential.open', 'open').map((it) => it.id),
      this.ids((it) => it.state !== 'absent'),
    )
    assert.deepEqual(view.scan('credential.open', 'shut'), [])
    assert.deepEqual(
      (await store.list('credential')).items.map((it) => it.id),
      this.ids(() => true),
    )
    assert.equal((await store.log.head()).size, this.size)
  }
}
