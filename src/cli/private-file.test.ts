import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { CliError, exit } from './exit.ts'
import { readPrivate } from './private-file.ts'
import { Sessions } from './state.ts'

let folder: string
let file: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'writ-private-'))
  file = join(folder, 'sessions.json')
  writeFileSync(file, '{"http://127.0.0.1:1":{"token":"writ_sess_x","person":"ada","ends_at":""}}', {
    mode: 0o600,
  })
})
afterEach(() => rmSync(folder, { recursive: true }))

const refuses = (act: () => unknown, why: RegExp): void =>
  assert.throws(act, (error) => {
    assert.ok(error instanceof CliError)
    assert.equal(error.exitCode, exit.authNeeded)
    assert.match(error.message, why)
    assert.doesNotMatch(error.message, /writ_sess/)
    return true
  })
const read = (path = file): string | undefined => readPrivate(path, 'the session', 'mend')

describe('S34 a file that opens something', () => {
  test('of one’s own is read; where there is none, there is none', () => {
    assert.match(read() ?? '', /writ_sess_x/)
    chmodSync(file, 0o400)
    assert.match(read() ?? '', /writ_sess_x/)
    assert.equal(read(join(folder, 'none')), undefined)
  })
  test('that others may read or write is not used', () => {
    for (const mode of [0o644, 0o640, 0o604, 0o620, 0o602, 0o601]) {
      chmodSync(file, mode)
      refuses(read, /others may read .*the session in it is not used/)
    }
  })
  test('of somebody else is not used', () => {
    const isRoot = process.getuid?.() === 0
    if (isRoot) chownSync(file, 65_534, 65_534)
    refuses(() => read(isRoot ? file : '/etc/passwd'), /belongs to somebody else/)
  })
  test('so sessions are not, whatever server they are for', () => {
    const sessions = new Sessions({ env: { XDG_CONFIG_HOME: folder }, home: folder })
    sessions.set('http://127.0.0.1:2', { token: 'writ_sess_y', person: 'ada', ends_at: '' })
    assert.equal(sessions.get('http://127.0.0.1:2')?.token, 'writ_sess_y')
    assert.equal(sessions.get('http://127.0.0.1:3'), undefined)
    chmodSync(sessions.path, 0o644)
    refuses(() => sessions.get('http://127.0.0.1:2'), /others may read/)
  })
})
