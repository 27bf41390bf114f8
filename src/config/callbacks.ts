/**
 * The part of the configuration that says where enforcement points may be called back.
 *
 * @module
 */
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { WritError } from '../model/errors.ts'

export const callbackSchema = z.strictObject({
  /** The enforcement point, e.g. `Service/gateway`. */
  subject: z.string().regex(/^[^/\s]+\/\S+$/u, 'is not written Type/id'),
  endpoint: z.string().refine((text) => {
    const url = URL.parse(text)
    return url !== null && /^https?:$/u.test(url.protocol) && url.username === '' && url.hash === ''
  }, 'is not an https URL without a user name'),
  /** A file with `whsec_…`, the key of the signatures. */
  secret_file: z.string().min(1),
  allow_private: z.boolean().default(false),
})

export type CallbackConfig = Readonly<{
  subject: string
  endpoint: string
  /** Absolute. */
  secretFile: string
  allowPrivate: boolean
}>

/**
 * Registrations with absolute paths.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` for plain HTTP that is not allowed to be private, and for a key that is none.
 */
export function callbackConfigs(
  configured: readonly z.output<typeof callbackSchema>[],
  path: (text: string) => string,
): readonly CallbackConfig[] {
  return configured.map(({ subject, endpoint, secret_file, allow_private }) => {
    const secretFile = path(secret_file)
    if (!allow_private && new URL(endpoint).protocol !== 'https:') {
      throw new WritError('ERR_CONFIG_INVALID', `\`callbacks\`: \`${endpoint}\` is not https`, {
        hint: 'only an endpoint in a private network may be plain HTTP: say so with `allow_private: true`',
      })
    }
    readWebhookSecret(secretFile)
    return { subject, endpoint, secretFile, allowPrivate: allow_private }
  })
}

/**
 * The text of a secret file.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` when it cannot be read.
 */
export function readWebhookSecret(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (cause) {
    throw new WritError('ERR_CONFIG_INVALID', `the secret file \`${file}\` cannot be read`, {
      hint: 'write `whsec_` and 24 to 64 random bytes in base64 into it, readable for Writ alone',
      cause,
    })
  }
}
