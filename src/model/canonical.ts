/**
 * Canonical JSON (RFC 8785) for everything that is hashed: statements, attempts, entries.
 *
 * @module
 */
import canonicalize from 'canonicalize'

export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [member: string]: Json | undefined }

/**
 * The RFC 8785 form of `value`; members that are `undefined` are left out.
 *
 * @throws {TypeError} for what JSON cannot hold (NaN, infinities, `undefined` alone).
 */
export function canonical(value: Json): string {
  const ordered = inOrder(value, 0)
  // the engine's own writing is canonical once members are in order, and three times as fast
  const text = ordered === UNSURE ? canonicalize(value) : JSON.stringify(ordered)
  if (text === undefined) throw new TypeError('value has no JSON form')
  return text
}

const UNSURE = Symbol('unsure')
const MOST_DEEP = 64

/** A copy whose members are in order; `UNSURE` where the engine might order or write it otherwise, or not at all. */
function inOrder(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return value.isWellFormed() ? value : UNSURE
  if (typeof value === 'number') return Number.isFinite(value) ? value : UNSURE
  if (typeof value === 'boolean' || value === null) return value
  if (typeof value !== 'object' || depth > MOST_DEEP || 'toJSON' in value) return UNSURE
  if (Array.isArray(value)) {
    const copy: unknown[] = []
    for (let i = 0; i < value.length; i += 1) {
      const item = inOrder(value[i], depth + 1)
      if (item === UNSURE) return UNSURE
      copy.push(item)
    }
    return copy
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return UNSURE
  const copy: Record<string, unknown> = {}
  for (const name of Object.keys(value).sort()) {
    // indexes come first whatever the order, and one name is no member
    if (!name.isWellFormed() || (name >= '0' && name < ':') || name === '__proto__') return UNSURE
    const member = (value as Record<string, unknown>)[name]
    if (member === undefined) continue
    const item = inOrder(member, depth + 1)
    if (item === UNSURE) return UNSURE
    copy[name] = item
  }
  return copy
}

/**
 * Whether two values are the same: type by type, numbers and text by their RFC 8785 form, arrays in order, objects
 * member by member. Absent is not null.
 */
export function sameJson(a: Json, b: Json): boolean {
  return canonical(a) === canonical(b)
}
