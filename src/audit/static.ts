/**
 * The log as files, so that anybody can serve or copy it without Writ (C2SP tlog-tiles): `checkpoint`, `tile/…`. A tile
 * is there before the checkpoint that needs it, and nothing is ever half written.
 *
 * @module
 */
import { mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { hex } from '../store/hash.ts'
import type { Store } from '../store/port.ts'
import { isPruned } from '../store/port.ts'
import type { Checkpoint } from './note.ts'
import { parseCheckpoint, parseNote } from './note.ts'
import { Prover } from './proofs.ts'
import type { TileRef } from './tiles.ts'
import { TILE_WIDTH, encodeBundle, hashesOf, indexPath, partialsOf, tilePath } from './tiles.ts'

/** Files written before others get their turn. */
const AT_ONCE = 32

/** Partial bundles that stay until the full one is there: those of the latest checkpoints. */
const PARTIAL_BUNDLES = 8

type Level = number | 'entries'

export class StaticLog {
  readonly #folder: string
  readonly #log: Pick<Store['log'], 'hashes' | 'entries'>
  /** The first full tile of each level that is not written yet. */
  readonly #next = new Map<Level, number>()
  /** The bundle whose partials are there, and their widths. */
  #bundle: { index: number; widths: number[] } = { index: -1, widths: [] }
  #note: string | undefined
  #opened = false

  constructor(folder: string, log: Pick<Store['log'], 'hashes' | 'entries'>) {
    this.#folder = folder
    this.#log = log
  }

  /** Writes some of what `note` needs; true once it is published itself, else call again. */
  async publish(note: string): Promise<boolean> {
    if (note === this.#note) return true
    const text = parseNote(note)?.text
    const checkpoint = text === undefined ? undefined : parseCheckpoint(text)
    if (checkpoint === undefined) throw new TypeError('only a checkpoint is published')
    if (!this.#opened) await this.#open(checkpoint)
    this.#opened = true
    if (!(await this.#writeFull(checkpoint.size))) return false
    await this.#writePartials(checkpoint.size)
    await this.#replace('checkpoint', note, true)
    this.#note = note
    return true
  }

  /** Takes away the bundles that hold one of the entries `seqs`, which retention has pruned. */
  async forget(seqs: readonly number[]): Promise<void> {
    const indexes = new Set(seqs.map((seq) => Math.floor(seq / TILE_WIDTH)))
    for (const index of indexes) {
      const path = join(this.#folder, tilePath({ level: 'entries', index, width: TILE_WIDTH }))
      await rm(path, { force: true })
      await rm(`${path}.p`, { recursive: true, force: true })
    }
  }

  /** Goes on from what is published already, if it is of this log. */
  async #open({ origin, size }: Checkpoint): Promise<void> {
    const there = await this.#published()
    const isOurs =
      there !== undefined &&
      there.origin === origin &&
      there.size <= size &&
      hex(await new Prover(this.#log).root(there.size)) === there.root
    if (!isOurs) {
      await rm(join(this.#folder, 'checkpoint'), { force: true })
      await rm(join(this.#folder, 'tile'), { recursive: true, force: true })
    }
    const from = isOurs ? there.size : 0
    for (let level = 0; hashesOf(level, from) >= TILE_WIDTH; level += 1) {
      this.#next.set(level, Math.floor(hashesOf(level, from) / TILE_WIDTH))
    }
    const index = Math.floor(from / TILE_WIDTH)
    this.#next.set('entries', index)
    this.#bundle = { index, widths: await this.#widths({ level: 'entries', index }) }
  }

  async #published(): Promise<Checkpoint | undefined> {
    try {
      const note = parseNote(await readFile(join(this.#folder, 'checkpoint'), 'utf8'))
      return note === undefined ? undefined : parseCheckpoint(note.text)
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  async #writeFull(size: number): Promise<boolean> {
    let left = AT_ONCE
    const levels: Level[] = ['entries']
    for (let level = 0; hashesOf(level, size) >= TILE_WIDTH; level += 1) levels.push(level)
    for (const level of levels) {
      const end = Math.floor(hashesOf(level, size) / TILE_WIDTH)
      for (let index = this.#next.get(level) ?? 0; index < end; index += 1) {
        if (left === 0) return false
        left -= 1
        const ref = { level, index, width: TILE_WIDTH }
        await this.#write(ref, true)
        await rm(join(this.#folder, `${tilePath(ref)}.p`), { recursive: true, force: true })
        this.#next.set(level, index + 1)
      }
    }
    return true
  }

  async #writePartials(size: number): Promise<void> {
    for (const ref of partialsOf(size)) {
      await this.#write(ref, false)
      if (ref.level === 'entries') await this.#trim(ref)
    }
  }

  /** Each partial bundle repeats the one before it, so that only some are worth their room. */
  async #trim({ index, width }: TileRef): Promise<void> {
    const before = this.#bundle.index === index ? this.#bundle.widths.filter((it) => it !== width) : []
    const widths = [...before, width]
    for (const old of widths.splice(0, Math.max(0, widths.length - PARTIAL_BUNDLES))) {
      await rm(join(this.#folder, tilePath({ level: 'entries', index, width: old })), { force: true })
    }
    this.#bundle = { index, widths }
  }

  async #widths({ level, index }: { level: Level; index: number }): Promise<number[]> {
    try {
      const names = await readdir(join(this.#folder, `tile/${level}/${indexPath(index)}.p`))
      return names
        .map(Number)
        .filter((width) => Number.isSafeInteger(width))
        .toSorted((a, b) => a - b)
    } catch (error) {
      if (isMissing(error)) return []
      throw error
    }
  }

  async #write(ref: TileRef, durable: boolean): Promise<void> {
    const bytes = await this.#bytes(ref)
    if (bytes !== undefined) await this.#replace(tilePath(ref), bytes, durable)
    else await rm(join(this.#folder, tilePath(ref)), { force: true })
  }

  async #bytes({ level, index, width }: TileRef): Promise<Uint8Array | undefined> {
    const [from, to] = [index * TILE_WIDTH, index * TILE_WIDTH + width]
    if (level === 'entries') {
      const entries = await this.#log.entries(from, to)
      const there = entries.flatMap((entry) => (isPruned(entry) ? [] : [entry.bytes]))
      return there.length === width ? encodeBundle(there) : undefined
    }
    const hashes = await this.#log.hashes(level, from, to)
    if (hashes.length !== width)
      throw new RangeError(`the log has no tile ${tilePath({ level, index, width })}`)
    return Buffer.concat(hashes)
  }

  async #replace(name: string, content: Uint8Array | string, durable: boolean): Promise<void> {
    const path = join(this.#folder, name)
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const temporary = join(this.#folder, 'new')
    const file = await open(temporary, 'w', 0o600)
    try {
      await file.writeFile(content)
      // what a crash leaves half written of a partial tile is written again at the next start
      if (durable) await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  }
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT'
