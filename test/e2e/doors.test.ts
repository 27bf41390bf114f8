/**
 * The doors over a whole Writ: the way of one migration over HTTP, and a person in a real browser.
 */
import assert from 'node:assert/strict'
import { request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import type { z } from 'zod'
import { createHttp, httpRoutes } from '../../src/doors/http/server.ts'
import { problem } from '../../src/wire/problem.ts'
import { browserMissing, startChromium } from '../support/chromium.ts'
import { fakeCallers, fakeFlows } from '../support/doors.ts'
import { testCertificate, testKey } from '../support/tls.ts'
import type { World } from '../support/world.ts'
import { openWorld } from '../support/world.ts'

const routes = httpRoutes({
  flows: fakeFlows({}),
  callers: fakeCallers,
  now: () => 0,
  log: () => undefined,
  version: '0',
})

type Body = Record<string, unknown>
type Answered = Readonly<{ status: number; body: Body; headers: Headers }>

/** A call by one of the people or the migrator; every answer must be what OpenAPI says of its route and status. */
async function call(
  world: World,
  who: keyof World['tokens'] | undefined,
  method: string,
  path: string,
  body?: unknown,
): Promise<Answered> {
  const response = await fetch(`${world.app.url}${path}`, {
    method,
    redirect: 'manual',
    headers: {
      accept: 'application/json',
      ...(who === undefined ? {} : { authorization: `Bearer ${world.tokens[who]}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  const answer: unknown = text === '' ? {} : JSON.parse(text)
  const { pathname } = new URL(path, 'http://x')
  const route = routes.find(
    (candidate) =>
      candidate.method === method &&
      new RegExp(`^${candidate.path.replaceAll(/:\w+/g, '[^/]+')}$`).test(pathname),
  )
  assert.ok(route, `${method} ${path} is in the table`)
  const schema: z.ZodType | undefined =
    route.responses[response.status]?.schema ?? (response.ok ? undefined : problem)
  assert.ok(
    response.status in route.responses || !response.ok,
    `${method} ${path} answers ${response.status}: ${text}`,
  )
  if (schema !== undefined && response.ok) assert.deepEqual(schema.parse(answer), answer, `${method} ${path}`)
  if (!response.ok) problem.parse(answer)
  return { status: response.status, body: answer as Body, headers: response.headers }
}

const migration = (task: string, more: Body = {}): Body => ({
  subject: { type: 'Agent', id: 'migrator' },
  action: { name: 'db:migrate' },
  resource: { type: 'Database', id: 'orders' },
  context: { task, ...more },
})

async function declare(world: World, reason = 'INC-42: checkout is slow'): Promise<string> {
  const { status, body } = await call(world, 'migrator', 'POST', '/v1/tasks', {
    purpose: 'add an index',
    reason,
    scope: { actions: ['db:migrate'], resources: [{ type: 'Database', id: 'orders' }] },
    ttl: '10m',
  })
  assert.equal(status, 201)
  return body['id'] as string
}

/** Challenged, submitted: the ARAP handle. */
async function submit(world: World, task: string, more: Body = {}): Promise<Answered> {
  const denied = await call(world, 'migrator', 'POST', '/access/v1/evaluation', migration(task))
  assert.equal(denied.body['decision'], false)
  const context = denied.body['context'] as Body & {
    access_request?: { expires_at: string; endpoint: string }
  }
  assert.ok(context.access_request, JSON.stringify(context))
  assert.equal(context.access_request.endpoint, `${world.app.url}/access/v1/requests`)
  return call(world, 'migrator', 'POST', '/access/v1/requests', {
    ...migration(task, more),
    denial: { evaluation_id: context['evaluation_id'], expires_at: context.access_request.expires_at },
  })
}

describe('over HTTP', () => {
  test('challenge, request, approval, permit, end: and every answer is what OpenAPI says', async () => {
    await using world = await openWorld()
    const task = await declare(world)
    const submitted = await submit(world, task, { justification: 'INC-42' })
    assert.equal(submitted.status, 202)
    const { id } = submitted.body['task'] as { id: string }

    const own = await call(world, 'migrator', 'POST', `/v1/requests/${id}/approve`, {
      statement: `sha256:${'0'.repeat(64)}`,
    })
    assert.equal(own.status, 403)
    const listed = await call(world, 'grace', 'GET', '/v1/requests?pending=true')
    const [waiting] = listed.body['items'] as { id: string; digest: string; may_approve: string[] }[]
    assert.equal(waiting?.id, id)
    assert.ok(waiting.may_approve.length > 0)
    const other = await call(world, 'grace', 'POST', `/v1/requests/${id}/approve`, {
      statement: `sha256:${'0'.repeat(64)}`,
    })
    assert.equal(other.status, 409)
    const owner = await call(world, 'ada', 'POST', `/v1/requests/${id}/approve`, {
      statement: waiting.digest,
    })
    assert.equal(owner.status, 403)
    const approved = await call(world, 'grace', 'POST', `/v1/requests/${id}/approve`, {
      statement: waiting.digest,
    })
    assert.equal(approved.body['status'], 'approved')

    const polled = await call(world, 'migrator', 'GET', `/access/v1/requests/${id}`)
    const { approval } = polled.body['result'] as { approval: { id: string } }
    const permit = await call(
      world,
      'migrator',
      'POST',
      '/access/v1/evaluation',
      migration(task, { approval }),
    )
    assert.equal(permit.body['decision'], true, JSON.stringify(permit.body))
    const permitted = permit.body['context'] as { grant: { id: string }; approval: { id: string } }
    assert.equal(permitted.approval.id, approval.id)

    for (const path of [
      '/v1/me',
      '/v1/tasks?live=true',
      `/v1/tasks/${task}`,
      '/v1/grants?live=true',
      `/v1/grants/${permitted.grant.id}`,
      '/v1/credentials?open=true',
      `/v1/requests/${id}`,
    ]) {
      assert.equal((await call(world, 'migrator', 'GET', path)).status, 200, path)
    }
    for (const path of [
      '/v1/inventory?type=Person',
      '/v1/decisions',
      '/v1/log/head',
      '/v1/log/entries?from=0&to=5',
      '/v1/policies/current',
      '/v1/targets',
      '/readyz',
    ]) {
      assert.equal((await call(world, 'ada', 'GET', path)).status, 200, path)
    }
    assert.equal((await call(world, 'migrator', 'POST', `/v1/tasks/${task}/heartbeat`, {})).status, 200)
    const asked = await call(world, 'migrator', 'POST', '/v1/questions', migration(task))
    assert.equal(asked.status, 200)
    const ended = await call(world, 'migrator', 'POST', `/v1/tasks/${task}/end`, { status: 'completed' })
    assert.equal((ended.body['task'] as Body)['state'], 'completed')
    const after = await call(
      world,
      'migrator',
      'POST',
      '/access/v1/evaluation',
      migration(task, { approval }),
    )
    assert.equal(after.body['decision'], false)
  })

  test("B33 what is another's looks like what does not exist", async () => {
    await using world = await openWorld()
    const task = await declare(world)
    const { body } = await submit(world, task)
    const { id } = body['task'] as { id: string }
    const stranger = await call(world, 'ada', 'POST', '/v1/keys', { name: 'x', subject: 'Service/orders-ci' })
    assert.equal(stranger.status, 201)
    const as = { ...world, tokens: { ...world.tokens, migrator: stranger.body['secret'] as string } }
    for (const [real, none] of [
      [`/v1/tasks/${task}`, '/v1/tasks/task_0000'],
      [`/access/v1/requests/${id}`, '/access/v1/requests/req_0000'],
      [`/v1/requests/${id}`, '/v1/requests/req_0000'],
    ] as const) {
      const [theirs, nothing] = [
        await call(as, 'migrator', 'GET', real),
        await call(as, 'migrator', 'GET', none),
      ]
      assert.equal(theirs.status, 404, real)
      const shape = ({ body }: Answered): unknown => {
        const { detail, request_id: _id, ...rest } = body
        return { ...rest, detail: String(detail).replaceAll(/`[^`]*`/g, '`…`') }
      }
      assert.deepEqual(shape(theirs), shape(nothing))
    }
  })

  test('a revoked key is refused by the next call, and its stream ends', async () => {
    await using world = await openWorld()
    const stream = await fetch(`${world.app.url}/v1/events`, {
      headers: { authorization: `Bearer ${world.tokens.migrator}` },
    })
    assert.equal(stream.status, 200)
    const reader = stream.body!.getReader()
    const id = world.migrator.id.slice('key:'.length)
    assert.equal((await call(world, 'ada', 'DELETE', `/v1/keys/${id}`)).status, 204)
    assert.equal((await call(world, 'migrator', 'GET', '/v1/me')).status, 401)
    await reader.cancel()
  })

  test("what is wrong with what one sent is one's own mistake, in one sentence", async () => {
    await using world = await openWorld()
    const admin = { user: 'writ', password: 'canary-9d' }
    const target = await call(world, 'ada', 'POST', '/v1/targets', {
      id: 't',
      kind: 'postgres',
      config: {},
      admin,
    })
    assert.equal(target.status, 400)
    assert.equal(target.body['code'], 'ERR_INPUT_INVALID')
    assert.doesNotMatch(JSON.stringify(target.body), /canary/)
    const policies = [{ name: 'x.cedar', text: 'permit(princpal, action, resource);' }]
    const published = await call(world, 'ada', 'POST', '/v1/policies', { policies })
    assert.equal(published.status, 422)
    assert.match(String(published.body['hint']), /x\.cedar:1:8/)
    const key = await call(world, 'ada', 'POST', '/v1/keys', { name: 'x', subject: 'Agent/nobody' })
    assert.equal(key.status, 404)
  })

  test('signing out ends the session', async () => {
    await using world = await openWorld()
    assert.equal((await call(world, 'hedy', 'DELETE', '/v1/sessions/current')).status, 204)
    assert.equal((await call(world, 'hedy', 'GET', '/v1/me')).status, 401)
  })
})

describe('in a browser', () => {
  test(
    'a person signs in with a link, reads, approves; B71 hostile words stay words',
    { skip: browserMissing() },
    async () => {
      await using world = await openWorld()
      const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
      const task = await declare(world, hostile)
      const { body } = await submit(world, task, { justification: hostile })
      const { id } = body['task'] as { id: string }
      const { code } = (await call(world, 'ada', 'POST', '/v1/people/invitations', { id: 'grace' })).body as {
        code: string
      }

      await using browser = await startChromium()
      const page = await (await browser.newContext()).newPage()
      const complaints: string[] = []
      page.on('console', (message) => complaints.push(message.text()))
      page.on('pageerror', (error) => complaints.push(String(error)))
      page.on('dialog', (dialog) => complaints.push(dialog.message()))

      await page.goto(`${world.app.url}/?code=${code}`)
      assert.equal(new URL(page.url()).pathname, '/inbox')
      assert.equal(await page.evaluate('document.cookie'), '')
      await page.getByRole('link', { name: 'Review' }).click()
      assert.equal(new URL(page.url()).pathname, `/requests/${id}`)
      assert.match(await page.locator('main').innerText(), /<img src=x onerror/)
      assert.match(await page.title(), /db:migrate on orders/)
      await page.getByLabel('Comment').fill('fine')
      await page.getByRole('button', { name: 'Approve' }).click()
      assert.match(
        await page.getByRole('status').innerText(),
        /This request was approved\. It can be used for/,
      )
      await page.getByRole('button', { name: 'Sign out' }).click()
      assert.equal(new URL(page.url()).pathname, '/signin')
      await page.goto(`${world.app.url}/inbox`)
      assert.equal(new URL(page.url()).pathname, '/signin')

      // the code worked once; a wrong one says so
      await page.getByLabel('One-time code').fill(code)
      await page.getByRole('button', { name: 'Sign in' }).click()
      assert.match(await page.getByRole('alert').innerText(), /wrong, was used, or is too old/)
      assert.deepEqual(
        complaints.filter((line) => !line.includes('401')),
        [],
      )
    },
  )

  test(
    'another site can neither frame a page, nor send its forms, nor read from it',
    { skip: browserMissing() },
    async () => {
      await using world = await openWorld()
      const task = await declare(world)
      const { body } = await submit(world, task)
      const { id } = body['task'] as { id: string }
      const { digest } = (await call(world, 'grace', 'GET', `/v1/requests/${id}`)).body as { digest: string }
      await using browser = await startChromium()
      const context = await browser.newContext()
      await context.addCookies([
        {
          name: 'writ_session',
          value: world.tokens.grace,
          url: world.app.url,
          sameSite: 'Lax',
          httpOnly: true,
        },
      ])
      const page = await context.newPage()
      // `localhost` is another origin than 127.0.0.1, and answers under the host rule
      const elsewhere = world.app.url.replace('127.0.0.1', 'localhost')
      await page.route(`${elsewhere}/evil`, (route) =>
        route.fulfill({
          contentType: 'text/html',
          body: `<iframe src="${world.app.url}/inbox"></iframe>
          <form method="post" action="${world.app.url}/requests/${id}/approve"><input name="statement" value="${digest}"><button>Win</button></form>`,
        }),
      )
      await page.goto(`${elsewhere}/evil`)
      assert.equal(
        await page
          .frames()[1]
          ?.evaluate('document.body.innerText.includes("Waiting")')
          .catch(() => false),
        false,
      )
      const read = await page.evaluate(
        `fetch('${world.app.url}/v1/me', { credentials: 'include' }).then((r) => r.text(), () => 'refused')`,
      )
      assert.equal(read, 'refused')
      await page.getByRole('button', { name: 'Win' }).click()
      await page.waitForLoadState()
      const state = await call(world, 'grace', 'GET', `/v1/requests/${id}`)
      assert.equal(state.body['status'], 'pending')
    },
  )
})

test('TLS when it is given a certificate', async () => {
  const server = createHttp({
    flows: fakeFlows({}),
    callers: fakeCallers,
    config: {
      host: '127.0.0.1',
      tls: { cert: testCertificate, key: testKey },
      limits: { body: 65_536, depth: 32, rate: 100 },
    },
    clock: { now: () => 0 },
    random: (bytes) => new Uint8Array(bytes),
    log: () => undefined,
    version: '0',
  })
  await server.listen({ host: '127.0.0.1', port: 0 })
  const { port } = server.server.address() as AddressInfo
  const headers = await new Promise<NodeJS.Dict<string | string[]>>((resolve, reject) => {
    request({ host: 'localhost', family: 4, port, path: '/healthz', ca: testCertificate }, (response) => {
      response.resume()
      response.once('end', () => resolve(response.headers))
    })
      .once('error', reject)
      .end()
  })
  assert.equal(headers['strict-transport-security'], 'max-age=31536000')
  await server.close()
})
