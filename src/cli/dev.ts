/**
 * `writ dev`: a server for one's own machine, with people and policies to start with. Every entry is marked dev, and a
 * server refuses the folder.
 *
 * @module
 */
import { existsSync, watch } from 'node:fs'
import { basename, dirname, relative, resolve } from 'node:path'
import type { Writ } from '../../client/src/index.ts'
import { createWrit } from '../../client/src/index.ts'
import type { App } from '../app.ts'
import { createApp } from '../app.ts'
import { readInventory } from './commands/admin.ts'
import { initFolder, readPolicyFolder } from './commands/setup.ts'
import type { Context } from './context.ts'
import { CliError, exit, tell, usage } from './exit.ts'
import { check, sayProblems } from './policy-folder.ts'
import type { ServeOptions } from './server.ts'
import { isLoopback, serveConfig, stopper } from './server.ts'
import { plain } from './text.ts'

/** The person at this terminal, who may approve; and the one who owns the samples, so that somebody else may be asked. */
export const LOCAL_PERSON = 'local'
const OWNER = 'ada'
/** Editors write a file in several steps. */
const SETTLE = 100

export async function dev(context: Context, options: ServeOptions): Promise<number> {
  const config = serveConfig(context, options)
  // people sign in by themselves here, and a project's file may say where to listen
  if (!isLoopback(config.host)) {
    throw usage(
      `\`writ dev\` is for this machine alone and does not listen on \`${config.host}\``,
      'for others run `writ server`',
    )
  }
  const here = (path: string): string => relative(context.io.cwd, path) || '.'
  if (!existsSync(config.policies) && config.policies === resolve(context.io.cwd, 'policies')) {
    for (const { file, written } of initFolder(context, context.io.cwd))
      if (written) context.note('ok', `wrote ${file}`)
  }
  const untilStopped = stopper(context)
  const app = await createApp(config, { mode: 'dev', log: devLog(context) })
  let stopWatching: () => void
  try {
    const people = await seed(context, app, config.policies, config.inventory)
    const reload = (): Promise<void> => publish(context, people, config.policies)
    stopWatching = watchFolder(
      config.policies,
      () => void reload().catch((error: unknown) => context.note('bad', tell(error).message)),
    )
    const code = await oneTimeCode(app, LOCAL_PERSON)
    context.print(
      { item: { url: app.url, data: config.data, console: `${app.url}/?code=${code}`, pid: process.pid } },
      {
        lines: [
          `DEV MODE · data in ${here(config.data)} · loopback only`,
          `Console  ${app.url}/?code=${code}   (one use, 10 min)`,
          `API      ${app.url}/openapi.json · policies in ${here(config.policies)} (watching)`,
          `You are  Person/${LOCAL_PERSON}; this command line is signed in`,
          // elsewhere the command line looks where the configuration says
          ...(config.port === 0 ? [`Elsewhere: export WRIT_URL=${app.url}`] : []),
        ],
      },
    )
  } catch (error) {
    await app.stop()
    throw error
  }
  return untilStopped(app, () => {
    stopWatching()
    context.sessions.delete(app.url)
  })
}

/** Clients of the two people that dev mode has. */
export type DevPeople = Readonly<{ local: Writ; owner: Writ; token: string }>

/** People, inventory and policies; the local person's session goes to the command line. */
async function seed(
  context: Context,
  app: App,
  policies: string,
  inventory: string | undefined,
): Promise<DevPeople> {
  const people = await devPeople(app)
  context.sessions.set(app.url, { token: people.token, person: `Person/${LOCAL_PERSON}`, ends_at: '' })
  const { cwd } = context.io
  const file = inventory ?? resolve(cwd, 'inventory.yaml')
  if (existsSync(file)) await people.local.inventory.put(readInventory(context, file))
  else if (inventory !== undefined) throw new CliError(exit.usage, `there is no inventory \`${inventory}\``)
  const groups = ['Group/administrators', 'Group/developers', 'Group/dba']
  await people.local.inventory.put([
    { type: 'Person', id: LOCAL_PERSON, kind: 'human', name: 'You', parents: groups },
  ])
  await publish(context, people, policies)
  return people
}

/** Sessions of the local person and of the owner of the samples: dev mode alone makes people by itself. */
export async function devPeople(app: App): Promise<DevPeople> {
  const [local, owner] = [await sessionOf(app, LOCAL_PERSON), await sessionOf(app, OWNER)]
  return {
    local: createWrit({ url: app.url, token: local }),
    owner: createWrit({ url: app.url, token: owner }),
    token: local,
  }
}

async function sessionOf(app: App, person: string): Promise<string> {
  const { token } = await app.flows.redeem(await oneTimeCode(app, person))
  return token.expose()
}

async function oneTimeCode(app: App, person: string): Promise<string> {
  const code = await app.flows.bootstrapCode(person, 'dev')
  if (code === undefined) throw new CliError(exit.error, 'no sign-in code could be made')
  return code.expose()
}

/** Puts a folder in force, if it differs and is valid; else the set that is in force stays. */
async function publish(context: Context, people: DevPeople, folder: string): Promise<void> {
  const source = readPolicyFolder(folder)
  const { problems } = check(context, folder, source)
  sayProblems(context, problems)
  if (problems.some(({ severity }) => severity === 'error')) {
    context.note('bad', 'policies are not valid, the set in force stays')
    return
  }
  const current = await people.local.policies.current().catch(() => undefined)
  const same =
    current !== undefined &&
    JSON.stringify([current.policies, current.schema]) === JSON.stringify([source.policies, source.schema])
  if (same) return
  const published = await people.local.policies.publish(source)
  // two people could publish: the second agrees here, because both are the one at this terminal
  if (published.state === 'proposed') await people.owner.policies.agree(published.version)
  context.note(
    'ok',
    `policies in force: ${plain(published.version.slice(0, 19))} · ${source.policies.length} files`,
  )
}

function watchFolder(folder: string, changed: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined
  const soon = (_event: string, file: string | null): void => {
    if (file !== null && !/\.cedar/u.test(basename(file)) && dirname(file) === '.') return
    clearTimeout(timer)
    timer = setTimeout(changed, SETTLE)
  }
  const watcher = watch(folder, { recursive: true, persistent: false }, soon)
  return () => {
    clearTimeout(timer)
    watcher.close()
  }
}

/** In dev mode a person reads along: warnings and errors as sentences. */
function devLog(context: Context) {
  return (
    level: 'info' | 'warn' | 'error',
    message: string,
    fields: Readonly<Record<string, unknown>> = {},
  ): void => {
    if (level === 'info' && context.options.debug !== true) return
    const shown = Object.entries(fields).map(
      ([name, value]) => `${name}=${value instanceof Error ? value.message : JSON.stringify(value)}`,
    )
    context.note(
      level === 'error' ? 'bad' : level === 'warn' ? 'warn' : 'info',
      plain([message, ...shown].join(' ')),
    )
  }
}
