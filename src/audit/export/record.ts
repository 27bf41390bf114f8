/**
 * An entry on its way out: what every form of export is made from. Its place in the log (origin, sequence number, leaf
 * hash) goes with it, so that whoever receives it can tie it to the log that it came from.
 *
 * @module
 */
import type { Json } from '../../model/canonical.ts'
import type { Instant } from '../../model/time.ts'
import { hex, leafHash } from '../../store/hash.ts'

export type Members = Readonly<Record<string, Json | undefined>>

/** One entry as it is exported. */
export type Recorded = Readonly<{
  /** The log it stands in, e.g. `writ/inst_…`, with the epoch from the second on. */
  origin: string
  installation: string
  seq: number
  at: Instant
  /** RFC 6962 leaf hash, lowercase hex. */
  leaf: string
  /** `pruned` for an entry of which only the hash is kept. */
  kind: string
  refs: readonly string[]
  /** Absent when pruned. */
  entry?: Members
  /** The canonical JSON that was hashed; absent when pruned. */
  text?: string
}>

/** An entry as a store or another source of the log has it. */
type Entry = Readonly<{ seq: number; at: Instant }> &
  Readonly<{ bytes: Uint8Array } | { leaf: Uint8Array; pruned: true }>

/** The kind under which an entry is exported that retention has pruned. */
export const PRUNED = 'pruned'

export function recorded(entry: Entry, origins: Origins): Recorded {
  const { seq, at } = entry
  const place = { origin: origins.at(seq), installation: origins.installation, seq, at }
  if ('pruned' in entry) return { ...place, leaf: hex(entry.leaf), kind: PRUNED, refs: [] }
  const text = Buffer.from(entry.bytes).toString('utf8')
  const members = JSON.parse(text) as Members
  return {
    ...place,
    leaf: hex(leafHash(entry.bytes)),
    kind: kindOf(members),
    refs: strings(members['refs']),
    entry: members,
    text,
  }
}

/**
 * Which log an entry stands in. A restored backup begins an epoch and with it another log, so that two entries that
 * were given one number are never taken for each other.
 */
export class Origins {
  readonly installation: string
  /** In the order of the log: from which entry on each later epoch counts. */
  readonly #epochs: { from: number; epoch: number }[] = []

  constructor(installation: string) {
    this.installation = installation
  }

  /** Learns of an epoch; entries are shown in the order of the log, any number of times. */
  see({ seq, kind, entry }: Readonly<{ seq: number; kind: string; entry?: Members }>): void {
    if (kind !== EPOCH_BEGAN || entry === undefined) return
    const epoch = entry['epoch']
    const known = this.#epochs.at(-1)
    if (typeof epoch !== 'number' || (known !== undefined && known.epoch >= epoch)) return
    // what was written between the restore and the entry that noticed it stands in the new epoch too
    const from = members(entry['found'])['size']
    this.#epochs.push({ from: typeof from === 'number' && from <= seq ? from : seq, epoch })
  }

  /** The origin of entry `seq`. */
  at(seq: number): string {
    const epoch = this.#epochs.findLast(({ from }) => from <= seq)?.epoch ?? 1
    return epoch === 1 ? `writ/${this.installation}` : `writ/${this.installation}/${epoch}`
  }
}

/** The kind of the entry that begins an epoch. */
export const EPOCH_BEGAN = 'epoch.began'

/** Of an entry; the store lets no entry be without one. */
export function kindOf(entry: Members): string {
  return string(entry['kind']) ?? 'unknown'
}

export function strings(value: Json | undefined): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}

export function members(value: Json | undefined): Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : {}
}

export function string(value: Json | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** `{ type, id }` or `Type/id` as `Type/id`. */
export function refOf(value: Json | undefined): string | undefined {
  const { type, id } = members(value)
  return typeof type === 'string' && typeof id === 'string' ? `${type}/${id}` : string(value)
}

/** Who an entry is about: the subject that it names, or the first entity among its references. */
export function subjectOf({ entry = {}, refs }: Recorded): string | undefined {
  return (
    refOf(members(entry['attempt'])['subject']) ??
    refOf(entry['subject']) ??
    refOf(entry['person']) ??
    refOf(members(entry['declared'])['subject']) ??
    refOf(members(entry['statement'])['subject']) ??
    refs.find((ref) => ref.includes('/'))
  )
}

/** What an entry is about besides its subject: the resource of the attempt or the statement. */
export function resourceOf({ entry = {} }: Recorded): string | undefined {
  return (
    refOf(members(entry['attempt'])['resource']) ??
    refOf(members(entry['statement'])['resource']) ??
    refOf(entry['resource'])
  )
}

export function actionOf({ entry = {} }: Recorded): string | undefined {
  const named = (value: Json | undefined): string | undefined =>
    string(members(value)['name']) ?? string(value)
  return (
    named(members(entry['attempt'])['action']) ??
    named(members(entry['statement'])['action']) ??
    named(entry['action'])
  )
}

/** How it came out: the outcome of a decision, else the state or the way something ended. */
export function outcomeOf({ entry = {} }: Recorded): string | undefined {
  return string(entry['outcome']) ?? string(entry['end']) ?? string(entry['state'])
}

/** An entry in a few words, e.g. `decision permit: Agent/triage refunds acct/7`. */
export function sentence(of: Recorded): string {
  if (of.kind === PRUNED) return `entry ${of.seq} was pruned by retention; its hash is kept`
  const what = [subjectOf(of), actionOf(of), resourceOf(of)].filter((word) => word !== undefined).join(' ')
  const reason = string(of.entry?.['reason']) ?? string(of.entry?.['why'])
  const head = [of.kind, outcomeOf(of)].filter((word) => word !== undefined).join(' ')
  return `${head}${what === '' ? '' : `: ${what}`}${reason === undefined ? '' : ` (${reason})`}`
}
