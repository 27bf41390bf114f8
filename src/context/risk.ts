/**
 * Risk as a sum that everybody can check: what others report of a principal, and what Writ sees itself. One table, no
 * model: each contribution stands in the fact with its points.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'

/** What Writ sees of a principal; nothing of it is reported as risk by anybody. */
export type Signs = Readonly<{
  isRegistered: boolean
  isThirdParty: boolean
  /** Of the session that they ask with, where there is one. `unknown`: something was said, too long ago. */
  session?: Readonly<{ compromised: boolean; addressChanged: boolean }> | 'unknown'
  /** Of the device that counts, where one is known. */
  posture?: 'compliant' | 'not-compliant' | 'unknown'
  /** Under the task of whoever acts. */
  denials?: number
  retries?: number
}>

/**
 * The points of what Writ adds itself. What was known and is no longer counts as what it may have been at worst, so that
 * silence lowers no score (law 6).
 */
export const riskPoints = {
  'reported as medium': 20,
  'reported as high': 50,
  'session compromised': 50,
  'session of unknown state': 50,
  'address changed': 20,
  'device not compliant': 30,
  'device of unknown posture': 30,
  'not registered': 20,
  'third party': 20,
  '5 denials or more under the task': 10,
  '20 denials or more under the task': 10,
  'retries after a denial': 5,
} as const
export type RiskSign = keyof typeof riskPoints

/** Retries that count. */
export const RETRIES_COUNTED = 6

type Contribution = Readonly<{ what: string; points: number }>

/**
 * The fact, without its time. It is always there, of nothing with a score of 0: if it came with the first thing that is
 * seen, misbehaving would make rules apply that ask whether it is there. `level` is what was reported, and is not there
 * where nobody did: silence is no word for somebody (law 6).
 */
export function riskOf(
  reported: Readonly<Record<string, Json>> | undefined,
  signs: Signs,
): Readonly<Record<string, Json>> {
  const level = reported === undefined ? undefined : (reported['level'] ?? 3)
  const said: Json = reported?.['contributions'] ?? []
  // without a score it is no risk that policies could read: what is garbled is unknown
  if ((level !== undefined && typeof level !== 'number') || !isListed(said)) return given(level)
  const all = [...said, ...own(level ?? 1, signs)]
  return {
    ...given(level),
    score: all.reduce((sum, { points }) => sum + points, 0),
    contributions: all.map(({ what, points }) => `${what} +${points}`).sort(),
  }
}

const given = (level: Json | undefined): Readonly<Record<string, Json>> =>
  level === undefined ? {} : { level }

const isListed = (said: Json): said is readonly Contribution[] =>
  Array.isArray(said) &&
  said.every((one) => {
    const { what, points } = Object(one) as Partial<Contribution>
    return typeof what === 'string' && Number.isFinite(points)
  })

function own(level: number, signs: Signs): readonly Contribution[] {
  const found: Contribution[] = []
  const add = (what: RiskSign, isSo: boolean, times = 1): void => {
    if (isSo) found.push({ what, points: riskPoints[what] * times })
  }
  const { session, posture, denials = 0, retries = 0 } = signs
  add('reported as medium', level === 2)
  add('reported as high', level >= 3)
  add('session of unknown state', session === 'unknown')
  if (session !== 'unknown') {
    add('session compromised', session?.compromised === true)
    add('address changed', session?.addressChanged === true)
  }
  add('device not compliant', posture === 'not-compliant')
  add('device of unknown posture', posture === 'unknown')
  add('not registered', !signs.isRegistered)
  add('third party', signs.isThirdParty)
  add('5 denials or more under the task', denials >= 5)
  add('20 denials or more under the task', denials >= 20)
  add('retries after a denial', retries > 0, Math.min(retries, RETRIES_COUNTED))
  return found
}
