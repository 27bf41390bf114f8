/**
 * Receiving callbacks of access requests: only what Writ signed, lately, and once (Standard Webhooks 1.0).
 *
 * ```ts
 * const callbacks = createCallbackReceiver({ secret: process.env.WRIT_CALLBACK_SECRET })
 * const { task, result, state } = await callbacks.receive(request.headers, rawBody)
 * ```
 *
 * @module
 */
import type { AccessTask, ApprovalReference } from './access.ts'
import { WritClientError } from './error.ts'

/** What a callback says. It is a hint: evaluating again decides. */
export type AccessCallback = Readonly<{
  /** The same when it is sent again. */
  id: string
  task: AccessTask
  result?: Readonly<{ mode: string; approval: ApprovalReference }>
  /** As it was given with the submission. */
  state?: string
}>

/**
 * Remembers which ids were received. `add` answers false for one that it knows; it may forget one after `seconds`.
 * Receivers that run in several processes share one, so that what one has taken no other takes again.
 */
export type CallbackMemory = Readonly<{ add(id: string, seconds: number): boolean | Promise<boolean> }>

export type CallbackReceiverOptions = Readonly<{
  /** `whsec_…`, as in the file that the server was configured with; several while it is changed. */
  secret: string | readonly string[]
  /** In this process, for the last 10,000 ids, unless said otherwise. */
  memory?: CallbackMemory
  now?: () => number
}>

type Key = Awaited<ReturnType<typeof crypto.subtle.importKey>>

/** Seconds that a callback may be old, or ahead of this clock. */
const TOLERANCE = 300
const MOST_REMEMBERED = 10_000
const BODY_MOST = 1_048_576
const MOST_SIGNATURES = 8

/**
 * A receiver. `receive` takes the headers and the raw body, as bytes or exactly the text that arrived.
 *
 * @throws {WritClientError} `ERR_CALLBACK_INVALID` for what is forged, late, or no callback; answer such a request with
 *   400 and nothing else. `ERR_CALLBACK_REPEATED` for one that was received before: do nothing and answer with 204, or
 *   Writ, which did not hear the first answer, goes on trying. `ERR_INPUT_INVALID` for a secret that is none.
 */
export function createCallbackReceiver(options: CallbackReceiverOptions): Readonly<{
  receive(
    headers: Headers | Readonly<Record<string, string | readonly string[] | undefined>>,
    body: string | Uint8Array,
  ): Promise<AccessCallback>
}> {
  const { now = () => Date.now(), memory = processMemory(now) } = options
  const secrets = typeof options.secret === 'string' ? [options.secret] : options.secret
  if (secrets.length === 0) throw noSecret()
  const keys = secrets.map(keyOf)
  return {
    async receive(headers, body) {
      const id = header(headers, 'webhook-id')
      const timestamp = header(headers, 'webhook-timestamp')
      const signatures = header(headers, 'webhook-signature')
      if (id === undefined || timestamp === undefined || signatures === undefined)
        throw invalid('it is not signed')
      const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body
      if (bytes.length > BODY_MOST) throw invalid('it is too large')
      if (!/^\d{1,12}$/u.test(timestamp)) throw invalid('its time is none')
      const isSigned = await verified(keys, `${id}.${timestamp}.`, bytes, signatures)
      if (!isSigned) throw invalid('its signature is not by this secret')
      if (Math.abs(now() / 1_000 - Number(timestamp)) > TOLERANCE)
        throw invalid('it is too old, or from the future')
      const parsed = parse(bytes)
      // last, so that nobody can use up the id of a callback that is still to come
      if (!(await memory.add(id, 2 * TOLERANCE)))
        throw new WritClientError('ERR_CALLBACK_REPEATED', 'the callback was received before')
      return { id, ...parsed }
    },
  }
}

const invalid = (why: string): WritClientError =>
  new WritClientError('ERR_CALLBACK_INVALID', `the callback is refused: ${why}`)

const noSecret = (): WritClientError =>
  new WritClientError('ERR_INPUT_INVALID', '`secret` is no key of signatures', {
    hint: 'give `whsec_` and 24 to 64 bytes in base64, the text of the file that the server has',
  })

function keyOf(secret: string): Promise<Key> {
  let bytes: Uint8Array<ArrayBuffer>
  try {
    bytes = Uint8Array.from(atob(secret.trim().replace(/^whsec_/u, '')), (char) => char.charCodeAt(0))
  } catch {
    throw noSecret() // no base64
  }
  if (bytes.length < 24 || bytes.length > 64) throw noSecret()
  return crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['verify'])
}

/** A header that is there once, and is text. */
function header(
  headers: Headers | Readonly<Record<string, string | readonly string[] | undefined>>,
  name: string,
): string | undefined {
  if (headers instanceof Headers) return headers.get(name) ?? undefined
  const found = Object.entries(headers).filter(([key]) => key.toLowerCase() === name)
  const [value] = found[0]?.slice(1) ?? []
  return found.length === 1 && typeof value === 'string' ? value : undefined
}

/** Whether one of the `v1` signatures is by one of the keys; the comparison is that of the platform, in constant time. */
async function verified(
  keys: readonly Promise<Key>[],
  prefix: string,
  body: Uint8Array,
  signatures: string,
): Promise<boolean> {
  const start = new TextEncoder().encode(prefix)
  const signed = new Uint8Array(start.length + body.length)
  signed.set(start)
  signed.set(body, start.length)
  for (const text of signatures.split(' ').slice(0, MOST_SIGNATURES)) {
    const encoded = /^v1,([A-Za-z0-9+/]{43}=)$/u.exec(text)?.[1]
    if (encoded === undefined) continue
    const mac = Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0))
    for (const key of keys) if (await crypto.subtle.verify('HMAC', await key, mac, signed)) return true
  }
  return false
}

function parse(bytes: Uint8Array): Omit<AccessCallback, 'id'> {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new WritClientError('ERR_CALLBACK_INVALID', 'the callback is refused: it is not JSON', { cause })
  }
  const { task } = (value ?? {}) as { task?: { id?: unknown; status?: unknown } }
  if (typeof task?.id !== 'string' || typeof task.status !== 'string')
    throw invalid('it is about no access request')
  return value as Omit<AccessCallback, 'id'>
}

function processMemory(now: () => number): CallbackMemory {
  const until = new Map<string, number>()
  return {
    add(id, seconds) {
      const at = now()
      for (const [known, end] of until) {
        if (end > at && until.size <= MOST_REMEMBERED) break
        until.delete(known)
      }
      if (until.has(id)) return false
      until.set(id, at + seconds * 1_000)
      return true
    },
  }
}
