/**
 * The log as outsiders check it: signed checkpoints, one after the other and never one that contradicts an earlier one;
 * the keys that sign them; and its publication as files.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { setImmediate as breathe } from 'node:timers/promises'
import type { Caller } from '../model/access.ts'
import type { Signer, SignerUse } from '../model/signer.ts'
import type { Instant } from '../model/time.ts'
import { WritError, isWritError } from '../model/errors.ts'
import type { Checkpoint, NoteSignature, VerifierKey } from '../audit/note.ts'
import {
  formatCheckpoint,
  formatEndorsement,
  formatNote,
  formatVerifierKey,
  parseNote,
  signNote,
  verifierKey,
} from '../audit/note.ts'
import { Prover } from '../audit/proofs.ts'
import type { TileRef } from '../audit/tiles.ts'
import { TILE_WIDTH, encodeBundle, isWithin } from '../audit/tiles.ts'
import { hex } from '../store/hash.ts'
import type { LogHead } from '../store/port.ts'
import { isPruned } from '../store/port.ts'
import type { Attempts } from './attempts.ts'
import { parseEntry } from './attempts.ts'
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
  /** Its word for the key that took over, a signed note. */
  endorsement?: string
}>

export type LogKeys = Readonly<{ origin: string; epoch: number; keys: readonly LogKey[] }>

export type Inclusion = Readonly<{
  seq: number
  size: number
  leaf: Uint8Array
  path: readonly Uint8Array[]
  root: Uint8Array
}>

export type Consistency = Readonly<{
  from: number
  to: number
  path: readonly Uint8Array[]
  /** At `from` and at `to`. */
  roots: readonly [Uint8Array, Uint8Array]
}>

export type Rotation = Readonly<{
  use: SignerUse
  before: string
  id: string
  /** The last size up to which the old key is believed. */
  until: number
  vkey?: string
  /** The old key's word for the new one, a signed note. */
  endorsement?: string
  /** The first checkpoint of the new key; the old one signed it too, unless it is compromised. */
  checkpoint?: string
}>

/** Signed checkpoints to which witnesses may still add their cosignatures. */
const KEPT = 64
/** Cosignatures on one checkpoint. */
const MOST_COSIGNATURES = 32
/** How often a log that grew is signed by itself. */
const SIGN_EVERY = 1_000
/** Steps of publication in each round. */
const STEPS = 8
/** Prunings that are looked at again after a start. */
const LAST_PRUNINGS = 16

type Signed = Readonly<{ checkpoint: Checkpoint; text: string; own: readonly NoteSignature[] }> & {
  cosignatures: readonly NoteSignature[]
}

/** The name of a log: epochs are logs of their own to whoever keeps checkpoints. */
export function originOf(installation: string, epoch: number): string {
  return epoch === 1 ? `writ/${installation}` : `writ/${installation}/${epoch}`
}

export class Transparency {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  readonly #signers: Signers
  readonly #prover: Prover
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
  /** Entries that are pruned and still among the files. */
  readonly #pruned = new Set<number>()
  #stopped = false

  constructor(deps: FlowDeps, parts: Readonly<{ attempts: Attempts; signers: Signers }>) {
    this.#deps = deps
    this.#attempts = parts.attempts
    this.#signers = parts.signers
    this.#prover = new Prover(deps.store.log)
  }

  /** After a start: what epoch it is, what was signed last, and the last words that a key still owes. */
  async recover(): Promise<void> {
    const { store, marks } = this.#deps
    const view = await store.read([{ kind: 'meta', id: 'epoch' }])
    const record = view.get('meta', 'epoch')?.value
    this.#epoch = epochOf(record)
    const mark = await marks.read()
    this.#mark = mark?.epoch === this.#epoch ? mark : undefined
    await this.#lastWords()
    if (this.#mark === undefined) await this.checkpoint()
    if (this.#deps.files !== undefined) await this.#forgetLast()
    if (record?.['marked'] === true) return
    // only now that there is one: a mark that is missing later was taken away
    await store.commit({
      reads: [{ kind: 'meta', id: 'epoch' }],
      run: (tx) => {
        const known = tx.get('meta', 'epoch')?.value ?? { number: this.#epoch }
        tx.put('meta', 'epoch', { ...known, marked: true })
      },
    })
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
      const { id, epoch = 1, fromSize, untilSize, createdAt, retiredAt, compromised, endorsement } = signer
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
        ...(endorsement === undefined ? {} : { endorsement }),
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

  /**
   * The newest checkpoint there can be: of the head, or, while its mark cannot be written (a full disk), the one that was
   * signed last, which is still true. Nobody is kept from reading the record by what keeps it from being signed.
   */
  async newest(): Promise<string> {
    try {
      return await this.checkpoint()
    } catch (error) {
      if (!isWritError(error, 'ERR_STORE_FULL', 'ERR_CONFIG_INVALID')) throw error
      const last = this.#latest ?? (await this.#exclusively(() => this.#signLast()))
      if (last === undefined) throw error
      return noteOf(last)
    }
  }

  /** After a start: what was signed last once more, which changes no mark. */
  async #signLast(): Promise<Signed | undefined> {
    const current = this.#signers.current('log')
    if (this.#latest !== undefined) return this.#latest
    // a key that took over signs nothing of before
    if (this.#mark === undefined || this.#mark.size < current.signer.fromSize) return undefined
    return this.#sign({ size: this.#mark.size, root: this.#mark.root }, [current])
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

  /**
   * Shows that the log held entry `seq` when it had `size` entries: leaf hash, path (nearest first) and root.
   *
   * @throws {WritError} `ERR_INPUT_INVALID` if it never did.
   */
  async inclusion(seq: number, size: number): Promise<Inclusion> {
    await this.#require(seq, size - 1, '`seq` must be that of an entry among the first `size`')
    await this.#require(size, (await this.#deps.store.log.head()).size, '`size` is more than the log has')
    const [leaf] = await this.#deps.store.log.hashes(0, seq, seq + 1)
    if (leaf === undefined) throw new WritError('ERR_NOT_FOUND', `there is no entry ${seq}`)
    const [path, root] = [await this.#prover.inclusion(seq, size), await this.#prover.root(size)]
    return { seq, size, leaf, path, root }
  }

  /**
   * Shows that the log at size `to` continues what it was at `from`.
   *
   * @throws {WritError} `ERR_INPUT_INVALID` if it never had these sizes.
   */
  async consistency(from: number, to: number): Promise<Consistency> {
    await this.#require(from, to, '`from` must not be more than `to`')
    await this.#require(to, (await this.#deps.store.log.head()).size, '`to` is more than the log has')
    // every log continues the empty one, which needs no showing
    const path = from === 0 ? [] : await this.#prover.consistency(from, to)
    return { from, to, path, roots: [await this.#prover.root(from), await this.#prover.root(to)] }
  }

  /** A tile of the tree; `undefined` if the log does not have it yet. */
  async tile({ level, index, width }: TileRef & { level: number }): Promise<Uint8Array | undefined> {
    const { log } = this.#deps.store
    const { size } = await log.head()
    if (!isWithin({ level, index, width }, size)) return undefined
    return Buffer.concat(await log.hashes(level, index * TILE_WIDTH, index * TILE_WIDTH + width))
  }

  /** A bundle of entries; `undefined` if the log does not have it yet, `pruned` if retention has taken one of them. */
  async bundle({ index, width }: Omit<TileRef, 'level'>): Promise<Uint8Array | 'pruned' | undefined> {
    const { log } = this.#deps.store
    const { size } = await log.head()
    if (!isWithin({ level: 'entries', index, width }, size)) return undefined
    const entries = await log.entries(index * TILE_WIDTH, index * TILE_WIDTH + width)
    const there = entries.flatMap((entry) => (isPruned(entry) ? [] : [entry.bytes]))
    return there.length < entries.length ? 'pruned' : encodeBundle(there)
  }

  /**
   * A new key takes over. The old one vouches for it and signs once more, the size at which it ends; unless it is
   * `compromised`: then nothing it signed beyond the last checkpoint of this server is believed.
   *
   * @throws {WritError} `ERR_FORBIDDEN` unless policy lets the caller administer.
   */
  async rotate(
    caller: Caller,
    input: Readonly<{ use: SignerUse; compromised?: boolean; reason?: string }>,
  ): Promise<Rotation> {
    const compromised = input.compromised === true
    if (compromised && (input.reason ?? '').trim() === '') {
      throw new WritError('ERR_INPUT_INVALID', 'a compromised key needs a `reason`', {
        hint: 'say what happened: who verifies what it signed will ask',
      })
    }
    return this.#exclusively(async () => {
      const { use } = input
      if (!this.#signers.has(use))
        throw new WritError('ERR_INPUT_INVALID', `nothing is signed with a key for \`${use}\` here`)
      const before = this.#signers.current(use)
      let rotated: Readonly<{ signer: Signer; until: number; endorsement?: string }> | undefined
      await this.#attempts.administer(caller, 'administer', {
        also: {
          reads: [{ kind: 'signer', id: before.signer.id }],
          run: (tx) => {
            const signer = this.#signers.make(tx, use, this.#epoch)
            const until = compromised ? (this.#mark?.size ?? 0) : tx.nextSeq + 1
            const logs =
              use === 'log'
                ? { before: this.#verifierKey(before.signer), after: this.#verifierKey(signer) }
                : undefined
            const endorsement =
              logs === undefined || compromised
                ? undefined
                : endorse(until, logs.after, logs.before, before.privateKey)
            this.#signers.retire(tx, before.signer, {
              untilSize: until,
              ...(compromised ? { compromised } : {}),
              ...(endorsement === undefined ? {} : { keep: true, endorsement }),
            })
            tx.append({
              kind: compromised ? 'signer.compromised' : 'signer.rotated',
              refs: [before.signer.id, signer.id],
              use,
              before: before.signer.id,
              signer: signer.id,
              until,
              by: caller.id,
              ...(input.reason === undefined ? {} : { reason: input.reason }),
              ...(logs === undefined ? {} : { vkey: formatVerifierKey(logs.after) }),
              ...(endorsement === undefined ? {} : { endorsement }),
            })
            rotated = { signer, until, ...(endorsement === undefined ? {} : { endorsement }) }
            return undefined
          },
        },
      })
      if (rotated === undefined) throw new TypeError('a permit without what it permits')
      await this.#signers.reload()
      const { signer, until, endorsement } = rotated
      await this.#lastWords()
      const signed = use === 'log' ? (compromised ? await this.#signHead() : this.#latest) : undefined
      return {
        use,
        before: before.signer.id,
        id: signer.id,
        until,
        ...(use === 'log' ? { vkey: formatVerifierKey(this.#verifierKey(signer)) } : {}),
        ...(endorsement === undefined ? {} : { endorsement }),
        ...(signed === undefined ? {} : { checkpoint: noteOf(signed) }),
      }
    })
  }

  /**
   * A key that was retired and the one after it sign the size at which one takes over from the other; then the old one is
   * forgotten. Owed until it is done, and done before anything else is signed.
   */
  async #lastWords(): Promise<void> {
    for (const [at, retired] of this.#signers.all('log').entries()) {
      const { id, epoch = 1, retiredAt, untilSize, sealed } = retired
      const next = this.#signers.all('log')[at + 1]
      if (retiredAt === undefined || sealed === '') continue
      if (
        untilSize !== undefined &&
        next !== undefined &&
        epoch === this.#epoch &&
        (this.#mark?.size ?? 0) < untilSize
      ) {
        const root = hex(await this.#prover.root(untilSize))
        const both = [retired, next]
          .filter((it) => it.sealed !== '')
          .map((signer) => ({ signer, privateKey: this.#signers.open(signer) }))
        await this.#sign({ size: untilSize, root }, both)
      }
      await this.#signers.forget(id)
    }
  }

  async #require(value: number, most: number, message: string): Promise<void> {
    if (Number.isSafeInteger(value) && value >= 0 && value <= most) return
    throw new WritError('ERR_INPUT_INVALID', message)
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

  /** What retention has taken is taken from the published files too; never throws, and tries again until it is. */
  async forget(seqs: readonly number[]): Promise<void> {
    for (const seq of seqs) this.#pruned.add(seq)
    try {
      await this.#deps.files?.forget([...this.#pruned])
      this.#pruned.clear()
    } catch (error) {
      this.#deps.log('error', 'pruned entries are still among the published files', { error })
    }
  }

  /** What was pruned last: whoever pruned it may have been stopped before the files were gone. */
  async #forgetLast(): Promise<void> {
    const { log } = this.#deps.store
    const { items } = await log.search({ terms: ['kind=log.pruned'], limit: LAST_PRUNINGS })
    for (const seq of items) {
      const [entry] = await log.entries(seq, seq + 1)
      if (entry === undefined || isPruned(entry)) continue
      const {
        from,
        to,
        except = [],
      } = parseEntry(entry.bytes) as { from?: number; to?: number; except?: number[] }
      const kept = new Set(except)
      const range = Array.from({ length: Math.max(0, (to ?? 0) - (from ?? 0)) }, (_, i) => (from ?? 0) + i)
      await this.forget(range.filter((it) => !kept.has(it)))
    }
  }

  async #work(): Promise<void> {
    try {
      const note = await this.checkpoint()
      await this.#publish(note)
      if (this.#pruned.size > 0) await this.forget([])
      this.#problem = undefined
    } catch (error) {
      const sentence = error instanceof Error ? error.message : 'unknown'
      if (this.#problem === undefined) this.#deps.log('error', 'the log could not be signed', { error })
      this.#problem = `the log is not signed since: ${sentence}`
    }
  }

  /** Goes on with the files; a log that is far ahead of them is caught up with over several rounds. */
  async #publish(note: string): Promise<void> {
    const { files } = this.#deps
    if (files === undefined) return
    for (let step = 0; step < STEPS; step += 1) {
      if (await files.publish(note)) return
      await breathe()
    }
  }

  async #signHead(): Promise<Signed> {
    await this.#lastWords()
    const head = await this.#deps.store.log.head()
    if (this.#latest !== undefined && this.#latest.checkpoint.size >= head.size) return this.#latest
    return this.#sign(head, [this.#signers.current('log')])
  }

  /** Only within `#exclusively`: what is signed, and what has been signed, must not change meanwhile. */
  async #sign({ size, root }: LogHead, signings: readonly Signing[]): Promise<Signed> {
    const origin = this.origin()
    const checkpoint: Checkpoint = { origin, size, root }
    await this.#mustContinue(checkpoint)
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

  /** @throws {WritError} `ERR_STORE_CORRUPT` rather than sign what contradicts what was signed before. */
  async #mustContinue({ size, root }: Checkpoint): Promise<void> {
    const mark = this.#mark
    if (mark === undefined || mark.size === 0) return
    // read anew: what is remembered of the tree says nothing about what the store holds now
    const before = mark.size < size ? hex(await new Prover(this.#deps.store.log).root(mark.size)) : root
    if (mark.size <= size && before === mark.root) return
    throw new WritError(
      'ERR_STORE_CORRUPT',
      `the log does not continue the ${mark.size} entries signed before`,
      {
        hint: 'stop the server, keep the data folder as it is, and find out who could write there',
      },
    )
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

function endorse(size: number, key: VerifierKey, by: VerifierKey, privateKey: KeyObject): string {
  const text = formatEndorsement({ origin: by.name, size, key })
  return formatNote({ text, signatures: [signNote(text, by, privateKey)] })
}

const noteOf = ({ text, own, cosignatures }: Signed): string =>
  formatNote({ text, signatures: [...own, ...cosignatures] })
