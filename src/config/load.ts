/**
 * Reads configuration: flag > environment > `./writ.config.yaml` > `$XDG_CONFIG_HOME/writ/config.yaml` > default.
 * Nothing is guessed: what is not known or not valid is an error with its place.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import type { Node } from 'yaml'
import { z } from 'zod'
import { WritError } from '../model/errors.ts'
import type { Config, Setting } from './schema.ts'
import { configSchema, settings } from './schema.ts'
import { suggest } from './suggest.ts'
import { yaml } from './yaml.ts'

/** Where a value came from, in words for `writ config explain`. */
export type Origin = Readonly<{ kind: 'flag' | 'env' | 'file' | 'profile' | 'default'; where: string }>

export type Sources = Readonly<{
  /** By setting name, e.g. `{ port: 0, 'tls.cert': 'cert.pem' }`; `undefined` is absent. */
  flags?: Readonly<Record<string, unknown>>
  env: Readonly<Record<string, string | undefined>>
  cwd: string
  home?: string
  /** The file that stands for `./writ.config.yaml`; it must exist. Else `WRIT_CONFIG`, else the one in `cwd`. */
  file?: string
  read?: (path: string) => string | undefined
}>

/** What was loaded. Paths are as written: `resolvePath` says what they are relative to. */
export type Loaded = Readonly<{
  config: Config
  origins: ReadonlyMap<string, Origin>
  /** Configuration files that were read, nearest first. */
  files: readonly string[]
  /** Variables `WRIT_…` that nothing reads, each one sentence. */
  warnings: readonly string[]
}>

/** `WRIT_` variables that are not settings: given by `writ run` to its child, or read elsewhere. */
const otherVariables: ReadonlySet<string> = new Set([
  'WRIT_CONFIG',
  'WRIT_TOKEN',
  'WRIT_DEBUG',
  'WRIT_TASK',
  'WRIT_GRANT',
  'WRIT_RESULT_FILE',
  'WRIT_IDENTITY',
  'WRIT_AUDIENCE',
  'WRIT_ID_TOKEN',
  'WRIT_CLIENT_KEY',
  'WRIT_CLIENT_ID',
  'WRIT_SPIFFE_JWT_FILE',
])

/** A value at its place, and where what is inside it stands. */
type Found = Readonly<{
  value: unknown
  origin: Origin
  at: string
  inside?: (path: readonly PropertyKey[]) => string
}>

/**
 * Every setting with its value and origin.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` naming every problem, one a line, as `file:line:col: sentence`.
 */
export function loadConfig(sources: Sources): Loaded {
  const read = sources.read ?? readIfThere
  const problems: string[] = []
  const files = configFiles(sources, read).map((file) => parseFile(file, problems))
  const found = new Map<string, Found>()
  for (const setting of settings) {
    const value =
      fromFlag(setting, sources) ?? fromEnv(setting, sources, problems) ?? fromFiles(setting, files)
    if (value) found.set(setting.name, value)
  }
  applyProfile(found, problems)
  const raw: Record<string, unknown> = {}
  for (const setting of settings) {
    const here = found.get(setting.name)
    if (!here) continue
    const checked = setting.schema.safeParse(here.value)
    if (checked.success) put(raw, setting.path, here.value)
    else problems.push(...checked.error.issues.flatMap((issue) => describe(setting, here, issue)))
  }
  if (problems.length > 0) {
    throw new WritError('ERR_CONFIG_INVALID', problems.join('\n'), {
      hint: 'see docs/reference/configuration.md, or run `writ config explain`',
    })
  }
  const config = configSchema.parse(raw)
  const origins = new Map(
    settings.map((s) => [
      s.name,
      found.get(s.name)?.origin ?? { kind: 'default' as const, where: 'default' },
    ]),
  )
  return { config, origins, files: files.map((file) => file.path), warnings: unreadVariables(sources.env) }
}

/** `path` of a setting, absolute. Flags and variables are relative to `cwd`, as are those of the file in it. */
export function resolvePath(path: string, cwd: string, home: string = homedir()): string {
  if (path === '~' || path.startsWith('~/')) return join(home, path.slice(1))
  return isAbsolute(path) ? path : resolve(cwd, path)
}

/** `$XDG_CONFIG_HOME/writ`, by default `~/.config/writ`. A relative variable is ignored, as its specification says. */
export function configHome(env: Sources['env'], home: string = homedir()): string {
  const xdg = env['XDG_CONFIG_HOME']
  return join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(home, '.config'), 'writ')
}

/** `$XDG_STATE_HOME/writ`, by default `~/.local/state/writ`. */
export function stateHome(env: Sources['env'], home: string = homedir()): string {
  const xdg = env['XDG_STATE_HOME']
  return join(xdg !== undefined && isAbsolute(xdg) ? xdg : join(home, '.local', 'state'), 'writ')
}

// files

type File = Readonly<{ path: string; shown: string; text: string; personal: boolean }>
type ParsedFile = Readonly<{
  path: string
  shown: string
  personal: boolean
  at: (path: readonly string[]) => Found | undefined
}>

function configFiles(sources: Sources, read: (path: string) => string | undefined): File[] {
  const named = sources.file ?? sources.env['WRIT_CONFIG']
  const files: File[] = []
  const project = resolvePath(named ?? 'writ.config.yaml', sources.cwd, sources.home)
  const text = read(project)
  if (text !== undefined) {
    // a file that was named by the person themselves may say what only they may say
    files.push({ path: project, shown: named ?? './writ.config.yaml', text, personal: named !== undefined })
  } else if (named !== undefined) {
    throw new WritError('ERR_CONFIG_INVALID', `no configuration file \`${named}\``, {
      hint: 'give `--config` or WRIT_CONFIG the path of a file that exists, or make one with `writ init`',
    })
  }
  const own = join(configHome(sources.env, sources.home), 'config.yaml')
  const ownText = own === project ? undefined : read(own)
  if (ownText !== undefined) files.push({ path: own, shown: own, text: ownText, personal: true })
  return files
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) {
      return undefined
    }
    throw new WritError('ERR_CONFIG_INVALID', `cannot read \`${path}\``, {
      hint: 'check that it is a file that you may read',
      cause: error,
    })
  }
}

function parseFile(file: File, problems: string[]): ParsedFile {
  const { LineCounter, isMap, isNode, isScalar, parseDocument } = yaml()
  const lines = new LineCounter()
  const document = parseDocument(file.text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true })
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${file.shown}:${line}:${col}`
  }
  for (const error of document.errors) problems.push(`${place(error.pos[0])}: ${sentence(error.message)}`)
  const root = document.errors.length === 0 ? document.contents : null
  if (root !== null && !isMap(root)) problems.push(`${place(0)}: is not a list of names with values`)
  else if (root) unknownKeys(root, [], place, file.personal, problems)
  return {
    path: file.path,
    shown: file.shown,
    personal: file.personal,
    at(path) {
      const node = isMap(root) ? (root.getIn(path, true) as Node | undefined) : undefined
      if (node === undefined || (isScalar(node) && node.value === null)) return undefined
      const at = place(node.range?.[0] ?? 0)
      // the deepest that there is of what is wrong
      const inside = (deeper: readonly PropertyKey[]): string => {
        for (let depth = deeper.length; depth > 0; depth -= 1) {
          const found: unknown = document.getIn([...path, ...deeper.slice(0, depth)], true)
          if (isNode(found)) return place(found.range?.[0] ?? 0)
        }
        return at
      }
      return { value: node.toJS(document) as unknown, origin: { kind: 'file', where: at }, at, inside }
    },
  }
}

/** Names that no setting has, and personal ones in a file that is not the person's own. */
function unknownKeys(
  map: Node,
  path: readonly string[],
  place: (offset: number) => string,
  personal: boolean,
  problems: string[],
): void {
  const { isMap, isScalar } = yaml()
  if (!isMap(map)) return
  for (const { key, value } of map.items) {
    const name = isScalar(key) ? String(key.value) : String(key)
    const at = place(isScalar(key) ? (key.range?.[0] ?? 0) : 0)
    const here = [...path, name]
    const full = here.join('.')
    const leaf = settings.find((s) => s.name === full)
    if (leaf) {
      if (leaf.personal === true && !personal) {
        problems.push(`${at}: \`${full}\` may not stand in a project's file; put it in your own config.yaml`)
      }
    } else if (settings.some((s) => s.name.startsWith(`${full}.`))) {
      if (isMap(value)) unknownKeys(value, here, place, personal, problems)
      else if (!isScalar(value) || value.value !== null)
        problems.push(`${at}: \`${full}\` takes names with values`)
    } else {
      const near = suggest(
        full,
        settings.flatMap((s) => [s.name, s.path.slice(0, path.length + 1).join('.')]),
      )
      problems.push(
        `${at}: unknown setting \`${full}\`${near === undefined ? '' : `, did you mean \`${near}\`?`}`,
      )
    }
  }
}

function fromFiles(setting: Setting, files: readonly ParsedFile[]): Found | undefined {
  for (const file of files) {
    const found = file.at(setting.path)
    if (found && !(setting.personal === true && !file.personal)) return found
  }
  return undefined
}

// flags, variables, profiles

function fromFlag(setting: Setting, sources: Sources): Found | undefined {
  const value = sources.flags?.[setting.name]
  if (value === undefined) return undefined
  const flag = `--${setting.name.replaceAll(/[._]/gu, '-')}`
  return { value, origin: { kind: 'flag', where: flag }, at: flag }
}

function fromEnv(setting: Setting, sources: Sources, problems: string[]): Found | undefined {
  const name = setting.env
  const text = name === undefined ? undefined : sources.env[name]
  if (name === undefined || text === undefined || text === '') return undefined
  const origin: Origin = { kind: 'env', where: name }
  if (setting.type === 'integer' || setting.type === 'bytes') {
    if (!/^\d{1,15}$/u.test(text)) {
      problems.push(`${name}: \`${setting.name}\` is not a whole number`)
      return undefined
    }
    return { value: Number(text), origin, at: name }
  }
  if (setting.type === 'boolean') return { value: text === '1' || text === 'true', origin, at: name }
  return { value: text, origin, at: name }
}

/** A profile's settings stand above those of the files and below flags and variables. */
function applyProfile(found: Map<string, Found>, problems: string[]): void {
  const name = found.get('profile')
  if (name === undefined || typeof name.value !== 'string') return
  const profiles = found.get('profiles')
  const all = profiles?.value
  const chosen: unknown =
    typeof all === 'object' && all !== null && Object.hasOwn(all, name.value)
      ? (all as Record<string, unknown>)[name.value]
      : undefined
  if (typeof chosen !== 'object' || chosen === null) {
    const near = suggest(name.value, typeof all === 'object' && all !== null ? Object.keys(all) : [])
    problems.push(
      `${name.at}: no profile \`${name.value}\`${near === undefined ? '' : `, did you mean \`${near}\`?`}`,
    )
    return
  }
  for (const [member, value] of Object.entries(chosen)) {
    const kind = found.get(member)?.origin.kind
    if (kind === 'flag' || kind === 'env') continue
    const where = `profile ${name.value}`
    found.set(member, { value, origin: { kind: 'profile', where }, at: profiles?.at ?? where })
  }
}

function unreadVariables(env: Sources['env']): string[] {
  const known = [...settings.flatMap((s) => (s.env === undefined ? [] : [s.env])), ...otherVariables]
  return Object.keys(env)
    .filter((name) => name.startsWith('WRIT_') && !known.includes(name))
    .map((name) => {
      const near = suggest(name, known)
      return `nothing reads the variable \`${name}\`${near === undefined ? '' : `, did you mean \`${near}\`?`}`
    })
}

function describe(setting: Setting, found: Found, issue: z.core.$ZodIssue): string[] {
  const at = found.inside?.(issue.path) ?? found.at
  const name = [setting.name, ...issue.path.map(String)].join('.')
  if (issue.code === 'unrecognized_keys') {
    const known = membersOf(setting, issue.path)
    return issue.keys.map((key) => {
      const near = suggest(key, known)
      const hint = near === undefined ? '' : `, did you mean \`${near}\`?`
      return `${found.inside?.([...issue.path, key]) ?? at}: unknown setting \`${name}.${key}\`${hint}`
    })
  }
  if (issue.code === 'invalid_type' && issue.message.startsWith('Invalid input: ')) {
    const is = issue.message.endsWith('received undefined')
      ? 'is missing'
      : `is not ${kindText(issue.expected)}`
    return [`${at}: \`${name}\` ${is}`]
  }
  return [`${at}: \`${name}\` ${sentence(issue.message)}`]
}

function kindText(expected: string): string {
  if (expected === 'array') return 'a list; put it in `[` and `]`'
  if (expected === 'object' || expected === 'record') return 'names with values'
  return expected === 'string' ? 'text; put it in quotes' : `a ${expected}`
}

/** The names that there are at a place inside a setting. */
function membersOf({ schema }: Setting, path: readonly PropertyKey[]): string[] {
  type Part = Readonly<{
    properties?: Record<string, Part>
    items?: Part
    additionalProperties?: Part | boolean
    anyOf?: readonly Part[]
  }>
  let parts: Part[] = [z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Part]
  const alternatives = (part: Part): Part[] => [part, ...(part.anyOf ?? []).flatMap(alternatives)]
  for (const member of path) {
    parts = parts.flatMap(alternatives).flatMap(({ properties, items, additionalProperties: rest }) => {
      const next = typeof member === 'number' ? items : (properties?.[String(member)] ?? rest)
      return typeof next === 'object' ? [next] : []
    })
  }
  return parts.flatMap(alternatives).flatMap(({ properties }) => Object.keys(properties ?? {}))
}

/** Messages of libraries as ours are: lowercase, no period. */
function sentence(message: string): string {
  const line = message.split('\n', 1)[0] ?? message
  return (line.charAt(0).toLowerCase() + line.slice(1)).replace(/\.$/u, '')
}

function put(into: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let here = into
  for (const member of path.slice(0, -1)) here = (here[member] ??= {}) as Record<string, unknown>
  here[path.at(-1) as string] = value
}
