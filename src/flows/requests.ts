/**
 * Access requests and approvals. A request is bound to its denial, an approval to its request; neither grants anything.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Callback } from '../model/callback.ts'
import { MOST_CALLBACKS, withCallback } from '../model/callback.ts'
import type { Artifacts, ProvenDenial } from '../model/artifact.ts'
import type { Attempt } from '../model/attempt.ts'
import { tupleOf } from '../model/attempt.ts'
import type { Json } from '../model/canonical.ts'
import { sameJson } from '../model/canonical.ts'
import { isOver, refKey, sameRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { AccessRequest, RequirementSet } from '../model/request.ts'
import {
  approvedUntil,
  approve,
  bindsTask,
  deny,
  endRequest,
  holds,
  isMet,
  mayBeProved,
  needsJustification,
  prove,
  proversOf,
  requestAt,
  settle,
} from '../model/request.ts'
import type { Task } from '../model/task.ts'
import { isEnded, isLive, waitUntil, windowOf } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import type { Transaction, Page, Read } from '../store/port.ts'
import { Picture } from '../store/picture.ts'
import { loadClosure, loadOwners } from '../identity/inventory.ts'
import { personBehind, rootsBehind } from '../identity/roots.ts'
import { longestFor } from '../decision/analyse.ts'
import { stillRestored } from '../decision/decide.ts'
import { digestOf, statementFor } from '../decision/statement.ts'
import { endAccessRequest, requestEntry } from '../lives/ending.ts'
import type { Attempts, Entry } from './attempts.ts'
import { toAttempt } from './attempts.ts'
import type { Callbacks } from './callbacks.ts'
import type { FlowDeps } from './deps.ts'
import { lineageOf } from './lineage.ts'
import type { Narrower } from './narrow.ts'
import type { PasskeyAnswer, Passkeys } from './passkeys.ts'
import { CEREMONY_MOST } from '../identity/people/ceremony.ts'
import { NOTHING } from './narrow.ts'
import { ownPage } from './own-page.ts'
import type { ListedRequest, SubmitInput } from './port.ts'

/** Requests that one requester may have pending at once (B25): more are refused until some are answered. */
export const MAX_PENDING = 20

export class Requests {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  readonly #narrower: Narrower
  readonly #artifacts: Artifacts
  readonly #callbacks: Callbacks
  readonly #passkeys: Passkeys

  constructor(
    deps: FlowDeps,
    parts: Readonly<{
      attempts: Attempts
      narrower: Narrower
      artifacts: Artifacts
      callbacks: Callbacks
      passkeys: Passkeys
    }>,
  ) {
    const { attempts, narrower, artifacts, callbacks } = parts
    this.#deps = deps
    this.#attempts = attempts
    this.#narrower = narrower
    this.#artifacts = artifacts
    this.#callbacks = callbacks
    this.#passkeys = parts.passkeys
  }

  /** The approval of a request by value, signed: what it was given for, until when, and for which denial. */
  proofOf(request: AccessRequest, now: Instant): string | undefined {
    if (request.status !== 'approved' || request.approval === undefined) return undefined
    const members = request.members ?? []
    return this.#artifacts.sealApproval({
      approval: request.approval,
      request: request.id,
      evaluation: request.decision,
      at: now,
      until: approvedUntil(request),
      tuple: tupleOf(request.attempt, members),
      members,
      ...(bindsTask(request) ? { task: request.task } : {}),
    })
  }

  /**
   * Submits an access request for a requestable denial (ARAP, submission). Identical open asks of one requester are one.
   *
   * @throws {WritError} with `problem` `invalid_denial_binding`, `not_requestable`, `expired_denial`, `duplicate_request`.
   */
  async submit(caller: Caller, input: SubmitInput): Promise<AccessRequest> {
    const { store, decision, defaults } = this.#deps
    const { idempotencyKey, ...body } = input
    const replayId = idempotencyKey === undefined ? undefined : `${caller.id}\nrequest\n${idempotencyKey}`
    const bodyDigest = digestOf(body)
    if (replayId !== undefined) {
      // a repeated submission gets the request as it is now, also when its denial has become too old to ask about
      const kept = (await store.read([{ kind: 'replay', id: replayId }])).get('replay', replayId)?.value
      if (kept !== undefined && kept.digest !== bodyDigest) throw usedForAnother()
      const existing = kept === undefined ? undefined : await this.#find(kept.decision)
      if (existing !== undefined) return existing
    }
    const { entry, attempt, members, proven } = await this.#bound(caller, input)
    const alternatives = entry['alternatives'] as unknown as readonly RequirementSet[]
    const justification = input.justification?.trim() === '' ? undefined : input.justification
    if (justification === undefined && needsJustification(alternatives)) {
      throw new WritError('ERR_INPUT_INVALID', '`context.justification` is missing', {
        hint: 'nobody is asked without a reason here: say why, and submit again',
      })
    }
    const tasks = await lineageOf(this.#deps.store, attempt.task)
    const [task] = tasks
    const window = windowOf(tasks)
    const binding = alternatives.some((set) => set.binding === 'attempt') ? 'attempt' : 'task'
    const uses = alternatives.every((set) => set.uses !== undefined)
      ? Math.max(...alternatives.map((set) => set.uses as number))
      : undefined
    const picture = new Picture(store)
    const behind = await rootsBehind(picture, caller, attempt, tasks)
    const { roots } = behind
    await loadClosure(picture, attempt.chain)
    await loadOwners(picture, attempt.chain)
    const longest = longestFor(decision, picture, attempt.chain)
    const callback = input.callback === undefined ? undefined : this.#callbacks.accept(caller, input.callback)
    const id = decision.newId('req')
    const approvalId = decision.newId('appr')
    const requester = { type: attempt.subject.type, id: attempt.subject.id }
    const now = picture.now
    const ttl = Math.min(
      longest,
      Math.max(...alternatives.map((set) => set.ttl ?? longest)),
      input.requestedUntil === undefined ? Infinity : input.requestedUntil - now,
    )
    if (ttl <= 0) throw new WritError('ERR_INPUT_INVALID', '`requested_until` has passed')
    const statement = statementFor(decision.installation, binding, attempt, task, {
      ttl,
      ...(uses === undefined ? {} : { uses }),
      ...(justification === undefined ? {} : { justification }),
    })
    const digest = digestOf(statement)
    // a denial is asked about once in the same words, and a signed one makes one request only
    const asked = `${caller.id}\nasked\n${entry['id'] as string}\n${digest}`
    const used = proven === undefined ? undefined : `denial\n${proven.id}`
    const marks = [asked, ...(used === undefined ? [] : [used])]
    const made = (await store.read(marks.map((mark) => ({ kind: 'replay', id: mark })))).get('replay', asked)
    const earlierRequest = made === undefined ? undefined : await this.#find(made.value.decision)
    if (earlierRequest !== undefined && earlierRequest.status !== 'pending') return earlierRequest
    const until = entry['requestable_until'] as number
    const reads: Read[] = [
      ...marks.map((mark): Read => ({ kind: 'replay', id: mark })),
      { index: 'request.same', value: `${refKey(requester)}\n${digest}` },
      { index: 'request.requester', value: refKey(requester) },
      ...attempt.chain.map((ref): Read => ({ kind: 'entity', id: refKey(ref) })),
      { kind: 'entity', id: refKey(caller.subject) },
      ...tasks.map((t): Read => ({ kind: 'task', id: t.id })),
      ...(replayId === undefined ? [] : [{ kind: 'replay' as const, id: replayId }]),
    ]
    const settled = await store.commit({
      reads,
      run: (tx) => {
        const before = replayId === undefined ? undefined : tx.get('replay', replayId)?.value
        if (before !== undefined) {
          if (before.digest === bodyDigest) return before.answer as unknown as AccessRequest
          throw usedForAnother()
        }
        if (decision.barrier.suspends(caller, attempt)) throw stillRestored()
        const known = tx.get('entity', refKey(requester))?.value
        const barred = decision.barrier.denies({
          chain: attempt.chain,
          tasks: tasks.map((t) => t.id),
          delegation: attempt.delegation,
          caller: caller.id,
        })
        const asking = tx.get('entity', refKey(caller.subject))?.value
        const earlier = (asking?.generation ?? 0) !== caller.generation
        if (barred !== undefined || earlier || isOver(known, tx.now) || isOver(asking, tx.now)) {
          throw new WritError('ERR_FORBIDDEN', `${refKey(requester)} may not ask now`)
        }
        for (const { id: taskId } of tasks) {
          const current = tx.get('task', taskId)?.value
          if (current !== undefined && !isEnded(current) && isLive(current, tx.now)) continue
          throw new WritError('ERR_CONFLICT', `task \`${taskId}\` has ended`, {
            hint: 'declare a new task and evaluate again',
            problem: 'task_ended',
          })
        }
        // in the same words by several at once: the others get what the first has made, settled or not
        const mine = tx.get('replay', asked)?.value
        const open = tx
          .scan('request.same', `${refKey(requester)}\n${digest}`)
          .find(({ value }) => holds(caller, value))
        if (mine !== undefined && open === undefined) return mine.answer as unknown as AccessRequest
        const same = open?.value
        const makes = used === undefined ? undefined : tx.get('replay', used)?.value.decision
        if (makes !== undefined && makes !== same?.id) {
          throw unbound('`denial.binding_token` has been used for another request')
        }
        const delegators = attempt.chain.slice(1).map(refKey)
        const generation = (key: string): readonly [string, number] => [
          key,
          tx.get('entity', key)?.value.generation ?? 0,
        ]
        const request: AccessRequest =
          same === undefined
            ? {
                id,
                status: 'pending',
                attempt,
                decision: entry['id'] as string,
                policy: entry['policy'] as string,
                statement,
                digest,
                attemptDigest: entry['attempt_digest'] as string,
                binding,
                alternatives,
                caller: caller.id,
                submitter: {
                  subject: { type: caller.subject.type, id: caller.subject.id },
                  generation: caller.generation,
                },
                requester,
                ...provedIn(entry),
                generation: known?.generation ?? 0,
                ...(delegators.length === 0
                  ? {}
                  : { behind: Object.fromEntries(delegators.map(generation)) }),
                roots,
                unresolved: behind.unresolved,
                ...(justification === undefined ? {} : { justification }),
                members,
                ...(input.emergency === true ? { emergency: true } : {}),
                ...(input.client === undefined ? {} : { client: input.client }),
                ttl,
                ...(uses === undefined ? {} : { uses }),
                ...(attempt.task === undefined ? {} : { task: attempt.task }),
                ...(attempt.delegation === undefined ? {} : { delegation: attempt.delegation }),
                requestedAt: tx.now,
                expiresAt: tx.now + defaults.request,
                approvals: [],
                merged: 0,
                ...(callback === undefined ? {} : { callbacks: [callback] }),
              }
            : {
                ...same,
                // whoever asks for the same thing stands behind it too
                roots: [...new Set([...same.roots, ...roots])],
                unresolved: same.unresolved || behind.unresolved,
                ...provedToo(same, provedIn(entry)),
                ...(input.emergency === true ? { emergency: true } : {}),
                merged: same.merged + 1,
                ...(callback === undefined ? {} : { callbacks: joined(same.callbacks ?? [], callback) }),
              }
        if (same === undefined && tx.scan('request.requester', refKey(requester)).length >= MAX_PENDING) {
          throw new WritError(
            'ERR_RATE_LIMITED',
            `${refKey(requester)} has ${MAX_PENDING} requests pending already`,
            {
              hint: 'wait for an answer, or cancel some with `writ requests cancel`',
            },
          )
        }
        tx.append(
          same === undefined
            ? requestEntry('request.submitted', request, {
                ...(caller.dev === true ? { dev: true } : {}),
                by: caller.id,
                decision: request.decision,
                statement,
                digest,
                alternatives: alternatives,
                roots,
                binds: [...members],
                ...(proven === undefined ? {} : { denial: proven.id }),
                ...said(input),
                expires_at: request.expiresAt,
              })
            : requestEntry('request.merged', request, {
                by: caller.id,
                times: request.merged,
                decision: entry['id'] as string,
                ...said(input),
              }),
        )
        const settled = isMet(request, tx.now)
          ? settle(request, approvalId, tx.now, window.startsAt, window.endsAt)
          : request
        tx.put('request', settled.id, settled)
        if (settled.status === 'approved') this.#approved(tx, settled)
        this.#keepWaiting(tx, settled, tasks)
        const remember = { caller: caller.id, digest: bodyDigest, at: tx.now, decision: settled.id }
        for (const mark of marks) {
          tx.put('replay', mark, { ...remember, kind: 'denial', until, answer: settled })
        }
        if (replayId !== undefined)
          tx.put('replay', replayId, { ...remember, kind: 'request', answer: settled })
        return settled
      },
    })
    // a repeated submission gets the request as it is now, not as it was
    return (await this.#find(settled.id)) ?? settled
  }

  /** @throws {WritError} `ERR_NOT_FOUND` (`unknown_task`) when unknown or not available to this caller. */
  async show(caller: Caller, id: string): Promise<AccessRequest> {
    const request = await this.#find(id)
    if (request === undefined) throw unknownRequest(id)
    if (holds(caller, request) || isProver(caller, request)) return request
    const seen = caller.kind === 'session' && (await this.#pools(caller, request)).length > 0
    if (seen || (await this.#attempts.may(caller, 'read'))) return request
    throw unknownRequest(id)
  }

  async list(
    caller: Caller,
    query: { pending?: boolean; after?: string; limit?: number },
  ): Promise<Page<ListedRequest>> {
    const all = await this.#attempts.may(caller, 'read')
    const { pending, ...range } = query
    const list = async (at: Readonly<{ after?: string; limit: number }>): Promise<Page<ListedRequest>> => {
      const of = pending === true ? { index: 'request.pending' as const, value: 'pending' } : {}
      const { items, next } = await this.#deps.store.list('request', { ...of, ...at })
      return { items: items.map(({ value }) => ({ ...value, mayApprove: [] })), next }
    }
    return ownPage(list, range, async (requests) => {
      const seen: ListedRequest[] = []
      for (const request of requests) {
        const mayApprove =
          caller.kind === 'session' && request.status === 'pending' ? await this.#pools(caller, request) : []
        if (all || mayApprove.length > 0 || holds(caller, request) || isProver(caller, request))
          seen.push({ ...request, mayApprove })
      }
      return seen
    })
  }

  async cancel(caller: Caller, id: string, reason?: string): Promise<AccessRequest> {
    const found = await this.#find(id)
    // whoever may see it may not therefore end it
    if (found === undefined || !holds(caller, found)) throw unknownRequest(id)
    const { now } = await this.#deps.store.read([])
    if (requestAt(found, now).status !== 'pending') throw settledAlready(found)
    let cancelled = endRequest(found, 'cancelled', found.requestedAt, reason ?? 'cancelled')
    await this.#narrower.narrow({
      barred: [{ kind: 'request', id }],
      reads: [{ kind: 'request', id }],
      apply: (tx) => {
        const request = tx.get('request', id)?.value as AccessRequest
        if (requestAt(request, tx.now).status !== 'pending') throw settledAlready(request)
        const cause = { reason: reason ?? 'cancelled', by: caller.id }
        cancelled = endAccessRequest(tx, request, 'cancelled', cause)
        return NOTHING
      },
    })
    return cancelled
  }

  /**
   * A person gives one approval for exactly the statement that was displayed.
   *
   * @throws {WritError} `ERR_FORBIDDEN` for everyone but an eligible person in their own session; `ERR_CONFLICT` when the
   * statement is not the one displayed or the request has ended.
   */
  async approve(
    caller: Caller,
    id: string,
    input: { statement: string; pool?: string; comment?: string; passkey?: PasskeyAnswer },
  ): Promise<AccessRequest> {
    const found = await this.#mayJudge(caller, id, input.statement)
    const self = refKey(caller.subject)
    const { root, people } = await personBehind(new Picture(this.#deps.store), caller.subject)
    const isThem = (approval: AccessRequest['approvals'][number]): boolean =>
      people.includes(approval.root) || people.includes(approval.person)
    if (found.unresolved) {
      throw new WritError(
        'ERR_FORBIDDEN',
        'no approval counts: somebody behind this request cannot be named',
        {
          hint: `register an owner for ${refKey(found.requester)}, or link the account that set it going to a person; then ask again`,
        },
      )
    }
    if (people.some((name) => found.roots.includes(name))) {
      throw new WritError('ERR_FORBIDDEN', 'one cannot approve what one asked for or owns', {
        hint: 'ask somebody who has no part in it',
      })
    }
    if (found.approvals.some(isThem)) {
      throw new WritError('ERR_CONFLICT', 'you have approved this already')
    }
    const pools = await this.#pools(caller, found)
    const pool = input.pool ?? pools.find((p) => wants(found, p)) ?? pools[0]
    if (pool === undefined || !pools.includes(pool)) {
      throw new WritError('ERR_FORBIDDEN', `you are not in a pool that may approve this`, {
        hint: `it needs one of: ${[...poolsWanted(found)].join(', ')}`,
      })
    }
    const proven = await this.#passkeys.ofApproval(caller, found, input.passkey)
    const approvalId = this.#deps.decision.newId('appr')
    const tasks = await lineageOf(this.#deps.store, found.task)
    const window = windowOf(tasks)
    let approved: AccessRequest | undefined
    await this.#attempts.administer(caller, 'approve', {
      resource: { type: found.attempt.resource.type, id: found.attempt.resource.id },
      context: { pool, action: found.attempt.action.name },
      also: {
        reads: [
          { kind: 'request', id },
          { kind: 'entity', id: self },
          ...(proven?.reads ?? []),
          ...tasks.map((task): Read => ({ kind: 'task', id: task.id })),
        ],
        run: (tx) => {
          const request = tx.get('request', id)?.value as AccessRequest
          const denied = this.#deps.decision.barrier.bars('request', id)
          if (denied || request.status !== 'pending' || tx.now >= request.expiresAt)
            throw settledAlready(request)
          if (request.approvals.some(isThem)) {
            throw new WritError('ERR_CONFLICT', 'you have approved this already')
          }
          proven?.spend(tx)
          approved = approve(
            request,
            {
              person: self,
              root,
              pool,
              at: tx.now,
              generation: tx.get('entity', self)?.value.generation ?? 0,
              ...(input.comment === undefined ? {} : { comment: input.comment }),
              ...(proven === undefined ? {} : { passkey: proven.passkey.id }),
            },
            approvalId,
            window.startsAt,
            window.endsAt,
          )
          tx.put('request', id, approved)
          tx.append(
            requestEntry('approval.given', approved, {
              by: root,
              ...(self === root ? {} : { person: self }),
              pool,
              statement: request.digest,
              ...(caller.dev === true ? { dev: true } : {}),
              ...(proven === undefined ? {} : { passkey: proven.passkey.id }),
              ...(input.comment === undefined ? {} : { comment: input.comment }),
            }),
          )
          if (approved.status === 'approved') {
            this.#approved(tx, approved)
            this.#keepWaiting(tx, approved, tasks)
          }
          return undefined
        },
      },
    })
    return approved as unknown as AccessRequest
  }

  /**
   * A person behind what is asked for proves with a passkey that it is them, for exactly the statement that was displayed
   * and for five minutes. Once more is possible as long as the approval waits to be spent.
   *
   * @throws {WritError} `ERR_FORBIDDEN` for everybody else; `ERR_CONFLICT` when the statement is not the one displayed or
   * nothing can be proved any more.
   */
  async prove(
    caller: Caller,
    id: string,
    input: Readonly<{ statement: string; passkey: PasskeyAnswer }>,
  ): Promise<AccessRequest> {
    const found = await this.toProve(caller, id)
    if (found.digest !== input.statement) throw notDisplayed()
    const proven = await this.#passkeys.ofProof(caller, found, input.passkey)
    const { passkey } = proven
    const person = refKey(caller.subject)
    const approvalId = this.#deps.decision.newId('appr')
    const tasks = await lineageOf(this.#deps.store, found.task)
    const window = windowOf(tasks)
    return this.#deps.store.commit({
      reads: [
        { kind: 'request', id },
        ...proven.reads,
        ...tasks.map((task): Read => ({ kind: 'task', id: task.id })),
      ],
      run: (tx) => {
        const request = tx.get('request', id)?.value as AccessRequest
        const { barrier } = this.#deps.decision
        if (barrier.bars('request', id) || !mayBeProved(request, tx.now)) throw settledAlready(request)
        if (barrier.suspends(caller, request.attempt)) throw stillRestored()
        const { chain, delegation } = request.attempt
        const over = barrier.denies({ chain, tasks: tasks.map((t) => t.id), delegation, caller: caller.id })
        if (over !== undefined) throw new WritError('ERR_FORBIDDEN', `${person} may not prove this now`)
        proven.spend(tx)
        const reauth = {
          person,
          generation: caller.generation,
          passkey: passkey.id,
          at: tx.now,
          endsAt: tx.now + CEREMONY_MOST,
        }
        const proved = prove(request, reauth, approvalId, window.startsAt, window.endsAt)
        tx.put('request', id, proved)
        tx.append(
          requestEntry('reauth.given', proved, {
            person,
            passkey: passkey.id,
            statement: request.digest,
            session: caller.id,
            ends_at: reauth.endsAt,
          }),
        )
        if (proved.status === 'approved' && request.status === 'pending') {
          this.#approved(tx, proved)
          this.#keepWaiting(tx, proved, tasks)
        }
        return proved
      },
    })
  }

  /** What a person is asked to prove that it is them for. @throws {WritError} `ERR_NOT_FOUND`, `ERR_FORBIDDEN`. */
  async toProve(caller: Caller, id: string): Promise<AccessRequest> {
    requireInPerson(caller)
    const found = await this.show(caller, id)
    if (!isProver(caller, found)) {
      const asked = proversOf(found)
      throw new WritError('ERR_FORBIDDEN', 'nobody asks you to prove that it is you', {
        hint:
          asked.length === 0
            ? 'this request needs nobody’s passkey but those of its approvers'
            : `it is asked of ${asked.join(' and ')}`,
      })
    }
    const { now } = await this.#deps.store.read([])
    if (!mayBeProved(found, now)) throw settledAlready(found)
    return found
  }

  /** One denial ends the request. Anyone who could approve may deny, and so may who holds `Writ::deny`. */
  async deny(
    caller: Caller,
    id: string,
    input: { statement: string; reason?: string },
  ): Promise<AccessRequest> {
    const found = await this.#mayJudge(caller, id, input.statement)
    const eligible =
      (await this.#pools(caller, found)).length > 0 || (await this.#attempts.may(caller, 'deny'))
    if (!eligible) throw new WritError('ERR_FORBIDDEN', 'you are not in a pool that decides on this')
    const root = refKey(caller.subject)
    const reason = input.reason ?? 'denied'
    let denied = deny(found, root, found.requestedAt, reason)
    await this.#narrower.narrow({
      barred: [{ kind: 'request', id }],
      reads: [{ kind: 'request', id }],
      apply: (tx) => {
        const request = tx.get('request', id)?.value as AccessRequest
        if (request.status !== 'pending') throw settledAlready(request)
        denied = deny(request, root, tx.now, reason)
        tx.put('request', id, denied)
        tx.append(requestEntry('request.denied', denied, { by: root, reason, statement: request.digest }))
        return NOTHING
      },
    })
    return denied
  }

  /** A pending request whose time is over. */
  async expire(id: string): Promise<void> {
    await this.#deps.store.commit({
      reads: [{ kind: 'request', id }],
      narrowing: true,
      run: (tx) => {
        const request = tx.get('request', id)?.value
        if (request?.status !== 'pending' || tx.now < request.expiresAt) return
        endAccessRequest(tx, request, 'expired', { reason: 'nobody answered in time', by: 'writ' })
      },
    })
  }

  #approved(tx: Transaction, request: AccessRequest): void {
    tx.append(
      requestEntry('request.approved', request, {
        approval: request.approval ?? '',
        activate_by: request.activateBy ?? 0,
        by: request.approvals.map((approval) => approval.root),
      }),
    )
  }

  /** Waiting never eats the task, nor those above it: while somebody may still answer or come back, they wait. */
  #keepWaiting(tx: Transaction, request: AccessRequest, tasks: readonly Task[]): void {
    for (const { id } of tasks) {
      const task = tx.get('task', id)?.value
      if (task === undefined) continue
      const waiting = waitUntil(task, request.activateBy ?? request.expiresAt)
      if (waiting !== task) tx.put('task', id, waiting)
    }
  }

  async #mayJudge(caller: Caller, id: string, statement: string): Promise<AccessRequest> {
    // before anything is looked up, so that no machine learns which ids exist (B33)
    requireInPerson(caller)
    const found = await this.#find(id)
    if (found === undefined) throw unknownRequest(id)
    const { people } = await personBehind(new Picture(this.#deps.store), caller.subject)
    const sees =
      holds(caller, found) ||
      people.some((name) => found.roots.includes(name)) ||
      (await this.#pools(caller, found)).length > 0 ||
      (await this.#attempts.may(caller, 'read'))
    if (!sees) throw unknownRequest(id)
    if (found.digest !== statement) throw notDisplayed()
    if (found.status !== 'pending') throw settledAlready(found)
    return found
  }

  /** The pools this request could use in which `caller` may give an approval now. */
  async #pools(caller: Caller, request: AccessRequest): Promise<readonly string[]> {
    const picture = new Picture(this.#deps.store)
    await picture.load([{ kind: 'meta', id: 'policy' }])
    const version = picture.get('meta', 'policy')?.value['version'] as string | undefined
    const policy = version === undefined ? undefined : this.#deps.decision.policies.get(version)
    if (policy === undefined) return []
    const { people } = await personBehind(picture, caller.subject)
    if (request.unresolved || people.some((name) => request.roots.includes(name))) return []
    return this.#deps.decision.givers.poolsOf(
      picture,
      policy,
      caller.subject,
      [...poolsWanted(request)],
      request.attempt.resource,
      request.attempt.action.name,
    )
  }

  /**
   * What a submission is bound to: the recorded denial, by its id or by the signed form of it, which then is what counts.
   * Who submits must be who was denied, and must send what was denied; what was recorded is what is asked for.
   */
  async #bound(caller: Caller, input: SubmitInput): Promise<Bound> {
    const { evaluationId, bindingToken, expiresAt } = input.denial
    const sent = toAttempt(input)
    const { now } = await this.#deps.store.read([])
    let proven: ProvenDenial | undefined
    if (bindingToken !== undefined) {
      const opened = await this.#artifacts.openDenial(
        bindingToken,
        { tuple: (members) => tupleOf(sent, members), endsAt: expiresAt },
        now,
      )
      if ('refused' in opened) {
        if (opened.refused === 'expired') throw tooOld()
        throw unbound(
          opened.refused === 'mismatch'
            ? 'this is not what `denial.binding_token` is about'
            : '`denial.binding_token` is none of this server',
        )
      }
      if (opened.evaluation === undefined || opened.evaluation !== (evaluationId ?? opened.evaluation)) {
        throw unbound('`denial.evaluation_id` is not that of `denial.binding_token`')
      }
      proven = opened
    }
    const id = proven?.evaluation ?? evaluationId
    if (id === undefined) throw unbound('`denial` has neither `evaluation_id` nor `binding_token`')
    const entry = await this.#attempts.recorded(id)
    const recorded = entry?.['attempt'] as unknown as Attempt | undefined
    const theirs =
      recorded?.subject !== undefined &&
      (entry?.['caller'] === caller.id || sameRef(recorded.subject, caller.subject))
    if (entry === undefined || recorded === undefined || !theirs) {
      throw unbound('`denial.evaluation_id` names no denial')
    }
    if (entry['outcome'] !== 'challenge') {
      throw new WritError('ERR_INPUT_INVALID', 'this denial cannot be asked about', {
        problem: 'not_requestable',
        hint: 'no evidence would change it',
      })
    }
    const members = entry['binds'] as readonly string[]
    const same =
      sameJson(tupleOf(sent, members), tupleOf(recorded, members)) &&
      sent.task === recorded.task &&
      sent.delegation === recorded.delegation
    if (!same) throw unbound('this is not what was denied')
    if (now >= (entry['requestable_until'] as number)) throw tooOld()
    return { entry, attempt: recorded, members, ...(proven === undefined ? {} : { proven }) }
  }

  async #find(id: string): Promise<AccessRequest | undefined> {
    return (await this.#deps.store.read([{ kind: 'request', id }])).get('request', id)?.value
  }
}

function requireInPerson(caller: Caller): void {
  if (caller.kind === 'session' && caller.chain === undefined) return
  throw new WritError('ERR_FORBIDDEN', 'only a person in their own session can answer a request', {
    hint: 'sign in, no key or token of a machine can approve',
  })
}

/** Whether `caller` is one of the people who are asked to prove that it is them. */
function isProver(caller: Caller, request: AccessRequest): boolean {
  const { attempt, behind, generation, requester } = request
  if (caller.kind !== 'session' || !proversOf(request).includes(refKey(caller.subject))) return false
  // whoever was made again since is somebody else (B34)
  return sameRef(caller.subject, requester)
    ? caller.generation === (generation ?? 0)
    : attempt.chain.some((party) => sameRef(party, caller.subject)) &&
        caller.generation === (behind?.[refKey(caller.subject)] ?? 0)
}

type Bound = Readonly<{
  entry: Entry
  attempt: Attempt
  members: readonly string[]
  proven?: ProvenDenial
}>

/** What a submission says beside what it is bound to: for the record and for approvers, never believed. */
function said({ denial, emergency, client, requestedUntil }: SubmitInput): Record<string, Json> {
  return {
    ...(emergency === true ? { emergency: true } : {}),
    ...(client === undefined ? {} : { client }),
    ...(denial.template === undefined ? {} : { template: denial.template }),
    ...(requestedUntil === undefined ? {} : { wanted_until: requestedUntil }),
  }
}

/** What was proved of who asked when it was denied: for approvers to see; nothing is decided by it here. */
function provedIn({ facts, instigators }: Entry): Pick<AccessRequest, 'proved' | 'instigators'> {
  const { workload } = (facts ?? {}) as Entry
  return {
    ...(workload === undefined ? {} : { proved: workload }),
    ...(Array.isArray(instigators) && instigators.length > 0 ? { instigators: instigators } : {}),
  }
}

/** Several of these are shown beside the first. */
const PROVED_ALSO_MOST = 5

/** Of `same`, asked for again when something else was proved: approvers see all of those who may come back with it. */
function provedToo(
  same: AccessRequest,
  { proved = {}, instigators = [] }: ReturnType<typeof provedIn>,
): Pick<AccessRequest, 'provedAlso' | 'instigators'> {
  const { provedAlso = [], instigators: known = [] } = same
  const others = instigators.filter((one) => !known.some((other) => sameJson({ ...one }, { ...other })))
  const isKnown = [same.proved ?? {}, ...provedAlso].some((one) => sameJson(one, proved))
  return {
    ...(others.length === 0 ? {} : { instigators: [...known, ...others] }),
    ...(isKnown ? {} : { provedAlso: [...provedAlso, proved].slice(-PROVED_ALSO_MOST) }),
  }
}

const unbound = (why: string): WritError =>
  new WritError('ERR_INPUT_INVALID', why, {
    problem: 'invalid_denial_binding',
    hint: 'evaluate again and send what was denied, with its `denial` as it came',
  })

const tooOld = (): WritError =>
  new WritError('ERR_CONFLICT', 'the denial is too old to be asked about', {
    problem: 'expired_denial',
    hint: 'evaluate again',
  })

function poolsWanted(request: AccessRequest): Set<string> {
  return new Set(
    request.alternatives.flatMap((set) =>
      set.requirements.flatMap((r) => (r.kind === 'approval' ? [r.pool] : [])),
    ),
  )
}

/** Whether another approval of `pool` would still help. */
function wants(request: AccessRequest, pool: string): boolean {
  const given = request.approvals.filter((approval) => approval.pool === pool).length
  return request.alternatives.some((set) =>
    set.requirements.some((r) => r.kind === 'approval' && r.pool === pool && given < r.count),
  )
}

const notDisplayed = (): WritError =>
  new WritError('ERR_CONFLICT', 'this is not the statement that was displayed', {
    hint: 'load the request again and read it once more',
    problem: 'changed',
  })

const usedForAnother = (): WritError =>
  new WritError('ERR_CONFLICT', 'the idempotency key was used for another request', {
    hint: 'use a new key for each request',
    problem: 'duplicate_request',
  })

const unknownRequest = (id: string): WritError =>
  new WritError('ERR_NOT_FOUND', `there is no access request \`${id}\``, { problem: 'unknown_task' })

const settledAlready = (request: AccessRequest): WritError =>
  new WritError(
    'ERR_CONFLICT',
    `access request \`${request.id}\` is ${request.status === 'pending' ? 'expired' : request.status} already`,
    {
      problem: 'invalid_task_state',
      ...(request.status === 'pending' || request.status === 'expired'
        ? { hint: 'nobody settled it in time; it has to be asked for again' }
        : {}),
    },
  )

function joined(known: readonly Callback[], added: Callback): readonly Callback[] {
  const all = withCallback(known, added)
  if (all !== undefined) return all
  throw new WritError('ERR_INPUT_INVALID', `this request has ${MOST_CALLBACKS} callbacks already`, {
    hint: 'ask without `callback`, and poll the status endpoint',
  })
}
