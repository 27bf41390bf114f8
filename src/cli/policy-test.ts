/**
 * `writ policy test`: what policies say, tried without a server, on a clock that stands still.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { inventoryOf } from '../decision/rehearse.ts'
import type { CoverageReport } from '../policy/coverage.ts'
import { Coverage, summed } from '../policy/coverage.ts'
import type { PolicySet, Problem } from '../policy/index.ts'
import { loadPolicySet, renderProblem } from '../policy/index.ts'
import { readPolicyFolder } from './commands/setup.ts'
import type { Context } from './context.ts'
import { CliError, exit, tell, usage } from './exit.ts'
import type { Line, Mistake, TestCase, TestFile } from './policy-test-file.ts'
import { checkNames, keyOf, readTestFile, renderMistake, TEST_FILE } from './policy-test-file.ts'
import { fromDecision } from './policy-test-from.ts'
import type { Failure, TestResult } from './policy-test-run.ts'
import { runTest } from './policy-test-run.ts'
import { watching } from './policy-test-watch.ts'
import { counted, plain } from './text.ts'

export type PolicyTestOptions = Readonly<{
  /** Only tests whose name, or whose file's name, holds this text. */
  filter?: string
  watch?: boolean
  coverage?: boolean
  /** A percentage; below it the exit code is 3. */
  minCoverage?: string
  /** A recorded decision to make a test of. */
  from?: string
  /** The file that the test is added to. */
  into?: string
}>

/**
 * Runs the tests beside the policies of a folder, or those of the files that are named. 3 if one fails or the policies
 * are not valid, 2 if a test file is not.
 */
export async function policyTest(
  context: Context,
  named: string | readonly string[] | undefined,
  options: PolicyTestOptions = {},
): Promise<number> {
  const { from, into, watch, filter, minCoverage } = options
  if (into !== undefined && from === undefined)
    throw usage('`--into` goes with `--from`', 'name the decision to make a test of')
  const places = named === undefined ? [] : typeof named === 'string' ? [named] : named
  if (from !== undefined) {
    const other =
      watch === true || filter !== undefined || options.coverage === true || minCoverage !== undefined
    if (other || places.length > 0)
      throw usage('`--from` writes a test and runs none', 'run it with `writ policy test` afterwards')
    return fromDecision(context, from, into)
  }
  const least = percentOf(minCoverage)
  const at = places.length === 0 ? [context.loaded.config.policies] : places
  if (watch === true) {
    const roots = at.map((place) => rootOf(context, place))
    return watching(context, roots, async () => {
      const { reads } = await runAll(context, at, options, least)
      return reads
    })
  }
  const { code, failure } = await runAll(context, at, options, least)
  if (failure !== undefined) throw new CliError(code, failure)
  return code
}

function percentOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const percent = /^\d{1,3}(?:\.\d+)?%?$/u.test(text) ? Number.parseFloat(text) : Number.NaN
  if (!(percent <= 100)) throw usage(`\`--min-coverage ${plain(text)}\` is no percentage`, 'from 0 to 100')
  return percent
}

type Run = Readonly<{
  code: number
  /** Why `code` is not 0. */
  failure?: string
  /** Files outside of the folders that the tests read. */
  reads: readonly string[]
}>

/** One run over everything, printed. */
async function runAll(
  context: Context,
  places: readonly string[],
  options: PolicyTestOptions,
  least: number | undefined,
): Promise<Run> {
  const files = [...new Set(places.flatMap((place) => filesOf(context, place)))]
  const mistakes: Mistake[] = []
  const problems = new Map<string, Problem>()
  const results: TestResult[] = []
  const reads: string[] = []
  const coverages = new Map<string, { coverage: Coverage; counts: Set<string> | undefined }>()
  const worlds = new Map<string, Loaded>()
  let invalid = 0
  for (const path of files) {
    const { read, mistakes: found } = readTestFile(context, path)
    mistakes.push(...found)
    if (read === undefined) continue
    reads.push(...read.reads)
    const root = rootOf(context, path, places)
    let entitiesOf: ReturnType<typeof inventories>
    let world: Loaded
    try {
      entitiesOf = inventories(read)
      world = worldOf(root, linesOfAll(read))
    } catch (error) {
      mistakes.push(read.mistake(['entities'], tell(error).message))
      continue
    }
    if ('problems' in world) {
      invalid += 1
      for (const problem of world.problems) problems.set(renderProblem(problem), problem)
      continue
    }
    const { set } = world
    const unknown = checkNames(read, set)
    mistakes.push(...unknown)
    if (unknown.length > 0) continue
    const counted = options.coverage === true || least !== undefined ? coverageOf(root, read, set) : undefined
    for (const test of read.tests) {
      if (isWanted(read, test.name, options.filter))
        results.push(await runTest(read, test, { set, entities: entitiesOf(test) }, counted))
    }
  }
  const reports = [...coverages.values()].map(({ coverage, counts }) => only(coverage.report(), counts))
  const report = reports.length === 0 ? undefined : together(reports)
  const failed = results.filter(({ ok }) => !ok).length
  print(context, { results, mistakes, problems: [...problems.values()], report })
  const attempts = results.reduce((sum, one) => sum + one.attempts, 0)
  const short = report !== undefined && least !== undefined && report.percent < least
  const code =
    mistakes.length > 0 ? exit.usage : failed > 0 || invalid > 0 || short ? exit.policyInvalid : exit.ok
  if (report !== undefined) context.note(short ? 'bad' : 'info', coverageLine(report))
  if (code === exit.ok && results.length === 0)
    return done(exit.usage, `no test is named like \`${plain(options.filter ?? '')}\``)
  if (code === exit.ok)
    context.note(
      'ok',
      `${counted(results.length, 'test', 'tests')} passed · ${counted(attempts, 'attempt', 'attempts')}`,
    )
  return done(
    code,
    mistakes.length > 0
      ? `${counted(mistakes.length, 'mistake', 'mistakes')} in test files`
      : invalid > 0
        ? 'the policies are not valid'
        : failed > 0
          ? `${failed} of ${counted(results.length, 'test', 'tests')} failed`
          : `the tests cover ${report?.percent ?? 0} % of the policies, less than ${least ?? 0} %`,
  )

  function done(exitCode: number, failure: string): Run {
    if (exitCode === exit.ok) return { code: exitCode, reads }
    if (options.watch === true) context.note('bad', failure)
    return { code: exitCode, failure, reads }
  }

  /** Files that share policies and inventory share what was loaded. */
  function worldOf(root: string, lines: readonly Line[]): Loaded {
    const key = `${root}\n${JSON.stringify(lines)}`
    const world = worlds.get(key) ?? load(context, root, lines)
    worlds.set(key, world)
    return world
  }

  /** Tests of one folder are counted together; a file that names its policies leaves the others to others. */
  function coverageOf(root: string, { policies }: TestFile, set: PolicySet): Coverage {
    const known = coverages.get(root) ?? { coverage: new Coverage(set.policies), counts: new Set<string>() }
    coverages.set(root, known)
    if (policies === undefined) known.counts = undefined
    for (const name of policies ?? []) known.counts?.add(name)
    return known.coverage
  }
}

type Entities = ReturnType<typeof inventoryOf>['entities']
type Loaded = Readonly<{ set: PolicySet }> | Readonly<{ problems: readonly Problem[] }>

/** The policies of `root` under the schema that they have, or that is derived from them and every line of `lines`. */
function load(context: Context, root: string, lines: readonly Line[]): Loaded {
  const loaded = loadPolicySet(readPolicyFolder(root), {
    hash: (text) => `sha256:${createHash('sha256').update(text).digest('hex')}`,
    inventory: inventoryOf(lines).data,
  })
  if (loaded.ok) return { set: loaded.set }
  const prefix = relative(context.io.cwd, root) || '.'
  return { problems: loaded.problems.map((problem) => ({ ...problem, file: join(prefix, problem.file) })) }
}

/** Every line that some test of a file knows; of an entity that two describe, what either says it has. */
function linesOfAll({ entities, tests }: TestFile): readonly Line[] {
  const all = new Map(entities.map((line) => [keyOf(line), line]))
  for (const line of tests.flatMap((test) => test.entities ?? [])) {
    const known = all.get(keyOf(line))
    const attrs = { ...known?.attrs, ...line.attrs }
    all.set(keyOf(line), { ...known, ...line, attrs })
  }
  return [...all.values()]
}

/** The inventory of each test: that of its file, and its own lines over it. */
function inventories(read: TestFile): (test: TestCase) => Entities {
  const shared = inventoryOf(read.entities).entities
  const own = new Map(
    read.tests.flatMap(({ at, entities }) =>
      entities === undefined ? [] : [[at, inventoryOf([...read.entities, ...entities]).entities] as const],
    ),
  )
  return ({ at }) => own.get(at) ?? shared
}

/** The test files of a folder and what is below it, or the file itself. */
function filesOf(context: Context, place: string): string[] {
  const path = resolve(context.io.cwd, place)
  if (!existsSync(path))
    throw usage(`there is no \`${plain(place)}\``, '`writ init` makes a folder with samples')
  if (!statSync(path).isDirectory()) {
    if (TEST_FILE.test(path)) return [path]
    throw usage(`\`${plain(place)}\` is no test file`, 'test files end in `.test.yaml`')
  }
  const found = readdirSync(path, { withFileTypes: true, recursive: true })
    .filter((entry) => TEST_FILE.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    // a link counts as what it leads to; one that leads nowhere is told when it is read
    .filter((file) => !existsSync(file) || statSync(file).isFile())
    .sort()
  if (found.length === 0)
    throw usage(
      `\`${plain(place)}\` holds no tests`,
      'tests are files that end in `.test.yaml`, beside the policies',
    )
  return found
}

/** The policy folder of a place: the folder that was named, the configured one, or where the policies are nearest. */
function rootOf(context: Context, place: string, places: readonly string[] = []): string {
  const { cwd } = context.io
  const path = resolve(cwd, place)
  if (existsSync(path) && statSync(path).isDirectory()) return path
  const configured = resolve(cwd, context.loaded.config.policies)
  const around = [...places.map((one) => resolve(cwd, one)), configured].find(
    (folder) => path.startsWith(`${folder}/`) && existsSync(folder) && statSync(folder).isDirectory(),
  )
  if (around !== undefined) return around
  for (let folder = dirname(path); dirname(folder) !== folder; folder = dirname(folder))
    if (existsSync(folder) && readdirSync(folder).some((name) => name.endsWith('.cedar'))) return folder
  return dirname(path)
}

const isWanted = (read: TestFile, name: string, filter: string | undefined): boolean =>
  filter === undefined || `${read.file} ${name}`.toLowerCase().includes(filter.toLowerCase())

// coverage

function only(report: CoverageReport, files: ReadonlySet<string> | undefined): CoverageReport {
  if (files === undefined) return report
  return summed(report.policies.filter(({ file }) => files.has(file)))
}

const together = (reports: readonly CoverageReport[]): CoverageReport =>
  reports.length === 1 && reports[0] !== undefined
    ? reports[0]
    : summed(reports.flatMap(({ policies }) => policies))

const coverageLine = ({ policies, percent, decided, telling, clauses }: CoverageReport): string =>
  `${percent} % covered · ${decided} of ${counted(policies.length, 'policy', 'policies')} decided something · ${telling} of ${counted(clauses, 'clause', 'clauses')} seen to hold and to fail`

// what is printed

type Printed = Readonly<{
  results: readonly TestResult[]
  mistakes: readonly Mistake[]
  problems: readonly Problem[]
  report: CoverageReport | undefined
}>

function print(context: Context, { results, mistakes, problems, report }: Printed): void {
  const failed = results.filter(({ ok }) => !ok).length
  const shown = report === undefined ? {} : { coverage: report }
  context.print(
    {
      items: results,
      more: { passed: results.length - failed, failed, mistakes, problems, ...shown },
    },
    { lines: [...linesOf(context, results), ...(report === undefined ? [] : coverageLines(report))] },
  )
  for (const problem of problems) context.say(renderProblem(problem))
  for (const mistake of mistakes) context.note('bad', renderMistake(mistake))
}

function linesOf(context: Context, results: readonly TestResult[]): string[] {
  const { io } = context
  const lines: string[] = []
  let file: string | undefined
  for (const result of results) {
    if (result.file !== file) lines.push(plain((file = result.file)))
    const attempts = result.attempts === 1 ? '' : `  ${io.styleOut('dim', `× ${result.attempts}`)}`
    const mark = result.ok ? io.styleOut('green', '✓') : io.styleOut('red', '✗')
    lines.push(`  ${mark} ${plain(result.name)}${attempts}`)
    for (const failure of result.failures.slice(0, MOST_SHOWN)) lines.push(...failureLines(result, failure))
    const more = result.failures.length - MOST_SHOWN
    if (more > 0) lines.push(`      and ${counted(more, 'attempt', 'attempts')} more`)
  }
  return lines
}

const MOST_SHOWN = 10

function failureLines({ file, line }: TestResult, failure: Failure): string[] {
  const { principal, action, resource, problems, why } = failure
  return [
    `      ${plain(principal)} × ${plain(action)} × ${plain(resource)}  ${plain(file)}:${line}`,
    ...problems.map((problem) => `        ${problem}`),
    ...why.map((one) => `          ${one}`),
  ]
}

/** What the tests leave open: policies that never decided, clauses that were always the same. */
function coverageLines({ policies }: CoverageReport): string[] {
  const lines = policies.flatMap(({ policy, file, line, decided, inScope, clauses }) => {
    const same = clauses.filter(({ held, failed }) => held !== failed)
    if (decided > 0 && same.length === 0) return []
    const said = decided > 0 ? 'decides' : inScope > 0 ? 'never decided' : 'never in scope'
    return [
      `  ${decided > 0 ? '·' : '✗'} ${plain(policy)}  ${plain(file)}:${line}  ${said}`,
      ...same.map(
        (clause) =>
          `      ${clause.line}:${clause.column}  ${clause.held === (clause.kind === 'when') ? 'never fails' : 'never holds'}: ${plain(clause.text.replaceAll(/\s+/gu, ' '))}`,
      ),
    ]
  })
  return lines.length === 0 ? [] : ['not covered', ...lines]
}
