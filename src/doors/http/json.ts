/**
 * Reading JSON bodies: bounded before they are parsed, and without two readings of one text (B56, B76, B78, B79).
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import { WritError } from '../../model/errors.ts'
import { readJson } from '../../model/json.ts'

function invalid(message: string): WritError {
  return new WritError('ERR_INPUT_INVALID', message, { hint: 'send one JSON value in UTF-8' })
}

/**
 * The value of a body.
 *
 * @throws {WritError} `ERR_INPUT_INVALID` for what is no JSON in UTF-8, names a member twice or names `__proto__`;
 *   `ERR_TOO_LARGE` for more than `depth` levels of objects and arrays.
 */
export function parseJson(body: Buffer, depth: number): unknown {
  if (!isUtf8(body)) throw invalid('the body is not UTF-8')
  const read = readJson(body.toString('utf8'), depth)
  switch (read.problem) {
    case undefined:
      return read.value
    case 'deep':
      throw new WritError('ERR_TOO_LARGE', `the body is more than ${depth} levels deep`, {
        hint: 'nest less',
      })
    case 'twice':
      throw invalid('the body names a member twice')
    case 'proto':
      throw invalid('the body has a member named `__proto__`')
    case 'json':
      throw invalid('the body is not JSON')
  }
}

/**
 * The fields of a form body, without a prototype.
 *
 * @throws {WritError} `ERR_INPUT_INVALID` for a field that is there twice.
 */
export function parseForm(body: Buffer): Readonly<Record<string, string>> {
  if (!isUtf8(body)) throw invalid('the body is not UTF-8')
  const fields = Object.create(null) as Record<string, string>
  for (const [name, value] of new URLSearchParams(body.toString('utf8'))) {
    if (name in fields) throw invalid('the form names a field twice')
    fields[name] = value
  }
  return fields
}

/** The fields of a form body in the order they were sent, each as often as it is there. */
export function parseFields(body: Buffer): readonly (readonly [string, string])[] {
  if (!isUtf8(body)) throw invalid('the body is not UTF-8')
  return [...new URLSearchParams(body.toString('utf8'))]
}
