/**
 * The profile's problem types (§"Error Responses").
 *
 * @module
 */

/** The profile's problem names and their statuses. */
export const problemStatus = {
  not_requestable: 400,
  invalid_denial_binding: 400,
  expired_denial: 410,
  duplicate_request: 409,
  unknown_task: 404,
  task_expired: 410,
  invalid_task_state: 409,
} as const

export type ArapProblem = keyof typeof problemStatus

export function isArapProblem(name: string | undefined): name is ArapProblem {
  return name !== undefined && Object.hasOwn(problemStatus, name)
}

export function arapProblemType(name: ArapProblem): string {
  return `urn:openid:authzen:access-request:error:${name}`
}
