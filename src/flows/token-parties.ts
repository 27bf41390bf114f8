/**
 * Who takes part in a request for a token: what each proof proves, and who acts for whom.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Json } from '../model/canonical.ts'
import { sameJson } from '../model/canonical.ts'
import type { EntityRef } from '../model/entity.ts'
import { isOver, refKey, sameRef } from '../model/entity.ts'
import type { WritError } from '../model/errors.ts'
import type { Proved, SpentProof } from '../model/identity.ts'
import type { OAuthErrorCode } from '../model/refusal.ts'
import { refuse } from '../model/refusal.ts'
import type { Instant } from '../model/time.ts'
import type { Client, ClientProof, Token, TokenRequest } from '../model/token.ts'
import { ACTORS_MOST } from '../model/token.ts'
import { checkClients, notProved, readAssertion, serves, verifyAssertion } from '../identity/clients.ts'
import { isOfEarlier } from '../identity/inventory.ts'
import { spendProof } from '../identity/spent.ts'
import type { Transaction, View } from '../store/port.ts'
import { SYSTEM } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { TokenBook } from './token-book.ts'

/** A proof that came with a request, and which error it is to have used it before. */
export type Spend = Readonly<{ proof: SpentProof; code: OAuthErrorCode }>

/** One who takes part in a request, proved. */
export type Party = Readonly<{
  /** The acting one first. */
  chain: readonly EntityRef[]
  /** Of the acting one. */
  generation?: number
  caller: string
  /** `client_id` when it is the one that asks. */
  name: string
  endsAt: Instant
  registered?: Client
  proved?: Proved
  own?: Token
  /** The key that its proof is bound to. */
  jkt?: string
  spends?: Spend
}>

export class TokenParties {
  readonly #deps: FlowDeps
  readonly #book: TokenBook

  constructor(deps: FlowDeps, book: TokenBook) {
    this.#deps = deps
    this.#book = book
    checkClients(deps.tokens.clients)
  }

  get #issuer(): string {
    return this.#deps.tokens.issuer()
  }

  /**
   * Keeps the configured clients with the generation that their subjects have now: one that is deleted and made again has
   * no key of before (B34). A key that is changed registers the client anew.
   */
  async recover(): Promise<void> {
    const { store, tokens } = this.#deps
    const known = (await store.read([{ index: 'client.all', value: 'all' }])).scan('client.all', 'all')
    const configured = new Map(tokens.clients.map((client) => [client.id, client]))
    for (const { id } of known) {
      if (configured.has(id)) continue
      await store.commit({
        reads: [{ kind: 'client', id }],
        narrowing: true,
        run: (tx) => {
          const client = tx.get('client', id)?.value
          if (client === undefined) return
          tx.delete('client', id)
          tx.append({ kind: 'client.removed', refs: [refKey(client.subject)], client: id })
        },
      })
    }
    const before = new Map(known.map(({ id, value }) => [id, value]))
    for (const { id, subject, keys, serves: serving } of configured.values()) {
      const { generation: _g, registeredAt: _at, ...was } = before.get(id) ?? {}
      const is = { id, subject, keys, serves: serving }
      if (before.has(id) && sameJson(was, is)) continue
      await store.commit({
        reads: [{ kind: 'entity', id: refKey(subject) }],
        run: (tx) => {
          const generation = tx.get('entity', refKey(subject))?.value.generation ?? 0
          tx.put('client', id, { ...is, generation, registeredAt: tx.now })
          tx.append({
            kind: 'client.registered',
            refs: [refKey(subject)],
            client: id,
            subject: refKey(subject),
            keys,
            serves: serving.map(refKey),
          })
        },
      })
    }
  }

  /** Everybody that the request proves, the acting one first. */
  async of(
    request: TokenRequest,
    client: Party | undefined,
    url: string,
    now: Instant,
  ): Promise<readonly Party[]> {
    if (request.grant === 'client') {
      if (client === undefined) throw refuse('invalid_client', 'client_credentials needs a client_assertion')
      return [client]
    }
    if (request.grant === 'assertion') {
      const subject = await this.#prove(request.assertion ?? '', url, now, 'invalid_grant')
      if (subject.own !== undefined)
        throw refuse('invalid_grant', 'an access token is no assertion: exchange it (RFC 8693)')
      checkMayAct(subject, undefined, client, 'invalid_grant')
      return client === undefined ? [subject] : [client, subject]
    }
    const subject = await this.#prove(request.subjectToken ?? '', url, now, 'invalid_request', client)
    const actor =
      request.actorToken === undefined
        ? undefined
        : await this.#prove(request.actorToken, url, now, 'invalid_request', client)
    if (actor !== undefined && actor.chain.length > 1) {
      throw refuse('invalid_request', 'actor_token is itself of somebody who acts for another')
    }
    checkMayAct(subject, actor, client, 'invalid_request')
    return [client, actor, subject].filter((party) => party !== undefined)
  }

  /** @throws {WritError} `invalid_client`. */
  async client(proof: ClientProof, url: string, now: Instant): Promise<Party | undefined> {
    const { assertion, id } = proof
    // who is named only is looked at when everybody is proved: which names are registered is nobody's business
    if (assertion === undefined) return undefined
    const party = await this.#prove(assertion, url, now, 'invalid_client')
    if (party.own !== undefined) throw refuse('invalid_client', 'an access token is no client_assertion')
    if (party.chain.length > 1) throw refuse('invalid_client', 'a client acts for itself')
    if (id !== undefined && id !== party.name)
      throw refuse('invalid_client', 'client_id is not who the assertion says')
    return party
  }

  /**
   * `client_id` without an assertion is the word of whoever sent it: it must be who is proved, and no client that has keys.
   *
   * @throws {WritError} `invalid_client`, the same for every name.
   */
  async checkNamed({ id, assertion }: ClientProof, acting: Party): Promise<void> {
    if (id === undefined || assertion !== undefined) return
    if (id === acting.name && (await this.#registered(id)) === undefined) return
    throw refuse('invalid_client', 'client_id is not who the tokens say, or needs a client_assertion')
  }

  async #registered(id: string): Promise<Client | undefined> {
    return (await this.#deps.store.read([{ kind: 'client', id }])).get('client', id)?.value
  }

  /** Whom a token or an assertion proves: a client by its own key, a holder of a token of ours, or whom an issuer knows. */
  async #prove(
    text: string,
    url: string,
    now: Instant,
    code: OAuthErrorCode,
    client?: Party,
  ): Promise<Party> {
    const { tokens, store } = this.#deps
    const read = readAssertion(text, code)
    if (read.claims['iss'] === this.#issuer) return this.#proveOwn(text, code, client)
    const { iss, sub } = read.claims
    const registered = typeof iss === 'string' && iss === sub ? await this.#registered(iss) : undefined
    // a client speaks for itself by its key, and for nobody in exchanges
    if (registered !== undefined && code !== 'invalid_request') {
      // ours as we say it, whatever the request calls us: what was made for another server is not for this one
      const audiences = [this.#issuer, `${this.#issuer}${URL.parse(url)?.pathname ?? ''}`]
      const { spends } = await verifyAssertion(registered, text, { audiences, now, code, read })
      const key = refKey(registered.subject)
      const entity = (await store.read([{ kind: 'entity', id: key }])).get('entity', key)?.value
      if (isOver(entity, now) || (entity?.generation ?? 0) !== registered.generation) {
        throw refuse(
          code,
          'the subject of the client has no authority any more',
          `client \`${registered.id}\``,
        )
      }
      return {
        chain: [registered.subject],
        generation: registered.generation,
        caller: `client:${registered.id}`,
        name: registered.id,
        registered,
        // an assertion is for this request alone: how long it is good says nothing of the token
        endsAt: Infinity,
        spends: { proof: spends, code },
      }
    }
    const { proved, refused } = await tokens.verify(text, now, read)
    if (refused !== undefined) {
      if (refused.code === 'issuer' && code !== 'invalid_request')
        throw notProved(code, `${refused.code} ${typeof iss === 'string' ? iss.slice(0, 256) : ''}`)
      throw refuse(
        code,
        refused.sentence,
        [refused.code, refused.issuer, refused.detail].filter((part) => part !== undefined).join(' '),
      )
    }
    const chain = [proved.subject, ...proved.behind]
    const view = await store.read(chain.map((ref) => ({ kind: 'entity', id: refKey(ref) })))
    if (chain.some((ref) => isOfEarlier(view.get('entity', refKey(ref))?.value, proved.issuedAt)))
      throw refuse(code, 'the token is older than its subject', 'somebody in its chain was made again')
    return {
      chain,
      caller: `issuer:${proved.issuer} ${chain.map(spelled).join(' ')}`,
      name: refKey(proved.subject),
      endsAt: proved.endsAt,
      proved,
      ...(proved.confirmed === undefined ? {} : { jkt: proved.confirmed }),
    }
  }

  /** A token of ours comes back: from who holds it for this server, or from the server that it was for. */
  async #proveOwn(text: string, code: OAuthErrorCode, client: Party | undefined): Promise<Party> {
    const token = await this.#book.open(text)
    if (token === undefined) throw refuse(code, 'the token is none that is worth something here')
    const end = await this.#book.end(token)
    if (end !== undefined) throw refuse(code, 'the token is worth nothing any more', end)
    if (!sameRef(token.audience, SYSTEM) && !isServerOf(client, token)) {
      throw refuse(code, 'the token is for somebody else (aud)')
    }
    return {
      chain: token.chain,
      generation: token.generations[refKey(token.chain[0] as EntityRef)] ?? 0,
      caller: ownCaller(token),
      name: refKey(token.chain[0] as EntityRef),
      endsAt: token.endsAt,
      own: token,
      ...(token.jkt === undefined ? {} : { jkt: token.jkt }),
    }
  }

  /** What is bound to a key comes with proof of that key, unless it comes from the server that it was shown to (B8). */
  checkBound(party: Party, jkt: string | undefined, client: Party | undefined): void {
    if (party.jkt === undefined || party.jkt === jkt) return
    if (party.own !== undefined && isServerOf(client, party.own)) return
    throw refuse(
      'invalid_dpop_proof',
      'a token of the request is bound to a key that the DPoP proof does not show',
    )
  }
}

/** Whether `party` is the server that the token is for. */
export function isServerOf(
  party: Readonly<{ chain: readonly EntityRef[]; registered?: Client }> | undefined,
  { audience }: Token,
): boolean {
  if (party === undefined) return false
  const [self] = party.chain
  return (
    (self !== undefined && sameRef(self, audience)) ||
    (party.registered !== undefined && serves(party.registered, refKey(audience)))
  )
}

/** The acting party first, then whom it acts for; nobody twice, and not too many. */
export function chainOf(parties: readonly Party[]): readonly EntityRef[] {
  const chain: EntityRef[] = []
  for (const { type, id } of parties.flatMap((party) => party.chain)) {
    const before = chain.at(-1)
    // who asks with its own token is not twice there
    if (before !== undefined && sameRef(before, { type, id })) continue
    chain.push({ type, id })
  }
  if (new Set(chain.map(refKey)).size !== chain.length) {
    throw refuse('invalid_request', 'somebody would act for themselves through another')
  }
  if (chain.length > ACTORS_MOST + 1) {
    throw refuse('invalid_request', `more than ${ACTORS_MOST} would act for one`)
  }
  return chain
}

/** RFC 8693 §4.4: who may act is said by the token, if it says it. */
function checkMayAct(
  subject: Party,
  actor: Party | undefined,
  client: Party | undefined,
  code: OAuthErrorCode,
): void {
  const may = subject.proved?.claims['may_act']
  const acting = [client, actor].filter((party) => party !== undefined)
  if (
    may === undefined ||
    acting.every((party) => sameRef(party.chain[0] as EntityRef, subject.chain[0] as EntityRef))
  )
    return
  const { sub, iss } = (typeof may === 'object' && may !== null ? may : {}) as Readonly<Record<string, Json>>
  const isNamed = (party: Party): boolean => {
    const claims = party.proved?.claims
    if (typeof sub !== 'string') return false
    // a name is one of its issuer's alone
    const issuer = iss ?? subject.proved?.claims['iss']
    return claims === undefined
      ? iss === undefined && party.name === sub
      : claims['sub'] === sub && claims['iss'] === issuer
  }
  if (!acting.every(isNamed))
    throw refuse(code, 'the token of the subject names another who may act (may_act)')
}

export function callerOf(
  acting: Party,
  chain: readonly EntityRef[],
  parties: readonly Party[],
  view: View,
  jkt: string | undefined,
): Caller {
  const [subject, ...behind] = chain as [EntityRef, ...EntityRef[]]
  const entity = view.get('entity', refKey(subject))?.value
  const instigators = parties.flatMap(({ proved, own }) => [
    ...(proved?.instigator === undefined ? [] : [proved.instigator]),
    ...(own?.asked.instigators ?? []),
  ])
  const workload = acting.proved?.workload ?? acting.own?.asked.workload
  // what was issued here is no newer proof of a workload than what it was issued for
  const provedAt = acting.proved === undefined ? acting.own?.asked.provedAt : acting.proved.issuedAt
  return {
    id: acting.caller,
    kind: 'issuer',
    subject,
    generation: acting.generation ?? entity?.generation ?? 0,
    ...(behind.length === 0 ? {} : { chain: behind }),
    ...(instigators.length === 0 ? {} : { instigators }),
    ...(workload === undefined ? {} : { workload }),
    ...(provedAt === undefined ? {} : { provedAt }),
    ...(jkt === undefined ? {} : { confirmed: jkt }),
  }
}

/** What the record keeps of a proof: whose it was, never the proof. */
export function proofEntry(party: Party): Json {
  const { proved, own, registered } = party
  return {
    chain: party.chain.map(refKey),
    ...(registered === undefined ? {} : { client: registered.id }),
    ...(own === undefined ? {} : { token: own.id }),
    ...(proved === undefined
      ? {}
      : {
          issuer: proved.issuer,
          ...(proved.jti === undefined ? {} : { jti: proved.jti }),
          ...(proved.instigator === undefined ? {} : { instigator: { ...proved.instigator } }),
          ...(Object.keys(proved.workload).length === 0 ? {} : { workload: proved.workload }),
        }),
  }
}

export const generationsOf = (chain: readonly EntityRef[], view: View): Readonly<Record<string, number>> =>
  Object.fromEntries(
    chain.map((ref) => [refKey(ref), view.get('entity', refKey(ref))?.value.generation ?? 0]),
  )

/** The same for every token of a client for the same parties: rates and answers are not per token. */
export const ownCaller = ({ client, chain }: Token): string =>
  `token:${[client.replaceAll(/[% ]/gu, encodeURIComponent), ...chain.map(spelled)].join(' ')}`

const spelled = (ref: EntityRef): string => refKey(ref).replaceAll(/[% ]/gu, encodeURIComponent)

export const replayed = (code: OAuthErrorCode): WritError =>
  refuse(code, 'a proof of the request has been used before')

/** @throws {WritError} when one has been spent before: then none of the item is. */
export function spendAll(tx: Transaction, spends: readonly Spend[]): void {
  for (const { proof, code } of spends) if (!spendProof(tx, proof)) throw replayed(code)
}
