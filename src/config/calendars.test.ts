import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isWritError } from '../model/errors.ts'
import { DAY, MINUTE } from '../model/time.ts'
import { calendarConfigs, calendarsSchema, calendarSummary } from './calendars.ts'

const configs = (...calendars: readonly unknown[]) =>
  calendarConfigs(
    calendarsSchema.parse(calendars),
    (text) => `/here/${text}`,
    (path) => path,
  )
const refuses = (what: RegExp, ...calendars: readonly unknown[]): void =>
  assert.throws(
    () => configs(...calendars),
    (error) => isWritError(error, 'ERR_CONFIG_INVALID') && what.test(error.message),
  )

describe('calendars in the configuration', () => {
  test('a file with what is not said', () => {
    assert.deepEqual(configs({ name: 'release', file: 'release.ics' }), [
      {
        name: 'release',
        from: { file: '/here/release.ics' },
        refresh: 5 * MINUTE,
        maxAge: 30 * MINUTE,
        horizon: 32 * DAY,
        tentative: false,
      },
    ])
    assert.deepEqual(calendarsSchema.parse(undefined), [])
  })

  test('a secret address is not on the record', () => {
    const [one] = configs({
      name: 'release',
      url: 'https://c.example/private-token/a.ics',
      token_file: 't',
      header: 'X-Key',
    })
    assert.ok(one !== undefined && 'url' in one.from)
    assert.deepEqual(one.from.token, { header: 'x-key', file: '/here/t' })
    assert.ok(!JSON.stringify(calendarSummary(one)).includes('private-token'))
  })

  test('what would be wrong later is wrong at once', () => {
    const release = { name: 'release', file: 'a.ics' }
    refuses(/is there twice/u, release, release)
    refuses(/needs one place/u, { name: 'release' })
    refuses(/needs one place/u, { ...release, url: 'https://c.example/' })
    refuses(/is a file and says how it is fetched/u, { ...release, allow_private: true })
    refuses(/not fetched by https/u, { name: 'release', url: 'http://c.example/' })
    refuses(/believed for 5m and read every 5m/u, { ...release, refresh: '5m', max_age: '5m' })
    refuses(/holds no certificate/u, { name: 'release', url: 'https://c.example/', ca: 'ca.pem' })
    for (const wrong of [
      { ...release, name: 'Release' },
      { ...release, time_zone: 'Europe/Nowhere' },
      { ...release, refresh: '1s' },
      { ...release, max_age: '2d' },
      { ...release, horizon: '365d' },
      { name: 'release', url: 'https://me:secret@c.example/' },
      { name: 'release', url: 'file:///etc/passwd' },
      { ...release, colour: 'red' },
    ])
      assert.equal(calendarsSchema.safeParse([wrong]).success, false, JSON.stringify(wrong))
  })
})
