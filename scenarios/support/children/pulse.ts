/**
 * Work that goes on for as long as it can: a row every 50 ms on one connection.
 *
 * Usage: `pulse.ts [--detach FILE]`. Says `working` after its first row, and ends when it is told a line: `done` with 0,
 * anything else with 3. With `--detach` it also leaves a process behind that belongs to nobody: that keeps the
 * credential and an open connection, tries to write and to come back, and writes what happens to FILE.
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { appendFileSync, openSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import pg from 'pg'

/** Even one that is never cut ends some time. */
const MOST = 600

const [option, file] = process.argv.slice(2)

/** Why the connection was closed, once it was; the next query says no more than that it is. */
let closed: unknown

async function connect(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: process.env['DATABASE_URL'] ?? '' })
  client.on('error', (error) => (closed ??= error))
  await client.connect()
  return client
}

async function work(): Promise<void> {
  const client = await connect()
  await client.query(`insert into pulse (who) values ('child')`)
  if (option === '--detach' && file !== undefined) {
    const output = openSync(file, 'a', 0o600)
    spawn(process.execPath, [import.meta.filename, '--left-behind', file], {
      detached: true,
      stdio: ['ignore', output, output],
    }).unref()
  }
  console.log('working')
  const told = new Promise<string>((resolve) =>
    process.stdin.once('data', (line) => resolve(String(line).trim())),
  )
  const answer = await told
  await client.end()
  process.exit(answer === 'done' ? 0 : 3)
}

async function leftBehind(file: string): Promise<void> {
  const say = (what: string, error?: unknown): void => {
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined
    const line = { what, pid: process.pid, ...(error === undefined ? {} : { code, message: inspect(error) }) }
    appendFileSync(file, `${JSON.stringify(line)}\n`)
  }
  const client = await connect()
  for (let beats = 0; beats < MOST; beats += 1) {
    try {
      await client.query(`insert into pulse (who) values ('left behind')`)
      if (beats === 0) say('writing')
    } catch (error) {
      say('cut', closed ?? error)
      break
    }
    await pause(50)
  }
  for (let tries = 0; tries < 3; tries += 1) {
    try {
      await (await connect()).end()
      say('back')
    } catch (error) {
      say('refused', error)
    }
  }
}

if (option === '--left-behind' && file !== undefined) await leftBehind(file)
else await work()
