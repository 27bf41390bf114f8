/**
 * GitHub Actions: a job with `permissions: id-token: write` may ask the runner for a token about itself.
 *
 * @module
 */
import type { Around, Detector } from './source.ts'
import { checkedToken, noIdentity, sourceUnreachable, variable } from './source.ts'

const TRIES = 3
const LIMIT = 10_000
const PERMISSION = 'give the job `permissions: id-token: write`; a workflow of a fork never has it'

export const github: Detector = (around) => {
  const url = variable(around, 'ACTIONS_ID_TOKEN_REQUEST_URL')
  const secret = variable(around, 'ACTIONS_ID_TOKEN_REQUEST_TOKEN')
  if (url === undefined || secret === undefined) return undefined
  return {
    kind: 'github',
    from: 'GitHub Actions',
    keep: true,
    token: async () => ({ token: await ask(around, url, secret) }),
  }
}

/** Why a job of GitHub Actions has no identity. */
export function githubHint(around: Pick<Around, 'env'>): string | undefined {
  return variable(around, 'GITHUB_ACTIONS') === 'true' ? PERMISSION : undefined
}

async function ask(around: Around, url: string, secret: string): Promise<string> {
  const at = URL.parse(url)
  if (at === null || !/^https?:$/u.test(at.protocol))
    throw noIdentity('ACTIONS_ID_TOKEN_REQUEST_URL is no URL', PERMISSION)
  at.searchParams.set('audience', around.audience)
  for (let tries = 1; ; tries++) {
    const status = await once(around, at, secret)
    if (typeof status !== 'number') return status.token
    const passing = status === 0 || status === 429 || status >= 500
    // neither the URL nor what was answered is shown: both may hold what opens something
    const said = status === 0 ? 'did not answer' : `answered with status ${status}`
    if (!passing) throw noIdentity(`GitHub ${said} when asked for a token of this job`, PERMISSION)
    if (tries === TRIES)
      throw sourceUnreachable(`GitHub ${said} when asked for a token of this job`, 'run the job again later')
  }
}

/** The token, or the status; 0 where there was no answer. */
async function once(around: Around, url: URL, secret: string): Promise<{ token: string } | number> {
  let response: Response
  try {
    response = await around.fetch(url, {
      headers: { authorization: `Bearer ${secret}`, accept: 'application/json; api-version=2.0' },
      redirect: 'manual',
      signal: AbortSignal.timeout(LIMIT),
    })
    if (response.status !== 200) {
      await response.body?.cancel()
      return response.status
    }
    const { value } = (await response.json()) as { value?: unknown }
    return { token: checkedToken(typeof value === 'string' ? value : '', 'the answer of GitHub') }
  } catch (error) {
    if (error instanceof TypeError || error instanceof DOMException || error instanceof SyntaxError) return 0
    throw error
  }
}
