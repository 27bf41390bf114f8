/**
 * analyse(attempt): steps 1–6 of the decision. Free of effect and never a permit by itself; questions, the challenge
 * search and continuous evaluation use it as it is, `decide` adds the commit.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import { isInScope } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import { attemptStatement } from '../model/attempt.ts'
import type { Json } from '../model/canonical.ts'
import type { Entity, EntityRef } from '../model/entity.ts'
import { defaultKind, refKey, sameRef } from '../model/entity.ts'
import { factId, isFresh } from '../model/fact.ts'
import type { Grant, GrantEvidence, Obligations } from '../model/grant.ts'
import { hasUses, isLiveGrant } from '../model/grant.ts'
import type { Delegation } from '../model/identity.ts'
import type { NextAction, Reason } from '../model/outcome.ts'
import type { AccessRequest, Reauth, RequirementSet } from '../model/request.ts'
import { countByPool, isSpendable, mayCarry, provedAt } from '../model/request.ts'
import type { Task } from '../model/task.ts'
import { inScope, isEnded, isLive, withoutCalls } from '../model/task.ts'
import type { Instant, Millis } from '../model/time.ts'
import { SECOND } from '../model/time.ts'
import type { Facts } from '../context/facts.ts'
import type { LiveContext } from '../context/port.ts'
import { delegationEnded, generationIn, inDelegation, isVerified } from '../identity/chain.ts'
import {
  cedarEntities,
  directOwners,
  hasThirdParty,
  loadClosure,
  loadOwners,
  registered,
  upwards,
} from '../identity/inventory.ts'
import { rootsBehind } from '../identity/roots.ts'
import type { Asked, EntityData, Evaluation, Explanation, Head, PolicySet, Proof } from '../policy/index.ts'
import type { Store, View } from '../store/port.ts'
import { Picture } from '../store/picture.ts'
import type { Barrier } from './barrier.ts'
import { hintsOf, searchChallenge } from './challenge.ts'
import type { RecordedExplanation } from './explanation.ts'
import { boundExplanation } from './explanation.ts'
import type { Policies } from './policies.ts'
import { NO_POLICY } from './policies.ts'
import type { Givers } from './givers.ts'
import { actionUid, contextOf, withAsserted } from './redecide.ts'
import type { Asking } from './live.ts'
import { knownOf, liveFacts } from './live.ts'
import { isLocked, lockedAt, locksOn, subjectLockedAt } from './locks.ts'
import { digestOf, statementFor } from './statement.ts'

/** What a decision needs; made once in `app.ts`. */
export type DecisionDeps = Readonly<{
  store: Store
  policies: Policies
  barrier: Barrier
  givers: Givers
  /** The sources of facts that can be asked. */
  context: LiveContext
  installation: string
  /** Milliseconds that never jump; bounds the challenge search. */
  monotonic(): number
  newId(prefix: string): string
  /** The longest life of a grant where policy does not say less. */
  longestGrant: Millis
  /** The same where a third party has part, whatever policy says. */
  thirdPartyGrant: Millis
  /** Whether `caller` may have a challenge searched now; a deny without remedies otherwise. */
  mayChallenge(caller: string): boolean
  /** Told what a decision was evaluated on that is about to be recorded, with the digest that its entry names. */
  given?(digest: Json | undefined, entities: readonly EntityData[]): void
}>

/** A denial is fresh enough to be asked about for this long. */
export const DENIAL_TTL: Millis = 600_000

/**
 * Which evidence may count: the attempt's own, or (continuous evaluation, retries) that of a grant whatever is left of
 * it. `own` are the calls that what is analysed again has counted on its task, which do not count against it.
 */
export type Mode = 'attempt' | 'question' | Readonly<{ again: Grant | undefined; own: number }>

/** What step 1–6 found. */
export type Analysis = Readonly<{
  outcome: 'permit' | 'deny' | 'challenge'
  reason: Reason
  attempt: Attempt
  attemptDigest: string
  caller: Caller
  /** What ends or begins by itself was judged no earlier than this. */
  at: Instant
  picture: Picture
  policy: PolicySet | undefined
  policyVersion: string
  /** The named task, then its ancestors up to the root. */
  tasks: readonly Task[]
  subject: Entity | undefined
  /** The locks that would refuse it, by name. */
  locks: readonly string[]
  /** Who delegated, where the attempt names it. */
  delegation?: Delegation
  /** When the first of its chain, or the delegation, ends (law 3). */
  endsAt?: Instant
  determining: readonly string[]
  obligations: Obligations
  alternatives: readonly RequirementSet[]
  truncated: boolean
  nextAction: NextAction
  retryAfter?: number
  facts: Facts
  /** The first instant before `until` at which a policy in scope would compare the time with another result. */
  turnsAt?(until: Instant): Instant | undefined
  proof: Json
  /** The grant whose evidence carried the permit. */
  grant?: Grant
  /** The approved request whose approval will be spent into a new grant. */
  request?: AccessRequest
  evidence?: GrantEvidence
  binding: 'attempt' | 'task'
  roots: readonly string[]
  unresolved: boolean
  readsHistory: boolean
  errors: readonly Readonly<{ policy: string; message: string }>[]
  dropped: readonly string[]
  unknown: readonly string[]
  forbidden: boolean
  /** What policy alone said, with `proof`, on `entities`; nothing when no policy was asked. */
  says?: 'permit' | 'deny'
  /** Where policy denied, with `proof`: the rules in the way, made once when it is asked for, of what was read here. */
  explanation?(): RecordedExplanation
  entities: readonly EntityData[]
  asserted: Asserted
}>

/** Names of the properties that the caller was trusted for: their values stand in the attempt. */
export type Asserted = Readonly<{ subject?: readonly string[]; resource?: readonly string[] }>

const NO_OBLIGATIONS: Obligations = { binding: 'attempt', notify: [] }

/** Analyses `attempt` by `caller`; throws only for what is not a decision (broken store, input Cedar cannot read). */
export async function analyse(
  deps: DecisionDeps,
  caller: Caller,
  attempt: Attempt,
  mode: Mode = 'attempt',
): Promise<Analysis> {
  const picture = new Picture(deps.store)
  const again = typeof mode === 'object' ? mode : undefined
  await picture.load([
    { kind: 'meta', id: 'policy' },
    ...callerRecord(caller),
    ...(attempt.grant === undefined ? [] : [{ kind: 'grant' as const, id: attempt.grant }]),
    ...(attempt.approval === undefined
      ? []
      : [{ index: 'request.approval' as const, value: attempt.approval }]),
    ...(attempt.delegation === undefined ? [] : [{ kind: 'delegation' as const, id: attempt.delegation }]),
  ])
  await loadClosure(picture, [...attempt.chain, attempt.resource, caller.subject])
  await loadOwners(picture, [...upwards(picture, attempt.resource), ...attempt.chain])
  const named = await loadTasks(picture, attempt.task)
  // a task of somebody else is as good as none: nothing of it is read, counted or waited for (B33)
  const tasks = named[0] !== undefined && sameRef(named[0].subject, attempt.subject) ? named : []
  await picture.load(calendarsOf(tasks).map((id) => ({ kind: 'fact' as const, id })))
  const locks = locksOn(picture, attempt, tasks)
  await picture.load(locks.map((id) => ({ kind: 'lock' as const, id })))
  const now = picture.now

  const policyVersion = (picture.get('meta', 'policy')?.value['version'] as string | undefined) ?? NO_POLICY
  const policy = deps.policies.get(policyVersion)
  const subject = registered(picture, attempt.subject)
  const delegation =
    attempt.delegation === undefined ? undefined : picture.get('delegation', attempt.delegation)?.value
  const endsAt = Math.min(
    delegation?.endsAt ?? Infinity,
    ...attempt.chain.map((ref) => registered(picture, ref)?.endsAt ?? Infinity),
  )
  const asking: Asking = {
    caller,
    chain: attempt.chain,
    task: tasks[0] === undefined ? undefined : withoutCalls(tasks[0], again?.own ?? 0, attempt.resource),
  }
  const base = {
    attempt,
    attemptDigest: digestOf(attemptStatement(deps.installation, attempt)),
    caller,
    at: now,
    picture,
    policy,
    policyVersion,
    tasks,
    subject,
    locks,
    ...(delegation === undefined ? {} : { delegation }),
    ...(endsAt === Infinity ? {} : { endsAt }),
    facts: knownOf(asking, now),
    determining: [],
    obligations: NO_OBLIGATIONS,
    alternatives: [],
    truncated: false,
    nextAction: 'none' as const,
    proof: {},
    binding: 'attempt' as const,
    roots: [],
    unresolved: false,
    readsHistory: false,
    errors: [],
    dropped: [],
    unknown: [],
    forbidden: false,
    entities: [],
    asserted: {},
  }
  const deny = (reason: Reason, more: Partial<Analysis> = {}): Analysis => ({
    ...base,
    outcome: 'deny',
    reason,
    ...more,
  })

  // 1. who
  const who = refuseCaller(deps, caller, attempt, picture, now, delegation)
  if (who !== undefined) return deny(who)

  const locked = locks.some((id) => deps.barrier.bars('lock', id)) || isLocked(picture, locks, now)
  // a lock ends what was given before it, however soon it is taken away again
  const isCaught = (grant: Grant | undefined): boolean =>
    grant !== undefined &&
    grant.startedAt <=
      Math.max(lockedAt(picture, locks), subjectLockedAt(picture, [...attempt.chain, caller.subject]))
  if (locked || isCaught(again?.again)) return deny('locked')

  // 2. bounds
  const bounds = refuseBounds(attempt, tasks, picture, again !== undefined)
  if (bounds !== undefined) return deny(bounds)
  if (policy === undefined) {
    return policyVersion === NO_POLICY && isFounding(caller, attempt, subject)
      ? { ...base, outcome: 'permit', reason: 'standing', determining: [FOUNDING] }
      : deny('policy_denied')
  }

  // 3. facts and the properties that this caller is trusted for
  const asserted = assertProperties(caller, attempt, picture)
  const entities = asserted.entities
  const action = actionUid(attempt.action.name)
  const heads = attempt.chain.map((principal) => ({ principal, action, resource: refOnly(attempt.resource) }))
  const reads = heads.map((head) => policy.readsFor(head, entities))
  // what is denied under a task adds to the risk of who acts under it
  const readsHistory = reads.some((r) => r.facts.has('history') || r.facts.has('risk'))
  const context = contextOf(attempt)

  // 4. evaluate, with each party of the chain as principal
  const justified = (tasks[0]?.reason ?? '') !== ''
  const names = new Set(reads.flatMap((r) => [...r.facts]))
  const live = await liveFacts(picture, deps.context, asking, names)
  const { facts } = live
  const queryAt = (head: Head, { live: all, of, unknown }: Facts) => ({
    ...head,
    context,
    live: { ...all, ...of?.[refKey(head.principal)] },
    unknown,
    entities,
  })
  const asked = heads.map((head) => policy.ask(queryAt(head, facts)))
  const turnsAt = (until: Instant): Instant | undefined => {
    let first = until
    const from = facts.observedAt
    for (const head of heads) first = policy.turnsAt((at) => queryAt(head, live.at(at)), from, first) ?? first
    return first < until ? first : undefined
  }
  const evaluate = (proof: Proof): Evaluation => combine(asked.map((one) => one.evaluate(proof)))
  const bindingOf = (evaluation: Evaluation): 'attempt' | 'task' => {
    const { binding, bindingDeclared } = evaluation.obligations
    if (tasks.length === 0 || (bindingDeclared && binding === 'attempt')) return 'attempt'
    if (bindingDeclared) return 'task'
    // sensitive actions bind to the attempt; what nobody registered counts as sensitive
    return (registered(picture, attempt.resource)?.sensitivity ?? 4) >= 3 ? 'attempt' : 'task'
  }
  const found = (evaluation: Evaluation): Partial<Analysis> => ({
    facts,
    turnsAt,
    determining: evaluation.determining,
    obligations: { ...evaluation.obligations, binding: bindingOf(evaluation) },
    binding: bindingOf(evaluation),
    readsHistory,
    errors: [
      ...evaluation.errors.map((e) => ({ policy: e.policy, message: e.message })),
      ...(evaluation.mismatch === undefined ? [] : [{ policy: 'schema', message: evaluation.mismatch }]),
    ],
    dropped: [
      ...asserted.dropped,
      ...(attempt.context['action_properties'] === undefined ? [] : ['action_properties']),
      ...evaluation.dropped,
    ],
    unknown: [...facts.unknown, ...evaluation.unknownInputs],
    forbidden: evaluation.forbidden,
    says: evaluation.decision,
    entities,
    asserted: asserted.names,
  })
  const standingProof: Proof = { approvals: {}, justification: justified, reauth: false }
  const standing = evaluate(standingProof)
  if (standing.decision === 'permit') {
    return inTime({
      ...base,
      ...found(standing),
      outcome: 'permit',
      reason: 'standing',
      proof: standingProof,
    })
  }

  // evidence: that of the grant being analysed again, the named grant or approval, or a live grant of the task
  const tried = await tryEvidence()
  if (tried !== undefined && 'outcome' in tried) return inTime(tried)
  const refusal = tried?.refusal

  const explained = explaining(asked, attempt.chain, standingProof)
  const plain = { ...found(standing), explanation: () => explained().recorded }
  const hidden = standing.forbidden && !standing.explainable
  if (refusal === 'grant_unknown' || refusal === 'grant_ended' || refusal === 'grant_spent') {
    return deny(refusal, { ...plain, proof: standingProof })
  }
  // a reference that names nothing of the caller's is no ground to offer it something
  const foreign = refusal === 'approval_unverifiable'
  if (again !== undefined || hidden || foreign || !deps.mayChallenge(caller.id)) {
    return deny(refusal ?? 'policy_denied', { ...plain, proof: standingProof, truncated: !hidden })
  }

  // 5. challenge
  const { roots, unresolved } = await rootsOf()
  const wanted = new Map<string, number[]>()
  for (const r of reads)
    for (const [pool, n] of r.approvals) wanted.set(pool, [...(wanted.get(pool) ?? []), ...n])
  const search = await searchChallenge({
    approvals: unresolved ? new Map() : wanted,
    justification: reads.some((r) => r.justification),
    reauth: reads.some((r) => r.reauth) ? await provers() : [],
    present: standingProof,
    givers: (pool) => deps.givers.who(policy, pool, attempt.resource, attempt.action.name, roots),
    evaluate,
    bindingOf,
    monotonic: deps.monotonic,
    hints: () => hintsOf(explained().whole),
  })
  const more = { ...plain, proof: standingProof, truncated: search.truncated, roots, unresolved }
  // what is asked for says how long it would be had
  const longest = hasThirdParty(picture, attempt.chain) ? longestFor(deps, picture, attempt.chain) : Infinity
  const alternatives = search.sets.map((set) =>
    longest < (set.ttl ?? Infinity) ? { ...set, ttl: longest } : set,
  )
  if (search.sets.length === 0) return deny(refusal ?? 'policy_denied', more)
  return {
    ...base,
    ...more,
    outcome: 'challenge',
    reason: refusal ?? 'evidence_required',
    alternatives,
    nextAction: 'request',
  }

  /** Evidence may be asked for before a window opens, so that it is there when it does; nothing is permitted before. */
  function inTime(permit: Analysis): Analysis {
    const opensAt = Math.max(...tasks.map((task) => task.window?.startsAt ?? 0), 0)
    if (now >= opensAt) return permit
    return {
      ...permit,
      outcome: 'deny',
      reason: 'task_scope',
      nextAction: 'retry',
      retryAfter: Math.ceil((opensAt - now) / SECOND),
    }
  }

  function rootsOf(): ReturnType<typeof rootsBehind> {
    return rootsBehind(picture, caller, attempt, tasks)
  }

  /** The people of the chain, if all of them are known: one whom nobody registered can prove nothing. */
  function people(): readonly Entity[] {
    const found = attempt.chain
      .map((ref) => ({ entity: registered(picture, ref), type: ref.type }))
      .filter(({ entity, type }) => (entity?.kind ?? defaultKind(type)) === 'human')
    return found.flatMap(({ entity }) => entity ?? []).length === found.length
      ? found.map(({ entity }) => entity as Entity)
      : []
  }

  /** Who would have to prove that it is them; nobody, if one of them has nothing to prove it with. */
  async function provers(): Promise<readonly string[]> {
    const asked = people()
    await picture.load(asked.map((person) => ({ index: 'passkey.person' as const, value: refKey(person) })))
    const able = asked.filter((person) =>
      picture
        .scan('passkey.person', refKey(person))
        .some(({ value }) => value.endedAt === undefined && value.generation === person.generation),
    )
    return able.length === asked.length ? able.map(refKey) : []
  }

  /** What was given without a passkey, or with one that is still there: a removed one may have been in wrong hands before. */
  async function withPasskey<G extends Readonly<{ passkey?: string }>>(given: readonly G[]): Promise<G[]> {
    const ids = given.flatMap(({ passkey: id }) => id ?? [])
    await picture.load(ids.map((id) => ({ kind: 'passkey' as const, id })))
    return given.filter(({ passkey: id }) => {
      const passkey = id === undefined ? undefined : picture.get('passkey', id)?.value
      return id === undefined || (passkey !== undefined && passkey.endedAt === undefined)
    })
  }

  /** The proofs of all people of the chain for what was asked, if there are all (law 9, S07): for one attempt alone. */
  async function reauthsOf(request: AccessRequest): Promise<readonly Reauth[]> {
    if (request.binding !== 'attempt') return []
    const proved = await withPasskey(provedAt(request, now))
    const found = people().map((person) =>
      proved.find((one) => one.person === refKey(person) && one.generation === person.generation),
    )
    return found.includes(undefined) ? [] : (found as readonly Reauth[])
  }

  /** A permit with evidence, a reason why the evidence that was named does not count, or nothing to try. */
  async function tryEvidence(): Promise<Analysis | { refusal: Reason } | undefined> {
    if (again?.again !== undefined) return withGrant(again.again)
    if (attempt.grant !== undefined) {
      const grant = picture.get('grant', attempt.grant)?.value
      if (grant === undefined || !sameRef(grant.subject, attempt.subject)) return { refusal: 'grant_unknown' }
      if (!isLiveGrant(grant, now)) return { refusal: 'grant_ended' }
      if (!hasUses(grant)) return { refusal: 'grant_spent' }
      return withGrant(grant)
    }
    const refused = attempt.approvalRefused
    if (refused === 'out_of_scope' && attempt.approval !== undefined) {
      // what is on record says first why it would not count anyway
      const answer = await withApproval(attempt.approval)
      return 'outcome' in answer ? { refusal: refused } : answer
    }
    if (refused !== undefined) return { refusal: refused }
    if (attempt.approval !== undefined) return withApproval(attempt.approval)
    if (attempt.task === undefined) return undefined
    await picture.load([{ index: 'grant.task', value: attempt.task }])
    for (const { value: grant } of picture.scan('grant.task', attempt.task)) {
      if (!isLiveGrant(grant, now) || !hasUses(grant) || !sameRef(grant.subject, attempt.subject)) continue
      if (deps.barrier.bars('grant', grant.id)) continue
      await picture.load([{ kind: 'grant', id: grant.id }])
      const answer = await withGrant(grant)
      if ('outcome' in answer) return answer
    }
    return undefined
  }

  /** Whether the grant is for this: the one attempt, or the task. */
  function reaches(grant: Grant): boolean {
    return grant.binding === 'attempt' ? grant.attempt === base.attemptDigest : grant.task === attempt.task
  }

  async function withGrant(grant: Grant): Promise<Analysis | { refusal: Reason }> {
    if (!reaches(grant)) return { refusal: 'out_of_scope' }
    if (isCaught(grant)) return { refusal: 'grant_ended' }
    const stale = attempt.chain.some(
      (ref) => (registered(picture, ref)?.generation ?? 0) !== grant.generations[refKey(ref)],
    )
    if (stale || attempt.chain.length !== grant.chain.length) return { refusal: 'grant_ended' }
    if (attempt.delegation !== grant.delegation) return { refusal: 'out_of_scope' }
    const approvals = countByPool(await eligible(grant))
    const justification = justified || grant.evidence.justification
    const reauth = grant.binding === 'attempt' && (grant.evidence.reauth ?? []).length > 0
    const proof: Proof = { approvals, justification, reauth }
    const evaluation = evaluate(proof)
    if (evaluation.decision !== 'permit') return { refusal: 'policy_denied' }
    if (bindingOf(evaluation) === 'attempt' && grant.binding !== 'attempt') return { refusal: 'out_of_scope' }
    const late = exceeds(grant, evaluation.obligations, now, again === undefined)
    if (late !== undefined) return { refusal: late }
    return {
      ...base,
      ...found(evaluation),
      outcome: 'permit',
      reason: 'evidence',
      proof,
      grant,
      evidence: grant.evidence,
      binding: grant.binding,
    }
  }

  /** A task-bound grant reaches attempts for which those who gave its evidence might not be the ones to ask. */
  async function eligible(grant: Grant): Promise<GrantEvidence['approvals']> {
    const { approvals } = grant.evidence
    if (grant.action === attempt.action.name && sameRef(grant.resource, attempt.resource)) return approvals
    const counting: (typeof approvals)[number][] = []
    for (const approval of approvals) {
      const giver = { person: approval.root, generation: approval.generation, pool: approval.pool }
      const set = policy as PolicySet
      if (await deps.givers.still(picture, set, giver, attempt.resource, attempt.action.name))
        counting.push(approval)
    }
    return counting
  }

  async function withApproval(id: string): Promise<Analysis | { refusal: Reason }> {
    const listed = picture.scan('request.approval', id)[0]?.value
    const usable =
      listed !== undefined && sameRef(listed.requester, attempt.subject) && mayCarry(caller, listed)
    if (!usable) return { refusal: 'approval_unverifiable' }
    await picture.load([{ kind: 'request', id: listed.id }])
    const request = picture.get('request', listed.id)?.value
    if (request === undefined) return { refusal: 'approval_expired' }
    if (request.grant !== undefined) {
      // it was spent, into this grant: who comes back with it means what is left of that
      await picture.load([{ kind: 'grant', id: request.grant }])
      const grant = picture.get('grant', request.grant)?.value
      const left = grant !== undefined && isLiveGrant(grant, now) && hasUses(grant)
      if (left) return withGrant(grant)
      // for something else it never was, spent or not
      return { refusal: grant === undefined || reaches(grant) ? 'approval_expired' : 'out_of_scope' }
    }
    if (!isSpendable(request, now)) return { refusal: 'approval_expired' }
    // what was approved for an earlier one of this name, or before it was locked, is not inherited (B34, law 2)
    const inherited = attempt.chain.some((ref, at) => {
      const entity = registered(picture, ref)
      const then = at === 0 ? request.generation : request.behind?.[refKey(ref)]
      const since = entity?.locked?.at ?? -Infinity
      return (entity?.generation ?? 0) !== (then ?? 0) || request.requestedAt <= since
    })
    if (inherited || request.requestedAt <= lockedAt(picture, locks)) return { refusal: 'approval_expired' }
    if (request.binding === 'task' && tasks.length === 0) return { refusal: 'out_of_scope' }
    const statement = statementFor(deps.installation, request.binding, attempt, tasks[0], {
      ttl: request.ttl,
      ...(request.uses === undefined ? {} : { uses: request.uses }),
      ...(request.justification === undefined ? {} : { justification: request.justification }),
    })
    if (digestOf(statement) !== request.digest) return { refusal: 'out_of_scope' }
    // eligibility is tested again at activation: generation, lock, pool membership, separation
    const { roots, unresolved } = await rootsOf()
    const barred = new Set([...roots, ...request.roots])
    const counting: { pool: string; root: string; generation: number }[] = []
    for (const approval of unresolved ? [] : await withPasskey(request.approvals)) {
      if (barred.has(approval.root) || barred.has(approval.person)) continue
      const still = await deps.givers.still(
        picture,
        policy as PolicySet,
        approval,
        attempt.resource,
        attempt.action.name,
      )
      if (still) counting.push({ pool: approval.pool, root: approval.root, generation: approval.generation })
    }
    const approvals = countByPool(counting)
    const justification = justified || request.justification !== undefined
    const reauths = await reauthsOf(request)
    const proof: Proof = { approvals, justification, reauth: reauths.length > 0 }
    const evaluation = evaluate(proof)
    if (evaluation.decision !== 'permit') {
      const tooLate =
        counting.length < request.approvals.length || reauths.length < (request.reauths ?? []).length
      return { refusal: tooLate ? 'approval_expired' : 'policy_denied' }
    }
    if (bindingOf(evaluation) === 'attempt' && request.binding !== 'attempt')
      return { refusal: 'out_of_scope' }
    return {
      ...base,
      ...found(evaluation),
      outcome: 'permit',
      reason: 'evidence',
      proof,
      request,
      evidence: {
        approval: id,
        request: request.id,
        approvals: counting,
        justification: request.justification !== undefined,
        ...(reauths.length === 0
          ? {}
          : { reauth: reauths.map(({ person, passkey, at }) => ({ person, passkey, at })) }),
      },
      binding: request.binding,
      roots: [...barred],
    }
  }
}

/**
 * Why a grant does not reach what has these obligations: they may be stricter than those it was given under, and the
 * strictest win (B21).
 */
export function exceeds(
  grant: Grant,
  { ttl, uses }: Readonly<{ ttl?: Millis; uses?: number }>,
  now: Instant,
  counting: boolean,
): 'grant_ended' | 'grant_spent' | undefined {
  if (ttl !== undefined && now >= grant.startedAt + ttl) return 'grant_ended'
  return counting && uses !== undefined && grant.used >= uses ? 'grant_spent' : undefined
}

export type LongestGrant = Pick<DecisionDeps, 'longestGrant' | 'thirdPartyGrant'>

/** The longest that a grant for `chain` may live by configuration; the chain and its owners are in the picture. */
export function longestFor(
  { longestGrant, thirdPartyGrant }: LongestGrant,
  picture: Picture,
  chain: readonly EntityRef[],
): Millis {
  return hasThirdParty(picture, chain) ? Math.min(longestGrant, thirdPartyGrant) : longestGrant
}

/** The longest a grant from this analysis may live: policy, the request and the configuration, whichever is least. */
export function grantTtl(deps: LongestGrant, { attempt, picture, obligations, request }: Analysis): Millis {
  const longest = longestFor(deps, picture, attempt.chain)
  return Math.min(longest, obligations.ttl ?? Infinity, request?.ttl ?? Infinity)
}

/** What decides for Writ's own administration until a first policy set is published. */
const FOUNDING = 'writ:founding'

/** The group whose people may administer Writ before there is policy, and by the starter policy afterwards. */
export const ADMINISTRATORS: EntityRef = { type: 'Group', id: 'administrators' }

/** Before the first publish nothing but this can permit: an administrator, in person, setting Writ up. */
function isFounding(caller: Caller, attempt: Attempt, subject: Entity | undefined): boolean {
  return (
    caller.kind === 'session' &&
    sameRef(caller.subject, attempt.subject) &&
    ['Writ::publish', 'Writ::administer', 'Writ::read'].includes(attempt.action.name) &&
    (subject?.parents.some((parent) => sameRef(parent, ADMINISTRATORS)) ?? false)
  )
}

const refOnly = (ref: EntityRef): EntityRef => ({ type: ref.type, id: ref.id })

/**
 * Whether an identity behind `analysis` or its caller's credential has ended by `view.now`: time alone takes what the
 * records still give (law 3).
 */
export function hasEnded({ attempt, caller }: Analysis, view: View): boolean {
  const ended = [...attempt.chain, caller.subject].some(
    (ref) => view.now >= (view.get('entity', refKey(ref))?.value.endsAt ?? Infinity),
  )
  return (
    ended ||
    callerRecord(caller).some(({ kind, id }) => view.now >= (view.get(kind, id)?.value.endsAt ?? Infinity))
  )
}

/** The record behind the caller's own credential, so that its revocation is part of the read set. */
export function callerRecord(caller: Caller): { kind: 'key' | 'session'; id: string }[] {
  const [kind, id] = [caller.id.slice(0, caller.id.indexOf(':')), caller.id.slice(caller.id.indexOf(':') + 1)]
  return kind === 'key' || kind === 'session' ? [{ kind, id }] : []
}

async function loadTasks(picture: Picture, id: string | undefined): Promise<readonly Task[]> {
  const tasks: Task[] = []
  for (let next = id; next !== undefined && tasks.length < 32;) {
    await picture.load([{ kind: 'task', id: next }])
    const task = picture.get('task', next)?.value
    if (task === undefined) break
    tasks.push(task)
    next = task.parent
  }
  return tasks
}

function refuseCaller(
  deps: DecisionDeps,
  caller: Caller,
  attempt: Attempt,
  picture: Picture,
  now: Instant,
  delegation: Delegation | undefined,
): Reason | undefined {
  const own = sameRef(caller.subject, attempt.subject)
  const trusted = caller.pep?.subjects.some((type) => type === '*' || type === attempt.subject.type) ?? false
  if (!own && !trusted) return 'forbidden_assertion'
  // a chain is verified, never taken on trust: a claimed one denies, and a proved one cannot be left out (B29)
  if (attempt.subject.properties?.['act'] !== undefined) return 'delegation'
  if (!isVerified(caller, attempt, delegation)) return 'delegation'
  // an access token is for what it was issued for (B41)
  if (!isInScope(caller, attempt)) return 'delegation'
  for (const { kind, id } of callerRecord(caller)) {
    const record = picture.get(kind, id)?.value
    if (record === undefined) return 'subject_locked'
    if ('hash' in record && (record.revokedAt !== undefined || now >= (record.endsAt ?? Infinity)))
      return 'subject_locked'
    if ('idleUntil' in record && (record.endedAt !== undefined || now >= record.endsAt))
      return 'subject_locked'
  }
  // whoever was deleted is nobody, not somebody unregistered
  const gone = [...attempt.chain, caller.subject].some(
    (ref) => picture.get('entity', refKey(ref))?.value.deletedAt !== undefined,
  )
  if (gone) return 'subject_locked'
  const identity = registered(picture, caller.subject)
  if ((identity?.generation ?? 0) !== caller.generation) return 'subject_locked'
  for (const ref of [...attempt.chain, caller.subject]) {
    const entity = registered(picture, ref)
    if (entity?.locked !== undefined && now < (entity.locked.until ?? Infinity)) return 'subject_locked'
    if (entity?.endsAt !== undefined && now >= entity.endsAt) return 'subject_locked'
  }
  if (deps.barrier.suspends(caller, attempt)) return 'restored'
  if (delegation !== undefined) {
    if (delegationEnded(delegation, generationIn(picture), now)) return 'delegation_ended'
    if (!inDelegation(picture, delegation, attempt)) return 'out_of_scope'
  }
  return deps.barrier.denies({
    chain: attempt.chain,
    tasks: attempt.task === undefined ? [] : [attempt.task],
    grant: attempt.grant,
    delegation: attempt.delegation,
    caller: caller.id,
  })
}

function refuseBounds(
  attempt: Attempt,
  tasks: readonly Task[],
  picture: Picture,
  spent: boolean,
): Reason | undefined {
  if (attempt.task === undefined) return undefined
  const { now } = picture
  const [task] = tasks
  if (task === undefined) return 'task_unknown'
  if (tasks.some((t) => isEnded(t) || !isLive(t, now))) return 'task_ended'
  for (const t of tasks) {
    if (!inScope(t.scope, attempt.action.name, attempt.resource)) return 'task_scope'
    if (now >= (t.window?.endsAt ?? Infinity)) return 'task_scope'
    // what was declared for somebody is done for them, and under the delegation that it was declared under
    if (!t.chain.slice(1).every((ref) => attempt.chain.some((party) => sameRef(party, ref))))
      return 'task_scope'
    if (t.delegation !== undefined && t.delegation !== attempt.delegation) return 'task_scope'
    if (!spent && t.limits.calls !== undefined && t.calls >= t.limits.calls) return 'task_limit'
  }
  // whether its change was cancelled is not known while the calendar cannot be read (law 6)
  const isUnknown = (id: string): boolean => {
    const fact = picture.get('fact', id)?.value
    return fact === undefined || !isFresh(fact, now)
  }
  return calendarsOf(tasks).some(isUnknown) ? 'unknown_facts' : undefined
}

/** The facts that windows of `tasks` are watched by. */
export const calendarsOf = (tasks: readonly Task[]): readonly string[] => [
  ...new Set(
    tasks.flatMap(({ window }) =>
      window?.calendar === undefined ? [] : [factId('calendar', window.calendar.name)],
    ),
  ),
]

const neverAsserted: ReadonlySet<string> = new Set(['sensitivity', 'owner', 'team', 'third_party', 'parents'])

/** Properties replace the inventory's attributes only where the caller is trusted for them; the rest is noted. */
function assertProperties(
  caller: Caller,
  attempt: Attempt,
  picture: Picture,
): { entities: readonly EntityData[]; dropped: readonly string[]; names: Asserted } {
  const owners = directOwners(picture, [attempt.resource, ...attempt.chain])
  const entities = new Map(
    cedarEntities(picture, [...attempt.chain, attempt.resource, ...owners]).map((e) => [
      refKey(e.uid),
      e as EntityData,
    ]),
  )
  const dropped: string[] = []
  const names: { subject?: readonly string[]; resource?: readonly string[] } = {}
  const sides = [
    { side: 'subject', ref: attempt.subject },
    { side: 'resource', ref: attempt.resource },
  ] as const
  for (const { side, ref } of sides) {
    const trusted = new Set(caller.pep?.attributes[ref.type] ?? [])
    const values: Record<string, Json> = {}
    for (const [name, value] of Object.entries(ref.properties ?? {})) {
      if (value !== undefined && trusted.has(name) && !neverAsserted.has(name)) values[name] = value
      else dropped.push(`${side}.properties.${name}`)
    }
    if (Object.keys(values).length === 0) continue
    names[side] = Object.keys(values).sort()
    entities.set(refKey(ref), withAsserted(ref, entities.get(refKey(ref)), values))
  }
  return { entities: [...entities.values()], dropped, names }
}

type Explained = Readonly<{ whole: Explanation; recorded: RecordedExplanation }>

/** Explains, once, the first party of the chain that policy denies: the acting one, or whom it acts for. */
function explaining(asked: readonly Asked[], chain: readonly EntityRef[], proof: Proof): () => Explained {
  let made: Explained | undefined
  return () => {
    if (made !== undefined) return made
    const denied = asked.length === 1 ? 0 : asked.findIndex((one) => one.evaluate(proof).decision === 'deny')
    const at = Math.max(denied, 0)
    const whole = (asked[at] as Asked).explain(proof)
    made = { whole, recorded: boundExplanation(whole, at === 0 ? undefined : refKey(chain[at] as EntityRef)) }
    return made
  }
}

/** The chain's evaluations as one: permit only if all permit, any forbid counts, the strictest obligations win. */
function combine(evaluations: readonly Evaluation[]): Evaluation {
  const [first, ...rest] = evaluations
  if (first === undefined) throw new TypeError('a chain is never empty')
  if (rest.length === 0) return first
  const least = (a: number | undefined, b: number | undefined): number | undefined =>
    a === undefined ? b : b === undefined ? a : Math.min(a, b)
  return rest.reduce((a, b) => {
    const ttl = least(a.obligations.ttl, b.obligations.ttl)
    const uses = least(a.obligations.uses, b.obligations.uses)
    const review = least(a.obligations.review, b.obligations.review)
    const attemptBound = [a, b].some(
      (e) => e.obligations.bindingDeclared && e.obligations.binding === 'attempt',
    )
    return {
      decision: a.decision === 'permit' && b.decision === 'permit' ? 'permit' : 'deny',
      determining: [...new Set([...a.determining, ...b.determining])],
      errors: [...a.errors, ...b.errors],
      obligations: {
        ...(ttl === undefined ? {} : { ttl }),
        ...(uses === undefined ? {} : { uses }),
        ...(review === undefined ? {} : { review }),
        binding: attemptBound ? 'attempt' : 'task',
        bindingDeclared: a.obligations.bindingDeclared || b.obligations.bindingDeclared,
        notify: [...new Set([...a.obligations.notify, ...b.obligations.notify])],
      },
      dropped: [...new Set([...a.dropped, ...b.dropped])],
      unknownInputs: [...new Set([...a.unknownInputs, ...b.unknownInputs])],
      forbidden: a.forbidden || b.forbidden,
      explainable: a.explainable && b.explainable,
      ...mismatchOf(a.mismatch ?? b.mismatch),
    }
  }, first)
}

const mismatchOf = (mismatch: string | undefined): { mismatch?: string } =>
  mismatch === undefined ? {} : { mismatch }
