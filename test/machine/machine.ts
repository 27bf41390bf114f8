/**
 * Runs commands against a whole Writ and against the model, and compares them after every one.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { App } from '../../src/app.ts'
import { openLogFolder } from '../../src/audit/folder.ts'
import type { Head } from '../../src/audit/verify.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import type { AttemptInput, Caller as RealCaller } from '../../src/flows/port.ts'
import type { Task as RealTask } from '../../src/model/task.ts'
import { refKey } from '../../src/model/entity.ts'
import type { WritError } from '../../src/model/errors.ts'
import { isWritError } from '../../src/model/errors.ts'
import type { Decision } from '../../src/model/outcome.ts'
import type { RequirementSet } from '../../src/model/request.ts'
import type { FakeTarget } from '../support/fake-target.ts'
import { FakeSystem } from '../support/fake-target.ts'
import type { ManualClock } from '../support/store.ts'
import { manualClock, unpruned } from '../support/store.ts'
import { ref } from '../support/world.ts'
import { proveNewest } from '../support/prove.ts'
import { redecideAll } from '../support/redecide.ts'
import { Auditor } from './auditor.ts'
import type { Burst, Command, IssueRace, Outside, Race, Run, Try, Worse } from './commands.ts'
import type { Event, FactKind, Lock, LockKind, Said, Value } from './live.ts'
import { CALENDARS, deskOf, factsOf, idOf, isBelieved, joined, lockIdOf, nextEvent, textOf } from './live.ts'
import type {
  Attempt,
  Caller,
  Denied,
  Evidence,
  Grant,
  NeededSet,
  Pool,
  Request,
  Task,
  Verdict,
  Who,
} from './model.ts'
import { MINUTE, Model, sameAttempt, SECOND, typeOf } from './model.ts'
import { eventOf, setOf, Systems, TICKETS, ticketValue, wholeSeconds } from './outside.ts'
import type { AppParts, Template } from './setup.ts'
import {
  actionsServed,
  copyData,
  everybody,
  inputOf,
  keyFileOf,
  newKey,
  newSession,
  openApp,
  policiesOf,
  seededBytes,
  SIGNALS_BELIEVED,
  spokenOf,
} from './setup.ts'

type Answer<T> = Readonly<{ value: T; error?: undefined }> | Readonly<{ error: WritError; value?: undefined }>

const ADA = 'Person/ada'
/** Proofs at the end of each run. */
const PROVEN = 3
const HUB = 'Service/hub'
const SUBJECTS = [
  'Agent/migrator',
  'Agent/runner',
  'Agent/helper',
  'Agent/bot',
  'Agent/stray',
  'Person/hedy',
  'Person/ken',
  'Service/hub',
  'Person/ada',
]
const SCOPES: readonly Pick<Task, 'actions' | 'resources'>[] = [
  { actions: ['db:migrate'], resources: ['Database/orders'] },
  { actions: ['db:query'], resources: ['Database/orders'] },
  { actions: ['db:count'], resources: ['Database/orders'] },
  { actions: ['db:migrate', 'db:query', 'db:count'], resources: ['Database/orders', 'Database/payments'] },
  { actions: ['db:peek', 'db:drop'], resources: ['Database/orders'] },
  { actions: ['db:migrate'], resources: ['Database/payments'] },
  { actions: ['db:step', 'db:count'], resources: ['Database/orders'] },
  { actions: ['db:query', 'db:step', 'read'], resources: ['Database/orders', 'Document/handbook'] },
  { actions: ['db:stow', 'db:change', 'db:look'], resources: ['Database/orders', 'Database/payments'] },
  { actions: ['db:keep', 'db:fix', 'db:release'], resources: ['Database/orders', 'Database/payments'] },
]
/** What facts decide. */
const LIVE = Object.keys(factsOf)
const FACTS: readonly FactKind[] = ['posture', 'risk', 'session', 'ticket', 'incident']
const BELIEF = [undefined, MINUTE, 5 * MINUTE, 30 * SECOND]
const WINDOWS = [undefined, undefined, undefined, undefined, undefined, 'release', 'freeze'] as const
const FREE = [
  'db:peek',
  'db:peek',
  'db:drop',
  'db:guess',
  'read',
  'db:migrate',
  'db:count',
  'db:look',
  'db:sit',
]
const RESOURCES = ['Database/orders', 'Database/payments', 'Document/handbook', 'Database/orders']
const SERVED = actionsServed
const GROUPS = ['dba', 'security', 'deployers', 'dba']
/** Sessions last a day. */
const LONGEST_RUN = 18 * 60 * MINUTE

/** How often something of interest happened, so that a machine that reaches nothing is noticed. */
export type Reached = Map<string, number>

/** Runs one generated run from the template; throws at the first difference. */
export async function runMachine(template: Template, run: Run, reached: Reached): Promise<void> {
  const machine = await Machine.open(template, run, reached)
  try {
    for (const [index, command] of run.commands.entries()) {
      try {
        await machine.run(command)
        await machine.check()
      } catch (error) {
        const why = error instanceof Error ? (error.stack ?? error.message) : String(error)
        throw new Error(`command ${index} ${JSON.stringify(command)}\n${why}`, { cause: error })
      }
    }
    await machine.settle()
  } finally {
    await machine.close()
  }
}

/** Something that others do: whether it may be done, and what it comes to once it is. */
type Act = Readonly<{
  what: string
  may: boolean
  send(): Promise<unknown>
  /** Whether it is on record, of one that was cut off. */
  took(): Promise<boolean>
  apply(): void | Promise<void>
}>

class Machine {
  readonly #template: Template
  readonly #folders: string
  readonly #reached: Reached
  readonly #parts: AppParts
  readonly #clock: ManualClock
  readonly #system: FakeSystem
  readonly #model: Model
  readonly #auditor = new Auditor()
  readonly #heads: Head[] = []
  readonly #callers = new Map<string, RealCaller[]>()
  readonly #tasks: string[] = []
  readonly #denials: string[] = []
  readonly #requests: string[] = []
  /** Attempts that were sent with a key. */
  readonly #keyed: { caller: RealCaller; attempt: Attempt; how: 'use' | 'activate'; key: number }[] = []
  readonly #grants: string[] = []
  /** Names at the target without a row, which are found and removed. */
  readonly #orphans = new Set<string>()
  readonly #complaints: string[] = []
  readonly #systems: Systems
  /** What stands in the calendars. */
  readonly #events = new Map<string, readonly Event[]>()
  readonly #locks: Lock[] = []
  /** Everything that the transmitter has signed. */
  readonly #signed: { token: string; jti: string; act: Act }[] = []
  #folder = ''
  #generation = 0
  #app!: App
  #drivers: FakeTarget[] = []
  #taken = 0

  private constructor(template: Template, run: Run, reached: Reached) {
    this.#template = template
    this.#reached = reached
    this.#folders = join(template.folder, `run-${run.seed}-${process.pid}`)
    this.#clock = manualClock(template.startedAt)
    this.#model = new Model(template.startedAt)
    for (const who of everybody()) this.#model.who.set(who.key, who)
    for (const [key, caller] of template.callers) {
      this.#callers.set(key, [caller])
      this.#began(caller, template.startedAt)
    }
    this.#systems = new Systems(this.#model)
    const drivers = (): FakeTarget[] => this.#drivers
    this.#system = new (class extends FakeSystem {
      override connect(id: string): FakeTarget {
        const driver = super.connect(id)
        drivers().push(driver)
        return driver
      }
    })()
    this.#parts = {
      clock: this.#clock,
      randomBytes: seededBytes(run.seed),
      system: this.#system,
      log: (level, message, fields) => {
        if (level !== 'error') return
        const error = fields?.['error']
        // a process that is gone has nothing to say
        if (error instanceof Error && error.message === 'the store is closed') return
        this.#complaints.push(`${message} ${error instanceof Error ? (error.stack ?? error.message) : ''}`)
      },
      keyFile: keyFileOf(template),
      desk: this.#systems.options,
    }
  }

  static async open(template: Template, run: Run, reached: Reached): Promise<Machine> {
    const machine = new Machine(template, run, reached)
    machine.#folder = join(machine.#folders, '0')
    copyData(join(template.folder, 'data'), machine.#folder)
    machine.#app = await openApp(machine.#folder, machine.#parts)
    await machine.check()
    return machine
  }

  async close(): Promise<void> {
    this.#system.around = undefined
    for (const driver of this.#drivers) driver.cut()
    await this.#app.store.close()
    rmSync(this.#folders, { recursive: true, force: true })
  }

  async run(command: Command): Promise<void> {
    this.#note(`do ${command.do}`)
    switch (command.do) {
      case 'story':
        return this.#story(command)
      case 'declare':
        await this.#declare(command)
        return
      case 'evaluate': {
        const { attempt, caller } = this.#attempt(command.try)
        await this.#evaluate(
          caller,
          attempt,
          this.#evidence(command.grant, command.approval),
          command.how,
          command.key,
        )
        return
      }
      case 'retry': {
        const keyed = this.#keyed.at(-1 - (command.earlier % Math.max(1, this.#keyed.length)))
        if (keyed === undefined) return
        const { caller, attempt, how, key } = keyed
        const other = how === 'use' ? 'activate' : 'use'
        await this.#evaluate(caller, attempt, {}, command.other ? other : how, key)
        return
      }
      case 'submit': {
        const denied = this.#pick(this.#denials, command.denial, this.#model.denials)
        if (denied === undefined) return
        const caller = this.#caller(denied.attempt.subject, command.by)
        await this.#submit(caller, denied, command.justification, command.edited)
        return
      }
      case 'approve': {
        const request = this.#pick(this.#requests, command.request, this.#model.requests)
        if (request === undefined) return
        const people = everybody().map(({ key }) => key)
        const approver = this.#newest(people[command.by % people.length] as string)
        await this.#approve(approver, request, command.pool, command.other)
        return
      }
      case 'denyRequest':
        return this.#denyRequest(command)
      case 'cancelRequest':
        return this.#cancelRequest(command)
      case 'activate': {
        const request = this.#pick(this.#requests, command.request, this.#model.requests)
        if (request?.approval === undefined) return
        const attempt: Attempt = command.changed ? { ...request.attempt, amount: 1 } : request.attempt
        const caller = this.#caller(attempt.subject, command.by)
        await this.#evaluate(caller, attempt, { approval: request.approval }, 'activate', 0)
        return
      }
      case 'issue': {
        const any = this.#pick(this.#grants, command.grant, this.#model.grants)
        const grant = command.by === 0 ? (this.#usable(command.grant) ?? any) : any
        if (grant !== undefined) await this.#issue(this.#caller(grant.attempt.subject, command.by), grant)
        return
      }
      case 'heartbeat': {
        const task = this.#pick(this.#tasks, command.task, this.#model.tasks)
        if (task === undefined) return
        const caller = this.#caller(task.subject, command.by)
        const isRight = this.#model.isTheirs(said(caller), task) && this.#model.isLive(task)
        const { error } = await answer(this.#app.flows.heartbeat(caller, task.id))
        assert.equal(error === undefined, isRight, `heartbeat: ${error?.message}`)
        if (isRight && task.openedAt !== undefined) task.heartbeatAt = this.#model.now
        return
      }
      case 'endTask':
      case 'revokeTask':
        return this.#endTask(command)
      case 'revokeGrant': {
        const grant = this.#pick(this.#grants, command.grant, this.#model.grants)
        if (grant === undefined) return
        const caller = this.#caller(grant.attempt.subject, command.by)
        const { error } = await answer(this.#app.flows.revokeGrant(caller, grant.id, 'revoked'))
        const isRight = this.#isTheirs(caller, grant) || caller.subject.id === 'ada'
        assert.equal(error === undefined, isRight, `revoking a grant: ${error?.message}`)
        if (isRight) this.#model.endGrant(grant)
        return
      }
      case 'lock': {
        const who = this.#who(command.who)
        const caller = command.by === 0 ? this.#newest(ADA) : this.#caller(who.key, command.by)
        await this.#lock(caller, who, command.minutes)
        return
      }
      case 'report':
      case 'signal':
      case 'calendar':
      case 'lockThing':
        return this.#do(await this.#act(command))
      case 'cut':
        return this.#cut(await this.#act(command.during), command.wait)
      case 'ticket': {
        const about = TICKETS[command.ticket] as string
        const now = this.#model.now
        const value = ticketValue(about, command.to, now)
        this.#systems.truth.set(about, value)
        if (command.tell === 'no') return
        const name = about.startsWith('INC-') ? 'incident' : 'ticket'
        const observedAt = command.tell === 'now' ? now : now - 20 * SECOND
        const source = name === 'incident' ? 'pager' : 'desk'
        return this.#do(this.#observing({ name, about, value, observedAt, maxAge: MINUTE, source }))
      }
      case 'desk':
        this.#systems.desk = command.desk
        return
      case 'unlock': {
        const lock = this.#locks.at(-1 - (command.lock % Math.max(1, this.#locks.length)))
        if (lock === undefined) return
        const guard = this.#newest('Person/judy')
        const caller =
          command.by === 0 ? this.#newest(ADA) : command.by === 1 ? guard : this.#caller(ADA, command.by)
        return this.#unlock(caller, lock)
      }
      case 'signIn':
        return this.#signIn(this.#who(command.who).key)
      case 'delete': {
        const who = this.#who(command.who)
        const { error } = await answer(this.#app.flows.deleteEntity(this.#newest(ADA), ref(who.key)))
        assert.equal(error === undefined, !who.deleted, `deleting: ${error?.message}`)
        if (!who.deleted) this.#wasDeleted(who)
        return
      }
      case 'recreate':
        return this.#put(this.#deleted(command.who) ?? this.#who(command.who), (who) => {
          delete who.endsAt
        })
      case 'regroup':
        return this.#put(this.#who(command.who), (who) => {
          const group = GROUPS[command.group] as string
          who.groups = who.groups.includes(group)
            ? who.groups.filter((it) => it !== group)
            : [...who.groups, group]
        })
      case 'endSubject':
        return this.#put(this.#who(command.who), (who) => {
          who.endsAt = this.#model.now + command.minutes * MINUTE
        })
      case 'publish': {
        const { error } = await answer(
          this.#app.flows.publish(this.#newest(ADA), { policies: policiesOf(command.policy) }),
        )
        const isSame = command.policy === this.#model.policy
        assert.equal(error === undefined, isSame || this.#model.clockIsRight, `publishing: ${error?.message}`)
        if (error !== undefined || isSame) return
        this.#model.policy = command.policy
        this.#model.react()
        this.#note(`policy ${command.policy}`)
        return
      }
      case 'flood': {
        const [base] = policiesOf('base')
        const subject = SUBJECTS[command.by] as string
        if (subject === ADA) return
        for (let i = 0; i < 9; i += 1) {
          const policies = [{ name: 'flood.cedar', text: `${base?.text}// ${i}` }]
          const { error } = await answer(this.#app.flows.publish(this.#newest(subject), { policies }))
          assert.equal(error?.code, 'ERR_FORBIDDEN', 'who may not publish is refused')
        }
        return
      }
      case 'advance':
        return this.#advance(command.seconds * SECOND)
      case 'advanceTo': {
        const instants = this.#model.instants()
        const instant = instants[command.instant % Math.max(1, instants.length)]
        if (instant !== undefined) this.#advance(instant + command.offset - this.#model.now)
        return
      }
      case 'rewind':
        this.#clock.rewind(command.millis)
        this.#model.rewind(command.millis)
        return
      case 'mendClock':
        this.#clock.set(this.#model.now)
        this.#model.wall = this.#model.now
        return
      case 'jump':
        this.#clock.set(this.#clock.wall() + command.seconds * SECOND)
        this.#model.jump(command.seconds * SECOND)
        return
      case 'crash':
        return this.#crash()
      case 'restart':
        return this.#restart()
      case 'sweep':
        return this.#sweep()
      case 'trouble':
        this.#system.fault = command.fault
        this.#model.troubled = command.fault === 'down' || command.fault === 'stays'
        return
      case 'orphan': {
        const name = `fake_orphan_${this.#orphans.size}`
        if (this.#system.shelf.names().includes(name)) return
        this.#orphans.add(name)
        this.#system.shelf.add(name)
        return
      }
      case 'burst': {
        const { attempt, caller } = this.#attempt(command.try)
        return this.#burst(caller, attempt, this.#evidence(command.grant, command.approval), command)
      }
      case 'race': {
        const { attempt, caller } = this.#attempt(command.try)
        return this.#race(caller, attempt, command)
      }
      case 'issueRace':
        return this.#issueRace(this.#usable(command.grant), command)
    }
  }

  // what commands do

  async #story(story: Extract<Command, { do: 'story' }>): Promise<void> {
    const { steps, end } = story
    const {
      declare,
      try: tried,
      action,
    } = story.live === 0 ? { ...story, action: undefined } : await this.#prepare(story)
    if (tried.task > 0 && (await this.#declare(declare)) === undefined) return
    const chosen = this.#attempt(tried)
    const { caller } = chosen
    const resource = RESOURCES[tried.resource % 2] as string
    const attempt = action === undefined ? chosen.attempt : { ...chosen.attempt, action, resource }
    if (!(await this.#obtain(caller, attempt, steps))) return
    if (action !== undefined) this.#note(`obtained ${action}`)
    switch (end.do) {
      case 'nothing':
        return
      case 'issue': {
        const grant = this.#usable(0)
        if (grant !== undefined) await this.#issue(this.#newest(grant.attempt.subject), grant)
        return
      }
      case 'burst':
        return this.#burst(caller, attempt, {}, end)
      case 'race':
        return this.#race(caller, attempt, end)
      case 'issueRace':
        return this.#issueRace(this.#usable(0), end)
      case 'worsen':
        return this.#worsen(end.how, end.wait)
    }
  }

  /** As far as `steps`: ask, submit, one approval, all of them, activate. Whether authority was obtained. */
  async #obtain(caller: RealCaller, attempt: Attempt, steps: number): Promise<boolean> {
    const decision = await this.#evaluate(caller, attempt, {}, 'activate', 0)
    if (decision?.outcome === 'permit') return true
    const denied = this.#model.denials.get(decision?.id ?? '')
    if (steps < 2 || denied === undefined) return false
    const request = await this.#submit(caller, denied, denied.sets[0]?.justification === true, false)
    if (steps < 3 || request === undefined) return false
    for (const who of everybody()) {
      if (request.status !== 'pending') break
      const missing = (['dba', 'security'] as const).find((pool) => {
        const given = request.approvals.filter((it) => it.pool === pool).length
        return given < (request.sets[0]?.[pool] ?? 0) && this.#model.poolsOf(who.key, request).includes(pool)
      })
      if (missing === undefined || !who.human) continue
      await this.#approve(this.#newest(who.key), request, missing, false)
      if (steps < 4) break
    }
    if (steps < 5 || request.approval === undefined) return false
    const permit = await this.#evaluate(caller, attempt, { approval: request.approval }, 'activate', 0)
    return permit?.outcome === 'permit'
  }

  async #declare(command: Extract<Command, { do: 'declare' }>): Promise<RealTask | undefined> {
    const model = this.#model
    const parent = command.parent === 0 ? undefined : this.#pick(this.#tasks, command.parent - 1, model.tasks)
    const subject =
      parent !== undefined && command.subject % 3 > 0 ? parent.subject : (SUBJECTS[command.subject] as string)
    const caller = this.#caller(subject, command.by)
    const scope =
      parent !== undefined && command.scope % 4 > 0
        ? narrowed(parent, command.scope)
        : (SCOPES[command.scope % SCOPES.length] as Pick<Task, 'actions' | 'resources'>)
    const ticket = command.ticket === 0 ? undefined : TICKETS[(command.ticket - 1) % TICKETS.length]
    const calendar = WINDOWS[command.window]
    const known = calendar === undefined ? undefined : model.facts.get(`calendar ${calendar}`)
    const event =
      known === undefined || !isBelieved(known, model.now) ? undefined : nextEvent(known.value, model.now)
    const window = [
      undefined,
      { startsAt: model.now - MINUTE, endsAt: model.now + 20 * MINUTE },
      { startsAt: model.now + 5 * MINUTE, endsAt: model.now + 15 * MINUTE },
      { startsAt: model.now + 30 * MINUTE, endsAt: model.now + 60 * MINUTE },
      { startsAt: model.now, endsAt: model.now + 3 * MINUTE },
      event,
      event,
    ][command.window]
    const life = [30, 10, 20][command.life] as number
    const heartbeat = [60 * MINUTE, 5 * MINUTE, MINUTE][command.heartbeat] as number
    const limit = command.limit === 0 ? undefined : command.limit
    const isRight =
      model.mayDeclare(said(caller), subject, parent, scope) &&
      !(calendar !== undefined && event === undefined)
    const { value: task, error } = await answer(
      this.#app.flows.declareTask(caller, {
        purpose: 'something',
        subject: ref(subject),
        scope: { actions: scope.actions, resources: scope.resources.map(ref) },
        life: life * MINUTE,
        heartbeat,
        ...(limit === undefined ? {} : { limits: { calls: limit } }),
        ...(command.reason ? { reason: 'a reason' } : {}),
        ...(ticket === undefined ? {} : { ticket }),
        ...(calendar !== undefined ? { window: { calendar } } : window === undefined ? {} : { window }),
        ...(parent === undefined ? {} : { parent: parent.id }),
      }),
    )
    assert.equal(task !== undefined, isRight, `declaring: ${error?.message}`)
    if (task === undefined) return undefined
    const above = model.lineage(parent?.id)
    model.declared({
      id: task.id,
      subject,
      declaredBy: refKey(caller.subject),
      callerId: caller.id,
      instigators: [
        ...(caller.kind === 'session' ? [refKey(caller.subject)] : []),
        ...above.flatMap((it) => it.instigators),
      ],
      ...(parent === undefined ? {} : { parent: parent.id }),
      ...scope,
      ...(limit === undefined ? {} : { limit }),
      ...(window === undefined
        ? {}
        : {
            window: {
              startsAt: window.startsAt,
              endsAt: window.endsAt,
              ...(calendar === undefined ? {} : { calendar, uid: (event as Event).uid }),
            },
          }),
      ...(ticket === undefined ? {} : { ticket }),
      reason: command.reason,
      life: Math.min(life * MINUTE, parent?.life ?? Infinity),
      heartbeat,
    })
    this.#tasks.push(task.id)
    this.#note(parent === undefined ? 'task' : 'child task')
    if (calendar !== undefined) this.#note('task in a window of a calendar')
    return task
  }

  async #evaluate(
    caller: RealCaller,
    attempt: Attempt,
    evidence: Evidence,
    how: 'use' | 'activate',
    key: number,
  ): Promise<Decision | undefined> {
    const model = this.#model
    const replayKey = key === 0 ? undefined : `${caller.id} ${how} ${key}`
    if (key > 0) this.#keyed.push({ caller, attempt, how, key })
    const { value: decision, error } = await answer(this.#send(caller, attempt, evidence, how, key))
    // what systems were asked for meanwhile is known by now
    const replay = replayKey === undefined ? undefined : model.replay(replayKey, said(caller), attempt)
    if (replay === 'conflict') {
      assert.equal(error?.code, 'ERR_CONFLICT', 'a key that was used for another attempt is refused')
      return undefined
    }
    assert.ok(decision !== undefined, `evaluating: ${error?.stack}`)
    await this.#catchUp()
    if (replay !== undefined) {
      this.#note(`replay ${replay}`)
      assert.equal(decision.outcome, replay === 'again' ? 'permit' : 'deny', `a retry: ${decision.reason}`)
      if (replay === 'again') assert.equal(decision.id, model.replays.get(replayKey as string)?.decision)
      return decision
    }
    const verdict = model.decide(said(caller), attempt, evidence)
    assert.equal(decision.outcome, verdict.outcome, `${JSON.stringify(attempt)}: ${decision.reason}`)
    this.#answered(caller, attempt, verdict, how, decision, replayKey)
    return decision
  }

  #send(
    caller: RealCaller,
    attempt: Attempt,
    evidence: Evidence,
    how: 'use' | 'activate',
    key: number,
  ): Promise<Decision> {
    const { flows } = this.#app
    const options = key === 0 ? {} : { idempotencyKey: `key-${key}` }
    const input = inputFor(attempt, evidence)
    return how === 'use'
      ? flows.evaluate(caller, input, options)
      : flows.activate(caller, input, options).then(({ decision }) => decision)
  }

  /** What a decision tells the model. */
  #answered(
    caller: RealCaller,
    attempt: Attempt,
    verdict: Verdict,
    how: 'use' | 'activate',
    decision: Decision,
    replayKey: string | undefined,
  ): void {
    const model = this.#model
    this.#note(`${decision.outcome} ${decision.reason}`)
    if (decision.outcome === 'challenge') {
      assert.equal(decision.truncated, false)
      assert.deepEqual(
        decision.alternatives.map(neededOf).sort(byText),
        [...verdict.sets].sort(byText),
        'what is missing',
      )
      model.denials.set(decision.id, {
        id: decision.id,
        at: model.now,
        attempt,
        callerId: caller.id,
        sets: decision.alternatives.map(neededOf),
      })
      this.#denials.push(decision.id)
    }
    const isPermit = decision.outcome === 'permit'
    const carrier = decision.grant?.id
    if (replayKey !== undefined) {
      const attempted = sameAttempt(attempt)
      model.replays.set(replayKey, {
        attempt: attempted,
        at: model.now,
        decision: decision.id,
        isPermit,
        grant: carrier,
      })
    }
    if (!isPermit) {
      assert.equal(carrier, undefined, 'C1 nothing but a permit names a grant')
      return
    }
    this.#recorded(decision)
    const grant = carrier
    const isNew = verdict.request !== undefined || (verdict.grants.length === 0 && how === 'activate')
    if (verdict.grants.length > 0)
      assert.ok(verdict.grants.includes(grant ?? ''), 'C10 no other grant carries this')
    else if (isNew)
      assert.ok(grant !== undefined && !model.grants.has(grant), 'C9 an approval makes one new grant')
    else assert.equal(grant, undefined, 'standing access needs no grant')
    model.permitted(said(caller), attempt, verdict, how, grant)
    if (isNew && grant !== undefined) this.#grants.push(grant)
    if (grant !== undefined) assert.equal(decision.grant?.endsAt, model.grants.get(grant)?.endsAt, 'C3')
  }

  /** C1: what is returned has its entry. */
  #recorded(decision: Decision): void {
    const entry = this.#auditor.entries[decision.seq ?? -1]
    assert.equal(entry?.['id'], decision.id, 'C1 a permit has its entry')
    assert.equal(entry['outcome'], 'permit', 'C1 the entry says permit')
  }

  async #submit(
    caller: RealCaller,
    denied: Denied,
    justification: boolean,
    edited: boolean,
  ): Promise<Request | undefined> {
    const model = this.#model
    const isRight = model.maySubmit(said(caller), denied, justification) && !edited
    const sent = edited
      ? { ...denied.attempt, resource: otherDatabase(denied.attempt.resource) }
      : denied.attempt
    const { value: request, error } = await answer(
      this.#app.flows.submit(caller, {
        ...inputFor(sent, {}),
        denial: { evaluationId: denied.id, expiresAt: 0 },
        ...(justification ? { justification: 'because' } : {}),
      }),
    )
    assert.equal(request !== undefined, isRight, `submitting: ${error?.message}`)
    if (request === undefined) return undefined
    const before = model.settledSame(said(caller), denied, justification)
    if (before !== undefined) {
      assert.equal(request.id, before.id, 'a denial is asked about once in the same words')
      return before
    }
    const merged = model.pendingSame(said(caller), denied, justification)
    assert.equal(request.id, merged?.id ?? request.id, 'identical asks are one')
    model.submitted(request.id, said(caller), denied, justification)
    if (merged === undefined) this.#requests.push(request.id)
    this.#note('request')
    return model.requests.get(request.id)
  }

  async #approve(
    caller: RealCaller,
    request: Request,
    pool: Pool | undefined,
    other: boolean,
  ): Promise<void> {
    const model = this.#model
    const chosen = other ? undefined : model.mayApprove(said(caller), request, pool)
    const statement = other ? 'sha256:other' : (await this.#record('request', request.id)).digest
    const { value: approved, error } = await answer(
      this.#app.flows.approve(caller, request.id, { statement, ...(pool === undefined ? {} : { pool }) }),
    )
    assert.equal(approved !== undefined, chosen !== undefined, `approving: ${error?.message}`)
    if (approved === undefined || chosen === undefined) return
    const isMet = model.approved(said(caller), request, chosen, approved.approval ?? '')
    assert.equal(approved.status, isMet ? 'approved' : 'pending', 'C4 k of n distinct people')
    if (isMet) assert.equal(approved.activateBy, request.activateBy)
    this.#note('approval')
  }

  async #denyRequest(command: Extract<Command, { do: 'denyRequest' }>): Promise<void> {
    const request = this.#pick(this.#requests, command.request, this.#model.requests)
    if (request === undefined) return
    const people = everybody().map(({ key }) => key)
    const caller = this.#newest(people[command.by % people.length] as string)
    const key = refKey(caller.subject)
    // whom the door would not let in
    if (this.#model.who.get(key)?.generation !== caller.generation) return
    const isEligible =
      caller.kind === 'session' && (key === ADA || this.#model.poolsOf(key, request).length > 0)
    const { digest } = await this.#record('request', request.id)
    const { error } = await answer(this.#app.flows.denyRequest(caller, request.id, { statement: digest }))
    assert.equal(
      error === undefined,
      isEligible && request.status === 'pending',
      `denying: ${error?.message}`,
    )
    if (error === undefined) request.status = 'denied'
  }

  async #cancelRequest(command: Extract<Command, { do: 'cancelRequest' }>): Promise<void> {
    const request = this.#pick(this.#requests, command.request, this.#model.requests)
    if (request === undefined) return
    const caller = this.#caller(request.attempt.subject, command.by)
    const isTheirs = caller.id === request.callerId || refKey(caller.subject) === request.attempt.subject
    const { error } = await answer(this.#app.flows.cancelRequest(caller, request.id))
    assert.equal(
      error === undefined,
      isTheirs && request.status === 'pending' && this.#model.now < request.expiresAt,
      `cancelling: ${error?.message}`,
    )
    if (error === undefined) request.status = 'over'
  }

  #isServed({ attempt }: Grant): boolean {
    return SERVED.includes(attempt.action) && typeOf(attempt.resource) === 'Database'
  }

  #isTheirs(caller: RealCaller, grant: Grant): boolean {
    return caller.id === grant.asked.id || refKey(caller.subject) === grant.attempt.subject
  }

  async #issue(caller: RealCaller, grant: Grant): Promise<void> {
    const model = this.#model
    const { fault } = this.#system
    const isAsked = this.#isTheirs(caller, grant) && this.#isServed(grant)
    const from = this.#auditor.entries.length
    const { value: issued, error } = await answer(this.#app.flows.issueCredential(caller, grant.id))
    await this.#catchUp()
    const may = isAsked && model.mayIssue(said(caller), grant)
    const planned = this.#auditor.last('credential.planned', from)?.['credential'] as string | undefined
    assert.equal(planned !== undefined, may, `issuing: ${error?.message ?? issued?.decision.reason}`)
    if (!may || planned === undefined) {
      assert.equal(issued?.secret, undefined, 'B40 no credential without a permit')
      assert.equal(error !== undefined, !isAsked, `issuing: ${error?.message ?? issued?.decision.reason}`)
      return
    }
    model.issued(said(caller), grant)
    const isIssued = fault === 'none' || fault === 'stays'
    model.credentials.set(planned, { id: planned, grant: grant.id, state: 'live' })
    this.#note(`issue ${fault}`)
    if (isIssued) {
      assert.equal(issued?.credential?.id, planned)
      assert.equal(issued.credential.endsAt, grant.endsAt, 'C3 a credential ends with its grant')
      assert.ok(this.#auditor.last('credential.live', from) !== undefined, 'C1 a credential has its entry')
      return
    }
    assert.equal(error?.code, fault === 'refuses' ? 'ERR_TARGET_REFUSED' : 'ERR_TARGET_UNREACHABLE')
    model.takeBack(model.credentials.get(planned) as never)
  }

  async #endTask(command: Extract<Command, { do: 'endTask' | 'revokeTask' }>): Promise<void> {
    const task = this.#pick(this.#tasks, command.task, this.#model.tasks)
    if (task === undefined) return
    const caller = this.#caller(task.subject, command.by)
    const { flows } = this.#app
    const ended =
      command.do === 'endTask'
        ? flows.endTask(caller, task.id, command.how)
        : flows.revokeTask(caller, task.id, 'revoked')
    const { error } = await answer<unknown>(ended)
    const isRight =
      this.#model.isTheirs(said(caller), task) ||
      (command.do === 'revokeTask' && refKey(caller.subject) === ADA)
    assert.equal(error === undefined, isRight, `ending a task: ${error?.message}`)
    if (isRight) this.#model.endTask(task.id)
  }

  async #lock(caller: RealCaller, who: Who, minutes: number): Promise<void> {
    const until = minutes === 0 ? undefined : this.#model.now + minutes * MINUTE
    const options = until === undefined ? {} : { until }
    const { error } = await answer(
      this.#app.flows.locks.lock(caller, { what: 'subject', about: who.key, reason: 'locked', ...options }),
    )
    assert.equal(error === undefined, refKey(caller.subject) === ADA, `locking: ${error?.message}`)
    if (error === undefined) this.#locked(who, until)
  }

  #locked(who: Who, until: number | undefined): void {
    const model = this.#model
    who.locked = { at: model.now, until: until ?? Infinity }
    // a lock that holds longer stays
    model.lock('subject', who.key, until)
    who.locked.until = model.locks.get(lockIdOf({ what: 'subject', about: who.key }))?.until ?? Infinity
    model.endSubject(who.key)
    model.changed(who.key)
    this.#remember('subject', who.key)
    this.#note('lock')
  }

  #wasDeleted(who: Who): void {
    who.deleted = true
    who.generation += 1
    this.#model.endSubject(who.key)
    this.#model.changed(who.key)
    this.#note('delete')
  }

  /** Writes somebody's line; one who was deleted comes back as somebody new, with new credentials of their own. */
  async #put(who: Who, change: (who: Who) => void): Promise<void> {
    const after = { ...who }
    change(after)
    const ada = this.#newest(ADA)
    const { error } = await answer(this.#app.flows.putEntities(ada, [inputOf(after)]))
    assert.equal(error === undefined, this.#model.clockIsRight, `writing the inventory: ${error?.message}`)
    if (error !== undefined) return
    const wasDeleted = who.deleted
    const isNews = wasDeleted || who.endsAt !== after.endsAt || textOf(who.groups) !== textOf(after.groups)
    Object.assign(who, after, { deleted: false })
    if (after.endsAt === undefined) delete who.endsAt
    // somebody new, whom nobody has locked
    if (wasDeleted) delete who.locked
    if (isNews) this.#model.changed(who.key)
    if (!wasDeleted) return
    this.#note('recreate')
    // an enforcement point or person that has ended gets none before it begins again
    if (this.#model.now >= (who.endsAt ?? Infinity)) return
    const caller = who.human
      ? await newSession(this.#app, ada, who.key)
      : await newKey(this.#app, ada, who.key)
    this.#callers.get(who.key)?.push(caller)
    this.#began(caller, this.#model.now)
  }

  #began({ id, kind, subject }: RealCaller, at: number): void {
    if (kind === 'session')
      this.#model.sessions.set(id, { person: refKey(subject), createdAt: at, ended: false })
  }

  /** A new session for somebody whose sessions have ended, if they may have one. */
  async #signIn(key: string): Promise<void> {
    const newest = this.#newest(key)
    const isOut = this.#model.sessions.get(newest.id)?.ended === true
    if (!isOut || !this.#model.clockIsRight || !this.#model.isAble(key, newest.generation)) return
    const caller = await newSession(this.#app, this.#newest(ADA), key)
    this.#callers.get(key)?.push(caller)
    this.#began(caller, this.#model.now)
    this.#note('signed in again')
  }

  // what others do

  async #do(act: Act): Promise<void> {
    const { error } = await answer(act.send())
    assert.equal(error === undefined, act.may, `${act.what}: ${error?.message}`)
    if (error !== undefined) return
    await act.apply()
    this.#note(act.what)
  }

  async #act(command: Outside): Promise<Act> {
    switch (command.do) {
      case 'report':
        return this.#report(command)
      case 'signal':
        return this.#signal(command)
      case 'calendar':
        return this.#calendar(command)
      case 'lockThing':
        return this.#lockThing(command)
    }
  }

  /** The process is gone while something that is to narrow is under way: it has happened, or it has not (law 1). */
  async #cut(act: Act, wait: number): Promise<void> {
    let isDone: boolean | undefined
    const work = answer(act.send()).then(
      ({ error }) => (isDone = error === undefined),
      () => undefined,
    )
    for (let tick = 0; tick < wait; tick += 1) await turn()
    const live = [...this.#model.credentials.values()].filter(({ state }) => state === 'live')
    if (isDone === true && act.may) await act.apply()
    const wasDone = isDone
    await this.#crash(async () => {
      if (!act.may || wasDone !== undefined) return
      if (!(await act.took())) return this.#note('cut before')
      await act.apply()
      this.#note('cut after')
    })
    await work
    this.#model.judge()
    // whoever was taking it back is gone: the next sweep goes on
    for (const credential of live) if (credential.state === 'gone') credential.state = 'stuck'
  }

  #observing(observed: Said, send?: () => Promise<unknown>, may = true): Act {
    const { source, ...observation } = observed
    return {
      what: `observed ${observed.name}`,
      may,
      send:
        send ??
        (() =>
          this.#app.flows.facts.observe(source, 'said', [
            observation as unknown as Parameters<App['flows']['facts']['observe']>[2][number],
          ])),
      took: () => this.#isKnown(observed),
      apply: () => this.#model.observe(observed),
    }
  }

  /** Whether what is on record is what is known after `observed`. */
  async #isKnown(observed: Said): Promise<boolean> {
    const id = idOf(observed)
    const found = (await this.#app.store.read([{ kind: 'fact', id }])).get('fact', id)?.value
    const known = joined(this.#model.facts.get(id), observed, this.#model.now)
    return (
      found !== undefined &&
      textOf(found.value) === textOf(known.value) &&
      found.observedAt === known.observedAt &&
      found.source === known.source
    )
  }

  #report({ fact, about: n, value: v, ago, believed, by }: Extract<Command, { do: 'report' }>): Act {
    const model = this.#model
    const name = FACTS[fact] as FactKind
    const people = ['Person/hedy', 'Person/ken', 'Person/grace']
    const about =
      name === 'session'
        ? this.#newest(people[n % people.length] as string).id
        : name === 'ticket'
          ? (['OPS-1', 'NOTE-1', 'OPS-2'][n % 3] as string)
          : name === 'incident'
            ? 'INC-1'
            : (SUBJECTS[n] as string)
    const value: Value =
      name === 'posture'
        ? { compliant: v % 2 === 0, status: v % 2 === 0 ? 'compliant' : 'not-compliant' }
        : name === 'risk'
          ? { level: 1 + (v % 3) }
          : name === 'session'
            ? { compromised: v === 1, addressChanged: v === 2 }
            : ticketValue(about, v, model.now)
    const caller = by === 0 ? this.#newest(HUB) : by === 1 ? this.#newest(ADA) : this.#caller(ADA, by)
    const who = model.who.get(refKey(caller.subject))
    const may =
      (typeOf(refKey(caller.subject)) === 'Service' || who?.groups.includes('administrators') === true) &&
      model.isAble(refKey(caller.subject), caller.generation) &&
      model.sessions.get(caller.id)?.ended !== true &&
      model.clockIsRight &&
      // what a system is asked for nobody else reports
      deskOf(about)?.name !== name
    const maxAge = BELIEF[believed]
    const said: Said = {
      name,
      about,
      value,
      observedAt: model.now - ago,
      source: caller.id,
      ...(maxAge === undefined ? {} : { maxAge }),
    }
    const { source: _source, ...observation } = said
    return this.#observing(
      said,
      () =>
        this.#app.flows.facts.report(caller, [
          observation as unknown as Parameters<App['flows']['facts']['report']>[1][number],
        ]),
      may,
    )
  }

  async #signal(command: Extract<Command, { do: 'signal' }>): Promise<Act> {
    const model = this.#model
    if (command.again) {
      const earlier = this.#signed.at(-1 - (command.about % Math.max(1, this.#signed.length)))
      if (earlier !== undefined) return earlier.act
    }
    const ids = [...Object.keys(spokenOf), 'u-ada', 'nobody']
    const id = ids[command.about] as string
    const subject = spokenOf[id]
    const told = eventOf(command.event, command.value)
    const at = wholeSeconds(model.now - command.ago)
    const jti = `set-${this.#signed.length}`
    const token = await setOf(told, id, at, model.now, jti)
    const effect = subject === undefined ? undefined : this.#effectOf(told.event, command, subject, at)
    const isSpent = (): boolean =>
      this.#auditor.entries.some((entry) => entry['kind'] === 'signal.received' && entry['jti'] === jti)
    let wasSpent = false
    const act: Act = {
      what: `signal ${told.event}`,
      may: true,
      send: async () => {
        wasSpent = isSpent()
        if (wasSpent) this.#note('signal that comes again')
        const taken = await this.#app.flows.signals.push('idp', token, undefined)
        assert.equal(taken?.taken === true, subject !== undefined, 'a transmitter speaks of its own alone')
        if (subject === undefined) this.#note('signal about others')
      },
      took: async () => effect !== undefined && !wasSpent && (await effect.took()),
      apply: async () => {
        if (!wasSpent) await effect?.apply()
      },
    }
    this.#signed.push({ token, jti, act })
    return act
  }

  /** What an event about `subject` comes to. */
  #effectOf(
    event: string,
    { event: n, value: v }: Extract<Command, { do: 'signal' }>,
    subject: string,
    at: number,
  ): Pick<Act, 'took' | 'apply'> | undefined {
    const model = this.#model
    const said = (name: 'posture' | 'risk', value: Value) =>
      this.#observing({
        name,
        about: subject,
        value,
        observedAt: at,
        maxAge: SIGNALS_BELIEVED,
        source: 'idp',
      })
    const isWell = v % 2 === 0
    if (event === 'device-compliance-change')
      return said('posture', { compliant: isWell, status: isWell ? 'compliant' : 'not-compliant' })
    if (event === 'risk-level-change') return said('risk', { level: 1 + (v % 3) })
    const sessions = [...model.sessions].filter(([, { person }]) => person === subject)
    if (event === 'session-revoked' || (event === 'credential-change' && n === 1)) {
      return {
        took: async () => {
          const ids = sessions.map(([id]) => id.slice('session:'.length))
          const view = await this.#app.store.read(ids.map((id) => ({ kind: 'session' as const, id })))
          return ids.some(
            (id) =>
              view.get('session', id)?.value.endedAt !== undefined &&
              model.sessions.get(`session:${id}`)?.ended === false,
          )
        },
        apply: async () => {
          if (model.endSessions(subject, at + MINUTE).length > 0) this.#note('sessions ended')
          await this.#app.flows.settled()
          await this.#signIn(subject)
        },
      }
    }
    const worse =
      event === 'token-claims-change'
        ? { addressChanged: true }
        : event === 'assurance-level-change' && n === 10
          ? { compromised: true }
          : undefined
    if (worse === undefined || typeOf(subject) !== 'Person') return undefined
    return {
      took: async () => {
        const ids = sessions.map(([id]) => `session ${id}`)
        const view = await this.#app.store.read(ids.map((id) => ({ kind: 'fact' as const, id })))
        return ids.some((id) => {
          const { observedAt } = view.get('fact', id)?.value ?? {}
          return observedAt !== undefined && observedAt !== model.facts.get(id)?.observedAt
        })
      },
      apply: () => model.worsen(subject, at, worse, SIGNALS_BELIEVED),
    }
  }

  #calendar({ calendar, how, event: n, believed }: Extract<Command, { do: 'calendar' }>): Act {
    const { now } = this.#model
    const name = CALENDARS[calendar]
    const before = this.#events.get(name) ?? []
    const uid = `${name}-${n}`
    const moved = (start: number, end: number): readonly Event[] =>
      before
        .map((one) => ({
          ...one,
          startsAt: one.startsAt + start * MINUTE,
          endsAt: one.endsAt + end * MINUTE,
        }))
        .filter(({ startsAt, endsAt }) => startsAt < endsAt)
    const others = before.filter((one) => one.uid !== uid)
    const events = {
      opens: [...others, { uid, startsAt: now - 5 * MINUTE, endsAt: now + 20 * MINUTE }],
      soon: [...others, { uid, startsAt: now + 5 * MINUTE, endsAt: now + 25 * MINUTE }],
      moves: moved(7, 7),
      shorter: moved(0, -8),
      longer: moved(-5, 10),
      empty: [],
      same: before,
    }[how]
    const maxAge = [undefined, 30 * MINUTE, 6 * MINUTE][believed]
    return this.#reading(name, events, maxAge)
  }

  #reading(name: string, events: readonly Event[], maxAge: number | undefined): Act {
    const observedAt = this.#model.now
    const said: Said = {
      name: 'calendar',
      about: name,
      value: { events },
      observedAt,
      source: name,
      ...(maxAge === undefined ? {} : { maxAge }),
    }
    const { source: _source, ...observation } = said
    const { took, apply } = this.#observing(said)
    return {
      what: `calendar ${name}`,
      may: true,
      send: async () => {
        const { facts, windows } = this.#app.flows
        await facts.observe(name, 'read', [
          observation as unknown as Parameters<typeof facts.observe>[2][number],
        ])
        await windows.changed(name)
      },
      took,
      apply: () => {
        this.#events.set(name, events)
        void apply()
        this.#model.calendarSays(name)
      },
    }
  }

  #lockThing({ what, about: n, by, minutes }: Extract<Command, { do: 'lockThing' }>): Act {
    const about = {
      subject: this.#who(n).key,
      task: this.#pick(this.#tasks, n, this.#model.tasks)?.id ?? 'task_none',
      tool: LIVE[n % LIVE.length] as string,
      resource: ['Database/orders', 'Cluster/shop', 'Database/payments'][n % 3] as string,
      owner: ['Person/ada', 'Person/grace', 'Agent/runner', 'Person/ken'][n % 4] as string,
    }[what]
    const caller = by === 0 ? this.#newest(ADA) : this.#caller(ADA, by)
    return this.#locking(caller, what, about, minutes === 0 ? undefined : minutes)
  }

  #locking(caller: RealCaller, what: LockKind, about: string, minutes: number | undefined): Act {
    const model = this.#model
    const at = model.now
    const until = minutes === undefined ? undefined : at + minutes * MINUTE
    const own = refKey(caller.subject)
    const may =
      (own === ADA || (what === 'owner' && own === about)) && !(what === 'task' && !model.tasks.has(about))
    const id = lockIdOf({ what, about })
    return {
      what: `lock ${what}`,
      may,
      send: () =>
        this.#app.flows.locks.lock(caller, {
          what,
          about,
          reason: 'locked',
          ...(until === undefined ? {} : { until }),
        }),
      took: async () => (await this.#app.store.read([{ kind: 'lock', id }])).get('lock', id)?.value.at === at,
      apply: () => {
        if (what === 'subject') return this.#locked(model.who.get(about) as Who, until)
        model.lock(what, about, until)
        this.#remember(what, about)
      },
    }
  }

  #remember(what: LockKind, about: string): void {
    const lock = this.#model.locks.get(lockIdOf({ what, about })) as Lock
    if (!this.#locks.includes(lock)) this.#locks.push(lock)
  }

  async #unlock(caller: RealCaller, { what, about }: Lock): Promise<void> {
    const lock = this.#model.locks.get(lockIdOf({ what, about })) as Lock
    const may = this.#model.mayUnlock(said(caller), lock)
    const { error } = await answer(this.#app.flows.locks.unlock(caller, what, about))
    assert.equal(error === undefined, may, `unlocking ${what} ${about}: ${error?.message}`)
    if (!may) return
    this.#model.unlock(lock)
    this.#note(`unlock ${what}`)
    // what begins in the instant of a lock is taken to be older than it
    this.#advance(1)
  }

  /** Everything that the action of a story needs is so. */
  async #prepare(
    story: Extract<Command, { do: 'story' }>,
  ): Promise<Pick<typeof story, 'declare' | 'try'> & { action: string }> {
    const index = (story.live - 1) % LIVE.length
    const action = LIVE[index] as string
    const person = 5 + (story.declare.subject % 2)
    const isOf = action === 'db:change' || action === 'db:fix'
    const ticket = action === 'db:fix' ? 3 : action === 'db:change' ? 1 + (story.declare.ticket % 2) : 0
    const declare = {
      ...story.declare,
      parent: 0,
      scope:
        action === 'db:sit'
          ? 0
          : action === 'db:stow' || action === 'db:change' || action === 'db:look'
            ? 8
            : 9,
      ticket: isOf ? ticket : story.declare.ticket,
      by: 0,
      limit: 0,
    }
    const tried = {
      ...story.try,
      task: isOf ? 1 : action === 'db:sit' ? 0 : story.try.task,
      subject: action === 'db:sit' ? person : story.try.subject,
      odd: 'no' as const,
      by: 0,
    }
    const subject = SUBJECTS[tried.task > 0 ? declare.subject : tried.subject] as string
    const maxAge = [undefined, 5 * MINUTE, MINUTE][declare.life]
    const observedAt = this.#model.now
    const say = (name: FactKind, about: string, value: Value): Promise<void> =>
      this.#do(
        this.#observing({
          name,
          about,
          value,
          observedAt,
          source: 'monitor',
          ...(maxAge === undefined ? {} : { maxAge }),
        }),
      )
    if (action === 'db:look') await say('posture', subject, { compliant: true, status: 'compliant' })
    if (action === 'db:stow' || (action === 'db:keep' && declare.life > 0))
      await say('risk', subject, { level: 1 })
    if (action === 'db:sit') {
      await this.#signIn(subject)
      if (declare.life > 0)
        await say('session', this.#newest(subject).id, { compromised: false, addressChanged: false })
    }
    if (isOf) {
      this.#systems.desk = 'answers'
      const about = TICKETS[ticket - 1] as string
      this.#systems.truth.set(about, ticketValue(about, declare.life === 2 ? 4 : 0, this.#model.now))
      if (action === 'db:fix') this.#systems.truth.set(about, ticketValue(about, 0, this.#model.now))
    }
    if (action === 'db:release' || declare.window >= 5) {
      const on = { uid: 'now', startsAt: observedAt - MINUTE, endsAt: observedAt + 9 * MINUTE }
      const isFrozen = declare.window === 6
      await this.#do(this.#reading('release', [on], maxAge))
      await this.#do(this.#reading('freeze', isFrozen ? [on] : [], maxAge))
    }
    return { declare, try: tried, action }
  }

  /** What the newest grant was given on gets worse; it ends with that, and nothing else does. */
  async #worsen(how: Worse, wait: number): Promise<void> {
    const grant = this.#pick(this.#grants, 0, this.#model.grants)
    if (grant === undefined) return
    const { subject, action, resource } = grant.attempt
    const issued = this.#usable(0)
    if (issued === grant) await this.#issue(this.#newest(subject), grant)
    // what the target did not do of it is being taken back
    await this.#quiet()
    const kind = factsOf[action]?.[0]
    const ada = this.#newest(ADA)
    // of two words at one time it may not be the second that counts
    this.#advance(1)
    switch (how) {
      case 'tool':
        await this.#do(this.#locking(ada, 'tool', action, 2))
        break
      case 'resource':
        await this.#do(this.#locking(ada, 'resource', resource, 2))
        break
      case 'owner': {
        const owner = this.#model.who.get(subject)?.owner
        if (owner !== undefined) await this.#do(this.#locking(ada, 'owner', owner, 2))
        break
      }
      case 'source':
      case 'lapse': {
        if (wait % 3 === 0) this.#systems.desk = 'late'
        if (how === 'source')
          for (const about of TICKETS) this.#systems.truth.set(about, ticketValue(about, 2, 0))
        const lapses = [...this.#model.facts.values()]
          .filter(({ name, about }) => name === kind && [subject, grant.asked.id, 'release'].includes(about))
          .map(({ observedAt, maxAge }) => observedAt + maxAge - this.#model.now)
          .filter((by) => by > 0 && by < 20 * MINUTE)
        await this.#land()
        const ends = this.#model.seen(grant.asked, grant.attempt).ticket
        const endsAt = typeof ends === 'object' ? (ends?.['endsAt'] as number | undefined) : undefined
        if (how === 'lapse' && endsAt !== undefined) {
          // it is asked for once more before it is over
          this.#advance(MINUTE)
          await this.#sweep()
          await this.#land()
          this.#advance(endsAt - this.#model.now)
        } else this.#advance(how === 'source' ? MINUTE : Math.min(MINUTE * 5, ...lapses))
        await this.#sweep()
        break
      }
      case 'signal': {
        const id = Object.keys(spokenOf).indexOf(
          Object.entries(spokenOf).find(([, key]) => key === subject)?.[0] ?? '',
        )
        const event = { posture: 3, risk: 6, session: 10 }[kind as string] ?? 0
        if (id >= 0)
          await this.#do(
            await this.#signal({
              do: 'signal',
              event,
              about: id,
              value: event === 6 ? 2 : 1,
              ago: 0,
              again: false,
            }),
          )
        break
      }
      case 'report':
        await this.#do(this.#worst(grant.attempt, grant.asked))
        break
      case 'cut': {
        const calendar = this.#model.lineage(grant.attempt.task).find(({ window }) => window?.calendar)
          ?.window?.calendar
        const act =
          calendar === undefined
            ? this.#worst(grant.attempt, grant.asked)
            : this.#reading(calendar, [], undefined)
        await this.#cut(act, wait)
        break
      }
    }
    await this.check()
    if (!grant.ended) return
    this.#note(`ended by ${how}`)
    this.#note(`${action} ended by ${how}`)
  }

  /** What was to be looked at has been, before time goes on. */
  async #quiet(): Promise<void> {
    await this.#app.flows.settled()
    this.#model.judge()
  }

  /** Whoever was asked and is late answers, and that is on record. */
  async #land(): Promise<void> {
    if (!this.#systems.isHolding) return
    this.#systems.land()
    this.#note('late answer')
    await turn()
    // what was said before this is on record when this is
    const nothing = { name: 'posture', about: 'Person/nobody', value: null, observedAt: 0 } as const
    await this.#app.flows.facts.observe('nobody', 'nothing', [nothing])
    await this.#quiet()
  }

  #advance(by: number): void {
    if (by <= 0 || this.#model.now + by > this.#template.startedAt + LONGEST_RUN) return
    this.#clock.advance(by)
    this.#model.advance(by)
  }

  async #sweep(): Promise<void> {
    await this.#app.flows.sweeper.sweep()
    await this.#app.flows.settled()
    this.#model.sweep()
    this.#model.judge()
    await this.#land()
    const isWell =
      this.#system.fault === 'none' || this.#system.fault === 'lost' || this.#system.fault === 'refuses'
    if (isWell)
      for (const name of this.#orphans)
        if (!this.#system.shelf.names().includes(name)) this.#orphans.delete(name)
  }

  /** The process is gone in this instant; another opens what it left on the disk. */
  async #crash(adopt?: () => Promise<void>): Promise<void> {
    this.#systems.drop()
    for (const driver of this.#drivers) driver.cut()
    this.#drivers = []
    this.#generation += 1
    const left = this.#folder
    const folder = join(this.#folders, String(this.#generation))
    copyData(left, folder)
    // what it still had to write goes into the folder that nobody reads any more
    await this.#app.store.close()
    rmSync(left, { recursive: true, force: true })
    this.#folder = folder
    this.#app = await openApp(folder, this.#parts)
    const { now } = await this.#app.store.read([])
    if (this.#model.wall >= this.#model.now)
      assert.equal(now, this.#model.now, 'B31 time goes on after a crash')
    assert.ok(now >= this.#model.wall && now <= this.#model.now, 'B31')
    this.#model.now = now
    await adopt?.()
    this.#model.react()
    await this.#app.flows.settled()
    this.#note('crash')
  }

  async #restart(): Promise<void> {
    await this.#app.stop()
    this.#systems.drop()
    this.#drivers = []
    await this.#verifyFolder()
    this.#app = await openApp(this.#folder, this.#parts)
    this.#model.react()
    this.#note('restart')
  }

  /** Many at once: as many permits as there is room for, not one more or less. */
  async #burst(caller: RealCaller, attempt: Attempt, evidence: Evidence, command: Burst): Promise<void> {
    const model = this.#model
    const { key } = command
    const replayKey = key === 0 ? undefined : `${caller.id} use ${key}`
    const answers = await Promise.all(
      Array.from({ length: command.times }, () => answer(this.#send(caller, attempt, evidence, 'use', key))),
    )
    await this.#catchUp()
    const replay = replayKey === undefined ? undefined : model.replay(replayKey, said(caller), attempt)
    if (replay === 'conflict') {
      for (const { error } of answers) assert.equal(error?.code, 'ERR_CONFLICT')
      return
    }
    const first = model.peek(() => model.decide(said(caller), attempt, evidence))
    const decisions = answers.map(({ value, error }) => {
      assert.ok(value !== undefined, `evaluating at once: ${error?.stack}`)
      assert.notEqual(value.reason, 'contended')
      return value
    })
    const permits = decisions.filter(({ outcome }) => outcome === 'permit').sort(bySeq)
    if (replayKey !== undefined) {
      const isPermitted = replay === 'again' || (replay === undefined && first.outcome === 'permit')
      assert.equal(permits.length, isPermitted ? command.times : 0, 'retries at once get the same answer')
      assert.ok(new Set(permits.map(({ id }) => id)).size <= 1, 'C9 one key, one permit')
      const [one] = [...permits, ...decisions]
      if (replay === undefined && one !== undefined)
        this.#answered(caller, attempt, first, 'use', one, replayKey)
      return
    }
    for (const permit of permits) {
      const verdict = model.decide(said(caller), attempt, evidence)
      assert.equal(verdict.outcome, 'permit', `C5, C9 ${permits.length} permits at once are too many`)
      this.#answered(caller, attempt, verdict, 'use', permit, undefined)
    }
    if (permits.length > 0) this.#note(permits.length < command.times ? 'burst that spends all' : 'burst')
    if (permits.length === command.times) return
    const verdict = model.decide(said(caller), attempt, evidence)
    assert.notEqual(
      verdict.outcome,
      'permit',
      `${permits.length} of ${command.times} at once, and room for more`,
    )
  }

  /** Attempts under way while what they stand on is taken back: none that begins afterwards is permitted. */
  async #race(caller: RealCaller, attempt: Attempt, command: Race): Promise<void> {
    const model = this.#model
    const { flows } = this.#app
    const ada = this.#newest(ADA)
    const who = model.who.get(attempt.subject) as Who
    const { grants } = model.peek(() => model.decide(said(caller), attempt, {}))
    const grant = model.grants.get(grants[0] ?? '')
    const task = model.tasks.get(attempt.task ?? '')
    const { against } = command
    if (attempt.subject === ADA || (against === 'delete' && who.deleted)) return
    if (against === 'fact' && factsOf[attempt.action] === undefined) return
    const worse = this.#worst(attempt, said(caller))
    // of two calendars that are read at one time it may not be this that counts
    const freeze = model.facts.get('calendar freeze')?.observedAt
    if (against === 'fact' && attempt.action === 'db:release' && freeze === model.now) return
    if ((against === 'grant' && grant === undefined) || (against === 'task' && task === undefined)) return

    const from = this.#auditor.entries.length
    const during = Array.from({ length: command.times }, () =>
      answer(this.#send(caller, attempt, {}, 'use', 0)),
    )
    for (let tick = 0; tick < command.wait; tick += 1) await turn()
    const until = model.now + 5 * MINUTE
    if (against === 'task') await flows.revokeTask(ada, task?.id as string, 'raced')
    else if (against === 'grant') await flows.revokeGrant(ada, grant?.id as string, 'raced')
    else if (against === 'subject')
      await flows.locks.lock(ada, { what: 'subject', about: who.key, reason: 'raced', until })
    else if (against === 'tool')
      await flows.locks.lock(ada, { what: 'tool', about: attempt.action, reason: 'raced', until })
    else if (against === 'fact') await worse.send()
    else await flows.deleteEntity(ada, ref(who.key))
    const after = [1, 2].map(() => answer(this.#send(caller, attempt, {}, 'use', 0)))
    const early = decided(await Promise.all(during))
    const late = decided(await Promise.all(after))
    await this.#catchUp()
    for (const decision of late) {
      if (decision.outcome !== 'permit') continue
      assert.equal(against, 'grant', 'C2 nothing begins after what it stands on was taken back')
      assert.notEqual(decision.grant?.id, grant?.id, 'C2 the grant was taken back')
    }
    const kinds = {
      task: 'task.ended',
      grant: 'grant.ended',
      subject: 'subject.locked',
      delete: 'inventory.deleted',
      tool: 'lock.set',
      fact: 'fact.observed',
    }
    const narrowedAt = this.#auditor.entries.findIndex(
      (entry, seq) =>
        seq >= from &&
        entry['kind'] === kinds[against] &&
        (against !== 'fact' || ['said', 'read'].includes(String(entry['by']))),
    )
    let isNarrowed = false
    const narrow = (): void => {
      isNarrowed = true
      if (against === 'task') model.endTask(task?.id as string)
      else if (against === 'grant') model.endGrant(grant as Grant)
      else if (against === 'subject') this.#locked(who, until)
      else if (against === 'fact') void worse.apply()
      else if (against === 'tool') {
        model.lock('tool', attempt.action, until)
        this.#remember('tool', attempt.action)
      } else this.#wasDeleted(who)
    }
    for (const decision of [...early, ...late].sort(bySeq)) {
      if (!isNarrowed && narrowedAt >= 0 && (decision.seq ?? 0) > narrowedAt) narrow()
      if (decision.outcome !== 'permit') continue
      const verdict = model.decide(said(caller), attempt, {})
      assert.equal(verdict.outcome, 'permit', 'C2 permitted in a race that it lost')
      this.#answered(caller, attempt, verdict, 'use', decision, undefined)
    }
    if (!isNarrowed) narrow()
    this.#note(`race ${against}`)
  }

  /** What the attempt is decided by gets as bad as it can be. */
  #worst({ subject, action, task }: Attempt, asked: Pick<Caller, 'id'>): Act {
    const kind = factsOf[action]?.[0] ?? 'posture'
    const ticket = this.#model.tasks.get(task ?? '')?.ticket ?? 'NOTE-1'
    const on = { uid: 'now', startsAt: this.#model.now, endsAt: this.#model.now + MINUTE }
    if (kind === 'calendar') return this.#reading('freeze', [on], undefined)
    const [about, value] = {
      posture: [subject, { compliant: false, status: 'not-compliant' }] as const,
      risk: [subject, { level: 3 }] as const,
      session: [asked.id, { compromised: true, addressChanged: true }] as const,
      ticket: [ticket, ticketValue(ticket, 2, 0)] as const,
      incident: [ticket, ticketValue('INC-1', 2, 0)] as const,
    }[kind]
    const source = kind === 'incident' ? 'pager' : kind === 'ticket' ? 'desk' : 'monitor'
    return this.#observing({ name: kind, about, value, observedAt: this.#model.now, maxAge: MINUTE, source })
  }

  /** B49: a credential is on its way from the target while its grant is taken back. */
  async #issueRace(grant: Grant | undefined, command: IssueRace): Promise<void> {
    const model = this.#model
    if (grant === undefined || this.#system.fault !== 'none' || !this.#isServed(grant)) return
    // a system that is asked meanwhile may keep it from coming so far
    if (factsOf[grant.attempt.action]?.some((kind) => kind === 'ticket' || kind === 'incident') === true)
      return
    const caller = this.#newest(grant.attempt.subject)
    if (
      !this.#isTheirs(caller, grant) ||
      !model.mayIssue(said(caller), grant) ||
      grant.attempt.subject === ADA
    )
      return
    await this.#quiet()
    const reached = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    this.#system.around = (call, moment) => {
      if (call !== 'issue' || moment !== command.hold) return undefined
      reached.resolve()
      return gate.promise
    }
    const from = this.#auditor.entries.length
    const issuing = answer(this.#app.flows.issueCredential(caller, grant.id))
    await reached.promise
    await this.#catchUp()
    const planned = this.#auditor.last('credential.planned', from)?.['credential'] as string
    model.issued(said(caller), grant)
    model.credentials.set(planned, { id: planned, grant: grant.id, state: 'live' })
    this.#note(`issue race ${command.meanwhile}`)

    if (command.meanwhile === 'crash') {
      this.#system.around = undefined
      for (const driver of this.#drivers) driver.cut()
      gate.resolve()
      for (let tick = 0; tick < 5; tick += 1) await turn()
      await this.#crash()
      // its secret was never given to anybody: it is taken back with the next sweep
      const credential = model.credentials.get(planned)
      if (credential?.state === 'live') credential.state = 'stuck'
      return
    }
    const ada = this.#newest(ADA)
    const who = model.who.get(grant.attempt.subject) as Who
    if (command.meanwhile === 'revoke') {
      await this.#app.flows.revokeGrant(ada, grant.id, 'meanwhile')
      model.endGrant(grant)
    } else if (command.meanwhile === 'lock') {
      await this.#lock(ada, who, 5)
    } else {
      const ends = [grant.endsAt, ...model.lineage(grant.attempt.task).map((task) => model.lapsesAt(task))]
      const by = Math.min(...ends) - model.now
      this.#clock.advance(by)
      model.advance(by)
    }
    for (let tick = 0; tick < 10; tick += 1) await turn()
    gate.resolve()
    this.#system.around = undefined
    const { value: issued, error } = await issuing
    assert.equal(error, undefined)
    assert.equal(issued?.secret, undefined, 'B49, C3 no secret leaves under what has ended')
    assert.notEqual(issued?.decision.outcome, 'permit')
    await this.#app.flows.settled()
    const credential = model.credentials.get(planned)
    if (credential !== undefined) model.takeBack(credential)
  }

  // comparing

  /** Everything that is recorded against everything that should be. */
  async check(): Promise<void> {
    await this.#app.flows.settled()
    await this.#land()
    await this.#catchUp()
    assert.deepEqual(this.#complaints, [], 'nothing goes wrong unexpectedly')
    assert.deepEqual(this.#systems.complaints, [], 'nobody is asked too often')
    const model = this.#model
    model.judge()
    const { tasks, requests, grants, credentials, facts, locks } = model
    const view = await this.#app.store.read([
      ...[...facts.keys()].map((id) => ({ kind: 'fact' as const, id })),
      ...[...locks.keys()].map((id) => ({ kind: 'lock' as const, id })),
      ...[...tasks.keys()].map((id) => ({ kind: 'task' as const, id })),
      ...[...requests.keys()].map((id) => ({ kind: 'request' as const, id })),
      ...[...grants.keys()].map((id) => ({ kind: 'grant' as const, id })),
      ...[...credentials.keys()].map((id) => ({ kind: 'credential' as const, id })),
      { index: 'credential.open' as const, value: 'open' },
    ])
    assert.equal(view.now, model.now, 'the time')
    for (const [id, { value, observedAt, maxAge, source }] of facts) {
      const found = view.get('fact', id)?.value
      assert.deepEqual(
        [found?.value, found?.observedAt, found?.maxAge, found?.source],
        [value, observedAt, maxAge, source],
        `B52 what is known of ${id}`,
      )
    }
    for (const [id, { at, until }] of locks) {
      const found = view.get('lock', id)?.value
      const held = Math.min(found?.until ?? Infinity, found?.endedAt ?? Infinity)
      assert.deepEqual([found?.at, held], [at, until], `lock ${id}`)
    }
    for (const grant of grants.values()) {
      const found = view.get('grant', grant.id)?.value
      if (grant.ended || found?.state === 'active' || !model.isOver(grant)) continue
      // time had taken it, and it was looked at before it was due
      model.endGrant(grant)
      this.#note('ended before its time was looked at')
    }
    for (const task of tasks.values()) {
      const record = view.get('task', task.id)?.value
      assert.ok(record !== undefined)
      const { state, calls, endsAt, heartbeatAt, waitUntil } = record
      const expected = { isEnded: task.ended, isOpened: task.openedAt !== undefined, calls: task.calls }
      const isEnded = state !== 'declared' && state !== 'open'
      const found = { isEnded, isOpened: endsAt !== undefined, calls }
      assert.deepEqual(found, expected, `C5 task ${task.id}`)
      if (endsAt !== undefined && !isEnded)
        assert.deepEqual([endsAt, heartbeatAt], [task.endsAt, task.heartbeatAt], 'C3')
      if (state === 'declared') assert.equal(waitUntil, task.waitUntil, 'C3 waiting')
      if (task.limit !== undefined) assert.ok(calls <= task.limit, 'C5 a limit holds for all below')
    }
    for (const request of requests.values()) {
      const found = view.get('request', request.id)?.value
      const status = found?.status === 'expired' || found?.status === 'cancelled' ? 'over' : found?.status
      const expected = [request.status, request.approvals.length, request.grant]
      assert.deepEqual([status, found?.approvals.length, found?.grant], expected, `request ${request.id}`)
    }
    for (const grant of grants.values()) {
      const found = view.get('grant', grant.id)?.value
      assert.ok(found !== undefined)
      const { binding, uses, used, endsAt, ended } = grant
      assert.deepEqual(
        {
          binding: found.binding,
          uses: found.uses,
          used: found.used,
          endsAt: found.endsAt,
          ended: found.state !== 'active',
        },
        { binding, uses, used, endsAt, ended },
        `grant ${grant.id}`,
      )
      assert.ok(used <= (uses ?? Infinity), 'C9 a grant has its uses')
      // of a task that was narrowed since, what had ended before keeps the end that it had
      for (const task of ended ? [] : model.lineage(grant.attempt.task))
        assert.ok(endsAt <= task.endsAt, 'C3 no grant outlives a task')
    }
    const names = new Set(this.#system.shelf.names())
    for (const credential of credentials.values()) {
      const found = view.get('credential', credential.id)?.value
      const isThere = names.delete(`fake_${credential.id}`)
      const may = { live: ['live'], gone: ['absent'], stuck: ['revoking', 'unresolved', 'absent'] }[
        credential.state
      ]
      assert.ok(
        may.includes(found?.state ?? ''),
        `C8 credential ${credential.id} is ${found?.state}, not ${credential.state}`,
      )
      assert.ok(
        !(isThere && found?.state === 'absent'),
        `C8 ${credential.id} is at the target, and said to be absent`,
      )
      assert.ok(isThere || credential.state !== 'live', `${credential.id} lives, and is not at the target`)
      const grant = grants.get(credential.grant)
      if (credential.state === 'live')
        assert.equal(grant?.ended, false, 'C8 nothing lives under what has ended')
    }
    assert.deepEqual([...names], [...this.#orphans].sort(), 'C8 nothing is at the target without a row')
  }

  /** Trouble ends and time passes: then nothing is left that should not be. */
  async settle(): Promise<void> {
    this.#system.fault = 'none'
    this.#model.troubled = false
    this.#clock.set(this.#model.now)
    this.#model.wall = this.#model.now
    for (let i = 0; i < 3; i += 1) {
      this.#clock.advance(2 * MINUTE)
      this.#model.advance(2 * MINUTE)
      await this.#sweep()
    }
    await this.check()
    const open = [...this.#model.credentials.values()].filter(({ state }) => state === 'live')
    assert.deepEqual(
      this.#system.shelf.names(),
      open.map(({ id }) => `fake_${id}`).sort(),
      'C8 after things settle only what is live is at the target',
    )
    // C7: whatever was decided in this run, reference Cedar decides again from the log alone
    await redecideAll(this.#app.store)
    // C11: and of the last of it there are proofs of why, which verify
    await proveNewest(this.#app, this.#newest(ADA), PROVEN)
    await this.#app.stop()
    await this.#verifyFolder()
  }

  /** C11: every head that was ever seen is still one of this log. */
  async #verifyFolder(): Promise<void> {
    const source = openLogFolder(this.#folder)
    const verdict = await verifyLog(source, this.#heads)
    source.close()
    assert.deepEqual(verdict.firstBad, undefined, 'C11')
  }

  /** Reads what has been appended, and remembers the head. */
  async #catchUp(): Promise<void> {
    const { log } = this.#app.store
    const head = await log.head()
    assert.ok(head.size >= this.#taken, 'C11 the log never shrinks')
    if (head.size === this.#taken) {
      if (this.#heads.length > 0) assert.equal(head.root, this.#heads.at(-1)?.root, 'C11')
      return
    }
    while (this.#taken < head.size) {
      for (const entry of unpruned(await log.entries(this.#taken, head.size))) this.#auditor.take(entry)
      this.#taken = this.#auditor.entries.length
    }
    this.#heads.push(head)
  }

  async #record(kind: 'request', id: string): Promise<{ digest: string }> {
    const found = (await this.#app.store.read([{ kind, id }])).get(kind, id)?.value
    assert.ok(found !== undefined)
    return found
  }

  // choosing

  #pick<T>(ids: readonly string[], n: number, from: ReadonlyMap<string, T>): T | undefined {
    return ids.length === 0 ? undefined : from.get(ids[ids.length - 1 - (n % ids.length)] as string)
  }

  /** A grant under which its subject may have a credential now, the newest for 0. */
  #usable(n: number): Grant | undefined {
    const usable = this.#grants
      .map((id) => this.#model.grants.get(id) as Grant)
      .filter(
        (grant) =>
          this.#isServed(grant) &&
          this.#model.peek(() => this.#model.mayIssue(said(this.#newest(grant.attempt.subject)), grant)),
      )
    return usable.at(-1 - (n % Math.max(1, usable.length)))
  }

  #evidence(grant: number, approval: number): Evidence {
    const named = grant === 0 ? undefined : this.#pick(this.#grants, grant - 1, this.#model.grants)
    if (named !== undefined) return { grant: named.id }
    const request =
      approval === 0 ? undefined : this.#pick(this.#requests, approval - 1, this.#model.requests)
    return request?.approval === undefined ? {} : { approval: request.approval }
  }

  #attempt(tried: Try): { attempt: Attempt; caller: RealCaller } {
    const task = tried.task === 0 ? undefined : this.#pick(this.#tasks, tried.task - 1, this.#model.tasks)
    const isFree = task === undefined || tried.odd === 'scope'
    const actions = isFree ? FREE : task.actions
    const resources = isFree ? RESOURCES : task.resources
    const attempt: Attempt = {
      subject: task?.subject ?? (SUBJECTS[tried.subject] as string),
      action: actions[tried.action % actions.length] as string,
      resource: resources[tried.resource % resources.length] as string,
      ...(tried.amount === undefined ? {} : { amount: tried.amount }),
      ...(task === undefined ? {} : { task: task.id }),
      ...(tried.odd === 'act' ? { act: true } : {}),
    }
    return { attempt, caller: this.#caller(attempt.subject, tried.by) }
  }

  /** 0: the subject's own; 1: an enforcement point; 2: its own of before; else anybody's. */
  #caller(subject: string, by: number): RealCaller {
    if (by === 0) return this.#newest(subject)
    if (by === 1) return this.#newest(HUB)
    if (by === 2) return this.#callers.get(subject)?.at(-2) ?? this.#newest(subject)
    const keys = [...this.#callers.keys()]
    return this.#newest(keys[by % keys.length] as string)
  }

  #newest(key: string): RealCaller {
    return this.#callers.get(key)?.at(-1) as RealCaller
  }

  #who(n: number): Who {
    const others = [...this.#model.who.values()].filter(({ key }) => key !== ADA)
    return others[n % others.length] as Who
  }

  #deleted(n: number): Who | undefined {
    const deleted = [...this.#model.who.values()].filter((who) => who.deleted)
    return deleted[n % Math.max(1, deleted.length)]
  }

  #note(what: string): void {
    this.#reached.set(what, (this.#reached.get(what) ?? 0) + 1)
  }
}

/** The caller as the model knows it. */
function said({ id, kind, subject, generation, pep }: RealCaller): Caller {
  return {
    id,
    session: kind === 'session',
    subject: refKey(subject),
    generation,
    speaksFor: pep?.subjects ?? [],
  }
}

function inputFor(
  { subject, action, resource, amount, task, act }: Attempt,
  { grant, approval }: Evidence,
): AttemptInput {
  return {
    subject: { ...ref(subject), ...(act === true ? { properties: { act: { sub: 'somebody' } } } : {}) },
    action: { name: action },
    resource: ref(resource),
    context: {
      ...(amount === undefined ? {} : { amount }),
      ...(task === undefined ? {} : { task }),
      ...(grant === undefined ? {} : { grant }),
      ...(approval === undefined ? {} : { approval }),
    },
  }
}

function neededOf({ requirements, binding, ttl, uses }: RequirementSet): NeededSet {
  const count = (pool: Pool): number =>
    requirements.reduce((sum, it) => sum + (it.kind === 'approval' && it.pool === pool ? it.count : 0), 0)
  return {
    dba: count('dba'),
    security: count('security'),
    justification: requirements.some(({ kind }) => kind === 'justification'),
    binding,
    ...(ttl === undefined ? {} : { ttl }),
    ...(uses === undefined ? {} : { uses }),
  }
}

const otherDatabase = (resource: string): string =>
  resource === 'Database/payments' ? 'Database/orders' : 'Database/payments'

function narrowed(parent: Task, bits: number): Pick<Task, 'actions' | 'resources'> {
  const some = (all: readonly string[]): readonly string[] => {
    const chosen = all.filter((_, i) => (bits >> (i + 2)) % 2 === 0)
    return chosen.length === 0 ? all : chosen
  }
  return { actions: some(parent.actions), resources: some(parent.resources) }
}

/** Errors of Writ are answers; anything else is a mistake. */
async function answer<T>(asked: Promise<T>): Promise<Answer<T>> {
  try {
    return { value: await asked }
  } catch (error) {
    if (!isWritError(error) || error.code === 'ERR_INTERNAL') throw error
    return { error }
  }
}

function decided(answers: readonly Answer<Decision>[]): Decision[] {
  return answers.map(({ value, error }) => {
    assert.ok(value !== undefined, `evaluating: ${error?.stack}`)
    return value
  })
}

const bySeq = (a: Decision, b: Decision): number => (a.seq ?? 0) - (b.seq ?? 0)
const byText = (a: NeededSet, b: NeededSet): number => JSON.stringify(a).localeCompare(JSON.stringify(b))
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
