/**
 * Reference Cedar, with its own semantics and nothing of Writ's: what the engine is held against (law 7).
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import type { CedarValueJson, EntityJson } from '@cedar-policy/cedar-wasm/nodejs'
import type { EntityUid } from './types.ts'

export type ReferenceRequest = Readonly<{
  principal: EntityUid
  action: EntityUid
  resource: EntityUid
  context: Readonly<Record<string, CedarValueJson>>
  entities: readonly EntityJson[]
}>

/** Cedar's answer: the permits that hold (on allow) or the forbids that hold (on deny), and every policy that failed. */
export type ReferenceAnswer = Readonly<{
  decision: 'allow' | 'deny'
  reason: readonly string[]
  errors: readonly Readonly<{ policy: string; message: string }>[]
}>

/** The reference gave no answer, e.g. for a cycle in the hierarchy. Never a permit. */
export class ReferenceFailure extends Error {
  override readonly name = 'ReferenceFailure'
}

// The library keeps parsed sets by name for the life of the process and has no way to drop one, so names are used again
// once the evaluator that had one is gone.
let names = 0
const free: string[] = []
const gone = new FinalizationRegistry<string>((name) => {
  cedar.preparsePolicySet(name, { staticPolicies: {} })
  free.push(name)
})

/** Reference Cedar over policies that have passed validation. */
export class CedarEvaluator {
  readonly #name: string

  constructor(policies: Readonly<Record<string, string>>) {
    this.#name = free.pop() ?? `writ-${names++}`
    const answer = cedar.preparsePolicySet(this.#name, { staticPolicies: policies })
    if (answer.type === 'failure')
      throw new ReferenceFailure(answer.errors.map((error) => error.message).join('; '))
    gone.register(this, this.#name)
  }

  /** @throws {ReferenceFailure} if no answer could be given at all. */
  evaluate(request: ReferenceRequest): ReferenceAnswer {
    return run(() =>
      cedar.statefulIsAuthorized({
        principal: request.principal,
        action: request.action,
        resource: request.resource,
        context: request.context,
        preparsedPolicySetId: this.#name,
        entities: request.entities as cedar.Entities,
      }),
    )
  }
}

/** One evaluation of policies that are not kept. */
export function evaluateOnce(
  policies: Readonly<Record<string, string>>,
  request: ReferenceRequest,
): ReferenceAnswer {
  return run(() =>
    cedar.isAuthorized({
      principal: request.principal,
      action: request.action,
      resource: request.resource,
      context: request.context,
      policies: { staticPolicies: policies },
      entities: request.entities as cedar.Entities,
    }),
  )
}

function run(ask: () => cedar.AuthorizationAnswer): ReferenceAnswer {
  let answer: cedar.AuthorizationAnswer
  try {
    answer = ask()
  } catch (error) {
    throw new ReferenceFailure('the reference failed', { cause: error })
  }
  if (answer.type === 'failure')
    throw new ReferenceFailure(answer.errors.map((error) => error.message).join('; '))
  const { decision, diagnostics } = answer.response
  return {
    decision,
    reason: diagnostics.reason,
    errors: diagnostics.errors.map(({ policyId, error }) => ({ policy: policyId, message: error.message })),
  }
}
