/**
 * The terminal, or what stands in its place: data goes to standard output, everything else to standard error.
 *
 * @module
 */
import { homedir } from 'node:os'
import { createInterface } from 'node:readline/promises'
import { styleText } from 'node:util'
import { usage } from './exit.ts'

export type Style = Parameters<typeof styleText>[0]

export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly home: string
  /** Somebody may be asked: standard input and standard error are terminals. Standard output does not matter. */
  readonly interactive: boolean
  /** Standard error is a terminal, on which a line may be drawn again. */
  readonly live: boolean
  readonly columns: number
  /** Columns of standard error, 0 where it is no terminal: a line that is drawn again must fit. */
  readonly liveColumns: number
  now(): number
  /** Data. */
  out(text: string): void
  /** Everything else. */
  err(text: string): void
  /** Text in a colour, where standard error takes colours. A word always says the same. */
  style(style: Style, text: string): string
  /** The same for standard output. */
  styleOut(style: Style, text: string): string
  /** All of standard input. */
  stdin(): Promise<string>
  ask(question: string, options?: { hidden?: boolean; signal?: AbortSignal }): Promise<string>
}

const STDIN_MOST = 1024 * 1024

/** The process's own terminal. */
export function systemIo(): Io {
  const { stdin, stdout, stderr } = process
  return {
    env: process.env,
    cwd: process.cwd(),
    home: homedir(),
    interactive: stdin.isTTY && stderr.isTTY,
    live: stderr.isTTY,
    columns: stdout.isTTY ? stdout.columns : 0,
    liveColumns: stderr.isTTY ? stderr.columns : 0,
    now: Date.now,
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    style: (style, text) => styleText(style, text, { stream: stderr }),
    styleOut: (style, text) => styleText(style, text, { stream: stdout }),
    async stdin() {
      let text = ''
      for await (const chunk of stdin.setEncoding('utf8')) {
        text += String(chunk)
        if (text.length > STDIN_MOST) throw usage('standard input is too long')
      }
      return text
    },
    async ask(question, options = {}) {
      if (options.hidden === true) return askHidden(question)
      const lines = createInterface({ input: stdin, output: stderr })
      try {
        return await lines.question(question, options.signal ? { signal: options.signal } : {})
      } finally {
        lines.close()
      }
    },
  }
}

/** Reads a line that is not shown. */
function askHidden(question: string): Promise<string> {
  const { stdin, stderr } = process
  // before the question: what is typed right after it must not be shown either
  stdin.setRawMode(true)
  stderr.write(question)
  stdin.setEncoding('utf8')
  stdin.resume()
  return new Promise((resolve, reject) => {
    let text = ''
    const done = (): void => {
      stdin.setRawMode(false)
      stdin.pause()
      stdin.off('data', take)
      stderr.write('\n')
    }
    const take = (chunk: string): void => {
      for (const key of chunk) {
        if (key === '\r' || key === '\n') {
          done()
          return resolve(text)
        }
        if (key === '\u0003') {
          done()
          return reject(usage('interrupted'))
        }
        if (key === '\u007f' || key === '\b') text = text.slice(0, -1)
        else if (key >= ' ') text += key
      }
    }
    stdin.on('data', take)
  })
}
