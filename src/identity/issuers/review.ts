/**
 * Kubernetes TokenReview: whether the pod and account that a token was made for still exist is asked of the cluster.
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import type { Json } from '../../model/canonical.ts'
import type { Issuer } from '../../model/issuer.ts'
import { readJson } from '../../model/json.ts'
import type { Fetcher } from './fetcher.ts'
import { DOCUMENT_MOST, FETCH_TIMEOUT } from './fetcher.ts'
import { Refused } from './refusal.ts'

type Review = Readonly<{
  token: string
  audience: string
  /** What the token was verified to say. */
  subject: string
  uid: Json | undefined
}>

/**
 * Returns if the cluster says that the token is valid, for this audience and account.
 *
 * @throws {Refused} `review`, also when nothing can be had from it
 */
export async function reviewToken(
  review: Review,
  { tokenReview, allowPrivate }: Issuer,
  fetch: Fetcher,
  readText: (path: string) => Promise<string>,
): Promise<void> {
  if (tokenReview === undefined) return
  let own: string
  try {
    own = (await readText(tokenReview.tokenFile)).trim()
  } catch {
    throw new Refused('review', 'the file of `token_review.token_file` cannot be read')
  }
  if (!/^[A-Za-z0-9._~+/=-]+$/u.test(own))
    throw new Refused('review', 'the file of `token_review` holds no token')
  const answer = await fetch(new URL(tokenReview.url), {
    timeout: FETCH_TIMEOUT,
    maxBytes: DOCUMENT_MOST,
    allowPrivate,
    headers: {
      authorization: `Bearer ${own}`,
      'content-type': 'application/json',
      accept: 'application/json',
    },
    body: JSON.stringify({
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      spec: { token: review.token, audiences: [review.audience] },
    }),
    ...(tokenReview.ca === undefined ? {} : { ca: tokenReview.ca }),
  })
  if (answer.failed !== undefined) throw new Refused('review', answer.failed)
  if (answer.status !== 200 && answer.status !== 201)
    throw new Refused('review', `it answered ${answer.status}`)
  const read = isUtf8(answer.body)
    ? readJson(Buffer.from(answer.body).toString('utf8'), 16)
    : { problem: 'json' }
  if (!('value' in read)) throw new Refused('review', 'its answer is not JSON')
  const status = part(read.value, 'status')
  const user = part(status, 'user')
  const audiences = part(status, 'audiences')
  if (part(status, 'authenticated') !== true)
    throw new Refused('review', 'it says that the token is not valid')
  // an API server that does not know audiences leaves them out: then it has not judged them
  if (!Array.isArray(audiences) || !audiences.includes(review.audience)) {
    throw new Refused('review', 'it does not confirm the audience')
  }
  if (part(user, 'username') !== review.subject || part(user, 'uid') !== review.uid) {
    throw new Refused('review', 'it says that the token is somebody else')
  }
}

function part(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined
}
