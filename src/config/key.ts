/**
 * The key that secrets are encrypted under at rest. It lies outside the data folder, so that a copied folder opens
 * nothing.
 *
 * @module
 */
import { randomBytes as systemRandom } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { WritError } from '../model/errors.ts'
import { Secret } from '../model/secret.ts'

const SIZE = 32

/** Reads the key file, making it (mode 0600) when there is none. `made` tells which. */
export function openKeyFile(
  path: string,
  randomBytes: (size: number) => Uint8Array = systemRandom,
): Readonly<{ key: Secret<Uint8Array>; made: boolean }> {
  const there = readKeyFile(path)
  if (there) return { key: there, made: false }
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  // written whole beside it and then linked, so that nobody ever reads half a key and two makers agree on one
  const temporary = `${path}.${process.pid}.${Buffer.from(systemRandom(6)).toString('hex')}`
  const file = openSync(temporary, 'wx', 0o600)
  try {
    writeSync(file, `${Buffer.from(randomBytes(SIZE)).toString('base64')}\n`)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  let made = true
  try {
    linkSync(temporary, path)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    made = false
  } finally {
    unlinkSync(temporary)
  }
  const key = readKeyFile(path)
  if (!key) throw new WritError('ERR_CONFIG_INVALID', `the key file \`${path}\` went away while it was made`)
  return { key, made }
}

/**
 * The key in the file, `undefined` when there is no file.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` when others may read it, or it is not a key.
 */
export function readKeyFile(path: string): Secret<Uint8Array> | undefined {
  let text: string
  try {
    const mode = statSync(path).mode & 0o077
    if (mode !== 0) {
      throw new WritError('ERR_CONFIG_INVALID', `others may read the key file \`${path}\``, {
        hint: `run \`chmod 600 ${path}\`, and replace the key if it may have been read`,
      })
    }
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof WritError) throw error
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw new WritError('ERR_CONFIG_INVALID', `cannot read the key file \`${path}\``, {
      hint: 'it must be a file that the user who runs Writ can read; name another with `--key-file`',
      cause: error,
    })
  }
  const key = Buffer.from(text.trim(), 'base64')
  if (key.length !== SIZE) {
    throw new WritError('ERR_CONFIG_INVALID', `\`${path}\` is not a key file`, {
      hint: `it holds ${SIZE} random bytes in base64; restore it from your backup, without it sealed secrets are lost`,
    })
  }
  return new Secret(new Uint8Array(key))
}
