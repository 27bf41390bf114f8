/**
 * Runs what a test file says: each principal on each resource with each action, rehearsed and compared.
 *
 * @module
 */
import { suggest } from '../config/suggest.ts'
import type { Rehearsal, Rehearsed } from '../decision/rehearse.ts'
import { rehearse } from '../decision/rehearse.ts'
import type { PolicySet } from '../policy/index.ts'
import type { Coverage } from '../policy/coverage.ts'
import { describeRules, record } from './explanation.ts'
import type { Outcome, Ref, TestCase, TestFile, Wanted } from './policy-test-file.ts'
import { keyOf, stranger } from './policy-test-file.ts'
import { plain } from './text.ts'

/** One attempt that did not come out as expected; `why` are lines for people. */
export type Failure = Readonly<{
  principal: string
  action: string
  resource: string
  expected: Outcome
  got: Outcome
  reason: string
  by: readonly string[]
  problems: readonly string[]
  why: readonly string[]
}>

export type TestResult = Readonly<{
  file: string
  line: number
  name: string
  ok: boolean
  attempts: number
  failures: readonly Failure[]
}>

/** Runs one test; `coverage` hears of every attempt. */
export async function runTest(
  read: TestFile,
  test: TestCase,
  world: Pick<Rehearsal, 'set' | 'entities'>,
  coverage?: Coverage,
): Promise<TestResult> {
  const failures: Failure[] = []
  let attempts = 0
  for (const principal of test.principals) {
    for (const action of test.actions) {
      for (const resource of test.resources) {
        attempts += 1
        const told = await rehearse({ ...rehearsalOf(read, test, principal, action, resource), ...world })
        if (coverage !== undefined) note(coverage, world.set, told)
        const expected = (test.expect[keyOf(principal)] ?? test.expect['default']) as Outcome
        const problems = [...compare(test, expected, told), ...slips(told, world.set)]
        if (problems.length === 0) continue
        failures.push({
          principal: keyOf(principal),
          action,
          resource: keyOf(resource),
          expected,
          got: told.outcome,
          reason: told.reason,
          by: told.evaluation?.determining ?? [],
          problems,
          why: [...whyOf(told), ...stranger(read, test, principal), ...stranger(read, test, resource)],
        })
      }
    }
  }
  const { file } = read
  return { file, line: test.line, name: test.name, ok: failures.length === 0, attempts, failures }
}

function note(coverage: Coverage, set: PolicySet, { query, evaluation, others }: Rehearsed): void {
  if (query !== undefined && evaluation !== undefined)
    coverage.note(set.examine(query), evaluation.determining)
  for (const other of others) coverage.note(set.examine(other), set.evaluate(other).determining)
}

function rehearsalOf(
  read: TestFile,
  test: TestCase,
  subject: Ref,
  action: string,
  resource: Ref,
): Omit<Rehearsal, 'set' | 'entities'> {
  const { properties, context, attributes, task, facts, unknown, evidence } = test
  return {
    subject,
    action: { name: action, ...(properties === undefined ? {} : { properties }) },
    resource,
    now: test.now ?? read.now,
    ...(context === undefined ? {} : { context }),
    ...(attributes === undefined ? {} : { asserted: attributes }),
    ...(task === undefined ? {} : { task: taskOf(task, test.now ?? read.now) }),
    ...(facts === undefined ? {} : { facts }),
    ...(unknown === undefined ? {} : { unknown }),
    ...(evidence === undefined ? {} : { evidence }),
  }
}

function taskOf(task: NonNullable<TestCase['task']>, now: number): NonNullable<Rehearsal['task']> {
  const { declared_at, opened_at, touched, systems, rate, window, instigators, ...rest } = task
  return {
    ...rest,
    ...(declared_at === undefined ? {} : { declaredAt: declared_at }),
    ...(opened_at === undefined ? {} : { openedAt: opened_at }),
    ...(touched === undefined
      ? {}
      : { resources: Array.from({ length: touched }, (_, at) => `Touched/${at}`) }),
    ...(systems === undefined ? {} : { systems: Array.from({ length: systems }, (_, at) => `Touched${at}`) }),
    ...(rate === undefined ? {} : { recent: [{ at: now, calls: rate }] }),
    ...(window === undefined
      ? {}
      : {
          window: {
            startsAt: window.starts_at,
            endsAt: window.ends_at,
            ...(window.calendar === undefined ? {} : { calendar: { name: window.calendar } }),
          },
        }),
    ...(instigators === undefined ? {} : { instigators: instigators.map(keyOf) }),
  }
}

/** In what the answer is not as expected, as sentences; what else a test says holds where its outcome can have it. */
function compare(test: TestCase, expected: Outcome, told: Rehearsed): string[] {
  const { outcome, evaluation, alternatives, obligations, reason } = told
  const mixed = new Set(Object.values(test.expect)).size > 1
  const problems: string[] = []
  if (outcome !== expected) problems.push(`expected ${expected}, got ${outcome} (${reason})`)
  if (test.reason !== undefined && reason !== test.reason && outcome === expected)
    problems.push(`expected the reason \`${plain(test.reason)}\`, got \`${reason}\``)
  if (outcome !== expected) return problems
  if (test.by !== undefined && (!mixed || outcome === 'permit')) {
    const got = (evaluation?.determining ?? []).toSorted().join(', ')
    const wanted = test.by.toSorted().join(', ')
    if (got !== wanted)
      problems.push(`expected to be decided by [${plain(wanted)}], was decided by [${plain(got)}]`)
  }
  if (test.requires !== undefined && outcome === 'challenge') {
    const got = inOrder(alternatives.map(({ requirements }) => setText(requirements)))
    const wanted = inOrder(test.requires.map(setText))
    if (got !== wanted)
      problems.push(
        `expected to be asked for ${plain(wanted)}, would be asked for ${got === '' ? 'nothing' : plain(got)}`,
      )
  }
  if (test.obligations !== undefined && outcome !== 'deny') {
    const sets = outcome === 'permit' ? [obligations] : alternatives
    for (const [name, wanted] of Object.entries(test.obligations)) {
      if (outcome === 'challenge' && (name === 'review' || name === 'notify')) continue
      for (const set of sets) {
        const got = (set as Readonly<Record<string, unknown>>)[name]
        if (listed(got) !== listed(wanted))
          problems.push(`expected \`${name}\` ${spelled(name, wanted)}, got ${spelled(name, got)}`)
      }
    }
  }
  return [...new Set(problems)]
}

/** What the attempt says that no policy hears, under a name that is nearly one that they read: no test of anything. */
function slips({ dropped }: Rehearsed, { policies }: PolicySet): string[] {
  if (dropped.length === 0) return []
  const read = policies.flatMap(({ text }) =>
    // what Writ knows itself no attempt says, under whatever name
    [
      ...text
        .replaceAll(/\bcontext\.(?:live|proof)(?:\.\w+)*/gu, 'known')
        .matchAll(/(?:\.|\bhas\s+)([A-Za-z_]\w*)/gu),
    ].map(([, name = '']) => name),
  )
  return dropped.flatMap((path) => {
    const name = path.slice(path.lastIndexOf('.') + 1)
    // what is read under that very name is dropped for another reason, which may be what is tried
    const near = read.includes(name) ? undefined : suggest(name, read)
    return near === undefined ? [] : [`\`${plain(path)}\` was not seen: did you mean \`${plain(near)}\`?`]
  })
}

const listed = (value: unknown): string =>
  JSON.stringify(Array.isArray(value) ? value.map(String).sort() : (value ?? null))

const spelled = (name: string, value: unknown): string =>
  value === undefined
    ? 'none'
    : (name === 'ttl' || name === 'review') && typeof value === 'number'
      ? lasting(value)
      : plain(JSON.stringify(value))

function lasting(millis: number): string {
  for (const [unit, size] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1_000],
  ] as const)
    if (millis % size === 0) return `${millis / size}${unit}`
  return `${millis}ms`
}

const setText = (all: readonly Wanted[]): string =>
  all
    .map((one) => (one.kind === 'approval' ? `${one.count} × ${one.pool}` : EVIDENCE[one.kind]))
    .sort()
    .join(' and ')

const EVIDENCE = { justification: 'a reason', reauth: 'a passkey' } as const

const inOrder = (sets: readonly string[]): string => [...new Set(sets)].sort().join(', or ')

/** The rules behind an answer that was not expected, as `writ why` tells them, and what else may have led there. */
function whyOf({ outcome, reason, evaluation, explanation, dropped }: Rehearsed): string[] {
  const errors = (evaluation?.errors ?? []).map(({ policy, message }) => `${plain(policy)} ${plain(message)}`)
  const unseen = dropped.map((path) => `\`${plain(path)}\` was not seen: nothing declares it or trusts it`)
  return [...describeRules(record(explanation), { outcome, reason }), ...errors, ...unseen]
}
