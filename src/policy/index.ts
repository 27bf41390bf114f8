/**
 * Policy: Cedar text in, a validated set out that answers attempts. Pure; nothing here reads a clock or a file.
 *
 * @module
 */
export { annotationNames } from './annotations.ts'
export type {
  CompiledPolicies,
  CompileInput,
  Decided,
  DecideRequest,
  EntityStore,
  PolicyForm,
  SchemaForm,
} from './engine/index.ts'
export { compile, compileLimits, prepareEntities } from './engine/index.ts'
export type { FactDefinition } from './facts.ts'
export { facts } from './facts.ts'
export type { Described } from './describe.ts'
export { describePolicy } from './describe.ts'
export type { Formatted } from './format.ts'
export { formatPolicies } from './format.ts'
export type { JudgeInput, Judgement } from './judge.ts'
export { judge } from './judge.ts'
export type { LoadOptions, LoadResult, Step } from './load.ts'
export { loadPolicySet, loadSteps, policyLimits, poolsOf } from './load.ts'
export type { LintCode } from './lint.ts'
export { lint, lintNames } from './lint.ts'
export type { Problem, ProblemCode } from './problems.ts'
export { problemCodes, problemHelp, renderProblem } from './problems.ts'
export type { Reference } from './reference.ts'
export { referenceSet } from './reference.ts'
export { builtins, narrowingActions, writAction, writActions, writSystem } from './schema.ts'
export type {
  ActualValue,
  Asked,
  ClauseResult,
  Effect,
  EntityData,
  EntityUid,
  Evaluation,
  Explanation,
  Head,
  Obligations,
  PolicyError,
  PolicyInfo,
  PolicyReads,
  PolicySet,
  PolicySource,
  Proof,
  Query,
  Reach,
  RequiredValue,
  RuleResult,
} from './types.ts'
export { NO_PROOF, sameUid, uidText } from './types.ts'
