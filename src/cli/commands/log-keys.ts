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

export type RotateOptions = Readonly<{ artifact?: true; compromised?: true; reason?: string }>

export async function logKeyRotate(context: Context, options: RotateOptions): Promise<void> {
  const { compromised = false, reason, artifact } = options
  if (compromised && (reason ?? '').trim() === '')
    throw usage('`--reason` is missing', 'say what happened: who verifies what the key signed will ask')
  const what = artifact === true ? 'the key of signed artifacts' : 'the key of the log'
  const question = compromised
    ? `Give up ${what}? It vouches for nothing any more, and every pinned key must be renewed by hand.`
    : `Have a new key take over from ${what}?`
  if (!(await context.confirm(question))) throw new CliError(exit.error, 'nothing was done')
  const rotated = await context.writ.log.rotateKey({
    use: artifact === true ? 'artifact' : 'log',
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
