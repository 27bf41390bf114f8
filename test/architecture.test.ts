/**
 * The shape of the house: which folder may import which, no cycles, what is pure, nothing unreachable.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, normalize, resolve } from 'node:path'
import { describe, test } from 'node:test'

const ROOT = resolve(import.meta.dirname, '..')

/** From the door to the nouns: code imports from lines below its own, never beside or above. */
const LAYERS = [
  ['src/doors'],
  ['src/flows'],
  ['src/decision', 'src/lives', 'src/signals', 'src/targets'],
  ['src/identity', 'src/context', 'src/policy', 'src/audit'],
  ['src/store'],
  ['src/model'],
]

/** Parts beside that line, and those of it that know less or more. */
const EXCEPTIONS: Readonly<Record<string, readonly string[]>> = {
  'src/policy': ['src/model'],
  'src/wire': ['src/model'],
  'src/config': ['src/model', 'src/wire'],
  'src/doors': [...below('src/doors'), 'src/config', 'src/wire'],
  'src/flows': [...below('src/flows'), 'src/config'],
  'src/cli': ['client', 'src/wire', 'src/config', 'src/version.ts'],
  client: [],
}

/** The composition root knows everyone; these three commands alone start it. */
const COMPOSITION_ROOT = 'src/app.ts'
const MAY_START_IT = ['src/cli/dev.ts', 'src/cli/server.ts', 'src/cli/demo.ts']
/** Commands that work without a server: they check policies, verify what was recorded, and witness it. */
const MAY_LOOK_INSIDE: Readonly<Record<string, readonly string[]>> = {
  'src/cli/policy-folder.ts': ['src/policy', 'src/decision/rehearse.ts', 'src/model/errors.ts'],
  'src/cli/policy-fmt.ts': ['src/policy'],
  'src/cli/policy-eval.ts': ['src/policy', 'src/decision/rehearse.ts'],
  'src/cli/sarif.ts': ['src/policy'],
  'src/cli/policy-test.ts': ['src/policy', 'src/decision/rehearse.ts'],
  'src/cli/policy-test-file.ts': ['src/policy', 'src/decision/rehearse.ts'],
  'src/cli/policy-test-from.ts': ['src/policy'],
  'src/cli/policy-test-run.ts': ['src/policy', 'src/decision/rehearse.ts'],
  'src/cli/audit.ts': ['src/audit', 'src/decision/redecide.ts'],
  'src/cli/proof.ts': ['src/audit', 'src/decision/reference.ts'],
  'src/cli/witness.ts': ['src/audit'],
  'src/cli/export.ts': ['src/audit'],
}
/** Libraries that the pure parts may use: they compute. */
const PURE = { 'src/model': ['canonicalize'], 'src/policy': ['@cedar-policy/cedar-wasm'] } as const
/** What would make a pure part depend on when or where it runs. */
const IMPURE =
  /\bDate\.now\b|\bnew Date\(\s*\)|\bMath\.random\b|\bprocess\.|\bfetch\(|\bsetTimeout\b|\bcrypto\.(?!subtle)|\bperformance\./
const CLIENT_LIBRARIES = ['eventsource-parser']

type Import = Readonly<{ from: string; specifier: string; to?: string; isType: boolean }>

const files = globSync('{src,client}/**/*.ts', {
  cwd: ROOT,
  exclude: (name) => name === 'node_modules' || name === 'dist',
}).map((file) => file.replaceAll('\\', '/'))
const sources = files.filter((file) => !file.endsWith('.test.ts'))
const text = new Map(sources.map((file) => [file, withoutComments(readFileSync(join(ROOT, file), 'utf8'))]))
const imports = sources.flatMap(importsOf)

describe('the house', () => {
  test('imports point one way', () => {
    const wrong = imports.flatMap(({ from, to }) => {
      if (to === undefined) return []
      const [source, target] = [part(from), part(to)]
      if (source === target || from === COMPOSITION_ROOT) return []
      if (to === COMPOSITION_ROOT) return MAY_START_IT.includes(from) ? [] : [`${from} imports ${to}`]
      if (isEntry(from) && !isPart(source)) return []
      if (!isPart(source)) return [`${from}: \`${source}\` has no place in the house`]
      if (MAY_LOOK_INSIDE[from]?.some((inside) => inside === target || inside === to)) return []
      const allowed = EXCEPTIONS[source] ?? below(source)
      return allowed.includes(target) ? [] : [`${from} imports ${to}: ${source} may not know ${target}`]
    })
    assert.deepEqual(wrong, [])
  })

  test('no import cycles', () => {
    assert.deepEqual(cycles(imports.filter(({ isType }) => !isType)), [], 'between files')
    const between = imports
      .filter(({ to }) => to !== undefined)
      .map((it) => ({ ...it, from: part(it.from), to: part(it.to ?? '') }))
      .filter(({ from, to }) => from !== to)
    assert.deepEqual(cycles(between), [], 'between folders')
  })

  test('relative imports name a file that exists', () => {
    const known = new Set(files)
    const wrong = imports
      .filter(({ to }) => to !== undefined && isOurs(to) && to.endsWith('.ts') && !known.has(to))
      .map(({ from, specifier }) => `${from} imports ${specifier}`)
    assert.deepEqual(wrong, [])
  })

  test('only tests reach outside src and client', () => {
    const wrong = imports.filter(({ to }) => to !== undefined && !isOurs(to) && to !== 'package.json')
    assert.deepEqual(
      wrong.map(({ from, specifier }) => `${from} imports ${specifier}`),
      [],
    )
  })

  for (const [folder, libraries] of Object.entries(PURE)) {
    test(`${folder} is pure`, () => {
      const outside = imports.filter(
        ({ from, to, specifier }) =>
          part(from) === folder && to === undefined && !libraries.some((name) => isFrom(specifier, name)),
      )
      assert.deepEqual(
        outside.map(({ from, specifier }) => `${from} imports ${specifier}`),
        [],
      )
      const impure = sources
        .filter((file) => part(file) === folder)
        .flatMap((file) => {
          const found = IMPURE.exec(text.get(file) ?? '')
          return found === null ? [] : [`${file} uses ${found[0]}`]
        })
      assert.deepEqual(impure, [])
    })
  }

  test('the client depends on nothing but web APIs', () => {
    const wrong = imports.filter(
      ({ from, to, specifier }) =>
        part(from) === 'client' &&
        to === undefined &&
        !CLIENT_LIBRARIES.some((name) => isFrom(specifier, name)),
    )
    assert.deepEqual(
      wrong.map(({ from, specifier }) => `${from} imports ${specifier}`),
      [],
    )
  })

  test('every library is a dependency of the package', () => {
    const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<string, object>
    const declared = Object.keys({ ...manifest['dependencies'], ...manifest['optionalDependencies'] })
    const wrong = imports
      // types vanish, so a development dependency may supply them
      .filter(({ to, isType, specifier }) => to === undefined && !isType && !isBuiltin(specifier))
      .filter(({ specifier }) => !declared.some((name) => isFrom(specifier, name)))
    assert.deepEqual(
      wrong.map(({ from, specifier }) => `${from} imports ${specifier}`),
      [],
    )
  })

  test('every file is reached from an entry point', () => {
    const reached = new Set<string>()
    const visit = (file: string) => {
      if (reached.has(file)) return
      reached.add(file)
      for (const { from, to } of imports) if (from === file && to !== undefined) visit(to)
    }
    const entries = sources.filter(isEntry)
    // while the house is being built there may be no door to enter by
    if (!entries.includes('src/cli/main.ts')) return
    entries.forEach(visit)
    assert.deepEqual(
      sources.filter((file) => !reached.has(file)),
      [],
    )
  })
})

/** The folder a file belongs to, as `LAYERS` spells it. */
function part(file: string): string {
  const [first = '', second = ''] = file.split('/')
  return first === 'client' ? 'client' : `${first}/${second}`
}

/** The parts on the lines below that of `folder`; none if it has no line. */
function below(folder: string): readonly string[] {
  const line = LAYERS.findIndex((parts) => parts.includes(folder))
  return line === -1 ? [] : LAYERS.slice(line + 1).flat()
}

function isPart(folder: string): boolean {
  return folder in EXCEPTIONS || LAYERS.some((parts) => parts.includes(folder))
}

/** What runs or is imported from outside: the command, threads, the exports of the package, test support. */
function isEntry(file: string): boolean {
  const exported = ['src/cli/main.ts', 'src/policy/index.ts', 'src/testing.ts', 'src/audit/verify.ts']
  const isThread = file.endsWith('-thread.ts')
  return file.startsWith('client/') || isThread || exported.includes(file) || file === COMPOSITION_ROOT
}

function isOurs(file: string): boolean {
  return file.startsWith('src/') || file.startsWith('client/')
}

function isFrom(specifier: string, library: string): boolean {
  return specifier === library || specifier.startsWith(`${library}/`)
}

function isBuiltin(specifier: string): boolean {
  return specifier.startsWith('node:') || builtinModules.includes(specifier)
}

function importsOf(file: string): Import[] {
  // static imports and re-exports, side effects, and `import('…')`, as value or as type
  const pattern =
    /(?:^|[\n;])\s*(?:import|export)\s+(type\s)?(?:[\w$*{}\s,]+?\sfrom\s*)?['"]([^'"\n]+)['"]|(typeof\s+)?\bimport\(\s*['"]([^'"\n]+)['"]/g
  return [...(text.get(file) ?? '').matchAll(pattern)].map((match) => {
    const specifier = match[2] ?? match[4] ?? ''
    const isType = match[1] !== undefined || match[3] !== undefined
    if (!specifier.startsWith('.')) return { from: file, specifier, isType }
    return {
      from: file,
      specifier,
      to: normalize(join(dirname(file), specifier)).replaceAll('\\', '/'),
      isType,
    }
  })
}

/** Comments out, strings left as they are. */
function withoutComments(source: string): string {
  return source.replaceAll(
    /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|\/\*[\s\S]*?\*\/|(?<![:\\/])\/\/[^\n]*/g,
    (_, literal: string | undefined) => literal ?? '',
  )
}

/** One line for each cycle found, e.g. `a → b → a`. */
function cycles(edges: readonly Import[]): string[] {
  const next = new Map<string, Set<string>>()
  for (const { from, to } of edges)
    if (to !== undefined) next.set(from, (next.get(from) ?? new Set()).add(to))
  const found: string[] = []
  const done = new Set<string>()
  const path: string[] = []
  const visit = (node: string) => {
    const at = path.indexOf(node)
    if (at !== -1) found.push([...path.slice(at), node].join(' → '))
    if (at !== -1 || done.has(node)) return
    path.push(node)
    for (const other of next.get(node) ?? []) visit(other)
    path.pop()
    done.add(node)
  }
  for (const node of next.keys()) visit(node)
  return found
}
