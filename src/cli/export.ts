/**
 * `writ audit export` and `writ audit search`. Looks into the house itself: a data folder is exported without a server,
 * and both ways give the same lines.
 *
 * @module
 */
import { closeSync, existsSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import type { LogQuery, Writ } from '../../client/src/index.ts'
import { openLogFolder } from '../audit/folder.ts'
import type { ExportFormat } from '../audit/export/formats.ts'
import { encodeLine, formats } from '../audit/export/formats.ts'
import type { Members, Recorded } from '../audit/export/record.ts'
import {
  EPOCH_BEGAN,
  Origins,
  PRUNED,
  actionOf,
  kindOf,
  outcomeOf,
  recorded,
  resourceOf,
  strings,
  subjectOf,
} from '../audit/export/record.ts'
import type { SourceEntry } from '../audit/verify.ts'
import { resolvePath } from '../config/index.ts'
import { version } from '../version.ts'
import { duration } from '../wire/bounds.ts'
import type { Context } from './context.ts'
import { CliError, exit, usage } from './exit.ts'
import { counted } from './text.ts'

/** Entries read at once. */
const PAGE = 500

export type ExportOptions = Readonly<{
  format?: string
  data?: string
  since?: string
  until?: string
  kind?: readonly string[]
  after?: string
  out?: string
}>

/** Where entries come from: a server, or a data folder. */
type Source = Readonly<{
  size(): Promise<number>
  /** At least one of those that there are. */
  entries(from: number, to: number): Promise<readonly SourceEntry[]>
  /** The entries that began epochs. */
  epochs(): Promise<readonly number[]>
  close(): void
}>

/** Writes the record as lines, from where it is told to where the log ends now, and says where it got to. */
export async function auditExport(context: Context, options: ExportOptions): Promise<void> {
  const format = formatOf(options.format ?? 'ocsf')
  const after = options.after === undefined ? undefined : numberOf(options.after)
  const [since, until] = [options.since, options.until].map((text) => instantOf(text, context.io.now()))
  const source = options.data === undefined ? fromServer(context.writ) : fromFolder(context, options.data)
  let sink: ReturnType<typeof outputOf> | undefined
  try {
    const origins = await originsOf(source)
    const size = await source.size()
    // going on from where this log never was would skip what comes there later
    if (after !== undefined && after >= size)
      throw usage(
        `\`--after ${after}\`: the log ends with entry ${size - 1}`,
        'give the number that the export before ended with; after a restore, begin a new file',
      )
    const first = since === undefined ? 0 : await firstAt(source, size, since)
    let next = Math.max(first, after === undefined ? 0 : after + 1)
    let count = 0
    sink = outputOf(context, options.out, after !== undefined)
    try {
      reading: while (next < size) {
        const entries = await source.entries(next, Math.min(size, next + PAGE))
        if (entries.length === 0) throw new CliError(exit.error, `entry ${next} is missing`)
        const lines: string[] = []
        let reached = next
        let over = false
        for (const entry of entries) {
          if (until !== undefined && entry.at >= until) {
            over = true
            break
          }
          reached = entry.seq + 1
          const of = recorded(entry, origins)
          if (isWanted(of.kind, options.kind)) lines.push(`${encodeLine(of, format, version)}\n`)
        }
        if (lines.length > 0) sink.write(lines.join(''))
        count += lines.length
        next = reached
        if (over) break reading
      }
    } finally {
      if (next > 0)
        context.note(
          'info',
          `exported ${counted(count, 'entry', 'entries')}; go on where this ended with --after ${next - 1}`,
        )
    }
  } finally {
    sink?.close()
    source.close()
  }
}

function fromServer({ log }: Writ): Source {
  return {
    size: async () => (await log.head()).size,
    async entries(from, to) {
      const { items } = await log.entries(from, to)
      return items.map((item): SourceEntry => ({
        seq: item.seq,
        at: Date.parse(item.at),
        ...('pruned' in item
          ? { leaf: Buffer.from(item.leaf, 'base64'), pruned: true }
          : { bytes: Buffer.from(item.bytes, 'base64') }),
      }))
    },
    async epochs() {
      const found: number[] = []
      let before: number | undefined
      do {
        const page = await log.search({ kind: EPOCH_BEGAN, before, limit: PAGE })
        found.push(...page.items.map(({ seq }) => seq))
        before = page.next_cursor === undefined ? undefined : Number(page.next_cursor)
      } while (before !== undefined)
      return found.toReversed()
    },
    close: () => undefined,
  }
}

function fromFolder({ io }: Context, data: string): Source {
  const folder = resolvePath(data, io.cwd, io.home)
  if (!existsSync(folder))
    throw usage(
      `there is no data folder \`${folder}\``,
      'name one with --data, or leave it out to ask the server',
    )
  const log = openLogFolder(folder)
  return {
    size: async () => (await log.head()).size,
    entries: (from, to) => log.entries(from, to),
    async epochs() {
      const found: number[] = []
      for (const { text, seq } of log.inside.listings('any'))
        if (text === `kind=${EPOCH_BEGAN}`) found.push(seq)
      return found.toSorted((a, b) => a - b)
    },
    close: () => log.close(),
  }
}

/** The first entry names the installation; later ones may have begun epochs. */
async function originsOf(source: Source): Promise<Origins> {
  const [made] = (await source.size()) === 0 ? [] : await source.entries(0, 1)
  const nameless = new Origins('')
  const installation = made === undefined ? '' : recorded(made, nameless).entry?.['installation']
  const origins = new Origins(typeof installation === 'string' ? installation : 'unknown')
  for (const seq of await source.epochs()) {
    for (const entry of await source.entries(seq, seq + 1)) origins.see(recorded(entry, origins))
  }
  return origins
}

/** The first entry dated `at` or later; entries are in the order of their times. */
async function firstAt(source: Source, size: number, at: number): Promise<number> {
  let [low, high] = [0, size]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    const [entry] = await source.entries(middle, middle + 1)
    if (entry === undefined || entry.at >= at) high = middle
    else low = middle + 1
  }
  return low
}

/** A new file, or the end of one that is gone on with; standard output without a name. */
function outputOf(
  { io }: Context,
  out: string | undefined,
  goOn: boolean,
): Readonly<{ write(text: string): void; close(): void }> {
  if (out === undefined) return { write: (text) => io.out(text), close: () => undefined }
  const path = resolvePath(out, io.cwd, io.home)
  if (!goOn && existsSync(path))
    throw usage(`\`${path}\` exists already`, 'name another file, or go on with this one with --after')
  const file = openSync(path, goOn ? 'a+' : 'wx', 0o600)
  const { size } = fstatSync(file)
  const last = Buffer.alloc(1)
  if (size > 0 && readSync(file, last, 0, 1, size - 1) === 1 && last.toString() !== '\n') {
    closeSync(file)
    throw usage(`\`${path}\` ends in half a line`, 'remove it, and go on after the last whole one')
  }
  return {
    write(text) {
      const bytes = Buffer.from(text)
      for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at)
    },
    close: () => closeSync(file),
  }
}

function formatOf(text: string): ExportFormat {
  const format = formats.find((known) => known === text)
  if (format === undefined)
    throw usage(`\`--format ${text}\` is no form of export`, `there are ${formats.join(', ')}`)
  return format
}

function numberOf(text: string): number {
  if (!/^\d{1,15}$/u.test(text))
    throw usage(`\`--after ${text}\` is no entry`, 'give the number that the export before ended with')
  return Number(text)
}

/** `2026-11-22T03:12:00Z`, or how long ago, as `7d`. */
function instantOf(text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined
  const ago = duration.safeParse(text)
  if (ago.success) return now - ago.data
  const at = /^\d{4}-\d{2}-\d{2}/u.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isFinite(at))
    throw usage(`\`${text}\` is no time`, 'write `2026-11-22T03:12:00Z`, or how long ago as `7d`')
  return at
}

/** What was pruned may have been of any kind. */
const isWanted = (kind: string, wanted: readonly string[] | undefined): boolean =>
  wanted === undefined ||
  kind === PRUNED ||
  wanted.some((one) => (one.endsWith('.') ? kind.startsWith(one) : kind === one))

export type SearchOptions = Readonly<{
  kind?: string
  subject?: string
  resource?: string
  action?: string
  outcome?: string
  since?: string
  until?: string
  before?: string
  limit?: string
}>

/** Entries by what they name, newest first. */
export async function auditSearch(
  context: Context,
  term: string | undefined,
  options: SearchOptions,
): Promise<void> {
  const limit = options.limit === undefined ? 20 : Number(options.limit)
  if (!Number.isInteger(limit) || limit < 1 || limit > 10_000)
    throw usage(`\`--limit ${options.limit}\` is not a number from 1 to 10000`)
  const now = context.io.now()
  const [since, until] = [options.since, options.until].map((text) => {
    const at = instantOf(text, now)
    return at === undefined ? undefined : new Date(at).toISOString()
  })
  const { kind, subject, resource, action, outcome } = options
  const query: LogQuery = { term, kind, subject, resource, action, outcome, since, until }
  const found: { seq: number; at: string; [member: string]: unknown }[] = []
  let before = options.before === undefined ? undefined : numberOf(options.before)
  do {
    const page = await context.writ.log.search({
      ...query,
      before,
      limit: Math.min(PAGE, limit - found.length),
    })
    for (const item of page.items) {
      const { seq, at } = item
      found.push(
        'pruned' in item
          ? { seq, at, kind: PRUNED, leaf: item.leaf }
          : { seq, at, ...brief(item.entry), entry: item.entry },
      )
    }
    before = page.next_cursor === undefined ? undefined : Number(page.next_cursor)
  } while (before !== undefined && found.length < limit)
  const text =
    (name: string) =>
    (row: Readonly<Record<string, unknown>>): string =>
      typeof row[name] === 'string' || typeof row[name] === 'number' ? String(row[name]) : ''
  context.print(
    { items: found, ...(before === undefined ? {} : { more: { next_cursor: String(before) } }) },
    {
      columns: [
        { title: 'SEQ', value: text('seq') },
        { title: 'AT', value: text('at') },
        { title: 'KIND', value: text('kind') },
        { title: 'OUTCOME', value: text('outcome') },
        { title: 'SUBJECT', value: text('subject') },
        { title: 'ACTION', value: text('action') },
        { title: 'RESOURCE', value: text('resource') },
        { title: 'ID', value: text('id') },
      ],
    },
  )
  if (found.length === 0) {
    const isEntity = term === undefined || term.includes('/') || term.includes('_')
    context.note('info', isEntity ? 'no entry matches' : 'no entry matches; is it spelled `Type/id`?')
  } else if (before !== undefined) context.note('info', `there may be more: --before ${before}`)
}

/** What a table shows of an entry. */
function brief(entry: unknown): Record<string, string | undefined> {
  const members = (entry ?? {}) as Members
  const of: Recorded = {
    origin: '',
    installation: '',
    seq: 0,
    at: 0,
    leaf: '',
    kind: kindOf(members),
    refs: strings(members['refs']),
    entry: members,
  }
  return {
    kind: of.kind,
    id: of.refs.find((ref) => !ref.includes('/')),
    subject: subjectOf(of),
    action: actionOf(of),
    resource: resourceOf(of),
    outcome: outcomeOf(of),
  }
}
