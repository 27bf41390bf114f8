/**
 * Signing in at a provider, and programs that have people sign in here: in a real browser, with independent clients.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import * as oauth from 'oauth4webapi'
import type { Page } from 'playwright-core'
import { LOGIN } from '../../src/config/index.ts'
import { isWritError } from '../../src/model/errors.ts'
import { Authenticator } from '../support/authenticator.ts'
import { browserMissing, startChromium } from '../support/chromium.ts'
import { Cli } from '../support/cli.ts'
import type { Idp } from '../support/idp.ts'
import { startIdp, through } from '../support/idp.ts'
import { shoot } from '../support/screenshots.ts'
import type { World } from '../support/world.ts'
import { callerOf, openWorld, ref } from '../support/world.ts'
import { changed } from '../support/changed.ts'

const loginAt = (idp: Idp) => ({ config: { login: { ...LOGIN, providers: [idp.login] } } })
const callbackAt = (world: World): string => `${world.app.url}/login/callback/test`

const refused = (error: unknown): boolean => {
  assert.ok(isWritError(error, 'ERR_UNAUTHENTICATED'), String(error))
  return true
}

describe('at a provider', () => {
  test('whose account is linked is signed in; state, browser, issuer and redirect are those it began with', async () => {
    await using idp = await startIdp()
    await using world = await openWorld(loginAt(idp))
    const { signIns, accounts } = world.app.flows
    await accounts.link(world.ada, { issuer: 'test', id: 'u-grace' }, ref('Person/grace'))
    idp.account = 'u-grace'
    const begin = () => signIns.begin({ provider: 'test', redirect: callbackAt(world) })

    const one = await begin()
    const back = await through(one.url)
    const other = await begin()
    // another browser, or none; an answer without or with another state; one of another issuer; another address
    await assert.rejects(signIns.finish(undefined, back), refused)
    await assert.rejects(signIns.finish(changed(one.ticket), back), refused)
    await assert.rejects(signIns.finish(other.ticket, back), refused)
    for (const change of [
      (url: URL) => url.searchParams.set('state', 'x'),
      (url: URL) => url.searchParams.delete('state'),
      (url: URL) => url.searchParams.set('iss', 'https://evil.example'),
      (url: URL) => url.searchParams.delete('iss'),
      (url: URL) => url.searchParams.append('iss', idp.issuer),
      (url: URL) => (url.pathname = '/login/callback/other'),
      (url: URL) => url.searchParams.set('code', 'x'),
    ]) {
      const changed = new URL(back)
      change(changed)
      await assert.rejects(signIns.finish(one.ticket, changed), refused, changed.href)
    }
    // the provider takes a wrong code for a reason to forget the right one
    const two = await begin()
    const again = await through(two.url)
    const signed = await signIns.finish(two.ticket, again)
    assert.ok('token' in signed)
    const grace = await callerOf(world.app, signed.token.expose())
    assert.equal(grace.subject.id, 'grace')
    assert.equal(grace.auth?.provider, 'test')
    await assert.rejects(signIns.finish(two.ticket, again), refused)

    // what a person links in their own session; what an administrator ends
    idp.account = 'u-hedy'
    const link = await signIns.begin({ provider: 'test', redirect: callbackAt(world) }, world.hedy)
    const linked = await signIns.finish(link.ticket, await through(link.url))
    assert.ok('linked' in linked)
    assert.equal(linked.linked.person.id, 'hedy')
    const theft = await signIns.begin({ provider: 'test', redirect: callbackAt(world) }, world.grace)
    const there = await through(theft.url)
    await assert.rejects(signIns.finish(theft.ticket, there), (error) => isWritError(error, 'ERR_CONFLICT'))
    await accounts.unlink(world.ada, { issuer: 'test', id: 'u-hedy' })
    const gone = await begin()
    assert.ok('unlinked' in (await signIns.finish(gone.ticket, await through(gone.url))))

    // a locked person, and one made anew under the same name
    await world.app.flows.locks.lock(world.ada, { what: 'subject', about: 'Person/grace', reason: 'left' })
    idp.account = 'u-grace'
    const locked = await begin()
    await assert.rejects(signIns.finish(locked.ticket, await through(locked.url)), refused)
  })

  test('B8 a code links no account for who has passkeys, nor one that is another’s; it signs in all the same', async () => {
    await using idp = await startIdp()
    await using world = await openWorld(loginAt(idp))
    const { flows } = world.app
    const arrive = async (account: string): Promise<string> => {
      idp.account = account
      const begun = await flows.signIns.begin({ provider: 'test', redirect: callbackAt(world) })
      const finished = await flows.signIns.finish(begun.ticket, await through(begun.url))
      assert.ok('unlinked' in finished)
      return finished.ticket
    }
    const code = async (id: string): Promise<string> => (await flows.invite(world.ada, { id })).code.expose()
    const accounts = async (id: string) =>
      (await flows.accounts.list(world.ada, { person: ref(`Person/${id}`) })).items.map(
        ({ account }) => account,
      )

    const origin = world.app.url.replace('127.0.0.1', 'localhost')
    const fresh = await callerOf(world.app, (await flows.redeem(await code('grace'))).token.expose())
    const offer = await flows.passkeys.forRegistration(fresh, origin)
    await flows.passkeys.register(fresh, new Authenticator(origin).create(offer))
    // somebody got hold of a code: they have a session, not the door
    const thief = await flows.signIns.linkByCode(await arrive('u-thief'), await code('grace'))
    assert.equal(thief.unlinked?.problem, 'passkey')
    assert.equal((await callerOf(world.app, thief.token.expose())).subject.id, 'grace')
    assert.deepEqual(await accounts('grace'), [])
    await arrive('u-thief')

    // who has none has nothing to prove
    const ticket = await arrive('u-hedy')
    assert.equal((await flows.signIns.linkByCode(ticket, await code('hedy'))).unlinked, undefined)
    assert.deepEqual(await accounts('hedy'), ['u-hedy'])
    const other = await flows.signIns.linkByCode(ticket, await code('mary'))
    assert.ok(isWritError(other.unlinked, 'ERR_CONFLICT'))
    assert.equal(other.person.id, 'mary')
    assert.deepEqual([await accounts('mary'), await accounts('hedy')], [[], ['u-hedy']])
    await assert.rejects(flows.signIns.linkByCode(ticket, 'wrong-wrong-wrong-wrong'), refused)
  })

  test(
    'in a browser: unknown, linked by a code, signed in, and back where one was going',
    { skip: browserMissing() },
    async () => {
      await using idp = await startIdp()
      await using world = await openWorld(loginAt(idp))
      await using browser = await startChromium()
      const page = await (await browser.newContext()).newPage()
      const complaints = listen(page)
      idp.account = 'u-1815'

      await page.goto(`${world.app.url}/signin`)
      await shoot(page, 'signin-providers')
      await page.getByRole('button', { name: 'Sign in with Test Inc' }).click()
      await page.getByRole('heading', { name: 'You are not known here yet' }).waitFor()
      await shoot(page, 'unlinked')
      // nobody, whatever they try
      await page.goto(`${world.app.url}/inbox`)
      assert.equal(new URL(page.url()).pathname, '/signin')
      assert.equal((await page.request.get(`${world.app.url}/v1/me`)).status(), 401)

      await page.getByRole('button', { name: 'Sign in with Test Inc' }).click()
      await page.getByLabel('One-time code').fill('0'.repeat(20))
      await page.getByRole('button', { name: 'This is me' }).click()
      assert.match(await page.getByRole('alert').innerText(), /wrong, was used, or is too old/)
      const { code } = await world.app.flows.invite(world.ada, { id: 'lovelace' })
      await page.getByLabel('One-time code').fill(code.expose())
      await page.getByRole('button', { name: 'This is me' }).click()
      await page.waitForURL('**/inbox')
      await page.goto(`${world.app.url}/passkeys`)
      assert.match(await page.locator('main').innerText(), /u-1815/)
      await shoot(page, 'account')
      await page.getByRole('button', { name: 'Sign out' }).click()

      await page.getByRole('button', { name: 'Sign in with Test Inc' }).click()
      await page.waitForURL('**/inbox')
      assert.equal(await page.evaluate('document.cookie'), '')
      idp.account = undefined
      await page.getByRole('button', { name: 'Sign out' }).click()
      await page.getByRole('button', { name: 'Sign in with Test Inc' }).click()
      await page.getByRole('heading', { name: 'That did not work' }).waitFor()
      await shoot(page, 'failed')
      assert.deepEqual(
        complaints.filter((line) => !/40[13]/.test(line)),
        [],
      )
    },
  )
})

function listen(page: Page): string[] {
  const complaints: string[] = []
  page.on('console', (message) => complaints.push(message.text()))
  page.on('pageerror', (error) => complaints.push(String(error)))
  return complaints
}

/** A program on this machine that waits for its browser to come back. */
async function waitingProgram() {
  const came = Promise.withResolvers<URL>()
  const server = createServer((request, response) => {
    response.end('thanks')
    if (request.url?.startsWith('/callback') === true)
      came.resolve(new URL(request.url, `http://127.0.0.1:${(server.address() as AddressInfo).port}`))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    redirect: `http://127.0.0.1:${(server.address() as AddressInfo).port}/callback`,
    came: came.promise,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}

const insecure = { [oauth.allowInsecureRequests]: true }

async function metadata(world: World): Promise<oauth.AuthorizationServer> {
  const issuer = new URL(`${world.app.url}/login/oidc`)
  const response = await oauth.discoveryRequest(issuer, { ...insecure, algorithm: 'oauth2' })
  return oauth.processDiscoveryResponse(issuer, response)
}

describe('programs', { skip: browserMissing() }, () => {
  test('a person lets the command line in; its token is worth what the person is', async () => {
    await using world = await openWorld()
    await using browser = await startChromium()
    await using program = await waitingProgram()
    const server = await metadata(world)
    assert.deepEqual(server.code_challenge_methods_supported, ['S256'])
    assert.deepEqual(server.response_types_supported, ['code'])
    assert.equal(server.registration_endpoint, undefined)
    const client: oauth.Client = { client_id: 'writ-cli' }
    const verifier = oauth.generateRandomCodeVerifier()
    const state = oauth.generateRandomState()
    const url = new URL(server.authorization_endpoint ?? '')
    const parameters = {
      client_id: 'writ-cli',
      redirect_uri: program.redirect,
      response_type: 'code',
      state,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      resource: world.app.url,
    }
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)

    // what asks wrongly goes nowhere
    for (const [name, value] of [
      ['redirect_uri', 'https://evil.example/callback'],
      ['client_id', 'nobody'],
    ] as const) {
      const wrong = new URL(url)
      wrong.searchParams.set(name, value)
      const response = await fetch(wrong, { redirect: 'manual', headers: { accept: 'text/html' } })
      assert.equal(response.status, 400, await response.text())
    }
    const plain = new URL(url)
    plain.searchParams.delete('code_challenge')
    const sent = await fetch(plain, { redirect: 'manual' })
    assert.match(sent.headers.get('location') ?? (await sent.text()), /error=invalid_request/)

    const { code } = await world.app.flows.invite(world.ada, { id: 'grace' })
    const page = await (await browser.newContext()).newPage()
    const complaints = listen(page)
    await page.goto(url.href)
    assert.equal(new URL(page.url()).pathname, '/signin')
    await page.getByLabel('One-time code').fill(code.expose())
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('heading', { name: /Sign in the command line/ }).waitFor()
    await shoot(page, 'program-cli')
    await page.getByRole('button', { name: /Yes/ }).click()
    const answer = oauth.validateAuthResponse(server, client, await program.came, state)
    const response = await oauth.authorizationCodeGrantRequest(
      server,
      client,
      oauth.None(),
      answer,
      program.redirect,
      verifier,
      insecure,
    )
    const tokens = await oauth.processAuthorizationCodeResponse(server, client, response)
    assert.equal(tokens.refresh_token, undefined)
    const me = async () =>
      fetch(`${world.app.url}/v1/me`, { headers: { authorization: `Bearer ${tokens.access_token}` } })
    const found = await me()
    assert.equal(found.status, 200)
    assert.match(await found.text(), /grace/)
    // it is no session of a person
    const approval = await fetch(`${world.app.url}/inbox`, {
      headers: { authorization: `Bearer ${tokens.access_token}` },
      redirect: 'manual',
    })
    assert.equal(approval.status, 403)
    // the code was good once, and its second use ends what came of it (RFC 6749 §4.1.2)
    const second = await oauth.authorizationCodeGrantRequest(
      server,
      client,
      oauth.None(),
      answer,
      program.redirect,
      verifier,
      insecure,
    )
    assert.equal(second.status, 400)
    assert.equal((await me()).status, 401)
    assert.deepEqual(
      complaints.filter((line) => !/40[013]/.test(line)),
      [],
    )
  })

  test('`writ login` by the page of the server', async () => {
    await using world = await openWorld()
    await using browser = await startChromium()
    using cli = new Cli({ WRIT_URL: world.app.url })
    const running = cli.start(['login', '--oidc', 'writ', '--no-browser'])
    const [, url = ''] = await running.says(/(http:\S+\/login\/oidc\/auth\?\S+)\n/)
    const context = await browser.newContext()
    await context.addCookies([
      {
        name: 'writ_session',
        value: world.tokens.grace,
        url: world.app.url,
        sameSite: 'Strict',
        httpOnly: true,
      },
    ])
    const page = await context.newPage()
    await page.goto(url)
    await page.getByRole('button', { name: /Yes/ }).click()
    const ran = await running.done
    assert.equal(ran.code, 0, ran.stderr)
    assert.equal(ran.stdout, 'Person/grace\n')
    const status = await cli.run(['status'])
    assert.match(status.stdout, /you are Person\/grace/)
  })

  test('another program is an agent that acts for the person; locking the person ends it', async () => {
    await using world = await openWorld({ config: { login: { ...LOGIN, registration: true } } })
    await using browser = await startChromium()
    await using program = await waitingProgram()
    const server = await metadata(world)
    const registered = await fetch(server.registration_endpoint ?? '', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        client_name: '<b>Helpful</b> assistant',
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code'],
        response_types: ['code'],
        redirect_uris: [program.redirect],
      }),
    })
    assert.equal(registered.status, 201, await registered.clone().text())
    const { client_id: id } = (await registered.json()) as { client_id: string }
    const client: oauth.Client = { client_id: id }
    const verifier = oauth.generateRandomCodeVerifier()
    const url = new URL(server.authorization_endpoint ?? '')
    const parameters = {
      client_id: id,
      redirect_uri: program.redirect,
      response_type: 'code',
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    }
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
    const context = await browser.newContext()
    await context.addCookies([
      {
        name: 'writ_session',
        value: world.tokens.grace,
        url: world.app.url,
        sameSite: 'Strict',
        httpOnly: true,
      },
    ])
    const page = await context.newPage()
    // from another site: the session cookie does not come along, and is found all the same
    await page.route('https://agent.example/', (route) =>
      route.fulfill({
        contentType: 'text/html',
        body: `<a href="${url.href.replaceAll('&', '&amp;')}">connect</a>`,
      }),
    )
    await page.goto('https://agent.example/')
    await page.getByRole('link', { name: 'connect' }).click()
    await page.getByRole('heading', { name: 'Let a program in?' }).waitFor()
    assert.match(await page.locator('main').innerText(), /<b>Helpful<\/b> assistant/)
    await shoot(page, 'program')
    await page.getByRole('button', { name: /Yes/ }).click()
    const answer = oauth.validateAuthResponse(server, client, await program.came, oauth.expectNoState)
    const response = await oauth.authorizationCodeGrantRequest(
      server,
      client,
      oauth.None(),
      answer,
      program.redirect,
      verifier,
      insecure,
    )
    const tokens = await oauth.processAuthorizationCodeResponse(server, client, response)
    const me = () =>
      fetch(`${world.app.url}/v1/me`, { headers: { authorization: `Bearer ${tokens.access_token}` } })
    assert.match(await (await me()).text(), new RegExp(id))
    await world.app.flows.locks.lock(world.ada, {
      what: 'subject',
      about: 'Person/grace',
      reason: 'lost phone',
    })
    assert.equal((await me()).status, 401)
  })
})
