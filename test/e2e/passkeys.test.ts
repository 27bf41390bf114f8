/**
 * Passkeys in a real browser with a virtual authenticator: made, signed in with, and asked for one approval alone.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Browser, BrowserContext, CDPSession, Page } from 'playwright-core'
import type { Caller } from '../../src/model/access.ts'
import { isWritError } from '../../src/model/errors.ts'
import type { AccessRequest } from '../../src/model/request.ts'
import { browserMissing, startChromium } from '../support/chromium.ts'
import { shoot } from '../support/screenshots.ts'
import type { World } from '../support/world.ts'
import { attempt, callerOf, migration, openWorld, ref, starterPolicies } from '../support/world.ts'

type Device = Readonly<{ cdp: CDPSession; id: string }>

async function device(page: Page): Promise<Device> {
  const cdp = await page.context().newCDPSession(page)
  await cdp.send('WebAuthn.enable')
  const { authenticatorId: id } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  })
  return { cdp, id }
}

/** Passkeys are for names: the server on this machine under the one it has. */
const named = (world: World): string => world.app.url.replace('127.0.0.1', 'localhost')

async function signedIn(world: World, browser: Browser, token: string): Promise<Page> {
  const context: BrowserContext = await browser.newContext()
  await context.addCookies([
    { name: 'writ_session', value: token, url: named(world), sameSite: 'Strict', httpOnly: true },
  ])
  return context.newPage()
}

async function requested(world: World, reason: string): Promise<AccessRequest> {
  const { flows } = world.app
  const task = await flows.declareTask(world.migrator, {
    purpose: 'add an index',
    reason,
    scope: { actions: ['db:migrate'], resources: [ref('Database/orders')] },
  })
  const { id } = await flows.evaluate(world.migrator, migration(task.id))
  return flows.submit(world.migrator, {
    ...migration(task.id),
    denial: { evaluationId: id, expiresAt: 0 },
  })
}

async function register(page: Page, world: World, name: string): Promise<void> {
  await page.goto(`${named(world)}/passkeys`)
  await page.getByRole('button', { name: /Add (a|another) passkey/ }).click()
  await page.getByLabel('Name').fill(name)
  await page.getByRole('button', { name: 'Make the passkey' }).click()
  await page.getByText(name).waitFor()
}

/** What the form of a page would send, caught instead of sent. */
async function answered(page: Page, button: string | RegExp): Promise<{ nonce: string; answer: string }> {
  const caught = Promise.withResolvers<string>()
  await page.route('**/*', (route) => {
    if (route.request().method() !== 'POST') return route.continue()
    caught.resolve(route.request().postData() ?? '')
    return route.abort()
  })
  await page.getByRole('button', { name: button }).click()
  const fields = new URLSearchParams(await caught.promise)
  await page.unroute('**/*')
  return { nonce: fields.get('nonce') ?? '', answer: fields.get('answer') ?? '' }
}

const refusedAs = (problem: string) => (error: unknown) => {
  assert.ok(isWritError(error), String(error))
  assert.equal(error.problem, problem, error.message)
  return true
}

async function kinds(world: World, kind: string): Promise<Record<string, unknown>[]> {
  const { size } = await world.app.store.log.head()
  return (await world.app.store.log.entries(0, size))
    .map(
      (entry) =>
        JSON.parse(Buffer.from('bytes' in entry ? entry.bytes : []).toString()) as Record<string, unknown>,
    )
    .filter((entry) => entry['kind'] === kind)
}

describe('passkeys', { skip: browserMissing() }, () => {
  test('S07 B23 made, signed in with, and good for the one approval it was used for', async () => {
    await using world = await openWorld({
      policies: [
        ...starterPolicies(),
        {
          name: 'close.cedar',
          text: 'permit (principal, action == Action::"ledger:close", resource) when { context.proof.reauth };',
        },
      ],
    })
    await using browser = await startChromium()
    const page = await signedIn(world, browser, world.tokens.grace)
    const complaints: string[] = []
    page.on('console', (message) => complaints.push(message.text()))
    page.on('pageerror', (error) => complaints.push(String(error)))
    const { cdp, id: authenticatorId } = await device(page)

    await page.goto(`${named(world)}/passkeys`)
    await shoot(page, 'passkeys-none')
    await page.getByRole('button', { name: 'Add a passkey' }).click()
    await shoot(page, 'passkeys-new')
    await register(page, world, 'laptop')
    await shoot(page, 'passkeys-one')

    // signing in with it
    await page.getByRole('button', { name: 'Sign out' }).click()
    assert.equal(new URL(page.url()).pathname, '/signin')
    await shoot(page, 'signin')
    await page.getByRole('button', { name: 'Sign in with a passkey' }).click()
    await page.waitForURL('**/inbox')
    const [began] = await kinds(world, 'session.began')
    assert.equal(began?.['provider'], 'passkey')
    assert.equal(began['person'], 'Person/grace')
    const cookie = (await page.context().cookies()).find(({ name }) => name === 'writ_session')
    const grace: Caller = await callerOf(world.app, cookie?.value ?? '')
    assert.equal(grace.auth?.acr, 'phr')

    // that login, fresh as it is, approves nothing sensitive by itself
    const { flows } = world.app
    const one = await requested(world, 'INC-1')
    const two = await requested(world, 'INC-2')
    await assert.rejects(flows.approve(grace, one.id, { statement: one.digest }), refusedAs('passkey'))

    await page.goto(`${named(world)}/requests/${one.id}`)
    await page.getByLabel('Comment').fill('looked at it')
    await page.getByRole('button', { name: 'Approve' }).click()
    await page.getByRole('heading', { name: 'Approve with your passkey' }).waitFor()
    await shoot(page, 'confirm')
    const origin = named(world)
    const caught = { ...(await answered(page, /Use passkey/)), origin }

    // it is for this request, by this person, at this address
    await assert.rejects(
      flows.approve(grace, two.id, { statement: two.digest, passkey: caught }),
      refusedAs('passkey_refused'),
    )
    await assert.rejects(
      flows.approve(world.hedy, one.id, { statement: one.digest, passkey: caught }),
      refusedAs('passkey_refused'),
    )
    await assert.rejects(flows.passkeys.ofProof(grace, one, caught), refusedAs('passkey_refused'))
    await assert.rejects(flows.signIns.byPasskey(caught), refusedAs('passkey_refused'))
    await assert.rejects(
      flows.approve(grace, one.id, {
        statement: one.digest,
        passkey: { ...caught, origin: 'http://localhost:1' },
      }),
      refusedAs('no_party'),
    )
    assert.equal((await flows.request(grace, one.id)).status, 'pending')
    const approved = await flows.approve(grace, one.id, { statement: one.digest, passkey: caught })
    assert.equal(approved.status, 'approved')
    assert.equal(approved.approvals[0]?.passkey, JSON.parse(caught.answer).id)

    // by the page as people do it
    await page.goto(`${named(world)}/requests/${two.id}`)
    await page.getByRole('button', { name: 'Approve' }).click()
    await page.getByRole('button', { name: /Use passkey/ }).click()
    await page.getByText('This request was approved.').waitFor()
    const [, given] = await kinds(world, 'approval.given')
    assert.equal(given?.['passkey'], approved.approvals[0]?.passkey)

    // the evidence that it is really the person who asks: once
    const closing = attempt('Person/grace', 'ledger:close', 'Database/payments')
    const { id: denied } = await flows.evaluate(grace, closing)
    const own = await flows.submit(grace, { ...closing, denial: { evaluationId: denied, expiresAt: 0 } })
    await page.goto(`${named(world)}/inbox`)
    await shoot(page, 'inbox-prove')
    await page.getByRole('link', { name: 'Review' }).first().click()
    await shoot(page, 'request-prove')
    await page.getByRole('link', { name: 'Use your passkey' }).click()
    await shoot(page, 'prove')
    await page.getByRole('button', { name: /Use passkey/ }).click()
    await page.getByText('This request was approved.').waitFor()
    await shoot(page, 'proved')
    const { approval = '' } = await flows.request(grace, own.id)
    const permit = await flows.evaluate(grace, { ...closing, context: { approval } })
    assert.deepEqual([permit.outcome, permit.reason], ['permit', 'evidence'])
    const three = await requested(world, 'INC-3')

    // a copy that has counted less
    const { credentials } = await cdp.send('WebAuthn.getCredentials', { authenticatorId })
    const [credential] = credentials
    assert.ok(credential !== undefined && credential.signCount > 1)
    await cdp.send('WebAuthn.removeCredential', { authenticatorId, credentialId: credential.credentialId })
    await cdp.send('WebAuthn.addCredential', { authenticatorId, credential: { ...credential, signCount: 0 } })
    await page.goto(`${named(world)}/requests/${three.id}`)
    await page.getByRole('button', { name: 'Approve' }).click()
    await page.getByRole('button', { name: /Use passkey/ }).click()
    await page.getByRole('heading', { name: 'Nothing was done' }).waitFor()
    await shoot(page, 'refused')
    const refusals = await kinds(world, 'passkey.refused')
    assert.match(String(refusals.at(-1)?.['why']), /there is a copy/)
    assert.equal((await flows.request(grace, three.id)).status, 'pending')

    // whom the device does not verify
    await cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false })
    await page.getByRole('link', { name: 'Look again' }).click()
    await page.getByRole('button', { name: 'Approve' }).click()
    await page.getByRole('button', { name: /Use passkey/ }).click()
    await page.getByText('Nothing was sent').waitFor()
    await shoot(page, 'cancelled')
    assert.deepEqual(
      complaints.filter((line) => !/40[13]|ERR_FAILED/.test(line)),
      [],
    )
  })
})
