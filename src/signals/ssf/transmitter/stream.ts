/**
 * One stream to one listener, fed from the log: the log is the queue, and what the listener has is a number in the store
 * that rises only after it took an event. An event has the same `jti` whenever it is sent again, so that a crash has nothing
 * lost and nothing believed twice (B54).
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import { isUtf8 } from 'node:buffer'
import { accountId } from '../../../model/identity.ts'
import type { EntityRef } from '../../../model/entity.ts'
import { refKey } from '../../../model/entity.ts'
import type { Json } from '../../../model/canonical.ts'
import { readJson } from '../../../model/json.ts'
import type {
  ListenerConfig,
  SignalEvent,
  StreamStatus,
  SubjectId,
  ToldEvent,
} from '../../../model/signal.ts'
import type { Instant, Millis } from '../../../model/time.ts'
import { DAY, MINUTE, SECOND, toRfc3339 } from '../../../model/time.ts'
import type { LogEntry, PrunedEntry, Read, Store } from '../../../store/port.ts'
import { isPruned } from '../../../store/port.ts'
import type { OutboundOptions } from '../../outbound.ts'
import { outbound } from '../../outbound.ts'
import { SinkError, reasonOf } from '../../sink.ts'
import { bearer, secretIn } from '../client.ts'
import type { OwnSet, SsfCodec } from '../codec.ts'
import type { Log } from '../loop.ts'
import { backedOff, pause } from '../loop.ts'
import type { Entry } from './events.ts'
import { TELLING, toldBy } from './events.ts'

export type StreamOptions = Readonly<{
  store: Store
  codec: SsfCodec
  installation: string
  /** Our name in `iss`. */
  issuer: () => string
  /** The claims as a signed SET. */
  sign: (claims: Readonly<Record<string, Json>>) => Promise<string>
  seal: (label: string, secret: string) => string
  open: (label: string, sealed: string) => string
  readText: (path: string) => Promise<string>
  jitter: () => number
  log: Log
  lookup?: OutboundOptions['lookup']
}>

/** What is kept of a stream. */
export type StreamState = Readonly<{
  /** Below this every event was taken, or has gone to `dead`. */
  next: number
  status: StreamStatus
  reason?: string
  /** Whether its listener has made it, or taken it away. */
  made: boolean
  gone: boolean
  method: 'push' | 'poll'
  url?: string
  /** Sealed. */
  authorization?: string
  /** Short names; all that are configured when absent. */
  requested?: readonly string[]
  description?: string
  /** Entries whose events were refused, the latest last. */
  dead: readonly number[]
  /** Those of before `next` that are to be sent once more. */
  again?: readonly number[]
}>

type Pending = Readonly<{ seq: number; set: OwnSet }>

/** Events held ready, entries looked at for them in one go, and how many are under way to a listener at once. */
const READY = 200
const AT_ONCE = 100
const ABREAST = 8
/** Refused events that can be sent again; older ones are on the record. */
const DEAD_MOST = 1_000
const LONGEST_HOLD: Millis = 20 * SECOND
const PUSH_TIMEOUT: Millis = 10 * SECOND
const ANSWER_MOST = 16_384
const FIRST_RETRY: Millis = 500
const LAST_RETRY: Millis = MINUTE
/** Behind for longer than this is worth a word. */
const SLOW: Millis = MINUTE
/** What waits longer than this for a stream that is paused may wait for ever. */
const LEFT: Millis = DAY

const told: ReadonlySet<string> = new Set(TELLING)

export class ListenerStream {
  readonly config: ListenerConfig
  readonly #options: StreamOptions
  readonly #stopping = new AbortController()
  #state: StreamState | undefined
  #pending: Pending[] = []
  /** Entries below this have been looked at. */
  #scanned = 0
  /** Entries of before that have still to be looked at. */
  #again: readonly number[] = []
  #size = 0
  #oldest: Instant | undefined
  #failures = 0
  #problem: string | undefined
  #news = Promise.withResolvers<void>()
  #running: Promise<void> | undefined
  #scanning: Promise<void> | undefined
  #saving: Promise<unknown> = Promise.resolve()

  constructor(config: ListenerConfig, options: StreamOptions) {
    this.config = config
    this.#options = options
  }

  get id(): string {
    return `${this.#options.installation}.${this.config.name}`
  }

  get state(): StreamState {
    if (this.#state === undefined) throw new TypeError('the streams have not been recovered')
    return this.#state
  }

  get #meta(): Read {
    return { kind: 'meta', id: `ssf/stream/${this.config.name}` }
  }

  async recover(): Promise<void> {
    const { store } = this.#options
    const { size } = await store.log.head()
    const { id } = this.#meta as { id: string }
    const known = (await store.read([this.#meta])).get('meta', id)?.value
    this.#size = size
    const { delivery, endpoint, from } = this.config
    this.#state =
      known === undefined
        ? {
            next: from === 'now' ? size : 0,
            status: 'enabled',
            made: false,
            gone: false,
            method: delivery,
            ...(delivery === 'push' && endpoint !== undefined && !endpoint.endsWith('/')
              ? { url: endpoint }
              : {}),
            dead: [],
          }
        : (known as unknown as StreamState)
    this.#rewind()
    if (known === undefined) await this.#save()
  }

  start(): () => void {
    this.#running ??= this.#run()
    return this.#options.store.log.subscribe((_entries, { size }) => {
      this.#size = size
      this.wake()
    })
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.wake()
    await this.#running
    await this.#saving
  }

  /** Something has changed for whoever waits. */
  wake(): void {
    this.#news.resolve()
    this.#news = Promise.withResolvers<void>()
  }

  /** Whether retention may take entry `seq` away. */
  mayPrune(seq: number): boolean {
    const { status, gone, next, dead, again = [] } = this.state
    return status === 'disabled' || gone || (seq < next && !dead.includes(seq) && !again.includes(seq))
  }

  problems(now: Instant): readonly string[] {
    const { name } = this.config
    const { status, gone, dead } = this.state
    const behind = this.#oldest !== undefined && now - this.#oldest >= SLOW && status === 'enabled' && !gone
    const isLeft = this.#oldest !== undefined && now - this.#oldest >= LEFT && status === 'paused' && !gone
    return [
      ...(isLeft
        ? [
            `listener \`${name}\` has paused its stream, and the log keeps what waits since ${toRfc3339(this.#oldest ?? now)}: it enables or deletes it, or is taken from \`signals.transmitter\``,
          ]
        : []),
      ...(behind
        ? [
            `listener \`${name}\` lacks signals since ${toRfc3339(this.#oldest ?? now)}: ${this.#problem ?? 'it does not take them'}`,
          ]
        : []),
      ...(dead.length === 0
        ? []
        : [
            `listener \`${name}\` refused ${dead.length} ${dead.length === 1 ? 'signal' : 'signals'}: \`writ signals redeliver ${name}\` sends them once more`,
          ]),
    ]
  }

  /** What is changed with a stream, durable when this returns. */
  async change(
    to: (state: StreamState) => StreamState,
    entry?: Readonly<Record<string, Json>>,
  ): Promise<void> {
    const { size } = await this.#options.store.log.head()
    // only now: somebody else may have changed it meanwhile
    const before = this.state
    const after = to(before)
    // what happened while nobody wanted to know is not told later (SSF 1.0 §8.1.2.1)
    const isBack = (before.status === 'disabled' || before.gone) && after.status !== 'disabled' && !after.gone
    this.#state = isBack ? { ...after, next: size } : after
    if (isBack || before.requested !== after.requested) this.#rewind()
    await this.#save(entry)
    this.wake()
  }

  /** Since when events wait that it was to have. */
  get behindSince(): Instant | undefined {
    return this.#oldest
  }

  /** Sends what was refused once more, and nothing else: between may lie what it never was to know. */
  async redeliver(by: string): Promise<number> {
    const { dead, next, again = [] } = this.state
    if (dead.length === 0) return 0
    // those that are not before `next` come again with it
    const before = [...new Set([...again, ...dead])].filter((seq) => seq < next).sort((a, b) => a - b)
    this.#state = { ...this.state, dead: [], again: before }
    this.#rewind()
    await this.#save({ kind: 'signal.redelivered', listener: this.config.name, again: dead.length, by })
    this.wake()
    return dead.length
  }

  #rewind(): void {
    this.#pending = []
    this.#scanned = this.state.next
    this.#again = this.state.again ?? []
  }

  /** Up to `most` signed events that wait, in order. Holds until there is one, unless `immediately`. */
  async waiting(
    most: number,
    immediately: boolean,
    signal?: AbortSignal,
  ): Promise<Readonly<{ sets: readonly Readonly<{ jti: string; token: string }>[]; more: boolean }>> {
    await this.#fill()
    if (this.#pending.length === 0 && !immediately && most > 0) {
      await this.#held(signal)
      await this.#fill()
    }
    const some = this.state.status === 'enabled' ? this.#pending.slice(0, most) : []
    const sets = await Promise.all(
      some.map(async ({ set }) => ({ jti: set.jti, token: await this.#signed(set) })),
    )
    return { sets, more: this.state.status === 'enabled' && this.#pending.length > some.length }
  }

  /** The listener has these, and refuses those. */
  async settle(
    taken: readonly string[],
    refused: Readonly<Record<string, Readonly<{ err: string; description?: string }>>> = {},
  ): Promise<void> {
    const gone = new Set([...taken, ...Object.keys(refused)])
    const dead = this.#pending.filter(({ set }) => Object.hasOwn(refused, set.jti))
    const settled = new Set(this.#pending.flatMap(({ seq, set }) => (gone.has(set.jti) ? [seq] : [])))
    if (settled.size === 0) return
    this.#pending = this.#pending.filter(({ seq }) => !settled.has(seq))
    const next = this.#pending.find(({ seq }) => seq >= this.state.next)?.seq ?? this.#scanned
    this.#oldest = this.#pending[0]?.set.issuedAt
    this.#state = {
      ...this.state,
      next,
      ...(this.state.again === undefined
        ? {}
        : { again: this.state.again.filter((seq) => !settled.has(seq)) }),
      dead: [...this.state.dead, ...dead.map(({ seq }) => seq)].slice(-DEAD_MOST),
    }
    await this.#save(
      ...dead.map(({ seq, set }) => ({
        kind: 'signal.undelivered',
        listener: this.config.name,
        entry: seq,
        jti: set.jti,
        event: set.event.kind,
        err: refused[set.jti]?.err ?? '',
        why: refused[set.jti]?.description ?? '',
      })),
    )
  }

  /** One write at a time: an older state never replaces a newer one. */
  #save(...entries: readonly (Readonly<Record<string, Json>> | undefined)[]): Promise<void> {
    const work = this.#saving.then(() =>
      this.#options.store.commit({
        reads: [this.#meta],
        narrowing: true,
        run: (tx) => {
          const { id } = this.#meta as { id: string }
          tx.put('meta', id, this.state)
          for (const entry of entries) if (entry !== undefined) tx.append({ kind: '', refs: [], ...entry })
        },
      }),
    )
    this.#saving = work.catch(() => undefined) // whoever asked for it hears of it
    return work
  }

  /** Events that wait, read from the log until enough are ready. One reading at a time. */
  #fill(): Promise<void> {
    this.#scanning ??= this.#scan().finally(() => {
      this.#scanning = undefined
    })
    return this.#scanning
  }

  async #scan(): Promise<void> {
    const { store } = this.#options
    this.#size = (await store.log.head()).size
    const from = this.#scanned
    for (;;) {
      await this.#scanAgain()
      if (this.#pending.length >= READY || this.#scanned >= this.#size) break
      const at = this.#scanned
      const entries = await store.log.entries(at, Math.min(this.#size, at + AT_ONCE))
      if (entries.length === 0) break
      const found = (await Promise.all(entries.map((entry) => this.#eventOf(entry)))).filter(
        (one) => one !== undefined,
      )
      if (this.#scanned !== at) continue // it was rewound meanwhile
      this.#pending.push(...found)
      this.#scanned = (entries.at(-1)?.seq ?? at) + 1
      await breathe()
    }
    this.#oldest = this.#pending[0]?.set.issuedAt
    // what says nothing to anybody is not looked at again after a start
    if (this.#pending.length === 0 && this.#scanned - from >= AT_ONCE) {
      this.#state = { ...this.state, next: this.#scanned }
      await this.#save()
    }
  }

  /** What was refused before comes first. */
  async #scanAgain(): Promise<void> {
    const seqs = this.#again
    if (seqs.length === 0) return
    const { store } = this.#options
    const found: Pending[] = []
    for (const seq of seqs) {
      const [entry] = await store.log.entries(seq, seq + 1)
      const one = entry === undefined ? undefined : await this.#eventOf(entry)
      if (one !== undefined) found.push(one)
    }
    if (this.#again !== seqs) return this.#scanAgain() // it was rewound meanwhile
    this.#again = []
    this.#pending = [...found, ...this.#pending]
    // what is no longer there, or no longer told, is owed no more
    this.#state = { ...this.state, again: found.map(({ seq }) => seq) }
  }

  async #eventOf(logged: LogEntry | PrunedEntry): Promise<Pending | undefined> {
    if (isPruned(logged)) return undefined
    const { seq, at, bytes } = logged
    const entry = JSON.parse(Buffer.from(bytes).toString('utf8')) as Entry
    if (typeof entry['kind'] !== 'string' || !told.has(entry['kind'])) return undefined
    const one = await toldBy(entry, this.#options.store)
    if (one === undefined) return undefined
    let subject: SubjectId | undefined
    if (one.listener !== undefined) {
      if (one.listener !== this.config.name) return undefined
      subject = { format: 'opaque', id: this.id }
    } else {
      if (!this.delivers(one.event)) return undefined
      subject = await this.#named(one.subject)
      if (subject === undefined) return undefined
    }
    const { installation, issuer } = this.#options
    const { name, audience } = this.config
    return {
      seq,
      set: {
        iss: issuer(),
        aud: audience,
        jti: `${installation}.${seq}.${name}`,
        issuedAt: at,
        at,
        // the same for everybody who is told
        txn: `${installation}.${seq}`,
        subject,
        event: one.event,
      },
    }
  }

  delivers({ kind }: SignalEvent): boolean {
    const { requested } = this.state
    const isAllowed = this.config.events.some((event) => event === kind)
    return isAllowed && (requested === undefined || requested.includes(kind))
  }

  get delivered(): readonly ToldEvent[] {
    return this.config.events.filter((kind) => this.delivers({ kind } as SignalEvent))
  }

  /** The subject as the listener knows it; `undefined` for whom it does not know. */
  async #named(subject: EntityRef): Promise<SubjectId | undefined> {
    const { subjects } = this.config
    const key = refKey(subject)
    if (subjects === 'opaque') return { format: 'opaque', id: key }
    if (subjects === 'iss_sub') return { format: 'iss_sub', iss: this.#options.issuer(), sub: key }
    const view = await this.#options.store.read([{ index: 'account.person', value: key }])
    const linked = view
      .scan('account.person', key)
      .map(({ value }) => value)
      .find(
        ({ id, issuer, account }) => issuer === subjects.issuer && id === accountId({ issuer, id: account }),
      )
    return linked === undefined ? undefined : { format: 'iss_sub', iss: subjects.iss, sub: linked.account }
  }

  async #signed(set: OwnSet): Promise<string> {
    return this.#options.sign(this.#options.codec.encodeSet(set))
  }

  async #held(given?: AbortSignal): Promise<void> {
    const over = AbortSignal.any([this.#stopping.signal, ...(given === undefined ? [] : [given])])
    const done = new AbortController()
    const deadline = pause(LONGEST_HOLD, AbortSignal.any([over, done.signal])).then(() => 'late' as const)
    try {
      for (;;) {
        const news = this.#news.promise.then(() => 'news' as const)
        const which = await Promise.race([news, deadline])
        if (which === 'late' || over.aborted) return
        await this.#fill()
        if (this.#pending.length > 0) return
      }
    } finally {
      done.abort()
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      const news = this.#news.promise
      let worked = false
      try {
        worked = await this.#step()
        this.#failures = 0
        this.#problem = undefined
      } catch (error) {
        if (signal.aborted) return
        await pause(this.#failed(error), signal)
        continue
      }
      if (!worked) await news
    }
  }

  /** Pushes what waits; whether there was anything. */
  async #step(): Promise<boolean> {
    await this.#fill()
    const { method, status, gone } = this.state
    if (method !== 'push' || status !== 'enabled' || gone) return false
    // a verification says that everything before it has arrived
    const at = this.#pending.findIndex(({ set }) => set.event.kind === 'verification')
    const some = this.#pending.slice(0, at === 0 ? 1 : at === -1 ? ABREAST : Math.min(at, ABREAST))
    if (some.length === 0) return false
    const results = await Promise.allSettled(some.map(({ set }) => this.#push(set)))
    const taken: string[] = []
    const refused: Record<string, SetErrorAnswer> = {}
    let failure: Error | undefined
    for (const [nth, result] of results.entries()) {
      const jti = some[nth]?.set.jti ?? ''
      if (result.status === 'rejected') failure ??= result.reason as Error
      else if (result.value === undefined) taken.push(jti)
      else refused[jti] = result.value
    }
    await this.settle(taken, refused)
    if (failure !== undefined) throw failure
    return true
  }

  /** Why the listener will never take it, if it said so. @throws {SinkError} if it may be tried again. */
  async #push(set: OwnSet): Promise<SetErrorAnswer | undefined> {
    const { codec, lookup, readText, open } = this.#options
    const { allowPrivate, ca, authorizationFile } = this.config
    const { url, authorization } = this.state
    if (url === undefined) throw new SinkError('it has not said where its signals go')
    const shown =
      authorization !== undefined
        ? open(`ssf/${this.config.name}`, authorization)
        : authorizationFile === undefined
          ? undefined
          : bearer(await secretIn(readText, authorizationFile))
    const { status, headers, body } = await outbound(
      new URL(url),
      {
        method: 'POST',
        headers: {
          'content-type': 'application/secevent+jwt',
          accept: 'application/json',
          ...(shown === undefined ? {} : { authorization: shown }),
        },
        body: await this.#signed(set),
        signal: this.#stopping.signal,
      },
      {
        allowPrivate,
        timeout: PUSH_TIMEOUT,
        maxBytes: ANSWER_MOST,
        ...(ca === undefined ? {} : { ca }),
        ...(lookup === undefined ? {} : { lookup }),
      },
    )
    if (status >= 200 && status < 300) return undefined
    const read = isUtf8(body) ? readJson(Buffer.from(body).toString('utf8'), 8) : undefined
    const error = read?.problem === undefined ? codec.parseSetError(read?.value) : undefined
    // the other codes say something about us, not about this event: it is as good once that is mended
    if (status === 400 && error?.err === 'invalid_request') return error
    const after = headers['retry-after']
    const retryAfter = /^\d{1,6}$/u.test(after ?? '') ? Number(after) * SECOND : undefined
    throw new SinkError(
      `it answered ${status}${error === undefined ? '' : ` (${error.err.slice(0, 64)})`}`,
      retryAfter === undefined ? {} : { retryAfter },
    )
  }

  #failed(error: unknown): Millis {
    this.#failures += 1
    const problem = reasonOf(error)
    if (problem !== this.#problem)
      this.#options.log('warn', 'signals are not taken and are tried again', {
        listener: this.config.name,
        problem,
      })
    this.#problem = problem
    const asked = error instanceof SinkError ? (error.retryAfter ?? 0) : 0
    const own = backedOff(this.#failures, this.#options.jitter(), FIRST_RETRY, LAST_RETRY)
    return Math.min(Math.max(asked, own), 10 * MINUTE)
  }
}

type SetErrorAnswer = Readonly<{ err: string; description?: string }>
