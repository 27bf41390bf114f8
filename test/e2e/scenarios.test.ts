import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { test } from 'node:test'
import type { Scenario } from '../../scenarios/support/story.ts'

const FOLDER = resolve(import.meta.dirname, '../../scenarios')

const run = (...args: string[]) =>
  spawnSync(process.execPath, [join(FOLDER, 'run.ts'), ...args], { encoding: 'utf8' })

test('an unknown scenario or option is a mistake of usage, not a failure', () => {
  for (const args of [['S99'], ['--bogus'], ['S16', 'deploy']]) {
    const { status, stdout, stderr } = run(...args)
    assert.deepEqual([status, stdout], [2, ''], args.join(' '))
    assert.match(stderr, /usage: npm run scenarios/u)
  }
  assert.match(run('S99').stderr, /unknown: S99; there are S01, /u)
})

test('every scenario is named as its file and tells both halves', async () => {
  const files = globSync('s*-*.ts', { cwd: FOLDER })
  assert.ok(files.length >= 7)
  for (const file of files) {
    const { scenario } = (await import(join(FOLDER, file))) as { scenario: Scenario }
    assert.equal(`${scenario.id.toLowerCase()}-${scenario.name}.ts`, basename(file))
    for (const half of [scenario.right, scenario.wrong]) assert.ok(half.length > 20 && !half.includes('\n'))
  }
})
