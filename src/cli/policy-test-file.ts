/**
 * Test files of policies: read strictly, every mistake with its place. What the format is, is in `docs/policy-tests.md`.
 *
 * @module
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import type { Document, Node } from 'yaml'
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import * as z from 'zod'
import { suggest } from '../config/suggest.ts'
import type { Rehearsal } from '../decision/rehearse.ts'
import type { PolicySet } from '../policy/index.ts'
import { facts } from '../policy/index.ts'
import * as bounds from '../wire/bounds.ts'
import { decision, decodeEntity, entityInput } from '../wire/v1/index.ts'
import { readInventory } from './commands/admin.ts'
import type { Context } from './context.ts'
import { tell } from './exit.ts'
import { plain } from './text.ts'

/** What a test file ends in. */
export const TEST_FILE = /\.test\.ya?ml$/u
const FILE_MOST = 4 * 2 ** 20
/** Most attempts that one test multiplies to. */
export const CELLS_MOST = 10_000
const INVENTORY = 'inventory.yaml'

export type Ref = Rehearsal['subject']
export type Outcome = 'permit' | 'deny' | 'challenge'

/** Something that a test file says wrongly. */
export type Mistake = Readonly<{
  file: string
  line: number
  column: number
  message: string
  hint?: string
}>

type Path = readonly PropertyKey[]

const refs = z.array(bounds.ref).min(1).max(bounds.LIST_MOST)
const count = z.int().min(0).max(1_000_000)
const outcome = z.enum(['permit', 'deny', 'challenge'])
const pools = z.record(z.string().min(1).max(bounds.NAME_MOST), z.int().min(0).max(100))

/** `Type/id`, or `Type` for all of it. */
const scoped = z
  .string()
  .max(2 * bounds.ID_MOST + 1)
  .transform((text, ctx): { type: string; id?: string } => {
    const whole = bounds.ref.safeParse(text)
    if (whole.success) return whole.data
    const type = bounds.entityType.safeParse(text)
    if (type.success) return { type: type.data }
    ctx.addIssue({ code: 'custom', message: 'must be `Type/id`, or a type alone' })
    return z.NEVER
  })

const task = z.strictObject({
  id: bounds.id.exactOptional(),
  purpose: bounds.text.exactOptional(),
  reason: bounds.text.exactOptional(),
  ticket: bounds.text.exactOptional(),
  parent: bounds.id.exactOptional(),
  state: z.enum(['declared', 'open', 'completed', 'failed', 'timed-out', 'cancelled']).exactOptional(),
  declared_at: bounds.instant.exactOptional(),
  opened_at: bounds.instant.exactOptional(),
  calls: count.exactOptional(),
  denials: count.exactOptional(),
  retries: count.exactOptional(),
  touched: count.exactOptional(),
  systems: count.exactOptional(),
  rate: count.exactOptional(),
  scope: z
    .strictObject({
      actions: z.array(bounds.actionName).min(1),
      resources: z.array(scoped).min(1),
    })
    .exactOptional(),
  limits: z.strictObject({ calls: z.int().min(1).exactOptional() }).exactOptional(),
  window: z
    .strictObject({
      starts_at: bounds.instant,
      ends_at: bounds.instant,
      calendar: bounds.id.exactOptional(),
    })
    .exactOptional(),
  instigators: refs.exactOptional(),
})

/** A member by member check, because a union says of everything that is wrong with it only that it is. */
const expectation = z.unknown().transform((value, ctx): Readonly<Record<string, Outcome>> => {
  const whole = outcome.safeParse(value)
  if (whole.success) return { default: whole.data }
  const sentence = 'must be `permit`, `deny` or `challenge`'
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    ctx.addIssue({ code: 'custom', message: `${sentence}, or a mapping with a \`default\`` })
    return z.NEVER
  }
  const found: [string, Outcome][] = []
  for (const [name, one] of Object.entries(value)) {
    const said = outcome.safeParse(one)
    if (said.success) found.push([name, said.data])
    else ctx.addIssue({ code: 'custom', path: [name], message: sentence })
  }
  return Object.fromEntries(found)
})

export type Wanted =
  | Readonly<{ kind: 'approval'; pool: string; count: number }>
  | Readonly<{ kind: 'justification' | 'reauth' }>

const requirement = z.unknown().transform((value, ctx): Wanted => {
  if (value === 'justification' || value === 'reauth') return { kind: value }
  const approval = z
    .strictObject({ approval: z.string().min(1), count: z.int().min(1).max(100).exactOptional() })
    .safeParse(value)
  if (approval.success)
    return { kind: 'approval', pool: approval.data.approval, count: approval.data.count ?? 1 }
  ctx.addIssue({
    code: 'custom',
    message: 'must be `justification`, `reauth`, or an approval such as `{ approval: dba, count: 1 }`',
  })
  return z.NEVER
})

const obligations = z.strictObject({
  ttl: bounds.duration.exactOptional(),
  uses: z.int().min(1).exactOptional(),
  binding: z.enum(['attempt', 'task']).exactOptional(),
  review: bounds.duration.exactOptional(),
  notify: z.array(z.string()).exactOptional(),
})

const numbered = z.preprocess((line) => {
  const names = ['low', 'moderate', 'high', 'critical']
  if (typeof line !== 'object' || line === null || !('sensitivity' in line)) return line
  const { sensitivity } = line
  return typeof sensitivity === 'number'
    ? { ...line, sensitivity: names[sensitivity - 1] ?? sensitivity }
    : line
}, entityInput)

const testCase = z.strictObject({
  name: z.string().min(1).max(200),
  now: bounds.instant.exactOptional(),
  entities: z.array(numbered).exactOptional(),
  principals: refs,
  actions: z.array(bounds.actionName).min(1).max(bounds.LIST_MOST),
  resources: refs,
  properties: bounds.properties.exactOptional(),
  context: bounds.properties.exactOptional(),
  attributes: z
    .strictObject({ subject: bounds.properties.exactOptional(), resource: bounds.properties.exactOptional() })
    .exactOptional(),
  task: task.exactOptional(),
  facts: bounds.properties.exactOptional(),
  unknown: z.array(z.string()).exactOptional(),
  evidence: z
    .strictObject({
      approvals: pools.exactOptional(),
      justification: z.boolean().exactOptional(),
      reauth: z.boolean().exactOptional(),
    })
    .exactOptional(),
  expect: expectation,
  reason: decision.shape.reason.exactOptional(),
  by: z.array(z.string()).exactOptional(),
  obligations: obligations.exactOptional(),
  requires: z.array(z.array(requirement).min(1)).min(1).exactOptional(),
})

const testFile = z.strictObject({
  now: bounds.instant,
  inventory: z.string().min(1).exactOptional(),
  entities: z.array(numbered).exactOptional(),
  policies: z.array(z.string().min(1)).min(1).exactOptional(),
  tests: z.array(testCase).min(1),
})

/** The members that there are, by where they stand, so that a slip of the finger is told from a foreign word. */
const members: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^$/, Object.keys(testFile.shape)],
  [/^(?:tests\.\d+\.)?entities\.\d+$/, Object.keys(entityInput.shape)],
  [/^tests\.\d+$/, Object.keys(testCase.shape)],
  [/^tests\.\d+\.task$/, Object.keys(task.shape)],
  [/^tests\.\d+\.task\.scope$/, ['actions', 'resources']],
  [/^tests\.\d+\.task\.limits$/, ['calls']],
  [/^tests\.\d+\.task\.window$/, ['starts_at', 'ends_at']],
  [/^tests\.\d+\.attributes$/, ['subject', 'resource']],
  [/^tests\.\d+\.evidence$/, ['approvals', 'justification', 'reauth']],
  [/^tests\.\d+\.obligations$/, Object.keys(obligations.shape)],
]

/** One test: each of its principals tries each action on each resource. */
export type TestCase = Omit<z.output<typeof testCase>, 'entities'> &
  Readonly<{ at: number; line: number; entities?: readonly Line[] }>

/** A line of the inventory. */
export type Line = ReturnType<typeof decodeEntity>

export type TestFile = Readonly<{
  /** As the caller names it. */
  file: string
  path: string
  now: number
  /** Lines of the inventory, those of the file itself last. */
  entities: readonly Line[]
  /** Files that its inventory came from. */
  reads: readonly string[]
  /** The policy files that coverage counts. */
  policies?: readonly string[]
  tests: readonly TestCase[]
  /** A mistake at the place of `path`: of its value, or of the member's `name`. */
  mistake(path: Path, message: string, hint?: string, part?: 'value' | 'name'): Mistake
}>

/** Reads a test file. What is wrong with it comes back; it is never thrown. */
export function readTestFile(
  context: Pick<Context, 'io'>,
  path: string,
): Readonly<{ read?: TestFile; mistakes: readonly Mistake[] }> {
  const file = relative(context.io.cwd, path) || path
  const whole = (message: string, hint?: string): { mistakes: Mistake[] } => ({
    mistakes: [{ file, line: 1, column: 1, message, ...(hint === undefined ? {} : { hint }) }],
  })
  let text: string
  try {
    if (statSync(path).size > FILE_MOST) return whole('the file is too large', 'split it: at most 4 MiB')
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path))
  } catch (error) {
    if (error instanceof TypeError) return whole('the file is not UTF-8', 'save it as UTF-8')
    return whole(tell(error).message)
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, merge: true })
  const at = (offset: number): { line: number; column: number } => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(line, 1), column: Math.max(col, 1) }
  }
  // a tag that nobody knows is a warning of the parser's, and would be left out in silence
  const wrong = [...document.errors, ...document.warnings]
  if (wrong.length > 0) {
    return {
      mistakes: wrong.map(({ pos, code, message }) => ({
        file,
        ...at(pos[0]),
        message: said(code, message),
      })),
    }
  }
  let data: unknown
  try {
    data = document.toJS({ maxAliasCount: 1_000 })
  } catch {
    return whole('the file repeats its anchors too often')
  }
  const mistake: TestFile['mistake'] = (where, message, hint, part = 'value') => ({
    file,
    ...at(offsetOf(document, where, part)),
    message,
    ...(hint === undefined ? {} : { hint }),
  })
  const checked = testFile.safeParse(data)
  if (!checked.success) {
    const mistakes = checked.error.issues.flatMap((issue) => told(issue, mistake))
    return { mistakes: inOrder(mistakes) }
  }
  const { now, inventory, entities = [], policies, tests } = checked.data
  const mistakes: Mistake[] = []
  const reads: string[] = []
  const listed: Line[] = []
  const named = inventory === undefined ? nearInventory(dirname(path)) : resolve(dirname(path), inventory)
  if (named !== undefined && !existsSync(named)) {
    mistakes.push(
      mistake(['inventory'], `there is no inventory \`${inventory ?? ''}\``, 'it is named from this file on'),
    )
  } else if (named !== undefined) {
    reads.push(named)
    try {
      for (const line of readInventory(context, named)) listed.push(decodeEntity(entityInput.parse(line)))
    } catch (error) {
      mistakes.push(mistake(inventory === undefined ? [] : ['inventory'], tell(error).message))
    }
  }
  listed.push(...entities.map(decodeEntity))
  const cases = tests.map(({ entities: own, ...one }, index): TestCase => ({
    ...one,
    at: index,
    line: mistake(['tests', index], '').line,
    ...(own === undefined ? {} : { entities: own.map(decodeEntity) }),
  }))
  mistakes.push(...sense(cases, mistake))
  if (mistakes.length > 0) return { mistakes: inOrder(mistakes) }
  return {
    mistakes: [],
    read: {
      file,
      path,
      now,
      entities: listed,
      reads,
      ...(policies === undefined ? {} : { policies }),
      tests: cases,
      mistake,
    },
  }
}

/** The inventory in the folder of a test file, or beside that folder, as `writ init` leaves it. */
export function nearInventory(folder: string): string | undefined {
  return [join(folder, INVENTORY), join(dirname(folder), INVENTORY)].find((file) => existsSync(file))
}

/** What is well-formed and cannot be meant. */
function sense(tests: readonly TestCase[], mistake: TestFile['mistake']): Mistake[] {
  const mistakes: Mistake[] = []
  const names = new Set<string>()
  for (const test of tests) {
    const here = ['tests', test.at]
    const say = (path: Path, message: string, hint?: string): number =>
      mistakes.push(mistake([...here, ...path], message, hint))
    if (names.has(test.name)) say(['name'], `two tests are named \`${plain(test.name)}\``, 'name them apart')
    names.add(test.name)
    if (test.principals.length * test.actions.length * test.resources.length > CELLS_MOST)
      say([], `the test tries more than ${CELLS_MOST.toLocaleString('en')} attempts`, 'split it')
    const principals = test.principals.map(keyOf)
    for (const name of Object.keys(test.expect)) {
      if (name === 'default' || principals.includes(name)) continue
      mistakes.push(
        mistake(
          [...here, 'expect', name],
          `\`${plain(name)}\` is none of the principals of this test`,
          meant(name, principals),
          'name',
        ),
      )
    }
    const without = principals.find((name) => test.expect[name] === undefined)
    if (test.expect['default'] === undefined && without !== undefined)
      say(['expect'], `nothing is expected for \`${plain(without)}\``, 'add it, or a `default`')
    const outcomes = new Set(principals.map((name) => test.expect[name] ?? test.expect['default']))
    if (test.expect['default'] !== undefined && principals.every((name) => test.expect[name] !== undefined))
      mistakes.push(
        mistake(
          [...here, 'expect', 'default'],
          'no principal of this test has the default',
          'leave it out',
          'name',
        ),
      )
    if (test.requires !== undefined && !outcomes.has('challenge'))
      say(['requires'], '`requires` goes with `expect: challenge`')
    if (test.obligations !== undefined && outcomes.size === 1 && outcomes.has('deny'))
      say(['obligations'], 'a denial has no obligations')
    if (test.by !== undefined && outcomes.size > 1 && !outcomes.has('permit'))
      say(['by'], '`by` is not looked at where some are denied and others challenged', 'make them two tests')
    for (const name of ['review', 'notify'] as const)
      if (test.obligations?.[name] !== undefined && !outcomes.has('permit'))
        say(['obligations', name], `\`${name}\` goes with \`expect: permit\``, 'no challenge says it yet')
    const known = Object.keys(facts)
    for (const name of Object.keys(test.facts ?? {})) {
      const path = [...here, 'facts', name]
      if (!known.includes(name))
        mistakes.push(mistake(path, `there is no fact \`${plain(name)}\``, meant(name, known), 'name'))
    }
    for (const [at, name] of (test.unknown ?? []).entries())
      if (!known.includes(name))
        say(['unknown', at], `there is no fact \`${plain(name)}\``, meant(name, known))
  }
  return mistakes
}

/** What a test file names that its policy set does not have. */
export function checkNames(read: TestFile, set: PolicySet): Mistake[] {
  const mistakes: Mistake[] = []
  const actions = set.actions.map(({ uid }) => (uid.type === 'Writ::Action' ? `Writ::${uid.id}` : uid.id))
  const subjects = new Set(set.actions.flatMap(({ principals }) => [...principals]))
  const objects = new Set(set.actions.flatMap(({ resources }) => [...resources]))
  const ids = set.policies.map(({ id }) => id)
  for (const test of read.tests) {
    const registered = [...read.entities, ...(test.entities ?? [])].map(keyOf)
    const say = (path: Path, message: string, known: readonly string[]): number =>
      mistakes.push(read.mistake(['tests', test.at, ...path], message, meant(path.at(-1), known, message)))
    for (const [at, action] of test.actions.entries())
      if (!actions.includes(action)) say(['actions', at], `there is no action \`${plain(action)}\``, actions)
    for (const [member, types] of [
      ['principals', subjects],
      ['resources', objects],
    ] as const) {
      for (const [at, one] of test[member].entries()) {
        if (types.has(one.type)) continue
        const near = suggest(keyOf(one), registered)
        say(
          [member, at],
          `there is no type \`${plain(one.type)}\` for ${plain(keyOf(one))}`,
          near === undefined ? [...types] : [near],
        )
      }
    }
    for (const [at, id] of (test.by ?? []).entries())
      if (!ids.includes(id)) say(['by', at], `there is no policy \`${plain(id)}\``, ids)
    for (const pool of Object.keys(test.evidence?.approvals ?? {}))
      if (!set.pools.includes(pool))
        mistakes.push(
          read.mistake(
            ['tests', test.at, 'evidence', 'approvals', pool],
            `no policy says who gives approvals \`${plain(pool)}\``,
            meant(pool, set.pools),
            'name',
          ),
        )
    for (const [at, all] of (test.requires ?? []).entries())
      for (const [item, one] of all.entries())
        if (one.kind === 'approval' && !set.pools.includes(one.pool))
          say(['requires', at, item], `no policy says who gives approvals \`${plain(one.pool)}\``, set.pools)
  }
  const files = [...new Set(set.policies.map(({ file }) => file))]
  for (const [at, name] of (read.policies ?? []).entries())
    if (!files.includes(name))
      mistakes.push(
        read.mistake(
          ['policies', at],
          `no policy of the set stands in \`${plain(name)}\``,
          meant(name, files),
        ),
      )
  return inOrder(mistakes)
}

/** Said of `ref` where nobody registered it though something of nearly that name is there. */
export function stranger(read: TestFile, test: TestCase, ref: Ref): string[] {
  const key = keyOf(ref)
  const registered = [...read.entities, ...(test.entities ?? [])].map(keyOf)
  if (registered.includes(key)) return []
  const near = suggest(key, registered)
  return [
    `${plain(key)} is not in the inventory${near === undefined ? '' : `; did you mean \`${plain(near)}\`?`}`,
  ]
}

export const keyOf = (ref: Ref): string => `${ref.type}/${ref.id}`

export const renderMistake = ({ file, line, column, message, hint }: Mistake): string =>
  `${plain(file)}:${line}:${column}: ${message}${hint === undefined ? '' : ` · ${hint}`}`

/** Did you mean …, or what there is. */
function meant(name: PropertyKey | undefined, known: readonly string[], message = ''): string | undefined {
  const asked = typeof name === 'string' ? name : (/`([^`]*)`/u.exec(message)?.[1] ?? '')
  const near = suggest(asked, known) ?? (known.length === 1 ? known[0] : undefined)
  if (near !== undefined) return `did you mean \`${plain(near)}\`?`
  if (known.length === 0) return undefined
  const some = known
    .slice(0, 8)
    .map((one) => `\`${plain(one)}\``)
    .join(', ')
  return `there are ${some}${known.length > 8 ? ', …' : ''}`
}

/** An issue of the shape, in words, where it stands. */
function told(issue: z.core.$ZodIssue, mistake: TestFile['mistake']): Mistake[] {
  const { path } = issue
  const at = path.join('.')
  if (issue.code === 'unrecognized_keys') {
    const known = members.find(([place]) => place.test(at))?.[1] ?? []
    return issue.keys.map((key) => {
      const where = [...path, key]
      return mistake(where, `unknown member \`${plain(key)}\``, meant(key, known), 'name')
    })
  }
  const last = path.findLast((part) => typeof part === 'string')
  const sentence = bounds.describeIssues(
    new z.ZodError([{ ...issue, path: last === undefined ? [] : [last] }]),
  )
  const words = sentence
    .replace('the body', 'the file')
    .replace(' an array', ' a list')
    .replace(/ an (object|record)/u, ' a mapping')
  return [mistake(path, typeof path.at(-1) === 'number' ? words.replace(/^`/u, 'in `') : words)]
}

/** Where `path` stands: the name of its last member, or the deepest part of it that there is. */
function offsetOf(document: Document, path: Path, part: 'value' | 'name'): number {
  let node: Node | null | undefined = document.contents
  let offset = node?.range?.[0] ?? 0
  for (const [depth, member] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document)
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(member))
      if (pair === undefined) return offset
      const value = pair.value as Node | null
      // of a value that is wrong the value itself is shown, of anything else its name
      offset = (pair.key as Node).range?.[0] ?? offset
      if (part === 'value' && depth === path.length - 1 && isScalar(value)) return value.range?.[0] ?? offset
      node = value
    } else if (isSeq(node) && typeof member === 'number') {
      const item = node.items[member] as Node | undefined
      if (item === undefined) return offset
      offset = item.range?.[0] ?? offset
      node = item
    } else return offset
  }
  return offset
}

/** What the parser of YAML says, for people who do not program with it. */
function said(code: string, message: string): string {
  if (code === 'MULTIPLE_DOCS') return 'the file holds several documents: make it one, or several files'
  if (/call stack/u.test(message)) return 'the file is too deeply nested'
  return lowered(message.split('\n', 1)[0]?.replace(/ at line \d+, column \d+:?$/u, '') ?? '')
}

const lowered = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1)

const inOrder = (mistakes: readonly Mistake[]): Mistake[] =>
  mistakes.toSorted((a, b) => a.line - b.line || a.column - b.column)
