/**
 * Entries as CloudEvents 1.0.2 in structured JSON. Pure.
 *
 * @module
 */
import type { Json } from '../../model/canonical.ts'
import { toRfc3339 } from '../../model/time.ts'
import type { Recorded } from './record.ts'
import { PRUNED } from './record.ts'

export type CloudEvent = Readonly<Record<string, Json | undefined>>

/** Digits of `sequence`, so that it orders as text: more than a log will ever have. */
const SEQUENCE_DIGITS = 16

/**
 * An entry as an event. `source` and `id` name the entry and are the same whenever it is sent again; `sequence` orders
 * as text (the `sequence` extension); `writleaf` is its leaf hash in the log.
 */
export function toCloudEvent(of: Recorded): CloudEvent {
  const subject = of.refs[0]
  return {
    specversion: '1.0',
    id: String(of.seq),
    source: of.origin,
    type: `writ.${of.kind}.v1`,
    time: toRfc3339(of.at),
    ...(subject === undefined ? {} : { subject: attribute(subject) }),
    datacontenttype: 'application/json',
    sequence: String(of.seq).padStart(SEQUENCE_DIGITS, '0'),
    writleaf: of.leaf,
    data: of.kind === PRUNED ? { seq: of.seq, at: of.at, leaf: of.leaf, pruned: true } : of.entry,
  }
}

/** Attributes hold no control characters and no half of a pair (CloudEvents §3.1): they are written as `%0A`. */
function attribute(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(/[\p{Cc}\p{Noncharacter_Code_Point}]/gu, (char) => encodeURIComponent(char))
}
