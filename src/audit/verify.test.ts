import assert from 'node:assert/strict'
import { isUtf8 } from 'node:buffer'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test, { after } from 'node:test'
import type { TestStore, TestStoreOptions } from '../../test/support/store.ts'
import type { LogEntry } from '../store/port.ts'
import { openTestStore, unpruned } from '../../test/support/store.ts'
import type { Json } from '../model/canonical.ts'
import { isWritError } from '../model/errors.ts'
import { restored } from '../store/entry.ts'
import { hex, leafHash, sha256 } from '../store/hash.ts'
import { listingSum } from '../store/sqlite/schema.ts'
import { openLogFolder } from './folder.ts'
import { TreeBuilder } from './tree.ts'
import type { Head, SourceEntry, Verdict } from './verify.ts'
import { verifyLog } from './verify.ts'

const scratch = mkdtempSync(join(tmpdir(), 'writ-verify-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

/** Entries 0 to 6 in batches of 1, 3, 1 and 2. */
const BATCHES = [1, 3, 1, 2]
const SIZE = 7

async function fill(store: TestStore): Promise<void> {
  for (const [i, count] of BATCHES.entries()) {
    store.clock.advance(10)
    const append = () =>
      store.commit({ reads: [], run: (tx) => tx.append({ kind: 'test', refs: ['r', `b${i}`], why: 'é' }) })
    await Promise.all(Array.from({ length: count }, append))
  }
}

/** Verifies a copy of the log after `tamper` had its way with the file. */
async function afterTampering(
  tamper: (db: DatabaseSync) => void,
  saved: Head | readonly Head[] = [],
): Promise<Verdict> {
  const folder = mkdtempSync(join(scratch, 'copy-'))
  cpSync(await filled, folder, { recursive: true })
  const db = new DatabaseSync(join(folder, 'writ.db'))
  tamper(db)
  db.close()
  return verifyFolder(folder, saved)
}

async function verifyFolder(folder: string, saved: Head | readonly Head[] = []): Promise<Verdict> {
  const source = openLogFolder(folder)
  try {
    return await verifyLog(source, saved)
  } finally {
    source.close()
  }
}

let head: Head
const filled = (async () => {
  const store = await openTestStore({ folder: join(scratch, 'filled'), reserveBytes: 4096 })
  await fill(store)
  head = await store.log.head()
  await store.close()
  return store.folder
})()

const bodyOf = (db: DatabaseSync, seq: number) =>
  db.prepare('SELECT body FROM entry WHERE seq = ?').get(seq)?.['body'] as Uint8Array
const altered = (bytes: Uint8Array) => Buffer.from(Buffer.from(bytes).toString().replace('"é"', '"è"'))

test('an untouched log verifies, read from its folder and through the store', async () => {
  const folder = await filled
  assert.deepEqual(await verifyFolder(folder, head), { ok: true, ...head })
  const store = await openTestStore({ folder })
  assert.deepEqual(await verifyLog(store.log, head), { ok: true, ...head })
  await store.close()
})

test('a log verifies while a server writes to it', async () => {
  await using store = await openTestStore()
  await fill(store)
  const source = openLogFolder(store.folder)
  await fill(store)
  assert.deepEqual((await verifyLog(source)).size, SIZE)
  source.close()
  assert.deepEqual(await verifyFolder(store.folder, await store.log.head()), {
    ok: true,
    ...(await store.log.head()),
  })
})

test('an empty log verifies; a folder without one is named', async () => {
  await using store = await openTestStore()
  assert.equal((await verifyFolder(store.folder)).ok, true)
  assert.throws(
    () => openLogFolder(join(scratch, 'nowhere')),
    (error) => isWritError(error, 'ERR_NOT_FOUND'),
  )
})

test('B66 every single-bit change of an entry is found at its index', async () => {
  const folder = mkdtempSync(join(scratch, 'bits-'))
  cpSync(await filled, folder, { recursive: true })
  const db = new DatabaseSync(join(folder, 'writ.db'))
  const write = db.prepare('UPDATE entry SET body = ? WHERE seq = ?')
  for (const seq of [0, 2, 6]) {
    const body = bodyOf(db, seq)
    for (let bit = 0; bit < body.length * 8; bit++) {
      const changed = Buffer.from(body)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      write.run(changed, seq)
      const verdict = await verifyFolder(folder)
      assert.deepEqual([verdict.ok, verdict.firstBad?.index], [false, seq], `bit ${bit} of entry ${seq}`)
    }
    write.run(body, seq)
  }
  db.close()
  assert.ok((await verifyFolder(folder)).ok)
})

test('B66 every single-bit change of what is recorded beside the entries is found', async () => {
  const folder = mkdtempSync(join(scratch, 'beside-'))
  cpSync(await filled, folder, { recursive: true })
  const db = new DatabaseSync(join(folder, 'writ.db'))
  const cells = [
    ['entry', 'leaf', 'seq = 3', 3, 3],
    ['head', 'root', 'size = 4', 1, 3],
    ['head', 'root', 'size = 7', 5, 6],
    ['state', 'frontier', 'one = 1', 7, 7],
  ] as const
  for (const [table, column, where, from, to] of cells) {
    const cell = db.prepare(`SELECT ${column} AS it FROM ${table} WHERE ${where}`).get()?.['it'] as Uint8Array
    const write = db.prepare(`UPDATE ${table} SET ${column} = ? WHERE ${where}`)
    for (let bit = 0; bit < cell.length * 8; bit++) {
      const changed = Buffer.from(cell)
      changed[bit >> 3]! ^= 1 << (bit & 7)
      write.run(changed)
      const { firstBad } = await verifyFolder(folder)
      assert.ok(
        firstBad !== undefined && firstBad.index >= from && firstBad.index <= to,
        `bit ${bit} of ${table}`,
      )
    }
    write.run(cell)
  }
  db.close()
  assert.ok((await verifyFolder(folder)).ok)
})

const tamperings: readonly [string, number, (db: DatabaseSync) => void][] = [
  ['an entry deleted', 2, (db) => db.exec('DELETE FROM entry WHERE seq = 2')],
  ['the first entry deleted', 0, (db) => db.exec('DELETE FROM entry WHERE seq = 0')],
  ['the last entry deleted', 6, (db) => db.exec('DELETE FROM entry WHERE seq = 6')],
  [
    'an entry deleted and the rest moved up',
    2,
    (db) => db.exec('DELETE FROM entry WHERE seq = 2; UPDATE entry SET seq = seq - 1 WHERE seq > 2'),
  ],
  [
    'two entries swapped with their hashes',
    3,
    (db) =>
      db.exec(
        'UPDATE entry SET seq = 99 WHERE seq = 3; UPDATE entry SET seq = 3 WHERE seq = 5; UPDATE entry SET seq = 5 WHERE seq = 99',
      ),
  ],
  [
    'an entry added',
    SIZE,
    (db) => db.prepare('INSERT INTO entry VALUES (7, 9, ?, ?)').run(leafHash(bodyOf(db, 6)), bodyOf(db, 6)),
  ],
  ['its time changed beside it', 4, (db) => db.exec('UPDATE entry SET at = at + 1 WHERE seq = 4')],
  ['a reference removed', 4, (db) => db.exec("DELETE FROM ref WHERE seq = 4 AND ref = 'r'")],
  ['a reference added', 5, (db) => db.exec("INSERT INTO ref VALUES ('other', 5)")],
  ['a reference to nothing', SIZE, (db) => db.exec("INSERT INTO ref VALUES ('r', 7)")],
  ['a head removed at the end', 5, (db) => db.exec('DELETE FROM head WHERE size = 7')],
  ['the state moved back', SIZE, (db) => db.exec('UPDATE state SET size = 6')],
]
for (const [what, index, tamper] of tamperings) {
  test(`B66 ${what}: found at entry ${index}`, async () => {
    const verdict = await afterTampering(tamper)
    assert.deepEqual([verdict.ok, verdict.firstBad?.index], [false, index], verdict.firstBad?.why)
  })
}

test('B66 an entry replaced together with its hash is found by the head of its batch', async () => {
  for (const [seq, expected] of [
    [0, 0],
    [2, 1],
    [4, 4],
    [6, 5],
  ] as const) {
    const { firstBad } = await afterTampering((db) => {
      const body = altered(bodyOf(db, seq))
      db.prepare('UPDATE entry SET body = ?, leaf = ? WHERE seq = ?').run(body, leafHash(body), seq)
    })
    assert.equal(firstBad?.index, expected)
    assert.match(firstBad?.why ?? '', /replaced together with its hash/)
  }
})

/** Somebody who knows everything: entries, hashes, heads and state all fit together. */
function rewriteAll(db: DatabaseSync, bodies: readonly Uint8Array[]): void {
  db.exec('DELETE FROM entry; DELETE FROM head; DELETE FROM ref; DELETE FROM term')
  const tree = new TreeBuilder()
  for (const [seq, body] of bodies.entries()) {
    tree.add(leafHash(body))
    const entry = JSON.parse(Buffer.from(body).toString()) as { at: number; kind: string; refs: string[] }
    db.prepare('INSERT INTO entry VALUES (?, ?, ?, ?)').run(seq, entry.at, leafHash(body), body)
    db.prepare('INSERT INTO head VALUES (?, ?)').run(seq + 1, Buffer.from(tree.root(), 'hex'))
    for (const ref of entry.refs) db.prepare('INSERT INTO ref VALUES (?, ?)').run(ref, seq)
    db.prepare('INSERT INTO term VALUES (?, ?)').run(`kind=${entry.kind}`, seq)
  }
  const listed = { done: bodies.length, until: bodies.length, place: undefined }
  db.prepare('UPDATE listing SET done = ?, until = ?, sum = ?').run(
    bodies.length,
    bodies.length,
    listingSum(listed),
  )
  db.prepare('UPDATE state SET size = ?, frontier = ?').run(
    bodies.length,
    Buffer.from(tree.peaks().join(''), 'hex'),
  )
}

const bodies = (db: DatabaseSync) => Array.from({ length: SIZE }, (_, seq) => bodyOf(db, seq))

test('law 11: a log rewritten or cut short throughout contradicts a saved head, and only that', async () => {
  const rewrite = (db: DatabaseSync) => rewriteAll(db, bodies(db).with(2, altered(bodyOf(db, 2))))
  const cut = (db: DatabaseSync) => rewriteAll(db, bodies(db).slice(0, 5))
  assert.equal((await afterTampering(rewrite)).ok, true)
  assert.equal((await afterTampering(cut)).ok, true)

  await filled
  assert.equal((await afterTampering(rewrite, head)).firstBad?.index, 0)
  assert.equal((await afterTampering(cut, head)).firstBad?.index, 5)
  const source = openLogFolder(await filled)
  const early = [...source.inside.heads()]
  source.close()
  assert.equal((await afterTampering(() => {}, early)).ok, true)
  assert.equal((await afterTampering(rewrite, early)).firstBad?.index, 1)
})

test('B69 entries that are not canonical, or not entries, are found although everything fits together', async () => {
  const replace = (text: string) => (db: DatabaseSync) =>
    rewriteAll(db, bodies(db).with(3, Buffer.from(text)))
  const cases: readonly [string, RegExp][] = [
    ['{"at":1795348800020,"kind":"test","refs":[],"seq":3,"v":1} ', /canonical/],
    ['{"at":1795348800020,"kind":"test","refs":[],"seq":3,"v":1,"a":2}', /canonical/],
    ['{"at":1795348800020,"at":1795348800020,"kind":"test","refs":[],"seq":3,"v":1}', /canonical/],
    ['{"at":1795348800020,"kind":"\\u0074est","refs":[],"seq":3,"v":1}', /canonical/],
    ['{"at":1795348800020,"kind":"test","refs":[],"seq":3.0,"v":1}', /canonical/],
    ['{"at":1795348800020,"kind":"test","refs":[],"seq":3,"v":2}', /unknown form/],
    ['{"at":1795348800020,"kind":"test","refs":[],"seq":4,"v":1}', /says it is entry 4/],
    ['{"at":1795348800001,"kind":"test","refs":[],"seq":3,"v":1}', /dated before/],
    ['{"at":1795348800020,"kind":"","refs":[],"seq":3,"v":1}', /no kind/],
    [`{"at":1795348800020,"kind":"test","pad":"${'x'.repeat(65_536)}","refs":[],"seq":3,"v":1}`, /longer/],
  ]
  for (const [text, why] of cases) {
    const { firstBad } = await afterTampering(replace(text))
    assert.equal(firstBad?.index, 3, text.slice(0, 80))
    assert.match(firstBad?.why ?? '', why)
  }
})

/** One of everything that a log can have: terms, something cut out, something pruned, more in one batch. */
async function everything(folder: string, options: TestStoreOptions = {}): Promise<TestStore> {
  const store = await openTestStore({ folder, reserveBytes: 4096, ...options })
  const append = (kind: string, refs: readonly string[], more: Record<string, Json> = {}) =>
    store.commit({ reads: [], run: (tx) => tx.append({ kind, refs, ...more }) })
  await Promise.all([append('test', ['r', 'é']), append('test', ['r'])])
  await append('decision', ['r', 'd'], { outcome: 'deny', attempt: { action: { name: 'read' } } })
  await append('test', ['r'], { why: 'a\ud800b', context: { 'k\udfff/~': [1], fine: { list: ['\udc00'] } } })
  await append('test', ['s'], { why: 'old' })
  store.clock.advance(5)
  await append('test', ['s'], { why: 'of the same time as the next', action: 'x' })
  const [gone] = await store.log.entries(4, 5)
  await append('log.pruned', [], {
    from: 4,
    to: 5,
    count: 1,
    before: store.clock.wall(),
    times: `sha256:${hex(sha256(JSON.stringify([gone?.at])))}`,
  })
  await store.log.prune([4])
  await append('test', ['last'])
  return store
}

/** What stands for the log in a data folder, and what only remembers where its batches ended. */
const TABLES = ['entry', 'ref', 'term', 'body', 'node', 'head', 'state', 'listing'] as const
const BESIDE = [
  'state.at',
  'state.version',
  'state.sum',
  'state.indexed',
  'state.one',
  'body.id',
  'listing.one',
]

type Cell = Readonly<{
  table: (typeof TABLES)[number]
  column: string
  key: string
  value: string | number | Uint8Array
}>

/** Every cell of the log, with what names its row. */
function cellsOf(db: DatabaseSync): Cell[] {
  return TABLES.flatMap((table) =>
    db
      .prepare(`SELECT * FROM ${table}`)
      .all()
      .flatMap((row) => {
        const key = Object.entries(row)
          .map(([column, value]) => `${column} IS ${literal(value as Cell['value'])}`)
          .join(' AND ')
        return Object.entries(row)
          .filter(([column]) => !BESIDE.includes(`${table}.${column}`))
          .map(([column, value]) => ({ table, column, key, value: value as Cell['value'] }))
      }),
  )
}

const literal = (value: string | number | Uint8Array): string =>
  typeof value === 'number'
    ? String(value)
    : typeof value === 'string'
      ? `'${value.replaceAll("'", "''")}'`
      : `x'${hex(value)}'`

/** The value with each of its bytes changed in turn, in one bit, and once more and once less of it. */
function* changesOf(value: Cell['value']): Generator<Cell['value']> {
  if (typeof value === 'number') {
    yield value + 1
    if (value > 0) yield value - 1
    return
  }
  const bytes = Buffer.from(value)
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Buffer.from(bytes)
    changed[at]! ^= 1 << (at & 7)
    if (typeof value !== 'string') yield changed
    else if (isUtf8(changed) && !changed.includes(0)) yield changed.toString()
  }
  if (typeof value === 'string') yield `${value}x`
  else {
    yield Buffer.concat([bytes, Buffer.of(0)])
    if (bytes.length > 0) yield bytes.subarray(0, -1)
  }
}

test('B66 every byte of every entry, hash, head, reference, term and kept body is covered', async () => {
  const folder = join(scratch, 'everything')
  await (await everything(folder)).close()
  const changes = await everyByte(folder, TABLES)
  assert.ok(changes > 1_500, `${changes} changes`)
})

test('B66 every byte of references and terms is covered while some of them are still to be written', async () => {
  const running = await everything(join(scratch, 'running'), { stretch: 6 })
  const folder = join(scratch, 'partly')
  cpSync(running.folder, folder, { recursive: true })
  await running.close()
  const db = new DatabaseSync(join(folder, 'writ.db'))
  const [listing] = db.prepare('SELECT done, until, list FROM listing').all()
  assert.deepEqual({ ...listing }, { done: 0, until: 6, list: 'term' })
  const missing = "INSERT INTO term VALUES ('kind=test', 0)"
  db.exec(missing)
  assert.match((await verifyFolder(folder)).firstBad?.why ?? '', /is listed under `kind=test`/)
  db.exec("DELETE FROM term WHERE term = 'kind=test'; DELETE FROM ref WHERE seq = 3")
  assert.match((await verifyFolder(folder)).firstBad?.why ?? '', /cannot be found under `r`/)
  db.exec("INSERT INTO ref VALUES ('r', 3); INSERT INTO ref VALUES ('last', 7)")
  assert.match((await verifyFolder(folder)).firstBad?.why ?? '', /is listed under `last`/)
  db.exec('DELETE FROM ref WHERE seq = 7')
  db.close()
  const changes = await everyByte(folder, ['ref', 'term', 'listing'])
  assert.ok(changes > 50, `${changes} changes`)
  // what was not written yet is found once it is
  const store = await openTestStore({ folder })
  assert.deepEqual((await store.log.search({ terms: ['kind=test'] })).items, [7, 5, 3, 1, 0])
  assert.deepEqual(await store.log.find('s'), [5])
  await store.close()
  assert.ok((await verifyFolder(folder)).ok)
})

/** Changes every byte of `tables` in turn, each of which must be found; returns how many changes that were. */
async function everyByte(folder: string, tables: readonly (typeof TABLES)[number][]): Promise<number> {
  assert.ok((await verifyFolder(folder)).ok)
  const db = new DatabaseSync(join(folder, 'writ.db'))
  db.exec('PRAGMA synchronous = OFF')
  let changes = 0
  for (const { table, column, key, value } of cellsOf(db)) {
    if (!tables.includes(table)) continue
    const put = db.prepare(`UPDATE OR IGNORE ${table} SET ${column} = ? WHERE ${key}`)
    for (const changed of changesOf(value)) {
      db.exec('SAVEPOINT untouched')
      // a row that would be another's is no change
      const isChange = put.run(changed).changes > 0
      db.exec('RELEASE untouched')
      if (!isChange) continue
      changes += 1
      const verdict = await verifyFolder(folder)
      const what = `${table}.${column} where ${key} changed to ${literal(changed)}`
      assert.ok(!verdict.ok && verdict.firstBad !== undefined, what)
      db.prepare(
        `UPDATE ${table} SET ${column} = ? WHERE ${key.replace(`${column} IS ${literal(value)}`, () => `${column} IS ${literal(changed)}`)}`,
      ).run(value)
    }
  }
  assert.ok((await verifyFolder(folder)).ok)
  db.close()
  return changes
}

test('B66 every row that is deleted, doubled or exchanged with another is found', async () => {
  const folder = join(scratch, 'rows')
  await (await everything(folder)).close()
  const db = new DatabaseSync(join(folder, 'writ.db'))
  db.exec('PRAGMA synchronous = OFF')
  const good = TABLES.map((table) => ({ table, rows: db.prepare(`SELECT * FROM ${table}`).all() }))
  const restore = (): void => {
    for (const { table, rows } of good) {
      db.exec(`DELETE FROM ${table}`)
      for (const row of rows) {
        const values = Object.values(row)
        db.prepare(`INSERT INTO ${table} VALUES (${values.map(() => '?').join()})`).run(...values)
      }
    }
  }
  const where = (row: Record<string, unknown>) =>
    Object.entries(row)
      .map(([column, value]) => `${column} IS ${literal(value as Cell['value'])}`)
      .join(' AND ')
  const seen = async (what: string): Promise<void> => {
    assert.equal((await verifyFolder(folder)).ok, false, what)
    restore()
  }
  for (const { table, rows } of good) {
    for (const [i, row] of rows.entries()) {
      // a head between others only says where a batch ended
      if (table === 'head' && i < rows.length - 1) continue
      db.exec(`DELETE FROM ${table} WHERE ${where(row)}`)
      await seen(`${table} ${i} deleted`)
    }
  }
  for (let first = 0; first < 8; first += 1) {
    for (let second = first + 1; second < 8; second += 1) {
      db.exec(`UPDATE entry SET seq = 99 WHERE seq = ${first}; UPDATE entry SET seq = ${first} WHERE seq = ${second};
        UPDATE entry SET seq = ${second} WHERE seq = 99`)
      await seen(`${first} and ${second} exchanged`)
    }
  }
  for (let size = 0; size < 8; size += 1) {
    db.exec(`DELETE FROM entry WHERE seq >= ${size}`)
    await seen(`cut to ${size}`)
  }
  db.exec("INSERT INTO body VALUES (NULL, 'sha256:00', 3, x'00')")
  await seen('something kept that is of no entry')
  db.exec('INSERT INTO body SELECT NULL, digest, seq + 1, bytes FROM body LIMIT 1')
  await seen('something kept for another entry')
  db.exec("INSERT INTO node VALUES (1, 0, x'00')")
  await seen('a node of no subtree')
  assert.ok((await verifyFolder(folder)).ok)
  db.close()
})

test('B66 every byte of the nodes over complete subtrees is covered', async () => {
  const store = await openTestStore({ folder: join(scratch, 'nodes'), reserveBytes: 4096 })
  const append = () => store.commit({ reads: [], run: (tx) => tx.append({ kind: 'k', refs: [] }) })
  await Promise.all(Array.from({ length: 513 }, append))
  await store.close()
  assert.ok((await verifyFolder(store.folder)).ok)
  const db = new DatabaseSync(join(store.folder, 'writ.db'))
  const nodes = cellsOf(db).filter(({ table }) => table === 'node')
  assert.equal(nodes.length, 2 * 3)
  for (const { column, key, value } of nodes) {
    for (const changed of changesOf(value)) {
      if (db.prepare(`UPDATE OR IGNORE node SET ${column} = ? WHERE ${key}`).run(changed).changes === 0)
        continue
      assert.equal((await verifyFolder(store.folder)).ok, false, `${column} ${literal(changed)}`)
      const now = key.replace(`${column} IS ${literal(value)}`, () => `${column} IS ${literal(changed)}`)
      db.prepare(`UPDATE node SET ${column} = ? WHERE ${now}`).run(value)
    }
  }
  db.exec('DELETE FROM node WHERE idx = 1')
  assert.equal((await verifyFolder(store.folder)).firstBad?.index, 511)
  db.close()
})

test('B66 an entry is taken for pruned only where a later `log.pruned` says so, with its time', async () => {
  const folder = join(scratch, 'pruned')
  await (await everything(folder)).close()
  const tampered = async (sql: string): Promise<Verdict> => {
    const copy = mkdtempSync(join(scratch, 'copy-'))
    cpSync(folder, copy, { recursive: true })
    const db = new DatabaseSync(join(copy, 'writ.db'))
    db.exec(sql)
    db.close()
    return verifyFolder(copy)
  }
  const bare =
    "UPDATE entry SET body = x'' WHERE seq = 1; DELETE FROM ref WHERE seq = 1; DELETE FROM term WHERE seq = 1"
  assert.deepEqual((await tampered(bare)).firstBad, {
    index: 1,
    why: 'was pruned, and no `log.pruned` says so',
  })
  const later = await tampered('UPDATE entry SET at = at + 1 WHERE seq = 4')
  assert.equal(later.firstBad?.index, 4)
  assert.match(later.firstBad?.why ?? '', /another time/)
})

test('B69 what is too long, broken over lines or ill-formed neither evades the search nor forges an entry', async () => {
  await using store = await openTestStore()
  const huge = 'x'.repeat(70_000)
  const forged = '","kind":"grant.active"}\n{"v":1,"seq":0,"at":0,"kind":"forged","refs":[]}\n'
  const attempt = (context: Json) => ({ action: { name: 'db:drop' }, context, subject: { id: forged } })
  const hostile: readonly Record<string, Json>[] = [
    { outcome: 'deny', attempt: attempt({ a: huge, b: huge }) },
    { outcome: 'deny', attempt: attempt(huge) },
    { outcome: 'deny', attempt: attempt(forged) },
    { outcome: 'deny', attempt: { ...attempt('\ud800'), ['\udfff']: huge } },
    {
      outcome: 'deny',
      attempt: { ...attempt({}), many: Array.from({ length: 100 }, () => '\ud800'.repeat(900)) },
    },
    {
      outcome: 'deny',
      attempt: attempt(Object.fromEntries(Array.from({ length: 9_000 }, (_, i) => [`k${i}`, 'yy']))),
    },
    {
      outcome: 'deny',
      ...Object.fromEntries(Array.from({ length: 4_000 }, (_, i) => [`m${i}`, '\ud800 yy'])),
      attempt: attempt(1),
    },
  ]
  for (const more of hostile)
    await store.commit({
      reads: [],
      run: (tx) => tx.append({ kind: 'decision', refs: ['Agent/a'], ...more }),
    })
  const all = hostile.map((_, i) => i).reverse()
  for (const terms of [['action=db:drop'], ['Agent/a', 'outcome=deny', 'kind=decision']])
    assert.deepEqual((await store.log.search({ terms })).items, all)
  for (const [seq, { bytes }] of unpruned(await store.log.entries(0, 99)).entries()) {
    assert.equal(Buffer.from(bytes).includes(10), false)
    const entry = JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>
    assert.equal(entry['kind'], 'decision')
    const kept = async (digest: string) => await store.log.body(digest)
    const known = new Map<string, Uint8Array>()
    for (const [digest] of Buffer.from(bytes)
      .toString()
      .matchAll(/sha256:[0-9a-f]{64}/gu)) {
      const body = await kept(digest)
      assert.ok(body !== undefined, `${seq} ${digest}`)
      assert.equal(`sha256:${hex(sha256(body))}`, digest)
      known.set(digest, body)
      for (const [inner] of Buffer.from(body)
        .toString()
        .matchAll(/sha256:[0-9a-f]{64}/gu))
        known.set(inner, (await kept(inner)) ?? assert.fail(inner))
    }
    // whatever was cut, all of it can be had back
    const whole = restored(entry, (digest) => known.get(digest))
    assert.deepEqual(whole['attempt'], hostile[seq]?.['attempt'])
  }
  const verdict = await verifyFolder(store.folder)
  assert.ok(verdict.ok, JSON.stringify(verdict))
})

test('entries fetched from a server that lies are caught', async () => {
  const store = await openTestStore({ folder: await filled })
  const lying = (lie: (entries: readonly LogEntry[]) => readonly SourceEntry[]) => ({
    head: () => store.log.head(),
    entries: async (from: number, to: number) => lie(unpruned(await store.log.entries(from, to))),
  })
  assert.equal((await verifyLog(lying((it) => it.filter(({ seq }) => seq < 4)))).firstBad?.index, 4)
  assert.equal((await verifyLog(lying((it) => it.filter(({ seq }) => seq !== 2)))).firstBad?.index, 2)
  const forged = lying((it) =>
    it.map((entry) => (entry.seq === 5 ? { ...entry, bytes: altered(entry.bytes) } : entry)),
  )
  assert.equal((await verifyLog(forged)).ok, false)
  await store.close()
})
