import { test } from 'node:test'
import assert from 'node:assert/strict'
import { policySetTextToParts } from '@cedar-policy/cedar-wasm/nodejs'
import fc from 'fast-check'
import { cut, ends } from './engine/parse.ts'
import { findPath, unquote } from './scan.ts'

const texts = (text: string) => cut(text).map(({ start, end }) => text.slice(start, end))
test('files are cut at semicolons, not at those in strings, comments or brackets', () => {
  const text =
    '// a; b\n@id("x;y") permit(principal, action, resource) when { context.a == "};" };\n// end;\nforbid(principal, action, resource); rest'
  assert.deepEqual(texts(text), [
    '@id("x;y") permit(principal, action, resource) when { context.a == "};" };',
    'forbid(principal, action, resource);',
    'rest',
  ])
  assert.deepEqual(texts('  // nothing\n'), [])
})

test('a comment ends where Cedar ends it, so that no policy hides behind one', () => {
  for (const end of ['\n', '\r', '\r\n', '\u2028', '\u0085', '\v', '\f']) {
    const text = `permit(principal, action, resource); // why${end}forbid(principal, action, resource);`
    const parsed = policySetTextToParts(text)
    assert.ok(parsed.type === 'success')
    assert.equal(cut(text).length, parsed.policies.length, JSON.stringify(end))
  }
})

test('one policy without its bracket does not swallow the next', () => {
  assert.equal(
    texts('permit(principal, action, resource) when { a ;\npermit(principal, action, resource);').length,
    2,
  )
})

test('paths are found as they are written', () => {
  const text =
    'permit(principal, action, resource) when { x.context.ticket && context has ticket.id && context["ticket"].id == context.ticket.id };'
  const place = (path: string[]) => {
    const span = findPath(cut(text)[0]!, path)
    return span === undefined ? undefined : text.slice(span.start, span.end)
  }
  assert.equal(place(['context', 'ticket', 'id']), 'context has ticket.id')
  assert.equal(place(['context', 'other']), undefined)
  const bracket = 'forbid(principal, action, resource) when { context["we ird"].x };'
  const span = findPath(cut(bracket)[0]!, ['context', 'we ird', 'x'])!
  assert.equal(bracket.slice(span.start, span.end), 'context["we ird"].x')
})

test('string literals are read as Cedar reads them', () => {
  assert.equal(unquote('"a\\n\\"\\u{1F600}\\x41\\0"'), 'a\n"\u{1F600}A\0')
  for (const bad of ['"', 'a', '"\\q"', '"\\u{110000}"', '"\\u{d800}"'])
    assert.equal(unquote(bad), undefined, bad)
})

test('any text can be cut, and nothing but space and comments is lost', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
      let at = 0
      for (const slice of cut(text)) {
        assert.match(text.slice(at, slice.start), /^(\s|\/\/[^\n\r]*)*$/)
        at = slice.end
      }
    }),
    { numRuns: 500 },
  )
})

test('policies are found where they are cut, without a look at what is in them', () => {
  const piece = fc.oneof(
    fc.constantFrom('"', '//', '\n', '\r', ';', '\\', ' ', 'permit(', ')', '"a;b"', '// ;"\n', '/', '\u2028'),
    fc.string({ unit: 'binary', maxLength: 4 }),
  )
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 30 }).map((parts) => parts.join('')),
      (text) => {
        assert.deepEqual(
          [...ends(text)],
          cut(text).map(({ start, end }) => ({ start, end })),
        )
      },
    ),
    { numRuns: 2_000 },
  )
})
