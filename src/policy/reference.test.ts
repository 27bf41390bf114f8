/**
 * Two pens, one answer: the engine against the reference, which asks Cedar policy by policy and applies law 6 itself.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { redecideInputs } from '../decision/redecide.ts'
import type { RedecideInputs } from '../decision/redecide.ts'
import type { Json } from '../model/canonical.ts'
import { isWritError } from '../model/errors.ts'
import type { EntityData, EntityUid, PolicySet, Reference } from './index.ts'
import { loadPolicySet, referenceSet } from './index.ts'

const schema = `
entity Person in [Group] = { level: Long, nick?: String };
entity Agent in [Group] = { level: Long, nick?: String };
entity Database in [Group] = { region: String };
action all;
action go in [all] appliesTo { principal: [Person, Agent], resource: [Database, Group], context: { amount: Long, ticket?: String } };
action run in [all] appliesTo { principal: [Person, Agent], resource: [Database], context: { amount: Long, ticket?: String } };
`
const pool =
  'permit(principal, action == Writ::Action::"approve", resource) when { context.pool == "dba" };\n'
const hash = (text: string): string => `${text.length}:${text.slice(0, 200)}`
const uid = (type: string, id: string): EntityUid => ({ type, id })

const heads = [
  ['principal', 'principal is Agent', 'principal == Person::"ada"', 'principal in Group::"bots"'],
  ['action', 'action == Action::"go"', 'action in Action::"all"', 'action == Action::"run"'],
  ['resource', 'resource is Database', 'resource in Group::"eu"', 'resource == Database::"orders"'],
] as const
const atoms = [
  'principal.level > 2',
  'principal has nick && principal.nick == "n"',
  '!(principal has nick)',
  'resource has owner && resource.owner.level > 1',
  'context.live has task && context.live.task.state == "open"',
  '!(context.live has history)',
  'context.proof.justification',
  'context.proof.approvals.dba >= 1',
  // too large only for some values: the policy fails when it is asked
  'principal.level * 4611686018427387904 > 0',
] as const
const needsContext = ['context.amount > 1', 'context has ticket && context.ticket == "A"'] as const

const policy = fc
  .record({
    effect: fc.constantFrom('permit', 'permit', 'forbid'),
    principal: fc.constantFrom(...heads[0]),
    action: fc.constantFrom(...heads[1]),
    resource: fc.constantFrom(...heads[2]),
    ignore: fc.constantFrom(
      '',
      '',
      '@unknown_ignore("task")\n',
      '@unknown_ignore("principal.level context.ticket")\n',
    ),
    kind: fc.constantFrom('when', 'unless'),
    body: fc.array(fc.constantFrom(...atoms, ...needsContext), { minLength: 1, maxLength: 2 }),
    joint: fc.constantFrom(' && ', ' || '),
  })
  .map(
    ({ effect, principal, action, resource, ignore, kind, body, joint }) =>
      `${ignore}${effect}(${principal}, ${action}, ${resource}) ${kind} { ${body.map((one) => `(${one})`).join(joint)} };\n`,
  )

type Pair = Readonly<{ engine: PolicySet; reference: Reference }>

function pairOf(texts: readonly string[]): Pair | undefined {
  const source = {
    policies: [{ name: 'a.cedar', text: pool + texts.join('') }],
    schema: { name: 's', text: schema },
  }
  const loaded = loadPolicySet(source, { hash, inventory: [] })
  if (!loaded.ok) return undefined // statically true or false
  return { engine: loaded.set, reference: referenceSet(source, schema, loaded.set.version, hash) }
}

const task = { id: 't1', purpose: 'p', state: 'open', declaredAt: '2026-11-22T10:00:00.000Z' }
const optional = <T>(value: T) => fc.constantFrom(undefined, value)
const world = fc.record({
  chain: fc.subarray([uid('Agent', 'bot'), uid('Person', 'ada'), uid('Agent', 'two')], { minLength: 1 }),
  action: fc.constantFrom(
    uid('Action', 'go'),
    uid('Action', 'run'),
    uid('Action', 'unheard'),
    uid('Writ::Action', 'approve'),
  ),
  resource: fc.constantFrom(uid('Database', 'orders'), uid('Database', 'other'), uid('Group', 'eu')),
  amount: fc.constantFrom<Json | undefined>(0, 5, 1.5, undefined),
  ticket: fc.constantFrom<Json | undefined>(undefined, 'A', 7),
  pool: fc.constantFrom<Json | undefined>(undefined, 'dba'),
  task: optional(task),
  history: optional({ calls: 1, denials: 0, resources: 1 }),
  unknown: fc.subarray(['task', 'history', 'now']),
  level: fc.constantFrom<Json | undefined>(1, 5, 'high', undefined),
  nick: fc.constantFrom<Json | undefined>(undefined, 'n', null),
  owner: fc.constantFrom<Json | undefined>(undefined, 'Person::"ada"'),
  registered: fc.boolean(),
  approvals: fc.constantFrom({}, { dba: 1 }),
  justification: fc.boolean(),
})

const defined = (record: Record<string, Json | undefined>): Record<string, Json> =>
  Object.fromEntries(Object.entries(record).filter((one): one is [string, Json] => one[1] !== undefined))

function inputsIn(now: typeof world extends fc.Arbitrary<infer T> ? T : never): RedecideInputs {
  const attrs = defined({ level: now.level, nick: now.nick })
  const entities: EntityData[] = [
    { uid: uid('Agent', 'bot'), attrs, parents: [uid('Group', 'bots')] },
    { uid: uid('Person', 'ada'), attrs: { level: 3 }, parents: [] },
    {
      uid: uid('Database', 'orders'),
      attrs: defined({ region: 'eu', owner: now.owner }),
      parents: [uid('Group', 'eu')],
    },
    { uid: uid('Group', 'bots'), attrs: {}, parents: [] },
  ]
  return {
    policy: 'v',
    schema: 's',
    chain: now.chain,
    action: now.action,
    resource: now.resource,
    context: defined({ amount: now.amount, ticket: now.ticket, pool: now.pool }),
    live: {
      now: '2026-11-22T10:00:00.000Z',
      caller: 'key:1',
      chain: [],
      ...defined({ task: now.task, history: now.history }),
    },
    unknown: now.unknown,
    proof: { approvals: now.approvals, justification: now.justification },
    entities: now.registered ? entities : entities.slice(1),
  }
}

describe('the reference', () => {
  test('C7 engine and reference say the same, for the same policies, whatever is unknown or fails', () => {
    fc.assert(
      fc.property(
        fc
          .array(policy, { minLength: 1, maxLength: 4 })
          .map((texts) => ({ texts, pair: pairOf(texts) }))
          .filter(({ pair }) => pair !== undefined),
        fc.array(world, { minLength: 1, maxLength: 5 }),
        ({ pair }, worlds) => {
          const { engine, reference } = pair as Pair
          for (const one of worlds) {
            const inputs = inputsIn(one)
            assert.deepEqual(redecideInputs(inputs, engine), redecideInputs(inputs, reference))
          }
        },
      ),
      { numRuns: 120 },
    )
  })

  test('C6 an erroring forbid denies and an erroring permit does not apply, by the reference alone', () => {
    const { reference } = pairOf([
      '@id("p") permit(principal, action == Action::"go", resource);\n',
      '@id("f") forbid(principal, action == Action::"go", resource) when { context.live has task && context.live.task.state == "x" };\n',
      '@id("q") permit(principal, action == Action::"run", resource) when { context.live has task };\n',
    ]) as Pair
    const [base] = fc.sample(world, { numRuns: 1, seed: 1 })
    const inputs = inputsIn({
      ...(base as NonNullable<typeof base>),
      chain: [uid('Person', 'ada')],
      resource: uid('Database', 'orders'),
      action: uid('Action', 'go'),
      amount: 1,
      ticket: undefined,
      unknown: ['task'],
    })
    assert.deepEqual(redecideInputs(inputs, reference), { says: 'deny', determining: [], errors: ['f'] })
    const running = { ...inputs, action: uid('Action', 'run') }
    assert.deepEqual(redecideInputs(running, reference), { says: 'deny', determining: [], errors: ['q'] })
    const known = { ...inputs, unknown: [] }
    assert.deepEqual(redecideInputs(known, reference), { says: 'permit', determining: ['p'], errors: [] })
  })

  test('B75 files that are another version, or another schema, make no reference', () => {
    const source = { policies: [{ name: 'a.cedar', text: pool }], schema: { name: 's', text: schema } }
    const loaded = loadPolicySet(source, { hash, inventory: [] })
    assert.ok(loaded.ok)
    const { version } = loaded.set
    assert.throws(
      () => referenceSet(source, schema, 'other', hash),
      (e) => isWritError(e, 'ERR_POLICY_INVALID'),
    )
    assert.throws(
      () => referenceSet(source, `${schema} `, version, hash),
      (e) => isWritError(e, 'ERR_POLICY_INVALID'),
    )
  })

  test('a derived schema that is written down gives the set that derived it', () => {
    const inventory: EntityData[] = [
      {
        uid: uid('Person', 'ada'),
        attrs: { level: 3, nick: 'n', sensitivity: 1 },
        parents: [uid('Group', 'g')],
      },
      { uid: uid('Odd', 'x'), attrs: { 'a b': 'c', tags: ['x'], deep: { a: 1 } }, parents: [] },
    ]
    const source = {
      policies: [
        {
          name: 'a.cedar',
          text: `${pool}permit(principal is Person, action == Action::"go", resource is Odd) when { context has ticket && context.ticket == "A" };`,
        },
      ],
    }
    const first = loadPolicySet(source, { hash, inventory })
    assert.ok(first.ok)
    const again = loadPolicySet(source, { hash, inventory: [], derived: first.set.ownSchemaText })
    assert.ok(again.ok)
    assert.equal(again.set.version, first.set.version)
    assert.equal(again.set.schemaText, first.set.schemaText)
    assert.equal(again.set.derivedSchema, true)
  })
})
