/**
 * P10: what a decision takes as grants and tasks grow, against the same with few of them.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import type { Task } from '../src/model/task.ts'
import { activeGrant, attempt, declare, migration, openWorld } from '../test/support/world.ts'
import type { Row, Sample } from './measure.ts'
import { rows, rss, sample } from './measure.ts'
import { LONG, benchFolder, cloned, grantOf } from './storm.ts'

export async function growth(full: boolean): Promise<readonly Row[]> {
  return [
    ...(await grants(full ? [1_000, 10_000, 100_000, 1_000_000] : [1_000, 100_000])),
    ...(await tasks(full ? [10, 1_000, 100_000] : [10, 10_000])),
    rss('growth'),
  ]
}

/** Live grants of others, beside a read that policy permits and a migration under a grant of its own. */
async function grants(steps: readonly number[]): Promise<Row[]> {
  await using world = await openWorld({ http: false, folder: benchFolder(), config: { defaults: LONG } })
  const like = await grantOf(world)
  const measure = async (): Promise<readonly Sample[]> => {
    const { task } = await activeGrant(world, await declare(world))
    return [
      await decided(async () => {
        const read = attempt('Agent/migrator', 'read', 'Document/handbook')
        assert.equal((await world.app.flows.evaluate(world.migrator, read)).outcome, 'permit')
      }),
      await decided(async () => {
        const { outcome, reason } = await world.app.flows.ask(world.migrator, migration(task))
        assert.equal(outcome, 'permit', reason)
      }),
    ]
  }
  return await grown(steps, ['read', 'under a grant'], 'live grants', measure, (from, to) =>
    cloned(world.app.store, to - from, (tx, i) => {
      const id = `grant_${from + i}`
      // each of a task of its own, as grants are
      tx.put('grant', id, { ...like, id, task: `task_${from + i}` })
    }),
  )
}

/** Open tasks of others, a hundred each, beside an act under another of its tasks. */
async function tasks(steps: readonly number[]): Promise<Row[]> {
  await using world = await openWorld({ http: false, folder: benchFolder(), config: { defaults: LONG } })
  const { task: id } = await activeGrant(world, await declare(world))
  const like = (await world.app.store.read([{ kind: 'task', id }])).get('task', id)?.value as Task
  const measure = async (): Promise<readonly Sample[]> => [
    await decided(async () => {
      const { outcome, reason } = await world.app.flows.ask(world.migrator, migration(id))
      assert.equal(outcome, 'permit', reason)
    }),
    await decided(async () => {
      const { task } = await world.app.flows.endTask(world.migrator, await declare(world), 'completed')
      assert.equal(task.state, 'completed')
    }),
  ]
  return await grown(steps, ['under a task', 'declared and completed'], 'open tasks', measure, (from, to) =>
    cloned(world.app.store, to - from, (tx, i) => {
      const subject = { type: 'Agent', id: `other${Math.floor((from + i) / 100)}` }
      tx.put('task', `task_${from + i}`, { ...like, id: `task_${from + i}`, subject, chain: [subject] })
    }),
  )
}

const decided = (once: () => Promise<void>): Promise<Sample> =>
  sample(once, { seconds: 1, concurrency: 8, warmup: 1 })

/** Measured at each of `steps`, against the first. */
async function grown(
  steps: readonly number[],
  whats: readonly string[],
  ofWhat: string,
  measure: () => Promise<readonly Sample[]>,
  grow: (from: number, to: number) => Promise<void>,
): Promise<Row[]> {
  const found: Row[] = []
  let first: readonly Sample[] | undefined
  let known = 1
  for (const step of steps) {
    await grow(known, step)
    known = step
    const now = await measure()
    first ??= now
    for (const [at, what] of whats.entries())
      found.push(
        ...rows('growth', `${step} ${ofWhat}, ${what}`, now[at] as Sample, {
          name: `at ${steps[0]}`,
          sample: first[at] as Sample,
        }),
      )
  }
  return found
}
