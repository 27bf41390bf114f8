/**
 * Passkeys of people, and what is proved with them: one statement, once, within minutes. That somebody is signed in, or has
 * just signed in, proves nothing here (S07, B23).
 *
 * @module
 */
import type { Caller, Session } from '../model/access.ts'
import type { EntityRef } from '../model/entity.ts'
import { isOver, refKey, sameRef } from '../model/entity.ts'
import { WritError, isWritError } from '../model/errors.ts'
import type { Passkey } from '../model/identity.ts'
import type { AccessRequest } from '../model/request.ts'
import type { Instant, Millis } from '../model/time.ts'
import { MINUTE } from '../model/time.ts'
import type { Read, Transaction } from '../store/port.ts'
import { sha256 } from '../store/hash.ts'
import type { Ceremony, CeremonyKey, Purpose } from '../identity/people/ceremony.ts'
import { challengeOf, newNonce, nonceEnd } from '../identity/people/ceremony.ts'
import type { CreationOptions, Party, RequestOptions } from '../identity/people/passkeys.ts'
import {
  counts,
  creationOptions,
  parseAssertion,
  partyAt,
  refusedPasskey,
  requestOptions,
  verifyAssertion,
  verifyCreation,
} from '../identity/people/passkeys.ts'
import { readOf, spendProof, spentProof } from '../identity/spent.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'

/**
 * Whose approvals need a passkey: `owned` asks those who have one when it is about something sensitive, `high` asks everybody
 * then, `always` everybody every time.
 */
export type PasskeyMode = 'off' | 'owned' | 'high' | 'always'

export type PasskeyDeps = Readonly<{
  mode: PasskeyMode
  /** The URL under which people reach this server, as it is configured. */
  publicUrl?: string
  /** What is listened on, once it is. */
  port?: () => number | undefined
  /** Signs what is given out. */
  key: Uint8Array
}>

/** What a browser is asked, and what comes back with its answer. */
export type Offer<O> = Readonly<{ nonce: string; options: O }>
/** The answer of a browser at `origin`, its text as JSON. */
export type PasskeyAnswer = Readonly<{ nonce: string; answer: string; origin: string }>

/** A proof that was verified and waits to be spent in the commit of what it is for. */
export type Proven = Readonly<{
  passkey: Passkey
  endsAt: Instant
  reads: readonly Read[]
  /** @throws {WritError} `ERR_FORBIDDEN` if somebody was first, the passkey is over, or its counter went back. */
  spend(tx: Transaction): void
}>

/** What is at least this sensitive needs more than a session. */
const SENSITIVE = 3
export const PASSKEYS_MOST = 10
/** Who has no passkey yet makes the first one this soon after signing in: an old session that was stolen makes none. */
export const FIRST_WITHIN: Millis = 30 * MINUTE

export class Passkeys {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  readonly #key: CeremonyKey

  constructor(deps: FlowDeps, attempts: Attempts) {
    this.#deps = deps
    this.#attempts = attempts
    this.#key = { installation: deps.decision.installation, key: deps.passkeys.key }
  }

  /** Whether a page at `origin` can use passkeys at all. */
  party(origin: string): Party | undefined {
    const { publicUrl, port } = this.#deps.passkeys
    return partyAt(origin, publicUrl, port?.())
  }

  async mine(caller: Caller): Promise<readonly Passkey[]> {
    requireSession(caller)
    return this.#of(caller.subject, caller.generation)
  }

  // what is asked for

  /** The proof that `request` is approved by the person who is asked. */
  async forApproval(caller: Caller, request: AccessRequest, origin: string): Promise<Offer<RequestOptions>> {
    return this.#ask(caller, ofRequest(caller, 'approve', request), origin)
  }

  /** The evidence `reauth` for what `request` asks for. */
  async forProof(caller: Caller, request: AccessRequest, origin: string): Promise<Offer<RequestOptions>> {
    return this.#ask(caller, ofRequest(caller, 'prove', request), origin)
  }

  /** Whether one has passkeys: then one of them is needed to change them. */
  async forChange(caller: Caller, origin: string): Promise<Offer<RequestOptions>> {
    return this.#ask(caller, own(caller, 'manage', await this.#state(caller)), origin)
  }

  async forSignIn(origin: string): Promise<Offer<RequestOptions> | undefined> {
    const party = this.party(origin)
    if (party === undefined) return undefined
    const { nonce, challenge } = await this.#nonce(SIGN_IN)
    return { nonce, options: await requestOptions(party, [], challenge) }
  }

  /**
   * What a browser makes a new passkey with: for who signed in just now and has none, or who proves one they have.
   *
   * @throws {WritError} `ERR_FORBIDDEN`.
   */
  async forRegistration(
    caller: Caller,
    origin: string,
    proof?: PasskeyAnswer,
  ): Promise<Offer<CreationOptions>> {
    const party = this.#party(origin)
    const known = await this.mine(caller)
    if (known.length >= PASSKEYS_MOST) {
      throw new WritError('ERR_FORBIDDEN', `nobody has more than ${PASSKEYS_MOST} passkeys`, {
        hint: 'remove one first',
      })
    }
    await this.change(caller, proof)
    // bound to the passkeys there are now: what is allowed to make the first one makes no second
    const { nonce, challenge } = await this.#nonce(own(caller, 'register', await this.#state(caller)))
    const { subject } = caller
    const view = await this.#deps.store.read([{ kind: 'entity', id: refKey(subject) }])
    const name = view.get('entity', refKey(subject))?.value.name ?? subject.id
    const handle = sha256(
      JSON.stringify(['writ/person', this.#key.installation, refKey(subject), caller.generation]),
    )
    return {
      nonce,
      options: await creationOptions(
        party,
        { handle, name: subject.id, displayName: name },
        known,
        challenge,
      ),
    }
  }

  /**
   * Whether somebody may change what they sign in with: by a passkey of theirs, or, without any, soon after signing in.
   *
   * @throws {WritError} `ERR_FORBIDDEN`.
   */
  async change(caller: Caller, proof: PasskeyAnswer | undefined): Promise<void> {
    requireSession(caller)
    if ((await this.mine(caller)).length === 0) await this.#requireRecent(caller)
    else await this.#spendChange(caller, proof)
  }

  // what comes back

  async register(caller: Caller, proof: PasskeyAnswer & Readonly<{ name?: string }>): Promise<Passkey> {
    requireSession(caller)
    const party = this.#party(proof.origin)
    const ceremony = own(caller, 'register', await this.#state(caller))
    const { challenge, endsAt, spends } = await this.#answered(ceremony, proof.nonce)
    const made = await verifyCreation(party, challenge, proof.answer)
    const person = refKey(caller.subject)
    return this.#deps.store.commit({
      reads: [
        readOf(spends),
        { kind: 'passkey', id: made.id },
        { kind: 'entity', id: person },
        { index: 'passkey.person', value: person },
      ],
      run: (tx) => {
        if (tx.now >= endsAt || !spendProof(tx, spends)) throw tooLate()
        if (!isPerson(tx, caller.subject, caller.generation)) throw refusedPasskey('the person is gone')
        if (tx.get('passkey', made.id) !== undefined) throw refusedPasskey('this credential is known')
        const others = tx.scan('passkey.person', person).length
        if (others >= PASSKEYS_MOST) throw refusedPasskey('too many passkeys')
        const passkey: Passkey = {
          ...made,
          person: { type: caller.subject.type, id: caller.subject.id },
          generation: caller.generation,
          name: proof.name ?? `Passkey ${others + 1}`,
          createdAt: tx.now,
        }
        tx.put('passkey', made.id, passkey)
        tx.append({
          kind: 'passkey.registered',
          refs: [person],
          person,
          passkey: made.id,
          rp: made.rp,
          synced: made.synced,
          session: caller.id,
        })
        return passkey
      },
    })
  }

  /**
   * One's own with a proof by any of one's own, or anybody's by an administrator: a lost one must not stay.
   */
  async remove(caller: Caller, id: string, proof?: PasskeyAnswer): Promise<void> {
    requireSession(caller)
    const view = await this.#deps.store.read([{ kind: 'passkey', id }])
    const found = view.get('passkey', id)?.value
    const mine = found !== undefined && sameRef(found.person, caller.subject)
    if (found === undefined || found.endedAt !== undefined || (!mine && !(await this.#administers(caller)))) {
      throw new WritError('ERR_NOT_FOUND', 'there is no such passkey')
    }
    if (mine) await this.#spendChange(caller, proof)
    const person = refKey(found.person)
    await this.#deps.store.commit({
      reads: [{ kind: 'passkey', id }],
      narrowing: true,
      run: (tx) => {
        const passkey = tx.get('passkey', id)?.value
        if (passkey === undefined || passkey.endedAt !== undefined) return
        tx.put('passkey', id, { ...passkey, endedAt: tx.now })
        tx.append({
          kind: 'passkey.removed',
          refs: [person],
          person,
          passkey: id,
          by: refKey(caller.subject),
        })
      },
    })
  }

  /** Whose passkeys there are: administrators'. */
  async of(caller: Caller, person: EntityRef): Promise<readonly Passkey[]> {
    if (!sameRef(caller.subject, person) && !(await this.#administers(caller))) {
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not see this`)
    }
    const view = await this.#deps.store.read([{ index: 'passkey.person', value: refKey(person) }])
    return view.scan('passkey.person', refKey(person)).map(({ value }) => value)
  }

  // what is demanded

  /** Whether the approval of `request` by `caller` needs a passkey, and whether they have one. */
  async demands(caller: Caller, request: AccessRequest): Promise<'no' | 'yes' | 'has-none'> {
    const { mode } = this.#deps.passkeys
    if (mode === 'off') return 'no'
    const has = (await this.#of(caller.subject, caller.generation)).length > 0
    if (mode === 'owned' && !has) return 'no'
    if (mode !== 'always' && !(await this.#isSensitive(request))) return 'no'
    return has ? 'yes' : 'has-none'
  }

  /**
   * The passkey behind an approval, verified and unspent; nothing if none is given and none is needed.
   *
   * @throws {WritError} `ERR_FORBIDDEN` with `problem` `passkey` if one is needed.
   */
  async ofApproval(
    caller: Caller,
    request: AccessRequest,
    answer: PasskeyAnswer | undefined,
  ): Promise<Proven | undefined> {
    if (answer !== undefined) return this.#prove(ofRequest(caller, 'approve', request), answer, caller)
    const demanded = await this.demands(caller, request)
    if (demanded === 'no') return undefined
    throw new WritError('ERR_FORBIDDEN', 'approving this needs your passkey, for this request', {
      hint:
        demanded === 'yes'
          ? `approve it in a browser, at \`/requests/${request.id}\``
          : 'register a passkey in a browser first, at `/passkeys`',
      problem: demanded === 'yes' ? 'passkey' : 'no_passkey',
    })
  }

  /**
   * The passkey of a person who proves that it is them, for what `request` asks for: verified and unspent.
   *
   * @throws {WritError} `ERR_FORBIDDEN`.
   */
  ofProof(caller: Caller, request: AccessRequest, answer: PasskeyAnswer): Promise<Proven> {
    return this.#prove(ofRequest(caller, 'prove', request), answer, caller)
  }

  /** The passkey that somebody signs in with. @throws {WritError} `ERR_FORBIDDEN`, `ERR_INPUT_INVALID`. */
  signIn(answer: PasskeyAnswer): Promise<Proven> {
    return this.#prove(SIGN_IN, answer)
  }

  async #ask(caller: Caller, ceremony: Ceremony, origin: string): Promise<Offer<RequestOptions>> {
    const party = this.#party(origin)
    const known = (await this.mine(caller)).filter(({ rp }) => rp === party.id)
    if (known.length === 0) {
      throw new WritError('ERR_FORBIDDEN', 'you have no passkey here', {
        hint: 'register one at `/passkeys`',
        problem: 'no_passkey',
      })
    }
    const { nonce, challenge } = await this.#nonce(ceremony)
    return { nonce, options: await requestOptions(party, known, challenge) }
  }

  async #nonce(ceremony: Ceremony): Promise<Readonly<{ nonce: string; challenge: Uint8Array }>> {
    const { now } = await this.#deps.store.read([])
    const nonce = newNonce(this.#key, ceremony, now, this.#deps.randomBytes(16))
    return { nonce, challenge: challengeOf(this.#key, ceremony, nonce) }
  }

  async #answered(ceremony: Ceremony, nonce: string) {
    const { now } = await this.#deps.store.read([])
    const endsAt = nonceEnd(this.#key, ceremony, nonce, now)
    if (endsAt === undefined) throw tooLate()
    const spends = spentProof('reauth', 'passkey', nonce, endsAt)
    return { challenge: challengeOf(this.#key, ceremony, nonce), endsAt, spends }
  }

  async #prove(ceremony: Ceremony, answer: PasskeyAnswer, caller?: Caller): Promise<Proven> {
    if (caller !== undefined) requireSession(caller)
    const party = this.#party(answer.origin)
    const { challenge, endsAt, spends } = await this.#answered(ceremony, answer.nonce)
    const assertion = parseAssertion(answer.answer)
    const { id } = assertion
    const view = await this.#deps.store.read([{ kind: 'passkey', id }])
    const passkey = view.get('passkey', id)?.value
    if (passkey === undefined || passkey.endedAt !== undefined) throw refusedPasskey('unknown passkey')
    const person = refKey(passkey.person)
    let counter: number
    try {
      if (caller !== undefined && !sameRef(passkey.person, caller.subject))
        throw refusedPasskey('the passkey is somebody else’s')
      counter = await verifyAssertion(party, passkey, challenge, assertion)
      if (!counts(passkey.counter, counter))
        throw refusedPasskey(`its counter went back from ${passkey.counter} to ${counter}: there is a copy`)
    } catch (error) {
      if (isWritError(error)) await this.#refused(ceremony.purpose, passkey, error, caller)
      throw error
    }
    return {
      passkey,
      endsAt,
      reads: [readOf(spends), { kind: 'passkey', id }, { kind: 'entity', id: person }],
      spend(tx) {
        const current = tx.get('passkey', id)?.value
        if (tx.now >= endsAt || !spendProof(tx, spends)) throw tooLate()
        if (current === undefined || current.endedAt !== undefined)
          throw refusedPasskey('the passkey is over')
        if (!isPerson(tx, current.person, current.generation)) throw refusedPasskey('the person is gone')
        if (!counts(current.counter, counter)) throw refusedPasskey('its counter went back')
        tx.put('passkey', id, { ...current, counter, usedAt: tx.now })
      },
    }
  }

  /** A passkey that is known has proved nothing: that is on the record. */
  async #refused(purpose: Purpose, passkey: Passkey, error: WritError, caller?: Caller): Promise<void> {
    const person = refKey(passkey.person)
    await this.#deps.store.commit({
      reads: [],
      narrowing: true,
      run: (tx) => {
        tx.append({
          kind: 'passkey.refused',
          refs: [person],
          person,
          passkey: passkey.id,
          purpose,
          why: error.detail ?? error.message,
          ...(caller === undefined ? {} : { by: caller.id }),
        })
      },
    })
  }

  async #spendChange(caller: Caller, proof: PasskeyAnswer | undefined): Promise<void> {
    if (proof === undefined) {
      throw new WritError('ERR_FORBIDDEN', 'changing your passkeys needs one of them', {
        hint: 'use a passkey that you have; without any, ask an administrator to remove them',
        problem: 'passkey',
      })
    }
    const proven = await this.#prove(own(caller, 'manage', await this.#state(caller)), proof, caller)
    const person = refKey(caller.subject)
    await this.#deps.store.commit({
      reads: proven.reads,
      run: (tx) => {
        proven.spend(tx)
        tx.append({
          kind: 'passkey.used',
          refs: [person],
          person,
          passkey: proven.passkey.id,
          purpose: 'manage',
          session: caller.id,
        })
      },
    })
  }

  async #requireRecent(caller: Caller): Promise<void> {
    const id = caller.id.slice('session:'.length)
    const view = await this.#deps.store.read([{ kind: 'session', id }])
    const session: Session | undefined = view.get('session', id)?.value
    if (session !== undefined && view.now - session.createdAt < FIRST_WITHIN) return
    throw new WritError('ERR_FORBIDDEN', 'this is done within half an hour of signing in', {
      hint: 'sign out, sign in again, then do it',
      problem: 'not_recent',
    })
  }

  /** Changes whenever the passkeys of the caller do. */
  async #state(caller: Caller): Promise<string> {
    const ids = (await this.mine(caller)).map(({ id }) => id).toSorted()
    return `sha256:${Buffer.from(sha256(JSON.stringify(ids))).toString('hex')}`
  }

  async #of(person: EntityRef, generation: number): Promise<readonly Passkey[]> {
    const key = refKey(person)
    const view = await this.#deps.store.read([{ index: 'passkey.person', value: key }])
    return view
      .scan('passkey.person', key)
      .map(({ value }) => value)
      .filter((passkey) => passkey.generation === generation)
      .toSorted((a, b) => a.createdAt - b.createdAt)
  }

  /** By the resource of the attempt and, where a task is approved, by all that is in its scope. */
  async #isSensitive(request: AccessRequest): Promise<boolean> {
    const { store } = this.#deps
    const task = request.binding === 'task' ? request.task : undefined
    const scope =
      task === undefined
        ? undefined
        : (await store.read([{ kind: 'task', id: task }])).get('task', task)?.value.scope
    const resources = scope?.resources ?? []
    if (resources.some(({ id }) => id === undefined)) return true
    const keys = [request.attempt.resource, ...(resources as readonly EntityRef[])].map(refKey)
    const view = await store.read(keys.map((id): Read => ({ kind: 'entity', id })))
    return keys.some((id) => {
      const entity = view.get('entity', id)?.value
      // what nobody registered counts as critical
      return entity === undefined || entity.deletedAt !== undefined || entity.sensitivity >= SENSITIVE
    })
  }

  #administers(caller: Caller): Promise<boolean> {
    return this.#attempts.may(caller, 'administer')
  }

  #party(origin: string): Party {
    const party = this.party(origin)
    if (party !== undefined) return party
    throw new WritError('ERR_FORBIDDEN', 'there are no passkeys at this address', {
      hint: 'on this machine use `http://localhost:…`; elsewhere set `public_url` to an https URL with a name',
      problem: 'no_party',
    })
  }
}

const SIGN_IN: Ceremony = { purpose: 'signin', digest: '', bound: [] }

const own = (caller: Caller, purpose: Purpose, digest: string): Ceremony => ({
  purpose,
  digest,
  bound: [refKey(caller.subject), String(caller.generation), caller.id],
})

const ofRequest = (caller: Caller, purpose: 'approve' | 'prove', { id, digest }: AccessRequest): Ceremony => {
  const ceremony = own(caller, purpose, digest)
  return { ...ceremony, bound: [...ceremony.bound, id] }
}

function requireSession(caller: Caller): void {
  if (caller.kind === 'session') return
  throw new WritError('ERR_FORBIDDEN', 'only a person in their own session may do this')
}

function isPerson(tx: Transaction, ref: EntityRef, generation: number): boolean {
  const entity = tx.get('entity', refKey(ref))?.value
  return entity?.generation === generation && !isOver(entity, tx.now)
}

const tooLate = (): WritError =>
  new WritError('ERR_FORBIDDEN', 'this was for something else, was used, or took too long', {
    hint: 'look at it again, then use your passkey within five minutes',
    problem: 'passkey_refused',
  })
