/**
 * Facts of others: reported by whoever manages devices, sessions or risk, and shown to who runs Writ.
 *
 * @module
 */
import * as z from 'zod'
import { given, id } from '../../../wire/bounds.ts'
import {
  contextOut,
  contextQuery,
  decodeFacts,
  encodeFact,
  factList,
  factsInput,
} from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { failed } from './shared.ts'

export function factRoutes({ flows, now }: Door): Route[] {
  const tag = 'Context'
  return [
    route({
      method: 'POST',
      path: '/v1/facts',
      tag,
      summary: 'Say what was observed: posture, risk, a session, a ticket, an incident',
      who: 'caller',
      audit: { event: 'fact.observed' },
      consumes: 'json',
      body: factsInput,
      responses: {
        202: { description: 'Recorded; what depends on it is being looked at again' },
        403: failed('Not trusted to say so'),
      },
      handle: async ({ caller, body }) => {
        await flows.facts.report(caller, decodeFacts(body, now()))
        return { status: 202 }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/facts',
      tag,
      summary: 'What is known about something, with its age and source',
      who: 'caller',
      audit: READS,
      query: z.strictObject({ about: id }),
      responses: { 200: { description: 'All of it', schema: factList }, 403: failed('Not allowed') },
      handle: async ({ caller, query }) => {
        const found = await flows.facts.about(caller, query.about)
        return ok({ items: found.map((fact) => encodeFact(fact, now())) })
      },
    }),
    route({
      method: 'GET',
      path: '/v1/context',
      tag,
      summary: 'What a decision would see just now, with ages and sources',
      who: 'caller',
      audit: READS,
      query: contextQuery,
      responses: {
        200: { description: 'What it would see', schema: contextOut },
        403: failed('Not allowed'),
      },
      handle: async ({ caller, query }) => {
        const { subject, ...rest } = query
        const seen = await flows.facts.seen(caller, { subject, ...rest })
        return ok({
          at: new Date(seen.at).toISOString(),
          live: seen.live,
          unknown: [...seen.unknown],
          ...given('read', seen.read === undefined ? undefined : [...seen.read]),
          facts: seen.facts.map((fact) => encodeFact(fact, seen.at)),
          ...given('resource', seen.resource),
        })
      },
    }),
  ]
}
