/**
 * The tree and the entries as files (C2SP tlog-tiles): `tile/<level>/<index>` of 256 hashes each, `tile/entries/<index>`
 * of 256 entries each, and `….p/<width>` for those that are not full yet.
 *
 * @module
 */

/** Hashes of a full tile, entries of a full bundle. */
export const TILE_WIDTH = 256
/** Levels that a log of any size could have. */
export const MOST_LEVELS = 64
/** Bytes of one entry that a bundle can hold. */
const ENTRY_MOST = 0xffff

/** `level: 'entries'` is a bundle of entries; `width` is 256 for a full one. */
export type TileRef = Readonly<{ level: number | 'entries'; index: number; width: number }>

/** E.g. `tile/0/x001/234` or `tile/entries/000.p/17`. */
export function tilePath({ level, index, width }: TileRef): string {
  return `tile/${level}/${indexPath(index)}${width === TILE_WIDTH ? '' : `.p/${width}`}`
}

/** 1234067 is `x001/x234/067`: no folder has more than a thousand names, and none is a file too. */
export function indexPath(index: number): string {
  if (!Number.isSafeInteger(index) || index < 0) throw new TypeError('a tile has an index of 0 or more')
  const parts = [String(index % 1_000).padStart(3, '0')]
  for (let rest = Math.floor(index / 1_000); rest > 0; rest = Math.floor(rest / 1_000)) {
    parts.unshift(`x${String(rest % 1_000).padStart(3, '0')}`)
  }
  return parts.join('/')
}

/** What `tilePath` gave, and nothing else: a tile has one path. */
export function parseTilePath(path: string): TileRef | undefined {
  if (path.length > 64) return undefined
  const match =
    /^tile\/(?<level>\d{1,2}|entries)\/(?<index>(?:x\d{3}\/)*\d{3})(?:\.p\/(?<width>[1-9]\d{0,2}))?$/u.exec(
      path,
    )
  const { level, index, width } = match?.groups ?? {}
  if (level === undefined || index === undefined) return undefined
  const ref: TileRef = {
    level: level === 'entries' ? level : Number(level),
    index: Number(index.replaceAll(/[x/]/gu, '')),
    width: width === undefined ? TILE_WIDTH : Number(width),
  }
  if (ref.level !== 'entries' && ref.level >= MOST_LEVELS) return undefined
  if (ref.width > TILE_WIDTH || !Number.isSafeInteger(ref.index)) return undefined
  return tilePath(ref) === path ? ref : undefined
}

/** How many hashes level `level` has in a log of `size` entries. */
export function hashesOf(level: number | 'entries', size: number): number {
  return level === 'entries' ? size : Math.floor(size / TILE_WIDTH ** level)
}

/** Whether a log of `size` entries has what `ref` names. */
export function isWithin(ref: TileRef, size: number): boolean {
  return ref.index * TILE_WIDTH + ref.width <= hashesOf(ref.level, size)
}

/** What is not full yet in a log of `size` entries; bundles last. */
export function partialsOf(size: number): TileRef[] {
  const found: TileRef[] = []
  const add = (level: number | 'entries'): void => {
    const hashes = hashesOf(level, size)
    const width = hashes % TILE_WIDTH
    if (width > 0) found.push({ level, index: Math.floor(hashes / TILE_WIDTH), width })
  }
  for (let level = 0; hashesOf(level, size) > 0; level += 1) add(level)
  add('entries')
  return found
}

/** Each entry with its length before it, 16 bits, big-endian. */
export function encodeBundle(entries: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(
    entries.flatMap((entry) => {
      if (entry.length > ENTRY_MOST) throw new TypeError('an entry of a bundle has at most 65,535 bytes')
      const length = Buffer.alloc(2)
      length.writeUInt16BE(entry.length)
      return [length, entry]
    }),
  )
}

/** `undefined` for bytes that end inside an entry. */
export function decodeBundle(bytes: Uint8Array): Uint8Array[] | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const entries: Uint8Array[] = []
  for (let at = 0; at < buffer.length;) {
    if (at + 2 > buffer.length) return undefined
    const end = at + 2 + buffer.readUInt16BE(at)
    if (end > buffer.length) return undefined
    entries.push(buffer.subarray(at + 2, end))
    at = end
  }
  return entries
}
