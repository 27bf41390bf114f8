/**
 * Proofs that are good once: whoever spends one first, on whatever node and before whatever restart, was the one (B6).
 *
 * @module
 */
import type { SpentProof } from '../model/identity.ts'
import type { Instant } from '../model/time.ts'
import { hex, sha256 } from '../store/hash.ts'
import type { Read, Transaction } from '../store/port.ts'

/** The record that spends a proof. `by` and `jti` name it among all of its kind; it is kept until nobody accepts it. */
export function spentProof(kind: SpentProof['kind'], by: string, jti: string, endsAt: Instant): SpentProof {
  // JSON keeps apart what a separator alone would not
  return { id: hex(sha256(JSON.stringify([kind, by, jti]))), kind, endsAt }
}

export const readOf = ({ id }: SpentProof): Read => ({ kind: 'proof', id })

/** Spends the proof in `tx`; false if it has been spent. Its read is among those of the item. */
export function spendProof(tx: Transaction, proof: SpentProof): boolean {
  if (tx.get('proof', proof.id) !== undefined) return false
  tx.put('proof', proof.id, proof)
  return true
}
