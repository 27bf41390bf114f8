/**
 * The witnesses of the log on the wire.
 *
 * @module
 */
import * as z from 'zod'
import type { Instant } from '../../model/time.ts'
import { encodeInstant, given, instantOut } from '../bounds.ts'

export const logWitnesses = z
  .object({
    items: z.array(
      z.object({
        name: z.string(),
        url: z.string(),
        key: z.string().meta({ description: 'Its verifier key (C2SP signed-note)' }),
        cosigned: z
          .object({ size: z.int(), at: instantOut.meta({ description: 'By the clock of the witness' }) })
          .exactOptional()
          .meta({ description: 'The newest head that it cosigned since this server started' }),
        problem: z
          .string()
          .exactOptional()
          .meta({ description: 'Why it did not cosign the newest head; follows its name in a sentence' }),
        contradicts: z
          .literal(true)
          .exactOptional()
          .meta({ description: 'It remembers another history than this log has' }),
      }),
    ),
  })
  .meta({ id: 'LogWitnesses' })

export type WireLogWitnesses = z.infer<typeof logWitnesses>

export function encodeLogWitnesses(
  witnesses: readonly Readonly<{
    name: string
    url: string
    key: string
    cosigned?: Readonly<{ size: number; at: Instant }>
    problem?: string
    contradicts?: true
  }>[],
): WireLogWitnesses {
  return {
    items: witnesses.map(({ cosigned, ...witness }) => ({
      ...witness,
      ...given('cosigned', cosigned && { size: cosigned.size, at: encodeInstant(cosigned.at) }),
    })),
  }
}
