/**
 * Names for what is made.
 *
 * @module
 */
import type { Instant } from '../model/time.ts'

/** Ids that say when they were made; others must not even say that: they are handles of what others may not know of. */
const DATED = new Set(['dec', 'grant', 'cred', 'task', 'tok'])
/** Ids whose randomness is drawn at once: for many it costs as much as for one. Each part of it is used once. */
const DRAWN = 64

/**
 * 128 bits, of which dated ids spend the first 48 on the time: what is made together is found together in the store,
 * whose cost then does not grow with it. 80 bits are left to chance.
 */
export function idMaker(
  wall: () => Instant,
  randomBytes: (size: number) => Uint8Array,
): (prefix: string) => string {
  let drawn = Buffer.alloc(0)
  return (prefix) => {
    if (drawn.length === 0) drawn = Buffer.from(randomBytes(16 * DRAWN))
    const bytes = drawn.subarray(0, 16)
    drawn = drawn.subarray(16)
    const now = wall()
    if (DATED.has(prefix) && now >= 0 && now < 2 ** 48) bytes.writeUIntBE(Math.floor(now), 0, 6)
    return `${prefix}_${base32(bytes)}`
  }
}

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'

/** Crockford's base32 in lower case: nothing that is mistaken for something else. */
function base32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xfff
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += alphabet[(value >> bits) & 31]
    }
  }
  return bits > 0 ? text + alphabet[(value << (5 - bits)) & 31] : text
}
