/**
 * What a server needs to know, out of the configuration: paths absolute, names as the house writes them.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { WritError } from '../model/errors.ts'
import type { CalendarSource } from '../model/calendar.ts'
import type { Issuer } from '../model/issuer.ts'
import type { Millis } from '../model/time.ts'
import type { CallbackConfig } from './callbacks.ts'
import { callbackConfigs } from './callbacks.ts'
import type { ExportConfig } from './exports.ts'
import { exportConfigs } from './exports.ts'
import { issuerConfigs } from './issuers.ts'
import type { Loaded, Sources } from './load.ts'
import { resolvePath, stateHome } from './load.ts'
import type { SourcesConfig, WebhookConfig } from '../model/source.ts'
import type { LoginConfig } from './login.ts'
import { loginConfig } from './login.ts'
import type { SignalsConfig } from '../model/signal.ts'
import { signalsConfig } from './signals.ts'
import { calendarConfigs } from './calendars.ts'
import { sourcesConfig, webhooksConfig } from './sources.ts'
import type { TokenConfig } from './tokens.ts'
import { tokenConfig } from './tokens.ts'

export type ServerConfig = Readonly<{
  data: string
  host: string
  port: number
  publicUrl?: string
  /** Paths of PEM files. */
  tls?: Readonly<{ cert: string; key: string }>
  keyFile: string
  log?: Readonly<{
    tiles?: boolean
    /** How old entries get before only their hashes are kept. */
    retention?: Millis
    mark?: string
    /** Who cosigns the heads of the log: where each is asked, and its key. */
    witnesses?: readonly Readonly<{ url: string; key: string }>[]
  }>
  policies: string
  /** Whether every decision is taken again by reference Cedar. */
  verifyDecisions?: boolean
  inventory?: string
  defaults: Readonly<{
    request: Millis
    task: Millis
    heartbeat: Millis
    grant: Millis
    thirdPartyGrant: Millis
  }>
  limits: Readonly<{ body: number; depth: number; rate: number }>
  /** Whose tokens prove who asks. */
  issuers: readonly Issuer[]
  /** What the token endpoint issues, and to whom. */
  tokens?: TokenConfig
  /** How people sign in. */
  login?: LoginConfig
  /** Where the record is sent. */
  exports?: readonly ExportConfig[]
  callbacks?: readonly CallbackConfig[]
  /** Systems of tickets and incidents, and whose webhooks are taken. */
  facts?: SourcesConfig
  webhooks?: readonly WebhookConfig[]
  /** How long a fact is believed that is pushed without an age. */
  believed?: Millis
  /** Things that one source may tell of by itself. */
  mostTold?: number
  /** Change windows, freezes, on-call. */
  calendars?: readonly CalendarSource[]
  /** Whose signals are listened to, and who is told. */
  signals?: SignalsConfig
}>

/**
 * The server's part of what was loaded.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` for half a TLS pair, a file that cannot be read and an issuer that must not be
 *   trusted as it is written.
 */
export function serverConfig(
  loaded: Loaded,
  sources: Pick<Sources, 'cwd' | 'env' | 'home'>,
  read: (path: string) => string = (path) => readFileSync(path, 'utf8'),
): ServerConfig {
  const { config } = loaded
  const path = (text: string): string => resolvePath(text, sources.cwd, sources.home)
  const data = path(config.data)
  const { cert, key } = config.tls
  if ((cert === undefined) !== (key === undefined)) {
    throw new WritError('ERR_CONFIG_INVALID', `\`tls.${cert === undefined ? 'cert' : 'key'}\` is missing`, {
      hint: 'TLS needs both `tls.cert` and `tls.key`',
    })
  }
  const issuers = issuerConfigs(config.issuers, path, read)
  const { third_party_grant: thirdPartyGrant, ...defaults } = config.defaults
  const facts = sourcesConfig(config.sources, path, read)
  return {
    data,
    host: config.host,
    port: config.port,
    ...(config.public_url === undefined ? {} : { publicUrl: config.public_url }),
    ...(cert === undefined || key === undefined ? {} : { tls: { cert: path(cert), key: path(key) } }),
    keyFile: config.key_file === undefined ? defaultKeyFile(data, sources) : path(config.key_file),
    log: {
      tiles: config.log.tiles,
      ...(config.log.retention === undefined ? {} : { retention: config.log.retention }),
      ...(config.log.mark === undefined ? {} : { mark: path(config.log.mark) }),
      witnesses: config.log.witnesses,
    },
    policies: path(config.policies),
    verifyDecisions: config.verify_decisions === 'on',
    ...(config.inventory === undefined ? {} : { inventory: path(config.inventory) }),
    defaults: { ...defaults, thirdPartyGrant },
    limits: config.limits,
    issuers,
    tokens: tokenConfig(config.tokens, path, read),
    login: loginConfig(config.login, issuers, path, read),
    exports: exportConfigs(config.exports, path),
    callbacks: callbackConfigs(config.callbacks, path),
    facts,
    calendars: calendarConfigs(config.sources.calendars, path, read),
    webhooks: webhooksConfig(config.webhooks, facts, path),
    believed: config.sources.pushed.max_age,
    mostTold: config.sources.pushed.most,
    signals: signalsConfig(config.signals, issuers, path, read),
  }
}

/** Outside the data folder, one per data folder: a copied folder alone opens nothing. */
export function defaultKeyFile(data: string, sources: Pick<Sources, 'env' | 'home'>): string {
  const name = createHash('sha256').update(data).digest('hex').slice(0, 16)
  return join(stateHome(sources.env, sources.home), `${name}.key`)
}
