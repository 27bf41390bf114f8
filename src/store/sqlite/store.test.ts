import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { engineFlags } from '../../../test/support/engine.ts'
import { openTestStore, unpruned } from '../../../test/support/store.ts'
import type { TestStore, TestStoreOptions } from '../../../test/support/store.ts'
import { openLogFolder } from '../../audit/folder.ts'
import { verifyLog } from '../../audit/verify.ts'
import type { ErrorCode, WritError } from '../../model/errors.ts'
import { isWritError } from '../../model/errors.ts'
import { leafHash } from '../hash.ts'

const withCode = (code: ErrorCode) => (error: unknown) => isWritError(error, code)

function write(
  store: TestStore,
  id: string,
  over: { narrowing?: boolean; pad?: number } = {},
): Promise<number> {
  const { narrowing = false, pad = 0 } = over
  return store.commit({
    reads: [],
    narrowing,
    run(tx) {
      tx.put('credential', id, {
        id,
        state: 'live',
        grant: 'g',
        target: 't',
        planned: 'x'.repeat(pad),
        plannedAt: 0,
        endsAt: 1,
        tries: 0,
      })
      // what has no UTF-8 form is kept beside the entry
      return tx.append({ kind: narrowing ? 'revoked' : 'issued', refs: [id], why: '\ud800' })
    },
  })
}

const ids = async (store: TestStore) =>
  (await store.list('credential', { limit: 1000 })).items.map((it) => it.id)

/** Fills the store until it refuses; returns the refusal. */
async function fillUp(store: TestStore): Promise<WritError> {
  for (let i = 0; i < 10_000; i++) {
    try {
      await write(store, `fill-${i}`, { pad: 20_000 })
    } catch (error) {
      assert.ok(isWritError(error, 'ERR_STORE_FULL'), String(error))
      return error
    }
  }
  return assert.fail('the store never filled')
}

const small: TestStoreOptions = { maxBytes: 1 << 20, reserveBytes: 1 << 20 }

test('B68 a full store refuses what widens, applies nothing of it, and still records what narrows', async () => {
  await using store = await openTestStore(small)
  const refusal = await fillUp(store)
  assert.match(refusal.hint ?? '', /free space/)
  const [kept, { size }] = [await ids(store), await store.log.head()]
  assert.equal(kept.length, size)
  assert.equal(existsSync(join(store.folder, 'reserve')), false)
  assert.match(store.problems().join(), /no room/)

  await assert.rejects(write(store, 'more'), withCode('ERR_STORE_FULL'))
  for (let i = 0; i < 20; i++) await write(store, `revoked-${i}`, { narrowing: true, pad: 10_000 })
  assert.equal((await store.log.head()).size, size + 20)

  const again = await store.reopen()
  assert.deepEqual((await ids(again)).length, kept.length + 20)
  assert.match(again.problems().join(), /no room/)
  await assert.rejects(write(again, 'more'), withCode('ERR_STORE_FULL'))
  assert.ok((await verifyLog(again.log)).ok)
  await again.close()
})

test('B68 in the batch that fills the store, what narrows is tried again over the state it really finds', async () => {
  await using store = await openTestStore(small)
  const sizes = { reads: [{ index: 'credential.grant', value: 'g' }] as const }
  const batch = [
    write(store, 'widening', { pad: 2 << 20 }),
    store.commit({
      ...sizes,
      narrowing: true,
      run: (tx) => (tx.append({ kind: 'revoked', refs: [] }), tx.scan('credential.grant', 'g').length),
    }),
    write(store, 'small'),
  ]
  const [widening, narrowing, other] = await Promise.allSettled(batch)
  assert.deepEqual([widening?.status, other?.status], ['rejected', 'rejected'])
  assert.deepEqual(narrowing, { status: 'fulfilled', value: 0 })
  assert.deepEqual(await ids(store), [])
})

test('B68 without room what entries are found by stays in memory, and is found', async () => {
  let listings = 0
  const step = (name: string) => {
    if (name === 'listing: before') listings += 1
  }
  await using store = await openTestStore({ ...small, stretch: 4, hooks: { step } })
  await fillUp(store)
  assert.ok(listings > 0)
  const before = listings
  const last = await Promise.all(
    Array.from({ length: 40 }, (_, i) => write(store, `revoked-${i}`, { narrowing: true })),
  )
  assert.equal(listings, before)
  const again = await store.reopen()
  assert.equal(listings, before)
  assert.deepEqual(await again.log.find('revoked-39'), last.slice(-1))
  assert.deepEqual((await again.log.search({ terms: ['kind=revoked'] })).items, last.toReversed())
  await again.close()
})

test('B68 with room again the reserve is taken back and widening resumes', async () => {
  await using store = await openTestStore(small)
  await fillUp(store)
  const all = await ids(store)
  await store.commit({
    reads: [],
    narrowing: true,
    run: (tx) => all.forEach((id) => tx.delete('credential', id)),
  })
  await assert.rejects(write(store, 'early'), withCode('ERR_STORE_FULL'))
  store.clock.advance(10_000)
  await write(store, 'later')
  assert.deepEqual([await ids(store), store.problems()], [['later'], []])
  assert.equal(statSync(join(store.folder, 'reserve')).size, 1 << 20)
})

test('B68 an error of the disk in the middle of a batch leaves nothing of it', async () => {
  for (const at of [
    'put: before',
    'list: after',
    'entry: before',
    'ref: after',
    'term: before',
    'listing: after',
    'body: before',
    'head: after',
    'commit: before',
  ]) {
    let armed = false
    const step = (name: string) => {
      if (armed && name === at) throw Object.assign(new Error('no room'), { errcode: 13 })
    }
    await using store = await openTestStore({ hooks: { step }, stretch: 1 })
    await write(store, 'before')
    armed = true
    await assert.rejects(write(store, 'lost'), withCode('ERR_STORE_FULL'))
    armed = false
    store.clock.advance(10_000)
    await write(store, 'after')
    assert.deepEqual(await ids(store), ['after', 'before'])
    const again = await store.reopen()
    assert.deepEqual(await ids(again), ['after', 'before'])
    assert.ok((await verifyLog(again.log)).ok)
    await again.close()
  }
})

test('B72 after a failed sync nothing is served until the folder is opened anew', async () => {
  let armed = false
  const step = (name: string) => {
    if (armed && name === 'commit: before')
      throw Object.assign(new Error('sync failed'), { errcode: 10 | (4 << 8) })
  }
  await using store = await openTestStore({ hooks: { step } })
  await write(store, 'a')
  armed = true
  await assert.rejects(write(store, 'b', { narrowing: true }), withCode('ERR_STORE_CORRUPT'))
  armed = false
  await assert.rejects(write(store, 'c'), withCode('ERR_STORE_CORRUPT'))
  await assert.rejects(store.read([]), withCode('ERR_STORE_CORRUPT'))
  assert.match(store.problems().join(), /damaged/)
  const again = await store.reopen()
  assert.deepEqual(await ids(again), ['a'])
  await again.close()
})

async function filledFolder(): Promise<TestStore> {
  const store = await openTestStore({ reserveBytes: 4096 })
  for (let i = 0; i < 12; i++) await write(store, `c${i}`, { pad: 50 })
  await store.close()
  return store
}

test('B72 a file with any one byte changed is refused, or served without a difference', async () => {
  await using closed = await filledFolder()
  const path = join(closed.folder, 'writ.db')
  const good = readFileSync(path)
  const served = async (store: TestStore) => {
    const view = await store.read([{ index: 'credential.grant', value: 'g' }])
    const entries = unpruned(await store.log.entries(0, 99)).map(({ bytes }) => Buffer.from(bytes).toString())
    return JSON.stringify([
      await store.list('credential'),
      view.scan('credential.grant', 'g'),
      entries,
      await store.log.head(),
    ])
  }
  const untouched = await closed.reopen()
  const expected = await served(untouched)
  await untouched.close()

  let refused = 0
  let checked = 0
  for (let at = 0; at < good.length; at += 61) {
    if (good[at] === 0 && at % 7 !== 0) continue
    checked += 1
    const changed = Buffer.from(good)
    changed[at]! ^= 0x15
    for (const beside of ['writ.db-wal', 'writ.db-shm']) rmSync(join(closed.folder, beside), { force: true })
    writeFileSync(path, changed)
    let store: TestStore | undefined
    try {
      store = await closed.reopen()
      assert.ok((await served(store)) === expected, `byte ${at} changed what is served`)
    } catch (error) {
      assert.ok(isWritError(error, 'ERR_STORE_CORRUPT', 'ERR_CONFIG_INVALID'), `byte ${at}: ${String(error)}`)
      refused += 1
    } finally {
      await store?.close()
    }
    const source = await findings(closed.folder)
    if (source !== undefined) assert.equal(typeof source, 'boolean')
  }
  assert.ok(refused > 20, `${refused} of ${checked}`)
})

/** The verifier never fails on a damaged file: it finds something, or nothing. */
async function findings(folder: string): Promise<boolean | undefined> {
  try {
    const source = openLogFolder(folder)
    try {
      return (await verifyLog(source)).ok
    } finally {
      source.close()
    }
  } catch (error) {
    assert.ok(isWritError(error, 'ERR_STORE_CORRUPT'), String(error))
    return undefined
  }
}

test('B72 a log that contradicts its head, or lacks its end, is refused', async () => {
  for (const sql of [
    'DELETE FROM entry WHERE seq = 11',
    'DELETE FROM entry WHERE seq = 9',
    "UPDATE entry SET body = x'7b7d' WHERE seq = 10",
    'DELETE FROM head WHERE size = 12',
    "UPDATE head SET root = x'00' WHERE size = 12",
    'UPDATE state SET size = 11',
    'UPDATE state SET at = at - 1000',
    'DELETE FROM state',
  ]) {
    await using closed = await filledFolder()
    const db = new DatabaseSync(join(closed.folder, 'writ.db'))
    db.exec(sql)
    db.close()
    await assert.rejects(closed.reopen(), withCode('ERR_STORE_CORRUPT'), sql)
  }
})

test('B72 a record changed behind the back of the store is refused when it is read', async () => {
  await using closed = await filledFolder()
  const db = new DatabaseSync(join(closed.folder, 'writ.db'))
  const store = await closed.reopen()
  db.exec(`UPDATE record SET body = replace(body, '"endsAt":1', '"endsAt":9') WHERE id = 'c3'`)
  db.close()
  await assert.rejects(store.read([{ kind: 'credential', id: 'c3' }]), withCode('ERR_STORE_CORRUPT'))
  await assert.rejects(store.read([{ kind: 'credential', id: 'c4' }]), withCode('ERR_STORE_CORRUPT'))
  await store.close()
})

test('another program that writes to a served database is noticed', async () => {
  await using store = await openTestStore()
  await write(store, 'a')
  const db = new DatabaseSync(join(store.folder, 'writ.db'))
  db.exec("DELETE FROM record WHERE id = 'a'; DELETE FROM listed WHERE id = 'a'")
  db.close()
  await write(store, 'b')
  assert.match(store.problems().join(), /another program/)
  const view = await store.read([{ kind: 'credential', id: 'a' }])
  assert.equal(view.get('credential', 'a'), undefined)
})

test('a program that holds the database makes commits fail, not hang, and they work afterwards', async () => {
  await using store = await openTestStore()
  const db = new DatabaseSync(join(store.folder, 'writ.db'))
  db.exec('BEGIN IMMEDIATE')
  await assert.rejects(write(store, 'a'), withCode('ERR_STORE_BUSY'))
  db.exec('ROLLBACK')
  db.close()
  await write(store, 'a')
  assert.deepEqual(await ids(store), ['a'])
})

test('indexes that were written by other rules are built anew', async () => {
  await using closed = await filledFolder()
  const db = new DatabaseSync(join(closed.folder, 'writ.db'))
  db.exec(
    "UPDATE state SET indexed = 'older'; DELETE FROM listed WHERE id = 'c1'; INSERT INTO listed VALUES ('grant.task', 'x', 'y')",
  )
  db.close()
  const store = await closed.reopen()
  const view = await store.read([
    { index: 'credential.open', value: 'open' },
    { index: 'grant.task', value: 'x' },
  ])
  assert.deepEqual(
    [view.scan('credential.open', 'open').length, view.scan('grant.task', 'x').length],
    [12, 0],
  )
  await store.close()
})

test('a log of the first form gets its nodes and search terms when it is opened', async () => {
  await using store = await openTestStore({ reserveBytes: 4096 })
  const append = (i: number) =>
    store.commit({ reads: [], run: (tx) => tx.append({ kind: `k${i % 2}`, refs: ['r'], outcome: 'deny' }) })
  await Promise.all(Array.from({ length: 300 }, (_, i) => append(i)))
  await store.close()
  const db = new DatabaseSync(join(store.folder, 'writ.db'))
  db.exec('DROP TABLE node; DROP TABLE term; DROP TABLE body; DROP TABLE listing; PRAGMA user_version = 1')
  db.close()
  const again = await store.reopen()
  assert.equal((await again.log.hashes(1, 0, 9)).length, 1)
  assert.equal(
    (await again.log.search({ terms: ['kind=k1', 'outcome=deny', 'r'], limit: 1000 })).items.length,
    150,
  )
  await again.commit({ reads: [], run: (tx) => tx.append({ kind: 'k0', refs: [] }) })
  await again.close()
  assert.equal(await findings(store.folder), true)
})

test('what an older Writ cut from an entry without keeping it is no finding', async () => {
  await using store = await openTestStore({ reserveBytes: 4096 })
  await store.commit({ reads: [], run: (tx) => tx.append({ kind: 'k', refs: ['r'.repeat(70_000)] }) })
  await store.close()
  const db = new DatabaseSync(join(store.folder, 'writ.db'))
  const body = Buffer.from(db.prepare('SELECT body FROM entry').get()?.['body'] as Uint8Array)
  const older = Buffer.from(body.toString().replace('"kept":true,', ''))
  const leaf = leafHash(older)
  db.prepare('UPDATE entry SET body = ?, leaf = ?').run(older, leaf)
  db.prepare('UPDATE head SET root = ?').run(leaf)
  db.prepare('UPDATE state SET frontier = ?').run(leaf)
  db.exec('DELETE FROM body')
  db.close()
  assert.equal(await findings(store.folder), true)
})

test('something kept that is no longer what its digest says is not served', async () => {
  await using store = await openTestStore()
  await store.commit({ reads: [], run: (tx) => tx.append({ kind: 'k', refs: [], why: '\ud800' }) })
  const db = new DatabaseSync(join(store.folder, 'writ.db'))
  const digest = db.prepare('SELECT digest FROM body').get()?.['digest'] as string
  db.exec("UPDATE body SET bytes = x'22'")
  db.close()
  await assert.rejects(store.log.body(digest), withCode('ERR_STORE_CORRUPT'))
})

test('data of a newer form, and other databases, are refused in one sentence', async () => {
  await using closed = await filledFolder()
  const alter = (sql: string) => {
    const db = new DatabaseSync(join(closed.folder, 'writ.db'))
    db.exec(sql)
    db.close()
  }
  alter('PRAGMA user_version = 999')
  await assert.rejects(closed.reopen(), (error) => {
    assert.ok(isWritError(error, 'ERR_CONFIG_INVALID'))
    assert.match(error.message, /written by a newer Writ \(form 999/)
    return true
  })
  alter('PRAGMA application_id = 1')
  await assert.rejects(closed.reopen(), withCode('ERR_STORE_CORRUPT'))
  writeFileSync(
    join(closed.folder, 'writ.db'),
    'not a database, but long enough to be looked at '.repeat(100),
  )
  await assert.rejects(closed.reopen(), withCode('ERR_STORE_CORRUPT'))
})

test('folder and files are private; a folder others may look into is reported', async () => {
  const parent = mkdtempSync(join(tmpdir(), 'writ-mode-'))
  await using store = await openTestStore({ folder: join(parent, 'deep', 'data') })
  await write(store, 'a')
  const mode = (name: string) => statSync(join(store.folder, name)).mode & 0o777
  assert.equal(mode('.'), 0o700)
  for (const name of ['writ.db', 'writ.db-wal', 'writ.db-shm', 'lock.db', 'reserve'])
    assert.equal(mode(name), 0o600, name)
  chmodSync(store.folder, 0o755)
  const again = await store.reopen()
  assert.match(again.problems().join(), /mode 755/)
  await again.close()
  rmSync(parent, { recursive: true })
})

test('a data folder that cannot be a folder is refused in one sentence', async () => {
  const parent = mkdtempSync(join(tmpdir(), 'writ-file-'))
  writeFileSync(join(parent, 'file'), '')
  await assert.rejects(
    openTestStore({ folder: join(parent, 'file', 'data') }),
    withCode('ERR_CONFIG_INVALID'),
  )
  mkdirSync(join(parent, 'odd', 'writ.db'), { recursive: true })
  await assert.rejects(openTestStore({ folder: join(parent, 'odd') }), withCode('ERR_CONFIG_INVALID'))
  rmSync(parent, { recursive: true })
})

const HOLDER = `
  const { openSqliteStore } = await import('./src/store/sqlite/store.ts')
  const { systemClock } = await import('./src/store/clock.ts')
  const store = await openSqliteStore({ folder: process.argv[1], clock: systemClock, reserveBytes: 4096 })
  console.log('open')
  process.stdin.resume()
`

/** A process that holds the folder until it is killed. */
async function holder(folder: string): Promise<ChildProcess> {
  const cwd = join(import.meta.dirname, '../../..')
  const child = spawn(process.execPath, [...engineFlags, '--input-type=module', '-e', HOLDER, folder], {
    cwd,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  for await (const line of createInterface({ input: child.stdout })) if (line === 'open') return child
  return assert.fail('the other process did not open the folder')
}

test('a second server on one data folder is refused in one sentence, until the first is gone, even by kill -9', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'writ-lock-'))
  const child = await holder(folder)
  const refused = (error: unknown) => {
    assert.ok(isWritError(error, 'ERR_STORE_BUSY'))
    assert.ok(error.message.includes(folder))
    return true
  }
  await assert.rejects(openTestStore({ folder }), refused)
  await assert.rejects(openTestStore({ folder }), refused)
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await gone
  await using store = await openTestStore({ folder })
  await write(store, 'a')
  await assert.rejects(openTestStore({ folder }), refused)
  await assert.rejects(holderExit(folder), /another Writ/)
})

/** Rejects with what a process prints that cannot open the folder. */
async function holderExit(folder: string): Promise<void> {
  const cwd = join(import.meta.dirname, '../../..')
  const child = spawn(process.execPath, [...engineFlags, '--input-type=module', '-e', HOLDER, folder], {
    cwd,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const chunks: Buffer[] = []
  for await (const chunk of child.stderr as AsyncIterable<Buffer>) chunks.push(chunk)
  throw new Error(Buffer.concat(chunks).toString())
}
