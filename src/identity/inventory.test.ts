import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { TestStore } from '../../test/support/store.ts'
import { openTestStore } from '../../test/support/store.ts'
import type { Entity, EntityRef, SubjectKind } from '../model/entity.ts'
import { defaultKind, parseRef, refKey } from '../model/entity.ts'
import { isWritError } from '../model/errors.ts'
import { Picture } from '../store/picture.ts'
import {
  cedarEntities,
  checkHierarchy,
  loadClosure,
  MAX_ANCESTORS,
  MAX_DEPTH,
  registered,
} from './inventory.ts'
import { humanRoots, whoIsBehind } from './roots.ts'

const ref = (key: string): EntityRef => parseRef(key) as EntityRef

type Line = Readonly<{
  owner?: string
  team?: string
  parents?: readonly string[]
  kind?: SubjectKind
  deleted?: boolean
}>

function entity(key: string, { owner, team, parents = [], kind, deleted }: Line = {}): Entity {
  const { type, id } = ref(key)
  return {
    type,
    id,
    kind: kind ?? defaultKind(type),
    ...(owner === undefined ? {} : { owner: ref(owner) }),
    ...(team === undefined ? {} : { team: ref(team) }),
    sensitivity: 4,
    parents: parents.map(ref),
    attrs: {},
    generation: 0,
    ...(deleted === true ? { deletedAt: 1 } : {}),
  }
}

async function register(store: TestStore, lines: Readonly<Record<string, Line>>): Promise<void> {
  await store.commit({
    reads: [],
    run: (tx) => Object.entries(lines).forEach(([key, line]) => tx.put('entity', key, entity(key, line))),
  })
}

describe('C4 who stands behind', () => {
  const lines: Readonly<Record<string, Line>> = {
    'Person/ada': { parents: ['Group/dba'] },
    'Person/bob': { parents: ['Group/inner'] },
    'Person/eve': {},
    'Group/dba': {},
    'Group/inner': { parents: ['Group/dba'] },
    'Agent/own': { owner: 'Person/ada' },
    'Agent/nested': { owner: 'Agent/own' },
    'Agent/team': { team: 'Group/dba' },
    'Agent/both': { owner: 'Person/eve', team: 'Group/dba' },
    'Agent/group': { owner: 'Group/dba' },
    'Agent/nobody': {},
    'Agent/ghost': { owner: 'Person/unregistered' },
    'Agent/loop': { owner: 'Agent/pool' },
    'Agent/pool': { owner: 'Agent/loop' },
    'Agent/orphan': { owner: 'Person/gone' },
    'Person/gone': { deleted: true },
  }
  const cases: readonly (readonly [string, readonly string[], readonly string[], boolean])[] = [
    ['a person is their own root', ['Person/ada'], ['Person/ada'], false],
    ['the owner of an agent', ['Agent/own'], ['Person/ada'], false],
    ['the owner of the owner', ['Agent/nested'], ['Person/ada'], false],
    ['members of an owning team, through groups too', ['Agent/team'], ['Person/ada', 'Person/bob'], false],
    ['an owning group', ['Agent/group'], ['Person/ada', 'Person/bob'], false],
    ['owner and team', ['Agent/both'], ['Person/ada', 'Person/bob', 'Person/eve'], false],
    ['no team where a person is verified', ['Agent/team', 'Person/eve'], ['Person/eve'], false],
    [
      'personal owners also where a person is verified',
      ['Agent/own', 'Person/eve'],
      ['Person/ada', 'Person/eve'],
      false,
    ],
    ['nobody', ['Agent/nobody'], [], true],
    ['somebody nobody registered', ['Agent/ghost'], [], true],
    ['owners in a circle', ['Agent/loop'], [], true],
    ['an owner who was deleted', ['Agent/orphan'], [], true],
    ['one of several cannot be named', ['Agent/own', 'Agent/nobody'], ['Person/ada'], true],
    ['unregistered', ['Agent/what'], [], true],
  ]
  for (const [name, instigators, roots, unresolved] of cases) {
    test(name, async () => {
      await using store = await openTestStore()
      await register(store, lines)
      const found = await humanRoots(new Picture(store), instigators.map(ref))
      assert.deepEqual([[...found.roots].sort(), found.unresolved], [roots, unresolved])
    })
  }

  test('B18 over any graph of owners, nobody who owns it in person is left out', async () => {
    const people = ['Person/a', 'Person/b', 'Person/c']
    const agents = ['Agent/0', 'Agent/1', 'Agent/2', 'Agent/3', 'Agent/4']
    const owner = fc.option(fc.constantFrom(...people, ...agents, 'Person/unregistered'), { nil: undefined })
    await using store = await openTestStore()
    await fc.assert(
      fc.asyncProperty(
        fc.array(owner, { minLength: 5, maxLength: 5 }),
        fc.constantFrom(...agents),
        async (owners, asked) => {
          await register(store, {
            ...Object.fromEntries(people.map((p) => [p, {}])),
            ...Object.fromEntries(
              agents.map((a, i) => [a, owners[i] === undefined ? {} : { owner: owners[i] }]),
            ),
          })
          let current: string | undefined = asked
          for (let steps = 0; current !== undefined && agents.includes(current) && steps < 10; steps += 1) {
            current = owners[agents.indexOf(current)]
          }
          const expected = current !== undefined && people.includes(current) ? [current] : []
          const found = await whoIsBehind(new Picture(store), ref(asked))
          assert.deepEqual(
            [found.owners, found.resolved, found.human],
            [expected, expected.length > 0, false],
          )
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe('the hierarchy', () => {
  const chain = (length: number): Record<string, Line> =>
    Object.fromEntries(
      Array.from({ length }, (_, i) => [`Group/${i}`, { parents: i + 1 < length ? [`Group/${i + 1}`] : [] }]),
    )
  const all = (lines: Readonly<Record<string, Line>>): Map<string, Entity> =>
    new Map(Object.entries(lines).map(([key, line]) => [key, entity(key, line)]))
  const refused = (lines: Readonly<Record<string, Line>>, changed: readonly string[]): string | undefined => {
    try {
      checkHierarchy(all(lines), changed)
      return undefined
    } catch (error) {
      assert.ok(isWritError(error))
      return error.code
    }
  }

  test('a circle is refused, wherever it closes', () => {
    assert.equal(refused({ 'Group/a': { parents: ['Group/a'] } }, ['Group/a']), 'ERR_INPUT_INVALID')
    const circle = {
      'Group/a': { parents: ['Group/b'] },
      'Group/b': { parents: ['Group/c'] },
      'Group/c': { parents: ['Group/a'] },
    }
    for (const key of Object.keys(circle)) assert.equal(refused(circle, [key]), 'ERR_INPUT_INVALID')
  })

  test('what is too deep is refused, also when it becomes so further down', () => {
    assert.equal(refused(chain(MAX_DEPTH + 1), ['Group/0']), undefined)
    assert.equal(refused(chain(MAX_DEPTH + 2), ['Group/0']), 'ERR_TOO_LARGE')
    // the change is at the top, what it cuts off is at the bottom
    assert.equal(refused(chain(MAX_DEPTH + 2), [`Group/${MAX_DEPTH}`]), 'ERR_TOO_LARGE')
  })

  test('what is too wide is refused', () => {
    const parents = (n: number) => Array.from({ length: n }, (_, i) => `Group/p${i}`)
    assert.equal(refused({ 'Person/a': { parents: parents(MAX_ANCESTORS) } }, ['Person/a']), undefined)
    assert.equal(
      refused({ 'Person/a': { parents: parents(MAX_ANCESTORS + 1) } }, ['Person/a']),
      'ERR_TOO_LARGE',
    )
  })

  test('C6 a closure that would be cut off is an error, never a smaller hierarchy', async () => {
    await using store = await openTestStore()
    await register(store, chain(MAX_DEPTH + 2))
    await assert.rejects(loadClosure(new Picture(store), [ref('Group/0')]), { code: 'ERR_TOO_LARGE' })
    const picture = new Picture(store)
    await loadClosure(picture, [ref('Group/1')])
    assert.equal(cedarEntities(picture, [ref('Group/1')]).length, MAX_DEPTH + 1)
  })

  test('deleted lines are nobody, and a circle in the store ends by itself', async () => {
    await using store = await openTestStore()
    await register(store, {
      'Group/a': { parents: ['Group/b'] },
      'Group/b': { parents: ['Group/a', 'Group/gone'] },
      'Group/gone': { deleted: true },
    })
    const picture = new Picture(store)
    await loadClosure(picture, [ref('Group/a')])
    assert.deepEqual(
      cedarEntities(picture, [ref('Group/a')]).map(({ uid }) => refKey(uid)),
      ['Group/a', 'Group/b'],
    )
    assert.equal(registered(picture, ref('Group/gone')), undefined)
  })
})
