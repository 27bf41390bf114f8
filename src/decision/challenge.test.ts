import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { RequirementSet } from '../model/request.ts'
import { meets, seated } from '../model/request.ts'
import type { ClauseResult, Evaluation } from '../policy/index.ts'
import type { Hint, Proof, Search } from './challenge.ts'
import { ALWAYS_TRIED, MAX_CANDIDATES, hintsOf, searchChallenge } from './challenge.ts'

const answer = (permit: boolean, obligations: { ttl?: number; uses?: number } = {}): Evaluation => ({
  decision: permit ? 'permit' : 'deny',
  determining: [],
  errors: [],
  obligations: { binding: 'attempt', bindingDeclared: false, notify: [], ...obligations },
  dropped: [],
  unknownInputs: [],
  forbidden: false,
  explainable: true,
})

type Ask = (approvals: Readonly<Record<string, number>>, justified: boolean) => Evaluation

function search(
  literals: Readonly<Record<string, readonly number[]>>,
  givers: Readonly<Record<string, readonly string[]>>,
  evaluate: Ask,
  more: {
    justification?: boolean
    present?: Proof
    monotonic?: () => number
    hints?: () => readonly Hint[]
  } = {},
): Promise<Search> {
  return searchChallenge({
    approvals: new Map(Object.entries(literals)),
    justification: more.justification ?? false,
    reauth: [],
    present: more.present ?? { approvals: {}, justification: false, reauth: false },
    givers: async (pool) => givers[pool] ?? [],
    evaluate: (proof) => evaluate(proof.approvals, proof.justification),
    bindingOf: () => 'attempt',
    monotonic: more.monotonic ?? (() => 0),
    ...(more.hints === undefined ? {} : { hints: more.hints }),
  })
}

/** E.g. `dba:2 + justification`. */
const text = (set: RequirementSet): string =>
  set.requirements.map((r) => (r.kind === 'approval' ? `${r.pool}:${r.count}` : r.kind)).join(' + ')
const texts = async (found: Promise<Search>): Promise<string[]> => (await found).sets.map(text).sort()

describe('the challenge search', () => {
  test('finds alternatives, each as small as it can be', async () => {
    const found = texts(
      search({ dba: [1, 2], lead: [1] }, { dba: ['1', '2'], lead: ['3'] }, (n) =>
        answer((n['dba'] ?? 0) >= 2 || (n['lead'] ?? 0) >= 1),
      ),
    )
    assert.deepEqual(await found, ['dba:2', 'lead:1'])
  })

  test('asks for a justification only where it changes the answer', async () => {
    const both: Ask = (n, justified) => answer((n['dba'] ?? 0) >= 1 && justified)
    const givers = { dba: ['1'] }
    assert.deepEqual(await texts(search({ dba: [1] }, givers, both, { justification: true })), [
      'dba:1 + justification',
    ])
    const present = { approvals: {}, justification: true, reauth: false }
    assert.deepEqual(await texts(search({ dba: [1] }, givers, both, { justification: true, present })), [
      'dba:1',
    ])
  })

  test('never assumes that more evidence permits more', async () => {
    // exactly one approval of either pool; two of them deny again
    const odd: Ask = (n) => answer((n['a'] ?? 0) + (n['b'] ?? 0) === 3 && n['b'] !== 3)
    const found = await texts(search({ a: [1, 2], b: [1, 2, 3] }, { a: ['1', '2'], b: ['3', '4', '5'] }, odd))
    assert.deepEqual(found, ['a:1 + b:2', 'a:2 + b:1'])
  })

  test('assumes only what eligible people could give now', async () => {
    assert.deepEqual(
      await texts(search({ dba: [1, 2] }, { dba: ['1'] }, (n) => answer((n['dba'] ?? 0) >= 2))),
      [],
    )
    assert.deepEqual(await texts(search({ dba: [1] }, {}, () => answer(true))), [])
  })

  test('C4 fills the seats of several pools with different people', async () => {
    const both: Ask = (n) => answer((n['dba'] ?? 0) >= 1 && (n['lead'] ?? 0) >= 1)
    const literals = { dba: [1], lead: [1] }
    assert.deepEqual(await texts(search(literals, { dba: ['ada'], lead: ['ada'] }, both)), [])
    assert.deepEqual(await texts(search(literals, { dba: ['ada', 'bob'], lead: ['ada'] }, both)), [
      'dba:1 + lead:1',
    ])
  })

  test('each set carries the obligations of what it would fire', async () => {
    const { sets } = await search({ dba: [1], lead: [1] }, { dba: ['1'], lead: ['2'] }, (n) =>
      (n['lead'] ?? 0) >= 1 ? answer(true, { ttl: 900, uses: 3 }) : answer((n['dba'] ?? 0) >= 1, { ttl: 60 }),
    )
    const of = (wanted: string) => sets.find((set) => text(set) === wanted)
    assert.deepEqual([of('dba:1')?.ttl, of('dba:1')?.uses], [60, undefined])
    assert.deepEqual([of('lead:1')?.ttl, of('lead:1')?.uses], [900, 3])
  })

  test('every set permits, and no part of it does', async () => {
    const pools = ['a', 'b', 'c'] as const
    const people = { a: ['1', '2'], b: ['2', '3'], c: ['4'] }
    const points = [0, 1, 2].flatMap((a) => [0, 1, 2].flatMap((b) => [0, 1].map((c) => `${a}${b}${c}`)))
    await fc.assert(
      fc.asyncProperty(fc.subarray(points.slice(1)), async (permitted) => {
        const permits = new Set(permitted)
        const key = (n: Readonly<Record<string, number>>) => pools.map((pool) => n[pool] ?? 0).join('')
        const { sets, truncated } = await search({ a: [1, 2], b: [1, 2], c: [1] }, people, (n) =>
          answer(permits.has(key(n))),
        )
        assert.equal(truncated, false)
        const counts = (point: string) =>
          pools.flatMap((pool, i) => Array.from({ length: Number(point[i]) }, () => pool))
        const pairs = pools.flatMap((pool) => people[pool].map((root) => ({ pool, root })))
        const possible = permitted.filter((point) => seated(counts(point), pairs) === counts(point).length)
        const within = (x: string, y: string) => x.split('').every((digit, i) => digit <= (y[i] ?? ''))
        const minimal = possible.filter(
          (point) => !possible.some((other) => other !== point && within(other, point)),
        )
        const found = sets.map((set) =>
          key(
            Object.fromEntries(
              set.requirements.flatMap((r) => (r.kind === 'approval' ? [[r.pool, r.count]] : [])),
            ),
          ),
        )
        assert.deepEqual(found.sort(), minimal.sort())
        for (const set of sets)
          assert.equal(meets(set, { approvals: pairs, justified: false, proved: [] }), true)
      }),
      { numRuns: 300 },
    )
  })

  test('is bounded by candidates and by time, says when it was cut, and always tries a few', async () => {
    const literals = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`p${i}`, [1, 2, 3]]))
    const givers = Object.fromEntries(
      Object.keys(literals).map((pool) => [pool, [`${pool}a`, `${pool}b`, `${pool}c`]]),
    )
    const many = await search(literals, givers, () => answer(false))
    assert.equal(many.truncated, true)
    assert.ok(many.tried <= MAX_CANDIDATES)

    let time = 0
    const slow = await search(literals, givers, () => answer(false), { monotonic: () => (time += 6) })
    assert.deepEqual([slow.truncated, slow.tried], [true, ALWAYS_TRIED])
    const one = await search({ dba: [1] }, { dba: ['1'] }, () => answer(true), {
      monotonic: () => (time += 1_000),
    })
    assert.deepEqual([one.sets.map(text), one.truncated], [['dba:1'], false])
  })

  const hint =
    (pools: readonly string[], justification = false) =>
    (): readonly Hint[] => [
      { approvals: new Map(pools.map((pool) => [pool, 2])), justification, reauth: false },
    ]
  /** Eight kinds of evidence, three people each, one or two of whom may be wanted. */
  const kinds = Array.from({ length: 8 }, (_, at) => `k${at}`)
  const wanted = Object.fromEntries(kinds.map((kind) => [kind, [1, 2]]))
  const crowd = Object.fromEntries(kinds.map((kind) => [kind, [`${kind}a`, `${kind}b`, `${kind}c`]]))

  test('the hint never changes what is found, nor how it looks, when everything was tried', async () => {
    const pools = ['a', 'b', 'c']
    const literals = { a: [1, 3], b: [2, 1], c: [1] }
    const people = { a: ['1', '2', '3'], b: ['2', '3'], c: ['3'] }
    await fc.assert(
      fc.asyncProperty(
        fc.func(fc.boolean()),
        fc.subarray(pools, { minLength: 1 }),
        fc.boolean(),
        async (permits, hinted, reason) => {
          // any answer at all: nothing says that more evidence permits more
          const evaluate: Ask = (n, justified) => {
            const counts = pools.map((pool) => n[pool] ?? 0)
            return answer(permits(...counts, justified), { ttl: counts.reduce((sum, it) => sum + it, 1) })
          }
          const plainly = await search(literals, people, evaluate, { justification: true })
          const hinting = await search(literals, people, evaluate, {
            justification: true,
            hints: hint(hinted, reason),
          })
          assert.deepEqual(hinting, plainly)
          assert.equal(plainly.truncated, false)
        },
      ),
      { numRuns: 300 },
    )
  })

  test('where not everything can be tried, the remedy that the explanation names is found all the same', async () => {
    const remedy: Ask = (n, justified) => answer((n['k6'] ?? 0) >= 2 && (n['k7'] ?? 0) >= 1 && justified)
    const plainly = await search(wanted, crowd, remedy, { justification: true })
    assert.deepEqual([plainly.sets, plainly.truncated, plainly.tried], [[], true, MAX_CANDIDATES])
    const hinted = await search(wanted, crowd, remedy, {
      justification: true,
      hints: hint(['k6', 'k7'], true),
    })
    assert.deepEqual(hinted.sets.map(text), ['k6:2 + k7:1 + justification'])
    assert.deepEqual([hinted.truncated, hinted.tried], [true, MAX_CANDIDATES])
    // time cuts it as candidates do
    let time = 0
    const slow = { justification: true, monotonic: () => (time += 0.03), hints: hint(['k6', 'k7'], true) }
    assert.deepEqual((await search(wanted, crowd, remedy, slow)).sets.map(text), [
      'k6:2 + k7:1 + justification',
    ])
  })

  test('a hint that leads nowhere hides no small remedy', async () => {
    const single: Ask = (n) => answer((n['k7'] ?? 0) >= 1)
    const { sets, truncated } = await search(wanted, crowd, single, { hints: hint(kinds.slice(0, 7)) })
    assert.deepEqual([sets.map(text), truncated], [['k7:1'], true])
  })

  test('what is found is minimal whatever was cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.subarray(kinds), fc.integer(), async (hinted, seed) => {
        const permits = (n: Readonly<Record<string, number>>): boolean =>
          kinds.reduce((sum, kind, at) => (sum * 31 + (n[kind] ?? 0) * (at + 1)) | 0, seed) % 11 === 0
        const { sets } = await search(wanted, crowd, (n) => answer(permits(n)), { hints: hint(hinted) })
        for (const set of sets) {
          const full = set.requirements.flatMap((r) =>
            r.kind === 'approval' ? [[r.pool, r.count] as const] : [],
          )
          const parts = full.reduce<Record<string, number>[]>(
            (all, [pool, n]) =>
              all.flatMap((it) => Array.from({ length: n + 1 }, (_, count) => ({ ...it, [pool]: count }))),
            [{}],
          )
          const isWhole = (n: Record<string, number>) => full.every(([pool, count]) => n[pool] === count)
          assert.equal(permits(Object.fromEntries(full)), true)
          for (const part of parts.filter((n) => !isWhole(n) && Object.values(n).some((count) => count > 0)))
            assert.equal(permits(part), false, `${JSON.stringify(part)} in ${text(set)}`)
        }
      }),
      { numRuns: 100 },
    )
  })

  test('candidates are made as they are tried, fruitless ones too', async () => {
    const pools = Array.from({ length: 40 }, (_, at) => `p${at}`)
    const literals = Object.fromEntries(
      pools.map((pool) => [pool, Array.from({ length: 20 }, (_, at) => at + 1)]),
    )
    const crowded = Object.fromEntries(
      pools.map((pool) => [pool, Array.from({ length: 20 }, (_, at) => `${pool}/${at}`)]),
    )
    const found = await search(literals, crowded, () => answer(false), { justification: true })
    assert.deepEqual([found.tried, found.truncated], [MAX_CANDIDATES, true])
    // the same five people everywhere: most combinations seat nobody
    const few = Object.fromEntries(pools.map((pool) => [pool, ['1', '2', '3', '4', '5']]))
    const odd = Object.fromEntries(pools.map((pool) => [pool, [4, 2]]))
    const none = await search(odd, few, () => answer(false))
    assert.ok(none.tried <= MAX_CANDIDATES)
  })

  test('the hint names what failing clauses read of evidence, in disjunctions too', () => {
    const place = { kind: 'when', line: 1, column: 1, endLine: 1, endColumn: 2 } as const
    const part = (
      status: ClauseResult['status'],
      path: string,
      any?: readonly ClauseResult[],
    ): ClauseResult => ({
      ...place,
      text: path,
      status,
      actual: [{ path, value: 0 }],
      ...(any === undefined ? {} : { any }),
    })
    const rule = (clauses: readonly ClauseResult[]) => ({
      policy: 'p',
      file: 'f',
      line: 1,
      effect: 'permit' as const,
      clauses,
    })
    const found = hintsOf({
      nearest: [
        rule([part('holds', 'context.proof.approvals.given'), part('fails', 'context.proof.approvals.dba')]),
        rule([
          part('fails', 'resource.tier', [
            part('fails', 'context.proof.approvals["on call"]'),
            part('errors', 'context.proof.justification'),
          ]),
        ]),
      ],
    })
    assert.deepEqual(
      found.map(({ approvals, justification }) => [[...approvals], justification]),
      [
        [[['dba', Infinity]], false],
        [[['on call', Infinity]], true],
      ],
    )
    const asking = {
      ...part('fails', 'x'),
      required: { path: 'context.proof.approvals.x', operator: '>', value: 1 },
    } as const
    assert.deepEqual([...(hintsOf({ nearest: [rule([asking])] })[0]?.approvals ?? [])], [['x', 2]])
    assert.deepEqual(hintsOf({ nearest: [rule([part('fails', 'resource.tier')])] }), [])
  })
})
