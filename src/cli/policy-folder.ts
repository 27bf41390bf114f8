/**
 * A folder of policies without a server: read, loaded, looked over.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { inventoryOf } from '../decision/rehearse.ts'
import { isWritError } from '../model/errors.ts'
import type { EntityData, PolicySet, PolicySource, Problem } from '../policy/index.ts'
import { lint, loadPolicySet, renderProblem } from '../policy/index.ts'
import { decodeEntity, entityInput } from '../wire/v1/index.ts'
import { readInventory } from './commands/admin.ts'
import { readPolicyFolder } from './commands/setup.ts'
import type { Context } from './context.ts'
import { CliError, exit, usage } from './exit.ts'
import type { Found } from './sarif.ts'
import { plain } from './text.ts'

export type Source = ReturnType<typeof readPolicyFolder>

export function readFolder(context: Pick<Context, 'io'>, folder: string): Source {
  const path = resolve(context.io.cwd, folder)
  if (!existsSync(path))
    throw usage(`there is no folder \`${plain(folder)}\``, '`writ init` makes one with samples')
  if (!statSync(path).isDirectory()) throw usage(`\`${plain(folder)}\` is not a folder`)
  return readPolicyFolder(path)
}

/** The inventory that is meant: the file that was named, else that of this folder, else that beside the policies. */
export function inventoryFile(
  context: Pick<Context, 'io'>,
  folder: string,
  file: string | undefined,
): string | undefined {
  if (file !== undefined) {
    if (!existsSync(resolve(context.io.cwd, file))) throw usage(`there is no inventory \`${plain(file)}\``)
    return file
  }
  return ['inventory.yaml', join(folder, 'inventory.yaml')].find((one) =>
    existsSync(resolve(context.io.cwd, one)),
  )
}

export const hashOf = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`

/** Loads a source as the server would, for whoever names its files below `folder`. */
export function loadSource(
  folder: string,
  source: PolicySource,
  inventory: readonly EntityData[],
  named: Readonly<{ cwd: string; inventory?: string | undefined }>,
): { problems: Found[]; set?: PolicySet } {
  const loaded = loadPolicySet(source, { hash: hashOf, inventory })
  const at = placing(folder, source, named)
  return loaded.ok
    ? { problems: loaded.warnings.map(at), set: loaded.set }
    : { problems: loaded.problems.map(at) }
}

/** Gives findings the places that the caller knows. What was derived has none. */
function placing(
  folder: string,
  source: PolicySource,
  { cwd, inventory }: Readonly<{ cwd: string; inventory?: string | undefined }>,
): (problem: Problem) => Found {
  const files = new Set(
    [...source.policies, ...(source.schema ? [source.schema] : [])].map(({ name }) => name),
  )
  const prefix = relative(cwd, resolve(cwd, folder)) || '.'
  return (problem) => {
    if (files.has(problem.file)) return { ...problem, file: join(prefix, problem.file) }
    if (problem.file === 'inventory' && inventory !== undefined) return { ...problem, file: inventory }
    return { ...problem, located: false }
  }
}

/** What is wrong with a folder, at places that name its files as the caller does. */
export function check(
  context: Pick<Context, 'io'>,
  folder: string,
  source: Source,
  options: Readonly<{ inventory?: string; lint?: boolean }> = {},
): { problems: Found[]; version?: string; inventory?: string } {
  const named = inventoryFile(context, folder, options.inventory)
  const entities = named === undefined ? [] : readEntities(context, named)
  const where = { cwd: context.io.cwd, inventory: named }
  const { problems, set } = loadSource(folder, source, entities, where)
  const found =
    set === undefined || options.lint !== true
      ? problems
      : [...problems, ...lint(set, entities).map(placing(folder, source, where))]
  return {
    problems: found,
    ...(set === undefined ? {} : { version: set.version }),
    ...(named === undefined ? {} : { inventory: named }),
  }
}

/** The inventory of a file as the server would take it. @throws {CliError} for one that it would refuse. */
function readEntities(context: Pick<Context, 'io'>, file: string): readonly EntityData[] {
  const lines = readInventory(context, file).map((line) => decodeEntity(entityInput.parse(line)))
  try {
    return inventoryOf(lines).data
  } catch (error) {
    if (!isWritError(error)) throw error
    throw new CliError(exit.policyInvalid, `${plain(file)}: ${plain(error.message)}`, error.hint, error)
  }
}

/** As a person reads them, on standard error. */
export function sayProblems(context: Pick<Context, 'say'>, problems: readonly Problem[]): void {
  for (const problem of problems) context.say(renderProblem(problem))
}

/** What is said after findings: where more about them stands. */
export function sayWhere(context: Pick<Context, 'say'>, problems: readonly Problem[]): void {
  const [code, second] = new Set(problems.map((problem) => problem.code))
  if (code === undefined) return
  const page = `docs/reference/policy-problems.md${second === undefined ? `#${code.toLowerCase()}` : ''}`
  context.say(`see ${page}, or \`writ policy explain ${code}\``)
}

/** @throws {CliError} 3 with `message`: policies are not as they should be. */
export function invalid(message: string, hint?: string): CliError {
  return new CliError(exit.policyInvalid, message, hint)
}
