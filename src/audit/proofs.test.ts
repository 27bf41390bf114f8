import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import test from 'node:test'
import fc from 'fast-check'
import { appendLeaves, emptyFrontier } from '../store/frontier.ts'
import type { HashSource } from './proofs.ts'
import { Prover } from './proofs.ts'
import { isContinued, isIncluded } from './tree.ts'

/** RFC 6962 §2.1, by the letter and with nothing of ours: MTH, PATH and PROOF over leaf hashes, remembered by range. */
class Letter {
  readonly #leaves: readonly Uint8Array[]
  readonly #known = new Map<number, Uint8Array>()

  constructor(leaves: readonly Uint8Array[]) {
    this.#leaves = leaves
  }

  mth(from: number, to: number): Uint8Array {
    const n = to - from
    if (n === 0) return hash('sha256', '', 'buffer')
    if (n === 1) return this.#leaves[from] as Uint8Array
    const key = from * 2 ** 21 + to
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const k = from + below(n)
    const made = hash('sha256', Buffer.concat([Buffer.of(1), this.mth(from, k), this.mth(k, to)]), 'buffer')
    this.#known.set(key, made)
    return made
  }

  path(m: number, from: number, to: number): Uint8Array[] {
    const n = to - from
    if (n === 1) return []
    const k = below(n)
    return m < k
      ? [...this.path(m, from, from + k), this.mth(from + k, to)]
      : [...this.path(m - k, from + k, to), this.mth(from, from + k)]
  }

  proof(m: number, n: number): Uint8Array[] {
    return this.#subproof(m, 0, n, true)
  }

  #subproof(m: number, from: number, to: number, b: boolean): Uint8Array[] {
    const n = to - from
    if (m === n) return b ? [] : [this.mth(from, to)]
    const k = below(n)
    return m <= k
      ? [...this.#subproof(m, from, from + k, b), this.mth(from + k, to)]
      : [...this.#subproof(m - k, from + k, to, false), this.mth(from, from + k)]
  }
}

/** The largest power of two smaller than `n`. */
function below(n: number): number {
  let k = 1
  while (2 * k < n) k *= 2
  return k
}

/** Leaves, and the levels over them as the store would keep them. */
function logOf(size: number): { leaves: Uint8Array[]; source: HashSource; reads: () => number } {
  // what a leaf is the hash of does not matter here
  const bytes = Buffer.alloc(32 * size)
  for (let i = 0; i < size; i += 1) bytes.writeUInt32LE(i, 32 * i)
  const leaves = Array.from({ length: size }, (_, i) => bytes.subarray(32 * i, 32 * i + 32))
  const levels: Uint8Array[][] = [leaves]
  appendLeaves(emptyFrontier, leaves, ({ level, index, hash }) => ((levels[level] ??= [])[index] = hash))
  let reads = 0
  const source = {
    async hashes(level: number, from: number, to: number) {
      reads += 1
      assert.ok(to - from <= 256 && from < to)
      return (levels[level] ?? []).slice(from, to)
    },
  }
  return { leaves, source, reads: () => reads }
}

const hex = (hashes: readonly Uint8Array[]): string[] => hashes.map((it) => Buffer.from(it).toString('hex'))

async function checkInclusion(
  log: Uint8Array[],
  prover: Prover,
  letter: Letter,
  index: number,
  size: number,
) {
  const proof = await prover.inclusion(index, size)
  assert.deepEqual(hex(proof), hex(letter.path(index, 0, size)), `${index} of ${size}`)
  const leaf = log[index] as Uint8Array
  assert.ok(isIncluded(leaf, index, size, proof, letter.mth(0, size)))
}

async function checkConsistency(prover: Prover, letter: Letter, first: number, second: number) {
  const proof = await prover.consistency(first, second)
  assert.deepEqual(hex(proof), hex(letter.proof(first, second)), `${first} to ${second}`)
  assert.ok(isContinued(first, letter.mth(0, first), second, letter.mth(0, second), proof))
}

test('B66 proofs of every entry and every pair of sizes to 300 are those of RFC 6962', async () => {
  const { leaves, source } = logOf(300)
  const prover = new Prover(source)
  const letter = new Letter(leaves)
  assert.deepEqual(Buffer.from(await prover.root(0)), Buffer.from(letter.mth(0, 0)))
  for (let size = 1; size <= 300; size += 1) {
    assert.deepEqual(Buffer.from(await prover.root(size)), Buffer.from(letter.mth(0, size)))
    for (let index = 0; index < size; index += 1) {
      const proof = await prover.inclusion(index, size)
      assert.ok(same(proof, letter.path(index, 0, size)), `${index} of ${size}`)
      assert.ok(isIncluded(leaves[index] as Uint8Array, index, size, proof, letter.mth(0, size)))
    }
    for (let first = 1; first <= size; first += 1) {
      const proof = await prover.consistency(first, size)
      assert.ok(same(proof, letter.proof(first, size)), `${first} to ${size}`)
      assert.ok(isContinued(first, letter.mth(0, first), size, letter.mth(0, size), proof))
    }
  }
})

const same = (a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean =>
  a.length === b.length && a.every((it, i) => Buffer.compare(it, b[i] as Uint8Array) === 0)

test('B66 proofs at the edges of tiles and at random sizes to a million are those of RFC 6962, in few reads', async () => {
  const { leaves, source, reads } = logOf(1_000_000)
  const letter = new Letter(leaves)
  const edges = [255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 131_071, 131_072, 999_999, 1_000_000]
  const prover = new Prover(source)
  for (const second of edges) {
    for (const first of edges.filter((it) => it <= second))
      await checkConsistency(prover, letter, first, second)
    for (const index of [0, 1, 254, 255, 256, 257, 65_535, 65_536, second - 2, second - 1]) {
      if (index < second) await checkInclusion(leaves, prover, letter, index, second)
    }
  }
  const size = fc.oneof(fc.integer({ min: 1, max: 1_000_000 }), fc.integer({ min: 1, max: 70_000 }))
  const part = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
  await fc.assert(
    fc.asyncProperty(size, part, async (second, share) => {
      // few tiles: what was forgotten is read again
      const small = new Prover(source, { tiles: 2 })
      await checkInclusion(leaves, small, letter, Math.floor(share * second), second)
      await checkConsistency(small, letter, 1 + Math.floor(share * second), second)
      const before = reads()
      await new Prover(source).inclusion(Math.floor(share * second), second)
      assert.ok(reads() - before <= 6, `${reads() - before} reads`)
    }),
    { numRuns: 60 },
  )
})

test('proofs asked for at once, and at sizes the log grows through, do not disturb each other', async () => {
  const { leaves, source } = logOf(700)
  const letter = new Letter(leaves)
  const prover = new Prover(source)
  const sizes = Array.from({ length: 700 }, (_, i) => i + 1)
  await Promise.all(sizes.map((size) => checkInclusion(leaves, prover, letter, size - 1, size)))
  await Promise.all(sizes.map((size) => checkConsistency(prover, letter, Math.ceil(size / 3), size)))
})

test('no proof is made of what cannot be', async () => {
  const { source } = logOf(10)
  const prover = new Prover(source)
  for (const [index, size] of [
    [-1, 5],
    [5, 5],
    [0.5, 5],
    [0, 0],
    [0, 2.5],
    [0, Number.NaN],
  ] as const)
    await assert.rejects(prover.inclusion(index, size), TypeError)
  for (const [first, second] of [
    [0, 5],
    [6, 5],
    [1.5, 5],
    [1, Number.POSITIVE_INFINITY],
  ] as const)
    await assert.rejects(prover.consistency(first, second), TypeError)
  await assert.rejects(prover.root(-1), TypeError)
  await assert.rejects(prover.root(11), RangeError)
  await assert.rejects(prover.inclusion(3, 11), RangeError)
})
