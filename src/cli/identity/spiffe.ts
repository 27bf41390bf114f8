/**
 * SPIFFE: a JWT-SVID, from a file that a helper keeps (spiffe-helper) or from the Workload API.
 *
 * @module
 */
import { checkAudience, claimsOf, endOf } from './claims.ts'
import type { Around, Detector, Held } from './source.ts'
import { checkedToken, noIdentity, variable } from './source.ts'
import { fetchJwtSvid, parseEndpoint } from './workload-api.ts'

const FILE = 'WRIT_SPIFFE_JWT_FILE'
const SOCKET = 'SPIFFE_ENDPOINT_SOCKET'

export const spiffe: Detector = (around) => {
  const file = variable(around, FILE)
  if (file !== undefined) {
    return { kind: 'spiffe', from: `\`${file}\``, keep: false, token: async () => fromFile(around, file) }
  }
  const socket = variable(around, SOCKET)
  if (socket === undefined) return undefined
  return {
    kind: 'spiffe',
    from: `the Workload API at ${SOCKET}`,
    keep: true,
    token: async () => {
      const endpoint = parseEndpoint(socket)
      if (endpoint === undefined)
        throw noIdentity(
          `${SOCKET} names no endpoint`,
          'write it as `unix:///run/spire/agent.sock` or `tcp://127.0.0.1:8081`',
        )
      return held(
        around,
        checkedToken(await fetchJwtSvid(endpoint, around.audience), 'the Workload API'),
        SOCKET,
      )
    },
  }
}

function fromFile(around: Around, file: string): Held {
  const text = around.read(file)
  if (text === undefined)
    throw noIdentity(`\`${file}\` does not exist`, `${FILE} names it: does spiffe-helper write it there?`)
  return held(around, checkedToken(text, `\`${file}\``), `\`${file}\``)
}

function held(around: Around, token: string, from: string): Held {
  checkAudience(
    token,
    around.audience,
    from,
    `have the SVID made for the audience \`${around.audience}\`, or name the audience in WRIT_AUDIENCE`,
  )
  const endsAt = endOf(claimsOf(token))
  return { token, ...(endsAt === undefined ? {} : { endsAt }) }
}
