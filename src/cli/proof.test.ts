import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { formatVerifierKey, verifierKey } from '../audit/note.ts'
import { Cli } from '../../test/support/cli.ts'
import type { World } from '../../test/support/world.ts'
import { activeGrant, openWorld } from '../../test/support/world.ts'

const witness = (name: string): string => {
  const { x = '' } = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })
  return formatVerifierKey(verifierKey(name, 'witness', Buffer.from(x, 'base64url')))
}

suite('a proof at the command line', () => {
  let world: World
  let grant: string
  let file: string
  let vkey: string
  const cli = new Cli()

  before(async () => {
    world = await openWorld()
    grant = (await activeGrant(world)).grant
    vkey = world.app.flows.transparency.keys().keys[0]?.vkey ?? ''
    file = join(cli.home, 'why.json')
  })
  after(async () => {
    cli[Symbol.dispose]()
    await world[Symbol.asyncDispose]()
  })

  test('is written to a file of its own, or to standard output', async () => {
    const env = { WRIT_URL: world.app.url, WRIT_TOKEN: world.tokens.ada }
    const made = await cli.run(['audit', 'prove', grant, '-o', 'why.json'], { env })
    assert.deepEqual([made.code, made.stdout], [0, ''], made.stderr)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const again = await cli.run(['audit', 'prove', grant, '-o', 'why.json'], { env })
    assert.equal(again.code, 2)
    assert.match(again.stderr, /exists already/u)
    const piped = await cli.run(['audit', 'prove', grant], { env })
    assert.equal((JSON.parse(piped.stdout) as { about: string }).about, grant)
    writeFileSync(join(cli.home, 'piped.json'), piped.stdout)
    assert.equal((await cli.run(['audit', 'verify', 'piped.json', '--key', vkey])).code, 0)
  })

  test('is verified with a key, or a file of keys, and tells its story', async () => {
    writeFileSync(join(cli.home, 'keys'), `# of the log\n${vkey}\n\n`)
    const verified = await cli.run(['audit', 'verify', 'why.json', '--key', 'keys'])
    assert.equal(verified.code, 0, verified.stderr)
    assert.match(verified.stdout, /Agent\/migrator might do db:migrate on Database\/orders/u)
    const json = await cli.run(['audit', 'verify', 'why.json', '--key', vkey, '--json'])
    const verdict = JSON.parse(json.stdout) as Record<string, unknown>
    assert.deepEqual([verdict['ok'], verdict['about'], verdict['failures']], [true, grant, []])
  })

  test('fails with 1 and names what failed', async () => {
    const text = readFileSync(file, 'utf8')
    writeFileSync(join(cli.home, 'forged.json'), text.replace('Person/grace', 'Person/hedwi'))
    const forged = await cli.run(['audit', 'verify', 'forged.json', '--key', vkey])
    assert.equal(forged.code, 1)
    assert.match(forged.stdout, /^verify FAILED: entry \d+: bytes do not match the proof\n/u)
    const alone = await cli.run(['audit', 'verify', 'why.json'])
    assert.equal(alone.code, 1)
    assert.match(alone.stdout, /^verify FAILED: checkpoint: no key was given, and nothing vouches/u)
    const trusting = await cli.run(['audit', 'verify', 'why.json', '--unsafe-trust-bundled-key'])
    assert.equal(trusting.code, 0)
    assert.match(trusting.stderr, /agrees with itself/u)
    const unseen = await cli.run([
      'audit',
      'verify',
      'why.json',
      '--key',
      vkey,
      '--witness',
      witness('w.example'),
    ])
    assert.equal(unseen.code, 1)
    assert.match(unseen.stdout, /0 of the 1 cosignatures/u)
  })

  test('wrong use is told as that', async () => {
    const one = witness('w.example')
    for (const args of [
      ['--key', 'nothing'],
      ['--key', one],
      ['--key', vkey, '--witness', vkey],
      ['--key', vkey, '--witness', one, '--witness', one, '--witnesses-needed', '2'],
      ['--key', vkey, '--witness', one, '--witnesses-needed', '0'],
    ]) {
      const ran = await cli.run(['audit', 'verify', 'why.json', ...args])
      assert.equal(ran.code, 2, `${args.join(' ')}: ${ran.stdout}${ran.stderr}`)
    }
    for (const args of [
      ['--key', vkey],
      ['why.json', '--key', vkey, '--remote'],
    ])
      assert.equal((await cli.run(['audit', 'verify', ...args])).code, 2)
    assert.equal((await cli.run(['audit', 'verify', 'missing.json', '--key', vkey])).code, 1)
  })
})
