/**
 * The certification scenario of the AuthZEN Authorization API 1.0 and the Todo application of its interoperability
 * events, over HTTP, against the example data set as it is shipped.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import type { Answer, Body, Point } from './support.ts'
import { startExample } from './support.ts'
import { changed } from '../support/changed.ts'

const EVALUATION = '/access/v1/evaluation'
const EVALUATIONS = '/access/v1/evaluations'
const SEARCH = '/access/v1/search'

let pep: Point
before(async () => {
  pep = await startExample()
})
after(() => pep[Symbol.dispose]())

type Part = Readonly<Record<string, unknown>>
const user = (id: string, properties?: Part): Part => ({ type: 'user', id, ...withProperties(properties) })
const record = (id: string, properties?: Part): Part => ({
  type: 'record',
  id,
  ...withProperties(properties),
})
const action = (name: string, properties?: Part): Part => ({ name, ...withProperties(properties) })
const withProperties = (properties?: Part): Part => (properties === undefined ? {} : { properties })

const archived = { status: 'archived' }
const admin = { role: 'admin' }

async function decisionOn(evaluation: Part): Promise<unknown> {
  const { status, headers, body } = await pep.post(EVALUATION, evaluation)
  assert.equal(status, 200)
  assert.match(headers.get('content-type') ?? '', /^application\/json/)
  assert.equal(body.context === undefined || typeof body.context === 'object', true)
  return body.decision
}

describe('decisions', () => {
  const alice = user('alice')
  const bob = user('bob')
  const one = record('record-1')
  for (const [rule, subject, act, resource, expected] of [
    ['1 alice reads', alice, action('read'), one, true],
    ['2 alice writes', alice, action('write'), one, true],
    ['3 bob reads', bob, action('read'), one, true],
    ['4 bob writes', bob, action('write'), one, false],
    ['5 what is archived', alice, action('write'), record('record-2', archived), false],
    ['5 what is said to be archived', alice, action('write'), record('record-1', archived), false],
    ['6 an administrator', user('bob', admin), action('write'), record('record-2', archived), true],
    ['6 somebody said to be one', user('alice', admin), action('write'), record('record-2', archived), true],
    ['7 soft', alice, action('delete', { soft: true }), one, true],
    ['8 hard', alice, action('delete', { soft: false }), one, false],
    ['8 neither', alice, action('delete'), one, false],
    ['8 something else', alice, action('delete', { soft: 'yes' }), one, false],
    ['an unknown user', user('nobody'), action('read'), one, false],
    ['an unknown record', alice, action('write'), record('record-9'), true],
    ['an unknown type', { type: 'spaceship', id: 'x' }, action('read'), one, false],
    ['an unknown action', alice, action('fly'), one, false],
  ] as const) {
    test(`rule ${rule}: ${expected}`, async () => {
      assert.equal(await decisionOn({ subject, action: act, resource }), expected)
    })
  }
  test('context, properties beyond those needed and unknown members change nothing', async () => {
    const read = { subject: alice, action: action('read'), resource: one }
    assert.equal(
      await decisionOn({ ...read, context: { time: '2025-06-27T18:03-07:00', ip: '192.168.1.1' } }),
      true,
    )
    assert.equal(
      await decisionOn({
        subject: user('alice', { department: 'Sales', role: 'manager' }),
        action: action('read', { method: 'GET' }),
        resource: record('record-1', { status: 'active', owner: 'bob' }),
      }),
      true,
    )
    assert.equal(await decisionOn({ ...read, foo: 'bar', futureField: { nested: true } }), true)
    for (let again = 0; again < 3; again += 1) assert.equal(await decisionOn(read), true)
  })
})

describe('the Todo application', () => {
  const people = {
    rick: ['CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs', 'rick@the-citadel.com'],
    morty: ['CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs', 'morty@the-citadel.com'],
    summer: ['CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs', 'summer@the-smiths.com'],
    beth: ['CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs', 'beth@the-smiths.com'],
    jerry: ['CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs', 'jerry@the-smiths.com'],
  } as const
  const todo = (owner: string): Part => ({ type: 'todo', id: '7240d0db', properties: { ownerID: owner } })
  // create, update own, update another's, delete own, delete another's
  for (const [name, create, updateOwn, updateOther, deleteOwn, deleteOther] of [
    ['rick', true, true, true, true, true],
    ['morty', true, true, false, true, false],
    ['summer', true, true, false, true, false],
    ['beth', false, false, false, false, false],
    ['jerry', false, false, false, false, false],
  ] as const) {
    test(name, async () => {
      const [id, email] = people[name]
      const other = name === 'beth' ? people.jerry[1] : people.beth[1]
      const { status, body } = await pep.post(EVALUATIONS, {
        subject: user(id),
        evaluations: [
          { action: action('can_read_user'), resource: user(people.beth[1]) },
          { action: action('can_read_user'), resource: user(email) },
          { action: action('can_read_todos'), resource: { type: 'todo', id: 'todo-1' } },
          { action: action('can_create_todo'), resource: { type: 'todo', id: 'todo-1' } },
          { action: action('can_update_todo'), resource: todo(email) },
          { action: action('can_update_todo'), resource: todo(other) },
          { action: action('can_delete_todo'), resource: todo(email) },
          { action: action('can_delete_todo'), resource: todo(other) },
        ],
      })
      assert.equal(status, 200)
      assert.deepEqual(body, {
        evaluations: [true, true, true, create, updateOwn, updateOther, deleteOwn, deleteOther].map(
          (decision) => ({ decision }),
        ),
      })
    })
  }
  test('searches', async () => {
    const search = async (what: string, body: Part): Promise<string[]> =>
      (await pep.post(`${SEARCH}/${what}`, body)).body.results.map((found: Body) => found.id ?? found.name)
    const morty = user(people.morty[0])
    assert.deepEqual(
      await search('resource', {
        subject: morty,
        action: action('can_update_todo'),
        resource: { type: 'todo' },
      }),
      ['todo-mortys'],
    )
    assert.deepEqual(
      await search('resource', {
        subject: user(people.rick[0]),
        action: action('can_update_todo'),
        resource: { type: 'todo' },
      }),
      ['todo-1', 'todo-mortys', 'todo-ricks', 'todo-summers'],
    )
    assert.deepEqual(
      await search('subject', {
        subject: { type: 'user' },
        action: action('can_delete_todo'),
        resource: { type: 'todo', id: 'todo-mortys' },
      }),
      [people.rick[0], people.morty[0]],
    )
    assert.deepEqual(
      await search('action', { subject: user(people.jerry[0]), resource: { type: 'todo', id: 'todo-1' } }),
      ['can_read_todos'],
    )
    assert.deepEqual(
      await search('action', {
        subject: morty,
        resource: { type: 'todo', id: 'todo-summers', properties: { ownerID: people.morty[1] } },
      }),
      ['can_create_todo', 'can_delete_todo', 'can_read_todos', 'can_update_todo'],
    )
  })
})

describe('boxcars', () => {
  const bob = user('bob')
  const one = record('record-1')
  const items = async (body: Part): Promise<Body> => {
    const answer = await pep.post(EVALUATIONS, body)
    assert.equal(answer.status, 200, answer.text)
    return answer.body
  }
  const T = { decision: true }
  const F = { decision: false }
  for (const [name, body, expected] of [
    [
      'defaults beside items',
      { subject: bob, resource: one, evaluations: [{ action: action('read') }, { action: action('write') }] },
      [T, F],
    ],
    [
      'properties by item',
      {
        subject: user('alice'),
        action: action('write'),
        evaluations: [
          { resource: record('record-1', { status: 'active' }) },
          { resource: record('record-2', archived) },
        ],
      },
      [T, F],
    ],
    [
      'subjects by item',
      {
        action: action('write'),
        resource: record('record-2', archived),
        evaluations: [{ subject: user('alice') }, { subject: user('bob', admin) }],
      },
      [F, T],
    ],
    [
      'no defaults',
      {
        evaluations: [
          { subject: user('alice'), action: action('read'), resource: one },
          { subject: bob, action: action('write'), resource: one },
        ],
      },
      [T, F],
    ],
    [
      'a context for all and another for one',
      {
        subject: user('alice'),
        action: action('read'),
        context: { time: '2025-06-27T18:03-07:00' },
        evaluations: [
          { resource: one },
          {
            resource: record('record-2'),
            context: { time: '2025-06-27T19:00-07:00', source: 'batch-override' },
          },
        ],
      },
      [T, T],
    ],
    [
      'an item replaces the whole entity: nothing is merged into it',
      {
        subject: user('alice'),
        action: action('write'),
        resource: record('record-1', archived),
        evaluations: [{}, { resource: record('record-1') }, { resource: { id: 'record-1' } }],
      },
      [F, T, F],
    ],
    [
      'an item that lacks something is denied, no other',
      {
        subject: user('alice'),
        action: action('read'),
        evaluations: [{ resource: one }, {}, null, 7, { resource: one }],
      },
      [T, F, F, F, T],
    ],
    [
      'also when it is the only one',
      { subject: user('alice'), action: action('read'), evaluations: [{}] },
      [F],
    ],
    [
      'every item is decided by default',
      {
        subject: bob,
        resource: one,
        evaluations: ['write', 'read', 'write'].map((a) => ({ action: action(a) })),
      },
      [F, T, F],
    ],
    [
      'execute_all decides every item',
      {
        subject: bob,
        resource: one,
        options: { evaluations_semantic: 'execute_all', later: 1 },
        evaluations: ['write', 'read', 'write'].map((a) => ({ action: action(a) })),
      },
      [F, T, F],
    ],
    [
      'deny_on_first_deny ends just after it',
      {
        subject: bob,
        resource: one,
        options: { evaluations_semantic: 'deny_on_first_deny' },
        evaluations: ['read', 'write', 'read'].map((a) => ({ action: action(a) })),
      },
      [T, F],
    ],
    [
      'an item that cannot be read is a deny there too',
      {
        subject: bob,
        resource: one,
        options: { evaluations_semantic: 'deny_on_first_deny' },
        evaluations: [{ action: action('read') }, {}, { action: action('read') }],
      },
      [T, F],
    ],
    [
      'permit_on_first_permit ends just after it',
      {
        subject: bob,
        resource: one,
        options: { evaluations_semantic: 'permit_on_first_permit' },
        evaluations: ['write', 'read', 'write'].map((a) => ({ action: action(a) })),
      },
      [F, T],
    ],
    [
      'without a trigger all are there',
      {
        subject: bob,
        resource: one,
        options: { evaluations_semantic: 'permit_on_first_permit' },
        evaluations: [{ action: action('write') }, {}],
      },
      [F, F],
    ],
  ] as const) {
    test(name, async () => {
      // compared whole: no ids, no times, nothing beside the decisions
      assert.deepEqual(await items(body as Part), { evaluations: expected })
    })
  }
  test('no list, or an empty one, is answered like one evaluation', async () => {
    const read = { subject: user('alice'), action: action('read'), resource: one }
    assert.deepEqual(await items(read), { decision: true })
    assert.deepEqual(await items({ ...read, evaluations: [] }), { decision: true })
    assert.deepEqual(await items({ ...read, action: action('fly'), evaluations: [] }), { decision: false })
  })
  for (const [name, body] of [
    ['an unknown semantic', { evaluations: [{}], options: { evaluations_semantic: 'vote' } }],
    ['a semantic that is no text', { evaluations: [{}], options: { evaluations_semantic: 1 } }],
    ['an array', [{}]],
    ['a list that is none', { evaluations: { 0: {} } }],
    ['no list and nothing beside', {}],
    ['more items than one batch may have', { evaluations: Array.from({ length: 300 }, () => ({})) }],
  ] as const) {
    test(`${name} is a 400`, async () => assert.equal((await pep.post(EVALUATIONS, body)).status, 400))
  }
})

describe('search', () => {
  const find = async (what: string, body: Part): Promise<Body> => {
    const answer = await pep.post(`${SEARCH}/${what}`, body)
    assert.equal(answer.status, 200, answer.text)
    assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
    return answer.body
  }
  const results = (...found: readonly Part[]): Part => ({ results: found })
  const named = (...names: readonly string[]): Part => results(...names.map((name) => ({ name })))
  const readers = { subject: { type: 'user' }, action: action('read'), resource: record('record-1') }
  const records = { subject: user('alice'), action: action('read'), resource: { type: 'record' } }
  const actions = { subject: user('alice'), resource: record('record-1') }
  for (const [name, what, body, expected] of [
    ['readers', 'subject', readers, results(user('alice'), user('bob'))],
    [
      'with a context',
      'subject',
      { ...readers, context: { ip: '192.168.1.1' } },
      results(user('alice'), user('bob')),
    ],
    [
      'an id is ignored',
      'subject',
      { ...readers, subject: user('alice') },
      results(user('alice'), user('bob')),
    ],
    [
      'an id that is none is ignored',
      'subject',
      { ...readers, subject: { type: 'user', id: 5 } },
      results(user('alice'), user('bob')),
    ],
    [
      'properties of the resource',
      'subject',
      { subject: { type: 'user' }, action: action('write'), resource: record('record-2', archived) },
      results(user('bob')),
    ],
    [
      'properties of whoever it is',
      'subject',
      {
        subject: { type: 'user', properties: admin },
        action: action('write'),
        resource: record('record-2', archived),
      },
      results(
        user('CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs'),
        user('CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs'),
        user('CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs'),
        user('CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs'),
        user('CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs'),
        user('alice'),
        user('beth@the-smiths.com'),
        user('bob'),
        user('jerry@the-smiths.com'),
        user('morty@the-citadel.com'),
        user('rick@the-citadel.com'),
        user('summer@the-smiths.com'),
      ),
    ],
    [
      'properties of the action',
      'subject',
      { subject: { type: 'user' }, action: action('delete', { soft: true }), resource: record('record-1') },
      results(user('alice')),
    ],
    ['records', 'resource', records, results(record('record-1'), record('record-2'))],
    [
      'an id of theirs is ignored',
      'resource',
      { ...records, resource: record('record-9') },
      results(record('record-1'), record('record-2')),
    ],
    [
      'what alice may write',
      'resource',
      { ...records, action: action('write') },
      results(record('record-1')),
    ],
    [
      'what an administrator may write',
      'resource',
      { subject: user('bob', admin), action: action('write'), resource: { type: 'record' } },
      results(record('record-2')),
    ],
    ['actions', 'action', actions, named('read', 'write')],
    ['an action that is sent is ignored', 'action', { ...actions, action: 7 }, named('read', 'write')],
    ['with a context', 'action', { ...actions, context: { ip: '192.168.1.1' } }, named('read', 'write')],
    [
      'actions by properties',
      'action',
      { subject: user('bob', admin), resource: record('record-2', archived) },
      named('read', 'write'),
    ],
    ['an unknown subject', 'action', { ...actions, subject: user('nonexistent-user') }, results()],
    ['an unknown type of subject', 'subject', { ...readers, subject: { type: 'spaceship' } }, results()],
    ['an unknown resource', 'subject', { ...readers, resource: record('record-9') }, results()],
    ['an unknown type of resource', 'resource', { ...records, resource: { type: 'spaceship' } }, results()],
    ['an unknown action', 'resource', { ...records, action: action('fly') }, results()],
    [
      'somebody whom the key does not speak for',
      'resource',
      { ...records, subject: { type: 'Person', id: 'ada' } },
      results(),
    ],
    ['unknown members', 'subject', { ...readers, foo: 'bar' }, results(user('alice'), user('bob'))],
  ] as const) {
    test(name, async () => assert.deepEqual(await find(what, body as Part), expected))
  }
  for (const [name, what, body] of [
    ['no action', 'subject', { subject: { type: 'user' }, resource: record('record-1') }],
    ['no subject', 'resource', { action: action('read'), resource: { type: 'record' } }],
    ['no resource', 'action', { subject: user('alice') }],
    ['a resource without id', 'subject', { ...readers, resource: { type: 'record' } }],
    ['a subject without id', 'resource', { ...records, subject: { type: 'user' } }],
    ['a subject without id', 'action', { ...actions, subject: { type: 'user' } }],
    ['a subject without type', 'subject', { ...readers, subject: {} }],
    ['a page that is none', 'subject', { ...readers, page: 'next' }],
    ['a limit below nothing', 'subject', { ...readers, page: { limit: -1 } }],
    ['half a limit', 'subject', { ...readers, page: { limit: 1.5 } }],
    ['a token of nobody', 'subject', { ...readers, page: { token: 'alsehrq3495u8' } }],
    ['a token that is no text', 'subject', { ...readers, page: { token: 7 } }],
    ['an array', 'subject', [readers]],
  ] as const) {
    test(`${name} is a 400 (${what})`, async () => {
      const answer = await pep.post(`${SEARCH}/${what}`, body)
      assert.equal(answer.status, 400, answer.text)
      assert.match(answer.headers.get('content-type') ?? '', /^text\/plain/)
    })
  }
  test('pages: `page` comes first, every result once, and an empty token at the end', async () => {
    const first = await pep.post(`${SEARCH}/subject`, { ...readers, page: { limit: 1 } })
    assert.match(first.text, /^\{"page":\{"next_token":"[^"]+"\},"results":\[/)
    assert.deepEqual(first.body.results, [user('alice')])
    const token = first.body.page.next_token as string
    assert.doesNotMatch(Buffer.from(token, 'base64url').toString('latin1'), /alice|bob"|user.{1,4}bob/s)
    const second = await find('subject', { ...readers, page: { token } })
    assert.deepEqual(second, { page: { next_token: '' }, results: [user('bob')] })
    assert.deepEqual(await find('subject', { ...readers, page: {} }), {
      page: { next_token: '' },
      results: [user('alice'), user('bob')],
    })
    const names: string[] = []
    let page: Part = { limit: 1, properties: { any: 'thing' } }
    for (let most = 9; most > 0; most -= 1) {
      const answer = await find('action', { ...actions, page })
      names.push(...answer.results.map((found: Body) => found.name as string))
      if (answer.page.next_token === '') break
      page = { limit: 1, token: answer.page.next_token }
    }
    assert.deepEqual(names, ['read', 'write'])
    // nothing was asked for, and nothing is lost
    const none = await find('subject', { ...readers, page: { limit: 0 } })
    assert.deepEqual(none.results, [])
    const all = await find('subject', { ...readers, page: { token: none.page.next_token } })
    assert.deepEqual(all.results, [user('alice'), user('bob')])
  })
  test('a token is good for the same search only', async () => {
    const { page } = await find('subject', { ...readers, page: { limit: 1 } })
    const token = page.next_token as string
    for (const [what, other] of [
      ['subject', { ...readers, action: action('write') }],
      ['subject', { ...readers, resource: record('record-2') }],
      ['subject', { ...readers, context: { a: 1 } }],
      ['subject', { ...readers, subject: { type: 'user', properties: { role: 'x' } } }],
      ['resource', records],
      ['action', actions],
    ] as const) {
      assert.equal((await pep.post(`${SEARCH}/${what}`, { ...other, page: { token } })).status, 400)
    }
    for (const forged of [changed(token), `${token}AAAA`, token.slice(0, -4), `${token}=`])
      assert.equal((await pep.post(`${SEARCH}/subject`, { ...readers, page: { token: forged } })).status, 400)
    assert.equal((await pep.post(`${SEARCH}/subject`, { ...readers, page: { token } })).status, 200)
  })
})

describe('errors and transport', () => {
  const read = { subject: user('alice'), action: action('read'), resource: record('record-1') }
  const paths = [
    [EVALUATION, read],
    [EVALUATIONS, { ...read, evaluations: [{}] }],
    [`${SEARCH}/subject`, { ...read, subject: { type: 'user' } }],
    [`${SEARCH}/resource`, { ...read, resource: { type: 'record' } }],
    [`${SEARCH}/action`, read],
  ] as const
  const isMessage = (answer: Answer, status: number, name: string): void => {
    assert.equal(answer.status, status, `${name}: ${answer.text}`)
    assert.match(answer.headers.get('content-type') ?? '', /^text\/plain/, name)
    assert.ok(answer.text.length > 0 && !answer.text.startsWith('{'), name)
  }
  for (const [path, body] of paths) {
    test(`${path}: errors are a status and a message`, async () => {
      isMessage(await pep.post(path, body, { 'content-type': 'text/plain' }), 400, 'content type')
      isMessage(await pep.post(path, JSON.stringify(body).slice(1)), 400, 'malformed')
      isMessage(await pep.post(path, ''), 400, 'empty')
      isMessage(await pep.post(path, [body]), 400, 'array')
      isMessage(await pep.post(path, null), 400, 'null')
      const stranger = await pep.post(path, body, { authorization: 'Bearer writ_key_nobody' })
      isMessage(stranger, 401, 'stranger')
      assert.match(stranger.headers.get('www-authenticate') ?? '', /^Bearer /)
      const nobody = await pep.send('POST', path, {
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
      isMessage(nobody, 401, 'nobody')
      assert.match(nobody.headers.get('www-authenticate') ?? '', /^Bearer /)
      for (const method of ['GET', 'PUT']) assert.equal((await pep.send(method, path)).status, 405)
      const charset = await pep.post(path, body, { 'content-type': 'application/json; charset=utf-8' })
      assert.equal(charset.status, 200, charset.text)
    })
    test(`${path}: a request id comes back as it was, also with an error`, async () => {
      for (const id of ['bfe9eb29-ab87-4ca3-be83-a1d5d8305716', 'two words', `${'x'.repeat(500)}/=+"`]) {
        const header = { 'x-request-id': id }
        assert.equal((await pep.post(path, body, header)).headers.get('x-request-id'), id)
        assert.equal((await pep.post(path, 'no', header)).headers.get('x-request-id'), id)
        assert.equal(
          (await pep.post(path, body, { ...header, authorization: 'Bearer x' })).headers.get('x-request-id'),
          id,
        )
        assert.equal((await pep.send('GET', path, { headers: header })).headers.get('x-request-id'), id)
      }
      assert.equal((await pep.post(path, body)).status, 200)
    })
  }
  for (const [name, body] of [
    ['no subject', { ...read, subject: undefined }],
    ['no action', { ...read, action: undefined }],
    ['no resource', { ...read, resource: undefined }],
    ['a subject without type', { ...read, subject: { id: 'alice' } }],
    ['a subject without id', { ...read, subject: { type: 'user' } }],
    ['an action without name', { ...read, action: {} }],
    ['a resource without type', { ...read, resource: { id: 'record-1' } }],
    ['a resource without id', { ...read, resource: { type: 'record' } }],
    ['a subject that is a string', { ...read, subject: 'alice' }],
    ['a name that is a number', { ...read, action: { name: 123 } }],
    ['a name that is null', { ...read, action: { name: null } }],
    ['properties that are a list', { ...read, subject: { ...read.subject, properties: [] } }],
    ['a context that is text', { ...read, context: 'x' }],
    ['a key that Cedar would follow', { ...read, context: { __entity: { type: 'user', id: 'bob' } } }],
    [
      'one that it would compute',
      { ...read, resource: record('record-1', { status: { __extn: { fn: 'ip', arg: '::' } } }) },
    ],
    [
      'a number that no double holds',
      '{"subject":{"type":"user","id":"alice","properties":{"n":9007199254740993}},"action":{"name":"read"},"resource":{"type":"record","id":"record-1"}}',
    ],
  ] as const) {
    test(`${name} is a 400`, async () => isMessage(await pep.post(EVALUATION, body), 400, name))
  }
  test('values that no schema type holds are no crash and no permit', async () => {
    for (const value of [null, 1.5, -0, 2 ** 53 - 1, [], [null], {}, '\u0000', 'x'.repeat(5_000)]) {
      const { status, body } = await pep.post(EVALUATION, {
        subject: user('alice'),
        action: action('delete', { soft: value }),
        resource: record('record-1', { status: value }),
      })
      assert.deepEqual([status, body.decision], [200, false], JSON.stringify(value))
      const found = await pep.post(`${SEARCH}/resource`, {
        subject: user('alice'),
        action: action('delete', { soft: value }),
        resource: { type: 'record' },
      })
      assert.deepEqual([found.status, found.body], [200, { results: [] }], JSON.stringify(value))
    }
    // what nobody trusts the enforcement point for is not even looked at
    const ignored = await pep.post(EVALUATION, { ...read, subject: user('alice', { whatever: null }) })
    assert.equal(ignored.body.decision, true)
  })
  test('ten thousand levels are refused before they are read', async () => {
    const deep = `{"subject":${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}}`
    for (const [path] of paths) {
      const answer = await pep.post(path, deep)
      assert.ok(answer.status === 400 || answer.status === 413, answer.text)
      assert.match(answer.text, /levels deep/)
    }
  })
})

describe('metadata', () => {
  test('names every endpoint, and is signed as a whole by a key that is published', async () => {
    const { status, headers, body } = await pep.send('GET', '/.well-known/authzen-configuration')
    assert.equal(status, 200)
    assert.match(headers.get('content-type') ?? '', /^application\/json/)
    const { signed_metadata: signed, ...members } = body
    assert.deepEqual(members, {
      policy_decision_point: pep.url,
      access_evaluation_endpoint: `${pep.url}/access/v1/evaluation`,
      access_evaluations_endpoint: `${pep.url}/access/v1/evaluations`,
      search_subject_endpoint: `${pep.url}/access/v1/search/subject`,
      search_resource_endpoint: `${pep.url}/access/v1/search/resource`,
      search_action_endpoint: `${pep.url}/access/v1/search/action`,
      access_request_endpoint: `${pep.url}/access/v1/requests`,
      jwks_uri: `${pep.url}/.well-known/jwks.json`,
      capabilities: ['urn:openid:authzen:capability:access-request'],
      supported_obligations: ['notification'],
    })
    const { payload } = await jwtVerify(signed as string, createRemoteJWKSet(new URL(members.jwks_uri)))
    assert.deepEqual(payload, { iss: pep.url, ...members })
  })
  test('there is one decision point here, and none below it', async () => {
    assert.equal((await pep.send('GET', '/.well-known/authzen-configuration/tenant1')).status, 404)
  })
})
