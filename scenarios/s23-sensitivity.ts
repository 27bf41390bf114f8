import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { AttemptInput, Decision } from '../client/src/index.ts'
import { approve, approved, ask, challenged, openInstallation, under } from './support/installation.ts'
import { writ as command } from './support/processes.ts'
import type { Scenario } from './support/story.ts'
import { denied, refused, until } from './support/story.ts'

/** Administrators reach all records of all tenants; support reads harmless ones, and others one by one. */
const POLICIES = `
@id("records-admins")
permit (
  principal in Group::"records-admins",
  action in [Action::"record:read", Action::"record:export"],
  resource in Folder::"tenants"
);

@id("routine-support")
@ttl("10m")
@uses("40")
@binding("task")
permit (principal in Group::"support", action == Action::"record:read", resource is Record)
when { resource.sensitivity <= 2 && context.live has task && context.proof.approvals.lead >= 1 };

@id("sensitive-record")
@ttl("5m")
@uses("1")
@binding("attempt")
permit (principal in Group::"support", action == Action::"record:read", resource is Record)
when {
  context.live has task &&
  context.proof.justification &&
  context.proof.approvals.lead >= 1 &&
  context.proof.approvals.privacy >= 1
};

@id("leads-approve")
permit (principal in Group::"support-leads", action == Writ::Action::"approve", resource is Record)
when { context.pool == "lead" };

@id("privacy-approves")
permit (principal in Group::"privacy", action == Writ::Action::"approve", resource is Record)
when { context.pool == "privacy" };

@id("auditors-read")
permit (principal in Group::"auditors", action == Writ::Action::"read", resource);
`

const tenant = ['Folder/tenant-7']

export const scenario: Scenario = {
  id: 'S23',
  name: 'sensitivity',
  right: 'a support agent reads the records that its low-risk task is about, on one approval',
  wrong:
    'reaching the sensitive record beside them: with the grant, the approval, a wider or child task, by its parent, by its label',

  async run(story) {
    const writ = await story.part(
      openInstallation({
        policies: [{ name: 'records.cedar', text: POLICIES }],
        people: { grace: ['support-leads'], penny: ['privacy'], rob: ['records-admins'] },
        entities: [
          // its owner has all the reach that it must not have
          { type: 'Agent', id: 'desk', kind: 'agent', owner: 'Person/rob', parents: ['Group/support'] },
          { type: 'Service', id: 'records', kind: 'workload', owner: 'Person/ada' },
          {
            type: 'Service',
            id: 'auditor',
            kind: 'workload',
            owner: 'Person/ada',
            parents: ['Group/auditors'],
          },
          { type: 'Folder', id: 'tenants', kind: 'resource', sensitivity: 'critical' },
          {
            type: 'Folder',
            id: 'tenant-7',
            kind: 'resource',
            sensitivity: 'low',
            parents: ['Folder/tenants'],
          },
          { type: 'Record', id: 'contact', kind: 'resource', sensitivity: 'moderate', parents: tenant },
          { type: 'Record', id: 'address', kind: 'resource', sensitivity: 'moderate', parents: tenant },
          { type: 'Record', id: 'cards', kind: 'resource', sensitivity: 'critical', parents: tenant },
        ],
      }),
    )
    const [grace, penny, rob] = [writ.person('grace'), writ.person('penny'), writ.person('rob')]
    const { writ: desk } = await writ.key('Agent/desk')
    const auditor = await writ.key('Service/auditor')
    // the enforcement point in front of the records, trusted for more than it should be
    const service = await writ.key('Service/records', {
      subjects: ['Agent'],
      attributes: { Record: ['language', 'sensitivity', 'owner', 'team', 'parents'] },
    })

    const read = (id: string): AttemptInput => ({ action: 'record:read', resource: `Record/${id}` })
    const asserting = (id: string, properties: Record<string, string | number | string[]>): AttemptInput => ({
      subject: 'Agent/desk',
      action: 'record:read',
      resource: { type: 'Record', id, properties },
    })
    const declare = (more: object = {}) =>
      desk.tasks.declare({
        purpose: 'answer ticket 88',
        scope: { actions: ['record:read'], resources: [{ type: 'Record' }] },
        ...more,
      })
    const label = (id: string, sensitivity: 'low' | 'moderate' | 'critical') =>
      writ.ada.inventory.put([{ type: 'Record', id, kind: 'resource', sensitivity, parents: tenant }])
    /** Not permitted: at most it is asked for what that record alone would need. */
    const kept = ({ outcome, reason }: Decision): void =>
      assert.notEqual(outcome, 'permit', `it was permitted (${reason})`)
    const reads = async (task: string, id: string, more: object = {}): Promise<void> =>
      assert.equal((await desk.evaluate(under(task, read(id), { ...more }))).outcome, 'permit', id)
    const why = (decision: Pick<Decision, 'id'>): Promise<string> =>
      command(['why', decision.id ?? ''], {
        cwd: join(writ.folder, 'auditor'),
        env: { WRIT_URL: writ.url, WRIT_TOKEN: auditor.token },
      })

    /** What the record says of the rule for routine support: the clause, what it asks and what was there. */
    const failsOnSensitivity = async (decision: Pick<Decision, 'id'>): Promise<void> => {
      const { explanation } = await auditor.writ.decisions.explain(decision.id ?? '')
      const routine = explanation?.nearest.find(({ policy }) => policy === 'routine-support')
      const clause = routine?.clauses.find(({ text }) => text.includes('sensitivity'))
      assert.deepEqual(
        [clause?.status, clause?.actual, clause?.required],
        [
          'fails',
          [{ path: 'resource.sensitivity', value: 4 }],
          { path: 'resource.sensitivity', operator: '<=', value: 2 },
        ],
      )
    }

    const { id: task } = await declare()
    const { approval } = await approved(desk, under(task, read('contact')), grace)
    await story.wrong('the approval of the task, spent on the sensitive record first', async () => {
      const { grant, decision } = await desk.grants.activate(under(task, read('cards'), { approval }))
      assert.equal(grant, undefined)
      kept(decision)
    })
    const { grant } = await desk.grants.activate(under(task, read('contact'), { approval }))
    assert.ok(grant)
    await story.right('the task reaches what it is about: one approval, several records', async () => {
      assert.equal(grant.binding, 'task')
      for (const id of ['contact', 'address', 'contact']) await reads(task, id)
    })
    await story.right('the reach that it must not inherit is there: its owner has it', async () => {
      for (const action of ['record:read', 'record:export'])
        assert.equal((await rob.evaluate({ action, resource: 'Record/cards' })).outcome, 'permit')
    })

    const first = await desk.evaluate(under(task, read('cards')))
    await story.wrong('the sensitive record beside them: same folder, action, role and task', () =>
      kept(first),
    )
    await story.right('`writ why` names the clause, what it asks and what was there', async () => {
      // told first is the rule by which it could still be had
      assert.match(
        await why(first),
        /Nearest rule: records\.cedar:\d+ "sensitive-record"[^]*"routine-support"/u,
      )
      await failsOnSensitivity(first)
    })
    await story.right('what the sensitive record needs is asked for it alone', async () => {
      const { alternatives } = await challenged(desk, under(task, read('cards')))
      const [only, ...others] = alternatives
      assert.equal(others.length, 0)
      const pools = (only?.requirements ?? []).map((one) => ('pool' in one ? one.pool : one.kind)).sort()
      assert.deepEqual([pools, only?.binding], [['justification', 'lead', 'privacy'], 'attempt'])
    })
    await story.wrong('with the grant of the task, or its approval, in hand', async () => {
      kept(await desk.evaluate(under(task, read('cards'), { grant: grant.id })))
      kept(await desk.evaluate(under(task, read('cards'), { approval })))
      kept(
        await service.writ.evaluate({
          ...under(task, read('cards'), { grant: grant.id }),
          subject: 'Agent/desk',
        }),
      )
      kept(await desk.evaluate({ ...read('cards'), context: { grant: grant.id } }))
    })
    await story.wrong('a record beside them that nobody registered', async () => {
      const decision = await desk.evaluate(under(task, read('notes'), { grant: grant.id }))
      kept(decision)
      await failsOnSensitivity(decision)
    })
    await story.wrong('without a task, or as its owner', async () => {
      denied(await desk.evaluate(read('cards')), 'policy_denied')
      const asOwner = { ...under(task, read('cards')), subject: 'Person/rob' }
      denied(await desk.evaluate(asOwner), 'forbidden_assertion')
      denied(await service.writ.evaluate(asOwner), 'forbidden_assertion')
      const act = { sub: 'Person/rob' }
      const onBehalf = { type: 'Agent', id: 'desk', properties: { act } }
      denied(await desk.evaluate({ ...under(task, read('cards')), subject: onBehalf }), 'delegation')
    })
    await story.wrong('by its parents, which are called harmless', async () => {
      const folder = { action: 'record:read', resource: 'Folder/tenant-7' }
      denied(await desk.evaluate(under(task, folder)), 'task_scope')
      const { id } = await declare({
        scope: { actions: ['record:read'], resources: [{ type: 'Record' }, { type: 'Folder' }] },
      })
      denied(await desk.evaluate(under(id, folder)), 'policy_denied')
      denied(await desk.evaluate(under(id, { ...folder, resource: 'Folder/tenants' })), 'policy_denied')
      await desk.tasks.end(id, 'cancelled')
    })
    await story.wrong('by another action, in a task that asks for everything', async () => {
      const exporting = { action: 'record:export', resource: 'Record/cards' }
      denied(await desk.evaluate(under(task, exporting)), 'task_scope')
      const { id } = await declare({
        scope: {
          actions: ['record:read', 'record:export'],
          resources: [{ type: 'Record' }, { type: 'Folder' }],
        },
      })
      denied(await desk.evaluate(under(id, exporting)), 'policy_denied')
      kept(await desk.evaluate(under(id, read('cards'))))
      // what was approved for the narrower task is nothing in the wider one
      const carrying = await desk.evaluate(under(id, read('contact'), { grant: grant.id }))
      assert.deepEqual([carrying.outcome, carrying.reason], ['challenge', 'out_of_scope'])
      await desk.tasks.end(id, 'cancelled')
    })
    await story.wrong(
      'by a child of the task: it has no more than its parent, and not its grant',
      async () => {
        await refused(
          declare({ parent: task, scope: { actions: ['record:export'], resources: [{ type: 'Record' }] } }),
          'ERR_FORBIDDEN',
          'ERR_INPUT_INVALID',
        )
        const { id } = await declare({ parent: task })
        for (const name of ['cards', 'contact']) kept(await desk.evaluate(under(id, read(name))))
        kept(await desk.evaluate(under(id, read('cards'), { grant: grant.id })))
        await desk.tasks.end(id, 'cancelled')
      },
    )
    await story.wrong('by another label, whoever says so and however', async () => {
      for (const lie of [
        { sensitivity: 1 },
        { sensitivity: 'low' },
        { sensitivity: 1, language: 'en' },
        { owner: 'Agent/desk', team: 'Group/support' },
        { parents: ['Record/contact'] },
      ]) {
        kept(await service.writ.evaluate(under(task, asserting('cards', lie))))
        kept(await desk.evaluate(under(task, asserting('cards', lie))))
        kept(await service.writ.evaluate(under(task, asserting('notes', lie))))
        kept(await desk.evaluate(under(task, { ...read('cards'), context: { ...lie, resource: lie } })))
      }
      const [one, two] = await service.writ.evaluations([
        under(task, asserting('contact', {})),
        under(task, asserting('cards', { sensitivity: 1 })),
      ])
      assert.equal(one?.outcome, 'permit')
      assert.ok(two)
      kept(two)
    })
    await story.wrong('a record that has become sensitive in mid-grant, while the others go on', async () => {
      await label('address', 'critical')
      const decision = await desk.evaluate(under(task, read('address')))
      kept(decision)
      kept(await desk.evaluate(under(task, read('address'), { grant: grant.id })))
      await failsOnSensitivity(decision)
      await reads(task, 'contact')
    })
    await story.wrong(
      'the grant itself, when the record that it was given for becomes sensitive',
      async () => {
        await label('contact', 'critical')
        kept(await desk.evaluate(under(task, read('contact'), { grant: grant.id })))
        const over = await until('its grant has ended', async () => {
          const found = await desk.grants.get(grant.id)
          return found.grant.state !== 'active' && found.grant
        })
        assert.equal(over.end, 'revoked')
      },
    )
    await story.wrong('that grant, when the label is taken back: what ended stays ended', async () => {
      await label('contact', 'moderate')
      denied(await desk.evaluate(under(task, read('contact'), { grant: grant.id })), 'grant_ended')
      kept(await desk.evaluate(under(task, read('contact'))))
    })
    await story.right(
      'two people agree to the sensitive record itself: once, and to nothing beside it',
      async () => {
        const { id } = await declare({ reason: 'the customer disputes a charge' })
        const request = await ask(desk, under(id, read('cards')))
        await approve(grace, request)
        await story.wrong('one of the two', async () => kept(await desk.evaluate(under(id, read('cards')))))
        await approve(penny, request)
        const { approval: both } = await desk.requests.wait(request.id)
        assert.ok(both)
        kept(await desk.evaluate(under(id, read('notes'), { approval: both })))
        await reads(id, 'cards', { approval: both })
        kept(await desk.evaluate(under(id, read('cards'), { approval: both })))
        kept(await desk.evaluate(under(id, read('cards'))))
        await desk.tasks.end(id, 'completed')
      },
    )
    await story.right('the record of the sensitive one holds one permit for the agent', async () => {
      const { items } = await writ.ada.decisions.list({ ref: 'Record/cards', limit: 200 })
      const entries = items as { outcome: string; attempt: { subject: { id: string } } }[]
      const permits = entries.filter(
        ({ outcome, attempt }) => outcome === 'permit' && attempt.subject.id === 'desk',
      )
      assert.equal(permits.length, 1)
      const refusals = entries.filter(
        ({ outcome, attempt }) => outcome !== 'permit' && attempt.subject.id === 'desk',
      )
      story.figure(`refused in ${refusals.length} ways, permitted once`)
    })
    await desk.tasks.end(task, 'completed')
  },
}
