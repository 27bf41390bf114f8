/**
 * Who could give an approval: pool membership is a Cedar decision on `Writ::Action::"approve"` with `context.pool`.
 *
 * @module
 */
import type { Entity, EntityRef } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'
import type { Approval } from '../model/request.ts'
import type { Instant } from '../model/time.ts'
import { SECOND } from '../model/time.ts'
import { ownFacts } from '../context/facts.ts'
import { cedarEntities, loadClosure, registered } from '../identity/inventory.ts'
import { personBehind } from '../identity/roots.ts'
import type { PolicySet } from '../policy/index.ts'
import { NO_PROOF } from '../policy/index.ts'
import type { Store } from '../store/port.ts'
import { Picture } from '../store/picture.ts'

/** At most this many people are asked about per pool; larger organisations name smaller groups in the pool's policy. */
export const MAX_PEOPLE = 1_000
const MAX_CACHED = 1_000

export class Givers {
  readonly #store: Store
  readonly #cache = new Map<string, Promise<Members>>()

  constructor(store: Store) {
    this.#store = store
  }

  /** The inventory has changed: nothing that was precomputed holds. */
  changed(): void {
    this.#cache.clear()
  }

  /** Human roots that could approve in `pool` now, without `excluded`. */
  async who(
    policy: PolicySet,
    pool: string,
    resource: EntityRef,
    action: string,
    excluded: readonly string[],
  ): Promise<readonly string[]> {
    const key = `${policy.version}\n${pool}\n${refKey(resource)}\n${action}`
    const { now } = await this.#store.read([])
    const known = this.#cache.get(key)
    let members = await known
    if (members === undefined || now >= members.until) {
      // of those who find it too old at once, one computes
      if (this.#cache.get(key) === known) {
        const computing = this.#members(policy, pool, resource, action)
        this.#cache.set(key, computing)
        computing.catch(() => this.#cache.delete(key))
        if (this.#cache.size > MAX_CACHED) this.#cache.delete(this.#cache.keys().next().value as string)
      }
      members = await (this.#cache.get(key) ?? this.#members(policy, pool, resource, action))
    }
    const others = members.people.filter(({ names }) => !names.some((name) => excluded.includes(name)))
    return [...new Set(others.map(({ root }) => root))]
  }

  /** The pools among `pools` in which `person` may approve `action` on `resource` now. */
  async poolsOf(
    picture: Picture,
    policy: PolicySet,
    person: EntityRef,
    pools: readonly string[],
    resource: EntityRef,
    action: string,
  ): Promise<readonly string[]> {
    await loadClosure(picture, [person, resource])
    const entity = registered(picture, person)
    if (entity === undefined || !isAble(entity, picture.now)) return []
    return pools.filter((pool) => mayApprove(picture, policy, person, pool, resource, action))
  }

  /** Whether an approval still counts: same generation, not locked, still a member of its pool. */
  async still(
    picture: Picture,
    policy: PolicySet,
    approval: Pick<Approval, 'person' | 'generation' | 'pool'>,
    resource: EntityRef,
    action: string,
  ): Promise<boolean> {
    const cut = approval.person.indexOf('/')
    const person = { type: approval.person.slice(0, cut), id: approval.person.slice(cut + 1) }
    await loadClosure(picture, [person])
    if (registered(picture, person)?.generation !== approval.generation) return false
    return (await this.poolsOf(picture, policy, person, [approval.pool], resource, action)).length > 0
  }

  async #members(policy: PolicySet, pool: string, resource: EntityRef, action: string): Promise<Members> {
    const people: Member[] = []
    let until = Infinity
    let after: string | undefined
    let asked = 0
    do {
      const page = await this.#store.list('entity', {
        index: 'entity.kind',
        value: 'human',
        limit: 200,
        ...(after === undefined ? {} : { after }),
      })
      for (const { value: person } of page.items) {
        if ((asked += 1) > MAX_PEOPLE) return { people, until }
        const picture = new Picture(this.#store)
        const pools = await this.poolsOf(picture, policy, person, [pool], resource, action)
        if (pools.length > 0) {
          const { root, people: names } = await personBehind(picture, person)
          people.push({ root, names })
        }
        // what time alone changes must be asked again then: locks, ends, and pools that read the clock
        const changes = [person.endsAt, person.locked?.until].filter(
          (at) => at !== undefined && at > picture.now,
        )
        const head = { principal: person, action: { type: 'Writ::Action', id: 'approve' }, resource }
        const clocked = policy.readsFor(head, cedarEntities(picture, [person, resource])).facts.has('now')
        until = Math.min(until, clocked ? picture.now + SECOND : Infinity, ...(changes as number[]))
      }
      after = page.next
    } while (after !== undefined)
    return { people, until }
  }
}

type Member = Readonly<{ root: string; names: readonly string[] }>

/** People who could approve, and until when that is so if nothing is changed. */
type Members = Readonly<{ people: readonly Member[]; until: Instant }>

/** Whether somebody may act at all: a person, neither locked nor past their end. */
export const isAble = (person: Entity, now: Instant): boolean =>
  person.kind === 'human' &&
  (person.locked === undefined || now >= (person.locked.until ?? Infinity)) &&
  now < (person.endsAt ?? Infinity)

function mayApprove(
  picture: Picture,
  policy: PolicySet,
  person: EntityRef,
  pool: string,
  resource: EntityRef,
  action: string,
): boolean {
  const principal = { type: person.type, id: person.id }
  const { live, unknown } = ownFacts(picture.now, 'writ', [principal], undefined)
  const evaluation = policy.evaluate({
    principal,
    action: { type: 'Writ::Action', id: 'approve' },
    resource: { type: resource.type, id: resource.id },
    context: { pool, action },
    live,
    unknown,
    proof: NO_PROOF,
    entities: cedarEntities(picture, [principal, resource]),
  })
  return evaluation.decision === 'permit'
}
