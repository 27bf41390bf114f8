/**
 * Folders of unpacked things too slow to make each time, kept in the temporary folder of this machine.
 *
 * @module
 */
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  globSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'

/**
 * The folder called `name`, private to this user, made by `build` once and complete, or not there at all: it
 * is built aside, listed and renamed into place, so several processes may ask at once. A copy in which
 * something is missing is made again, since temporary folders get swept by age.
 *
 * @throws {Error} if another user sits on the name.
 */
export async function cachedFolder(name: string, build: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(scratch(), `${name}-${uid()}`)
  if (isComplete(folder)) return folder
  const aside = mkdtempSync(`${folder}-`)
  try {
    chmodSync(aside, 0o755)
    await build(aside)
    writeFileSync(join(aside, LIST), JSON.stringify(fileSizes(aside)))
    return install(aside, folder)
  } catch (error) {
    rmSync(aside, { recursive: true, force: true })
    throw error
  }
}

/** The temporary folder, or another if we are root and the user we become cannot reach into that one. */
export function scratch(): string {
  for (const folder of [tmpdir(), '/tmp', '/var/tmp']) {
    if (!existsSync(folder)) continue
    const real = realpathSync(folder)
    if (uid() === 0 ? isOpenToAll(real) : isWritable(real)) return real
  }
  throw new Error('no temporary folder can be used: set `TMPDIR` to one that every user may enter')
}

const LIST = 'files.json'

/** Puts `aside` where the next caller looks, unless another process was first. */
function install(aside: string, folder: string): string {
  if (existsSync(folder) && !isComplete(folder)) {
    const broken = `${aside}-broken`
    renameSync(folder, broken)
    rmSync(broken, { recursive: true, force: true })
  }
  try {
    renameSync(aside, folder)
  } catch (error) {
    if (!isComplete(folder)) throw error
    rmSync(aside, { recursive: true, force: true })
  }
  return folder
}

function isComplete(folder: string): boolean {
  const stat = lstatSync(folder, { throwIfNoEntry: false })
  if (stat === undefined) return false
  if (!stat.isDirectory() || stat.uid !== uid() || (stat.mode & 0o022) !== 0)
    throw new Error(`\`${folder}\` is in the way: it is not a folder that you alone can write; remove it`)
  const list = join(folder, LIST)
  if (!existsSync(list)) return false
  const expected: unknown = JSON.parse(readFileSync(list, 'utf8'))
  if (typeof expected !== 'object' || expected === null) return false
  return Object.entries(expected).every(
    ([path, size]) => statSync(join(folder, path), { throwIfNoEntry: false })?.size === size,
  )
}

function fileSizes(folder: string): Record<string, number> {
  const sizes: Record<string, number> = {}
  for (const file of globSync('**', { cwd: folder, withFileTypes: true })) {
    const path = join(file.parentPath, file.name)
    if (file.isFile()) sizes[relative(folder, path)] = statSync(path).size
  }
  return sizes
}

/** Not from `userInfo()`, which fails for a user without an entry, as in many containers. */
function uid(): number {
  return process.getuid?.() ?? -1
}

function isOpenToAll(folder: string): boolean {
  if ((statSync(folder).mode & 0o001) === 0) return false
  return folder === dirname(folder) || isOpenToAll(dirname(folder))
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}
