/**
 * Alternatives: the evidence that would turn a denial into a permit, as every door shows it.
 *
 * @module
 */
import * as z from 'zod'
import type { Decision } from '../model/outcome.ts'
import { encodeDuration, given } from './bounds.ts'

const requirementOut = z.object({
  kind: z.enum(['approval', 'justification', 'reauth']),
  pool: z.string().exactOptional(),
  count: z.int().exactOptional(),
  people: z
    .array(z.string())
    .exactOptional()
    .meta({ description: 'Who proves with a passkey, for this statement, that it is them' }),
})

/** One way to turn a denial into a permit: all of `requirements`, with the obligations that come with them. */
export const alternative = z
  .object({
    requirements: z.array(requirementOut),
    binding: z.enum(['attempt', 'task']),
    ttl: z.string().exactOptional(),
    uses: z.int().exactOptional(),
  })
  .meta({ id: 'Alternative', description: 'Evidence that together would change the answer' })

export type Alternative = z.infer<typeof alternative>

/** `alternatives` of a decision as they are shown. */
export function encodeAlternatives(alternatives: Decision['alternatives']): Alternative[] {
  return alternatives.map((set) => ({
    requirements: set.requirements.map((r) =>
      r.kind === 'reauth' ? { ...r, people: [...r.people] } : { ...r },
    ),
    binding: set.binding,
    ...(set.ttl === undefined ? {} : { ttl: encodeDuration(set.ttl) }),
    ...given('uses', set.uses),
  }))
}
