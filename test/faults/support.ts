/**
 * What the fault tests share: worlds on a clock that only the test moves, targets that fail on command, and short
 * ways to say what happened.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { App, AppOptions } from '../../src/app.ts'
import type { Caller, EntityInput } from '../../src/flows/port.ts'
import type { PepTrust } from '../../src/model/access.ts'
import type { WritError } from '../../src/model/errors.ts'
import { isWritError } from '../../src/model/errors.ts'
import type { Store } from '../../src/store/port.ts'
import { isPruned } from '../../src/store/port.ts'
import { FakeSystem } from '../support/fake-target.ts'
import type { ManualClock } from '../support/store.ts'
import { manualClock } from '../support/store.ts'
import type { World, WorldOptions } from '../support/world.ts'
import { callerOf, openWorld, ref, starterPolicies } from '../support/world.ts'

export { attempt, callerOf, ref } from '../support/world.ts'

export type FaultWorld = World & Readonly<{ clock: ManualClock; system: FakeSystem }>

const ORDERS = 'orders-db'

/**
 * A world without doors and sweeper, on a manual clock; `system` is the fake behind target `orders-db`, which serves
 * Database/orders with `targets: true`.
 */
export async function faultWorld(options: WorldOptions & { targets?: boolean } = {}): Promise<FaultWorld> {
  const { targets = false, ...rest } = options
  const clock = manualClock()
  const system = new FakeSystem()
  // what exists there outlives a restart of Writ
  const systems = new Map<string, FakeSystem>([[ORDERS, system]])
  const world = await openWorld({
    clock,
    http: false,
    sweeper: false,
    targetKinds: {
      fake: ({ id }) => {
        const known = systems.get(id) ?? new FakeSystem()
        systems.set(id, known)
        return known.connect(id)
      },
    },
    ...rest,
  })
  if (targets) await serve(world, ORDERS, 'db:migrate', 'Database/orders')
  return { ...world, clock, system }
}

/** Sources are waited for as long as they take: what they say does not hang on how busy this machine is. */
export const patient: NonNullable<AppOptions['sleep']> = (_ms, signal) =>
  new Promise((over) => signal.addEventListener('abort', () => over(), { once: true }))

/** Configures a fake target that serves one action on one resource. */
export async function serve(world: World, id: string, action: string, resource: string): Promise<void> {
  await world.app.flows.addTarget(world.ada, {
    id,
    kind: 'fake',
    config: { access: [{ action, resource, role: 'migrate' }] },
    admin: { user: 'admin', password: 'canary-admin' },
  })
}

/** The starter policies with `text` beside them. */
export const withPolicy = (text: string): readonly { name: string; text: string }[] => [
  ...starterPolicies(),
  { name: 'test.cedar', text },
]

/** The caller behind a new API key. */
export async function keyFor(world: World, subject: string, pep?: PepTrust): Promise<Caller> {
  const key = await world.app.flows.createKey(world.ada, {
    name: subject,
    subject: ref(subject),
    ...(pep === undefined ? {} : { pep }),
  })
  return callerOf(world.app, key.secret.expose())
}

/** The caller behind a new session of a person. */
export async function sessionFor(world: World, id: string, groups: readonly string[] = []): Promise<Caller> {
  const { code } = await world.app.flows.invite(world.ada, { id, groups: groups.map(ref) })
  return callerOf(world.app, (await world.app.flows.redeem(code.expose())).token.expose())
}

/** Publishes as ada and has grace agree if a second person must. */
export async function publish(
  world: World,
  policies: readonly { name: string; text: string }[],
): Promise<string> {
  const version = await world.app.flows.publish(world.ada, { policies })
  return version.version
}

/** Everybody signs in again, as after a restore they must: ada by the code that the operator of the machine has. */
export async function signedIn<W extends World>(world: W): Promise<W> {
  const { flows } = world.app
  const codes = await flows.restoreCodes()
  const code = codes.find(({ person }) => person.id === 'ada')?.code.expose() ?? ''
  const ada = await callerOf(world.app, (await flows.redeem(code)).token.expose())
  const known = { ...world, ada }
  return { ...known, grace: await sessionFor(known, 'grace'), hedy: await sessionFor(known, 'hedy') }
}

/** An administrator has looked at what came back with a copy. */
export const acknowledge = async ({ app, ada }: World): Promise<void> =>
  app.flows.acknowledgeRestore(ada, (await app.flows.epoch(ada)).epoch)

export async function put(world: World, ...entities: readonly EntityInput[]): Promise<void> {
  await world.app.flows.putEntities(world.ada, entities)
}

/** The error of `work`, which must be one of Writ's with `code`. */
export async function fails(work: Promise<unknown>, code: string): Promise<WritError> {
  try {
    await work
  } catch (error) {
    assert.ok(isWritError(error), `expected a WritError, got ${String(error)}`)
    assert.equal(error.code, code, error.message)
    return error
  }
  return assert.fail(`expected ${code}, but it went through`)
}

/** Every entry of the log, parsed. */
export async function entries(app: App): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const { size } = await app.store.log.head()
  const found: Record<string, unknown>[] = []
  for (let from = 0; from < size; from += 1_000) {
    for (const entry of await app.store.log.entries(from, Math.min(size, from + 1_000))) {
      if (isPruned(entry)) continue
      found.push(JSON.parse(Buffer.from(entry.bytes).toString('utf8')) as Record<string, unknown>)
    }
  }
  return found
}

export const kindsOf = async (app: App): Promise<readonly string[]> =>
  (await entries(app)).map((entry) => String(entry['kind']))

/** How many times each outcome and reason came out, e.g. `{ permit: 10, 'deny task_limit': 490 }`. */
export function tally(decisions: readonly { outcome: string; reason: string }[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { outcome, reason } of decisions) {
    const key = outcome === 'permit' ? outcome : `${outcome} ${reason}`
    counts[key] = (counts[key] ?? 0) + 1
  }
  return counts
}

/** Sweeps until nothing is due and no revocation is under way. */
export async function settle(app: App): Promise<void> {
  await app.flows.sweeper.sweep()
  await app.flows.settled()
}

/**
 * Runs `between` after the next attempt was analysed and before it is committed: the store's next commit waits for it.
 * `times` commits in a row, or all until the returned function is called.
 */
export function interpose(world: World, between: (nth: number) => Promise<unknown>, times = 1): () => void {
  const store = world.app.decision.store as { commit: Store['commit'] }
  const commit = store.commit
  let nth = 0
  const restore = (): void => {
    store.commit = commit
  }
  const waiting: Store['commit'] = async (item) => {
    restore()
    nth += 1
    await between(nth)
    if (nth < times) store.commit = waiting
    return commit(item)
  }
  store.commit = waiting
  return restore
}
