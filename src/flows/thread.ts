/**
 * Work aside: one worker thread, started when it is first needed, that does one thing after another. Whatever happens to
 * it (a trap of the Cedar library, an overflow, no more memory, no end) fails the work it had and nothing else: the next
 * work gets a new thread.
 *
 * @module
 */
import { getCompileCacheDir } from 'node:module'
import { dirname, extname } from 'node:path'
import { constants, getPriority, platform, setPriority } from 'node:os'
import { parentPort, Worker } from 'node:worker_threads'
import type { Millis } from '../model/time.ts'

export type ThreadOptions = Readonly<{
  /** Its entry file, as `entryOf` names it. */
  entry: URL
  /** Most pieces of work that wait beside the one under way. */
  waiting: number
  /** A piece of work that takes longer is given up. */
  timeout: Millis
  /** The heap it may have, in MiB. */
  memory: number
}>

/** Why work aside came to nothing: `busy` before it began, the others while it was under way. */
export class ThreadError extends Error {
  override readonly name = 'ThreadError'
  readonly why: 'busy' | 'late' | 'died' | 'stopped'

  constructor(why: ThreadError['why'], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.why = why
  }
}

type Job<In, Out> = Readonly<{
  input: In
  resolve(output: Out): void
  reject(error: Error): void
}>

type Answer<Out> = Readonly<{ output: Out; last: boolean }> | Readonly<{ failed: string }>

export class Thread<In, Out> {
  readonly #options: ThreadOptions
  readonly #waiting: Job<In, Out>[] = []
  #worker: Worker | undefined
  #running: Readonly<{ job: Job<In, Out>; timer: NodeJS.Timeout }> | undefined
  #stopped = false

  constructor(options: ThreadOptions) {
    this.#options = options
  }

  /**
   * What the thread makes of `input`, both structured-cloneable.
   *
   * @throws {ThreadError}
   */
  async run(input: In): Promise<Out> {
    if (this.#stopped) throw stopped()
    if (this.#waiting.length >= this.#options.waiting) {
      throw new ThreadError('busy', `${this.#waiting.length} others wait`)
    }
    const { promise, resolve, reject } = Promise.withResolvers<Out>()
    this.#waiting.push({ input, resolve, reject })
    this.#next()
    return promise
  }

  /** Whether it has nothing to do; then it keeps no process alive. */
  get isIdle(): boolean {
    return this.#running === undefined && this.#waiting.length === 0
  }

  /** Ends the thread; what it had to do fails. */
  async stop(): Promise<void> {
    this.#stopped = true
    for (const { reject } of this.#waiting.splice(0)) reject(stopped())
    const worker = this.#worker
    if (this.#running !== undefined) this.#gone(stopped())
    this.#worker = undefined
    await worker?.terminate()
  }

  #next(): void {
    if (this.#running !== undefined) return
    const job = this.#waiting.shift()
    if (job === undefined) {
      // an idle thread keeps no process alive
      this.#worker?.unref()
      return
    }
    const late = (): void =>
      this.#gone(new ThreadError('late', `it took longer than ${this.#options.timeout / 1_000} s`))
    this.#running = { job, timer: setTimeout(late, this.#options.timeout) }
    try {
      const worker = (this.#worker ??= this.#start())
      worker.ref()
      worker.postMessage(job.input, [])
    } catch (error) {
      this.#gone(new ThreadError('died', sentence(error), error))
    }
  }

  #start(): Worker {
    const { entry, memory } = this.#options
    const worker = new Worker(entry, {
      env: environment(),
      execArgv: [],
      // Node leaves 16 MiB to end a thread that is out of memory; what is young then must fit in, or the process ends with it
      resourceLimits: { maxOldGenerationSizeMb: memory, maxYoungGenerationSizeMb: 8 },
    })
    const mine = (handle: () => void): void => {
      if (this.#worker === worker) handle()
    }
    worker.on('message', (answer: Answer<Out>) => mine(() => this.#answered(answer)))
    worker.on('messageerror', (error) => mine(() => this.#gone(died(error))))
    worker.on('error', (error) => mine(() => this.#gone(died(error))))
    worker.on('exit', (code) => mine(() => this.#gone(new ThreadError('died', `it ended with ${code}`))))
    return worker
  }

  #answered(answer: Answer<Out>): void {
    // what threw once may be broken for good: the Cedar library is, after an overflow
    if ('failed' in answer) return this.#gone(new ThreadError('died', answer.failed))
    const running = this.#running
    this.#running = undefined
    clearTimeout(running?.timer)
    if (answer.last) this.#drop()
    running?.job.resolve(answer.output)
    this.#next()
  }

  /** The thread is no more; what it had fails, what waits goes on with another. */
  #gone(error: ThreadError): void {
    this.#drop()
    const running = this.#running
    this.#running = undefined
    clearTimeout(running?.timer)
    running?.job.reject(error)
    this.#next()
  }

  #drop(): void {
    const worker = this.#worker
    this.#worker = undefined
    void worker?.terminate()
  }
}

/** A thread is told one thing: where this process keeps what it compiled, if it was told to keep it. */
function environment(): Readonly<Record<string, string>> {
  const kept = getCompileCacheDir()
  return kept === undefined ? {} : { NODE_COMPILE_CACHE: dirname(kept) }
}

/** The file `name` beside the module `from`: TypeScript where the source runs, JavaScript in the package. */
export function entryOf(name: string, from: string): URL {
  return new URL(`./${name}${extname(new URL(from).pathname)}`, from)
}

/**
 * What an entry file does: answers every input with what `work` makes of it. An answer of which `isLast` holds is the
 * last of this thread: the next input gets another.
 */
export function serveThread<Out>(
  work: (input: never) => Out,
  isLast: (output: Out) => boolean = () => false,
): void {
  const port = parentPort
  if (port === null) throw new TypeError('not a thread')
  // decisions come first: on Linux a priority is a thread's own; where all of the process is lower already, it stays
  // there: to come back up is not allowed
  const { PRIORITY_BELOW_NORMAL: below } = constants.priority
  if (platform() === 'linux' && getPriority() < below) setPriority(below)
  port.on('message', (input: unknown) => {
    let answer: Answer<Out>
    try {
      const output = work(input as never)
      answer = { output, last: isLast(output) }
    } catch (error) {
      answer = { failed: sentence(error) }
    }
    port.postMessage(answer)
  })
}

const stopped = (): ThreadError => new ThreadError('stopped', 'the server stops')

const died = (error: unknown): ThreadError => new ThreadError('died', sentence(error), error)

const sentence = (error: unknown): string => (error instanceof Error ? error.message : 'no reason')
