/**
 * Pages for people: sign in, inbox, one request, approve or deny. Rendered here; only a passkey needs script.
 *
 * @module
 */
import * as z from 'zod'
import type { ListedRequest } from '../../../flows/port.ts'
import type { Caller } from '../../../model/access.ts'
import { isWritError } from '../../../model/errors.ts'
import { cursor, given } from '../../../wire/bounds.ts'
import { approve, code as codeSchema, denyRequest } from '../../../wire/v1/index.ts'
import { requireSameOrigin, setSessionCookie } from '../guard.ts'
import type { Answer, Door, Route } from '../route.ts'
import { READS, route } from '../route.ts'
import { byId } from '../api/shared.ts'
import { ICON, STYLE } from './style.ts'
import { loginRoutes, next, signInForm } from './login.ts'
import { answerFields, answerOf, approving, isAboutPasskey, passkeyRoutes } from './passkeys.ts'
import { programRoutes } from './programs.ts'
import { changedPage, inboxPage, requestPage } from './views.ts'

export { errorPage } from './views.ts'

const PAGE_SIZE = 50
/** Pages of pending requests that are searched for one of them. */
const SEARCHED = 20

const RESPONSES = { 200: { description: 'A page', type: 'text/html' } } as const
const SENT = { 303: { description: 'Done; see the page it leads to' } } as const

const page = (body: string, status = 200): Answer => ({ status, body })
const to = (location: string, headers: Record<string, string> = {}): Answer => ({
  status: 303,
  headers: { location, ...headers },
})

/** Empty fields of a form are fields that were not filled in. */
const filled = <S extends z.ZodType>(schema: S) =>
  z
    .record(z.string(), z.string())
    .transform((fields): unknown =>
      Object.fromEntries(
        Object.entries(fields)
          .map(([name, value]) => [name, value.replaceAll('\r\n', '\n')] as const)
          .filter(([, value]) => value !== ''),
      ),
    )
    .pipe(schema)

export function pageRoutes(door: Door): Route[] {
  const { flows, now } = door
  /** The request, with the pools in which this person could approve it now. */
  async function review(caller: Caller, id: string): Promise<ListedRequest> {
    const request = await flows.request(caller, id)
    if (request.status !== 'pending') return { ...request, mayApprove: [] }
    let after: string | undefined
    for (let i = 0; i < SEARCHED; i++) {
      const listed = await flows.requests(caller, { pending: true, limit: 200, ...given('after', after) })
      const found = listed.items.find((item) => item.id === id)
      if (found !== undefined) return found
      if (listed.next === undefined) break
      after = listed.next
    }
    return { ...request, mayApprove: [] }
  }

  async function redeem(code: string, origin: string, then?: string): Promise<Answer> {
    const parsed = codeSchema.safeParse(code)
    const again = (): Promise<Answer> =>
      signInForm(flows, origin, { problem: WRONG_CODE, ...given('next', then) }, 401)
    try {
      if (!parsed.success) return await again()
      const { token, endsAt } = await flows.redeem(parsed.data)
      const cookie = setSessionCookie(token.expose(), (endsAt - now()) / 1000, origin.startsWith('https:'))
      return to(then ?? '/inbox', { 'set-cookie': cookie })
    } catch (error) {
      if (!isWritError(error, 'ERR_UNAUTHENTICATED', 'ERR_NOT_FOUND', 'ERR_INPUT_INVALID')) throw error
      return again()
    }
  }

  /** Sends a decision; what changed meanwhile is shown as that, not as an error. */
  async function decide(caller: Caller, id: string, act: () => Promise<unknown>) {
    try {
      await act()
      return to(`/requests/${encodeURIComponent(id)}`)
    } catch (error) {
      if (!isWritError(error, 'ERR_CONFLICT')) throw error
      return page(changedPage(caller.subject, id, error.message), 409)
    }
  }

  const common = { tag: 'Pages', errors: 'page' } as const
  return [
    route({
      ...common,
      method: 'GET',
      path: '/',
      summary: 'The start; a one-use link signs in',
      who: 'public',
      audit: { event: 'person.enrolled' },
      query: z.looseObject({ code: z.string().max(200).exactOptional() }),
      responses: SENT,
      handle: async ({ query, request, origin }) => {
        if (query.code === undefined) return to('/inbox')
        // a link on somebody else's page, or one fetched ahead, must not sign anybody in: it only offers to; so does one
        // of which nobody says where it was (plain HTTP from elsewhere, an old browser, a program that looks at links)
        const { headers } = request
        const site = headers['sec-fetch-site']
        const ahead = headers['sec-purpose'] !== undefined || headers['purpose'] !== undefined
        if ((site !== 'none' && site !== 'same-origin') || ahead) {
          return signInForm(flows, origin, { code: query.code })
        }
        return redeem(query.code, origin)
      },
      guessable: true,
    }),
    route({
      ...common,
      method: 'POST',
      path: '/signin',
      summary: 'Turn a one-time code into a session',
      who: 'public',
      audit: { event: 'person.enrolled' },
      consumes: 'form',
      guessable: true,
      body: z.looseObject({ code: z.string().max(400), next }),
      responses: SENT,
      handle: async ({ body, request, origin }) => {
        requireSameOrigin(request, [origin, `${request.protocol}://${request.host}`])
        return redeem(body.code, origin, body.next)
      },
    }),
    route({
      ...common,
      method: 'GET',
      path: '/inbox',
      summary: 'What waits for this person',
      who: 'person',
      audit: READS,
      query: z.looseObject({ cursor: cursor.exactOptional() }),
      responses: RESPONSES,
      handle: async ({ caller, query }) => {
        const listed = await flows.requests(caller, {
          pending: true,
          limit: PAGE_SIZE,
          ...given('after', query.cursor),
        })
        return page(inboxPage(caller.subject, listed.items, listed.next, now()))
      },
    }),
    route({
      ...common,
      method: 'GET',
      path: '/requests/:id',
      summary: 'One access request with its exact statement',
      who: 'person',
      audit: READS,
      params: byId,
      responses: RESPONSES,
      handle: async ({ caller, params }) => {
        const request = await review(caller, params.id)
        return page(requestPage(caller.subject, request, now(), await flows.facts.under(request)))
      },
    }),
    route({
      ...common,
      method: 'POST',
      path: '/requests/:id/approve',
      summary: 'Approve the statement that was shown',
      who: 'person',
      audit: { event: 'approval.given' },
      consumes: 'form',
      params: byId,
      body: filled(approve.extend(answerFields)),
      responses: SENT,
      handle: async ({ caller, params, body, origin }) => {
        const { nonce, answer, ...input } = body
        const passkey = answerOf({ nonce, answer }, origin)
        try {
          return await decide(caller, params.id, () =>
            flows.approve(caller, params.id, { ...input, ...given('passkey', passkey) }),
          )
        } catch (error) {
          if (!isAboutPasskey(error)) throw error
          return approving({ flows }, caller, params.id, input, origin, error)
        }
      },
    }),
    route({
      ...common,
      method: 'POST',
      path: '/requests/:id/deny',
      summary: 'Deny the statement that was shown',
      who: 'person',
      audit: { event: 'request.denied' },
      consumes: 'form',
      params: byId,
      body: filled(denyRequest),
      responses: SENT,
      handle: async ({ caller, params, body }) =>
        decide(caller, params.id, () => flows.denyRequest(caller, params.id, body)),
    }),
    route({
      ...common,
      method: 'POST',
      path: '/signout',
      summary: 'End the session',
      who: 'person',
      audit: { event: 'session.ended' },
      consumes: 'form',
      body: z.unknown(),
      responses: SENT,
      handle: async ({ caller, origin }) => {
        await flows.signOut(caller)
        return to('/signin', { 'set-cookie': setSessionCookie('', 0, origin.startsWith('https:')) })
      },
    }),
    ...loginRoutes(door),
    ...programRoutes(door),
    ...passkeyRoutes(door),
    route({
      ...common,
      method: 'GET',
      path: '/style.css',
      summary: 'The style sheet',
      who: 'public',
      audit: { none: 'constant' },
      responses: { 200: { description: 'CSS', type: 'text/css' } },
      handle: async () => ({ status: 200, body: STYLE, type: 'text/css; charset=utf-8', headers: CACHED }),
    }),
    route({
      ...common,
      method: 'GET',
      path: '/icon.svg',
      summary: 'The icon',
      who: 'public',
      audit: { none: 'constant' },
      responses: { 200: { description: 'SVG', type: 'image/svg+xml' } },
      handle: async () => ({ status: 200, body: ICON, type: 'image/svg+xml', headers: CACHED }),
    }),
  ]
}

const CACHED = { 'cache-control': 'public, max-age=300' }
const WRONG_CODE = 'That code is wrong, was used, or is too old. Ask for a new one.'
