/**
 * The child of `writ run`: started in our place, told what we are told, and gone when we are.
 *
 * @module
 */
import { accessSync, constants, statSync } from 'node:fs'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { constants as os } from 'node:os'
import { delimiter, isAbsolute, join, resolve } from 'node:path'
import { CliError, runExit } from './exit.ts'
import { maskStream } from './mask.ts'

export type Ended = Readonly<{ code: number | undefined; signal: NodeJS.Signals | undefined }>

export type ChildOptions = Readonly<{
  command: string
  args: readonly string[]
  env: Readonly<Record<string, string | undefined>>
  cwd: string
  /** Whether each stream is masked; one that is not is handed on as it is, so that terminals stay terminals. */
  mask: Readonly<{ stdout: boolean; stderr: boolean }>
  secrets: readonly string[]
}>

/** Signals that are ours to hand on. Stopping and window changes reach the child by themselves. */
const forwarded = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const

/**
 * Where `command` is, as a shell would find it.
 *
 * @throws {CliError} 127 if there is none, 126 if it cannot be executed; as Docker does.
 */
export function findCommand(command: string, path: string | undefined, cwd: string): string {
  if (command.includes('/')) {
    const file = isAbsolute(command) ? command : resolve(cwd, command)
    const found = kindOf(file)
    if (found === 'none') throw new CliError(runExit.notFound, `\`${command}\` does not exist`)
    if (found === 'hidden')
      throw new CliError(runExit.cannotExecute, `\`${command}\` is in a folder that you may not enter`)
    if (found !== 'executable') throw notExecutable(command, found)
    return file
  }
  let seen: 'folder' | 'file' | undefined
  for (const folder of (path ?? '').split(delimiter)) {
    const file = join(folder === '' ? cwd : folder, command)
    const found = kindOf(file)
    if (found === 'executable') return file
    if (found === 'file') seen ??= found
  }
  if (seen !== undefined) throw notExecutable(command, seen)
  throw new CliError(runExit.notFound, `no command \`${command}\``, 'is it spelled right, and in PATH?')
}

function notExecutable(command: string, kind: 'folder' | 'file'): CliError {
  return kind === 'folder'
    ? new CliError(runExit.cannotExecute, `\`${command}\` is a folder`)
    : new CliError(runExit.cannotExecute, `\`${command}\` cannot be executed`, `run \`chmod +x ${command}\``)
}

/** `hidden` is what stands in a folder that may not be entered, if anything does. */
function kindOf(file: string): 'executable' | 'file' | 'folder' | 'hidden' | 'none' {
  const isRefused = (error: unknown): boolean =>
    error instanceof Error && 'code' in error && error.code === 'EACCES'
  try {
    if (statSync(file).isDirectory()) return 'folder'
  } catch (error) {
    return isRefused(error) ? 'hidden' : 'none'
  }
  try {
    accessSync(file, constants.X_OK)
    return 'executable'
  } catch (error) {
    return isRefused(error) ? 'file' : 'none'
  }
}

/** A running child. */
export class Child {
  readonly ended: Promise<Ended>
  readonly #process: ChildProcess
  readonly #watchdog: ChildProcess | undefined
  #killer: ReturnType<typeof setTimeout> | undefined

  /** @throws {CliError} 126 or 127 if it cannot be started. */
  static async start(options: ChildOptions): Promise<Child> {
    const child = spawn(options.command, options.args, {
      env: options.env,
      cwd: options.cwd,
      stdio: ['inherit', options.mask.stdout ? 'pipe' : 'inherit', options.mask.stderr ? 'pipe' : 'inherit'],
    })
    // an error may come instead of a start, never after it
    await new Promise<void>((done, fail) => {
      child.once('spawn', done)
      child.once('error', (error) => fail(startError(options.command, error)))
    })
    return new Child(child, options.secrets)
  }

  private constructor(child: ChildProcess, secrets: readonly string[]) {
    this.#process = child
    const flows = [
      [child.stdout, process.stdout],
      [child.stderr, process.stderr],
    ] as const
    for (const [from, to] of flows) from?.pipe(maskStream(secrets)).pipe(to, { end: false })
    const handlers = forwarded.map((signal) => {
      const handler = (): void => this.#forward(signal)
      process.on(signal, handler)
      return [signal, handler] as const
    })
    this.#watchdog = watch(child.pid)
    this.ended = new Promise((resolve) => {
      // `close` waits for the pipes too, which a grandchild may hold open for ever: what is left is drained briefly
      child.once('exit', (code, signal) => {
        const done = (): void => {
          for (const [name, handler] of handlers) process.off(name, handler)
          clearTimeout(this.#killer)
          // told that all is well, it goes without doing anything
          this.#watchdog?.stdin?.end('\n')
          resolve({ code: code ?? undefined, signal: signal ?? undefined })
        }
        const drain = setTimeout(done, DRAIN)
        child.once('close', () => {
          clearTimeout(drain)
          done()
        })
      })
    })
  }

  /** Asks it to end, and ends it if it has not after `grace` ms. */
  stop(grace: number): void {
    this.#process.kill('SIGTERM')
    this.#killer ??= setTimeout(() => this.#process.kill('SIGKILL'), grace)
  }

  #forward(signal: NodeJS.Signals): void {
    // Ctrl-C at a terminal reaches the child by itself: it is in the same process group
    if (process.stdin.isTTY && (signal === 'SIGINT' || signal === 'SIGQUIT')) return
    this.#process.kill(signal)
  }
}

const DRAIN = 1_000

/** Exit code as a shell gives it. */
export function exitCodeOf(ended: Ended): number {
  return ended.code ?? 128 + (ended.signal === undefined ? 0 : os.signals[ended.signal])
}

function startError(command: string, error: Error): CliError {
  const code = 'code' in error ? error.code : undefined
  // the file was there a moment ago: what is missing may be the interpreter that its first line names
  if (code === 'ENOENT')
    return new CliError(runExit.notFound, `\`${command}\` or its interpreter does not exist`)
  if (code === 'E2BIG') return new CliError(runExit.cannotExecute, 'the arguments and variables are too long')
  return new CliError(runExit.cannotExecute, `\`${command}\` cannot be started: ${error.message}`)
}

/**
 * Ends the child when this process is gone without having said that all is well: SIGKILL leaves no time for anything
 * else. In a session of its own, so that what kills our process group spares it. What authority the child still
 * thinks it has is gone by then or within one heartbeat, whatever becomes of it.
 */
function watch(pid: number | undefined): ChildProcess | undefined {
  if (pid === undefined || process.platform === 'win32') return undefined
  const script = 'read -r _ && exit 0; kill -TERM "$1" 2>/dev/null; sleep 2; kill -KILL "$1" 2>/dev/null'
  const dog = spawn('/bin/sh', ['-c', script, 'writ-watchdog', String(pid)], {
    env: { PATH: process.env['PATH'] },
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
    cwd: '/',
  })
  // without it the heartbeat alone has to do
  dog.on('error', () => undefined)
  dog.stdin.on('error', () => undefined)
  dog.unref()
  return dog
}
