/**
 * What one sees while an access request is waiting: a line that lives on a terminal, a line per change elsewhere.
 *
 * @module
 */
import type { AccessState, WritClientError } from '../../client/src/index.ts'
import type { Context } from './context.ts'
import { countdown, fitting, plain } from './text.ts'

const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'] as const
const FRAME = 100

/** Shows a wait until it is stopped. `[Symbol.dispose]` clears the line. */
export class Waiting implements Disposable {
  readonly #context: Context
  readonly #prefix: string
  #state: AccessState | undefined
  #shown: string | undefined
  #unreachable = false
  #frame = 0
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(context: Context, prefix = '') {
    this.#context = context
    this.#prefix = prefix
  }

  get state(): AccessState | undefined {
    return this.#state
  }

  /** A state that was seen. */
  see(state: AccessState): void {
    this.#state = state
    this.#unreachable = false
    if (this.#context.io.live) {
      this.#timer ??= setInterval(() => this.#draw(), FRAME)
      return
    }
    this.#line(`${plain(state.task.id)} is ${plain(state.status)}`)
  }

  /** The server could not be asked; the wait goes on. */
  miss(error: WritClientError): void {
    this.#unreachable = true
    if (!this.#context.io.live) this.#line(`still waiting: ${error.message}`)
  }

  [Symbol.dispose](): void {
    if (this.#timer === undefined) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#context.io.err('\r\u001B[K')
  }

  /** Said once until something else is said. */
  #line(text: string): void {
    if (this.#shown === text) return
    this.#shown = text
    this.#context.say(`${this.#prefix}${text}`)
  }

  #draw(): void {
    const { io } = this.#context
    const { task } = this.#state ?? {}
    const expires = task?.expires_at === undefined ? Number.NaN : Date.parse(task.expires_at)
    const parts = [
      this.#unreachable ? 'server out of reach, still waiting' : 'waiting for approval',
      ...(Number.isFinite(expires) ? [`expires ${countdown(expires - io.now())}`] : []),
      plain(task?.id ?? ''),
    ]
    const frame = frames[this.#frame++ % frames.length] as string
    const line = fitting(parts.join(' · '), Math.max(0, io.liveColumns - 3))
    io.err(`\r\u001B[K${io.style('cyan', frame)} ${line}`)
  }
}
