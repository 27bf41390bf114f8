/**
 * The Writ of a story, set up from nothing as its first administrator would: bootstrap code, inventory, policies,
 * people, keys, targets, all over HTTP.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import type {
  AccessRequest,
  ApprovalReference,
  AttemptInput,
  Challenge,
  EntityInput,
  LogHead,
  Page,
  PepTrust,
  PolicyFile,
  Properties,
  Writ,
} from '../../client/src/index.ts'
import { createWrit } from '../../client/src/index.ts'
import { createApp } from '../../src/app.ts'
import { openLogFolder } from '../../src/audit/folder.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import { ownPort } from '../../src/cli/own-port.ts'
import { loadConfig, serverConfig } from '../../src/config/index.ts'
import { systemClock } from '../../src/store/clock.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'
import { redecideAll } from '../../test/support/redecide.ts'
import type { Database } from './database.ts'
import type { Program } from './processes.ts'
import { startWrit } from './processes.ts'
import type { Part } from './story.ts'
import { until } from './story.ts'

export type InstallationOptions = Readonly<{
  /** By default `writ server`, a process of its own; with a clock Writ runs in this process and lives by it. */
  clock?: ShiftedClock
  /** Beside the starter policy on who administers; by default the one on migrations. */
  policies?: readonly PolicyFile[]
  entities?: readonly EntityInput[]
  /** Its configuration file: whose tokens prove who asks, which clients there are. */
  config?: Readonly<Record<string, unknown>>
  /** Files of JSON beside the configuration file, which it may name. */
  files?: Readonly<Record<string, unknown>>
  /** Groups of everybody who is invited, by name. Ada administers already. */
  people: Readonly<Record<string, readonly string[]>>
}>

/** A caller with its own key. */
export type Keyed = Readonly<{ id: string; token: string; writ: Writ }>

export type Installation = Part &
  Readonly<{
    url: string
    /** A folder for whatever runs beside it. */
    folder: string
    /** Stops the server, does `work` on its data folder, and starts it again where it was. */
    whileStopped<T>(work: (data: string) => Promise<T>): Promise<T>
    /** The first administrator. */
    ada: Writ
    /** Stops and starts again where it was; only with a clock. */
    restart(): Promise<void>
    person(name: string): Writ
    key(subject: string, pep?: PepTrust): Promise<Keyed>
    /** Lets it issue credentials at `database`: `serves` is e.g. `{ 'db:migrate': 'Database/orders' }`. */
    target(
      database: Database,
      serves: Readonly<Record<string, string>>,
      over?: Readonly<Record<string, unknown>>,
    ): Promise<void>
  }>

const STARTER = join(import.meta.dirname, '../../policies')

/** A policy file that comes with Writ. */
export const starter = (name: string): PolicyFile => ({
  name,
  text: readFileSync(join(STARTER, name), 'utf8'),
})

/** Time as it is, moved on by the story. */
export class ShiftedClock {
  #ahead = 0

  wall(): number {
    return Date.now() + this.#ahead
  }

  monotonic(): number {
    return performance.now() + this.#ahead
  }

  advance(millis: number): void {
    this.#ahead += millis
  }
}

/** Starts it and sets it up. */
export async function openInstallation(options: InstallationOptions): Promise<Installation> {
  const folder = mkdtempSync(join(tmpdir(), 'writ-scenario-'))
  let server: Server | undefined
  try {
    const cwd = join(folder, 'server')
    mkdirSync(cwd)
    const files = { ...options.files, ...(options.config && { 'writ.config.yaml': options.config }) }
    // JSON is YAML
    for (const [name, content] of Object.entries(files))
      writeFileSync(join(cwd, name), JSON.stringify(content))
    server = await (options.clock === undefined ? startServer(folder) : startHere(folder, options.clock))
    return await setUp(folder, server, options)
  } catch (error) {
    await server?.stop()
    rmSync(folder, { recursive: true, force: true })
    throw new Error(`Writ could not be set up: ${String(error)}\n${server?.log().join('\n') ?? ''}`, {
      cause: error,
    })
  }
}

type Server = Readonly<{
  url: string
  data: string
  log(): readonly string[]
  stop(): Promise<void>
  restart?(): Promise<void>
}>

async function startServer(folder: string, at?: number): Promise<Server> {
  // it may be started again where it was
  const port = at ?? (await ownPort('127.0.0.1')).port
  const data = join(folder, 'data')
  const program: Program = await startWrit(
    ['server', '--data', data, '--port', String(port), '--person', 'ada', '--verify-decisions'],
    {
      cwd: join(folder, 'server'),
      env: { WRIT_KEY_FILE: join(folder, 'secrets.key') },
    },
  )
  try {
    const url = await program.says('http://')
    return {
      url,
      data,
      log: () => program.err,
      async stop() {
        await program[Symbol.asyncDispose]()
        assert.deepEqual(await program.ended, { code: 0, signal: null }, 'the server did not stop in order')
      },
    }
  } catch (error) {
    await program[Symbol.asyncDispose]()
    throw error
  }
}

async function startHere(folder: string, clock: ShiftedClock): Promise<Server> {
  const data = join(folder, 'data')
  const cwd = join(folder, 'server')
  const told: string[] = []
  const start = (port: number) => {
    const flags = { data, port, key_file: join(folder, 'secrets.key'), verify_decisions: 'on' }
    const sources = { flags, env: {}, cwd, home: cwd }
    return createApp(serverConfig(loadConfig(sources), sources), {
      mode: 'server',
      bootstrapPerson: 'ada',
      clock,
      log: (level, message, fields) => void told.push(`${level} ${message} ${inspect(fields)}`),
    })
  }
  const { port: own } = await ownPort('127.0.0.1')
  let app = await start(own)
  const { url } = app
  return {
    url,
    data,
    log: () => told,
    stop: () => app.stop(),
    async restart() {
      await app.stop()
      app = await start(own)
    },
  }
}

async function setUp(folder: string, first: Server, options: InstallationOptions): Promise<Installation> {
  let server = first
  const { url, data } = server
  const as = (token: string): Writ => createWrit({ url, token })
  const redeem = async (code: string): Promise<Writ> =>
    as((await createWrit({ url }).sessions.redeem(code)).token)
  const ada = await redeem(readFileSync(join(server.data, 'bootstrap-code'), 'utf8').trim())
  if (options.entities !== undefined) await ada.inventory.put(options.entities)
  await ada.policies.publish({
    policies: [starter('writ.cedar'), ...(options.policies ?? [starter('migration.cedar')])],
  })
  const people = new Map<string, Writ>([['ada', ada]])
  for (const [name, groups] of Object.entries(options.people)) {
    const invited = await ada.people.invite({ id: name, groups: groups.map((group) => `Group/${group}`) })
    people.set(name, await redeem(invited.code))
  }
  /** Whoever keeps this can prove any later change to what came before. */
  const heads: LogHead[] = [await ada.log.head()]
  let running = true
  const stop = async (): Promise<void> => {
    if (running) await server.stop()
    running = false
  }

  return {
    url,
    folder,
    log: () => server.log(),
    async whileStopped(work) {
      assert.equal(options.clock, undefined, 'only a server of its own can be started again')
      await server.stop()
      const result = await work(data)
      server = await startServer(folder, Number(new URL(url).port))
      return result
    },
    ada,
    async restart() {
      assert.ok(server.restart, 'this one is a process of its own')
      await server.restart()
    },
    person(name) {
      const found = people.get(name)
      assert.ok(found, `nobody is called ${name}`)
      return found
    },
    async key(subject, pep) {
      const { id, secret } = await ada.keys.create({
        name: subject,
        subject,
        ...(pep === undefined ? {} : { pep }),
      })
      return { id, token: secret, writ: as(secret) }
    },
    async target(database, serves, over) {
      const { admin } = database
      const access = Object.entries(serves).map(([action, resource]) => ({
        action,
        resource,
        role: 'migrate',
      }))
      await ada.targets.add({
        id: database.name,
        kind: 'postgres',
        config: { ...database.target(over), access },
        admin,
      })
    },
    atEnd: {
      what: 'every credential is absent, no grant lives, the whole log verifies and decides again as it did',
      async prove() {
        await until('every credential is verified absent', async () => {
          const { items } = await ada.credentials.list({ open: true })
          return items.length === 0
        })
        const credentials = await everything((cursor) => ada.credentials.list(cursor))
        const left = credentials.filter(({ state }) => state !== 'absent')
        assert.deepEqual(left, [], 'credentials are left')
        const grants = await everything((cursor) => ada.grants.list({ ...cursor, live: true }))
        assert.deepEqual(grants, [], 'grants are left')
        heads.push(await ada.log.head())
        await stop()
        const log = openLogFolder(server.data)
        try {
          const verdict = await verifyLog(log, heads)
          assert.ok(
            verdict.ok,
            `the log does not verify: entry ${verdict.firstBad?.index} ${verdict.firstBad?.why}`,
          )
          assert.ok(verdict.size >= (heads.at(-1)?.size ?? 1), 'the log is shorter than it was')
        } finally {
          log.close()
        }
        const store = await openSqliteStore({ folder: server.data, clock: options.clock ?? systemClock })
        try {
          await redecideAll(store)
          const alarms = await store.log.search({ terms: ['kind=engine.differs'], limit: 1 })
          assert.deepEqual(alarms.items, [], 'reference Cedar answered otherwise')
        } finally {
          await store.close()
        }
      },
    },
    async [Symbol.asyncDispose]() {
      await stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function everything<T>(
  list: (query: { cursor?: string; limit: number }) => Promise<Page<T>>,
): Promise<T[]> {
  const all: T[] = []
  let cursor: string | undefined
  do {
    const page = await list({ limit: 100, ...(cursor === undefined ? {} : { cursor }) })
    all.push(...page.items)
    cursor = page.next_cursor
  } while (cursor !== undefined)
  return all
}

/** The challenge that an attempt meets. */
export async function challenged(agent: Writ, attempt: AttemptInput): Promise<Challenge> {
  const decision = await agent.evaluate(attempt)
  assert.equal(
    decision.outcome,
    'challenge',
    `expected a challenge, got ${decision.outcome} (${decision.reason})`,
  )
  return decision
}

/** All that whoever asks hears on the wire, which a client may leave out: the answer to an evaluation, as text. */
export async function heard(
  { url, token }: Readonly<{ url: string; token: string }>,
  { subject, action, resource, context }: AttemptInput,
): Promise<string> {
  const [asker, thing] = [subject, resource].map((ref) => (typeof ref === 'string' ? toEntity(ref) : ref))
  const answer = await fetch(`${url}/access/v1/evaluation`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      subject: asker,
      action: typeof action === 'string' ? { name: action } : action,
      resource: thing,
      context,
    }),
  })
  const text = await answer.text()
  assert.equal(answer.status, 200, text)
  return text
}

function toEntity(ref: string): Readonly<{ type: string; id: string }> {
  const [type = '', id = ''] = ref.split('/')
  return { type, id }
}

/** Asks for the evidence that `attempt` lacks; the request waits for whoever may give it. */
export async function ask(agent: Writ, attempt: AttemptInput, reason?: string): Promise<AccessRequest> {
  const challenge = await challenged(agent, attempt)
  const { id } = await challenge.request(reason === undefined ? {} : { reason }).submitted()
  return agent.requests.get(id)
}

/** A person reads what is asked and agrees to exactly that. */
export function approve(
  approver: Writ,
  request: Pick<AccessRequest, 'id' | 'digest'>,
): Promise<AccessRequest> {
  return approver.requests.approve(request.id, request.digest)
}

/** Waits, as a person with their inbox open, for what they may approve, and agrees to it. */
export async function approveNext(approver: Writ, subject: string): Promise<AccessRequest> {
  const request = await until(`${subject} asks`, async () => {
    const { items } = await approver.requests.list({ pending: true })
    return items.find((one) => one.subject === subject && (one.may_approve ?? []).length > 0)
  })
  return approve(approver, request)
}

/** Asks and is approved: the reference that a later attempt carries. */
export async function approved(
  agent: Writ,
  attempt: AttemptInput,
  ...approvers: Writ[]
): Promise<Readonly<{ request: AccessRequest; approval: ApprovalReference }>> {
  const request = await ask(agent, attempt)
  for (const approver of approvers) await approve(approver, request)
  const { approval } = await agent.requests.wait(request.id)
  assert.ok(approval, 'approved, but nothing to carry')
  return { request, approval }
}

/** `attempt` under `task`, carrying what else is given. */
export function under(task: string, attempt: AttemptInput, more: Properties = {}): AttemptInput {
  return {
    ...attempt,
    context: { ...attempt.context, task, ...more },
  }
}
