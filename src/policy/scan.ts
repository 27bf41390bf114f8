/**
 * A tokenizer for Cedar text: enough to cut files into policies and conditions into clauses, and to find places.
 * Parsing itself is Cedar's.
 *
 * @module
 */
import type { Span } from './problems.ts'

export type Token = Readonly<{
  kind: 'word' | 'string' | 'number' | 'mark'
  text: string
  start: number
  end: number
}>

/** Ill-formed text never fails here: Cedar says what is wrong with it, at its place. */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = []
  const pattern =
    /\s+|\/\/[^\n\r]*|"(?:[^"\\]|\\[^])*"?|[A-Za-z_][A-Za-z0-9_]*|[0-9]+|::|==|!=|<=|>=|&&|\|\||[^]/y
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    const [found] = match
    const first = found[0] as string
    if (/\s/.test(first) || found.startsWith('//')) continue
    const kind =
      first === '"' ? 'string' : /[A-Za-z_]/.test(first) ? 'word' : /[0-9]/.test(first) ? 'number' : 'mark'
    tokens.push({ kind, text: found, start: match.index, end: match.index + found.length })
  }
  return tokens
}

/** One policy's stretch of a file with its tokens; offsets are those of the file. */
export type PolicySlice = Readonly<{ start: number; end: number; tokens: readonly Token[]; depth: number }>

/** Cuts at `;` outside brackets. What follows the last `;` is a slice of its own if it holds any token. */
export function slices(text: string): PolicySlice[] {
  const result: PolicySlice[] = []
  let current: Token[] = []
  let depth = 0
  let deepest = 0
  const close = (end: number) => {
    result.push({ start: (current[0] as Token).start, end, tokens: current, depth: deepest })
    current = []
    depth = 0
    deepest = 0
  }
  for (const token of tokenize(text)) {
    current.push(token)
    if (token.kind !== 'mark') continue
    if ('([{'.includes(token.text)) deepest = Math.max(deepest, ++depth)
    else if (')]}'.includes(token.text)) depth = Math.max(0, depth - 1)
    // A `;` in brackets is an error anyway: cutting there keeps one bad policy from swallowing its neighbours.
    else if (token.text === ';') close(token.end)
  }
  if (current.length > 0) close((current.at(-1) as Token).end)
  return result
}

/** A condition of a policy, cut into the parts that must each hold (or, for `unless`, must each not hold). */
export type Clause = Readonly<{ kind: 'when' | 'unless'; span: Span }>

export function clauses(slice: PolicySlice): Clause[] {
  const found: Clause[] = []
  const { tokens } = slice
  let depth = 0
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at] as Token
    if (token.kind === 'mark' && '([{'.includes(token.text)) depth++
    if (token.kind === 'mark' && ')]}'.includes(token.text)) depth--
    if (depth !== 0 || token.kind !== 'word' || (token.text !== 'when' && token.text !== 'unless')) continue
    const open = at + 1
    const close = matching(tokens, open)
    if (tokens[open]?.text !== '{' || close === undefined) continue
    const kind = token.text
    for (const [from, to] of parts(tokens, open + 1, close, kind === 'when' ? '&&' : '||')) {
      found.push({ kind, span: { start: (tokens[from] as Token).start, end: (tokens[to - 1] as Token).end } })
    }
    at = close
  }
  return found
}

/** Index of the bracket that closes the one at `open`. */
function matching(tokens: readonly Token[], open: number): number | undefined {
  let depth = 0
  for (let at = open; at < tokens.length; at++) {
    const { kind, text } = tokens[at] as Token
    if (kind !== 'mark') continue
    if ('([{'.includes(text)) depth++
    else if (')]}'.includes(text) && --depth === 0) return at
  }
  return undefined
}

/** Splits at `operator` when it is the loosest operator of the expression; otherwise the whole is one part. */
function parts(
  tokens: readonly Token[],
  from: number,
  to: number,
  operator: '&&' | '||',
): [number, number][] {
  if (from >= to) return []
  if (tokens[from]?.text === '(' && tokens[from]?.kind === 'mark' && matching(tokens, from) === to - 1) {
    return parts(tokens, from + 1, to - 1, operator)
  }
  const cuts: number[] = []
  let depth = 0
  for (let at = from; at < to; at++) {
    const { kind, text } = tokens[at] as Token
    if (kind === 'mark' && '([{'.includes(text)) depth++
    else if (kind === 'mark' && ')]}'.includes(text)) depth--
    else if (depth > 0) continue
    else if (kind === 'word' && text === 'if') return [[from, to]]
    else if (kind === 'mark' && text === operator) cuts.push(at)
    else if (kind === 'mark' && operator === '&&' && text === '||') return [[from, to]]
  }
  if (cuts.length === 0) return [[from, to]]
  const edges = [from - 1, ...cuts, to]
  return edges.slice(1).flatMap((end, index) => {
    const start = (edges[index] as number) + 1
    return start < end ? parts(tokens, start, end, operator) : []
  })
}

/** Where `path` (e.g. `['context', 'ticket', 'id']`) is read or tested with `has`; the first place wins. */
export function findPath(slice: PolicySlice, path: readonly string[]): Span | undefined {
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
  let good = true
  const text = literal
    .slice(1, -1)
    .replace(
      /\\(?:u\{([0-9A-Fa-f]{1,6})\}|x([0-7][0-9A-Fa-f])|([^]))/g,
      (_, unicode: string | undefined, hex: string | undefined, single: string) => {
        if (unicode !== undefined || hex !== undefined) {
          const point = Number.parseInt(unicode ?? hex ?? '', 16)
          if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) good = false
          return good ? String.fromCodePoint(point) : ''
        }
        const known: Readonly<Record<string, string>> = {
          n: '\n',
          r: '\r',
          t: '\t',
          '0': '\0',
          '\\': '\\',
          '"': '"',
          "'": "'",
        }
        if (!Object.hasOwn(known, single)) good = false
        return known[single] ?? ''
      },
    )
  return good ? text : undefined
}
