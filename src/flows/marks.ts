/**
 * The mark as a file beside the key file: replaced as a whole, durable when `write` resolves.
 *
 * @module
 */
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import { WritError } from '../model/errors.ts'
import type { Mark, Marks } from './transparency.ts'

export function markFile(path: string): Marks {
  return {
    async read() {
      let text: string
      try {
        text = await readFile(path, 'utf8')
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
        throw new WritError(
          'ERR_CONFIG_INVALID',
          `cannot read \`${path}\`, the mark of what was signed last`,
          {
            hint: 'it must be a file that the user who runs Writ can read and write; name another with `log.mark`',
            cause: error,
          },
        )
      }
      return parseMark(text)
    },
    async write(mark) {
      try {
        await replaceDurably(path, `${JSON.stringify(mark)}\n`)
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? error.code : undefined
        throw new WritError(
          code === 'ENOSPC' || code === 'EDQUOT' ? 'ERR_STORE_FULL' : 'ERR_CONFIG_INVALID',
          'nothing can be signed: the mark of what was signed last cannot be written',
          {
            hint: 'the folder of the key file must be writable, or name another file with `log.mark`',
            detail: `${path}: ${String(error)}`,
            cause: error,
          },
        )
      }
    },
  }
}

/** `undefined` for a damaged one: it is as good as gone. */
function parseMark(text: string): Mark | undefined {
  try {
    const { installation, epoch, origin, size, root } = JSON.parse(text) as Record<string, unknown>
    const isMark =
      typeof installation === 'string' &&
      typeof origin === 'string' &&
      Number.isSafeInteger(epoch) &&
      Number.isSafeInteger(size) &&
      typeof root === 'string' &&
      /^[0-9a-f]{64}$/u.test(root)
    return isMark ? { installation, origin, root, epoch: epoch as number, size: size as number } : undefined
  } catch {
    return undefined // not JSON
  }
}

async function replaceDurably(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const temporary = `${path}.new`
  const file = await open(temporary, 'w', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  const folder = await open(dirname(path), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
