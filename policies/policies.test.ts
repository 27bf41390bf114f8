/**
 * The starter policies: their own tests, run as anybody would, and what no test file can say of them.
 *
 * @module
 */
import { suite, test } from 'node:test'
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { situations, starterInventory, starterPolicies } from '../src/cli/commands/setup.ts'
import { parse } from 'yaml'
import { decodeEntity, entityInput } from '../src/wire/v1/index.ts'
import { inventoryOf } from '../src/decision/rehearse.ts'
import { sensitivityNames } from '../src/model/entity.ts'
import type { EntityData } from '../src/policy/index.ts'
import { formatPolicies, lint, loadPolicySet, renderProblem } from '../src/policy/index.ts'
import { Cli } from '../test/support/cli.ts'

const FOLDER = import.meta.dirname
const names = situations().map(({ name }) => name)
const files = readdirSync(FOLDER)

/** What `writ policy test --json` says of one test. */
type Tested = Readonly<{
  file: string
  name: string
  ok: boolean
  failures: readonly Readonly<{ principal: string; action: string; resource: string; problems: string[] }>[]
}>

using cli = new Cli()
const ran = await cli.run(['policy', 'test', FOLDER, '--min-coverage', '100', '--json'])
const answer = JSON.parse(ran.stdout || '{}') as { items?: readonly Tested[] }

suite('their own tests', () => {
  test('they run, and try every policy and every condition both ways', () => {
    assert.equal(ran.code, 0, ran.stderr)
    const tested = new Set((answer.items ?? []).map(({ file }) => basename(file)))
    const expected = files
      .filter((file) => file.endsWith('.cedar'))
      .map((file) => file.replace(/cedar$/u, 'test.yaml'))
    assert.deepEqual(tested, new Set(expected))
  })
  for (const { file, name, ok, failures } of answer.items ?? []) {
    test(`${basename(file, '.test.yaml')}: ${name}`, () => {
      const told = failures.map(
        (one) => `${one.principal} ${one.action} ${one.resource}: ${one.problems.join('; ')}`,
      )
      assert.ok(ok, told.join('\n'))
    })
  }
})

suite('as they are shipped', () => {
  for (const chosen of [[], names, ...names.map((name) => [name])]) {
    test(`${['writ', 'migration', ...chosen].join(' + ')}: nothing to warn of, nothing to find fault with`, () => {
      const inventory = entitiesOf(starterInventory(chosen))
      const { set, warnings } = load(chosen, inventory)
      assert.deepEqual([...warnings, ...lint(set, inventory)].map(renderProblem), [])
      assert.equal(set.derivedSchema, true)
    })
  }
  test('they load whatever the inventory is: it may have been there before them', () => {
    for (const chosen of [[], names, ...names.map((name) => [name])])
      assert.deepEqual(load(chosen, []).warnings, [])
  })
  test('they are laid out as `writ policy fmt` does', () => {
    for (const { name, text } of starterPolicies(names)) {
      const formatted = formatPolicies(name, text)
      assert.ok(formatted.ok, name)
      assert.equal(formatted.text, text, name)
    }
  })
  test('each situation has its policies, its tests, its part of the inventory and a sentence', () => {
    assert.ok(names.length >= 8)
    const always = starterInventory()
    for (const { name, sentence } of situations()) {
      assert.ok(files.includes(`${name}.test.yaml`), name)
      assert.match(sentence, /^[A-Z].{30,160}\.$/u, name)
      assert.ok(starterInventory([name]).length > always.length, name)
    }
    assert.equal(starterInventory(names), readFileSync(join(FOLDER, 'inventory.yaml'), 'utf8'))
  })
  test('pools are named once, so that one situation does not lend its approvers to another', () => {
    const { set } = load(names, [])
    const own = names.map((name) => load([name], []).set.pools.filter((pool) => pool !== 'dba'))
    assert.deepEqual(['dba', ...own.flat()].sort(), [...set.pools].sort())
  })
  test('whatever needs evidence says how long it lives, and binds to the attempt where it is sensitive', () => {
    for (const { id, effect, annotations, reads, governsWrit } of load(names, []).set.policies) {
      if (effect !== 'permit' || governsWrit || reads.approvals.size === 0) continue
      assert.ok('ttl' in annotations && 'uses' in annotations && 'binding' in annotations, id)
    }
  })
})

function load(chosen: readonly string[], inventory: readonly EntityData[]) {
  const loaded = loadPolicySet(
    { policies: starterPolicies(chosen) },
    { hash: (text) => `len:${text.length}`, inventory },
  )
  assert.ok(loaded.ok, loaded.ok ? '' : loaded.problems.map(renderProblem).join('\n'))
  return { set: loaded.set, warnings: loaded.warnings }
}

/** The lines of an inventory file as policies see them. */
function entitiesOf(text: string): readonly EntityData[] {
  const { entities } = parse(text) as { entities: readonly { sensitivity?: number }[] }
  const lines = entities.map(({ sensitivity, ...line }) =>
    decodeEntity(
      entityInput.parse({
        ...line,
        ...(sensitivity === undefined ? {} : { sensitivity: sensitivityNames[sensitivity - 1] }),
      }),
    ),
  )
  return inventoryOf(lines).data
}
