/**
 * The desk of a story: a server of its own with the tickets of a Jira and the incidents of a PagerDuty, which is asked over
 * HTTP as the real ones are, tells by webhooks signed as theirs are, and can be slow, talk nonsense, fail, or be gone.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { createHmac, randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jiraHook, jiraIssue, pagerdutyHook, pagerdutyIncident } from '../../test/support/tickets.ts'
import type { Part } from './story.ts'

/** What somebody at the desk wrote into a ticket; times are epoch milliseconds. */
export type Ticket = Readonly<{
  /** `Approved` and `Implementing` are agreed to, `Done` and `Cancelled` are closed, all else is open and no more. */
  status?: 'To Do' | 'Approved' | 'Implementing' | 'Done' | 'Cancelled'
  type?: string
  /** What it is about, as `Type/id`. */
  resources?: readonly string[]
  assignee?: string
  startsAt?: number
  endsAt?: number
}>

export type Incident = Readonly<{
  status?: 'triggered' | 'acknowledged' | 'resolved'
  /** The service it is of, as `Type/id`. */
  service?: string
  priority?: string
}>

/**
 * How it answers: as it should; not until it is told otherwise (`slow`); with errors of its own; with a page that is no
 * JSON; about another ticket; or with a field that is not what it should be.
 */
export type Manner = 'well' | 'slow' | 'failing' | 'garbled' | 'confused' | 'mistaken'

/** What a delivery was answered with, and what was delivered. */
export type Delivered = Readonly<{ status: number; body: string; headers: Readonly<Record<string, string>> }>

export type Desk = Part &
  Readonly<{
    url: string
    /** For the configuration of Writ: what it asks, by which credentials, and whose webhooks it takes. */
    config: Readonly<{ sources: object; webhooks: readonly object[] }>
    /** Where Writ is, once it runs: webhooks go there from now on. */
    subscribe(writ: string): void
    /** Changes a ticket, or makes it; tells by webhook if somebody subscribed. */
    ticket(key: string, change: Ticket): Promise<Delivered | undefined>
    /** Changes it, and the webhook is lost on the way. */
    quietly(key: string, change: Ticket): void
    /** Changes it, and keeps the webhook back: it can be delivered later. */
    held(key: string, change: Ticket): Pick<Delivered, 'body' | 'headers'>
    incident(id: string, change: Incident): Promise<Delivered | undefined>
    incidentQuietly(id: string, change: Incident): void
    /** Sends a delivery again, or one that was tampered with. */
    deliver(source: 'jira' | 'pagerduty', delivery: Pick<Delivered, 'body' | 'headers'>): Promise<number>
    /** What it was asked for so far: keys of tickets and ids of incidents. */
    asked: readonly string[]
    /** Resolves at the next question, whatever becomes of it. */
    nextQuestion(): Promise<void>
    behave(manner: Manner): void
    /** Nobody listens there any more. */
    down(): Promise<void>
    up(): Promise<void>
  }>

export type DeskOptions = Readonly<{
  /** The time there; by default that of this machine. */
  now?: () => number
  /** What the keys of its tickets and incidents begin with. */
  keys?: readonly string[]
  incidents?: readonly string[]
  /** More settings of its entries under `sources`, e.g. `{ fresh: '5s' }`. */
  settings?: Readonly<Record<string, unknown>>
  /** What the keys of tickets begin with that have settings of their own. */
  apart?: Readonly<{ keys: readonly string[]; settings: Readonly<Record<string, unknown>> }>
}>

const CLOSED: ReadonlySet<string> = new Set(['Done', 'Cancelled'])

/** Custom fields in which this Jira keeps when a change begins and ends. */
const STARTS = 'customfield_10010'
const ENDS = 'customfield_10011'

/** As Jira writes times: milliseconds, and a zone without a colon. */
const jiraTime = (at: number): string => new Date(at).toISOString().replace('Z', '+0000')

export async function openDesk({
  now = Date.now,
  keys = ['CHG-', 'OPS-'],
  incidents: ids = ['P'],
  settings = {},
  apart,
}: DeskOptions = {}): Promise<Desk> {
  const folder = mkdtempSync(join(tmpdir(), 'writ-desk-'))
  const secret = (name: string, text: string): string => {
    const file = join(folder, name)
    writeFileSync(file, `${text}\n`, { mode: 0o600 })
    return file
  }
  const random = (): string => randomBytes(24).toString('base64url')
  const [robot, apiKey, jiraKey, pagerdutyKey] = [
    `robot@acme.example:${random()}`,
    random(),
    random(),
    random(),
  ]
  const files = {
    robot: secret('jira', robot),
    api: secret('pagerduty', apiKey),
    jiraHook: secret('jira-webhook', jiraKey),
    pagerdutyHook: secret('pagerduty-webhook', pagerdutyKey),
  }
  const expected = {
    jira: `Basic ${Buffer.from(robot).toString('base64')}`,
    pagerduty: `Token token=${apiKey}`,
  }

  const tickets = new Map<string, Ticket & { changedAt: number }>()
  const incidents = new Map<string, Incident & { changedAt: number }>()
  const asked: string[] = []
  let manner: Manner = 'well'
  const held: (() => void)[] = []
  let heard = Promise.withResolvers<void>()
  let subscriber: string | undefined

  const issue = (key: string): object | undefined => {
    const found = tickets.get(key)
    if (found === undefined) return undefined
    const { status = 'To Do', resources = [], assignee, type = 'Change', startsAt, endsAt, changedAt } = found
    const category = CLOSED.has(status) ? 'done' : status === 'To Do' ? 'new' : 'indeterminate'
    return {
      ...jiraIssue(status, category, {
        issuetype: { id: '10003', name: type },
        assignee: assignee === undefined ? null : { emailAddress: assignee },
        updated: jiraTime(changedAt),
        labels: resources.map((one) => `resource:${one}`),
        [STARTS]: startsAt === undefined ? null : jiraTime(startsAt),
        [ENDS]: endsAt === undefined ? null : jiraTime(endsAt),
      }),
      key,
    }
  }
  const incidentFields = (id: string): object | undefined => {
    const found = incidents.get(id)
    if (found === undefined) return undefined
    const { status = 'triggered', service = 'orders', priority, changedAt } = found
    return {
      id,
      status,
      updated_at: new Date(changedAt).toISOString(),
      service: { id: 'PIJ90N7', type: 'service_reference', summary: service },
      ...(priority === undefined ? {} : { priority: { id: 'P53ZZH5', summary: priority } }),
    }
  }

  /** The answer as it should be: a status and a document. */
  const proper = (request: IncomingMessage, path: string): [number, unknown] => {
    const { authorization } = request.headers
    const jira = /^\/rest\/api\/2\/issue\/([^/]+)$/u.exec(path)?.[1]
    const incident = /^\/incidents\/([^/]+)$/u.exec(path)?.[1]
    if (jira !== undefined) {
      if (authorization !== expected.jira) return [401, { errorMessages: ['You are not authenticated.'] }]
      const found = issue(jira)
      return found === undefined ? [404, { errorMessages: ['Issue does not exist'] }] : [200, found]
    }
    if (incident !== undefined) {
      if (authorization !== expected.pagerduty) return [401, { error: { code: 2006 } }]
      const found = incidentFields(incident)
      const { incident: body } = pagerdutyIncident('triggered', found)
      return found === undefined ? [404, { error: { code: 2100 } }] : [200, { incident: body }]
    }
    return [404, {}]
  }
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const { pathname } = new URL(request.url ?? '/', url)
    const say = (status: number, body: string, type = 'application/json'): void => {
      response.writeHead(status, { 'content-type': type, date: new Date(now()).toUTCString() }).end(body)
    }
    response.sendDate = false
    asked.push(pathname.split('/').at(-1) ?? '')
    heard.resolve()
    heard = Promise.withResolvers()
    const well = (): void => {
      const [status, body] = proper(request, pathname)
      say(status, JSON.stringify(body))
    }
    switch (manner) {
      case 'well':
        return well()
      case 'slow':
        return void held.push(well)
      case 'failing':
        return say(503, '{"message":"maintenance"}')
      case 'garbled':
        return say(200, '<!doctype html><title>Sign in</title>', 'text/html')
      case 'confused':
        return say(
          200,
          JSON.stringify(proper(request, pathname)[1]).replaceAll(/(?<="(?:key|id)":")(?:CHG|OPS|P)/gu, 'X'),
        )
      case 'mistaken':
        return say(
          200,
          JSON.stringify(proper(request, pathname)[1]).replaceAll(
            /"(?:name|status)":"[^"]*"/gu,
            '"name":{},"status":{}',
          ),
        )
    }
  }
  const server = createServer(answer)
  const listen = async (port: number): Promise<void> => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  }
  await listen(0)
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  const isDown = (): boolean => !server.listening
  const down = async (): Promise<void> => {
    if (isDown()) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }

  const deliver: Desk['deliver'] = async (source, { body, headers }) => {
    assert.ok(subscriber !== undefined, 'nobody subscribed to this desk')
    const { status } = await fetch(`${subscriber}/webhooks/${source}`, { method: 'POST', headers, body })
    return status
  }
  const signed = (source: 'jira' | 'pagerduty', event: object): Pick<Delivered, 'body' | 'headers'> => {
    const body = JSON.stringify(event)
    const key = source === 'jira' ? jiraKey : pagerdutyKey
    const mac = createHmac('sha256', key).update(body).digest('hex')
    const signature =
      source === 'jira' ? { 'x-hub-signature': `sha256=${mac}` } : { 'x-pagerduty-signature': `v1=${mac}` }
    return { body, headers: { 'content-type': 'application/json', ...signature } }
  }
  const tell = async (source: 'jira' | 'pagerduty', event: object): Promise<Delivered | undefined> => {
    if (subscriber === undefined) return undefined
    const delivery = signed(source, event)
    return { ...delivery, status: await deliver(source, delivery) }
  }
  const quietly: Desk['quietly'] = (key, change) => {
    tickets.set(key, { ...tickets.get(key), ...change, changedAt: now() })
  }
  const incidentQuietly: Desk['incidentQuietly'] = (id, change) => {
    incidents.set(id, { ...incidents.get(id), ...change, changedAt: now() })
  }
  const common = { url, allow_private: true, ...settings }
  const jira = {
    ...common,
    name: 'jira',
    kind: 'jira',
    keys,
    credential: { file: files.robot },
    fields: { starts_at: `/fields/${STARTS}`, ends_at: `/fields/${ENDS}` },
  }

  return {
    url,
    config: {
      sources: {
        tickets: [
          jira,
          ...(apart === undefined
            ? []
            : [{ ...jira, name: 'jira-apart', keys: apart.keys, ...apart.settings }]),
        ],
        incidents: [
          { ...common, name: 'pagerduty', kind: 'pagerduty', keys: ids, credential: { file: files.api } },
        ],
      },
      webhooks: [
        { source: 'jira', secrets: [{ file: files.jiraHook }] },
        { source: 'pagerduty', secrets: [{ file: files.pagerdutyHook }] },
      ],
    },
    subscribe: (writ) => void (subscriber = writ),
    async ticket(key, change) {
      const event = tickets.has(key) ? 'jira:issue_updated' : 'jira:issue_created'
      quietly(key, change)
      return tell('jira', jiraHook(event, issue(key) ?? {}, now()))
    },
    quietly,
    held(key, change) {
      quietly(key, change)
      return signed('jira', jiraHook('jira:issue_updated', issue(key) ?? {}, now()))
    },
    async incident(id, change) {
      const event = incidents.has(id) ? 'incident.priority_updated' : 'incident.triggered'
      incidentQuietly(id, change)
      const { status = 'triggered' } = incidents.get(id) ?? {}
      const fields = { ...incidentFields(id), number: 1234 }
      const hook = pagerdutyHook(
        status === 'resolved' ? 'incident.resolved' : event,
        status,
        new Date(now()).toISOString(),
        fields,
      )
      // as PagerDuty does, each event has an id of its own
      return tell('pagerduty', { event: { ...hook.event, id: randomUUID() } })
    },
    incidentQuietly,
    deliver,
    asked,
    nextQuestion: () => heard.promise,
    behave(next) {
      manner = next
      if (next !== 'slow') for (const release of held.splice(0)) release()
    },
    down,
    async up() {
      if (isDown()) await listen(port)
    },
    async [Symbol.asyncDispose]() {
      await down()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
