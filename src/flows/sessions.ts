/**
 * Ending what somebody has begun: their sessions, access tokens, and the grants that were obtained with either. Who they are
 * and what they may do stays; they sign in again.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Caller } from '../model/access.ts'
import type { EntityRef } from '../model/entity.ts'
import { refKey, sameRef } from '../model/entity.ts'
import { ENDING_SPAN, endingSpan } from '../model/records.ts'
import type { Instant } from '../model/time.ts'
import type { Token } from '../model/token.ts'
import { TOKEN_LIFE_MOST } from '../model/token.ts'
import { endGrants } from '../lives/ending.ts'
import type { Read } from '../store/port.ts'
import type { FlowDeps } from './deps.ts'
import type { Narrower } from './narrow.ts'
import type { Reacting } from './reacting.ts'

/** So many grants end with their sessions in one commit; of more, some at a time after it. */
const FEW = 32
/** Grants that are read, or wait for their end, at once. */
const PAGE = 500

type Found = Readonly<{ sessions: readonly string[]; tokens: readonly string[]; grants: readonly string[] }>

export class Sessions {
  readonly #deps: FlowDeps
  readonly #narrower: Narrower
  readonly #reacting: Reacting

  constructor(deps: FlowDeps, narrower: Narrower, reacting: Reacting) {
    this.#deps = deps
    this.#narrower = narrower
    this.#reacting = reacting
  }

  /**
   * Ends what `subject` began no later than `until`. What began later was begun in knowledge of why. Many grants are denied
   * at once and end some at a time; whoever asked for it is answered after the last, and asks again if a crash comes first.
   */
  async end(
    subject: EntityRef,
    cause: Readonly<{ until: Instant; reason: string; by: string }>,
  ): Promise<Readonly<{ sessions: number; tokens: number; grants: number; recorded: boolean }>> {
    const key = refKey(subject)
    const { until, reason, by } = cause
    let found = await this.#find(subject, until)
    if (found.sessions.length + found.tokens.length + found.grants.length === 0)
      return { sessions: 0, tokens: 0, grants: 0, recorded: true }
    let counts = { sessions: 0, tokens: 0 }
    let many: readonly string[] = []
    let lower: (() => void) | undefined
    let isOver = false
    const first = await this.#narrower.narrow({
      // for the moment that it takes nothing is begun that would be missed
      barred: [
        { kind: 'subject', id: key },
        ...found.sessions.map((id) => ({ kind: 'caller' as const, id: `session:${id}` })),
      ],
      find: async () => {
        found = await this.#find(subject, until)
        many = found.grants.length > FEW ? found.grants : []
        // they are denied from before the first commit on until each has ended
        lower?.()
        if (!isOver) lower = this.#deps.decision.barrier.raise(many.map((id) => ({ kind: 'grant', id })))
        return { grants: many.length === 0 ? found.grants : [] }
      },
      get reads(): readonly Read[] {
        return [
          ...found.sessions.map((id): Read => ({ kind: 'session', id })),
          ...found.tokens.map((id): Read => ({ kind: 'token', id })),
        ]
      },
      apply: (tx, below) => {
        counts = { sessions: 0, tokens: 0 }
        for (const id of found.sessions) {
          const session = tx.get('session', id)?.value
          if (session === undefined || session.endedAt !== undefined) continue
          tx.put('session', id, { ...session, endedAt: tx.now })
          tx.append({ kind: 'session.ended', refs: [key], session: id, person: key, reason, by })
          counts.sessions += 1
        }
        for (const id of found.tokens) {
          const token = tx.get('token', id)?.value
          if (token === undefined || token.revokedAt !== undefined) continue
          tx.put('token', id, { ...token, revokedAt: tx.now })
          tx.append({ kind: 'token.revoked', refs: [id, ...token.chain.map(refKey)], token: id, reason, by })
          counts.tokens += 1
        }
        return { tasks: [], ...endGrants(tx, below, 'revoked', { reason, by }) }
      },
    })
    try {
      const isRecorded = await this.#endMany(many, { reason, by })
      return { ...counts, grants: first.grants.length + many.length, recorded: first.recorded && isRecorded }
    } finally {
      isOver = true
      lower?.()
    }
  }

  /** Whether the end of all of them is on the record. */
  async #endMany(ids: readonly string[], cause: Readonly<{ reason: string; by: string }>): Promise<boolean> {
    let recorded = true
    for (let from = 0; from < ids.length; from += PAGE) {
      const some = ids.slice(from, from + PAGE)
      const ended = await Promise.all(some.map((id) => this.#reacting.end(id, { ...cause, end: 'revoked' })))
      recorded &&= ended.every(Boolean)
    }
    return recorded
  }

  async #find(subject: EntityRef, until: Instant): Promise<Found> {
    const key = refKey(subject)
    const { store } = this.#deps
    const view = await store.read([{ index: 'session.person', value: key }])
    const sessions = view
      .scan('session.person', key)
      .filter(({ value }) => value.createdAt <= until && view.now < Math.min(value.idleUntil, value.endsAt))
      .map(({ id }) => id)
    const ended = new Set(sessions.map((id) => `session:${id}`))
    // whoever comes with a token of an issuer has their session there
    const isTheirs = (asked: Caller): boolean =>
      ended.has(asked.id) ||
      (asked.kind === 'issuer' &&
        [asked.subject, ...(asked.chain ?? [])].some((ref) => sameRef(ref, subject)))
    const grants: string[] = []
    let after: string | undefined
    do {
      const page = await store.list('grant', {
        index: 'grant.subject',
        value: key,
        limit: PAGE,
        ...(after === undefined ? {} : { after }),
      })
      for (const { id, value } of page.items)
        if (value.startedAt <= until && isTheirs(value.asked)) grants.push(id)
      after = page.next
      if (after !== undefined) await breathe()
    } while (after !== undefined)
    const tokens = await this.#tokens(view.now, (token) => {
      const isOpen = token.revokedAt === undefined && token.issuedAt <= until && view.now < token.endsAt
      return isOpen && (token.chain.some((ref) => sameRef(ref, subject)) || ended.has(token.asked.id))
    })
    return { sessions, tokens, grants }
  }

  /** Tokens live an hour at most: all that may are under a few spans of time. */
  async #tokens(now: Instant, which: (token: Token) => boolean): Promise<readonly string[]> {
    const { store } = this.#deps
    const found: string[] = []
    for (let at = now; at <= now + TOKEN_LIFE_MOST + ENDING_SPAN; at += ENDING_SPAN) {
      let after: string | undefined
      do {
        const page = await store.list('token', {
          index: 'token.ends',
          value: endingSpan(at),
          limit: 1_000,
          ...(after === undefined ? {} : { after }),
        })
        for (const { id, value } of page.items) if (which(value)) found.push(id)
        after = page.next
      } while (after !== undefined)
    }
    return found
  }
}
