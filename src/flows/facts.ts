/**
 * What others observe, recorded: the one way by which a fact changes, whether it was pushed, signalled or asked for.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Json } from '../model/canonical.ts'
import { canonical } from '../model/canonical.ts'
import type { EntityRef } from '../model/entity.ts'
import { refKey, sameRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Fact, Observation } from '../model/fact.ts'
import { MOST_DEVICES, MOST_OBSERVED, devicesIn, factId, factNames, merge } from '../model/fact.ts'
import type { AccessRequest } from '../model/request.ts'
import type { Task } from '../model/task.ts'
import type { Instant, Millis } from '../model/time.ts'
import { DAY } from '../model/time.ts'
import type { Read, Transaction } from '../store/port.ts'
import { Picture } from '../store/picture.ts'
import type { Asking } from '../decision/live.ts'
import { liveFacts } from '../decision/live.ts'
import { actionUid } from '../decision/redecide.ts'
import { cedarEntities, hasThirdParty, loadClosure, loadOwners, registered } from '../identity/inventory.ts'
import type { Attempts } from './attempts.ts'
import type { FlowDeps } from './deps.ts'

/** What one fact may hold, characters of canonical JSON. */
const MOST_VALUE = 65_536
/**
 * Without an age of its own a fact that somebody pushes is believed this long, where `sources.pushed.max_age` says nothing
 * else: those who manage devices say at least once a day what is so.
 */
const BELIEVED = DAY
/** Things that one source may tell of by itself, where `sources.pushed.most` says nothing else. */
const MOST_TOLD = 100_000

export class Facts {
  readonly #deps: FlowDeps
  readonly #attempts: Attempts
  /** Who was refused for telling of too many things. */
  readonly #full = new Set<string>()

  constructor(deps: FlowDeps, attempts: Attempts) {
    this.#deps = deps
    this.#attempts = attempts
  }

  /**
   * What somebody tells by themselves. Facts are never deleted, since what was known would be absent then: so there is an
   * end to the things that one may tell of, and what they told of before they may always tell again (law 12).
   *
   * @param teller whose share it takes, where that is another than `source`.
   * @throws {WritError} `ERR_INPUT_INVALID` like `observe`; `ERR_TOO_LARGE` for one thing too many: nothing is recorded.
   */
  told(source: string, by: string, observations: readonly Observation[], teller = source): Promise<void> {
    return this.observe(source, by, observations, teller)
  }

  /** Who was refused, since this server was started. */
  problems(): readonly string[] {
    return [...this.#full].map(
      (teller) =>
        `\`${teller}\` has told of ${this.#most} things and is heard of no others: see what it tells of, or raise \`sources.pushed.most\``,
    )
  }

  get #most(): number {
    return this.#deps.mostTold ?? MOST_TOLD
  }

  /**
   * Records what `source` says, with `by` as where it came from. The same again, older, or in another order changes
   * nothing; only another value leaves an entry, and has what depends on it looked at again.
   *
   * @throws {WritError} `ERR_INPUT_INVALID` for too many or too large.
   */
  async observe(
    source: string,
    by: string,
    observations: readonly Observation[],
    teller?: string,
  ): Promise<void> {
    if (observations.length === 0) return
    if (observations.length > MOST_OBSERVED) throw tooMuch(`more than ${MOST_OBSERVED} facts at once`)
    for (const { name, value, device } of observations) {
      if (device !== undefined && name !== 'posture')
        throw new WritError('ERR_INPUT_INVALID', `a \`${name}\` is of no device`)
      if (canonical(value).length > MOST_VALUE) throw tooMuch(`a fact of more than ${MOST_VALUE} characters`)
    }
    const share = teller === undefined ? undefined : `facts/${teller}`
    await this.#deps.store.commit({
      reads: [
        ...(share === undefined ? [] : [{ kind: 'meta' as const, id: share }]),
        ...observations.flatMap(({ name, about, device }): Read[] => [
          { kind: 'fact', id: factId(name, about, device) },
          ...(device === undefined ? [] : [{ kind: 'fact' as const, id: factId('devices', about) }]),
        ]),
      ],
      narrowing: true,
      run: (tx) => {
        if (share !== undefined) this.#take(tx, share, observations)
        for (const observation of observations) {
          const { name, about, device } = observation
          const id = factId(name, about, device)
          const known = tx.get('fact', id)?.value
          const arrived = arrivedAt(observation, tx.now, { id, source, by }, this.#deps.believed)
          const fact = merge(known, arrived)
          if (fact === known) continue
          tx.put('fact', id, fact)
          if (device !== undefined) noteDevice(tx, about, device, fact.value !== null)
          if (known !== undefined && canonical(known.value) === canonical(fact.value)) continue
          tx.append({
            kind: 'fact.observed',
            refs: [fact.about, id],
            name: fact.name,
            about: fact.about,
            ...(device === undefined ? {} : { device }),
            source,
            by,
            value: fact.value,
            observed_at: fact.observedAt,
            ...(fact.maxAge === undefined ? {} : { max_age: fact.maxAge }),
            ...(known === undefined ? {} : { before: known.value }),
          })
        }
      },
    })
  }

  /**
   * A caller reports facts that it is trusted to know: policy decides on `Writ::report` for each thing that it speaks of.
   * For what a configured source answers for nobody else has a word.
   *
   * @throws {WritError} `ERR_FORBIDDEN`, `ERR_INPUT_INVALID`, `ERR_TOO_LARGE`.
   */
  async report(caller: Caller, observations: readonly Observation[]): Promise<void> {
    for (const { name, about } of observations) {
      await this.#attempts.administer(caller, 'report', { context: { fact: name, about } })
      // or whoever reports would be believed for a ticket that is closed, until its system is asked again
      if (this.#deps.decision.context.answersFor({ name, about }))
        throw new WritError(
          'ERR_INPUT_INVALID',
          `what the ${name} \`${about}\` is like, its own source says`,
          {
            hint: 'change it there; a webhook of that source tells of it at once',
          },
        )
    }
    // whoever has many keys and sessions is one
    await this.told(caller.id, caller.id, observations, refKey(caller.subject))
  }

  /** Takes from the share what `observations` are the first to tell of. */
  #take(tx: Transaction, share: string, observations: readonly Observation[]): void {
    const ids = new Set(observations.map(({ name, about, device }) => factId(name, about, device)))
    const more = [...ids].filter((id) => tx.get('fact', id) === undefined).length
    if (more === 0) return
    const before = Number(tx.get('meta', share)?.value['told'] ?? 0)
    if (before + more > this.#most) {
      const teller = share.slice('facts/'.length)
      this.#full.add(teller)
      throw new WritError('ERR_TOO_LARGE', `\`${teller}\` has told of ${before} things already`, {
        hint: `what it told of before is still heard; of more than ${this.#most} with \`sources.pushed.most\``,
      })
    }
    tx.put('meta', share, { told: before + more })
  }

  /**
   * What a decision about `attempt` would see, with all facts that there are: for who may read.
   *
   * @throws {WritError} `ERR_FORBIDDEN`.
   */
  async seen(
    caller: Caller,
    {
      subject,
      resource,
      action,
      task,
    }: Readonly<{ subject: EntityRef; resource?: EntityRef; action?: string; task?: string }>,
  ): Promise<Seen> {
    await this.#requireReader(caller)
    const { decision } = this.#deps
    const picture = new Picture(this.#deps.store)
    await picture.load([
      { kind: 'meta', id: 'policy' },
      ...(task === undefined ? [] : [{ kind: 'task' as const, id: task }]),
    ])
    await loadClosure(picture, [subject, ...(resource === undefined ? [] : [resource])])
    await loadOwners(picture, [subject])
    const found = task === undefined ? undefined : picture.get('task', task)?.value
    const mine = found !== undefined && sameRef(found.subject, subject) ? found : undefined
    const asking: Asking = {
      // how somebody is signed in, and what was proved of them, is known of who asks alone
      caller: sameRef(caller.subject, subject) ? caller : { id: caller.id, kind: 'key', subject },
      chain: [subject],
      task: mine,
    }
    const names = new Set([...factNames, 'calendars'])
    const { facts, needed } = await liveFacts(picture, decision.context, asking, names)
    const kept = needed
      .filter(({ name }) => name !== 'devices')
      .flatMap(({ name, about, device }) => picture.get('fact', factId(name, about, device))?.value ?? [])
    const version = picture.get('meta', 'policy')?.value['version'] as string | undefined
    const policy = version === undefined ? undefined : decision.policies.get(version)
    const entity = resource === undefined ? undefined : registered(picture, resource)
    return {
      at: picture.now,
      live: { ...facts.live, ...facts.of?.[refKey(subject)] },
      unknown: [...facts.unknown].sort(),
      ...(policy === undefined || resource === undefined || action === undefined
        ? {}
        : {
            read: [
              ...policy.readsFor(
                { principal: subject, action: actionUid(action), resource },
                cedarEntities(picture, [subject, resource]),
              ).facts,
            ].sort(),
          }),
      facts: kept,
      ...(resource === undefined
        ? {}
        : {
            resource: {
              id: refKey(resource),
              registered: entity !== undefined,
              // what nobody registered counts as the most sensitive
              sensitivity: entity?.sensitivity ?? 4,
              ...(entity?.owner === undefined ? {} : { owner: refKey(entity.owner) }),
              ...(entity?.team === undefined ? {} : { team: refKey(entity.team) }),
            },
          }),
    }
  }

  /**
   * What is known just now of what a request stands on, for whoever may see that request: only facts that requesters may
   * be told, and nothing is asked for.
   */
  async under(request: AccessRequest): Promise<Grounds> {
    const { chain, subject } = request.attempt
    const about = refKey(subject)
    const picture = new Picture(this.#deps.store)
    await picture.load([
      { index: 'fact.about', value: about },
      ...(request.task === undefined ? [] : [{ kind: 'task' as const, id: request.task }]),
    ])
    await loadClosure(picture, chain)
    await loadOwners(picture, chain)
    const task = request.task === undefined ? undefined : picture.get('task', request.task)?.value
    const key = task?.ticket
    if (key !== undefined) await picture.load([{ kind: 'fact', id: factId('ticket', key) }])
    const ticket = key === undefined ? undefined : picture.get('fact', factId('ticket', key))?.value
    return {
      ...(task?.window === undefined ? {} : { window: task.window }),
      ...(key === undefined ? {} : { ticket: { key, ...(ticket === undefined ? {} : { fact: ticket }) } }),
      postures: picture
        .scan('fact.about', about)
        .flatMap(({ value }) => (value.name === 'posture' && value.value !== null ? [value] : [])),
      isThirdParty: hasThirdParty(picture, chain),
    }
  }

  /** What is stored about something, with its age and source: for who may read. */
  async about(caller: Caller, about: string): Promise<readonly Fact[]> {
    await this.#requireReader(caller)
    const view = await this.#deps.store.read([{ index: 'fact.about', value: about }])
    // which devices there are is Writ's own note, and no fact
    return view.scan('fact.about', about).flatMap(({ value }) => (value.name === 'devices' ? [] : [value]))
  }

  async #requireReader(caller: Caller): Promise<void> {
    if (await this.#attempts.may(caller, 'read')) return
    throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not see facts of others`, {
      hint: 'policy permits it with `Writ::read`',
    })
  }
}

/** What a request stands on beside its words. */
export type Grounds = Readonly<{
  window?: NonNullable<Task['window']>
  /** The ticket that its task names, and what is known of it. */
  ticket?: Readonly<{ key: string; fact?: Fact }>
  postures: readonly Fact[]
  isThirdParty: boolean
}>

export type Seen = Readonly<{
  at: Instant
  live: Readonly<Record<string, Json>>
  unknown: readonly string[]
  /** Facts that the policies in scope read, where an action and a resource are named. */
  read?: readonly string[]
  facts: readonly Fact[]
  resource?: Readonly<{ id: string; registered: boolean; sensitivity: number; owner?: string; team?: string }>
}>

/** What arrived at `now`: a source whose clock runs ahead observed it now, and an age is bounded. */
function arrivedAt(
  observation: Observation,
  now: Instant,
  from: Pick<Fact, 'id' | 'source' | 'by'>,
  believed: Millis = BELIEVED,
): Fact {
  const { device, value } = observation
  return {
    ...observation,
    // policies read which device it is, however that was said
    ...(device === undefined || value === null ? {} : { value: { ...value, device } }),
    ...from,
    observedAt: Math.min(observation.observedAt, now),
    maxAge: Math.min(observation.maxAge ?? believed, Math.max(believed, BELIEVED)),
    receivedAt: now,
  }
}

/**
 * Keeps which devices of a subject there are, so that a decision reads all of them.
 *
 * @throws {WritError} `ERR_INPUT_INVALID` for too many: one that was dropped might be the one that counts.
 */
function noteDevice(tx: Transaction, about: string, device: string, isThere: boolean): void {
  const id = factId('devices', about)
  const before = devicesIn(tx.get('fact', id)?.value)
  if (before.includes(device) === isThere) return
  if (isThere && before.length >= MOST_DEVICES) {
    throw new WritError('ERR_INPUT_INVALID', `\`${about}\` has ${MOST_DEVICES} devices already`, {
      hint: 'report `null` for those that it has no more',
    })
  }
  const devices = isThere ? [...before, device].sort() : before.filter((one) => one !== device)
  const at = { observedAt: tx.now, receivedAt: tx.now }
  tx.put('fact', id, { id, name: 'devices', about, value: { devices }, source: 'writ', by: 'writ', ...at })
}

const tooMuch = (what: string): WritError =>
  new WritError('ERR_INPUT_INVALID', what, { hint: 'send less at once' })
