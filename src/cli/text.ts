/**
 * Words for people: times, durations, text that others wrote.
 *
 * @module
 */

// C0 and C1 controls, DEL, line separators, and marks that turn the reading direction round
const unsafe = /[\u0000-\u001F\u007F-\u009F\u2028\u2029\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/gu

/** On one line and without what could move the cursor, colour the terminal or reorder what is read (B24, B69). */
export function plain(text: string): string {
  return text.replaceAll(unsafe, (char) => (char === '\n' || char === '\t' || char === '\r' ? ' ' : '\uFFFD'))
}

/** The same as `\u…`, for JSON and what else has such characters inside quotes only; ends of lines stay. */
export function escaped(text: string): string {
  return text.replaceAll(unsafe, (char) =>
    char === '\n' ? char : `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** The same, but lines stay lines. */
export function plainLines(text: string): string {
  return text.split(/\r?\n/u).map(plain).join('\n')
}

/** One word of a command that people copy into a shell, whatever is in it; `…` for what an option would be read as. */
export function shellWord(text: string): string {
  const shown = plain(text)
  if (/^[\w@+:,./][\w@+=:,./-]*$/u.test(shown)) return shown
  return shown.startsWith('-') ? '…' : `'${shown.replaceAll("'", String.raw`'\''`)}'`
}

/** The beginning of a text where all of it does not fit; `most` 0 fits everything. */
export function fitting(text: string, most: number): string {
  return most > 0 && text.length > most ? `${text.slice(0, Math.max(0, most - 1))}…` : text
}

/** `4:51`, `1:02:03`: what is left, never negative. */
export function countdown(millis: number): string {
  const seconds = Math.max(0, Math.ceil(millis / 1_000))
  const [h, m, s] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60]
  const two = (n: number): string => String(n).padStart(2, '0')
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`
}

/** `1 entry`, `12 entries`. */
export function counted(n: number, one: string, many: string): string {
  return `${n.toLocaleString('en')} ${n === 1 ? one : many}`
}

/** `0.1 s`, `12 s`, `3 min`, `12 h`. */
export function took(millis: number): string {
  if (millis < 10_000) return `${(millis / 1_000).toFixed(1)} s`
  if (millis < 120_000) return `${Math.round(millis / 1_000)} s`
  return millis < 7_200_000 ? `${Math.round(millis / 60_000)} min` : `${Math.round(millis / 3_600_000)} h`
}

/** `in 4:51`, `12 s ago`: for what is happening now; else the instant in UTC. */
export function when(instant: string | undefined, now: number): string {
  if (instant === undefined) return ''
  const at = Date.parse(instant)
  if (!Number.isFinite(at)) return plain(instant)
  const away = at - now
  if (away > 0 && away < 3_600_000) return `in ${countdown(away)}`
  if (away <= 0 && away > -3_600_000) return `${took(-away)} ago`
  return instant.replace(/\.\d+Z$/u, 'Z')
}

type Requirement = Readonly<{ kind: string; pool?: string; count?: number; people?: readonly string[] }>

/** `one approval by dba`, `two approvals by dba`, `a reason`, `the passkey of Person/ada`. */
export function requirement({ kind, pool, count = 1, people }: Requirement): string {
  if (kind === 'justification') return 'a reason'
  if (kind === 'reauth') {
    const whose = people === undefined || people.length === 0 ? 'who asks' : people.map(plain).join(' and ')
    return `the passkey of ${whose}`
  }
  const number = ['no', 'one', 'two', 'three', 'four'][count] ?? String(count)
  return `${number} ${kind}${count === 1 ? '' : 's'}${pool === undefined ? '' : ` by ${plain(pool)}`}`
}

/** `one approval by dba and a reason`; alternatives are joined with `or`. */
export function requirements(
  alternatives: readonly Readonly<{ requirements: readonly Parameters<typeof requirement>[0][] }>[],
): string {
  return alternatives.map((set) => set.requirements.map(requirement).join(' and ')).join(', or ')
}

/** Where people prove with a passkey that it is them, if one of the alternatives asks them to. */
export function provingPlace(
  alternatives: readonly Readonly<{ requirements: readonly Requirement[] }>[],
  server: string,
  request: string,
): string | undefined {
  const isAsked = alternatives.some((set) => set.requirements.some(({ kind }) => kind === 'reauth'))
  return isAsked ? `${plain(server).replace(/\/$/u, '')}/requests/${plain(request)}/prove` : undefined
}

/** Why, in words; what is not listed is shown as it is. */
const reasonWords: Readonly<Record<string, string>> = {
  policy_denied: 'no policy permits it',
  unknown_facts: 'something that the policies need to know could not be observed',
  task_unknown: 'there is no such task',
  task_ended: 'its task has ended',
  task_scope: 'it lies outside what the task may do',
  task_limit: 'a limit of the task is spent',
  grant_unknown: 'there is no such grant',
  grant_ended: 'its grant has ended',
  grant_spent: 'its grant is spent',
  out_of_scope: 'the approval or the delegation was given for something else',
  approval_expired: 'the approval is spent or too old',
  approval_unverifiable: 'the approval cannot be verified',
  grant_pending: 'it still waits for approval',
  subject_locked: 'the subject is locked',
  locked: 'what it needs is locked',
  delegation: 'a delegator does not carry it',
  delegation_ended: 'its delegation has ended',
  forbidden_assertion: 'your token may not speak for this subject',
  changed: 'something has changed since',
  contended: 'too much happened at once; try again',
  clock_behind: 'the clock is behind the record, nothing widens',
  restored: 'a backup was put back: nothing widens until an administrator runs `writ audit acknowledge`',
  store_full: 'the disk is full, nothing widens',
  rate_limited: 'too many requests',
}

/** `its task has ended (task_ended)`. */
export function reasonOf(reason: string): string {
  const words = reasonWords[reason]
  return words === undefined ? plain(reason) : `${words} (${plain(reason)})`
}
