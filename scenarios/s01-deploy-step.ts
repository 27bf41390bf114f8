import assert from 'node:assert/strict'
import type { AttemptInput } from '../client/src/index.ts'
import { openDatabase } from './support/database.ts'
import { approve, ask, openInstallation, under } from './support/installation.ts'
import type { Scenario } from './support/story.ts'
import { denied, refused, sql, sqlRefused, until } from './support/story.ts'

/** Production is read in any step of a deployment, and written in its change step alone, with the release agreed. */
const POLICY = `
@id("deployment-reads")
permit (principal in Group::"deployers", action == Action::"prod:read", resource is Database)
when { context.live has task };

@id("change-step-writes")
@ttl("2m")
@uses("5")
@binding("task")
permit (principal in Group::"deployers", action == Action::"prod:write", resource is Database)
when {
  context.live has task && context.live.task has parent && context.live.task.purpose == "change" &&
  context.proof.approvals.release >= 1
};

@id("release-approve")
permit (principal in Group::"release-managers", action == Writ::Action::"approve", resource is Database)
when { context.pool == "release" };
`

export const scenario: Scenario = {
  id: 'S01',
  name: 'deploy-step',
  right: 'a deployment agent writes to production in the change step of its deployment',
  wrong: 'the same call one step earlier or later, at Writ and at the database',

  async run(story) {
    const database = await story.part(
      openDatabase({
        name: 'production',
        schema: 'create table setting (name text primary key, value text)',
      }),
    )
    const writ = await story.part(
      openInstallation({
        people: { rosa: ['release-managers'] },
        policies: [{ name: 'deploy.cedar', text: POLICY }],
        entities: [
          { type: 'Agent', id: 'deployer', kind: 'agent', owner: 'Person/ada', parents: ['Group/deployers'] },
          { type: 'Service', id: 'pipeline', kind: 'workload', owner: 'Person/ada' },
          { type: 'Database', id: 'production', kind: 'resource', sensitivity: 'high' },
        ],
      }),
    )
    await writ.target(database, { 'prod:write': 'Database/production' })
    // the pipeline declares the steps, the agent works in them
    const { writ: pipeline } = await writ.key('Service/pipeline', { subjects: ['Agent'], attributes: {} })
    const { writ: agent } = await writ.key('Agent/deployer')
    const rosa = writ.person('rosa')

    const read: AttemptInput = { action: 'prod:read', resource: 'Database/production' }
    const write: AttemptInput = { action: 'prod:write', resource: 'Database/production' }
    const change = `insert into setting values ('colour', 'blue') on conflict (name) do update set value = excluded.value`
    const resources = [{ type: 'Database', id: 'production' }]
    const deployment = await pipeline.tasks.declare({
      subject: 'Agent/deployer',
      purpose: 'deploy 4.2',
      reason: 'REL-42',
      scope: { actions: ['prod:read', 'prod:write'], resources },
      heartbeat: '5m',
    })
    const step = (purpose: string, ...actions: string[]) =>
      pipeline.tasks.declare({
        subject: 'Agent/deployer',
        parent: deployment.id,
        purpose,
        reason: 'REL-42',
        scope: { actions, resources },
        heartbeat: '5m',
      })
    /** The agent's own account at the database: what it has outside the change step. */
    const standing = await database.connect(database.account)

    const plan = await step('plan', 'prod:read')
    await story.right('in the plan step the agent reads production', async () => {
      assert.equal((await agent.evaluate(under(plan.id, read))).outcome, 'permit')
      assert.deepEqual(await standing.query('select * from setting'), [])
    })
    await story.wrong('writing one step earlier', async () => {
      denied(await agent.evaluate(under(plan.id, write)), 'task_scope')
      await refused(agent.acquire({ ...write, task: plan.id, reason: 'early' }), 'task_scope')
      await sqlRefused(standing.query(change), sql.noRight)
      await sqlRefused(standing.query(`set role ${database.owner}`), sql.noRight)
    })
    await story.wrong('writing as the deployment at large, or outside of any', async () => {
      denied(await agent.evaluate(under(deployment.id, write)), 'policy_denied')
      denied(await agent.evaluate(write), 'policy_denied')
    })
    await story.wrong('the agent widens its step, or makes itself one beyond the deployment', async () => {
      const wider = { purpose: 'change', scope: { actions: ['prod:write'], resources } }
      await refused(agent.tasks.declare({ ...wider, parent: plan.id }), 'ERR_FORBIDDEN')
      const drop = { purpose: 'change', scope: { actions: ['prod:drop'], resources } }
      await refused(agent.tasks.declare({ ...drop, parent: deployment.id }), 'ERR_FORBIDDEN')
      const own = await agent.tasks.declare(wider)
      denied(await agent.evaluate(under(own.id, write)), 'policy_denied')
      await agent.tasks.end(own.id, 'cancelled')
    })
    await pipeline.tasks.end(plan.id, 'completed')

    const changing = await step('change', 'prod:read', 'prod:write')
    await story.wrong('the change step without the release being agreed', async () => {
      await refused(agent.acquire({ ...write, task: changing.id, reason: 'REL-42' }), 'ERR_DENIED')
      const own = await agent.tasks.declare({
        parent: deployment.id,
        purpose: 'change',
        scope: { actions: ['prod:write'], resources },
      })
      assert.equal(
        (await agent.evaluate(under(own.id, write))).outcome,
        'challenge',
        'a step of its own needs it too',
      )
      await agent.tasks.end(own.id, 'cancelled')
      assert.deepEqual(await database.roles(), [])
    })
    const request = await ask(agent, under(changing.id, write))
    await approve(rosa, request)
    const lease = await agent.resume(request.id)
    const { secret } = await lease.credential()
    const url = secret.env['DATABASE_URL'] ?? ''
    const session = await database.connect({ url })
    await story.right('in the change step, agreed, the agent writes to production', async () => {
      assert.equal((await agent.evaluate(under(changing.id, write))).outcome, 'permit')
      await session.query(change)
      assert.deepEqual(await standing.query('select * from setting'), [{ name: 'colour', value: 'blue' }])
    })
    await story.wrong('it writes under the plan step that is over, even now', async () => {
      denied(await agent.evaluate(under(plan.id, write, { grant: lease.grant.id })), 'task_ended')
    })
    await story.right('the step ends, and takes its authority along', async () => {
      await session.query("begin; update setting set value = 'red'")
      await pipeline.tasks.end(changing.id, 'completed')
      await session.ended
      await until('the database is clean', async () => (await agent.tasks.get(changing.id)).clean)
      assert.deepEqual(await database.roles(), [])
    })

    const verify = await step('verify', 'prod:read')
    await story.right(
      'in the verify step the agent reads what it changed, and nothing half-done',
      async () => {
        assert.equal((await agent.evaluate(under(verify.id, read))).outcome, 'permit')
        assert.deepEqual(await standing.query('select * from setting'), [{ name: 'colour', value: 'blue' }])
      },
    )
    await story.wrong('writing one step later, with whatever is left of the one before', async () => {
      denied(await agent.evaluate(under(verify.id, write)), 'task_scope')
      denied(await agent.evaluate(under(verify.id, write, { grant: lease.grant.id })), 'task_scope')
      denied(await agent.evaluate(under(changing.id, write, { grant: lease.grant.id })), 'task_ended')
      await refused(lease.credential(), 'task_ended', 'grant_ended')
      await refused(agent.resume(request.id), 'task_ended')
      await sqlRefused(session.query(change), sql.cut)
      await sqlRefused(database.connect({ url }), sql.noLogin)
      await sqlRefused(standing.query(change), sql.noRight)
    })
    await story.wrong('a later change step on the approval of this one', async () => {
      const second = await step('change', 'prod:read', 'prod:write')
      const { approval } = await agent.requests.wait(request.id)
      const decision = await agent.evaluate(under(second.id, write, { approval: approval ?? null }))
      assert.notEqual(decision.outcome, 'permit')
      await pipeline.tasks.end(second.id, 'cancelled')
    })
    await story.right('the deployment ends with all of its steps', async () => {
      await pipeline.tasks.end(deployment.id, 'completed')
      assert.equal((await pipeline.tasks.get(verify.id)).task.state, 'cancelled')
      denied(await agent.evaluate(under(verify.id, read)), 'task_ended')
    })
    await lease.end()
  },
}
