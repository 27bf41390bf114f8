/**
 * Four people ask for the same, with the same right to it and with approvals in hand. Three of them are not as they should
 * be: one at a device that nobody manages, one whose session is old, one whose session was taken over.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type {
  ApprovalReference,
  AttemptInput,
  Challenge,
  Decision,
  Duration,
  Grant,
  Writ,
} from '../client/src/index.ts'
import { createWrit } from '../client/src/index.ts'
import { openDatabase } from './support/database.ts'
import {
  approve,
  approved,
  challenged,
  heard,
  openInstallation,
  ShiftedClock,
  starter,
  under,
} from './support/installation.ts'
import { EXCHANGE, ASSERTION, postForm } from './support/oauth.ts'
import type { Scenario } from './support/story.ts'
import { denied, refused, until } from './support/story.ts'
import { openTransmitter } from './support/transmitter.ts'

const POLICY = `
@id("admin-from-where-it-is-safe")
@ttl("15m") @uses("1") @binding("attempt")
permit (principal is Person in Group::"operators", action == Action::"db:admin", resource == Database::"orders")
when {
  context.live has posture && context.live.posture.compliant &&
  context.live.posture has managed && context.live.posture.managed
}
when { context.live has session && context.live.session.age < 900 && !context.live.session.compromised }
when { context.proof.approvals.dba >= 1 };
`

const MINUTE = 60_000

/** How long they want it: less than is usual, as usual, as long as may be, and longer. */
const ttls = ['1m', '5m', '15m', '8h'] as const satisfies readonly Duration[]

type Somebody = Readonly<{
  name: string
  /** The session of their console. */
  token: string
  writ: Writ
  task: string
}>

/** What they got while all was well, and did not use. */
type Held = Readonly<{
  /** One approval for each of `ttls`, for one act each. */
  approvals: readonly Readonly<{ attempt: AttemptInput; approval: ApprovalReference }>[]
  /** A challenge that was not answered yet. */
  challenge: Challenge
  grant: Grant
}>

export const scenario: Scenario = {
  id: 'S20',
  name: 'wrong-context',
  right:
    'whoever sits at a managed device, in a session that is fresh and their own, gets what was agreed to',
  wrong:
    'the same from an unmanaged device, an old session or one that was taken over: for a shorter or longer time, again, under another key, by another door',

  async run(story) {
    const clock = new ShiftedClock()
    const idp = await story.part(
      openTransmitter({ name: 'idp', delivery: 'push', subjects: { 'u-cam': 'Person/cam' } }),
    )
    const orders = await story.part(openDatabase({ name: 'orders' }))
    const names = ['ivy', 'lou', 'sam', 'cam'] as const
    const writ = await story.part(
      openInstallation({
        clock,
        people: { grace: ['dba'], ...Object.fromEntries(names.map((name) => [name, ['operators']])) },
        policies: [starter('migration.cedar'), { name: 'admin.cedar', text: POLICY }],
        config: { signals: { receivers: [{ ...idp.config, allow_private: true }] } },
        entities: [
          { type: 'Service', id: 'mdm', kind: 'workload', owner: 'Person/ada', parents: ['Group/reporters'] },
          { type: 'Service', id: 'console', kind: 'workload', owner: 'Person/ada' },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
        ],
      }),
    )
    await writ.target(orders, { 'db:admin': 'Database/orders' })
    await idp.streaming
    const mdm = (await writ.key('Service/mdm')).writ
    const console_ = (await writ.key('Service/console', { subjects: ['*'], attributes: {} })).writ

    const signIn = async (name: string): Promise<string> => {
      const { code } = await writ.ada.people.invite({ id: name })
      return (await createWrit({ url: writ.url }).sessions.redeem(code)).token
    }
    const as = async (name: string): Promise<Somebody> => {
      const token = await signIn(name)
      const theirs = createWrit({ url: writ.url, token })
      const { id: task } = await theirs.tasks.declare({
        purpose: 'vacuum a table',
        reason: 'INC-42',
        heartbeat: '1h',
        scope: { actions: ['db:admin'], resources: [{ type: 'Database', id: 'orders' }] },
      })
      return { name, token, writ: theirs, task }
    }
    /** The device that somebody sits at, as the device manager knows it. */
    const device = (name: string, managed: boolean): Promise<void> =>
      mdm.facts.report([
        {
          name: 'posture',
          about: `Person/${name}`,
          value: { compliant: managed, managed, status: managed ? 'managed' : 'enrolment was removed' },
          max_age: '8h',
        },
      ])
    const act = ({ task }: Somebody, table: string): AttemptInput =>
      under(task, { action: { name: 'db:admin', properties: { table } }, resource: 'Database/orders' })
    /** `attempt` with an approval in hand. */
    const carrying = (attempt: AttemptInput, approval: ApprovalReference): AttemptInput => ({
      ...attempt,
      context: { ...attempt.context, approval },
    })
    const prepare = async (who: Somebody): Promise<Held> => {
      const approvals = []
      for (const ttl of ttls) {
        const attempt = act(who, `wanted_for_${ttl}`)
        const challenge = await challenged(who.writ, attempt)
        const { id } = await challenge.request({ ttl, reason: 'bloat' }).submitted()
        await approve(writ.person('grace'), await who.writ.requests.get(id))
        const { approval } = await who.writ.requests.wait(id)
        assert.ok(approval)
        approvals.push({ attempt, approval })
      }
      const first = act(who, 'first')
      const { approval } = await approved(who.writ, first, writ.person('grace'))
      const { grant } = await who.writ.grants.activate(carrying(first, approval))
      assert.ok(grant)
      return { approvals, challenge: await challenged(who.writ, act(who, 'asked_before')), grant }
    }

    for (const name of names) await device(name, true)
    const people = await Promise.all(names.map(as))
    const [ivy, lou, sam, cam] = people as [Somebody, Somebody, Somebody, Somebody]
    clock.advance(8 * MINUTE)
    const held = new Map<Somebody, Held>()
    await story.right('while all is well all four are asked for an approval, and have it', async () => {
      for (const who of people) held.set(who, await prepare(who))
    })

    /** At every door, with whatever was had before: nothing. `why` is what an operator reads. */
    const nothing = async (who: Somebody, why: RegExp): Promise<void> => {
      const { approvals, challenge, grant } = held.get(who) ?? assert.fail()
      const tried: Decision[] = []
      const fresh = act(who, 'once_more')
      // evaluate: again, under another key, under the same, in a batch
      const key = randomUUID()
      for (const idempotencyKey of [key, key, randomUUID()])
        tried.push(await who.writ.evaluate(fresh, { idempotencyKey }))
      for (const one of await who.writ.evaluations([fresh, act(who, 'other')])) {
        assert.equal(one.outcome, 'deny')
      }
      // with what was agreed to for a shorter and for a longer time: as an attempt, and as a grant
      for (const { attempt, approval } of approvals) {
        tried.push(await who.writ.evaluate(carrying(attempt, approval)))
        const activated = await who.writ.grants.activate(carrying(attempt, approval))
        assert.equal(activated.grant, undefined)
        tried.push(activated.decision)
      }
      for (const decision of tried) denied(decision, 'policy_denied')
      // neither what it is, nor that anything would help
      const subject = `Person/${who.name}`
      const told = await heard({ url: writ.url, token: who.token }, { ...fresh, subject })
      assert.match(told, /"decision":false/u)
      assert.doesNotMatch(told, /session|compromised|access_request|approval/u)
      const { explanation } = await writ.ada.decisions.explain(tried[0]?.id ?? '')
      assert.match(JSON.stringify(explanation), why)
      // access requests, on a challenge from before: one of them is taken, whatever time it names, and agreed to in vain
      const taken = new Set<string>()
      for (const ttl of ttls) {
        const asked = challenge.request({ ttl, reason: 'bloat', idempotencyKey: randomUUID() }).submitted()
        const id = await asked.then(
          (task) => task.id,
          () => undefined,
        )
        if (id === undefined) await refused(asked, 'ERR_CONFLICT', 'ERR_INPUT_INVALID', 'ERR_DENIED')
        else taken.add(id)
      }
      assert.ok(taken.size <= 1, 'one challenge, and more than one request')
      for (const id of taken) {
        const request = await who.writ.requests.get(id)
        if (request.status === 'pending') await approve(writ.person('grace'), request)
        const { approval } = await who.writ.requests.wait(id)
        assert.ok(approval)
        const { decision, grant: given } = await who.writ.grants.activate(
          carrying(act(who, 'asked_before'), approval),
        )
        assert.equal(given, undefined)
        denied(decision, 'policy_denied')
      }
      // credentials, of a grant that was had before
      await refused(
        who.writ.credentials.issue(grant.id),
        'ERR_FORBIDDEN',
        'ERR_DENIED',
        'policy_denied',
        'grant_ended',
      )
      const withGrant = await who.writ.evaluate(under(who.task, act(who, 'first'), { grant: grant.id }))
      denied(withGrant, 'policy_denied', 'grant_ended')
      // the token endpoint takes no session for a token, as whatever it is shown
      for (const shown of [
        {
          grant_type: EXCHANGE,
          subject_token: who.token,
          subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
        },
        {
          grant_type: EXCHANGE,
          subject_token: who.token,
          subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        },
        { grant_type: ASSERTION, assertion: who.token },
      ]) {
        const answer = await postForm(writ.url, { ...shown, audience: 'Database/orders', scope: 'db:admin' })
        assert.equal(answer['access_token'], undefined)
        assert.match(String(answer['error']), /^invalid_/u)
      }
      // a console that is trusted to speak for anybody has no session of theirs to show
      const spoken = await console_.evaluate({ ...fresh, subject: `Person/${who.name}` })
      denied(spoken, 'policy_denied')
      assert.deepEqual(await orders.sessions(), 0)
    }

    await story.wrong('from a device that nobody manages any more', async () => {
      clock.advance(1_000)
      await device('lou', false)
      await nothing(lou, /posture/u)
    })
    await story.wrong('nor after signing in again there', async () => {
      const again: Somebody = { ...lou, token: await signIn('lou') }
      const fresh = createWrit({ url: writ.url, token: again.token })
      held.set({ ...again, writ: fresh }, held.get(lou) ?? assert.fail())
      await nothing([...held.keys()].at(-1) ?? assert.fail(), /posture/u)
    })
    await story.wrong('in a session that the identity provider says was taken over', async () => {
      clock.advance(1_000)
      const at = clock.wall()
      const told = await idp.tell({
        event: 'token-claims-change',
        about: 'u-cam',
        payload: { claims: { acr: 'none' } },
        at,
        claims: { iat: Math.floor(at / 1_000) },
      })
      assert.deepEqual(told, { taken: true })
      await nothing(cam, /session\.compromised/u)
    })
    await story.right('a session of their own again is another one', async () => {
      clock.advance(61_000)
      const fresh = createWrit({ url: writ.url, token: await signIn('cam') })
      assert.equal((await fresh.evaluate(act(cam, 'once_more'))).outcome, 'challenge')
    })
    await story.wrong('in a session that is older than a quarter of an hour', async () => {
      clock.advance(7 * MINUTE)
      await nothing(sam, /session\.age/u)
    })
    await story.wrong('in one that the identity provider has ended', async () => {
      clock.advance(1_000)
      const at = clock.wall()
      const claims = { iat: Math.floor(at / 1_000) }
      assert.deepEqual(await idp.tell({ event: 'session-revoked', about: 'u-cam', at, claims }), {
        taken: true,
      })
      for (const ttl of ttls) {
        await refused(cam.writ.evaluate(act(cam, `wanted_for_${ttl}`)), 'ERR_UNAUTHENTICATED')
      }
      const { grant } = held.get(cam) ?? assert.fail()
      await refused(cam.writ.credentials.issue(grant.id), 'ERR_UNAUTHENTICATED')
    })
    await story.right(
      'from a managed device, in a fresh session, the same request is had, for as long as it was agreed to',
      async () => {
        const fresh: Somebody = { ...ivy, writ: createWrit({ url: writ.url, token: await signIn('ivy') }) }
        const attempt = act(fresh, 'at_last')
        const { approval } = await approved(fresh.writ, attempt, writ.person('grace'))
        const { grant, decision } = await fresh.writ.grants.activate(carrying(attempt, approval))
        assert.ok(grant, `${decision.outcome} ${decision.reason}`)
        const { secret } = await fresh.writ.credentials.issue(grant.id)
        const session = await orders.connect({ url: secret.env['DATABASE_URL'] ?? '' })
        await session.query('select 1')
        await session.end()
      },
    )
    for (const who of people) await writ.ada.tasks.revoke(who.task, 'the story is over')
    await until('no grant lives', async () => {
      const { items } = await writ.ada.grants.list({ live: true })
      return items.length === 0
    })
    story.figure(
      `${ttls.length} durations, ${held.size} people and sessions, none of them had more by asking otherwise`,
    )
  },
}
