/**
 * B75: a backup that is put back revives nothing. B67: who also removes what Writ remembers is contradicted by whoever
 * kept a checkpoint.
 */
import assert from 'node:assert/strict'
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { parseCheckpoint, parseNote, parseVerifierKey, verifyNote } from '../../src/audit/note.ts'
import { isContinued } from '../../src/audit/tree.ts'
import { createApp } from '../../src/app.ts'
import type { Checkpoint } from '../../src/audit/note.ts'
import type { App, AppOptions } from '../../src/app.ts'
import { activeGrant, callerOf, declare, migration, requestMigration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { entries, fails, faultWorld, kindsOf, settle } from './support.ts'

/** The one mark there is, beside the key file. */
function markOf({ config, folder }: FaultWorld): string {
  const [name, ...more] = readdirSync(folder).filter((file) => file.endsWith('.mark'))
  assert.ok(name !== undefined && more.length === 0 && config.keyFile.startsWith(folder))
  return `${folder}/${name}`
}

/** Checks the note with the key that the log names now. */
async function checkpointOf(app: App, text?: string): Promise<Checkpoint> {
  const note = parseNote(text ?? (await app.flows.transparency.checkpoint()))
  assert.ok(note)
  const { keys } = app.flows.transparency.keys()
  const signers = keys.map(({ vkey }) => parseVerifierKey(vkey)).filter((key) => key !== undefined)
  assert.ok(signers.some((key) => verifyNote(note, key) !== undefined))
  const checkpoint = parseCheckpoint(note.text)
  assert.ok(checkpoint)
  return checkpoint
}

const copyOf = (world: FaultWorld): string => {
  const copy = `${world.folder}/copy`
  rmSync(copy, { recursive: true, force: true })
  cpSync(world.config.data, copy, { recursive: true })
  return copy
}

function putBack(world: FaultWorld, copy: string): void {
  rmSync(world.config.data, { recursive: true, force: true })
  cpSync(copy, world.config.data, { recursive: true })
}

/** A world that was set up and stopped; leaving the scope removes its folder. */
async function stopped(options: Parameters<typeof faultWorld>[0] = {}): Promise<FaultWorld> {
  const world = await faultWorld(options)
  await world.app.stop()
  return {
    ...world,
    async [Symbol.asyncDispose]() {
      rmSync(world.folder, { recursive: true, force: true })
    },
  }
}

/** Opens the world's folder again, however it came to be what it is. */
async function start(world: FaultWorld, more: Partial<AppOptions> = {}): Promise<App> {
  return createApp(world.config, {
    mode: 'server',
    clock: world.clock,
    http: false,
    sweeper: false,
    log: () => undefined,
    targetKinds: { fake: ({ id }) => world.system.connect(id) },
    ...more,
  })
}

const epochsIn = async (app: App): Promise<readonly unknown[]> =>
  (await entries(app)).filter(({ kind }) => kind === 'epoch.began').map(({ epoch }) => epoch)

describe('B75 a copy of the data that is put back is noticed', () => {
  test('B75 an older copy', async () => {
    await using world = await stopped()
    const copy = copyOf(world)
    world.clock.advance(60_000)
    let app = await start(world)
    await declare({ ...world, app })
    const before = await checkpointOf(app)
    await app.stop()
    putBack(world, copy)
    world.clock.advance(60_000)
    app = await start(world)
    try {
      assert.deepEqual(await epochsIn(app), [2])
      const after = await checkpointOf(app)
      assert.equal(after.origin, `${before.origin}/2`)
      const problems = await app.flows.problems()
      assert.match(problems.join('\n'), /put back from a copy/)
      world.clock.advance(8 * 86_400_000)
      assert.doesNotMatch((await app.flows.problems()).join('\n'), /put back from a copy/)
    } finally {
      await app.stop()
    }
    // and once only
    const again = await start(world)
    assert.deepEqual(await epochsIn(again), [2])
    await again.stop()
  })
})
