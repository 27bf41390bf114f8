/**
 * The evidence `reauth`: people prove anew, for exactly what is asked, that it is them (S07, B23). It counts for that
 * statement, once, for five minutes, and for whoever gave it as they are now.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { AttemptInput, Caller } from '../../src/flows/port.ts'
import type { AccessRequest } from '../../src/model/request.ts'
import { MINUTE } from '../../src/model/time.ts'
import { Authenticator } from '../support/authenticator.ts'
import { claimsOf, tokenIn } from '../support/oauth.ts'
import type { FaultWorld } from './support.ts'
import {
  attempt,
  entries,
  fails,
  faultWorld,
  interpose,
  publish,
  ref,
  sessionFor,
  withPolicy,
} from './support.ts'
import { stage } from './token-stage.ts'

const ORIGIN = 'http://localhost:9748'
const policies = withPolicy(`
@id("close") permit (principal, action == Action::"ledger:close", resource) when { context.proof.reauth };
@id("both") permit (principal, action == Action::"ledger:wipe", resource)
when { context.proof.reauth && context.proof.approvals.dba >= 1 };
`)

const close = (resource = 'Database/payments', context: Record<string, string> = {}): AttemptInput =>
  attempt('Person/ada', 'ledger:close', resource, context)
const wipe = (context: Record<string, string> = {}): AttemptInput =>
  attempt('Person/ada', 'ledger:wipe', 'Database/payments', context)

type Asker = Readonly<{ caller: Caller; device: Authenticator }>

async function withPasskey(w: FaultWorld, id: string, origin = ORIGIN): Promise<Asker> {
  const caller = await sessionFor(w, id)
  const device = new Authenticator(origin)
  await w.app.flows.passkeys.register(
    caller,
    device.create(await w.app.flows.passkeys.forRegistration(caller, origin)),
  )
  return { caller, device }
}

async function ask(w: FaultWorld, caller: Caller, input: AttemptInput): Promise<AccessRequest> {
  const decision = await w.app.flows.evaluate(caller, input)
  assert.equal(decision.outcome, 'challenge', decision.reason)
  return w.app.flows.submit(caller, {
    ...input,
    denial: { evaluationId: decision.id, expiresAt: decision.requestableUntil ?? 0 },
  })
}

async function prove(
  w: FaultWorld,
  { caller, device }: Asker,
  request: AccessRequest,
): Promise<AccessRequest> {
  const passkey = device.get(await w.app.flows.passkeys.forProof(caller, request, device.origin))
  return w.app.flows.proveRequest(caller, request.id, { statement: request.digest, passkey })
}

const reasonOf = async (w: FaultWorld, caller: Caller, input: AttemptInput): Promise<string> => {
  const { outcome, reason } = await w.app.flows.evaluate(caller, input)
  return `${outcome} ${reason}`
}

describe('S07 reauth', () => {
  test('C5 is asked for, given, counted once, and named in the record', async () => {
    await using w = await faultWorld({ policies })
    const ada = await withPasskey(w, 'ada')
    const request = await ask(w, ada.caller, close())
    assert.deepEqual(
      request.alternatives.map(({ requirements, binding }) => ({ requirements, binding })),
      [{ requirements: [{ kind: 'reauth', people: ['Person/ada'] }], binding: 'attempt' }],
    )
    assert.equal(request.status, 'pending')
    const { approval = '', status } = await prove(w, ada, request)
    assert.equal(status, 'approved')
    assert.equal(await reasonOf(w, ada.caller, close('Database/payments', { approval })), 'permit evidence')
    const entry = (await entries(w.app)).findLast(({ kind }) => kind === 'decision')
    assert.ok(entry)
    const { reauth } = entry['evidence'] as { reauth: readonly { person: string; passkey: string }[] }
    assert.deepEqual(
      reauth.map(({ person, passkey }) => [person, passkey]),
      [['Person/ada', ada.device.id]],
    )
    assert.equal((entry['proof'] as { reauth: boolean }).reauth, true)
    // attempt-bound: one use
    assert.match(await reasonOf(w, ada.caller, close('Database/payments', { approval })), /^(deny|challenge)/)
  })

  test('a login of this moment is none, and who has no passkey is not told to give one', async () => {
    await using w = await faultWorld({ policies })
    assert.equal(await reasonOf(w, await sessionFor(w, 'ada'), close()), 'deny policy_denied')
  })

  test('B23 of somebody else, for something else, or over: it counts for nothing', async () => {
    await using w = await faultWorld({ policies })
    const ada = await withPasskey(w, 'ada')
    const grace = await withPasskey(w, 'grace')
    const { flows } = w.app
    const one = await ask(w, ada.caller, close())
    const two = await ask(w, ada.caller, close('Database/orders'))
    // hers is not asked for, also if she may see the request
    await fails(prove(w, grace, one), 'ERR_NOT_FOUND')
    const stolen = ada.device.get(await flows.passkeys.forProof(ada.caller, one, ORIGIN))
    const give = (caller: Caller, of: AccessRequest, statement = of.digest) =>
      flows.proveRequest(caller, of.id, { statement, passkey: stolen })
    await fails(give(ada.caller, two), 'ERR_FORBIDDEN')
    await fails(give(ada.caller, two, one.digest), 'ERR_CONFLICT')
    await fails(give(await sessionFor(w, 'ada'), one), 'ERR_FORBIDDEN')
    await fails(give(w.migrator, one), 'ERR_FORBIDDEN')
    assert.equal((await flows.request(ada.caller, two.id)).status, 'pending')

    const { approval = '' } = await give(ada.caller, one)
    await fails(give(ada.caller, one), 'ERR_FORBIDDEN')
    assert.equal(
      await reasonOf(w, ada.caller, close('Database/orders', { approval })),
      'challenge out_of_scope',
    )
    w.clock.advance(5 * MINUTE)
    assert.equal(
      await reasonOf(w, ada.caller, close('Database/payments', { approval })),
      'challenge approval_expired',
    )
    // given once more while the approval waits, it counts again
    await prove(w, ada, one)
    assert.equal(await reasonOf(w, ada.caller, close('Database/payments', { approval })), 'permit evidence')
  })

  test('beside an approval: both must be there at once, in whichever order they come', async () => {
    await using w = await faultWorld({ policies })
    const ada = await withPasskey(w, 'ada')
    const { flows } = w.app
    const late = await ask(w, ada.caller, wipe())
    // who may approve it, and so sees it, proves nothing in place of who asks
    await fails(prove(w, await withPasskey(w, 'hedy'), late), 'ERR_FORBIDDEN')
    assert.equal((await prove(w, ada, late)).status, 'pending')
    w.clock.advance(5 * MINUTE)
    const { status } = await flows.approve(w.grace, late.id, { statement: late.digest })
    assert.equal(status, 'pending', 'the proof was over when the approval came')
    const settled = await prove(w, ada, late)
    assert.equal(settled.status, 'approved')
    const { approval = '' } = settled
    assert.equal(await reasonOf(w, ada.caller, wipe({ approval })), 'permit evidence')
  })

  test('C9 what is over when the decision is committed counts for nothing, whatever it was when it was analysed', async () => {
    await using w = await faultWorld({ policies })
    const ada = await withPasskey(w, 'ada')
    const { approval = '' } = await prove(w, ada, await ask(w, ada.caller, close()))
    interpose(w, async () => w.clock.advance(5 * MINUTE))
    assert.equal(
      await reasonOf(w, ada.caller, close('Database/payments', { approval })),
      'deny approval_expired',
    )
  })

  test('B34 whoever is made again has proved nothing', async () => {
    await using w = await faultWorld({ policies })
    const hedy = await withPasskey(w, 'hedy')
    const input = attempt('Person/hedy', 'ledger:close', 'Database/payments')
    const request = await ask(w, hedy.caller, input)
    const { approval = '' } = await prove(w, hedy, request)
    await w.app.flows.deleteEntity(w.ada, ref('Person/hedy'))
    await w.app.flows.putEntities(w.ada, [{ type: 'Person', id: 'hedy', parents: [ref('Group/dba')] }])
    const again = await sessionFor(w, 'hedy')
    const { outcome } = await w.app.flows.evaluate(again, { ...input, context: { approval } })
    assert.equal(outcome, 'deny')
  })

  test('of an agent that acts for somebody, that person gives it', async () => {
    await using w = await faultWorld({ policies })
    const ada = await withPasskey(w, 'ada')
    const { id } = await w.app.flows.delegations.make(ada.caller, { actor: ref('Agent/migrator') })
    const input = attempt('Agent/migrator', 'ledger:close', 'Database/payments', { delegation: id })
    const request = await ask(w, w.migrator, input)
    assert.deepEqual(request.alternatives[0]?.requirements, [{ kind: 'reauth', people: ['Person/ada'] }])
    const { approval = '' } = await prove(w, ada, request)
    const decided = await w.app.flows.evaluate(w.migrator, {
      ...input,
      context: { ...input.context, approval },
    })
    assert.equal(decided.outcome, 'permit', decided.reason)
    // alone, an agent has nobody who could
    assert.equal(
      await reasonOf(w, w.migrator, attempt('Agent/migrator', 'ledger:close', 'Database/payments')),
      'deny policy_denied',
    )
  })

  test('B34 B33 whom an agent acts for, made again, neither sees nor proves what was asked for the one before', async () => {
    await using w = await faultWorld({ policies })
    const hedy = await withPasskey(w, 'hedy')
    const { id } = await w.app.flows.delegations.make(hedy.caller, { actor: ref('Agent/migrator') })
    const input = attempt('Agent/migrator', 'ledger:close', 'Database/payments', { delegation: id })
    const request = await ask(w, w.migrator, input)
    assert.equal((await w.app.flows.request(hedy.caller, request.id)).id, request.id)
    await w.app.flows.deleteEntity(w.ada, ref('Person/hedy'))
    await w.app.flows.putEntities(w.ada, [{ type: 'Person', id: 'hedy' }])
    const again = await withPasskey(w, 'hedy')
    await fails(w.app.flows.request(again.caller, request.id), 'ERR_NOT_FOUND')
    await fails(prove(w, again, request), 'ERR_NOT_FOUND')
    const { items } = await w.app.flows.requests(again.caller, {})
    assert.deepEqual(items, [])
  })

  test('B23 with a passkey that was removed since, it counts for nothing; with another one it does', async () => {
    await using w = await faultWorld({ policies })
    const ada = await withPasskey(w, 'ada')
    const spare = new Authenticator(ORIGIN)
    const { passkeys } = w.app.flows
    const manage = async () => ada.device.get(await passkeys.forChange(ada.caller, ORIGIN))
    await passkeys.register(
      ada.caller,
      spare.create(await passkeys.forRegistration(ada.caller, ORIGIN, await manage())),
    )
    const request = await ask(w, ada.caller, close())
    const { approval = '' } = await prove(w, ada, request)
    await passkeys.remove(ada.caller, ada.device.id, spare.get(await passkeys.forChange(ada.caller, ORIGIN)))
    assert.equal(
      await reasonOf(w, ada.caller, close('Database/payments', { approval })),
      'challenge approval_expired',
    )
    await prove(w, { caller: ada.caller, device: spare }, request)
    assert.equal(await reasonOf(w, ada.caller, close('Database/payments', { approval })), 'permit evidence')
  })

  test('B23 an approval with a passkey that was removed since counts for nothing either', async () => {
    await using w = await faultWorld({ policies })
    const [ada, hedy] = [await withPasskey(w, 'ada'), await withPasskey(w, 'hedy')]
    const { flows } = w.app
    const approved = async (): Promise<string> => {
      const request = await ask(w, ada.caller, wipe())
      await prove(w, ada, request)
      const passkey = hedy.device.get(await flows.passkeys.forApproval(hedy.caller, request, ORIGIN))
      const given = await flows.approve(hedy.caller, request.id, { statement: request.digest, passkey })
      return given.approval ?? ''
    }
    assert.equal(await reasonOf(w, ada.caller, wipe({ approval: await approved() })), 'permit evidence')
    const approval = await approved()
    await flows.passkeys.remove(w.ada, hedy.device.id)
    assert.equal(await reasonOf(w, ada.caller, wipe({ approval })), 'challenge approval_expired')
  })

  test('law 2 who was locked after it has proved nothing, also when the lock is over', async () => {
    await using w = await faultWorld({ policies })
    const hedy = await withPasskey(w, 'hedy')
    const input = attempt('Person/hedy', 'ledger:close', 'Database/payments')
    const { approval = '' } = await prove(w, hedy, await ask(w, hedy.caller, input))
    await w.app.flows.locks.lock(w.ada, {
      what: 'subject',
      about: 'Person/hedy',
      reason: 'a drill',
      until: w.clock.wall() + MINUTE,
    })
    const given = { ...input, context: { approval } }
    assert.equal(await reasonOf(w, hedy.caller, given), 'deny subject_locked')
    w.clock.advance(2 * MINUTE)
    const { outcome } = await w.app.flows.evaluate(await sessionFor(w, 'hedy'), given)
    assert.notEqual(outcome, 'permit')
  })

  test('law 4 of a chain with several people each gives it; with one whom nobody registered it is none', async () => {
    await using w = await faultWorld({ policies })
    const [ada, grace] = [await withPasskey(w, 'ada'), await withPasskey(w, 'grace')]
    const acting = (...people: readonly string[]): Caller => ({ ...w.migrator, chain: people.map(ref) })
    const input = attempt('Agent/migrator', 'ledger:close', 'Database/payments')
    const both = acting('Person/ada', 'Person/grace')
    const request = await ask(w, both, input)
    assert.deepEqual(request.alternatives[0]?.requirements, [
      { kind: 'reauth', people: ['Person/ada', 'Person/grace'] },
    ])
    assert.equal((await prove(w, ada, request)).status, 'pending')
    w.clock.advance(4 * MINUTE)
    const { approval = '' } = await prove(w, grace, request)
    w.clock.advance(MINUTE)
    const given = { ...input, context: { approval } }
    assert.equal(await reasonOf(w, both, given), 'challenge approval_expired')
    await prove(w, ada, request)
    // what two gave is not what one is asked for, nor two others
    assert.match(await reasonOf(w, acting('Person/ada'), given), /out_of_scope/u)
    assert.equal(await reasonOf(w, both, given), 'permit evidence')
    assert.equal(await reasonOf(w, acting('Person/ada', 'Person/nobody'), input), 'deny policy_denied')
    // who has no passkey stands in the way of all
    await sessionFor(w, 'hedy')
    assert.equal(await reasonOf(w, acting('Person/ada', 'Person/hedy'), input), 'deny policy_denied')
  })

  test('a delegation that ended takes with it what was proved under it', async () => {
    await using w = await faultWorld({ policies })
    const ada = await withPasskey(w, 'ada')
    const { id } = await w.app.flows.delegations.make(ada.caller, { actor: ref('Agent/migrator') })
    const input = attempt('Agent/migrator', 'ledger:close', 'Database/payments', { delegation: id })
    const { approval = '' } = await prove(w, ada, await ask(w, w.migrator, input))
    await w.app.flows.delegations.revoke(ada.caller, id, 'done')
    const given = { ...input, context: { ...input.context, approval } }
    assert.equal(await reasonOf(w, w.migrator, given), 'deny delegation_ended')
  })

  test('law 10 beside a task-bound way: for one attempt alone, and for no other one of the task', async () => {
    await using w = await faultWorld({
      policies: withPolicy(`
@id("either") @binding("task") permit (principal, action == Action::"ledger:close", resource)
when { context.proof.reauth || context.proof.approvals.dba >= 1 };`),
    })
    const ada = await withPasskey(w, 'ada')
    const { id: task } = await w.app.flows.declareTask(ada.caller, {
      purpose: 'close the books',
      scope: { actions: ['ledger:close'], resources: [{ type: 'Database' }] },
    })
    const request = await ask(w, ada.caller, close('Database/payments', { task }))
    assert.equal(request.binding, 'attempt')
    const { approval = '' } = await prove(w, ada, request)
    assert.equal(
      await reasonOf(w, ada.caller, close('Database/orders', { task, approval })),
      'challenge out_of_scope',
    )
    assert.equal(
      await reasonOf(w, ada.caller, close('Database/payments', { task, approval })),
      'permit evidence',
    )
    assert.match(await reasonOf(w, ada.caller, close('Database/orders', { task })), /^challenge/u)
    assert.match(await reasonOf(w, ada.caller, close('Database/payments', { task })), /^challenge/u)
  })

  test('B41 one token is had on it, for the one attempt, bound to its sender, and no longer than the grant', async () => {
    await using s = await stage({
      policies: withPolicy(`
permit (principal, action == Action::"ledger:close", resource is Api) when { context.proof.reauth };`),
    })
    const { flows } = s.world.app
    const ada = await withPasskey(s.world, 'ada', `http://localhost:${new URL(s.world.app.url).port}`)
    const { id } = await flows.delegations.make(ada.caller, { actor: ref('Agent/migrator') })
    const asked = { audience: 'Api/ledger', scope: 'ledger:close', writ_delegation: id }
    const { body } = await s.migrator.token({ ...asked, access_request: 'submit' })
    assert.equal(body['error'], 'authorization_pending', JSON.stringify(body))
    const request = await flows.request(ada.caller, body['access_request_id'] as string)
    const { approval = '' } = await prove(s.world, ada, request)
    const without = await s.migrator.token({ ...asked, approval }, { dpop: false })
    assert.equal(without.body['error'], 'invalid_dpop_proof')
    const other = await s.migrator.token({ ...asked, approval, audience: 'Api/vault' })
    assert.notEqual(other.status, 200)
    const claims = claimsOf(tokenIn(await s.migrator.token({ ...asked, approval })))
    const { grant } = await flows.grant(s.world.ada, claims['writ_grant'] as string)
    assert.deepEqual([grant.binding, grant.uses, grant.used], ['attempt', 1, 1])
    assert.ok((claims['exp'] as number) * 1_000 <= grant.endsAt)
    assert.ok((claims['cnf'] as { jkt?: string }).jkt)
    assert.notEqual((await s.migrator.token({ ...asked, approval })).status, 200)
  })

  test('policies that forbid without it, or permit only without it', async () => {
    await using w = await faultWorld({
      policies: withPolicy(`
@id("yes") permit (principal, action in [Action::"ledger:close", Action::"ledger:wipe"], resource);
@id("no") @explain forbid (principal, action == Action::"ledger:close", resource) unless { context.proof.reauth };
@id("never") @explain forbid (principal, action == Action::"ledger:wipe", resource)
when { !context.proof.reauth && context.proof.approvals.dba < 1 };
@id("only") permit (principal, action == Action::"ledger:look", resource) when { !context.proof.reauth };`),
    })
    const look = (who: string, context: Record<string, string> = {}): AttemptInput =>
      attempt(who, 'ledger:look', 'Database/payments', context)
    assert.equal(await reasonOf(w, await sessionFor(w, 'grace'), look('Person/grace')), 'permit standing')
    const ada = await withPasskey(w, 'ada')
    const { approval = '' } = await prove(w, ada, await ask(w, ada.caller, close()))
    assert.equal(await reasonOf(w, ada.caller, look('Person/ada', { approval })), 'permit standing')
    assert.equal(await reasonOf(w, ada.caller, close('Database/payments', { approval })), 'permit evidence')
    // either of two ways, and the statement is for one attempt
    const request = await ask(w, ada.caller, wipe())
    assert.equal(request.binding, 'attempt')
    const done = await prove(w, ada, request)
    assert.equal(await reasonOf(w, ada.caller, wipe({ approval: done.approval ?? '' })), 'permit evidence')
  })

  test('C8 law 9 a retry gets its permit once more, and no other attempt gets it', async () => {
    await using w = await faultWorld({ policies })
    const ada = await withPasskey(w, 'ada')
    const { approval = '' } = await prove(w, ada, await ask(w, ada.caller, close()))
    const given = close('Database/payments', { approval })
    const once = (key: string, input = given) =>
      w.app.flows.evaluate(ada.caller, input, { idempotencyKey: key })
    const first = await once('one')
    assert.equal(first.outcome, 'permit')
    w.clock.advance(30_000)
    assert.equal((await once('one')).id, first.id)
    assert.notEqual((await once('two')).outcome, 'permit')
    // what is decided again later is decided with the proof that was spent
    await publish(w, withPolicy(''))
    assert.notEqual((await once('one')).outcome, 'permit')
    await w.app.flows.settled()
    const { grant } = await w.app.flows.grant(w.ada, first.grant?.id ?? '')
    assert.notEqual(grant.state, 'active')
  })

  test('C8 a policy that asks for more meanwhile gets more', async () => {
    await using w = await faultWorld({ policies })
    const ada = await withPasskey(w, 'ada')
    const request = await ask(w, ada.caller, close())
    const { approval = '' } = await prove(w, ada, request)
    await publish(
      w,
      withPolicy(`
permit (principal, action == Action::"ledger:close", resource)
when { context.proof.reauth && context.proof.approvals.dba >= 1 };`),
    )
    assert.equal(
      await reasonOf(w, ada.caller, close('Database/payments', { approval })),
      'challenge policy_denied',
    )
  })
})
