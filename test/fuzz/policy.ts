/**
 * `npm run fuzz:policy -- --cases N --seed S [--seconds T]`: random policies through the compiled evaluator and the
 * reference. A case that differs is shrunk, kept in `test/fuzz/kept/`, and ends the run with status 1.
 *
 * `--what set` compares whole sets, under law 6 and with chains; N are sets. One that differs is shrunk and told.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import fc from 'fast-check'
import { caseOf, difference, newTally, shrink, toText } from './differ.ts'
import { sameAnswers } from './sets.ts'

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    seconds: { type: 'string', default: 'Infinity' },
    what: { type: 'string', default: 'policy' },
  },
})
if (!['policy', 'set'].includes(values.what)) throw new TypeError(`nothing is called \`${values.what}\``)
const wanted = Number(values.cases)
if (values.what === 'set') {
  fuzzSets()
  process.exit()
}
const tally = newTally()
const startedAt = performance.now()

let seed = Number(values.seed) >>> 0
const until = startedAt + Number(values.seconds) * 1_000
for (; tally.decisions < wanted && performance.now() < until; seed = (seed + 1) >>> 0) {
  const numbers = numbersOf(seed)
  let found: string | undefined
  try {
    found = difference(caseOf(numbers), tally)
  } catch (error) {
    found = `it broke: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`
  }
  if (found === undefined) continue
  process.stdout.write(`seed ${seed}: ${found}\n`)
  const least = shrink(numbers, differs)
  const kept = caseOf(least)
  const name = `${createHash('sha256').update(toText(kept)).digest('hex').slice(0, 12)}.json`
  mkdirSync(join(import.meta.dirname, 'kept'), { recursive: true })
  writeFileSync(join(import.meta.dirname, 'kept', name), toText(kept))
  process.stdout.write(`shrunk, kept as test/fuzz/kept/${name}: ${explain(least)}\n${toText(kept)}`)
  process.exit(1)
}
const seconds = (performance.now() - startedAt) / 1_000
process.stdout.write(`${JSON.stringify({ ...tally, nextSeed: seed, seconds: Number(seconds.toFixed(1)) })}\n`)

function fuzzSets(): void {
  const from = performance.now()
  const ran = fc.check(sameAnswers(12), {
    seed: Number(values.seed) | 0,
    numRuns: wanted,
    interruptAfterTimeLimit: Math.min(Number(values.seconds) * 1_000, 2 ** 31 - 1),
    markInterruptAsFailure: false,
  })
  if (ran.failed) {
    process.stdout.write(`${fc.defaultReportMessage(ran)}\n`)
    process.exitCode = 1
  }
  const took = ((performance.now() - from) / 1_000).toFixed(1)
  process.stdout.write(
    `${JSON.stringify({ sets: ran.numRuns, differ: ran.failed, seconds: Number(took) })}\n`,
  )
}

function differs(numbers: readonly number[]): boolean {
  return explain(numbers) !== undefined
}

function explain(numbers: readonly number[]): string | undefined {
  try {
    return difference(caseOf(numbers))
  } catch (error) {
    return `it broke: ${String(error)}`
  }
}

/** A list of choices for a seed (xorshift, 32 bits). */
function numbersOf(from: number): number[] {
  let state = (Math.imul(from, 0x9e3779b1) ^ 0x5bd1e995) >>> 0 || 1
  const next = (): number => {
    state ^= state << 13
    state >>>= 0
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state >>> 8
  }
  return Array.from({ length: 100 + (next() % 900) }, next)
}
