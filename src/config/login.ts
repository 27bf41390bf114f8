/**
 * How people sign in, as configured.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { createPrivateKey } from 'node:crypto'
import { z } from 'zod'
import type { Json } from '../model/canonical.ts'
import { WritError } from '../model/errors.ts'
import type { Issuer } from '../model/issuer.ts'
import { Secret } from '../model/secret.ts'

const text = z.string('is not text').min(1, 'is empty')

export const loginProvider = z.strictObject({
  /** Stands in the record; that of an entry under `issuers` takes its URL from there. */
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/u, 'is not made of a–z, 0–9 and `-`'),
  /** What people read. */
  label: text.max(60).optional(),
  issuer: z.url('is not a URL').optional(),
  client_id: text.max(256),
  /** Path of a private key (PEM, PKCS #8) that proves the client (`private_key_jwt`). */
  key_file: text.optional(),
  /** `kid` of that key at the provider. */
  key_id: text.optional(),
  /** Path of a file with a shared secret, for providers that know nothing better. */
  secret_file: text.optional(),
  scopes: z.array(text).default(['openid', 'profile', 'email']),
  /** The claim of its ID tokens that names the device on which somebody signs in. */
  device_claim: text.max(256).optional(),
  allow_private: z.boolean('is neither `true` nor `false`').default(false),
  /** Path of a PEM file. */
  ca: text.optional(),
})

export const passkeyModes = ['off', 'owned', 'high', 'always'] as const

/** A provider that people sign in with (OpenID Connect, code with PKCE). */
export type LoginProvider = Readonly<{
  name: string
  label: string
  issuer: string
  clientId: string
  /** How the client proves itself; a public one only has PKCE. */
  proof:
    | Readonly<{ kind: 'none' }>
    | Readonly<{ kind: 'key'; key: KeyObject; keyId?: string }>
    | Readonly<{ kind: 'secret'; secret: Secret<string> }>
  scopes: readonly string[]
  deviceClaim?: string
  allowPrivate: boolean
  ca?: string
}>

export type LoginConfig = Readonly<{
  /** Whose approvals need a passkey. */
  passkey: (typeof passkeyModes)[number]
  providers: readonly LoginProvider[]
  /** Whether programs may sign people in here: the command line, MCP clients. */
  server: boolean
  /** Whether such a program may be named by the URL of its metadata document. */
  clientMetadata: boolean
  /** Whether such a program may register itself. */
  registration: boolean
}>

/** Where nothing is configured. */
export const LOGIN: LoginConfig = {
  passkey: 'owned',
  providers: [],
  server: true,
  clientMetadata: false,
  registration: false,
}

type Parsed = Readonly<{
  passkey: LoginConfig['passkey']
  providers: readonly z.output<typeof loginProvider>[]
  server: boolean
  client_metadata: boolean
  registration: boolean
}>

/** @throws {WritError} `ERR_CONFIG_INVALID` for files that cannot be read and providers that must not be trusted. */
export function loginConfig(
  { passkey, providers, server, client_metadata: clientMetadata, registration }: Parsed,
  issuers: readonly Issuer[],
  path: (text: string) => string,
  read: (path: string) => string,
): LoginConfig {
  const names = new Set<string>()
  return {
    passkey,
    server,
    clientMetadata,
    registration,
    providers: providers.map((one) => {
      const bad = (why: string, hint: string, cause?: unknown) =>
        new WritError('ERR_CONFIG_INVALID', `login provider \`${one.name}\` ${why}`, {
          hint,
          ...(cause === undefined ? {} : { cause }),
        })
      if (names.has(one.name)) throw bad('is there twice', 'give each a name of its own')
      names.add(one.name)
      const named = issuers.find(({ name, kind }) => name === one.name && kind !== 'spiffe')
      const issuer = one.issuer ?? named?.issuer
      if (issuer === undefined || (named !== undefined && named.issuer !== issuer)) {
        // accounts are named by the issuer: one name must not mean two
        throw bad('has no `issuer` of its own', 'give its URL, or the name of an entry under `issuers`')
      }
      if (!issuer.startsWith('https://') && !one.allow_private) {
        throw bad('is not an https URL', 'use https; on a private network also `allow_private: true`')
      }
      if (!one.scopes.includes('openid')) throw bad('does not ask for `openid`', 'add `openid` to `scopes`')
      if (one.key_file !== undefined && one.secret_file !== undefined) {
        throw bad('has two proofs of the client', 'give `key_file` or `secret_file`')
      }
      const file = (name: string): string => {
        try {
          return read(path(name))
        } catch (cause) {
          throw bad(`has a file that cannot be read: \`${path(name)}\``, 'check the path and its mode', cause)
        }
      }
      return {
        name: one.name,
        label: one.label ?? one.name,
        issuer,
        clientId: one.client_id,
        proof: proofOf(one, file, bad),
        scopes: one.scopes,
        ...(one.device_claim === undefined ? {} : { deviceClaim: one.device_claim }),
        allowPrivate: one.allow_private,
        ...(one.ca === undefined ? {} : { ca: file(one.ca) }),
      }
    }),
  }
}

function proofOf(
  { key_file: keyFile, key_id: keyId, secret_file: secretFile }: z.output<typeof loginProvider>,
  file: (name: string) => string,
  bad: (why: string, hint: string, cause?: unknown) => WritError,
): LoginProvider['proof'] {
  if (secretFile !== undefined) {
    const secret = file(secretFile).trim()
    if (secret === '') throw bad('has an empty secret file', 'write the secret of the client into it')
    return { kind: 'secret', secret: new Secret(secret) }
  }
  if (keyFile === undefined) return { kind: 'none' }
  try {
    const key = createPrivateKey(file(keyFile))
    return { kind: 'key', key, ...(keyId === undefined ? {} : { keyId }) }
  } catch (cause) {
    if (cause instanceof WritError) throw cause
    throw bad('has a key file without a private key', 'write a PKCS #8 PEM into it', cause)
  }
}

/** What stands in the record of the configuration; nothing secret. */
export const loginSummary = ({ providers, ...rest }: LoginConfig): Json => ({
  ...rest,
  providers: providers.map(({ name, issuer, clientId, proof, scopes, deviceClaim, allowPrivate }) => ({
    name,
    issuer,
    clientId,
    proof: proof.kind,
    scopes,
    ...(deviceClaim === undefined ? {} : { deviceClaim }),
    allowPrivate,
  })),
})
