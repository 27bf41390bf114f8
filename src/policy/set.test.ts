/**
 * Evaluation: law 6, scope as Cedar sees it, what a PEP cannot say, obligations.
 *
 * @module
 */
import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import fc from 'fast-check'
import type { Json } from '../model/canonical.ts'
import { isWritError } from '../model/errors.ts'
import type { EntityData, EntityUid, PolicySet, Query } from './index.ts'
import { loadPolicySet, renderProblem, uidText, writAction, writSystem } from './index.ts'

const schema = `
entity Person in [Group, Role] = { level: Long, nick?: String };
entity Agent in [Group] = { level: Long, nick?: String };
entity Database in [Group] = { region: String };
action all;
action reads in [all];
type Context = {
  amount: Long,
  ticket?: String,
  actor?: Person,
  tags?: Set<String>,
  at?: datetime,
  action_properties?: { size?: Long }
};
action go in [reads] appliesTo { principal: [Person, Agent], resource: [Database, Group], context: Context };
action run in [all] appliesTo { principal: [Person, Agent], resource: [Database, Group], context: Context };
`
const pools =
  'permit(principal, action == Writ::Action::"approve", resource) when { ["dba", "peer"].contains(context.pool) };\n'

const cache = new Map<string, PolicySet>()
function setOf(
  text: string,
  user: string | undefined = schema,
  inventory: readonly EntityData[] = [],
): PolicySet {
  const key = `${user} ${text}`
  const known = cache.get(key)
  if (known !== undefined) return known
  const source = { policies: [{ name: 'a.cedar', text: pools + text }] }
  const loaded = loadPolicySet(
    user === undefined || user === '' ? source : { ...source, schema: { name: 's', text: user } },
    { hash: (content) => String(content.length), inventory },
  )
  if (!loaded.ok) throw new Error(loaded.problems.map(renderProblem).join('\n'))
  cache.set(key, loaded.set)
  return loaded.set
}

setOf('permit(principal, action == Action::"go", resource);') // the schema itself is sound

const uid = (type: string, id: string): EntityUid => ({ type, id })
const ada = uid('Person', 'ada')
const bot = uid('Agent', 'bot')
const db = uid('Database', 'orders')
const entities: EntityData[] = [
  { uid: ada, attrs: { level: 3, sensitivity: 1 }, parents: [uid('Group', 'dev')] },
  {
    uid: bot,
    attrs: { level: 1, nick: 'b', sensitivity: 1, owner: 'Person::"ada"' },
    parents: [uid('Group', 'bots')],
  },
  { uid: uid('Group', 'dev'), attrs: { sensitivity: 1 }, parents: [uid('Group', 'all')] },
  { uid: db, attrs: { region: 'eu', sensitivity: 2, owner: { type: 'Person', id: 'ada' } }, parents: [] },
]
const task = { id: 't1', purpose: 'p', state: 'open', declaredAt: '2026-11-22T10:00:00.000Z' }
const live = { now: '2026-11-22T10:00:00.000Z', caller: 'key/1', chain: ['Agent/bot'] }

const ask = (more: Partial<Query> = {}): Query => ({
  principal: bot,
  action: uid('Action', 'go'),
  resource: db,
  context: { amount: 1 },
  live,
  unknown: new Set(),
  proof: { approvals: {}, justification: false, reauth: false },
  entities,
  ...more,
})
const head = 'principal, action == Action::"go", resource'
const permit = (condition: string) => `permit(${head}) when { ${condition} };\n`
const forbid = (condition: string) => `forbid(${head}) when { ${condition} };\n`
const decide = (text: string, more: Partial<Query> = {}) => setOf(text).evaluate(ask(more)).decision

/** Conditions, each over something that can be unknown, some of which hold when it is absent. */
const atoms = [
  'context.amount < 5',
  '!(context.amount < 2)',
  'context has ticket',
  '!(context has ticket)',
  'context has ticket && context.ticket == "A"',
  'context has actor && context.actor.level > 1',
  'context has action_properties.size && context.action_properties.size > 3',
  '!(context has action_properties)',
  'context has at && context.at < context.live.now',
  'context has tags && context.tags.contains("x")',
  'context.live has task && context.live.task.state == "open"',
  '!(context.live has task)',
  'context.live has history && context.live.history.denials > 0',
  'principal.level > 2',
  'principal has nick',
  '!(principal has nick)',
  'resource has owner && resource.owner.level > 1',
  'resource has owner && resource.owner has nick',
  '{ a: context }.a.amount > 0',
  '(if context.amount > 1 then principal else principal).level < 9',
  'context.proof.justification',
  'context.proof.reauth',
  'context.proof.approvals.dba >= 1',
  'principal in Group::"bots"',
] as const

const condition = fc
  .array(fc.tuple(fc.constantFrom(...atoms), fc.constantFrom(' && ', ' || ')), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.map(([atom, joint], index) => (index === 0 ? '' : joint) + `(${atom})`).join(''))
const policyText = fc
  .tuple(fc.constantFrom('permit', 'permit', 'forbid'), fc.constantFrom('when', 'unless'), condition)
  .map(([effect, kind, body]) => `${effect}(${head}) ${kind} { ${body} };\n`)
/** Printed as its text when a property fails. */
class Made {
  readonly text: string
  readonly set: PolicySet
  constructor(text: string) {
    this.text = text
    this.set = setOf(text)
  }
  [fc.toStringMethod](): string {
    return this.text
  }
}
/** Atoms are statically neither true nor false, but their combinations can be: such sets are refused, and left out. */
const policySet = fc
  .array(policyText, { minLength: 1, maxLength: 4 })
  .map((texts) => {
    try {
      return new Made(texts.join(''))
    } catch {
      return undefined
    }
  })
  .filter((made) => made !== undefined)

/** Values of everything that can be unknown; `undefined` is absent. */
const world = fc.record({
  amount: fc.constantFrom<Json>(0, 1, 3, 7),
  ticket: fc.constantFrom(undefined, 'A', 'B'),
  actor: fc.constantFrom(undefined, 'Person::"ada"'),
  tags: fc.constantFrom<Json | undefined>(undefined, [], ['x']),
  at: fc.constantFrom(undefined, '2020-01-01', '2030-01-01'),
  action_properties: fc.constantFrom<Json | undefined>(undefined, {}, { size: 5 }),
  task: fc.constantFrom<Json | undefined>(undefined, task, { ...task, state: 'declared' }),
  history: fc.constantFrom<Json | undefined>(undefined, {
    calls: 1,
    denials: 1,
    retries: 1,
    resources: 1,
    systems: 1,
    rate: 1,
  }),
  level: fc.constantFrom<Json>(1, 5),
  nick: fc.constantFrom(undefined, 'n'),
  ownerNick: fc.constantFrom(undefined, 'n'),
  approvals: fc.constantFrom({}, { dba: 1 }),
  justification: fc.boolean(),
  reauth: fc.boolean(),
})
type World = typeof world extends fc.Arbitrary<infer T> ? T : never

function queryIn(now: World): Query {
  const { amount, ticket, actor, tags, at, action_properties: properties } = now
  const defined = <T>(record: Record<string, T | undefined>) =>
    Object.fromEntries(Object.entries(record).filter((entry): entry is [string, T] => entry[1] !== undefined))
  return ask({
    context: defined<Json>({ amount, ticket, actor, tags, at, action_properties: properties }),
    live: { ...live, ...defined<Json>({ task: now.task, history: now.history }) },
    proof: { approvals: now.approvals, justification: now.justification, reauth: now.reauth },
    entities: [
      {
        uid: bot,
        attrs: defined<Json>({ level: now.level, nick: now.nick }),
        parents: [uid('Group', 'bots')],
      },
      { uid: ada, attrs: defined<Json>({ level: 3, nick: now.ownerNick }), parents: [] },
      { uid: db, attrs: { region: 'eu', owner: 'Person::"ada"' }, parents: [] },
    ],
  })
}

/** Makes one thing of the world unknown: a fact by name, an input by a value that its type cannot hold. */
const spoilers: readonly Readonly<{ vary: keyof World; spoil: (query: Query) => Query }>[] = [
  { vary: 'task', spoil: (query) => ({ ...query, unknown: new Set([...query.unknown, 'task']) }) },
  { vary: 'history', spoil: (query) => ({ ...query, unknown: new Set([...query.unknown, 'history']) }) },
  ...(['amount', 'ticket', 'actor', 'tags', 'at'] as const).map((key) => ({
    vary: key,
    spoil: (query: Query) => ({
      ...query,
      context: { ...query.context, [key]: key === 'amount' ? 1.5 : 7.5 },
    }),
  })),
  {
    vary: 'amount',
    spoil: (query) => ({
      ...query,
      context: Object.fromEntries(Object.entries(query.context).filter(([key]) => key !== 'amount')),
    }),
  },
  {
    vary: 'action_properties',
    spoil: (query) => ({ ...query, context: { ...query.context, action_properties: { size: 2 ** 60 } } }),
  },
  { vary: 'level', spoil: (query) => respell(query, bot, { level: 'high' }) },
  { vary: 'nick', spoil: (query) => respell(query, bot, { nick: null }) },
  { vary: 'ownerNick', spoil: (query) => respell(query, ada, { nick: 7 }) },
]
function respell(query: Query, who: EntityUid, attrs: Record<string, Json>): Query {
  return {
    ...query,
    entities: query.entities.map((one) =>
      one.uid.id === who.id ? { ...one, attrs: { ...one.attrs, ...attrs } } : one,
    ),
  }
}

describe('law 6: absence never widens', () => {
  test('C6 what is permitted with something unknown is permitted whatever its value would be', () => {
    fc.assert(
      fc.property(
        policySet,
        world,
        world,
        fc.constantFrom(...spoilers),
        ({ set }, now, other, { vary, spoil }) => {
          if (set.evaluate(spoil(queryIn(now))).decision !== 'permit') return
          assert.equal(set.evaluate(queryIn(now)).decision, 'permit')
          assert.equal(
            set.evaluate(queryIn({ ...now, [vary]: other[vary] })).decision,
            'permit',
            'another value',
          )
        },
      ),
      { numRuns: 35 },
    )
  })

  test('C6 one more unknown never turns deny into permit', () => {
    fc.assert(
      fc.property(
        policySet,
        world,
        fc.subarray([...spoilers]),
        fc.constantFrom(...spoilers),
        ({ set }, now, some, more) => {
          const query = some.reduce((before, { spoil }) => spoil(before), queryIn(now))
          if (set.evaluate(query).decision === 'permit') return
          assert.equal(set.evaluate(more.spoil(query)).decision, 'deny')
        },
      ),
      { numRuns: 35 },
    )
  })

  test('B17 a permit that needs something is not given when it is missing', () => {
    const needing = atoms.filter((atom) => !atom.startsWith('!') && atom !== 'principal in Group::"bots"')
    const conjunction = fc.uniqueArray(fc.constantFrom(...needing), { minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(
        conjunction,
        world,
        fc.constantFrom('amount', 'ticket', 'actor', 'tags', 'at', 'action_properties'),
        (some, now, missing) => {
          const set = setOf(permit(some.map((atom) => `(${atom})`).join(' && ')))
          const query = queryIn(now)
          const context = Object.fromEntries(Object.entries(query.context).filter(([key]) => key !== missing))
          if (set.evaluate(query).decision === 'deny')
            assert.equal(set.evaluate({ ...query, context }).decision, 'deny')
        },
      ),
      { numRuns: 30 },
    )
  })

  test('B10 a forbid that errors denies, a permit that errors does not apply', () => {
    const overflow = 'context.amount * 9223372036854775807 > 0'
    const set = setOf(permit('true && context.amount > 0') + forbid(overflow))
    assert.equal(set.evaluate(ask()).decision, 'deny', 'fires')
    const denied = set.evaluate(ask({ context: { amount: 2 } }))
    assert.deepEqual(
      [denied.decision, denied.forbidden, denied.explainable, denied.determining],
      ['deny', true, false, []],
    )
    assert.deepEqual(
      denied.errors.map(({ effect, cause }) => [effect, cause]),
      [['forbid', 'error']],
    )
    assert.equal(decide(permit(overflow), { context: { amount: 2 } }), 'deny')
    assert.equal(
      decide(permit(overflow) + permit('context.amount == 2'), { context: { amount: 2 } }),
      'permit',
    )
    const ignoring = permit('context.amount > 0') + `@unknown_ignore("context.amount") ${forbid(overflow)}`
    assert.equal(decide(ignoring, { context: { amount: 2 } }), 'deny', 'an error is not an unknown')
  })

  test('B10 a forbid that reads the unknown denies, `has` included, unless it says to ignore it', () => {
    const unknown = { unknown: new Set(['history']) }
    for (const condition of [
      'context.live has history && context.live.history.denials > 3',
      'context.live has history',
      '!(context.live has history) && context.amount > 5',
    ]) {
      const text = permit('context.amount > 0')
      assert.equal(decide(text + forbid(condition)), 'permit', condition)
      const denied = setOf(text + forbid(condition)).evaluate(ask(unknown))
      assert.deepEqual(
        [denied.decision, denied.forbidden, denied.errors[0]?.cause],
        ['deny', true, 'unknown'],
        condition,
      )
      assert.match(denied.errors[0]?.message ?? '', /`history`/)
      assert.equal(
        decide(`${text}@unknown_ignore("task history")\n${forbid(condition)}`, unknown),
        'permit',
        condition,
      )
    }
    const ignoresAnother = `@unknown_ignore("task context.ticket")\n${forbid('context.live has history')}`
    assert.equal(
      decide(permit('context.amount > 0') + ignoresAnother, unknown),
      'deny',
      'ignores something else',
    )
    const other = 'forbid(principal, action == Action::"run", resource) when { context.live has history };'
    assert.equal(decide(permit('context.amount > 0') + other, unknown), 'permit', 'not in scope')
  })

  test('an unknown that no policy in scope reads changes nothing', () => {
    const answer = setOf(permit('context.amount > 0')).evaluate(
      ask({ unknown: new Set(['history', 'task', 'now']), context: { amount: 1, ticket: 7 } }),
    )
    assert.deepEqual(
      [answer.decision, answer.errors, answer.unknownInputs],
      ['permit', [], ['context.ticket']],
    )
  })

  test('a fact of which one part does not fit is unknown as a whole', () => {
    const text = permit('context.amount > 0') + forbid('context.live has task && context.live.task.id == "x"')
    assert.equal(decide(text, { live: { ...live, task } }), 'permit')
    assert.equal(decide(text, { live: { ...live, task: { ...task, state: 1 } } }), 'deny')
    assert.equal(decide(text, { live: { ...live, task: { id: 't' } } }), 'deny')
    assert.equal(decide(text, { live: { ...live, task: null } }), 'deny')
  })

  test('a required fact that nobody supplied is unknown', () => {
    assert.equal(decide(permit('context.live.caller == "key/1"')), 'permit')
    const answer = setOf(permit('context.live.caller == "key/1"')).evaluate(ask({ live: {} }))
    assert.deepEqual([answer.decision, answer.errors.map(({ cause }) => cause)], ['deny', ['unknown']])
  })
})

describe('what a PEP cannot say', () => {
  test('C6 context members named after Writ’s own are never seen', () => {
    const text = permit('context.proof.approvals.dba >= 1 && context.live has task')
    const forged: Record<string, Json> = {
      amount: 1,
      proof: { approvals: { dba: 9 }, justification: true, reauth: false },
      live: { ...live, task },
      task: 't',
      grant: 'g',
      approval: 'a',
    }
    const answer = setOf(text).evaluate(ask({ context: forged }))
    assert.equal(answer.decision, 'deny')
    assert.deepEqual([...answer.dropped].sort(), ['approval', 'grant', 'live', 'proof', 'task'])
  })

  test('undeclared keys are dropped and noted', () => {
    const answer = setOf(permit('context.amount > 0')).evaluate(
      ask({ context: { amount: 1, more: 1, constructor: {}, action_properties: { size: 1, also: 2 } } }),
    )
    assert.deepEqual(
      [answer.decision, answer.dropped],
      ['permit', ['action_properties.also', 'more', 'constructor']],
    )
  })

  test('B79 keys that would be read as references are refused', () => {
    for (const key of ['__entity', '__extn', '__proto__']) {
      const context = JSON.parse(
        `{"amount":1,"x":[{"${key}":{"type":"Person","id":"ada"}}]}`,
      ) as Query['context']
      assert.throws(
        () => setOf(permit('true && context.amount > 0')).evaluate(ask({ context })),
        (error) => isWritError(error, 'ERR_INPUT_INVALID'),
      )
    }
    assert.throws(
      () => setOf(permit('context.amount > 0')).evaluate(ask({ principal: uid('Agent', 'a\ud800') })),
      isWritError,
    )
  })

  test('B79 names that every JavaScript object has are ordinary names', () => {
    const user =
      'entity constructor = { toString: Long };\nentity A; action go appliesTo { principal: A, resource: constructor, context: { hasOwnProperty?: Long, valueOf: String } };'
    const set = setOf(
      'permit(principal, action == Action::"go", resource) when { resource.toString == 1 && !(context has hasOwnProperty) && context.valueOf == "x" };',
      user,
    )
    const query = (attrs: Record<string, Json>, context: Record<string, Json>) =>
      set.evaluate(
        ask({
          principal: uid('A', 'a'),
          resource: uid('constructor', 'c'),
          context,
          entities: [{ uid: uid('constructor', 'c'), attrs, parents: [] }],
        }),
      ).decision
    assert.equal(query({ toString: 1 }, { valueOf: 'x' }), 'permit')
    assert.equal(query({}, { valueOf: 'x' }), 'deny')
    assert.equal(query({ toString: 1 }, {}), 'deny')
  })

  test('S29 what nobody registered has the highest sensitivity, and nothing else', () => {
    assert.equal(
      decide(permit('resource.sensitivity >= 4'), { resource: uid('Database', 'other') }),
      'permit',
    )
    assert.equal(decide(permit('resource.sensitivity <= 3'), { resource: uid('Database', 'other') }), 'deny')
    assert.equal(
      decide(permit('resource is Database && resource.region != "eu"'), {
        resource: uid('Database', 'other'),
      }),
      'deny',
    )
    const text = permit('context.amount > 0') + forbid('resource is Database && resource.region == "us"')
    assert.equal(
      decide(text, { resource: uid('Database', 'other') }),
      'deny',
      'a required attribute that is missing is unknown',
    )
  })

  test('counts that are no counts are none', () => {
    for (const dba of [NaN, -1, 0.5, 1.5, Infinity]) {
      assert.equal(
        decide(permit('context.proof.approvals.dba >= 1'), {
          proof: { approvals: { dba }, justification: true, reauth: false },
        }),
        'deny',
      )
    }
    assert.equal(
      decide(permit('context.proof.approvals.dba >= 1'), {
        proof: { approvals: { other: 5 }, justification: true, reauth: false },
      }),
      'deny',
    )
  })
})

describe('scope', () => {
  const groups = ['a', 'b', 'c', 'd'].map((id) => uid('Group', id))
  const actors = [ada, bot, uid('Person', 'eve')]
  const resources = [db, uid('Database', 'x'), ...groups]
  const pick = <T>(some: readonly T[]) => fc.constantFrom(...some)
  const spell = (variable: string, uids: readonly EntityUid[], types: readonly string[]) =>
    fc.oneof(
      fc.constant(variable),
      pick(uids).map((one) => `${variable} == ${uidText(one)}`),
      pick(groups).map((one) => `${variable} in ${uidText(one)}`),
      pick(types).map((type) => `${variable} is ${type}`),
      fc.tuple(pick(types), pick(groups)).map(([type, one]) => `${variable} is ${type} in ${uidText(one)}`),
    )
  const headText = fc
    .tuple(
      spell('principal', actors, ['Person', 'Agent']),
      pick([
        'action',
        'action == Action::"go"',
        'action in Action::"go"',
        'action in Action::"reads"',
        'action in Action::"all"',
        'action in [Action::"run", Action::"reads"]',
        'action == Action::"run"',
      ]),
      spell('resource', resources, ['Database', 'Group']),
    )
    .map((parts) => parts.join(', '))
  /** Acyclic: groups stand only in groups before them. */
  const hierarchy = fc
    .tuple(
      fc.array(fc.subarray(groups), { minLength: 5, maxLength: 5 }),
      fc.array(fc.subarray(groups), { minLength: groups.length, maxLength: groups.length }),
    )
    .map(([above, between]): EntityData[] => [
      ...[...actors, db, uid('Database', 'x')].map((one, index) => ({
        uid: one,
        attrs: { level: 1, region: 'eu' },
        parents: above[index] ?? [],
      })),
      ...groups.map((one, index) => ({
        uid: one,
        attrs: {},
        parents: (between[index] ?? []).filter((parent) => groups.indexOf(parent) < index),
      })),
    ])

  test('C7 heads match exactly when Cedar says so', () => {
    fc.assert(
      fc.property(
        fc.array(headText, { minLength: 1, maxLength: 6 }),
        hierarchy,
        pick(actors),
        pick(resources),
        pick(['go', 'run']),
        (heads, all, principal, resource, action) => {
          const set = setOf(heads.map((one, index) => `@id("p${index}") permit(${one});\n`).join(''))
          const query = ask({ principal, resource, action: uid('Action', action), entities: all })
          const plain = cedar.isAuthorized({
            principal,
            action: query.action,
            resource,
            context: {},
            policies: {
              staticPolicies: Object.fromEntries(heads.map((one, index) => [`p${index}`, `permit(${one});`])),
            },
            entities: [
              ...all.map((entity) => ({ ...entity, attrs: {}, parents: [...entity.parents] })),
              { uid: uid('Action', 'go'), attrs: {}, parents: [uid('Action', 'reads')] },
              { uid: uid('Action', 'run'), attrs: {}, parents: [uid('Action', 'all')] },
              { uid: uid('Action', 'reads'), attrs: {}, parents: [uid('Action', 'all')] },
            ],
          })
          assert.equal(plain.type, 'success')
          const expected = plain.type === 'success' ? [...plain.response.diagnostics.reason].sort() : []
          assert.equal(set.explain(query).inScope, expected.length)
          assert.deepEqual([...set.evaluate(query).determining].sort(), expected)
        },
      ),
      { numRuns: 30 },
    )
  })

  test('C7 without anything unknown the answer is that of reference Cedar on the composed schema', () => {
    fc.assert(
      fc.property(policySet, world, ({ text, set }, now) => {
        const query = queryIn(now)
        const extension = (value: Json | undefined) => (value === undefined ? {} : { at: value })
        const { actor, at, ...rest } = query.context
        const answer = cedar.isAuthorized({
          principal: query.principal,
          action: query.action,
          resource: query.resource,
          context: {
            ...(rest as cedar.Context),
            ...(extension(at) as cedar.Context),
            ...(actor === undefined ? {} : { actor: { __entity: ada } }),
            live: query.live as cedar.Context,
            proof: {
              approvals: { dba: query.proof.approvals['dba'] ?? 0, peer: 0 },
              justification: query.proof.justification,
              reauth: query.proof.reauth,
            },
          },
          schema: set.schemaText,
          validateRequest: true,
          policies: { staticPolicies: text },
          entities: query.entities.map((entity) => ({
            uid: entity.uid,
            attrs: {
              ...(entity.attrs as Record<string, cedar.CedarValueJson>),
              sensitivity: 4,
              ...(entity.attrs['owner'] === undefined ? {} : { owner: { __entity: ada } }),
            },
            parents: [...entity.parents],
          })),
        })
        if (answer.type !== 'success') return assert.fail(JSON.stringify(answer.errors))
        const { decision, determining, errors } = set.evaluate(query)
        assert.deepEqual(errors, [])
        assert.equal(decision, answer.response.decision === 'allow' ? 'permit' : 'deny')
        assert.equal(determining.length, answer.response.diagnostics.reason.length)
      }),
      { numRuns: 30 },
    )
  })

  test('actions, types and pairs that the schema does not know are denied, and it is said why', () => {
    const set = setOf('permit(principal, action, resource);')
    assert.match(
      set.evaluate(ask({ action: uid('Action', 'stop') })).mismatch ?? '',
      /action `Action::"stop"` is not declared/,
    )
    assert.match(
      set.evaluate(ask({ resource: uid('Boat', 'x') })).mismatch ?? '',
      /entity type `Boat` is not declared/,
    )
    assert.match(
      set.evaluate(ask({ principal: uid('Role', 'x') })).mismatch ?? '',
      /`Role` cannot be the principal/,
    )
    assert.equal(set.evaluate(ask({ action: uid('Action', 'stop') })).decision, 'deny')
    assert.deepEqual([...set.readsFor(ask({ action: uid('Action', 'stop') }), []).facts], [])
  })

  test('a wildcard never governs Writ; a named action of Writ governs nothing else', () => {
    const text =
      'permit(principal, action, resource);\nforbid(principal, action == Writ::Action::"revoke", resource) when { principal is Person && principal.level > 5 };'
    const set = setOf(text)
    for (const name of ['publish', 'administer', 'deny', 'read']) {
      assert.equal(
        set.evaluate(ask({ principal: ada, action: writAction(name), resource: writSystem })).decision,
        'deny',
        name,
      )
    }
    assert.equal(set.evaluate(ask()).decision, 'permit')
  })

  test('a hierarchy with a cycle gives no answer, which is deny', () => {
    const around = [
      { uid: bot, attrs: { level: 1 }, parents: [uid('Group', 'a')] },
      { uid: uid('Group', 'a'), attrs: {}, parents: [uid('Group', 'b')] },
      { uid: uid('Group', 'b'), attrs: {}, parents: [uid('Group', 'a')] },
    ]
    const answer = setOf(permit('context.amount > 0')).evaluate(ask({ entities: around }))
    assert.deepEqual([answer.decision, answer.errors.map(({ cause }) => cause)], ['deny', ['error']])
    assert.equal(decide(permit('context.amount > 0')), 'permit', 'and the next is answered')
  })
})

describe('reads', () => {
  const reads = (text: string, more: Partial<Query> = {}) => setOf(text).readsFor(ask(more), entities)

  test('only policies in scope count', () => {
    const text =
      permit('context.live has task && context.amount > 1') +
      'permit(principal is Person, action, resource) when { context.live has history && context has ticket };'
    assert.deepEqual([...reads(text).facts], ['task'])
    assert.deepEqual([...reads(text).contextKeys], ['amount'])
    assert.deepEqual([...reads(text, { principal: ada }).facts].sort(), ['history', 'task'])
  })

  test('the counts worth trying are those on the far side of each comparison', () => {
    const tried = (condition: string) => [
      ...(reads(permit(`context.amount > 0 && ${condition}`)).approvals.get('dba') ?? []),
    ]
    const count = 'context.proof.approvals.dba'
    assert.deepEqual(tried(`${count} >= 2`), [2])
    assert.deepEqual(tried(`${count} > 1`), [2])
    assert.deepEqual(tried(`2 <= ${count}`), [2])
    assert.deepEqual(tried(`1 < ${count}`), [2])
    assert.deepEqual(tried(`${count} == 3`), [3])
    assert.deepEqual(tried(`!(${count} < 2)`), [2])
    assert.deepEqual(tried(`!(${count} <= 2)`), [3])
    assert.deepEqual(tried(`${count} != 1`), [1, 2])
    assert.deepEqual(tried(`${count} >= 1 && ${count} < 4`), [1, 4])
    assert.deepEqual(tried(`${count} + context.proof.approvals.peer >= 4`), [1, 2, 3, 4])
    assert.deepEqual([...reads(permit('context.proof.justification')).approvals], [])
    assert.equal(reads(permit('context.proof.justification')).justification, true)
  })

  test('for every policy over one pool, some tried count decides as the true border does', () => {
    const comparison = fc.tuple(
      fc.constantFrom('>', '>=', '==', '<', '<=', '!='),
      fc.integer({ min: 0, max: 5 }),
      fc.boolean(),
    )
    fc.assert(
      fc.property(fc.array(comparison, { minLength: 1, maxLength: 3 }), (some) => {
        const condition = some
          .map(([operator, n, swap]) =>
            swap
              ? `${n} ${operator} context.proof.approvals.dba`
              : `context.proof.approvals.dba ${operator} ${n}`,
          )
          .join(' && ')
        const set = setOf(permit(`context.amount > 0 && ${condition}`))
        const permits = (dba: number) =>
          set.evaluate(ask({ proof: { approvals: { dba }, justification: false, reauth: false } }))
            .decision === 'permit'
        const counts = [0, ...(set.readsFor(ask(), entities).approvals.get('dba') ?? [])]
        const possible = [0, 1, 2, 3, 4, 5, 6, 7].some(permits)
        // What only a count strictly between two borders would permit is not tried; `x > 1 && x < 4` is found at 2.
        if (possible)
          assert.ok(
            counts.some((count) => permits(count)),
            `${condition} with ${counts.join()}`,
          )
      }),
      { numRuns: 30 },
    )
  })
})

test('obligations of the deciding permits, the strictest winning', () => {
  const text =
    `@ttl("10m") @uses("3") @binding("task") @notify("on-call") ${permit('context.amount > 0')}` +
    `@ttl("1h") @uses("1") @review("24h") @notify("lead on-call") ${permit('context.amount > 0 || context has ticket')}` +
    `@ttl("1s") @binding("attempt") ${permit('context.amount > 99')}`
  assert.deepEqual(setOf(text).evaluate(ask()).obligations, {
    ttl: 600_000,
    uses: 1,
    review: 86_400_000,
    binding: 'task',
    bindingDeclared: true,
    notify: ['lead', 'on-call'],
  })
  assert.deepEqual(setOf(text).evaluate(ask({ context: { amount: 100 } })).obligations.binding, 'attempt')
  const plain = { binding: 'attempt', bindingDeclared: false, notify: [] }
  assert.deepEqual(setOf(permit('context.amount > 0')).evaluate(ask()).obligations, plain)
  assert.deepEqual(setOf(text + forbid('context.amount == 1')).evaluate(ask()).obligations, plain)
})

test('only forbids that are all annotated may be explained', () => {
  const text = permit('context.amount > 0')
  const answer = (forbids: string) => setOf(text + forbids).evaluate(ask())
  assert.equal(answer(`@explain ${forbid('context.amount == 1')}`).explainable, true)
  assert.equal(
    answer(`@explain ${forbid('context.amount == 1')}${forbid('context.amount < 2')}`).explainable,
    false,
  )
  assert.equal(answer(`@explain ${forbid('context.amount == 7')}`).forbidden, false)
})
