/**
 * Access tokens that Writ issues, and how they are asked for.
 *
 * @module
 */
import type { Caller } from './access.ts'
import type { Attempt } from './attempt.ts'
import type { Json } from './canonical.ts'
import type { EntityRef, Properties } from './entity.ts'
import type { Instant, Millis } from './time.ts'
import { HOUR } from './time.ts'

/** No token lives longer: so long a retired key stays published. */
export const TOKEN_LIFE_MOST: Millis = HOUR

/** Deepest `act` in a token: so many act for somebody, one after another (RFC 8693 §4.1). */
export const ACTORS_MOST = 4

/** One thing that a token is for: `properties` are those of the action (RFC 9396, type `writ`). */
export type TokenDetail = Readonly<{ action: string; resource: EntityRef; properties?: Properties }>

/**
 * An access token by what it may do; its text is kept nowhere. It is worth something only while everything that it was
 * issued under lives: grants, tasks, the tokens it was exchanged for, each identity of its chain.
 */
export type Token = Readonly<{
  /** Its `jti`, `tok_…`. */
  id: string
  /** Who accepts it, and the `aud` that says so. */
  audience: EntityRef
  aud: string
  /** The acting party first, then those it acts for. */
  chain: readonly EntityRef[]
  /** By `refKey`, of the chain: who was made again inherits nothing. */
  generations: Readonly<Record<string, number>>
  /** Actions on the audience, as asked for by `scope`. */
  scope: readonly string[]
  details: readonly TokenDetail[]
  /** What was decided, each with the grant that carried it: asked again whenever the token is looked at. */
  decided: readonly Readonly<{ attempt: Attempt; grant?: string }>[]
  decisions: readonly string[]
  asked: Caller
  /** `client_id`. */
  client: string
  /** The registered client that it was issued to. */
  registered?: string
  /** Other registered clients that proved somebody behind it. */
  clients?: readonly string[]
  /** Everything that must live: those of the tokens that it came from too. */
  grants: readonly string[]
  tasks: readonly string[]
  parents: readonly string[]
  /** Registered delegations that it was issued under. */
  delegations?: readonly string[]
  /** Thumbprint of the key that it is bound to. */
  jkt?: string
  singleUse: boolean
  /** Epoch of the log in which it was issued: a copy that is put back honours none of before. */
  epoch: number
  issuedAt: Instant
  endsAt: Instant
  usedAt?: Instant
  revokedAt?: Instant
}>

/** A client with keys of its own, as configured; kept with the generation its subject had when it was registered. */
export type Client = Readonly<{
  id: string
  subject: EntityRef
  generation: number
  /** Public, as JWKs. */
  keys: readonly Properties[]
  /** Resources that it is the server of: it may look at their tokens, and exchange them. */
  serves: readonly EntityRef[]
  registeredAt: Instant
}>

/** What a client is configured with. */
export type ClientConfig = Omit<Client, 'generation' | 'registeredAt'>

/** How a client proves itself in a request: RFC 7523, nothing that both sides hold. */
export type ClientProof = Readonly<{ id?: string; assertion?: string }>

/** A token request as read: bounded and well-formed, nothing of it verified. */
export type TokenRequest = Readonly<{
  grant: 'exchange' | 'client' | 'assertion'
  client: ClientProof
  /** Of an exchange: whose rights, and who acts. */
  subjectToken?: string
  actorToken?: string
  /** Of the assertion grant. */
  assertion?: string
  requested: 'access_token' | 'jwt'
  /** Who shall accept it, by reference or by URI. */
  audience?: Readonly<{ ref: EntityRef } | { uri: string }>
  scope: readonly string[]
  details: readonly Readonly<{ action: string; resource?: EntityRef; properties?: Properties }>[]
  task?: string
  under?: string
  /** The registered delegation that the acting one names. */
  delegation?: string
  /** An approval by id, or with the state that proves it. */
  approval?: Json
  /** `submit` asks for what is missing at once; an id asks how it stands. */
  accessRequest?: string
  justification?: string
}>

/** Why a token is worth nothing any more. */
export type TokenEnd =
  | 'unknown'
  | 'expired'
  | 'revoked'
  | 'used'
  | 'grant_ended'
  | 'task_ended'
  | 'subject_ended'
  | 'parent_ended'
  | 'delegation_ended'
  | 'epoch'
  | 'policy'
