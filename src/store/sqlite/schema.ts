/**
 * The tables, and how an older data folder becomes a newer one.
 *
 * @module
 */
import type { DatabaseSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import { WritError } from '../../model/errors.ts'
import { indexes } from '../../model/records.ts'
import type { Kind, Records } from '../../model/records.ts'
import { indexesOf } from '../batch.ts'
import { termsOf } from '../entry.ts'
import { appendLeaves, emptyFrontier } from '../frontier.ts'
import { hex, sha256 } from '../hash.ts'
import type { Listed } from './recent.ts'

/** `Writ` in ASCII: tells our file from somebody else's database. */
const APPLICATION_ID = 0x57726974

/** Finds what a disk does to the row, not what an attacker does. */
export function stateSum(size: number, frontier: Uint8Array, at: number, version: number): number {
  return crc32(frontier, crc32(`${size}/${at}/${version}/`))
}

/** Likewise of how far the lists go. */
export function listingSum({ done, until, place }: Listed): number {
  const { list, seq, text } = place ?? { list: '', seq: 0, text: '' }
  return crc32(`${done}/${until}/${list}/${seq}/${text}`)
}

/**
 * Numbered from 1; only ever appended to. Ids compare by their UTF-8 bytes (`BINARY`). `head` has a row for each batch
 * that wrote entries, so that a verifier can say between which entries a log was changed; `state` has one row.
 */
const migrations: readonly (string | ((db: DatabaseSync) => void))[] = [
  `
  CREATE TABLE record (
    kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, sum INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (kind, id)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE listed (
    name TEXT NOT NULL, value TEXT NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (name, value, id)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE entry (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, leaf BLOB NOT NULL, body BLOB NOT NULL
  ) STRICT;
  CREATE TABLE ref (
    ref TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (ref, seq)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE head (
    size INTEGER PRIMARY KEY, root BLOB NOT NULL
  ) STRICT;
  CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL, frontier BLOB NOT NULL, at INTEGER NOT NULL, version INTEGER NOT NULL,
    sum INTEGER NOT NULL, indexed TEXT NOT NULL
  ) STRICT;
  INSERT INTO state VALUES (1, 0, x'', 0, 0, ${stateSum(0, new Uint8Array(), 0, 0)}, '');
  `,
  // 2: the log for outsiders. An entry whose body is empty was pruned
  (db) => {
    db.exec(`
      CREATE TABLE node (
        level INTEGER NOT NULL, idx INTEGER NOT NULL, hash BLOB NOT NULL,
        PRIMARY KEY (level, idx)
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE term (
        term TEXT NOT NULL, seq INTEGER NOT NULL,
        PRIMARY KEY (term, seq)
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE body (
        id INTEGER PRIMARY KEY, digest TEXT NOT NULL, seq INTEGER NOT NULL, bytes BLOB NOT NULL
      ) STRICT;
      CREATE UNIQUE INDEX body_digest ON body (digest, seq);
      CREATE INDEX body_seq ON body (seq);
    `)
    const node = db.prepare('INSERT INTO node VALUES (?, ?, ?)')
    const term = db.prepare('INSERT OR IGNORE INTO term VALUES (?, ?)')
    let frontier = emptyFrontier
    for (const row of db.prepare('SELECT seq, leaf, body FROM entry ORDER BY seq').iterate()) {
      frontier = appendLeaves(frontier, [row['leaf'] as Uint8Array], ({ level, index, hash }) =>
        node.run(level, index, hash),
      )
      for (const text of termsIn(row['body'] as Uint8Array)) term.run(text, row['seq'] as number)
    }
  },
  // 3: what entries can be found by is written later than they are, in the order of the texts
  (db) => {
    db.exec(`
      CREATE TABLE listing (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        done INTEGER NOT NULL, until INTEGER NOT NULL,
        list TEXT NOT NULL, text TEXT NOT NULL, seq INTEGER NOT NULL, sum INTEGER NOT NULL
      ) STRICT;
    `)
    const size = db.prepare('SELECT size FROM state').get()?.['size'] as number
    const sum = listingSum({ done: size, until: size, place: undefined })
    db.prepare("INSERT INTO listing VALUES (1, ?, ?, '', '', 0, ?)").run(size, size, sum)
  },
]

function termsIn(body: Uint8Array): readonly string[] {
  try {
    return termsOf(JSON.parse(Buffer.from(body).toString()) as Record<string, unknown>)
  } catch {
    // a damaged entry is for `writ audit verify` to name, not for the upgrade
    return []
  }
}

/**
 * Brings the file to the newest form, in one transaction.
 *
 * @throws {WritError} `ERR_STORE_CORRUPT` for another program's database, `ERR_CONFIG_INVALID` for one that a newer
 *   Writ wrote.
 */
export function migrate(db: DatabaseSync, folder: string): void {
  const application = pragma(db, 'application_id')
  const version = pragma(db, 'user_version')
  const tables = db.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.['n']
  if (application !== APPLICATION_ID && (tables !== 0 || application !== 0 || version !== 0)) {
    throw new WritError('ERR_STORE_CORRUPT', `the database in \`${folder}\` was not written by Writ`, {
      hint: 'name another data folder',
    })
  }
  if (version > migrations.length) {
    throw new WritError(
      'ERR_CONFIG_INVALID',
      `the data in \`${folder}\` was written by a newer Writ (form ${version}, this one knows ${migrations.length})`,
      { hint: 'run the newer version; data is never taken back to an older form' },
    )
  }
  if (version === migrations.length) return
  db.exec('BEGIN IMMEDIATE')
  try {
    db.exec(`PRAGMA application_id = ${APPLICATION_ID}`)
    for (const migration of migrations.slice(version)) {
      if (typeof migration === 'string') db.exec(migration)
      else migration(db)
    }
    db.exec(`PRAGMA user_version = ${migrations.length}`)
    db.exec('COMMIT')
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}

export function pragma(db: DatabaseSync, name: string): number {
  const value = Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0]
  return typeof value === 'number' ? value : Number.NaN
}

/** Lists every record anew when the indexes are no longer those with which it was written. */
export function reindex(db: DatabaseSync): void {
  const form = hex(
    sha256(JSON.stringify(Object.entries(indexes).map(([name, it]) => [name, it.kind, String(it.values)]))),
  )
  if (db.prepare('SELECT indexed FROM state').get()?.['indexed'] === form) return
  const insert = db.prepare('INSERT OR IGNORE INTO listed VALUES (?, ?, ?)')
  db.exec('BEGIN IMMEDIATE')
  try {
    db.exec('DELETE FROM listed')
    for (const row of db.prepare('SELECT kind, id, body FROM record').iterate()) {
      const value = JSON.parse(row['body'] as string) as Records[Kind]
      for (const { name, values } of indexesOf(row['kind'] as Kind)) {
        for (const under of values(value)) insert.run(name, under, row['id'] as string)
      }
    }
    db.prepare('UPDATE state SET indexed = ?').run(form)
    db.exec('COMMIT')
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}
