import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { Context } from './context.ts'
import { dev } from './dev.ts'
import { CliError } from './exit.ts'
import type { Io } from './io.ts'
import { run } from './run.ts'

/** A folder that somebody else may have prepared, and a command line in it. */
function place(env: Readonly<Record<string, string>> = {}): Disposable & { cwd: string; context: Context } {
  const cwd = mkdtempSync(join(tmpdir(), 'writ-hostile-'))
  const unused = (): never => assert.fail('nobody is asked here')
  const io: Io = {
    env: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value.replace('CWD', cwd)])),
    cwd,
    home: cwd,
    interactive: false,
    live: false,
    liveColumns: 0,
    columns: 0,
    now: () => 0,
    out: () => undefined,
    err: () => undefined,
    style: (_style, text) => text,
    styleOut: (_style, text) => text,
    stdin: unused,
    ask: unused,
  }
  return {
    cwd,
    context: new Context(io, {}),
    [Symbol.dispose]: () => rmSync(cwd, { recursive: true, force: true }),
  }
}

suite('hostile folders', () => {
  test('the result of a run is written beside what others left, never through it', async () => {
    using here = place({ WRIT_RESULT_FILE: 'CWD/result.json' })
    const victim = join(here.cwd, 'victim')
    writeFileSync(victim, 'mine')
    for (const name of ['result.json', `result.json.${process.pid}`])
      symlinkSync(victim, join(here.cwd, name))
    await assert.rejects(run(here.context, [], {}), CliError)
    assert.equal(readFileSync(victim, 'utf8'), 'mine')
    const result = JSON.parse(readFileSync(join(here.cwd, 'result.json'), 'utf8')) as { outcome?: string }
    assert.equal(result.outcome, 'not_started')
    assert.equal(readdirSync(here.cwd).length, 3, 'nothing else is left there')
  })

  test('dev mode listens on this machine alone, whatever a project says', async () => {
    using here = place()
    writeFileSync(join(here.cwd, 'writ.config.yaml'), 'host: 0.0.0.0\n')
    await assert.rejects(dev(here.context, {}), /is for this machine alone/)
    await assert.rejects(dev(here.context, { host: '192.0.2.1' }), /is for this machine alone/)
  })
})
