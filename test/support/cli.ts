/**
 * The `writ` command as a child process, with a home of its own.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { main } from '../../src/cli/cli.ts'
import { compiled, engineFlags } from './engine.ts'

const BIN = resolve(import.meta.dirname, '../../bin/writ.js')

export type Ran = Readonly<{
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}>

/** A command under way. */
export type Running = Readonly<{
  process: ChildProcess
  pid: number
  /** Resolves once standard error (or, with `stdout`, standard output) matches. */
  says(pattern: RegExp, stream?: 'stdout' | 'stderr'): Promise<RegExpExecArray>
  done: Promise<Ran>
}>

export type CliOptions = Readonly<{ env?: Record<string, string>; stdin?: string; cwd?: string }>

/** Ends a server as its operator would, and takes its exit code. */
export async function stop(running: Running): Promise<number | null> {
  running.process.kill('SIGTERM')
  return (await running.done).code
}

/** Commands that share a home, a working folder and variables. */
export class Cli implements Disposable {
  readonly home: string
  readonly cwd: string
  readonly env: Record<string, string>
  readonly #running = new Set<ChildProcess>()

  constructor(env: Record<string, string> = {}) {
    this.home = mkdtempSync(join(tmpdir(), 'writ-cli-'))
    this.cwd = this.home
    this.env = {
      PATH: process.env['PATH'] ?? '',
      HOME: this.home,
      TMPDIR: tmpdir(),
      XDG_CONFIG_HOME: join(this.home, 'config'),
      XDG_STATE_HOME: join(this.home, 'state'),
      ...compiled(),
      ...env,
    }
  }

  /** Runs a command to its end. */
  run(args: readonly string[], options: CliOptions = {}): Promise<Ran> {
    return this.start(args, options).done
  }

  /** The same in this process, in a fraction of the time: for tests of many commands, of which some run as children too. */
  async here(args: readonly string[], options: CliOptions = {}): Promise<Ran> {
    const said = { stdout: '', stderr: '' }
    const code = await main([...args], {
      env: { ...this.env, ...options.env },
      cwd: options.cwd ?? this.cwd,
      home: this.home,
      interactive: false,
      live: false,
      columns: 0,
      liveColumns: 0,
      now: Date.now,
      out: (text) => void (said.stdout += text),
      err: (text) => void (said.stderr += text),
      style: (_style, text) => text,
      styleOut: (_style, text) => text,
      stdin: () => Promise.resolve(options.stdin ?? ''),
      ask: () => Promise.reject(new Error('nobody is here')),
    })
    return { code, signal: null, ...said }
  }

  start(args: readonly string[], options: CliOptions = {}): Running {
    const child = spawn(process.execPath, [...engineFlags, BIN, ...args], {
      cwd: options.cwd ?? this.cwd,
      env: { ...this.env, ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.#running.add(child)
    const text = { stdout: '', stderr: '' }
    const watchers = new Set<() => void>()
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (chunk: string) => {
        text[stream] += chunk
        for (const look of watchers) look()
      })
    }
    child.stdin.on('error', () => undefined) // it may have ended without reading
    child.stdin.end(options.stdin ?? '')
    const done = once(child, 'close').then(([code, signal]): Ran => {
      this.#running.delete(child)
      return { code: code as number | null, signal: signal as NodeJS.Signals | null, ...text }
    })
    return {
      process: child,
      pid: child.pid ?? -1,
      done,
      says: (pattern, stream = 'stderr') =>
        new Promise((found, lost) => {
          const look = (): void => {
            const match = pattern.exec(text[stream])
            if (!match) return
            watchers.delete(look)
            found(match)
          }
          watchers.add(look)
          look()
          void done.then((ran) => {
            look()
            // settled already if it matched
            lost(
              new Error(
                `ended with ${String(ran.code ?? ran.signal)} without saying ${String(pattern)}:\n${ran.stdout}${ran.stderr}`,
              ),
            )
          })
        }),
    }
  }

  [Symbol.dispose](): void {
    for (const child of this.#running) child.kill('SIGKILL')
    // one that was killed may write a little longer
    rmSync(this.home, { recursive: true, force: true, maxRetries: 20 })
  }
}

/** Why there is no pseudo-terminal to test on, or `false`: what `skip` takes. */
export const terminals: string | false = existsSync('/usr/bin/script')
  ? false
  : 'util-linux `script` is not here'

/** On a terminal this takes too long, ms. */
const TERMINAL_TIMEOUT = 300_000

/**
 * The command on a pseudo-terminal; `answers` are typed one after the other, each when what is on the screen since
 * the last one matches.
 */
export async function onTerminal(
  cli: Cli,
  args: readonly string[],
  answers: readonly (readonly [RegExp, string])[],
  env: Record<string, string> = {},
): Promise<{ code: number | null; screen: string }> {
  const command = [process.execPath, ...engineFlags, BIN, ...args]
    .map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`)
    .join(' ')
  const terminal = spawn('/usr/bin/script', ['-qfec', `exec ${command}`, '/dev/null'], {
    cwd: cli.cwd,
    env: { ...cli.env, TERM: 'xterm', ...env },
  })
  const late = setTimeout(() => terminal.kill('SIGKILL'), TERMINAL_TIMEOUT)
  let screen = ''
  let answered = 0
  const rest = [...answers]
  terminal.stdout.on('data', (chunk: Buffer) => {
    screen += chunk.toString()
    const [next] = rest
    if (next?.[0].test(screen.slice(answered)) === true) {
      rest.shift()
      answered = screen.length
      terminal.stdin.write(next[1])
    }
  })
  const [code] = (await once(terminal, 'close')) as [number | null]
  clearTimeout(late)
  assert.deepEqual(rest, [], screen)
  return { code, screen }
}
