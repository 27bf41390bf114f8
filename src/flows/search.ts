/**
 * Searching the record by what entries name, newest first.
 *
 * @module
 */
import { refKey } from '../model/entity.ts'
import type { EntityRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Instant } from '../model/time.ts'
import type { LogEntry, Page, PrunedEntry, Store } from '../store/port.ts'

/** What is looked for: all that is given must apply, and what is not given restricts nothing. */
export type LogQuery = Readonly<{
  /** An id (`grant_…`), an entity (`Agent/triage`), or a term as `kind=decision`. */
  term?: string
  kind?: string
  subject?: EntityRef
  resource?: EntityRef
  action?: string
  outcome?: string
  /** From this instant on. */
  since?: Instant
  /** Before this instant. */
  until?: Instant
  /** Entries before this one: the cursor of the page before. */
  before?: number
  limit?: number
}>

/** Entries of one page, if the caller does not say, and at most. */
const PAGE = 50
const PAGE_MOST = 500

/**
 * A page of the newest entries that match. What it costs depends on what is found, not on how long the log is; a page
 * may be short, or empty, although there is a `next`.
 *
 * @throws {WritError} `ERR_TOO_LARGE`.
 */
export async function searchRecord(
  { log }: Pick<Store, 'log'>,
  query: LogQuery,
): Promise<Page<LogEntry | PrunedEntry>> {
  const { limit = PAGE } = query
  if (limit > PAGE_MOST) {
    throw new WritError('ERR_TOO_LARGE', `at most ${PAGE_MOST} entries at once`, { hint: 'ask in pages' })
  }
  const named = (name: string, value: string | undefined): string[] =>
    value === undefined ? [] : [`${name}=${value}`]
  const terms = [
    ...(query.term === undefined ? [] : [query.term]),
    ...(query.subject === undefined ? [] : [refKey(query.subject)]),
    ...(query.resource === undefined ? [] : [refKey(query.resource)]),
    ...named('kind', query.kind),
    ...named('action', query.action),
    ...named('outcome', query.outcome),
  ]
  const from = query.since === undefined ? 0 : await log.seqAt(query.since)
  const end = query.until === undefined ? undefined : await log.seqAt(query.until)
  const before = Math.min(end ?? Infinity, query.before ?? Infinity)
  const { items, next } = await log.search({
    terms,
    from,
    limit,
    ...(before === Infinity ? {} : { before }),
  })
  const entries: (LogEntry | PrunedEntry)[] = []
  for (const seq of items) entries.push(...(await log.entries(seq, seq + 1)))
  return { items: entries, next }
}
