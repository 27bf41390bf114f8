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
  const text = canonicalize(value)
  if (text === undefined) throw new TypeError('value has no JSON form')
  return text
}

/**
 * Whether two values are the same: type by type, numbers and text by their RFC 8785 form, arrays in order, objects
 * member by member. Absent is not null.
 */
export function sameJson(a: Json, b: Json): boolean {
  return canonical(a) === canonical(b)
}
