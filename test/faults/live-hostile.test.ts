/**
 * Facts and continuous evaluation under attack: what passes between looking and deciding, what misbehaving adds, whoever
 * hides behind another, and much at once.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Json } from '../../src/model/canonical.ts'
import { HOUR, MINUTE, SECOND } from '../../src/model/time.ts'
import { redecideAll } from '../support/redecide.ts'
import type { FaultWorld } from './support.ts'
import { attempt, faultWorld, interpose, put, ref, sessionFor, settle, withPolicy } from './support.ts'

const policies = withPolicy(`
@id("look") permit (principal, action == Action::"look", resource)
when { context.live has posture && context.live.posture.compliant };
@id("early") permit (principal, action == Action::"early", resource)
when { context.live.now.toTime() < duration("12h1m") };
@id("stow") permit (principal, action == Action::"stow", resource);
@id("one-thing") permit (principal, action == Action::"one-thing", resource)
when { context.live has history && context.live.history.resources < 1 && context.live.history.systems < 1 };
@id("calm") permit (principal, action == Action::"calm", resource)
when { context.live has risk && context.live.risk.score < 50 };
@id("vouched") permit (principal, action == Action::"vouched", resource)
when { context.live has risk.level && context.live.risk.level == 1 };
@id("at-risk") permit (principal, action == Action::"at-risk", resource)
when { !(context.live has risk) };
`)

/** An agent of an agent of a person's other name, and a page of a shelf that is hedy's. */
async function belonging(): Promise<FaultWorld> {
  const w = await faultWorld({ policies })
  await put(
    w,
    { type: 'Person', id: 'hedy-2', kind: 'human', owner: ref('Person/hedy') },
    { type: 'Agent', id: 'main', kind: 'agent', owner: ref('Person/hedy-2') },
    { type: 'Agent', id: 'migrator', kind: 'agent', owner: ref('Agent/main') },
    { type: 'Shelf', id: 'one', kind: 'resource', owner: ref('Person/hedy') },
    { type: 'Document', id: 'page', kind: 'resource', parents: [ref('Shelf/one')] },
  )
  w.clock.advance(1)
  return w
}

const on = (action: string, task?: string) =>
  attempt('Agent/migrator', action, 'Document/handbook', task === undefined ? {} : { task })

describe('law 6: between looking and deciding', () => {
  for (const [what, action, observed] of [
    ['a fact grows too old', 'look', true],
    ['an hour comes that a policy asks for', 'early', false],
  ] as const)
    test(`B17 B32 ${what}: what was permitted a moment ago is denied, and nothing is given`, async () => {
      await using w = await faultWorld({ policies })
      const { flows } = w.app
      // a minute before noon and one minute, by the clock of the store
      const noon = Math.floor(w.clock.wall() / (24 * 60 * MINUTE)) * 24 * 60 * MINUTE + 12 * 60 * MINUTE
      w.clock.set((noon < w.clock.wall() ? noon + 24 * 60 * MINUTE : noon) + MINUTE - SECOND)
      const value = { compliant: true, status: 'ok' }
      const say = () =>
        flows.facts.observe('mdm', 'test', [
          { name: 'posture', about: 'Agent/migrator', value, observedAt: w.clock.wall(), maxAge: SECOND },
        ])
      if (observed) await say()
      interpose(w, () => Promise.resolve(w.clock.advance(SECOND)))
      const { outcome, reason } = await flows.evaluate(w.migrator, on(action))
      assert.deepEqual([outcome, reason], ['deny', 'policy_denied'])
      w.clock.set(w.clock.wall() + 24 * 60 * MINUTE - SECOND)
      if (observed) await say()
      interpose(w, () => Promise.resolve(w.clock.advance(SECOND)))
      const { decision, grant } = await flows.activate(w.migrator, on(action))
      assert.deepEqual([decision.outcome, grant], ['deny', undefined])
      await settle(w.app)
    })
})

describe('law 6: what is seen of somebody', () => {
  test('nobody is permitted by misbehaving what they were not, and silence is no word for anybody', async () => {
    await using w = await faultWorld({ policies })
    const { flows } = w.app
    const actions = ['calm', 'vouched', 'at-risk']
    const { id: task } = await flows.declareTask(w.migrator, {
      purpose: 'misbehave',
      heartbeat: HOUR,
      scope: { actions: [...actions, 'never'], resources: [ref('Document/handbook')] },
    })
    const may = async (): Promise<string[]> => {
      const found: string[] = []
      for (const action of actions)
        if ((await flows.ask(w.migrator, on(action, task))).outcome === 'permit') found.push(action)
      return found
    }
    await put(w, { type: 'Agent', id: 'migrator', kind: 'agent' })
    assert.deepEqual(await may(), ['calm'], 'of whom nothing is known')
    for (let nth = 0; nth < 2; nth += 1) await flows.evaluate(w.migrator, on('never', task))
    assert.deepEqual(await may(), ['calm'], 'who tries again')
    await put(w, { type: 'Agent', id: 'migrator', kind: 'agent', thirdParty: true })
    assert.deepEqual(await may(), ['calm'], 'who is nobody of ours')
    const say = (name: 'risk' | 'posture', value: Readonly<Record<string, Json>>) => {
      w.clock.advance(1)
      const observed = { name, about: 'Agent/migrator', value, observedAt: w.clock.wall() }
      return flows.facts.observe('edr', 'test', [observed])
    }
    await say('posture', { compliant: false, status: 'lost' })
    assert.deepEqual(await may(), [], 'with a device that is lost')
    await say('risk', { level: 1 })
    assert.deepEqual(await may(), ['vouched'], 'of whom somebody says that it is low')
  })
})

describe('whoever is behind another', () => {
  test('C2 what belongs to somebody by others, or lies below what is theirs, is under a lock on what they own', async () => {
    for (const [who, what] of [
      ['migrator', 'Document/handbook'],
      ['ada', 'Document/page'],
    ] as const) {
      await using w = await belonging()
      const { flows } = w.app
      const subject = who === 'ada' ? 'Person/ada' : 'Agent/migrator'
      const asked = attempt(subject, 'stow', what)
      const { grant, decision } = await flows.activate(w[who], asked)
      const id = grant?.id ?? assert.fail(decision.reason)
      w.clock.advance(1)
      await flows.locks.lock(await sessionFor(w, 'zoe', ['Group/administrators']), {
        what: 'owner',
        about: 'Person/hedy',
        reason: 'INC-42',
      })
      assert.equal((await flows.ask(w[who], asked)).reason, 'locked', subject)
      await settle(w.app)
      assert.equal((await w.app.store.read([{ kind: 'grant', id }])).get('grant', id)?.value.state, 'closed')
      const other = attempt('Person/ada', 'stow', 'Document/other')
      assert.equal((await flows.ask(w.ada, other)).outcome, 'permit')
      await redecideAll(w.app.store)
    }
  })

  test('C3 an agent of a third party’s agent is one, also when that is known only later', async () => {
    await using w = await belonging()
    const { flows } = w.app
    const life = async (resource: string) => {
      const { grant } = await flows.activate(w.migrator, attempt('Agent/migrator', 'stow', resource))
      return [grant?.id ?? '', (grant?.endsAt ?? 0) - (grant?.startedAt ?? 0)] as const
    }
    const [before, long] = await life('Document/a')
    assert.equal(long, 15 * MINUTE)
    await flows.settled()
    await put(w, { type: 'Person', id: 'hedy', kind: 'human', thirdParty: true })
    assert.equal((await life('Document/b'))[1], 5 * MINUTE)
    await settle(w.app)
    const now = (await w.app.store.read([{ kind: 'grant', id: before }])).get('grant', before)?.value
    assert.equal((now?.endsAt ?? 0) - (now?.startedAt ?? 0), 5 * MINUTE)
  })
})

describe('what it did itself', () => {
  test('B32 ends no grant: neither its calls nor the things that it touched count against it, those of others do', async () => {
    await using w = await faultWorld({ policies })
    const { flows } = w.app
    const scope = {
      actions: ['one-thing', 'stow'],
      resources: [ref('Document/handbook'), ref('Document/other')],
    }
    const { id: task } = await flows.declareTask(w.migrator, { purpose: 'one', heartbeat: HOUR, scope })
    const { grant, decision } = await flows.activate(w.migrator, on('one-thing', task))
    const id = grant?.id ?? assert.fail(decision.reason)
    const state = async () => {
      await settle(w.app)
      return (await w.app.store.read([{ kind: 'grant', id }])).get('grant', id)?.value.state
    }
    await put(w, { type: 'Agent', id: 'migrator', kind: 'agent' })
    assert.equal(await state(), 'active')
    assert.equal((await flows.evaluate(w.migrator, on('one-thing', task))).outcome, 'deny', 'once')
    const other = attempt('Agent/migrator', 'stow', 'Document/other', { task })
    assert.equal((await flows.evaluate(w.migrator, other)).outcome, 'permit')
    await put(w, { type: 'Agent', id: 'migrator', kind: 'agent', name: 'again' })
    assert.equal(await state(), 'closed')
  })
})
