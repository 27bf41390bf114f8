import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isWritError } from './errors.ts'
import type { IssuerInput } from './issuer.ts'
import { checkIssuers, isImmutableSub, lintIssuers, makeIssuer } from './issuer.ts'

const base: IssuerInput = { name: 'ci', issuer: 'https://ci.example', audiences: ['https://writ.example'] }
const github: IssuerInput = {
  ...base,
  name: 'github',
  kind: 'github',
  issuer: 'https://token.actions.githubusercontent.com',
  rules: [{ when: { repository_id: '456' }, subject: { type: 'Service', id: 'orders-ci' } }],
}
const spiffe: IssuerInput = {
  ...base,
  name: 'mesh',
  kind: 'spiffe',
  issuer: 'prod.example',
  keys: { from: 'bundle', uri: 'https://spire.prod.example/bundle' },
}

function problem(...inputs: readonly Partial<IssuerInput>[]): string {
  try {
    checkIssuers(inputs.map((input) => makeIssuer({ ...base, ...input })))
    return ''
  } catch (error) {
    assert.ok(isWritError(error, 'ERR_CONFIG_INVALID'))
    return error.message
  }
}
const codes = (...inputs: readonly Partial<IssuerInput>[]): string[] =>
  lintIssuers(inputs.map((input) => makeIssuer({ ...base, ...input }))).map(
    ({ code, issuer, rule }) => `${issuer}${rule === undefined ? '' : `.${rule}`} ${code}`,
  )

describe('what an issuer is trusted with', () => {
  test('each kind has defaults, and only a mapping that trusts too many has none', () => {
    assert.equal(problem({}), '')
    assert.equal(problem(github), '')
    assert.equal(problem(spiffe), '')
    assert.equal(problem({ kind: 'kubernetes' }), '')
    assert.match(problem({ kind: 'gitlab' }), /needs `subjects`/)
    assert.deepEqual(makeIssuer(github).algorithms, ['RS256'])
    assert.equal(makeIssuer(github).instigator, 'actor_id')
    assert.equal(makeIssuer(base).instigator, undefined)
  })
  test('B1 algorithms have public keys', () => {
    for (const one of ['HS256', 'none', 'None', '', 'RSA1_5', 'dir'])
      assert.match(problem({ algorithms: [one] }), /accepts/)
    assert.match(problem({ algorithms: ['ES256', 'HS256'] }), /accepts `HS256`/)
    assert.match(problem({ algorithms: [] }), /no algorithm/)
    assert.match(problem({ ...spiffe, algorithms: ['EdDSA'] }), /JWT-SVID/)
    assert.match(problem({ types: [] }), /no `typ`/)
    for (const key of [
      { kty: 'oct', k: 'x' },
      { kty: 'EC', d: 'x' },
    ]) {
      assert.match(problem({ keys: { from: 'jwks', keys: [key] } }), /private or shared/)
    }
  })
  test('B3 addresses are https, exact, and hold no credentials', () => {
    assert.equal(problem({ issuer: 'http://127.0.0.1:8080' }), '')
    assert.equal(problem({ issuer: 'https://ci.example/tenant' }), '')
    for (const issuer of [
      'http://ci.example',
      'ci.example',
      'https://ci.example?x=1',
      'https://ci.example#x',
      'https://u:p@ci.example',
      'https://CI.example',
      'https://ci.example:443',
      'https://ci.example/a/../b',
      'ftp://ci.example',
      'spiffe://prod.example',
      '',
    ]) {
      assert.notEqual(problem({ issuer }), '', issuer)
    }
    for (const uri of ['http://ci.example/keys', 'keys', 'https://u:p@ci.example/keys']) {
      assert.match(problem({ keys: { from: 'uri', uri } }), /jwks_uri/)
      assert.match(problem({ ...spiffe, keys: { from: 'bundle', uri } }), /bundle/)
    }
    assert.match(problem({ ...spiffe, keys: { from: 'discovery' } }), /trust bundle/)
    assert.match(problem({ keys: { from: 'bundle', file: '/x' } }), /only SPIFFE/)
    for (const issuer of ['spiffe://prod.example', 'Prod.example', 'prod.example/x', '']) {
      assert.match(problem({ ...spiffe, issuer }), /trust domain/)
    }
    const tokenReview = { url: 'http://k8s.example/tokenreviews', tokenFile: '/x' }
    assert.match(problem({ kind: 'kubernetes', tokenReview }), /token_review/)
    assert.match(problem({ tokenReview: { ...tokenReview, url: 'https://k8s.example' } }), /only Kubernetes/)
  })
  test('nobody is configured twice', () => {
    const rules = [{ subject: { type: 'Other' } }]
    assert.match(problem({}, { rules }), /name `ci` twice/)
    assert.match(problem({}, { name: 'b', rules }), /issuer `https:\/\/ci.example` twice/)
    assert.match(problem({ audiences: ['a', 'a'] }), /audience twice/)
    for (const audiences of [[], [''], ['*'], [' a'], ['a\u200b']])
      assert.match(problem({ audiences }), /audience/)
    for (const name of ['', 'CI', 'a b', '-a', 'a\n', 'x'.repeat(65)]) assert.match(problem({ name }), /name/)
  })
  test('B5 a rule of GitHub or GitLab binds what is never given away', () => {
    const subject = { type: 'Service', id: 'orders-ci' }
    const rule = (when: Record<string, string>) => problem({ ...github, rules: [{ when, subject }] })
    assert.match(rule({ repository: 'acme/orders' }), /binds no `repository_id`/)
    assert.match(rule({ repository_owner_id: '123' }), /binds no/)
    assert.match(rule({ sub: 'repo:acme/orders:ref:refs/heads/main' }), /binds no/)
    assert.equal(rule({ sub: 'repo:acme@123/orders@456:ref:refs/heads/main' }), '')
    assert.equal(rule({ repository_id: '456', repository: 'acme/orders' }), '')
    assert.match(
      problem({ ...github, rules: [{ subject: { type: 'Ci', claims: ['repository'] } }] }),
      /binds no/,
    )
    assert.equal(problem({ ...github, rules: [{ subject: { type: 'Ci', claims: ['repository_id'] } }] }), '')
    assert.match(problem({ ...github, kind: 'gitlab' }), /binds no `project_id`/)
    assert.equal(isImmutableSub('repo:acme@123/orders@456:environment:production'), true)
    for (const sub of [
      'repo:acme/orders:x',
      'repo:a@1/b@2',
      'repo:a@1/b@0:x',
      'repo:a@1/c/b@2:x',
      'xrepo:a@1/b@2:x',
    ]) {
      assert.equal(isImmutableSub(sub), false, sub)
    }
  })
  test('B7 a subject is a name, and not everybody is the same one', () => {
    const rules = (subject: { type: string; id: string }, when: Record<string, string> = { sub: 'x' }) =>
      problem({ rules: [{ when, subject }] })
    for (const id of ['', '*', 'orders-*', ' x', 'e\u0301', 'a\u200b', 'x'.repeat(257)]) {
      assert.match(rules({ type: 'Service', id }), /cannot be an id/)
    }
    assert.match(rules({ type: 'a b', id: 'x' }), /type/)
    assert.match(rules({ type: 'Service', id: 'x' }, {}), /every token one subject/)
    assert.match(
      problem({ rules: [{ subject: { type: 'X', claims: ['@issuer'] } }] }),
      /every token one subject/,
    )
    assert.match(problem({ rules: [{ subject: { type: 'X', claims: [] } }] }), /without `claims`/)
    assert.match(problem({ rules: [] }), /needs `subjects`/)
  })
  test('B33 whoever controls one issuer is no subject of another', () => {
    const other = { name: 'b', issuer: 'https://b.example' }
    assert.match(problem({}, other), /both name `Workload`/)
    assert.equal(problem({}, { ...other, rules: [{ subject: { type: 'Robot' } }] }), '')
    const own = { rules: [{ subject: { type: 'Workload', claims: ['@issuer', 'sub'] } }] }
    assert.equal(problem(own, { ...other, ...own }), '')
    // `b:x` is a `sub` like any other
    assert.match(problem({}, { ...other, ...own }), /both name `Workload`/)
    assert.match(problem(own, other), /both name `Workload`/)
    assert.match(problem(own, { ...other, rules: [...own.rules, { subject: { type: 'Workload' } }] }), /both/)
  })
  test('B7 whoever controls one claim is no subject of a rule for others', () => {
    const two = { when: { kind: 'ci' }, subject: { type: 'Workload', claims: ['org', 'repo'] } }
    assert.match(problem({ rules: [two, { subject: { type: 'Workload' } }] }), /by different `claims`/)
    assert.equal(problem({ rules: [two, { subject: { type: 'Account' } }] }), '')
    assert.equal(problem({ rules: [two, { ...two, when: { kind: 'cd' } }] }), '')
  })
  test('every problem is named', () => {
    const message = problem({ issuer: 'x', algorithms: ['none'], audiences: [] })
    assert.equal(message.split('\n').length, 3)
  })
})

describe('B5 trust that is too wide is told', () => {
  test('nothing is said of rules that are narrow', () => {
    assert.deepEqual(codes({}, github, spiffe), [])
  })
  test('patterns, which values never are', () => {
    const when = { sub: ['orders', 'repo:acme/*', '^x$'] }
    assert.deepEqual(codes({ rules: [{ when, subject: { type: 'S', id: 'x' } }] }), [
      'ci.1 wildcard',
      'ci.1 wildcard',
    ])
  })
  test('names that come to be somebody else’s', () => {
    assert.deepEqual(codes({ rules: [{ subject: { type: 'Person', claims: ['email'] } }] }), ['ci.1 mutable'])
    assert.deepEqual(codes({ rules: [{ subject: { type: 'Person', claims: ['email', 'sub'] } }] }), [])
    const when = { namespace: 'shop', service_account: 'orders' }
    assert.deepEqual(codes({ kind: 'kubernetes', rules: [{ when, subject: { type: 'S', id: 'x' } }] }), [
      'ci.1 mutable',
    ])
  })
  test('audiences that are not our own', () => {
    assert.deepEqual(
      codes({ audiences: ['https://ci.example', 'sts.amazonaws.com', 'https://writ.example'] }),
      ['ci audience', 'ci audience'],
    )
    assert.deepEqual(codes({ ...github, audiences: ['https://github.com/acme'] }), ['github audience'])
  })
  test('everybody of a public provider', () => {
    const rules = [{ subject: { type: 'Ci', claims: ['repository_id'] } }]
    assert.deepEqual(codes({ ...github, rules }), ['github.1 open'])
    assert.deepEqual(codes({ issuer: 'https://accounts.google.com' }), ['ci.1 open'])
  })
  test('a subject that another issuer could name', () => {
    const rules = [{ subject: { type: 'Service', claims: ['sub'] } }]
    assert.deepEqual(codes(github, { rules }), ['github.1 shared'])
    const named = { when: { sub: 'x' }, subject: { type: 'Service', id: 'orders-ci' } }
    assert.deepEqual(codes({ rules: [named, ...rules] }), ['ci.1 shared'])
    const joined = (claims: string[]) => codes(github, { rules: [{ subject: { type: 'Service', claims } }] })
    assert.deepEqual(joined(['@issuer', 'sub']), [])
    assert.deepEqual(joined(['org', 'repo']), [])
  })
})
