/**
 * Programs that have people sign in: what they may ask, what they get, and what it is worth.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { request as httpRequest } from 'node:http'
import { describe, test } from 'node:test'
import { LOGIN } from '../../src/config/index.ts'
import { declare, requestMigration } from '../support/world.ts'
import { changed } from '../support/changed.ts'
import type { FaultWorld } from './support.ts'
import { entries, faultWorld, kindsOf, ref } from './support.ts'

const REDIRECT = 'http://127.0.0.1:9/callback'
const verifier = randomBytes(32).toString('base64url')
const challenge = createHash('sha256').update(verifier).digest('base64url')

const asked = (w: FaultWorld, over: Readonly<Record<string, string | undefined>> = {}): URL => {
  const url = new URL(`${w.app.url}/login/oidc/auth`)
  const parameters: Readonly<Record<string, string | undefined>> = {
    client_id: 'writ-cli',
    redirect_uri: REDIRECT,
    response_type: 'code',
    state: 'state-1',
    code_challenge: challenge,
    code_challenge_method: 'S256',
    ...over,
  }
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined) url.searchParams.set(name, value)
  return url
}

const cookiesOf = (response: Response): string =>
  response.headers
    .getSetCookie()
    .map((line) => line.split(';')[0])
    .join('; ')

/** Asks, and answers as somebody; where the program is told what came of it. */
async function admitted(
  w: FaultWorld,
  who: 'grace' | 'hedy',
  { answer = 'yes', ...over }: Readonly<Record<string, string | undefined>> = {},
): Promise<URL> {
  const begun = await fetch(asked(w, over), { redirect: 'manual' })
  const path = begun.headers.get('location') ?? ''
  assert.match(path, /^\/login\/continue\//)
  const cookie = cookiesOf(begun)
  const said = await fetch(w.app.url + path, {
    method: 'POST',
    redirect: 'manual',
    headers: { authorization: `Bearer ${w.tokens[who]}`, cookie, 'sec-fetch-site': 'same-origin' },
    body: new URLSearchParams({ answer }),
  })
  assert.equal(said.status, 200, await said.clone().text())
  const to = /content="0;url=([^"]+)"/.exec(await said.text())?.[1] ?? ''
  const back = await fetch(to, { redirect: 'manual', headers: { cookie } })
  return new URL(back.headers.get('location') ?? 'none:')
}

const redeem = (
  w: FaultWorld,
  code: string,
  over: Readonly<Record<string, string>> = {},
): Promise<Response> =>
  fetch(`${w.app.url}/login/oidc/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      client_id: 'writ-cli',
      redirect_uri: REDIRECT,
      code,
      code_verifier: verifier,
      ...over,
    }),
  })

async function tokenOf(w: FaultWorld, who: 'grace' | 'hedy'): Promise<string> {
  const code = (await admitted(w, who)).searchParams.get('code') ?? ''
  const answer = (await (await redeem(w, code)).json()) as { access_token: string; expires_in: number }
  assert.equal(answer.expires_in, 12 * 3_600)
  return answer.access_token
}

const as = (w: FaultWorld, token: string, path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(w.app.url + path, {
    ...init,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
  })

describe('what a program asks', () => {
  test('is code and PKCE, to where it is known to be, or it goes nowhere', async () => {
    await using w = await faultWorld({ http: true })
    for (const over of [
      { redirect_uri: 'https://evil.example/callback' },
      { redirect_uri: 'http://127.0.0.1:9/other' },
      { redirect_uri: 'http://127.0.0.1.evil.example/callback' },
      { client_id: 'nobody' },
      // neither registration nor metadata documents are on
      { client_id: 'https://program.example/client.json' },
    ]) {
      const response = await fetch(asked(w, over), { redirect: 'manual' })
      assert.equal(response.status, 400, JSON.stringify(over))
      assert.match(response.headers.get('content-security-policy') ?? '', /default-src 'none'/)
    }
    for (const [over, error] of [
      [{ code_challenge: undefined, code_challenge_method: undefined }, 'invalid_request'],
      [{ code_challenge_method: 'plain' }, 'invalid_request'],
      [{ response_type: 'token' }, 'unsupported_response_type'],
      [{ response_type: 'id_token' }, 'unsupported_response_type'],
      [{ resource: 'https://elsewhere.example/' }, 'invalid_target'],
      [{ request: 'eyJhbGciOiJub25lIn0.e30.' }, 'request_not_supported'],
      [{ request_uri: 'https://evil.example/request' }, 'request_uri_not_supported'],
    ] as const) {
      const response = await fetch(asked(w, over), { redirect: 'manual' })
      const to = response.headers.get('location') ?? (await response.text())
      assert.match(to, /error|invalid|not_supported|admitted nothing|went wrong/i, JSON.stringify(over))
      assert.doesNotMatch(
        to,
        /login\/continue|[?&#](?:code|access_token|id_token)=/,
        `${JSON.stringify(over)}: ${error}`,
      )
    }
    assert.equal((await fetch(`${w.app.url}/login/oidc/reg`, { method: 'POST', body: '{}' })).status, 404)
  })

  test('goes into the address, asked for by GET: no page of ours posts for anybody', async () => {
    await using w = await faultWorld({ http: true })
    for (const mode of ['form_post', 'fragment', 'web_message', 'jwt']) {
      const response = await fetch(asked(w, { response_mode: mode }), { redirect: 'manual' })
      const said = `${response.headers.get('location') ?? ''} ${await response.text()}`
      assert.match(said, /unsupported response_mode|unsupported_response_mode|response_mode/, mode)
      assert.doesNotMatch(said, /login\/continue|<form|<script/, mode)
    }
    const encoded = await fetch(`${asked(w).href}&%72esponse_mode=form_post`, { redirect: 'manual' })
    assert.doesNotMatch(encoded.headers.get('location') ?? '', /login\/continue/)
    const posted = await fetch(`${w.app.url}/login/oidc/auth`, {
      method: 'POST',
      redirect: 'manual',
      body: asked(w).searchParams,
    })
    assert.ok([400, 404].includes(posted.status), String(posted.status))
    assert.deepEqual(posted.headers.getSetCookie(), [])
    const plain = await fetch(asked(w, { response_mode: 'query' }), { redirect: 'manual' })
    assert.match(plain.headers.get('location') ?? '', /login\/continue/)
  })

  test('names the way to sign in, which comes first on the page; what is wrong is told to the person', async () => {
    await using w = await faultWorld({ http: true })
    const begun = await fetch(asked(w, { provider: 'corp' }), { redirect: 'manual' })
    const at = begun.headers.get('location') ?? ''
    const waiting = await fetch(w.app.url + at, {
      redirect: 'manual',
      headers: { cookie: cookiesOf(begun), 'sec-fetch-site': 'none' },
    })
    const to = new URL(waiting.headers.get('location') ?? '', w.app.url)
    assert.deepEqual(
      [to.pathname, to.searchParams.get('next'), to.searchParams.get('provider')],
      ['/signin', at, 'corp'],
    )
    const headers = { accept: 'text/html' }
    for (const [over, title] of [
      [{ client_id: 'nobody' }, 'Writ does not know this program'],
      [{ redirect_uri: 'https://evil.example/' }, 'The program wants its answer somewhere else'],
    ] as const)
      assert.match(await (await fetch(asked(w, over), { headers })).text(), new RegExp(`<h1>${title}</h1>`))
    const ended = await (await fetch(`${w.app.url}/login/oidc/auth/nothing`, { headers })).text()
    assert.match(ended, /<h1>This sign-in has ended<\/h1>/)
    const nothing = await fetch(`${w.app.url}/login/oidc/nothing`, { headers })
    assert.equal(nothing.status, 404)
    assert.match(await nothing.text(), /<h1>There is nothing here<\/h1>/)
  })

  test('cookies are its own, of this browser, and not for scripts', async () => {
    await using w = await faultWorld({ http: true })
    const begun = await fetch(asked(w), { redirect: 'manual' })
    const cookies = begun.headers.getSetCookie()
    assert.ok(cookies.length > 0)
    for (const cookie of cookies) assert.match(cookie, /; httponly/i)
    for (const cookie of cookies) assert.match(cookie, /; samesite=lax/i)
  })

  test('names of this machine that somebody made up take the place of none that is used', async () => {
    await using w = await faultWorld({ http: true })
    const at = async (host: string): Promise<number | undefined> => {
      const path = asked(w).href.slice(w.app.url.length)
      const sent = httpRequest(w.app.url, { path, headers: { host } }).end()
      const [response] = (await once(sent, 'response')) as [IncomingMessage]
      response.resume()
      return response.statusCode
    }
    for (let port = 1; port <= 6; port++) assert.equal(await at(`127.0.0.1:${port}`), 303)
    assert.equal(await at(new URL(w.app.url).host), 303)
    assert.equal(await at('evil.example'), 403)
  })

  test('a metadata document is never fetched from a private address', async () => {
    await using w = await faultWorld({ http: true, config: { login: { ...LOGIN, clientMetadata: true } } })
    for (const id of [
      'https://127.0.0.1/client.json',
      'https://[::1]/client.json',
      'https://localhost/c',
      'https://10.0.0.1/c',
    ]) {
      const response = await fetch(asked(w, { client_id: id }), { redirect: 'manual' })
      assert.equal(response.status, 400, id)
    }
  })

  test('off, there is nothing', async () => {
    await using w = await faultWorld({ http: true, config: { login: { ...LOGIN, server: false } } })
    assert.equal((await fetch(asked(w), { redirect: 'manual' })).status, 404)
    const metadata = '/.well-known/oauth-authorization-server/login/oidc'
    assert.equal((await fetch(w.app.url + metadata)).status, 404)
  })
})

describe('what a program gets', () => {
  test('nothing without a yes, and a code that is its own and good once', async () => {
    await using w = await faultWorld({ http: true })
    const no = await admitted(w, 'grace', { answer: 'no' })
    assert.equal(no.searchParams.get('error'), 'access_denied')
    assert.equal(no.searchParams.get('state'), 'state-1')
    assert.equal(no.searchParams.get('iss'), `${w.app.url}/login/oidc`)
    assert.ok(!(await kindsOf(w.app)).includes('program.admitted'))

    const wrongs: readonly Readonly<Record<string, string>>[] = [
      { code_verifier: randomBytes(32).toString('base64url') },
      { redirect_uri: 'http://127.0.0.1:10/callback' },
      { client_id: 'nobody' },
      { grant_type: 'refresh_token' },
      { grant_type: 'client_credentials' },
    ]
    for (const over of wrongs) {
      const code = (await admitted(w, 'grace')).searchParams.get('code') ?? ''
      const answer = await redeem(w, code, over)
      assert.ok([400, 401].includes(answer.status), `${JSON.stringify(over)}: ${answer.status}`)
      assert.doesNotMatch(await answer.text(), /access_token/)
    }
    const last = (await entries(w.app)).findLast(({ kind }) => kind === 'program.admitted')
    assert.equal(last?.['person'], 'Person/grace')
    assert.deepEqual(last['program'], { id: 'writ-cli', name: 'the command line', at: '127.0.0.1:9' })
  })

  test('one scope, whatever it asks for', async () => {
    await using w = await faultWorld({ http: true })
    const code = (await admitted(w, 'grace', { scope: 'openid profile offline_access' })).searchParams.get(
      'code',
    )
    const answer = (await (await redeem(w, code ?? '')).json()) as Record<string, unknown>
    assert.deepEqual(Object.keys(answer).sort(), ['access_token', 'expires_in', 'scope', 'token_type'])
    assert.equal(answer['scope'], 'writ')
  })

  test('somebody else’s browser answers for nobody', async () => {
    await using w = await faultWorld({ http: true })
    const begun = await fetch(asked(w), { redirect: 'manual' })
    const path = begun.headers.get('location') ?? ''
    const yes = (headers: Record<string, string>) =>
      fetch(w.app.url + path, {
        method: 'POST',
        redirect: 'manual',
        headers: { accept: 'text/html', ...headers },
        body: new URLSearchParams({ answer: 'yes' }),
      })
    const authorization = `Bearer ${w.tokens.grace}`
    // no cookie of the sign-in; a page of another site; nobody signed in; a machine
    assert.equal((await yes({ authorization, 'sec-fetch-site': 'same-origin' })).status, 404)
    assert.equal(
      (await yes({ authorization, cookie: cookiesOf(begun), 'sec-fetch-site': 'cross-site' })).status,
      403,
    )
    assert.equal((await yes({ cookie: cookiesOf(begun), 'sec-fetch-site': 'same-origin' })).status, 303)
    const machine = {
      authorization: `Bearer ${w.tokens.migrator}`,
      cookie: cookiesOf(begun),
      'sec-fetch-site': 'same-origin',
    }
    assert.equal((await yes(machine)).status, 403)
    assert.ok(!(await kindsOf(w.app)).includes('program.admitted'))
  })

  test('its token approves and denies nothing, and ends with the person', async () => {
    await using w = await faultWorld({ http: true })
    const token = await tokenOf(w, 'grace')
    const me = (await (await as(w, token, '/v1/me')).json()) as { subject: string }
    assert.equal(me.subject, 'Person/grace')
    const request = await requestMigration(w, await declare(w))
    for (const verb of ['approve', 'deny']) {
      const body = JSON.stringify({ statement: request.digest })
      assert.equal(
        (await as(w, token, `/v1/requests/${request.id}/${verb}`, { method: 'POST', body })).status,
        403,
      )
    }
    assert.equal((await w.app.flows.request(w.grace, request.id)).status, 'pending')
    // as DPoP, changed, or of a person who has ended
    const dpop = await fetch(`${w.app.url}/v1/me`, { headers: { authorization: `DPoP ${token}` } })
    assert.equal(dpop.status, 401)
    assert.equal((await as(w, changed(token), '/v1/me')).status, 401)
    const code = (await admitted(w, 'grace')).searchParams.get('code') ?? ''
    await w.app.flows.deleteEntity(w.ada, ref('Person/grace'))
    assert.equal((await as(w, token, '/v1/me')).status, 401)
    assert.notEqual((await redeem(w, code)).status, 200)
    await w.app.flows.putEntities(w.ada, [{ type: 'Person', id: 'grace' }])
    assert.equal((await as(w, token, '/v1/me')).status, 401)
  })

  test('it ends after half a day, when it is revoked, and with the process', async () => {
    await using w = await faultWorld({ http: true })
    const [one, two] = [await tokenOf(w, 'hedy'), await tokenOf(w, 'hedy')]
    const revoked = await fetch(`${w.app.url}/login/oidc/token/revocation`, {
      method: 'POST',
      body: new URLSearchParams({ token: one, client_id: 'writ-cli' }),
    })
    assert.equal(revoked.status, 200)
    assert.equal((await as(w, one, '/v1/me')).status, 401)
    assert.equal((await as(w, two, '/v1/me')).status, 200)
    w.clock.advance(12 * 3_600_000)
    assert.equal((await as(w, two, '/v1/me')).status, 401)
  })
})

describe('what a person has let in', () => {
  const page = async (w: FaultWorld, who: 'grace' | 'hedy'): Promise<string> => {
    const { port } = new URL(w.app.url)
    const headers = {
      authorization: `Bearer ${w.tokens[who]}`,
      accept: 'text/html',
      host: `localhost:${port}`,
    }
    return (await fetch(`${w.app.url}/passkeys`, { headers })).text()
  }
  const idsOn = (html: string): string[] =>
    [...html.matchAll(/action="\/programs\/end"><input type="hidden" name="id" value="([\w-]+)"/g)].map(
      ([, id = '']) => id,
    )
  const end = (w: FaultWorld, who: 'grace' | 'hedy', id: string): Promise<Response> =>
    fetch(`${w.app.url}/programs/end`, {
      method: 'POST',
      redirect: 'manual',
      headers: {
        authorization: `Bearer ${w.tokens[who]}`,
        accept: 'text/html',
        'sec-fetch-site': 'same-origin',
      },
      body: new URLSearchParams({ id }),
    })

  test('is shown to that person alone: since when, until when, and whether it was used', async () => {
    await using w = await faultWorld({ http: true })
    assert.doesNotMatch(await page(w, 'grace'), /Programs/)
    const since = new Date(w.clock.wall()).toISOString().slice(0, 19)
    const until = new Date(w.clock.wall() + 12 * 3_600_000).toISOString().slice(0, 19)
    const token = await tokenOf(w, 'grace')
    const before = await page(w, 'grace')
    assert.match(before, /The command line/)
    assert.match(before, new RegExp(`since <time datetime="${since}`))
    assert.match(before, new RegExp(`until <time datetime="${until}`))
    assert.match(before, /not used yet/)
    w.clock.advance(60_000)
    assert.equal((await as(w, token, '/v1/me')).status, 200)
    const used = new Date(w.clock.wall()).toISOString().slice(0, 19)
    assert.match(await page(w, 'grace'), new RegExp(`used <time datetime="${used}`))
    assert.deepEqual(idsOn(await page(w, 'hedy')), [])
  })

  test('B33 is ended by that person alone, at once, and on the record', async () => {
    await using w = await faultWorld({ http: true })
    const [one, two] = [await tokenOf(w, 'grace'), await tokenOf(w, 'grace')]
    const [latest = '', first = ''] = idsOn(await page(w, 'grace'))
    assert.notEqual(latest, first)
    for (const [who, id] of [
      ['hedy', latest],
      ['hedy', 'x'.repeat(22)],
    ] as const) {
      const refused = await end(w, who, id)
      assert.equal(refused.status, 403)
      assert.match(await refused.text(), /This program has ended already/)
    }
    assert.equal((await as(w, two, '/v1/me')).status, 200)
    assert.ok(!(await kindsOf(w.app)).includes('program.ended'))

    assert.equal((await end(w, 'grace', latest)).status, 303)
    assert.equal((await as(w, two, '/v1/me')).status, 401)
    assert.equal((await as(w, one, '/v1/me')).status, 200)
    assert.deepEqual(idsOn(await page(w, 'grace')), [first])
    assert.equal((await end(w, 'grace', latest)).status, 403)
    const ends = (await entries(w.app)).filter(({ kind }) => kind === 'program.ended')
    assert.equal(ends.length, 1)
    assert.equal(ends[0]?.['person'], 'Person/grace')
    assert.deepEqual(ends[0]['program'], { id: 'writ-cli', name: 'the command line', at: '127.0.0.1:9' })

    // neither a token of a program nor another page ends anything
    const byProgram = await fetch(`${w.app.url}/programs/end`, {
      method: 'POST',
      headers: { authorization: `Bearer ${one}`, accept: 'text/html' },
      body: new URLSearchParams({ id: first }),
    })
    assert.equal(byProgram.status, 403)
    assert.equal((await as(w, one, '/v1/me')).status, 200)
  })

  test('is ended before it has fetched its token, too', async () => {
    await using w = await faultWorld({ http: true })
    const code = (await admitted(w, 'grace')).searchParams.get('code') ?? ''
    const html = await page(w, 'grace')
    assert.match(html, /has not fetched its token/)
    assert.equal((await end(w, 'grace', idsOn(html)[0] ?? '')).status, 303)
    assert.notEqual((await redeem(w, code)).status, 200)
    assert.deepEqual(idsOn(await page(w, 'grace')), [])
  })

  test('C2 what it had asked before is not decided after', async () => {
    await using w = await faultWorld({ http: true })
    const ending = w.app.flows.signIns.programEnded(
      w.grace,
      { id: 'writ-cli', name: 'the command line', at: '127.0.0.1:9' },
      'program:writ-cli Person/grace',
    )
    assert.ok(w.app.decision.barrier.bars('caller', 'program:writ-cli Person/grace'))
    await ending
    assert.ok(!w.app.decision.barrier.bars('caller', 'program:writ-cli Person/grace'))
  })
})
