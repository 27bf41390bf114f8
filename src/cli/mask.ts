/**
 * Keeps secrets out of what a child prints, also when one arrives in pieces.
 *
 * @module
 */
import { Transform } from 'node:stream'
import type { TransformCallback } from 'node:stream'

const SHOWN = Buffer.from('[masked by writ]')
/** Shorter texts occur by themselves, and masking them would tell what they are. */
const LEAST = 6

/** Forms under which a program may print a value: as it is, in a URL, in JSON, in base64 also of more than it, in hex. */
export function forms(secret: string): string[] {
  const bytes = Buffer.from(secret)
  return [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    bytes.toString('base64'),
    bytes.toString('base64').replace(/=+$/u, ''),
    bytes.toString('base64url'),
    bytes.toString('hex'),
    bytes.toString('hex').toUpperCase(),
    ...inside(bytes, 'base64'),
    ...inside(bytes, 'base64url'),
  ]
}

/** What of `bytes` is seen whatever stands around it, e.g. in `Basic …` of a name and a password. */
function inside(bytes: Buffer, encoding: 'base64' | 'base64url'): string[] {
  return [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString(encoding)
    // characters that hold bits of a neighbour tell nothing: at the front those of `before`, at the end a partial group
    const from = Math.ceil((before * 8) / 6)
    return text.slice(from, Math.floor(((before + bytes.length) * 8) / 6))
  })
}

/** A stream that replaces every occurrence of `secrets`, in each of their forms. */
export function maskStream(secrets: readonly string[]): Transform {
  const mask = new Masker(secrets)
  return new Transform({
    transform(chunk: Buffer, _encoding, done: TransformCallback) {
      done(null, mask.write(chunk))
    },
    flush(done: TransformCallback) {
      done(null, mask.end())
    },
  })
}

/** The masking itself. Only what may be the beginning of a secret is held back, so that prompts appear at once. */
export class Masker {
  readonly #needles: readonly Buffer[]
  #held: Buffer = Buffer.alloc(0)

  constructor(secrets: readonly string[]) {
    const all = new Set(secrets.flatMap(forms).filter((form) => form.length >= LEAST))
    // the longest first: a URL that holds a password goes whole
    this.#needles = [...all].map((form) => Buffer.from(form)).sort((a, b) => b.length - a.length)
  }

  write(chunk: Buffer): Buffer {
    return this.#take(chunk, false)
  }

  end(): Buffer {
    return this.#take(Buffer.alloc(0), true)
  }

  #take(chunk: Buffer, last: boolean): Buffer {
    const data = Buffer.concat([this.#held, chunk])
    const out: Buffer[] = []
    let from = 0
    for (;;) {
      const hit = this.#next(data, from)
      // a longer secret may have begun before this one and not be whole yet
      const open = last ? data.length : this.#openFrom(data, from)
      if (hit === undefined || hit.at >= open) {
        out.push(data.subarray(from, open))
        this.#held = Buffer.from(data.subarray(open))
        return Buffer.concat(out)
      }
      out.push(data.subarray(from, hit.at), SHOWN)
      from = hit.at + hit.length
    }
  }

  /** The first occurrence from `from` on; of several that begin there the longest. */
  #next(data: Buffer, from: number): { at: number; length: number } | undefined {
    let best: { at: number; length: number } | undefined
    for (const needle of this.#needles) {
      const at = data.indexOf(needle, from)
      if (at !== -1 && (best === undefined || at < best.at)) best = { at, length: needle.length }
    }
    return best
  }

  /** Where the tail starts that may be the beginning of a secret; the end of `data` if none may. */
  #openFrom(data: Buffer, from: number): number {
    let open = data.length
    for (const needle of this.#needles) {
      for (let start = Math.max(from, data.length - needle.length + 1); start < open; start++) {
        if (data.subarray(start).equals(needle.subarray(0, data.length - start))) {
          open = start
          break
        }
      }
    }
    return open
  }
}
