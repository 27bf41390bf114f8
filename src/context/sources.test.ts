import assert from 'node:assert/strict'
import { createServer as createTcp } from 'node:net'
import type { Socket } from 'node:net'
import { describe, test } from 'node:test'
import type { JsonServer } from '../../test/support/json-server.ts'
import { json, jsonServer } from '../../test/support/json-server.ts'
import type { ManualClock } from '../../test/support/store.ts'
import { manualClock } from '../../test/support/store.ts'
import {
  OPSGENIE_ID,
  change,
  githubHook,
  githubIssue,
  jiraHook,
  jiraIssue,
  opsgenieHook,
  opsgenieIncident,
  pagerdutyHook,
  pagerdutyIncident,
} from '../../test/support/tickets.ts'
import { ownPort } from '../cli/own-port.ts'
import type { IncidentSourceConfig, TicketSourceConfig } from '../model/source.ts'
import { outboundFetcher } from '../signals/fetcher.ts'
import type { AskedDeps } from './asked.ts'
import { ANSWER_MOST } from './asked.ts'
import { IncidentSource } from './incidents.ts'
import { SourceError } from './port.ts'
import { TicketSource } from './tickets.ts'

/** 2026-11-22T12:00:00Z. */
const NOON = 1_795_348_800_000

const common = {
  name: 'it',
  fresh: 30_000,
  maxAge: 300_000,
  // whoever does not answer is meant to: no busy machine makes it late
  timeout: 60_000,
  allowPrivate: true,
  fields: {},
} as const

function deps(more: Partial<AskedDeps> = {}): AskedDeps & Readonly<{ clock: ManualClock }> {
  const clock = manualClock(NOON)
  return { ...asking(clock), ...more, clock }
}

const asking = (clock: ManualClock): AskedDeps => ({
  fetch: outboundFetcher(),
  secret: async () => 's3cret-token',
  clock,
})

const tickets = (
  url: string,
  kind: TicketSourceConfig['kind'],
  keys: readonly string[],
  more: Partial<TicketSourceConfig> = {},
  asked: AskedDeps = deps(),
) => new TicketSource({ ...common, url, kind, keys, ...more }, asked)

const incidents = (
  url: string,
  kind: IncidentSourceConfig['kind'],
  more: Partial<IncidentSourceConfig> = {},
  asked: AskedDeps = deps(),
) => new IncidentSource({ ...common, url, kind, keys: [''], alerts: false, ...more }, asked)

const patience = (): AbortSignal => AbortSignal.timeout(60_000)

/** What it says to be why it does not know. */
async function why(asking: Promise<unknown>): Promise<string> {
  const error = await asking.then(
    () => assert.fail('it said something'),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof SourceError, String(error))
  return error.message
}

const authorization = (server: JsonServer) => server.headers.at(-1)?.authorization

describe('Jira', () => {
  test('an issue is a ticket: status, approval, window, resources', async () => {
    await using server = await jsonServer(json(jiraIssue(), { date: NOON }))
    const source = tickets(server.url, 'jira', ['OPS-'], {
      credential: { header: 'authorization', from: { env: 'JIRA' } },
      fields: { startsAt: '/fields/customfield_10010', endsAt: '/fields/customfield_10011' },
    })
    const said = await source.observe('OPS-7', patience())
    assert.deepEqual(said, {
      name: 'ticket',
      about: 'OPS-7',
      value: {
        id: 'OPS-7',
        status: 'Implementing',
        open: true,
        approved: true,
        type: 'Change',
        priority: 'High',
        assignee: 'ada@example.com',
        startsAt: NOON + 3_600_000,
        endsAt: NOON + 3 * 3_600_000,
        resources: ['Database/orders', 'Database/shop'],
      },
      observedAt: NOON,
      maxAge: 300_000,
    })
    const url = new URL(server.asked[0] ?? '', server.url)
    assert.equal(url.pathname, '/rest/api/2/issue/OPS-7')
    // only what is read is asked for
    assert.deepEqual(url.searchParams.get('fields')?.split(',').sort(), [
      'assignee',
      'customfield_10010',
      'customfield_10011',
      'issuetype',
      'labels',
      'priority',
      'status',
      'updated',
    ])
    assert.equal(authorization(server), `Basic ${Buffer.from('s3cret-token').toString('base64')}`)
  })

  test('done is closed, waiting for approval is not approved', async () => {
    await using server = await jsonServer(json(jiraIssue('Done', 'done'), { date: NOON }))
    const source = tickets(server.url, 'jira', ['OPS-'])
    const closed = (await source.observe('OPS-7', patience())).value
    assert.deepEqual([closed?.['open'], closed?.['approved']], [false, false])
    server.answer = json(jiraIssue('Awaiting approval'), { date: NOON })
    const waiting = (await source.observe('OPS-7', patience())).value
    assert.deepEqual([waiting?.['open'], waiting?.['approved']], [true, false])
  })

  test('an issue that was moved is another ticket: unknown', async () => {
    await using server = await jsonServer(json({ ...jiraIssue(), key: 'NEW-1' }, { date: NOON }))
    const source = tickets(server.url, 'jira', ['OPS-'])
    assert.match(await why(source.observe('OPS-7', patience())), /answers for something else/u)
  })

  test('its webhooks say the same, deletions that there is none, comments nothing', () => {
    const source = tickets('https://acme.atlassian.net', 'jira', ['OPS-'])
    const told = source.told(jiraHook('jira:issue_updated', jiraIssue('Done', 'done'), NOON))
    assert.deepEqual([told?.about, told?.at, told?.value?.['open']], ['OPS-7', NOON, false])
    assert.equal(source.told(jiraHook('jira:issue_deleted', jiraIssue(), NOON))?.value, null)
    assert.equal(source.told(jiraHook('comment_created', { key: 'OPS-7', fields: {} }, NOON)), undefined)
  })
})

describe('ServiceNow', () => {
  test('a change request is a ticket; its times are UTC', async () => {
    await using server = await jsonServer(json({ result: [change()] }, { date: NOON }))
    const source = tickets(server.url, 'servicenow', ['CHG'])
    const { value } = await source.observe('CHG0030001', patience())
    assert.deepEqual(value, {
      id: 'CHG0030001',
      status: 'Implement',
      open: true,
      approved: true,
      type: 'normal',
      priority: '3',
      assignee: 'ada.lovelace',
      startsAt: NOON + 3_600_000,
      endsAt: NOON + 3 * 3_600_000,
      resources: ['Database/orders'],
    })
    const url = new URL(server.asked[0] ?? '', server.url)
    assert.equal(url.pathname, '/api/now/table/change_request')
    assert.equal(url.searchParams.get('sysparm_query'), 'number=CHG0030001')
    assert.equal(url.searchParams.get('sysparm_display_value'), 'false')
    assert.match(url.searchParams.get('sysparm_fields') ?? '', /assigned_to\.user_name.*cmdb_ci\.name/u)
  })

  test('in review it is not open; rejected it is not approved; none is none; two are nobody knows what', async () => {
    await using server = await jsonServer(json({ result: [change('0')] }, { date: NOON }))
    const source = tickets(server.url, 'servicenow', ['CHG'])
    assert.equal((await source.observe('CHG0030001', patience())).value?.['open'], false)
    server.answer = json({ result: [change('-2', 'rejected')] }, { date: NOON })
    assert.equal((await source.observe('CHG0030001', patience())).value?.['approved'], false)
    server.answer = json({ result: [] }, { date: NOON })
    assert.equal((await source.observe('CHG0030001', patience())).value, null)
    server.answer = json({ result: [change(), change()] }, { date: NOON })
    assert.match(await why(source.observe('CHG0030001', patience())), /more than one/u)
  })

  test('a key is never a query: B76', async () => {
    await using server = await jsonServer(json({ result: [change()] }, { date: NOON }))
    const source = tickets(server.url, 'servicenow', ['CHG'])
    for (const key of [
      'CHG1^ORnumber=CHG2',
      'CHG1&sysparm_limit=9',
      'CHG 1',
      'CHG/../x',
      'CHG\u0000',
      'CHG%31',
    ])
      assert.match(await why(source.observe(key, patience())), /no key of its/u)
    assert.deepEqual(server.asked, [])
  })
})

describe('GitHub Issues', () => {
  test('an issue is a ticket', async () => {
    await using server = await jsonServer(json(githubIssue(), { date: NOON }))
    const source = tickets(server.url, 'github', ['acme/shop#'], {
      credential: { header: 'authorization', from: { file: '/token' } },
    })
    assert.deepEqual((await source.observe('acme/shop#12', patience())).value, {
      id: 'acme/shop#12',
      status: 'open',
      open: true,
      approved: true,
      type: 'Change',
      assignee: 'ada',
      resources: ['Database/orders'],
    })
    assert.deepEqual(server.asked, ['/repos/acme/shop/issues/12'])
    assert.equal(authorization(server), 'Bearer s3cret-token')
    for (const key of ['acme/shop#x', 'acme/shop#12/comments', 'acme/shop#', 'acme/../x#1', '../x#1'])
      assert.match(
        await why(tickets(server.url, 'github', ['']).observe(key, patience())),
        /is not `owner|no key of its/u,
      )
    assert.equal(server.asked.length, 1)
  })

  test('its webhooks say the same; an issue that was deleted or went elsewhere is none', () => {
    const source = tickets('https://api.github.com', 'github', ['acme/shop#'])
    const told = source.told(githubHook('closed', githubIssue('closed')))
    assert.deepEqual([told?.about, told?.at, told?.value?.['open']], ['acme/shop#12', NOON - 30_000, false])
    assert.equal(source.told(githubHook('unlabeled', githubIssue('open', [])))?.value?.['approved'], false)
    assert.equal(source.told(githubHook('deleted', githubIssue()))?.value, null)
    assert.equal(source.told(githubHook('transferred', githubIssue()))?.value, null)
    const comment = { ...githubHook('deleted', githubIssue()), comment: { id: 1 } }
    assert.notEqual(source.told(comment)?.value, null, 'a comment was deleted')
    assert.equal(source.told({ zen: 'Keep it logically awesome.', hook_id: 1 }), undefined)
  })
})

describe('any system with JSON', () => {
  const plain = {
    id: 'T-1',
    status: 'active',
    open: true,
    approved: true,
    starts_at: '2026-11-22T13:00:00Z',
    ends_at: '2026-11-22T15:00:00Z',
    resources: ['Database/orders'],
    changed_at: '2026-11-22T11:00:00Z',
  }

  test('by a mapping of its own', async () => {
    const body = {
      ticket: {
        no: 'T-1',
        phase: { code: 4 },
        ok: ['boss', 'cab'],
        hosts: 'Host/a, Host/b',
        from: NOON / 1_000,
      },
    }
    await using server = await jsonServer(json(body, { date: NOON }))
    const source = tickets(`${server.url}/v1/tickets?no={key}&all=1`, 'http', ['T-'], {
      fields: { id: '/ticket/no', status: '/ticket/phase/code', startsAt: '/ticket/from' },
      open: { at: '/ticket/phase/code', in: ['3', '4'] },
      approved: { at: '/ticket/ok/*', in: ['cab'] },
      resources: { at: '/ticket/hosts', prefix: 'Host/' },
      credential: { header: 'x-api-key', scheme: 'none', from: { env: 'KEY' } },
    })
    assert.deepEqual((await source.observe('T-1', patience())).value, {
      id: 'T-1',
      status: '4',
      open: true,
      approved: true,
      startsAt: NOON,
      resources: ['a', 'b'],
    })
    assert.deepEqual(server.asked, ['/v1/tickets?no=T-1&all=1'])
    assert.equal(server.headers[0]?.['x-api-key'], 's3cret-token')
  })

  test('in the normal form without any', async () => {
    await using server = await jsonServer(json(plain, { date: NOON }))
    const source = tickets(`${server.url}/{key}`, 'http', ['T-'])
    const { value } = await source.observe('T-1', patience())
    assert.deepEqual([value?.['open'], value?.['startsAt']], [true, NOON + 3_600_000])
    const told = source.told({ type: 'ticket.changed', timestamp: '2026-11-22T11:59:00Z', data: plain })
    assert.deepEqual([told?.about, told?.at, told?.value], ['T-1', NOON - 60_000, value])
    assert.equal(source.told(plain)?.at, NOON - 3_600_000)
  })

  test('B17 what does not say that it is open, or approved, is neither', async () => {
    await using server = await jsonServer(json({ id: 'T-1', status: 'odd' }, { date: NOON }))
    const { value } = await tickets(`${server.url}/{key}`, 'http', ['T-']).observe('T-1', patience())
    assert.deepEqual([value?.['open'], value?.['approved'], value?.['resources']], [false, false, []])
  })

  test('it answers for keys that begin as configured, literally', async () => {
    const source = tickets('https://t.example/{key}', 'http', ['OPS-', 'A.C-'])
    assert.deepEqual(
      ['OPS-7', 'A.C-1', 'OPS-', 'ops-7', 'ABC-1', 'XOPS-7', ''].map((about) => source.answersFor(about)),
      [true, true, true, false, false, false, false],
    )
    assert.match(await why(source.observe('ABC-1', patience())), /does not answer for this/u)
  })
})

describe('PagerDuty', () => {
  test('an incident is open until it is resolved', async () => {
    await using server = await jsonServer(json(pagerdutyIncident(), { date: NOON }))
    const source = incidents(server.url, 'pagerduty', {
      credential: { header: 'authorization', from: { env: 'PD' } },
    })
    assert.deepEqual(await source.observe('PT4KHLK', patience()), {
      name: 'incident',
      about: 'PT4KHLK',
      value: { id: 'PT4KHLK', open: true, severity: 'P2', services: ['orders'] },
      observedAt: NOON,
      maxAge: 300_000,
    })
    assert.deepEqual(server.asked, ['/incidents/PT4KHLK'])
    assert.equal(authorization(server), 'Token token=s3cret-token')
    assert.equal(server.headers[0]?.accept, 'application/vnd.pagerduty+json;version=2')
    server.answer = json(pagerdutyIncident('resolved', { priority: null }), { date: NOON })
    assert.deepEqual((await source.observe('PT4KHLK', patience())).value, {
      id: 'PT4KHLK',
      open: false,
      severity: 'high',
      services: ['orders'],
    })
  })

  test('its webhooks say the same, those of notes nothing', () => {
    const source = incidents('https://api.pagerduty.com', 'pagerduty')
    const at = '2026-11-22T11:59:59.123Z'
    const told = source.told(pagerdutyHook('incident.resolved', 'resolved', at))
    assert.deepEqual(told, {
      about: 'PT4KHLK',
      at: NOON - 877,
      value: { id: 'PT4KHLK', open: false, severity: 'P2', services: ['orders'] },
    })
    const note = pagerdutyHook('incident.annotated', 'resolved', at, { type: 'incident_note' })
    assert.equal(source.told(note), undefined)
    assert.equal(source.told({ event: { event_type: 'pagey.ping', data: { type: 'ping' } } }), undefined)
  })
})

describe('Opsgenie', () => {
  test('an incident, and an alert where alerts count', async () => {
    await using server = await jsonServer(json(opsgenieIncident(), { date: NOON }))
    const options = { credential: { header: 'authorization', from: { env: 'OG' } } } as const
    const value = {
      id: OPSGENIE_ID,
      open: true,
      severity: 'P1',
      services: ['b2b09f4a-3a4e-4f77-9ff9-1b4e8a9b1234'],
    }
    const source = incidents(server.url, 'opsgenie', options)
    assert.deepEqual((await source.observe(OPSGENIE_ID, patience())).value, value)
    assert.equal(authorization(server), 'GenieKey s3cret-token')
    server.answer = json(opsgenieIncident('resolved'), { date: NOON })
    assert.equal((await source.observe(OPSGENIE_ID, patience())).value?.['open'], false)
    await incidents(server.url, 'opsgenie', { alerts: true }).observe(OPSGENIE_ID, patience())
    assert.deepEqual(server.asked, [
      `/v1/incidents/${OPSGENIE_ID}?identifierType=id`,
      `/v1/incidents/${OPSGENIE_ID}?identifierType=id`,
      `/v2/alerts/${OPSGENIE_ID}?identifierType=id`,
    ])
  })

  test('its webhooks tell of alerts: opened, closed, gone, and nothing that leaves it as it was', () => {
    const source = incidents('https://api.opsgenie.com', 'opsgenie', { alerts: true })
    const told = source.told(opsgenieHook('Close', NOON))
    assert.deepEqual(told, {
      about: OPSGENIE_ID,
      at: NOON,
      value: { id: OPSGENIE_ID, open: false, severity: 'P2', services: ['orders'] },
    })
    assert.equal(source.told(opsgenieHook('Create', NOON))?.value?.['open'], true)
    assert.equal(source.told(opsgenieHook('Delete', NOON))?.value, null)
    for (const action of ['AddNote', 'constructor', '__proto__'])
      assert.equal(source.told(opsgenieHook(action, NOON)), undefined)
    const asked = incidents('https://api.opsgenie.com', 'opsgenie')
    assert.equal(asked.told(opsgenieHook('Close', NOON)), undefined)
  })
})

describe('B58 a system that does not say', () => {
  const ticket = { id: 'T-1', status: 'active', open: true, approved: true }

  const source = (server: { url: string }, more: Partial<TicketSourceConfig> = {}, asked?: AskedDeps) =>
    tickets(`${server.url}/{key}`, 'http', ['T-'], more, asked)

  test('garbled: none of it is believed', async () => {
    await using server = await jsonServer(json(ticket))
    const it = source(server)
    const bodies: readonly (readonly [string | Buffer, RegExp])[] = [
      ['{"id":"T-1","status":"active","open":true', /not the JSON/u],
      ['<html>Sign in</html>', /not the JSON/u],
      ['', /not the JSON/u],
      ['{"id":"T-1","id":"T-2","status":"x"}', /not the JSON/u],
      ['['.repeat(100_000), /not the JSON/u],
      [Buffer.from([0x22, 0xff, 0x22]), /not UTF-8/u],
      ['{}', /which ticket/u],
      ['null', /which ticket/u],
      ['[]', /which ticket/u],
      [JSON.stringify({ ...ticket, id: 'T-2' }), /something else/u],
      [JSON.stringify({ ...ticket, id: 't-1' }), /something else/u],
      [JSON.stringify({ ...ticket, status: null }), /status/u],
      [JSON.stringify({ ...ticket, status: { name: 'x' } }), /no text/u],
      [JSON.stringify({ ...ticket, open: { yes: true } }), /no text/u],
      [JSON.stringify({ ...ticket, ends_at: 'soon' }), /time at/u],
      [JSON.stringify({ ...ticket, ends_at: '2026-11-22' }), /time at/u],
      [JSON.stringify({ ...ticket, starts_at: NOON + 1, ends_at: NOON }), /ends before it begins/u],
      [JSON.stringify({ ...ticket, resources: [{}] }), /no text/u],
    ]
    for (const [body, reason] of bodies) {
      server.answer = (_request, response) => response.end(body)
      assert.match(await why(it.observe('T-1', patience())), reason, String(body).slice(0, 80))
    }
    server.answer = json(ticket)
    assert.equal((await it.observe('T-1', patience())).value?.['open'], true, 'no breaker opened')
  })

  test('a page that says 404 knows of no ticket, an API that does knows that there is none', async () => {
    await using server = await jsonServer((_request, response) => {
      response.writeHead(404).end('<html>Not found</html>')
    })
    const it = source(server)
    assert.match(await why(it.observe('T-1', patience())), /not the JSON/u)
    server.answer = json({ errorMessages: ['Issue does not exist'] }, { status: 404 })
    assert.equal((await it.observe('T-1', patience())).value, null)
  })

  test('it redirects, refuses, breaks', async () => {
    await using elsewhere = await jsonServer(json(ticket))
    await using server = await jsonServer(
      json({}, { status: 302, headers: { location: `${elsewhere.url}/T-1` } }),
    )
    const it = source(server, { credential: { header: 'authorization', from: { env: 'X' } } })
    for (const status of [301, 302, 307, 308]) {
      server.answer = json({}, { status, headers: { location: `${elsewhere.url}/T-1` } })
      assert.match(await why(it.observe('T-1', patience())), /redirects/u)
    }
    assert.deepEqual(elsewhere.asked, [], 'our credential went nowhere else')
    server.answer = json(ticket, { status: 401 })
    assert.match(await why(it.observe('T-1', patience())), /refuses our credentials/u)
    server.answer = json(ticket, { status: 500 })
    assert.match(await why(it.observe('T-1', patience())), /answered 500/u)
    server.answer = json(ticket, { status: 206 })
    assert.match(await why(it.observe('T-1', patience())), /answered 206/u)
  })

  test('huge, endless, or a drop at a time', async () => {
    await using server = await jsonServer(json({ ...ticket, more: 'x'.repeat(ANSWER_MOST) }))
    const it = source(server)
    assert.match(await why(it.observe('T-1', patience())), /longer than/u)
    server.answer = (_request, response) => {
      const pour = (): void => {
        while (!response.destroyed && response.write(' '.repeat(65_536)));
        response.once('drain', pour)
      }
      pour()
    }
    assert.match(await why(it.observe('T-1', patience())), /longer than/u)
    const stopped = Promise.withResolvers<void>()
    server.answer = (_request, response) => {
      const drip = setInterval(() => response.write(' '), 5)
      response.once('close', () => {
        clearInterval(drip)
        stopped.resolve()
      })
    }
    assert.match(await why(source(server, { timeout: 300 }).observe('T-1', patience())), /in time|cut/u)
    await stopped.promise
  })

  test('slow, silent, or no HTTP at all; whoever asks may give up', async () => {
    const sockets = new Set<Socket>()
    let greeting = ''
    const server = createTcp((socket) => {
      sockets.add(socket)
      socket.on('error', () => undefined)
      if (greeting !== '') socket.end(greeting)
    })
    // nobody else may listen there afterwards
    const { port, release } = await ownPort('127.0.0.1')
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    const it = (timeout = 60_000): TicketSource => source({ url: `http://127.0.0.1:${port}` }, { timeout })
    assert.match(await why(it(100).observe('T-1', patience())), /did not answer in time/u)
    const gaveUp = new AbortController()
    const asking = why(it().observe('T-1', gaveUp.signal))
    gaveUp.abort()
    assert.match(await asking, /did not answer in time/u)
    greeting = 'SSH-2.0-OpenSSH_9.9\r\n'
    assert.match(await why(it().observe('T-1', patience())), /does not speak HTTP|failed/u)
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
    assert.match(await why(it().observe('T-1', patience())), /nothing listens/u)
    release()
  })

  test('B3 in a private network it is not asked unless that is configured', async () => {
    await using server = await jsonServer(json(ticket))
    assert.match(await why(source(server, { allowPrivate: false }).observe('T-1', patience())), /not public/u)
    assert.deepEqual(server.asked, [])
  })

  test('B31 it lies about time', async () => {
    await using server = await jsonServer(json(ticket))
    for (const off of [-86_400_000, -120_000, 120_000, 86_400_000]) {
      server.answer = json(ticket, { date: NOON + off })
      assert.match(await why(source(server).observe('T-1', patience())), /clock differs/u)
    }
    server.answer = json(ticket, { headers: { date: 'the day before tomorrow' } })
    assert.match(await why(source(server).observe('T-1', patience())), /time that it names/u)
    server.answer = json({ ...ticket, changed_at: '2026-11-23T12:00:00Z' }, { date: NOON })
    assert.match(await why(source(server).observe('T-1', patience())), /time that has not come/u)
    server.answer = json(ticket, { date: NOON, headers: { age: '120' } })
    assert.equal((await source(server).observe('T-1', patience())).observedAt, NOON - 120_000, 'from a cache')
  })

  test('when it was so is told by its clock, less what the answer took', async () => {
    const asked = deps()
    await using server = await jsonServer((request, response) => {
      asked.clock.advance(2_500)
      json(ticket, { date: NOON + 2_000 })(request, response)
    })
    const said = await source(server, {}, asked).observe('T-1', patience())
    assert.equal(said.observedAt, NOON - 1_000)
    server.answer = json(ticket)
    const { observedAt } = await source(server).observe('T-1', patience())
    assert.equal(observedAt, NOON, 'without a clock of its own: when it was asked')
  })

  test('B31 what it says of before its last change, as a copy that lags behind would, is not what is so now', async () => {
    const asked = deps()
    const open = { ...ticket, changed_at: '2026-11-22T11:58:00Z' }
    await using server = await jsonServer(json(open))
    const it = source(server, {}, asked)
    const says = async () => (await it.observe('T-1', patience())).value?.['open']
    assert.equal(await says(), true)
    // its webhook says so first
    it.told({ ...open, open: false, changed_at: '2026-11-22T11:59:30Z' })
    assert.match(await why(it.observe('T-1', patience())), /before its last change/u)
    it.told({ ...open, open: false, changed_at: '2026-11-22T11:59:00Z' })
    assert.match(await why(it.observe('T-1', patience())), /before its last change/u, 'in whatever order')
    server.answer = json({ ...open, open: false, changed_at: '2026-11-22T11:59:30Z' })
    assert.equal(await says(), false)
    assert.equal((await why(source(server).observe('T-2', patience()))).includes('last change'), false)
    // what does not exist any more, or says nothing of when, cannot be told apart
    server.answer = json({ ...open, changed_at: undefined, open: false })
    assert.equal(await says(), false)
    server.answer = json({ gone: true }, { status: 404 })
    assert.equal((await it.observe('T-1', patience())).value, null)
    // afterwards nobody believes the later one any more either
    server.answer = json(open)
    assert.match(await why(it.observe('T-1', patience())), /before its last change/u)
    asked.clock.advance(300_000)
    assert.equal(await says(), true)
    // a change of a time to come makes nothing past
    it.told({ ...open, changed_at: '2027-01-01T00:00:00Z' })
    assert.equal(await says(), true)
  })

  test('an incident of which it does not say that it is over is open as far as anybody knows', async () => {
    await using server = await jsonServer(json(pagerdutyIncident('triggered')))
    const says = async (kind: IncidentSourceConfig['kind'], body: object, more = {}) => {
      server.answer = json(body)
      const url = kind === 'http' ? `${server.url}/{key}` : server.url
      return (await incidents(url, kind, more).observe('P1', patience())).value?.['open']
    }
    const of = (status: unknown) => ({ incident: { id: 'P1', status, service: { summary: 'shop' } } })
    assert.equal(await says('pagerduty', of('acknowledged')), true)
    assert.equal(await says('pagerduty', of('resolved')), false)
    for (const status of [null, '', 'Resolved', 'snoozed', 0, false])
      assert.match(await why(says('pagerduty', of(status))), /status/u, String(status))
    const plain = (open: unknown) => ({ id: 'P1', open, services: [] })
    assert.equal(await says('http', plain(false)), false)
    for (const open of [null, '', 'no', 0, 1, 'False', undefined])
      assert.match(await why(says('http', plain(open))), /status/u, String(open))
    // by a mapping of the operator's what it does not name is over
    assert.equal(await says('http', plain('no'), { open: { in: ['yes'] } }), false)
    assert.match(await why(says('http', plain(null), { open: { in: ['yes'] } })), /status/u)
  })

  test('compressed, or by another name: what counts is the JSON in it, as it came', async () => {
    const { gzipSync } = await import('node:zlib')
    await using server = await jsonServer(json(ticket))
    const it = source(server)
    // a few KB that would be 8 MB
    const bomb = gzipSync(Buffer.alloc(8 * 1_048_576, 0x20))
    server.answer = (_request, response) =>
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end(bomb)
    assert.match(await why(it.observe('T-1', patience())), /not UTF-8|not the JSON/u)
    assert.equal(server.headers.at(-1)?.['accept-encoding'], undefined)
    server.answer = (_request, response) =>
      response.writeHead(200, { 'content-type': 'application/json' }).end('<html>{"id":"T-1"}</html>')
    assert.match(await why(it.observe('T-1', patience())), /not the JSON/u)
    server.answer = (_request, response) => response.end('['.repeat(1_000_000))
    assert.match(await why(it.observe('T-1', patience())), /longer than/u)
    server.answer = (_request, response) =>
      response.writeHead(200, { 'content-type': 'text/plain; charset=utf-16' }).end(JSON.stringify(ticket))
    assert.equal((await it.observe('T-1', patience())).value?.['open'], true)
  })

  test('dead: it is left alone, asked again by one, and asked by all when it is back', async () => {
    await using server = await jsonServer(json({}, { status: 503 }))
    const asked = deps()
    const it = source(server, {}, asked)
    for (let i = 0; i < 3; i += 1) assert.match(await why(it.observe('T-1', patience())), /answered 503/u)
    for (let i = 0; i < 5; i += 1)
      assert.match(await why(it.observe('T-1', patience())), /asked again in 5 s/u)
    assert.equal(server.asked.length, 3)
    asked.clock.advance(5_000)
    server.answer = json(ticket)
    const said = await Promise.allSettled([1, 2, 3].map(() => it.observe('T-1', patience())))
    assert.deepEqual(
      said.map(({ status }) => status),
      ['fulfilled', 'rejected', 'rejected'],
    )
    server.answer = json({}, { status: 429, headers: { 'retry-after': '60' } })
    assert.match(await why(it.observe('T-1', patience())), /answered 429/u)
    assert.match(await why(it.observe('T-1', patience())), /asked again in 60 s/u)
  })

  test('one that hangs has so many questions at once and no more', async () => {
    const arrived = Promise.withResolvers<void>()
    await using server = await jsonServer(() => {
      if (server.asked.length === 16) arrived.resolve()
    })
    const it = source(server)
    const gaveUp = new AbortController()
    const asking = Array.from({ length: 16 }, (_, i) => why(it.observe(`T-${i}`, gaveUp.signal)))
    await arrived.promise
    const waited = new AbortController()
    const last = why(it.observe('T-99', waited.signal))
    waited.abort()
    assert.match(await last, /16 questions/u)
    assert.match(await why(it.observe('T-99', AbortSignal.abort())), /16 questions/u)
    const others = Array.from({ length: 64 }, () => why(it.observe('T-98', gaveUp.signal)))
    assert.match(await why(it.observe('T-99', patience())), /64 wait/u)
    gaveUp.abort()
    await Promise.all([...asking, ...others])
    assert.equal(server.asked.length, 16)
  })

  test('B58 many at once are asked one after another, and none is unknown for it', async () => {
    await using server = await jsonServer((request, response) => {
      const id = decodeURIComponent((request.url ?? '').split('/').at(-1) ?? '')
      json({ ...ticket, id })(request, response)
    })
    const it = source(server, { timeout: 10_000 })
    const said = await Promise.all(
      Array.from({ length: 64 }, (_, i) => it.observe(`T-${i}`, AbortSignal.timeout(10_000))),
    )
    assert.deepEqual(new Set(said.map(({ about }) => about)).size, 64)
  })

  test('a credential that is gone, empty or no header is told of without a word of it', async () => {
    await using server = await jsonServer(json(ticket))
    const credential = { header: 'authorization', from: { file: '/x' } } as const
    for (const secret of ['', '  ', 'canary\r\nx-evil: 1', 'canäry'.repeat(2)]) {
      const reason = await why(
        source(server, { credential }, deps({ secret: async () => secret })).observe('T-1', patience()),
      )
      assert.match(reason, /credential for it is empty/u)
      assert.doesNotMatch(reason, /canary/u)
    }
    const gone = deps({ secret: () => Promise.reject(new Error('ENOENT canary')) })
    const reason = await why(source(server, { credential }, gone).observe('T-1', patience()))
    assert.equal(reason, 'the credential for it cannot be read')
    assert.deepEqual(server.asked, [])
  })
})
