/**
 * What a server needs to know, out of the configuration: paths absolute, names as the house writes them.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { PepTrust } from '../model/access.ts'
import type { Json } from '../model/canonical.ts'
import { WritError } from '../model/errors.ts'
import type { Millis } from '../model/time.ts'
import type { CallbackConfig } from './callbacks.ts'
import { callbackConfigs } from './callbacks.ts'
import type { ExportConfig } from './exports.ts'
import { exportConfigs } from './exports.ts'
import type { Loaded, Sources } from './load.ts'
import { resolvePath, stateHome } from './load.ts'

/** An issuer of bearer JWTs with its keys, e.g. for a pipeline. */
export type Issuer = Readonly<{
  issuer: string
  audience: string
  /** RFC 7517: the static key set. */
  jwks: Readonly<{ keys: readonly Readonly<Record<string, Json>>[] }>
  algorithms: readonly string[]
  typ?: string
  subjectType: string
  subjectClaim: string
  pep?: PepTrust
}>

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
  defaults: Readonly<{ request: Millis; task: Millis; heartbeat: Millis; grant: Millis }>
  limits: Readonly<{ body: number; depth: number; rate: number }>
  issuers: readonly Issuer[]
  /** Where the record is sent. */
  exports?: readonly ExportConfig[]
  callbacks?: readonly CallbackConfig[]
}>

/**
 * The server's part of what was loaded.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` for half a TLS pair or a key set that cannot be read.
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
    defaults: config.defaults,
    limits: config.limits,
    issuers: config.issuers.map(({ jwks, subject_type, subject_claim, typ, pep, ...issuer }) => ({
      ...issuer,
      ...(typ === undefined ? {} : { typ }),
      jwks: keySet(path(jwks), read),
      subjectType: subject_type,
      subjectClaim: subject_claim,
      ...(pep === undefined ? {} : { pep }),
    })),
    exports: exportConfigs(config.exports, path),
    callbacks: callbackConfigs(config.callbacks, path),
  }
}

/** Outside the data folder, one per data folder: a copied folder alone opens nothing. */
export function defaultKeyFile(data: string, sources: Pick<Sources, 'env' | 'home'>): string {
  const name = createHash('sha256').update(data).digest('hex').slice(0, 16)
  return join(stateHome(sources.env, sources.home), `${name}.key`)
}

function keySet(path: string, read: (path: string) => string): Issuer['jwks'] {
  const bad = (why: string, cause?: unknown) =>
    new WritError('ERR_CONFIG_INVALID', `\`issuers\`: \`${path}\` ${why}`, {
      hint: 'give `jwks` the path of a JSON file {"keys": […]} with public keys',
      cause,
    })
  let parsed: unknown
  try {
    parsed = JSON.parse(read(path))
  } catch (error) {
    throw bad('cannot be read', error)
  }
  const keys: unknown =
    typeof parsed === 'object' && parsed !== null && 'keys' in parsed ? parsed.keys : undefined
  if (!Array.isArray(keys) || keys.length === 0) throw bad('holds no keys')
  for (const key of keys as unknown[]) {
    if (typeof key !== 'object' || key === null || !('kty' in key))
      throw bad('holds something that is no key')
    if ('d' in key || 'k' in key || key.kty === 'oct') throw bad('holds a private or shared key')
  }
  return { keys: keys as Readonly<Record<string, Json>>[] }
}
