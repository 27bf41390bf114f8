/**
 * A witness on `folder` for the log with key `log`; told to, it kills itself once a head is durable and before its
 * cosignature exists. Says where it listens, and its key.
 *
 * @module
 */
import { writeSync } from 'node:fs'
import { formatVerifierKey, parseVerifierKey } from '../../src/audit/note.ts'
import { openWitness } from '../../src/cli/witness.ts'

const [folder = '', log = '', dies = ''] = process.argv.slice(2)
const key = parseVerifierKey(log)
if (key === undefined) throw new TypeError('`log` must be the key of a log')
const witness = await openWitness({
  folder,
  name: 'witness.example/crash',
  host: '127.0.0.1',
  port: 0,
  logs: [key],
  now: Date.now,
  onPersisted() {
    if (dies === 'dies') process.kill(process.pid, 'SIGKILL')
  },
})
writeSync(1, `${witness.url} ${formatVerifierKey(witness.key)}\n`)
