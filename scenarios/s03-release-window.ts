/**
 * The identity half of this story: which job of which pipeline is elevated. What ends with the release window comes with
 * the facts about windows.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JWTPayload } from 'jose'
import type { AttemptInput, Writ } from '../client/src/index.ts'
import { createWrit } from '../client/src/index.ts'
import { openDatabase } from './support/database.ts'
import {
  approve,
  approveNext,
  approved,
  ask,
  openInstallation,
  starter,
  under,
} from './support/installation.ts'
import { AUDIENCE, githubJob, openPlatform } from './support/issuer.ts'
import { ASSERTION, Refusals, postForm } from './support/oauth.ts'
import type { Program } from './support/processes.ts'
import { child, startWrit } from './support/processes.ts'
import type { Scenario } from './support/story.ts'
import { denied, refused } from './support/story.ts'

/** A job that is not the release; `as` is who it is instead, if it is anybody. */
type Other = Readonly<{ what: string; claims: JWTPayload; as: 'Service/orders-ci' | undefined }>

/** What the record holds of a decision. */
type Decided = Readonly<{
  outcome: string
  facts: Readonly<{ workload?: Readonly<Record<string, string>> }>
  instigators?: readonly unknown[]
}>

/** Beside the starter policy on migrations: what the platform says of the machine counts, too. */
const POLICY = `
@id("release-runs-on-clean-machines")
@explain
forbid (principal == Service::"orders-release", action, resource is Database)
unless {
  context.live has workload &&
  context.live.workload has runner_environment &&
  context.live.workload.runner_environment == "github-hosted"
};
`

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
    'the release job of one repository, branch, environment and workflow migrates without any secret (identity half)',
  wrong:
    'the same workflow from a fork, a repository made again, another ref or environment; another’s token; whoever pushed approves',

  async run(story) {
    const github = await story.part(openPlatform())
    const elsewhere = await story.part(openPlatform())
    const orders = await story.part(
      openDatabase({ name: 'orders', schema: 'create table customer (id int primary key)' }),
    )
    const writ = await story.part(
      openInstallation({
        people: { grace: ['dba'], rob: ['dba'] },
        policies: [starter('migration.cedar'), { name: 'release.cedar', text: POLICY }],
        config: {
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
          { type: 'Handbook', id: 'releasing', kind: 'resource', sensitivity: 'low' },
        ],
      }),
    )
    await writ.target(orders, { 'db:migrate': 'Database/orders' })
    await writ.ada.accounts.link({ issuer: 'github', account: '31415', person: 'Person/rob' })
    const refusals = new Refusals(writ.ada)
    const migrate: AttemptInput = { action: 'db:migrate', resource: 'Database/orders' }

    /** The job, calling by itself. */
    const as = (claims: JWTPayload): Writ => createWrit({ url: writ.url, token: () => github.token(claims) })
    const release = as(githubJob())
    const declare = (job: Writ): Promise<string> =>
      job.tasks
        .declare({
          purpose: 'release',
          reason: 'v2.4.0',
          scope: { actions: ['db:migrate'], resources: [{ type: 'Database', id: 'orders' }] },
        })
        .then(({ id }) => id)
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
    const step = (claims: JWTPayload, ...more: string[]): Promise<Program> =>
      story.part(
        startWrit(
          [
            'run',
            '--for=db:migrate',
            '--on=Database/orders',
            '--reason=v2.4.0',
            ...more,
            '--',
            ...child('migrate.ts'),
            folder,
            ...(more.length > 0 ? [leak] : []),
          ],
          {
            cwd: folder,
            env: {
              ...github.job(claims),
              WRIT_URL: writ.url,
              WRIT_AUDIENCE: AUDIENCE,
              OWNER_ROLE: orders.owner,
            },
          },
        ),
      )
    const untouched = async (): Promise<void> => {
      assert.deepEqual([await orders.roles(), await orders.sessions()], [[], 0])
      const tables = await orders.look(`select tablename from pg_tables where schemaname = 'public'`)
      assert.deepEqual(tables, [{ tablename: 'customer' }])
    }

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
      for (const [at, says] of [
        [0, /does not accept|not accepted|no longer valid/u],
        [3, /not permitted|policy_denied/u],
        [5, /not permitted|policy_denied/u],
      ] as const) {
        const program = await step(others[at]?.claims ?? {})
        assert.deepEqual(await program.ended, { code: 125, signal: null })
        assert.match(program.err.join('\n'), says)
      }
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
        const at = Math.floor(Date.now() / 1_000)
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

    await story.right(
      'the release is elevated: somebody agrees, it migrates, and nothing of it is left',
      async () => {
        const program = await step(githubJob(), '--wait')
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
    story.figure(
      `${refusals.count} jobs refused, each by the API and by the token endpoint, each on the record`,
    )
  },
}
