import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Json } from '../../model/canonical.ts'
import { canonical } from '../../model/canonical.ts'
import { indexes } from '../../model/records.ts'
import { hex, leafHash } from '../../store/hash.ts'
import { toCloudEvent } from './cloudevents.ts'
import { encodeBatch, encodeLine, formats, syslogSeverity } from './formats.ts'
import type { OcsfEvent } from './ocsf.ts'
import { classes, fallback, ruleOf, rules, toOcsf } from './ocsf.ts'
import type { Recorded } from './record.ts'
import { Origins, recorded } from './record.ts'

const AT = 1_795_366_869_143
const origins = new Origins('inst_a')

function entryOf(body: Record<string, Json>, seq = 7): Recorded {
  const bytes = Buffer.from(canonical({ at: AT, refs: [], seq, v: 1, ...body }))
  return recorded({ seq, at: AT, bytes }, origins)
}

const decision = (outcome: string): Recorded =>
  entryOf({
    kind: 'decision',
    id: 'dec_1',
    refs: ['dec_1', 'Agent/triage', 'Account/7'],
    attempt: {
      subject: { type: 'Agent', id: 'triage' },
      action: { name: 'refund' },
      resource: { type: 'Account', id: '7' },
      task: 'task_1',
    },
    caller: 'key:key_1',
    outcome,
    reason: 'policy_denied',
  })

/** What OCSF 1.6 requires of each class that is used, beside what it requires of all. */
const required: Readonly<Record<number, readonly string[]>> = {
  0: [],
  3001: ['user'],
  3002: ['user', 'service'],
  3003: ['user', 'privileges'],
  3004: ['entity'],
  3005: ['user', 'privileges'],
  6002: ['app'],
  6003: ['actor', 'api', 'src_endpoint'],
}
const always = [
  'activity_id',
  'category_uid',
  'class_uid',
  'metadata',
  'severity_id',
  'time',
  'type_uid',
] as const

function checkOcsf(event: OcsfEvent): void {
  const uid = event['class_uid'] as number
  for (const name of [...always, ...(required[uid] ?? ['no such class'])])
    assert.notEqual(event[name], undefined, `${uid}: ${name}`)
  assert.equal(event['type_uid'], uid * 100 + (event['activity_id'] as number))
  assert.equal(event['category_uid'], Math.floor(uid / 1_000))
  assert.ok(Number.isInteger(event['time']))
  const metadata = event['metadata'] as Record<string, Json>
  assert.equal(metadata['version'], '1.6.0')
  assert.ok((event['severity_id'] as number) >= 1 && (event['severity_id'] as number) <= 6)
}

/** The kinds that the house's sources append. */
function kindsInUse(): string[] {
  const root = resolve(import.meta.dirname, '../..')
  const families = new Set(Object.keys(rules).map((kind) => kind.split('.')[0] as string))
  const found = globSync('{app.ts,flows/**/*.ts,lives/**/*.ts,decision/**/*.ts}', { cwd: root })
    .filter((file) => !file.endsWith('.test.ts'))
    .flatMap((file) => readFileSync(resolve(root, file), 'utf8').match(/'[a-z]+\.[a-z-]+'/g) ?? [])
    .map((quoted) => quoted.slice(1, -1))
    .filter((kind) => !(kind in indexes) && families.has(kind.split('.')[0] as string))
  return [...new Set(['decision', ...found])]
}

describe('OCSF', () => {
  test('every kind of entry that the house writes has a rule, and makes a valid event', () => {
    const kinds = kindsInUse()
    assert.ok(kinds.length > 30, `found only ${kinds.join(' ')}`)
    const appended = globSync('{app.ts,flows/**/*.ts,lives/**/*.ts,decision/**/*.ts}', {
      cwd: resolve(import.meta.dirname, '../..'),
    })
      .filter((file) => !file.endsWith('.test.ts'))
      .flatMap((file) => [
        ...readFileSync(resolve(import.meta.dirname, '../..', file), 'utf8').matchAll(
          /append\(\{\s*kind: '([a-z.-]+)'/g,
        ),
      ])
      .map(([, kind]) => kind as string)
    for (const kind of new Set([...kinds, ...appended])) {
      assert.notEqual(ruleOf(kind), fallback, `\`${kind}\` has no rule in src/audit/export/ocsf.ts`)
      checkOcsf(toOcsf(entryOf({ kind, refs: ['id_1', 'Person/ada'] }), '1.0.0'))
    }
  })

  test('docs/export.md says what becomes of every kind', () => {
    const page = readFileSync(resolve(import.meta.dirname, '../../../docs/export.md'), 'utf8')
    for (const [kind, rule] of Object.entries(rules)) {
      const row = `| \`${kind}${kind.endsWith('.') ? '…' : ''}\` | ${rule.class} ${classes[rule.class]} | ${rule.activity} `
      const line = page.split('\n').find((text) => text.startsWith(row))
      assert.ok(line?.includes(`| ${rule.entity ?? ''} | ${rule.severity ?? 'informational'}`), `${row}…`)
    }
  })

  test('rules name classes that are known', () => {
    for (const rule of Object.values(rules)) assert.ok(classes[rule.class] !== undefined)
  })

  test('a decision is API activity: who, what, where, how it came out', () => {
    const event = toOcsf(decision('deny'), '1.2.3')
    checkOcsf(event)
    const { unmapped, metadata, ...rest } = event
    assert.deepEqual(rest, {
      class_uid: 6003,
      class_name: 'API Activity',
      category_uid: 6,
      category_name: 'Application Activity',
      activity_id: 99,
      activity_name: 'refund',
      type_uid: 600_399,
      type_name: 'API Activity: Other',
      time: AT,
      severity_id: 2,
      severity: 'Low',
      status_id: 2,
      status: 'Failure',
      status_code: 'deny',
      status_detail: 'policy_denied',
      message: 'decision deny: Agent/triage refund Account/7 (policy_denied)',
      actor: {
        user: { uid: 'Agent/triage', name: 'triage', type: 'Agent', type_id: 99, credential_uid: 'key_1' },
      },
      api: {
        operation: 'refund',
        service: { name: 'writ', uid: 'inst_a' },
        request: { uid: 'dec_1' },
        response: { code: 403, message: 'deny' },
      },
      resources: [{ uid: 'Account/7', name: '7', type: 'Account' }],
      src_endpoint: { svc_name: 'key:key_1' },
    })
    assert.deepEqual(metadata, {
      version: '1.6.0',
      product: { name: 'Writ', vendor_name: 'Writ', version: '1.2.3', uid: 'inst_a' },
      uid: 'writ/inst_a#7',
      sequence: 7,
      event_code: 'decision',
      log_name: 'writ/inst_a',
      log_provider: 'writ',
      logged_time: AT,
      tenant_uid: 'inst_a',
      correlation_uid: 'task_1',
    })
    assert.deepEqual((unmapped as Record<string, Json>)['entry'], decision('deny').entry)
  })

  test('a grant assigns and revokes, a person logs on and off', () => {
    const kinds = {
      'grant.activated': 300_501,
      'grant.ended': 300_502,
      'person.enrolled': 300_201,
      'session.ended': 300_202,
      'subject.locked': 300_109,
      'credential.live': 300_301,
      'key.created': 300_401,
      'key.revoked': 300_404,
      'policy.published': 300_401,
      'server.started': 600_203,
    }
    for (const [kind, type] of Object.entries(kinds))
      assert.equal(toOcsf(entryOf({ kind, refs: ['grant_1', 'Agent/triage'] }), '1')['type_uid'], type, kind)
  })

  test('a session says what it is good for: the target, the scope of a token, or who asks', () => {
    const privileges = (kind: string, more: Record<string, Json>): unknown =>
      toOcsf(entryOf({ kind, refs: ['tok_1', 'Agent/triage'], ...more }), '1')['privileges']
    const detail = { type: 'writ', action: 'payment:refund', resource: { type: 'Api', id: 'payments' } }
    assert.deepEqual(privileges('credential.live', { target: 'orders-db' }), ['orders-db'])
    assert.deepEqual(privileges('token.issued', { scope: ['read', 'list'] }), ['read', 'list'])
    assert.deepEqual(privileges('token.issued', { scope: ['read'], details: [detail, detail] }), [
      'read',
      'payment:refund',
    ])
    assert.deepEqual(privileges('token.issued', {}), ['sign-in'])
    assert.deepEqual(privileges('program.admitted', { person: 'Person/grace' }), ['sign-in'])
  })
})

describe('CloudEvents', () => {
  test('an entry is an event with the entry as its data', () => {
    const of = decision('permit')
    assert.deepEqual(toCloudEvent(of), {
      specversion: '1.0',
      id: '7',
      source: 'writ/inst_a',
      type: 'writ.decision.v1',
      time: '2026-11-22T17:01:09.143Z',
      subject: 'dec_1',
      datacontenttype: 'application/json',
      sequence: '0000000000000007',
      writleaf: of.leaf,
      data: of.entry,
    })
  })

  test('B69 attributes hold no control characters, whatever a name holds', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), (name) => {
        const event = toCloudEvent(entryOf({ kind: 'inventory.put', refs: [name.toWellFormed()] }))
        assert.doesNotMatch(event['subject'] as string, /[\p{Cc}\p{Cs}]/u)
      }),
    )
  })
})

describe('every form', () => {
  test('B69 is one line, whatever an entry holds', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const of = entryOf({ kind: 'task.declared', purpose: text.toWellFormed() })
        for (const format of formats) {
          const line = encodeLine(of, format, '1')
          assert.doesNotMatch(line, /[\r\n]/)
          JSON.parse(line)
        }
      }),
    )
  })

  test('C11 ties the entry to the log: whoever hashes what was received has the leaf', () => {
    const of = decision('permit')
    const line = encodeLine(of, 'entries', '1')
    const { leaf, entry } = JSON.parse(line) as { leaf: string; entry: Json }
    assert.equal(hex(leafHash(Buffer.from(canonical(entry)))), leaf)
    const { data, writleaf } = JSON.parse(encodeLine(of, 'cloudevents', '1')) as {
      data: Json
      writleaf: string
    }
    assert.equal(hex(leafHash(Buffer.from(canonical(data)))), writleaf)
    const { unmapped } = JSON.parse(encodeLine(of, 'ocsf', '1')) as {
      unmapped: { entry: Json; leaf: string }
    }
    assert.equal(hex(leafHash(Buffer.from(canonical(unmapped.entry)))), unmapped.leaf)
  })

  test('an entry that was pruned is exported as such, with its hash', () => {
    const leaf = leafHash(Buffer.from('x'))
    const of = recorded({ seq: 3, at: AT, leaf, pruned: true }, origins)
    checkOcsf(toOcsf(of, '1'))
    assert.deepEqual(toOcsf(of, '1')['unmapped'], {
      origin: 'writ/inst_a',
      seq: 3,
      leaf: hex(leaf),
      pruned: true,
    })
    assert.equal(toCloudEvent(of)['type'], 'writ.pruned.v1')
    assert.deepEqual(JSON.parse(encodeLine(of, 'entries', '1')), {
      seq: 3,
      origin: 'writ/inst_a',
      leaf: hex(leaf),
      at: AT,
      pruned: true,
    })
  })

  test('a batch is an array of events, or lines', () => {
    assert.deepEqual(encodeBatch(['{"a":1}', '{"a":2}'], 'cloudevents'), {
      type: 'application/cloudevents-batch+json',
      body: '[{"a":1},{"a":2}]',
    })
    assert.deepEqual(encodeBatch(['{"a":1}', '{"a":2}'], 'ocsf'), {
      type: 'application/x-ndjson',
      body: '{"a":1}\n{"a":2}\n',
    })
  })

  test('what is grave is grave in syslog', () => {
    assert.equal(syslogSeverity(entryOf({ kind: 'signer.compromised' })), 2)
    assert.equal(syslogSeverity(entryOf({ kind: 'credential.unresolved' })), 3)
    assert.equal(syslogSeverity(decision('deny')), 5)
    assert.equal(syslogSeverity(decision('permit')), 6)
  })
})

describe('origins', () => {
  test('an epoch is another log from its beginning on, however often it is seen', () => {
    const some = new Origins('inst_a')
    const began = { seq: 12, kind: 'epoch.began', entry: { epoch: 2, found: { size: 11 } } }
    some.see(began)
    some.see(began)
    some.see({ seq: 20, kind: 'epoch.began', entry: { epoch: 3 } })
    assert.deepEqual(
      [0, 10, 11, 12, 19, 20, 99].map((seq) => some.at(seq)),
      [
        'writ/inst_a',
        'writ/inst_a',
        'writ/inst_a/2',
        'writ/inst_a/2',
        'writ/inst_a/2',
        'writ/inst_a/3',
        'writ/inst_a/3',
      ],
    )
  })
})
