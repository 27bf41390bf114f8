/**
 * The client's memory of the log: the newest checkpoint that it has seen and the key that signed it. A log that does not
 * continue what is remembered is refused, because whoever owns a server can rewrite all of its log, but not what others
 * remember of it.
 *
 * @module
 */
import type { LogKey, SignedHead } from './checkpoint.ts'
import { isContinued, isSignedBy, parseCheckpoint, parseEndorsement, parseLogKey } from './checkpoint.ts'
import { WritClientError, isWritClientError } from './error.ts'
import type { Transport } from './http.ts'

/**
 * Keeps what is remembered, e.g. in a file or in `localStorage`: a text that means nothing to whoever keeps it, by the
 * URL of its server. Without one the client remembers as long as it lives.
 */
export type CheckpointMemory = Readonly<{
  get(server: string): string | undefined | Promise<string | undefined>
  set(server: string, remembered: string): void | Promise<void>
}>

export type LogOptions = Readonly<{
  /** The key that signs the log, `name+0a1b2c3d+base64`; by default the one of the first checkpoint seen. */
  key?: string | undefined
  memory?: CheckpointMemory | undefined
}>

/** A verified head of the log; `root` in lowercase hex, `note` with all its signatures, `key` that of the log. */
export type Checkpoint = Readonly<{ origin: string; size: number; root: string; note: string; key: string }>

/** A key of the log as the server lists it. */
export type LogKeyInfo = Readonly<{
  vkey: string
  origin: string
  epoch: number
  state: 'current' | 'retired' | 'compromised'
  /** Checkpoints of these sizes by it are believed, both included. */
  from: number
  until?: number
  /** The word of a key for the one that took over from it, a signed note. */
  endorsement?: string
}>

export type LogKeys = Readonly<{ origin: string; epoch: number; keys: readonly (LogKeyInfo & LogKeyDates)[] }>
type LogKeyDates = Readonly<{ id: string; created_at: string; retired_at?: string }>

export type KeyRotation = Readonly<{
  use?: 'log' | 'artifact' | 'token' | 'signal'
  compromised?: boolean
  reason?: string
}>
export type KeyRotated = Readonly<{
  use: 'log' | 'artifact' | 'token' | 'signal'
  before: string
  id: string
  /** The last size up to which the old key is believed. */
  until: number
  vkey?: string
  endorsement?: string
  checkpoint?: string
}>

/** Reads of the record this soon after a check rely on it, in milliseconds. */
const CHECK_EVERY = 3_000
/** Rotations that are followed at once. */
const ROTATIONS_MOST = 64

type Remembered = Readonly<{ key: LogKey; head: SignedHead; note: string }>

export class LogMemory {
  readonly #transport: Transport
  readonly #pinned: string | undefined
  readonly #memory: CheckpointMemory
  readonly #now: () => number
  #turn: Promise<unknown> = Promise.resolve()
  #checkedAt = Number.NEGATIVE_INFINITY

  constructor(transport: Transport, options: LogOptions, now: () => number) {
    const kept = new Map<string, string>()
    this.#transport = transport
    this.#pinned = options.key
    this.#memory = options.memory ?? {
      get: (server) => kept.get(server),
      set: (server, remembered) => void kept.set(server, remembered),
    }
    this.#now = now
  }

  /** Before a read of the record: checks the log, unless it was checked a moment ago. */
  async check(): Promise<void> {
    const passed = this.#now() - this.#checkedAt
    if (passed < 0 || passed >= CHECK_EVERY) await this.checkpoint()
  }

  /**
   * The newest checkpoint, verified to continue the one remembered, and remembered from now on.
   *
   * @throws {WritClientError} `ERR_LOG_CONTRADICTED` for a log that does not; `ERR_LOG_KEY` for one whose key is not
   * trusted; `ERR_UNSUPPORTED` where nothing can be verified.
   */
  checkpoint(): Promise<Checkpoint> {
    // one after the other: an answer that was overtaken by a newer one would look like a log that lost entries
    const mine = this.#turn.then(() => this.#look())
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  async #look(): Promise<Checkpoint> {
    const server = this.#transport.url
    const before = await this.#read(server)
    const note = await this.#text('/log/checkpoint')
    const head = parseCheckpoint(note)
    if (head === undefined) throw protocol('what the server gives as its checkpoint is none')
    const key = await this.#keyOf(head, before)
    if (before !== undefined) await this.#compare(before, head)
    // another process with this memory may have seen more meanwhile
    const current = await this.#read(server)
    const isNewer = current?.head.origin !== head.origin || current.head.size <= head.size
    if (isNewer) await this.#memory.set(server, JSON.stringify({ key: key.text, note }))
    this.#checkedAt = this.#now()
    return { origin: head.origin, size: head.size, root: head.root, note, key: key.text }
  }

  async #compare({ head: before }: Remembered, head: SignedHead): Promise<void> {
    if (before.origin !== head.origin) {
      throw contradicted(
        `the log \`${before.origin}\` was seen here before, and now it is \`${head.origin}\``,
        'a new epoch begins when a backup was restored; its entry `epoch.began` says why, and what was lost',
      )
    }
    if (head.size < before.size)
      throw contradicted(
        `the log has ${head.size} entries, and ${before.size} were seen before`,
        'entries are gone: the data of the server was put back to an earlier state',
      )
    let proof: readonly string[] = []
    if (head.size > before.size && before.size > 0) proof = await this.#proof(before.size, head.size)
    if (!(await isContinued(before.size, before.root, head.size, head.root, proof)))
      throw contradicted(
        `the first ${before.size} entries of the log are not those seen before`,
        'the log was rewritten, or shows you another history than others',
      )
  }

  async #proof(from: number, to: number): Promise<readonly string[]> {
    let body: unknown
    try {
      body = (await this.#transport.call({ method: 'GET', path: '/v1/log/consistency', query: { from, to } }))
        .body
    } catch (error) {
      if (!isWritClientError(error, 'ERR_INPUT_INVALID', 'ERR_NOT_FOUND')) throw error
      throw contradicted(
        `the server cannot prove that the log continues the ${from} entries seen before`,
        'the log was rewritten, or its data put back to an earlier state',
        error,
      )
    }
    const proof = (body as { path?: unknown } | undefined)?.path
    if (!Array.isArray(proof) || !proof.every((it) => typeof it === 'string'))
      throw protocol('the answer holds no consistency proof')
    return proof
  }

  /** The key that signed the head: the one that is trusted, or one that it handed over to. */
  async #keyOf(head: SignedHead, before: Remembered | undefined): Promise<LogKey> {
    const pinned = this.#pinned === undefined ? undefined : await parseLogKey(this.#pinned)
    if (this.#pinned !== undefined && pinned === undefined)
      throw new WritClientError('ERR_INPUT_INVALID', '`log.key` is no key of a log', {
        hint: '`writ audit keys` shows it: `name+0a1b2c3d+base64`',
      })
    const trusted = pinned ?? before?.key
    if (trusted !== undefined && trusted.name !== head.origin) {
      if (before !== undefined) await this.#compare(before, head)
      throw contradicted(
        `the key is that of the log \`${trusted.name}\`, and this one is \`${head.origin}\``,
        'a new epoch begins when a backup was restored; then pin the key of the new one',
      )
    }
    if (trusted !== undefined && (await isSignedBy(head, trusted))) return trusted
    const { body } = await this.#transport.call({ method: 'GET', path: '/v1/log/keys' })
    const listed = (body as { keys?: unknown } | undefined)?.keys
    if (!Array.isArray(listed) || listed.length > 1_000) throw protocol('the answer holds no keys')
    const keys = (listed as LogKeyInfo[]).filter(({ origin }) => origin === head.origin)
    if (trusted !== undefined) return this.#follow(trusted, keys, head)
    for (const { vkey, state, until } of keys) {
      const key = await parseLogKey(vkey)
      if (key === undefined || state === 'compromised' || key.name !== head.origin) continue
      if (until !== undefined && head.size > until) continue
      if (await isSignedBy(head, key)) return key
    }
    throw untrusted('no key of the server signed its checkpoint')
  }

  /** From the trusted key over each rotation that the key before endorsed. */
  async #follow(trusted: LogKey, listed: readonly LogKeyInfo[], head: SignedHead): Promise<LogKey> {
    let at = trusted
    for (let rotations = 0; rotations < ROTATIONS_MOST; rotations++) {
      if (listed.some(({ vkey, state }) => vkey === at.text && state === 'compromised')) {
        throw untrusted(
          'the key that is trusted here is compromised: nothing that it endorsed can be believed',
        )
      }
      let next: LogKey | undefined
      for (const { endorsement } of listed) {
        if (endorsement !== undefined) next ??= await parseEndorsement(endorsement, at)
      }
      if (next === undefined) break
      at = next
      if (await isSignedBy(head, at)) return at
    }
    throw untrusted('the checkpoint is signed by no key that is trusted here, or that such a key endorsed')
  }

  async #read(server: string): Promise<Remembered | undefined> {
    const text = await this.#memory.get(server)
    if (text === undefined) return undefined
    const broken = (cause?: unknown): WritClientError =>
      new WritClientError('ERR_INPUT_INVALID', 'what is remembered of the log is damaged', {
        hint: 'it is a memory of what this server showed before; remove it only if you know why it broke',
        cause,
      })
    let parsed: { key?: unknown; note?: unknown }
    try {
      parsed = JSON.parse(text) as typeof parsed
    } catch (error) {
      throw broken(error)
    }
    const note = typeof parsed.note === 'string' ? parsed.note : ''
    const head = parseCheckpoint(note)
    const key = typeof parsed.key === 'string' ? await parseLogKey(parsed.key) : undefined
    if (head === undefined || key === undefined) throw broken()
    return { key, head, note }
  }

  async #text(path: string): Promise<string> {
    const { body } = await this.#transport.call({ method: 'GET', path, accept: 'text/plain', text: true })
    return body as string
  }
}

const protocol = (message: string): WritClientError => new WritClientError('ERR_PROTOCOL', message)

const contradicted = (message: string, hint: string, cause?: unknown): WritClientError =>
  new WritClientError('ERR_LOG_CONTRADICTED', message, { hint, cause })

const untrusted = (message: string): WritClientError =>
  new WritClientError('ERR_LOG_KEY', message, {
    hint: 'ask the operator for the key over another way, and pin it as `log.key`',
  })
