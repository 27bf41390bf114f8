/**
 * `writ can-i` and `writ why`: what would happen, and why it did.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Properties, Writ } from '../../../client/src/index.ts'
import { isWritClientError } from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { authorityAt } from './authority.ts'
import { instantOf } from '../times.ts'
import { CliError, exit, usage } from '../exit.ts'
import { plain, reasonOf, requirements } from '../text.ts'

export type CanOptions = Readonly<{ as?: string; task?: string; context?: string; contextFile?: string }>

/** A question: it consumes nothing and authorises nothing. 0 for yes, 5 for no. */
export async function canI(
  context: Context,
  action: string,
  resource: string,
  options: CanOptions,
): Promise<number> {
  const given = contextOf(context, options)
  const answer = await context.writ.ask({
    ...(options.as === undefined ? {} : { subject: options.as }),
    action,
    resource,
    ...(given === undefined ? {} : { context: given }),
  })
  const { outcome } = answer
  context.print(
    {
      item: {
        outcome,
        reason: answer.reason,
        ...(outcome === 'challenge'
          ? { alternatives: answer.alternatives, truncated: answer.truncated }
          : {}),
        ...(outcome === 'deny' ? { next_action: answer.nextAction } : {}),
      },
    },
    {
      lines: [
        outcome === 'permit'
          ? context.io.styleOut('green', 'yes')
          : outcome === 'challenge'
            ? `${context.io.styleOut('yellow', 'not yet')}: needs ${requirements(answer.alternatives)}${answer.truncated ? ' (or something else: the search was cut short)' : ''}`
            : `${context.io.styleOut('red', 'no')}: ${reasonOf(answer.reason)}`,
      ],
    },
  )
  if (outcome === 'deny' && answer.reason === 'policy_denied' && given?.['task'] === undefined) {
    // the server says no more to who may not read policies; this is said whatever they are
    context.note(
      'info',
      'asked without a task · many actions want one: give --task, or let `writ run` or `writ task start` declare it',
    )
  }
  return outcome === 'permit' ? exit.ok : exit.denied
}

function contextOf(context: Context, options: CanOptions): Properties | undefined {
  const { task, contextFile } = options
  const text =
    contextFile === undefined ? options.context : readFileSync(resolve(context.io.cwd, contextFile), 'utf8')
  let parsed: unknown = {}
  if (text !== undefined) {
    try {
      parsed = JSON.parse(text)
    } catch (error) {
      throw usage(`the context is not JSON: ${error instanceof Error ? error.message : ''}`)
    }
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
      throw usage('the context is not a JSON object')
  }
  const all = { ...(parsed as Properties), ...(task === undefined ? {} : { task }) }
  return Object.keys(all).length === 0 ? undefined : all
}

export type WhyOptions = Readonly<{ subject?: string; at?: string }>

/** Why a decision fell as it did: rules and values for operators, what is missing for requesters. */
export async function why(context: Context, id: string | undefined, options: WhyOptions): Promise<void> {
  if (id !== undefined && (options.subject !== undefined || options.at !== undefined))
    throw usage('name a decision, or `--subject` and perhaps `--at`', 'not both')
  if (options.subject !== undefined && options.at !== undefined) {
    const at = instantOf(options.at, context.io.now(), 'at')
    return authorityAt(context, options.subject, at)
  }
  const wanted = id === undefined ? await latest(context, options) : await decisionOf(context, id)
  const explained = await explanationOf(context.writ, wanted)
  context.print({ item: explained }, { lines: linesOf(explained) })
}

/** A grant is because of the decision that made it; of what else has an id, the proof tells. */
async function decisionOf(context: Context, id: string): Promise<string> {
  if (id.startsWith('grant_')) return (await context.writ.grants.get(id)).grant.decision
  if (/^(?:task|req|cred)_/u.test(id)) {
    throw usage(
      `\`${plain(id)}\` is no decision`,
      `\`writ audit search ${plain(id)} --kind decision\` finds those about it, \`writ audit prove\` tells all of it`,
    )
  }
  return id
}

/** The lines that `writ why` prints. */
export async function describeWhy(writ: Writ, id: string): Promise<readonly string[]> {
  return linesOf(await explanationOf(writ, id))
}

function linesOf({ decision, explanation }: Members): string[] {
  const entry = record(decision)
  return [
    ...describeDecision(entry),
    ...(explanation === undefined ? [] : describeRules(record(explanation), entry)),
  ]
}

/** Decision and rules for who may see rules, else the decision alone. */
async function explanationOf(writ: Writ, id: string): Promise<Members> {
  try {
    return record(await writ.decisions.explain(id))
  } catch (error) {
    if (!isWritClientError(error, 'ERR_NOT_FOUND', 'ERR_FORBIDDEN')) throw error
    return { decision: await writ.decisions.get(id) }
  }
}

/** The last decision about a subject at or before an instant. */
async function latest(context: Context, options: WhyOptions): Promise<string> {
  const { subject } = options
  if (subject === undefined)
    throw usage('name a decision, or `--subject` and perhaps `--at`', 'e.g. `writ why dec_…`')
  const until = options.at === undefined ? Infinity : instantOf(options.at, context.io.now(), 'at')
  let before: number | undefined
  for (let pages = 0; pages < 100; pages++) {
    const page = await context.writ.decisions.list({ ref: subject, before, limit: 100 })
    for (const item of page.items) {
      const entry = record(item)
      const at = typeof entry['at'] === 'string' ? Date.parse(entry['at']) : Number(entry['at'] ?? 0)
      if (at <= until && typeof entry['id'] === 'string') return entry['id']
    }
    if (page.next_cursor === undefined) break
    before = Number(page.next_cursor)
  }
  throw new CliError(
    exit.error,
    `no decision about ${plain(subject)}${options.at === undefined ? '' : ' by then'}`,
    'is it spelled `Type/id`?',
  )
}

type Members = Readonly<Record<string, unknown>>

function record(value: unknown): Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : {}
}

const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
const word = (value: unknown): string =>
  typeof value === 'string' ? plain(value) : plain(JSON.stringify(value) ?? '')

/** A value in a line: a record by its id, a long text by its beginning. */
function brief(value: unknown): string {
  const { id } = record(value)
  if (typeof id === 'string') return plain(id)
  const text = word(value)
  return text.length > 48 ? `${text.slice(0, 45)}…` : text
}

function describeDecision(entry: Members): string[] {
  const attempt = record(entry['attempt'])
  const [subject, resource] = [record(attempt['subject']), record(attempt['resource'])]
  const alternatives = list(entry['alternatives']) as Parameters<typeof requirements>[0]
  const named = (ref: Members): string => `${word(ref['type'])}/${word(ref['id'])}`
  return [
    `${word(entry['outcome']).toUpperCase()}  ${word(entry['reason'])}  ${word(entry['id'])}`,
    ...(subject['type'] === undefined
      ? []
      : [
          `${named(subject)} → ${word(record(attempt['action'])['name'])} on ${named(resource)}${
            attempt['task'] === undefined ? '' : ` for ${word(attempt['task'])}`
          }`,
        ]),
    ...(typeof entry['at'] === 'number'
      ? [`at ${new Date(entry['at']).toISOString().replace(/\.\d+Z$/u, 'Z')}`]
      : []),
    ...evidenceOf(record(entry['evidence'])),
    ...(entry['policy'] === undefined ? [] : [`policy set ${word(entry['policy']).slice(0, 12)}`]),
    ...(alternatives.length === 0 ? [] : [`would be permitted with ${requirements(alternatives)}`]),
  ]
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

/** Which rules decided, and the nearest that did not, clause by clause. */
export function describeRules(explanation: Members, entry: Members): string[] {
  if (Object.keys(explanation).length === 0) {
    return [
      entry['says'] === undefined
        ? 'no policy was asked: it was settled before'
        : 'what it was decided on is not on the record any more',
    ]
  }
  const determining = list(explanation['determining']).map(record)
  const nearest = record(list(explanation['nearest'])[0])
  const lines = determining.map(
    (policy) =>
      `decided by ${word(policy['effect'])} ${word(policy['policy'])}  ${word(policy['file'])}:${word(policy['line'])}`,
  )
  if (entry['outcome'] === 'permit') return lines
  if (explanation['mismatch'] !== undefined) lines.push(word(explanation['mismatch']))
  if (nearest['policy'] !== undefined) {
    lines.push(`nearest rule: ${word(nearest['policy'])}  ${word(nearest['file'])}:${word(nearest['line'])}`)
    for (const clause of list(nearest['clauses']).map(record)) {
      const mark =
        clause['status'] === 'holds' ? '✓ holds ' : clause['status'] === 'fails' ? '✗ fails ' : '! errors'
      const actual = list(clause['actual'])
        .map(record)
        .map(
          (value) =>
            `${word(value['path'])} is ${value['unknown'] === true ? 'unknown' : value['value'] === undefined ? 'absent' : brief(value['value'])}`,
        )
      const message = clause['message'] === undefined ? '' : ` · ${word(clause['message'])}`
      lines.push(
        `  ${mark}  ${word(clause['text'])}${actual.length === 0 ? '' : `  (${actual.join(', ')})`}${message}`,
      )
    }
  }
  if (list(explanation['fired']).length === 0) lines.push('no forbid rule applies')
  return lines
}
