/**
 * A proof, told: who did what with which authority, and why, as sentences. Every word comes from a proven entry.
 *
 * @module
 */
import { refKey } from '../model/entity.ts'
import type { Task } from '../model/task.ts'
import { formatDuration, toRfc3339 } from '../model/time.ts'
import type { Proven, ProvenRecord } from './bundle.ts'
import type { Life, Lives } from './rules.ts'
import { attemptOf, endsAtAt, every, first, livesOf } from './rules.ts'

type Members = Readonly<Record<string, unknown>>

const at = (proven: Proven): string => toRfc3339(proven.at)
const say = (value: unknown): string =>
  typeof value === 'string' ? value : typeof value === 'number' ? String(value) : '?'
const members = (value: unknown): Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : {}
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
const names = (value: unknown): string => list(value).map(say).join(', ')
const quoted = (value: unknown): string => `“${say(value)}”`

/** Lines for a person; indented lines belong to the one above. */
export function tell(record: ProvenRecord): readonly string[] {
  const lives = livesOf(record.entries)
  const lines: string[] = []
  if (record.entries.some(({ entry }) => entry['dev'] === true))
    lines.push('This is the record of a development server: nobody was protected by it.')
  lines.push(...record.entries.flatMap((one) => tellWho(one, record)))
  for (const life of lives.tasks.values()) lines.push(...tellTask(life))
  for (const life of lives.requests.values()) lines.push(...tellRequest(life))
  for (const life of lives.grants.values()) lines.push(...tellGrant(life, lives, record))
  for (const [id, decision] of lives.decisions) {
    const grant = decision.entry['grant']
    // those under a grant are told with it
    if (decision.entry['outcome'] === 'permit' && typeof grant === 'string' && lives.grants.has(grant))
      continue
    lines.push(tellDecision(id, decision), ...grounds(decision, record))
  }
  for (const one of record.entries) if (one.kind === 'token.issued') lines.push(...tellToken(one, record))
  lines.push(...tellReviews(record, lives))
  return lines
}

/** Whose account is whose, and who let whom act for them. */
function tellWho(one: Proven, { entries }: ProvenRecord): string[] {
  const { entry, kind } = one
  if (kind === 'account.linked') {
    return [
      `Account ${say(entry['account'])} at \`${say(entry['issuer'])}\` is ${say(entry['person'])}: linked at ${at(one)} by ${say(entry['by'])}`,
    ]
  }
  if (kind !== 'delegation.made') return []
  const revoked = entries.find(
    (other) => other.kind === 'delegation.revoked' && other.entry['delegation'] === entry['delegation'],
  )
  const why = entry['reason'] === undefined ? '' : `, because ${quoted(entry['reason'])}`
  const bounds = (member: string): string => names(entry[member]) || 'anything'
  return [
    `Delegation ${say(entry['delegation'])}: ${say(entry['delegator'])} let ${say(entry['actor'])} act for them from ${at(one)} to ${ends(entry)}${why}`,
    `  for ${bounds('actions')} on ${bounds('resources')}, made by ${say(entry['by'])}`,
    revoked === undefined
      ? '  and is not shown to have been taken back'
      : `  and was taken back at ${at(revoked)}: ${ending('revoked', revoked.entry)}`,
  ]
}

const ends = (entry: Members): string =>
  typeof entry['ends_at'] === 'number' ? toRfc3339(entry['ends_at']) : '?'

/** For whom, by which proofs, by which decisions, and what became of it. */
function tellToken(one: Proven, { entries }: ProvenRecord): string[] {
  const { entry } = one
  const id = say(entry['token'])
  const [actor = '?', ...behind] = list(entry['chain']).map(say)
  const scope = [...list(entry['scope']).map(say), ...list(entry['details']).map(detailOf)].join(', ')
  const under = [...list(entry['grants']), ...list(entry['tasks'])].map(say)
  const parents = list(entry['parents']).map(say)
  const later = entries.filter(({ entry: other, kind }) => kind !== 'token.issued' && other['token'] === id)
  return [
    `Token ${id} for ${say(entry['audience'])}${scope === '' ? '' : ` (${scope})`} was issued to ${actor}${
      behind.length === 0 ? '' : `, acting for ${behind.join(', then ')}`
    } at ${at(one)}, to end at ${ends(entry)}`,
    ...list(entry['proofs']).map(members).map(tellProof),
    ...(list(entry['decisions']).length === 0 ? [] : [`  by ${names(entry['decisions'])}`]),
    ...(under.length === 0 ? [] : [`  worth something only while ${under.join(', ')} live`]),
    ...(parents.length === 0 ? [] : [`  exchanged for ${parents.join(', ')}`]),
    entry['jkt'] === undefined
      ? '  bound to no key: whoever had it could use it'
      : `  bound to the key ${say(entry['jkt'])}`,
    ...later.map((other) => {
      const by = other.entry['by'] === undefined ? '' : ` by ${say(other.entry['by'])}`
      return `  ${other.kind.slice('token.'.length)} at ${at(other)}${by}`
    }),
  ]
}

function detailOf(value: unknown): string {
  const { action, resource } = members(value)
  const { type, id } = members(resource)
  return `${say(action)} on ${say(type)}/${say(id)}`
}

/** What was proved of one party, and by whom. */
function tellProof(proof: Members): string {
  const { issuer, client, token, jti } = proof
  const workload = Object.entries(members(proof['workload'])).filter(([name]) => name !== 'issuer')
  const how =
    issuer !== undefined
      ? `the issuer \`${say(issuer)}\`${jti === undefined ? '' : ` in its token ${say(jti)}`}`
      : token !== undefined
        ? `the token ${say(token)}`
        : `its own key, as client ${say(client)}`
  const said = workload.map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(', ')
  const who = names(proof['chain'])
  return `  ${who} was proved by ${how}${said === '' ? '' : `: ${said}`}${setGoing([proof['instigator']])}`
}

/** `; set going by account 31415 at \`github\``. */
function setGoing(instigators: readonly unknown[]): string {
  const who = instigators
    .map(members)
    .flatMap(({ issuer, type, id }) =>
      id === undefined
        ? []
        : [issuer === undefined ? `${say(type)}/${say(id)}` : `account ${say(id)} at \`${say(issuer)}\``],
    )
  return who.length === 0 ? '' : `; set going by ${who.join(' and ')}`
}

function tellTask(life: Life): string[] {
  const declared = first(life, 'task.declared')
  if (declared === undefined) return [`Task ${life.id}.`]
  const task = members(declared.entry['declared']) as Partial<Task>
  const ended = first(life, 'task.ended')
  const why = task.reason === undefined ? '' : `, because ${quoted(task.reason)}`
  const ticket = task.ticket === undefined ? '' : `, ticket ${task.ticket}`
  const by = task.declaredBy === undefined ? say(declared.entry['by']) : refKey(task.declaredBy)
  const resources = (task.scope?.resources ?? []).map(({ type, id }) =>
    id === undefined ? `any ${type}` : `${type}/${id}`,
  )
  return [
    `Task ${life.id} ${quoted(task.purpose)} of ${task.subject === undefined ? '?' : refKey(task.subject)}${
      task.parent === undefined ? '' : ` under ${task.parent}`
    } was declared by ${by} at ${at(declared)}${why}${ticket}`,
    `  for ${names(task.scope?.actions)} on ${resources.join(', ')}${task.life === undefined ? '' : `, at most ${formatDuration(task.life)}`}`,
    ...every(life, 'task.narrowed').map((one) => {
      const { startsAt, endsAt } = members(one.entry['window'])
      return `  narrowed to ${toRfc3339(Number(startsAt))} to ${toRfc3339(Number(endsAt))} at ${at(one)} by ${say(one.entry['by'])}`
    }),
    ended === undefined
      ? '  and is not shown to have ended'
      : `  and ended at ${at(ended)}: ${ending(ended.entry['state'], ended.entry)}`,
  ]
}

function tellRequest(life: Life): string[] {
  const submitted = first(life, 'request.submitted')
  if (submitted === undefined) return [`Request ${life.id}.`]
  const statement = members(submitted.entry['statement'])
  const why = statement['justification'] === undefined ? '' : `: ${quoted(statement['justification'])}`
  return [
    `Request ${life.id} asked at ${at(submitted)} for this statement, ${say(submitted.entry['digest'])}${why}`,
    ...every(life, 'approval.given').map((given) => {
      const comment = given.entry['comment'] === undefined ? '' : `: ${quoted(given.entry['comment'])}`
      return `  approved by ${say(given.entry['by'])} for \`${say(given.entry['pool'])}\` at ${at(given)}${comment}`
    }),
    ...every(life, 'reauth.given').map(
      (given) => `  ${say(given.entry['person'])} proved with a passkey at ${at(given)} that it is them`,
    ),
    ...every(life, 'request.denied').map(
      (denied) => `  denied by ${say(denied.entry['by'])} at ${at(denied)}: ${say(denied.entry['reason'])}`,
    ),
    ...every(life, 'request.ended').map(
      (ended) => `  ${say(ended.entry['status'])} at ${at(ended)}: ${say(ended.entry['reason'])}`,
    ),
  ]
}

function tellGrant(life: Life, lives: Lives, record: ProvenRecord): string[] {
  const activated = first(life, 'grant.activated')
  if (activated === undefined) return [`Grant ${life.id}.`]
  const decisionId = say(activated.entry['decision'])
  const decision = lives.decisions.get(decisionId)
  const attempt = decision && attemptOf(decision.entry)
  const what =
    attempt === undefined
      ? ''
      : `: ${refKey(attempt.subject)} might do ${attempt.action.name} on ${refKey(attempt.resource)}`
  const endsAt = endsAtAt(life, Infinity)
  const most = activated.entry['uses']
  const uses = most === undefined ? '' : `, ${say(most)} ${most === 1 ? 'use' : 'uses'}`
  const approvals = list(activated.entry['approvals']).map(members)
  const ended = first(life, 'grant.ended')
  const closed = first(life, 'grant.closed')
  const permits = [...lives.decisions.values()].filter(
    ({ entry }) => entry['outcome'] === 'permit' && entry['grant'] === life.id,
  )
  const credentials = [...lives.credentials.values()].filter(({ entries }) =>
    entries.some(({ refs }) => refs.includes(life.id)),
  )
  return [
    `Grant ${life.id}${what}, from ${at(activated)} to ${endsAt === undefined ? '?' : toRfc3339(endsAt)}${uses}`,
    approvals.length === 0
      ? '  on no approval'
      : `  because ${approvals.map(({ root, pool }) => `${say(root)} (\`${say(pool)}\`)`).join(' and ')} approved ${say(activated.entry['request'])}`,
    ...(decision === undefined
      ? []
      : [`  by decision ${decisionId}${behind(decision.entry)}`, ...grounds(decision, record)]),
    ...every(life, 'grant.shortened').map(
      (one) =>
        `  shortened to ${toRfc3339(Number(one.entry['ends_at']))} at ${at(one)}: ${say(one.entry['reason'])}`,
    ),
    ...permits.map(({ entry, seq, at: when }) => {
      const did = attemptOf(entry)
      const use =
        did === undefined ? '?' : `${refKey(did.subject)} ${did.action.name} ${refKey(did.resource)}`
      const spent = entry['grant_used']
      const which = spent === 0 ? 'which made the grant' : `use ${say(spent)}`
      return `  permitted: ${use} at ${toRfc3339(when)}, ${which} (entry ${seq})`
    }),
    ...credentials.flatMap(tellCredential),
    ...tellActions(record, [life.id, ...credentials.map(({ id }) => id)]),
    ended === undefined
      ? '  and is not shown to have ended'
      : `  and ended at ${at(ended)}: ${ending(ended.entry['end'], ended.entry)}${
          closed === undefined ? '' : `; closed at ${at(closed)}, nothing of it left`
        }`,
  ]
}

/** `completed, by key:…`, `revoked (key leaked), by Person/ada`. */
function ending(how: unknown, { reason, by }: Proven['entry']): string {
  const why = reason === undefined || reason === how ? '' : ` (${say(reason)})`
  return `${say(how)}${why}, by ${say(by)}`
}

/** For whom it was tried, under what delegation, and who set it going. */
function behind(entry: Members): string {
  const { chain = [], delegation } = attemptOf(entry) ?? {}
  const [, ...others] = chain
  const unknown =
    entry['unresolved'] === true ? ', and not everybody behind it is known: no approval counts' : ''
  return `${others.length === 0 ? '' : `, for ${others.map(refKey).join(', then ')}`}${
    delegation === undefined ? '' : ` under ${delegation}`
  }${setGoing(list(entry['instigators']))}${unknown}`
}

/** Which rules decided, and what they were given. */
function grounds({ entry, seq }: Proven, record: ProvenRecord): string[] {
  const policy = say(entry['policy'])
  const published = record.entries.findLast((one) => one.kind === 'policy.published' && one.seq < seq)
  const agreed =
    published === undefined ? '' : `, published at ${at(published)} by ${names(published.entry['agreed_by'])}`
  const times = members(entry['facts_at'])
  const facts = Object.entries(members(entry['facts'])).map(
    ([name, value]) =>
      `${name} = ${JSON.stringify(value)}${typeof times[name] === 'number' ? ` (${toRfc3339(times[name])})` : ''}`,
  )
  // what only one party was evaluated with: its device, its session, its risk
  for (const [party, theirs] of Object.entries(members(entry['facts_of']))) {
    for (const [name, value] of Object.entries(members(theirs)))
      facts.push(`${name} of ${say(party)} = ${JSON.stringify(value)}`)
  }
  return [
    `    rules: ${names(entry['determining']) || 'none'}; policy ${policy.slice(0, 12)}${agreed}`,
    ...(facts.length === 0 ? [] : [`    facts: ${facts.join('; ')}`]),
    ...(list(entry['unknown']).length === 0 ? [] : [`    unknown: ${names(entry['unknown'])}`]),
  ]
}

function tellCredential(life: Life): string[] {
  const planned = first(life, 'credential.planned')
  const live = first(life, 'credential.live')
  const absent = first(life, 'credential.absent')
  const unresolved = life.entries.findLast(({ kind }) => kind === 'credential.unresolved')
  const target = say((planned ?? live)?.entry['target'])
  const parts = [
    ...(planned === undefined ? [] : [`planned at ${at(planned)} as ${say(planned.entry['name'])}`]),
    ...(live === undefined ? ['never handed out'] : [`handed out at ${at(live)}`]),
    ...(absent !== undefined
      ? [`verified absent at ${at(absent)}`]
      : unresolved !== undefined
        ? [`unresolved since ${at(unresolved)}: ${say(unresolved.entry['problem'])}`]
        : ['not shown to be gone']),
  ]
  return [`  credential ${life.id} at ${target}: ${parts.join(', ')}`]
}

function tellActions({ entries }: ProvenRecord, of: readonly string[]): string[] {
  return entries
    .filter(({ kind, refs }) => kind.startsWith('action.') && refs.some((ref) => of.includes(ref)))
    .map((one) => {
      const { entry, kind } = one
      const outside =
        list(entry['outside']).length === 0 ? '' : `, OUTSIDE the grant (${names(entry['outside'])})`
      const did = [entry['action'], entry['resource']]
        .filter((part) => typeof part === 'string')
        .map(say)
        .join(' on ')
      return `  ${kind.slice('action.'.length)}: ${did || say(entry['id'])} at ${at(one)}${outside} (entry ${one.seq})`
    })
}

function tellDecision(id: string, decision: Proven): string {
  const { entry } = decision
  const attempt = attemptOf(entry)
  const who =
    attempt === undefined
      ? ''
      : ` to ${refKey(attempt.subject)}: ${attempt.action.name} on ${refKey(attempt.resource)}`
  return `Decision ${id}: ${say(entry['outcome'])}${who} at ${at(decision)} (${say(entry['reason'])})${behind(entry)}`
}

function tellReviews({ entries }: ProvenRecord, lives: Lives): string[] {
  const owed = [...lives.decisions].flatMap(([id, { entry }]) => {
    const review = members(entry['obligations'])['review']
    return typeof review === 'number' && entry['outcome'] === 'permit'
      ? [`A review of ${id} is owed within ${formatDuration(review)}.`]
      : []
  })
  const done = entries
    .filter(({ kind }) => kind.startsWith('review.'))
    .map((one) => `${one.kind} at ${at(one)} by ${say(one.entry['by'])} (entry ${one.seq})`)
  return [...owed, ...done]
}
