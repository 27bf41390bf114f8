/**
 * The pieces every schema is made of, with their bounds. Whatever comes from outside passes one of these; what they
 * return is what was validated, so nothing is read from the raw message again (B78).
 *
 * @module
 */
import * as z from 'zod'
import type { Json } from '../model/canonical.ts'
import type { EntityRef, Properties } from '../model/entity.ts'
import { parseRef, refKey } from '../model/entity.ts'
import { isIdentity, isText } from '../model/name.ts'
import type { Instant, Millis } from '../model/time.ts'
import { formatDuration, parseDuration, toRfc3339 } from '../model/time.ts'

/** Longest identifier, in UTF-16 code units. */
export const ID_MOST = 256
export const NAME_MOST = 128
/** Reasons, purposes, comments and justifications. */
export const TEXT_MOST = 2_000
/** Characters of a `properties`, `context` or `attrs` object as JSON, about its size in bytes when it is ASCII. */
export const JSON_MOST = 16 * 1024
/** Levels of objects and arrays inside one `properties`, `context` or `attrs` object, itself included. */
export const JSON_DEPTH = 8
export const LIST_MOST = 1_000

/** Names that Cedar's JSON form would read as references, and the one that JavaScript would read as a prototype. */
const refusedMembers: ReadonlySet<string> = new Set(['__entity', '__extn', '__expr', '__proto__'])

const controls = /\p{Cc}/u

const identityError = 'must have no control, invisible or surrounding space characters and be in Unicode NFC'
const textError = 'must be well-formed text without control or direction characters'

/** A name of one thing: 1–256 characters. */
export const id = z.string().min(1).max(ID_MOST).refine(isIdentity, { error: identityError })

/** An action's name: 1–128 characters. */
export const actionName = z.string().min(1).max(NAME_MOST).refine(isIdentity, { error: identityError })

/** A name for people: 1–128 characters on one line. */
export const displayName = z
  .string()
  .min(1)
  .max(NAME_MOST)
  .refine((text) => isText(text) && !controls.test(text), { error: textError })

/** Something a person wrote and another will read: up to 2,000 characters. */
export const text = z.string().max(TEXT_MOST).refine(isText, { error: textError })

/** An entity type as Cedar spells it, e.g. `Agent` or `Acme::Agent`: up to 256 characters. */
export const entityType = z
  .string()
  .max(ID_MOST)
  .regex(/^[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*$/, {
    error: 'must be an entity type such as `Agent` or `Acme::Agent`',
  })

function isRef(text: string): boolean {
  const ref = parseRef(text)
  return ref !== undefined && entityType.safeParse(ref.type).success && id.safeParse(ref.id).success
}

/** A reference such as `Agent/migrator`: the type, a slash, the id (which may hold further slashes). */
export const ref = z
  .string()
  .max(2 * ID_MOST + 1)
  .refine(isRef, { error: 'must be a reference such as `Agent/migrator`' })
  .transform((text): EntityRef => parseRef(text) as EntityRef)
  .meta({
    description: 'A reference: entity type, `/`, id; e.g. `Agent/migrator`',
    examples: ['Agent/migrator'],
  })

export const encodeRef = refKey

/** A reference in answers. */
export const refOut = z.string().meta({ description: 'A reference: entity type, `/`, id' })

const instantPattern =
  /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/

const FIRST_INSTANT: Instant = Date.parse('0000-01-01T00:00:00Z')
const LAST_INSTANT: Instant = Date.parse('9999-12-31T23:59:59.999Z')

/** Milliseconds of an RFC 3339 time; `undefined` if it is none, or a day that its month does not have. */
export function parseInstant(text: string): Instant | undefined {
  if (!instantPattern.test(text)) return undefined
  const at = Date.parse(text)
  // Date.parse rolls 30 February over into March
  const day = Number(text.slice(8, 10))
  if (new Date(Date.UTC(Number(text.slice(0, 4)), Number(text.slice(5, 7)) - 1, day)).getUTCDate() !== day)
    return undefined
  // an offset may lead into a year that has no four digits, and that no answer of ours could name
  return at >= FIRST_INSTANT && at <= LAST_INSTANT ? at : undefined
}

/** An RFC 3339 time with an offset. */
export const instant = z
  .string()
  .max(64)
  .refine((text) => parseInstant(text) !== undefined, {
    error: 'must be an RFC 3339 time such as `2026-11-22T14:00:00Z`',
  })
  .transform((text): Instant => parseInstant(text) as Instant)
  .meta({ format: 'date-time' })

export const instantOut = z.string().meta({ format: 'date-time', description: 'RFC 3339, UTC, milliseconds' })
export const encodeInstant: (at: Instant) => string = toRfc3339

/** A duration such as `15m`. */
export const duration = z
  .string()
  .max(12)
  .refine((text) => parseDuration(text) !== undefined, {
    error: 'must be a duration such as `15m` (ms, s, m, h, d; at most 365d)',
  })
  .transform((text): Millis => parseDuration(text) as Millis)
  .meta({
    pattern: '^[1-9][0-9]{0,9}(ms|s|m|h|d)$',
    examples: ['15m'],
    description: 'A duration; at most 365 days',
  })

export const durationOut = z.string().meta({ description: 'A duration such as `15m`' })
export const encodeDuration: (millis: Millis) => string = formatDuration

type Walk = { left: number; readonly most: number }
class OutOfBounds extends Error {}

/** A copy of `value` without prototypes, so that no member is ever found that was not sent (B79). */
function copy(value: unknown, depth: number, walk: Walk): Json {
  if (typeof value === 'string') {
    walk.left -= value.length + 2
    if (walk.left < 0) throw new OutOfBounds(`must be at most ${walk.most} characters of JSON`)
    if (!value.isWellFormed()) throw new OutOfBounds('must hold well-formed Unicode only')
    return value
  }
  walk.left -= 6
  if (walk.left < 0) throw new OutOfBounds(`must be at most ${walk.most} characters of JSON`)
  if (typeof value === 'number') {
    if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) {
      throw new OutOfBounds('must hold no number that a double cannot hold exactly')
    }
    // one zero, so that equal values have one digest
    return value === 0 ? 0 : value
  }
  if (value === null || typeof value === 'boolean') return value
  if (typeof value !== 'object') throw new OutOfBounds('must be JSON')
  if (depth === 0) throw new OutOfBounds(`must be at most ${JSON_DEPTH} levels deep`)
  if (Array.isArray(value)) return value.map((item) => copy(item, depth - 1, walk))
  const members = Object.create(null) as Record<string, Json>
  for (const name of Object.keys(value)) {
    if (refusedMembers.has(name)) throw new OutOfBounds(`must have no member named \`${name}\``)
    walk.left -= name.length + 3
    if (!name.isWellFormed()) throw new OutOfBounds('must hold well-formed Unicode only')
    members[name] = copy((value as Record<string, unknown>)[name], depth - 1, walk)
  }
  return members
}

function bounded(value: unknown, ctx: z.RefinementCtx, most = JSON_MOST): Json {
  try {
    return copy(value, JSON_DEPTH, { left: most, most })
  } catch (error) {
    if (!(error instanceof OutOfBounds)) throw error
    ctx.addIssue({ code: 'custom', message: error.message })
    return z.NEVER
  }
}

const jsonBounds = `at most ${JSON_MOST} characters of JSON, ${JSON_DEPTH} levels`

/** Any JSON object within bounds. */
export const properties = z
  .unknown()
  .transform((value, ctx): Properties => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      ctx.addIssue({ code: 'custom', message: 'must be an object' })
      return z.NEVER
    }
    return bounded(value, ctx) as Properties
  })
  .meta({ type: 'object', additionalProperties: true, description: `A JSON object: ${jsonBounds}` })

/** Any JSON within bounds. */
export const json = z
  .unknown()
  .transform((value, ctx) => bounded(value, ctx))
  .meta({ description: `JSON: ${jsonBounds}` })

/** The same for what may be longer, because the record keeps what is too long for an entry apart, under its digest. */
export const jsonUpTo = (most: number): z.ZodPipe<z.ZodUnknown, z.ZodTransform<Json>> =>
  z
    .unknown()
    .transform((value, ctx) => bounded(value, ctx, most))
    .meta({ description: `JSON: at most ${most} characters, ${JSON_DEPTH} levels` })

/** JSON in answers. */
export const jsonOut = z.custom<Json>(() => true).meta({ description: 'JSON' })

/** Lists are paged with an opaque cursor. */
export const limit = z.coerce.number().int().min(1).max(LIST_MOST)
export const cursor = z.string().min(1).max(512)
/** A log index in a query. */
export const index = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
export const flag = z.enum(['true', 'false']).transform((text) => text === 'true')

export function page<T extends z.ZodType>(
  item: T,
): z.ZodObject<{ items: z.ZodArray<T>; next_cursor: z.ZodExactOptional<z.ZodString> }> {
  return z.object({ items: z.array(item), next_cursor: z.string().exactOptional() })
}

/** `{ [member]: value }`, or nothing when there is no value: absent is not null. */
export function given<M extends string, V>(member: M, value: V | undefined): { [member in M]?: V } {
  return value === undefined ? {} : ({ [member]: value } as { [member in M]: V })
}

/** The first few problems of a value, each a sentence with its path in backticks. */
export function describeIssues(error: z.ZodError): string {
  const lines = error.issues.slice(0, 3).map(describeIssue)
  const more = error.issues.length - lines.length
  return lines.join('; ') + (more > 0 ? `; and ${more} more` : '')
}

/** Names that came from the caller are cut and shown without anything unseen. */
const shown = (name: PropertyKey): string =>
  String(name)
    .slice(0, 64)
    .replaceAll(/[\p{C}`]/gu, '?')

function describeIssue(issue: z.core.$ZodIssue): string {
  const path = issue.path.map(shown).join('.')
  const what = path === '' ? 'the body' : `\`${path}\``
  switch (issue.code) {
    case 'invalid_type':
      return issue.message.endsWith('received undefined')
        ? `${what} is missing`
        : `${what} must be ${article(issue.expected)}`
    case 'too_small':
      return issue.minimum === 1 && issue.origin !== 'number'
        ? `${what} must not be empty`
        : `${what} must be at least ${String(issue.minimum)}`
    case 'too_big':
      return issue.origin === 'number'
        ? `${what} must be at most ${String(issue.maximum)}`
        : `${what} must have at most ${String(issue.maximum)} ${issue.origin === 'string' ? 'characters' : 'items'}`
    case 'unrecognized_keys':
      return `${what} has unknown ${issue.keys
        .slice(0, 3)
        .map((key) => `\`${shown(key)}\``)
        .join(', ')}`
    case 'invalid_value':
      return `${what} must be one of ${issue.values
        .slice(0, 12)
        .map((value) => `\`${String(value)}\``)
        .join(', ')}`
    case 'invalid_union':
    case 'invalid_key':
    case 'invalid_element':
    case 'not_multiple_of':
      return `${what} is invalid`
    case 'invalid_format':
    case 'custom':
      return `${what} ${issue.message.startsWith('must') ? issue.message : 'is invalid'}`
    default:
      return `${what} is invalid`
  }
}

function article(expected: string): string {
  return `${/^[aeiou]/.test(expected) ? 'an' : 'a'} ${expected}`
}
