import assert from 'node:assert/strict'
import { test } from 'node:test'
import { provingPlace, requirements } from './text.ts'

const reauth = { kind: 'reauth', people: ['Person/ada', 'Person/\u001b[31mgrace'] }

test('S07 what is missing is said with whose it is, and where a passkey is used', () => {
  const alternatives = [{ requirements: [reauth, { kind: 'approval', pool: 'dba', count: 2 }] }]
  assert.equal(
    requirements(alternatives),
    'the passkey of Person/ada and Person/\ufffd[31mgrace and two approvals by dba',
  )
  assert.equal(
    provingPlace(alternatives, 'https://writ.example/', 'req_1'),
    'https://writ.example/requests/req_1/prove',
  )
  assert.equal(
    provingPlace([{ requirements: [{ kind: 'justification' }] }], 'https://writ.example', 'req_1'),
    undefined,
  )
})
