import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type * as z from 'zod'
import type { Credential } from '../model/credential.ts'
import type { Entity } from '../model/entity.ts'
import { errorCodes } from '../model/errors.ts'
import type { Grant } from '../model/grant.ts'
import type { Decision } from '../model/outcome.ts'
import { reasons } from '../model/outcome.ts'
import type { AccessRequest } from '../model/request.ts'
import type { Task } from '../model/task.ts'
import * as arap from './arap/draft1/index.ts'
import * as authzen from './authzen/v1_0.ts'
import { encodeRef } from './bounds.ts'
import { problemType, statusOf, titleOf } from './problem.ts'
import * as v1 from './v1/index.ts'

const at = fc.integer({ min: 0, max: 4_000_000_000_000 })
const name = fc.stringMatching(/^[a-z][a-z0-9:_-]{0,11}$/)
const type = fc.stringMatching(/^[A-Z][A-Za-z]{0,7}$/)
const ref = fc.record({ type, id: name })
const json = fc.constantFrom(null, 1, 'x', [], { a: [true] })
const millis = fc.integer({ min: 1, max: 1_000_000 })
const count = fc.nat(1_000)
const binding = fc.constantFrom('attempt' as const, 'task' as const)

/** Every member of `all` is there, and each of `some` may be. */
function nouns<T>(all: object, some: object = {}): fc.Arbitrary<T> {
  return fc.record(
    { ...all, ...some },
    { requiredKeys: Object.keys(all) as never },
  ) as unknown as fc.Arbitrary<T>
}

const task = nouns<Task>(
  {
    id: name,
    state: fc.constantFrom(...v1.taskStates),
    purpose: name,
    subject: ref,
    chain: fc.array(ref),
    declaredBy: ref,
    instigators: fc.array(name),
    caller: name,
    scope: fc.record({ actions: fc.array(name), resources: fc.array(nouns({ type }, { id: name })) }),
    limits: nouns({}, { calls: count }),
    declaredAt: at,
    waitUntil: at,
    life: millis,
    heartbeat: millis,
    calls: count,
    denials: count,
    resources: fc.array(name),
  },
  {
    reason: name,
    ticket: name,
    parent: name,
    window: fc.record(
      { startsAt: at, endsAt: at, calendar: fc.record({ name }) },
      { requiredKeys: ['startsAt', 'endsAt'] },
    ),
    openedAt: at,
    endsAt: at,
    heartbeatAt: at,
    endedAt: at,
    ending: fc.record({ reason: name, by: name }),
  },
)

const grant = nouns<Grant>(
  {
    id: name,
    state: fc.constantFrom('active', 'ended', 'closed'),
    subject: ref,
    chain: fc.array(ref),
    generations: fc.constant({}),
    action: name,
    resource: ref,
    binding,
    statement: name,
    attempt: name,
    analysed: json,
    evidence: nouns(
      {
        approvals: fc.array(fc.record({ pool: name, root: name, generation: count })),
        justification: fc.boolean(),
      },
      { approval: name, request: name },
    ),
    used: count,
    startedAt: at,
    endsAt: at,
    obligations: nouns({ binding, notify: fc.array(name) }, { ttl: millis, uses: count, review: millis }),
    decision: name,
    policy: name,
    caller: name,
  },
  {
    task: name,
    uses: count,
    endedAt: at,
    end: fc.constantFrom('completed', 'failed', 'expired', 'revoked'),
    reason: name,
    endedBy: name,
    closedAt: at,
  },
)

const credential = nouns<Credential>(
  {
    id: name,
    state: fc.constantFrom('planned', 'live', 'revoking', 'absent', 'unresolved'),
    grant: name,
    target: name,
    planned: json,
    plannedAt: at,
    endsAt: at,
    tries: count,
  },
  { task: name, liveAt: at, revokingAt: at, absentAt: at, nextTryAt: at, problem: name, report: json },
)

const alternatives = fc.array(
  nouns(
    {
      requirements: fc.array(
        fc.oneof(
          fc.record({ kind: fc.constant('approval'), pool: name, count }),
          fc.constant({ kind: 'justification' }),
        ),
      ),
      binding,
    },
    { ttl: millis, uses: count },
  ),
)

const attempt = nouns(
  {
    subject: ref,
    action: fc.record({ name }),
    resource: ref,
    context: fc.constant({}),
    chain: fc.array(ref),
  },
  { task: name, grant: name, approval: name },
)

const request = nouns<AccessRequest & { mayApprove?: readonly string[] }>(
  {
    id: name,
    status: fc.constantFrom(...arap.arapStatuses),
    attempt,
    decision: name,
    policy: name,
    statement: json,
    digest: name,
    attemptDigest: name,
    binding,
    alternatives,
    caller: name,
    requester: ref,
    roots: fc.array(name),
    unresolved: fc.boolean(),
    ttl: millis,
    requestedAt: at,
    expiresAt: at,
    approvals: fc.array(
      nouns({ person: name, root: name, pool: name, at, generation: count }, { comment: name }),
    ),
    merged: count,
  },
  {
    justification: name,
    uses: count,
    task: name,
    approval: name,
    approvedAt: at,
    activateBy: at,
    spentAt: at,
    grant: name,
    deniedBy: name,
    reason: name,
    endedAt: at,
    mayApprove: fc.array(name),
  },
)

const entity = nouns<Entity>(
  {
    type,
    id: name,
    kind: fc.constantFrom('human', 'workload', 'agent', 'group', 'resource'),
    sensitivity: fc.constantFrom(1, 2, 3, 4),
    parents: fc.array(ref),
    attrs: fc.constant({ a: 1 }),
    generation: count,
  },
  {
    name,
    owner: ref,
    team: ref,
    endsAt: at,
    locked: nouns({ reason: name, at }, { until: at }),
  },
)

const decision = nouns<Decision>(
  {
    id: name,
    outcome: fc.constantFrom('permit', 'deny', 'challenge'),
    reason: fc.constantFrom(...reasons),
    at,
    attempt,
    attemptDigest: name,
    policy: name,
    determining: fc.array(name),
    obligations: fc.constant({ binding: 'task', notify: [] }),
    alternatives,
    truncated: fc.boolean(),
    nextAction: fc.constantFrom('request', 'retry', 'none'),
    operator: fc.constant({ errors: [], dropped: [], unknown: [], forbidden: true, facts: { risk: 'high' } }),
  },
  {
    requestableUntil: at,
    retryAfter: count,
    grant: nouns({ id: name, endsAt: at }, { usesLeft: count }),
    task: name,
    seq: count,
  },
)

const ENDPOINT = 'https://writ.example/access/v1/requests'

/** What is sent is exactly what the schema, and so OpenAPI, says: nothing missing, nothing beside it. */
function conforms<T>(noun: fc.Arbitrary<T>, encode: (value: T) => unknown, schema: z.ZodType): void {
  fc.assert(
    fc.property(noun, (value) => {
      const sent: unknown = JSON.parse(JSON.stringify(encode(value)))
      assert.deepEqual(schema.parse(sent), sent)
    }),
  )
}

describe('what is sent is what the schema says', () => {
  test('task', () => conforms(task, v1.encodeTask, v1.task))
  test('grant', () => conforms(grant, v1.encodeGrant, v1.grant))
  test('credential', () => conforms(credential, v1.encodeCredential, v1.credential))
  test('access request', () => {
    conforms(request, (value) => v1.encodeAccessRequest(value, true), v1.accessRequest)
    conforms(request, (value) => v1.encodeAccessRequest(value, false), v1.accessRequest)
  })
  test('entity', () => conforms(entity, v1.encodeEntity, v1.entity))
  test('decision', () => conforms(decision, (value) => v1.encodeDecision(value, ENDPOINT), v1.decision))
  test('evaluation', () =>
    conforms(decision, (value) => authzen.encodeEvaluation(value, ENDPOINT), authzen.evaluationResponse))
  test('evaluation item', () =>
    conforms(decision, (value) => authzen.encodeEvaluationItem(value, ENDPOINT), authzen.evaluationResponse))
  test('ARAP task', () =>
    conforms(request, (value) => arap.encodeTaskResponse(value, ENDPOINT), arap.taskResponse))
})

describe('what a decision discloses', () => {
  test('only a permit is `decision: true`, and only a requestable denial offers a request', () => {
    fc.assert(
      fc.property(decision, (value) => {
        const sent = authzen.encodeEvaluation(value, ENDPOINT)
        const offer = sent.context?.access_request
        assert.equal(sent.decision, value.outcome === 'permit')
        assert.equal(
          offer !== undefined,
          value.outcome === 'challenge' && value.requestableUntil !== undefined,
        )
        if (sent.context?.next_action === 'request') assert.ok(offer)
      }),
    )
  })
  test('nothing of what only operators may know', () => {
    fc.assert(
      fc.property(decision, (value) => {
        const secret = {
          ...value,
          operator: { ...value.operator, facts: { risk: 'canary-fact' } },
          determining: ['canary-rule'],
        }
        const sent = [
          authzen.encodeEvaluation(secret, ENDPOINT),
          authzen.encodeEvaluationItem(secret, ENDPOINT),
          v1.encodeDecision(secret, ENDPOINT),
        ]
        assert.doesNotMatch(JSON.stringify(sent), /canary/)
      }),
    )
  })
  test('an enforcement point does not learn who approved or denied', () => {
    fc.assert(
      fc.property(request, (value) => {
        const named = {
          ...value,
          deniedBy: 'canary-1',
          roots: ['canary-2'],
          approvals: value.approvals.map((approval) => ({
            ...approval,
            person: 'canary-3',
            root: 'canary-3',
            comment: 'canary-4',
          })),
        }
        assert.doesNotMatch(JSON.stringify(v1.encodeAccessRequest(named, false)), /canary/)
        assert.doesNotMatch(JSON.stringify(arap.encodeTaskResponse(named, ENDPOINT)), /canary/)
      }),
    )
  })
})

describe('ARAP results', () => {
  const approved = (over: Partial<AccessRequest>): AccessRequest =>
    ({ ...fc.sample(request, { numRuns: 1, seed: 1 })[0], ...over }) as AccessRequest

  test('an approval lasts until activate_by + ttl, and from its activation on for its ttl', () => {
    const base = { status: 'approved', approval: 'appr_1', ttl: 60_000, activateBy: 1_000_000 } as const
    const waiting = approved(base)
    const { spentAt: _spent, ...unspent } = waiting
    assert.equal(
      arap.encodeTaskResponse(unspent, ENDPOINT).result?.approval.approved_until,
      new Date(1_060_000).toISOString(),
    )
    assert.equal(
      arap.encodeTaskResponse(approved({ ...base, spentAt: 500_000 }), ENDPOINT).result?.approval
        .approved_until,
      new Date(560_000).toISOString(),
    )
  })
  test('no result on any other status, no cancel link once settled', () => {
    for (const status of arap.arapStatuses) {
      const sent = arap.encodeTaskResponse(approved({ status, approval: 'appr_1' }), ENDPOINT)
      assert.equal(sent.result !== undefined, status === 'approved')
      assert.equal(sent.task.links?.cancel !== undefined, status === 'pending')
    }
  })
})

describe('what is read', () => {
  test('defaults of a batch are read once, however many items they stand for', () => {
    let reads = 0
    const context = {
      get long() {
        reads += 1
        return 'x'
      },
    }
    const whole = { subject: { type: 'T', id: 's' }, action: { name: 'a' }, resource: { type: 'T', id: 'r' } }
    const read = authzen.parseEvaluations({
      ...whole,
      context,
      evaluations: Array.from({ length: 200 }, () => ({})),
    })
    assert.ok(read.kind === 'batch' && read.items.length === 200)
    for (const one of read.items)
      assert.deepEqual(JSON.parse(JSON.stringify(one)), { ...whole, context: { long: 'x' } })
    assert.ok(reads <= 200 / 50, `${reads} reads`)
  })

  test('an item of a batch is what it would be if each default were written out', () => {
    const part = (good: object): fc.Arbitrary<unknown> =>
      fc.constantFrom<unknown>(
        good,
        { ...good, properties: { a: 1 } },
        null,
        5,
        [],
        {},
        { ...good, properties: 5 },
      )
    const some = fc.record(
      {
        subject: part({ type: 'T', id: 's' }),
        action: part({ name: 'a' }),
        resource: part({ type: 'T', id: 'r' }),
        context: fc.constantFrom<unknown>({}, { a: 1 }, null, 5, { n: { __entity: 1 } }),
        other: fc.constant(1),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(
        some,
        fc.array(fc.oneof(some, fc.constantFrom(null, 5, 'x')), { minLength: 1 }),
        (defaults, evaluations) => {
          const read = authzen.parseEvaluations({ ...defaults, evaluations })
          const each = evaluations.map((own) => {
            if (typeof own !== 'object' || own === null) return undefined
            const one = authzen.evaluationRequest.safeParse({ ...defaults, ...own })
            return one.success ? one.data : undefined
          })
          assert.ok(read.kind === 'batch')
          assert.deepEqual(read.items, each)
        },
      ),
    )
  })

  const declaration = {
    purpose: 'add a column',
    scope: { actions: ['db:migrate'], resources: [{ type: 'Database', id: 'orders' }, { type: 'Table' }] },
    subject: 'Agent/migrator',
    ttl: '30m',
    heartbeat: '15s',
    limits: { calls: 10 },
    window: { starts_at: '2026-11-22T22:00:00Z', ends_at: '2026-11-22T23:00:00+00:00' },
  }
  test('a task declaration', () => {
    assert.deepEqual(v1.decodeTask(v1.taskDeclaration.parse(declaration)), {
      purpose: 'add a column',
      scope: declaration.scope,
      subject: { type: 'Agent', id: 'migrator' },
      limits: { calls: 10 },
      window: { startsAt: Date.UTC(2026, 10, 22, 22), endsAt: Date.UTC(2026, 10, 22, 23) },
      life: 1_800_000,
      heartbeat: 15_000,
    })
  })
  test('a task whose window is an event of a calendar', () => {
    const window = { calendar: 'release' }
    assert.deepEqual(v1.decodeTask(v1.taskDeclaration.parse({ ...declaration, window })).window, window)
    const both = { ...declaration.window, ...window }
    assert.equal(v1.taskDeclaration.safeParse({ ...declaration, window: both }).success, false)
  })
  test('a misspelt member is an error, never ignored', () => {
    for (const wrong of [
      { lifetime: '5m' },
      { scope: { ...declaration.scope, action: [] } },
      { limits: { call: 1 } },
    ]) {
      assert.equal(v1.taskDeclaration.safeParse({ ...declaration, ...wrong }).success, false)
    }
  })
  test('an entity, its sensitivity by name', () => {
    const parsed = v1.entityInput.parse({
      type: 'Database',
      id: 'orders',
      sensitivity: 'high',
      owner: 'Person/ada',
      parents: ['Group/x'],
    })
    assert.deepEqual(v1.decodeEntity(parsed), {
      type: 'Database',
      id: 'orders',
      sensitivity: 3,
      owner: { type: 'Person', id: 'ada' },
      parents: [{ type: 'Group', id: 'x' }],
    })
    assert.equal(encodeRef({ type: 'Person', id: 'ada' }), 'Person/ada')
  })
  test('a submission: the justification is taken from the context, blanks are none', () => {
    const base = {
      subject: { type: 'Agent', id: 'x' },
      action: { name: 'y' },
      resource: { type: 'Z', id: 'z' },
      denial: { evaluation_id: 'dec_1', expires_at: '2026-11-22T14:00:00Z', binding_token: 'a.b.c' },
    }
    const read = (context: object) => arap.decodeSubmission(arap.submission.parse({ ...base, context }))
    assert.equal(read({ justification: 'INC-42' }).justification, 'INC-42')
    assert.equal(read({ justification: '  ' }).justification, undefined)
    assert.equal(
      arap.submission.safeParse({ ...base, context: { justification: 'x'.repeat(2_001) } }).success,
      false,
    )
    assert.equal(arap.submission.safeParse({ ...base, context: { justification: 7 } }).success, false)
    assert.deepEqual(read({}).denial, {
      evaluationId: 'dec_1',
      bindingToken: 'a.b.c',
      expiresAt: Date.UTC(2026, 10, 22, 14),
    })
  })
})

test('B43 a target is refused with a password anywhere but where it is sealed', () => {
  const read = (config: object): boolean =>
    v1.targetInput.safeParse({ id: 'db', kind: 'postgres', config, admin: { user: 'writ', password: 'x' } })
      .success
  assert.equal(
    read({ url: 'postgresql://writ@localhost/orders?sslmode=disable', roles: { migrate: 'o' } }),
    true,
  )
  for (const config of [
    { url: 'postgresql://writ:canary@localhost/orders' },
    { url: 'postgresql://writ@localhost/orders?password=canary' },
    { url: 'postgresql://writ@localhost/orders?sslpassword=canary' },
    { admin: { user: 'writ', password: 'canary' } },
    { access: [{ Password: 'canary' }] },
  ]) {
    assert.equal(read(config), false, JSON.stringify(config))
  }
})

test('every error code has one status, one title and one type that never change', () => {
  assert.deepEqual(Object.keys(statusOf).toSorted(), [...errorCodes].toSorted())
  assert.deepEqual(Object.keys(titleOf).toSorted(), [...errorCodes].toSorted())
  assert.equal(new Set(errorCodes.map(problemType)).size, errorCodes.length)
  assert.equal(problemType('ERR_INPUT_INVALID'), 'urn:writ:error:input-invalid')
  assert.deepEqual(statusOf, {
    ERR_INPUT_INVALID: 400,
    ERR_TOO_LARGE: 413,
    ERR_UNAUTHENTICATED: 401,
    ERR_FORBIDDEN: 403,
    ERR_NOT_FOUND: 404,
    ERR_CONFLICT: 409,
    ERR_RATE_LIMITED: 429,
    ERR_POLICY_INVALID: 422,
    ERR_CONFIG_INVALID: 500,
    ERR_CLOCK_INVALID: 503,
    ERR_STORE_FULL: 507,
    ERR_STORE_BUSY: 503,
    ERR_STORE_CORRUPT: 500,
    ERR_STORE_CLOSED: 503,
    ERR_TARGET_UNREACHABLE: 504,
    ERR_TARGET_REFUSED: 502,
    ERR_UNREACHABLE: 503,
    ERR_INTERNAL: 500,
  })
})
