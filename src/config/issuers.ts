/**
 * The part of the configuration that says whose tokens prove who asks.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { WritError } from '../model/errors.ts'
import type { Issuer, IssuerKeys, Jwk } from '../model/issuer.ts'
import { checkIssuers, issuerKinds, makeIssuer, publicAlgorithms } from '../model/issuer.ts'
import type { Json } from '../model/canonical.ts'
import { canonical } from '../model/canonical.ts'
import { parseRef } from '../model/entity.ts'
import type { Millis } from '../model/time.ts'
import { parseDuration } from '../model/time.ts'

const text = z.string('is not text; put it in quotes').min(1, 'is empty')

/** What a caller may assert about others; see `PepTrust` in the model. */
const pepTrust = z.strictObject({
  subjects: z.array(text).default([]),
  attributes: z.record(z.string(), z.array(text)).default({}),
})

const mapping = z.strictObject({ type: text, claims: z.array(text).min(1).optional() })

const rule = z.strictObject({
  /** By claim, or JSON pointer (`/a/b`) into one: the value it must have, or several of which it has one. */
  when: z.record(text, z.union([text, z.array(text).min(1)])).optional(),
  /** `Type/id`, or a mapping. */
  subject: z.union([text.refine((ref) => parseRef(ref) !== undefined, 'is not written `Type/id`'), mapping]),
})

export const issuerSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/u, 'is not made of a–z, 0–9 and `-`'),
  kind: z.enum(issuerKinds, `is not one of ${issuerKinds.join(', ')}`).default('oidc'),
  /** The exact `iss`, or the trust domain. */
  issuer: text,
  audiences: z.array(text).min(1),
  algorithms: z
    .array(z.enum(publicAlgorithms, `is not one of ${publicAlgorithms.join(', ')}`))
    .min(1)
    .optional(),
  /** The `typ` header its tokens must have; `none` for tokens without. */
  typ: text.optional(),
  /** Path of a JWKS file. */
  jwks: text.optional(),
  jwks_uri: text.optional(),
  /** SPIFFE: path or https URL of the trust bundle. */
  bundle: text.optional(),
  allow_private: z.boolean('is neither `true` nor `false`').default(false),
  /** Path of a PEM file. */
  ca: text.optional(),
  stale: z
    .string()
    .transform((value, context): Millis => {
      const millis = parseDuration(value)
      if (millis === undefined) context.addIssue('is not a duration such as `90s`, `15m` or `1h`')
      return millis ?? 0
    })
    .prefault('24h'),
  subjects: z.array(rule).optional(),
  /** After `subjects`: everyone else. */
  subject: mapping.optional(),
  instigator: text.optional(),
  /** Claims that policies may read. */
  workload: z.array(text).optional(),
  token_review: z.strictObject({ url: text, token_file: text, ca: text.optional() }).optional(),
  pep: pepTrust.optional(),
})

/**
 * Issuers with absolute paths and their static keys.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` for files that cannot be read and for what must not be trusted.
 */
export function issuerConfigs(
  configured: readonly z.output<typeof issuerSchema>[],
  path: (text: string) => string,
  read: (path: string) => string,
): readonly Issuer[] {
  const issuers = configured.map((one) => {
    const { name, kind, issuer, audiences, algorithms, typ, stale, subject, instigator, workload, pep } = one
    const rules = [...(one.subjects ?? []), ...(subject === undefined ? [] : [{ subject }])].map(
      ({ subject: who, ...rest }) => ({
        ...('when' in rest && rest.when !== undefined ? { when: rest.when } : {}),
        subject:
          typeof who === 'string'
            ? (parseRef(who) as { type: string; id: string })
            : { type: who.type, ...(who.claims === undefined ? {} : { claims: who.claims }) },
      }),
    )
    const pem = (file: string): string => readPem(path(file), name, read)
    const review = one.token_review
    return makeIssuer({
      name,
      kind,
      issuer,
      audiences,
      keys: keysOf(one, path, read),
      allowPrivate: one.allow_private,
      stale,
      ...(algorithms === undefined ? {} : { algorithms }),
      ...(typ === undefined ? {} : { types: [typ === 'none' ? null : typ] }),
      ...(one.ca === undefined ? {} : { ca: pem(one.ca) }),
      ...(one.subjects === undefined && subject === undefined ? {} : { rules }),
      ...(instigator === undefined ? {} : { instigator }),
      ...(workload === undefined ? {} : { workload }),
      ...(review === undefined
        ? {}
        : {
            tokenReview: {
              url: review.url,
              tokenFile: path(review.token_file),
              ...(review.ca === undefined ? {} : { ca: pem(review.ca) }),
            },
          }),
      ...(pep === undefined ? {} : { pep }),
    })
  })
  checkIssuers(issuers)
  return issuers
}

function keysOf(
  { name, jwks, jwks_uri, bundle }: z.output<typeof issuerSchema>,
  path: (text: string) => string,
  read: (path: string) => string,
): IssuerKeys {
  if ([jwks, jwks_uri, bundle].filter((one) => one !== undefined).length > 1) {
    throw new WritError('ERR_CONFIG_INVALID', `issuer \`${name}\` says twice where its keys are`, {
      hint: 'give one of `jwks`, `jwks_uri` and `bundle`, or none of them for discovery',
    })
  }
  if (jwks !== undefined) return { from: 'jwks', keys: keySet(path(jwks), read) }
  if (jwks_uri !== undefined) return { from: 'uri', uri: jwks_uri }
  if (bundle === undefined) return { from: 'discovery' }
  return /^[a-z]+:\/\//iu.test(bundle)
    ? { from: 'bundle', uri: bundle }
    : { from: 'bundle', file: path(bundle) }
}

function keySet(path: string, read: (path: string) => string): readonly Jwk[] {
  const bad = (why: string, cause?: unknown) =>
    new WritError('ERR_CONFIG_INVALID', `\`issuers\`: \`${path}\` ${why}`, {
      hint: 'give `jwks` the path of a JSON file {"keys": […]} with public keys',
      cause,
    })
  let parsed: unknown
  try {
    parsed = JSON.parse(read(path))
  } catch (error) {
    throw bad('cannot be read', error)
  }
  const keys: unknown =
    typeof parsed === 'object' && parsed !== null && 'keys' in parsed ? parsed.keys : undefined
  if (!Array.isArray(keys) || keys.length === 0) throw bad('holds no keys')
  for (const key of keys as unknown[]) {
    if (typeof key !== 'object' || key === null || !('kty' in key))
      throw bad('holds something that is no key')
    if ('d' in key || 'k' in key || key.kty === 'oct') throw bad('holds a private or shared key')
  }
  return keys as Jwk[]
}

function readPem(path: string, name: string, read: (path: string) => string): string {
  let pem: string | undefined
  let cause: unknown
  try {
    pem = read(path)
  } catch (error) {
    cause = error
  }
  if (pem?.includes('-----BEGIN CERTIFICATE-----') === true) return pem
  throw new WritError(
    'ERR_CONFIG_INVALID',
    `issuer \`${name}\`: \`${path}\` ${cause === undefined ? 'holds no certificate' : 'cannot be read'}`,
    {
      hint: 'give `ca` the path of a PEM file with the certificates of authorities',
      cause,
    },
  )
}

/** An issuer as the record shows it: all that it is trusted with, long texts by their digests. */
export function issuerSummary({ ca, keys, tokenReview, ...issuer }: Issuer): Json {
  return {
    ...issuer,
    keys: keys.from === 'jwks' ? { from: 'jwks', digest: digest(canonical(keys.keys)) } : keys,
    ...(ca === undefined ? {} : { ca: digest(ca) }),
    ...(tokenReview === undefined ? {} : { tokenReview: { url: tokenReview.url } }),
  }
}

function digest(content: string): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`
}
