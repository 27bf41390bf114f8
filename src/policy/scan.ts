/**
 * Tokens of Cedar text, to find places. Parsing itself is the engine's.
 *
 * @module
 */
import { Gap, tokenize, unescape } from './engine/parse.ts'
import type { Cut, Token } from './engine/parse.ts'
import type { SourceFile, Span } from './problems.ts'

/** The first token of a stretch of a file. */
export function firstToken(file: SourceFile, span: Span): Span | undefined {
  return tokensIn(file, span)[0]
}

/** `findPath` in a stretch of a file. */
export function pathIn(file: SourceFile, span: Span, path: readonly string[]): Span | undefined {
  return findPath({ tokens: tokensIn(file, span) }, path)
}

function tokensIn({ text }: SourceFile, { start, end }: Span): Token[] {
  return tokenize(text.slice(start, end)).map((token) => ({
    ...token,
    start: token.start + start,
    end: token.end + start,
  }))
}

/** Where `path` (e.g. `['context', 'ticket', 'id']`) is read or tested with `has`; the first place wins. */
export function findPath(slice: Pick<Cut, 'tokens'>, path: readonly string[]): Span | undefined {
  const { tokens } = slice
  for (let at = 0; at < tokens.length; at++) {
    const first = tokens[at] as Token
    if (first.kind !== 'word' || first.text !== path[0]) continue
    if (tokens[at - 1]?.text === '.' || tokens[at - 1]?.text === '::') continue
    let next = at + 1
    let step = 1
    let tested = false
    while (step < path.length) {
      const [dot, name] = [tokens[next], tokens[next + 1]]
      if ((dot?.text === '.' || (dot?.text === 'has' && !tested)) && name && named(name, path[step])) {
        tested ||= dot.text === 'has'
        next += 2
      } else if (dot?.text === '[' && name && named(name, path[step]) && tokens[next + 2]?.text === ']')
        next += 3
      else break
      step++
    }
    if (step === path.length) return { start: first.start, end: (tokens[next - 1] as Token).end }
  }
  return undefined
}

function named(token: Token, name: string | undefined): boolean {
  return token.kind === 'word' ? token.text === name : token.kind === 'string' && unquote(token.text) === name
}

/** The text of a Cedar string literal; `undefined` if it is not one. */
export function unquote(literal: string): string | undefined {
  if (literal.length < 2 || !literal.startsWith('"') || !literal.endsWith('"')) return undefined
  try {
    return unescape(literal)
  } catch (error) {
    if (error instanceof Gap) return undefined
    throw error
  }
}
