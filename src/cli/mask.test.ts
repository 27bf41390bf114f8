import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { Masker, forms } from './mask.ts'

const MARK = '[masked by writ]'

/** What comes out when `text` arrives in pieces of these sizes. */
function masked(secrets: readonly string[], text: string, sizes: readonly number[] = [Infinity]): string {
  const masker = new Masker(secrets)
  const bytes = Buffer.from(text)
  const out: Buffer[] = []
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = Math.max(1, sizes[i % sizes.length] as number)
    out.push(masker.write(bytes.subarray(at, at + size)))
    at += size
  }
  out.push(masker.end())
  return Buffer.concat(out).toString()
}

suite('masking', () => {
  test('every form of a secret is masked', () => {
    const secret = 'p"ä/s+s w\\ord?'
    for (const form of forms(secret)) assert.equal(masked([secret], `<${form}>`), `<${MARK}>`, form)
  })

  test('B43 a secret inside something that is encoded whole is masked', () => {
    const secret = 'k3y-äöü/+?=_tail'
    for (const before of ['', 'u', 'us', 'use', 'user:'])
      for (const after of ['', ':', '@h', '@ho'])
        for (const encoding of ['base64', 'base64url'] as const) {
          const out = masked([secret], `Basic ${Buffer.from(before + secret + after).toString(encoding)}`)
          assert.ok(out.includes(MARK), `${before}…${after} ${encoding}: ${out}`)
          assert.ok(out.length < `Basic ${MARK}`.length + 16, out)
        }
    assert.equal(masked([secret], Buffer.from(secret).toString('hex').toUpperCase()), MARK)
  })

  test('the longest wins, and what only looks alike stays', () => {
    const url = 'postgres://u:hunter22@h/db'
    assert.equal(
      masked(['hunter22', url], `${url} hunter22 hunter2 hunter23`),
      `${MARK} ${MARK} hunter2 hunter23`,
    )
    assert.equal(masked(['short'], 'short'), 'short', 'what is too short would mask ordinary words')
    assert.equal(masked(['aaaaaa'], 'aaaaaaaaaaaaaa'), `${MARK}${MARK}aa`)
  })

  test('B43 a secret never comes out, however it is cut (property)', () => {
    const word = fc.string({ minLength: 6, maxLength: 12, unit: fc.constantFrom('a', 'b', 'c') })
    fc.assert(
      fc.property(
        fc.uniqueArray(word, { minLength: 1, maxLength: 3 }),
        fc.array(
          fc.oneof(fc.nat(2), fc.string({ maxLength: 8, unit: fc.constantFrom('a', 'b', 'c', '\n') })),
          { maxLength: 12 },
        ),
        fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 5 }),
        (secrets, parts, sizes) => {
          const text = parts
            .map((part) => (typeof part === 'number' ? (secrets[part % secrets.length] as string) : part))
            .join('')
          const out = masked(secrets, text, sizes)
          for (const piece of out.split(MARK))
            for (const secret of secrets) assert.ok(!piece.includes(secret))
          assert.equal(out, masked(secrets, text), 'cutting makes no difference')
          if (!secrets.some((secret) => text.includes(secret)))
            assert.equal(out, text, 'nothing else is touched')
        },
      ),
      { numRuns: 500 },
    )
  })

  test('a prompt appears at once', () => {
    const masker = new Masker(['secret-value'])
    assert.equal(masker.write(Buffer.from('Continue? ')).toString(), 'Continue? ')
    assert.equal(masker.write(Buffer.from('the se')).toString(), 'the ')
    assert.equal(masker.write(Buffer.from('cond')).toString(), 'second')
  })
})
