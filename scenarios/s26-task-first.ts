import assert from 'node:assert/strict'
import type { Lease, Writ } from '../client/src/index.ts'
import { openDatabase } from './support/database.ts'
import { ask, approve, openInstallation, ShiftedClock, under } from './support/installation.ts'
import type { Scenario } from './support/story.ts'
import { denied, refused, sql, sqlRefused, until } from './support/story.ts'

const MINUTE = 60_000

export const scenario: Scenario = {
  id: 'S26',
  name: 'task-first',
  right:
    'a task is declared first and carries access to just its scope, until it completes, fails or times out',
  wrong: 'access without a task, beside it, or after its deadline whatever beats',

  async run(story) {
    const clock = new ShiftedClock()
    const database = await story.part(
      openDatabase({ name: 'orders', schema: 'create table ledger (line text)' }),
    )
    const writ = await story.part(
      openInstallation({
        clock,
        people: { grace: ['dba'] },
        entities: [
          { type: 'Agent', id: 'migrator', kind: 'agent', owner: 'Person/ada', parents: ['Group/deployers'] },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
          { type: 'Database', id: 'payments', kind: 'resource', sensitivity: 'high' },
        ],
      }),
    )
    await writ.target(database, { 'db:migrate': 'Database/orders' })
    const { writ: agent } = await writ.key('Agent/migrator')
    const grace = writ.person('grace')
    const migrate = { action: 'db:migrate', resource: 'Database/orders' }

    const declare = (more: Readonly<{ ttl?: string; heartbeat?: string }> = {}) =>
      agent.tasks.declare({
        purpose: 'add a column',
        reason: 'INC-42',
        scope: { actions: ['db:migrate'], resources: [{ type: 'Database', id: 'orders' }] },
        ...more,
      })
    /** Asks under `task`, is approved, and takes the grant. */
    const take = async (task: string): Promise<Lease> => {
      const request = await ask(agent, under(task, migrate))
      await approve(grace, request)
      return agent.resume(request.id)
    }
    /** A session under the lease that has just written a line. */
    const work = async (lease: Lease, line: string) => {
      const { secret } = await lease.credential()
      const url = secret.env['DATABASE_URL'] ?? ''
      const session = await database.connect({ url })
      await session.query(`insert into ledger values ('${line}')`)
      return { url, session }
    }
    /** The task has ended as `state`, and what was had under it opens nothing any more. */
    const isOver = async (id: string, state: string, opened: Awaited<ReturnType<typeof work>>) => {
      const over = await until(`task ${id} is clean`, async () => {
        const found = await agent.tasks.get(id)
        return found.clean && found
      })
      assert.equal(over.task.state, state)
      await opened.session.ended
      await sqlRefused(opened.session.query(`insert into ledger values ('late')`), sql.cut)
      await sqlRefused(database.connect({ url: opened.url }), sql.noLogin)
      denied(await agent.evaluate(under(id, migrate)), 'task_ended')
      await refused(agent.tasks.heartbeat(id), 'ERR_CONFLICT')
    }

    await story.wrong('access without a task: nothing that anybody could give would change it', async () => {
      denied(await agent.evaluate(migrate), 'policy_denied')
      denied(await agent.evaluate(under('task_none', migrate)), 'task_unknown')
    })
    await story.wrong('access beside the declared scope', async () => {
      const { id } = await declare()
      denied(await agent.evaluate(under(id, { ...migrate, resource: 'Database/payments' })), 'task_scope')
      denied(await agent.evaluate(under(id, { ...migrate, action: 'db:drop' })), 'task_scope')
      await agent.tasks.end(id, 'cancelled')
    })
    await story.wrong('another agent in its name', async () => {
      const { id } = await declare()
      await writ.ada.inventory.put([
        { type: 'Agent', id: 'other', kind: 'agent', owner: 'Person/ada', parents: ['Group/deployers'] },
      ])
      const { writ: other } = await writ.key('Agent/other')
      denied(await other.evaluate(under(id, migrate)), 'task_unknown')
      denied(
        await other.evaluate({ ...under(id, migrate), subject: 'Agent/migrator' }),
        'forbidden_assertion',
      )
      await refused(other.tasks.end(id, 'cancelled'), 'ERR_NOT_FOUND')
      await agent.tasks.end(id, 'cancelled')
    })

    await story.right('the task completes, and its access with it', async () => {
      const lease = await take((await declare()).id)
      const opened = await work(lease, 'completed')
      await lease.end()
      await isOver(lease.task?.id ?? '', 'completed', opened)
    })
    await story.right('the task fails, and its access ends as surely', async () => {
      const lease = await take((await declare()).id)
      const opened = await work(lease, 'failed')
      await lease.fail('a lock was held')
      await isOver(lease.task?.id ?? '', 'failed', opened)
    })
    await story.right('waiting for approval eats nothing: the clocks start at the first permit', async () => {
      const { id } = await declare({ ttl: '2m' })
      const request = await ask(agent, under(id, migrate))
      clock.advance(14 * MINUTE)
      await approve(grace, request)
      clock.advance(14 * MINUTE)
      const lease = await agent.resume(request.id)
      const { task } = await agent.tasks.get(id)
      assert.equal(task.state, 'open')
      assert.equal(Date.parse(task.ends_at ?? '') - Date.parse(task.opened_at ?? ''), 2 * MINUTE)
      await lease.end()
      await lease.clean()
    })
    await story.wrong('a task that outlives its deadline, its heartbeat never late', async () => {
      const lease = await take((await declare({ ttl: '30s', heartbeat: '3s' })).id)
      const id = lease.task?.id ?? ''
      const opened = await work(lease, 'deadline')
      const { task } = await agent.tasks.get(id)
      assert.ok(lease.grant.ends_at <= (task.ends_at ?? ''), 'the grant ends no later than its task')
      for (let beats = 0; beats < 13; beats += 1) {
        clock.advance(2_000)
        await agent.tasks.heartbeat(id)
      }
      await opened.session.query('select 1')
      clock.advance(2_000)
      await agent.tasks.heartbeat(id).catch(() => {}) // the deadline is near: the beat may be late already
      clock.advance(2_001)
      await isOver(id, 'timed-out', opened)
      assert.match((await agent.tasks.get(id)).task.ending?.reason ?? '', /deadline/u)
      await new Promise<void>((gone) => {
        if (lease.signal.aborted) gone()
        else lease.signal.addEventListener('abort', () => gone(), { once: true })
      })
    })
    await story.wrong('a task whose worker has gone silent', async () => {
      const lease = await take((await declare({ heartbeat: '10s' })).id)
      const opened = await work(lease, 'silent')
      clock.advance(10_001)
      await isOver(lease.task?.id ?? '', 'timed-out', opened)
      assert.match((await agent.tasks.get(lease.task?.id ?? '')).task.ending?.reason ?? '', /heartbeat/u)
    })
    await story.wrong('a task that was declared and forgotten', async () => {
      const { id } = await declare()
      clock.advance(15 * MINUTE + 1)
      denied(await agent.evaluate(under(id, migrate)), 'task_ended')
      await until('it has timed out', async () => (await agent.tasks.get(id)).task.state === 'timed-out')
    })
    await story.right('what was written while it was allowed stays, and nothing else is there', async () => {
      const lines = await database.look<{ line: string }>('select line from ledger order by line')
      assert.deepEqual(
        lines.map(({ line }) => line),
        ['completed', 'deadline', 'failed', 'silent'],
      )
    })
    await story.right('every ending is in the history, with its reason', async () => {
      const states = (await all(writ.ada)).map(({ state }) => state).sort()
      assert.deepEqual(states, [
        'cancelled',
        'cancelled',
        'completed',
        'completed',
        'failed',
        'timed-out',
        'timed-out',
        'timed-out',
      ])
    })
  },
}

const all = async (ada: Writ) => (await ada.tasks.list({ limit: 100 })).items
