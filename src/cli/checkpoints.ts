/**
 * The newest heads of logs that this person has seen, by server or data folder, kept where the owner of a log has no hand
 * in it. One file for each, replaced as a whole: commands that run at the same time lose nothing of one another.
 *
 * @module
 */
import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CheckpointMemory } from '../../client/src/index.ts'
import { stateHome } from '../config/index.ts'
import { CliError, exit } from './exit.ts'
import type { Io } from './io.ts'

export class Checkpoints implements CheckpointMemory {
  readonly #folder: string

  constructor(io: Pick<Io, 'env' | 'home'>) {
    this.#folder = join(stateHome(io.env, io.home), 'checkpoints')
  }

  /** What is remembered of the log at a server's URL or in a folder. */
  get(log: string): string | undefined {
    const path = this.#path(log)
    let text: string
    try {
      text = readFileSync(path, 'utf8')
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      throw new CliError(exit.error, `cannot read \`${path}\``, 'it must be a file of yours', error)
    }
    try {
      const { remembered } = JSON.parse(text) as { remembered?: unknown }
      if (typeof remembered === 'string') return remembered
      throw new SyntaxError('there is no `remembered` in it')
    } catch (error) {
      throw new CliError(
        exit.error,
        `\`${path}\` is damaged`,
        `it holds the last head seen of the log at ${log}, which that log must continue; restore it, or \`writ audit verify\` with --forget`,
        error,
      )
    }
  }

  set(log: string, remembered: string): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    const path = this.#path(log)
    const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`
    try {
      writeFileSync(temporary, `${JSON.stringify({ log, remembered }, undefined, 2)}\n`, {
        mode: 0o600,
        flag: 'wx',
      })
      chmodSync(temporary, 0o600) // whatever the umask took away or a file system made of it
      renameSync(temporary, path)
    } catch (error) {
      rmSync(temporary, { force: true })
      throw error
    }
  }

  /** On purpose: the next head is believed as it is. */
  forget(log: string): void {
    rmSync(this.#path(log), { force: true })
  }

  #path(log: string): string {
    return join(this.#folder, `${createHash('sha256').update(log).digest('hex').slice(0, 32)}.json`)
  }
}
