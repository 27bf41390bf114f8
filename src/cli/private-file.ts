/**
 * Files that open something: what others could have read, or have put there, is not used.
 *
 * @module
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { CliError, exit } from './exit.ts'

/**
 * The text of a file of one's own that nobody else may read (mode 0600); `undefined` where there is none. Looked at and
 * read as one: it cannot be another in between.
 *
 * @throws {CliError} 4 for a file of somebody else, or one that others may read.
 */
export function readPrivate(path: string, what: string, mend: string): string | undefined {
  let file: number
  try {
    file = openSync(path, constants.O_RDONLY)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
  try {
    const { uid, mode } = fstatSync(file)
    // where there are no owners, as on Windows, nothing can be told by them
    const me = process.getuid?.()
    if (me !== undefined && uid !== me)
      throw new CliError(
        exit.authNeeded,
        `\`${path}\` belongs to somebody else: ${what} in it is not used`,
        mend,
      )
    if (me !== undefined && (mode & 0o077) !== 0)
      throw new CliError(
        exit.authNeeded,
        `others may read \`${path}\` (mode ${(mode & 0o777).toString(8).padStart(4, '0')}): ${what} in it is not used`,
        mend,
      )
    return readFileSync(file, 'utf8')
  } finally {
    closeSync(file)
  }
}
