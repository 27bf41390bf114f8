/**
 * What a source of identity is, and what it needs of the world around it.
 *
 * @module
 */
import type { DpopKey } from '../../../client/src/index.ts'
import { WritClientError } from '../../../client/src/index.ts'
import { CliError, exit } from '../exit.ts'

export const identityKinds = ['key', 'github', 'gitlab', 'kubernetes', 'spiffe'] as const
export type IdentityKind = (typeof identityKinds)[number]

/** Everything that a source looks at, so that tests can be it. */
export type Around = Readonly<{
  env: Readonly<Record<string, string | undefined>>
  /** The text of a file; `undefined` if there is none. Throws when it may not be read. */
  read: (path: string) => string | undefined
  fetch: typeof fetch
  now: () => number
  random: () => string
  /** For whom a token must be: the server's URL. */
  audience: string
  /** A token of the server for whoever signs as a client (RFC 7523). */
  asClient: (client: ClientKey) => Promise<Held>
}>

/** A client that signs for itself. */
export type ClientKey = Readonly<{ id: string; assertion: (issuer: string) => Promise<string> }>

/** A token, until when (epoch milliseconds) where that is known, and the key without which it is worth nothing. */
export type Held = Readonly<{ token: string; endsAt?: number; key?: DpopKey }>

export type Source = Readonly<{
  kind: IdentityKind
  /** Where it is, for people: a variable, a path. */
  from: string
  /** The token as it is now. */
  token: () => Promise<Held>
  /** What it gave may be used again until shortly before its end; else it is looked up each time. */
  keep: boolean
  /** Signs as a client, where it can. */
  client?: ClientKey
}>

/** Says that this is where the identity comes from, or that it is not here. Looks, and asks nobody. */
export type Detector = (around: Around) => Source | undefined

/** A variable that is set and not empty. */
export function variable(around: Pick<Around, 'env'>, name: string): string | undefined {
  const value = around.env[name]
  return value === undefined || value === '' ? undefined : value
}

/** No identity was had, though it should be there. */
export const noIdentity = (message: string, hint: string, cause?: unknown): CliError =>
  new CliError(exit.authNeeded, message, hint, cause)

/** Whoever gives the identity did not answer: that may pass. */
export const sourceUnreachable = (message: string, hint: string): WritClientError =>
  new WritClientError('ERR_UNREACHABLE', message, { hint })

/** The most of a token that is read; larger ones are refused by the server as well. */
const TOKEN_MOST = 16 * 1024

/** A token from outside: one word of what tokens are made of. */
export function checkedToken(text: string, from: string): string {
  const token = text.trim()
  if (token === '') throw noIdentity(`${from} holds no token`, 'it is empty: has it been written yet?')
  if (token.length > TOKEN_MOST || !/^[\w.~+/=-]+$/u.test(token))
    throw noIdentity(`${from} holds something that is no token`, 'it must hold the token and nothing else')
  return token
}
