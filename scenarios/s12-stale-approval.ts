import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import type { AttemptInput, Json, Writ } from '../client/src/index.ts'
import { openDatabase } from './support/database.ts'
import {
  approve,
  approved,
  ask,
  challenged,
  openInstallation,
  ShiftedClock,
  under,
} from './support/installation.ts'
import type { Scenario } from './support/story.ts'
import { refused } from './support/story.ts'

const MINUTE = 60_000

export const scenario: Scenario = {
  id: 'S12',
  name: 'stale-approval',
  right: 'an approval carries the one execution it was given for, once, for as long as it said',
  wrong:
    'carrying a later one: replayed, edited, for another task or caller, too late, or from who lost the right to give it',

  async run(story) {
    const clock = new ShiftedClock()
    const database = await story.part(openDatabase({ name: 'orders' }))
    const writ = await story.part(
      openInstallation({
        clock,
        people: { grace: ['dba'], hedy: ['dba'] },
        entities: [
          { type: 'Agent', id: 'migrator', kind: 'agent', owner: 'Person/ada', parents: ['Group/deployers'] },
          {
            type: 'Service',
            id: 'orders-ci',
            kind: 'workload',
            owner: 'Person/ada',
            parents: ['Group/deployers'],
          },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
          { type: 'Database', id: 'payments', kind: 'resource', sensitivity: 'high' },
        ],
      }),
    )
    await writ.target(database, { 'db:migrate': 'Database/orders' })
    const { writ: workflow, token: workflowToken } = await writ.key('Agent/migrator')
    const { writ: other } = await writ.key('Service/orders-ci')
    const [grace, hedy] = [writ.person('grace'), writ.person('hedy')]

    /** The migration as it is always run; the file is part of what is approved. */
    const migrate: AttemptInput = {
      action: { name: 'db:migrate', properties: { file: '0007-add-column.sql' } },
      resource: 'Database/orders',
    }
    const declare = (agent: Writ = workflow) =>
      agent.tasks.declare({
        purpose: 'nightly migration',
        reason: 'INC-42',
        scope: {
          actions: ['db:migrate'],
          resources: [
            { type: 'Database', id: 'orders' },
            { type: 'Database', id: 'payments' },
          ],
        },
      })
    /** Neither an attempt nor a grant is had with `approval`, for one of `reasons`. */
    const useless = async (
      agent: Writ,
      task: string,
      approval: Json,
      reasons: string[],
      attempt = migrate,
    ) => {
      const carrying = under(task, attempt, { approval })
      const { decision, grant } = await agent.grants.activate(carrying)
      assert.equal(grant, undefined)
      for (const one of [decision, await agent.evaluate(carrying)]) {
        assert.notEqual(one.outcome, 'permit')
        assert.ok(
          reasons.includes(one.reason),
          `${one.outcome} for \`${one.reason}\`, not for ${reasons.join(' or ')}`,
        )
      }
    }

    const { id: yesterday } = await declare()
    const { id: today } = await declare()
    const used = await approved(workflow, under(yesterday, migrate), grace)
    await story.right('yesterday the workflow was approved and ran', async () => {
      const { grant } = await workflow.grants.activate(under(yesterday, migrate, { approval: used.approval }))
      const { secret } = await workflow.credentials.issue(grant?.id ?? '')
      const session = await database.connect({ url: secret.env['DATABASE_URL'] ?? '' })
      await session.query('create table orders (id int primary key)')
      await session.end()
      // the issue was its one use
      await refused(workflow.credentials.issue(grant?.id ?? ''), 'grant_spent')
    })
    await story.wrong('replaying the approval, in the same task and in a later one', async () => {
      await useless(workflow, yesterday, used.approval, ['approval_expired'])
      await useless(workflow, today, used.approval, ['out_of_scope'])
      assert.equal((await workflow.tasks.end(yesterday, 'completed')).task.state, 'completed')
      await useless(workflow, yesterday, used.approval, ['task_ended'])
    })
    await story.wrong('the request itself asked again: what was approved stays approved once', async () => {
      await refused(approve(hedy, used.request), 'ERR_CONFLICT')
      await refused(workflow.resume(used.request.id), 'task_ended')
    })

    const fresh = await approved(workflow, under(today, migrate), grace)
    await story.wrong(
      'editing the request after its approval: another file, another database, one thing more',
      async () => {
        const edits: AttemptInput[] = [
          { ...migrate, action: { name: 'db:migrate', properties: { file: '0008-drop-table.sql' } } },
          { ...migrate, action: 'db:migrate' },
          { ...migrate, resource: 'Database/payments' },
          { ...migrate, context: { dry_run: false } },
        ]
        for (const edit of edits) await useless(workflow, today, fresh.approval, ['out_of_scope'], edit)
      },
    )
    await story.wrong('carrying it into another task', async () => {
      const { id } = await declare()
      await useless(workflow, id, fresh.approval, ['out_of_scope'])
      await workflow.tasks.end(id, 'cancelled')
    })
    await story.wrong('another caller with it, in a task of its own or in this one', async () => {
      const { id } = await declare(other)
      await useless(other, id, fresh.approval, ['approval_unverifiable'])
      await useless(other, today, fresh.approval, ['task_unknown'])
      await refused(other.requests.get(fresh.request.id), 'ERR_NOT_FOUND')
      await other.tasks.end(id, 'cancelled')
    })
    await story.wrong('an approval that was never given', async () => {
      await useless(workflow, today, { ...fresh.approval, id: 'appr_0000' }, ['approval_unverifiable'])
    })
    await story.wrong(
      'its proof: of another approval, forged, for another server, by a key of one’s own',
      async () => {
        const { state } = fresh.approval
        assert.ok(typeof state === 'string')
        const spent = { ...fresh.approval, id: used.approval.id }
        await useless(workflow, today, spent, ['approval_unverifiable'])
        await useless(workflow, today, { ...fresh.approval, state: used.approval['state'] ?? '' }, [
          'out_of_scope',
          'approval_unverifiable',
          'approval_expired',
        ])
        for (const forged of forgeries(state)) {
          await useless(workflow, today, { ...fresh.approval, state: forged }, ['approval_unverifiable'])
          await useless(workflow, today, { state: forged }, ['approval_unverifiable'])
        }
        for (const malformed of [{}, [], null, 7, { id: 7 }, { id: '' }]) {
          await useless(workflow, today, malformed, ['approval_unverifiable'])
        }
      },
    )
    await story.wrong('another subject with it, carried by a trusted enforcement point', async () => {
      const { writ: gateway } = await writ.key('Service/orders-ci', { subjects: ['*'], attributes: {} })
      const { id } = await declare(other)
      const posing = { ...migrate, subject: 'Service/orders-ci' }
      await useless(gateway, id, { id: fresh.approval.id }, ['approval_unverifiable'], posing)
      await useless(gateway, id, fresh.approval, ['approval_unverifiable'], posing)
      await useless(gateway, today, fresh.approval, ['approval_unverifiable'], {
        ...migrate,
        subject: 'Agent/migrator',
      })
      await other.tasks.end(id, 'cancelled')
    })
    await story.wrong('a signed denial, once it has been asked about', async () => {
      const attempt = under(today, { ...migrate, context: { note: 'once' } })
      const challenge = await challenged(workflow, attempt)
      const body = (justification: string, denial: object = {}) => ({
        subject: { type: 'Agent', id: 'migrator' },
        action: migrate.action,
        resource: { type: 'Database', id: 'orders' },
        context: { ...attempt.context, justification },
        denial: {
          ...(challenge.context['access_request'] as { binding_token: string }),
          evaluation_id: challenge.id,
          ...denial,
        },
      })
      const submit = async (sent: object, key: string, token = workflowToken) => {
        const answer = await fetch(`${writ.url}/access/v1/requests`, {
          method: 'POST',
          headers: {
            authorization: `Bearer ${token}`,
            'content-type': 'application/json',
            'idempotency-key': key,
          },
          body: JSON.stringify(sent),
        })
        return {
          status: answer.status,
          ...((await answer.json()) as { type?: string; task?: { id: string } }),
        }
      }
      const refusedAs = (answer: { type?: string }, problem: string) =>
        assert.ok(answer.type?.endsWith(`:${problem}`), JSON.stringify(answer))
      const first = await submit(body('why'), 'k1')
      assert.equal(first.status, 202)
      // the same again is the same, by its key and by itself; anything else with it is not
      assert.equal((await submit(body('why'), 'k1')).task?.id, first.task?.id)
      assert.equal((await submit(body('why'), 'k2')).task?.id, first.task?.id)
      refusedAs(await submit(body('another reason'), 'k1'), 'duplicate_request')
      refusedAs(await submit(body('another reason'), 'k3'), 'invalid_denial_binding')
      await workflow.requests.cancel(first.task?.id ?? '')
      await writ.restart()
      assert.equal((await submit(body('why'), 'k1')).task?.id, first.task?.id)
      refusedAs(await submit(body('another reason'), 'k3'), 'invalid_denial_binding')
      const { token } = await writ.key('Service/orders-ci', { subjects: ['*'], attributes: {} })
      refusedAs(await submit(body('why'), 'k1', token), 'invalid_denial_binding')
      refusedAs(await submit(body('why', { binding_token: 'a.b.c' }), 'k4'), 'invalid_denial_binding')
    })
    await story.wrong('replaying what was spent, after a restart', async () => {
      await writ.restart()
      await useless(workflow, yesterday, used.approval, ['task_ended'])
      await useless(workflow, today, used.approval, ['approval_expired', 'out_of_scope'])
      await useless(workflow, today, { id: used.approval.id }, ['out_of_scope'])
    })
    await story.wrong('approving what is not what was displayed', async () => {
      const edited = under(today, {
        ...migrate,
        action: { name: 'db:migrate', properties: { file: '0009.sql' } },
      })
      const request = await ask(workflow, edited)
      assert.notEqual(request.digest, fresh.request.digest)
      await refused(approve(grace, { id: request.id, digest: fresh.request.digest }), 'ERR_CONFLICT')
      await workflow.requests.cancel(request.id)
    })
    await story.wrong('a denial turned into a request for something else', async () => {
      const challenge = await challenged(workflow, under(today, { ...migrate, context: { note: 'nightly' } }))
      const answer = await fetch(`${writ.url}/access/v1/requests`, {
        method: 'POST',
        headers: { authorization: `Bearer ${workflowToken}`, 'content-type': 'application/json' },
        body: JSON.stringify({
          denial: { evaluation_id: challenge.id, expires_at: challenge.expiresAt },
          subject: { type: 'Agent', id: 'migrator' },
          action: { name: 'db:migrate', properties: { file: '0008-drop-table.sql' } },
          resource: { type: 'Database', id: 'orders' },
          context: { task: today, note: 'nightly' },
        }),
      })
      assert.equal(answer.status, 400, await answer.clone().text())
      assert.match(((await answer.json()) as { type: string }).type, /invalid_denial_binding$/u)
    })
    await story.wrong('an approver who has lost the right to give it since', async () => {
      await writ.ada.inventory.put([{ type: 'Person', id: 'grace', kind: 'human', parents: [] }])
      await useless(workflow, today, fresh.approval, ['approval_expired'])
      await writ.ada.inventory.put([{ type: 'Person', id: 'grace', kind: 'human', parents: ['Group/dba'] }])
    })
    await story.wrong('the approval after its time, though the task still waits', async () => {
      clock.advance(15 * MINUTE)
      assert.equal((await workflow.tasks.get(today)).task.state, 'declared')
      await useless(workflow, today, fresh.approval, ['approval_expired'])
    })
    await story.right('a fresh approval of today’s execution runs it', async () => {
      const again = await approved(workflow, under(today, migrate), hedy)
      assert.equal(
        (await workflow.evaluate(under(today, migrate, { approval: again.approval }))).outcome,
        'permit',
      )
      await workflow.tasks.end(today, 'completed')
    })
    await story.right('each approval was spent into one grant at most, by name', async () => {
      const { items } = await writ.ada.requests.list({ limit: 100 })
      const spent = items.filter((request) => request.grant !== undefined)
      assert.equal(spent.length, 2)
      assert.equal(new Set(spent.map(({ grant }) => grant)).size, 2)
      const approvers = spent.flatMap(({ approvals }) => approvals.map(({ person }) => person ?? ''))
      assert.deepEqual(approvers.sort(), ['Person/grace', 'Person/hedy'])
    })
  },
}

/** The proof of an approval as somebody without the key would make it. */
function forgeries(state: string): string[] {
  const [head = '', body = '', signature = ''] = state.split('.')
  const read = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, Json>
  const write = (value: Json) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const signed = (header: Json, payload: Json): string => {
    const input = `${write(header)}.${write(payload)}`
    const by = sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' })
    return `${input}.${by.toString('base64url')}`
  }
  const [header, claims] = [read(head), read(body)]
  const later = { ...claims, exp: 4_000_000_000 }
  const mac = `${write({ ...header, alg: 'HS256' })}.${body}`
  return [
    signed(header, claims),
    signed({ ...header, kid: 'key_mine' }, later),
    `${write({ ...header, alg: 'none' })}.${write(later)}.`,
    `${head}.${write(later)}.${signature}`,
    `${head}.${write({ ...claims, aud: 'urn:writ:other' })}.${signature}`,
    `${mac}.${createHmac('sha256', 'key').update(mac).digest('base64url')}`,
    `${head}.${body}.`,
    'not a proof',
  ]
}
