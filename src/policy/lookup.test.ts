/**
 * The index of a set: it can cost time alone, never an answer.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Json } from '../model/canonical.ts'
import type { EntityData, EntityUid, Evaluation, PolicySet, Query } from './index.ts'
import { loadPolicySet, referenceSet, renderProblem, uidText } from './index.ts'

const schema = `
entity Person in [Group] = { level: Long, nick?: String };
entity Agent in [Group] = { level: Long, nick?: String };
entity Database in [Group] = { region: String };
action all;
action reads in [all];
type Context = { amount: Long, ticket?: String };
action go in [reads] appliesTo { principal: [Person, Agent], resource: [Database, Group], context: Context };
action run in [all] appliesTo { principal: [Person, Agent], resource: [Database, Group], context: Context };
`
const pool =
  'permit(principal, action == Writ::Action::"approve", resource) when { context.pool == "dba" };\n'

const uid = (type: string, id: string): EntityUid => ({ type, id })
const groups = ['a', 'b', 'c'].map((id) => uid('Group', id))
const actors = [uid('Person', 'ada'), uid('Person', 'eve'), uid('Agent', 'bot')]
const resources = [uid('Database', 'x'), uid('Database', 'y'), ...groups]
const actions = ['go', 'run'].map((id) => uid('Action', id))
const pick = <T>(some: readonly T[]) => fc.constantFrom(...some)

const side = (variable: string, uids: readonly EntityUid[], types: readonly string[]) =>
  fc.oneof(
    fc.constant(variable),
    pick(uids).map((one) => `${variable} == ${uidText(one)}`),
    pick(groups).map((one) => `${variable} in ${uidText(one)}`),
    pick(types).map((type) => `${variable} is ${type}`),
    fc.tuple(pick(types), pick(groups)).map(([type, one]) => `${variable} is ${type} in ${uidText(one)}`),
  )
const head = fc
  .tuple(
    side('principal', actors, ['Person', 'Agent']),
    pick([
      'action',
      'action == Action::"go"',
      'action in Action::"all"',
      'action in [Action::"run", Action::"reads"]',
    ]),
    side('resource', resources, ['Database', 'Group']),
  )
  .map((parts) => parts.join(', '))

/** Some are equalities that the index goes by, some fail, some read what can be unknown. */
const atom = pick([
  'context has ticket && context.ticket == "A"',
  'context has ticket && ["A", "B"].contains(context.ticket)',
  'context.amount == 1',
  'context.amount > 1',
  'principal == Person::"ada"',
  'principal is Agent',
  'resource in Group::"a"',
  'resource is Database',
  'resource is Database && resource.region == "eu"',
  'resource == Database::"x"',
  'principal has nick && principal.nick == "n"',
  'principal.level * 4611686018427387904 > 0',
  'principal.level == 1',
  'principal.level == 5',
  '{ a: context }.a.amount > 0',
  'context.live has task && context.live.task.state == "open"',
  '!(context.live has history)',
  'resource has owner && resource.owner.level > 1',
  'context.proof.justification',
  'context.proof.approvals.dba >= 1',
])
const policy = fc
  .record({
    effect: pick(['permit', 'permit', 'permit', 'forbid']),
    head,
    ignore: pick(['', '@unknown_ignore("task")\n', '@unknown_ignore("principal.level")\n']),
    kind: pick(['when', 'when', 'unless']),
    body: fc.array(atom, { maxLength: 3 }),
    joint: pick([' && ', ' && ', ' || ']),
  })
  .map(({ effect, head: scope, ignore, kind, body, joint }) =>
    body.length === 0
      ? `${ignore}${effect}(${scope});\n`
      : `${ignore}${effect}(${scope}) ${kind} { ${body.map((one) => `(${one})`).join(joint)} };\n`,
  )

type Sets = Readonly<{ plain: PolicySet; indexed: PolicySet; deep: PolicySet }> & fc.WithToStringMethod

function load(texts: readonly string[], index: boolean | 'deep', previous?: PolicySet) {
  const source = {
    policies: [{ name: 'a.cedar', text: pool + texts.join('\n') }],
    schema: { name: 's', text: schema },
  }
  return loadPolicySet(source, { hash: (text) => `${text.length}`, inventory: [], index, previous })
}

function setsOf(texts: readonly string[]): Sets {
  const plain = load(texts, false)
  assert.ok(plain.ok)
  const [indexed, deep] = [load(texts, true, plain.set), load(texts, 'deep', plain.set)]
  assert.ok(indexed.ok && deep.ok)
  return {
    plain: plain.set,
    indexed: indexed.set,
    deep: deep.set,
    // printed when a property fails
    [fc.toStringMethod]: () => texts.join('\n'),
  }
}

/** What is statically impossible is refused by the validator, and left out. */
const sets = fc
  .array(policy, { minLength: 4, maxLength: 16 })
  .map((texts) => setsOf(texts.filter(isPossible)))

const checked = new Map<string, boolean>()
let valid: PolicySet | undefined
function isPossible(text: string): boolean {
  let isGood = checked.get(text)
  if (isGood === undefined) {
    const loaded = load([text], true, valid)
    if (loaded.ok) valid ??= loaded.set
    else {
      const wrong = loaded.problems.find(({ code }) => !['P015', 'P012', 'P014'].includes(code))
      assert.equal(wrong, undefined, wrong && renderProblem(wrong))
    }
    checked.set(text, (isGood = loaded.ok))
  }
  return isGood
}

/** Groups stand only in groups before them, unless it is cyclic. */
const world = fc.record({
  above: fc.array(fc.subarray(groups), { minLength: 5, maxLength: 5 }),
  between: fc.array(fc.subarray(groups), { minLength: 3, maxLength: 3 }),
  level: pick<Json | undefined>([1, 5, 'high', undefined]),
  nick: pick<Json | undefined>([undefined, 'n', null]),
  region: pick<Json | undefined>(['eu', 'us', undefined]),
  amount: pick<Json | undefined>([1, 5, undefined]),
  ticket: pick<Json | undefined>([undefined, 'A', 'B', 7]),
  task: pick<Json | undefined>([undefined, 't']),
  unknown: fc.subarray(['task', 'history', 'now']),
  registered: fc.boolean(),
  cyclic: pick([false, false, false, true]),
  dba: pick([0, 1]),
  justification: fc.boolean(),
})
type World = typeof world extends fc.Arbitrary<infer T> ? T : never

const defined = (record: Record<string, Json | undefined>): Record<string, Json> =>
  Object.fromEntries(Object.entries(record).filter((one): one is [string, Json] => one[1] !== undefined))

function entitiesIn(now: World): EntityData[] {
  const all = [
    ...[...actors, ...resources.slice(0, 2)].map((one, index) => ({
      uid: one,
      attrs:
        one.type === 'Database'
          ? defined({ region: now.region, owner: 'Person::"ada"' })
          : defined({ level: now.level, nick: now.nick }),
      parents: now.above[index] ?? [],
    })),
    ...groups.map((one, index) => ({
      uid: one,
      attrs: {},
      parents: (now.between[index] ?? []).filter((parent) => now.cyclic || groups.indexOf(parent) < index),
    })),
  ]
  return now.registered ? all : all.slice(1)
}

function queriesIn(now: World): Query[] {
  const entities = entitiesIn(now)
  const task = { id: 't', purpose: 'p', state: 'open', declaredAt: '2026-11-22T10:00:00Z' }
  return actors.flatMap((principal) =>
    resources.flatMap((resource) =>
      actions.map((action) => ({
        principal,
        action,
        resource,
        context: defined({ amount: now.amount, ticket: now.ticket }),
        live: {
          now: '2026-11-22T10:00:00Z',
          caller: 'key',
          chain: [],
          ...(now.task === undefined ? {} : { task }),
        },
        unknown: new Set(now.unknown),
        proof: { approvals: { dba: now.dba }, justification: now.justification, reauth: false },
        entities,
      })),
    ),
  )
}

describe('the index of a set', () => {
  test('L7 index on is index off: decisions, what is read, what is in scope, whatever is unknown or fails', () => {
    fc.assert(
      fc.property(sets, world, ({ plain, indexed, deep }, now) => {
        for (const query of queriesIn(now)) {
          const answer = plain.evaluate(query)
          const [reads, scope] = [plain.readsFor(query, query.entities), plain.explain(query).inScope]
          for (const other of [indexed, deep]) {
            assert.deepEqual(other.evaluate(query), answer)
            assert.deepEqual(spelled(other.readsFor(query, query.entities)), spelled(reads))
            assert.equal(other.explain(query).inScope, scope)
          }
        }
      }),
      { numRuns: 30 },
    )
  })

  test('L7 engine and reference say the same of every attempt, whatever is unknown, fails or goes in circles', () => {
    fc.assert(
      fc.property(sets, world, fc.nat(), ({ deep, indexed }, now, turn) => {
        const { source, version } = indexed
        const reference = referenceSet(source, schema, version, (text) => `${text.length}`)
        const queries = queriesIn(now)
        for (let at = 0; at < 4; at += 1) {
          const query = queries[(turn + 7 * at) % queries.length] as Query
          const expected = told(reference.evaluate(query), now)
          assert.deepEqual(told(indexed.evaluate(query), now), expected)
          assert.deepEqual(told(deep.evaluate(query), now), expected)
        }
      }),
      { numRuns: 40 },
    )
  })

  test('whatever is permitted lies inside the reach', () => {
    fc.assert(
      fc.property(sets, world, ({ plain, indexed, deep }, now) => {
        for (const query of queriesIn(now)) {
          if (plain.evaluate(query).decision !== 'permit') continue
          const { principal, action, resource, entities } = query
          const above = aboveOf(entities)
          for (const set of [plain, indexed, deep]) {
            const onto = set.reach({ action, principal }, resource.type, entities)
            assert.ok(isReached(onto, resource, above), `${uidText(resource)} is beyond reach`)
            const by = set.reach({ action, resource }, principal.type, entities)
            assert.ok(isReached(by, principal, above), `${uidText(principal)} is beyond reach`)
          }
        }
      }),
      { numRuns: 30 },
    )
  })

  test('the reach leaves out what heads and conditions of the permits exclude', () => {
    const made = setsOf([
      'permit(principal == Person::"ada", action == Action::"go", resource == Database::"x");',
      'permit(principal in Group::"a", action == Action::"go", resource in Group::"b");',
      'permit(principal is Agent, action == Action::"run", resource);',
      'permit(principal, action == Action::"run", resource) when { principal is Person && resource is Database && context.amount > 1 };',
      'forbid(principal, action, resource) when { context.amount > 5 };',
    ])
    const entities = [{ uid: actors[1] as EntityUid, attrs: { level: 1 }, parents: [uid('Group', 'a')] }]
    const reach = (principal: EntityUid, action: string, type: string) => {
      const { any, named, below } = made.indexed.reach(
        { principal, action: uid('Action', action) },
        type,
        entities,
      )
      return [any, [...named], [...below]]
    }
    assert.deepEqual(reach(uid('Person', 'ada'), 'go', 'Database'), [false, ['Database::"x"'], []])
    assert.deepEqual(reach(uid('Person', 'ada'), 'go', 'Group'), [false, [], []])
    assert.deepEqual(reach(uid('Person', 'eve'), 'go', 'Database'), [false, [], ['Group::"b"']])
    assert.deepEqual(reach(uid('Agent', 'bot'), 'run', 'Group'), [true, [], []])
    assert.deepEqual(reach(uid('Person', 'ada'), 'run', 'Group'), [false, [], []])
    assert.deepEqual(reach(uid('Person', 'ada'), 'run', 'Database'), [true, [], []])
    assert.deepEqual(reach(uid('Person', 'ada'), 'unheard', 'Database'), [false, [], []])
  })

  test('what the index cannot read fails, and what reads it all is blind, as without an index', () => {
    const made = setsOf([
      '@id("fails") @unknown_ignore("principal.level") permit(principal is Agent, action == Action::"go", resource) when { principal.level == 1 };',
      '@id("blind") permit(principal is Agent, action == Action::"go", resource) when { { a: context }.a.amount > 0 };',
    ])
    const query = {
      principal: uid('Agent', 'bot'),
      action: uid('Action', 'go'),
      resource: uid('Database', 'x'),
      context: { amount: 'much' },
      live: { now: '2026-11-22T10:00:00Z', caller: 'key', chain: [] },
      unknown: new Set<string>(),
      proof: { approvals: {}, justification: false, reauth: false },
      entities: [{ uid: uid('Agent', 'bot'), attrs: { level: 'high' }, parents: [] }],
    }
    for (const set of [made.plain, made.indexed, made.deep]) {
      assert.deepEqual(
        set.evaluate(query).errors.map(({ policy: id, cause }) => [id, cause]),
        [
          ['fails', 'error'],
          ['blind', 'unknown'],
        ],
      )
    }
  })

  test('policies that differ in what they ask for cost nothing where they are not asked', () => {
    const set = setsOf(
      Array.from(
        { length: 300 },
        (_, n) =>
          `permit(principal is Agent, action == Action::"go", resource) when { context.amount == ${n} && principal.level > 0 };`,
      ),
    ).indexed
    const [query] = queriesIn({ ...NOTHING_KNOWN, amount: 150 }).filter(
      ({ principal }) => principal.type === 'Agent',
    ) as [Query]
    const { determining } = set.evaluate(query)
    assert.deepEqual(determining, ['a.cedar:152'])
    assert.equal(set.explain({ ...query, context: { amount: 999 } }).inScope, 300)
    // the one that fails in one part alone is found among all
    const low = { ...query, entities: [{ uid: query.principal, attrs: { level: 0 }, parents: [] }] }
    assert.deepEqual(
      set
        .explain(low)
        .nearest.map(({ policy: id }) => id)
        .includes('a.cedar:152'),
      true,
    )
  })

  test('L7 an explanation looks at eight permits, however many are in scope', () => {
    const go = (condition: string) =>
      `permit(principal is Agent, action == Action::"go", resource) when { ${condition} };`
    const far = go('context.amount > 7 && context.amount > 8')
    const [query] = queriesIn({ ...NOTHING_KNOWN, amount: 5 }).filter(
      ({ principal }) => principal.type === 'Agent',
    ) as [Query]
    const nearest = (before: number) => {
      const texts = [...Array.from({ length: before }, () => far), go('context.amount > 7')]
      const { nearest: found, inScope } = setsOf(texts).indexed.explain(query)
      assert.equal(inScope, before + 1)
      return found[0]?.policy
    }
    assert.equal(nearest(7), 'a.cedar:9')
    assert.equal(nearest(8), 'a.cedar:2')
  })
})

const NOTHING_KNOWN: World = {
  above: [],
  between: [],
  level: 3,
  nick: undefined,
  region: 'eu',
  amount: undefined,
  ticket: undefined,
  task: undefined,
  unknown: [],
  registered: true,
  cyclic: false,
  dba: 0,
  justification: false,
}

/** Everything but the wording; where nothing can be evaluated, that is as good a cause as any. */
function told(evaluation: Evaluation, { cyclic }: World): unknown {
  const errors = evaluation.errors.map(({ policy: id, effect, cause }) =>
    [id, effect, cyclic ? '' : cause].join(' '),
  )
  return { ...evaluation, determining: [...evaluation.determining].sort(), errors: errors.sort() }
}

function spelled(reads: ReturnType<PolicySet['readsFor']>): unknown {
  const { facts, contextKeys, approvals, justification } = reads
  const pools = [...approvals].map(([name, counts]) => `${name} ${counts.join()}`)
  return [[...facts].sort(), [...contextKeys].sort(), pools.sort(), justification]
}

function aboveOf(entities: readonly EntityData[]): (one: EntityUid) => ReadonlySet<string> {
  const parents = new Map(entities.map((entity) => [uidText(entity.uid), entity.parents.map(uidText)]))
  return (one) => {
    const found = new Set([uidText(one)])
    for (const key of found) for (const parent of parents.get(key) ?? []) found.add(parent)
    return found
  }
}

function isReached(
  { any, named, below }: ReturnType<PolicySet['reach']>,
  one: EntityUid,
  above: (one: EntityUid) => ReadonlySet<string>,
): boolean {
  return any || named.has(uidText(one)) || [...above(one)].some((key) => below.has(key))
}
