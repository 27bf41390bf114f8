/**
 * B33, the class of CVE-2026-45808 and CVE-2026-40264: an id that was guessed or seen. Every route that takes one is called by
 * a stranger with one that there is and with one that there is not: the answers are the same.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { httpRoutes } from '../../src/doors/http/server.ts'
import type { Route } from '../../src/doors/http/route.ts'
import { Authenticator } from '../support/authenticator.ts'
import { fakeCallers, fakeFlows } from '../support/doors.ts'
import { activeGrant, declare, migration, requestMigration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { faultWorld, ref, serve, settle } from './support.ts'

/** Of everything that has an id one that is none of the stranger's. */
type Ids = Readonly<Record<string, string>>

async function make(w: FaultWorld): Promise<Ids> {
  const { flows } = w.app
  await serve(w, 'orders-db', 'db:migrate', 'Database/orders')
  const task = await declare(w)
  const { id: request, digest } = await requestMigration(w, task)
  const decided = await flows.evaluate(w.migrator, migration(task))
  const { grant } = await activeGrant(w)
  const issued = await flows.issueCredential(w.migrator, grant)
  await flows.reportActions(w.migrator, {
    items: [{ id: 'x', grant, action: 'other', outcome: 'unknown' as const }],
  })
  await settle(w.app)
  const flag = (await flows.problems()).flatMap((one) => /flag_[0-9a-f]+/.exec(one) ?? [])[0]
  const delegation = await flows.delegations.make(w.grace, { actor: ref('Agent/migrator') })
  const key = await flows.createKey(w.ada, { name: 'k', subject: ref('Service/orders-ci') })
  const account = { issuer: 'github', id: '31415' }
  await flows.accounts.link(w.ada, account, ref('Person/grace'))
  const device = new Authenticator(w.app.url.replace('127.0.0.1', 'localhost'))
  await flows.passkeys.register(
    w.grace,
    device.create(await flows.passkeys.forRegistration(w.grace, device.origin)),
  )
  const policy = await flows.policy(w.ada)
  const begun = await fetch(
    `${w.app.url}/login/oidc/auth?${new URLSearchParams({
      client_id: 'writ-cli',
      redirect_uri: 'http://127.0.0.1:9/callback',
      response_type: 'code',
      code_challenge: 'x'.repeat(43),
      code_challenge_method: 'S256',
    }).toString()}`,
    { redirect: 'manual' },
  )
  const uid = (begun.headers.get('location') ?? '').split('/').at(-1)
  const ids = {
    task,
    request,
    digest,
    decision: decided.id,
    grant,
    credential: issued.credential?.id,
    flag,
    delegation: delegation.id,
    key: key.id,
    account: account.id,
    passkey: device.id,
    policy: policy?.version,
    uid,
    target: 'orders-db',
    entity: 'orders-ci',
  }
  for (const [name, id] of Object.entries(ids)) assert.ok(id, `there is no ${name}`)
  return ids as Ids
}

/** How a route is called with an id: what stands in its path, query, and body. */
type Call = Readonly<{
  /** What the id is of. */
  of: string
  params?: Readonly<Record<string, string>>
  query?: Readonly<Record<string, string>>
  json?: unknown
  form?: Readonly<Record<string, string>>
}>

const reason = { reason: 'none of mine' }
const statement = `sha256:${'0'.repeat(64)}`

/** `ID` is the id, `NEW` one of the stranger’s own. Each route that has one in its path stands here. */
const calls: Readonly<Record<string, readonly Call[]>> = {
  'GET /access/v1/requests/:id': [{ of: 'request' }],
  'POST /access/v1/requests/:id/cancel': [{ of: 'request', json: reason }],
  'GET /v1/requests/:id': [{ of: 'request' }],
  'POST /v1/requests/:id/approve': [{ of: 'request', json: { statement } }],
  'POST /v1/requests/:id/deny': [{ of: 'request', json: { statement } }],
  'GET /requests/:id': [{ of: 'request' }],
  'POST /requests/:id/approve': [{ of: 'request', form: { statement } }],
  'POST /requests/:id/deny': [{ of: 'request', form: { statement } }],
  'GET /requests/:id/prove': [{ of: 'request' }],
  'POST /requests/:id/prove': [{ of: 'request', form: { statement } }],
  'GET /v1/tasks/:id': [{ of: 'task' }, { of: 'task', query: { record: 'true' } }],
  'POST /v1/tasks/:id/heartbeat': [{ of: 'task' }],
  'POST /v1/tasks/:id/end': [{ of: 'task', json: { status: 'completed' } }],
  'POST /v1/tasks/:id/revoke': [{ of: 'task', json: reason }],
  'GET /v1/grants/:id': [{ of: 'grant' }, { of: 'grant', query: { record: 'true' } }],
  'POST /v1/grants/:id/revoke': [{ of: 'grant', json: reason }],
  'GET /v1/delegations/:id': [{ of: 'delegation' }],
  'POST /v1/delegations/:id/revoke': [{ of: 'delegation', json: reason }],
  'GET /v1/decisions/:id': [{ of: 'decision' }],
  'GET /v1/decisions/:id/explanation': [{ of: 'decision' }],
  'POST /v1/actions/flags/:id/resolve': [{ of: 'flag', json: reason }],
  'DELETE /v1/keys/:id': [{ of: 'key' }],
  'GET /v1/targets/:id/check': [{ of: 'target' }],
  'GET /v1/log/proofs/:id': [
    { of: 'decision' },
    { of: 'grant' },
    { of: 'task' },
    { of: 'request' },
    { of: 'credential' },
  ],
  'DELETE /v1/inventory/:type/:id': [{ of: 'entity', params: { type: 'Service' } }],
  'GET /v1/policies/:version': [{ of: 'policy' }],
  'POST /v1/policies/:version/agree': [{ of: 'policy', json: {} }],
  'GET /login/continue/:uid': [{ of: 'uid' }],
  'POST /login/continue/:uid': [{ of: 'uid', form: { answer: 'yes' } }],
  // not in the path
  'POST /v1/credentials': [{ of: 'grant', json: { grant: 'ID' } }],
  'POST /v1/tasks': [
    {
      of: 'task',
      json: { purpose: 'p', scope: { actions: ['a'], resources: [{ type: 'Document' }] }, parent: 'ID' },
    },
    {
      of: 'delegation',
      json: { purpose: 'p', scope: { actions: ['a'], resources: [{ type: 'Document' }] }, delegation: 'ID' },
    },
  ],
  'POST /v1/grants': ['task', 'grant', 'delegation'].map((of) => ({
    of,
    json: {
      action: { name: 'db:migrate' },
      resource: { type: 'Database', id: 'orders' },
      context: { [of]: 'ID' },
    },
  })),
  'POST /access/v1/evaluation': ['task', 'grant', 'delegation'].map((of) => ({
    of,
    json: {
      subject: { type: 'Service', id: 'stranger' },
      action: { name: 'db:migrate' },
      resource: { type: 'Database', id: 'orders' },
      context: { [of]: 'ID' },
    },
  })),
  'POST /access/v1/requests': [
    {
      of: 'decision',
      json: {
        subject: { type: 'Service', id: 'stranger' },
        action: { name: 'db:migrate' },
        resource: { type: 'Database', id: 'orders' },
        denial: { evaluation_id: 'ID', expires_at: '2099-01-01T00:00:00Z' },
      },
    },
  ],
  'POST /v1/actions': [
    {
      of: 'grant',
      json: { items: [{ id: 'NEW', grant: 'ID', action: 'a', outcome: 'unknown' }] },
    },
  ],
  'GET /v1/actions': ['grant', 'task', 'credential'].map((of) => ({ of, query: { [of]: 'ID' } })),
  'GET /v1/grants': [{ of: 'task', query: { task: 'ID' } }],
  'GET /v1/decisions': ['task', 'grant', 'request'].map((of) => ({ of, query: { ref: 'ID' } })),
  'POST /v1/accounts/unlink': [{ of: 'account', json: { issuer: 'github', account: 'ID' } }],
  'POST /accounts/unlink': [{ of: 'account', form: { issuer: 'github', account: 'ID' } }],
  'POST /v1/passkeys/remove': [{ of: 'passkey', json: { id: 'ID' } }],
  'POST /passkeys/remove': [{ of: 'passkey', form: { id: 'ID' } }],
}
/**
 * Names that are no secret: of schemas, of providers, which stand on the sign-in page, of tiles, and of those who push
 * signals and webhooks, which are nothing without a signature.
 */
const NAMES = [
  'GET /log/tile/:level/*',
  'GET /access/v1/requests/schemas/:name',
  'GET /login/callback/:provider',
  'POST /ssf/push/:transmitter',
  'POST /webhooks/:source',
]

const nameOf = ({ method, path }: Route): string => `${method} ${path}`

/** One that there is not, which looks the same. */
const unknownOf = (id: string): string =>
  id.slice(0, -6) +
  id
    .slice(-6)
    .replaceAll(/./gu, (one) => (/\d/.test(one) ? String((Number(one) + 1) % 10) : one === 'a' ? 'b' : 'a'))

/** What a stranger sees of an answer: all of it but the id itself and what is new each time. */
const seen = (text: string, id: string): string =>
  text
    .replaceAll(encodeURIComponent(id), 'ID')
    .replaceAll(id, 'ID')
    .replaceAll(/\breq_[\w-]+/gu, 'REQUEST')
    .replaceAll(/\bnew-\d+/gu, 'NEW')
    .replaceAll(/\bdec_\w+/gu, 'DECISION')
    .replaceAll(/"(nonce|challenge|data-challenge)":"[^"]*"/gu, '$1')

describe('B33 an id that is somebody else’s', () => {
  const table = httpRoutes({
    flows: fakeFlows({}),
    callers: fakeCallers,
    now: () => 0,
    log: () => undefined,
    version: '0',
  })

  test('is taken by no route that is not called here', () => {
    const withIds = table.filter(({ path }) => path.includes('/:')).map(nameOf)
    const known = new Set([...Object.keys(calls), ...NAMES])
    assert.deepEqual(
      withIds.filter((name) => !known.has(name)),
      [],
    )
    assert.deepEqual(
      [...known].filter((name) => !table.some((route) => nameOf(route) === name)),
      [],
    )
  })

  test('stands in no list of a stranger, not even as where its next page begins', async () => {
    await using w = await faultWorld({ http: true, targets: true })
    const { grant, task } = await activeGrant(w)
    await w.app.flows.issueCredential(w.migrator, grant)
    const second = await activeGrant(w, task).catch(() => activeGrant(w))
    assert.notEqual(second.grant, grant)
    const key = await w.app.flows.createKey(w.ada, { name: 's', subject: ref('Service/orders-ci') })
    const lists = [
      'tasks',
      'requests',
      'grants',
      'credentials',
      'tokens',
      'delegations',
      'accounts',
      'keys',
    ].filter((name) => table.some((route) => nameOf(route) === `GET /v1/${name}`))
    assert.ok(lists.length > 4)
    const queries = ['limit=1', 'limit=1&live=true', `limit=1&task=${task}`]
    for (const name of lists) {
      for (const query of name === 'grants' ? queries : ['limit=1']) {
        const response = await fetch(`${w.app.url}/v1/${name}?${query}`, {
          headers: { authorization: `Bearer ${key.secret.expose()}` },
        })
        if (response.status === 403) continue
        assert.deepEqual(await response.json(), { items: [] }, `${name}?${query}`)
      }
    }
    // one's own come page by page
    const mine: string[] = []
    let after: string | undefined
    do {
      const page = await w.app.flows.grants(w.migrator, {
        limit: 1,
        ...(after === undefined ? {} : { after }),
      })
      mine.push(...page.items.map(({ id }) => id))
      after = page.next
    } while (after !== undefined)
    assert.deepEqual(mine, [grant, second.grant].sort())
  })

  test('is worth as much as one that there is not, at every route', async () => {
    await using w = await faultWorld({ http: true })
    const ids = await make(w)
    const { flows } = w.app
    await flows.putEntities(w.ada, [{ type: 'Service', id: 'stranger', kind: 'workload' }])
    const machine = await flows.createKey(w.ada, { name: 's', subject: ref('Service/stranger') })
    const person = await flows.redeem((await flows.invite(w.ada, { id: 'mallory' })).code.expose())
    const strangers = { machine: machine.secret.expose(), person: person.token.expose() }
    const wrong: string[] = []
    let asked = 0
    let fresh = 0
    for (const route of table) {
      for (const call of calls[nameOf(route)] ?? []) {
        for (const [who, token] of Object.entries(strangers)) {
          if (route.who === 'person' && who === 'machine') continue
          const ask = async (id: string): Promise<readonly [number, string]> => {
            const put = (text: string): string =>
              text.replaceAll('"ID"', JSON.stringify(id)).replaceAll('NEW', `new-${(fresh += 1)}`)
            const path = route.path.replaceAll(/:(\w+)/gu, (_, name: string) =>
              encodeURIComponent(call.params?.[name] ?? id),
            )
            const fields = (of: Readonly<Record<string, string>>): string =>
              new URLSearchParams(JSON.parse(put(JSON.stringify(of))) as Record<string, string>).toString()
            const query = call.query === undefined ? '' : `?${fields(call.query)}`
            const response = await fetch(`${w.app.url}${path}${query}`, {
              method: route.method,
              redirect: 'manual',
              headers: {
                authorization: `Bearer ${token}`,
                'sec-fetch-site': 'same-origin',
                ...(call.json === undefined ? {} : { 'content-type': 'application/json' }),
                ...(call.form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
              },
              ...(call.json === undefined ? {} : { body: put(JSON.stringify(call.json)) }),
              ...(call.form === undefined ? {} : { body: fields(call.form) }),
            })
            return [response.status, seen(await response.text(), id)]
          }
          const id = ids[call.of] ?? ''
          const [foreign, unknown] = [await ask(id), await ask(unknownOf(id))]
          asked += 1
          const what = `${nameOf(route)} ${call.of} as a ${who}`
          if (foreign[0] !== unknown[0] || foreign[1] !== unknown[1])
            wrong.push(`${what}:\n  ${foreign.join(' ')}\n  ${unknown.join(' ')}`)
          if (foreign[0] === 400 && /schema|must be|invalid_input/iu.test(foreign[1]))
            wrong.push(`${what}: it was not even looked for: ${foreign[1]}`)
        }
      }
    }
    assert.deepEqual(wrong, [])
    assert.ok(asked > 60, String(asked))
  })
})
