/**
 * `writ audit verify`. Looks into the house itself (`src/audit`), because a data folder is verified without a server and
 * with code that shares nothing with the writer.
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { openLogFolder } from '../audit/folder.ts'
import type { Head, LogSource, Verdict } from '../audit/verify.ts'
import { verifyLog } from '../audit/verify.ts'
import { resolvePath, stateHome } from '../config/index.ts'
import type { Context } from './context.ts'
import { CliError, exit, usage } from './exit.ts'

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
  try {
    const memory = new Heads(context)
    const last = options.forget === true ? undefined : memory.get(name)
    const saved = [...(options.head ?? []).map(parseHead), ...(last === undefined ? [] : [last])]
    const verdict = await verifyLog(source, saved)
    if (verdict.ok) memory.set(name, { size: verdict.size, root: verdict.root })
    return report(context, verdict, saved.length)
  } finally {
    close()
  }
}

/** The verdict on a data folder by itself. */
export async function verifyFolder(folder: string): Promise<Verdict> {
  const log = openLogFolder(folder)
  try {
    return await verifyLog(log)
  } finally {
    log.close()
  }
}

function report(context: Context, verdict: Verdict, heads: number): number {
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
      'this log is not what was written; keep a copy as it is and find out who could write here',
    )
    return exit.error
  }
  if (heads === 0)
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
      name: new URL(context.url).origin,
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

/** The last head that was seen of each log, kept where the log's owner has no hand in it. */
class Heads {
  readonly #path: string

  constructor(context: Context) {
    this.#path = join(stateHome(context.io.env, context.io.home), 'heads.json')
  }

  get(name: string): Head | undefined {
    return this.#read()[name]
  }

  set(name: string, head: Head): void {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 })
    const temporary = resolve(`${this.#path}.${process.pid}`)
    writeFileSync(temporary, `${JSON.stringify({ ...this.#read(), [name]: head }, undefined, 2)}\n`, {
      mode: 0o600,
    })
    renameSync(temporary, this.#path)
  }

  #read(): Record<string, Head> {
    if (!existsSync(this.#path)) return {}
    try {
      return JSON.parse(readFileSync(this.#path, 'utf8')) as Record<string, Head>
    } catch (error) {
      throw new CliError(
        exit.error,
        `\`${this.#path}\` is damaged`,
        'it holds the heads that logs must continue; restore it, or give --forget',
        error,
      )
    }
  }
}
