/**
 * What a read set compares: the part of a record that bears authority. Counters and heartbeats are not versioned
 * reads; they are tested and applied in log order, so spending them never makes another attempt stale.
 *
 * @module
 */
import type { Json } from './canonical.ts'
import { canonical } from './canonical.ts'
import type { Kind, Records } from './records.ts'

const counters: Readonly<Partial<Record<Kind, readonly string[]>>> = {
  task: [
    'calls',
    'denials',
    'retries',
    'resources',
    'systems',
    'denied',
    'recent',
    'heartbeatAt',
    'waitUntil',
  ],
  grant: ['used', 'counted', 'reads', 'urgency', 'reviewAt'],
  session: ['idleUntil'],
  lock: ['ended', 'owes'],
  // the same said again keeps it known for longer, and is no news
  fact: ['observedAt', 'receivedAt', 'by'],
}

/** Whether `before` and `after` bear the same authority. Absence counts as read: absent and present differ. */
export function sameAuthority<K extends Kind>(
  kind: K,
  before: Records[K] | undefined,
  after: Records[K] | undefined,
): boolean {
  if (before === after) return true
  if (before === undefined || after === undefined) return false
  const [left, right] = [before as Members, after as Members]
  return bearing(kind, left)
    .union(bearing(kind, right))
    .values()
    .every((name) => same(left[name], right[name]))
}

type Members = Readonly<Record<string, Json | undefined>>

/** What was copied as it was needs no comparing. */
function same(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true
  return a !== undefined && b !== undefined && canonical(a) === canonical(b)
}

function bearing(kind: Kind, value: Members): Set<string> {
  return new Set(Object.keys(value)).difference(new Set(counters[kind] ?? []))
}
