/**
 * Routes of the pages where people manage what they sign in with, and prove one act with it.
 *
 * @module
 */
import * as z from 'zod'
import type { PasskeyAnswer } from '../../../flows/passkeys.ts'
import type { Caller } from '../../../model/access.ts'
import { WritError, isWritError } from '../../../model/errors.ts'
import { given } from '../../../wire/bounds.ts'
import { statementDigest } from '../../../wire/v1/requests.ts'
import { SCRIPT_PAGE_POLICY } from '../guard.ts'
import { byId } from '../api/shared.ts'
import type { Answer, Door, Route } from '../route.ts'
import { READS, route } from '../route.ts'
import { SCRIPT } from './passkey-form.ts'
import { confirmPage, newPasskeyPage, notProvedPage, passkeysPage } from './passkeys-views.ts'

const RESPONSES = { 200: { description: 'A page', type: 'text/html' } } as const
const SENT = { 303: { description: 'Done; see the page it leads to' } } as const

/** A page whose script asks for a passkey. */
export const scripted = (body: string, status = 200): Answer => ({
  status,
  body,
  headers: { 'content-security-policy': SCRIPT_PAGE_POLICY },
})

/** What a passkey form sends beside its own fields; empty without an answer. */
export const answerFields = {
  nonce: z.string().max(200).exactOptional(),
  answer: z.string().max(32_768).exactOptional(),
}

/** The answer of a passkey, if there is one. */
export function answerOf(
  { nonce, answer }: Readonly<{ nonce?: string | undefined; answer?: string | undefined }>,
  origin: string,
): PasskeyAnswer | undefined {
  return nonce === undefined || answer === undefined || answer === '' ? undefined : { nonce, answer, origin }
}

const required = (answer: PasskeyAnswer | undefined): PasskeyAnswer =>
  answer ?? { nonce: '', answer: '', origin: '' }

/** Whether it is about a passkey, so that a page says so instead of a status. */
export const isAboutPasskey = (error: unknown): error is WritError =>
  isWritError(error) &&
  ['passkey', 'passkey_refused', 'no_passkey', 'no_party', 'not_recent'].includes(error.problem ?? '')

export function passkeyRoutes({ flows, programs }: Door): Route[] {
  const common = { tag: 'Pages', errors: 'page' } as const

  async function mine(caller: Caller, origin: string, problem?: string): Promise<Answer> {
    const passkeys = await flows.passkeys.mine(caller)
    const possible = flows.passkeys.party(origin) !== undefined
    const offer =
      possible && passkeys.length > 0
        ? await flows.passkeys.forChange(caller, origin).catch(noneHere)
        : undefined
    const accounts = (await flows.accounts.list(caller, { person: caller.subject })).items
    const page = passkeysPage({
      person: caller.subject,
      passkeys,
      accounts,
      programs: (await programs?.admitted(caller)) ?? [],
      providers: flows.signIns.providers,
      ...given('offer', offer),
      ...(possible ? {} : { nowhere: nowhere(origin) }),
      ...given('problem', problem),
    })
    return scripted(page, problem === undefined ? 200 : 403)
  }

  /** Does what changes how one signs in; what speaks against it stands on the page. */
  async function changing(caller: Caller, origin: string, act: () => Promise<Answer>): Promise<Answer> {
    try {
      return await act()
    } catch (error) {
      if (!isAboutPasskey(error) && !isWritError(error, 'ERR_INPUT_INVALID', 'ERR_NOT_FOUND', 'ERR_CONFLICT'))
        throw error
      return mine(
        caller,
        origin,
        error.hint === undefined ? error.message : `${error.message}: ${error.hint}`,
      )
    }
  }

  const back: Answer = { status: 303, headers: { location: '/passkeys' } }

  return [
    route({
      ...common,
      method: 'GET',
      path: '/passkeys',
      summary: 'What this person signs in with',
      who: 'person',
      audit: READS,
      responses: RESPONSES,
      handle: async ({ caller, origin }) => mine(caller, origin),
    }),
    route({
      ...common,
      method: 'POST',
      path: '/passkeys/new',
      summary: 'Begin a new passkey; who has one proves it',
      who: 'person',
      audit: { event: 'passkey.used' },
      consumes: 'form',
      body: z.looseObject(answerFields),
      responses: RESPONSES,
      handle: async ({ caller, body, origin }) =>
        changing(caller, origin, async () => {
          const offer = await flows.passkeys.forRegistration(caller, origin, answerOf(body, origin))
          return scripted(newPasskeyPage(caller.subject, offer))
        }),
    }),
    route({
      ...common,
      method: 'POST',
      path: '/passkeys',
      summary: 'Register the passkey that the browser has made',
      who: 'person',
      audit: { event: 'passkey.registered' },
      consumes: 'form',
      body: z.looseObject({ ...answerFields, name: z.string().trim().max(60).exactOptional() }),
      responses: SENT,
      handle: async ({ caller, body, origin }) =>
        changing(caller, origin, async () => {
          const name = body.name === '' ? undefined : body.name
          await flows.passkeys.register(caller, {
            ...required(answerOf(body, origin)),
            origin,
            ...given('name', name),
          })
          return back
        }),
    }),
    route({
      ...common,
      method: 'POST',
      path: '/passkeys/remove',
      summary: 'Remove a passkey, with the proof of one',
      who: 'person',
      audit: { event: 'passkey.removed' },
      consumes: 'form',
      body: z.looseObject({ ...answerFields, id: z.string().max(2_048) }),
      responses: SENT,
      handle: async ({ caller, body, origin }) =>
        changing(caller, origin, async () => {
          await flows.passkeys.remove(caller, body.id, answerOf(body, origin))
          return back
        }),
    }),
    route({
      ...common,
      method: 'POST',
      path: '/accounts/unlink',
      summary: 'End the link to an account',
      who: 'person',
      audit: { event: 'account.unlinked' },
      consumes: 'form',
      body: z.looseObject({ issuer: z.string().max(256), account: z.string().max(256) }),
      responses: SENT,
      handle: async ({ caller, body, origin }) =>
        changing(caller, origin, async () => {
          await flows.accounts.unlink(caller, { issuer: body.issuer, id: body.account })
          return back
        }),
    }),
    route({
      ...common,
      method: 'POST',
      path: '/programs/end',
      summary: 'End what a program acts for this person with',
      who: 'person',
      audit: { event: 'program.ended' },
      consumes: 'form',
      body: z.looseObject({ id: z.string().max(64) }),
      responses: SENT,
      handle: async ({ caller, body, origin }) =>
        changing(caller, origin, async () => {
          const ended = await programs?.end(caller, body.id)
          if (ended === undefined) throw new WritError('ERR_NOT_FOUND', 'this program has ended already')
          await flows.signIns.programEnded(caller, ended.client, ended.caller)
          return back
        }),
    }),
    route({
      ...common,
      method: 'GET',
      path: '/requests/:id/prove',
      summary: 'Where the person who asks confirms that it is them',
      who: 'person',
      audit: { none: 'gives out a challenge' },
      params: byId,
      responses: RESPONSES,
      handle: async ({ caller, params, origin }) => {
        const at = `/requests/${encodeURIComponent(params.id)}`
        const request = await flows.requestToProve(caller, params.id)
        return proving(caller, at, async () => {
          const offer = await flows.passkeys.forProof(caller, request, origin)
          return scripted(
            confirmPage({
              person: caller.subject,
              request,
              offer,
              act: 'prove',
              input: { statement: request.digest },
            }),
          )
        })
      },
    }),
    route({
      ...common,
      method: 'POST',
      path: '/requests/:id/prove',
      summary: 'Confirm with a passkey what was asked for: evidence for that statement alone',
      who: 'person',
      audit: { event: 'reauth.given' },
      consumes: 'form',
      params: byId,
      body: z.looseObject({ ...answerFields, statement: statementDigest }),
      responses: SENT,
      handle: async ({ caller, params, body, origin }) => {
        const at = `/requests/${encodeURIComponent(params.id)}`
        return proving(caller, at, async () => {
          const passkey = required(answerOf(body, origin))
          await flows.proveRequest(caller, params.id, { statement: body.statement, passkey })
          return { status: 303, headers: { location: at } }
        })
      },
    }),
    route({
      ...common,
      method: 'GET',
      path: '/passkey.js',
      summary: 'The script that asks a browser for a passkey',
      who: 'public',
      audit: { none: 'constant' },
      responses: { 200: { description: 'JavaScript', type: 'text/javascript' } },
      handle: async () => ({
        status: 200,
        body: SCRIPT,
        type: 'text/javascript; charset=utf-8',
        headers: { 'cache-control': 'public, max-age=300' },
      }),
    }),
  ]
}

/** Asks for the passkey of an approval, or says why it did not count. */
export async function approving(
  { flows }: Pick<Door, 'flows'>,
  caller: Caller,
  id: string,
  input: Readonly<{ statement: string; pool?: string; comment?: string }>,
  origin: string,
  error: WritError,
): Promise<Answer> {
  const at = `/requests/${encodeURIComponent(id)}`
  const { subject } = caller
  if (error.problem !== 'passkey') {
    return { status: 403, body: notProvedPage(subject, backTo(error, at), error.message, error.hint) }
  }
  return proving(caller, at, async () => {
    const request = await flows.request(caller, id)
    const offer = await flows.passkeys.forApproval(caller, request, origin)
    return scripted(confirmPage({ person: subject, request, offer, act: 'approve', input }))
  })
}

async function proving(caller: Caller, at: string, act: () => Promise<Answer>): Promise<Answer> {
  try {
    return await act()
  } catch (error) {
    if (!isAboutPasskey(error) && !isWritError(error, 'ERR_INPUT_INVALID')) throw error
    return { status: 403, body: notProvedPage(caller.subject, backTo(error, at), error.message, error.hint) }
  }
}

const backTo = ({ problem }: WritError, at: string): string => (problem === 'no_passkey' ? '/passkeys' : at)

function noneHere(error: unknown): undefined {
  if (!isAboutPasskey(error)) throw error
}

function nowhere(origin: string): string {
  const { hostname, port } = new URL(origin)
  return hostname.startsWith('127.') || hostname === '[::1]'
    ? `browsers make passkeys for names, not for addresses: open this page at \`http://localhost${port === '' ? '' : `:${port}`}/passkeys\` and sign in there`
    : `there are no passkeys at this address: the operator must set \`public_url\` to it, ${hostname === 'localhost' ? 'with this port' : 'an https URL with a name'}`
}
