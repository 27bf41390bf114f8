/**
 * Signed artifacts: `binding_token` and `approval.state` as compact JWS (§"Binding Artifacts"). ES256 by the artifact
 * key and nothing else; what comes back is believed only after signature, type, issuer, audience and time.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { createHash, createPublicKey, sign } from 'node:crypto'
import { errors, jwtVerify } from 'jose'
import * as z from 'zod'
import type { Artifacts, Refused, SealedApproval, SealedDenial } from '../../../model/artifact.ts'
import { ARTIFACT_MOST } from '../../../model/artifact.ts'
import type { Tuple } from '../../../model/attempt.ts'
import type { Json } from '../../../model/canonical.ts'
import { canonical, sameJson } from '../../../model/canonical.ts'
import type { Signer } from '../../../model/signer.ts'
import type { Instant } from '../../../model/time.ts'
import { HOUR } from '../../../model/time.ts'
import { encodeInstant, parseInstant } from '../../bounds.ts'
import { ARTIFACT_CHARACTERS_MOST } from './submission.ts'

/** The keys that artifacts are signed and verified with. */
export type ArtifactKeys = Readonly<{
  current(): Readonly<{ signer: Signer; privateKey: KeyObject }>
  /** Retired ones too. */
  all(): readonly Signer[]
}>

const ALGORITHM = 'ES256'
/** A denial is never taken for an approval, nor anything else that the key signs for either (B4). */
const TYPES = { denial: 'arap-denial+jwt', approval: 'arap-approval+jwt', metadata: 'JWT' } as const
/** Documents that are kept signed: one for each name that callers reach this server by. */
const SIGNED_MOST = 16
/** A tuple longer than this, in characters of JSON, is bound by its hash. */
const INLINE_MOST = 4_096
const SECOND = 1_000

/** What names the decision point and the access request service of an installation in artifacts. */
export const partiesOf = (installation: string): Readonly<{ pdp: string; service: string }> => ({
  pdp: `urn:writ:${installation}`,
  service: `urn:writ:${installation}:access-requests`,
})

/**
 * `binding_hash`: base64url of the SHA-256 of the RFC 8785 form of the four members. `tuple` has lost
 * `subject.properties.act` and every context member that does not bind.
 */
export function bindingHash({ subject, resource, action, context }: Tuple): string {
  return createHash('sha256').update(canonical({ subject, resource, action, context })).digest('base64url')
}

const bound = {
  binding_context_members: z.array(z.string()).optional(),
  binding_hash: z.string().optional(),
  subject: z.json().optional(),
  resource: z.json().optional(),
  action: z.json().optional(),
  context: z.json().optional(),
}
const time = z.string().transform((text, ctx): Instant => {
  const at = parseInstant(text)
  if (at !== undefined) return at
  ctx.addIssue({ code: 'custom', message: 'must be an RFC 3339 time' })
  return z.NEVER
})
const common = { jti: z.string().min(1), iat: z.number(), exp: z.number(), ...bound }
const denialClaims = z.object({
  ...common,
  denial_expires_at: time.optional(),
  evaluation_id: z.string().optional(),
})
const approvalClaims = z.object({
  ...common,
  approval_id: z.string().min(1),
  scope: z.object({ task: z.string() }).optional(),
})

type Bound = z.output<z.ZodObject<typeof bound>>

/** The claims that bind `tuple`: inline, or by hash where it is long. */
function bind(tuple: Tuple, members: readonly string[]): Record<string, Json> {
  const { subject, resource, action, context } = tuple
  const long = canonical({ subject, resource, action, context }).length > INLINE_MOST
  return {
    binding_context_members: [...members],
    ...(long ? { binding_hash: bindingHash(tuple) } : { subject, resource, action, context }),
  }
}

/** Whether the claims bind what was sent. Claims that bind nothing cover nothing. */
function covers(claims: Bound, sent: (members: readonly string[]) => Tuple): boolean {
  // without a set that is protected, context does not bind
  const tuple = sent(claims.binding_context_members ?? [])
  if (claims.binding_hash !== undefined && claims.binding_hash !== bindingHash(tuple)) return false
  const { subject, resource, action, context } = claims
  const inline = [subject, resource, action].every((part) => part !== undefined)
  if (!inline) return claims.binding_hash !== undefined && subject === undefined
  return sameJson(
    {
      subject: withoutAct(subject as Json),
      resource: resource as Json,
      action: action as Json,
      context: context ?? {},
    },
    { subject: tuple.subject, resource: tuple.resource, action: tuple.action, context: tuple.context },
  )
}

/** A subject as an issuer may have written it: `properties.act` is never compared. */
function withoutAct(subject: Json): Json {
  if (typeof subject !== 'object' || subject === null || Array.isArray(subject)) return subject
  const members = subject as Readonly<Record<string, Json>>
  const { properties } = members
  if (typeof properties !== 'object' || properties === null || Array.isArray(properties)) return subject
  const { act: _act, ...rest } = properties as Readonly<Record<string, Json>>
  return { ...members, properties: rest }
}

const UNVERIFIABLE: Refused = { refused: 'unverifiable' }
const MISMATCH: Refused = { refused: 'mismatch' }
const EXPIRED: Refused = { refused: 'expired' }

/** Artifacts of an installation by `keys`; `newId` makes what they are told apart by. */
export function createArtifacts(
  installation: string,
  keys: ArtifactKeys,
  newId: (prefix: string) => string,
): Artifacts {
  const { pdp, service } = partiesOf(installation)

  const seal = (typ: string, payload: Record<string, Json>): string => {
    const { signer, privateKey } = keys.current()
    const part = (value: Json): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const input = `${part({ alg: ALGORITHM, typ, kid: signer.id })}.${part(payload)}`
    const signature = sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' })
    return `${input}.${signature.toString('base64url')}`
  }

  /** What is verified by: not what was given up, and nothing of before a restored copy took over (B75). */
  const serving = (now: Instant): readonly Signer[] => {
    const { epoch } = keys.current().signer
    return keys
      .all()
      .filter(
        (it) =>
          it.compromised !== true &&
          (it.epoch ?? 1) === (epoch ?? 1) &&
          (it.retiredAt === undefined || now < it.retiredAt + ARTIFACT_MOST + HOUR),
      )
  }

  /** The payload of `token` once it is believed. */
  async function open<S extends z.ZodType>(
    token: string,
    expected: Readonly<{ typ: string; issuer: string; audience: string; claims: S }>,
    now: Instant,
  ): Promise<z.output<S> | Refused> {
    if (token.length > ARTIFACT_CHARACTERS_MOST) return UNVERIFIABLE
    let signer: Signer | undefined
    try {
      const { payload } = await jwtVerify(
        token,
        ({ kid }) => {
          // nothing is fetched: the keys are ours, and a `kid` that is none of them is nobody's
          signer = serving(now).find(({ id }) => id === kid)
          if (signer === undefined) throw new errors.JWKSNoMatchingKey()
          return createPublicKey({ key: signer.public, format: 'jwk' })
        },
        {
          algorithms: [ALGORITHM],
          typ: expected.typ,
          issuer: expected.issuer,
          audience: expected.audience,
          currentDate: new Date(now),
        },
      )
      // a retired key signs nothing (B45)
      if (signer?.retiredAt !== undefined && (payload.iat ?? Infinity) * SECOND > signer.retiredAt) {
        return UNVERIFIABLE
      }
      const parsed = expected.claims.safeParse(payload)
      return parsed.success ? parsed.data : UNVERIFIABLE
    } catch (error) {
      if (error instanceof errors.JWTExpired) return EXPIRED
      if (error instanceof errors.JOSEError || error instanceof TypeError) return UNVERIFIABLE
      throw error
    }
  }

  const isRefused = (opened: object): opened is Refused => 'refused' in opened
  const signed = new Map<string, Readonly<{ kid: string; jwt: string }>>()

  return {
    signMetadata(issuer, members) {
      const claims = { iss: issuer, ...members }
      const key = canonical(claims)
      const kid = keys.current().signer.id
      const before = signed.get(key)
      if (before?.kid === kid) return before.jwt
      const jwt = seal(TYPES.metadata, claims)
      if (signed.size >= SIGNED_MOST) signed.clear()
      signed.set(key, { kid, jwt })
      return jwt
    },

    sealDenial: (denial: SealedDenial) =>
      seal(TYPES.denial, {
        iss: pdp,
        aud: service,
        iat: Math.floor(denial.at / SECOND),
        exp: Math.ceil(denial.endsAt / SECOND),
        jti: denial.id,
        denial_expires_at: encodeInstant(denial.endsAt),
        evaluation_id: denial.evaluation,
        ...bind(denial.tuple, denial.members),
      }),

    async openDenial(token, sent, now) {
      const claims = await open(
        token,
        { typ: TYPES.denial, issuer: pdp, audience: service, claims: denialClaims },
        now,
      )
      if (isRefused(claims)) return claims
      if (!covers(claims, sent.tuple)) return MISMATCH
      const { denial_expires_at: protectedEnd, evaluation_id: evaluation } = claims
      const exp = claims.exp * SECOND
      // an end that only the caller vouches for proves nothing: it must be the protected one, or not before `exp`
      if (protectedEnd === undefined ? exp > sent.endsAt : protectedEnd !== sent.endsAt) return MISMATCH
      const endsAt = Math.min(exp, sent.endsAt)
      if (now >= endsAt) return EXPIRED
      return { id: claims.jti, endsAt, ...(evaluation === undefined ? {} : { evaluation }) }
    },

    sealApproval: (approval: SealedApproval) =>
      seal(TYPES.approval, {
        iss: service,
        aud: pdp,
        iat: Math.floor(approval.at / SECOND),
        exp: Math.ceil(Math.min(approval.until, approval.at + ARTIFACT_MOST) / SECOND),
        jti: newId('state'),
        approval_id: approval.approval,
        task_id: approval.request,
        evaluation_id: approval.evaluation,
        approved_until: encodeInstant(approval.until),
        ...(approval.task === undefined
          ? bind(approval.tuple, approval.members)
          : { binding_context_members: ['task'], scope: { task: approval.task } }),
      }),

    async openApproval(state, sent, now) {
      if (typeof state !== 'string') return UNVERIFIABLE
      const claims = await open(
        state,
        { typ: TYPES.approval, issuer: service, audience: pdp, claims: approvalClaims },
        now,
      )
      if (isRefused(claims)) return claims
      const { scope, approval_id: approval } = claims
      return { approval, covers: scope === undefined ? covers(claims, sent.tuple) : scope.task === sent.task }
    },

    keys: (now) =>
      serving(now).map((signer) => ({ ...signer.public, kid: signer.id, use: 'sig', alg: ALGORITHM })),
  }
}
