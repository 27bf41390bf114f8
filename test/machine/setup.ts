/**
 * Where every run of the machine begins: an installation with people, agents, policies and a fake target, made once and
 * copied.
 *
 * @module
 */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { App, AppOptions } from '../../src/app.ts'
import { createApp } from '../../src/app.ts'
import type { Caller, EntityInput } from '../../src/flows/port.ts'
import { createCallers } from '../../src/identity/callers.ts'
import type { CalendarSource } from '../../src/model/calendar.ts'
import { DAY, HOUR, MINUTE } from '../../src/model/time.ts'
import { FakeSystem } from '../support/fake-target.ts'
import { listenTo } from '../support/ssf.ts'
import type { ManualClock } from '../support/store.ts'
import { manualClock } from '../support/store.ts'
import { ref, testConfig } from '../support/world.ts'
import type { Policy, Who } from './model.ts'

const base = `
@id("low-risk-read")
permit (principal, action == Action::"read", resource) when { resource.sensitivity <= 1 };

@id("migrate") @ttl("10m") @uses("1") @binding("attempt")
permit (principal in Group::"deployers", action == Action::"db:migrate", resource is Database)
when { context.live has task && context.proof.justification && context.proof.approvals.dba >= 1 };

@id("critical-needs-two") @explain
forbid (principal, action == Action::"db:migrate", resource is Database)
when { resource.sensitivity >= 4 && context.proof.approvals.dba < 2 };

@id("peek") @binding("attempt") @ttl("20m")
permit (principal in Group::"deployers", action == Action::"db:peek", resource is Database)
when { context.proof.approvals.dba >= 1 };

@id("drop")
permit (principal in Group::"deployers", action == Action::"db:drop", resource is Database)
when { context.proof.approvals.dba >= 1 && context.proof.approvals.security >= 1 };

@id("count")
permit (principal in Group::"deployers", action == Action::"db:count", resource is Database)
when { context.live has task };

@id("sized")
forbid (principal, action == Action::"db:count", resource)
when { context has amount && context.amount * 4611686018427387904 < 0 };

@id("guess")
permit (principal, action == Action::"db:guess", resource is Database)
when { context has amount && context.amount * 4611686018427387904 > 0 };

@id("step")
permit (principal in Group::"deployers", action == Action::"db:step", resource is Database)
when { context.live has task && context.live has history && context.live.history.calls < 3 };

@id("look")
permit (principal in Group::"deployers", action == Action::"db:look", resource is Database)
when { context.live has posture && context.live.posture.compliant };

@id("stow") @binding("task")
permit (principal in Group::"deployers", action in [Action::"db:stow", Action::"db:keep"], resource is Database);

@id("keep-unless-risky") @unknown_ignore("risk")
forbid (principal, action == Action::"db:keep", resource is Database)
when { context.live has risk.level && context.live.risk.level > 2 };

@id("change") @binding("task") @ttl("12m")
permit (principal in Group::"deployers", action == Action::"db:change", resource is Database)
when {
  context.live has ticket && context.live.ticket.open && context.live.ticket.approved &&
  (!(context.live.ticket has endsAt) ||
    context.live.ticket has endsAt && context.live.now < context.live.ticket.endsAt) &&
  context.proof.approvals.dba >= 1
};

@id("fix") @binding("task")
permit (principal in Group::"deployers", action == Action::"db:fix", resource is Database)
when { context.live has incident && context.live.incident.open };

@id("release")
permit (principal in Group::"deployers", action == Action::"db:release", resource is Database)
when { context.live has calendars && context.live.calendars.contains("release") };

@id("freeze")
forbid (principal, action == Action::"db:release", resource is Database)
when { context.live has calendars && context.live.calendars.contains("freeze") };

@id("sit") @ttl("14m")
permit (principal in Group::"deployers", action == Action::"db:sit", resource is Database)
when {
  context.live has session && !context.live.session.compromised && !context.live.session.addressChanged
};

@id("monitors-report")
permit (principal is Service, action == Writ::Action::"report", resource);

@id("security-unlocks")
permit (principal in Group::"security", action == Writ::Action::"unlock", resource);

@id("security-approve")
permit (principal in Group::"security", action == Writ::Action::"approve", resource is Database)
when { context.pool == "security" };

@id("administrators")
permit (
  principal in Group::"administrators",
  action in [
    Writ::Action::"publish",
    Writ::Action::"administer",
    Writ::Action::"revoke",
    Writ::Action::"deny",
    Writ::Action::"read",
    Writ::Action::"report",
    Writ::Action::"unlock"
  ],
  resource
);
`

const query = (approvals: number): string => `
@id("query") @ttl("5m") @uses("3") @binding("task")
permit (principal in Group::"deployers", action == Action::"db:query", resource is Database)
when { context.live has task && context.proof.approvals.dba >= ${approvals} };
`

const stow = (level: number): string => `
@id("stow-unless-risky")
forbid (principal, action == Action::"db:stow", resource is Database)
when { context.live has risk.level && context.live.risk.level > ${level} };
`

const pool = (more: string): string => `
@id("dba-approve")
permit (principal in Group::"dba", action == Writ::Action::"approve", resource is Database)
when { context.pool == "dba"${more} };
`

const frozen = `
@id("frozen")
forbid (
  principal,
  action in [
    Action::"db:migrate", Action::"db:query", Action::"db:peek", Action::"db:drop",
    Action::"db:count", Action::"db:guess", Action::"db:step", Action::"db:look", Action::"db:stow",
    Action::"db:keep", Action::"db:change", Action::"db:fix", Action::"db:release", Action::"db:sit"
  ],
  resource
);
`

const texts: Readonly<Record<Policy, string>> = {
  base: base + query(1) + stow(2) + pool(''),
  frozen: base + query(1) + stow(2) + pool('') + frozen,
  strict: base + query(2) + stow(1) + pool(''),
  narrow: base + query(1) + stow(2) + pool(' && !(principal in Group::"security")'),
}

export const policiesOf = (policy: Policy): { name: string; text: string }[] => [
  { name: 'machine.cedar', text: texts[policy] },
]

const person = (id: string, ...groups: string[]): Who => ({
  key: `Person/${id}`,
  human: true,
  groups,
  generation: 0,
  deleted: false,
})

const agent = (id: string, more: { owner?: string; team?: string }): Who => ({
  key: `Agent/${id}`,
  human: false,
  ...more,
  groups: ['deployers'],
  generation: 0,
  deleted: false,
})

/** Everybody at the beginning. `hub` is an enforcement point that may speak for every agent. */
export const everybody = (): Who[] => [
  person('ada', 'administrators'),
  person('grace', 'dba', 'security'),
  person('hedy', 'dba', 'deployers'),
  person('ivan', 'dba'),
  person('judy', 'security'),
  person('ken', 'deployers'),
  agent('migrator', { owner: 'Person/ada' }),
  agent('runner', { owner: 'Person/grace' }),
  agent('helper', { owner: 'Agent/runner' }),
  agent('bot', { team: 'Group/dba' }),
  agent('stray', {}),
  { key: 'Service/hub', human: false, owner: 'Person/hedy', groups: [], generation: 0, deleted: false },
]

/** What Writ is told about somebody. */
export const inputOf = (who: Who): EntityInput => ({
  ...ref(who.key),
  ...(who.human ? {} : { kind: 'agent' as const }),
  // what is left out would stay
  owner: who.owner === undefined ? null : ref(who.owner),
  team: who.team === undefined ? null : ref(who.team),
  endsAt: who.endsAt ?? null,
  parents: who.groups.map((group) => ref(`Group/${group}`)),
})

const things: readonly EntityInput[] = [
  { type: 'Cluster', id: 'shop', kind: 'resource', sensitivity: 3 },
  { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 3, parents: [ref('Cluster/shop')] },
  {
    type: 'Database',
    id: 'payments',
    kind: 'resource',
    sensitivity: 4,
    parents: [ref('Cluster/shop')],
    owner: ref('Person/ken'),
  },
  { type: 'Document', id: 'handbook', kind: 'resource', sensitivity: 1 },
]

export const TARGET = 'fake-db'
export const actionsServed = [
  'db:migrate',
  'db:query',
  'db:peek',
  'db:drop',
  'db:count',
  'db:look',
  'db:stow',
  'db:keep',
  'db:change',
  'db:fix',
  'db:release',
  'db:sit',
]

/** Whom the transmitter of signals speaks of, by the ids that it uses. */
export const spokenOf: Readonly<Record<string, string>> = {
  'u-grace': 'Person/grace',
  'u-hedy': 'Person/hedy',
  'u-ken': 'Person/ken',
  'w-migrator': 'Agent/migrator',
  'w-runner': 'Agent/runner',
  'w-bot': 'Agent/bot',
}
/** How long what it says is believed. */
export const SIGNALS_BELIEVED = 10 * MINUTE

/** Calendars that policies know; nobody reads them but the machine, which says itself what stands in them. */
const calendar = (name: string): CalendarSource => ({
  name,
  from: { file: '/dev/null/calendar.ics' },
  refresh: DAY,
  maxAge: HOUR,
  horizon: DAY,
  tentative: false,
})

/** Bytes that only the seed decides (mulberry32). */
export function seededBytes(seed: number): (size: number) => Uint8Array {
  let state = seed >>> 0
  return (size) => {
    const bytes = new Uint8Array(size)
    for (let i = 0; i < size; i += 1) {
      state = (state + 0x6d2b79f5) >>> 0
      let mixed = Math.imul(state ^ (state >>> 15), state | 1)
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
      bytes[i] = (mixed ^ (mixed >>> 14)) & 0xff
    }
    return bytes
  }
}

/** The one installation that runs are copies of. */
export type Template = Readonly<{
  folder: string
  startedAt: number
  callers: ReadonlyMap<string, Caller>
  dispose(): void
}>

export type AppParts = Readonly<{
  clock: ManualClock
  randomBytes: (size: number) => Uint8Array
  system: FakeSystem
  log: NonNullable<AppOptions['log']>
  keyFile: string
  hooks?: NonNullable<AppOptions['hooks']>
  /** Whom decisions ask, and how long they wait for them. */
  desk?: Required<Pick<AppOptions, 'sources' | 'sleep'>>
}>

/** Nothing listens, nothing sweeps by itself. */
export async function openApp(folder: string, parts: AppParts): Promise<App> {
  const { clock, randomBytes, system, log, keyFile, hooks, desk } = parts
  // many copies share the key file, but each has a life of its own
  const config = testConfig(folder, {
    data: folder,
    keyFile,
    log: { mark: `${folder}.mark` },
    calendars: [calendar('release'), calendar('freeze')],
    signals: {
      receivers: [
        listenTo({
          subjects: {
            map: Object.fromEntries(Object.entries(spokenOf).map(([id, key]) => [id, ref(key)])),
          },
          maxAge: SIGNALS_BELIEVED,
          silence: 30 * DAY,
        }),
      ],
    },
  })
  return createApp(config, {
    mode: 'server',
    bootstrapPerson: 'ada',
    clock,
    randomBytes,
    log,
    ...(hooks === undefined ? {} : { hooks }),
    ...desk,
    targetKinds: { fake: ({ id }) => system.connect(id) },
    http: false,
    sweeper: false,
  })
}

export const keyFileOf = (template: Template): string => join(template.folder, 'secrets.key')

export async function makeTemplate(): Promise<Template> {
  const folder = mkdtempSync(join(tmpdir(), 'writ-machine-'))
  const clock = manualClock()
  const app = await openApp(join(folder, 'data'), {
    clock,
    randomBytes: seededBytes(0xffff_ffff),
    system: new FakeSystem(),
    log: () => undefined,
    keyFile: join(folder, 'secrets.key'),
  })
  const { flows, store } = app
  const callerOf = (token: string): Promise<Caller> =>
    createCallers({ store }).authenticate({ authorization: `Bearer ${token}` })
  const enrol = async (code: { expose(): string }): Promise<Caller> =>
    callerOf((await flows.redeem(code.expose())).token.expose())

  const callers = new Map<string, Caller>()
  const code = await flows.bootstrapCode('ada', 'bootstrap')
  if (code === undefined) throw new Error('this folder was set up before')
  const ada = await enrol(code)
  callers.set('Person/ada', ada)
  await flows.putEntities(ada, [...everybody().map(inputOf), ...things])
  await flows.publish(ada, { policies: policiesOf('base') })
  for (const { key, human } of everybody()) {
    if (key === 'Person/ada') continue
    callers.set(
      key,
      human ? await enrol((await flows.invite(ada, { id: ref(key).id })).code) : await newKey(app, ada, key),
    )
  }
  const access = actionsServed.flatMap((action) =>
    ['Database/orders', 'Database/payments'].map((resource) => ({ action, resource, role: 'any' })),
  )
  await flows.addTarget(ada, {
    id: TARGET,
    kind: 'fake',
    config: { access },
    admin: { user: 'fake', password: 'fake' },
  })
  await app.stop()
  return {
    folder,
    startedAt: clock.wall(),
    callers,
    dispose: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** A new key of a machine. */
export async function newKey(app: App, ada: Caller, key: string): Promise<Caller> {
  const isHub = key === 'Service/hub'
  const { secret } = await app.flows.createKey(ada, {
    name: key,
    subject: ref(key),
    ...(isHub ? { pep: { subjects: ['Agent'], attributes: {} } } : {}),
  })
  return createCallers({ store: app.store }).authenticate({ authorization: `Bearer ${secret.expose()}` })
}

/** A new session of a person. */
export async function newSession(app: App, ada: Caller, key: string): Promise<Caller> {
  const { code } = await app.flows.invite(ada, { id: ref(key).id })
  const { token } = await app.flows.redeem(code.expose())
  return createCallers({ store: app.store }).authenticate({ authorization: `Bearer ${token.expose()}` })
}

/** What a killed process leaves on its disk; `reserve` and the lock are made anew. */
export function copyData(from: string, to: string): void {
  mkdirSync(to, { recursive: true, mode: 0o700 })
  // with what is remembered of it, else it would be a copy that was put back
  if (existsSync(`${from}.mark`)) copyFileSync(`${from}.mark`, `${to}.mark`)
  for (const name of ['writ.db', 'writ.db-wal']) {
    if (existsSync(join(from, name))) copyFileSync(join(from, name), join(to, name))
  }
}
