/**
 * Continuous evaluation: the grants that read what has changed are analysed again as they were asked for, a few at a time
 * so that everybody else gets their turn. What would no longer be permitted ends, what ends earlier now is shortened, and
 * what it reads now is kept. Decisions never wait for it: each of them tests what it read itself. What ends otherwise
 * and may be very many at once, as when their time is over, ends here too.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Attempt } from '../model/attempt.ts'
import { refKey } from '../model/entity.ts'
import type { Grant, GrantEnd } from '../model/grant.ts'
import type { Millis } from '../model/time.ts'
import type { Analysis } from '../decision/analyse.ts'
import { analyse } from '../decision/analyse.ts'
import { dependenciesOf, endNow, lockOn, ownersOf } from '../decision/dependencies.ts'
import { endGrants } from '../lives/ending.ts'
import type { Read, Transaction } from '../store/port.ts'
import type { FlowDeps } from './deps.ts'
import type { Narrower } from './narrow.ts'
import type { Affected } from './watch.ts'

/** Analysed before other work gets a turn. */
const SLICE = 8
/** Analyses under way, as one may wait for a source of facts; and the most grants that end in one commit. */
const AT_ONCE = 64
/** As many end in one commit as take so long, for whatever is written with it waits for all of them. */
const ENDING: Millis = 2
/** So many at least. */
const FEWEST = 4

type Over = Affected &
  Readonly<{
    end: GrantEnd
    reason: string
    by: string
    owners: readonly string[]
    lock: string | undefined
    /** Whoever waits for it, and does it again where it fails. */
    waiting?: PromiseWithResolvers<boolean>
  }>

export class Reacting {
  readonly #deps: Pick<FlowDeps, 'store' | 'decision' | 'watch' | 'log'>
  readonly #narrower: Narrower
  readonly #analyses = new Set<Promise<void>>()
  /** One at a time, and the next has all that were found over meanwhile. */
  #ending: Promise<void> | undefined
  /** How many take `ENDING`. */
  #most = FEWEST
  /** Found to be over, still to be ended. */
  #over: Over[] = []
  /** What could not be looked at, or must not be yet. */
  #again: Affected[] = []
  #running: Promise<void> | undefined
  #started = false
  #stopped = false

  constructor(deps: Pick<FlowDeps, 'store' | 'decision' | 'watch' | 'log'>, narrower: Narrower) {
    this.#deps = deps
    this.#narrower = narrower
    deps.watch.onWork(() => this.#wake())
  }

  /** Looks at all there is: what changed while nobody ran, or before a crash, is found so. */
  start(): void {
    this.#started = true
    this.#deps.watch.all('looked at again after a start')
  }

  /** Looks again at what could not be looked at before. */
  retry(): void {
    for (const { id, why } of this.#again.splice(0)) this.#deps.watch.again(id, why)
  }

  /** Ends one, whatever an analysis would say; resolves when that is in effect, with whether it is on the record. */
  end(id: string, cause: Readonly<{ end: GrantEnd; reason: string; by: string }>): Promise<boolean> {
    const waiting = Promise.withResolvers<boolean>()
    const turn = this.#deps.watch.turnOf(id)
    this.#over.push({ ...cause, id, why: cause.reason, turn, owners: [], lock: undefined, waiting })
    this.#run()
    return waiting.promise
  }

  /** Whether something is being looked at or ended. */
  get isBusy(): boolean {
    return this.#running !== undefined
  }

  /** Resolves when nothing is waiting or under way but what is to be tried again. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.idle()
  }

  #wake(): void {
    if (this.#looks) this.#run()
  }

  get #looks(): boolean {
    return this.#started && !this.#stopped
  }

  #run(): void {
    if (this.#running !== undefined) return
    this.#running = this.#work().finally(() => {
      this.#running = undefined
      if (this.#deps.watch.isWaiting) this.#wake()
    })
  }

  async #work(): Promise<void> {
    for (;;) {
      // whoever made the change gets their answer first
      await breathe()
      // nothing is looked at for which there is no room among what is over
      if (this.#looks && this.#over.length < AT_ONCE)
        for (const one of this.#deps.watch.take(SLICE)) track(this.#analyses, this.#look(one))
      if (this.#over.length > 0)
        this.#ending ??= this.#end().finally(() => {
          this.#ending = undefined
        })
      const underWay = [...this.#analyses, ...(this.#ending === undefined ? [] : [this.#ending])]
      const isMore = this.#looks && this.#deps.watch.isWaiting
      if (underWay.length === 0 && this.#over.length === 0 && !isMore) return
      const isFull = this.#analyses.size >= AT_ONCE || this.#over.length >= AT_ONCE
      if (underWay.length > 0 && (isFull || !isMore)) await Promise.race(underWay)
    }
  }

  /** Analyses one again. Never throws: what fails is looked at again later. */
  async #look({ id, why, turn }: Affected): Promise<void> {
    try {
      const { store, decision } = this.#deps
      const grant = (await store.read([{ kind: 'grant', id }])).get('grant', id)?.value
      if (grant?.state !== 'active') return
      const attempt = { ...(grant.analysed as unknown as Attempt), grant: id }
      const analysis = await analyse(decision, grant.asked, attempt, {
        again: grant,
        own: grant.counted ?? 0,
      })
      // what came back with a backup waits for somebody to look at it
      if (analysis.reason === 'restored') this.#again.push({ id, why, turn })
      else if (analysis.outcome === 'permit') await this.#keep(grant, analysis, why)
      else {
        const lock = lockOn(analysis, grant)
        // barred by a lock that is not on the record yet: that will have it looked at again, and says why
        if (analysis.reason === 'locked' && lock === undefined) {
          this.#again.push({ id, why, turn })
          return
        }
        const reason = lock === undefined ? `${why}: ${analysis.reason}` : `locked: ${lock.reason}`
        const owners = ownersOf(analysis)
        this.#over.push({ id, why, turn, end: 'revoked', reason, by: 'writ', owners, lock: lock?.id })
      }
    } catch (error) {
      this.#deps.log('error', 'a grant could not be analysed again and is tried again', { grant: id, error })
      this.#again.push({ id, why, turn })
    }
  }

  /** Notes what it reads now, and when it ends now (law 3). */
  async #keep(grant: Grant, analysis: Analysis, why: string): Promise<void> {
    const endsAt = endNow(this.#deps.decision, grant, analysis)
    const now = dependenciesOf(analysis, endsAt)
    if (endsAt === grant.endsAt && sameDependencies(grant, now)) return
    const { id } = grant
    const isStale = await this.#deps.store.commit({
      reads: [...analysis.picture.readSet.map(({ kind, id }): Read => ({ kind, id })), { kind: 'grant', id }],
      narrowing: true,
      run: (tx) => {
        const live = tx.get('grant', id)?.value
        if (live?.state !== 'active') return false
        // what changed since was not told to who had not read it yet
        if (analysis.picture.staleIn(tx) !== undefined) return true
        const { reviewAt: _reviewAt, ...rest } = live
        tx.put('grant', id, { ...rest, ...now, endsAt: Math.min(live.endsAt, endsAt) })
        if (live.endsAt <= endsAt) return false
        tx.append({
          kind: 'grant.shortened',
          refs: [id, refKey(live.subject), ...(live.task === undefined ? [] : [live.task])],
          grant: id,
          ends_at: endsAt,
          before: live.endsAt,
          reason: why,
        })
        return false
      },
    })
    if (isStale) this.#deps.watch.again(id, why)
  }

  /** Ends some of what is over in one commit: denied at once, then recorded, then taken back at the targets. */
  async #end(): Promise<void> {
    // who was looked at longer is not behind those who come after them
    const over = this.#over.sort((a, b) => a.turn - b.turn).splice(0, this.#most)
    const ids = over.map(({ id }) => id)
    try {
      const { recorded } = await this.#narrower.narrow({
        barred: ids.map((id) => ({ kind: 'grant', id })),
        grants: ids,
        reads: over.flatMap(({ lock }): Read[] => (lock === undefined ? [] : [{ kind: 'lock', id: lock }])),
        apply: (tx, below) => {
          const since = this.#deps.decision.monotonic()
          const ended = over.map(({ id, end, reason, by, owners, lock }) => {
            const one = endGrants(tx, { ...below, grants: [id] }, end, { reason, by, owners })
            if (lock !== undefined) count(tx, lock, one.grants.length)
            return one
          })
          this.#measure(over.length, this.#deps.decision.monotonic() - since)
          return {
            tasks: [],
            grants: ended.flatMap(({ grants }) => grants),
            credentials: ended.flatMap(({ credentials }) => credentials),
          }
        },
      })
      for (const { waiting } of over) waiting?.resolve(recorded)
    } catch (error) {
      this.#deps.log('error', 'grants could not be ended and are tried again', { grants: ids, error })
      for (const one of over)
        if (one.waiting === undefined) this.#again.push(one)
        else one.waiting.reject(error)
    }
  }

  #measure(many: number, took: Millis): void {
    const fit = took > 0 ? Math.floor((many * ENDING) / took) : Infinity
    this.#most = Math.min(Math.max(fit, FEWEST), 2 * this.#most, AT_ONCE)
  }
}

function count(tx: Transaction, id: string, grants: number): void {
  const lock = tx.get('lock', id)?.value
  if (lock === undefined || grants === 0) return
  const before = lock.ended ?? { tasks: 0, grants: 0 }
  tx.put('lock', id, { ...lock, ended: { ...before, grants: before.grants + grants } })
}

function track(set: Set<Promise<void>>, work: Promise<void>): void {
  const tracked: Promise<void> = work.finally(() => set.delete(tracked))
  set.add(tracked)
}

function sameDependencies(
  grant: Grant,
  { reads, urgency, reviewAt }: ReturnType<typeof dependenciesOf>,
): boolean {
  return (
    grant.urgency === urgency &&
    grant.reviewAt === reviewAt &&
    grant.reads?.length === reads.length &&
    reads.every((key, i) => grant.reads?.[i] === key)
  )
}
