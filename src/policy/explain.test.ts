/**
 * Explanations: every "no" can be understood, clause by clause, with what was read and what was asked.
 *
 * @module
 */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Json } from '../model/canonical.ts'
import type { Env } from './engine/closures.ts'
import { readContext, readUid } from './engine/json.ts'
import { cut, parsePolicy } from './engine/parse.ts'
import { evaluate, toBody, toRule } from './engine/rule.ts'
import { prepareEntities } from './engine/store.ts'
import type { Long, Result } from './engine/values.ts'
import { DATETIME, Extension, toLong } from './engine/values.ts'
import { natural } from './clauses.ts'
import type { Explained } from './explain.ts'
import { explainRules } from './explain.ts'
import { loadPolicySet } from './load.ts'
import { renderProblem, SourceFile } from './problems.ts'
import type { Unknown } from './reads.ts'
import type {
  ClauseResult,
  Effect,
  EntityData,
  Evaluation,
  Explanation,
  PolicyInfo,
  PolicySet,
  Query,
  RuleResult,
} from './types.ts'

const uid = (type: string, id: string) => ({ type, id })
const extension = (fn: string, arg: string) => ({ __extn: { fn, arg } })
const reference = (type: string, id: string) => ({ __entity: { type, id } })
const inventory = [
  {
    uid: uid('Agent', 'bot'),
    attrs: { level: 1, owner: reference('Person', 'ada'), 'a b': true },
    parents: [uid('Group', 'bots')],
  },
  { uid: uid('Person', 'ada'), attrs: { level: 3, nick: 'a' }, parents: [] },
  { uid: uid('Group', 'bots'), attrs: {}, parents: [uid('Group', 'all')] },
  {
    uid: uid('Database', 'orders'),
    attrs: { region: 'eu', owner: reference('Person', 'ada') },
    parents: [],
  },
]
const context = {
  amount: 180,
  flag: false,
  tags: ['a', 'b'],
  at: extension('datetime', '2026-11-22T10:00:00Z'),
  wait: extension('duration', '90m'),
  rate: extension('decimal', '1.50'),
  source: extension('ip', '10.1.2.3'),
  big: 9_007_199_254_740_993n,
  live: { task: { id: 't1', ticket: 'OPS-7' } },
  proof: { approvals: { dba: 0 }, justification: false, reauth: false },
}

function envOf(sent: object = context, entities: readonly unknown[] = inventory): Env {
  const store = prepareEntities(entities)
  const at = (type: string, id: string) => ({ ref: readUid(uid(type, id)), node: store.find(type, id) })
  const [principal, action, resource] = [
    at('Agent', 'bot'),
    at('Action', 'go'),
    at('Database', 'orders'),
  ] as const
  return {
    principal: principal.ref,
    action: action.ref,
    resource: resource.ref,
    principalNode: principal.node,
    actionNode: action.node,
    resourceNode: resource.node,
    context: readContext(sent),
    store,
  }
}

/** The policies of a text, named `p0`, `p1`… */
function policiesOf(text: string): Explained[] {
  const file = new SourceFile('a.cedar', text)
  return cut(text).map((part, index) => {
    const tree = parsePolicy(part)
    const { line } = file.place(part.start)
    // the rest of what is known of a policy does not matter here
    const info = { id: `p${index}`, file: 'a.cedar', line, effect: tree.effect } as PolicyInfo
    return { info, tree, file, slice: { start: part.start, end: part.end }, base: 0 }
  })
}

const resultOf = ({ tree }: Explained, env: Env): Result => evaluate(toRule('', 0, tree, toBody(tree)), env)
const headMatches = ({ tree }: Explained, env: Env): boolean =>
  evaluate(toRule('', 0, { ...tree, conditions: [] }, toBody({ ...tree, conditions: [] })), env) === true

const isPermit = ({ info }: Explained): boolean => info.effect === 'permit'

type Told = Readonly<{ evaluation: Evaluation; explanation: Omit<Explanation, 'mismatch'> }>

/** Law 6 over single results, and the explanation of that. */
function tell(
  policies: readonly Explained[],
  env: Env,
  unknowns: readonly Unknown[] = [],
  unknownTo: (policy: Explained) => readonly Unknown[] = () => unknowns,
): Told {
  const inScope = policies.filter((policy) => headMatches(policy, env))
  const results = inScope.map((policy) => ({
    id: policy.info.id,
    effect: policy.info.effect,
    result: unknownTo(policy).length > 0 ? undefined : resultOf(policy, env),
  }))
  const held = (effect: Effect) =>
    results.filter((one) => one.effect === effect && one.result === true).map(({ id }) => id)
  const errors = results.flatMap(({ id, effect, result }) =>
    typeof result === 'boolean'
      ? []
      : [
          {
            policy: id,
            effect,
            cause: result === undefined ? ('unknown' as const) : ('error' as const),
            message: '',
          },
        ],
  )
  const stopped = held('forbid').length > 0 || errors.some(({ effect }) => effect === 'forbid')
  const isPermitted = !stopped && held('permit').length > 0
  const evaluation = {
    decision: isPermitted ? 'permit' : 'deny',
    determining: isPermitted ? held('permit') : held('forbid'),
    errors,
  } as const
  const deciding = new Set([
    ...evaluation.determining,
    ...errors.filter(({ effect }) => effect === 'forbid').map(({ policy }) => policy),
  ])
  const outcome = {
    decision: evaluation.decision,
    decided: inScope.filter(({ info }) => deciding.has(info.id)),
    inScope: inScope.length,
    permits: inScope.filter(isPermit),
    onAction: () => policies.filter(isPermit),
  }
  const explanation = explainRules(outcome, { env, unknowns, unknownTo })
  return { evaluation: evaluation as unknown as Evaluation, explanation }
}

const permit = (...conditions: string[]): string =>
  `permit(principal, action, resource) ${conditions.join(' ')};\n`
const when = (condition: string): string => permit(`when { ${condition} }`)
const unless = (condition: string): string => permit(`unless { ${condition} }`)

/** The clauses of the one policy, which is no use to anybody. */
function clausesOf(text: string, sent?: object): readonly ClauseResult[] {
  const never = text.replace(/;\s*$/, ' when { false };')
  const [nearest] = tell(policiesOf(never), envOf(sent)).explanation.nearest
  return (nearest as RuleResult).clauses.slice(0, -1)
}
const only = (text: string): ClauseResult => {
  const [clause, ...more] = clausesOf(text)
  assert.equal(more.length, 0)
  return clause as ClauseResult
}
const brief = (clauses: readonly ClauseResult[]) =>
  clauses.map(({ kind, text, status }) => `${kind} ${text}: ${status}`)

/** What the clauses say together: the first that does not hold decides, as in an evaluation. */
const together = (clauses: readonly ClauseResult[]): ClauseResult['status'] =>
  clauses.find(({ status }) => status !== 'holds')?.status ?? 'holds'

describe('clauses', () => {
  test('`when` is cut at `&&` and `unless` at `||`, whatever the brackets, and at nothing else', () => {
    const text = permit(
      'when { context.amount < 500 && (context.flag || (context.amount > 1 && principal has level)) && (principal has level && !context.flag) }',
      'unless { context.flag || (context.amount > 200 || context.amount == 180 && principal.level == 1) }',
      'when { if context.flag then false else true }',
    )
    assert.deepEqual(brief(clausesOf(text)), [
      'when context.amount < 500: holds',
      'when context.flag || (context.amount > 1 && principal has level): holds',
      'when principal has level: holds',
      'when !context.flag: holds',
      'unless context.flag: holds',
      'unless context.amount > 200: holds',
      'unless context.amount == 180 && principal.level == 1: fails',
      'when if context.flag then false else true: holds',
    ])
  })

  test('a disjunction shows its parts, and so does what must not hold together', () => {
    const [one, two] = clausesOf(
      permit(
        'when { context.amount <= 100 || context.flag }',
        'unless { context.flag && context.amount > 100 }',
      ),
    )
    assert.deepEqual(brief(one?.any ?? []), ['when context.amount <= 100: fails', 'when context.flag: fails'])
    assert.deepEqual(brief(two?.any ?? []), [
      'unless context.flag: holds',
      'unless context.amount > 100: fails',
    ])
    assert.deepEqual([one?.status, two?.status], ['fails', 'holds'])
    assert.deepEqual(one?.any?.[0]?.required, { path: 'context.amount', operator: '<=', value: 100 })
  })

  test('places are those of the file, in characters, over lines', () => {
    const text =
      `// 😀\npermit(principal, action, resource)\nwhen { /* */ context.amount\n  < 5 && "😀" == "" && context.flag };`.replace(
        '/* */ ',
        '',
      )
    const [first, second, third] =
      tell(policiesOf(`${permit('when { false && false && false && false }')}${text}`), envOf()).explanation
        .nearest[0]?.clauses ?? []
    assert.equal(first?.text, 'context.amount\n  < 5')
    assert.deepEqual([first?.line, first?.column, first?.endLine, first?.endColumn], [4, 8, 5, 6])
    assert.deepEqual([second?.line, second?.column, second?.endColumn], [5, 10, 19])
    assert.deepEqual([third?.text, third?.column], ['context.flag', 23])
  })

  test('a tree that was parsed where its text no longer stands', () => {
    const [policy] = policiesOf(when('context.amount < 5 || context.flag'))
    const { tree, info, slice } = policy as Explained
    const text = `\n\n  ${when('context.amount < 5 || context.flag')}`
    const moved = { tree, info, file: new SourceFile('b', text), base: 4 }
    const end = { ...moved, slice: { start: 4, end: slice.end + 4 } }
    const [clause] = tell([end], envOf()).explanation.nearest[0]?.clauses ?? []
    assert.deepEqual(
      [clause?.text, clause?.line, clause?.column],
      ['context.amount < 5 || context.flag', 3, 46],
    )
    assert.deepEqual([clause?.any?.[1]?.text, clause?.any?.[1]?.column], ['context.flag', 68])
  })

  test('what another clause guards is not an error when the guard says no', () => {
    const text = permit(
      'when { context has ticket && context.ticket == "A" && context.ticket.size > 1 }',
      'when { principal is Person && principal.nick == "a" }',
      'unless { context has ticket && context.ticket == "B" }',
      'unless { context.ticket == "C" }',
      'when { !(context has ticket) || context.ticket == "D" }',
    )
    const clauses = clausesOf(text)
    assert.deepEqual(brief(clauses), [
      'when context has ticket: fails',
      'when context.ticket == "A": fails',
      'when context.ticket.size > 1: fails',
      'when principal is Person: fails',
      'when principal.nick == "a": fails',
      'unless context has ticket && context.ticket == "B": holds',
      'unless context.ticket == "C": holds',
      'when !(context has ticket) || context.ticket == "D": holds',
    ])
    assert.deepEqual(clauses[1]?.actual, [{ path: 'context.ticket' }])
    assert.equal(clauses[1]?.message, undefined)
    assert.deepEqual(brief(clauses[5]?.any ?? []), [
      'unless context has ticket: holds',
      'unless context.ticket == "B": holds',
    ])
    assert.deepEqual(brief(clauses[7]?.any ?? []), [
      'when !(context has ticket): holds',
      'when context.ticket == "D": fails',
    ])
  })

  test('an error that nothing guards is one, and says what it is', () => {
    const [clause] = clausesOf(when('context.ticket == "A" && context has ticket'))
    assert.equal(clause?.status, 'errors')
    assert.match(clause?.message ?? '', /`ticket` does not exist/)
    assert.match(only(when('context.amount')).message ?? '', /expected bool/)
    const guarded = clausesOf(when('context has amount && context.amount + "x" == 1'))
    assert.equal(guarded[1]?.status, 'errors')
  })

  test('long policies are bounded, and nothing of them is left out', () => {
    const many = (join: string, more: string) => [...Array<string>(300).fill('true'), more].join(join)
    const clauses = clausesOf(when(many(' && ', 'context.flag')))
    assert.equal(clauses.length, 63)
    const [whole] = tell(policiesOf(when(many(' && ', 'context.flag'))), envOf()).explanation.nearest
    assert.equal(whole?.clauses.length, 64)
    assert.equal(whole?.clauses.at(-1)?.status, 'fails')
    assert.match(whole?.clauses.at(-1)?.text ?? '', /^true && .*context\.flag$/)
    const any = only(when(many(' || ', 'context.flag').replaceAll('true', 'false'))).any
    assert.deepEqual([any?.length, any?.at(-1)?.status], [16, 'fails'])
    const conditions = [...Array<string>(99).fill('when { true }'), 'unless { !context.flag }']
    const [rest] = tell(policiesOf(permit(...conditions)), envOf()).explanation.nearest
    assert.deepEqual([rest?.clauses.length, rest?.clauses.at(-1)?.status], [64, 'fails'])
  })
})

describe('actual values', () => {
  const actual = (condition: string) => only(when(condition)).actual

  test('are natural: entities by name, extension values as text, integers exact', () => {
    const values: [string, Json][] = [
      ['context.amount', 180],
      ['context.big', '9007199254740993'],
      ['context.at', '2026-11-22T10:00:00.000Z'],
      ['context.wait', '1h30m'],
      ['context.rate', '1.5'],
      ['context.source', '10.1.2.3'],
      ['context.tags', ['a', 'b']],
      ['context.live.task', { id: 't1', ticket: 'OPS-7' }],
      ['resource.owner', 'Person::"ada"'],
      ['resource.owner.nick', 'a'],
      ['principal', 'Agent::"bot"'],
      ['Person::"ada".level', 3],
      ['principal["a b"]', true],
    ]
    for (const [path, value] of values) assert.deepEqual(actual(`[${path}].isEmpty()`), [{ path, value }])
  })

  test('of every kind of extension value, as Cedar would read it', () => {
    const texts: [string, string, string][] = [
      ['decimal', '-0.0001', '-0.0001'],
      ['decimal', '12.0', '12.0'],
      ['duration', '-1d2h3m4s5ms', '-1d2h3m4s5ms'],
      ['duration', '0s', '0ms'],
      ['datetime', '0000-01-01', '0000-01-01T00:00:00.000Z'],
      ['ip', '10.0.0.0/8', '10.0.0.0/8'],
      ['ip', '2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
      ['ip', '::', '::'],
      ['ip', '::1', '::1'],
      ['ip', 'fe80:0:0:0:0:0:0:0/10', 'fe80::/10'],
      ['ip', '1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ]
    for (const [fn, arg, text] of texts) {
      const clause = clausesOf(when('context.x == context.y'), { x: extension(fn, arg), y: 1 })[0]
      assert.deepEqual(clause?.actual[0], { path: 'context.x', value: text })
    }
  })

  test('every instant by its calendar, and what no calendar reaches by its distance', () => {
    const at = (millis: bigint) => natural(new Extension(DATETIME, toLong(millis) as Long))
    fc.assert(
      fc.property(fc.bigInt(-8_639_900_000_000_000n, 8_639_900_000_000_000n), (millis) =>
        assert.equal(at(millis), new Date(Number(millis)).toISOString()),
      ),
      { examples: [[0n], [-1n], [86_399_999n], [-62_198_755_200_001n], [253_402_300_800_000n]] },
    )
    assert.equal(at(-(2n ** 63n)), '1970-01-01 + -9223372036854775808ms')
  })

  test('law 12 what a caller sent is told once, however many clauses read it', () => {
    const tags = Array.from({ length: 1_000 }, (_, n) => `t${n}`)
    const clauses = clausesOf(
      when('context.tags.contains("x") && !context.tags.isEmpty() && context.all.a == 1'),
      {
        tags,
        all: { a: 2, tags },
      },
    )
    const [first, second] = clauses.map(({ actual: [told] }) => told?.value)
    assert.deepEqual(first, tags)
    assert.equal(first, second)
  })

  test('tell absent from false, each path once, at most eight', () => {
    assert.deepEqual(actual('context has nothing.inside || context.amount == context.amount'), [
      { path: 'context.nothing.inside' },
      { path: 'context.amount', value: 180 },
    ])
    assert.deepEqual(actual('[context.flag, context.other].contains(true)'), [
      { path: 'context.flag', value: false },
      { path: 'context.other' },
    ])
    const many = Array.from({ length: 20 }, (_, index) => `context.a${index}`)
    assert.equal(actual(`[${many.join()}].isEmpty()`).length, 8)
  })

  test('names that every object has are ordinary names', () => {
    const [clause] = clausesOf(when('context.__proto__ == context.constructor'), {
      ['__proto__']: 1,
      constructor: { ['__proto__']: 2 },
    })
    assert.equal(JSON.stringify(clause?.actual[1]?.value), '{"__proto__":2}')
    assert.equal(clause?.actual.length, 2)
  })
})

describe('required values', () => {
  const of = (path: string, operator: string, value?: Json) =>
    value === undefined ? { path, operator } : { path, operator, value }

  test('of every simple comparison, also turned around', () => {
    const cases: [string, object | undefined, object | undefined][] = [
      ['context.amount <= 100', of('context.amount', '<=', 100), of('context.amount', '>', 100)],
      ['100 >= context.amount', of('context.amount', '<=', 100), of('context.amount', '>', 100)],
      ['context.amount < -5', of('context.amount', '<', -5), of('context.amount', '>=', -5)],
      ['"x" == context.name', of('context.name', '==', 'x'), of('context.name', '!=', 'x')],
      ['!(context.amount == 5)', of('context.amount', '!=', 5), of('context.amount', '==', 5)],
      ['!!(context.amount != 5)', of('context.amount', '!=', 5), of('context.amount', '==', 5)],
      ['["a", "b"].contains(context.name)', of('context.name', 'one of', ['a', 'b']), undefined],
      ['context.tags.contains("x")', of('context.tags', 'contains', 'x'), undefined],
      ['context.tags.containsAny(["x"])', of('context.tags', 'contains', 'x'), undefined],
      ['context.tags.containsAny(["x", "y"])', undefined, undefined],
      ['context.tags.isEmpty()', of('context.tags', '==', []), of('context.tags', '!=', [])],
      ['context has ticket', of('context.ticket', 'has'), of('context.ticket', 'lacks')],
      ['!(context has a.b)', of('context.a.b', 'lacks'), of('context.a.b', 'has')],
      ['context.name like "a*\\*"', of('context.name', 'like', 'a*\\*'), undefined],
      ['principal is Person', of('principal', 'is', 'Person'), undefined],
      ['principal in Group::"x"', of('principal', 'in', 'Group::"x"'), undefined],
      [
        'principal in [Group::"x", Group::"y"]',
        of('principal', 'in', ['Group::"x"', 'Group::"y"']),
        undefined,
      ],
      ['principal is Person in Group::"x"', of('principal', 'is', 'Person'), undefined],
      ['principal is Agent in Group::"x"', of('principal', 'in', 'Group::"x"'), undefined],
      [
        'resource.owner == Person::"bob"',
        of('resource.owner', '==', 'Person::"bob"'),
        of('resource.owner', '!=', 'Person::"bob"'),
      ],
      ['context.flag', of('context.flag', '==', true), of('context.flag', '==', false)],
      ['!context.flag', of('context.flag', '==', false), of('context.flag', '==', true)],
      [
        'context.at < datetime("2026-01-01")',
        of('context.at', '<', '2026-01-01T00:00:00.000Z'),
        of('context.at', '>=', '2026-01-01T00:00:00.000Z'),
      ],
      [
        'context.at < datetime("2026-01-01").offset(duration("1h"))',
        of('context.at', '<', '2026-01-01T01:00:00.000Z'),
        of('context.at', '>=', '2026-01-01T01:00:00.000Z'),
      ],
      ['context.wait > duration("2h")', of('context.wait', '>', '2h'), of('context.wait', '<=', '2h')],
      [
        'context.rate.lessThan(decimal("1.25"))',
        of('context.rate', '<', '1.25'),
        of('context.rate', '>=', '1.25'),
      ],
      [
        'decimal("1.25").lessThan(context.rate)',
        of('context.rate', '>', '1.25'),
        of('context.rate', '<=', '1.25'),
      ],
      ['context.source.isInRange(ip("10.0.0.0/8"))', of('context.source', 'in', '10.0.0.0/8'), undefined],
      [
        'context.proof.approvals.dba >= 1',
        of('context.proof.approvals.dba', '>=', 1),
        of('context.proof.approvals.dba', '<', 1),
      ],
      ['context.amount + 1 < 5', undefined, undefined],
      ['1 == 2', undefined, undefined],
      ['context.at < datetime("never")', undefined, undefined],
      ['Person::"ada" == Person::"bob"', undefined, undefined],
    ]
    for (const [condition, forWhen, forUnless] of cases) {
      assert.deepEqual(only(when(condition)).required, forWhen, condition)
      assert.deepEqual(only(unless(condition)).required, forUnless, `unless ${condition}`)
    }
  })

  test('what is compared with another value is asked for that value as it is', () => {
    assert.deepEqual(
      only(when('context.name == context.live.task.ticket')).required,
      of('context.name', '==', 'OPS-7'),
    )
    assert.deepEqual(
      only(when('principal == resource.owner')).required,
      of('principal', '==', 'Person::"ada"'),
    )
    assert.deepEqual(
      only(when('context.amount * 2 <= context.amount')).required,
      of('context.amount', '>=', 360),
    )
    assert.equal(only(when('context.name == context.missing')).required, undefined)
  })
})

describe('which policies are told', () => {
  test('the nearest permits: the fewest clauses in the way, earlier ones before others, three', () => {
    const failing = (count: number) => when(Array<string>(count).fill('context.flag').join(' && '))
    const { nearest } = tell(policiesOf([5, 3, 2, 3, 1, 2, 3].map(failing).join('')), envOf()).explanation
    assert.deepEqual(
      nearest.map(({ policy }) => policy),
      ['p4', 'p2', 'p5'],
    )
  })

  test('a permit is explained by what gave it', () => {
    const { determining, fired, nearest, inScope } = tell(
      policiesOf(`${permit()}${when('context.flag')}`),
      envOf(),
    ).explanation
    assert.deepEqual(determining, [{ policy: 'p0', file: 'a.cedar', line: 1, effect: 'permit' }])
    assert.deepEqual([fired, nearest, inScope], [[], [], 2])
  })

  test('a forbid that fired shows what made it fire, and nothing is near where it alone is in the way', () => {
    const forbid = 'forbid(principal, action, resource) when { context.amount > 100 && principal has level };'
    const { determining, fired, nearest } = tell(
      policiesOf(`${permit()}${when('context.flag')}${forbid}`),
      envOf(),
    ).explanation
    assert.deepEqual(
      determining.map(({ policy }) => policy),
      ['p2'],
    )
    assert.deepEqual(brief(fired[0]?.clauses ?? []), [
      'when context.amount > 100: holds',
      'when principal has level: holds',
    ])
    assert.deepEqual(fired[0]?.clauses[0]?.actual, [{ path: 'context.amount', value: 180 }])
    assert.deepEqual(nearest, [])
  })

  test('B10 a forbid that fails, or reads the unknown, is told with the clause that does', () => {
    const forbid = 'forbid(principal, action, resource) when { context.amount > 1 && context.missing > 1 };'
    const { fired } = tell(policiesOf(`${permit()}${forbid}`), envOf()).explanation
    assert.deepEqual(
      fired[0]?.clauses.map(({ status, message }) => [status, message]),
      [
        ['holds', undefined],
        ['errors', 'the attribute `missing` does not exist'],
      ],
    )
    const unknown: Unknown = { kind: 'context', path: ['missing'] }
    const second = tell(policiesOf(`${permit()}${forbid}`), envOf(), [unknown], ({ info }) =>
      info.effect === 'forbid' ? [unknown] : [],
    ).explanation
    assert.deepEqual(
      second.fired[0]?.clauses.map(({ status, message, actual }) => [status, message, actual]),
      [
        ['holds', undefined, [{ path: 'context.amount', value: 180 }]],
        ['unknown', '`context.missing` is unknown', [{ path: 'context.missing', unknown: true }]],
      ],
    )
  })

  test('where nothing could be evaluated, every clause says why', () => {
    const policies = policiesOf(when('context.amount > 1 || context.flag').repeat(5))
    const { nearest } = explainRules(
      { decision: 'deny', decided: [], inScope: 5, permits: policies, onAction: () => [] },
      { env: envOf(), unknowns: [], unknownTo: () => [], broken: 'there is a cycle' },
    )
    assert.equal(nearest.length, 3)
    const [clause] = nearest[0]?.clauses ?? []
    assert.deepEqual([clause?.status, clause?.message, clause?.actual], ['errors', 'there is a cycle', []])
  })

  test('where no permit is in scope, the head says for whom there is one', () => {
    const text = [
      'permit(principal is Person, action, resource == Database::"other") when { context.flag };',
      '@doc("permit(x, y, z)") permit(principal is Agent in Group::"deployers", action in [Action::"go", Action::"run"], resource) when { context.flag };',
      'permit(\n  principal in Group::"bots",\n  action,\n  resource == Database::"other",\n);',
      'forbid(principal == Agent::"x", action, resource);',
    ].join('\n')
    const { nearest, inScope } = tell(policiesOf(text), envOf()).explanation
    assert.equal(inScope, 0)
    assert.deepEqual(
      nearest.map(({ policy }) => policy),
      ['p1', 'p2', 'p0'],
    )
    const [agents, other, people] = nearest
    assert.deepEqual(agents?.clauses, [
      {
        kind: 'scope',
        text: 'principal is Agent in Group::"deployers"',
        line: 2,
        column: 32,
        endLine: 2,
        endColumn: 72,
        status: 'fails',
        actual: [{ path: 'principal', value: 'Agent::"bot"' }],
        required: { path: 'principal', operator: 'in', value: 'Group::"deployers"' },
      },
    ])
    assert.deepEqual(brief(other?.clauses ?? []), [
      'scope principal in Group::"bots": holds',
      'scope resource == Database::"other": fails',
    ])
    assert.deepEqual(
      people?.clauses.map(({ required }) => required),
      [
        { path: 'principal', operator: 'is', value: 'Person' },
        { path: 'resource', operator: '==', value: 'Database::"other"' },
      ],
    )
  })
})

describe('for every policy and request', () => {
  const atoms = [
    'context.amount < 5',
    'context.amount == 180',
    'context has ticket',
    'context.ticket == "A"',
    'context.ticket like "A*"',
    'context has a.b',
    'context.a.b == 1',
    'context.flag',
    'principal.level > 2',
    'principal.owner.level > 2',
    'principal has nick',
    'principal.nick == "b"',
    'principal is Person',
    'principal is Agent in Group::"all"',
    'resource in Group::"all"',
    'resource.owner == principal',
    '["x", 1].contains(context.amount)',
    'context.tags.contains("x")',
    'context.at < datetime("2026-01-01")',
    'context.amount + 9223372036854775807 > 1',
    '(if context.flag then context.flag else principal has level)',
    '{ a: context }.a.amount > 0',
    'true',
    'false',
    '1',
  ]
  const { condition } = fc.letrec<{ condition: string }>((tie) => ({
    condition: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.constantFrom(...atoms),
      tie('condition').map((one) => `!(${one})`),
      fc.array(tie('condition'), { minLength: 2, maxLength: 4 }).map((all) => `(${all.join(' && ')})`),
      fc.array(tie('condition'), { minLength: 2, maxLength: 4 }).map((all) => `(${all.join(' || ')})`),
    ),
  }))
  const head = fc.constantFrom(
    'principal, action, resource',
    'principal is Agent, action, resource',
    'principal in Group::"all", action == Action::"go", resource is Database',
    'principal == Person::"ada", action, resource',
    'principal, action, resource in Group::"bots"',
  )
  const policy = fc
    .tuple(
      fc.constantFrom('permit', 'permit', 'forbid'),
      head,
      fc.array(fc.tuple(fc.constantFrom('when', 'unless'), condition), { maxLength: 3 }),
    )
    .map(
      ([effect, scope, conditions]) =>
        `${effect}(${scope})${conditions.map(([kind, body]) => ` ${kind} { ${body} }`).join('')};\n`,
    )
  const sent = fc.record(
    {
      amount: fc.constantFrom(1, 180, 'x'),
      ticket: fc.constantFrom('A', 'B', 1),
      a: fc.constantFrom({}, { b: 1 }, 1),
      flag: fc.constantFrom(true, false, 'x'),
      tags: fc.constantFrom([], ['x'], 'x'),
      at: fc.constantFrom(extension('datetime', '2025-01-01'), 1),
    },
    { requiredKeys: [] },
  )

  const statusOf = (result: Result): ClauseResult['status'] =>
    result === true ? 'holds' : result === false ? 'fails' : 'errors'

  test('the clauses together are the policy, and a nearest permit has something in its way', () => {
    fc.assert(
      fc.property(fc.array(policy, { minLength: 1, maxLength: 6 }), sent, (texts, context) => {
        const policies = policiesOf(texts.join(''))
        const env = envOf(context)
        const { evaluation, explanation } = tell(policies, env)
        const byId = new Map(policies.map((one) => [one.info.id, one]))
        for (const { policy: id, clauses } of [...explanation.fired, ...explanation.nearest]) {
          const one = byId.get(id) as Explained
          if (headMatches(one, env)) assert.equal(together(clauses), statusOf(resultOf(one, env)))
          else assert.ok(clauses.every(({ kind }) => kind === 'scope'))
          for (const { status, any, line } of clauses) {
            assert.ok(line >= 1)
            if (any === undefined) continue
            const parts = any.map((part) => part.status)
            assert.ok(parts.includes(status))
          }
        }
        for (const { clauses } of explanation.nearest) assert.notEqual(together(clauses), 'holds')
        const isStopped = explanation.fired.length > 0
        for (const one of policies) {
          if (one.info.effect !== 'permit' || resultOf(one, env) !== true) continue
          assert.ok(isStopped || evaluation.determining.includes(one.info.id))
        }
        if (evaluation.decision === 'permit') assert.deepEqual(explanation.nearest, [])
        JSON.stringify(explanation)
      }),
      { numRuns: 1_000 },
    )
  })

  test('what is shown stands in the file where it says', () => {
    fc.assert(
      fc.property(fc.array(policy, { minLength: 1, maxLength: 3 }), sent, (texts, context) => {
        const text = texts.join('\n')
        const lines = text.split('\n')
        const { fired, nearest } = tell(policiesOf(text), envOf(context)).explanation
        const visit = (clauses: readonly ClauseResult[]): void => {
          for (const one of clauses) {
            assert.equal(one.line, one.endLine)
            assert.equal((lines[one.line - 1] ?? '').slice(one.column - 1, one.endColumn - 1), one.text)
            visit(one.any ?? [])
          }
        }
        for (const { clauses } of [...fired, ...nearest]) visit(clauses)
      }),
      { numRuns: 300 },
    )
  })
})

describe('explanations of a set', () => {
  const schema = `
    entity Person, Agent in [Group] = { level: Long, nick?: String };
    entity Group;
    entity Database in [Group] = { region: String };
    action go appliesTo { principal: [Person, Agent], resource: Database, context: {
      amount: Long, ticket?: String, actor?: Person
    } };
  `
  const pools =
    'permit(principal, action == Writ::Action::"approve", resource) when { context.pool == "dba" };\n'
  const head = 'principal, action == Action::"go", resource'
  const cache = new Map<string, PolicySet>()
  const setOf = (text: string): PolicySet => {
    let known = cache.get(text)
    if (known === undefined) {
      const policies = [{ name: 'a.cedar', text: pools + text }]
      const loaded = loadPolicySet(
        { policies, schema: { name: 's.cedarschema', text: schema } },
        { hash: (content) => String(content.length), inventory: [] },
      )
      if (!loaded.ok) throw new Error(loaded.problems.map(renderProblem).join('\n'))
      cache.set(text, (known = loaded.set))
    }
    return known
  }
  const entities: EntityData[] = [
    { uid: uid('Person', 'ada'), attrs: { level: 3, sensitivity: 1 }, parents: [] },
    {
      uid: uid('Agent', 'bot'),
      attrs: { level: 1, nick: 'b', sensitivity: 1, owner: 'Person::"ada"' },
      parents: [uid('Group', 'bots')],
    },
    {
      uid: uid('Database', 'orders'),
      attrs: { region: 'eu', sensitivity: 2, owner: { type: 'Person', id: 'ada' } },
      parents: [],
    },
  ]
  const task = { id: 't1', purpose: 'p', state: 'open', declaredAt: '2026-11-22T10:00:00.000Z' }
  const live = { now: '2026-11-22T10:00:00.000Z', caller: 'key/1', chain: ['Agent/bot'] }
  const ask = (more: Partial<Query> = {}): Query => ({
    principal: uid('Agent', 'bot'),
    action: uid('Action', 'go'),
    resource: uid('Database', 'orders'),
    context: { amount: 1 },
    live,
    unknown: new Set(),
    proof: { approvals: {}, justification: false, reauth: false },
    entities,
    ...more,
  })
  const text =
    `@id("near") permit(${head}) when { context.amount < 5 && context.live has task && context.live.task.state == "new" && (context has ticket || principal.level > 2) };\n` +
    `@id("far") permit(${head}) when { context.amount > 9 && context has ticket && principal has nick && principal.level > 5 };\n`

  test('the nearest permit, clause by clause, with the values it read', () => {
    const { nearest: rules, inScope } = setOf(text).explain(ask({ live: { ...live, task } }))
    const [nearest] = rules
    assert.equal(inScope, 2)
    assert.deepEqual(
      rules.map(({ policy: id }) => id),
      ['near', 'far'],
    )
    assert.deepEqual(
      nearest?.clauses.map(({ text: clause, status, actual }) => [clause, status, actual]),
      [
        ['context.amount < 5', 'holds', [{ path: 'context.amount', value: 1 }]],
        ['context.live has task', 'holds', [{ path: 'context.live.task', value: { ...task } }]],
        ['context.live.task.state == "new"', 'fails', [{ path: 'context.live.task.state', value: 'open' }]],
        [
          'context has ticket || principal.level > 2',
          'fails',
          [{ path: 'context.ticket' }, { path: 'principal.level', value: 1 }],
        ],
      ],
    )
    assert.deepEqual(
      [nearest?.clauses[0]?.line, nearest?.clauses[0]?.column],
      [2, text.indexOf('context.amount') + 1],
    )
  })

  test('evidence that is missing is told as what is required of it', () => {
    const { nearest } = setOf(
      `permit(${head}) when { context.proof.approvals.dba >= 1 && context.proof.justification };`,
    ).explain(ask())
    assert.deepEqual(
      nearest[0]?.clauses.map(({ status, actual, required }) => [status, actual, required]),
      [
        [
          'fails',
          [{ path: 'context.proof.approvals.dba', value: 0 }],
          { path: 'context.proof.approvals.dba', operator: '>=', value: 1 },
        ],
        [
          'fails',
          [{ path: 'context.proof.justification', value: false }],
          { path: 'context.proof.justification', operator: '==', value: true },
        ],
      ],
    )
  })

  test('what is unknown is said to be', () => {
    const [nearest] = setOf(text)
      .explain(ask({ unknown: new Set(['task']), context: { amount: 1.5 } }))
      .nearest.filter(({ policy: id }) => id === 'near')
    const [amount, has] = nearest?.clauses ?? []
    assert.deepEqual([amount?.status, amount?.message], ['unknown', '`context.amount` is unknown'])
    assert.deepEqual([has?.status, has?.actual], ['unknown', [{ path: 'context.live.task', unknown: true }]])
  })

  test('conditions that are only guarded read as absent, and entities are read behind attributes', () => {
    const [nearest] = setOf(
      `permit(${head}) when { context has ticket && context.ticket == "A" && resource has owner } unless { resource.owner.level > 1 || (resource is Database && resource.region == "us") };`,
    ).explain(ask()).nearest
    assert.deepEqual(brief(nearest?.clauses ?? []), [
      'when context has ticket: fails',
      'when context.ticket == "A": fails',
      'when resource has owner: holds',
      'unless resource.owner.level > 1: fails',
      'unless resource is Database && resource.region == "us": holds',
    ])
    assert.deepEqual(nearest?.clauses[3]?.actual, [{ path: 'resource.owner.level', value: 3 }])
  })

  test('the forbids that decided are named', () => {
    const { determining, fired } = setOf(
      `permit(${head});@id("stop") forbid(${head}) when { context.amount == 1 };`,
    ).explain(ask())
    assert.deepEqual(
      [determining, fired].map((rules) => rules.map(({ policy: id }) => id)),
      [['stop'], ['stop']],
    )
  })

  test('whom a permit names is told where none is in scope', () => {
    const { nearest, inScope } = setOf(
      `permit(principal in Group::"deployers", action == Action::"go", resource) when { context.amount < 5 };`,
    ).explain(ask())
    assert.equal(inScope, 0)
    assert.deepEqual(
      nearest[0]?.clauses.map(({ kind, text: clause, status, actual, required }) => [
        kind,
        clause,
        status,
        actual,
        required,
      ]),
      [
        [
          'scope',
          'principal in Group::"deployers"',
          'fails',
          [{ path: 'principal', value: 'Agent::"bot"' }],
          { path: 'principal', operator: 'in', value: 'Group::"deployers"' },
        ],
      ],
    )
  })

  test('C6 a policy that reads the unknown says so at a clause, and no other policy does', () => {
    const atoms = [
      'context.amount < 5',
      '!(context.amount < 2)',
      'context has ticket',
      'context has ticket && context.ticket == "A"',
      'context has actor && context.actor.level > 1',
      'context.live has task && context.live.task.state == "open"',
      '!(context.live has task)',
      'context.live has history && context.live.history.denials > 0',
      'principal.level > 2',
      'principal has nick',
      'resource has owner && resource.owner.level > 1',
      'resource has owner && resource.owner has nick',
      '{ a: context }.a.amount > 0',
      '(if context.amount > 1 then principal else principal).level < 9',
      'context.proof.approvals.dba >= 1',
    ]
    const rules = (effect: string) =>
      atoms
        .map((atom, index) => {
          const other = atoms[(index * 7 + 3) % atoms.length] ?? ''
          const kind = index % 2 === 0 ? `when { ${other} }` : `unless { ${other} || context.amount == 9 }`
          return `${effect}(${head}) when { ${atom} };\n${effect}(${head}) when { ${atom} } ${kind};\n`
        })
        .join('')
    const sets = ['permit', 'forbid', '@unknown_ignore("task") permit', '@unknown_ignore("task") forbid'].map(
      (effect) => setOf(rules(effect)),
    )
    const strange = fc.record({
      context: fc.constantFrom<Record<string, Json>>(
        { amount: 1 },
        { amount: 1.5 },
        { amount: 7, ticket: 1 },
        {},
      ),
      unknown: fc.subarray(['task', 'history']).map((names) => new Set(names)),
      live: fc.constantFrom({ ...live }, { ...live, task }),
      entities: fc.constantFrom(
        entities,
        entities.slice(1),
        entities.map((one) => ({ ...one, attrs: { ...one.attrs, level: 'x' } })),
        entities.map((one) =>
          one.uid.type === 'Person' ? { ...one, attrs: { ...one.attrs, nick: 1 } } : one,
        ),
      ),
    })
    fc.assert(
      fc.property(fc.constantFrom(...sets), strange, (set, more) => {
        const evaluation = set.evaluate(ask(more))
        for (const { policy: id, clauses } of set.examine(ask(more))) {
          const cause = evaluation.errors.find((error) => error.policy === id)?.cause
          const statuses = clauses.map(({ status }) => status)
          assert.equal(statuses.includes('unknown'), cause === 'unknown', id)
          if (cause === 'unknown') continue
          assert.equal(together(clauses), cause === 'error' ? 'errors' : heldIn(evaluation, id, clauses))
        }
        const { nearest } = set.explain(ask(more))
        if (evaluation.decision === 'permit') assert.deepEqual(nearest, [])
        for (const { clauses } of nearest) assert.notEqual(together(clauses), 'holds')
      }),
      { numRuns: 150 },
    )
  })

  /** What an evaluation says of a policy without errors; it says nothing of permits that something stops. */
  const heldIn = (
    { determining, decision }: Evaluation,
    id: string,
    clauses: readonly ClauseResult[],
  ): ClauseResult['status'] => {
    if (determining.includes(id)) return 'holds'
    return decision === 'permit' ? 'fails' : together(clauses)
  }
})
