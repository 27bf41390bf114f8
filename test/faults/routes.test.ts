/**
 * B70, the class of CVE-2026-46358: a route, or a field of one, that changes something and leaves nothing in the record.
 * Every route of the table is called for real; what is not called here fails.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { httpRoutes } from '../../src/doors/http/server.ts'
import type { Route } from '../../src/doors/http/route.ts'
import { fakeCallers, fakeFlows } from '../support/doors.ts'
import { activeGrant, declare, migration, requestMigration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { entries, faultWorld, put, ref, serve, settle, withPolicy } from './support.ts'

type Who = 'ada' | 'grace' | 'hedy' | 'migrator' | 'nobody'

/** What is sent, after what it needs was made ready. */
type Sent = Readonly<{
  path?: string
  as?: Who
  json?: unknown
  form?: Readonly<Record<string, string>>
  headers?: Readonly<Record<string, string>>
  /** What else may be in the record after it; anything that is not named here is too much. */
  beside?: readonly string[]
}>

const text = 'sent as canary-text'
const ending = { json: { reason: 'canary-reason' } }
const ATTEMPT = { action: { name: 'db:migrate' }, resource: { type: 'Database', id: 'orders' } }
const DONE = ['credential.absent', 'grant.closed', 'grant.ended', 'task.ended', 'request.ended']

async function invitation(w: FaultWorld, id: string): Promise<string> {
  return (await w.app.flows.invite(w.ada, { id })).code.expose()
}

async function waiting(w: FaultWorld): Promise<{ id: string; digest: string }> {
  return requestMigration(w, await declare(w))
}

/** By route. Whatever is written `canary-…` must be found in the record, and `secret-…` nowhere in it. */
const calls: Readonly<Record<string, (w: FaultWorld) => Promise<Sent> | Sent>> = {
  'POST /access/v1/evaluation': () => ({
    json: {
      subject: { type: 'Agent', id: 'migrator' },
      ...ATTEMPT,
      context: { 'canary-undeclared': 'x' },
    },
  }),
  'POST /access/v1/evaluations': () => ({
    json: {
      subject: { type: 'Agent', id: 'migrator' },
      ...ATTEMPT,
      evaluations: [{ context: { 'canary-first': 1 } }, { context: { 'canary-second': 1 } }],
    },
  }),
  'POST /access/v1/requests': async (w) => {
    const task = await declare(w)
    const { id, requestableUntil = 0 } = await w.app.flows.evaluate(w.migrator, migration(task))
    const denial = { evaluation_id: id, expires_at: new Date(requestableUntil).toISOString() }
    const context = { task, justification: 'canary-justification' }
    return { json: { subject: { type: 'Agent', id: 'migrator' }, ...ATTEMPT, context, denial } }
  },
  'POST /access/v1/requests/:id/cancel': async (w) => ({
    path: `/access/v1/requests/${(await waiting(w)).id}/cancel`,
    ...ending,
  }),
  'POST /v1/requests/:id/approve': async (w) => {
    const { id, digest } = await waiting(w)
    return {
      path: `/v1/requests/${id}/approve`,
      as: 'grace',
      json: { statement: digest, comment: 'canary-comment' },
      beside: ['decision', 'request.approved'],
    }
  },
  'POST /v1/requests/:id/deny': async (w) => {
    const { id, digest } = await waiting(w)
    return { path: `/v1/requests/${id}/deny`, as: 'grace', json: { statement: digest, reason: 'canary-no' } }
  },
  'POST /v1/tasks': () => ({
    json: {
      purpose: 'canary-purpose',
      reason: 'canary-reason',
      ticket: 'canary-ticket',
      scope: { actions: ['canary-action'], resources: [{ type: 'Database', id: 'canary-database' }] },
      ttl: '7m',
      heartbeat: '17s',
      limits: { calls: 3 },
    },
  }),
  'POST /v1/tasks/:id/end': async (w) => ({
    path: `/v1/tasks/${await declare(w)}/end`,
    json: { status: 'failed', reason: 'canary-reason' },
  }),
  'POST /v1/tasks/:id/revoke': async (w) => ({
    path: `/v1/tasks/${await declare(w)}/revoke`,
    as: 'ada',
    ...ending,
  }),
  'POST /v1/grants': async (w) => {
    const task = await declare(w)
    const request = await requestMigration(w, task)
    const { approval = '' } = await w.app.flows.approve(w.grace, request.id, { statement: request.digest })
    return { json: { ...ATTEMPT, context: { task, approval } }, beside: ['decision'] }
  },
  'POST /v1/grants/:id/revoke': async (w) => ({
    path: `/v1/grants/${(await activeGrant(w)).grant}/revoke`,
    as: 'ada',
    ...ending,
    beside: DONE,
  }),
  'POST /v1/credentials': async (w) => ({
    json: { grant: (await activeGrant(w)).grant, target: 'orders-db' },
    beside: ['decision', 'credential.live'],
  }),
  'POST /v1/subjects/:type/:id/revoke': () => ({
    path: '/v1/subjects/Service/canary-subject/revoke',
    as: 'ada',
    ...ending,
  }),
  'POST /v1/actions': async (w) => ({
    json: {
      items: [
        {
          id: 'canary-id',
          grant: (await activeGrant(w)).grant,
          action: 'canary-action',
          resource: 'Database/canary-resource',
          outcome: 'failed',
          at: new Date(w.clock.wall()).toISOString(),
          detail: { 'canary-member': ['canary-value', { big: `canary-big-${'x'.repeat(100_000)}` }] },
        },
      ],
    },
  }),
  'POST /v1/actions/flags/:id/resolve': async (w) => {
    const { grant } = await activeGrant(w)
    const items = [{ id: 'x', grant, action: 'other', outcome: 'unknown' as const }]
    await w.app.flows.reportActions(w.migrator, { items })
    const problems = await w.app.flows.problems()
    const flag = problems.flatMap((one) => (one.includes(grant) ? (/flag_[0-9a-f]+/.exec(one) ?? []) : []))[0]
    return { path: `/v1/actions/flags/${flag}/resolve`, as: 'ada', ...ending, beside: ['decision'] }
  },
  'PUT /v1/inventory': () => ({
    as: 'ada',
    json: {
      entities: [
        {
          type: 'Service',
          id: 'canary-entity',
          kind: 'workload',
          name: 'canary-name',
          owner: 'Person/canary-owner',
          team: 'Group/canary-team',
          parents: ['Group/canary-parent'],
          attrs: { canary_attr: 'canary-attr' },
        },
      ],
    },
    beside: ['decision'],
  }),
  'DELETE /v1/inventory/:type/:id': async (w) => {
    await put(w, { type: 'Service', id: 'canary-gone', kind: 'workload' })
    return { path: '/v1/inventory/Service/canary-gone', as: 'ada' }
  },
  'POST /v1/policies': () => ({
    as: 'ada',
    json: {
      policies: withPolicy('@id("canary-policy") permit (principal, action == Action::"a", resource);'),
    },
    beside: ['decision'],
  }),
  'POST /v1/policies/:version/agree': async (w) => {
    const { flows } = w.app
    const { code } = await flows.invite(w.ada, { id: 'hedy', groups: [ref('Group/administrators')] })
    await flows.redeem(code.expose())
    const policies = withPolicy('@id("b") permit (principal, action == Action::"b", resource);')
    const { version } = await flows.publish(w.ada, { policies })
    return {
      path: `/v1/policies/${version}/agree`,
      as: 'hedy',
      json: {},
      beside: ['decision'],
    }
  },
  'POST /v1/keys': () => ({
    as: 'ada',
    json: {
      name: 'canary-key',
      subject: 'Service/orders-ci',
      pep: { subjects: ['CanaryType'], attributes: {} },
      ttl: '1h',
    },
    beside: ['decision'],
  }),
  'DELETE /v1/keys/:id': async (w) => {
    const { id } = await w.app.flows.createKey(w.ada, { name: 'k', subject: ref('Service/orders-ci') })
    return { path: `/v1/keys/${id}`, as: 'ada' }
  },
  'POST /v1/people/invitations': () => ({
    as: 'ada',
    json: { id: 'canary-person', name: 'canary-called', groups: ['Group/canary-group'] },
    beside: ['decision'],
  }),
  'POST /v1/sessions': async (w) => ({ as: 'nobody', json: { code: await invitation(w, 'canary-eve') } }),
  'DELETE /v1/sessions/current': async (w) => ({ headers: await session(w, 'out') }),
  'POST /v1/targets': () => ({
    as: 'ada',
    json: {
      id: 'canary-target',
      kind: 'fake',
      config: {
        access: [{ action: 'canary-act', resource: 'Database/canary-db', role: 'canary-role' }],
        more: 'canary-more',
      },
      admin: { user: 'canary-admin', password: 'secret-password' },
    },
    beside: ['decision'],
  }),
  'POST /v1/log/keys/rotate': () => ({
    as: 'ada',
    json: { reason: 'canary-rotation' },
    beside: ['decision', 'signer.made'],
  }),
  'POST /v1/log/epochs/acknowledge': async ({ app }) => {
    await app.store.commit({
      reads: [],
      run: (tx) => tx.put('meta', 'epoch', { number: 1, marked: true, why: 'a test says so', at: tx.now }),
    })
    return { as: 'ada', json: { epoch: 1 }, beside: ['decision'] }
  },
  'GET /': async (w) => ({
    path: `/?code=${await invitation(w, 'link')}`,
    as: 'nobody',
    headers: { 'sec-fetch-site': 'none' },
  }),
  'POST /signin': async (w) => ({
    as: 'nobody',
    form: { code: await invitation(w, 'form') },
    headers: { 'sec-fetch-site': 'same-origin' },
  }),
  'POST /requests/:id/approve': async (w) => {
    const { id, digest } = await waiting(w)
    return {
      path: `/requests/${id}/approve`,
      as: 'grace',
      form: { statement: digest, comment: 'canary-comment' },
      beside: ['decision', 'request.approved'],
    }
  },
  'POST /requests/:id/deny': async (w) => {
    const { id, digest } = await waiting(w)
    return { path: `/requests/${id}/deny`, as: 'grace', form: { statement: digest, reason: text } }
  },
  'POST /signout': async (w) => ({ headers: await session(w, 'page'), form: {} }),
}

/** A session of its own, to be ended. */
async function session(w: FaultWorld, id: string): Promise<Readonly<Record<string, string>>> {
  const { token } = await w.app.flows.redeem(await invitation(w, id))
  return { authorization: `Bearer ${token.expose()}` }
}

/** Whatever a text names as a canary. */
const canaries = (value: unknown): string[] =>
  [...JSON.stringify(value).matchAll(/canary[-_]\w+/g)].map(([name]) => name)

describe('B70 every route that changes something', () => {
  const table = httpRoutes({
    flows: fakeFlows({}),
    callers: fakeCallers,
    now: () => 0,
    log: () => undefined,
    version: '0',
  })
  const nameOf = ({ method, path }: Route): string => `${method} ${path}`
  const changing = table.filter(({ audit }) => 'event' in audit)

  test('is called here', () => {
    assert.deepEqual(changing.map(nameOf).sort(), Object.keys(calls).sort())
    for (const route of table) {
      // anything that is no GET and leaves nothing says so, and is one of these
      if (route.method !== 'GET' && !('event' in route.audit)) {
        assert.match(
          route.path,
          /^\/(?:v1\/(?:questions|tasks\/:id\/heartbeat|policies\/replay)|access\/v1\/search\/\w+)$/,
          nameOf(route),
        )
      }
    }
  })

  test('leaves the entry that it declares, nothing that nobody declared, and every field it was sent', async () => {
    await using world = await faultWorld({ http: true })
    await serve(world, 'orders-db', 'db:migrate', 'Database/orders')
    const wrong: string[] = []
    for (const route of changing) {
      const name = nameOf(route)
      const call = calls[name]
      if (call === undefined) continue // the test above says so
      const sent = await call(world)
      await settle(world.app)
      const { size: before } = await world.app.store.log.head()
      const { as = 'migrator' } = sent
      const url = `${world.app.url}${sent.path ?? route.path}`
      const response = await fetch(url, {
        method: route.method,
        redirect: 'manual',
        headers: {
          ...(as === 'nobody' ? {} : { authorization: `Bearer ${world.tokens[as]}` }),
          ...(sent.json === undefined ? {} : { 'content-type': 'application/json' }),
          ...(sent.form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
          ...sent.headers,
        },
        ...(sent.json === undefined ? {} : { body: JSON.stringify(sent.json) }),
        ...(sent.form === undefined ? {} : { body: new URLSearchParams(sent.form).toString() }),
      })
      const answer = await response.text()
      if (response.status >= 400) {
        wrong.push(`${name}: ${response.status} ${answer}`)
        continue
      }
      await settle(world.app)
      const left = (await entries(world.app)).slice(before)
      const kinds = left.map(({ kind }) => String(kind))
      const { event } = route.audit as { event: string }
      if (!kinds.includes(event))
        wrong.push(`${name}: left ${kinds.join(', ') || 'nothing'}, not \`${event}\``)
      // what a derived schema became, whenever the inventory changes it
      const allowed = new Set([event, 'policy.schema', ...(sent.beside ?? [])])
      for (const kind of kinds)
        if (!allowed.has(kind)) wrong.push(`${name}: left \`${kind}\`, which nobody declared`)
      const record = JSON.stringify(left) + (await bodiesOf(world, left))
      for (const canary of canaries([sent.path, sent.json, sent.form])) {
        if (!record.includes(canary)) wrong.push(`${name}: \`${canary}\` was sent and is not in the record`)
      }
      if (record.includes('secret-')) wrong.push(`${name}: a secret is in the record`)
    }
    assert.deepEqual(wrong, [])
  })
})

/** What entries hold only the digest of. */
async function bodiesOf(
  world: FaultWorld,
  left: readonly Readonly<Record<string, unknown>>[],
): Promise<string> {
  let all = ''
  for (const [, digest = ''] of JSON.stringify(left).matchAll(/"\$digest":"(sha256:[0-9a-f]{64})"/g)) {
    const body = await world.app.store.log.body(digest)
    assert.ok(body, `the record has only the digest of ${digest}`)
    all += Buffer.from(body).toString()
  }
  // a policy set is recorded by the digests of its files, and every version is kept
  for (const { kind, policy } of left) {
    if (kind !== 'policy.published' && kind !== 'policy.proposed') continue
    all += JSON.stringify((await world.app.flows.policy(world.ada, String(policy)))?.policies ?? [])
  }
  return all
}
