/**
 * What Writ knows or adds itself: risk as a sum, the history of tasks, devices, what was proved of workloads, and the time.
 * What gets worse by time alone ends when it does, without anybody asking again and again.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import type { Caller } from '../../src/flows/port.ts'
import { MOST_DEVICES } from '../../src/model/fact.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../../src/model/time.ts'
import { takeEffect } from '../../src/signals/ssf/effects.ts'
import { ssfCodec } from '../../src/wire/ssf/index.ts'
import type { SetClaims } from '../../src/model/signal.ts'
import { redecideAll } from '../support/redecide.ts'
import type { FaultWorld } from './support.ts'
import { attempt, entries, fails, faultWorld, put, ref, sessionFor, settle, withPolicy } from './support.ts'

const policies = withPolicy(`
@id("signed-in-lately") permit (principal, action == Action::"sign", resource)
when { context.live has session && context.live.session.age < 300 };
@id("seen-lately") permit (principal, action == Action::"look", resource)
when {
  context.live has posture && context.live.posture.compliant &&
  context.live.now.durationSince(context.live.posture.observedAt) < duration("4m")
};
@id("proved-lately") permit (principal, action == Action::"deploy", resource)
when {
  context.live has workload && context.live.workload has age && context.live.workload.age < 200 &&
  context.live.workload has image_digest && context.live.workload.image_digest == "sha256:1"
};
@id("stow") permit (principal, action == Action::"stow", resource);
@id("not-at-night") forbid (principal, action == Action::"stow", resource)
when { context.live.now.toTime() >= duration("14h2m") && context.live.now.toTime() < duration("14h4m") };
@id("send") permit (principal, action == Action::"send", resource)
unless { context.live has risk && context.live.risk.score >= 50 };
@id("tame") permit (principal, action == Action::"tame", resource)
when { context.live has history && context.live.history.retries < 3 && context.live.history.rate < 4 };
`)

const posture = (
  about: string,
  device: string | undefined,
  compliant: boolean,
  observedAt: number,
  maxAge = HOUR,
) => ({
  name: 'posture' as const,
  about,
  ...(device === undefined ? {} : { device }),
  value: { compliant, status: compliant ? 'ok' : 'lost' },
  observedAt,
  maxAge,
})

const on = (subject: string, action: string, task?: string) =>
  attempt(subject, action, 'Document/handbook', task === undefined ? {} : { task })
const tries = async (
  w: FaultWorld,
  caller: Caller,
  subject: string,
  action: string,
  task?: string,
): Promise<string> => (await w.app.flows.evaluate(caller, on(subject, action, task))).outcome
const declared = async (w: FaultWorld, actions: readonly string[]): Promise<string> =>
  (
    await w.app.flows.declareTask(w.migrator, {
      purpose: 'what is known',
      heartbeat: HOUR,
      scope: { actions, resources: [ref('Document/handbook'), { type: 'Database' }] },
    })
  ).id
const seen = async (w: FaultWorld, about: string): Promise<Record<string, Record<string, unknown>>> => {
  const last = (await entries(w.app)).findLast(({ kind }) => kind === 'decision')
  const of = (last?.['facts_of'] ?? {}) as Record<string, Record<string, Record<string, unknown>>>
  return of[about] ?? {}
}

describe('time alone', () => {
  type Case = Readonly<{
    action: string
    after: number
    begin(w: FaultWorld): Promise<readonly [Caller, string]>
  }>
  const cases: Readonly<Record<string, Case>> = {
    'a session': {
      action: 'sign',
      after: 5 * MINUTE,
      begin: async (w) => [await sessionFor(w, 'ada'), 'Person/ada'],
    },
    'an observation': {
      action: 'look',
      after: 4 * MINUTE,
      async begin(w) {
        await w.app.flows.facts.observe('mdm', 'test', [
          posture('Agent/migrator', undefined, true, w.clock.wall()),
        ])
        return [w.migrator, 'Agent/migrator']
      },
    },
    'what was proved of a workload': {
      action: 'deploy',
      after: 200 * SECOND,
      async begin(w) {
        const workload = { issuer: 'ci', image_digest: 'sha256:1' }
        return [{ ...w.migrator, workload, provedAt: w.clock.wall() }, 'Agent/migrator']
      },
    },
  }
  for (const [name, { action, after, begin }] of Object.entries(cases)) {
    test(`B17 ${name} is too old at a known instant, and what was given on it ends then`, async () => {
      await using w = await faultWorld({ policies })
      const [caller, subject] = await begin(w)
      const t0 = w.clock.wall()
      const { grant, decision } = await w.app.flows.activate(caller, on(subject, action))
      const id = grant?.id ?? assert.fail(decision.reason)
      await w.app.flows.settled()
      const state = async () => (await w.app.store.read([{ kind: 'grant', id }])).get('grant', id)?.value
      assert.equal((await state())?.reviewAt, t0 + after, 'it is scheduled, not polled')
      w.clock.advance(after - 1)
      await settle(w.app)
      assert.equal((await state())?.state, 'active')
      w.clock.advance(1)
      await settle(w.app)
      assert.equal((await state())?.state, 'closed')
      const ended = (await entries(w.app)).findLast(({ kind }) => kind === 'grant.ended')
      assert.equal(ended?.['reason'], 'time has passed: policy_denied')
      await redecideAll(w.app.store)
    })
  }

  test('B17 a window that opens and closes within the life of a grant is seen when it opens', async () => {
    await using w = await faultWorld({ policies })
    // long before the window, so that both ends of the grant lie outside of it
    const day = Math.floor(w.clock.wall() / DAY) * DAY
    const opens = day + 14 * HOUR + 2 * MINUTE
    w.clock.advance(opens - 3 * MINUTE - w.clock.wall() + (w.clock.wall() > opens - 3 * MINUTE ? DAY : 0))
    const { grant, decision } = await w.app.flows.activate(w.migrator, on('Agent/migrator', 'stow'))
    assert.ok((grant?.endsAt ?? 0) > w.clock.wall() + 6 * MINUTE, decision.reason)
    w.clock.advance(3 * MINUTE - 1)
    await settle(w.app)
    const state = async () => {
      const id = grant?.id ?? ''
      return (await w.app.store.read([{ kind: 'grant', id }])).get('grant', id)?.value.state
    }
    assert.equal(await state(), 'active')
    w.clock.advance(1)
    await settle(w.app)
    assert.equal(await state(), 'closed')
  })

  test('law 6: a proof without a time has no age, and what another speaks for has no proof', async () => {
    await using w = await faultWorld({ policies })
    const workload = { issuer: 'ci', image_digest: 'sha256:1' }
    assert.equal(await tries(w, { ...w.migrator, workload }, 'Agent/migrator', 'deploy'), 'deny')
    const proved = { ...w.migrator, workload, provedAt: w.clock.wall() + MINUTE }
    assert.equal(await tries(w, proved, 'Agent/migrator', 'deploy'), 'permit')
    const pep = { ...proved, pep: { subjects: ['*'], attributes: {} } }
    assert.equal(await tries(w, pep, 'Agent/other', 'deploy'), 'deny')
  })
})

describe('devices', () => {
  const about = 'Agent/migrator'

  test('C6 each device has its posture, and the worst of them counts for who names none', async () => {
    await using w = await faultWorld({ policies })
    const { facts } = w.app.flows
    const say = (device: string | undefined, compliant: boolean, maxAge?: number) =>
      facts.observe('mdm', 'test', [posture(about, device, compliant, w.clock.wall(), maxAge)])
    const look = () => tries(w, w.migrator, about, 'look')
    await say('laptop', true)
    assert.equal(await look(), 'permit')
    assert.equal((await seen(w, about))['posture']?.['device'], 'laptop')
    await say('phone', false)
    assert.equal(await look(), 'deny')
    w.clock.advance(1)
    // the one that is well again is not the other one
    await say('laptop', true)
    assert.equal(await look(), 'deny')
    await say('phone', true)
    assert.equal(await look(), 'permit')
    // that nobody can say of one how it is, is nothing to go on with
    w.clock.advance(1)
    await say('phone', true, MINUTE)
    w.clock.advance(2 * MINUTE)
    assert.equal(await look(), 'deny')
    // they have it no more
    await facts.observe('mdm', 'test', [
      { name: 'posture', about, device: 'phone', value: null, observedAt: w.clock.wall() },
    ])
    assert.equal(await look(), 'permit')
    // a word without a device may mean any
    await say(undefined, false)
    assert.equal(await look(), 'deny')
    const kinds = (await entries(w.app)).filter(({ kind }) => kind === 'fact.observed')
    assert.deepEqual(
      kinds.map(({ device }) => device),
      ['laptop', 'phone', 'phone', 'phone', undefined],
    )
    await redecideAll(w.app.store)
  })

  test('C6 of a session that names its device that one counts, and others of theirs do not', async () => {
    await using w = await faultWorld({ policies })
    const session = await sessionFor(w, 'ada')
    const ada: Caller = { ...session, auth: { at: 0, provider: 'idp', ...session.auth, device: 'laptop' } }
    const say = (device: string | undefined, compliant: boolean) =>
      w.app.flows.facts.observe('mdm', 'test', [posture('Person/ada', device, compliant, w.clock.wall())])
    const look = (caller: Caller) => tries(w, caller, 'Person/ada', 'look')
    await say('phone', true)
    assert.equal(await look(ada), 'deny', 'nobody ever said anything of this one')
    await say('laptop', true)
    await say('phone', false)
    assert.deepEqual([await look(ada), await look(session)], ['permit', 'deny'])
    await say('laptop', false)
    assert.equal(await look(ada), 'deny')
    w.clock.advance(1)
    await say('laptop', true)
    await say(undefined, false)
    assert.equal(await look(ada), 'deny')
  })

  test('what was given on the others ends when there is one more that is worse', async () => {
    await using w = await faultWorld({ policies })
    const say = (device: string, compliant: boolean) =>
      w.app.flows.facts.observe('mdm', 'test', [posture(about, device, compliant, w.clock.wall())])
    await say('laptop', true)
    const { grant } = await w.app.flows.activate(w.migrator, on(about, 'look'))
    await w.app.flows.settled()
    await say('phone', false)
    await w.app.flows.settled()
    const id = grant?.id ?? assert.fail()
    assert.equal((await w.app.store.read([{ kind: 'grant', id }])).get('grant', id)?.value.state, 'closed')
  })

  test('too many are an error, and what they said is not half there', async () => {
    await using w = await faultWorld({ policies })
    const { facts } = w.app.flows
    const many = Array.from({ length: MOST_DEVICES }, (_, at) =>
      posture(about, `d${at}`, true, w.clock.wall()),
    )
    await facts.observe('mdm', 'test', many)
    const both = [
      posture(about, 'd0', false, w.clock.wall() + 1),
      posture(about, 'one-more', false, w.clock.wall()),
    ]
    await fails(facts.observe('mdm', 'test', both), 'ERR_INPUT_INVALID')
    assert.equal(await tries(w, w.migrator, about, 'look'), 'permit')
    await facts.observe('mdm', 'test', [
      { name: 'posture', about, device: 'd1', value: null, observedAt: w.clock.wall() + 1 },
    ])
    await facts.observe('mdm', 'test', both.slice(1))
    assert.equal(await tries(w, w.migrator, about, 'look'), 'deny')
  })

  test('B52 whatever the order of what is said, the same is known', async () => {
    await using w = await faultWorld({ policies })
    const { facts } = w.app.flows
    const said = fc.record({
      device: fc.constantFrom(undefined, 'a', 'b', 'c'),
      compliant: fc.constantFrom(true, false, null),
      at: fc.integer({ min: 0, max: 3 }),
    })
    const t0 = w.clock.wall() - MINUTE
    let run = 0
    await fc.assert(
      fc.asyncProperty(fc.array(said, { minLength: 2, maxLength: 8 }), async (all) => {
        run += 1
        const known = []
        for (const [way, order] of [all, all.toReversed(), [...all, ...all]].entries()) {
          const who = `Agent/${run}-${way}`
          for (const { device, compliant, at } of order) {
            const one = posture(who, device, compliant === true, t0 + at)
            await facts.observe('mdm', 'test', [compliant === null ? { ...one, value: null } : one])
          }
          const { live, unknown } = await facts.seen(w.ada, { subject: ref(who) })
          known.push(JSON.stringify([live['posture'], unknown]))
        }
        assert.equal(new Set(known).size, 1, known.join('\n'))
      }),
      { numRuns: 12 },
    )
  })

  test('a transmitter names user and device in one subject', async () => {
    const claims = (sub_id: unknown) => ({
      iss: 'https://idp.example',
      aud: 'writ',
      jti: 'j1',
      iat: 1_780_000_000,
      sub_id,
      events: {
        'https://schemas.openid.net/secevent/caep/event-type/device-compliance-change': {
          current_status: 'not-compliant',
          previous_status: 'compliant',
        },
      },
    })
    const user = { format: 'email', email: 'ada@example.com' }
    const device = { format: 'opaque', id: 'laptop' }
    const { set } = ssfCodec.decodeSet(claims({ format: 'complex', user, device })) as { set: SetClaims }
    assert.deepEqual([set.subject, set.device], [user, 'laptop'])
    // nothing less, nothing more, and of nothing else: nobody could say what that would mean
    const others = [
      { user },
      { device },
      { user, device: { format: 'phone', number: '1' } },
      { user, device, session: device },
    ]
    for (const other of others) {
      const { set: read } = ssfCodec.decodeSet(claims({ format: 'complex', ...other })) as { set: SetClaims }
      assert.equal(read.subject, undefined, JSON.stringify(other))
    }
    const revoked = { 'https://schemas.openid.net/secevent/caep/event-type/session-revoked': {} }
    const of = { ...claims({ format: 'complex', user, device }), events: revoked }
    assert.equal((ssfCodec.decodeSet(of) as { set: SetClaims }).set.subject, undefined)
    await using w = await faultWorld({ policies })
    const observe = w.app.flows.facts.observe.bind(w.app.flows.facts)
    const verbs = { observe, endSessions: () => Promise.reject(new Error('nothing ends')) }
    const context = { store: w.app.store, verbs, source: 'idp' }
    const outcome = await takeEffect(context, ref(about), { ...set, at: w.clock.wall() })
    assert.deepEqual(outcome['facts'], [`posture ${about}\nlaptop`])
    assert.deepEqual(
      (await w.app.flows.facts.about(w.ada, about)).flatMap(({ device: which }) => which ?? []),
      ['laptop'],
    )
  })
})

describe('ages', () => {
  const cases: readonly (readonly [believed: number | undefined, ages: readonly (readonly [number | undefined, number])[]])[] = [
    [undefined, [[undefined, DAY]]],
    [10 * MINUTE, [[undefined, 10 * MINUTE], [HOUR, HOUR], [3 * DAY, DAY]]],
    [3 * DAY, [[undefined, 3 * DAY], [2 * DAY, 2 * DAY], [9 * DAY, 3 * DAY]]],
  ] // prettier-ignore
  for (const [believed, ages] of cases) {
    test(`B17 what names no age is believed as long as is configured: ${believed ?? 'nothing'}`, async () => {
      await using w = await faultWorld({
        policies,
        ...(believed === undefined ? {} : { config: { believed } }),
      })
      for (const [at, [maxAge, until]] of ages.entries()) {
        const { maxAge: _age, ...said } = posture(`Agent/${at}`, undefined, true, w.clock.wall())
        await w.app.flows.facts.observe('mdm', 'test', [
          { ...said, ...(maxAge === undefined ? {} : { maxAge }) },
        ])
        const [fact] = await w.app.flows.facts.about(w.ada, `Agent/${at}`)
        assert.equal(fact?.maxAge, until)
      }
    })
  }
})

describe('risk', () => {
  const about = 'Agent/migrator'
  const send = (w: FaultWorld, caller = w.migrator, who = about) => tries(w, caller, who, 'send')

  test('C6 what Writ sees itself adds up, listed, and where nobody reports there is no level', async () => {
    await using w = await faultWorld({ policies })
    await put(w, { type: 'Agent', id: 'migrator', kind: 'agent', thirdParty: true })
    assert.equal(await send(w), 'permit')
    const { observedAt: _at, ...alone } = (await seen(w, about))['risk'] ?? {}
    assert.deepEqual(alone, { score: 20, contributions: ['third party +20'] })
    await w.app.flows.facts.observe('mdm', 'test', [posture(about, 'laptop', false, w.clock.wall(), MINUTE)])
    assert.equal(await send(w), 'deny')
    assert.deepEqual((await seen(w, about))['risk']?.['contributions'], [
      'device not compliant +30',
      'third party +20',
    ])
    // law 6: that nobody says any more that it is bad makes it no better
    w.clock.advance(MINUTE)
    assert.equal(await send(w), 'deny')
    assert.deepEqual((await seen(w, about))['risk']?.['contributions'], [
      'device of unknown posture +30',
      'third party +20',
    ])
    const { unknown = [] } = (await entries(w.app)).findLast(({ kind }) => kind === 'decision') ?? {}
    assert.deepEqual(unknown, [], 'no policy reads the posture itself')
    await redecideAll(w.app.store)
  })

  test('nobody is at risk of whom there is nothing to say', async () => {
    await using w = await faultWorld({ policies })
    await put(w, { type: 'Agent', id: 'migrator', kind: 'agent' })
    assert.equal(await send(w), 'permit')
    const { observedAt: _at, ...none } = (await seen(w, about))['risk'] ?? {}
    assert.deepEqual(none, { score: 0, contributions: [] })
    // of who is not even registered there is
    const { live } = await w.app.flows.facts.seen(w.ada, { subject: ref('Agent/nobody') })
    assert.deepEqual((live['risk'] as Record<string, unknown>)['contributions'], ['not registered +20'])
  })

  test('a session that is compromised counts for who has it, and what was given on a low score ends', async () => {
    await using w = await faultWorld({ policies })
    const ada = await sessionFor(w, 'ada')
    const { grant } = await w.app.flows.activate(ada, on('Person/ada', 'send'))
    await w.app.flows.settled()
    const said = (value: Record<string, boolean>, maxAge: number) =>
      w.app.flows.facts.observe('idp', 'test', [
        { name: 'session', about: ada.id, value, observedAt: w.clock.wall(), maxAge },
      ])
    await said({ addressChanged: true }, HOUR)
    assert.equal(await send(w, ada, 'Person/ada'), 'permit')
    assert.equal((await seen(w, 'Person/ada'))['risk']?.['score'], 20)
    w.clock.advance(1)
    await said({ addressChanged: true, compromised: true }, MINUTE)
    await w.app.flows.settled()
    const id = grant?.id ?? assert.fail()
    assert.equal((await w.app.store.read([{ kind: 'grant', id }])).get('grant', id)?.value.state, 'closed')
    assert.equal(await send(w, ada, 'Person/ada'), 'deny')
    // what was known of it and is no longer is as bad
    w.clock.advance(MINUTE)
    assert.equal(await send(w, ada, 'Person/ada'), 'deny')
    assert.equal(await send(w, await sessionFor(w, 'ada'), 'Person/ada'), 'permit')
  })

  test('B32 attempts under one task see the retries of those before them, also all at once', async () => {
    await using w = await faultWorld({ policies })
    await put(w, { type: 'Agent', id: 'migrator', kind: 'agent', thirdParty: true })
    const task = await declared(w, ['send', 'never'])
    // an action that nothing permits: each attempt after the first is a retry
    await Promise.all(
      Array.from({ length: 24 }, (_, at) =>
        tries(w, w.migrator, about, at % 2 === 0 ? 'never' : 'send', task),
      ),
    )
    const denied = new Set<string>()
    let [retries, denials] = [0, 0]
    for (const entry of await entries(w.app)) {
      const { action, task: under } = (entry['attempt'] ?? {}) as { action?: { name: string }; task?: string }
      if (entry['kind'] !== 'decision' || under !== task || action === undefined) continue
      const expected = 20 + 5 * Math.min(retries, 6) + (denials >= 5 ? 10 : 0) + (denials >= 20 ? 10 : 0)
      if (action.name === 'send') {
        const of = entry['facts_of'] as Record<string, Record<string, { score: number }>>
        assert.equal(of[about]?.['risk']?.score, expected)
        assert.equal(entry['outcome'], expected >= 50 ? 'deny' : 'permit')
      }
      if (denied.has(action.name)) retries += 1
      if (entry['outcome'] === 'permit') denied.delete(action.name)
      else {
        denials += 1
        denied.add(action.name)
      }
    }
    assert.ok(retries >= 11)
  })

  test('C6 what was given on a low score ends once too much was denied under the task', async () => {
    await using w = await faultWorld({ policies })
    await put(w, { type: 'Agent', id: 'migrator', kind: 'agent', thirdParty: true })
    const task = await declared(w, ['send', 'stow', 'never'])
    const under = async (action: string) =>
      (await w.app.flows.activate(w.migrator, on(about, action, task))).grant?.id ?? assert.fail(action)
    const [sent, stowed] = [await under('send'), await under('stow')]
    await w.app.flows.settled()
    const states = async () => {
      const view = await w.app.store.read([sent, stowed].map((id) => ({ kind: 'grant' as const, id })))
      return [sent, stowed].map((id) => view.get('grant', id)?.value.state)
    }
    for (let at = 0; at < 4; at += 1) await tries(w, w.migrator, about, 'never', task)
    await w.app.flows.settled()
    assert.deepEqual(await states(), ['active', 'active'])
    // the fifth denial and the fourth retry
    await tries(w, w.migrator, about, 'never', task)
    await w.app.flows.settled()
    assert.deepEqual(await states(), ['closed', 'active'])
    const ended = (await entries(w.app)).findLast(({ kind }) => kind === 'grant.ended')
    assert.equal(ended?.['reason'], 'what is known changed: policy_denied')
  })

  test('it is told to operators, and to nobody who asks', async () => {
    await using w = await faultWorld({ policies })
    await put(w, { type: 'Agent', id: 'migrator', kind: 'agent', thirdParty: true })
    await w.app.flows.facts.observe('mdm', 'test', [posture(about, undefined, false, w.clock.wall())])
    const decision = await w.app.flows.evaluate(w.migrator, on(about, 'send'))
    const told = JSON.stringify(await w.app.flows.decision(w.migrator, decision.id))
    assert.doesNotMatch(told, /third party|contributions|score/u)
    assert.match(JSON.stringify(await w.app.flows.decision(w.ada, decision.id)), /third party \+20/u)
  })
})

describe('history', () => {
  test('retries and rate are counted as they happen, and the rate goes by itself', async () => {
    await using w = await faultWorld({ policies })
    const task = await declared(w, ['tame', 'never'])
    const tame = () => tries(w, w.migrator, 'Agent/migrator', 'tame', task)
    for (let at = 0; at < 4; at += 1) assert.equal(await tame(), 'permit')
    assert.equal(await tame(), 'deny', 'four in a minute')
    w.clock.advance(MINUTE + 5 * SECOND)
    assert.equal(await tame(), 'permit', 'one retry')
    for (let at = 0; at < 3; at += 1) await tries(w, w.migrator, 'Agent/migrator', 'never', task)
    assert.equal(await tame(), 'deny', 'three retries')
    const last = (await entries(w.app)).findLast(({ kind }) => kind === 'decision') as {
      facts: Record<string, unknown>
    }
    assert.deepEqual(last.facts['history'], {
      calls: 5,
      denials: 4,
      retries: 3,
      resources: 1,
      systems: 1,
      rate: 1,
    })
    await redecideAll(w.app.store)
  })
})
