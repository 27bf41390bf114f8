/**
 * Policy sets on the wire.
 *
 * @module
 */
import * as z from 'zod'
import type { PolicyVersion } from '../../model/access.ts'
import { displayName, encodeInstant, instantOut } from '../bounds.ts'

/** Most files in one set, and the longest of them. */
export const FILES_MOST = 256
export const FILE_MOST = 200_000

const file = z.strictObject({
  name: displayName,
  text: z
    .string()
    .max(FILE_MOST)
    .refine((text) => text.isWellFormed(), { error: 'must be well-formed Unicode' }),
})

export const policySource = z
  .strictObject({ policies: z.array(file).min(1).max(FILES_MOST), schema: file.exactOptional() })
  .meta({ id: 'PolicySource', description: "Cedar policy files and, if there is one, the user's schema" })

export type PolicySource = z.input<typeof policySource>

export const policyVersion = z
  .object({
    version: z.string().meta({ description: 'Content hash' }),
    state: z.enum(['proposed', 'published', 'rejected']),
    policies: z.array(z.object({ name: z.string(), text: z.string() })),
    schema: z.object({ name: z.string(), text: z.string() }).exactOptional(),
    composed: z.string().meta({ description: 'The Cedar schema as Writ composed it' }),
    proposed_by: z.string(),
    proposed_at: instantOut,
    agreed_by: z.array(z.string()),
    published_at: instantOut.exactOptional(),
  })
  .meta({ id: 'PolicyVersion' })

export type WirePolicyVersion = z.infer<typeof policyVersion>

export function encodePolicyVersion(value: PolicyVersion): WirePolicyVersion {
  return {
    version: value.version,
    state: value.state,
    policies: value.policies.map(({ name, text }) => ({ name, text })),
    ...(value.schema === undefined ? {} : { schema: { name: value.schema.name, text: value.schema.text } }),
    composed: value.composed,
    proposed_by: value.proposedBy,
    proposed_at: encodeInstant(value.proposedAt),
    agreed_by: [...value.agreedBy],
    ...(value.publishedAt === undefined ? {} : { published_at: encodeInstant(value.publishedAt) }),
  }
}
