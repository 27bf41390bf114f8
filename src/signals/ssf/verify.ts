/**
 * Whether a SET is its transmitter's word, for us. Algorithm, keys, issuer and audience are configuration, never the token's
 * own word (B52); what is not exactly right is refused with the code that RFC 8935 has for it.
 *
 * @module
 */
import { Refused } from '../../identity/issuers/refusal.ts'
import type { UnverifiedToken } from '../../identity/issuers/token.ts'
import { readToken } from '../../identity/issuers/token.ts'
import { isSignedBy } from '../../identity/jws.ts'
import type { ReceiverConfig, SetClaims, SetError, SetErrorCode } from '../../model/signal.ts'
import type { Instant, Millis } from '../../model/time.ts'
import { MINUTE } from '../../model/time.ts'
import type { SsfCodec } from './codec.ts'
import type { TransmitterKeys } from './keys.ts'

/** How far ahead of ours the clock of a transmitter may be. */
export const SKEW: Millis = MINUTE
const TYPES: readonly (string | null)[] = ['secevent+jwt', 'application/secevent+jwt']

/** `again`: nothing is wrong with it, as far as can be known now. */
export type VerifiedSet =
  | Readonly<{ set: SetClaims; refused?: undefined; again?: undefined }>
  | Readonly<{ refused: SetError; set?: undefined; again?: undefined }>
  | Readonly<{ again: string; set?: undefined; refused?: undefined }>

const refuse = (err: SetErrorCode, description: string): VerifiedSet => ({ refused: { err, description } })

export async function verifySet(
  token: string,
  now: Instant,
  config: Pick<ReceiverConfig, 'issuer' | 'audiences' | 'algorithms' | 'unsafeHttp'>,
  { codec, keys }: Readonly<{ codec: Pick<SsfCodec, 'decodeSet'>; keys: TransmitterKeys }>,
): Promise<VerifiedSet> {
  let read: UnverifiedToken
  try {
    read = readToken(token)
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    return refuse('invalid_request', error.refusal.sentence)
  }
  const { alg, kid, typ, claims } = read
  if (!TYPES.includes(typ)) return refuse('invalid_request', 'its `typ` is not `secevent+jwt`')
  const { iss } = claims
  // an address that anybody on the way can speak for is nobody's
  if (typeof iss !== 'string' || iss !== config.issuer || !(config.unsafeHttp || iss.startsWith('https://')))
    return refuse('invalid_issuer', 'its `iss` is not the issuer that is configured')
  if (!config.algorithms.includes(alg))
    return refuse('invalid_key', 'it is signed with an algorithm that its issuer is not trusted with')
  const decoded = codec.decodeSet(claims)
  if (decoded.problem !== undefined) return refuse('invalid_request', decoded.problem)
  const { set } = decoded
  // for others too would let any of them hand it on
  const isOurs = set.audiences.length > 0 && set.audiences.every((one) => config.audiences.includes(one))
  if (!isOurs) return refuse('invalid_audience', 'its `aud` is not ours alone')
  if (set.issuedAt > now + SKEW) return refuse('invalid_request', 'its `iat` is in the future')
  const found = await keys.find(alg, kid)
  if (found.problem === 'unavailable')
    return { again: found.reason ?? 'the keys of its issuer cannot be had' }
  if (found.problem !== undefined)
    return refuse('invalid_key', 'the key that signed it is not among those of its issuer')
  if (!(await isSignedBy(token, found.key, alg))) {
    const other = kid === undefined ? await keys.instead(alg, found.key) : undefined
    if (other === undefined || !(await isSignedBy(token, other, alg)))
      return refuse('invalid_key', 'its signature is wrong')
  }
  return { set }
}
