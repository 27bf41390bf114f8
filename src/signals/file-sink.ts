/**
 * A sink that is a file: one line per entry, appended and forced to disk before a batch counts as taken. Files that
 * have grown large are put aside under a number; none is ever deleted here.
 *
 * @module
 */
import { constants } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { open, readdir, rename } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Millis } from '../model/time.ts'
import type { Batch, Sink } from './sink.ts'
import { SinkError, aborted } from './sink.ts'

export type FileSinkConfig = Readonly<{
  path: string
  /** Bytes after which a file is put aside. */
  rotateAt: number
}>

/** What is looked through at once for the end of the last whole line. */
const BLOCK = 65_536
const NEWLINE = 0x0a
/** Every line is an object. */
const BRACE = 0x7b
/** How long a write that is under way is waited for at the end. */
const CLOSE_WITHIN: Millis = 1_000

/** How a file is opened; tests put faults here. */
export type Open = (path: string, flags: number, mode: number) => Promise<FileHandle>

export function fileSink({ path, rotateAt }: FileSinkConfig, openAs: Open = open): Sink {
  /** What is under way: a disk that hangs cannot be told to stop, so the next batch waits for it. */
  let under: Promise<void> = Promise.resolve()

  async function append(text: string): Promise<void> {
    const bytes = Buffer.from(text)
    let file = await openFile(path, openAs)
    try {
      let size = await mended(file)
      if (size > 0 && size + bytes.length > rotateAt) {
        await file.close()
        await putAside(path)
        file = await openFile(path, openAs)
        size = await mended(file)
      }
      try {
        for (let at = 0; at < bytes.length;)
          at += (await file.write(bytes, at, bytes.length - at, size + at)).bytesWritten
        await file.datasync()
      } catch (error) {
        // half a batch would stand there twice; if even this fails the next batch mends it
        await file.truncate(size).catch((cause: unknown) => cause)
        throw error
      }
      if (size === 0) await syncFolder(path)
    } finally {
      await file.close()
    }
  }

  return {
    async send({ lines }: Batch, signal) {
      await giveUp(under, signal)
      under = append(lines.map(({ text }) => `${text}\n`).join(''))
      const taken = under
      under = under.catch(() => undefined)
      await giveUp(taken, signal)
    },
    async close() {
      // a disk that hangs does not keep a server from stopping: the half line is cut off at the next start
      const { promise, resolve } = Promise.withResolvers<void>()
      const timer = setTimeout(resolve, CLOSE_WITHIN)
      await Promise.race([under, promise])
      clearTimeout(timer)
    },
  }
}

/** The mode is for a new file; what the operator set stays. */
const openFile = (path: string, openAs: Open): Promise<FileHandle> =>
  openAs(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)

/**
 * Cuts off the half line that a crash left, so that every line is whole, and returns the size. What is cut was never
 * taken for exported and is written again.
 *
 * @throws {SinkError} where what would be cut is no half line of ours: a path that is mistaken costs nobody a file.
 */
async function mended(file: FileHandle): Promise<number> {
  const stat = await file.stat()
  if (!stat.isFile()) throw new SinkError('its path is no file')
  const block = Buffer.alloc(BLOCK)
  for (let end = stat.size; end > 0;) {
    const from = Math.max(0, end - BLOCK)
    const { bytesRead } = await file.read(block, 0, end - from, from)
    const last = block.subarray(0, bytesRead).lastIndexOf(NEWLINE)
    if (last !== -1) {
      const size = from + last + 1
      if (size < stat.size) await cut(file, size)
      return size
    }
    end = from
  }
  if (stat.size > 0) await cut(file, 0)
  return 0
}

async function cut(file: FileHandle, size: number): Promise<void> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(BLOCK), 0, BLOCK, size)
  // nothing but zeros is what a lost write leaves
  const isOurs = buffer[0] === BRACE || buffer.subarray(0, bytesRead).every((byte) => byte === 0)
  if (!isOurs) throw new SinkError('its file holds something else than exported lines')
  await file.truncate(size)
}

/** `audit.ndjson` becomes `audit.ndjson.000001`, the next one `.000002`. */
async function putAside(path: string): Promise<void> {
  const prefix = `${basename(path)}.`
  const numbers = (await readdir(dirname(path)))
    .filter((name) => name.startsWith(prefix) && /^\d{6,}$/u.test(name.slice(prefix.length)))
    .map((name) => Number(name.slice(prefix.length)))
  const next = String(Math.max(0, ...numbers) + 1).padStart(6, '0')
  await rename(path, join(dirname(path), `${prefix}${next}`))
}

/** A new name lasts only when its folder is on the disk too. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

async function giveUp(work: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) throw aborted(signal)
  const { promise, reject } = Promise.withResolvers<never>()
  const stop = (): void => reject(aborted(signal))
  signal.addEventListener('abort', stop, { once: true })
  try {
    await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
