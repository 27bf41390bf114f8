import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { formatVerifierKey, parseVerifierKey } from '../../src/audit/note.ts'
import { parseCosignatures } from '../../src/audit/witness.ts'
import { engineFlags } from '../support/engine.ts'
import { SignedLog } from '../support/signed-log.ts'

const log = new SignedLog('writ/inst_crash')

type Started = Readonly<{ url: string; key: string; child: ChildProcess; ended: Promise<unknown> }>

async function start(folder: string, how = ''): Promise<Started> {
  const child = spawn(
    process.execPath,
    [
      ...engineFlags,
      join(import.meta.dirname, 'witness-child.ts'),
      folder,
      formatVerifierKey(log.pair.key),
      how,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const ended = once(child, 'exit').then(([, signal]) => signal as unknown)
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer]
  const [url = '', key = ''] = chunk.toString().trim().split(' ')
  return { url, key, child, ended }
}
const submit = (url: string, body: string): Promise<Response> =>
  fetch(`${url}/add-checkpoint`, { method: 'POST', body })

test('B67 a witness killed between keeping a head and answering cosigns nothing that contradicts it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'writ-witness-'))
  const running: ChildProcess[] = []
  try {
    const first = await start(folder, 'dies')
    running.push(first.child)
    await assert.rejects(submit(first.url, log.submission(0, 20)), 'it died before it answered')
    assert.equal(await first.ended, 'SIGKILL')

    const again = await start(folder)
    running.push(again.child)
    assert.equal(again.key, first.key, 'it is the same witness')
    const other = log.forkedAt(10)
    for (const [name, body] of Object.entries({
      'a fork, as if nothing was known': other.submission(0, 20),
      'a fork of the same size': other.submission(20, 20),
      'a longer fork': other.submission(20, 30),
      'an earlier head': log.submission(0, 12),
    })) {
      const { status } = await submit(again.url, body)
      assert.ok(status === 409 || status === 422, `${name}: ${status}`)
    }
    const conflict = await submit(again.url, log.submission(0, 20))
    assert.equal(conflict.status, 409)
    assert.equal(conflict.headers.get('content-type'), 'text/x.tlog.size')
    assert.equal(await conflict.text(), '20\n')
    const right = await submit(again.url, log.submission(20, 30))
    const key = parseVerifierKey(again.key)
    assert.ok(key)
    assert.equal(parseCosignatures(await right.text(), log.head(30).text, [key]).length, 1)
  } finally {
    for (const child of running) child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
})
