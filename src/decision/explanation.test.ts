import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Json } from '../model/canonical.ts'
import { canonical } from '../model/canonical.ts'
import type { ClauseResult, Explanation, RuleResult } from '../policy/index.ts'
import { boundExplanation, explanationLimits } from './explanation.ts'

const clause = (more: Partial<ClauseResult> = {}): ClauseResult => ({
  kind: 'when',
  text: 'context.amount <= 100',
  line: 3,
  column: 8,
  endLine: 3,
  endColumn: 29,
  status: 'fails',
  actual: [{ path: 'context.amount', value: 180 }],
  required: { path: 'context.amount', operator: '<=', value: 100 },
  ...more,
})

const rule = (clauses: readonly ClauseResult[], policy = 'small-refunds'): RuleResult => ({
  policy,
  file: 'refunds.cedar',
  line: 12,
  effect: 'permit',
  clauses,
})

const explained = (more: Partial<Explanation> = {}): Explanation => ({
  determining: [],
  fired: [],
  nearest: [rule([clause()])],
  inScope: 4,
  ...more,
})

const valueOf = (value: Json): Json | undefined =>
  boundExplanation(explained({ nearest: [rule([clause({ actual: [{ path: 'context.x', value }] })])] }))
    .nearest[0]?.clauses[0]?.actual[0]?.value

describe('the explanation that is recorded', () => {
  test('is as it was made where it is small', () => {
    const small = explained({ mismatch: 'the action is not declared' })
    assert.deepEqual(boundExplanation(small), small)
    assert.deepEqual(boundExplanation(small, 'Person/ada'), { ...small, principal: 'Person/ada' })
  })

  test('has few rules, few clauses, those in the way first, and few values', () => {
    const many = Array.from({ length: 30 }, (_, at) =>
      clause({
        line: at + 1,
        status: at === 29 ? 'fails' : 'holds',
        actual: Array.from({ length: 12 }, (__, n) => ({ path: `context.v${n}`, value: n })),
      }),
    )
    const rules = Array.from({ length: 5 }, (_, at) => rule(many, `p${at}`))
    const bounded = boundExplanation(explained({ nearest: rules.slice(0, 2), fired: [] }))
    const [first] = bounded.nearest
    assert.equal(first?.clauses.length, explanationLimits.clauses)
    assert.deepEqual(
      first.clauses.map(({ line }) => line),
      [...Array.from({ length: 15 }, (_, at) => at + 1), 30],
    )
    assert.equal(bounded.cut, true)
    const few = boundExplanation(explained({ nearest: [rule(many.slice(28))] }))
    assert.equal(few.nearest[0]?.clauses[0]?.actual.length, explanationLimits.values)
    const three = boundExplanation(explained({ nearest: rules, fired: rules }))
    assert.deepEqual([three.nearest.length, three.fired.length, three.cut], [3, 3, true])
  })

  test('cuts long values where they can be cut, with a mark', () => {
    const long = valueOf('x'.repeat(5_000)) as string
    assert.equal(long, `${'x'.repeat(explanationLimits.value)}…`)
    assert.equal(valueOf('short'), 'short')
    assert.deepEqual(valueOf([1, 'a', { b: null }]), [1, 'a', { b: null }])
    const set = valueOf(Array.from({ length: 10_000 }, (_, at) => at)) as Json[]
    assert.ok(set.length < 100 && set.at(-1) === '…')
    const record = valueOf(
      Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`member${at}`, at])),
    ) as Record<string, Json>
    assert.ok(Object.keys(record).length < 40 && Object.hasOwn(record, '…'))
    assert.deepEqual(valueOf([[[[[[1]]]]]]), [[[['…']]]])
    assert.deepEqual(valueOf({ ['x'.repeat(900)]: 1 }), { [`${'x'.repeat(252)}…`]: 1 })
  })

  test('leaves all values out, and then all clauses, rather than be too long', () => {
    const wide = Array.from({ length: 16 }, (_, at) =>
      clause({
        line: at + 1,
        actual: Array.from({ length: 8 }, () => ({ path: 'context.x', value: 'ü'.repeat(250) })),
      }),
    )
    const bare = boundExplanation(explained({ nearest: [rule(wide)] }))
    assert.equal(bare.cut, true)
    assert.equal(bare.nearest[0]?.clauses.length, 16)
    assert.ok(
      bare.nearest[0].clauses.every(
        ({ actual, required }) => actual.length === 0 && !('value' in (required ?? {})),
      ),
    )
    const words = Array.from({ length: 16 }, () =>
      clause({ text: 'ü'.repeat(900), message: 'ü'.repeat(900) }),
    )
    const places = boundExplanation(explained({ nearest: [rule(words), rule(words)], fired: [rule(words)] }))
    assert.deepEqual(
      [places.cut, places.nearest[0]?.policy, places.nearest[0]?.clauses],
      [true, 'small-refunds', []],
    )
  })

  test('however long the names are', () => {
    const name = 'ü€'.repeat(2_000)
    const one = { policy: name, file: name, line: 1, effect: 'forbid' as const }
    const named = { ...one, clauses: [clause({ text: name })] }
    const bounded = boundExplanation(
      explained({
        determining: Array.from({ length: 40 }, () => one),
        fired: [named, named, named],
        nearest: [named, named, named],
        mismatch: name,
      }),
      name,
    )
    assert.ok(Buffer.byteLength(canonical(bounded)) <= explanationLimits.bytes)
    assert.equal(bounded.fired.length, 3)
  })

  test('B69 half a character, in a value, a name or where a text is cut, has a canonical form', () => {
    const half = '\uD83D'
    assert.equal(valueOf(`a${half}b`), 'a\uFFFDb')
    assert.deepEqual(valueOf({ [`k${half}`]: half }), { 'k\uFFFD': '\uFFFD' })
    const across = valueOf(`${'x'.repeat(explanationLimits.value - 1)}😀😀`) as string
    assert.equal(across, `${'x'.repeat(explanationLimits.value - 1)}…`)
  })

  test('what looks short is short: escapes, wide characters and structure are counted', () => {
    for (const unit of ['\u0001', 'ü', '€', '"', 'x'])
      for (let length = 0; length < 512; length += 37) {
        for (let clauses = 1; clauses <= 16; clauses += 3) {
          const text = unit.repeat(length)
          const many = Array.from({ length: clauses }, () =>
            clause({ text, actual: [{ path: text, value: [[], {}, [text], { [text]: text }] }] }),
          )
          const bounded = boundExplanation(explained({ nearest: [rule(many)] }))
          assert.ok(Buffer.byteLength(canonical(bounded)) <= explanationLimits.bytes)
        }
      }
  })

  test('whatever was read, it is bounded and has a canonical form', () => {
    const text = fc
      .string({ unit: 'binary', maxLength: 40 })
      .chain((unit) => fc.integer({ min: 0, max: 60 }).map((n) => unit.repeat(n)))
    const json = fc.jsonValue({ stringUnit: 'binary', maxDepth: 6 }) as fc.Arbitrary<Json>
    const leaf = fc.record({
      text,
      status: fc.constantFrom('holds', 'fails', 'errors', 'unknown'),
      path: text,
      value: fc.oneof(json, text),
    })
    const part = leaf.map((it) =>
      clause({
        text: it.text,
        status: it.status,
        message: it.text,
        actual: Array.from({ length: 10 }, () => ({ path: it.path, value: it.value })),
        required: { path: it.path, operator: '==', value: it.value },
      }),
    )
    const clauses = fc.array(
      fc
        .tuple(part, fc.array(part, { maxLength: 20 }))
        .map(([one, any]) => (any.length === 0 ? one : { ...one, any })),
      { maxLength: 30 },
    )
    fc.assert(
      fc.property(fc.array(clauses, { maxLength: 5 }), fc.array(text, { maxLength: 40 }), (rules, ids) => {
        const bounded = boundExplanation({
          determining: ids.map((policy) => ({ policy, file: policy, line: 1, effect: 'forbid' as const })),
          fired: rules.map((it) => rule(it)),
          nearest: rules.map((it) => rule(it)),
          inScope: 9,
        })
        const written = canonical(bounded)
        assert.ok(Buffer.byteLength(written) <= explanationLimits.bytes)
        assert.deepEqual(JSON.parse(written), bounded)
      }),
      { numRuns: 60 },
    )
  })
})
