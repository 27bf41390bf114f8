/**
 * A task with everything that hangs below it.
 *
 * @module
 */
import * as z from 'zod'
import type { Credential } from '../../model/credential.ts'
import type { Grant } from '../../model/grant.ts'
import type { AccessRequest } from '../../model/request.ts'
import type { Task } from '../../model/task.ts'
import { credential, encodeCredential, encodeGrant, grant, joinedRecord } from './grants.ts'
import { accessRequest, encodeAccessRequest } from './requests.ts'
import { encodeTask, task } from './tasks.ts'

export const taskState = z
  .object({
    task,
    grants: z.array(grant),
    credentials: z.array(credential),
    requests: z.array(accessRequest),
    children: z.array(task),
    clean: z
      .boolean()
      .meta({ description: 'The task has ended and every credential under it was verified absent' }),
    record: joinedRecord.exactOptional(),
  })
  .meta({ id: 'TaskState' })

export type WireTaskState = z.infer<typeof taskState>

export function encodeTaskState(
  value: {
    readonly task: Task
    readonly grants: readonly Grant[]
    readonly credentials: readonly Credential[]
    readonly requests: readonly AccessRequest[]
    readonly children: readonly Task[]
    readonly clean: boolean
  },
  people: boolean,
): WireTaskState {
  return {
    task: encodeTask(value.task),
    grants: value.grants.map(encodeGrant),
    credentials: value.credentials.map(encodeCredential),
    requests: value.requests.map((request) => encodeAccessRequest(request, people)),
    children: value.children.map(encodeTask),
    clean: value.clean,
  }
}
