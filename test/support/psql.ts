/**
 * As much of `psql` as the README uses: `-c SQL…` with the connection in the `PG*` variables. Real PostgreSQL behind it.
 *
 * @module
 */
import pg from 'pg'

const statements = process.argv
  .slice(2)
  .flatMap((argument, at, all) => (all[at - 1] === '-c' ? [argument] : []))
const client = new pg.Client()
await client.connect()
try {
  for (const statement of statements) {
    const { command } = await client.query(statement)
    process.stdout.write(`${command}\n`)
  }
} finally {
  await client.end()
}
