/**
 * Where a person says whether a program may act for them.
 *
 * @module
 */
import * as z from 'zod'
import type { Caller } from '../../../model/access.ts'
import { WritError, isWritError } from '../../../model/errors.ts'
import { given } from '../../../wire/bounds.ts'
import { requireSameOrigin, sessionCookie } from '../guard.ts'
import type { Answer, Context, Door, Route } from '../route.ts'
import { route } from '../route.ts'
import { consentPage, onwardPage } from './login-views.ts'

const RESPONSES = { 200: { description: 'A page', type: 'text/html' } } as const

export function programRoutes({ callers, flows, programs }: Door): Route[] {
  const common = { tag: 'Pages', errors: 'page' } as const
  const params = z.object({
    uid: z
      .string()
      .max(64)
      .regex(/^[\w-]+$/),
  })
  const at = (uid: string): string => `/login/continue/${uid}`

  async function signedIn({
    request,
    origin,
  }: Pick<Context<unknown, unknown, unknown, unknown>, 'request' | 'origin'>): Promise<Caller | undefined> {
    const session = sessionCookie(request.headers.cookie, origin.startsWith('https:'))
    if (session === undefined) return undefined
    try {
      return await callers.authenticate({ session })
    } catch (error) {
      if (!isWritError(error, 'ERR_UNAUTHENTICATED')) throw error
      return undefined
    }
  }

  const ended = (): WritError =>
    new WritError('ERR_NOT_FOUND', 'this sign-in has ended', { hint: 'begin again in the program' })

  return [
    route({
      ...common,
      method: 'GET',
      path: '/login/continue/:uid',
      summary: 'Whether a program may act for this person',
      who: 'public',
      audit: { none: 'a form' },
      params,
      query: z.looseObject({ here: z.string().max(8).exactOptional() }),
      responses: RESPONSES,
      handle: async (context): Promise<Answer> => {
        const {
          request,
          reply,
          origin,
          params: { uid },
          query,
        } = context
        // who comes from another site brings no session: one more step, from a page of ours
        const isFromElsewhere = request.headers['sec-fetch-site'] === 'cross-site'
        if (isFromElsewhere && query.here === undefined)
          return { status: 200, body: onwardPage(`${at(uid)}?here=1`, 'Sign in') }
        const waiting = await programs?.waiting(request.raw, reply.raw, origin)
        if (waiting?.uid !== uid) throw ended()
        const person = await signedIn(context)
        if (person === undefined) {
          const asked = new URLSearchParams({ next: at(uid), ...given('provider', waiting.provider) })
          return { status: 303, headers: { location: `/signin?${asked.toString()}` } }
        }
        return {
          status: 200,
          body: consentPage({ person: person.subject, client: waiting.client, action: at(uid) }),
        }
      },
    }),
    route({
      ...common,
      method: 'POST',
      path: '/login/continue/:uid',
      summary: 'The answer of the person',
      who: 'person',
      audit: { event: 'program.admitted' },
      consumes: 'form',
      params,
      body: z.looseObject({ answer: z.enum(['yes', 'no']) }),
      responses: RESPONSES,
      handle: async ({ request, reply, origin, params: { uid }, body, caller }) => {
        requireSameOrigin(request, [origin, `${request.protocol}://${request.host}`])
        const waiting = await programs?.waiting(request.raw, reply.raw, origin)
        if (programs === undefined || waiting?.uid !== uid) throw ended()
        if (body.answer === 'yes') {
          const { id, name, at: where } = waiting.client
          await flows.signIns.admitted(caller, { id, name, at: where })
        }
        const to = await programs.answer(
          request.raw,
          reply.raw,
          origin,
          body.answer === 'yes' ? caller : undefined,
        )
        return { status: 200, body: onwardPage(to, 'Back to the program') }
      },
    }),
  ]
}
