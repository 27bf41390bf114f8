import assert from 'node:assert/strict'
import type { AttemptInput, Json, Writ } from '../client/src/index.ts'
import { openDatabase } from './support/database.ts'
import {
  approve,
  approved,
  ask,
  challenged,
  openInstallation,
  ShiftedClock,
  under,
} from './support/installation.ts'
import type { Scenario } from './support/story.ts'
import { refused } from './support/story.ts'

const MINUTE = 60_000

export const scenario: Scenario = {
  id: 'S12',
  name: 'stale-approval',
  right: 'an approval carries the one execution it was given for, once, for as long as it said',
  wrong:
    'carrying a later one: replayed, edited, for another task or caller, too late, or from who lost the right to give it',

  async run(story) {
    const clock = new ShiftedClock()
    const database = await story.part(openDatabase({ name: 'orders' }))
    const writ = await story.part(
      openInstallation({
        clock,
        people: { grace: ['dba'], hedy: ['dba'] },
        entities: [
          { type: 'Agent', id: 'migrator', kind: 'agent', owner: 'Person/ada', parents: ['Group/deployers'] },
          {
            type: 'Service',
            id: 'orders-ci',
            kind: 'workload',
            owner: 'Person/ada',
            parents: ['Group/deployers'],
          },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
          { type: 'Database', id: 'payments', kind: 'resource', sensitivity: 'high' },
        ],
      }),
    )
    await writ.target(database, { 'db:migrate': 'Database/orders' })
    const { writ: workflow, token: workflowToken } = await writ.key('Agent/migrator')
    const { writ: other } = await writ.key('Service/orders-ci')
    const [grace, hedy] = [writ.person('grace'), writ.person('hedy')]

    /** The migration as it is always run; the file is part of what is approved. */
    const migrate: AttemptInput = {
      action: { name: 'db:migrate', properties: { file: '0007-add-column.sql' } },
      resource: 'Database/orders',
    }
    const declare = (agent: Writ = workflow) =>
      agent.tasks.declare({
        purpose: 'nightly migration',
        reason: 'INC-42',
        scope: {
          actions: ['db:migrate'],
          resources: [
            { type: 'Database', id: 'orders' },
            { type: 'Database', id: 'payments' },
          ],
        },
      })
    /** Neither an attempt nor a grant is had with `approval`, for one of `reasons`. */
    const useless = async (
      agent: Writ,
      task: string,
      approval: Json,
      reasons: string[],
      attempt = migrate,
    ) => {
      const carrying = under(task, attempt, { approval })
      const { decision, grant } = await agent.grants.activate(carrying)
      assert.equal(grant, undefined)
      for (const one of [decision, await agent.evaluate(carrying)]) {
        assert.notEqual(one.outcome, 'permit')
        assert.ok(
          reasons.includes(one.reason),
          `${one.outcome} for \`${one.reason}\`, not for ${reasons.join(' or ')}`,
        )
      }
    }

    const { id: yesterday } = await declare()
    const { id: today } = await declare()
    const used = await approved(workflow, under(yesterday, migrate), grace)
    await story.right('yesterday the workflow was approved and ran', async () => {
      const { grant } = await workflow.grants.activate(under(yesterday, migrate, { approval: used.approval }))
      const { secret } = await workflow.credentials.issue(grant?.id ?? '')
      const session = await database.connect({ url: secret.env['DATABASE_URL'] ?? '' })
      await session.query('create table orders (id int primary key)')
      await session.end()
      // the issue was its one use
      await refused(workflow.credentials.issue(grant?.id ?? ''), 'grant_spent')
    })
    await story.wrong('replaying the approval, in the same task and in a later one', async () => {
      await useless(workflow, yesterday, used.approval, ['approval_expired'])
      await useless(workflow, today, used.approval, ['approval_expired'])
      assert.equal((await workflow.tasks.end(yesterday, 'completed')).task.state, 'completed')
      await useless(workflow, yesterday, used.approval, ['task_ended'])
    })
    await story.wrong('the request itself asked again: what was approved stays approved once', async () => {
      await refused(approve(hedy, used.request), 'ERR_CONFLICT')
      await refused(workflow.resume(used.request.id), 'task_ended')
    })

    const fresh = await approved(workflow, under(today, migrate), grace)
    await story.wrong(
      'editing the request after its approval: another file, another database, one thing more',
      async () => {
        const edits: AttemptInput[] = [
          { ...migrate, action: { name: 'db:migrate', properties: { file: '0008-drop-table.sql' } } },
          { ...migrate, action: 'db:migrate' },
          { ...migrate, resource: 'Database/payments' },
          { ...migrate, context: { dry_run: false } },
        ]
        for (const edit of edits) await useless(workflow, today, fresh.approval, ['out_of_scope'], edit)
      },
    )
    await story.wrong('carrying it into another task', async () => {
      const { id } = await declare()
      await useless(workflow, id, fresh.approval, ['out_of_scope'])
      await workflow.tasks.end(id, 'cancelled')
    })
    await story.wrong('another caller with it, in a task of its own or in this one', async () => {
      const { id } = await declare(other)
      await useless(other, id, fresh.approval, ['approval_unverifiable'])
      await useless(other, today, fresh.approval, ['task_unknown'])
      await refused(other.requests.get(fresh.request.id), 'ERR_NOT_FOUND')
      await other.tasks.end(id, 'cancelled')
    })
    await story.wrong('an approval that was never given', async () => {
      await useless(workflow, today, { ...fresh.approval, id: 'appr_0000' }, ['approval_unverifiable'])
    })
    await story.wrong('approving what is not what was displayed', async () => {
      const edited = under(today, {
        ...migrate,
        action: { name: 'db:migrate', properties: { file: '0009.sql' } },
      })
      const request = await ask(workflow, edited)
      assert.notEqual(request.digest, fresh.request.digest)
      await refused(approve(grace, { id: request.id, digest: fresh.request.digest }), 'ERR_CONFLICT')
      await workflow.requests.cancel(request.id)
    })
    await story.wrong('a denial turned into a request for something else', async () => {
      const challenge = await challenged(workflow, under(today, { ...migrate, context: { note: 'nightly' } }))
      const answer = await fetch(`${writ.url}/access/v1/requests`, {
        method: 'POST',
        headers: { authorization: `Bearer ${workflowToken}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          denial: { evaluation_id: challenge.id, expires_at: challenge.expiresAt },
          subject: { type: 'Agent', id: 'migrator' },
          action: { name: 'db:migrate', properties: { file: '0008-drop-table.sql' } },
          resource: { type: 'Database', id: 'orders' },
          context: { task: today, note: 'nightly' },
        }),
      })
      assert.equal(answer.status, 400, await answer.clone().text())
      assert.match(((await answer.json()) as { type: string }).type, /invalid_denial_binding$/u)
    })
    await story.wrong('an approver who has lost the right to give it since', async () => {
      await writ.ada.inventory.put([{ type: 'Person', id: 'grace', kind: 'human', parents: [] }])
      await useless(workflow, today, fresh.approval, ['approval_expired'])
      await writ.ada.inventory.put([{ type: 'Person', id: 'grace', kind: 'human', parents: ['Group/dba'] }])
    })
    await story.wrong('the approval after its time, though the task still waits', async () => {
      clock.advance(15 * MINUTE)
      assert.equal((await workflow.tasks.get(today)).task.state, 'declared')
      await useless(workflow, today, fresh.approval, ['approval_expired'])
    })
    await story.right('a fresh approval of today’s execution runs it', async () => {
      const again = await approved(workflow, under(today, migrate), hedy)
      assert.equal(
        (await workflow.evaluate(under(today, migrate, { approval: again.approval }))).outcome,
        'permit',
      )
      await workflow.tasks.end(today, 'completed')
    })
    await story.right('each approval was spent into one grant at most, by name', async () => {
      const { items } = await writ.ada.requests.list({ limit: 100 })
      const spent = items.filter((request) => request.grant !== undefined)
      assert.equal(spent.length, 2)
      assert.equal(new Set(spent.map(({ grant }) => grant)).size, 2)
      const approvers = spent.flatMap(({ approvals }) => approvals.map(({ person }) => person ?? ''))
      assert.deepEqual(approvers.sort(), ['Person/grace', 'Person/hedy'])
    })
  },
}
