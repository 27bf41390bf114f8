/**
 * What a browser may be made to do against its user: hosts, origins, cookies, headers (B55, B60, B71).
 *
 * @module
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { WritError } from '../../model/errors.ts'

export const SESSION_COOKIE = 'writ_session'

/** Over TLS the prefix keeps other hosts of the domain from setting it: nobody signs in somebody else as themselves. */
const cookieName = (secure: boolean): string => (secure ? `__Host-${SESSION_COOKIE}` : SESSION_COOKIE)

const loopback: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]', '::1'])

export function isLoopback(host: string): boolean {
  return loopback.has(host.toLowerCase()) || /^127(?:\.\d{1,3}){3}$/.test(host)
}

/**
 * The test of the `Host` header: on loopback only names of this machine, so that a page of another site whose name was
 * bound to 127.0.0.1 reaches nothing; elsewhere the configured names, or any when none is configured.
 */
export function hostTest(bound: string, names: readonly string[]): (hostname: string) => boolean {
  const allowed = new Set(names.map((name) => name.toLowerCase()))
  if (!isLoopback(bound) && allowed.size === 0) return (hostname) => hostname !== ''
  return (hostname) => isLoopback(hostname) || allowed.has(hostname.toLowerCase())
}

/** Name without port, brackets kept off IPv6: what `hostTest` takes. `''` if it is no host. */
export function hostnameOf(host: string): string {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?$/.exec(host)
  return match?.[1] ?? match?.[2] ?? ''
}

/**
 * Whether a state-changing request that a browser authenticates by itself came from our own page: by fetch metadata
 * and by `Origin`; one that carries neither is refused.
 */
export function isSameOrigin(request: FastifyRequest, origins: readonly string[]): boolean {
  const site = request.headers['sec-fetch-site']
  const from = request.headers.origin
  if (site === undefined && from === undefined) return false
  return (site === undefined || site === 'same-origin') && (from === undefined || origins.includes(from))
}

/** @throws {WritError} `ERR_FORBIDDEN` unless the request came from our own page. */
export function requireSameOrigin(request: FastifyRequest, origins: readonly string[]): void {
  if (isSameOrigin(request, origins)) return
  throw new WritError('ERR_FORBIDDEN', 'a session cookie changes things only from a page of this server', {
    hint: 'use the page itself, or `Authorization: Bearer …`',
  })
}

/** The session cookie, if there is exactly one: two of a name mean that somebody else set one. */
export function sessionCookie(header: string | undefined, secure: boolean): string | undefined {
  return oneCookie(header, cookieName(secure))
}

function oneCookie(header: string | undefined, name: string): string | undefined {
  if (header === undefined) return undefined
  const found = header
    .split(';')
    .map((part) => part.trim())
    .filter((part) => part.startsWith(`${name}=`))
  return found.length === 1 ? found[0]?.slice(name.length + 1) : undefined
}

const TICKET_COOKIE = 'writ_login'

/** What a browser keeps while its person is away at a provider: comes back with them from there, and nowhere else. */
export function ticketCookie(header: string | undefined, secure: boolean): string | undefined {
  return oneCookie(header, secure ? `__Host-${TICKET_COOKIE}` : TICKET_COOKIE)
}

/** `Set-Cookie` for it; 0 seconds take it away. `Lax`, since the way back begins at the provider's page. */
export function setTicketCookie(ticket: string, seconds: number, secure: boolean): string {
  const attributes = ['Path=/', 'HttpOnly', 'SameSite=Lax', `Max-Age=${Math.max(0, Math.floor(seconds))}`]
  const name = secure ? `__Host-${TICKET_COOKIE}` : TICKET_COOKIE
  return [`${name}=${ticket}`, ...attributes, ...(secure ? ['Secure'] : [])].join('; ')
}

/** `Set-Cookie` for a session of so many seconds; 0 takes it away. */
export function setSessionCookie(token: string, seconds: number, secure: boolean): string {
  const attributes = ['Path=/', 'HttpOnly', 'SameSite=Strict', `Max-Age=${Math.max(0, Math.floor(seconds))}`]
  return [`${cookieName(secure)}=${token}`, ...attributes, ...(secure ? ['Secure'] : [])].join('; ')
}

const API_POLICY = "default-src 'none'; frame-ancestors 'none'"
/** Pages: our own style sheet and forms to ourselves; no script, nothing inline, no frame, nothing from elsewhere. */
const PAGE_POLICY =
  "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
/** The few pages that ask a browser for a passkey: besides, our own script file. */
export const SCRIPT_PAGE_POLICY = PAGE_POLICY.replace(';', "; script-src 'self';")

export function secureHeaders(reply: FastifyReply, page: boolean, secure: boolean): void {
  reply.header('x-content-type-options', 'nosniff')
  reply.header('content-security-policy', page ? PAGE_POLICY : API_POLICY)
  reply.header('cache-control', 'no-store')
  if (page) {
    // not `no-referrer`: with it a browser sends our own forms with `Origin: null`
    reply.header('referrer-policy', 'same-origin')
    reply.header('x-frame-options', 'DENY')
    reply.header('cross-origin-opener-policy', 'same-origin')
    reply.header('cross-origin-resource-policy', 'same-origin')
  }
  if (secure) reply.header('strict-transport-security', 'max-age=31536000')
}
