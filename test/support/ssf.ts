/**
 * A transmitter of signals that is not ours: SETs made by hand with jose, right ones and every kind of wrong one.
 *
 * @module
 */
import { randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import type { ReceiverConfig } from '../../src/model/signal.ts'
import type { Instant } from '../../src/model/time.ts'
import { HOUR, MINUTE } from '../../src/model/time.ts'
import type { SigningKey } from './issuer.ts'
import { publicJwk, testKey } from './issuer.ts'
import { TEST_START } from './store.ts'
import { ref } from './world.ts'

export const TRANSMITTER = 'https://idp.example'
export const SET_AUDIENCE = 'https://writ.example/ssf'
export const CAEP = 'https://schemas.openid.net/secevent/caep/event-type/'
export const SSF = 'https://schemas.openid.net/secevent/ssf/event-type/'

/** How Writ listens to it: its opaque ids `u-ada`, `u-grace` and `d-…` are whom they look like. */
export function listenTo(more: Partial<ReceiverConfig> = {}): ReceiverConfig {
  return {
    name: 'idp',
    issuer: TRANSMITTER,
    audiences: [SET_AUDIENCE],
    algorithms: ['RS256', 'ES256'],
    keys: { from: 'jwks', keys: [publicJwk(testKey('ES256')), publicJwk(testKey('RS256'))] },
    delivery: 'push',
    manage: false,
    events: ['session-revoked'],
    subjects: {
      map: {
        'u-ada': ref('Person/ada'),
        'u-grace': ref('Person/grace'),
        'grace@example.com': ref('Person/grace'),
        'w-migrator': ref('Agent/migrator'),
      },
    },
    verifyEvery: 10 * MINUTE,
    silence: HOUR,
    rate: 6_000,
    unsafeHttp: false,
    allowPrivate: false,
    ...more,
  }
}

export type SetOptions = Readonly<{
  subject?: unknown
  /** When it happened, and when it was told. */
  at?: Instant
  toldAt?: Instant
  jti?: string
  claims?: Readonly<Record<string, unknown>>
  header?: Readonly<Record<string, unknown>>
  key?: SigningKey
}>

/** A SET as `idp.example` would sign it. `claims` are put over those, `undefined` taking one away. */
export async function mintSet(
  event: string,
  payload: Readonly<Record<string, unknown>> = {},
  options: SetOptions = {},
): Promise<string> {
  const {
    at,
    jti = randomUUID(),
    header,
    key = testKey('ES256'),
    claims,
    toldAt = at ?? TEST_START,
  } = options
  const uri = event.includes(':') ? event : `${CAEP}${event}`
  const body = {
    iss: TRANSMITTER,
    aud: SET_AUDIENCE,
    jti,
    iat: Math.floor(toldAt / 1_000),
    sub_id: options.subject ?? { format: 'opaque', id: 'u-grace' },
    events: {
      [uri]: { ...(at === undefined ? {} : { event_timestamp: Math.floor(at / 1_000) }), ...payload },
    },
    ...claims,
  }
  const members = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined))
  return new SignJWT(members)
    .setProtectedHeader({ alg: key.alg, typ: 'secevent+jwt', kid: key.kid, ...header })
    .sign(key.privateKey)
}

export const verification = (state: string | undefined, stream: string, more: SetOptions = {}) =>
  mintSet(`${SSF}verification`, state === undefined ? {} : { state }, {
    subject: { format: 'opaque', id: stream },
    ...more,
  })
