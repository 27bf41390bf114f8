/**
 * The release of one pipeline, in the night when clocks change in Berlin: which job of it is elevated, under which change,
 * and in which window of a calendar that somebody else keeps. It lives by a clock of its own, so that it is always that
 * night.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JWTPayload } from 'jose'
import type { AttemptInput, Decision, Grant, TaskDeclaration, Writ } from '../client/src/index.ts'
import { createWrit, WritClientError } from '../client/src/index.ts'
import { openGroupware } from './support/calendar.ts'
import type { Session } from './support/database.ts'
import { openDatabase } from './support/database.ts'
import {
  approve,
  approveNext,
  approved,
  ask,
  openInstallation,
  ShiftedClock,
  starter,
  under,
} from './support/installation.ts'
import { AUDIENCE, githubJob, openPlatform } from './support/issuer.ts'
import { ASSERTION, Refusals, postForm } from './support/oauth.ts'
import type { Program } from './support/processes.ts'
import { child, startWrit } from './support/processes.ts'
import type { Scenario } from './support/story.ts'
import { denied, refused, sql, sqlRefused, until } from './support/story.ts'
import { openDesk } from './support/tickets.ts'

/** A job that is not the release; `as` is who it is instead, if it is anybody. */
type Other = Readonly<{ what: string; claims: JWTPayload; as: 'Service/orders-ci' | undefined }>

/** What a step of the workflow runs, and how. */
type Step = Readonly<{
  run: Readonly<{ action: string; resource: string }>
  ticket: string
  waits: boolean
  leaks: boolean
}>

const MIGRATE = { action: 'db:migrate', resource: 'Database/orders' }
const DEPLOY = { action: 'release:deploy', resource: 'Environment/orders-production' }

/** A release that has its credential and an open connection. */
type Working = Readonly<{ task: string; grant: Grant; session: Session }>

/** What the record holds of a decision. */
type Decided = Readonly<{
  outcome: string
  facts: Readonly<{ workload?: Readonly<Record<string, string>> }>
  instigators?: readonly unknown[]
}>

/**
 * Beside the starter policies on migrations and releases: a migration of this database is part of a release as well, and
 * needs its window and its change; and what the platform says of the machine counts, too.
 */
const POLICY = `
@id("migration-in-a-window")
@explain
forbid (principal, action == Action::"db:migrate", resource == Database::"orders")
unless {
  context.live has task && context.live.task has window && context.live.task.window has calendar &&
  ["release", "hotfix"].contains(context.live.task.window.calendar)
};

@id("migration-under-its-change")
@explain
forbid (principal, action == Action::"db:migrate", resource == Database::"orders")
unless {
  context.live has ticket && context.live.ticket.open && context.live.ticket.approved &&
  context.live.ticket.resources.contains("Database/orders")
};

@id("release-runs-on-clean-machines")
@explain
forbid (principal == Service::"orders-release", action, resource is Database)
unless {
  context.live has workload &&
  context.live.workload has runner_environment &&
  context.live.workload.runner_environment == "github-hosted"
};
`

/**
 * 01:10 in Berlin, on the Sunday on which 02:00 is 03:00. The release window is at half past one, for an hour: it ends at
 * 03:30, an hour later, and next Sunday it begins an hour earlier by UTC.
 */
const NIGHT = Date.parse('2027-03-28T00:10:00Z')
const OPENS = Date.parse('2027-03-28T00:30:00Z')
const CLOSES = Date.parse('2027-03-28T01:30:00Z')
const MINUTE = 60_000
const at = (millis: number): string => new Date(millis).toISOString()

const weekly = [
  'UID:release@acme.example',
  'SUMMARY:Release window',
  'DTSTART;TZID=Europe/Berlin:20270103T013000',
  'DTEND;TZID=Europe/Berlin:20270103T023000',
  'RRULE:FREQ=WEEKLY;BYDAY=SU',
]
/** Somebody drags the end of this Sunday's window, to 03:26 in Berlin. */
const dragged = [
  'UID:release@acme.example',
  'SUMMARY:Release window',
  'SEQUENCE:1',
  'RECURRENCE-ID;TZID=Europe/Berlin:20270328T013000',
  'DTSTART;TZID=Europe/Berlin:20270328T013000',
  'DTEND;TZID=Europe/Berlin:20270328T032600',
]
const DRAGGED = Date.parse('2027-03-28T01:26:00Z')
const hotfix = [
  'UID:hotfix-7@acme.example',
  'SUMMARY:Hotfix 7',
  'DTSTART:20270328T010000Z',
  'DTEND:20270328T020000Z',
]

const RELEASE = 'acme/orders/.github/workflows/release.yml@refs/heads/main'

const pullRequest = githubJob({
  event_name: 'pull_request_target',
  head_ref: 'fix',
  base_ref: 'main',
  actor_id: '27182',
  actor: 'mallory',
})

const others: readonly Other[] = [
  {
    what: 'a fork, with the same workflow',
    claims: githubJob({ repository_id: '999', repository_owner_id: '666' }, { repository: 'mallory/orders' }),
    as: undefined,
  },
  {
    what: 'a repository made again under the name of this one',
    claims: githubJob({ repository_id: '457' }),
    as: undefined,
  },
  {
    what: 'another repository of the same owner that calls the workflow of this one',
    claims: {
      ...githubJob({ repository_id: '458' }, { repository: 'acme/shop' }),
      job_workflow_ref: RELEASE,
    },
    as: undefined,
  },
  {
    what: 'another branch',
    claims: githubJob({}, { ref: 'refs/heads/feature' }),
    as: 'Service/orders-ci',
  },
  {
    what: 'a tag that is called as the branch is',
    claims: githubJob({ ref_type: 'tag' }, { ref: 'refs/tags/main' }),
    as: 'Service/orders-ci',
  },
  { what: 'another environment', claims: githubJob({ environment: 'staging' }), as: 'Service/orders-ci' },
  {
    what: 'no environment, and so none of the rules that protect it',
    claims: githubJob({ environment: undefined }),
    as: 'Service/orders-ci',
  },
  {
    what: 'another workflow of the same branch and environment',
    claims: githubJob({}, { file: 'nightly.yml' }),
    as: 'Service/orders-ci',
  },
  {
    what: 'the workflow as another branch has it',
    claims: {
      ...githubJob(),
      job_workflow_ref: RELEASE.replace('main', 'feature'),
    },
    as: 'Service/orders-ci',
  },
  {
    what: 'a called workflow of another repository',
    claims: { ...githubJob(), job_workflow_ref: RELEASE.replace('acme/orders', 'mallory/orders') },
    as: 'Service/orders-ci',
  },
  { what: 'a pull request from a fork', claims: pullRequest, as: 'Service/orders-ci' },
  {
    what: 'claims that are lists of what they should be',
    claims: githubJob({ environment: ['production'] }),
    as: 'Service/orders-ci',
  },
]

export const scenario: Scenario = {
  id: 'S03',
  name: 'release-window',
  right:
    'the release job of one repository, branch, environment and workflow migrates without any secret, in the window of a calendar and under its change',
  wrong:
    'the same workflow from a fork, another ref or environment, before or after the window; going on when the window is moved or cancelled, or the change closed',

  async run(story) {
    const clock = new ShiftedClock()
    const now = (): number => clock.wall()
    const setTo = (instant: number): void => clock.advance(instant - now())
    setTo(NIGHT)
    const github = await story.part(openPlatform(now))
    const elsewhere = await story.part(openPlatform(now))
    const groupware = await story.part(openGroupware())
    // believed for as long as the story jumps: it is told of every change
    const desk = await story.part(openDesk({ now, settings: { max_age: '6h' } }))
    const read = Promise.all([groupware.publish('release', weekly), groupware.publish('hotfix', hotfix)])
    const orders = await story.part(
      openDatabase({ name: 'orders', schema: 'create table customer (id int primary key)' }),
    )
    const writ = await story.part(
      openInstallation({
        clock,
        people: { grace: ['dba'], rob: ['dba'] },
        policies: [
          starter('migration.cedar'),
          starter('release-window.cedar'),
          { name: 'release.cedar', text: POLICY },
        ],
        config: {
          sources: {
            ...desk.config.sources,
            calendars: [groupware.source('release'), groupware.source('hotfix')],
          },
          webhooks: desk.config.webhooks,
          issuers: [
            {
              name: 'github',
              kind: 'github',
              issuer: github.url,
              audiences: [AUDIENCE],
              allow_private: true,
              subjects: [
                {
                  when: {
                    repository_id: '456',
                    ref: 'refs/heads/main',
                    environment: 'production',
                    event_name: 'push',
                    job_workflow_ref: RELEASE,
                  },
                  subject: 'Service/orders-release',
                },
                // whatever else runs there is somebody, who is not elevated
                { when: { repository_id: '456' }, subject: 'Service/orders-ci' },
              ],
            },
          ],
        },
        entities: [
          {
            type: 'Service',
            id: 'orders-release',
            kind: 'workload',
            owner: 'Person/ada',
            parents: ['Group/deployers'],
          },
          { type: 'Service', id: 'orders-ci', kind: 'workload', owner: 'Person/ada', parents: ['Group/ci'] },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
          { type: 'Environment', id: 'orders-production', kind: 'resource', sensitivity: 'high' },
          { type: 'Handbook', id: 'releasing', kind: 'resource', sensitivity: 'low' },
        ],
      }),
    )
    desk.subscribe(writ.url)
    await read
    await desk.ticket('CHG-1041', { status: 'Approved', resources: ['Database/orders'] })
    await writ.target(orders, {
      'db:migrate': 'Database/orders',
      'release:deploy': 'Environment/orders-production',
    })
    await writ.ada.accounts.link({ issuer: 'github', account: '31415', person: 'Person/rob' })
    const refusals = new Refusals(writ.ada)
    const migrate: AttemptInput = MIGRATE

    /** The job, calling by itself. */
    const as = (claims: JWTPayload): Writ => createWrit({ url: writ.url, token: () => github.token(claims) })
    const release = as(githubJob())
    const scope = { actions: ['db:migrate'], resources: [{ type: 'Database', id: 'orders' }] }
    const deployment = {
      actions: [DEPLOY.action],
      resources: [{ type: 'Environment', id: 'orders-production' }],
    }
    const declare = (job: Writ, more: Partial<TaskDeclaration> = {}): Promise<string> =>
      job.tasks
        .declare({
          purpose: 'release',
          reason: 'v2.4.0',
          ticket: 'CHG-1041',
          window: { calendar: 'release' },
          heartbeat: '1h',
          scope,
          ...more,
        })
        .then(({ id }) => id)
    /** What an operator reads of why it was denied. */
    const why = async (decision: Decision): Promise<string> =>
      JSON.stringify((await writ.ada.decisions.explain(decision.id ?? '')).explanation)
    /** A release under way: agreed to, connected, in a transaction that is not finished. */
    const working = async (more: Partial<TaskDeclaration> = {}): Promise<Working> => {
      const task = await declare(release, more)
      const { approval } = await approved(release, under(task, migrate), writ.person('grace'))
      const { grant } = await release.grants.activate(under(task, migrate, { approval }))
      assert.ok(grant)
      const { secret } = await release.credentials.issue(grant.id)
      const session = await orders.connect({ url: secret.env['DATABASE_URL'] ?? '' })
      await session.query(`begin; set role ${orders.owner}; create table half_done_${task} (id int)`)
      return { task, grant, session }
    }
    /** Its session is cut, and nothing of it is left at the database. */
    const over = async ({ grant, session }: Working): Promise<void> => {
      await until(
        'it is over, and the database is clean',
        async () => (await release.grants.get(grant.id)).grant.state === 'closed',
      )
      await session.ended
      await sqlRefused(session.query('commit'), sql.cut)
      assert.deepEqual(await orders.look(`select from pg_tables where tablename like 'half_done%'`), [])
    }
    const token = (assertion: string) =>
      postForm(writ.url, {
        grant_type: ASSERTION,
        assertion,
        audience: 'Database/orders',
        scope: 'db:migrate',
      })

    const folder = join(writ.folder, 'checkout')
    const leak = join(writ.folder, 'leaked-address')
    mkdirSync(folder)
    writeFileSync(join(folder, '0001-invoice.sql'), 'create table invoice (id int primary key, amount int)')
    /** A step of the job: the same line of the same workflow, with the environment that its runner gives it. */
    const step = (claims: JWTPayload, more: Partial<Step> = {}): Promise<Program> => {
      const { run, ticket, waits, leaks } = {
        run: MIGRATE,
        ticket: 'CHG-1041',
        waits: false,
        leaks: true,
        ...more,
      }
      const args = [
        '--reason=v2.4.0',
        `--ticket=${ticket}`,
        '--window=release',
        '--heartbeat=5m',
        ...(waits ? ['--wait'] : []),
      ]
      const command = [...child('migrate.ts'), folder, ...(leaks ? [leak] : [])]
      return story.part(
        startWrit(['run', `--for=${run.action}`, `--on=${run.resource}`, ...args, '--', ...command], {
          cwd: folder,
          env: {
            ...github.job(claims),
            WRIT_URL: writ.url,
            WRIT_AUDIENCE: AUDIENCE,
            OWNER_ROLE: orders.owner,
          },
        }),
      )
    }
    const untouched = async (): Promise<void> => {
      assert.deepEqual([await orders.roles(), await orders.sessions()], [[], 0])
      const tables = await orders.look(`select tablename from pg_tables where schemaname = 'public'`)
      assert.deepEqual(tables, [{ tablename: 'customer' }])
    }

    // it was sent, and is known once it was worked out
    for (const calendar of ['release', 'hotfix']) {
      const task = await until(`what \`${calendar}\` says is known`, () =>
        declare(release, { window: { calendar } }).catch((error: unknown) => {
          if (error instanceof WritClientError && error.code === 'ERR_CONFLICT') return undefined
          throw error
        }),
      )
      await release.tasks.end(task, 'cancelled')
    }
    const early = await story.right(
      'the window is what the calendar says for this night, in which half past two does not exist',
      async () => {
        const tasks = [await declare(release), await declare(release)] as const
        const { task } = await release.tasks.get(tasks[0])
        const { starts_at, ends_at, calendar, event } = task.window ?? {}
        assert.deepEqual([starts_at, ends_at], [at(OPENS), at(CLOSES)])
        assert.deepEqual([calendar, event], ['release', 'Release window'])
        return tasks
      },
    )
    const agreed = await story.right(
      'who approves may sleep: they agree before the window opens',
      async () => {
        const both = []
        for (const task of early)
          both.push(await approved(release, under(task, migrate), writ.person('grace')))
        for (const { request } of both) {
          const { activate_by } = await release.requests.get(request.id)
          assert.equal(activate_by, at(OPENS + 15 * MINUTE), 'its quarter of an hour runs from when it opens')
        }
        return both
      },
    )
    await story.wrong('using it before the window opens', async () => {
      for (const before of [NIGHT + 10 * MINUTE, OPENS - 5 * MINUTE]) {
        setTo(before)
        for (const [i, task] of early.entries()) {
          const carrying = under(task, migrate, { approval: agreed[i]?.approval ?? null })
          const { decision, grant } = await release.grants.activate(carrying)
          assert.equal(grant, undefined)
          denied(decision, 'task_scope')
        }
      }
      await refusals.check(await token(await github.token(githubJob())), 'invalid_target', /policy_denied/u)
      await untouched()
    })
    setTo(OPENS)

    // before anybody agreed, so that what they do not get is not just the approval
    for (const { what, claims, as: somebody } of others) {
      await story.wrong(what, async () => {
        const job = as(claims)
        if (somebody === undefined) {
          await refused(job.evaluate(migrate), 'ERR_UNAUTHENTICATED')
          await refused(declare(job), 'ERR_UNAUTHENTICATED')
          await refusals.check(
            await token(await github.token(claims)),
            'invalid_grant',
            /no trust rule knows/u,
          )
        } else {
          const task = await declare(job)
          const decision = await job.evaluate(under(task, migrate))
          denied(decision, 'policy_denied')
          const { explanation } = await writ.ada.decisions.explain(decision.id ?? '')
          assert.match(JSON.stringify(explanation), /Group::\\"deployers\\"/u)
          await refusals.check(await token(await github.token(claims)), 'invalid_target', /policy_denied/u)
          await job.tasks.end(task, 'cancelled')
        }
      })
    }
    await story.wrong('the release itself, on a machine that others use too', async () => {
      const hired = githubJob({ runner_environment: 'self-hosted' })
      const job = as(hired)
      const task = await declare(job)
      denied(await job.evaluate(under(task, migrate)), 'policy_denied')
      await refusals.check(await token(await github.token(hired)), 'invalid_target', /policy_denied/u)
      await job.tasks.end(task, 'cancelled')
    })
    await story.wrong('the step as a fork, another branch and another environment run it', async () => {
      const jobs = [
        [others[0], /does not accept|not accepted|no longer valid/u],
        [others[3], /not permitted|policy_denied/u],
        [others[5], /not permitted|policy_denied/u],
      ] as const
      await Promise.all(
        jobs.map(async ([other, says]) => {
          const program = await step(other?.claims ?? {})
          assert.deepEqual(await program.ended, { code: 125, signal: null })
          assert.match(program.err.join('\n'), says)
        }),
      )
      await untouched()
    })
    await story.right('what is no release is somebody all the same, who may do harmless things', async () => {
      for (const { claims, as: somebody } of others) {
        if (somebody === undefined) continue
        const decision = await as(claims).evaluate({ action: 'read', resource: 'Handbook/releasing' })
        assert.equal(decision.outcome, 'permit')
      }
    })

    await story.wrong(
      'the token of the release for somebody else, of another issuer, forged, ended',
      async () => {
        const at = Math.floor(now() / 1_000)
        for (const [text, why] of [
          [await github.token(githubJob({ aud: 'https://vault.example' })), /not for this audience/u],
          [
            await github.token(githubJob({ aud: [AUDIENCE, 'https://vault.example'] })),
            /this audience alone/u,
          ],
          [await elsewhere.token(githubJob()), /no client or issuer that is known here/u],
          [await elsewhere.token(githubJob({ iss: github.url })), /key that signed the token/u],
          [await github.forged(githubJob()), /signature/u],
          [await github.token(githubJob({ iat: at - 900, nbf: at - 900, exp: at - 300 })), /ended/u],
          [await github.token({ ...githubJob(), repository_id: '457' }), /lacks a claim|cannot be right/u],
          [await github.token(githubJob({ actor_id: undefined })), /whose account set it going/u],
        ] as const) {
          await refused(createWrit({ url: writ.url, token: text }).evaluate(migrate), 'ERR_UNAUTHENTICATED')
          await refusals.check(await token(text), 'invalid_grant', why)
        }
        await untouched()
      },
    )

    await story.wrong('the release in a window of its own choice, or in none', async () => {
      const own = { starts_at: at(OPENS), ends_at: at(CLOSES) }
      for (const window of [{ window: own }, {}]) {
        const { id } = await release.tasks.declare({
          purpose: 'release',
          ticket: 'CHG-1041',
          scope,
          ...window,
        })
        const decision = await release.evaluate(under(id, migrate))
        denied(decision, 'policy_denied')
        assert.match(await why(decision), /migration-in-a-window/u)
        await release.tasks.end(id, 'cancelled')
      }
      await refused(declare(release, { window: { calendar: 'holidays' } }), 'ERR_CONFLICT')
    })
    await story.wrong(
      'under a change that is closed, not agreed to, of something else, or not there',
      async () => {
        await desk.ticket('CHG-1', { status: 'Done', resources: ['Database/orders'] })
        await desk.ticket('CHG-2', { status: 'To Do', resources: ['Database/orders'] })
        await desk.ticket('CHG-3', { status: 'Approved', resources: ['Database/billing'] })
        for (const ticket of ['CHG-1', 'CHG-2', 'CHG-3', 'CHG-4', 'WEB-1']) {
          const task = await declare(release, { ticket })
          const decision = await release.evaluate(under(task, migrate))
          denied(decision, 'policy_denied')
          assert.match(await why(decision), /migration-under-its-change/u)
          await release.tasks.end(task, 'cancelled')
        }
        await untouched()
      },
    )

    setTo(OPENS + 10 * MINUTE)
    await story.right(
      'half an hour after it was given the early approval is used, in the window',
      async () => {
        const [task] = early
        const { grant } = await release.grants.activate(
          under(task, migrate, { approval: agreed[0]?.approval ?? null }),
        )
        assert.ok(grant)
        await release.tasks.end(task, 'completed')
      },
    )
    setTo(OPENS + 15 * MINUTE)
    await story.wrong('the other one, too late for it though the window is open', async () => {
      const { decision, grant } = await release.grants.activate(
        under(early[1], migrate, { approval: agreed[1]?.approval ?? null }),
      )
      assert.equal(grant, undefined)
      assert.match(
        `${decision.outcome} ${decision.reason}`,
        /^challenge approval_expired$|^deny task_ended$/u,
      )
    })

    await story.right(
      'the release is elevated: somebody agrees, it migrates, and nothing of it is left',
      async () => {
        const program = await step(githubJob(), { waits: true })
        await approveNext(writ.person('grace'), 'Service/orders-release')
        await program.says('migrated')
        assert.equal((await orders.roles()).length, 1)
        program.write('done')
        assert.deepEqual(await program.ended, { code: 0, signal: null }, program.err.join('\n'))
        assert.deepEqual([await orders.roles(), await orders.sessions()], [[], 0])
        const tables = await orders.look(`select from pg_tables where tablename = 'invoice'`)
        assert.equal(tables.length, 1)
        assert.ok(new URL(readFileSync(leak, 'utf8')).password.length > 20)
      },
    )
    await story.right('the record says which run of which repository it was, and who pushed', async () => {
      const { items } = await writ.ada.decisions.list({ ref: 'Service/orders-release', limit: 200 })
      const permit = (items as readonly Decided[]).find(({ outcome }) => outcome === 'permit')
      assert.ok(permit?.facts.workload)
      const { repository_id, run_id, environment, job_workflow_ref } = permit.facts.workload
      assert.deepEqual(
        [repository_id, run_id, environment, job_workflow_ref],
        ['456', '9876543210', 'production', RELEASE],
      )
      assert.deepEqual(permit.instigators, [{ issuer: 'github', id: '31415' }])
    })

    await story.wrong('what was agreed for the release, in other hands', async () => {
      const task = await declare(release)
      const { approval } = await approved(release, under(task, migrate), writ.person('grace'))
      const { grant } = await release.grants.activate(under(task, migrate, { approval }))
      assert.ok(grant)
      const [fork, branch] = [others[0], others[3]].map((other) => as(other?.claims ?? {}))
      assert.ok(fork && branch)
      for (const carried of [{ approval }, { grant: grant.id }]) {
        await refused(fork.evaluate(under(task, migrate, carried)), 'ERR_UNAUTHENTICATED')
        assert.equal((await branch.evaluate(under(task, migrate, carried))).outcome, 'deny')
      }
      await refused(branch.tasks.end(task, 'completed'), 'ERR_NOT_FOUND', 'ERR_FORBIDDEN')
      await release.tasks.end(task, 'completed')
    })
    await story.wrong('whoever pushed agrees to it, or nobody knows who pushed', async () => {
      const task = await declare(release)
      const request = await ask(release, under(task, migrate))
      await refused(approve(writ.person('rob'), request), 'ERR_FORBIDDEN')
      await release.tasks.end(task, 'cancelled')
      const unknown = as(githubJob({ actor_id: '27182', actor: 'somebody' }))
      const other = await declare(unknown)
      denied(await unknown.evaluate(under(other, migrate)), 'policy_denied', 'instigator')
      await unknown.tasks.end(other, 'cancelled')
    })

    await story.wrong('deploying on when the change is closed', async () => {
      const about = { status: 'Implementing', resources: [DEPLOY.resource] } as const
      assert.equal((await desk.ticket('CHG-1042', about))?.status, 204)
      const program = await step(githubJob(), { run: DEPLOY, ticket: 'CHG-1042' })
      await program.says('migrated')
      assert.equal(await orders.sessions(), 1)
      const closed = performance.now()
      assert.equal((await desk.ticket('CHG-1042', { status: 'Done' }))?.status, 204)
      await until(
        'its session is cut',
        async () => (await orders.sessions()) + (await orders.roles()).length === 0,
      )
      story.figure(
        `session and role gone ${Math.round(performance.now() - closed)} ms after the change was closed`,
      )
      assert.deepEqual(await program.ended, { code: 125, signal: null }, program.err.join('\n'))
      assert.match(program.err.join('\n'), /authority is gone/u)
      const task = await declare(release, { ticket: 'CHG-1042', scope: deployment })
      const decision = await release.evaluate(under(task, DEPLOY))
      denied(decision, 'policy_denied')
      assert.match(await why(decision), /ticket\.open/u)
      await release.tasks.end(task, 'cancelled')
    })
    await story.wrong('migrating on when the change is made to be about something else', async () => {
      await desk.ticket('CHG-1043', { status: 'Implementing', resources: ['Database/orders'] })
      const work = await working({ ticket: 'CHG-1043' })
      await desk.ticket('CHG-1043', { resources: ['Database/billing'] })
      await over(work)
      const { grant } = await release.grants.get(work.grant.id)
      assert.match(grant.reason ?? '', /ticket/u)
    })

    setTo(CLOSES - 8 * MINUTE)
    const last = await working()
    const other = await working({ window: { calendar: 'hotfix' } })
    await story.right('what is given in the window ends no later than the window', () => {
      assert.equal(last.grant.ends_at, at(CLOSES))
      assert.equal(
        other.grant.ends_at,
        new Date(Date.parse(other.grant.started_at) + 10 * MINUTE).toISOString(),
      )
    })
    await story.wrong('going on when the window is cancelled in the calendar', async () => {
      // an event without a summary is dragged in one calendar, and one is deleted in the other
      const told = [groupware.publish('release', weekly, dragged), groupware.publish('hotfix')]
      await over(other)
      await Promise.all(told)
      const { task } = await release.tasks.get(other.task)
      assert.deepEqual([task.state, task.ending?.by], ['cancelled', 'calendar hotfix'])
      assert.match(task.ending?.reason ?? '', /cancelled or moved away/u)
      await refused(declare(release, { window: { calendar: 'hotfix' } }), 'ERR_CONFLICT')
    })
    await story.right('a window that is moved takes what was given in it along', async () => {
      await until('the grant is shortened', async () => {
        const { grant } = await release.grants.get(last.grant.id)
        return grant.ends_at === at(DRAGGED)
      })
      await last.session.query('select 1')
    })
    await story.wrong('going on when the window ends', async () => {
      setTo(DRAGGED)
      await over(last)
      const { task } = await release.tasks.get(last.task)
      assert.equal(task.state, 'timed-out')
      denied(await release.evaluate(under(last.task, migrate)), 'task_ended')
    })
    await story.wrong(
      'the same job after the window: approved again, as a step, with the next window',
      async () => {
        const task = await declare(release)
        const next = (await release.tasks.get(task)).task.window
        const opens = Date.parse('2027-04-03T23:30:00Z')
        // half past one in summer: an hour earlier by UTC than a week before
        assert.deepEqual([next?.starts_at, next?.ends_at], [at(opens), at(opens + 60 * MINUTE)])
        const { approval } = await approved(release, under(task, migrate), writ.person('grace'))
        const { decision, grant } = await release.grants.activate(under(task, migrate, { approval }))
        assert.equal(grant, undefined)
        denied(decision, 'task_scope')
        await desk.ticket('CHG-1044', { status: 'Implementing', resources: [DEPLOY.resource] })
        const program = await step(githubJob(), { run: DEPLOY, ticket: 'CHG-1044' })
        assert.deepEqual(await program.ended, { code: 125, signal: null })
        assert.match(program.err.join('\n'), /not permitted|scope of the task|task_scope/u)
        await refusals.check(await token(await github.token(githubJob())), 'invalid_target', /policy_denied/u)
        assert.deepEqual([await orders.roles(), await orders.sessions()], [[], 0])
      },
    )
    story.figure(
      `${refusals.count} jobs refused, each by the API and by the token endpoint, each on the record`,
    )
  },
}
