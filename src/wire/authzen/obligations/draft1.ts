/**
 * AuthZEN Obligations Profile, Draft 1 (2026-07-03): what an enforcement point must do beside enforcing. Writ has one
 * obligation that is an enforcement point's to fulfil, `@notify`; see docs/decisions/0014-authzen-obligations.md.
 *
 * @module
 */
import * as z from 'zod'
import type { Properties } from '../../../model/entity.ts'
import { refKey } from '../../../model/entity.ts'
import type { Decision } from '../../../model/outcome.ts'

/** The types that Writ may put on a decision; published as `supported_obligations`. */
export const supportedObligations = ['notification'] as const

export const obligation = z
  .object({
    id: z.string().meta({ description: 'Unique in this answer' }),
    type: z.enum(supportedObligations),
    properties: z.object({
      to: z.string().meta({ description: 'A name of `@notify` of a policy that permitted' }),
      topic: z.string(),
      body: z.string(),
    }),
  })
  .meta({
    id: 'Obligation',
    description: 'To be fulfilled by the enforcement point; who cannot must treat the answer as a denial',
  })

export type Obligation = z.infer<typeof obligation>

export const obligationMembers = { obligations: z.array(obligation).exactOptional() }
export const obligationMetadata = { supported_obligations: z.array(z.string()) }

/** The obligations of a permit: one notification for each name under `@notify`. Nothing else obliges anybody. */
export function encodeObligations(decision: Decision): { obligations?: Obligation[] } {
  const { notify } = decision.obligations
  if (decision.outcome !== 'permit' || notify.length === 0) return {}
  const { subject, action, resource } = decision.attempt
  const body = `${refKey(subject)} was permitted ${action.name} on ${refKey(resource)} (${decision.id})`
  return {
    obligations: notify.map((to, at) => ({
      id: `obl-${at + 1}`,
      type: 'notification',
      properties: { to, topic: 'permitted', body },
    })),
  }
}

/**
 * `input` without `context.supported_obligations`. What an enforcement point says that it can do decides nothing, is no
 * context of the attempt, and so neither reaches policy nor is what evidence binds to.
 */
export function withoutNegotiation<T extends Readonly<{ context?: Properties }>>(input: T): T {
  if (input.context === undefined || !Object.hasOwn(input.context, 'supported_obligations')) return input
  const { supported_obligations: _advice, ...context } = input.context
  return { ...input, context }
}
