/**
 * What a submission may and must add to the denied request, for enforcement points without a person at hand.
 *
 * @module
 */
import * as z from 'zod'
import type { Decision } from '../../../model/outcome.ts'
import type { Json } from '../../../model/canonical.ts'
import { needsJustification } from '../../../model/request.ts'
import { TEXT_MOST, jsonOut } from '../../bounds.ts'

/** Templates say which additions a submission needs; none of them is policy. */
export const templates = ['approval', 'justified'] as const
export type Template = (typeof templates)[number]

export const templateOf = ({ alternatives }: Pick<Decision, 'alternatives'>): Template =>
  needsJustification(alternatives) ? 'justified' : 'approval'

export const templateName = z.strictObject({ name: z.enum(templates) })

export const schemaUrl = (endpoint: string, template: Template): string => `${endpoint}/schemas/${template}`

export const requestSchema = jsonOut.meta({
  id: 'RequestSchema',
  description: 'JSON Schema (2020-12) of the members `context` and `requested_access` of a submission',
})

/** The JSON Schema of a template's additions. */
export function encodeRequestSchema(template: Template, endpoint: string): Json {
  const justified = template === 'justified'
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: schemaUrl(endpoint, template),
    type: 'object',
    properties: {
      context: {
        type: 'object',
        properties: {
          justification: {
            type: 'string',
            minLength: 1,
            maxLength: TEXT_MOST,
            description: 'Why; who approves reads it',
          },
        },
        ...(justified ? { required: ['justification'] } : {}),
      },
      requested_access: {
        type: 'object',
        properties: {
          requested_until: { type: 'string', format: 'date-time' },
          emergency: {
            type: 'boolean',
            description: 'Approvers are told that it is urgent; it changes nothing else',
          },
        },
      },
    },
    ...(justified ? { required: ['context'] } : {}),
  }
}
