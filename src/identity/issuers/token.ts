/**
 * Reading a compact JWS (RFC 7515) before anything about it is believed: bounded, canonical, and with one reading only.
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import type { Json } from '../../model/canonical.ts'
import type { Properties } from '../../model/entity.ts'
import { readJson } from '../../model/json.ts'
import { isText } from '../../model/name.ts'
import { Refused } from './refusal.ts'

/** Longest token, in characters. */
export const TOKEN_MOST = 16 * 1024
/** Deepest header or payload. */
const DEPTH = 12

/** The parts of a token, none of them verified. */
export type UnverifiedToken = Readonly<{
  header: Properties
  claims: Properties
  alg: string
  kid?: string
  typ: string | null
}>

/**
 * `free` leaves invisible characters in claims: where names are for people to read, and who reads them takes care.
 *
 * @throws {Refused}
 */
export function readToken(token: string, free = false): UnverifiedToken {
  if (token.length > TOKEN_MOST) throw new Refused('size')
  const parts = token.split('.')
  if (parts.length === 5) throw new Refused('encrypted')
  if (parts.length !== 3) throw new Refused('form')
  const [head, body, signature] = parts.map(bytesOf)
  if (head === undefined || body === undefined || signature === undefined) throw new Refused('form')
  const header = objectOf(head)
  // what must be understood is not: no extension is known here (RFC 7515 4.1.11, RFC 7797)
  if (Object.hasOwn(header, 'crit') || Object.hasOwn(header, 'b64')) throw new Refused('header')
  if (Object.hasOwn(header, 'enc')) throw new Refused('encrypted')
  const { alg, kid, typ } = header
  if (typeof alg !== 'string') throw new Refused('algorithm')
  // an unsigned token has no third part
  if (signature.length === 0) throw new Refused(/^none$/iu.test(alg) ? 'algorithm' : 'form')
  if (typ !== undefined && typeof typ !== 'string') throw new Refused('type')
  if (kid !== undefined && !(typeof kid === 'string' && kid.length <= 256)) throw new Refused('key')
  // `jku`, `jwk`, `x5u` and `x5c` are ignored: which keys there are is not the token's to say
  return {
    header,
    claims: objectOf(body, free),
    alg,
    typ: typ ?? null,
    ...(kid === undefined ? {} : { kid }),
  }
}

/** The bytes of `part`, if this is the one way to write them. */
function bytesOf(part: string): Buffer | undefined {
  const bytes = Buffer.from(part, 'base64url')
  return bytes.toString('base64url') === part ? bytes : undefined
}

function objectOf(bytes: Buffer, free = false): Properties {
  if (!isUtf8(bytes)) throw new Refused('form')
  const text = bytes.toString('utf8')
  const read = readJson(text, DEPTH)
  if (read.problem === 'twice' || read.problem === 'proto') throw new Refused('text')
  if (read.problem !== undefined) throw new Refused('form')
  const value = read.value as Json
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Refused('form')
  if (!isWellSaid(value, free ? isPlain : isText)) throw new Refused('text')
  return value as Properties
}

const isPlain = (text: string): boolean => !/[\p{Cc}\p{Cs}]/u.test(text)

/** No lone surrogates and no controls, in names and in values. */
function isWellSaid(value: Json, isSaid: (text: string) => boolean): boolean {
  if (typeof value === 'string') return isSaid(value)
  if (typeof value !== 'object' || value === null) return true
  if (Array.isArray(value)) return value.every((one: Json) => isWellSaid(one, isSaid))
  return Object.entries(value).every(([name, member]) => isSaid(name) && isWellSaid(member as Json, isSaid))
}
