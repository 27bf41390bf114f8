/**
 * What goes into the evaluator, good and bad; that it decides as the reference does is for `test/fuzz` to find.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { isWritError } from '../../model/errors.ts'
import { compile, prepareEntities } from './index.ts'
import type { CompileInput, PolicyForm } from './index.ts'
import { effort } from '../../../test/support/effort.ts'

const request = {
  principal: { type: 'User', id: 'a' },
  action: { type: 'Action', id: 'view' },
  resource: { type: 'Doc', id: 'd' },
  context: {},
}
const permit = (body: string): string => `permit(principal, action, resource) when { ${body} };`
const all = 'permit(principal, action, resource);'

const decide = (
  policies: CompileInput['policies'],
  context: object = {},
  entities: readonly unknown[] = [],
) => compile({ policies }).decide({ ...request, context: context as Record<string, unknown> }, entities)

const holds = (body: string, context: object = {}, entities: readonly unknown[] = []): boolean => {
  const { decision, errors } = decide(permit(body), context, entities)
  assert.deepEqual(errors, [])
  return decision === 'allow'
}

const refusedPolicy = (input: CompileInput, message: RegExp): void =>
  assert.throws(
    () => compile(input),
    (error: unknown) => isWritError(error, 'ERR_POLICY_INVALID') && message.test(error.message),
  )

const refusedInput = (context: unknown, entities: readonly unknown[], message: RegExp): void =>
  assert.throws(
    () =>
      compile({ policies: all }).decide(
        { ...request, context: context as Record<string, unknown> },
        entities,
      ),
    (error: unknown) => isWritError(error, 'ERR_INPUT_INVALID') && message.test(error.message),
  )

const user = (id: string, more: object = {}) => ({
  uid: { type: 'User', id },
  attrs: {},
  parents: [],
  ...more,
})

describe('a compiled set', () => {
  test('names policies as the reference does', () => {
    const text = Array.from({ length: 12 }, () => all).join('\n')
    assert.deepEqual(
      decide(text).determining,
      Array.from({ length: 12 }, (_, index) => `policy${index}`),
    )
    assert.deepEqual(decide({ one: all, constructor: all }).determining, ['one', 'constructor'])
    assert.deepEqual(decide(Object.fromEntries([['__proto__', all]])).determining, ['__proto__'])
  })

  test('forbid wins over permit, and its id is the reason', () => {
    const { decision, determining } = decide({ yes: all, no: 'forbid(principal, action, resource);' })
    assert.deepEqual([decision, determining], ['deny', ['no']])
  })

  test('a policy that fails does not apply, and is told', () => {
    const { decision, errors } = decide({
      yes: all,
      no: 'forbid(principal, action, resource) when { context.x };',
    })
    assert.equal(decision, 'allow')
    assert.deepEqual(errors, [{ policy: 'no', message: 'the attribute `x` does not exist' }])
  })

  test('links of a template have ids of their own', () => {
    const set = compile({
      policies: {},
      templates: { t: 'permit(principal == ?principal, action, resource in ?resource) when { context.ok };' },
      links: ['a', 'b'].map((id) => ({
        templateId: 't',
        newId: `for ${id}`,
        values: { '?principal': { type: 'User', id }, '?resource': { type: 'Doc', id: 'd' } },
      })),
    })
    assert.equal(set.size, 2)
    assert.deepEqual(set.decide({ ...request, context: { ok: true } }, []).determining, ['for a'])
  })

  test('a template without links decides nothing', () => {
    const set = compile({
      policies: '',
      templates: { t: 'permit(principal == ?principal, action, resource);' },
    })
    assert.deepEqual(set.decide(request, []), { decision: 'deny', determining: [], errors: [] })
  })

  test('C2 a decision leaves nothing behind, and neither set nor store changes', () => {
    const set = compile({ policies: permit('context.n == 1 && principal.n == 1') })
    const attrs = { n: 1 }
    const store = prepareEntities([user('a', { attrs })])
    attrs.n = 2
    const ask = (n: number) => set.decide({ ...request, context: { n } }, store).decision
    assert.deepEqual([ask(1), ask(2), ask(1)], ['allow', 'deny', 'allow'])
  })

  test('B12 a reload reads what is new, and neither set knows of the other', () => {
    const text = (value: string) => permit(`context.tool == "${value}"`)
    const before = compile({ policies: { a: text('x'), b: text('y') } })
    const after = compile({ policies: { c: text('y'), d: text('z') } }, { previous: before })
    const ask = (set: typeof before, tool: string) =>
      set.decide({ ...request, context: { tool } }, []).determining
    assert.deepEqual(
      ['x', 'y', 'z'].map((tool) => ask(before, tool)),
      [['a'], ['b'], []],
    )
    assert.deepEqual(
      ['x', 'y', 'z'].map((tool) => ask(after, tool)),
      [[], ['c'], ['d']],
    )
    const whole = compile({ policies: `${text('z')}\n${text('y')}` }, { previous: after })
    assert.deepEqual(
      ['x', 'y', 'z'].map((tool) => ask(whole, tool)),
      [[], ['policy1'], ['policy0']],
    )
    assert.throws(() => compile({ policies: { a: text('x'), b: 'permit(' } }, { previous: before }))
    assert.throws(() => compile({ policies: `${text('x')} permit(` }, { previous: before }))
    const templates = { a: 'permit(principal == ?principal, action, resource);' }
    assert.throws(() => compile({ policies: { a: text('x') }, templates }, { previous: before }), /duplicate/)
  })

  test('every input of one kind gives one answer: text, JSON form, in a record or not', () => {
    const text = permit('context has a.b && context.a.b like "x*" && [1, 2].contains(context.n)')
    const form = cedar.policyToJson(text)
    assert.ok(form.type === 'success')
    const context = { a: { b: 'xy' }, n: 2 }
    assert.equal(decide(text, context).decision, 'allow')
    assert.equal(decide({ p: text }, context).decision, 'allow')
    assert.equal(decide({ p: form.json as unknown as PolicyForm }, context).decision, 'allow')
  })
})

describe('policies that are refused', () => {
  test('what the reference refuses', () => {
    refusedPolicy({ policies: 'permit(principal, action);' }, /missing the `resource`/)
    refusedPolicy({ policies: { p: `${all}${all}` } }, /not one policy/)
    refusedPolicy({ policies: permit('nothing("a")') }, /not a valid function|unknown|`nothing`/)
    refusedPolicy({ policies: permit('context.n == 9223372036854775808') }, /integer/)
    refusedPolicy({ policies: 'permit(principal == ?principal, action, resource);' }, /template/)
    refusedPolicy(
      { policies: { p: all }, templates: { p: 'permit(principal == ?principal, action, resource);' } },
      /duplicate/,
    )
    refusedPolicy({ policies: {}, links: [{ templateId: 't', newId: 'l', values: {} }] }, /template/)
  })

  test('partial evaluation', () => {
    refusedPolicy({ policies: permit('unknown("x") == 1') }, /`unknown`, which has no value/)
  })

  test('B76 B77 nesting, in text and in JSON, without a crash', () => {
    for (const deep of [400, 10_000]) {
      for (const body of [
        `${'('.repeat(deep)}true${')'.repeat(deep)}`,
        `${'['.repeat(deep)}${']'.repeat(deep)} == 1`,
        `${'{a: '.repeat(deep)}1${'}'.repeat(deep)} == 1`,
        `${'if true then true else '.repeat(deep)}true`,
        `${'!('.repeat(deep)}true${')'.repeat(deep)}`,
        `${'ip('.repeat(deep)}1${')'.repeat(deep)} == 1`,
        `${'[].contains('.repeat(deep)}1${')'.repeat(deep)}`,
      ]) {
        refusedPolicy({ policies: permit(body) }, /nested/)
      }
    }
    for (const body of [
      `context${'.a'.repeat(10_000)}`,
      Array<string>(10_000).fill('true').join('&&'),
      `${Array<string>(10_000).fill('1').join('+')} == 1`,
      `[]${'.contains(1)'.repeat(10_000)}`,
    ]) {
      refusedPolicy({ policies: permit(body) }, /nested/)
    }
    let body: unknown = { Value: true }
    for (let depth = 0; depth < 10_000; depth += 1) body = { '!': { arg: body } }
    const scope = { principal: { op: 'All' }, action: { op: 'All' }, resource: { op: 'All' } }
    refusedPolicy(
      { policies: { p: { effect: 'permit', ...scope, conditions: [{ kind: 'when', body }] } } },
      /nested/,
    )
    assert.equal(decide(all).decision, 'allow', 'the reference still works')
  })

  test('what is allowed to nest does', () => {
    const chain = Array<string>(900).fill('context.yes').join(' && ')
    assert.ok(holds(chain, { yes: true }))
    assert.ok(holds(`${'('.repeat(40)}true${')'.repeat(40)}`))
    assert.ok(holds(`${Array<string>(700).fill('1').join(' + ')} == 700`))
    assert.ok(holds(`[${Array.from({ length: 20_000 }, (_, index) => index).join(', ')}].contains(19999)`))
    assert.ok(holds(`${'if false then true else '.repeat(60)}true`))
  })

  test('text that is not well-formed', () => {
    refusedPolicy({ policies: permit('context.s == "\ud800"') }, /well-formed/)
  })

  test('B76 a megabyte of text is read or refused in bounded time', () => {
    const comment = `// ${'x'.repeat(1_000_000)}\n${all}`
    assert.equal(decide(comment).decision, 'allow')
    assert.ok(!holds(`context has a && context.a == "${'x'.repeat(1_000_000)}"`))
    assert.ok(!holds(`"b" like "${'a*'.repeat(500_000)}"`))
    refusedPolicy({ policies: ' '.repeat(17 * 1024 * 1024) }, /characters/)
    refusedPolicy({ policies: all.repeat(60_000) }, /there are more than 50000 policies/)
  })

  test('B76 what would take minutes and gigabytes is refused: in text and in JSON', () => {
    const took = effort()
    const values = Array.from({ length: 1_000_000 }, () => '1').join()
    refusedPolicy({ policies: permit(`[${values}].contains(1)`) }, /a policy is too large/)
    refusedPolicy({ policies: '('.repeat(16_000_000) }, /nested|too large/)
    refusedPolicy({ policies: ';'.repeat(16_000_000) }, /there are more than 50000 policies/)
    const scope = { principal: { op: 'All' }, action: { op: 'All' }, resource: { op: 'All' } }
    for (const body of [
      { Set: Array.from({ length: 1_000_000 }, () => ({ Value: 1 })) },
      { Value: Array.from({ length: 1_000_000 }, () => 1) },
      { like: { left: { Value: 'a' }, pattern: Array.from({ length: 1_000_000 }, () => 'Wildcard') } },
    ]) {
      const conditions = [{ kind: 'when', body }]
      refusedPolicy({ policies: { p: { effect: 'permit', ...scope, conditions } } }, /`p` is too large/)
    }
    assert.ok(took() < 20_000)
    assert.ok(holds(`[${Array.from({ length: 100_000 }, (_, n) => n).join()}].contains(99999)`))
  })
})

describe('the index', () => {
  test('B13 over sets so large that questions are judged by a sample, it finds what a look at all finds', () => {
    const heads = [
      'principal',
      'principal == User::"u3"',
      'principal in Team::"t2"',
      'principal is User in Team::"t5"',
    ]
    const actions = ['action', 'action == Action::"read"', 'action in [Action::"read", Action::"all"]']
    const tests = ['context.n == 7', 'context has s && context.s == "b"', 'principal.n == 2', 'context.n < 3', '["a", "c"].contains(context.s)'] // prettier-ignore
    const pick = <T>(from: readonly T[], at: number): T => from[at % from.length] as T
    const numbers = fc.array(fc.nat(1 << 20), { minLength: 40, maxLength: 60 })
    fc.assert(
      fc.property(numbers, (seeds) => {
        const policies = Array.from({ length: 1_500 }, (_, index) => {
          const seed = pick(seeds, index) ^ Math.imul(index, 2_654_435)
          const body = pick(tests, seed >>> 4).replace(/[0-9]+/, (digit) => `${(Number(digit) + index) % 12}`)
          const head = `${pick(heads, seed >>> 7).replace(/[0-9]/, String(index % 9))}, ${pick(actions, seed >>> 10)}, resource`
          return `${seed % 5 === 0 ? 'forbid' : 'permit'}(${head}) ${seed % 3 === 0 ? 'unless' : 'when'} { ${body} };`
        }).join('\n')
        const indexed = compile({ policies })
        const flat = compile({ policies }, { index: false, previous: indexed })
        const team = (n: number) => ({ type: 'Team', id: `t${n}` })
        const entities = prepareEntities([
          ...seeds.slice(0, 8).map((seed, n) => ({
            uid: { type: 'User', id: `u${n}` },
            attrs: seed % 4 === 0 ? {} : { n: seed % 5 },
            parents: [team(seed % 9)],
          })),
          ...Array.from({ length: 8 }, (_, n) => ({ uid: team(n), attrs: {}, parents: [team(n + 1)] })),
        ])
        for (const [n, seed] of seeds.entries()) {
          const asked = {
            principal: { type: 'User', id: `u${n % 9}` },
            action: { type: 'Action', id: pick(['read', 'all', 'other'], seed) },
            resource: { type: 'Doc', id: 'd' },
            context: {
              ...(seed % 4 === 0 ? {} : { n: seed % 13 }),
              ...(seed % 3 === 0 ? {} : { s: pick(['a', 'b', 1], seed) }),
            },
          }
          assert.deepEqual(indexed.decide(asked, entities), flat.decide(asked, entities))
        }
      }),
      { numRuns: 5 },
    )
  })
})

describe('integers beyond 2^53', () => {
  test('are exact in text', () => {
    assert.ok(!holds('9007199254740993 == 9007199254740992'))
    assert.ok(holds('context.n == 9007199254740993', { n: 9007199254740993n }))
    assert.ok(!holds('context.n == 9007199254740992', { n: 9007199254740993n }))
    assert.ok(holds('context.n == -9223372036854775808', { n: -9223372036854775808n }))
  })

  test('overflow fails the policy', () => {
    for (const body of [
      '9223372036854775807 + 1 == 1',
      '-9223372036854775807 - 2 == 1',
      '3037000500 * 3037000500 == 1',
      '-context.n == 1',
    ]) {
      const { decision, errors } = decide(permit(body), { n: -9223372036854775808n })
      assert.equal(decision, 'deny')
      assert.match(errors[0]?.message ?? '', /overflow/)
    }
  })

  test('are refused as numbers, which are no longer what was written', () => {
    refusedInput({ n: 9007199254740992 }, [], /not exact/)
    refusedInput({ n: 2 ** 63 }, [], /not exact/)
    refusedInput({ n: 9223372036854775808n }, [], /64 bits/)
    const scope = { principal: { op: 'All' }, action: { op: 'All' }, resource: { op: 'All' } }
    const form = (value: unknown) => ({
      effect: 'permit',
      ...scope,
      conditions: [
        {
          kind: 'when',
          body: { '==': { left: { Value: value }, right: { '.': { left: { Var: 'context' }, attr: 'n' } } } },
        },
      ],
    })
    refusedPolicy({ policies: { p: form(9007199254740992) } }, /not exact/)
    assert.equal(decide({ p: form(9007199254740993n) }, { n: 9007199254740993n }).decision, 'allow')
    assert.equal(decide({ p: form(9007199254740993n) }, { n: 9007199254740992n }).decision, 'deny')
  })
})

describe('requests and entities', () => {
  test('B79 attributes named like members of objects are attributes', () => {
    const odd = JSON.parse('{"__proto__": 1, "constructor": 2, "toString": 3, "hasOwnProperty": 4}') as object
    assert.ok(holds('context.__proto__ == 1 && context.constructor == 2 && context.toString == 3', odd))
    assert.ok(!holds('context has __proto__ || context has constructor || context has toString'))
    assert.ok(
      holds('principal.__proto__ == 1 && principal["hasOwnProperty"] == 4', {}, [user('a', { attrs: odd })]),
    )
    assert.ok(holds('{"__proto__": 1} == context.r', { r: JSON.parse('{"__proto__": 1}') as object }))
    assert.equal(({} as Record<string, unknown>)['1'], undefined)
  })

  test('null, fractions and what is no JSON are refused', () => {
    for (const value of [null, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 1e300])
      refusedInput({ a: [{ b: value }] }, [], /null|holds/)
    for (const value of [new Date(0), new Map(), () => 1, Symbol('s')])
      refusedInput({ a: value }, [], /object/)
    refusedInput([], [], /object/)
    refusedInput(undefined, [], /object/)
    refusedInput({ s: '\ud800' }, [], /well-formed/)
    assert.ok(holds('!(context has a)', { a: undefined }))
    assert.ok(holds('context.n == 0', { n: -0 }))
  })

  test('escapes are read where they have their shape', () => {
    assert.ok(holds('context.u == User::"x"', { u: { __entity: { type: 'User', id: 'x' } } }))
    assert.ok(holds('context.u.__entity == "x"', { u: { __entity: 'x' } }))
    assert.ok(holds('context.i == ip("1.1.1.1")', { i: { __extn: { fn: 'ip', arg: '1.1.1.1' } } }))
    refusedInput({ i: { __extn: { fn: 'ip', arg: '1.1.1.256' } } }, [], /ipaddr/)
    refusedInput({ i: { __extn: { fn: 'nothing', arg: 'a' } } }, [], /does not exist/)
    refusedInput({ i: { __expr: '1' } }, [], /__expr/)
    refusedInput({ u: { __entity: { type: 'a b', id: 'x' } } }, [], /not an entity type/)
    refusedInput({ __entity: { type: 'User', id: 'x' } }, [], /record/)
  })

  test('B76 depth and size are bounded', () => {
    let deep: unknown = 1
    for (let depth = 0; depth < 10_000; depth += 1) deep = [deep]
    refusedInput({ deep }, [], /nested too deeply/)
    const many = Array.from({ length: 50_000 }, (_, index) => ({ n: index }))
    assert.ok(
      holds('context.a == context.b && context.a.containsAll(context.b)', { a: many, b: many.toReversed() }),
    )
  })

  test('a hierarchy is closed, cycles are refused', () => {
    const line = Array.from({ length: 500 }, (_, index) =>
      user(`u${index}`, { parents: [{ type: 'User', id: `u${index + 1}` }] }),
    )
    const below = user('a', { parents: [{ type: 'User', id: 'u0' }] })
    assert.ok(holds('principal in User::"u500"', {}, [...line, below]))
    assert.ok(!holds('principal in User::"u501"', {}, [below, ...line]))
    refusedInput({}, [...line, user('u500', { parents: [{ type: 'User', id: 'u3' }] })], /cycle/)
    refusedInput({}, [user('a', { parents: [{ type: 'User', id: 'a' }] })], /cycle/)
    const long = Array.from({ length: 20_000 }, (_, index) =>
      user(`u${index}`, { parents: [{ type: 'User', id: `u${index + 1}` }] }),
    )
    refusedInput({}, long, /too large/)
  })

  test('entities of one name must be the same', () => {
    assert.ok(holds('true', {}, [user('a'), user('a')]))
    refusedInput({}, [user('a'), user('a', { attrs: { n: 1 } })], /given twice/)
    refusedInput({}, [{ uid: { type: 'User', id: 'a' }, attrs: {} }], /lacks its `parents`/)
    refusedInput({}, [{ uid: 'User::"a"', attrs: {}, parents: [] }], /object/)
    refusedInput(
      {},
      [{ uid: { type: 'Action', id: 'a' }, attrs: {}, parents: [{ type: 'User', id: 'a' }] }],
      /no action/,
    )
  })

  test('what is in no list has neither attributes nor ancestors', () => {
    assert.ok(
      holds(
        '!(principal has n) && !(principal in User::"b") && principal in User::"a" && !principal.hasTag("t")',
      ),
    )
    assert.match(decide(permit('principal.n == 1')).errors[0]?.message ?? '', /does not exist/)
  })
})

describe('a schema', () => {
  const schema = `
    type Net = ipaddr;
    entity Team; entity User in [Team] { at?: Net, boss?: User } tags Long; entity Doc;
    action read; action view in [read] appliesTo { principal: [User], resource: [Doc], context: { from?: Net } };`
  const body =
    'action in Action::"read" && context.from.isInRange(principal.at) && principal.boss == User::"b"'
  const set = compile({ policies: permit(body), schema })
  const attrs = { at: '10.0.0.0/8', boss: { type: 'User', id: 'b' } }
  const context = { from: { fn: 'ip', arg: '10.1.1.1' } }

  test('reads values by their types, and knows the hierarchy of actions', () => {
    const entities = set.prepareEntities([user('a', { attrs })])
    assert.equal(set.decide({ ...request, context }, entities).decision, 'allow')
    assert.equal(set.decide({ ...request, context }, [user('a', { attrs })]).decision, 'allow')
  })

  test('refuses what does not conform', () => {
    const refused = (change: object, entities: readonly unknown[], message: RegExp): void =>
      assert.throws(
        () => set.decide({ ...request, context: {}, ...change }, entities),
        (error: unknown) => isWritError(error, 'ERR_INPUT_INVALID') && message.test(error.message),
      )
    refused({ action: { type: 'Action', id: 'none' } }, [], /not declared/)
    refused({ principal: { type: 'Team', id: 'a' } }, [], /cannot be the principal/)
    refused({ context: { from: 1 } }, [], /object/)
    refused({ context: { other: 1 } }, [], /not declared/)
    refused({}, [user('a', { attrs: { at: 'here' } })], /is none/)
    refused({}, [user('a', { parents: [{ type: 'Doc', id: 'd' }] })], /cannot be in/)
    refused({}, [user('a', { tags: { t: 'a' } })], /expected a long/)
    assert.throws(() => set.decide({ ...request, context: {} }, prepareEntities([])), /another schema/)
  })

  test('that is none is refused', () => {
    refusedPolicy({ policies: all, schema: 'entity User in [Nothing];' }, /Nothing/)
  })
})
