/**
 * What the killed process does: authority asked for, approved, used, handed out at a target and taken back in every way.
 * Each acknowledgement is what a client has seen by then.
 *
 * @module
 */
import { join } from 'node:path'
import type { App } from '../../src/app.ts'
import type { AttemptInput, Caller, SubmitInput } from '../../src/flows/port.ts'
import type { Json } from '../../src/model/canonical.ts'
import { MINUTE } from '../../src/model/time.ts'
import { FakeSystem, diskShelf } from '../support/fake-target.ts'
import type { ManualClock } from '../support/store.ts'
import { manualClock } from '../support/store.ts'
import { ref } from '../support/world.ts'
import { openApp, seededBytes } from '../machine/setup.ts'

export type Ack =
  | Readonly<{ saw: 'task' | 'ended' | 'locked'; id: string }>
  | Readonly<{ saw: 'permit' | 'grant' | 'revoked'; id: string }>
  /** With what was submitted: sent again it is the same request. */
  | Readonly<{ saw: 'request'; id: string; submission: SubmitInput }>
  | Readonly<{ saw: 'approval'; id: string; request: string }>
  | Readonly<{ saw: 'credential' | 'absent'; id: string }>
  | Readonly<{ saw: 'head'; size: number; root: string }>

/** Who takes part. */
export type Cast = Readonly<{ ada: Caller; grace: Caller; migrator: Caller }>

/** A folder with `data` and `shelf`, which is the target; callers are those of the template. */
export type Stage = Readonly<{ folder: string; keyFile: string; startedAt: number; cast: Cast }>

export type Opened = Readonly<{ app: App; clock: ManualClock; system: FakeSystem; complaints: string[] }>

/** Opens Writ on a stage; `step` is called around every write, every call of the target and every reply. */
export async function openStage(
  { folder, keyFile, startedAt }: Stage,
  seed: number,
  step: (name: string) => void = () => undefined,
): Promise<Opened> {
  const clock = manualClock(startedAt)
  const system = new FakeSystem(diskShelf(join(folder, 'shelf')))
  system.around = (call, moment) => {
    if (call !== 'list') step(`${call}: ${moment}`)
  }
  const complaints: string[] = []
  const app = await openApp(join(folder, 'data'), {
    clock,
    randomBytes: seededBytes(seed),
    system,
    log: (level, message) => {
      if (level === 'error') complaints.push(message)
    },
    keyFile,
    hooks: {
      step(name) {
        // dying after one write is dying before the next, except after the commit
        if (name.endsWith(': before') || name === 'commit: after') step(name)
      },
    },
  })
  return { app, clock, system, complaints }
}

const attempt = (action: string, task: string, more: Readonly<Record<string, Json>> = {}): AttemptInput => ({
  subject: ref('Agent/migrator'),
  action: { name: action },
  resource: ref('Database/orders'),
  context: { task, ...more },
})

/** Tells the story; `ack` gets what the client sees, when it sees it. */
export async function tell(
  { app, clock, system }: Opened,
  cast: Cast,
  ack: (ack: Ack) => void,
): Promise<void> {
  const { flows, store } = app
  const { ada, grace, migrator } = cast
  const seen = async (what: Ack): Promise<void> => {
    ack(what)
    ack({ saw: 'head', ...(await store.log.head()) })
  }

  const obtain = async (action: string): Promise<{ task: string; grant: string; credential: string }> => {
    const { id: task } = await flows.declareTask(migrator, {
      purpose: 'a story',
      reason: 'it must be told',
      scope: { actions: [action], resources: [ref('Database/orders')] },
      heartbeat: 60 * MINUTE,
    })
    await seen({ saw: 'task', id: task })
    const challenge = await flows.evaluate(migrator, attempt(action, task))
    const denial = {
      evaluationId: challenge.id,
      expiresAt: challenge.requestableUntil ?? 0,
      ...(challenge.bindingToken === undefined ? {} : { bindingToken: challenge.bindingToken }),
    }
    const submission = { ...attempt(action, task), denial, idempotencyKey: `ask ${action}` }
    const { id: request, digest } = await flows.submit(migrator, submission)
    await seen({ saw: 'request', id: request, submission })
    const approved = await flows.approve(grace, request, { statement: digest })
    const { approval = '' } = approved
    await seen({ saw: 'approval', id: approval, request })
    const state = flows.proofOf(approved, clock.wall()) ?? ''
    const { grant } = await flows.activate(
      migrator,
      attempt(action, task, { approval: { id: approval, state } }),
    )
    if (grant === undefined) throw new Error('the story has no grant')
    await seen({ saw: 'grant', id: grant.id })
    const { credential } = await flows.issueCredential(migrator, grant.id)
    if (credential === undefined) throw new Error('the story has no credential')
    await seen({ saw: 'credential', id: credential.id })
    return { task, grant: grant.id, credential: credential.id }
  }

  // it goes well, and ends with its task
  const first = await obtain('db:migrate')
  await flows.heartbeat(migrator, first.task)
  await flows.endTask(migrator, first.task, 'completed')
  await seen({ saw: 'ended', id: first.task })
  await flows.settled()
  await seen({ saw: 'absent', id: first.credential })

  // it is used, and revoked while its target does not answer
  const second = await obtain('db:query')
  const permit = await flows.evaluate(migrator, attempt('db:query', second.task))
  await seen({ saw: 'permit', id: permit.id })
  system.fault = 'down'
  await flows.revokeGrant(ada, second.grant, 'a story')
  await seen({ saw: 'revoked', id: second.grant })
  await flows.settled()
  system.fault = 'none'
  clock.advance(2 * MINUTE)
  await flows.sweeper.sweep()
  await flows.settled()
  await seen({ saw: 'absent', id: second.credential })

  // its subject is locked
  const third = await obtain('db:peek')
  await flows.locks.lock(ada, { what: 'subject', about: 'Agent/migrator', reason: 'a story' })
  await seen({ saw: 'locked', id: 'Agent/migrator' })
  await flows.settled()
  await seen({ saw: 'absent', id: third.credential })
}
