import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { describe, test } from 'node:test'
import type { TestStore } from '../../test/support/store.ts'
import { openTestStore, unpruned } from '../../test/support/store.ts'
import { githubHook, githubIssue, jiraHook, jiraIssue, opsgenieHook } from '../../test/support/tickets.ts'
import { IncidentSource } from '../context/incidents.ts'
import { TicketSource } from '../context/tickets.ts'
import { WritError, isWritError } from '../model/errors.ts'
import type { Observation } from '../model/fact.ts'
import type { WebhookConfig } from '../model/source.ts'
import { HOUR, MINUTE } from '../model/time.ts'
import type { Delivery } from '../signals/incoming.ts'
import { webhookHeaders, webhookKey } from '../signals/webhook.ts'
import { Webhooks } from './webhooks.ts'

/** 2026-11-22T12:00:00Z. */
const NOON = 1_795_348_800_000
const SECRET = 'canary-secret-of-the-webhooks'
const WHSEC = `whsec_${Buffer.alloc(32, 9).toString('base64')}`

const common = { fresh: 30_000, maxAge: 300_000, timeout: 1_000, allowPrivate: false, fields: {} } as const
const hooks: readonly WebhookConfig[] = [
  { source: 'jira', scheme: 'hub', header: 'x-hub-signature', secrets: [{ env: 'A' }], window: HOUR },
  { source: 'github', scheme: 'hub', header: 'x-hub-signature-256', secrets: [{ env: 'A' }], window: HOUR },
  { source: 'plain', scheme: 'standard', header: 'webhook-signature', secrets: [{ env: 'W' }], window: HOUR },
  { source: 'opsgenie', scheme: 'header', header: 'x-webhook-secret', secrets: [{ env: 'A' }], window: HOUR },
  { source: 'now', scheme: 'header', header: 'x-webhook-secret', secrets: [{ env: 'A' }], window: HOUR },
]

type Said = Readonly<{ source: string; by: string; observation: Observation }>

async function receiving(): Promise<
  {
    webhooks: Webhooks
    said: Said[]
    store: TestStore
    fail: boolean
    full: boolean
    logged: string[]
  } & AsyncDisposable
> {
  const store = await openTestStore()
  store.clock.set(NOON)
  const asked = {
    fetch: () => assert.fail('a webhook asks nobody'),
    secret: () => assert.fail('nobody is asked'),
    clock: store.clock,
  }
  const said: Said[] = []
  const logged: string[] = []
  const it = {
    said,
    store,
    fail: false,
    full: false,
    logged,
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
  const url = 'https://it.example'
  const webhooks = new Webhooks({
    store,
    hooks,
    sources: [
      new TicketSource({ ...common, name: 'jira', kind: 'jira', url, keys: ['OPS-'] }, asked),
      new TicketSource({ ...common, name: 'github', kind: 'github', url, keys: ['acme/shop#'] }, asked),
      new TicketSource({ ...common, name: 'plain', kind: 'http', url: `${url}/{key}`, keys: ['T-'] }, asked),
      new TicketSource({ ...common, name: 'now', kind: 'servicenow', url, keys: ['CHG'] }, asked),
      new IncidentSource(
        { ...common, name: 'opsgenie', kind: 'opsgenie', url, keys: [''], alerts: true },
        asked,
      ),
    ],
    secret: async (place) => ('env' in place && place.env === 'W' ? WHSEC : SECRET),
    observe: async (source, by, observations) => {
      if (it.fail) throw new Error('the store is busy')
      if (it.full) throw new WritError('ERR_TOO_LARGE', `\`${source}\` has told of 3 things already`)
      said.push(...observations.map((observation) => ({ source, by, observation })))
    },
    log: (_level, message, fields) => logged.push(JSON.stringify({ message, ...fields })),
  })
  return Object.assign(it, { webhooks })
}

const bytes = (body: unknown): Buffer => Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))

const hub = (body: unknown, header = 'x-hub-signature', secret = SECRET): Delivery => ({
  headers: { [header]: `sha256=${createHmac('sha256', secret).update(bytes(body)).digest('hex')}` },
  body: bytes(body),
})

const standard = (id: string, body: unknown, at = NOON): Delivery => ({
  headers: webhookHeaders(id, at / 1_000, bytes(body).toString(), webhookKey(WHSEC) ?? assert.fail('no key')),
  body: bytes(body),
})

const shown = (body: unknown): Delivery => ({ headers: { 'x-webhook-secret': SECRET }, body: bytes(body) })

async function code(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => assert.fail('it was taken'),
    (reason: unknown) => reason,
  )
  assert.ok(isWritError(error), String(error))
  assert.doesNotMatch(`${error.message} ${error.detail ?? ''} ${error.hint ?? ''}`, /canary/u)
  return error.code
}

async function refusals(store: TestStore): Promise<Record<string, unknown>[]> {
  const { size } = await store.log.head()
  return unpruned(await store.log.entries(0, Math.min(size, 1_000)))
    .map((entry) => JSON.parse(Buffer.from(entry.bytes).toString()) as Record<string, unknown>)
    .filter(({ kind }) => kind === 'webhook.refused')
}

const closed = jiraHook('jira:issue_updated', jiraIssue('Done', 'done'), NOON - 2_000)

describe('webhooks of ticket and incident systems', () => {
  test('what they tell is observed by the mapping of their source, when it happened', async () => {
    await using it = await receiving()
    assert.equal(await it.webhooks.receive('jira', hub(closed)), 'taken')
    const [{ source, by, observation } = assert.fail('nothing was said')] = it.said
    assert.equal(source, 'jira')
    assert.match(by, /^sha256:/u)
    const { value, ...rest } = observation
    assert.deepEqual(rest, { name: 'ticket', about: 'OPS-7', observedAt: NOON - 2_000, maxAge: 300_000 })
    assert.equal(value?.['open'], false)
    const gone = githubHook('deleted', githubIssue())
    assert.equal(await it.webhooks.receive('github', hub(gone, 'x-hub-signature-256')), 'taken')
    assert.deepEqual(it.said.at(-1)?.observation.value, null)
    assert.equal(await it.webhooks.receive('opsgenie', shown(opsgenieHook('Close', NOON - 1_000))), 'taken')
    assert.equal(it.said.at(-1)?.observation.name, 'incident')
    assert.equal((await refusals(it.store)).length, 0)
  })

  test('B22 a delivery comes once, after a restart too; another id on the outside makes no other of it', async () => {
    await using it = await receiving()
    await it.webhooks.receive('jira', hub(closed))
    const again = hub(closed)
    const other = { ...again, headers: { ...again.headers, 'x-atlassian-webhook-identifier': 'another' } }
    assert.equal(await it.webhooks.receive('jira', other), 'again')
    const ticket = { id: 'T-1', status: 'x', open: true, approved: true }
    assert.equal(await it.webhooks.receive('plain', standard('msg_1', ticket)), 'taken')
    assert.equal(await it.webhooks.receive('plain', standard('msg_1', ticket, NOON + 1_000)), 'again')
    assert.equal(await it.webhooks.receive('plain', standard('msg_2', ticket)), 'taken')
    assert.equal(it.said.length, 3)
    assert.deepEqual(
      (await refusals(it.store)).map(({ source, why }) => `${String(source)}: ${String(why)}`),
      ['jira: it came before', 'plain: it came before'],
    )
  })

  test('C12 what could not be recorded is taken when it comes again', async () => {
    await using it = await receiving()
    it.fail = true
    await assert.rejects(it.webhooks.receive('jira', hub(closed)), /store is busy/u)
    it.fail = false
    assert.equal(await it.webhooks.receive('jira', hub(closed)), 'taken')
    assert.equal(it.said.length, 1)
  })

  test('law 12 a source that told of too many things is not told to send it again, and is asked instead', async () => {
    await using it = await receiving()
    it.full = true
    assert.equal(await it.webhooks.receive('jira', hub(closed)), 'nothing')
    assert.match(String((await refusals(it.store))[0]?.['why']), /`jira` has told of 3 things already/u)
    it.full = false
    assert.equal(await it.webhooks.receive('jira', hub(closed)), 'taken')
  })

  test('B22 what is late, of a time to come, or of no time is refused', async () => {
    await using it = await receiving()
    const told = (at: unknown) =>
      it.webhooks.receive('jira', hub({ ...jiraHook('jira:issue_updated', jiraIssue(), 0), timestamp: at }))
    for (const at of [NOON - HOUR - 1, NOON + 2 * MINUTE, null, 'now', undefined])
      assert.equal(await code(told(at)), 'ERR_INPUT_INVALID')
    assert.equal(await told(NOON - HOUR), 'taken')
    assert.equal(await told(NOON + MINUTE), 'taken')
    assert.equal((await refusals(it.store)).length, 5)
  })

  test('without a time of its own what a shared secret vouches for is so now, and may be the same again', async () => {
    await using it = await receiving()
    const { sys_updated_on: _at, ...change } = {
      number: 'CHG1',
      state: '-1',
      approval: 'approved',
      sys_updated_on: '',
    }
    assert.equal(await it.webhooks.receive('now', shown(change)), 'taken')
    it.store.clock.advance(1_000)
    assert.equal(await it.webhooks.receive('now', shown(change)), 'taken')
    assert.deepEqual(
      it.said.map(({ observation }) => observation.observedAt),
      [NOON, NOON + 1_000],
    )
  })

  test('B53 a source speaks for what is its own alone', async () => {
    await using it = await receiving()
    const foreign = jiraHook('jira:issue_updated', { ...jiraIssue(), key: 'SEC-1' }, NOON)
    assert.equal(await it.webhooks.receive('jira', hub(foreign)), 'nothing')
    const issue = { ...githubIssue(), repository_url: 'https://api.github.com/repos/evil/shop' }
    const evil = githubHook('closed', issue)
    assert.equal(await it.webhooks.receive('github', hub(evil, 'x-hub-signature-256')), 'nothing')
    assert.equal(await it.webhooks.receive('github', hub({ zen: 'x' }, 'x-hub-signature-256')), 'nothing')
    assert.deepEqual(it.said, [])
    assert.equal(await code(it.webhooks.receive('nobody', hub(closed))), 'ERR_NOT_FOUND')
    assert.equal(await code(it.webhooks.receive('__proto__', hub(closed))), 'ERR_NOT_FOUND')
  })

  test('B58 what is theirs and cannot be read is refused, told to the operator, and changes nothing', async () => {
    await using it = await receiving()
    const { issue, ...half } = closed
    for (const body of [
      '',
      'null and more',
      '{"timestamp":1,"timestamp":2}',
      '['.repeat(10_000),
      half,
      { ...closed, issue: { ...issue, fields: { status: 7 } } },
    ])
      assert.match(
        await code(it.webhooks.receive('jira', hub(body))),
        /INPUT/u,
        JSON.stringify(body).slice(0, 80),
      )
    assert.deepEqual(it.said, [])
    assert.equal(it.logged.length, 6)
    assert.doesNotMatch(it.logged.join(), /canary/u)
  })

  test('B53 a flood of forged ones costs little, says so in the record, and keeps no genuine one out', async () => {
    await using it = await receiving()
    for (let i = 0; i < 2_000; i += 1)
      assert.equal(
        await code(it.webhooks.receive('jira', hub({ n: i }, 'x-hub-signature', 'x'.repeat(20)))),
        'ERR_UNAUTHENTICATED',
      )
    const first = await refusals(it.store)
    assert.ok(first.length <= 201, `${first.length} entries`)
    assert.equal(await it.webhooks.receive('jira', hub(closed)), 'taken')
    it.store.clock.advance(1_000)
    await code(it.webhooks.receive('jira', hub({}, 'x-hub-signature', 'x'.repeat(20))))
    const last = (await refusals(it.store)).at(-1)
    assert.equal(first.length + Number(last?.['uncounted']) + 1, 2_001, 'every one is counted')
    // those of another source are told one by one
    await code(it.webhooks.receive('plain', hub({})))
    assert.equal((await refusals(it.store)).at(-1)?.['source'], 'plain')
  })

  test('B53 a flood of genuine ones is slowed down, for that source alone', async () => {
    await using it = await receiving()
    const comment = hub({ zen: 'x' }, 'x-hub-signature-256')
    for (let i = 0; i < 1_000; i += 1) assert.equal(await it.webhooks.receive('github', comment), 'nothing')
    assert.equal(await code(it.webhooks.receive('github', comment)), 'ERR_RATE_LIMITED')
    assert.equal(await it.webhooks.receive('jira', hub(closed)), 'taken')
    it.store.clock.advance(1_000)
    assert.equal(await it.webhooks.receive('github', comment), 'nothing')
  })

  test('B53 what is sent again, by whoever saw it go by, keeps nothing new out; what is too much is on the record', async () => {
    await using it = await receiving()
    await it.webhooks.receive('jira', hub(jiraHook('jira:issue_updated', jiraIssue(), NOON - 3_000)))
    const seen = hub(jiraHook('jira:issue_updated', jiraIssue(), NOON - 3_000))
    const about = hub(jiraHook('comment_created', jiraIssue(), NOON))
    for (let i = 0; i < 1_000; i += 1) {
      assert.equal(await it.webhooks.receive('jira', seen), 'again')
      assert.equal(await it.webhooks.receive('jira', about), 'nothing')
    }
    assert.equal(await code(it.webhooks.receive('jira', about)), 'ERR_RATE_LIMITED')
    assert.equal(await it.webhooks.receive('jira', hub(closed)), 'taken')
    // whoever shows a shared secret may say as much as that and no more, and it is put off, not lost
    const said = shown({ number: 'CHG1', state: '3', approval: 'approved' })
    for (let i = 0; i < 1_000; i += 1) await it.webhooks.receive('now', said)
    assert.equal(await code(it.webhooks.receive('now', said)), 'ERR_RATE_LIMITED')
    it.store.clock.advance(1_000)
    assert.equal(await it.webhooks.receive('now', said), 'taken')
    it.store.clock.advance(60_000)
    for (const source of ['jira', 'now']) await code(it.webhooks.receive(source, { ...hub({}), headers: {} }))
    const told = await refusals(it.store)
    const counted = told.reduce((sum, { uncounted = 0 }) => sum + 1 + Number(uncounted), 0)
    assert.equal(counted, 1_004, 'each is counted, few are written')
    assert.ok(told.length <= 204)
  })
})
