import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Attempt } from '../model/attempt.ts'
import type { Json } from '../model/canonical.ts'
import { MINUTE } from '../model/time.ts'
import { declaredTask, migrator } from '../../test/support/task.ts'
import { digestOf, statementFor } from './statement.ts'

const NOW = Date.UTC(2026, 10, 22, 14, 0, 0)
const INSTALLATION = 'inst_1'
const attempt: Attempt = {
  subject: migrator,
  action: { name: 'db:migrate' },
  resource: { type: 'Database', id: 'orders' },
  context: { version: '7' },
  chain: [migrator],
  task: 'task_1',
}
const task = declaredTask(NOW, {
  reason: 'INC-42',
  ticket: 'OPS-7',
  scope: { actions: ['db:migrate'], resources: [{ type: 'Database', id: 'orders' }, { type: 'Document' }] },
  limits: { calls: 5 },
  window: { startsAt: NOW, endsAt: NOW + 60 * MINUTE },
})
const bounds = { ttl: 5 * MINUTE, uses: 3, justification: 'the release waits' }

const shown = (binding: 'attempt' | 'task'): Readonly<Record<string, Json>> =>
  statementFor(INSTALLATION, binding, attempt, task, bounds) as Readonly<Record<string, Json>>

test('C10 the digest is that of the canonical form, whatever the order of members', () => {
  // pinned: evidence that was given before an update must still bind after it
  const pinned = 'sha256:c22cb7b0353770e2b38094af641143ebf008ddf2d1f2dedb9d875996fcf245fa'
  assert.equal(digestOf({ b: [1, 'x'], a: null }), pinned)
  assert.equal(digestOf({ a: null, b: [1, 'x'] }), pinned)
  for (const binding of ['attempt', 'task'] as const) {
    const statement = shown(binding)
    const turned = Object.fromEntries(Object.entries(statement).toReversed())
    assert.equal(digestOf(turned), digestOf(statement))
    assert.equal(digestOf(shown(binding)), digestOf(statement))
  }
})

test('a task is shown with its reason, ticket, window and every bound', () => {
  assert.deepEqual(shown('task'), {
    kind: 'task',
    installation: INSTALLATION,
    task: 'task_1',
    purpose: 'add a column',
    reason: 'INC-42',
    subject: 'Agent/migrator',
    chain: ['Agent/migrator'],
    actions: ['db:migrate'],
    resources: ['Database/orders', 'Document (any)'],
    life_ms: 30 * MINUTE,
    calls: 5,
    ticket: 'OPS-7',
    window: { starts_at: '2026-11-22T14:00:00.000Z', ends_at: '2026-11-22T15:00:00.000Z' },
    ttl_ms: 5 * MINUTE,
    uses: 3,
    justification: 'the release waits',
  })
})

test('an attempt is shown with what its task says of itself, for one use whatever was asked', () => {
  const exact = {
    kind: 'attempt',
    installation: INSTALLATION,
    subject: migrator,
    action: { name: 'db:migrate' },
    resource: { type: 'Database', id: 'orders' },
    context: { version: '7' },
    chain: ['Agent/migrator'],
    task: 'task_1',
    ttl_ms: 5 * MINUTE,
    uses: 1,
    justification: 'the release waits',
  }
  assert.deepEqual(shown('attempt'), {
    ...exact,
    purpose: 'add a column',
    reason: 'INC-42',
    ticket: 'OPS-7',
  })
  assert.deepEqual(statementFor(INSTALLATION, 'attempt', attempt, undefined, bounds), exact)
})

test('a task binding without a task is a mistake of the caller', () => {
  assert.throws(() => statementFor(INSTALLATION, 'task', attempt, undefined, bounds), TypeError)
})

test('B19 whatever bound of a task changes, the digest does', () => {
  const text = fc.string({ minLength: 1, maxLength: 8 })
  const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
    fc.option(arbitrary, { nil: undefined })
  /** Everything an approver of a task relies on. */
  const relied = fc.record({
    installation: text,
    id: text,
    purpose: text,
    reason: maybe(text),
    ticket: maybe(text),
    subject: text,
    chain: fc.array(text, { maxLength: 2 }),
    actions: fc.array(text, { minLength: 1, maxLength: 2 }),
    resources: fc.array(maybe(text), { minLength: 1, maxLength: 2 }),
    life: fc.nat(),
    calls: maybe(fc.nat()),
    startsAt: maybe(fc.nat()),
    endsAt: fc.nat(),
    ttl: fc.nat(),
    uses: maybe(fc.nat()),
    justification: maybe(text),
  })
  type Relied = typeof relied extends fc.Arbitrary<infer T> ? T : never
  const digest = (of: Relied): string => {
    const stated = declaredTask(NOW, {
      id: of.id,
      purpose: of.purpose,
      ...(of.reason === undefined ? {} : { reason: of.reason }),
      ...(of.ticket === undefined ? {} : { ticket: of.ticket }),
      subject: { type: 'Agent', id: of.subject },
      scope: {
        actions: of.actions,
        resources: of.resources.map((id) => ({ type: 'Database', ...(id === undefined ? {} : { id }) })),
      },
      life: of.life,
      limits: of.calls === undefined ? {} : { calls: of.calls },
      ...(of.startsAt === undefined ? {} : { window: { startsAt: of.startsAt, endsAt: of.endsAt } }),
    })
    const chain = of.chain.map((id) => ({ type: 'Agent', id }))
    return digestOf(
      statementFor(of.installation, 'task', { ...attempt, chain }, stated, {
        ttl: of.ttl,
        ...(of.uses === undefined ? {} : { uses: of.uses }),
        ...(of.justification === undefined ? {} : { justification: of.justification }),
      }),
    )
  }
  const members = Object.keys(fc.sample(relied, 1)[0] ?? {}) as (keyof Relied)[]
  assert.equal(members.length, 16)
  fc.assert(
    fc.property(relied, relied, (one, other) => {
      for (const member of members) {
        if (member === 'endsAt' && one.startsAt === undefined) continue // no window to end
        const changed: Relied = { ...one, [member]: other[member] }
        const isSame = JSON.stringify(one[member]) === JSON.stringify(other[member])
        assert.equal(digest(changed) === digest(one), isSame, member)
      }
    }),
  )
})

test('C10 whatever an attempt or its bounds say, the digest changes with it', () => {
  const digest = (of: Attempt, ttl = bounds.ttl, justification?: string): string =>
    digestOf(
      statementFor(INSTALLATION, 'attempt', of, task, {
        ttl,
        ...(justification === undefined ? {} : { justification }),
      }),
    )
  const value = fc.oneof(fc.string(), fc.boolean(), fc.integer())
  fc.assert(
    fc.property(value, value, fc.nat(), fc.nat(), fc.string(), fc.string(), (a, b, t, u, j, k) => {
      const places: readonly ((v: typeof a) => Attempt)[] = [
        (v) => ({ ...attempt, context: { version: v } }),
        (v) => ({ ...attempt, action: { name: 'db:migrate', properties: { v } } }),
        (v) => ({ ...attempt, resource: { ...attempt.resource, properties: { v } } }),
        (v) => ({ ...attempt, subject: { ...migrator, properties: { v } } }),
      ]
      for (const place of places) assert.equal(digest(place(a)) === digest(place(b)), a === b)
      assert.equal(digest(attempt, t) === digest(attempt, u), t === u)
      assert.equal(digest(attempt, 1, j) === digest(attempt, 1, k), j === k)
      assert.notEqual(digest(attempt, 1), digest(attempt, 1, j))
    }),
  )
})
