/**
 * The composition root: the only file that knows everyone.
 *
 * @module
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes as systemRandom } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { StaticLog } from './audit/static.ts'
import type { ServerConfig, TokenConfig } from './config/index.ts'
import {
  LOGIN,
  exportSummary,
  issuerSummary,
  loginSummary,
  openKeyFile,
  readKeyFile,
  readWebhookSecret,
  missingSecrets,
  secretPlaces,
  secretReader,
  calendarSummary,
  signalsSummary,
  sourcesSummary,
  tokenSummary,
  webhooksSummary,
} from './config/index.ts'
import type { DecisionDeps } from './decision/analyse.ts'
import { Barrier } from './decision/barrier.ts'
import type { AskingDeps } from './context/asking.ts'
import { Asking } from './context/asking.ts'
import { IncidentSource } from './context/incidents.ts'
import type { FactSource } from './context/port.ts'
import { TicketSource } from './context/tickets.ts'
import { Givers } from './decision/givers.ts'
import { Policies } from './decision/policies.ts'
import { requestsEndpoint } from './doors/http/api/shared.ts'
import { Rates } from './doors/http/rates.ts'
import { programErrorPage } from './doors/http/pages/login-views.ts'
import { createPrograms } from './doors/provider/programs.ts'
import { createHttp } from './doors/http/server.ts'
import type { FlowDeps, Log, Targets } from './flows/deps.ts'
import { scheduled } from './flows/deps.ts'
import type { CallbackPort } from './flows/callbacks.ts'
import { Checking } from './flows/checking.ts'
import { openSink } from './flows/sinks.ts'
import type { Flowing } from './flows/index.ts'
import { idMaker } from './flows/ids.ts'
import { CalendarReading } from './flows/calendars.ts'
import { createFlows } from './flows/index.ts'
import { markFile } from './flows/marks.ts'
import { Schedule } from './flows/schedule.ts'
import { Watch } from './flows/watch.ts'
import type { ThreadOptions } from './flows/thread.ts'
import { Given } from './flows/verifying.ts'
import { createRelyingParty } from './identity/people/relying.ts'
import { createCallers } from './identity/callers.ts'
import { createVerifier } from './identity/issuers/verify.ts'
import type { TargetRecord } from './model/access.ts'
import type { Json } from './model/canonical.ts'
import { refKey } from './model/entity.ts'
import { WritError } from './model/errors.ts'
import { lintIssuers } from './model/issuer.ts'
import { Secret } from './model/secret.ts'
import { canonical } from './model/canonical.ts'
import type { Clock } from './store/clock.ts'
import { systemClock } from './store/clock.ts'
import { outboundFetcher } from './signals/fetcher.ts'
import { outbound } from './signals/outbound.ts'
import { SinkError } from './signals/sink.ts'
import { webhookKey } from './signals/webhook.ts'
import { hex, sha256 } from './store/hash.ts'
import type { Store } from './store/port.ts'
import type { StoreHooks } from './store/sqlite/rows.ts'
import { openSqliteStore } from './store/sqlite/store.ts'
import { parsePostgresConfig } from './targets/postgres/config.ts'
import { postgresTarget } from './targets/postgres/driver.ts'
import type { Target } from './targets/port.ts'
import { version } from './version.ts'
import { createArtifacts, encodeCallback } from './wire/arap/draft1/index.ts'
import { encodeClaims } from './wire/oauth/index.ts'
import { ssfCodec } from './wire/ssf/index.ts'

export type AppOptions = Readonly<{
  /** `dev` marks every entry, and a server refuses its folder. */
  mode: 'dev' | 'server'
  /** Who the bootstrap code enrols, e.g. `admin`. */
  bootstrapPerson?: string
  clock?: Clock
  randomBytes?: (size: number) => Uint8Array
  log?: Log
  hooks?: StoreHooks
  maxBytes?: number
  /** Further kinds of targets by name; tests bring named fakes and put faults between. */
  targetKinds?: Readonly<
    Record<string, (record: TargetRecord, password: string, installation: string) => Target>
  >
  /** Further sources of facts. */
  sources?: readonly FactSource[]
  /** How decisions wait for sources of facts; tests wait for nothing. */
  sleep?: AskingDeps['sleep']
  /** Tests break the thread that judges policies. */
  checking?: Partial<ThreadOptions>
  /** False when a test drives the flows itself: nothing listens. */
  http?: boolean
  /** False when a test moves the clock itself: nothing sweeps on its own. */
  sweeper?: boolean
}>

export type App = Readonly<{
  /** Where it listens, e.g. `http://127.0.0.1:9748`; empty when it does not. */
  url: string
  flows: Flowing
  /** What the flows decide with; benches and tests analyse with it. */
  decision: DecisionDeps
  store: Store
  installation: string
  /** A file (mode 0600) with the one-time code for the first administrator, when there has never been one. */
  bootstrapFile?: string
  /** The same with a code for each who may administer, while a restore waits to be acknowledged. */
  restoreFile?: string
  stop(): Promise<void>
}>

/** Where nothing is configured. */
const TOKENS: TokenConfig = { life: 300_000, senderConstrained: 'privileged', clients: [], resources: [] }

/** Challenge searches per caller: a deny without remedies beyond that. */
const CHALLENGES = { perSecond: 50, burst: 1_000 }

/**
 * Opens the store, recovers what was under way, and listens.
 *
 * @throws {WritError} `ERR_STORE_BUSY`, `ERR_CONFIG_INVALID` (a dev folder for a server, a port that is taken), …
 */
export async function createApp(config: ServerConfig, options: AppOptions): Promise<App> {
  const clock = options.clock ?? systemClock
  const randomBytes = options.randomBytes ?? systemRandom
  const log = options.log ?? logToStderr
  const base = await openSqliteStore({
    folder: config.data,
    clock,
    ...(options.hooks === undefined ? {} : { hooks: options.hooks }),
    ...(options.maxBytes === undefined ? {} : { maxBytes: options.maxBytes }),
  })
  try {
    return await compose(base)
  } catch (error) {
    await base.close()
    throw error
  }

  async function compose(base: Store): Promise<App> {
    const newId = idMaker(() => clock.wall(), randomBytes)
    const found = await base.log.head()
    const installation = await settle(base, config, options.mode, newId)
    const configured = (await base.read([{ index: 'target.all', value: 'all' }])).scan('target.all', 'all')
    const signers = await base.list('signer', { limit: 1 })
    const sealed = configured.length > 0 || signers.items.length > 0
    if (sealed && readKeyFile(config.keyFile) === undefined) {
      throw new WritError('ERR_CONFIG_INVALID', `the key file \`${config.keyFile}\` is gone`, {
        hint: 'restore it from your backup: what this data folder keeps sealed opens with no other',
      })
    }
    const { key, made } = openKeyFile(config.keyFile, randomBytes)
    if (made)
      log('info', 'made a key for secrets at rest; back it up, without it sealed secrets are lost', {
        file: config.keyFile,
      })
    let url = ''
    const schedule = new Schedule()
    const givers = new Givers(base)
    const watch = new Watch()
    const store = scheduled(base, schedule, (changes) => {
      if (changes.some(({ kind }) => kind === 'entity')) givers.changed()
      watch.changed(changes)
    })
    const challenges = new Rates(CHALLENGES, () => Math.round(clock.monotonic()))
    const given = config.verifyDecisions === true ? new Given() : undefined
    const asked = {
      fetch: outboundFetcher(),
      secret: secretReader(process.env, (path) => readFile(path, 'utf8')),
      clock,
    }
    for (const sentence of await missingSecrets(secretPlaces(config), asked.secret))
      log('warn', sentence, {
        hint: 'it is read again whenever it is needed; until then what needs it fails',
      })
    const telling = [
      ...(config.facts?.tickets ?? []).map((one) => new TicketSource(one, asked)),
      ...(config.facts?.incidents ?? []).map((one) => new IncidentSource(one, asked)),
    ]
    let observer: AskingDeps['observe'] = () => Promise.reject(new Error('asked before the flows were there'))
    const context = new Asking({
      store,
      sources: [...telling, ...(options.sources ?? [])],
      calendars: (config.calendars ?? []).map(({ name }) => name),
      observe: (...said) => observer(...said),
      sleep:
        options.sleep ??
        ((ms, signal) => setTimeout(ms, undefined, { signal, ref: false }).catch(() => undefined)),
      log: (message, fields) => log('warn', message, fields),
    })
    const decision: DecisionDeps = {
      store,
      context,
      policies: new Policies(),
      barrier: new Barrier(),
      givers,
      installation,
      monotonic: () => clock.monotonic(),
      newId,
      ...(given === undefined ? {} : { given: (digest, entities) => given.note(digest, entities) }),
      longestGrant: config.defaults.grant,
      thirdPartyGrant: config.defaults.thirdPartyGrant,
      mayChallenge(caller) {
        try {
          challenges.take(caller)
          return true
        } catch {
          return false // out of tokens, the one thing `take` throws for
        }
      },
    }
    const seal = sealing(key, installation, randomBytes)
    const targets = targetsOf((record) => {
      const password = seal.open(`target/${record.id}`, record.sealed)
      const kind = options.targetKinds?.[record.kind]
      return (
        kind?.(record, password, installation) ??
        openTarget(record, password, installation, clock, randomBytes)
      )
    })
    const checking = new Checking(() => clock.monotonic(), options.checking)
    const verifier = createVerifier({
      issuers: config.issuers,
      fetch: outboundFetcher(),
      readText: (path) => readFile(path, 'utf8'),
      clock,
    })
    for (const { issuer, sentence, hint } of lintIssuers(config.issuers)) {
      log('warn', `issuer \`${issuer}\`: ${sentence}`, { hint })
    }
    const login = config.login ?? LOGIN
    const derive = (label: string): Uint8Array =>
      new Uint8Array(hkdfSync('sha256', key.expose(), installation, label, 32))
    const deps: FlowDeps = {
      store,
      decision,
      checking,
      ...(given === undefined ? {} : { given }),
      schedule,
      watch,
      targets,
      log,
      defaults: config.defaults,
      randomBytes,
      jitter: () => (randomBytes(1)[0] as number) / 256,
      seal: seal.seal,
      open: seal.open,
      found,
      ...(config.log?.tiles === false ? {} : { files: new StaticLog(join(config.data, 'log'), base.log) }),
      ...(config.log?.witnesses === undefined ? {} : { witnesses: config.log.witnesses }),
      ...(config.log?.retention === undefined ? {} : { retention: config.log.retention }),
      // one for each installation, since several may share a key file
      marks: markFile(config.log?.mark ?? `${config.keyFile}.${installation}.mark`),
      callbacks: callbackPort(config, () => config.publicUrl ?? url),
      exports: (config.exports ?? []).map((one) => ({
        ...one,
        sink: openSink(one, { now: () => clock.wall(), hostname: hostname() }),
      })),
      version,
      ...(config.signals === undefined
        ? {}
        : {
            signals: {
              config: config.signals,
              codec: ssfCodec,
              clock,
              fetch: outboundFetcher(),
              readText: (path: string) => readFile(path, 'utf8'),
              origin: () => (config.publicUrl === undefined ? url : new URL(config.publicUrl).origin),
            },
          }),
      webhooks: { hooks: config.webhooks ?? [], sources: telling, secret: asked.secret },
      tokens: {
        ...(config.tokens ?? TOKENS),
        issuer: () =>
          (config.publicUrl === undefined ? url : new URL(config.publicUrl).origin) ||
          `urn:writ:${installation}`,
        nonceKey: derive('writ/dpop-nonce'),
        verify: (token, now, read) => verifier.verify(token, now, read),
        claims: encodeClaims,
      },
      passkeys: {
        mode: login.passkey,
        ...(config.publicUrl === undefined ? {} : { publicUrl: config.publicUrl }),
        port: () =>
          url === '' ? undefined : Number(new URL(url).port) || (url.startsWith('https:') ? 443 : 80),
        key: derive('writ/passkey-nonce'),
      },
      ...(config.believed === undefined ? {} : { believed: config.believed }),
      ...(config.mostTold === undefined ? {} : { mostTold: config.mostTold }),
      issuers: config.issuers.map(({ name }) => name),
      relying: createRelyingParty({
        providers: login.providers,
        fetch: outboundFetcher(),
        random: randomBytes,
        monotonic: () => clock.monotonic(),
      }),
      artifacts: (keys) => createArtifacts(installation, keys, newId),
      dev: options.mode === 'dev',
    }
    const flows = createFlows(deps)
    observer = async (source, by, observations) => {
      await flows.facts.observe(source, by, observations)
      // what follows a calendar also looks when it was read and is as it was: a restart may have come between
      for (const { name, about } of observations) if (name === 'calendar') await flows.windows.changed(about)
    }
    const calendars =
      config.calendars === undefined || config.calendars.length === 0
        ? undefined
        : new CalendarReading(config.calendars, {
            fetch: outboundFetcher(),
            observe: observer,
            now: () => clock.wall(),
            jitter: () => (randomBytes(1)[0] as number) / 256,
            log,
          })
    for (const { value } of configured) targets.set(targets.open(value))
    await flows.recover()
    flows.verifying?.start()
    const bootstrapFile = options.mode === 'server' ? await bootstrap(flows, store) : undefined
    const restoreFile = options.mode === 'server' ? await restoreCodes(flows, store) : undefined

    const programs = login.server
      ? createPrograms({
          config: login,
          ...(config.publicUrl === undefined ? {} : { publicUrl: config.publicUrl }),
          stands: (person, generation) => flows.signIns.stands(person, generation),
          fetch: outboundFetcher(),
          now: () => clock.wall(),
          cookieKey: derive('writ/program-cookies'),
          log: (message, detail) => log('warn', message, { detail }),
          errorPage: programErrorPage,
        })
      : undefined
    const http = createHttp({
      flows,
      ...(programs === undefined ? {} : { programs }),
      callers: createCallers({
        store,
        verifier,
        ...(programs === undefined ? {} : { programs }),
        ownTokens: (token, confirmed) => flows.tokens.verifyOwn(token, confirmed),
        dev: options.mode === 'dev',
      }),
      config: {
        host: config.host,
        ...(config.publicUrl === undefined ? {} : { publicUrl: config.publicUrl }),
        ...(config.tls === undefined
          ? {}
          : {
              tls: { cert: readFileSync(config.tls.cert, 'utf8'), key: readFileSync(config.tls.key, 'utf8') },
            }),
        limits: config.limits,
      },
      clock: { now: () => clock.wall(), monotonic: () => clock.monotonic() },
      random: randomBytes,
      log: ({ level, message, ...fields }) => log(level, message, fields),
      version,
    })
    if (options.http !== false) {
      try {
        await http.listen({ host: config.host, port: config.port })
      } catch (error) {
        throw listenError(error, config)
      }
      const { port } = http.server.address() as AddressInfo
      const host = config.host.includes(':') ? `[${config.host}]` : config.host
      url = `${config.tls === undefined ? 'http' : 'https'}://${host}:${port}`
    }
    if (options.sweeper !== false) {
      flows.sweeper.start()
      flows.transparency.start()
      flows.witnesses.start()
    }
    flows.exports.start()
    flows.signals.start()
    calendars?.start()
    return {
      url,
      flows,
      decision,
      store,
      installation,
      ...(bootstrapFile === undefined ? {} : { bootstrapFile }),
      ...(restoreFile === undefined ? {} : { restoreFile }),
      async stop() {
        // whoever waits for news of signals is answered
        const signalled = flows.signals.stop()
        await calendars?.stop()
        await http.close()
        await signalled
        await flows.sweeper.stop()
        await flows.transparency.stop()
        await flows.witnesses.stop()
        await flows.exports.stop()
        await flows.verifying?.stop()
        await checking.stop()
        await Promise.all(targets.all().map((target) => target.close()))
        await store.close()
      },
    }
  }

  async function bootstrap(flows: Flowing, store: Store): Promise<string | undefined> {
    const code = await flows.bootstrapCode(options.bootstrapPerson ?? 'admin', 'bootstrap')
    return codeFile(store, 'bootstrap-code', code === undefined ? [] : [code.expose()], 'person.enrolled')
  }

  /** One line for each who may administer: code and person. */
  async function restoreCodes(flows: Flowing, store: Store): Promise<string | undefined> {
    const codes = await flows.restoreCodes()
    const lines = codes.map(({ code, person }) => `${code.expose()} ${refKey(person)}`)
    return codeFile(store, 'restore-codes', lines, 'epoch.acknowledged')
  }

  /** A file of one-time codes that goes with the first entry of `until`; none if there are no codes. */
  function codeFile(store: Store, name: string, lines: readonly string[], until: string): string | undefined {
    const file = join(config.data, name)
    rmSync(file, { force: true })
    if (lines.length === 0) return undefined
    writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 })
    // a code that was used opens nothing; a file that says otherwise misleads
    const forget = store.log.subscribe((entries) => {
      if (!entries.some(({ bytes }) => Buffer.from(bytes).includes(`"kind":"${until}"`))) return
      forget()
      rmSync(file, { force: true })
    })
    return file
  }
}

/** The installation's id, made once, and what was configured at this start, on the record when it has changed. */
async function settle(
  store: Store,
  config: ServerConfig,
  mode: 'dev' | 'server',
  newId: (prefix: string) => string,
): Promise<string> {
  const authority: Json = {
    issuers: config.issuers.map(issuerSummary),
    defaults: config.defaults,
    ...(config.tokens === undefined ? {} : { tokens: tokenSummary(config.tokens) as unknown as Json }),
    ...(config.login === undefined ? {} : { login: loginSummary(config.login) }),
    ...(config.log?.witnesses === undefined || config.log.witnesses.length === 0
      ? {}
      : { witnesses: config.log.witnesses }),
    ...(config.exports === undefined || config.exports.length === 0
      ? {}
      : { exports: config.exports.map(exportSummary) }),
    ...(config.signals === undefined ||
    (config.signals.receivers.length === 0 && config.signals.transmitter === undefined)
      ? {}
      : { signals: signalsSummary(config.signals) }),
    ...(config.facts === undefined || config.facts.tickets.length + config.facts.incidents.length === 0
      ? {}
      : { sources: sourcesSummary(config.facts) }),
    ...(config.calendars === undefined || config.calendars.length === 0
      ? {}
      : { calendars: config.calendars.map(calendarSummary) }),
    ...(config.webhooks === undefined || config.webhooks.length === 0
      ? {}
      : { webhooks: webhooksSummary(config.webhooks) }),
    ...(config.callbacks === undefined || config.callbacks.length === 0
      ? {}
      : {
          // paths may hold keys
          callbacks: config.callbacks.map(({ subject, endpoint, allowPrivate }) => ({
            subject,
            to: new URL(endpoint).origin,
            endpoint: `sha256:${hex(sha256(endpoint))}`,
            allowPrivate,
          })),
        }),
  }
  const digest = `sha256:${hex(sha256(canonical(authority)))}`
  return store.commit({
    reads: [
      { kind: 'meta', id: 'installation' },
      { kind: 'meta', id: 'config' },
    ],
    run: (tx) => {
      const known = tx.get('meta', 'installation')?.value
      const dev = mode === 'dev'
      if (known !== undefined && known['dev'] !== dev) {
        throw new WritError(
          'ERR_CONFIG_INVALID',
          dev
            ? 'this data folder belongs to a server, not to `writ dev`'
            : 'this data folder was made by `writ dev`',
          { hint: 'give another folder with `--data`' },
        )
      }
      const id = (known?.['id'] as string | undefined) ?? newId('inst')
      if (known === undefined) {
        tx.put('meta', 'installation', { id, dev })
        tx.append({ kind: 'installation.made', refs: [id], installation: id, dev })
      }
      const before = tx.get('meta', 'config')?.value['digest']
      tx.put('meta', 'config', { digest })
      tx.append({
        kind: before === undefined || before === digest ? 'server.started' : 'config.changed',
        refs: [id],
        config: digest,
        ...(before === undefined || before === digest ? {} : { before }),
        authority,
        dev,
      })
      return id
    },
  })
}

function openTarget(
  record: TargetRecord,
  password: string,
  installation: string,
  clock: Clock,
  randomBytes: (size: number) => Uint8Array,
): Target {
  const { access: _access, user, ...config } = record.config as Record<string, Json>
  if (record.kind !== 'postgres') {
    throw new WritError('ERR_CONFIG_INVALID', `\`${record.kind}\` is not a kind of target`, {
      hint: 'known are: postgres',
    })
  }
  const admin = { user: user as string }
  const parsed = parsePostgresConfig(
    { ...config, id: record.id, kind: 'postgres', admin },
    new Secret(password),
  )
  return postgresTarget(parsed, { installation, clock: () => clock.wall(), randomBytes })
}

/** How long a receiver of callbacks may take, and how much of its answer is read. */
const CALLBACK_LIMITS = { timeout: 10_000, maxBytes: 65_536 }

function callbackPort(config: ServerConfig, origin: () => string): CallbackPort {
  return {
    registrations: (config.callbacks ?? []).map(({ subject, endpoint, secretFile, allowPrivate }) => {
      const read = (): Uint8Array | undefined => webhookKey(readWebhookSecret(secretFile))
      // said at the start, not by every callback that then fails
      if (read() === undefined) {
        throw new WritError('ERR_CONFIG_INVALID', `the secret file \`${secretFile}\` holds no key`, {
          hint: 'write `whsec_` and 24 to 64 random bytes in base64 into it, readable for Writ alone',
        })
      }
      const key = (): Uint8Array => {
        let bytes: Uint8Array | undefined
        try {
          bytes = read()
        } catch (cause) {
          throw new SinkError('its secret file cannot be read', { cause })
        }
        if (bytes === undefined) throw new SinkError('its secret file holds no key')
        return bytes
      }
      return { subject, endpoint, allowPrivate, key }
    }),
    post: (url, headers, body, allowPrivate) =>
      outbound(url, { method: 'POST', headers, body }, { ...CALLBACK_LIMITS, allowPrivate }),
    body: (request, callback) => encodeCallback(request, callback, requestsEndpoint(origin())),
  }
}

function targetsOf(open: (record: TargetRecord) => Target): Targets {
  const opened = new Map<string, Target>()
  return {
    get: (id) => opened.get(id),
    all: () => [...opened.values()],
    open,
    set(target) {
      void opened.get(target.id)?.close()
      opened.set(target.id, target)
    },
  }
}

/** AES-256-GCM, bound to the installation and to what the secret is for, so that a sealed value cannot be moved. */
function sealing(
  key: Secret<Uint8Array>,
  installation: string,
  randomBytes: (size: number) => Uint8Array,
): Readonly<{ seal(label: string, secret: string): string; open(label: string, sealed: string): string }> {
  const bound = (label: string): Buffer => Buffer.from(`writ/1\n${installation}\n${label}`)
  return {
    seal(label, secret) {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key.expose(), nonce).setAAD(bound(label))
      const body = Buffer.concat([cipher.update(secret, 'utf8'), cipher.final()])
      return Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64')
    },
    open(label, sealed) {
      const bytes = Buffer.from(sealed, 'base64')
      try {
        const decipher = createDecipheriv('aes-256-gcm', key.expose(), bytes.subarray(0, 12)).setAAD(
          bound(label),
        )
        decipher.setAuthTag(bytes.subarray(12, 28))
        return Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString('utf8')
      } catch (cause) {
        throw new WritError(
          'ERR_CONFIG_INVALID',
          `the secret of \`${label}\` does not open with this key file`,
          {
            hint: 'restore the key file that it was sealed with, or add the target again',
            cause,
          },
        )
      }
    },
  }
}

function listenError(error: unknown, config: ServerConfig): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'EADDRINUSE') {
    return new WritError('ERR_CONFIG_INVALID', `port ${config.port} on ${config.host} is taken`, {
      hint: 'stop what uses it, or give another with `--port` (0 takes a free one)',
      cause: error,
    })
  }
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL') {
    return new WritError('ERR_CONFIG_INVALID', `cannot listen on ${config.host}:${config.port}`, {
      hint: 'choose an address of this machine and a port above 1023',
      cause: error,
    })
  }
  return error
}

/** One JSON object per line; errors with their message and code, never with what they hold. */
function logToStderr(level: string, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
  const shown = Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      value instanceof WritError
        ? {
            code: value.code,
            message: value.message,
            ...(value.detail === undefined ? {} : { detail: value.detail }),
          }
        : value instanceof Error
          ? { message: value.message, stack: value.stack }
          : value,
    ]),
  )
  process.stderr.write(`${JSON.stringify({ at: new Date().toISOString(), level, message, ...shown })}\n`)
}
