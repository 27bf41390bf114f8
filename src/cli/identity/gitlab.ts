/**
 * GitLab: `id_tokens` of a job puts a token about it into a variable, once.
 *
 * @module
 */
import { checkAudience, claimsOf, endOf } from './claims.ts'
import type { Detector } from './source.ts'
import { checkedToken, noIdentity, variable } from './source.ts'

const VARIABLE = 'WRIT_ID_TOKEN'

export const gitlab: Detector = (around) => {
  if (variable(around, VARIABLE) === undefined) return undefined
  return {
    kind: 'gitlab',
    from: VARIABLE,
    keep: false,
    token: async () => {
      const token = checkedToken(variable(around, VARIABLE) ?? '', VARIABLE)
      checkAudience(
        token,
        around.audience,
        VARIABLE,
        `put \`id_tokens: { ${VARIABLE}: { aud: ${around.audience} } }\` into the job, or name the audience in WRIT_AUDIENCE`,
      )
      const endsAt = endOf(claimsOf(token))
      if (endsAt !== undefined && endsAt <= around.now())
        throw noIdentity(
          `the token in ${VARIABLE} has ended`,
          'GitLab makes it when the job starts, for as long as the job may run: raise its `timeout`',
        )
      return { token, ...(endsAt === undefined ? {} : { endsAt }) }
    },
  }
}
