/**
 * The log of a data folder, read without the store: works while a server runs on it, and changes nothing.
 *
 * @module
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { SQLOutputValue, StatementSync } from 'node:sqlite'
import { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { WritError } from '../model/errors.ts'
import { hex } from '../store/hash.ts'
import type { Listing } from './listings.ts'
import type { Head, Inside, Listed, LogSource, SourceEntry } from './verify.ts'

type Row = Record<string, SQLOutputValue>
/** The columns of a row, in their order: made in half the time. */
type Columns = readonly Column[]
type Column = SQLOutputValue | undefined

export type LogFolder = LogSource & Readonly<{ inside: Inside }> & { close(): void }

/**
 * The log as it is at this moment; later appends are not seen.
 *
 * @throws {WritError} `ERR_NOT_FOUND` if there is no log in `folder`, `ERR_STORE_CORRUPT` (also from its methods) if it
 *   cannot be read.
 */
export function openLogFolder(folder: string): LogFolder {
  const path = join(folder, 'writ.db')
  if (!existsSync(path)) {
    throw new WritError('ERR_NOT_FOUND', `there is no log in \`${folder}\``, {
      hint: 'name the data folder of a server',
    })
  }
  const db = new DatabaseSync(path, { readOnly: true, timeout: 1_000 })
  const all = (sql: string, ...values: number[]): Row[] => reading(() => db.prepare(sql).all(...values))
  try {
    reading(() => db.exec('BEGIN'))
    const [last] = all('SELECT size, root FROM head ORDER BY size DESC LIMIT 1')
    const [state] = all('SELECT size, frontier FROM state')
    // a data folder that no newer Writ has opened yet lists every entry at once
    const [later] = all("SELECT 1 FROM sqlite_schema WHERE name = 'listing'")
    const [listing] = later === undefined ? [] : all('SELECT done, until, list, text, seq, sum FROM listing')
    const entries = reading(() =>
      columns(db, 'SELECT seq, at, hex(leaf), body FROM entry WHERE seq >= ? AND seq < ? ORDER BY seq'),
    )
    const head = last === undefined ? { size: 0, root: EMPTY } : asHead(last)
    return {
      head: async () => head,
      entries: async (from, to) => {
        const found = reading(() => entries.all(from, to)) as unknown as Columns[]
        return found.map(asEntry)
      },
      inside: {
        heads: () =>
          rows(db, 'SELECT size, root FROM head ORDER BY size', ([size, root]) => asHead({ size, root })),
        listings: (order) => (order === 'seq' ? rows(db, IN_ORDER, asListing) : inAnyOrder(db)),
        nodes: () =>
          rows(db, 'SELECT level, idx, hash FROM node', ([level, index, hash]) => ({
            level: asNumber(level),
            index: asNumber(index),
            hash: hex(asBytes(hash)),
          })),
        bodies: () =>
          rows(db, 'SELECT seq, digest, bytes FROM body ORDER BY seq', ([seq, digest, bytes]) => ({
            seq: asNumber(seq),
            digest: String(digest),
            bytes: asBytes(bytes),
          })),
        state: { size: asNumber(state?.['size']), frontierRoots: asRoots(state?.['frontier']) },
        ...(later !== undefined && { listed: asListed(listing) }),
      },
      close: () => db.close(),
    }
  } catch (error) {
    db.close()
    throw error
  }
}

/** SHA-256 of nothing. */
const EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

const IN_ORDER = `SELECT seq, ref, 'ref' FROM ref UNION ALL SELECT seq, term, 'term' FROM term ORDER BY seq`

function* inAnyOrder(db: DatabaseSync): Generator<Listing> {
  yield* rows(db, "SELECT seq, ref, 'ref' FROM ref", asListing)
  yield* rows(db, "SELECT seq, term, 'term' FROM term", asListing)
}

function* rows<T>(db: DatabaseSync, sql: string, as: (row: Columns) => T): Generator<T> {
  const found = reading(() => columns(db, sql).iterate()[Symbol.iterator]())
  for (let next = reading(() => found.next()); next.done !== true; next = reading(() => found.next()))
    yield as(next.value as unknown as Columns)
}

function columns(db: DatabaseSync, sql: string): StatementSync {
  const statement = db.prepare(sql)
  statement.setReturnArrays(true)
  return statement
}

/** A file that SQLite cannot read is a finding, not a failure of the verifier. */
function reading<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    // an integer that only a damaged cell can hold has no SQLite error code
    const isFile = error instanceof Error && ('errcode' in error || error instanceof RangeError)
    if (!isFile) throw error
    throw new WritError('ERR_STORE_CORRUPT', 'the log cannot be read: its file is damaged', {
      hint: 'keep the folder as it is, and restore a backup elsewhere',
      detail: error.message,
      cause: error,
    })
  }
}

/** Columns of a damaged row may hold anything: what is no hash then matches none, at its own index. */
const asBytes = (value: Column): Uint8Array => (value instanceof Uint8Array ? value : new Uint8Array())
const asNumber = (value: Column): number => (typeof value === 'number' ? value : Number.NaN)

const asHead = ({ size, root }: { size?: Column; root?: Column }): Head => ({
  size: asNumber(size),
  root: hex(asBytes(root)),
})

function asEntry([number, time, hash, body]: Columns): SourceEntry {
  const [seq, at, leaf] = [asNumber(number), asNumber(time), Buffer.from(String(hash), 'hex')]
  // an entry never is empty: this one was pruned
  if (body instanceof Uint8Array && body.length === 0) return { seq, at, leaf, pruned: true }
  return { seq, at, leaf, bytes: asBytes(body) }
}

const asListing = ([seq, text, list]: Columns): Listing => ({
  list: list === 'term' ? 'term' : 'ref',
  text: String(text),
  seq: asNumber(seq),
})

/** A row that is not what was written fits no log. */
function asListed(row: Row = {}): Listed {
  const [done, until, seq] = [asNumber(row['done']), asNumber(row['until']), asNumber(row['seq'])]
  const [list, text] = [String(row['list']), String(row['text'])]
  const isWritten = crc32([done, until, list, seq, text].join('/')) === row['sum']
  return { done: isWritten ? done : Number.NaN, until, place: { list, text, seq } }
}

const asRoots = (frontier: SQLOutputValue | undefined): string[] =>
  hex(asBytes(frontier)).match(/.{1,64}/g) ?? []
