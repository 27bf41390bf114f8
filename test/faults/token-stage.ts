/**
 * Where tokens are attacked: three clients with keys, an issuer, a ledger and its server.
 *
 * @module
 */
import type { Key, OAuthClient } from '../support/oauth.ts'
import {
  clientConfig,
  idpToken,
  issuerConfig,
  newKey,
  OAuthClient as Client,
  tokenConfig,
} from '../support/oauth.ts'
import type { WorldOptions } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { faultWorld, ref, withPolicy } from './support.ts'

const POLICY = withPolicy(`
@id("ledger-read") permit (principal in Group::"readers", action == Action::"ledger:read", resource is Api);
@id("ledger-post") permit (principal in Group::"posters", action == Action::"ledger:post", resource is Api);
@id("peek") permit (principal in Group::"readers", action == Writ::Action::"observe", resource);
@id("call") permit (principal in Group::"readers", action == Action::"service:call", resource is Service);
@id("once") @uses("1") permit (principal in Group::"readers", action == Action::"ledger:once", resource is Api);
`)

export const ENTITIES = [
  { type: 'Api', id: 'ledger', kind: 'resource' as const, sensitivity: 1 as const },
  { type: 'Api', id: 'vault', kind: 'resource' as const, sensitivity: 4 as const },
  {
    type: 'Service',
    id: 'web',
    kind: 'workload' as const,
    owner: ref('Person/ada'),
    parents: [ref('Group/readers'), ref('Group/posters')],
  },
  {
    type: 'Service',
    id: 'api',
    kind: 'workload' as const,
    owner: ref('Person/ada'),
    parents: [ref('Group/readers')],
  },
  { type: 'Service', id: 'poor', kind: 'workload' as const, owner: ref('Person/ada') },
]

export type Stage = Readonly<{
  world: FaultWorld
  /** Service/web, which may read and post; Service/api, which may read and is the ledger's server; both have keys. */
  web: OAuthClient
  api: OAuthClient
  /** The deployer of S01 with a key of its own. */
  migrator: OAuthClient
  idp: Key
  now: () => number
  idpToken(sub: string, more?: Readonly<Record<string, unknown>>): string
  [Symbol.asyncDispose](): Promise<void>
}>

export async function stage(
  options: WorldOptions & { tokens?: Parameters<typeof tokenConfig>[1] } = {},
): Promise<Stage> {
  const { tokens, ...rest } = options
  const idp = newKey('idp-1')
  const clients = ['web', 'api', 'migrator'].map((id) => ({ id, key: newKey(id) }))
  const [web, api, migrator] = clients as [(typeof clients)[0], (typeof clients)[0], (typeof clients)[0]]
  const world = await faultWorld({
    http: true,
    policies: POLICY,
    entities: ENTITIES,
    ...rest,
    config: {
      issuers: [issuerConfig(idp)],
      tokens: tokenConfig(
        [
          clientConfig(web, 'Service/web'),
          clientConfig(api, 'Service/api', ['Api/ledger', 'Api/one']),
          clientConfig(migrator, 'Agent/migrator'),
        ],
        tokens,
      ),
      ...rest.config,
    },
  })
  const now = (): number => world.clock.wall()
  const made = ({ id, key }: { id: string; key: Key }): OAuthClient => new Client(id, world.app.url, now, key)
  return {
    world,
    web: made(web),
    api: made(api),
    migrator: made(migrator),
    idp,
    now,
    idpToken: (sub, more) => idpToken(idp, sub, now(), more),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  }
}

export const LEDGER = { audience: 'Api/ledger', scope: 'ledger:read' }
