/**
 * Runs again whenever a file changes, until it is interrupted.
 *
 * @module
 */
import type { FSWatcher } from 'node:fs'
import { existsSync, watch } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import type { Context } from './context.ts'
import { exit, tell } from './exit.ts'

/** Editors write a file in several steps. */
const SETTLE = 100
const OURS = /\.(?:cedar|cedarschema|cedarschema\.json|ya?ml)$/u

/**
 * Runs `run` now and after every change below `roots`, or of a file that it has read elsewhere. What goes wrong is said,
 * and the watch goes on. Resolves at SIGINT or SIGTERM.
 */
export async function watching(
  context: Context,
  roots: readonly string[],
  run: () => Promise<readonly string[]>,
): Promise<number> {
  const watchers = new Map<string, FSWatcher>()
  const ended = new AbortController()
  let change = Promise.withResolvers<undefined>()
  let timer: ReturnType<typeof setTimeout> | undefined
  const soon = (): void => {
    clearTimeout(timer)
    timer = setTimeout(() => change.resolve(undefined), SETTLE)
  }
  const look = (folder: string, recursive: boolean, wanted: (name: string) => boolean): void => {
    if (watchers.has(folder) || !existsSync(folder)) return
    const watcher = watch(folder, { recursive }, (_event, name) => {
      if (name === null || wanted(name)) soon()
    })
    // a folder that goes away is looked for again after the next run
    watcher.on('error', () => {
      watchers.delete(folder)
      watcher.close()
    })
    watchers.set(folder, watcher)
  }
  const elsewhere = new Set<string>()
  const halt = (): void => {
    ended.abort()
    change.resolve(undefined)
  }
  process.on('SIGINT', halt)
  process.on('SIGTERM', halt)
  try {
    while (!ended.signal.aborted) {
      for (const root of roots) look(root, true, (name) => OURS.test(name))
      context.say(context.io.style('dim', `── ${new Date(context.io.now()).toLocaleTimeString('en-GB')}`))
      try {
        for (const file of await run()) elsewhere.add(resolve(file))
      } catch (error) {
        const { message, hint } = tell(error)
        context.note('bad', `${message}${hint === undefined ? '' : ` · ${hint}`}`)
      }
      for (const file of elsewhere)
        look(dirname(file), false, (name) => elsewhere.has(resolve(dirname(file), basename(name))))
      context.note('wait', 'waiting for changes')
      await change.promise
      // what changes from here on, during the next run too, is for the one after it
      change = Promise.withResolvers()
    }
  } finally {
    clearTimeout(timer)
    process.off('SIGINT', halt)
    process.off('SIGTERM', halt)
    for (const watcher of watchers.values()) watcher.close()
  }
  return exit.ok
}
