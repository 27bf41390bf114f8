/**
 * Problems of policy files: one table of codes, one shape, one rendering.
 *
 * @module
 */

/** Every code, with the sentence that documents it. */
export const problemCodes = {
  P001: 'the policy text does not parse',
  P002: 'the schema does not parse, or names a type that is not declared',
  P003: 'two policies share an id, or two files a name',
  P004: 'an annotation that Writ does not know, or that has no effect on this kind of policy',
  P005: 'an annotation value that cannot be read',
  P006: 'policy templates are not supported',
  P007: 'the schema declares something that belongs to Writ',
  P008: 'an entity type that is not declared',
  P009: 'an action that is not declared',
  P010: 'sensitivity, owner or team declared with another type',
  P011: 'an approval pool that no policy on approving declares',
  P012: 'types that do not fit together',
  P013: 'an optional attribute read without testing that it is there',
  P014: 'an attribute that is not declared',
  P015: 'a policy that can never fire',
  P016: 'a context key whose type cannot be told from the policies',
  P017: 'a context key or attribute that is used with two types',
  P018: 'a policy on narrowing actions that reads facts of outside sources',
  P019: 'another finding of the Cedar validator',
  P020: 'no policy names an action, so that none can be derived',
  P021: 'the inventory does not fit the schema',
  P022: 'the policy set is too large',
  P023: 'text that reads differently from what it is',
  P024: 'one policy for actions of Writ and for others',
  L001: 'a condition, or a part of one, that always holds',
  L002: 'a condition, or a part of one, that never holds',
  L003: 'a policy that another one makes useless',
  L004: 'a permit for a sensitive act that sets no ceiling on its lifetime',
  L005: 'those who ask for an approval are those who may give it',
  L006: 'a permit for every action there is',
  L007: 'a permit for everybody, without a condition',
  L008: 'a policy that names something which nobody knows',
  L009: 'an action of Writ itself permitted to everybody',
  L010: 'a forbid that is left out when what it reads is unknown',
  L011: 'an approval pool that no policy asks for',
  L012: 'an approval that nobody in the inventory can give',
  L013: 'an unknown lint rule',
} as const

export type ProblemCode = keyof typeof problemCodes

/** How to mend it, or why to; for the reference page and for code scanners. */
export const problemHelp: Readonly<Record<ProblemCode, string>> = {
  P001: 'Look at the place itself and right before it: a bracket, comma or semicolon is often missing there. `writ policy fmt` shows how Cedar reads the rest.',
  P002: 'Schemas are Cedar schema text, or JSON in a file that ends in `.cedarschema.json`. Declare the type, or mend its spelling.',
  P003: 'Give each policy its own `@id`, and each file its own name: decisions and explanations name policies by their id.',
  P004: 'Writ reads no other annotations; text for people belongs in `@doc`. Obligations belong on permits, `@explain` on forbids.',
  P005: 'The message says what the annotation takes. Durations are written `90s`, `15m`, `24h`, `7d`.',
  P006: 'Write one policy for each case, or name a group instead of a slot.',
  P007: 'Writ declares the namespace `Writ`, `context.live`, `context.proof` and what it takes out of the context itself. Choose another name.',
  P008: 'Declare the type in the schema, or mend its spelling. Without a schema, types come from the inventory.',
  P009: 'Declare the action in the schema, or mend its spelling.',
  P010: 'Writ fills `sensitivity` (a Long), `owner` (a Person) and `team` (a Group) from the inventory. Declare them with these types, or not at all.',
  P011: 'Say who may give approvals of this kind: a permit on `Writ::Action::"approve"` with `context.pool == "…"`.',
  P012: 'Compare values of one type only. Extension values are written `datetime("…")`, `ip("…")`, `decimal("…")`, `duration("…")`.',
  P013: 'Test that it is there before it is read: `context has x && context.x == 1`.',
  P014: 'Declare the attribute, mend its spelling, or narrow the type first: `principal is Person && …`.',
  P015: 'Its head and its conditions contradict each other or the schema. It would look like protection and be none.',
  P016: 'Write a schema that declares the key, or compare it with a literal so that its type can be told.',
  P017: 'Use the key with one type only, or give one of the two another name.',
  P018: 'Taking authority away must work while an outside source is down: policies on `revoke` and `deny` read only what Writ knows itself.',
  P019: 'The message is that of the Cedar validator.',
  P020: 'Name the actions in at least one policy, or write a schema.',
  P021: 'What the schema cannot hold of the inventory is unknown to policies. Mend the inventory or the schema.',
  P022: 'Split it: sizes and depths are bounded so that checking stays short.',
  P023: 'Mixed scripts and invisible characters make text read differently from what it is. Write it with plain characters.',
  P024: 'Write one policy for the actions of Writ and another for the rest: the two are validated against different schemas.',
  L001: 'Remove the part, or write what was meant: as it stands it restricts nothing.',
  L002: 'Remove the part, or write what was meant: as it stands nothing passes it.',
  L003: 'Remove one of the two, or narrow the broader one. A permit that is covered by a broader one asks for evidence in vain.',
  L004: 'Say how long it may live at most: `@ttl("10m")`. Without it the ceiling of the server holds for every act alike.',
  L005: 'Name another group in the permit on `Writ::Action::"approve"`, or exclude those who ask. Nobody ever approves what they asked for themselves, but two of one group can approve each other.',
  L006: 'Name the actions: `action in [Action::"read", Action::"list"]`. An action that is added later is then not permitted before somebody says so.',
  L007: 'Say who, in the head (`principal in Group::"…"`) or in a condition.',
  L008: 'Mend the name, or put it into the inventory: as things stand the policy cannot match.',
  L009: 'Name a group: whoever may publish policies, manage keys or read everything holds the system.',
  L010: 'Remove `@unknown_ignore`: a forbid that is left out whenever a source is down protects only on good days.',
  L011: 'Ask for it (`context.proof.approvals.POOL >= 1`), or remove the permit on approving.',
  L012: 'Put somebody into the group that may approve, or ask for another approval: as things stand the permit cannot be reached.',
  L013: '`@lint_ignore` takes names of lint rules, or their codes, separated by spaces.',
}

/**
 * One finding, at its place. `line` and `column` start at 1, columns count characters; `excerpt` is the line itself.
 */
export type Problem = Readonly<{
  code: ProblemCode
  severity: 'error' | 'warning'
  message: string
  file: string
  line: number
  column: number
  endLine?: number
  endColumn?: number
  hint?: string
  excerpt: string
}>

/** A stretch of a file, as string offsets: `start` inclusive, `end` exclusive. */
export type Span = Readonly<{ start: number; end: number }>

/** For findings about a whole file. */
export const nowhereSpan: Span = { start: 0, end: 0 }

/** A file that can turn offsets into places. */
export class SourceFile {
  readonly name: string
  readonly text: string
  #lines: readonly number[] | undefined
  /** Where a column was counted last: a file may be one long line. */
  #last = { offset: 0, line: 1, column: 1 }

  constructor(name: string, text: string) {
    this.name = name
    this.text = text
  }

  /** Line and column of a string offset, both from 1. */
  place(offset: number): { line: number; column: number } {
    const line = this.lineAt(offset)
    const last = this.#last
    const isPast = last.line === line && last.offset <= offset
    const from = isPast ? last.offset : (this.#lines?.[line - 1] ?? 0)
    const column = (isPast ? last.column : 1) + codePoints(this.text.slice(from, offset))
    this.#last = { offset, line, column }
    return { line, column }
  }

  /** The line of a string offset, from 1. */
  lineAt(offset: number): number {
    this.#lines ??= lineStarts(this.text)
    let low = 0
    let high = this.#lines.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.#lines[middle] as number) <= offset) low = middle
      else high = middle - 1
    }
    return low + 1
  }

  line(number: number): string {
    this.#lines ??= lineStarts(this.text)
    const start = this.#lines[number - 1] ?? this.text.length
    const end = this.#lines[number] ?? this.text.length
    return this.text.slice(start, end).replace(/\r?\n$/, '')
  }

  problem(
    code: ProblemCode,
    span: Span,
    message: string,
    more: { hint?: string | undefined; severity?: 'error' | 'warning' } = {},
  ): Problem {
    const from = this.place(Math.min(span.start, this.text.length))
    const to = this.place(Math.min(Math.max(span.end, span.start), this.text.length))
    return {
      code,
      severity: more.severity ?? 'error',
      message,
      file: this.name,
      line: from.line,
      column: from.column,
      endLine: to.line,
      endColumn: to.column,
      ...(more.hint === undefined ? {} : { hint: more.hint }),
      excerpt: this.line(from.line),
    }
  }
}

function lineStarts(text: string): number[] {
  const starts = [0]
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) starts.push(at + 1)
  return starts
}

function codePoints(text: string): number {
  let count = 0
  for (const _ of text) count++
  return count
}

/** The string offset of a UTF-8 byte offset, which is what the Cedar library counts in. */
export function fromByteOffset(text: string, bytes: number): number {
  let left = bytes
  let at = 0
  while (at < text.length && left > 0) {
    const point = text.codePointAt(at) as number
    left -= point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4
    at += point < 0x10000 ? 1 : 2
  }
  return at
}

const EXCERPT_WIDTH = 160

/**
 * The lines a person reads:
 *
 * ```
 * error[P014]: unknown attribute `principal.devicePosture`
 *   policies/deploy.cedar:7:8
 * 7 | when { principal.devicePosture == "ok" }
 *   |        ^^^^^^^^^^^^^^^^^^^^^^^ did you mean `device_posture`?
 * ```
 */
export function renderProblem(problem: Problem): string {
  const head = `${problem.severity}[${problem.code}]: ${plain(problem.message)}`
  const place = `  ${plain(problem.file)}:${problem.line}:${problem.column}`
  const number = String(problem.line)
  const gutter = ' '.repeat(number.length)
  const hint = problem.hint === undefined ? '' : plain(problem.hint)
  const characters = Array.from(plain(problem.excerpt))
  if (characters.length === 0) return [head, place, ...(hint === '' ? [] : [`  ${hint}`])].join('\n')
  const from = problem.column - 1
  const to =
    problem.endLine === undefined || problem.endLine > problem.line
      ? characters.length
      : Math.max((problem.endColumn ?? problem.column + 1) - 1, from + 1)
  // A very long line is shown around the place, so that one minified file cannot fill a terminal.
  const cut =
    characters.length > EXCERPT_WIDTH
      ? Math.max(0, Math.min(from - 40, characters.length - EXCERPT_WIDTH))
      : 0
  const shown = characters
    .slice(cut, cut + EXCERPT_WIDTH)
    .join('')
    .trimEnd()
  const width = Math.max(1, Math.min(to, cut + EXCERPT_WIDTH) - from)
  const carets = `${' '.repeat(from - cut)}${'^'.repeat(width)}`
  return [
    head,
    place,
    `${number} | ${shown}`,
    `${gutter} | ${carets}${hint === '' || hint.length > 100 ? '' : ` ${hint}`}`,
    ...(hint.length > 100 ? [`${gutter} = ${hint}`] : []),
  ].join('\n')
}

/** Without control characters: a policy file must not move the cursor of the terminal that shows it. */
function plain(text: string): string {
  return text
    .replace(/\t/g, ' ')
    .replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '·')
}

/** The known name that was most likely meant, or `undefined` if none is close. */
export function closest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let least = Infinity
  const wanted = bare(name)
  for (const candidate of known) {
    if (candidate === name) continue
    const distance = editDistance(wanted, bare(candidate))
    if (distance < least) [best, least] = [candidate, distance]
  }
  return least <= Math.max(1, Math.floor(wanted.length / 3)) && least < wanted.length ? best : undefined
}

/** A hint for an unknown name: the one that was meant, else what there is. */
export function suggest(name: string, known: Iterable<string>, what: string): string | undefined {
  const all = [...known]
  const meant = closest(name, all)
  if (meant !== undefined) return `did you mean \`${meant}\`?`
  if (all.length === 0) return undefined
  const shown = all
    .sort()
    .slice(0, 8)
    .map((known) => `\`${known}\``)
  return `known ${what}: ${shown.join(', ')}${all.length > shown.length ? ', …' : ''}`
}

const bare = (name: string): string => name.toLowerCase().replace(/[-_]/g, '').slice(0, 64)

/** Edits (insert, delete, replace, swap of neighbours) between two short names. */
export function editDistance(a: string, b: string): number {
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let least = Math.min(
        (last[j] as number) + 1,
        (row[j - 1] as number) + 1,
        (last[j - 1] as number) + (same ? 0 : 1),
      )
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, (before[j - 2] as number) + 1)
      }
      row.push(least)
    }
    before = last
    last = row
  }
  return last[b.length] as number
}

/** In the order a reader goes through files; the same finding at the same place is said once. */
export function tidy(problems: readonly Problem[]): Problem[] {
  const seen = new Set<string>()
  return problems
    .filter((problem) => {
      const key = JSON.stringify([problem.file, problem.line, problem.column, problem.code, problem.message])
      return seen.has(key) ? false : (seen.add(key), true)
    })
    .sort(
      (a, b) =>
        (a.file < b.file ? -1 : a.file > b.file ? 1 : 0) ||
        a.line - b.line ||
        a.column - b.column ||
        (a.code < b.code ? -1 : a.code > b.code ? 1 : 0),
    )
}
