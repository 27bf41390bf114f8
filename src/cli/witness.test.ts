import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { parseNote, verifyNote } from '../audit/note.ts'
import { parseCosignatures } from '../audit/witness.ts'
import { SignedLog } from '../../test/support/signed-log.ts'
import type { Witness } from './witness.ts'
import { openWitness } from './witness.ts'

const scratch = mkdtempSync(join(tmpdir(), 'writ-witness-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

const log = new SignedLog('writ/inst_test/2')
const NOW = 1_790_000_000_000

const open = (folder: string, name: string | undefined = 'witness.example/w1'): Promise<Witness> =>
  openWitness({
    folder: join(scratch, folder),
    ...(name === '' ? {} : { name }),
    host: '127.0.0.1',
    port: 0,
    logs: [log.pair.key],
    now: () => NOW,
  })
const submit = (witness: Witness, body: string): Promise<Response> =>
  fetch(`${witness.url}/add-checkpoint`, { method: 'POST', body })

test('a witness cosigns what continues, answers as the protocol says, and remembers over a restart', async () => {
  const witness = await open('usual')
  const answered = await submit(witness, log.submission(0, 7))
  assert.equal(answered.status, 200)
  const [cosignature] = parseCosignatures(await answered.text(), log.head(7).text, [witness.key])
  assert.ok(cosignature)
  const { text } = log.head(7)
  assert.deepEqual(verifyNote({ text, signatures: [cosignature] }, witness.key), { at: NOW / 1000 })
  assert.equal((await submit(witness, log.submission(7, 7))).status, 200)
  assert.equal((await submit(witness, new SignedLog('writ/unknown').submission(0, 7))).status, 404)
  assert.equal((await submit(witness, new SignedLog(log.origin).submission(0, 7))).status, 403)
  assert.equal((await submit(witness, 'nonsense')).status, 400)
  assert.equal((await submit(witness, log.forkedAt(3).submission(7, 9))).status, 422)
  assert.equal((await submit(witness, log.forkedAt(3).submission(7, 7))).status, 409)
  const behind = await submit(witness, log.submission(0, 9))
  assert.equal(behind.status, 409)
  assert.equal(behind.headers.get('content-type'), 'text/x.tlog.size')
  assert.equal(await behind.text(), '7\n')
  await witness.stop()

  const again = await open('usual', '')
  assert.deepEqual(again.key, witness.key)
  assert.equal((await submit(again, log.submission(0, 5))).status, 409)
  assert.equal((await submit(again, log.submission(7, 9))).status, 200)
  await again.stop()
})

test('the newest head is there to be read, as the log signed it and cosigned now', async () => {
  const witness = await open('read')
  const url = `${witness.url}/${encodeURIComponent(log.origin)}/checkpoint`
  assert.equal((await fetch(url)).status, 404)
  assert.equal((await fetch(`${witness.url}/%ff/checkpoint`)).status, 404)
  await submit(witness, log.submission(0, 7))
  const note = parseNote(await (await fetch(url)).text())
  assert.ok(note)
  assert.equal(note.text, log.head(7).text)
  assert.ok(verifyNote(note, log.pair.key))
  assert.ok(verifyNote(note, witness.key))
  await witness.stop()
})

test('concurrent submissions are never cosigned for two histories', async () => {
  const [one, two] = await Promise.all([open('shared'), open('shared').catch(() => undefined)])
  const witnesses = [one, two ?? one]
  const bodies = Array.from({ length: 40 }, (_, i) =>
    (i % 2 === 0 ? log : log.forkedAt(2)).submission(0, 5 + (i % 7)),
  )
  const statuses = await Promise.all(
    bodies.map(async (body, i) => (await submit(witnesses[i % 2] as Witness, body)).status),
  )
  assert.equal(statuses.filter((status) => status === 200).length, 1)
  await Promise.all([one.stop(), two?.stop()])
})

test('a large or slow body is not read to its end: B01', async () => {
  const witness = await open('large')
  const { status } = await submit(witness, 'x'.repeat(40_000))
  assert.equal(status, 413)
  assert.equal((await fetch(`${witness.url}/add-checkpoint`)).status, 405)
  assert.equal((await fetch(`${witness.url}/`)).status, 404)
  await witness.stop()
})

test('its key is private, its name stays, and without its memory it does not cosign', async () => {
  const witness = await open('kept')
  await witness.stop()
  const folder = join(scratch, 'kept')
  assert.equal(statSync(join(folder, 'witness.key')).mode & 0o077, 0)
  assert.equal(statSync(folder).mode & 0o077, 0)
  await assert.rejects(open('kept', 'witness.example/other'), /this witness is `witness\.example\/w1`/)
  await assert.rejects(open('nameless', ''), /`--name` is missing/)
  for (const file of ['memory.db', 'memory.db-wal', 'memory.db-shm'])
    rmSync(join(folder, file), { force: true })
  await assert.rejects(open('kept'), /the memory .* is gone, but not the key/)
})
