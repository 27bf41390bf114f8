/**
 * Cedar's JSON for values, entities and requests, read into values as the reference reads it without a schema. What it
 * refuses is refused; so are numbers beyond 2^53, which are no longer the numbers that were written: a `bigint` is.
 *
 * @module
 */
import { WritError } from '../../model/errors.ts'
import { callExtension } from './extensions.ts'
import type { Value } from './values.ts'
import { CedarRecord, CedarSet, EntityRef, isFailure, toLong } from './values.ts'

/** Deepest nesting of a value; the reference stops near it. */
export const MOST_DEEP = 120

export function refuse(message: string, hint?: string): WritError {
  return new WritError('ERR_INPUT_INVALID', message, hint === undefined ? {} : { hint })
}

const RESERVED = new Set(['true', 'false', 'if', 'then', 'else', 'in', 'is', 'like', 'has', '__cedar'])
const NAME = /^[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*$/
const PLAIN = /^(?!_|true$|false$|if$|then$|else$|in$|is$|like$|has$)[A-Za-z_][A-Za-z0-9_]*$/

/** Whether `type` can be the name of an entity type. */
export function isTypeName(type: string): boolean {
  if (PLAIN.test(type)) return true
  return NAME.test(type) && !type.split('::').some((part) => RESERVED.has(part))
}

/** `{ type, id }`, also inside `__entity`. */
export function readUid(json: unknown): EntityRef {
  const outer = members(json, 'an entity reference')
  const inner = Object.hasOwn(outer, '__entity') ? members(outer['__entity'], 'an entity reference') : outer
  const { type, id } = inner
  if (typeof type !== 'string' || typeof id !== 'string') {
    throw refuse('an entity reference lacks `type` or `id`', 'write `{ "type": "User", "id": "ada" }`')
  }
  return entity(type, id)
}

function entity(type: string, id: string): EntityRef {
  if (!isTypeName(type)) throw refuse(`\`${type.slice(0, 100)}\` is not an entity type`)
  if (!id.isWellFormed()) throw refuse('an id is not well-formed text', 'send UTF-8')
  return new EntityRef(type, id)
}

/** The context of a request: a record, and no escape. */
export function readContext(json: unknown): CedarRecord {
  if (readEscape(json, 'the context', 0) !== undefined) throw refuse('the context must be a record')
  return readRecord(json, 'the context')
}

/** A context, or the attributes of an entity; without nested escapes it is the record of its members. */
export function readRecord(json: unknown, what: string, depth = 0): CedarRecord {
  const source = members(json, what)
  const fields = new Map<string, Value>()
  for (const name of Object.keys(source)) {
    const value = source[name]
    if (value === undefined) continue
    if (!name.isWellFormed()) throw notText(what)
    fields.set(name, readValue(value, what, depth + 1))
  }
  return new CedarRecord(fields)
}

const notText = (what: string): WritError =>
  refuse(`${what} holds text that is not well-formed`, 'send UTF-8')

export function readValue(json: unknown, what: string, depth = 0): Value {
  switch (typeof json) {
    case 'boolean':
      return json
    case 'string':
      if (!json.isWellFormed()) throw notText(what)
      return json
    case 'number':
      if (Number.isSafeInteger(json)) return json + 0
      throw Number.isInteger(json)
        ? refuse(
            `${what} holds the number ${json}, which is not exact`,
            'give integers beyond 2^53 as `bigint`',
          )
        : refuse(`${what} holds ${json}, and Cedar knows integers alone`, 'use a `decimal`')
    case 'bigint': {
      const value = toLong(json)
      if (value === undefined) throw refuse(`${what} holds an integer of more than 64 bits`)
      return value
    }
    default:
      break
  }
  if (depth > MOST_DEEP) throw refuse(`${what} is nested too deeply`, `at most ${MOST_DEEP} levels are read`)
  if (json === null) throw refuse(`${what} holds \`null\`, which Cedar has no value for`, 'leave it out')
  if (Array.isArray(json)) return new CedarSet(json.map((item) => readValue(item, what, depth + 1)))
  return readEscape(json, what, depth) ?? readRecord(json, what, depth)
}

/** An escape is the only member of its object, and has the shape of one; anything else is a record. */
function readEscape(json: unknown, what: string, depth: number): Value | undefined {
  if (typeof json !== 'object' || json === null) return undefined
  let only: string | undefined
  for (const key of Object.keys(json)) {
    if ((json as Readonly<Record<string, unknown>>)[key] === undefined) continue
    if (only !== undefined || !key.startsWith('__')) return undefined
    only = key
  }
  const inner = only === undefined ? undefined : (json as Readonly<Record<string, unknown>>)[only]
  switch (only) {
    case '__expr':
      if (typeof inner !== 'string') return undefined
      throw refuse(
        `${what} holds an \`__expr\` escape, which is no longer read`,
        'use `__entity` or `__extn`',
      )
    case '__entity': {
      if (!isObject(inner)) return undefined
      const { type, id } = inner
      return typeof type === 'string' && typeof id === 'string' ? entity(type, id) : undefined
    }
    case '__extn':
      return isObject(inner) ? readExtension(inner, what, depth) : undefined
    default:
      return undefined
  }
}

function readExtension(
  inner: Readonly<Record<string, unknown>>,
  what: string,
  depth: number,
): Value | undefined {
  const { fn, arg, args } = inner
  if (typeof fn !== 'string') return undefined
  // as serde tries the shapes: one argument first
  const given = arg !== undefined ? [arg] : args
  if (!Array.isArray(given)) return undefined
  const result = callExtension(
    fn,
    given.map((one) => readValue(one, what, depth + 1)),
  )
  if (isFailure(result)) throw refuse(`${what}: ${result.message}`)
  return result
}

function isObject(json: unknown): json is Readonly<Record<string, unknown>> {
  return typeof json === 'object' && json !== null && !Array.isArray(json)
}

/** Plain objects alone: what has a prototype or a `toJSON` of its own is something else on the way to the reference. */
export function members(json: unknown, what: string): Readonly<Record<string, unknown>> {
  if (!isObject(json)) throw refuse(`${what} must be an object`)
  const prototype: unknown = Object.getPrototypeOf(json)
  if (prototype !== null && prototype !== Object.prototype) throw refuse(`${what} must be a plain object`)
  return json
}
