/**
 * A schema migration as projects have them: numbered files, each applied once and in a transaction.
 *
 * Usage: `migrate.ts FOLDER [FILE]`. With FILE it also does what a careless tool does: it leaves its address there, says
 * `migrated`, and goes on until it is told a line.
 *
 * @module
 */
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'

const [folder = '.', leak] = process.argv.slice(2)
const address = process.env['DATABASE_URL'] ?? ''
const client = new pg.Client({ connectionString: address })
client.on('error', () => {}) // cut: the next statement fails, and whoever runs this ends it
await client.connect()
await client.query(`set role ${process.env['OWNER_ROLE'] ?? 'none'}`)
await client.query('create table if not exists schema_migrations (file text primary key)')
for (const file of globSync('*.sql', { cwd: folder }).sort()) {
  const done = await client.query('select from schema_migrations where file = $1', [file])
  if (done.rowCount !== 0) continue
  try {
    await client.query('begin')
    await client.query(readFileSync(join(folder, file), 'utf8'))
    await client.query('insert into schema_migrations values ($1)', [file])
    await client.query('commit')
    console.log(`applied ${file}`)
  } catch (error) {
    console.error(`${file}: ${error instanceof Error ? error.message : String(error)}`)
    process.exit(3)
  }
}
if (leak !== undefined) {
  writeFileSync(leak, address, { mode: 0o600 })
  console.log('migrated')
  await new Promise((told) => process.stdin.once('data', told))
  process.stdin.destroy()
}
await client.end()
