/**
 * Who set it going: accounts at issuers, the people they are, and who therefore may not approve (law 4).
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { LOGIN } from '../../src/config/index.ts'
import type { Caller } from '../../src/flows/port.ts'
import type { EntityInput } from '../../src/model/entity.ts'
import type { AccountRef } from '../../src/model/identity.ts'
import type { AccessRequest } from '../../src/model/request.ts'
import { rogueProvider } from '../support/rogue-idp.ts'
import type { FaultWorld } from './support.ts'
import { attempt, entries, fails, faultWorld, keyFor, put, ref, sessionFor } from './support.ts'

const github = (id: string): AccountRef => ({ issuer: 'github', id })

const ci = (instigator?: AccountRef, more: Partial<Caller> = {}): Caller => ({
  id: `issuer:github Service/orders-ci${instigator === undefined ? '' : ` by ${instigator.id}`}`,
  kind: 'issuer',
  subject: ref('Service/orders-ci'),
  generation: 0,
  ...(instigator === undefined ? {} : { instigators: [instigator] }),
  ...more,
})

const scope = { actions: ['db:migrate'], resources: [ref('Database/orders')] }

/** Declares, tries and submits; undefined where nothing that anybody could give would help. */
async function ask(
  world: FaultWorld,
  caller: Caller,
  subject = 'Service/orders-ci',
  more: Record<string, string> = {},
): Promise<AccessRequest | undefined> {
  const { flows } = world.app
  const { id: task } = await flows.declareTask(caller, {
    purpose: 'p',
    reason: 'r',
    scope,
    subject: ref(subject),
    ...more,
  })
  const input = attempt(subject, 'db:migrate', 'Database/orders', { task, ...more })
  const denied = await flows.evaluate(caller, input)
  if (denied.outcome !== 'challenge') return undefined
  const denial = { evaluationId: denied.id, expiresAt: denied.requestableUntil ?? 0 }
  return flows.submit(caller, { ...input, denial })
}

const approve = (world: FaultWorld, person: Caller, { id, digest }: AccessRequest) =>
  world.app.flows.approve(person, id, { statement: digest })

describe('an account', () => {
  test('is one at an issuer or a provider that somebody configured', async () => {
    await using world = await faultWorld({
      config: {
        login: {
          ...LOGIN,
          providers: [rogueProvider('https://login.corp.test', { name: 'rogue' })],
        },
      },
    })
    const { accounts } = world.app.flows
    const link = (issuer: string, by = world.ada) =>
      accounts.link(by, { issuer, id: '7' }, ref('Person/grace'))
    for (const [issuer, hint] of [
      ['gihtub', 'did you mean `github`?'],
      ['GitHub', 'did you mean `github`?'],
      ['https://token.actions.githubusercontent.com', 'there are `github`, `corp`, `rogue`'],
    ] as const) {
      await assert.rejects(link(issuer), { code: 'ERR_INPUT_INVALID', hint })
      // what there is, is nobody else's business
      await assert.rejects(link(issuer, world.grace), { code: 'ERR_FORBIDDEN' })
    }
    assert.equal((await link('rogue')).issuer, 'rogue')
    assert.equal((await link('github')).issuer, 'github')
    const linked = (await entries(world.app)).filter(({ kind }) => kind === 'account.linked')
    assert.deepEqual(
      linked.map(({ issuer }) => issuer),
      ['rogue', 'github'],
    )
  })
})

describe('C4 whoever set it going', () => {
  test('is a root once the account is theirs; until then no approval counts', async () => {
    await using world = await faultWorld()
    const { accounts } = world.app.flows
    assert.equal(await ask(world, ci(github('7'))), undefined)
    await accounts.link(world.ada, github('7'), ref('Person/grace'))
    const request = await ask(world, ci(github('7')))
    assert.ok(request !== undefined)
    assert.deepEqual([...request.roots].sort(), ['Person/ada', 'Person/grace'])
    await fails(approve(world, world.grace, request), 'ERR_FORBIDDEN')
    assert.equal((await approve(world, world.hedy, request)).status, 'approved')
    // the account of the same id elsewhere is another
    assert.equal(await ask(world, ci({ issuer: 'gitlab', id: '7' })), undefined)
  })

  test('of the task counts too, whoever comes with it later', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    await flows.accounts.link(world.ada, github('7'), ref('Person/grace'))
    const { id: task } = await flows.declareTask(ci(github('7')), { purpose: 'p', reason: 'r', scope })
    const { id: child } = await flows.declareTask(ci(github('7')), {
      purpose: 'p',
      reason: 'r',
      scope,
      parent: task,
    })
    const key = await keyFor(world, 'Service/orders-ci')
    const input = attempt('Service/orders-ci', 'db:migrate', 'Database/orders', { task: child })
    const denied = await flows.evaluate(key, input)
    const denial = { evaluationId: denied.id, expiresAt: denied.requestableUntil ?? 0 }
    const request = await flows.submit(key, { ...input, denial })
    assert.ok(request.roots.includes('Person/grace'))
    await fails(approve(world, world.grace, request), 'ERR_FORBIDDEN')
  })

  test('of an enforcement point is one, the enforcement point is none', async () => {
    await using world = await faultWorld({
      entities: [
        {
          type: 'Agent',
          id: 'x',
          kind: 'agent',
          owner: ref('Person/ada'),
          parents: [ref('Group/deployers')],
        },
        { type: 'Service', id: 'gate', kind: 'workload', owner: ref('Person/hedy') },
      ],
    })
    const pep = { subjects: ['Agent'], attributes: {} }
    const gate = { ...ci(undefined, { pep }), subject: ref('Service/gate') }
    const plain = await ask(world, { ...gate, id: 'issuer:a gate' }, 'Agent/x')
    assert.deepEqual(plain?.roots, ['Person/ada'])
    await world.app.flows.accounts.link(world.ada, github('7'), ref('Person/grace'))
    const set = await ask(world, { ...gate, id: 'issuer:b gate', instigators: [github('7')] }, 'Agent/x')
    assert.deepEqual([...(set?.roots ?? [])].sort(), ['Person/ada', 'Person/grace'])
    assert.equal(await ask(world, { ...gate, instigators: [github('8')] }, 'Agent/x'), undefined)
  })

  test('is known again at activation: an account that was unlinked meanwhile names nobody', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    await flows.accounts.link(world.ada, github('7'), ref('Person/grace'))
    const caller = ci(github('7'))
    const request = await ask(world, caller)
    assert.ok(request !== undefined)
    const { approval = '' } = await approve(world, world.hedy, request)
    await flows.accounts.unlink(world.grace, github('7'))
    const { subject, action, resource, context, task } = request.attempt
    const again = await flows.evaluate(caller, {
      subject,
      action,
      resource,
      context: { ...context, task: task ?? '', approval },
    })
    assert.notEqual(again.outcome, 'permit')
  })
})

describe('B18, B34 an account', () => {
  test('is one person, linked by them or by an administrator, and said so in the record', async () => {
    await using world = await faultWorld()
    const { accounts } = world.app.flows
    await fails(accounts.link(world.grace, github('7'), ref('Person/grace')), 'ERR_FORBIDDEN')
    await fails(accounts.linkOwn(world.migrator, github('7')), 'ERR_FORBIDDEN')
    await accounts.linkOwn(world.grace, github('7'))
    await accounts.linkOwn(world.grace, github('7'))
    await fails(accounts.linkOwn(world.hedy, github('7')), 'ERR_CONFLICT')
    await fails(accounts.link(world.ada, github('7'), ref('Person/hedy')), 'ERR_CONFLICT')
    await fails(accounts.unlink(world.hedy, github('7')), 'ERR_NOT_FOUND')
    await accounts.unlink(world.grace, github('7'))
    // passing it on is the word of an administrator
    await fails(accounts.linkOwn(world.hedy, github('7')), 'ERR_CONFLICT')
    await accounts.link(world.ada, github('7'), ref('Person/hedy'))
    await fails(accounts.link(world.ada, github('8'), ref('Agent/migrator')), 'ERR_NOT_FOUND')
    await fails(accounts.link(world.ada, github('8'), ref('Person/nobody')), 'ERR_NOT_FOUND')
    const said = (await entries(world.app))
      .filter(({ kind }) => String(kind).startsWith('account.'))
      .map(({ kind, issuer, account, person }) => [kind, issuer, account, person])
    assert.deepEqual(said, [
      ['account.linked', 'github', '7', 'Person/grace'],
      ['account.unlinked', 'github', '7', 'Person/grace'],
      ['account.linked', 'github', '7', 'Person/hedy'],
    ])
    const listed = async (caller: Caller) =>
      (await accounts.list(caller, {})).items.map(({ id, person }) => [id, person.id])
    assert.deepEqual(await listed(world.ada), [['github\n7', 'hedy']])
    assert.deepEqual(await listed(world.hedy), [['github\n7', 'hedy']])
    assert.deepEqual(await listed(world.grace), [])
  })

  test('of a person who was made again is nobody’s until it is linked again', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    await flows.accounts.link(world.ada, github('7'), ref('Person/grace'))
    await flows.deleteEntity(world.ada, ref('Person/grace'))
    assert.equal(await ask(world, ci(github('7'))), undefined)
    await put(world, { type: 'Person', id: 'grace', parents: [ref('Group/dba')] })
    assert.equal(await ask(world, ci(github('7'))), undefined)
    await flows.accounts.link(world.ada, github('7'), ref('Person/grace'))
    assert.ok((await ask(world, ci(github('7')))) !== undefined)
  })

  test('B7 has one spelling', async () => {
    await using world = await faultWorld()
    for (const id of ['e\u0301', ' a', 'a\u200b', '\ud800', '']) {
      await fails(
        world.app.flows.accounts.link(world.ada, github(id), ref('Person/grace')),
        'ERR_INPUT_INVALID',
      )
    }
  })
})

describe('B18 one human with two names', () => {
  const twice: EntityInput = {
    type: 'Person',
    id: 'grace-admin',
    owner: ref('Person/grace'),
    parents: [ref('Group/dba')],
  }

  test('approves nothing under the second that is theirs under the first', async () => {
    await using world = await faultWorld({
      entities: [
        twice,
        {
          type: 'Agent',
          id: 'x',
          kind: 'agent',
          owner: ref('Person/grace'),
          parents: [ref('Group/deployers')],
        },
        {
          type: 'Agent',
          id: 'y',
          kind: 'agent',
          owner: ref('Person/grace-admin'),
          parents: [ref('Group/deployers')],
        },
      ],
    })
    const second = await sessionFor(world, 'grace-admin')
    for (const name of ['Agent/x', 'Agent/y']) {
      const request = await ask(world, await keyFor(world, name), name)
      assert.ok(request !== undefined)
      await fails(approve(world, second, request), 'ERR_FORBIDDEN')
      await fails(approve(world, world.grace, request), 'ERR_FORBIDDEN')
      assert.equal((await approve(world, world.hedy, request)).status, 'approved')
    }
  })

  test('counts once', async () => {
    await using world = await faultWorld({ entities: [twice] })
    await put(world, { type: 'Database', id: 'orders', sensitivity: 4 })
    const second = await sessionFor(world, 'grace-admin')
    const request = await ask(world, ci())
    assert.ok(request !== undefined)
    assert.equal((await approve(world, second, request)).status, 'pending')
    await fails(approve(world, world.grace, request), 'ERR_CONFLICT')
    assert.equal((await approve(world, world.hedy, request)).status, 'approved')
  })

  test('and is not asked for twice: two approvals of one person cannot be had', async () => {
    await using world = await faultWorld({ entities: [twice] })
    await put(world, { type: 'Database', id: 'orders', sensitivity: 4 })
    await world.app.flows.deleteEntity(world.ada, ref('Person/hedy'))
    assert.equal(await ask(world, ci()), undefined)
  })
})

describe('C4 over graphs of delegation', () => {
  const people = ['p0', 'p1', 'p2', 'p3', 'p4']
  const agents = ['a0', 'a1', 'a2']
  const maybe = fc.option(fc.nat(4), { nil: undefined })
  const graph = fc.record({
    /** Who is another name of whom: of a later one, so that there is no circle. */
    alias: fc.array(maybe, { minLength: 5, maxLength: 5 }),
    /** Owners of agents: a person, or the agent before. */
    owner: fc.array(fc.option(fc.nat(5), { nil: undefined }), { minLength: 3, maxLength: 3 }),
    account: maybe,
    instigated: fc.boolean(),
    delegator: maybe,
    behind: fc.subarray(['Person/p0', 'Person/p1', 'Agent/a0', 'Agent/a1'], { maxLength: 2 }),
  })

  test('nobody who stands behind it approves it, by whatever name', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    const groups = [ref('Group/dba'), ref('Group/deployers')]
    await put(
      world,
      ...people.map((id) => ({ type: 'Person', id, parents: groups })),
      ...agents.map((id) => ({ type: 'Agent', id, kind: 'agent' as const, parents: groups })),
    )
    const sessions = new Map<string, Caller>()
    for (const id of people) sessions.set(`Person/${id}`, await sessionFor(world, id))
    let run = 0
    await fc.assert(
      fc.asyncProperty(graph, async ({ alias, owner, account, instigated, delegator, behind }) => {
        run += 1
        const owners = new Map<string, string>()
        people.forEach((id, at) => {
          const of = alias[at]
          if (of !== undefined && of > at) owners.set(`Person/${id}`, `Person/p${of}`)
        })
        agents.forEach((id, at) => {
          const of = owner[at]
          if (of === undefined) return
          owners.set(
            `Agent/${id}`,
            of === 5 ? (at === 0 ? 'Person/p4' : `Agent/a${at - 1}`) : `Person/p${of}`,
          )
        })
        await put(
          world,
          ...people.map((id) => ({ type: 'Person', id, owner: refOr(owners.get(`Person/${id}`)) })),
          ...agents.map((id) => ({ type: 'Agent', id, owner: refOr(owners.get(`Agent/${id}`)) })),
        )
        const trigger = github(`run-${run}`)
        if (account !== undefined) await flows.accounts.link(world.ada, trigger, ref(`Person/p${account}`))
        const caller: Caller = {
          id: `issuer:github a2 ${run}`,
          kind: 'issuer',
          subject: ref('Agent/a2'),
          generation: 0,
          ...(behind.length === 0 ? {} : { chain: behind.map(ref) }),
          ...(instigated ? { instigators: [trigger] } : {}),
        }
        const delegates = delegator !== undefined && !behind.includes(`Person/p${delegator}`)
        const delegation = delegates
          ? (
              await flows.delegations.make(sessions.get(`Person/p${delegator}`) as Caller, {
                actor: ref('Agent/a2'),
              })
            ).id
          : undefined
        const request = await ask(world, caller, 'Agent/a2', delegation === undefined ? {} : { delegation })

        // who stands behind it, computed apart from what is tested
        const line = (start: string): string[] => {
          const all = [start]
          for (
            let next = owners.get(start);
            next !== undefined && !all.includes(next);
            next = owners.get(next)
          )
            all.push(next)
          return all.filter((key) => key.startsWith('Person/'))
        }
        const parties = ['Agent/a2', ...behind, ...(delegates ? [`Person/p${delegator}`] : [])]
        const nameless = parties.some((party) => line(party).length === 0)
        const unlinked = instigated && account === undefined
        if (nameless || unlinked) {
          assert.equal(request, undefined, 'somebody behind it cannot be named')
          return
        }
        const roots = new Set(parties.flatMap(line))
        if (instigated && account !== undefined) for (const one of line(`Person/p${account}`)) roots.add(one)
        // one who has another name that is a root is a root
        const barred = people
          .map((id) => `Person/${id}`)
          .filter((key) => line(key).some((one) => roots.has(one)))
        // grace and hedy have no part in it, so it can always be asked for
        assert.ok(request !== undefined)
        for (const key of barred) {
          await fails(approve(world, sessions.get(key) as Caller, request), 'ERR_FORBIDDEN')
        }
        const free = people.map((id) => `Person/${id}`).find((key) => !barred.includes(key))
        const by = free === undefined ? world.grace : (sessions.get(free) as Caller)
        assert.equal((await approve(world, by, request)).status, 'approved')
      }),
      { numRuns: 25 },
    )
  })

  const refOr = (key: string | undefined) => (key === undefined ? null : ref(key))
})
