/**
 * What is not known at the moment of action: every fact that policies can read, in every way not to be known, read in every
 * way. It is never wider than whatever the fact might have said (law 6).
 *
 * @module
 */
import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, test } from 'node:test'
import { DEADLINE } from '../../src/context/asking.ts'
import type { FactSource } from '../../src/context/port.ts'
import { SourceError } from '../../src/context/port.ts'
import type { Json } from '../../src/model/canonical.ts'
import type { Observation } from '../../src/model/fact.ts'
import { factNames } from '../../src/model/fact.ts'
import { DAY, HOUR, MINUTE } from '../../src/model/time.ts'
import { facts as catalogue } from '../../src/policy/facts.ts'
import { attempt, entries, faultWorld, patient, ref, withPolicy } from './support.ts'

type FactName = (typeof factNames)[number]
type Value = Readonly<Record<string, Json>>
type Said = Readonly<{
  /** As policies know it. */
  as: string
  /** What is looked for, where that is not the fact itself. */
  has?: string
  good: string
  bad: string
  is: Readonly<Record<'good' | 'bad' | 'garbled', Value>>
}>

const now = Date.UTC(2026, 10, 22, 12)
const event = (from: number, until: number) => ({
  events: [{ startsAt: now + from, endsAt: now + until, uid: 'a' }],
})

const said: Readonly<Record<FactName, Said>> = {
  posture: {
    as: 'posture',
    good: 'context.live.posture.compliant',
    bad: '!context.live.posture.compliant',
    is: {
      good: { compliant: true, status: 'compliant' },
      bad: { compliant: false, status: 'not-compliant' },
      garbled: { compliant: 'yes', status: 'compliant' },
    },
  },
  risk: {
    as: 'risk',
    // the risk itself is always there
    has: 'risk.level',
    good: 'context.live.risk.level < 3',
    bad: 'context.live.risk.level > 2',
    is: { good: { level: 1 }, bad: { level: 3 }, garbled: { level: 'low' } },
  },
  session: {
    as: 'session',
    good: '!context.live.session.compromised',
    bad: 'context.live.session.compromised',
    is: { good: { compromised: false }, bad: { compromised: true }, garbled: { compromised: 'no' } },
  },
  ticket: {
    as: 'ticket',
    good: 'context.live.ticket.open',
    bad: '!context.live.ticket.open',
    is: {
      good: { id: 'OPS-7', status: 'x', open: true, approved: true, resources: [] },
      bad: { id: 'OPS-7', status: 'x', open: false, approved: true, resources: [] },
      garbled: { id: 'OPS-7', status: 'x', open: 1, approved: true, resources: [] },
    },
  },
  incident: {
    as: 'incident',
    good: '!context.live.incident.open',
    bad: 'context.live.incident.open',
    is: {
      good: { id: 'OPS-7', open: false, services: [] },
      bad: { id: 'OPS-7', open: true, services: [] },
      garbled: { id: 'OPS-7', open: false, services: 'shop' },
    },
  },
  calendar: {
    as: 'calendars',
    good: 'context.live.calendars.contains("release")',
    bad: '!context.live.calendars.contains("release")',
    is: { good: event(-DAY, 30 * DAY), bad: event(-2 * DAY, -DAY), garbled: { events: 7 } },
  },
}
const names = factNames

/** Ways to read a fact: what permits, and what forbids. */
const forms: Readonly<
  Record<string, (it: Said) => Readonly<{ permit?: string; forbid?: string; ignore?: string }>>
> = {
  'permit-has': ({ as, has = as, good }) => ({ permit: `context.live has ${has} && ${good}` }),
  'permit-unless': ({ as, has = as, bad }) => ({ permit: `!(context.live has ${has} && ${bad})` }),
  'permit-absent': ({ as, has = as }) => ({ permit: `!(context.live has ${has})` }),
  'forbid-has': ({ as, has = as, bad }) => ({ forbid: `context.live has ${has} && ${bad}` }),
  'forbid-unless': ({ as, has = as, good }) => ({ forbid: `!(context.live has ${has} && ${good})` }),
  whole: ({ as, has = as, bad }) => ({
    forbid: `[context.live].contains(context.live) && context.live has ${has} && ${bad}`,
  }),
  'ignored-permit': ({ as, has = as, good }) => ({
    permit: `context.live has ${has} && ${good}`,
    ignore: as,
  }),
  'ignored-forbid': ({ as, has = as, bad }) => ({ forbid: `context.live has ${has} && ${bad}`, ignore: as }),
  'ignored-other': ({ as, has = as, bad }) => ({
    forbid: `context.live has ${has} && ${bad}`,
    ignore: as === 'risk' ? 'posture' : 'risk',
  }),
}
const tried = names.flatMap((name) =>
  Object.keys(forms).map((form) => ({ name, form, action: `${form}-${name}` })),
)

const policies = withPolicy(
  tried
    .map(({ name, form, action }) => {
      const { permit = 'true', forbid, ignore } = forms[form]?.(said[name]) ?? assert.fail()
      const rule = (effect: string, when: string, annotations = ''): string =>
        `@id("${effect}-${action}") ${annotations} ${effect} (principal, action == Action::"${action}", resource) when { ${when} };`
      const ignoring = ignore === undefined ? '' : `@unknown_ignore("${ignore}")`
      return [
        rule('permit', permit, forbid === undefined ? ignoring : ''),
        ...(forbid === undefined ? [] : [rule('forbid', forbid, ignoring)]),
      ].join('\n')
    })
    .join('\n'),
)

type State = 'good' | 'bad' | 'gone' | 'garbled' | 'stale' | 'failing' | 'late' | 'another'
/** What might have been so. */
const KNOWN: readonly State[] = ['good', 'bad', 'gone']
const UNKNOWN: readonly State[] = ['garbled', 'stale', 'failing', 'late', 'another']

async function stage() {
  let state: State = 'good'
  /** Questions that are not answered yet. */
  const held: (() => void)[] = []
  const pulled = (name: 'ticket' | 'incident'): FactSource => ({
    name: `the ${name}s`,
    fact: name,
    fresh: 1,
    answersFor: (about) => about.startsWith('OPS-'),
    async observe(about) {
      const it: Observation = {
        name,
        about,
        value:
          state === 'gone' ? null : said[name].is[state === 'bad' || state === 'garbled' ? state : 'good'],
        observedAt: world.clock.wall(),
        maxAge: MINUTE,
      }
      if (state === 'failing') throw new SourceError('down')
      if (state === 'late') {
        await new Promise<void>((go) => held.push(go))
        throw new SourceError('gave up')
      }
      if (state === 'another') return { ...it, about: 'OPS-8' }
      return state === 'stale' ? { ...it, observedAt: it.observedAt - HOUR } : it
    },
  })
  const world = await faultWorld({
    policies,
    sources: [pulled('ticket'), pulled('incident')],
    // late is who is to be late, and nobody else on a busy machine
    sleep: (ms, signal) => (state === 'late' && ms === DEADLINE ? turn() : patient(ms, signal)),
    config: {
      calendars: [
        {
          name: 'release',
          from: { file: '/nowhere/at/all.ics' },
          refresh: DAY,
          maxAge: DAY,
          horizon: DAY,
          tentative: false,
        },
      ],
    },
  })
  const { flows } = world.app
  const { id: task } = await flows.declareTask(world.ada, {
    purpose: 'all of it',
    heartbeat: HOUR,
    ticket: 'OPS-7',
    scope: { actions: tried.map(({ action }) => action), resources: [ref('Document/handbook')] },
    limits: { calls: 100_000 },
  })
  const about: Readonly<Record<FactName, string>> = {
    posture: 'Person/ada',
    risk: 'Person/ada',
    session: world.ada.id,
    ticket: 'OPS-7',
    incident: 'OPS-7',
    calendar: 'release',
  }
  /** Whether each is permitted, by its action, when every fact is as `to`. */
  const permitted = async (to: State): Promise<Record<string, boolean>> => {
    state = to
    for (const go of held.splice(0)) go()
    await turn()
    // what was pushed cannot fail to answer: it is late, which is too old
    world.clock.advance(2 * MINUTE)
    const isSaid = [...KNOWN, 'garbled', 'stale'].includes(to)
    for (const name of isSaid ? names.filter((one) => one !== 'ticket' && one !== 'incident') : []) {
      if (name === 'calendar' && to === 'garbled') continue
      const value = to === 'gone' ? null : said[name].is[to === 'bad' || to === 'garbled' ? to : 'good']
      const observation = { name, about: about[name], value, observedAt: world.clock.wall(), maxAge: MINUTE }
      await flows.facts.observe('test', 'test', [observation])
    }
    if (to === 'stale') world.clock.advance(MINUTE)
    const outcomes = await Promise.all(
      tried.map(async ({ name, action }) => {
        // what is denied under a task is a sign of risk
        const under = name === 'ticket' || name === 'incident' ? { task } : {}
        const what = attempt('Person/ada', action, 'Document/handbook', under)
        return [action, (await flows.evaluate(world.ada, what)).outcome === 'permit'] as const
      }),
    )
    return Object.fromEntries(outcomes)
  }
  return Object.assign(world, { permitted, task })
}

describe('B17 a fact that is not known', () => {
  test('is never wider than whatever it might have said, however it is read and however it came to be unknown', async () => {
    await using world = await stage()
    const known = {} as Record<State, Record<string, boolean>>
    for (const state of KNOWN) known[state] = await world.permitted(state)
    // the forms say what they are meant to say
    for (const { name, form, action } of tried) {
      const found = KNOWN.map((state) => known[state][action])
      const expected = {
        'permit-has': [true, false, false],
        'permit-unless': [true, false, true],
        'permit-absent': [false, false, true],
        'forbid-has': [true, false, true],
        'forbid-unless': [true, false, false],
        whole: [true, false, true],
        'ignored-permit': [true, false, false],
        'ignored-forbid': [true, false, true],
        'ignored-other': [true, false, true],
      }[form]
      // a session is there as long as it is, and a calendar that says nothing has no event
      const gone = name === 'session' ? expected?.[0] : name === 'calendar' ? expected?.[1] : expected?.[2]
      assert.deepEqual(found, [...(expected ?? []).slice(0, 2), gone], `${action}: ${JSON.stringify(found)}`)
    }
    for (const state of UNKNOWN) {
      const { size } = await world.app.store.log.head()
      const found = await world.permitted(state)
      for (const { form, action } of tried) {
        // what says that it may be ignored is left out, and nothing else is
        if (form === 'ignored-forbid') continue
        const possible = KNOWN.every((one) => known[one][action])
        assert.ok(!found[action] || possible, `${action} is permitted while it is ${state}`)
        assert.equal(found[action], false, `${action}, ${state}: all of them read it`)
      }
      const { size: until } = await world.app.store.log.head()
      const recorded = (await entries(world.app)).slice(size, until).filter(({ kind }) => kind === 'decision')
      const errors = recorded.map(({ unknown, errors: failed }) => JSON.stringify([unknown, failed]))
      for (const { as } of Object.values(said))
        assert.ok(
          errors.some((one) => one.includes(as)) || (as === 'calendars' && state === 'garbled'),
          `${as} ${state} is on the record`,
        )
    }
    const again = await world.permitted('good')
    assert.deepEqual(again, known.good, 'and it is as before when it is known again')
  })

  test('of which nobody ever said anything is absent, of a source that should know it is unknown; each fact is tried', async () => {
    await using world = await stage()
    const never = await world.permitted('failing')
    for (const { name, form, action } of tried) {
      if (form === 'ignored-forbid') continue
      const isPushed = name === 'posture' || name === 'risk'
      const isAbsent = ['permit-unless', 'permit-absent', 'forbid-has', 'whole', 'ignored-other'].includes(
        form,
      )
      // of a session that is there nobody has said that it is worse; the whole has others in it that are unknown
      const isGood = name === 'session' && form !== 'permit-absent'
      const expected = form === 'whole' ? false : (isPushed && isAbsent) || isGood
      assert.equal(never[action], expected, action)
    }
    // a new fact of the catalogue has to be tried here as well
    const own = ['now', 'caller', 'chain', 'workload', 'task', 'history']
    assert.deepEqual(Object.keys(catalogue).sort(), [...own, ...names.map((name) => said[name].as)].sort())
  })
})
