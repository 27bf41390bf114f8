/**
 * `writ login` by the server's own sign-in page: authorization code with PKCE (RFC 7636) and a redirect to this machine
 * (RFC 8252).
 *
 * @module
 */
import { spawn } from 'node:child_process'
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ServerMetadata } from '../../../client/src/index.ts'
import { createWrit } from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { CliError, exit } from '../exit.ts'
import { plain, when } from '../text.ts'
import { untilInterrupted } from './shared.ts'

/** The name under which the server knows this command line; it has no secret. */
const CLIENT_ID = 'writ-cli'
const WITHIN = 5 * 60_000

export type LoginOptions = Readonly<{ oidc?: string; browser?: boolean }>

/** Signs in on the server's page. */
export async function signIn(context: Context, options: LoginOptions): Promise<void> {
  const metadata = await context.writ.tokens.signIn()
  const page = metadata?.authorizationEndpoint
  if (metadata === undefined || page === undefined || metadata.tokenEndpoint === undefined) {
    throw new CliError(
      exit.authNeeded,
      `${context.url} has no sign-in page for the command line`,
      'sign in with a one-time code: `writ login --code`',
    )
  }
  using interrupted = untilInterrupted()
  const state = secret()
  const verifier = secret()
  await using back = await listen(metadata, state)
  const url = new URL(page)
  const parameters = {
    response_type: 'code',
    client_id: CLIENT_ID,
    redirect_uri: back.uri,
    state,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    resource: metadata.issuer,
    ...(options.oidc === undefined ? {} : { provider: options.oidc }),
  }
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  const opened = options.browser !== false && context.interactive && openBrowser(url.href)
  context.say(
    opened ? 'opening the sign-in page; if nothing opens, open it yourself:' : 'open this page to sign in:',
  )
  context.say(`  ${url.href}`)
  const code = await back.code(AbortSignal.any([interrupted.signal, AbortSignal.timeout(WITHIN)]))
  if (code === undefined) {
    if (interrupted.signal.aborted) throw new CliError(interrupted.exitCode, 'interrupted, not signed in')
    throw new CliError(exit.authNeeded, 'nobody signed in within five minutes', 'run it again')
  }
  const answer = await context.writ.tokens.redeem({
    code,
    redirectUri: back.uri,
    verifier,
    clientId: CLIENT_ID,
  })
  if (answer.outcome !== 'issued')
    throw new CliError(exit.authNeeded, `not signed in: ${plain(answer.description)}`)
  const { token, endsAt = '' } = answer.issued
  // what does not work is not kept
  const { subject } = await createWrit({ url: context.url, token, userAgent: 'writ-cli', log: false }).me()
  context.sessions.set(context.url, { token, person: subject, ends_at: endsAt })
  context.print({ item: { person: subject, ends_at: endsAt } }, { lines: [subject] })
  const until = endsAt === '' ? '' : `, until ${when(endsAt, context.io.now())}`
  context.note('ok', `signed in at ${context.url}${until}`)
}

const secret = (): string => randomBytes(32).toString('base64url')

type Back = AsyncDisposable &
  Readonly<{ uri: string; code: (signal: AbortSignal) => Promise<string | undefined> }>

/** Waits on this machine alone for the browser to come back. */
async function listen(metadata: ServerMetadata, state: string): Promise<Back> {
  const came = Promise.withResolvers<string>()
  // it may come before anybody asks for it
  came.promise.catch(() => undefined)
  const server = createServer((request, response) => {
    const found = read(request, metadata, state)
    answer(response, found)
    if (found instanceof CliError) came.reject(found)
    else if (found !== undefined) came.resolve(found)
  })
  await new Promise<void>((done, fail) => {
    server.once('error', fail)
    server.listen(0, '127.0.0.1', done)
  })
  return {
    uri: `http://127.0.0.1:${(server.address() as AddressInfo).port}/callback`,
    code: (signal) =>
      Promise.race([
        came.promise,
        new Promise<undefined>((late) => {
          if (signal.aborted) late(undefined)
          else signal.addEventListener('abort', () => late(undefined), { once: true })
        }),
      ]),
    async [Symbol.asyncDispose]() {
      server.closeIdleConnections()
      await new Promise<void>((done) => {
        server.close(() => done())
        server.closeAllConnections()
      })
    },
  }
}

/** The code; why there is none; or nothing, for what any page in the browser could have sent. */
function read(
  request: IncomingMessage,
  metadata: ServerMetadata,
  state: string,
): string | CliError | undefined {
  const url = URL.parse(request.url ?? '', 'http://127.0.0.1')
  if (request.method !== 'GET' || url?.pathname !== '/callback') return undefined
  const one = (name: string): string | undefined => {
    const all = url.searchParams.getAll(name)
    return all.length === 1 ? all[0] : undefined
  }
  if (!same(one('state') ?? '', state)) return undefined
  const from = one('iss')
  // an answer of another server, which got our page's answer mixed up with its own (RFC 9207)
  if (from === undefined ? metadata.namesIssuer || url.searchParams.has('iss') : from !== metadata.issuer)
    return new CliError(exit.authNeeded, 'the answer came from another server', 'run it again')
  const error = one('error')
  if (error !== undefined) {
    const described = plain(one('error_description') ?? error)
    return new CliError(exit.authNeeded, `not signed in: ${described}`)
  }
  const code = one('code')
  return code === undefined || code === ''
    ? new CliError(exit.authNeeded, 'the server sent no code', 'run it again')
    : code
}

function same(given: string, wanted: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(wanted)]
  return a.length === b.length && timingSafeEqual(a, b)
}

function answer(response: ServerResponse, found: string | CliError | undefined): void {
  const [status, text] =
    found === undefined
      ? [404, 'There is nothing here.']
      : found instanceof CliError
        ? [400, 'You are not signed in. The terminal says why.']
        : [200, 'You are signed in. You may close this page and go back to the terminal.']
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    connection: 'close',
  })
  response.end(`${text}\n`)
}

/** Whether something was asked to open the page; nobody can tell whether it did. */
function openBrowser(url: string): boolean {
  const [command, ...args] =
    process.platform === 'darwin'
      ? ['open', url]
      : process.platform === 'win32'
        ? ['rundll32', 'url.dll,FileProtocolHandler', url]
        : ['xdg-open', url]
  const opener = spawn(command, args, { stdio: 'ignore', detached: true })
  // the address is on the screen all the same
  opener.on('error', () => undefined)
  opener.unref()
  return true
}
