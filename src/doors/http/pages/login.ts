/**
 * Routes for signing in: a one-time code, a passkey, a provider.
 *
 * @module
 */
import * as z from 'zod'
import type { Signed } from '../../../flows/signin.ts'
import { isWritError } from '../../../model/errors.ts'
import { given } from '../../../wire/bounds.ts'
import { code as codeSchema } from '../../../wire/v1/index.ts'
import { requireSameOrigin, setSessionCookie, setTicketCookie, ticketCookie } from '../guard.ts'
import type { Answer, Context, Door, Route } from '../route.ts'
import { route } from '../route.ts'
import { linkedPage, notSignedInPage, onwardPage, unlinkedPage, unlinkedStillPage } from './login-views.ts'
import { answerFields, answerOf, isAboutPasskey, scripted } from './passkeys.ts'
import { notProvedPage } from './passkeys-views.ts'
import { signinPage } from './views.ts'

const RESPONSES = { 200: { description: 'A page', type: 'text/html' } } as const
const TICKET_SECONDS = 600
const WRONG_CODE = 'That code is wrong, was used, or is too old. Ask for a new one.'

/** Only to pages of ours: a path without what could make it another host's. */
export const next = z
  .string()
  .max(300)
  .regex(/^\/(?:[A-Za-z0-9_~-][\w.~/-]*)?$/)
  .optional()
  .catch(undefined)

type Asked = Pick<Context<unknown, unknown, unknown, unknown>, 'request' | 'origin' | 'reply'>

/** Every way to sign in at `origin`, also after one of them did not work. */
export async function signInForm(
  flows: Door['flows'],
  origin: string,
  { provider, ...shown }: Readonly<{ next?: string; provider?: string; problem?: string; code?: string }>,
  status = 200,
): Promise<Answer> {
  const passkey = await flows.passkeys.forSignIn(origin)
  const { providers } = flows.signIns
  const chosen = providers.find(({ name }) => name === provider)?.name
  return scripted(
    signinPage({ ...shown, providers, ...given('chosen', chosen), ...given('passkey', passkey) }),
    status,
  )
}

export function loginRoutes({ flows, now, log }: Door): Route[] {
  const common = { tag: 'Pages', errors: 'page' } as const

  const secure = ({ origin }: Asked): boolean => origin.startsWith('https:')
  const sameOrigin = ({ request, origin }: Asked): void =>
    requireSameOrigin(request, [origin, `${request.protocol}://${request.host}`])
  const ticket = (asked: Asked): string | undefined =>
    ticketCookie(asked.request.headers.cookie, secure(asked))

  function signedIn(asked: Asked, { token, endsAt }: Signed, to: string | undefined): Answer {
    const { reply } = asked
    reply.header('set-cookie', setTicketCookie('', 0, secure(asked)))
    reply.header('set-cookie', setSessionCookie(token.expose(), (endsAt - now()) / 1000, secure(asked)))
    return { status: 200, body: onwardPage(to ?? '/inbox', 'You are signed in') }
  }

  const label = (name: string): string =>
    flows.signIns.providers.find((provider) => provider.name === name)?.label ?? name

  return [
    route({
      ...common,
      method: 'GET',
      path: '/signin',
      summary: 'Sign in with a one-time code, a passkey or at a provider',
      who: 'public',
      audit: { none: 'a form' },
      query: z.looseObject({ next, provider: z.string().max(64).optional().catch(undefined) }),
      responses: RESPONSES,
      handle: ({ origin, query }) =>
        signInForm(flows, origin, { ...given('next', query.next), ...given('provider', query.provider) }),
    }),
    route({
      ...common,
      method: 'POST',
      path: '/signin/passkey',
      summary: 'Turn the proof of a passkey into a session',
      who: 'public',
      audit: { event: 'session.began' },
      consumes: 'form',
      body: z.looseObject({ ...answerFields, next }),
      responses: RESPONSES,
      handle: async (context) => {
        sameOrigin(context)
        const { body, origin } = context
        try {
          const answer = answerOf(body, origin) ?? { nonce: '', answer: '', origin }
          return signedIn(context, await flows.signIns.byPasskey(answer), body.next)
        } catch (error) {
          if (!isAboutPasskey(error) && !isWritError(error, 'ERR_UNAUTHENTICATED', 'ERR_INPUT_INVALID'))
            throw error
          log({ level: 'warn', message: 'a passkey signed nobody in', detail: error.detail ?? error.message })
          return { status: 401, body: notSignedInPage('this passkey signs nobody in here') }
        }
      },
    }),
    route({
      ...common,
      method: 'POST',
      path: '/signin/provider',
      summary: 'Go to a provider to sign in',
      who: 'public',
      audit: { none: 'nobody is signed in yet' },
      consumes: 'form',
      body: z.looseObject({ provider: z.string().max(64), next }),
      responses: RESPONSES,
      handle: async (context) => {
        sameOrigin(context)
        const { provider, next: to } = context.body
        const redirect = callback(context.origin, provider)
        try {
          const begun = await flows.signIns.begin({ provider, redirect, ...given('next', to) })
          context.reply.header('set-cookie', setTicketCookie(begun.ticket, TICKET_SECONDS, secure(context)))
          return { status: 200, body: onwardPage(begun.url, `On to ${label(provider)}`) }
        } catch (error) {
          if (!isWritError(error, 'ERR_UNREACHABLE', 'ERR_NOT_FOUND')) throw error
          log({ level: 'warn', message: error.message, detail: error.detail ?? '' })
          return { status: 502, body: notSignedInPage(error.message) }
        }
      },
    }),
    route({
      ...common,
      method: 'POST',
      path: '/accounts/link',
      summary: 'Go to a provider to link an account there',
      who: 'person',
      audit: { event: 'passkey.used' },
      consumes: 'form',
      body: z.looseObject({ ...answerFields, provider: z.string().max(64) }),
      responses: RESPONSES,
      handle: async (context) => {
        const { body, caller, origin } = context
        const { provider } = body
        try {
          const redirect = callback(origin, provider)
          const begun = await flows.signIns.begin({ provider, redirect }, caller, answerOf(body, origin))
          context.reply.header('set-cookie', setTicketCookie(begun.ticket, TICKET_SECONDS, secure(context)))
          return { status: 200, body: onwardPage(begun.url, `On to ${label(provider)}`) }
        } catch (error) {
          if (!isAboutPasskey(error) && !isWritError(error, 'ERR_UNREACHABLE', 'ERR_NOT_FOUND')) throw error
          return { status: 403, body: notProvedPage(caller.subject, '/passkeys', error.message, error.hint) }
        }
      },
    }),
    route({
      ...common,
      method: 'GET',
      path: '/login/callback/:provider',
      summary: 'The way back from a provider',
      who: 'public',
      audit: { event: 'session.began' },
      params: z.object({ provider: z.string().max(64) }),
      query: z.looseObject({}),
      responses: RESPONSES,
      handle: async (context) => {
        const { request, origin } = context
        try {
          const finished = await flows.signIns.finish(ticket(context), new URL(`${origin}${request.url}`))
          if ('linked' in finished) {
            context.reply.header('set-cookie', setTicketCookie('', 0, secure(context)))
            const { linked, shown } = finished
            return { status: 200, body: linkedPage(linked, { shown, provider: label(linked.issuer) }) }
          }
          if ('unlinked' in finished) {
            const cookie = setTicketCookie(finished.ticket, TICKET_SECONDS, secure(context))
            context.reply.header('set-cookie', cookie)
            return { status: 403, body: unlinkedPage(finished.unlinked, label(finished.unlinked.provider)) }
          }
          return signedIn(context, finished, finished.next)
        } catch (error) {
          if (!isWritError(error, 'ERR_UNAUTHENTICATED', 'ERR_UNREACHABLE', 'ERR_CONFLICT', 'ERR_NOT_FOUND'))
            throw error
          log({
            level: 'warn',
            message: 'a sign-in at a provider failed',
            detail: error.detail ?? error.message,
          })
          context.reply.header('set-cookie', setTicketCookie('', 0, secure(context)))
          return { status: 401, body: notSignedInPage(`${error.message}; ${error.hint ?? 'begin again'}`) }
        }
      },
    }),
    route({
      ...common,
      method: 'POST',
      path: '/login/unlinked',
      summary: 'Say with a one-time code whose the account is',
      who: 'public',
      audit: { event: 'account.linked' },
      consumes: 'form',
      guessable: true,
      body: z.looseObject({ code: z.string().max(400) }),
      responses: RESPONSES,
      handle: async (context) => {
        sameOrigin(context)
        const parsed = codeSchema.safeParse(context.body.code)
        try {
          const unlinked = await flows.signIns.unlinked(ticket(context))
          try {
            if (parsed.success) {
              const done = await flows.signIns.linkByCode(ticket(context), parsed.data)
              const answer = signedIn(context, done, undefined)
              if (done.unlinked === undefined) return answer
              return { ...answer, body: unlinkedStillPage(unlinked, done.person, done.unlinked) }
            }
          } catch (error) {
            if (!isWritError(error, 'ERR_UNAUTHENTICATED', 'ERR_NOT_FOUND', 'ERR_INPUT_INVALID')) throw error
          }
          return { status: 401, body: unlinkedPage(unlinked, label(unlinked.provider), WRONG_CODE) }
        } catch (error) {
          if (!isWritError(error, 'ERR_UNAUTHENTICATED', 'ERR_CONFLICT')) throw error
          return { status: 401, body: notSignedInPage(error.message) }
        }
      },
    }),
  ]
}

/** Each provider has its own, so that the answer of one is none of another. */
const callback = (origin: string, provider: string): string =>
  `${origin}/login/callback/${encodeURIComponent(provider)}`
