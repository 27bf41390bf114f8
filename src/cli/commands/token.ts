/**
 * `writ token exchange` and `revoke`: a token for something else, for who this command already is. The token alone goes
 * to standard output, or into a file of one's own.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type {
  AccessState,
  DpopKey,
  ExchangeInput,
  IssuedToken,
  TokenAnswer,
} from '../../../client/src/index.ts'
import {
  createDpopKey,
  exportDpopKey,
  importDpopKey,
  isWritClientError,
  typeOfToken,
} from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { CliError, exit, usage } from '../exit.ts'
import { identityHint } from '../identity/index.ts'
import { readPrivate } from '../private-file.ts'
import { plain, provingPlace, reasonOf, requirements, when } from '../text.ts'
import { Waiting } from '../waiting.ts'
import { untilInterrupted } from './shared.ts'

export type ExchangeOptions = Readonly<{
  resource?: readonly string[]
  audience?: readonly string[]
  scope?: readonly string[]
  actorTokenFile?: string
  task?: string
  delegation?: string
  /** A file with the key that the token is bound to. */
  dpop?: string
  reason?: string
  ttl?: string
  wait?: true | string
  /** An access request that was made before. */
  request?: string
  into?: string
}>

export async function tokenExchange(context: Context, options: ExchangeOptions): Promise<number> {
  const { scope = [], into } = options
  const targets = [...(options.resource ?? []), ...(options.audience ?? [])]
  if (targets.length === 0)
    throw usage('`--resource` is missing', 'say what the token is for, e.g. `--resource Api/payments`')
  if (scope.length === 0)
    throw usage('`--scope` is missing', 'say what it may do there, e.g. `--scope payment:refund`')
  for (const target of options.resource ?? []) checkTarget(target)
  if (into !== undefined) checkPlace(context, into)
  const input = await inputOf(context, options)
  using interrupted = untilInterrupted()
  const { signal } = interrupted
  let answer: TokenAnswer
  try {
    answer =
      options.request === undefined
        ? await context.writ.tokens.exchange({ ...input, signal })
        : await afterwards(
            context,
            input,
            await stateOf(context, options.request, options.wait, signal),
            signal,
          )
    if (answer.outcome === 'challenge' && options.request === undefined)
      answer = await evidence(context, input, answer, options, signal)
  } catch (error) {
    if (signal.aborted && isWritClientError(error, 'ERR_ABORTED')) return interrupted.exitCode
    throw mended(error, input)
  }
  return finish(context, answer, options)
}

const isUri = (target: string): boolean => /^[a-z][a-z0-9+.-]*:\/\//iu.test(target)

function checkTarget(target: string): void {
  if (isUri(target) || /^[^/]+\/./u.test(target)) return
  throw usage(
    `\`${plain(target)}\` is no resource`,
    'write it as `Type/id`, e.g. `Api/payments`, or as a URL',
  )
}

/** Where the command line knows how to mend what the token endpoint says. */
function mended(error: unknown, input: ExchangeInput): unknown {
  if (!isWritClientError(error)) return error
  if (error.type === 'invalid_dpop_proof' && input.dpop === undefined)
    return new CliError(exit.error, error.message, 'give --dpop FILE; the key is made there', error)
  if (error.type === 'invalid_request' && input.subject?.token.split('.').length !== 3 && input.subject)
    return new CliError(
      exit.authNeeded,
      `${error.message}: what this command has is no token that can be exchanged`,
      'a session or a key acts with Writ itself; `writ doctor` says which identity is found here',
      error,
    )
  return error
}

/** Who it is for, who acts, and what for. */
async function inputOf(context: Context, options: ExchangeOptions): Promise<ExchangeInput> {
  const isClient = context.proof?.via === 'identity' && context.proof.identity.source.client !== undefined
  const token = isClient ? '' : await context.token()
  if (token === undefined) {
    throw new CliError(
      exit.authNeeded,
      'there is nobody to get a token for',
      identityHint(context.io.env) ??
        'sign in with `writ login`, or see `writ doctor` for what identity is found here',
    )
  }
  const actor = options.actorTokenFile === undefined ? undefined : readToken(context, options.actorTokenFile)
  const targets = options.resource ?? []
  const { proof } = context
  const client = proof?.via === 'identity' ? proof.identity.source.client : undefined
  if (client !== undefined && actor !== undefined)
    throw usage('a client that signs for itself acts for itself', 'leave out --actor-token-file')
  const task = options.task ?? context.io.env['WRIT_TASK']
  return {
    subject: isClient ? undefined : { token, type: typeOfToken(token) },
    actor: actor === undefined ? undefined : { token: actor, type: typeOfToken(actor) },
    // `resource` takes absolute URIs alone (RFC 8707); a name is an audience
    resource: targets.filter(isUri),
    audience: [...targets.filter((target) => !isUri(target)), ...(options.audience ?? [])],
    scope: options.scope,
    task: task === '' ? undefined : task,
    delegation: options.delegation,
    dpop: options.dpop === undefined ? undefined : await keyOf(context, options.dpop),
    client: client ?? (await workloadProof(context, token)),
  }
}

/** Where the server wants every client to say who it is, the token of the workload says that as well (RFC 7523 §2.2). */
async function workloadProof(context: Context, token: string): Promise<ExchangeInput['client']> {
  const methods = (await context.writ.tokens.metadata())?.authMethods
  const isAsked = methods !== undefined && !methods.includes('none') && methods.includes('private_key_jwt')
  return isAsked && context.proof?.via === 'identity' ? { assertion: () => token } : undefined
}

/** A challenge: nothing without `--wait`; with it, asks for the evidence, and again once it is there. */
async function evidence(
  context: Context,
  input: ExchangeInput,
  answer: Extract<TokenAnswer, { outcome: 'challenge' }>,
  options: ExchangeOptions,
  signal: AbortSignal,
): Promise<TokenAnswer> {
  const needs = requirements(answer.challenge.alternatives)
  const what = `a token for ${plain(answer.attempt.action.name)} needs ${needs === '' ? plain(answer.description) : needs}`
  if (options.wait === undefined) {
    const bound =
      input.dpop === undefined ? '; with --dpop FILE, where what is approved is bound to a key' : ''
    throw new CliError(exit.denied, what, `give --wait to ask for it and wait${bound}`)
  }
  context.note('wait', what)
  const state = await context.writ.tokens.request(answer, {
    reason: options.reason,
    ttl: options.ttl,
    signal,
  })
  const id = plain(state.task.id)
  context.note('wait', `access request ${id} · writ requests show ${id}`)
  const at = provingPlace(answer.challenge.alternatives, context.url, state.task.id)
  if (at !== undefined) context.note('wait', `the passkey is used at ${at}`)
  return afterwards(context, input, await wait(context, state, options.wait, signal), signal)
}

async function stateOf(
  context: Context,
  id: string,
  how: ExchangeOptions['wait'],
  signal: AbortSignal,
): Promise<AccessState> {
  const timeout = how === undefined ? 1 : how === true ? undefined : how
  return context.writ.requests.wait(id, { timeout, signal })
}

async function wait(
  context: Context,
  first: AccessState,
  how: true | string,
  signal: AbortSignal,
): Promise<AccessState> {
  using waiting = new Waiting(context)
  try {
    return await context.writ.requests.wait(first.task.id, {
      timeout: how === true ? undefined : how,
      signal,
      onState: (seen) => (seen instanceof Error ? waiting.miss(seen) : waiting.see(seen)),
    })
  } catch (error) {
    waiting[Symbol.dispose]()
    if (signal.aborted)
      context.say(`access request ${plain(first.task.id)} is still pending · ${again(first)}`)
    throw error
  }
}

const again = (state: AccessState): string => `come back with \`--request ${plain(state.task.id)}\``

/** Approved, the same is asked again: an approval alone gives nothing. */
async function afterwards(
  context: Context,
  input: ExchangeInput,
  state: AccessState,
  signal: AbortSignal,
): Promise<TokenAnswer> {
  const id = plain(state.task.id)
  if (state.status === 'pending')
    throw new CliError(exit.notApproved, `access request ${id} was not approved in time`, again(state))
  if (state.status === 'expired')
    throw new CliError(exit.notApproved, `access request ${id} expired: nobody approved it in time`)
  if (state.approval === undefined)
    throw new CliError(exit.denied, `access request ${id} is ${plain(state.status)}`)
  return context.writ.tokens.exchange({ ...input, approval: state.approval, signal })
}

/** The task of `writ run` is for one action on one thing. */
const OUTER_TASK =
  'the task in WRIT_TASK is not for that, the one of `writ run` is for its own action alone: begin a task for both with ' +
  '`writ task start`, run the command below it (WRIT_TASK set to it, `writ run --nest`), and give it here as `--task`'

function finish(context: Context, answer: TokenAnswer, { into, task }: ExchangeOptions): number {
  if (answer.outcome === 'challenge')
    throw new CliError(
      exit.denied,
      'the approval does not count: it was used, or not used in time',
      'ask again with --wait',
    )
  if (answer.outcome === 'refused') {
    const why =
      answer.description === answer.error
        ? reasonOf(answer.error)
        : `${plain(answer.description)} (${plain(answer.error)})`
    throw new CliError(
      exit.denied,
      `no token: ${why}`,
      answer.reason === 'task_scope' && task === undefined
        ? OUTER_TASK
        : answer.id === undefined
          ? undefined
          : `\`writ why ${plain(answer.id)}\``,
    )
  }
  hand(context, answer.issued, into)
  return exit.ok
}

/** The token, and nothing else, to standard output or into the file; what is worth knowing of it to people. */
function hand(context: Context, issued: IssuedToken, into: string | undefined): void {
  const { token, more, endsAt, scope } = issued
  const facts = { ...more, scope: scope.join(' '), ...(endsAt === undefined ? {} : { expires_at: endsAt }) }
  if (into === undefined) {
    context.print({ item: { access_token: token, ...facts } }, { lines: [token] })
  } else {
    writePrivate(resolve(context.io.cwd, into), `${token}\n`)
    if (context.format !== 'table') context.print({ item: { file: into, ...facts } })
  }
  const bound = issued.tokenType.toLowerCase() === 'dpop' ? ', bound to its key' : ''
  const until = endsAt === undefined ? '' : `, ends ${when(endsAt, context.io.now())}`
  context.note('ok', `token for ${plain(scope.join(' '))}${bound}${until}`)
}

/** Ends a token before its time; it comes from a file or from standard input. */
export async function tokenRevoke(context: Context, options: { from?: string }): Promise<void> {
  const token =
    options.from === undefined
      ? await context.secret('token', !context.interactive, 'standard input, or `--from FILE`')
      : readToken(context, options.from)
  // whatever it is given, the endpoint says that it is worth nothing (RFC 7009 §2.2); a key would go on working
  if (/^writ_(?:key|sess)_/u.test(token))
    throw usage(
      'that is no access token',
      'a key is ended with `writ keys revoke`, a session with `writ logout`',
    )
  const { proof } = context
  const client = proof?.via === 'identity' ? proof.identity.source.client : undefined
  await context.writ.tokens.revoke(token, { client })
  if (options.from !== undefined) rmSync(resolve(context.io.cwd, options.from), { force: true })
  context.note('ok', 'the token has ended')
}

function readToken(context: Context, path: string): string {
  let text: string
  try {
    text = readFileSync(resolve(context.io.cwd, path), 'utf8').trim()
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
    throw new CliError(exit.error, `cannot read the token file \`${path}\`${code}`, undefined, error)
  }
  if (text === '' || /\s/u.test(text))
    throw usage(`\`${path}\` holds no token`, 'it must hold the token and nothing else')
  return text
}

/** The key in the file; where there is none, a new one is put there. */
async function keyOf(context: Context, path: string): Promise<DpopKey> {
  const file = resolve(context.io.cwd, path)
  const text = readPrivate(file, 'the key', 'name a file that is not there yet: a key is then made in it')
  if (text === undefined) {
    const key = await createDpopKey(true)
    writeFileSync(file, `${JSON.stringify(await exportDpopKey(key))}\n`, { mode: 0o600, flag: 'wx' })
    context.note('info', `made the key \`${plain(path)}\`: the token is worth nothing without it`)
    return key
  }
  let jwk: unknown
  try {
    jwk = JSON.parse(text)
  } catch {
    throw usage(`\`${path}\` is no key`, 'name a file that is not there yet: a key is then made in it')
  }
  return importDpopKey(jwk)
}

/** Before anything is issued: a token that cannot be written down would be lost. */
function checkPlace(context: Context, path: string): void {
  const file = resolve(context.io.cwd, path)
  const probe = temporaryOf(file)
  try {
    writeFileSync(probe, '', { mode: 0o600, flag: 'wx' })
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
    throw new CliError(
      exit.error,
      `cannot write \`${plain(path)}\`${code}`,
      'name a file in a folder that is there and yours; nothing was issued',
      error,
    )
  }
  rmSync(probe, { force: true })
}

/** Replaces the file whole; it is nobody else's at any moment. */
function writePrivate(file: string, text: string): void {
  const temporary = temporaryOf(file)
  try {
    writeFileSync(temporary, text, { mode: 0o600, flag: 'wx' })
    renameSync(temporary, file)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}

const temporaryOf = (file: string): string => `${file}.${process.pid}.${randomBytes(6).toString('hex')}`
