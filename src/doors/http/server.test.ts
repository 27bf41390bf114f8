import assert from 'node:assert/strict'
import { once } from 'node:events'
import { globSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import {
  ada,
  decisionOn,
  fakeCallers,
  fakeFlows,
  knock,
  pep,
  requestLike,
} from '../../../test/support/doors.ts'
import type { Flows } from '../../flows/port.ts'
import { WritError } from '../../model/errors.ts'
import { Secret } from '../../model/secret.ts'
import { problem } from '../../wire/problem.ts'
import { httpRoutes } from './server.ts'

const EVALUATION = '/access/v1/evaluation'
const EVALUATIONS = '/access/v1/evaluations'
const attempt = {
  subject: { type: 'Agent', id: 'migrator' },
  action: { name: 'read' },
  resource: { type: 'Document', id: 'd1' },
}
/** Permits `read`, denies everything else. */
const readOnly: Partial<Flows> = {
  evaluate: async (_caller, input) =>
    decisionOn(input, input.action.name === 'read' ? {} : { outcome: 'deny', reason: 'policy_denied' }),
}
const json = async (response: Response): Promise<Record<string, unknown>> =>
  (await response.json()) as Record<string, unknown>
const decisions = async (response: Response): Promise<boolean[]> =>
  ((await json(response))['evaluations'] as { decision: boolean }[]).map(({ decision }) => decision)

describe('AuthZEN evaluation', () => {
  const table: readonly (readonly [string, unknown, number, Record<string, string>?])[] = [
    ['an attempt', attempt, 200],
    ['unknown members are ignored', { ...attempt, more: 1, subject: { ...attempt.subject, more: [] } }, 200],
    [
      'properties and context',
      { ...attempt, action: { name: 'read', properties: { a: [1] } }, context: { a: {} } },
      200,
    ],
    ['charset=utf-8', attempt, 200, { 'content-type': 'application/json; charset=utf-8' }],
    ['charset=UTF-8 in quotes', attempt, 200, { 'content-type': 'Application/JSON;charset="UTF-8"' }],
    ['no subject', { ...attempt, subject: undefined }, 400],
    ['no action', { ...attempt, action: undefined }, 400],
    ['no resource', { ...attempt, resource: undefined }, 400],
    ['no subject.type', { ...attempt, subject: { id: 'x' } }, 400],
    ['no subject.id', { ...attempt, subject: { type: 'X' } }, 400],
    ['no action.name', { ...attempt, action: {} }, 400],
    ['no resource.id', { ...attempt, resource: { type: 'X' } }, 400],
    ['subject.id is a number', { ...attempt, subject: { type: 'X', id: 7 } }, 400],
    ['subject is text', { ...attempt, subject: 'X/x' }, 400],
    ['subject is null', { ...attempt, subject: null }, 400],
    ['properties is a list', { ...attempt, resource: { ...attempt.resource, properties: [] } }, 400],
    ['context is text', { ...attempt, context: 'x' }, 400],
    ['context is null', { ...attempt, context: null }, 400],
    ['top-level array', [attempt], 400],
    ['top-level text', '"x"', 400],
    ['null', 'null', 400],
    ['nothing', '', 400],
    ['not JSON', '{', 400],
    ['a member twice (B56)', '{"subject":{"type":"A","id":"x"},"subject":{"type":"A","id":"y"}}', 400],
    ['a prototype (B79)', '{"__proto__":{"subject":{"type":"A","id":"x"}}}', 400],
    ['too deep (B76)', '['.repeat(60_000), 413],
    ['too large (B76)', { ...attempt, context: { a: 'x'.repeat(70_000) } }, 413],
    ['text/plain (B78)', attempt, 400, { 'content-type': 'text/plain' }],
    ['application/jsonx (B78)', attempt, 400, { 'content-type': 'application/jsonx' }],
    ['application/json;x (B78)', attempt, 400, { 'content-type': 'application/json;x' }],
    ['application/json<tab> (B78)', attempt, 400, { 'content-type': 'application/json\tx' }],
    ['latin1 (B78)', attempt, 400, { 'content-type': 'application/json; charset=latin1' }],
    ['form (B78)', 'subject=x', 400, { 'content-type': 'application/x-www-form-urlencoded' }],
    ['multipart (B78)', 'x', 400, { 'content-type': 'multipart/form-data; boundary=x' }],
    ['no credentials', attempt, 401, { authorization: '' }],
    ['wrong credentials', attempt, 401, { authorization: 'Bearer writ_key_wrong' }],
  ]
  test('statuses', async () => {
    await using door = await knock(readOnly)
    for (const [name, body, status, headers] of table) {
      const response = await door.post(EVALUATION, body, { 'x-request-id': 'echo-me', ...headers })
      const text = await response.text()
      assert.equal(response.status, status, `${name}: ${text}`)
      assert.equal(response.headers.get('x-request-id'), 'echo-me', name)
      assert.equal(response.headers.get('x-content-type-options'), 'nosniff', name)
      assert.equal(response.headers.get('cache-control'), 'no-store', name)
      if (status === 200)
        assert.deepEqual(JSON.parse(text), { decision: true, context: { evaluation_id: 'dec_1' } })
      else assert.match(response.headers.get('content-type') ?? '', /^text\/plain/, name)
      if (status === 401) assert.match(response.headers.get('www-authenticate') ?? '', /^Bearer/)
    }
  })
  test('a denial is 200 and says why, and what to do', async () => {
    await using door = await knock({
      evaluate: async (_caller, input) =>
        decisionOn(input, { outcome: 'deny', reason: 'grant_pending', nextAction: 'retry', retryAfter: 5 }),
    })
    const response = await door.post(EVALUATION, attempt)
    assert.equal(response.status, 200)
    assert.deepEqual(await json(response), {
      decision: false,
      context: {
        evaluation_id: 'dec_1',
        evaluated_at: '2026-11-22T14:00:00.000Z',
        reason: 'grant_pending',
        next_action: 'retry',
        retry_after: 5,
      },
    })
  })
  test('a challenge is a denial with an offer; a permit names its grant and approval', async () => {
    await using door = await knock({
      evaluate: async (_caller, input) => {
        const decision = decisionOn(input)
        if (input.action.name === 'read') {
          return {
            ...decision,
            approval: 'appr_1',
            grant: { id: 'grant_1', endsAt: 1_000, usesLeft: 2 },
          }
        }
        return {
          ...decision,
          outcome: 'challenge',
          reason: 'evidence_required',
          nextAction: 'request',
          requestableUntil: 2_000,
          alternatives: [
            {
              requirements: [{ kind: 'approval', pool: 'dba', count: 1 }],
              binding: 'task',
              ttl: 60_000,
              uses: 3,
            },
          ],
        }
      },
    })
    const permit = await json(await door.post(EVALUATION, attempt))
    assert.deepEqual(permit, {
      decision: true,
      context: {
        evaluation_id: 'dec_1',
        grant: { id: 'grant_1', ends_at: '1970-01-01T00:00:01.000Z', uses_left: 2 },
        approval: { id: 'appr_1', approved_until: '1970-01-01T00:00:01.000Z' },
      },
    })
    const challenge = await json(await door.post(EVALUATION, { ...attempt, action: { name: 'write' } }))
    assert.deepEqual(challenge, {
      decision: false,
      context: {
        evaluation_id: 'dec_1',
        evaluated_at: '2026-11-22T14:00:00.000Z',
        reason: 'evidence_required',
        next_action: 'request',
        access_request: {
          expires_at: '1970-01-01T00:00:02.000Z',
          endpoint: `${door.url}/access/v1/requests`,
          template: 'approval',
          request_schema_url: `${door.url}/access/v1/requests/schemas/approval`,
          display: {
            alternatives: [
              {
                requirements: [{ kind: 'approval', pool: 'dba', count: 1 }],
                binding: 'task',
                ttl: '1m',
                uses: 3,
              },
            ],
            truncated: false,
          },
        },
      },
    })
  })
  test('the idempotency key is handed on, a bad one refused', async () => {
    const keys: (string | undefined)[] = []
    await using door = await knock({
      evaluate: async (_caller, input, options) => {
        keys.push(options?.idempotencyKey)
        return decisionOn(input)
      },
    })
    await door.post(EVALUATION, attempt)
    await door.post(EVALUATION, attempt, { 'idempotency-key': 'k-1' })
    await door.post(EVALUATIONS, { ...attempt, evaluations: [{}, {}] }, { 'idempotency-key': 'k-2' })
    assert.deepEqual(keys, [undefined, 'k-1', 'k-2#0', 'k-2#1'])
    assert.equal((await door.post(EVALUATION, attempt, { 'idempotency-key': 'x'.repeat(300) })).status, 400)
    assert.equal((await door.post(EVALUATION, attempt, { 'idempotency-key': 'a b' })).status, 400)
  })
  test('other methods are 405, a slash more is 404', async () => {
    await using door = await knock(readOnly)
    for (const method of ['GET', 'PUT', 'DELETE']) {
      const response = await door.fetch(EVALUATION, { method })
      assert.equal(response.status, 405)
      assert.equal(response.headers.get('allow'), 'POST')
    }
    assert.equal((await door.post(`${EVALUATION}/`, attempt)).status, 404)
  })
  test('metadata names the URL that was used', async () => {
    const signMetadata = (issuer: string, members: Readonly<Record<string, unknown>>): string =>
      `signed by ${issuer}: ${Object.keys(members).length}`
    await using door = await knock({ signMetadata })
    assert.deepEqual(await json(await door.fetch('/.well-known/authzen-configuration')), {
      policy_decision_point: door.url,
      access_evaluation_endpoint: `${door.url}/access/v1/evaluation`,
      access_evaluations_endpoint: `${door.url}/access/v1/evaluations`,
      search_subject_endpoint: `${door.url}/access/v1/search/subject`,
      search_resource_endpoint: `${door.url}/access/v1/search/resource`,
      search_action_endpoint: `${door.url}/access/v1/search/action`,
      access_request_endpoint: `${door.url}/access/v1/requests`,
      jwks_uri: `${door.url}/.well-known/jwks.json`,
      capabilities: ['urn:openid:authzen:capability:access-request'],
      supported_obligations: ['notification'],
      signed_metadata: `signed by ${door.url}: 10`,
    })
    await using behind = await knock({ signMetadata }, { config: { publicUrl: 'https://writ.example/' } })
    const metadata = await json(await behind.fetch('/.well-known/authzen-configuration'))
    assert.equal(metadata['policy_decision_point'], 'https://writ.example')
  })
})

describe('AuthZEN evaluations', () => {
  const deny = { action: { name: 'write' } }
  test('defaults, replaced whole by what an item has', async () => {
    const seen: unknown[] = []
    await using door = await knock({
      evaluate: async (_caller, input) => {
        seen.push(input)
        return decisionOn(input)
      },
    })
    await door.post(EVALUATIONS, {
      ...attempt,
      subject: { ...attempt.subject, properties: { a: 1 } },
      context: { a: 1 },
      evaluations: [{}, { subject: { type: 'Agent', id: 'other' }, context: { b: 2 } }],
    })
    assert.deepEqual(JSON.parse(JSON.stringify(seen)), [
      { ...attempt, subject: { ...attempt.subject, properties: { a: 1 } }, context: { a: 1 } },
      { ...attempt, subject: { type: 'Agent', id: 'other' }, context: { b: 2 } },
    ])
  })
  test('without items it has the shape of a single evaluation, and nothing beyond it either', async () => {
    await using door = await knock(readOnly)
    for (const body of [attempt, { ...attempt, evaluations: [] }]) {
      assert.deepEqual(await json(await door.post(EVALUATIONS, body)), { decision: true })
    }
    assert.equal((await door.post(EVALUATIONS, { subject: attempt.subject })).status, 400)
  })
  test('same order, same length; no top-level decision', async () => {
    await using door = await knock(readOnly)
    const body = await json(await door.post(EVALUATIONS, { ...attempt, evaluations: [{}, deny, {}] }))
    assert.deepEqual(body, { evaluations: [{ decision: true }, { decision: false }, { decision: true }] })
  })
  test('law 12 others have their turn while a batch is decided, however its work is cut up', async () => {
    let turns = 0
    let isOver = false
    const other = (): void => {
      turns += 1
      if (!isOver) setImmediate(other)
    }
    await using door = await knock({
      evaluate: async (_caller, input) => {
        // an analysis goes on from one read to the next without a turn between
        for (let part = 0; part < 4; part += 1) {
          await Promise.resolve()
          const until = performance.now() + 1
          while (performance.now() < until);
        }
        return decisionOn(input)
      },
    })
    setImmediate(other)
    const answer = await door.post(EVALUATIONS, {
      ...attempt,
      evaluations: Array.from({ length: 40 }, () => ({})),
    })
    isOver = true
    assert.equal((await decisions(answer)).length, 40)
    assert.ok(turns >= 20, `others had ${turns} turns`)
  })
  test('an item that cannot be read is denied, alone', async () => {
    await using door = await knock(readOnly)
    const { action: _action, ...rest } = attempt
    assert.deepEqual(await decisions(await door.post(EVALUATIONS, { ...rest, evaluations: [{}] })), [false])
    const items = [{}, { resource: { type: 'X' } }, 7, null, [], { subject: { type: 'X', id: '\u200b' } }, {}]
    assert.deepEqual(await decisions(await door.post(EVALUATIONS, { ...attempt, evaluations: items })), [
      true,
      false,
      false,
      false,
      false,
      false,
      true,
    ])
  })
  test('short circuits end just after what decided', async () => {
    await using door = await knock(readOnly)
    const batch = (evaluations_semantic: string, evaluations: object[]) =>
      door.post(EVALUATIONS, { ...attempt, evaluations, options: { evaluations_semantic } })
    assert.deepEqual(await decisions(await batch('deny_on_first_deny', [{}, deny, {}])), [true, false])
    assert.deepEqual(await decisions(await batch('permit_on_first_permit', [deny, {}, {}])), [false, true])
    assert.deepEqual(await decisions(await batch('deny_on_first_deny', [{}, {}])), [true, true])
    assert.deepEqual(await decisions(await batch('execute_all', [deny, {}])), [false, true])
    assert.equal((await batch('first_wins', [{}])).status, 400)
  })
  test('one item that fails fails no other, and says nothing of why', async () => {
    await using door = await knock({
      evaluate: async (_caller, input) => {
        if (input.resource.id === 'd1') return decisionOn(input)
        throw new Error('canary: connection to 10.0.0.7 refused')
      },
    })
    const response = await door.post(EVALUATIONS, {
      ...attempt,
      evaluations: [{}, { resource: { type: 'Document', id: 'd2' } }, {}],
    })
    const text = await response.text()
    assert.doesNotMatch(text, /canary/)
    const { evaluations } = JSON.parse(text) as {
      evaluations: { decision: boolean; context?: { error: { status: number } } }[]
    }
    assert.deepEqual(
      evaluations.map(({ decision }) => decision),
      [true, false, true],
    )
    assert.equal(evaluations[1]?.context?.error.status, 500)
    assert.equal(door.lines.length, 1)
  })
  test('malformed envelopes are 400, too many items too', async () => {
    await using door = await knock(readOnly)
    for (const body of [[attempt], { ...attempt, evaluations: {} }, { ...attempt, evaluations: null }]) {
      assert.equal((await door.post(EVALUATIONS, body)).status, 400)
    }
    const many = Array.from({ length: 257 }, () => ({}))
    assert.equal((await door.post(EVALUATIONS, { ...attempt, evaluations: many })).status, 400)
  })
})

describe('access requests', () => {
  const submission = { ...attempt, denial: { evaluation_id: 'dec_1', expires_at: '2026-11-22T15:00:00Z' } }
  const URN = 'urn:openid:authzen:access-request:error:'

  test('202 while it waits, 201 once settled, with Location and Retry-After', async () => {
    const approved = requestLike({ status: 'approved', approval: 'appr_1', activateBy: 0 })
    await using door = await knock({
      submit: async (_caller, input) => (input.action.name === 'read' ? requestLike() : approved),
      proofOf: () => undefined,
      request: async () => requestLike({ requestedAt: Date.UTC(2026, 10, 22, 13, 50) }),
      cancelRequest: async () => requestLike({ status: 'cancelled' }),
    })
    const waiting = await door.post('/access/v1/requests', submission)
    assert.equal(waiting.status, 202)
    const self = `${door.url}/access/v1/requests/req_1`
    assert.equal(waiting.headers.get('location'), self)
    assert.equal(waiting.headers.get('retry-after'), '2')
    assert.deepEqual(await json(waiting), {
      task: {
        id: 'req_1',
        status: 'pending',
        status_endpoint: self,
        expires_at: '2026-11-22T14:04:51.000Z',
        links: { cancel: `${self}/cancel` },
      },
    })
    const settled = await door.post('/access/v1/requests', { ...submission, action: { name: 'write' } })
    assert.equal(settled.status, 201)
    assert.equal(settled.headers.get('retry-after'), null)
    assert.equal(((await json(settled))['result'] as { mode: string }).mode, 'reevaluate')
    const polled = await door.fetch('/access/v1/requests/req_1', {
      headers: { authorization: 'Bearer writ_key_test' },
    })
    assert.equal(polled.status, 200)
    assert.equal(polled.headers.get('retry-after'), '5')
    for (const body of ['', '{}', '{"reason":"changed my mind"}']) {
      assert.equal((await door.post('/access/v1/requests/req_1/cancel', body)).status, 200)
    }
  })
  test('problems have the names and statuses of the profile', async () => {
    const cases = [
      [new WritError('ERR_INPUT_INVALID', 'x', { problem: 'not_requestable' }), 'not_requestable', 400],
      [
        new WritError('ERR_INPUT_INVALID', 'x', { problem: 'invalid_denial_binding' }),
        'invalid_denial_binding',
        400,
      ],
      [new WritError('ERR_CONFLICT', 'x', { problem: 'expired_denial' }), 'expired_denial', 410],
      [new WritError('ERR_CONFLICT', 'x'), 'duplicate_request', 409],
    ] as const
    for (const [error, name, status] of cases) {
      await using door = await knock({ submit: () => Promise.reject(error) })
      const response = await door.post('/access/v1/requests', submission)
      assert.equal(response.status, status)
      assert.match(response.headers.get('content-type') ?? '', /^application\/problem\+json/)
      assert.equal((await json(response))['type'], `${URN}${name}`)
    }
    await using door = await knock({
      request: () => Promise.reject(new WritError('ERR_NOT_FOUND', 'x')),
      cancelRequest: () => Promise.reject(new WritError('ERR_CONFLICT', 'x')),
    })
    const unknown = await door.fetch('/access/v1/requests/nope', {
      headers: { authorization: 'Bearer writ_key_test' },
    })
    assert.equal(unknown.status, 404)
    assert.equal((await json(unknown))['type'], `${URN}unknown_task`)
    const late = await door.post('/access/v1/requests/req_1/cancel', {})
    assert.equal(late.status, 409)
    assert.equal((await json(late))['type'], `${URN}invalid_task_state`)
  })
})

describe('every route', () => {
  const routes = httpRoutes({
    flows: fakeFlows({}),
    callers: fakeCallers,
    now: () => 0,
    log: () => undefined,
    version: '0',
  })
  const nameOf = ({ method, path }: { method: string; path: string }): string => `${method} ${path}`

  test('B70 declares the entry it leaves, or why it leaves none', () => {
    const root = resolve(import.meta.dirname, '../../..')
    const sources = globSync('src/{flows,signals,decision,lives,store}/**/*.ts', { cwd: root })
      .filter((file) => !file.endsWith('.test.ts'))
      .map((file) => readFileSync(join(root, file), 'utf8'))
      .join('\n')
    for (const route of routes) {
      if ('none' in route.audit) {
        assert.ok(route.audit.none.length > 0, nameOf(route))
        const changes =
          route.method !== 'GET' && !/question|search|heartbeat|replay|signin\/provider/.test(route.path)
        assert.equal(changes, false, `${nameOf(route)} changes something and declares no entry`)
      } else {
        assert.ok(
          sources.includes(`'${route.audit.event}'`),
          `${nameOf(route)}: nothing writes \`${route.audit.event}\``,
        )
      }
    }
  })
  test('B70 what Fastify answers is in the table, and the table is what it answers', async () => {
    await using door = await knock({})
    for (const route of routes) {
      assert.ok(door.server.hasRoute({ method: route.method, url: route.path }), nameOf(route))
    }
    const listed = door.server.printRoutes({ commonPrefix: false, includeHooks: false })
    const served = [...listed.matchAll(/\(([A-Z, ]+)\)/g)].flatMap((match) => (match[1] ?? '').split(', '))
    // of those that end in `*` the list shows one
    const open = routes.filter(({ path }) => path.endsWith('*'))
    assert.equal(served.length, routes.length - open.length + 1)
  })
  test('needs credentials unless it says that it is public', async () => {
    // clients prove themselves in what they send, which is tried with the endpoints of tokens
    const guarded = routes.filter(({ who }) => who !== 'public' && who !== 'client')
    // who fails to prove who it is may not try for ever, so a door is knocked at some times only
    for (let from = 0; from < guarded.length; from += 40) {
      await using door = await knock({})
      for (const route of guarded.slice(from, from + 40)) {
        const response = await door.fetch(route.path.replaceAll(/:\w+/g, 'x'), { method: route.method })
        assert.ok([401, 303].includes(response.status), `${nameOf(route)}: ${response.status}`)
      }
    }
    assert.deepEqual(routes.filter(({ who }) => who === 'public').map(nameOf), [
      'GET /.well-known/authzen-configuration',
      'GET /access/v1/requests/schemas/:name',
      'GET /.well-known/jwks.json',
      'GET /.well-known/oauth-authorization-server',
      'GET /.well-known/ssf-configuration',
      'GET /ssf/jwks',
      'GET /log/checkpoint',
      'GET /log/tile/:level/*',
      'GET /v1/log/keys',
      'GET /v1/log/inclusion',
      'GET /v1/log/consistency',
      'POST /v1/sessions',
      'GET /healthz',
      'GET /readyz',
      'GET /openapi.json',
      'GET /',
      'POST /signin',
      'GET /signin',
      'POST /signin/passkey',
      'POST /signin/provider',
      'GET /login/callback/:provider',
      'POST /login/unlinked',
      'GET /login/continue/:uid',
      'GET /passkey.js',
      'GET /style.css',
      'GET /icon.svg',
    ])
  })
  test('those for people refuse keys and tokens', async () => {
    await using door = await knock({})
    for (const route of routes.filter(({ who }) => who === 'person')) {
      const response = await door.fetch(route.path.replaceAll(/:\w+/g, 'x'), {
        method: route.method,
        headers: { authorization: 'Bearer writ_key_test' },
      })
      assert.equal(response.status, 403, nameOf(route))
    }
  })
  test('B33 refuses ids that are none, and never treats one as a pattern or a path', async () => {
    const asked: string[] = []
    await using door = await knock({
      grant: (_caller, id) => {
        asked.push(id)
        return Promise.reject(new WritError('ERR_NOT_FOUND', 'there is no such grant'))
      },
    })
    const get = async (id: string) =>
      (await door.fetch(`/v1/grants/${id}`, { headers: { authorization: 'Bearer writ_key_test' } })).status
    assert.equal(await get('%2a'), 404)
    assert.equal(await get('..%2f..%2fkeys'), 404)
    assert.equal(await get('%00'), 400)
    assert.equal(await get('%e2%80%ae'), 400)
    assert.equal(await get('%zz'), 400)
    assert.equal(await get('x'.repeat(257)), 400)
    assert.deepEqual(asked, ['*', '../../keys'])
  })
  test('misspelt queries are refused', async () => {
    await using door = await knock({ tasks: async () => ({ items: [], next: undefined }) })
    const get = async (query: string) =>
      (await door.fetch(`/v1/tasks${query}`, { headers: { authorization: 'Bearer writ_key_test' } })).status
    assert.equal(await get('?live=true&limit=10'), 200)
    for (const query of [
      '?alive=true',
      '?live=1',
      '?live=true&live=true',
      '?limit=0',
      '?limit=1001',
      '?limit=x',
      '?cursor=',
    ]) {
      assert.equal(await get(query), 400, query)
    }
  })
})

describe('errors', () => {
  test('B43 an unknown error is one constant sentence and a request id; only the log has more', async () => {
    const secret = 'canary-5f1c'
    await using door = await knock({
      tasks: () => Promise.reject(new Error(`password ${secret} for /var/lib/writ`)),
      grants: () => Promise.reject(Object.assign(new TypeError(secret), { statusCode: 200, code: secret })),
      head: () => {
        throw new WritError('ERR_STORE_CORRUPT', 'the store is damaged', {
          detail: 'page 7',
          cause: new Error(secret),
        })
      },
    })
    for (const path of ['/v1/tasks', '/v1/grants']) {
      const response = await door.fetch(path, {
        headers: { authorization: 'Bearer writ_key_test', 'x-request-id': 'r-1' },
      })
      const text = await response.text()
      assert.equal(response.status, 500)
      assert.doesNotMatch(text, /canary|var\/lib|TypeError/)
      const body = problem.parse(JSON.parse(text))
      assert.equal(body.code, 'ERR_INTERNAL')
      assert.equal(body.request_id, 'r-1')
      assert.equal(body.detail, 'something went wrong; the operator finds it under the request id')
    }
    assert.equal(door.lines.filter(({ request }) => request === 'r-1').length, 2)
    const damaged = await door.fetch('/readyz')
    assert.equal(damaged.status, 500)
    assert.doesNotMatch(await damaged.text(), /page 7|canary/)
    assert.match(JSON.stringify(door.lines), /page 7/)
  })
  test('B43 a body that is no JSON is not quoted, neither to the caller nor in the log', async () => {
    await using door = await knock({})
    const response = await door.post('/v1/targets', '{"admin":{"password":"canary-77"')
    assert.equal(response.status, 400)
    assert.doesNotMatch(await response.text(), /canary/)
    const wrong = await door.post('/v1/targets', {
      id: 'x',
      kind: 'postgres',
      config: {},
      admin: { user: '', password: 'canary-78', 'canary-79': 1 },
    })
    assert.equal(wrong.status, 400)
    assert.doesNotMatch(await wrong.text(), /canary-78/)
    assert.doesNotMatch(JSON.stringify(door.lines), /canary/)
  })
  test('AuthZEN errors are a sentence, and a problem for whoever takes JSON', async () => {
    await using door = await knock({})
    const plain = await door.post(EVALUATION, {})
    assert.equal(await plain.text(), '`subject` is missing; `action` is missing; `resource` is missing')
    const full = await door.post(EVALUATION, {}, { accept: 'application/json' })
    assert.equal(problem.parse(await full.json()).code, 'ERR_INPUT_INVALID')
  })
  test('what is not HTTP is answered and hung up', async () => {
    await using door = await knock({})
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(new URL(door.url).port), '127.0.0.1', () =>
        socket.write('NONSENSE\r\n\r\n'),
      )
      let text = ''
      socket.setEncoding('utf8')
      socket.on('data', (chunk: string) => (text += chunk))
      socket.on('close', () => resolve(text))
      socket.on('error', reject)
    })
    assert.match(answer, /^HTTP\/1\.1 400/)
  })
})

describe('secrets', () => {
  test('are in the one answer that hands them out', async () => {
    await using door = await knock({
      createKey: async () => ({ id: 'key_9', secret: new Secret('writ_key_canary') }),
      redeem: async () => ({
        token: new Secret('writ_sess_canary'),
        person: ada.subject,
        endsAt: Date.UTC(2026, 10, 23, 14),
      }),
    })
    const key = await door.post('/v1/keys', { name: 'ci', subject: 'Agent/x', ttl: '1h' })
    assert.equal(key.status, 201)
    assert.deepEqual(await json(key), { id: 'key_9', secret: 'writ_key_canary' })
    const session = await door.fetch('/v1/sessions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"code":" abcd-efgh "}',
    })
    assert.equal(session.status, 201)
    assert.equal(
      session.headers.get('set-cookie'),
      'writ_session=writ_sess_canary; Path=/; HttpOnly; SameSite=Strict; Max-Age=86400',
    )
    assert.deepEqual(await json(session), {
      token: 'writ_sess_canary',
      person: 'Person/ada',
      ends_at: '2026-11-23T14:00:00.000Z',
    })
    assert.doesNotMatch(JSON.stringify(door.lines), /canary/)
  })
})

describe('hosts and proxies', () => {
  /** A request as a socket carries it: `fetch` would not let us choose the host. */
  const raw = (url: string, lines: string[]): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect(Number(new URL(url).port), '127.0.0.1', () =>
        socket.write(`${[...lines, 'Connection: close'].join('\r\n')}\r\n\r\n`),
      )
      let text = ''
      socket.setEncoding('utf8')
      socket.on('data', (chunk: string) => (text += chunk))
      socket.on('close', () => resolve(text))
      socket.on('error', reject)
    })
  const status = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1])

  test('B60 on loopback only names of this machine are answered', async () => {
    await using door = await knock({})
    const ask = async (host: string) =>
      status(await raw(door.url, ['GET /healthz HTTP/1.1', `Host: ${host}`]))
    for (const host of ['127.0.0.1', 'localhost:9748', 'LOCALHOST', '[::1]:80'])
      assert.equal(await ask(host), 200, host)
    for (const host of [
      'evil.example',
      'localhost.evil.example',
      '127.0.0.1.evil.example',
      'x y',
      '',
      'a@localhost',
      '10.0.0.1',
    ]) {
      assert.notEqual(await ask(host), 200, host)
    }
    assert.equal(await ask('evil.example'), 403)
    await using named = await knock({}, { config: { publicUrl: 'https://writ.example', hosts: ['writ'] } })
    for (const [host, expected] of [
      ['writ.example', 200],
      ['writ:9748', 200],
      ['evil.example', 403],
    ] as const) {
      assert.equal(status(await raw(named.url, ['GET /healthz HTTP/1.1', `Host: ${host}`])), expected, host)
    }
  })
  test('B55 forwarded headers count only from configured peers', async () => {
    const ask = ['GET /.well-known/authzen-configuration HTTP/1.1', 'Host: localhost']
    const forged = [
      ...ask,
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: 127.0.0.2',
      'X-Forwarded-For: 10.9.9.9',
    ]
    await using door = await knock({})
    assert.match(await raw(door.url, forged), /"policy_decision_point":"http:\/\/localhost"/)
    await using behind = await knock({}, { config: { trustedProxies: ['127.0.0.1'] } })
    assert.match(await raw(behind.url, forged), /"policy_decision_point":"https:\/\/127\.0\.0\.2"/)
    await using elsewhere = await knock({}, { config: { trustedProxies: ['10.0.0.1'] } })
    assert.match(await raw(elsewhere.url, forged), /"policy_decision_point":"http:\/\/localhost"/)
  })
})

describe('B80 rates', () => {
  test('one caller has its rate, and another is not touched', async () => {
    await using door = await knock(
      { tasks: async () => ({ items: [], next: undefined }) },
      { config: { limits: { body: 65_536, depth: 32, rate: 3 } } },
    )
    const get = async (token: string) =>
      door.fetch('/v1/tasks', { headers: { authorization: `Bearer ${token}` } })
    for (let i = 0; i < 3; i++) assert.equal((await get('writ_key_test')).status, 200)
    const limited = await get('writ_key_test')
    assert.equal(limited.status, 429)
    assert.equal(limited.headers.get('retry-after'), '1')
    assert.equal((await get('writ_sess_test')).status, 200)
    door.clock.at += 1_000
    assert.equal((await get('writ_key_test')).status, 200)
  })
  test('failing to authenticate is slowed down, authenticating from there is not', async () => {
    await using door = await knock({ tasks: async () => ({ items: [], next: undefined }) })
    const get = async (token: string) =>
      (await door.fetch('/v1/tasks', { headers: { authorization: `Bearer ${token}` } })).status
    const statuses = await Promise.all(Array.from({ length: 80 }, () => get('writ_key_wrong')))
    assert.equal(statuses.filter((status) => status === 401).length, 60)
    assert.equal(statuses.filter((status) => status === 429).length, 20)
    assert.equal(await get('writ_key_test'), 200)
  })
  test('B80 a batch counts as the decisions it asks for, and lets others have theirs', async () => {
    const order: string[] = []
    await using door = await knock(
      {
        evaluate: async (_caller, input) => {
          order.push(input.resource.id)
          const until = performance.now() + 1
          while (performance.now() < until);
          return decisionOn(input)
        },
      },
      { config: { limits: { body: 262_144, depth: 32, rate: 600 } } },
    )
    const body = (id: string) => ({
      subject: { type: 'Agent', id: 'a' },
      action: { name: 'read' },
      resource: { type: 'Document', id },
    })
    const batch = { ...body('batch'), evaluations: Array.from({ length: 256 }, () => ({})) }
    const [first] = await Promise.all([
      door.post('/access/v1/evaluations', batch),
      door.post('/access/v1/evaluation', body('single')),
    ])
    assert.equal(first.status, 200)
    assert.ok(order.indexOf('single') < 200, 'a single decision does not wait for the whole batch')
    assert.equal((await door.post('/access/v1/evaluations', batch)).status, 200)
    const third = await door.post('/access/v1/evaluations', batch)
    assert.equal(third.status, 429)
    assert.ok(Number(third.headers.get('retry-after')) >= 1)
  })
  test('B31 a clock that was set back keeps nobody out', async () => {
    let ticks = 0
    await using door = await knock(
      { tasks: async () => ({ items: [], next: undefined }) },
      { config: { limits: { body: 262_144, depth: 32, rate: 2 } }, monotonic: () => ticks },
    )
    const get = async () =>
      (await door.fetch('/v1/tasks', { headers: { authorization: 'Bearer writ_key_test' } })).status
    assert.deepEqual([await get(), await get(), await get()], [200, 200, 429])
    door.clock.at -= 3_600_000
    ticks += 1_000
    assert.equal(await get(), 200)
  })
  test('one-time codes are tried ten times, then slowly', async () => {
    let tries = 0
    await using door = await knock({
      redeem: () => {
        tries++
        return Promise.reject(
          new WritError('ERR_UNAUTHENTICATED', 'this code is wrong, was used, or is too old'),
        )
      },
    })
    const send = async () =>
      (
        await door.fetch('/v1/sessions', {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: '{"code":"guess-guess"}',
        })
      ).status
    for (let i = 0; i < 10; i++) assert.equal(await send(), 401)
    assert.equal(await send(), 429)
    assert.equal((await door.fetch('/?code=guess-guess')).status, 429)
    assert.equal(tries, 10)
    door.clock.at += 5_000
    assert.equal(await send(), 401)
    assert.equal(await send(), 429)
  })
})

describe('headers', () => {
  const knockRaw = async (url: string, head: string): Promise<string> => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    socket.end(`GET /v1/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${head}\r\n\r\n`)
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    return text
  }
  test('B56 a header that a proxy could read differently is refused', async () => {
    await using door = await knock({})
    const key = 'Authorization: Bearer writ_key_test'
    assert.match(await knockRaw(door.url, key), /^HTTP\/1\.1 200/)
    for (const head of [
      `${key}\r\nauthorization: Bearer writ_sess_test`,
      `${key}\r\nHost: evil.example`,
      `${key}\r\nOrigin: http://localhost\r\nOrigin: http://evil.example`,
    ]) {
      assert.match(await knockRaw(door.url, head), /^HTTP\/1\.1 400 [^]*is there twice/)
    }
  })
  test('B69 a request id is short and visible, or it is ours', async () => {
    await using door = await knock({})
    const id = async (sent: string) =>
      (await door.fetch('/healthz', { headers: { 'x-request-id': sent } })).headers.get('x-request-id')
    assert.equal(await id('trace-1:2'), 'trace-1:2')
    assert.match((await id('x'.repeat(257))) ?? '', /^req_/)
    assert.match((await id('two words')) ?? '', /^req_/)
  })
})

describe('readiness', () => {
  test('says that it is degraded, and what is wrong to who may read the log', async () => {
    let reads = true
    await using door = await knock({
      head: async () => ({ size: 0, root: '' }),
      problems: async () => ['disk nearly full'],
      entries: () =>
        reads ? Promise.resolve([]) : Promise.reject(new WritError('ERR_FORBIDDEN', 'may not read the log')),
    })
    const anyone = await door.fetch('/readyz')
    assert.deepEqual(await json(anyone), { status: 'degraded', version: '0.0.0-test' })
    const known = await door.fetch('/readyz', { headers: { authorization: 'Bearer writ_key_test' } })
    assert.deepEqual(await json(known), {
      status: 'degraded',
      version: '0.0.0-test',
      problems: ['disk nearly full'],
    })
    reads = false
    const stranger = await door.fetch('/readyz', { headers: { authorization: 'Bearer writ_key_test' } })
    assert.deepEqual(await json(stranger), { status: 'degraded', version: '0.0.0-test' })
    assert.equal((await door.fetch('/readyz', { headers: { authorization: 'Bearer x' } })).status, 401)
  })
  test('/v1/me says who one is', async () => {
    await using door = await knock({})
    const me = await door.fetch('/v1/me', { headers: { authorization: 'Bearer writ_key_test' } })
    assert.deepEqual(await json(me), { id: pep.id, kind: 'key', subject: 'Workload/pep', pep: pep.pep })
  })
})

test('stopping waits for nobody who opened a connection and says nothing', { timeout: 20_000 }, async () => {
  const door = await knock({})
  const { hostname, port } = new URL(door.url)
  const silent = connect(Number(port), hostname)
  const closed = once(silent, 'close')
  silent.on('error', () => undefined) // being cut off is what is wanted
  await once(silent, 'connect')
  assert.equal((await door.fetch('/healthz')).status, 200)
  await door[Symbol.asyncDispose]()
  await closed
})
