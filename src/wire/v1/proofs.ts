/**
 * The proof of why on the wire: the file itself, byte for byte as it was sealed (`docs/proof-bundle.md`).
 *
 * @module
 */
import * as z from 'zod'

const hash = z.string().length(64).meta({ description: 'SHA-256 in lowercase hexadecimal' })
const file = z.object({ name: z.string(), text: z.string() })

export const proofBundle = z
  .object({
    kind: z.literal('writ.proof'),
    v: z.literal(1),
    about: z.string().meta({ description: 'The decision, grant, credential, task or access request' }),
    made_at: z.int().meta({ description: 'Epoch milliseconds by the clock of the store' }),
    checkpoint: z
      .string()
      .meta({ description: 'A signed note (C2SP tlog-checkpoint) that covers every entry' }),
    witnesses: z
      .array(z.string())
      .meta({ description: 'Verifier keys of the witnesses whose cosignatures it bears' }),
    entries: z.array(
      z.object({
        seq: z.int(),
        body: z.string().exactOptional().meta({ description: 'The exact text of the entry' }),
        leaf: hash.exactOptional().meta({ description: 'In place of `body`: retention has pruned it' }),
        proof: z.array(hash).meta({ description: 'From the leaf to the root (RFC 9162 §2.1.3)' }),
      }),
    ),
    bodies: z.array(z.string()).meta({ description: 'Texts that entries hold the digest of' }),
    policies: z.array(z.object({ version: hash, files: z.array(file), schema: file.exactOptional() })),
    seal: z.string().meta({ description: 'A note signed by the log over everything else' }),
  })
  .meta({ id: 'ProofBundle' })
