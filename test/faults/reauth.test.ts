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
import type { FaultWorld } from './support.ts'
import { attempt, entries, fails, faultWorld, publish, ref, sessionFor, withPolicy } from './support.ts'

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

async function withPasskey(w: FaultWorld, id: string): Promise<Asker> {
  const caller = await sessionFor(w, id)
  const device = new Authenticator(ORIGIN)
  await w.app.flows.passkeys.register(
    caller,
    device.create(await w.app.flows.passkeys.forRegistration(caller, ORIGIN)),
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
  const passkey = device.get(await w.app.flows.passkeys.forProof(caller, request, ORIGIN))
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
