/**
 * What the suite of the access request profile works with: a Writ with a door, on a clock that only the test moves, and
 * the messages of the profile as an enforcement point would write them.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { Flowing } from '../../src/flows/index.ts'
import type { Json } from '../../src/model/canonical.ts'
import { arapProblemType } from '../../src/wire/arap/draft1/index.ts'
import type { ArapProblem } from '../../src/wire/arap/draft1/index.ts'
import { keyFor as callerFor, withPolicy } from '../faults/support.ts'
import type { ManualClock } from '../support/store.ts'
import { manualClock } from '../support/store.ts'
import type { World, WorldOptions } from '../support/world.ts'
import { openWorld, ref } from '../support/world.ts'

export type Members = Readonly<Record<string, Json>>
export type Answer = Readonly<{ status: number; headers: Headers; body: any_ }>
/** JSON as a test reads it: a path that is not there fails the assertion that asks for it. */
// oxlint-disable-next-line typescript/no-explicit-any -- an answer as it came, which each test looks into
export type any_ = any

export type Evaluation = Readonly<{ subject: Json; action: Json; resource: Json; context?: Members }>

/** One approval, two, a reason alone, or a reason and an approval; whatever else is denied for good. */
const policies = withPolicy(`
  @id("pay") @ttl("10m") permit (principal in Group::"deployers", action == Action::"pay", resource is Database)
    when { context.proof.approvals.dba >= 1 };
  @id("wire") permit (principal in Group::"deployers", action == Action::"wire", resource is Database)
    when { context.proof.approvals.dba >= 2 };
  @id("note") @binding("attempt") permit (principal in Group::"deployers", action == Action::"note", resource is Database)
    when { context.proof.justification };
  @id("both") permit (principal in Group::"deployers", action == Action::"both", resource is Database)
    when { context.proof.justification && context.proof.approvals.dba >= 1 };
  @id("sweep") @binding("task") permit (principal in Group::"deployers", action == Action::"sweep", resource is Database)
    when { context.live has task && context.proof.approvals.dba >= 1 };
  @id("look") permit (principal in Group::"deployers", action == Action::"look", resource is Database);
  @id("person") permit (principal is Person, action == Action::"pay", resource is Database)
    when { context.proof.approvals.dba >= 1 };
`)

export type Bench = Readonly<{
  world: World
  clock: ManualClock
  flows: Flowing
  /** As whom: a name of the world, a bearer token, or nobody. */
  call(
    who: string | undefined,
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer>
  evaluate(evaluation: Evaluation, who?: string): Promise<Answer>
  /** The context of a denial that may be asked about. */
  denied(evaluation: Evaluation, who?: string): Promise<any_>
  submit(body: unknown, who?: string, headers?: Record<string, string>): Promise<Answer>
  /** Denied, submitted: the answer. */
  asked(evaluation: Evaluation, more?: Members, who?: string): Promise<Answer>
  approve(task: string, who?: string): Promise<void>
  /** Denied, submitted, approved: the task's answer with its result. */
  approved(evaluation: Evaluation, more?: Members, who?: string): Promise<any_>
  /** A bearer token of a new key. */
  key(subject: string, pep?: readonly string[]): Promise<string>
  declare(actions: readonly string[]): Promise<string>
  restarted(): Promise<Bench>
  [Symbol.asyncDispose](): Promise<void>
}>

/** `pay` on Database/orders by the migrator, with what differs. */
export const pay = (more: Partial<Evaluation> = {}): Evaluation => ({
  subject: { type: 'Agent', id: 'migrator' },
  action: { name: 'pay' },
  resource: { type: 'Database', id: 'orders' },
  ...more,
})

export const carrying = (evaluation: Evaluation, approval: Json): Evaluation => ({
  ...evaluation,
  context: { ...evaluation.context, approval },
})

/** A submission of what was denied, its denial echoed whole. */
export const submissionOf = (evaluation: Evaluation, context: any_, more: Members = {}): any_ => ({
  ...evaluation,
  denial: denialOf(context),
  ...more,
})

export function denialOf(context: any_): any_ {
  const { expires_at, binding_token, template } = context.access_request
  const { evaluation_id, evaluated_at, reason } = context
  return { expires_at, evaluation_id, binding_token, evaluated_at, reason, template }
}

/** By reference alone. */
export const byReference = ({ binding_token: _token, ...denial }: any_): any_ => denial
/** By value alone. */
export const byValue = ({ evaluation_id: _id, ...denial }: any_): any_ => denial

export function problem(answer: Answer, name: ArapProblem, status: number): void {
  assert.equal(answer.body.type, arapProblemType(name), JSON.stringify(answer.body))
  assert.equal(answer.status, status)
  assert.equal(answer.body.status, status)
  assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json/)
}

/** An ordinary failure: none of the profile's. */
export function ordinary(answer: Answer, status: number): void {
  assert.equal(answer.status, status, JSON.stringify(answer.body))
  assert.doesNotMatch(String(answer.body.type), /^urn:openid:/)
}

export async function openBench(options: WorldOptions = {}): Promise<Bench> {
  const clock = manualClock()
  return benchOf(await openWorld({ clock, sweeper: false, policies, ...options }), clock)
}

function benchOf(world: World, clock: ManualClock): Bench {
  const tokens: Readonly<Record<string, string>> = world.tokens
  const call: Bench['call'] = async (who, method, path, body, headers = {}) => {
    const response = await fetch(path.startsWith('http') ? path : `${world.app.url}${path}`, {
      method,
      redirect: 'manual',
      headers: {
        accept: 'application/json',
        ...(who === undefined ? {} : { authorization: `Bearer ${tokens[who] ?? who}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    return {
      status: response.status,
      headers: response.headers,
      body: text === '' ? undefined : JSON.parse(text),
    }
  }
  const bench: Bench = {
    world,
    clock,
    flows: world.app.flows,
    call,
    evaluate: (evaluation, who = 'migrator') => call(who, 'POST', '/access/v1/evaluation', evaluation),
    async denied(evaluation, who) {
      const { status, body } = await bench.evaluate(evaluation, who)
      assert.equal(status, 200, JSON.stringify(body))
      assert.equal(body.decision, false)
      assert.ok(body.context.access_request, JSON.stringify(body))
      return body.context
    },
    submit: (body, who = 'migrator', headers) => call(who, 'POST', '/access/v1/requests', body, headers),
    async asked(evaluation, more, who) {
      const answer = await bench.submit(
        submissionOf(evaluation, await bench.denied(evaluation, who), more),
        who,
      )
      assert.ok([201, 202].includes(answer.status), JSON.stringify(answer.body))
      return answer
    },
    async approve(task, who = 'grace') {
      const { body } = await call(who, 'GET', `/v1/requests/${task}`)
      const done = await call(who, 'POST', `/v1/requests/${task}/approve`, { statement: body.digest })
      assert.equal(done.status, 200, JSON.stringify(done.body))
    },
    async approved(evaluation, more, who = 'migrator') {
      const { task } = (await bench.asked(evaluation, more, who)).body
      await bench.approve(task.id)
      const { body } = await call(who, 'GET', task.status_endpoint)
      assert.equal(body.task.status, 'approved')
      return body
    },
    async key(subject, pep) {
      const key = await world.app.flows.createKey(world.ada, {
        name: subject,
        subject: ref(subject),
        ...(pep === undefined ? {} : { pep: { subjects: pep, attributes: {} } }),
      })
      return key.secret.expose()
    },
    async declare(actions) {
      const scope = { actions, resources: [ref('Database/orders')] }
      return (await world.app.flows.declareTask(world.migrator, { purpose: 'work', scope })).id
    },
    restarted: async () => benchOf(await world.restart(), clock),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  }
  return bench
}

export { callerFor }

/** Signs `claims` as the installation's artifact key would, or as `key` does. */
export function decoded(token: string): Readonly<{ header: any_; payload: any_ }> {
  const [header = '', payload = ''] = token.split('.')
  const read = (part: string): any_ => JSON.parse(Buffer.from(part, 'base64url').toString())
  return { header: read(header), payload: read(payload) }
}
