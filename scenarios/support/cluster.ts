/**
 * The platform of a story: a cluster whose pods have projected tokens, and an API server that knows which pods live.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { TestIssuer } from '../../test/support/issuer.ts'
import type { Part } from './story.ts'

/** For whom its tokens are: the Writ of the story. */
export const AUDIENCE = 'https://writ.example'

export type Pod = Readonly<{ serviceAccount: string; uid: string; name: string }>

export type PodToken = Readonly<{
  audience?: string
  /** Seconds from now until its end; as short as the platform lets it be, ten minutes. */
  life?: number
  /** Claims over those of the platform. */
  claims?: Readonly<Record<string, unknown>>
}>

export type Cluster = Part &
  Readonly<{
    url: string
    /** Its entry under `issuers`: which service account is whom. `reviewer` is the file of who may review tokens. */
    config(subjects: Readonly<Record<string, string>>, reviewer: string): Readonly<Record<string, unknown>>
    /** How Writ itself may ask about tokens. */
    reviewer(file: string): void
    token(pod: Pod, how?: PodToken): string
    /** Writes it where a pod mounts it. */
    project(file: string, pod: Pod, how?: PodToken): string
    delete(pod: Pod): void
  }>

/** Of a pod as its deployment made it. */
export const pod = (serviceAccount: string): Pod => ({
  serviceAccount,
  uid: crypto.randomUUID(),
  name: `${serviceAccount}-${crypto.randomUUID().slice(0, 5)}`,
})

type PodClaims = Readonly<{
  sub: string
  'kubernetes.io': Readonly<{ pod: { uid: string }; serviceaccount: { uid: string } }>
}>

const MINUTES = 600
/** Ids of service accounts: names can come to be somebody else's. */
const uidOf = (serviceAccount: string): string => {
  const hex = createHash('sha256').update(serviceAccount).digest('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    '-',
  )
}

export async function openCluster(): Promise<Cluster> {
  const issuer = await TestIssuer.start()
  const gone = new Set<string>()
  issuer.review = ({ token, audiences }) => {
    const claims = JSON.parse(
      Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'),
    ) as PodClaims
    const bound = claims['kubernetes.io']
    return gone.has(bound.pod.uid)
      ? { authenticated: false, error: '[invalid bearer token, Token has been invalidated]' }
      : {
          authenticated: true,
          user: { username: claims.sub, uid: bound.serviceaccount.uid, groups: [] },
          audiences,
        }
  }
  const token: Cluster['token'] = (
    { serviceAccount, uid, name },
    { audience = AUDIENCE, life = MINUTES, claims } = {},
  ) => {
    const now = Math.floor(Date.now() / 1_000)
    return issuer.mint('kubernetes', {
      aud: [audience],
      iat: now + Math.min(0, life) - 1,
      nbf: now + Math.min(0, life) - 1,
      exp: now + life,
      sub: `system:serviceaccount:shop:${serviceAccount}`,
      'kubernetes.io': {
        namespace: 'shop',
        node: { name: 'node-1', uid: '646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1' },
        pod: { name, uid },
        serviceaccount: { name: serviceAccount, uid: uidOf(serviceAccount) },
        warnafter: now + life,
      },
      ...claims,
    })
  }
  return {
    url: issuer.url,
    config: (subjects, reviewer) => ({
      name: 'cluster',
      kind: 'kubernetes',
      issuer: issuer.url,
      audiences: [AUDIENCE],
      allow_private: true,
      subjects: Object.entries(subjects).map(([service_account, subject]) => ({
        when: { namespace: 'shop', service_account, service_account_uid: uidOf(service_account) },
        subject,
      })),
      token_review: {
        url: `${issuer.url}/apis/authentication.k8s.io/v1/tokenreviews`,
        token_file: reviewer,
      },
    }),
    reviewer: (file) => {
      writeFileSync(file, 'reviewer', { mode: 0o600 })
    },
    token,
    project(file, of, how) {
      const text = token(of, how)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, text, { mode: 0o600 })
      return text
    },
    delete: ({ uid }) => void gone.add(uid),
    [Symbol.asyncDispose]: () => issuer[Symbol.asyncDispose](),
  }
}
