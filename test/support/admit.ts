/**
 * A person who lets a program in, as a browser of theirs would.
 *
 * @module
 */
import assert from 'node:assert/strict'

const cookiesOf = (response: Response): string =>
  response.headers
    .getSetCookie()
    .map((line) => line.split(';')[0])
    .join('; ')

/** Opens what the program asks, answers in the session of `token`, and says where the browser is sent. */
export async function admit(asked: URL, token: string, answer: 'yes' | 'no' = 'yes'): Promise<URL> {
  const begun = await fetch(asked, { redirect: 'manual' })
  const path = begun.headers.get('location') ?? ''
  assert.match(path, /^\/login\/continue\//, await begun.text())
  const cookie = cookiesOf(begun)
  const said = await fetch(asked.origin + path, {
    method: 'POST',
    redirect: 'manual',
    headers: { authorization: `Bearer ${token}`, cookie, 'sec-fetch-site': 'same-origin' },
    body: new URLSearchParams({ answer }),
  })
  const page = await said.text()
  assert.equal(said.status, 200, page)
  const to = /content="0;url=([^"]+)"/.exec(page)?.[1] ?? ''
  const back = await fetch(to, { redirect: 'manual', headers: { cookie } })
  return new URL(back.headers.get('location') ?? 'none:')
}
