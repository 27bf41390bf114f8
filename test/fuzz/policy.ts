/**
 * `npm run fuzz:policy -- --cases N --seed S [--seconds T]`: random policies through the compiled evaluator and the
 * reference. A case that differs is shrunk, kept in `test/fuzz/kept/`, and ends the run with status 1.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { caseOf, difference, newTally, shrink, toText } from './differ.ts'

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    seconds: { type: 'string', default: 'Infinity' },
  },
})
const wanted = Number(values.cases)
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
  writeFileSync(join(import.meta.dirname, 'kept', name), toText(kept))
  process.stdout.write(`shrunk, kept as test/fuzz/kept/${name}: ${explain(least)}\n${toText(kept)}`)
  process.exit(1)
}
const seconds = (performance.now() - startedAt) / 1_000
process.stdout.write(`${JSON.stringify({ ...tally, nextSeed: seed, seconds: Number(seconds.toFixed(1)) })}\n`)

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
