/**
 * A process that issues a credential at a real PostgreSQL and takes it back, and kills itself at step `killAt`. Its output
 * is what its client saw; without a kill the last line is the list of steps.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, writeSync } from 'node:fs'
import { createApp } from '../../src/app.ts'
import type { ServerConfig } from '../../src/config/index.ts'
import type { Caller } from '../../src/flows/port.ts'
import type { TargetRecord } from '../../src/model/access.ts'
import { Secret } from '../../src/model/secret.ts'
import type { Target } from '../../src/targets/port.ts'
import { parsePostgresConfig } from '../../src/targets/postgres/config.ts'
import { postgresTarget } from '../../src/targets/postgres/driver.ts'

/** What the parent has prepared: an installation in which the migrator has an active grant. */
export type Prepared = Readonly<{ config: ServerConfig; migrator: Caller; task: string; grant: string }>

const [file = '', killAt = '0'] = process.argv.slice(2)
const steps: string[] = []

function step(name: string): void {
  steps.push(name)
  if (steps.length === Number(killAt)) process.kill(process.pid, 'SIGKILL')
}

function stepped(target: Target): Target {
  const around = async <T>(call: string, made: () => Promise<T>): Promise<T> => {
    step(`${call}: before`)
    const answer = await made()
    step(`${call}: after`)
    return answer
  }
  return {
    kind: target.kind,
    id: target.id,
    notices: target.notices,
    check: () => target.check(),
    plan: (id, request) => target.plan(id, request),
    issue: (planned, endsAt) => around('issue', () => target.issue(planned, endsAt)),
    revoke: (credential) => around('revoke', () => target.revoke(credential)),
    list: () => target.list(),
    close: () => target.close(),
  }
}

function postgres(record: TargetRecord, password: string, installation: string): Target {
  const { access: _access, user, ...config } = record.config as Record<string, unknown>
  const parsed = parsePostgresConfig({ ...config, id: record.id, admin: { user } }, new Secret(password))
  return stepped(postgresTarget(parsed, { installation, clock: () => Date.now(), randomBytes }))
}

const { config, migrator, task, grant } = JSON.parse(readFileSync(file, 'utf8')) as Prepared
const app = await createApp(config, {
  mode: 'server',
  http: false,
  sweeper: false,
  targetKinds: { postgres },
  hooks: {
    step(name) {
      if (name.startsWith('commit')) step(name)
    },
  },
})
const saw = (what: string): void => {
  step(`reply: ${what}`)
  writeSync(1, `${JSON.stringify({ saw: what })}\n`)
}
const { credential } = await app.flows.issueCredential(migrator, grant)
saw(credential === undefined ? 'nothing' : 'credential')
await app.flows.endTask(migrator, task, 'completed')
saw('ended')
await app.flows.settled()
saw('absent')
writeSync(1, `${JSON.stringify({ steps })}\n`)
await app.stop()
