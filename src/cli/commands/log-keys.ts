/**
 * `writ audit keys`, `rotate`: the keys that sign the log.
 *
 * @module
 */
import type { Context } from '../context.ts'
import { CliError, exit, usage } from '../exit.ts'
import { cell } from '../output.ts'
import { plain } from '../text.ts'

export async function logKeys(context: Context): Promise<void> {
  const { origin, keys } = await context.writ.log.keys()
  context.print(
    { items: keys },
    {
      columns: [
        { title: 'STATE', value: (row) => cell(row['state']) },
        { title: 'FROM', value: (row) => cell(row['from']) },
        { title: 'UNTIL', value: (row) => cell(row['until']) },
        { title: 'KEY', value: (row) => cell(row['vkey']) },
      ],
    },
  )
  context.note(
    'info',
    `the log is \`${plain(origin)}\`; keep its current key where this server has no hand in it`,
  )
}

/** What is signed with each key. */
const KEYS: Readonly<Record<string, string>> = {
  log: 'the key of the log',
  artifact: 'the key of signed artifacts',
  token: 'the key of access tokens',
  signal: 'the key of signals',
}

export type RotateOptions = Readonly<{ use?: string; compromised?: true; reason?: string }>

export async function logKeyRotate(context: Context, options: RotateOptions): Promise<void> {
  const { compromised = false, reason, use = 'log' } = options
  const what = Object.hasOwn(KEYS, use) ? KEYS[use] : undefined
  if (what === undefined)
    throw usage(`there is no key for \`${plain(use)}\``, `known are: ${Object.keys(KEYS).join(', ')}`)
  if (compromised && (reason ?? '').trim() === '')
    throw usage('`--reason` is missing', 'say what happened: who verifies what the key signed will ask')
  const question = compromised
    ? `Give up ${what}? It vouches for nothing any more, and every pinned key must be renewed by hand.`
    : `Have a new key take over from ${what}?`
  if (!(await context.confirm(question))) throw new CliError(exit.error, 'nothing was done')
  const rotated = await context.writ.log.rotateKey({
    use: use as 'log' | 'artifact' | 'token' | 'signal',
    compromised,
    ...(reason === undefined ? {} : { reason }),
  })
  context.print({ item: rotated }, { lines: [rotated.vkey ?? rotated.id] })
  context.note(
    'ok',
    compromised
      ? `the old key is believed up to entry ${rotated.until}, and no further`
      : `the old key signs no more; what it signed up to entry ${rotated.until} stays good`,
  )
}
