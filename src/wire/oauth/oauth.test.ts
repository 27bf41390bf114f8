/**
 * Token requests as forms: what is read, what is refused and with which code, and what never comes through.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { EntityRef } from '../../model/entity.ts'
import { isWritError } from '../../model/errors.ts'
import { isOAuthError } from '../../model/refusal.ts'
import type { Fields } from './index.ts'
import {
  encodeChallenge,
  encodeError,
  encodeServerMetadata,
  parseTokenForm,
  parseTokenRequest,
} from './index.ts'
import { encodeAct } from './response.ts'

const JWT = 'urn:ietf:params:oauth:token-type:jwt'
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'

const fields = (form: Readonly<Record<string, string | readonly string[]>>): Fields =>
  Object.entries(form).flatMap(([name, value]) =>
    (typeof value === 'string' ? [value] : value).map((one) => [name, one] as const),
  )

function codeOf(form: Readonly<Record<string, string | readonly string[]>> | Fields): string {
  try {
    parseTokenRequest(Array.isArray(form) ? (form as Fields) : fields(form as Record<string, string>))
  } catch (error) {
    assert.ok(isWritError(error), String(error))
    return error.problem ?? error.code
  }
  return 'read'
}

const CLIENT = { grant_type: 'client_credentials', audience: 'Api/ledger', scope: 'read' }
const EXCHANGING = {
  grant_type: EXCHANGE,
  subject_token: 'a.b.c',
  subject_token_type: JWT,
  audience: 'Api/ledger',
  scope: 'read',
}

describe('token requests', () => {
  test('are read with their defaults', () => {
    assert.deepEqual(parseTokenRequest(fields({ ...EXCHANGING, scope: 'a b a', unknown: ['x'] })), {
      grant: 'exchange',
      subjectToken: 'a.b.c',
      client: {},
      requested: 'access_token',
      audience: { ref: { type: 'Api', id: 'ledger' } },
      scope: ['a', 'b'],
      details: [],
    })
    assert.deepEqual(
      parseTokenRequest(fields({ ...CLIENT, approval: '{"id":"appr_1","state":"x"}', writ_task: 'task_1' })),
      {
        grant: 'client',
        client: {},
        requested: 'access_token',
        audience: { ref: { type: 'Api', id: 'ledger' } },
        scope: ['read'],
        details: [],
        task: 'task_1',
        approval: { id: 'appr_1', state: 'x' },
      },
    )
    // RFC 6749 §3.2: what is empty was left out
    assert.equal(codeOf({ ...CLIENT, audience: '', resource: 'https://api.example' }), 'read')
  })

  test('that cannot be meant are refused with the code of the standard', () => {
    const cases: readonly (readonly [Readonly<Record<string, string | readonly string[]>>, string])[] = [
      [{}, 'invalid_request'],
      [{ grant_type: 'password' }, 'unsupported_grant_type'],
      [{ grant_type: 'refresh_token', refresh_token: 'x' }, 'unsupported_grant_type'],
      [{ grant_type: EXCHANGE }, 'invalid_request'],
      [
        { ...EXCHANGING, subject_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' },
        'invalid_request',
      ],
      [{ ...EXCHANGING, subject_token_type: 'urn:ietf:params:oauth:token-type:saml2' }, 'invalid_request'],
      [{ ...EXCHANGING, actor_token_type: JWT }, 'invalid_request'],
      [{ ...EXCHANGING, actor_token: 'a.b.c' }, 'invalid_request'],
      [
        { ...EXCHANGING, requested_token_type: 'urn:ietf:params:oauth:token-type:id_token' },
        'invalid_request',
      ],
      [{ ...EXCHANGING, subject_token: ['a.b.c', 'd.e.f'] }, 'invalid_request'],
      [{ ...CLIENT, grant_type: ['client_credentials', 'client_credentials'] }, 'invalid_request'],
      [{ ...CLIENT, scope: ['read', 'write'] }, 'invalid_request'],
      [{ ...CLIENT, unheard: ['x', 'x'] }, 'invalid_request'],
      [{ ...CLIENT, audience: ['Api/ledger', 'Api/vault'] }, 'invalid_target'],
      [{ ...CLIENT, resource: 'https://api.example' }, 'invalid_target'],
      [{ ...CLIENT, audience: [], resource: 'https://api.example/#x' }, 'invalid_target'],
      [{ ...CLIENT, audience: [], resource: 'relative' }, 'invalid_target'],
      [{ ...CLIENT, audience: 'ledger' }, 'invalid_target'],
      [{ ...CLIENT, audience: 'Api/ledger\u0000' }, 'invalid_target'],
      [{ ...CLIENT, scope: 'a  b' }, 'invalid_scope'],
      [{ ...CLIENT, scope: 'a"b' }, 'invalid_scope'],
      [{ ...CLIENT, scope: 'ä' }, 'invalid_scope'],
      [{ ...CLIENT, scope: Array.from({ length: 17 }, (_, i) => `a${i}`).join(' ') }, 'invalid_scope'],
      [{ ...CLIENT, client_secret: 'x' }, 'invalid_client'],
      [{ ...CLIENT, client_assertion: 'x' }, 'invalid_request'],
      [{ ...CLIENT, client_assertion: 'x', client_assertion_type: 'saml' }, 'invalid_client'],
      [{ ...CLIENT, writ_task: 'a/b' }, 'invalid_request'],
      [{ ...CLIENT, approval: '{"id":' }, 'invalid_request'],
      [{ ...CLIENT, justification: '\u202e' }, 'invalid_request'],
      [{ ...EXCHANGING, subject_token: 'x'.repeat(16_385) }, 'invalid_request'],
      [
        { ...CLIENT, ...Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`x${i}`, 'x'])) },
        'invalid_request',
      ],
    ]
    for (const [form, code] of cases) assert.equal(codeOf(form), code, JSON.stringify(form).slice(0, 200))
  })

  test('with authorization_details of another make are refused', () => {
    const item = { type: 'writ', action: 'read', resource: 'Api/ledger' }
    const of = (value: unknown): string =>
      codeOf({ ...CLIENT, authorization_details: typeof value === 'string' ? value : JSON.stringify(value) })
    assert.equal(of([item]), 'read')
    assert.equal(of([{ ...item, resource: { type: 'Api', id: 'ledger' }, properties: { limit: 1 } }]), 'read')
    for (const value of [
      '',
      '[',
      '{}',
      '[]',
      '[null]',
      '[[]]',
      '[{"type":"writ","type":"writ","action":"read"}]',
      [{ ...item, type: 'other' }],
      [{ action: 'read' }],
      [{ ...item, action: 7 }],
      [{ ...item, action: '' }],
      [{ ...item, more: true }],
      [{ ...item, resource: 'ledger' }],
      [{ ...item, resource: { type: 'Api', id: 'ledger', more: 1 } }],
      [{ ...item, properties: [] }],
      [{ ...item, properties: { __entity: { type: 'A', id: 'b' } } }],
      [{ ...item, properties: { deep: [[[[[[[[[1]]]]]]]]] } }],
      Array.from({ length: 17 }, () => item),
    ]) {
      // what is empty was left out
      if (value !== '') assert.equal(of(value), 'invalid_authorization_details', JSON.stringify(value))
    }
  })

  test('B41 of any shape are read or refused, and never read twice', () => {
    const names = [
      ...Object.keys(EXCHANGING),
      'actor_token',
      'actor_token_type',
      'resource',
      'authorization_details',
      'client_assertion',
      'client_assertion_type',
      'client_id',
      'approval',
      'access_request',
      'x',
    ]
    const value = fc.oneof(
      fc.constantFrom(...Object.values(EXCHANGING), JWT, 'Api/ledger', 'https://api.example', '[{}]', '{}'),
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.json({ maxDepth: 12 }),
      fc.string({ minLength: 16_000, maxLength: 17_000 }),
    )
    const form = fc.array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 12 })
    fc.assert(
      fc.property(form, (sent) => {
        let request: ReturnType<typeof parseTokenRequest>
        try {
          request = parseTokenRequest(sent)
        } catch (error) {
          assert.ok(isWritError(error) && isOAuthError(error.problem), String(error))
          return
        }
        for (const name of names) {
          const times = sent.filter(([sentName]) => sentName === name).length
          if (name !== 'resource' && name !== 'audience')
            assert.ok(times <= 1, `${name} was read ${times} times`)
        }
        assert.ok(request.scope.length <= 16 && request.details.length <= 16)
        assert.equal(new Set(request.scope).size, request.scope.length)
      }),
      { numRuns: 500 },
    )
  })

  test('about a token need the token', () => {
    assert.deepEqual(parseTokenForm(fields({ token: 'x', token_type_hint: 'refresh_token' })), {
      token: 'x',
      client: {},
    })
    assert.throws(() => parseTokenForm([]), /token is missing/)
    assert.throws(() => parseTokenForm(fields({ token: ['x', 'y'] })), /twice/)
  })
})

describe('answers', () => {
  test('describe errors in the characters that RFC 6749 allows', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const { error_description: said } = encodeError('invalid_request', text)
        assert.match(said, /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/u)
      }),
    )
  })

  test('challenge in one header that nothing inside can end', () => {
    assert.equal(
      encodeChallenge('Bearer', {
        error: 'insufficient_user_authentication',
        acrValues: ['phr', 'mfa'],
        maxAge: 0,
      }),
      'Bearer realm="writ", error="insufficient_user_authentication", acr_values="phr mfa", max_age="0"',
    )
    assert.equal(
      encodeChallenge('DPoP', { error: 'insufficient_scope', scope: ['a', 'b'], algorithms: ['ES256'] }),
      'DPoP realm="writ", error="insufficient_scope", scope="a b", algs="ES256"',
    )
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (description) => {
        const header = encodeChallenge('Bearer', { error: 'invalid_token', description })
        assert.match(
          header,
          /^Bearer realm="writ", error="invalid_token", error_description="[\x20\x21\x23-\x5b\x5d-\x7e]*"$/u,
        )
      }),
    )
  })

  test('nest who acts for whom, the outermost first', () => {
    const [a, b, c] = ['a', 'b', 'c'].map((id) => ({ type: 'Service', id }))
    assert.equal(encodeAct([a as EntityRef]), undefined)
    assert.deepEqual(encodeAct([a, b] as EntityRef[]), { sub: 'Service/a' })
    assert.deepEqual(encodeAct([a, b, c] as EntityRef[]), { sub: 'Service/a', act: { sub: 'Service/b' } })
  })

  test('name endpoints below the issuer, which is said as it is', () => {
    const metadata = encodeServerMetadata('https://writ.example')
    assert.equal(metadata['issuer'], 'https://writ.example')
    for (const [name, value] of Object.entries(metadata)) {
      if (name.endsWith('_endpoint') || name === 'jwks_uri') {
        assert.match(value as string, /^https:\/\/writ\.example\//u, name)
      }
    }
  })
})
