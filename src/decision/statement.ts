/**
 * Statements: exactly what a giver of evidence was shown. Their digest is what evidence binds to (law 10).
 *
 * @module
 */
import type { Attempt } from '../model/attempt.ts'
import { attemptStatement } from '../model/attempt.ts'
import type { Json } from '../model/canonical.ts'
import { canonical } from '../model/canonical.ts'
import { refKey } from '../model/entity.ts'
import type { Task } from '../model/task.ts'
import type { Millis } from '../model/time.ts'
import { toRfc3339 } from '../model/time.ts'
import { hex, sha256 } from '../store/hash.ts'

/** `sha256:` and the lowercase hex SHA-256 of the canonical form. */
export function digestOf(value: Json): string {
  return `sha256:${hex(sha256(canonical(value)))}`
}

export type Bounds = Readonly<{ ttl: Millis; uses?: number; justification?: string }>

/**
 * The statement that evidence is asked for: one exact attempt (one use), or a whole task scope, each with every bound
 * that its approver relies on.
 *
 * @throws {TypeError} for a task binding without a task.
 */
export function statementFor(
  installation: string,
  binding: 'attempt' | 'task',
  attempt: Attempt,
  task: Task | undefined,
  bounds: Bounds,
): Json {
  const limits = {
    ttl_ms: bounds.ttl,
    ...(bounds.uses === undefined ? {} : { uses: bounds.uses }),
    ...(bounds.justification === undefined ? {} : { justification: bounds.justification }),
  }
  if (binding === 'attempt') {
    const about =
      task === undefined
        ? {}
        : {
            purpose: task.purpose,
            ...reasonOf(task),
            ...(task.ticket === undefined ? {} : { ticket: task.ticket }),
          }
    return {
      ...(attemptStatement(installation, attempt) as Record<string, Json>),
      ...about,
      ...limits,
      uses: 1,
    }
  }
  if (task === undefined) throw new TypeError('a task binding needs a task')
  return {
    kind: 'task',
    installation,
    task: task.id,
    purpose: task.purpose,
    ...reasonOf(task),
    subject: refKey(task.subject),
    chain: attempt.chain.map(refKey),
    actions: [...task.scope.actions],
    resources: task.scope.resources.map((r) =>
      r.id === undefined ? `${r.type} (any)` : refKey({ type: r.type, id: r.id }),
    ),
    life_ms: task.life,
    ...(task.limits.calls === undefined ? {} : { calls: task.limits.calls }),
    ...(task.ticket === undefined ? {} : { ticket: task.ticket }),
    ...(task.window === undefined
      ? {}
      : { window: { starts_at: toRfc3339(task.window.startsAt), ends_at: toRfc3339(task.window.endsAt) } }),
    ...limits,
  }
}

const reasonOf = (task: Task): { reason?: string } =>
  task.reason === undefined ? {} : { reason: task.reason }
