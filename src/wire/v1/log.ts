/**
 * The record on the wire: head, entries, live events.
 *
 * @module
 */
import * as z from 'zod'
import type { Json } from '../../model/canonical.ts'
import type { Instant } from '../../model/time.ts'
import { encodeInstant, instantOut, jsonOut } from '../bounds.ts'

export const logHead = z
  .object({
    size: z.int(),
    root: z.string().meta({ description: 'RFC 6962 tree head, lowercase hexadecimal SHA-256' }),
  })
  .meta({ id: 'LogHead' })

export type WireLogHead = z.infer<typeof logHead>

export const logEntry = z
  .object({
    seq: z.int(),
    at: instantOut,
    entry: jsonOut,
    bytes: z.string().meta({ format: 'byte', description: 'The canonical bytes that were hashed, base64' }),
  })
  .meta({ id: 'LogEntry' })

export type WireLogEntry = z.infer<typeof logEntry>

export const prunedLogEntry = z
  .object({
    seq: z.int(),
    at: instantOut,
    leaf: z.string().meta({ format: 'byte', description: 'Its RFC 6962 leaf hash, base64' }),
    pruned: z.literal(true).meta({ description: 'Retention has pruned it; a later `log.pruned` says so' }),
  })
  .meta({ id: 'PrunedLogEntry' })

export type WirePrunedLogEntry = z.infer<typeof prunedLogEntry>

export const logEntries = z
  .object({
    items: z.array(z.union([logEntry, prunedLogEntry])),
    next: z.int().exactOptional().meta({ description: '`from` of the next page' }),
  })
  .meta({ id: 'LogEntries' })

export const logPage = z
  .object({
    items: z.array(z.union([logEntry, prunedLogEntry])),
    next_cursor: z.string().exactOptional().meta({ description: 'The `before` of the next page' }),
  })
  .meta({ id: 'LogPage' })

type Place = Readonly<{ seq: number; at: Instant }>

export function encodeLogEntry(
  value: Place & Readonly<{ bytes: Uint8Array } | { leaf: Uint8Array; pruned: true }>,
): WireLogEntry | WirePrunedLogEntry {
  if ('pruned' in value) {
    return { seq: value.seq, at: encodeInstant(value.at), leaf: base64(value.leaf), pruned: true }
  }
  const text = new TextDecoder().decode(value.bytes)
  return {
    seq: value.seq,
    at: encodeInstant(value.at),
    entry: JSON.parse(text) as Json,
    bytes: base64(value.bytes),
  }
}

function base64(bytes: Uint8Array): string {
  let binary = ''
  for (let i = 0; i < bytes.length; i += 8_192) binary += String.fromCharCode(...bytes.subarray(i, i + 8_192))
  return btoa(binary)
}

/** The data of one server-sent event; its `id:` is the log index. */
export const liveEvent = z
  .object({ id: z.int(), kind: z.string(), refs: z.array(z.string()), at: instantOut, entry: jsonOut })
  .meta({ id: 'LiveEvent' })

export type WireLiveEvent = z.infer<typeof liveEvent>

export function encodeLiveEvent(value: {
  readonly id: number
  readonly kind: string
  readonly refs: readonly string[]
  readonly at: Instant
  readonly entry: Json
}): WireLiveEvent {
  return {
    id: value.id,
    kind: value.kind,
    refs: [...value.refs],
    at: encodeInstant(value.at),
    entry: value.entry,
  }
}
