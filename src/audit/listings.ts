/**
 * Whether what a log is searched by is what its entries say, without sorting it: two lists are the same, whatever their
 * order, if the sums of a keyed hash over them are. The key is new each time, so that nobody can plan for it.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'

/** Entry `seq` can be found under a reference or a search term. */
export type Listing = Readonly<{ list: 'ref' | 'term'; text: string; seq: number }>

/** Texts whose hash is remembered. */
const TEXTS = 4_096

export class ListingSum {
  readonly #key = randomBytes(8)
  readonly #skipped = new Set<number>()
  readonly #texts = new Map<string, readonly [number, number]>()
  #low = 0
  #high = 0

  add({ list, text, seq }: Listing): void {
    this.#count(list, text, seq, 1)
  }

  /** What is listed of this entry is not known, and does not count. */
  skip(seq: number): void {
    this.#skipped.add(seq)
  }

  /** Whether `listings` are those added. */
  isSumOf(listings: Iterable<Listing>): boolean {
    for (const { list, text, seq } of listings) if (!this.#skipped.has(seq)) this.#count(list, text, seq, -1)
    return this.#low === 0 && this.#high === 0
  }

  #count(list: Listing['list'], text: string, seq: number, sign: 1 | -1): void {
    const [a, b] = this.#text(list, text)
    const [low, high] = halfSip(a, b, [seq >>> 0, Math.floor(seq / 2 ** 32)])
    this.#low = (this.#low + sign * low) | 0
    this.#high = (this.#high + sign * high) | 0
  }

  /** Most entries are listed under few texts. */
  #text(list: Listing['list'], text: string): readonly [number, number] {
    const name = list === 'ref' ? `r${text}` : `t${text}`
    const known = this.#texts.get(name)
    if (known !== undefined) return known
    const words: number[] = []
    for (let i = 0; i < name.length; i += 2)
      words.push(name.charCodeAt(i) | ((name.charCodeAt(i + 1) || 0) << 16))
    words.push(name.length)
    const made = halfSip(this.#key.readInt32LE(0), this.#key.readInt32LE(4), words)
    if (this.#texts.size >= TEXTS) this.#texts.clear()
    this.#texts.set(name, made)
    return made
  }
}

const rotate = (word: number, by: number): number => (word << by) | (word >>> (32 - by))

/** HalfSipHash-1-3 of words, 64 bits of it. */
function halfSip(k0: number, k1: number, words: readonly number[]): readonly [number, number] {
  let v0 = k0
  let v1 = k1
  let v2 = 0x6c796765 ^ k0
  let v3 = 0x74656462 ^ k1
  v1 ^= 0xee
  const round = (): void => {
    v0 = (v0 + v1) | 0
    v1 = rotate(v1, 5) ^ v0
    v0 = rotate(v0, 16)
    v2 = (v2 + v3) | 0
    v3 = rotate(v3, 8) ^ v2
    v0 = (v0 + v3) | 0
    v3 = rotate(v3, 7) ^ v0
    v2 = (v2 + v1) | 0
    v1 = rotate(v1, 13) ^ v2
    v2 = rotate(v2, 16)
  }
  for (const word of words) {
    v3 ^= word
    round()
    v0 ^= word
  }
  v2 ^= 0xee
  round()
  round()
  round()
  const low = v1 ^ v3
  v1 ^= 0xdd
  round()
  round()
  round()
  return [low, v1 ^ v3]
}
