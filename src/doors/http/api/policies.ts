/**
 * Policy sets are published, never edited in place.
 *
 * @module
 */
import * as z from 'zod'
import { WritError } from '../../../model/errors.ts'
import type { PolicyVersion } from '../../../model/access.ts'
import {
  encodePolicyVersion,
  encodeReplayReport,
  policyReplay,
  policySource,
  policyVersion,
  replayReport,
} from '../../../wire/v1/index.ts'
import type { Answer, Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { CONFLICT, NOT_FOUND, failed } from './shared.ts'

const byVersion = z.strictObject({ version: z.string().min(1).max(128) })

function found(version: PolicyVersion | undefined): Answer {
  if (version === undefined) {
    throw new WritError('ERR_NOT_FOUND', 'no such policy version', {
      hint: 'publish one with `writ policy publish`',
    })
  }
  return ok(encodePolicyVersion(version))
}

export function policyRoutes({ flows }: Door): Route[] {
  const tag = 'Policies'
  const one = { 200: { description: 'The version', schema: policyVersion }, 404: NOT_FOUND } as const
  return [
    route({
      method: 'POST',
      path: '/v1/policies',
      tag,
      summary: 'Publish a policy set; with two people who may, the second must agree',
      who: 'caller',
      audit: { event: 'policy.published' },
      consumes: 'json',
      large: true,
      heavy: true,
      body: policySource,
      responses: {
        201: { description: 'Published, or proposed until a second person agrees', schema: policyVersion },
        403: failed('Not allowed'),
        422: failed('It does not validate; the old set stays'),
      },
      handle: async ({ caller, body }) => ({
        status: 201,
        body: encodePolicyVersion(await flows.publish(caller, body)),
      }),
    }),
    route({
      method: 'POST',
      path: '/v1/policies/replay',
      tag,
      summary: 'What a draft set would have said to recorded decisions; nothing is decided or recorded',
      who: 'caller',
      audit: READS,
      consumes: 'json',
      large: true,
      heavy: true,
      body: policyReplay,
      responses: {
        200: { description: 'What flips', schema: replayReport },
        403: failed('Not allowed'),
        422: failed('The draft does not validate'),
      },
      handle: async ({ caller, body: { policies, schema, ...span } }) => {
        const source = { policies, ...(schema === undefined ? {} : { schema }) }
        return ok(encodeReplayReport(await flows.replayPolicies(caller, { source, ...span })))
      },
    }),
    route({
      method: 'GET',
      path: '/v1/policies/current',
      tag,
      summary: 'The set in force',
      who: 'caller',
      audit: READS,
      responses: one,
      handle: async ({ caller }) => found(await flows.policy(caller)),
    }),
    route({
      method: 'GET',
      path: '/v1/policies/:version',
      tag,
      summary: 'Any version that was ever proposed',
      who: 'caller',
      audit: READS,
      params: byVersion,
      responses: one,
      handle: async ({ caller, params }) => found(await flows.policy(caller, params.version)),
    }),
    route({
      method: 'POST',
      path: '/v1/policies/:version/agree',
      tag,
      summary: 'Agree to a proposed set as the second person',
      who: 'person',
      audit: { event: 'policy.published' },
      consumes: 'json',
      params: byVersion,
      body: z.strictObject({}).optional(),
      responses: {
        200: { description: 'The version', schema: policyVersion },
        404: NOT_FOUND,
        409: CONFLICT,
      },
      handle: async ({ caller, params }) =>
        ok(encodePolicyVersion(await flows.agree(caller, params.version))),
    }),
  ]
}
