/**
 * What was done under a grant, joined to it: reports of those who did it, and what collectors read at targets. Nothing
 * here widens; what no grant covers is recorded as that, and somebody has to explain it.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Caller } from '../model/access.ts'
import type { Flag, Outside } from '../model/action.ts'
import { flagAgain, resolveFlag } from '../model/action.ts'
import type { Json } from '../model/canonical.ts'
import { canonical } from '../model/canonical.ts'
import type { EntityRef } from '../model/entity.ts'
import { refKey, sameRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Grant } from '../model/grant.ts'
import type { AccessRequest } from '../model/request.ts'
import type { Task } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import { hex, sha256 } from '../store/hash.ts'
import type { Page, Read, Transaction } from '../store/port.ts'
import { isPruned } from '../store/port.ts'
import type { Attempts, Entry } from './attempts.ts'
import { parseEntry } from './attempts.ts'
import type { FlowDeps } from './deps.ts'
import type { ActionReport, Joined, Surroundings } from './joining.ts'
import {
  claimsGrant,
  isLift,
  isRefused,
  joinObserved,
  joinOwn,
  labelOf,
  mayMean,
  myGrant,
  permitKey,
} from './joining.ts'
import { mine as myTask } from './tasks.ts'

export type { ActionReport } from './joining.ts'

/** What one batch may hold. */
export const MAX_ACTIONS = 100

export type ActionBatch = Readonly<{
  items: readonly ActionReport[]
  /** Set by collectors: the target whose own log says so. */
  observed?: Readonly<{ target: string }>
}>

export type ReportedAction = Readonly<{
  /** The reporter's id. */
  id: string
  /** Ours: found in the record under it. */
  action: string
  /** `ignored`: neither ours nor under a grant, e.g. a lifted account at work on its own; there is no entry. */
  status: 'recorded' | 'duplicate' | 'unmatched' | 'ignored'
  grant?: string
  credential?: string
  task?: string
  outside?: readonly Outside[]
}>

/** An action as it stands in the record. */
export type ActionEntry = Readonly<{ seq: number; at: Instant; entry: Entry }>

/** A use of a grant, or a permit under a task: the decision that Writ itself saw. */
export type UseEntry = Readonly<{
  seq: number
  at: Instant
  decision: string
  action: string
  resource: EntityRef
  reason: string
  grant?: string
}>

/** Everything that is known of a grant or a task beyond its state, newest first; `more` when older ones were left out. */
export type JoinedRecord = Readonly<{
  requests: readonly AccessRequest[]
  uses: readonly UseEntry[]
  actions: readonly ActionEntry[]
  more: boolean
}>

type Prepared = Readonly<{ report: ActionReport; action: string; digest: string }>

/** Uses and actions shown with a grant or task. */
const SHOWN = 100
/** Entries read before others get their turn. */
const AT_ONCE = 50
/** Permits of one action under one task that are looked at. */
const PERMITS_MOST = 20

/** What is looked for under a reference, by the terms of its entries: what others name it in is leapt over (C12). */
const DONE = [['kind=action.reported'], ['kind=action.observed'], ['kind=action.unmatched']]
const REFUSED = ['kind=action.refused']
const PERMITTED = ['kind=decision', 'outcome=permit']

export class Actions {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts

  constructor(deps: FlowDeps, attempts: Attempts) {
    this.#deps = deps
    this.#attempts = attempts
  }

  /**
   * Records a batch, all of it in one transaction or nothing: the answer leaves when it is durable.
   *
   * @throws {WritError} `ERR_NOT_FOUND` if an item names what is unknown or not the caller's, which look alike and are
   * recorded as refused; `ERR_CONFLICT` for an id with other content; `ERR_FORBIDDEN` for observations by who may not.
   */
  async report(caller: Caller, batch: ActionBatch): Promise<readonly ReportedAction[]> {
    const { items, observed } = batch
    if (items.length === 0 || items.length > MAX_ACTIONS) {
      throw new WritError('ERR_TOO_LARGE', `a batch holds 1 to ${MAX_ACTIONS} actions`)
    }
    const seen = new Set<string>()
    for (const { id, action } of items) {
      if (seen.has(id)) throw new WritError('ERR_INPUT_INVALID', `\`${id}\` is listed twice`)
      if (action.startsWith('Writ::'))
        throw new WritError('ERR_INPUT_INVALID', 'what Writ itself does is on its record already')
      seen.add(id)
    }
    // collectors of one target see the same lines, whichever key they use
    const scope = observed === undefined ? refKey(caller.subject) : `\n${observed.target}`
    const prepared = items.map((report): Prepared => {
      const { id, ...content } = report
      return {
        report,
        action: `act_${hex(sha256(`${scope}\n${id}`)).slice(0, 32)}`,
        digest: `sha256:${hex(sha256(canonical(content)))}`,
      }
    })
    const known = await this.#known(prepared)
    return observed === undefined
      ? this.#own(caller, prepared, known)
      : this.#observed(caller, observed.target, prepared, known)
  }

  /** Reports of the one whose grant it is: what they may say needs no decision, it opens nothing. */
  async #own(
    caller: Caller,
    prepared: readonly Prepared[],
    known: ReadonlyMap<string, Known>,
  ): Promise<readonly ReportedAction[]> {
    const around = await this.#around(prepared)
    const permits = await this.#permits(caller, prepared, around)
    const result = await this.#deps.store.commit({
      reads: [...around.reads, ...replayReads(prepared), ...flagReads(caller, prepared, around)],
      run: (tx) => {
        const picture = around.in(tx)
        const joins = prepared.map((item) => ({
          item,
          joined: joinOwn(caller, item.report, picture, permits, tx.now),
        }))
        const refused = joins.filter(({ joined }) => isRefused(joined))
        if (refused.length > 0) {
          // who asks for what is not theirs leaves a trace, and learns nothing
          for (const { item, joined } of refused) {
            if (before(tx, known, item) === 'new') this.#append(tx, caller, 'action.refused', item, joined)
          }
          return { refused: refused.map(({ item }) => item.report.id) }
        }
        return {
          answers: joins.map(({ item, joined }): ReportedAction => {
            const status = before(tx, known, item)
            if (status === 'new') this.#append(tx, caller, 'action.reported', item, joined)
            return answerOf(item, status === 'new' ? 'recorded' : 'duplicate', joined)
          }),
        }
      },
    })
    if ('answers' in result) return result.answers
    const [first = '', ...more] = result.refused
    throw new WritError(
      'ERR_NOT_FOUND',
      `action \`${first}\`${more.length === 0 ? '' : ` and ${more.length} more`}: there is no such grant, credential or task`,
      {
        hint: 'nothing of this batch was recorded but the refusal; report what was done under your own grants',
      },
    )
  }

  /** What a collector read at its target; who may say so is decided, as other administration is. */
  async #observed(
    caller: Caller,
    target: string,
    prepared: readonly Prepared[],
    known: ReadonlyMap<string, Known>,
  ): Promise<readonly ReportedAction[]> {
    const around = await this.#around(prepared, target)
    let answers: ReportedAction[] = []
    await this.#attempts.administer(caller, 'observe', {
      context: { target },
      also: {
        reads: [
          { kind: 'target', id: target },
          ...around.reads,
          ...replayReads(prepared),
          ...flagReads(caller, prepared, around, target),
        ],
        run: (tx, permit) => {
          if (tx.get('target', target) === undefined)
            throw new WritError('ERR_NOT_FOUND', `there is no target \`${target}\``)
          const picture = around.in(tx)
          const driver = this.#deps.targets.get(target)
          answers = prepared.map((item) => {
            const joined = joinObserved(item.report, target, picture, tx.now)
            // a lifted account that works on its own authority, or the credential of another installation
            const { role } = item.report
            const ours = role !== undefined && !around.accounts.has(role) && driver?.carries?.(role) !== false
            if (joined.link === 'none' && !ours && !claimsGrant(item.report))
              return answerOf(item, 'ignored', joined)
            const status = before(tx, known, item)
            const kind = joined.link === 'none' ? 'action.unmatched' : 'action.observed'
            if (status === 'new') this.#append(tx, caller, kind, item, joined, { target, permit: permit.id })
            if (status !== 'new') return answerOf(item, 'duplicate', joined)
            return answerOf(item, joined.link === 'none' ? 'unmatched' : 'recorded', joined)
          })
          return undefined
        },
      },
    })
    return answers
  }

  #append(
    tx: Transaction,
    caller: Caller,
    kind: 'action.reported' | 'action.observed' | 'action.unmatched' | 'action.refused',
    { report, action, digest }: Prepared,
    joined: Joined,
    from?: Readonly<{ target: string; permit: string }>,
  ): void {
    const refused = kind === 'action.refused'
    const { grant, credential, candidates } = joined
    const task = joined.task ?? credential?.task ?? grant?.task
    const resource = report.resource ?? grant?.resource
    // a refusal is not found under the grant that it claims: strangers must not be able to bury what is
    const refs = [
      action,
      ...(refused
        ? [refKey(caller.subject)]
        : [
            grant?.id,
            credential?.id,
            task,
            grant?.decision,
            joined.decision,
            grant?.evidence.request,
            grant === undefined ? undefined : refKey(grant.subject),
            ...(candidates ?? []),
            from?.target,
            from === undefined
              ? refKey(caller.subject)
              : report.role === undefined
                ? undefined
                : roleTerm(report.role),
          ]),
    ]
    const seq = tx.append({
      kind,
      refs: [...new Set(refs.filter((ref) => ref !== undefined))],
      id: action,
      reported_id: report.id,
      digest,
      by: caller.id,
      ...(caller.dev === true ? { dev: true } : {}),
      action: report.action,
      outcome: report.outcome,
      ...(resource === undefined ? {} : { resource: refKey(resource) }),
      done_at: report.at ?? tx.now,
      ...(report.at === undefined ? { timed_by: 'record' } : {}),
      link: joined.link,
      ...(joined.claimed === undefined ? {} : { claimed: true }),
      ...(joined.outside.length === 0 ? {} : { outside: [...joined.outside] }),
      ...(refused
        ? {
            ...given('grant', report.grant),
            ...given('credential', report.credential),
            ...given('task', report.task),
          }
        : {
            ...given('grant', grant?.id),
            ...given('credential', credential?.id),
            ...given('task', task),
            ...given('decision', joined.decision ?? grant?.decision),
            ...given('request', grant?.evidence.request),
            ...given('subject', grant === undefined ? undefined : refKey(grant.subject)),
            ...(candidates === undefined ? {} : { candidates: [...candidates] }),
          }),
      ...(from === undefined ? {} : { target: from.target, observed_by: from.permit }),
      ...given('role', report.role),
      ...given('application_name', report.application),
      // of what was refused the digest is enough: nobody stores at our expense what concerns nothing
      ...(report.detail === undefined || refused ? {} : { detail: report.detail }),
    })
    tx.put('replay', replayId(action), {
      kind: 'action',
      caller: caller.id,
      digest,
      at: tx.now,
      decision: action,
      answer: null,
    })
    if (kind === 'action.observed' || kind === 'action.reported') {
      if (joined.outside.length === 0) return
    }
    const flag = flagOf(kind, caller, report, joined, from?.target)
    const stored = tx.get('flag', flag.id)?.value
    tx.put(
      'flag',
      flag.id,
      flagAgain(stored, { ...flag, action, seq, refs: [...new Set(flag.refs)] }, tx.now),
    )
  }

  /** What was reported under these ids before, from the record itself: an id stays bound for as long as it is there. */
  async #known(prepared: readonly Prepared[]): Promise<ReadonlyMap<string, Known>> {
    const known = new Map<string, Known>()
    const { log } = this.#deps.store
    for (const { action } of prepared) {
      const [seq] = await log.find(action, { limit: 1 })
      if (seq === undefined) continue
      const [entry] = await log.entries(seq, seq + 1)
      // what was pruned was there once: it is not recorded again
      const digest = entry === undefined || isPruned(entry) ? undefined : parseEntry(entry.bytes)['digest']
      known.set(action, { digest: typeof digest === 'string' ? digest : undefined })
    }
    return known
  }

  /** Everything that the items name, found before the commit and read again in it. */
  async #around(prepared: readonly Prepared[], target?: string): Promise<Around> {
    const { store } = this.#deps
    const grants = new Set<string>()
    const credentials = new Set<string>()
    const tasks = new Set<string>()
    const accounts = new Set<string>()
    const names = new Map<string, readonly string[]>()
    for (const { report } of prepared) {
      if (report.grant !== undefined) grants.add(report.grant)
      if (report.credential !== undefined) credentials.add(report.credential)
      if (report.task !== undefined) tasks.add(report.task)
      const label = labelOf(report.application)
      if (target !== undefined && label !== undefined) grants.add(label)
      if (target === undefined || report.role === undefined || names.has(report.role)) continue
      const found: string[] = []
      let after: string | undefined
      do {
        const page = await store.list('credential', {
          index: 'credential.name',
          value: `${target}\n${report.role}`,
          limit: 1_000,
          ...(after === undefined ? {} : { after }),
        })
        for (const { value } of page.items) {
          if (isLift(value)) accounts.add(report.role)
          // of an account that is lifted every day only those that can be meant are looked at
          const at = report.at ?? Infinity
          if (
            !isLift(value) ||
            prepared.some(({ report: r }) => r.role === report.role && mayMean(value, r, at))
          )
            found.push(value.id)
        }
        after = page.next
      } while (after !== undefined)
      names.set(report.role, found)
      for (const id of found) credentials.add(id)
    }
    const first = await store.read([
      ...[...credentials].map((id): Read => ({ kind: 'credential', id })),
      ...[...tasks].map((id): Read => ({ index: 'grant.task', value: id })),
      ...[...grants].map((id): Read => ({ index: 'credential.grant', value: id })),
    ])
    const asked = [...grants]
    for (const id of credentials) {
      const grant = first.get('credential', id)?.value.grant
      if (grant !== undefined) grants.add(grant)
    }
    // what a target sees is joined to what was issued there
    if (target !== undefined) {
      for (const id of asked)
        for (const { value } of first.scan('credential.grant', id)) credentials.add(value.id)
    }
    for (const task of tasks) for (const { id } of first.scan('grant.task', task)) grants.add(id)
    const reads: readonly Read[] = [
      ...[...grants].map((id): Read => ({ kind: 'grant', id })),
      ...[...credentials].map((id): Read => ({ kind: 'credential', id })),
      ...[...tasks].map((id): Read => ({ kind: 'task', id })),
    ]
    return {
      reads,
      accounts,
      ids: [...grants, ...credentials, ...tasks],
      in: (tx) => ({
        grant: (id) => (grants.has(id) ? tx.get('grant', id)?.value : undefined),
        credential: (id) => (credentials.has(id) ? tx.get('credential', id)?.value : undefined),
        task: (id) => (tasks.has(id) ? tx.get('task', id)?.value : undefined),
        grantsOf: grouped(() =>
          Map.groupBy(
            [...grants].map((id) => tx.get('grant', id)?.value).filter((g) => g !== undefined),
            ({ task }) => task ?? '',
          ),
        ),
        named: (role) =>
          (names.get(role) ?? []).map((id) => tx.get('credential', id)?.value).filter((c) => c !== undefined),
        under: grouped(() =>
          Map.groupBy(
            [...credentials].map((id) => tx.get('credential', id)?.value).filter((c) => c !== undefined),
            ({ grant }) => grant,
          ),
        ),
      }),
    }
  }

  /** What was permitted under a task without a grant, e.g. by standing policy: its decision covers what was done. */
  async #permits(
    caller: Caller,
    prepared: readonly Prepared[],
    around: Around,
  ): Promise<ReadonlyMap<string, string>> {
    const permits = new Map<string, string>()
    const view = await this.#deps.store.read([...around.reads])
    const asked = new Set<string>()
    for (const { report } of prepared) {
      const { task, action, resource } = report
      if (task === undefined || report.grant !== undefined || report.credential !== undefined) continue
      const owner = view.get('task', task)?.value
      if (owner === undefined || !myTask(caller, owner) || asked.has(permitKey(report))) continue
      asked.add(permitKey(report))
      // a batch may ask for a hundred, and others are waiting
      await breathe()
      const terms = [...PERMITTED, `action=${action}`, ...(resource === undefined ? [] : [refKey(resource)])]
      const { entries } = await this.#find(task, [terms], { limit: PERMITS_MOST })
      const id = entries.find(({ entry }) => covers(entry, action, resource))?.entry['id']
      if (typeof id === 'string') permits.set(permitKey(report), id)
    }
    return permits
  }

  /** Actions under a grant, a credential, a task or of a subject, newest first. */
  async list(
    caller: Caller,
    query: Readonly<{
      grant?: string
      credential?: string
      task?: string
      subject?: EntityRef
      before?: number
      limit?: number
    }>,
  ): Promise<Page<ActionEntry>> {
    const asked = [query.grant, query.credential, query.task, query.subject].filter(
      (one) => one !== undefined,
    )
    if (asked.length !== 1) {
      throw new WritError(
        'ERR_INPUT_INVALID',
        'name exactly one of `grant`, `credential`, `task` and `subject`',
      )
    }
    const reads = await this.#attempts.may(caller, 'read')
    const ref = reads ? refOf(query) : await this.#ownRef(caller, query)
    const limit = Math.min(query.limit ?? 50, 1_000)
    const { entries, next } = await this.#find(ref, query.subject === undefined ? DONE : [...DONE, REFUSED], {
      limit,
      ...(query.before === undefined ? {} : { before: query.before }),
    })
    return {
      items: reads ? entries : entries.map((found) => forRequester(found, ref)),
      next: next === undefined ? undefined : String(next),
    }
  }

  async #ownRef(
    caller: Caller,
    query: Readonly<{ grant?: string; credential?: string; task?: string; subject?: EntityRef }>,
  ): Promise<string> {
    const { store } = this.#deps
    const { grant, credential, task, subject } = query
    if (subject !== undefined) {
      if (sameRef(subject, caller.subject)) return refKey(subject)
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not read what others did`)
    }
    const view = await store.read([
      ...(grant === undefined ? [] : [{ kind: 'grant' as const, id: grant }]),
      ...(credential === undefined ? [] : [{ kind: 'credential' as const, id: credential }]),
      ...(task === undefined ? [] : [{ kind: 'task' as const, id: task }]),
    ])
    if (task !== undefined) {
      const found = view.get('task', task)?.value
      if (found !== undefined && myTask(caller, found)) return task
      throw new WritError('ERR_NOT_FOUND', `there is no task \`${task}\``)
    }
    const above = grant ?? view.get('credential', credential as string)?.value.grant
    const found =
      above === undefined
        ? undefined
        : (await store.read([{ kind: 'grant', id: above }])).get('grant', above)?.value
    if (found !== undefined && myGrant(caller, found)) return grant ?? (credential as string)
    throw new WritError(
      'ERR_NOT_FOUND',
      grant === undefined ? `there is no credential \`${credential}\`` : `there is no grant \`${grant}\``,
    )
  }

  /** What belongs to a grant or a task and stands in the record alone. Who may see the one may see the other. */
  async record(caller: Caller, of: Readonly<{ grant: Grant } | { task: Task }>): Promise<JoinedRecord> {
    const { store } = this.#deps
    const id = 'grant' in of ? of.grant.id : of.task.id
    const reads = await this.#attempts.may(caller, 'read')
    const uses: UseEntry[] = []
    const actions: ActionEntry[] = []
    const { entries, next } = await this.#find(id, [...DONE, PERMITTED], { limit: 2 * SHOWN })
    for (const found of entries) {
      if (isUse(found.entry, of)) uses.push(useOf(found))
      else if (found.entry['kind'] !== 'decision') actions.push(reads ? found : forRequester(found, id))
    }
    const request = 'grant' in of ? of.grant.evidence.request : undefined
    const view = await store.read([
      ...(request === undefined ? [] : [{ kind: 'request' as const, id: request }]),
      ...('task' in of ? [{ index: 'request.task' as const, value: id }] : []),
    ])
    const requests =
      'task' in of
        ? view.scan('request.task', id).map(({ value }) => value)
        : request === undefined
          ? []
          : [view.get('request', request)?.value].filter((one) => one !== undefined)
    return { requests, uses, actions, more: next !== undefined }
  }

  /** Somebody has looked, and says why it was: it is a problem no more, until it happens again. */
  async resolve(caller: Caller, id: string, reason: string): Promise<Flag> {
    let flag: Flag | undefined
    await this.#attempts.administer(caller, 'administer', {
      also: {
        reads: [{ kind: 'flag', id }],
        run: (tx) => {
          const found = tx.get('flag', id)?.value
          if (found === undefined) throw new WritError('ERR_NOT_FOUND', `there is no flag \`${id}\``)
          flag = resolveFlag(found, tx.now, caller.id, reason)
          if (flag === found) return undefined
          tx.put('flag', id, flag)
          tx.append({
            kind: 'action.resolved',
            refs: [...new Set([id, found.action, ...found.refs])],
            flag: id,
            what: found.what,
            count: found.count,
            by: caller.id,
            reason,
          })
          return undefined
        },
      },
    })
    return flag as unknown as Flag
  }

  /** What nobody has explained yet, in sentences. */
  async problems(): Promise<readonly string[]> {
    const { items, next } = await this.#deps.store.list('flag', {
      index: 'flag.open',
      value: 'open',
      limit: 20,
    })
    return [
      ...items.map(
        ({ value: { id, what, count, seq } }) =>
          `${what}${count === 1 ? '' : `, ${count} times`}, last in entry ${seq}: once that is explained, \`writ actions resolve ${id}\``,
      ),
      ...(next === undefined ? [] : ['there is more that no grant covers']),
    ]
  }

  /** Entries under `ref` that have all terms of one of `sets`, which have none in common; newest first. */
  async #find(
    ref: string,
    sets: readonly (readonly string[])[],
    { limit, before }: { limit: number; before?: number },
  ): Promise<{ entries: ActionEntry[]; next: number | undefined }> {
    const { log } = this.#deps.store
    const seqs: number[] = []
    // above this entry everything was found, whichever list ended first
    let floor = 0
    for (const terms of sets) {
      const page = await log.search({
        terms: [ref, ...terms],
        limit,
        ...(before === undefined ? {} : { before }),
      })
      seqs.push(...page.items)
      if (page.next !== undefined) floor = Math.max(floor, Number(page.next))
    }
    const found = seqs.filter((seq) => seq >= floor).toSorted((a, b) => b - a)
    const entries: ActionEntry[] = []
    for (const [i, seq] of found.slice(0, limit).entries()) {
      if (i % AT_ONCE === AT_ONCE - 1) await breathe()
      const [entry] = await log.entries(seq, seq + 1)
      if (entry === undefined || isPruned(entry)) continue
      entries.push({ seq, at: entry.at, entry: parseEntry(entry.bytes) })
    }
    const next = found.length > limit ? found[limit - 1] : floor === 0 ? undefined : floor
    return { entries, next }
  }
}

type Known = Readonly<{ digest: string | undefined }>

type Around = Readonly<{
  reads: readonly Read[]
  /** Roles among those named that are accounts, which live beside any grant. */
  accounts: ReadonlySet<string>
  /** Every grant, credential and task in the picture. */
  ids: readonly string[]
  in(tx: Transaction): Surroundings
}>

/** Groups that are made once, when the first is asked for: a batch asks for each of its items. */
function grouped<T>(make: () => ReadonlyMap<string, readonly T[]>): (key: string) => readonly T[] {
  let groups: ReadonlyMap<string, readonly T[]> | undefined
  return (key) => (groups ??= make()).get(key) ?? []
}

const replayId = (action: string): string => `action\n${action}`
const replayReads = (prepared: readonly Prepared[]): Read[] =>
  prepared.map(({ action }) => ({ kind: 'replay', id: replayId(action) }))

/** Whether this id is new; another one may have come in since the record was asked. */
function before(
  tx: Transaction,
  known: ReadonlyMap<string, Known>,
  { action, digest, report }: Prepared,
): 'new' | 'old' {
  const recent = tx.get('replay', replayId(action))?.value
  const past = recent === undefined ? known.get(action) : { digest: recent.digest }
  if (past === undefined) return 'new'
  if (past.digest === undefined || past.digest === digest) return 'old'
  throw new WritError('ERR_CONFLICT', `action \`${report.id}\` was reported with other content`, {
    hint: 'nothing of this batch was recorded; use a new id for each action',
  })
}

function covers(entry: Entry, action: string, resource: EntityRef | undefined): boolean {
  const attempt = entry['attempt'] as { action?: { name?: string }; resource?: EntityRef } | undefined
  if (attempt?.action?.name !== action) return false
  return resource === undefined || (attempt.resource !== undefined && sameRef(attempt.resource, resource))
}

/** Permits that a grant carried, or that fell under a task. */
function isUse(entry: Entry, of: Readonly<{ grant: Grant } | { task: Task }>): boolean {
  if (entry['kind'] !== 'decision' || entry['outcome'] !== 'permit') return false
  if ('grant' in of) return entry['grant'] === of.grant.id
  return (entry['attempt'] as { task?: Json } | undefined)?.task === of.task.id
}

function useOf({ seq, at, entry }: ActionEntry): UseEntry {
  const attempt = entry['attempt'] as unknown as { action: { name: string }; resource: EntityRef }
  const grant = entry['grant']
  return {
    seq,
    at,
    decision: entry['id'] as string,
    action: attempt.action.name,
    resource: { type: attempt.resource.type, id: attempt.resource.id },
    reason: entry['reason'] as string,
    ...(typeof grant === 'string' ? { grant } : {}),
  }
}

/**
 * Whoever may not read everything never learns whether what was refused to them is there, nor what else could have been
 * meant by what may be theirs (B33).
 */
function forRequester(found: ActionEntry, ref: string): ActionEntry {
  const { entry } = found
  if (entry['kind'] === 'action.refused') return { ...found, entry: { ...entry, outside: ['unknown'] } }
  const { candidates } = entry
  if (!Array.isArray(candidates)) return found
  return { ...found, entry: { ...entry, candidates: candidates.filter((id) => id === ref) } }
}

function refOf(
  query: Readonly<{ grant?: string; credential?: string; task?: string; subject?: EntityRef }>,
): string {
  return (
    query.grant ??
    query.credential ??
    query.task ??
    (query.subject === undefined ? '' : refKey(query.subject))
  )
}

/** The line under which what is wrong with this one is counted. */
function flagOf(
  kind: string,
  caller: Caller,
  report: ActionReport,
  joined: Joined,
  target: string | undefined,
): Omit<Flag, 'count' | 'firstAt' | 'lastAt' | 'action' | 'seq'> {
  if (kind === 'action.refused') {
    const who = refKey(caller.subject)
    return {
      id: flagId('refused', who),
      kind: 'refused',
      what: `${who} reported an action under a grant, credential or task that is not its own or never was`,
      refs: [who],
    }
  }
  const at = target === undefined ? '' : ` at \`${target}\``
  if (kind === 'action.unmatched' && isKnock(report)) {
    return {
      id: knockFlag(target),
      kind: 'unmatched',
      what: `sessions${at} are refused to names that no credential has, the last to \`${someone(report)}\``,
      refs: [...(target === undefined ? [] : [target]), roleTerm(someone(report))],
    }
  }
  if (kind === 'action.unmatched') {
    const who = someone(report)
    return {
      id: flagId('unmatched', target ?? '', who),
      kind: 'unmatched',
      what: `\`${who}\` acted${at}, and no credential covers it`,
      refs: [...(target === undefined ? [] : [target]), roleTerm(who)],
    }
  }
  const under = joined.grant?.id ?? joined.task ?? joined.credential?.id ?? 'a grant'
  return {
    id: flagId('outside', under),
    kind: 'outside',
    what: `an action${at} under \`${under}\` lies outside it (${joined.outside.join(', ')})`,
    refs: [under],
  }
}

/**
 * A name at a target as the record is searched by it. Whoever names things there names nothing of ours: without the
 * mark a role called like an id, an entity or a term would stand among what those are found by.
 */
const roleTerm = (role: string): string => `role=${role}`

const someone = ({ role, application }: ActionReport): string => role ?? application ?? 'somebody'

/** Whoever reaches a target may try any name there: that is one line, or strangers bury what really was done (C12). */
const isKnock = ({ action, outcome }: ActionReport): boolean =>
  action === 'session:open' && outcome === 'failed'
const knockFlag = (target: string | undefined): string => flagId('knock', target ?? '')

const flagId = (...parts: readonly string[]): string => `flag_${hex(sha256(parts.join('\n'))).slice(0, 24)}`

/** Every flag that these items could raise: what a transaction may write it has to have read. */
function flagReads(caller: Caller, prepared: readonly Prepared[], around: Around, target?: string): Read[] {
  const ids = new Set<string>([flagId('refused', refKey(caller.subject)), knockFlag(target)])
  for (const under of around.ids) ids.add(flagId('outside', under))
  for (const { report } of prepared) ids.add(flagId('unmatched', target ?? '', someone(report)))
  return [...ids].map((id) => ({ kind: 'flag', id }))
}

const given = <M extends string, V>(member: M, value: V | undefined): { [member in M]?: V } =>
  value === undefined ? {} : ({ [member]: value } as { [member in M]: V })

function answerOf(
  { report, action }: Prepared,
  status: ReportedAction['status'],
  { grant, credential, task, outside }: Joined,
): ReportedAction {
  const above = task ?? credential?.task ?? grant?.task
  return {
    id: report.id,
    action,
    status,
    ...given('grant', grant?.id),
    ...given('credential', credential?.id),
    ...given('task', above),
    ...(outside.length === 0 ? {} : { outside }),
  }
}
