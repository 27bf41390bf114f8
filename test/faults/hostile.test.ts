/**
 * Input that means harm, at every level: the evaluator, the loaded set, the door. Each time an answer or a clear refusal
 * in bounded time and memory, and what comes after it is served as before.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { Json } from '../../src/model/canonical.ts'
import type { HostileLine } from '../support/hostile.ts'
import { hostilePolicies } from '../support/hostile.ts'
import { openWorld, starterPolicies } from '../support/world.ts'
import type { World } from '../support/world.ts'
import { effort } from '../support/effort.ts'

/** Of processor time: a machine may be busy. What is not bounded takes minutes. */
const BOUND_MS = 20_000

type Answer = Readonly<{ status: number; body: Readonly<Record<string, Json>> }>

/** A body as text, so that it may hold what no value of JavaScript does. */
async function send(world: World, who: 'ada' | 'migrator', method: string, path: string, body: string) {
  const took = effort()
  const response = await fetch(world.app.url + path, {
    method,
    headers: { authorization: `Bearer ${world.tokens[who]}`, 'content-type': 'application/json' },
    body,
  })
  const type = response.headers.get('content-type') ?? ''
  const text = await response.text()
  // errors of AuthZEN are a sentence
  const read = type.includes('json') ? (JSON.parse(text) as Answer['body']) : { detail: text }
  const answer: Answer = { status: response.status, body: read }
  assert.ok(took() < BOUND_MS, 'it took too long')
  if (response.status >= 400) {
    assert.ok(response.status < 500, text.slice(0, 500))
    assert.match(type, path.startsWith('/v1/') ? /problem\+json/ : /text\/plain/)
    assert.ok(text.length < 20_000, 'a refusal is no longer than it must be')
  }
  return answer
}

const said = ({ detail }: Answer['body']): string => (typeof detail === 'string' ? detail : '')

const question = (more: object = {}) => ({
  subject: { type: 'Agent', id: 'migrator' },
  action: { name: 'read' },
  resource: { type: 'Document', id: 'handbook' },
  ...more,
})

async function ask(world: World, body: string | object): Promise<Answer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return send(world, 'migrator', 'POST', '/access/v1/evaluation', text)
}

describe('B76 B77 hostile policies', () => {
  test('are read or refused by evaluator and set, in 256 MB', () => {
    const ran = spawnSync(
      process.execPath,
      ['--max-old-space-size=256', join(import.meta.dirname, '../support/hostile.ts')],
      { encoding: 'utf8', timeout: 450_000 },
    )
    assert.equal(ran.status, 0, `${ran.stdout}\n${ran.stderr}`)
    const lines = ran.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as HostileLine)
    assert.equal(lines.length, 2 * hostilePolicies.length)
    for (const { name, level, answer, ms, mb } of lines) {
      const { refused, loadRefused } = hostilePolicies.find((one) => one.name === name) ?? {}
      const expected = refused ?? (level === 'load' ? loadRefused : undefined)
      if (expected === undefined) assert.equal(answer, 'deny', `${level}: ${name}`)
      else assert.match(answer, new RegExp(`^refused: .*${expected.source}`), `${level}: ${name}`)
      assert.ok(ms < BOUND_MS, `${level}: ${name} took ${ms} ms`)
      assert.ok(mb < 900, `${level}: ${mb} MB after ${name}`)
    }
  })

  test('are published or refused over HTTP, and what was in force is asked in between', async () => {
    const limits = { body: 16_777_216, depth: 32, rate: 100_000 }
    await using world = await openWorld({ config: { limits } })
    for (const { name, text, refused, loadRefused } of hostilePolicies) {
      const policies = [...starterPolicies(), { name: 'hostile.cedar', text }]
      const { status, body } = await send(world, 'ada', 'POST', '/v1/policies', JSON.stringify({ policies }))
      const shown = `${name}: ${JSON.stringify(body).slice(0, 300)}`
      if (text.length > 200_000) {
        assert.equal(status, 400, shown)
        assert.match(said(body), /`policies\.2\.text` must have at most 200000 characters/)
      } else if (status === 400) assert.match(said(body), /well-formed/, shown)
      // the schema is derived, so that it has whatever attributes are named
      else if (status !== 201) assert.match(said(body), refused ?? loadRefused ?? /never/, shown)
      const asked = await ask(world, question())
      assert.deepEqual([asked.status, asked.body['decision']], [200, true], name)
    }

    const files = Array.from({ length: 8 }, (_, at) => ({
      name: `p${at}.cedar`,
      text: Array.from({ length: 1_000 }, (__, n) => probe(`context.note == "${1_000 * at + n}"`)).join(''),
    }))
    const policies = [...starterPolicies(), ...files]
    const published = await send(world, 'ada', 'POST', '/v1/policies', JSON.stringify({ policies }))
    assert.equal(published.status, 201)
    const asked = await ask(world, question({ action: { name: 'probe' }, context: { note: '7999' } }))
    assert.deepEqual([asked.status, asked.body['decision']], [200, true])
  })
})

const probe = (condition: string): string =>
  `permit (principal is Agent, action == Action::"probe", resource is Document) when { ${condition} };\n`

/** A question about `probe`, which is permitted while `note` is "x" and `size` is not above 5; members as text. */
const probing = (context: string, more = '') =>
  `{"subject":{"type":"Agent","id":"migrator"},"action":{"name":"probe"},"resource":{"type":"Document","id":"handbook"},"context":{${context}}${more}}`
const deep = (times: number): string => `${'['.repeat(times)}${']'.repeat(times)}`

/** What is asked, and the answer: a decision, or the status of a refusal. */
const attempts: readonly (readonly [name: string, body: string, answer: boolean | number])[] = [
  ['as it should be', probing('"note":"x","size":5'), true],
  ['beyond the bound', probing('"note":"x","size":6'), false],
  ['the largest exact integer', probing('"note":"x","size":-9007199254740991'), true],
  ['beyond 2^53', probing('"note":"x","size":-9007199254740993'), 400],
  ['beyond 2^64', probing('"note":"x","size":-36893488147419103232'), 400],
  ['no number at all', probing('"note":"x","size":1e400'), 400],
  ['a number of 50,000 digits', probing(`"note":"x","size":${'1'.repeat(50_000)}`), 400],
  ['a fraction', probing('"note":"x","size":0.5'), false],
  ['a fraction that is none', probing('"note":"x","size":5.0'), true],
  ['null', probing('"note":"x","size":null'), false],
  ['null for what permits', probing('"note":null'), false],
  ['another type', probing('"note":["x"]'), false],
  ['a reference', probing('"note":{"__entity":{"type":"Agent","id":"x"}}'), 400],
  ['a call', probing('"note":"x","size":{"__extn":{"fn":"ip","arg":"::1"}}'), 400],
  ['an expression', probing('"note":{"__expr":"1"}'), 400],
  ['escapes beside', probing('"note":"x","more":{"__entity":{"type":"Agent","id":"x"},"__extn":1}'), 400],
  ['the prototype', probing('"note":"x","__proto__":{"size":1}'), 400],
  ['the constructor', probing('"note":"x","constructor":{"prototype":{"size":9}}'), true],
  ['one member twice', probing('"note":"y","note":"x"'), 400],
  ['a lone surrogate', probing('"note":"\\ud800"'), 400],
  ['8 levels', probing(`"note":"x","more":${deep(7)}`), true],
  ['9 levels', probing(`"note":"x","more":${deep(8)}`), 400],
  ['30 levels', probing(`"note":"x","more":${deep(29)}`), 400],
  ['10,000 levels', probing(`"note":"x","more":${deep(10_000)}`), 413],
  ['a large set', probing(`"note":"x","more":[${'1,'.repeat(2_500)}1]`), true],
  ['a huge set', probing(`"note":"x","more":[${'1,'.repeat(25_000)}1]`), 400],
  ['a megabyte', probing(`"note":"${'x'.repeat(1_000_000)}"`), 413],
  ['a type that nobody knows', probing('"note":"x"').replace('Document', 'Nothing'), false],
  ['no type', probing('"note":"x"').replace('Document', 'no type'), 400],
  ['odd properties of the subject', probing('"note":"x"').replace('"migrator"', '"migrator","properties":{"a":null,"b":0.5,"level":[0.5]}'), true],
  ['odd properties of the action', probing('"note":"x"').replace('"probe"', '"probe","properties":{"a":null,"b":[0.5]}'), true],
  ['odd properties of the resource', probing('"note":"x"').replace('"handbook"', '"handbook","properties":{"sensitivity":null,"b":-1.5}'), true],
  ['an escape among properties', probing('"note":"x"').replace('"probe"', '"probe","properties":{"__extn":{"fn":"ip","arg":"::1"}}'), 400],
] // prettier-ignore

describe('B76 B78 B79 hostile attempts and entities', () => {
  test('are answered or refused over HTTP', async () => {
    const text =
      probe('context has note && context.note == "x"') +
      probe('context has size && context.size > 5').replace('permit', 'forbid')
    await using world = await openWorld({ policies: [...starterPolicies(), { name: 'probe.cedar', text }] })
    for (const [name, body, answer] of attempts) {
      const { status, body: got } = await ask(world, body)
      assert.equal(status === 200 ? got['decision'] : status, answer, `${name}: ${JSON.stringify(got)}`)
    }
    const after = await ask(world, probing('"note":"x"'))
    assert.deepEqual([after.status, after.body['decision']], [200, true])
  })

  test('circles, entities given twice and types that nobody knows', async () => {
    await using world = await openWorld()
    const put = async (entities: readonly object[]) =>
      send(world, 'ada', 'PUT', '/v1/inventory', JSON.stringify({ entities }))
    const group = (id: string, ...parents: string[]) => ({
      type: 'Group',
      id,
      parents: parents.map((one) => `Group/${one}`),
    })
    const circle = [group('a', 'b'), group('b', 'c'), group('c', 'a')]
    for (const [entities, says] of [
      [circle, /would be its own ancestor/],
      [[group('d', 'd')], /would be its own ancestor/],
      [[group('e'), group('e', 'f')], /listed twice/],
      [[{ type: 'Odd::Thing', id: 'x', attrs: { c: { __entity: 1 } } }], /no member named `__entity`/],
      [[{ type: 'Odd::Thing', id: 'x', attrs: { b: 0.5 } }], /`b` of `Odd::Thing::"x"` has no Cedar type/],
    ] as const) {
      const { status, body } = await put(entities)
      assert.ok(status === 400 || status === 422, `${status}`)
      assert.match(said(body), says)
    }
    const odd = { type: 'Odd::Thing', id: 'x', attrs: { a: 'b' } }
    const stored = await put([odd])
    assert.equal(stored.status, 200, said(stored.body))
    const asked = await ask(world, question({ resource: { type: 'Odd::Thing', id: 'x' } }))
    assert.deepEqual([asked.status, asked.body['decision']], [200, false])
    assert.equal((await ask(world, question())).body['decision'], true)
  })
})
