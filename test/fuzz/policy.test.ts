/**
 * Law 7, B9 and B13 in as many cases as a test has time for: `npm run fuzz:policy` goes on for as long as is wanted.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Choices, makeCase } from './cases.ts'
import { caseOf, difference, fromText, newTally, shrink, toText } from './differ.ts'
import { Printer } from './print.ts'

// as many on a busy machine as on an idle one
const CASES = process.env['WRIT_SOAK'] === '1' ? 20_000 : 400

describe('L7 the compiled evaluator gives what reference Cedar gives', () => {
  test('B9 B13 random policies: decision, determining policies, errors; indexed and not', () => {
    const tally = newTally()
    const numbers = fc.array(fc.nat(0xffffff), { minLength: 100, maxLength: 900, size: 'max' })
    fc.assert(
      fc.property(numbers, (choices) => {
        const found = difference(caseOf(choices), tally)
        assert.equal(found, undefined, `${found}\n${toText(caseOf(choices))}`)
      }),
      { numRuns: CASES },
    )
    const { decisions, allows, errors, refusedInputs } = tally
    assert.ok(decisions > CASES / 8, `${decisions} decisions were compared`)
    assert.ok(allows > 0 && errors > 0, 'no case allows, or none fails')
    assert.ok(refusedInputs < decisions, 'most cases are refused, and compare nothing')
  })

  for (const file of globSync('kept/*.json', { cwd: import.meta.dirname }).sort()) {
    test(`B9 ${file}`, () => {
      assert.equal(difference(fromText(readFileSync(join(import.meta.dirname, file), 'utf8'))), undefined)
    })
  }
})

describe('cases', () => {
  test('survive being kept as text', () => {
    const numbers = Array.from({ length: 400 }, (_, index) => index * 7_919)
    const it = caseOf(numbers)
    assert.deepEqual(fromText(toText(it)), it)
  })

  test('shrink to what still differs', () => {
    const least = shrink([5, 900, 3, 17, 44], (numbers) => numbers.some((number) => number > 16))
    assert.deepEqual(least, [17])
  })

  test('are written in many ways', () => {
    const policy = Object.values(makeCase([]).policies)[0] as Record<string, unknown>
    const texts = new Set(
      Array.from({ length: 20 }, (_, index) =>
        new Printer(new Choices(Array.from({ length: 50 }, (_, at) => at * index))).policy(policy),
      ),
    )
    assert.ok(texts.size > 5)
  })
})
