/**
 * The peer of what must be durable: one SQLite row per call, WAL and `synchronous=FULL`, nothing else.
 *
 * @module
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const DURABLE_ROW = 'one durable SQLite row, no decision'

export function durableRow(): { write(): void; [Symbol.dispose](): void } {
  const folder = mkdtempSync(join(tmpdir(), 'writ-bench-'))
  const db = new DatabaseSync(join(folder, 'peer.db'))
  db.exec(
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE entry (seq INTEGER PRIMARY KEY, body BLOB)',
  )
  const insert = db.prepare('INSERT INTO entry (body) VALUES (?)')
  const body = Buffer.alloc(1_000, 1)
  return {
    write: () => void insert.run(body),
    [Symbol.dispose]() {
      db.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
