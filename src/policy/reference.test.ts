/**
 * Two pens, one answer: the engine against the reference, which asks Cedar policy by policy and applies law 6 itself.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { hash, inputsIn, pairOf, pool, sameAnswers, schema, uid, world } from '../../test/fuzz/sets.ts'
import { redecideInputs } from '../decision/redecide.ts'
import { isWritError } from '../model/errors.ts'
import type { EntityData } from './index.ts'
import { loadPolicySet, referenceSet } from './index.ts'

describe('the reference', () => {
  test('C7 engine and reference say the same, for the same policies, whatever is unknown or fails', () => {
    fc.assert(sameAnswers(4), { numRuns: 120 })
  })

  test('C6 an erroring forbid denies and an erroring permit does not apply, by the reference alone', () => {
    const pair = pairOf([
      '@id("p") permit(principal, action == Action::"go", resource);\n',
      '@id("f") forbid(principal, action == Action::"go", resource) when { context.live has task && context.live.task.state == "x" };\n',
      '@id("q") permit(principal, action == Action::"run", resource) when { context.live has task };\n',
    ])
    assert.ok(pair !== undefined)
    const { reference } = pair
    const [base] = fc.sample(world, { numRuns: 1, seed: 1 })
    const inputs = inputsIn({
      ...(base as NonNullable<typeof base>),
      chain: [uid('Person', 'ada')],
      resource: uid('Database', 'orders'),
      action: uid('Action', 'go'),
      amount: 1,
      ticket: undefined,
      unknown: ['task'],
    })
    assert.deepEqual(redecideInputs(inputs, reference), { says: 'deny', determining: [], errors: ['f'] })
    const running = { ...inputs, action: uid('Action', 'run') }
    assert.deepEqual(redecideInputs(running, reference), { says: 'deny', determining: [], errors: ['q'] })
    const known = { ...inputs, unknown: [] }
    assert.deepEqual(redecideInputs(known, reference), { says: 'permit', determining: ['p'], errors: [] })
  })

  test('B75 files that are another version, or another schema, make no reference', () => {
    const source = { policies: [{ name: 'a.cedar', text: pool }], schema: { name: 's', text: schema } }
    const loaded = loadPolicySet(source, { hash, inventory: [] })
    assert.ok(loaded.ok)
    const { version } = loaded.set
    assert.throws(
      () => referenceSet(source, schema, 'other', hash),
      (e) => isWritError(e, 'ERR_POLICY_INVALID'),
    )
    assert.throws(
      () => referenceSet(source, `${schema} `, version, hash),
      (e) => isWritError(e, 'ERR_POLICY_INVALID'),
    )
  })

  test('a derived schema that is written down gives the set that derived it', () => {
    const inventory: EntityData[] = [
      {
        uid: uid('Person', 'ada'),
        attrs: { level: 3, nick: 'n', sensitivity: 1 },
        parents: [uid('Group', 'g')],
      },
      { uid: uid('Odd', 'x'), attrs: { 'a b': 'c', tags: ['x'], deep: { a: 1 } }, parents: [] },
    ]
    const source = {
      policies: [
        {
          name: 'a.cedar',
          text: `${pool}permit(principal is Person, action == Action::"go", resource is Odd) when { context has ticket && context.ticket == "A" };`,
        },
      ],
    }
    const first = loadPolicySet(source, { hash, inventory })
    assert.ok(first.ok)
    const again = loadPolicySet(source, { hash, inventory: [], derived: first.set.ownSchemaText })
    assert.ok(again.ok)
    assert.equal(again.set.version, first.set.version)
    assert.equal(again.set.schemaText, first.set.schemaText)
    assert.equal(again.set.derivedSchema, true)
  })
})
