/**
 * Streams of signals: how they stand, and sending again what was refused.
 *
 * @module
 */
import type { SignalStream } from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { CliError, exit } from '../exit.ts'
import { cell } from '../output.ts'
import { counted, plain, when } from '../text.ts'

export async function signalList(context: Context): Promise<void> {
  const { items } = await context.writ.signals.list()
  const now = context.io.now()
  context.print(
    { items },
    {
      columns: [
        { title: 'NAME', value: (row) => cell(row['name']) },
        { title: 'IS', value: (row) => (row['direction'] === 'in' ? 'listened to' : 'told') },
        { title: 'BY', value: (row) => cell(row['delivery']) },
        { title: 'STATUS', value: (row) => cell(row['status']) },
        { title: 'NEWS', value: (row) => news(row as unknown as SignalStream, now) },
        { title: 'REFUSED', value: (row) => cell(row['refused']) },
      ],
    },
  )
  for (const { problems } of items) for (const problem of problems) context.note('bad', plain(problem))
  if (items.length === 0)
    context.note('info', 'this server neither listens nor tells: configure `signals`, see docs/signals.md')
}

function news({ heard_at: heard, behind_since: behind, direction }: SignalStream, now: number): string {
  if (direction === 'in') return heard === undefined ? 'never heard' : `heard ${when(heard, now)}`
  return behind === undefined ? 'has all' : `lacks since ${when(behind, now)}`
}

export async function signalRedeliver(context: Context, listener: string): Promise<void> {
  const question = `Send ${plain(listener)} what it refused once more?`
  if (!(await context.confirm(question))) throw new CliError(exit.error, 'nothing was sent')
  const item = await context.writ.signals.redeliver(listener)
  context.print({ item }, { lines: [counted(item.again, 'signal waits again', 'signals wait again')] })
  if (item.again === 0)
    context.note('info', `${plain(listener)} has refused nothing that could be sent again`)
  else context.note('info', '`writ signals ls` shows whether it takes them now')
}
