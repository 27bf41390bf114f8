/**
 * A whole Writ on a data folder of its own, with people, an agent and policies in place: what most tests begin with.
 *
 * @module
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { App, AppOptions } from '../../src/app.ts'
import { createApp } from '../../src/app.ts'
import type { ServerConfig } from '../../src/config/index.ts'
import type { AttemptInput, Caller, EntityInput } from '../../src/flows/port.ts'
import { createCallers } from '../../src/identity/callers.ts'
import type { EntityRef } from '../../src/model/entity.ts'
import { makeIssuer } from '../../src/model/issuer.ts'
import type { AccessRequest } from '../../src/model/request.ts'

export const folderOf = (name: string): string => mkdtempSync(join(tmpdir(), `writ-${name}-`))

/** Issuers whose accounts are linked in tests; their keys are nowhere. */
const ISSUERS = ['github', 'corp'].map((name) =>
  makeIssuer({
    name,
    kind: 'oidc',
    issuer: `https://${name}.issuer.test`,
    audiences: ['writ'],
    keys: { from: 'uri', uri: `https://${name}.issuer.test/jwks` },
    rules: [{ subject: { type: 'Service', claims: ['@issuer', 'sub'] } }],
  }),
)

const DEFAULTS = {
  request: 900_000,
  task: 1_800_000,
  heartbeat: 15_000,
  grant: 900_000,
  thirdPartyGrant: 300_000,
}

/** A server's configuration in `folder`, on a free port of this machine. */
export function testConfig(folder: string, more: Partial<ServerConfig> = {}): ServerConfig {
  return {
    data: join(folder, 'data'),
    host: '127.0.0.1',
    port: 0,
    keyFile: join(folder, 'secrets.key'),
    policies: join(folder, 'policies'),
    defaults: DEFAULTS,
    limits: { body: 262_144, depth: 32, rate: 100_000 },
    issuers: ISSUERS,
    ...more,
  }
}

/** The starter policies that every folder begins with. */
export function starterPolicies(): readonly { name: string; text: string }[] {
  const folder = new URL('../../policies/', import.meta.url)
  return ['migration.cedar', 'writ.cedar'].map((name) => ({
    name,
    text: readFileSync(new URL(name, folder), 'utf8'),
  }))
}

/** ada owns the migrator and administers; grace and hedy are database people; nobody else may approve. */
export const people: readonly EntityInput[] = [
  { type: 'Person', id: 'ada', parents: [ref('Group/administrators'), ref('Group/developers')] },
  { type: 'Person', id: 'grace', parents: [ref('Group/dba')] },
  { type: 'Person', id: 'hedy', parents: [ref('Group/dba')] },
  {
    type: 'Agent',
    id: 'migrator',
    kind: 'agent',
    owner: ref('Person/ada'),
    parents: [ref('Group/deployers')],
  },
  {
    type: 'Service',
    id: 'orders-ci',
    kind: 'workload',
    owner: ref('Person/ada'),
    parents: [ref('Group/deployers')],
  },
  { type: 'Database', id: 'orders', kind: 'resource', team: ref('Group/dba'), sensitivity: 3 },
  { type: 'Database', id: 'payments', kind: 'resource', team: ref('Group/dba'), sensitivity: 4 },
  { type: 'Document', id: 'handbook', kind: 'resource', team: ref('Group/developers'), sensitivity: 1 },
]

export function ref(text: string): EntityRef {
  const cut = text.indexOf('/')
  return { type: text.slice(0, cut), id: text.slice(cut + 1) }
}

export type World = Readonly<{
  app: App
  folder: string
  config: ServerConfig
  /** Callers: ada's, grace's and hedy's sessions, the migrator's API key. */
  ada: Caller
  grace: Caller
  hedy: Caller
  migrator: Caller
  /** Bearer tokens of the same, for the HTTP doors. */
  tokens: Readonly<Record<'ada' | 'grace' | 'hedy' | 'migrator', string>>
  /** Stops and starts again on the same folder. Callers stay valid. */
  restart(more?: Partial<AppOptions>): Promise<World>
  [Symbol.asyncDispose](): Promise<void>
}>

export type WorldOptions = Partial<AppOptions> &
  Readonly<{
    folder?: string
    config?: Partial<ServerConfig>
    policies?: readonly { name: string; text: string }[]
    /** Beside the people above. */
    entities?: readonly EntityInput[]
  }>

/** Opens a world; leaving the scope stops it and removes its folder. */
export async function openWorld(options: WorldOptions = {}): Promise<World> {
  const {
    folder = folderOf('world'),
    config: more,
    policies = starterPolicies(),
    entities = [],
    ...rest
  } = options
  const config = testConfig(folder, {
    // where time goes on by itself a busy machine must not end what nobody sends heartbeats for
    ...(options.clock === undefined ? { defaults: { ...DEFAULTS, heartbeat: 600_000 } } : {}),
    ...more,
  })
  const appOptions: AppOptions = { mode: 'server', bootstrapPerson: 'ada', log: () => undefined, ...rest }
  const app = await createApp(config, appOptions)
  const session = async (code: { expose(): string }) => (await app.flows.redeem(code.expose())).token.expose()

  const code = await app.flows.bootstrapCode('ada', 'bootstrap')
  if (code === undefined) throw new Error('this folder was set up before')
  const adaToken = await session(code)
  const ada = await callerOf(app, adaToken)
  await app.flows.putEntities(ada, [...people, ...entities])
  await app.flows.publish(ada, { policies })
  const graceToken = await session((await app.flows.invite(ada, { id: 'grace' })).code)
  const hedyToken = await session((await app.flows.invite(ada, { id: 'hedy' })).code)
  const key = await app.flows.createKey(ada, { name: 'migrator', subject: ref('Agent/migrator') })
  const tokens = { ada: adaToken, grace: graceToken, hedy: hedyToken, migrator: key.secret.expose() }
  const callers = {
    ada,
    grace: await callerOf(app, graceToken),
    hedy: await callerOf(app, hedyToken),
    migrator: await callerOf(app, tokens.migrator),
  }
  const world = (running: App): World => ({
    app: running,
    folder,
    config,
    ...callers,
    tokens,
    async restart(changed = {}) {
      await running.stop()
      return world(await createApp(config, { ...appOptions, ...changed }))
    },
    async [Symbol.asyncDispose]() {
      await running.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  })
  return world(app)
}

/** The caller behind a bearer token. */
export const callerOf = (app: App, token: string): Promise<Caller> =>
  createCallers({ store: app.store }).authenticate({ authorization: `Bearer ${token}` })

export function attempt(
  subject: string,
  action: string,
  resource: string,
  context: Record<string, string> = {},
): AttemptInput {
  return { subject: ref(subject), action: { name: action }, resource: ref(resource), context }
}

/** The migration that most tests try: db:migrate on Database/orders by the migrator. */
export const migration = (task: string | undefined, more: Record<string, string> = {}): AttemptInput =>
  attempt('Agent/migrator', 'db:migrate', 'Database/orders', {
    ...(task === undefined ? {} : { task }),
    ...more,
  })

/** Declares a task for the migration; returns its id. */
export async function declare(world: World, more: Record<string, unknown> = {}): Promise<string> {
  const task = await world.app.flows.declareTask(world.migrator, {
    purpose: 'add a column',
    reason: 'INC-42',
    scope: { actions: ['db:migrate'], resources: [ref('Database/orders')] },
    ...more,
  })
  return task.id
}

/** Evaluates, is challenged, and submits: the pending request. */
export async function requestMigration(world: World, task: string): Promise<AccessRequest> {
  const decision = await world.app.flows.evaluate(world.migrator, migration(task))
  if (decision.outcome !== 'challenge') throw new Error(`expected a challenge, got ${decision.reason}`)
  return world.app.flows.submit(world.migrator, {
    ...migration(task),
    denial: { evaluationId: decision.id, expiresAt: decision.requestableUntil ?? 0 },
  })
}

/** The whole way to an active grant: declare, ask, grace approves, activate. */
export async function activeGrant(
  world: World,
  task?: string,
): Promise<{ task: string; grant: string; approval: string }> {
  const id = task ?? (await declare(world))
  const request = await requestMigration(world, id)
  const approved = await world.app.flows.approve(world.grace, request.id, { statement: request.digest })
  const approval = approved.approval ?? ''
  const { decision, grant } = await world.app.flows.activate(world.migrator, migration(id, { approval }))
  if (grant === undefined) throw new Error(`expected a grant, got ${decision.reason}`)
  return { task: id, grant: grant.id, approval }
}
