/**
 * Passkeys (WebAuthn): what a browser is asked for, and whether its answer is what was asked for. The person must have been
 * verified by their device (UV), at our own origin; a counter that goes back is a copy.
 *
 * @module
 */
import type {
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
} from '@simplewebauthn/server'
import * as z from 'zod'
import { WritError } from '../../model/errors.ts'
import type { Passkey } from '../../model/identity.ts'
import { CEREMONY_MOST } from './ceremony.ts'

/** Loaded with the first passkey: what reads certificates of devices takes a tenth of a start. */
const library = async () => import('@simplewebauthn/server')

/** Where passkeys are used: the host name they are for, and the exact origin of our pages. */
export type Party = Readonly<{ id: string; origin: string }>

/**
 * The party at `origin`; none where there can be none: a browser makes passkeys for names only, over TLS or on this machine.
 * Without a configured name (`configured`) only `localhost` is one, at the `port` that is listened on: a `Host` header is
 * nobody's word, and a passkey for `localhost` signs for every port of this machine, also that of somebody else's page.
 */
export function partyAt(
  origin: string,
  configured: string | undefined,
  port: number | undefined,
): Party | undefined {
  const url = new URL(configured ?? origin)
  const { hostname, protocol } = url
  if (hostname === 'localhost') {
    const named = Number(url.port) || (protocol === 'https:' ? 443 : 80)
    const isHere = configured !== undefined || port === undefined || named === port
    return isHere ? { id: hostname, origin: url.origin } : undefined
  }
  if (configured === undefined || protocol !== 'https:' || /^[\d.]+$|^\[/.test(hostname)) return undefined
  return { id: hostname, origin: url.origin }
}

/** EdDSA, ES256, RS256. */
const ALGORITHMS = [-8, -7, -257]

const base64url = z
  .string()
  .max(16_384)
  .regex(/^[\w-]+$/)
const some = <S extends z.ZodType>(schema: S) => schema.nullish().transform((value) => value ?? undefined)

/** What `PublicKeyCredential.toJSON()` gives for a signature; what else is there is not looked at. */
const assertion = z.object({
  id: base64url,
  rawId: base64url,
  type: z.literal('public-key'),
  response: z.object({
    clientDataJSON: base64url,
    authenticatorData: base64url,
    signature: base64url,
    userHandle: some(z.string().max(1_024)),
  }),
})

const attestation = z.object({
  id: base64url,
  rawId: base64url,
  type: z.literal('public-key'),
  response: z.object({
    clientDataJSON: base64url,
    attestationObject: base64url,
    transports: some(z.array(z.string().max(32)).max(10)),
  }),
})

export type Assertion = z.output<typeof assertion>
export type CreationOptions = PublicKeyCredentialCreationOptionsJSON
export type RequestOptions = PublicKeyCredentialRequestOptionsJSON

/** @throws {WritError} `ERR_INPUT_INVALID`. */
export function parseAssertion(text: string): Assertion {
  return parse(assertion, text)
}

function parse<S extends z.ZodType>(schema: S, text: string): z.output<S> {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw unreadable(cause)
  }
  const parsed = schema.safeParse(json)
  if (!parsed.success) throw unreadable(parsed.error)
  return parsed.data
}

const unreadable = (cause: unknown): WritError =>
  new WritError('ERR_INPUT_INVALID', 'this is no answer of a passkey', {
    hint: 'use the button of the page, in a browser that runs its script',
    cause,
  })

/** Why an answer does not count; all look alike to who sent it. */
export function refusedPasskey(detail: string, cause?: unknown): WritError {
  return new WritError('ERR_FORBIDDEN', 'this passkey does not prove it', {
    hint: 'try again from the page; if it keeps failing, use another passkey',
    problem: 'passkey_refused',
    detail,
    ...(cause === undefined ? {} : { cause }),
  })
}

export async function creationOptions(
  party: Party,
  user: Readonly<{ handle: Uint8Array; name: string; displayName: string }>,
  known: readonly Passkey[],
  challenge: Uint8Array,
): Promise<CreationOptions> {
  const { generateRegistrationOptions } = await library()
  return generateRegistrationOptions({
    rpName: 'Writ',
    rpID: party.id,
    userID: new Uint8Array(user.handle),
    userName: user.name,
    userDisplayName: user.displayName,
    challenge: new Uint8Array(challenge),
    timeout: CEREMONY_MOST,
    attestationType: 'none',
    excludeCredentials: known.map(({ id, transports }) => ({ id, transports: [...transports] })),
    authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
    supportedAlgorithmIDs: ALGORITHMS,
  })
}

/** Any passkey of the party if `allowed` is empty. */
export async function requestOptions(
  party: Party,
  allowed: readonly Passkey[],
  challenge: Uint8Array,
): Promise<RequestOptions> {
  const { generateAuthenticationOptions } = await library()
  return generateAuthenticationOptions({
    rpID: party.id,
    challenge: new Uint8Array(challenge),
    timeout: CEREMONY_MOST,
    userVerification: 'required',
    ...(allowed.length === 0
      ? {}
      : { allowCredentials: allowed.map(({ id, transports }) => ({ id, transports: [...transports] })) }),
  })
}

type Made = Pick<Passkey, 'id' | 'publicKey' | 'counter' | 'transports' | 'rp' | 'synced'>

/** @throws {WritError} `ERR_INPUT_INVALID`, `ERR_FORBIDDEN`. */
export async function verifyCreation(party: Party, challenge: Uint8Array, text: string): Promise<Made> {
  const answer = parse(attestation, text)
  const { transports, ...response } = answer.response
  const { verifyRegistrationResponse } = await library()
  try {
    requireTop(response.clientDataJSON)
    const { verified, registrationInfo } = await verifyRegistrationResponse({
      response: { ...answer, response, clientExtensionResults: {} },
      expectedChallenge: Buffer.from(challenge).toString('base64url'),
      expectedOrigin: party.origin,
      expectedRPID: party.id,
      requireUserVerification: true,
      supportedAlgorithmIDs: ALGORITHMS,
    })
    if (!verified) throw refusedPasskey('its attestation does not verify')
    const { credential, credentialBackedUp, credentialDeviceType } = registrationInfo
    return {
      id: credential.id,
      publicKey: Buffer.from(credential.publicKey).toString('base64url'),
      counter: credential.counter,
      transports: transports ?? [],
      rp: party.id,
      synced: credentialBackedUp || credentialDeviceType === 'multiDevice',
    }
  } catch (error) {
    throw error instanceof WritError ? error : refusedPasskey(reason(error), error)
  }
}

/**
 * The counter after a signature by `passkey` over `challenge`.
 *
 * @throws {WritError} `ERR_FORBIDDEN`.
 */
export async function verifyAssertion(
  party: Party,
  passkey: Passkey,
  challenge: Uint8Array,
  answer: Assertion,
): Promise<number> {
  const { userHandle: _handle, ...response } = answer.response
  const { verifyAuthenticationResponse } = await library()
  try {
    requireTop(response.clientDataJSON)
    const { verified, authenticationInfo } = await verifyAuthenticationResponse({
      response: { ...answer, response, clientExtensionResults: {} },
      expectedChallenge: Buffer.from(challenge).toString('base64url'),
      expectedOrigin: party.origin,
      expectedRPID: passkey.rp === party.id ? party.id : [],
      requireUserVerification: true,
      credential: {
        id: passkey.id,
        publicKey: new Uint8Array(Buffer.from(passkey.publicKey, 'base64url')),
        // whether it went back is judged where it is written
        counter: 0,
      },
    })
    if (!verified) throw refusedPasskey('its signature does not verify')
    return authenticationInfo.newCounter
  } catch (error) {
    throw error instanceof WritError ? error : refusedPasskey(reason(error), error)
  }
}

/** Whether a signature that says `counter` was made by who made the last one: devices that do not count say 0. */
export const counts = (known: number, counter: number): boolean =>
  (known === 0 && counter === 0) || counter > known

/** Our pages are in nobody's frame. Who leaves this to the library accepts what has no `topOrigin`. */
function requireTop(clientDataJSON: string): void {
  const said = JSON.parse(Buffer.from(clientDataJSON, 'base64url').toString()) as Record<
    string,
    unknown
  > | null
  if (said === null || said['topOrigin'] !== undefined || (said['crossOrigin'] ?? false) !== false)
    throw refusedPasskey('it was asked for in a frame of another site')
}

const reason = (error: unknown): string => (error instanceof Error ? error.message : typeof error)
