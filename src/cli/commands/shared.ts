/**
 * What several commands do.
 *
 * @module
 */
import { constants } from 'node:os'
import type { Credential, Writ } from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { exit } from '../exit.ts'
import { plain, took } from '../text.ts'

const interrupts = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** A signal that aborts on Ctrl-C and its like, instead of ending the process, until it is disposed of. */
export function untilInterrupted(): Disposable & { readonly signal: AbortSignal; readonly exitCode: number } {
  const stop = new AbortController()
  let exitCode: number = exit.ok
  const interrupt = (signal: NodeJS.Signals): void => {
    exitCode = 128 + constants.signals[signal]
    stop.abort()
  }
  for (const signal of interrupts) process.on(signal, interrupt)
  return {
    signal: stop.signal,
    get exitCode() {
      return exitCode
    },
    [Symbol.dispose]() {
      for (const signal of interrupts) process.off(signal, interrupt)
    },
  }
}

const CLEAN_WITHIN = 10_000

/**
 * Waits until the credentials are verified absent and says so per target; 8 if that is not confirmed in time. Access
 * is denied already: this only waits for what was handed out to be gone.
 */
export async function confirmAbsent(
  context: Context,
  credentials: readonly Credential[],
  again: (writ: Writ) => Promise<readonly Credential[]>,
  timeout = CLEAN_WITHIN,
): Promise<number> {
  const started = performance.now()
  let open = credentials
  for (
    let tries = 0;
    open.some((c) => c.state !== 'absent') && performance.now() - started < timeout;
    tries++
  ) {
    await new Promise((resolve) => setTimeout(resolve, Math.min(50 * 1.6 ** Math.min(tries, 8), 1_000)))
    open = await again(context.writ)
  }
  const elapsed = performance.now() - started
  for (const credential of open) {
    const target = plain(credential.target)
    if (credential.state === 'absent') context.note('ok', `absent at ${target} after ${took(elapsed)}`)
    else {
      const why = credential.problem === undefined ? 'not confirmed yet' : plain(credential.problem)
      context.note('bad', `revoke unconfirmed at ${target}: ${why}; access is denied, and it is tried again`)
    }
  }
  return open.every((c) => c.state === 'absent') ? exit.ok : exit.revokeUnconfirmed
}
