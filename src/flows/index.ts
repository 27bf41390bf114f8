/**
 * The verbs, put together.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Caller } from '../model/access.ts'
import { refKey } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { LogEntry } from '../store/port.ts'
import { isPruned } from '../store/port.ts'
import { Accounts } from './accounts.ts'
import { Actions } from './actions.ts'
import { Administration } from './admin.ts'
import { Authorities } from './authority.ts'
import { Attempts, parseEntry } from './attempts.ts'
import { staleCalendars } from './calendars.ts'
import { Callbacks } from './callbacks.ts'
import { Facts } from './facts.ts'
import { Delegations } from './delegations.ts'
import type { FlowDeps } from './deps.ts'
import { Epochs } from './epoch.ts'
import { Exports } from './exports.ts'
import { Grants } from './grants.ts'
import { History } from './history.ts'
import { Locks } from './locks.ts'
import { Narrower } from './narrow.ts'
import type { Flows, LiveEvent } from './port.ts'
import { Passkeys } from './passkeys.ts'
import { Proving } from './prove.ts'
import { Publishing } from './publish.ts'
import { Replays } from './replay.ts'
import { Refusals } from './refusals.ts'
import { Reacting } from './reacting.ts'
import { Requests } from './requests.ts'
import { searchRecord } from './search.ts'
import { Searching } from './searching.ts'
import { Sessions } from './sessions.ts'
import { Signals } from './signals.ts'
import { SignIns } from './signin.ts'
import { Signers } from './signers.ts'
import { Retention } from './retention.ts'
import { Sweeper } from './sweep.ts'
import { TakeBack } from './takeback.ts'
import { Tasks } from './tasks.ts'
import { Tokens } from './tokens.ts'
import { Transparency } from './transparency.ts'
import { Verifying } from './verifying.ts'
import { Webhooks } from './webhooks.ts'
import { Witnesses } from './witnesses.ts'
import { Windows } from './windows.ts'

/** Entries one call reads at most. */
const MAX_ENTRIES = 1_000

/** Entries a stream reads before others get their turn. */
const AT_ONCE = 100

export type Flowing = Flows &
  Readonly<{
    sweeper: Sweeper
    /** What was known then: what proofs and replays are made of. */
    history: History
    /** Decisions taken again, if they are. */
    verifying?: Verifying
    /** What is sent away. */
    exports: Exports
    /** A one-time code for the first administrator or for `writ dev`. */
    bootstrapCode: Administration['bootstrapCode']
    /** One-time codes for those who may administer a copy that was put back; none when nothing was. */
    restoreCodes: Administration['restoreCodes']
    /** Loads the policy in force and everything that is due. */
    recover(): Promise<void>
    /** Resolves when no revocation is under way. */
    settled(): Promise<void>
  }>

export function createFlows(deps: FlowDeps): Flowing {
  const history = new History(deps)
  const signers = new Signers(deps)
  const artifacts = deps.artifacts({
    current: () => signers.current('artifact'),
    all: () => signers.all('artifact'),
  })
  const attempts = new Attempts(deps, history, artifacts)
  const searching = new Searching(deps, attempts)
  const takeBack = new TakeBack(deps)
  const narrower = new Narrower(deps, takeBack)
  const reacting = new Reacting(deps, narrower)
  const tasks = new Tasks(deps, attempts, narrower)
  const delegations = new Delegations(deps, attempts, narrower)
  const accounts = new Accounts(deps, attempts)
  const callbacks = new Callbacks(deps)
  const passkeys = new Passkeys(deps, attempts)
  const requests = new Requests(deps, { attempts, narrower, artifacts, callbacks, passkeys })
  const grants = new Grants(deps, attempts, narrower, takeBack)
  const refusals = new Refusals(deps)
  const facts = new Facts(deps, attempts)
  const webhooks = new Webhooks({
    ...(deps.webhooks ?? {
      hooks: [],
      sources: [],
      secret: () => Promise.reject(new TypeError('no secrets')),
    }),
    store: deps.store,
    log: deps.log,
    observe: (source, by, observations) => facts.told(source, by, observations),
  })
  const windows = new Windows(deps, narrower)
  const locks = new Locks(deps, { attempts, narrower, reacting })
  const signals = new Signals(deps, {
    attempts,
    signers,
    sessions: new Sessions(deps, narrower, reacting),
    observe: (source, by, observations) => facts.told(source, by, observations),
  })
  const tokens = new Tokens(deps, { attempts, requests, signers })
  const actions = new Actions(deps, attempts)
  const publishing = new Publishing(deps, attempts)
  const replays = new Replays(deps.store, deps.checking, attempts, history)
  const authorities = new Authorities(deps.store, attempts, history)
  const admin = new Administration(deps, { attempts, narrower, publishing })
  const signIns = new SignIns(deps, { accounts, admin, narrower, passkeys })
  const transparency = new Transparency(deps, { attempts, signers })
  const witnesses = new Witnesses(deps, transparency)
  const epochs = new Epochs(deps, {
    attempts,
    signers,
    witnessed: (origin) => witnesses.remembered(origin),
  })
  const verifying = deps.given === undefined ? undefined : new Verifying(deps, history, deps.given)
  const exports = new Exports({ ...deps, installation: deps.decision.installation }, deps.exports)
  const retention =
    deps.retention === undefined
      ? undefined
      : new Retention(deps, {
          keep: deps.retention,
          mayPrune: (seq) => exports.mayPrune(seq) && signals.mayPrune(seq),
          pruned: (seqs) => transparency.forget(seqs),
        })
  const sweeper = new Sweeper(deps, {
    tasks,
    requests,
    grants,
    narrower,
    reacting,
    takeBack,
    callbacks,
    tokens,
    passkeys,
    delegations,
    locks,
    retention,
  })
  const proving = new Proving(deps, attempts, { transparency, signers, history })
  const { store } = deps

  return {
    sweeper,
    ...(verifying === undefined ? {} : { verifying }),
    exports,
    history,
    transparency,
    witnesses,
    tokens,
    delegations,
    accounts,
    passkeys,
    facts,
    webhooks,
    windows,
    locks,
    signIns,
    signals,
    bootstrapCode: (person, purpose) => admin.bootstrapCode(person, purpose),
    restoreCodes: () => admin.restoreCodes(),
    async recover() {
      await signers.recover()
      await epochs.recover()
      await transparency.recover()
      await publishing.recover()
      await tokens.recover()
      await sweeper.recover()
      await exports.recover()
      await signals.recover()
      await locks.recover()
      await windows.recover()
      reacting.start()
    },
    async settled() {
      await sweeper.reconciled()
      await locks.idle()
      await reacting.idle()
      await narrower.idle()
      await takeBack.idle()
      await callbacks.idle()
    },

    refused: (credential) => refusals.note(credential),
    evaluate: (caller, input, options) => attempts.evaluate(caller, input, options),
    ask: (caller, input) => attempts.ask(caller, input),
    searchAccess: (caller, input, options) => searching.search(caller, input, options),
    explain: (caller, id) => attempts.explain(caller, id),
    decision: (caller, id) => attempts.decision(caller, id),
    decisions: (caller, query) => attempts.decisions(caller, query),

    declareTask: (caller, input, options) => tasks.declare(caller, input, options),
    task: (caller, id) => tasks.state(caller, id),
    tasks: (caller, query) => tasks.list(caller, query),
    heartbeat: (caller, id) => tasks.heartbeat(caller, id),
    endTask: (caller, id, how, reason) => tasks.end(caller, id, how, reason),
    revokeTask: (caller, id, reason) => tasks.revoke(caller, id, reason),

    submit: (caller, input) => requests.submit(caller, input),
    request: (caller, id) => requests.show(caller, id),
    requests: (caller, query) => requests.list(caller, query),
    proofOf: (request, now) => requests.proofOf(request, now),
    artifactKeys: (now) => [...artifacts.keys(now), ...tokens.keys(now)],
    signMetadata: (issuer, members) => artifacts.signMetadata(issuer, members),
    cancelRequest: (caller, id, reason) => requests.cancel(caller, id, reason),
    approve: (caller, id, input) => requests.approve(caller, id, input),
    requestToProve: (caller, id) => requests.toProve(caller, id),
    proveRequest: (caller, id, input) => requests.prove(caller, id, input),
    denyRequest: (caller, id, input) => requests.deny(caller, id, input),

    activate: (caller, input, options) => attempts.activate(caller, input, options),
    grant: (caller, id) => grants.show(caller, id),
    grants: (caller, query) => grants.list(caller, query),
    credentials: (caller, query) => grants.credentials(caller, query),
    issueCredential: (caller, id, options) => grants.issue(caller, id, options),
    revokeGrant: (caller, id, reason) => grants.revoke(caller, id, reason),

    reportActions: (caller, batch) => actions.report(caller, batch),
    actions: (caller, query) => actions.list(caller, query),
    grantRecord: async (caller, id) =>
      actions.record(caller, { grant: (await grants.show(caller, id)).grant }),
    taskRecord: async (caller, id) => actions.record(caller, { task: (await tasks.state(caller, id)).task }),
    resolveFlag: (caller, id, reason) => actions.resolve(caller, id, reason),

    inventory: (caller, query) => admin.inventory(caller, query),
    putEntities: (caller, entities) => admin.putEntities(caller, entities),
    deleteEntity: (caller, ref) => admin.deleteEntity(caller, ref),
    createKey: (caller, input) => admin.createKey(caller, input),
    keys: (caller, query) => admin.keys(caller, query),
    revokeKey: (caller, id) => admin.revokeKey(caller, id),
    invite: (caller, input) => admin.invite(caller, input),
    redeem: (code) => admin.redeem(code),
    signOut: (caller) => admin.signOut(caller),
    addTarget: (caller, input) => admin.addTarget(caller, input),
    targets: (caller) => admin.targets(caller),
    checkTarget: (caller, id) => admin.checkTarget(caller, id),

    publish: (caller, source) => publishing.publish(caller, source),
    agree: (caller, version) => publishing.agree(caller, version),
    policy: (caller, version) => publishing.policy(caller, version),
    replayPolicies: (caller, input) => replays.replay(caller, input),
    authority: (caller, subject, at) => authorities.at(caller, subject, at),

    epoch: (caller) => epochs.state(caller),
    acknowledgeRestore: (caller, epoch) => epochs.acknowledge(caller, epoch),
    head: () => store.log.head(),
    async entries(caller, from, to) {
      if (!(await attempts.may(caller, 'read'))) {
        throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not read the log`)
      }
      return store.log.entries(from, Math.min(to, from + MAX_ENTRIES))
    },
    prove: (caller, id) => proving.prove(caller, id),
    async search(caller, query) {
      if (!(await attempts.may(caller, 'read'))) {
        throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not read the log`)
      }
      return searchRecord(store, query)
    },
    events: (caller, after, listener) => events(deps, attempts, caller, after, listener),

    async problems() {
      const { now } = await store.read([])
      const view = await store.read([{ index: 'credential.state', value: 'unresolved' }])
      return [
        ...store.problems(),
        ...(narrower.unrecorded > 0
          ? [`${narrower.unrecorded} revocations are in effect but not yet on the record`]
          : []),
        ...view
          .scan('credential.state', 'unresolved')
          .map(
            ({ value }) =>
              `credential \`${value.id}\` at \`${value.target}\` is unresolved: ${value.problem ?? 'unknown'}`,
          ),
        ...grants.unresolvedOrphans,
        ...(await actions.problems()),
        ...transparency.problems(),
        ...witnesses.problems(),
        ...exports.problems(now),
        ...(await signals.problems(now)),
        ...facts.problems(),
        ...(deps.decision.context.problems?.() ?? []),
        ...(await staleCalendars(store, deps.decision.context.calendars)),
        ...(await locks.problems(now)),
        ...(await callbacks.problems()),
        ...epochs.problems(),
        ...(verifying?.problems() ?? []),
        ...(now < 0 ? ['the clock is before 1970'] : []),
      ]
    },
  }
}

/** A stream of what happens; one who may read sees all, others what concerns their own subject. */
async function events(
  deps: FlowDeps,
  attempts: Attempts,
  caller: Caller,
  after: number | undefined,
  listener: (event: LiveEvent) => void,
): Promise<() => void> {
  const all = await attempts.may(caller, 'read')
  const own = refKey(caller.subject)
  const show = ({ seq, at, bytes }: LogEntry): void => {
    const entry = parseEntry(bytes)
    const refs = (entry['refs'] as readonly string[] | undefined) ?? []
    if (!all && !refs.includes(own)) return
    const shown = all
      ? entry
      : { kind: entry['kind'], refs, ...(entry['state'] === undefined ? {} : { state: entry['state'] }) }
    listener({ id: seq, kind: entry['kind'] as string, refs, at, entry: shown })
  }
  const { log } = deps.store
  let next = after === undefined ? (await log.head()).size : after + 1
  let live = false
  let stopped = false
  /** Reads what has gone by, a little at a time so that everybody else gets their turn, until it has caught up. */
  const catchUp = async (): Promise<void> => {
    for (;;) {
      const { size } = await log.head()
      if (stopped) return
      if (next >= size) {
        live = true
        return
      }
      for (const entry of await log.entries(next, Math.min(next + AT_ONCE, size))) {
        if (!isPruned(entry)) show(entry)
        next = entry.seq + 1
      }
      await breathe()
    }
  }
  const follow = (): void => {
    live = false
    catchUp().catch((error: unknown) => deps.log('error', 'a stream of events could not go on', { error }))
  }
  const unsubscribe = log.subscribe((entries) => {
    if (!live || stopped) return // what comes meanwhile is read from the log
    for (const entry of entries) {
      if (entry.seq > next) {
        follow()
        return
      }
      if (entry.seq === next) {
        show(entry)
        next = entry.seq + 1
      }
    }
  })
  follow()
  return () => {
    stopped = true
    unsubscribe()
  }
}
