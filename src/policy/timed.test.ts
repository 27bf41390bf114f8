import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import type { Json } from '../model/canonical.ts'
import { DAY, HOUR, MINUTE, SECOND, toRfc3339 } from '../model/time.ts'
import { loadPolicySet } from './load.ts'
import { renderProblem } from './problems.ts'
import type { PolicySet, Query } from './types.ts'

const NOW = Date.UTC(2026, 10, 23, 9, 0, 0)
const principal = { type: 'Agent', id: 'migrator' }
const action = { type: 'Action', id: 'look' }
const schema = {
  name: 'test.cedarschema',
  text: 'entity Agent; entity Document { until?: datetime }; action look appliesTo { principal: Agent, resource: Document };',
}

/** Each condition is about all, or about the document that its place names. */
function setOf(conditions: readonly string[], isApart = false): PolicySet {
  const there =
    'context.live has session && context.live has workload && context.live.workload has age && context.live has posture'
  const text = conditions
    .map((one, at) => {
      const which = isApart ? ` == Document::"${at}"` : ''
      return `@id("p${at}") permit (principal, action == Action::"look", resource${which}) when { ${there} && (${one}) };`
    })
    .join('\n')
  // whoever gives approvals is there in every set
  const pools =
    'permit (principal, action == Writ::Action::"approve", resource) when { context.pool == "dba" };'
  const policies = [{ name: 'test.cedar', text: `${pools}\n${text}` }]
  const loaded = loadPolicySet({ policies, schema }, { hash: (one) => String(one.length), inventory: [] })
  if (!loaded.ok) throw new Error(loaded.problems.map(renderProblem).join('\n'))
  return loaded.set
}

/** Signed in a minute ago, proved ten seconds ago; observed five minutes ago. */
function queryAt(at: number, id = 'handbook'): Omit<Query, 'proof'> {
  const since = (instant: number): number => Math.max(0, Math.floor((at - instant) / SECOND))
  const live: Record<string, Json> = {
    now: toRfc3339(at),
    caller: 'session:s',
    chain: ['Agent/migrator'],
    session: {
      authenticatedAt: toRfc3339(NOW - MINUTE),
      age: since(NOW - MINUTE),
      amr: [],
      compromised: false,
      addressChanged: false,
    },
    workload: { issuer: 'ci', age: since(NOW - 10 * SECOND) },
    posture: { compliant: true, status: 'compliant', observedAt: toRfc3339(NOW - 5 * MINUTE) },
  }
  const resource = { type: 'Document', id }
  const entities = [{ uid: resource, attrs: { until: toRfc3339(NOW + 2 * HOUR) }, parents: [] }]
  return { principal, action, resource, context: {}, live, unknown: new Set(), entities }
}

const turn = (set: PolicySet, until = NOW + 8 * HOUR, from = NOW) =>
  set.turnsAt((at) => queryAt(at), from, until)

const at = (text: string): string => `datetime("${text}")`
const cases: Readonly<Record<string, readonly [condition: string, after: number | undefined]>> = {
  'nothing that moves': ['context.live.posture.compliant', undefined],
  'an age': ['context.live.session.age < 600', 9 * MINUTE],
  'an age, the other way around': ['600 > context.live.session.age', 9 * MINUTE],
  'an age that may be as much': ['context.live.session.age <= 600', 9 * MINUTE + SECOND],
  'an age that was exceeded long ago': ['context.live.session.age < 30', undefined],
  'a proof': ['context.live.workload.age < 300', 290 * SECOND],
  'the end of something': [`context.live.now < ${at('2026-11-23T10:30:00Z')}`, 90 * MINUTE],
  'the end of something, in milliseconds': [
    `context.live.now <= ${at('2026-11-23T10:30:00Z')}`,
    90 * MINUTE + 1,
  ],
  'an end in the inventory': ['resource has until && context.live.now < resource.until', 2 * HOUR],
  'an observation that gets old': [
    'context.live has posture && context.live.now < context.live.posture.observedAt.offset(duration("15m"))',
    10 * MINUTE,
  ],
  'a duration since': [
    'context.live has posture && context.live.now.durationSince(context.live.posture.observedAt) < duration("1h")',
    55 * MINUTE,
  ],
  'minutes since': [
    'context.live has posture && context.live.now.durationSince(context.live.posture.observedAt).toMinutes() < 30',
    25 * MINUTE,
  ],
  'a time of day': ['context.live.now.toTime() < duration("16h30m")', 7 * HOUR + 30 * MINUTE],
  'a time of day elsewhere': [
    'context.live.now.offset(duration("9h")).toTime() >= duration("18h")',
    6 * HOUR, // midnight there
  ],
  'a time of day around midnight': [
    'context.live.now.offset(duration("9h")).toTime() < duration("23h")',
    5 * HOUR,
  ],
  // both ends of a grant lie outside of it
  'a break in between': [
    `!(context.live.now >= ${at('2026-11-23T12:00:00Z')} && context.live.now < ${at('2026-11-23T12:30:00Z')})`,
    3 * HOUR,
  ],
  'an instant': [`context.live.now == ${at('2026-11-23T12:00:00Z')}`, 3 * HOUR],
  'an hour among some': ['[9, 10, 11].contains(context.live.now.toTime().toHours())', HOUR],
  'a day': [`context.live.now.toDate() == ${at('2026-11-23')}`, undefined],
  'one of two': ['if context.live.session.age < 120 then context.live.workload.age < 600 else true', MINUTE],
  'what moves in ways of its own': ['context.live.session.age < context.live.workload.age * 2', SECOND],
  'a fact that is not there': ['context.live has ticket && context.live.ticket.open', undefined],
}

describe('what time alone changes is known beforehand', () => {
  for (const [name, [condition, after]] of Object.entries(cases))
    test(name, () => assert.equal(turn(setOf([condition])), after === undefined ? undefined : NOW + after))

  test('the first of several, and what comes next after it', () => {
    const set = setOf(['context.live.session.age < 600', 'context.live.workload.age < 300'])
    assert.equal(turn(set), NOW + 290 * SECOND)
    assert.equal(turn(set, NOW + 8 * HOUR, NOW + 290 * SECOND), NOW + 9 * MINUTE)
    assert.equal(turn(set, NOW + 8 * HOUR, NOW + 9 * MINUTE), undefined)
  })

  test('a day ends at its midnight', () => {
    const set = setOf([`context.live.now.toDate() == ${at('2026-11-23')}`])
    assert.equal(turn(set, NOW + 2 * DAY), NOW + 15 * HOUR)
  })

  test('no policy in scope, nothing that turns', () => {
    const set = setOf(['context.live.session.age < 600'])
    const other = (time: number) => ({ ...queryAt(time), resource: { type: 'Agent', id: 'migrator' } })
    assert.equal(set.turnsAt(other, NOW, NOW + HOUR), undefined)
  })

  test('C6 before the first turn policies say at each instant what they say now', () => {
    const seconds = fc.integer({ min: 0, max: 4 * 3_600 })
    const compare = fc.constantFrom('<', '<=', '>', '>=', '==', '!=')
    const when = seconds.map((after) => at(toRfc3339(NOW + after * SECOND)))
    const plain = fc.oneof(
      fc
        .tuple(fc.constantFrom('session', 'workload'), compare, seconds)
        .map((one) => `context.live.${one[0]}.age ${one[1]} ${one[2]}`),
      fc.tuple(compare, when).map(([op, then]) => `context.live.now ${op} ${then}`),
      fc
        .tuple(compare, seconds)
        .map(([op, s]) => `context.live.now.toTime() ${op} duration("${s + 9 * 3_600}s")`),
      fc
        .tuple(compare, seconds)
        .map(
          ([op, s]) =>
            `context.live.now.durationSince(context.live.session.authenticatedAt).toSeconds() ${op} ${s}`,
        ),
    )
    const { condition } = fc.letrec<{ condition: string }>((tie) => ({
      condition: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        plain,
        fc
          .tuple(tie('condition'), fc.constantFrom('&&', '||'), tie('condition'))
          .map((one) => `(${one.join(' ')})`),
        tie('condition').map((one) => `!(${one})`),
      ),
    }))
    const none = { approvals: {}, justification: false, reauth: false }
    const parts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 8, maxLength: 8 })
    fc.assert(
      fc.property(fc.array(fc.tuple(condition, parts), { minLength: 25, maxLength: 25 }), (many) => {
        const set = setOf(
          many.map(([text]) => text),
          true,
        )
        const until = NOW + 5 * HOUR
        for (const [index, [text, places]] of many.entries()) {
          const then = (time: number) => queryAt(time, String(index))
          const end = set.turnsAt(then, NOW, until) ?? until
          const says = (time: number) => set.evaluate({ ...then(time), proof: none }).decision
          for (const part of [...places, 1])
            assert.equal(says(NOW + Math.floor((end - 1 - NOW) * part)), says(NOW), text)
        }
      }),
      { numRuns: 3 },
    )
  })
})
