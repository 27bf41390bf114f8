/**
 * `writ collect postgres`: what a database says was done there, joined to the grants it was done under.
 *
 * The log file is the queue: nothing is forgotten before the server has it on record, and a line that is sent twice is
 * one entry, so a collector may be stopped, killed and started again at any time.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { open, readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { ReportedAction, Writ } from '../../client/src/index.ts'
import { isWritClientError } from '../../client/src/index.ts'
import { stateHome } from '../config/index.ts'
import type { Context } from './context.ts'
import { CliError, exit, tell, usage } from './exit.ts'
import type { Reader, SeenAction } from './pglog.ts'
import { actionOf, readCsv, readJson } from './pglog.ts'
import { plain } from './text.ts'

export type CollectOptions = Readonly<{
  file?: string
  target?: string
  follow?: boolean
  fromStart?: boolean
  account?: readonly string[]
  state?: string
}>

/** What happened so far; every line of the log is in one of these. */
export type Tally = {
  recorded: number
  duplicate: number
  unmatched: number
  ignored: number
  /** Lines of others, or of nothing that was done. */
  skipped: number
  /** Places where the log could not be read. */
  garbled: number
  /** Lines that the server would not have. */
  refused: number
  /** Times that the log was cut off or replaced under the reader. */
  truncated: number
}

const BATCH = 100
const CHUNK = 65_536
const POLL = 500
const BACK_OFF_MOST = 30_000
/** Tries of a batch where nobody is following: then the command fails, and the next one goes on from here. */
const TRIES = 5
/** The beginning of a file by which it is known again. */
const HEAD_MOST = 512

/** Runs until the log is read, or until it is told to stop. */
export async function collectPostgres(context: Context, options: CollectOptions): Promise<number> {
  const { file, target } = options
  if (file === undefined)
    throw usage('`--file` is missing', 'name the log of PostgreSQL, or the folder that it is in')
  if (target === undefined) throw usage('`--target` is missing', 'name the target, as in `writ target ls`')
  const path = resolve(context.io.cwd, file)
  const state = new Position(
    options.state === undefined
      ? join(
          stateHome(context.io.env, context.io.home),
          'collect',
          `${sha(`${context.url}\n${target}\n${path}`).slice(0, 24)}.json`,
        )
      : resolve(context.io.cwd, options.state),
  )
  const stop = new AbortController()
  const interrupt = (): void => stop.abort()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, interrupt)
  const collector = new Collector({
    writ: context.writ,
    files: new LogFiles(path),
    state,
    target,
    accounts: new Set(options.account ?? []),
    follow: options.follow === true,
    fromStart: options.fromStart === true,
    signal: stop.signal,
    say: (kind, line) => context.note(kind, plain(line)),
  })
  try {
    await collector.run()
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, interrupt)
  }
  const { tally } = collector
  context.print(
    { item: tally },
    { lines: Object.entries(tally).map(([name, count]) => `${name.padEnd(10)} ${count}`) },
  )
  if (tally.unmatched > 0)
    context.note('bad', `${tally.unmatched} actions that no credential covers · writ doctor`)
  return exit.ok
}

export type CollectorParts = Readonly<{
  writ: Pick<Writ, 'actions'>
  files: LogFiles
  state: Position
  target: string
  accounts: ReadonlySet<string>
  follow: boolean
  fromStart: boolean
  signal: AbortSignal
  say: (kind: 'info' | 'warn' | 'bad', line: string) => void
  /** Between two looks at a log that has ended, ms. */
  poll?: number
  /** The first pause after the server could not be reached, ms. */
  backOff?: number
}>

type Current = LogFile & { handle: FileHandle; pending: Buffer }

/** Reads, sends, and remembers how far the server has it. */
export class Collector {
  readonly tally: Tally = {
    recorded: 0,
    duplicate: 0,
    unmatched: 0,
    ignored: 0,
    skipped: 0,
    garbled: 0,
    refused: 0,
    truncated: 0,
  }
  readonly #parts: CollectorParts
  readonly #queue: SeenAction[] = []
  #current: Current | undefined
  /** Of the current file: how far it was read into the queue. */
  #offset = 0
  #unsaved = false
  /** Inside a field of an entry that is too long. */
  #within = false
  #wasGarbled = false
  #saidZone = false

  constructor(parts: CollectorParts) {
    this.#parts = parts
  }

  async run(): Promise<void> {
    const { follow, signal } = this.#parts
    try {
      await this.#begin()
      while (!signal.aborted) {
        if (await this.#readSome()) continue
        await this.#flush()
        if (await this.#moveOn()) continue
        if (!follow) return
        await this.#wait(this.#parts.poll ?? POLL)
      }
      await this.#flush()
    } finally {
      await this.#current?.handle.close()
    }
  }

  /** Opens the file that was read last, wherever it has been moved to; else the newest, at its end. */
  async #begin(): Promise<void> {
    const { files, state, fromStart, follow } = this.#parts
    const known = state.load()
    const all = await files.list()
    if (known === undefined) {
      const file = fromStart ? all[0] : all.at(-1)
      if (file === undefined && !follow)
        throw new CliError(
          exit.error,
          `there is no log at \`${files.path}\``,
          'PostgreSQL writes one with `logging_collector = on` and `log_destination = csvlog` or `jsonlog`',
        )
      if (file !== undefined) await this.#open(file, fromStart ? 0 : await endOfLastLine(file))
      return
    }
    const same = (await files.list(known.inode)).find(
      (file) => file.inode === known.inode && file.device === known.device,
    )
    if (same !== undefined && (await isSame(same.path, known))) {
      await this.#open(same, known.offset)
      this.#within = known.within === true
      return
    }
    this.tally.truncated += 1
    const newer = all.filter((file) => file.inode === known.inode || file.changedAt >= known.changedAt)
    this.#parts.say(
      'warn',
      `the log that was read last is gone or was cut off; what it still held is not known`,
    )
    if (newer[0] !== undefined) await this.#open(newer[0], 0)
  }

  async #open(file: LogFile, offset: number): Promise<void> {
    await this.#current?.handle.close()
    this.#current = { ...file, handle: await open(file.path, 'r'), pending: Buffer.alloc(0) }
    this.#offset = offset
    this.#within = false
    this.#wasGarbled = false
    this.#unsaved = true
  }

  /** One chunk of the file into the queue, and out of it where it is full. False where there was nothing new. */
  async #readSome(final = false): Promise<boolean> {
    const current = this.#current
    if (current === undefined) return false
    const chunk = Buffer.alloc(CHUNK)
    const { bytesRead } = await current.handle.read(chunk, 0, CHUNK, this.#offset + current.pending.length)
    if (bytesRead === 0 && !final) return false
    current.pending = Buffer.concat([current.pending, chunk.subarray(0, bytesRead)])
    for (;;) {
      const step = current.read(current.pending, final && bytesRead < CHUNK, this.#within)
      if (step === undefined) break
      this.#within = step.within === true
      current.pending = current.pending.subarray(step.length)
      this.#offset += step.length
      this.#unsaved = true
      if (step.garbled === true) {
        // one place, however many lines it takes to find the way again
        if (!this.#wasGarbled) {
          this.tally.garbled += 1
          this.#parts.say('warn', `unreadable at byte ${this.#offset - step.length} of \`${current.path}\``)
        }
        this.#wasGarbled = true
        continue
      }
      if (step.line === undefined) continue
      const action = actionOf(step.line, this.#parts.accounts)
      if (action === undefined) this.tally.skipped += 1
      else {
        // what follows a break may have been part of what broke off
        this.#queue.push(
          this.#wasGarbled ? { ...action, detail: { ...action.detail, after_garbled: 'true' } } : action,
        )
        if (action.at === undefined && !this.#saidZone) {
          this.#saidZone = true
          this.#parts.say(
            'warn',
            'the times of this log have no zone that is known; set `log_timezone` to UTC',
          )
        }
      }
      this.#wasGarbled = false
      if (this.#queue.length >= BATCH) await this.#flush()
      if (this.#parts.signal.aborted) return true
    }
    return bytesRead > 0
  }

  /** To the next file where this one has ended, or to its beginning where it was cut off. */
  async #moveOn(): Promise<boolean> {
    const { files } = this.#parts
    const current = this.#current
    if (current === undefined) {
      const [first] = await files.list()
      if (first === undefined) return false
      await this.#open(first, 0)
      return true
    }
    const read = this.#offset + current.pending.length
    const { size } = await current.handle.stat()
    const known = this.#parts.state.load()
    const replaced =
      size < read || (known?.inode === current.inode && !(await isSameBeginning(current.handle, known)))
    if (replaced) {
      this.tally.truncated += 1
      this.#parts.say('warn', `\`${current.path}\` was cut off; reading it from its beginning`)
      current.pending = Buffer.alloc(0)
      this.#offset = 0
      this.#within = false
      this.#unsaved = true
      return true
    }
    const all = await files.list(current.inode)
    const at = all.findIndex((file) => file.inode === current.inode && file.device === current.device)
    const next = at === -1 ? all.find((file) => file.changedAt >= current.changedAt) : all[at + 1]
    if (next === undefined) {
      if (at !== -1) this.#current = Object.assign(current, { changedAt: all[at]?.changedAt ?? 0 })
      return false
    }
    // nobody writes to it any more: what came until now, and what breaks off at its end
    while (await this.#readSome()) if (this.#parts.signal.aborted) return true
    await this.#readSome(true)
    await this.#flush()
    if (this.#parts.signal.aborted) return true
    await this.#open(next, 0)
    await this.#save()
    return true
  }

  /** Sends what is queued and then, only then, remembers that it is done with. */
  async #flush(): Promise<void> {
    const items = [...this.#queue]
    if (items.length > 0 && !(await this.#send(items))) return
    this.#queue.length = 0
    if (this.#unsaved) await this.#save()
  }

  async #save(): Promise<void> {
    const current = this.#current
    if (current === undefined) return
    const head = Buffer.alloc(Math.min(HEAD_MOST, this.#offset))
    await current.handle.read(head, 0, head.length, 0)
    this.#parts.state.save({
      path: current.path,
      device: current.device,
      inode: current.inode,
      changedAt: current.changedAt,
      offset: this.#offset,
      ...(this.#within ? { within: true as const } : {}),
      head: { length: head.length, digest: sha(head) },
    })
    this.#unsaved = false
  }

  /** False when it was told to stop before the server had it. */
  async #send(items: readonly SeenAction[]): Promise<boolean> {
    const { follow, signal, say, writ, target } = this.#parts
    for (let tries = 0; ; tries += 1) {
      if (signal.aborted && tries > 0) return false
      try {
        this.#count(await writ.actions.report(items, { observed: target }))
        if (tries > 0) say('info', 'the server answers again; nothing was lost')
        return true
      } catch (error) {
        const conflict = isWritClientError(error, 'ERR_CONFLICT')
        if (conflict || isWritClientError(error, 'ERR_INPUT_INVALID', 'ERR_TOO_LARGE')) {
          const [only, ...more] = items
          if (more.length > 0) {
            const half = Math.ceil(items.length / 2)
            return (await this.#send(items.slice(0, half))) && (await this.#send(items.slice(half)))
          }
          // much may change at once; the same line twice with other content is for somebody to look at
          if (!conflict || tries >= 2) {
            this.tally.refused += 1
            say('bad', `the server refuses ${only?.id ?? 'a line'}: ${tell(error).message}`)
            return true
          }
        } else if (!isPassing(error)) throw error
        else if (!follow && tries + 1 >= TRIES) throw error
        else if (tries === 0)
          say('warn', `${tell(error).message}; trying ${follow ? 'until it works' : 'a few times more'}`)
        const wait = Math.min(BACK_OFF_MOST, (this.#parts.backOff ?? 500) * 2 ** Math.min(tries, 10))
        await this.#wait(wait)
      }
    }
  }

  #count(answers: readonly ReportedAction[]): void {
    for (const { status, id, outside } of answers) {
      this.tally[status] += 1
      if (status === 'unmatched') this.#parts.say('bad', `no credential covers ${id}`)
      else if (outside !== undefined && status === 'recorded')
        this.#parts.say('bad', `${id} lies outside its grant: ${outside.join(', ')}`)
    }
  }

  async #wait(millis: number): Promise<void> {
    try {
      await pause(millis, undefined, { signal: this.#parts.signal })
    } catch (error) {
      if (!this.#parts.signal.aborted) throw error
    }
  }
}

/** Whether it may go by itself. */
function isPassing(error: unknown): boolean {
  return isWritClientError(
    error,
    'ERR_UNREACHABLE',
    'ERR_TIMEOUT',
    'ERR_RATE_LIMITED',
    'ERR_INTERNAL',
    'ERR_STORE_FULL',
    'ERR_STORE_BUSY',
    'ERR_STORE_CLOSED',
    'ERR_CLOCK_INVALID',
  )
}

// files

export type LogFile = Readonly<{
  path: string
  device: number
  inode: number
  changedAt: number
  read: Reader
}>

/** The log as files, oldest first: one that is renamed when it is full, or a folder of them. */
export class LogFiles {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  /** With `inode`, beside a single one, also what it was rotated to, of which that is the one that was read last. */
  async list(inode?: number): Promise<LogFile[]> {
    const folder = await isFolder(this.path)
    const around = folder ? this.path : dirname(this.path)
    const names = folder
      ? (await namesIn(around)).filter((name) => /\.(?:csv|json)$/u.test(name))
      : inode === undefined
        ? [basename(this.path)]
        : await namesIn(around)
    const found: LogFile[] = []
    for (const name of names) {
      const path = join(around, name)
      const stats = await stat(path).catch(ignoreMissing)
      if (stats?.isFile() !== true) continue
      const own = path === this.path
      if (!folder && !own && stats.ino !== inode && !isRotated(name, basename(this.path))) continue
      const read = (folder ? name : basename(this.path)).includes('.json') ? readJson : readCsv
      found.push({ path, device: stats.dev, inode: stats.ino, changedAt: stats.mtimeMs, read })
    }
    // the file at the path itself is the newest, whatever the clock of its neighbour says
    return found.toSorted(
      (a, b) =>
        Number(a.path === this.path) - Number(b.path === this.path) ||
        a.changedAt - b.changedAt ||
        a.path.localeCompare(b.path),
    )
  }
}

/** `log.csv.1` and `log.csv-20261122`, but not what was packed away. */
function isRotated(name: string, base: string): boolean {
  return (
    name.startsWith(base) &&
    /^[.-][\w.-]+$/u.test(name.slice(base.length)) &&
    !/\.(?:gz|xz|zst|bz2)$/u.test(name)
  )
}

async function namesIn(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(ignoreMissing)) ?? []
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(ignoreMissing))?.isDirectory() ?? false
}

/** A file may be gone between two looks at its folder. */
function ignoreMissing(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
  throw error
}

/** Where a reader begins that wants what is yet to come: never in the middle of a line. */
async function endOfLastLine({ path }: LogFile): Promise<number> {
  const handle = await open(path, 'r')
  try {
    let end = (await handle.stat()).size
    while (end > 0) {
      const from = Math.max(0, end - CHUNK)
      const bytes = Buffer.alloc(end - from)
      await handle.read(bytes, 0, bytes.length, from)
      const newline = bytes.lastIndexOf(0x0a)
      if (newline !== -1) return from + newline + 1
      end = from
    }
    return 0
  } finally {
    await handle.close()
  }
}

async function isSame(path: string, known: Saved): Promise<boolean> {
  const handle = await open(path, 'r')
  try {
    return (await handle.stat()).size >= known.offset && (await isSameBeginning(handle, known))
  } finally {
    await handle.close()
  }
}

async function isSameBeginning(handle: FileHandle, { head }: Saved): Promise<boolean> {
  const bytes = Buffer.alloc(head.length)
  const { bytesRead } = await handle.read(bytes, 0, head.length, 0)
  return bytesRead === head.length && sha(bytes) === head.digest
}

// how far

export type Saved = Readonly<{
  path: string
  device: number
  inode: number
  changedAt: number
  /** Everything before this byte is on the record, or concerns nobody. */
  offset: number
  /** That byte is inside a field of an entry that is too long. */
  within?: true
  head: Readonly<{ length: number; digest: string }>
}>

/** How far the server has the log, in a file that is replaced whole. */
export class Position {
  readonly path: string
  #saved: Saved | undefined

  constructor(path: string) {
    this.path = path
  }

  load(): Saved | undefined {
    if (this.#saved !== undefined) return this.#saved
    let text: string
    try {
      text = readFileSync(this.path, 'utf8')
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      throw error
    }
    const saved = parseSaved(text)
    if (saved === undefined) {
      throw new CliError(
        exit.error,
        `\`${this.path}\` is damaged`,
        'it says how far the log was read; remove it and give --from-start: what is sent twice is one entry',
      )
    }
    this.#saved = saved
    return saved
  }

  save(saved: Saved): void {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 })
    const temporary = `${this.path}.${process.pid}`
    writeFileSync(temporary, `${JSON.stringify({ schema_version: 1, ...saved })}\n`, { mode: 0o600 })
    renameSync(temporary, this.path)
    this.#saved = saved
  }
}

function parseSaved(text: string): Saved | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined // the caller says so
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { path, device, inode, changedAt, offset, within, head } = value as Record<string, unknown>
  const { length, digest } = (typeof head === 'object' && head !== null ? head : {}) as Record<
    string,
    unknown
  >
  const isNumber = (one: unknown): one is number =>
    typeof one === 'number' && Number.isFinite(one) && one >= 0
  if (typeof path !== 'string' || typeof digest !== 'string') return undefined
  if (!isNumber(device) || !isNumber(inode) || !isNumber(changedAt)) return undefined
  if (!isNumber(offset) || !isNumber(length) || length > HEAD_MOST) return undefined
  return {
    path,
    device,
    inode,
    changedAt,
    offset,
    ...(within === true ? { within } : {}),
    head: { length, digest },
  }
}

const sha = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex')
