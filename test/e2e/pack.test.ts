/**
 * What a user of the package gets: packed here, installed in an empty folder, started.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'

import { nodeOf } from '../support/node.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const run = promisify(execFile)

type Manifest = Readonly<{
  version: string
  scripts?: Record<string, string>
  exports: Record<string, string | { types: string; default: string }>
}>

describe('the package', () => {
  let folder = ''
  let installed = ''
  let manifest: Manifest

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'writ-pack-'))
    await run('npm', ['pack', '--pack-destination', folder], { cwd: ROOT })
    const [tarball = 'none'] = readdirSync(folder)
    writeFileSync(join(folder, 'package.json'), '{ "private": true }')
    // whatever the user's npm allows, nothing here may need a script
    await run('npm', ['install', '--ignore-scripts', '--prefer-offline', '--no-audit', `./${tarball}`], {
      cwd: folder,
    })
    installed = join(folder, 'node_modules/writ')
    manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as Manifest
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  test('runs `writ` from the tarball', async () => {
    const writ = join(folder, 'node_modules/.bin/writ')
    const { stdout } = await run(process.execPath, [writ, '--version'], { cwd: folder })
    assert.equal(stdout.trim(), manifest.version)
    const help = await run(process.execPath, [writ, '--help'], { cwd: folder })
    assert.match(help.stdout, /writ/)
  })

  test('brings its threads: `writ dev` loads policies and verifies decisions', async () => {
    const home = join(folder, 'home')
    mkdirSync(home)
    const child = spawn(
      process.execPath,
      [join(installed, 'bin/writ.js'), 'dev', '--port', '0', '--verify-decisions', '--output', 'json'],
      {
        cwd: home,
        env: { HOME: home, XDG_STATE_HOME: join(home, 'state') },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
    try {
      // it prints where it listens once the policies are in force
      for await (const text of child.stdout) {
        assert.match(String(text), /"url"/u)
        break
      }
      child.kill('SIGTERM')
      const [code] = (await once(child, 'close')) as [number]
      assert.equal(code, 0, said)
    } finally {
      child.kill('SIGKILL')
    }
    assert.match(said, /policies in force/u)
    const threads = readdirSync(join(installed, 'dist/src/flows')).filter((file) =>
      file.endsWith('-thread.js'),
    )
    assert.deepEqual(threads, ['calendar-thread.js', 'checking-thread.js', 'verifying-thread.js'])
  })

  test('says one sentence on an old Node.js', async (t) => {
    const old = await nodeOf(20).catch((error: unknown) => error)
    if (typeof old !== 'string') return t.skip(String(old))
    const failed = await run(old, [join(installed, 'bin/writ.js'), 'dev']).then(
      () => assert.fail('it started'),
      (error: unknown) => error as { code: number; stdout: string; stderr: string },
    )
    assert.equal(failed.code, 1)
    assert.equal(failed.stdout, '')
    assert.match(failed.stderr, /^writ: needs Node\.js 24 or newer; this is v20\.\S+\n$/)
  })

  test('brings no install script, no Node.js and no tests', () => {
    const scripts = Object.keys(manifest.scripts ?? {})
    assert.deepEqual(
      scripts.filter((name) => /install|^prepare$|^preprepare$|^postprepare$/.test(name)),
      [],
    )
    const modules = readdirSync(join(folder, 'node_modules'))
    assert.deepEqual(
      modules.filter((name) => /^node-linux|embedded|playwright|typescript/.test(name)),
      [],
    )
    const files = readdirSync(installed, { recursive: true, encoding: 'utf8' })
    assert.deepEqual(
      files.filter((file) => /\.test\.(?!yaml$)/u.test(file) || file.endsWith('.patch')),
      [],
    )
    // what `writ init --with` leaves comes with it
    assert.ok(
      files.includes(join('policies', 'vendor.cedar')) &&
        files.includes(join('policies', 'vendor.test.yaml')),
    )
  })

  test('exports what it names', async () => {
    const names = Object.keys(manifest.exports).filter((name) => name !== './package.json')
    for (const name of names) {
      const target = manifest.exports[name]
      assert.ok(typeof target === 'object')
      for (const file of Object.values(target))
        assert.ok(existsSync(join(installed, file)), `${name}: ${file}`)
      const script = `console.log(Object.keys(await import(${JSON.stringify(join('writ', name))})).length > 0)`
      const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: folder })
      assert.equal(stdout, 'true\n', name)
    }
  })
})
