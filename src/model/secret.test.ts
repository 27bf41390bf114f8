import assert from 'node:assert/strict'
import { test } from 'node:test'
import { format, inspect } from 'node:util'

import { Secret } from './secret.ts'

test('B43 a secret prints as redacted wherever it is put', () => {
  const secret = new Secret({ password: 'canary' })
  const shown = [
    // oxlint-disable-next-line typescript/restrict-template-expressions -- what a careless log line does
    `${secret}`,
    String(secret),
    JSON.stringify({ secret }),
    inspect({ deep: { secret } }, { depth: 9, showHidden: true }),
    format('%s %o %j', secret, secret, secret),
    inspect(Object.assign(new Error('boom'), { secret }), { showHidden: true }),
    JSON.stringify(Object.entries(secret)),
    inspect(structuredClone(secret)),
  ]
  for (const text of shown) assert.ok(!text.includes('canary'), text)
  assert.equal(secret.expose().password, 'canary')
})
