/**
 * B67 with real processes: a server, two witnesses, and a person who verifies; then the operator puts the data back.
 */
import assert from 'node:assert/strict'
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { isWritClientError, createWrit } from '../../client/src/index.ts'
import { parseCheckpoint, parseNote, parseVerifierKey } from '../../src/audit/note.ts'
import { formatSubmission, isCosigned } from '../../src/audit/witness.ts'
import type { Running } from '../support/cli.ts'
import { ownPort } from '../../src/cli/own-port.ts'
import { Cli, stop } from '../support/cli.ts'

/** Until `look` gives something; real processes answer when they can. */
async function eventually<T>(look: () => Promise<T | undefined>, what: string): Promise<T> {
  for (let tries = 0; tries < 4_800; tries++) {
    const found = await look()
    if (found !== undefined) return found
    await wait(50)
  }
  throw new Error(`never came: ${what}`)
}

async function headAt(url: string): Promise<{ size: number; text: string }> {
  const text = await (await fetch(url)).text()
  const head = parseCheckpoint(parseNote(text)?.text ?? '')
  assert.ok(head, text)
  return { size: head.size, text }
}

test('B67 an operator who puts the database back is contradicted by witnesses and by every client that remembers', async () => {
  using cli = new Cli()
  const witnessed = (name: string, port: string, ...more: string[]): Running =>
    cli.start([
      'witness',
      '--folder',
      `w-${name}`,
      '--name',
      `witness.example/${name}`,
      '--port',
      port,
      ...more,
    ])
  const listening = async (running: Running): Promise<readonly [string, string]> => {
    const [, url = '', key = ''] = await running.says(/^(http:\S+)\n(\S+)\n/u, 'stdout')
    return [url, key]
  }
  const port = String((await ownPort('127.0.0.1')).port)
  const serve = async (): Promise<Running> => {
    const server = cli.start([
      'server',
      '--port',
      port,
      '--person',
      'ada',
      '--key-file',
      join(cli.home, 'k/key'),
    ])
    const [url] = await server.says(/http:\S+/u, 'stdout')
    cli.env['WRIT_URL'] = url
    return server
  }
  const doctor = async (): Promise<string> => (await cli.here(['doctor'])).stdout

  // a log that nobody witnesses
  assert.equal((await cli.run(['init'])).code, 0)
  let server = await serve()
  const url = cli.env['WRIT_URL'] ?? ''
  const code = readFileSync(join(cli.home, 'writ-data/bootstrap-code'), 'utf8')
  assert.equal((await cli.run(['login', '--code'], { stdin: code })).code, 0)
  assert.equal((await cli.here(['policy', 'publish'])).code, 0)
  assert.match(await doctor(), /warning {2}no external witness keeps checkpoints/)
  const { keys } = (await (await fetch(`${url}/v1/log/keys`)).json()) as { keys: { vkey: string }[] }
  assert.equal(await stop(server), 0)

  // two witnesses that know it
  const log = ['--log', keys[0]?.vkey ?? '']
  // they come back under the addresses that they had
  const [portOne, portTwo] = [await ownPort('127.0.0.1'), await ownPort('127.0.0.1')].map(
    (it) => `${it.port}`,
  )
  let [one, two] = [witnessed('one', portOne ?? '', ...log), witnessed('two', portTwo ?? '', ...log)]
  const [[urlOne, keyOne], [urlTwo, keyTwo]] = [await listening(one), await listening(two)]
  writeFileSync(
    join(cli.home, 'writ.config.yaml'),
    `${existsSync(join(cli.home, 'writ.config.yaml')) ? readFileSync(join(cli.home, 'writ.config.yaml'), 'utf8') : ''}
log:
  witnesses:
    - { url: '${urlOne}', key: '${keyOne}' }
    - { url: '${urlTwo}', key: '${keyTwo}' }
`,
  )
  server = await serve()
  const witnesses = [keyOne, keyTwo].map(parseVerifierKey).filter((key) => key !== undefined)
  const cosigned = (atLeast: number): Promise<number> =>
    eventually(async () => {
      const { size, text } = await headAt(`${url}/log/checkpoint`)
      const note = parseNote(text)
      return note && size >= atLeast && isCosigned(note, { witnesses, threshold: 2 }) ? size : undefined
    }, `cosignatures of ${atLeast} entries`)
  const first = await cosigned(1)
  assert.match(await doctor(), /ok .*witness witness\.example\/one cosigned \d+ of \d+ entries/)
  assert.equal((await cli.run(['audit', 'verify', '--remote'])).code, 0)
  assert.equal(await stop(server), 0)

  const token = (): string | undefined =>
    (
      JSON.parse(readFileSync(join(cli.home, 'config/writ/sessions.json'), 'utf8')) as Readonly<
        Record<string, { token: string }>
      >
    )[new URL(url).origin]?.token

  // the operator makes a copy, and things happen that the operator wants undone
  const marks = readdirSync(join(cli.home, 'k')).filter((name) => name.endsWith('.mark'))
  assert.equal(marks.length, 1)
  cpSync(join(cli.home, 'writ-data'), join(cli.home, 'copy'), { recursive: true })
  cpSync(join(cli.home, 'k'), join(cli.home, 'k-copy'), { recursive: true })
  server = await serve()
  for (let i = 0; i < 4; i++) assert.equal((await cli.here(['inventory', 'apply', 'inventory.yaml'])).code, 0)
  const lost = await cosigned((await createWrit({ url, token: token(), log: false }).log.head()).size)
  assert.ok(lost >= first + 4)
  const remembered = await cli.run(['audit', 'verify', '--remote'])
  assert.equal(remembered.code, 0, remembered.stderr)
  assert.equal(await stop(server), 0)

  // put back with everything the server remembers, while no witness can be reached
  one.process.kill('SIGKILL')
  two.process.kill('SIGKILL')
  await Promise.all([one.done, two.done])
  const putBack = (): void => {
    for (const [from, to] of [
      ['copy', 'writ-data'],
      ['k-copy', 'k'],
    ] as const) {
      rmSync(join(cli.home, to), { recursive: true })
      cpSync(join(cli.home, from), join(cli.home, to), { recursive: true })
    }
  }
  putBack()
  server = await serve()
  const refused = await cli.run(['audit', 'verify', '--remote'])
  assert.equal(refused.code, 9, refused.stderr)
  assert.match(refused.stderr, /the log has \d+ entries, and \d+ were seen before[^]*--remote --forget/)
  const why = await cli.run(['why', '--subject', 'Person/ada'])
  assert.equal(why.code, 9, `every read of the record is refused: ${why.stderr}`)

  // a client of somebody else who was told the key and remembers
  const memory = new Map<string, string>()
  const writ = createWrit({
    url,
    token: token(),
    log: {
      key: keys[0]?.vkey,
      memory: { get: (it) => memory.get(it), set: (it, text) => void memory.set(it, text) },
    },
  })
  memory.set(writ.url, JSON.stringify({ key: keys[0]?.vkey, note: await heldBy() }))
  await assert.rejects(writ.log.entries(0, 10), (error) => isWritClientError(error, 'ERR_LOG_CONTRADICTED'))

  // the witnesses come back, remember, and refuse
  ;[one, two] = [witnessed('one', portOne ?? '', ...log), witnessed('two', portTwo ?? '', ...log)]
  assert.deepEqual([await listening(one), await listening(two)].flat(), [urlOne, keyOne, urlTwo, keyTwo])
  await one.says(new RegExp(`409 .*the last size cosigned is ${lost}`))
  const sick = await eventually(async () => {
    const report = await doctor()
    return /witness witness\.example\/one cosigned \d/.test(report) ? report : undefined
  }, 'what the witness says')
  assert.match(
    sick,
    new RegExp(`problem {2}witness witness\\.example/one cosigned ${lost} entries of this log`),
  )
  const { size, text } = await headAt(`${url}/log/checkpoint`)
  const note = parseNote(text)
  assert.ok(note && size < lost)
  for (const old of [0, size]) {
    const body = formatSubmission({ old, proof: [], note })
    const answer = await fetch(`${urlOne}/add-checkpoint`, { method: 'POST', body })
    assert.deepEqual([answer.status, await answer.text()], [409, `${lost}\n`])
  }
  assert.equal(await stop(server), 0)

  // with witnesses, or without its mark, the server finds out by itself
  putBack()
  for (const mark of marks) rmSync(join(cli.home, 'k', mark))
  server = await serve()
  const anew = await cli.run(['audit', 'verify', '--remote'])
  assert.equal(anew.code, 9, anew.stderr)
  assert.match(anew.stderr, /`writ\/inst_\w+\/\d+`[^]*a backup was restored/)
  // the session is of the copy; the operator of the machine has a code for who administers
  const [restoreCode = ''] = readFileSync(join(cli.home, 'writ-data/restore-codes'), 'utf8').split(' ')
  const signedIn = await cli.run(['login', '--code'], { stdin: `${restoreCode}\n` })
  assert.equal(signedIn.code, 0, signedIn.stderr)
  const accepted = await cli.run(['audit', 'verify', '--remote', '--forget'])
  assert.equal(accepted.code, 0, accepted.stderr)
  assert.equal((await cli.run(['audit', 'verify', '--remote'])).code, 0)
  await stop(server)

  /** What a witness handed out when it was last asked; here from its memory on disk, since it is not running. */
  async function heldBy(): Promise<string> {
    const again = witnessed('one', '0', ...log)
    const [at] = await listening(again)
    const origin = encodeURIComponent(keys[0]?.vkey.split('+')[0] ?? '')
    const held = (await headAt(`${at}/${origin}/checkpoint`)).text
    await stop(again)
    return held
  }
})
