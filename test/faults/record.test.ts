import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Caller, Flows } from '../../src/flows/port.ts'
import { isWritError } from '../../src/model/errors.ts'
import { activeGrant, declare, migration, requestMigration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { attempt, entries, fails, faultWorld, keyFor, put, ref, serve, withPolicy } from './support.ts'

/** What an error says, without the id that was asked for. */
async function said(work: () => Promise<unknown>, id: string): Promise<string> {
  try {
    await work()
    return 'went through'
  } catch (error) {
    if (!isWritError(error)) throw error
    return JSON.stringify([error.code, error.message, error.hint, error.problem]).replaceAll(id, 'ID')
  }
}

describe('B33 an id of somebody else is as good as one that does not exist', () => {
  type Ids = Readonly<{ task: string; request: string; grant: string; decision: string; digest: string }>
  type Call = (flows: Flows, caller: Caller, id: string, ids: Ids) => Promise<unknown>
  const calls: Readonly<Record<string, readonly [keyof Ids, Call]>> = {
    task: ['task', (f, c, id) => f.task(c, id)],
    heartbeat: ['task', (f, c, id) => f.heartbeat(c, id)],
    endTask: ['task', (f, c, id) => f.endTask(c, id, 'completed')],
    revokeTask: ['task', (f, c, id) => f.revokeTask(c, id, 'r')],
    'declareTask below': [
      'task',
      (f, c, id) =>
        f.declareTask(c, {
          purpose: 'p',
          scope: { actions: ['db:migrate'], resources: [ref('Database/orders')] },
          parent: id,
        }),
    ],
    request: ['request', (f, c, id) => f.request(c, id)],
    cancelRequest: ['request', (f, c, id) => f.cancelRequest(c, id)],
    approve: ['request', (f, c, id, { digest }) => f.approve(c, id, { statement: digest })],
    denyRequest: ['request', (f, c, id, { digest }) => f.denyRequest(c, id, { statement: digest })],
    requestToProve: ['request', (f, c, id) => f.requestToProve(c, id)],
    proveRequest: [
      'request',
      (f, c, id, { digest }) =>
        f.proveRequest(c, id, {
          statement: digest,
          passkey: { nonce: '', answer: '{}', origin: 'https://x' },
        }),
    ],
    grant: ['grant', (f, c, id) => f.grant(c, id)],
    revokeGrant: ['grant', (f, c, id) => f.revokeGrant(c, id, 'r')],
    issueCredential: ['grant', (f, c, id) => f.issueCredential(c, id)],
    grantRecord: ['grant', (f, c, id) => f.grantRecord(c, id)],
    taskRecord: ['task', (f, c, id) => f.taskRecord(c, id)],
    'actions of a grant': ['grant', (f, c, id) => f.actions(c, { grant: id })],
    'actions of a task': ['task', (f, c, id) => f.actions(c, { task: id })],
    'reportActions under a grant': [
      'grant',
      (f, c, id) =>
        f.reportActions(c, { items: [{ id: id.slice(-40), grant: id, action: 'a', outcome: 'unknown' }] }),
    ],
    'reportActions under a task': [
      'task',
      (f, c, id) =>
        f.reportActions(c, { items: [{ id: id.slice(-40), task: id, action: 'a', outcome: 'unknown' }] }),
    ],
    decision: ['decision', (f, c, id) => f.decision(c, id)],
    explain: ['decision', (f, c, id) => f.explain(c, id)],
    submit: [
      'decision',
      (f, c, id) =>
        f.submit(c, {
          ...attempt('Service/orders-ci', 'read', 'Document/handbook'),
          denial: { evaluationId: id, expiresAt: 0 },
        }),
    ],
  }

  test('for every verb that takes one, to a machine and to a person', async () => {
    await using world = await faultWorld({ targets: true, entities: [{ type: 'Person', id: 'eve' }] })
    const { flows } = world.app
    const { grant } = await activeGrant(world)
    const task = await declare(world)
    const decision = await flows.evaluate(world.migrator, migration(task))
    const request = await requestMigration(world, task)
    const ids: Ids = { task, request: request.id, grant, decision: decision.id, digest: request.digest }
    const machine = await keyFor(world, 'Service/orders-ci')
    const { code } = await flows.invite(world.ada, { id: 'eve' })
    await flows.redeem(code.expose())
    const person: Caller = { ...world.grace, id: world.grace.id, subject: ref('Person/eve') }
    for (const [name, [kind, call]] of Object.entries(calls)) {
      for (const caller of [machine, person]) {
        const id = ids[kind]
        const unknown = `${id.slice(0, id.indexOf('_'))}_00000000000000000000000000`
        const foreign = await said(() => call(flows, caller, id, ids), id)
        const nothing = await said(() => call(flows, caller, unknown, ids), unknown)
        assert.equal(foreign, nothing, `${name} as ${caller.kind}`)
        assert.notEqual(foreign, 'went through', name)
      }
    }
    assert.equal((await flows.task(world.migrator, task)).task.state, 'declared')
    assert.equal((await flows.request(world.migrator, request.id)).status, 'pending')
    assert.equal((await flows.grant(world.migrator, grant)).grant.state, 'active')
  })

  test('for every id that an attempt may carry', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const { grant, approval, task } = await activeGrant(world)
    const machine = await keyFor(world, 'Service/orders-ci')
    for (const [member, id] of Object.entries({ grant, approval, task })) {
      const tried = async (value: string) => {
        const input = attempt('Service/orders-ci', 'db:migrate', 'Database/orders', { [member]: value })
        const { outcome, reason, nextAction, alternatives } = await flows.evaluate(machine, input)
        return { outcome, reason, nextAction, alternatives }
      }
      assert.deepEqual(await tried(id), await tried('x_00000000000000000000000000'), member)
    }
  })

  test('and nobody fills the history of a task that is not theirs, or learns what it says', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const task = await declare(world)
    const machine = await keyFor(world, 'Service/orders-ci')
    const foreign = await flows.evaluate(
      machine,
      attempt('Service/orders-ci', 'read', 'Document/handbook', { task }),
    )
    const posing = await flows.evaluate(
      machine,
      attempt('Agent/migrator', 'read', 'Document/handbook', { task }),
    )
    assert.deepEqual([foreign.reason, posing.reason], ['task_unknown', 'forbidden_assertion'])
    assert.equal((await flows.task(world.migrator, task)).task.denials, 0)
    assert.equal(JSON.stringify(foreign.operator.facts).includes('INC-42'), false)
  })

  test('lists hold what is one’s own', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const { task } = await activeGrant(world)
    await requestMigration(world, await declare(world))
    const machine = await keyFor(world, 'Service/orders-ci')
    const lists = [
      await flows.tasks(machine, {}),
      await flows.grants(machine, {}),
      await flows.grants(machine, { task }),
      await flows.credentials(machine, {}),
      await flows.requests(machine, {}),
      await flows.decisions(machine, {}),
      await flows.decisions(machine, { ref: task }),
    ]
    assert.deepEqual(
      lists.flatMap(({ items }) => items),
      [],
    )
    for (const read of [
      () => flows.inventory(machine, {}),
      () => flows.targets(machine),
      () => flows.policy(machine),
      () => flows.entries(machine, 0, 10),
      () => flows.checkTarget(machine, 'orders-db'),
    ]) {
      await fails(read(), 'ERR_FORBIDDEN')
    }
  })
})

describe('B70 every verb leaves its entry', () => {
  type Step = (world: FaultWorld, made: Record<string, string>) => Promise<unknown>
  /** In an order in which each can be done, with the entries that it must leave. */
  const steps: readonly (readonly [keyof Flows, readonly string[], Step])[] = [
    [
      'putEntities',
      ['decision', 'inventory.put'],
      (w) => put(w, { type: 'Service', id: 'bot', kind: 'workload' }),
    ],
    [
      'createKey',
      ['decision', 'key.created'],
      async (w, made) => {
        made['key'] = (await w.app.flows.createKey(w.ada, { name: 'k', subject: ref('Service/bot') })).id
      },
    ],
    ['revokeKey', ['key.revoked'], (w, made) => w.app.flows.revokeKey(w.ada, made['key'] ?? '')],
    [
      'invite',
      ['decision', 'person.invited'],
      async (w, made) => {
        made['code'] = (await w.app.flows.invite(w.ada, { id: 'eve' })).code.expose()
      },
    ],
    ['redeem', ['person.enrolled'], (w, made) => w.app.flows.redeem(made['code'] ?? '')],
    [
      'addTarget',
      ['decision', 'target.added'],
      (w) => serve(w, 'orders-db', 'db:migrate', 'Database/orders'),
    ],
    [
      'declareTask',
      ['task.declared'],
      async (w, made) => {
        made['task'] = await declare(w)
      },
    ],
    [
      'evaluate',
      ['decision'],
      async (w, made) => {
        made['decision'] = (await w.app.flows.evaluate(w.migrator, migration(made['task']))).id
      },
    ],
    [
      'submit',
      ['request.submitted'],
      async (w, made) => {
        const denial = { evaluationId: made['decision'] ?? '', expiresAt: 0 }
        const request = await w.app.flows.submit(w.migrator, { ...migration(made['task']), denial })
        Object.assign(made, { request: request.id, digest: request.digest })
      },
    ],
    [
      'approve',
      ['decision', 'approval.given', 'request.approved'],
      async (w, made) => {
        const statement = made['digest'] ?? ''
        made['approval'] =
          (await w.app.flows.approve(w.grace, made['request'] ?? '', { statement })).approval ?? ''
      },
    ],
    [
      'activate',
      ['decision', 'grant.activated'],
      async (w, made) => {
        const input = migration(made['task'], { approval: made['approval'] ?? '' })
        made['grant'] = (await w.app.flows.activate(w.migrator, input)).grant?.id ?? ''
      },
    ],
    [
      'reportActions',
      ['action.reported'],
      (w, made) =>
        w.app.flows.reportActions(w.migrator, {
          items: [{ id: 'a', grant: made['grant'] ?? '', action: 'db:drop', outcome: 'succeeded' }],
        }),
    ],
    [
      'resolveFlag',
      ['decision', 'action.resolved'],
      async (w) => {
        const [problem = ''] = (await w.app.flows.problems()).filter((one) => one.includes('flag_'))
        await w.app.flows.resolveFlag(w.ada, /flag_[0-9a-f]+/.exec(problem)?.[0] ?? '', 'a drill')
      },
    ],
    [
      'issueCredential',
      ['decision', 'credential.planned', 'credential.live'],
      (w, made) => w.app.flows.issueCredential(w.migrator, made['grant'] ?? ''),
    ],
    [
      'revokeGrant',
      ['grant.ended', 'credential.absent', 'grant.closed'],
      async (w, made) => {
        await w.app.flows.revokeGrant(w.ada, made['grant'] ?? '', 'r')
        await w.app.flows.settled()
      },
    ],
    [
      'endTask',
      ['task.ended'],
      (w, made) => w.app.flows.endTask(w.migrator, made['task'] ?? '', 'completed'),
    ],
    [
      'revokeTask',
      ['task.declared', 'task.ended'],
      async (w) => w.app.flows.revokeTask(w.ada, await declare(w), 'r'),
    ],
    [
      'denyRequest',
      ['task.declared', 'decision', 'request.submitted', 'request.denied'],
      async (w) => {
        const { id, digest } = await requestMigration(w, await declare(w))
        await w.app.flows.denyRequest(w.grace, id, { statement: digest })
      },
    ],
    [
      'cancelRequest',
      ['task.declared', 'decision', 'request.submitted', 'request.ended'],
      async (w) => w.app.flows.cancelRequest(w.migrator, (await requestMigration(w, await declare(w))).id),
    ],
    ['deleteEntity', ['inventory.deleted'], (w) => w.app.flows.deleteEntity(w.ada, ref('Service/bot'))],
    [
      'publish',
      ['decision', 'policy.published', 'policy.schema'],
      (w) =>
        w.app.flows.publish(w.ada, {
          policies: withPolicy('@id("a") permit (principal, action == Action::"a", resource);'),
        }),
    ],
    [
      'agree',
      [
        'decision',
        'person.invited',
        'person.enrolled',
        'decision',
        'policy.proposed',
        'decision',
        'policy.published',
        'policy.schema',
      ],
      async (w) => {
        const { flows } = w.app
        const { code } = await flows.invite(w.ada, { id: 'turing', groups: [ref('Group/administrators')] })
        await flows.redeem(code.expose())
        const policies = withPolicy('@id("b") permit (principal, action == Action::"b", resource);')
        const { version } = await flows.publish(w.ada, { policies })
        const turing = { ...w.grace, subject: ref('Person/turing') }
        await flows.agree(turing, version)
      },
    ],
    ['signOut', ['session.ended'], (w) => w.app.flows.signOut(w.hedy)],
  ]
  /** They only read, or (a heartbeat) keep what is without giving more; `events` is a stream of entries. */
  const silent: readonly (keyof Flows)[] = [
    'ask',
    'explain',
    'decision',
    'decisions',
    'task',
    'tasks',
    'heartbeat',
    'request',
    'requests',
    'requestToProve',
    'grant',
    'grants',
    'grantRecord',
    'taskRecord',
    'actions',
    'credentials',
    'inventory',
    'targets',
    'checkTarget',
    'policy',
    'head',
    'entries',
    'events',
    'problems',
    'search',
    'proofOf',
    'artifactKeys',
    'replayPolicies',
    'authority',
    'prove',
    'searchAccess',
    'signMetadata',
    'epoch',
    'keys',
  ]
  /** Beside the verbs: how the process runs, and parts whose verbs the test of every route calls. */
  const machinery = [
    'sweeper',
    'bootstrapCode',
    'recover',
    'settled',
    'history',
    'exports',
    'transparency',
    'witnesses',
    'verifying',
    'tokens',
    'delegations',
    'accounts',
    'passkeys',
    'facts',
    'locks',
    'signals',
    'webhooks',
    'windows',
    'signIns',
    // after a restore only: see its own tests
    'restoreCodes',
    'acknowledgeRestore',
    // what is refused, and what a passkey proves: test/faults/{shown-after,reauth}.test.ts
    'refused',
    'proveRequest',
  ]

  test('and no verb is missing here', async () => {
    await using world = await faultWorld()
    const verbs = Object.keys(world.app.flows).filter((verb) => !machinery.includes(verb))
    const named = [...steps.map(([verb]) => verb), ...silent]
    assert.deepEqual(verbs.sort(), named.sort())
  })

  test('of the kinds that say what it did', async () => {
    await using world = await faultWorld()
    const made: Record<string, string> = {}
    for (const [verb, kinds, step] of steps) {
      const before = (await world.app.store.log.head()).size
      await step(world, made)
      const left = (await entries(world.app)).slice(before).map((entry) => entry['kind'])
      assert.deepEqual(left, kinds, verb)
    }
    const text = JSON.stringify(await entries(world.app))
    for (const canary of [
      'canary-admin',
      'canary-fake_',
      ...Object.values(world.tokens),
      made['code'] ?? '?',
    ]) {
      assert.equal(text.includes(canary), false, 'B43 a secret is on the record')
    }
  })

  test('a refused verb leaves its denial, or nothing, but never its deed', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const before = (await world.app.store.log.head()).size
    const input = { name: 'k', subject: ref('Service/orders-ci') }
    await fails(flows.createKey(world.migrator, input), 'ERR_FORBIDDEN')
    await fails(flows.invite(world.migrator, { id: 'x' }), 'ERR_FORBIDDEN')
    await fails(flows.putEntities(world.migrator, [{ type: 'Document', id: 'x' }]), 'ERR_FORBIDDEN')
    await fails(flows.deleteEntity(world.migrator, ref('Person/ada')), 'ERR_FORBIDDEN')
    await fails(
      flows.locks.lock(world.migrator, { what: 'subject', about: 'Person/ada', reason: 'r' }),
      'ERR_FORBIDDEN',
    )
    await fails(flows.publish(world.migrator, { policies: [] }), 'ERR_FORBIDDEN')
    const left = (await entries(world.app)).slice(before)
    assert.deepEqual(
      [...new Set(left.map((e) => `${String(e['kind'])} ${String(e['outcome'])}`))],
      ['decision deny'],
    )
  })
})

describe('the founding of an installation', () => {
  test('happens once, by its code, and ends with the first policy', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    assert.equal(await flows.bootstrapCode('mallory', 'bootstrap'), undefined)
    for (const code of ['', 'x', world.tokens.ada]) await fails(flows.redeem(code), 'ERR_UNAUTHENTICATED')
    const { code } = await flows.invite(world.ada, { id: 'eve' })
    const used = code.expose()
    await Promise.allSettled([flows.redeem(used), flows.redeem(used)]).then((both) =>
      assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']),
    )
    await fails(flows.redeem(used), 'ERR_UNAUTHENTICATED')
    const late = (await flows.invite(world.ada, { id: 'eve' })).code.expose()
    world.clock.advance(10 * 60_000)
    await fails(flows.redeem(late), 'ERR_UNAUTHENTICATED')
    const locked = (await flows.invite(world.ada, { id: 'eve' })).code.expose()
    await flows.locks.lock(world.ada, { what: 'subject', about: 'Person/eve', reason: 'r' })
    await fails(flows.redeem(locked), 'ERR_UNAUTHENTICATED')
  })

  test('people get no API keys, and a recreated subject inherits none', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    await fails(flows.createKey(world.ada, { name: 'k', subject: ref('Person/grace') }), 'ERR_FORBIDDEN')
    await fails(flows.createKey(world.ada, { name: 'k', subject: ref('Service/none') }), 'ERR_NOT_FOUND')
    await flows.deleteEntity(world.ada, ref('Agent/migrator'))
    await put(world, { type: 'Agent', id: 'migrator', kind: 'agent', owner: ref('Person/ada') })
    const read = attempt('Agent/migrator', 'read', 'Document/handbook')
    assert.equal((await flows.evaluate(world.migrator, read)).reason, 'subject_locked')
  })
})
