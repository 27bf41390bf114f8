/**
 * A sink that is a syslog receiver: RFC 5424 messages over TCP, framed by counting octets (RFC 6587 §3.4.1, RFC 5425
 * §4.3), with TLS.
 *
 * Syslog acknowledges nothing. So each batch has a connection of its own, which is closed for writing after the last
 * message; a receiver that has read to that end closes its side, and that is taken for its yes. A connection that is
 * reset, cut or left open says no, and the batch is sent again.
 *
 * @module
 */
import type { Socket } from 'node:net'
import { connect, isIP } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { Batch, Line, Sink } from './sink.ts'
import { SinkError, aborted } from './sink.ts'

export type SyslogSinkConfig = Readonly<{
  host: string
  port: number
  /** `true` for TLS with the authorities that the system trusts. */
  tls?: true | Readonly<{ ca?: string; cert?: string; key?: string }>
  /** HOSTNAME of the messages. */
  hostname: string
}>

/** RFC 5424 §6.2.1: 13 is "log audit". */
const FACILITY = 13

export function syslogSink(config: SyslogSinkConfig): Sink {
  return {
    send: (batch, signal) => deliver(config, batch, signal),
    close: async () => undefined,
  }
}

function deliver(config: SyslogSinkConfig, { lines }: Batch, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(aborted(signal))
    const socket = dial(config)
    const stop = (): void => void socket.destroy(aborted(signal))
    signal.addEventListener('abort', stop, { once: true })
    let sent = false
    let ended = false
    let failure: Error | undefined
    socket.once(config.tls === undefined ? 'connect' : 'secureConnect', () => {
      socket.end(lines.map((line) => frame(line, config.hostname)).join(''), () => {
        sent = true
      })
    })
    socket.on('data', () => undefined) // receivers have nothing to say, but their end is heard only if they are read
    socket.once('end', () => {
      if (sent) ended = true
      else failure ??= new SinkError('it closed the connection before it had everything')
    })
    socket.once('error', (error) => {
      failure ??= error
    })
    socket.once('close', () => {
      signal.removeEventListener('abort', stop)
      if (failure === undefined && ended) resolve()
      else reject(failure ?? new SinkError('it cut the connection'))
    })
  })
}

function dial({ host, port, tls }: SyslogSinkConfig): Socket {
  if (tls === undefined) return connect({ host, port, allowHalfOpen: true })
  const halfOpen = { allowHalfOpen: true } // passed on to the socket, which the types do not say
  return connectTls({
    ...halfOpen,
    host,
    port,
    minVersion: 'TLSv1.2',
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(tls === true ? {} : tls),
  })
}

/** `LEN SP <PRI>1 TIME HOST writ - KIND - TEXT` (RFC 5424 §6). */
export function frame({ severity, time, kind, text }: Line, hostname: string): string {
  const message = `<${FACILITY * 8 + severity}>1 ${time} ${token(hostname, 255)} writ - ${token(kind, 32)} - ${text}`
  return `${Buffer.byteLength(message)} ${message}`
}

/** Visible ASCII without spaces, of bounded length. */
const token = (value: string, most: number): string =>
  value.replaceAll(/[^\x21-\x7e]/gu, '_').slice(0, most) || '-'
