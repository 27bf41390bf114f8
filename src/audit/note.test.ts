import assert from 'node:assert/strict'
import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { SignatureType, VerifierKey } from './note.ts'
import {
  cosignNote,
  formatCheckpoint,
  formatEndorsement,
  formatNote,
  formatVerifierKey,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  readEndorsement,
  signNote,
  verifierKey,
  verifyNote,
} from './note.ts'

function pair(name: string, type: SignatureType = 'log'): { key: VerifierKey; privateKey: KeyObject } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const x = publicKey.export({ format: 'jwk' }).x ?? ''
  return { key: verifierKey(name, type, Buffer.from(x, 'base64url')), privateKey }
}

const GO_KEY = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
const GO_SEED = 'AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz'
const GO_TEXT =
  "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
const GO_NOTE = `${GO_TEXT}
— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
`
const SUMDB_KEY = 'sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8'
const SUMDB_NOTE = `go.sum database tree
30055305
mXfgRcJ0bG0j3CPdKwgGWtUzBUbX67saZGRmFuJGGsM=

— sum.golang.org Az3grpgEild5qw7+5dtV13Kf1C2Xurm8q4fhdxvcsDHnqNTaxL2AFjBY+2TyGKevucFcAAlWFJJYle3EJlDCrQ+y3A8=
`

const LOG_KEY =
  'arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f'
const WITNESS_KEY = 'remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2'
const COSIGNED = `arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
`

const keyOf = (text: string): VerifierKey => {
  const key = parseVerifierKey(text)
  assert.ok(key)
  return key
}
const check = (text: string, key: VerifierKey): Readonly<{ at?: number }> | undefined => {
  const note = parseNote(text)
  return note === undefined ? undefined : verifyNote(note, key)
}

/** The private key of a 32-byte seed. */
function seeded(seed: Uint8Array): KeyObject {
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex')
  return createPrivateKey({ key: Buffer.concat([prefix, seed]), format: 'der', type: 'pkcs8' })
}

describe('notes that others have signed', () => {
  test('the example of golang.org/x/mod/sumdb/note, verified and signed again to the byte', () => {
    const key = keyOf(GO_KEY)
    assert.equal(formatVerifierKey(key), GO_KEY)
    assert.deepEqual([key.name, key.type, key.id], ['PeterNeumann', 'log', 'c74f20a3'])
    assert.deepEqual(check(GO_NOTE, key), {})
    const privateKey = seeded(Buffer.from(GO_SEED, 'base64').subarray(1))
    const signatures = [signNote(GO_TEXT, key, privateKey)]
    assert.equal(formatNote({ text: GO_TEXT, signatures }), GO_NOTE)
  })

  test('a checkpoint of sum.golang.org, whose origin is not its key name', () => {
    assert.deepEqual(check(SUMDB_NOTE, keyOf(SUMDB_KEY)), {})
    assert.deepEqual(parseCheckpoint(parseNote(SUMDB_NOTE)?.text ?? ''), {
      origin: 'go.sum database tree',
      size: 30_055_305,
      root: Buffer.from('mXfgRcJ0bG0j3CPdKwgGWtUzBUbX67saZGRmFuJGGsM=', 'base64').toString('hex'),
    })
    assert.equal(check(SUMDB_NOTE, keyOf(GO_KEY)), undefined)
  })

  test('a checkpoint of a public log with the cosignatures of its witnesses', () => {
    const note = parseNote(COSIGNED)
    assert.deepEqual(note === undefined ? undefined : verifyNote(note, keyOf(LOG_KEY)), {})
    assert.deepEqual(note === undefined ? undefined : verifyNote(note, keyOf(WITNESS_KEY)), {
      at: 1_779_573_024,
    })
    assert.equal(note?.signatures.length, 6)
    assert.equal(parseCheckpoint(note?.text ?? '')?.size, 1_432_088_532)
    const other = COSIGNED.replace('1432088532', '1432088533')
    assert.equal(check(other, keyOf(WITNESS_KEY)), undefined)
  })

  test('B66 no byte of them can be changed', () => {
    for (const [text, key] of [
      [GO_NOTE, keyOf(GO_KEY)],
      [SUMDB_NOTE, keyOf(SUMDB_KEY)],
    ] as const) {
      const bytes = Buffer.from(text)
      for (let at = 0; at < bytes.length; at += 1) {
        for (const bit of [0x01, 0x20, 0x80]) {
          const changed = Buffer.from(bytes)
          changed[at] = (changed[at] as number) ^ bit
          assert.equal(check(changed.toString('utf8'), key), undefined, `byte ${at}`)
        }
      }
    }
  })
})

describe('notes', () => {
  const one = pair('one.example/log')
  const two = pair('two.example/log')
  const witness = pair('witness.example', 'witness')
  const text = formatCheckpoint({ origin: 'one.example/log', size: 17, root: 'ab'.repeat(32) })
  const by = (...keys: readonly (typeof one)[]): string =>
    formatNote({ text, signatures: keys.map(({ key, privateKey }) => signNote(text, key, privateKey)) })

  test('round trips: keys, notes, checkpoints', () => {
    for (const { key } of [one, two, witness]) assert.deepEqual(parseVerifierKey(formatVerifierKey(key)), key)
    const note = by(one, two)
    assert.equal(formatNote(parseNote(note) ?? { text: '', signatures: [] }), note)
    fc.assert(
      fc.property(fc.nat({ max: 1e15 }), fc.uint8Array({ minLength: 32, maxLength: 32 }), (size, root) => {
        const checkpoint = { origin: 'a/b', size, root: Buffer.from(root).toString('hex') }
        assert.deepEqual(parseCheckpoint(formatCheckpoint(checkpoint)), checkpoint)
      }),
    )
  })

  test('signatures of others are ignored; a wrong one of a known key spoils the note', () => {
    assert.deepEqual(check(by(two, one), one.key), {})
    assert.equal(check(by(two), one.key), undefined)
    const good = signNote(text, one.key, one.privateKey)
    const bad = { ...good, bytes: sign(null, Buffer.from('else\n'), one.privateKey) }
    assert.equal(check(formatNote({ text, signatures: [good, bad] }), one.key), undefined)
    // the same key under another name, another key under the same name: both are others
    const renamed = verifierKey('else.example', 'log', one.key.raw)
    assert.equal(check(by(one), renamed), undefined)
    assert.equal(check(by(one), verifierKey(one.key.name, 'log', two.key.raw)), undefined)
  })

  test('a witness cosigns text and time; its signature is none of a log', () => {
    const signatures = [cosignNote(text, witness.key, witness.privateKey, 1_795_348_800)]
    const note = formatNote({ text, signatures })
    assert.deepEqual(check(note, witness.key), { at: 1_795_348_800 })
    assert.equal(check(note, verifierKey(witness.key.name, 'log', witness.key.raw)), undefined)
    const later = Buffer.from(signatures[0]?.bytes ?? [])
    later[7] = (later[7] as number) ^ 1
    const moved = formatNote({ text, signatures: [{ ...witness.key, bytes: later }] })
    assert.equal(check(moved, witness.key), undefined)
    assert.throws(() => signNote(text, witness.key, witness.privateKey), TypeError)
    assert.throws(() => cosignNote(text, one.key, one.privateKey, 0), TypeError)
  })

  const line = by(one).split('\n\n')[1] ?? ''
  for (const [name, malformed] of [
    ['nothing', ''],
    ['no signature', `${text}\n`],
    ['no empty line', `${text}${line}`],
    ['no last newline', `${text}\n${line}`.slice(0, -1)],
    ['a hyphen for the dash', `${text}\n${line.replace('—', '-')}`],
    ['two spaces', `${text}\n${line.replace('— ', '—  ')}`],
    ['something after the signature', `${text}\n${line.replace(/\n$/u, ' x\n')}`],
    ['an empty line after it', `${text}\n${line}\n`],
    ['carriage returns', `${text}\n${line}`.replaceAll('\n', '\r\n')],
    ['a control character', `a\u0000b\n\n${line}`],
    ['a tab', `a\tb\n\n${line}`],
    ['half a character', `a\ud800b\n\n${line}`],
    ['base64 of another alphabet', `${text}\n${line.replaceAll(/[+/]/gu, '_')}_`],
    ['a plus in the name', `${text}\n${line.replace('one.example/log', 'one+example')}`],
    ['no more than a key id', `${text}\n— one.example AAAAAA==\n`],
    ['more bytes than any note needs', `${'x'.repeat(20_000)}\n\n${line}`],
    ['too many signatures', `${text}\n${line.repeat(65)}`],
  ] as const) {
    test(`refuses a note with ${name}`, () => assert.equal(parseNote(malformed), undefined))
  }

  for (const [name, malformed] of [
    ['two lines', 'a\n1\n'],
    ['no origin', `\n1\n${'A'.repeat(43)}=\n`],
    ['a leading zero', `a\n01\n${'A'.repeat(43)}=\n`],
    ['a sign', `a\n-1\n${'A'.repeat(43)}=\n`],
    ['hex', `a\n0x1\n${'A'.repeat(43)}=\n`],
    ['more than can be counted', `a\n99999999999999999\n${'A'.repeat(43)}=\n`],
    ['a short root', 'a\n1\nAAAA\n'],
    ['loose bits', `a\n1\n${'A'.repeat(42)}B=\n`],
    ['no last newline', `a\n1\n${'A'.repeat(43)}=`],
  ] as const) {
    test(`refuses a checkpoint with ${name}`, () => assert.equal(parseCheckpoint(malformed), undefined))
  }

  for (const malformed of [
    '',
    'PeterNeumann',
    GO_KEY.replace('c74f20a3', 'c74f20a4'),
    GO_KEY.replace('c74f20a3', 'C74F20A3'),
    GO_KEY.replace('PeterNeumann', 'PeterNeuman'),
    GO_KEY.replace('PeterNeumann', 'Peter Neumann'),
    GO_KEY.replace('+ARpc', '+BRpc'),
    `${GO_KEY}A`,
  ]) {
    test(`refuses the key ${JSON.stringify(malformed)}`, () =>
      assert.equal(parseVerifierKey(malformed), undefined))
  }

  test('B45 a key vouches for the next one: for this log, from this size on, and nobody else does', () => {
    const next = pair('one.example/log')
    const endorsement = { origin: 'one.example/log', size: 41, key: next.key }
    const words = formatEndorsement(endorsement)
    const of = (body: string, { key, privateKey }: typeof one): string =>
      formatNote({ text: body, signatures: [signNote(body, key, privateKey)] })
    assert.deepEqual(readEndorsement(of(words, one), one.key), endorsement)
    assert.equal(readEndorsement(of(words, two), one.key), undefined)
    assert.equal(readEndorsement(of(words, two), two.key), undefined, 'a log vouches for itself only')
    assert.equal(readEndorsement(of(text, one), one.key), undefined, 'a checkpoint is none')
    assert.equal(parseCheckpoint(words), undefined, 'and it is no checkpoint')
    assert.equal(readEndorsement(of(`${words}more\n`, one), one.key), undefined)
    const asWitness = { ...endorsement, key: verifierKey('one.example/log', 'witness', next.key.raw) }
    assert.equal(readEndorsement(of(formatEndorsement(asWitness), one), one.key), undefined)
  })
})
