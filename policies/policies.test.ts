/**
 * The starter policies do what their comments say. They are loaded as `writ init` would leave them, schema derived.
 *
 * @module
 */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import type { EntityData, EntityUid, Query } from '../src/policy/index.ts'
import { loadPolicySet, renderProblem, uidText, writAction, writSystem } from '../src/policy/index.ts'

type Line = {
  type: string
  id: string
  owner?: string
  team?: string
  sensitivity?: number
  parents?: string[]
  attrs?: object
}

const read = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8')
const ref = (text: string): EntityUid => {
  const cut = text.indexOf('/')
  return { type: text.slice(0, cut), id: text.slice(cut + 1) }
}

const inventory: EntityData[] = (parse(read('./inventory.yaml')) as { entities: Line[] }).entities.map(
  (line) => ({
    uid: { type: line.type, id: line.id },
    attrs: {
      ...line.attrs,
      ...(line.sensitivity === undefined ? {} : { sensitivity: line.sensitivity }),
      ...(line.owner === undefined ? {} : { owner: uidText(ref(line.owner)) }),
      ...(line.team === undefined ? {} : { team: uidText(ref(line.team)) }),
    },
    parents: (line.parents ?? []).map(ref),
  }),
)

const loaded = loadPolicySet(
  { policies: ['writ.cedar', 'migration.cedar'].map((name) => ({ name, text: read(`./${name}`) })) },
  { hash: (text) => `len:${text.length}`, inventory },
)
if (!loaded.ok) throw new Error(loaded.problems.map(renderProblem).join('\n'))
const { set } = loaded

const task = { id: 't1', purpose: 'migrate', state: 'open', declaredAt: '2026-11-22T10:00:00.000Z', calls: 0 }
const ask = (principal: string, action: EntityUid, resource: string, more: Partial<Query> = {}): Query => ({
  principal: ref(principal),
  action,
  resource: ref(resource),
  context: {},
  live: { now: '2026-11-22T10:00:00.000Z', caller: 'key/ci', chain: [principal] },
  unknown: new Set(),
  proof: { approvals: {}, justification: false },
  entities: inventory,
  ...more,
})
const action = (id: string): EntityUid => ({ type: 'Action', id })
const proved = (dba: number): Partial<Query> => ({
  live: { now: '2026-11-22T10:00:00.000Z', caller: 'key/ci', chain: ['Agent/migrator'], task },
  proof: { approvals: { dba }, justification: true },
})
const decide = (query: Query) => set.evaluate(query).decision

test('the starter policies load without a warning and declare the pool dba', () => {
  assert.deepEqual(loaded.warnings, [])
  assert.deepEqual(set.pools, ['dba'])
  assert.equal(set.derivedSchema, true)
  assert.match(set.schemaText, /approvals/)
})

test('S29 a low-risk read flows; a sensitive or unregistered resource does not, whatever the caller says', () => {
  assert.equal(decide(ask('Agent/migrator', action('read'), 'Document/handbook')), 'permit')
  assert.equal(decide(ask('Agent/migrator', action('read'), 'Database/orders')), 'deny')
  assert.equal(decide(ask('Agent/migrator', action('read'), 'Document/unregistered')), 'deny')
  const lie = { context: { sensitivity: 1, resource: { sensitivity: 1 } } }
  assert.equal(decide(ask('Agent/migrator', action('read'), 'Database/orders', lie)), 'deny')
})

test('S26 a migration needs task, justification and one approval, all of them', () => {
  const migrate = (more: Partial<Query>) =>
    decide(ask('Agent/migrator', action('db:migrate'), 'Database/orders', more))
  assert.equal(migrate({}), 'deny')
  assert.equal(migrate(proved(0)), 'deny')
  assert.equal(migrate({ ...proved(1), proof: { approvals: { dba: 1 }, justification: false } }), 'deny')
  assert.equal(migrate({ proof: { approvals: { dba: 1 }, justification: true } }), 'deny', 'without a task')
  assert.equal(migrate(proved(1)), 'permit')
  assert.equal(decide(ask('Person/ada', action('db:migrate'), 'Database/orders', proved(1))), 'deny')
})

test('a migration carries its obligations', () => {
  const answer = set.evaluate(ask('Agent/migrator', action('db:migrate'), 'Database/orders', proved(1)))
  assert.deepEqual(answer.determining, ['migrate-with-approval'])
  assert.deepEqual(answer.obligations, {
    ttl: 600_000,
    uses: 1,
    binding: 'attempt',
    bindingDeclared: true,
    notify: [],
  })
})

test('a critical database needs two approvals, and may say so', () => {
  const critical = inventory.map((entity) =>
    entity.uid.id === 'orders' ? { ...entity, attrs: { ...entity.attrs, sensitivity: 4 } } : entity,
  )
  const migrate = (dba: number) =>
    set.evaluate(
      ask('Agent/migrator', action('db:migrate'), 'Database/orders', { ...proved(dba), entities: critical }),
    )
  assert.equal(migrate(2).decision, 'permit')
  const denied = migrate(1)
  assert.equal(denied.decision, 'deny')
  assert.deepEqual(
    [denied.determining, denied.forbidden, denied.explainable],
    [['critical-needs-two'], true, true],
  )
})

test('only the database group gives approvals of its pool', () => {
  const approve = (who: string, pool: string) =>
    decide(ask(who, writAction('approve'), 'Database/orders', { context: { pool, action: 'db:migrate' } }))
  assert.equal(approve('Person/grace', 'dba'), 'permit')
  assert.equal(approve('Person/ada', 'dba'), 'deny')
  assert.equal(approve('Person/grace', 'peer'), 'deny')
})

test('administrators administer; owners take back what is theirs', () => {
  const system = `${writSystem.type}/${writSystem.id}`
  for (const name of ['publish', 'administer', 'revoke', 'deny', 'read']) {
    assert.equal(decide(ask('Person/ada', writAction(name), system)), 'permit', name)
    assert.equal(decide(ask('Person/grace', writAction(name), system)), 'deny', name)
  }
  assert.equal(decide(ask('Person/ada', writAction('revoke'), 'Database/orders')), 'permit')
  assert.equal(decide(ask('Person/grace', writAction('revoke'), 'Database/orders')), 'deny')
})

test('collectors may say what targets saw, and nothing else; nobody else may say so', () => {
  const collector: EntityData = {
    uid: { type: 'Service', id: 'collector' },
    attrs: {},
    parents: [{ type: 'Group', id: 'collectors' }],
  }
  const on = (principal: string, verb: string) =>
    decide({
      ...ask(principal, writAction(verb), 'Service/x', { context: { target: 'orders-db' } }),
      resource: writSystem,
      entities: [...inventory, collector],
    })
  assert.equal(on('Service/collector', 'observe'), 'permit')
  for (const verb of ['publish', 'administer', 'revoke', 'deny', 'read'])
    assert.equal(on('Service/collector', verb), 'deny', verb)
  for (const principal of ['Agent/migrator', 'Person/ada']) assert.equal(on(principal, 'observe'), 'deny')
})
