import assert from 'node:assert/strict'
import { appendFileSync, existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Cli } from '../support/cli.ts'
import type { World } from '../support/world.ts'
import { activeGrant, attempt, openWorld } from '../support/world.ts'

type Line = Readonly<Record<string, unknown>>

describe('writ audit export and search', () => {
  let world: World
  let cli: Cli
  let grant: string
  const as = (person: keyof World['tokens'], ...args: string[]) =>
    cli.here(args, { env: { WRIT_URL: world.app.url, WRIT_TOKEN: world.tokens[person] } })
  const lines = (text: string): Line[] =>
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Line)

  before(async () => {
    world = await openWorld()
    cli = new Cli()
    grant = (await activeGrant(world)).grant
    await world.app.flows.revokeGrant(world.ada, grant, 'enough')
    for (const resource of ['Document/handbook', 'Database/payments'])
      await world.app.flows.evaluate(world.migrator, attempt('Agent/migrator', 'read', resource))
  })
  after(async () => {
    cli[Symbol.dispose]()
    await world[Symbol.asyncDispose]()
  })

  test('a server and a data folder give the same lines, in every form', async () => {
    const { size } = await world.app.store.log.head()
    for (const format of ['ocsf', 'cloudevents', 'entries']) {
      const remote = await as('ada', 'audit', 'export', '--format', format)
      assert.equal(remote.code, 0, remote.stderr)
      const local = await cli.run(['audit', 'export', '--format', format, '--data', world.config.data])
      assert.equal(local.code, 0, local.stderr)
      assert.equal(remote.stdout, local.stdout)
      assert.equal(lines(remote.stdout).length, size)
      assert.match(remote.stderr, new RegExp(`exported ${size} entries; .*--after ${size - 1}`))
    }
    const [first] = lines((await as('ada', 'audit', 'export', '--format', 'cloudevents')).stdout)
    assert.equal(first?.['source'], `writ/${world.app.installation}`)
  })

  test('it is gone on with where it ended, in one file', async () => {
    const file = join(cli.home, 'audit.ndjson')
    const begun = await as('ada', 'audit', 'export', '--format', 'entries', '-o', file)
    assert.equal(begun.code, 0, begun.stderr)
    assert.equal(begun.stdout, '')
    assert.equal(statSync(file).mode & 0o777, 0o600)
    const cursor = /--after (\d+)/.exec(begun.stderr)?.[1] ?? ''
    const again = await as('ada', 'audit', 'export', '--format', 'entries', '-o', file)
    assert.equal(again.code, 2)
    assert.match(again.stderr, /exists already\n.*--after/)
    await world.app.flows.evaluate(world.migrator, attempt('Agent/migrator', 'read', 'Document/handbook'))
    const more = await as('ada', 'audit', 'export', '--format', 'entries', '--after', cursor, '-o', file)
    assert.equal(more.code, 0, more.stderr)
    const seqs = lines(readFileSync(file, 'utf8')).map(({ seq }) => seq)
    assert.deepEqual(
      seqs,
      Array.from({ length: seqs.length }, (_, seq) => seq),
    )
    assert.ok(seqs.length > Number(cursor) + 1)
    // the log may have grown meanwhile
    const { size } = await world.app.store.log.head()
    const beyond = await as('ada', 'audit', 'export', '--format', 'entries', '--after', `${size + 1_000}`)
    assert.equal(beyond.code, 2)
    assert.match(beyond.stderr, /the log ends with entry \d+/)
    appendFileSync(file, '{"seq":')
    const torn = await as('ada', 'audit', 'export', '--after', cursor, '-o', file)
    assert.equal(torn.code, 2)
    assert.match(torn.stderr, /ends in half a line/)
  })

  test('kinds and times choose', async () => {
    const granted = await as('ada', 'audit', 'export', '--kind', 'grant.', '--since', '1h')
    assert.deepEqual(
      lines(granted.stdout).map(({ type_uid: type }) => type),
      [300_501, 300_502, 300_403],
    )
    const before = await as('ada', 'audit', 'export', '--until', '1h')
    assert.deepEqual([before.code, before.stdout], [0, ''])
    const wrong = await as('ada', 'audit', 'export', '--since', 'yesterday')
    assert.equal(wrong.code, 2)
  })

  test('C12 whoever may not read the log exports and finds nothing', async () => {
    for (const command of [['export'], ['search', 'Agent/migrator']]) {
      const ran = await as('migrator', 'audit', ...command)
      assert.deepEqual([ran.code, ran.stdout], [5, ''], ran.stderr)
    }
    assert.equal(existsSync(join(cli.home, 'none')), false)
  })

  test('search finds by what entries name, newest first, in pages', async () => {
    const table = await as(
      'ada',
      'audit',
      'search',
      'Agent/migrator',
      '--kind',
      'decision',
      '--outcome',
      'permit',
    )
    assert.equal(table.code, 0, table.stderr)
    assert.match(table.stdout, /^SEQ +AT +KIND +OUTCOME +SUBJECT +ACTION +RESOURCE +ID\n/)
    assert.match(table.stdout, /decision +permit +Agent\/migrator +read +Document\/handbook +dec_/)
    assert.doesNotMatch(table.stdout, / deny /)

    const some = await as('ada', 'audit', 'search', '--resource', 'Database/payments', '--json')
    const { items } = JSON.parse(some.stdout) as { items: Line[] }
    assert.deepEqual(
      items.filter(({ kind }) => kind === 'decision').map(({ outcome }) => outcome),
      ['deny'],
    )
    const about = await as('ada', 'audit', 'search', grant, '-o', 'ndjson')
    const seqs = lines(about.stdout).map(({ seq }) => seq as number)
    assert.ok(seqs.length >= 3)
    assert.deepEqual(
      seqs,
      seqs.toSorted((a, b) => b - a),
    )
    const page = await as('ada', 'audit', 'search', grant, '--limit', '2', '-o', 'ndjson')
    const cursor = /--before (\d+)/.exec(page.stderr)?.[1] ?? ''
    const rest = await as('ada', 'audit', 'search', grant, '--before', cursor, '-o', 'ndjson')
    assert.deepEqual(
      [...lines(page.stdout), ...lines(rest.stdout)].map(({ seq }) => seq),
      seqs,
    )
    const none = await as('ada', 'audit', 'search', 'Agent/nobody')
    assert.deepEqual([none.code, none.stdout], [0, ''])
  })
})
