/**
 * What every command has at hand: configuration, the client, and how to print.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import type { Writ } from '../../client/src/index.ts'
import { createWrit } from '../../client/src/index.ts'
import type { Loaded, Sources } from '../config/index.ts'
import { loadConfig, resolvePath } from '../config/index.ts'
import { Checkpoints } from './checkpoints.ts'
import { CliError, exit, usage } from './exit.ts'
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

export class Context {
  readonly io: Io
  readonly options: GlobalOptions
  readonly sessions: Sessions
  readonly checkpoints: Checkpoints
  #loaded: Loaded | undefined
  #writ: Writ | undefined

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
      token: () => this.token(),
      userAgent: 'writ-cli',
      log: { memory: this.checkpoints, key: this.loaded.config.log_key },
    })
    return this.#writ
  }

  /** The variable, then the file, then the session of this server. */
  token(): string | undefined {
    const named = this.io.env['WRIT_TOKEN']
    if (named !== undefined && named !== '') return named
    const { token_file: file } = this.loaded.config
    if (file !== undefined) {
      const text = readToken(resolvePath(file, this.io.cwd, this.io.home)).trim()
      if (text === '') throw new CliError(exit.authNeeded, `\`${file}\` holds no token`)
      return text
    }
    return this.sessions.get(this.url)?.token
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

const marks: Readonly<Record<'ok' | 'bad' | 'warn' | 'wait' | 'info', readonly [string, Style]>> = {
  ok: ['✓', 'green'],
  bad: ['✗', 'red'],
  warn: ['!', 'yellow'],
  wait: ['⧗', 'cyan'],
  info: ['·', 'dim'],
}

export { plain }
