/**
 * Reading JSON that others wrote: bounded before it is parsed, and without two readings of one text (B56, B76, B79).
 *
 * @module
 */

/** Not JSON, a member twice, a member named `__proto__`, or more levels than allowed. */
export type JsonProblem = 'json' | 'twice' | 'proto' | 'deep'

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** The value of `text`, or what is wrong with it. `depth` is the most levels of objects and arrays. */
export function readJson(
  text: string,
  depth: number,
): Readonly<{ value: unknown; problem?: undefined }> | Readonly<{ problem: JsonProblem }> {
  try {
    const problem = shapeProblem(text, depth)
    return problem === undefined ? { value: JSON.parse(text) as unknown } : { problem }
  } catch (error) {
    if (error instanceof SyntaxError) return { problem: 'json' }
    throw error
  }
}

/**
 * One pass over the text before anything is built from it. It need not notice every mistake, `JSON.parse` does; but
 * whatever `JSON.parse` accepts has no member twice and no more levels than `depth`.
 */
function shapeProblem(text: string, depth: number): JsonProblem | undefined {
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
        if (names.has(name)) return 'twice'
        if (name === '__proto__') return 'proto'
        names.add(name)
        break
      }
      case 0x7b: // {
      case 0x5b: {
        // [
        if (open.length >= depth) return 'deep'
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
  return undefined
}
