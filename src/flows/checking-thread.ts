/**
 * The thread that judges policy texts with Cedar's own parser and validator.
 *
 * @module
 */
import { judge } from '../policy/judge.ts'
import { serveThread } from './thread.ts'

// a library that failed may be broken for good, as it is after an overflow
serveThread(judge, (judgement) => judgement.kind === 'validate' && judgement.failed !== undefined)
