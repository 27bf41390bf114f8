/**
 * The kill switch.
 *
 * @module
 */
import type { Lock, Lockable } from '../../../client/src/index.ts'
import { isWritClientError } from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { CliError, exit, usage } from '../exit.ts'
import { cell } from '../output.ts'
import { counted, plain, when } from '../text.ts'
import { durationOf, laterInstant, localAndUtc } from '../times.ts'
import { limitOf } from './requests.ts'
import { confirmNarrowing } from './work.ts'

/** As people say it, and what it is. */
const KINDS: Readonly<Record<string, Lockable>> = {
  subject: 'subject',
  agent: 'subject',
  task: 'task',
  tool: 'tool',
  action: 'tool',
  resource: 'resource',
  owner: 'owner',
}

const EXAMPLES: Readonly<Record<Lockable, string>> = {
  subject: 'Agent/migrator',
  task: 'task_…',
  tool: 'db:migrate',
  resource: 'Database/orders',
  owner: 'Person/ada',
}

/** How long a lock waits for what it ends before it says that this goes on. */
const ENDED_WITHIN = 10_000

function lockable(what: string, about: string): Lockable {
  const kind = Object.hasOwn(KINDS, what) ? KINDS[what] : undefined
  if (kind === undefined) {
    // `writ lock Agent/migrator x`: the kind was left out, or comes second
    const hint = /[/:]/u.test(what) ? `say what it is first, e.g. \`subject ${plain(what)}\`; ` : ''
    throw usage(
      `\`${plain(what)}\` is no kind of thing that can be locked`,
      `${hint}known are: ${Object.keys(KINDS).join(', ')}`,
    )
  }
  if (kind === 'tool' || kind === 'task' || about.includes('/')) return kind
  const example = what === 'agent' ? `Agent/${plain(about)}` : EXAMPLES[kind]
  throw usage(`\`${plain(about)}\` is no \`Type/id\``, `write it as e.g. \`${example}\``)
}

/** When it ends, as it was given: by an instant or by a duration from now. */
function endOf(
  context: Context,
  { for: duration, until }: Readonly<{ for?: string; until?: string }>,
): string | undefined {
  if (duration !== undefined && until !== undefined)
    throw usage('`--for` and `--until` do not go together', 'give one of them, or none to lock it for good')
  const now = context.io.now()
  if (duration !== undefined) {
    const long = durationOf(duration)
    if (long === undefined)
      throw usage(`\`--for ${plain(duration)}\` is no duration`, 'write e.g. `30m`, `2h` or `7d`')
    return new Date(now + long).toISOString()
  }
  if (until === undefined) return undefined
  const at = laterInstant(until, now)
  if (at <= now) throw usage(`\`--until ${plain(until)}\` has passed`, 'name a later time, or `--for 2h`')
  return new Date(at).toISOString()
}

/** Refuses something at once; exits 8 where what is under it is not confirmed gone. */
export async function lock(
  context: Context,
  what: string,
  about: string,
  options: Readonly<{ reason?: string; until?: string; for?: string }>,
): Promise<number> {
  const kind = lockable(what, about)
  const until = endOf(context, options)
  const reason = await reasonOf(context, options.reason)
  const long = until === undefined ? 'until somebody unlocks it' : `until ${localAndUtc(Date.parse(until))}`
  const question = `Lock ${named(kind, about)} ${long}, and end everything under it?`
  if (!(await context.confirm(question))) throw new CliError(exit.error, 'nothing was locked')
  const narrowing = await context.writ.locks.lock({
    what: kind,
    about,
    reason,
    ...(until === undefined ? {} : { until }),
  })
  const held = narrowing.lock.until
  const ends = held === undefined ? 'until it is unlocked' : `until ${localAndUtc(Date.parse(held))}`
  const code = confirmNarrowing(
    context,
    narrowing,
    `${named(kind, about)} locked ${ends} · ${endedText(narrowing.lock.ended)}`,
  )
  if (!narrowing.known)
    context.note(
      'warn',
      kind === 'tool'
        ? `no policy names ${plain(about)} and no grant is for it: is it spelt right? It is locked all the same`
        : `nobody registered ${plain(about)}: is it spelt right? It is locked all the same`,
    )
  if (until !== undefined && held !== until)
    context.note('info', 'a lock that was there before holds longer, and stays')
  const confirmed = await code
  if (narrowing.ending !== true) return confirmed
  return (await ended(context, kind, about)) ? confirmed : exit.revokeUnconfirmed
}

/** Waits for what ends after the lock, as far as the caller may see it. */
async function ended(context: Context, what: Lockable, about: string): Promise<boolean> {
  const startedAt = performance.now()
  context.note('wait', `it is denied already; what is under ${named(what, about)} ends now`)
  for (let tries = 0; performance.now() - startedAt < ENDED_WITHIN; tries += 1) {
    const found = await find(context, what, about)
    if (found === undefined) break
    if (!found.ending) {
      context.note('ok', endedText(found.ended))
      return true
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(50 * 1.6 ** tries, 1_000)))
  }
  context.note('warn', 'it goes on: `writ locks` shows how far it is')
  return false
}

/** A lock in force, or nothing: also where the caller may not see locks. */
async function find(context: Context, what: Lockable, about: string): Promise<Lock | undefined> {
  try {
    let cursor: string | undefined
    do {
      const page = await context.writ.locks.list({ limit: 100, ...(cursor === undefined ? {} : { cursor }) })
      const found = page.items.find((one) => one.what === what && one.about === about)
      if (found !== undefined) return found
      cursor = page.next_cursor
    } while (cursor !== undefined)
  } catch (error) {
    if (!isWritClientError(error, 'ERR_FORBIDDEN')) throw error
  }
  return undefined
}

/** A reason that was given, or is given now: whoever meets the lock reads it. */
async function reasonOf(context: Context, given: string | undefined): Promise<string> {
  const reason = (given ?? (context.interactive ? await context.io.ask('why (others read it): ') : '')).trim()
  if (reason === '') throw usage('`--reason` is missing', 'say why, for whoever meets the lock')
  return reason
}

export async function unlock(
  context: Context,
  what: string,
  about: string,
  options: Readonly<{ reason?: string }>,
): Promise<void> {
  const kind = lockable(what, about)
  const item = await context.writ.locks.unlock({
    what: kind,
    about,
    ...(options.reason === undefined ? {} : { reason: options.reason }),
  })
  context.print(
    { item },
    {
      lines: [
        `${named(kind, about)} unlocked · it was locked by ${plain(item.who ?? item.by)} ${when(item.at, context.io.now())}: ${plain(item.reason)}`,
      ],
    },
  )
  const { tasks, grants } = item.ended
  if (tasks + grants > 0)
    context.note('info', `what the lock ended stays ended: ${endedText(item.ended)}; it is asked for anew`)
}

export async function lockList(context: Context, options: Readonly<{ limit?: string }>): Promise<void> {
  const page = await context.writ.locks.list({ limit: limitOf(options.limit) })
  const more = page.next_cursor === undefined ? {} : { more: { next_cursor: page.next_cursor } }
  const now = context.io.now()
  context.print(
    { items: page.items, ...more },
    {
      columns: [
        { title: 'WHAT', value: (row) => cell(row['what']) },
        { title: 'ABOUT', value: (row) => cell(row['about']) },
        { title: 'SINCE', value: (row) => when(String(row['at']), now) },
        {
          title: 'UNTIL',
          value: ({ until }) => (typeof until === 'string' ? when(until, now) : 'it is unlocked'),
        },
        { title: 'BY', value: (row) => cell(row['who'] ?? row['by']) },
        {
          title: 'ENDED',
          value: (row) => {
            const { tasks, grants } = row['ended'] as Lock['ended']
            return `${counted(grants, 'grant', 'grants')}, ${counted(tasks, 'task', 'tasks')}${row['ending'] === true ? ' so far' : ''}`
          },
        },
        { title: 'WHY', value: (row) => cell(row['reason']) },
      ],
    },
  )
  if (page.items.length === 0) context.note('info', 'nothing is locked')
  else if (page.next_cursor !== undefined) context.note('info', 'there are more: raise --limit')
}

/** `subject Agent/migrator`, `everything of Person/ada`. */
const named = (what: Lockable, about: string): string =>
  what === 'owner' ? `everything of ${plain(about)}` : `${what} ${plain(about)}`

function endedText({ tasks, grants }: Lock['ended']): string {
  if (tasks + grants === 0) return 'nothing was under it'
  return `ended ${counted(grants, 'grant', 'grants')}${tasks === 0 ? '' : ` and ${counted(tasks, 'task', 'tasks')}`}`
}
