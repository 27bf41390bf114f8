/**
 * The typed client of Writ: web APIs only, Node 20 or newer, no dependencies.
 *
 * ```ts
 * const writ = createWrit()
 * await using lease = await writ.acquire({ action: 'db:migrate', resource: 'Database/orders', reason: 'INC-42', wait: '10m' })
 * const { secret } = await lease.credential()
 * ```
 *
 * @module
 */
export type { AccessState, AccessTask, ApprovalReference, RequestStatus, WaitOptions } from './access.ts'
export { isSettled } from './access.ts'
export type { AccessCallback, CallbackMemory, CallbackReceiverOptions } from './callback.ts'
export { createCallbackReceiver } from './callback.ts'
export type {
  Attempt,
  AttemptInput,
  Challenge,
  Decision,
  Deny,
  Obligation,
  Permit,
  ReadDecision,
  RequestHandle,
  RequestOptions,
} from './decision.ts'
export type { Duration } from './duration.ts'
export type { ClientErrorCode } from './error.ts'
export { WritClientError, isWritClientError } from './error.ts'
export type { EventOptions } from './events.ts'
export type { BoundToken } from './http.ts'
export type { Ending, Lease } from './lease.ts'
export type {
  Checkpoint,
  CheckpointMemory,
  KeyRotated,
  KeyRotation,
  LogKeyInfo,
  LogKeys,
  LogOptions,
} from './log.ts'
export type { ApprovalThen, Authority, DecisionThen } from './authority.ts'
export type { ActionSearch, OfType, ResourceSearch, SearchPage, SubjectSearch } from './search.ts'
export type {
  ClientProof,
  ExchangeInput,
  IssuedToken,
  ProofToken,
  ServerMetadata,
  TokenAnswer,
} from './token.ts'
export { accessTokenType, jwtType, typeOfToken } from './token.ts'
export type { DpopKey } from './token-proof.ts'
export { createDpopKey, dpopProof, exportDpopKey, importDpopKey } from './token-proof.ts'
export type * from './types.ts'
export type { AcquireOptions, PageQuery, Progress, Writ, WritOptions } from './writ.ts'
export { NotPermitted, createWrit } from './writ.ts'
