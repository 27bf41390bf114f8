/**
 * The verdict on a proof of why: its bytes, what the laws say of it, and every decision taken again.
 *
 * @module
 */
import type { BundlePolicy, Cosigned, Finding, ProvenRecord, Trust } from './bundle.ts'
import { verifyBytes } from './bundle.ts'
import type { Checkpoint } from './note.ts'
import { judgeInputs } from './inputs.ts'
import { judgeLives } from './rules.ts'
import { tell } from './story.ts'

/** Why a decision, taken again, is not the recorded one; `undefined` when it is. */
export type Redecide = (
  entry: Readonly<Record<string, unknown>>,
  entities: readonly unknown[],
  policy: BundlePolicy,
  schema: string,
) => string | undefined

export type ProofVerdict = Readonly<{
  ok: boolean
  failures: readonly Finding[]
  /** What cannot be judged because it is not here, e.g. pruned by retention. */
  notShown: readonly string[]
  /** What was verified, for people. */
  checked: readonly string[]
  /** What it proves, for people; empty when it proves nothing. */
  story: readonly string[]
  about?: string
  madeAt?: number
  checkpoint?: Checkpoint
  cosigned: readonly Cosigned[]
  record?: ProvenRecord
}>

/** Verifies a bundle with nothing but itself and the keys that are trusted. Whatever the file holds, there is a verdict. */
export function verifyBundle(bytes: Uint8Array, trust: Trust, redecide?: Redecide): ProofVerdict {
  try {
    return verdictOn(bytes, trust, redecide)
  } catch (error) {
    // entries of a form that nothing here expects: no log of ours has them, but a file may
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error
    return failed([{ where: 'file', why: `holds what cannot be judged: ${error.message}` }])
  }
}

const failed = (failures: readonly Finding[]): ProofVerdict => ({
  ok: false,
  failures,
  notShown: [],
  checked: [],
  story: [],
  cosigned: [],
})

function verdictOn(bytes: Uint8Array, trust: Trust, redecide?: Redecide): ProofVerdict {
  const verdict = verifyBytes(bytes, trust)
  const { record, cosigned } = verdict
  // what is not what was written is neither judged nor told
  if (record === undefined || verdict.failures.length > 0) return failed(verdict.failures)
  const lives = judgeLives(record)
  const inputs = judgeInputs(record, redecide)
  const failures = [...lives.failures, ...inputs.failures]
  const hashes = record.pruned.map((seq) => `entry ${seq}: pruned by retention, only its hash is left`)
  return {
    ok: failures.length === 0,
    failures,
    notShown: [...hashes, ...lives.notShown, ...inputs.notShown],
    checked: [...verdict.checked, ...lives.checked, ...inputs.checked],
    story: failures.length === 0 ? tell(record) : [],
    about: record.about,
    madeAt: record.madeAt,
    checkpoint: record.checkpoint,
    cosigned,
    record,
  }
}
