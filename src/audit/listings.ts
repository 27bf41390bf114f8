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
  readonly #hash = new HalfSip()
  readonly #skipped = new Set<number>()
  readonly #texts = new Map<string, readonly [number, number]>()
  #last: Readonly<{ list: string; text: string; hash: readonly [number, number] }> = {
    list: '',
    text: '',
    hash: [0, 0],
  }
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
    const hash = this.#hash
    const [low, high] = this.#text(list, text)
    hash.start(low, high)
    hash.word(seq | 0)
    hash.word(Math.floor(seq / 2 ** 32))
    hash.end()
    this.#low = (this.#low + sign * hash.low) | 0
    this.#high = (this.#high + sign * hash.high) | 0
  }

  /** Most entries are listed under few texts. */
  #text(list: Listing['list'], text: string): readonly [number, number] {
    // in the tables the entries of a text follow each other
    if (list === this.#last.list && text === this.#last.text) return this.#last.hash
    const hash = this.#hashOf(list, text)
    this.#last = { list, text, hash }
    return hash
  }

  #hashOf(list: Listing['list'], text: string): readonly [number, number] {
    const name = list === 'ref' ? text : `=${text}`
    const known = this.#texts.get(name)
    if (known !== undefined) return known
    const hash = this.#hash
    hash.start()
    for (let i = 0; i < text.length; i += 2)
      hash.word(text.charCodeAt(i) | ((i + 1 < text.length ? text.charCodeAt(i + 1) : 0) << 16))
    hash.word(text.length)
    hash.word(list === 'ref' ? 0 : 1)
    hash.end()
    const made = [hash.low, hash.high] as const
    if (this.#texts.size >= TEXTS) this.#texts.clear()
    this.#texts.set(name, made)
    return made
  }
}

/** HalfSipHash-1-3 over 32-bit words, 64 bits of it. */
class HalfSip {
  low = 0
  high = 0
  readonly #k0: number
  readonly #k1: number
  #v0 = 0
  #v1 = 0
  #v2 = 0
  #v3 = 0

  constructor(key: Buffer = randomBytes(8)) {
    this.#k0 = key.readInt32LE(0)
    this.#k1 = key.readInt32LE(4)
  }

  start(k0 = this.#k0, k1 = this.#k1): void {
    this.#v0 = k0
    this.#v1 = k1 ^ 0xee
    this.#v2 = 0x6c796765 ^ k0
    this.#v3 = 0x74656462 ^ k1
  }

  word(word: number): void {
    this.#v3 ^= word
    this.#round()
    this.#v0 ^= word
  }

  end(): void {
    this.#v2 ^= 0xee
    for (let i = 0; i < 3; i += 1) this.#round()
    this.low = this.#v1 ^ this.#v3
    this.#v1 ^= 0xdd
    for (let i = 0; i < 3; i += 1) this.#round()
    this.high = this.#v1 ^ this.#v3
  }

  #round(): void {
    let [v0, v1, v2, v3] = [this.#v0, this.#v1, this.#v2, this.#v3]
    v0 = (v0 + v1) | 0
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
    v0 = (v0 << 16) | (v0 >>> 16)
    v2 = (v2 + v3) | 0
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
    v0 = (v0 + v3) | 0
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
    v2 = (v2 + v1) | 0
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
    v2 = (v2 << 16) | (v2 >>> 16)
    this.#v0 = v0
    this.#v1 = v1
    this.#v2 = v2
    this.#v3 = v3
  }
}
