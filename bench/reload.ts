/**
 * P12: a set of 10,000 policies is published while decisions go on, against loading it at once as a start does: how long
 * it takes, how long the event loop stands still, and what the decisions meanwhile notice of it.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import type { PolicySource } from '../src/policy/index.ts'
import { loadPolicySet } from '../src/policy/index.ts'
import { hex, sha256 } from '../src/store/hash.ts'
import { attempt, openWorld, starterPolicies } from '../test/support/world.ts'
import type { Row, Sample } from './measure.ts'
import { percentiles, rss } from './measure.ts'

const SIZE = 10_000
const PER_FILE = 100

type Files = PolicySource['policies']

/** One of 10,000 rules; `marker` makes its text another, and `opened` what it says. */
function rule(index: number, marker: string): string {
  const id = `@id("rule-${index}")`
  const note = `"${marker}"`
  switch (index % 4) {
    case 0:
      return `${id} permit (principal == Agent::"agent${index}", action == Action::"read", resource is Document) when { context.proof.justification && ${note} != "" };`
    case 1:
      return `${id} permit (principal in Group::"group${index % 50}", action == Action::"read", resource == Document::"doc${index}") when { ${note} != "" };`
    case 2:
      return `${id} permit (principal is Agent, action == Action::"write", resource == Database::"db${index}") when { resource.sensitivity < 3 && ${note} != "" };`
    default:
      return `${id} forbid (principal == Service::"service${index}", action == Action::"write", resource is Database) when { resource.sensitivity >= 2 && ${note} != "" };`
  }
}

/** The starter policies with 10,000 more; `open` lets the migrator write to the handbook. */
function policies(open: boolean, marker: (index: number) => string): Files {
  const files: { name: string; text: string }[] = []
  for (let at = 0; at < SIZE - 1; at += PER_FILE) {
    const size = Math.min(PER_FILE, SIZE - 1 - at)
    const lines = Array.from({ length: size }, (_, index) => rule(at + index, marker(at + index)))
    files.push({ name: `rules-${at}.cedar`, text: lines.join('\n') })
  }
  const verdict = open ? 'permit' : 'forbid'
  const last = `@id("gate") ${verdict} (principal == Agent::"migrator", action == Action::"write", resource == Document::"handbook");`
  return [...starterPolicies(), ...files, { name: 'gate.cedar', text: last }]
}

/** Versions of the set: each is open where the one before was closed. */
const versions: readonly Readonly<{ what: string; open: boolean; files: Files }>[] = [
  { what: 'one of 10,000 changed', open: true, files: policies(true, () => 'a') },
  {
    what: 'all of 10,000 changed',
    open: false,
    files: policies(false, () => 'b'),
  },
]

/** Watches how long the main thread itself works without a pause, whatever else the machine does; in milliseconds. */
function longestTurn(): () => number {
  const cpu = (): number => {
    const { user, system } = process.threadCpuUsage()
    return (user + system) / 1_000
  }
  let last = cpu()
  let longest = 0
  const timer = setInterval(() => {
    const now = cpu()
    longest = Math.max(longest, now - last)
    last = now
  }, 1)
  return () => {
    clearInterval(timer)
    return longest
  }
}

export async function reload(): Promise<readonly Row[]> {
  const rows: Row[] = []
  await using world = await openWorld({ http: false, policies: policies(false, () => 'a') })
  const { flows } = world.app
  const asked = attempt('Agent/migrator', 'write', 'Document/handbook')
  const at = (open: boolean) => (open ? 'permit' : 'deny')

  /** Decisions one after another until `done`, and what each said. */
  const decide = async (done: () => boolean): Promise<{ sample: Sample; worst: number; said: string[] }> => {
    const latencies: number[] = []
    const said: string[] = []
    const startedAt = performance.now()
    while (!done()) {
      const before = performance.now()
      const { outcome, policy } = await flows.evaluate(world.migrator, asked)
      latencies.push(performance.now() - before)
      said.push(`${policy} ${outcome}`)
      await pause(0)
    }
    const sample = percentiles(latencies, (performance.now() - startedAt) / 1_000)
    return { sample, worst: Math.max(...latencies), said }
  }
  const forMillis = (length: number): (() => boolean) => {
    const until = performance.now() + length
    return () => performance.now() >= until
  }

  await decide(forMillis(2_000)) // warm
  for (const { what, open, files } of versions) {
    const before = await decide(forMillis(2_000))
    const old = await flows.policy(world.ada)
    const stalls = monitorEventLoopDelay({ resolution: 1 })
    stalls.enable()
    const turns = longestTurn()
    let took: number | undefined
    const startedAt = performance.now()
    const published = flows.publish(world.ada, { policies: files }).then((version) => {
      took = performance.now() - startedAt
      return version
    })
    const during = await decide(() => took !== undefined)
    const { version } = await published
    stalls.disable()
    const turn = turns()
    const after = await decide(forMillis(200))
    // the old set, then the new one, never anything else
    const expected = [`${old?.version ?? ''} ${at(!open)}`, `${version} ${at(open)}`]
    const said = [...before.said, ...during.said, ...after.said]
    const turned = said.indexOf(expected[1] as string)
    assert.ok(turned >= before.said.length, `${what}: the new set answered before it was published`)
    assert.ok(
      said.every((one, index) => one === expected[index < turned ? 0 : 1]),
      what,
    )
    assert.equal(after.said[0], expected[1])

    const beforeAtOnce = performance.now()
    const atOnce = loadPolicySet(
      { policies: files },
      { hash: (text) => hex(sha256(text)), inventory: await inventory() },
    )
    const blocked = performance.now() - beforeAtOnce
    assert.ok(atOnce.ok && atOnce.set.version === version, 'loaded at once it is another set')
    const row = (metric: string, value: number, peer?: readonly [string, number]): Row => ({
      bench: 'reload',
      metric: `${what}, ${metric}`,
      value,
      unit: 'ms',
      peer: peer?.[0] ?? null,
      ratio: peer === undefined ? null : peer[1] / value,
    })
    rows.push(
      row('takes', took ?? Number.NaN, ['loaded at once', blocked]),
      row('longest stall', stalls.max / 1e6, ['loaded at once', blocked]),
      row('longest turn, CPU', turn),
      row('decision p99', during.sample.p99, ['before', before.sample.p99]),
      row('slowest decision', during.worst, ['before', before.worst]),
    )
  }
  return [...rows, rss('reload')]

  async function inventory() {
    const { everything, linesOf } = await import('../src/flows/versions.ts')
    return linesOf((await everything(world.app.store)).values()).live
  }
}
