import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setImmediate as breathe } from 'node:timers/promises'
import { createWrit } from '../../client/src/index.ts'
import { openLogFolder } from '../../src/audit/folder.ts'
import { hex, leafHash } from '../../src/store/hash.ts'
import type { Running } from '../support/cli.ts'
import { Cli, stop } from '../support/cli.ts'
import { openWorld } from '../support/world.ts'

type Sent = Readonly<{ seq: number; leaf: string }>

/** Every whole line of the file and of those put aside before it, in the order in which they were written. */
function sentIn(folder: string): Sent[] {
  const files = readdirSync(folder)
    .filter((name) => name.startsWith('audit.ndjson'))
    .toSorted((a, b) => (a === 'audit.ndjson' ? 1 : b === 'audit.ndjson' ? -1 : a < b ? -1 : 1))
  return files.flatMap((name) =>
    textOf(join(folder, name))
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Sent),
  )
}

/** Nothing of what was put aside between looking and reading; the next look sees it. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return ''
    throw error
  }
}

test('C1 B46 a server that is killed again and again exports every entry, in order, at most some twice', async (t) => {
  await using world = await openWorld({ http: false })
  await world.app.stop()
  using cli = new Cli()
  const config = join(world.folder, 'writ.config.yaml')
  writeFileSync(
    config,
    `port: 0
data: ${world.config.data}
key_file: ${world.config.keyFile}
exports:
  - { id: disk, kind: file, format: entries, path: ${join(world.folder, 'audit.ndjson')}, rotate_at: 20000, batch: 3 }
`,
  )
  const started = async (): Promise<{ server: Running; url: string }> => {
    const server = cli.start(['server', '-c', config])
    const [, url = ''] = await server.says(/(http:\/\/127\.0\.0\.1:\d+)/, 'stdout')
    return { server, url }
  }
  for (let round = 0; round < 4; round += 1) {
    const { server, url } = await started()
    const writ = createWrit({ url, token: world.tokens.migrator })
    // killed while decisions are made, entries are written and the file grows
    const asking = Array.from({ length: 30 }, () =>
      writ.evaluate({ action: 'read', resource: 'Document/handbook' }).catch((error: unknown) => error),
    )
    const left = { open: asking.length }
    for (const one of asking) void one.then(() => (left.open -= 1))
    const before = sentIn(world.folder).length
    await Promise.all(asking.slice(0, 5 * (round + 1)))
    if (round % 2 === 1) while (left.open > 0 && sentIn(world.folder).length === before) await breathe()
    server.process.kill('SIGKILL')
    await server.done
    await Promise.all(asking)
  }
  const { server, url } = await started()
  const admin = createWrit({ url, token: world.tokens.ada })
  const { size } = await admin.log.head()
  while ((sentIn(world.folder).at(-1)?.seq ?? 0) < size - 1) await admin.ready()
  await stop(server)

  const sent = sentIn(world.folder)
  const log = openLogFolder(world.config.data)
  const leaves = (await log.entries(0, size)).map((entry) => 'bytes' in entry && hex(leafHash(entry.bytes)))
  log.close()
  for (const { seq, leaf } of sent) if (seq < size) assert.equal(leaf, leaves[seq])
  let next = 0
  for (const { seq } of sent) {
    assert.ok(seq <= next, `entry ${next} is missing before ${seq}`)
    next = Math.max(next, seq + 1)
  }
  assert.ok(next >= size)
  t.diagnostic(`${sent.length - next} of ${next} entries twice`)
})
