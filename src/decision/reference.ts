/**
 * Decisions taken again as a proof holds them: with reference Cedar, policy by policy, each party of the chain by itself,
 * and law 6 over the answers.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import type { Attempt } from '../model/attempt.ts'
import { refKey } from '../model/entity.ts'
import type { EntityData, Evaluation, PolicySource, Reference } from '../policy/index.ts'
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
      return sentence(error)
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
      const answers: Evaluation[] = []
      const evaluate: Reference['evaluate'] = (query) => {
        const answer = set.evaluate(query)
        answers.push(answer)
        return answer
      }
      const other = difference(recordedOf(entry), redecide(entry, entities, { evaluate }))
      return other ?? (entry['outcome'] === 'permit' ? laxer(entry, entities, answers) : undefined)
    } catch (error) {
      return `cannot be taken again: ${sentence(error)}`
    }
  }
}

type Members = Readonly<Record<string, Json>>

/** What a permit was to carry, by the annotations of the policies that gave it, and does not: the strictest win. */
function laxer(
  entry: Members,
  entities: readonly EntityData[],
  answers: readonly Evaluation[],
): string | undefined {
  const said = (entry['obligations'] ?? {}) as Members
  const all = answers.map(({ obligations }) => obligations)
  const least = (name: 'ttl' | 'uses' | 'review'): number | undefined => {
    const given = all.flatMap((one) => one[name] ?? [])
    return given.length === 0 ? undefined : Math.min(...given)
  }
  const names = (list: unknown): string =>
    (Array.isArray(list) ? [...new Set(list as string[])].sort() : []).join(' ')
  const { task, resource } = entry['attempt'] as unknown as Attempt
  const known = entities.find(({ uid }) => refKey(uid) === refKey(resource))
  const declared = all.filter(({ bindingDeclared }) => bindingDeclared)
  const isSensitive = Number(known?.attrs['sensitivity'] ?? 4) >= 3
  const isBound =
    task === undefined ||
    (declared.length === 0 ? isSensitive : declared.some(({ binding }) => binding === 'attempt'))
  const expected: readonly (readonly [string, unknown, unknown])[] = [
    ['ttl', said['ttl'], least('ttl')],
    ['uses', said['uses'], least('uses')],
    ['review', said['review'], least('review')],
    ['notify', names(said['notify']), names(all.flatMap(({ notify }) => notify))],
    ['binding', said['binding'], isBound ? 'attempt' : 'task'],
  ]
  const wrong = expected.find(([, recorded, again]) => recorded !== again)
  return wrong && `its \`${wrong[0]}\` was ${text(wrong[1])}, policy says ${text(wrong[2])}`
}

const text = (value: unknown): string => (value === undefined ? 'none' : JSON.stringify(value))

const sentence = (error: unknown): string => (error instanceof Error ? error.message : 'no reason')
