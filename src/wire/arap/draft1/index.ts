/**
 * AuthZEN Access Request and Approval Profile, Draft 1 (openid/authzen at b304f68cb206): everything that it spells. What
 * it calls a task is an access request elsewhere.
 *
 * @module
 */
export * from './artifacts.ts'
export * from './callback.ts'
export * from './denial.ts'
export * from './metadata.ts'
export * from './problems.ts'
export * from './schemas.ts'
export * from './submission.ts'
export * from './task.ts'
