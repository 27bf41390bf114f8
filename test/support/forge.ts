/**
 * Forged proofs of why: what one gets who has the log's key and rewrites the log.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import type { Bundle, BundleContent } from '../../src/audit/bundle.ts'
import { encodeBundle } from '../../src/audit/bundle.ts'
import type { VerifierKey } from '../../src/audit/note.ts'
import {
  formatCheckpoint,
  formatNote,
  parseCheckpoint,
  parseNote,
  signNote,
  verifierKey,
} from '../../src/audit/note.ts'
import { inclusionProof, treeRoot } from '../../src/audit/tree.ts'
import { rewrite } from '../../src/audit/verify.ts'
import { hex, leafHash, sha256 } from '../../src/store/hash.ts'

/** An entry that a forger may change as it likes. */
export type Editable = Record<string, unknown> & { kind: string }

export const makeKey = (name: string, type: 'log' | 'witness') => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  return { key: verifierKey(name, type, raw), privateKey }
}

/** What one gets who has the log's key and rewrites the log: every entry as `edit` leaves it, proven and signed anew. */
export function forge(
  text: string,
  edit: (
    entries: Map<number, Editable>,
    content: { -readonly [K in keyof BundleContent]: BundleContent[K] },
    key: VerifierKey,
  ) => void,
) {
  const { seal: _seal, kind: _kind, v: _v, ...content } = JSON.parse(text) as Bundle
  const head = parseCheckpoint(parseNote(content.checkpoint)?.text ?? '')
  assert.ok(head)
  const entries = new Map(content.entries.map(({ seq, body }) => [seq, JSON.parse(body ?? '') as Editable]))
  const { key, privateKey } = makeKey(head.origin, 'log')
  edit(entries, content, key)
  const leaves = Array.from({ length: head.size }, (_, seq) => {
    const entry = entries.get(seq)
    return entry === undefined ? sha256(`${seq}`) : leafHash(Buffer.from(rewrite(entry)))
  })
  const note = formatCheckpoint({ ...head, root: hex(treeRoot(leaves)) })
  const forged = encodeBundle(
    {
      ...content,
      checkpoint: formatNote({ text: note, signatures: [signNote(note, key, privateKey)] }),
      entries: [...entries]
        .toSorted(([a], [b]) => a - b)
        .map(([seq, entry]) => ({ seq, body: rewrite(entry), proof: inclusionProof(leaves, seq).map(hex) })),
    },
    key,
    privateKey,
  )
  return { text: forged, trust: { keys: [key] }, key, privateKey }
}

export const ofKind = (entries: Map<number, Editable>, kind: string): Editable => {
  const found = [...entries.values()].find((entry) => entry.kind === kind)
  assert.ok(found, `no entry is \`${kind}\``)
  return found
}
