import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Credential, JoinedRecord, RecordedAction } from '../client/src/index.ts'
import type { Database } from './support/database.ts'
import { openDatabase } from './support/database.ts'
import type { Installation, Keyed } from './support/installation.ts'
import { approveNext, openInstallation } from './support/installation.ts'
import type { Program } from './support/processes.ts'
import { child, startWrit, writ as command } from './support/processes.ts'
import type { Scenario, Story } from './support/story.ts'
import { refused, until } from './support/story.ts'

const SCHEMA = 'create table customer (id int primary key, name text)'
const CANARY = 'ada@canary.example'

export const scenario: Scenario = {
  id: 'S28',
  name: 'full-record',
  right:
    'request, justification, approver and downstream actions are joined in one record, at the terminal and over HTTP',
  wrong:
    'an action at the target without a record is found and flagged; a report for a foreign grant is refused',

  async run(story) {
    const orders = await story.part(openDatabase({ name: 'orders', schema: SCHEMA, log: 'csvlog' }))
    const billing = await story.part(openDatabase({ name: 'billing', schema: SCHEMA, log: 'jsonlog' }))
    const writ = await story.part(
      openInstallation({
        people: { grace: ['dba'] },
        entities: [
          { type: 'Service', id: 'ci', kind: 'workload', owner: 'Person/ada', parents: ['Group/deployers'] },
          {
            type: 'Service',
            id: 'nosy',
            kind: 'workload',
            owner: 'Person/ada',
            parents: ['Group/deployers'],
          },
          { type: 'Service', id: 'collector', kind: 'workload', parents: ['Group/collectors'] },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
          { type: 'Database', id: 'billing', kind: 'resource', sensitivity: 'high' },
        ],
      }),
    )
    await writ.target(orders, { 'db:migrate': 'Database/orders' })
    await writ.target(
      billing,
      { 'db:migrate': 'Database/billing' },
      { shape: 'lift', account: billing.account.user },
    )
    const keys = {
      ci: await writ.key('Service/ci'),
      nosy: await writ.key('Service/nosy'),
      collector: await writ.key('Service/collector'),
    }
    for (const database of [orders, billing]) await recorded(story, writ, keys, database)
  },
}

type Keys = Readonly<Record<'ci' | 'nosy' | 'collector', Keyed>>

async function recorded(story: Story, writ: Installation, keys: Keys, database: Database): Promise<void> {
  const lifted = database.name === 'billing'
  const which = lifted ? 'lifted account' : 'login of its own'
  const { ci, nosy, collector } = keys
  const { ada } = writ
  const folder = join(writ.folder, database.name)
  mkdirSync(folder)
  writeFileSync(
    join(folder, '0001-email.sql'),
    `alter table customer add column email text; insert into customer values (1, 'Ada', '${CANARY}')`,
  )
  writeFileSync(join(folder, '.pgpass'), `*:*:*:${database.account.user}:${database.account.password}\n`, {
    mode: 0o600,
  })
  const result = join(folder, 'result.json')
  const collecting = (args: readonly string[], follow = true): Promise<Program> =>
    story.part(
      startWrit(
        [
          'collect',
          'postgres',
          '--file',
          database.logs,
          '--target',
          database.name,
          '--from-start',
          ...(follow ? ['--follow'] : ['--json']),
          ...(lifted ? ['--account', database.account.user] : []),
          ...args,
        ],
        { cwd: folder, env: { WRIT_URL: writ.url, WRIT_TOKEN: collector.token } },
      ),
    )
  const first = await collecting([])
  const running = await story.part(
    startWrit(
      [
        'run',
        '--for',
        'db:migrate',
        '--on',
        `Database/${database.name}`,
        '--reason',
        'INC-42',
        '--wait',
        '--',
      ]
        .concat(child('migrate.ts'))
        .concat(folder),
      {
        cwd: folder,
        env: {
          WRIT_URL: writ.url,
          WRIT_TOKEN: ci.token,
          WRIT_RESULT_FILE: result,
          OWNER_ROLE: database.owner,
        },
      },
    ),
  )
  await approveNext(writ.person('grace'), 'Service/ci')
  assert.deepEqual(await running.ended, { code: 0, signal: null }, running.err.join('\n'))
  const { grant, task, credential } = JSON.parse(readFileSync(result, 'utf8')) as Record<
    'grant' | 'task' | 'credential',
    string
  >
  const record = async (): Promise<JoinedRecord> => {
    const { record: joined } = await ada.grants.get(grant, { record: true })
    assert.ok(joined)
    return joined
  }
  const has = (actions: readonly RecordedAction[], action: string): boolean =>
    actions.some((one) => one.action === action)

  await story.right(`${which}: what was asked, agreed and done stands in one record`, async () => {
    const joined = await until('the collector has told what was done', async () => {
      const seen = await record()
      return has(seen.actions, 'sql:INSERT') && has(seen.actions, 'session:close') && seen
    })
    const [request, ...more] = joined.requests
    assert.deepEqual(more, [])
    assert.equal(request?.justification, 'INC-42')
    assert.deepEqual(
      request.approvals.map(({ person, pool }) => [person, pool]),
      [['Person/grace', 'dba']],
    )
    assert.ok(joined.uses.length >= 2, 'the activation and the issue of the credential')
    const said = joined.actions.find(({ kind }) => kind === 'action.reported')
    assert.deepEqual([said?.action, said?.outcome], ['db:migrate', 'succeeded'])
    assert.equal((said as { detail?: { exit_code?: number } }).detail?.exit_code, 0)
    for (const seen of joined.actions.filter(({ kind }) => kind === 'action.observed')) {
      assert.deepEqual(
        [seen.grant, seen.task, seen.target, seen.outside],
        [grant, task, database.name, undefined],
      )
      assert.equal(seen.credential, credential)
      // what only the client says of itself is marked as that
      assert.equal(seen.claimed, lifted ? true : undefined)
    }
    assert.ok(has(joined.actions, 'sql:ALTER TABLE'))
  })
  await story.right(`${which}: the same at the terminal, and the requester sees its own`, async () => {
    const env = { WRIT_URL: writ.url, WRIT_TOKEN: ci.token }
    const shown = await command(['grants', 'show', grant], { cwd: folder, env })
    for (const part of ['INC-42', 'approved', 'dba', 'sql:INSERT', 'db:migrate', 'credential']) {
      assert.ok(shown.includes(part), `\`writ grants show\` does not show ${part}:\n${shown}`)
    }
    assert.match(await command(['task', 'show', task], { cwd: folder, env }), /action .*sql:ALTER TABLE/u)
    assert.match(
      await command(['actions', 'ls', '--task', task], { cwd: folder, env }),
      lifted ? /seen, joined by application_name \(claimed\)/u : /seen, joined by role/u,
    )
  })
  await story.wrong(`${which}: a value of a statement in the record`, async () => {
    assert.match(readFileSync(await newest(database.logs), 'utf8'), new RegExp(CANARY, 'u'))
    const { size } = await ada.log.head()
    for (let from = 0; from < size; from += 500) {
      const { items } = await ada.log.entries(from, Math.min(size, from + 500))
      assert.ok(!JSON.stringify(items).includes(CANARY))
    }
  })
  await story.right(
    `${which}: a collector that was killed goes on; what is sent twice is one entry`,
    async () => {
      first.kill('SIGKILL')
      await first.ended
      const before = await record()
      const again = await collecting(['--state', join(folder, 'another-state')], false)
      assert.deepEqual((await again.ended).code, 0, again.err.join('\n'))
      const tally = JSON.parse(again.out.join('')) as Record<string, number>
      assert.ok(
        (tally['duplicate'] ?? 0) >= before.actions.filter(({ kind }) => kind === 'action.observed').length,
      )
      const after = await record()
      const ids = after.actions.map(({ id }) => id)
      assert.equal(new Set(ids).size, ids.length)
    },
  )

  const problems = async (): Promise<readonly string[]> =>
    ((await ada.ready({ problems: true })).problems ?? []).filter((one) => one.includes('flag_'))
  assert.deepEqual(await problems(), [])
  await story.wrong(`${which}: acting at the target under a name of Writ that has no record`, async () => {
    const { credentials } = await ada.grants.get(grant)
    const [{ planned }] = credentials as [Credential]
    const { name } = planned as { name: string }
    const forged = name.replace(/_[0-9a-f]{20}$/u, `_${'0'.repeat(20)}`)
    if (lifted) {
      // here the name that is claimed is a grant that is over
      const session = await database.connect({
        ...database.account,
        application_name: 'writ grant_00000000000000000000000000',
      })
      await session.query('select * from customer')
      await session.end()
    } else {
      await database.look(`create role ${forged} login password 'p'`)
      const session = await database.connect({ user: forged, password: 'p' })
      await session.query('select current_user')
      await session.end()
      await database.look(`drop role ${forged}`)
    }
    const later = await collecting([], false)
    assert.deepEqual((await later.ended).code, 0, later.err.join('\n'))
    assert.match(later.err.join('\n'), /no credential covers/u)
    const [problem, ...more] = await problems()
    assert.deepEqual(more, [])
    assert.match(problem ?? '', new RegExp(`acted at \`${database.name}\`, and no credential covers it`, 'u'))
  })
  await story.wrong(`${which}: reporting under a foreign grant, or reading its record`, async () => {
    const items = [
      { id: `mine-${database.name}`, grant, action: 'db:migrate', outcome: 'succeeded' as const },
    ]
    const none = [
      { ...items[0], id: `none-${database.name}`, grant: 'grant_00000000000000000000000000' },
    ] as typeof items
    const said = (error: Error): string => error.message.replaceAll(/`[^`]*`/gu, '')
    const foreign = await refused(nosy.writ.actions.report(items), 'ERR_NOT_FOUND')
    const nothing = await refused(nosy.writ.actions.report(none), 'ERR_NOT_FOUND')
    assert.equal(said(foreign), said(nothing), 'whether the grant exists is told')
    await refused(nosy.writ.actions.list({ grant }), 'ERR_NOT_FOUND')
    await refused(nosy.writ.actions.report(items, { observed: database.name }), 'ERR_FORBIDDEN')
    const { items: seen } = await ada.actions.list({ subject: 'Service/nosy', limit: 2 })
    assert.deepEqual(
      seen.map(({ kind, outside }) => [kind, outside]),
      [
        ['action.refused', ['unknown']],
        ['action.refused', ['foreign']],
      ],
    )
    assert.ok((await record()).actions.every(({ by }) => by !== `key:${nosy.id}`))
  })
  await story.wrong(`${which}: anything else with the key of a collector`, async () => {
    await refused(collector.writ.grants.get(grant), 'ERR_NOT_FOUND')
    await refused(collector.writ.actions.list({ grant }), 'ERR_NOT_FOUND')
    await refused(collector.writ.log.entries(0, 1), 'ERR_FORBIDDEN')
    await refused(collector.writ.inventory.list(), 'ERR_FORBIDDEN')
  })
  await story.right(`${which}: somebody says what it was, and it is a problem no more`, async () => {
    for (const problem of await problems()) {
      const flag = /resolve (flag_\w+)/u.exec(problem)?.[1] ?? ''
      await refused(ci.writ.actions.resolve(flag, 'it was nothing'), 'ERR_FORBIDDEN')
      await ada.actions.resolve(flag, 'a drill')
    }
    assert.deepEqual(await problems(), [])
  })
}

async function newest(folder: string): Promise<string> {
  const { LogFiles } = await import('../src/cli/collect.ts')
  const files = await new LogFiles(folder).list()
  return files.at(-1)?.path ?? ''
}
