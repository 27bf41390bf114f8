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
import { restored, termsOf } from '../entry.ts'
import type { Frontier, Node } from '../frontier.ts'
import { appendLeaves, decodeFrontier, encodeFrontier, frontierRoot } from '../frontier.ts'
import { hex, leafHash, sha256 } from '../hash.ts'
import type { LogEntry, PrunedEntry } from '../port.ts'
import { SCAN_LIMIT } from '../port.ts'
import type { Listed, List, Place, Step } from './recent.ts'
import { firstWhere, Recent } from './recent.ts'
import { listingSum, pragma, stateSum } from './schema.ts'

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

type ListingRow = Readonly<{
  done: number
  until: number
  list: List | ''
  text: string
  seq: number
  sum: number
}>

export class Rows {
  readonly #db: DatabaseSync
  readonly #step: (name: string) => void
  readonly #statements = new Map<string, StatementSync>()
  readonly #stretch: number | undefined
  #recent = new Recent({ done: 0, until: 0, place: undefined })

  /** `stretch`: entries after which what they can be found by is written. */
  constructor(db: DatabaseSync, hooks: StoreHooks | undefined, stretch?: number) {
    this.#db = db
    this.#stretch = stretch
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

  entries(from: number, to: number): (LogEntry | PrunedEntry)[] {
    return this.#sql(
      `SELECT seq, at, body, CASE WHEN length(body) = 0 THEN leaf END AS leaf FROM entry
       WHERE seq >= ? AND seq < ? ORDER BY seq`,
    )
      .all(from, to)
      .map((row) => {
        const place = { seq: row['seq'] as number, at: row['at'] as Instant }
        return row['leaf'] === null
          ? { ...place, bytes: row['body'] as Uint8Array }
          : { ...place, leaf: row['leaf'] as Uint8Array, pruned: true }
      })
  }

  /** Of level 0 the leaf hashes, of others the complete subtrees. */
  hashes(level: number, from: number, to: number): Uint8Array[] {
    const found =
      level === 0
        ? this.#sql('SELECT leaf AS hash FROM entry WHERE seq >= ? AND seq < ? ORDER BY seq').all(from, to)
        : this.#sql('SELECT hash FROM node WHERE level = ? AND idx >= ? AND idx < ? ORDER BY idx').all(
            level,
            from,
            to,
          )
    return found.map((row) => row['hash'] as Uint8Array)
  }

  /** The first entry among `size` that is dated `at` or later: times never go back along the log. */
  seqAt(at: Instant, size: number): number {
    let [from, to] = [0, size]
    while (from < to) {
      const middle = Math.floor((from + to) / 2)
      const row = this.#sql('SELECT at FROM entry WHERE seq = ?').get(middle)
      if (row === undefined) throw new Damage(`log: entry ${middle} is missing`)
      if ((row['at'] as Instant) < at) from = middle + 1
      else to = middle
    }
    return from
  }

  /** What was kept of a digest. */
  body(digest: string): Uint8Array | undefined {
    const row = this.#sql('SELECT bytes FROM body WHERE digest = ? LIMIT 1').get(digest)
    const bytes = row?.['bytes'] as Uint8Array | undefined
    if (bytes !== undefined && `sha256:${hex(sha256(bytes))}` !== digest)
      throw new Damage(`log: what was kept of \`${digest}\` does not match it`)
    return bytes
  }

  /**
   * Up to `limit` entries from `most` down to `from` that are under all `terms`, newest first, and where to go on if
   * there may be more: the rarest of the terms is walked, so many of its entries at most, the others are looked up.
   */
  search(terms: readonly string[], from: number, most: number, limit: number): Found {
    if (terms.length === 0) {
      const items = Array.from({ length: Math.max(0, Math.min(limit, most - from + 1)) }, (_, i) => most - i)
      return { items, next: most - limit >= from ? most - limit : undefined }
    }
    const recent = this.#searchRecent(terms, Math.max(from, this.#recent.from), most, limit)
    const rest = Math.min(most, this.#recent.from - 1)
    if (recent.next !== undefined || rest < from) return recent
    if (recent.items.length === limit) return { items: recent.items, next: rest }
    const { items, next } = this.#searchListed(terms, from, rest, limit - recent.items.length)
    return { items: [...recent.items, ...items], next }
  }

  #searchRecent(terms: readonly string[], from: number, most: number, limit: number): Found {
    const [rarest = [], ...others] = terms
      .map((term) => this.#recent.seqs(listOf(term), term))
      .sort((a, b) => a.length - b.length)
    const isIn = (seqs: readonly number[], seq: number): boolean =>
      seqs[firstWhere(seqs.length, (i) => (seqs[i] as number) >= seq)] === seq
    const items: number[] = []
    const end = firstWhere(rarest.length, (i) => (rarest[i] as number) > most)
    for (let i = end - 1; i >= 0; i -= 1) {
      const seq = rarest[i] as number
      if (seq < from) break
      if (end - i > MOST_WALKED) return { items, next: seq }
      if (others.every((seqs) => isIn(seqs, seq))) items.push(seq)
      if (items.length === limit) return { items, next: seq > from ? seq - 1 : undefined }
    }
    return { items, next: undefined }
  }

  #searchListed(terms: readonly string[], from: number, most: number, limit: number): Found {
    const [rarest, ...others] = terms
      .map((term) => ({ term, reach: this.#nth(term, from, most, SAMPLE) ?? from - 1 }))
      .sort((a, b) => a.reach - b.reach)
    if (rarest === undefined) return { items: [], next: undefined }
    const isUnder = others.map(
      ({ term }) => `AND EXISTS (SELECT 1 FROM ${under(term)} = ? AND seq = some.seq)`,
    )
    const items = this.#sql(
      `SELECT seq FROM (
         SELECT seq FROM ${under(rarest.term)} = ? AND seq BETWEEN ? AND ? ORDER BY seq DESC LIMIT ${MOST_WALKED}
       ) AS some WHERE TRUE ${isUnder.join(' ')} LIMIT ?`,
    )
      .all(rarest.term, from, most, ...others.map(({ term }) => term), limit)
      .map((row) => row['seq'] as number)
    const last = items.length === limit ? items.at(-1) : this.#nth(rarest.term, from, most, MOST_WALKED)
    return { items, next: last !== undefined && last > from ? last - 1 : undefined }
  }

  /** The `n`-th entry under a term, newest first. */
  #nth(term: string, from: number, most: number, n: number): number | undefined {
    const sql = `SELECT seq FROM ${under(term)} = ? AND seq BETWEEN ? AND ? ORDER BY seq DESC LIMIT 1 OFFSET ?`
    return this.#sql(sql).get(term, from, most, n - 1)?.['seq'] as number | undefined
  }

  /** Cuts entries down to their hashes, in one transaction. */
  prune(seqs: readonly number[]): void {
    // freed pages are overwritten: what is pruned must not be readable in the file
    this.#db.exec('PRAGMA secure_delete = ON')
    this.#run('begin', 'BEGIN IMMEDIATE')
    try {
      const forgotten = seqs.map((seq) => this.#prune(seq))
      this.#run('commit', 'COMMIT')
      for (const entry of forgotten) if (entry !== undefined) this.#recent.forget(entry)
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      throw error
    } finally {
      this.#db.exec('PRAGMA secure_delete = FAST')
    }
  }

  /** What of the entry is still to be listed, if any. */
  #prune(seq: number): Listable | undefined {
    const row = this.#sql('SELECT body FROM entry WHERE seq = ?').get(seq)
    const bytes = row?.['body'] as Uint8Array | undefined
    if (bytes === undefined || bytes.length === 0) return undefined
    const { refs, terms } = this.#listable(seq, bytes)
    if (refs !== undefined) {
      for (const ref of refs) this.#run('unref', 'DELETE FROM ref WHERE ref = ? AND seq = ?', ref, seq)
    } else this.#run('unref', 'DELETE FROM ref WHERE seq = ?', seq)
    for (const term of terms) this.#run('unterm', 'DELETE FROM term WHERE term = ? AND seq = ?', term, seq)
    // first written over, in place: what only shrinks stays readable in what is left of its page
    this.#run('overwrite', 'UPDATE body SET bytes = zeroblob(length(bytes)) WHERE seq = ?', seq)
    this.#run('overwrite', 'UPDATE entry SET body = zeroblob(length(body)) WHERE seq = ?', seq)
    this.#run('unkeep', 'DELETE FROM body WHERE seq = ?', seq)
    this.#run('prune', "UPDATE entry SET body = x'' WHERE seq = ?", seq)
    return seq < this.#recent.from ? undefined : { seq, refs: refs ?? [], terms }
  }

  /** What an entry is listed under; `refs` are not known if they were cut from it before anything was kept. */
  #listable(seq: number, bytes: Uint8Array): { seq: number; refs: string[] | undefined; terms: string[] } {
    const parsed = JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>
    const entry = restored(parsed, (digest) => this.body(digest))
    const { refs } = entry
    return {
      seq,
      refs: Array.isArray(refs) ? [...new Set(refs as string[])] : undefined,
      terms: termsOf(entry),
    }
  }

  found(ref: string, after: number | undefined, limit: number, descending: boolean): number[] {
    const from = after === undefined || descending ? 0 : after + 1
    const to = after === undefined || !descending ? Number.MAX_SAFE_INTEGER : after
    const recent = this.#recent.seqs('ref', ref).filter((seq) => seq >= from && seq < to)
    if (descending) recent.reverse()
    const listed = (most: number): number[] => this.#listedUnder(ref, from, to, most, descending)
    return descending
      ? [...recent.slice(0, limit), ...(recent.length < limit ? listed(limit - recent.length) : [])]
      : [...listed(limit), ...recent].slice(0, limit)
  }

  #listedUnder(ref: string, from: number, to: number, limit: number, descending: boolean): number[] {
    // rows from there on are being written
    const end = Math.min(to, this.#recent.from)
    return this.#sql(
      `SELECT seq FROM ref WHERE ref = ? AND seq >= ? AND seq < ? ORDER BY seq ${descending ? 'DESC' : 'ASC'} LIMIT ?`,
    )
      .all(ref, from, end, limit)
      .map((row) => row['seq'] as number)
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

  /**
   * Writes what a batch left, in one transaction; returns when it is durable, or throws and has written nothing. With
   * `listing`, something of what earlier entries can be found by is written along.
   */
  write(changes: Changes, state: State, at: Instant, version: number, listing: boolean): State {
    const step = listing ? this.#recent.step(changes.entries.length) : undefined
    const leaves = changes.entries.map(({ bytes }) => leafHash(bytes))
    const nodes: Node[] = []
    const frontier = appendLeaves(state.frontier, leaves, (node) => nodes.push(node))
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
      this.#runMany('entry', 'INSERT INTO entry VALUES', changes.entries, ({ seq, at, bytes }, i) => [
        seq,
        at,
        leaves[i] as Uint8Array,
        bytes,
      ])
      for (const { seq, bodies } of changes.entries)
        for (const body of bodies)
          this.#run('body', 'INSERT INTO body VALUES (NULL, ?, ?, ?)', body.digest, seq, body.bytes)
      for (const { level, index, hash } of nodes)
        this.#run('node', 'INSERT INTO node VALUES (?, ?, ?)', level, index, hash)
      if (leaves.length > 0) {
        this.#run('head', 'INSERT INTO head VALUES (?, ?)', frontier.size, frontierRoot(frontier))
      }
      if (step !== undefined) this.#list(step)
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
    for (const entry of changes.entries) this.#recent.add(entry)
    if (step !== undefined) this.#recent.stepped(step)
    return { frontier, at, version }
  }

  /** Writes everything that entries can be found by and that is not written yet. */
  listAll(): void {
    for (let step = this.#recent.step(0, MOST_LISTED); step; step = this.#recent.step(0, MOST_LISTED)) {
      this.#run('begin', 'BEGIN IMMEDIATE')
      try {
        this.#list(step)
        this.#run('commit', 'COMMIT')
      } catch (error) {
        if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
        throw error
      }
      this.#recent.stepped(step)
    }
  }

  #list({ rows, listed }: Step): void {
    const terms = rows.findIndex(({ list }) => list === 'term')
    const refs = terms < 0 ? rows : rows.slice(0, terms)
    this.#runMany('ref', 'INSERT OR IGNORE INTO ref VALUES', refs, pairOf)
    if (terms >= 0) this.#runMany('term', 'INSERT OR IGNORE INTO term VALUES', rows.slice(terms), pairOf)
    const { done, until, place } = listed
    this.#run(
      'listing',
      'UPDATE listing SET done = ?, until = ?, list = ?, text = ?, seq = ?, sum = ?',
      done,
      until,
      place?.list ?? '',
      place?.text ?? '',
      place?.seq ?? 0,
      listingSum(listed),
    )
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
    this.#loadRecent(size)
    return { frontier, at, version }
  }

  /** Reads again what the end of the log can be found by. */
  #loadRecent(size: number): void {
    const row = this.#db.prepare('SELECT done, until, list, text, seq, sum FROM listing').get()
    if (row === undefined) throw new Damage('listing: missing')
    const { done, until, list, text, seq, sum } = row as unknown as ListingRow
    const listed: Listed = { done, until, place: list === '' ? undefined : { list, text, seq } }
    if (listingSum(listed) !== sum) throw new Damage('listing: does not match its checksum')
    if (!(done <= until && until <= size)) throw new Damage('listing: does not fit the log')
    this.#recent = new Recent(listed, this.#stretch)
    const rows = this.#db.prepare('SELECT seq, leaf, body FROM entry WHERE seq >= ? ORDER BY seq')
    for (const entry of rows.iterate(done)) {
      const [at, body] = [entry['seq'] as number, entry['body'] as Uint8Array]
      if (body.length === 0) {
        this.#recent.add({ seq: at, refs: [], terms: [] })
        continue
      }
      if (hex(leafHash(body)) !== hex(entry['leaf'] as Uint8Array))
        throw new Damage(`log: entry ${at} does not match its hash`)
      const { refs = [], terms } = this.#listable(at, body)
      this.#recent.add({ seq: at, refs, terms })
    }
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
      const body = row['body'] as Uint8Array
      if (body.length > 0 && hex(leafHash(body)) !== hex(row['leaf'] as Uint8Array)) {
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

  /** One statement for every few rows: what a statement costs is mostly the call. */
  #runMany<T>(
    step: string,
    insert: string,
    rows: readonly T[],
    columns: (row: T, i: number) => Columns,
  ): void {
    for (let from = 0; from < rows.length; from += MOST_ROWS) {
      const values: (string | number | Uint8Array)[] = []
      const to = Math.min(rows.length, from + MOST_ROWS)
      for (let i = from; i < to; i += 1) values.push(...columns(rows[i] as T, i))
      const marks = `(${'?, '.repeat(values.length / (to - from) - 1)}?), `
      this.#run(step, `${insert} ${marks.repeat(to - from).slice(0, -2)}`, ...values)
    }
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

type Columns = readonly (string | number | Uint8Array)[]

/** Rows of one statement. */
const MOST_ROWS = 32
/** Rows of one transaction that writes nothing else. */
const MOST_LISTED = 4_096

const pairOf = ({ text, seq }: Place): [string, number] => [text, seq]

/** An entry, by what it can be found. */
type Listable = Readonly<{ seq: number; refs: readonly string[]; terms: readonly string[] }>

export type Found = Readonly<{ items: readonly number[]; next: number | undefined }>

/** Entries looked at to tell how rare a term is, and most that one search walks: more would hold up everybody else. */
const SAMPLE = 64
const MOST_WALKED = 4_096

/** Where a reference or a search term is listed. */
const listOf = (term: string): List => (/^(?:kind|outcome|action)=/u.test(term) ? 'term' : 'ref')

/** Its table, up to the column it is compared with. */
const under = (term: string): string => `${listOf(term)} WHERE ${listOf(term)}`

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
