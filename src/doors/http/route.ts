/**
 * What a route is: everything that the server, OpenAPI and the tests need to know of it stands in one object.
 *
 * @module
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import type { Flows } from '../../flows/port.ts'
import type { Callers } from '../../identity/callers.ts'
import type { Caller } from '../../model/access.ts'
import type { Json } from '../../model/canonical.ts'
import type { Instant } from '../../model/time.ts'
import type { Programs } from '../provider/port.ts'

/** A line for the operator; never a secret, never a body. */
export type Log = (line: { level: 'info' | 'warn' | 'error'; message: string } & Record<string, Json>) => void

/** What every handler may use. */
export type Door = Readonly<{
  flows: Flows
  callers: Callers
  now: () => Instant
  log: Log
  version: string
  /** Programs that have people sign in, if they may. */
  programs?: Programs
}>

/**
 * `public` needs no credentials; `person` a human in their own session; `caller` anyone who authenticates; `client` proves
 * in the request itself who it is, as OAuth has it: the handler verifies that.
 */
export type Who = 'public' | 'caller' | 'person' | 'client'

/**
 * The entry that the route leaves in the log, or why it leaves none (B70).
 */
export type Audit = Readonly<{ event: string }> | Readonly<{ none: string }>

export const READS = { none: 'reads what is recorded elsewhere' } as const satisfies Audit

/** How its errors look: problem details, the profile's problem types, AuthZEN's message string, OAuth's, or a page. */
export type ErrorStyle = 'problem' | 'arap' | 'authzen' | 'oauth' | 'page'

export type Answer = Readonly<{
  status: number
  /** Sent as JSON, unless it is a string or bytes: then as `type` says. */
  body?: unknown
  type?:
    | 'application/json; charset=utf-8'
    | 'application/octet-stream'
    | 'text/plain; charset=utf-8'
    | 'text/html; charset=utf-8'
    | 'text/css; charset=utf-8'
    | 'text/javascript; charset=utf-8'
    | 'image/svg+xml'
    | 'application/problem+json'
  headers?: Readonly<Record<string, string>>
}>

/** The handler wrote to the socket itself. */
export const TAKEN = Symbol('taken')

export type Context<C, P, Q, B> = Readonly<{
  /** Who calls; `undefined` only at public doors. */
  caller: C
  params: P
  query: Q
  body: B
  /** `Idempotency-Key`, if there is one. */
  idempotencyKey: string | undefined
  /** Where the caller finds this server, e.g. `https://writ.example`; never ends in a slash. */
  origin: string
  /** True when the credentials came in the session cookie. */
  cookie: boolean
  /** Counts so many more calls against the caller's rate: a batch is not one call. @throws {RateLimited} */
  charge(calls: number): void
  request: FastifyRequest
  reply: FastifyReply
}>

export type ResponseSpec = Readonly<{ description: string; schema?: z.ZodType; type?: string }>

/** A route as it is kept in the table, its types forgotten. */
export type Route = Readonly<{
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** With `:name` for parameters. */
  path: string
  /** One sentence for OpenAPI. */
  summary: string
  tag: string
  who: Who
  audit: Audit
  errors: ErrorStyle
  /**
   * Which body is read, if any; `fields` are those of a form in the order they were sent, also if they are there twice; `set`
   * is the text of a security event token; `raw` are the bytes of a JSON body, for who has to look at a signature first.
   */
  consumes?: 'json' | 'form' | 'fields' | 'set' | 'raw'
  /** Bodies up to the configured limit instead of 64 KiB. */
  large?: boolean
  /** Code redemption: the strict rate per address. */
  guessable?: boolean
  /** Much work in one call: each caller does these one after another. */
  heavy?: boolean
  params?: z.ZodType
  query?: z.ZodType
  body?: z.ZodType
  idempotent?: boolean
  responses: Readonly<Record<number, ResponseSpec>>
  handle(context: Context<Caller | undefined, unknown, unknown, unknown>): Promise<Answer | typeof TAKEN>
}>

type Out<S> = S extends z.ZodType ? z.output<S> : undefined

/**
 * A route with its types: the handler sees what the schemas return and nothing else (B78).
 */
export function route<
  W extends Who,
  P extends z.ZodType | undefined = undefined,
  Q extends z.ZodType | undefined = undefined,
  B extends z.ZodType | undefined = undefined,
>(
  spec: Omit<Route, 'who' | 'params' | 'query' | 'body' | 'handle' | 'errors' | 'tag'> &
    Readonly<{
      who: W
      tag?: string
      errors?: ErrorStyle
      params?: P
      query?: Q
      body?: B
      handle(
        context: Context<W extends 'public' | 'client' ? Caller | undefined : Caller, Out<P>, Out<Q>, Out<B>>,
      ): Promise<Answer | typeof TAKEN>
    }>,
): Route {
  return { errors: 'problem', tag: 'Other', ...spec } as unknown as Route
}

export const ok = (body: unknown): Answer => ({ status: 200, body })
