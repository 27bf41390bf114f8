/**
 * B75: a backup that is put back revives nothing. B67: who also removes what Writ remembers is contradicted by whoever
 * kept a checkpoint.
 */
import assert from 'node:assert/strict'
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { parseCheckpoint, parseNote, parseVerifierKey, verifyNote } from '../../src/audit/note.ts'
import { isContinued } from '../../src/audit/tree.ts'
import { createApp } from '../../src/app.ts'
import type { Checkpoint } from '../../src/audit/note.ts'
import type { App, AppOptions } from '../../src/app.ts'
import type { Caller } from '../../src/flows/port.ts'
import { encodeEpochState } from '../../src/wire/v1/epochs.ts'
import { Authenticator } from '../support/authenticator.ts'
import { activeGrant, attempt, declare, migration, ref, requestMigration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { acknowledge, callerOf, entries, fails, faultWorld, kindsOf, settle, signedIn } from './support.ts'

/** The one mark there is, beside the key file. */
function markOf({ config, folder }: FaultWorld): string {
  const names = readdirSync(folder).filter((file) => file.endsWith('.mark'))
  assert.ok(names.length <= 1 && config.keyFile.startsWith(folder))
  return `${folder}/${names[0] ?? 'none.mark'}`
}

/** Checks the note with the key that the log names now. */
async function checkpointOf(app: App, text?: string): Promise<Checkpoint> {
  const note = parseNote(text ?? (await app.flows.transparency.checkpoint()))
  assert.ok(note)
  const { keys } = app.flows.transparency.keys()
  const signers = keys.map(({ vkey }) => parseVerifierKey(vkey)).filter((key) => key !== undefined)
  assert.ok(signers.some((key) => verifyNote(note, key) !== undefined))
  const checkpoint = parseCheckpoint(note.text)
  assert.ok(checkpoint)
  return checkpoint
}

const copyOf = (world: FaultWorld): string => {
  const copy = `${world.folder}/copy`
  rmSync(copy, { recursive: true, force: true })
  cpSync(world.config.data, copy, { recursive: true })
  return copy
}

function putBack(world: FaultWorld, copy: string): void {
  rmSync(world.config.data, { recursive: true, force: true })
  cpSync(copy, world.config.data, { recursive: true })
}

/** A world that was set up and stopped; leaving the scope removes its folder. */
async function stopped(options: Parameters<typeof faultWorld>[0] = {}): Promise<FaultWorld> {
  const world = await faultWorld(options)
  await world.app.stop()
  return {
    ...world,
    async [Symbol.asyncDispose]() {
      rmSync(world.folder, { recursive: true, force: true })
    },
  }
}

/** Opens the world's folder again, however it came to be what it is. */
async function start(world: FaultWorld, more: Partial<AppOptions> = {}): Promise<App> {
  return createApp(world.config, {
    mode: 'server',
    clock: world.clock,
    http: false,
    sweeper: false,
    log: () => undefined,
    targetKinds: { fake: ({ id }) => world.system.connect(id) },
    ...more,
  })
}

const epochsIn = async (app: App): Promise<readonly unknown[]> =>
  (await entries(app)).filter(({ kind }) => kind === 'epoch.began').map(({ epoch }) => epoch)

describe('B75 a copy of the data that is put back is noticed', () => {
  test('B75 an older copy', async () => {
    await using world = await stopped()
    const copy = copyOf(world)
    world.clock.advance(60_000)
    let app = await start(world)
    await declare({ ...world, app })
    const before = await checkpointOf(app)
    await app.stop()
    putBack(world, copy)
    world.clock.advance(60_000)
    app = await start(world)
    try {
      assert.deepEqual(await epochsIn(app), [2])
      const after = await checkpointOf(app)
      assert.equal(after.origin, `${before.origin}/2`)
      assert.match((await app.flows.problems()).join('\n'), /put back from a copy/)
      world.clock.advance(8 * 86_400_000)
      assert.match((await app.flows.problems()).join('\n'), /put back from a copy/)
    } finally {
      await app.stop()
    }
    // and once only
    const again = await start(world)
    assert.deepEqual(await epochsIn(again), [2])
    assert.match((await again.flows.problems()).join('\n'), /put back from a copy/)
    await acknowledge(await signedIn({ ...world, app: again }))
    assert.doesNotMatch((await again.flows.problems()).join('\n'), /put back from a copy/)
    await again.stop()
    const last = await start(world)
    assert.doesNotMatch((await last.flows.problems()).join('\n'), /put back from a copy/)
    assert.equal(last.decision.barrier.restored, false)
    await last.stop()
  })

  for (const [name, more] of [
    ['of the same length', 2],
    ['longer', 5],
  ] as const) {
    test(`B75 another log under the same name, ${name}`, async () => {
      await using world = await stopped()
      const copy = copyOf(world)
      const before = readFileSync(markOf(world))
      const use = async (tasks: number): Promise<number> => {
        const app = await start(world)
        for (let i = 0; i < tasks; i += 1) await declare({ ...world, app })
        const { size } = await checkpointOf(app)
        await app.stop()
        return size
      }
      const size = await use(2)
      const signed = readFileSync(markOf(world))
      putBack(world, copy)
      rewindMark(markOf(world), before)
      world.clock.advance(60_000)
      assert.equal(await use(more), size + more - 2)
      rewindMark(markOf(world), signed)
      const app = await start(world)
      const began = (await entries(app)).filter(({ kind }) => kind === 'epoch.began')
      assert.deepEqual(
        began.map(({ epoch, why }) => [epoch, why]),
        [[2, `the first ${size} entries are not those that were signed`]],
      )
      await app.stop()
    })
  }

  test('B75 the mark is gone, although there was one', async () => {
    await using world = await stopped()
    rmSync(markOf(world))
    const app = await start(world)
    const [epoch, ...more] = await epochsIn(app)
    assert.deepEqual(more, [])
    // a number that no epoch before can have had
    assert.ok(Number(epoch) > 1_000_000_000)
    await app.stop()
    const again = await start(world)
    assert.deepEqual(await epochsIn(again), [epoch])
    await again.stop()
  })

  test('B75 a damaged mark is as good as none', async () => {
    await using world = await stopped()
    writeFileSync(markOf(world), '{"size":')
    const app = await start(world)
    assert.equal((await epochsIn(app)).length, 1)
    await app.stop()
  })

  test('B75 the data folder of another installation under this key', async () => {
    await using world = await stopped()
    await using other = await stopped()
    // its own key opens what it has sealed; its mark stayed where it was
    rmSync(world.config.data, { recursive: true })
    cpSync(other.config.data, world.config.data, { recursive: true })
    cpSync(other.config.keyFile, world.config.keyFile)
    const app = await start(world)
    assert.equal((await epochsIn(app)).length, 1)
    await app.stop()
  })

  test('B75 not a clean restart, an identical copy, a crash, or what came after the last mark', async () => {
    await using world = await stopped()
    putBack(world, copyOf(world))
    let app = await start(world)
    await app.flows.transparency.checkpoint()
    await declare({ ...world, app })
    // as a crash would leave it: entries that were never signed
    const copy = copyOf(world)
    const mark = readFileSync(markOf(world))
    await app.stop()
    putBack(world, copy)
    rewindMark(markOf(world), mark)
    for (let i = 0; i < 2; i += 1) {
      app = await start(world)
      assert.deepEqual(await epochsIn(app), [])
      assert.equal((await checkpointOf(app)).origin, app.flows.transparency.origin())
      await app.stop()
    }
  })

  test('B75 a first start that crashed before it had signed anything', async () => {
    await using world = await stopped()
    rmSync(world.config.data, { recursive: true })
    rmSync(markOf(world))
    const failing = { ...world.config, log: { mark: `${world.config.keyFile}/mark` } }
    const options = {
      mode: 'server',
      clock: world.clock,
      http: false,
      sweeper: false,
      log: () => undefined,
    } as const
    await fails(createApp(failing, options), 'ERR_CONFIG_INVALID')
    const app = await start(world)
    assert.deepEqual(await epochsIn(app), [])
    await app.stop()
  })
})

const rewindMark = (path: string, content: Buffer): void => writeFileSync(path, content)

describe('B75 what a restored copy held is dead', () => {
  test('B75 grants, credentials, approvals, requests, tasks, codes and replays', async () => {
    const world = await faultWorld({ targets: true, sweeper: false })
    const { system } = world
    const granted = await activeGrant(world)
    const issued = await world.app.flows.issueCredential(world.migrator, granted.grant)
    assert.ok(issued.secret)
    const approvedTask = await declare(world)
    const asked = await requestMigration(world, approvedTask)
    const approved = await world.app.flows.approve(world.grace, asked.id, { statement: asked.digest })
    const pending = await requestMigration(world, await declare(world))
    const { code } = await world.app.flows.invite(world.ada, { id: 'eve' })
    const handbook = attempt('Agent/migrator', 'read', 'Document/handbook')
    const replayed = await world.app.flows.evaluate(world.migrator, handbook, { idempotencyKey: 'again' })
    assert.equal(replayed.outcome, 'permit')
    await world.app.stop()
    const copy = copyOf(world)

    let app = await start(world)
    // after the backup: everything is revoked, spent or used, and something new comes to be
    await app.flows.revokeGrant(world.ada, granted.grant, 'over')
    await app.flows.settled()
    const spent = await app.flows.activate(
      world.migrator,
      migration(approvedTask, { approval: approved.approval ?? '' }),
    )
    assert.ok(spent.grant)
    const late = await app.flows.issueCredential(world.migrator, spent.grant.id)
    assert.ok(late.credential)
    assert.equal(system.shelf.names().length, 1)
    await app.flows.redeem(code.expose())
    await app.stop()

    putBack(world, copy)
    world.clock.advance(1_000)
    app = await start(world)
    const { ada, grace } = await signedIn({ ...world, app })
    try {
      // before anything was swept
      await acknowledge({ ...world, app, ada })
      const { grant } = await app.flows.grant(world.migrator, granted.grant)
      assert.deepEqual([grant.state === 'active', grant.end, grant.reason], [false, 'revoked', 'restored'])
      assert.deepEqual((await app.flows.grants(ada, { live: true })).items, [])
      assert.deepEqual((await app.flows.tasks(ada, { live: true })).items, [])
      for (const id of [approved.id, pending.id]) {
        const request = await app.flows.request(world.migrator, id)
        assert.deepEqual([request.status, request.reason], ['failed', 'restored'])
      }
      const answers = [
        await app.flows.activate(
          world.migrator,
          migration(approvedTask, { approval: approved.approval ?? '' }),
        ),
        await app.flows.activate(world.migrator, migration(undefined, { approval: approved.approval ?? '' })),
      ]
      for (const { decision } of answers) assert.notEqual(decision.outcome, 'permit', decision.reason)
      const again = await app.flows.evaluate(world.migrator, handbook, { idempotencyKey: 'again' })
      assert.notEqual(again.id, replayed.id)
      await fails(app.flows.redeem(code.expose()), 'ERR_UNAUTHENTICATED')
      await fails(app.flows.approve(grace, pending.id, { statement: pending.digest }), 'ERR_CONFLICT')
      await settle(app)
      // also what was made after the backup, of which nobody here knows
      assert.deepEqual(system.shelf.names(), [])
      assert.deepEqual((await app.flows.credentials(ada, { open: true })).items, [])
      const settled = (await entries(app)).filter(({ kind }) => kind === 'epoch.settled')
      assert.deepEqual(
        settled.map(({ grants, requests, tasks, invites, sessions }) => ({
          grants,
          requests,
          tasks,
          invites,
          sessions,
        })),
        [{ grants: 0, requests: 2, tasks: 3, invites: 2, sessions: 3 }],
      )
      // life goes on
      await activeGrant({ ...world, app, grace })
    } finally {
      await app.stop()
      rmSync(world.folder, { recursive: true, force: true })
    }
  })

  test('B75 a crash in the middle is finished at the next start, before anything is served', async () => {
    await using world = await stopped({ targets: true })
    let app = await start(world)
    const { grant } = await activeGrant({ ...world, app })
    await app.stop()
    rmSync(markOf(world))
    const copy = copyOf(world)
    let crashes = 0
    for (let commits = 1; ; commits += 1) {
      putBack(world, copy)
      rmSync(markOf(world), { force: true })
      let seen = 0
      let isStarting = true
      const step = (name: string): void => {
        if (name === 'commit: before' && isStarting && ++seen > commits)
          throw new Error('the process is gone')
      }
      const first = await start(world, { hooks: { step } }).catch(() => undefined)
      isStarting = false
      await first?.stop()
      if (first === undefined) crashes += 1
      app = await start(world)
      const found = await app.flows.grant(world.migrator, grant)
      assert.deepEqual([found.grant.state, found.grant.reason], ['closed', 'restored'], `after ${commits}`)
      assert.equal((await epochsIn(app)).length, 1, `after ${commits}`)
      await app.stop()
      if (first !== undefined) break
    }
    assert.ok(crashes >= 6, `${crashes} crashes`)
  })
})

describe('B75 C2 nothing widens until an administrator has looked at what came back', () => {
  /** A world of which a copy was made, after which `since` happened; put back, started and signed in again. */
  async function restored(
    since: (world: FaultWorld) => Promise<unknown>,
    before: (world: FaultWorld) => Promise<unknown> = () => Promise.resolve(),
  ): Promise<FaultWorld> {
    const world = await stopped()
    const run = async (work: (world: FaultWorld) => Promise<unknown>): Promise<void> => {
      const app = await start(world)
      await work({ ...world, app })
      await app.flows.transparency.checkpoint()
      await app.stop()
    }
    await run(before)
    const copy = copyOf(world)
    world.clock.advance(60_000)
    await run(since)
    putBack(world, copy)
    world.clock.advance(60_000)
    return world
  }
  const handbook = attempt('Agent/migrator', 'read', 'Document/handbook')

  test('B75 C2 an API key that was revoked after the copy was made gets nothing', async () => {
    await using world = await restored(async ({ app, ada, migrator }) => {
      assert.equal((await app.flows.evaluate(migrator, handbook)).outcome, 'permit')
      await app.flows.revokeKey(ada, migrator.id.slice('key:'.length))
      assert.equal((await app.flows.evaluate(migrator, handbook)).reason, 'subject_locked')
    })
    let app = await start(world)
    const { migrator } = world
    const refused = async (): Promise<void> => {
      const { outcome, reason, nextAction, alternatives } = await app.flows.evaluate(migrator, handbook)
      assert.deepEqual([outcome, reason, nextAction, alternatives], ['deny', 'restored', 'none', []])
      const asked = await app.flows.ask(migrator, migration(undefined))
      assert.deepEqual([asked.outcome, asked.reason, asked.alternatives], ['deny', 'restored', []])
      assert.equal((await app.flows.activate(migrator, handbook)).decision.reason, 'restored')
      await fails(declare({ ...world, app }), 'ERR_FORBIDDEN')
    }
    await refused()
    // nor after a crash and another start
    await app.stop()
    app = await start(world)
    await refused()
    const known = await signedIn({ ...world, app })
    // whoever looks finds the key that came back, and takes it back again
    const { keys, restored: copy } = await app.flows.epoch(known.ada)
    assert.deepEqual(
      keys.items.map(({ id }) => `key:${id}`),
      [migrator.id],
    )
    assert.equal(copy?.acknowledged, undefined)
    await app.flows.revokeKey(known.ada, migrator.id.slice('key:'.length))
    await acknowledge(known)
    assert.equal((await app.flows.evaluate(migrator, handbook)).reason, 'subject_locked')
    const [entry, ...others] = (await entries(app)).filter(({ kind }) => kind === 'epoch.acknowledged')
    assert.deepEqual([entry?.['person'], entry?.['epoch'], others], ['Person/ada', 2, []])
    await app.stop()
  })

  test('B75 C2 sessions of the copy are over, an administrator’s too; a code lets them in', async () => {
    await using world = await restored(({ app, ada }) => app.flows.signOut(ada))
    const app = await start(world)
    for (const token of [world.tokens.ada, world.tokens.grace, world.tokens.hedy]) {
      await fails(callerOf(app, token), 'ERR_UNAUTHENTICATED')
    }
    // also one that is past the door already
    const read = await app.flows.evaluate(world.ada, attempt('Person/ada', 'Writ::read', 'Writ::System/writ'))
    assert.equal(read.reason, 'subject_locked')
    const file = app.restoreFile ?? ''
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const [line = '', ...more] = readFileSync(file, 'utf8').trim().split('\n')
    const [code = '', person] = line.split(' ')
    // nobody but who may administer
    assert.deepEqual([person, more], ['Person/ada', []])
    const ada = await callerOf(app, (await app.flows.redeem(code)).token.expose())
    await fails(app.flows.redeem(code), 'ERR_UNAUTHENTICATED')
    const late = (await app.flows.restoreCodes())[0]?.code.expose() ?? ''
    await acknowledge({ ...world, app, ada })
    assert.equal(existsSync(file), false)
    // of no use any more
    await fails(app.flows.redeem(late), 'ERR_UNAUTHENTICATED')
    assert.deepEqual(await app.flows.restoreCodes(), [])
    await app.stop()
    const again = await start(world)
    assert.equal(again.restoreFile, undefined)
    await again.stop()
  })

  test('B75 passkeys, accounts and delegations that came back are told, and sign nobody in before', async () => {
    const origin = 'http://localhost:9748'
    const device = new Authenticator(origin)
    const account = { issuer: 'github', id: 'u-grace' }
    let delegation = ''
    await using world = await restored(
      async ({ app, ada, grace }) => {
        const { passkeys } = app.flows
        await passkeys.remove(ada, device.id)
        await app.flows.accounts.unlink(ada, account)
        await app.flows.delegations.revoke(grace, delegation, 'back')
        const { passkeys: none } = await app.flows.epoch(ada)
        assert.equal(none.total, 0)
      },
      async ({ app, ada, grace }) => {
        const { passkeys } = app.flows
        await passkeys.register(grace, device.create(await passkeys.forRegistration(grace, origin)))
        await app.flows.accounts.link(ada, account, ref('Person/grace'))
        const made = await app.flows.delegations.make(grace, {
          actor: ref('Agent/migrator'),
          life: 3_600_000,
        })
        delegation = made.id
      },
    )
    const app = await start(world)
    const signIn = async () => {
      const offer = await app.flows.passkeys.forSignIn(origin)
      assert.ok(offer)
      return app.flows.signIns.byPasskey(device.get(offer))
    }
    await fails(signIn(), 'ERR_UNAUTHENTICATED')
    const known = await signedIn({ ...world, app })
    const { passkeys, accounts, delegations } = await app.flows.epoch(known.ada)
    assert.deepEqual(
      [
        passkeys.items.map(({ id }) => id),
        accounts.items.map(({ account: id }) => id),
        delegations.items.map(({ id }) => id),
      ],
      [[device.id], ['u-grace'], [delegation]],
    )
    const encoded = JSON.stringify(encodeEpochState(await app.flows.epoch(known.ada)))
    assert.doesNotMatch(encoded, /publicKey|counter/)
    await fails(signIn(), 'ERR_UNAUTHENTICATED')
    await acknowledge(known)
    // what nobody took back again is as it was
    assert.equal((await signIn()).person.id, 'grace')
    await app.stop()
  })

  test('B75 meanwhile people set Writ right in person, and narrowing goes on; keys and resources wait', async () => {
    let observer: Caller | undefined
    await using world = await restored(
      () => Promise.resolve(),
      async ({ app, ada }) => {
        const key = await app.flows.createKey(ada, {
          name: 'proxy',
          subject: ref('Service/orders-ci'),
          pep: { subjects: ['*'], attributes: {} },
        })
        observer = await callerOf(app, key.secret.expose())
      },
    )
    const app = await start(world)
    const { ada, ...known } = await signedIn({ ...world, app })
    // what only people do here, and of Writ alone
    await app.flows.putEntities(ada, [{ type: 'Agent', id: 'new', kind: 'agent', owner: ref('Person/ada') }])
    const person = await app.flows.evaluate(ada, attempt('Person/ada', 'read', 'Document/handbook'))
    assert.equal(person.reason, 'restored')
    assert.ok(observer)
    for (const [action, reason] of [
      ['Writ::administer', 'restored'],
      ['Writ::read', 'restored'],
      ['Writ::publish', 'restored'],
      ['Writ::revoke', 'standing'],
      ['Writ::deny', 'standing'],
    ]) {
      // a key that speaks for an administrator is none
      const said = await app.flows.ask(observer, attempt('Person/ada', action ?? '', 'Writ::System/writ'))
      assert.equal(said.reason, reason, action)
    }
    await fails(app.flows.keys(observer, {}), 'ERR_FORBIDDEN')
    await fails(app.flows.acknowledgeRestore(observer, 2), 'ERR_FORBIDDEN')
    // nor one that asks for itself
    await fails(
      app.flows.createKey(known.migrator, { name: 'more', subject: ref('Agent/migrator') }),
      'ERR_FORBIDDEN',
    )
    const { recorded } = await app.flows.locks.lock(ada, {
      what: 'subject',
      about: 'Agent/migrator',
      reason: 'INC-7',
    })
    assert.equal(recorded, true)
    // what an administrator looked at is what is acknowledged
    await fails(app.flows.acknowledgeRestore(known.grace, 2), 'ERR_FORBIDDEN')
    await fails(app.flows.acknowledgeRestore(ada, 3), 'ERR_CONFLICT')
    assert.equal((await app.flows.evaluate(observer, handbook)).reason, 'subject_locked')
    const { locks, restored: copy } = await app.flows.epoch(ada)
    assert.deepEqual(
      locks.items.map(({ what, about, reason }) => [what, about, reason]),
      [['subject', 'Agent/migrator', 'INC-7']],
    )
    assert.ok(copy?.copyEndsAt !== undefined && copy.copyEndsAt < copy.at)
    await acknowledge({ ...world, app, ada })
    await fails(app.flows.acknowledgeRestore(ada, 2), 'ERR_CONFLICT')
    assert.equal(
      (await app.flows.evaluate(ada, attempt('Person/ada', 'read', 'Document/handbook'))).outcome,
      'permit',
    )
    await app.stop()
  })

  test('B75 a crash before the acknowledgement is durable keeps it waiting', async () => {
    await using world = await restored(() => Promise.resolve())
    let fail = false
    const step = (name: string): void => {
      if (fail && name === 'commit: before') throw new Error('the process is gone')
    }
    let app = await start(world, { hooks: { step } })
    const known = await signedIn({ ...world, app })
    fail = true
    await assert.rejects(app.flows.acknowledgeRestore(known.ada, 2))
    assert.equal(app.decision.barrier.restored, true)
    await app.stop().catch(() => undefined)
    app = await start(world)
    assert.equal((await app.flows.evaluate(world.migrator, handbook)).reason, 'restored')
    assert.equal((await kindsOf(app)).includes('epoch.acknowledged'), false)
    await app.flows.acknowledgeRestore(known.ada, 2)
    assert.equal((await app.flows.evaluate(world.migrator, handbook)).outcome, 'permit')
    await app.stop()
  })

  test('B75 what was signed for callers to carry before the epoch counts for nothing in it', async () => {
    let denial = ''
    let recorded = ''
    let before = ''
    let state: string | undefined
    let endsAt = 0
    await using world = await restored(
      () => Promise.resolve(),
      async (old) => {
        const { flows } = old.app
        const pending = await requestMigration(old, await declare(old))
        const approved = await flows.approve(old.grace, pending.id, { statement: pending.digest })
        state = flows.proofOf(approved, old.clock.wall())
        before = await declare(old)
        const challenge = await flows.evaluate(old.migrator, migration(before))
        recorded = challenge.id
        denial = challenge.bindingToken ?? ''
        endsAt = challenge.requestableUntil ?? 0
      },
    )
    const app = await start(world)
    // what is on record of the copy cannot be asked about either, as long as the restore waits
    const early = { ...migration(before), denial: { evaluationId: recorded, expiresAt: endsAt } }
    await fails(app.flows.submit(world.migrator, early), 'ERR_FORBIDDEN')
    await acknowledge(await signedIn({ ...world, app }))
    await fails(app.flows.submit(world.migrator, early), 'ERR_CONFLICT')
    assert.ok(state !== undefined && denial !== '' && world.clock.wall() < endsAt)
    const task = await declare({ ...world, app })
    const carried = migration(task)
    const approval = { state }
    const answer = await app.flows.evaluate(world.migrator, {
      ...carried,
      context: { ...carried.context, approval },
    })
    assert.deepEqual([answer.outcome, answer.reason], ['deny', 'approval_unverifiable'])
    const error = await fails(
      app.flows.submit(world.migrator, { ...carried, denial: { bindingToken: denial, expiresAt: endsAt } }),
      'ERR_INPUT_INVALID',
    )
    assert.equal(error.problem, 'invalid_denial_binding')
    await app.stop()
  })
})

describe('B67 an operator rolls back the log and what Writ remembers of it', () => {
  test('B67 whoever kept a checkpoint sees that the log does not continue it', async () => {
    await using world = await stopped()
    const copy = copyOf(world)
    const mark = readFileSync(markOf(world))
    let app = await start(world)
    await declare({ ...world, app })
    const saved = await checkpointOf(app)
    await app.stop()
    putBack(world, copy)
    rewindMark(markOf(world), mark)
    world.clock.advance(60_000)
    app = await start(world)
    try {
      // nothing here gives it away
      assert.deepEqual(await epochsIn(app), [])
      const { transparency } = app.flows
      assert.equal(transparency.origin(), saved.origin)
      await fails(transparency.consistency(saved.size, saved.size + 1), 'ERR_INPUT_INVALID')
      for (let i = 0; i < 3; i += 1) await declare({ ...world, app })
      const now = await checkpointOf(app)
      assert.ok(now.size > saved.size)
      const { path, roots } = await transparency.consistency(saved.size, now.size)
      const bytes = (text: string): Uint8Array => Buffer.from(text, 'hex')
      assert.equal(isContinued(saved.size, bytes(saved.root), now.size, bytes(now.root), path), false)
      // the proof is right for what the log is now
      assert.equal(isContinued(saved.size, roots[0], now.size, bytes(now.root), path), true)
    } finally {
      await app.stop()
    }
  })
})
