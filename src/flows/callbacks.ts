/**
 * Callbacks of access requests (ARAP callback companion): accepted only for endpoints that an operator has registered
 * for the enforcement point that asks, delivered signed and at least once, and never in the way of anything else.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Callback, CallbackTry, CallbackWish } from '../model/callback.ts'
import { owedCallbacks, triedCallback } from '../model/callback.ts'
import { refKey } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { AccessRequest } from '../model/request.ts'
import { requestEntry } from '../lives/ending.ts'
import { reasonOf } from '../signals/sink.ts'
import { webhookHeaders } from '../signals/webhook.ts'
import type { FlowDeps } from './deps.ts'

/** An endpoint that an enforcement point may be called back at. */
export type CallbackRegistration = Readonly<{
  /** The enforcement point, as `refKey`. */
  subject: string
  /** Exactly this URL, or everything below it when it ends in a slash. */
  endpoint: string
  /** Key of the signatures; read for every delivery, so that its file may be changed. @throws if it cannot be read. */
  key(): Uint8Array
  /** True where the endpoint may be in a private network, or be plain HTTP. */
  allowPrivate: boolean
}>

/** How callbacks get out. */
export type CallbackPort = Readonly<{
  registrations: readonly CallbackRegistration[]
  /** One POST. @throws with a reason for the record. */
  post(
    url: URL,
    headers: Readonly<Record<string, string>>,
    body: string,
    allowPrivate: boolean,
  ): Promise<Readonly<{ status: number }>>
  /** The body in the profile's form. */
  body(request: AccessRequest, callback: Callback): string
}>

/** Tries under way at once at one origin, and in all: a dead receiver holds up nobody else. */
const PER_ORIGIN = 2
const IN_ALL = 32
/** Tries after which an operator should know. */
const WORRYING = 5

export class Callbacks {
  readonly #deps: FlowDeps
  readonly #running = new Map<string, Promise<void>>()
  readonly #busy = new Map<string, number>()
  #stopped = false

  constructor(deps: FlowDeps) {
    this.#deps = deps
  }

  /**
   * What will be kept of a wish with the request.
   *
   * @throws {WritError} `ERR_INPUT_INVALID` for an endpoint that is not registered for this caller: a server must not be
   *   sent to wherever somebody likes.
   */
  accept(caller: Caller, wish: CallbackWish): Callback {
    const url = URL.parse(wish.endpoint)
    const by = refKey(caller.subject)
    if (url === null || this.#registration(by, url) === undefined) {
      throw new WritError('ERR_INPUT_INVALID', '`callback.endpoint` is not registered for you', {
        hint: 'an operator lists it under `callbacks` in the configuration; without it, poll the status endpoint',
      })
    }
    return { ...wish, endpoint: url.href, id: this.#deps.decision.newId('msg'), by, tries: 0 }
  }

  /** Tries what is owed about a request now. Never throws: what fails is recorded and due again. */
  start(id: string): void {
    if (this.#stopped || this.#running.has(id)) return
    const work = this.#work(id)
      .catch((error: unknown) => {
        this.#deps.log('error', 'a callback could not be recorded and is tried again', { request: id, error })
      })
      .finally(() => this.#running.delete(id))
    this.#running.set(id, work)
  }

  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values())
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.idle()
  }

  /** What is owed and keeps failing, for `doctor`. */
  async problems(): Promise<readonly string[]> {
    const view = await this.#deps.store.read([{ index: 'request.callback', value: 'owed' }])
    const failing = view
      .scan('request.callback', 'owed')
      .flatMap(({ value }) => owedCallbacks(value))
      .filter(({ tries }) => tries >= WORRYING)
    return [...Map.groupBy(failing, ({ endpoint }) => new URL(endpoint).origin)].map(
      ([origin, all]) =>
        `${all.length} callbacks to ${origin} are not taken: ${all.at(-1)?.problem ?? 'it failed'}`,
    )
  }

  #registration(by: string, url: URL): CallbackRegistration | undefined {
    return this.#deps.callbacks.registrations.find(({ subject, endpoint, allowPrivate }) => {
      if (subject !== by || url.username !== '' || url.password !== '' || url.hash !== '') return false
      if (url.protocol !== 'https:' && !(allowPrivate && url.protocol === 'http:')) return false
      const allowed = new URL(endpoint)
      // encoded dots and slashes may mean another path to whoever reads them
      if (/%2e|%2f|%5c|\/\.{1,2}(?:;|%3b)/iu.test(url.pathname)) return false
      return allowed.pathname.endsWith('/') && allowed.search === ''
        ? url.origin === allowed.origin && url.pathname.startsWith(allowed.pathname)
        : url.href === allowed.href
    })
  }

  async #work(id: string): Promise<void> {
    const { store, schedule } = this.#deps
    const view = await store.read([{ kind: 'request', id }])
    const request = view.get('request', id)?.value
    if (request === undefined) return
    const due = owedCallbacks(request).filter((it) => (it.nextTryAt ?? 0) <= view.now)
    let waits = false
    // at once: one that is dead, or whose origin is taken, keeps none of the others waiting (C12)
    await Promise.all(
      due.map(async (callback) => {
        const leave = this.#enter(new URL(callback.endpoint).origin)
        if (leave === undefined) {
          waits = true
          return
        }
        let result: CallbackTry
        try {
          result = await this.#try(request, callback)
        } finally {
          leave()
        }
        await this.#record(id, callback, result)
      }),
    )
    if (waits) schedule.set('request', id, (await store.read([])).now + 1_000)
  }

  async #try(request: AccessRequest, callback: Callback): Promise<CallbackTry> {
    const url = new URL(callback.endpoint)
    const registration = this.#registration(callback.by, url)
    if (registration === undefined) return { problem: 'its endpoint is no longer registered', final: true }
    const { post, body } = this.#deps.callbacks
    try {
      const text = body(request, callback)
      const { now } = await this.#deps.store.read([])
      const headers = webhookHeaders(callback.id, Math.floor(now / 1_000), text, registration.key())
      const { status } = await post(
        url,
        { 'content-type': 'application/json', ...headers },
        text,
        registration.allowPrivate,
      )
      if (status >= 200 && status < 300) return 'delivered'
      return { problem: `it answered ${status}`, final: status === 410 }
    } catch (error) {
      return { problem: reasonOf(error), final: false }
    }
  }

  async #record(id: string, callback: Callback, result: CallbackTry): Promise<void> {
    const jitter = this.#deps.jitter()
    await this.#deps.store.commit({
      reads: [{ kind: 'request', id }],
      run: (tx) => {
        const request = tx.get('request', id)?.value
        if (request === undefined) return
        const tried = triedCallback(request, callback.id, result, tx.now, jitter)
        const now = tried.callbacks?.find((it) => it.id === callback.id)
        tx.put('request', id, tried)
        if (now?.deliveredAt === undefined && now?.gaveUpAt === undefined) return
        tx.append(
          requestEntry(now.deliveredAt === undefined ? 'callback.undelivered' : 'callback.delivered', tried, {
            callback: now.id,
            to: new URL(now.endpoint).origin,
            status: tried.status,
            tries: now.tries,
            ...(now.problem === undefined ? {} : { problem: now.problem }),
          }),
        )
      },
    })
  }

  /** A place at an origin, `undefined` when all are taken. */
  #enter(origin: string): (() => void) | undefined {
    const all = [...this.#busy.values()].reduce((sum, it) => sum + it, 0)
    const busy = this.#busy.get(origin) ?? 0
    if (busy >= PER_ORIGIN || all >= IN_ALL) return undefined
    this.#busy.set(origin, busy + 1)
    return () => {
      const left = (this.#busy.get(origin) ?? 1) - 1
      if (left === 0) this.#busy.delete(origin)
      else this.#busy.set(origin, left)
    }
  }
}
