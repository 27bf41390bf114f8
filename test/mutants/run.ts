/**
 * Proves that tests guard what they name: `npm run mutants -- [NAME…]` (all, if none is named).
 *
 * A mutant is a patch in this folder that removes one guard. Its first lines say which test must notice:
 *
 * ```
 * # what: the revocation barrier (law 2)
 * # test: src/lives/grant.test.ts
 * # grep: C2 a revoked grant permits nothing
 * ```
 *
 * followed by `git diff` output. The named tests must pass without the patch and fail with it. A patch that
 * no longer applies, or that breaks the file so that no test runs, fails too. `grep` is plain text.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { parseArgs, styleText } from 'node:util'

const ROOT = resolve(import.meta.dirname, '../..')
const LEFT_OUT = ['node_modules', '.git', 'dist', 'writ-data']
/** A mutant that makes its test hang has been noticed, ms. */
const TEST_TIMEOUT_MS = 240_000

type Mutant = Readonly<{ name: string; patch: string; what: string; test: string; grep: string }>
type Run = Readonly<{ status: 'passed' | 'failed' | 'broken'; output: string }>

const { positionals } = parseArgs({ allowPositionals: true })
const all = globSync('*.patch', { cwd: import.meta.dirname })
  .sort()
  .map(read)
const unknown = positionals.filter((name) => !all.some((mutant) => mutant.name === name))
if (unknown.length > 0 || all.length === 0) {
  const names = all.map(({ name }) => name).join(', ')
  console.error(
    all.length === 0 ? 'no mutants stored' : `no mutant \`${unknown.join('`, `')}\`; there are ${names}`,
  )
  process.exit(1)
}

const chosen = positionals.length === 0 ? all : all.filter(({ name }) => positionals.includes(name))
/** Runs without a patch, by test and grep: several mutants may share one. */
const intact = new Map<string, Run>()
let survivors = 0
for (const mutant of chosen) {
  const failure = tryOut(mutant)
  if (failure === undefined) {
    console.log(
      `${styleText('green', '✔')} ${mutant.name}: ${mutant.what}, noticed by "${mutant.grep || mutant.test}"`,
    )
  } else {
    survivors += 1
    console.log(`${styleText('red', '✖')} ${mutant.name}: ${failure}`)
  }
}
console.log(`\n${chosen.length - survivors} noticed, ${survivors} not`)
process.exitCode = survivors === 0 ? 0 : 1

/** Why `mutant` proves nothing, or `undefined` if its test noticed it. */
function tryOut(mutant: Mutant): string | undefined {
  const copy = mkdtempSync(join(tmpdir(), 'writ-mutant-'))
  try {
    for (const entry of globSync('{*,.*}', { cwd: ROOT }))
      if (!LEFT_OUT.includes(entry)) cpSync(join(ROOT, entry), join(copy, entry), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))

    const key = `${mutant.test}\n${mutant.grep}`
    const before = intact.get(key) ?? runTest(copy, mutant)
    intact.set(key, before)
    if (before.status !== 'passed') return `its test fails without it\n${before.output}`

    const patch = spawnSync('git', ['apply', '-C2', mutant.patch], {
      cwd: copy,
      encoding: 'utf8',
      env: withoutContext(),
    })
    if (patch.status !== 0) return `the patch no longer applies\n${patch.stderr}${patch.error?.message ?? ''}`

    const after = runTest(copy, mutant)
    if (after.status === 'passed') return `survived: ${mutant.what}`
    if (after.status === 'broken') return `no test ran with it\n${after.output}`
    return undefined
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

function runTest(folder: string, { test, grep }: Mutant): Run {
  const filter = grep === '' ? [] : ['--grep', RegExp.escape(grep)]
  const { status, stdout, stderr, error } = spawnSync(
    process.execPath,
    [join(folder, 'test/run.ts'), test, '--force-exit', ...filter],
    { cwd: folder, env: withoutContext(), encoding: 'utf8', timeout: TEST_TIMEOUT_MS, maxBuffer: 64 << 20 },
  )
  const output = `${stdout}${stderr}${error?.message ?? ''}`
  if (status === 0) return { status: 'passed', output }
  if (error !== undefined && 'code' in error && error.code === 'ETIMEDOUT')
    return { status: 'failed', output }
  // a file that does not load fails as a whole; what a guard misses fails in a test
  return { status: /✖ .*: (?!the file|failed)/.test(output) ? 'failed' : 'broken', output }
}

function read(file: string): Mutant {
  const patch = join(import.meta.dirname, file)
  const text = readFileSync(patch, 'utf8')
  const header = (key: string) => new RegExp(`^# ${key}: *(.+?) *$`, 'm').exec(text)?.[1] ?? ''
  const mutant = {
    name: basename(file, '.patch'),
    patch,
    what: header('what'),
    test: header('test'),
    grep: header('grep'),
  }
  if (mutant.test === '') throw new Error(`\`${patch}\` has no line \`# test: PATH\``)
  return mutant
}

/** Neither a hook nor a test that we are called from may tell git or the test runner where they are. */
function withoutContext(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('GIT_') && name !== 'NODE_TEST_CONTEXT'),
  )
}
