/**
 * A form whose answer is a passkey's, and the one script that we serve: it asks the browser, puts the answer into the form and
 * sends it. Without script the form says what is needed.
 *
 * @module
 */
import type { Html } from './html.ts'
import { markup } from './html.ts'

/** What a browser is asked: the nonce of ours, and the options of WebAuthn as JSON. */
export type Offer = Readonly<{ nonce: string; options: unknown }>

type Form = Readonly<{
  action: string
  offer: Offer
  /** A new passkey is made, instead of one used. */
  create?: boolean
  /** Further fields. */
  fields?: Html | undefined
  button: string
  /** Quiet, as one way among others. */
  plain?: boolean
}>

export function passkeyForm({ action, offer, create = false, fields, button, plain = false }: Form): Html {
  return markup`<form
    class="passkey${plain ? ' way' : ''}"
    method="post"
    action="${action}"
    data-passkey="${JSON.stringify(offer.options)}"
    data-act="${create ? 'create' : 'get'}"
  >
    <input type="hidden" name="nonce" value="${offer.nonce}" />
    <input type="hidden" name="answer" value="" />
    ${fields}
    <p class="banner bad" role="alert" hidden></p>
    <noscript><p class="${plain ? 'soft small' : 'banner bad'}">A passkey needs JavaScript: the browser asks for it by no other way.</p></noscript>
    <button${plain ? undefined : markup` class="go"`}>${button}</button>
  </form>`
}

/** Served as `/passkey.js`. */
export const SCRIPT = `'use strict'
const words = {
  NotAllowedError: 'Nothing was sent: it was cancelled, took too long, or there is no passkey for this here.',
  InvalidStateError: 'This device has a passkey for this already.',
  SecurityError: 'Passkeys do not work at this address.',
  NotSupportedError: 'This browser or device cannot do this with passkeys.',
  AbortError: 'Nothing was sent: it was cancelled.',
}
for (const form of document.querySelectorAll('form[data-passkey]')) {
  const alert = form.querySelector('[role=alert]')
  const button = form.querySelector('button')
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    alert.hidden = true
    button.disabled = true
    try {
      if (!window.PublicKeyCredential || !PublicKeyCredential.parseRequestOptionsFromJSON) {
        throw new Error('This browser is too old for passkeys here, or the address is not a safe one.')
      }
      const options = JSON.parse(form.dataset.passkey)
      const credential =
        form.dataset.act === 'create'
          ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
          : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) })
      form.elements.answer.value = JSON.stringify(credential.toJSON())
      form.submit()
    } catch (error) {
      alert.textContent = words[error.name] || error.message
      alert.hidden = false
      button.disabled = false
    }
  })
}
`
