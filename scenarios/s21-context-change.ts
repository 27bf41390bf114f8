import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { AttemptInput, Grant, Writ, WritEvent } from '../client/src/index.ts'
import type { Database, Session } from './support/database.ts'
import { openDatabase } from './support/database.ts'
import type { Installation } from './support/installation.ts'
import { openInstallation, under } from './support/installation.ts'
import { child, startWrit, writ as runWrit } from './support/processes.ts'
import type { Scenario, Story } from './support/story.ts'
import { denied, refused, sql, sqlRefused, until } from './support/story.ts'
import { openDesk } from './support/tickets.ts'
import { openTransmitter } from './support/transmitter.ts'

const REPAIR = { action: 'orders:repair', resource: 'Database/orders' } satisfies AttemptInput

/** Nobody is asked: what lets them is what is so just now. */
const POLICY = `
@id("repair-from-a-good-device")
@ttl("10m")
permit (principal in Group::"repairers", action == Action::"orders:repair", resource is Database)
when {
  context.live has task && context.proof.justification &&
  context.live has posture && context.live.posture.compliant
};

@id("never-at-high-risk")
forbid (principal, action == Action::"orders:repair", resource)
when { context.live has risk.level && context.live.risk.level >= 3 };

@id("changes-under-an-open-change")
forbid (principal in Group::"changers", action == Action::"orders:repair", resource)
unless { context.live has ticket && context.live.ticket.open && context.live.ticket.approved };

@id("responders-during-the-incident")
forbid (principal in Group::"responders", action == Action::"orders:repair", resource)
unless { context.live has incident && context.live.incident.open };
`
const FROZEN = `
@id("contractors-frozen")
@doc("the incident goes through them")
forbid (principal in Group::"contractors", action == Action::"orders:repair", resource);
`

const SERVICES: Readonly<Record<string, readonly string[]>> = {
  calm: ['changers'],
  'calm-responder': ['responders'],
  pushed: [],
  polled: [],
  hasty: [],
  closed: ['changers'],
  found: ['changers'],
  responder: ['responders'],
  runner: [],
  steady: [],
  contractor: ['contractors'],
  locked: [],
  'locked-too': [],
}

/** How long anything may take at all, on whatever machine: what is measured is shown. */
const LONGEST = 60_000

export const scenario: Scenario = {
  id: 'S21',
  name: 'context-change',
  right:
    'when posture, ticket, risk, session or incident change in mid-grant, exactly what was given on them ends, at the database too, and those concerned are told',
  wrong:
    'work going on: on an open connection, in an open transaction, with the credential, in a command that runs; and ending others by a forged, old or foreign signal',

  async run(story) {
    const names = Object.keys(SERVICES)
    const database = await story.part(
      openDatabase({
        name: 'orders',
        schema: 'create table pulse (who text, at timestamptz default clock_timestamp())',
      }),
    )
    // what manages devices pushes; what watches behaviour is polled
    const devices = await story.part(
      openTransmitter({
        name: 'mdm',
        delivery: 'push',
        subjects: {
          ...Object.fromEntries(names.map((name) => [`dev-${name}`, `Service/${name}`])),
          'dev-rosa': 'Person/rosa',
        },
      }),
    )
    const behaviour = await story.part(
      openTransmitter({
        name: 'watch',
        delivery: 'poll',
        subjects: {
          ...Object.fromEntries(
            ['polled', 'hasty', 'steady'].map((name) => [`host-${name}`, `Service/${name}`]),
          ),
          rosa: 'Person/rosa',
        },
      }),
    )
    const desk = await story.part(
      openDesk({
        keys: ['CHG-'],
        incidents: ['P'],
        // of one nobody tells, and it is asked for again in time to be watched
        apart: { keys: ['LAX-'], settings: { fresh: '1s', max_age: '6s' } },
      }),
    )
    const writ = await story.part(
      openInstallation({
        config: { signals: { receivers: [devices.config, behaviour.config] }, ...desk.config },
        policies: [{ name: 'repairs.cedar', text: POLICY }],
        people: { olga: [], rosa: ['repairers'] },
        entities: [
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
          {
            type: 'Service',
            id: 'operator',
            kind: 'workload',
            owner: 'Person/ada',
            parents: ['Group/administrators'],
          },
          ...names.map((id) => ({
            type: 'Service',
            id,
            kind: 'workload' as const,
            owner: id.startsWith('locked') ? 'Person/olga' : 'Person/ada',
            parents: ['Group/repairers', ...(SERVICES[id] ?? []).map((group) => `Group/${group}`)],
          })),
        ],
      }),
    )
    await writ.target(database, { 'orders:repair': 'Database/orders' })
    desk.subscribe(writ.url)
    await inTime('both streams work', Promise.all([devices.streaming, behaviour.streaming]))
    for (const key of ['CHG-1', 'CHG-2']) await desk.ticket(key, { status: 'Implementing' })
    for (const id of ['P1', 'P2']) await desk.incident(id, { status: 'acknowledged' })
    const compliance = (name: string, is: boolean, at?: number) => ({
      event: 'device-compliance-change',
      about: `dev-${name}`,
      payload: {
        previous_status: is ? 'not-compliant' : 'compliant',
        current_status: is ? 'compliant' : 'not-compliant',
      },
      ...(at === undefined ? {} : { at }),
    })
    for (const name of [...names, 'rosa']) {
      assert.deepEqual(await devices.tell(compliance(name, true)), { taken: true })
    }
    const stage = new Stage(story, writ, database)
    const [calm, calmResponder] = [
      await stage.begin('calm', 'CHG-1'),
      await stage.begin('calm-responder', 'P2'),
    ]
    const bystanders = [calm, calmResponder]

    await story.right('the device is lost: told by push', async () => {
      const work = await stage.begin('pushed')
      await work.endsOn('posture (push)', () => devices.tell(compliance('pushed', false)))
      assert.match((await work.grant()).reason ?? '', /`posture` changed: policy_denied/u)
    })
    await story.right('the device is lost: learned by polling', async () => {
      const work = await stage.begin('polled')
      await work.endsOn('posture (poll)', () =>
        behaviour.tell({ ...compliance('polled', false), about: 'host-polled' }),
      )
    })
    await story.right('the risk goes up, and the requester is not told that it was the risk', async () => {
      const work = await stage.begin('hasty')
      await work.endsOn('risk (poll)', () => behaviour.tell(risk('host-hasty', 'HIGH')))
      const { reason = '' } = await work.grant()
      assert.match(reason, /what is known changed/u)
      assert.ok(!JSON.stringify([reason, work.told.events]).includes('risk'))
    })
    await story.right('the change is closed: its ticket system says so', async () => {
      const work = await stage.begin('closed', 'CHG-2')
      await work.endsOn('ticket (webhook)', async () => {
        assert.equal((await desk.ticket('CHG-2', { status: 'Done' }))?.status, 204)
      })
    })
    await story.right('the change is closed and nobody says so: it is found by asking again', async () => {
      desk.quietly('LAX-3', { status: 'Implementing' })
      const work = await stage.begin('found', 'LAX-3')
      await work.endsOn('ticket (asked again within 6 s)', () => desk.quietly('LAX-3', { status: 'Done' }))
    })
    await story.right('the incident is closed', async () => {
      const work = await stage.begin('responder', 'P1')
      await work.endsOn('incident (webhook)', async () => {
        assert.equal((await desk.incident('P1', { status: 'resolved' }))?.status, 204)
      })
    })
    await story.right('a session is revoked: with what was had by it, and its stream of events', async () => {
      const rosa = writ.person('rosa')
      const work = await stage.beginAs('Person/rosa', rosa)
      const signal = { event: 'session-revoked', about: 'rosa' }
      await work.endsOn('session (poll)', () => behaviour.tell(signal), 'unauthenticated')
      await work.told.over
      await refused(rosa.me(), 'ERR_UNAUTHENTICATED')
    })
    await story.wrong('a command goes on after its device was lost', async () => {
      const { token } = await stage.key('runner')
      const program = await story.part(
        startWrit(
          [
            'run',
            `--for=${REPAIR.action}`,
            `--on=${REPAIR.resource}`,
            '--reason=INC-42',
            '--heartbeat=5m',
            '--',
            ...child('pulse.ts'),
          ],
          { cwd: join(writ.folder, 'runner'), env: { WRIT_URL: writ.url, WRIT_TOKEN: token } },
        ),
      )
      await program.says('working')
      const from = performance.now()
      await devices.tell(compliance('runner', false))
      const { code } = await inTime('the command ends', program.ended)
      story.figure(`writ run ended after ${Math.round(performance.now() - from)} ms`)
      assert.equal(code, 125, program.err.join('\n'))
      assert.match(program.err.join('\n'), /authority is gone: the grant ended/u)
    })
    const steady = await stage.begin('steady')
    await story.wrong('ending others by signals that are not to be believed', async () => {
      const [before, later] = [Date.now() - 60_000, Date.now()]
      const old = await devices.sign(compliance('steady', false, before))
      const lost = compliance('steady', false)
      const refusals = {
        'signed by somebody else': [await devices.forge(lost), 'invalid_key'],
        'for somebody else': [
          await devices.sign({ ...lost, claims: { aud: 'https://other.example' } }),
          'invalid_audience',
        ],
        'of another issuer': [
          await devices.sign({ ...lost, claims: { iss: 'https://evil.example' } }),
          'invalid_issuer',
        ],
        'of the other transmitter': [await behaviour.sign(lost), 'invalid_issuer'],
        'about whom it may not speak of': [
          await devices.sign({ ...lost, about: 'host-steady' }),
          'invalid_request',
        ],
        'of the future': [
          await devices.sign({ ...lost, claims: { iat: Math.floor(later / 1_000) + 3_600 } }),
          'invalid_request',
        ],
        'taken for a token': [await devices.sign({ ...lost, claims: { sub: 'steady' } }), 'invalid_request'],
      } as const
      for (const [what, [set, err]] of Object.entries(refusals))
        assert.deepEqual(await devices.send(set), { taken: false, err }, what)
      const stranger = await devices.sign(lost)
      assert.deepEqual(await devices.send(stranger, 'Bearer guessed'), {
        taken: false,
        err: 'authentication_failed',
      })
      const foreign = { ...risk('host-calm', 'HIGH') }
      assert.deepEqual(await behaviour.tell(foreign), { taken: false, err: 'invalid_request' })
      // out of order, and again: what was true before is no news
      for (let times = 0; times < 2; times += 1) assert.deepEqual(await devices.send(old), { taken: true })
      await steady.goesOn()
    })
    await story.wrong('coming back by what was true before: a replay of the good news', async () => {
      const good = await devices.sign(compliance('steady', true))
      assert.deepEqual(await devices.send(good), { taken: true })
      await steady.endsOn('posture, once more', () => devices.tell(compliance('steady', false)))
      assert.deepEqual(await devices.send(good), { taken: true })
      const again = await declare(steady.writ)
      denied(await steady.writ.evaluate(under(again, REPAIR)), 'policy_denied')
      await steady.writ.tasks.end(again, 'cancelled')
    })
    await story.right('a policy is published in mid-incident: what it forbids ends', async () => {
      const work = await stage.begin('contractor')
      const policies = (await writ.ada.policies.current()).policies.map(({ name, text }) => ({ name, text }))
      await work.endsOn('policy', () =>
        writ.ada.policies.publish({ policies: [...policies, { name: 'frozen.cedar', text: FROZEN }] }),
      )
    })
    await story.right('`writ lock`: everything under whom it locks ends, and nothing begins', async () => {
      const [one, two] = [await stage.begin('locked'), await stage.begin('locked-too')]
      const owner = new Told(writ.person('olga'))
      await owner.open
      const { token } = await writ.key('Service/operator')
      const lock = () =>
        runWrit(['lock', 'owner', 'Person/olga', '--reason', 'laptop stolen', '--yes'], {
          cwd: join(writ.folder, 'operator'),
          env: { WRIT_URL: writ.url, WRIT_TOKEN: token },
        })
      await Promise.all([
        one.endsOn('lock (with the start of the command)', lock, 'locked'),
        two.endsOn('lock, another', noop, 'locked'),
      ])
      denied(await one.writ.evaluate(under(await declare(one.writ), REPAIR)), 'locked')
      // the owner hears of both
      for (const work of [one, two]) await owner.hears('grant.ended', work.id)
      await owner.close()
    })
    await story.right('what was not affected has gone on all the while', async () => {
      for (const work of bystanders) {
        await work.goesOn()
        await work.finish()
      }
    })
  },
}

const noop = (): void => undefined

const risk = (about: string, level: 'LOW' | 'HIGH') => ({
  event: 'risk-level-change',
  about,
  payload: { principal: 'USER', previous_level: 'LOW', current_level: level, risk_reason: 'anomaly' },
})

async function declare(writ: Writ, ticket?: string): Promise<string> {
  const { id } = await writ.tasks.declare({
    purpose: 'repair orders',
    reason: 'INC-42',
    ...(ticket === undefined ? {} : { ticket }),
    heartbeat: '5m',
    scope: { actions: [REPAIR.action], resources: [{ type: 'Database', id: 'orders' }] },
  })
  return id
}

async function inTime<T>(what: string, work: Promise<T>): Promise<T> {
  const over = new AbortController()
  const late = pause(LONGEST, undefined, { signal: over.signal }).then(() =>
    assert.fail(`not within ${LONGEST} ms: ${what}`),
  )
  late.catch(noop)
  try {
    return await Promise.race([work, late])
  } finally {
    over.abort()
  }
}

/** What somebody hears live. */
class Told {
  readonly events: WritEvent[] = []
  /** Resolves when it has begun. */
  readonly open: Promise<void>
  /** Resolves when the server has cut it off for good. */
  readonly over: Promise<void>
  readonly #stop = new AbortController()
  readonly #heard = new EventTarget()

  constructor(writ: Writ) {
    const begun = Promise.withResolvers<number>()
    this.open = begun.promise.then(noop)
    this.over = this.#listen(writ, begun)
    this.over.catch(noop)
  }

  async #listen(writ: Writ, begun: PromiseWithResolvers<number>): Promise<void> {
    const { size } = await writ.log.head()
    begun.resolve(size)
    try {
      for await (const event of writ.events({ after: size - 1, signal: this.#stop.signal })) {
        this.events.push(event)
        this.#heard.dispatchEvent(new Event('heard'))
      }
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ERR_UNAUTHENTICATED')) throw error
    }
  }

  async hears(kind: string, about: string): Promise<void> {
    const isThere = (): boolean =>
      this.events.some((event) => event.kind === kind && event.refs.includes(about))
    while (!isThere()) await inTime(`\`${kind}\` is told`, once(this.#heard, 'heard'))
  }

  async close(): Promise<void> {
    this.#stop.abort()
    await this.over
  }
}

class Stage {
  readonly #story: Story
  readonly #writ: Installation
  readonly #database: Database
  readonly #keys = new Map<string, Awaited<ReturnType<Installation['key']>>>()

  constructor(story: Story, writ: Installation, database: Database) {
    this.#story = story
    this.#writ = writ
    this.#database = database
  }

  async key(name: string): Promise<Awaited<ReturnType<Installation['key']>>> {
    const known = this.#keys.get(name) ?? (await this.#writ.key(`Service/${name}`))
    this.#keys.set(name, known)
    return known
  }

  async begin(name: string, ticket?: string): Promise<Work> {
    return this.beginAs(`Service/${name}`, (await this.key(name)).writ, ticket)
  }

  /** Work under way: granted, connected, and in a transaction that is not finished. */
  async beginAs(subject: string, writ: Writ, ticket?: string): Promise<Work> {
    const told = new Told(writ)
    await told.open
    const task = await declare(writ, ticket)
    let why = ''
    // a decision does not wait long for a ticket system, which a busy machine keeps from answering in time
    const grant = await until('the grant is given', async () => {
      const given = await writ.grants.activate(under(task, REPAIR))
      why = given.decision.reason
      return given.grant
    }).catch(() => assert.fail(`${subject} may not repair: ${why}`))
    const { secret } = await writ.credentials.issue(grant.id)
    const url = secret.env['DATABASE_URL'] ?? ''
    const session = await this.#database.connect({ url })
    await session.query(`set role ${this.#database.owner}`)
    await session.query('insert into pulse (who) values ($1)', [subject])
    await session.query('begin')
    await session.query('insert into pulse (who) values ($1)', [`${subject}, not finished`])
    return new Work({
      story: this.#story,
      admin: this.#writ.ada,
      database: this.#database,
      subject,
      writ,
      told,
      task,
      id: grant.id,
      url,
      session,
    })
  }
}

type Parts = Readonly<{
  story: Story
  admin: Writ
  database: Database
  subject: string
  writ: Writ
  told: Told
  task: string
  id: string
  url: string
  session: Session
}>

class Work {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  get writ(): Writ {
    return this.#parts.writ
  }

  get task(): string {
    return this.#parts.task
  }

  get id(): string {
    return this.#parts.id
  }

  get told(): Told {
    return this.#parts.told
  }

  async grant(): Promise<Grant> {
    return (await this.#parts.admin.grants.get(this.id)).grant
  }

  /** `cause` ends it, everywhere. */
  async endsOn(
    what: string,
    cause: () => unknown,
    how: 'ended' | 'locked' | 'unauthenticated' = 'ended',
  ): Promise<void> {
    const { story, admin, database, subject, writ, told, url, session, task, id } = this.#parts
    const from = performance.now()
    const cut = session.ended.then(() => performance.now())
    await cause()
    const at = await inTime(`the session of ${subject} is cut`, cut)
    story.figure(`${what}: session closed after ${Math.round(at - from)} ms`)
    await sqlRefused(session.query('insert into pulse (who) values ($1)', [subject]), sql.cut)
    await sqlRefused(session.query('commit'), sql.cut)
    await sqlRefused(database.connect({ url }), sql.noLogin)
    const unfinished = await database.look('select from pulse where who = $1', [`${subject}, not finished`])
    assert.deepEqual(unfinished, [], 'what was not committed is there')
    const again = under(task, REPAIR, { grant: id })
    if (how === 'unauthenticated') await refused(writ.evaluate(again), 'ERR_UNAUTHENTICATED')
    else denied(await writ.evaluate(again), how === 'locked' ? 'locked' : 'grant_ended')
    const { grant, credentials } = await until('everything under it is verified gone', async () => {
      const found = await admin.grants.get(id)
      return found.grant.state === 'closed' && found
    })
    assert.ok(credentials.length > 0 && credentials.every(({ state }) => state === 'absent'))
    assert.ok((grant.reason ?? '') !== '', 'nobody says why')
    if (how !== 'unauthenticated') {
      await told.hears('grant.ended', id)
      await told.close()
      await writ.tasks.end(task, 'failed', 'it lost its authority').catch(noop)
    }
  }

  /** It still does what it was let do. */
  async goesOn(): Promise<void> {
    const { session, subject } = this.#parts
    await session.query('insert into pulse (who) values ($1)', [subject])
    assert.equal((await this.grant()).state, 'active')
  }

  async finish(): Promise<void> {
    const { session, told, writ, task } = this.#parts
    await session.query('commit')
    await session.end()
    await told.close()
    await writ.tasks.end(task, 'completed')
  }
}
