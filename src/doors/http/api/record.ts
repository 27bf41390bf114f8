/**
 * The record: decisions, their explanation, the log.
 *
 * @module
 */
import * as z from 'zod'
import { WritError } from '../../../model/errors.ts'
import { actionName, given, index, instant, limit, ref } from '../../../wire/bounds.ts'
import {
  authority,
  authorityQuery,
  decisionEntry,
  decisionPage,
  encodeAuthority,
  encodeLogEntry,
  explanation,
  logEntries,
  logHead,
  logPage,
} from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { NOT_FOUND, byId, failed, pageOf } from './shared.ts'

/** Entries in one answer if the caller does not say. */
const ENTRIES = 100
const ENTRIES_MOST = 1_000
/** Longest term: a type, a slash and an id. */
const TERM_MOST = 513

export function recordRoutes({ flows, now }: Door): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/authority',
      heavy: true,
      tag: 'Decisions',
      summary: 'What a subject could do at an instant, and why, from the log alone',
      who: 'caller',
      audit: READS,
      query: authorityQuery,
      responses: { 200: { description: 'The answer', schema: authority }, 403: failed('Not allowed') },
      handle: async ({ caller, query }) =>
        ok(encodeAuthority(await flows.authority(caller, query.subject, query.at ?? now()))),
    }),
    route({
      method: 'GET',
      path: '/v1/decisions',
      heavy: true,
      tag: 'Decisions',
      summary: 'Recorded decisions, newest first',
      who: 'caller',
      audit: READS,
      query: z.strictObject({
        ref: z.string().min(1).max(513).exactOptional(),
        before: index.exactOptional(),
        limit: limit.exactOptional(),
      }),
      responses: { 200: { description: 'A page; `next_cursor` is the next `before`', schema: decisionPage } },
      handle: async ({ caller, query }) => ok(pageOf(await flows.decisions(caller, query), (entry) => entry)),
    }),
    route({
      method: 'GET',
      path: '/v1/decisions/:id',
      tag: 'Decisions',
      summary: 'One recorded decision',
      who: 'caller',
      audit: READS,
      params: byId,
      responses: { 200: { description: 'Its entry', schema: decisionEntry }, 404: NOT_FOUND },
      handle: async ({ caller, params }) => ok(await flows.decision(caller, params.id)),
    }),
    route({
      method: 'GET',
      path: '/v1/decisions/:id/explanation',
      tag: 'Decisions',
      summary: 'Why: which rules decided, and what was missing; for operators',
      who: 'caller',
      audit: READS,
      params: byId,
      responses: {
        200: { description: 'The explanation', schema: explanation },
        403: failed('Not allowed'),
        404: NOT_FOUND,
      },
      handle: async ({ caller, params }) => ok(await flows.explain(caller, params.id)),
    }),
    route({
      method: 'GET',
      path: '/v1/log/head',
      tag: 'Log',
      summary: 'Size and RFC 6962 root of the log',
      who: 'caller',
      audit: READS,
      responses: { 200: { description: 'The head', schema: logHead } },
      handle: async () => ok(await flows.head()),
    }),
    route({
      method: 'GET',
      path: '/v1/log/search',
      heavy: true,
      tag: 'Log',
      summary: 'Entries by what they name, newest first',
      who: 'caller',
      audit: READS,
      query: z.strictObject({
        term: z.string().min(1).max(TERM_MOST).exactOptional(),
        kind: z.string().min(1).max(128).exactOptional(),
        subject: ref.exactOptional(),
        resource: ref.exactOptional(),
        action: actionName.exactOptional(),
        outcome: z.string().min(1).max(128).exactOptional(),
        since: instant.exactOptional(),
        until: instant.exactOptional(),
        before: index.exactOptional(),
        limit: limit.exactOptional(),
      }),
      responses: {
        200: {
          description:
            'A page; `next_cursor` is the next `before`. A page may be short, or empty, although there is one',
          schema: logPage,
        },
        403: failed('Not allowed'),
      },
      handle: async ({ caller, query }) => ok(pageOf(await flows.search(caller, query), encodeLogEntry)),
    }),
    route({
      method: 'GET',
      path: '/v1/log/entries',
      heavy: true,
      tag: 'Log',
      summary: 'Entries with the bytes that were hashed',
      who: 'caller',
      audit: READS,
      query: z.strictObject({ from: index.exactOptional(), to: index.exactOptional() }),
      responses: { 200: { description: 'Entries', schema: logEntries }, 403: failed('Not allowed') },
      handle: async ({ caller, query }) => {
        const from = query.from ?? 0
        const to = query.to ?? from + ENTRIES
        if (to < from) throw new WritError('ERR_INPUT_INVALID', '`to` is before `from`')
        if (to - from > ENTRIES_MOST) {
          throw new WritError('ERR_TOO_LARGE', `at most ${ENTRIES_MOST} entries at once`, {
            hint: 'ask in pages',
          })
        }
        const entries = await flows.entries(caller, from, to)
        const last = entries.at(-1)
        const { size } = await flows.head()
        const next = last !== undefined && last.seq + 1 < size ? last.seq + 1 : undefined
        return ok({ items: entries.map(encodeLogEntry), ...given('next', next) })
      },
    }),
  ]
}
