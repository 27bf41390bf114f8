/**
 * AuthZEN Authorization API 1.0: evaluation, evaluations, search, metadata.
 *
 * @module
 */
import { setImmediate } from 'node:timers/promises'
import type { Caller } from '../../../model/access.ts'
import type { Decision } from '../../../model/outcome.ts'
import { WritError, isWritError } from '../../../model/errors.ts'
import type { Millis } from '../../../model/time.ts'
import { withoutNegotiation } from '../../../wire/authzen/obligations/draft1.ts'
import {
  actionSearch,
  actionSearchResponse,
  encodeActions,
  encodeEntities,
  entitySearchResponse,
  resourceSearch,
  subjectSearch,
} from '../../../wire/authzen/search.ts'
import type { DecodedEvaluation } from '../../../wire/authzen/tuple.ts'
import type { EvaluationResponse, Semantic } from '../../../wire/authzen/v1_0.ts'
import {
  encodeEvaluation,
  encodeEvaluationItem,
  encodeMetadata,
  evaluationRequest,
  evaluationResponse,
  evaluationsRequest,
  evaluationsResponse,
  metadata,
  parseEvaluations,
} from '../../../wire/authzen/v1_0.ts'
import * as z from 'zod'
import { given } from '../../../wire/bounds.ts'
import { statusOf } from '../../../wire/problem.ts'
import { publicError } from '../problems.ts'
import type { Found, SearchInput } from '../../../flows/searching.ts'
import type { Context, Door, Route } from '../route.ts'
import { ok, route } from '../route.ts'
import { requestsEndpoint } from './shared.ts'

type Batch = Readonly<{
  door: Door
  caller: Caller
  idempotencyKey: string | undefined
  endpoint: string
  requestId: string
}>

/** Items of a batch that are decided together, and how long it works before it lets others: one decision is not held up. */
const AT_ONCE = 64
const SLICE: Millis = 4

/** Resolves when whatever was begun has gone as far as it goes by itself. */
const analysed = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve))

const DENIED: EvaluationResponse = { decision: false }

/** One item; whatever keeps it from being decided denies it and no other. */
async function decideItem(
  batch: Batch,
  item: DecodedEvaluation | undefined,
  index: number,
): Promise<EvaluationResponse> {
  if (item === undefined) return DENIED
  const { door, caller, idempotencyKey: key } = batch
  let decision: Decision
  try {
    decision = await door.flows.evaluate(
      caller,
      withoutNegotiation(item),
      key === undefined ? {} : { idempotencyKey: `${key}#${index}` },
    )
  } catch (error) {
    const { code, message } = publicError(error)
    if (!isWritError(error)) {
      door.log({
        level: 'error',
        message: 'evaluation failed',
        request: batch.requestId,
        error: stackOf(error),
      })
    }
    return { decision: false, context: { error: { status: statusOf[code], message } } }
  }
  return encodeEvaluationItem(decision, batch.endpoint)
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.name) : typeof error
}

/** Items in order; with a short circuit the answer ends just after the one that decided. */
async function decideBatch(
  batch: Batch,
  items: readonly (DecodedEvaluation | undefined)[],
  semantic: Semantic,
): Promise<EvaluationResponse[]> {
  if (semantic === 'execute_all') {
    const answers: EvaluationResponse[] = []
    for (let from = 0; from < items.length; from += AT_ONCE) {
      const some: Promise<EvaluationResponse>[] = []
      let since = performance.now()
      for (const [at, item] of items.slice(from, from + AT_ONCE).entries()) {
        some.push(decideItem(batch, item, from + at))
        // its analysis waits for nobody else, and would go on beside those of all others in one turn
        await analysed()
        if (performance.now() - since < SLICE) continue
        await setImmediate()
        since = performance.now()
      }
      answers.push(...(await Promise.all(some)))
    }
    return answers
  }
  const last = semantic === 'permit_on_first_permit'
  const answers: EvaluationResponse[] = []
  for (const [index, item] of items.entries()) {
    const answer = await decideItem(batch, item, index)
    answers.push(answer)
    if (answer.decision === last) break
  }
  return answers
}

const RESPONSES = {
  400: { description: 'The request cannot be read: an error message', type: 'text/plain' },
  401: { description: 'Nobody we know: an error message', type: 'text/plain' },
  500: { description: 'No answer could be given: an error message', type: 'text/plain' },
} as const

export function authzenRoutes(door: Door): Route[] {
  const tag = 'AuthZEN'
  return [
    route({
      method: 'GET',
      path: '/.well-known/authzen-configuration',
      tag,
      summary: 'Where this decision point answers, and what it can',
      who: 'public',
      audit: { none: 'constant' },
      responses: { 200: { description: 'Metadata', schema: metadata } },
      handle: async ({ origin }) => {
        const members = encodeMetadata(origin)
        return ok({ ...members, signed_metadata: door.flows.signMetadata(origin, members) })
      },
    }),
    route({
      method: 'POST',
      path: '/access/v1/evaluation',
      tag,
      summary: 'Decide one attempt; a permit is committed before it is answered',
      who: 'caller',
      audit: { event: 'decision' },
      errors: 'authzen',
      consumes: 'json',
      idempotent: true,
      body: evaluationRequest,
      responses: {
        200: { description: 'The decision; a denial is no error', schema: evaluationResponse },
        ...RESPONSES,
      },
      handle: async ({ caller, body, idempotencyKey, origin }) =>
        ok(
          encodeEvaluation(
            await door.flows.evaluate(
              caller,
              withoutNegotiation(body),
              idempotencyKey === undefined ? NOTHING : { idempotencyKey },
            ),
            requestsEndpoint(origin),
          ),
        ),
    }),
    route({
      method: 'POST',
      path: '/access/v1/evaluations',
      tag,
      summary: 'Decide several attempts, in order',
      who: 'caller',
      audit: { event: 'decision' },
      errors: 'authzen',
      consumes: 'json',
      idempotent: true,
      heavy: true,
      // read by `parseEvaluations`, because items fail one by one
      body: z.unknown().meta({ schema: evaluationsRequest }),
      responses: { 200: { description: 'One answer per item', schema: evaluationsResponse }, ...RESPONSES },
      handle: async ({ caller, body, idempotencyKey, origin, request, charge }) => {
        const parsed = parseEvaluations(body)
        const endpoint = requestsEndpoint(origin)
        if (parsed.kind === 'invalid') throw new WritError('ERR_INPUT_INVALID', parsed.message)
        if (parsed.kind === 'single') {
          const options = idempotencyKey === undefined ? NOTHING : { idempotencyKey }
          const decision = await door.flows.evaluate(caller, withoutNegotiation(parsed.item), options)
          return ok(encodeEvaluationItem(decision, endpoint))
        }
        charge(parsed.items.length - 1)
        const batch = { door, caller, idempotencyKey, endpoint, requestId: request.id }
        return ok({ evaluations: await decideBatch(batch, parsed.items, parsed.semantic) })
      },
    }),
    route({
      ...SEARCH,
      path: '/access/v1/search/subject',
      summary: 'Which subjects of a type may do this, as far as the caller speaks for them',
      body: subjectSearch,
      responses: { 200: { description: 'A page of subjects', schema: entitySearchResponse }, ...RESPONSES },
      handle: async (context) => {
        const { page, ...input } = context.body
        const found = await find(door, context, { what: 'subject', ...input }, page)
        const results = found.ids.map((id) => ({ type: input.subject.type, id }))
        return ok(encodeEntities({ results, next: found.next }, page !== undefined))
      },
    }),
    route({
      ...SEARCH,
      path: '/access/v1/search/resource',
      summary: 'On which resources of a type the subject may do this',
      body: resourceSearch,
      responses: { 200: { description: 'A page of resources', schema: entitySearchResponse }, ...RESPONSES },
      handle: async (context) => {
        const { page, ...input } = context.body
        const found = await find(door, context, { what: 'resource', ...input }, page)
        const results = found.ids.map((id) => ({ type: input.resource.type, id }))
        return ok(encodeEntities({ results, next: found.next }, page !== undefined))
      },
    }),
    route({
      ...SEARCH,
      path: '/access/v1/search/action',
      summary: 'What the subject may do on the resource, tried without action properties',
      body: actionSearch,
      responses: { 200: { description: 'A page of actions', schema: actionSearchResponse }, ...RESPONSES },
      handle: async (context) => {
        const { page, ...input } = context.body
        const found = await find(door, context, { what: 'action', ...input }, page)
        return ok(encodeActions({ results: found.ids, next: found.next }, page !== undefined))
      },
    }),
  ]
}

/** What the three searches have in common. */
const SEARCH = {
  method: 'POST',
  tag: 'AuthZEN',
  who: 'caller',
  audit: { none: 'questions leave no entry' },
  errors: 'authzen',
  consumes: 'json',
  heavy: true,
} as const

/** One page of a search by the caller of `context`. */
function find(
  { flows }: Door,
  { caller, charge }: Pick<Context<Caller, unknown, unknown, unknown>, 'caller' | 'charge'>,
  input: SearchInput,
  { token, limit }: Readonly<{ token?: string; limit?: number }> = {},
): Promise<Found> {
  return flows.searchAccess(caller, withoutNegotiation(input), {
    ...given('token', token),
    ...given('limit', limit),
    charge,
  })
}

const NOTHING = {}
