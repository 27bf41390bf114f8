import assert from 'node:assert/strict'
import type { AttemptInput, Decision, Lease, Writ } from '../client/src/index.ts'
import { openDatabase } from './support/database.ts'
import type { Keyed } from './support/installation.ts'
import { approve, ask, openInstallation, under } from './support/installation.ts'
import type { Scenario } from './support/story.ts'
import { denied, refused, until } from './support/story.ts'

/** What finance agrees to with one session. */
const USES = 12

const refunds = (approvals: number): string => `
@id("support-reads")
permit (principal in Group::"support", action == Action::"payments:read", resource is Ledger);

@id("agreed-refunds")
@ttl("10m")
@uses("${USES}")
@binding("task")
permit (principal in Group::"support", action == Action::"payments:refund", resource is Ledger)
when { context.live has task && context.proof.approvals.finance >= ${approvals} };

@id("finance-approve")
permit (principal in Group::"finance", action == Writ::Action::"approve", resource is Ledger)
when { context.pool == "finance" };
`

export const scenario: Scenario = {
  id: 'S22',
  name: 'per-action',
  right: 'a support session makes refunds, each decided when it is made',
  wrong:
    'relying on the first answer: past a limit, under a new policy, locked, after the task, for another ledger',

  async run(story) {
    const database = await story.part(
      openDatabase({
        name: 'payments',
        schema: 'create table refund (task text, at timestamptz default now())',
      }),
    )
    await database.look(`grant insert on refund to ${database.account.user}`)
    const writ = await story.part(
      openInstallation({
        policies: [{ name: 'refunds.cedar', text: refunds(1) }],
        people: { frida: ['finance'], fay: ['finance'], bea: ['administrators'] },
        entities: [
          ...['alice', 'bob'].map((id) => ({
            type: 'Agent',
            id,
            kind: 'agent' as const,
            owner: 'Person/ada',
            parents: ['Group/support'],
          })),
          { type: 'Service', id: 'payments', kind: 'workload', owner: 'Person/ada' },
          { type: 'Ledger', id: 'eu', kind: 'resource', sensitivity: 'moderate' },
          { type: 'Ledger', id: 'us', kind: 'resource', sensitivity: 'moderate' },
        ],
      }),
    )
    const [frida, fay, bea] = [writ.person('frida'), writ.person('fay'), writ.person('bea')]
    const alice = await writ.key('Agent/alice')
    const bob = await writ.key('Agent/bob')
    const refund: AttemptInput = { action: 'payments:refund', resource: 'Ledger/eu' }

    // The payment service: it holds the account at the database and asks before each refund.
    const service = await writ.key('Service/payments', { subjects: ['Agent'], attributes: {} })
    const ledger = await database.connect(database.account)
    const pay = async (agent: string, task: string, more: AttemptInput = refund): Promise<Decision> => {
      const decision = await service.writ.evaluate({ ...under(task, more), subject: agent })
      if (decision.outcome === 'permit') await ledger.query('insert into refund (task) values ($1)', [task])
      return decision
    }
    const paid = async (task: string): Promise<number> =>
      (await database.look('select from refund where task = $1', [task])).length
    const declare = ({ writ: agent }: Keyed, limits?: { calls: number }) =>
      agent.tasks.declare({
        purpose: 'refunds of ticket 88',
        scope: { actions: ['payments:refund'], resources: [{ type: 'Ledger' }] },
        ...(limits === undefined ? {} : { limits }),
      })
    /** A session of `agent` that finance has agreed to. */
    const open = async (agent: Keyed, task: string, ...approvers: Writ[]): Promise<Lease> => {
      const request = await ask(agent.writ, under(task, refund))
      for (const approver of approvers) await approve(approver, request)
      return agent.writ.resume(request.id)
    }

    await story.right('a session is agreed to once and pays several refunds, each decided', async () => {
      const { id } = await declare(alice)
      const lease = await open(alice, id, frida)
      const ids = new Set<string | undefined>()
      for (let n = 0; n < USES; n += 1) {
        const decision = await pay('Agent/alice', id)
        assert.equal(decision.outcome, 'permit')
        ids.add(decision.id)
      }
      assert.equal(ids.size, USES)
      await story.wrong('one more than was agreed to', async () => {
        assert.notEqual((await pay('Agent/alice', id)).outcome, 'permit')
        const decision = await pay('Agent/alice', id, { ...refund, context: { grant: lease.grant.id } })
        assert.equal(decision.reason, 'grant_spent')
      })
      assert.equal(await paid(id), USES)
      await lease.end()
    })
    await story.wrong('the budget of the task, which many try to spend at the same time', async () => {
      const { id } = await declare(alice, { calls: 10 })
      const lease = await open(alice, id, frida)
      const decisions = await Promise.all(Array.from({ length: 40 }, () => pay('Agent/alice', id)))
      const reasons = decisions.filter(({ outcome }) => outcome !== 'permit').map(({ reason }) => reason)
      // taking the grant was the first call
      assert.equal(await paid(id), 9)
      assert.deepEqual([...new Set(reasons)], ['task_limit'])
      await lease.end()
    })
    await story.wrong(
      'a retry is the same refund, not another; and no answer is kept for what has changed',
      async () => {
        const { id } = await declare(alice)
        const lease = await open(alice, id, frida)
        const attempt = { ...under(id, refund), subject: 'Agent/alice' }
        const once = await service.writ.evaluate(attempt, { idempotencyKey: `refund-${id}` })
        const again = await service.writ.evaluate(attempt, { idempotencyKey: `refund-${id}` })
        assert.deepEqual([once.outcome, again.outcome, again.id], ['permit', 'permit', once.id])
        await alice.writ.tasks.end(id, 'completed')
        const late = await service.writ.evaluate(attempt, { idempotencyKey: `refund-${id}` })
        denied(late, 'changed', 'task_ended')
        await lease.end()
      },
    )
    await story.wrong('the session goes on after its task has ended', async () => {
      const { id } = await declare(alice)
      const lease = await open(alice, id, frida)
      assert.equal((await pay('Agent/alice', id)).outcome, 'permit')
      await alice.writ.tasks.end(id, 'completed')
      denied(await pay('Agent/alice', id), 'task_ended')
      denied(await pay('Agent/alice', id, { ...refund, context: { grant: lease.grant.id } }), 'task_ended')
      assert.equal(await paid(id), 1)
    })
    await story.wrong('the first answer for another ledger, task or agent', async () => {
      const { id } = await declare(alice)
      const lease = await open(alice, id, frida)
      const { id: others } = await declare(bob)
      const carrying = { ...refund, context: { grant: lease.grant.id } }
      denied(await pay('Agent/bob', others, carrying), 'grant_unknown')
      denied(await pay('Agent/alice', others, carrying), 'task_unknown')
      denied(await pay('Agent/alice', id, { ...carrying, action: 'payments:export' }), 'task_scope')
      denied(await pay('Agent/carol', id, carrying), 'task_unknown')
      assert.deepEqual([await paid(id), await paid(others)], [0, 0])
      await bob.writ.tasks.end(others, 'cancelled')
      await lease.end()
      await alice.writ.tasks.end(id, 'completed')
    })

    const { id: session } = await declare(alice)
    const first = await open(alice, session, frida)
    await story.right('a proposed policy changes nothing until a second administrator agrees', async () => {
      assert.equal((await pay('Agent/alice', session)).outcome, 'permit')
      const current = await writ.ada.policies.current()
      const policies = current.policies.map((file) =>
        file.name === 'refunds.cedar' ? { ...file, text: refunds(2) } : file,
      )
      const proposed = await writ.ada.policies.publish({ policies })
      assert.equal(proposed.state, 'proposed')
      assert.equal((await pay('Agent/alice', session)).outcome, 'permit')
      await refused(writ.ada.policies.agree(proposed.version), 'ERR_FORBIDDEN')
      assert.equal((await bea.policies.agree(proposed.version)).state, 'published')
    })
    await story.wrong('the session goes on under the policy it began with', async () => {
      assert.notEqual((await pay('Agent/alice', session)).outcome, 'permit')
      assert.equal(await paid(session), 2)
      const { grant } = await until('its grant has ended', async () => {
        const found = await alice.writ.grants.get(first.grant.id)
        return found.grant.state !== 'active' && found
      })
      assert.equal(grant.end, 'revoked')
      assert.match(grant.reason ?? '', /policy changed/u)
      const carrying = { ...refund, context: { grant: first.grant.id } }
      denied(await pay('Agent/alice', session, carrying), 'grant_ended')
      await alice.writ.tasks.end(session, 'failed', 'the policy changed')
    })
    await story.right('under the new policy two people agree, and refunds are paid again', async () => {
      const { id } = await declare(bob)
      await open(bob, id, frida, fay)
      assert.equal((await pay('Agent/bob', id)).outcome, 'permit')
      await story.wrong('a locked agent: from the answer of the lock on, nothing more is paid', async () => {
        const reading = { subject: 'Agent/bob', action: 'payments:read', resource: 'Ledger/eu' }
        assert.equal((await service.writ.evaluate(reading)).outcome, 'permit')
        const paying = { on: true }
        const worker = (async () => {
          const permits: number[] = []
          while (paying.on) {
            const began = performance.now()
            if ((await pay('Agent/bob', id)).outcome === 'permit') permits.push(began)
          }
          return permits
        })()
        const narrowing = await writ.ada.locks.lock({
          what: 'subject',
          about: 'Agent/bob',
          reason: 'its laptop was stolen',
        })
        const locked = performance.now()
        assert.ok(narrowing.denied && narrowing.recorded)
        denied(await pay('Agent/bob', id), 'subject_locked', 'task_ended')
        denied(await service.writ.evaluate(reading), 'subject_locked')
        paying.on = false
        const permits = await worker
        assert.deepEqual(
          permits.filter((began) => began > locked),
          [],
        )
        await refused(declare(bob), 'ERR_FORBIDDEN', 'ERR_UNAUTHENTICATED')
      })
    })
    await story.right('there are as many refunds as permits, and each has its decision', async () => {
      const [row] = await database.look<{ count: number }>('select count(*)::int from refund')
      const { items } = await writ.ada.decisions.list({ ref: 'Ledger/eu', limit: 200 })
      const permits = (
        items as { outcome: string; caller: string; attempt: { action: { name: string } } }[]
      ).filter(
        ({ outcome, caller, attempt }) =>
          outcome === 'permit' && caller === `key:${service.id}` && attempt.action.name === 'payments:refund',
      )
      // one permit was given twice to a retry that paid nothing
      assert.equal(permits.length, (row?.count ?? 0) + 1)
    })
  },
}
