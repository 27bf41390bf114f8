import assert from 'node:assert/strict'
import type { ApprovalReference, AttemptInput, Grant, Writ } from '../client/src/index.ts'
import type { Database, Session } from './support/database.ts'
import { openDatabase } from './support/database.ts'
import type { Installation } from './support/installation.ts'
import { approve, ask, challenged, openInstallation, starter, under } from './support/installation.ts'
import { PersonAtPage } from './support/page.ts'
import type { Scenario } from './support/story.ts'
import { denied, refused, sql, sqlRefused, until } from './support/story.ts'
import { openDesk } from './support/tickets.ts'
import { openTransmitter } from './support/transmitter.ts'

const MINUTE = 60_000

/** What staff have: nobody is asked during an incident, and it lasts ten minutes. It says nothing of vendors. */
const STAFF = `
@id("tend-during-an-incident")
@ttl("10m")
permit (principal in Group::"tenders", action == Action::"orders:tend", resource is Database)
when {
  context.live has task && context.proof.justification &&
  context.live has incident && context.live.incident.open
};
`
const TEND = { action: 'orders:tend', resource: 'Database/orders' } satisfies AttemptInput

/** More than are looked at in one go. */
const STAFFERS = Array.from({ length: 12 }, (_, at) => `tender-${at + 1}`)
const VENDORS = ['ext-kim', 'ext-joan']

export const scenario: Scenario = {
  id: 'S24',
  name: 'third-party',
  right:
    'a vendor proves for each act that it is them, from a device in order, with two people agreeing; has it shorter than staff, and loses it first',
  wrong: 'staff-grade proof from a vendor, a machine of theirs by itself, and anything after their contract',

  async run(story) {
    const database = await story.part(
      openDatabase({ name: 'orders', schema: 'create table pulse (who text)' }),
    )
    const devices = await story.part(
      openTransmitter({
        name: 'mdm',
        delivery: 'push',
        subjects: {
          'dev-kim': 'Person/ext-kim',
          'dev-joan': 'Person/ext-joan',
          'dev-remote': 'Service/acme-remote',
          'host-tender-1': 'Service/tender-1',
        },
      }),
    )
    // believed for as long as a story takes on whatever machine: it is told of every change
    const desk = await story.part(openDesk({ incidents: ['P'], settings: { max_age: '30m' } }))
    const writ = await story.part(
      openInstallation({
        config: { signals: { receivers: [devices.config] }, ...desk.config },
        policies: [starter('vendor.cedar'), { name: 'staff.cedar', text: STAFF }],
        people: {
          ruth: ['vendor-sponsors'],
          radia: ['security'],
          ...Object.fromEntries(VENDORS.map((id) => [id, ['vendors', 'tenders']])),
        },
        entities: [
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
          ...STAFFERS.map((id) => ({
            type: 'Service',
            id,
            kind: 'workload' as const,
            owner: 'Person/ada',
            parents: ['Group/tenders'],
          })),
          {
            type: 'Service',
            id: 'acme-remote',
            kind: 'workload',
            owner: 'Person/ada',
            third_party: true,
            parents: ['Group/vendors', 'Group/tenders'],
          },
          ...VENDORS.map((id) => ({
            type: 'Person',
            id,
            kind: 'human' as const,
            third_party: true,
            parents: ['Group/vendors', 'Group/tenders'],
          })),
        ],
      }),
    )
    await writ.target(database, { 'orders:tend': 'Database/orders' })
    desk.subscribe(writ.url)
    await devices.streaming
    for (const id of ['P1', 'P2']) await desk.incident(id, { status: 'acknowledged' })

    const stage = new Stage(writ, database)
    const [kim, joan] = [await stage.vendor('ext-kim'), await stage.vendor('ext-joan')]
    const staff = await writ.key('Service/tender-1')
    const compliant = (about: string) => ({
      event: 'device-compliance-change',
      about,
      payload: { previous_status: 'not-compliant', current_status: 'compliant' },
    })
    const risk = (about: string, from: string, to: string) => ({
      event: 'risk-level-change',
      about,
      payload: { principal: 'USER', previous_level: from, current_level: to, risk_reason: 'anomaly' },
    })

    const task = await declare(kim.writ, 'P1')
    await story.wrong('a vendor from a device of which nobody says that it is in order', async () => {
      denied(await kim.writ.evaluate(under(task, TEND)), 'policy_denied')
      // staff may come from any
      assert.equal(
        (await staff.writ.evaluate(under(await declare(staff.writ, 'P1'), TEND))).outcome,
        'permit',
      )
    })
    for (const about of ['dev-kim', 'dev-joan', 'dev-remote'])
      assert.deepEqual(await devices.tell(compliant(about)), { taken: true })
    await story.right(
      'from one that is in order it is asked for more than staff, and for less long',
      async () => {
        const { alternatives } = await challenged(kim.writ, under(task, TEND))
        assert.equal(alternatives.length, 1)
        const [set] = alternatives
        assert.deepEqual(set?.requirements.map((one) => ('pool' in one ? one.pool : one.kind)).toSorted(), [
          'reauth',
          'vendor_security',
          'vendor_sponsor',
        ])
        assert.deepEqual([set.binding, set.ttl], ['attempt', '5m'])
      },
    )
    await story.wrong('staff-grade proof: being signed in, just now too, and a reason', async () => {
      await kim.signInAgain()
      const { decision, grant } = await kim.writ.grants.activate(under(task, TEND))
      assert.deepEqual([decision.outcome, grant], ['challenge', undefined])
    })
    const first = await ask(kim.writ, under(task, TEND))
    await story.wrong('the sponsor alone, then both, but nobody’s proof that it is them', async () => {
      for (const name of ['ruth', 'radia']) {
        await approve(writ.person(name), first)
        assert.equal((await kim.writ.requests.get(first.id)).status, 'pending')
      }
      assert.equal((await kim.writ.grants.activate(under(task, TEND))).grant, undefined)
    })
    await story.wrong('proof that was given for another act, or by another vendor', async () => {
      const other = await declare(kim.writ, 'P2')
      const elsewhere = await ask(kim.writ, under(other, TEND))
      const proof = await kim.proofFor(elsewhere.id)
      assert.equal(await kim.prove(first.id, { ...proof, statement: first.digest }), 403)
      const joans = await declare(joan.writ, 'P2')
      const { id } = await ask(joan.writ, under(joans, TEND))
      assert.equal(await kim.prove(first.id, { ...(await joan.proofFor(id)), statement: first.digest }), 403)
      assert.equal((await kim.writ.requests.get(first.id)).status, 'pending')
      await kim.writ.tasks.end(other, 'cancelled')
      await joan.writ.tasks.end(joans, 'cancelled')
    })
    const [kims, tenders] = await story.right(
      'with all of it it works, for half as long as staff',
      async () => {
        assert.equal(await kim.prove(first.id, await kim.proofFor(first.id)), 303)
        const { approval } = await kim.writ.requests.wait(first.id)
        assert.ok(approval)
        const theirs = await stage.connect(kim.writ, task, approval)
        const ours = await stage.connect(staff.writ, await declare(staff.writ, 'P1'))
        assert.deepEqual([life(theirs.grant), life(ours.grant)], [5 * MINUTE, 10 * MINUTE])
        for (const { session } of [theirs, ours]) await session.query(`insert into pulse values ('works')`)
        return [theirs, ours]
      },
    )
    await story.wrong('a machine of a vendor’s by itself, whoever agrees', async () => {
      const { writ: machine } = await writ.key('Service/acme-remote')
      const id = await declare(machine, 'P1')
      denied(await machine.evaluate(under(id, TEND)), 'policy_denied')
      await machine.tasks.end(id, 'cancelled')
    })
    await story.right('medium risk is too much for a vendor, and staff are let go on', async () => {
      for (const about of ['host-tender-1', 'dev-kim'])
        assert.deepEqual(await devices.tell(risk(about, 'LOW', 'MEDIUM')), { taken: true })
      await kims.session.ended
      await sqlRefused(kims.session.query(`insert into pulse values ('late')`), sql.cut)
      await tenders.session.query(`insert into pulse values ('goes on')`)
      // and it is not told that it was risk
      const { grant } = await kim.writ.grants.get(kims.grant.id)
      assert.ok(!JSON.stringify(grant).includes('risk'))
    })
    assert.deepEqual(await devices.tell(risk('dev-kim', 'MEDIUM', 'LOW')), { taken: true })
    await story.right('one signal ends what staff and vendors have: the vendors’ first', async () => {
      const ours = [tenders]
      for (const name of STAFFERS.slice(1)) {
        const { writ: own } = await writ.key(`Service/${name}`)
        ours.push(await stage.connect(own, await declare(own, 'P1')))
      }
      // they came last
      const theirs = [await stage.agreed(kim, 'P1'), await stage.agreed(joan, 'P1')]
      const { size } = await writ.ada.log.head()
      const all = [...ours, ...theirs]
      const began = performance.now()
      const cut = all.map(async ({ session }) => {
        await session.ended
        return performance.now() - began
      })
      await desk.incident('P1', { status: 'resolved' })
      const millis = await Promise.all(cut)
      const mostOf = (some: readonly number[]): number => Math.round(Math.max(...some))
      story.figure(
        `vendors cut after ${mostOf(millis.slice(ours.length))} ms, staff after ${mostOf(millis.slice(0, ours.length))} ms`,
      )
      const ended = await until('all are on the record', async () => {
        const { items } = await writ.ada.log.search({ kind: 'grant.ended', limit: 100 })
        const found = items.filter(({ seq }) => seq >= size).toSorted((a, b) => a.seq - b.seq)
        return found.length === all.length && found
      })
      const order = ended.map((one) => ('entry' in one ? (one.entry as { grant: string }).grant : ''))
      assert.deepEqual(
        new Set(order.slice(0, theirs.length)),
        new Set(theirs.map(({ grant }) => grant.id)),
        'staff lost theirs before vendors did',
      )
    })
    await story.right('the contract ends, and with it everything', async () => {
      const work = await stage.agreed(joan, 'P2')
      const ends = new Date(Date.now() + 5_000).toISOString()
      await writ.ada.inventory.put([
        {
          type: 'Person',
          id: 'ext-joan',
          kind: 'human',
          third_party: true,
          parents: ['Group/vendors', 'Group/tenders'],
          ends_at: ends,
        },
      ])
      await work.session.ended
      assert.ok(Date.now() >= Date.parse(ends) - 50, 'it was cut before its end')
      await sqlRefused(work.session.query(`insert into pulse values ('late')`), sql.cut)
      await sqlRefused(database.connect({ url: work.url }), sql.noLogin)
      await refused(declare(joan.writ, 'P2'), 'ERR_FORBIDDEN', 'ERR_UNAUTHENTICATED')
      const { grant } = await until('it is closed', async () => {
        const found = await writ.ada.grants.get(work.grant.id)
        return found.grant.state === 'closed' && found
      })
      assert.ok(Date.parse(grant.ends_at) <= Date.parse(ends))
    })
    await story.wrong('coming back after it: by signing in with the passkey', async () => {
      assert.notEqual((await joan.signInAgain()).status, 303)
    })
  },
}

const life = ({ started_at, ends_at }: Grant): number => Date.parse(ends_at) - Date.parse(started_at)

async function declare(writ: Writ, ticket: string): Promise<string> {
  const { id } = await writ.tasks.declare({
    purpose: 'tend orders',
    reason: 'it is slow',
    ticket,
    heartbeat: '5m',
    scope: { actions: [TEND.action], resources: [{ type: 'Database', id: 'orders' }] },
  })
  return id
}

type Work = Readonly<{ grant: Grant; session: Session; url: string }>

/** Somebody from outside, with a passkey. */
class Vendor {
  readonly writ: Writ
  readonly #page: PersonAtPage

  constructor(writ: Writ, page: PersonAtPage) {
    this.writ = writ
    this.#page = page
  }

  async signInAgain(): Promise<Readonly<{ status: number; text: string }>> {
    const page = await this.#page.get('/signin')
    return this.#page.send('/signin/passkey', this.#page.answer(this.#page.asked(page)))
  }

  /** Uses the passkey for one request. */
  async proofFor(request: string): Promise<Record<string, string>> {
    return this.#page.answer(this.#page.asked(await this.#page.get(`/requests/${request}/prove`)))
  }

  async prove(request: string, proof: Record<string, string>): Promise<number> {
    return (await this.#page.send(`/requests/${request}/prove`, proof)).status
  }
}

class Stage {
  readonly #writ: Installation
  readonly #database: Database

  constructor(writ: Installation, database: Database) {
    this.#writ = writ
    this.#database = database
  }

  async vendor(id: string): Promise<Vendor> {
    const page = new PersonAtPage(this.#writ.url)
    await page.signIn((await this.#writ.ada.people.invite({ id })).code)
    await page.register()
    return new Vendor(this.#writ.person(id), page)
  }

  async connect(writ: Writ, task: string, approval?: ApprovalReference): Promise<Work> {
    const attempt = under(task, TEND, approval === undefined ? {} : { approval })
    const { grant, decision } = await writ.grants.activate(attempt)
    assert.ok(grant, decision.reason)
    const { secret } = await writ.credentials.issue(grant.id)
    const url = secret.env['DATABASE_URL'] ?? ''
    const session = await this.#database.connect({ url })
    await session.query(`set role ${this.#database.owner}`)
    return { grant, session, url }
  }

  /** A vendor at work: asked, agreed to by both, proved. */
  async agreed(vendor: Vendor, ticket: string): Promise<Work> {
    const task = await declare(vendor.writ, ticket)
    const request = await ask(vendor.writ, under(task, TEND))
    for (const name of ['ruth', 'radia']) await approve(this.#writ.person(name), request)
    assert.equal(await vendor.prove(request.id, await vendor.proofFor(request.id)), 303)
    const { approval } = await vendor.writ.requests.wait(request.id)
    assert.ok(approval)
    return this.connect(vendor.writ, task, approval)
  }
}
