/**
 * Windows are watched: when a calendar says something else of the event whose time a task may act in, the task is
 * narrowed or ends. Nothing that a calendar says widens what was declared.
 *
 * @module
 */
import { narrowedBy } from '../model/calendar.ts'
import { refKey } from '../model/entity.ts'
import { factId } from '../model/fact.ts'
import type { Task } from '../model/task.ts'
import { isEnded, narrowWindow } from '../model/task.ts'
import { toRfc3339 } from '../model/time.ts'
import type { Below, Ended } from '../lives/ending.ts'
import { endGrants, endTasks } from '../lives/ending.ts'
import type { Read, Transaction } from '../store/port.ts'
import type { FlowDeps } from './deps.ts'
import type { Narrower } from './narrow.ts'
import { NOTHING } from './narrow.ts'

/** Tasks that are narrowed at a time. */
const AT_ONCE = 64

export class Windows {
  readonly #deps: FlowDeps
  readonly #narrower: Narrower

  constructor(deps: FlowDeps, narrower: Narrower) {
    this.#deps = deps
    this.#narrower = narrower
  }

  /** Has every task whose window is of `calendar` look at what that says now. */
  async changed(calendar: string): Promise<void> {
    const view = await this.#deps.store.read([
      { index: 'task.calendar', value: calendar },
      { kind: 'fact', id: factId('calendar', calendar) },
    ])
    const fact = view.get('fact', factId('calendar', calendar))?.value
    // what was never read says nothing, and what is too old to be believed is not known: neither is a cancellation
    if (fact === undefined) return
    const concerned = view
      .scan('task.calendar', calendar)
      .map(({ value }) => value)
      .filter(({ window }) => window !== undefined && narrowedBy(window, fact) !== window)
    for (let from = 0; from < concerned.length; from += AT_ONCE)
      await Promise.all(concerned.slice(from, from + AT_ONCE).map((task) => this.#narrow(task, calendar)))
  }

  /** Has tasks look that had not yet when the process stopped: their calendar may not be readable just now. */
  async recover(): Promise<void> {
    for (const calendar of this.#deps.decision.context.calendars) await this.changed(calendar)
  }

  async #narrow({ id }: Task, calendar: string): Promise<void> {
    const known: Read = { kind: 'fact', id: factId('calendar', calendar) }
    await this.#narrower.narrow({
      barred: [],
      tasks: [id],
      reads: [known],
      apply: (tx, below) => {
        const task = tx.get('task', id)?.value
        const fact = tx.get('fact', factId('calendar', calendar))?.value
        if (task?.window === undefined || fact === undefined || isEnded(task)) return NOTHING
        const left = narrowedBy(task.window, fact)
        const by = `calendar ${calendar}`
        if (left === undefined) {
          const reason = `its event in calendar \`${calendar}\` was cancelled or moved away`
          return endTasks(tx, below, [id], 'cancelled', { reason, by })
        }
        return narrowTo(tx, below, task, narrowWindow(task, left), by)
      },
    })
  }
}

/** Writes the narrowed task; grants end no later than its window (law 3), and at once where it opens later. */
function narrowTo(tx: Transaction, below: Below, before: Task, task: Task, by: string): Ended {
  if (task === before || task.window === undefined) return NOTHING
  const { startsAt, endsAt } = task.window
  tx.put('task', task.id, task)
  tx.append({
    kind: 'task.narrowed',
    refs: [task.id, refKey(task.subject)],
    task: task.id,
    window: { startsAt, endsAt },
    before: { startsAt: before.window?.startsAt ?? 0, endsAt: before.window?.endsAt ?? 0 },
    by,
  })
  const reason = `its window was narrowed by ${by}`
  if (startsAt > tx.now) {
    const why = `its window opens at ${toRfc3339(startsAt)} now`
    return { tasks: [], ...endGrants(tx, below, 'revoked', { reason: why, by }) }
  }
  for (const id of below.grants) {
    const grant = tx.get('grant', id)?.value
    if (grant?.state !== 'active' || grant.endsAt <= endsAt) continue
    tx.put('grant', id, { ...grant, endsAt })
    tx.append({
      kind: 'grant.shortened',
      refs: [id, refKey(grant.subject), ...(grant.task === undefined ? [] : [grant.task])],
      grant: id,
      ends_at: endsAt,
      before: grant.endsAt,
      reason,
    })
  }
  return NOTHING
}
