/**
 * What the sign-in server for programs is to others.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Fetcher } from '../../identity/issuers/fetcher.ts'
import type { Caller } from '../../model/access.ts'
import type { EntityRef } from '../../model/entity.ts'
import type { Instant } from '../../model/time.ts'

/** Below this everything is its own; the token endpoint for machines is elsewhere. */
export const MOUNT = '/login/oidc'
/** The metadata of its issuer, where RFC 8414 §3 looks for it. */
export const METADATA = `/.well-known/oauth-authorization-server${MOUNT}`
/** What there is below it. */
export const PATHS =
  /^\/(?:auth(?:\/[\w-]+)?|token|token\/revocation|reg|jwks|\.well-known\/openid-configuration)$/
/** The command line, by the name under which it asks. */
export const CLI_CLIENT = 'writ-cli'

export type ProgramsConfig = Readonly<{
  /** Whether a program may be named by the URL of its metadata document. */
  clientMetadata: boolean
  registration: boolean
}>

/** A sign-in that waits for its person. */
export type Waiting = Readonly<{
  uid: string
  /** The provider that the person wants to sign in with, if the program says one. */
  provider?: string
  client: Readonly<{ name: string; id: string; at: string; known: boolean }>
}>

/** A program that a person has let in, as long as it can act for them. */
export type Admitted = Readonly<{
  /** Names it to the person who let it in; nothing can be done with it at the program's own endpoints. */
  id: string
  client: Waiting['client']
  since: Instant
  /** Nothing while it has not come for its token. */
  until?: Instant
  usedAt?: Instant
}>

/** A person, as they are now: who was made again has let nothing in. */
type Holder = Pick<Caller, 'subject' | 'generation'>

/** What a program is told, where there is nobody to send it to but the person. */
export type ProgramError = Readonly<{ error: string; description?: string | undefined }>

export interface Programs {
  /** Whether the request is one of its own; then it is answered. */
  handle(request: IncomingMessage, response: ServerResponse, origin: string): boolean
  /** What waits for an answer in this browser; nothing if nothing does. */
  waiting(request: IncomingMessage, response: ServerResponse, origin: string): Promise<Waiting | undefined>
  /** The person's answer; where the browser goes on. */
  answer(
    request: IncomingMessage,
    response: ServerResponse,
    origin: string,
    person: Caller | undefined,
  ): Promise<string>
  /** The caller behind an access token. @throws {WritError} `ERR_UNAUTHENTICATED`. */
  caller(token: string): Promise<Caller | undefined>
  /** What `person` has let in, the latest first. */
  admitted(person: Holder): Promise<readonly Admitted[]>
  /** Ends one at once: its token, and the code that it has not used yet. What was ended, if it was theirs. */
  end(
    person: Holder,
    id: string,
  ): Promise<Readonly<{ client: Admitted['client']; caller: string }> | undefined>
}

export type ProgramsOptions = Readonly<{
  config: ProgramsConfig
  /** The URL under which people reach this server, as it is configured. */
  publicUrl?: string
  /** Whether `person` of that generation may be signed in now. */
  stands(person: EntityRef, generation: number): Promise<boolean>
  fetch: Fetcher
  now(): Instant
  /** Signs cookies. */
  cookieKey: Uint8Array
  log(message: string, detail: string): void
  errorPage(error: ProgramError): string
}>

/** Whether programs may sign people in at `origin`; a `Host` header is nobody's word, but for this machine. */
export const isOfPrograms = (origin: string, publicUrl: string | undefined): boolean =>
  publicUrl !== undefined || ['localhost', '127.0.0.1', '[::1]'].includes(new URL(origin).hostname)
