/**
 * What every command has at hand: configuration, the client, and how to print.
 *
 * @module
 */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { BoundToken, DpopKey, Writ } from '../../client/src/index.ts'
import { createDpopKey, createWrit } from '../../client/src/index.ts'
import type { Loaded, Sources } from '../config/index.ts'
import { loadConfig, resolvePath } from '../config/index.ts'
import { Checkpoints } from './checkpoints.ts'
import { CliError, exit, usage } from './exit.ts'
import type { Around, ClientKey, Held, Source } from './identity/index.ts'
import { Identity, findSource, forcedIdentity, presentSources } from './identity/index.ts'
import type { Io, Style } from './io.ts'
import type { Data, Format, View } from './output.ts'
import { checkFields, formats, render } from './output.ts'
import { Sessions } from './state.ts'
import { plain } from './text.ts'

/** Options that every command takes. */
export type GlobalOptions = Readonly<{
  url?: string
  profile?: string
  config?: string
  output?: string
  json?: boolean
  jsonFields?: string
  yes?: boolean
  /** `--no-input` */
  input?: boolean
  debug?: boolean
}>

/** What this command proves who it is with. */
export type Proof =
  | Readonly<{ via: 'WRIT_TOKEN' | 'token_file' | 'session'; token: string }>
  | Readonly<{ via: 'identity'; identity: Identity }>

export class Context {
  readonly io: Io
  readonly options: GlobalOptions
  readonly sessions: Sessions
  readonly checkpoints: Checkpoints
  #loaded: Loaded | undefined
  #writ: Writ | undefined
  /** Looked for once; `null` where there is none. */
  #identity: Identity | null | undefined
  #key: Promise<DpopKey> | undefined

  constructor(io: Io, options: GlobalOptions) {
    this.io = io
    this.options = options
    this.sessions = new Sessions(io)
    this.checkpoints = new Checkpoints(io)
  }

  /** Settings of flags, by setting name; a command that has more passes them to `load`. */
  sources(flags: Readonly<Record<string, unknown>> = {}): Sources {
    const { url, profile, output, config } = this.options
    return {
      flags: { url, profile, output, ...flags },
      env: this.io.env,
      cwd: this.io.cwd,
      home: this.io.home,
      ...(config === undefined ? {} : { file: config }),
    }
  }

  get loaded(): Loaded {
    this.#loaded ??= loadConfig(this.sources())
    return this.#loaded
  }

  get url(): string {
    return this.loaded.config.url
  }

  /** The client, with the token that there is. */
  get writ(): Writ {
    this.#writ ??= createWrit({
      url: this.url,
      token: (refused) => this.#bearer(refused),
      userAgent: 'writ-cli',
      log: { memory: this.checkpoints, key: this.loaded.config.log_key },
    })
    return this.#writ
  }

  /** The token that requests carry. */
  async token(): Promise<string | undefined> {
    const { proof } = this
    return proof?.via === 'identity' ? proof.identity.token() : proof?.token
  }

  /** The same, with the key that it may be bound to; with one that the server `refused`, another if there is another. */
  async #bearer(refused?: string): Promise<string | BoundToken | undefined> {
    const { proof } = this
    if (proof?.via !== 'identity') return proof?.token
    const { token, key } = await proof.identity.held(refused)
    return key === undefined ? token : { token, key }
  }

  /**
   * The variable, then the file, then a key that was named, then the session of this server, then what is found in the
   * surroundings; `WRIT_IDENTITY` forces one of the last kind. Read anew each time: files are written anew.
   */
  get proof(): Proof | undefined {
    const { env } = this.io
    const forced = forcedIdentity(env)
    if (forced === undefined || forced === 'none') {
      const token = env['WRIT_TOKEN']
      if (token !== undefined && token !== '') return { via: 'WRIT_TOKEN', token }
      const { token_file: file } = this.loaded.config
      if (file !== undefined) {
        const text = readToken(resolvePath(file, this.io.cwd, this.io.home)).trim()
        if (text === '') throw new CliError(exit.authNeeded, `\`${file}\` holds no token`)
        return { via: 'token_file', token: text }
      }
      const isNamed = forced === undefined && Boolean(env['WRIT_CLIENT_KEY'])
      const kept = isNamed ? undefined : this.sessions.get(this.url)?.token
      if (kept !== undefined) return { via: 'session', token: kept }
    }
    const { identity } = this
    return identity === undefined ? undefined : { via: 'identity', identity }
  }

  /** Who this command is by what surrounds it, whatever else was given. */
  get identity(): Identity | undefined {
    if (this.#identity === undefined) {
      const source = findSource(this.#around())
      this.#identity = source === undefined ? null : new Identity(source, () => this.io.now())
    }
    return this.#identity ?? undefined
  }

  /** Everything in the surroundings that would prove who this command is. */
  identities(): readonly Source[] {
    return presentSources(this.#around())
  }

  /** For whom tokens about this command are made: the server, as it is called here. */
  get audience(): string {
    const named = this.io.env['WRIT_AUDIENCE']
    return named === undefined || named === '' ? this.url.replace(/\/$/u, '') : named
  }

  #around(): Around {
    return {
      env: this.io.env,
      read: (path) => readIfThere(resolvePath(path, this.io.cwd, this.io.home)),
      fetch: (input, init) => fetch(input, init),
      now: () => this.io.now(),
      random: randomUUID,
      audience: this.audience,
      asClient: (client) => this.#asClient(client),
    }
  }

  async #asClient(client: ClientKey): Promise<Held> {
    // a key in memory alone: the token is worth nothing to whoever else reads it
    this.#key ??= createDpopKey()
    const key = await this.#key
    const answer = await this.writ.tokens.asClient(client, { dpop: key })
    if (answer.outcome !== 'issued')
      throw new CliError(exit.denied, `no token for \`${plain(client.id)}\`: ${plain(answer.description)}`)
    const { token, endsAt } = answer.issued
    return { token, key, ...(endsAt === undefined ? {} : { endsAt: Date.parse(endsAt) }) }
  }

  get format(): Format {
    const { json, jsonFields, output } = this.options
    if (json === true || jsonFields !== undefined) {
      if (output !== undefined && output !== 'json') throw usage('`--json` and `--output` do not go together')
      return 'json'
    }
    return formats.find((format) => format === this.loaded.config.output) ?? 'table'
  }

  /** Data, to standard output. */
  print(data: Data, view: View = {}): void {
    const fields = this.options.jsonFields?.split(',').map((field) => field.trim())
    checkFields(data, fields)
    this.io.out(render(data, this.format, view, fields, this.io.columns))
  }

  /** A line on standard error. */
  say(line: string): void {
    this.io.err(`${line}\n`)
  }

  /** A symbol, in a colour, and a sentence that says the same without them. */
  note(kind: 'ok' | 'bad' | 'warn' | 'wait' | 'info', line: string): void {
    const [symbol, style] = marks[kind]
    this.say(`${this.io.style(style, symbol)} ${line}`)
  }

  /** Whether somebody may be asked. */
  get interactive(): boolean {
    return this.io.interactive && this.options.input !== false
  }

  /** A yes that was given in advance, or is given now. */
  async confirm(question: string, flag = '--yes'): Promise<boolean> {
    if (this.options.yes === true) return true
    if (!this.interactive) throw usage(`cannot ask: ${question}`, `nobody can answer here; give ${flag}`)
    return /^y(?:es)?$/iu.test((await this.io.ask(`${question} [y/N] `)).trim())
  }

  /**
   * A secret: from standard input with `flag`, else asked for without showing it. It is never an argument, because
   * arguments are seen by everybody on the machine.
   */
  async secret(what: string, fromStdin: boolean, flag: string): Promise<string> {
    if (!fromStdin && !this.interactive) throw usage(`the ${what} is missing`, `pipe it in with ${flag}`)
    const text =
      fromStdin && !this.io.interactive
        ? await this.io.stdin()
        : await this.io.ask(`${what}: `, { hidden: true })
    const secret = text.replace(/\r?\n$/u, '')
    if (secret === '') throw usage(`the ${what} is empty`)
    if (secret.includes('\n')) throw usage(`the ${what} has several lines`)
    return secret
  }
}

function readToken(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new CliError(
      exit.authNeeded,
      `cannot read the token file \`${path}\`${error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''}`,
      'WRIT_TOKEN_FILE or `token_file` names it; `writ keys create --out` writes one',
      error,
    )
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw new CliError(
      exit.authNeeded,
      `cannot read \`${path}\` (${String(code)})`,
      'it is where an identity may be',
      error,
    )
  }
}

const marks: Readonly<Record<'ok' | 'bad' | 'warn' | 'wait' | 'info', readonly [string, Style]>> = {
  ok: ['✓', 'green'],
  bad: ['✗', 'red'],
  warn: ['!', 'yellow'],
  wait: ['⧗', 'cyan'],
  info: ['·', 'dim'],
}

export { plain }
