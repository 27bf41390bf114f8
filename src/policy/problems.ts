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
} as const

export type ProblemCode = keyof typeof problemCodes

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

  constructor(name: string, text: string) {
    this.name = name
    this.text = text
  }

  /** Line and column of a string offset, both from 1. */
  place(offset: number): { line: number; column: number } {
    this.#lines ??= lineStarts(this.text)
    let low = 0
    let high = this.#lines.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.#lines[middle] as number) <= offset) low = middle
      else high = middle - 1
    }
    const start = this.#lines[low] as number
    return { line: low + 1, column: codePoints(this.text.slice(start, offset)) + 1 }
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
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '·')
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
