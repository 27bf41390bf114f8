import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compile } from './engine/index.ts'
import { cut, parsePolicy } from './engine/parse.ts'
import type { Expr } from './engine/tree.ts'
import { formula, implies, judge, keyOf } from './logic.ts'

const policy = (text: string): string => `permit(principal, action, resource) when { ${text} };`

function parsed(text: string): Expr {
  const [part] = cut(policy(text))
  const [condition] = part === undefined ? [] : parsePolicy(part).conditions
  if (condition === undefined) throw new Error(`no condition in ${text}`)
  return condition.body
}

function holds(text: string, context: object): boolean {
  const uid = (type: string) => ({ type, id: 'x' })
  const request = { principal: uid('P'), action: uid('Action'), resource: uid('R'), context }
  return compile({ policies: policy(text) }).decide(request as never, []).decision === 'allow'
}

const small = fc.integer({ min: -1, max: 2 })
const word = fc.constantFrom('a', 'b')
const atoms = fc.oneof(
  fc
    .tuple(
      fc.constantFrom('context.n', 'context.m'),
      fc.constantFrom('==', '!=', '<', '<=', '>', '>='),
      small,
    )
    .map(([name, operator, value]) => `${name} ${operator} ${value}`),
  fc.tuple(small, fc.constantFrom('<', '>=')).map(([value, operator]) => `${value} ${operator} context.n`),
  fc.tuple(fc.constantFrom('==', '!='), word).map(([operator, value]) => `context.s ${operator} "${value}"`),
  fc.array(word, { minLength: 1, maxLength: 3 }).map((all) => `${JSON.stringify(all)}.contains(context.s)`),
  fc.constantFrom('<', '<=', '==', '!=', '>').map((operator) => `context.n ${operator} context.m`),
  fc.constantFrom('context.b', 'context.b == true', 'context.b != true', 'true', 'false', 'context has n'),
)
const { condition } = fc.letrec<{ condition: string }>((tie) => ({
  condition: fc.oneof(
    { maxDepth: 3 },
    { weight: 2, arbitrary: atoms },
    {
      weight: 2,
      arbitrary: fc
        .tuple(tie('condition'), fc.constantFrom('&&', '||'), tie('condition'))
        .map(([a, operator, b]) => `(${a}) ${operator} (${b})`),
    },
    { weight: 1, arbitrary: tie('condition').map((a) => `!(${a})`) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(tie('condition'), tie('condition'), tie('condition'))
        .map(([a, b, c]) => `if (${a}) then (${b}) else (${c})`),
    },
  ),
}))
const contexts = fc.record({
  n: fc.integer({ min: -3, max: 4 }),
  m: fc.integer({ min: -3, max: 4 }),
  s: fc.constantFrom('a', 'b', 'c'),
  b: fc.boolean(),
})
const many = fc.array(contexts, { minLength: 4, maxLength: 8 })

test('what always holds holds, what never does does not', () => {
  fc.assert(
    fc.property(condition, many, (text, all) => {
      const verdict = judge([formula(parsed(text))])
      for (const context of verdict === undefined ? [] : all)
        assert.equal(holds(text, context), verdict === 'always', text)
    }),
    { numRuns: 300 },
  )
})

test('what follows from something holds where that does', () => {
  fc.assert(
    fc.property(condition, condition, many, (a, b, all) => {
      if (!implies([formula(parsed(a))], formula(parsed(b)))) return
      for (const context of all) if (holds(a, context)) assert.ok(holds(b, context), `${a} ⇒ ${b}`)
    }),
    { numRuns: 300 },
  )
})

test('much that is known is found out', () => {
  const always = ['1 < 2', 'context.n <= context.n', 'context.n < 3 || context.n > 1', '"a" == "a"', '!false']
  const never = [
    'context.n < 1 && context.n > 1',
    'context.s == "a" && context.s == "b"',
    'context.b && !context.b',
  ]
  for (const text of always) assert.equal(judge([formula(parsed(text))]), 'always', text)
  for (const text of never) assert.equal(judge([formula(parsed(text))]), 'never', text)
  const follows: [string, string][] = [
    ['context.n > 3', 'context.n >= 2'],
    ['context.n == 3', '4 > context.n'],
    ['context.s == "a"', '["b", "a"].contains(context.s)'],
    ['principal is A in B::"c"', 'principal in B::"c"'],
    ['principal in B::"c"', 'principal in [A::"b", B::"c"]'],
  ]
  for (const [a, b] of follows) {
    assert.ok(implies([formula(parsed(a))], formula(parsed(b))), `${a} ⇒ ${b}`)
    assert.ok(!implies([formula(parsed(b))], formula(parsed(a))), `not ${b} ⇒ ${a}`)
  }
})

test('too many cases are not tried', () => {
  const text = Array.from({ length: 40 }, (_, at) => `context.v${at} == 1`).join(' || ')
  assert.equal(judge([formula(parsed(`${text} || true`))]), undefined)
})

test('layout makes no difference', () => {
  assert.equal(keyOf(parsed('context.a   &&\n(context.b)')), keyOf(parsed('context.b && context.a')))
  assert.notEqual(keyOf(parsed('context.a - context.b > 1')), keyOf(parsed('context.b - context.a > 1')))
})
