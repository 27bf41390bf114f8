import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { NOW, ada, knock, requestLike } from '../../../../test/support/doors.ts'
import type { Flows } from '../../../flows/port.ts'
import { WritError } from '../../../model/errors.ts'
import type { Json } from '../../../model/canonical.ts'
import { Secret } from '../../../model/secret.ts'
import { escapeHtml, markup } from './html.ts'
import { confirmPage } from './passkeys-views.ts'
import { requestPage, spell } from './views.ts'

const COOKIE = 'writ_session=writ_sess_test'
const signedIn = { cookie: COOKIE }
const own = { ...signedIn, 'sec-fetch-site': 'same-origin' }
const form = (fields: Record<string, string>, headers: Record<string, string> = own): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  body: new URLSearchParams(fields).toString(),
})
const DIGEST = requestLike().digest

const waiting: Partial<Flows> = {
  request: async () => requestLike(),
  requests: async () => ({ items: [{ ...requestLike(), mayApprove: ['dba'] }], next: undefined }),
}

/** No other way to sign in than the code. */
const codeOnly = {
  passkeys: { forSignIn: async () => undefined },
  signIns: { providers: [] },
} as unknown as Pick<Flows, 'passkeys' | 'signIns'>

/** Names, reasons and tool text as an attacker would choose them. */
const hostile = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  "' onmouseover='alert(1)",
  '</textarea></title></style><svg onload=alert(1)>',
  '`${alert(1)}`',
  'javascript:alert(1)',
  '&lt;script&gt;',
  '<!--',
  ']]>',
  '{{constructor.constructor("alert(1)")()}}',
  '\u003cscript\u003e',
]

describe('B71 nothing that somebody wrote becomes part of the page', () => {
  for (const text of hostile) {
    test(JSON.stringify(text), async () => {
      const subject = { type: 'Agent', id: text }
      const request = requestLike({
        attempt: {
          subject,
          action: { name: text },
          resource: { type: 'Database', id: text },
          context: {},
          chain: [subject],
        },
        statement: { kind: text, purpose: text, [text]: { [text]: [text] } },
        justification: text,
        requester: subject,
        task: text,
        reason: text,
        alternatives: [{ requirements: [{ kind: 'approval', pool: text, count: 1 }], binding: 'task' }],
        approvals: [{ person: text, root: text, pool: text, at: NOW, generation: 1, comment: text }],
      })
      for (const status of ['pending', 'denied'] as const) {
        await using door = await knock({
          requests: async () => ({ items: [{ ...request, status, mayApprove: [text, 'dba'] }], next: text }),
          request: async () => ({ ...request, status }),
          denyRequest: () => Promise.reject(new WritError('ERR_CONFLICT', text)),
        })
        const pages = await Promise.all([
          door.fetch('/inbox', { headers: signedIn }),
          door.fetch('/requests/req_1', { headers: signedIn }),
          door.fetch('/requests/req_1/deny', form({ statement: DIGEST })),
          door.fetch(`/?code=${encodeURIComponent(text)}`, { headers: { 'sec-fetch-site': 'cross-site' } }),
        ])
        for (const page of pages) {
          const body = await page.text()
          assert.doesNotMatch(body, /<(?:script|img src=x|svg|!--(?!doctype))/i)
          if (/[<>"]/.test(text)) assert.equal(body.includes(text), false)
          // the only tags are ours, and every attribute is quoted
          for (const tag of body.matchAll(/<[a-z][^>]*>/g)) {
            assert.match(tag[0], /^<[a-z0-9]+(?:\s+(?!on)[a-z-]+(?:="[^"]*")?)*\s*\/?>$/)
          }
          const policy = page.headers.get('content-security-policy') ?? ''
          assert.match(policy, /default-src 'none'/)
          assert.match(policy, /frame-ancestors 'none'/)
          assert.doesNotMatch(policy, /unsafe|script-src/)
          assert.equal(page.headers.get('x-frame-options'), 'DENY')
          assert.equal(page.headers.get('referrer-policy'), 'same-origin')
          assert.equal(page.headers.get('cache-control'), 'no-store')
        }
      }
    })
  }
  test('the template refuses what it cannot show', () => {
    assert.equal(
      markup`<p title="${`"'<>&\``}">${'<b>'}${markup`<i></i>`}${undefined}${3}${['<', markup`<u>`]}</p>`.toString(),
      '<p title="&quot;&#39;&lt;&gt;&amp;&#96;">&lt;b&gt;<i></i>3&lt;<u></p>',
    )
    for (const value of [null, {}, true, () => 'x', { toString: () => '<b>' }]) {
      assert.throws(() => markup`${value}`, TypeError)
    }
    assert.equal(escapeHtml('a'), 'a')
  })
})

describe('B24 names that a requester gave', () => {
  const body = (over: Parameters<typeof requestLike>[0]): string =>
    requestPage(ada.subject, { ...requestLike(over), mayApprove: [] }, NOW)

  test('do not read as bounds of ours', () => {
    const context = { kind: 'attempt', ttl_ms: 60_000, uses: 1, ends_at: 'soon', reason: 'it was agreed' }
    const shown = body({
      statement: { kind: 'task', context, ttl_ms: 28_800_000, resources: [{ ttl_ms: 60_000 }] },
    })
    assert.match(shown, /Lasts at most<\/dt>\s*<dd>8 h</u)
    assert.equal(
      [...shown.matchAll(/<dt>(?:Lasts at most|Covers|Uses|Until|Reason \(their words\))</gu)].length,
      2,
    )
    assert.doesNotMatch(shown, /this one attempt|<dd>1 min/u)
    assert.match(shown, /<bdi class="mono">ttl_ms<\/bdi><\/dt>\s*<dd>60000</u)
  })

  test('that every object has are names like others', () => {
    for (const name of ['constructor', 'toString', 'hasOwnProperty', 'valueOf']) {
      const statement = { kind: 'attempt', [name]: 'x', context: { [name]: 'x' } }
      assert.match(body({ statement, proved: { issuer: 'corp', [name]: 'x' } }), new RegExp(name, 'iu'))
    }
    const statement = JSON.parse('{"context":{"__proto__":{"ttl_ms":1}}}') as Json
    assert.match(body({ statement }), /__proto__/u)
  })

  test('of claims neither, nor their values, whatever their kind', () => {
    const claims = [
      'Proved by issuer',
      '\u202egnitseretni',
      'x'.repeat(16_384),
      '<b>',
      7,
      true,
      null,
      { a: [1] },
    ]
    const shown = body({
      proved: { issuer: 'corp', environment: 'production, approved by security', kind: 'task', claims },
      instigators: [{ issuer: 'corp', id: '7 at github' }],
    })
    assert.equal([...shown.matchAll(/Proved by issuer<\/dt>/gu)].length, 1)
    assert.match(shown, /account <bdi>7 at github<\/bdi> at <bdi>corp<\/bdi>/u)
    assert.match(shown, /<bdi class="mono">environment<\/bdi>/u)
    assert.match(shown, /an environment, is chosen by who/u)
    assert.match(shown, /<bdi>\u202egnitseretni<\/bdi>/u)
    assert.doesNotMatch(shown, /a whole task/u)
  })
})

test('S07 who uses a passkey sees all that it is for, wherever they came from', () => {
  const statement = {
    kind: 'attempt',
    chain: ['Agent/migrator', 'Person/ada'],
    context: { amount: 1_000_000, 'a\u202eb': 'x' },
  }
  const request = requestLike({ statement, proved: { issuer: 'corp', ref: 'main' } })
  const offer = { nonce: 'n', options: {} } as unknown as Parameters<typeof confirmPage>[0]['offer']
  for (const act of ['prove', 'approve'] as const) {
    const shown = confirmPage({ person: ada.subject, request, offer, act, input: { statement: DIGEST } })
    const button = shown.lastIndexOf('<button')
    for (const part of [
      '1000000',
      'Person/ada',
      'INC-42',
      DIGEST,
      'What is proved about who asks',
      '&quot;a\\u202eb&quot;',
    ])
      assert.ok(shown.indexOf(part) > 0 && shown.indexOf(part) < button, `${act}: ${part}`)
  }
})

describe('B71 no other site acts for a person', () => {
  const acts: [string, Record<string, string>][] = [
    ['/requests/req_1/approve', { statement: DIGEST }],
    ['/requests/req_1/deny', { statement: DIGEST }],
    ['/signout', {}],
  ]
  test('forms count only from our own pages', async () => {
    let acted = 0
    const act = async () => {
      acted++
      return requestLike()
    }
    await using door = await knock({ approve: act, denyRequest: act, signOut: async () => void acted++ })
    const foreign: Record<string, string>[] = [
      {},
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'none' },
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: `${door.url}.evil.example` },
      { 'sec-fetch-site': 'same-origin', origin: 'https://evil.example' },
      { 'sec-fetch-site': 'cross-site', origin: door.url },
    ]
    for (const [path, fields] of acts) {
      for (const headers of foreign) {
        const response = await door.fetch(path, form(fields, { ...signedIn, ...headers }))
        assert.equal(response.status, 403, JSON.stringify(headers))
      }
    }
    assert.equal(acted, 0)
    for (const [path, fields] of acts) {
      for (const headers of [
        { 'sec-fetch-site': 'same-origin' },
        { origin: door.url },
        { 'sec-fetch-site': 'same-origin', origin: door.url },
      ]) {
        const response = await door.fetch(path, form(fields, { ...signedIn, ...headers }))
        assert.equal(response.status, 303, `${path} ${JSON.stringify(headers)}`)
      }
    }
    assert.equal(acted, 9)
  })
  test('the API refuses a cookie from elsewhere, and needs none with a header', async () => {
    await using door = await knock({ revokeKey: async () => undefined })
    const remove = async (headers: Record<string, string>) =>
      (await door.fetch('/v1/keys/key_1', { method: 'DELETE', headers })).status
    assert.equal(await remove(signedIn), 403)
    assert.equal(await remove({ ...signedIn, 'sec-fetch-site': 'cross-site' }), 403)
    assert.equal(await remove(own), 204)
    assert.equal(await remove({ authorization: 'Bearer writ_sess_test' }), 204)
  })
  test('a link on another page does not sign anybody in, it only offers to', async () => {
    const tried: string[] = []
    await using door = await knock({
      ...codeOnly,
      redeem: async (code) => {
        tried.push(code)
        return { token: new Secret('writ_sess_new'), person: ada.subject, endsAt: NOW + 60_000 }
      },
    })
    const link = (headers: Record<string, string>) => door.fetch('/?code=abcd-efgh', { headers })
    for (const headers of [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'none', 'sec-purpose': 'prefetch' },
      {},
    ]) {
      const page = await link(headers)
      assert.equal(page.status, 200)
      assert.equal(page.headers.get('set-cookie'), null)
      assert.match(await page.text(), /<form class="card" method="post" action="\/signin">/)
    }
    assert.deepEqual(tried, [])
    const direct = await link({ 'sec-fetch-site': 'none' })
    assert.equal(direct.status, 303)
    assert.equal(direct.headers.get('location'), '/inbox')
    assert.match(
      direct.headers.get('set-cookie') ?? '',
      /^writ_session=writ_sess_new; Path=\/; HttpOnly; SameSite=Strict; Max-Age=60$/,
    )
    const typed = await door.fetch(
      '/signin',
      form({ code: ' abcd-efgh ' }, { 'sec-fetch-site': 'same-origin' }),
    )
    assert.equal(typed.status, 303)
    const forced = await door.fetch(
      '/signin',
      form({ code: 'abcd-efgh' }, { 'sec-fetch-site': 'cross-site' }),
    )
    assert.equal(forced.status, 403)
    assert.deepEqual(tried, ['abcd-efgh', 'abcd-efgh'])
  })
  test('two session cookies are none: somebody else set one', async () => {
    await using door = await knock(waiting)
    const twice = await door.fetch('/inbox', {
      headers: { cookie: `${COOKIE}; writ_session=writ_sess_other` },
    })
    assert.equal(twice.status, 303)
  })
  test('over TLS the cookie is for TLS alone', async () => {
    await using door = await knock(
      {
        redeem: async () => ({
          token: new Secret('writ_sess_new'),
          person: ada.subject,
          endsAt: NOW + 60_000,
        }),
      },
      { config: { publicUrl: 'https://writ.example' } },
    )
    const page = await door.fetch('/?code=abcd-efgh', { headers: { 'sec-fetch-site': 'none' } })
    // the prefix: another host of the domain cannot set it, and what it can set does not count
    assert.match(
      page.headers.get('set-cookie') ?? '',
      /^__Host-writ_session=writ_sess_new; Path=\/; HttpOnly; .*; Secure$/,
    )
    const as = async (cookie: string) => (await door.fetch('/v1/me', { headers: { cookie } })).status
    assert.deepEqual([await as(`__Host-${COOKIE}`), await as(COOKIE)], [200, 401])
  })
})

describe('pages', () => {
  test('wrong, used and late codes look alike', async () => {
    await using door = await knock({
      ...codeOnly,
      redeem: () => Promise.reject(new WritError('ERR_UNAUTHENTICATED', 'x')),
    })
    const bodies = await Promise.all(
      ['abcd-efgh', 'short', 'x'.repeat(300)].map(async (code) => {
        const page = await door.fetch('/signin', form({ code }, { 'sec-fetch-site': 'same-origin' }))
        assert.equal(page.status, 401)
        return page.text()
      }),
    )
    assert.equal(new Set(bodies).size, 1)
    assert.match(bodies[0] ?? '', /That code is wrong, was used, or is too old/)
  })
  test('a wrong code takes no other way to sign in away, nor where one was going', async () => {
    await using door = await knock({
      ...codeOnly,
      signIns: { providers: [{ name: 'corp', label: 'Corp' }] } as unknown as Flows['signIns'],
      redeem: () => Promise.reject(new WritError('ERR_UNAUTHENTICATED', 'x')),
    })
    const sent = form({ code: 'abcd-efgh', next: '/requests/req_1' }, { 'sec-fetch-site': 'same-origin' })
    const page = await (await door.fetch('/signin', sent)).text()
    assert.equal(page.split('name="next" value="/requests/req_1"').length, 3)
    assert.match(page, /Sign in with Corp/)
    // one that was asked for stands before the code
    const chosen = await (await door.fetch('/signin?provider=corp')).text()
    assert.ok(chosen.indexOf('Sign in with Corp') < chosen.indexOf('One-time code'))
    const nobody = await (await door.fetch('/signin?provider=<b>')).text()
    assert.ok(nobody.indexOf('Sign in with Corp') > nobody.indexOf('One-time code'))
  })

  test('who is not signed in is sent to sign in', async () => {
    await using door = await knock(waiting)
    for (const path of ['/inbox', '/requests/req_1']) {
      const page = await door.fetch(path)
      assert.equal(page.status, 303)
      assert.equal(page.headers.get('location'), '/signin')
    }
    assert.equal((await door.fetch('/')).headers.get('location'), '/inbox')
  })
  test('an empty inbox says so, and what to do next', async () => {
    await using door = await knock({ requests: async () => ({ items: [], next: undefined }) })
    const body = await (await door.fetch('/inbox', { headers: signedIn })).text()
    assert.match(body, /Nothing waits for you/)
    assert.match(body, /writ request/)
  })
  test('the request page shows every bound of the statement, and its digest', async () => {
    const statement = {
      kind: 'task',
      installation: 'inst_1',
      purpose: 'add a column',
      actions: ['db:migrate', 'db:read'],
      resources: ['Database/orders', 'Table (any)'],
      ttl_ms: 90_061_001,
      calls: 7,
      window: { starts_at: '2026-11-22T22:00:00.000Z', ends_at: '2026-11-22T23:00:00.000Z' },
      context: { nested: { deep: ['bound-1', false, null] } },
    }
    const request = requestLike({ statement })
    await using door = await knock({
      request: async () => request,
      requests: async () => ({ items: [{ ...request, mayApprove: ['dba', 'on-call'] }], next: undefined }),
    })
    const body = await (await door.fetch('/requests/req_1', { headers: signedIn })).text()
    const shown = body.slice(body.indexOf('What exactly is asked'), body.indexOf('As signed'))
    for (const bound of [
      'db:migrate',
      'db:read',
      'Database/orders',
      'Table (any)',
      '1 d 1 h 1 min 1 s 1 ms',
      '7',
      '22:00:00',
      '23:00:00',
      'bound-1',
      'false',
      'null',
    ]) {
      assert.ok(shown.includes(bound), bound)
    }
    assert.ok(body.includes(DIGEST))
    assert.match(body, /Reason, in the requester’s words \(not verified\)/)
    assert.equal([...body.matchAll(/type="radio"\s+name="pool"/g)].length, 2)
    assert.match(body, /Expires in 4 min 51 s/)
  })
  test('a person signs the digest that was shown, as the pool that was shown', async () => {
    const given: unknown[] = []
    await using door = await knock({
      ...waiting,
      approve: async (caller, id, input) => {
        given.push([caller.subject.id, id, input])
        return requestLike({ status: 'approved' })
      },
      denyRequest: async (_caller, id, input) => {
        given.push([id, input])
        return requestLike({ status: 'denied' })
      },
    })
    const done = await door.fetch(
      '/requests/req_1/approve',
      form({ statement: DIGEST, pool: 'dba', comment: 'ok\r\nfine' }),
    )
    assert.equal(done.status, 303)
    assert.equal(done.headers.get('location'), '/requests/req_1')
    await door.fetch('/requests/req_1/deny', form({ statement: DIGEST, reason: '' }))
    assert.deepEqual(given, [
      ['ada', 'req_1', { statement: DIGEST, pool: 'dba', comment: 'ok\nfine' }],
      ['req_1', { statement: DIGEST }],
    ])
    for (const fields of [{}, { statement: 'sha256:short' }, { statement: DIGEST, more: 'x' }]) {
      const wrong = await door.fetch('/requests/req_1/approve', form(fields))
      assert.equal(wrong.status, 400)
    }
    assert.equal(given.length, 2)
  })
  test('B19 what changed while one was looking is said, and nothing is approved', async () => {
    await using door = await knock({
      ...waiting,
      approve: () =>
        Promise.reject(new WritError('ERR_CONFLICT', 'this is not the statement that was displayed')),
    })
    const page = await door.fetch('/requests/req_1/approve', form({ statement: DIGEST }))
    assert.equal(page.status, 409)
    const body = await page.text()
    assert.match(body, /It changed while you were looking/)
    assert.match(body, /This is not the statement that was displayed\./)
    assert.match(body, /href="\/requests\/req_1"/)
  })
  test('who may not approve sees why there is no button', async () => {
    await using door = await knock({
      request: async () => requestLike(),
      requests: async () => ({ items: [], next: undefined }),
    })
    const body = await (await door.fetch('/requests/req_1', { headers: signedIn })).text()
    assert.doesNotMatch(body, /<button class="go"/)
    assert.match(body, /You cannot approve this one/)
  })
  test('errors are pages here', async () => {
    await using door = await knock({ requests: () => Promise.reject(new Error('canary')) })
    const page = await door.fetch('/inbox', { headers: signedIn })
    assert.equal(page.status, 500)
    assert.match(page.headers.get('content-type') ?? '', /^text\/html/)
    const body = await page.text()
    assert.match(body, /Something went wrong; the operator/)
    assert.doesNotMatch(body, /canary/)
    const nowhere = await door.fetch('/nowhere', { headers: { accept: 'text/html' } })
    assert.equal(nowhere.status, 404)
    assert.match(await nowhere.text(), /<h1>There is nothing here<\/h1>/)
  })
  test('style and icon are served, and are all that a page loads', async () => {
    await using door = await knock(waiting)
    for (const [path, type] of [
      ['/style.css', /^text\/css/],
      ['/icon.svg', /^image\/svg\+xml/],
    ] as const) {
      const response = await door.fetch(path)
      assert.equal(response.status, 200)
      assert.match(response.headers.get('content-type') ?? '', type)
    }
    const body = await (await door.fetch('/requests/req_1', { headers: signedIn })).text()
    const loaded: string[] = [...body.matchAll(/(?:src|<link[^>]*href)="([^"]*)"/g)].map(
      (match) => match[1] ?? '',
    )
    assert.deepEqual(new Set(loaded), new Set(['/icon.svg', '/style.css']))
    assert.doesNotMatch(body, /\sstyle="/)
  })
})

test('durations as people say them', () => {
  assert.equal(spell(291_000), '4 min 51 s')
  assert.equal(spell(59_999), '59 s')
  assert.equal(spell(3_600_000), '1 h')
  assert.equal(spell(7_500_000), '2 h 5 min')
  assert.equal(spell(-5), '0 s')
})
