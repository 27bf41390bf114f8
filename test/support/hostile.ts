/**
 * Policies that nobody means well with, and what must come of them. Run as a program it compiles and loads every one and
 * says on each line what came of it, how long it took and how much memory there was at the end.
 *
 * @module
 */
import { isWritError } from '../../src/model/errors.ts'
import { compile, prepareEntities } from '../../src/policy/engine/index.ts'
import { loadPolicySet } from '../../src/policy/index.ts'
import { effort } from './effort.ts'

/** `refused` names what the refusal says; what is not refused is read. */
export type Hostile = Readonly<{
  name: string
  text: string
  refused?: RegExp
  /** The evaluator alone reads it: what is loaded has closer bounds, or ids of its own. */
  loadRefused?: RegExp
}>

const when = (condition: string): string =>
  `permit (principal is Agent, action == Action::"probe", resource is Database) when { ${condition} };\n`
const nested = (before: string, inner: string, after: string, times = 10_000): string =>
  when(`${before.repeat(times)}${inner}${after.repeat(times)}`)
const DEEP = /nested|deep/
const MEGABYTE = 1_000_000

export const hostilePolicies: readonly Hostile[] = [
  { name: 'a megabyte in one string', text: when(`context.note == "${'x'.repeat(MEGABYTE)}"`) },
  { name: 'a megabyte in one pattern', text: when(`context.note like "${'a*'.repeat(MEGABYTE / 2)}"`) },
  { name: 'a megabyte in a comment', text: `// ${'"('.repeat(MEGABYTE / 2)}\n${when('context.note == "x"')}` },
  { name: 'a megabyte in one name', text: when(`context.note == "x" && context.${'n'.repeat(MEGABYTE)} == "y"`), loadRefused: /unknown attribute/ },
  {
    name: 'a megabyte of policies',
    text: Array.from({ length: 8_000 }, (_, n) => when(`context.note == "${n}"`)).join(''),
  },
  {
    name: 'a set of 100,000',
    text: when(`[${Array.from({ length: 100_000 }, (_, n) => `"${n}"`).join()}].contains(context.note)`),
    loadRefused: /too large/,
  },
  { name: 'a megabyte that never ends', text: when('context.note == "x').repeat(8_000), refused: /./ },
  { name: 'a megabyte of brackets', text: '('.repeat(MEGABYTE), refused: /./ },
  { name: '10,000 brackets', text: nested('(', 'true', ')'), refused: DEEP },
  { name: '10,000 sets', text: nested('[', '', ']'), refused: DEEP },
  { name: '10,000 records', text: nested('{a: ', '1', '}'), refused: DEEP },
  { name: '10,000 negations', text: nested('!(', 'true', ')'), refused: DEEP },
  { name: '10,000 conditions', text: nested('if true then true else ', 'true', ''), refused: DEEP },
  { name: '10,000 operands', text: nested('context.note == "x" && ', 'true', ''), refused: DEEP },
  { name: '10,000 sums', text: nested('1 + ', '1 == 1', ''), refused: DEEP },
  { name: '10,000 members', text: nested('context', '', '.a'), refused: DEEP },
  { name: '10,000 calls', text: nested('ip(', '"::1"', ')'), refused: DEEP },
  { name: 'an integer of 65 bits', text: when('context.size == 9223372036854775808'), refused: /integer|64/ },
  { name: 'a number of a megabyte', text: when(`context.size == ${'9'.repeat(MEGABYTE)}`), refused: /./ },
  { name: 'a template without links', text: when('true').replace('principal is Agent', 'principal == ?principal'), refused: /template|slot/ },
  { name: 'two of one id', text: `@id("a") ${when('context.note == "x"')}@id("a") ${when('context.note == "y"')}`, loadRefused: /`a` is taken/ },
  { name: 'partial evaluation', text: when('unknown("x") == 1'), refused: /unknown/ },
  { name: 'an escape as an attribute', text: when('context.note.__entity == "x"'), loadRefused: /unexpected type/ },
  { name: 'no well-formed text', text: when('context.note == "\ud800"'), refused: /well-formed|hex escape/ },
] // prettier-ignore

/** The schema that they are loaded by. */
const SCHEMA = `entity Agent; entity Database;
action probe appliesTo { principal: [Agent], resource: [Database], context: { note: String, size: Long } };`

function says(attempt: () => string): string {
  try {
    return attempt()
  } catch (error) {
    if (!isWritError(error)) throw error
    return `refused: ${error.message}`
  }
}

function compiled(text: string): string {
  const set = compile({ policies: text })
  const request = {
    principal: { type: 'Agent', id: 'a' },
    action: { type: 'Action', id: 'probe' },
    resource: { type: 'Database', id: 'd' },
    context: { note: `${'a'.repeat(100_000)}b`, size: 1 },
  }
  return set.decide(request, prepareEntities([])).decision
}

function loaded(text: string): string {
  const set = loadPolicySet(
    { policies: [{ name: 'a.cedar', text }], schema: { name: 's', text: SCHEMA } },
    { hash: (it) => `${it.length}`, inventory: [] },
  )
  if (!set.ok) return `refused: ${set.problems[0]?.message}`
  return set.set.evaluate({
    principal: { type: 'Agent', id: 'a' },
    action: { type: 'Action', id: 'probe' },
    resource: { type: 'Database', id: 'd' },
    context: { note: `${'a'.repeat(100_000)}b`, size: 1 },
    live: { now: '2026-11-22T10:00:00Z', caller: 'key', chain: [] },
    unknown: new Set(),
    proof: { approvals: {}, justification: false, reauth: false },
    entities: [],
  }).decision
}

/** One line of the program. */
export type HostileLine = Readonly<{ name: string; level: string; answer: string; ms: number; mb: number }>

if (import.meta.main) {
  for (const { name, text } of hostilePolicies) {
    for (const [level, attempt] of [
      ['compile', compiled],
      ['load', loaded],
    ] as const) {
      const took = effort()
      const answer = says(() => attempt(text)).slice(0, 300)
      const ms = Math.round(took())
      const line: HostileLine = {
        name,
        level,
        answer,
        ms,
        mb: Math.round(process.memoryUsage().rss / 2 ** 20),
      }
      process.stdout.write(`${JSON.stringify(line)}\n`)
    }
  }
}
