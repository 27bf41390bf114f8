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
import type { Members, Telling } from '../explanation.ts'
import { describeDecision, describeToken, record } from '../explanation.ts'
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
  if (id?.startsWith('tok_') === true) return whyToken(context, id)
  const wanted = id === undefined ? await latest(context, options) : await decisionOf(context, id)
  const explained = await explanationOf(context.writ, wanted)
  const { io } = context
  context.print(
    { item: explained },
    { lines: linesOf(explained, { columns: io.columns, style: (style, text) => io.styleOut(style, text) }) },
  )
}

/** A token is because of what was proved, and of the decisions that it was issued by. */
async function whyToken(context: Context, id: string): Promise<void> {
  const { writ, io } = context
  const page = await writ.log.search({ term: id, kind: 'token.issued', limit: 1 })
  const [item] = page.items
  const issued = record(item !== undefined && 'entry' in item ? item.entry : undefined)
  if (issued['token'] !== id)
    throw new CliError(
      exit.error,
      `there is no token \`${plain(id)}\` in the record`,
      'is it its `jti`, `tok_…`?',
    )
  const ids = Array.isArray(issued['decisions']) ? (issued['decisions'] as readonly unknown[]) : []
  const decisions: Members[] = []
  for (const one of ids) if (typeof one === 'string') decisions.push(await explanationOf(writ, one))
  const telling: Telling = { columns: io.columns, style: (style, text) => io.styleOut(style, text) }
  context.print(
    { item: { token: issued, decisions } },
    {
      lines: [
        ...describeToken(issued, telling),
        ...decisions.flatMap((one) => ['', ...linesOf(one, telling)]),
      ],
    },
  )
}

/** A grant is because of the decision that made it; of what else has an id, the proof tells. */
async function decisionOf(context: Context, id: string): Promise<string> {
  if (id.startsWith('grant_')) return (await context.writ.grants.get(id)).grant.decision
  if (/^(?:task|req|cred|dlg)_/u.test(id)) {
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

function linesOf({ decision, explanation }: Members, telling?: Telling): string[] {
  return describeDecision(
    record(decision),
    explanation === undefined ? undefined : record(explanation),
    telling,
  )
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
