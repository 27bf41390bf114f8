/**
 * Processes of a story: the `writ` command as its user would type it, and what it runs.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Part } from './story.ts'

/** The command, run by the Node that runs this; killing it kills no shell in between. */
const WRIT = resolve(import.meta.dirname, '../../bin/writ.js')

export type Ended = Readonly<{ code: number | null; signal: NodeJS.Signals | null }>

/** One process, with what it has said so far. */
export type Program = Part &
  Readonly<{
    pid: number
    out: readonly string[]
    err: readonly string[]
    ended: Promise<Ended>
    /** The first line on standard output that holds `text`, once it is there; fails if the process ends without. */
    says(text: string): Promise<string>
    write(line: string): void
    /** Nothing more is written. */
    endInput(): void
    kill(signal: NodeJS.Signals): void
  }>

export type ProgramOptions = Readonly<{ cwd: string; env: Readonly<Record<string, string>> }>

/** A child program of the scenarios, as a command line. */
export function child(name: string): string[] {
  return [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    join(import.meta.dirname, 'children', name),
  ]
}

/** `writ …`, with an environment of its own: nothing of the one who runs the scenarios reaches it. */
export function startWrit(args: readonly string[], options: ProgramOptions): Promise<Program> {
  return start(process.execPath, [WRIT, ...args], options)
}

/** Runs `writ …` to its end; what it says on standard output. */
export async function writ(
  args: readonly string[],
  options: ProgramOptions & { input?: string },
): Promise<string> {
  await using program = await startWrit(args, options)
  if (options.input !== undefined) program.write(options.input)
  program.endInput()
  const { code } = await program.ended
  assert.equal(code, 0, `\`writ ${args.join(' ')}\` ended with ${code}: ${program.err.join('\n')}`)
  return program.out.join('\n')
}

export async function start(
  command: string,
  args: readonly string[],
  { cwd, env }: ProgramOptions,
): Promise<Program> {
  mkdirSync(cwd, { recursive: true })
  const process_ = spawn(command, args, {
    cwd,
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: cwd, NO_COLOR: '1', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
    // Ctrl-C in the terminal is for whoever runs the scenarios; it takes the parts down in order
    detached: true,
  })
  await once(process_, 'spawn')
  const { pid, stdin, stdout, stderr } = process_
  assert.ok(pid !== undefined)
  const out: string[] = []
  const err: string[] = []
  const heard = new Set<() => void>()
  const listen = (from: NodeJS.ReadableStream, to: string[]): void =>
    void createInterface({ input: from }).on('line', (line) => {
      to.push(line)
      for (const hear of heard) hear()
    })
  listen(stdout, out)
  listen(stderr, err)
  stdin.on('error', () => {}) // it may end without reading all it is told
  const ended = once(process_, 'exit').then(([code, signal]): Ended => ({ code, signal }))
  const closed = once(process_, 'close')

  return {
    pid,
    out,
    err,
    ended: Promise.all([ended, closed]).then(([how]) => how),
    async says(text) {
      const { promise, resolve: found, reject } = Promise.withResolvers<string>()
      const hear = (): void => {
        const line = out.find((one) => one.includes(text))
        if (line !== undefined) found(line)
      }
      heard.add(hear)
      hear()
      void closed.then(() =>
        reject(new Error(`ended without saying \`${text}\`: ${[...out, ...err].join('\n')}`)),
      )
      try {
        return await promise
      } finally {
        heard.delete(hear)
      }
    },
    write: (line) => void stdin.write(`${line}\n`),
    endInput: () => void stdin.end(),
    kill: (signal) => void process_.kill(signal),
    async [Symbol.asyncDispose]() {
      stdin.destroy()
      if (process_.exitCode === null && process_.signalCode === null) {
        process_.kill('SIGTERM')
        const late = setTimeout(() => process_.kill('SIGKILL'), 60_000)
        await ended
        clearTimeout(late)
      }
      // a grandchild may hold the pipes
      stdout.destroy()
      stderr.destroy()
    },
  }
}
