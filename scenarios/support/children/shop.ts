/**
 * A service of a shop: it books orders in its database and in a ledger that has an API.
 *
 * Usage: `shop.ts LEDGER`. With `LEDGER_KEY` it shows that key to the ledger, as services do that keep one. Without, it
 * gets a token for the task `SHOP_TASK` by who it is, bound to a key that it makes for it. Says `booked`, waits for a
 * line, and forgets both.
 *
 * @module
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import pg from 'pg'
import { dpopProof, importDpopKey } from '../../../client/src/index.ts'

const [ledger = ''] = process.argv.slice(2)
const { DATABASE_URL = '', IDENTITY_FILE, LEDGER_KEY, SHOP_TASK = '' } = process.env
const WRIT = resolve(import.meta.dirname, '../../../bin/writ.js')
const [KEY, TOKEN] = ['holder.jwk', 'ledger.token']

async function credentials(): Promise<Record<string, string>> {
  if (LEDGER_KEY !== undefined) return { 'x-api-key': LEDGER_KEY }
  const asking = ['token', 'exchange', '--resource=Api/ledger', '--scope=ledger:post', `--task=${SHOP_TASK}`]
  execFileSync(process.execPath, [WRIT, ...asking, `--dpop=${KEY}`, `--into=${TOKEN}`], {
    // the platform's token is where it is mounted; `writ run` hands nothing of it on
    env: { ...process.env, WRIT_TOKEN_FILE: IDENTITY_FILE },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const token = readFileSync(TOKEN, 'utf8').trim()
  const key = await importDpopKey(JSON.parse(readFileSync(KEY, 'utf8')))
  const request = { method: 'POST', url: `${ledger}/post`, now: Date.now(), accessToken: token }
  return { authorization: `DPoP ${token}`, dpop: await dpopProof(key, request) }
}

const client = new pg.Client({ connectionString: DATABASE_URL })
client.on('error', () => {}) // cut on purpose
await client.connect()
await client.query(`insert into booking (who) values (session_user)`)
const { status } = await fetch(`${ledger}/post`, { method: 'POST', headers: await credentials() })
console.log(status === 200 ? 'booked' : `the ledger answered ${status}`)
await new Promise((told) => process.stdin.once('data', told))
process.stdin.destroy()
await client.end()
for (const file of [KEY, TOKEN]) rmSync(file, { force: true })
