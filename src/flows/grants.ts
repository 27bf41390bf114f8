/**
 * Grants and the credentials under them: the row before the thing, the record before the secret, and taking back.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import type { Credential } from '../model/credential.ts'
import { credentialLive, credentialRevoking } from '../model/credential.ts'
import { refKey, sameRef } from '../model/entity.ts'
import { isWritError, WritError } from '../model/errors.ts'
import type { Json } from '../model/canonical.ts'
import type { Grant, GrantEnd } from '../model/grant.ts'
import { isLiveGrant } from '../model/grant.ts'
import { isLive } from '../model/task.ts'
import type { Decision } from '../model/outcome.ts'
import { analyse } from '../decision/analyse.ts'
import { decide } from '../decision/decide.ts'
import { endGrants } from '../lives/ending.ts'
import type { Page, Read } from '../store/port.ts'
import type { IssuedSecret, PlannedCredential, Target } from '../targets/port.ts'
import { ownPage } from './own-page.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { Narrower } from './narrow.ts'
import type { Narrowing } from './port.ts'
import type { TakeBack } from './takeback.ts'

/** Which of a target's roles serves an action on a resource, e.g. `{ action: 'db:migrate', resource: 'Database/orders', role: 'migrate' }`. */
export type Access = Readonly<{ action: string; resource: string; role: string }>

type Issue =
  | Readonly<{ decision: Decision; credential: Credential; secret: IssuedSecret }>
  | Readonly<{ decision: Decision; credential?: undefined; secret?: undefined }>

/** Looked at again this often when something changes while a credential is made. */
const TRIES = 3

export class Grants {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  readonly #narrower: Narrower
  readonly #takeBack: TakeBack
  /** Under target and name: why it is still there. */
  readonly #orphans = new Map<string, string>()

  constructor(deps: FlowDeps, attempts: Attempts, narrower: Narrower, takeBack: TakeBack) {
    this.#deps = deps
    this.#attempts = attempts
    this.#narrower = narrower
    this.#takeBack = takeBack
  }

  async show(
    caller: Caller,
    id: string,
  ): Promise<Readonly<{ grant: Grant; credentials: readonly Credential[] }>> {
    const view = await this.#deps.store.read([
      { kind: 'grant', id },
      { index: 'credential.grant', value: id },
    ])
    const grant = view.get('grant', id)?.value
    if (grant === undefined || !(mine(caller, grant) || (await this.#attempts.may(caller, 'read'))))
      throw notFound(id)
    return { grant, credentials: view.scan('credential.grant', id).map((stored) => stored.value) }
  }

  async list(
    caller: Caller,
    query: { task?: string; live?: boolean; after?: string; limit?: number },
  ): Promise<Page<Grant>> {
    const all = await this.#attempts.may(caller, 'read')
    const index =
      query.task !== undefined
        ? { index: 'grant.task' as const, value: query.task }
        : query.live === true
          ? { index: 'grant.state' as const, value: 'active' }
          : {}
    const { after, limit = 100 } = query
    const list = async (part: Readonly<{ after?: string; limit: number }>): Promise<Page<Grant>> => {
      const page = await this.#deps.store.list('grant', { ...index, ...part })
      const items = page.items.map(({ value }) => value)
      return {
        items: items.filter((grant) => query.live !== true || grant.state === 'active'),
        next: page.next,
      }
    }
    if (all) return list({ limit, ...(after === undefined ? {} : { after }) })
    return ownPage(list, query, (grants) => grants.filter((grant) => mine(caller, grant)))
  }

  async credentials(
    caller: Caller,
    query: { open?: boolean; after?: string; limit?: number },
  ): Promise<Page<Credential>> {
    const all = await this.#attempts.may(caller, 'read')
    const index = query.open === true ? { index: 'credential.open' as const, value: 'open' } : {}
    const { after, limit = 100 } = query
    const list = async (part: Readonly<{ after?: string; limit: number }>): Promise<Page<Credential>> => {
      const page = await this.#deps.store.list('credential', { ...index, ...part })
      return { items: page.items.map(({ value }) => value), next: page.next }
    }
    if (all) return list({ limit, ...(after === undefined ? {} : { after }) })
    return ownPage(list, query, async (credentials) => {
      const view = await this.#deps.store.read(
        credentials.map((one): Read => ({ kind: 'grant', id: one.grant })),
      )
      return credentials.filter((one) => {
        const grant = view.get('grant', one.grant)?.value
        return grant !== undefined && mine(caller, grant)
      })
    })
  }

  /**
   * Decides the issue (one use of the grant), writes the row with the decision, creates the credential at its target,
   * records that it lives, and only then hands out the secret. What goes wrong on the way is revoked, never repeated.
   *
   * @throws {WritError} `ERR_TARGET_UNREACHABLE` or `ERR_TARGET_REFUSED`: nothing was handed out.
   */
  async issue(caller: Caller, grantId: string, options: { target?: string } = {}): Promise<Issue> {
    const { store, decision: decisions } = this.#deps
    const grant = (await store.read([{ kind: 'grant', id: grantId }])).get('grant', grantId)?.value
    if (grant === undefined || !mine(caller, grant)) throw notFound(grantId)
    const { target, role } = this.#choose(grant, options.target, await this.#configured())
    const id = decisions.newId('cred')
    const planned = target.plan(id, { role, label: grantId })
    const { approval: _approval, ...attempt } = grant.analysed as unknown as Attempt
    let { endsAt } = grant
    const decision = await decide(
      decisions,
      caller,
      { ...attempt, grant: grantId },
      {
        under: grantId,
        also: {
          reads: [{ kind: 'target', id: target.id }],
          run: (tx) => {
            const live = tx.get('grant', grantId)?.value as Grant
            if (tx.get('target', target.id) === undefined) return 'grant_unknown'
            endsAt = live.endsAt
            tx.put('credential', id, {
              id,
              state: 'planned',
              grant: grantId,
              ...(live.task === undefined ? {} : { task: live.task }),
              target: target.id,
              planned: planned,
              plannedAt: tx.now,
              endsAt: live.endsAt,
              tries: 0,
            })
            tx.append({
              kind: 'credential.planned',
              refs: refsOf(id, grant),
              credential: id,
              target: target.id,
              name: planned.name,
              role,
              ends_at: live.endsAt,
            })
            return undefined
          },
        },
      },
    )
    if (decision.outcome !== 'permit') return { decision }
    let secret: IssuedSecret
    try {
      secret = await target.issue(planned, endsAt)
    } catch (error) {
      await this.#abandon(
        { id, grant, target, planned },
        isWritError(error) ? error.message : 'the target failed',
      )
      throw error
    }
    const credential = await this.#live(caller, attempt, { id, grant, target }).catch(
      async (error: unknown) => {
        await this.#abandon({ id, grant, target, planned }, 'its issue could not be recorded')
        throw error
      },
    )
    if (credential === undefined) {
      await this.#abandon({ id, grant, target, planned }, 'its grant ended while it was issued')
      return { decision: { ...decision, outcome: 'deny', reason: 'grant_ended', nextAction: 'none' } }
    }
    return { decision, credential, secret }
  }

  /**
   * Records that it lives, if its grant would still be permitted now that it does: what was locked, said or published while
   * it was made counts. Nothing, if it does not live.
   */
  async #live(
    caller: Caller,
    attempt: Attempt,
    { id, grant: { id: grantId }, target }: { id: string; grant: Grant; target: Target },
  ): Promise<Credential | undefined> {
    const { store, decision: decisions } = this.#deps
    for (let tries = 0; tries < TRIES; tries += 1) {
      const again = (await store.read([{ kind: 'grant', id: grantId }])).get('grant', grantId)?.value
      if (again === undefined || again.state !== 'active') return undefined
      const analysis = await analyse(
        decisions,
        caller,
        { ...attempt, grant: grantId },
        { again, own: again.counted ?? 0 },
      )
      if (analysis.outcome !== 'permit') return undefined
      const { picture, tasks } = analysis
      const lives = await store.commit({
        reads: [
          { kind: 'credential', id },
          { kind: 'grant', id: grantId },
          ...picture.readSet.map((read): Read => ({ kind: read.kind, id: read.id })),
        ],
        run: (tx) => {
          const row = tx.get('credential', id)?.value as Credential
          const live = tx.get('grant', grantId)?.value
          const barred = decisions.barrier.denies({
            chain: [...again.chain, caller.subject],
            tasks: tasks.map((task) => task.id),
            grant: grantId,
            delegation: again.delegation,
            caller: caller.id,
            locks: analysis.locks,
          })
          // a task may have lapsed since, although nobody has swept it up yet
          const lapsed = tasks.some((task) => {
            const above = tx.get('task', task.id)?.value
            return above === undefined || !isLive(above, tx.now)
          })
          if (
            row.state !== 'planned' ||
            live === undefined ||
            !isLiveGrant(live, tx.now) ||
            lapsed ||
            barred !== undefined
          ) {
            return undefined
          }
          if (picture.staleIn(tx) !== undefined) return 'stale'
          const credential = credentialLive(row, tx.now)
          tx.put('credential', id, credential)
          tx.append({ kind: 'credential.live', refs: refsOf(id, again), credential: id, target: target.id })
          return credential
        },
      })
      if (lives !== 'stale') return lives
    }
    return undefined
  }

  async revoke(caller: Caller, id: string, reason: string): Promise<Narrowing> {
    const grant = (await this.#deps.store.read([{ kind: 'grant', id }])).get('grant', id)?.value
    const allowed =
      grant !== undefined && (mine(caller, grant) || (await this.#attempts.may(caller, 'revoke')))
    if (!allowed) throw notFound(id)
    return this.end(id, 'revoked', { reason, by: caller.id })
  }

  /** Ends one grant and takes its credentials back. */
  async end(id: string, how: GrantEnd, cause: { reason: string; by: string }): Promise<Narrowing> {
    const { grants, credentials, recorded } = await this.#narrower.narrow({
      barred: [{ kind: 'grant', id }],
      grants: [id],
      apply: (tx, below) => ({ tasks: [], ...endGrants(tx, below, how, cause) }),
    })
    return { denied: true, recorded, grants, credentials }
  }

  /** Marks a credential that may exist although nobody may have it, and takes it back. */
  async #abandon(
    { id, grant, target, planned }: { id: string; grant: Grant; target: Target; planned: PlannedCredential },
    why: string,
  ): Promise<void> {
    let isLate: boolean
    try {
      isLate = await this.#deps.store.commit({
        reads: [{ kind: 'credential', id }],
        narrowing: true,
        run: (tx) => {
          const credential = tx.get('credential', id)?.value
          if (credential?.state !== 'planned') return true
          tx.put('credential', id, credentialRevoking(credential, tx.now))
          tx.append({ kind: 'credential.abandoned', refs: refsOf(id, grant), credential: id, why })
          return false
        },
      })
    } catch (error) {
      // its row stays planned and is taken back with its grant, or after a restart; now it goes without a record
      this.#deps.log('error', 'a credential is taken back without a record', { credential: id, error })
      await this.#takeBack.unrecorded(id)
      return
    }
    // it may have been verified absent before it came to be (law 8)
    if (isLate) await this.#revokeAgain(target, planned)
    this.#takeBack.start(id)
  }

  async #revokeAgain(target: Target, planned: PlannedCredential): Promise<void> {
    try {
      await target.revoke(planned)
    } catch (error) {
      // without a row at its target it is an orphan, which the reconciler finds
      this.#deps.log('error', 'a credential that came late could not be removed yet', {
        id: planned.id,
        error,
      })
    }
  }

  async #configured(): Promise<readonly Readonly<{ id: string; access: readonly Access[] }>[]> {
    const view = await this.#deps.store.read([{ index: 'target.all', value: 'all' }])
    return view.scan('target.all', 'all').map(({ value }) => ({
      id: value.id,
      access: (value.config as { access?: readonly Access[] }).access ?? [],
    }))
  }

  #choose(
    grant: Grant,
    wanted: string | undefined,
    configured: readonly Readonly<{ id: string; access: readonly Access[] }>[],
  ): { target: Target; role: string } {
    const resource = refKey(grant.resource)
    const serving = configured.flatMap(({ id, access }) =>
      access
        .filter((a) => a.action === grant.action && a.resource === resource)
        .map(({ role }) => ({ id, role })),
    )
    const matching = wanted === undefined ? serving : serving.filter(({ id }) => id === wanted)
    const [only, ...more] = matching
    if (only === undefined) {
      throw new WritError(
        'ERR_NOT_FOUND',
        wanted === undefined
          ? `no target serves \`${grant.action}\` on ${resource}`
          : `target \`${wanted}\` does not serve \`${grant.action}\` on ${resource}`,
        { hint: `add one with \`writ target add … --for ${grant.action} --on ${resource}\`` },
      )
    }
    if (more.length > 0) {
      throw new WritError('ERR_INPUT_INVALID', `several targets serve \`${grant.action}\` on ${resource}`, {
        hint: `name one with \`target\`: ${matching.map(({ id }) => id).join(', ')}`,
      })
    }
    const target = this.#deps.targets.get(only.id)
    if (target === undefined)
      throw new WritError('ERR_TARGET_UNREACHABLE', `target \`${only.id}\` is not open`)
    return { target, role: only.role }
  }

  /** Revokes what is at a target without a row: the reconciler's half of law 8. Returns the names it found. */
  async reconcile(target: Target): Promise<readonly string[]> {
    const names = await target.list()
    if (names.length === 0) return []
    const view = await this.#deps.store.read([{ index: 'credential.target', value: target.id }])
    const known = new Set(
      view
        .scan('credential.target', target.id)
        .map(({ value }) => (value.planned as unknown as PlannedCredential).name),
    )
    const orphans = names.filter((name) => !known.has(name))
    for (const key of this.#orphans.keys()) {
      const [id, name] = key.split('\n') as [string, string]
      if (id === target.id && !orphans.includes(name)) this.#orphans.delete(key)
    }
    for (const name of orphans) await this.#removeOrphan(target, name)
    return orphans
  }

  /** What has no row and could not be removed yet, in sentences: nothing is forgotten because it is stubborn (B51). */
  get unresolvedOrphans(): readonly string[] {
    return [...this.#orphans].map(([key, problem]) => {
      const [target, name] = key.split('\n') as [string, string]
      return `\`${name}\` at \`${target}\` has no row and is unresolved: ${problem}`
    })
  }

  async #removeOrphan(target: Target, name: string): Promise<void> {
    const key = `${target.id}\n${name}`
    const note = (kind: string, more: Readonly<Record<string, Json>>): Promise<number> =>
      this.#deps.store.commit({
        reads: [],
        narrowing: true,
        run: (tx) => tx.append({ kind, refs: [target.id, name], target: target.id, name, ...more }),
      })
    // said once: a retry every minute is no news
    if (!this.#orphans.has(key)) await note('credential.orphan', {})
    this.#orphans.set(key, 'it was just found')
    try {
      const report = await target.revoke({ name })
      if (report.absent) {
        this.#orphans.delete(key)
        await note('credential.orphan-absent', { report })
      } else {
        this.#orphans.set(key, report.problem ?? 'the target still has it')
      }
    } catch (error) {
      if (!isWritError(error, 'ERR_TARGET_UNREACHABLE', 'ERR_TARGET_REFUSED')) throw error
      this.#orphans.set(key, error.message)
    }
  }
}

const refsOf = (credential: string, grant: Grant): string[] => [
  credential,
  grant.id,
  refKey(grant.subject),
  ...(grant.task === undefined ? [] : [grant.task]),
]

/** A grant is its subject's and its caller's. */
function mine(caller: Caller, grant: Grant): boolean {
  return caller.id === grant.caller || sameRef(caller.subject, grant.subject)
}

const notFound = (id: string): WritError => new WritError('ERR_NOT_FOUND', `there is no grant \`${id}\``)
