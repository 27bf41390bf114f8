/**
 * Reading JSON bodies: bounded before they are parsed, and without two readings of one text (B56, B76, B78, B79).
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import { WritError } from '../../model/errors.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c

function invalid(message: string): WritError {
  return new WritError('ERR_INPUT_INVALID', message, { hint: 'send one JSON value in UTF-8' })
}

/**
 * The value of a body.
 *
 * @throws {WritError} `ERR_INPUT_INVALID` for what is no JSON in UTF-8, names a member twice or names `__proto__`;
 *   `ERR_TOO_LARGE` for more than `depth` levels of objects and arrays.
 */
export function parseJson(body: Buffer, depth: number): unknown {
  if (!isUtf8(body)) throw invalid('the body is not UTF-8')
  const text = body.toString('utf8')
  try {
    checkShape(text, depth)
    return JSON.parse(text) as unknown
  } catch (error) {
    // the message of a SyntaxError quotes the body, which may hold a secret
    if (error instanceof SyntaxError) throw invalid('the body is not JSON')
    throw error
  }
}

/**
 * One pass over the text before anything is built from it. It need not notice every mistake, `JSON.parse` does; but
 * whatever `JSON.parse` accepts has no member twice and no more levels than `depth`.
 */
function checkShape(text: string, depth: number): void {
  /** Names seen in each open object; `undefined` stands for an array. */
  const open: (Set<string> | undefined)[] = []
  let names: Set<string> | undefined
  let atName = false
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case QUOTE: {
        const start = ++i
        let escaped = false
        for (; i < text.length; i++) {
          const code = text.charCodeAt(i)
          if (code === QUOTE) break
          if (code === BACKSLASH) {
            escaped = true
            i++
          }
        }
        if (!atName || names === undefined) break
        atName = false
        const raw = text.slice(start, i)
        const name = escaped ? (JSON.parse(`"${raw}"`) as string) : raw
        if (names.has(name)) throw invalid('the body names a member twice')
        if (name === '__proto__') throw invalid('the body has a member named `__proto__`')
        names.add(name)
        break
      }
      case 0x7b: // {
      case 0x5b: {
        // [
        if (open.length >= depth) {
          throw new WritError('ERR_TOO_LARGE', `the body is more than ${depth} levels deep`, {
            hint: 'nest less',
          })
        }
        atName = text.charCodeAt(i) === 0x7b
        names = atName ? new Set() : undefined
        open.push(names)
        break
      }
      case 0x7d: // }
      case 0x5d: // ]
        open.pop()
        names = open.at(-1)
        atName = false
        break
      case 0x2c: // ,
        atName = names !== undefined
        break
      default:
    }
  }
}

/**
 * The fields of a form body, without a prototype.
 *
 * @throws {WritError} `ERR_INPUT_INVALID` for a field that is there twice.
 */
export function parseForm(body: Buffer): Readonly<Record<string, string>> {
  if (!isUtf8(body)) throw invalid('the body is not UTF-8')
  const fields = Object.create(null) as Record<string, string>
  for (const [name, value] of new URLSearchParams(body.toString('utf8'))) {
    if (name in fields) throw invalid('the form names a field twice')
    fields[name] = value
  }
  return fields
}
