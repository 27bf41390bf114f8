/**
 * What the door adds to a search: the caller's rate, its turn, and errors that say nothing of others.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SearchInput, SearchOptions } from '../../src/flows/searching.ts'
import { knock } from '../support/doors.ts'

const PATH = '/access/v1/search/resource'
const search = {
  subject: { type: 'Agent', id: 'x' },
  action: { name: 'read' },
  resource: { type: 'Document' },
}

test('law 12: what a search decides counts against its caller, and a caller searches one after another', async () => {
  let under = 0
  let most = 0
  await using door = await knock(
    {
      searchAccess: async (_caller, _input, { charge }) => {
        under += 1
        most = Math.max(most, under)
        charge?.(3)
        await new Promise(setImmediate)
        under -= 1
        return { ids: [], decided: 30 }
      },
    },
    { config: { limits: { body: 262_144, depth: 32, rate: 10 } } },
  )
  const [first, second] = await Promise.all([door.post(PATH, search), door.post(PATH, search)])
  assert.deepEqual([first.status, second.status, most], [200, 200, 1])
  // 2 × (1 + 3) of 10 are spent: the next may come in, and has nothing left to work with
  const third = await door.post(PATH, search)
  assert.equal(third.status, 429)
  assert.ok(Number(third.headers.get('retry-after')) >= 1)
})

test('searches hand over what was validated, without what is ignored', async () => {
  const seen: [SearchInput, SearchOptions][] = []
  await using door = await knock({
    searchAccess: async (_caller, input, options) => {
      seen.push([input, options])
      return { ids: [], next: 'further', decided: 0 }
    },
  })
  const sent = {
    ...search,
    resource: { ...search.resource, id: 7, more: 1 },
    context: { a: 1, supported_obligations: ['notification'] },
    page: { token: 't', limit: 5_000, properties: { x: 1 }, more: 1 },
    more: 1,
  }
  const answer = await door.post(PATH, sent)
  // whoever asked for no pages is told all the same that there is more
  assert.equal(await answer.text(), '{"page":{"next_token":"further"},"results":[]}')
  assert.equal(await (await door.post(PATH, search)).text(), '{"page":{"next_token":"further"},"results":[]}')
  const [[input, { token, limit }]] = seen as [[SearchInput, SearchOptions]]
  assert.deepEqual(JSON.parse(JSON.stringify(input)), { what: 'resource', ...search, context: { a: 1 } })
  assert.deepEqual([token, limit], ['t', 5_000])
})
