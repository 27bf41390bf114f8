/**
 * Reading calendars in this process: files, the guarded network, a thread, and the record of facts put together.
 *
 * @module
 */
import { open } from 'node:fs/promises'
import type { CalendarDeps, Expanded } from '../context/calendars.ts'
import { Calendars } from '../context/calendars.ts'
import type { ExpandInput } from '../context/icalendar/events.ts'
import type { CalendarSource } from '../model/calendar.ts'
import { factId, isFresh } from '../model/fact.ts'
import { toRfc3339 } from '../model/time.ts'
import type { Read, Store } from '../store/port.ts'
import type { ThreadOptions } from './thread.ts'
import { entryOf, Thread, ThreadError } from './thread.ts'

const OPTIONS: ThreadOptions = {
  entry: entryOf('calendar-thread', import.meta.url),
  waiting: 16,
  // what a calendar of the longest takes is a tenth of it
  timeout: 10_000,
  memory: 256,
}

/** What only the composition root has; the rest is made here. */
export type ReadingDeps = Pick<CalendarDeps, 'fetch' | 'observe' | 'now' | 'jitter' | 'log'>

/** Calendars with a thread of their own, which ends with them. */
export class CalendarReading extends Calendars {
  readonly #thread: Thread<ExpandInput, Expanded>

  constructor(sources: readonly CalendarSource[], deps: ReadingDeps, options: Partial<ThreadOptions> = {}) {
    const thread = new Thread<ExpandInput, Expanded>({ ...OPTIONS, ...options })
    super(sources, {
      ...deps,
      readFile: readAtMost,
      expand: (input) => expandIn(thread, input),
      later: (ms, what) => {
        const timer = setTimeout(what, ms)
        timer.unref()
        return () => clearTimeout(timer)
      },
    })
    this.#thread = thread
  }

  override async stop(): Promise<void> {
    await Promise.all([super.stop(), this.#thread.stop()])
  }
}

/** A calendar that breaks the thread, or has no end, is one that cannot be read. */
async function expandIn(thread: Thread<ExpandInput, Expanded>, input: ExpandInput): Promise<Expanded> {
  try {
    return await thread.run(input)
  } catch (error) {
    if (!(error instanceof ThreadError)) throw error
    if (error.why === 'late') return { failed: 'to work out its events takes too long' }
    return { failed: 'its events could not be worked out' }
  }
}

/** Configured calendars that were not read, or so long ago that nobody believes them, in sentences. */
export async function staleCalendars(
  store: Pick<Store, 'read'>,
  names: readonly string[],
): Promise<string[]> {
  const view = await store.read(names.map((name): Read => ({ kind: 'fact', id: factId('calendar', name) })))
  return names.flatMap((name) => {
    const fact = view.get('fact', factId('calendar', name))?.value
    if (fact !== undefined && isFresh(fact, view.now)) return []
    const since = fact === undefined ? 'was never read' : `was last read at ${toRfc3339(fact.observedAt)}`
    return [`calendar \`${name}\` ${since}: what it says is unknown, and tasks in its windows are refused`]
  })
}

/** At most `most` bytes of a regular file: a pipe or a device would have no end. */
async function readAtMost(path: string, most: number): Promise<Uint8Array> {
  const file = await open(path, 'r')
  try {
    const stat = await file.stat()
    if (!stat.isFile()) throw Object.assign(new Error('not a file'), { code: 'not a file' })
    const bytes = new Uint8Array(Math.min(stat.size + 1, most))
    let size = 0
    while (size < bytes.length) {
      const { bytesRead } = await file.read(bytes, size, bytes.length - size, size)
      if (bytesRead === 0) break
      size += bytesRead
    }
    return bytes.subarray(0, size)
  } finally {
    await file.close()
  }
}
