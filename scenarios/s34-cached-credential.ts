import assert from 'node:assert/strict'
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DpopKey } from '../client/src/index.ts'
import { createDpopKey, createWrit, dpopProof, importDpopKey } from '../client/src/index.ts'
import type { Api } from './support/api.ts'
import { openApi } from './support/api.ts'
import { AUDIENCE, openCluster, pod } from './support/cluster.ts'
import { openDatabase } from './support/database.ts'
import { openInstallation } from './support/installation.ts'
import { ASSERTION, EXCHANGE, JWT, Refusals, postForm } from './support/oauth.ts'
import type { Ended, Program } from './support/processes.ts'
import { child, startWrit, writ as command } from './support/processes.ts'
import { copiedVariable } from './support/secrets.ts'
import type { Scenario } from './support/story.ts'
import { sql, sqlRefused, until } from './support/story.ts'

/** The shop books under a task; closing the books is done once for each permit. */
const POLICY = `
@id("shop-books")
@ttl("2m")
permit (principal == Service::"shop", action == Action::"orders:book", resource == Database::"orders")
when { context.live has task && context.proof.justification };

@id("shop-posts")
permit (principal == Service::"shop", action == Action::"ledger:post", resource == Api::"ledger")
when { context.live has task };

@id("shop-closes-once")
@ttl("2m")
@uses("1")
permit (principal == Service::"shop", action == Action::"ledger:close", resource == Api::"ledger")
when { context.live has task };
`

/** One request, byte by byte: what somebody in between, or with the log of a proxy, has of it. */
type Sent = Readonly<{ url: string; headers: Readonly<Record<string, string>> }>

const send = async ({ url, headers }: Sent): Promise<number> =>
  (await fetch(url, { method: 'POST', headers })).status

/** A request with a fresh proof by `key`. */
async function proved(url: string, token: string, key: DpopKey, method = 'POST'): Promise<Sent> {
  const dpop = await dpopProof(key, { method, url, now: Date.now(), accessToken: token })
  return { url, headers: { authorization: `DPoP ${token}`, dpop } }
}

export const scenario: Scenario = {
  id: 'S34',
  name: 'cached-credential',
  right: 'whoever holds a token, a login or a session goes on, through a restart, until the task ends',
  wrong:
    'a copy of any of them: by another key, process or owner, elsewhere, twice, after the task or its minutes',

  async run(story) {
    const database = await story.part(
      openDatabase({
        name: 'orders',
        schema: 'create table booking (id int generated always as identity, who text)',
      }),
    )
    const cluster = await story.part(openCluster())
    const pods = { shop: pod('shop'), ledger: pod('ledger'), vault: pod('vault'), batch: pod('batch') }
    let url = ''
    const api = (name: 'ledger' | 'vault'): Promise<Api> =>
      story.part(
        openApi({ writ: () => url, audience: `Api/${name}`, identity: () => cluster.token(pods[name]) }),
      )
    const ledger = await api('ledger')
    const vault = await api('vault')
    const writ = await story.part(
      openInstallation({
        people: { hedy: [] },
        policies: [{ name: 'shop.cedar', text: POLICY }],
        entities: [
          { type: 'Service', id: 'shop', kind: 'workload', owner: 'Person/ada' },
          { type: 'Service', id: 'batch', kind: 'workload', owner: 'Person/ada' },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
          { type: 'Api', id: 'ledger', kind: 'resource', sensitivity: 'high' },
          { type: 'Api', id: 'vault', kind: 'resource', sensitivity: 'high' },
        ],
        config: {
          issuers: [
            cluster.config(
              { shop: 'Service/shop', batch: 'Service/batch', ledger: 'Api/ledger', vault: 'Api/vault' },
              'reviewer',
            ),
          ],
        },
      }),
    )
    url = writ.url
    cluster.reviewer(join(writ.folder, 'server', 'reviewer'))
    await writ.target(database, { 'orders:book': 'Database/orders' })
    const refusals = new Refusals(writ.ada)

    // the holder, at work: a login, a token and the key that the token is bound to
    const cwd = join(writ.folder, 'shop')
    const mounted = join(cwd, 'identity')
    const platform = cluster.project(mounted, pods.shop)
    const identity = { WRIT_URL: url, WRIT_AUDIENCE: AUDIENCE, WRIT_IDENTITY: 'kubernetes' }
    const env = { ...identity, WRIT_TOKEN_FILE: mounted, IDENTITY_FILE: mounted }
    const shop = createWrit({ url, token: () => cluster.token(pods.shop) })
    const begin = async (): Promise<string> => {
      const scope = {
        actions: ['orders:book', 'ledger:post', 'ledger:close'],
        resources: [
          { type: 'Database', id: 'orders' },
          { type: 'Api', id: 'ledger' },
        ],
      }
      return (await shop.tasks.declare({ purpose: 'book orders', reason: 'ORD-7', heartbeat: '5m', scope }))
        .id
    }
    const work = (task: string, program: readonly string[], ...more: string[]): Promise<Program> => {
      const what = ['--nest', '--for=orders:book', '--on=Database/orders', '--reason=ORD-7', ...more]
      const options = { cwd, env: { ...env, WRIT_TASK: task, SHOP_TASK: task } }
      return story.part(startWrit(['run', ...what, '--', ...program], options))
    }
    const task = await begin()
    const holder = await work(task, [...child('shop.ts'), ledger.url])
    await holder.says('booked')

    // what a thief has copied of it
    const login = copiedVariable(holder.pid, 'DATABASE_URL') ?? ''
    const token = readFileSync(join(cwd, 'ledger.token'), 'utf8').trim()
    const key = await importDpopKey(JSON.parse(readFileSync(join(cwd, 'holder.jwk'), 'utf8')))
    const thief = await createDpopKey()
    const post = `${ledger.url}/post`
    const honest = async (): Promise<Sent> => proved(post, token, key)

    await story.right('the holder posts: each request with a proof of its key', async () => {
      assert.equal(await send(await honest()), 200)
      assert.equal(await send(await honest()), 200)
    })
    await story.wrong('its token alone, or with the key of somebody else', async () => {
      assert.equal(await send({ url: post, headers: { authorization: `Bearer ${token}` } }), 401)
      assert.equal(await send({ url: post, headers: { authorization: `DPoP ${token}` } }), 401)
      assert.equal(await send(await proved(post, token, thief)), 401)
    })
    const copied = await honest()
    await story.wrong(
      'a whole request that was copied: again, elsewhere, as another, with another token',
      async () => {
        assert.equal(await send(copied), 200)
        assert.equal(await send(copied), 401)
        const fresh = (await honest()).headers
        assert.equal(await send({ url: `${ledger.url}/close`, headers: fresh }), 401)
        assert.equal(await send({ url: `${vault.url}/post`, headers: fresh }), 401)
        assert.equal(await send(await proved(post, token, key, 'GET')), 401)
        const altered = { ...fresh, authorization: `DPoP ${token.slice(0, -8)}AAAAAAAA` }
        assert.equal(await send({ url: post, headers: altered }), 401)
      },
    )
    await story.wrong('the token at another API, and at Writ itself, even with its key', async () => {
      assert.equal(await send(await proved(`${vault.url}/post`, token, key)), 401)
      assert.equal(await send(await proved(`${url}/v1/tasks`, token, key)), 401)
      assert.equal(await send(await proved(`${url}/access/v1/evaluation`, token, key)), 401)
    })
    const looks = async (as: string): Promise<unknown> => {
      const headers = { authorization: `Bearer ${as}` }
      const form = new URLSearchParams({ token })
      return (await fetch(`${url}/oauth/introspect`, { method: 'POST', headers, body: form })).json()
    }
    await story.wrong('asking Writ about the token, as anybody but the server that it is for', async () => {
      for (const one of [pods.batch, pods.vault, pods.shop])
        assert.deepEqual(await looks(cluster.token(one)), { active: false })
      assert.equal(((await looks(cluster.token(pods.ledger))) as { active: boolean }).active, true)
    })

    const writAt = createWrit({ url })
    const asked = { audience: ['Api/ledger'], scope: ['ledger:post'], task }
    const exchanging = {
      grant_type: EXCHANGE,
      audience: 'Api/ledger',
      scope: 'ledger:post',
      task,
      subject_token_type: JWT,
    }
    await story.wrong('the token, exchanged for another', async () => {
      const another = { ...exchanging, subject_token: token }
      await refusals.check(await postForm(url, another), 'invalid_request', /for somebody else/u)
      const subject = { token, type: 'urn:ietf:params:oauth:token-type:access_token' }
      const rebound = await writAt.tokens.exchange({ ...asked, subject, dpop: thief }).then(
        (answer) => (answer.outcome === 'refused' ? answer.error : answer.outcome),
        (error: { type?: string }) => error.type,
      )
      assert.equal(rebound, 'invalid_request')
      const client = { client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer' }
      const asClient = { grant_type: 'client_credentials', audience: 'Api/ledger', scope: 'ledger:post' }
      await refusals.check(
        await postForm(url, { ...asClient, ...client, client_assertion: token }),
        'invalid_client',
        /somebody else|no client_assertion/u,
      )
      // the server that it was shown to, which would like to have more
      const greedy = { ...client, client_assertion: cluster.token(pods.ledger), subject_token: token }
      await refusals.check(
        await postForm(url, { ...exchanging, ...greedy, audience: 'Api/vault', scope: 'vault:open' }),
        'invalid_scope',
        /is not for vault:open/u,
      )
    })

    await story.wrong('a login, made into one that lasts or into another', async () => {
      const session = await database.connect({ url: login })
      await session.query(`insert into booking (who) values ('copied in its minutes')`)
      const role = new URL(login).username
      await sqlRefused(session.query(`alter role ${role} valid until 'infinity'`), sql.noRight)
      await sqlRefused(session.query(`alter role ${role} connection limit 100`), sql.noRight)
      await sqlRefused(session.query('create role mine login'), sql.noRight)
      await sqlRefused(session.query(`grant ${database.owner} to ${database.account.user}`), sql.noRight)
      await session.end()
    })

    await story.wrong(
      'the platform’s token: at the API, for another audience, too old, or altered',
      async () => {
        assert.equal(await send({ url: post, headers: { authorization: `Bearer ${platform}` } }), 401)
        const [head, body = '', signature] = platform.split('.')
        const claims = JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as Record<string, unknown>
        const later = Buffer.from(JSON.stringify({ ...claims, exp: 4_000_000_000 })).toString('base64url')
        for (const [subject_token, why] of [
          [cluster.token(pods.shop, { audience: 'https://vault.example' }), /audience|aud/u],
          [cluster.token(pods.shop, { life: -61 }), /ended|expired|exp/u],
          [`${head}.${later}.${signature}`, /signature|signed/u],
        ] as const) {
          await refusals.check(await postForm(url, { ...exchanging, subject_token }), 'invalid_request', why)
          const headers = { authorization: `Bearer ${subject_token}` }
          assert.equal((await fetch(`${url}/v1/me`, { headers })).status, 401)
        }
      },
    )
    await story.wrong('a platform’s token that is bound to a key, without that key', async () => {
      const bound = cluster.token(pods.shop, { claims: { cnf: { jkt: key.thumbprint } } })
      await refusals.check(
        await postForm(url, { ...exchanging, subject_token: bound }),
        'invalid_dpop_proof',
        /bound to a key/u,
      )
      const me = `${url}/v1/me`
      assert.equal((await fetch(me, { headers: { authorization: `Bearer ${bound}` } })).status, 401)
      const by = async (one: DpopKey): Promise<number> =>
        (await fetch(me, { headers: (await proved(me, bound, one, 'GET')).headers })).status
      assert.equal(await by(thief), 401)
      assert.equal(await by(key), 200)
    })

    // good once
    const once = join(cwd, 'once.token')
    await command(
      [
        'token',
        'exchange',
        '--resource=Api/ledger',
        '--scope=ledger:close',
        `--task=${task}`,
        '--dpop=holder.jwk',
        '--into=once.token',
      ],
      { cwd, env },
    )
    const single = readFileSync(once, 'utf8').trim()
    const closing = (): Promise<Sent> => proved(`${ledger.url}/close`, single, key)
    await story.wrong('a token that is good once, twice: side by side, and after', async () => {
      const both = await Promise.all([send(await closing()), send(await closing())])
      assert.deepEqual(both.sort(), [200, 401])
      assert.equal(await send(await closing()), 401)
      assert.equal(ledger.entries.filter(({ action }) => action === 'ledger:close').length, 1)
    })

    // a sign-in at Writ itself, bound to a key
    const me = `${url}/v1/me`
    const signedIn = await writAt.tokens.exchange({
      subject: { token: platform, type: JWT },
      resource: [url],
      dpop: key,
    })
    assert.equal(signedIn.outcome, 'issued')
    const own = signedIn.issued.token
    const call = async ({ headers }: Sent): Promise<number> => (await fetch(me, { headers })).status
    const seen = await proved(me, own, key, 'GET')
    assert.equal(await call(seen), 200)

    // what the command line has cached of a person
    const home = join(writ.folder, 'hedy')
    const at = { cwd: home, env: { WRIT_URL: url } }
    const { code } = await writ.ada.people.invite({ id: 'hedy' })
    await command(['login', '--code'], { ...at, input: code })
    const cached = join(home, '.config', 'writ', 'sessions.json')
    const status = async (
      cwd_: string,
      more: Record<string, string> = {},
    ): Promise<Program & { how: Ended }> => {
      const program = await story.part(startWrit(['status'], { cwd: cwd_, env: { WRIT_URL: url, ...more } }))
      return { ...program, how: await program.ended }
    }
    const copy = (name: string, mode: number): string => {
      const to = join(writ.folder, name)
      mkdirSync(join(to, '.config', 'writ'), { recursive: true })
      copyFileSync(cached, join(to, '.config', 'writ', 'sessions.json'))
      chmodSync(join(to, '.config', 'writ', 'sessions.json'), mode)
      return to
    }
    await story.wrong(
      'a cached session in a file that others may read, that is another’s, or for another server',
      async () => {
        const readable = copy('readable', 0o644)
        const others = copy('others', 0o600)
        const isRoot = process.getuid?.() === 0
        if (isRoot) chownSync(join(others, '.config', 'writ', 'sessions.json'), 65_534, 65_534)
        const elsewhere = copy('elsewhere', 0o600)
        const [open, owned, away, fine] = await Promise.all([
          status(readable),
          isRoot ? status(others) : status(readable),
          status(elsewhere, { WRIT_URL: vault.url }),
          status(home),
        ])
        assert.equal(fine.how.code, 0, fine.err.join('\n'))
        assert.match(fine.out.join('\n'), /you are Person\/hedy/u)
        for (const one of [open, owned]) {
          assert.equal(one.how.code, 4, one.err.join('\n'))
          assert.match(one.err.join('\n'), /others may read|belongs to somebody else/u)
        }
        assert.notEqual(away.how.code, 0)
        assert.ok(!vault.shown.some((header) => header.includes('writ_sess_')))
      },
    )

    const session = await database.connect({ url: login })
    await writ.whileStopped(async () => {})
    await story.right(
      'the server starts again: the holder goes on with token, login and session',
      async () => {
        assert.equal(await send(await honest()), 200)
        assert.equal(await call(await proved(me, own, key, 'GET')), 200)
        assert.equal((await session.query('select 1')).length, 1)
      },
    )
    await story.wrong('what was used or copied before it started again', async () => {
      assert.equal(await call(seen), 401)
      assert.equal(await send(copied), 401)
      assert.equal(await send(await closing()), 401)
      assert.equal(await send(await proved(post, token, thief)), 401)
    })

    await story.wrong('a copy of the session, when its person has signed out', async () => {
      const kept = copy('kept', 0o600)
      await command(['logout'], at)
      assert.equal((await status(kept)).how.code, 4)
    })

    // its minutes are seconds here
    const brief = await begin()
    const short = await work(brief, ['sleep', '60'], '--ttl=10s')
    const shortLogin = await until('it has a login', () => copiedVariable(short.pid, 'DATABASE_URL'))
    await (await database.connect({ url: shortLogin })).end()
    await story.wrong('a copy of a login, when its minutes are over though its task goes on', async () => {
      assert.equal((await short.ended).code, 125)
      await sqlRefused(database.connect({ url: shortLogin }), sql.noLogin)
    })

    await story.right('the holder is done', async () => {
      holder.write('done')
      assert.deepEqual(await holder.ended, { code: 0, signal: null }, holder.err.join('\n'))
      for (const one of [task, brief]) await shop.tasks.end(one, 'completed')
    })
    await story.wrong('everything of it, with its own key, when its task has ended', async () => {
      assert.equal(await send(await honest()), 401)
      assert.deepEqual(await looks(cluster.token(pods.ledger)), { active: false })
      await session.ended
      await sqlRefused(session.query('select 1'), sql.cut)
      await sqlRefused(database.connect({ url: login }), sql.noLogin)
      const again = { ...exchanging, subject_token: platform }
      const refused = await postForm(url, again)
      assert.equal(refused['access_token'], undefined)
    })
    await story.wrong('the platform’s token, when its pod is gone', async () => {
      cluster.delete(pods.shop)
      const another = {
        grant_type: ASSERTION,
        audience: 'Api/ledger',
        scope: 'ledger:post',
        assertion: platform,
      }
      await refusals.check(await postForm(url, another), 'invalid_grant', /does not confirm/u)
      assert.equal((await fetch(me, { headers: { authorization: `Bearer ${platform}` } })).status, 401)
    })
    await story.right(
      'each copy that came to Writ or to its server is on the record, and no secret is',
      async () => {
        const kinds = ['token.refused', 'session.refused'] as const
        const pages = await Promise.all(kinds.map((kind) => writ.ada.log.search({ kind, limit: 200 })))
        const text = JSON.stringify(pages.map(({ items }) => items))
        for (const what of [
          /do not belong together/u, // without its key
          /another audience/u,
          /used before/u, // a proof
          /tok_\w+`: used/u,
          /tok_\w+`: (?:task_ended|grant_ended)/u,
          /expired/u,
          /signature/u,
          /session of `Person\/hedy` is over/u,
          /review/u, // the pod is gone
        ]) {
          assert.match(text, what)
        }
        const password = new URL(login).password
        for (const secret of [token, single, own, platform, password]) assert.ok(!text.includes(secret))
      },
    )
    story.figure(`${refusals.count} refusals of the token endpoint found on the record`)
  },
}
