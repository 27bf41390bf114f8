/**
 * The compiled Cedar evaluator: what reference Cedar answers, at a cost that does not grow with the policies.
 *
 * @module
 */
import type { EntityStore } from './store.ts'
import { prepareEntities as prepare } from './store.ts'

export type {
  CompiledPolicies,
  CompileInput,
  CompileOptions,
  Decided,
  DecideRequest,
  PolicyForm,
} from './compile.ts'
export { compile, compileLimits } from './compile.ts'
export type { SchemaForm } from './schema.ts'
export type { EntityStore }

/**
 * Cedar's JSON for entities, parsed once for any number of decisions by sets without a schema.
 *
 * @throws {WritError} `ERR_INPUT_INVALID` for what the reference refuses, and for integers that are not exact.
 */
export const prepareEntities = (entities: readonly unknown[]): EntityStore => prepare(entities)
