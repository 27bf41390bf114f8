import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { policyToJson } from '@cedar-policy/cedar-wasm/nodejs'
import fc from 'fast-check'
import { formatPolicies } from './format.ts'

function format(text: string): string {
  const formatted = formatPolicies('a.cedar', text)
  if (!formatted.ok) assert.fail(formatted.problem.message)
  return formatted.text
}

suite('one layout', () => {
  test('policies as Cedar lays them out, what stands between them as it was', () => {
    const text = `// About this file.

// About this policy.
@id("x")   @ttl("10m")
permit(principal in Group::"a",action in [Action::"a",Action::"b",],resource) when {context.a&&context.b};
// right behind


// and apart
forbid(principal,action,resource) unless { principal is Person };  // beside it
// at the end  
`
    const formatted = `// About this file.

// About this policy.
@id("x")
@ttl("10m")
permit (
  principal in Group::"a",
  action in [Action::"a", Action::"b"],
  resource
)
when { context.a && context.b };
// right behind

// and apart
forbid (principal, action, resource)
unless { principal is Person };  // beside it
// at the end
`
    assert.equal(format(text), formatted)
    assert.equal(format(formatted), formatted)
  })

  test('comments inside a policy stay at their word', () => {
    const text = `permit(principal, // who
action, resource) when { context.a && // first
// second
context.b }; // end
`
    const formatted = format(text)
    assert.match(formatted, /principal, \/\/ who\n/)
    assert.match(formatted, /context\.a && \/\/ first\n +\/\/ second\n +context\.b/)
    assert.match(formatted, /; \/\/ end\n$/)
    assert.equal(format(formatted), formatted)
  })

  test('nothing, comments alone, ends of lines, a byte order mark', () => {
    assert.equal(format(''), '')
    assert.equal(format(' \n\n'), '')
    assert.equal(format('\n// only\n\n'), '// only\n')
    const crlf = format('// a\r\npermit(principal,action,resource);\r\npermit(principal,action,resource);')
    assert.equal(
      crlf,
      '// a\r\npermit (principal, action, resource);\r\npermit (principal, action, resource);\r\n',
    )
    assert.equal(
      format('\uFEFFpermit(principal,action,resource);'),
      'permit (principal, action, resource);\n',
    )
    assert.equal(
      format('permit(principal,action,resource);permit(principal,action,resource);'),
      'permit (principal, action, resource);\npermit (principal, action, resource);\n',
    )
  })

  test('a file whose comments the formatter loses is left alone', () => {
    const lost = 'permit(principal, action, resource)\nwhen { [1, // kept\n].contains(1) };\n'
    const formatted = formatPolicies('a.cedar', `permit(principal,action,resource);\n${lost}`)
    assert.ok(!formatted.ok)
    assert.match(formatted.problem.message, /would lose or move a comment/)
    assert.equal(formatted.problem.line, 2)
    assert.match(format(lost.replace(', //', ' //')), /1 \/\/ kept\n/)
  })

  test('what does not parse is told at its place, and left alone', () => {
    const formatted = formatPolicies(
      'a.cedar',
      '// é\npermit(principal,action,resource);\npermit(principal, resource);',
    )
    assert.ok(!formatted.ok)
    assert.deepEqual([formatted.problem.code, formatted.problem.line], ['P001', 3])
  })
})

test('whatever the comments and blanks: nothing is lost, nothing changes meaning, and twice is once', () => {
  const gap = fc.constantFrom(
    ' ',
    '\n',
    '\n\n\n',
    ' // c\n',
    '\n// é "x" ;\n',
    '\t',
    ' //\n',
    '\r\n',
    ' // t  \n',
  )
  const tokens = [
    '@', 'id', '(', '"x // y"', ')', 'permit', '(', 'principal', 'is', 'A', 'in', 'B', '::', '"b"', ',', 'action', ',',
    'resource', ',', ')', 'when', '{', '[', '1', ',', '-2', ']', '.', 'contains', '(', 'context', '.', 'n', ')', '&&',
    '(', 'if', 'context', 'has', 'a', '.', 'b', 'then', '!', 'context', '.', 'x', 'else', '{', 'k', ':', '"v;"', '}',
    '==', 'context', '.', 'r', ')', '}', 'unless', '{', 'context', '.', 's', 'like', '"a*\\*"', '}', ';',
  ] // prettier-ignore
  const texts = fc
    .array(fc.array(gap, { minLength: tokens.length, maxLength: tokens.length }), {
      minLength: 1,
      maxLength: 2,
    })
    .map((policies) => policies.map((gaps) => tokens.map((token, at) => token + gaps[at]).join('')).join(''))
  const meaning = (text: string) =>
    text.split(/(?<=\} *(?:\/\/[^\n]*\n|\s)*;)/u).flatMap((one) => {
      const parsed = policyToJson(one)
      return parsed.type === 'success' ? [parsed.json] : []
    })
  const comments = (text: string) => [...text.matchAll(/ ?\/\/(?! y)[^\n\r]*/gu)].map(([one]) => one.trim())
  let done = 0
  fc.assert(
    fc.property(texts, (text) => {
      const formatted = formatPolicies('a.cedar', text)
      if (!formatted.ok) return
      done++
      assert.deepEqual(comments(formatted.text), comments(text))
      assert.deepEqual(meaning(formatted.text), meaning(text))
      assert.equal(format(formatted.text), formatted.text)
    }),
    { numRuns: 150 },
  )
  assert.ok(done > 20, `only ${done} could be formatted`)
})

test(
  'B79 what is too large or too deep is refused at once, and the formatter goes on',
  { timeout: 20_000 },
  () => {
    const condition = (text: string): string =>
      `permit (principal, action == Action::"x", resource) when { ${text} };\n`
    for (const text of [
      Array.from({ length: 50_000 }, (_, n) => `resource.n == ${n}`).join(' || '),
      `${'('.repeat(10_000)}true${')'.repeat(10_000)}`,
      `${'if true then '.repeat(10_000)}true${' else false'.repeat(10_000)}`,
    ]) {
      const told = formatPolicies('a.cedar', condition(text))
      assert.deepEqual([told.ok, told.ok || told.problem.code], [false, 'P022'])
      assert.equal(formatPolicies('b.cedar', condition('true')).ok, true)
    }
  },
)
