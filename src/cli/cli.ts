/**
 * One command line from its words to its exit code.
 *
 * @module
 */
import { inspect } from 'node:util'
import { CommanderError } from 'commander'
import { exit, runExit, tell } from './exit.ts'
import type { Io } from './io.ts'
import { createProgram, normaliseArgv } from './program.ts'
import { plainLines } from './text.ts'

/** Runs one command line; returns its exit code. */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  let code: number = exit.ok
  const words = normaliseArgv(argv)
  // `run` hands on its command's code, so that wrong use of it must not look like one
  const isRun = words.find((word) => !word.startsWith('-')) === 'run'
  try {
    await createProgram(io, (finished) => (code = finished)).parseAsync(words, { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) {
      // it has printed what there is to say
      if (error.exitCode === 0) return exit.ok
      return isRun ? runExit.ourFailure : exit.usage
    }
    const told = tell(error)
    io.err(`${io.style('red', '✗')} writ: ${plainLines(told.message)}\n`)
    if (told.hint !== undefined) io.err(`  ${io.style('dim', 'hint:')} ${plainLines(told.hint)}\n`)
    if (told.requestId !== undefined) io.err(`  request ${told.requestId}\n`)
    if (words.includes('--debug') || io.env['WRIT_DEBUG']) io.err(`${inspect(error, { depth: 6 })}\n`)
    return told.exitCode
  }
}
