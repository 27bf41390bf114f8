import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { parse } from 'yaml'
import type { EntityData, EntityUid } from './index.ts'
import { lint, lintNames, loadPolicySet, problemCodes, renderProblem, uidText } from './index.ts'

const uid = (text: string): EntityUid => {
  const cut = text.indexOf('/')
  return { type: text.slice(0, cut), id: text.slice(cut + 1) }
}
const entity = (name: string, parents: string[] = [], attrs: EntityData['attrs'] = {}): EntityData => ({
  uid: uid(name),
  attrs,
  parents: parents.map(uid),
})

const inventory = [
  entity('Person/ada', ['Group/admins', 'Group/developers']),
  entity('Person/grace', ['Group/dba']),
  entity('Group/dba', ['Group/staff']),
  entity('Agent/migrator', ['Group/deployers']),
  entity('Database/orders', [], { sensitivity: 3 }),
  entity('Document/handbook', [], { sensitivity: 1 }),
]

function load(text: string, entities: readonly EntityData[] = inventory) {
  const loaded = loadPolicySet(
    { policies: [{ name: 'a.cedar', text }] },
    { hash: (it) => `len:${it.length}`, inventory: entities },
  )
  if (!loaded.ok) throw new Error(loaded.problems.map(renderProblem).join('\n'))
  return loaded.set
}

/** Each finding as its code and the text it points at. */
function findings(text: string, entities: readonly EntityData[] = inventory): string[] {
  return lint(load(text, entities), entities).map(({ code, line, column, endLine, endColumn, message }) => {
    const lines = text.split('\n').slice(line - 1, endLine)
    const last = lines.length - 1
    lines[last] = (lines[last] ?? '').slice(0, (endColumn ?? 1) - 1)
    return `${code} ${lines.join('\n').slice(column - 1)} · ${message}`
  })
}

const permit = (when: string, more = ''): string =>
  `${more}permit(principal in Group::"deployers", action == Action::"read", resource is Database)\nwhen { ${when} };`
const approve = (pool: string, who = 'in Group::"dba"', more = ''): string =>
  `${more}permit(principal ${who}, action == Writ::Action::"approve", resource) when { context.pool == "${pool}" };`

suite('what is told', () => {
  const cases: Record<string, [name: string, text: string, told: string[]][]> = {
    L001: [
      ['true', permit('true'), ['L001 true · this condition always holds']],
      [
        'something compared with itself',
        permit('resource.sensitivity == resource.sensitivity'),
        ['L001 resource.sensitivity == resource.sensitivity · this condition always holds'],
      ],
      [
        'one way or the other',
        permit('context.live has task || !(context.live has task)'),
        ['L001 context.live has task || !(context.live has task) · this condition always holds'],
      ],
      [
        'ranges that leave nothing out',
        permit('resource.sensitivity < 3 || resource.sensitivity >= 2'),
        ['L001 resource.sensitivity < 3 || resource.sensitivity >= 2 · this condition always holds'],
      ],
      ['a part', permit('context.live has task && (1 == 1)'), ['L001 1 == 1 · this part always holds']],
      [
        'an exclusion of nothing',
        'permit(principal in Group::"deployers", action == Action::"read", resource) unless { false };',
        ['L001 false · this condition never holds'],
      ],
    ],
    L002: [
      [
        'ranges without a value in common',
        permit('resource.sensitivity > 3 && resource.sensitivity < 2'),
        ['L002 resource.sensitivity > 3 && resource.sensitivity < 2 · this condition never holds'],
      ],
      [
        'two names at once',
        permit('context.env == "a" && ["b", "c"].contains(context.env)'),
        ['L002 context.env == "a" && ["b", "c"].contains(context.env) · this condition never holds'],
      ],
      [
        'a part',
        permit('context.live has task || (resource.sensitivity == 1 && resource.sensitivity == 2)'),
        ['L002 resource.sensitivity == 1 && resource.sensitivity == 2 · this part never holds'],
      ],
      [
        'conditions that contradict each other',
        'permit(principal in Group::"deployers", action == Action::"read", resource)\nwhen { resource.sensitivity > 3 } unless { resource.sensitivity >= 2 };',
        ['L002 permit · the conditions of this policy contradict each other'],
      ],
    ],
    L003: [
      [
        'the same twice',
        `${permit('resource.sensitivity <= 1', '@id("one")\n')}\n${permit('1 >= resource.sensitivity', '@id("two")\n')}`,
        ['L003 permit · this says the same as `one` (a.cedar:1)'],
      ],
      [
        'a broader permit',
        `@id("all") permit(principal, action in [Action::"read", Action::"list"], resource)\nwhen { resource.sensitivity <= 2 };\n${permit('resource.sensitivity <= 1')}`,
        ['L003 permit · `all` (a.cedar:1) permits all of this already'],
      ],
      [
        'a permit of a group above, which asks for less',
        `@id("staff") permit(principal in Group::"staff", action == Action::"write", resource) when { context.live has task };\n@ttl("5m") permit(principal in Group::"dba", action == Action::"write", resource is Database)\nwhen { context.live has task && context.proof.justification };`,
        ['L003 permit · `staff` (a.cedar:1) permits all of this without asking for it'],
      ],
      [
        'a forbid that overrules it',
        `@id("never") forbid(principal, action == Action::"read", resource is Database);\n${permit('resource.sensitivity <= 1')}`,
        ['L003 permit · the forbid `never` (a.cedar:1) overrules all that this permits'],
      ],
      [
        'a broader forbid',
        `${permit('resource.sensitivity <= 1')}\n@id("all") forbid(principal, action, resource) when { resource.sensitivity >= 3 };\nforbid(principal, action == Action::"read", resource) when { resource.sensitivity > 3 };`,
        ['L003 forbid · `all` (a.cedar:3) forbids all of this already'],
      ],
    ],
    L004: [
      [
        'evidence',
        'permit(principal in Group::"deployers", action == Action::"migrate", resource is Document)\nwhen { context.proof.justification };',
        ['L004 permit · this permit needs evidence and has no `@ttl`'],
      ],
      [
        'a sensitive thing by name',
        'permit(principal in Group::"deployers", action == Action::"migrate", resource == Database::"orders")\nwhen { context.live has task };',
        ['L004 permit · this permits a sensitive act and has no `@ttl`'],
      ],
      [
        'a sensitivity in the condition',
        'permit(principal in Group::"deployers", action == Action::"migrate", resource)\nwhen { resource.sensitivity > 2 };',
        ['L004 permit · this permits a sensitive act and has no `@ttl`'],
      ],
    ],
    L005: [
      [
        'everybody',
        `${approve('dba', 'is Person')}\n@ttl("1m") ${permit('context.proof.approvals.dba >= 1')}`,
        ['L005 principal is Person · everybody may give approvals of `dba`'],
      ],
      [
        'the group that asks',
        `${approve('dba')}\n@id("own") @ttl("1m")\npermit(principal in Group::"staff", action == Action::"write", resource is Database)\nwhen { context.proof.approvals.dba >= 1 };`,
        [
          'L005 principal in Group::"dba" · those who need this approval for `own` (a.cedar:2) may give it to each other',
        ],
      ],
    ],
    L006: [
      [
        'every action',
        `${permit('context.live has task')}\npermit(principal in Group::"admins", action, resource) when { resource.sensitivity == 2 };`,
        ['L006 action · this permits every action, also those to come'],
      ],
    ],
    L007: [
      [
        'everybody',
        'permit(principal, action == Action::"read", resource is Document);',
        ['L007 principal · this permits everybody, without a condition'],
      ],
    ],
    L008: [
      [
        'a group that nobody is in',
        'permit(principal in Group::"contractors", action == Action::"read", resource is Document);',
        ['L008 principal in Group::"contractors" · nothing in the inventory is in `Group::"contractors"`'],
      ],
      [
        'an entity, in a condition',
        permit('resource == Database::"order" && context.live has task'),
        ['L008 Database::"order" · `Database::"order"` is not in the inventory'],
      ],
      [
        'a slip of the pen, also in what governs Writ',
        `${permit('context.live has task')}\npermit(principal in Group::"admin", action == Writ::Action::"publish", resource);`,
        ['L008 principal in Group::"admin" · nothing in the inventory is in `Group::"admin"`'],
      ],
    ],
    L009: [
      [
        'everybody',
        `${permit('context.live has task')}\npermit(principal is Person, action in [Writ::Action::"publish", Writ::Action::"read"], resource);`,
        ['L009 principal is Person · everybody may publish, read'],
      ],
    ],
    L010: [
      [
        'a forbid',
        `${permit('context.live has task')}\n@unknown_ignore("history")\nforbid(principal, action, resource) when { context.live has history && context.live.history.calls > 9 };`,
        ['L010 @unknown_ignore("history") · this forbid is left out while what it reads is unknown'],
      ],
    ],
    L011: [
      [
        'a pool',
        `${approve('dba')}\n${approve('dbaa')}\n@ttl("1m") ${permit('context.proof.approvals.dba >= 1')}`,
        ['L011 "dbaa" · no policy asks for an approval of `dbaa`'],
      ],
    ],
    L012: [
      [
        'a pool of nobody',
        `${approve('legal', 'in Group::"deployers"')}\n@ttl("1m")\npermit(principal in Group::"developers", action == Action::"write", resource is Document)\nwhen { context.proof.approvals.legal >= 1 };`,
        ['L012 context.proof.approvals.legal · nobody in the inventory can give an approval of `legal`'],
      ],
    ],
    L013: [
      [
        'a rule',
        permit('context.live has task', '@lint_ignore("wildcard-acton")\n'),
        ['L013 @lint_ignore("wildcard-acton") · unknown lint rule `wildcard-acton`'],
      ],
    ],
  }
  for (const [code, all] of Object.entries(cases)) {
    for (const [name, text, told] of all) {
      test(`${code} ${lintNames[code as keyof typeof lintNames]}: ${name}`, () => {
        assert.deepEqual(findings(text), told)
      })
      if (code !== 'L013')
        test(`${code} not where it is meant: ${name}`, () => {
          const meant = load(text).policies.reduceRight((so, { line }) => {
            const lines = so.split('\n')
            lines[line - 1] =
              `@lint_ignore("${lintNames[code as keyof typeof lintNames]}") ${lines[line - 1]}`
            return lines.join('\n')
          }, text)
          assert.deepEqual(findings(meant), [])
        })
    }
  }
  test('every rule has a case here', () => {
    const rules = Object.keys(problemCodes).filter((code) => code.startsWith('L'))
    assert.deepEqual(Object.keys(cases), rules)
    assert.deepEqual(Object.keys(lintNames), rules)
  })
})

suite('what is not told', () => {
  const quiet: [name: string, text: string][] = [
    ['a condition that depends', permit('resource.sensitivity <= 1 || context.live has task')],
    [
      'integers as large as they come',
      permit('context has action_properties.n && context.action_properties.n < 9223372036854775807'),
    ],
    [
      'a stricter permit beside a broader one: the strictest obligations count',
      `${permit('resource.sensitivity <= 3', '@ttl("10m") ')}\n${permit('resource.sensitivity <= 1', '@ttl("1m") ')}`,
    ],
    [
      'two that overlap',
      `${permit('resource.sensitivity <= 3 && context.live has task')}\n${permit('resource.sensitivity <= 2')}`,
    ],
    [
      'a forbid that evidence lifts',
      `${approve('dba')}\n${permit('context.live has task')}\nforbid(principal, action == Action::"read", resource is Database) when { context.proof.approvals.dba < 1 };`,
    ],
    [
      'an approval from above, and one that excludes who asks',
      `${approve('boss', 'in Group::"admins"')}\n@ttl("1m")\npermit(principal in Group::"dba", action == Action::"write", resource is Database)\nwhen { context.proof.approvals.boss >= 1 };`,
    ],
    [
      'people who take back what is theirs',
      `${permit('context.live has task')}\npermit(principal is Person, action == Writ::Action::"revoke", resource) when { resource has owner && resource.owner == principal };`,
    ],
    [
      'groups of Writ itself that are still empty',
      `${permit('context.live has task')}\npermit(principal in Group::"collectors", action == Writ::Action::"observe", resource);`,
    ],
  ]
  for (const [name, text] of quiet) test(name, () => assert.deepEqual(findings(text), []))

  test('who there is, without an inventory', () => {
    assert.deepEqual(
      findings(
        'permit(principal in Group::"contractors", action == Action::"read", resource is Document);\npermit(principal is Person in Group::"x", action == Action::"write", resource is Document);',
        [],
      ),
      [],
    )
  })

  test('the starter policies', () => {
    type Line = { type: string; id: string; sensitivity?: number; parents?: string[] }
    const folder = new URL('../../policies/', import.meta.url)
    const read = (name: string) => readFileSync(new URL(name, folder), 'utf8')
    const lines = (parse(read('inventory.yaml')) as { entities: Line[] }).entities
    const entities = lines.map(({ type, id, sensitivity, parents = [] }) =>
      entity(`${type}/${id}`, parents, sensitivity === undefined ? {} : { sensitivity }),
    )
    const loaded = loadPolicySet(
      {
        policies: readdirSync(folder, { recursive: true })
          .map(String)
          .filter((name) => name.endsWith('.cedar'))
          .map((name) => ({ name, text: read(name) })),
      },
      { hash: (text) => `len:${text.length}`, inventory: entities },
    )
    if (!loaded.ok) throw new Error(loaded.problems.map(renderProblem).join('\n'))
    assert.deepEqual(lint(loaded.set, entities).map(renderProblem), [])
  })
})

test('policies that have much in common are compared in bounded time', { timeout: 60_000 }, () => {
  const text = Array.from(
    { length: 3_000 },
    (_, at) =>
      `permit(principal in Group::"deployers", action == Action::"read", resource is Database) when { resource.sensitivity == 1 && context.live has task && principal == Agent::"a${at}" };`,
  ).join('\n')
  const entities = [entity('Agent/migrator', ['Group/deployers']), entity('Database/orders')]
  assert.equal(lint(load(text, entities), []).length, 0)
})

test('findings name entities as policies spell them', () => {
  const [problem] = lint(
    load('permit(principal in Group::"dbas", action == Action::"read", resource is Document);'),
    inventory,
  )
  assert.equal(problem?.hint, `did you mean \`${uidText({ type: 'Group', id: 'dba' })}\`?`)
  assert.equal(problem.severity, 'warning')
})

suite('what people write by mistake', () => {
  const told = (text: string, entities?: readonly EntityData[]): string[] =>
    findings(text, entities).map((one) => one.replace(/^(L\d+).* · /su, '$1 '))
  const one = (when: string): string[] =>
    told(`${permit(when, '@ttl("5m")\n')}${when.includes('approvals') ? `\n${approve('dba')}` : ''}`)

  test('an approval that is never needed, a count that is never reached', () => {
    assert.deepEqual(one('context.proof.approvals.dba >= 0'), ['L001 this condition always holds'])
    assert.deepEqual(one('context.proof.approvals.dba < 0'), ['L002 this condition never holds'])
    assert.deepEqual(one('context.proof.approvals.dba >= 1'), [])
    assert.deepEqual(one('context.proof.approvals.dba >= 2'), [
      'L012 2 approvals of `dba`, and one person in the inventory can give one',
    ])
  })

  test('a sensitivity that nothing has', () => {
    assert.deepEqual(one('resource.sensitivity >= 5'), ['L002 this condition never holds'])
    assert.deepEqual(one('resource.sensitivity >= 1'), ['L001 this condition always holds'])
    assert.deepEqual(one('resource.sensitivity >= 4'), [])
  })

  test('a window over midnight written as one within a day, and a text that is anything', () => {
    const window = (from: string, to: string, operator: string): string =>
      `context.live.now.toTime() >= duration("${from}") ${operator} context.live.now.toTime() <= duration("${to}")`
    assert.deepEqual(one(window('22h', '4h', '&&')), ['L002 this condition never holds'])
    assert.deepEqual(one(window('22h', '4h', '||')), [])
    assert.deepEqual(one(window('4h', '22h', '&&')), [])
    assert.deepEqual(
      one('context.live.now < datetime("2026-01-01") && context.live.now > datetime("2026-02-01")'),
      ['L002 this condition never holds'],
    )
    const ticket = (pattern: string): string =>
      `context.live has task && context.live.task has ticket && context.live.task.ticket like "${pattern}"`
    assert.deepEqual(one(ticket('*')), ['L001 this part always holds'])
    assert.deepEqual(one(ticket('CHG-*')), [])
  })

  test('everybody who says that they have a task', () => {
    const open = (when: string): string[] =>
      told(`permit(principal, action == Action::"read", resource is Database) when { ${when} };`)
    const everybody = ['L007 this permits everybody who declares a task, and everybody may']
    assert.deepEqual(open('context.live has task'), everybody)
    assert.deepEqual(open('context.live has task && context.live.task.purpose == "x"'), everybody)
    assert.deepEqual(open('context.live has task && resource.sensitivity <= 1'), [])
  })

  test('two people of two groups, who would let each other in', () => {
    const text = `${permit('context.proof.approvals.dba >= 1', '@ttl("5m")\n')}\n${approve('dba')}`
    const both = (name: string): EntityData => entity(name, ['Group/deployers', 'Group/dba'])
    assert.deepEqual(told(text, [...inventory, both('Person/one')]), [])
    assert.deepEqual(
      told(text, [...inventory, both('Person/one'), both('Person/two')]).map((it) => it.slice(0, 4)),
      ['L005'],
    )
    const apart = text.replace(
      '{ context.pool == "dba" };',
      '{ context.pool == "dba" } unless { principal in Group::"deployers" };',
    )
    assert.deepEqual(told(apart, [...inventory, both('Person/one'), both('Person/two')]), [])
  })
})
