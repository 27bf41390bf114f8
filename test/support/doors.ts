/**
 * A door to knock at: the real HTTP server on a free port over flows that are told what to answer. Only for what the
 * door itself does; whatever the flows decide is tested with the real ones.
 *
 * @module
 */
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { HttpConfig } from '../../src/doors/http/server.ts'
import { createHttp } from '../../src/doors/http/server.ts'
import type { AttemptInput, Flows } from '../../src/flows/port.ts'
import type { Callers } from '../../src/identity/callers.ts'
import type { Caller } from '../../src/model/access.ts'
import type { Json } from '../../src/model/canonical.ts'
import { WritError } from '../../src/model/errors.ts'
import type { Decision } from '../../src/model/outcome.ts'
import type { AccessRequest } from '../../src/model/request.ts'
import type { Instant } from '../../src/model/time.ts'

export const NOW: Instant = Date.UTC(2026, 10, 22, 14, 0, 0)

export const pep: Caller = {
  id: 'key:key_1',
  kind: 'key',
  subject: { type: 'Workload', id: 'pep' },
  generation: 1,
  pep: { subjects: ['Agent'], attributes: {} },
}
export const ada: Caller = {
  id: 'session:s1',
  kind: 'session',
  subject: { type: 'Person', id: 'ada' },
  generation: 1,
}

/** `writ_key_test` is the enforcement point, `writ_sess_test` is Ada; everybody else is nobody. */
export const fakeCallers: Callers = {
  authenticate: async ({ authorization, session }) => {
    if (authorization === 'Bearer writ_key_test') return pep
    if (authorization === 'Bearer writ_sess_test') return ada
    if (authorization === undefined && session === 'writ_sess_test') return ada
    throw new WritError('ERR_UNAUTHENTICATED', 'credentials are missing, unknown or no longer valid')
  },
}

/** Flows that answer what `given` says; anything else is a mistake of the test. */
export function fakeFlows(given: Partial<Flows>): Flows {
  return new Proxy(given, {
    get(target, name) {
      const known: unknown = Reflect.get(target, name)
      if (known !== undefined || typeof name === 'symbol') return known
      return () => {
        throw new TypeError(`the test did not expect \`${name}\``)
      }
    },
  }) as Flows
}

/** A decision on `input`, a plain permit unless `over` says otherwise. */
export function decisionOn(input: AttemptInput, over: Partial<Decision> = {}): Decision {
  return {
    id: 'dec_1',
    outcome: 'permit',
    reason: 'standing',
    at: NOW,
    attempt: {
      subject: input.subject,
      action: input.action,
      resource: input.resource,
      context: input.context ?? {},
      chain: [{ type: input.subject.type, id: input.subject.id }],
    },
    attemptDigest: `sha256:${'0'.repeat(64)}`,
    policy: 'p1',
    determining: [],
    obligations: { binding: 'task', notify: [] },
    alternatives: [],
    truncated: false,
    nextAction: 'none',
    operator: { errors: [], dropped: [], unknown: [], forbidden: false, facts: {} },
    ...over,
  }
}

export function requestLike(over: Partial<AccessRequest> = {}): AccessRequest {
  const subject = { type: 'Agent', id: 'migrator' }
  return {
    id: 'req_1',
    status: 'pending',
    attempt: {
      subject,
      action: { name: 'db:migrate' },
      resource: { type: 'Database', id: 'orders' },
      context: {},
      chain: [subject],
      task: 'task_1',
    },
    decision: 'dec_1',
    policy: 'p1',
    statement: { kind: 'attempt', subject: { ...subject }, uses: 1, ttl_ms: 900_000 },
    digest: `sha256:${'a'.repeat(64)}`,
    attemptDigest: `sha256:${'b'.repeat(64)}`,
    binding: 'attempt',
    alternatives: [
      { requirements: [{ kind: 'approval', pool: 'dba', count: 1 }], binding: 'attempt', ttl: 900_000 },
    ],
    caller: pep.id,
    requester: subject,
    roots: [],
    unresolved: false,
    justification: 'INC-42: add the index',
    ttl: 900_000,
    task: 'task_1',
    requestedAt: NOW - 60_000,
    expiresAt: NOW + 291_000,
    approvals: [],
    merged: 0,
    ...over,
  }
}

export type Knock = Readonly<{
  url: string
  server: FastifyInstance
  lines: ({ message: string } & Record<string, Json>)[]
  clock: { at: Instant }
  fetch(path: string, init?: RequestInit): Promise<Response>
  /** POST of JSON by the enforcement point. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>
  [Symbol.asyncDispose](): Promise<void>
}>

/** A listening server over `flows`; leaving the scope closes it. */
export async function knock(
  flows: Partial<Flows>,
  options: { config?: Partial<HttpConfig>; callers?: Callers; monotonic?: () => number } = {},
): Promise<Knock> {
  const lines: Knock['lines'] = []
  const clock = { at: NOW }
  const server = createHttp({
    // every metadata document asks for it
    flows: fakeFlows({
      signMetadata: () => 'signed',
      facts: { under: async () => ({ postures: [], isThirdParty: false }) } as unknown as Flows['facts'],
      ...flows,
    }),
    callers: options.callers ?? fakeCallers,
    config: { host: '127.0.0.1', limits: { body: 262_144, depth: 32, rate: 100_000 }, ...options.config },
    clock: {
      now: () => clock.at,
      ...(options.monotonic === undefined ? {} : { monotonic: options.monotonic }),
    },
    random: (bytes) => new Uint8Array(bytes).fill(7),
    log: (line) => void lines.push(line),
    version: '0.0.0-test',
  })
  await server.listen({ host: '127.0.0.1', port: 0 })
  const { port } = server.server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  const go: Knock['fetch'] = (path, init) => fetch(`${url}${path}`, { redirect: 'manual', ...init })
  return {
    url,
    server,
    lines,
    clock,
    fetch: go,
    post: (path, body, headers = {}) =>
      go(path, {
        method: 'POST',
        headers: { authorization: 'Bearer writ_key_test', 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    [Symbol.asyncDispose]: () => server.close(),
  }
}
