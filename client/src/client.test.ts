import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setImmediate as breathe } from 'node:timers/promises'
import { fakeServer } from '../../test/support/fake-server.ts'
import type { Fake, Reply, Seen } from '../../test/support/fake-server.ts'
import type { Decision } from './decision.ts'
import { toMillis, toWire } from './duration.ts'
import { isWritClientError } from './error.ts'
import { parseEvents } from './sse.ts'
import type { WritOptions } from './writ.ts'
import { NotPermitted, createWrit } from './writ.ts'

const attempt = { subject: 'Agent/migrator', action: 'db:migrate', resource: 'Database/orders' }

/** A client whose waiting costs no time, and the waits it asked for. */
function quick(fake: Pick<Fake, 'url'>, options: Partial<WritOptions> = {}) {
  const waits: number[] = []
  let elapsed = 0
  const writ = createWrit({
    url: fake.url,
    token: 'writ_key_canary',
    random: () => 0.5,
    now: () => Date.parse('2026-11-22T14:00:00Z') + elapsed,
    sleep: (millis) => {
      waits.push(millis)
      elapsed += millis
      return Promise.resolve()
    },
    ...options,
  })
  return { writ, waits }
}

const offer = {
  expires_at: '2026-11-22T14:15:00.000Z',
  endpoint: 'https://elsewhere.example/access/v1/requests',
  display: {
    alternatives: [{ requirements: [{ kind: 'approval', pool: 'peer', count: 1 }], binding: 'task' }],
    truncated: false,
  },
}
const challenge = {
  decision: false,
  context: {
    evaluation_id: 'dec_1',
    evaluated_at: '2026-11-22T13:00:00.000Z',
    reason: 'evidence_required',
    next_action: 'request',
    access_request: offer,
  },
}
const task = (status: string) => ({ id: 'req_1', status, status_endpoint: 'https://elsewhere.example/x' })
const approval = { id: 'apr_1', approved_until: '2026-11-22T14:30:00.000Z', vendor: { kept: true } }
const approved = { task: task('approved'), result: { mode: 'reevaluate', approval } }

const contextOf = (seen: Seen | undefined): unknown =>
  (seen?.body as { context?: unknown } | undefined)?.context

async function rejectsWith(code: string, work: Promise<unknown>) {
  try {
    await work
  } catch (error) {
    if (isWritClientError(error)) {
      assert.equal(error.code, code)
      return error
    }
    throw error
  }
  return assert.fail(`no ${code}`)
}

suite('evaluate', () => {
  test('sends the attempt with token and idempotency key, and gives the three outcomes', async () => {
    const answers: Reply[] = [
      {
        body: { decision: true, context: { evaluation_id: 'dec_0', grant: { id: 'grant_1', ends_at: 'x' } } },
      },
      { body: { decision: false, context: { reason: 'policy_denied', next_action: 'none' } } },
      { body: challenge },
    ]
    await using fake = await fakeServer((_seen, nth) => answers[nth] ?? 'hang-up')
    const { writ } = quick(fake)
    const outcomes: Decision[] = []
    for (let i = 0; i < 3; i++)
      outcomes.push(await writ.evaluate({ ...attempt, context: { task: 'task_1' } }))
    assert.deepEqual(
      outcomes.map((d) => d.outcome),
      ['permit', 'deny', 'challenge'],
    )
    const [first] = fake.seen
    assert.deepEqual(first?.body, {
      subject: { type: 'Agent', id: 'migrator' },
      action: { name: 'db:migrate' },
      resource: { type: 'Database', id: 'orders' },
      context: { task: 'task_1' },
    })
    assert.equal(first?.headers.authorization, 'Bearer writ_key_canary')
    assert.match(String(first?.headers['idempotency-key']), /^[0-9a-f-]{36}$/)
    assert.equal(new Set(fake.seen.map((s) => s.headers['idempotency-key'])).size, 3)
  })

  test('B58 what is not a decision is an error, never a permit', async () => {
    const garbled: Reply[] = [
      { body: { decision: 'true' } },
      { body: { decision: 1 } },
      { body: [] },
      { body: null },
      { text: '<html>welcome</html>' },
      { text: '' },
      { status: 302, headers: { location: 'http://127.0.0.1:1/' } },
      { status: 204 },
    ]
    await using fake = await fakeServer((_seen, nth) => garbled[nth] ?? 'hang-up')
    const { writ } = quick(fake, { retries: 0 })
    for (const _ of garbled) await rejectsWith('ERR_PROTOCOL', writ.evaluate(attempt))
    await rejectsWith('ERR_UNREACHABLE', writ.evaluate(attempt))
  })

  test('obligations of a permit are told, and a permit with unreadable ones is none', async () => {
    const obligations = [{ id: 'obl-1', type: 'notification', properties: { to: 'on-call', body: 'x' } }]
    const sent: unknown[] = [obligations, 'all', [{ id: 'obl-1', type: 'notification' }], [7]]
    await using fake = await fakeServer(() => ({
      body: { decision: true, context: { obligations: sent.shift() } },
    }))
    const { writ } = quick(fake)
    const permit = await writ.evaluate(attempt)
    assert.deepEqual(permit.outcome === 'permit' && permit.obligations, obligations)
    while (sent.length > 0) await rejectsWith('ERR_PROTOCOL', writ.evaluate(attempt))
  })

  test('a denial with an unreadable offer is a denial', async () => {
    await using fake = await fakeServer(() => ({
      body: { decision: false, context: { next_action: 'request', access_request: { display: {} } } },
    }))
    const d = await quick(fake).writ.evaluate(attempt)
    assert.deepEqual([d.outcome, d.outcome === 'deny' && d.nextAction], ['deny', 'none'])
  })

  test('the subject is whom the token speaks for when none is named, asked once', async () => {
    await using fake = await fakeServer((seen) =>
      seen.path === '/v1/me'
        ? { body: { id: 'key:1', kind: 'key', subject: 'Agent/a/b' } }
        : { body: { decision: true } },
    )
    const { writ } = quick(fake)
    await writ.evaluate({ action: 'a', resource: 'R/r' })
    await writ.evaluate({ action: 'a', resource: 'R/r' })
    assert.deepEqual(
      fake.seen.map((s) => s.path),
      ['/v1/me', '/access/v1/evaluation', '/access/v1/evaluation'],
    )
    assert.deepEqual((fake.seen[1]?.body as { subject?: unknown } | undefined)?.subject, {
      type: 'Agent',
      id: 'a/b',
    })
  })
})

suite('requests', () => {
  test('echoes the denial whole, and says that it is urgent when told to', async () => {
    const signed = { ...offer, binding_token: 'a.b.c', template: 'approval', vendor: 'kept out' }
    await using fake = await fakeServer((seen) =>
      seen.path === '/access/v1/evaluation'
        ? { body: { ...challenge, context: { ...challenge.context, access_request: signed } } }
        : { status: 202, body: { task: task('pending') } },
    )
    const d = await quick(fake).writ.evaluate(attempt)
    assert.ok(d.outcome === 'challenge')
    await d.request({ emergency: true }).submitted()
    const body = fake.seen.at(-1)?.body as Record<string, unknown>
    assert.deepEqual(body['denial'], {
      expires_at: offer.expires_at,
      evaluation_id: 'dec_1',
      evaluated_at: '2026-11-22T13:00:00.000Z',
      reason: 'evidence_required',
      binding_token: 'a.b.c',
      template: 'approval',
    })
    assert.deepEqual(body['requested_access'], { emergency: true })
  })

  test('stops polling a handle whose time is over', async () => {
    const late = { ...task('pending'), expires_at: '2026-11-22T14:10:00.000Z' }
    await using fake = await fakeServer(() => ({ body: { task: late }, headers: { 'retry-after': '60' } }))
    const { writ, waits } = quick(fake)
    const state = await writ.requests.wait('req_1')
    assert.deepEqual([state.status, state.approval], ['pending', undefined])
    assert.ok(waits.length >= 10 && waits.length <= 12, String(waits.length))
  })

  test('does next what the answer says, and what its reason means where it says nothing', async () => {
    const answers = [
      { reason: 'grant_pending' },
      { reason: 'grant_pending', next_action: 'none' },
      { reason: 'approval_expired' },
      { reason: 'out_of_scope', next_action: 'request' },
      { reason: 'other', next_action: 'dance' },
      { reason: 'grant_pending', next_action: 'dance', retry_after: 3 },
    ]
    await using fake = await fakeServer((_seen, nth) => ({
      body: { decision: false, context: answers[nth] ?? {} },
    }))
    const next: string[] = []
    for (const _ of answers) {
      const d = await quick(fake).writ.evaluate(attempt)
      assert.ok(d.outcome === 'deny')
      next.push(d.nextAction)
    }
    assert.deepEqual(next, ['retry', 'none', 'none', 'none', 'none', 'retry'])
  })

  test('submits exactly what was denied, waits as told, carries the approval unchanged', async () => {
    await using fake = await fakeServer((seen, nth) => {
      if (seen.path === '/access/v1/evaluation')
        return nth === 0 ? { body: challenge } : { body: { decision: true } }
      if (seen.method === 'POST')
        return { status: 202, body: { task: task('pending') }, headers: { 'retry-after': '2' } }
      return nth < 2
        ? { body: { task: task('pending') }, headers: { 'retry-after': '4' } }
        : { body: approved }
    })
    const { writ, waits } = quick(fake)
    const d = await writ.evaluate({ ...attempt, context: { task: 'task_1', amount: 3 } })
    assert.equal(d.outcome, 'challenge')
    const after = await d.request({ reason: 'INC-42', ttl: '10m' }).settled()
    assert.equal(after.outcome, 'permit')
    const [, submitted, ...rest] = fake.seen
    assert.deepEqual(submitted?.body, {
      subject: { type: 'Agent', id: 'migrator' },
      action: { name: 'db:migrate' },
      resource: { type: 'Database', id: 'orders' },
      context: { task: 'task_1', amount: 3, justification: 'INC-42' },
      denial: {
        expires_at: offer.expires_at,
        evaluation_id: 'dec_1',
        evaluated_at: '2026-11-22T13:00:00.000Z',
        reason: 'evidence_required',
      },
      // by the server's clock, not by ours
      requested_access: { requested_until: '2026-11-22T13:10:00.000Z' },
      client: { name: 'writ-client' },
    })
    assert.deepEqual(waits, [2_100, 4_200, 4_200])
    assert.deepEqual(contextOf(rest.at(-1)), {
      task: 'task_1',
      amount: 3,
      approval,
    })
    // B3 an URL in an answer never decides where the token is sent
    assert.ok(fake.seen.every((s) => s.headers.host === new URL(fake.url).host))
  })

  test('only a known approval is one', async () => {
    const endings: [unknown, string][] = [
      [{ task: task('denied') }, 'request_denied'],
      [{ task: task('expired') }, 'request_expired'],
      [{ task: task('cancelled') }, 'request_cancelled'],
      [{ task: task('failed') }, 'request_failed'],
      [{ task: task('approved'), result: { mode: 'urn:other', approval } }, 'approval_unverifiable'],
      [{ task: task('approved') }, 'approval_unverifiable'],
      [
        { task: task('approved'), result: { mode: 'reevaluate', approval: { id: 7 } } },
        'approval_unverifiable',
      ],
      [{ task: task('denied'), result: { mode: 'reevaluate', approval } }, 'request_denied'],
    ]
    for (const [body, reason] of endings) {
      await using fake = await fakeServer((seen) =>
        seen.path === '/access/v1/evaluation' ? { body: challenge } : { status: 201, body },
      )
      const d = await quick(fake).writ.evaluate(attempt)
      assert.equal(d.outcome, 'challenge')
      const after = await d.request().settled()
      assert.deepEqual([after.outcome, after.reason], ['deny', reason])
      assert.equal(fake.seen.filter((s) => s.path === '/access/v1/evaluation').length, 1)
    }
  })

  test('an unknown status is waited on and never approved; the wait ends in time', async () => {
    await using fake = await fakeServer((seen) =>
      seen.path === '/access/v1/evaluation'
        ? { body: challenge }
        : { body: { task: task('escalated'), result: { mode: 'reevaluate', approval } } },
    )
    const { writ, waits } = quick(fake)
    const d = await writ.evaluate(attempt)
    assert.equal(d.outcome, 'challenge')
    const after = await d.request().settled({ timeout: '5m' })
    assert.equal(after.outcome, 'deny')
    assert.ok(waits.every((wait) => wait <= 60_000))
    assert.equal(
      waits.reduce((sum, wait) => sum + wait, 0),
      300_000,
    )
  })

  test('a server that restarts while one waits is waited for', async () => {
    await using fake = await fakeServer((seen, nth) => {
      if (seen.path === '/access/v1/evaluation')
        return nth === 0 ? { body: challenge } : { body: { decision: true } }
      if (seen.method === 'POST') return { status: 202, body: { task: task('pending') } }
      return nth < 6 ? 'hang-up' : { body: approved }
    })
    const { writ } = quick(fake)
    const seen: string[] = []
    const d = await writ.evaluate(attempt)
    assert.equal(d.outcome, 'challenge')
    const after = await d
      .request()
      .settled({ onState: (state) => seen.push(isWritClientError(state) ? state.code : state.status) })
    assert.equal(after.outcome, 'permit')
    assert.deepEqual(seen, ['pending', 'ERR_UNREACHABLE', 'pending', 'approved'])
  })
})

suite('transport', () => {
  const problem = {
    code: 'ERR_CONFLICT',
    detail: 'the digest is another',
    hint: 'look again',
    request_id: 'r1',
  }

  test('problems come through with code, hint and request id', async () => {
    await using fake = await fakeServer(() => ({
      status: 409,
      body: problem,
      headers: { 'content-type': 'application/problem+json' },
    }))
    const error = await rejectsWith('ERR_CONFLICT', quick(fake).writ.me())
    assert.deepEqual(
      [error.message, error.hint, error.requestId, error.status],
      ['the digest is another', 'look again', 'r1', 409],
    )
    assert.equal(fake.seen.length, 1)
  })

  test('a retry has the same key; it is bounded, and waits as asked', async () => {
    await using fake = await fakeServer(() => ({
      status: 503,
      text: 'busy',
      headers: { 'retry-after': '3' },
    }))
    const { writ, waits } = quick(fake)
    await rejectsWith('ERR_UNREACHABLE', writ.evaluate(attempt))
    assert.equal(fake.seen.length, 4)
    assert.equal(new Set(fake.seen.map((s) => s.headers['idempotency-key'])).size, 1)
    assert.deepEqual(waits, [3_000, 3_000, 3_000])
  })

  test('an answer of the server itself is not tried again', async () => {
    await using fake = await fakeServer(() => ({
      status: 504,
      body: { ...problem, code: 'ERR_TARGET_UNREACHABLE' },
    }))
    await rejectsWith('ERR_TARGET_UNREACHABLE', quick(fake).writ.me())
    assert.equal(fake.seen.length, 1)
  })

  test('B40 a credential whose answer was lost is not asked for twice', async () => {
    await using fake = await fakeServer(() => 'hang-up')
    await rejectsWith('ERR_UNREACHABLE', quick(fake).writ.credentials.issue('grant_1'))
    assert.equal(fake.seen.length, 1)
  })

  test('silence ends in a timeout', async () => {
    await using fake = await fakeServer(() => 'silence')
    const { writ } = quick(fake, { timeout: '50ms', retries: 0 })
    await rejectsWith('ERR_TIMEOUT', writ.me())
  })

  test('B43 the token is in no error, also not in its causes', async () => {
    await using fake = await fakeServer(() => 'hang-up')
    const error = await rejectsWith('ERR_UNREACHABLE', quick(fake, { retries: 0 }).writ.me())
    const { inspect } = await import('node:util')
    assert.doesNotMatch(inspect(error, { depth: 10, showHidden: true }), /canary/)
  })

  test('nothing listens: one sentence with the address', async () => {
    const { writ } = quick({ url: 'http://127.0.0.1:9' })
    const error = await rejectsWith('ERR_UNREACHABLE', writ.me())
    assert.match(error.message, /^cannot reach `http:\/\/127\.0\.0\.1:9`/)
    assert.throws(() => createWrit({ url: 'ftp://x' }), { code: 'ERR_INPUT_INVALID' })
    assert.throws(() => createWrit({ url: 'http://a:b@x' }), { code: 'ERR_INPUT_INVALID' })
  })
})

suite('lease', () => {
  const grant = { id: 'grant_1', state: 'active', ends_at: '2026-11-22T14:15:00Z', task: 'task_1' }
  const declared = { id: 'task_1', state: 'declared', heartbeat: '300ms' }
  const permit = { id: 'dec_2', outcome: 'permit', reason: 'evidence', at: 'x', alternatives: [] }
  const challenged = {
    ...permit,
    outcome: 'challenge',
    reason: 'evidence_required',
    access_request: offer,
    at: '2026-11-22T13:00:00.000Z',
  }
  const ended = { task: { ...declared, state: 'completed' }, credentials: [], clean: true }

  const server = (more: (seen: Seen, nth: number) => Reply | undefined) =>
    fakeServer((seen, nth) => {
      const special = more(seen, nth)
      if (special !== undefined) return special
      if (seen.path === '/v1/tasks') return { status: 201, body: declared }
      if (seen.path === '/v1/grants') return { status: 201, body: { decision: permit, grant } }
      if (seen.path.endsWith('/heartbeat')) return { body: { ...declared, state: 'open' } }
      if (seen.path.endsWith('/end')) return { body: ended }
      return { status: 404, body: { code: 'ERR_NOT_FOUND', detail: 'no' } }
    })

  test('leaving scope ends the declared task', async () => {
    await using fake = await server(() => undefined)
    {
      await using lease = await quick(fake).writ.acquire({ ...attempt, reason: 'INC-42', ttl: '10m' })
      assert.equal(lease.grant.id, 'grant_1')
    }
    const [declaration, activation, end] = fake.seen.filter((s) => !s.path.endsWith('/heartbeat'))
    assert.deepEqual(declaration?.body, {
      subject: 'Agent/migrator',
      reason: 'INC-42',
      ttl: '10m',
      scope: { actions: ['db:migrate'], resources: [{ type: 'Database', id: 'orders' }] },
      purpose: 'db:migrate on Database/orders',
    })
    assert.deepEqual(contextOf(activation), { task: 'task_1' })
    assert.deepEqual([end?.path, end?.body], ['/v1/tasks/task_1/end', { status: 'completed' }])
  })

  test('a throw inside `with` ends it as failed', async () => {
    await using fake = await server(() => undefined)
    const failing = quick(fake).writ.with({ ...attempt }, () => {
      throw new RangeError('canary in a message')
    })
    await assert.rejects(failing, RangeError)
    assert.deepEqual(fake.seen.at(-1)?.body, { status: 'failed', reason: 'RangeError' })
  })

  test('waits for approval and activates with it', async () => {
    await using fake = await server((seen, nth) => {
      if (seen.path === '/v1/grants' && nth === 0) return { body: { decision: challenged } }
      if (seen.path === '/access/v1/requests') return { status: 202, body: { task: task('pending') } }
      if (seen.path === '/access/v1/requests/req_1') return { body: approved }
      return undefined
    })
    const steps: string[] = []
    const { writ } = quick(fake)
    await using lease = await writ.acquire({ ...attempt, wait: '10m', onProgress: (p) => steps.push(p.step) })
    assert.equal(lease.grant.id, 'grant_1')
    assert.deepEqual(steps, ['declared', 'challenged', 'requested', 'waiting', 'waiting', 'granted'])
    const [, second] = fake.seen.filter((s) => s.path === '/v1/grants')
    assert.deepEqual(contextOf(second), { task: 'task_1', approval })
  })

  test('without approval: in time the request goes on, denied the task is cancelled', async () => {
    for (const [status, code, ends] of [
      ['pending', 'ERR_NOT_APPROVED', 0],
      ['denied', 'ERR_DENIED', 1],
    ] as const) {
      await using fake = await server((seen) => {
        if (seen.path === '/v1/grants') return { body: { decision: challenged } }
        if (seen.path.startsWith('/access/v1/requests')) return { body: { task: task(status) } }
        return undefined
      })
      const error = await rejectsWith(code, quick(fake).writ.acquire({ ...attempt, wait: '5s' }))
      assert.ok(error instanceof NotPermitted)
      assert.equal(error.decision.outcome === 'deny' && error.decision.request?.id, 'req_1')
      assert.equal(fake.seen.filter((s) => s.path.endsWith('/end')).length, ends)
    }
  })

  test('a refused heartbeat is told, and so is one that never arrives', async () => {
    const losses: [Reply, RegExp][] = [
      [{ status: 404, body: { code: 'ERR_NOT_FOUND', detail: 'no such task' } }, /refused: no such task/],
      [
        { body: { ...declared, state: 'timed-out', ending: { reason: 'revoked by Person/ada', by: 'x' } } },
        /revoked by Person\/ada/,
      ],
      ['hang-up', /no heartbeat reached the server for 300ms/],
    ]
    for (const [reply, reason] of losses) {
      await using fake = await server((seen) => (seen.path.endsWith('/heartbeat') ? reply : undefined))
      const writ = createWrit({ url: fake.url, token: 't', retries: 0 })
      const lease = await writ.acquire(attempt)
      await new Promise((resolve) => lease.signal.addEventListener('abort', resolve, { once: true }))
      assert.match((lease.signal.reason as Error).message, reason)
    }
  })

  test('a grant that ended under a task that goes on is told, and one that cannot be looked at is not taken for ended', async () => {
    const replies: Reply[] = [
      { status: 503, body: { code: 'ERR_INTERNAL', detail: 'later' } },
      { body: { grant, credentials: [] } },
      {
        body: {
          grant: { ...grant, state: 'ended', end: 'revoked', reason: '`ticket` changed' },
          credentials: [],
        },
      },
    ]
    await using fake = await server((seen) =>
      seen.path === '/v1/grants/grant_1' ? replies.shift() : undefined,
    )
    const writ = createWrit({ url: fake.url, token: 't', retries: 0 })
    const lease = await writ.acquire(attempt)
    await new Promise((resolve) => lease.signal.addEventListener('abort', resolve, { once: true }))
    assert.match((lease.signal.reason as Error).message, /the grant ended: `ticket` changed/)
    assert.equal(replies.length, 0)
  })

  test('one that is followed is lost with the event that its grant or task ended, and what else happens is not its end', async () => {
    for (const [kind, id, why] of [
      ['grant.ended', 'grant_1', /the grant ended: `posture` changed/],
      ['task.ended', 'task_1', /the task ended: superseded/],
    ] as const) {
      let isEnded = false
      const event = (at: number, name: string, about: string): string =>
        `id: ${at}\nevent: ${name}\ndata: ${JSON.stringify({ id: at, kind: name, refs: [about], at: 'x', entry: {} })}\n\n`
      await using fake = await server(({ path }) => {
        if (path === '/v1/tasks') return { status: 201, body: { ...declared, heartbeat: '1h' } }
        if (path === '/v1/log/head') return { body: { size: 7, root: 'r' } }
        if (path === '/v1/grants/grant_1') {
          const over = { ...grant, state: 'ended', reason: '`posture` changed' }
          return { body: { grant: isEnded && kind === 'grant.ended' ? over : grant, credentials: [] } }
        }
        if (path === '/v1/tasks/task_1') {
          const ending = { state: 'cancelled', reason: 'superseded', by: 'a', at: 'x' }
          return { body: { ...ended, task: { ...declared, state: 'cancelled', ending } } }
        }
        if (path !== '/v1/events') return undefined
        return (response) => {
          response.writeHead(200, { 'content-type': 'text/event-stream' })
          for (const other of ['grant.ended', 'task.ended'])
            response.write(event(7, other, 'of_somebody_else') + event(8, 'task.opened', 'task_1'))
          isEnded = true
          response.write(event(9, kind, id))
        }
      })
      await using lease = await quick(fake).writ.acquire(attempt)
      const lost = new Promise((resolve) => lease.signal.addEventListener('abort', resolve, { once: true }))
      lease.follow()
      await lost
      assert.match((lease.signal.reason as Error).message, why)
      const asked = fake.seen.find(({ path }) => path === '/v1/events')
      assert.equal(asked?.headers['last-event-id'], '6')
      assert.ok(!fake.seen.some(({ path }) => path.endsWith('/heartbeat')), 'a heartbeat told it')
    }
  })

  test('one that cannot be followed goes on, and ends at once if its grant has ended meanwhile', async () => {
    for (const state of ['active', 'ended']) {
      await using fake = await server(({ path }) => {
        if (path === '/v1/log/head') return { body: { size: 7, root: 'r' } }
        if (path === '/v1/grants/grant_1') return { body: { grant: { ...grant, state }, credentials: [] } }
        return undefined
      })
      await using lease = await quick(fake).writ.acquire(attempt)
      const lost = new Promise((resolve) => lease.signal.addEventListener('abort', resolve, { once: true }))
      lease.follow()
      if (state === 'ended') await lost
      else while (!fake.seen.some(({ path }) => path === '/v1/events')) await breathe()
      assert.equal(lease.signal.aborted, state === 'ended')
    }
  })

  test('what was asked for before is picked up exactly as it was', async () => {
    const statement = {
      kind: 'attempt',
      installation: 'i',
      subject: { type: 'Agent', id: 'migrator' },
      action: { name: 'db:migrate', properties: { plan: 'sha' } },
      resource: { type: 'Database', id: 'orders' },
      context: { amount: 3 },
      chain: ['Agent/migrator'],
    }
    await using fake = await server((seen) => {
      if (seen.path === '/v1/requests/req_1')
        return {
          body: {
            id: 'req_1',
            task: 'task_1',
            statement,
            subject: 'Agent/migrator',
            action: 'db:migrate',
            resource: 'Database/orders',
          },
        }
      if (seen.path === '/access/v1/requests/req_1') return { body: approved }
      if (seen.path === '/v1/tasks/task_1') return { body: { task: declared } }
      return undefined
    })
    await using lease = await quick(fake).writ.resume('req_1')
    assert.equal(lease.task?.id, 'task_1')
    assert.deepEqual(fake.seen.find((s) => s.path === '/v1/grants')?.body, {
      subject: statement.subject,
      action: statement.action,
      resource: statement.resource,
      context: { amount: 3, task: 'task_1', approval },
    })
  })
})

suite('events', () => {
  test('are parsed however they are cut', async () => {
    const text = ': hello\n\nid: 3\nevent: entry\ndata: {"a":\ndata: 1}\n\nid:4\r\ndata:x\r\n\r\ndata: no end'
    const bytes = new TextEncoder().encode(`\uFEFF${text}`)
    for (let size = 1; size <= bytes.length; size++) {
      const chunks = (async function* () {
        for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
      })()
      const events: unknown[] = []
      for await (const event of parseEvents(chunks)) events.push(event)
      assert.deepEqual(events, [
        undefined,
        { id: '3', event: 'entry', data: '{"a":\n1}' },
        { id: '4', event: 'message', data: 'x' },
      ])
    }
  })

  test('are picked up where the stream broke off, none twice', async () => {
    const event = (id: number) =>
      `id: ${id}\ndata: ${JSON.stringify({ id, kind: 'k', refs: [], at: 'x', entry: {} })}\n\n`
    await using fake = await fakeServer((_seen, nth) => (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
      response.write(nth === 0 ? event(5) + event(6) : event(6) + event(7))
      if (nth === 0) response.destroy()
    })
    const { writ } = quick(fake)
    const ids: number[] = []
    for await (const { id } of writ.events({ after: 4 })) {
      ids.push(id)
      if (id === 7) break
    }
    // the first connection may break before its second event is read
    assert.deepEqual(ids.at(-1), 7)
    assert.deepEqual(ids, [...new Set(ids)])
    assert.equal(fake.seen[0]?.headers['last-event-id'], '4')
    assert.ok(Number(fake.seen.at(-1)?.headers['last-event-id']) >= 4)
    assert.equal(fake.seen[0]?.headers.accept, 'text/event-stream')
  })

  test('end with the signal, and with what cannot be mended', async () => {
    await using fake = await fakeServer(() => ({
      status: 401,
      body: { code: 'ERR_UNAUTHENTICATED', detail: 'who?' },
    }))
    await rejectsWith('ERR_UNAUTHENTICATED', quick(fake).writ.events().next())
    const over = await quick(fake).writ.events({ signal: AbortSignal.abort() }).next()
    assert.equal(over.done, true)
  })
})

suite('durations', () => {
  test('are written as Writ writes them', () => {
    assert.deepEqual(['90s', '15m', 250, 3_600_000].map(toWire), ['90s', '15m', '250ms', '1h'])
    for (const wrong of ['', '1', '1 m', '-1s', '1.5h', 'm', '0s', 0, -1, Number.NaN]) {
      assert.throws(() => toMillis(wrong), { code: 'ERR_INPUT_INVALID' })
    }
  })
})

suite('search', () => {
  test('asks for a type, follows pages, and takes what cannot be read for no answer', async () => {
    const answers: Reply[] = [
      { body: { page: { next_token: 't1' }, results: [{ type: 'Agent', id: 'a' }] } },
      { body: { page: { next_token: '' }, results: [{ type: 'Agent', id: 'b', more: 1 }] } },
      { body: { results: [{ type: 'Database', id: 'orders' }] } },
      { body: { results: [{ name: 'read' }, { name: 'write' }] } },
      ...[
        {},
        { results: {} },
        { results: [7] },
        { results: [{ type: 'Agent' }] },
        { results: [], page: { next_token: 1 } },
      ].map((body): Reply => ({ body })),
    ]
    await using fake = await fakeServer(() => answers.shift() ?? 'hang-up')
    const { writ } = quick(fake, { retries: 0 })
    const who = { subject: 'Agent', action: 'read', resource: 'Document/handbook', limit: 1 }
    assert.deepEqual(await writ.search.subjects(who), { results: [{ type: 'Agent', id: 'a' }], next: 't1' })
    assert.deepEqual(await writ.search.subjects({ ...who, token: 't1', context: { task: 'task_1' } }), {
      results: [{ type: 'Agent', id: 'b' }],
    })
    const subject = { type: 'Agent', id: 'migrator' }
    assert.deepEqual(
      await writ.search.resources({
        subject: 'Agent/migrator',
        action: { name: 'db:migrate' },
        resource: { type: 'Database', properties: { engine: 'postgresql' } },
      }),
      { results: [{ type: 'Database', id: 'orders' }] },
    )
    assert.deepEqual(await writ.search.actions({ subject: 'Agent/migrator', resource: 'Database/orders' }), {
      results: ['read', 'write'],
    })
    assert.deepEqual(
      fake.seen.map(({ path, body }) => [path, body]),
      [
        [
          '/access/v1/search/subject',
          {
            subject: { type: 'Agent' },
            resource: { type: 'Document', id: 'handbook' },
            action: { name: 'read' },
            page: { limit: 1 },
          },
        ],
        [
          '/access/v1/search/subject',
          {
            subject: { type: 'Agent' },
            resource: { type: 'Document', id: 'handbook' },
            action: { name: 'read' },
            context: { task: 'task_1' },
            page: { token: 't1', limit: 1 },
          },
        ],
        [
          '/access/v1/search/resource',
          {
            subject,
            resource: { type: 'Database', properties: { engine: 'postgresql' } },
            action: { name: 'db:migrate' },
          },
        ],
        ['/access/v1/search/action', { subject, resource: { type: 'Database', id: 'orders' } }],
      ],
    )
    for (let i = 0; i < 5; i++) await rejectsWith('ERR_PROTOCOL', writ.search.subjects(who))
    assert.equal(answers.length, 0)
  })
})
