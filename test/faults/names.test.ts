/**
 * B7: one name has one spelling, at every door, when it is registered and when it is looked for; and two subjects are never
 * told apart by something that nobody sees.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { isIdentity, lookOf } from '../../src/model/name.ts'
import {
  accountLink,
  delegationInput,
  inventoryInput,
  keyInput,
  taskDeclaration,
} from '../../src/wire/v1/index.ts'
import { attempt, fails, faultWorld, keyFor, put, ref } from './support.ts'

/** Spellings of nobody, by what is wrong with them. */
const wrong: Readonly<Record<string, string>> = {
  'not composed': 'jose\u0301',
  'a compatibility twin of a letter': '\u212bngstrom',
  'space before': ' ada',
  'space after': 'ada ',
  'a wide space after': 'ada\u3000',
  'a space that does not break': '\u00a0ada',
  'no width': 'a\u200bda',
  'a soft hyphen': 'a\u00adda',
  'a byte order mark': '\ufeffada',
  'turned around': 'ada\u202egnimda',
  'a variation of a letter': 'ada\ufe0f',
  'a filler': 'ada\u3164',
  'a blank pattern': 'ada\u2800',
  'a tag': 'ada\u{e0041}',
  'an end': 'ada\0',
  'a line end': 'ada\n',
  'a separator of lines': 'ada\u2028',
}

describe('B7 a spelling that is nobody’s', () => {
  for (const [what, id] of Object.entries(wrong)) {
    test(`${what} names nothing`, () => {
      assert.equal(isIdentity(id), false)
      const person = `Person/${id}`
      const scope = { actions: ['a'], resources: [{ type: 'Thing', id }] }
      const inputs = {
        entity: inventoryInput.safeParse({ entities: [{ type: 'Person', id }] }),
        owner: inventoryInput.safeParse({ entities: [{ type: 'Agent', id: 'a', owner: person }] }),
        team: inventoryInput.safeParse({ entities: [{ type: 'Agent', id: 'a', team: `Group/${id}` }] }),
        parent: inventoryInput.safeParse({ entities: [{ type: 'Agent', id: 'a', parents: [person] }] }),
        key: keyInput.safeParse({ name: 'k', subject: person }),
        task: taskDeclaration.safeParse({ purpose: 'p', scope }),
        action: taskDeclaration.safeParse({
          purpose: 'p',
          scope: { actions: [id], resources: [{ type: 'T' }] },
        }),
        actor: delegationInput.safeParse({ actor: `Agent/${id}` }),
        bound: delegationInput.safeParse({ actor: 'Agent/a', resources: [person] }),
        person: accountLink.safeParse({ issuer: 'github', account: '1', person }),
        account: accountLink.safeParse({ issuer: 'github', account: id, person: 'Person/ada' }),
      }
      for (const [field, { success }] of Object.entries(inputs)) assert.equal(success, false, field)
    })
  }

  test('is refused by every door that takes a name, to write and to read', async () => {
    await using world = await faultWorld({ http: true })
    const call = async (method: string, path: string, body?: unknown): Promise<readonly [number, string]> => {
      const response = await fetch(`${world.app.url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${world.tokens.ada}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      return [response.status, await response.text()]
    }
    const handbook = { type: 'Document', id: 'handbook' }
    const action = { name: 'read' }
    const open: string[] = []
    for (const [what, id] of Object.entries(wrong)) {
      const person = { type: 'Person', id }
      const inPath = encodeURIComponent(id)
      const ada = { type: 'Person', id: 'ada' }
      const answers = {
        'evaluation of a subject': call('POST', '/access/v1/evaluation', {
          subject: person,
          action,
          resource: handbook,
        }),
        'evaluation on a resource': call('POST', '/access/v1/evaluation', {
          subject: ada,
          action,
          resource: person,
        }),
        evaluations: call('POST', '/access/v1/evaluations', {
          subject: person,
          action,
          evaluations: [{ resource: handbook }],
        }),
        'search of resources': call('POST', '/access/v1/search/resource', {
          subject: person,
          action,
          resource: { type: 'Document' },
        }),
        'search of subjects': call('POST', '/access/v1/search/subject', {
          subject: { type: 'Person' },
          action,
          resource: person,
        }),
        question: call('POST', '/v1/questions', { subject: person, action, resource: handbook }),
        inventory: call('PUT', '/v1/inventory', { entities: [person] }),
        deletion: call('DELETE', `/v1/inventory/Person/${inPath}`),
        lock: call('POST', '/v1/locks', { what: 'subject', about: `Person/${id}`, reason: 'r' }),
        key: call('POST', '/v1/keys', { name: 'k', subject: `Service/${id}` }),
        invitation: call('POST', '/v1/people/invitations', { id }),
        group: call('POST', '/v1/people/invitations', { id: 'eve', groups: [`Group/${id}`] }),
        delegation: call('POST', '/v1/delegations', { actor: `Agent/${id}` }),
        delegations: call('GET', `/v1/delegations?subject=${encodeURIComponent(`Person/${id}`)}`),
        account: call('POST', '/v1/accounts', { issuer: 'github', account: '1', person: `Person/${id}` }),
        accounts: call('GET', `/v1/accounts?person=${encodeURIComponent(`Person/${id}`)}`),
        authority: call('GET', `/v1/authority?subject=${encodeURIComponent(`Person/${id}`)}`),
      }
      for (const [door, answer] of Object.entries(answers)) {
        const [status, text] = await answer
        // a batch answers for each of its parts
        const refused = status === 200 && door === 'evaluations' && !text.includes('"decision":true')
        if (!refused && (status < 400 || status >= 500)) open.push(`${door} takes ${what}: ${status}`)
      }
    }
    assert.deepEqual(open, [])
    const { items } = await world.app.flows.inventory(world.ada, { limit: 200 })
    assert.deepEqual(
      items.filter(({ id }) => !isIdentity(id)),
      [],
    )
  })

  test('is refused behind the doors too', async () => {
    await using world = await faultWorld()
    const { flows } = world.app
    for (const id of Object.values(wrong)) {
      const bad = { type: 'Person', id }
      await fails(flows.putEntities(world.ada, [bad]), 'ERR_INPUT_INVALID')
      await fails(flows.putEntities(world.ada, [{ type: 'Agent', id: 'a', owner: bad }]), 'ERR_INPUT_INVALID')
      await fails(flows.putEntities(world.ada, [{ type: 'Agent', id: 'a', team: bad }]), 'ERR_INPUT_INVALID')
      await fails(
        flows.putEntities(world.ada, [{ type: 'Agent', id: 'a', parents: [bad] }]),
        'ERR_INPUT_INVALID',
      )
      await fails(
        flows.locks.lock(world.ada, { what: 'subject', about: `${bad.type}/${bad.id}`, reason: 'r' }),
        'ERR_INPUT_INVALID',
      )
      await fails(flows.invite(world.ada, { id }), 'ERR_INPUT_INVALID')
    }
  })
})

describe('B7 a name that looks like another', () => {
  const twins = [
    'MIGRATOR',
    'Migrator',
    '\uff4digrator',
    'mi\u0261rator',
    'migr\u0430t\u043er',
    'm\u0456grator',
  ]

  test('is not given to a second subject', async () => {
    await using world = await faultWorld()
    for (const id of twins) {
      await fails(put(world, { type: 'Agent', id }), 'ERR_CONFLICT')
    }
    await fails(put(world, { type: 'Agent', id: 'new' }, { type: 'Agent', id: 'NEW' }), 'ERR_CONFLICT')
    const { code } = await world.app.flows.invite(world.ada, { id: 'Grace' })
    await fails(world.app.flows.redeem(code.expose()), 'ERR_CONFLICT')
    // another type is another subject, and resources are named by others
    await put(world, { type: 'Service', id: 'Migrator' })
    await put(world, { type: 'Document', id: 'README' }, { type: 'Document', id: 'readme' })
    // it may take the name of one that is gone
    await world.app.flows.deleteEntity(world.ada, ref('Agent/migrator'))
    await put(world, { type: 'Agent', id: 'Migrator' })
  })

  test('finds nothing of the other: case counts', async () => {
    await using world = await faultWorld()
    await keyFor(world, 'Service/orders-ci')
    const { outcome, reason } = await world.app.flows.evaluate(
      world.migrator,
      attempt('Agent/Migrator', 'read', 'Document/handbook'),
    )
    assert.deepEqual([outcome, reason], ['deny', 'forbidden_assertion'])
    for (const id of twins.filter(isIdentity)) {
      await fails(world.app.flows.deleteEntity(world.ada, { type: 'Agent', id }), 'ERR_NOT_FOUND')
    }
  })

  test('is found by its look, which is stable and blind to case and script', () => {
    for (const id of twins) assert.equal(lookOf(id), 'migrator')
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        assert.equal(lookOf(lookOf(text)), lookOf(text))
        assert.equal(lookOf(text.normalize('NFD')), lookOf(text))
      }),
    )
  })
})
