/**
 * What SQLite's errors mean to us: no room, somebody else, or a file that can no longer be trusted.
 *
 * @module
 */
import { WritError } from '../../model/errors.ts'

const BUSY = 5
const LOCKED = 6
const READONLY = 8
const IOERR = 10
const FULL = 13
const CANTOPEN = 14
const IOERR_WRITE = IOERR | (3 << 8)
const IOERR_TRUNCATE = IOERR | (6 << 8)
const IOERR_SHMSIZE = IOERR | (19 << 8)

export type Fault = 'full' | 'busy' | 'unwritable' | 'broken'

/** SQLite's extended result code, if `error` is one of its errors. */
function sqliteCode(error: unknown): number | undefined {
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number'
    ? error.errcode
    : undefined
}

/**
 * A failed write leaves the file as it was; a failed sync or read does not say how it left it, so that nothing but
 * opening it anew is safe (B72).
 */
export function faultOf(error: unknown): Fault {
  const code = sqliteCode(error)
  if (code === undefined) return isNoRoom(error) ? 'full' : 'broken'
  switch (code & 0xff) {
    case FULL:
      return 'full'
    case BUSY:
    case LOCKED:
      return 'busy'
    case READONLY:
    case CANTOPEN:
      return 'unwritable'
    case IOERR:
      return code === IOERR_WRITE || code === IOERR_TRUNCATE || code === IOERR_SHMSIZE ? 'full' : 'broken'
    default:
      return 'broken'
  }
}

export function isNoRoom(error: unknown): boolean {
  return (
    error instanceof Error && 'code' in error && ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(String(error.code))
  )
}

export function storeError(fault: Fault, folder: string, cause?: unknown): WritError {
  const detail = cause instanceof Error ? { detail: cause.message, cause } : {}
  switch (fault) {
    case 'full':
      return new WritError('ERR_STORE_FULL', 'there is no room left to record this, so it was not done', {
        hint: 'free space on the disk of the data folder; revoking and ending still work',
        ...detail,
      })
    case 'busy':
      return new WritError('ERR_STORE_BUSY', `another program holds the database in \`${folder}\``, {
        hint: 'close it and try again',
        ...detail,
      })
    case 'unwritable':
      return new WritError('ERR_CONFIG_INVALID', `the data folder \`${folder}\` cannot be written`, {
        hint: 'give its owner and permissions to the user that runs Writ',
        ...detail,
      })
    case 'broken':
  }
  return corrupt(folder, cause instanceof Error ? cause.message : 'the database cannot be read', cause)
}

export function corrupt(folder: string, what: string, cause?: unknown): WritError {
  return new WritError('ERR_STORE_CORRUPT', `the data in \`${folder}\` is damaged and is not served`, {
    hint: 'keep the folder, run `writ audit verify` on it, and restore a backup',
    detail: what,
    ...(cause === undefined ? {} : { cause }),
  })
}
