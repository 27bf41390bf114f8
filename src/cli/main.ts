/**
 * The `writ` command.
 *
 * @module
 */
import { main } from './cli.ts'
import { exit } from './exit.ts'
import { systemIo } from './io.ts'

/** What is still to be written is written before the process ends: pipes are slower than exit. */
async function drained(): Promise<void> {
  await Promise.all(
    [process.stdout, process.stderr].map(
      (stream) => new Promise<void>((resolve) => stream.write('', () => resolve())),
    ),
  )
}

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // whoever read us has gone, as `head` does
    if (error.code === 'EPIPE') process.exit(exit.ok)
    throw error
  })
}

const code = await main(process.argv.slice(2), systemIo())
await drained()
process.exit(code)
