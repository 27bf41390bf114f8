/**
 * Preloaded by `npm test`: properties draw the same cases in every run, unless `WRIT_SEED` names others.
 *
 * @module
 */
import fc from 'fast-check'

fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(process.env['WRIT_SEED'] ?? 20_261_122) })
