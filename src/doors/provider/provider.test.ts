import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import type { Fetcher } from '../../identity/issuers/fetcher.ts'
import type { Programs, Waiting } from './port.ts'
import { createPrograms } from './programs.ts'
import { Storage } from './storage.ts'

const challenge = createHash('sha256').update('x'.repeat(43)).digest('base64url')

/** A server for programs alone, which reads metadata documents from `documents`; answers say who waits for the person. */
async function serve(documents: Readonly<Record<string, unknown>>) {
  const fetched: string[] = []
  const fetch: Fetcher = async (url) => {
    fetched.push(url.href)
    const body = Buffer.from(JSON.stringify(documents[url.href] ?? {}))
    return { status: 200, headers: { 'content-type': 'application/json' }, body }
  }
  const programs: Programs = createPrograms({
    config: { clientMetadata: true, registration: true },
    stands: async () => true,
    fetch,
    now: () => Date.now(),
    cookieKey: new Uint8Array(32),
    log: () => undefined,
    errorPage: ({ error }) => error,
  })
  const server = createServer((request, response) => {
    const origin = `http://${request.headers.host ?? ''}`
    if (request.url?.startsWith('/login/continue/') === true)
      void programs.waiting(request, response, origin).then((found) => response.end(JSON.stringify(found)))
    else if (!programs.handle(request, response, origin)) response.writeHead(404).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  /** What the person would be shown; an error page otherwise. */
  async function ask(client: string, redirect: string): Promise<Waiting['client'] | string> {
    const asked = new URLSearchParams({
      client_id: client,
      redirect_uri: redirect,
      response_type: 'code',
      code_challenge: challenge,
      code_challenge_method: 'S256',
    })
    const begun = await globalThis.fetch(`${url}/login/oidc/auth?${asked.toString()}`, { redirect: 'manual' })
    const to = begun.headers.get('location')
    if (to?.startsWith('/login/continue/') !== true) return begun.text()
    const cookie = begun.headers
      .getSetCookie()
      .map((line) => line.split(';')[0])
      .join('; ')
    return ((await (await globalThis.fetch(url + to, { headers: { cookie } })).json()) as Waiting).client
  }

  async function register(metadata: Readonly<Record<string, unknown>>): Promise<string> {
    const response = await globalThis.fetch(`${url}/login/oidc/reg`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token_endpoint_auth_method: 'none', ...metadata }),
    })
    const { client_id: id, error } = (await response.json()) as { client_id?: string; error?: string }
    return id ?? `refused: ${error ?? ''}`
  }

  return {
    ask,
    register,
    fetched,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}

const document = (id: string, more: Readonly<Record<string, unknown>> = {}): unknown => ({
  client_id: id,
  client_name: 'Helper',
  token_endpoint_auth_method: 'none',
  redirect_uris: ['https://helper.example/callback'],
  ...more,
})

describe('a program', () => {
  test('B7 is named by the one spelling of its metadata document, in letters that look like no others', async () => {
    const good = 'https://helper.example/client.json'
    const bad = [
      'https://HELPER.example/client.json',
      'https://helper.example:443/client.json',
      'https://hеlper.example/client.json', // a Cyrillic е
      'https://helper.example/client.json#x',
      'https://helper.example/a/../client.json',
      'https://grace@helper.example/client.json',
      'https://helper.example\u200b/client.json',
      'http://helper.example/client.json',
      `https://helper.example/${'a'.repeat(256)}`,
    ]
    await using at = await serve(Object.fromEntries([good, ...bad].map((id) => [id, document(id)])))
    const to = 'https://helper.example/callback'
    assert.deepEqual(await at.ask(good, to), { id: good, name: 'Helper', at: 'helper.example', known: false })
    for (const id of bad) assert.equal(typeof (await at.ask(id, to)), 'string', id)
    assert.deepEqual(at.fetched, [good])
  })

  test('says in its document where it may be sent, and nothing else is', async () => {
    const id = 'https://helper.example/client.json'
    await using at = await serve({
      [id]: document(id, { redirect_uris: ['http://127.0.0.1/callback'], application_type: 'native' }),
    })
    assert.deepEqual(await at.ask(id, 'http://127.0.0.1:4711/callback'), {
      id,
      name: 'Helper',
      at: '127.0.0.1:4711',
      known: false,
    })
    for (const to of [
      'http://127.0.0.1:4711/callback/x',
      'http://127.0.0.1:4711@evil.example/callback',
      'http://127.0.0.1.evil.example/callback',
      'https://127.0.0.1/callback',
      'javascript:alert(1)',
    ])
      assert.equal(typeof (await at.ask(id, to)), 'string', to)
  })

  test('registers no address that runs as a script or is anybody’s', async () => {
    await using at = await serve({})
    for (const uri of [
      'javascript:alert(1)',
      'data:text/html,x',
      'http://evil.example/callback',
      'https://evil.example/callback#x',
      'file:///etc/passwd',
    ])
      for (const type of ['web', 'native'])
        assert.match(await at.register({ application_type: type, redirect_uris: [uri] }), /^refused/, uri)
  })

  test('is shown by a name that hides nothing, and by where its answer goes', async () => {
    await using at = await serve({})
    const named = async (name: unknown, uri = 'com.example.app:/callback') => {
      const id = await at.register({ client_name: name, application_type: 'native', redirect_uris: [uri] })
      const found = await at.ask(id, uri)
      assert.ok(typeof found !== 'string', JSON.stringify(found))
      return { ...found, isItsId: found.name === id }
    }
    assert.equal((await named('Helper')).name, 'Helper')
    assert.equal((await named('Helper')).at, 'com.example.app:')
    for (const name of ['a'.repeat(61), 'x\u202egpj.exe', 'a\nb', ' ', 'admin\u200b'])
      assert.equal((await named(name)).isItsId, true, JSON.stringify(name))
    // none is the command line by saying so
    assert.equal((await named('the command line')).known, false)
  })
})

describe('what is remembered', () => {
  test('is bounded by its size too, and a flood of one kind drowns no other', async () => {
    let now = 0
    const storage = new Storage(() => now, 10_000)
    const tokens = storage.adapter('AccessToken')
    const waiting = storage.adapter('Interaction')
    await tokens.upsert('t', { grantId: 'g' }, 3_600)
    for (let i = 0; i < 100; i++) await waiting.upsert(`i${i}`, { params: { state: 'x'.repeat(1_000) } }, 600)
    assert.ok(storage.size <= 10_000)
    assert.ok(storage.get('AccessToken', 't'))
    assert.equal(storage.get('Interaction', 'i0'), undefined)
    assert.ok(storage.get('Interaction', 'i99'))
    await assert.rejects(waiting.upsert('i', { params: { state: 'x'.repeat(65_536) } }, 600), RangeError)
    // what has ended makes room by itself
    now = 600_000
    await waiting.upsert('new', {}, 600)
    assert.ok(storage.size < 100)
    await tokens.revokeByGrantId('g')
    await waiting.destroy('new')
    assert.equal(storage.size, 0)
  })
})
