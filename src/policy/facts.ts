/**
 * The facts that policies may read under `context.live`: one table, to which sources of facts add theirs.
 *
 * @module
 */

import { claimNames } from '../model/issuer.ts'
import { historyNames } from '../model/task.ts'

/** A type in Cedar's JSON schema form. */
export type SchemaType = Readonly<{
  type: string
  name?: string
  element?: SchemaType
  attributes?: Readonly<Record<string, SchemaType & Readonly<{ required?: boolean }>>>
}>

/**
 * `pulled` facts come from a source that is asked over the network: policies on narrowing actions may not read them,
 * so that no outage can stop a revocation.
 */
export type FactDefinition = Readonly<{
  type: SchemaType
  optional: boolean
  pulled: boolean
  /** True where a requester may learn that this fact denied; risk, compromise and incidents are for operators alone. */
  disclosed: boolean
  sentence: string
}>

const long: SchemaType = { type: 'Long' }
const string: SchemaType = { type: 'String' }
const datetime: SchemaType = { type: '__cedar::datetime' }
const maybe = (type: SchemaType) => ({ ...type, required: false })

export const facts: Readonly<Record<string, FactDefinition>> = {
  now: {
    type: datetime,
    optional: false,
    pulled: false,
    disclosed: true,
    sentence: 'the time of the attempt',
  },
  caller: {
    type: string,
    optional: false,
    pulled: false,
    disclosed: true,
    sentence: 'who asks on behalf of the subject: the key, issuer or session of the enforcement point',
  },
  chain: {
    type: { type: 'Set', element: string },
    optional: false,
    pulled: false,
    disclosed: true,
    sentence: 'the acting party and everyone it acts for, each as `Type/id`',
  },
  workload: {
    type: {
      type: 'Record',
      attributes: {
        issuer: string,
        ...Object.fromEntries(claimNames.map((name) => [name, maybe(string)])),
        age: maybe(long),
        claims: maybe({ type: 'Set', element: string }),
      },
    },
    optional: true,
    pulled: false,
    disclosed: true,
    sentence:
      'what the issuer of its token proved of whoever asks for itself: `issuer` is the configured name, `age` the seconds since it was issued, other claims of the configuration are `name=value` in `claims`',
  },
  task: {
    type: {
      type: 'Record',
      attributes: {
        id: string,
        purpose: string,
        state: string,
        reason: maybe(string),
        ticket: maybe(string),
        declaredAt: datetime,
        openedAt: maybe(datetime),
        window: maybe({
          type: 'Record',
          attributes: { startsAt: datetime, endsAt: datetime, calendar: maybe(string) },
        }),
        parent: maybe(string),
      },
    },
    optional: true,
    pulled: false,
    disclosed: true,
    sentence: 'the task that the attempt names',
  },
  history: {
    type: { type: 'Record', attributes: Object.fromEntries(historyNames.map((name) => [name, long])) },
    optional: true,
    pulled: false,
    disclosed: true,
    sentence:
      'what happened under the task so far: permits, denials, attempts on what had been denied, distinct resources and types of them, permits of the last minute',
  },
  posture: {
    type: {
      type: 'Record',
      attributes: {
        compliant: { type: 'Boolean' },
        status: string,
        device: maybe(string),
        managed: maybe({ type: 'Boolean' }),
        os: maybe(string),
        observedAt: datetime,
      },
    },
    optional: true,
    pulled: false,
    disclosed: true,
    sentence:
      'the posture of the device of the principal, or of the workload itself, as it was reported last: of the device that its session names, else of the worst one',
  },
  session: {
    type: {
      type: 'Record',
      attributes: {
        authenticatedAt: datetime,
        age: long,
        acr: maybe(string),
        amr: { type: 'Set', element: string },
        device: maybe(string),
        compromised: { type: 'Boolean' },
        addressChanged: { type: 'Boolean' },
      },
    },
    optional: true,
    pulled: false,
    disclosed: false,
    sentence:
      'the session of the person who asks: `age` in seconds since they signed in; without a session there is none, and that is known',
  },
  risk: {
    type: {
      type: 'Record',
      attributes: {
        level: maybe(long),
        score: long,
        contributions: { type: 'Set', element: string },
        observedAt: datetime,
      },
    },
    optional: true,
    pulled: false,
    disclosed: false,
    sentence:
      'how risky the principal is just now: `level` 1 low, 2 medium, 3 high, only where it is reported; `score` adds what `contributions` lists, that of others and what Writ sees itself',
  },
  ticket: {
    type: {
      type: 'Record',
      attributes: {
        id: string,
        status: string,
        open: { type: 'Boolean' },
        approved: { type: 'Boolean' },
        type: maybe(string),
        priority: maybe(string),
        assignee: maybe(string),
        startsAt: maybe(datetime),
        endsAt: maybe(datetime),
        resources: { type: 'Set', element: string },
        observedAt: datetime,
      },
    },
    optional: true,
    pulled: true,
    disclosed: true,
    sentence: 'the ticket that the task names, as its system says it is now',
  },
  incident: {
    type: {
      type: 'Record',
      attributes: {
        id: string,
        open: { type: 'Boolean' },
        severity: maybe(string),
        services: { type: 'Set', element: string },
        observedAt: datetime,
      },
    },
    optional: true,
    pulled: true,
    disclosed: false,
    sentence: 'the incident that the ticket of the task names',
  },
  calendars: {
    type: { type: 'Set', element: string },
    // entries from before there were any must be decided again as they were
    optional: true,
    pulled: true,
    disclosed: true,
    sentence:
      'names of the configured calendars that have an event just now: change windows, freezes, on-call',
  },
}
