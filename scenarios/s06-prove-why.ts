import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Lease } from '../client/src/index.ts'
import { Retention } from '../src/flows/retention.ts'
import { openSqliteStore } from '../src/store/sqlite/store.ts'
import { openDatabase } from './support/database.ts'
import { approve, ask, openInstallation, ShiftedClock, under } from './support/installation.ts'
import { startWrit, writ as command } from './support/processes.ts'
import type { Scenario } from './support/story.ts'
import { refused, until } from './support/story.ts'

type Entry = Readonly<{ seq: number; body: string }>
type Proof = Readonly<{ entries: readonly Entry[] }>

export const scenario: Scenario = {
  id: 'S06',
  name: 'prove-why',
  right:
    'one file proves why, when, to whom, on what evidence, under which policy, doing what: without the server, after a new key, after retention',
  wrong: 'the file with one byte changed, with another key, without a key',

  async run(story) {
    const database = await story.part(
      openDatabase({ name: 'orders', schema: 'create table ledger (line text)' }),
    )
    const writ = await story.part(
      openInstallation({
        people: { grace: ['dba'] },
        entities: [
          { type: 'Agent', id: 'lead', kind: 'agent', owner: 'Person/ada', parents: ['Group/deployers'] },
          { type: 'Agent', id: 'migrator', kind: 'agent', owner: 'Person/ada', parents: ['Group/deployers'] },
          { type: 'Service', id: 'ci', kind: 'workload', owner: 'Person/ada', parents: ['Group/deployers'] },
          {
            type: 'Service',
            id: 'auditor',
            kind: 'workload',
            owner: 'Person/ada',
            parents: ['Group/administrators'],
          },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
        ],
      }),
    )
    await writ.target(database, { 'db:migrate': 'Database/orders' })
    const ci = await writ.key('Service/ci')
    const lead = await writ.key('Agent/lead', { subjects: ['Agent'], attributes: {} })
    const migrator = await writ.key('Agent/migrator')
    const auditor = await writ.key('Service/auditor')
    const grace = writ.person('grace')
    const migrate = { action: 'db:migrate', resource: 'Database/orders' }
    const scope = { actions: ['db:migrate'], resources: [{ type: 'Database', id: 'orders' }] }
    const passwords: string[] = []
    const work = async (lease: Lease, line: string): Promise<string> => {
      const { credential, secret } = await lease.credential()
      const url = secret.env['DATABASE_URL'] ?? ''
      passwords.push(new URL(url).password)
      const session = await database.connect({ url })
      await session.query(`insert into ledger values ('${line}')`)
      await session.end()
      return credential.id
    }

    // what the proof is not about: retention takes it later
    const other = await ci.writ.tasks.declare({ purpose: 'yearly cleanup', reason: 'INC-7', scope })
    const others = await ask(ci.writ, under(other.id, migrate), 'INC-7')
    await approve(grace, others)
    const earlier = await ci.writ.resume(others.id)
    await work(earlier, 'cleanup')
    await earlier.end()

    const outer = await lead.writ.tasks.declare({ purpose: 'add an index', reason: 'INC-42', scope })
    const inner = await lead.writ.tasks.declare({
      purpose: 'run the migration',
      reason: 'INC-42',
      scope,
      parent: outer.id,
      subject: 'Agent/migrator',
    })
    const request = await ask(migrator.writ, under(inner.id, migrate), 'the index of INC-42')
    await approve(grace, request)
    const lease = await migrator.writ.resume(request.id)
    const credential = await work(lease, 'index')
    const grant = lease.grant.id
    await migrator.writ.actions.report([
      {
        id: 'run-1',
        grant,
        action: 'db:migrate',
        resource: 'Database/orders',
        at: new Date().toISOString(),
        outcome: 'succeeded',
      },
    ])
    await lease.end()
    await lead.writ.tasks.end(outer.id, 'completed')
    await until('its credential is verified absent', async () => {
      const { credentials } = await writ.ada.grants.get(grant)
      return credentials.every(({ state }) => state === 'absent')
    })

    const auditing = {
      cwd: join(writ.folder, 'auditor'),
      env: { WRIT_URL: writ.url, WRIT_TOKEN: auditor.token },
    }
    mkdirSync(auditing.cwd)
    const keyFile = join(auditing.cwd, 'log.key')
    const keys = (await (await fetch(new URL('/v1/log/keys', writ.url))).json()) as {
      keys: { vkey: string }[]
    }
    writeFileSync(keyFile, `${keys.keys.at(-1)?.vkey}\n`)
    const make = async (id: string, name: string): Promise<string> => {
      const file = join(auditing.cwd, name)
      await command(['audit', 'prove', id, '-o', file], auditing)
      return file
    }
    /** Elsewhere: no server, no data, an empty home. */
    let away = 0
    const verify = async (
      file: string,
      ...args: string[]
    ): Promise<{ code: number | null; said: string }> => {
      const cwd = join(writ.folder, `elsewhere-${(away += 1)}`)
      mkdirSync(cwd)
      const nowhere = { WRIT_URL: 'http://127.0.0.1:9', XDG_STATE_HOME: cwd, XDG_CONFIG_HOME: cwd }
      await using program = await startWrit(['audit', 'verify', file, ...args], { cwd, env: nowhere })
      const { code } = await program.ended
      assert.deepEqual(readdirSync(cwd), [], 'verifying left something behind')
      return { code, said: [...program.out, ...program.err].join('\n') }
    }
    const holds = async (file: string): Promise<string> => {
      const { code, said } = await verify(file, '--key', keyFile)
      assert.equal(code, 0, said)
      return said
    }

    await story.wrong('a proof made by who may not read the log, or of nothing', async () => {
      await refused(migrator.writ.log.prove(grant), 'ERR_FORBIDDEN')
      await refused(auditor.writ.log.prove('grant_none'), 'ERR_NOT_FOUND')
    })
    const proof = await make(grant, 'grant.json')
    const text = readFileSync(proof, 'utf8')
    story.figure(
      `${Math.round(text.length / 1_024)} KiB, ${(JSON.parse(text) as Proof).entries.length} entries`,
    )
    await writ.whileStopped(async () => {
      await story.right(
        'with the server stopped it says who, what, when, why, by whom, under which policy',
        async () => {
          const said = await holds(proof)
          for (const fact of [
            'Agent/migrator',
            'db:migrate',
            'Database/orders',
            'the index of INC-42',
            'Person/grace',
            'declared by Agent/lead',
            'migrate-with-approval',
            'published at',
            credential,
            'verified absent at',
            'reported: db:migrate',
            'and ended',
            'closed at',
            'taken again with reference Cedar',
          ])
            assert.ok(said.includes(fact), `nothing says \`${fact}\`:\n${said}`)
        },
      )
      await story.wrong('a secret in it', () => {
        const secrets = [
          ...passwords,
          ci.token,
          lead.token,
          migrator.token,
          auditor.token,
          database.admin.password,
        ]
        for (const secret of secrets) assert.ok(secret.length > 10 && !text.includes(secret))
      })
      await story.wrong(
        'the file with one byte changed, at the beginning, in the middle, at the end',
        async () => {
          const bytes = readFileSync(proof)
          const places = [
            bytes.indexOf('Person/grace'),
            bytes.indexOf('"about"') + 12,
            bytes.length >> 1,
            bytes.length - 2,
          ]
          const tried = places.map(async (at) => {
            const copy = Buffer.from(bytes)
            copy[at] = (copy[at] as number) ^ 1
            const changed = join(auditing.cwd, `changed-${at}.json`)
            writeFileSync(changed, copy)
            const { code, said } = await verify(changed, '--key', keyFile)
            assert.equal(code, 1, said)
            assert.match(
              said,
              /verify FAILED: (?:file|entry \d+|entries\/\d+|about|seal|checkpoint|policy \w+): /u,
            )
          })
          await Promise.all(tried)
        },
      )
      await story.wrong('believing a key because it came with the file, or another one', async () => {
        const { code, said } = await verify(proof)
        assert.equal(code, 1)
        assert.match(said, /nothing vouches for the key in the bundle/u)
        const vkey = readFileSync(keyFile, 'utf8').trim()
        const twisted = await verify(proof, '--key', vkey.replace('+', '-other+'))
        assert.notEqual(twisted.code, 0)
      })
    })
    await story.right('a new key signs since then: the old one still leads to a proof made now', async () => {
      await writ.ada.log.rotateKey({ use: 'log' })
      await writ.ada.inventory.put([{ type: 'Database', id: 'later', kind: 'resource', sensitivity: 'low' }])
      assert.match(await holds(await make(grant, 'rotated.json')), /which follows from/u)
      await holds(proof)
    })
    await story.right(
      'retention takes all else: what is left, and what was made before, still verify',
      async () => {
        const kept = new Set((JSON.parse(text) as Proof).entries.map(({ seq }) => seq))
        await writ.whileStopped((data) => prune(data, kept))
        const after = await make(grant, 'pruned.json')
        const said = await holds(after)
        assert.ok(!said.includes('Not shown'), said)
        const says = (file: string): string[] =>
          (JSON.parse(readFileSync(file, 'utf8')) as Proof).entries
            .filter(({ seq }) => kept.has(seq))
            .map(({ body }) => body)
        assert.deepEqual(says(after), says(proof), 'what it says is what it said')
        await holds(proof)
        await refused(auditor.writ.log.prove(earlier.grant.id), 'ERR_NOT_FOUND')
      },
    )
    const rest = [request.id, credential, outer.id, lease.decision.id ?? '']
    await story.right(
      'the request, the credential, the task and the decision have their proofs too',
      async () => {
        const made = rest.map(async (id) => {
          const path = join(auditing.cwd, `${id}.json`)
          writeFileSync(path, await auditor.writ.log.prove(id))
          return holds(path)
        })
        await Promise.all(made)
      },
    )
  },
}

/** What retention does when everything is old, to all entries but `kept`. */
async function prune(data: string, kept: ReadonlySet<number>): Promise<void> {
  const store = await openSqliteStore({ folder: data, clock: new ShiftedClock() })
  try {
    const deps = { store, log: () => undefined }
    const before = (await store.log.head()).size
    await new Retention(deps, { keep: 0, mayPrune: (seq) => !kept.has(seq) }).run()
    assert.ok((await store.log.head()).size > before, 'retention took nothing')
  } finally {
    await store.close()
  }
}
