/**
 * `writ run`: authority for one command, for as long as it runs.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type {
  Alternative,
  Credential,
  Ending,
  Lease,
  Progress,
  SecretMaterial,
} from '../../client/src/index.ts'
import { NotPermitted, isWritClientError } from '../../client/src/index.ts'
import { Child, exitCodeOf, findCommand } from './child.ts'
import type { Ended } from './child.ts'
import type { Context } from './context.ts'
import { CliError, exit, runExit, tell, usage } from './exit.ts'
import { SCHEMA_VERSION, cell } from './output.ts'
import { plain, provingPlace, reasonOf, requirements, took } from './text.ts'
import { Waiting } from './waiting.ts'

export type RunOptions = Readonly<{
  for?: string
  on?: string
  reason?: string
  ttl?: string
  ticket?: string
  /** A calendar: its event that is on, or the next one. */
  window?: string
  delegation?: string
  /** `true` as long as the request lives, or a duration. */
  wait?: true | string
  /** An access request that was made before. */
  request?: string
  target?: string
  as?: string
  nest?: boolean
  mask?: boolean
  heartbeat?: string
  /** How long a child that has lost its authority may take to end. */
  grace?: number
}>

/** What is written to `$WRIT_RESULT_FILE`; only ever gains members. */
type Result = {
  /** `exited`: the child ran to its end. Else why not. */
  outcome: 'exited' | 'denied' | 'not_approved' | 'interrupted' | 'not_started' | 'authority_lost' | 'failed'
  exit_code: number
  reason?: string
  request?: string
  task?: string
  grant?: string
  credential?: string
  child?: { code?: number; signal?: string }
  /** Whether every credential was verified absent; absent itself when there was none. */
  clean?: boolean
}

const GRACE = 5_000
/** The command has ended: nobody waits longer for the report of that. */
const REPORT_WITHIN = 2_000
const CLEAN_WITHIN = '15s'

/** Variables that would lead a PostgreSQL client elsewhere, or in as somebody else, than the credential says. */
const postgresVariables: ReadonlySet<string> = new Set([
  'PGHOST', 'PGHOSTADDR', 'PGPORT', 'PGDATABASE', 'PGUSER', 'PGPASSWORD', 'PGPASSFILE', 'PGSERVICE', 'PGSERVICEFILE',
  'PGOPTIONS', 'PGSSLMODE', 'PGSSLCERT', 'PGSSLKEY', 'PGSSLROOTCERT', 'PGREQUIRESSL', 'PGREQUIREAUTH', 'PGTARGETSESSIONATTRS',
  'PGAPPNAME', 'PGCHANNELBINDING', 'PGGSSENCMODE', 'DATABASE_URL',
]) // prettier-ignore

/** Ours, and not for the child: it has its credential and needs no other authority. */
const ownVariables: ReadonlySet<string> = new Set([
  'WRIT_TOKEN', 'WRIT_TOKEN_FILE', 'WRIT_RESULT_FILE', 'WRIT_ID_TOKEN', 'WRIT_CLIENT_KEY', 'WRIT_CLIENT_ID',
]) // prettier-ignore

/** Variables that open something by themselves, whoever they are for: they are not printed either. */
const secretVariables = ['WRIT_ID_TOKEN', 'ACTIONS_ID_TOKEN_REQUEST_TOKEN'] as const

/** Runs the command; the exit code is the child's, or ours when it never ran. */
export async function run(context: Context, argv: readonly string[], options: RunOptions): Promise<number> {
  const result: Result = { outcome: 'failed', exit_code: runExit.ourFailure }
  try {
    return await new Run(context, argv, options, result).go()
  } catch (error) {
    const told = tell(error)
    // the child's own codes pass through, so that ours all look alike; only Docker's two are apart
    const known: readonly number[] = [runExit.notFound, runExit.cannotExecute]
    result.exit_code =
      error instanceof Interrupted || known.includes(told.exitCode) ? told.exitCode : runExit.ourFailure
    result.reason ??= told.message
    throw new CliError(result.exit_code, told.message, told.hint, error)
  } finally {
    writeResult(context, result)
  }
}

/** Ctrl-C while nothing runs yet. */
class Interrupted extends CliError {}

class Run {
  readonly #context: Context
  #needed: readonly Alternative[] = []
  readonly #argv: readonly string[]
  readonly #options: RunOptions
  readonly #result: Result

  constructor(context: Context, argv: readonly string[], options: RunOptions, result: Result) {
    this.#context = context
    this.#argv = argv
    this.#options = options
    this.#result = result
  }

  async go(): Promise<number> {
    const [name, ...args] = this.#argv
    const { env, cwd } = this.#context.io
    this.#result.outcome = 'not_started'
    if (name === undefined) throw usage('no command to run', 'put it after `--`, e.g. `-- npm run migrate`')
    if (env['WRIT_TASK'] !== undefined && this.#options.nest !== true) {
      throw usage(
        `this runs inside task \`${plain(env['WRIT_TASK'])}\` already`,
        'give --nest to run under a narrower task below it',
      )
    }
    // nobody is asked to approve a command that does not exist
    const command = findCommand(name, env['PATH'], cwd)
    const lease = await this.#acquire()
    this.#result.grant = lease.grant.id
    let credential: Credential
    let secret: SecretMaterial
    try {
      ;({ credential, secret } = await lease.credential(this.#options.target))
    } catch (error) {
      await this.#giveBack(lease, 'failed', 'no credential was had')
      throw error
    }
    this.#result.credential = credential.id
    let child: Child
    try {
      child = await Child.start({
        command,
        args,
        cwd,
        env: this.#childEnv(lease, secret),
        mask: this.#mask(),
        secrets: secretsOf(secret, [
          await this.#context.token(),
          ...secretVariables.map((name) => this.#context.io.env[name]),
        ]),
      })
    } catch (error) {
      await this.#giveBack(lease, 'failed', 'the command could not be started')
      throw error
    }
    return this.#attend(lease, child)
  }

  /** Waits for the child, and takes everything back after it. */
  async #attend(lease: Lease, child: Child): Promise<number> {
    const started = performance.now()
    const lost = (): void => {
      const why: unknown = lease.signal.reason
      this.#say(
        'bad',
        `authority is gone: ${why instanceof Error ? why.message : 'unknown'}; ending the command`,
      )
      this.#result.outcome = 'authority_lost'
      this.#result.reason = why instanceof Error ? why.message : 'authority was lost'
      child.stop(this.#options.grace ?? GRACE)
    }
    if (lease.signal.aborted) lost()
    else lease.signal.addEventListener('abort', lost, { once: true })
    lease.follow()
    const ended = await child.ended
    const ran = Math.round(performance.now() - started)
    lease.signal.removeEventListener('abort', lost)
    const code = exitCodeOf(ended)
    this.#result.child = {
      ...(ended.code === undefined ? {} : { code: ended.code }),
      ...(ended.signal === undefined ? {} : { signal: ended.signal }),
    }
    // side by side: taking back waits for nothing
    const told = this.#tellWhatWasDone(lease, ended, ran)
    const ending = await this.#giveBack(lease, code === 0 ? 'completed' : 'failed', endedBecause(ended))
    await told
    const wasLost = this.#result.outcome === 'authority_lost'
    if (!wasLost) this.#result.outcome = 'exited'
    const unconfirmed = ending?.clean !== true
    // a code of the child's own is never hidden; only its success is
    this.#result.exit_code = wasLost
      ? runExit.ourFailure
      : code === 0 && unconfirmed
        ? exit.revokeUnconfirmed
        : code
    return this.#result.exit_code
  }

  /** How the command ended, on the record of its grant; never what it said. That it cannot be told stops nothing. */
  async #tellWhatWasDone(lease: Lease, ended: Ended, millis: number): Promise<void> {
    const { grant } = lease
    try {
      await this.#context.writ.actions.report(
        [
          {
            id: `run-${grant.id}-${randomBytes(8).toString('hex')}`,
            grant: grant.id,
            action: grant.action,
            resource: grant.resource,
            outcome: ended.code === 0 ? 'succeeded' : 'failed',
            detail: {
              command_ended: true,
              duration_ms: millis,
              ...(ended.code === undefined ? {} : { exit_code: ended.code }),
              ...(ended.signal === undefined ? {} : { signal: ended.signal }),
            },
          },
        ],
        { signal: AbortSignal.timeout(REPORT_WITHIN) },
      )
    } catch (error) {
      this.#say('info', `how the command ended is not on the record: ${tell(error).message}`)
    }
  }

  async #acquire(): Promise<Lease> {
    const { options } = { options: this.#options }
    const { writ } = this.#context
    const stop = new AbortController()
    const interrupt = (signal: NodeJS.Signals): void => stop.abort(signal)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt)
    using waiting = new Waiting(this.#context, 'writ: ')
    const onProgress = (progress: Progress): void => this.#progress(progress, waiting)
    try {
      if (options.request !== undefined) {
        return await writ.resume(options.request, {
          wait: options.wait ?? false,
          signal: stop.signal,
          onProgress,
        })
      }
      const { for: action, on: resource, reason } = options
      if (action === undefined) throw usage('`--for` is missing', 'name the action, e.g. `--for db:migrate`')
      if (resource === undefined)
        throw usage('`--on` is missing', 'name the resource, e.g. `--on Database/orders`')
      if (reason === undefined || reason.trim() === '')
        throw usage('`--reason` is missing', 'say why in a few words')
      const parent = options.nest === true ? this.#context.io.env['WRIT_TASK'] : undefined
      return await writ.acquire({
        ...(options.as === undefined ? {} : { subject: options.as }),
        action,
        resource,
        reason,
        delegation: options.delegation,
        ttl: options.ttl,
        wait: options.wait ?? false,
        signal: stop.signal,
        onProgress,
        task: {
          purpose: `${action} on ${resource}`,
          reason,
          ...(options.ticket === undefined ? {} : { ticket: options.ticket }),
          ...(options.window === undefined ? {} : { window: { calendar: options.window } }),
          ...(options.heartbeat === undefined ? {} : { heartbeat: options.heartbeat }),
          ...(parent === undefined ? {} : { parent }),
        },
      })
    } catch (error) {
      waiting[Symbol.dispose]()
      if (stop.signal.aborted) throw this.#interrupted(stop.signal.reason as NodeJS.Signals, waiting)
      if (error instanceof NotPermitted) throw this.#notPermitted(error)
      throw error
    } finally {
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, interrupt)
    }
  }

  #progress(progress: Progress, waiting: Waiting): void {
    switch (progress.step) {
      case 'declared':
        this.#result.task = progress.task.id
        break
      case 'challenged':
        this.#needed = progress.challenge.alternatives
        if (this.#options.wait !== undefined) {
          this.#say('wait', `${this.#what()} needs ${requirements(progress.challenge.alternatives)}`)
        }
        break
      case 'requested':
        this.#result.request = progress.state.task.id
        this.#say(
          'wait',
          `access request ${progress.state.task.id} · writ requests show ${progress.state.task.id}`,
        )
        this.#sayWhereToProve(progress.state.task.id)
        break
      case 'waiting':
        waiting.see(progress.state)
        break
      case 'unreachable':
        waiting.miss(progress.error)
        break
      case 'granted': {
        waiting[Symbol.dispose]()
        const left = Date.parse(progress.grant.ends_at) - this.#context.io.now()
        this.#say(
          'ok',
          `granted${Number.isFinite(left) && left > 0 ? ` for ${took(left)}` : ''} · ${progress.grant.id}`,
        )
      }
    }
  }

  #sayWhereToProve(request: string): void {
    const at = provingPlace(this.#needed, this.#context.url, request)
    if (at !== undefined) this.#say('wait', `the passkey is used at ${at}`)
  }

  #notPermitted(error: NotPermitted): CliError {
    const { decision } = error
    const request = decision.outcome === 'deny' ? decision.request : undefined
    if (decision.outcome === 'challenge') {
      this.#result.outcome = 'denied'
      if (this.#options.request !== undefined) {
        return new CliError(
          exit.denied,
          `the approval of access request ${plain(this.#options.request)} does not count: it was used, or not used in time`,
          'ask again with `writ run --for … --on … --wait`',
        )
      }
      return new CliError(
        exit.denied,
        `${this.#what()} needs ${requirements(decision.alternatives)}`,
        'give --wait to ask for it and wait',
      )
    }
    if (error.code === 'ERR_NOT_APPROVED' && request) {
      this.#result.outcome = 'not_approved'
      return new CliError(exit.notApproved, error.message, this.#comeBack(request.id))
    }
    this.#result.outcome = request?.status === 'expired' ? 'not_approved' : 'denied'
    const why = decision.id === undefined ? undefined : `\`writ why ${decision.id}\``
    if (request?.status === 'expired')
      return new CliError(
        exit.notApproved,
        `access request ${plain(request.id)} expired: nobody approved it in time`,
        'nothing was run; run it again to ask again',
      )
    const remark = displayReason(request?.display)
    return new CliError(
      exit.denied,
      `${request === undefined ? `denied: ${reasonOf(decision.reason)}` : plain(error.message)}${remark === undefined ? '' : ` (${plain(remark)})`}`,
      why,
    )
  }

  #interrupted(signal: NodeJS.Signals, waiting: Waiting): CliError {
    const code = exitCodeOf({ code: undefined, signal })
    const request = waiting.state?.task.id ?? this.#result.request
    this.#result.outcome = 'interrupted'
    if (request === undefined) return new Interrupted(code, 'interrupted, nothing was run')
    return new Interrupted(
      code,
      `interrupted; access request ${request} is still pending`,
      this.#comeBack(request),
    )
  }

  #comeBack(request: string): string {
    return `\`writ requests wait ${request}\`, then \`writ run --request ${request} -- ${this.#argv.map(quote).join(' ')}\``
  }

  /** Ends what the lease holds, waits until the target is clean, and says so. Never throws: the child has run. */
  async #giveBack(
    lease: Lease,
    status: 'completed' | 'failed',
    reason: string | undefined,
  ): Promise<Ending | undefined> {
    const started = performance.now()
    let interrupted = 0
    const hold = (): void => {
      interrupted += 1
      if (interrupted === 1) this.#say('wait', 'taking the authority back; once more ends this at once')
      else process.exit(exit.revokeUnconfirmed)
    }
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, hold)
    try {
      await lease.end(status, reason)
      const ending = await lease.clean(CLEAN_WITHIN)
      this.#result.clean = ending.clean
      this.#endedBefore(ending, status)
      for (const credential of ending.credentials) this.#report(credential, performance.now() - started)
      if (!ending.clean && ending.credentials.every((c) => c.state === 'absent')) {
        this.#say('bad', 'revoke unconfirmed: the server does not report the task as clean yet')
      }
      return ending
    } catch (error) {
      this.#result.clean = false
      const { message } = tell(error)
      const unheard = isWritClientError(error, 'ERR_UNREACHABLE', 'ERR_TIMEOUT')
      const heartbeat = lease.task?.heartbeat
      this.#say('bad', `revoke unconfirmed: ${message}`)
      if (unheard && heartbeat !== undefined) {
        this.#say(
          'info',
          `the server ends the task by itself, ${heartbeat} after the last heartbeat it heard`,
        )
      }
      return undefined
    } finally {
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, hold)
    }
  }

  #report(credential: Credential, elapsed: number): void {
    const target = plain(credential.target)
    if (credential.state !== 'absent') {
      const why = credential.problem === undefined ? '' : `: ${plain(credential.problem)}`
      this.#say('bad', `revoke unconfirmed at ${target}${why}`)
      this.#say(
        'info',
        `access is denied already; it is tried again until it works · writ task show ${credential.task ?? ''}`,
      )
      return
    }
    const report = asReport(credential.report)
    const cut = report.sessionsCut
    const sessions = cut === undefined || cut === 0 ? '' : ` · ${cut} session${cut === 1 ? '' : 's'} cut`
    this.#say('ok', `absent at ${target} after ${took(elapsed)}${sessions}`)
    for (const line of report.left) this.#say('info', line)
  }

  /** The child may have died of it before a heartbeat could tell: then its own error is not the whole story. */
  #endedBefore({ task }: Ending, status: 'completed' | 'failed'): void {
    if (task === undefined || task.state === status || this.#result.outcome === 'authority_lost') return
    const why = plain(task.ending?.reason ?? task.state)
    this.#say('bad', `the task had ended before the command did: ${why}`)
    this.#result.reason = `the task had ended before the command did: ${why}`
  }

  #childEnv(lease: Lease, secret: SecretMaterial): Record<string, string> {
    const env: Record<string, string> = {}
    // a lifted account brings its own password
    const own = secret.env['PGPASSWORD'] === undefined ? ['PGPASSWORD', 'PGPASSFILE'] : []
    for (const [name, value] of Object.entries(this.#context.io.env)) {
      if (value === undefined || ownVariables.has(name)) continue
      if (secret.kind === 'postgres' && postgresVariables.has(name) && !own.includes(name)) continue
      env[name] = value
    }
    Object.assign(env, secret.env, { WRIT_GRANT: lease.grant.id, WRIT_URL: this.#context.url })
    const task = lease.task?.id ?? lease.grant.task
    if (task !== undefined) env['WRIT_TASK'] = task
    return env
  }

  #mask(): { stdout: boolean; stderr: boolean } {
    const { mask } = this.#options
    return {
      stdout: mask ?? !process.stdout.isTTY,
      stderr: mask ?? !process.stderr.isTTY,
    }
  }

  #what(): string {
    const { for: action, on, request } = this.#options
    return action === undefined || on === undefined
      ? `access request ${request ?? ''}`
      : `${plain(action)} on ${plain(on)}`
  }

  #say(kind: 'ok' | 'bad' | 'wait' | 'info', line: string): void {
    // reasons that others wrote are in these lines: none of them makes a second one
    this.#context.note(kind, `writ: ${plain(line)}`)
  }
}

/** What may not be printed: everything in the credential that opens something. */
function secretsOf(secret: SecretMaterial, others: readonly (string | undefined)[]): string[] {
  const named = (name: string): boolean => /pass|secret|token|key|credential|url|dsn|private/iu.test(name)
  const members = [...Object.entries(secret), ...Object.entries(secret.env)]
  const values = members.flatMap(([name, value]) => (typeof value === 'string' && named(name) ? [value] : []))
  return [...values, ...others.filter((value): value is string => value !== undefined && value !== '')]
}

/** What a target reported, as far as it is known here. */
function asReport(report: unknown): { sessionsCut?: number; left: string[] } {
  const members = record(report)
  const cut = members['sessionsCut'] ?? members['sessions_cut']
  const behind = record(members['leftBehind'] ?? members['left_behind'])
  const list = (name: string): Record<string, unknown>[] => {
    const items = behind[name]
    return Array.isArray(items) ? items.map(record) : []
  }
  const named = (item: Record<string, unknown>): string => `${cell(item['type'])} ${cell(item['name'])}`
  const left = [
    ...several(list('objects'), (item) => `stays: ${named(item)}, owned by ${cell(item['owner'])}`),
    ...several(
      list('securityDefiner'),
      (item) => `stays and runs with its owner's authority: ${named(item)}`,
    ),
    ...several(
      list('aclChanges'),
      (item) => `privileges changed: ${cell(item['object'])} for ${cell(item['grantee'])}`,
    ),
    ...several(list('preparedTransactions'), (item) => `prepared transaction: ${cell(item['gid'])}`),
  ]
  return { ...(typeof cut === 'number' ? { sessionsCut: cut } : {}), left }
}

function several<T>(items: readonly T[], line: (item: T) => string): string[] {
  const shown = items.slice(0, 5).map(line)
  return items.length > shown.length ? [...shown, `… and ${items.length - shown.length} more`] : shown
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {}
}

function displayReason(display: unknown): string | undefined {
  const reason = record(display)['reason']
  return typeof reason === 'string' && reason !== '' ? reason : undefined
}

function endedBecause(ended: Ended): string | undefined {
  if (ended.signal !== undefined) return `the command was ended by ${ended.signal}`
  return ended.code === 0 ? undefined : `the command exited with ${ended.code ?? 'no code'}`
}

const quote = (word: string): string =>
  /^[\w@%+=:,./-]+$/u.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`

/** For scripts: what happened, beside an exit code that is the child's. */
function writeResult(context: Context, result: Result): void {
  const path = context.io.env['WRIT_RESULT_FILE']
  if (path === undefined || path === '') return
  const file = resolve(context.io.cwd, path)
  // in a folder that others write to nobody foresees the name, and what lies there is not followed
  const temporary = `${file}.${process.pid}.${randomBytes(6).toString('hex')}`
  try {
    writeFileSync(temporary, `${JSON.stringify({ schema_version: SCHEMA_VERSION, ...result })}\n`, {
      mode: 0o600,
      flag: 'wx',
    })
    renameSync(temporary, file)
  } catch (error) {
    rmSync(temporary, { force: true })
    context.note(
      'warn',
      `writ: cannot write \`${path}\`: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}
