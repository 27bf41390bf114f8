/**
 * Loading: every problem at its place, all at once; what loads is versioned by its content.
 *
 * @module
 */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type {
  EntityData,
  FactDefinition,
  JudgeInput,
  Judgement,
  PolicySet,
  PolicySource,
  Problem,
} from './index.ts'
import { facts, judge, loadPolicySet, loadSteps, problemCodes, renderProblem } from './index.ts'
import { effort } from '../../test/support/effort.ts'

const hash = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`
const load = (source: PolicySource, inventory: readonly EntityData[] = []) =>
  loadPolicySet(source, { hash, inventory })
const file = (text: string, name = 'a.cedar') => ({ name, text })

const schema = `
entity Agent in [Group] = { device_posture: String, tier?: String };
entity Database = { region: String };
action read, write appliesTo {
  principal: [Person, Agent],
  resource: [Database],
  context: { amount: Long, ticket?: String }
};
`

function problemsOf(
  text: string,
  user: string | null = schema,
  inventory: readonly EntityData[] = [],
): Problem[] {
  const source = {
    policies: [file(text)],
    ...(user === null ? {} : { schema: file(user, 'schema.cedarschema') }),
  }
  const loaded = load(source, inventory)
  return loaded.ok ? loaded.warnings : loaded.problems
}

function setOf(text: string, user: string | null = schema, inventory: readonly EntityData[] = []): PolicySet {
  const source = {
    policies: [file(text)],
    ...(user === null ? {} : { schema: file(user, 'schema.cedarschema') }),
  }
  const loaded = load(source, inventory)
  if (!loaded.ok) throw new Error(loaded.problems.map(renderProblem).join('\n'))
  return loaded.set
}

const policy = (condition: string, head = 'principal is Agent, action == Action::"read", resource') =>
  `permit(${head})\nwhen { ${condition} };`

const pools =
  'permit(principal, action == Writ::Action::"approve", resource) when { context.pool == "dba" };\n'

/** Policy text (schema text in `user`) → what a person reads. */
const renderings: readonly Readonly<{ name: string; text: string; user?: string | null; shown: string }>[] = [
  {
    name: 'P001 syntax',
    text: 'permit(principal, action, resource) when { true & false };',
    shown: `error[P001]: invalid token
  a.cedar:1:49
1 | permit(principal, action, resource) when { true & false };
  |                                                 ^`,
  },
  {
    name: 'P001 no end',
    text: 'permit(principal, action, resource)',
    shown: `error[P001]: unexpected end of input
  a.cedar:1:36
1 | permit(principal, action, resource)
  |                                    ^ expected \`;\` or identifier`,
  },
  {
    name: 'P002 schema syntax',
    text: pools,
    user: 'entity A { a: Long, b };',
    shown: `error[P002]: unexpected token \`}\`
  schema.cedarschema:1:23
1 | entity A { a: Long, b };
  |                       ^ expected \`:\` or \`?\``,
  },
  {
    name: 'P002 unknown type in the schema',
    text: pools,
    user: 'entity A { a: Lnog };',
    shown: `error[P002]: unknown type \`Lnog\`
  schema.cedarschema:1:15
1 | entity A { a: Lnog };
  |               ^^^^ did you mean \`Long\`?`,
  },
  {
    name: 'P003 same id',
    text: `@id("x") ${policy('true')}\n@id("x") ${policy('true')}`,
    shown: `error[P003]: the id \`x\` is taken by a.cedar:1
  a.cedar:3:1
3 | @id("x") permit(principal is Agent, action == Action::"read", resource)
  | ^ give it another \`@id\``,
  },
  {
    name: 'P004 unknown annotation',
    text: `@tll("5m") ${policy('true')}`,
    shown: `error[P004]: unknown annotation \`@tll\`
  a.cedar:1:1
1 | @tll("5m") permit(principal is Agent, action == Action::"read", resource)
  | ^^^^ did you mean \`ttl\`?`,
  },
  {
    name: 'P004 annotation without effect',
    text: `@ttl("5m") forbid(principal, action == Action::"read", resource);`,
    shown: `error[P004]: \`@ttl\` has no effect on a forbid
  a.cedar:1:1
1 | @ttl("5m") forbid(principal, action == Action::"read", resource);
  | ^^^^ it belongs on a permit`,
  },
  {
    name: 'P005 malformed annotation',
    text: `@ttl("5 minutes") ${policy('true')}`,
    shown: `error[P005]: \`@ttl\` cannot be read
  a.cedar:1:6
1 | @ttl("5 minutes") permit(principal is Agent, action == Action::"read", resource)
  |      ^^^^^^^^^^^ it takes a duration, e.g. \`@ttl("10m")\``,
  },
  {
    name: 'P005 unknown fact to ignore',
    text: `@unknown_ignore("histroy") ${policy('true')}`,
    shown: `error[P005]: unknown fact \`histroy\`
  a.cedar:1:17
1 | @unknown_ignore("histroy") permit(principal is Agent, action == Action::"read", resource)
  |                 ^^^^^^^^^ did you mean \`history\`?`,
  },
  {
    name: 'P006 template',
    text: 'permit(principal == ?principal, action, resource);',
    shown: `error[P006]: policy templates are not supported
  a.cedar:1:21
1 | permit(principal == ?principal, action, resource);
  |                     ^^^^^^^^^^ write one policy per case, or name a group`,
  },
  {
    name: 'P007 live is Writ’s',
    text: pools,
    user: 'entity A;\naction go appliesTo { principal: A, resource: A,\n  context: { live: { risk: Long } } };',
    shown: `error[P007]: \`context.live\` belongs to Writ
  schema.cedarschema:3:14
3 |   context: { live: { risk: Long } } };
  |              ^^^^ Writ declares \`context.live\` itself; remove it`,
  },
  {
    name: 'P007 namespace is Writ’s',
    text: pools,
    user: 'namespace Writ { entity A; }',
    shown: `error[P007]: namespace \`Writ\` belongs to Writ
  schema.cedarschema:1:11
1 | namespace Writ { entity A; }
  |           ^^^^ choose another namespace`,
  },
  {
    name: 'P008 unknown entity type',
    text: 'permit(principal is Agnet, action == Action::"read", resource);',
    shown: `error[P008]: unknown entity type \`Agnet\`
  a.cedar:1:21
1 | permit(principal is Agnet, action == Action::"read", resource);
  |                     ^^^^^ did you mean \`Agent\`?`,
  },
  {
    name: 'P008 unknown entity type without a schema',
    text: 'permit(principal is Persn, action == Action::"read", resource);',
    user: null,
    shown: `error[P008]: unknown entity type \`Persn\`
  a.cedar:1:21
1 | permit(principal is Persn, action == Action::"read", resource);
  |                     ^^^^^ did you mean \`Person\`?`,
  },
  {
    name: 'P009 unknown action',
    text: 'permit(principal, action == Action::"raed", resource);',
    shown: `error[P009]: unknown action \`Action::"raed"\`
  a.cedar:1:29
1 | permit(principal, action == Action::"raed", resource);
  |                             ^^^^^^^^^^^^^^ did you mean \`Action::"read"\`?`,
  },
  {
    name: 'P010 sensitivity of another type',
    text: pools,
    user: 'entity Box = { sensitivity: String };',
    shown: `error[P010]: \`Box.sensitivity\` must be a Long
  schema.cedarschema:1:16
1 | entity Box = { sensitivity: String };
  |                ^^^^^^^^^^^ Writ fills it from the inventory`,
  },
  {
    name: 'P011 unknown pool',
    text: pools + policy('context.proof.approvals.dab >= 1'),
    shown: `error[P011]: unknown approval pool \`dab\`
  a.cedar:3:8
3 | when { context.proof.approvals.dab >= 1 };
  |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^ did you mean \`dba\`?`,
  },
  {
    name: 'P011 no pool at all',
    text: policy('context.proof.approvals.dba >= 1'),
    user: null,
    shown: `error[P011]: unknown approval pool \`dba\`
  a.cedar:2:8
2 | when { context.proof.approvals.dba >= 1 };
  |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^
  = say who may approve: \`permit(principal in Group::"…", action == Writ::Action::"approve", resource) when { context.pool == "dba" };\``,
  },
  {
    name: 'P012 types',
    text: policy('context.amount == "much"'),
    shown: `error[P012]: the types Long and String are not compatible
  a.cedar:2:8
2 | when { context.amount == "much" };
  |        ^^^^^^^^^^^^^^^^^^^^^^^^
  = both operands to a \`==\` expression must have compatible types. Types must be exactly equal to be compatible`,
  },
  {
    name: 'P013 optional',
    text: policy('context.ticket == "INC-1"'),
    shown: `error[P013]: \`context.ticket\` may be absent
  a.cedar:2:8
2 | when { context.ticket == "INC-1" };
  |        ^^^^^^^^^^^^^^ test it first: \`context has ticket && …\``,
  },
  {
    name: 'P013 optional fact',
    text: policy('context.live.task.id == "t"'),
    shown: `error[P013]: \`context.live.task\` may be absent
  a.cedar:2:8
2 | when { context.live.task.id == "t" };
  |        ^^^^^^^^^^^^^^^^^ test it first: \`context.live has task && …\``,
  },
  {
    name: 'P014 unknown attribute',
    text: policy('principal.devicePosture == "ok"'),
    shown: `error[P014]: unknown attribute \`principal.devicePosture\` on \`Agent\`
  a.cedar:2:8
2 | when { principal.devicePosture == "ok" };
  |        ^^^^^^^^^^^^^^^^^^^^^^^ did you mean \`device_posture\`?`,
  },
  {
    name: 'P014 an attribute that only some types have',
    text: 'permit(principal, action == Action::"read", resource) when { principal.device_posture == "ok" };',
    shown: `error[P014]: unknown attribute \`principal.device_posture\` on \`Person\`
  a.cedar:1:62
1 | permit(principal, action == Action::"read", resource) when { principal.device_posture == "ok" };
  |                                                              ^^^^^^^^^^^^^^^^^^^^^^^^ only some types have it: \`principal is Agent && …\``,
  },
  {
    name: 'P014 unknown fact',
    text: policy('context.live.tsk.id == "x"'),
    shown: `error[P014]: unknown attribute \`context.live.tsk\`
  a.cedar:2:8
2 | when { context.live.tsk.id == "x" };
  |        ^^^^^^^^^^^^^^^^ did you mean \`task\`?`,
  },
  {
    name: 'P015 impossible',
    text: 'permit(principal is Agent, action == Action::"read", resource in Group::"x");',
    shown: `error[P015]: this policy can never fire
  a.cedar:1:1
1 | permit(principal is Agent, action == Action::"read", resource in Group::"x");
  | ^^^^^^ its head and conditions exclude every attempt that the schema allows`,
  },
  {
    name: 'P016 no type to be told',
    text: policy(
      'context.left == context.right',
      'principal, action == Action::"read", resource is Database',
    ),
    user: null,
    shown: `error[P016]: the type of \`context.left\` cannot be told from the policies
  a.cedar:2:8
2 | when { context.left == context.right };
  |        ^^^^^^^^^^^^ write a schema with \`action "read" appliesTo { …, context: { left?: String } }\`
error[P016]: the type of \`context.right\` cannot be told from the policies
  a.cedar:2:24
2 | when { context.left == context.right };
  |                        ^^^^^^^^^^^^^ write a schema with \`action "read" appliesTo { …, context: { right?: String } }\``,
  },
  {
    name: 'P017 two types',
    text: `${policy('context.n == 1')}\n${policy('context.n == "one"')}`,
    user: null,
    shown: `error[P017]: \`context.n\` is used as String here and as Long in a.cedar:2
  a.cedar:4:8
4 | when { context.n == "one" };
  |        ^^^^^^^^^ use one type, or write a schema`,
  },
  {
    name: 'P020 no action',
    text: 'permit(principal, action, resource);',
    user: null,
    shown: `error[P020]: no policy names an action
  a.cedar:1:1
1 | permit(principal, action, resource);
  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ name one, e.g. \`action == Action::"read"\`, or write a schema`,
  },
  {
    name: 'P022 nested too deeply',
    text: policy(`${'('.repeat(40)}true${')'.repeat(40)}`),
    shown: `error[P022]: the policy is too large or too deeply nested
  a.cedar:1:1
1 | permit(principal is Agent, action == Action::"read", resource)
  | ^^^^^^ split it into several policies`,
  },
  {
    name: 'P024 actions of Writ and others',
    text: 'permit(principal, action in [Action::"read", Writ::Action::"read"], resource);',
    shown: `error[P024]: the policy names actions of Writ and others
  a.cedar:1:1
1 | permit(principal, action in [Action::"read", Writ::Action::"read"], resource);
  | ^^^^^^ write one policy for each`,
  },
]

for (const { name, text, user, shown } of renderings) {
  test(`problem: ${name}`, () => {
    const problems = problemsOf(text, user === undefined ? schema : user)
    assert.equal(problems.map(renderProblem).join('\n'), shown)
  })
}

test('every code has a rendering here or a test of its own', () => {
  const elsewhere = ['P018', 'P019', 'P021', 'P023']
  const shown = renderings.map(({ name }) => name.slice(0, 4))
  assert.deepEqual(
    // `L…` are lint rules: they have tests of their own
    Object.keys(problemCodes).filter(
      (code) => code.startsWith('P') && !shown.includes(code) && !elsewhere.includes(code),
    ),
    [],
  )
})

test('all problems of all files come at once, in order', () => {
  const loaded = load({
    policies: [
      file('permit(principal, action, resource', 'b.cedar'),
      file(
        `@uses("0") ${policy('principal.posture == 1')}\n${policy('context.amnt > 1')}\n@x ${policy('true')}`,
      ),
    ],
    schema: file(schema, 's'),
  })
  assert.ok(!loaded.ok)
  assert.deepEqual(
    loaded.problems.map(({ code, file: name, line }) => [code, name, line]),
    [
      ['P005', 'a.cedar', 1],
      ['P014', 'a.cedar', 2],
      ['P014', 'a.cedar', 4],
      ['P004', 'a.cedar', 5],
      ['P001', 'b.cedar', 1],
    ],
  )
})

test('the version is that of the content, whatever the order of files', () => {
  const [one, two] = [file(pools, 'one.cedar'), file(policy('true'), 'two.cedar')]
  const version = (source: PolicySource) => {
    const loaded = load(source)
    return loaded.ok ? loaded.set.version : assert.fail()
  }
  const user = file(schema, 's')
  assert.equal(
    version({ policies: [one, two], schema: user }),
    version({ policies: [two, one], schema: user }),
  )
  assert.notEqual(version({ policies: [one, two], schema: user }), version({ policies: [one], schema: user }))
  const other = { policies: [one, two], schema: file(`${schema}\nentity More;`, 's') }
  assert.notEqual(version({ policies: [one, two], schema: user }), version(other))
})

test('what a policy is and reads is told', () => {
  const set = setOf(
    `${pools}@id("m") @ttl("10m") @doc("migrations") ${policy('context.live has task && context.proof.approvals.dba > 1 && context.amount < 5 && context.proof.justification')}`,
  )
  const info = set.policies[1]!
  assert.deepEqual(
    [info.id, info.file, info.line, info.effect, info.governsWrit],
    ['m', 'a.cedar', 2, 'permit', false],
  )
  assert.deepEqual(info.annotations, { id: 'm', ttl: '10m', doc: 'migrations' })
  assert.deepEqual([...info.reads.facts], ['task'])
  assert.deepEqual([...info.reads.contextKeys], ['amount'])
  assert.deepEqual([...info.reads.approvals], [['dba', [2]]])
  assert.equal(info.reads.justification, true)
  assert.match(info.text, /^@id\("m"\)[^]*;$/)
  assert.deepEqual([set.policies[0]!.id, set.policies[0]!.governsWrit], ['a.cedar:1', true])
})

test('a schema in JSON does as well', () => {
  const json = JSON.stringify({
    '': {
      entityTypes: { Box: { shape: { type: 'Record', attributes: { size: { type: 'Long' } } } } },
      actions: { open: { appliesTo: { principalTypes: ['Person'], resourceTypes: ['Box'] } } },
    },
  })
  assert.match(
    setOf('permit(principal, action == Action::"open", resource) when { resource.size < 3 };', json)
      .schemaText,
    /entity Box/,
  )
  assert.deepEqual(
    problemsOf(pools, '{ "": ').map(({ code }) => code),
    ['P002'],
  )
})

test('names of the user may be those of Writ’s actions', () => {
  const set = setOf(
    'permit(principal, action == Action::"read", resource);\npermit(principal, action == Writ::Action::"read", resource);',
  )
  assert.equal(set.policies.length, 2)
  assert.match(set.schemaText, /Added by Writ/)
})

test('the user’s own common types, groups of actions and namespaces are composed', () => {
  const set = setOf(
    `permit(principal, action in App::Action::"all", resource) when { context.who == principal.boss && resource.sensitivity < 3 };`,
    `namespace App {
       type Ctx = { who: Person };
       entity Worker in [Group] = { boss: Person };
       action all;
       action go in [all] appliesTo { principal: Worker, resource: Worker, context: Ctx };
     }`,
  )
  assert.match(set.schemaText, /live: Writ::Live/)
})

test('Cedar’s warnings about look-alike text are warnings', () => {
  const problems = problemsOf(policy('context.amount == 1 && principal.device_posture == "say\u202eok"'))
  assert.deepEqual(
    problems.map(({ code, severity }) => [code, severity]),
    [['P023', 'warning']],
  )
})

test('P018 a policy on narrowing actions may not read what an outage could hide', () => {
  const table = facts as Record<string, FactDefinition>
  table['weather'] = {
    type: { type: 'Long' },
    optional: true,
    pulled: true,
    disclosed: true,
    sentence: 'for this test',
  }
  try {
    const text =
      'forbid(principal, action in [Writ::Action::"publish", Writ::Action::"revoke"], resource) when { context.live has weather };'
    const [problem] = problemsOf(text)
    assert.deepEqual(
      [problem?.code, problem?.message, problem?.column],
      ['P018', '`context.live.weather` may not be read here', 97],
    )
    assert.deepEqual(problemsOf(text.replace('"revoke"', '"publish"')), [])
  } finally {
    delete table['weather']
  }
})

test('an inventory that does not fit the schema is warned of', () => {
  const inventory: EntityData[] = [
    { uid: { type: 'Agent', id: 'x' }, attrs: { device_posture: 7 }, parents: [{ type: 'Role', id: 'r' }] },
    { uid: { type: 'Robot', id: 'y' }, attrs: {}, parents: [] },
  ]
  assert.deepEqual(
    problemsOf(policy('true'), schema, inventory)
      .map(({ code, severity, message }) => `${code} ${severity} ${message}`)
      .sort(),
    [
      'P021 warning `Agent::"x"` is in `Role::"r"`',
      'P021 warning `Robot::"y"` has an undeclared type',
      'P021 warning `device_posture` of `Agent::"x"` is unknown to policies',
    ],
  )
})

test('a hostile set is refused in bounded time and leaves the engine working', () => {
  const took = effort()
  for (const condition of [
    '('.repeat(100_000),
    Array(3_000).fill('1').join(' + '),
    `context${'.a'.repeat(3_000)}`,
    'if true then true else '.repeat(2_000),
    '['.repeat(200) + ']'.repeat(200),
    '!'.repeat(5_000),
  ]) {
    assert.ok(!load({ policies: [file(policy(condition))] }).ok)
  }
  assert.ok(!load({ policies: [file('permit(principal, action, resource);'.repeat(60_000))] }).ok)
  assert.ok(!load({ policies: [file('\ud800')] }).ok)
  assert.ok(
    !load({
      policies: [file(pools)],
      schema: file(`entity A { a: ${'{ a: '.repeat(3_000)}Long${' }'.repeat(3_000)} };`),
    }).ok,
  )
  assert.ok(!load({ policies: [file(pools)], schema: file('{"":'.repeat(3_000)) }).ok)
  assert.ok(took() < 10_000)
  setOf(policy('true'))
})

test('a megabyte of policies loads in bounded time', () => {
  const one = (n: number) => `// ${'-'.repeat(700)}\n@id("p${n}") ${policy(`context.amount < ${n}`)}\n`
  const text = Array.from({ length: 1_300 }, (_, n) => one(n)).join('')
  assert.ok(text.length > 1_000_000)
  const took = effort()
  assert.equal(setOf(text).policies.length, 1_300)
  assert.ok(took() < 10_000)
})

test('two files of one name are refused', () => {
  const loaded = load({ policies: [file(policy('true')), file(pools)], schema: file(schema, 's') })
  assert.ok(!loaded.ok && loaded.problems[0]?.code === 'P003')
})

test('an empty set loads and permits nothing', () => {
  const loaded = load({ policies: [] })
  assert.ok(loaded.ok)
  assert.deepEqual([loaded.set.policies, loaded.set.pools], [[], []])
})

describe('loading in steps', () => {
  /** What was judged on the way. */
  function steps(source: PolicySource, previous?: PolicySet) {
    const inputs: JudgeInput[] = []
    const all = loadSteps(source, { hash, inventory: [], previous })
    let pauses = 0
    let judgement: Judgement | undefined
    for (;;) {
      const step = all.next(judgement)
      if (step.done === true) return { result: step.value, inputs, pauses }
      judgement = undefined
      if (step.value.kind === 'pause') pauses += 1
      else {
        // a worker gets copies
        inputs.push(structuredClone(step.value.input))
        judgement = structuredClone(judge(structuredClone(step.value.input)))
      }
    }
  }
  const many = (count: number, change = -1) =>
    Array.from(
      { length: count },
      (_, n) => `@id("p${n}") ${policy(`context.amount < ${n === change ? 100_000 : n}`)}\n`,
    ).join('')
  const judged = (inputs: readonly JudgeInput[]) => inputs.map(({ kind, texts }) => [kind, texts.length])

  test('it is what loading at once gives', () => {
    const source = { policies: [file(pools + many(50))], schema: file(schema, 's') }
    const { result, inputs, pauses } = steps(source)
    const once = load(source)
    assert.ok(result.ok && once.ok)
    assert.equal(result.set.version, once.set.version)
    assert.deepEqual(result.set.policies, once.set.policies)
    assert.deepEqual(judged(inputs), [
      ['validate', 50],
      ['validate', 1],
    ])
    assert.ok(pauses > 5)
  })

  test('what was accepted before is not judged again, wherever it stands now', () => {
    const before = steps({ policies: [file(pools + many(50))], schema: file(schema, 's') }).result
    assert.ok(before.ok)
    const source = { policies: [file(many(50, 7), 'b.cedar'), file(pools)], schema: file(schema, 's') }
    const { result, inputs } = steps(source, before.set)
    assert.deepEqual(judged(inputs), [['validate', 1]])
    const fresh = load(source)
    assert.ok(result.ok && fresh.ok)
    assert.deepEqual(result.set.policies, fresh.set.policies)
    assert.equal(result.set.version, fresh.set.version)
    assert.deepEqual(steps(source, result.set).inputs, [])
  })

  test('under another schema all of it is judged again, and what no longer fits is refused', () => {
    const before = steps({ policies: [file(pools + many(3))], schema: file(schema, 's') }).result
    assert.ok(before.ok)
    const other = file(schema.replace('amount: Long', 'amount: String'), 's')
    assert.notEqual(other.text, schema)
    const { result, inputs } = steps({ policies: [file(pools + many(3))], schema: other }, before.set)
    assert.equal(judged(inputs)[0]?.[1], 3)
    assert.ok(!result.ok && result.problems.every(({ code }) => code === 'P012'))
  })

  test('a new pool is another schema', () => {
    const before = steps({ policies: [file(pools + many(2))], schema: file(schema, 's') }).result
    assert.ok(before.ok)
    const more = pools.replace('context.pool ==', 'context.pool == "other" || context.pool ==')
    const { result, inputs } = steps(
      { policies: [file(more + many(2))], schema: file(schema, 's') },
      before.set,
    )
    assert.ok(result.ok && result.set.pools.includes('other'))
    assert.equal(judged(inputs)[0]?.[1], 2)
  })

  test('warnings are said again', () => {
    const text = policy('context.amount == 1 && principal.device_posture == "say\u202eok"')
    const source = { policies: [file(text)], schema: file(schema, 's') }
    const before = steps(source).result
    assert.ok(before.ok && before.warnings.length === 1)
    const again = steps({ ...source, policies: [file(text), file(pools, 'b.cedar')] }, before.set).result
    assert.ok(again.ok)
    assert.deepEqual(again.warnings, before.warnings)
  })

  test('explanations point at where a policy has moved to', () => {
    const one = policy('context.amount < 5')
    const before = steps({ policies: [file(one)], schema: file(schema, 's') }).result
    assert.ok(before.ok)
    const moved = steps(
      { policies: [file(`// é\n\n   ${one}`)], schema: file(schema, 's') },
      before.set,
    ).result
    assert.ok(moved.ok)
    const query = {
      principal: { type: 'Agent', id: 'a' },
      action: { type: 'Action', id: 'read' },
      resource: { type: 'Database', id: 'd' },
      context: { amount: 7 },
      live: {},
      unknown: new Set<string>(),
      proof: { approvals: {}, justification: false, reauth: false },
      entities: [],
    }
    const clause = (set: PolicySet) =>
      set.explain(query).nearest[0]?.clauses.find(({ text }) => text.includes('amount'))
    const [first, second] = [clause(before.set), clause(moved.set)]
    assert.ok(first !== undefined && second !== undefined)
    assert.equal(first.text, second.text)
    assert.deepEqual(
      [second.line, second.column],
      [first.line + 2, first.column + (first.line === 1 ? 3 : 0)],
    )
  })

  test('places are right in the middle of many, whatever the alphabet', () => {
    const text = `${policy('context.amount > 1')}\n@doc("ééé 🙂") ${policy('principal.device_posture == "🙂" && context.amnt > 1')}\n${policy('context.amount > 2')}`
    const [problem, ...others] = problemsOf(text)
    assert.deepEqual(others, [])
    assert.equal(problem?.line, 4)
    assert.match(problem?.message ?? '', /context.amnt/)
    assert.equal(
      Array.from(problem?.excerpt ?? '')
        .slice((problem?.column ?? 0) - 1)
        .join('')
        .slice(0, 12),
      'context.amnt',
    )
  })

  test('what only the reference refuses is said before what follows from it', () => {
    const twice = `@doc("a") @doc("b") ${policy('true')}`
    const text = `${policy('context.amount > 1')}\n${twice}\n${policy('context.amnt > 1')}`
    assert.deepEqual(
      problemsOf(text).map(({ code, line }) => [code, line]),
      [
        ['P001', 3],
        ['P014', 6],
      ],
    )
    const derived = load({ policies: [file(`${twice}\n${policy('context.amount > 1')}`)] })
    assert.ok(!derived.ok)
    assert.deepEqual(
      derived.problems.map(({ code }) => code),
      ['P001'],
    )
  })

  test('functions that there are none of, and such as have no value', () => {
    assert.deepEqual(
      problemsOf(policy('context.amount.bigger(1)')).map(({ code }) => code),
      ['P001'],
    )
    assert.deepEqual(
      problemsOf(policy('unknown("x")')).map(({ code }) => code),
      ['P001'],
    )
  })

  test('a thousand errors in one line are found in bounded time', () => {
    const took = effort()
    const one = 'permit(principal is Agent, action == Action::"read", resource) when { contxt.amount };  '
    const problems = problemsOf(one.repeat(10_000))
    assert.ok(problems.length >= 10_000)
    assert.ok(took() < 20_000)
  })

  test('a hash that comes in parts is that of the whole', () => {
    const text = `// ${'é🙂\ud83d\ude42"\\'.repeat(30_000)}\n${pools}`
    const source = { policies: [file(text), file(policy('true'), 'b.cedar')], schema: file(schema, 's') }
    const parts: string[] = []
    const hashing = () => ({ update: (part: string) => void parts.push(part), digest: () => parts.join('') })
    const whole = (content: string) => content
    const [one, two] = [
      loadPolicySet(source, { hash: whole, inventory: [] }),
      loadPolicySet(source, { hash: whole, hashing, inventory: [] }),
    ]
    assert.ok(one.ok && two.ok)
    assert.equal(two.set.version, one.set.version)
    assert.ok(parts.length > 5)
  })
})
