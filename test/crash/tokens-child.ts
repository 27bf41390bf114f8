/**
 * A process that asks for a token on the folder of `stage.json`, and kills itself before or after the commit that holds
 * it: nobody hears the answer.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { createApp } from '../../src/app.ts'
import type { ServerConfig } from '../../src/config/index.ts'
import type { TokenRequest } from '../../src/model/token.ts'
import type { Store } from '../../src/store/port.ts'

const [file = '', when = ''] = process.argv.slice(2)
const { config, request, url } = JSON.parse(readFileSync(file, 'utf8')) as {
  config: ServerConfig
  request: TokenRequest
  url: string
}
const app = await createApp(config, { mode: 'server', http: false, sweeper: false, log: () => undefined })
const store = app.decision.store as { commit: Store['commit'] }
const { commit } = store
store.commit = async (item) => {
  if (when === 'before') process.kill(process.pid, 'SIGKILL')
  const result = await commit(item)
  if (when === 'after') process.kill(process.pid, 'SIGKILL')
  return result
}
await app.flows.tokens.token(request, { url })
process.stdout.write('answered\n')
