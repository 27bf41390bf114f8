/**
 * The pages around a sign-in at a provider.
 *
 * @module
 */
import type { ProgramError } from '../../provider/port.ts'
import type { Unlinked } from '../../../flows/signin.ts'
import type { EntityRef } from '../../../model/entity.ts'
import type { WritError } from '../../../model/errors.ts'
import type { Account } from '../../../model/identity.ts'
import type { Html } from './html.ts'
import { markup } from './html.ts'
import { frame, prose } from './views.ts'

/** Leads on by itself: a form may not be sent on to another site, and a way back from one brings no strict cookie. */
export function onwardPage(to: string, where: string): string {
  return frame(
    { title: where, narrow: true, to },
    markup`<h1>${where}</h1>
      <p><a class="button go" href="${to}">Go on</a></p>`,
  )
}

/** Somebody who is known there, and nobody here: they see nothing, and how to be let in. */
export function unlinkedPage({ account, shown }: Unlinked, provider: string, problem?: string): string {
  return frame(
    { title: 'Not known here', narrow: true },
    markup`<h1>You are not known here yet</h1>
      ${problem === undefined ? undefined : markup`<div class="banner bad" role="alert"><p>${problem}</p></div>`}
      <div class="card">
        <p>
          ${provider} says that you are <bdi class="thing">${shown}</bdi>. This account belongs to nobody here, so it shows
          and approves nothing.
        </p>
        <form method="post" action="/login/unlinked">
          <label for="code">One-time code</label>
          <p>
            <input
              class="code"
              type="text"
              id="code"
              name="code"
              required
              autocomplete="one-time-code"
              autocapitalize="none"
              spellcheck="false"
              maxlength="200"
            />
          </p>
          <button class="go">This is me</button>
        </form>
      </div>
      <p class="soft small">
        No code? Ask an administrator to invite you, or to link the account <code>${account}</code> of
        ${provider} to you. If you are signed in here some other way, link it yourself under your name.
      </p>
      <p><a href="/signin">Sign in another way</a></p>`,
  )
}

/** The code was good, and is not all that it takes to link an account. */
export function unlinkedStillPage({ shown }: Unlinked, person: EntityRef, why: WritError): string {
  const how =
    why.problem === 'passkey'
      ? 'You have passkeys, and what you sign in with changes with one of them: link the account under your name.'
      : `${why.message}.`
  return frame(
    { title: 'You are signed in', narrow: true, person },
    markup`<h1>You are signed in</h1>
      <div class="banner bad" role="alert">
        <p>The account <bdi class="thing">${shown}</bdi> is not linked to you. ${how}</p>
      </div>
      <p><a class="button go" href="/inbox">Go on</a> <a class="button" href="/passkeys">How you sign in</a></p>`,
  )
}

/** What a person has linked is shown to them: at the provider somebody else may have been signed in. */
export function linkedPage(
  { account, person }: Account,
  input: Readonly<{ shown: string; provider: string }>,
): string {
  const { shown, provider } = input
  return frame(
    { title: 'Linked', narrow: true },
    markup`<h1>Your account is linked</h1>
      <div class="card">
        <p>
          <bdi class="thing">${shown}</bdi> at ${provider} now signs in <bdi class="thing">${person.id}</bdi>, and what it
          sets going counts as yours.
        </p>
        <p class="soft small">
          Is this not you? Then somebody else is signed in at ${provider}: unlink <code>${account}</code> at once.
        </p>
        <p><a class="button go" href="/passkeys">How you sign in</a></p>
      </div>`,
  )
}

export function notSignedInPage(detail: string, person?: EntityRef): string {
  return frame(
    { title: 'Not signed in', narrow: true, person },
    markup`<h1>That did not work</h1>
      <div class="banner bad" role="alert"><p>${prose(detail)}</p></div>
      <p><a class="button go" href="${person === undefined ? '/signin' : '/passkeys'}">Begin again</a></p>`,
  )
}

/** What the errors of a program mean for the person in front of them; whoever makes it reads the error itself. */
const programErrors: Readonly<Record<string, readonly [title: string, text: string]>> = {
  invalid_client: [
    'Writ does not know this program',
    'Nobody was asked anything, and nothing was sent to it. Whoever runs Writ decides which programs may sign people in.',
  ],
  invalid_redirect_uri: [
    'The program wants its answer somewhere else',
    'It names an address that it has not registered, so nothing was sent there. Do not go on with it unless you know why.',
  ],
  expired: [
    'This sign-in has ended',
    'It was answered already, took too long, or belongs to another browser.',
  ],
  server_error: [
    'That did not work',
    'Something went wrong here, not in the program. Try again in a moment.',
  ],
}

/** What a program sent is not right; nobody is sent back to it. */
export function programErrorPage({ error, description = '' }: ProgramError): string {
  const isExpired = /expired|interaction session/i.test(description)
  const [title, text] = programErrors[isExpired ? 'expired' : error] ?? [
    'The program asked wrongly',
    'Nothing was sent to it.',
  ]
  return frame(
    { title, narrow: true },
    markup`<h1>${title}</h1>
      <div class="banner bad" role="alert"><p>${text}</p></div>
      <p>Begin again in the program that sent you here. If it keeps failing, tell those who make it what it was told:</p>
      <pre><code>${description === '' ? error : `${error}: ${description}`}</code></pre>`,
  )
}

const isHere = (at: string): boolean => /^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?$|^[^:]+:$/.test(at)

/** What answers at `at`: a scheme of its own stands there with its colon. */
const placeOf = (at: string): Html =>
  isHere(at)
    ? markup`a program on this machine, <bdi class="thing">${at.replace(/:$/, '')}</bdi>`
    : markup`<bdi class="thing">${at}</bdi>`

/** A program asks to act for the person. */
export function consentPage(
  input: Readonly<{
    person: EntityRef
    /** What it calls itself, and where it sends people back to: the first is its own word. */
    client: Readonly<{ name: string; id: string; at: string; known: boolean }>
    action: string
  }>,
): string {
  const { person, client, action } = input
  // its own word is quoted, never ours: a program may call itself whatever it likes
  return frame(
    { title: 'Let a program in', person, narrow: true },
    markup`<h1>${client.known ? markup`Sign in <bdi>${client.name}</bdi>` : 'Let a program in?'}</h1>
      <div class="card">
        ${
          client.known
            ? undefined
            : markup`<div class="quote">
                <p class="label">What the program says of itself (not verified)</p>
                <p>${client.name}</p>
                ${client.name === client.id ? undefined : markup`<p class="small mono">${client.id}</p>`}
              </div>`
        }
        <p>
          It may then ask Writ in your name, ${client.known ? 'for twelve hours' : 'for an hour'}. It cannot approve
          anything, and what you may not do, it may not either.
        </p>
        <p>The answer goes to ${placeOf(client.at)}.</p>
        <form method="post" action="${action}">
          <p class="acts">
            <button class="go" name="answer" value="yes">Yes, it is me who asked</button>
            <button class="stop" name="answer" value="no">No</button>
          </p>
        </form>
      </div>
      <p class="soft small">Only say yes if you have just begun this yourself.</p>`,
  )
}
