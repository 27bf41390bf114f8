/** B45: a key that was retired signs nothing more, and what it signed is believed as far as it was its to sign. */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { describe, test } from 'node:test'
import {
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  readEndorsement,
  verifyNote,
} from '../../src/audit/note.ts'
import type { VerifierKey } from '../../src/audit/note.ts'
import type { App } from '../../src/app.ts'
import type { World } from '../support/world.ts'
import { declare } from '../support/world.ts'
import { entries, fails, faultWorld } from './support.ts'

const keyOf = (text: string | undefined): VerifierKey => {
  const key = parseVerifierKey(text ?? '')
  assert.ok(key)
  return key
}
const currentKey = (app: App): VerifierKey =>
  keyOf(app.flows.transparency.keys().keys.find(({ state }) => state === 'current')?.vkey)

/** Which of `keys` signed the note, and the size that it is about. */
function signedBy(
  note: string,
  ...keys: readonly VerifierKey[]
): readonly [number | undefined, ...boolean[]] {
  const parsed = parseNote(note)
  assert.ok(parsed)
  return [parseCheckpoint(parsed.text)?.size, ...keys.map((key) => verifyNote(parsed, key) !== undefined)]
}

describe('B45 keys of the log', () => {
  test('B45 the old key vouches for the new one, signs once more, and never again', async () => {
    await using world = await faultWorld()
    const { transparency } = world.app.flows
    const old = currentKey(world.app)
    await transparency.checkpoint()
    const notes: string[] = []
    transparency.onSigned((note) => notes.push(note))
    const rotated = await transparency.rotate(world.ada, { use: 'log', reason: 'yearly' })
    const next = keyOf(rotated.vkey)
    assert.deepEqual(currentKey(world.app), next)
    assert.notEqual(next.id, old.id)

    // on the record, with the word of the old key, below the last checkpoint that it signed
    const all = await entries(world.app)
    const entry = all.find(({ kind }) => kind === 'signer.rotated')
    assert.ok(entry)
    assert.equal(Number(entry['seq']) + 1, rotated.until)
    assert.equal(entry['endorsement'], rotated.endorsement)
    assert.deepEqual(readEndorsement(rotated.endorsement ?? '', old), {
      origin: transparency.origin(),
      size: rotated.until,
      key: next,
    })
    assert.equal(readEndorsement(rotated.endorsement ?? '', next), undefined)
    assert.deepEqual(signedBy(rotated.checkpoint ?? '', old, next), [rotated.until, true, true])
    assert.deepEqual(notes, [rotated.checkpoint])

    await declare(world)
    assert.deepEqual(signedBy(await transparency.checkpoint(), old, next).slice(1), [false, true])
    const states = transparency.keys().keys.map(({ state, until }) => ({ state, until }))
    assert.deepEqual(states, [
      { state: 'retired', until: rotated.until },
      { state: 'current', until: undefined },
    ])
    // what could sign for it is no more
    const view = await world.app.store.read([{ kind: 'signer', id: rotated.before }])
    assert.equal(view.get('signer', rotated.before)?.value.sealed, '')
    const again = await world.restart()
    assert.deepEqual(currentKey(again.app), next)
    assert.deepEqual(signedBy(await again.app.flows.transparency.checkpoint(), old, next).slice(1), [
      false,
      true,
    ])
  })

  test('B45 a crash before the last words: they are said at the next start, once', async () => {
    const world = await faultWorld()
    let running: World = world
    await world.app.flows.transparency.checkpoint()
    // the mark cannot be written: the rotation is on the record, its checkpoint is not signed
    const mark = readdirSync(world.folder).find((file) => file.endsWith('.mark'))
    const blocked = `${world.folder}/${mark}.new`
    for (const restarts of [true, false]) {
      mkdirSync(blocked)
      const { transparency } = running.app.flows
      const was = currentKey(running.app)
      await fails(transparency.rotate(world.ada, { use: 'log' }), 'ERR_CONFIG_INVALID')
      await transparency.tick()
      assert.match((await running.app.flows.problems()).join('\n'), /the log is not signed/)
      if (restarts) {
        await running.app.stop()
        rmSync(blocked, { recursive: true })
        running = await world.restart()
      } else {
        rmSync(blocked, { recursive: true })
      }
      const notes: string[] = []
      running.app.flows.transparency.onSigned((note) => notes.push(note))
      await declare(running)
      const note = await running.app.flows.transparency.checkpoint()
      const { keys } = running.app.flows.transparency.keys()
      const retired = keys.findLast(({ state }) => state === 'retired')
      assert.deepEqual(keyOf(retired?.vkey), was)
      if (!restarts)
        assert.deepEqual(signedBy(notes[0] ?? '', was, currentKey(running.app)), [retired?.until, true, true])
      assert.deepEqual(signedBy(note, was, currentKey(running.app)).slice(1), [false, true])
      const view = await running.app.store.read([{ kind: 'signer', id: retired?.id ?? '' }])
      assert.equal(view.get('signer', retired?.id ?? '')?.value.sealed, '')
    }
    await running.app.stop()
    rmSync(world.folder, { recursive: true, force: true })
  })

  test('B45 a compromised key vouches for nothing and is believed no further than this log went', async () => {
    await using world = await faultWorld()
    const { transparency } = world.app.flows
    const old = currentKey(world.app)
    const last = signedBy(await transparency.checkpoint(), old)[0]
    await fails(transparency.rotate(world.ada, { use: 'log', compromised: true }), 'ERR_INPUT_INVALID')
    const rotated = await transparency.rotate(world.ada, {
      use: 'log',
      compromised: true,
      reason: 'disk sold',
    })
    assert.equal(rotated.endorsement, undefined)
    assert.equal(rotated.until, last)
    assert.deepEqual(signedBy(rotated.checkpoint ?? '', old, keyOf(rotated.vkey)).slice(1), [false, true])
    const entry = (await entries(world.app)).find(({ kind }) => kind === 'signer.compromised')
    assert.deepEqual(
      [entry?.['reason'], entry?.['until'], entry?.['endorsement']],
      ['disk sold', last, undefined],
    )
    const [before] = transparency.keys().keys
    assert.deepEqual([before?.state, before?.until], ['compromised', last])
    const view = await world.app.store.read([{ kind: 'signer', id: rotated.before }])
    assert.equal(view.get('signer', rotated.before)?.value.sealed, '')
  })

  test('B45 only who may administer changes keys, on the record like any attempt', async () => {
    await using world = await faultWorld()
    const { transparency } = world.app.flows
    const before = currentKey(world.app)
    await fails(transparency.rotate(world.migrator, { use: 'log' }), 'ERR_FORBIDDEN')
    await fails(transparency.rotate(world.grace, { use: 'artifact' }), 'ERR_FORBIDDEN')
    assert.deepEqual(currentKey(world.app), before)
    const rotated = await transparency.rotate(world.ada, { use: 'artifact' })
    assert.deepEqual(
      [rotated.vkey, rotated.endorsement, rotated.checkpoint],
      [undefined, undefined, undefined],
    )
    assert.deepEqual(currentKey(world.app), before)
    const view = await world.app.store.read([{ kind: 'signer', id: rotated.before }])
    assert.equal(view.get('signer', rotated.before)?.value.sealed, '')
  })

  test('B45 rotations and checkpoints at the same time leave one line of checkpoints', async () => {
    await using world = await faultWorld()
    const { transparency } = world.app.flows
    const sizes: number[] = []
    transparency.onSigned((note) => sizes.push(parseCheckpoint(parseNote(note)?.text ?? '')?.size ?? -1))
    await Promise.all([
      ...[1, 2, 3].map(() => transparency.rotate(world.ada, { use: 'log' })),
      ...Array.from({ length: 20 }, async () => {
        await declare(world)
        await transparency.checkpoint()
      }),
    ])
    assert.deepEqual(
      sizes,
      [...new Set(sizes)].toSorted((a, b) => a - b),
    )
    assert.equal(transparency.keys().keys.filter(({ state }) => state === 'current').length, 1)
  })
})
