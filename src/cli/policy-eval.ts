/**
 * `writ policy eval` and `writ policy explain`: what a folder of policies would answer, and what a policy says,
 * without a server.
 *
 * @module
 */
import { join, relative, resolve } from 'node:path'
import * as z from 'zod'
import { suggest } from '../config/suggest.ts'
import type { Rehearsal, Rehearsed } from '../decision/rehearse.ts'
import { inventoryOf, rehearse } from '../decision/rehearse.ts'
import type { Described, EntityData, Explanation, PolicySet, ProblemCode } from '../policy/index.ts'
import { describePolicy, facts, lintNames, problemCodes, problemHelp } from '../policy/index.ts'
import { encodeAlternatives } from '../wire/alternative.ts'
import * as bounds from '../wire/bounds.ts'
import { decodeEntity, entityInput } from '../wire/v1/index.ts'
import { readInventory } from './commands/admin.ts'
import type { Context } from './context.ts'
import { exit, usage } from './exit.ts'
import { describeDecision } from './explanation.ts'
import { invalid, inventoryFile, loadSource, readFolder, sayProblems } from './policy-folder.ts'
import { counted, plain, requirement } from './text.ts'
import { instantOf } from './times.ts'

export type EvalOptions = Readonly<{
  folder?: string
  inventory?: string
  context?: string
  properties?: string
  task?: string
  approval?: readonly string[]
  justification?: boolean
  reauth?: boolean
  at?: string
  unknown?: readonly string[]
}>

type Folder = Readonly<{
  at: string
  set: PolicySet
  entities: Rehearsal['entities']
  /** The same as policy sees it. */
  data: readonly EntityData[]
}>

/** The answer to one attempt. 0 if it is permitted, 5 if not. */
export async function policyEval(
  context: Context,
  principal: string,
  action: string,
  resource: string,
  options: EvalOptions,
): Promise<number> {
  return answer(context, [principal, action, resource], options, false)
}

/** One attempt clause by clause, or one policy in words, or what a code of `writ policy check` means. */
export async function policyExplain(
  context: Context,
  words: readonly string[],
  options: EvalOptions,
): Promise<number> {
  const [first, second, third] = words
  if (first !== undefined && second === undefined) return explainName(context, first, options)
  if (first === undefined || second === undefined || third === undefined || words.length > 3)
    throw usage(
      'name a policy, or an attempt',
      '`writ policy explain Agent/migrator db:migrate Database/orders`',
    )
  return answer(context, [first, second, third], options, true)
}

async function answer(
  context: Context,
  [principal, action, resource]: readonly [string, string, string],
  options: EvalOptions,
  explained: boolean,
): Promise<number> {
  const folder = openFolder(context, options)
  const rehearsal = rehearsalOf(context, folder, principal, action, resource, options)
  const found = await rehearse(rehearsal)
  const explanation = placed(found.explanation, context, folder)
  const determining = explanation?.determining ?? []
  const { obligations } = found
  const permits = found.outcome === 'permit'
  const item = {
    outcome: found.outcome,
    reason: found.reason,
    determining,
    ...(permits ? { obligations: encodeObligations(obligations) } : {}),
    ...(found.outcome === 'challenge'
      ? { alternatives: encodeAlternatives(found.alternatives), truncated: found.truncated }
      : {}),
    ...(found.evaluation === undefined ? {} : { errors: found.evaluation.errors }),
    ...(found.dropped.length === 0 ? {} : { dropped: found.dropped }),
    ...(explained && explanation !== undefined ? { explanation } : {}),
  }
  const telling = {
    columns: context.io.columns,
    style: (style: Parameters<Context['io']['styleOut']>[0], text: string) =>
      context.io.styleOut(style, text),
  }
  const entry = entryOf(rehearsal, found, options.at !== undefined)
  const lines = [
    ...describeDecision(entry, explained ? (explanation ?? {}) : undefined, telling),
    ...(explained
      ? []
      : determining.map(
          ({ effect, policy, file, line }) =>
            `${effect === 'permit' ? 'Permitted' : 'Forbidden'} by: ${plain(file)}:${line} "${plain(policy)}"`,
        )),
    ...(permits ? [`Limits: ${obligationWords(obligations)}`] : []),
  ]
  // nothing stands where the id of a recorded decision would
  context.print({ item }, { lines: lines.map((line) => line.trimEnd()) })
  hints(context, folder, rehearsal, found)
  return permits ? exit.ok : exit.denied
}

/** The answer as an entry of the record would tell it. */
function entryOf(
  { action, context, now, resource, subject }: Rehearsal,
  found: Rehearsed,
  timed: boolean,
): Record<string, unknown> {
  const { outcome, reason, truncated, evaluation } = found
  return {
    outcome,
    reason,
    attempt: { subject, action, resource, context },
    alternatives: encodeAlternatives(found.alternatives),
    truncated,
    ...(timed ? { at: now } : {}),
    ...(evaluation === undefined ? {} : { says: evaluation.decision }),
  }
}

/** What may be a slip of the finger, or was not looked at. */
function hints(
  context: Context,
  { set, entities }: Folder,
  { subject, action, resource, task }: Rehearsal,
  found: Rehearsed,
): void {
  const actions = set.actions.map(({ uid }) => (uid.type === 'Writ::Action' ? `Writ::${uid.id}` : uid.id))
  if (!actions.includes(action.name)) {
    const meant = suggest(action.name, actions)
    context.note(
      'warn',
      `no policy names the action ${plain(action.name)}${meant === undefined ? '' : `; did you mean ${plain(meant)}?`}`,
    )
  }
  const known = entities.map(({ type, id }) => `${type}/${id}`)
  for (const { type, id } of [subject, resource]) {
    const name = `${type}/${id}`
    if (known.includes(name) || type === 'Writ::System') continue
    const meant = suggest(name, known)
    context.note(
      'warn',
      `${plain(name)} is not in the inventory${meant === undefined ? '' : `; did you mean ${plain(meant)}?`}`,
    )
  }
  if (found.dropped.length > 0)
    context.note(
      'warn',
      `dropped from the context, because nothing declares it: ${found.dropped.map(plain).join(', ')}`,
    )
  if (found.outcome === 'deny' && found.reason === 'policy_denied' && task === undefined)
    context.note('info', 'asked without a task · many actions want one: give --task "what it is for"')
}

function openFolder(context: Context, options: EvalOptions): Folder {
  const at = options.folder ?? context.loaded.config.policies
  const source = readFolder(context, at)
  const file = inventoryFile(context, at, options.inventory)
  const lines = file === undefined ? [] : readInventory(context, file)
  const { entities, data } = inventoryOf(lines.map((line) => decodeEntity(entityInput.parse(line))))
  const { problems, set } = loadSource(at, source, data, {
    cwd: context.io.cwd,
    inventory: file,
  })
  if (set === undefined) {
    sayProblems(context, problems)
    const errors = problems.filter(({ severity }) => severity === 'error').length
    throw invalid(`${counted(errors, 'problem', 'problems')} in ${plain(at)}`)
  }
  return { at, set, entities, data }
}

function rehearsalOf(
  context: Context,
  { set, entities }: Folder,
  principal: string,
  action: string,
  resource: string,
  options: EvalOptions,
): Rehearsal {
  const now = context.io.now()
  const properties = members(options.properties, '--properties', bounds.properties)
  const approvals: Record<string, number> = {}
  for (const text of options.approval ?? []) {
    const match = /^(.+?)(?:=(\d{1,2}))?$/u.exec(text)
    const pool = match?.[1] ?? ''
    if (!set.pools.includes(pool)) {
      const meant = suggest(pool, set.pools)
      throw usage(
        `no policy says who gives approvals \`${plain(pool)}\``,
        meant === undefined ? `there are ${set.pools.join(', ') || 'none'}` : `did you mean \`${meant}\`?`,
      )
    }
    approvals[pool] = Number(match?.[2] ?? 1)
  }
  const unknown = options.unknown ?? []
  for (const name of unknown) {
    if (Object.hasOwn(facts, name)) continue
    const meant = suggest(name, Object.keys(facts))
    throw usage(
      `there is no fact \`${plain(name)}\``,
      meant === undefined ? `there are ${Object.keys(facts).join(', ')}` : `did you mean \`${meant}\`?`,
    )
  }
  return {
    set,
    entities,
    subject: refOf(principal),
    action: { name: named(action), ...(properties === undefined ? {} : { properties }) },
    resource: refOf(resource),
    context: members(options.context, '--context', bounds.properties) ?? {},
    ...(options.task === undefined ? {} : { task: taskOf(options.task) }),
    unknown: [...unknown],
    evidence: {
      approvals,
      justification: options.justification === true,
      reauth: options.reauth === true,
    },
    now: options.at === undefined ? now : instantOf(options.at, now, 'at'),
  }
}

function refOf(text: string): Rehearsal['subject'] {
  const parsed = bounds.ref.safeParse(text)
  if (!parsed.success)
    throw usage(`\`${plain(text)}\` is not a reference`, 'write `Type/id`, e.g. `Agent/migrator`')
  return parsed.data
}

function named(text: string): string {
  const parsed = bounds.actionName.safeParse(text)
  if (!parsed.success) throw usage(`\`${plain(text)}\` is not an action`, bounds.describeIssues(parsed.error))
  return parsed.data
}

const taskMembers = z.strictObject({
  id: bounds.id.exactOptional(),
  purpose: bounds.text.exactOptional(),
  reason: bounds.text.exactOptional(),
  ticket: bounds.text.exactOptional(),
  parent: bounds.id.exactOptional(),
  state: z.enum(['declared', 'open']).exactOptional(),
  calls: z.int().min(0).exactOptional(),
  denials: z.int().min(0).exactOptional(),
  retries: z.int().min(0).exactOptional(),
})

/** A purpose, or the task's members as JSON. */
function taskOf(text: string): NonNullable<Rehearsal['task']> {
  if (text.trimStart().startsWith('{')) return members(text, '--task', taskMembers) ?? {}
  const purpose = bounds.text.safeParse(text)
  if (!purpose.success) throw usage(`\`--task\`: ${bounds.describeIssues(purpose.error)}`)
  return { purpose: purpose.data }
}

function members<S extends z.ZodType>(
  text: string | undefined,
  flag: string,
  schema: S,
): z.output<S> | undefined {
  if (text === undefined) return undefined
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (error) {
    throw usage(`\`${flag}\` is not JSON: ${error instanceof Error ? error.message : ''}`)
  }
  const checked = schema.safeParse(parsed)
  if (!checked.success) throw usage(`\`${flag}\`: ${bounds.describeIssues(checked.error)}`)
  return checked.data
}

/** Files of an explanation as the caller names them. */
function placed(
  explanation: Explanation | undefined,
  context: Context,
  { at }: Folder,
): Explanation | undefined {
  if (explanation === undefined) return undefined
  const prefix = relative(context.io.cwd, resolve(context.io.cwd, at)) || '.'
  const move = <T extends { readonly file: string }>(one: T): T => ({ ...one, file: join(prefix, one.file) })
  return {
    ...explanation,
    determining: explanation.determining.map(move),
    fired: explanation.fired.map(move),
    nearest: explanation.nearest.map(move),
  }
}

type Obligations = Rehearsed['obligations']

function encodeObligations({ ttl, uses, binding, review, notify }: Obligations): Record<string, unknown> {
  return {
    ...(ttl === undefined ? {} : { ttl: bounds.encodeDuration(ttl) }),
    ...(uses === undefined ? {} : { uses }),
    binding,
    ...(review === undefined ? {} : { review: bounds.encodeDuration(review) }),
    notify: [...notify],
  }
}

function obligationWords({ ttl, uses, binding, review, notify }: Obligations): string {
  return [
    ...(ttl === undefined ? [] : [`at most ${bounds.encodeDuration(ttl)}`]),
    ...(uses === undefined ? [] : [counted(uses, 'use', 'uses')]),
    binding === 'attempt' ? 'for this attempt alone' : 'for the whole task',
    ...(review === undefined ? [] : [`review within ${bounds.encodeDuration(review)}`]),
    ...(notify.length === 0 ? [] : [`tells ${notify.map(plain).join(', ')}`]),
  ].join(' · ')
}

// one policy in words

function explainName(context: Context, name: string, options: EvalOptions): number {
  const code = (Object.keys(problemCodes) as ProblemCode[]).find(
    (one) =>
      one === name.toUpperCase() || (one in lintNames && lintNames[one as keyof typeof lintNames] === name),
  )
  if (code !== undefined) {
    context.print(
      { item: { code, sentence: problemCodes[code], help: problemHelp[code] } },
      { lines: [`${code}: ${problemCodes[code]}`, '', problemHelp[code]] },
    )
    return exit.ok
  }
  const folder = openFolder(context, options)
  const { set, data } = folder
  const described = describePolicy(set, name, data)
  if (described === undefined) {
    const ids = set.policies.map(({ id }) => id)
    const meant = suggest(name, ids)
    throw usage(
      `there is no policy \`${plain(name)}\` in ${plain(folder.at)}`,
      meant === undefined
        ? `there are ${ids
            .slice(0, 8)
            .map((id) => `\`${plain(id)}\``)
            .join(', ')}${ids.length > 8 ? ', …' : ''}`
        : `did you mean \`${plain(meant)}\`?`,
    )
  }
  const prefix = relative(context.io.cwd, resolve(context.io.cwd, folder.at)) || '.'
  const { info } = described
  const file = join(prefix, info.file)
  context.print(
    {
      item: {
        policy: info.id,
        file,
        line: info.line,
        effect: info.effect,
        annotations: info.annotations,
        principal: described.principal,
        action: described.action,
        resource: described.resource,
        clauses: described.clauses,
        asks: {
          approvals: Object.fromEntries(
            [...info.reads.approvals].map(([pool, counts]) => [
              pool,
              { count: counts[0] ?? 1, givers: described.givers[pool] ?? [] },
            ]),
          ),
          justification: info.reads.justification,
          reauth: info.reads.reauth,
        },
        reads: { facts: [...info.reads.facts].sort(), context: [...info.reads.contextKeys].sort() },
      },
    },
    { lines: policyLines(described, file) },
  )
  return exit.ok
}

const MATCHES = 5

function policyLines(
  { info, principal, action, resource, clauses, givers }: Described,
  file: string,
): string[] {
  const { annotations, reads } = info
  // on one line, a comment would swallow what follows
  const oneLine = (text: string): string =>
    plain(text.replaceAll(/("(?:\\[^]|[^"\\])*")|\/\/[^\n\r]*/gu, '$1')).replaceAll(/ {2,}/gu, ' ')
  const who = (side: Described['principal']): string => {
    const shown = side.matches.slice(0, MATCHES).map(plain).join(', ')
    const more = side.matches.length > MATCHES ? ` and ${side.matches.length - MATCHES} more` : ''
    return `${oneLine(side.text)}${shown === '' ? '' : `  (now ${shown}${more})`}`
  }
  const row = (title: string, text: string): string => `  ${title.padEnd(10)}${text}`
  const doc = annotations['doc']
  let before = ''
  const conditions = clauses.map(({ kind, text, line }) => {
    const title = kind === before ? (kind === 'when' ? '  and' : '  or') : kind
    before = kind
    return row(title, `${oneLine(text)}  ${plain(file)}:${line}`)
  })
  const permits = info.effect === 'permit'
  const evidence = [
    ...[...reads.approvals].map(([pool, counts]) => {
      const by = givers[pool] ?? []
      const said = by.length === 0 ? '' : `, given as ${by.map(plain).join(' or ')} says`
      const what = { kind: 'approval', pool, count: counts[0] ?? 1 }
      return permits ? `${requirement(what)}${said}` : `approvals by ${plain(pool)}${said}`
    }),
    ...(reads.justification ? [requirement({ kind: 'justification' })] : []),
    ...(reads.reauth ? [requirement({ kind: 'reauth' })] : []),
  ]
  const ignored = annotations['unknown_ignore']
  const but = ignored === undefined ? '' : `, but for ${plain(ignored).trim().replaceAll(/ +/gu, ', ')}`
  const obligations = [
    ...given('at most', annotations['ttl']),
    ...(annotations['uses'] === undefined ? [] : [counted(Number(annotations['uses']), 'use', 'uses')]),
    ...(annotations['binding'] === undefined
      ? []
      : [annotations['binding'] === 'task' ? 'for the whole task' : 'for this attempt alone']),
    ...given('review within', annotations['review']),
    ...given('tells', annotations['notify']?.trim().replace(/ +/gu, ', ')),
  ]
  const read = [
    ...[...reads.facts].sort().map((name) => `${name} (${facts[name]?.sentence ?? 'a fact'})`),
    ...[...reads.contextKeys].sort().map((name) => `context.${plain(name)}`),
  ]
  return [
    `${info.effect} ${plain(info.id)}  ${plain(file)}:${info.line}`,
    ...(doc === undefined || doc === '' ? [] : [`  ${plain(doc)}`]),
    row('who', who(principal)),
    row('what', oneLine(action.text)),
    row('on', who(resource)),
    ...conditions,
    ...(evidence.length === 0 ? [] : [row(permits ? 'asks' : 'looks at', evidence.join('; '))]),
    ...(obligations.length === 0 ? [] : [row('limits', obligations.join(' · '))]),
    ...(read.length === 0 ? [] : [row('reads', read.join('; '))]),
    ...(read.length === 0
      ? []
      : [row('', `if any of it is unknown, it ${permits ? 'permits nothing' : 'denies'}${but}`)]),
  ]
}

const given = (words: string, value: string | undefined): string[] =>
  value === undefined ? [] : [`${words} ${plain(value)}`]
