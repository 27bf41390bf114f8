/**
 * OAuth errors: the code that a standard names, and one sentence that helps (RFC 6749 §5.2).
 *
 * @module
 */
import * as z from 'zod'
import type { OAuthErrorCode } from '../../model/refusal.ts'

export const oauthError = z
  .looseObject({
    error: z.string(),
    error_description: z.string().exactOptional(),
  })
  .meta({ id: 'OAuthError', description: 'RFC 6749 §5.2' })

// RFC 6749 §5.2: %x20-21 / %x23-5B / %x5D-7E
const undescribable = /[^\x20\x21\x23-\x5b\x5d-\x7e]/gu

/** The body of an error; what the grammar of RFC 6749 has no room for becomes `'` or `?`. */
export function encodeError(
  code: OAuthErrorCode | 'server_error' | 'temporarily_unavailable',
  description: string,
): { error: string; error_description: string } {
  return {
    error: code,
    error_description: description
      .replaceAll(/["`\\]/gu, "'")
      .replaceAll(undescribable, '?')
      .slice(0, 500),
  }
}
