/**
 * `writ login`, `logout`, `status`, `doctor`.
 *
 * @module
 */
import { chmodSync, existsSync, statSync } from 'node:fs'
import type { Me, Session } from '../../../client/src/index.ts'
import { isWritClientError } from '../../../client/src/index.ts'
import { resolvePath, serverConfig } from '../../config/index.ts'
import type { Context, Proof } from '../context.ts'
import { CliError, exit, tell, usage } from '../exit.ts'
import { filled } from '../explanation.ts'
import { claimsOf, endOf, forcedIdentity, identityHint, workloadOf } from '../identity/index.ts'
import { plain, took, when } from '../text.ts'

/** A one-time code, or a token, becomes what this command line uses with this server. */
export async function login(
  context: Context,
  options: { code?: boolean; withToken?: boolean },
): Promise<void> {
  if (options.withToken === true) {
    const token = await context.secret('token', true, '--with-token')
    context.sessions.set(context.url, { token, person: '', ends_at: '' })
    const me = await whoAmI(context)
    context.sessions.set(context.url, { token, person: me.subject, ends_at: '' })
    context.note('ok', `signed in at ${context.url} as ${plain(me.subject)}`)
    return
  }
  if (options.code !== true)
    throw usage('say how: `--code`, `--with-token` or `--oidc NAME`', 'e.g. `writ login --code`')
  const code = await context.secret('one-time code', !context.interactive, 'standard input')
  const session = await redeem(context, code.trim())
  context.sessions.set(context.url, session)
  context.print({ item: { person: session.person, ends_at: session.ends_at } }, { lines: [session.person] })
  context.note('ok', `signed in at ${context.url}, until ${when(session.ends_at, context.io.now())}`)
}

async function redeem(context: Context, code: string): Promise<Session> {
  try {
    return await context.writ.sessions.redeem(code)
  } catch (error) {
    if (!isWritClientError(error, 'ERR_UNAUTHENTICATED')) throw error
    throw new CliError(
      exit.authNeeded,
      'that code is wrong, was used, or is too old',
      'ask for a new one (`writ people invite`); a server that nobody administers yet makes one when it starts',
      error,
    )
  }
}

/** A token that does not work is not kept. */
async function whoAmI(context: Context): Promise<{ subject: string }> {
  try {
    return await context.writ.me()
  } catch (error) {
    context.sessions.delete(context.url)
    throw error
  }
}

export async function logout(context: Context): Promise<void> {
  const stored = context.sessions.get(context.url)
  if (stored === undefined) throw new CliError(exit.error, `not signed in at ${context.url}`)
  try {
    await context.writ.sessions.end()
  } catch (error) {
    // what the server does not know any more is as good as ended
    if (!isWritClientError(error, 'ERR_UNAUTHENTICATED', 'ERR_FORBIDDEN')) throw error
  }
  context.sessions.delete(context.url)
  context.note('ok', `signed out at ${context.url}`)
}

export async function status(context: Context): Promise<void> {
  const { writ, url } = context
  const health = await writ.ready()
  const server = `${url}  ${plain(health.status)}, version ${plain(health.version)}`
  let me: Me
  try {
    me = await writ.me()
  } catch (error) {
    // the server is there all the same
    if (isWritClientError(error, 'ERR_UNAUTHENTICATED')) context.say(server)
    throw error
  }
  const { problems = [] } = health.status === 'ok' ? {} : await writ.ready({ problems: true })
  const stored = context.sessions.get(url)
  const { proof } = context
  const token = proof?.via === 'identity' ? proof.identity.source.kind : (proof?.via ?? 'session')
  const ends =
    token === 'session' && stored !== undefined && stored.ends_at !== '' ? stored.ends_at : undefined
  const source = proof?.via === 'identity' ? proof.identity.source.from : token
  const what = me.kind === 'key' ? 'an API key' : me.kind === 'session' ? 'a session' : 'a token'
  const how = token === 'session' ? 'signed in here' : `by ${what} from ${plain(source)}`
  context.print(
    {
      item: {
        url,
        version: health.version,
        status: health.status,
        subject: me.subject,
        kind: me.kind,
        token,
        ...(ends ? { ends_at: ends } : {}),
        ...(problems.length > 0 ? { problems } : {}),
      },
    },
    {
      lines: [
        server,
        ...problems.map((problem) => `  ${context.io.styleOut('red', '✗')} ${plain(problem)}`),
        `you are ${plain(me.subject)} (${how}${ends === undefined ? '' : `, until ${when(ends, context.io.now())}`})`,
      ],
    },
  )
}

const WITNESS_HINT = 'heads that nobody cosigned prove nothing to whoever does not trust this machine'

/** Looks at everything that commonly goes wrong; each finding is a sentence with its mend. */
export async function doctor(context: Context): Promise<number> {
  const report = new Report(context)
  const { loaded } = context
  report.ok(`configuration reads: ${loaded.files.length === 0 ? 'defaults only' : loaded.files.join(', ')}`)
  for (const warning of loaded.warnings) report.warn(warning)
  const server = serverConfig(loaded, context.sources())
  const there = existsSync(server.data)
  if (there && existsSync(server.keyFile))
    report.ok(`data folder ${server.data}, sealed with ${server.keyFile}: back up both, apart`)
  if (there && (statSync(server.data).mode & 0o077) !== 0)
    report.bad(`others may enter the data folder ${server.data}`, `\`chmod 700 ${server.data}\``)
  if (there && !existsSync(server.keyFile)) {
    report.bad(
      `the key file ${server.keyFile} is missing`,
      'restore it from your backup: without it sealed secrets are lost',
    )
  }
  if (existsSync(context.sessions.path) && (statSync(context.sessions.path).mode & 0o077) !== 0) {
    chmodSync(context.sessions.path, 0o600)
    report.warn(`others could read ${context.sessions.path}; mended, but sign in again if that matters`)
  }
  const code = await report.server(report, there, await report.identity())
  return report.finish(code)
}

/** An identity as programs read it. */
type Found = Readonly<{
  kind: string
  from: string
  issuer?: string
  subject?: string
  audience?: string
  ends_at?: string
  workload: Readonly<Record<string, string>>
}>

class Report {
  readonly #context: Context
  readonly #found: {
    level: 'ok' | 'warning' | 'error'
    message: string
    hint?: string
    identity?: Found
    /** The message in parts, where it is too long for a line. */
    parts?: readonly string[]
  }[] = []

  constructor(context: Context) {
    this.#context = context
  }

  ok(message: string): void {
    this.#found.push({ level: 'ok', message })
  }

  warn(message: string, hint?: string): void {
    this.#found.push({ level: 'warning', message, ...(hint === undefined ? {} : { hint }) })
  }

  bad(message: string, hint?: string): void {
    this.#found.push({ level: 'error', message, ...(hint === undefined ? {} : { hint }) })
  }

  /** Who this command is, and what policies would see of it. False if it cannot be told. The token is never shown. */
  async identity(): Promise<boolean> {
    const context = this.#context
    const { env } = context.io
    try {
      const { proof } = context
      const forced = forcedIdentity(env)
      if (forced !== undefined && forced !== 'none' && env['WRIT_TOKEN'])
        this.warn(`WRIT_TOKEN is not used: WRIT_IDENTITY is \`${forced}\``, 'take one of them away')
      if (proof === undefined) {
        this.warn(
          'no identity is found here',
          identityHint(env) ?? 'sign in with `writ login`, or see `writ help token exchange`',
        )
        return true
      }
      if (proof.via === 'session') this.ok('identity: the session of `writ login`')
      else await this.#tell(proof)
      const used = proof.via === 'identity' ? proof.identity.source.kind : undefined
      const others = context.identities().filter(({ kind }) => kind !== used)
      if (others.length > 0)
        this.ok(
          `also here, and not used: ${others.map(({ kind, from }) => `${kind} (${from})`).join(', ')}; WRIT_IDENTITY=${others[0]?.kind ?? ''} would choose it`,
        )
      const key = env['WRIT_CLIENT_KEY']
      if (proof.via === 'identity' && proof.identity.source.kind === 'key' && key !== undefined) {
        const file = resolvePath(key, context.io.cwd, context.io.home)
        if ((statSync(file).mode & 0o077) !== 0)
          this.warn(`others may read the private key ${key}`, `\`chmod 600 ${key}\``)
      }
      return true
    } catch (error) {
      this.bad(tell(error).message, tell(error).hint)
      return false
    }
  }

  async #tell(proof: Exclude<Proof, { via: 'session' }>): Promise<void> {
    const source = proof.via === 'identity' ? proof.identity.source : undefined
    const from = source?.from ?? proof.via
    const claims = claimsOf(proof.via === 'identity' ? await proof.identity.token() : proof.token)
    const endsAt = endOf(claims)
    const ends_at = endsAt === undefined ? undefined : new Date(endsAt).toISOString()
    const text = (name: string): string | undefined =>
      typeof claims?.[name] === 'string' ? claims[name] : undefined
    const workload = source === undefined || claims === undefined ? [] : workloadOf(source.kind, claims)
    const [issuer, subject, audience] = [text('iss'), text('sub'), text('aud')]
    const known = [
      ...(issuer === undefined ? [] : [`issuer ${plain(issuer)}`]),
      ...(subject === undefined ? [] : [`subject ${plain(subject)}`]),
      ...(audience === undefined ? [] : [`for ${plain(audience)}`]),
      ...(ends_at === undefined ? [] : [`ends ${when(ends_at, this.#context.io.now())}`]),
    ]
    this.#found.push({
      level: 'ok',
      message: `identity: ${plain(from)}${source === undefined ? '' : ` (${source.kind})`}${known.length === 0 ? '' : ` · ${known.join(' · ')}`}`,
      identity: {
        kind: source?.kind ?? proof.via,
        from,
        ...(issuer === undefined ? {} : { issuer }),
        ...(subject === undefined ? {} : { subject }),
        ...(audience === undefined ? {} : { audience }),
        ...(ends_at === undefined ? {} : { ends_at }),
        workload: Object.fromEntries(workload),
      },
    })
    if (workload.length > 0)
      this.#found.push({
        level: 'ok',
        message: `policies would see: ${workload.map(([name, value]) => `${name} ${plain(value)}`).join(', ')}`,
        parts: [
          'policies would see, as context.live.workload:',
          ...workload.map(([name, value]) => `${name} ${plain(value)}`),
        ],
      })
  }

  async server(report: Report, hasData: boolean, known: boolean): Promise<number> {
    const { writ, url, io } = this.#context
    try {
      const health = await writ.ready()
      report.ok(`${url} answers, version ${health.version}`)
    } catch (error) {
      const start = hasData ? 'start it with `writ server`' : 'start one with `writ dev` or `writ server`'
      report.bad(tell(error).message, isWritClientError(error, 'ERR_UNREACHABLE') ? start : tell(error).hint)
      return exit.unreachable
    }
    // why there is no token was said already
    if (!known) return exit.authNeeded
    try {
      const me = await writ.me()
      report.ok(`you are ${plain(me.subject)} to it`)
    } catch (error) {
      const isRefused = isWritClientError(error, 'ERR_UNAUTHENTICATED', 'ERR_FORBIDDEN')
      const isFound = this.#context.proof?.via === 'identity'
      report.bad(
        isRefused && isFound
          ? `it does not accept this identity: ${tell(error).message}`
          : tell(error).message,
        isRefused && isFound
          ? 'does its configuration name this issuer, audience and subject under `issuers`? its log says what was wrong'
          : tell(error).hint,
      )
      return exit.authNeeded
    }
    await this.#try('problems of the server', async () => {
      const { problems = [] } = await writ.ready({ problems: true })
      // credentials and witnesses come below, with what else is known of them
      for (const problem of problems.filter((one) => !/^(?:credential|witness) /u.test(one)))
        report.bad(plain(problem), /`writ /u.test(problem) ? undefined : 'see the log of the server')
    })
    await this.#try('targets', async () => {
      for (const target of await writ.targets.list()) {
        const found = await writ.targets.check(target.id)
        if (found.length === 0) report.ok(`target ${plain(target.id)} is well`)
        for (const { level, message, hint } of found) {
          const sentence = `target ${plain(target.id)}: ${plain(message)}`
          if (level === 'error') report.bad(sentence, hint)
          else report.warn(sentence, hint)
        }
      }
    })
    await this.#try('credentials', async () => {
      const open = await writ.credentials.list({ open: true })
      for (const credential of open.items.filter((c) => c.state === 'unresolved')) {
        const ago =
          credential.revoking_at === undefined
            ? ''
            : `, ${took(io.now() - Date.parse(credential.revoking_at))} after it was revoked`
        const next =
          credential.next_try_at === undefined ? '' : `, next ${when(credential.next_try_at, io.now())}`
        report.bad(
          `credential ${plain(credential.id)} at ${plain(credential.target)} is unresolved${ago}: ${plain(credential.problem ?? 'unknown')}`,
          `access is denied already; tried ${credential.tries} times${next}, until it is verified absent`,
        )
      }
    })
    await this.#try('people', async () => {
      const people = await writ.inventory.list({ type: 'Person', limit: 1_000 })
      if (people.items.length < 2) {
        report.warn(
          'there is one person only, and nobody approves what they started or own',
          'invite another with `writ people invite`',
        )
      }
    })
    let size: number | undefined
    await this.#try('the log', async () => {
      const checkpoint = await writ.log.checkpoint()
      ;({ size } = checkpoint)
      report.ok(`the log ${plain(checkpoint.origin)} continues what was seen of it here, ${size} entries`)
    })
    await this.#try('witnesses of the log', async () => {
      const witnesses = await writ.log.witnesses()
      if (witnesses.length === 0) {
        report.warn(
          'no external witness keeps checkpoints of the log: who owns this machine could rewrite all of it',
          'have somebody else run `writ witness`, and name it under `log.witnesses`',
        )
      }
      for (const { name, cosigned, problem } of witnesses) {
        const last =
          cosigned === undefined
            ? 'nothing yet'
            : `${cosigned.size}${size === undefined ? '' : ` of ${size}`} entries, ${when(cosigned.at, io.now())}`
        if (problem === undefined) report.ok(`witness ${plain(name)} cosigned ${last}`)
        else report.bad(`witness ${plain(name)} ${plain(problem)}; cosigned ${last}`, WITNESS_HINT)
      }
    })
    return exit.ok
  }

  /** What this caller may not see is no fault. */
  async #try(what: string, look: () => Promise<void>): Promise<void> {
    try {
      await look()
    } catch (error) {
      if (isWritClientError(error, 'ERR_FORBIDDEN', 'ERR_NOT_FOUND')) this.ok(`${what}: not yours to see`)
      else this.bad(`${what}: ${tell(error).message}`, tell(error).hint)
    }
  }

  finish(code: number): number {
    const context = this.#context
    const marks = {
      ok: context.io.styleOut('green', '✓ ok     '),
      warning: context.io.styleOut('yellow', '! warning'),
      error: context.io.styleOut('red', '✗ problem'),
    }
    context.print(
      { items: this.#found.map(({ parts: _, ...found }) => found) },
      {
        lines: this.#found.flatMap(({ level, message, hint, parts }) => [
          ...(parts === undefined
            ? [`${marks[level]}  ${plain(message)}`]
            : filled(parts, { columns: Math.max(20, (context.io.columns || 100) - 11) }).map((line, at) =>
                at === 0 ? `${marks[level]}  ${line}` : `           ${line}`,
              )),
          ...(hint === undefined ? [] : [`           → ${plain(hint)}`]),
        ]),
      },
    )
    const errors = this.#found.filter(({ level }) => level === 'error').length
    return code === exit.ok && errors > 0 ? exit.error : code
  }
}
