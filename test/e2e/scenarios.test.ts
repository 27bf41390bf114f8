import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import type { Part, Scenario } from '../../scenarios/support/story.ts'
import { Story } from '../../scenarios/support/story.ts'
import { engineFlags } from '../support/engine.ts'

const FOLDER = resolve(import.meta.dirname, '../../scenarios')

const run = (...args: string[]) =>
  spawnSync(process.execPath, [...engineFlags, join(FOLDER, 'run.ts'), ...args], { encoding: 'utf8' })

test('an unknown scenario or option is a mistake of usage, not a failure', () => {
  for (const args of [['S99'], ['--bogus'], ['S16', 'deploy']]) {
    const { status, stdout, stderr } = run(...args)
    assert.deepEqual([status, stdout], [2, ''], args.join(' '))
    assert.match(stderr, /usage: npm run scenarios/u)
  }
  assert.match(run('S99').stderr, /unknown: S99; there are S01, /u)
})

describe('a story is over in time', () => {
  const never = Promise.withResolvers<never>().promise
  const part = (dispose: () => Promise<void>): Part => ({
    [Symbol.asyncDispose]: dispose,
    log: () => ['is waiting for a lock'],
  })
  const here = /scenarios\.test\.ts:\d+/u

  test('whatever of it hangs is named, and the others are removed all the same', async () => {
    const story = new Story(new AbortController().signal, 50)
    const gone: string[] = []
    await story.part(Promise.resolve(part(async () => void gone.push('first'))))
    await story.part(Promise.resolve(part(() => never)))
    await story.part(Promise.resolve(part(async () => void gone.push('last'))))
    const failure = await story.dispose().catch((error: unknown) => error)
    assert.ok(failure instanceof Error)
    assert.match(failure.message, here)
    assert.match(failure.message, /^not gone within 50 ms[^]*is waiting for a lock$/u)
    assert.deepEqual(gone, ['last', 'first'])
  })

  test('what is not open yet is named, and goes when it is open', async () => {
    const story = new Story(new AbortController().signal, 50)
    const gone: string[] = []
    const late = Promise.withResolvers<Part>()
    await story.part(Promise.resolve(part(() => Promise.reject(new Error('it is broken')))))
    const opening = story.part(late.promise)
    const failure = await story.dispose().catch((error: unknown) => error)
    assert.ok(failure instanceof AggregateError)
    assert.match(failure.message, here)
    assert.match(failure.message, /not open after 50 ms more[^]*it is broken/u)
    late.resolve(part(async () => void gone.push('late')))
    await assert.rejects(opening, /interrupted/u)
    assert.deepEqual(gone, ['late'])
  })
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
