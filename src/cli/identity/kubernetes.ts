/**
 * Kubernetes: a projected service account token, in a file that is written anew before it ends.
 *
 * @module
 */
import { checkAudience, claimsOf, endOf } from './claims.ts'
import type { Detector } from './source.ts'
import { checkedToken, noIdentity, variable } from './source.ts'

/** Where a pod mounts it when nothing else is said. */
export const PROJECTED = '/var/run/secrets/writ/token'

export const kubernetes: Detector = (around) => {
  const path = variable(around, 'WRIT_TOKEN_FILE') ?? PROJECTED
  if (around.read(path) === undefined) return undefined
  return {
    kind: 'kubernetes',
    from: `\`${path}\``,
    keep: false,
    token: async () => {
      const text = around.read(path)
      if (text === undefined)
        throw noIdentity(`\`${path}\` is gone`, 'is the projected volume still mounted?')
      const token = checkedToken(text, `\`${path}\``)
      checkAudience(
        token,
        around.audience,
        `\`${path}\``,
        `give the volume \`serviceAccountToken: { audience: ${around.audience} }\`, or name the audience in WRIT_AUDIENCE`,
      )
      const endsAt = endOf(claimsOf(token))
      return { token, ...(endsAt === undefined ? {} : { endsAt }) }
    },
  }
}
