/**
 * `writ policy …`: what is looked at without a server, and what is published to one.
 *
 * @module
 */
import { resolve } from 'node:path'
import type { PolicyVersion, ReplayReport } from '../../client/src/index.ts'
import { isWritClientError } from '../../client/src/index.ts'
import type { Context } from './context.ts'
import { CliError, exit, tell, usage } from './exit.ts'
import type { Source } from './policy-folder.ts'
import { check, invalid, inventoryFile, readFolder, sayProblems, sayWhere } from './policy-folder.ts'
import { watching } from './policy-test-watch.ts'
import { sarif } from './sarif.ts'
import { counted, plain, plainLines } from './text.ts'
import { instantOf, localAndUtc } from './times.ts'
import { version as writVersion } from '../version.ts'

export type CheckOptions = Readonly<{
  inventory?: string
  lint?: boolean
  strict?: boolean
  denyWarnings?: boolean
  sarif?: boolean
  watch?: boolean
}>

/** Checks a folder as the server would, and with `lint` for what is valid and looks wrong. 3 if it is not valid. */
export function policyCheck(
  context: Context,
  folder: string | undefined,
  options: CheckOptions,
): number | Promise<number> {
  const at = folder ?? context.loaded.config.policies
  if (options.watch !== true) return inspect(context, at, options)
  const root = resolve(context.io.cwd, at)
  return watching(context, [root], () => {
    const inventory = inventoryFile(context, at, options.inventory)
    try {
      inspect(context, at, options)
    } catch (error) {
      // it is told, and what was read is watched all the same
      const { message, hint } = tell(error)
      context.note('bad', `${plainLines(message)}${hint === undefined ? '' : ` · ${plainLines(hint)}`}`)
    }
    return Promise.resolve(inventory === undefined ? [] : [resolve(context.io.cwd, inventory)])
  })
}

/** The same with the lint rules. */
export function policyLint(
  context: Context,
  folder: string | undefined,
  options: CheckOptions,
): number | Promise<number> {
  return policyCheck(context, folder, { ...options, lint: true })
}

function inspect(context: Context, at: string, options: CheckOptions): number {
  const source = readFolder(context, at)
  const { problems: found, version, inventory } = check(context, at, source, options)
  const problems = found.map(({ located: _, ...problem }) => problem)
  const errors = problems.filter(({ severity }) => severity === 'error').length
  const warnings = problems.length - errors
  if (options.sarif === true) context.io.out(sarif(found, writVersion))
  else
    context.print(
      { items: problems, more: { valid: errors === 0, ...(version === undefined ? {} : { version }) } },
      // people read them on standard error, each with its line
      { lines: [] },
    )
  sayProblems(context, problems)
  sayWhere(context, problems)
  const where = plain(at)
  if (errors > 0) throw invalid(`${counted(errors, 'problem', 'problems')} in ${where}`)
  if (warnings > 0 && (options.strict === true || options.denyWarnings === true))
    throw invalid(`${counted(warnings, 'warning', 'warnings')} in ${where}`)
  const files = counted(source.policies.length, 'policy file', 'policy files')
  const are = source.policies.length === 1 ? 'is' : 'are'
  if (warnings > 0)
    context.note(
      'warn',
      `${files} in ${where} ${are} valid, with ${counted(warnings, 'warning', 'warnings')}`,
    )
  else
    context.note(
      'ok',
      `${files} in ${where} ${are} valid${options.lint === true ? ', and nothing looks wrong' : ''}`,
    )
  if (options.lint === true && inventory === undefined)
    context.note('info', 'without an inventory, who and what there is was not looked at · give --inventory')
  return exit.ok
}

export async function policyPublish(context: Context, folder: string | undefined): Promise<number> {
  const at = folder ?? context.loaded.config.policies
  // the server checks against its own inventory, which is the one that counts
  const version = await publishSource(context, readFolder(context, at))
  context.print(
    { item: { version: version.version, state: version.state, agreed_by: version.agreed_by } },
    { lines: [version.version] },
  )
  if (version.state === 'published') context.note('ok', 'in force now')
  else
    context.note(
      'wait',
      `proposed · another person makes it so: \`writ policy agree ${plain(version.version)}\``,
    )
  return exit.ok
}

/** Recorded decisions through a draft. 3 if it does not load, and with `--fail-on-widening` if it permits more. */
export async function policyReplay(
  context: Context,
  options: Readonly<{
    since?: string
    until?: string
    against?: string
    limit?: string
    failOnWidening?: boolean
  }>,
): Promise<number> {
  const now = context.io.now()
  const { limit } = options
  if (limit !== undefined && !/^[1-9]\d{0,5}$/u.test(limit))
    throw usage(`\`--limit ${plain(limit)}\` is not a number`, 'from 1 to 100000')
  const since = instantOf(options.since ?? '7d', now, 'since', true)
  const until = options.until === undefined ? undefined : instantOf(options.until, now, 'until', true)
  const at = options.against ?? context.loaded.config.policies
  const source = readFolder(context, at)
  const report = await checked(context, 'nothing was replayed', () =>
    context.writ.policies.replay({
      ...source,
      since: new Date(since).toISOString(),
      ...(until === undefined ? {} : { until: new Date(until).toISOString() }),
      ...(limit === undefined ? {} : { limit: Number(limit) }),
    }),
  )
  context.print({ item: report }, { lines: describeReplay(report) })
  for (const what of report.leaves_out) context.say(`not told: ${plain(what)}`)
  if (options.failOnWidening === true && report.widened > 0)
    throw new CliError(
      exit.policyInvalid,
      `the draft permits ${counted(report.widened, 'decision that was', 'decisions that were')} denied`,
    )
  return exit.ok
}

/** The lines that a person reads: what it widens first. */
export function describeReplay(report: ReplayReport): string[] {
  const count = (n: number): string => n.toLocaleString('en')
  const lines = [
    `${count(report.flipped)} of ${count(report.replayed)} flip · since ${localAndUtc(Date.parse(report.since))}`,
  ]
  for (const flip of report.flips) {
    const challenged =
      flip.challenges === 0 ? '' : ` · ${count(flip.challenges)} of them could have had it with evidence`
    lines.push(
      '',
      `${flip.to === 'permit' ? '▲' : '▼'} ${plain(flip.from)} → ${plain(flip.to)}  ${count(flip.count)} ×  ${plain(flip.subject)}  ${plain(flip.action)}${challenged}`,
      ...(flip.policies.length === 0 ? [] : [`  by ${flip.policies.map(plain).join(', ')}`]),
      ...flip.examples.map(
        ({ decision, resource, at }) =>
          `  e.g. ${plain(decision)}  on ${plain(resource)}  ${localAndUtc(Date.parse(at))}`,
      ),
    )
  }
  const rest = [
    ...(report.more_flips === 0 ? [] : [`${count(report.more_flips)} more groups flip`]),
    ...(report.not_evaluated === 0
      ? []
      : [`${count(report.not_evaluated)} were settled before any policy was asked, and stay`]),
    ...report.lost.map(({ why, count: n }) => `${count(n)} cannot be replayed: ${plain(why)}`),
    ...(report.truncated
      ? [`cut short at ${localAndUtc(Date.parse(report.until))}: replay more with \`--limit\``]
      : []),
  ]
  return rest.length === 0 ? lines : [...lines, '', ...rest]
}

function publishSource(context: Context, source: Source): Promise<PolicyVersion> {
  return checked(context, 'nothing was published, the set in force stays', () =>
    context.writ.policies.publish(source),
  )
}

/** @throws {CliError} 3, after every problem was said as `writ policy check` says it. */
async function checked<T>(context: Context, hint: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (!isWritClientError(error, 'ERR_POLICY_INVALID')) throw error
    if (error.hint !== undefined) context.say(plainLines(error.hint))
    throw new CliError(exit.policyInvalid, error.message, hint, error)
  }
}

export async function policyAgree(context: Context, version: string): Promise<void> {
  const agreed = await context.writ.policies.agree(version)
  context.print(
    { item: { version: agreed.version, state: agreed.state, agreed_by: agreed.agreed_by } },
    { lines: [agreed.state] },
  )
}

export async function policyShow(context: Context, version: string | undefined): Promise<void> {
  const { policies } = context.writ
  const shown = version === undefined ? await policies.current() : await policies.get(version)
  // a file gets the text as it is, a terminal nothing that could turn it over
  const safe = context.io.columns > 0 ? plainLines : (text: string): string => text
  context.print(
    { item: shown },
    {
      lines: [
        `// ${shown.version} · ${shown.state} · agreed by ${shown.agreed_by.map(plain).join(', ')}`,
        ...shown.policies.flatMap(({ name, text }) => [`// ${plain(name)}`, safe(text.trimEnd()), '']),
        ...(shown.schema === undefined
          ? []
          : [`// ${plain(shown.schema.name)}`, safe(shown.schema.text.trimEnd())]),
      ],
    },
  )
}
