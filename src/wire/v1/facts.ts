/**
 * Facts of others on the wire: what a reporter says, and what a decision would see.
 *
 * @module
 */
import * as z from 'zod'
import type { Fact, Observation } from '../../model/fact.ts'
import { MOST_OBSERVED, isFresh, knownUntil } from '../../model/fact.ts'
import type { Instant } from '../../model/time.ts'
import {
  displayName,
  duration,
  encodeInstant,
  given,
  id,
  instant,
  instantOut,
  jsonOut,
  ref,
  text,
} from '../bounds.ts'

const said = { observed_at: instant.exactOptional(), max_age: duration.exactOptional() }
const known = <N extends string, V extends z.ZodType>(name: N, about: z.ZodString, value: V) =>
  z.strictObject({ name: z.literal(name), about, value, ...said })

const aboutSubject = z
  .string()
  .max(513)
  .refine((text) => ref.safeParse(text).success, { error: 'must be a reference such as `Person/ada`' })

/** One fact: `{ name: 'posture', about: 'Person/ada', value: { compliant: false, status: 'jailbroken' } }`. */
export const factInput = z.discriminatedUnion('name', [
  z.strictObject({
    name: z.literal('posture'),
    about: aboutSubject,
    device: id
      .exactOptional()
      .meta({ description: 'Which device of the subject; each has a posture of its own' }),
    value: z
      .strictObject({
        compliant: z.boolean(),
        status: displayName,
        device: id.exactOptional().meta({ description: 'The same as beside the value' }),
        managed: z.boolean().exactOptional(),
        os: displayName.exactOptional(),
      })
      .nullable()
      .meta({ description: '`null` once the subject has this device no more' }),
    ...said,
  }),
  known(
    'risk',
    aboutSubject,
    z.strictObject({
      level: z.int().min(1).max(3).meta({ description: '1 low, 2 medium, 3 high' }),
      contributions: z
        .array(z.strictObject({ what: displayName, points: z.int().min(0).max(1_000) }))
        .max(32)
        .exactOptional(),
    }),
  ),
  known(
    'session',
    id,
    z.strictObject({ compromised: z.boolean().exactOptional(), addressChanged: z.boolean().exactOptional() }),
  ),
  known(
    'ticket',
    id,
    z.strictObject({
      id,
      status: displayName,
      open: z.boolean(),
      approved: z.boolean(),
      type: displayName.exactOptional(),
      priority: displayName.exactOptional(),
      assignee: displayName.exactOptional(),
      startsAt: instant.exactOptional(),
      endsAt: instant.exactOptional(),
      resources: z.array(text).max(100),
    }),
  ),
  known(
    'incident',
    id,
    z.strictObject({
      id,
      open: z.boolean(),
      severity: displayName.exactOptional(),
      services: z.array(text).max(100),
    }),
  ),
])

export const factsInput = z
  .strictObject({ facts: z.array(factInput).min(1).max(MOST_OBSERVED) })
  .meta({ id: 'FactsInput', description: 'What the caller has observed' })

export type FactsInput = z.input<typeof factsInput>

/** As the flows take them; without a time of its own a fact was observed when it arrived. */
export function decodeFacts({ facts }: z.output<typeof factsInput>, now: Instant): Observation[] {
  return facts.map((fact) => {
    const { name, about, value, observed_at: at, max_age: maxAge } = fact
    return {
      name,
      about,
      ...given('device', fact.name === 'posture' ? (fact.device ?? fact.value?.device) : undefined),
      value,
      observedAt: at ?? now,
      ...given('maxAge', maxAge),
    }
  })
}

const factOut = z
  .object({
    name: z.string(),
    about: z.string(),
    device: z.string().exactOptional(),
    value: jsonOut,
    source: z.string(),
    by: z.string(),
    observed_at: instantOut,
    received_at: instantOut,
    known_until: instantOut.exactOptional(),
    known: z.boolean().meta({ description: 'Whether it may still be believed' }),
  })
  .meta({ id: 'Fact' })

export const factList = z.object({ items: z.array(factOut) }).meta({ id: 'FactList' })
export type WireFact = z.infer<typeof factOut>

export function encodeFact(fact: Fact, now: Instant): WireFact {
  const until = knownUntil(fact)
  return {
    name: fact.name,
    about: fact.about,
    ...given('device', fact.device),
    value: fact.value,
    source: fact.source,
    by: fact.by,
    observed_at: encodeInstant(fact.observedAt),
    received_at: encodeInstant(fact.receivedAt),
    ...(until === Infinity ? {} : { known_until: encodeInstant(until) }),
    known: isFresh(fact, now),
  }
}

export const contextQuery = z.strictObject({
  subject: ref,
  resource: ref.exactOptional(),
  action: id.exactOptional(),
  task: id.exactOptional(),
})

/** What a decision would see. */
export const contextOut = z
  .object({
    at: instantOut,
    live: jsonOut.meta({ description: '`context.live` as policies would read it' }),
    unknown: z
      .array(z.string())
      .meta({ description: 'Facts that nobody could say: what reads them does not permit' }),
    read: z.array(z.string()).exactOptional().meta({ description: 'Facts that the policies in scope read' }),
    facts: z.array(factOut),
    resource: z
      .object({
        id: z.string(),
        registered: z.boolean(),
        sensitivity: z.int(),
        owner: z.string().exactOptional(),
        team: z.string().exactOptional(),
      })
      .exactOptional(),
  })
  .meta({ id: 'LiveContext' })

export type WireContext = z.infer<typeof contextOut>
