/**
 * A task as it is when it was just declared, for what is pure.
 *
 * @module
 */
import type { EntityRef } from '../../src/model/entity.ts'
import type { Task } from '../../src/model/task.ts'
import type { Instant } from '../../src/model/time.ts'
import { MINUTE } from '../../src/model/time.ts'

/** Who most tests are about. */
export const migrator: EntityRef = { type: 'Agent', id: 'migrator' }

/** The migrator's task `task_1`, without a reason, a ticket, a window or limits; `more` wins. */
export const declaredTask = (declaredAt: Instant, more: Partial<Task> = {}): Task => ({
  id: 'task_1',
  state: 'declared',
  purpose: 'add a column',
  subject: migrator,
  chain: [migrator],
  declaredBy: migrator,
  instigators: ['Person/ada'],
  caller: 'key:key_1',
  scope: { actions: ['db:migrate'], resources: [{ type: 'Database', id: 'orders' }] },
  limits: {},
  declaredAt,
  waitUntil: declaredAt + 15 * MINUTE,
  life: 30 * MINUTE,
  heartbeat: MINUTE,
  calls: 0,
  denials: 0,
  resources: [],
  ...more,
})
