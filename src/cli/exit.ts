/**
 * Exit codes, and the one table from errors to them. Scripts rely on the numbers: they never change.
 *
 * @module
 */
import { isWritClientError } from '../../client/src/error.ts'

export const exit = {
  ok: 0,
  error: 1,
  usage: 2,
  policyInvalid: 3,
  authNeeded: 4,
  denied: 5,
  notApproved: 6,
  unreachable: 7,
  revokeUnconfirmed: 8,
  /** A log is not the one that was seen before. */
  contradicted: 9,
} as const

/** `writ run`: the child's own codes pass through, so ours keep out of their way, as Docker's do. */
export const runExit = { ourFailure: 125, cannotExecute: 126, notFound: 127 } as const

/** What went wrong, in one sentence with its mend, and how to exit. */
export class CliError extends Error {
  override readonly name = 'CliError'
  readonly exitCode: number
  readonly hint: string | undefined

  constructor(exitCode: number, message: string, hint?: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.exitCode = exitCode
    this.hint = hint
  }
}

/** Wrong use of the command line. */
export const usage = (message: string, hint?: string): CliError => new CliError(exit.usage, message, hint)

/** Exit codes of error codes, of the server, the client and the house alike; any other is 1. */
export const exitOfCode: Readonly<Record<string, number>> = {
  ERR_INPUT_INVALID: exit.usage,
  ERR_TOO_LARGE: exit.usage,
  ERR_CONFIG_INVALID: exit.usage,
  ERR_POLICY_INVALID: exit.policyInvalid,
  ERR_UNAUTHENTICATED: exit.authNeeded,
  ERR_FORBIDDEN: exit.denied,
  ERR_DENIED: exit.denied,
  ERR_NOT_APPROVED: exit.notApproved,
  ERR_UNREACHABLE: exit.unreachable,
  ERR_TIMEOUT: exit.unreachable,
  ERR_LOG_CONTRADICTED: exit.contradicted,
  ERR_LOG_KEY: exit.contradicted,
}

/** What a person is told of an error, and the exit code. */
export type Told = Readonly<{ exitCode: number; message: string; hint?: string; requestId?: string }>

export function tell(error: unknown): Told {
  if (error instanceof CliError)
    return { exitCode: error.exitCode, message: error.message, ...hinted(error.hint) }
  const code = codeOf(error)
  if (code !== undefined && error instanceof Error) {
    const own = 'hint' in error && typeof error.hint === 'string' ? error.hint : undefined
    // the server speaks of headers; here one signs in
    const hint =
      code === 'ERR_UNAUTHENTICATED'
        ? mends[code]
        : exitOfCode[code] === exit.contradicted
          ? `${own ?? 'find out why'}. To accept it on purpose: \`writ audit verify --remote --forget\``
          : (own ?? mends[code])
    const requestId = isWritClientError(error) && code === 'ERR_INTERNAL' ? error.requestId : undefined
    return {
      exitCode: exitOfCode[code] ?? exit.error,
      message: error.message,
      ...hinted(hint),
      ...(requestId === undefined ? {} : { requestId }),
    }
  }
  const system = systemSentence(error)
  if (system !== undefined) return { exitCode: exit.error, message: system }
  // what nobody foresaw is shown as it is: hiding it from whoever runs the command helps nobody
  const message = error instanceof Error ? error.message : String(error)
  return {
    exitCode: exit.error,
    message: `unexpected: ${message}`,
    hint: 'run it again with --debug and report it',
  }
}

/** How to mend it where the error itself does not say. */
const mends: Readonly<Record<string, string>> = {
  ERR_UNAUTHENTICATED: 'sign in with `writ login --code`, or give a token in WRIT_TOKEN',
  ERR_FORBIDDEN: '`writ status` shows who you are to this server',
}

const hinted = (hint: string | undefined): { hint?: string } => (hint === undefined ? {} : { hint })

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  // the house's codes; Node's own start in the same way
  const ours = error instanceof Error && (error.name === 'WritError' || isWritClientError(error))
  return ours && typeof code === 'string' ? code : undefined
}

/** One sentence for what the operating system says about files and ports. */
function systemSentence(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  const at = error as Error & { code: unknown; path?: unknown; port?: unknown }
  const path = typeof at.path === 'string' ? `\`${at.path}\`` : 'a file'
  switch (at.code) {
    case 'ENOENT':
      return `${path} does not exist`
    case 'EACCES':
    case 'EPERM':
      return `you may not use ${path}`
    case 'EISDIR':
      return `${path} is a folder`
    case 'ENOTDIR':
      return `${path} is not a folder`
    case 'EEXIST':
      return `${path} exists already`
    case 'ENOSPC':
      return 'the disk is full'
    case 'ENOTFOUND':
      return `${'hostname' in at && typeof at.hostname === 'string' ? `\`${at.hostname}\`` : 'that host'} is no address of this machine`
    case 'EADDRINUSE':
      return `port ${typeof at.port === 'number' ? at.port : ''} is taken; give another with --port, or 0 for a free one`
    default:
      return undefined
  }
}
