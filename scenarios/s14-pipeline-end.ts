import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TaskState } from '../client/src/index.ts'
import { openDatabase } from './support/database.ts'
import { openInstallation } from './support/installation.ts'
import type { Program } from './support/processes.ts'
import { child, startWrit, writ as runWrit } from './support/processes.ts'
import type { Scenario } from './support/story.ts'
import { sql, until } from './support/story.ts'

const HEARTBEAT = 2_000

/** Deployments run without anybody being asked: this is about how they end. */
const POLICY = `
@id("pipelines-deploy")
@ttl("10m")
permit (principal in Group::"deployers", action == Action::"deploy:apply", resource is Database)
when { context.live has task && context.proof.justification };
`

export const scenario: Scenario = {
  id: 'S14',
  name: 'pipeline-end',
  right: 'a pipeline’s access ends when it completes, fails, is cancelled, or its runner is killed',
  wrong: 'a child process that keeps the credential and its connection',

  async run(story) {
    const database = await story.part(
      openDatabase({
        name: 'orders',
        schema: 'create table pulse (who text, at timestamptz default clock_timestamp())',
      }),
    )
    const writ = await story.part(
      openInstallation({
        people: {},
        policies: [{ name: 'deploy.cedar', text: POLICY }],
        entities: [
          {
            type: 'Service',
            id: 'pipeline',
            kind: 'workload',
            owner: 'Person/ada',
            parents: ['Group/deployers'],
          },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
        ],
      }),
    )
    await writ.target(database, { 'deploy:apply': 'Database/orders' })
    const pipeline = await writ.key('Service/pipeline')
    const settings = (name: string) => ({
      cwd: join(writ.folder, name),
      env: { WRIT_URL: writ.url, WRIT_TOKEN: pipeline.token, WRIT_RESULT_FILE: 'result.json' },
    })
    /** A deployment under way: its child is writing. */
    const start = async (name: string, ...more: string[]): Promise<Program> => {
      const program = await story.part(
        startWrit(
          [
            'run',
            '--for=deploy:apply',
            '--on=Database/orders',
            `--reason=release ${name}`,
            `--heartbeat=${HEARTBEAT}ms`,
            '--',
            ...child('pulse.ts'),
            ...more,
          ],
          settings(name),
        ),
      )
      await program.says('working')
      assert.equal((await database.roles()).length, 1)
      return program
    }
    const task = async (): Promise<TaskState> => {
      const { items } = await pipeline.writ.tasks.list({ live: true })
      assert.equal(items.length, 1)
      return pipeline.writ.tasks.get(items[0]?.id ?? '')
    }
    const clean = async (id: string, state: string, reason: RegExp): Promise<void> => {
      const found = await pipeline.writ.tasks.get(id)
      assert.deepEqual([found.task.state, found.clean], [state, true])
      assert.match(found.task.ending?.reason ?? '', reason)
      assert.deepEqual([await database.roles(), await database.sessions()], [[], 0])
    }

    await story.right('it completes', async () => {
      const program = await start('completes')
      const { task: running } = await task()
      program.write('done')
      assert.deepEqual(await program.ended, { code: 0, signal: null }, program.err.join('\n'))
      await clean(running.id, 'completed', /completed/u)
    })
    await story.right('it fails, and its exit code is its own', async () => {
      const program = await start('fails')
      const { task: running } = await task()
      program.write('fail')
      assert.deepEqual(await program.ended, { code: 3, signal: null }, program.err.join('\n'))
      await clean(running.id, 'failed', /exited with 3/u)
    })
    await story.right('its runner is told to stop, and hands that on', async () => {
      const program = await start('stopped')
      const { task: running } = await task()
      program.kill('SIGTERM')
      assert.deepEqual(await program.ended, { code: 143, signal: null }, program.err.join('\n'))
      await clean(running.id, 'failed', /SIGTERM/u)
    })
    await story.wrong('a child goes on after its pipeline was cancelled somewhere else', async () => {
      const program = await start('cancelled')
      const { task: running } = await task()
      await runWrit(
        ['task', 'end', running.id, '--status', 'cancelled', '--reason', 'superseded'],
        settings('operator'),
      )
      const { code } = await program.ended
      assert.equal(code, 125, program.err.join('\n'))
      assert.match(program.err.join('\n'), /authority is gone/u)
      await until('the database is clean', async () => (await pipeline.writ.tasks.get(running.id)).clean)
      await clean(running.id, 'cancelled', /superseded/u)
    })
    await story.wrong(
      'a process that was left behind keeps credential and connection when the runner is killed',
      async () => {
        const diary = join(writ.folder, 'left-behind')
        const program = await start('killed', '--detach', diary)
        const { task: running } = await task()
        const lines = (): { what: string; pid: number; code?: string }[] =>
          existsSync(diary)
            ? readFileSync(diary, 'utf8')
                .trim()
                .split('\n')
                .filter((line) => line !== '')
                .map((line) => JSON.parse(line))
            : []
        const { pid } = await until('it writes on its own', () =>
          lines().find(({ what }) => what === 'writing'),
        )
        program.kill('SIGKILL')
        const killed = performance.now()
        const [now] = await database.look<{ at: Date }>('select clock_timestamp() as at')
        // what server and database lose on a busy machine shows in how long a look takes
        let lost = 0
        let from = killed
        await until('role and sessions are gone', async () => {
          const left = (await database.roles()).length + (await database.sessions())
          lost += Math.max(0, performance.now() - from - 50)
          from = performance.now()
          return left === 0
        })
        const took = Math.round(performance.now() - killed)
        const allowed = HEARTBEAT + 1_000 + 3 * lost
        story.figure(`role and sessions gone ${took} ms after SIGKILL (heartbeat ${HEARTBEAT} ms)`)
        assert.ok(took <= allowed, `gone after ${took} ms, of which ${lost} ms were lost`)
        const told = await until('it has tried to come back', () => {
          const found = lines()
          return found.filter(({ what }) => what === 'refused').length === 3 && found
        })
        assert.deepEqual(
          told.map(({ what }) => what),
          ['writing', 'cut', 'refused', 'refused', 'refused'],
        )
        assert.ok(
          told.slice(1, 2).every(({ code }) => sql.cut.includes(code as never)),
          JSON.stringify(told),
        )
        assert.ok(
          told.slice(2).every(({ code }) => sql.noLogin.includes(code as never)),
          JSON.stringify(told),
        )
        const [last] = await database.look<{ late: number }>(
          `select extract(epoch from max(at) - $1::timestamptz)::float8 * 1000 as late from pulse`,
          [now?.at],
        )
        assert.ok((last?.late ?? Infinity) <= allowed, `it wrote ${last?.late} ms later`)
        await clean(running.id, 'timed-out', /heartbeat/u)
        await until('nothing of it runs on', () => !isRunning(pid))
      },
    )
  },
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false // no such process
  }
}
