/**
 * B70, the class of CVE-2026-46358: a route, or a field of one, that changes something and leaves nothing in the record.
 * Every route of the table is called for real; what is not called here fails.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { httpRoutes } from '../../src/doors/http/server.ts'
import type { Route } from '../../src/doors/http/route.ts'
import { LOGIN } from '../../src/config/index.ts'
import type { Caller } from '../../src/model/access.ts'
import type { ListenerConfig } from '../../src/model/signal.ts'
import type { TicketSourceConfig } from '../../src/model/source.ts'
import { HOUR } from '../../src/model/time.ts'
import { Authenticator } from '../support/authenticator.ts'
import { fakeCallers, fakeFlows } from '../support/doors.ts'
import type { Idp } from '../support/idp.ts'
import { startIdp, through } from '../support/idp.ts'
import { OAuthClient, clientConfig, newKey, tokenConfig, tokenIn } from '../support/oauth.ts'
import { listenTo, mintSet } from '../support/ssf.ts'
import { activeGrant, declare, folderOf, migration, requestMigration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { callerOf, entries, faultWorld, put, ref, serve, settle, withPolicy } from './support.ts'

type Who = 'ada' | 'grace' | 'hedy' | 'migrator' | 'nobody'

/** What is sent, after what it needs was made ready. */
type Sent = Readonly<{
  path?: string
  /** Another name of the server than the address. */
  origin?: string
  as?: Who
  json?: unknown
  /** A security event token. */
  set?: string
  form?: Readonly<Record<string, string>>
  headers?: Readonly<Record<string, string>>
  /** What else may be in the record after it; anything that is not named here is too much. */
  beside?: readonly string[]
}>

const text = 'sent as canary-text'
const WEBHOOK_SECRET = 'secret-of-the-webhooks'
const DESK: TicketSourceConfig = {
  name: 'desk',
  kind: 'http',
  url: 'https://desk.example/{key}',
  keys: ['DESK-'],
  fresh: 30_000,
  maxAge: 300_000,
  timeout: 1_000,
  allowPrivate: false,
  fields: {},
}

function secretFile(): string {
  const file = join(folderOf('secrets'), 'webhooks')
  writeFileSync(file, WEBHOOK_SECRET)
  return file
}
const ending = { json: { reason: 'canary-reason' } }
const ATTEMPT = { action: { name: 'db:migrate' }, resource: { type: 'Database', id: 'orders' } }
const DONE = ['credential.absent', 'grant.closed', 'grant.ended', 'task.ended', 'request.ended']

/** A client of the token endpoint, and where it is the server. */
const client = { id: 'canary-client', key: newKey('canary-client') }
const TOKENS = tokenConfig([clientConfig(client, 'Service/orders-ci', ['Document/handbook'])])
const clientOf = (w: FaultWorld): OAuthClient =>
  new OAuthClient(client.id, w.app.url, () => w.clock.wall(), client.key)
/** A token that is good once, and the proof of who asks about it. */
async function aboutToken(w: FaultWorld): Promise<Sent> {
  const asking = clientOf(w)
  const asked = { audience: 'Document/handbook', scope: 'once' }
  const token = tokenIn(await asking.token(asked, { dpop: false }))
  return { as: 'nobody', form: { ...asking.authentication(), token } }
}

/** The stream of the migrator, who listens. */
async function streamOf(w: FaultWorld): Promise<string> {
  const { transmitter } = w.app.flows.signals
  try {
    return transmitter.show(w.migrator).id
  } catch {
    return (await transmitter.make(w.migrator, { method: 'poll' })).id
  }
}

async function invitation(w: FaultWorld, id: string): Promise<string> {
  return (await w.app.flows.invite(w.ada, { id })).code.expose()
}

async function waiting(w: FaultWorld): Promise<{ id: string; digest: string }> {
  return requestMigration(w, await declare(w))
}

/** Who is told of what was taken away. */
const LISTENER: ListenerConfig = {
  name: 'migrator',
  subject: ref('Agent/migrator'),
  audience: 'https://listener.example',
  delivery: 'poll',
  endpoint: 'https://listener.example/secret-path',
  events: ['session-revoked'],
  subjects: 'opaque',
  from: 'now',
  allowPrivate: false,
}

const CLOSE = 'permit (principal, action == Action::"ledger:close", resource) when { context.proof.reauth };'

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
  'POST /oauth/token': (w) => ({
    as: 'nobody',
    form: {
      grant_type: 'client_credentials',
      audience: 'Document/handbook',
      scope: 'once',
      ...clientOf(w).authentication(),
    },
    beside: ['decision'],
  }),
  'POST /oauth/introspect': aboutToken,
  'POST /oauth/revoke': aboutToken,
  'POST /ssf/push/:transmitter': async () => ({
    path: '/ssf/push/idp',
    as: 'nobody',
    set: await mintSet('session-presented', {}, { jti: 'canary-jti' }),
  }),
  'POST /webhooks/:source': () => ({
    path: '/webhooks/desk',
    as: 'nobody',
    headers: { 'x-webhook-secret': WEBHOOK_SECRET },
    json: {
      id: 'DESK-canary-key',
      status: 'canary-state',
      open: true,
      approved: false,
      resources: ['canary-resource'],
    },
  }),
  'POST /ssf/stream': async (w) => {
    await w.app.flows.signals.transmitter.delete(w.migrator)
    return { json: { description: 'canary-description' } }
  },
  'PATCH /ssf/stream': () => {
    const delivery = {
      method: 'urn:ietf:rfc:8935',
      endpoint_url: 'https://listener.example/secret-path',
      authorization_header: 'secret-token',
    }
    return { json: { delivery, description: 'canary-description' } }
  },
  'PUT /ssf/stream': () => ({
    json: { delivery: { method: 'urn:ietf:rfc:8936' }, description: 'canary-description' },
  }),
  'DELETE /ssf/stream': () => ({}),
  'POST /ssf/status': async (w) => ({
    json: { stream_id: await streamOf(w), status: 'enabled', reason: 'canary-reason' },
  }),
  'POST /ssf/verify': async (w) => ({ json: { stream_id: await streamOf(w), state: 'canary-state' } }),
  'POST /ssf/poll': async (w) => {
    await streamOf(w)
    const ask = { most: 1, immediately: true, ack: [], errors: {} }
    await w.app.flows.signOut(
      await callerOf(w.app, (await w.app.flows.redeem(await invitation(w, 'leaving'))).token.expose()),
    )
    const { sets } = await w.app.flows.signals.transmitter.poll(w.migrator, ask)
    const refused = { err: 'invalid_request', description: 'canary-refusal' }
    const setErrs = Object.fromEntries(Object.keys(sets).map((jti) => [jti, refused]))
    return { json: { returnImmediately: true, setErrs } }
  },
  'POST /v1/signals/redeliver': async (w) => {
    await streamOf(w)
    const { transmitter } = w.app.flows.signals
    const ask = { most: 1, immediately: true, ack: [], errors: {} }
    await w.app.flows.signOut(
      await callerOf(w.app, (await w.app.flows.redeem(await invitation(w, 'again'))).token.expose()),
    )
    const refused = { err: 'invalid_request', description: 'who' }
    const { sets } = await transmitter.poll(w.migrator, ask)
    const errors = Object.fromEntries(Object.keys(sets).map((jti) => [jti, refused]))
    await transmitter.poll(w.migrator, { ...ask, errors })
    return { as: 'ada', json: { listener: LISTENER.name }, beside: ['decision'] }
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
          third_party: true,
          environment: 'canary-environment',
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
    const policies = withPolicy(`${CLOSE}@id("b") permit (principal, action == Action::"b", resource);`)
    const { version } = await flows.publish(w.ada, { policies })
    return {
      path: `/v1/policies/${version}/agree`,
      as: 'hedy',
      json: {},
      beside: ['decision'],
    }
  },
  'POST /v1/locks': () => ({
    as: 'ada',
    json: {
      what: 'resource',
      about: 'Document/canary-locked',
      reason: 'canary-reason',
      until: '2030-01-01T00:00:00Z',
    },
  }),
  'POST /v1/locks/unlock': async (w) => {
    const lock = { what: 'resource', about: 'Document/canary-locked' } as const
    await w.app.flows.locks.lock(w.ada, { ...lock, reason: 'r' })
    return { as: 'ada', json: { ...lock, reason: 'canary-reason' }, beside: ['decision'] }
  },
  'POST /v1/facts': async (w) => {
    await put(w, {
      type: 'Service',
      id: 'orders-ci',
      kind: 'workload',
      owner: ref('Person/ada'),
      parents: [ref('Group/reporters')],
    })
    const key = await w.app.flows.createKey(w.ada, { name: 'mdm', subject: ref('Service/orders-ci') })
    return {
      as: 'nobody',
      headers: { authorization: `Bearer ${key.secret.expose()}` },
      json: {
        facts: [
          {
            name: 'posture',
            about: 'Person/canary-posture',
            value: {
              compliant: false,
              status: 'canary-status',
              device: 'canary-device',
              managed: true,
              os: 'canary-os',
            },
          },
        ],
      },
      beside: ['decision'],
    }
  },
  'POST /v1/delegations': () => ({
    as: 'grace',
    json: {
      actor: 'Agent/migrator',
      actions: ['canary-action'],
      resources: ['Database/canary-bound'],
      ttl: '7h',
      reason: 'canary-reason',
    },
  }),
  'POST /v1/delegations/:id/revoke': async (w) => {
    const { id } = await w.app.flows.delegations.make(w.grace, { actor: ref('Agent/migrator') })
    return { path: `/v1/delegations/${id}/revoke`, as: 'grace', ...ending }
  },
  'POST /v1/accounts': () => ({
    as: 'ada',
    json: { issuer: 'corp', account: 'canary-account', person: 'Person/grace' },
    beside: ['decision'],
  }),
  'POST /v1/accounts/unlink': async (w) => {
    const account = { issuer: 'corp', id: 'canary-other' }
    await w.app.flows.accounts.link(w.ada, account, ref('Person/grace'))
    return { as: 'ada', json: { issuer: account.issuer, account: account.id } }
  },
  'POST /v1/passkeys/remove': async (w) => {
    const { passkey } = await changing(w, 'passkey-lost')
    return { as: 'ada', json: { id: passkey } }
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
  'POST /signin/passkey': async (w) => {
    const { device } = await withPasskey(w, 'passkey-signin')
    const offer = await w.app.flows.passkeys.forSignIn(device.origin)
    assert.ok(offer)
    const { nonce, answer } = device.get(offer)
    return { origin: device.origin, as: 'nobody', headers: FROM_PAGE, form: { nonce, answer } }
  },
  'POST /passkeys': async (w) => {
    const { token } = await w.app.flows.redeem(await invitation(w, 'passkey-first'))
    const caller = await callerOf(w.app, token.expose())
    const device = new Authenticator(named(w))
    const { nonce, answer } = device.create(await w.app.flows.passkeys.forRegistration(caller, device.origin))
    const headers = { authorization: `Bearer ${token.expose()}`, ...FROM_PAGE }
    return { origin: device.origin, as: 'nobody', headers, form: { nonce, answer, name: 'my phone' } }
  },
  'POST /passkeys/new': async (w) => (await changing(w, 'passkey-second')).sent,
  'POST /passkeys/remove': async (w) => {
    const { sent, passkey } = await changing(w, 'passkey-removed')
    return { ...sent, form: { ...sent.form, id: passkey }, beside: ['passkey.used'] }
  },
  'POST /requests/:id/prove': async (w) => {
    const { caller, device, headers } = await withPasskey(w, 'ada')
    const input = {
      subject: ref('Person/ada'),
      action: { name: 'ledger:close' },
      resource: ref('Database/orders'),
    }
    const denied = await w.app.flows.evaluate(caller, input)
    const denial = { evaluationId: denied.id, expiresAt: denied.requestableUntil ?? 0 }
    const request = await w.app.flows.submit(caller, { ...input, denial })
    const { id, digest } = request
    const { nonce, answer } = device.get(await w.app.flows.passkeys.forProof(caller, request, device.origin))
    const path = `/requests/${id}/prove`
    const form = { nonce, answer, statement: digest }
    return { path, origin: device.origin, as: 'nobody', headers, form, beside: ['request.approved'] }
  },
  'POST /accounts/link': async (w) => {
    const { sent } = await changing(w, 'passkey-linking')
    return { ...sent, form: { ...sent.form, provider: 'test' } }
  },
  'POST /accounts/unlink': async (w) => {
    await w.app.flows.accounts.linkOwn(w.hedy, { issuer: 'corp', id: 'canary-page' })
    return { as: 'hedy', form: { issuer: 'corp', account: 'canary-page' } }
  },
  'GET /login/callback/:provider': async (w) => {
    await w.app.flows.accounts.link(w.ada, { issuer: 'test', id: 'canary-known' }, ref('Person/hedy'))
    const { ticket, back } = await backFrom(w, 'canary-known')
    return {
      path: `${back.pathname}${back.search}`,
      as: 'nobody',
      headers: { cookie: `writ_login=${ticket}` },
    }
  },
  'POST /login/unlinked': async (w) => {
    const { ticket, back } = await backFrom(w, 'canary-unknown')
    const finished = await w.app.flows.signIns.finish(ticket, back)
    assert.ok('unlinked' in finished)
    return {
      as: 'nobody',
      headers: { cookie: `writ_login=${finished.ticket}`, 'sec-fetch-site': 'same-origin' },
      form: { code: await invitation(w, 'linked-by-code') },
      beside: ['person.enrolled'],
    }
  },
  'POST /login/continue/:uid': async (w) => {
    const { path, headers } = await consent(w)
    return { path, as: 'hedy', headers, form: { answer: 'yes' } }
  },
  'POST /programs/end': async (w) => {
    const { path, headers } = await consent(w)
    const authorization = `Bearer ${w.tokens.hedy}`
    const said = await fetch(w.app.url + path, {
      method: 'POST',
      headers: { ...headers, authorization },
      body: new URLSearchParams({ answer: 'yes' }),
    })
    assert.equal(said.status, 200)
    const shown = await (await fetch(`${w.app.url}/passkeys`, { headers: { authorization } })).text()
    const [, id = ''] =
      /action="\/programs\/end"><input type="hidden" name="id" value="([\w-]+)"/.exec(shown) ?? []
    return { as: 'hedy', headers: FROM_PAGE, form: { id } }
  },
}

/** A program waits for somebody to let it in, in this browser. */
async function consent(w: FaultWorld): Promise<{ path: string; headers: Readonly<Record<string, string>> }> {
  const ask = new URLSearchParams({
    client_id: 'writ-cli',
    redirect_uri: 'http://127.0.0.1:1/callback',
    response_type: 'code',
    code_challenge: 'x'.repeat(43),
    code_challenge_method: 'S256',
  })
  const response = await fetch(`${w.app.url}/login/oidc/auth?${ask.toString()}`, { redirect: 'manual' })
  const cookie = response.headers.getSetCookie().map((line) => line.split(';')[0])
  return {
    path: response.headers.get('location') ?? '',
    headers: { cookie: cookie.join('; '), 'sec-fetch-site': 'same-origin' },
  }
}

/** Passkeys are for names: the server on this machine under the one it has. */
const named = (w: FaultWorld): string => w.app.url.replace('127.0.0.1', 'localhost')
const FROM_PAGE = { 'sec-fetch-site': 'same-origin' }

/** A person with a session and a passkey of their own. */
async function withPasskey(
  w: FaultWorld,
  id: string,
): Promise<Readonly<{ caller: Caller; headers: Readonly<Record<string, string>>; device: Authenticator }>> {
  const { token } = await w.app.flows.redeem(await invitation(w, id))
  const caller = await callerOf(w.app, token.expose())
  const device = new Authenticator(named(w))
  const offer = await w.app.flows.passkeys.forRegistration(caller, device.origin)
  await w.app.flows.passkeys.register(caller, device.create(offer))
  return { caller, device, headers: { authorization: `Bearer ${token.expose()}`, ...FROM_PAGE } }
}

/** What the form of a page sends when the passkey was asked for a change. */
async function changing(w: FaultWorld, id: string): Promise<Readonly<{ sent: Sent; passkey: string }>> {
  const { caller, device, headers } = await withPasskey(w, id)
  const { nonce, answer } = device.get(await w.app.flows.passkeys.forChange(caller, device.origin))
  return {
    sent: { origin: device.origin, as: 'nobody', headers, form: { nonce, answer } },
    passkey: device.id,
  }
}

let provider: Idp | undefined

/** Back from the provider, with what the browser kept. */
async function backFrom(w: FaultWorld, account: string): Promise<Readonly<{ ticket: string; back: URL }>> {
  if (provider === undefined) throw new TypeError('the provider was not started')
  provider.account = account
  const redirect = `${w.app.url}/login/callback/test`
  const { url, ticket } = await w.app.flows.signIns.begin({ provider: 'test', redirect })
  return { ticket, back: await through(url) }
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
          /^\/(?:v1\/(?:questions|tasks\/:id\/heartbeat|policies\/replay)|signin\/provider$|access\/v1\/search\/\w+)$/,
          nameOf(route),
        )
      }
    }
  })

  test('leaves the entry that it declares, nothing that nobody declared, and every field it was sent', async () => {
    await using idp = await startIdp()
    provider = idp
    await using world = await faultWorld({
      http: true,
      config: {
        tokens: TOKENS,
        login: { ...LOGIN, providers: [idp.login] },
        facts: { tickets: [DESK], incidents: [] },
        webhooks: [
          {
            source: 'desk',
            scheme: 'header',
            header: 'x-webhook-secret',
            secrets: [{ file: secretFile() }],
            window: HOUR,
          },
        ],
        signals: { receivers: [listenTo()], transmitter: { algorithm: 'ES256', listeners: [LISTENER] } },
      },
      policies: withPolicy(
        '@id("once") @uses("1") permit (principal, action == Action::"once", resource is Document);',
      ),
    })
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
      const url = `${sent.origin ?? world.app.url}${sent.path ?? route.path}`
      const response = await fetch(url, {
        method: route.method,
        redirect: 'manual',
        headers: {
          ...(as === 'nobody' ? {} : { authorization: `Bearer ${world.tokens[as]}` }),
          ...(sent.json === undefined ? {} : { 'content-type': 'application/json' }),
          ...(sent.form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
          ...(sent.set === undefined ? {} : { 'content-type': 'application/secevent+jwt' }),
          ...sent.headers,
        },
        ...(sent.json === undefined ? {} : { body: JSON.stringify(sent.json) }),
        ...(sent.set === undefined ? {} : { body: sent.set }),
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
