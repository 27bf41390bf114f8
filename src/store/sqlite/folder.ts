/**
 * The data folder: private, owned by one process at a time, with space kept back for what narrows.
 *
 * @module
 */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { WritError } from '../../model/errors.ts'
import { faultOf, isNoRoom, storeError } from './faults.ts'

export const DATABASE_FILE = 'writ.db'
const LOCK_FILE = 'lock.db'
const RESERVE_FILE = 'reserve'

/** Makes the folder (0700) and its database file (0600; SQLite gives the files beside it the same mode). */
export function prepareFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    for (const name of [DATABASE_FILE, LOCK_FILE]) {
      // only if missing: closing any handle of a locked file would release this process's lock on it
      if (!existsSync(join(folder, name))) closeSync(openSync(join(folder, name), 'a', 0o600))
    }
    syncFolder(folder)
  } catch (error) {
    throw storeError(isNoRoom(error) ? 'full' : 'unwritable', folder, error)
  }
}

/**
 * Takes the folder for this process; returns what releases it. The kernel holds the lock for the open file, so that it
 * is gone with the process however that ends.
 *
 * @throws {WritError} `ERR_STORE_BUSY` if another process has it.
 */
export function lockFolder(folder: string): () => void {
  const lock = new DatabaseSync(join(folder, LOCK_FILE), { timeout: 0 })
  try {
    lock.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    if (faultOf(error) !== 'busy') throw storeError(faultOf(error), folder, error)
    throw new WritError('ERR_STORE_BUSY', `another Writ is running on the data folder \`${folder}\``, {
      hint: 'stop it, or name another folder',
      cause: error,
    })
  }
  return () => lock.close()
}

/** `0o755` as `755` when others than the owner may look into the folder. */
export function looseMode(folder: string): string | undefined {
  const mode = statSync(folder).mode & 0o777
  return (mode & 0o077) === 0 ? undefined : mode.toString(8)
}

/** Space that is really allocated, given up when the disk is full so that revocations can still be recorded. */
export class Reserve {
  readonly #folder: string
  readonly #path: string
  readonly #bytes: number

  constructor(folder: string, bytes: number) {
    this.#folder = folder
    this.#path = join(folder, RESERVE_FILE)
    this.#bytes = bytes
  }

  /** Whether the space is held now; takes it if there is room. */
  take(): boolean {
    if (existsSync(this.#path) && statSync(this.#path).size === this.#bytes) return true
    const file = openSync(this.#path, 'w', 0o600)
    try {
      // written, not truncated to size: a sparse file reserves nothing; not zeros, which some disks do not store
      const block = Buffer.alloc(Math.min(this.#bytes, 1 << 20), 'reserved for revocations\n')
      for (let left = this.#bytes; left > 0; left -= block.length) writeAll(file, block.subarray(0, left))
      fsyncSync(file)
    } catch (error) {
      if (!isNoRoom(error)) throw error
      this.release()
      return false
    } finally {
      closeSync(file)
    }
    return true
  }

  release(): void {
    rmSync(this.#path, { force: true })
    syncFolder(this.#folder)
  }
}

function writeAll(file: number, block: Uint8Array): void {
  for (let done = 0; done < block.length;) done += writeSync(file, block, done)
}

function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
