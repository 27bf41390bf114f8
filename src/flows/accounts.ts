/**
 * Accounts at issuers and the people they are: what makes an instigator a human root (law 4).
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { EntityRef } from '../model/entity.ts'
import { isOver, refKey, sameRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Account, AccountRef } from '../model/identity.ts'
import { accountId } from '../model/identity.ts'
import { isIdentity } from '../model/name.ts'
import { CLOCK_TOLERANCE, clockBehind, stillRestored } from '../decision/decide.ts'
import { isLinked } from '../identity/accounts.ts'
import { suggest } from '../config/suggest.ts'
import type { Page, Read, Transaction } from '../store/port.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'

export class Accounts {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts

  constructor(deps: FlowDeps, attempts: Attempts) {
    this.#deps = deps
    this.#attempts = attempts
  }

  /**
   * An administrator says whose account it is.
   *
   * @throws {WritError} `ERR_CONFLICT` while it is somebody else's; `ERR_INPUT_INVALID` for an issuer or a provider that
   *   nobody configured: what it set going would still be nobody's.
   */
  async link(caller: Caller, account: AccountRef, person: EntityRef): Promise<Account> {
    checkAccount(account)
    let linked: Account | undefined
    await this.#attempts.administer(caller, 'administer', {
      also: {
        reads: readsOf(account, person),
        run: (tx) => {
          this.#checkConfigured(account)
          linked = put(tx, caller, account, person)
          return undefined
        },
      },
    })
    return linked as unknown as Account
  }

  /**
   * A person who has just signed in to it says that it is theirs. What was somebody else's before, an administrator links:
   * two people who pass an account between them are no two people.
   *
   * @throws {WritError} `ERR_FORBIDDEN` outside a person's own session; `ERR_CONFLICT` while it is, or was, another's.
   */
  async linkOwn(caller: Caller, account: AccountRef): Promise<Account> {
    const { store, decision } = this.#deps
    if (caller.kind !== 'session' || caller.chain !== undefined) {
      throw new WritError('ERR_FORBIDDEN', 'only a person in their own session can link an account')
    }
    checkAccount(account)
    const person = { type: caller.subject.type, id: caller.subject.id }
    return store.commit({
      reads: readsOf(account, person),
      run: (tx) => {
        if (store.clockBehind() > CLOCK_TOLERANCE) throw clockBehind(store.clockBehind())
        if (decision.barrier.restored) throw stillRestored()
        const entity = tx.get('entity', refKey(person))?.value
        const barred = decision.barrier.denies({ chain: [person], tasks: [], caller: caller.id })
        if (barred !== undefined || isOver(entity, tx.now) || entity?.generation !== caller.generation) {
          throw new WritError('ERR_FORBIDDEN', `${refKey(person)} is locked or has ended`)
        }
        const before = tx.get('account', accountId(account))?.value
        if (before !== undefined && !sameRef(before.person, person)) {
          throw new WritError('ERR_CONFLICT', 'this account is, or was, linked to somebody else', {
            hint: 'an administrator may link it: `writ accounts link`',
          })
        }
        return put(tx, caller, account, person)
      },
    })
  }

  /** Its person, or an administrator. What it set going before stays theirs. */
  async unlink(caller: Caller, account: AccountRef): Promise<void> {
    const id = accountId(account)
    const found = (await this.#deps.store.read([{ kind: 'account', id }])).get('account', id)?.value
    const own = caller.kind === 'session' && found !== undefined && sameRef(found.person, caller.subject)
    if (!own && !(await this.#attempts.may(caller, 'administer'))) throw notFound()
    await this.#deps.store.commit({
      reads: [{ kind: 'account', id }],
      narrowing: true,
      run: (tx) => {
        const current = tx.get('account', id)?.value
        if (!isLinked(current)) throw notFound()
        tx.put('account', id, { ...current, endedAt: tx.now })
        tx.append({
          kind: 'account.unlinked',
          refs: [refKey(current.person)],
          issuer: current.issuer,
          account: current.account,
          person: refKey(current.person),
          by: caller.id,
        })
      },
    })
  }

  /** One's own; everybody's for who may read. */
  async list(
    caller: Caller,
    query: { person?: EntityRef; after?: string; limit?: number },
  ): Promise<Page<Account>> {
    const all = await this.#attempts.may(caller, 'read')
    if (!all && query.person !== undefined && !sameRef(query.person, caller.subject)) {
      return { items: [], next: undefined }
    }
    const { after, limit = 100 } = query
    const person = query.person ?? (all ? undefined : caller.subject)
    const page = await this.#deps.store.list('account', {
      ...(person === undefined ? {} : { index: 'account.person' as const, value: refKey(person) }),
      ...(after === undefined ? {} : { after }),
      limit,
    })
    return { items: page.items.map(({ value }) => value).filter(isLinked), next: page.next }
  }

  #checkConfigured({ issuer }: AccountRef): void {
    const { issuers, relying } = this.#deps
    const known = new Set([...issuers, ...relying.providers.map(({ name }) => name)])
    if (known.has(issuer)) return
    const near = suggest(issuer, known)
    throw new WritError('ERR_INPUT_INVALID', `no issuer is configured as \`${issuer}\``, {
      hint:
        near === undefined
          ? known.size === 0
            ? 'none is; add it to `issuers` in the configuration first'
            : `there are ${[...known].map((name) => `\`${name}\``).join(', ')}`
          : `did you mean \`${near}\`?`,
    })
  }
}

const readsOf = (account: AccountRef, person: EntityRef): Read[] => [
  { kind: 'account', id: accountId(account) },
  { kind: 'entity', id: refKey(person) },
]

/** Links; one account is one person's, and who was deleted or made again has none of before (B34). */
function put(tx: Transaction, caller: Caller, account: AccountRef, person: EntityRef): Account {
  const id = accountId(account)
  const entity = tx.get('entity', refKey(person))?.value
  if (entity?.kind !== 'human' || entity.deletedAt !== undefined) {
    throw new WritError('ERR_NOT_FOUND', `there is no person \`${refKey(person)}\` in the inventory`)
  }
  const before = tx.get('account', id)?.value
  if (isLinked(before)) {
    if (!sameRef(before.person, person)) {
      throw new WritError('ERR_CONFLICT', `this account is linked to \`${refKey(before.person)}\``, {
        hint: 'unlink it first: `writ accounts unlink`',
      })
    }
    if (before.generation === entity.generation) return before
  }
  const linked: Account = {
    id,
    issuer: account.issuer,
    account: account.id,
    person: { type: person.type, id: person.id },
    generation: entity.generation,
    linkedBy: caller.id,
    linkedAt: tx.now,
  }
  tx.put('account', id, linked)
  tx.append({
    kind: 'account.linked',
    refs: [refKey(person)],
    issuer: account.issuer,
    account: account.id,
    person: refKey(person),
    generation: entity.generation,
    ...(caller.dev === true ? { dev: true } : {}),
    by: caller.id,
  })
  return linked
}

/** @throws {WritError} `ERR_INPUT_INVALID`: an account has one spelling (B7). */
function checkAccount({ issuer, id }: AccountRef): void {
  if (issuer === '' || id === '' || !isIdentity(issuer) || !isIdentity(id)) {
    throw new WritError('ERR_INPUT_INVALID', '`issuer` and `account` must be names in Unicode NFC')
  }
}

const notFound = (): WritError => new WritError('ERR_NOT_FOUND', 'no such account is linked')
