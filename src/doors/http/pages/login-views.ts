/**
 * The pages around a sign-in at a provider.
 *
 * @module
 */
import type { Unlinked } from '../../../flows/signin.ts'
import type { EntityRef } from '../../../model/entity.ts'
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

export function notSignedInPage(detail: string, person?: EntityRef): string {
  return frame(
    { title: 'Not signed in', narrow: true, person },
    markup`<h1>That did not work</h1>
      <div class="banner bad" role="alert"><p>${prose(detail)}</p></div>
      <p><a class="button go" href="${person === undefined ? '/signin' : '/passkeys'}">Begin again</a></p>`,
  )
}

/** What a program sent is not right; nobody is sent back to it. */
export function programErrorPage(detail: string): string {
  return frame(
    { title: 'Not signed in', narrow: true },
    markup`<h1>The program asked wrongly</h1>
      <div class="banner bad" role="alert"><p>${prose(detail)}</p></div>
      <p class="soft">Begin again in the program that sent you here. If it keeps failing, tell those who make it.</p>`,
  )
}

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
  return frame(
    { title: 'Let a program in', person, narrow: true },
    markup`<h1>${client.known ? markup`Sign in <bdi>${client.name}</bdi>` : markup`Let <bdi>${client.name}</bdi> in?`}</h1>
      <div class="card">
        <p>It may then ask Writ in your name. It cannot approve anything, and what you may not do, it may not either.</p>
        ${
          client.known
            ? undefined
            : markup`<div class="quote">
                <p class="label">What the program says of itself (not verified)</p>
                <p>${client.name}</p>
                <p class="small mono">${client.id}</p>
              </div>`
        }
        <p class="soft small">You are then sent to <bdi class="mono">${client.at}</bdi>.</p>
        <form method="post" action="${action}">
          <p>
            <button class="go" name="answer" value="yes">Yes, it is me who asked</button>
            <button class="stop" name="answer" value="no">No</button>
          </p>
        </form>
      </div>
      <p class="soft small">Only say yes if you have just begun this yourself.</p>`,
  )
}
