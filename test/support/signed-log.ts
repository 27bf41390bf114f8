/**
 * A log with a key that is not Writ's own: what a witness or a client is shown, right and wrong.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { generateKeyPairSync } from 'node:crypto'
import type { Note, VerifierKey } from '../../src/audit/note.ts'
import { formatCheckpoint, signNote, verifierKey } from '../../src/audit/note.ts'
import { consistencyProof, treeRoot } from '../../src/audit/tree.ts'
import { formatSubmission } from '../../src/audit/witness.ts'
import { hex, leafHash } from '../../src/store/hash.ts'

export type KeyPair = Readonly<{ key: VerifierKey; privateKey: KeyObject }>

export function keyPair(name: string, type: 'log' | 'witness'): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const { x = '' } = publicKey.export({ format: 'jwk' })
  return { key: verifierKey(name, type, Buffer.from(x, 'base64url')), privateKey }
}

export const leavesOf = (count: number, seed = 'leaf'): Uint8Array[] =>
  Array.from({ length: count }, (_, i) => leafHash(Buffer.from(`${seed} ${i}`)))

export class SignedLog {
  readonly origin: string
  readonly pair: KeyPair
  readonly leaves: readonly Uint8Array[]

  constructor(origin: string, leaves = leavesOf(64), pair = keyPair(origin, 'log')) {
    this.origin = origin
    this.pair = pair
    this.leaves = leaves
  }

  /** The same log as its owner would show it to somebody else: no entry from `from` on is the same. */
  forkedAt(from: number): SignedLog {
    const other = leavesOf(this.leaves.length, 'another').slice(from)
    return new SignedLog(this.origin, [...this.leaves.slice(0, from), ...other], this.pair)
  }

  root(size: number): string {
    return hex(treeRoot(this.leaves.slice(0, size)))
  }

  head(size: number): Note {
    const text = formatCheckpoint({ origin: this.origin, size, root: this.root(size) })
    return { text, signatures: [signNote(text, this.pair.key, this.pair.privateKey)] }
  }

  /** Lowercase hex is for people; here are the bytes. */
  proof(from: number, to: number): Uint8Array[] {
    return from === 0 ? [] : consistencyProof(this.leaves.slice(0, to), from)
  }

  /** What is posted to a witness. */
  submission(old: number, size: number): string {
    return formatSubmission({ old, proof: this.proof(old, size), note: this.head(size) })
  }
}
