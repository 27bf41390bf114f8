/**
 * Pages of what one may see among what others have.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Page } from '../store/port.ts'

/** Looked at before others get their turn. */
const AT_ONCE = 200

/** All there is, in the order of ids; `next` is the last id of a page. */
type Lister<T> = (query: Readonly<{ after?: string; limit: number }>) => Promise<Page<T>>

/**
 * One page of those that `pick` keeps. Where the next one begins is one of them too: of others not even an id is told, nor
 * whether there are any (B33).
 */
export async function ownPage<T extends Readonly<{ id: string }>>(
  list: Lister<T>,
  { after, limit = 100 }: Readonly<{ after?: string; limit?: number }>,
  pick: (items: readonly T[]) => readonly T[] | Promise<readonly T[]>,
): Promise<Page<T>> {
  const items: T[] = []
  let from = after
  for (;;) {
    const page = await list({ limit: AT_ONCE, ...(from === undefined ? {} : { after: from }) })
    items.push(...(await pick(page.items)))
    const shown = items.slice(0, limit)
    if (items.length > limit) return { items: shown, next: shown.at(-1)?.id }
    if (page.next === undefined) return { items: shown, next: undefined }
    from = page.next
    await breathe()
  }
}
