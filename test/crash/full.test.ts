import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { verifyLog } from '../../src/audit/verify.ts'
import { openTestStore } from '../support/store.ts'

const child = join(import.meta.dirname, 'full-child.ts')
const canMount = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0
const noMount = canMount ? false : 'this user may not mount a small disk'
const noShell = process.platform === 'win32' ? 'no ulimit' : false

type Report = Readonly<{ answered: number; size: number; [name: string]: unknown }>

/** Runs the filling process under a shell that has made it a small disk or a small limit. */
function fill(shell: string[], script: string): Report {
  const [command = '', ...args] = shell
  const parameters = [process.execPath, child]
  return JSON.parse(execFileSync(command, [...args, script, 'sh', ...parameters]).toString()) as Report
}

test(
  'B68 on a disk that is really full what widens is refused, what narrows is recorded, and both work with room again',
  { skip: noMount },
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'writ-disk-'))
    const script = `
    set -e
    mount -t tmpfs -o size=8m none ${folder}
    head -c 2000000 /dev/zero > ${folder}/ballast
    "$1" "$2" ${folder}/data ${folder}/ballast`
    const report = fill(['unshare', '-rm', 'sh', '-c'], script)
    rmSync(folder, { recursive: true })
    const { answered, size, ...rest } = report
    assert.ok(answered > 10)
    assert.equal(size, answered + 11)
    assert.deepEqual(rest, {
      filled: 'ERR_STORE_FULL',
      reserve: false,
      widening: 'ERR_STORE_FULL',
      narrowing: ['done'],
      problems: 1,
      later: 'done',
    })
  },
)

test('B68 a file that may not grow loses nothing that was answered', { skip: noShell }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'writ-limit-'))
  // files of 4 MiB at most, in blocks of 512 bytes as POSIX has it
  const report = fill(['sh', '-c'], `ulimit -S -f 8192; "$1" "$2" ${folder} ${folder}/none`)
  assert.equal(report['filled'], 'ERR_STORE_FULL')
  assert.equal(report['widening'], 'ERR_STORE_FULL')
  await using store = await openTestStore({ folder })
  const { ok, size } = await verifyLog(store.log)
  assert.ok(ok)
  assert.ok(size >= report.answered)
  assert.equal(size, report.size)
})
