/**
 * Search over 10,000 resources of which policy permits 10: through the heads of permits, and by their conditions alone;
 * against an evaluation of each, which is the same answer.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import { analyse } from '../src/decision/analyse.ts'
import { toAttempt } from '../src/flows/attempts.ts'
import type { EntityInput } from '../src/flows/port.ts'
import type { SearchInput } from '../src/flows/searching.ts'
import { openWorld, ref, starterPolicies } from '../test/support/world.ts'
import type { Row } from './measure.ts'
import { median, rss } from './measure.ts'

const RESOURCES = 10_000
const PERMITTED = 10
const RUNS = 5
const idOf = (n: number): string => `t${String(n).padStart(5, '0')}`

const things = Array.from({ length: RESOURCES }, (_, n): EntityInput => {
  const chosen = n % (RESOURCES / PERMITTED) === 7
  return {
    type: 'Thing',
    id: idOf(n),
    kind: 'resource',
    attrs: { open: chosen },
    parents: chosen ? [ref('Shelf/front')] : [ref(`Shelf/s${n % 50}`)],
  }
})

const policies = `
${things
  .filter((_, n) => n % (RESOURCES / PERMITTED) === 7)
  .map(
    ({ id }) =>
      `permit (principal == Agent::"migrator", action == Action::"named", resource == Thing::"${id}");`,
  )
  .join('\n')}
permit (principal is Agent, action == Action::"below", resource in Shelf::"front");
permit (principal is Agent, action == Action::"any", resource is Thing) when { resource.open };
`

export async function search(): Promise<readonly Row[]> {
  await using world = await openWorld({
    http: false,
    sweeper: false,
    policies: [...starterPolicies(), { name: 'search.cedar', text: policies }],
    entities: things.slice(0, 900),
  })
  const { flows } = world.app
  for (let from = 900; from < things.length; from += 900) {
    await flows.putEntities(world.ada, things.slice(from, from + 900))
  }
  const subject = ref('Agent/migrator')
  const rows: Row[] = []
  const row = (metric: string, value: number, unit: Row['unit'], theirs: number | null): void => {
    rows.push({
      bench: 'search',
      metric,
      value,
      unit,
      peer: theirs === null ? null : 'an evaluation of each, in process',
      ratio: theirs === null ? null : theirs / value,
    })
  }

  /** All pages of a search for what `action` may be done on. */
  const whole = async (action: string): Promise<{ ids: string[]; decided: number; pages: number }> => {
    const input: SearchInput = {
      what: 'resource',
      subject,
      action: { name: action },
      resource: { type: 'Thing' },
    }
    const ids: string[] = []
    let [decided, pages] = [0, 0]
    for (let token: string | undefined; ;) {
      const found = await flows.searchAccess(world.migrator, input, token === undefined ? {} : { token })
      ids.push(...found.ids)
      decided += found.decided
      pages += 1
      if (found.next === undefined) return { ids, decided, pages }
      token = found.next
    }
  }
  const each = async (action: string): Promise<string[]> => {
    const ids: string[] = []
    for (const { id } of things) {
      const attempt = toAttempt({ subject, action: { name: action }, resource: { type: 'Thing', id } })
      const quiet = { ...world.app.decision, mayChallenge: () => false }
      if ((await analyse(quiet, world.migrator, attempt, 'question')).outcome === 'permit') ids.push(id)
    }
    return ids
  }
  const time = async (work: () => Promise<unknown>): Promise<number> => {
    const since = performance.now()
    await work()
    return performance.now() - since
  }

  for (const action of ['named', 'below', 'any']) {
    const expected = await each(action)
    const found = await whole(action)
    assert.deepEqual(found.ids, expected)
    assert.equal(expected.length, PERMITTED)
    if (action !== 'any') assert.equal(found.decided, PERMITTED)
    const ours: number[] = []
    const theirs: number[] = []
    for (let run = 0; run < RUNS; run += 1) {
      ours.push(await time(() => whole(action)))
      theirs.push(await time(() => each(action)))
    }
    row(`${action}, candidates decided`, found.decided, '×', null)
    row(`${action}, whole search`, median(ours), 'ms', median(theirs))
  }

  /** The longest that anybody else waited while the longest of the three was going on. */
  let [longest, last, going] = [0, performance.now(), true]
  const tick = (): void => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
    if (going) setImmediate(tick)
  }
  setImmediate(tick)
  await whole('any')
  going = false
  row('any, longest wait of others', longest, 'ms', null)
  return [...rows, rss('search')]
}
