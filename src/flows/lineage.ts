/**
 * The tasks above a task. Parents never change, so ids that were found once stay right.
 *
 * @module
 */
import type { Task } from '../model/task.ts'
import type { Store } from '../store/port.ts'

/** The task and those above it, up to the root; empty without one. */
export async function lineageOf(
  store: Pick<Store, 'read'>,
  id: string | undefined,
): Promise<readonly Task[]> {
  const tasks: Task[] = []
  for (let next = id; next !== undefined;) {
    const task: Task | undefined = (await store.read([{ kind: 'task', id: next }])).get('task', next)?.value
    if (task === undefined) break
    tasks.push(task)
    next = task.parent
  }
  return tasks
}
