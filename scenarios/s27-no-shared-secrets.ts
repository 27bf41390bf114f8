import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { dpopProof, importDpopKey } from '../client/src/index.ts'
import { openApi } from './support/api.ts'
import { AUDIENCE, openCluster, pod } from './support/cluster.ts'
import { openDatabase } from './support/database.ts'
import { openInstallation } from './support/installation.ts'
import { child, start, startWrit, writ as command } from './support/processes.ts'
import type { Found } from './support/secrets.ts'
import { argumentsOfAll, secretsInFiles, secretsInProcesses } from './support/secrets.ts'
import type { Scenario } from './support/story.ts'
import { sql, sqlRefused, until } from './support/story.ts'

const MINUTE = 60_000

/** The shop books orders under a task with a reason, and nobody has to be asked for that. */
const POLICY = `
@id("shop-books")
@ttl("2m")
permit (principal == Service::"shop", action == Action::"orders:book", resource == Database::"orders")
when { context.live has task && context.proof.justification };

@id("shop-posts")
permit (principal == Service::"shop", action == Action::"ledger:post", resource == Api::"ledger")
when { context.live has task };
`

export const scenario: Scenario = {
  id: 'S27',
  name: 'no-shared-secrets',
  right:
    'a service that kept a password and two keys keeps nothing: who it is gets it a login and a token, for minutes',
  wrong:
    'the old password and the old keys, everywhere; and what it has now, after its task or as somebody else',

  async run(story) {
    const database = await story.part(
      openDatabase({
        name: 'orders',
        schema:
          'create table booking (id int generated always as identity, who text, at timestamptz default now())',
        log: 'jsonlog',
      }),
    )
    await database.change(`grant insert on booking to ${database.account.user}`)
    const cluster = await story.part(openCluster())
    const [shopPod, ledgerPod, batchPod] = [pod('shop'), pod('ledger'), pod('batch')]
    let url = ''
    const ledger = await story.part(
      openApi({ writ: () => url, audience: 'Api/ledger', identity: () => cluster.token(ledgerPod) }),
    )
    const writ = await story.part(
      openInstallation({
        people: {},
        policies: [{ name: 'shop.cedar', text: POLICY }],
        entities: [
          { type: 'Service', id: 'shop', kind: 'workload', owner: 'Person/ada' },
          { type: 'Service', id: 'batch', kind: 'workload', owner: 'Person/ada' },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
          { type: 'Api', id: 'ledger', kind: 'resource', sensitivity: 'high' },
        ],
        config: {
          issuers: [
            cluster.config(
              { shop: 'Service/shop', batch: 'Service/batch', ledger: 'Api/ledger' },
              'reviewer',
            ),
          ],
        },
      }),
    )
    url = writ.url
    cluster.reviewer(join(writ.folder, 'server', 'reviewer'))
    await writ.target(database, { 'orders:book': 'Database/orders' })

    // what it has always had: a password, and two keys
    const key = await writ.key('Service/shop')
    const { account } = database
    const old = [account.password, ledger.key, key.token]
    const { host, port } = database.target()
    const address = `postgresql://${account.user}:${account.password}@${String(host)}:${String(port)}/orders`
    const before = join(writ.folder, 'before')
    const after = join(writ.folder, 'after')
    const shop = [...child('shop.ts'), ledger.url]
    const keyed = { WRIT_URL: writ.url, WRIT_TOKEN: key.token }
    await story.right('before: it works by secrets that never end, and they lie about', async () => {
      const env = { ...keyed, DATABASE_URL: address, LEDGER_KEY: ledger.key }
      mkdirSync(before)
      writeFileSync(join(before, '.pgpass'), `*:*:*:${account.user}:${account.password}\n`, { mode: 0o600 })
      const [command = '', ...args] = shop
      const running = await story.part(start(command, args, { cwd: before, env }))
      await running.says('booked')
      // what is not found after was found before: whoever looks can see
      const known = secretsInProcesses(running.pid, old).filter(({ kind }) => kind === 'known')
      assert.deepEqual(new Set(known.map(({ value }) => value)), new Set(old))
      assert.ok(secretsInFiles(before, old).some(({ value }) => value === account.password))
      running.write('done')
      assert.deepEqual(await running.ended, { code: 0, signal: null })
      assert.equal((await key.writ.me()).subject, 'Service/shop')
    })

    // the migration: who it is comes from its platform, and every secret is taken out of service
    const standing = await database.connect(account)
    rmSync(before, { recursive: true })
    await database.change(
      `alter role ${account.user} nologin password null; revoke insert on booking from ${account.user};
       select pg_terminate_backend(pid) from pg_stat_activity where usename = '${account.user}'`,
    )
    ledger.retireKey()
    await writ.ada.keys.revoke(key.id)

    const mounted = join(after, 'var', 'token')
    const projected = cluster.project(mounted, shopPod)
    const identity = { WRIT_URL: writ.url, WRIT_AUDIENCE: AUDIENCE, WRIT_IDENTITY: 'kubernetes' }
    const here = { ...identity, WRIT_TOKEN_FILE: mounted, IDENTITY_FILE: mounted }
    const run = [
      'run',
      '--nest',
      '--for=orders:book',
      '--on=Database/orders',
      '--reason=ORD-7',
      '--',
      ...shop,
    ]

    await story.right('after: `writ doctor` says who it is, and shows no token', async () => {
      const doctor = await story.part(startWrit(['doctor'], { cwd: after, env: here }))
      await doctor.ended
      const said = doctor.out.join('\n')
      assert.match(
        said,
        /\(kubernetes\)[^]*namespace shop, service_account shop[^]*you are Service\/shop to it/u,
      )
      assert.doesNotMatch(said, /eyJ/u)
    })

    // one task for both things that it does
    const scope = ['--action=orders:book', '--action=ledger:post', '--on=Database/orders', '--on=Api/ledger']
    const starting = ['task', 'start', '--purpose=book orders', '--reason=ORD-7', '--heartbeat=5m', ...scope]
    const task = (await command([...starting, '--json'], { cwd: after, env: here })).trim()
    const { id } = JSON.parse(task) as { id: string }
    const pod_ = { cwd: after, env: { ...here, WRIT_TASK: id, SHOP_TASK: id } }
    const running = await story.part(startWrit(run, pod_))
    await running.says('booked')
    const bound = await importDpopKey(JSON.parse(readFileSync(join(after, 'holder.jwk'), 'utf8')))
    const token = readFileSync(join(after, 'ledger.token'), 'utf8').trim()
    const inFiles = secretsInFiles(after, old)
    const inProcesses = secretsInProcesses(running.pid, old)
    const [role = ''] = await database.roles()
    const login = inProcesses.find(({ kind }) => kind === 'password')?.value ?? ''
    const issued = inProcesses
      .map(({ value }) => value)
      .concat(inFiles.map(({ value }) => value))
      .filter((value) => value.length > 20)
    await story.right('after: it books with a login and a token of its own', async () => {
      const [last] = await database.look<{ who: string }>('select who from booking order by id desc limit 1')
      assert.deepEqual([role], [last?.who])
      assert.deepEqual(
        ledger.entries.map(({ by }) => by),
        ['whoever has the key', 'Service/shop'],
      )
    })
    await story.wrong('anything that lasts, in its environment, its arguments or its files', async () => {
      const found = [...inFiles, ...inProcesses]
      const of = (kind: Found['kind']): Found[] => found.filter((one) => one.kind === kind)
      assert.deepEqual([of('known'), of('writ-secret')], [[], []])
      assert.deepEqual(
        found.filter(({ where }) => where === 'arguments'),
        [],
      )
      // a login that the database itself ends in minutes
      assert.deepEqual(new Set(of('password').map(({ value }) => value)), new Set([login]))
      const [made] = await database.look<{ until: Date }>(
        `select rolvaliduntil as until from pg_roles where rolname = $1`,
        [role],
      )
      const soon = (at: number): boolean => at > Date.now() && at < Date.now() + 10 * MINUTE + 1_000
      assert.ok(soon(made?.until.getTime() ?? 0), 'the login ends in minutes')
      // the token of the platform, and what was had by it
      const jwts = new Set(of('jwt').map(({ value }) => value))
      assert.deepEqual(jwts, new Set([projected, token]))
      for (const one of jwts) assert.ok(soon(claims(one).exp * 1_000), 'a token ends in minutes')
      // the key that only this token is bound to
      assert.deepEqual(
        of('private-key').map(({ where }) => where),
        ['holder.jwk'],
      )
      assert.equal(claims(token).cnf?.jkt, bound.thumbprint)
    })
    await story.wrong('a secret in the table of processes, which everybody here may read', () => {
      const all = argumentsOfAll()
      assert.ok(all.includes('shop.ts'))
      for (const value of [...old, ...issued]) assert.ok(!all.includes(value))
    })
    await story.wrong('a secret in what it printed', () => {
      const said = [...running.out, ...running.err].join('\n')
      for (const value of [...old, ...issued]) assert.ok(!said.includes(value))
    })

    const useKey = (): Promise<Response> =>
      fetch(`${ledger.url}/post`, { method: 'POST', headers: { 'x-api-key': ledger.key } })
    await story.wrong('the old password: at the database, anew and in a session of before', async () => {
      await sqlRefused(database.connect(account), sql.noLogin)
      await sqlRefused(standing.query(`insert into booking (who) values ('old')`), sql.cut)
      const refusal = new RegExp(`${account.user}.*(?:not permitted to log in|authentication failed)`, 'u')
      // the server writes its log when it gets to it
      await until('the refusal is in the log of PostgreSQL', () =>
        readdirSync(database.logs).some((file) =>
          refusal.test(readFileSync(join(database.logs, file), 'utf8')),
        ),
      )
    })
    await story.wrong('the old keys: at the ledger, at Writ, and exchanged for something newer', async () => {
      assert.equal((await useKey()).status, 401)
      const exchange = ['token', 'exchange', '--resource=Api/ledger', '--scope=ledger:post']
      const tries = await Promise.all(
        [['status'], exchange, run].map((args) =>
          story.part(startWrit(args, { cwd: join(writ.folder, 'old'), env: { ...keyed, WRIT_TASK: id } })),
        ),
      )
      const codes = await Promise.all(tries.map(async ({ ended }) => (await ended).code))
      assert.deepEqual(codes, [4, 4, 125])
      assert.deepEqual(
        tries.flatMap(({ out }) => out.filter((line) => line.includes('eyJ'))),
        [],
      )
      const { items } = await writ.ada.log.search({ kind: 'key.refused' })
      assert.match(JSON.stringify(items[0]), new RegExp(`${key.id}.*is revoked`, 'u'))
      assert.deepEqual(ledger.entries.length, 2)
    })
    await story.wrong('another service of the same cluster, and one that nobody knows', async () => {
      const others = await Promise.all(
        [batchPod, pod('stranger')].map((who) => {
          const cwd = join(writ.folder, who.serviceAccount)
          const file = join(cwd, 'token')
          cluster.project(file, who)
          const env = { ...identity, WRIT_TOKEN_FILE: file, IDENTITY_FILE: file, WRIT_TASK: id }
          return story.part(startWrit(run, { cwd, env }))
        }),
      )
      for (const other of others) assert.equal((await other.ended).code, 125, other.err.join('\n'))
      assert.equal((await database.roles()).length, 1)
    })
    await story.wrong('a token that the platform made for somebody else: it is not even sent', async () => {
      const cwd = join(writ.folder, 'elsewhere')
      const file = join(cwd, 'token')
      cluster.project(file, shopPod, { audience: 'https://vault.example' })
      const env = { ...identity, WRIT_TOKEN_FILE: file }
      const other = await story.part(startWrit(['status'], { cwd, env }))
      assert.equal((await other.ended).code, 4)
      assert.match(other.err.join('\n'), /is for `https:\/\/vault\.example`, not for/u)
    })

    const asShop = async (): Promise<number> => {
      const request = { method: 'POST', url: `${ledger.url}/post`, now: Date.now(), accessToken: token }
      const headers = { authorization: `DPoP ${token}`, dpop: await dpopProof(bound, request) }
      return (await fetch(request.url, { method: 'POST', headers })).status
    }
    await story.right('its token is good while its task runs; then the service ends', async () => {
      assert.equal(await asShop(), 200)
      running.write('done')
      assert.deepEqual(await running.ended, { code: 0, signal: null }, running.err.join('\n'))
      await command(['task', 'end', id], { cwd: after, env: here })
    })
    await story.wrong('what it had, when its task has ended', async () => {
      assert.deepEqual([await database.roles(), await database.sessions()], [[], 0])
      assert.equal(await asShop(), 401)
      assert.ok(login.length > 20)
      await sqlRefused(database.connect({ user: role, password: login }), sql.noLogin)
      assert.ok(!existsSync(join(after, 'holder.jwk')) && !existsSync(join(after, 'ledger.token')))
      assert.deepEqual(
        secretsInFiles(after, old).map(({ value }) => value),
        [projected],
      )
    })
    await story.wrong('its platform’s token, when its pod is gone', async () => {
      cluster.delete(shopPod)
      const gone = await story.part(startWrit(run, pod_))
      assert.equal((await gone.ended).code, 125)
    })
    await story.right('the record tells by what it was proved, and that the old key ended', async () => {
      const entries = async (kind: string): Promise<Record<string, unknown>[]> =>
        (await writ.ada.log.search({ kind, limit: 100 })).items as unknown as Record<string, unknown>[]
      const [made] = await entries('token.issued')
      assert.match(
        JSON.stringify(made),
        new RegExp(`"issuer":"cluster".*"service_account":"shop"|${shopPod.uid}`, 'u'),
      )
      assert.ok((await entries('key.revoked')).some((entry) => JSON.stringify(entry).includes(key.id)))
      const { items } = await writ.ada.credentials.list({ limit: 100 })
      assert.deepEqual(
        items.map(({ state }) => state),
        ['absent'],
      )
      const text = JSON.stringify([await entries('token.issued'), await entries('credential.live')])
      for (const value of [...old, ...issued]) assert.ok(!text.includes(value))
    })
  },
}

function claims(token: string): { exp: number; cnf?: { jkt?: string } } {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as { exp: number }
}
