/**
 * Signing in other than by a one-time code: with a passkey, or at a configured provider whose account is linked to a person.
 *
 * @module
 */
import type { Caller, SignedIn } from '../model/access.ts'
import type { EntityRef } from '../model/entity.ts'
import { isOver, refKey, sameRef } from '../model/entity.ts'
import { WritError, isWritError } from '../model/errors.ts'
import type { Account } from '../model/identity.ts'
import { accountId } from '../model/identity.ts'
import type { Secret } from '../model/secret.ts'
import type { Instant, Millis } from '../model/time.ts'
import { MINUTE } from '../model/time.ts'
import type { Read, Transaction } from '../store/port.ts'
import type { Arrived, Begun, RelyingParty } from '../identity/people/relying.ts'
import { newSession } from '../identity/people/session.ts'
import { SESSION_PREFIX, newSecret, secretDigest } from '../identity/secrets.ts'
import { readOf, spendProof, spentProof } from '../identity/spent.ts'
import type { Accounts } from './accounts.ts'
import type { Administration } from './admin.ts'
import type { FlowDeps } from './deps.ts'
import type { Narrower } from './narrow.ts'
import { NOTHING } from './narrow.ts'
import { Noted } from './noted.ts'
import type { PasskeyAnswer, Passkeys } from './passkeys.ts'

export type Signed = Readonly<{ token: Secret<string>; person: EntityRef; endsAt: Instant }>

/** How a sign-in at a provider ended; `ticket` proves to us for a while that the account is this browser's. */
export type Finished =
  | (Signed & Readonly<{ next?: string }>)
  | Readonly<{ linked: Account; shown: string }>
  | Readonly<{ unlinked: Unlinked; ticket: string }>

/** An account that is nobody here. */
export type Unlinked = Readonly<{ provider: string; account: string; shown: string }>

/** How long a sign-in at a provider may take, and how long one that is nobody may say who they are. */
const TICKET_LIFE: Millis = 10 * MINUTE

type Ticket =
  | Readonly<{ kind: 'begun'; begun: Begun; endsAt: Instant; next?: string; link?: string }>
  | Readonly<{ kind: 'arrived'; arrived: Arrived; endsAt: Instant }>

export class SignIns {
  readonly #deps: FlowDeps
  readonly #accounts: Accounts
  readonly #admin: Administration
  readonly #narrower: Narrower
  readonly #passkeys: Passkeys
  readonly #relying: RelyingParty
  readonly #noted = new Noted()

  constructor(
    deps: FlowDeps,
    parts: Readonly<{
      accounts: Accounts
      admin: Administration
      narrower: Narrower
      passkeys: Passkeys
    }>,
  ) {
    this.#deps = deps
    this.#accounts = parts.accounts
    this.#admin = parts.admin
    this.#narrower = parts.narrower
    this.#passkeys = parts.passkeys
    this.#relying = deps.relying
  }

  get providers(): RelyingParty['providers'] {
    return this.#relying.providers
  }

  async byPasskey(answer: PasskeyAnswer): Promise<Signed> {
    const proven = await this.#passkeys.signIn(answer)
    const { person, id: passkey, synced } = proven.passkey
    return this.#begin(
      person,
      // RFC 8176; `phr`: phishing-resistant
      { provider: 'passkey', acr: 'phr', amr: [synced ? 'swk' : 'hwk', 'user'] },
      proven.reads,
      (tx) => proven.spend(tx),
      { passkey },
    )
  }

  /**
   * Where the browser goes to, and the ticket that it brings back. With a caller the account is linked to them: that changes
   * how they sign in, and needs what such a change needs.
   */
  async begin(
    input: Readonly<{ provider: string; redirect: string; next?: string }>,
    caller?: Caller,
    proof?: PasskeyAnswer,
  ): Promise<Readonly<{ url: string; ticket: string }>> {
    if (caller !== undefined) await this.#passkeys.change(caller, proof)
    const { url, begun } = await this.#relying.begin(input.provider, input.redirect)
    const { now } = await this.#deps.store.read([])
    const ticket = this.#seal({
      kind: 'begun',
      begun,
      endsAt: now + TICKET_LIFE,
      ...(input.next === undefined ? {} : { next: input.next }),
      ...(caller === undefined ? {} : { link: caller.id.slice('session:'.length) }),
    })
    return { url, ticket }
  }

  /** @throws {WritError} `ERR_UNAUTHENTICATED` for what does not belong together; nothing is linked, nobody signed in. */
  async finish(sealed: string | undefined, url: URL): Promise<Finished> {
    const ticket = await this.#open(sealed, 'begun')
    const arrived = await this.#arrive(ticket.begun, url)
    const spends = spentProof('login', ticket.begun.issuer, ticket.begun.state, ticket.endsAt)
    const ref = { issuer: arrived.provider, id: arrived.account }
    const id = accountId(ref)
    const reads: Read[] = [readOf(spends), { kind: 'account', id }]
    const spend = (tx: Transaction): void => {
      if (tx.now >= ticket.endsAt || !spendProof(tx, spends)) throw notIn('the answer was used before')
    }
    if (ticket.link !== undefined) {
      const caller = await this.#ofSession(ticket.link)
      await this.#deps.store.commit({ reads, run: spend })
      return { linked: await this.#accounts.linkOwn(caller, ref), shown: arrived.shown }
    }
    const view = await this.#deps.store.read([{ kind: 'account', id }])
    const account = view.get('account', id)?.value
    if (account === undefined || account.endedAt !== undefined) return this.#nobody(arrived, reads, spend)
    const { provider, authAt, acr, amr, device } = arrived
    const signed = await this.#begin(
      account.person,
      {
        provider,
        ...(authAt === undefined ? {} : { at: authAt }),
        ...(acr === undefined ? {} : { acr }),
        ...(amr === undefined ? {} : { amr }),
        ...(device === undefined ? {} : { device }),
      },
      reads,
      (tx) => {
        spend(tx)
        const current = tx.get('account', id)?.value
        const person = tx.get('entity', refKey(account.person))?.value
        if (current === undefined || current.endedAt !== undefined) throw notIn('the account is not linked')
        if (!sameRef(current.person, account.person) || current.generation !== person?.generation)
          throw notIn('the account was linked to an earlier person')
      },
      { account: arrived.account },
    )
    return { ...signed, ...(ticket.next === undefined ? {} : { next: ticket.next }) }
  }

  /** Whose account waits behind `ticket`. */
  async unlinked(sealed: string | undefined): Promise<Unlinked> {
    const { arrived } = await this.#open(sealed, 'arrived')
    return { provider: arrived.provider, account: arrived.account, shown: arrived.shown }
  }

  /**
   * A one-time code says who the account behind `ticket` is, and signs them in. It is linked if the code is all that such a
   * change needs: who has passkeys proves one, in their session, or whoever gets hold of a code once would have the door for
   * good.
   */
  async linkByCode(
    sealed: string | undefined,
    code: string,
  ): Promise<Signed & Readonly<{ unlinked?: WritError }>> {
    const { arrived } = await this.#open(sealed, 'arrived')
    const signed = await this.#admin.redeem(code)
    const caller = await this.#ofSession(secretDigest(signed.token.expose()))
    try {
      await this.#passkeys.change(caller, undefined)
      await this.#accounts.linkOwn(caller, { issuer: arrived.provider, id: arrived.account })
      return signed
    } catch (error) {
      if (!isWritError(error, 'ERR_FORBIDDEN', 'ERR_CONFLICT')) throw error
      return { ...signed, unlinked: error }
    }
  }

  /** A program may act for the person, by the token that it now gets. */
  async admitted(caller: Caller, program: Readonly<{ id: string; name: string; at: string }>): Promise<void> {
    await this.#deps.store.commit({
      reads: [],
      run: (tx) => {
        const person = refKey(caller.subject)
        tx.append({ kind: 'program.admitted', refs: [person], person, program, session: caller.id })
      },
    })
  }

  /** `end` took from the program, by name and as the caller it was, what it acted for the person with. */
  async programEnded(
    caller: Caller,
    program: Readonly<{ id: string; name: string; at: string }>,
    ended: string,
  ): Promise<void> {
    const person = refKey(caller.subject)
    await this.#narrower.narrow({
      // what it had asked before is not decided after
      barred: [{ kind: 'caller', id: ended }],
      apply: (tx) => {
        const { id, name, at } = program
        tx.append({ kind: 'program.ended', refs: [person], person, program: { id, name, at }, by: caller.id })
        return NOTHING
      },
    })
  }

  /** Whether somebody of that generation may be signed in now. */
  async stands(person: EntityRef, generation: number): Promise<boolean> {
    const id = refKey(person)
    const view = await this.#deps.store.read([{ kind: 'entity', id }])
    const entity = view.get('entity', id)?.value
    return entity?.kind === 'human' && entity.generation === generation && !isOver(entity, view.now)
  }

  async #begin(
    person: EntityRef,
    auth: Omit<SignedIn, 'at'> & Readonly<{ at?: Instant }>,
    reads: readonly Read[],
    check: (tx: Transaction) => void,
    more: Readonly<Record<string, string>>,
  ): Promise<Signed> {
    const token = newSecret(SESSION_PREFIX, this.#deps.randomBytes)
    const id = secretDigest(token.expose())
    const key = refKey(person)
    return this.#deps.store.commit({
      reads: [...reads, { kind: 'entity', id: key }],
      run: (tx) => {
        const entity = tx.get('entity', key)?.value
        // what was removed or unlinked since may have come back with a copy; codes are new
        if (this.#deps.decision.barrier.restored) throw notIn('a restore waits to be acknowledged')
        if (entity === undefined || entity.kind !== 'human' || isOver(entity, tx.now))
          throw notIn(`\`${key}\` is nobody who may sign in`)
        check(tx)
        const session = newSession(id, person, entity.generation, tx.now, auth)
        tx.put('session', id, session)
        const { provider, acr, amr, device } = auth
        tx.append({
          kind: 'session.began',
          refs: [key],
          person: key,
          session: id,
          provider,
          ...(acr === undefined ? {} : { acr }),
          ...(amr === undefined ? {} : { amr }),
          ...(device === undefined ? {} : { device }),
          ...more,
        })
        return { token, person: session.person, endsAt: session.endsAt }
      },
    })
  }

  /** Who came back to `url`; an answer that is not good is on the record. */
  async #arrive(begun: Begun, url: URL): Promise<Arrived> {
    try {
      return await this.#relying.finish(begun, url)
    } catch (error) {
      if (!isWritError(error, 'ERR_UNAUTHENTICATED')) throw error
      const { provider } = begun
      const { now } = await this.#deps.store.read([])
      const skipped = this.#noted.take(now)
      if (skipped === undefined) throw error
      await this.#deps.store.commit({
        reads: [],
        run: (tx) => {
          tx.append({
            kind: 'session.refused',
            refs: [],
            provider,
            why: error.detail ?? error.message,
            ...(skipped === 0 ? {} : { uncounted: skipped }),
          })
        },
      })
      throw error
    }
  }

  /** Nothing but the attempt is written down: whoever has an account somewhere must not fill the store. */
  async #nobody(
    arrived: Arrived,
    reads: readonly Read[],
    spend: (tx: Transaction) => void,
  ): Promise<Finished> {
    const { provider, account, shown } = arrived
    const now = await this.#deps.store.commit({
      reads,
      run: (tx) => {
        spend(tx)
        tx.append({ kind: 'session.refused', refs: [], provider, account, why: 'the account is not linked' })
        return tx.now
      },
    })
    const ticket = this.#seal({ kind: 'arrived', arrived, endsAt: now + TICKET_LIFE })
    return { unlinked: { provider, account, shown }, ticket }
  }

  /** The person who began it in a session that still lives. */
  async #ofSession(id: string): Promise<Caller> {
    const view = await this.#deps.store.read([{ kind: 'session', id }])
    const session = view.get('session', id)?.value
    const live =
      session !== undefined &&
      session.endedAt === undefined &&
      view.now < Math.min(session.idleUntil, session.endsAt)
    if (!live) throw notIn('the session that began this is over')
    return { id: `session:${id}`, kind: 'session', subject: session.person, generation: session.generation }
  }

  #seal(ticket: Ticket): string {
    return Buffer.from(this.#deps.seal('login/ticket', JSON.stringify(ticket)), 'base64').toString(
      'base64url',
    )
  }

  async #open<K extends Ticket['kind']>(
    sealed: string | undefined,
    kind: K,
  ): Promise<Extract<Ticket, { kind: K }>> {
    const { now } = await this.#deps.store.read([])
    let ticket: Ticket
    try {
      ticket = JSON.parse(
        this.#deps.open('login/ticket', Buffer.from(sealed ?? '', 'base64url').toString('base64')),
      ) as Ticket
    } catch (cause) {
      throw notIn('there is no ticket of ours', cause)
    }
    if (ticket.kind !== kind || now >= ticket.endsAt)
      throw notIn('the ticket is for something else or too old')
    return ticket as Extract<Ticket, { kind: K }>
  }
}

function notIn(detail: string, cause?: unknown): WritError {
  return new WritError('ERR_UNAUTHENTICATED', 'signing in did not work', {
    hint: 'begin again from the sign-in page',
    detail,
    ...(cause === undefined ? {} : { cause }),
  })
}
