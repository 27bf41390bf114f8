/**
 * What the profile adds to the metadata of a decision point, and the keys it publishes.
 *
 * @module
 */
import * as z from 'zod'

export const CAPABILITY = 'urn:openid:authzen:capability:access-request'

/** Where the keys of signed artifacts are. */
export const JWKS_PATH = '/.well-known/jwks.json'

export const metadataMembers = {
  access_request_endpoint: z.string(),
  jwks_uri: z.string(),
}

/** The members for a decision point at `origin`. */
export function encodeMetadataMembers(origin: string): { access_request_endpoint: string; jwks_uri: string } {
  return { access_request_endpoint: `${origin}/access/v1/requests`, jwks_uri: `${origin}${JWKS_PATH}` }
}

export const jwks = z.object({ keys: z.array(z.record(z.string(), z.string())) }).meta({
  id: 'JwkSet',
  description: 'Public keys of signed artifacts (RFC 7517), retired ones included while needed',
})
