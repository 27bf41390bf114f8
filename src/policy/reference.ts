/**
 * The reference: every policy by itself, through Cedar's own library, and law 6 over the answers, written a second time.
 * Slow and simple on purpose. It shares with the engine only the schema and how values are typed by it, so that it
 * checks the engine instead of repeating it.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { WritError } from '../model/errors.ts'
import { strictest } from './annotations.ts'
import { Inputs } from './inputs.ts'
import { loadParts } from './load.ts'
import { isRead, unknownLabel } from './reads.ts'
import { CedarEvaluator, evaluateOnce, ReferenceFailure } from './reference-cedar.ts'
import type { ReferenceRequest } from './reference-cedar.ts'
import { ReferenceInputs } from './reference-inputs.ts'
import type { ReferencePrepared } from './reference-inputs.ts'
import { actionMatches, scopeMatches } from './scope.ts'
import type { LoadedPolicy, Parts } from './set.ts'
import type { Evaluation, PolicyError, PolicySet, PolicySource, Query } from './types.ts'

/** A policy set that is only ever asked again. */
export type Reference = Pick<PolicySet, 'evaluate' | 'version' | 'policies' | 'source'>

/** Most policies of which the parsed form is kept. */
const MOST_KEPT = 500

/**
 * The set `version` out of its files and the schema that was in force (the user's text, or the derived one).
 *
 * @throws {WritError} `ERR_POLICY_INVALID` when they do not load, or are not that version.
 */
export function referenceSet(
  source: PolicySource,
  schemaText: string,
  version: string,
  hash: (text: string) => string,
): Reference {
  const loaded = loadParts(source, { hash, inventory: [], derived: schemaText })
  if (!loaded.ok) {
    const [first] = loaded.problems
    throw new WritError(
      'ERR_POLICY_INVALID',
      `the policy set does not load: ${first?.message ?? 'no reason'}`,
    )
  }
  const { parts } = loaded
  if (parts.version !== version) {
    throw new WritError(
      'ERR_POLICY_INVALID',
      `the policy set is not \`${version}\`, it is \`${parts.version}\``,
    )
  }
  if (parts.ownSchemaText !== schemaText) {
    throw new WritError(
      'ERR_POLICY_INVALID',
      'the schema beside the policy set is another than the one in it',
    )
  }
  return new ReferenceSet(parts)
}

type Verdict = Readonly<{ policy: LoadedPolicy; holds: boolean; error?: PolicyError }>

class ReferenceSet implements Reference {
  readonly version: string
  readonly source: PolicySource
  readonly policies: PolicySet['policies']
  readonly #parts: Parts
  /** For what the schema has no place for, and nothing else. */
  readonly #inputs: Inputs
  readonly #values: ReferenceInputs
  readonly #kept = new Map<string, CedarEvaluator>()

  constructor(parts: Parts) {
    this.version = parts.version
    this.source = parts.source
    this.policies = parts.policies.map(({ info }) => info)
    this.#parts = parts
    this.#inputs = new Inputs(parts.schema, parts.pools)
    this.#values = new ReferenceInputs(parts.schema, parts.pools)
  }

  evaluate(query: Query): Evaluation {
    const action = this.#inputs.action(query.action)
    const mismatch = this.#inputs.mismatch(query)
    if (action === undefined || mismatch !== undefined) {
      return { ...denied, mismatch: mismatch ?? 'the action is not declared' }
    }
    const prepared = this.#values.prepare(query, action)
    // a policy that names no action of Writ governs none of them, whatever its wildcard says
    const writs = query.action.type === 'Writ::Action'
    const verdicts = this.#parts.policies
      .filter(({ info }) => !writs || info.governsWrit)
      .map((policy) => this.#judge(policy, prepared))
    const errors = verdicts.flatMap(({ error }) => error ?? [])
    const holding = (effect: 'permit' | 'forbid'): LoadedPolicy[] =>
      verdicts
        .filter((one) => one.holds && one.error === undefined && one.policy.info.effect === effect)
        .map(({ policy }) => policy)
    const forbids = holding('forbid')
    const stops = verdicts.filter(({ error }) => error?.effect === 'forbid').map(({ policy }) => policy)
    const mayPermit = forbids.length === 0 && stops.length === 0
    const permits = mayPermit ? holding('permit') : []
    const decision = permits.length > 0 ? 'permit' : 'deny'
    return {
      decision,
      determining: (decision === 'permit' ? permits : forbids).map(({ info }) => info.id),
      errors,
      obligations: strictest(permits.map(({ annotations }) => annotations)),
      dropped: prepared.dropped,
      unknownInputs: prepared.unknowns.filter(({ kind }) => kind !== 'fact').map(unknownLabel),
      forbidden: forbids.length + stops.length > 0,
      explainable: [...forbids, ...stops].every(({ annotations }) => annotations.explain),
    }
  }

  #judge(policy: LoadedPolicy, prepared: ReferencePrepared): Verdict {
    const { info, reads, annotations } = policy
    const fails = (cause: PolicyError['cause'], message: string): Verdict => ({
      policy,
      holds: false,
      error: { policy: info.id, effect: info.effect, cause, message },
    })
    const unknown = prepared.unknowns.filter((one) => {
      if (!isRead(reads, one)) return false
      const label = unknownLabel(one)
      const ignored = [...annotations.unknownIgnore]
      return !ignored.some((name) => name === label || (one.kind !== 'fact' && label.startsWith(`${name}.`)))
    })
    try {
      if (unknown.length > 0) {
        if (!headMatches(policy, prepared.request)) return { policy, holds: false }
        return fails(
          'unknown',
          `reads ${unknown.map((one) => `\`${unknownLabel(one)}\``).join(', ')}, which is unknown`,
        )
      }
      const { reason, errors } = this.#evaluator(policy).evaluate(prepared.request)
      const [error] = errors
      if (error !== undefined) return fails('error', error.message)
      return { policy, holds: reason.includes(info.id) }
    } catch (error) {
      if (!(error instanceof ReferenceFailure)) throw error
      // what no engine can answer is an error of every policy in scope
      const { principal, resource } = prepared.request
      const isInScope =
        actionMatches(info.scope.action, prepared.action) &&
        scopeMatches(info.scope, principal, resource, prepared.lineage)
      return isInScope ? fails('error', error.message) : { policy, holds: false }
    }
  }

  #evaluator({ info }: LoadedPolicy): CedarEvaluator {
    const known = this.#kept.get(info.id) ?? new CedarEvaluator({ [info.id]: info.text })
    if (this.#kept.size < MOST_KEPT) this.#kept.set(info.id, known)
    return known
  }
}

/** Whether Cedar says that the head of a policy matches: the policy without its conditions holds. */
function headMatches({ info }: LoadedPolicy, request: ReferenceRequest): boolean {
  const parsed = cedar.policyToJson(info.text)
  if (parsed.type === 'failure') throw new ReferenceFailure('the policy cannot be read')
  const head = cedar.policyToText({ ...parsed.json, conditions: [] })
  if (head.type === 'failure') throw new ReferenceFailure('the head of the policy cannot be written')
  return evaluateOnce({ head: head.text }, request).reason.includes('head')
}

const denied: Evaluation = {
  decision: 'deny',
  determining: [],
  errors: [],
  obligations: strictest([]),
  dropped: [],
  unknownInputs: [],
  forbidden: false,
  explainable: true,
}
