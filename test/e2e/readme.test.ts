/**
 * The README's "Protect your own migration", executed as it stands: its commands in a shell, an empty PostgreSQL, and
 * the approval by a person in a real browser.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import pg from 'pg'
import { ownPort } from '../../src/cli/own-port.ts'
import { Cli } from '../support/cli.ts'
import { browserMissing, startChromium } from '../support/chromium.ts'
import { engineFlags } from '../support/engine.ts'
import { startPostgres } from '../support/postgres.ts'

const root = resolve(import.meta.dirname, '../..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')

/** The blocks that are marked as executed, in their order. */
function blocks(terminal: 1 | 2): readonly string[] {
  const marked = new RegExp(
    `<!-- executed by test/e2e/readme\\.test\\.ts: terminal ${terminal} -->\\n\`\`\`sh\\n([\\s\\S]*?)\`\`\``,
    'g',
  )
  return [...readme.matchAll(marked)].map(([, block]) => block as string)
}

/** Commands of a block; a line that ends in a backslash goes on. */
const commands = (block: string): readonly string[] =>
  block
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter((line) => line.trim() !== '')

test('README: at most ten commands protect an own migration', { skip: browserMissing() }, async () => {
  const all = [...blocks(1), ...blocks(2)].flatMap(commands)
  assert.ok(all.length >= 8 && all.length <= 10, `the README has ${all.length} commands`)

  await using postgres = await startPostgres()
  await using browser = await startChromium()
  const { port } = await ownPort('127.0.0.1')
  using cli = new Cli({
    PGHOST: postgres.host,
    PGPORT: String(postgres.port),
    PGUSER: postgres.superuser,
    PGPASSWORD: postgres.password,
    PGDATABASE: postgres.database,
    WRIT_PORT: String(port),
    WRIT_URL: `http://127.0.0.1:${port}`,
  })
  const bin = join(cli.home, 'bin')
  mkdirSync(bin)
  const command = (name: string, file: string): void => {
    const path = join(bin, name)
    writeFileSync(path, `#!/bin/sh\nexec '${process.execPath}' ${engineFlags.join(' ')} '${file}' "$@"\n`)
    chmodSync(path, 0o755)
  }
  command('writ', join(root, 'bin/writ.js'))
  // the reader's own tool; this one understands no more of it than the README uses
  command('psql', join(root, 'test/support/psql.ts'))
  cli.env['PATH'] = `${bin}:${cli.env['PATH'] ?? ''}`

  const shell = (script: string) => {
    const child = spawn('sh', ['-e', '-c', script], {
      cwd: cli.cwd,
      env: cli.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const output = { text: '' }
    const heard = new Set<() => void>()
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        output.text += chunk
        heard.forEach((look) => look())
      })
    }
    const ended = once(child, 'close').then(([code]) => code as number | null)
    return {
      child,
      output,
      ended,
      says: (pattern: RegExp): Promise<RegExpExecArray> =>
        new Promise((done, failed) => {
          const look = (): void => {
            const found = pattern.exec(output.text)
            if (found !== null) done(found)
          }
          heard.add(look)
          look()
          void ended.then((code) =>
            failed(new Error(`ended with ${code} before it said ${pattern}:\n${output.text}`)),
          )
        }),
    }
  }

  const [first] = blocks(1)
  const dev = shell(`exec ${first}`)
  try {
    const [link] = await dev.says(/http:\/\/127\.0\.0\.1:\d+\/\?code=\w+/)
    await dev.says(/policies in force/)
    const [setUp, look] = blocks(2)
    const work = shell(setUp as string)

    await work.says(/waiting|pending|needs/)
    const page = await browser.newPage()
    await page.goto(link)
    await page
      .getByRole('link', { name: /migrator|db:migrate|review|open/i })
      .first()
      .click()
    assert.match((await page.textContent('body')) ?? '', /INC-42/)
    await page.getByRole('button', { name: /approve/i }).click()
    assert.equal(await work.ended, 0, work.output.text)

    const admin = new pg.Client({ connectionString: postgres.url('orders') })
    await admin.connect()
    const owner = await admin.query("SELECT tableowner FROM pg_tables WHERE tablename = 'invoice'")
    const left = await admin.query(
      "SELECT rolname FROM pg_roles WHERE rolname LIKE 'writ\\_%' AND rolname <> 'writ_admin'",
    )
    await admin.end()
    assert.deepEqual(owner.rows, [{ tableowner: 'orders_owner' }])
    assert.deepEqual(left.rows, [])

    const after = shell(look as string)
    assert.equal(await after.ended, 0, after.output.text)
    assert.match(after.output.text, /db:migrate on Database\/orders/)
    assert.match(after.output.text, /verified \d+ entries/)
  } finally {
    dev.child.kill('SIGTERM')
    await dev.ended
  }
})
