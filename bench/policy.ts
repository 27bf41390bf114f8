/**
 * P1 and P10: a decision by compiled policies as they grow from 10 to 10,000, against cedar-wasm with the whole set, and
 * with only the policies of the action asked about, which is how one would help it; against casbin with the same rules
 * as expressions; and against CASL with the rules of the one principal, since it has no others: its ability is built for
 * somebody beforehand, which leaves it less to do.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { createMongoAbility, subject } from '@casl/ability'
import type { RawRuleOf, MongoAbility } from '@casl/ability'
import { newEnforcer, newModelFromString } from 'casbin'
import { strict as assert } from 'node:assert'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { compile, prepareEntities } from '../src/policy/index.ts'
import { contests } from './apps.ts'
import { explained } from './explained.ts'
import type { Row } from './measure.ts'
import { median, percentiles, rss, RUNS } from './measure.ts'

const SIZES = [10, 100, 1_000, 10_000]
/** A call takes less than the clock can tell, so that many are timed together. */
const BATCH = 64
const TEAMS = 25

type Uid = Readonly<{ type: string; id: string }>
type Request = Readonly<{
  principal: Uid
  action: Uid
  resource: Uid
  context: Readonly<Record<string, unknown>>
}>

/** One of a company's rules for its agents: who may call which tool on what, and within which bounds. */
function rule(index: number): string {
  const action = `Action::"call${index % 10}"`
  const team = `Team::"team${index % TEAMS}"`
  const tool = `context.tool == "tool${index}"`
  switch (index % 5) {
    case 0:
      return `permit(principal is Agent, action == ${action}, resource is Repository) when { ${tool} && context.amount <= 100 && principal.level >= 2 };`
    case 1:
      return `permit(principal in ${team}, action == ${action}, resource == Repository::"repo${index}") when { context.tool like "tool*" };`
    case 2:
      return `permit(principal == Agent::"agent${index}", action, resource is Repository) when { resource.owner == principal };`
    case 3:
      return `permit(principal is Agent in ${team}, action in [Action::"calls"], resource) when { context has tool && ${tool} && !context.dry };`
    default:
      return `forbid(principal is Agent, action == ${action}, resource is Repository) when { ${tool} && resource.locked };`
  }
}

/** A request that one permit allows, and one that none does. */
function requests(size: number): readonly Readonly<{ request: Request; allowed: boolean }>[] {
  const index = Math.floor(size / 2 / 5) * 5
  const base = {
    principal: { type: 'Agent', id: 'a' },
    action: { type: 'Action', id: `call${index % 10}` },
    resource: { type: 'Repository', id: 'r' },
  }
  return [
    { request: { ...base, context: { tool: `tool${index}`, amount: 5, dry: false } }, allowed: true },
    { request: { ...base, context: { tool: 'unheard of', amount: 5, dry: false } }, allowed: false },
  ]
}

const LEVEL = 3
const entities = [
  { uid: { type: 'Agent', id: 'a' }, attrs: { level: LEVEL }, parents: [{ type: 'Team', id: 'team3' }] },
  { uid: { type: 'Team', id: 'team3' }, attrs: {}, parents: [{ type: 'Team', id: 'all' }] },
  {
    uid: { type: 'Repository', id: 'r' },
    attrs: { locked: false, owner: { __entity: { type: 'Agent', id: 'b' } } },
    parents: [],
  },
  ...Array.from({ length: 10 }, (_, index) => ({
    uid: { type: 'Action', id: `call${index}` },
    attrs: {},
    parents: [{ type: 'Action', id: 'calls' }],
  })),
]

type Times = Readonly<{ p50: number; p99: number; rate: number }>

/** Latencies of calls for `ms`, in microseconds. `once` checks its answer. */
function run(once: () => void, batch: number, ms: number): Times {
  const latencies: number[] = []
  const startedAt = performance.now()
  for (let before = startedAt; before < startedAt + ms;) {
    for (let call = 0; call < batch; call += 1) once()
    const after = performance.now()
    latencies.push(((after - before) / batch) * 1_000)
    before = after
  }
  const { p50, p99 } = percentiles(latencies, 1)
  return { p50, p99, rate: (latencies.length * batch) / ((performance.now() - startedAt) / 1_000) }
}

function medians(runs: readonly Times[]): Times {
  return {
    p50: median(runs.map(({ p50 }) => p50)),
    p99: median(runs.map(({ p99 }) => p99)),
    rate: median(runs.map(({ rate }) => rate)),
  }
}

/** Asks the requests of `size` in turn. */
function asking(size: number, isAllowed: (request: Request) => boolean): () => void {
  const asked = requests(size)
  let turn = 0
  return () => {
    const { request, allowed } = asked[turn++ % asked.length] as (typeof asked)[number]
    if (isAllowed(request) !== allowed) throw new Error('a wrong answer')
  }
}

function reference(name: string, policies: Readonly<Record<string, string>>): (request: Request) => boolean {
  assert.equal(cedar.preparsePolicySet(name, { staticPolicies: policies }).type, 'success')
  return (request) => {
    const answer = cedar.statefulIsAuthorized({
      ...request,
      entities,
      preparsedPolicySetId: name,
    } as cedar.StatefulAuthorizationCall)
    return answer.type === 'success' && answer.response.decision === 'allow'
  }
}

/** The same rules as casbin's: each is an expression over the request. */
async function byCasbin(size: number): Promise<(request: Request) => boolean> {
  const model = newModelFromString(`
[request_definition]
r = sub, act, obj, ctx
[policy_definition]
p = rule, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = eval(p.rule)`)
  const enforcer = await newEnforcer(model)
  const rules = Array.from({ length: size }, (_, index): [string, string] => {
    const act = `r.act == 'call${index % 10}'`
    const team = `r.sub.team == 'team${index % TEAMS}'`
    const tool = `r.ctx.tool == 'tool${index}'`
    switch (index % 5) {
      case 0:
        return [`${act} && ${tool} && r.ctx.amount <= 100 && r.sub.level >= 2`, 'allow']
      case 1:
        return [`${team} && ${act} && r.obj.id == 'repo${index}' && startsTool(r.ctx.tool)`, 'allow']
      case 2:
        return [`r.sub.id == 'agent${index}' && r.obj.owner == r.sub.id`, 'allow']
      case 3:
        return [`${team} && ${tool} && !r.ctx.dry`, 'allow']
      default:
        return [`${act} && ${tool} && r.obj.locked`, 'deny']
    }
  })
  await enforcer.addFunction('startsTool', (tool: string) => tool.startsWith('tool'))
  await enforcer.addPolicies(rules)
  return ({ principal, action, resource, context }) =>
    enforcer.enforceSync(
      { id: principal.id, team: 'team3', level: LEVEL },
      action.id,
      { id: resource.id, owner: 'b', locked: false },
      context,
    )
}

/** The rules that concern the one principal, as CASL's: conditions on what is asked about and its context. */
function byCasl(size: number): (request: Request) => boolean {
  const allowed: RawRuleOf<MongoAbility>[] = []
  const denied: RawRuleOf<MongoAbility>[] = []
  for (let index = 0; index < size; index += 1) {
    const [action, tool] = [`call${index % 10}`, `tool${index}`]
    const base = { action, subject: 'Repository' }
    const isOwnTeam = index % TEAMS === 3
    if (index % 5 === 0) allowed.push({ ...base, conditions: { tool, amount: { $lte: 100 } } })
    if (index % 5 === 1 && isOwnTeam) {
      allowed.push({ ...base, conditions: { id: `repo${index}`, tool: { $regex: /^tool/ } } })
    }
    if (index % 5 === 3 && isOwnTeam) {
      const calls = Array.from({ length: 10 }, (_, call) => `call${call}`)
      allowed.push({ ...base, action: calls, conditions: { tool, dry: { $ne: true } } })
    }
    if (index % 5 === 4) denied.push({ ...base, inverted: true, conditions: { tool, locked: true } })
  }
  const ability = createMongoAbility([...allowed, ...denied])
  return ({ action, resource, context }) =>
    ability.can(action.id, subject(resource.type, { ...context, id: resource.id, owner: 'b', locked: false }))
}

/** What is garbage goes, so that what is left can be weighed. */
const collect = ((): (() => void) => {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
})()

async function prepared(size: number) {
  const policies = Object.fromEntries(Array.from({ length: size }, (_, index) => [`p${index}`, rule(index)]))
  collect()
  const before = process.memoryUsage().heapUsed
  const startedAt = performance.now()
  const set = compile({ policies })
  const compileMs = performance.now() - startedAt
  collect()
  const heap = process.memoryUsage().heapUsed - before
  const store = prepareEntities(entities)
  const action = requests(size)[0]?.request.action.id
  const ofAction = Object.fromEntries(
    Object.entries(policies).filter(([, text]) => !/action == /.test(text) || text.includes(`"${action}"`)),
  )
  return {
    size,
    compileMs,
    heap,
    ours: asking(size, (request) => set.decide(request, store).decision === 'allow'),
    whole: asking(size, reference(`whole ${size}`, policies)),
    some: asking(size, reference(`some ${size}`, ofAction)),
    casbin: asking(size, await byCasbin(size)),
    casl: asking(size, byCasl(size)),
    set: explained(policies, requests(size)[0]?.request.context['tool'] as string, action as string),
  }
}

const PEERS = [
  ['', 'cedar-wasm, whole set'],
  [', peer helped', 'cedar-wasm, one set per action'],
  [', casbin', 'casbin'],
  [', CASL', 'CASL, the rules of one principal'],
] as const

export async function policy(): Promise<readonly Row[]> {
  const sets: Awaited<ReturnType<typeof prepared>>[] = []
  for (const size of SIZES) sets.push(await prepared(size))
  const calls = sets.flatMap(({ ours, whole, some, casbin, casl }) => [
    { once: ours, batch: BATCH, runs: [] as Times[] },
    { once: whole, batch: 1, runs: [] as Times[] },
    { once: some, batch: 1, runs: [] as Times[] },
    { once: casbin, batch: 1, runs: [] as Times[] },
    { once: casl, batch: BATCH, runs: [] as Times[] },
  ])
  const apps = contests().map(({ name, ours, whole, helped }) => ({
    name,
    calls: [
      { once: ours, batch: BATCH, runs: [] as Times[] },
      { once: whole, batch: 1, runs: [] as Times[] },
      { once: helped, batch: 1, runs: [] as Times[] },
    ] as const,
  }))
  calls.push(...apps.flatMap((app) => app.calls))
  const asked = sets.map(({ size, set }) => ({
    size,
    calls: [set.permit, set.deny, set.explainedDeny].map((once) => ({
      once,
      batch: BATCH,
      runs: [] as Times[],
    })),
  }))
  calls.push(...asked.flatMap((one) => one.calls))
  for (const { once, batch } of calls) run(once, batch, 500)
  // in turns, so that what else the machine does meets all of them
  for (let round = 0; round < RUNS; round += 1) {
    for (const { once, batch, runs } of calls) runs.push(run(once, batch, 200))
  }
  const found: Row[] = []
  const row = (
    metric: string,
    value: number,
    unit: Row['unit'],
    peer: string | null = null,
    ratio: number | null = null,
  ) => found.push({ bench: 'policy', metric, value, unit, peer, ratio })
  const p50s: number[] = []
  for (const [index, { size, compileMs, heap }] of sets.entries()) {
    const [ours, ...peers] = calls.slice(index * 5, index * 5 + 5).map(({ runs }) => medians(runs)) as [
      Times,
      Times,
      Times,
      Times,
      Times,
    ]
    const [whole] = peers
    p50s.push(ours.p50)
    for (const [at, [what, name]] of PEERS.entries()) {
      row(`decide@${size}${what}`, ours.p50, 'µs', name, (peers[at] as Times).p50 / ours.p50)
    }
    row(`decide@${size} p99`, ours.p99, 'µs', 'cedar-wasm, whole set', whole.p99 / ours.p99)
    row(`decide@${size} rate`, ours.rate, '/s', 'cedar-wasm, whole set', ours.rate / whole.rate)
    row(`compile@${size}`, compileMs, 'ms')
    row(`memory@${size}`, heap / 2 ** 20, 'MiB')
  }
  row('growth', (p50s.at(-1) as number) / (p50s[0] as number), '×')
  for (const one of asked) {
    const [permit, deny, explanation] = one.calls.map(({ runs }) => medians(runs)) as [Times, Times, Times]
    row(`set asked@${one.size}, permit`, permit.p50, 'µs')
    row(`set asked@${one.size}, deny`, deny.p50, 'µs')
    row(`explanation of a deny@${one.size}, added`, explanation.p50 - deny.p50, 'µs')
  }
  for (const app of apps) {
    const [ours, whole, helped] = app.calls.map(({ runs }) => medians(runs)) as [Times, Times, Times]
    row(`decide ${app.name}`, ours.p50, 'µs', 'cedar-wasm, all entities', whole.p50 / ours.p50)
    row(
      `decide ${app.name}, peer helped`,
      ours.p50,
      'µs',
      'cedar-wasm, entities it needs',
      helped.p50 / ours.p50,
    )
  }
  return [...found, rss('policy')]
}
