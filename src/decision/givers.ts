/**
 * Who could give an approval: pool membership is a Cedar decision on `Writ::Action::"approve"` with `context.pool`.
 *
 * @module
 */
import type { Entity, EntityRef } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'
import type { Approval } from '../model/request.ts'
import type { Instant } from '../model/time.ts'
import { ownFacts } from '../context/facts.ts'
import { cedarEntities, loadClosure, registered } from '../identity/inventory.ts'
import type { PolicySet } from '../policy/index.ts'
import type { Store } from '../store/port.ts'
import { Picture } from '../store/picture.ts'

/** At most this many people are asked about per pool; larger organisations name smaller groups in the pool's policy. */
export const MAX_PEOPLE = 1_000
const MAX_CACHED = 1_000

export class Givers {
  readonly #store: Store
  readonly #cache = new Map<string, Promise<readonly string[]>>()

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
    let members = this.#cache.get(key)
    if (members === undefined) {
      members = this.#members(policy, pool, resource, action)
      this.#cache.set(key, members)
      const computed = members
      computed.catch(() => this.#cache.delete(key))
      if (this.#cache.size > MAX_CACHED) this.#cache.delete(this.#cache.keys().next().value as string)
    }
    return (await members).filter((root) => !excluded.includes(root))
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

  async #members(
    policy: PolicySet,
    pool: string,
    resource: EntityRef,
    action: string,
  ): Promise<readonly string[]> {
    const members: string[] = []
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
        if ((asked += 1) > MAX_PEOPLE) return members
        const pools = await this.poolsOf(new Picture(this.#store), policy, person, [pool], resource, action)
        if (pools.length > 0) members.push(refKey(person))
      }
      after = page.next
    } while (after !== undefined)
    return members
  }
}

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
    proof: { approvals: {}, justification: false },
    entities: cedarEntities(picture, [principal, resource]),
  })
  return evaluation.decision === 'permit'
}
