/**
 * `writ witness`: a small witness (C2SP tlog-witness). It remembers the newest head of each log it knows and cosigns only
 * what continues that, so that whoever owns a log cannot show two histories of it. Looks into the house itself
 * (`src/audit`): it has no server.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Note, VerifierKey } from '../audit/note.ts'
import {
  cosignNote,
  formatNote,
  formatVerifierKey,
  isKeyName,
  parseNote,
  parseVerifierKey,
  verifierKey,
  verifyNote,
} from '../audit/note.ts'
import type { Verdict, Witnessed } from '../audit/witness.ts'
import { formatCosignatures, judge, parseSubmission, SIZE_TYPE, SUBMISSION_LIMIT } from '../audit/witness.ts'
import { openKeyFile, resolvePath } from '../config/index.ts'
import type { Context } from './context.ts'
import { CliError, exit, usage } from './exit.ts'
import { stopper } from './server.ts'
import { plain } from './text.ts'

export type WitnessOptions = Readonly<{
  /** Holds the key and the memory; one witness each. */
  folder: string
  /** Its name in signature lines, needed when the folder is made. */
  name?: string
  host: string
  port: number
  /** The keys of the logs that it cosigns. */
  logs: readonly VerifierKey[]
  /** Epoch milliseconds. */
  now(): number
  /** A refused submission, and why; 500 when it is the witness that failed. */
  onRefused?(status: number, why: string, origin?: string): void
  /** Called when a head is durable and its cosignature does not exist yet. */
  onPersisted?(): void
}>

export type Witness = Readonly<{
  url: string
  key: VerifierKey
  stop(): Promise<void>
}>

/**
 * Opens the folder and listens.
 *
 * @throws {CliError} for a folder that lost its memory: its key must not cosign again.
 */
export async function openWitness(options: WitnessOptions): Promise<Witness> {
  const memory = new Memory(options.folder, options.name)
  const server = createServer(
    { requestTimeout: 10_000, headersTimeout: 5_000, keepAliveTimeout: 30_000 },
    (request, response) => {
      answer(memory, options, request, response).catch((error: unknown) => {
        if (!response.headersSent) send(response, 500, 'the witness cannot answer now')
        options.onRefused?.(500, error instanceof Error ? error.message : 'an unknown error')
      })
    },
  )
  server.maxConnections = 256
  try {
    await listen(server, options)
  } catch (error) {
    memory.close()
    throw error
  }
  const { port } = server.address() as AddressInfo
  const host = options.host.includes(':') ? `[${options.host}]` : options.host
  return {
    url: `http://${host}:${port}`,
    key: memory.key,
    async stop() {
      await new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      })
      memory.close()
    },
  }
}

function listen(server: Server, { host, port }: WitnessOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

async function answer(
  memory: Memory,
  options: WitnessOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname } = new URL(request.url ?? '/', 'http://witness')
  if (request.method === 'GET' && pathname.endsWith('/checkpoint')) {
    const origin = decoded(pathname.slice(1, -'/checkpoint'.length))
    const note = origin === undefined ? undefined : memory.note(origin)
    if (note === undefined) return send(response, 404, 'nothing was cosigned of that log')
    const cosignature = cosignNote(note.text, memory.key, memory.privateKey, seconds(options))
    return send(response, 200, formatNote({ ...note, signatures: [...note.signatures, cosignature] }))
  }
  if (pathname !== '/add-checkpoint') return send(response, 404, 'there is only /add-checkpoint')
  if (request.method !== 'POST') return send(response, 405, 'submissions are posted')
  const body = await read(request)
  if (body === undefined) {
    options.onRefused?.(413, 'the submission is too large')
    response.setHeader('connection', 'close')
    return send(response, 413, `a submission has at most ${SUBMISSION_LIMIT} bytes`)
  }
  const submission = parseSubmission(body)
  if (submission === undefined) return send(response, 400, 'that is no submission of a checkpoint')
  const verdict = memory.consider(
    (last) => judge(submission, options.logs, last),
    submission.note,
    options.logs,
  )
  if (verdict.status === 200) {
    options.onPersisted?.()
    const { text } = submission.note
    const cosignature = cosignNote(text, memory.key, memory.privateKey, seconds(options))
    return send(response, 200, formatCosignatures([cosignature]).trimEnd())
  }
  options.onRefused?.(verdict.status, verdict.why, submission.note.text.split('\n')[0])
  if (verdict.status === 409) return send(response, 409, String(verdict.size), SIZE_TYPE)
  return send(response, verdict.status, verdict.why)
}

const seconds = ({ now }: WitnessOptions): number => Math.floor(now() / 1000)

function send(
  response: ServerResponse,
  status: number,
  line: string,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, {
    'content-type': type,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
  response.end(line.endsWith('\n') ? line : `${line}\n`)
}

/** `undefined` for what is too large, of which no more is read. */
async function read(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > SUBMISSION_LIMIT) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined // no origin of a log
  }
}

/** PKCS #8 around an Ed25519 seed of 32 bytes (RFC 8410 §7). */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')

/**
 * The key, its name, and the newest head cosigned of each log. A head is durable before it is cosigned, under a lock that
 * holds between processes too.
 */
class Memory {
  readonly key: VerifierKey
  readonly privateKey: KeyObject
  readonly #db: DatabaseSync

  constructor(folder: string, name: string | undefined) {
    const [keyFile, file] = [join(folder, 'witness.key'), join(folder, 'memory.db')]
    if (existsSync(keyFile) && !existsSync(file)) {
      throw new CliError(
        exit.error,
        `the memory \`${file}\` is gone, but not the key beside it`,
        'a witness that forgot may cosign a contradiction: make a new one in another folder, and trust this one no more',
      )
    }
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    // the memory comes first: a key alone means that its memory was lost
    this.#db = new DatabaseSync(file)
    try {
      this.#db.exec(`PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        CREATE TABLE IF NOT EXISTS witness (name TEXT NOT NULL) STRICT;
        CREATE TABLE IF NOT EXISTS log (
          origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root TEXT NOT NULL, note TEXT NOT NULL
        ) STRICT;
        CREATE TABLE IF NOT EXISTS contradiction (note TEXT PRIMARY KEY, instead TEXT NOT NULL) STRICT;`)
      const known = this.#name(name)
      const { key } = openKeyFile(keyFile)
      this.privateKey = createPrivateKey({
        format: 'der',
        type: 'pkcs8',
        key: Buffer.concat([PKCS8, key.expose()]),
      })
      const { x = '' } = createPublicKey(this.privateKey).export({ format: 'jwk' })
      this.key = verifierKey(known, 'witness', Buffer.from(x, 'base64url'))
    } catch (error) {
      this.#db.close()
      throw error
    }
  }

  /** The name that this witness was made with. */
  #name(given: string | undefined): string {
    const known = this.#db.prepare('SELECT name FROM witness').get()?.['name']
    if (typeof known === 'string') {
      if (given !== undefined && given !== known)
        throw usage(
          `this witness is \`${known}\``,
          'a witness keeps its name; another one needs another folder',
        )
      return known
    }
    if (given === undefined)
      throw usage(
        '`--name` is missing',
        'name the new witness as a URL without scheme, e.g. witness.example.com/writ',
      )
    if (!isKeyName(given)) throw usage(`\`--name ${given}\` has white space or a \`+\``)
    this.#db.prepare('INSERT INTO witness (name) VALUES (?)').run(given)
    return given
  }

  /** Decides on what is remembered and keeps what is accepted, with nothing in between. */
  consider(
    decide: (last: (origin: string) => Witnessed | undefined) => Verdict,
    note: Note,
    logs: readonly VerifierKey[],
  ): Verdict {
    this.#db.exec('BEGIN IMMEDIATE')
    try {
      const verdict = decide((origin) => this.#last(origin))
      if (verdict.status === 200) {
        const { origin, size, root } = verdict.checkpoint
        this.#db
          .prepare('INSERT OR REPLACE INTO log (origin, size, root, note) VALUES (?, ?, ?, ?)')
          .run(origin, size, root, formatNote(signedBy(note, logs)))
      } else if (verdict.status === 409 && verdict.contradiction) {
        // two signed heads that no log can have: proof against whoever holds its key
        const kept = this.#db.prepare('SELECT count(*) AS n FROM contradiction').get()?.['n']
        const [origin = ''] = note.text.split('\n')
        const instead = this.note(origin)
        if (typeof kept === 'number' && kept < CONTRADICTIONS_KEPT && instead !== undefined)
          this.#db
            .prepare('INSERT OR IGNORE INTO contradiction (note, instead) VALUES (?, ?)')
            .run(formatNote(signedBy(note, logs)), formatNote(instead))
      }
      this.#db.exec('COMMIT')
      return verdict
    } catch (error) {
      this.#db.exec('ROLLBACK')
      throw error
    }
  }

  #last(origin: string): Witnessed | undefined {
    const row = this.#db.prepare('SELECT size, root FROM log WHERE origin = ?').get(origin)
    return row === undefined ? undefined : { size: Number(row['size']), root: String(row['root']) }
  }

  /** The newest head of a log as its log signed it. */
  note(origin: string): Note | undefined {
    const row = this.#db.prepare('SELECT note FROM log WHERE origin = ?').get(origin)
    return row === undefined ? undefined : parseNote(String(row['note']))
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close()
  }
}

const CONTRADICTIONS_KEPT = 100

/** Signatures by the log alone: what others added says nothing here and takes room. */
function signedBy(note: Note, logs: readonly VerifierKey[]): Note {
  const signatures = note.signatures.filter((signature) =>
    logs.some((key) => verifyNote({ text: note.text, signatures: [signature] }, key) !== undefined),
  )
  return { ...note, signatures }
}

export type WitnessFlags = Readonly<{
  folder: string
  name?: string
  host: string
  port: string
  log?: readonly string[]
  logs?: string
}>

/** Runs until it is told to stop. */
export async function witness(context: Context, flags: WitnessFlags): Promise<number> {
  const { io } = context
  if (!/^\d{1,5}$/u.test(flags.port) || Number(flags.port) > 65_535)
    throw usage(`\`--port ${flags.port}\` is no port`, 'give 0 to 65535; 0 takes a free one')
  const path = (text: string): string => resolvePath(text, io.cwd, io.home)
  const listed =
    flags.logs === undefined
      ? []
      : readFileSync(path(flags.logs), 'utf8')
          .split('\n')
          .map((line) => line.trim())
          .filter((line) => line !== '' && !line.startsWith('#'))
  const logs = [...(flags.log ?? []), ...listed].map(logKey)
  if (logs.length === 0)
    throw usage(
      '`--log` is missing',
      'give the key of the log, which `writ audit keys` shows; may be repeated',
    )
  const untilStopped = stopper(context)
  const opened = await openWitness({
    folder: path(flags.folder),
    ...(flags.name === undefined ? {} : { name: flags.name }),
    host: flags.host,
    port: Number(flags.port),
    logs,
    now: () => io.now(),
    onRefused: (status, why, origin) =>
      context.note(
        status === 409 || status === 422 ? 'bad' : 'warn',
        `${status} ${origin === undefined ? '' : `${plain(origin)}: `}${plain(why)}`,
      ),
  })
  const key = formatVerifierKey(opened.key)
  context.print(
    { item: { url: opened.url, key, folder: path(flags.folder), pid: process.pid } },
    { lines: [opened.url, key] },
  )
  context.note(
    'info',
    `cosigns ${logs.map(({ name }) => plain(name)).join(', ')}; give the server both lines above`,
  )
  return untilStopped(opened)
}

function logKey(text: string): VerifierKey {
  const key = parseVerifierKey(text)
  if (key?.type !== 'log') throw usage(`\`${text}\` is no key of a log`, '`writ audit keys` shows it')
  return key
}
