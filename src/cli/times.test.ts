import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CliError } from './exit.ts'
import { instantOf, localAndUtc } from './times.ts'

const now = Date.parse('2026-11-22T10:00:00Z')

test('an instant is RFC 3339, a time of day that has been, or so long ago', () => {
  assert.equal(instantOf('2026-11-22T03:12:00Z', now, 'at'), Date.parse('2026-11-22T03:12:00Z'))
  assert.equal(instantOf('2026-11-22T03:12:00+02:00', now, 'at'), Date.parse('2026-11-22T01:12:00Z'))
  assert.equal(instantOf('2h ago', now, 'at'), now - 7_200_000)
  assert.equal(instantOf('7d', now, 'since', true), now - 7 * 86_400_000)
  assert.equal(instantOf('now', now, 'at'), now)
  for (const text of ['00:00', '03:12', '12:34:56', '23:59']) {
    const at = instantOf(text, now, 'at')
    assert.ok(at <= now && at > now - 26 * 3_600_000, text)
    const [hour, minute, second = '0'] = text.split(':')
    const shown = new Date(at)
    assert.deepEqual(
      [shown.getHours(), shown.getMinutes(), shown.getSeconds()],
      [Number(hour), Number(minute), Number(second)],
    )
  }
  for (const text of ['7d', 'yesterday', '25:00', '2026-11-22', '2026-11-22T03:12:00', '0h ago', '']) {
    assert.throws(
      () => instantOf(text, now, 'at'),
      (error) => error instanceof CliError && error.exitCode === 2,
      text,
    )
  }
})

test('an instant is shown in local time and UTC', () => {
  const shown = localAndUtc(now)
  assert.match(shown, /10:00:00 UTC\)?$/)
})
