/**
 * The right edge of a growing RFC 6962 tree: the roots of its complete subtrees, largest first. Enough to append and to
 * name the root, in 32 bytes for every 1 in the binary form of the size.
 *
 * @module
 */
import { EMPTY_ROOT, nodeHash } from './hash.ts'

export type Frontier = Readonly<{ size: number; roots: readonly Uint8Array[] }>

export const emptyFrontier: Frontier = { size: 0, roots: [] }

/** A complete subtree of 256^`level` leaves, the `index`-th from the left. */
export type Node = Readonly<{ level: number; index: number; hash: Uint8Array }>

/** `completed` hears of every subtree of 256, 256², … leaves that `leaves` complete. */
export function appendLeaves(
  frontier: Frontier,
  leaves: readonly Uint8Array[],
  completed: (node: Node) => void = () => undefined,
): Frontier {
  const roots = [...frontier.roots]
  let size = frontier.size
  for (const leaf of leaves) {
    let root = leaf
    let height = 0
    // every complete subtree of equal size to the left joins the new one; sizes stay far below 2^53
    for (let rest = size; rest % 2 === 1; rest = (rest - 1) / 2) {
      root = nodeHash(roots.pop() as Uint8Array, root)
      height += 1
      if (height % 8 === 0) completed({ level: height / 8, index: (rest - 1) / 2, hash: root })
    }
    roots.push(root)
    size += 1
  }
  return { size, roots }
}

export function frontierRoot(frontier: Frontier): Uint8Array {
  const [last, ...larger] = frontier.roots.toReversed()
  if (last === undefined) return EMPTY_ROOT
  return larger.reduce((right, left) => nodeHash(left, right), last)
}

export function encodeFrontier(frontier: Frontier): Uint8Array {
  return Buffer.concat(frontier.roots)
}

/** `undefined` if `bytes` cannot belong to a log of `size` entries. */
export function decodeFrontier(size: number, bytes: Uint8Array): Frontier | undefined {
  let ones = 0
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) ones += rest % 2
  if (bytes.length !== ones * 32) return undefined
  return { size, roots: Array.from({ length: ones }, (_, i) => bytes.slice(i * 32, i * 32 + 32)) }
}
