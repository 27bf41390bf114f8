/**
 * The challenge search with 8 kinds of evidence and 1,000 policies: the whole analysis of a denial, and the search by
 * itself. What is found is checked: each set permits, no part of one does, and the remedies there are are among them.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import { analyse } from '../src/decision/analyse.ts'
import { hintsOf, searchChallenge } from '../src/decision/challenge.ts'
import { toAttempt } from '../src/flows/attempts.ts'
import type { RequirementSet } from '../src/model/request.ts'
import type { Proof } from '../src/policy/index.ts'
import { attempt, openWorld, ref, starterPolicies } from '../test/support/world.ts'
import type { Row } from './measure.ts'
import { sample } from './measure.ts'

const POLICIES = 1_000
const KINDS = ['build', 'change', 'data', 'legal', 'oncall', 'owner', 'release', 'security'] as const
const PEOPLE = 3
/** Rules about the very attempt, all but two of which its resource does not meet. */
const IN_SCOPE = 100

/** What there is to be had: beside these two, nothing that could be given now permits it. */
const REMEDIES = ['justification + release:2 + security:2', 'build:2']

function policies(): readonly { name: string; text: string }[] {
  const givers = KINDS.map(
    (kind) =>
      `permit (principal in Group::"${kind}", action == Writ::Action::"approve", resource) when { context.pool == "${kind}" };`,
  )
  const proof = (kind: string, n: number): string => `context.proof.approvals.${kind} >= ${n}`
  const kind = (at: number): string => KINDS[at % KINDS.length] as string
  const release = (when: string): string =>
    `permit (principal, action == Action::"release", resource is Database) when { ${when} };`
  const remedies = [
    release(`${proof('release', 2)} && ${proof('security', 2)} && context.proof.justification`),
    release(proof('build', 2)),
  ]
  const others = Array.from({ length: IN_SCOPE }, (_, at) =>
    release(
      `resource.sensitivity == ${10 + at} && ${proof(kind(at), 1 + (at % 2))} && ${proof(kind(at + 3), 2)} && ${proof(kind(at + 5), 1)}`,
    ),
  )
  const elsewhere = Array.from(
    { length: POLICIES - givers.length - remedies.length - others.length },
    (_, at) =>
      `permit (principal, action == Action::"act${at % 60}", resource is Database) when { resource.sensitivity == ${10 + at} && ${proof(kind(at), 1)} };`,
  )
  return [
    ...starterPolicies(),
    { name: 'thousand.cedar', text: [...givers, ...remedies, ...others, ...elsewhere].join('\n') },
  ]
}

const text = (set: RequirementSet): string =>
  set.requirements
    .map((it) => (it.kind === 'approval' ? `${it.pool}:${it.count}` : it.kind))
    .sort()
    .join(' + ')

/** Everything that asks for less than `set`. */
function partsOf(set: RequirementSet): Proof[] {
  const parts = set.requirements.reduce<Proof[]>(
    (all, it) =>
      all.flatMap((proof) =>
        it.kind === 'approval'
          ? Array.from({ length: it.count + 1 }, (_, n) => ({
              ...proof,
              approvals: { ...proof.approvals, [it.pool]: n },
            }))
          : [proof, { ...proof, justification: true }],
      ),
    [{ approvals: {}, justification: false, reauth: false }],
  )
  return parts.slice(0, -1)
}

export async function challenge(): Promise<readonly Row[]> {
  const people = KINDS.flatMap((kind) =>
    Array.from({ length: PEOPLE }, (_, at) => ({
      type: 'Person',
      id: `${kind}${at}`,
      parents: [ref(`Group/${kind}`)],
    })),
  )
  await using world = await openWorld({
    http: false,
    policies: policies(),
    entities: [...people, { type: 'Database', id: 'ledger', sensitivity: 2 }],
  })
  // measured is the search, not how often one caller may have it
  const deps = { ...world.app.decision, mayChallenge: () => true }
  const asked = toAttempt(attempt('Agent/migrator', 'release', 'Database/ledger'))

  // what is found is checked with a clock that stands: only the number of candidates cuts it
  const whole = await analyse({ ...deps, monotonic: () => 0 }, world.migrator, asked, 'question')
  assert.equal(whole.outcome, 'challenge')
  assert.deepEqual(whole.alternatives.map(text).sort(), [...REMEDIES].sort())
  const set = whole.policy
  assert.ok(set !== undefined)
  const head = {
    principal: ref('Agent/migrator'),
    action: { type: 'Action', id: 'release' },
    resource: ref('Database/ledger'),
  }
  const { live, unknown } = whole.facts
  const query = { ...head, context: {}, live, unknown, entities: whole.entities }
  const typed = set.ask(query)
  for (const found of whole.alternatives) {
    for (const part of partsOf(found)) assert.equal(typed.evaluate(part).decision, 'deny', text(found))
  }

  const reads = set.readsFor(head, whole.entities)
  const present: Proof = { approvals: {}, justification: false, reauth: false }
  const explanation = typed.explain(present)
  const crowd = new Map(
    KINDS.map((kind) => [
      kind as string,
      people.flatMap(({ id }) => (id.startsWith(kind) ? [`Person/${id}`] : [])),
    ]),
  )
  const search = (hinted: boolean, monotonic: () => number) =>
    searchChallenge({
      approvals: reads.approvals,
      justification: reads.justification,
      reauth: [],
      present,
      givers: async (pool) => crowd.get(pool) ?? [],
      evaluate: (proof) => typed.evaluate(proof),
      bindingOf: () => 'attempt',
      monotonic,
      ...(hinted ? { hints: () => hintsOf(explanation) } : {}),
    })
  const first = await search(true, () => 0)
  assert.deepEqual(first.sets.map(text).sort(), [...REMEDIES].sort())
  const plain = await search(false, () => 0)

  /** By the clock a search may be cut at any point where others need the machine. */
  const check = (sets: readonly RequirementSet[]): void =>
    assert.ok(sets.length > 0 && sets.every((it) => REMEDIES.includes(text(it))), sets.map(text).join(' or '))
  const once = async (): Promise<void> => {
    const { alternatives } = await analyse(deps, world.migrator, asked, 'question')
    check(alternatives)
  }
  const searching = async (): Promise<void> => {
    const { sets } = await search(true, () => performance.now())
    check(sets)
  }
  const evaluating = async (): Promise<void> => {
    assert.equal(typed.evaluate(present).decision, 'deny')
  }
  const explaining = async (): Promise<void> => {
    assert.ok(set.ask(query).explain(present).nearest.length > 0)
  }
  const of = async (metric: string, run: () => Promise<void>): Promise<Row[]> => {
    const { p50, p99 } = await sample(run, { seconds: 0.6, concurrency: 1, warmup: 1 })
    const row = (name: string, value: number): Row => ({
      bench: 'challenge',
      metric: `${metric} ${name}`,
      value: value * 1_000,
      unit: 'µs',
      peer: null,
      ratio: null,
    })
    return [row('p50', p50), row('p99', p99)]
  }
  const told = (found: typeof first): string => `${found.tried} tried${found.truncated ? ', cut' : ''}`
  process.stderr.write(
    `hinted: ${told(first)}, found ${first.sets.map(text).join(' or ')}; unhinted: ${told(plain)}, found ${plain.sets.map(text).join(' or ')}\n`,
  )
  return [
    ...(await of('analyse, challenged', once)),
    ...(await of(`search alone, ${told(first)}`, searching)),
    ...(await of('one evaluation', evaluating)),
    ...(await of('one explanation', explaining)),
  ]
}
