/**
 * Keys, people, sessions, targets and health on the wire.
 *
 * @module
 */
import * as z from 'zod'
import type { ApiKey } from '../../model/access.ts'
import type { Json } from '../../model/canonical.ts'
import {
  actionName,
  displayName,
  duration,
  encodeInstant,
  encodeRef,
  entityType,
  id,
  instantOut,
  jsonOut,
  properties,
  ref,
  refOut,
} from '../bounds.ts'

const subjectTypes = z.array(z.union([z.literal('*'), entityType])).max(64)

export const keyInput = z
  .strictObject({
    name: displayName,
    subject: ref,
    pep: z
      .strictObject({
        subjects: subjectTypes.min(1),
        attributes: z.record(z.union([z.literal('*'), entityType]), z.array(actionName).max(64)),
      })
      .exactOptional()
      .meta({
        description:
          'Whom it may speak for, by subject type, and what it may say of them; only itself if left out',
      }),
    ttl: duration.exactOptional(),
  })
  .meta({ id: 'KeyInput' })

export type KeyInput = z.input<typeof keyInput>

export const createdKey = z
  .object({ id: z.string(), secret: z.string().meta({ description: '`writ_key_…`, shown once' }) })
  .meta({ id: 'CreatedKey' })

const pepOut = z.object({
  subjects: z.array(z.string()),
  attributes: z.record(z.string(), z.array(z.string())),
})

export const key = z
  .object({
    id: z.string(),
    name: z.string(),
    subject: refOut,
    pep: pepOut.exactOptional(),
    created_at: instantOut,
    ends_at: instantOut.exactOptional(),
    revoked_at: instantOut.exactOptional(),
  })
  .meta({ id: 'Key', description: 'An API key without its secret, which nobody has but its holder' })

export type WireKey = z.infer<typeof key>

export const keyPage = z
  .object({ items: z.array(key), next_cursor: z.string().exactOptional() })
  .meta({ id: 'KeyPage' })

export function encodeKey(value: ApiKey): WireKey {
  const { id: keyId, name, subject, pep, createdAt, endsAt, revokedAt } = value
  return {
    id: keyId,
    name,
    subject: encodeRef(subject),
    ...(pep === undefined
      ? {}
      : {
          pep: {
            subjects: [...pep.subjects],
            attributes: Object.fromEntries(
              Object.entries(pep.attributes).map(([type, names]) => [type, [...names]]),
            ),
          },
        }),
    created_at: encodeInstant(createdAt),
    ...(endsAt === undefined ? {} : { ends_at: encodeInstant(endsAt) }),
    ...(revokedAt === undefined ? {} : { revoked_at: encodeInstant(revokedAt) }),
  }
}

export const invitationInput = z
  .strictObject({ id, name: displayName.exactOptional(), groups: z.array(ref).max(64).exactOptional() })
  .meta({ id: 'InvitationInput' })

export type InvitationInput = z.input<typeof invitationInput>

export const invitation = z
  .object({ code: z.string().meta({ description: 'One use; shown once' }), ends_at: instantOut })
  .meta({ id: 'Invitation' })

/** A one-time code as a person types it. */
export const code = z.string().trim().min(8).max(200)

export const sessionInput = z.strictObject({ code }).meta({ id: 'SessionInput' })
export type SessionInput = z.input<typeof sessionInput>

export const session = z
  .object({ token: z.string(), person: refOut, ends_at: instantOut })
  .meta({ id: 'Session' })

export const me = z
  .object({
    id: z.string(),
    kind: z.enum(['key', 'issuer', 'session']),
    subject: refOut,
    pep: z
      .object({ subjects: z.array(z.string()), attributes: z.record(z.string(), z.array(z.string())) })
      .exactOptional(),
    dev: z.boolean().exactOptional(),
  })
  .meta({ id: 'Me', description: 'Who the caller is to this server' })

export type WireMe = z.infer<typeof me>

/** Whether a target's configuration holds a password: it is recorded and shown as it is, and only `admin` is sealed. */
function holdsSecret(value: Json): boolean {
  if (typeof value === 'string') {
    const url = URL.parse(value)
    return (
      url !== null && (url.password !== '' || url.searchParams.keys().some((name) => secretName.test(name)))
    )
  }
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return value.some(holdsSecret)
  return Object.entries(value as Record<string, Json>).some(
    ([name, inner]) => secretName.test(name) || holdsSecret(inner),
  )
}

const secretName = /^(?:ssl)?(?:password|passphrase|secret|token)$/i

export const targetInput = z
  .strictObject({
    id,
    kind: displayName,
    config: properties.refine((config) => !holdsSecret(config), {
      error: 'must hold no password: it is recorded as it is; `admin.password` is sealed',
    }),
    admin: z.strictObject({ user: z.string().min(1).max(256), password: z.string().max(1_024) }),
  })
  .meta({ id: 'TargetInput' })

export type TargetInput = z.input<typeof targetInput>

export const addedTarget = z
  .object({ id: z.string(), notices: z.array(z.string()), findings: z.array(jsonOut) })
  .meta({ id: 'AddedTarget' })

export const target = z
  .object({ id: z.string(), kind: z.string(), config: jsonOut, notices: z.array(z.string()) })
  .meta({ id: 'Target' })

export const targetList = z.object({ items: z.array(target) }).meta({ id: 'TargetList' })
export const findingList = z.object({ items: z.array(jsonOut) }).meta({ id: 'FindingList' })

export const health = z
  .object({ status: z.enum(['ok', 'degraded']), version: z.string() })
  .meta({ id: 'Health' })
export const readiness = z
  .object({
    status: z.enum(['ok', 'degraded']),
    version: z.string(),
    problems: z.array(z.string()).exactOptional(),
  })
  .meta({ id: 'Readiness' })
