/**
 * decide(attempt): analyse plus commit. The commit is the decision: in log order it validates the read set, tests
 * clocks and counters again, spends what must be spent and appends the entry; only then does the answer leave.
 *
 * @module
 */
import type { Caller, Replay } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import { bindingMembers } from '../model/attempt.ts'
import type { Json } from '../model/canonical.ts'
import { refKey, sameRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Grant, GrantEvidence } from '../model/grant.ts'
import { grantEnd, hasUses, isLiveGrant, spendUse } from '../model/grant.ts'
import type { Decision, Reason } from '../model/outcome.ts'
import { isSpendable, provedAt, spend } from '../model/request.ts'
import type { Task } from '../model/task.ts'
import { countCall, countDenial, isEnded, isLive, openTask } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import { formatDuration, MINUTE } from '../model/time.ts'
import type { PolicySet } from '../policy/index.ts'
import { hex, sha256 } from '../store/hash.ts'
import type { Read, Transaction } from '../store/port.ts'
import type { Analysis, DecisionDeps } from './analyse.ts'
import { analyse, DENIAL_TTL, exceeds, grantTtl, hasEnded } from './analyse.ts'
import { dependenciesOf, hasTurned } from './dependencies.ts'
import { entitiesDigest, schemaDigest } from './redecide.ts'

/** An answer is given again to the same key for this long. */
export const REPLAY_FOR = MINUTE

/** How far behind the record the wall clock may be before nothing widens any more. */
export const CLOCK_TOLERANCE = 2_000

/** What a verb that cannot answer with a denial says then. */
export function clockBehind(millis: number): WritError {
  const by = Number.isFinite(millis)
    ? `${formatDuration(Math.ceil(millis / 1_000) * 1_000)} behind the record`
    : 'unreadable'
  return new WritError('ERR_CLOCK_INVALID', `the clock is ${by}`, {
    hint: 'set the clock of the machine; until then nothing widens',
  })
}

/** What a verb that cannot answer with a denial says until a restore is acknowledged. */
export const stillRestored = (): WritError =>
  new WritError('ERR_FORBIDDEN', 'a backup was put back here, and nobody has acknowledged it yet', {
    hint: 'an administrator looks at what came back with `writ audit acknowledge`; until then nothing widens',
    detail: 'restored',
  })

/** Decided again this often when stale; then `contended`. */
const TRIES = 3

export type DecideOptions = Readonly<{
  idempotencyKey?: string
  /** What a permit does with evidence: `use` spends one use; `activate` only turns an approval into a grant. */
  spend?: 'use' | 'activate'
  /** A grant that must be live and is spent whether or not policy needs its evidence: a credential is issued under it. */
  under?: string
  /** More writes of the same transaction, only on permit, e.g. the row of a credential. A returned reason denies. */
  also?: Readonly<{ reads: readonly Read[]; run(tx: Transaction, permit: Decision): Reason | undefined }>
}>

/** Stale because others have spent the grant meanwhile. */
const SPENT = 'spent'

type Settled = Readonly<{ decision: Decision }> | Readonly<{ stale: string }> | Readonly<{ replayed: true }>

/**
 * Decides one attempt and records it. A retry with the same key and digest within 60 s gets its permit again after the
 * full validation, its own consumption present; if anything changed it is denied `changed`.
 *
 * @throws {WritError} `ERR_CONFLICT` for the same key with another digest; `ERR_STORE_FULL` when nothing can be recorded.
 */
export async function decide(
  deps: DecisionDeps,
  caller: Caller,
  attempt: Attempt,
  options: DecideOptions = {},
): Promise<Decision> {
  const replayId =
    options.idempotencyKey === undefined
      ? undefined
      : // an activation spends no use, so its permit must never answer for an attempt that does
        `${caller.id}\n${options.spend ?? 'use'}\n${options.idempotencyKey}`
  const turns = turnsOf(deps)
  let done: (() => void) | undefined
  try {
    for (let tries = 0; tries < TRIES; tries += 1) {
      const kept = replayId === undefined ? undefined : await loadReplay(deps, replayId)
      const replay = kept?.outcome === 'permit' ? kept : undefined
      const analysis = await analyse(
        deps,
        caller,
        attempt,
        replay === undefined ? 'attempt' : await again(deps, replay),
      )
      if (kept !== undefined && kept.digest !== analysis.attemptDigest) throw usedForAnother()
      // what is spent below is spent above, so a whole tree of tasks takes turns together
      const root = analysis.tasks.at(-1)?.id
      if (done === undefined && root !== undefined && (analysis.readsHistory || turns.busy(root))) {
        done = await turns.take(root)
        tries -= 1
        continue
      }
      const settled = await commit(deps, caller, analysis, replayId, replay, options)
      if ('decision' in settled) return settled.decision
      // others spent the grant that was found first, there may be another: each can be lost only once
      if ('stale' in settled && settled.stale === SPENT) tries -= 1
    }
    return await commitDeny(deps, await analyse(deps, caller, attempt), 'contended')
  } finally {
    done?.()
  }
}

/** Attempts whose policies read history run one after another per task; while they do, others on it wait too. */
class Turns {
  readonly #last = new Map<string, Promise<void>>()

  busy(task: string): boolean {
    return this.#last.has(task)
  }

  /** Resolves when it is this attempt's turn, with the function that ends the turn. */
  async take(task: string): Promise<() => void> {
    const before = this.#last.get(task)
    const { promise: mine, resolve: end } = Promise.withResolvers<void>()
    this.#last.set(task, mine)
    await before
    return () => {
      if (this.#last.get(task) === mine) this.#last.delete(task)
      end()
    }
  }
}

const turnsByDeps = new WeakMap<DecisionDeps, Turns>()

function turnsOf(deps: DecisionDeps): Turns {
  const turns = turnsByDeps.get(deps) ?? new Turns()
  turnsByDeps.set(deps, turns)
  return turns
}

/** The same attempt analysed with the grant of its first answer present, whatever is left of it. */
async function again(deps: DecisionDeps, replay: Replay): Promise<{ again: Grant | undefined; own: number }> {
  if (replay.grant === undefined) return { again: undefined, own: 1 }
  const view = await deps.store.read([{ kind: 'grant', id: replay.grant }])
  return { again: view.get('grant', replay.grant)?.value, own: 1 }
}

async function loadReplay(deps: DecisionDeps, id: string): Promise<Replay | undefined> {
  const view = await deps.store.read([{ kind: 'replay', id }])
  const replay = view.get('replay', id)?.value
  return replay !== undefined && view.now - replay.at < REPLAY_FOR ? replay : undefined
}

const usedForAnother = (): WritError =>
  new WritError('ERR_CONFLICT', 'the idempotency key was used for another attempt', {
    hint: 'use a new key for each attempt',
    problem: 'duplicate_request',
  })

async function commit(
  deps: DecisionDeps,
  caller: Caller,
  analysis: Analysis,
  replayId: string | undefined,
  replay: Replay | undefined,
  options: DecideOptions,
): Promise<Settled> {
  const reads: Read[] = [
    ...analysis.picture.readSet.map(({ kind, id }) => ({ kind, id })),
    ...(replayId === undefined ? [] : [{ kind: 'replay' as const, id: replayId }]),
    // the grant of the first answer was not looked for by this analysis, but is tested again
    ...(replay?.grant === undefined ? [] : [{ kind: 'grant' as const, id: replay.grant }]),
    ...(options.also?.reads ?? []),
  ]
  const inputs = inputsOf(analysis)
  deps.given?.(inputs['inputs'], analysis.entities)
  return deps.store
    .commit({
      reads: [...new Map(reads.map((read) => [JSON.stringify(read), read])).values()],
      run(tx): Settled {
        const already = replayId === undefined ? undefined : tx.get('replay', replayId)?.value
        const recent = already !== undefined && tx.now - already.at < REPLAY_FOR
        if (recent && already.digest !== analysis.attemptDigest) throw usedForAnother()
        const fresh = recent && already.outcome === 'permit'
        if (replay === undefined && fresh) return { replayed: true }
        const id = deps.newId('dec')
        // what the inventory says is part of every answer: one that it contradicts by now is no answer, a denial neither
        const moved = analysis.picture.staleIn(tx, 'entity')
        if (replay !== undefined) {
          const refused = refusal(deps, analysis, tx, false, undefined)
          // a permit that stood by itself is not given again because some evidence would carry it now
          const carried = analysis.grant !== undefined || analysis.request !== undefined
          const other = replay.grant === undefined && carried
          const grantGone =
            replay.grant !== undefined && !liveAgain(tx.get('grant', replay.grant)?.value, tx.now)
          if (analysis.outcome === 'permit' && refused === undefined && !other && !grantGone && fresh) {
            tx.append({
              kind: 'decision.replayed',
              refs: refsOf(replay.decision, analysis),
              decision: replay.decision,
            })
            return { decision: replay.answer as unknown as Decision }
          }
          return {
            decision: record(tx, id, analysis, moved === undefined ? inputs : {}, 'changed', undefined),
          }
        }
        if (moved !== undefined) return { stale: moved }
        /** What is denied is decided afresh next time; its key stays bound to this attempt all the same. */
        const denied = (reason: Reason | undefined): Settled => {
          const decision = record(tx, id, analysis, inputs, reason, undefined)
          keep(decision, null, undefined)
          return { decision }
        }
        if (analysis.outcome !== 'permit') return denied(undefined)
        const refused = refusal(deps, analysis, tx, true, options.under)
        if (refused === SPENT) return { stale: SPENT }
        if (refused === 'contended') return { stale: analysis.picture.staleIn(tx) ?? 'history or time' }
        if (refused !== undefined) return denied(refused)
        const grant = consume(deps, id, analysis, tx, options)
        const decision = record(tx, id, analysis, inputs, undefined, grant)
        if (grant !== undefined && grant.decision === id) activated(tx, grant)
        const vetoed = options.also?.run(tx, decision)
        if (vetoed !== undefined) throw new Vetoed(vetoed)
        keep(decision, decision, grant)
        return { decision }

        function keep({ id: decided, outcome }: Decision, answer: Json, carrier: Grant | undefined): void {
          if (replayId === undefined) return
          tx.put('replay', replayId, {
            kind: 'attempt',
            caller: caller.id,
            digest: analysis.attemptDigest,
            at: tx.now,
            decision: decided,
            outcome,
            answer,
            ...(carrier === undefined ? {} : { grant: carrier.id }),
            ...(analysis.attempt.task === undefined ? {} : { task: analysis.attempt.task }),
          })
        }
      },
    })
    .catch(async (error: unknown) => {
      if (error instanceof Vetoed) return { decision: await commitDeny(deps, analysis, error.reason) }
      throw error
    })
}

/** Undoes one item of a batch whose extra writes found a reason to deny. */
class Vetoed extends Error {
  readonly reason: Reason

  constructor(reason: Reason) {
    super(reason)
    this.reason = reason
  }
}

async function commitDeny(deps: DecisionDeps, analysis: Analysis, reason: Reason): Promise<Decision> {
  const task = analysis.attempt.task
  const inputs = inputsOf(analysis)
  deps.given?.(inputs['inputs'], analysis.entities)
  const entities = analysis.picture.readSet.filter(({ kind }) => kind === 'entity')
  return deps.store.commit({
    reads: [
      ...(task === undefined ? [] : [{ kind: 'task' as const, id: task }]),
      ...entities.map(({ kind, id }) => ({ kind, id })),
    ],
    run(tx) {
      const holds = analysis.picture.staleIn(tx, 'entity') === undefined
      return record(tx, deps.newId('dec'), analysis, holds ? inputs : {}, reason, undefined)
    },
  })
}

/** What is recorded of an evaluation so that it can be repeated and understood; nothing when policy was not asked. */
type Inputs = Readonly<Record<string, Json>>

function inputsOf({ says, entities, policy, asserted, explanation }: Analysis): Inputs {
  if (says === undefined || policy === undefined) return {}
  return {
    says,
    inputs: entitiesDigest(entities),
    schema: schemaOf(policy),
    ...(Object.keys(asserted).length === 0 ? {} : { asserted }),
    // for people, and never read again to decide anything
    ...(explanation === undefined ? {} : { explanation: explanation() }),
  }
}

const schemas = new WeakMap<PolicySet, string>()

function schemaOf(policy: PolicySet): string {
  const digest = schemas.get(policy) ?? schemaDigest(policy.ownSchemaText)
  schemas.set(policy, digest)
  return digest
}

const liveAgain = (grant: Grant | undefined, now: Instant): boolean =>
  grant !== undefined && isLiveGrant(grant, now)

/** Step 7's tests, in log order against what earlier items left. `contended` means stale: decide again. */
function refusal(
  deps: DecisionDeps,
  analysis: Analysis,
  tx: Transaction,
  counting: boolean,
  under: string | undefined,
): Reason | typeof SPENT | undefined {
  const { attempt, picture } = analysis
  if (deps.store.clockBehind() > CLOCK_TOLERANCE) return 'clock_behind'
  const barred = deps.barrier.denies({
    chain: [...attempt.chain, analysis.caller.subject],
    tasks: analysis.tasks.map((task) => task.id),
    grant: analysis.grant?.id ?? attempt.grant,
    delegation: attempt.delegation,
    caller: analysis.caller.id,
    locks: analysis.locks,
  })
  if (barred !== undefined) return barred
  for (const { id } of analysis.tasks) {
    const task = tx.get('task', id)?.value
    if (task === undefined) return 'task_unknown'
    if (isEnded(task) || !isLive(task, tx.now)) return 'task_ended'
    if (counting && task.limits.calls !== undefined && task.calls >= task.limits.calls) return 'task_limit'
  }
  if (picture.staleIn(tx) !== undefined) return 'contended'
  if (hasEnded(analysis, tx)) return 'subject_locked'
  if (tx.now >= (analysis.delegation?.endsAt ?? Infinity)) return 'delegation_ended'
  // a fact that is too old by now, an event that is over, an hour that has come
  if (hasTurned(analysis, tx.now)) return 'contended'
  if (analysis.readsHistory) {
    const [seen] = analysis.tasks
    const task = seen === undefined ? undefined : tx.get('task', seen.id)?.value
    if (seen !== undefined && (task?.calls !== seen.calls || task.denials !== seen.denials))
      return 'contended'
  }
  const carrier = under ?? analysis.grant?.id
  if (carrier !== undefined) {
    const grant = tx.get('grant', carrier)?.value
    if (grant === undefined || !isLiveGrant(grant, tx.now)) return 'grant_ended'
    const late = exceeds(grant, analysis.obligations, tx.now, counting)
    if (late === 'grant_ended') return late
    if (counting && (!hasUses(grant) || late !== undefined))
      return under === undefined && attempt.grant === undefined ? SPENT : 'grant_spent'
  }
  if (analysis.request !== undefined) {
    const request = tx.get('request', analysis.request.id)?.value
    if (request === undefined || !isSpendable(request, tx.now)) return 'approval_expired'
    const proved = provedAt(request, tx.now).map(({ person }) => person)
    if (analysis.evidence?.reauth?.some(({ person }) => !proved.includes(person))) return 'approval_expired'
  }
  return undefined
}

/** Spends: opens declared tasks from the root down, counts the call above, spends the use or the approval. */
function consume(
  deps: DecisionDeps,
  decision: string,
  analysis: Analysis,
  tx: Transaction,
  { spend: how = 'use', under }: DecideOptions,
): Grant | undefined {
  const { attempt } = analysis
  let latestEnd = Infinity
  for (const { id } of analysis.tasks.toReversed()) {
    const task = openTask(tx.get('task', id)?.value as Task, tx.now, latestEnd)
    latestEnd = task.endsAt ?? latestEnd
    const call = { thing: thingOf(attempt), resource: attempt.resource, isNamed: id === attempt.task }
    tx.put('task', id, countCall(task, call, tx.now))
  }
  const carrier = under ?? analysis.grant?.id
  if (carrier !== undefined) {
    const grant = tx.get('grant', carrier)?.value as Grant
    if (how === 'activate') {
      const counting = { ...grant, counted: (grant.counted ?? 0) + 1 }
      tx.put('grant', grant.id, counting)
      return counting
    }
    const spent = { ...spendUse(grant), counted: (grant.counted ?? 0) + 1 }
    tx.put('grant', grant.id, spent)
    return spent
  }
  const { request } = analysis
  if (request === undefined && how === 'use') return undefined
  const evidence: GrantEvidence = analysis.evidence ?? { approvals: [], justification: false }
  const uses = analysis.binding === 'attempt' ? 1 : least(analysis.obligations.uses, request?.uses)
  const endsAt = grantEnd(tx.now, {
    ttl: grantTtl(deps, analysis),
    task: analysis.tasks.length === 0 ? undefined : latestEnd,
    window: analysis.tasks[0]?.window?.endsAt,
    subject: analysis.endsAt,
  })
  const grant: Grant = {
    id: deps.newId('grant'),
    state: 'active',
    ...(attempt.task === undefined ? {} : { task: attempt.task }),
    subject: { type: attempt.subject.type, id: attempt.subject.id },
    chain: attempt.chain,
    ...(attempt.delegation === undefined ? {} : { delegation: attempt.delegation }),
    generations: Object.fromEntries(
      attempt.chain.map((ref) => [refKey(ref), tx.get('entity', refKey(ref))?.value.generation ?? 0]),
    ),
    action: attempt.action.name,
    resource: { type: attempt.resource.type, id: attempt.resource.id },
    binding: analysis.binding,
    statement: request?.digest ?? analysis.attemptDigest,
    attempt: analysis.attemptDigest,
    analysed: attempt,
    evidence,
    ...(uses === undefined ? {} : { uses }),
    used: how === 'use' ? 1 : 0,
    counted: 1,
    startedAt: tx.now,
    endsAt,
    ...dependenciesOf(analysis, endsAt),
    obligations: analysis.obligations,
    decision,
    policy: analysis.policyVersion,
    caller: analysis.caller.id,
    asked: analysis.caller,
  }
  if (request !== undefined) tx.put('request', request.id, spend(request, grant.id, tx.now))
  tx.put('grant', grant.id, grant)
  return grant
}

function activated(tx: Transaction, grant: Grant): void {
  const { evidence } = grant
  tx.append({
    kind: 'grant.activated',
    refs: [
      grant.id,
      grant.decision,
      refKey(grant.subject),
      ...[evidence.request, grant.task].filter((ref) => ref !== undefined),
    ],
    grant: grant.id,
    decision: grant.decision,
    ...(evidence.request === undefined ? {} : { request: evidence.request }),
    binding: grant.binding,
    statement: grant.statement,
    ends_at: grant.endsAt,
    ...(grant.uses === undefined ? {} : { uses: grant.uses }),
    used: grant.used,
    approvals: evidence.approvals.map(({ pool, root }) => ({ pool, root })),
    ...(evidence.reauth === undefined ? {} : { reauth: evidence.reauth }),
  })
}

const least = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b)

/** What a decision is found under: of the task and grant it names, only its own, so that nobody fills another's record. */
function refsOf(id: string, analysis: Analysis): string[] {
  const { attempt, picture, reason } = analysis
  const named = attempt.grant === undefined ? undefined : picture.get('grant', attempt.grant)?.value
  const isOwn =
    named !== undefined && sameRef(named.subject, attempt.subject) && reason !== 'forbidden_assertion'
  // what was not proved is nobody's but the caller's
  const isProved = reason !== 'forbidden_assertion' && reason !== 'delegation'
  return [
    ...new Set(
      [
        id,
        refKey(attempt.subject),
        ...(isProved ? attempt.chain.slice(1).map(refKey) : []),
        isProved ? attempt.delegation : undefined,
        refKey(attempt.resource),
        reason === 'forbidden_assertion' ? undefined : analysis.tasks[0]?.id,
        analysis.grant?.id ?? (isOwn ? named.id : undefined),
        analysis.request?.id,
      ].filter((ref) => ref !== undefined),
    ),
  ]
}

/** Appends the decision's entry, counts a denial on its task, and returns what the caller is told. */
function record(
  tx: Transaction,
  id: string,
  analysis: Analysis,
  inputs: Inputs,
  denied: Reason | undefined,
  grant: Grant | undefined,
): Decision {
  const decision = describe(id, analysis, tx.now, tx.nextSeq, denied, grant)
  const { attempt } = analysis
  const taskId = analysis.tasks[0]?.id
  // whoever may not speak for the subject must not fill its history either
  if (decision.outcome !== 'permit' && taskId !== undefined && decision.reason !== 'forbidden_assertion') {
    const task = tx.get('task', taskId)?.value
    if (task !== undefined && !isEnded(task)) {
      // whoever is told to try again does no more than that
      const isFinal = decision.outcome === 'deny' && decision.nextAction !== 'retry'
      tx.put('task', taskId, countDenial(task, thingOf(attempt), isFinal))
    }
  }
  tx.append({
    kind: 'decision',
    refs: [...refsOf(id, analysis), ...(grant === undefined ? [] : [grant.id])],
    id,
    outcome: decision.outcome,
    reason: decision.reason,
    caller: analysis.caller.id,
    ...(analysis.caller.dev === true ? { dev: true } : {}),
    attempt: attempt,
    attempt_digest: analysis.attemptDigest,
    policy: analysis.policyVersion,
    ...inputs,
    determining: decision.determining,
    facts: analysis.facts.live,
    ...(analysis.facts.of === undefined ? {} : { facts_of: analysis.facts.of }),
    facts_at: analysis.facts.observedAt,
    proof: analysis.proof,
    obligations: analysis.obligations,
    ...(analysis.evidence === undefined ? {} : { evidence: analysis.evidence }),
    ...(decision.alternatives.length === 0 ? {} : { alternatives: decision.alternatives }),
    ...(decision.truncated ? { truncated: true } : {}),
    ...(decision.requestableUntil === undefined
      ? {}
      : { requestable_until: decision.requestableUntil, binds: [...bindingMembers(attempt)] }),
    roots: [...analysis.roots],
    ...(analysis.caller.instigators === undefined
      ? {}
      : { instigators: analysis.caller.instigators.map((one) => ({ ...one })) }),
    ...(analysis.unresolved ? { unresolved: true } : {}),
    // that there is no lock goes without saying
    read_set: analysis.picture.readSet
      .filter(({ kind, version }) => kind !== 'lock' || version !== null)
      .map((r) => `${r.kind}/${r.id}@${r.version ?? 'absent'}`),
    ...(analysis.errors.length === 0 ? {} : { errors: analysis.errors }),
    ...(analysis.dropped.length === 0 ? {} : { dropped: [...analysis.dropped] }),
    ...(analysis.unknown.length === 0 ? {} : { unknown: [...analysis.unknown] }),
    ...(grant === undefined ? {} : { grant: grant.id, grant_used: grant.used }),
  })
  return decision
}

/** What is attempted, as its task remembers that it was denied: the action and the resource, briefly. */
const thingOf = ({ action, resource }: Attempt): string =>
  hex(sha256(`${action.name}\n${refKey(resource)}`)).slice(0, 32)

/** The approval that the attempt named, if `grant` came of it: what else it named carried nothing. */
function carriedBy({ evidence }: Grant, { approval }: Attempt): { approval?: string } {
  return approval !== undefined && evidence.approval === approval ? { approval } : {}
}

/** The answer of an analysis: `denied` overrides what was found, `grant` carries a permit. */
export function describe(
  id: string,
  analysis: Analysis,
  at: Instant,
  seq: number | undefined,
  denied: Reason | undefined,
  grant: Grant | undefined,
): Decision {
  const outcome = denied === undefined ? analysis.outcome : 'deny'
  const left = grant?.uses === undefined ? undefined : grant.uses - grant.used
  return {
    id,
    outcome,
    reason: denied ?? analysis.reason,
    at,
    attempt: analysis.attempt,
    attemptDigest: analysis.attemptDigest,
    policy: analysis.policyVersion,
    determining: analysis.determining,
    obligations: analysis.obligations,
    alternatives: outcome === 'challenge' ? analysis.alternatives : [],
    truncated: analysis.truncated,
    ...(outcome === 'challenge' ? { requestableUntil: at + DENIAL_TTL } : {}),
    nextAction: denied === 'contended' || denied === 'clock_behind' ? 'retry' : analysis.nextAction,
    ...(denied === 'contended'
      ? { retryAfter: 1 }
      : denied === 'clock_behind'
        ? { retryAfter: 5 }
        : analysis.retryAfter === undefined
          ? {}
          : { retryAfter: analysis.retryAfter }),
    ...(outcome !== 'permit' || grant === undefined
      ? {}
      : { grant: { id: grant.id, endsAt: grant.endsAt, ...(left === undefined ? {} : { usesLeft: left }) } }),
    ...(outcome === 'permit' && grant !== undefined ? carriedBy(grant, analysis.attempt) : {}),
    ...(analysis.attempt.task === undefined ? {} : { task: analysis.attempt.task }),
    ...(seq === undefined ? {} : { seq }),
    operator: {
      errors: analysis.errors,
      dropped: analysis.dropped,
      unknown: analysis.unknown,
      forbidden: analysis.forbidden,
      facts: analysis.facts.live,
    },
  }
}
