/**
 * Sessions of people: one record on the server each, found by the digest of its token.
 *
 * @module
 */
import type { Session, SignedIn } from '../../model/access.ts'
import type { EntityRef } from '../../model/entity.ts'
import type { Instant } from '../../model/time.ts'
import { SESSION_IDLE, SESSION_LIFE } from '../callers.ts'

/** A session that begins at `now`. */
export function newSession(
  id: string,
  person: EntityRef,
  generation: number,
  now: Instant,
  auth: Omit<SignedIn, 'at'> & Readonly<{ at?: Instant }>,
): Session {
  return {
    id,
    person: { type: person.type, id: person.id },
    generation,
    createdAt: now,
    // when the person proved themselves, which a provider may have seen long before
    auth: { ...auth, at: Math.min(auth.at ?? now, now) },
    idleUntil: now + SESSION_IDLE,
    endsAt: now + SESSION_LIFE,
  }
}
