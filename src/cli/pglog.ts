/**
 * PostgreSQL's own log, in its CSV and JSON forms: what was written there, by whom, with every value taken out.
 *
 * @module
 */
import { createHash } from 'node:crypto'

/** One entry of the log, as far as it concerns who did what. */
export type LogLine = Readonly<{
  user: string
  database: string
  /** Start of the process and its number, hexadecimal: the session. With `line` it names an entry for good. */
  session: string
  line: number
  /** Milliseconds; `undefined` where the log's time zone is not UTC and has no number. */
  at: number | undefined
  severity: string
  state: string
  message: string
  /** The statement that failed. */
  statement: string
  application: string
  digest: string
}>

/**
 * What one step of reading gave: so many bytes are done with; a line, or something that is none. `within`: what follows
 * is still inside a field of an entry that is too long, which is somebody's text and never read as entries.
 */
export type Step = Readonly<{ length: number; line?: LogLine; garbled?: true; within?: true }>

/** No entry is longer; what is, is no entry. */
export const LINE_MOST = 1_048_576

/** `2026-11-22 14:00:00.123 UTC` at the start of a line. */
const STAMP = /^(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))? ([A-Za-z0-9+:-]{1,10})$/u
const ENTRY_START = /\n(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [A-Za-z0-9+:-]{1,10},)/u

/** The first columns, in the order of `csvlog`; later versions only add to the end. */
const columns = {
  time: 0,
  user: 1,
  database: 2,
  session: 5,
  line: 6,
  severity: 11,
  state: 12,
  message: 13,
  statement: 19,
  application: 22,
} as const
const COLUMNS_LEAST = 23

/**
 * The next step in `bytes`; `undefined` when it takes more of the file to tell. `final`: there will be no more. `within`
 * as the step before said.
 */
export type Reader = (bytes: Buffer, final: boolean, within?: boolean) => Step | undefined

export const readCsv: Reader = (bytes, final, within = false) => {
  if (bytes.length === 0) return undefined
  const record = csvRecord(bytes, within)
  if (record === 'open' && (bytes.length >= LINE_MOST || (final && within)))
    return { length: bytes.length, garbled: true, within: true }
  const long = bytes.length >= LINE_MOST
  // a quote at the very end may be the first of two: it is left for the next step to tell
  if (record === 'incomplete' && long && !final && bytes.at(-1) === QUOTE)
    return { length: bytes.length - 1, garbled: true, within: true }
  if ((record === 'incomplete' || record === 'open') && !final && !long) return undefined
  if (typeof record === 'object') {
    const { fields, length } = record
    if (within) return { length, garbled: true }
    if (fields.length === 1 && fields[0] === '') return { length }
    const line = fields.length >= COLUMNS_LEAST ? lineOf(fields, bytes.subarray(0, length)) : undefined
    if (line !== undefined) return { length, line }
  }
  // cut off in the middle, or overwritten: on from the next place where an entry begins, past whatever swallowed it
  const text = bytes.toString('latin1')
  const next = ENTRY_START.exec(text)
  if (next !== null) return { length: next.index + 1, garbled: true }
  const end = text.indexOf('\n')
  return { length: end === -1 ? bytes.length : end + 1, garbled: true }
}

export const readJson: Reader = (bytes, final) => {
  const end = bytes.indexOf(0x0a)
  if (end === -1) {
    if (!final && bytes.length < LINE_MOST) return undefined
    return bytes.length === 0 ? undefined : { length: bytes.length, garbled: true }
  }
  const raw = bytes.subarray(0, end + 1)
  const text = raw.toString('utf8').trim()
  if (text === '') return { length: end + 1 }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { length: end + 1, garbled: true }
  }
  if (typeof value !== 'object' || value === null) return { length: end + 1, garbled: true }
  const of = (name: string): string => {
    const member: unknown = Reflect.get(value, name)
    return typeof member === 'string' || typeof member === 'number' ? String(member) : ''
  }
  const fields: string[] = []
  for (const [name, at] of Object.entries(columns)) fields[at] = of(jsonNames[name as keyof typeof columns])
  const line = lineOf(fields, raw)
  return line === undefined ? { length: end + 1, garbled: true } : { length: end + 1, line }
}

const jsonNames: Readonly<Record<keyof typeof columns, string>> = {
  time: 'timestamp',
  user: 'user',
  database: 'dbname',
  session: 'session_id',
  line: 'line_num',
  severity: 'error_severity',
  state: 'state_code',
  message: 'message',
  statement: 'statement',
  application: 'application_name',
}

const [COMMA, QUOTE, NEWLINE] = [0x2c, 0x22, 0x0a]

/**
 * One CSV record, or what is left of one `within` a quoted field: these hold anything, a quote twice. `open` where the
 * end is inside of one, `malformed` where no writer of CSV would have gone.
 */
function csvRecord(
  bytes: Buffer,
  within: boolean,
): { fields: string[]; length: number } | 'open' | 'incomplete' | 'malformed' {
  const fields: string[] = []
  let at = within ? -1 : 0
  for (;;) {
    let field: string
    if (at === -1 || bytes[at] === QUOTE) {
      const start = at + 1
      let end = bytes.indexOf(QUOTE, start)
      while (end !== -1 && bytes[end + 1] === QUOTE) end = bytes.indexOf(QUOTE, end + 2)
      if (end === -1) return 'open'
      field = bytes.toString('utf8', start, end).replaceAll('""', '"')
      at = end + 1
    } else {
      const start = at
      while (at < bytes.length && bytes[at] !== COMMA && bytes[at] !== NEWLINE) {
        if (bytes[at] === QUOTE) return 'malformed'
        at += 1
      }
      field = bytes.toString('utf8', start, at)
    }
    fields.push(field)
    if (at >= bytes.length) return 'incomplete'
    if (bytes[at] === NEWLINE) return { fields, length: at + 1 }
    if (bytes[at] !== COMMA) return 'malformed'
    at += 1
  }
}

function lineOf(fields: readonly string[], raw: Buffer): LogLine | undefined {
  const of = (name: keyof typeof columns): string => fields[columns[name]] ?? ''
  const line = Number(of('line'))
  if (!STAMP.test(of('time')) || !/^[0-9a-f]{1,16}\.[0-9a-f]{1,8}$/u.test(of('session'))) return undefined
  if (!Number.isSafeInteger(line) || line < 0) return undefined
  return {
    user: of('user'),
    database: of('database'),
    session: of('session'),
    line,
    at: instantOf(of('time')),
    severity: of('severity'),
    state: of('state'),
    message: of('message'),
    statement: of('statement'),
    application: of('application'),
    digest: createHash('sha256').update(raw).digest('hex'),
  }
}

/** Zones have no numbers in the log but UTC: whoever guesses what `IST` means is wrong by hours. */
function instantOf(text: string): number | undefined {
  const match = STAMP.exec(text)
  if (match === null) return undefined
  const [, year, month, day, hour, minute, second, fraction = '', zone = ''] = match
  const offset = /^([+-])(\d\d)(?::?(\d\d))?$/u.exec(zone)
  const utc = zone === 'UTC' || zone === 'GMT' || zone === 'Z'
  if (!utc && offset === null) return undefined
  const east =
    offset === null
      ? 0
      : (offset[1] === '-' ? -1 : 1) * (Number(offset[2]) * 60 + Number(offset[3] ?? 0)) * 60_000
  const local = Date.UTC(
    Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second),
    Number(fraction.slice(0, 3).padEnd(3, '0')),
  ) // prettier-ignore
  return local - east
}

// what was done

/** An action as it is sent; see `ActionReport` of the client. */
export type SeenAction = Readonly<{
  id: string
  action: string
  at?: string
  outcome: 'succeeded' | 'failed' | 'unknown'
  role?: string
  application_name?: string
  detail: Readonly<Record<string, string | number>>
}>

/** A role that some installation of Writ made. */
const ISSUED = /^writ_[0-9a-f]{8}_[a-z0-9_]{1,50}$/u
const LABEL = /^writ grant_[0-9a-z]{1,60}$/u
const STATEMENT = /^(?:duration: (\d+(?:\.\d+)?) ms {2})?(?:statement|execute [^:\n]{0,80}): ([^]*)$/u
const NAME = /^[!-~](?:[ -~]{0,61}[!-~])?$/u

/**
 * What a line says was done, or `undefined` for a line that says nothing of the kind or is not by anybody Writ knows:
 * a role it made, a session labelled with a grant, or one of `accounts`, which are lifted.
 */
export function actionOf(line: LogLine, accounts: ReadonlySet<string>): SeenAction | undefined {
  const { user, application } = line
  if (!ISSUED.test(user) && !LABEL.test(application) && !accounts.has(user)) return undefined
  const what = deedOf(line)
  if (what === undefined) return undefined
  const { action, outcome, detail } = what
  return {
    id: `${line.session}/${line.line}/${line.digest.slice(0, 16)}`,
    action,
    ...(line.at === undefined ? {} : { at: new Date(line.at).toISOString() }),
    outcome,
    ...(NAME.test(user) ? { role: user } : { role: `digest:${sha(user).slice(0, 16)}` }),
    ...(NAME.test(application) ? { application_name: application } : {}),
    detail: {
      session: line.session,
      line: line.line,
      ...(NAME.test(line.database) ? { database: line.database } : {}),
      ...detail,
    },
  }
}

type Deed = Pick<SeenAction, 'action' | 'outcome' | 'detail'>

function deedOf(line: LogLine): Deed | undefined {
  const { severity, message, state } = line
  const code = /^[0-9A-Z]{5}$/u.test(state) ? state : ''
  if (severity === 'ERROR' || severity === 'FATAL' || severity === 'PANIC') {
    if (code.startsWith('57P'))
      return { action: 'session:close', outcome: 'succeeded', detail: { sql_state: code } }
    if (severity === 'FATAL' && line.statement === '')
      return { action: 'session:open', outcome: 'failed', detail: { sql_state: code } }
    // what failed may be what somebody mistyped: not even its words are kept
    const { tag } = reduceSql(line.statement)
    return { action: `sql:${tag}`, outcome: 'failed', detail: { sql_state: code } }
  }
  if (severity !== 'LOG') return undefined
  if (message.startsWith('connection authorized:'))
    return { action: 'session:open', outcome: 'succeeded', detail: {} }
  if (message.startsWith('disconnection:'))
    return { action: 'session:close', outcome: 'succeeded', detail: {} }
  const match = STATEMENT.exec(message)
  if (match === null) return undefined
  const [, duration, sql = ''] = match
  const { tag, text, digest, statements } = reduceSql(sql)
  return {
    action: `sql:${tag}`,
    // without its duration it was logged before it ran
    outcome: duration === undefined ? 'unknown' : 'succeeded',
    detail: {
      ...(duration === undefined ? {} : { duration_ms: Number(duration) }),
      ...(statements > 1 ? { statements } : {}),
      ...(text === undefined ? {} : { statement: text }),
      ...(digest === undefined ? {} : { digest }),
    },
  }
}

const TEXT_MOST = 1_000

const commands = new Set(
  `SELECT INSERT UPDATE DELETE MERGE WITH VALUES TABLE CREATE ALTER DROP TRUNCATE COMMENT GRANT REVOKE COPY BEGIN START
  COMMIT END ROLLBACK ABORT SAVEPOINT RELEASE PREPARE EXECUTE DEALLOCATE DECLARE FETCH MOVE CLOSE LISTEN NOTIFY UNLISTEN
  LOAD LOCK SET RESET SHOW DISCARD DO CALL EXPLAIN ANALYZE VACUUM CLUSTER REINDEX REFRESH CHECKPOINT REASSIGN SECURITY
  IMPORT`.split(/\s+/u),
)
const objects = new Set(
  `TABLE INDEX VIEW SEQUENCE SCHEMA ROLE USER GROUP DATABASE FUNCTION PROCEDURE ROUTINE TRIGGER TYPE DOMAIN EXTENSION
  POLICY PUBLICATION SUBSCRIPTION SERVER FOREIGN MATERIALIZED AGGREGATE CAST COLLATION CONVERSION OPERATOR RULE
  STATISTICS TABLESPACE TEXT LANGUAGE EVENT ACCESS DEFAULT SYSTEM OWNED TRANSFORM LARGE PRIVILEGES`.split(
    /\s+/u,
  ),
)
const fillers = new Set('OR REPLACE TEMP TEMPORARY UNIQUE UNLOGGED GLOBAL LOCAL RECURSIVE TRUSTED'.split(' '))

/**
 * A statement without anything that may be a value: literals, numbers and what settings are set to become `?`, comments go.
 * `text` is missing where that cannot be told for certain: an end that is not there, a backslash that means one thing in
 * one session and another in the next, or what is no statement at all.
 */
export function reduceSql(sql: string): { tag: string; text?: string; digest?: string; statements: number } {
  const { tokens, sure } = tokenise(sql)
  const statements: string[][] = [[]]
  for (const token of tokens) {
    if (token === ';') statements.push([])
    else (statements.at(-1) as string[]).push(token)
  }
  const some = statements.filter((one) => one.some((token) => token !== ' '))
  const tags = some.map(tagOf)
  const tag = tags[0] ?? 'OTHER'
  if (!sure || some.length === 0 || tags.includes('OTHER')) return { tag, statements: some.length }
  const text = some
    .map((one) => withoutSettings(one).join('').trim())
    .join('; ')
    .replaceAll(/\?(?:\s*,\s*\?)+/gu, '?, …')
  const digest = `sha256:${sha(text)}`
  const shown = text.length > TEXT_MOST ? `${text.slice(0, TEXT_MOST).toWellFormed()}…` : text
  return { tag, text: shown, digest, statements: some.length }
}

function tokenise(sql: string): { tokens: string[]; sure: boolean } {
  const tokens: string[] = []
  let sure = true
  let at = 0
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at
    const found = pattern.exec(sql)?.[0]
    if (found !== undefined) at += found.length
    return found
  }
  while (at < sql.length) {
    if (take(/\s+/uy) !== undefined || take(/--[^\n]*/uy) !== undefined) {
      if (tokens.at(-1) !== ' ') tokens.push(' ')
      continue
    }
    if (sql.startsWith('/*', at)) {
      const end = endOfComment(sql, at)
      sure &&= end !== -1
      at = end === -1 ? sql.length : end
      if (tokens.at(-1) !== ' ') tokens.push(' ')
      continue
    }
    if (take(/[eE]'(?:[^'\\]|\\[^]|'')*'/uy) !== undefined) {
      tokens.push('?')
      continue
    }
    const string = take(/(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*'/uy)
    if (string !== undefined) {
      // with `standard_conforming_strings` off this quote would not be the last
      if (string.includes('\\')) sure = false
      tokens.push('?')
      continue
    }
    const dollar = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/uy
    dollar.lastIndex = at
    const opening = dollar.exec(sql)?.[0]
    if (opening !== undefined) {
      const end = sql.indexOf(opening, at + opening.length)
      sure &&= end !== -1
      at = end === -1 ? sql.length : end + opening.length
      tokens.push('?')
      continue
    }
    const parameter = take(/\$\d+/uy)
    if (parameter !== undefined) {
      tokens.push(parameter)
      continue
    }
    if (take(/(?:\d|\.\d)[\w.]*/uy) !== undefined) {
      tokens.push('?')
      continue
    }
    const word = take(/[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/uy)
    if (word !== undefined) {
      // right behind a value: a quote that is missing somewhere has turned inside out what is one
      if (tokens.at(-1) === '?') sure = false
      tokens.push(word)
      continue
    }
    const quoted = take(/(?:[uU]&)?"(?:[^"]|"")*"/uy)
    if (quoted !== undefined) {
      tokens.push(/^"[\w$ .-]{1,63}"$/u.test(quoted) ? quoted : '?')
      continue
    }
    const other = String.fromCodePoint(sql.codePointAt(at) as number)
    // a quote here is one that never ends
    if (other === "'" || other === '"' || /\p{C}/u.test(other)) sure = false
    tokens.push(other)
    at += other.length
  }
  return { tokens, sure }
}

/** Comments nest. */
function endOfComment(sql: string, start: number): number {
  let depth = 0
  for (const { 0: mark, index } of sql.slice(start).matchAll(/\/\*|\*\//gu)) {
    depth += mark === '/*' ? 1 : -1
    if (depth === 0) return start + index + 2
  }
  return -1
}

const isWord = (token: string): boolean => /^[A-Za-z_\u0080-\uffff]/u.test(token)

function tagOf(tokens: readonly string[]): string {
  const words = tokens.filter(isWord).map((word) => word.toUpperCase())
  const [first = '', ...rest] = words
  if (tokens.find((token) => token !== ' ' && token !== '(')?.toUpperCase() !== first) return 'OTHER'
  if (!commands.has(first)) return 'OTHER'
  if (first !== 'CREATE' && first !== 'ALTER' && first !== 'DROP') return first
  const object = rest.slice(0, 4).find((word) => !fillers.has(word))
  return object !== undefined && objects.has(object) ? `${first} ${object}` : first
}

/** What a setting is set to may be a bare word, and a secret. */
function withoutSettings(tokens: readonly string[]): readonly string[] {
  const first = tokens.find(isWord)?.toUpperCase() ?? ''
  if (!['SET', 'ALTER', 'CREATE'].includes(first)) return tokens
  let set = -1
  for (const [at, token] of tokens.entries()) {
    if (token.toUpperCase() === 'SET' && set === -1) set = at
    if (set !== -1 && at > set && (token === '=' || token.toUpperCase() === 'TO'))
      return [...tokens.slice(0, at + 1), ' ', '?']
  }
  return tokens
}

const sha = (text: string): string => createHash('sha256').update(text).digest('hex')
