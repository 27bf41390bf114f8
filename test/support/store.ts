/**
 * A real store in a folder of its own, on a clock that only the test moves.
 *
 * @module
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Instant, Millis } from '../../src/model/time.ts'
import type { Clock } from '../../src/store/clock.ts'
import type { LogEntry, PrunedEntry, Store } from '../../src/store/port.ts'
import { isPruned } from '../../src/store/port.ts'
import type { SqliteOptions } from '../../src/store/sqlite/store.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'

/** Entries of a log of which nothing was pruned. */
export function unpruned(entries: readonly (LogEntry | PrunedEntry)[]): readonly LogEntry[] {
  return entries.map((entry) => {
    if (isPruned(entry)) throw new TypeError(`entry ${entry.seq} was pruned`)
    return entry
  })
}

/** 2026-11-22T12:00:00Z. */
export const TEST_START: Instant = 1_795_348_800_000

export type ManualClock = Clock & {
  /** Time passes: both clocks move. */
  advance(by: Millis): void
  /** Somebody sets the wall clock back; no time passes. */
  rewind(by: Millis): void
  /** Somebody sets the wall clock; no time passes. */
  set(wall: Instant): void
}

export function manualClock(start: Instant = TEST_START): ManualClock {
  let wall = start
  let monotonic = 0
  return {
    wall: () => wall,
    monotonic: () => monotonic,
    advance(by) {
      wall += by
      monotonic += by
    },
    rewind(by) {
      wall -= by
    },
    set(to) {
      wall = to
    },
  }
}

export type TestStore = Store & {
  readonly folder: string
  readonly clock: ManualClock
  /** Closes the store and opens its folder again, on the same clock unless told otherwise; the old one is unusable. */
  reopen(options?: TestStoreOptions): Promise<TestStore>
  [Symbol.asyncDispose](): Promise<void>
}

export type TestStoreOptions = Partial<Omit<SqliteOptions, 'clock'>> & { clock?: ManualClock }

/**
 * `await using store = await openTestStore()`: leaving the scope closes it and removes its folder. Whatever it hands
 * out is frozen.
 */
export async function openTestStore(options: TestStoreOptions = {}): Promise<TestStore> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'writ-store-'))
  const clock = options.clock ?? manualClock()
  const all: SqliteOptions = { reserveBytes: 64 << 10, freeze: true, ...options, folder, clock }
  const store = await openSqliteStore(all)
  return Object.assign(store, {
    folder,
    clock,
    async reopen(more: TestStoreOptions = {}) {
      await store.close()
      return openTestStore({ ...options, folder, clock, ...more })
    },
    async [Symbol.asyncDispose]() {
      await store.close()
      rmSync(folder, { recursive: true, force: true })
    },
  })
}
