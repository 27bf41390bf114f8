import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'

import { isWritError } from '../../model/errors.ts'
import { Secret } from '../../model/secret.ts'
import { adminSql, parsePostgresConfig, postgresNotices } from './config.ts'

const least = {
  id: 'db',
  url: 'postgresql://writ_admin:hunter2@localhost/orders',
  roles: { migrate: 'orders_owner' },
}

test('a name, an address and the roles are enough', () => {
  const { admin, roles, ...rest } = parsePostgresConfig(least)
  assert.deepEqual(rest, {
    id: 'db',
    kind: 'postgres',
    host: 'localhost',
    port: 5432,
    database: 'orders',
    tls: { mode: 'disable' },
    shape: 'ephemeral',
    setRole: 'login',
    connectionLimit: 10,
    poolSize: 8,
  })
  assert.equal(admin.user, 'writ_admin')
  assert.equal(admin.password?.expose(), 'hunter2')
  assert.deepEqual({ ...roles }, { migrate: 'orders_owner' })
})

test('TLS is verified by default everywhere but on this machine', () => {
  const mode = (url: string, over = {}) => parsePostgresConfig({ ...least, url, ...over }).tls.mode
  assert.equal(mode('postgresql://a@db.example/orders'), 'verify-full')
  assert.equal(mode('postgresql://a@[::1]/orders'), 'disable')
  assert.equal(mode('postgresql://a@db.example/orders?sslmode=require'), 'require')
  assert.equal(mode('postgresql://a@db.example/orders', { tls: { mode: 'disable' } }), 'disable')
})

test('a password given apart wins, and none prints', () => {
  const config = parsePostgresConfig(least, new Secret('apart'))
  assert.equal(config.admin.password?.expose(), 'apart')
  const printed =
    inspect(config, { depth: 9, showHidden: true }) + JSON.stringify(config) + String(config.admin.password)
  assert.ok(!/apart|hunter2/.test(printed))
})

test('B38 B43 what is wrong is named, without a secret and with a mend', () => {
  const cases: [unknown, RegExp][] = [
    [null, /must be an object/],
    [{}, /`id`/],
    [{ ...least, id: 'No Good' }, /`id`/],
    [{ ...least, pasword: 'x' }, /unknown member `pasword`/],
    [{ ...least, url: 'postgresql://a:hunter2@[broken/x' }, /`url` is not a PostgreSQL address/],
    [{ ...least, url: 'mysql://a:hunter2@h/x' }, /`url` is not/],
    [{ ...least, url: 'postgresql://a:%E0%A4%A@h/x' }, /`url` is not/],
    [{ ...least, url: 'postgresql://a@h' }, /`database`/],
    [{ ...least, url: 'postgresql://h/x' }, /`admin.user`/],
    [{ ...least, url: 'postgresql://a@h/x?sslmode=prefer' }, /`tls.mode` must be one of/],
    [{ ...least, roles: {} }, /`roles` must map/],
    [{ ...least, roles: { a: 'o'.repeat(64) } }, /longer than the 63 bytes/],
    [{ ...least, roles: { a: 'o\0' } }, /is not text/],
    [{ ...least, roles: { a: '\ud800' } }, /is not text/],
    [{ ...least, port: 70_000 }, /`port` must be a whole number/],
    [{ ...least, poolSize: 0 }, /`poolSize`/],
    [{ ...least, shape: 'lifted' }, /`shape` must be one of `ephemeral`, `lift`/],
    [{ ...least, shape: 'lift' }, /`account`/],
    [{ ...least, account: 'a' }, /`account` belongs to shape `lift`/],
    [{ ...least, shape: 'lift', account: 'a', setRole: 'login' }, /`setRole` belongs to shape `ephemeral`/],
    [{ ...least, shape: 'lift', account: 'writ_admin' }, /`account` must not be the administrator/],
    [{ ...least, admin: 'a' }, /`admin` must be/],
  ]
  for (const [input, expected] of cases) {
    assert.throws(
      () => parsePostgresConfig(input),
      (error) => {
        assert.ok(isWritError(error, 'ERR_CONFIG_INVALID'))
        assert.match(error.message, expected)
        assert.ok(!inspect(error, { depth: 9 }).includes('hunter2'))
        return true
      },
    )
  }
})

test('the documented administrator gives owner roles without having them', () => {
  const lift = parsePostgresConfig({ ...least, shape: 'lift', account: 'svc' })
  assert.deepEqual(adminSql(lift).split('\n'), [
    'CREATE ROLE "writ_admin" LOGIN CREATEROLE;',
    'GRANT pg_signal_backend TO "writ_admin";',
    'GRANT "orders_owner" TO "writ_admin" WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;',
    'GRANT "svc" TO "writ_admin" WITH INHERIT FALSE, SET TRUE;',
  ])
  assert.match(postgresNotices(lift).join('\n'), /all sessions of that account are cut/)
})
