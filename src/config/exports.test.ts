import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isWritError } from '../model/errors.ts'
import type { ExportConfig } from './exports.ts'
import { exportConfigs, exportSchema, exportSummary } from './exports.ts'

const read = (...some: unknown[]): readonly ExportConfig[] =>
  exportConfigs(
    some.map((one) => exportSchema.parse(one)),
    (path) => `/abs/${path}`,
  )

const refused = (why: RegExp, ...some: unknown[]): void =>
  assert.throws(
    () => read(...some),
    (error) => isWritError(error, 'ERR_CONFIG_INVALID') && why.test(error.message),
  )

const http = { id: 'siem', kind: 'http', url: 'https://collector.example/in' }
const syslog = { id: 'logs', kind: 'syslog', address: 'logs.example:6514' }
const file = { id: 'disk', kind: 'file', path: 'audit.ndjson' }

describe('exports', () => {
  test('have defaults, absolute paths and milliseconds', () => {
    assert.deepEqual(read(file, { ...http, token_file: 'token', timeout: '5s', header: 'X-Key' }, syslog), [
      {
        id: 'disk',
        kind: 'file',
        format: 'ocsf',
        from: 'start',
        timeout: 10_000,
        batch: 500,
        path: '/abs/audit.ndjson',
        rotateAt: 104_857_600,
      },
      {
        id: 'siem',
        kind: 'http',
        format: 'ocsf',
        from: 'start',
        timeout: 5_000,
        batch: 500,
        url: 'https://collector.example/in',
        header: 'x-key',
        tokenFile: '/abs/token',
      },
      {
        id: 'logs',
        kind: 'syslog',
        format: 'ocsf',
        from: 'start',
        timeout: 10_000,
        batch: 500,
        host: 'logs.example',
        port: 6514,
        tls: {},
      },
    ])
  })

  test('B43 nothing crosses a network in the clear unless that is said', () => {
    refused(/in the clear/, { ...http, url: 'http://collector.example/in' })
    refused(/in the clear/, { ...http, url: 'http://127.0.0.1.example/in' })
    refused(/in the clear/, { ...syslog, tls: false })
    assert.equal(read({ ...http, url: 'http://collector.example/in', unsafe_plaintext: true }).length, 1)
    for (const host of ['127.0.0.1', '[::1]', 'localhost'])
      assert.equal(
        read({ ...http, url: `http://${host}:1/` }, { ...syslog, address: `${host}:514`, tls: false }).length,
        2,
      )
  })

  test('two of one name, two on one file, half a certificate and no port are refused', () => {
    refused(/`disk` stands there twice/, file, { ...http, id: 'disk' })
    refused(/twice/, file, { ...file, id: 'other' })
    refused(/half of the TLS pair/, { ...http, tls: { cert: 'a' } })
    refused(/no such port/, { ...syslog, address: 'logs.example:0' })
    for (const wrong of [
      { ...http, url: 'https://user:pass@collector.example/' },
      { ...http, url: 'file:///etc/passwd' },
      { ...http, header: 'x\r\ny' },
      { ...syslog, address: 'logs.example' },
      { ...file, format: 'cef' },
      { ...file, token: 'secret' },
      { ...file, id: '../etc' },
    ])
      assert.equal(exportSchema.safeParse(wrong).success, false, JSON.stringify(wrong))
  })

  test('B43 the summary on the record holds no key that an address may hold', () => {
    const [siem] = read({
      ...http,
      url: 'https://collector.example/in/s3cret?key=s3cret',
      token_file: 's3cret',
    })
    assert.deepEqual(siem && exportSummary(siem), {
      id: 'siem',
      kind: 'http',
      format: 'ocsf',
      to: 'https://collector.example',
    })
  })
})
