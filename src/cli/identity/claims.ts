/**
 * What a token says, as its issuer wrote it. Nothing is verified here: the server does that. It is for choosing when to
 * renew, for refusing what the server would refuse, and for showing people what policies would see.
 *
 * @module
 */
import { kindDefaults } from '../../config/index.ts'
import type { IdentityKind } from './source.ts'
import { noIdentity } from './source.ts'

export type Claims = Readonly<Record<string, unknown>>

/** The claims of a JWT, or `undefined` where it is none. */
export function claimsOf(token: string): Claims | undefined {
  const parts = token.split('.')
  if (parts.length !== 3) return undefined
  try {
    const claims: unknown = JSON.parse(Buffer.from(parts[1] as string, 'base64url').toString('utf8'))
    return typeof claims === 'object' && claims !== null && !Array.isArray(claims)
      ? (claims as Claims)
      : undefined
  } catch {
    return undefined // no JWT after all
  }
}

/** When it ends, in epoch milliseconds. */
export function endOf(claims: Claims | undefined): number | undefined {
  const exp = claims?.['exp']
  return typeof exp === 'number' && Number.isFinite(exp) ? exp * 1_000 : undefined
}

const withoutSlash = (text: string): string => text.replace(/\/$/u, '')

/**
 * A token that was made for somebody else stays here: whoever gets it could use it there (B1). Its address may come from
 * a file of the project that one happens to stand in.
 */
export function checkAudience(token: string, audience: string, from: string, mend: string): void {
  const claims = claimsOf(token)
  // no JWT: it has no audience that could be read here
  if (claims === undefined) return
  const { aud } = claims
  const all = (Array.isArray(aud) ? aud : [aud]).filter((one) => typeof one === 'string')
  if (all.length === 1 && withoutSlash(all[0] as string) === withoutSlash(audience)) return
  const named = all.length === 0 ? 'nobody' : all.map((one) => `\`${one}\``).join(' and ')
  throw noIdentity(`the token of ${from} is for ${named}, not for \`${audience}\` alone`, mend)
}

/** What policies would see of the workload, as `[name, value]`, unless the server's configuration says otherwise. */
export function workloadOf(kind: IdentityKind, claims: Claims): [string, string][] {
  const seen = { ...claims, ...(kind === 'kubernetes' ? pod(claims) : kind === 'spiffe' ? svid(claims) : {}) }
  const names = kind === 'key' ? ['client_id', 'scope'] : kindDefaults[kind].workload
  return names.flatMap((name): [string, string][] => {
    const value = seen[name]
    return ['string', 'number', 'boolean'].includes(typeof value) && value !== ''
      ? [[name, String(value)]]
      : []
  })
}

/** `kubernetes.io` of a projected token, with the names that policies read. */
function pod(claims: Claims): Claims {
  const inside = record(claims['kubernetes.io'])
  const account = record(inside['serviceaccount'])
  return {
    namespace: inside['namespace'],
    service_account: account['name'],
    service_account_uid: account['uid'],
    pod: record(inside['pod'])['name'],
    pod_uid: record(inside['pod'])['uid'],
    node: record(inside['node'])['name'],
  }
}

function svid({ sub }: Claims): Claims {
  const match = /^spiffe:\/\/([^/]+)(\/.*)?$/u.exec(typeof sub === 'string' ? sub : '')
  return { trust_domain: match?.[1], path: match?.[2] }
}

function record(value: unknown): Claims {
  return typeof value === 'object' && value !== null ? (value as Claims) : {}
}
