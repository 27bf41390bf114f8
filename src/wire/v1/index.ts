/**
 * Our own API, version 1: every schema, and the TypeScript types of what is sent and answered.
 *
 * @module
 */
export * from './access.ts'
export * from './accounts.ts'
export * from './actions.ts'
export * from './authority.ts'
export * from './decisions.ts'
export * from './delegations.ts'
export * from './facts.ts'
export * from './epochs.ts'
export * from './grants.ts'
export * from './inventory.ts'
export * from './locks.ts'
export * from './log.ts'
export * from './policies.ts'
export * from './proofs.ts'
export * from './requests.ts'
export * from './signals.ts'
export * from './states.ts'
export * from './tasks.ts'
export * from './transparency.ts'
export * from './witnesses.ts'
