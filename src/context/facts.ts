/**
 * Facts at the moment of action. Each has the time it was observed; what is not known by then is unknown, never absent.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import type { EntityRef, Properties } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'
import { claimNames } from '../model/issuer.ts'
import type { Task } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import { toRfc3339 } from '../model/time.ts'

/** Facts by name, as policies read them under `context.live`, and the names of those that are unknown. */
export type Facts = Readonly<{
  live: Readonly<Record<string, Json>>
  unknown: ReadonlySet<string>
  observedAt: Instant
}>

/**
 * The facts that Writ knows by itself: the time, who calls, the chain, what was proved of the workload, the task and its
 * history. They come from the store's own picture and the proof at the door, so none of them is ever late.
 */
export function ownFacts(
  now: Instant,
  caller: string,
  chain: readonly EntityRef[],
  task: Task | undefined,
  workload?: Properties,
): Facts {
  const live: Record<string, Json> = { now: toRfc3339(now), caller, chain: chain.map(refKey) }
  if (workload !== undefined) live['workload'] = proved(workload)
  if (task !== undefined) {
    live['task'] = {
      id: task.id,
      purpose: task.purpose,
      state: task.state,
      ...(task.reason === undefined ? {} : { reason: task.reason }),
      ...(task.ticket === undefined ? {} : { ticket: task.ticket }),
      declaredAt: toRfc3339(task.declaredAt),
      ...(task.openedAt === undefined ? {} : { openedAt: toRfc3339(task.openedAt) }),
      ...(task.parent === undefined ? {} : { parent: task.parent }),
    }
    live['history'] = { calls: task.calls, denials: task.denials, resources: task.resources.length }
  }
  return { live, unknown: new Set(), observedAt: now }
}

/** Claims as text: a claim that is missing, empty or no plain value is no claim, and a policy that reads it does not hold. */
function proved(workload: Properties): Json {
  const known: Record<string, Json> = {}
  const others: string[] = []
  for (const [name, value] of Object.entries(workload)) {
    if (value === '' || value === null || typeof value === 'object') continue
    if (name === 'issuer' || claimNames.includes(name)) known[name] = String(value)
    else others.push(`${name}=${String(value)}`)
  }
  return { ...known, ...(others.length === 0 ? {} : { claims: others.sort() }) }
}
