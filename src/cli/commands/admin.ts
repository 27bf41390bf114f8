/**
 * `writ people`, `target`, `keys`, `inventory`: what an administrator sets up.
 *
 * @module
 */
import { closeSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseDocument } from 'yaml'
import type { EntityInput, Finding, Properties } from '../../../client/src/index.ts'
import { entityInput } from '../../wire/v1/index.ts'
import type { Context } from '../context.ts'
import { cell } from '../output.ts'
import { exit, usage } from '../exit.ts'
import { plain, when } from '../text.ts'
import { limitOf } from './requests.ts'

export async function invite(
  context: Context,
  id: string,
  options: { name?: string; group?: readonly string[] },
): Promise<void> {
  const invitation = await context.writ.people.invite({
    id,
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.group === undefined ? {} : { groups: options.group.map(groupRef) }),
  })
  context.print({ item: { person: `Person/${id}`, ...invitation } }, { lines: [invitation.code] })
  context.note(
    'info',
    `one use, ends ${when(invitation.ends_at, context.io.now())} · they run \`writ login --code\`, or open ${context.url} and type it`,
  )
}

const groupRef = (text: string): string => (text.includes('/') ? text : `Group/${text}`)

// keys

export type KeyOptions = Readonly<{
  subject?: string
  ttl?: string
  speaksFor?: readonly string[]
  asserts?: readonly string[]
  out?: string
}>

export async function keyCreate(context: Context, name: string, options: KeyOptions): Promise<void> {
  const { subject, speaksFor } = options
  if (subject === undefined)
    throw usage('`--subject` is missing', 'name whose key it is, e.g. `--subject Agent/migrator`')
  // opened before the key exists: a key that could not be kept would be a key that nobody has
  const file =
    options.out === undefined ? undefined : openSync(resolve(context.io.cwd, options.out), 'wx', 0o600)
  try {
    const key = await context.writ.keys.create({
      name,
      subject,
      ...(options.ttl === undefined ? {} : { ttl: options.ttl }),
      ...(speaksFor === undefined
        ? {}
        : { pep: { subjects: speaksFor, attributes: assertions(options.asserts ?? []) } }),
    })
    if (file === undefined) {
      context.print({ item: key }, { lines: [key.secret] })
      context.note('info', `${key.id} · shown once: keep it, and give it in WRIT_TOKEN`)
    } else {
      writeSync(file, `${key.secret}\n`)
      context.print({ item: { id: key.id, file: options.out ?? '' } }, { lines: [key.id] })
    }
  } catch (error) {
    if (options.out !== undefined) rmSync(resolve(context.io.cwd, options.out), { force: true })
    throw error
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

/** `Service.tier` lets a caller say the attribute `tier` of a Service. */
function assertions(texts: readonly string[]): Record<string, string[]> {
  const all: Record<string, string[]> = {}
  for (const text of texts) {
    const cut = text.lastIndexOf('.')
    if (cut < 1 || cut === text.length - 1)
      throw usage(`\`--asserts ${text}\` is not written as \`Type.attribute\``)
    const type = text.slice(0, cut)
    all[type] = [...(all[type] ?? []), text.slice(cut + 1)]
  }
  return all
}

export async function keyList(context: Context, options: { limit?: string }): Promise<void> {
  const page = await context.writ.keys.list({ limit: limitOf(options.limit) })
  const more = page.next_cursor === undefined ? {} : { more: { next_cursor: page.next_cursor } }
  const now = context.io.now()
  context.print(
    { items: page.items, ...more },
    {
      columns: [
        { title: 'ID', value: (row) => cell(row['id']) },
        { title: 'NAME', value: (row) => cell(row['name']) },
        { title: 'SUBJECT', value: (row) => cell(row['subject']) },
        { title: 'CREATED', value: (row) => when(String(row['created_at']), now) },
        { title: 'ENDS', value: (row) => when(row['ends_at'] as string | undefined, now) },
        { title: 'REVOKED', value: (row) => when(row['revoked_at'] as string | undefined, now) },
      ],
    },
  )
  if (page.items.length === 0) context.note('info', 'no API keys · `writ keys create --help`')
}

export async function keyRevoke(context: Context, id: string): Promise<void> {
  await context.writ.keys.revoke(id)
  context.note('ok', `${plain(id)} is refused from now on`)
}

// targets

export type TargetOptions = Readonly<{
  kind: string
  address?: string
  role?: readonly string[]
  for?: readonly string[]
  on?: readonly string[]
  use?: string
  lift?: string
  file?: string
  withPassword?: boolean
  passwordFile?: string
}>

export async function targetAdd(context: Context, id: string, options: TargetOptions): Promise<void> {
  const config = targetConfig(context, options)
  const { admin: given, ...rest } = config
  const user =
    typeof given === 'object' && given !== null && 'user' in given && typeof given.user === 'string'
      ? given.user
      : userOf(options.address)
  if (user === undefined)
    throw usage(
      'the administrator is missing',
      'put it into the address, e.g. `postgresql://writ_admin@localhost/orders`',
    )
  const password = await adminPassword(context, user, options)
  const added = await context.writ.targets.add({
    id,
    kind: options.kind,
    config: rest,
    admin: { user, password },
  })
  context.print({ item: added }, { lines: [added.id] })
  for (const notice of added.notices) context.note('info', plain(notice))
  findings(context, added.findings)
}

function targetConfig(context: Context, options: TargetOptions): Properties {
  const fromFile = options.file === undefined ? {} : (readYaml(context, options.file) as Properties)
  const { address, role = [], for: actions = [], on: resources = [], lift } = options
  const roles = Object.fromEntries(
    role.map((text) => {
      const cut = text.indexOf('=')
      if (cut < 1 || cut === text.length - 1)
        throw usage(`\`--role ${text}\` is not written as \`name=postgres_role\``)
      return [text.slice(0, cut), text.slice(cut + 1)]
    }),
  )
  const names = Object.keys(roles)
  const use = options.use ?? (names.length === 1 ? names[0] : undefined)
  if (actions.length > 0 && use === undefined)
    throw usage('`--use` is missing', 'say which of the roles serves the actions')
  if (actions.length > 0 !== resources.length > 0) throw usage('`--for` and `--on` go together')
  const access = actions.flatMap((action) =>
    resources.map((resource) => ({ action, resource, role: use ?? '' })),
  )
  return {
    ...fromFile,
    ...(address === undefined ? {} : { url: address }),
    ...(names.length === 0 ? {} : { roles }),
    ...(access.length === 0 ? {} : { access }),
    ...(lift === undefined ? {} : { shape: 'lift', account: lift }),
  }
}

function userOf(address: string | undefined): string | undefined {
  if (address === undefined) return undefined
  const url = URL.parse(address)
  if (url === null)
    throw usage('`--address` is not a URL', 'e.g. `postgresql://writ_admin@localhost:5432/orders`')
  if (url.password !== '' || url.searchParams.has('password')) {
    throw usage(
      'a password may not stand on the command line, where everybody on this machine can read it',
      'leave it out of the address and give --with-password or --password-file; change this one, it was seen',
    )
  }
  return url.username === '' ? undefined : decodeURIComponent(url.username)
}

async function adminPassword(context: Context, user: string, options: TargetOptions): Promise<string> {
  const { passwordFile } = options
  if (passwordFile === undefined)
    return context.secret(`password of ${plain(user)}`, options.withPassword === true, '--with-password')
  return readFileSync(resolve(context.io.cwd, passwordFile), 'utf8').replace(/\r?\n$/u, '')
}

export async function targetList(context: Context): Promise<void> {
  const items = await context.writ.targets.list()
  context.print(
    { items },
    {
      columns: [
        { title: 'ID', value: (row) => cell(row['id']) },
        { title: 'KIND', value: (row) => cell(row['kind']) },
        { title: 'SERVES', value: (row) => serves(row['config']) },
      ],
    },
  )
  if (items.length === 0) context.note('info', 'no targets · `writ target add --help`')
}

function serves(config: unknown): string {
  const access: unknown =
    typeof config === 'object' && config !== null && 'access' in config ? config.access : []
  if (!Array.isArray(access)) return ''
  return (access as { action?: unknown; resource?: unknown }[])
    .map(({ action, resource }) => `${String(action)} on ${String(resource)}`)
    .join(', ')
}

export async function targetCheck(context: Context, id: string): Promise<number> {
  const items = await context.writ.targets.check(id)
  context.print(
    { items },
    {
      columns: [
        { title: 'LEVEL', value: (row) => cell(row['level']) },
        { title: 'FINDING', value: (row) => cell(row['message']) },
        { title: 'MEND', value: (row) => cell(row['hint']) },
      ],
    },
  )
  if (items.length === 0) context.note('ok', 'nothing is wrong')
  return items.some((finding) => finding.level === 'error') ? exit.error : exit.ok
}

export function findings(context: Context, items: readonly Finding[]): void {
  for (const { level, message, hint } of items) {
    context.note(
      level === 'error' ? 'bad' : 'warn',
      `${plain(message)}${hint === undefined ? '' : ` · ${plain(hint)}`}`,
    )
  }
}

// inventory

export async function inventoryList(
  context: Context,
  options: { type?: string; limit?: string },
): Promise<void> {
  const page = await context.writ.inventory.list({ type: options.type, limit: limitOf(options.limit) })
  const more = page.next_cursor === undefined ? {} : { more: { next_cursor: page.next_cursor } }
  context.print(
    { items: page.items, ...more },
    {
      columns: [
        { title: 'WHAT', value: (row) => `${cell(row['type'])}/${cell(row['id'])}` },
        { title: 'KIND', value: (row) => cell(row['kind']) },
        {
          title: 'SENSITIVITY',
          value: (row) => (row['kind'] === 'resource' ? cell(row['sensitivity']) : ''),
        },
        {
          title: 'OWNER',
          value: (row) =>
            [row['owner'], row['team']]
              .filter((one) => one !== undefined)
              .map(cell)
              .join(', '),
        },
        { title: 'IN', value: (row) => (row['parents'] as string[]).join(', ') },
        {
          title: 'LOCKED',
          value: (row) => (row['locked'] === undefined ? '' : (row['locked'] as { reason: string }).reason),
        },
      ],
    },
  )
  if (page.items.length === 0) context.note('info', 'the inventory is empty · `writ inventory apply FILE`')
}

export async function inventoryApply(context: Context, file: string): Promise<void> {
  const entities = readInventory(context, file)
  const items = await context.writ.inventory.put(entities)
  context.print(
    { items },
    { columns: [{ title: 'APPLIED', value: (row) => `${cell(row['type'])}/${cell(row['id'])}` }] },
  )
}

const sensitivities = ['low', 'moderate', 'high', 'critical'] as const

/**
 * The entities of an inventory file; sensitivities may be numbers from 1 to 4.
 *
 * @throws {CliError} naming each problem with its place.
 */
export function readInventory(context: Pick<Context, 'io'>, file: string): readonly EntityInput[] {
  const parsed = readYaml(context, file)
  const listed: unknown =
    typeof parsed === 'object' && parsed !== null && 'entities' in parsed ? parsed.entities : parsed
  if (!Array.isArray(listed))
    throw usage(`\`${file}\` holds no list \`entities\``, 'see the sample that `writ init` writes')
  const entities = (listed as unknown[]).map((line) => {
    if (
      typeof line !== 'object' ||
      line === null ||
      !('sensitivity' in line) ||
      typeof line.sensitivity !== 'number'
    )
      return line
    return { ...line, sensitivity: sensitivities[line.sensitivity - 1] ?? line.sensitivity }
  })
  // line by line: how many one request may bring is no bound of a file
  const problems = entities.flatMap((line) => {
    const checked = entityInput.safeParse(line)
    return (checked.error?.issues ?? []).map(
      ({ path, message }) =>
        `${plain(file)}: \`${path.map(String).join('.') || 'entity'}\`${nameOf(line)}: ${message}`,
    )
  })
  const seen = new Set<string>()
  for (const line of problems.length > 0 ? [] : entities) {
    const name = nameOf(line)
    if (seen.has(name)) problems.push(`${plain(file)}: two lines are${name.replace(/^ of/u, '')}: keep one`)
    seen.add(name)
  }
  if (problems.length > 0) throw usage(problems.slice(0, PROBLEMS_MOST).join('\n'))
  return entities as readonly EntityInput[]
}

const PROBLEMS_MOST = 20

function nameOf(line: unknown): string {
  const named = typeof line === 'object' && line !== null && 'type' in line && 'id' in line
  return named ? ` of ${plain(String(line.type))}/${plain(String(line.id))}` : ''
}

/** YAML or JSON of a file. */
export function readYaml(context: Pick<Context, 'io'>, file: string): unknown {
  const path = resolve(context.io.cwd, file)
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true)
    throw usage(`\`${plain(file)}\` is a folder`, 'name a file in it')
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path))
  } catch (error) {
    if (error instanceof TypeError) throw usage(`\`${plain(file)}\` is not UTF-8`, 'save it as UTF-8')
    throw error
  }
  const document = parseDocument(text)
  const [error] = document.errors
  if (error !== undefined) {
    const message = /call stack/u.test(error.message)
      ? 'the file is too deeply nested'
      : (error.message.split('\n', 1)[0] ?? '')
    throw usage(`${plain(file)}: ${message}`)
  }
  try {
    return document.toJS({ maxAliasCount: 1_000 }) as unknown
  } catch {
    throw usage(`\`${plain(file)}\` repeats its anchors too often`, 'write out what it repeats')
  }
}
