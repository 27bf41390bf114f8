/**
 * Search: exactly what an evaluation would permit, decided by pages, for who may ask and nobody else.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Found, SearchInput, SearchOptions } from '../../src/flows/searching.ts'
import { CANDIDATES_MOST } from '../../src/flows/searching.ts'
import type { Caller, EntityInput } from '../../src/flows/port.ts'
import type { EntityRef } from '../../src/model/entity.ts'
import { WritError } from '../../src/model/errors.ts'
import { keyFor, withPolicy } from '../faults/support.ts'
import { manualClock } from '../support/store.ts'
import type { World } from '../support/world.ts'
import { activeGrant, attempt, declare, openWorld, ref } from '../support/world.ts'

/** The enforcement point. */
const PEP: EntityInput = { type: 'Workload', id: 'pep', kind: 'workload' }
const everyone = { subjects: ['*'], attributes: { User: ['level'], Doc: ['open'] } }

/** All pages of a search. */
async function all(
  world: World,
  caller: Caller,
  input: SearchInput,
  limit?: number,
): Promise<{ ids: string[]; pages: number; decided: number }> {
  const ids: string[] = []
  let decided = 0
  let token: string | undefined
  for (let pages = 1; ; pages += 1) {
    const found: Found = await world.app.flows.searchAccess(caller, input, {
      ...(limit === undefined ? {} : { limit }),
      ...(token === undefined ? {} : { token }),
    })
    ids.push(...found.ids)
    decided += found.decided
    if (found.next === undefined) return { ids, pages, decided }
    assert.ok(pages < 500, 'it never ends')
    token = found.next
  }
}

const users = ['u1', 'u2', 'u3', 'u "4"', 'ü5']
const groups = ['g1', 'g2', 'g3']
const docs = ['d1', 'd2', 'd3', 'd/4']
const folders = ['f1', 'f2']
const actions = ['read', 'write', 'share']

const quoted = (id: string): string => JSON.stringify(id)
const some = (of: readonly string[], type: string) =>
  fc.subarray([...of], { maxLength: Math.min(2, of.length) }).map((ids) => ids.map((id) => ({ type, id })))

/** Groups hold users and groups, folders hold documents and folders; parents come later in the list, so none is a cycle. */
const inventory: fc.Arbitrary<EntityInput[]> = fc
  .tuple(
    fc.array(fc.tuple(some(groups, 'Team'), fc.integer({ min: 0, max: 3 })), {
      minLength: users.length,
      maxLength: users.length,
    }),
    fc.array(fc.tuple(some(folders, 'Folder'), fc.boolean(), fc.option(fc.constantFrom(...users))), {
      minLength: docs.length,
      maxLength: docs.length,
    }),
    fc.array(some(groups.slice(1), 'Team'), { minLength: 1, maxLength: 1 }),
    fc.array(some(folders.slice(1), 'Folder'), { minLength: 1, maxLength: 1 }),
  )
  .map(([people, papers, [above = []], [over = []]]) => [
    ...people.map(([parents, level], at): EntityInput => ({
      type: 'User',
      id: users[at] ?? 'u1',
      parents,
      attrs: { level },
    })),
    ...papers.map(([parents, open, owner], at): EntityInput => ({
      type: 'Doc',
      id: docs[at] ?? 'd1',
      kind: 'resource',
      parents,
      attrs: { open, ...(owner === null ? {} : { by: owner }) },
    })),
    { type: 'Team', id: 'g1', kind: 'group', parents: above },
    { type: 'Folder', id: 'f1', kind: 'group', parents: over },
  ])

const principalClause = fc.oneof(
  fc.constant('principal'),
  fc.constant('principal is User'),
  fc.constantFrom(...users).map((id) => `principal == User::${quoted(id)}`),
  fc.constantFrom(...groups).map((id) => `principal in Team::${quoted(id)}`),
  fc.constantFrom(...groups).map((id) => `principal is User in Team::${quoted(id)}`),
)
const resourceClause = fc.oneof(
  fc.constant('resource'),
  fc.constant('resource is Doc'),
  fc.constantFrom(...docs).map((id) => `resource == Doc::${quoted(id)}`),
  fc.constantFrom(...folders).map((id) => `resource in Folder::${quoted(id)}`),
)
const actionClause = fc.oneof(
  fc.constant('action in [Action::"read", Action::"write", Action::"share"]'),
  fc.constantFrom(...actions).map((name) => `action == Action::"${name}"`),
)
const condition = fc.constantFrom(
  '',
  ' when { principal.level >= 2 }',
  ' when { resource.open }',
  ' unless { principal in Team::"g2" }',
  ' when { resource in Folder::"f2" }',
  ' when { context has hour && context.hour < 12 }',
)
const rule = fc
  .tuple(
    fc.constantFrom('permit', 'permit', 'permit', 'forbid'),
    principalClause,
    actionClause,
    resourceClause,
    condition,
  )
  .map(([effect, p, a, r, c]) => `${effect} (${p}, ${a}, ${r})${c};`)

/** The schema stands, whatever the policies are. */
const schema = {
  name: 'search.cedarschema',
  text: `
entity Team in [Team]; entity Folder in [Folder];
entity User in [Team] { level?: Long };
entity Doc in [Folder] { open?: Bool, "by"?: String };
entity Group in [Group]; entity Person in [Group]; entity Agent in [Group]; entity Service in [Group]; entity Workload;
entity Database { engine?: String }; entity Document;
action read, write, share appliesTo { principal: [User], resource: [Doc], context: { hour?: Long } };
`,
}
const administration = `permit (principal in Group::"administrators", action in [Writ::Action::"publish", Writ::Action::"administer", Writ::Action::"read", Writ::Action::"revoke"], resource);`

describe('search finds exactly what is permitted', () => {
  test(
    'each of the three, over all pages, on random inventories and policies',
    { timeout: 300_000 },
    async () => {
      const clock = manualClock()
      await using world = await openWorld({ http: false, sweeper: false, clock, entities: [PEP] })
      const { flows } = world.app
      const pep = await keyFor(world, 'Workload/pep', everyone)
      const may = async (
        subject: EntityRef,
        action: string,
        resource: EntityRef,
        hour: number,
      ): Promise<boolean> =>
        (await flows.evaluate(pep, { subject, action: { name: action }, resource, context: { hour } }))
          .outcome === 'permit'
      await fc.assert(
        fc.asyncProperty(
          inventory,
          fc.array(rule, { minLength: 1, maxLength: 6 }),
          fc.record({
            user: fc.constantFrom(...users),
            doc: fc.constantFrom(...docs),
            action: fc.constantFrom(...actions),
            hour: fc.constantFrom(9, 15),
            limit: fc.constantFrom(undefined, 1, 2, 3),
            locked: fc.option(fc.constantFrom(...users)),
            gone: fc.option(fc.constantFrom(...docs)),
          }),
          async (entities, rules, { user, doc, action, hour, limit, locked, gone }) => {
            await flows.putEntities(world.ada, entities)
            const published = await flows
              .publish(world.ada, {
                policies: [{ name: 'random.cedar', text: [administration, ...rules].join('\n') }],
                schema,
              })
              .catch((error: unknown) => {
                // a set in which nothing can ever be permitted is refused, and says nothing about search
                if (error instanceof WritError && error.code === 'ERR_POLICY_INVALID') return undefined
                throw error
              })
            fc.pre(published !== undefined)
            if (locked !== null)
              await flows.locks.lock(world.ada, {
                what: 'subject',
                about: `User/${locked}`,
                reason: 'test',
                until: clock.wall() + 60_000,
              })
            if (gone !== null) await flows.deleteEntity(world.ada, { type: 'Doc', id: gone })
            const subject = { type: 'User', id: user }
            const resource = { type: 'Doc', id: doc }
            const context = { hour }
            const filter = async (
              of: readonly string[],
              one: (id: string) => Promise<boolean>,
            ): Promise<string[]> => {
              const kept: string[] = []
              for (const id of of) if (await one(id)) kept.push(id)
              return kept.sort()
            }
            const living = docs.filter((id) => id !== gone)
            const found = async (input: SearchInput): Promise<string[]> => {
              const { ids } = await all(world, pep, input, limit)
              assert.equal(new Set(ids).size, ids.length, 'a result twice')
              return ids.toSorted()
            }
            const here = doc !== gone
            assert.deepEqual(
              await found({
                what: 'subject',
                subject: { type: 'User' },
                action: { name: action },
                resource,
                context,
              }),
              here ? await filter(users, (id) => may({ type: 'User', id }, action, resource, hour)) : [],
              'subjects',
            )
            assert.deepEqual(
              await found({
                what: 'resource',
                subject,
                action: { name: action },
                resource: { type: 'Doc' },
                context,
              }),
              await filter(living, (id) => may(subject, action, { type: 'Doc', id }, hour)),
              'resources',
            )
            assert.deepEqual(
              await found({ what: 'action', subject, resource, context }),
              here ? await filter(actions, (name) => may(subject, name, resource, hour)) : [],
              'actions',
            )
            clock.advance(61_000)
          },
        ),
        { numRuns: 40 },
      )
    },
  )
})

const reading = withPolicy(`
  permit (principal is Agent, action == Action::"look", resource is Thing) when { resource.open };
  permit (principal is Agent, action == Action::"pin", resource == Thing::"t0007");
  permit (principal is Agent, action == Action::"dig", resource in Shelf::"low");
  permit (principal is Agent, action == Action::"tell", resource is Thing)
    when { context has mood && context.mood == "good" };
  permit (principal is Agent, action == Action::"stack", resource in Shelf::"pile");
`)
const thing = (n: number): EntityInput => ({
  type: 'Thing',
  id: `t${String(n).padStart(4, '0')}`,
  kind: 'resource',
  parents: n % 100 === 0 ? [ref('Shelf/lower')] : [],
  attrs: { open: n % 250 === 0 },
})
const look: SearchInput = {
  what: 'resource',
  subject: ref('Agent/migrator'),
  action: { name: 'look' },
  resource: { type: 'Thing' },
}

describe('search in a large inventory', () => {
  const things = Array.from({ length: 2_500 }, (_, n) => thing(n))
  const pile = Array.from({ length: 150 }, (_, n): EntityInput => ({
    type: 'Slab',
    id: `p${String(n).padStart(4, '0')}`,
    kind: 'resource',
    parents: [ref('Shelf/pile')],
  }))
  const open = async (): Promise<World> => {
    const world = await openWorld({
      http: false,
      sweeper: false,
      policies: reading,
      entities: [
        { type: 'Shelf', id: 'lower', kind: 'group', parents: [ref('Shelf/low')] },
        ...pile,
        ...things.slice(0, 800),
      ],
    })
    for (let from = 800; from < things.length; from += 900) {
      await world.app.flows.putEntities(world.ada, things.slice(from, from + 900))
    }
    return world
  }
  test('what no permit can reach is not decided; what is left is decided in pages that let others run', async () => {
    await using world = await open()
    const { flows } = world.app
    const pinned = await all(world, world.migrator, { ...look, action: { name: 'pin' } })
    assert.deepEqual([pinned.ids, pinned.decided], [['t0007'], 1])
    const dug = await all(world, world.migrator, { ...look, action: { name: 'dig' } })
    assert.equal(dug.ids.length, 25)
    assert.equal(dug.decided, 25)

    let turns = 0
    let counting = true
    const others = (): void => {
      turns += 1
      if (counting) setImmediate(others)
    }
    setImmediate(others)
    const first = await flows.searchAccess(world.migrator, look, {})
    counting = false
    assert.equal(first.decided, CANDIDATES_MOST)
    assert.ok(turns > 3, `others had ${turns} turns`)
    const whole = await all(world, world.migrator, look)
    assert.equal(whole.decided, things.length)
    assert.equal(whole.ids.length, 10)
    // asked for one by one, nobody is sent on for nothing
    const single = await all(world, world.migrator, look, 10)
    assert.deepEqual(single.ids, whole.ids)

    // what is only looked at on the way is charged as well, and begins to be where it begins to cost
    let paid = 0
    const pay = (calls: number): void => {
      paid += calls
    }
    const shelf: SearchInput = { ...look, action: { name: 'stack' }, resource: { type: 'Slab' } }
    const piled = await flows.searchAccess(world.migrator, shelf, { limit: 1, charge: pay })
    assert.deepEqual([piled.ids, piled.decided], [['p0000'], 2])
    assert.ok(paid >= 3, `${paid} calls`)
    const broke = (): void => {
      throw new WritError('ERR_RATE_LIMITED', 'too many requests')
    }
    await assert.rejects(flows.searchAccess(world.migrator, shelf, { limit: 1, charge: broke }), {
      code: 'ERR_RATE_LIMITED',
    })

    // work is charged while it goes on; whoever has no more of it gets what there is and comes back
    let left = 20
    const charge = (calls: number): void => {
      left -= calls
      if (left < 0) throw new WritError('ERR_RATE_LIMITED', 'too many requests')
    }
    const cut = await flows.searchAccess(world.migrator, look, { charge })
    assert.ok(cut.decided <= 210 && cut.next !== undefined)
    const rest: SearchOptions = { token: cut.next }
    assert.deepEqual(
      [...cut.ids, ...(await flows.searchAccess(world.migrator, look, rest)).ids].slice(0, 3),
      whole.ids.slice(0, 3),
    )
  })
})

const second: EntityInput = { type: 'Agent', id: 'second', kind: 'agent', owner: ref('Person/ada') }

describe('search under authority', () => {
  test('a task, and evidence that a grant carries, count as they do in an evaluation', async () => {
    await using world = await openWorld({ http: false })
    const input: SearchInput = {
      what: 'resource',
      subject: ref('Agent/migrator'),
      action: { name: 'db:migrate' },
      resource: { type: 'Database' },
    }
    assert.deepEqual((await all(world, world.migrator, input)).ids, [])
    const other = await declare(world)
    const { task } = await activeGrant(world)
    const head = await world.app.flows.head()
    const within = { ...input, context: { task } }
    assert.deepEqual((await all(world, world.migrator, within)).ids, ['orders'])
    assert.deepEqual((await all(world, world.migrator, { ...input, context: { task: other } })).ids, [])
    assert.deepEqual(
      (
        await all(world, world.migrator, {
          what: 'action',
          subject: ref('Agent/migrator'),
          resource: ref('Database/orders'),
          context: { task },
        })
      ).ids,
      ['db:migrate'],
    )
    // a question records nothing and spends nothing
    assert.deepEqual(await world.app.flows.head(), head)
    const use = await world.app.flows.evaluate(
      world.migrator,
      attempt('Agent/migrator', 'db:migrate', 'Database/orders', { task }),
    )
    assert.equal(use.outcome, 'permit')
    assert.deepEqual((await all(world, world.migrator, within)).ids, [])
  })

  test('nobody learns of whom they do not speak for', async () => {
    await using world = await openWorld({ http: false, entities: [PEP, second] })
    const who: SearchInput = {
      what: 'subject',
      subject: { type: 'Agent' },
      action: { name: 'read' },
      resource: ref('Document/handbook'),
    }
    // nor is anybody else looked at, which would be told by the time it takes
    const { ids, decided } = await all(world, world.migrator, who)
    assert.deepEqual([ids, decided], [['migrator'], 1])
    const others = await all(world, world.migrator, { ...who, subject: { type: 'Person' } })
    assert.deepEqual([others.ids, others.decided], [[], 0])
    assert.deepEqual((await all(world, world.ada, { ...who, subject: { type: 'Person' } })).ids, ['ada'])
    const pep = await keyFor(world, 'Workload/pep', { subjects: ['Agent'], attributes: {} })
    assert.deepEqual((await all(world, pep, { ...who, subject: { type: 'Person' } })).ids, [])
    for (const what of ['resource', 'action'] as const) {
      const input = {
        what,
        subject: ref('Person/ada'),
        action: { name: 'read' },
        resource: ref('Document/handbook'),
      }
      assert.deepEqual((await all(world, pep, input)).ids, [])
      assert.notDeepEqual((await all(world, world.ada, input)).ids, [])
    }
    // asserting what nobody is trusted for changes nothing
    const low = { ...who, resource: { ...ref('Database/orders'), properties: { sensitivity: 1 } } }
    assert.deepEqual((await all(world, world.migrator, low)).ids, [])
  })

  test('nothing tells what nobody registered from what is denied', async () => {
    await using world = await openWorld({
      http: false,
      policies: reading,
      entities: [thing(0), thing(1)],
    })
    const { flows } = world.app
    const shut = ref('Thing/t0001')
    const none = ref('Thing/t0002')
    const searches = (resource: EntityRef): SearchInput[] => [
      { what: 'action', subject: ref('Agent/migrator'), resource },
      { what: 'subject', subject: { type: 'Agent' }, action: { name: 'look' }, resource },
    ]
    for (const [at, denied] of searches(shut).entries()) {
      const unknown = searches(none)[at] ?? denied
      // as much is done and charged for either, so that no page ends elsewhere
      assert.deepEqual(
        await flows.searchAccess(world.migrator, unknown, {}),
        await flows.searchAccess(world.migrator, denied, {}),
      )
      assert.ok((await flows.searchAccess(world.migrator, unknown, {})).decided > 0)
      for (const context of [{ task: 5 }, { grant: [] }]) {
        for (const input of [denied, unknown]) {
          await assert.rejects(flows.searchAccess(world.migrator, { ...input, context }, {}), {
            code: 'ERR_INPUT_INVALID',
          })
        }
      }
    }
    // nor whether there is anything to be found at all
    const dig = { ...look, action: { name: 'dig' }, context: { task: 5 } }
    await assert.rejects(flows.searchAccess(world.migrator, dig, {}), { code: 'ERR_INPUT_INVALID' })
  })

  test('what policy permits for what nobody registered is no result', async () => {
    await using world = await openWorld({
      http: false,
      policies: withPolicy('permit (principal is Agent, action == Action::"ping", resource is Database);'),
    })
    const input = {
      what: 'action',
      subject: ref('Agent/migrator'),
      resource: ref('Database/nowhere'),
    } as const
    const evaluated = await world.app.flows.evaluate(
      world.migrator,
      attempt('Agent/migrator', 'ping', 'Database/nowhere'),
    )
    assert.equal(evaluated.outcome, 'permit')
    assert.deepEqual((await all(world, world.migrator, input)).ids, [])
  })

  test('a grant that is being taken back permits nothing that a search could find', async () => {
    let isFull = false
    const step = (): void => {
      if (isFull) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    }
    await using world = await openWorld({ http: false, sweeper: false, hooks: { step } })
    const { task, grant, approval } = await activeGrant(world)
    const input: SearchInput = {
      what: 'action',
      subject: ref('Agent/migrator'),
      resource: ref('Database/orders'),
      context: { task, approval: { id: approval } },
    }
    assert.deepEqual((await all(world, world.migrator, input)).ids, ['db:migrate'])
    // denied from now on, although the record cannot say so yet
    isFull = true
    const { denied, recorded } = await world.app.flows.revokeGrant(world.ada, grant, 'gone astray')
    assert.deepEqual([denied, recorded], [true, false])
    assert.deepEqual((await all(world, world.migrator, input)).ids, [])
    isFull = false
  })

  test('who is locked, deleted or past their end is no result, nor is anything of a key that was revoked', async () => {
    await using world = await openWorld({ http: false, entities: [PEP, second] })
    const { flows } = world.app
    const pep = await keyFor(world, 'Workload/pep', { subjects: ['Agent'], attributes: {} })
    const who: SearchInput = {
      what: 'subject',
      subject: { type: 'Agent' },
      action: { name: 'read' },
      resource: ref('Document/handbook'),
    }
    const found = async (): Promise<readonly string[]> => (await all(world, pep, who)).ids
    assert.deepEqual(await found(), ['migrator', 'second'])
    await flows.locks.lock(world.ada, { what: 'subject', about: 'Agent/second', reason: 'gone astray' })
    assert.deepEqual(await found(), ['migrator'])
    await flows.deleteEntity(world.ada, ref('Agent/second'))
    assert.deepEqual(await found(), ['migrator'])
    await flows.deleteEntity(world.ada, ref('Document/handbook'))
    assert.deepEqual(await found(), [])
    await flows.putEntities(world.ada, [
      { type: 'Document', id: 'handbook', kind: 'resource', sensitivity: 1 },
    ])
    assert.deepEqual(await found(), ['migrator'])
    await flows.revokeKey(world.ada, pep.id.slice('key:'.length))
    assert.deepEqual(await found(), [])
  })

  test('a page token outlives a restart, and is of no use to anybody else or for anything else', async () => {
    await using world = await openWorld({ http: false, entities: [PEP, second] })
    const pep = await keyFor(world, 'Workload/pep', { subjects: ['*'], attributes: {} })
    const twin = await keyFor(world, 'Workload/pep', { subjects: ['*'], attributes: {} })
    const who: SearchInput = {
      what: 'subject',
      subject: { type: 'Agent' },
      action: { name: 'read' },
      resource: ref('Document/handbook'),
    }
    const first = await world.app.flows.searchAccess(pep, who, { limit: 1 })
    assert.deepEqual(first.ids, ['migrator'])
    const { next: token = '' } = first
    const again = await world.restart()
    try {
      const { flows } = again.app
      assert.deepEqual((await flows.searchAccess(pep, who, { token })).ids, ['second'])
      const refused = (caller: Caller, input: SearchInput): Promise<void> =>
        assert.rejects(flows.searchAccess(caller, input, { token }), { code: 'ERR_INPUT_INVALID' })
      await refused(twin, who)
      await refused(again.ada, who)
      await refused(pep, { ...who, action: { name: 'write' } })
      await refused(pep, { ...who, context: { a: 1 } })
    } finally {
      await again.app.stop()
    }
  })
})
