/**
 * The sinks that are configured, opened.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { encodeBatch } from '../audit/export/formats.ts'
import type { ExportConfig, TlsFiles } from '../config/exports.ts'
import type { Instant } from '../model/time.ts'
import { fileSink } from '../signals/file-sink.ts'
import { httpSink } from '../signals/http-sink.ts'
import type { Sink } from '../signals/sink.ts'
import { SinkError } from '../signals/sink.ts'
import { syslogSink } from '../signals/syslog-sink.ts'
import { WritError } from '../model/errors.ts'

export type SinkSystem = Readonly<{
  now(): Instant
  /** Of this machine, as syslog messages name it. */
  hostname: string
  read?: (path: string) => string
}>

/**
 * The sink of one export.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` if a TLS file cannot be read; token files are read when they are needed.
 */
export function openSink(config: ExportConfig, { now, hostname, read = readText }: SinkSystem): Sink {
  const pem = (files: TlsFiles): TlsFiles =>
    Object.fromEntries(
      Object.entries(files).map(([name, path]) => {
        try {
          return [name, read(path)]
        } catch (cause) {
          throw new WritError(
            'ERR_CONFIG_INVALID',
            `\`exports\`: cannot read \`${path}\` of \`${config.id}\``,
            {
              hint: 'it must be a PEM file that the user who runs Writ can read',
              cause,
            },
          )
        }
      }),
    )
  const secret = (path: string, what: string) => (): string => {
    let text: string
    try {
      text = read(path).trim()
    } catch (cause) {
      throw new SinkError(`its ${what} file cannot be read`, { cause })
    }
    if (!/^[\x20-\x7e]+$/u.test(text)) throw new SinkError(`its ${what} file holds no ${what}`)
    return text
  }
  switch (config.kind) {
    case 'file':
      return fileSink(config)
    case 'http': {
      const { url, header, tokenFile, webhookSecretFile, tls = {} } = config
      const token = tokenFile === undefined ? undefined : secret(tokenFile, 'token')
      return httpSink(
        {
          url,
          header,
          ...pem(tls),
          ...(token === undefined ? {} : { token: () => authorization(token(), header) }),
          ...(webhookSecretFile === undefined
            ? {}
            : { webhookSecret: secret(webhookSecretFile, 'webhook secret') }),
        },
        (lines) =>
          encodeBatch(
            lines.map(({ text }) => text),
            config.format,
          ),
        now,
      )
    }
    case 'syslog': {
      const { host, port, tls } = config
      return syslogSink({ host, port, hostname, ...(tls === undefined ? {} : { tls: pem(tls) }) })
    }
  }
}

/** A bare token is a bearer token; `Splunk …` and the like are taken as they are. */
const authorization = (token: string, header: string): string =>
  header !== 'authorization' || token.includes(' ') ? token : `Bearer ${token}`

const readText = (path: string): string => readFileSync(path, 'utf8')
