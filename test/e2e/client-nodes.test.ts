/**
 * The client runs where its users are: built by the compiler, on every Node.js that it claims, against a real server.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { promisify } from 'node:util'
import type {
  AccessRequest,
  Credential,
  Entity,
  Grant,
  Narrowing,
  PolicyVersion,
  Task,
  TaskState,
} from '../../client/src/index.ts'
import { createWrit } from '../../client/src/index.ts'
import type {
  WireAccessRequest,
  WireCredential,
  WireEntity,
  WireGrant,
  WireNarrowing,
  WirePolicyVersion,
  WireTask,
  WireTaskState,
} from '../../src/wire/v1/index.ts'
import { nodeOf } from '../support/node.ts'
import type { NodeMajor } from '../support/node.ts'
import { openWorld } from '../support/world.ts'
import type { World } from '../support/world.ts'

const run = promisify(execFile)
const ROOT = resolve(import.meta.dirname, '../..')

/** The client's types are written by hand, because it depends on nothing; the compiler holds them to the wire. */
type Same = [
  WireTask extends Task ? true : never,
  WireGrant extends Grant ? true : never,
  WireCredential extends Credential ? true : never,
  WireAccessRequest extends AccessRequest ? true : never,
  WireTaskState extends TaskState ? true : never,
  WireNarrowing extends Narrowing ? true : never,
  WireEntity extends Entity ? true : never,
  WirePolicyVersion extends PolicyVersion ? true : never,
]
const same: Same = [true, true, true, true, true, true, true, true]

/** What a user of the client writes, without `await using`, which Node 20 does not know. */
const SMOKE = `
import assert from 'node:assert/strict'
import { NotPermitted, createWrit, isWritClientError } from './src/index.js'

const writ = createWrit()
const read = await writ.evaluate({ action: 'read', resource: 'Document/handbook' })
assert.equal(read.outcome, 'permit')
const before = (await writ.log.head().catch(() => ({ size: 0 }))).size
const stop = new AbortController()
const seen = []
const following = (async () => {
  for await (const event of writ.events({ after: Math.max(0, before - 1), signal: stop.signal })) seen.push(event.kind)
})()
await assert.rejects(writ.acquire({ action: 'db:migrate', resource: 'Database/orders', reason: 'r' }), (error) => {
  assert.ok(error instanceof NotPermitted && isWritClientError(error, 'ERR_DENIED'))
  assert.equal(error.decision.outcome, 'challenge')
  return true
})
const lease = await writ.acquire({
  action: 'db:migrate', resource: 'Database/orders', reason: 'smoke', ttl: '5m', wait: '5m',
  onProgress: (progress) => { if (progress.step === 'requested') console.log(progress.state.task.id) },
})
assert.equal(lease.grant.state, 'active')
await lease[Symbol.asyncDispose]()
assert.equal((await lease.clean()).clean, true)
const after = await writ.evaluate({ action: 'db:migrate', resource: 'Database/orders', context: { task: lease.task.id } })
assert.deepEqual([after.outcome, after.reason], ['deny', 'task_ended'])
while (seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
stop.abort()
await following
console.log('done', process.version)
`

suite('the client', () => {
  let world: World
  let folder: string

  before(async () => {
    world = await openWorld()
    folder = mkdtempSync(join(tmpdir(), 'writ-client-'))
    // the one library it has, as an installation would bring it
    mkdirSync(join(folder, 'node_modules'))
    symlinkSync(
      join(ROOT, 'node_modules/eventsource-parser'),
      join(folder, 'node_modules/eventsource-parser'),
    )
    const config = JSON.parse(readFileSync(join(ROOT, 'tsconfig.client.json'), 'utf8')) as {
      compilerOptions: object
    }
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({
        extends: join(ROOT, 'tsconfig.json'),
        compilerOptions: {
          ...config.compilerOptions,
          noEmit: false,
          rootDir: join(ROOT, 'client'),
          outDir: folder,
          typeRoots: [],
        },
        files: [join(ROOT, 'client/src/index.ts')],
        include: [],
      }),
    )
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
    writeFileSync(join(folder, 'smoke.js'), SMOKE)
    await run(join(ROOT, 'node_modules/.bin/tsc'), ['-p', join(folder, 'tsconfig.json')])
  })
  after(async () => {
    await world[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true, force: true })
  })

  test('has the types of the wire', () => {
    assert.equal(same.length, 8)
  })

  for (const major of [20, 22, 24] satisfies NodeMajor[]) {
    test(`runs on Node.js ${major}`, async (t) => {
      let node: string
      try {
        node = await nodeOf(major)
      } catch (error) {
        t.skip(
          `no Node.js ${major}: ${error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : ''}`,
        )
        return
      }
      const grace = createWrit({ url: world.app.url, token: world.tokens.grace })
      const child = run(node, [join(folder, 'smoke.js')], {
        env: { PATH: process.env['PATH'], WRIT_URL: world.app.url, WRIT_TOKEN: world.tokens.migrator },
      })
      child.child.stdout?.once('data', (line: Buffer) => {
        const id = line.toString().trim()
        void grace.requests.get(id).then(({ digest }) => grace.requests.approve(id, digest))
      })
      const { stdout } = await child
      assert.match(stdout, new RegExp(`done v${major}\\.`))
    })
  }
})
