/**
 * The engine behind a policy set, with Cedar's own semantics and nothing of Writ's. Reference Cedar runs it now; a
 * compiled evaluator takes over behind the same interface (law 7).
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import type { CedarValueJson, EntityJson } from '@cedar-policy/cedar-wasm/nodejs'
import type { EntityUid } from './types.ts'

export type EngineRequest = Readonly<{
  principal: EntityUid
  action: EntityUid
  resource: EntityUid
  context: Readonly<Record<string, CedarValueJson>>
  entities: readonly EntityJson[]
}>

/** Cedar's answer: the permits that hold (on allow) or the forbids that hold (on deny), and every policy that failed. */
export type EngineAnswer = Readonly<{
  decision: 'allow' | 'deny'
  reason: readonly string[]
  errors: readonly Readonly<{ policy: string; message: string }>[]
}>

export interface Evaluator {
  /** @throws {EngineFailure} if no answer could be given at all. */
  evaluate(request: EngineRequest): EngineAnswer
}

/** The engine gave no answer, e.g. for a cycle in the hierarchy. Never a permit. */
export class EngineFailure extends Error {
  override readonly name = 'EngineFailure'
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
export class CedarEvaluator implements Evaluator {
  readonly #name: string

  constructor(policies: Readonly<Record<string, string>>) {
    this.#name = free.pop() ?? `writ-${names++}`
    const answer = cedar.preparsePolicySet(this.#name, { staticPolicies: policies })
    if (answer.type === 'failure')
      throw new EngineFailure(answer.errors.map((error) => error.message).join('; '))
    gone.register(this, this.#name)
  }

  evaluate(request: EngineRequest): EngineAnswer {
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
  request: EngineRequest,
): EngineAnswer {
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

function run(ask: () => cedar.AuthorizationAnswer): EngineAnswer {
  let answer: cedar.AuthorizationAnswer
  try {
    answer = ask()
  } catch (error) {
    throw new EngineFailure('the policy engine failed', { cause: error })
  }
  if (answer.type === 'failure')
    throw new EngineFailure(answer.errors.map((error) => error.message).join('; '))
  const { decision, diagnostics } = answer.response
  return {
    decision,
    reason: diagnostics.reason,
    errors: diagnostics.errors.map(({ policyId, error }) => ({ policy: policyId, message: error.message })),
  }
}
