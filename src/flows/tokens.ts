/**
 * Access tokens: every issue is a decision like any other, and the record of a token is written in the same commit. What
 * a token may do is never more than what its subject, those who act for it and the grant behind it may (law 5).
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Caller } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import type { Json } from '../model/canonical.ts'
import { canonical, sameJson } from '../model/canonical.ts'
import type { EntityRef, Properties } from '../model/entity.ts'
import { isOver, refKey, sameRef } from '../model/entity.ts'
import { isWritError, WritError } from '../model/errors.ts'
import { isIdentity } from '../model/name.ts'
import type { Decision } from '../model/outcome.ts'
import { isOAuthError, refuse } from '../model/refusal.ts'
import type { AccessRequest } from '../model/request.ts'
import type { Task } from '../model/task.ts'
import { inScope } from '../model/task.ts'
import type { Instant, Millis } from '../model/time.ts'
import { SECOND } from '../model/time.ts'
import type {
  Client,
  ClientConfig,
  ClientProof,
  Token,
  TokenDetail,
  TokenEnd,
  TokenRequest,
} from '../model/token.ts'
import { TOKEN_LIFE_MOST } from '../model/token.ts'
import { analyse } from '../decision/analyse.ts'
import { CLOCK_TOLERANCE, clockBehind, decide, stillRestored } from '../decision/decide.ts'
import { readAssertion } from '../identity/clients.ts'
import type { Dpop } from '../identity/dpop.ts'
import { createDpop } from '../identity/dpop.ts'
import type { Verifier } from '../identity/issuers/verify.ts'
import type { UnverifiedToken } from '../identity/issuers/token.ts'
import { readOf, spendProof } from '../identity/spent.ts'
import type { Page, Read, Transaction } from '../store/port.ts'
import type { Attempts } from './attempts.ts'
import { SYSTEM } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import { lineageOf } from './lineage.ts'
import { Noted } from './noted.ts'
import type { Requests } from './requests.ts'
import type { Signers } from './signers.ts'
import { TokenBook, clientsOf } from './token-book.ts'
import type { Party, Spend } from './token-parties.ts'
import {
  TokenParties,
  callerOf,
  chainOf,
  generationsOf,
  isServerOf,
  ownCaller,
  proofEntry,
  replayed,
  spendAll,
} from './token-parties.ts'

/** What the token endpoint is configured with, and what others supply. */
export type TokenDeps = Readonly<{
  /** Our identifier as an authorization server: exactly what `iss` says. */
  issuer(): string
  life: Millis
  /** Which tokens are bound to a key of their holder. */
  senderConstrained: 'privileged' | 'always' | 'never'
  clients: readonly ClientConfig[]
  /** What a resource is called as a URI (RFC 8707). */
  resources: readonly Readonly<{ uri: string; resource: EntityRef }>[]
  /** Makes nonces; the same after a restart. */
  nonceKey: Uint8Array
  /** Tokens of configured issuers. */
  verify: Verifier['verify']
  /** The claims of a token in the form of RFC 9068. */
  claims(token: Token, issuer: string): Readonly<Record<string, Json>>
}>

/** How a request reached the endpoint. */
export type Arrival = Readonly<{
  /** The URL of the endpoint as callers reach it. */
  url: string
  /** The `DPoP` header. */
  dpop?: string
}>

const noResource = () => refuse('invalid_target', 'no resource has this URI')

/** The token with its text, or the decision that refused it. */
export type Issued =
  | Readonly<{ token: Token; text: string }>
  | Readonly<{ denied: Decision; pending?: AccessRequest }>

type Wanted = Readonly<{ action: string; resource: EntityRef; properties?: Properties }>

/** What is at least this sensitive is privileged: its tokens are bound to a key. */
const SENSITIVE = 3
const POLL_SECONDS = 5
/** Longest id of an entity. */
const URI_MOST = 256
/** Tokens looked at before others get their turn. */
const AT_ONCE = 200

export class Tokens {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  readonly #requests: Requests
  readonly #book: TokenBook
  readonly #parties: TokenParties
  readonly dpop: Dpop
  /** Of strangers, and of whom something was proved: whoever can prove nothing takes nobody's place on the record. */
  readonly #noted = { strangers: new Noted(), known: new Noted() }

  constructor(deps: FlowDeps, parts: Readonly<{ attempts: Attempts; requests: Requests; signers: Signers }>) {
    this.#deps = deps
    this.#attempts = parts.attempts
    this.#requests = parts.requests
    this.#book = new TokenBook(deps, parts.signers)
    this.dpop = createDpop(deps.tokens.nonceKey)
    this.#parties = new TokenParties(deps, this.#book)
  }

  get issuer(): string {
    return this.#deps.tokens.issuer()
  }

  /** Registers the configured clients. */
  recover(): Promise<void> {
    return this.#parties.recover()
  }

  // asking for a token

  /**
   * Verifies everything that the request proves, decides each thing that the token is to be for, and issues it. Every
   * proof is spent, whatever comes of it; a refusal is on the record.
   *
   * @throws {WritError} with an OAuth code as its `problem`.
   */
  async token(request: TokenRequest, arrival: Arrival): Promise<Issued> {
    const spends: Spend[] = []
    let who: readonly EntityRef[] = []
    try {
      const asked = await this.#ask(request, arrival, spends, (chain) => (who = chain))
      if ('token' in asked) return asked
      await this.#spend(spends)
      return asked
    } catch (error) {
      if (isWritError(error) && isOAuthError(error.problem)) await this.refused(error, who, spends)
      else if (isWritError(error)) await this.#spend(spends).catch(unlessRefused)
      throw error
    }
  }

  async #ask(
    request: TokenRequest,
    arrival: Arrival,
    spends: Spend[],
    note: (chain: readonly EntityRef[]) => void,
  ): Promise<Issued> {
    const { store } = this.#deps
    const { now } = await store.read([])
    const key =
      arrival.dpop === undefined
        ? undefined
        : await this.dpop.verify(arrival.dpop, { method: 'POST', url: arrival.url, now, nonce: 'required' })
    if (key !== undefined) spends.push({ proof: key.spends, code: 'invalid_dpop_proof' })
    const jkt = key?.jkt

    // who asks, for whom
    const client = await this.#parties.client(request.client, arrival.url, now)
    const parties = await this.#parties.of(request, client, arrival.url, now)
    for (const party of parties) {
      if (party.spends !== undefined) spends.push(party.spends)
      this.#parties.checkBound(party, jkt, client)
    }
    const chain = chainOf(parties)
    note(chain)
    const [acting] = parties as [Party, ...Party[]]
    await this.#parties.checkNamed(request.client, acting)
    const view = await store.read(chain.map((ref): Read => ({ kind: 'entity', id: refKey(ref) })))
    const caller = callerOf(acting, chain, parties, view, jkt)

    // for what
    const { audience, aud, wanted, isUnknown } = this.#wanted(request)
    if (request.delegation !== undefined && sameRef(audience, SYSTEM)) {
      const hint = 'name the delegation in what is done with it'
      throw refuse('invalid_request', `a token for this server says who asks and for nobody else: ${hint}`)
    }
    const own = parties.flatMap((party) => (party.own === undefined ? [] : [party.own]))
    for (const token of own) await this.#attenuate(token, wanted, audience)
    if (wanted.length === 0) {
      if (isUnknown) throw noResource()
      // a sign-in: it says who asks, and each thing that is done with it is decided then
      const isSignIn = sameRef(audience, SYSTEM) && own.length === 0 && request.task === undefined
      if (!isSignIn)
        throw refuse('invalid_scope', 'say what the token is for: scope, or authorization_details')
      if (jkt === undefined && this.#deps.tokens.senderConstrained === 'always') throw needsProof()
      const token = await this.#signIn({ caller, chain, acting, parties, jkt, spends })
      return { token, text: await this.#book.text(token) }
    }

    const approval = await this.#approval(request, caller)
    const attempts: Attempt[] = []
    for (const one of wanted) {
      const context: Record<string, Json> = {
        ...(request.task === undefined ? {} : { task: request.task }),
        ...(request.under === undefined ? {} : { grant: request.under }),
        ...(request.delegation === undefined ? {} : { delegation: request.delegation }),
        ...(approval === undefined ? {} : { approval }),
      }
      const arrived = await this.#attempts.arrived(
        {
          subject: acting.chain[0] as EntityRef,
          action: {
            name: one.action,
            ...(one.properties === undefined ? {} : { properties: one.properties }),
          },
          resource: one.resource,
          context,
        },
        caller,
      )
      attempts.push(arrived)
    }
    // with whoever delegated, where that is named
    const [{ chain: whole }] = attempts as [Attempt, ...Attempt[]]
    note(whole)
    const mode = this.#deps.tokens.senderConstrained
    if (jkt === undefined && mode === 'always') throw needsProof()
    // said once everything is permitted: what a denial looks like must not tell what there is
    const lacksProof =
      jkt === undefined &&
      // what comes of a bound token is bound too (B8)
      (parties.some((party) => party.jkt !== undefined) ||
        (mode === 'privileged' &&
          (await this.#isSensitive([audience, ...wanted.map((one) => one.resource)]))))

    // nothing is issued for a URI that nobody configured; who would be denied anyway is told that, as of every other
    if (isUnknown) {
      for (const attempt of attempts) {
        const { outcome } = await analyse(this.#deps.decision, caller, attempt, 'attempt')
        if (outcome === 'deny') return this.#denied(caller, attempt, request, spends)
      }
      throw noResource()
    }

    // several things are one token or none: what one of them would be denied must not cost the others anything
    if (attempts.length > 1) {
      for (const attempt of attempts) {
        const analysis = await analyse(this.#deps.decision, caller, attempt, 'attempt')
        if (analysis.outcome !== 'permit') return this.#denied(caller, attempt, request, spends)
        const carried = analysis.grant !== undefined || analysis.request !== undefined
        if (carried && jkt === undefined && mode === 'privileged') throw needsProof()
      }
      if (lacksProof) throw needsProof()
    }
    // each of several spends something before the last one issues the token: none does by what was used before (B6)
    if (attempts.length > 1) await this.#spendFirst(spends)
    const before: Decision[] = []
    for (const attempt of attempts.slice(0, -1)) {
      const decision = await decide(this.#deps.decision, caller, attempt)
      if (decision.outcome !== 'permit') return this.#answer(caller, decision, request, spends)
      before.push(decision)
    }
    const issue = await this.#issue({
      caller,
      chain: whole,
      acting,
      parties,
      request,
      audience,
      aud,
      attempts,
      before,
      own,
      jkt,
      lacksProof,
      spends,
    })
    if ('denied' in issue) return this.#answer(caller, issue.denied, request, spends)
    return { token: issue.token, text: await this.#book.text(issue.token) }
  }

  /** Decides the last attempt and writes the token with it: no token without a committed permit (B40). */
  async #issue(
    asked: Readonly<{
      caller: Caller
      chain: readonly EntityRef[]
      acting: Party
      parties: readonly Party[]
      request: TokenRequest
      audience: EntityRef
      aud: string
      attempts: readonly Attempt[]
      before: readonly Decision[]
      own: readonly Token[]
      jkt: string | undefined
      /** It is privileged, and no key was shown. */
      lacksProof: boolean
      spends: readonly Spend[]
    }>,
  ): Promise<Readonly<{ token: Token }> | Readonly<{ denied: Decision }>> {
    const { caller, chain, acting, parties, request, attempts, before, own, jkt, spends } = asked
    const { store, decision: decisions, tokens } = this.#deps
    const parents = [...new Set(own.flatMap((token) => [token.id, ...token.parents]))]
    const lineage = await lineageOf(store, attempts[0]?.task)
    const tasks = [...new Set([...lineage.map((task) => task.id), ...own.flatMap((token) => token.tasks)])]
    const given = [
      ...new Set([
        ...before.flatMap(({ grant }) => (grant === undefined ? [] : [grant.id])),
        ...own.flatMap((token) => token.grants),
      ]),
    ]
    const delegations = [
      ...new Set([
        ...(request.delegation === undefined ? [] : [request.delegation]),
        ...own.flatMap((token) => token.delegations ?? []),
      ]),
    ]
    const clients = [
      ...new Set([
        ...parties.slice(1).flatMap(({ registered }) => (registered === undefined ? [] : [registered.id])),
        ...own.flatMap(clientsOf),
      ]),
    ]
    // what is spent below is spent above (law 5): on tasks that these attempts do not name themselves
    const above = own.flatMap((token) => token.tasks).filter((task) => !lineage.some(({ id }) => id === task))
    const single = own.filter((token) => token.singleUse)
    const last = attempts.at(-1) as Attempt
    const id = decisions.newId('tok')
    let made: Token | undefined
    const reads: Read[] = [
      ...spends.map(({ proof }) => readOf(proof)),
      ...parents.map((parent): Read => ({ kind: 'token', id: parent })),
      ...given.map((grant): Read => ({ kind: 'grant', id: grant })),
      ...tasks.map((task): Read => ({ kind: 'task', id: task })),
      ...delegations.map((one): Read => ({ kind: 'delegation', id: one })),
      ...chain.map((ref): Read => ({ kind: 'entity', id: refKey(ref) })),
      ...(acting.registered === undefined ? [] : [{ kind: 'client' as const, id: acting.registered.id }]),
      ...clients.map((client): Read => ({ kind: 'client', id: client })),
    ]
    const decision = await decide(decisions, caller, last, {
      also: {
        reads,
        run: (tx, permit) => {
          made = undefined
          const isCarried =
            permit.grant !== undefined && jkt === undefined && tokens.senderConstrained === 'privileged'
          if (isCarried || asked.lacksProof) {
            throw needsProof()
          }
          spendAll(tx, spends)
          for (const { id: parent } of own) {
            const current = tx.get('token', parent)?.value
            if (current === undefined || this.#book.endOf(tx, current, tasks) !== undefined) {
              throw refuse('invalid_request', 'a token of the request is worth nothing any more')
            }
          }
          const grants = [...new Set([...(permit.grant === undefined ? [] : [permit.grant.id]), ...given])]
          const decided = [...before, permit].map((one, at) => ({
            attempt: attempts[at] as Attempt,
            ...(one.grant === undefined ? {} : { grant: one.grant.id }),
          }))
          const endsAt = Math.min(
            tx.now + Math.min(tokens.life, TOKEN_LIFE_MOST),
            permit.grant?.endsAt ?? Infinity,
            ...given.map((grant) => tx.get('grant', grant)?.value.endsAt ?? 0),
            ...tasks.map((task) => tx.get('task', task)?.value.endsAt ?? Infinity),
            ...delegations.map((one) => tx.get('delegation', one)?.value.endsAt ?? 0),
            ...chain.map((ref) => tx.get('entity', refKey(ref))?.value.endsAt ?? Infinity),
            ...parties.map((party) => party.endsAt),
          )
          const token: Token = {
            id,
            audience: asked.audience,
            aud: asked.aud,
            chain,
            generations: generationsOf(chain, tx),
            scope: request.scope,
            details: request.details.map((detail): TokenDetail => ({
              ...detail,
              resource: detail.resource ?? asked.audience,
            })),
            decided,
            decisions: [...before, permit].map((one) => one.id),
            asked: caller,
            client: acting.registered?.id ?? acting.name,
            ...(acting.registered === undefined ? {} : { registered: acting.registered.id }),
            ...(clients.length === 0 ? {} : { clients }),
            grants,
            tasks,
            parents,
            ...(delegations.length === 0 ? {} : { delegations }),
            ...(jkt === undefined ? {} : { jkt }),
            // one of several uses is no token that is good once; what comes of such a token is
            singleUse: single.length > 0 || [...before, permit].some((one) => one.obligations.uses === 1),
            epoch: this.#book.epoch,
            issuedAt: tx.now,
            // whole seconds, as the token says it
            endsAt: Math.floor(endsAt / SECOND) * SECOND,
          }
          if (token.endsAt <= tx.now) throw refuse('invalid_grant', 'what the token would rest on ends now')
          if (this.#book.endOf(tx, token, tasks) !== undefined) return 'changed'
          for (const one of new Set(above)) {
            const task = tx.get('task', one)?.value as Task
            const calls = task.calls + attempts.length
            if (calls > (task.limits.calls ?? Infinity)) return 'task_limit'
            tx.put('task', one, { ...task, calls })
          }
          for (const parent of single) {
            const current = tx.get('token', parent.id)?.value as Token
            tx.put('token', parent.id, { ...current, usedAt: tx.now })
          }
          tx.put('token', id, token)
          tx.append({
            kind: 'token.issued',
            refs: [
              id,
              ...chain.map(refKey),
              ...grants,
              ...(attempts[0]?.task === undefined ? [] : [attempts[0].task]),
              ...delegations,
            ],
            token: id,
            audience: refKey(token.audience),
            chain: chain.map(refKey),
            scope: [...token.scope],
            ...(token.details.length === 0 ? {} : { details: token.details }),
            client: token.client,
            decisions: [...token.decisions],
            grants: [...grants],
            tasks: [...tasks],
            ...(parents.length === 0 ? {} : { parents: [...parents] }),
            ...(delegations.length === 0 ? {} : { delegations: [...delegations] }),
            proofs: parties.map(proofEntry),
            ...(jkt === undefined ? {} : { jkt }),
            ...(token.singleUse ? { single_use: true } : {}),
            ends_at: token.endsAt,
          })
          made = token
          return undefined
        },
      },
    })
    return decision.outcome === 'permit' && made !== undefined ? { token: made } : { denied: decision }
  }

  /** A token for this server that says who asks, as a session does; what it is used for is decided each time. */
  async #signIn({
    caller,
    chain,
    acting,
    parties,
    jkt,
    spends,
  }: Readonly<{
    caller: Caller
    chain: readonly EntityRef[]
    acting: Party
    parties: readonly Party[]
    jkt: string | undefined
    spends: readonly Spend[]
  }>): Promise<Token> {
    const { store, decision, tokens } = this.#deps
    const id = decision.newId('tok')
    const registered = acting.registered?.id
    return store.commit({
      reads: [
        ...spends.map(({ proof }) => readOf(proof)),
        ...chain.map((ref): Read => ({ kind: 'entity', id: refKey(ref) })),
        ...(registered === undefined ? [] : [{ kind: 'client' as const, id: registered }]),
      ],
      run: (tx) => {
        if (store.clockBehind() > CLOCK_TOLERANCE) throw clockBehind(store.clockBehind())
        if (decision.barrier.restored) throw stillRestored()
        spendAll(tx, spends)
        const endsAt = Math.min(
          tx.now + Math.min(tokens.life, TOKEN_LIFE_MOST),
          ...chain.map((ref) => tx.get('entity', refKey(ref))?.value.endsAt ?? Infinity),
          ...parties.map((party) => party.endsAt),
        )
        const token: Token = {
          id,
          audience: SYSTEM,
          aud: this.issuer,
          chain,
          generations: generationsOf(chain, tx),
          scope: [],
          details: [],
          decided: [],
          decisions: [],
          asked: caller,
          client: registered ?? acting.name,
          ...(registered === undefined ? {} : { registered }),
          grants: [],
          tasks: [],
          parents: [],
          ...(jkt === undefined ? {} : { jkt }),
          singleUse: false,
          epoch: this.#book.epoch,
          issuedAt: tx.now,
          endsAt: Math.floor(endsAt / SECOND) * SECOND,
        }
        const other =
          acting.generation !== undefined &&
          acting.generation !== token.generations[refKey(chain[0] as EntityRef)]
        if (other || this.#book.endOf(tx, token, []) !== undefined) {
          throw refuse('invalid_grant', 'somebody that the token would speak for has no authority any more')
        }
        tx.put('token', id, token)
        tx.append({
          kind: 'token.issued',
          refs: [id, ...chain.map(refKey)],
          token: id,
          audience: refKey(SYSTEM),
          chain: chain.map(refKey),
          client: token.client,
          proofs: parties.map(proofEntry),
          ...(jkt === undefined ? {} : { jkt }),
          ends_at: token.endsAt,
        })
        return token
      },
    })
  }

  async #denied(caller: Caller, attempt: Attempt, request: TokenRequest, spends: Spend[]): Promise<Issued> {
    const decision = await decide(this.#deps.decision, caller, attempt, {
      // what was not permitted a moment ago might be now: nothing comes of it alone
      also: { reads: [], run: () => 'changed' },
    })
    return this.#answer(caller, decision, request, spends)
  }

  /** A denial; of a challenge, with the access request if it was to be submitted at once. */
  async #answer(caller: Caller, decision: Decision, request: TokenRequest, spends: Spend[]): Promise<Issued> {
    const denied = this.#attempts.sealed(decision)
    if (denied.outcome !== 'challenge' || request.accessRequest !== 'submit') return { denied }
    // nobody is asked by what was used before (B6)
    await this.#spendFirst(spends)
    const { subject, action, resource, task, delegation } = denied.attempt
    const context = {
      ...(task === undefined ? {} : { task }),
      ...(delegation === undefined ? {} : { delegation }),
    }
    try {
      const pending = await this.#requests.submit(caller, {
        subject,
        action,
        resource,
        context,
        denial: {
          evaluationId: denied.id,
          expiresAt: denied.requestableUntil ?? 0,
          ...(denied.bindingToken === undefined ? {} : { bindingToken: denied.bindingToken }),
        },
        ...(request.justification === undefined ? {} : { justification: request.justification }),
      })
      return { denied, pending }
    } catch (error) {
      if (isWritError(error, 'ERR_INPUT_INVALID'))
        throw refuse('invalid_request', error.message, error.detail)
      throw error
    }
  }

  /** What stands at `approval`, or what has become of the access request that it asks about. */
  async #approval(request: TokenRequest, caller: Caller): Promise<Json | undefined> {
    const { accessRequest: id } = request
    if (id === undefined || id === 'submit') return request.approval
    let found: AccessRequest
    try {
      found = await this.#requests.show(caller, id)
    } catch (error) {
      if (isWritError(error, 'ERR_NOT_FOUND'))
        throw refuse('invalid_request', 'access_request names none of yours')
      throw error
    }
    switch (found.status) {
      case 'pending':
        throw refuse('authorization_pending', `nobody has answered yet; ask again in ${POLL_SECONDS} seconds`)
      case 'approved':
        return found.approval
      case 'denied':
        throw refuse('access_denied', 'the access request was denied')
      default:
        throw refuse('expired_token', `the access request is ${found.status}; ask without it`)
    }
  }

  // what for

  #wanted({ audience, scope, details }: TokenRequest): Readonly<{
    audience: EntityRef
    aud: string
    wanted: readonly Wanted[]
    isUnknown: boolean
  }> {
    const named = audience === undefined ? undefined : this.#resolve(audience)
    const [first] = details
    const implied =
      scope.length === 0 && first?.resource !== undefined
        ? details.every(
            ({ resource }) => resource !== undefined && sameRef(resource, first.resource as EntityRef),
          )
          ? first.resource
          : undefined
        : undefined
    const target = named ?? (implied === undefined ? undefined : this.#resolve({ ref: implied }))
    if (target === undefined)
      throw refuse('invalid_target', 'say whom the token is for: audience or resource')
    const wanted: Wanted[] = [
      ...scope.map((action) => ({ action, resource: target.ref })),
      ...details.map(({ resource = target.ref, ...detail }) => ({ ...detail, resource })),
    ]
    const distinct = new Map(wanted.map((one) => [canonical(one as unknown as Json), one]))
    return {
      audience: target.ref,
      aud: target.aud,
      wanted: [...distinct.values()],
      isUnknown: target.isUnknown,
    }
  }

  #resolve(
    audience: NonNullable<TokenRequest['audience']>,
  ): Readonly<{ ref: EntityRef; aud: string; isUnknown: boolean }> {
    if ('ref' in audience) {
      const ref = { type: audience.ref.type, id: audience.ref.id }
      return { ref, aud: sameRef(ref, SYSTEM) ? this.issuer : refKey(ref), isUnknown: false }
    }
    const { uri } = audience
    if (uri === this.issuer) return { ref: SYSTEM, aud: uri, isUnknown: false }
    const known = this.#deps.tokens.resources.find((one) => one.uri === uri)
    if (known !== undefined) return { ref: known.resource, aud: uri, isUnknown: false }
    const id = uri.length <= URI_MOST && isIdentity(uri) ? uri : 'unknown'
    return { ref: { type: 'Resource', id }, aud: uri, isUnknown: true }
  }

  /** What comes of a token of ours is part of it, or of the task that it was issued for (law 5, B29). */
  async #attenuate(token: Token, wanted: readonly Wanted[], audience: EntityRef): Promise<void> {
    const view = await this.#deps.store.read(token.tasks.map((id): Read => ({ kind: 'task', id })))
    const tasks = token.tasks.map((id) => view.get('task', id)?.value).filter((task) => task !== undefined)
    const has = ({ action, resource, properties }: Wanted): boolean =>
      (properties === undefined && token.scope.includes(action) && sameRef(token.audience, resource)) ||
      token.details.some(
        (detail) =>
          detail.action === action &&
          sameRef(detail.resource, resource) &&
          sameJson(detail.properties ?? null, properties ?? null),
      )
    // the bounds of a delegation are not those of its tasks
    const isDelegated = (token.delegations ?? []).length > 0
    const inTasks = ({ action, resource }: Wanted): boolean =>
      !isDelegated && tasks.length > 0 && tasks.every((task: Task) => inScope(task.scope, action, resource))
    const wider = wanted.find((one) => !has(one) && !inTasks(one))
    if (wider !== undefined) {
      throw refuse(
        'invalid_scope',
        `the token that is exchanged is not for ${wider.action} there`,
        refKey(audience),
      )
    }
  }

  async #isSensitive(refs: readonly EntityRef[]): Promise<boolean> {
    const keys = [...new Set(refs.map(refKey))]
    const view = await this.#deps.store.read(keys.map((id): Read => ({ kind: 'entity', id })))
    return keys.some((id) => {
      const entity = view.get('entity', id)?.value
      // what nobody registered counts as critical
      return entity === undefined || entity.deletedAt !== undefined || entity.sensitivity >= SENSITIVE
    })
  }

  // what a token is worth

  /**
   * What a token is worth now, for who may know: the server that it is for, or who may read. The server's look at a token
   * that is good once is its use. `undefined` for everybody else, and of everything else.
   */
  async introspect(viewer: Caller | ClientProof, text: string, arrival: Arrival): Promise<Token | undefined> {
    const party = await this.#viewer(viewer, arrival)
    if (await this.#isOver(party.viewer)) return undefined
    const token = await this.#book.open(text)
    if (token === undefined) return undefined
    const end = await this.#book.end(token)
    // one who has a token for something else speaks for the server only where that is what it is for
    const isItself = party.viewer.scope === undefined && isServerOf(party, token)
    const isServer = isItself || (await this.#observes(party, token))
    if (end !== undefined) {
      if (isServer) await this.#shownAfter(token, end)
      return undefined
    }
    if (!isServer && !(await this.#attempts.may(party.viewer, 'read'))) return undefined
    if (!(await this.#book.isPermitted(token))) return undefined
    if (token.singleUse && isServer && !(await this.#book.use(token))) {
      await this.#shownAfter(token, 'used')
      return undefined
    }
    return token
  }

  /** Somebody has shown a token to its server that is worth nothing any more: its holder, late, or who has a copy. */
  #shownAfter(token: Token, end: TokenEnd): Promise<void> {
    const detail = `token \`${token.id}\`: ${end}`
    const shown = new WritError('ERR_UNAUTHENTICATED', 'a token was shown to its server after its end', {
      problem: 'invalid_token',
      detail,
    })
    return this.refused(shown, token.chain)
  }

  /** Whoever holds a token may end it. What is none of ours, or has ended, is no error (RFC 7009 §2.2). */
  async revoke(by: Caller | ClientProof, text: string, arrival: Arrival): Promise<void> {
    const { viewer } = await this.#viewer(by, arrival)
    const token = await this.#book.open(text)
    if (token === undefined) return
    await this.#book.revoke(token, viewer.id)
  }

  /** Why a token is worth nothing, if it is not. */
  end(token: Token): Promise<TokenEnd | undefined> {
    return this.#book.end(token)
  }

  /** The public keys of access tokens. */
  keys(now: Instant): readonly Readonly<Record<string, string>>[] {
    return this.#book.keys(now)
  }

  /** Forgets tokens and proofs that have ended. */
  tidy(now: Instant): Promise<void> {
    return this.#book.tidy(now)
  }

  /** Tokens that have not been forgotten: the caller's own, all for who may read. */
  async list(caller: Caller, query: { after?: string; limit?: number }): Promise<Page<Token>> {
    const all = await this.#attempts.may(caller, 'read')
    const { limit = 100 } = query
    const self = refKey(caller.subject)
    const isTheirs = ({ chain: [acting], generations }: Token): boolean =>
      refKey(acting as EntityRef) === self && generations[self] === caller.generation
    const items: Token[] = []
    let { after } = query
    for (;;) {
      const page = await this.#deps.store.list('token', {
        limit: all ? limit : AT_ONCE,
        ...(after === undefined ? {} : { after }),
      })
      const found = page.items.map(({ value }) => value)
      items.push(...(all ? found : found.filter(isTheirs)))
      if (all) return { items, next: page.next }
      // where the next page begins is one of their own too: of others not even an id is told (B33)
      const shown = items.slice(0, limit)
      if (items.length > limit) return { items: shown, next: shown.at(-1)?.id }
      if (page.next === undefined) return { items: shown, next: undefined }
      after = page.next
      await breathe()
    }
  }

  async #observes({ viewer }: Readonly<{ viewer: Caller }>, { audience }: Token): Promise<boolean> {
    return this.#attempts.may(viewer, 'observe', audience)
  }

  /** Whether whoever asks is nobody any more: locked, ended, or another than it was. */
  async #isOver({ id, subject, generation, chain = [] }: Caller): Promise<boolean> {
    const parties = [subject, ...chain]
    const view = await this.#deps.store.read(
      parties.map((ref): Read => ({ kind: 'entity', id: refKey(ref) })),
    )
    const { barrier } = this.#deps.decision
    return (
      parties.some((ref) => isOver(view.get('entity', refKey(ref))?.value, view.now)) ||
      (view.get('entity', refKey(subject))?.value.generation ?? 0) !== generation ||
      barrier.denies({ chain: parties, tasks: [], caller: id }) !== undefined
    )
  }

  async #viewer(
    viewer: Caller | ClientProof,
    arrival: Arrival,
  ): Promise<Readonly<{ viewer: Caller; chain: readonly EntityRef[]; registered?: Client }>> {
    if ('subject' in viewer) return { viewer, chain: [viewer.subject] }
    const { now } = await this.#deps.store.read([])
    let party: Party | undefined
    try {
      party = await this.#parties.client(viewer, arrival.url, now)
      if (party === undefined)
        throw refuse('invalid_client', 'this needs a client_assertion, or an Authorization header')
      if (party.jkt !== undefined) throw refuse('invalid_client', 'the assertion is bound to a key')
      if (party.spends !== undefined) await this.#spend([party.spends])
    } catch (error) {
      if (isWritError(error) && isOAuthError(error.problem)) await this.refused(error, party?.chain ?? [], [])
      throw error
    }
    const view = await this.#deps.store.read([{ kind: 'entity', id: refKey(party.chain[0] as EntityRef) }])
    return {
      viewer: callerOf(party, party.chain, [party], view, undefined),
      chain: party.chain,
      ...(party.registered === undefined ? {} : { registered: party.registered }),
    }
  }

  /**
   * What an access token of ours that is for ourselves proves; `undefined` for what is no token of ours. `jkt` is the key
   * that a proof of possession has shown for it.
   */
  async verifyOwn(
    text: string,
    jkt: string | undefined,
  ): Promise<Readonly<{ caller: Caller; token: Token }> | Readonly<{ refused: string }> | undefined> {
    let read: UnverifiedToken
    try {
      read = readAssertion(text, 'invalid_request')
    } catch (error) {
      if (isWritError(error)) return undefined
      throw error
    }
    if (read.claims['iss'] !== this.issuer) return undefined
    const token = await this.#book.open(text)
    if (token === undefined) return { refused: 'token is none that was issued here' }
    if (!sameRef(token.audience, SYSTEM) || token.aud !== this.issuer)
      return { refused: 'token is for another audience' }
    const end = await this.#book.end(token)
    if (end !== undefined) return { refused: `token \`${token.id}\`: ${end}` }
    if (token.jkt !== jkt) return { refused: 'token and proof of possession do not belong together' }
    if (token.singleUse && !(await this.#book.use(token))) return { refused: `token \`${token.id}\`: used` }
    const [subject, ...behind] = token.chain as [EntityRef, ...EntityRef[]]
    const { instigators, workload, provedAt } = token.asked
    return {
      token,
      caller: {
        id: ownCaller(token),
        kind: 'issuer',
        subject,
        generation: token.generations[refKey(subject)] ?? 0,
        ...(behind.length === 0 ? {} : { chain: behind }),
        ...(instigators === undefined ? {} : { instigators }),
        ...(workload === undefined ? {} : { workload }),
        ...(provedAt === undefined ? {} : { provedAt }),
        ...(jkt === undefined ? {} : { confirmed: jkt }),
        // a sign-in has none: whatever its subject may do
        ...(token.decided.length === 0
          ? {}
          : {
              scope: [
                ...token.scope.map((action) => ({ action, resource: token.audience })),
                ...token.details,
              ],
            }),
      },
    }
  }

  /**
   * The key that the proof of possession of an API call shows, and what spends it once the call is known to come from
   * somebody.
   *
   * @throws {WritError} `ERR_UNAUTHENTICATED` with an error of RFC 9449 as its `problem`.
   */
  async possession(
    proof: string,
    request: Readonly<{ method: string; url: string; accessToken: string }>,
  ): Promise<Readonly<{ jkt: string; spend(): Promise<void> }>> {
    const { store } = this.#deps
    const refused = (error: WritError): WritError =>
      new WritError('ERR_UNAUTHENTICATED', error.message, given(error.problem))
    const { now } = await store.read([])
    try {
      const { jkt, spends } = await this.dpop.verify(proof, { ...request, now, nonce: 'optional' })
      const spend = async (): Promise<void> => {
        const first = await store.commit({
          reads: [readOf(spends)],
          // who revokes must not be kept from it by a full disk
          narrowing: true,
          run: (tx) => spendProof(tx, spends),
        })
        if (!first) throw refused(replayed('invalid_dpop_proof'))
      }
      return { jkt, spend }
    } catch (error) {
      throw isWritError(error) && isOAuthError(error.problem) ? refused(error) : error
    }
  }

  // the record

  /** Spends proofs of which nothing came. @throws {WritError} when one has been spent before. */
  async #spend(spends: readonly Spend[]): Promise<void> {
    if (spends.length === 0) return
    await this.#deps.store.commit({
      reads: spends.map(({ proof }) => readOf(proof)),
      run: (tx) => spendAll(tx, spends),
    })
  }

  /** Spends proofs before anything comes of them. */
  async #spendFirst(spends: Spend[]): Promise<void> {
    await this.#spend(spends)
    spends.length = 0
  }

  /** Records a refusal, and spends what came with it. Of many, some are only counted. */
  async refused(
    error: WritError,
    who: readonly EntityRef[] = [],
    proofs: readonly Spend[] = [],
  ): Promise<void> {
    // anybody can make proofs by keys that nobody knows: those of strangers are not kept
    const spends = proofs.flatMap(({ proof }) =>
      who.length > 0 || proof.kind === 'assertion' ? [proof] : [],
    )
    const { now } = await this.#deps.store.read([])
    // a client that asks for a nonce, or how its request stands, has been refused nothing
    const isNews = error.problem !== 'use_dpop_nonce' && error.problem !== 'authorization_pending'
    const noted = who.length > 0 ? this.#noted.known : this.#noted.strangers
    const skipped = isNews ? noted.take(now) : undefined
    if (skipped === undefined && spends.length === 0) return
    const item = {
      reads: spends.map(readOf),
      run: (tx: Transaction): void => {
        for (const proof of spends) spendProof(tx, proof)
        if (skipped === undefined) return
        tx.append({
          kind: 'token.refused',
          refs: who.map(refKey),
          error: error.problem,
          why: error.message,
          ...(error.detail === undefined ? {} : { detail: error.detail }),
          ...(who.length === 0 ? {} : { chain: who.map(refKey) }),
          ...(skipped === 0 ? {} : { uncounted: skipped }),
        })
      },
    }
    try {
      await this.#deps.store.commit(item)
    } catch (failure) {
      // a record that is full makes no refusal another one; a proof that could not be spent does
      if (spends.length > 0 || !isWritError(failure, 'ERR_STORE_FULL', 'ERR_CLOCK_INVALID')) throw failure
      noted.missed(1 + (skipped ?? 0))
    }
  }
}

const given = (problem: string | undefined): { problem?: string } =>
  problem === undefined ? {} : { problem }

/** A proof that could not be spent, when there is something worse to say. */
function unlessRefused(error: unknown): void {
  if (!isWritError(error)) throw error
}

const needsProof = (): WritError =>
  refuse('invalid_dpop_proof', 'a token for this is bound to a key: send a DPoP proof with the request')
