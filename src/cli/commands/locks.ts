/**
 * The kill switch.
 *
 * @module
 */
import type { Lockable } from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { CliError, exit, usage } from '../exit.ts'
import { cell } from '../output.ts'
import { plain, when } from '../text.ts'
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

function lockable(what: string): Lockable {
  const kind = Object.hasOwn(KINDS, what) ? KINDS[what] : undefined
  if (kind === undefined)
    throw usage(`\`${what}\` cannot be locked`, `known are: ${Object.keys(KINDS).join(', ')}`)
  return kind
}

/** Refuses something at once; exits 8 where a credential under it is not confirmed gone. */
export async function lock(
  context: Context,
  what: string,
  about: string,
  options: Readonly<{ reason?: string; until?: string }>,
): Promise<number> {
  const { reason, until } = options
  const kind = lockable(what)
  if (reason === undefined) throw usage('`--reason` is missing', 'say why, for whoever meets the lock')
  const long = until === undefined ? 'until it is unlocked' : `until ${plain(until)}`
  if (!(await context.confirm(`Lock ${kind} ${plain(about)} ${long}, and end everything under it?`)))
    throw new CliError(exit.error, 'nothing was done')
  const narrowing = await context.writ.locks.lock({
    what: kind,
    about,
    reason,
    ...(until === undefined ? {} : { until }),
  })
  return confirmNarrowing(context, narrowing, `${kind} ${plain(about)} locked, what is under it ends`)
}

export async function unlock(
  context: Context,
  what: string,
  about: string,
  options: Readonly<{ reason?: string }>,
): Promise<void> {
  const kind = lockable(what)
  const ended = await context.writ.locks.unlock({
    what: kind,
    about,
    ...(options.reason === undefined ? {} : { reason: options.reason }),
  })
  context.print(
    { item: ended },
    { lines: [`${kind} ${plain(about)} unlocked; what the lock ended stays ended`] },
  )
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
          title: 'ENDS',
          value: ({ until }) => (typeof until === 'string' ? when(until, now) : 'never'),
        },
        { title: 'BY', value: (row) => cell(row['by']) },
        { title: 'REASON', value: (row) => cell(row['reason']) },
      ],
    },
  )
  if (page.items.length === 0) context.note('info', 'nothing is locked')
}
