/**
 * Asks the configured witnesses (C2SP tlog-witness) to cosign each signed head of the log, and hears from them when the
 * log is not what they saw before. Nothing waits for a witness: neither decisions nor what narrows.
 *
 * @module
 */
import { setTimeout as wait } from 'node:timers/promises'
import type { Checkpoint, Note, VerifierKey } from '../audit/note.ts'
import {
  formatNote,
  formatVerifierKey,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  verifyNote,
} from '../audit/note.ts'
import { Prover } from '../audit/proofs.ts'
import { formatSubmission, parseCosignatures, parseSize } from '../audit/witness.ts'
import { WritError } from '../model/errors.ts'
import type { Instant, Millis } from '../model/time.ts'
import type { FlowDeps } from './deps.ts'
import type { Transparency } from './transparency.ts'

export type WitnessConfig = Readonly<{ url: string; key: string }>

/** How one witness stands to the log. */
export type WitnessState = Readonly<{
  name: string
  url: string
  key: string
  /** The newest head that it cosigned, and when, as it says itself. */
  cosigned?: Readonly<{ size: number; at: Instant }>
  /** Why it did not cosign the newest head; absent when it did, or is being asked. */
  problem?: string
  /** It remembers another history than this log has. */
  contradicts?: true
}>

const FIRST_RETRY: Millis = 1_000
const LAST_RETRY: Millis = 60_000
const TIMEOUT: Millis = 10_000
/** What a start waits for what witnesses remember. */
const AT_START: Millis = 3_000
/** Of an answer; a note with its signatures is the largest. */
const ANSWER_MOST = 16_384

/** What a witness says against this log: it will cosign nothing more. */
class Contradiction extends Error {
  /** What it cosigned last. */
  readonly size: number

  constructor(size: number, message: string) {
    super(message)
    this.size = size
  }
}

export class Witnesses {
  readonly #deps: FlowDeps
  readonly #log: Transparency
  readonly #peers: readonly Peer[]
  readonly #stopping = new AbortController()
  #unsubscribe: (() => void) | undefined

  /** @throws {WritError} `ERR_CONFIG_INVALID` for a key that is none, or the same witness twice. */
  constructor(deps: FlowDeps, log: Transparency) {
    this.#deps = deps
    this.#log = log
    const prover = new Prover(deps.store.log)
    const signal = this.#stopping.signal
    this.#peers = (deps.witnesses ?? []).map(
      ({ url, key }) => new Peer({ deps, log, prover, url, key: witnessKey(key), signal }),
    )
    const names = new Set(this.#peers.map(({ key }) => key.name))
    const keys = new Set(this.#peers.map(({ key }) => Buffer.from(key.raw).toString('hex')))
    if (names.size < this.#peers.length || keys.size < this.#peers.length)
      throw new WritError('ERR_CONFIG_INVALID', '`log.witnesses`: one witness is named twice', {
        hint: 'each has a name and a key of its own',
      })
  }

  /**
   * The heads that witnesses hold of this log, signed by it and cosigned by them: what was signed here once, whatever
   * the data says now. Those that do not answer soon are left out.
   */
  async remembered(origin: string): Promise<readonly Checkpoint[]> {
    const keys = this.#log.keys().keys.map(({ vkey }) => parseVerifierKey(vkey))
    const heads = await Promise.all(
      this.#peers.map((peer) =>
        peer.remembered(
          origin,
          keys.filter((key) => key !== undefined),
        ),
      ),
    )
    return heads.filter((head) => head !== undefined)
  }

  /** Submits every head that is signed from now on, and the newest one at once. */
  start(): void {
    if (this.#peers.length === 0 || this.#stopping.signal.aborted) return
    this.#unsubscribe = this.#log.onSigned((note) => {
      for (const peer of this.#peers) peer.offer(note)
    })
    this.#log.checkpoint().then(
      (note) => {
        for (const peer of this.#peers) peer.offer(note)
      },
      (error: unknown) => this.#deps.log('error', 'the log could not be signed for its witnesses', { error }),
    )
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.()
    this.#stopping.abort()
    await Promise.all(this.#peers.map((peer) => peer.idle()))
  }

  states(): readonly WitnessState[] {
    return this.#peers.map((peer) => peer.state())
  }

  problems(): readonly string[] {
    return this.states().flatMap(({ name, problem }) =>
      problem === undefined ? [] : [`witness \`${name}\` ${problem}`],
    )
  }
}

type PeerOptions = Readonly<{
  deps: FlowDeps
  log: Transparency
  prover: Prover
  url: string
  key: VerifierKey
  signal: AbortSignal
}>

/** One witness: asked about one head at a time, the newest. */
class Peer {
  readonly key: VerifierKey
  readonly #options: PeerOptions
  #next: string | undefined
  #working: Promise<void> | undefined
  /** What it cosigned last, as far as is known. */
  #size = 0
  #cosigned: WitnessState['cosigned']
  #problem: string | undefined
  #contradicts = false
  /** Contradictions that are on the record: one entry for each, whatever how often it is asked. */
  readonly #recorded = new Set<number>()

  constructor(options: PeerOptions) {
    this.#options = options
    this.key = options.key
  }

  state(): WitnessState {
    const { url, key } = this.#options
    return {
      name: key.name,
      url,
      key: formatVerifierKey(key),
      ...(this.#cosigned === undefined ? {} : { cosigned: this.#cosigned }),
      ...(this.#problem === undefined ? {} : { problem: this.#problem }),
      ...(this.#contradicts ? { contradicts: true } : {}),
    }
  }

  offer(note: string): void {
    this.#next = note
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined
    })
  }

  async idle(): Promise<void> {
    await this.#working
  }

  async #work(): Promise<void> {
    const { deps, signal } = this.#options
    for (let failures = 0; this.#next !== undefined && !signal.aborted;) {
      const note = this.#next
      try {
        await this.#submit(note)
        failures = 0
        this.#problem = undefined
        this.#contradicts = false
        if (this.#next === note) this.#next = undefined
      } catch (error) {
        if (signal.aborted) return
        await this.#failed(error)
        failures += 1
        const most =
          error instanceof Contradiction ? LAST_RETRY : FIRST_RETRY * 2 ** Math.min(failures - 1, 10)
        const pause = Math.min(most, LAST_RETRY) * (0.5 + deps.jitter() / 2)
        try {
          await wait(pause, undefined, { signal, ref: false })
        } catch {
          return // it is being stopped
        }
      }
    }
  }

  async #failed(error: unknown): Promise<void> {
    const { deps, key, url } = this.#options
    const sentence = error instanceof Error ? error.message : 'did not answer'
    const isNew = this.#problem !== sentence
    this.#problem = sentence
    if (!(error instanceof Contradiction)) {
      if (isNew) deps.log('warn', `witness ${sentence}`, { witness: key.name, url })
      return
    }
    this.#contradicts = true
    if (isNew) deps.log('error', `witness ${sentence}`, { witness: key.name, url })
    if (this.#recorded.has(error.size)) return
    this.#recorded.add(error.size)
    try {
      const head = await deps.store.log.head()
      await deps.store.commit({
        reads: [],
        run: (tx) =>
          tx.append({
            kind: 'witness.contradicts',
            refs: [],
            witness: key.name,
            why: sentence,
            cosigned: error.size,
            head: { size: head.size, root: head.root },
          }),
      })
    } catch (cause) {
      this.#recorded.delete(error.size)
      deps.log('error', 'what a witness said against the log is not on the record', { error: cause })
    }
  }

  /** Until it cosigned the head, or one that was signed after it. */
  async #submit(offered: string): Promise<void> {
    const { deps, log } = this.#options
    let note = signedNote(offered)
    // it may have cosigned heads that this process knows nothing of
    for (let tries = 0; tries < 3; tries++) {
      const { size, root } = note.checkpoint
      const old = Math.min(this.#size, size)
      const proof = old === 0 || old === size ? [] : await this.#options.prover.consistency(old, size)
      const answer = await this.#post(formatSubmission({ old, proof, note: note.note }))
      switch (answer.status) {
        case 200:
          return this.#took(note, answer.body)
        case 403:
          throw new Error('does not trust the key that this log signs with: give it the new one')
        case 404:
          throw new Error(`does not know the log \`${note.checkpoint.origin}\`: give it the key of the log`)
        case 409: {
          const theirs = parseSize(answer.body)
          if (theirs === undefined) throw new Error('answered with a conflict that says nothing')
          if (theirs === old && old === size)
            throw new Contradiction(theirs, `cosigned another root than ${root} at size ${size}`)
          const head = await deps.store.log.head()
          if (theirs > head.size)
            throw new Contradiction(
              theirs,
              `cosigned ${theirs} entries of this log, which has ${head.size}: it was put back to an earlier state`,
            )
          this.#size = theirs
          if (theirs > size) note = signedNote(await log.checkpoint({ atLeast: theirs }))
          continue
        }
        case 422:
          throw new Contradiction(old, `remembers another history of the first ${old} entries of this log`)
        default:
          throw new Error(`answered with status ${answer.status}`)
      }
    }
    throw new Error('is asked about this log by somebody else at the same time')
  }

  #took({ note, checkpoint }: SignedHead, body: string): void {
    const { key, log } = this.#options
    const cosignatures = parseCosignatures(body, note.text, [key])
    const at = verifyNote({ text: note.text, signatures: cosignatures }, key)?.at
    if (at === undefined) throw new Error('answered with no cosignature of its key')
    this.#size = checkpoint.size
    this.#cosigned = { size: checkpoint.size, at: at * 1_000 }
    log.addCosignatures(formatNote({ text: note.text, signatures: cosignatures }))
  }

  async #post(body: string): Promise<{ status: number; body: string }> {
    const { url, signal } = this.#options
    const limit = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)])
    return answerOf(
      fetch(urlOf(url, 'add-checkpoint'), {
        method: 'POST',
        body,
        headers: { 'content-type': 'text/plain; charset=utf-8' },
        redirect: 'error',
        signal: limit,
      }),
    )
  }

  /** The head that it holds, if it answers soon, and the head is signed by a key of the log and cosigned by its own. */
  async remembered(origin: string, keys: readonly VerifierKey[]): Promise<Checkpoint | undefined> {
    const { deps, url, key } = this.#options
    try {
      const { status, body } = await answerOf(
        fetch(urlOf(url, `${encodeURIComponent(origin)}/checkpoint`), {
          redirect: 'error',
          signal: AbortSignal.timeout(AT_START),
        }),
      )
      // a witness need not show what it holds
      if (status !== 200) return undefined
      const { note, checkpoint } = signedNote(body)
      const isOurs = keys.some((it) => it.name === origin && verifyNote(note, it) !== undefined)
      if (!isOurs || checkpoint.origin !== origin || verifyNote(note, key) === undefined)
        throw new Error('shows a head that is not signed by this log and itself')
      return checkpoint
    } catch (error) {
      deps.log('warn', 'what a witness remembers of the log is not known at this start', {
        witness: key.name,
        url,
        error,
      })
      return undefined
    }
  }
}

type SignedHead = Readonly<{ note: Note; checkpoint: Checkpoint }>

function signedNote(text: string): SignedHead {
  const note = parseNote(text)
  const checkpoint = note === undefined ? undefined : parseCheckpoint(note.text)
  if (note === undefined || checkpoint === undefined) throw new Error('shows something that is no checkpoint')
  return { note, checkpoint }
}

/** @throws {Error} with a sentence that follows the name of the witness. */
async function answerOf(asked: Promise<Response>): Promise<{ status: number; body: string }> {
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    const response = await asked
    const body: AsyncIterable<Uint8Array> | readonly Uint8Array[] = response.body ?? []
    for await (const chunk of body) {
      size += chunk.length
      if (size > ANSWER_MOST) break
      chunks.push(chunk)
    }
    if (size <= ANSWER_MOST) return { status: response.status, body: Buffer.concat(chunks).toString('utf8') }
  } catch (cause) {
    throw new Error('cannot be reached', { cause })
  }
  throw new Error('answers with more than any witness has to say')
}

const urlOf = (prefix: string, path: string): string => `${prefix.replace(/\/+$/u, '')}/${path}`

function witnessKey(text: string): VerifierKey {
  const key = parseVerifierKey(text)
  if (key?.type === 'witness') return key
  throw new WritError('ERR_CONFIG_INVALID', `\`log.witnesses\`: \`${text}\` is no key of a witness`, {
    hint: '`writ witness` prints it: `name+0a1b2c3d+base64`',
  })
}
