/**
 * The tokens that were issued: their texts and keys, what each is worth now, and how they end.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { createPublicKey } from 'node:crypto'
import { setImmediate as breathe } from 'node:timers/promises'
import type { Json } from '../model/canonical.ts'
import { isOver, refKey } from '../model/entity.ts'
import { isWritError } from '../model/errors.ts'
import { isLiveGrant } from '../model/grant.ts'
import { endingSpan } from '../model/records.ts'
import type { Signer } from '../model/signer.ts'
import { isLive } from '../model/task.ts'
import type { Instant, Millis } from '../model/time.ts'
import { MINUTE, SECOND } from '../model/time.ts'
import type { Token, TokenEnd } from '../model/token.ts'
import { TOKEN_LIFE_MOST } from '../model/token.ts'
import { analyse } from '../decision/analyse.ts'
import { lockedAt } from '../decision/locks.ts'
import { delegationEnded } from '../identity/chain.ts'
import { readAssertion } from '../identity/clients.ts'
import type { UnverifiedToken } from '../identity/issuers/token.ts'
import { signEs256, wasSignedBy } from '../identity/jws.ts'
import type { Page, Read, Stored, View } from '../store/port.ts'
import type { FlowDeps } from './deps.ts'
import { lineageOf } from './lineage.ts'
import type { Signers } from './signers.ts'

/** Retired keys are published so long after their last token has ended. */
const PUBLISHED: Millis = 10 * MINUTE
const ALGORITHM = 'ES256'
const TYP = 'at+jwt'

export class TokenBook {
  readonly #deps: FlowDeps
  readonly #signers: Signers
  readonly #publicKeys = new WeakMap<Signer, KeyObject>()
  #swept: number | undefined
  /** Worth nothing from the call on; the record takes over, as soon as there is room for it (law 1). */
  readonly #revoking = new Set<string>()

  constructor(deps: FlowDeps, signers: Signers) {
    this.#deps = deps
    this.#signers = signers
  }

  get #issuer(): string {
    return this.#deps.tokens.issuer()
  }

  /** The epoch of the log that tokens are issued in. */
  get epoch(): number {
    return this.#signers.current('token').signer.epoch ?? 1
  }

  #serving(): readonly Signer[] {
    return this.#signers
      .all('token')
      .filter((it) => it.compromised !== true && (it.epoch ?? 1) === this.epoch)
  }

  /** The public keys of access tokens, retired ones as long as what they signed may live. */
  keys(now: Instant): readonly Readonly<Record<string, string>>[] {
    return this.#serving()
      .filter(({ retiredAt }) => retiredAt === undefined || now < retiredAt + TOKEN_LIFE_MOST + PUBLISHED)
      .map((signer) => ({ ...signer.public, kid: signer.id, use: 'sig', alg: ALGORITHM }))
  }

  text(token: Token): Promise<string> {
    const { signer, privateKey } = this.#signers.current('token')
    const claims = this.#deps.tokens.claims(token, this.#issuer)
    const part = (value: Json): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    return signEs256(`${part({ alg: ALGORITHM, typ: TYP, kid: signer.id })}.${part(claims)}`, privateKey)
  }

  /** The record behind a token that we signed; `undefined` for everything else. Nothing of its state is looked at. */
  async open(text: string): Promise<Token | undefined> {
    let read: UnverifiedToken
    try {
      read = readAssertion(text, 'invalid_request')
    } catch (error) {
      if (isWritError(error)) return undefined
      throw error
    }
    const { alg, typ, kid, claims } = read
    const { jti, iss, aud, iat } = claims
    if (alg !== ALGORITHM || typ !== TYP || iss !== this.#issuer) return undefined
    if (typeof jti !== 'string' || jti.length > 128 || typeof iat !== 'number') return undefined
    const signer = this.#serving().find(({ id }) => id === kid)
    if (signer === undefined) return undefined
    // a key that was retired signs nothing (B45)
    if (signer.retiredAt !== undefined && iat * SECOND > signer.retiredAt) return undefined
    if (!(await wasSignedBy(text, this.#publicKey(signer), ALGORITHM))) return undefined
    const token = (await this.#deps.store.read([{ kind: 'token', id: jti }])).get('token', jti)?.value
    return token?.aud === aud ? token : undefined
  }

  #publicKey(signer: Signer): KeyObject {
    const key = this.#publicKeys.get(signer) ?? createPublicKey({ key: signer.public, format: 'jwk' })
    this.#publicKeys.set(signer, key)
    return key
  }

  /** Why a token is worth nothing, if it is not: its own state, and everything that it was issued under. */
  async end(token: Token): Promise<TokenEnd | undefined> {
    const lineages = await Promise.all(token.tasks.map((task) => lineageOf(this.#deps.store, task)))
    const tasks = [...new Set([...token.tasks, ...lineages.flat().map((task) => task.id)])]
    const view = await this.#deps.store.read(readsOf(token, tasks))
    return this.endOf(view, view.get('token', token.id)?.value ?? token, tasks)
  }

  endOf(view: View, token: Token, tasks: readonly string[]): TokenEnd | undefined {
    const { barrier } = this.#deps.decision
    if (token.revokedAt !== undefined || this.#revoking.has(token.id)) return 'revoked'
    if (token.usedAt !== undefined) return 'used'
    if (view.now >= token.endsAt) return 'expired'
    if (token.epoch !== this.epoch || barrier.restored) return 'epoch'
    for (const ref of token.chain) {
      const entity = view.get('entity', refKey(ref))?.value
      const other = (entity?.generation ?? 0) !== token.generations[refKey(ref)]
      // a lock ends what was issued before it, however soon it is taken away again
      const isCaught = token.issuedAt <= (entity?.locked?.at ?? -Infinity)
      if (other || isCaught || isOver(entity, view.now)) return 'subject_ended'
    }
    if (clientsOf(token).some((id) => view.get('client', id) === undefined)) return 'subject_ended'
    for (const id of token.grants) {
      const grant = view.get('grant', id)?.value
      if (grant === undefined || !isLiveGrant(grant, view.now) || barrier.bars('grant', id))
        return 'grant_ended'
    }
    for (const id of tasks) {
      const task = view.get('task', id)?.value
      if (task === undefined || !isLive(task, view.now)) return 'task_ended'
    }
    for (const id of token.parents) {
      const parent = view.get('token', id)?.value
      if (parent === undefined || parent.revokedAt !== undefined || this.#revoking.has(id))
        return 'parent_ended'
    }
    const generationOf = (ref: string): number => view.get('entity', ref)?.value.generation ?? 0
    for (const id of token.delegations ?? []) {
      const delegation = view.get('delegation', id)?.value
      const hasEnded = delegation === undefined || delegationEnded(delegation, generationOf, view.now)
      if (hasEnded || barrier.bars('delegation', id)) return 'delegation_ended'
    }
    const barred = barrier.denies({ chain: token.chain, tasks, caller: token.asked.id })
    if (barred === 'task_ended') return 'task_ended'
    return barred === undefined ? undefined : 'subject_ended'
  }

  /** Whether policy would still permit everything that the token is for, its evidence present, nothing consumed. */
  async isPermitted(token: Token): Promise<boolean> {
    for (const { attempt, grant: id } of token.decided) {
      const { approval: _approval, approvalRefused: _refused, ...rest } = attempt
      const found =
        id === undefined
          ? undefined
          : (await this.#deps.store.read([{ kind: 'grant', id }])).get('grant', id)?.value
      if (id !== undefined && found === undefined) return false
      const mode = { again: found, own: found?.counted ?? 1 }
      const again = id === undefined ? rest : { ...rest, grant: id }
      const { outcome, picture, locks } = await analyse(this.#deps.decision, token.asked, again, mode)
      if (outcome !== 'permit' || token.issuedAt <= lockedAt(picture, locks)) return false
    }
    return true
  }

  /** Uses a token that is good once; false if another was first. */
  async use(token: Token): Promise<boolean> {
    return this.#deps.store.commit({
      reads: [{ kind: 'token', id: token.id }],
      run: (tx) => {
        const current = tx.get('token', token.id)?.value
        if (current === undefined || current.usedAt !== undefined || current.revokedAt !== undefined)
          return false
        tx.put('token', token.id, { ...current, usedAt: tx.now })
        tx.append({ kind: 'token.used', refs: [token.id, ...token.chain.map(refKey)], token: token.id })
        return true
      },
    })
  }

  /** Ends a token at once. */
  async revoke(token: Token, by: string): Promise<void> {
    this.#revoking.add(token.id)
    await this.#deps.store.commit({
      reads: [{ kind: 'token', id: token.id }],
      narrowing: true,
      run: (tx) => {
        const current = tx.get('token', token.id)?.value
        if (current === undefined || current.revokedAt !== undefined) return
        tx.put('token', token.id, { ...current, revokedAt: tx.now })
        tx.append({
          kind: 'token.revoked',
          refs: [token.id, ...token.chain.map(refKey)],
          token: token.id,
          by,
        })
      },
    })
    this.#revoking.delete(token.id)
  }

  /** Forgets tokens and proofs that have ended. */
  async tidy(now: Instant): Promise<void> {
    const last = Number(endingSpan(now)) - 1
    const kinds = [
      ['token', 'token.ends'],
      ['proof', 'proof.ends'],
    ] as const
    for (const [kind, index] of kinds) {
      // after a start nobody knows what was forgotten before: everything is looked at once
      if (this.#swept === undefined) await this.#forget(kind, {}, last)
      for (let span = this.#swept ?? last; span <= last; span += 1) {
        await this.#forget(kind, { index, value: String(span) }, last)
      }
    }
    this.#swept = last + 1
  }

  async #forget(
    kind: 'token' | 'proof',
    where: Readonly<{ index?: 'token.ends' | 'proof.ends'; value?: string }>,
    last: number,
  ): Promise<void> {
    let after: string | undefined
    do {
      const page: Page<Stored<'token' | 'proof'>> = await this.#deps.store.list(kind, {
        ...where,
        limit: 500,
        ...(after === undefined ? {} : { after }),
      })
      const ended = page.items.filter(({ value }) => Number(endingSpan(value.endsAt)) <= last)
      if (ended.length > 0) {
        await this.#deps.store.commit({
          reads: ended.map(({ id }): Read => ({ kind, id })),
          run: (tx) => ended.forEach(({ id }) => tx.delete(kind, id)),
        })
      }
      after = page.next
      await breathe()
    } while (after !== undefined)
  }
}

const readsOf = (token: Token, tasks: readonly string[]): Read[] => [
  { kind: 'token', id: token.id },
  ...token.chain.map((ref): Read => ({ kind: 'entity', id: refKey(ref) })),
  ...token.grants.map((id): Read => ({ kind: 'grant', id })),
  ...tasks.map((id): Read => ({ kind: 'task', id })),
  ...token.parents.map((id): Read => ({ kind: 'token', id })),
  ...(token.delegations ?? []).map((id): Read => ({ kind: 'delegation', id })),
  ...clientsOf(token).map((id): Read => ({ kind: 'client', id })),
]

/** Every registered client that a token rests on. */
export const clientsOf = ({ registered, clients = [] }: Token): readonly string[] => [
  ...(registered === undefined ? [] : [registered]),
  ...clients,
]
