/**
 * Ending: how tasks, grants, requests and credentials end together, as writes of one transaction. What is below a task
 * ends with it (laws 3 and 5); what nobody has verified absent stays on its way there.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import type { Credential } from '../model/credential.ts'
import { credentialRevoking, isAtTarget } from '../model/credential.ts'
import { refKey } from '../model/entity.ts'
import type { Grant, GrantEnd } from '../model/grant.ts'
import { closeGrant, endGrant } from '../model/grant.ts'
import type { AccessRequest } from '../model/request.ts'
import { endRequest } from '../model/request.ts'
import type { Task, TaskEnd } from '../model/task.ts'
import { endTask, isEnded } from '../model/task.ts'
import type { Read, Store, Transaction, View } from '../store/port.ts'

/** Everything that hangs below some tasks and grants, by id. */
export type Below = Readonly<{
  tasks: readonly string[]
  grants: readonly string[]
  credentials: readonly string[]
  requests: readonly string[]
}>

/** Why and by whom something ends; `by` is a caller or `writ`. */
export type Cause = Readonly<{
  reason: string
  by: string
  /** Who else is told. */
  owners?: readonly string[]
}>

/** The reads a transaction needs to end what is in `below`, the indexes by which newcomers are noticed included. */
export function readsOf(below: Below): readonly Read[] {
  return [
    ...below.tasks.flatMap((id): Read[] => [
      { kind: 'task', id },
      { index: 'task.parent', value: id },
      { index: 'grant.task', value: id },
      { index: 'request.task', value: id },
    ]),
    ...below.grants.flatMap((id): Read[] => [
      { kind: 'grant', id },
      { index: 'credential.grant', value: id },
    ]),
    ...below.credentials.map((id): Read => ({ kind: 'credential', id })),
    ...below.requests.map((id): Read => ({ kind: 'request', id })),
  ]
}

/** Finds what hangs below; whatever joins afterwards is noticed by `unseen` in the transaction. */
export async function findBelow(
  store: Pick<Store, 'read'>,
  roots: Readonly<{
    tasks?: readonly string[]
    grants?: readonly string[]
    requests?: readonly string[]
  }>,
): Promise<Below> {
  let below: Below = {
    tasks: roots.tasks ?? [],
    grants: roots.grants ?? [],
    credentials: [],
    requests: roots.requests ?? [],
  }
  for (;;) {
    const next = grow(await store.read(readsOf(below)), below)
    if (next === below) return below
    below = next
  }
}

/** What a subject (under its `refKey`) has going: its tasks and those done for it, the grants it is in the chain of, and its open asks. */
export async function findUnder(
  store: Pick<Store, 'read'>,
  subject: string,
): Promise<Readonly<{ tasks: readonly string[]; grants: readonly string[]; requests: readonly string[] }>> {
  const indexed = (
    ['task.subject', 'task.behind', 'grant.subject', 'request.requester', 'request.behind'] as const
  ).map((index) => ({ index, value: subject }))
  const view = await store.read(indexed)
  const [tasks = [], behind = [], grants = [], requests = [], asked = []] = indexed.map(({ index, value }) =>
    view.scan(index, value).map(({ id }) => id),
  )
  return {
    tasks: [...new Set([...tasks, ...behind])],
    grants,
    requests: [...new Set([...requests, ...asked])],
  }
}

/** What the indexes list that `below` does not know yet; empty when nothing has joined. */
export function unseen(tx: View, below: Below): boolean {
  return grow(tx, below) !== below
}

function grow(view: View, below: Below): Below {
  const tasks = new Set(below.tasks)
  const grants = new Set(below.grants)
  const credentials = new Set(below.credentials)
  const requests = new Set(below.requests)
  for (const id of below.tasks) {
    for (const { value } of view.scan('task.parent', id)) tasks.add(value.id)
    for (const { value } of view.scan('grant.task', id)) grants.add(value.id)
    for (const { value } of view.scan('request.task', id)) requests.add(value.id)
  }
  for (const id of below.grants)
    for (const { value } of view.scan('credential.grant', id)) credentials.add(value.id)
  const grown =
    tasks.size > below.tasks.length ||
    grants.size > below.grants.length ||
    credentials.size > below.credentials.length ||
    requests.size > below.requests.length
  return grown
    ? { tasks: [...tasks], grants: [...grants], credentials: [...credentials], requests: [...requests] }
    : below
}

const grantEndOf: Readonly<Record<TaskEnd, GrantEnd>> = {
  completed: 'completed',
  failed: 'failed',
  cancelled: 'revoked',
  'timed-out': 'expired',
}

export type Ended = Readonly<{
  tasks: readonly Task[]
  grants: readonly Grant[]
  /** On their way out at the target. */
  credentials: readonly Credential[]
}>

/** Ends the tasks in `below` and everything under them. `how` is for the named ones; children are `cancelled`. */
export function endTasks(
  tx: Transaction,
  below: Below,
  named: readonly string[],
  how: TaskEnd,
  cause: Cause,
  as: GrantEnd = grantEndOf[how],
): Ended {
  const tasks: Task[] = []
  for (const id of below.tasks) {
    const task = tx.get('task', id)?.value
    if (task === undefined || isEnded(task)) continue
    const state = named.includes(id) ? how : how === 'timed-out' ? 'timed-out' : 'cancelled'
    const reason = named.includes(id) ? cause.reason : `its parent ended: ${cause.reason}`
    const ended = endTask(task, state, tx.now, reason, cause.by)
    tx.put('task', id, ended)
    tx.append({
      kind: 'task.ended',
      refs: [id, refKey(task.subject), ...(task.parent === undefined ? [] : [task.parent])],
      task: id,
      state,
      reason,
      by: cause.by,
      calls: task.calls,
      denials: task.denials,
    })
    tasks.push(ended)
  }
  for (const id of below.requests) {
    const request = tx.get('request', id)?.value
    const isOfTask = request?.task !== undefined && below.tasks.includes(request.task)
    if (request !== undefined)
      endAccessRequest(tx, request, 'cancelled', isOfTask ? { ...cause, reason: 'its task ended' } : cause)
  }
  return { tasks, ...endGrants(tx, below, as, cause) }
}

/** Ends the grants in `below`; grants without credentials close at once. */
export function endGrants(
  tx: Transaction,
  below: Below,
  end: GrantEnd,
  cause: Cause,
): Readonly<{ grants: readonly Grant[]; credentials: readonly Credential[] }> {
  const grants: Grant[] = []
  const credentials: Credential[] = []
  for (const id of below.grants) {
    const grant = tx.get('grant', id)?.value
    if (grant?.state !== 'active') continue
    let ended = endGrant(grant, end, tx.now, cause.reason, cause.by)
    tx.append({
      kind: 'grant.ended',
      refs: [
        ...new Set([
          id,
          refKey(grant.subject),
          ...(grant.task === undefined ? [] : [grant.task]),
          ...(cause.owners ?? []),
        ]),
      ],
      grant: id,
      end,
      reason: cause.reason,
      by: cause.by,
      used: grant.used,
    })
    const mine = tx.scan('credential.grant', id).map((stored) => stored.value)
    for (const credential of mine) {
      const revoking = credentialRevoking(credential, tx.now)
      if (revoking !== credential) tx.put('credential', credential.id, revoking)
      if (isAtTarget(revoking)) credentials.push(revoking)
    }
    if (!mine.some(isAtTarget)) ended = close(tx, ended)
    tx.put('grant', id, ended)
    grants.push(ended)
  }
  return { grants, credentials }
}

/** The grant of a credential that was just verified absent closes when it was the last. */
export function closeIfClean(tx: Transaction, grantId: string): void {
  const grant = tx.get('grant', grantId)?.value
  if (grant?.state !== 'ended') return
  if (tx.scan('credential.grant', grantId).some(({ value }) => isAtTarget(value))) return
  tx.put('grant', grantId, close(tx, grant))
}

function close(tx: Transaction, grant: Grant): Grant {
  tx.append({
    kind: 'grant.closed',
    refs: [grant.id, ...(grant.task === undefined ? [] : [grant.task])],
    grant: grant.id,
  })
  return closeGrant(grant, tx.now)
}

/** pending → expired | cancelled | failed, with its entry. */
export function endAccessRequest(
  tx: Transaction,
  request: AccessRequest,
  status: 'expired' | 'cancelled' | 'failed',
  cause: Cause,
): AccessRequest {
  const ended = endRequest(request, status, tx.now, cause.reason)
  if (ended === request) return request
  tx.put('request', request.id, ended)
  tx.append(requestEntry('request.ended', ended, { status, reason: cause.reason, by: cause.by }))
  return ended
}

/** An entry about a request, found under the request, its requester and its task. */
export function requestEntry(
  kind: string,
  request: AccessRequest,
  more: Readonly<Record<string, Json>>,
): { kind: string; refs: string[] } & Record<string, Json> {
  return {
    kind,
    refs: [
      request.id,
      refKey(request.requester),
      ...(request.task === undefined ? [] : [request.task]),
      // the denial that it answers
      ...(typeof more['decision'] === 'string' ? [more['decision']] : []),
    ],
    request: request.id,
    ...more,
  }
}
