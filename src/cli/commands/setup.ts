/**
 * `writ init`, `writ config explain`, `writ completion`.
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { settings } from '../../config/index.ts'
import { suggest } from '../../config/suggest.ts'
import type { Context } from '../context.ts'
import { cell } from '../output.ts'
import { CliError, exit, usage } from '../exit.ts'
import { fitting, plain } from '../text.ts'

/** Where the samples are: beside `src` in a checkout, beside `dist` in the package. */
export function samples(): string {
  for (let at = import.meta.dirname; dirname(at) !== at; at = dirname(at)) {
    const folder = join(at, 'policies')
    if (existsSync(join(at, 'package.json')) && existsSync(folder)) return folder
  }
  throw new CliError(exit.error, 'this installation has no sample policies', 'install the package again')
}

/** What every folder starts with: who administers Writ, and one privileged action. */
const ALWAYS = ['writ', 'migration'] as const

/** A situation of the mission that there are starter policies for; the sentence is the first of its file. */
export type Situation = Readonly<{ name: string; sentence: string }>

/** The situations that `writ init --with` knows. */
export function situations(from = samples()): readonly Situation[] {
  return readdirSync(from)
    .filter((file) => file.endsWith('.cedar'))
    .map((file) => file.slice(0, -'.cedar'.length))
    .filter((name) => !ALWAYS.some((always) => always === name))
    .sort()
    .map((name) => ({ name, sentence: firstSentence(readFileSync(join(from, `${name}.cedar`), 'utf8')) }))
}

/** Of the comment at the head of a file, however its lines are broken. */
function firstSentence(text: string): string {
  const head = /^(?:\/\/.*\n)+/u.exec(text)?.[0] ?? ''
  const comment = head.replaceAll(/^\/\/ ?/gmu, '').replaceAll('\n', ' ')
  return /^.*?\.(?= )/u.exec(comment)?.[0] ?? comment.trim()
}

/** The policies that a folder starts with. */
export function starterPolicies(chosen: readonly string[] = []): { name: string; text: string }[] {
  const from = samples()
  return [...ALWAYS, ...chosen].map((name) => ({
    name: `${name}.cedar`,
    text: readFileSync(join(from, `${name}.cedar`), 'utf8'),
  }))
}

/**
 * The sample inventory for a choice of situations. In the file each has a part of its own, which begins with a comment
 * that names it (`# vendor: …`) and ends with the next one.
 */
export function starterInventory(chosen: readonly string[] = []): string {
  const text = readFileSync(join(samples(), 'inventory.yaml'), 'utf8')
  const [always = '', ...parts] = text.split(/^(?= {2}# [\w-]+: )/mu)
  const kept = parts.filter((part) => chosen.some((name) => part.startsWith(`  # ${name}: `)))
  return `${[always, ...kept].join('').trimEnd()}\n`
}

/** Writes starter files; what is there already stays as it is. Returns what was written. */
export function initFolder(
  context: Context,
  folder: string,
  chosen: readonly string[] = [],
): readonly { file: string; written: boolean }[] {
  const from = samples()
  const wanted = [
    ...[...ALWAYS, ...chosen].flatMap((name) =>
      [`${name}.cedar`, `${name}.test.yaml`].map((file) => ({
        file: join('policies', file),
        text: readFileSync(join(from, file), 'utf8'),
      })),
    ),
    { file: 'inventory.yaml', text: starterInventory(chosen) },
    { file: 'writ.config.yaml', text: sampleConfig() },
  ]
  return wanted.map(({ file, text }) => {
    const target = resolve(folder, file)
    const written = !existsSync(target)
    if (written) {
      mkdirSync(dirname(target), { recursive: true })
      writeFileSync(target, text, { flag: 'wx' })
    }
    return { file: relative(context.io.cwd, target) || file, written }
  })
}

export type InitOptions = Readonly<{ with?: string; list?: boolean }>

export function init(context: Context, folder: string | undefined, options: InitOptions = {}): void {
  const known = situations()
  if (options.list === true) {
    context.print(
      { items: known },
      {
        columns: [
          { title: 'SITUATION', value: (row) => cell(row['name']) },
          { title: 'WHAT IT IS FOR', value: (row) => cell(row['sentence']) },
        ],
      },
    )
    context.note('info', 'next: `writ init --with <situation>,…`')
    return
  }
  const chosen = choose(options.with, known)
  const target = resolve(context.io.cwd, folder ?? '.')
  mkdirSync(target, { recursive: true })
  const done = initFolder(context, target, chosen)
  context.print(
    { items: done },
    {
      columns: [
        { title: 'FILE', value: (row) => cell(row['file']) },
        { title: '', value: (row) => (row['written'] === true ? 'written' : 'kept as it was') },
      ],
    },
  )
  const [inventory] = done.filter(({ file }) => basename(file) === 'inventory.yaml')
  if (chosen.length > 0 && inventory?.written === false) {
    const tests = chosen.map((name) => `policies/${name}.test.yaml`).join(', ')
    context.note('warn', `the inventory was there before: add who and what ${tests} begins with, or your own`)
  }
  context.note('ok', 'next: `writ policy test`, then `writ dev`, and in another terminal `writ doctor`')
}

/** The situations that were asked for, each once, in their order. */
function choose(text: string | undefined, known: readonly Situation[]): readonly string[] {
  if (text === undefined) return []
  const names = known.map(({ name }) => name)
  const wanted = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && !ALWAYS.some((always) => always === name))
  if (wanted.includes('all')) return names
  const unknown = wanted.find((name) => !names.includes(name))
  if (unknown !== undefined) {
    const meant = suggest(unknown, names)
    throw usage(
      `there are no starter policies for \`${unknown}\``,
      meant === undefined ? '`writ init --list` names what there is' : `did you mean \`${meant}\`?`,
    )
  }
  return names.filter((name) => wanted.includes(name))
}

/** Every setting of the server with its default, switched off: what differs from the defaults is then easy to see. */
function sampleConfig(): string {
  const lines = settings
    .filter(
      ({ reader, type, path }) =>
        reader === 'server' && type !== 'map' && type !== 'list' && path.length === 1,
    )
    .map((s) => `# ${s.sentence}\n# ${s.name}: ${s.default ?? ''}`.trimEnd())
  return `# Configuration of Writ: every setting is in docs/reference/configuration.md, and\n# \`writ config explain\` shows what is in force and where it comes from.\n\n${lines.join('\n\n')}\n`
}

export function configExplain(context: Context): void {
  const { loaded } = context
  const items = settings.map((setting) => ({
    name: setting.name,
    value: setting.path.reduce<unknown>(
      (at, member) => (at as Record<string, unknown> | undefined)?.[member],
      loaded.config,
    ),
    origin: loaded.origins.get(setting.name)?.where ?? 'default',
    kind: loaded.origins.get(setting.name)?.kind ?? 'default',
    sentence: setting.sentence,
    type: setting.type,
  }))
  context.print(
    { items },
    {
      columns: [
        { title: 'SETTING', value: (row) => cell(row['name']) },
        { title: 'VALUE', value: (row) => shown(row['value'], row['type']) },
        { title: 'FROM', value: (row) => cell(row['origin']) },
      ],
    },
  )
  for (const warning of loaded.warnings) context.note('warn', warning)
}

function shown(value: unknown, type: unknown): string {
  if (value === undefined) return ''
  if (type === 'duration' && typeof value === 'number') {
    const [size, unit] = (
      [
        [86_400_000, 'd'],
        [3_600_000, 'h'],
        [60_000, 'm'],
        [1_000, 's'],
      ] as const
    ).find(([s]) => value % s === 0) ?? [1, 'ms']
    return `${value / size}${unit}`
  }
  // lists and maps are whole in --json
  return fitting(cell(value), 60)
}

/** A command with its options, as completion scripts need them. */
export type Word = Readonly<{ path: string; words: readonly string[] }>

const shells = ['bash', 'zsh', 'fish'] as const

export function completion(context: Context, shell: string, words: readonly Word[]): void {
  const known = shells.find((one) => one === shell)
  if (known === undefined)
    throw usage(`no completion for \`${shell}\``, `there is one for ${shells.join(', ')}`)
  if (known === 'fish') {
    context.io.out(words.map(fishLine).join(''))
    return
  }
  const cases = words
    .map(({ path, words: all }) => `    ${quote(path)}) words=${quote(all.join(' '))} ;;`)
    .join('\n')
  // zsh reads bash's completion by itself
  const head = known === 'zsh' ? '#compdef writ\nautoload -U +X bashcompinit && bashcompinit\n' : ''
  context.io.out(`${head}_writ() {
  local path='' word words=''
  local i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    case "$word" in --) return ;; -*) continue ;; esac
    case "$path" in '') path="$word" ;; *' '*) ;; *) path="$path $word" ;; esac
  done
  case "$path" in
${cases}
    *) case "\${path%% *}" in
${words
  .filter(({ path }) => path !== '' && !path.includes(' '))
  .map(({ path, words: all }) => `      ${quote(path)}) words=${quote(all.join(' '))} ;;`)
  .join('\n')}
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _writ writ
`)
}

const quote = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`

function fishLine({ path, words }: Word): string {
  const when =
    path === '' ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${path.split(' ').at(-1) ?? ''}`
  return words.map((word) => `complete -c writ -n '${when}' -a '${word}'\n`).join('')
}

/** The policy files of a folder, and the schema if there is one. */
export function readPolicyFolder(folder: string): {
  policies: { name: string; text: string }[]
  schema?: { name: string; text: string }
} {
  const files = readdirSync(folder, { withFileTypes: true, recursive: true })
    .map((entry) => ({
      entry,
      name: relative(folder, join(entry.parentPath, entry.name)).replaceAll('\\', '/'),
    }))
    // Kubernetes keeps what it links to in folders of such names
    .filter(({ entry, name }) => !name.startsWith('..') && isPolicyFile(join(folder, name), entry))
    .map(({ name }) => name)
    .sort()
  const read = (name: string): { name: string; text: string } => ({ name, text: textOf(join(folder, name)) })
  const policies = files.filter((name) => name.endsWith('.cedar')).map(read)
  if (policies.length === 0)
    throw usage(
      `\`${folder}\` holds no policies`,
      'policies are files that end in `.cedar`; `writ init` writes samples',
    )
  const schemas = files.filter((name) => SCHEMA_FILE.test(name))
  const [schema, second] = schemas
  if (second !== undefined)
    throw usage(`\`${folder}\` holds two schemas, ${schemas.join(' and ')}`, 'keep one')
  return { policies, ...(schema === undefined ? {} : { schema: read(schema) }) }
}

const SCHEMA_FILE = /\.cedarschema(?:\.json)?$/u

/**
 * Whether a file belongs to the policies. A link counts as the file it leads to, which is how a mounted folder often has
 * all of its files.
 *
 * @throws {CliError} 2 for what has the name of one and cannot be read as one: a forbid left out in silence would permit.
 */
function isPolicyFile(path: string, entry: Readonly<{ name: string; isFile(): boolean }>): boolean {
  if (!entry.name.endsWith('.cedar') && !SCHEMA_FILE.test(entry.name)) return false
  if (entry.isFile()) return true
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined) throw usage(`\`${plain(path)}\` leads nowhere`, 'remove the link, or mend it')
  if (found.isFile()) return true
  throw usage(
    `\`${plain(path)}\` is ${found.isDirectory() ? 'a folder' : 'no file'} with the name of a policy file`,
    'rename it',
  )
}

function textOf(path: string): string {
  try {
    // a byte order mark stays: what reads policies knows it
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readFileSync(path))
  } catch (error) {
    // read all the same, two names could become one
    if (error instanceof TypeError)
      throw new CliError(exit.policyInvalid, `\`${plain(path)}\` is not UTF-8`, 'save it as UTF-8')
    throw error
  }
}
