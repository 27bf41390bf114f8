/**
 * A reader of a tiled log, written from the text of C2SP tlog-tiles and RFC 6962 alone: nothing of ours but SHA-256 in it.
 * `get` fetches a resource below the log's prefix.
 *
 * @module
 */
import { createHash } from 'node:crypto'

export type Get = (path: string) => Promise<Uint8Array | undefined>
export type ReadLog = Readonly<{
  origin: string
  size: number
  /** Root in the checkpoint, and as computed from every entry and from hash tiles; base64. */
  root: string
  fromEntries: string
  fromTiles: string
  entries: readonly Buffer[]
}>

const sha = (...parts: readonly (Uint8Array | string)[]): Buffer => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** MTH of RFC 6962 §2.1 over hashes of leaves. */
function mth(hashes: readonly Buffer[]): Buffer {
  if (hashes.length === 0) return sha('')
  if (hashes.length === 1) return hashes[0] as Buffer
  let k = 1
  while (k * 2 < hashes.length) k *= 2
  return sha('\u0001', mth(hashes.slice(0, k)), mth(hashes.slice(k)))
}

/** `1234067` is `x001/x234/067`. */
function elements(index: number): string {
  const digits = String(index)
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/.{3}/g) as string[]
  return groups.map((group, at) => (at === groups.length - 1 ? group : `x${group}`)).join('/')
}

/** Every tile of a level in a log of this size: `floor(s / 256^l)` hashes, the last tile partial unless it is full. */
function paths(prefix: string, count: number): string[] {
  const found: string[] = []
  for (let n = 0; n * 256 < count; n += 1) {
    const width = Math.min(256, count - n * 256)
    found.push(`${prefix}/${elements(n)}${width === 256 ? '' : `.p/${width}`}`)
  }
  return found
}

async function need(get: Get, path: string): Promise<Buffer> {
  const bytes = await get(path)
  if (bytes === undefined) throw new Error(`${path} is missing`)
  return Buffer.from(bytes)
}

/** The root from the topmost tile down: each tile's hashes are the roots of full tiles below; the rest are partial ones. */
async function rootOfTiles(get: Get, size: number): Promise<Buffer> {
  if (size === 0) return mth([])
  const levels: Buffer[][] = []
  for (let level = 0, count = size; count > 0; level += 1, count = Math.floor(count / 256)) {
    const hashes: Buffer[] = []
    for (const path of paths(`tile/${level}`, count)) {
      const tile = await need(get, path)
      if (tile.length % 32 !== 0) throw new Error(`${path} has ${tile.length} bytes`)
      for (let at = 0; at < tile.length; at += 32) hashes.push(tile.subarray(at, at + 32))
    }
    if (hashes.length !== count) throw new Error(`level ${level} has ${hashes.length} hashes, not ${count}`)
    // each hash is that of the full tile below
    levels.at(-1)?.forEach((_hash, at, below) => {
      if (at % 256 !== 0 || at + 256 > below.length) return
      if (!mth(below.slice(at, at + 256)).equals(hashes[at / 256] as Buffer))
        throw new Error(`level ${level} differs`)
    })
    levels.push(hashes)
  }
  // what is not under a full tile, from the top: peaks of the tree, largest first
  const peaks: Buffer[] = []
  for (const [level, hashes] of [...levels.entries()].toReversed()) {
    const covered = level === levels.length - 1 ? 0 : (levels[level + 1] as Buffer[]).length * 256
    const rest = hashes.slice(covered)
    for (let bit = 128, at = 0; bit >= 1; bit /= 2) {
      if ((rest.length & bit) === 0) continue
      peaks.push(mth(rest.slice(at, at + bit)))
      at += bit
    }
  }
  return peaks.reduceRight((right, left) => sha('\u0001', left, right))
}

export async function readLog(get: Get): Promise<ReadLog> {
  const note = (await need(get, 'checkpoint')).toString('utf8')
  const [origin = '', decimal = '', root = ''] = note.split('\n')
  const size = Number(decimal)
  const entries: Buffer[] = []
  for (const path of paths('tile/entries', size)) {
    const bundle = await need(get, path)
    for (let at = 0; at < bundle.length;) {
      const length = bundle.readUInt16BE(at)
      entries.push(bundle.subarray(at + 2, at + 2 + length))
      at += 2 + length
    }
  }
  if (entries.length !== size) throw new Error(`the bundles hold ${entries.length} entries, not ${size}`)
  const fromEntries = mth(entries.map((entry) => sha('\u0000', entry))).toString('base64')
  const fromTiles = (await rootOfTiles(get, size)).toString('base64')
  return { origin, size, root, fromEntries, fromTiles, entries }
}
