/**
 * B67: what witnesses remember of the log cannot be put back together with it.
 */
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import type { App } from '../../src/app.ts'
import { createApp } from '../../src/app.ts'
import type { VerifierKey } from '../../src/audit/note.ts'
import {
  formatVerifierKey,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  verifierKey,
} from '../../src/audit/note.ts'
import { isCosigned } from '../../src/audit/witness.ts'
import { ownPort } from '../../src/cli/own-port.ts'
import type { Witness } from '../../src/cli/witness.ts'
import { openWitness } from '../../src/cli/witness.ts'
import { parseEntry } from '../../src/flows/attempts.ts'
import type { WitnessState } from '../../src/flows/witnesses.ts'
import { isPruned } from '../../src/store/port.ts'
import { openWorld } from '../support/world.ts'
import type { World } from '../support/world.ts'

/** A world that two witnesses watch; each knows its log. */
async function watched(): Promise<
  World & Readonly<{ witnesses: Witness[]; known: VerifierKey[]; reopen(): Promise<App>; home: string }>
> {
  const home = mkdtempSync(join(tmpdir(), 'writ-witnesses-'))
  const known: VerifierKey[] = []
  // one that goes away comes back under its address
  const open = async (name: string): Promise<Witness> =>
    openWitness({
      folder: join(home, name),
      name: `witness.example/${name}`,
      host: '127.0.0.1',
      port: (await ownPort('127.0.0.1')).port,
      logs: known,
      now: Date.now,
    })
  const witnesses = [await open('one'), await open('two')]
  const config = {
    log: { witnesses: witnesses.map(({ url, key }) => ({ url, key: formatVerifierKey(key) })) },
  }
  const world = await openWorld({ http: false, sweeper: false, config })
  trust(known, world.app)
  return {
    ...world,
    witnesses,
    known,
    home,
    reopen: () =>
      createApp(world.config, { mode: 'server', http: false, sweeper: false, log: () => undefined }),
    async [Symbol.asyncDispose]() {
      await Promise.all(witnesses.map((it) => it.stop()))
      rmSync(home, { recursive: true, force: true })
      rmSync(world.folder, { recursive: true, force: true })
    },
  }
}

function trust(known: VerifierKey[], app: App): void {
  for (const { vkey } of app.flows.transparency.keys().keys) {
    const key = parseVerifierKey(vkey)
    if (key !== undefined) known.push(key)
  }
}

/** Until every witness is as wanted. */
async function until(app: App, wanted: (state: WitnessState) => boolean): Promise<readonly WitnessState[]> {
  for (let tries = 0; ; tries++) {
    const states = app.flows.witnesses.states()
    if (states.length > 0 && states.every(wanted)) return states
    assert.ok(tries < 20_000, JSON.stringify(states))
    await wait(10)
  }
}
const hasCosigned =
  (size: number) =>
  ({ cosigned }: WitnessState): boolean =>
    (cosigned?.size ?? 0) >= size
const sizeOf = async (app: App): Promise<number> => (await app.store.log.head()).size

async function kinds(app: App, kind: string): Promise<Record<string, unknown>[]> {
  const all = await app.store.log.entries(0, await sizeOf(app))
  return all.flatMap((it) => (isPruned(it) ? [] : [parseEntry(it.bytes)])).filter((it) => it['kind'] === kind)
}
let serial = 0
const grow = (world: World, app: App): Promise<unknown> =>
  app.flows.putEntities(world.ada, [{ type: 'Document', id: `d${(serial += 1)}`, kind: 'resource' }])

/** The data folder, and on request the mark beside the key file, as they are now; returns how they are put back. */
function copy(world: World & Readonly<{ home: string }>): (what: { mark: 'kept' | 'back' | 'gone' }) => void {
  const kept = join(world.home, 'copy')
  const marks = readdirSync(world.folder).filter((file) => file.endsWith('.mark'))
  cpSync(world.config.data, join(kept, 'data'), { recursive: true })
  for (const mark of marks) cpSync(join(world.folder, mark), join(kept, mark))
  return ({ mark }) => {
    rmSync(world.config.data, { recursive: true, force: true })
    cpSync(join(kept, 'data'), world.config.data, { recursive: true })
    for (const name of marks) {
      if (mark !== 'kept') rmSync(join(world.folder, name), { force: true })
      if (mark === 'back') cpSync(join(kept, name), join(world.folder, name))
    }
  }
}

describe('witnesses', () => {
  test('each signed head is cosigned, and the cosignatures stand on the checkpoint', async () => {
    await using world = await watched()
    const { app, witnesses } = world
    app.flows.witnesses.start()
    await until(app, hasCosigned(await sizeOf(app)))
    await grow(world, app)
    const size = await sizeOf(app)
    await app.flows.transparency.checkpoint()
    await until(app, hasCosigned(size))
    const note = parseNote(await app.flows.transparency.checkpoint())
    assert.ok(note)
    assert.equal(parseCheckpoint(note.text)?.size, size)
    assert.ok(isCosigned(note, { witnesses: witnesses.map(({ key }) => key), threshold: 2 }))
    assert.deepEqual(app.flows.witnesses.problems(), [])
    await app.stop()

    const again = await world.reopen()
    again.flows.witnesses.start()
    await until(again, hasCosigned(size))
    await again.stop()
  })

  test('a witness that is away, or does not know the log, hinders nothing and is among the problems', async () => {
    await using world = await watched()
    const { app, witnesses, known } = world
    known.length = 0
    await witnesses[1]?.stop()
    app.flows.witnesses.start()
    await until(app, ({ problem }) => problem !== undefined)
    const [unknown = '', away = ''] = await app.flows.problems()
    assert.match(unknown, /witness `witness\.example\/one` does not know the log `writ\/inst_/)
    assert.match(away, /witness `witness\.example\/two` cannot be reached/)
    await grow(world, app)
    const [grant] = (await app.flows.grants(world.ada, {})).items
    assert.equal(grant, undefined)
    await app.flows.locks.lock(world.ada, { what: 'subject', about: 'Agent/migrator', reason: 'test' })
    trust(known, app)
    const [one] = await until(app, ({ name, cosigned }) => cosigned !== undefined || name.endsWith('two'))
    assert.equal(one?.problem, undefined)
    await app.stop()
  })

  test('a key that is none, and one witness under two names, are refused at the start', async () => {
    await using world = await watched()
    await world.app.stop()
    const { key } = world.witnesses[0] as Witness
    const alias = formatVerifierKey(verifierKey('witness.example/alias', 'witness', key.raw))
    const [url, own] = ['http://127.0.0.1:9', formatVerifierKey(key)]
    for (const keys of [
      ['nonsense'],
      [formatVerifierKey(world.known[0] as VerifierKey)],
      [own, own],
      [own, alias],
    ]) {
      const config = { ...world.config, log: { witnesses: keys.map((it) => ({ url, key: it })) } }
      await assert.rejects(createApp(config, { mode: 'server', http: false, log: () => undefined }), {
        code: 'ERR_CONFIG_INVALID',
      })
    }
  })

  test('B67 data that is put back with its mark is found out by what a witness holds, at the start', async () => {
    await using world = await watched()
    const { app } = world
    await app.flows.transparency.checkpoint()
    await app.stop()
    const putBack = copy(world)

    const later = await world.reopen()
    later.flows.witnesses.start()
    await grow(world, later)
    await grow(world, later)
    const lost = await sizeOf(later)
    await later.flows.transparency.checkpoint()
    await until(later, hasCosigned(lost))
    await later.stop()

    putBack({ mark: 'back' })
    const restored = await world.reopen()
    const [began] = await kinds(restored, 'epoch.began')
    assert.match(
      String(began?.['why']),
      new RegExp(`fewer than the ${lost} that were signed, as a witness holds`),
    )
    assert.match(restored.flows.transparency.origin(), /^writ\/inst_\w+\/2$/)
    await restored.stop()
  })

  test('B67 a witness that was away at the start refuses the log that was put back, and says so for the record', async () => {
    await using world = await watched()
    const { app, witnesses, known } = world
    await app.flows.transparency.checkpoint()
    await app.stop()
    const putBack = copy(world)

    const later = await world.reopen()
    later.flows.witnesses.start()
    for (let i = 0; i < 8; i++) await grow(world, later)
    const lost = await sizeOf(later)
    await later.flows.transparency.checkpoint()
    await until(later, hasCosigned(lost))
    await later.stop()

    putBack({ mark: 'back' })
    // unknown to them it looks as if they were away
    const trusted = known.splice(0)
    await Promise.all(witnesses.map((it) => it.stop()))
    const restored = await world.reopen()
    assert.deepEqual(await kinds(restored, 'epoch.began'), [])
    const ports = witnesses.map(({ url }) => Number(new URL(url).port))
    known.push(...trusted)
    const back = await Promise.all(
      ['one', 'two'].map((name, i) =>
        openWitness({
          folder: join(world.home, name),
          host: '127.0.0.1',
          port: ports[i] as number,
          logs: known,
          now: Date.now,
        }),
      ),
    )
    witnesses.splice(0, 2, ...back)
    restored.flows.witnesses.start()
    const [one] = await until(restored, ({ contradicts }) => contradicts === true)
    assert.match(one?.problem ?? '', new RegExp(`cosigned ${lost} entries of this log, which has \\d+`))
    assert.equal((await restored.flows.problems()).filter((it) => it.startsWith('witness ')).length, 2)
    for (let tries = 0; (await kinds(restored, 'witness.contradicts')).length < 2; tries++) {
      assert.ok(tries < 20_000)
      await wait(10)
    }
    // grown beyond what they hold, it is another history all the same
    while ((await sizeOf(restored)) <= lost) await grow(world, restored)
    await restored.stop()
    const grown = await world.reopen()
    const [began] = await kinds(grown, 'epoch.began')
    assert.match(String(began?.['why']), /are not those that were signed, as a witness holds/)
    await grown.stop()
    assert.equal((await fetchHead(back[0] as Witness, known)).size, lost, 'it cosigned nothing since')
  })
})

async function fetchHead(witness: Witness, [key]: readonly VerifierKey[]): Promise<{ size: number }> {
  const response = await fetch(`${witness.url}/${encodeURIComponent(key?.name ?? '')}/checkpoint`)
  const head = parseCheckpoint(parseNote(await response.text())?.text ?? '')
  assert.ok(head)
  return head
}
