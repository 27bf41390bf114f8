import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import pg from 'pg'

import { engineFlags } from './engine.ts'
import { startPostgres } from './postgres.ts'

async function connect(url: string): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: url })
  // a server that goes away says so here; the query that follows fails by itself
  client.on('error', () => undefined)
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

test('two clusters run at once, ask for a password, and come back after a crash', async () => {
  await using one = await startPostgres()
  await using two = await startPostgres({ log_statement: 'all' })
  assert.notEqual(one.port, two.port)
  await assert.rejects(connect(one.url('postgres', 'postgres', 'wrong')), /password authentication failed/)

  const first = await connect(one.url())
  await first.query('create table kept (id int)')
  await one.kill()
  await assert.rejects(connect(one.url()))
  await first.end().catch(() => undefined)
  await one.restart()
  await using again = await connect(one.url())
  assert.deepEqual((await again.query('select * from kept')).rows, [])

  const other = await connect(two.url())
  await other.query('select 4711')
  await other.end()
  await two.stop()
  assert.match(two.log(), /select 4711/)
})

test('a cluster whose caller is killed stops and leaves nothing', async () => {
  const caller = spawn(
    process.execPath,
    [
      ...engineFlags,
      '--input-type=module',
      '-e',
      `import pg from 'pg'
       import { startPostgres } from ${JSON.stringify(import.meta.resolve('./postgres.ts'))}
       const server = await startPostgres()
       const client = new pg.Client({ connectionString: server.url() })
       await client.connect()
       console.log((await client.query('show data_directory')).rows[0].data_directory)`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], cwd: import.meta.dirname },
  )
  const exited = once(caller, 'exit').then(([status]) => assert.fail(`the caller ended with ${status}`))
  const [folder] = (await Promise.race([once(caller.stdout, 'data'), exited])) as [Buffer]
  exited.catch(() => undefined)
  const data = folder.toString().trim()
  assert.ok(existsSync(data))
  caller.kill('SIGKILL')
  const deadline = performance.now() + 240_000
  while (existsSync(data)) {
    assert.ok(performance.now() < deadline, `${data} is still there`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
})
