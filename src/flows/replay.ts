/**
 * Recorded decisions through another policy set: what it would have said. Nothing of it is a decision.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import { refKey } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Instant } from '../model/time.ts'
import { inputsOf, recordedOf, redecideInputs, wasEvaluated } from '../decision/redecide.ts'
import type { PolicySet, PolicySource } from '../policy/index.ts'
import type { Store } from '../store/port.ts'
import type { Attempts } from './attempts.ts'
import type { History } from './history.ts'
import type { Checking } from './checking.ts'
import { everything, linesOf } from './versions.ts'

export type ReplayInput = Readonly<{
  source: PolicySource
  since: Instant
  until?: Instant
  /** Most decisions that are replayed. */
  limit?: number
}>

export type FlipExample = Readonly<{ decision: string; at: Instant; resource: string }>

/** Decisions of one subject and action that the draft answers otherwise. */
export type Flip = Readonly<{
  subject: string
  action: string
  from: 'permit' | 'deny'
  to: 'permit' | 'deny'
  count: number
  /** How many of them were challenges: denied, with evidence that would have changed it. */
  challenges: number
  /** Policies of the draft that decide or err now. */
  policies: readonly string[]
  examples: readonly FlipExample[]
}>

export type ReplayReport = Readonly<{
  version: string
  since: Instant
  /** When it was truncated, the instant of the last decision that was looked at. */
  until: Instant
  /** Decisions that were answered again. */
  replayed: number
  flips: readonly Flip[]
  /** Sums over all flips, those that are not listed too. */
  widened: number
  narrowed: number
  /** Denied or permitted before any policy was asked: no set changes that. */
  notEvaluated: number
  /** Could not be answered again, by reason. */
  lost: readonly Readonly<{ why: string; count: number }>[]
  /** There were more, after the last one replayed. */
  truncated: boolean
  /** More groups of flips than are listed. */
  moreFlips: number
}>

export const MOST_REPLAYED = 100_000
export const REPLAYED_BY_DEFAULT = 10_000
const MOST_FLIPS = 500
const MOST_EXAMPLES = 5
const MOST_POLICIES = 10

type Group = {
  -readonly [K in 'subject' | 'action' | 'from' | 'to' | 'count' | 'challenges']: Flip[K]
} & { policies: Set<string>; examples: FlipExample[] }

export class Replays {
  readonly #store: Store
  readonly #checking: Checking
  readonly #attempts: Attempts
  readonly #history: History
  #turn: Promise<void> = Promise.resolve()

  constructor(store: Store, checking: Checking, attempts: Attempts, history: History) {
    this.#store = store
    this.#checking = checking
    this.#attempts = attempts
    this.#history = history
  }

  /**
   * For who may read the record.
   *
   * @throws {WritError} `ERR_FORBIDDEN`; `ERR_POLICY_INVALID` with every problem of the draft.
   */
  async replay(caller: Caller, input: ReplayInput): Promise<ReplayReport> {
    // asked before anything is loaded: what others send must not be worth the work
    if (!(await this.#attempts.may(caller, 'read')))
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not read the log`)
    const { now } = await this.#store.read([])
    const until = Math.min(input.until ?? now, now)
    if (input.since > until) throw new WritError('ERR_INPUT_INVALID', '`since` is after `until`')
    // one at a time: it reads much and must not add up
    const { promise, resolve } = Promise.withResolvers<void>()
    const before = this.#turn
    this.#turn = promise
    await before
    try {
      const { live: inventory } = linesOf((await everything(this.#store)).values())
      const draft = await this.#checking.load(input.source, { inventory })
      return await this.#run(draft, input, until)
    } finally {
      resolve()
    }
  }

  async #run(draft: PolicySet, { since, limit }: ReplayInput, until: Instant): Promise<ReplayReport> {
    const { log } = this.#store
    const most = Math.min(limit ?? REPLAYED_BY_DEFAULT, MOST_REPLAYED)
    const [from, to] = [await log.seqAt(since), await log.seqAt(until + 1)]
    const groups = new Map<string, Group>()
    const lost = new Map<string, number>()
    let [replayed, notEvaluated, seen, truncated] = [0, 0, 0, false]
    let last = until
    const lose = (why: string): undefined => {
      lost.set(why, (lost.get(why) ?? 0) + 1)
    }
    await this.#history.walk(from, to, async (found, rebuild) => {
      // what was pruned may have been a decision; nobody can tell any more
      if ('pruned' in found) return lose('entries were pruned by retention')
      if (found.entry['kind'] !== 'decision') return undefined
      if (seen >= most) {
        truncated = true
        return false
      }
      seen += 1
      last = found.at
      const rebuilt = await rebuild()
      if (!rebuilt.ok) return lose(rebuilt.why)
      const { entry, entities, policy } = rebuilt
      if (!wasEvaluated(entry) || policy === undefined) {
        notEvaluated += 1
        return undefined
      }
      const recorded = recordedOf(entry)
      // the recorded version means the recorded schema too, whatever would be derived today
      const set = draft.version === policy.version ? await this.#history.set(policy) : draft
      const again = redecideInputs(inputsOf(entry, entities), set)
      replayed += 1
      if (again.says === recorded.says) return undefined
      const attempt = entry['attempt'] as unknown as Attempt
      const [subject, action] = [refKey(attempt.subject), attempt.action.name]
      const key = JSON.stringify([subject, action, again.says])
      const group = groups.get(key) ?? {
        subject,
        action,
        from: recorded.says,
        to: again.says,
        count: 0,
        challenges: 0,
        policies: new Set<string>(),
        examples: [],
      }
      groups.set(key, group)
      group.count += 1
      if (entry['outcome'] === 'challenge') group.challenges += 1
      for (const id of [...again.determining, ...again.errors])
        if (group.policies.size < MOST_POLICIES) group.policies.add(id)
      if (group.examples.length < MOST_EXAMPLES) {
        const resource = refKey(attempt.resource)
        group.examples.push({ decision: entry['id'] as string, at: found.at, resource })
      }
      return undefined
    })
    const all = [...groups.values()].sort(
      (a, b) =>
        (a.to === b.to ? 0 : a.to === 'permit' ? -1 : 1) ||
        b.count - a.count ||
        (`${a.subject} ${a.action}` < `${b.subject} ${b.action}` ? -1 : 1),
    )
    const sum = (to: Flip['to']): number =>
      all.filter((group) => group.to === to).reduce((total, { count }) => total + count, 0)
    return {
      version: draft.version,
      since,
      until: truncated ? last : until,
      replayed,
      flips: all.slice(0, MOST_FLIPS).map((group) => ({ ...group, policies: [...group.policies] })),
      widened: sum('permit'),
      narrowed: sum('deny'),
      notEvaluated,
      lost: [...lost].map(([why, count]) => ({ why, count })),
      truncated,
      moreFlips: Math.max(0, all.length - MOST_FLIPS),
    }
  }
}
