import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Attempt } from './attempt.ts'
import { attemptStatement, bindingContext } from './attempt.ts'
import { sameAuthority } from './authority.ts'
import { canonical } from './canonical.ts'
import { defaultKind, parseRef, refKey } from './entity.ts'
import { isIdentity, isText, isTypeName } from './name.ts'
import { formatDuration, parseDuration } from './time.ts'

const base: Attempt = {
  subject: { type: 'Agent', id: 'a' },
  action: { name: 'x' },
  resource: { type: 'Database', id: 'd' },
  context: { rows: 5 },
  chain: [{ type: 'Agent', id: 'a' }],
}
const digest = (attempt: Attempt, installation = 'inst'): string =>
  canonical(attemptStatement(installation, attempt))

describe('C10 the statement of an attempt', () => {
  test('changes with everything that is authority', () => {
    const others: readonly Attempt[] = [
      { ...base, subject: { type: 'Agent', id: 'b' } },
      { ...base, subject: { ...base.subject, properties: {} } },
      { ...base, subject: { ...base.subject, properties: { level: 1 } } },
      { ...base, action: { name: 'y' } },
      { ...base, action: { name: 'x', properties: { drop: true } } },
      { ...base, resource: { type: 'Database', id: 'e' } },
      { ...base, resource: { ...base.resource, properties: { stage: 'prod' } } },
      { ...base, context: { rows: 6 } },
      { ...base, context: { rows: '5' } },
      { ...base, context: { rows: null } },
      { ...base, context: {} },
      { ...base, chain: [{ type: 'Agent', id: 'b' }] },
      { ...base, task: 'task_1' },
    ]
    const digests = [base, ...others].map((attempt) => digest(attempt))
    assert.equal(new Set(digests).size, digests.length)
    assert.notEqual(digest(base, 'inst'), digest(base, 'other'))
  })

  test('keeps out what is volatile or Writ’s own, and the claimed chain', () => {
    const volatile = { reason: 'r', time: 1, evaluation_id: 'e', access_request: {}, justification: 'j' }
    assert.equal(digest({ ...base, context: { ...base.context, ...volatile } }), digest(base))
    assert.equal(digest({ ...base, grant: 'g', approval: 'p' }), digest(base))
    const acting = { ...base.subject, properties: { act: { sub: 'x' } } }
    assert.equal(
      digest({ ...base, subject: acting }),
      digest({ ...base, subject: { ...base.subject, properties: {} } }),
    )
  })

  test('whatever order members come in', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.integer()), (context) => {
        const turned = Object.fromEntries(Object.entries(context).toReversed())
        assert.equal(digest({ ...base, context }), digest({ ...base, context: turned }))
        assert.deepEqual(Object.keys(bindingContext(context)).includes('reason'), false)
      }),
    )
  })
})

describe('the part of a record that bears authority', () => {
  test('counters and heartbeats do not, everything else does', () => {
    const entity = {
      type: 'A',
      id: 'a',
      kind: 'agent',
      sensitivity: 4,
      parents: [],
      attrs: {},
      generation: 0,
    } as const
    assert.equal(sameAuthority('entity', entity, { ...entity }), true)
    assert.equal(sameAuthority('entity', entity, { ...entity, generation: 1 }), false)
    assert.equal(sameAuthority('entity', entity, undefined), false)
    assert.equal(sameAuthority('entity', undefined, undefined), true)
    assert.equal(sameAuthority('entity', entity, { ...entity, locked: { reason: 'r', at: 1 } }), false)
    const task = { id: 't', calls: 1, denials: 2, heartbeatAt: 3, waitUntil: 4, resources: [], state: 'open' }
    const as = (more: object): never => ({ ...task, ...more }) as never
    assert.equal(
      sameAuthority('task', as({}), as({ calls: 9, denials: 9, heartbeatAt: 9, waitUntil: 9 })),
      true,
    )
    assert.equal(sameAuthority('task', as({}), as({ state: 'cancelled' })), false)
    assert.equal(sameAuthority('task', as({}), as({ endsAt: 5 })), false)
    assert.equal(sameAuthority('grant', as({ used: 1 }), as({ used: 2, counted: 3 })), true)
    assert.equal(sameAuthority('grant', as({ endsAt: 1 }), as({ endsAt: 2 })), false)
  })
})

describe('names', () => {
  test('B7 one name has one spelling', () => {
    for (const good of ['ada', 'Ada', 'a b', 'a/b', 'é', '日本']) assert.equal(isIdentity(good), true, good)
    for (const bad of [' ada', 'ada ', 'a\u0000b', 'a\u200bb', 'e\u0301', 'a\nb', '\ud800', 'a\u202eb'])
      assert.equal(isIdentity(bad), false, JSON.stringify(bad))
    assert.equal(isText('two\nlines'), true)
    for (const bad of ['\ud800', '\u202e', '\u0007']) assert.equal(isText(bad), false)
  })

  test('types are what Cedar can name', () => {
    for (const good of ['A', 'Shop::Order', '_x']) assert.equal(isTypeName(good), true)
    for (const bad of ['', 'a b', 'A::', '::A', '1a', 'A/b', 'A"']) assert.equal(isTypeName(bad), false, bad)
    assert.deepEqual(['Person', 'Group', 'CodingAgent', 'Pipeline', 'Thing'].map(defaultKind), [
      'human',
      'group',
      'agent',
      'workload',
      'resource',
    ])
  })

  test('a reference as a key is injective, because types hold no slash', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z]+$/), fc.string({ minLength: 1 }), (type, id) => {
        assert.deepEqual(parseRef(refKey({ type, id })), { type, id })
      }),
    )
    for (const bad of ['', 'a', '/a', 'a/']) assert.equal(parseRef(bad), undefined)
  })
})

describe('durations', () => {
  test('print as they are read', () => {
    for (const text of ['250ms', '90s', '15m', '1h', '2d'])
      assert.equal(formatDuration(parseDuration(text) ?? 0), text)
    for (const bad of ['', '0s', '-1m', '1.5h', '1w', '366d', '99999999999s', ' 1s']) {
      assert.equal(parseDuration(bad), undefined, bad)
    }
  })
})
