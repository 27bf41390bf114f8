/**
 * A process that dies while it issues a token: what it leaves is a permit with its token, or neither, and no proof that
 * could be used again.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { TokenRequest } from '../../src/model/token.ts'
import { isWritError } from '../../src/model/errors.ts'
import { engineFlags } from '../support/engine.ts'
import { OAuthClient, athOf, clientConfig, newKey, tokenConfig } from '../support/oauth.ts'
import { openWorld, ref, starterPolicies } from '../support/world.ts'

const ISSUER = 'https://writ.example'
const url = `${ISSUER}/oauth/token`
const POLICY = '@id("read") permit (principal, action == Action::"ledger:read", resource is Api);'

describe('B40 B6 a process that is killed while it issues a token', () => {
  for (const when of ['before', 'after'] as const) {
    test(`${when} the commit leaves what can be accounted for`, async () => {
      const client = { id: 'web', key: newKey('web') }
      await using world = await openWorld({
        http: false,
        sweeper: false,
        policies: [...starterPolicies(), { name: 'api.cedar', text: POLICY }],
        entities: [
          { type: 'Api', id: 'ledger', kind: 'resource', sensitivity: 1 },
          { type: 'Service', id: 'web', kind: 'workload' },
        ],
        config: { publicUrl: ISSUER, tokens: tokenConfig([clientConfig(client, 'Service/web')]) },
      })
      const asking = new OAuthClient('web', ISSUER, Date.now, client.key)
      const request: TokenRequest = {
        grant: 'client',
        client: { assertion: asking.assertion() },
        requested: 'access_token',
        audience: { ref: ref('Api/ledger') },
        scope: ['ledger:read'],
        details: [],
      }
      await world.app.stop()
      const stage = join(world.folder, 'stage.json')
      writeFileSync(stage, JSON.stringify({ config: world.config, request, url }))
      const child = join(import.meta.dirname, 'tokens-child.ts')
      const { signal, stdout } = spawnSync(process.execPath, [...engineFlags, child, stage, when], {
        encoding: 'utf8',
      })
      assert.equal(signal, 'SIGKILL')
      assert.equal(stdout, '', 'nobody heard of it')

      const { app } = await world.restart()
      try {
        const { items } = await app.flows.tokens.list(world.ada, {})
        const permits = (await app.flows.decisions(world.ada, { ref: 'Api/ledger' })).items
        assert.deepEqual([items.length, permits.length], when === 'before' ? [0, 0] : [1, 1])
        const again = await app.flows.tokens.token(request, { url }).catch((error: unknown) => {
          assert.ok(isWritError(error))
          return error.problem
        })
        // what was never accepted is good once; what was accepted is not, whoever heard of it
        if (when === 'before') assert.ok(typeof again === 'object' && 'token' in again)
        else assert.equal(again, 'invalid_client')
      } finally {
        await app.stop()
      }
    })
  }
})

test('B6 a proof of possession that was spent is spent for every process that comes later', async () => {
  const client = { id: 'web', key: newKey('web') }
  await using world = await openWorld({
    http: false,
    sweeper: false,
    policies: [...starterPolicies(), { name: 'api.cedar', text: POLICY }],
    entities: [
      { type: 'Api', id: 'ledger', kind: 'resource', sensitivity: 1 },
      { type: 'Service', id: 'web', kind: 'workload' },
    ],
    config: { publicUrl: ISSUER, tokens: tokenConfig([clientConfig(client, 'Service/web')]) },
  })
  const asking = new OAuthClient('web', ISSUER, Date.now, client.key)
  const problemOf = (work: Promise<unknown>): Promise<string | undefined> =>
    work.then(
      () => undefined,
      (error: unknown) => (isWritError(error) ? error.problem : String(error)),
    )
  const request = (more: Partial<TokenRequest> = {}): TokenRequest => ({
    grant: 'client',
    client: { assertion: asking.assertion() },
    requested: 'access_token',
    scope: [],
    details: [],
    audience: { uri: ISSUER },
    ...more,
  })
  const { tokens } = world.app.flows
  asking.nonce = tokens.dpop.nonce(Date.now())
  const dpop = asking.proof()
  const issued = await tokens.token(request(), { url, dpop })
  assert.ok('token' in issued)
  const call = { method: 'GET', url: `${ISSUER}/v1/me`, accessToken: issued.text }
  const proof = asking.proof({ htm: 'GET', ath: athOf(issued.text) }, {}, '/v1/me')
  await (await tokens.possession(proof, call)).spend()
  const { app } = await world.restart()
  try {
    const later = app.flows.tokens
    // the same nonce is good there, and the proof all the same is none
    assert.equal(await problemOf(later.token(request(), { url, dpop })), 'invalid_dpop_proof')
    const possessed = await later.possession(proof, call)
    assert.equal(await problemOf(possessed.spend()), 'invalid_dpop_proof')
    assert.ok('token' in (await later.token(request(), { url, dpop: asking.proof() })))
    const fresh = asking.proof({ htm: 'GET', ath: athOf(issued.text) }, {}, '/v1/me')
    await (await later.possession(fresh, call)).spend()
  } finally {
    await app.stop()
  }
})
