/**
 * What a signal does: it ends what was begun before it, or becomes a fact. Whatever the order in which signals arrive, and
 * however often, the end is the same (B52): an end concerns what is older than the event, a fact the latest observation.
 *
 * @module
 */
import type { EntityRef } from '../../model/entity.ts'
import { PERSON, refKey } from '../../model/entity.ts'
import type { Json } from '../../model/canonical.ts'
import type { Observation } from '../../model/fact.ts'
import { MOST_OBSERVED, factId } from '../../model/fact.ts'
import type { SetClaims } from '../../model/signal.ts'
import type { Instant, Millis } from '../../model/time.ts'
import type { Store } from '../../store/port.ts'
import { SKEW } from './verify.ts'

export type EndedCounts = Readonly<{ sessions: number; tokens: number; grants: number }>

/** The verbs that signals use. */
export type SignalVerbs = Readonly<{
  /** Observations of others, `by` what they came with. */
  observe(source: string, by: string, observations: readonly Observation[]): Promise<void>
  /** Ends sessions, access tokens and what was obtained with them, if it began no later than `until`. */
  endSessions(
    subject: EntityRef,
    cause: Readonly<{ until: Instant; reason: string; by: string }>,
  ): Promise<EndedCounts>
}>

/** What became of an event, for the record. */
export type Outcome = Readonly<{ outcome: 'ended' | 'observed' | 'ignored' }> & Readonly<Record<string, Json>>

type Context = Readonly<{
  store: Store
  verbs: SignalVerbs
  /** The configured name of the transmitter. */
  source: string
  maxAge?: Millis | undefined
}>

/** Claims that say from where a session is used, and with which proof. */
const ADDRESS = /^(?:client_|remote_)?(?:ip|ip_?addr(?:ess)?|address|location|country|asn|network)$/iu
const PROOF = /^(?:acr|amr|auth_time|cnf|sid)$/u

/** Does what `set` says about `subject`. Doing it again changes nothing. */
export async function takeEffect(context: Context, subject: EntityRef, set: SetClaims): Promise<Outcome> {
  const { event } = set
  const { verbs, source, maxAge } = context
  const observe = async (
    name: 'posture' | 'risk',
    value: Readonly<Record<string, Json>>,
  ): Promise<Outcome> => {
    const device = name === 'posture' ? set.device : undefined
    const observation: Observation = {
      name,
      about: refKey(subject),
      ...(device === undefined ? {} : { device }),
      value,
      observedAt: set.at,
      ...(maxAge === undefined ? {} : { maxAge }),
    }
    await verbs.observe(source, set.jti, [observation])
    return { outcome: 'observed', facts: [factId(name, observation.about, device)] }
  }
  switch (event.kind) {
    case 'session-revoked':
      return end(context, subject, set)
    case 'credential-change':
      // a new or changed credential ends nothing: whoever made it has proved themselves with another
      return event.change === 'revoke' || event.change === 'delete'
        ? end(context, subject, set, { credential: event.credential, change: event.change })
        : { outcome: 'ignored', credential: event.credential, change: event.change }
    case 'device-compliance-change':
      return observe('posture', { compliant: event.status === 'compliant', status: event.status })
    case 'risk-level-change':
      return observe('risk', { level: event.level })
    case 'assurance-level-change':
      // what a session was begun with is less than it was; more than it was gives nothing
      return event.direction === 'increase'
        ? { outcome: 'ignored', level: event.level }
        : worsen(context, subject, set, { compromised: true }, { level: event.level })
    case 'token-claims-change': {
      const names = Object.keys(event.claims).sort()
      const shown = names.slice(0, 32)
      const worse = {
        ...(names.some((name) => ADDRESS.test(name)) ? { addressChanged: true } : {}),
        ...(names.some((name) => PROOF.test(name)) ? { compromised: true } : {}),
      }
      return Object.keys(worse).length === 0
        ? { outcome: 'ignored', claims: shown }
        : worsen(context, subject, set, worse, { claims: shown })
    }
    default:
      return { outcome: 'ignored' }
  }
}

async function end(
  { verbs, source, store }: Context,
  subject: EntityRef,
  set: SetClaims,
  changed?: Readonly<{ credential: string; change: string }>,
): Promise<Outcome> {
  const key = refKey(subject)
  const ended = await verbs.endSessions(subject, {
    // what began while both clocks may disagree goes as well
    until: set.at + SKEW,
    reason: `\`${set.event.kind}\` of \`${source}\``,
    by: `signal:${source}`,
  })
  if (changed === undefined) return { outcome: 'ended', ...ended }
  // ours are not its to remove: somebody looks whether one of them is the one that it means
  const passkeys = (await store.read([{ index: 'passkey.person', value: key }])).scan('passkey.person', key)
  return {
    outcome: 'ended',
    ...ended,
    ...changed,
    ...(passkeys.length === 0 ? {} : { passkeys: passkeys.map(({ id }) => id).slice(0, 16) }),
  }
}

/** Each session of the person that began before is worse by `worse`, and stays as bad as it was known to be. */
async function worsen(
  { verbs, source, store, maxAge }: Context,
  subject: EntityRef,
  set: SetClaims,
  worse: Readonly<Record<string, boolean>>,
  more: Readonly<Record<string, Json>>,
): Promise<Outcome> {
  const key = refKey(subject)
  if (subject.type !== PERSON) return { outcome: 'ignored', ...more }
  const view = await store.read([{ index: 'session.person', value: key }])
  const sessions = view
    .scan('session.person', key)
    .filter(({ value }) => value.createdAt <= set.at + SKEW && view.now < value.endsAt)
    .map(({ id }) => `session:${id}`)
  const known = await store.read(sessions.map((about) => ({ kind: 'fact', id: factId('session', about) })))
  const observations = sessions.flatMap((about): Observation[] => {
    const before = known.get('fact', factId('session', about))?.value
    const value = { ...before?.value, ...worse }
    const isKnown = Object.keys(worse).every((name) => before?.value?.[name] === true)
    if (before !== undefined && isKnown && before.observedAt >= set.at) return []
    // the earlier of two observations adds to the later one, which would hide it
    const observedAt = before === undefined || before.observedAt < set.at ? set.at : before.observedAt + 1
    return [{ name: 'session', about, value, observedAt, ...(maxAge === undefined ? {} : { maxAge }) }]
  })
  for (let at = 0; at < observations.length; at += MOST_OBSERVED)
    await verbs.observe(source, set.jti, observations.slice(at, at + MOST_OBSERVED))
  return {
    outcome: 'observed',
    facts: sessions.map((about) => factId('session', about)).slice(0, 64),
    ...more,
  }
}
