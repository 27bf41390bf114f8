/**
 * The log as outsiders check it: signed checkpoints, one after the other and never one that contradicts an earlier one;
 * the keys that sign them; and its publication as files.
 *
 * @module
 */
import type { Signer } from '../model/signer.ts'
import type { Instant } from '../model/time.ts'
import { WritError } from '../model/errors.ts'
import type { Checkpoint, NoteSignature, VerifierKey } from '../audit/note.ts'
import {
  formatCheckpoint,
  formatNote,
  formatVerifierKey,
  parseNote,
  signNote,
  verifierKey,
} from '../audit/note.ts'
import type { LogHead } from '../store/port.ts'
import type { FlowDeps } from './deps.ts'
import type { Signers, Signing } from './signers.ts'
import { epochOf } from './signers.ts'

/**
 * What was signed last, kept where the data folder's owner has to lay hands on it separately: a data folder that does
 * not continue it was put back from a copy.
 */
export type Mark = Checkpoint & Readonly<{ installation: string; epoch: number }>

/** Where the mark is kept. */
export interface Marks {
  /** `undefined` when there is none, or none that can be understood. */
  read(): Promise<Mark | undefined>
  /** Resolves when it is durable. */
  write(mark: Mark): Promise<void>
}

/** A key that has signed checkpoints, as outsiders see it. */
export type LogKey = Readonly<{
  id: string
  /** `origin+key id+base64`, what `writ audit verify --key` takes. */
  vkey: string
  origin: string
  epoch: number
  state: 'current' | 'retired' | 'compromised'
  /** Checkpoints of these sizes by it are believed, both included. */
  from: number
  until?: number
  createdAt: Instant
  retiredAt?: Instant
}>

export type LogKeys = Readonly<{ origin: string; epoch: number; keys: readonly LogKey[] }>

/** Signed checkpoints to which witnesses may still add their cosignatures. */
const KEPT = 64
/** Cosignatures on one checkpoint. */
const MOST_COSIGNATURES = 32
/** How often a log that grew is signed by itself. */
const SIGN_EVERY = 1_000

type Signed = Readonly<{ checkpoint: Checkpoint; text: string; own: readonly NoteSignature[] }> & {
  cosignatures: readonly NoteSignature[]
}

/** The name of a log: epochs are logs of their own to whoever keeps checkpoints. */
export function originOf(installation: string, epoch: number): string {
  return epoch === 1 ? `writ/${installation}` : `writ/${installation}/${epoch}`
}

export class Transparency {
  readonly #deps: FlowDeps
  readonly #signers: Signers
  readonly #signed = new Map<number, Signed>()
  readonly #listeners = new Set<(checkpoint: string) => void>()
  #epoch = 1
  #mark: Mark | undefined
  #latest: Signed | undefined
  #cosigned: Signed | undefined
  /** The end of the queue of those who sign or change keys. */
  #turn: Promise<unknown> = Promise.resolve()
  #next: Promise<Signed> | undefined
  #problem: string | undefined
  #timer: NodeJS.Timeout | undefined
  #ticking: Promise<void> | undefined
  #stopped = false

  constructor(deps: FlowDeps, signers: Signers) {
    this.#deps = deps
    this.#signers = signers
  }

  /** After a start: what epoch it is, and what was signed last. */
  async recover(): Promise<void> {
    const view = await this.#deps.store.read([{ kind: 'meta', id: 'epoch' }])
    this.#epoch = epochOf(view.get('meta', 'epoch')?.value)
    this.#mark = await this.#deps.marks.read()
  }

  get epoch(): number {
    return this.#epoch
  }

  /** The name of the log, in the first line of its checkpoints. */
  origin(): string {
    return originOf(this.#deps.decision.installation, this.#epoch)
  }

  /** Every key that has signed checkpoints, the oldest first. */
  keys(): LogKeys {
    const keys = this.#signers.all('log').map((signer): LogKey => {
      const { id, epoch = 1, fromSize, untilSize, createdAt, retiredAt, compromised } = signer
      const key = this.#verifierKey(signer)
      return {
        id,
        vkey: formatVerifierKey(key),
        origin: key.name,
        epoch,
        state: compromised === true ? 'compromised' : retiredAt === undefined ? 'current' : 'retired',
        from: fromSize,
        ...(untilSize === undefined ? {} : { until: untilSize }),
        createdAt,
        ...(retiredAt === undefined ? {} : { retiredAt }),
      }
    })
    return { origin: this.origin(), epoch: this.#epoch, keys }
  }

  /**
   * A signed note over the head of the log, or over the newest signed one that has `atLeast` entries, with the
   * cosignatures so far. Calls at the same time share one signature.
   *
   * @throws {WritError} `ERR_INPUT_INVALID` if the log is not that long; `ERR_STORE_CORRUPT` if it does not continue
   *   what was signed before.
   */
  async checkpoint(options: { atLeast?: number } = {}): Promise<string> {
    const head = await this.#deps.store.log.head()
    const wanted = options.atLeast ?? head.size
    if (wanted > head.size) {
      throw new WritError('ERR_INPUT_INVALID', `the log has ${head.size} entries, not ${wanted}`)
    }
    for (;;) {
      if (this.#latest !== undefined && this.#latest.checkpoint.size >= wanted) return noteOf(this.#latest)
      await (this.#next ??= this.#exclusively(() => {
        this.#next = undefined
        return this.#signHead()
      }))
    }
  }

  /** The newest checkpoint that a witness has cosigned. */
  cosigned(): string | undefined {
    return this.#cosigned === undefined ? undefined : noteOf(this.#cosigned)
  }

  /** Called with every new signed note. Returns the unsubscribe function. */
  onSigned(listener: (checkpoint: string) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * Adds the cosignatures of `note`, which the caller has verified, to the checkpoint that it is about; those of
   * checkpoints that are not remembered any more are dropped. Returns how many are new.
   */
  addCosignatures(note: string): number {
    const parsed = parseNote(note)
    const signed = [...this.#signed.values()].find(({ text }) => text === parsed?.text)
    if (parsed === undefined || signed === undefined) return 0
    const origins = new Set(this.keys().keys.map(({ origin }) => origin))
    const known = new Set(signed.cosignatures.map(({ name, id }) => `${name} ${id}`))
    const added = parsed.signatures
      .filter(({ name, id }) => !origins.has(name) && !known.has(`${name} ${id}`))
      .slice(0, MOST_COSIGNATURES - signed.cosignatures.length)
    signed.cosignatures = [...signed.cosignatures, ...added]
    if (added.length > 0 && signed.checkpoint.size >= (this.#cosigned?.checkpoint.size ?? 0)) {
      this.#cosigned = signed
    }
    return added.length
  }

  /** Signs by itself from now on, about once a second when the log has grown. */
  start(): void {
    if (this.#stopped) return
    this.#timer = setTimeout(() => {
      void this.tick().finally(() => this.start())
    }, SIGN_EVERY)
    this.#timer.unref()
  }

  /** Signs and publishes what is new. Never throws: what went wrong is among the problems until it goes right. */
  async tick(): Promise<void> {
    await this.#ticking
    this.#ticking = this.#work().finally(() => {
      this.#ticking = undefined
    })
    await this.#ticking
  }

  /** Signs the last of it; resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.tick()
    await this.#turn
  }

  problems(): readonly string[] {
    return this.#problem === undefined ? [] : [this.#problem]
  }

  async #work(): Promise<void> {
    try {
      await this.checkpoint()
      this.#problem = undefined
    } catch (error) {
      const sentence = error instanceof Error ? error.message : 'unknown'
      if (this.#problem === undefined) this.#deps.log('error', 'the log could not be signed', { error })
      this.#problem = `the log is not signed since: ${sentence}`
    }
  }

  async #signHead(): Promise<Signed> {
    const head = await this.#deps.store.log.head()
    if (this.#latest !== undefined && this.#latest.checkpoint.size >= head.size) return this.#latest
    return this.#sign(head, [this.#signers.current('log')])
  }

  /** Only within `#exclusively`: what is signed, and what has been signed, must not change meanwhile. */
  async #sign({ size, root }: LogHead, signings: readonly Signing[]): Promise<Signed> {
    const origin = this.origin()
    const checkpoint: Checkpoint = { origin, size, root }
    const text = formatCheckpoint(checkpoint)
    // durable before anybody can hold it: whoever holds a checkpoint can rely on its being remembered here
    const mark: Mark = {
      installation: this.#deps.decision.installation,
      epoch: this.#epoch,
      origin,
      size,
      root,
    }
    const { epoch, size: before, root: rootBefore } = this.#mark ?? {}
    if (epoch !== mark.epoch || before !== size || rootBefore !== root) await this.#deps.marks.write(mark)
    this.#mark = mark
    const own = signings.map(({ signer, privateKey }) =>
      signNote(text, this.#verifierKey(signer), privateKey),
    )
    const signed: Signed = { checkpoint, text, own, cosignatures: [] }
    this.#latest = signed
    this.#signed.set(size, signed)
    for (const old of this.#signed.keys()) {
      if (this.#signed.size <= KEPT) break
      this.#signed.delete(old)
    }
    const note = noteOf(signed)
    for (const listener of this.#listeners) listener(note)
    return signed
  }

  #verifierKey(signer: Signer): VerifierKey {
    const name = originOf(this.#deps.decision.installation, signer.epoch ?? 1)
    return verifierKey(name, 'log', Buffer.from(signer.public['x'] as string, 'base64url'))
  }

  /** One after the other; a failure is its caller's alone. */
  async #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work)
    this.#turn = mine.catch(() => undefined)
    return mine
  }
}

const noteOf = ({ text, own, cosignatures }: Signed): string =>
  formatNote({ text, signatures: [...own, ...cosignatures] })
