/**
 * Locks on the wire.
 *
 * @module
 */
import * as z from 'zod'
import type { Lock } from '../../model/lock.ts'
import { lockables } from '../../model/lock.ts'
import { encodeNarrowing, narrowing } from './grants.ts'
import { encodeInstant, given, id, instant, instantOut, page, text } from '../bounds.ts'

const what = z.enum(lockables).meta({
  description:
    '`subject`; `task` with those below it; `tool` by the name of its action; `resource` with everything below it; `owner`: all that this person owns',
})
const about = id.meta({ description: '`Type/id`, the id of a task, or the name of an action' })

export const lockInput = z
  .strictObject({ what, about, reason: text.min(1), until: instant.exactOptional() })
  .meta({ id: 'LockInput' })

export const unlockInput = z
  .strictObject({ what, about, reason: text.exactOptional() })
  .meta({ id: 'UnlockInput' })

export const lock = z
  .object({
    what: z.enum(lockables),
    about: z.string(),
    reason: z.string(),
    by: z.string().meta({ description: 'The caller: a key, a session or a token' }),
    who: z.string().exactOptional().meta({ description: 'Who that was' }),
    at: instantOut,
    until: instantOut.exactOptional(),
    ended_at: instantOut.exactOptional(),
    ended_by: z.string().exactOptional(),
    ended: z
      .object({ tasks: z.int(), grants: z.int() })
      .meta({ description: 'How many have ended because of it' }),
    ending: z.boolean().meta({
      description: 'Something under it has still to be looked at or ended; it is refused all the same',
    }),
  })
  .meta({ id: 'Lock', description: 'What it is about is refused, with everything under it' })

/** What a lock did. */
export const lockAnswer = narrowing
  .extend({
    lock,
    known: z.boolean().meta({
      description: 'False where nobody registered it, or no policy names it: perhaps it is misspelt',
    }),
  })
  .meta({ id: 'Locked' })

export const encodeLocked = (
  value: Parameters<typeof encodeNarrowing>[0] &
    Readonly<{ lock: Parameters<typeof encodeLock>[0]; isKnown: boolean }>,
): z.infer<typeof lockAnswer> => ({
  ...encodeNarrowing(value),
  lock: encodeLock(value.lock),
  known: value.isKnown,
})

export type WireLock = z.infer<typeof lock>

export const lockPage = page(lock).meta({ id: 'LockPage' })

export function encodeLock(value: Lock & Readonly<{ isEnding?: boolean }>): WireLock {
  return {
    what: value.what,
    about: value.about,
    reason: value.reason,
    by: value.by,
    ...given('who', value.who),
    at: encodeInstant(value.at),
    ...(value.until === undefined ? {} : { until: encodeInstant(value.until) }),
    ...(value.endedAt === undefined ? {} : { ended_at: encodeInstant(value.endedAt) }),
    ...given('ended_by', value.endedBy),
    ended: value.ended ?? { tasks: 0, grants: 0 },
    ending: value.isEnding ?? false,
  }
}
