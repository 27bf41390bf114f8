/**
 * Decisions taken again as a proof holds them: with reference Cedar, policy by policy, each party of the chain by itself,
 * and law 6 over the answers.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import type { EntityData, PolicySource, Reference } from '../policy/index.ts'
import { referenceSet } from '../policy/index.ts'
import { hex, sha256 } from '../store/hash.ts'
import { difference, entitiesDigest, recordedOf, redecide, wasEvaluated } from './redecide.ts'

type Policy = Readonly<{
  version: string
  files: PolicySource['policies']
  schema?: Readonly<{ name: string; text: string }>
}>

/** A function that says why a recorded decision, taken again, is another; it says nothing when it is the same. */
export function referee(): (
  entry: Readonly<Record<string, unknown>>,
  entities: readonly unknown[],
  policy: Policy,
  schema: string,
) => string | undefined {
  const sets = new Map<string, Reference | string>()
  const load = ({ version, files, schema: own }: Policy, schema: string): Reference | string => {
    const source = { policies: files, ...(own === undefined ? {} : { schema: own }) }
    try {
      return referenceSet(source, schema, version, (text) => hex(sha256(text)))
    } catch (error) {
      return `its policy set does not load: ${sentence(error)}`
    }
  }
  return (recorded, given, policy, schema) => {
    const entry = recorded as Readonly<Record<string, Json>>
    const entities = given as readonly EntityData[]
    const key = `${policy.version}\n${schema}`
    const set = sets.get(key) ?? load(policy, schema)
    sets.set(key, set)
    if (typeof set === 'string') return set
    try {
      if (!wasEvaluated(entry)) return undefined
      if (entitiesDigest(entities) !== entry['inputs']) return 'it was made on other entities'
      return difference(recordedOf(entry), redecide(entry, entities, set))
    } catch (error) {
      return `cannot be taken again: ${sentence(error)}`
    }
  }
}

const sentence = (error: unknown): string => (error instanceof Error ? error.message : 'no reason')
