/**
 * The Merkle tree over the log (RFC 6962 §2.1, RFC 9162 §2.1): roots, and proofs that a log holds an entry or continues
 * an earlier one. Written apart from the writer of the log, with which it shares the hash functions only.
 *
 * @module
 */
import { EMPTY_ROOT, hex, nodeHash } from '../store/hash.ts'

/** A tree that grows leaf by leaf and can name its root at any size. */
export class TreeBuilder {
  /** Roots of complete subtrees with their heights, which fall strictly. */
  readonly #peaks: { height: number; root: Uint8Array }[] = []
  /** What the last leaf completed, by height. */
  readonly #completed: Uint8Array[] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  add(leaf: Uint8Array): void {
    let peak = { height: 0, root: leaf }
    this.#completed.length = 0
    for (;;) {
      this.#completed.push(peak.root)
      const left = this.#peaks.at(-1)
      if (left?.height !== peak.height) break
      this.#peaks.pop()
      peak = { height: peak.height + 1, root: nodeHash(left.root, peak.root) }
    }
    this.#peaks.push(peak)
    this.#size += 1
  }

  /** The root of the subtree of 2^`height` leaves that the last leaf completed, in lowercase hex. */
  completed(height: number): string | undefined {
    const root = this.#completed[height]
    return root && hex(root)
  }

  /** Roots of the complete subtrees, largest first, in lowercase hex. */
  peaks(): string[] {
    return this.#peaks.map(({ root }) => hex(root))
  }

  /** Lowercase hex. */
  root(): string {
    const roots = this.#peaks.map((peak) => peak.root)
    return hex(roots.length === 0 ? EMPTY_ROOT : roots.reduceRight((right, left) => nodeHash(left, right)))
  }
}

/** The root over `leaves`, which are leaf hashes. */
export function treeRoot(leaves: readonly Uint8Array[]): Uint8Array {
  const [first] = leaves
  if (first === undefined) return EMPTY_ROOT
  if (leaves.length === 1) return first
  const cut = split(leaves.length)
  return nodeHash(treeRoot(leaves.slice(0, cut)), treeRoot(leaves.slice(cut)))
}

/** The path from leaf `index` to the root, nearest first (RFC 9162 §2.1.3.1). */
export function inclusionProof(leaves: readonly Uint8Array[], index: number): Uint8Array[] {
  if (!(index >= 0 && index < leaves.length)) throw new TypeError('`index` must be that of a leaf')
  if (leaves.length === 1) return []
  const cut = split(leaves.length)
  return index < cut
    ? [...inclusionProof(leaves.slice(0, cut), index), treeRoot(leaves.slice(cut))]
    : [...inclusionProof(leaves.slice(cut), index - cut), treeRoot(leaves.slice(0, cut))]
}

/** Whether `proof` shows that leaf `index` of a tree of `size` with `root` is `leaf` (RFC 9162 §2.1.3.2). */
export function isIncluded(
  leaf: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!(index >= 0 && index < size)) return false
  let [node, last] = [index, size - 1]
  let hash = leaf
  for (const sibling of proof) {
    if (last === 0) return false
    if (node % 2 === 1 || node === last) {
      hash = nodeHash(sibling, hash)
      while (node % 2 === 0 && node !== 0) [node, last] = [half(node), half(last)]
    } else {
      hash = nodeHash(hash, sibling)
    }
    ;[node, last] = [half(node), half(last)]
  }
  return last === 0 && hex(hash) === hex(root)
}

/** What shows that the tree over `leaves` continues that over the first `first` of them (RFC 9162 §2.1.4.1). */
export function consistencyProof(leaves: readonly Uint8Array[], first: number): Uint8Array[] {
  if (!(first > 0 && first <= leaves.length))
    throw new TypeError('`first` must be a size that the log has had')
  return subproof(first, leaves, true)
}

function subproof(first: number, leaves: readonly Uint8Array[], isWhole: boolean): Uint8Array[] {
  if (first === leaves.length) return isWhole ? [] : [treeRoot(leaves)]
  const cut = split(leaves.length)
  return first <= cut
    ? [...subproof(first, leaves.slice(0, cut), isWhole), treeRoot(leaves.slice(cut))]
    : [...subproof(first - cut, leaves.slice(cut), false), treeRoot(leaves.slice(0, cut))]
}

/** Whether `proof` shows that a log of `second` entries continues one of `first` (RFC 9162 §2.1.4.2). */
export function isContinued(
  first: number,
  firstRoot: Uint8Array,
  second: number,
  secondRoot: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (!(first > 0 && first <= second)) return false
  if (first === second) return proof.length === 0 && hex(firstRoot) === hex(secondRoot)
  const path = isPowerOfTwo(first) ? [firstRoot, ...proof] : [...proof]
  const start = path.shift()
  if (start === undefined) return false
  let [node, last] = [first - 1, second - 1]
  while (node % 2 === 1) [node, last] = [half(node), half(last)]
  let [old, grown] = [start, start]
  for (const sibling of path) {
    if (last === 0) return false
    if (node % 2 === 1 || node === last) {
      old = nodeHash(sibling, old)
      grown = nodeHash(sibling, grown)
      while (node % 2 === 0 && node !== 0) [node, last] = [half(node), half(last)]
    } else {
      grown = nodeHash(grown, sibling)
    }
    ;[node, last] = [half(node), half(last)]
  }
  return last === 0 && hex(old) === hex(firstRoot) && hex(grown) === hex(secondRoot)
}

/** The largest power of two below `size`, which is at least 2. */
function split(size: number): number {
  let cut = 1
  while (cut * 2 < size) cut *= 2
  return cut
}

const half = (n: number): number => Math.floor(n / 2)
const isPowerOfTwo = (n: number): boolean => Number.isInteger(Math.log2(n))
