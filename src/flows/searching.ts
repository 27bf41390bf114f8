/**
 * AuthZEN search: who may do something, on what somebody may, and what somebody may do there. Every candidate is decided
 * as an evaluation of that attempt by that caller would be; candidates come from the inventory, and only those that some
 * permit can reach.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Caller } from '../model/access.ts'
import type { Json } from '../model/canonical.ts'
import { canonical } from '../model/canonical.ts'
import type { Action, EntityRef, Properties, Resource, Subject } from '../model/entity.ts'
import { refKey, sameRef } from '../model/entity.ts'
import { isWritError, WritError } from '../model/errors.ts'
import { analyse } from '../decision/analyse.ts'
import type { DecisionDeps } from '../decision/analyse.ts'
import { CLOCK_TOLERANCE } from '../decision/decide.ts'
import { actionUid } from '../decision/redecide.ts'
import { cedarEntities, loadClosure, registered } from '../identity/inventory.ts'
import type { PolicySet } from '../policy/index.ts'
import { hex, sha256 } from '../store/hash.ts'
import { compareIds } from '../store/order.ts'
import type { Page, Stored } from '../store/port.ts'
import { Picture } from '../store/picture.ts'
import type { Attempts } from './attempts.ts'
import { toAttempt } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { AttemptInput } from './port.ts'

type Open = Readonly<{ type: string; properties?: Properties }>

/** What is searched for, with the type of what is left open. */
export type SearchInput = Readonly<
  { context?: Properties } & (
    | { what: 'subject'; subject: Open; action: Action; resource: Resource }
    | { what: 'resource'; subject: Subject; action: Action; resource: Open }
    | { what: 'action'; subject: Subject; resource: Resource }
  )
>

export type SearchOptions = Readonly<{
  /** `next` of the page before. */
  token?: string
  /** At most 1,000. */
  limit?: number
  /** Told of work beyond what one call is worth. @throws when the caller has had too much of it */
  charge?: (calls: number) => void
}>

/** `ids` are those of entities of the type that was asked for, or names of actions. */
export type Found = Readonly<{
  ids: readonly string[]
  /** Where to go on, sealed for this caller and this search; absent when there are no more. */
  next?: string
  /** How many candidates were decided for this page. */
  decided: number
}>

/** Candidates that one page decides; then it ends, whatever it has. */
export const CANDIDATES_MOST = 2_000
const RESULTS_MOST = 1_000
/** How long a page works before it lets others, in milliseconds. */
const SLICE = 4
/** Candidates that weigh as much as one call. */
const WORTH = 10
/** Entities that are looked at on the way to candidates and weigh as much as one. */
const LOOKS = 10
/** Entities read at once. */
const AT_ONCE = 128
/** Tokens are padded to a multiple of this, so that their length does not tell how long a hidden id is. */
const PADDING = 128

export class Searching {
  readonly #deps: FlowDeps
  /** The same, but nobody is told what evidence is missing. */
  readonly #asking: DecisionDeps
  readonly #attempts: Attempts

  constructor(deps: FlowDeps, attempts: Attempts) {
    this.#deps = deps
    this.#asking = { ...deps.decision, mayChallenge: () => false }
    this.#attempts = attempts
  }

  /**
   * One page of what is permitted. An input that nobody registered, a type that nobody knows and a subject that the
   * caller may not speak for have no results.
   *
   * @throws {WritError} `ERR_INPUT_INVALID` for a token that is not of this caller and this search.
   */
  async search(caller: Caller, input: SearchInput, options: SearchOptions = {}): Promise<Found> {
    const limit = Math.min(options.limit ?? RESULTS_MOST, RESULTS_MOST)
    const label = `search/${hex(sha256(canonical([caller.id, parametersOf(input)])))}`
    const { token } = options
    const from = token === undefined || token === '' ? '' : this.#open(label, token)
    // refused here and not with a candidate, which would tell that there is one
    toAttempt(attemptOn(input, ''))
    const ids: string[] = []
    let decided = 0
    let last = from
    const page = (after: string): Found => ({ ids, next: this.#seal(label, after), decided })
    const scope = await this.#scope(caller, input)
    if (scope === undefined) return { ids, decided }
    const work = new Work(options.charge)
    try {
      for await (const id of this.#candidates(scope, input, from, work)) {
        if (decided >= CANDIDATES_MOST) return page(last)
        await work.did(1)
        // what nobody registered is looked at like everything else, so that it cannot be told from what is denied
        const permitted = (await this.#permits(caller, attemptOn(input, id))) && scope.isRegistered
        decided += 1
        // one more than was asked for is looked for, so that who is sent on finds something
        if (permitted && ids.length === limit) return page(ids.at(-1) ?? from)
        if (permitted) ids.push(id)
        last = id
      }
    } catch (error) {
      if (decided > 0 && isWritError(error, 'ERR_RATE_LIMITED')) return page(last)
      throw error
    }
    return { ids, decided }
  }

  /** Whether `evaluate` would permit it now. */
  async #permits(caller: Caller, input: AttemptInput): Promise<boolean> {
    const attempt = await this.#attempts.arrived(input, caller)
    try {
      const { outcome, tasks, grant } = await analyse(this.#asking, caller, attempt, 'question')
      if (outcome !== 'permit') return false
      // what the commit of an evaluation would look at beside
      const barred = this.#asking.barrier.denies({
        chain: [...attempt.chain, caller.subject],
        tasks: tasks.map(({ id }) => id),
        grant: grant?.id ?? attempt.grant,
        delegation: attempt.delegation,
        caller: caller.id,
      })
      return barred === undefined
    } catch (error) {
      // a hierarchy that cannot be followed: the evaluation is an error, which permits nothing
      if (isWritError(error, 'ERR_TOO_LARGE')) return false
      throw error
    }
  }

  /** What candidates are looked for with; nothing where nothing can be permitted, whatever there is. */
  async #scope(caller: Caller, input: SearchInput): Promise<Scope | undefined> {
    const picture = new Picture(this.#deps.store)
    const known = [
      ...(input.what === 'subject' ? [] : [input.subject]),
      ...(input.what === 'resource' ? [] : [input.resource]),
    ]
    await picture.load([{ kind: 'meta', id: 'policy' }])
    await loadClosure(picture, known)
    const version = picture.get('meta', 'policy')?.value['version'] as string | undefined
    const policy = version === undefined ? undefined : this.#asking.policies.get(version)
    if (policy === undefined || this.#deps.store.clockBehind() > CLOCK_TOLERANCE) return undefined
    const isTrusted = caller.pep?.subjects.some((one) => one === '*' || one === input.subject.type) ?? false
    const isOwn =
      input.what === 'subject'
        ? input.subject.type === caller.subject.type
        : sameRef(input.subject, caller.subject)
    if (!isTrusted && !isOwn) return undefined
    return {
      policy,
      entities: cedarEntities(picture, known),
      isRegistered: known.every((ref) => registered(picture, ref) !== undefined),
      // whoever speaks for itself alone learns about itself alone
      ...(isTrusted ? {} : { alone: caller.subject }),
    }
  }

  /** Ids after `from`, in order, of all that could be permitted; never too few. */
  async *#candidates(
    { policy, entities, alone }: Scope,
    input: SearchInput,
    from: string,
    work: Work,
  ): AsyncGenerator<string> {
    if (input.what === 'action') {
      yield* actionsOf(policy, input.subject.type, input.resource.type).filter(after(from))
      return
    }
    const action = actionUid(input.action.name)
    if (!applies(policy, action, input.subject.type, input.resource.type)) return
    const { type } = input.what === 'resource' ? input.resource : input.subject
    if (input.what === 'subject' && alone !== undefined) {
      yield* await this.#registered([alone].filter(({ id }) => after(from)(id)))
      return
    }
    const { any, named, below } =
      input.what === 'resource'
        ? policy.reach({ action, principal: bare(input.subject) }, type, entities)
        : policy.reach({ action, resource: bare(input.resource) }, type, entities)
    if (any) {
      for await (const found of this.#listed('entity.type', type, `${type}/${from}`, work)) yield found.id
      return
    }
    const members = await this.#members(below, work)
    const ids = new Set(members.filter((ref) => ref.type === type).map(({ id }) => id))
    const others = [...named, ...below].map(uidOf).filter((ref) => ref.type === type && !ids.has(ref.id))
    for (const id of await this.#registered(others)) ids.add(id)
    yield* [...ids].filter(after(from)).sort(compareIds)
  }

  /** Everything that is in one of `groups`, at any depth; some of it more than once. */
  async #members(groups: ReadonlySet<string>, work: Work): Promise<readonly EntityRef[]> {
    const found: EntityRef[] = []
    const above = new Set([...groups].map(uidOf).map(refKey))
    // what is added on the way has its turn as well
    for (const group of above) {
      for await (const ref of this.#listed('entity.parent', group, '', work)) {
        found.push(ref)
        above.add(refKey(ref))
      }
    }
    return found
  }

  /** What an index lists, in order, read in parts that let others run. */
  async *#listed(
    index: 'entity.type' | 'entity.parent',
    value: string,
    from: string,
    work: Work,
  ): AsyncGenerator<EntityRef> {
    for (let next: string | undefined = from; next !== undefined;) {
      const page: Page<Stored<'entity'>> = await this.#deps.store.list('entity', {
        index,
        value,
        after: next,
        limit: AT_ONCE,
      })
      await work.did((1 + page.items.length) / LOOKS)
      for (const { value: entity } of page.items) yield bare(entity)
      next = page.next
    }
  }

  /** Ids of those `refs` that are in the inventory. */
  async #registered(refs: readonly EntityRef[]): Promise<readonly string[]> {
    const ids: string[] = []
    for (let at = 0; at < refs.length; at += AT_ONCE) {
      const picture = new Picture(this.#deps.store)
      const some = refs.slice(at, at + AT_ONCE)
      await picture.load(some.map((ref) => ({ kind: 'entity' as const, id: refKey(ref) })))
      for (const ref of some) if (registered(picture, ref) !== undefined) ids.push(ref.id)
      await breathe()
    }
    return ids
  }

  #seal(label: string, after: string): string {
    const text = JSON.stringify(after)
    const padded = text.padEnd(Math.ceil(Buffer.byteLength(text) / PADDING) * PADDING, ' ')
    return Buffer.from(this.#deps.seal(label, padded), 'base64').toString('base64url')
  }

  #open(label: string, token: string): string {
    try {
      const sealed = Buffer.from(token, 'base64url')
      if (sealed.toString('base64url') === token) {
        return JSON.parse(this.#deps.open(label, sealed.toString('base64'))) as string
      }
    } catch (error) {
      if (!isWritError(error, 'ERR_CONFIG_INVALID')) throw error
    }
    throw new WritError('ERR_INPUT_INVALID', '`page.token` is not of this caller and this search', {
      hint: 'send everything but `page` as with the first page, or begin again without a token',
    })
  }
}

/** What candidates are looked for with: the policies, and what is known of the sides that are given. */
type Scope = Readonly<{
  policy: PolicySet
  entities: ReturnType<typeof cedarEntities>
  /** Whether those sides are in the inventory. */
  isRegistered: boolean
  /** The only subject that the caller may learn about, unless it speaks for others of the type. */
  alone?: EntityRef
}>

/** Charges for work as it is done, and lets others run every few milliseconds. */
class Work {
  readonly #charge: SearchOptions['charge']
  #done = 0
  #charged = 0
  #since = performance.now()

  constructor(charge: SearchOptions['charge']) {
    this.#charge = charge
  }

  /** @throws {WritError} `ERR_RATE_LIMITED` when the caller has had too much of it */
  async did(candidates: number): Promise<void> {
    this.#done += candidates
    // the call itself was charged where it came in
    const due = Math.ceil(this.#done / WORTH) - 1 - this.#charged
    if (due > 0) {
      this.#charge?.(due)
      this.#charged += due
    }
    if (performance.now() - this.#since < SLICE) return
    await breathe()
    this.#since = performance.now()
  }
}

const bare = ({ type, id }: EntityRef): EntityRef => ({ type, id })

const after =
  (from: string) =>
  (id: string): boolean =>
    compareIds(id, from) > 0

/** What must not change from page to page. */
function parametersOf(input: SearchInput): Json {
  const { context, ...rest } = input
  return { ...rest, context: context ?? {} }
}

function attemptOn(input: SearchInput, id: string): AttemptInput {
  const context = input.context === undefined ? {} : { context: input.context }
  const { subject, resource } = input
  switch (input.what) {
    case 'subject':
      return { subject: { ...subject, id }, action: input.action, resource: input.resource, ...context }
    case 'resource':
      return { subject: input.subject, action: input.action, resource: { ...resource, id }, ...context }
    case 'action':
      return { subject: input.subject, action: { name: id }, resource: input.resource, ...context }
  }
}

/** The entity in what `uidText` made. */
function uidOf(text: string): EntityRef {
  const cut = text.indexOf('::"')
  return { type: text.slice(0, cut), id: JSON.parse(text.slice(cut + 2)) as string }
}

/** Whether the schema knows the action for these types: without that nothing is permitted. */
function applies(policy: PolicySet, action: EntityRef, subject: string, resource: string): boolean {
  const known = policy.actions.find(({ uid }) => sameRef(uid, action))
  return known !== undefined && known.principals.has(subject) && known.resources.has(resource)
}

/** Names of the actions that the schema knows for these types, in order. */
function actionsOf(policy: PolicySet, subject: string, resource: string): string[] {
  return policy.actions
    .filter(({ principals, resources }) => principals.has(subject) && resources.has(resource))
    .map(({ uid }) => nameOf(uid))
    .filter((name) => name !== undefined)
    .sort(compareIds)
}

/** What an action is called on the wire; nothing for one that no attempt can name. */
function nameOf(uid: EntityRef): string | undefined {
  const name = uid.type === 'Writ::Action' ? `Writ::${uid.id}` : uid.id
  const back = actionUid(name)
  return sameRef(back, uid) ? name : undefined
}
