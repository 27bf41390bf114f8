import assert from 'node:assert/strict'
import type { KeyObject } from 'node:crypto'
import { generateKeyPairSync } from 'node:crypto'
import test from 'node:test'
import fc from 'fast-check'
import { hex, leafHash } from '../store/hash.ts'
import type { Note, VerifierKey } from './note.ts'
import {
  cosignNote,
  formatCheckpoint,
  formatNote,
  parseNote,
  signNote,
  verifierKey,
  verifyNote,
} from './note.ts'
import { consistencyProof, treeRoot } from './tree.ts'
import type { Submission, Witnessed } from './witness.ts'
import {
  cosigners,
  formatCosignatures,
  formatSubmission,
  isCosigned,
  judge,
  parseCosignatures,
  parseSize,
  parseSubmission,
} from './witness.ts'

type Pair = Readonly<{ key: VerifierKey; privateKey: KeyObject }>

function pair(name: string, type: 'log' | 'witness'): Pair {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const { x = '' } = publicKey.export({ format: 'jwk' })
  return { key: verifierKey(name, type, Buffer.from(x, 'base64url')), privateKey }
}

const ORIGIN = 'writ/inst_test'
const log = pair(ORIGIN, 'log')
const leavesOf = (count: number, seed = 'leaf') =>
  Array.from({ length: count }, (_, i) => leafHash(Buffer.from(`${seed} ${i}`)))
const leaves = leavesOf(64)
/** Shares the first five entries with `leaves`, and no other. */
const forked = [...leaves.slice(0, 5), ...leavesOf(59, 'another')]

function head(size: number, of = leaves, by = log, origin = ORIGIN): Note {
  const text = formatCheckpoint({ origin, size, root: hex(treeRoot(of.slice(0, size))) })
  return { text, signatures: [signNote(text, by.key, by.privateKey)] }
}
const submission = (old: number, size: number, of = leaves): Submission => ({
  old,
  proof: old === 0 ? [] : consistencyProof(of.slice(0, size), old),
  note: head(size, of),
})
const seen = (size: number, of = leaves): (() => Witnessed) => {
  return () => ({ size, root: hex(treeRoot(of.slice(0, size))) })
}
const status = (given: Submission, last: () => Witnessed | undefined): number =>
  judge(given, [log.key], last).status

test('a submission reads as it was written', () => {
  const given = submission(5, 23)
  const text = formatSubmission(given)
  assert.match(text, /^old 5\n(?:[A-Za-z0-9+/]{43}=\n)+\nwrit\/inst_test\n23\n/u)
  const parsed = parseSubmission(text)
  assert.ok(parsed)
  assert.equal(formatSubmission(parsed), text)
  assert.equal(judge(parsed, [log.key], seen(5)).status, 200)
})

test('what is no submission is refused: B01', () => {
  const text = formatSubmission(submission(5, 23))
  const [, hash = ''] = text.split('\n')
  for (const wrong of [
    '',
    text.replace('old 5', 'old 05'),
    text.replace('old 5', 'old -5'),
    text.replace('old 5', 'old 5 '),
    text.replace('old 5', 'old 99999999999999999'),
    text.replace(hash, hash.slice(4)),
    text.replace(hash, ` ${hash}`),
    text.replace(hash, `${hash}\n`.repeat(64).trimEnd()),
    text.slice(0, -1),
    `\n${text}`,
    text.replaceAll('\n', '\r\n'),
    text + 'x'.repeat(40_000),
  ])
    assert.equal(parseSubmission(wrong), undefined, wrong.slice(0, 60))
})

test('a witness answers in the order of the protocol: 200, 400, 403, 404, 409, 422', () => {
  assert.equal(
    status(submission(0, 7), () => undefined),
    200,
  )
  assert.equal(status(submission(7, 7), seen(7)), 200, 'the same head again')
  assert.equal(
    judge(submission(0, 7), [pair('writ/other', 'log').key], () => undefined).status,
    404,
    'an unknown log',
  )
  assert.equal(
    judge(submission(0, 7), [pair(ORIGIN, 'log').key], () => undefined).status,
    403,
    'another key of that name',
  )
  assert.equal(status({ ...submission(7, 7), old: 8 }, seen(7)), 400, 'an old size beyond the new one')
  assert.deepEqual(judge(submission(5, 23), [log.key], seen(7)), {
    status: 409,
    why: 'the last size cosigned is 7',
    size: 7,
    contradiction: false,
  })
  assert.equal(status({ ...submission(5, 23), proof: [] }, seen(5)), 422, 'no proof')
  assert.equal(status({ ...submission(0, 23), proof: leavesOf(1) }, seen(0, [])), 422, 'a proof of nothing')
  const text = 'no checkpoint\n'
  const note = { text, signatures: [signNote(text, log.key, log.privateKey)] }
  assert.equal(status({ old: 0, proof: [], note }, seen(0, [])), 400)
})

test('B67 a witness cosigns no head that is smaller than, or contradicts, the one before', () => {
  assert.equal(status(submission(0, 4), seen(9)), 409, 'an earlier state of the log')
  assert.equal(status(submission(4, 4), seen(9)), 409)
  assert.equal(status(submission(9, 20, forked), seen(9)), 422, 'another history')
  const verdict = judge(submission(9, 9, forked), [log.key], seen(9))
  assert.ok(verdict.status === 409 && verdict.contradiction)
})

test('B67 whatever is submitted in whatever order, what was cosigned is one history', () => {
  const given = fc.record({
    old: fc.nat({ max: 40 }),
    more: fc.nat({ max: 20 }),
    fork: fc.boolean(),
    honest: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(given, { maxLength: 12 }), (submissions) => {
      let known: Witnessed | undefined
      const cosigned: { size: number; fork: boolean }[] = []
      for (const { old, more, fork, honest } of submissions) {
        const of = fork ? forked : leaves
        const from = honest ? (known?.size ?? 0) : old
        const verdict = judge(submission(from, from + more, of), [log.key], () => known)
        if (verdict.status !== 200) continue
        known = { size: verdict.checkpoint.size, root: verdict.checkpoint.root }
        cosigned.push({ size: from + more, fork })
      }
      const sizes = cosigned.map(({ size }) => size)
      assert.deepEqual(
        sizes,
        sizes.toSorted((a, b) => a - b),
      )
      // the histories differ from the sixth entry on
      assert.ok(new Set(cosigned.filter(({ size }) => size > 5).map(({ fork }) => fork)).size <= 1)
    }),
  )
})

test('only cosignatures by known witnesses are taken from an answer', () => {
  const note = head(7)
  const [known, unknown] = [pair('w.example/1', 'witness'), pair('w.example/2', 'witness')]
  const right = cosignNote(note.text, known.key, known.privateKey, 1_790_000_000)
  const other = cosignNote(note.text, unknown.key, unknown.privateKey, 1_790_000_000)
  const stale = cosignNote(head(6).text, known.key, known.privateKey, 1_790_000_000)
  const body = formatCosignatures([other, stale, right])
  assert.deepEqual(
    parseCosignatures(body, note.text, [known.key]).map(({ bytes }) => hex(bytes)),
    [hex(right.bytes)],
  )
  assert.deepEqual(parseCosignatures('<html>', note.text, [known.key]), [])
  assert.deepEqual(parseCosignatures(`x\n\n${body}`, note.text, [known.key]), [])
})

test('the size of a conflict', () => {
  assert.equal(parseSize('0\n'), 0)
  assert.equal(parseSize('20852163\n'), 20_852_163)
  for (const wrong of ['', '7', '07\n', '-7\n', '7\n7\n', '99999999999999999\n'])
    assert.equal(parseSize(wrong), undefined)
})

test('a threshold counts witnesses, not lines, names or keys (CVE-2026-49834)', () => {
  const note = head(7)
  const [one, two] = [pair('w.example/1', 'witness'), pair('w.example/2', 'witness')]
  const renamed = { key: verifierKey('w.example/alias', 'witness', one.key.raw), privateKey: one.privateKey }
  const second = pair('w.example/1', 'witness')
  const by = (...keys: Pair[]): Note => {
    const text = formatNote({
      ...note,
      signatures: [
        ...note.signatures,
        ...keys.map((it, at) => cosignNote(note.text, it.key, it.privateKey, 1_790_000_000 + at)),
      ],
    })
    const parsed = parseNote(text)
    assert.ok(parsed)
    return parsed
  }
  const witnesses = [one.key, two.key, renamed.key, second.key]
  const policy = { witnesses, threshold: 2 }
  assert.equal(isCosigned(by(one), policy), false)
  assert.equal(isCosigned(by(one, one), policy), false, 'two lines of one key')
  assert.equal(isCosigned(by(one, renamed), policy), false, 'one key under two names')
  assert.equal(isCosigned(by(one, second), policy), false, 'two keys under one name')
  assert.equal(isCosigned(by(one, two), policy), true)
  assert.deepEqual(
    cosigners(by(one, renamed, two), witnesses)
      .map(({ at }) => at)
      .toSorted((a, b) => a - b),
    [1_790_000_001, 1_790_000_002],
  )
  assert.equal(isCosigned(by(one, two), { witnesses: [one.key], threshold: 1 }), true)
  assert.throws(() => isCosigned(by(one), { witnesses: [one.key, renamed.key], threshold: 2 }), TypeError)
  assert.throws(() => isCosigned(by(one), { witnesses, threshold: 0 }), TypeError)
})

test('a log key counts as no witness, and a witness key as no log', () => {
  const asWitness = { key: verifierKey(ORIGIN, 'witness', log.key.raw), privateKey: log.privateKey }
  assert.deepEqual(cosigners(head(7), [log.key]), [])
  const text = head(7).text
  const cosigned: Note = {
    text,
    signatures: [cosignNote(text, asWitness.key, asWitness.privateKey, 1)],
  }
  assert.equal(verifyNote(cosigned, log.key), undefined)
  assert.equal(judge({ old: 0, proof: [], note: cosigned }, [asWitness.key], () => undefined).status, 404)
})
