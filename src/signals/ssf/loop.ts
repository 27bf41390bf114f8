/**
 * Waiting: for a time, for news, or for the end, whichever comes first.
 *
 * @module
 */
import type { Millis } from '../../model/time.ts'

export type Log = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields?: Readonly<Record<string, unknown>>,
) => void

/** Resolves after `length`, or as soon as `signal` is aborted. */
export function pause(length: Millis, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  const { promise, resolve } = Promise.withResolvers<void>()
  const done = (): void => {
    clearTimeout(timer)
    signal.removeEventListener('abort', done)
    resolve()
  }
  const timer = setTimeout(done, length)
  timer.unref()
  signal.addEventListener('abort', done, { once: true })
  return promise
}

/** Runs one piece of work after another. */
export type InTurn = <T>(work: () => Promise<T>) => Promise<T>

export function oneByOne(): InTurn {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const turn = last.then(work)
    last = turn.catch(() => undefined) // whoever brought it hears of it
    return turn
  }
}

/** Twice as long after each failure, spread by half. */
export function backedOff(failures: number, jitter: number, first: Millis, last: Millis): Millis {
  return Math.min(last, first * 2 ** Math.min(Math.max(0, failures - 1), 20)) * (0.5 + jitter / 2)
}
