/**
 * P5: a token: what proves who asks is verified, each thing is decided, the token is signed, everything is on the record
 * in one durable commit.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import type { TokenRequest } from '../src/model/token.ts'
import {
  clientConfig,
  idpToken,
  issuerConfig,
  newKey,
  OAuthClient,
  tokenConfig,
} from '../test/support/oauth.ts'
import { openWorld, ref, starterPolicies } from '../test/support/world.ts'
import type { Row, Sample } from './measure.ts'
import { rss, sample } from './measure.ts'

/** Assertions signed beforehand, since the client's work is not ours: each is good once. */
const ASSERTIONS = 60_000

const POLICY =
  '@id("read") permit (principal in Group::"readers", action == Action::"ledger:read", resource is Api);'

const lines = (metric: string, { p50, p99, p999, rate }: Sample): Row[] =>
  (
    [
      ['p50', p50, 'ms'],
      ['p99', p99, 'ms'],
      ['p99.9', p999, 'ms'],
      ['rate', rate, '/s'],
    ] as const
  ).map(([name, value, unit]) => ({
    bench: 'tokens',
    metric: `${metric} ${name}`,
    value,
    unit,
    peer: null,
    ratio: null,
  }))

export async function tokens(): Promise<readonly Row[]> {
  const idp = newKey('idp')
  const client = { id: 'web', key: newKey('web') }
  await using world = await openWorld({
    http: false,
    policies: [...starterPolicies(), { name: 'api.cedar', text: POLICY }],
    entities: [
      { type: 'Api', id: 'ledger', kind: 'resource', sensitivity: 1 },
      { type: 'Service', id: 'web', kind: 'workload', parents: [ref('Group/readers')] },
      { type: 'Service', id: 'api', kind: 'workload', parents: [ref('Group/readers')] },
    ],
    config: { issuers: [issuerConfig(idp)], tokens: tokenConfig([clientConfig(client, 'Service/web')]) },
  })
  const { flows } = world.app
  const asking = new OAuthClient('web', flows.tokens.issuer, Date.now, client.key)
  const arrival = { url: `${flows.tokens.issuer}/oauth/token` }
  const wanted = {
    requested: 'access_token',
    audience: { ref: ref('Api/ledger') },
    scope: ['ledger:read'],
    details: [],
  } as const
  const issue = async (request: TokenRequest): Promise<void> => {
    const issued = await flows.tokens.token(request, arrival)
    assert.ok('token' in issued && issued.text.length > 0)
  }

  const exchange: TokenRequest = {
    ...wanted,
    grant: 'exchange',
    client: {},
    subjectToken: idpToken(idp, 'web', Date.now()),
    actorToken: idpToken(idp, 'api', Date.now()),
  }
  const assertions: string[] = []
  const credentials = (): TokenRequest => ({
    ...wanted,
    grant: 'client',
    client: { assertion: assertions.pop() ?? asking.assertion() },
  })
  const rows: Row[] = []
  for (const concurrency of [1, 32]) {
    const options = { seconds: 2, concurrency }
    rows.push(...lines(`exchange, ${concurrency} in flight`, await sample(() => issue(exchange), options)))
    while (assertions.length < ASSERTIONS) assertions.push(asking.assertion({ exp: asking.seconds + 500 }))
    rows.push(
      ...lines(
        `client credentials, ${concurrency} in flight`,
        await sample(() => issue(credentials()), options),
      ),
    )
  }
  return [...rows, rss('tokens')]
}
