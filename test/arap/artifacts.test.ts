/** Binding by value: the codec with keys of the test, and the door with forgeries. */
import assert from 'node:assert/strict'
import { createHmac, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { after, before, beforeEach, describe, test } from 'node:test'
import type { Artifacts } from '../../src/model/artifact.ts'
import { tupleOf } from '../../src/model/attempt.ts'
import type { Json } from '../../src/model/canonical.ts'
import type { Signer } from '../../src/model/signer.ts'
import { DAY, MINUTE } from '../../src/model/time.ts'
import { bindingHash, createArtifacts, partiesOf } from '../../src/wire/arap/draft1/index.ts'
import { entries } from '../faults/support.ts'
import type { Bench, any_ } from './support.ts'
import { byReference, byValue, decoded, denialOf, openBench, ordinary, pay, problem } from './support.ts'

const NOW = Date.UTC(2026, 10, 22, 14, 0, 0, 250)

type Pair = { signer: Signer; privateKey: KeyObject }

function pair(id: string, more: Partial<Signer> = {}): Pair {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = publicKey.export({ format: 'jwk' }) as Record<string, string>
  return {
    signer: { id, use: 'artifact', public: jwk, sealed: '', createdAt: 0, fromSize: 0, ...more },
    privateKey,
  }
}

const artifactsOf = (pairs: readonly Pair[], installation = 'inst_a'): Artifacts => {
  let n = 0
  return createArtifacts(
    installation,
    { current: () => pairs.at(-1) as Pair, all: () => pairs.map(({ signer }) => signer) },
    (prefix) => `${prefix}_${(n += 1)}`,
  )
}

const attempt = {
  subject: { type: 'Agent', id: 'm', properties: { level: 1, act: { sub: 'x' } } },
  action: { name: 'pay' },
  resource: { type: 'Database', id: 'orders' },
  context: { amount: 5, note: 'n' },
}
const sealed = (artifacts: Artifacts, more: object = {}): string =>
  artifacts.sealDenial({
    id: 'denial_1',
    evaluation: 'dec_1',
    at: NOW,
    endsAt: NOW + 10 * MINUTE,
    tuple: tupleOf(attempt, ['amount']),
    members: ['amount'],
    ...more,
  })
const sent = (more: object = {}, endsAt = NOW + 10 * MINUTE) => ({
  tuple: (members: readonly string[]) => tupleOf({ ...attempt, ...more }, members),
  endsAt,
})

/** A JWS of our making, whatever its header says. */
function forge(header: any_, payload: any_, key: KeyObject | Buffer | undefined): string {
  const part = (value: Json): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${part(header)}.${part(payload)}`
  const signature =
    key === undefined
      ? Buffer.alloc(0)
      : Buffer.isBuffer(key)
        ? createHmac('sha256', key).update(input).digest()
        : sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}

/** The token with some claims changed and signed again by `by`. */
function resealed(token: string, by: Pair, claims: any_, header: any_ = {}): string {
  const { header: h, payload } = decoded(token)
  const next = { ...payload, ...claims }
  for (const name of Object.keys(next)) if (next[name] === undefined) delete next[name]
  return forge({ ...h, ...header }, next, by.privateKey)
}

describe('a binding token', () => {
  const ours = pair('key_1')
  const artifacts = artifactsOf([ours])
  const token = sealed(artifacts)
  const refused = async (text: string, why: string, as = sent(), now = NOW) =>
    assert.deepEqual(await artifacts.openDenial(text, as, now), { refused: why }, text)

  test('TOKEN-3 keys that are none of ours, unnamed, given up or of before a restore', async () => {
    const other = pair('key_2')
    await refused(resealed(token, other, {}), 'unverifiable')
    await refused(resealed(token, ours, {}, { kid: 'key_2' }), 'unverifiable')
    await refused(resealed(token, ours, {}, { kid: undefined }), 'unverifiable')
    // a key that the token brings along, or points at, is not looked at
    const jwk = createPublicKey(other.privateKey).export({ format: 'jwk' })
    await refused(
      resealed(token, other, {}, { jwk, jku: 'http://127.0.0.1:1/', x5u: 'http://127.0.0.1:1/' }),
      'unverifiable',
    )
    for (const [given, why] of [
      [{ retiredAt: NOW, compromised: true }, 'given up'],
      [{ epoch: 1 }, 'of an earlier epoch'],
      [{ retiredAt: NOW - 1_000 }, 'retired before it signed'],
    ] as const) {
      const later = artifactsOf([
        { ...ours, signer: { ...ours.signer, ...given } },
        pair('key_3', { epoch: why === 'of an earlier epoch' ? 2 : 1 }),
      ])
      assert.deepEqual(await later.openDenial(token, sent(), NOW), { refused: 'unverifiable' }, why)
    }
  })

  test('TOKEN-4 B1 B2 no algorithm but ours, no extension that is not understood', async () => {
    const { payload, header } = decoded(token)
    const spki = createPublicKey(ours.privateKey).export({ format: 'pem', type: 'spki' })
    for (const alg of ['none', 'None', 'NONE', '', undefined]) {
      await refused(forge({ ...header, alg }, payload, undefined), 'unverifiable')
      await refused(forge({ ...header, alg }, payload, ours.privateKey), 'unverifiable')
    }
    for (const secret of [spki, `${String(spki)}\n`, ours.signer.public['x'] ?? '']) {
      await refused(forge({ ...header, alg: 'HS256' }, payload, Buffer.from(secret)), 'unverifiable')
      await refused(forge({ ...header, alg: 'ES256' }, payload, Buffer.from(secret)), 'unverifiable')
    }
    for (const alg of ['ES384', 'ES256K', 'RS256', 'EdDSA', 'PS256']) {
      await refused(forge({ ...header, alg }, payload, ours.privateKey), 'unverifiable')
    }
    await refused(forge({ ...header, crit: ['x'], x: 1 }, payload, ours.privateKey), 'unverifiable')
    await refused(forge({ ...header, crit: ['b64'], b64: false }, payload, ours.privateKey), 'unverifiable')
    for (const text of [
      '',
      '.',
      '..',
      'a.b',
      `${token}.x`,
      token.replaceAll('.', ''),
      '{"payload":""}',
      'x'.repeat(20_000),
    ]) {
      await refused(text, 'unverifiable')
    }
  })

  test('TOKEN-5 B4 no other type, issuer or audience', async () => {
    const { pdp, service } = partiesOf('inst_a')
    for (const claims of [
      { iss: undefined },
      { iss: service },
      { iss: `${pdp}x` },
      { aud: undefined },
      { aud: pdp },
      { aud: [pdp, 'urn:x'] },
      { aud: [] },
    ]) {
      await refused(resealed(token, ours, claims), 'unverifiable')
    }
    for (const typ of [undefined, 'JWT', 'arap-approval+jwt', 'at+jwt']) {
      await refused(resealed(token, ours, {}, { typ }), 'unverifiable')
    }
    // one of several audiences is enough
    assert.ok(
      'id' in (await artifacts.openDenial(resealed(token, ours, { aud: ['urn:x', service] }), sent(), NOW)),
    )
    // nor is what one installation says believed by another with the same key
    const elsewhere = artifactsOf([ours], 'inst_b')
    assert.deepEqual(await elsewhere.openDenial(token, sent(), NOW), { refused: 'unverifiable' })
    const state = artifacts.sealApproval({
      approval: 'appr_1',
      request: 'req_1',
      evaluation: 'dec_1',
      at: NOW,
      until: NOW + MINUTE,
      tuple: tupleOf(attempt, ['amount']),
      members: ['amount'],
    })
    await refused(state, 'unverifiable')
    assert.deepEqual(await artifacts.openApproval(token, sent(), NOW), { refused: 'unverifiable' })
    assert.deepEqual(await elsewhere.openApproval(state, sent(), NOW), { refused: 'unverifiable' })
    assert.deepEqual(await artifacts.openApproval(state, sent(), NOW), { approval: 'appr_1', covers: true })
  })

  test('TOKEN-6 every changed character', async () => {
    // the last of each part may hold bits that stand for nothing
    const ends = [...token.matchAll(/\.|$/g)].map(({ index }) => index - 1)
    for (let i = 0; i < token.length; i += 1) {
      if (ends.includes(i)) continue
      const changed = token.slice(0, i) + (token[i] === 'A' ? 'B' : 'A') + token.slice(i + 1)
      const opened = await artifacts.openDenial(changed, sent(), NOW)
      assert.ok('refused' in opened && opened.refused === 'unverifiable', `character ${i}`)
    }
  })

  test('TOKEN-8 the end that is protected', async () => {
    const end = NOW + 10 * MINUTE
    assert.deepEqual(await artifacts.openDenial(token, sent({}, end), NOW), {
      id: 'denial_1',
      evaluation: 'dec_1',
      endsAt: end,
    })
    for (const echo of [end - 1, end + 1, 0, Number.MAX_SAFE_INTEGER])
      await refused(token, 'mismatch', sent({}, echo))
    // the earlier of both ends it
    const short = resealed(token, ours, { exp: Math.floor(NOW / 1_000) + 60 })
    assert.ok('id' in (await artifacts.openDenial(short, sent(), NOW + 50_000)))
    await refused(short, 'expired', sent(), NOW + 61_000)
    await refused(token, 'expired', sent(), end)
    // with nothing protected but `exp`, an echo before it proves nothing
    const exp = Math.floor(NOW / 1_000) + 300
    const bare = resealed(token, ours, { denial_expires_at: undefined, exp })
    assert.ok('id' in (await artifacts.openDenial(bare, sent({}, exp * 1_000), NOW)))
    assert.ok('id' in (await artifacts.openDenial(bare, sent({}, end), NOW)))
    await refused(bare, 'mismatch', sent({}, exp * 1_000 - 1))
    for (const claims of [
      { exp: undefined },
      { jti: undefined },
      { iat: undefined },
      { denial_expires_at: 'soon' },
    ]) {
      await refused(resealed(token, ours, claims), 'unverifiable')
    }
  })

  test('TOKEN-10 what it binds, and nothing less', async () => {
    for (const other of [
      { subject: { type: 'Agent', id: 'm' } },
      { subject: { type: 'Agent', id: 'm', properties: { level: '1' } } },
      { action: { name: 'pay', properties: {} } },
      { resource: { type: 'Database', id: 'payments' } },
      { context: { note: 'n' } },
      { context: { amount: null } },
      { context: { amount: 6 } },
    ]) {
      await refused(token, 'mismatch', sent(other))
    }
    for (const same of [
      { context: { amount: 5 } },
      { context: { amount: 5, more: true } },
      { subject: { type: 'Agent', id: 'm', properties: { level: 1 } } },
    ]) {
      assert.ok('id' in (await artifacts.openDenial(token, sent(same), NOW)))
    }
    // the act of whoever issued it is left out too
    const { subject } = attempt
    assert.ok('id' in (await artifacts.openDenial(resealed(token, ours, { subject }), sent(), NOW)))
    // a set that is not there binds no context; claims that bind no tuple bind nothing
    const free = resealed(token, ours, { binding_context_members: undefined, context: undefined })
    assert.ok('id' in (await artifacts.openDenial(free, sent({ context: {} }), NOW)))
    for (const part of ['subject', 'resource', 'action'])
      await refused(resealed(token, ours, { [part]: undefined }), 'mismatch')
    const nothing = { subject: undefined, resource: undefined, action: undefined, context: undefined }
    await refused(resealed(token, ours, nothing), 'mismatch')
    // hash and inline tuple together must both hold
    await refused(resealed(token, ours, { binding_hash: 'x' }), 'mismatch')
  })

  test('TOKEN-11 by hash where the tuple is long, as the profile builds it', async () => {
    // computed elsewhere over the RFC 8785 text
    assert.equal(
      bindingHash({
        subject: { type: 'user', id: 'alice' },
        resource: { type: 'document', id: 'q4' },
        action: { name: 'can_read' },
        context: {},
      }),
      'v80ovi0304-j3JgF6BOkujdjoTQ4TmEhUzDskhZXU6U',
    )
    const long = {
      subject: { type: 'Agent', id: 'm', properties: { act: { sub: 'y' }, level: 1 } },
      action: { name: 'pay', properties: { parts: [1, 2.5, -0.0001], amount: 1e21 } },
      resource: { type: 'Database', id: 'orders', properties: {} },
      context: { project: 'rénewal', other: 'x', a: null },
    }
    assert.equal(
      bindingHash(tupleOf(long, ['a', 'gone', 'project'])),
      'iI0LxB0YBzUe2ZLiFbXhh5jqj6RDh1jrkHxq196_hvo',
    )
    const context = { text: 'x'.repeat(5_000) }
    const hashed = sealed(artifacts, { tuple: tupleOf({ ...attempt, context }, ['text']), members: ['text'] })
    const { payload } = decoded(hashed)
    assert.deepEqual(
      [payload.subject, payload.context, payload.binding_hash.length],
      [undefined, undefined, 43],
    )
    assert.ok('id' in (await artifacts.openDenial(hashed, sent({ context }), NOW)))
    await refused(hashed, 'mismatch', sent({ context: { text: 'y' } }))
    await refused(hashed, 'mismatch', sent({ context: {} }))
  })

  test('TOKEN-12 B45 a key that was followed keeps its word, and says nothing new', async () => {
    const next = pair('key_2')
    const retired = { ...ours, signer: { ...ours.signer, retiredAt: NOW + MINUTE } }
    const later = artifactsOf([retired, next])
    assert.ok('id' in (await later.openDenial(token, sent(), NOW + 2 * MINUTE)))
    const late = resealed(token, ours, { iat: Math.floor(NOW / 1_000) + 120 })
    assert.deepEqual(await later.openDenial(late, sent(), NOW + 2 * MINUTE), { refused: 'unverifiable' })
    assert.equal(decoded(sealed(later)).header.kid, 'key_2')
    const ids = (now: number) => later.keys(now).map(({ kid }) => kid)
    assert.deepEqual(ids(NOW + 2 * MINUTE), ['key_1', 'key_2'])
    // an approval is good for 30 days at most
    const state = later.sealApproval({
      approval: 'appr_1',
      request: 'req_1',
      evaluation: 'dec_1',
      at: NOW,
      until: NOW + 400 * DAY,
      tuple: tupleOf(attempt, []),
      members: [],
    })
    assert.deepEqual(await later.openApproval(state, sent(), NOW + 31 * DAY), { refused: 'expired' })
    assert.deepEqual(ids(NOW + 30 * DAY), ['key_1', 'key_2'])
    assert.deepEqual(ids(NOW + 31 * DAY), ['key_2'])
  })
})

describe('at the door', () => {
  let bench: Bench
  before(async () => (bench = await openBench()))
  after(() => bench[Symbol.asyncDispose]())
  beforeEach(async () => {
    bench.clock.advance(20 * MINUTE)
    await bench.flows.sweeper.sweep()
  })

  test('TOKEN-1 without an id', async () => {
    const denial = byValue(denialOf(await bench.denied(pay())))
    const { status, body } = await bench.submit({ ...pay(), denial })
    assert.equal(status, 202)
    const { body: shown } = await bench.call('grace', 'GET', `/v1/requests/${body.task.id}`)
    assert.equal(shown.decision, decoded(denial.binding_token).payload.evaluation_id)
  })

  test('TOKEN-2 a good id does not stand in for a bad token, nor for that of another denial', async () => {
    const [one, two] = [
      denialOf(await bench.denied(pay())),
      denialOf(await bench.denied(pay({ context: { n: 1 } }))),
    ]
    const forged = pair(decoded(one.binding_token).header.kid)
    for (const binding_token of [two.binding_token, resealed(one.binding_token, forged, {}), 'x', 'a.b.c']) {
      problem(
        await bench.submit({ ...pay(), denial: { ...one, binding_token } }),
        'invalid_denial_binding',
        400,
      )
    }
    problem(
      await bench.submit({ ...pay(), denial: { ...one, evaluation_id: two.evaluation_id } }),
      'invalid_denial_binding',
      400,
    )
    const { payload, header } = decoded(one.binding_token)
    const none = forge({ ...header, alg: 'none' }, payload, undefined)
    problem(
      await bench.submit({ ...pay(), denial: { ...one, binding_token: none } }),
      'invalid_denial_binding',
      400,
    )
    ordinary(await bench.submit({ ...pay(), denial: { ...one, binding_token: 7 } }), 400)
    for (const expires_at of ['2099-01-01T00:00:00Z', '2020-01-01T00:00:00Z']) {
      problem(await bench.submit({ ...pay(), denial: { ...one, expires_at } }), 'invalid_denial_binding', 400)
    }
  })

  test('TOKEN-7 past its end', async () => {
    const denial = byValue(denialOf(await bench.denied(pay())))
    bench.clock.set(Date.parse(denial.expires_at) - 1)
    assert.equal((await bench.submit({ ...pay(), denial })).status, 202)
    bench.clock.set(Date.parse(denial.expires_at))
    problem(await bench.submit({ ...pay(), denial }), 'expired_denial', 410)
  })

  test('TOKEN-9 C9 it makes one request, at once, in other words, again, and after a restart', async () => {
    const denial = denialOf(await bench.denied(pay({ context: { n: 9 } })))
    const said = (justification: string) => ({ ...pay({ context: { n: 9, justification } }), denial })
    const all = await Promise.all(Array.from({ length: 10 }, (_, i) => bench.submit(said(`reason ${i}`))))
    const made = all.filter(({ status }) => status === 202)
    assert.equal(made.length, 1)
    for (const other of all.filter((one) => one !== made[0])) problem(other, 'invalid_denial_binding', 400)
    const { task } = made[0]?.body ?? {}
    await bench.call('migrator', 'POST', task.links.cancel)
    problem(await bench.submit(said('once more')), 'invalid_denial_binding', 400)
    await using restarted = await bench.restarted()
    problem(await restarted.submit(said('once more')), 'invalid_denial_binding', 400)
    // by reference the same denial may be asked about in other words
    assert.equal((await restarted.submit({ ...said('by id'), denial: byReference(denial) })).status, 202)
    const kept = (await entries(restarted.world.app)).filter(({ kind }) => kind === 'request.submitted')
    assert.equal(kept.at(-2)?.['denial'], decoded(denial.binding_token).payload.jti)
  })
})
