/**
 * Attempts and questions.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Caller } from '../model/access.ts'
import type { Artifacts } from '../model/artifact.ts'
import type { Attempt } from '../model/attempt.ts'
import { bindingMembers, tupleOf } from '../model/attempt.ts'
import type { Json } from '../model/canonical.ts'
import type { EntityRef } from '../model/entity.ts'
import { refKey, sameRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Task } from '../model/task.ts'
import type { Grant } from '../model/grant.ts'
import type { Decision } from '../model/outcome.ts'
import type { Page } from '../store/port.ts'
import { isPruned } from '../store/port.ts'
import { analyse } from '../decision/analyse.ts'
import type { DecideOptions } from '../decision/decide.ts'
import { clockBehind, decide, describe, stillRestored } from '../decision/decide.ts'
import { chainOf } from '../identity/chain.ts'
import { boundExplanation } from '../decision/explanation.ts'
import { inputsOf, queriesOf, wasEvaluated } from '../decision/redecide.ts'
import type { Query } from '../policy/index.ts'
import type { FlowDeps } from './deps.ts'
import type { AttemptInput } from './port.ts'
import type { History } from './history.ts'

/** The resource of Writ's own administration. */
export const SYSTEM: EntityRef = { type: 'Writ::System', id: 'writ' }

/** Entries looked at before others get their turn. */
const AT_ONCE = 100

export type WritVerb =
  | 'publish'
  | 'administer'
  | 'revoke'
  | 'deny'
  | 'read'
  | 'approve'
  | 'delegate'
  | 'observe'
  | 'report'
  | 'unlock'

/**
 * The attempt in what arrived: the members that are Writ's own leave the context. What stands at `approval` and names
 * none counts for nothing; it is no error, because the attempt may be permitted without.
 *
 * @throws {WritError} `ERR_INPUT_INVALID` when `task`, `grant` or `delegation` is no reference.
 */
export function toAttempt(input: AttemptInput): Attempt {
  const { task, grant, approval, delegation, ...context } = input.context ?? {}
  const approvalId = referenceIn(approval)
  return {
    subject: input.subject,
    action: input.action,
    resource: input.resource,
    context,
    chain: [{ type: input.subject.type, id: input.subject.id }],
    ...own('task', task),
    ...own('grant', grant),
    ...own('delegation', delegation),
    ...(approvalId === undefined ? {} : { approval: approvalId }),
    ...(approval === undefined || approvalId !== undefined
      ? {}
      : { approvalRefused: 'approval_unverifiable' as const }),
  }
}

/** The id in `{ id }`, or the id itself. */
function referenceIn(value: Json | undefined): string | undefined {
  const id = typeof value === 'object' && value !== null && 'id' in value ? value.id : value
  return typeof id === 'string' && id !== '' && id.length <= 128 ? id : undefined
}

function own<K extends 'task' | 'grant' | 'delegation'>(
  member: K,
  value: Json | undefined,
): Partial<Record<K, string>> {
  if (value === undefined) return {}
  const id = referenceIn(value)
  if (id === undefined) {
    throw new WritError('ERR_INPUT_INVALID', `\`context.${member}\` is neither an id nor an object with one`)
  }
  return { [member]: id } as Partial<Record<K, string>>
}

/** What is carried beside an approval's id to prove it. */
function stateIn(approval: Json | undefined): Json | undefined {
  return typeof approval === 'object' && approval !== null && 'state' in approval ? approval.state : undefined
}

const refusals = {
  unverifiable: 'approval_unverifiable',
  mismatch: 'out_of_scope',
  expired: 'approval_expired',
} as const

export class Attempts {
  readonly #deps: FlowDeps
  readonly #history: History
  readonly #artifacts: Artifacts

  constructor(deps: FlowDeps, history: History, artifacts: Artifacts) {
    this.#deps = deps
    this.#history = history
    this.#artifacts = artifacts
  }

  /** The attempt in what arrived, and what is proved by the state that an approval came with. */
  async arrived(input: AttemptInput, caller: Caller): Promise<Attempt> {
    const attempt = await this.#chained(caller, toAttempt(input))
    const state = stateIn(input.context?.['approval'])
    if (state === undefined) return attempt
    const { approval, approvalRefused: _unnamed, ...rest } = attempt
    const { now } = await this.#deps.store.read([])
    const opened = await this.#artifacts.openApproval(
      state,
      { tuple: (members) => tupleOf(attempt, members), task: attempt.task },
      now,
    )
    const named = approval === undefined ? rest : { ...rest, approval }
    if ('refused' in opened) return { ...named, approvalRefused: refusals[opened.refused] }
    if (approval !== undefined && approval !== opened.approval) {
      return { ...named, approvalRefused: 'approval_unverifiable' }
    }
    return {
      ...rest,
      approval: opened.approval,
      ...(opened.covers ? {} : { approvalRefused: 'out_of_scope' as const }),
    }
  }

  /** Who acts and for whom, as it was proved and as the delegation that is named says. */
  async #chained(caller: Caller, attempt: Attempt): Promise<Attempt> {
    const { subject, delegation: id } = attempt
    if (id === undefined) return { ...attempt, chain: chainOf(caller, subject) }
    const delegation = (await this.#deps.store.read([{ kind: 'delegation', id }])).get(
      'delegation',
      id,
    )?.value
    return { ...attempt, chain: chainOf(caller, subject, delegation) }
  }

  /** A recorded challenge with its signed form, which a submission may bring back. */
  sealed(decision: Decision): Decision {
    const { attempt, requestableUntil } = decision
    if (decision.outcome !== 'challenge' || requestableUntil === undefined) return decision
    const members = bindingMembers(attempt)
    const bindingToken = this.#artifacts.sealDenial({
      id: this.#deps.decision.newId('denial'),
      evaluation: decision.id,
      at: decision.at,
      endsAt: requestableUntil,
      tuple: tupleOf(attempt, members),
      members,
    })
    return { ...decision, bindingToken }
  }

  async evaluate(
    caller: Caller,
    input: AttemptInput,
    options: { idempotencyKey?: string } = {},
  ): Promise<Decision> {
    return this.sealed(await decide(this.#deps.decision, caller, await this.arrived(input, caller), options))
  }

  /** Who may read everything may also ask on behalf of anybody: a question never authorises. */
  async ask(caller: Caller, input: AttemptInput): Promise<Decision> {
    const reads = !sameRef(caller.subject, input.subject) && (await this.may(caller, 'read'))
    // as an enforcement point would ask, so that the asking person is no instigator of what it asks about
    const { chain: _chain, instigators: _instigators, ...itself } = caller
    const asking: Caller = reads
      ? { ...itself, kind: 'key', pep: { subjects: ['*'], attributes: {} } }
      : caller
    const analysis = await analyse(this.#deps.decision, asking, await this.arrived(input, asking), 'question')
    return describe(
      this.#deps.decision.newId('question'),
      analysis,
      analysis.picture.now,
      undefined,
      undefined,
      analysis.grant,
    )
  }

  async activate(
    caller: Caller,
    input: AttemptInput,
    options: { idempotencyKey?: string } = {},
  ): Promise<Readonly<{ decision: Decision; grant?: Grant }>> {
    const decided = await decide(this.#deps.decision, caller, await this.arrived(input, caller), {
      ...options,
      spend: 'activate',
    })
    const decision = this.sealed(decided)
    const id = decision.grant?.id
    if (id === undefined) return { decision }
    const grant = (await this.#deps.store.read([{ kind: 'grant', id }])).get('grant', id)?.value
    return grant === undefined ? { decision } : { decision, grant }
  }

  /**
   * Writ's own administration is an attempt like any other.
   *
   * @throws {WritError} `ERR_FORBIDDEN` unless policy permits it.
   */
  async administer(
    caller: Caller,
    verb: WritVerb,
    options: DecideOptions & { resource?: EntityRef; context?: Readonly<Record<string, Json>> } = {},
  ): Promise<Decision> {
    const { resource, context, ...rest } = options
    const decision = await decide(
      this.#deps.decision,
      caller,
      adminAttempt(caller, verb, resource, context),
      rest,
    )
    if (decision.reason === 'clock_behind') throw clockBehind(this.#deps.store.clockBehind())
    if (decision.reason === 'restored') throw stillRestored()
    if (decision.outcome !== 'permit') throw forbidden(verb, decision)
    return decision
  }

  /** For narrowing verbs and reads: analysed only, so that a full disk cannot stop them. */
  async may(caller: Caller, verb: WritVerb, resource?: EntityRef): Promise<boolean> {
    const analysis = await analyse(
      this.#deps.decision,
      caller,
      adminAttempt(caller, verb, resource),
      'question',
    )
    return analysis.outcome === 'permit'
  }

  async taskOf(id: string): Promise<Task | undefined> {
    return (await this.#deps.store.read([{ kind: 'task', id }])).get('task', id)?.value
  }

  /** Who may take back what `subject` has: an administrator, or whom policy names, e.g. its owner. */
  async mayRevoke(caller: Caller, subject: EntityRef): Promise<boolean> {
    return (await this.may(caller, 'revoke')) || this.may(caller, 'revoke', subject)
  }

  async decision(caller: Caller, id: string): Promise<Json> {
    const entry = await this.#decisionEntry(id)
    if (entry === undefined || !(await this.#maySee(caller, entry))) {
      throw new WritError('ERR_NOT_FOUND', `there is no decision \`${id}\``)
    }
    return (await this.may(caller, 'read')) ? entry : forRequester(entry)
  }

  async decisions(
    caller: Caller,
    query: { ref?: string; before?: number; limit?: number },
  ): Promise<Page<Json>> {
    const limit = Math.min(Math.max(query.limit ?? 50, 1), 200)
    const all = await this.may(caller, 'read')
    const items: Json[] = []
    const head = await this.#deps.store.log.head()
    let before = Math.min(query.before ?? head.size, head.size)
    if (query.ref !== undefined) {
      const seqs = await this.#deps.store.log.find(query.ref, {
        descending: true,
        limit: 1_000,
        ...(query.before === undefined ? {} : { after: query.before }),
      })
      for (const [looked, seq] of seqs.entries()) {
        if (looked % AT_ONCE === AT_ONCE - 1) await breathe()
        const entry = await this.#entry(seq)
        before = seq
        if (isDecision(entry) && (all || isOwn(caller, entry))) items.push(all ? entry : forRequester(entry))
        if (items.length >= limit) break
      }
      return { items, next: items.length >= limit ? String(before) : undefined }
    }
    for (let looked = 0; before > 0 && items.length < limit && looked < 5_000;) {
      await breathe()
      const from = Math.max(0, before - AT_ONCE)
      const entries = (await this.#deps.store.log.entries(from, before)).toReversed()
      for (const found of entries) {
        looked += 1
        before = found.seq
        const entry = isPruned(found) ? {} : parseEntry(found.bytes)
        if (isDecision(entry) && (all || isOwn(caller, entry))) items.push(all ? entry : forRequester(entry))
        if (items.length >= limit) break
      }
    }
    return { items, next: before > 0 ? String(before) : undefined }
  }

  /**
   * The rules behind a recorded decision, clause by clause: what was explained when it was made. Of a permit, and of
   * what was recorded before explanations were, evaluated again from what it recorded.
   */
  async explain(caller: Caller, id: string): Promise<Json> {
    const found = await this.#history.decision(id)
    if (found === undefined || !(await this.may(caller, 'read'))) {
      throw new WritError('ERR_NOT_FOUND', `there is no decision \`${id}\``, {
        hint: 'rules are shown to operators; a requester sees what is missing with `writ why`',
      })
    }
    const decision = found.entry as Entry
    const { explanation } = decision
    if (explanation !== undefined) {
      const { determining, fired, nearest } = explanation as Readonly<Record<string, Json>>
      // a digest stands where something was too long for the entry and is not kept any more
      return [determining, fired, nearest].every(Array.isArray)
        ? { decision, explanation }
        : { decision, explanation: null, lost: 'what was too long for its entry was pruned by retention' }
    }
    const rebuilt = await this.#history.rebuild(id)
    const known = rebuilt.ok && rebuilt.policy !== undefined && wasEvaluated(rebuilt.entry)
    if (!known) return { decision, explanation: null, ...(rebuilt.ok ? {} : { lost: rebuilt.why }) }
    const queries = queriesOf(inputsOf(rebuilt.entry, rebuilt.entities))
    const set = await this.#history.set(rebuilt.policy)
    const denied = queries.find((query) => set.evaluate(query).decision === 'deny')
    const again = set.explain(denied ?? (queries[0] as Query))
    return { decision, explanation: boundExplanation(again) as unknown as Json }
  }

  /** The entry of a decision by its id, with what was too long for it back in its place. */
  async #decisionEntry(id: string): Promise<Entry | undefined> {
    return (await this.#history.decision(id))?.entry as Entry | undefined
  }

  /** What a submission binds to: the recorded denial, whoever asks. */
  async recorded(id: string): Promise<Entry | undefined> {
    return this.#decisionEntry(id)
  }

  async #entry(seq: number): Promise<Entry> {
    const [entry] = await this.#deps.store.log.entries(seq, seq + 1)
    return entry === undefined || isPruned(entry) ? {} : parseEntry(entry.bytes)
  }

  async #maySee(caller: Caller, entry: Entry): Promise<boolean> {
    return isOwn(caller, entry) || this.may(caller, 'read')
  }
}

export type Entry = Readonly<Record<string, Json>>

export function parseEntry(bytes: Uint8Array): Entry {
  return JSON.parse(Buffer.from(bytes).toString('utf8')) as Entry
}

const isDecision = (entry: Entry): boolean => entry['kind'] === 'decision'

function isOwn(caller: Caller, entry: Entry): boolean {
  const attempt = entry['attempt'] as Partial<Attempt> | undefined
  return (
    entry['caller'] === caller.id ||
    (attempt?.subject !== undefined && sameRef(attempt.subject, caller.subject))
  )
}

/** What the subject of a decision may see: outcome and remedies, no rules, facts about others or risk. */
function forRequester(entry: Entry): Json {
  const shown = [
    'v',
    'seq',
    'at',
    'kind',
    'id',
    'outcome',
    'reason',
    'attempt',
    'attempt_digest',
    'alternatives',
    'truncated',
    'grant',
    // whose account nobody knows can be mended by who asked alone
    'instigators',
    'unresolved',
  ]
  return Object.fromEntries(
    shown.filter((member) => entry[member] !== undefined).map((member) => [member, entry[member]]),
  )
}

function adminAttempt(
  caller: Caller,
  verb: WritVerb,
  resource: EntityRef = SYSTEM,
  context: Readonly<Record<string, Json>> = {},
): Attempt {
  return {
    subject: caller.subject,
    action: { name: `Writ::${verb}` },
    resource,
    context,
    chain: chainOf(caller, caller.subject),
  }
}

function forbidden(verb: string, decision: Decision): WritError {
  if (decision.reason === 'contended') {
    return new WritError('ERR_CONFLICT', 'too much changed at once for this to be decided', {
      hint: 'try again',
    })
  }
  return new WritError(
    'ERR_FORBIDDEN',
    `${refKey(decision.attempt.subject)} may not \`Writ::${verb}\` here`,
    {
      hint: `see \`writ why ${decision.id}\``,
      detail: decision.reason,
    },
  )
}
