/**
 * The log for outsiders on the wire: keys, proofs, rotation. Hashes are lowercase hexadecimal.
 *
 * @module
 */
import * as z from 'zod'
import type { Instant } from '../../model/time.ts'
import { encodeInstant, given, instantOut, text } from '../bounds.ts'

const hash = z.string().meta({ description: 'SHA-256, lowercase hexadecimal' })
const vkeyOut = z.string().meta({ description: 'A verifier key (C2SP signed-note): name, key id, key' })

export const logKey = z
  .object({
    id: z.string(),
    vkey: vkeyOut,
    origin: z.string(),
    epoch: z.int(),
    state: z.enum(['current', 'retired', 'compromised']),
    from: z.int().meta({ description: 'Size of the log from which on it signs' }),
    until: z.int().exactOptional().meta({ description: 'Checkpoints beyond this size are not believed' }),
    created_at: instantOut,
    retired_at: instantOut.exactOptional(),
    endorsement: z
      .string()
      .exactOptional()
      .meta({ description: 'Its word for the key that took over from it, a signed note' }),
  })
  .meta({ id: 'LogKey' })

export const logKeys = z
  .object({
    origin: z.string().meta({ description: 'First line of the checkpoints that are signed now' }),
    epoch: z.int(),
    keys: z.array(logKey),
  })
  .meta({ id: 'LogKeys' })

export type WireLogKeys = z.infer<typeof logKeys>

export const logInclusion = z
  .object({
    seq: z.int(),
    size: z.int(),
    leaf: hash,
    path: z.array(hash).meta({ description: 'RFC 9162 §2.1.3, nearest first' }),
    root: hash,
  })
  .meta({ id: 'LogInclusion' })

export type WireLogInclusion = z.infer<typeof logInclusion>

export const logConsistency = z
  .object({
    from: z.int(),
    to: z.int(),
    path: z.array(hash).meta({ description: 'RFC 9162 §2.1.4; empty when `from` is 0 or `to`' }),
    from_root: hash,
    to_root: hash,
  })
  .meta({ id: 'LogConsistency' })

export type WireLogConsistency = z.infer<typeof logConsistency>

export const keyRotation = z
  .strictObject({
    use: z.enum(['log', 'artifact', 'token', 'signal']).default('log'),
    compromised: z.boolean().default(false),
    reason: text.exactOptional(),
  })
  .meta({ id: 'KeyRotation' })

export const keyRotated = z
  .object({
    use: z.enum(['log', 'artifact', 'token', 'signal']),
    before: z.string(),
    id: z.string(),
    until: z.int().meta({ description: 'Last size of the log up to which the old key is believed' }),
    vkey: vkeyOut.exactOptional(),
    endorsement: z
      .string()
      .exactOptional()
      .meta({ description: 'The old key’s word for the new one, a signed note' }),
    checkpoint: z.string().exactOptional().meta({ description: 'The first checkpoint of the new key' }),
  })
  .meta({ id: 'KeyRotated' })

export type WireKeyRotated = z.infer<typeof keyRotated>

export function encodeLogKeys(value: {
  readonly origin: string
  readonly epoch: number
  readonly keys: readonly {
    readonly id: string
    readonly vkey: string
    readonly origin: string
    readonly epoch: number
    readonly state: 'current' | 'retired' | 'compromised'
    readonly from: number
    readonly until?: number
    readonly createdAt: Instant
    readonly retiredAt?: Instant
    readonly endorsement?: string
  }[]
}): WireLogKeys {
  return {
    origin: value.origin,
    epoch: value.epoch,
    keys: value.keys.map(({ createdAt, retiredAt, ...key }) => ({
      ...key,
      created_at: encodeInstant(createdAt),
      ...given('retired_at', retiredAt === undefined ? undefined : encodeInstant(retiredAt)),
    })),
  }
}
