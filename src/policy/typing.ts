/**
 * Natural JSON into Cedar values, driven by the schema. What the declared type cannot hold is unknown, never absent.
 *
 * @module
 */
import type { CedarValueJson } from '@cedar-policy/cedar-wasm/nodejs'
import type { Json } from '../model/canonical.ts'
import { WritError } from '../model/errors.ts'
import { callExtension } from './engine/extensions.ts'
import { isTypeName } from './engine/json.ts'
import type { Compound } from './engine/values.ts'
import { CedarRecord, CedarSet, EntityRef, FAILURE } from './engine/values.ts'
import type { EntityType, Extension, Field, Type } from './schema.ts'
import { unquote } from './scan.ts'
import type { EntityUid } from './types.ts'

/** What typing found on the way; paths as lists of names. */
export type Findings = Readonly<{ unknown: (readonly string[])[]; dropped: string[] }>

/** The value cannot be held by its type. */
export const UNKNOWN: unique symbol = Symbol('unknown')

type Types = ReadonlyMap<string, EntityType>

type Primitive = boolean | number | string

/** What typed values are made of: those of the engine, or Cedar's JSON. */
export type Maker<T> = Readonly<{
  entity(uid: EntityUid): T
  /** `UNKNOWN` for text that is none of the type. */
  extension(name: Extension, text: string): T | typeof UNKNOWN
  set(items: readonly (T | Primitive)[]): T
  record(fields: ReadonlyMap<string, T | Primitive>): T
}>

type Made = Exclude<CedarValueJson, Primitive>

const inJson: Maker<Made> = {
  entity: ({ type, id }) => ({ __entity: { type, id } }),
  extension: (name, text) =>
    isExtension(name, text) ? { __extn: { fn: constructors[name], arg: text } } : UNKNOWN,
  set: (items) => [...items],
  record: (fields) => Object.fromEntries(fields),
}

export const inEngine: Maker<Compound> = {
  entity: ({ type, id }) => new EntityRef(type, id),
  extension(name, text) {
    const result = callExtension(constructors[name], [text])
    return typeof result === 'object' && result.kind !== FAILURE ? result : UNKNOWN
  },
  set: (items) => new CedarSet(items),
  record: (fields) => new CedarRecord(fields),
}

/**
 * The fields of a record as Cedar values. Undeclared members are dropped and noted; a member that its type cannot hold,
 * and a required one that is missing, is left out and noted as unknown.
 */
export function fieldsIn<T>(
  make: Maker<T>,
  value: Readonly<Record<string, Json | undefined>>,
  fields: ReadonlyMap<string, Field>,
  types: Types,
  path: readonly string[],
  found: Findings,
): Map<string, T | Primitive> {
  const result = new Map<string, T | Primitive>()
  for (const [name, field] of fields) {
    const member = Object.hasOwn(value, name) ? value[name] : undefined
    if (member === undefined) {
      if (field.required) found.unknown.push([...path, name])
      continue
    }
    const typed = valueIn(make, member, field.type, types, path, name, found)
    if (typed === UNKNOWN) found.unknown.push([...path, name])
    else result.set(name, typed)
  }
  for (const name of Object.keys(value)) {
    if (!fields.has(name) && value[name] !== undefined) found.dropped.push([...path, name].join('.'))
  }
  return result
}

/** One value; recursion is bounded by the depth of the type, which the schema fixes. */
export function valueIn<T>(
  make: Maker<T>,
  value: Json,
  type: Type,
  types: Types,
  path: readonly string[],
  name: string,
  found: Findings,
): T | Primitive | typeof UNKNOWN {
  switch (type.kind) {
    case 'bool':
      return typeof value === 'boolean' ? value : UNKNOWN
    case 'long':
      // Beyond 2^53 a number has already lost digits before anyone here could see it.
      return typeof value === 'number' && Number.isSafeInteger(value) ? value + 0 : UNKNOWN
    case 'string':
      return typeof value === 'string' && value.isWellFormed() ? value : UNKNOWN
    case 'extension':
      return typeof value === 'string' ? make.extension(type.name, value) : UNKNOWN
    case 'entity': {
      const uid = entityValue(value)
      if (uid === undefined || uid.type !== type.name || !isName(uid)) return UNKNOWN
      const ids = types.get(type.name)?.ids
      return ids === undefined || ids.has(uid.id) ? make.entity(uid) : UNKNOWN
    }
    case 'set': {
      if (!Array.isArray(value)) return UNKNOWN
      const items: (T | Primitive)[] = []
      for (const item of value as readonly Json[]) {
        // A set with one unknown member is unknown: neither containing nor lacking anything can be told.
        const inner: Findings = { unknown: [], dropped: found.dropped }
        const typed = valueIn(make, item, type.element, types, path, name, inner)
        if (typed === UNKNOWN || inner.unknown.length > 0) return UNKNOWN
        items.push(typed)
      }
      return make.set(items)
    }
    case 'record':
      return typeof value === 'object' && value !== null && !Array.isArray(value)
        ? make.record(
            fieldsIn(
              make,
              value as Readonly<Record<string, Json>>,
              type.fields,
              types,
              [...path, name],
              found,
            ),
          )
        : UNKNOWN
  }
}

/** `fieldsIn` as Cedar's JSON. */
export function typeFields(
  value: Readonly<Record<string, Json | undefined>>,
  fields: ReadonlyMap<string, Field>,
  types: Types,
  path: readonly string[],
  found: Findings,
): Record<string, CedarValueJson> {
  return Object.fromEntries(fieldsIn(inJson, value, fields, types, path, found))
}

/** `valueIn` as Cedar's JSON. */
export function typeValue(
  value: Json,
  type: Type,
  types: Types,
  found: Findings,
): CedarValueJson | typeof UNKNOWN {
  return valueIn(inJson, value, type, types, [], '', found)
}

const constructors: Readonly<Record<Extension, string>> = {
  decimal: 'decimal',
  ipaddr: 'ip',
  datetime: 'datetime',
  duration: 'duration',
}

/** `Person::"ada"` or `{ type, id }`. */
export function entityValue(value: Json): EntityUid | undefined {
  if (typeof value === 'string') {
    const match = /^([A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*)::("(?:[^"\\]|\\[^])*")$/.exec(value)
    const id = match === null ? undefined : unquote(match[2] as string)
    return id === undefined ? undefined : { type: (match as RegExpExecArray)[1] as string, id }
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const { type, id, ...rest } = value as Readonly<Record<string, Json>>
  return typeof type === 'string' && typeof id === 'string' && Object.keys(rest).length === 0
    ? { type, id }
    : undefined
}

/** Text that has one UTF-8 form: a lone surrogate would reach Cedar as another name. */
export function isName(uid: EntityUid): boolean {
  return uid.id.isWellFormed() && isTypeName(uid.type) && !uid.type.includes('__proto__')
}

export function isExtension(name: Extension, text: string): boolean {
  switch (name) {
    case 'decimal':
      return isDecimal(text)
    case 'ipaddr':
      return isIpaddr(text)
    case 'datetime':
      return isDatetime(text)
    case 'duration':
      return isDuration(text)
  }
}

const INT64_MAX = 2n ** 63n - 1n
const inInt64 = (value: bigint): boolean => value >= -INT64_MAX - 1n && value <= INT64_MAX

function isDecimal(text: string): boolean {
  const match = /^(-?)(\d{1,19})\.(\d{1,4})$/.exec(text)
  if (match === null) return false
  const scaled = BigInt((match[2] as string) + (match[3] as string).padEnd(4, '0'))
  return inInt64(match[1] === '-' ? -scaled : scaled)
}

function isIpaddr(text: string): boolean {
  if (text.length > 43) return false
  const [address, prefix, ...more] = text.split('/')
  if (address === undefined || more.length > 0) return false
  const six = address.includes(':')
  if (prefix !== undefined) {
    if (!/^(0|[1-9]\d{0,2})$/.test(prefix) || Number(prefix) > (six ? 128 : 32)) return false
  }
  return six ? isIpv6(address) : isIpv4(address)
}

function isIpv4(text: string): boolean {
  const parts = text.split('.')
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)
}

function isIpv6(text: string): boolean {
  const halves = text.split('::')
  if (halves.length > 2) return false
  const groups = halves.map((half) => (half === '' ? [] : half.split(':')))
  if (!groups.flat().every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group))) return false
  const count = groups.flat().length
  return halves.length === 2 ? count <= 7 : count === 8
}

function isDatetime(text: string): boolean {
  const match =
    /^(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):(\d{2}):(\d{2})(?:\.\d{3})?(?:Z|[+-](\d{2})(\d{2})))?$/.exec(text)
  if (match === null) return false
  const [year, month, day, hour = 0, minute = 0, second = 0, offsetHour = 0, offsetMinute = 0] = match
    .slice(1)
    .map((part) => (part === undefined ? undefined : Number(part))) as [number, number, number, ...number[]]
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
  return (
    days !== undefined &&
    day >= 1 &&
    day <= days &&
    hour <= 23 &&
    minute <= 59 &&
    second <= 59 &&
    offsetHour <= 23 &&
    offsetMinute <= 59
  )
}

function isDuration(text: string): boolean {
  const match = /^(-?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?$/.exec(text)
  if (match === null || !/\d/.test(text) || text.length > 100) return false
  const units = [86_400_000n, 3_600_000n, 60_000n, 1_000n, 1n]
  const sign = match[1] === '-' ? -1n : 1n
  let total = 0n
  for (const [index, unit] of units.entries()) {
    const part = sign * BigInt(match[index + 2] ?? '0') * unit
    total += part
    if (!inInt64(part) || !inInt64(total)) return false
  }
  return true
}

const referenceKeys = new Set(['__entity', '__extn', '__expr', '__proto__'])

/**
 * Refuses members that Cedar's JSON form would read as references, at any depth.
 *
 * @throws {WritError} `ERR_INPUT_INVALID` naming the key.
 */
export function refuseReferences(value: Json): void {
  const open: Json[] = [value]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (typeof next !== 'object' || next === null) continue
    if (Array.isArray(next)) {
      for (const item of next as readonly Json[])
        if (typeof item === 'object' && item !== null) open.push(item)
      continue
    }
    for (const key of Object.keys(next)) {
      if (referenceKeys.has(key)) {
        throw new WritError('ERR_INPUT_INVALID', `\`${key}\` is not allowed as a key`, {
          hint: 'write entities as `Type::"id"` and extension values as plain strings',
        })
      }
      const member = (next as Readonly<Record<string, Json | undefined>>)[key]
      if (typeof member === 'object' && member !== null) open.push(member)
    }
  }
}
