/**
 * One call of the SPIFFE Workload API, `FetchJWTSVID`: gRPC is HTTP/2 with five bytes before each message, and the two
 * messages have four fields between them, so that neither a gRPC library nor generated code is needed.
 *
 * @module
 */
import type { ClientHttp2Session, IncomingHttpHeaders } from 'node:http2'
import { connect, constants } from 'node:http2'
import { connect as connectSocket, isIP } from 'node:net'
import type { NetConnectOpts } from 'node:net'
import { noIdentity, sourceUnreachable } from './source.ts'

const METHOD = '/SpiffeWorkloadAPI/FetchJWTSVID'
const LIMIT = 5_000
const ANSWER_MOST = 256 * 1024

/** Where the API is: `unix:///path` or `tcp://IP:PORT`, as the SPIFFE Workload Endpoint says (§4). */
export function parseEndpoint(text: string): NetConnectOpts | undefined {
  const url = URL.parse(text)
  if (url === null || url.search !== '' || url.hash !== '' || url.username !== '') return undefined
  if (url.protocol === 'unix:') {
    const path = decoded(url.pathname)
    if (path === undefined || path.includes('\0')) return undefined
    return url.host === '' && path.startsWith('/') && path.length > 1 ? { path } : undefined
  }
  const host = url.hostname.replace(/^\[|\]$/gu, '')
  if (url.protocol !== 'tcp:' || isIP(host) === 0 || url.port === '') return undefined
  return url.pathname === '' || url.pathname === '/' ? { host, port: Number(url.port) } : undefined
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined // a percent sign that begins nothing
  }
}

/**
 * The JWT-SVID of this process for `audience`; where it has several identities, the first, which is the default one
 * (SPIFFE Workload API §6.2.1).
 */
export async function fetchJwtSvid(
  endpoint: NetConnectOpts,
  audience: string,
  limit = LIMIT,
): Promise<string> {
  const session = connect('http://localhost', { createConnection: () => connectSocket(endpoint) })
  try {
    const message = await call(session, frame(field(1, audience)), limit)
    const token = svidOf(message)
    if (token === undefined) throw notEntitled('gave no SVID')
    return token
  } finally {
    session.destroy()
  }
}

const notEntitled = (what: string): Error =>
  noIdentity(`the SPIFFE Workload API ${what}`, 'has this workload been registered with the agent?')

function call(session: ClientHttp2Session, body: Buffer, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const gone = (): void =>
      reject(sourceUnreachable('the SPIFFE Workload API does not answer', 'is its agent running?'))
    const timer = setTimeout(gone, limit)
    session.on('error', gone)
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: METHOD,
      [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
      [constants.HTTP2_HEADER_TE]: 'trailers',
      // who calls by accident, e.g. through a server that fetches any URL, does not know this (Workload Endpoint §6)
      'workload.spiffe.io': 'true',
    })
    const chunks: Buffer[] = []
    let size = 0
    let status: string | undefined
    const look = (headers: IncomingHttpHeaders): void => {
      const found = headers['grpc-status']
      if (typeof found === 'string') status = found
    }
    stream.on('response', look)
    stream.on('trailers', look)
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > ANSWER_MOST) stream.close(constants.NGHTTP2_CANCEL)
      else chunks.push(chunk)
    })
    stream.on('error', gone)
    stream.on('close', () => {
      clearTimeout(timer)
      if (status === undefined) return gone()
      // 14 is UNAVAILABLE: the agent is starting, or sheds load
      if (status === '14') return gone()
      // 7 is PERMISSION_DENIED: no identity has been issued to who calls
      if (status === '7') return reject(notEntitled('has no identity for this process'))
      if (status !== '0')
        return reject(notEntitled(`refused with gRPC status ${/^\d+$/u.exec(status)?.[0] ?? '?'}`))
      const answer = unframed(Buffer.concat(chunks))
      if (answer === undefined) return reject(notEntitled('gave an answer that cannot be read'))
      return resolve(answer)
    })
    stream.end(body)
  })
}

/** Not compressed, length, message. */
function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

function unframed(bytes: Buffer): Buffer | undefined {
  if (bytes.length < 5 || bytes[0] !== 0) return undefined
  const length = bytes.readUInt32BE(1)
  return bytes.length === 5 + length ? bytes.subarray(5) : undefined
}

// protocol buffers: each field is its number and kind, and for texts and messages (kind 2) a length before them

const BYTES = 2

function field(number: number, text: string): Buffer {
  const value = Buffer.from(text)
  return Buffer.concat([varint((number << 3) | BYTES), varint(value.length), value])
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80)
  return Buffer.from([...bytes, rest])
}

/** `JWTSVIDResponse.svids[0].svid`. */
function svidOf(message: Buffer): string | undefined {
  const first = bytesOf(message, 1)
  return first === undefined ? undefined : bytesOf(first, 2)?.toString('utf8')
}

/** The first field `wanted` of a message; fields that are not known are passed over. */
function bytesOf(message: Buffer, wanted: number): Buffer | undefined {
  let at = 0
  const next = (): number | undefined => {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = message[at++]
      if (byte === undefined) return undefined
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    return undefined
  }
  while (at < message.length) {
    const key = next()
    if (key === undefined) return undefined
    const kind = key & 7
    if (kind === 0) next()
    else if (kind === 1) at += 8
    else if (kind === 5) at += 4
    else if (kind === BYTES) {
      const length = next()
      if (length === undefined || at + length > message.length) return undefined
      if (key >>> 3 === wanted) return message.subarray(at, at + length)
      at += length
    } else return undefined
  }
  return undefined
}
