/**
 * `writ server`: runs what was published, until it is told to stop.
 *
 * @module
 */
import { createApp } from '../app.ts'
import type { App } from '../app.ts'
import type { ServerConfig } from '../config/index.ts'
import { loadConfig, serverConfig } from '../config/index.ts'
import type { Context } from './context.ts'
import { CliError, exit } from './exit.ts'

export type ServeOptions = Readonly<{
  data?: string
  host?: string
  port?: string
  policies?: string
  inventory?: string
  publicUrl?: string
  keyFile?: string
  person?: string
  verifyDecisions?: boolean
}>

/** The server's configuration under the flags of this command. */
export function serveConfig(context: Context, options: ServeOptions): ServerConfig {
  const sources = context.sources({
    data: options.data,
    host: options.host,
    // a word that is no number is left to the schema, which names the flag
    port: options.port === undefined || !/^\d+$/u.test(options.port) ? options.port : Number(options.port),
    policies: options.policies,
    inventory: options.inventory,
    public_url: options.publicUrl,
    key_file: options.keyFile,
    verify_decisions: options.verifyDecisions === true ? 'on' : undefined,
  })
  return serverConfig(loadConfig(sources), sources)
}

export async function server(context: Context, options: ServeOptions): Promise<number> {
  const config = serveConfig(context, options)
  const untilStopped = stopper(context)
  const app = await createApp(config, {
    mode: 'server',
    ...(options.person === undefined ? {} : { bootstrapPerson: options.person }),
  })
  context.print({ item: { url: app.url, data: config.data, pid: process.pid } }, { lines: [app.url] })
  if (app.bootstrapFile !== undefined) {
    context.note(
      'info',
      `first start: within ten minutes, \`writ login --code < ${app.bootstrapFile}\` makes you the administrator; a restart makes a new code`,
    )
  }
  if (app.restoreFile !== undefined) {
    context.note(
      'warn',
      `a backup was put back: nothing widens until an administrator signs in (\`writ login --code\`, within ten minutes, with a code from ${app.restoreFile}; a restart makes new ones) and runs \`writ audit acknowledge\``,
    )
  }
  if (config.tls === undefined && !isLoopback(config.host)) {
    context.note(
      'warn',
      'listens beyond this machine without TLS: tokens travel in the clear; set tls.cert and tls.key, or put a proxy before it',
    )
  }
  return untilStopped(app)
}

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/u.test(host)

const STOP_WITHIN = 10_000

/**
 * Waits for a signal, from now on, so that one that comes while it starts is not lost. Then stops in order; a second
 * signal ends it at once, which loses nothing that was answered.
 */
export function stopper(context: Context): (app: Pick<App, 'stop'>, before?: () => void) => Promise<number> {
  const signalled = new Promise<void>((resolve) => {
    let told = 0
    const tell = (): void => {
      told += 1
      if (told > 1) process.exit(exit.error)
      resolve()
    }
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, tell)
  })
  return async (app, before) => {
    await signalled
    context.note('wait', 'stopping')
    const late = setTimeout(() => {
      context.note(
        'bad',
        'did not stop in time; what was answered is safe, the rest is recovered at the next start',
      )
      process.exit(exit.error)
    }, STOP_WITHIN)
    late.unref()
    try {
      before?.()
      await app.stop()
    } catch (error) {
      throw new CliError(exit.error, 'did not stop cleanly; the next start recovers', undefined, error)
    } finally {
      clearTimeout(late)
    }
    return exit.ok
  }
}
