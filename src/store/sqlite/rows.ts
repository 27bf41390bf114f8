/**
 * Rows to values and back: every read of the database is checked here, every write passes here.
 *
 * @module
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { indexes } from '../../model/records.ts'
import type { IndexName, Kind, Records } from '../../model/records.ts'
import type { Instant } from '../../model/time.ts'
import type { AnyStored, Changes } from '../batch.ts'
import { indexesOf, tooMany } from '../batch.ts'
import type { Frontier } from '../frontier.ts'
import { appendLeaves, decodeFrontier, encodeFrontier, frontierRoot } from '../frontier.ts'
import { hex, leafHash } from '../hash.ts'
import type { LogEntry } from '../port.ts'
import { SCAN_LIMIT } from '../port.ts'
import { pragma, stateSum } from './schema.ts'

/** Called before and after every write and commit, so that a test can end the process at each. */
export type StoreHooks = Readonly<{ step(name: string): void }>

/** The one row beside the tables: where log, clock and versions stand. */
export type State = Readonly<{ frontier: Frontier; at: Instant; version: number }>

/** Entries at the end of the log whose hashes are computed again at every start. */
const TAIL = 256
/** Bytes of a database whose every page is looked at when it is opened: about two seconds of it. */
const MOST_CHECKED = 1 << 30
/** Bytes of a database whose every record is read then: about as long. */
const MOST_READ = 32 << 20

type StateRow = Readonly<{ size: number; frontier: Uint8Array; at: Instant; version: number; sum: number }>

export class Rows {
  readonly #db: DatabaseSync
  readonly #step: (name: string) => void
  readonly #statements = new Map<string, StatementSync>()

  constructor(db: DatabaseSync, hooks: StoreHooks | undefined) {
    this.#db = db
    this.#step = hooks === undefined ? () => {} : (name) => hooks.step(name)
  }

  record(kind: Kind, id: string): AnyStored | undefined {
    const row = this.#sql('SELECT version, sum, body FROM record WHERE kind = ? AND id = ?').get(kind, id)
    return row === undefined ? undefined : decodeRecord(kind, { ...row, id })
  }

  /** Records of a kind in the order of ids, `limit` of them after `after`. */
  records(kind: Kind, after: string, limit: number): AnyStored[] {
    return this.#sql(
      'SELECT id, version, sum, body FROM record WHERE kind = ? AND id > ? ORDER BY id LIMIT ?',
    )
      .all(kind, after, limit)
      .map((row) => decodeRecord(kind, row))
  }

  /** Ids listed under a value, `limit` of them after `after`. */
  listed(index: IndexName, value: string, after: string, limit: number): string[] {
    return this.#sql('SELECT id FROM listed WHERE name = ? AND value = ? AND id > ? ORDER BY id LIMIT ?')
      .all(index, value, after, limit)
      .map((row) => row['id'] as string)
  }

  entries(from: number, to: number): LogEntry[] {
    return this.#sql('SELECT seq, at, body FROM entry WHERE seq >= ? AND seq < ? ORDER BY seq')
      .all(from, to)
      .map((row) => ({
        seq: row['seq'] as number,
        at: row['at'] as Instant,
        bytes: row['body'] as Uint8Array,
      }))
  }

  found(ref: string, after: number | undefined, limit: number, descending: boolean): number[] {
    const rows = descending
      ? this.#sql('SELECT seq FROM ref WHERE ref = ? AND seq < ? ORDER BY seq DESC LIMIT ?').all(
          ref,
          after ?? Number.MAX_SAFE_INTEGER,
          limit,
        )
      : this.#sql('SELECT seq FROM ref WHERE ref = ? AND seq > ? ORDER BY seq LIMIT ?').all(
          ref,
          after ?? -1,
          limit,
        )
    return rows.map((row) => row['seq'] as number)
  }

  /** Changes when another connection has written. */
  foreignChanges(): number {
    return this.#sql('PRAGMA data_version').get()?.['data_version'] as number
  }

  /** Pages in use, and the size of one in bytes. */
  pages(): { used: number; bytes: number } {
    const used = pragma(this.#db, 'page_count') - pragma(this.#db, 'freelist_count')
    return { used, bytes: pragma(this.#db, 'page_size') }
  }

  limitPages(most: number): void {
    this.#db.exec(`PRAGMA max_page_count = ${most}`)
  }

  /** Writes what a batch left, in one transaction; returns when it is durable, or throws and has written nothing. */
  write(changes: Changes, state: State, at: Instant, version: number): State {
    const leaves = changes.entries.map(({ bytes }) => leafHash(bytes))
    const frontier = appendLeaves(state.frontier, leaves)
    this.#run('begin', 'BEGIN IMMEDIATE')
    try {
      for (const { kind, id, written } of changes.records.values()) {
        if (written === undefined)
          this.#run('delete', 'DELETE FROM record WHERE kind = ? AND id = ?', kind, id)
        else {
          const { stored, body } = written
          const sum = checksum(kind, id, stored.version, body)
          this.#run(
            'put',
            'INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?)',
            kind,
            id,
            stored.version,
            sum,
            body,
          )
        }
      }
      for (const { index, value, ids } of changes.lists.values()) {
        for (const [id, listed] of ids) {
          if (listed) this.#run('list', 'INSERT OR IGNORE INTO listed VALUES (?, ?, ?)', index, value, id)
          else
            this.#run(
              'unlist',
              'DELETE FROM listed WHERE name = ? AND value = ? AND id = ?',
              index,
              value,
              id,
            )
        }
      }
      for (const [i, { seq, at, bytes, refs }] of changes.entries.entries()) {
        this.#run('entry', 'INSERT INTO entry VALUES (?, ?, ?, ?)', seq, at, leaves[i] as Uint8Array, bytes)
        for (const ref of refs) this.#run('ref', 'INSERT INTO ref VALUES (?, ?)', ref, seq)
      }
      if (leaves.length > 0) {
        this.#run('head', 'INSERT INTO head VALUES (?, ?)', frontier.size, frontierRoot(frontier))
      }
      const { size } = frontier
      const edge = encodeFrontier(frontier)
      const sum = stateSum(size, edge, at, version)
      this.#run(
        'state',
        'UPDATE state SET size = ?, frontier = ?, at = ?, version = ?, sum = ?',
        size,
        edge,
        at,
        version,
        sum,
      )
      this.#run('commit', 'COMMIT')
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      throw error
    }
    return { frontier, at, version }
  }

  /**
   * The state as stored, after looking whether the file can be trusted: its pages, the log's size, its last head, and
   * the hashes at its end. The whole log is for `writ audit verify`.
   *
   * @throws {Damage}
   */
  load(): State {
    const { used, bytes } = this.pages()
    if (used * bytes <= MOST_CHECKED) {
      const pages = this.#db.prepare('PRAGMA integrity_check(1)').get()?.['integrity_check']
      if (pages !== 'ok') throw new Damage(`pages: ${String(pages)}`)
    }
    if (used * bytes <= MOST_READ) this.#checkRecords()
    const row = this.#db.prepare('SELECT size, frontier, at, version, sum FROM state').get()
    if (row === undefined) throw new Damage('state: missing')
    const { size, frontier: edge, at, version, sum } = row as unknown as StateRow
    if (stateSum(size, edge, at, version) !== sum) throw new Damage('state: does not match its checksum')
    const frontier = decodeFrontier(size, edge)
    if (frontier === undefined) throw new Damage('state: its frontier does not fit its size')
    const last = this.#db.prepare('SELECT max(seq) AS seq FROM entry').get()?.['seq'] as number | null
    if ((last ?? -1) + 1 !== size) throw new Damage(`log: ends at ${last ?? -1}, should end at ${size - 1}`)
    const head = this.#db.prepare('SELECT size, root FROM head ORDER BY size DESC LIMIT 1').get()
    if (size > 0 && head === undefined) throw new Damage('log: no head')
    if (head !== undefined) {
      const root = hex(frontierRoot(frontier))
      if (head['size'] !== size || hex(head['root'] as Uint8Array) !== root)
        throw new Damage('log: head and frontier differ')
    }
    this.#checkTail(frontier)
    return { frontier, at, version }
  }

  /** Whether every record is as written and listed where it belongs, and nothing else is listed. */
  #checkRecords(): void {
    const isListed = this.#db.prepare(
      'SELECT count(*) AS n FROM listed WHERE name = ? AND value = ? AND id = ?',
    )
    let expected = 0
    for (const row of this.#db.prepare('SELECT kind, id, version, sum, body FROM record').iterate()) {
      const { id, kind, value } = decodeRecord(row['kind'] as Kind, row)
      for (const { name, values } of indexesOf(kind)) {
        for (const under of new Set(values(value))) {
          expected += 1
          if (isListed.get(name, under, id)?.['n'] !== 1)
            throw new Damage(`index \`${name}\` lacks \`${id}\``)
        }
      }
    }
    const listed = this.#db.prepare('SELECT count(*) AS n FROM listed').get()?.['n']
    if (listed !== expected) throw new Damage('an index lists what does not belong there')
  }

  /** Builds the smallest subtrees of the frontier again from the entries they cover. */
  #checkTail(frontier: Frontier): void {
    const from = frontier.size - (frontier.size % TAIL)
    const rows = this.#db
      .prepare('SELECT seq, leaf, body FROM entry WHERE seq >= ? ORDER BY seq')
      .all(Math.max(0, frontier.size - TAIL))
    for (const row of rows) {
      if (hex(leafHash(row['body'] as Uint8Array)) !== hex(row['leaf'] as Uint8Array)) {
        throw new Damage(`log: entry ${row['seq'] as number} does not match its hash`)
      }
    }
    const inTail = rows
      .filter((row) => (row['seq'] as number) >= from)
      .map((row) => row['leaf'] as Uint8Array)
    const tail = appendLeaves({ size: 0, roots: [] }, inTail)
    const expected = frontier.roots.slice(frontier.roots.length - tail.roots.length)
    if (
      inTail.length !== frontier.size - from ||
      Buffer.compare(Buffer.concat(tail.roots), Buffer.concat(expected)) !== 0
    ) {
      throw new Damage('log: its last entries are not those of its head')
    }
  }

  #run(step: string, sql: string, ...values: (string | number | Uint8Array)[]): void {
    this.#step(`${step}: before`)
    this.#sql(sql).run(...values)
    this.#step(`${step}: after`)
  }

  #sql(text: string): StatementSync {
    let statement = this.#statements.get(text)
    if (statement === undefined) {
      statement = this.#db.prepare(text)
      this.#statements.set(text, statement)
    }
    return statement
  }
}

/** What was read contradicts itself. */
export class Damage extends Error {
  override readonly name = 'Damage'
}

/** Committed state as the batch wants it, straight from the database. */
export function readList(
  rows: Rows,
  index: IndexName,
  value: string,
  record: (kind: Kind, id: string) => AnyStored | undefined,
): string[] {
  const ids = rows.listed(index, value, '', SCAN_LIMIT + 1)
  if (ids.length > SCAN_LIMIT) throw tooMany(index)
  const { kind } = indexes[index]
  for (const id of ids) requireListed(index, value, id, record(kind, id))
  return ids
}

/** An index that lists what is not there, or what no longer belongs there, is as damaged as a torn page. */
export function requireListed(
  index: IndexName,
  value: string,
  id: string,
  stored: AnyStored | undefined,
): AnyStored {
  const values =
    stored &&
    indexesOf(stored.kind)
      .find(({ name }) => name === index)
      ?.values(stored.value)
  if (stored === undefined || values?.includes(value) !== true) {
    throw new Damage(`index \`${index}\` lists \`${id}\`, which does not belong there`)
  }
  return stored
}

function decodeRecord(kind: Kind, row: Record<string, unknown>): AnyStored {
  const { id, version, sum, body } = row as { id: string; version: number; sum: number; body: string }
  // a damaged row may hold anything
  if (typeof id !== 'string' || typeof body !== 'string' || checksum(kind, id, version, body) !== sum) {
    throw new Damage(`record \`${kind}/${id}\` does not match its checksum`)
  }
  return { kind, id, version, value: JSON.parse(body) as Records[Kind] }
}

/** Finds what a disk does, not what an attacker does. */
function checksum(kind: Kind, id: string, version: number, body: string): number {
  return crc32(body, crc32(`${kind}/${id}/${version}/`))
}
