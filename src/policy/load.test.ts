/**
 * Loading: every problem at its place, all at once; what loads is versioned by its content.
 *
 * @module
 */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { EntityData, FactDefinition, PolicySet, PolicySource, Problem } from './index.ts'
import { facts, loadPolicySet, problemCodes, renderProblem } from './index.ts'

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
  table['risk'] = { type: { type: 'Long' }, optional: true, pulled: true, sentence: 'for this test' }
  try {
    const text =
      'forbid(principal, action in [Writ::Action::"publish", Writ::Action::"revoke"], resource) when { context.live has risk };'
    const [problem] = problemsOf(text)
    assert.deepEqual(
      [problem?.code, problem?.message, problem?.column],
      ['P018', '`context.live.risk` may not be read here', 97],
    )
    assert.deepEqual(problemsOf(text.replace('"revoke"', '"publish"')), [])
  } finally {
    delete table['risk']
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
  const started = performance.now()
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
  assert.ok(performance.now() - started < 10_000)
  setOf(policy('true'))
})

test('a megabyte of policies loads in bounded time', () => {
  const one = (n: number) => `// ${'-'.repeat(700)}\n@id("p${n}") ${policy(`context.amount < ${n}`)}\n`
  const text = Array.from({ length: 1_300 }, (_, n) => one(n)).join('')
  assert.ok(text.length > 1_000_000)
  const started = performance.now()
  assert.equal(setOf(text).policies.length, 1_300)
  assert.ok(performance.now() - started < 10_000)
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
