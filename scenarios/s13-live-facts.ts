/**
 * Four things that others know enter one decision: what a machine is like, which workload runs on it, what became of the
 * ticket, and whose job it is. Each is wrong once, and each of those who tell goes silent or mad once.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { JWTPayload } from 'jose'
import { Cli } from '../test/support/cli.ts'
import type { AttemptInput, Decision, Json, Writ } from '../client/src/index.ts'
import { createWrit } from '../client/src/index.ts'
import { openDatabase } from './support/database.ts'
import { approved, heard, openInstallation, ShiftedClock, starter, under } from './support/installation.ts'
import { AUDIENCE, githubJob, openPlatform } from './support/issuer.ts'
import type { Part, Scenario } from './support/story.ts'
import { denied, refused, until } from './support/story.ts'
import type { Manner } from './support/tickets.ts'
import { openDesk } from './support/tickets.ts'
import { openTransmitter } from './support/transmitter.ts'

/** Whoever repairs: all of it in one rule, and what only operators hear of in another. */
const POLICY = `
@id("repair-by-operations")
@ttl("10m") @uses("1") @binding("attempt")
permit (principal is Service in Group::"operations", action == Action::"db:repair", resource == Database::"orders")
when { principal has function && principal.function == "database-operations" }
when {
  context.live has workload && context.live.workload.issuer == "github" &&
  context.live.workload has environment && context.live.workload.environment == "production"
}
when { context.live has posture && context.live.posture.compliant }
when {
  context.live has ticket && context.live.ticket.open && context.live.ticket.approved &&
  context.live.ticket.resources.contains("Database/orders")
}
when { context.proof.approvals.dba >= 1 };

@id("not-while-at-risk")
forbid (principal, action == Action::"db:repair", resource)
when { context.live has risk.level && context.live.risk.level >= 3 };
`

const RUNNER = 'Service/orders-runner'
const MINUTE = 60_000
/** For longer than a story may take: what is repeated by nobody is too old when it is made so, on whatever machine. */
const BELIEVED = '12m'

export const scenario: Scenario = {
  id: 'S13',
  name: 'live-facts',
  right:
    'posture, workload identity, ticket and job function, all as they should be, enter one decision and its record',
  wrong: 'each of them wrong, missing, too old or unknown, one at a time, also with an approval in hand',

  async run(story) {
    const clock = new ShiftedClock()
    const now = (): number => clock.wall()
    const github = await story.part(mortal(openPlatform(now)))
    const desk = await story.part(openDesk({ now, keys: ['OPS-'], settings: { max_age: BELIEVED } }))
    const edr = await story.part(
      mortal(openTransmitter({ name: 'edr', delivery: 'push', subjects: { 'runner-17': RUNNER } })),
    )
    const orders = await story.part(openDatabase({ name: 'orders' }))
    const runner = {
      type: 'Service',
      id: 'orders-runner',
      kind: 'workload',
      owner: 'Person/ada',
      parents: ['Group/operations'],
      attrs: { function: 'database-operations' },
    } as const
    const writ = await story.part(
      openInstallation({
        clock,
        people: { grace: ['dba'], rob: [] },
        policies: [starter('migration.cedar'), { name: 'repair.cedar', text: POLICY }],
        config: {
          sources: desk.config.sources,
          webhooks: desk.config.webhooks,
          signals: { receivers: [{ ...edr.config, allow_private: true, max_age: BELIEVED }] },
          issuers: [
            {
              name: 'github',
              kind: 'github',
              issuer: github.url,
              audiences: [AUDIENCE],
              allow_private: true,
              subjects: [{ when: { repository_id: '456' }, subject: RUNNER }],
            },
          ],
        },
        entities: [
          runner,
          { ...runner, id: 'mdm', parents: ['Group/reporters'], attrs: { function: 'devices' } },
          {
            type: 'Service',
            id: 'auditor',
            kind: 'workload',
            owner: 'Person/ada',
            parents: ['Group/administrators'],
          },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
          { type: 'Database', id: 'billing', kind: 'resource', sensitivity: 'high' },
        ],
      }),
    )
    desk.subscribe(writ.url)
    await writ.target(orders, { 'db:repair': 'Database/orders' })
    // who pushed is known: what they set going, somebody else agrees to
    await writ.ada.accounts.link({ issuer: 'github', account: '31415', person: 'Person/rob' })
    await edr.streaming
    const mdm = (await writ.key('Service/mdm')).writ
    const { token: auditor } = await writ.key('Service/auditor')
    const operator = await story.part(terminal({ WRIT_URL: writ.url, WRIT_TOKEN: auditor }))

    const as = (claims: JWTPayload = githubJob()): Writ =>
      createWrit({ url: writ.url, token: () => github.token(claims) })
    const job = as()
    const repair: AttemptInput = { action: 'db:repair', resource: 'Database/orders' }
    const declare = async (ticket?: string): Promise<string> => {
      const { id } = await job.tasks.declare({
        purpose: 'repair an index',
        reason: 'INC-42',
        heartbeat: '1h',
        scope: { actions: ['db:repair'], resources: [{ type: 'Database' }] },
        ...(ticket === undefined ? {} : { ticket }),
      })
      return id
    }
    /** The device manager says it by API, the endpoint agent by a signed event. */
    const byApi = (compliant: boolean): Promise<void> => {
      clock.advance(1_000)
      const status = compliant ? 'compliant' : 'disk not encrypted'
      return mdm.facts.report([
        { name: 'posture', about: RUNNER, value: { compliant, status }, max_age: BELIEVED },
      ])
    }
    const bySignal = async (event: string, payload: Readonly<Record<string, Json>>): Promise<void> => {
      clock.advance(1_000)
      const said = {
        event,
        about: 'runner-17',
        payload,
        at: now(),
        claims: { iat: Math.floor(now() / 1_000) },
      }
      assert.deepEqual(await edr.tell(said), { taken: true })
    }
    const compliance = (current_status: string): Promise<void> =>
      bySignal('device-compliance-change', { previous_status: 'compliant', current_status })
    const risk = (current_level: string): Promise<void> =>
      bySignal('risk-level-change', { principal: 'DEVICE', current_level, previous_level: 'LOW' })
    const agreedTicket = { status: 'Implementing', resources: ['Database/orders'] } as const

    await desk.ticket('OPS-7', agreedTicket)
    await byApi(true)
    await risk('LOW')
    const task = await declare('OPS-7')
    const why = async ({ id = '' }: Decision): Promise<string> => {
      const { code, stdout, stderr } = await operator.cli.here(['why', id])
      assert.equal(code, 0, stderr)
      return stdout
    }
    /** What the job itself is told on the wire. */
    const hears = async (named: string): Promise<string> =>
      heard(
        { url: writ.url, token: await github.token(githubJob()) },
        under(named, { ...repair, subject: RUNNER }),
      )
    /** All is as it should be: the approval is all that is missing, and is offered. */
    const stands = async (named = task): Promise<void> => {
      let last: Decision | undefined
      await until('all is known, and right', async () => {
        last = await job.evaluate(under(named, repair))
        return last.outcome === 'challenge' && last.alternatives.length === 1
      }).catch(async (error: unknown) => {
        throw new Error(`${String(error)}\n${last === undefined ? '' : await why(last)}`)
      })
    }
    await story.right(
      'with all four as they should be, the one thing that is missing is offered: an approval',
      async () => {
        await stands()
        assert.match(await hears(task), /access_request/u)
      },
    )
    const { approval } = await approved(job, under(task, repair), writ.person('grace'))

    type Try = Readonly<{ agent: Writ; task: string; attempt: AttemptInput }>
    /**
     * Denied at each door, with the approval as without it. The operator reads the reason; whoever asked is offered nothing
     * that would help, and hears nothing of what only operators may know.
     */
    const nothing = async (reason: RegExp, how: Partial<Try> = {}): Promise<Decision> => {
      const { agent, task: named, attempt } = { agent: job, task, attempt: repair, ...how }
      const decision = await agent.evaluate(under(named, attempt))
      denied(decision, 'policy_denied')
      if (how.agent === undefined) {
        const text = await hears(named)
        assert.match(text, /"decision":false/u)
        assert.doesNotMatch(text, /access_request|approval|risk|encrypted/u)
      }
      const carrying = await agent.grants.activate(under(named, attempt, { approval }))
      assert.equal(carrying.grant, undefined)
      assert.equal(carrying.decision.outcome, 'deny')
      const told = await why(decision)
      assert.match(told, reason, told)
      assert.match(told, /^DENY/u)
      return decision
    }
    const wrong = (
      what: string,
      spoil: () => Promise<unknown>,
      reason: RegExp,
      mend: () => Promise<unknown>,
      how?: () => Partial<Try> | Promise<Partial<Try>>,
    ): Promise<void> =>
      story.wrong(what, async () => {
        await spoil()
        await nothing(reason, await how?.())
        await mend()
        await stands()
      })
    const leave = (): Promise<void> => Promise.resolve()

    // the device
    await wrong(
      'the device manager finds the disk not encrypted',
      () => byApi(false),
      /posture\.compliant.*false/u,
      () => byApi(true),
    )
    await wrong(
      'the endpoint agent signals that the machine is not compliant any more',
      () => compliance('not-compliant'),
      /posture\.compliant.*false/u,
      () => compliance('compliant'),
    )
    await story.wrong(
      'somebody else says that the machine is fine: without the right to, or with a forged signal',
      async () => {
        await compliance('not-compliant')
        clock.advance(1_000)
        const fine = { name: 'posture', about: RUNNER, value: { compliant: true, status: 'fine' } }
        await refused(job.facts.report([fine]), 'ERR_FORBIDDEN')
        const event = 'device-compliance-change'
        const payload = { previous_status: 'not-compliant', current_status: 'compliant' }
        const claims = { iat: Math.floor(now() / 1_000) }
        const forged = await edr.forge({ event, about: 'runner-17', payload, at: now(), claims })
        assert.equal((await edr.send(forged)).taken, false)
        await nothing(/posture\.compliant.*false/u)
        await compliance('compliant')
        await stands()
      },
    )

    // the workload
    await wrong(
      'the job of another environment, as which the same service may run, too',
      leave,
      /workload\.environment.*staging/u,
      leave,
      () => ({
        agent: as(githubJob({ environment: 'staging' })),
      }),
    )
    const key = await writ.key(RUNNER)
    await wrong('an API key of the service, which proves no workload', leave, /workload/u, leave, () => ({
      agent: key.writ,
    }))
    await story.wrong('a token that somebody else signed, and one of a fork', async () => {
      for (const token of [
        await github.forged(githubJob()),
        await github.token(githubJob({ repository_id: '999' })),
      ]) {
        await refused(
          createWrit({ url: writ.url, token }).evaluate(under(task, repair)),
          'ERR_UNAUTHENTICATED',
        )
      }
    })

    // the ticket
    for (const [what, change, why] of [
      ['is closed', { status: 'Done' }, /ticket\.open.*false/u],
      ['has lost its approval', { status: 'To Do' }, /ticket\.approved.*false/u],
      ['is about something else', { resources: ['Database/billing'] }, /ticket\.resources/u],
    ] as const) {
      await wrong(
        `the ticket ${what}`,
        () => desk.ticket('OPS-7', change),
        why,
        () => desk.ticket('OPS-7', agreedTicket),
      )
    }
    await wrong('no ticket', leave, /ticket/u, leave, async () => ({ task: await declare() }))
    await wrong('a ticket that no system knows', leave, /ticket/u, leave, async () => ({
      task: await declare('WEB-1'),
    }))
    await story.wrong(
      'a closed ticket, by a delivery with a false signature, or by one from before that comes late',
      async () => {
        const opened = desk.held('OPS-7', agreedTicket)
        clock.advance(1_000)
        const closed = await desk.ticket('OPS-7', { status: 'Done' })
        const headers = { ...opened.headers, 'x-hub-signature': closed?.headers['x-hub-signature'] ?? '' }
        assert.equal(await desk.deliver('jira', { ...opened, headers }), 401)
        // what is signed and comes late, and again, is taken, and is older than what is known
        for (const _ of [1, 2]) assert.equal(await desk.deliver('jira', opened), 204)
        await nothing(/ticket\.open.*false/u)
        await desk.ticket('OPS-7', agreedTicket)
        await stands()
      },
    )

    // the job
    const put = (change: object): Promise<unknown> => writ.ada.inventory.put([{ ...runner, ...change }])
    await wrong(
      'whose job it is not any more: out of the group',
      () => put({ parents: [] }),
      /Group::"operations"/u,
      () => put({}),
    )
    await wrong(
      'another job by its attribute',
      () => put({ attrs: { function: 'reporting' } }),
      /function.*reporting/u,
      () => put({}),
    )
    await wrong(
      'without one',
      () => put({ attrs: {} }),
      /function/u,
      () => put({}),
    )

    await wrong(
      'the machine is at risk, which only operators hear',
      () => risk('HIGH'),
      /not-while-at-risk/u,
      () => risk('LOW'),
    )

    await story.right(
      'with all of it, and the approval, it is permitted, and the record shows what was known and since when',
      async () => {
        const { decision, grant } = await job.grants.activate(under(task, repair, { approval }))
        assert.ok(grant, `${decision.outcome} ${decision.reason}`)
        const entry = (await writ.ada.decisions.get(decision.id ?? '')) as Entry
        const { posture } = entry.facts_of?.[RUNNER] ?? {}
        assert.equal(posture?.compliant, true)
        assert.equal(entry.facts.workload?.['environment'], 'production')
        assert.deepEqual([entry.facts.ticket?.id, entry.facts.ticket?.open], ['OPS-7', true])
        for (const observed of [posture?.observedAt, entry.facts.ticket?.observedAt]) {
          const age = now() - Date.parse(observed ?? '')
          assert.ok(age >= 0 && age < 15 * MINUTE, `observed ${age} ms ago`)
        }
        assert.match(await why(decision), /PERMIT[^]*production[^]*grace as dba[^]*repair-by-operations/u)
        const { secret } = await job.credentials.issue(grant.id)
        const session = await orders.connect({ url: secret.env['DATABASE_URL'] ?? '' })
        await session.query('select 1')
        await session.end()
        await job.tasks.end(task, 'completed')
      },
    )
    let next = await declare('OPS-7')
    const seen = async (): Promise<string> => {
      const named = [
        '--subject',
        RUNNER,
        '--action',
        'db:repair',
        '--resource',
        'Database/orders',
        '--task',
        next,
      ]
      const { stdout, stderr, code } = await operator.cli.here(['context', 'show', ...named])
      assert.equal(code, 0, stderr)
      return stdout
    }
    await story.right(
      '`writ context show` prints all that a decision would see, its sources and ages',
      async () => {
        const told = await seen()
        for (const line of [
          /• posture\s+compliant true/u,
          /• ticket\s+id OPS-7/u,
          /• risk\s+level 1/u,
          /posture of Service\/orders-runner by \S+, .*known for/u,
          /ticket of OPS-7 by jira, .*known for/u,
          /risk of Service\/orders-runner by edr/u,
          /Database\/orders: sensitivity high|Database\/orders: sensitivity 3/u,
        ]) {
          assert.match(told, line, told)
        }
      },
    )

    const unknown = async (fact: string): Promise<void> => {
      const decision = await job.evaluate(under(next, repair))
      denied(decision, 'policy_denied')
      assert.doesNotMatch(await hears(next), /access_request|approval/u)
      const entry = (await writ.ada.decisions.get(decision.id ?? '')) as Entry
      assert.ok(
        entry.unknown?.includes(fact),
        `${fact} is not among what is unknown: ${entry.unknown?.join()}`,
      )
      const told = await why(decision)
      assert.match(told, new RegExp(`${fact}[^]*unknown`, 'u'), told)
    }
    /** Long enough for what was known of tickets and of the machine to be believed no more. */
    const forget = (): void => clock.advance(13 * MINUTE)
    const manners: readonly (readonly [string, Manner | 'down'])[] = [
      ['does not answer', 'slow'],
      ['answers with errors', 'failing'],
      ['shows a page to sign in', 'garbled'],
      ['answers about another ticket', 'confused'],
      ['says what cannot be read', 'mistaken'],
      ['is gone', 'down'],
    ]
    for (const [what, manner] of manners) {
      await story.wrong(`the ticket is closed while its system ${what}, and no webhook comes`, async () => {
        next = await declare('OPS-7')
        await byApi(true)
        await risk('LOW')
        await stands(next)
        desk.quietly('OPS-7', { status: 'Done' })
        if (manner === 'down') await desk.down()
        else desk.behave(manner)
        forget()
        await byApi(true)
        await risk('LOW')
        const asked = desk.asked.length
        await unknown('ticket')
        assert.ok(desk.asked.length > asked || manner === 'down', 'nobody asked')
        assert.match(await seen(), /• ticket\s+unknown/u)
        // it comes back, and knows
        await desk.up()
        desk.behave('well')
        await until('the ticket is known to be closed', async () => {
          // what failed is left alone for a while, by a clock that is ours
          clock.advance(20_000)
          await byApi(true)
          const decision = await job.evaluate(under(next, repair))
          denied(decision, 'policy_denied')
          const entry = (await writ.ada.decisions.get(decision.id ?? '')) as Entry
          return entry.facts.ticket?.open === false
        })
        await desk.ticket('OPS-7', agreedTicket)
      })
    }
    await story.wrong(
      'whoever told of the machine tells no more: the endpoint agent is gone, the device manager silent',
      async () => {
        next = await declare('OPS-7')
        await compliance('compliant')
        await stands(next)
        await edr[Symbol.asyncDispose]()
        forget()
        await desk.ticket('OPS-7', agreedTicket)
        await unknown('posture')
        assert.match(await seen(), /• posture\s+unknown/u)
      },
    )
    await story.wrong('the platform is gone: its keys prove its own tokens and nothing else', async () => {
      await github[Symbol.asyncDispose]()
      const forged = createWrit({ url: writ.url, token: () => github.forged(githubJob()) })
      await refused(forged.evaluate(under(next, repair)), 'ERR_UNAUTHENTICATED')
      await unknown('posture')
    })
    story.figure(
      `${story.checks.filter(({ half }) => half === 'wrong').length} ways in which it is not as it should be`,
    )
  },
}

/** What the record holds of a decision, as far as it is looked at here. */
type Entry = Readonly<{
  facts: Readonly<{
    workload?: Readonly<Record<string, Json>>
    ticket?: Readonly<{ id: string; open: boolean; observedAt: string }>
  }>
  facts_of?: Readonly<
    Record<string, Readonly<{ posture?: Readonly<{ compliant: boolean; observedAt: string }> }>>
  >
  unknown?: readonly string[]
}>

/** The same part, which the story may end before its time. */
async function mortal<P extends Part>(opening: Promise<P>): Promise<P> {
  const part = await opening
  let ended: PromiseLike<void> | undefined
  return { ...part, [Symbol.asyncDispose]: () => (ended ??= part[Symbol.asyncDispose]()) }
}

/** The terminal of an operator, with a home of its own. */
async function terminal(env: Record<string, string>): Promise<Part & Readonly<{ cli: Cli }>> {
  const cli = new Cli(env)
  return {
    cli,
    [Symbol.asyncDispose]: () => Promise.resolve(cli[Symbol.dispose]()),
  }
}
