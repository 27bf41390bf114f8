/**
 * Whole sets: the engine beside the reference, which asks Cedar policy by policy and applies law 6 itself. Permits and
 * forbids, chains, facts that are unknown or of another type, what says that it ignores them, what fails.
 *
 * @module
 */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { redecideInputs } from '../../src/decision/redecide.ts'
import type { RedecideInputs } from '../../src/decision/redecide.ts'
import type { Json } from '../../src/model/canonical.ts'
import type { EntityData, EntityUid, PolicySet, Reference } from '../../src/policy/index.ts'
import { loadPolicySet, referenceSet } from '../../src/policy/index.ts'

export const schema = `
entity Person in [Group] = { level: Long, nick?: String };
entity Agent in [Group] = { level: Long, nick?: String };
entity Database in [Group] = { region: String };
action all;
action go in [all] appliesTo { principal: [Person, Agent], resource: [Database, Group], context: { amount: Long, ticket?: String } };
action run in [all] appliesTo { principal: [Person, Agent], resource: [Database], context: { amount: Long, ticket?: String } };
`
export const pool =
  'permit(principal, action == Writ::Action::"approve", resource) when { context.pool == "dba" };\n'
export const hash = (text: string): string => `${text.length}:${text.slice(0, 200)}`
export const uid = (type: string, id: string): EntityUid => ({ type, id })

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
  'context.proof.reauth',
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

type Pair = Readonly<{ engine: PolicySet; deep: PolicySet; reference: Reference }>

export function pairOf(texts: readonly string[]): Pair | undefined {
  const source = {
    policies: [{ name: 'a.cedar', text: pool + texts.join('') }],
    schema: { name: 's', text: schema },
  }
  const loaded = loadPolicySet(source, { hash, inventory: [] })
  if (!loaded.ok) return undefined // statically true or false
  const deep = loadPolicySet(source, { hash, inventory: [], index: 'deep', previous: loaded.set })
  assert.ok(deep.ok)
  const reference = referenceSet(source, schema, loaded.set.version, hash)
  return { engine: loaded.set, deep: deep.set, reference }
}

const task = { id: 't1', purpose: 'p', state: 'open', declaredAt: '2026-11-22T10:00:00.000Z' }
const optional = <T>(value: T) => fc.constantFrom(undefined, value)
export const world = fc.record({
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
  history: optional({ calls: 1, denials: 0, retries: 0, resources: 1, systems: 1, rate: 0 }),
  unknown: fc.subarray(['task', 'history', 'now']),
  level: fc.constantFrom<Json | undefined>(1, 5, 'high', undefined),
  nick: fc.constantFrom<Json | undefined>(undefined, 'n', null),
  owner: fc.constantFrom<Json | undefined>(undefined, 'Person::"ada"'),
  registered: fc.boolean(),
  approvals: fc.constantFrom({}, { dba: 1 }),
  justification: fc.boolean(),
  reauth: fc.boolean(),
})

const defined = (record: Record<string, Json | undefined>): Record<string, Json> =>
  Object.fromEntries(Object.entries(record).filter((one): one is [string, Json] => one[1] !== undefined))

export function inputsIn(now: typeof world extends fc.Arbitrary<infer T> ? T : never): RedecideInputs {
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
    of: {},
    live: {
      now: '2026-11-22T10:00:00.000Z',
      caller: 'key:1',
      chain: [],
      ...defined({ task: now.task, history: now.history }),
    },
    unknown: now.unknown,
    proof: { approvals: now.approvals, justification: now.justification, reauth: now.reauth },
    entities: now.registered ? entities : entities.slice(1),
  }
}

/** The same for the same policies, whatever is unknown or fails. `most` policies make a set. */
export const sameAnswers = (most: number) =>
  fc.property(
    fc
      .array(policy, { minLength: 1, maxLength: most })
      .map((texts) => ({ texts, pair: pairOf(texts) }))
      .filter(({ pair }) => pair !== undefined),
    fc.array(world, { minLength: 1, maxLength: 5 }),
    ({ pair }, worlds) => {
      const { engine, deep, reference } = pair as Pair
      for (const one of worlds) {
        const inputs = inputsIn(one)
        const expected = redecideInputs(inputs, reference)
        assert.deepEqual(redecideInputs(inputs, engine), expected)
        assert.deepEqual(redecideInputs(inputs, deep), expected)
      }
    },
  )
