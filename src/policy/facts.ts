/**
 * The facts that policies may read under `context.live`: one table, to which sources of facts add theirs.
 *
 * @module
 */

import { claimNames } from '../model/issuer.ts'

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
  sentence: string
}>

const long: SchemaType = { type: 'Long' }
const string: SchemaType = { type: 'String' }
const datetime: SchemaType = { type: '__cedar::datetime' }
const maybe = (type: SchemaType) => ({ ...type, required: false })

export const facts: Readonly<Record<string, FactDefinition>> = {
  now: { type: datetime, optional: false, pulled: false, sentence: 'the time of the attempt' },
  caller: {
    type: string,
    optional: false,
    pulled: false,
    sentence: 'who asks on behalf of the subject: the key, issuer or session of the enforcement point',
  },
  chain: {
    type: { type: 'Set', element: string },
    optional: false,
    pulled: false,
    sentence: 'the acting party and everyone it acts for, each as `Type/id`',
  },
  workload: {
    type: {
      type: 'Record',
      attributes: {
        issuer: string,
        ...Object.fromEntries(claimNames.map((name) => [name, maybe(string)])),
        claims: maybe({ type: 'Set', element: string }),
      },
    },
    optional: true,
    pulled: false,
    sentence:
      'what the issuer of its token proved of whoever asks for itself: `issuer` is the configured name, other claims of the configuration are `name=value` in `claims`',
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
        parent: maybe(string),
      },
    },
    optional: true,
    pulled: false,
    sentence: 'the task that the attempt names',
  },
  history: {
    type: { type: 'Record', attributes: { calls: long, denials: long, resources: long } },
    optional: true,
    pulled: false,
    sentence: 'what happened under the task so far: permits, denials, distinct resources',
  },
}
