/**
 * Runs the tests: `npm test -- [PATH…] [--grep PATTERN] [--soak]`.
 *
 * Every `*.test.ts` of `src`, `client`, `policies`, `scripts` and `test` runs in a process of its own; a PATH is a file, a
 * folder or a part of a path. The heavy folders start first, so that two cores stay busy to the end. What a
 * file prints is shown only if something in it failed. The last line is `N passed, N failed`, and the exit
 * status is 1 on any failure, on a file without tests, and when nothing ran.
 *
 * @module
 */
import { globSync, mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { run } from 'node:test'
import type { EventData } from 'node:test'
import { pathToFileURL } from 'node:url'
import { inspect, parseArgs, styleText } from 'node:util'
import { engineFlags } from './support/engine.ts'

const ROOT = resolve(import.meta.dirname, '..')
const HEAVY = ['test/e2e/', 'test/crash/', 'test/machine/', 'test/']
const SLOWEST = 10
/** A file that takes longer hangs, ms: two minutes' work may take many where others work too. */
const FILE_TIMEOUT_MS = 900_000
/** A mutant may make its test wait for what never comes, ms. */
const MUTANT_TIMEOUT_MS = 120_000
const OUTPUT_LINES = 200

const { values, positionals } = parseArgs({
  options: {
    grep: { type: 'string', multiple: true },
    soak: { type: 'boolean', default: false },
    // for mutants: a failed test may leave a server open that would keep its process alive
    'force-exit': { type: 'boolean', default: false },
  },
  allowPositionals: true,
})
if (values.soak) process.env['WRIT_SOAK'] = '1'

const files = findTests(positionals)
if (files.length === 0) {
  console.error(
    positionals.length === 0
      ? 'no test files found'
      : `no test file matches ${positionals.map((p) => `\`${p}\``).join(', ')}`,
  )
  process.exit(1)
}

// every process would compile the same: what one has compiled the others take; for one file that costs more than it gives
if (files.length > 1 && process.env['NODE_COMPILE_CACHE'] === undefined) {
  const folder = mkdtempSync(join(tmpdir(), 'writ-compiled-'))
  process.env['NODE_COMPILE_CACHE'] = folder
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
}

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort())

type Finished = { file: string; name: string; ms: number }
const failures: (Finished & { error: unknown })[] = []
const finished: Finished[] = []
const skipped: { file: string; name: string; reason: string }[] = []
const output = new Map<string, string[]>()
let passed = 0

const started = performance.now()
const stream = run({
  files,
  concurrency: Math.min(availableParallelism(), 4),
  signal: stop.signal,
  execArgv: [
    ...engineFlags,
    // what is drawn at random is the same in every run: a change is judged by what it changed; a soak draws anew
    ...(values.soak
      ? []
      : ['--import', pathToFileURL(resolve(import.meta.dirname, 'support/seed.mjs')).href]),
    ...(values['force-exit'] ? ['--test-force-exit'] : []),
  ],
  ...(values.soak ? {} : { timeout: values['force-exit'] ? MUTANT_TIMEOUT_MS : FILE_TIMEOUT_MS }),
  ...(values.grep ? { testNamePatterns: values.grep.map((pattern) => new RegExp(pattern)) } : {}),
})
stream.on('test:pass', onPass)
stream.on('test:fail', onFail)
stream.on('test:stdout', ({ file, message }) => keep(file, message))
stream.on('test:stderr', ({ file, message }) => keep(file, message))
stream.on('test:diagnostic', ({ file, message }) => {
  if (file !== undefined) keep(file, `${message}\n`)
})
stream.on('test:summary', ({ file, counts, duration_ms: ms, success }) => {
  if (file === undefined || counts.tests === 0) return
  const mark = success ? styleText('green', '✔') : styleText('red', '✖')
  console.log(`${mark} ${short(file)} ${styleText('dim', `${counts.tests} tests, ${took(ms)}`)}`)
})
for await (const _ of stream);
report()

/** The test files whose path contains one of `wanted` (all, if none), heavy folders first. */
function findTests(wanted: readonly string[]): string[] {
  const weight = (file: string) => {
    const at = HEAVY.findIndex((folder) => file.startsWith(folder))
    return at === -1 ? HEAVY.length : at
  }
  const fragments = wanted.map((path) => relative(ROOT, resolve(path))).concat(wanted)
  return globSync('{src,client,policies,scripts,test}/**/*.test.ts', {
    cwd: ROOT,
    exclude: (name) => name === 'node_modules' || name === 'dist',
  })
    .filter((file) => wanted.length === 0 || fragments.some((fragment) => file.includes(fragment)))
    .sort((a, b) => weight(a) - weight(b) || a.localeCompare(b))
    .map((file) => resolve(ROOT, file))
}

function onPass({ name, file, details, skip, todo }: EventData.TestPass): void {
  if (details.type === 'suite') return
  const where = short(file)
  if (name === file) {
    // what Node reports for a file in which no test was defined, or none was selected
    if (!values.grep) failures.push({ file: where, name: 'the file', ms: 0, error: 'no tests in this file' })
  } else if (isSet(skip) || isSet(todo)) {
    skipped.push({
      file: where,
      name,
      reason: [skip, todo].find((it) => typeof it === 'string') ?? 'no reason given',
    })
  } else {
    passed += 1
    finished.push({ file: where, name, ms: details.duration_ms })
  }
}

function onFail({ name, file, details, todo }: EventData.TestFail): void {
  const where = short(file)
  const error = details.error
  if (isSet(todo)) {
    skipped.push({ file: where, name, reason: 'to do' })
    return
  }
  // the parent of a failed test fails too, and says nothing new
  if ('failureType' in error && error.failureType === 'subtestsFailed') return
  const itself = name === file
  finished.push({ file: where, name, ms: details.duration_ms })
  failures.push({
    file: where,
    name: itself ? 'the file' : name,
    ms: details.duration_ms,
    error: itself ? 'the process of this file failed (its output is below)' : (error.cause ?? error),
  })
  console.log(`${styleText('red', '✖')} ${where}: ${itself ? 'failed' : name}`)
}

function isSet(mark: string | boolean | undefined): boolean {
  return mark !== undefined && mark !== false
}

function keep(file: string, message: string): void {
  const lines = output.get(short(file)) ?? []
  lines.push(message)
  output.set(short(file), lines)
}

function report(): void {
  for (const { file, name, error } of failures) {
    console.log(`\n${styleText('red', '✖')} ${file}: ${styleText('bold', name)}`)
    console.log((typeof error === 'string' ? error : inspect(error, { depth: 6 })).replaceAll(/^/gm, '    '))
  }
  for (const file of new Set(failures.map((failure) => failure.file))) {
    const lines = (output.get(file) ?? []).join('').trimEnd().split('\n')
    if (lines.join('') === '') continue
    console.log(`\n${styleText('dim', `what ${file} printed (last ${OUTPUT_LINES} lines):`)}`)
    console.log(lines.slice(-OUTPUT_LINES).join('\n').replaceAll(/^/gm, '    '))
  }
  if (skipped.length > 0) {
    console.log(`\n${skipped.length} skipped:`)
    for (const { file, name, reason } of skipped) console.log(`  ${file}: ${name} (${reason})`)
  }
  const slow = finished.toSorted((a, b) => b.ms - a.ms).slice(0, SLOWEST)
  console.log(`\nten slowest of ${finished.length}, all in ${took(performance.now() - started)}:`)
  for (const { file, name, ms } of slow) console.log(`  ${took(ms).padStart(8)}  ${file}: ${name}`)
  if (failures.length > 0) console.log('\nfailed:')
  for (const { file, name, error } of failures) {
    const [line] = (error instanceof Error ? error.message : inspect(error)).split('\n')
    console.log(`${styleText('red', '✖')} ${file}: ${name}: ${line}`)
  }
  if (stop.signal.aborted) console.log('\ninterrupted')
  else if (passed + failures.length === 0) console.log('\nno test ran')
  console.log(`\n${passed} passed, ${failures.length} failed`)
  process.exitCode = failures.length > 0 || passed === 0 || stop.signal.aborted ? 1 : 0
}

function short(file: string | undefined): string {
  return file === undefined ? '(unknown file)' : relative(ROOT, file)
}

function took(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}
