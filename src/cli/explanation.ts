/**
 * Decisions told to people: what was tried, the nearest rule clause by clause, what would change the answer and what
 * would not. Everything here came over the wire, so nothing of it is taken for granted.
 *
 * @module
 */
import { fitting, plain, reasonOf, requirements, shellWord } from './text.ts'

export type Members = Readonly<Record<string, unknown>>

type Style = 'green' | 'yellow' | 'red'

/** How it is shown: at most so many columns, 0 for as many as there are; styled where a person looks at a terminal. */
export type Telling = Readonly<{ columns?: number; style?: (style: Style, text: string) => string }>

/** Columns where nobody says how many there are. */
const COLUMNS = 100

export function record(value: unknown): Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : {}
}

const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
const word = (value: unknown): string =>
  typeof value === 'string' ? plain(value) : plain(JSON.stringify(value) ?? '')

/** The lines that `writ why` prints: all of it for who may see rules, else the decision and its remedies. */
export function describeDecision(
  entry: Members,
  explanation: Members | undefined,
  telling: Telling = {},
): string[] {
  const { style = (_, text) => text } = telling
  const outcome = word(entry['outcome'])
  const subject = record(record(entry['attempt'])['subject'])
  const colour = ({ permit: 'green', challenge: 'yellow' } as const)[outcome] ?? 'red'
  const parts = explanation === undefined ? undefined : rulesOf(explanation, entry, telling)
  return [
    [
      style(colour, outcome.toUpperCase()),
      word(entry['reason']),
      word(entry['id']),
      ...(entry['policy'] === undefined ? [] : [`policy set ${word(entry['policy']).slice(0, 12)}`]),
    ].join('  '),
    ...(subject['type'] === undefined ? [] : triedLines(entry, mattering(explanation), telling)),
    ...(typeof entry['at'] === 'number'
      ? [`at ${new Date(entry['at']).toISOString().replace(/\.\d+Z$/u, 'Z')}`]
      : []),
    ...behindOf(entry, telling),
    ...evidenceOf(record(entry['evidence'])),
    ...(parts?.rules ?? []),
    ...(outcome === 'permit' ? [] : remedies(entry, explanation, telling)),
    ...(parts?.forbids ?? []),
  ]
}

/** Which rules decided, and the nearest that did not, clause by clause. */
export function describeRules(explanation: Members, entry: Members, telling: Telling = {}): string[] {
  const { rules, forbids } = rulesOf(explanation, entry, telling)
  return [...rules, ...forbids]
}

/** Who tried what on which, for what task. */
function triedLines(entry: Members, attributes: string, telling: Telling): string[] {
  const attempt = record(entry['attempt'])
  const [subject, resource] = [record(attempt['subject']), record(attempt['resource'])]
  const line = `${named(subject)} → ${word(record(attempt['action'])['name'])} on ${named(resource)}${attributes}`
  if (attempt['task'] === undefined) return [line]
  const task = `for ${word(attempt['task'])}`
  return line.length + task.length + 3 <= mostOf(telling) ? [`${line}   ${task}`] : [line, `  ${task}`]
}

/** For whom it was tried, what was proved of who asked, and who set it going. */
function behindOf(entry: Members, telling: Telling): string[] {
  const attempt = record(entry['attempt'])
  const [, ...others] = list(attempt['chain']).map(record)
  const { delegation } = attempt
  const accounts = accountsOf(entry['instigators'])
  const { issuer, claims, ...workload } = record(record(entry['facts'])['workload'])
  const proved = [
    ...Object.entries(workload).map(([name, value]) => `${plain(name)} ${word(value)}`),
    ...list(claims).map(word),
  ]
  const links = accounts.flatMap(({ issuer: at, id }) =>
    at === undefined ? [] : [`\`writ accounts link ${id} --issuer ${at} --person …\``],
  )
  return [
    ...(others.length === 0
      ? []
      : [
          `for ${others.map(named).join(', then ')}${delegation === undefined ? '' : `, under ${word(delegation)}`}`,
        ]),
    ...(accounts.length === 0 ? [] : [`set going by ${accounts.map(({ text }) => text).join(' and ')}`]),
    ...(entry['unresolved'] === true
      ? [
          links.length === 0
            ? 'It is not known which person is behind it, and no approval counts: give it an owner in the inventory'
            : 'It is not known which person that is, and no approval counts; an administrator links the account:',
          ...links.map((link) => `  ${link}`),
        ]
      : []),
    ...(issuer === undefined ? [] : filled([`proved by issuer ${word(issuer)}:`, ...proved], telling)),
    ...Object.entries(record(entry['facts_of'])).flatMap(([party, facts]) => {
      const { score, contributions } = record(record(facts)['risk'])
      const parts = list(contributions).map((part) => plain(String(part)))
      return parts.length === 0
        ? []
        : filled([`risk ${plain(String(score))} of ${plain(party)}:`, ...parts], telling)
    }),
  ]
}

type Account = Readonly<{ text: string; issuer?: string; id?: string }>

const accountsOf = (value: unknown): Account[] =>
  list(value)
    .map(record)
    .map((one) =>
      one['issuer'] === undefined
        ? { text: named(one) }
        : {
            text: `account ${word(one['id'])} at ${word(one['issuer'])}`,
            issuer: word(one['issuer']),
            id: word(one['id']),
          },
    )

/** A lead and what follows it, in as many lines as it takes. */
export function filled(parts: readonly string[], telling: Telling): string[] {
  const most = mostOf(telling)
  const lines: string[] = []
  for (const [at, part] of parts.entries()) {
    const text = at === 0 || at === parts.length - 1 ? part : `${part},`
    const last = lines.at(-1)
    if (last === undefined) lines.push(text)
    else if (last.length + text.length + 1 <= most) lines[lines.length - 1] = `${last} ${text}`
    else lines.push(`  ${text}`)
  }
  return lines
}

/** What an entry says of the issue of a token, without its decisions. */
export function describeToken(entry: Members, telling: Telling = {}): string[] {
  const { style = (_, text) => text } = telling
  const [actor = '?', ...others] = list(entry['chain']).map(word)
  const scope = [
    ...list(entry['scope']).map(word),
    ...list(entry['details'])
      .map(record)
      .map((one) => `${word(one['action'])} on ${named(record(one['resource']))}`),
  ]
  const instant = (name: string): string =>
    typeof entry[name] === 'number' ? new Date(entry[name]).toISOString().replace(/\.\d+Z$/u, 'Z') : '?'
  const under = [...list(entry['grants']), ...list(entry['tasks'])].map(word)
  const parents = list(entry['parents']).map(word)
  return [
    `${style('green', 'TOKEN')}  ${word(entry['token'])}`,
    `${actor} → ${scope.length === 0 ? 'signing in' : scope.join(', ')} at ${word(entry['audience'])}`,
    `issued ${instant('at')}, ends ${instant('ends_at')}`,
    ...(others.length === 0 ? [] : [`for ${others.join(', then ')}`]),
    ...list(entry['proofs'])
      .map(record)
      .flatMap((proof) => proofLines(proof, telling)),
    entry['jkt'] === undefined ? 'bound to no key' : `bound to the key ${word(entry['jkt'])}`,
    ...(under.length === 0 ? [] : [`lives no longer than ${under.join(', ')}`]),
    ...(parents.length === 0 ? [] : [`exchanged for ${parents.join(', ')}`]),
  ]
}

/** What was proved of one party, and by whom. */
export function proofLines(proof: Members, telling: Telling): string[] {
  const { issuer, client, token, jti } = proof
  const workload = Object.entries(record(proof['workload'])).filter(
    ([name, value]) => name !== 'issuer' && value !== '',
  )
  const who = list(proof['chain']).map(word).join(', then ')
  const accounts = accountsOf(proof['instigator'] === undefined ? [] : [proof['instigator']])
  const how =
    issuer !== undefined
      ? `issuer ${word(issuer)}${jti === undefined ? '' : ` (${word(jti)})`}`
      : token !== undefined
        ? `token ${word(token)}`
        : `a key of client ${word(client)}`
  const lead = `${who} proved by ${how}${workload.length === 0 ? '' : ':'}`
  return [
    ...filled([lead, ...workload.map(([name, value]) => `${plain(name)} ${word(value)}`)], telling),
    ...accounts.map(({ text }) => `set going by ${text}`),
  ]
}

const mostOf = ({ columns = 0 }: Telling): number => (columns > 0 ? Math.min(columns, COLUMNS) : COLUMNS)

const named = (ref: Members): string => `${word(ref['type'])}/${word(ref['id'])}`

/** A value in a line: a record by its id, a long text by its beginning. */
function brief(value: unknown): string {
  const { id } = record(value)
  return typeof id === 'string' ? plain(id) : fitting(word(value), 48)
}

/** What was given, and by whom, where who asks may know. */
function evidenceOf(evidence: Members): string[] {
  const approvals = list(evidence['approvals'])
    .map(record)
    .map(({ root, pool }) => `approved by ${word(root)} as ${word(pool)}`)
  const request = evidence['request']
  if (approvals.length === 0) return []
  return [`${approvals.join(', ')}${request === undefined ? '' : ` (${word(request)})`}`]
}

const clausesOf = (rule: unknown): readonly Members[] => list(record(rule)['clauses']).map(record)
const rulesIn = (explanation: Members, member: 'nearest' | 'fired'): readonly Members[] =>
  list(explanation[member]).map(record)
const actualOf = (clause: Members): readonly Members[] => list(clause['actual']).map(record)
const inTheWay = (rule: Members): readonly Members[] =>
  clausesOf(rule).filter(({ status }) => status !== 'holds')

/** Attributes of the resource that the rules told of have read: ` (tier: gold)`. */
function mattering(explanation: Members | undefined): string {
  const read = new Map<string, string>()
  for (const rule of [...rulesIn(explanation ?? {}, 'fired'), ...rulesIn(explanation ?? {}, 'nearest')]) {
    for (const { path, value } of clausesOf(rule).flatMap(actualOf)) {
      const name = typeof path === 'string' ? /^resource\.(\w+)$/u.exec(path)?.[1] : undefined
      if (name !== undefined && value !== undefined && read.size < 3) read.set(name, brief(value))
    }
  }
  return read.size === 0 ? '' : ` (${[...read].map(([name, value]) => `${name}: ${value}`).join(', ')})`
}

const isEvidence = (clause: Members): boolean => {
  const { path } = record(clause['required'])
  const own = typeof path === 'string' && path.startsWith('context.proof.')
  return own || list(clause['any']).map(record).some(isEvidence)
}
const lacksEvidenceAlone = (rule: Members): boolean => inTheWay(rule).every(isEvidence)

const placeOf = (rule: Members): string =>
  `${word(rule['file'])}:${word(rule['line'])} "${word(rule['policy'])}"`

type Parts = Readonly<{ rules: readonly string[]; forbids: readonly string[] }>

function rulesOf(explanation: Members, entry: Members, telling: Telling): Parts {
  const most = mostOf(telling)
  if (Object.keys(explanation).length === 0) {
    const reason = entry['reason'] === undefined ? '' : `: ${reasonOf(word(entry['reason']))}`
    const line =
      entry['says'] === undefined
        ? `No policy was asked, it was settled before${reason}`
        : 'What it was decided on is not on the record any more.'
    return { rules: [line], forbids: [] }
  }
  const determining = list(explanation['determining']).map(record)
  if (entry['outcome'] === 'permit' || entry['says'] === 'permit') {
    const lead = entry['outcome'] === 'permit' ? 'Permitted by' : 'Policy alone would permit it'
    const lines = determining.map((rule) => `${lead}: ${placeOf(rule)}`)
    return { rules: lines, forbids: [] }
  }
  if (explanation['mismatch'] !== undefined)
    return { rules: [`No policy could apply: ${word(explanation['mismatch'])}`], forbids: [] }
  const near = rulesIn(explanation, 'nearest')
  // what can be asked for goes by a rule that lacks evidence alone: of those that are near it is told of first
  const [nearest, ...further] =
    list(entry['alternatives']).length === 0
      ? near
      : [...near.filter(lacksEvidenceAlone), ...near.filter((rule) => !lacksEvidenceAlone(rule))]
  const fired = rulesIn(explanation, 'fired')
  const { principal } = explanation
  const rules = [
    ...(principal === undefined ? [] : [`Not for ${word(principal)}, on whose behalf it was tried.`]),
    ...(nearest === undefined
      ? fired.length > 0
        ? []
        : ['No rule permits this action on this resource by this subject.']
      : [`Nearest rule: ${placeOf(nearest)}`, ...clauseLines(nearest, most)]),
    ...further.map((rule) => {
      const count = inTheWay(rule).length
      return fitting(`  also near: ${placeOf(rule)}, with ${count} in the way`, most)
    }),
  ]
  const forbids = fired.flatMap((rule) => [
    `Forbidden by: ${placeOf(rule)}`,
    ...clausesOf(rule)
      .flatMap(firing)
      .flatMap((clause) =>
        wrapped(`  ${clause['status'] === 'holds' ? '•' : markOf(clause)} ${toldOf(clause)}`, most, 4),
      ),
  ])
  return { rules, forbids: fired.length === 0 ? ['No forbid rule applies.'] : forbids }
}

/** The parts of a clause that made its forbid apply, where it has parts: those that did not are no reason for it. */
function firing(clause: Members): readonly Members[] {
  const parts = list(clause['any']).map(record)
  const sure = parts.filter(({ status }) => status === 'holds')
  if (sure.length > 0) return sure
  const open = parts.filter(({ status }) => status !== 'fails')
  return open.length > 0 ? open : [clause]
}

const marks: Readonly<Record<string, string>> = { holds: '✓', fails: '✗', errors: '!', unknown: '?' }
const markOf = ({ status }: Members): string => marks[word(status)] ?? '!'

/** What holds, several to a line; then what is in the way, one by one. */
function clauseLines(rule: Members, most: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const clause of clausesOf(rule).filter(({ status }) => status === 'holds')) {
    const text = fitting(`✓ ${asked(clause)}`, most - 2)
    if (line !== '' && line.length + text.length + 8 <= most) line += `      ${text}`
    else {
      if (line !== '') lines.push(`  ${line}`)
      line = text
    }
  }
  if (line !== '') lines.push(`  ${line}`)
  for (const clause of inTheWay(rule)) {
    const parts = list(clause['any']).map(record)
    const told = parts.length === 0 ? toldOf(clause) : parts.map(toldOf).join('  OR  ')
    lines.push(...wrapped(`  ${markOf(clause)} ${told}`, most, 4))
  }
  return lines
}

/** `amount ≤ 100 (is 180)`. */
function toldOf(clause: Members): string {
  const read = actualOf(clause)
  const required = record(clause['required'])
  const said = ({ path, value, unknown }: Members): string => {
    if (unknown === true) return 'unknown'
    if (value === undefined) return 'absent'
    const isProof = typeof path === 'string' && path.startsWith('context.proof.')
    return isProof && (value === 0 || value === false) ? 'none' : `is ${brief(value)}`
  }
  const [only] = read
  const actual =
    only === undefined
      ? ''
      : read.length === 1 && (required['path'] === only['path'] || required['path'] === undefined)
        ? required['path'] === undefined && !asked(clause).includes(shortened(word(only['path'])))
          ? ` (${shortened(word(only['path']))} ${said(only)})`
          : ` (${said(only)})`
        : ` (${read.map((one) => `${shortened(word(one['path']))} ${said(one)}`).join(', ')})`
  const message = clause['message'] === undefined ? '' : ` · ${word(clause['message'])}`
  return `${asked(clause)}${actual}${message}`
}

const REASON = 'context.proof.justification'

const operators: Readonly<Record<string, string>> = {
  '==': '=',
  '!=': '≠',
  '<': '<',
  '<=': '≤',
  '>': '>',
  '>=': '≥',
  contains: 'contains',
  'one of': 'is one of',
}

/** What a clause asks: a comparison in few signs, else as it is written. */
function asked(clause: Members): string {
  const { path, operator, value } = record(clause['required'])
  const sign = operators[word(operator)]
  if (typeof path === 'string' && sign !== undefined && value !== undefined) {
    const pool = /^context\.proof\.approvals\.(.+)$/u.exec(path)?.[1]
    if (pool !== undefined) return `approvals by ${plain(pool)} ${sign} ${brief(value)}`
    if (path === REASON)
      return (value === true) === (operator === '==') ? 'a reason given' : 'no reason given'
    return `${shortened(plain(path))} ${sign} ${brief(value)}`
  }
  const unless = clause['kind'] === 'unless'
  return `${unless ? 'unless ' : ''}${written(word(clause['text']))}`
}

/** Without the words that every path begins with. */
const shortened = (path: string): string =>
  path.replace(/^context\.(?:action_properties\.)?/u, '').replace(/^proof\./u, '')

/** A clause as it is written, on one line, its paths short and its operators as signs; quoted text stays. */
function written(text: string): string {
  return text
    .split(/("(?:[^"\\]|\\.)*")/u)
    .map((piece, at) =>
      at % 2 === 1
        ? piece
        : piece
            .replaceAll(/\s+/gu, ' ')
            .replaceAll(/\bcontext\.(?:action_properties\.)?(?=\w)/gu, '')
            .replaceAll(/\bproof\.(?=\w)/gu, '')
            .replaceAll('<=', '≤')
            .replaceAll('>=', '≥')
            .replaceAll('!=', '≠')
            .replaceAll('==', '='),
    )
    .join('')
    .trim()
}

/** What would change the answer, and what would not as far as that is known. */
function remedies(entry: Members, explanation: Members | undefined, telling: Telling): string[] {
  const most = mostOf(telling)
  const alternatives = list(entry['alternatives']) as Parameters<typeof requirements>[0]
  const changes = explanation === undefined ? [] : ownChanges(explanation)
  const ways = [
    ...changes.map((text) => ({ text, next: 'runs now' })),
    ...alternatives.map((one) => ({ text: requirements([one]), next: requestOf(entry, one) })),
  ]
  const cut = entry['truncated'] === true
  const lines: string[] = []
  if (ways.length === 0 && (explanation === undefined || entry['says'] === 'deny')) {
    const why = explanation === undefined ? `: ${reasonOf(word(entry['reason']))}` : '.'
    lines.push(
      ...(wantsTask(explanation ?? {}, entry)
        ? wrapped(`It wants a task: ${taskFor(entry)}`, most, 2)
        : [cut ? `No remedy was found, not everything was tried${why}` : `No remedy is known${why}`]),
    )
  }
  if (ways.length > 0) {
    lines.push(ways.length === 1 ? 'This would allow it:' : 'Any ONE would allow it:')
    const widest = Math.min(Math.max(...ways.map(({ text }) => text.length)), 40)
    for (const [at, { text, next }] of ways.entries()) {
      const lead = ways.length === 1 ? '  ' : `  ${String.fromCodePoint(97 + (at % 26))}) `
      const line = `${lead}${text.padEnd(widest)}  → ${next}`
      if (line.length <= most) lines.push(line)
      else lines.push(...wrapped(`${lead}${text}`, most, lead.length), `${' '.repeat(lead.length)}→ ${next}`)
    }
    if (cut) lines.push('  (the search was cut short: something else might do as well)')
  }
  const vain =
    explanation === undefined || entry['says'] !== 'deny' ? [] : inVain(explanation, entry, ways.length)
  return vain.length === 0 ? lines : [...lines, ...wrapped(`Would NOT help: ${vain.join(', ')}.`, most, 2)]
}

/** Paths that whoever asks fills in itself. */
const isOwn = (path: unknown): boolean =>
  typeof path === 'string' && /^context\.(?!live\b|proof\b)/u.test(path)

/** What the caller could change by itself, where nothing else is in the way of a near rule. */
function ownChanges(explanation: Members): string[] {
  if (rulesIn(explanation, 'fired').length > 0) return []
  const changes = rulesIn(explanation, 'nearest').flatMap((rule) => {
    const [only, ...others] = inTheWay(rule)
    if (only === undefined || others.length > 0 || only['status'] === 'unknown') return []
    const parts = list(only['any']).map(record)
    return (parts.length === 0 ? [only] : parts)
      .filter((part) => actualOf(part).length > 0 && actualOf(part).every(({ path }) => isOwn(path)))
      .map((part) => asked(part).replace(/^(?:context|action_properties) has [\w.]+ && /u, ''))
  })
  return [...new Set(changes)]
}

/** Whether a near rule wants a task where none was named. */
function wantsTask(explanation: Members, entry: Members): boolean {
  const missing = rulesIn(explanation, 'nearest').flatMap(inTheWay).flatMap(actualOf)
  return (
    record(entry['attempt'])['task'] === undefined &&
    rulesIn(explanation, 'fired').length === 0 &&
    missing.some(({ path, value }) => path === 'context.live.task' && value === undefined)
  )
}

function taskFor(entry: Members): string {
  const { action, resource } = record(entry['attempt'])
  const [name, on] = [word(record(action)['name']), named(record(resource))].map(shellWord)
  return `writ task start --purpose … --action ${name} --on ${on} --reason …`
}

/** How the evidence is asked for. */
function requestOf(entry: Members, alternative: Parameters<typeof requirements>[0][number]): string {
  const attempt = record(entry['attempt'])
  const action = record(attempt['action'])
  const filled = [action['properties'], attempt['context'], record(attempt['resource'])['properties']]
  if (filled.some((given) => Object.keys(record(given)).length > 0))
    return 'an access request for this attempt'
  const task = attempt['task'] === undefined ? '' : ` --task ${shellWord(word(attempt['task']))}`
  const reason = alternative.requirements.some(({ kind }) => kind === 'justification') ? ' --reason …' : ''
  const [name, on] = [word(action['name']), named(record(attempt['resource']))].map(shellWord)
  return `writ request ${name} --on ${on}${task}${reason}`
}

/** What is known not to change the answer. */
function inVain(explanation: Members, entry: Members, ways: number): string[] {
  const fired = rulesIn(explanation, 'fired')
  const rules = [...fired, ...rulesIn(explanation, 'nearest')]
  const clauses = rules.flatMap((rule) => (fired.includes(rule) ? clausesOf(rule) : inTheWay(rule)))
  const reads = (of: readonly Members[], begin: string): boolean =>
    of.flatMap(actualOf).some(({ path }) => typeof path === 'string' && path.startsWith(begin))
  const isSure = clauses.every(({ status }) => status === 'holds' || status === 'fails')
  const asksForProof = reads(fired.flatMap(clausesOf), 'context.proof')
  return [
    ...(isSure && explanation['cut'] !== true && !reads(clauses, 'context.live')
      ? ['retrying as it is']
      : []),
    'a longer ttl',
    ...(fired.length > 0 && !asksForProof ? ['any approval: the forbid rule asks for none'] : []),
    ...(fired.length === 0 && ways === 0 && entry['truncated'] !== true
      ? ['any approval or reason that could be given now']
      : []),
  ]
}

/** Broken at spaces where it is too long, further lines indented. */
function wrapped(text: string, most: number, indent: number): string[] {
  const lines: string[] = []
  let rest = text
  while (rest.length > most) {
    const at = rest.lastIndexOf(' ', most)
    if (at <= indent) break
    lines.push(rest.slice(0, at).trimEnd())
    rest = `${' '.repeat(indent)}${rest.slice(at).trimStart()}`
  }
  return [...lines, rest]
}
