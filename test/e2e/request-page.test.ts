/**
 * What an approver sees of the ticket, the window and the device that a request stands on, before it is decided.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HOUR, MINUTE } from '../../src/model/time.ts'
import { browserMissing, startChromium } from '../support/chromium.ts'
import { shoot } from '../support/screenshots.ts'
import { declare, openWorld, ref, requestMigration } from '../support/world.ts'

test('S12 the page of a request says what is known of its ticket, window and device, and nothing of risk', async () => {
  await using world = await openWorld()
  const { flows, url } = world.app
  const now = Date.now()
  const migrator = { type: 'Agent', id: 'migrator', kind: 'agent', owner: ref('Person/ada') } as const
  await flows.putEntities(world.ada, [{ ...migrator, parents: [ref('Group/deployers')], thirdParty: true }])
  const observed = { observedAt: now - 4 * MINUTE, maxAge: HOUR }
  await flows.facts.observe('jira', 'jira', [
    {
      ...observed,
      name: 'ticket',
      about: 'OPS-7',
      value: { id: 'OPS-7', status: 'In <b>review</b>', open: true, approved: false, resources: [] },
    },
    { ...observed, name: 'risk', about: 'Agent/migrator', value: { level: 2 } },
    {
      observedAt: now - 2 * HOUR,
      maxAge: HOUR,
      name: 'posture',
      about: 'Agent/migrator',
      device: 'laptop-7',
      value: { compliant: true, status: 'ok' },
    },
  ])
  const window = { startsAt: now + HOUR, endsAt: now + 2 * HOUR }
  const request = await requestMigration(world, await declare(world, { ticket: 'OPS-7', window }))
  const path = `/requests/${request.id}`
  const cookie = `writ_session=${world.tokens.grace}`
  const html = await (await fetch(`${url}${path}`, { headers: { cookie } })).text()
  const text = html.replaceAll(/<[^>]*>/gu, '').replaceAll(/\s+/gu, ' ')
  const [, known = ''] = /What is known now(.*)What exactly is asked/u.exec(text) ?? []
  assert.match(known, /Third party Somebody from outside is behind this/u)
  assert.match(
    known,
    /OPS-7: open, not approved \(In &lt;b&gt;review&lt;\/b&gt;\) · observed 4 min .*ago by jira/u,
  )
  assert.match(known, /Window opens in (?:59 min|1 h)/u)
  assert.match(known, /laptop-7: compliant \(ok\) · too old to be believed, observed 2 h ago/u)
  assert.doesNotMatch(known, /risk/iu)

  if (browserMissing() !== false || process.env['WRIT_SCREENSHOTS'] === undefined) return
  await using browser = await startChromium()
  const context = await browser.newContext()
  await context.addCookies([{ name: 'writ_session', value: world.tokens.grace, url }])
  const page = await context.newPage()
  await page.goto(`${url}${path}`)
  await shoot(page, 'request')
})
