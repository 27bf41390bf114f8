/**
 * The clients of the token endpoint and the names of what tokens are for, as configured.
 *
 * @module
 */
import { z } from 'zod'
import type { EntityRef, Properties } from '../model/entity.ts'
import { parseRef } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import { isIdentity, isTypeName } from '../model/name.ts'
import type { Millis } from '../model/time.ts'
import type { ClientConfig } from '../model/token.ts'

const isRef = (text: string): boolean => {
  const ref = parseRef(text)
  return ref !== undefined && isTypeName(ref.type) && isIdentity(ref.id)
}

const ref = z
  .string()
  .max(513)
  .refine(isRef, 'is not a reference such as `Service/orders-ci`')
  .transform((text): EntityRef => parseRef(text) as EntityRef)

/** A client with a key of its own (`private_key_jwt`). */
export const tokenClient = z.strictObject({
  id: z.string().min(1).max(256).refine(isIdentity, 'has characters that no id may have'),
  subject: ref,
  /** Path of the JWKS file. */
  jwks: z.string().min(1),
  serves: z.array(ref).default([]),
})

export const tokenResource = z.strictObject({
  uri: z.url('is not a URL').refine((text) => !text.includes('#'), 'has a fragment'),
  resource: ref,
})

/** What the token endpoint is configured with; life in milliseconds. */
export type TokenConfig = Readonly<{
  life: Millis
  senderConstrained: 'privileged' | 'always' | 'never'
  clients: readonly ClientConfig[]
  resources: readonly Readonly<{ uri: string; resource: EntityRef }>[]
}>

type Parsed = Readonly<{
  life: Millis
  sender_constrained: TokenConfig['senderConstrained']
  clients: readonly z.output<typeof tokenClient>[]
  resources: readonly z.output<typeof tokenResource>[]
}>

/** @throws {WritError} `ERR_CONFIG_INVALID` for a key set that cannot be read. */
export function tokenConfig(
  { life, sender_constrained: senderConstrained, clients, resources }: Parsed,
  path: (text: string) => string,
  read: (path: string) => string,
): TokenConfig {
  return {
    life,
    senderConstrained,
    clients: clients.map(({ jwks, ...client }) => ({ ...client, keys: keysIn(path(jwks), read) })),
    resources,
  }
}

/** What stands in the record of the configuration: keys as they are, they are public. */
export const tokenSummary = ({ clients, resources, ...rest }: TokenConfig) => ({
  ...rest,
  clients: clients.map(({ id, subject, keys, serves }) => ({ id, subject, keys, serves })),
  resources,
})

function keysIn(path: string, read: (path: string) => string): readonly Properties[] {
  const bad = (why: string, cause?: unknown) =>
    new WritError('ERR_CONFIG_INVALID', `\`tokens.clients\`: \`${path}\` ${why}`, {
      hint: 'give `jwks` the path of a JSON file {"keys": […]} with public keys',
      ...(cause === undefined ? {} : { cause }),
    })
  let parsed: unknown
  try {
    parsed = JSON.parse(read(path))
  } catch (cause) {
    throw bad('cannot be read', cause)
  }
  const keys: unknown =
    typeof parsed === 'object' && parsed !== null && 'keys' in parsed ? parsed.keys : undefined
  if (!Array.isArray(keys) || keys.some((key) => typeof key !== 'object' || key === null)) {
    throw bad('holds no keys')
  }
  return keys as readonly Properties[]
}
