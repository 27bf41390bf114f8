import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { faultWorld, withPolicy } from '../../test/faults/support.ts'
import { attempt, ref, starterPolicies } from '../../test/support/world.ts'
import { loadPolicySet } from '../policy/index.ts'
import { isWritError } from '../model/errors.ts'
import { hex, sha256 } from '../store/hash.ts'
import { Checking } from './checking.ts'

const breaking = { entry: new URL('../../test/support/breaking-thread.ts', import.meta.url) }
const hash = (text: string): string => hex(sha256(text))

const report = (more: string): string =>
  `@id("report") permit (principal, action == Action::"report", resource is Document) when { resource.sensitivity < 2 ${more} };`

describe('P12 whatever becomes of the thread that judges policies', () => {
  for (const how of ['overflow', 'memory', 'exit', 'never']) {
    test(`(${how}), the publish fails, the set in force stays, and the next publish goes through`, async () => {
      await using world = await faultWorld({
        policies: withPolicy(report('')),
        checking: { ...breaking, memory: 64, ...(how === 'never' ? { timeout: 15_000 } : {}) },
      })
      const { flows } = world.app
      const asked = attempt('Agent/migrator', 'report', 'Document/handbook')
      const before = await flows.policy(world.ada)
      const published = flows.publish(world.ada, {
        policies: withPolicy(report(`&& "break by ${how}" != ""`)),
      })
      const [, meanwhile] = await Promise.all([
        assert.rejects(
          published,
          (error) => isWritError(error, 'ERR_TOO_LARGE') && /the set in force stays/u.test(error.message),
        ),
        flows.evaluate(world.migrator, asked),
      ])
      const after = await flows.evaluate(world.migrator, asked)
      for (const { outcome, policy } of [meanwhile, after])
        assert.deepEqual([outcome, policy], ['permit', before?.version])
      const next = await flows.publish(world.ada, {
        policies: withPolicy(report('&& principal.sensitivity < 5')),
      })
      assert.equal((await flows.evaluate(world.migrator, asked)).policy, next.version)
    })
  }
})

test('P12 loading gives others their turn at every pause that is due, and gives what loading at once gives', async () => {
  const files = Array.from({ length: 40 }, (_, index) => ({
    name: `more-${index}.cedar`,
    text: report(`|| ${index} == 41`).replace('"report"', `"report-${index}"`),
  }))
  const source = { policies: [...starterPolicies(), ...files] }
  const inventory = [
    { uid: ref('Document/handbook'), attrs: { sensitivity: 1 }, parents: [] },
    { uid: ref('Agent/migrator'), attrs: { sensitivity: 4 }, parents: [] },
  ]
  let now = 0
  let turns = 0
  // it looks at the clock at every pause: how many turns others had by then
  const seen = new Set<number>()
  const checking = new Checking(() => {
    seen.add(turns)
    return (now += 10)
  })
  let turning = true
  const turn = (): void => {
    turns += 1
    if (turning) setImmediate(turn)
  }
  turn()
  const loaded = await checking.check(source, { inventory })
  turning = false
  const atOnce = loadPolicySet(source, { hash, inventory })
  assert.ok(loaded.ok && atOnce.ok)
  assert.deepEqual(
    [loaded.set.version, loaded.set.schemaText, loaded.set.policies],
    [atOnce.set.version, atOnce.set.schemaText, atOnce.set.policies],
  )
  assert.ok(seen.size > files.length / 2, `${seen.size} turns`)

  const broken = { policies: [...source.policies, { name: 'bad.cedar', text: 'permit (principal, act' }] }
  const refused = await checking.check(broken, { inventory, previous: loaded.set })
  assert.deepEqual(refused, loadPolicySet(broken, { hash, inventory }))
  await checking.stop()
})

test('what several threads judge in parts is what is judged at once', async () => {
  const rules = Array.from({ length: 30 }, (_, index) => {
    const wrong = index % 7 === 3 ? '&& resource.colour == "red"' : index % 7 === 5 ? '&& false' : ''
    return report(wrong).replace('"report"', `"report-${index}"`)
  })
  const source = { policies: [...starterPolicies(), { name: 'rules.cedar', text: rules.join('\n') }] }
  const inventory = [{ uid: ref('Document/handbook'), attrs: { sensitivity: 1 }, parents: [] }]
  const checking = new Checking(() => performance.now(), { threads: 3, part: 4 })
  const atOnce = loadPolicySet(source, { hash, inventory })
  assert.ok(!atOnce.ok && atOnce.problems.length > 5)
  assert.deepEqual(await checking.check(source, { inventory }), atOnce)
  await checking.stop()
})
