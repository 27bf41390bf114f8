/**
 * Policy files in one layout: Cedar's own formatter for each policy, what stands between policies as it is.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { cut } from './engine/parse.ts'
import { isWithinLimits } from './load.ts'
import type { Problem } from './problems.ts'
import { fromByteOffset, SourceFile } from './problems.ts'

const LINE_WIDTH = 100
const INDENT = 2
const PASSES = 6

export type Formatted =
  | Readonly<{ ok: true; text: string }>
  /** The text stays as it is: it does not parse, or the formatter would lose something of it. */
  | Readonly<{ ok: false; problem: Problem }>

/** The text of a policy file, formatted. Comments, and blank lines between policies, stay where they are. */
export function formatPolicies(name: string, text: string): Formatted {
  // a byte order mark is no token of Cedar's
  const source = text.replace(/^\uFEFF/u, '')
  const file = new SourceFile(name, source)
  const newline = source.includes('\r\n') ? '\r\n' : '\n'
  const pieces: string[] = []
  let from = 0
  for (const part of cut(source)) {
    const { start, end, tokens } = part
    pieces.push(between(source.slice(from, start)))
    // beyond these the formatter takes minutes, or overflows its stack and fails for every file after this one
    if (!isWithinLimits(part)) {
      const message = 'the policy is too large or too deeply nested'
      const hint = 'split it into several policies'
      return { ok: false, problem: file.problem('P022', tokens[0] ?? part, message, { hint }) }
    }
    const formatted = formatOne(file, start, end)
    if (!formatted.ok) return formatted
    pieces.push(formatted.text)
    from = end
  }
  pieces.push(between(source.slice(from)))
  const whole = pieces
    .join('')
    .replace(/^\n+/u, '')
    .replace(/\n*$/u, pieces.every((piece) => piece.trim() === '') ? '' : '\n')
  return { ok: true, text: newline === '\n' ? whole : whole.replaceAll('\n', newline) }
}

/** What stands between two policies: its comments, each line without what trails it, at most one blank line in a row. */
function between(text: string): string {
  const lines = text
    .replaceAll('\r\n', '\n')
    .split('\n')
    .map((line, at) => (at === 0 ? line.trimEnd() : line.trim()))
  const joined = lines.join('\n').replace(/\n{3,}/gu, '\n\n')
  // two policies on one line
  return joined === '' ? '\n' : joined
}

function formatOne(file: SourceFile, start: number, end: number): Formatted {
  const text = file.text.slice(start, end)
  const refuse = (
    span: { start: number; end: number },
    message: string,
    hint?: string | null,
  ): Formatted => ({
    ok: false,
    problem: file.problem('P001', span, message, { hint: hint ?? undefined }),
  })
  let formatted = text
  // the library's layout of its own layout can differ once more; what is written here stays when it is read again
  for (let pass = 0; pass < PASSES; pass++) {
    const before = formatted
    let answer: cedar.FormattingAnswer
    try {
      answer = cedar.formatPolicies({ policyText: before, lineWidth: LINE_WIDTH, indentWidth: INDENT })
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      return refuse({ start, end }, `the formatter failed: ${message}`)
    }
    if (answer.type === 'failure') {
      const [error] = answer.errors
      const at = pass === 0 ? error?.sourceLocations?.[0] : undefined
      const span =
        at === undefined
          ? { start, end }
          : { start: start + fromByteOffset(text, at.start), end: start + fromByteOffset(text, at.end) }
      const message = error?.message ?? 'the text does not parse'
      return refuse(span, message.replace(/^cannot parse input policies: /u, ''), at?.label ?? error?.help)
    }
    formatted = answer.formatted_policy.trim()
    if (!sameWords(text, formatted)) {
      return refuse(
        { start, end },
        'the formatter would lose or move a comment of this policy',
        'leave out the comma at the end of its list, or put the comment before the policy',
      )
    }
    if (formatted === before) return { ok: true, text: formatted }
  }
  return refuse({ start, end }, 'the formatter finds no layout that it keeps', 'shorten the comments in it')
}

/** Whether two texts hold the same tokens and comments in the same order; commas may come and go before a bracket. */
function sameWords(a: string, b: string): boolean {
  const [left, right] = [words(a), words(b)]
  return left.length === right.length && left.every((word, at) => word === right[at])
}

function words(text: string): string[] {
  const found: string[] = []
  let from = 0
  const comments = (until: number): void => {
    for (const [comment] of text.slice(from, until).matchAll(/\/\/[^\n\r]*/gu)) found.push(comment.trimEnd())
  }
  for (const { tokens } of cut(text)) {
    for (const { start, end, text: token } of tokens) {
      comments(start)
      if (token !== ',') found.push(token)
      from = end
    }
  }
  comments(text.length)
  return found
}
