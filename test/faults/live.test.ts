/**
 * Facts of others at the moment of action: what policies read of them, and what they do not when a source is late, wrong or
 * silent. Absence never widens (law 6).
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { FactSource } from '../../src/context/port.ts'
import { SourceError } from '../../src/context/port.ts'
import type { Observation } from '../../src/model/fact.ts'
import { MINUTE } from '../../src/model/time.ts'
import type { FaultWorld } from './support.ts'
import { redecideAll } from '../support/redecide.ts'
import { attempt, entries, faultWorld, patient, ref, sessionFor, settle, withPolicy } from './support.ts'

const policies = withPolicy(`
@id("look-from-good-devices")
permit (principal, action == Action::"look", resource) when { context.live has posture && context.live.posture.compliant };
@id("send-unless-risky")
permit (principal, action == Action::"send", resource);
@id("nobody-risky")
forbid (principal, action == Action::"send", resource) when { context.live has risk.level && context.live.risk.level > 2 };
@id("change-with-ticket")
permit (principal, action == Action::"change", resource)
when { context.live has ticket && context.live.ticket.open && context.live.ticket.approved };
@id("fresh")
permit (principal, action == Action::"sign", resource)
when { context.live has session && context.live.session.age < 600 && !context.live.session.compromised };
`)

const posture = (
  about: string,
  compliant: boolean,
  observedAt: number,
  maxAge = 10 * MINUTE,
): Observation => ({
  name: 'posture',
  about,
  value: { compliant, status: compliant ? 'compliant' : 'not-compliant' },
  observedAt,
  maxAge,
})
const tries = async (w: FaultWorld, action: string, task?: string): Promise<string> => {
  const { outcome, reason } = await w.app.flows.evaluate(
    w.migrator,
    attempt('Agent/migrator', action, 'Document/handbook', task === undefined ? {} : { task }),
  )
  return `${outcome} ${reason}`
}

/** A source of tickets that does what the test says. */
function tickets(
  say: (about: string, signal: AbortSignal) => Promise<Observation>,
): FactSource & { asked: string[] } {
  const asked: string[] = []
  return {
    name: 'jira',
    fact: 'ticket',
    fresh: 30_000,
    asked,
    answersFor: (about) => about.startsWith('OPS-'),
    observe(about, signal) {
      asked.push(about)
      return say(about, signal)
    },
  }
}
const ticket = (
  about: string,
  open: boolean,
  observedAt: number,
  more: Record<string, string> = {},
): Observation => ({
  name: 'ticket',
  about,
  value: { id: about, status: open ? 'In Progress' : 'Done', open, approved: true, resources: [], ...more },
  observedAt,
  maxAge: MINUTE,
})
const taskWith = async (w: FaultWorld, ticketId?: string): Promise<string> =>
  (
    await w.app.flows.declareTask(w.migrator, {
      purpose: 'change',
      heartbeat: 10 * MINUTE,
      scope: { actions: ['change', 'look'], resources: [ref('Document/handbook')] },
      ...(ticketId === undefined ? {} : { ticket: ticketId }),
    })
  ).id
const lastDecision = async (w: FaultWorld) =>
  (await entries(w.app)).findLast(({ kind }) => kind === 'decision') as Readonly<Record<string, unknown>>

describe('facts that are pushed', () => {
  test('C6 B17 never heard of, stale, or better only by older word: nothing is permitted', async () => {
    await using w = await faultWorld({ policies })
    const { facts } = w.app.flows
    const say = (compliant: boolean, observedAt: number) =>
      facts.observe('mdm', 'test', [posture('Agent/migrator', compliant, observedAt)])
    assert.equal(await tries(w, 'look'), 'deny policy_denied')
    const t0 = w.clock.wall()
    await say(true, t0)
    assert.equal(await tries(w, 'look'), 'permit standing')
    w.clock.advance(1_000)
    await say(false, t0 + 1_000)
    assert.equal(await tries(w, 'look'), 'deny policy_denied')
    // what was said before comes late, and twice
    await say(true, t0 + 500)
    await say(true, t0 + 500)
    assert.equal(await tries(w, 'look'), 'deny policy_denied')
    w.clock.advance(1)
    await say(true, t0 + 1_001)
    assert.equal(await tries(w, 'look'), 'permit standing')
    // a clock that runs ahead makes nothing last longer
    await say(true, t0 + 24 * 60 * MINUTE)
    w.clock.advance(10 * MINUTE)
    assert.equal(await tries(w, 'look'), 'deny policy_denied')
    assert.deepEqual((await lastDecision(w))['unknown'], ['posture'])
    const kinds = (await entries(w.app)).filter(({ kind }) => kind === 'fact.observed')
    assert.equal(kinds.length, 3, 'the same value again is no news')
    await redecideAll(w.app.store)
  })

  test('C6 a forbid that cannot know denies', async () => {
    await using w = await faultWorld({ policies })
    const { facts } = w.app.flows
    const say = (level: number) =>
      facts.observe('risk', 'test', [
        {
          name: 'risk',
          about: 'Agent/migrator',
          value: { level, contributions: [{ what: 'new-country', points: 40 }] },
          observedAt: w.clock.wall(),
          maxAge: MINUTE,
        },
      ])
    assert.equal(await tries(w, 'send'), 'permit standing')
    await say(1)
    assert.equal(await tries(w, 'send'), 'permit standing')
    const { facts_of: of } = await lastDecision(w)
    assert.deepEqual((of as Record<string, { risk: unknown }>)['Agent/migrator']?.risk, {
      level: 1,
      score: 40,
      contributions: ['new-country +40'],
      observedAt: new Date(w.clock.wall()).toISOString(),
    })
    w.clock.advance(1)
    await say(3)
    assert.equal(await tries(w, 'send'), 'deny policy_denied')
    w.clock.advance(1)
    await say(2)
    assert.equal(await tries(w, 'send'), 'permit standing')
    w.clock.advance(MINUTE)
    assert.equal(await tries(w, 'send'), 'deny policy_denied')
    await redecideAll(w.app.store)
  })

  test('a session is of whoever asks, grows old, and counts no more once it is known to be compromised', async () => {
    await using w = await faultWorld({ policies })
    const ada = await sessionFor(w, 'ada')
    const sign = async () =>
      (await w.app.flows.evaluate(ada, attempt('Person/ada', 'sign', 'Document/handbook'))).outcome
    assert.equal(await sign(), 'permit')
    await w.app.flows.facts.observe('idp', 'test', [
      { name: 'session', about: ada.id, value: { compromised: true }, observedAt: w.clock.wall() },
    ])
    assert.equal(await sign(), 'deny')
    const again = await sessionFor(w, 'ada')
    const signAgain = async () =>
      (await w.app.flows.evaluate(again, attempt('Person/ada', 'sign', 'Document/handbook'))).outcome
    assert.equal(await signAgain(), 'permit')
    w.clock.advance(10 * MINUTE)
    assert.equal(await signAgain(), 'deny')
    assert.equal(await tries(w, 'sign'), 'deny policy_denied', 'an agent has no session')
  })

  test('law 4: of an actor and of whom it acts for, each has to be as policy wants it', async () => {
    await using w = await faultWorld({ policies })
    const { id: delegation } = await w.app.flows.delegations.make(w.grace, { actor: ref('Agent/migrator') })
    const look = async () =>
      (
        await w.app.flows.evaluate(
          w.migrator,
          attempt('Agent/migrator', 'look', 'Document/handbook', { delegation }),
        )
      ).outcome
    const { facts } = w.app.flows
    await facts.observe('mdm', 'test', [posture('Agent/migrator', true, w.clock.wall())])
    assert.equal(await look(), 'deny')
    await facts.observe('mdm', 'test', [posture('Person/grace', true, w.clock.wall())])
    assert.equal(await look(), 'permit')
    await redecideAll(w.app.store)
  })

  test('only who is trusted to report may push', async () => {
    await using w = await faultWorld({ policies })
    const said = [posture('Agent/migrator', true, w.clock.wall())]
    await assert.rejects(w.app.flows.facts.report(w.migrator, said))
    assert.equal(await tries(w, 'look'), 'deny policy_denied')
  })
})

describe('facts that are asked for', () => {
  test('a ticket is asked about where a policy reads it, and as often as it may have changed', async () => {
    let open = true
    const source = tickets(async (about) => ticket(about, open, 0))
    await using w = await faultWorld({ policies, sources: [source], sleep: patient })
    const saying = tickets(async (about) => ticket(about, open, w.clock.wall()))
    source.observe = (about, signal) => saying.observe(about, signal)
    const task = await taskWith(w, 'OPS-7')
    await tries(w, 'look', task)
    assert.deepEqual(saying.asked, [])
    assert.equal(await tries(w, 'change', task), 'permit standing')
    assert.equal(await tries(w, 'change', task), 'permit standing')
    assert.deepEqual(saying.asked, ['OPS-7'])
    open = false
    w.clock.advance(30_000)
    assert.equal(await tries(w, 'change', task), 'deny policy_denied')
    assert.deepEqual(saying.asked, ['OPS-7', 'OPS-7'])
    assert.equal(await tries(w, 'change', await taskWith(w)), 'deny policy_denied', 'no ticket')
    assert.equal(await tries(w, 'change', await taskWith(w, 'WEB-1')), 'deny policy_denied', 'nobody answers')
    await redecideAll(w.app.store)
  })

  const ways: Readonly<Record<string, (about: string, signal: AbortSignal) => Promise<Observation>>> = {
    'never answers': () => new Promise(() => undefined),
    fails: () => Promise.reject(new SourceError('it answered 503')),
    breaks: () => Promise.reject(new TypeError('what')),
    'answers for another': async () => ticket('OPS-8', true, Date.UTC(2026, 10, 22)),
    'answers another fact': async (about) => posture(about, true, Date.UTC(2026, 10, 22)),
    'says what no type holds': async (about) => ticket(about, true, Date.UTC(2026, 10, 22), { open: 'yes' }),
    'says what was so long ago': async (about) => ticket(about, true, Date.UTC(2020, 1, 1)),
  }
  for (const [how, say] of Object.entries(ways)) {
    test(`B58 a source that ${how} widens nothing`, async () => {
      const late = how === 'never answers' ? {} : { sleep: patient }
      await using w = await faultWorld({ policies, sources: [tickets(say)], ...late })
      assert.match(await tries(w, 'change', await taskWith(w, 'OPS-7')), /^deny/)
      assert.ok(((await lastDecision(w))['unknown'] as string[] | undefined)?.length, 'it is on the record')
    })
  }

  test('B58 whoever has a grant is asked about before what is known is too old: a late answer ends nothing, a change does', async () => {
    let say: () => Promise<Observation> = () => Promise.reject(new SourceError('not yet'))
    const source = tickets(() => say())
    await using w = await faultWorld({ policies, sources: [source], sleep: patient })
    const { flows } = w.app
    const answer = (open: boolean) => async () => ticket('OPS-7', open, w.clock.wall())
    say = answer(true)
    const asking = attempt('Agent/migrator', 'change', 'Document/handbook', {
      task: await taskWith(w, 'OPS-7'),
    })
    const { grant: given, decision } = await flows.activate(w.migrator, asking)
    const { id } = given ?? assert.fail(decision.reason)
    const at = async (seconds: number): Promise<string> => {
      w.clock.advance(seconds * 1_000)
      await settle(w.app)
      const { grant } = await flows.grant(w.ada, id)
      return `${grant.state}, asked ${source.asked.length}`
    }
    await settle(w.app)
    assert.equal(await at(47), 'active, asked 1')
    say = () => Promise.reject(new SourceError('it answered 503'))
    assert.equal(await at(1), 'active, asked 2')
    assert.equal(await at(5), 'active, asked 2')
    assert.equal(await at(1), 'active, asked 3', 'after half of the time that is left')
    assert.equal(await at(5), 'active, asked 3')
    say = answer(true)
    assert.equal(await at(1), 'active, asked 4')
    say = answer(false)
    assert.equal(await at(48), 'closed, asked 5')
    assert.match((await flows.grant(w.ada, id)).grant.reason ?? '', /policy_denied$/u)
  })

  test('B58 what was known is believed for as long as it says, and no longer', async () => {
    const source = tickets(() => Promise.reject(new SourceError('down')))
    await using w = await faultWorld({ policies, sources: [source], sleep: patient })
    const task = await taskWith(w, 'OPS-7')
    await w.app.flows.facts.observe('jira', 'webhook', [ticket('OPS-7', true, w.clock.wall())])
    assert.equal(await tries(w, 'change', task), 'permit standing')
    w.clock.advance(MINUTE - 1)
    assert.equal(await tries(w, 'change', task), 'permit standing')
    w.clock.advance(1)
    assert.equal(await tries(w, 'change', task), 'deny policy_denied')
  })
})
