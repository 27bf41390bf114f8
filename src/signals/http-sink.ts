/**
 * A sink that is an HTTP endpoint: batches are POSTed, and a 2xx says that they were taken. No redirect is followed,
 * because a batch and its authorization go where they were configured to go.
 *
 * @module
 */
import type { IncomingMessage } from 'node:http'
import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { Instant } from '../model/time.ts'
import type { Batch, Line, Sink } from './sink.ts'
import { SinkError, aborted } from './sink.ts'
import { webhookHeaders, webhookKey } from './webhook.ts'

export type HttpSinkConfig = Readonly<{
  url: string
  /** The header that carries what `token` gives, `authorization` unless said otherwise. */
  header: string
  /** Read for every batch, so that a file may be changed while the server runs. */
  token?: () => string
  /** Key of Standard Webhooks signatures: `whsec_` and base64. */
  webhookSecret?: () => string
  /** PEM. */
  ca?: string
  cert?: string
  key?: string
}>

/** How lines become a body. */
export type Encode = (lines: readonly Line[]) => Readonly<{ type: string; body: string }>

/** Most of an answer that is read; nobody needs what it says. */
const ANSWER_MOST = 65_536
/** How long the rest of an answer is waited for: its status has said everything. */
const ANSWER_WITHIN = 1_000
/** The longest pause that a receiver may ask for. */
const LONGEST_PAUSE = 300_000

export function httpSink(config: HttpSinkConfig, encode: Encode, now: () => Instant): Sink {
  const url = new URL(config.url)
  const secure = url.protocol === 'https:'
  const options = { keepAlive: true, maxSockets: 1 }
  const agent = secure
    ? new HttpsAgent({
        ...options,
        ...(config.ca === undefined ? {} : { ca: config.ca }),
        ...(config.cert === undefined ? {} : { cert: config.cert }),
        ...(config.key === undefined ? {} : { key: config.key }),
      })
    : new HttpAgent(options)

  return {
    async send(batch, signal) {
      const { type, body } = encode(batch.lines)
      const token = config.token?.()
      const headers = {
        'content-type': type,
        'content-length': String(Buffer.byteLength(body)),
        'user-agent': 'writ',
        ...(token === undefined ? {} : { [config.header]: token }),
        ...(config.webhookSecret === undefined
          ? {}
          : signature(batch, body, Math.floor(now() / 1_000), config.webhookSecret())),
      }
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        if (signal.aborted) return reject(aborted(signal))
        const sent = (secure ? httpsRequest : httpRequest)(
          url,
          { method: 'POST', headers, agent, signal },
          resolve,
        )
        sent.on('error', reject)
        // whoever answers by another protocol (101) is cut off, and nothing else would tell of it
        sent.once('close', () => reject(new SinkError('it ended the connection without an answer')))
        sent.end(body)
      })
      const status = answer.statusCode ?? 0
      await drained(answer)
      if (status >= 200 && status < 300) return
      const retryAfter = pause(answer.headers['retry-after'], now())
      throw new SinkError(`it answered ${status}`, {
        tooLarge: status === 413,
        ...(retryAfter === undefined ? {} : { retryAfter }),
      })
    },
    async close() {
      agent.destroy()
    },
  }
}

/** Receivers tell a batch that comes twice by its id. */
function signature(
  { id }: Batch,
  body: string,
  seconds: number,
  secret: string,
): Readonly<Record<string, string>> {
  const key = webhookKey(secret)
  if (key === undefined)
    throw new SinkError('its webhook secret is not `whsec_` and 24 to 64 bytes in base64')
  return webhookHeaders(id, seconds, body, key)
}

/** The connection serves again only if the answer ends soon; what was answered counts either way. */
async function drained(answer: IncomingMessage): Promise<void> {
  let size = 0
  const timer = setTimeout(() => answer.destroy(), ANSWER_WITHIN)
  try {
    for await (const chunk of answer) {
      size += (chunk as Buffer).length
      if (size > ANSWER_MOST) break
    }
  } catch {
    answer.destroy() // it was cut off in what nobody reads
  } finally {
    clearTimeout(timer)
  }
}

function pause(header: string | undefined, now: Instant): number | undefined {
  if (header === undefined) return undefined
  const millis = /^\d{1,9}$/u.test(header) ? Number(header) * 1_000 : Date.parse(header) - now
  return Number.isFinite(millis) && millis > 0 ? Math.min(millis, LONGEST_PAUSE) : undefined
}
