/**
 * Forged proofs of a decision that counted on people who proved that it is them (S07, B23).
 *
 * @module
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Authenticator } from '../../test/support/authenticator.ts'
import type { Editable } from '../../test/support/forge.ts'
import { forge, ofKind } from '../../test/support/forge.ts'
import type { World } from '../../test/support/world.ts'
import { attempt, callerOf, openWorld, starterPolicies } from '../../test/support/world.ts'
import { referee } from '../decision/reference.ts'
import { findingText } from './bundle.ts'
import { verifyBundle } from './proof.ts'

type Members = Record<string, unknown>
type Entries = Map<number, Editable>

const ORIGIN = 'http://localhost:9748'
const MINUTE = 60_000
const judge = referee()

const permit = (entries: Entries): Editable => {
  const found = [...entries.values()].find((one) => one.kind === 'decision' && one['outcome'] === 'permit')
  assert.ok(found)
  return found
}

const drop = (entries: Entries, ...kinds: string[]): void => {
  for (const [seq, { kind }] of entries) if (kinds.includes(kind)) entries.delete(seq)
}

/** What both the decision and its grant say that was proved. */
function saysProved(entries: Entries, reauth: readonly Members[]): void {
  const decision = permit(entries)
  decision['evidence'] = { ...(decision['evidence'] as Members), reauth }
  ofKind(entries, 'grant.activated')['reauth'] = reauth
}

describe('S07 a proof of why that counts on a passkey', () => {
  let world: World
  let text: string

  before(async () => {
    const closing = {
      name: 'close.cedar',
      text: '@id("close") permit (principal, action == Action::"ledger:close", resource) when { context.proof.reauth };',
    }
    world = await openWorld({ http: false, policies: [...starterPolicies(), closing] })
    const { flows } = world.app
    const { code } = await flows.invite(world.ada, { id: 'ada', groups: [] })
    const { token } = await flows.redeem(code.expose())
    const ada = await callerOf(world.app, token.expose())
    const device = new Authenticator(ORIGIN)
    await flows.passkeys.register(ada, device.create(await flows.passkeys.forRegistration(ada, ORIGIN)))
    const input = attempt('Person/ada', 'ledger:close', 'Database/payments')
    const { id, requestableUntil } = await flows.evaluate(ada, input)
    const request = await flows.submit(ada, {
      ...input,
      denial: { evaluationId: id, expiresAt: requestableUntil ?? 0 },
    })
    const passkey = device.get(await flows.passkeys.forProof(ada, request, ORIGIN))
    const { approval = '' } = await flows.proveRequest(ada, request.id, {
      statement: request.digest,
      passkey,
    })
    const { outcome, grant } = await flows.evaluate(ada, { ...input, context: { approval } })
    assert.equal(outcome, 'permit')
    text = await flows.prove(world.ada, grant?.id ?? '')
  })
  after(() => world[Symbol.asyncDispose]())

  function forged(edit: (entries: Entries) => void, why: RegExp): void {
    const { text: made, trust } = forge(text, edit)
    const failures = verifyBundle(Buffer.from(made), trust, judge).failures.map(findingText)
    assert.ok(
      failures.some((failure) => why.test(failure)),
      `expected ${why}, found ${failures.join(' | ') || 'nothing'}`,
    )
  }

  test('verifies as it is', () => {
    const { text: made, trust } = forge(text, () => undefined)
    const { failures, story, notShown } = verifyBundle(Buffer.from(made), trust, judge)
    assert.deepEqual([failures, notShown], [[], []])
    assert.match(story.join('\n'), /Person\/ada proved with a passkey/u)
  })

  test('B23 what nobody gave', () => {
    forged((entries) => drop(entries, 'reauth.given'), /the proof of Person\/ada that it is them is missing/u)
    forged(
      (entries) => saysProved(entries, []),
      /counts a proof that it is them that people behind it did not give/u,
    )
    forged(
      (entries) => saysProved(entries, [{ person: 'Person/grace', passkey: 'x', at: 1 }]),
      /counts a proof that it is them that people behind it did not give/u,
    )
    forged(
      (entries) => void delete ofKind(entries, 'grant.activated')['reauth'],
      /counts a proof of Person\/ada that grant \S+ was not given on/u,
    )
    forged((entries) => {
      const activated = ofKind(entries, 'grant.activated')
      const reauth = activated['reauth'] as Members[]
      activated['reauth'] = [...reauth, { ...reauth[0], person: 'Person/hedy' }]
    }, /was given on other proofs than it was decided on/u)
  })

  test('without a grant, or without a request, that it was spent into', () => {
    forged((entries) => {
      const decision = permit(entries)
      delete decision['grant']
      delete decision['grant_used']
    }, /permits on evidence without a grant/u)
    forged((entries) => {
      const activated = ofKind(entries, 'grant.activated')
      delete activated['request']
      activated['statement'] = permit(entries)['attempt_digest']
    }, /has evidence of people without a request/u)
  })

  test('for another statement, or for a whole task', () => {
    forged(
      (entries) => void (ofKind(entries, 'reauth.given')['statement'] = `sha256:${'0'.repeat(64)}`),
      /Person\/ada proved it for another statement/u,
    )
    forged(
      (entries) => void (ofKind(entries, 'grant.activated')['binding'] = 'task'),
      /counts for a whole task what people proved for one act/u,
    )
  })

  test('by somebody else, and in the name of who asks with the passkey of somebody', () => {
    forged(
      (entries) => void (ofKind(entries, 'reauth.given')['person'] = 'Person/grace'),
      /Person\/grace has no part in what is asked for/u,
    )
    forged(
      (entries) => void (ofKind(entries, 'reauth.given')['passkey'] = 'another'),
      /the proof of Person\/ada that it is them is missing/u,
    )
  })

  test('too long ago, or good for longer than it may be', () => {
    forged((entries) => {
      const given = ofKind(entries, 'reauth.given')
      given['ends_at'] = Number(permit(entries)['at'])
    }, /had proved that it is them too long ago/u)
    forged((entries) => {
      const given = ofKind(entries, 'reauth.given')
      given['ends_at'] = Number(given['at']) + 6 * MINUTE
    }, /counts for longer than five minutes/u)
    forged((entries) => {
      const given = ofKind(entries, 'reauth.given')
      delete given['ends_at']
    }, /counts for longer than five minutes/u)
  })
})
