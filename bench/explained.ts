/**
 * What Writ's own reading adds to an evaluation: a set in force asked with facts and evidence (law 6), and what an
 * explanation adds to a deny, as policies grow.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import { loadPolicySet, renderProblem } from '../src/policy/index.ts'
import type { EntityData, PolicySet, Query } from '../src/policy/index.ts'

const schema = `entity Team in [Team]; entity Agent in [Team] { level: Long };
entity Repository { locked: Bool, keeper: Agent };
action calls;
${Array.from({ length: 10 }, (_, n) => `action call${n} in [calls] appliesTo { principal: [Agent], resource: [Repository], context: { tool?: String, amount: Long, dry: Bool } };`).join('\n')}`

const entities: readonly EntityData[] = [
  {
    uid: { type: 'Agent', id: 'a' },
    attrs: { level: 3, sensitivity: 1 },
    parents: [{ type: 'Team', id: 'team3' }],
  },
  { uid: { type: 'Team', id: 'team3' }, attrs: { sensitivity: 1 }, parents: [] },
  {
    uid: { type: 'Repository', id: 'r' },
    attrs: { locked: false, keeper: 'Agent::"b"', sensitivity: 1 },
    parents: [],
  },
]

const proof = { approvals: {}, justification: false, reauth: false }

/** Every second of the two asks in vain. */
export function explained(policies: Readonly<Record<string, string>>, tool: string, action: string) {
  const text = Object.entries(policies)
    .map(([id, policy]) => `@id("${id}")\n${guarded(policy)}`)
    .join('\n')
  const loaded = loadPolicySet(
    { policies: [{ name: 'all.cedar', text }], schema: { name: 'schema.cedarschema', text: schema } },
    { hash: (of) => String(of.length), inventory: [] },
  )
  if (!loaded.ok) throw new Error(loaded.problems.slice(0, 3).map(renderProblem).join('\n'))
  const { set } = loaded
  const ask = queryOf(tool, action)
  assert.equal(set.evaluate({ ...ask, proof }).decision, 'permit')
  const denied = queryOf('unheard of', action)
  assert.ok(set.explain({ ...denied, proof }).nearest.length > 0)
  return {
    permit: asking(set, ask, 'permit'),
    deny: asking(set, denied, 'deny'),
    explainedDeny: () => {
      const asked = set.ask(denied)
      if (asked.evaluate(proof).decision !== 'deny') throw new Error('a wrong answer')
      if (asked.explain(proof).nearest.length === 0) throw new Error('nothing is explained')
    },
  }
}

/** An optional key is tested before it is read: strict validation asks for it. And owners are people here. */
const guarded = (policy: string): string =>
  (policy.includes('context has tool')
    ? policy
    : policy.replace('when { ', 'when { context has tool && ')
  ).replace('resource.owner', 'resource.keeper')

const queryOf = (tool: string, action: string): Omit<Query, 'proof'> => ({
  principal: { type: 'Agent', id: 'a' },
  action: { type: 'Action', id: action },
  resource: { type: 'Repository', id: 'r' },
  context: { tool, amount: 5, dry: false },
  live: { now: '2026-11-22T10:00:00.000Z', caller: 'key/ci', chain: ['Agent/a'] },
  unknown: new Set(),
  entities,
})

const asking = (set: PolicySet, query: Omit<Query, 'proof'>, wanted: 'permit' | 'deny') => () => {
  if (set.ask(query).evaluate(proof).decision !== wanted) throw new Error('a wrong answer')
}
