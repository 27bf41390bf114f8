/**
 * Derived schemas: what inventory and policies say is enough, and what is not is refused.
 *
 * @module
 */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { Json } from '../model/canonical.ts'
import type { EntityData, EntityUid, PolicySet, Problem } from './index.ts'
import { loadPolicySet, renderProblem } from './index.ts'

const load = (text: string, inventory: readonly EntityData[] = []) =>
  loadPolicySet({ policies: [{ name: 'a.cedar', text }] }, { hash: () => 'v', inventory })
function setOf(text: string, inventory: readonly EntityData[] = []): PolicySet {
  const loaded = load(text, inventory)
  if (!loaded.ok) throw new Error(loaded.problems.map(renderProblem).join('\n'))
  return loaded.set
}
function problemsOf(text: string, inventory: readonly EntityData[] = []): string[] {
  const loaded = load(text, inventory)
  return loaded.ok ? [] : loaded.problems.map((problem: Problem) => `${problem.code} ${problem.message}`)
}
const entity = (
  type: string,
  id: string,
  attrs: Record<string, Json> = {},
  parents: EntityUid[] = [],
): EntityData => ({
  uid: { type, id },
  attrs,
  parents,
})
const policy = (condition: string) =>
  `permit(principal is Person, action == Action::"go", resource is Box) when { ${condition} };`

/** The declaration of `name` in a printed schema, on one line. */
function declaration(set: PolicySet, name: string): string {
  const found = new RegExp(`^${name}[^;]*;`, 'm').exec(set.schemaText)?.[0] ?? ''
  return found.replace(/\s+/g, ' ').replaceAll('__cedar::', '')
}
const context = (condition: string, inventory: readonly EntityData[] = []) =>
  /context: \{ (.*?),? ?live: /.exec(declaration(setOf(policy(condition), inventory), 'action "go"'))?.[1]

test('types of context keys follow from their use', () => {
  for (const [condition, expected] of [
    ['context.alpha == "x"', 'alpha: String'],
    ['7 > context.alpha', 'alpha: Long'],
    ['context.alpha + 1 > 2', 'alpha: Long'],
    ['context.alpha', 'alpha: Bool'],
    ['!context.alpha || context.beta', 'alpha: Bool, beta: Bool'],
    ['context.alpha like "a*"', 'alpha: String'],
    ['context.alpha.contains("x")', 'alpha: Set<String>'],
    ['["x"].contains(context.alpha)', 'alpha: String'],
    ['context.alpha.containsAll([1, 2])', 'alpha: Set<Long>'],
    ['context.alpha == principal', 'alpha: Person'],
    ['context.alpha in Group::"x"', 'alpha: Group'],
    ['context.alpha is Person', 'alpha: Person'],
    ['context.alpha == resource.size', 'alpha: Long'],
    ['context.alpha == context.live.caller', 'alpha: String'],
    ['context.alpha < context.live.now', 'alpha: datetime'],
    ['context.alpha.isInRange(ip("10.0.0.0/8"))', 'alpha: ipaddr'],
    ['context.alpha.lessThan(decimal("1.5"))', 'alpha: decimal'],
    ['context.live.now.durationSince(context.alpha) < duration("1h")', 'alpha: datetime'],
    ['if context.alpha then context.beta == 1 else false', 'alpha: Bool, beta: Long'],
    ['context has alpha && context.alpha == 1', 'alpha?: Long'],
    ['context.action_properties.rows <= 10', 'action_properties: { rows: Long }'],
    [
      'context has action_properties.rows && context.action_properties.rows <= 10',
      'action_properties?: { rows?: Long }',
    ],
    [
      'context has action_properties && context.action_properties.rows <= 10',
      'action_properties?: { rows: Long }',
    ],
    ['context["a b"] == 1', '"a b": Long'],
  ] as const) {
    assert.equal(context(condition, [entity('Box', 'b', { size: 3 })]), expected, condition)
  }
})

test('what cannot be told, or is used in two ways, is refused', () => {
  assert.deepEqual(problemsOf(policy('context has key')), [
    'P016 the type of `context.key` cannot be told from the policies',
  ])
  assert.deepEqual(problemsOf(policy('context.key.isEmpty()')), [
    'P016 the type of `context.key` cannot be told from the policies',
  ])
  assert.match(
    problemsOf(policy('context.key == 1 && context.key.part == 2'))[0] ?? '',
    /^P017 .*as a record here and as Long/,
  )
  assert.match(
    problemsOf(policy('context.key.part == 2 && context.key'))[0] ?? '',
    /^P017 .*as Bool here and as a record/,
  )
})

test('one policy may tell what another leaves open', () => {
  const set = setOf(`${policy('context has key')}\n${policy('context has key && context.key == 1')}`)
  assert.match(declaration(set, 'action "go"'), /key\?: Long/)
})

test('attributes have the types of the inventory, and are optional if some lack them', () => {
  const set = setOf(policy('true'), [
    entity('Box', 'a', {
      size: 1,
      tags: ['x'],
      meta: { a: 1 },
      keeper: 'Person::"ada"',
      note: 'Thing::"x"',
      sensitivity: 2,
    }),
    entity('Box', 'b', {
      size: 2,
      tags: [],
      meta: { a: 2, b: true },
      keeper: { type: 'Person', id: 'eve' },
      note: 'n',
    }),
    entity('Box', 'c', { size: 2, tags: [], meta: { a: 2 }, keeper: 'Person::"ada"' }),
  ])
  assert.equal(
    declaration(set, 'entity Box'),
    'entity Box = { keeper: Person, meta: { a: Long, b?: Bool }, note?: String, owner?: Person, sensitivity: Long, size: Long, tags: Set<String>, team?: Group, third_party?: Bool };',
  )
  assert.deepEqual(
    problemsOf(policy('true'), [entity('Box', 'a', { n: 1 }), entity('Box', 'b', { n: 'x' })]),
    ['P017 `n` of `Box::"b"` has another type than before'],
  )
  assert.deepEqual(problemsOf(policy('true'), [entity('Box', 'a', { n: 1.5 })]), [
    'P016 `n` of `Box::"a"` has no Cedar type',
  ])
  assert.deepEqual(problemsOf(policy('true'), [entity('big-box', 'a')]), [
    'P021 `big-box` cannot be an entity type',
  ])
})

test('actions apply to what the heads of their policies say', () => {
  const inventory = [
    entity('Agent', 'bot', {}, [{ type: 'Group', id: 'bots' }]),
    entity('Service', 'ci'),
    entity('Box', 'b'),
  ]
  const set = setOf(
    `permit(principal in Group::"bots", action == Action::"one", resource == Box::"b");
     permit(principal is Service, action in [Action::"one", Action::"two"], resource is Box);
     permit(principal, action == Action::"three", resource);
     forbid(principal, action, resource) when { resource.sensitivity > 3 };`,
    inventory,
  )
  assert.match(declaration(set, 'action "one"'), /principal: \[Agent, Person, Service\], resource: \[Box\]/)
  assert.match(declaration(set, 'action "two"'), /principal: \[Service\], resource: \[Box\]/)
  assert.match(
    declaration(set, 'action "three"'),
    /principal: \[Agent, Box, Person, Service\], resource: \[Agent, Box, Group, Person, Role, Service\]/,
  )
})

test('namespaces are kept', () => {
  const set = setOf(
    'permit(principal is App::Worker, action == App::Action::"go", resource is App::Box) when { context.n < resource.size };',
    [entity('App::Worker', 'w'), entity('App::Box', 'b', { size: 1 })],
  )
  assert.match(set.schemaText, /namespace App \{[^]*action "go"/)
  assert.equal(set.derivedSchema, true)
})

test('the derived schema may be taken over as the user’s own', () => {
  const inventory = [entity('Box', 'b', { size: 3 })]
  const first = setOf(
    policy('context.n < resource.size && context has at && context.at < context.live.now'),
    inventory,
  )
  const loaded = loadPolicySet(
    { ...first.source, schema: { name: 's', text: first.ownSchemaText } },
    { hash: () => 'v', inventory },
  )
  assert.ok(loaded.ok, loaded.ok ? '' : loaded.problems.map(renderProblem).join('\n'))
  assert.equal(loaded.set.schemaText, first.schemaText)
})

test('B79 names that every JavaScript object has can be derived', () => {
  const inventory = [
    entity('constructor', 'a', { toString: { valueOf: 1 }, hasOwnProperty: true }),
    entity('constructor', 'b', { toString: { constructor: 2 }, hasOwnProperty: true }),
  ]
  const set = setOf(
    'permit(principal is Person, action == Action::"toString", resource is constructor) when { resource.hasOwnProperty && context.constructor == 1 };',
    inventory,
  )
  assert.match(declaration(set, 'entity constructor'), /toString: \{ constructor\?: Long, valueOf\?: Long \}/)
  assert.ok(!load(policy('true'), [entity('__proto__', 'a'), entity('Box', 'b', { x: 1 })]).ok)
})
