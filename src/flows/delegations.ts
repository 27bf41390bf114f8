/**
 * Delegations: a person lets an agent or a workload act for them, for a time and within bounds. They are made in person,
 * narrow only, and everything under one ends with it (law 2).
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Caller } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import type { EntityRef } from '../model/entity.ts'
import { isOver, refKey, sameRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Delegation } from '../model/identity.ts'
import { endingSpan } from '../model/records.ts'
import type { Instant, Millis } from '../model/time.ts'
import { DAY, HOUR, MINUTE } from '../model/time.ts'
import { analyse } from '../decision/analyse.ts'
import { CLOCK_TOLERANCE, clockBehind, stillRestored } from '../decision/decide.ts'
import { delegationEnded } from '../identity/chain.ts'
import { endTasks } from '../lives/ending.ts'
import type { Page, Read, Stored, Transaction } from '../store/port.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { Narrower } from './narrow.ts'
import type { Narrowing } from './port.ts'

/** How long a delegation lives where its maker does not say. */
export const DELEGATION_LIFE: Millis = 8 * HOUR
/** The longest that one may live. */
export const DELEGATION_MOST: Millis = 90 * DAY
/** Delegations that one person, or one actor, may have at once. */
export const MAX_DELEGATIONS = 1_000

export type DelegationInput = Readonly<{
  actor: EntityRef
  actions?: readonly string[]
  resources?: readonly EntityRef[]
  life?: Millis
  reason?: string
}>

/** A delegation as it is now; `live` says whether it gives anything. */
export type DelegationState = Delegation & Readonly<{ live: boolean }>

export class Delegations {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  readonly #narrower: Narrower
  /** The first span of ends that has not been looked at. */
  #swept: number | undefined

  constructor(deps: FlowDeps, attempts: Attempts, narrower: Narrower) {
    this.#deps = deps
    this.#attempts = attempts
    this.#narrower = narrower
  }

  /**
   * Whoever delegates does it in their own session. Policy is asked for `Writ::Action::"delegate"` on the actor if any
   * policy names that action.
   *
   * @throws {WritError} `ERR_FORBIDDEN`, `ERR_NOT_FOUND` for an actor that nobody registered, `ERR_INPUT_INVALID`.
   */
  async make(caller: Caller, input: DelegationInput): Promise<DelegationState> {
    const { store, decision } = this.#deps
    if (caller.kind !== 'session' || caller.chain !== undefined) {
      throw new WritError('ERR_FORBIDDEN', 'only a person in their own session can delegate', {
        hint: 'sign in; what a machine has is not passed on',
      })
    }
    checkBounds(input)
    const delegator = { type: caller.subject.type, id: caller.subject.id }
    const actor = { type: input.actor.type, id: input.actor.id }
    const id = decision.newId('dlg')
    let made: Delegation | undefined
    const reads: Read[] = [delegator, actor].flatMap((ref): Read[] => [
      { kind: 'entity', id: refKey(ref) },
      { index: 'delegation.party', value: refKey(ref) },
    ])
    const run = (tx: Transaction): undefined => {
      const generations: Record<string, number> = {}
      for (const ref of [delegator, actor]) {
        const key = refKey(ref)
        const entity = tx.get('entity', key)?.value
        if (entity === undefined || entity.deletedAt !== undefined) {
          throw new WritError('ERR_NOT_FOUND', `there is no \`${key}\` in the inventory`)
        }
        const fits = sameRef(ref, delegator)
          ? entity.kind === 'human'
          : entity.kind === 'agent' || entity.kind === 'workload'
        if (!fits) {
          throw new WritError('ERR_INPUT_INVALID', `\`${key}\` can be no party of this delegation`, {
            hint: 'people delegate to agents and workloads',
          })
        }
        if (isOver(entity, tx.now) || decision.barrier.bars('subject', key)) {
          throw new WritError('ERR_FORBIDDEN', `\`${key}\` is locked or has ended`)
        }
        if (ref === delegator && entity.generation !== caller.generation) {
          throw new WritError('ERR_FORBIDDEN', `this session is of an earlier \`${key}\``)
        }
        const open = tx.scan('delegation.party', key).filter(({ value }) => tx.now < value.endsAt)
        if (open.length >= MAX_DELEGATIONS) {
          throw new WritError('ERR_TOO_LARGE', `\`${key}\` has ${MAX_DELEGATIONS} delegations already`, {
            hint: 'revoke those that are done with',
          })
        }
        generations[key] = entity.generation
      }
      const delegation: Delegation = {
        id,
        delegator,
        actor,
        ...(input.actions === undefined ? {} : { actions: [...new Set(input.actions)] }),
        ...(input.resources === undefined
          ? {}
          : { resources: input.resources.map((ref) => ({ type: ref.type, id: ref.id })) }),
        generations,
        ...(input.reason === undefined ? {} : { reason: input.reason }),
        createdBy: caller.id,
        createdAt: tx.now,
        endsAt: tx.now + (input.life ?? DELEGATION_LIFE),
      }
      made = delegation
      tx.put('delegation', id, delegation)
      tx.append({
        kind: 'delegation.made',
        refs: [id, refKey(delegator), refKey(actor)],
        delegation: id,
        delegator: refKey(delegator),
        actor: refKey(actor),
        ...(delegation.actions === undefined ? {} : { actions: [...delegation.actions] }),
        ...(delegation.resources === undefined ? {} : { resources: delegation.resources.map(refKey) }),
        generations,
        ...(delegation.reason === undefined ? {} : { reason: delegation.reason }),
        ...(caller.dev === true ? { dev: true } : {}),
        by: caller.id,
        ends_at: delegation.endsAt,
      })
      return undefined
    }
    if (await this.#isGoverned()) {
      await this.#attempts.administer(caller, 'delegate', { resource: actor, also: { reads, run } })
    } else {
      await this.#unlessRefused(caller)
      await store.commit({
        reads,
        run: (tx) => {
          if (store.clockBehind() > CLOCK_TOLERANCE) throw clockBehind(store.clockBehind())
          const barred = decision.barrier.denies({ chain: [delegator], tasks: [], caller: caller.id })
          if (barred !== undefined || decision.barrier.restored)
            throw new WritError('ERR_FORBIDDEN', 'this session has ended')
          run(tx)
        },
      })
    }
    return { ...(made as unknown as Delegation), live: true }
  }

  /** @throws {WritError} `ERR_NOT_FOUND` when unknown or not the caller's to see. */
  async show(caller: Caller, id: string): Promise<DelegationState> {
    const found = await this.#find(id)
    if (found === undefined || !(await this.#maySee(caller, found))) throw notFound(id)
    return this.#stateOf(found)
  }

  /** Of those that `subject` (by default the caller) gives or has, all for who may read without one; newest ids last. */
  async list(
    caller: Caller,
    query: { subject?: EntityRef; live?: boolean; after?: string; limit?: number },
  ): Promise<Page<DelegationState>> {
    const all = await this.#attempts.may(caller, 'read')
    const { after, limit = 100 } = query
    const party = query.subject ?? (all ? undefined : caller.subject)
    const page = await this.#deps.store.list('delegation', {
      // what was revoked is under no party: whoever wants to see it looks at everything
      ...(party === undefined || query.live !== true
        ? {}
        : { index: 'delegation.party' as const, value: refKey(party) }),
      ...(after === undefined ? {} : { after }),
      limit,
    })
    const items: DelegationState[] = []
    for (const { value } of page.items) {
      const isParty = party === undefined || [value.delegator, value.actor].some((ref) => sameRef(ref, party))
      if (!isParty || !(all || (await this.#maySee(caller, value)))) continue
      const state = await this.#stateOf(value)
      if (query.live !== true || state.live) items.push(state)
    }
    return { items, next: page.next }
  }

  /**
   * Takes a delegation back, with every task, grant, credential and open request under it: its delegator, its actor, the
   * actor's owner, and who may revoke either.
   */
  async revoke(caller: Caller, id: string, reason: string): Promise<Narrowing> {
    const found = await this.#find(id)
    const allowed =
      found !== undefined &&
      ((await this.#isTheirs(caller, found)) ||
        (await this.#attempts.mayRevoke(caller, found.delegator)) ||
        (await this.#attempts.mayRevoke(caller, found.actor)))
    if (!allowed) throw notFound(id)
    const { store } = this.#deps
    const indexed = (['task.delegation', 'grant.delegation', 'request.delegation'] as const).map((index) => ({
      index,
      value: id,
    }))
    const { grants, credentials, recorded } = await this.#narrower.narrow({
      barred: [{ kind: 'delegation', id }],
      find: async () => {
        const view = await store.read(indexed)
        const [tasks = [], given = [], requests = []] = indexed.map(({ index, value }) =>
          view.scan(index, value).map((stored) => stored.id),
        )
        return { tasks, grants: given, requests }
      },
      reads: [{ kind: 'delegation', id }],
      apply: (tx, below) => {
        const delegation = tx.get('delegation', id)?.value
        if (delegation !== undefined && delegation.revokedAt === undefined) {
          tx.put('delegation', id, { ...delegation, revokedAt: tx.now })
          tx.append({
            kind: 'delegation.revoked',
            refs: [id, refKey(delegation.delegator), refKey(delegation.actor)],
            delegation: id,
            reason,
            by: caller.id,
          })
        }
        return endTasks(tx, below, below.tasks, 'cancelled', { reason, by: caller.id })
      },
    })
    return { denied: true, recorded, grants, credentials }
  }

  /** Takes those whose time is over from under their parties, who may have had many. */
  async tidy(now: Instant): Promise<void> {
    const last = Number(endingSpan(now)) - 1
    // after a start nobody knows what was noted before: everything is looked at once
    if (this.#swept === undefined) await this.#note({}, last)
    for (let span = this.#swept ?? last; span <= last; span += 1) {
      await this.#note({ index: 'delegation.ends', value: String(span) }, last)
    }
    this.#swept = last + 1
  }

  async #note(where: Readonly<{ index?: 'delegation.ends'; value?: string }>, last: number): Promise<void> {
    const { store } = this.#deps
    const isOver = ({ revokedAt, sweptAt, endsAt }: Delegation): boolean =>
      revokedAt === undefined && sweptAt === undefined && Number(endingSpan(endsAt)) <= last
    let after: string | undefined
    do {
      const page: Page<Stored<'delegation'>> = await store.list('delegation', {
        ...where,
        limit: 500,
        ...(after === undefined ? {} : { after }),
      })
      const over = page.items.filter(({ value }) => isOver(value))
      if (over.length > 0) {
        await store.commit({
          reads: over.map(({ id }): Read => ({ kind: 'delegation', id })),
          run: (tx) => {
            for (const { id } of over) {
              const current = tx.get('delegation', id)?.value
              if (current !== undefined && isOver(current))
                tx.put('delegation', id, { ...current, sweptAt: tx.now })
            }
          },
        })
      }
      after = page.next
      await breathe()
    } while (after !== undefined)
  }

  /** Whether a policy in force names the action: it alone then says who may. */
  async #isGoverned(): Promise<boolean> {
    const { store, decision } = this.#deps
    const view = await store.read([{ kind: 'meta', id: 'policy' }])
    const version = view.get('meta', 'policy')?.value['version']
    const set = typeof version === 'string' ? decision.policies.get(version) : undefined
    // a set that is not there permits nothing, this neither
    if (set === undefined) return true
    return set.policies.some(
      ({ scope: { action } }) =>
        !action.any && action.oneOf.some(({ type, id }) => type === 'Writ::Action' && id === 'delegate'),
    )
  }

  /** What denies before policy is asked denies here too: a lock, an end, a session that is over, a restore. */
  async #unlessRefused(caller: Caller): Promise<void> {
    const { decision } = this.#deps
    if (decision.barrier.restored) throw stillRestored()
    const attempt: Attempt = {
      subject: caller.subject,
      action: { name: 'Writ::delegate' },
      resource: { type: 'Writ::System', id: 'writ' },
      context: {},
      chain: [{ type: caller.subject.type, id: caller.subject.id }],
    }
    const { reason } = await analyse(decision, caller, attempt, 'question')
    if (reason === 'policy_denied') return
    throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not delegate now`, { detail: reason })
  }

  async #isTheirs(caller: Caller, { delegator, actor }: Delegation): Promise<boolean> {
    if (sameRef(caller.subject, delegator) || sameRef(caller.subject, actor)) return true
    const key = refKey(actor)
    const owner = (await this.#deps.store.read([{ kind: 'entity', id: key }])).get('entity', key)?.value.owner
    return owner !== undefined && sameRef(owner, caller.subject)
  }

  async #maySee(caller: Caller, delegation: Delegation): Promise<boolean> {
    return (await this.#isTheirs(caller, delegation)) || this.#attempts.may(caller, 'read')
  }

  async #stateOf(delegation: Delegation): Promise<DelegationState> {
    const view = await this.#deps.store.read(
      Object.keys(delegation.generations).map((id): Read => ({ kind: 'entity', id })),
    )
    const generationOf = (key: string): number => view.get('entity', key)?.value.generation ?? 0
    const barred = this.#deps.decision.barrier.bars('delegation', delegation.id)
    return { ...delegation, live: !barred && !delegationEnded(delegation, generationOf, view.now) }
  }

  async #find(id: string): Promise<Delegation | undefined> {
    return (await this.#deps.store.read([{ kind: 'delegation', id }])).get('delegation', id)?.value
  }
}

/** @throws {WritError} `ERR_INPUT_INVALID`. */
function checkBounds({ actions, resources, life = DELEGATION_LIFE }: DelegationInput): void {
  if (life < MINUTE || life > DELEGATION_MOST) {
    throw new WritError('ERR_INPUT_INVALID', '`ttl` must be between 1m and 90d')
  }
  if (actions?.length === 0 || resources?.length === 0) {
    throw new WritError('ERR_INPUT_INVALID', 'a bound that is there names at least one thing')
  }
  if (actions?.some((action) => action.startsWith('Writ::')) === true) {
    throw new WritError('ERR_INPUT_INVALID', 'the administration of Writ cannot be delegated')
  }
}

const notFound = (id: string): WritError => new WritError('ERR_NOT_FOUND', `there is no delegation \`${id}\``)
