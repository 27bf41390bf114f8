/**
 * The compiled Cedar evaluator: what reference Cedar answers, at a cost that does not grow with the policies.
 *
 * @module
 */
export type { CompiledPolicies, CompileInput, Decided, DecideRequest, PolicyForm } from './compile.ts'
export { compile, compileLimits } from './compile.ts'
export type { EntityStore } from './store.ts'
export { prepareEntities } from './store.ts'
