/**
 * What the command line remembers between runs: sessions, by server. Private to the person (0600).
 *
 * @module
 */
import { chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { dirname, join } from 'node:path'
import { configHome } from '../config/index.ts'
import { CliError, exit } from './exit.ts'
import type { Io } from './io.ts'
import { readPrivate } from './private-file.ts'

export type StoredSession = Readonly<{ token: string; person: string; ends_at: string }>

/** Sessions kept under the origin of their server: a token is never sent to another one. */
export class Sessions {
  readonly path: string

  constructor(io: Pick<Io, 'env' | 'home'>) {
    this.path = join(configHome(io.env, io.home), 'sessions.json')
  }

  get(url: string): StoredSession | undefined {
    const session = this.#read()[new URL(url).origin]
    return session !== undefined && typeof session.token === 'string' ? session : undefined
  }

  set(url: string, session: StoredSession): void {
    this.#write({ ...this.#read(), [new URL(url).origin]: session })
  }

  delete(url: string): void {
    const { [new URL(url).origin]: _gone, ...rest } = this.#read()
    this.#write(rest)
  }

  #read(): Readonly<Record<string, StoredSession>> {
    let text: string | undefined
    try {
      text = readPrivate(
        this.path,
        'the session',
        `if you trust whoever could read it, \`chmod 600 ${this.path}\`; else remove it and sign in again`,
      )
    } catch (error) {
      if (error instanceof CliError) throw error
      throw new CliError(exit.error, `cannot read \`${this.path}\``, 'it must be a file of yours', error)
    }
    if (text === undefined) return {}
    try {
      const parsed: unknown = JSON.parse(text)
      return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, StoredSession>) : {}
    } catch (error) {
      throw new CliError(exit.error, `\`${this.path}\` is damaged`, 'remove it and sign in again', error)
    }
  }

  #write(sessions: Readonly<Record<string, StoredSession>>): void {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 })
    const temporary = `${this.path}.${process.pid}.${randomBytes(4).toString('hex')}`
    try {
      writeFileSync(temporary, `${JSON.stringify(sessions, undefined, 2)}\n`, { mode: 0o600, flag: 'wx' })
      chmodSync(temporary, 0o600) // whatever the umask took away or a file system made of it
      renameSync(temporary, this.path)
    } catch (error) {
      rmSync(temporary, { force: true })
      throw error
    }
  }
}
