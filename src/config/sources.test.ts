import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { z } from 'zod'
import { isWritError } from '../model/errors.ts'
import {
  incidentSchema,
  missingSecrets,
  secretPlaces,
  secretReader,
  sourcesConfig,
  sourcesSummary,
  ticketSchema,
  webhookSchema,
  webhooksConfig,
} from './sources.ts'

const schema = z.strictObject({
  tickets: z.array(ticketSchema).default([]),
  incidents: z.array(incidentSchema).default([]),
  webhooks: z.array(webhookSchema).default([]),
})

const jira = { name: 'jira', kind: 'jira', url: 'https://acme.atlassian.net', keys: ['OPS-'] }
const pagerduty = { name: 'pagerduty', kind: 'pagerduty', keys: ['P', 'Q'] }

function read(input: unknown) {
  const { webhooks, ...sources } = schema.parse(input)
  const path = (text: string): string => `/etc/writ/${text}`
  const config = sourcesConfig(sources, path, () => '-----BEGIN CERTIFICATE-----')
  return { config, webhooks: webhooksConfig(webhooks, config, path) }
}

const refused = (input: unknown, why: RegExp): void => {
  assert.throws(
    () => read(input),
    (error: unknown) =>
      (isWritError(error, 'ERR_CONFIG_INVALID') || error instanceof z.ZodError) && why.test(error.message),
    why.source,
  )
}

describe('sources and webhooks in the configuration', () => {
  test('what is left out is as the kind has it', () => {
    const { config, webhooks } = read({
      tickets: [
        {
          ...jira,
          credential: { file: 'jira-token' },
          approved: ['Go'],
          resources: '/fields/components/*/name',
          fields: { starts_at: '/fields/customfield_10010' },
          max_age: '10s',
        },
      ],
      incidents: [pagerduty],
      webhooks: [
        { source: 'jira', secrets: [{ env: 'JIRA_SECRET' }] },
        { source: 'pagerduty', secrets: [{ file: 'old' }, { file: 'new' }] },
      ],
    })
    assert.deepEqual(config.tickets[0], {
      name: 'jira',
      kind: 'jira',
      url: 'https://acme.atlassian.net',
      keys: ['OPS-'],
      fresh: 30_000,
      // never believed for less than it is fresh
      maxAge: 30_000,
      timeout: 5_000,
      allowPrivate: false,
      credential: { header: 'authorization', from: { file: '/etc/writ/jira-token' } },
      fields: { startsAt: '/fields/customfield_10010' },
      approved: { in: ['Go'] },
      resources: { at: '/fields/components/*/name' },
    })
    assert.equal(config.incidents[0]?.url, 'https://api.pagerduty.com')
    assert.deepEqual(webhooks, [
      {
        source: 'jira',
        scheme: 'hub',
        header: 'x-hub-signature',
        secrets: [{ env: 'JIRA_SECRET' }],
        window: 3_600_000,
      },
      {
        source: 'pagerduty',
        scheme: 'pagerduty',
        header: 'x-pagerduty-signature',
        secrets: [{ file: '/etc/writ/old' }, { file: '/etc/writ/new' }],
        window: 2 * 86_400_000,
      },
    ])
    assert.doesNotMatch(JSON.stringify(sourcesSummary(config)), /token/u)
  })

  test('no secret stands in the file, and none is sent where it should not be', () => {
    refused({ tickets: [{ ...jira, credential: { token: 'canary' } }] }, /token/u)
    refused({ tickets: [{ ...jira, credential: {} }] }, /stands nowhere, or twice/u)
    refused({ tickets: [{ ...jira, credential: { file: 'a', env: 'B' } }] }, /stands nowhere, or twice/u)
    refused({ tickets: [{ ...jira, url: 'https://me:canary@acme.example' }] }, /user name/u)
    refused({ tickets: [{ ...jira, url: 'http://jira.internal' }] }, /without TLS/u)
    refused({ tickets: [{ ...jira, url: 'https://acme.example?key=1' }] }, /has a query/u)
    const plain = { name: 'plain', kind: 'http', keys: [''] }
    refused({ tickets: [plain] }, /has no `url`/u)
    refused({ tickets: [{ ...plain, url: 'https://t.example/x' }] }, /names no `\{key\}`/u)
    refused({ tickets: [{ ...plain, url: 'https://{key}.example/' }] }, /in its host/u)
    read({ tickets: [{ ...jira, url: 'http://jira.internal', allow_private: true }] })
  })

  test('what is mistaken is told', () => {
    refused({ tickets: [jira, jira] }, /stands there twice/u)
    refused({ tickets: [jira], incidents: [{ ...pagerduty, name: 'jira' }] }, /stands there twice/u)
    refused({ tickets: [{ ...jira, keys: [] }] }, /keys/u)
    refused({ tickets: [{ ...jira, fields: { status: 'fields.status' } }] }, /JSON pointer/u)
    refused({ webhooks: [{ source: 'nobody', secrets: [{ env: 'A' }] }] }, /no source `nobody`/u)
    const hook = { source: 'jira', secrets: [{ env: 'A' }] }
    refused({ tickets: [jira], webhooks: [hook, hook] }, /stands there twice/u)
    refused({ tickets: [jira], webhooks: [{ ...hook, secrets: [] }] }, /secrets/u)
    refused(
      { tickets: [jira], webhooks: [{ ...hook, scheme: 'standard', header: 'x-mine' }] },
      /names another header/u,
    )
    const opsgenie = { name: 'og', kind: 'opsgenie', keys: [''] }
    const told = { source: 'og', secrets: [{ env: 'A' }] }
    refused({ incidents: [opsgenie], webhooks: [told] }, /tells of alerts/u)
    read({ incidents: [{ ...opsgenie, alerts: true }], webhooks: [told] })
  })

  test('the example of the documentation is one', () => {
    const page = readFileSync(join(import.meta.dirname, '../../docs/context.md'), 'utf8')
    const [, yaml = ''] = /```yaml\n([^`]+)```/u.exec(page) ?? []
    const { sources, webhooks } = parse(yaml) as { sources: object; webhooks: object }
    const { config, webhooks: hooks } = read({ ...sources, webhooks })
    assert.deepEqual([config.tickets.length, config.incidents.length, hooks.length], [4, 1, 2])
  })

  test('secrets are read where they are, and an empty variable is none', async () => {
    const secret = secretReader({ A: 'x', B: '' }, async (path) => `in ${path}`)
    assert.equal(await secret({ env: 'A' }), 'x')
    assert.equal(await secret({ file: '/f' }), 'in /f')
    await assert.rejects(secret({ env: 'B' }), /`B` is not set/u)
    await assert.rejects(secret({ env: 'C' }), /`C` is not set/u)
  })

  test('a secret that is missing or empty is named with its place', async () => {
    const { config: facts, webhooks } = read({
      tickets: [{ ...jira, credential: { file: 'gone' } }],
      webhooks: [{ source: 'jira', secrets: [{ env: 'A' }, { env: 'B' }] }],
    })
    const secret = secretReader({ A: 'x'.repeat(16) }, () => Promise.reject(new Error('no such file')))
    assert.deepEqual(await missingSecrets(secretPlaces({ facts, webhooks }), secret), [
      'the credential of `jira` cannot be read: file `/etc/writ/gone`',
      'the webhook secret of `jira` cannot be read: variable `B`',
    ])
  })
})
