/**
 * `writ policy fmt`: policy files in one layout.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, relative, resolve } from 'node:path'
import type { Problem } from '../policy/index.ts'
import { formatPolicies, renderProblem } from '../policy/index.ts'
import type { Context } from './context.ts'
import { exit, usage } from './exit.ts'
import { invalid } from './policy-folder.ts'
import { cell } from './output.ts'
import { counted, plain, plainLines } from './text.ts'

/** Formats files, the policy files of folders, or with `-` standard input. 3 if one cannot be, or with `check` is not. */
export async function policyFmt(
  context: Context,
  paths: readonly string[],
  options: Readonly<{ check?: boolean }>,
): Promise<number> {
  if (paths.includes('-')) {
    if (paths.length > 1) throw usage('`-` stands alone', 'it formats standard input')
    return formatStdin(context, options.check === true)
  }
  const files = (paths.length === 0 ? [context.loaded.config.policies] : paths).flatMap((path) =>
    filesOf(context, path),
  )
  const items: { file: string; state: 'formatted' | 'unformatted' | 'unchanged' | 'refused' }[] = []
  const problems: Problem[] = []
  for (const file of new Set(files)) {
    const name = relative(context.io.cwd, file) || file
    const text = textOf(file)
    const formatted =
      text === undefined ? ({ ok: false, problem: notText(name) } as const) : formatPolicies(name, text)
    if (!formatted.ok) {
      problems.push(formatted.problem)
      items.push({ file: name, state: 'refused' })
    } else if (formatted.text === text) items.push({ file: name, state: 'unchanged' })
    else if (options.check === true) items.push({ file: name, state: 'unformatted' })
    else {
      replace(file, formatted.text)
      items.push({ file: name, state: 'formatted' })
    }
  }
  const changed = items.filter(({ state }) => state === 'formatted' || state === 'unformatted')
  context.print(
    { items },
    // as with other formatters: the files that change, one a line
    { lines: changed.map(({ file }) => cell(file)) },
  )
  for (const problem of problems) context.say(renderProblem(problem))
  const count = (n: number): string => counted(n, 'file', 'files')
  if (problems.length > 0)
    throw invalid(counted(problems.length, 'file is left as it was', 'files are left as they were'))
  if (options.check === true && changed.length > 0)
    throw invalid(`${count(changed.length)} would change`, '`writ policy fmt` formats them')
  const same = items.length - changed.length
  const rest = counted(same, 'file was so already', 'files were so already')
  const parts = [
    ...(changed.length === 0 ? [] : [`${count(changed.length)} formatted`]),
    ...(same === 0 && changed.length > 0 ? [] : [rest]),
  ]
  context.note('ok', parts.join(', '))
  return exit.ok
}

async function formatStdin(context: Context, check: boolean): Promise<number> {
  const text = await context.io.stdin()
  const formatted = formatPolicies('standard input', text)
  if (!formatted.ok) {
    context.say(renderProblem(formatted.problem))
    throw invalid('standard input is not formatted')
  }
  if (check) {
    if (formatted.text !== text) throw invalid('standard input would change')
    return exit.ok
  }
  context.io.out(context.io.columns > 0 ? plainLines(formatted.text) : formatted.text)
  return exit.ok
}

function filesOf(context: Context, path: string): string[] {
  const at = resolve(context.io.cwd, path)
  if (!existsSync(at)) throw usage(`there is no \`${plain(path)}\``, 'name policy files or a folder of them')
  if (!statSync(at).isDirectory()) {
    if (!at.endsWith('.cedar'))
      throw usage(`\`${plain(path)}\` does not end in \`.cedar\``, 'schemas have no formatter')
    return [at]
  }
  const found = readdirSync(at, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.cedar'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
  if (found.length === 0)
    throw usage(
      `\`${plain(path)}\` holds no policy files`,
      'links are formatted where they are named themselves',
    )
  return found
}

/** `undefined` for bytes that are no UTF-8: written back they would be others. */
function textOf(file: string): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readFileSync(file))
  } catch (error) {
    if (error instanceof TypeError) return undefined
    throw error
  }
}

const notText = (file: string): Problem => ({
  code: 'P001',
  severity: 'error',
  message: 'the file is not UTF-8',
  file,
  line: 1,
  column: 1,
  excerpt: '',
  hint: 'save it as UTF-8',
})

/** Whole or not at all, and where a link leads, with the mode that the file has. */
function replace(file: string, text: string): void {
  const target = realpathSync(file)
  const temporary = `${target}.${randomBytes(6).toString('hex')}.tmp`
  const handle = openSync(temporary, 'wx', 0o600)
  try {
    try {
      writeFileSync(handle, text)
      fchmodSync(handle, statSync(target).mode & 0o7777)
      fsyncSync(handle)
    } finally {
      closeSync(handle)
    }
    renameSync(temporary, target)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}
