/**
 * Cedar text, read into trees. The reference has accepted the text before: this parser finds out what it says, not whether
 * it is right, and gives up on whatever it does not expect, so that the reference's own parse is taken instead. It is
 * here because it is a hundred times faster, exact for every integer, and knows where things stand.
 *
 * @module
 */
import type { ActionHead, Binary, Expr, Head, Pattern, Policy, Slot, Span } from './tree.ts'
import { chain, pattern } from './tree.ts'
import { EntityRef, toLong } from './values.ts'

export type Token = Readonly<{
  kind: 'word' | 'string' | 'number' | 'slot' | 'mark'
  text: string
  start: number
  end: number
}>

/** What nests, counted before anything recursive sees the text. */
export type Shape = Readonly<{ brackets: number; ifs: number; longest: number }>

/** One policy or template of a text. `end` is past its `;`. */
export type Cut = Readonly<{ start: number; end: number; tokens: readonly Token[]; shape: Shape }>

/** Text that this parser does not understand. */
export class Gap extends Error {
  override readonly name = 'Gap'
}

const PATTERN =
  /(\s+|\/\/[^\n\r]*)|([A-Za-z_][A-Za-z0-9_]*)|(")|([0-9]+)|(\?[A-Za-z_]+)|::|==|!=|<=|>=|&&|\|\||[^]/y

/** The policies of a text, cut at each `;` outside strings. Never fails. */
export function cut(text: string): Cut[] {
  const cuts: Cut[] = []
  for (let part = cutAt(text, 0); part !== undefined; part = cutAt(text, part.end)) cuts.push(part)
  return cuts
}

/**
 * The policy that begins at `from`; `undefined` if there is none before the end. One with more than `most` tokens is cut
 * off there: it will be refused.
 */
export function cutAt(text: string, from: number, most = Infinity): Cut | undefined {
  const tokens: Token[] = []
  let [depth, brackets, ifs, chained, longest] = [0, 0, 0, 0, 0]
  const pattern = new RegExp(PATTERN)
  pattern.lastIndex = from
  for (let token = nextToken(text, pattern); token !== undefined; token = nextToken(text, pattern)) {
    tokens.push(token)
    if (tokens.length > most) break
    const { kind, text: found } = token
    if (kind === 'word' && found === 'if') ifs += 1
    if (kind !== 'mark') continue
    if (found === '(' || found === '[' || found === '{') brackets = Math.max(brackets, (depth += 1))
    else if (found === ')' || found === ']' || found === '}') depth = Math.max(0, depth - 1)
    // operands in a row nest to the left; lists do not
    if (found === ',') chained = 0
    else longest = Math.max(longest, (chained += 1))
    if (found === ';') break
  }
  return tokens.length === 0 ? undefined : slice(tokens, { brackets, ifs, longest })
}

/** Where the policies of a text stand, as `cut` has it, without a look at what is in them. */
export function* ends(text: string): Generator<Readonly<{ start: number; end: number }>> {
  for (let start = skipBlank(text, 0); start < text.length;) {
    const end = policyEnd(text, start)
    yield { start, end }
    start = skipBlank(text, end)
  }
}

const BLANK = /\s+|\/\/[^\n\r]*/y
const STOP = /"|\/\/|;/g

function skipBlank(text: string, from: number): number {
  for (let at = from; ; at = BLANK.lastIndex) {
    BLANK.lastIndex = at
    if (!BLANK.test(text)) return at
  }
}

/** Past the `;` that ends the policy at `start`, or past its last token where the text ends before. */
function policyEnd(text: string, start: number): number {
  let at = start
  for (;;) {
    STOP.lastIndex = at
    const stop = STOP.exec(text)
    if (stop === null) return text.trimEnd().length
    if (stop[0] === ';') return stop.index + 1
    if (stop[0] === '"') {
      at = stringEnd(text, stop.index)
      if (at >= text.length) return at
    } else {
      at = skipBlank(text, stop.index)
      if (at >= text.length) return Math.max(start, lastToken(text, start))
    }
  }
}

/** Past the last token from `start` on, where no `;` follows. */
function lastToken(text: string, start: number): number {
  return cutAt(text, start)?.end ?? start
}

export function tokenize(text: string): Token[] {
  const tokens: Token[] = []
  const pattern = new RegExp(PATTERN)
  for (let token = nextToken(text, pattern); token !== undefined; token = nextToken(text, pattern)) {
    tokens.push(token)
  }
  return tokens
}

/** Ill-formed text never fails here: the reference says what is wrong with it, at its place. */
function nextToken(text: string, pattern: RegExp): Token | undefined {
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    if (match[1] !== undefined) continue
    const start = match.index
    if (match[3] !== undefined) {
      // by hand: an expression would need a stack as long as the string
      const end = stringEnd(text, start)
      pattern.lastIndex = end
      return { kind: 'string', text: text.slice(start, end), start, end }
    }
    const [found] = match
    const kind =
      match[2] !== undefined
        ? 'word'
        : match[4] !== undefined
          ? 'number'
          : match[5] !== undefined
            ? 'slot'
            : 'mark'
    return { kind, text: found, start, end: start + found.length }
  }
  return undefined
}

/** Past the quote that closes the string at `start`, or the end of the text. */
function stringEnd(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === 0x22) return at + 1
    if (code === 0x5c) at += 1
  }
  return text.length
}

function slice(tokens: readonly Token[], shape: Shape): Cut {
  const [first, last] = [tokens[0] as Token, tokens.at(-1) as Token]
  return { start: first.start, end: last.end, tokens, shape }
}

/** @throws {Gap} for text that it does not understand. */
export function parsePolicy(part: Cut): Policy {
  return new Parser(part.tokens).policy()
}

const METHODS: ReadonlySet<string> = new Set(['contains', 'containsAll', 'containsAny', 'getTag', 'hasTag'])
const COMPARISONS: ReadonlySet<string> = new Set(['==', '!=', '<', '<=', '>', '>='])

class Parser {
  readonly #tokens: readonly Token[]
  #at = 0

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens
  }

  #peek(ahead = 0): string {
    const token = this.#tokens[this.#at + ahead]
    return token === undefined || token.kind === 'string' ? '' : token.text
  }

  /** `expr` with its place: from the token numbered `from` up to where the parser stands. */
  #placed(from: number, expr: Expr): Expr {
    const [first, last] = [this.#tokens[from], this.#tokens[this.#at - 1]]
    if (first === undefined || last === undefined || expr.span !== undefined) return expr
    // nobody else has it yet; a copy of every node would be most of what parsing costs
    const fresh: { span?: Span } = expr
    fresh.span = { start: first.start, end: last.end }
    return expr
  }

  #kind(ahead = 0): Token['kind'] | undefined {
    return this.#tokens[this.#at + ahead]?.kind
  }

  /** Goes past `text` if it comes next. A string token is never taken for what it spells. */
  #take(text: string): boolean {
    if (this.#peek() !== text) return false
    this.#at += 1
    return true
  }

  #expect(text: string): void {
    if (!this.#take(text)) throw new Gap(`expected \`${text}\``)
  }

  #next(kind: Token['kind']): string {
    const token = this.#tokens[this.#at]
    if (token?.kind !== kind) throw new Gap(`expected a ${kind}`)
    this.#at += 1
    return token.text
  }

  policy(): Policy {
    while (this.#take('@')) {
      this.#next('word')
      if (this.#take('(')) {
        this.#next('string')
        this.#expect(')')
      }
    }
    const effect = this.#next('word')
    if (effect !== 'permit' && effect !== 'forbid') throw new Gap('expected an effect')
    this.#expect('(')
    const principal = this.#head('principal')
    this.#expect(',')
    const action = this.#actionHead()
    this.#expect(',')
    const resource = this.#head('resource')
    this.#take(',')
    this.#expect(')')
    const conditions: Policy['conditions'][number][] = []
    while (!this.#take(';')) {
      const kind = this.#next('word')
      if (kind !== 'when' && kind !== 'unless') throw new Gap('expected a condition')
      this.#expect('{')
      conditions.push({ kind, body: this.#expression() })
      this.#expect('}')
    }
    if (this.#at !== this.#tokens.length) throw new Gap('expected the end')
    return { effect, principal, action, resource, conditions }
  }

  #head(name: 'principal' | 'resource'): Head {
    this.#expect(name)
    if (this.#take('==')) return { eq: this.#entityOrSlot(), is: undefined, in: undefined }
    if (this.#take('in')) return { eq: undefined, is: undefined, in: this.#entityOrSlot() }
    if (!this.#take('is')) return { eq: undefined, is: undefined, in: undefined }
    const is = this.#path()
    return { eq: undefined, is, in: this.#take('in') ? this.#entityOrSlot() : undefined }
  }

  #actionHead(): ActionHead {
    this.#expect('action')
    if (this.#take('==')) return { eq: this.#entity(), in: undefined }
    if (!this.#take('in')) return { eq: undefined, in: undefined }
    if (!this.#take('[')) return { eq: undefined, in: [this.#entity()] }
    return { eq: undefined, in: this.#list(']', () => this.#entity()) }
  }

  #entityOrSlot(): EntityRef | Slot {
    if (this.#kind() !== 'slot') return this.#entity()
    const slot = this.#next('slot')
    if (slot !== '?principal' && slot !== '?resource') throw new Gap('unknown slot')
    return slot
  }

  #entity(): EntityRef {
    const names = [this.#next('word')]
    for (;;) {
      this.#expect('::')
      if (this.#kind() === 'string') return new EntityRef(names.join('::'), unescape(this.#next('string')))
      names.push(this.#next('word'))
    }
  }

  #path(): string {
    const names = [this.#next('word')]
    while (this.#take('::')) names.push(this.#next('word'))
    return names.join('::')
  }

  /** Up to `close`, with a comma after the last allowed. */
  #list<T>(close: string, item: () => T): T[] {
    const items: T[] = []
    while (!this.#take(close)) {
      items.push(item())
      if (this.#take(',')) continue
      this.#expect(close)
      break
    }
    return items
  }

  #expression(): Expr {
    if (this.#peek() !== 'if') return this.#or()
    const from = this.#at
    this.#at += 1
    const test = this.#expression()
    this.#expect('then')
    const yes = this.#expression()
    this.#expect('else')
    return this.#placed(from, { op: 'if', test, yes, no: this.#expression() })
  }

  #or(): Expr {
    const from = this.#at
    const items = [this.#and()]
    while (this.#take('||')) items.push(this.#and())
    return items.length === 1 ? (items[0] as Expr) : this.#placed(from, chain('or', items))
  }

  #and(): Expr {
    const from = this.#at
    const items = [this.#relation()]
    while (this.#take('&&')) items.push(this.#relation())
    return items.length === 1 ? (items[0] as Expr) : this.#placed(from, chain('and', items))
  }

  #relation(): Expr {
    const from = this.#at
    return this.#placed(from, this.#compared())
  }

  #compared(): Expr {
    const left = this.#sum()
    const operator = this.#peek()
    if (COMPARISONS.has(operator) || operator === 'in') {
      this.#at += 1
      return { op: 'binary', name: operator as Binary, left, right: this.#sum() }
    }
    if (this.#take('has')) {
      if (this.#kind() === 'string') return { op: 'has', of: left, path: [unescape(this.#next('string'))] }
      const path = [this.#next('word')]
      while (this.#take('.')) path.push(this.#next('word'))
      return { op: 'has', of: left, path }
    }
    if (this.#take('like')) return { op: 'like', of: left, pattern: likePattern(this.#next('string')) }
    if (this.#take('is')) {
      const type = this.#path()
      return { op: 'is', of: left, type, in: this.#take('in') ? this.#sum() : undefined }
    }
    return left
  }

  #sum(): Expr {
    const from = this.#at
    let left = this.#product()
    for (;;) {
      const name = this.#peek()
      if (name !== '+' && name !== '-') return left
      this.#at += 1
      left = this.#placed(from, { op: 'binary', name, left, right: this.#product() })
    }
  }

  #product(): Expr {
    const from = this.#at
    let left = this.#unary()
    while (this.#take('*')) {
      left = this.#placed(from, { op: 'binary', name: '*', left, right: this.#unary() })
    }
    return left
  }

  #unary(): Expr {
    const from = this.#at
    return this.#placed(from, this.#signed())
  }

  #signed(): Expr {
    let nots = 0
    while (this.#take('!')) nots += 1
    let negs = 0
    while (this.#take('-')) negs += 1
    if (nots > 0 && negs > 0) throw new Gap('expected one kind of operator')
    let inner: Expr
    // the last minus belongs to a number that stands alone
    if (negs > 0 && this.#kind() === 'number' && !this.#isAccess(1)) {
      inner = integer(`-${this.#next('number')}`)
      negs -= 1
    } else inner = this.#member()
    for (; nots > 0; nots -= 1) inner = { op: 'not', arg: inner }
    for (; negs > 0; negs -= 1) inner = { op: 'neg', arg: inner }
    return inner
  }

  #isAccess(ahead: number): boolean {
    const next = this.#peek(ahead)
    return next === '.' || next === '['
  }

  #member(): Expr {
    const from = this.#at
    let of = this.#placed(from, this.#primary())
    for (;;) {
      if (this.#take('[')) {
        const name = unescape(this.#next('string'))
        this.#expect(']')
        of = this.#placed(from, { op: 'attribute', of, name })
      } else if (this.#take('.')) {
        const name = this.#next('word')
        if (!this.#take('(')) {
          of = this.#placed(from, { op: 'attribute', of, name })
          continue
        }
        const args = this.#list(')', () => this.#expression())
        of = this.#placed(from, method(of, name, args))
      } else return of
    }
  }

  #primary(): Expr {
    switch (this.#kind()) {
      case 'string':
        return { op: 'literal', value: unescape(this.#next('string')) }
      case 'number':
        return integer(this.#next('number'))
      case 'word':
        break
      default:
        return this.#bracketed()
    }
    if (this.#peek(1) === '::') return { op: 'literal', value: this.#entity() }
    const word = this.#next('word')
    switch (word) {
      case 'true':
      case 'false':
        return { op: 'literal', value: word === 'true' }
      case 'principal':
      case 'action':
      case 'resource':
      case 'context':
        return { op: 'variable', name: word }
      default:
        this.#expect('(')
        return { op: 'call', name: word, args: this.#list(')', () => this.#expression()) }
    }
  }

  #bracketed(): Expr {
    if (this.#take('(')) {
      const inner = this.#expression()
      this.#expect(')')
      return inner
    }
    if (this.#take('[')) return { op: 'set', items: this.#list(']', () => this.#expression()) }
    this.#expect('{')
    const fields = this.#list('}', (): readonly [string, Expr] => {
      const name = this.#kind() === 'string' ? unescape(this.#next('string')) : this.#next('word')
      this.#expect(':')
      return [name, this.#expression()]
    })
    return { op: 'record', fields }
  }
}

function method(of: Expr, name: string, args: readonly Expr[]): Expr {
  const [right] = args
  if (METHODS.has(name)) {
    if (right === undefined || args.length !== 1) throw new Gap('expected one argument')
    return { op: 'binary', name: name as Binary, left: of, right }
  }
  if (name !== 'isEmpty') return { op: 'call', name, args: [of, ...args] }
  if (args.length > 0) throw new Gap('expected no argument')
  return { op: 'isEmpty', arg: of }
}

function integer(digits: string): Expr {
  const value = digits.length > 1_000 ? undefined : toLong(BigInt(digits))
  if (value === undefined) throw new Gap('not an integer')
  return { op: 'literal', value: typeof value === 'number' ? value + 0 : value }
}

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['0', '\0'],
  ['\\', '\\'],
  ['"', '"'],
  ["'", "'"],
])
const ESCAPE = /\\(?:u\{([0-9A-Fa-f_]{1,12})\}|x([0-7][0-9A-Fa-f])|([^]))/g

/**
 * What a string literal says, its quotes taken off.
 *
 * @throws {Gap} for an escape that is none.
 */
export function unescape(literal: string): string {
  const inner = literal.slice(1, -1)
  return inner.includes('\\') ? inner.replace(ESCAPE, decode) : inner
}

function decode(_: string, unicode?: string, hex?: string, single?: string): string {
  const digits = unicode ?? hex
  if (digits === undefined) {
    const known = ESCAPES.get(single ?? '')
    if (known === undefined) throw new Gap('unknown escape')
    return known
  }
  const point = Number.parseInt(digits.replaceAll('_', ''), 16)
  if (!(point <= 0x10ffff) || (point >= 0xd800 && point <= 0xdfff)) throw new Gap('no character')
  return String.fromCodePoint(point)
}

/** `*` is a wildcard, also one that is spelled as a character code; `\*` is a star. */
function likePattern(literal: string): Pattern {
  const parts: (string | null)[] = []
  for (const [part] of literal.slice(1, -1).matchAll(/\\\*|(?:\\[^*]|[^\\])+/g)) {
    if (part === '\\*') parts.push('*')
    else {
      for (const [index, piece] of unescape(`"${part}"`).split('*').entries()) {
        if (index > 0) parts.push(null)
        parts.push(piece)
      }
    }
  }
  return pattern(parts)
}
