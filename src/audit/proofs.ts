/**
 * Proofs about a log of any size from its stored hashes, in a few reads: that it holds an entry (RFC 9162 §2.1.3), that
 * it continues an earlier one (§2.1.4). Knows only where hashes are read; `tree.ts` verifies what is made here.
 *
 * @module
 */
import { EMPTY_ROOT, nodeHash } from '../store/hash.ts'

/** Hashes `from` (inclusive) to `to` (exclusive) of a level: roots of complete subtrees of 256^`level` leaves. */
export interface HashSource {
  hashes(level: number, from: number, to: number): Promise<readonly Uint8Array[]>
}

/** Hashes of one tile, and the height of the tree inside it. */
const WIDTH = 256
const HEIGHT = 8
/** Tiles remembered: 16 kB each when whole. */
const TILES = 512

/**
 * Makes proofs over one log. Hashes never change once they are there, so what was read is remembered, within bounds.
 *
 * @throws {TypeError} from its methods for an index or size that cannot be; {RangeError} if the log does not reach so far.
 */
export class Prover {
  readonly #source: HashSource
  readonly #most: number
  /** In the order of use. */
  readonly #tiles = new Map<string, Tile>()

  constructor(source: HashSource, options: { tiles?: number } = {}) {
    this.#source = source
    this.#most = options.tiles ?? TILES
  }

  /** The root of the log when it had `size` entries. */
  async root(size: number): Promise<Uint8Array> {
    requireSize(size, 0)
    if (size === 0) return EMPTY_ROOT
    const [root] = await this.#roots([[0, size]], size)
    return root as Uint8Array
  }

  /** The path from leaf `index` to the root at `size`, nearest first. */
  async inclusion(index: number, size: number): Promise<Uint8Array[]> {
    requireSize(size, 1)
    if (!Number.isSafeInteger(index) || index < 0 || index >= size)
      throw new TypeError('`index` must be that of a leaf')
    const path: Range[] = []
    for (let [from, to] = [0, size]; to - from > 1;) {
      const cut = from + split(to - from)
      path.push(index < cut ? [cut, to] : [from, cut])
      if (index < cut) to = cut
      else from = cut
    }
    return this.#roots(path.reverse(), size)
  }

  /** What shows that the log at `second` continues that at `first`; empty if they are the same. */
  async consistency(first: number, second: number): Promise<Uint8Array[]> {
    requireSize(first, 1)
    requireSize(second, 1)
    if (first > second) throw new TypeError('`first` must be a size that the log has had')
    const path: Range[] = []
    let [from, to] = [0, second]
    while (to > first) {
      const cut = from + split(to - from)
      path.push(first <= cut ? [cut, to] : [from, cut])
      if (first <= cut) to = cut
      else from = cut
    }
    // a subtree that was the whole earlier log is known to whoever asks
    if (from > 0) path.push([from, to])
    return this.#roots(path.reverse(), second)
  }

  /**
   * The roots over `ranges` of leaves, each of which starts at a multiple of the largest power of two in its length.
   * Everything missing is read at once.
   */
  async #roots(ranges: readonly Range[], size: number): Promise<Uint8Array[]> {
    const tiles = new Map<string, Tile>()
    const reads: Promise<void>[] = []
    const roots = ranges.map(([from, to]) =>
      subtrees(from, to).map(({ height, index }) => {
        const level = Math.floor(height / HEIGHT)
        const inside = height % HEIGHT
        const at = Math.floor((index * 2 ** inside) / WIDTH)
        const key = `${level}/${at}`
        let tile = tiles.get(key)
        if (tile === undefined) {
          tile = this.#tile(key)
          tiles.set(key, tile)
          const width = Math.min(WIDTH, Math.floor(size / WIDTH ** level) - at * WIDTH)
          if (tile.width < width) reads.push(this.#read(tile, level, at * WIDTH, width))
        }
        const found = tile
        return () => found.node(inside, index - (at * WIDTH) / 2 ** inside)
      }),
    )
    if (reads.length > 0) await Promise.all(reads)
    return roots.map((peaks) =>
      peaks.map((peak) => peak()).reduceRight((right, left) => nodeHash(left, right)),
    )
  }

  #tile(key: string): Tile {
    const tile = this.#tiles.get(key) ?? new Tile()
    this.#tiles.delete(key)
    this.#tiles.set(key, tile)
    for (const oldest of this.#tiles.keys()) {
      if (this.#tiles.size <= this.#most) break
      this.#tiles.delete(oldest)
    }
    return tile
  }

  /** Reads what a tile lacks of its first `width` hashes. */
  async #read(tile: Tile, level: number, start: number, width: number): Promise<void> {
    const from = tile.width
    const hashes = await this.#source.hashes(level, start + from, start + width)
    if (hashes.length !== width - from) throw new RangeError('the log is not as large as was said')
    tile.add(from, hashes)
  }
}

/** Leaves, from and to. */
type Range = readonly [number, number]

/** The complete subtrees that make up a range, largest first. */
function subtrees(from: number, to: number): { height: number; index: number }[] {
  const found: { height: number; index: number }[] = []
  for (let at = from; at < to;) {
    const height = Math.floor(Math.log2(to - at))
    found.push({ height, index: at / 2 ** height })
    at += 2 ** height
  }
  return found
}

/** Up to 256 hashes side by side, and what is built over them, once each. */
class Tile {
  readonly #rows: (Uint8Array | undefined)[][] = Array.from({ length: HEIGHT + 1 }, () => [])
  #width = 0

  get width(): number {
    return this.#width
  }

  /** Hashes from `at` on; two that read the same at the same time bring the same. */
  add(at: number, hashes: readonly Uint8Array[]): void {
    for (const [i, hash] of hashes.entries()) (this.#rows[0] as Uint8Array[])[at + i] = hash
    this.#width = Math.max(this.#width, at + hashes.length)
  }

  node(height: number, index: number): Uint8Array {
    const row = this.#rows[height] as (Uint8Array | undefined)[]
    const known = row[index]
    if (known !== undefined) return known
    if (height === 0) throw new RangeError('the log is not as large as was said')
    const made = nodeHash(this.node(height - 1, 2 * index), this.node(height - 1, 2 * index + 1))
    row[index] = made
    return made
  }
}

/** The largest power of two below `size`, which is at least 2. */
function split(size: number): number {
  const cut = 2 ** Math.floor(Math.log2(size))
  return cut === size ? cut / 2 : cut
}

function requireSize(size: number, least: number): void {
  if (!Number.isSafeInteger(size) || size < least)
    throw new TypeError('`size` must be one that the log has had')
}
