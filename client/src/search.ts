/**
 * AuthZEN search: who may, on what, and which action. What is found is what an evaluation would permit at that moment;
 * it authorises nothing.
 *
 * @module
 */
import { WritClientError } from './error.ts'
import type { Action, Properties, Ref, Resource, Subject } from './types.ts'

/** All of a type: `Agent`, or with properties that the caller may assert of each. */
export type OfType = string | Readonly<{ type: string; properties?: Properties }>

type Common = Readonly<{
  context?: Properties | undefined
  /** `next` of the page before. */
  token?: string | undefined
  /** Most results of one page. */
  limit?: number | undefined
  signal?: AbortSignal | undefined
}>

export type SubjectSearch = Common &
  Readonly<{ subject: OfType; action: string | Action; resource: string | Resource }>
/** `subject` is whom the token speaks for, by default. */
export type ResourceSearch = Common &
  Readonly<{ subject?: string | Subject; action: string | Action; resource: OfType }>
export type ActionSearch = Common & Readonly<{ subject?: string | Subject; resource: string | Resource }>

/** One page. It may be short or empty although there is a `next`. */
export type SearchPage<T> = Readonly<{ results: readonly T[]; next?: string }>

export const ofType = (of: OfType): Readonly<{ type: string; properties?: Properties }> =>
  typeof of === 'string' ? { type: of } : of

/** The body of a search over the wire. */
export function toSearch(
  parts: Readonly<{ subject: object; action?: string | Action; resource: object }>,
  { context, token, limit }: Common,
): object {
  const { action, ...rest } = parts
  const page = {
    ...(token === undefined ? {} : { token }),
    ...(limit === undefined ? {} : { limit }),
  }
  return {
    ...rest,
    ...(action === undefined ? {} : { action: typeof action === 'string' ? { name: action } : action }),
    ...(context === undefined ? {} : { context }),
    ...(Object.keys(page).length === 0 ? {} : { page }),
  }
}

/** One page out of an answer. What cannot be read throws, so that nobody takes half a list for a whole one. */
export function readPage<T>(body: unknown, read: (result: Members) => T | undefined): SearchPage<T> {
  const { results, page } = isMembers(body) ? body : {}
  if (!Array.isArray(results)) throw unreadable()
  const found = (results as readonly unknown[]).map((result) => {
    const one = isMembers(result) ? read(result) : undefined
    if (one === undefined) throw unreadable()
    return one
  })
  if (page === undefined) return { results: found }
  const next = isMembers(page) ? page['next_token'] : undefined
  if (next !== undefined && typeof next !== 'string') throw unreadable()
  return next === undefined || next === '' ? { results: found } : { results: found, next }
}

export const readEntity = ({ type, id }: Members): Ref | undefined =>
  typeof type === 'string' && typeof id === 'string' ? { type, id } : undefined

export const readAction = ({ name }: Members): string | undefined =>
  typeof name === 'string' ? name : undefined

type Members = Readonly<Record<string, unknown>>

const isMembers = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const unreadable = (): WritClientError =>
  new WritClientError('ERR_PROTOCOL', 'the answer holds no results of a search')
