/**
 * `writ actions …`: what was done, and explaining what no grant covers.
 *
 * @module
 */
import type { RecordedAction } from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { usage } from '../exit.ts'
import type { Column } from '../output.ts'
import { cell } from '../output.ts'
import { plain, when } from '../text.ts'
import { limitOf } from './requests.ts'

export type ListOptions = Readonly<{
  grant?: string
  credential?: string
  task?: string
  subject?: string
  limit?: string
}>

export async function actionList(context: Context, options: ListOptions): Promise<void> {
  const { limit, ...of } = options
  if (Object.values(of).length !== 1)
    throw usage(
      'name exactly one of `--grant`, `--credential`, `--task` and `--subject`',
      '`writ grants ls --all` shows grants',
    )
  const wanted = limitOf(limit)
  const page = await context.writ.actions.list({ ...of, ...(wanted === undefined ? {} : { limit: wanted }) })
  const now = context.io.now()
  const columns: readonly Column[] = [
    { title: 'WHEN', value: (row) => when((row['done_at'] ?? row['recorded_at']) as string, now) },
    { title: 'WHAT', value: (row) => cell(row['action']) },
    { title: 'OUTCOME', value: (row) => cell(row['outcome']) },
    { title: 'WHERE', value: (row) => cell(row['target'] ?? row['resource']) },
    { title: 'BY', value: (row) => cell(row['role'] ?? row['by']) },
    { title: 'COVERED', value: (row) => covered(row as unknown as RecordedAction) },
  ]
  const more = page.next_cursor === undefined ? {} : { more: { next_cursor: page.next_cursor } }
  context.print({ items: page.items, ...more }, { columns })
  if (page.items.length === 0) context.note('info', 'nothing was reported or seen')
}

/** What covers it, or why nothing does. */
export function covered(action: RecordedAction): string {
  if (action.kind === 'action.refused') return 'refused'
  if (action.kind === 'action.unmatched') return 'NO: nothing covers it'
  if (action.outside !== undefined) return `NO: ${action.outside.map(plain).join(', ')}`
  return `${action.kind === 'action.observed' ? 'seen' : 'reported'}, joined by ${plain(action.link)}${action.claimed === true ? ' (claimed)' : ''}`
}

export async function actionResolve(
  context: Context,
  id: string,
  options: { reason?: string },
): Promise<void> {
  if (options.reason === undefined) throw usage('`--reason` is missing', 'say what the explanation is')
  const flag = await context.writ.actions.resolve(id, options.reason)
  context.print({ item: flag }, { lines: [`${plain(flag.id)} resolved: ${plain(flag.what)}`] })
}
