/**
 * Ending what somebody has begun: their sessions, access tokens, and the grants that were obtained with either. Who they are
 * and what they may do stays; they sign in again.
 *
 * @module
 */
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

type Found = Readonly<{ sessions: readonly string[]; tokens: readonly string[]; grants: readonly string[] }>

export class Sessions {
  readonly #deps: FlowDeps
  readonly #narrower: Narrower

  constructor(deps: FlowDeps, narrower: Narrower) {
    this.#deps = deps
    this.#narrower = narrower
  }

  /** Ends what `subject` began no later than `until`. What began later was begun in knowledge of why. */
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
    const { grants, recorded } = await this.#narrower.narrow({
      // for the moment that it takes nothing is begun that would be missed
      barred: [
        { kind: 'subject', id: key },
        ...found.sessions.map((id) => ({ kind: 'caller' as const, id: `session:${id}` })),
      ],
      find: async () => {
        found = await this.#find(subject, until)
        return { grants: found.grants }
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
    return { ...counts, grants: grants.length, recorded }
  }

  async #find(subject: EntityRef, until: Instant): Promise<Found> {
    const key = refKey(subject)
    const view = await this.#deps.store.read([
      { index: 'session.person', value: key },
      { index: 'grant.subject', value: key },
    ])
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
    const grants = view
      .scan('grant.subject', key)
      .filter(({ value }) => value.startedAt <= until && isTheirs(value.asked))
      .map(({ id }) => id)
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
