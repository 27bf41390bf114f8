/**
 * Epochs: what happens when the data turns out to have been put back from a copy. The log goes on under a new name, and
 * nothing that was alive in the copy stays alive: what became of it since, nobody here knows any more (B75).
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { ApiKey, Caller, Meta, Session } from '../model/access.ts'
import { refKey } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Account, Delegation, Passkey } from '../model/identity.ts'
import type { AccessRequest } from '../model/request.ts'
import { voidRequest } from '../model/request.ts'
import type { Kind } from '../model/records.ts'
import type { Lock } from '../model/lock.ts'
import { isHeld } from '../model/lock.ts'
import type { Instant } from '../model/time.ts'
import { toRfc3339 } from '../model/time.ts'
import type { Checkpoint } from '../audit/note.ts'
import { Prover } from '../audit/proofs.ts'
import { endGrants, endTasks, findBelow, readsOf, requestEntry } from '../lives/ending.ts'
import type { Stored } from '../store/port.ts'
import { isPruned } from '../store/port.ts'
import { hex } from '../store/hash.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { Signers } from './signers.ts'
import { epochOf } from './signers.ts'
import type { Mark } from './transparency.ts'
import { originOf } from './transparency.ts'

/** Records ended in one transaction. */
const AT_ONCE = 100

/** Keys, locks and other things, of each kind, that are shown of a copy. */
const MOST_SHOWN = 100

const CAUSE = { reason: 'restored', by: 'writ' } as const

/** Why the data is taken for a copy, and what is known of what it lacks. */
type Loss = Readonly<{ why: string; mark?: Mark }>

/** Of a copy that was put back: what carries authority as it did when the copy was made. */
export type Restored = Readonly<{
  why: string
  /** When it was noticed. */
  at: Instant
  /** When the copy ends; what was changed later is not known here. */
  copyEndsAt?: Instant
  acknowledged?: Readonly<{ by: string; at: Instant }>
}>

export type EpochState = Readonly<{
  epoch: number
  origin: string
  /** How it began, unless it is the first. */
  restored?: Restored
  /** What to look at after a restore, the first of each; more is listed under keys and inventory. */
  keys: Readonly<{ total: number; items: readonly ApiKey[] }>
  locks: Readonly<{ total: number; items: readonly Lock[] }>
  /** How people sign in, and whom they let act for them. */
  passkeys: Readonly<{ total: number; items: readonly Passkey[] }>
  accounts: Readonly<{ total: number; items: readonly Account[] }>
  delegations: Readonly<{ total: number; items: readonly Delegation[] }>
  policy?: string
}>

export class Epochs {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  readonly #signers: Signers
  readonly #witnessed: (origin: string) => Promise<readonly Checkpoint[]>
  #record: Meta = {}

  /** `witnessed` are the heads of a log that witnesses hold, those of them that can be reached. */
  constructor(
    deps: FlowDeps,
    parts: Readonly<{
      attempts: Attempts
      signers: Signers
      witnessed: (origin: string) => Promise<readonly Checkpoint[]>
    }>,
  ) {
    this.#deps = deps
    this.#attempts = parts.attempts
    this.#signers = parts.signers
    this.#witnessed = parts.witnessed
  }

  /** After a start, before anything is served: looks whether this is the data that was left, and ends what must end. */
  async recover(): Promise<void> {
    await this.#load()
    const loss = (await this.#loss(await this.#deps.marks.read())) ?? (await this.#lossTo())
    if (loss !== undefined) await this.#begin(loss)
    // what was begun is finished, also after a crash in the middle
    if (this.#record['unsettled'] === true) await this.#settle()
  }

  problems(): readonly string[] {
    const restored = restoredIn(this.#record)
    if (restored === undefined || restored.acknowledged !== undefined) return []
    return [
      `this data was put back from a copy (${restored.why}), found at ${toRfc3339(restored.at)}: keys, locks and ` +
        'policies that were changed after the copy was made are as they were; nothing widens until an administrator ' +
        'has looked at them and runs `writ audit acknowledge`',
    ]
  }

  /**
   * How this epoch began, and what to look at if that was a restore.
   *
   * @throws {WritError} `ERR_FORBIDDEN` for who may neither read nor administer.
   */
  async state(caller: Caller): Promise<EpochState> {
    if (!(await this.#attempts.may(caller, 'read')) && !(await this.#attempts.may(caller, 'administer'))) {
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not read the log`)
    }
    const { store, decision } = this.#deps
    const view = await store.read([{ kind: 'meta', id: 'policy' }])
    const { now } = view
    const policy = view.get('meta', 'policy')?.value['version'] as string | undefined
    const epoch = epochOf(this.#record)
    const restored = restoredIn(this.#record)
    return {
      epoch,
      origin: originOf(decision.installation, epoch),
      ...(restored === undefined ? {} : { restored }),
      keys: await this.#shown('key', (key) => key.revokedAt === undefined && now < (key.endsAt ?? Infinity)),
      locks: await this.#shown('lock', (lock) => isHeld(lock, now)),
      passkeys: await this.#shown('passkey', ({ endedAt }) => endedAt === undefined),
      accounts: await this.#shown('account', ({ endedAt }) => endedAt === undefined),
      delegations: await this.#shown(
        'delegation',
        ({ revokedAt, endsAt }) => revokedAt === undefined && now < endsAt,
      ),
      ...(policy === undefined ? {} : { policy }),
    }
  }

  /**
   * An administrator has looked at what came back with a copy: from now on Writ permits again. `epoch` is the one that
   * was looked at.
   *
   * @throws {WritError} `ERR_FORBIDDEN` unless policy lets the caller administer; `ERR_CONFLICT` when nothing waits for it.
   */
  async acknowledge(caller: Caller, epoch: number): Promise<void> {
    await this.#attempts.administer(caller, 'administer', {
      also: {
        reads: [{ kind: 'meta', id: 'epoch' }],
        run: (tx, { id }) => {
          const record = tx.get('meta', 'epoch')?.value ?? {}
          const restored = restoredIn(record)
          if (restored === undefined || restored.acknowledged !== undefined) {
            throw new WritError('ERR_CONFLICT', 'no restore waits to be acknowledged')
          }
          if (epochOf(record) !== epoch) {
            throw new WritError('ERR_CONFLICT', `this is epoch ${epochOf(record)}, not ${epoch}`, {
              hint: 'another copy was put back meanwhile: look again',
            })
          }
          tx.put('meta', 'epoch', { ...record, acknowledged: { by: caller.id, at: tx.now } })
          tx.append({
            kind: 'epoch.acknowledged',
            refs: [this.#deps.decision.installation, refKey(caller.subject), id],
            epoch,
            by: caller.id,
            person: refKey(caller.subject),
            decision: id,
          })
          return undefined
        },
      },
    })
    await this.#load()
  }

  async #shown<K extends 'key' | 'lock' | 'passkey' | 'account' | 'delegation'>(
    kind: K,
    concerns: (value: Stored<K>['value']) => boolean,
  ): Promise<{ total: number; items: Stored<K>['value'][] }> {
    const items: Stored<K>['value'][] = []
    let total = 0
    let after: string | undefined
    do {
      const page = await this.#deps.store.list(kind, {
        limit: 1_000,
        ...(after === undefined ? {} : { after }),
      })
      for (const { value } of page.items) {
        if (!concerns(value)) continue
        total += 1
        if (items.length < MOST_SHOWN) items.push(value)
      }
      after = page.next
      await breathe()
    } while (after !== undefined)
    return { total, items }
  }

  /** What is durable decides: a restore that nobody has acknowledged stays one over any number of starts. */
  async #load(): Promise<void> {
    const view = await this.#deps.store.read([{ kind: 'meta', id: 'epoch' }])
    this.#record = view.get('meta', 'epoch')?.value ?? {}
    const restored = restoredIn(this.#record)
    this.#deps.decision.barrier.restored = restored !== undefined && restored.acknowledged === undefined
  }

  async #loss(mark: Mark | undefined): Promise<Loss | undefined> {
    const { decision, found, store } = this.#deps
    const epoch = epochOf(this.#record)
    // this epoch had begun, but nothing was signed in it yet
    if (this.#record['marked'] === false) return undefined
    if (mark === undefined) {
      return this.#record['marked'] === true
        ? { why: 'the mark of what was signed last is gone, although there was one' }
        : undefined
    }
    if (mark.installation !== decision.installation) {
      return { why: `the mark is that of another installation, \`${mark.installation}\`` }
    }
    if (mark.epoch > epoch) return { why: `it is of epoch ${epoch}, the mark of epoch ${mark.epoch}`, mark }
    if (mark.epoch < epoch) return undefined
    if (found.size < mark.size) {
      return { why: `the log had ${found.size} entries, fewer than the ${mark.size} that were signed`, mark }
    }
    const root = await new Prover(store.log).root(mark.size)
    if (hex(root) === mark.root) return undefined
    return { why: `the first ${mark.size} entries are not those that were signed`, mark }
  }

  /** What witnesses hold that this data lacks: whoever put back the mark too could not put back theirs. */
  async #lossTo(): Promise<Loss | undefined> {
    const { installation } = this.#deps.decision
    const epoch = epochOf(this.#record)
    for (const head of await this.#witnessed(originOf(installation, epoch))) {
      const loss = await this.#loss({ ...head, installation, epoch })
      if (loss !== undefined) return { ...loss, why: `${loss.why}, as a witness holds` }
    }
    return undefined
  }

  async #begin({ why, mark }: Loss): Promise<void> {
    const { decision, found, store, log } = this.#deps
    const { installation } = decision
    const [last] = found.size === 0 ? [] : await store.log.entries(found.size - 1, found.size)
    const copyEndsAt = last === undefined || isPruned(last) ? undefined : last.at
    await store.commit({
      reads: [
        { kind: 'meta', id: 'epoch' },
        { index: 'signer.use', value: 'log' },
        { index: 'signer.use', value: 'artifact' },
        { index: 'signer.use', value: 'token' },
        { index: 'signer.use', value: 'signal' },
      ],
      narrowing: true,
      run: (tx) => {
        const known = tx.get('meta', 'epoch')?.value
        const before = epochOf(known)
        // without a mark nobody knows how many epochs there were: a number that none of them can have had
        const least = mark === undefined ? Math.floor(tx.now / 1_000) : mark.epoch + 1
        const number = Math.max(before + 1, least)
        tx.put('meta', 'epoch', {
          number,
          marked: false,
          unsettled: true,
          at: tx.now,
          why,
          ...(copyEndsAt === undefined ? {} : { copy_ends_at: copyEndsAt }),
        })
        tx.append({
          kind: 'epoch.began',
          refs: [installation],
          epoch: number,
          origin: originOf(installation, number),
          before: { epoch: before, origin: originOf(installation, before) },
          why,
          found: { size: found.size, root: found.root },
          ...(copyEndsAt === undefined ? {} : { copy_ends_at: copyEndsAt }),
          ...(mark === undefined
            ? {}
            : { signed: { origin: mark.origin, size: mark.size, root: mark.root } }),
        })
        for (const use of ['log', 'artifact', 'token', 'signal'] as const) {
          // only who tells others has a key for it
          if (use === 'signal' && !this.#signers.has(use)) continue
          // the copy may hold keys that were given up since
          for (const { value } of tx.scan('signer.use', use)) {
            if (value.retiredAt === undefined || value.sealed !== '') {
              const untilSize = value.untilSize ?? Math.max(mark?.size ?? 0, found.size)
              this.#signers.retire(tx, value, { untilSize })
            }
          }
          this.#signers.make(tx, use, number)
        }
      },
    })
    await this.#signers.reload()
    await this.#load()
    log(
      'warn',
      'this data was put back from a copy: a new epoch begins, everything that was alive in it ends, and nothing ' +
        'widens until an administrator runs `writ audit acknowledge`',
      {
        why,
        epoch: epochOf(this.#record),
      },
    )
  }

  /** Ends everything that carries authority, in steps that can be taken again. */
  async #settle(): Promise<void> {
    const requests = await this.#each('request', {}, isOpen, (some) => this.#voidRequests(some))
    const live = { index: 'task.live', value: 'live' } as const
    const tasks = await this.#each('task', live, all, (some) => this.#endTasks(some))
    const active = { index: 'grant.state', value: 'active' } as const
    const grants = await this.#each('grant', active, all, (some) => this.#endGrants(some))
    await this.#each('replay', {}, all, (some) => this.#forgetReplays(some))
    const open = { index: 'invite.open', value: 'open' } as const
    const invites = await this.#each('invite', open, all, (some) => this.#voidInvites(some))
    const { now } = await this.#deps.store.read([])
    const isAlive = ({ endedAt, endsAt }: Session): boolean => endedAt === undefined && now < endsAt
    const sessions = await this.#each('session', {}, isAlive, (some) => this.#endSessions(some))
    await this.#deps.store.commit({
      reads: [{ kind: 'meta', id: 'epoch' }],
      narrowing: true,
      run: (tx) => {
        const { unsettled, ...record } = tx.get('meta', 'epoch')?.value ?? {}
        if (unsettled !== true) return
        tx.put('meta', 'epoch', record)
        tx.append({
          kind: 'epoch.settled',
          refs: [this.#deps.decision.installation],
          epoch: epochOf(record),
          requests,
          tasks,
          grants,
          invites,
          sessions,
        })
      },
    })
    await this.#load()
  }

  /** Every record that `concerns`, some at a time; returns how many there were. */
  async #each<K extends Kind>(
    kind: K,
    under: Parameters<FlowDeps['store']['list']>[1],
    concerns: (value: Stored<K>['value']) => boolean,
    work: (some: readonly string[]) => Promise<void>,
  ): Promise<number> {
    let count = 0
    let after: string | undefined
    do {
      const page = await this.#deps.store.list(kind, {
        ...under,
        limit: AT_ONCE,
        ...(after === undefined ? {} : { after }),
      })
      const ids = page.items.filter(({ value }) => concerns(value)).map(({ id }) => id)
      if (ids.length > 0) await work(ids)
      count += ids.length
      after = page.next
    } while (after !== undefined)
    return count
  }

  async #voidRequests(ids: readonly string[]): Promise<void> {
    await this.#deps.store.commit({
      reads: ids.map((id) => ({ kind: 'request', id })),
      narrowing: true,
      run: (tx) => {
        for (const id of ids) {
          const request = tx.get('request', id)?.value
          if (request === undefined || !isOpen(request)) continue
          const failed = voidRequest(request, tx.now, CAUSE.reason)
          tx.put('request', id, failed)
          tx.append(requestEntry('request.ended', failed, { status: failed.status, ...CAUSE }))
        }
      },
    })
  }

  async #endTasks(ids: readonly string[]): Promise<void> {
    const below = await findBelow(this.#deps.store, { tasks: ids })
    await this.#deps.store.commit({
      reads: readsOf(below),
      narrowing: true,
      run: (tx) => void endTasks(tx, below, ids, 'cancelled', CAUSE, 'revoked'),
    })
  }

  async #endGrants(ids: readonly string[]): Promise<void> {
    const below = await findBelow(this.#deps.store, { grants: ids })
    await this.#deps.store.commit({
      reads: readsOf(below),
      narrowing: true,
      run: (tx) => void endGrants(tx, below, 'revoked', CAUSE),
    })
  }

  async #forgetReplays(ids: readonly string[]): Promise<void> {
    await this.#deps.store.commit({
      reads: ids.map((id) => ({ kind: 'replay', id })),
      narrowing: true,
      run: (tx) => {
        for (const id of ids) if (tx.get('replay', id) !== undefined) tx.delete('replay', id)
      },
    })
  }

  /** Among them may be some that were ended after the copy was made, an administrator's too. */
  async #endSessions(ids: readonly string[]): Promise<void> {
    await this.#deps.store.commit({
      reads: ids.map((id) => ({ kind: 'session', id })),
      narrowing: true,
      run: (tx) => {
        for (const id of ids) {
          const session = tx.get('session', id)?.value
          if (session === undefined || session.endedAt !== undefined) continue
          tx.put('session', id, { ...session, endedAt: tx.now })
          const person = refKey(session.person)
          tx.append({ kind: 'session.ended', refs: [person], session: id, person, ...CAUSE })
        }
      },
    })
  }

  /** A code that was used after the copy was made would open the door a second time. */
  async #voidInvites(ids: readonly string[]): Promise<void> {
    await this.#deps.store.commit({
      reads: ids.map((id) => ({ kind: 'invite', id })),
      narrowing: true,
      run: (tx) => {
        for (const id of ids) {
          const invite = tx.get('invite', id)?.value
          if (invite !== undefined) tx.put('invite', id, { ...invite, usedAt: tx.now })
        }
        tx.append({ kind: 'invite.voided', refs: [], count: ids.length, ...CAUSE })
      },
    })
  }
}

const all = (): boolean => true

/** What the record of an epoch says about the restore it began with; the first began with none. */
function restoredIn(record: Meta): Restored | undefined {
  const { why, at, copy_ends_at: copyEndsAt, acknowledged } = record
  if (typeof why !== 'string') return undefined
  return {
    why,
    at: Number(at),
    ...(typeof copyEndsAt === 'number' ? { copyEndsAt } : {}),
    ...(acknowledged === undefined ? {} : { acknowledged: acknowledged as { by: string; at: Instant } }),
  }
}

const isOpen = (request: AccessRequest): boolean =>
  request.status === 'pending' || (request.status === 'approved' && request.spentAt === undefined)
