/**
 * Forms as no client means them: parts of good ones, cut, grown, doubled, nested, misspelt and badly encoded.
 *
 * @module
 */
import fc from 'fast-check'

export type Sent = Readonly<{
  path: string
  type: string
  body: Buffer
  headers: Readonly<Record<string, string>>
}>

const GRANT = 'urn:ietf:params:oauth:grant-type:'
const TYPE = 'urn:ietf:params:oauth:token-type:'
const BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

const TOKENS = ['subject_token', 'actor_token', 'assertion', 'client_assertion', 'token']
const NAMES = [
  ...TOKENS,
  'grant_type',
  'subject_token_type',
  'actor_token_type',
  'requested_token_type',
  'client_assertion_type',
  'client_id',
  'client_secret',
  'audience',
  'resource',
  'scope',
  'authorization_details',
  'approval',
  'access_request',
  'justification',
  'writ_task',
  'writ_grant',
  'task',
  'delegation',
  'token_type_hint',
]

const CONTENT_TYPES = [
  'application/x-www-form-urlencoded',
  'application/x-www-form-urlencoded; charset=utf-8',
  'application/x-www-form-urlencoded; charset=utf-16',
  'application/x-www-form-urlencoded; boundary=x',
  'application/json',
  'multipart/form-data; boundary=x',
  'text/plain',
  'application/jwt',
  'nonsense',
]

/** What a browser would never send: percent signs that mean nothing, bytes that are no text. */
const odd = fc.constantFrom(
  '%',
  '%%',
  '%2',
  '%zz',
  '%ff',
  '%c0%af',
  '%ed%a0%80',
  '%00',
  '+',
  '%u0041',
  ';',
  '=',
  '\u0000',
  '\r\n',
  '&&',
  '[]',
  '[0]',
)

/** Once in so many times. */
const rarely = <T>(made: fc.Arbitrary<T>, times: number): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: times - 1, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: made })

/** `tokens` are good ones by whom nothing may be had. */
export function forms(tokens: readonly (() => string)[]): fc.Arbitrary<() => Sent> {
  const token = fc
    .record({
      which: fc.nat({ max: 9 }),
      how: fc.constantFrom(
        'whole',
        'whole',
        'whole',
        'whole',
        'whole',
        'whole',
        'cut',
        'grown',
        'twice',
        'nested',
        'quoted',
        'long',
        'parts',
        'empty',
      ),
      at: fc.nat({ max: 2_000 }),
    })
    .map(({ which, how, at }) => (): string => {
      const text = tokens[which % tokens.length]?.() ?? ''
      switch (how) {
        case 'cut':
          return text.slice(0, at % text.length)
        case 'grown':
          return `${text.slice(0, at % text.length)}A${text.slice(at % text.length)}`
        case 'twice':
          return text + text
        case 'nested':
          return [text.split('.')[0], Buffer.from(text).toString('base64url'), text.split('.')[2]].join('.')
        case 'quoted':
          return JSON.stringify({ token: text })
        case 'long':
          return text + 'A'.repeat(at * 60)
        case 'parts':
          return `${'.'.repeat(at)}${text}`
        case 'empty':
          return ''
        default:
          return text
      }
    })
  const json = fc.oneof(
    fc.json({ maxDepth: 4 }),
    fc.nat({ max: 3_000 }).map((depth) => '['.repeat(depth) + ']'.repeat(depth)),
    fc.constantFrom(
      '[{"type":"writ","action":"ledger:read","action":"ledger:burn"}]',
      '[{"type":"writ","action":"ledger:read","resource":"Api/ledger","__proto__":{}}]',
      '[{"type":"writ","action":"ledger:read","resource":{"type":"Api","id":"ledger"}}]',
      `[${'{"type":"writ","action":"ledger:read"},'.repeat(400)}{}]`,
    ),
  )
  const value = fc.oneof(
    { weight: 4, arbitrary: token },
    {
      weight: 3,
      arbitrary: fc
        .constantFrom(
          'ledger:read',
          'Api/ledger',
          'Api/none',
          `${TYPE}jwt`,
          `${TYPE}access_token`,
          `${GRANT}token-exchange`,
          `${GRANT}jwt-bearer`,
          'client_credentials',
          BEARER,
          'web',
          'poor',
          'submit',
        )
        .map((text) => () => text),
    },
    { weight: 2, arbitrary: json.map((text) => () => text) },
    { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }).map((text) => () => text) },
    { weight: 1, arbitrary: fc.nat({ max: 100_000 }).map((size) => () => 'x'.repeat(size)) },
  )
  const name = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...NAMES) },
    { weight: 1, arbitrary: fc.string({ maxLength: 12 }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        '__proto__',
        'constructor',
        'toString',
        'Scope',
        'scope ',
        'subject_token[]',
      ),
    },
  )
  const field = fc.record({ name, value, raw: fc.boolean(), odd: rarely(odd, 6) })
  const base = fc.constantFrom('exchange', 'assertion', 'client', 'look', 'none')
  return fc
    .record({
      path: fc.constantFrom(
        '/oauth/token',
        '/oauth/token',
        '/oauth/token',
        '/oauth/introspect',
        '/oauth/revoke',
      ),
      base,
      first: token,
      second: token,
      fields: fc.oneof(fc.constant([]), fc.array(field, { maxLength: 5 })),
      many: rarely(fc.nat({ max: 3_000 }), 12),
      type: fc.oneof(
        { weight: 6, arbitrary: fc.constant(CONTENT_TYPES[0] as string) },
        fc.constantFrom(...CONTENT_TYPES),
      ),
      dpop: rarely(token, 8),
      authorization: rarely(token, 12),
      drop: rarely(fc.nat({ max: 6 }), 4),
    })
    .map((made) => (): Sent => {
      const pairs: string[] = []
      const add = (key: string, text: string): void => {
        pairs.push(`${encodeURIComponent(key.toWellFormed())}=${encodeURIComponent(text.toWellFormed())}`)
      }
      const wanted = { audience: 'Api/ledger', scope: 'ledger:read' }
      const [one, two] = [made.first(), made.second()]
      const of: Readonly<Record<string, Readonly<Record<string, string>>>> = {
        exchange: {
          grant_type: `${GRANT}token-exchange`,
          subject_token: one,
          subject_token_type: `${TYPE}jwt`,
          actor_token: two,
          actor_token_type: `${TYPE}jwt`,
          ...wanted,
        },
        assertion: { grant_type: `${GRANT}jwt-bearer`, assertion: one, ...wanted },
        client: {
          grant_type: 'client_credentials',
          client_assertion_type: BEARER,
          client_assertion: one,
          ...wanted,
        },
        look: { token: one, client_assertion_type: BEARER, client_assertion: two },
      }
      for (const [at, [key, text]] of Object.entries(of[made.base] ?? {}).entries()) {
        if (at !== made.drop) add(key, text)
      }
      for (const { name: key, value: text, raw, odd: between } of made.fields) {
        if (raw) pairs.push(`${key}=${text()}`)
        else add(key, text())
        if (between !== undefined) pairs.push(between)
      }
      for (let i = 0; i < (made.many ?? 0); i++) pairs.push(`f${i}=x`)
      const header = (text: string): string | undefined =>
        /^[\x21-\x7e]{1,6000}$/u.test(text) ? text : undefined
      const dpop = made.dpop === undefined ? undefined : header(made.dpop())
      const authorization = made.authorization === undefined ? undefined : header(made.authorization())
      return {
        path: made.path,
        type: made.type,
        // what is no text stays what it is
        body: Buffer.from(pairs.join('&'), made.drop === 6 ? 'latin1' : 'utf8'),
        headers: {
          ...(dpop === undefined ? {} : { dpop }),
          ...(authorization === undefined ? {} : { authorization: `Bearer ${authorization}` }),
        },
      }
    })
}
