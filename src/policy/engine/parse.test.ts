/**
 * Texts that are odd but right, read as the reference reads them. Random ones are in `test/fuzz`.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, test } from 'node:test'
import { readPolicy } from './est.ts'
import { cut, parsePolicy } from './parse.ts'
import type { Policy } from './tree.ts'

const ROOT = resolve(import.meta.dirname, '../../..')

/** Fields of records in one order, and no places: the reference keeps neither. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered)
  if (typeof value !== 'object' || value === null) return value
  const members = Object.entries(value).map(([key, member]): [string, unknown] => [key, ordered(member)])
  const { fields, span: _place, ...rest } = Object.fromEntries(members)
  if (!Array.isArray(fields)) return { ...rest, ...(fields === undefined ? {} : { fields }) }
  return { ...rest, fields: (fields as [string, unknown][]).toSorted(([a], [b]) => (a < b ? -1 : 1)) }
}

function ours(text: string): Policy[] {
  return cut(text).map(parsePolicy)
}

function theirs(text: string): Policy | undefined {
  const [policy, template] = [cedar.policyToJson(text), cedar.templateToJson(text)]
  if (policy.type === 'success') return readPolicy(policy.json)
  return template.type === 'success' ? readPolicy(template.json) : undefined
}

const bodies = [
  '-5 == - 5', '--5 == 5', '----5 == 5', '!!!!true', '- 9007199254740991 == 1', '-(5) == -5', '(-5) == 1', '1 - -1 == 2', '1 -1 == 0', '1-1==0', '-context.n == 1', '-5 + 3 * -2 - 1 == 0',
  '2 * -3 * 4 == 1', '1 + 2 * 3 - 4 == (1 + 2) * (3 - 4)', '1 < 2 && 2 <= 3 || 3 > 2 && 4 >= 4', 'true || true && false', '(true || true) && false', '!(1 == 2) && !true || false',
  'if true then 1 == 1 else if false then true else 2 == 2', 'if if true then true else false then true else false', '(if true then 1 else 2) == 1', '[if true then 1 else 2].contains(1)',
  'context.if == 1', 'context["if"] == 1', 'context[""] == 1', 'context.in.is.has.like.then == 1', 'context.principal.action == 1', 'context has "a b"', 'context has a', 'context has a.b.c', 'context has principal', 'context.a has b.c && true',
  'principal::"x" == principal', 'resource::action::"x" == resource', 'Action::"x" in [Action::"y", ]', 'A::B::C::"x" == principal', 'A :: B :: "x" == principal', 'principal is A::B', 'principal is A :: B in resource', 'principal is principal', 'principal is A in [A::"x"]',
  '[1, 2, 3,].contains(1)', '[] == []', '[[[]]] == []', '{} == {}', '{a: 1, "b c": 2, "\\u{41}": 3} == {}', '{if: 1, in: 2, principal: 3} == {}', '{"": {}} == {}', 'context.a.contains(1).b == 1', '[1].containsAll([2],)', '[1].isEmpty()', 'principal.hasTag("t") && principal.getTag("t") == "t"',
  '"\\x41\\u{1F600}\\u{1_F600}\\n\\r\\t\\0\\\\\\"\\\'" == "a"', '"é😀" == "e\\u{301}"', '"a\tb\nc" == "//"', '"};" == "\\"};"', 'context.s like "*"', 'context.s like ""', 'context.s like "\\*"', 'context.s like "\\\\*"', 'context.s like "a\\*b*c\\u{2a}\\x2a"', 'context.s like "**a**"', 'context["s"] like "\\"*"',
  'ip("1.1.1.1").isInRange(ip("1.1.1.0/24"),)', 'datetime("2024-01-01").offset(duration("1h")).toDate().durationSince(datetime("2024-01-01")).toDays() == 0', 'decimal("1.0").lessThan(decimal("2.0"))', 'ip(context.a).isIpv4()', '(ip("::1")).isLoopback()',
  'context.contains == 1', 'context.isEmpty == 1', 'context.ip == 1', '((((((context.a)))))) == ((1))', '(context).a == 1', '[1].contains((1))', '"a" == "b" // } ;\n', '/* no comment */ true', 'true\u{a0}&&\u{2003}false', 'a::"x" in b::"y"', 'true && (false || (true && false))',
  '1 == 1 == 1', '1 < 2 < 3', 'context.a.b()', '- -5 == 5', '!-5', '-!true', '5.a == 1', '"a".b == 1', 'true.a', '[].a', '{a: 1}.a == 1', 'User::"x".a == 1', 'User::"x"["a"] == 1', '5 has a', '-5 has a', '-5.a == 1', '-[1] == 1', 'context.a - 1 has b', 'context.a like "x" && true', '?principal == 1', 'User::"" == principal', '_::"x" == principal', 'context._a == 1', 'context.a1_ == 1', 'context has _', '00012 == 12', '1 in 2', 'principal in principal in principal', 'context["a"]["b"].c["d"] == 1', 'context["a" ] == 1', '{a: 1, a: 2} == 1', '{"a": 1,} == {}', 'true, false', '', 'principal has a || principal has b.c',
] // prettier-ignore
const heads = [
  'permit(principal,action,resource);', 'permit(principal, action, resource,);', 'forbid (principal==User::"a",action==Action::"b",resource in Doc::"c");', 'permit(principal is User,action in [],resource is A::B in C::D::"e");',
  'permit(principal is User in ?principal, action, resource == ?resource);', 'permit(principal in ?principal, action in A::Action::"x", resource in ?resource);', 'permit(principal, action in [Action::"a", Action::"b",], resource);',
  '@id("x") @if @principal("permit(;") @a("\\u{41}")permit(principal, action, resource) when {true} unless {false} when {true};', 'permit(principal, action, resource) when { true } when { false };', '// a\r\npermit(principal, // b;\raction, resource);', 'permit\n(\nprincipal\n,\naction\n,\nresource\n)\n;',
] // prettier-ignore

describe('L7 texts are read as the reference reads them', () => {
  test('conditions and heads', () => {
    let read = 0
    for (const text of [
      ...heads,
      ...bodies.map((body) => `permit(principal, action, resource) when { ${body} };`),
    ]) {
      const expected = theirs(text)
      if (expected === undefined) continue
      read += 1
      assert.deepEqual(ordered(ours(text)), [ordered(expected)], text)
    }
    assert.ok(read > 110, `${read} of ${heads.length + bodies.length} are Cedar`)
  })

  test('every part knows where it stands', () => {
    const text =
      'permit(principal, action, resource) when { (context.a.b < -3 + 2 || !(resource has x)) && true };'
    const found: string[] = []
    const visit = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return
      const { op, span } = value as { op?: string; span?: { start: number; end: number } }
      if (span !== undefined) found.push(`${op}: ${text.slice(span.start, span.end)}`)
      for (const [key, member] of Object.entries(value)) if (key !== 'span') visit(member)
    }
    visit(ours(text))
    assert.deepEqual(found, [
      'and: (context.a.b < -3 + 2 || !(resource has x)) && true',
      'or: context.a.b < -3 + 2 || !(resource has x)',
      'binary: context.a.b < -3 + 2',
      'attribute: context.a.b',
      'attribute: context.a',
      'variable: context',
      'binary: -3 + 2',
      'literal: -3',
      'literal: 2',
      'not: !(resource has x)',
      'has: resource has x',
      'variable: resource',
      'literal: true',
    ])
  })

  test('the policies of this repository', () => {
    const files = globSync('{policies,docs,scenarios,test}/**/*.cedar', { cwd: ROOT })
    assert.ok(files.length > 0)
    for (const file of files) {
      const text = readFileSync(resolve(ROOT, file), 'utf8')
      for (const part of cut(text)) {
        const expected = theirs(text.slice(part.start, part.end))
        if (expected !== undefined) assert.deepEqual(ordered(parsePolicy(part)), ordered(expected), file)
      }
    }
  })
})
