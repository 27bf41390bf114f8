import assert from 'node:assert/strict'
import { test } from 'node:test'

import { scramVerifier } from './scram.ts'

test('the verifier of the example of RFC 7677 §3', async () => {
  // The RFC prints ServerSignature and proof, not the keys; these are what its inputs give, as PostgreSQL stores them.
  assert.equal(
    await scramVerifier('pencil', Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64')),
    'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
  )
})

test('a password that clients would normalise is refused', async () => {
  for (const password of ['', 'é', 'a b', 'a\u00ad', '\0']) {
    await assert.rejects(scramVerifier(password, new Uint8Array(16)), TypeError)
  }
})
