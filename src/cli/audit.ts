/**
 * `writ audit verify`. Looks into the house itself (`src/audit`), because a data folder is verified without a server and
 * with code that shares nothing with the writer.
 *
 * @module
 */
import { existsSync } from 'node:fs'
import { openLogFolder } from '../audit/folder.ts'
import { formatCheckpoint, parseCheckpoint } from '../audit/note.ts'
import type { Head, LogSource, Verdict } from '../audit/verify.ts'
import { verifyLog } from '../audit/verify.ts'
import { resolvePath } from '../config/index.ts'
import type { Context } from './context.ts'
import { exit, usage } from './exit.ts'
import { plain } from './text.ts'

export type VerifyOptions = Readonly<{
  data?: string
  remote?: boolean
  head?: readonly string[]
  forget?: boolean
}>

/**
 * Verifies the whole log and that it continues every head given, and the last one seen here: whoever rewrites all of a
 * log makes a consistent one, but not one that continues what somebody else remembers (law 11).
 */
export async function auditVerify(context: Context, options: VerifyOptions): Promise<number> {
  const { source, name, close } = openSource(context, options)
  const { checkpoints } = context
  try {
    if (options.forget === true) checkpoints.forget(name)
    const before = checkpoints.get(name)
    const given = (options.head ?? []).map(parseHead)
    if (options.remote === true) {
      // the client compares with what is remembered; entry by entry, the log must then be what was signed
      const signed = await context.writ.log.checkpoint()
      const verdict = await verifyLog(source, [...given, signed])
      return report(context, verdict, { isFirst: before === undefined, contradicts: false })
    }
    const saved = [...given, ...(before === undefined ? [] : [headOf(before)])]
    const verdict = await verifyLog(source, saved)
    // in itself it may be a log as any other
    const contradicts = !verdict.ok && saved.length > 0 && (await verifyLog(source)).ok
    if (verdict.ok)
      checkpoints.set(name, JSON.stringify({ note: formatCheckpoint({ origin: name, ...verdict }) }))
    if (contradicts) await explainEpochs(context, source)
    return report(context, verdict, { isFirst: saved.length === 0, contradicts })
  } finally {
    close()
  }
}

/** The head in what is remembered. */
function headOf(remembered: string): Head {
  const { note = '' } = JSON.parse(remembered) as { note?: string }
  const head = parseCheckpoint(note)
  if (head === undefined) throw new TypeError('what is remembered holds no head')
  return head
}

/** A log whose data was put back from a copy says so itself. */
async function explainEpochs(context: Context, source: LogSource): Promise<void> {
  const { size } = await source.head()
  for (let from = 0; from < size; from += PAGE) {
    for (const entry of await source.entries(from, Math.min(from + PAGE, size))) {
      if ('pruned' in entry || !Buffer.from(entry.bytes).includes('"kind":"epoch.began"')) continue
      const { why } = JSON.parse(Buffer.from(entry.bytes).toString()) as { why?: unknown }
      context.note('info', `entry #${entry.seq} says that a backup was restored: ${plain(String(why))}`)
    }
  }
}

const PAGE = 500

/** The verdict on a data folder by itself. */
export async function verifyFolder(folder: string): Promise<Verdict> {
  const log = openLogFolder(folder)
  try {
    return await verifyLog(log)
  } finally {
    log.close()
  }
}

function report(
  context: Context,
  verdict: Verdict,
  how: Readonly<{ isFirst: boolean; contradicts: boolean }>,
): number {
  const { ok, size, root, firstBad } = verdict
  context.print(
    { item: { ok, size, root, ...(firstBad === undefined ? {} : { first_bad: firstBad }) } },
    {
      lines: [
        ok
          ? `verified ${size} entries · head ${size}:${root}`
          : `verify FAILED at #${firstBad?.index ?? '?'}: ${firstBad?.why ?? ''}`,
      ],
    },
  )
  if (!ok) {
    context.note(
      'bad',
      how.contradicts
        ? 'this log is not the one that was seen before; keep a copy as it is, and find out why; --forget accepts it on purpose'
        : 'this log is not what was written; keep a copy as it is and find out who could write here',
    )
    return how.contradicts ? exit.contradicted : exit.error
  }
  if (how.isFirst)
    context.note('info', 'the first head seen here; from now on a log that contradicts it is refused')
  return exit.ok
}

function openSource(
  context: Context,
  options: VerifyOptions,
): { source: LogSource; name: string; close: () => void } {
  const { io, loaded } = context
  if (options.remote === true) {
    if (options.data !== undefined) throw usage('`--remote` and `--data` do not go together')
    const { log } = context.writ
    return {
      name: context.writ.url,
      close: () => undefined,
      source: {
        head: () => log.head(),
        async entries(from, to) {
          const { items } = await log.entries(from, to)
          return items.map((it) => {
            const place = { seq: it.seq, at: Date.parse(it.at) }
            return 'pruned' in it
              ? { ...place, leaf: Buffer.from(it.leaf, 'base64'), pruned: true }
              : { ...place, bytes: Buffer.from(it.bytes, 'base64') }
          })
        },
      },
    }
  }
  const folder = resolvePath(options.data ?? loaded.config.data, io.cwd, io.home)
  if (!existsSync(folder))
    throw usage(
      `there is no data folder \`${folder}\``,
      'name one with --data, or ask the server with --remote',
    )
  const opened = openLogFolder(folder)
  return { source: opened, name: folder, close: () => opened.close() }
}

function parseHead(text: string): Head {
  const match = /^(\d{1,15}):([0-9a-f]{64})$/u.exec(text)
  if (!match) throw usage(`\`--head ${text}\` is no head`, 'write it as it was shown, size:root')
  return { size: Number(match[1]), root: match[2] as string }
}
