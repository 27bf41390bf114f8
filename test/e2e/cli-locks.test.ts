/**
 * The kill switch and the streams of signals as an operator uses them.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Ran } from '../support/cli.ts'
import { Cli } from '../support/cli.ts'
import { attempt, declare, openWorld } from '../support/world.ts'
import type { World } from '../support/world.ts'

let world: World
let cli: Cli

before(async () => {
  world = await openWorld()
  cli = new Cli({ WRIT_URL: world.app.url, TZ: 'UTC' })
})
after(async () => {
  cli[Symbol.dispose]()
  await world[Symbol.asyncDispose]()
})

const as = (who: 'ada' | 'migrator' | 'grace', ...args: string[]): Promise<Ran> =>
  cli.here(args, { env: { WRIT_TOKEN: world.tokens[who] } })
const ada = (...args: string[]): Promise<Ran> => as('ada', ...args)

test('every kind of thing is locked, listed with why, by whom, until when and what it ended, and unlocked', async () => {
  const task = await declare(world)
  const kinds = [
    ['subject', 'Agent/migrator', 'subject'],
    ['agent', 'Agent/migrator', 'subject'],
    ['task', task, 'task'],
    ['tool', 'db:migrate', 'tool'],
    ['action', 'db:migrate', 'tool'],
    ['resource', 'Database/orders', 'resource'],
    ['owner', 'Person/grace', 'owner'],
  ] as const
  for (const [what, about, kind] of kinds) {
    const locked = await ada('lock', what, about, '--reason', 'INC-42', '--for', '2h', '--yes')
    assert.equal(locked.code, 0, locked.stderr)
    assert.match(locked.stdout, /locked until \d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} UTC/)
    const listed = await ada('locks')
    const [head = '', row = ''] = listed.stdout.split('\n')
    assert.match(head, /^WHAT +ABOUT +SINCE +UNTIL +BY +ENDED +WHY/)
    assert.ok(row.startsWith(kind) && row.includes(about) && row.includes('INC-42'), row)
    const { items } = JSON.parse((await ada('locks', '--json')).stdout) as {
      items: { what: string; about: string; until: string; by: string; ending: boolean }[]
    }
    assert.deepEqual(
      items.map((one) => [one.what, one.about, one.ending]),
      [[kind, about, false]],
    )
    const unlocked = await ada('unlock', what, about, '--reason', 'it is over')
    assert.equal(unlocked.code, 0, unlocked.stderr)
    assert.match(unlocked.stdout, /unlocked · it was locked by .*: INC-42/)
    assert.match((await ada('locks')).stderr, /nothing is locked/)
    const again = await ada('unlock', what, about)
    assert.equal(again.code, 1)
    assert.match(again.stderr, /is not locked\n.*`writ locks` lists what is/)
  }
})

test('a lock says what it ended, and what of it may be a mistake', async () => {
  const { grant } = await world.app.flows.activate(
    world.migrator,
    attempt('Agent/migrator', 'read', 'Document/handbook'),
  )
  assert.ok(grant !== undefined)
  const locked = await ada('lock', 'tool', 'read', '--reason', 'INC-42', '--yes')
  assert.equal(locked.code, 0, locked.stderr)
  assert.match(locked.stdout, /tool read locked until it is unlocked · ended 1 grant/)
  assert.doesNotMatch(locked.stderr, /spelt/)
  const sooner = await ada('lock', 'tool', 'read', '--reason', 'again', '--for', '1h', '--yes')
  assert.match(sooner.stderr, /a lock that was there before holds longer, and stays/)
  const unlocked = await ada('unlock', 'tool', 'read')
  assert.match(unlocked.stderr, /what the lock ended stays ended: ended 1 grant/)
  const ended = await ada('grants', 'show', grant.id)
  assert.match(ended.stdout, /locked: INC-42/)

  for (const [what, about, words] of [
    ['subject', 'Agent/migratr', /nobody registered Agent\/migratr: is it spelt right/],
    ['resource', 'Database/ordres', /nobody registered Database\/ordres/],
    ['tool', 'db:migarte', /no policy names db:migarte and no grant is for it/],
  ] as const) {
    const misspelt = await ada('lock', what, about, '--reason', 'r', '--yes')
    assert.equal(misspelt.code, 0)
    assert.match(misspelt.stderr, words)
    assert.equal((await ada('unlock', what, about)).code, 0)
  }
})

test('what is wrong with a command is said before anything is locked', async () => {
  const wrong: readonly [readonly string[], number, RegExp][] = [
    [
      ['lock', 'thing', 'x', '--reason', 'r'],
      2,
      /`thing` is no kind of thing that can be locked\n.*known are: subject/,
    ],
    [
      ['lock', 'Agent/migrator', 'x', '--reason', 'r'],
      2,
      /say what it is first, e\.g\. `subject Agent\/migrator`/,
    ],
    [['lock', 'agent', 'migrator', '--reason', 'r'], 2, /no `Type\/id`\n.*`Agent\/migrator`/],
    [['lock', 'agent', 'Agent/migrator', '--yes'], 2, /`--reason` is missing/],
    [['lock', 'agent', 'Agent/migrator', '--reason', 'r'], 2, /cannot ask: Lock subject .*\n.*give --yes/],
    [
      ['lock', 'agent', 'Agent/migrator', '--reason', 'r', '--for', '2 hours'],
      2,
      /no duration\n.*`30m`, `2h`/,
    ],
    [
      ['lock', 'agent', 'Agent/migrator', '--reason', 'r', '--for', '2h', '--until', '18:00'],
      2,
      /do not go together/,
    ],
    [['lock', 'agent', 'Agent/migrator', '--reason', 'r', '--until', 'soon'], 2, /`--until soon` is no time/],
    [
      ['lock', 'agent', 'Agent/migrator', '--reason', 'r', '--until', '2020-01-01T00:00:00Z'],
      2,
      /has passed/,
    ],
    [['lock', 'task', 'task_none', '--reason', 'r', '--yes'], 5, /may not lock the task/],
    [
      ['lock', 'resource', 'Writ::System/writ', '--reason', 'r', '--yes'],
      2,
      /is no resource that can be locked/,
    ],
    [['unlock', 'agent', 'Agent/migrator'], 1, /is not locked/],
    [['grants', 'revoke', '--reason', 'r'], 2, /`writ lock subject Type\/id` ends all that a subject has/],
  ]
  for (const [args, code, words] of wrong) {
    const ran = await ada(...args)
    assert.equal(ran.code, code, `${args.join(' ')}: ${ran.stderr}`)
    assert.match(ran.stderr, words)
    assert.equal(ran.stdout, '')
  }
  for (const args of [
    ['lock', 'agent', 'Person/ada', '--reason', 'r', '--yes'],
    ['unlock', 'owner', 'Person/ada'],
    ['locks'],
    ['signals', 'ls'],
    ['signals', 'redeliver', 'siem', '--yes'],
  ])
    assert.equal((await as('migrator', ...args)).code, 5, args.join(' '))
})

test('completion and help know the commands', async () => {
  const help = await cli.here(['lock', '--help'])
  assert.match(
    help.stdout,
    /--for <duration>[^]*writ lock agent Agent\/migrator[^]*tool db:migrate[^]*exit 8/,
  )
  const completion = await cli.here(['completion', 'bash'])
  assert.match(completion.stdout, /\block\b[^]*\blocks\b[^]*signals/)
})

test('whoever is under a lock is told to ask somebody else', async () => {
  assert.equal((await ada('lock', 'owner', 'Person/ada', '--reason', 'r', '--for', '1h', '--yes')).code, 0)
  const unlocked = await ada('unlock', 'owner', 'Person/ada')
  assert.equal(unlocked.code, 5)
  assert.match(unlocked.stderr, /who is locked does not take the lock away\n.*ask somebody else/)
})

test('streams of signals: none where none is configured', async () => {
  const listed = await ada('signals', 'ls')
  assert.deepEqual([listed.code, listed.stdout.trim().split('\n').length], [0, 1])
  assert.match(listed.stderr, /neither listens nor tells/)
  const redelivered = await ada('signals', 'redeliver', 'siem', '--yes')
  assert.equal(redelivered.code, 1)
  assert.match(redelivered.stderr, /tells nobody of signals/)
})
