/**
 * Preloaded by `npm test`: properties draw the same cases in every run, unless `WRIT_SEED` names others.
 *
 * @module
 */
import { isMainThread } from 'node:worker_threads'

// threads inherit what is preloaded, and some have little room: also for reading TypeScript, so this is JavaScript
if (isMainThread) {
  const { default: fc } = await import('fast-check')
  fc.configureGlobal({
    ...fc.readConfigureGlobal(),
    seed: Number(process.env['WRIT_SEED'] ?? 20_261_122),
  })
}
