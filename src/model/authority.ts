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
  task: ['calls', 'denials', 'resources', 'heartbeatAt', 'waitUntil'],
  grant: ['used', 'counted'],
  session: ['idleUntil'],
}

/** Whether `before` and `after` bear the same authority. Absence counts as read: absent and present differ. */
export function sameAuthority<K extends Kind>(
  kind: K,
  before: Records[K] | undefined,
  after: Records[K] | undefined,
): boolean {
  if (before === after) return true
  if (before === undefined || after === undefined) return false
  return canonical(bearing(kind, before)) === canonical(bearing(kind, after))
}

function bearing(kind: Kind, value: object): Json {
  const left = new Set(counters[kind] ?? [])
  return Object.fromEntries(Object.entries(value).filter(([member]) => !left.has(member)))
}
