/**
 * The token endpoint as a story asks it, and what it refuses: an error of the standard, and an entry in the record.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { Writ } from '../../client/src/index.ts'

export const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
export const ASSERTION = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
export const JWT = 'urn:ietf:params:oauth:token-type:jwt'

/** What the token endpoint answered, whichever client asked. */
export type Answered = Readonly<Record<string, unknown>>

/** A token request that is posted as it is. */
export async function postForm(
  url: string,
  form: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answered> {
  const response = await fetch(`${url}/oauth/token`, {
    method: 'POST',
    headers,
    body: new URLSearchParams(form),
  })
  return (await response.json()) as Answered
}

/** Asserts refusals of the token endpoint, and that each of them is on the record; counts them. */
export class Refusals {
  readonly #reader: Writ
  /** The newest entry that was seen: each refusal has one of its own. */
  #last = -1
  count = 0

  /** `reader` may read the record. */
  constructor(reader: Writ) {
    this.#reader = reader
  }

  /** `error` is the OAuth code, `why` what its sentence, or the reason of the denial, says. */
  async check(answered: Answered, error: string, why: RegExp): Promise<void> {
    assert.equal(answered['access_token'], undefined, 'a token was issued')
    const { error: code, error_description: said, reason, evaluation_id: id } = answered
    assert.equal(code, error, `refused with ${String(code)}: ${String(said)} (${String(reason)})`)
    const told = typeof reason === 'string' ? `${reason}: ${String(said)}` : String(said)
    assert.match(told, why)
    if (typeof id === 'string') {
      const decision = await this.#reader.decisions.get(id)
      assert.notEqual((decision as { outcome?: string }).outcome, 'permit')
    } else {
      const { items } = await this.#reader.log.search({ kind: 'token.refused', limit: 1 })
      const [found] = items
      assert.ok(found !== undefined && 'entry' in found && found.seq > this.#last, 'not on the record')
      this.#last = found.seq
      const entry = found.entry as Readonly<{ error: string; why: string }>
      assert.deepEqual([entry.error, entry.why.replaceAll('`', "'")], [error, said])
    }
    this.count += 1
  }
}
