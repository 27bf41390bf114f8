/**
 * Systems of tickets and incidents over real HTTP: what they say is what policies see, what they do not say is unknown, and
 * what their webhooks tell ends what was given on it.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { WebhookConfig } from '../../src/model/source.ts'
import { HOUR, MINUTE, SECOND } from '../../src/model/time.ts'
import type { JsonServer } from '../support/json-server.ts'
import { json, jsonServer } from '../support/json-server.ts'
import { jiraHook, jiraIssue, pagerdutyHook, pagerdutyIncident } from '../support/tickets.ts'
import { declare, folderOf } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { attempt, entries, faultWorld, patient, ref, settle, withPolicy } from './support.ts'

const SECRET = 'canary-of-the-webhooks'
const text = `
@id("edit") permit (principal, action == Action::"edit", resource)
when {
  context.live has ticket && context.live.ticket.open && context.live.ticket.approved &&
  context.live.ticket.resources.contains("Database/orders")
};
@id("calm") permit (principal, action == Action::"calm", resource);
@id("not-in-incident") forbid (principal, action == Action::"calm", resource)
when { context.live has incident && context.live.incident.open };
@id("plain") permit (principal, action == Action::"plain", resource);
@id("report") permit (principal in Group::"administrators", action == Writ::Action::"report", resource);
`

type Stage = FaultWorld & { jira: JsonServer; pagerduty: JsonServer }

async function stage(): Promise<Stage> {
  const jira = await jsonServer(json(jiraIssue()))
  const pagerduty = await jsonServer(json(pagerdutyIncident('resolved')))
  const file = join(folderOf('secrets'), 'webhooks')
  writeFileSync(file, `${SECRET}\n`)
  const common = {
    fresh: 30 * SECOND,
    maxAge: 5 * MINUTE,
    timeout: MINUTE,
    allowPrivate: true,
    fields: {},
  }
  const hook = (source: string, scheme: WebhookConfig['scheme'], header: string): WebhookConfig => ({
    source,
    scheme,
    header,
    secrets: [{ file }],
    window: HOUR,
  })
  const world = await faultWorld({
    http: true,
    sleep: patient,
    policies: withPolicy(text),
    config: {
      facts: {
        tickets: [{ ...common, name: 'jira', kind: 'jira', url: jira.url, keys: ['OPS-'] }],
        incidents: [
          { ...common, name: 'pagerduty', kind: 'pagerduty', url: pagerduty.url, keys: ['P'], alerts: false },
        ],
      },
      webhooks: [
        hook('jira', 'hub', 'x-hub-signature'),
        hook('pagerduty', 'pagerduty', 'x-pagerduty-signature'),
      ],
    },
  })
  const stop = world[Symbol.asyncDispose].bind(world)
  return Object.assign(world, {
    jira,
    pagerduty,
    async [Symbol.asyncDispose]() {
      await stop()
      await jira[Symbol.asyncDispose]()
      await pagerduty[Symbol.asyncDispose]()
    },
  })
}

const deliver = async ({ app }: Stage, source: string, body: unknown, secret = SECRET): Promise<number> => {
  const sent = JSON.stringify(body)
  const mac = createHmac('sha256', secret).update(sent).digest('hex')
  const { status } = await fetch(`${app.url}/webhooks/${source}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-hub-signature': `sha256=${mac}`,
      'x-pagerduty-signature': `v1=${mac}`,
    },
    body: sent,
  })
  return status
}

const declared = (world: Stage, actions: readonly string[], ticket: string): Promise<string> =>
  declare(world, { ticket, scope: { actions, resources: [ref('Database/orders')] } })

const ended = async ({ app }: Stage, id: string): Promise<boolean> => {
  const view = await app.store.read([{ kind: 'grant', id }])
  return view.get('grant', id)?.value.state !== 'active'
}

const ask = async ({ app, migrator }: Stage, action: string, task: string) => {
  const what = attempt('Agent/migrator', action, 'Database/orders', { task })
  return app.flows.activate(migrator, what)
}

describe('tickets and incidents', () => {
  test('what a configured source answers for is reported by nobody else', async () => {
    await using world = await stage()
    const { facts } = world.app.flows
    const open = { status: 'Approved', open: true, approved: true, resources: ['Database/orders'] }
    const at = world.clock.wall()
    const said = (about: string) => ({
      name: 'ticket' as const,
      about,
      value: { id: about, ...open },
      observedAt: at,
    })
    await assert.rejects(facts.report(world.ada, [said('OPS-7')]), /its own source says/u)
    const incident = { name: 'incident' as const, about: 'P1', value: null, observedAt: at }
    await assert.rejects(facts.report(world.ada, [said('DESK-1'), incident]), /its own source says/u)
    assert.deepEqual(await facts.about(world.ada, 'DESK-1'), [])
    // no source answers for this one
    await facts.report(world.ada, [said('DESK-1')])
    assert.equal((await facts.about(world.ada, 'DESK-1')).length, 1)
  })

  test('S03 a grant stands on its ticket: closed there, it ends here, by a webhook alone', async () => {
    await using world = await stage()
    const task = await declared(world, ['edit'], 'OPS-7')
    const { grant, decision } = await ask(world, 'edit', task)
    assert.equal(decision.outcome, 'permit', decision.reason)
    const id = grant?.id ?? assert.fail('no grant')
    const closed = jiraHook('jira:issue_updated', jiraIssue('Done', 'done'), world.clock.wall() + 1)
    world.clock.advance(SECOND)
    assert.equal(await deliver(world, 'jira', closed, 'canary-of-somebody-else'), 401)
    assert.equal(await deliver(world, 'jira', closed), 204)
    await settle(world.app)
    assert.equal(await ended(world, id), true)
    world.jira.answer = json(jiraIssue('Done', 'done'))
    assert.equal((await ask(world, 'edit', task)).decision.outcome, 'deny')
    const all = JSON.stringify(await entries(world.app))
    assert.match(all, /"fact.observed"/u)
    assert.match(all, /"webhook.refused"/u)
    assert.doesNotMatch(all, /canary/u)
  })

  test('B17 B58 each system, killed, widens nothing, and keeps nothing else waiting', async () => {
    await using world = await stage()
    const tickets = await declared(world, ['edit', 'plain'], 'OPS-7')
    const incident = await declared(world, ['calm'], 'PT4KHLK')
    await world.jira[Symbol.asyncDispose]()
    await world.pagerduty[Symbol.asyncDispose]()
    assert.equal((await ask(world, 'edit', tickets)).decision.outcome, 'deny')
    assert.equal(
      (await ask(world, 'calm', incident)).decision.outcome,
      'deny',
      'an incident is not ruled out',
    )
    assert.equal((await ask(world, 'plain', tickets)).decision.outcome, 'permit')
  })

  test('an incident that opens ends what was given while there was none', async () => {
    await using world = await stage()
    const task = await declared(world, ['calm'], 'PT4KHLK')
    const { grant, decision } = await ask(world, 'calm', task)
    assert.equal(decision.outcome, 'permit', decision.reason)
    const id = grant?.id ?? assert.fail('no grant')
    world.clock.advance(SECOND)
    const at = new Date(world.clock.wall()).toISOString()
    assert.equal(await deliver(world, 'pagerduty', pagerdutyHook('incident.reopened', 'triggered', at)), 204)
    await settle(world.app)
    assert.equal(await ended(world, id), true)
  })
})
