/**
 * `writ policy …`. The one command beside `audit` that looks into the house itself: a folder is checked without a
 * server.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import type { EntityInput, PolicyVersion, ReplayReport } from '../../client/src/index.ts'
import { isWritClientError } from '../../client/src/index.ts'
import type { EntityData, Problem } from '../policy/index.ts'
import { loadPolicySet, renderProblem } from '../policy/index.ts'
import { readInventory } from './commands/admin.ts'
import { readPolicyFolder } from './commands/setup.ts'
import type { Context } from './context.ts'
import { CliError, exit, usage } from './exit.ts'
import { counted, plain, plainLines } from './text.ts'
import { instantOf, localAndUtc } from './times.ts'

type Source = ReturnType<typeof readPolicyFolder>

/** Checks a folder as the server would. 3 if it is not valid. */
export function policyCheck(
  context: Context,
  folder: string | undefined,
  options: { inventory?: string },
): number {
  const at = folder ?? context.loaded.config.policies
  const source = readFolder(context, at)
  const { problems, version } = check(context, at, source, options.inventory)
  const errors = problems.filter(({ severity }) => severity === 'error').length
  context.print(
    { items: problems, more: { valid: errors === 0, ...(version === undefined ? {} : { version }) } },
    // people read them on standard error, each with its line
    { lines: [] },
  )
  sayProblems(context, problems)
  if (errors > 0)
    throw new CliError(exit.policyInvalid, `${errors} problem${errors === 1 ? '' : 's'} in ${at}`)
  context.note('ok', `${source.policies.length} policy files in ${at} are valid`)
  return exit.ok
}

/** What is wrong with a folder, at places that name its files as the caller does. */
export function check(
  context: Pick<Context, 'io'>,
  folder: string,
  source: Source,
  inventoryFile?: string,
): { problems: Problem[]; version?: string } {
  const loaded = loadPolicySet(source, {
    hash: (text) => `sha256:${createHash('sha256').update(text).digest('hex')}`,
    inventory: inventoryOf(context, inventoryFile),
  })
  const found = loaded.ok ? loaded.warnings : loaded.problems
  const prefix = relative(context.io.cwd, resolve(context.io.cwd, folder)) || '.'
  const problems = found.map((problem) => ({ ...problem, file: join(prefix, problem.file) }))
  return loaded.ok ? { problems, version: loaded.set.version } : { problems }
}

/** As a person reads them, on standard error. */
export function sayProblems(context: Pick<Context, 'say'>, problems: readonly Problem[]): void {
  for (const problem of problems) context.say(renderProblem(problem))
}

/** A schema that is not given is derived from the inventory too. */
function inventoryOf(context: Pick<Context, 'io'>, file: string | undefined): EntityData[] {
  const found = file ?? (existsSync(resolve(context.io.cwd, 'inventory.yaml')) ? 'inventory.yaml' : undefined)
  return found === undefined ? [] : readInventory(context, found).map(entityData)
}

const levels = ['low', 'moderate', 'high', 'critical']

function entityData(entity: EntityInput): EntityData {
  const uid = (text: string): { type: string; id: string } => {
    const cut = text.indexOf('/')
    return { type: text.slice(0, cut), id: text.slice(cut + 1) }
  }
  const spelled = (text: string): string => `${uid(text).type}::${JSON.stringify(uid(text).id)}`
  const { type, id, owner, team, sensitivity, parents = [], attrs } = entity
  return {
    uid: { type, id },
    attrs: {
      ...attrs,
      ...(sensitivity === undefined ? {} : { sensitivity: levels.indexOf(sensitivity) + 1 }),
      ...(owner === undefined || owner === null ? {} : { owner: spelled(owner) }),
      ...(team === undefined || team === null ? {} : { team: spelled(team) }),
    },
    parents: parents.map(uid),
  }
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
  context.print(
    { item: shown },
    {
      lines: [
        `// ${shown.version} · ${shown.state} · agreed by ${shown.agreed_by.join(', ')}`,
        ...shown.policies.flatMap(({ name, text }) => [`// ${name}`, text.trimEnd(), '']),
        ...(shown.schema === undefined ? [] : [`// ${shown.schema.name}`, shown.schema.text.trimEnd()]),
      ],
    },
  )
}

function readFolder(context: Context, folder: string): Source {
  const path = resolve(context.io.cwd, folder)
  if (!existsSync(path)) throw usage(`there is no folder \`${folder}\``, '`writ init` makes one with samples')
  return readPolicyFolder(path)
}
