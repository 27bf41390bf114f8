/**
 * A person at the pages, with a passkey: what a browser does with their forms and its script.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { Authenticator } from '../../test/support/authenticator.ts'

/** What a page asks of a passkey. */
type Asked = Readonly<{
  action: string
  fields: Record<string, string>
  options: { challenge: string; rpId: string; rp: { id: string } }
}>

const entities: Readonly<Record<string, string>> = {
  '&quot;': '"',
  '&#39;': "'",
  '&lt;': '<',
  '&gt;': '>',
  '&#96;': '`',
  '&amp;': '&',
}
const unescape = (text: string): string =>
  text.replaceAll(/&(?:quot|#39|lt|gt|#96|amp);/g, (one) => entities[one] ?? one)

export class PersonAtPage {
  readonly device: Authenticator
  readonly #origin: string
  #cookie = ''

  /** Passkeys are for names: the server on this machine under the one it has. */
  constructor(url: string) {
    this.#origin = url.replace('127.0.0.1', 'localhost')
    this.device = new Authenticator(this.#origin)
  }

  async get(path: string): Promise<string> {
    const response = await fetch(this.#origin + path, { headers: { cookie: this.#cookie } })
    return response.text()
  }

  /** Sends a form; the page that it leads to. */
  async send(
    path: string,
    fields: Readonly<Record<string, string>>,
  ): Promise<Readonly<{ status: number; text: string }>> {
    const response = await fetch(this.#origin + path, {
      method: 'POST',
      redirect: 'manual',
      headers: { cookie: this.#cookie, 'sec-fetch-site': 'same-origin' },
      body: new URLSearchParams(fields),
    })
    for (const line of response.headers.getSetCookie()) {
      const [cookie = ''] = line.split(';')
      if (cookie.startsWith('writ_session=')) this.#cookie = cookie
    }
    return { status: response.status, text: await response.text() }
  }

  async signIn(code: string): Promise<void> {
    assert.equal((await this.send('/signin', { code })).status, 303)
  }

  /** What the page asks for. */
  asked(page: string): Asked {
    const form = /<form\s+class="passkey[^>]*action="([^"]*)"\s+data-passkey="([^"]*)"[^]*?<\/form>/.exec(
      page,
    )
    assert.ok(form, `no passkey is asked for: ${page}`)
    const [text, action = '', options = ''] = form
    const fields = [...text.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)].map(
      ([, name = '', value = '']) => [name, unescape(value)] as const,
    )
    return {
      action: unescape(action),
      fields: Object.fromEntries(fields),
      options: JSON.parse(unescape(options)) as Asked['options'],
    }
  }

  /** The fields of the form, with the answer of the device. */
  answer({ fields, options }: Asked): Record<string, string> {
    return { ...fields, answer: this.device.get({ nonce: '', options }).answer }
  }

  async register(): Promise<void> {
    const { text } = await this.send('/passkeys/new', {})
    const { action, fields, options } = this.asked(text)
    const { answer } = this.device.create({ nonce: '', options })
    assert.equal((await this.send(action, { ...fields, answer, name: 'my phone' })).status, 303)
  }
}
