/**
 * What decisions were made on: entities that are those of the inventory, and policy that, asked again, says the same.
 *
 * @module
 */
import type { Entity } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'
import type { Finding, Proven, ProvenRecord } from './bundle.ts'
import type { Redecide } from './proof.ts'
import type { Judgement } from './rules.ts'
import { attemptOf, mayBePruned } from './rules.ts'
import { rewrite } from './verify.ts'

type CedarEntity = Readonly<{
  uid: Readonly<{ type: string; id: string }>
  attrs: Readonly<Record<string, unknown>>
  parents: readonly Readonly<{ type: string; id: string }>[]
}>

export function judgeInputs(record: ProvenRecord, redecide: Redecide | undefined): Judgement {
  const failures: Finding[] = []
  const notShown: string[] = []
  let again = 0
  const decisions = record.entries.filter(({ kind }) => kind === 'decision')
  for (const proven of decisions) {
    const { entry } = proven
    const { says, inputs, schema, policy } = entry
    const where = `decision ${String(entry['id'])}`
    const bad = (why: string): void => void failures.push({ where, why })
    if (says === undefined && inputs === undefined) continue // denied before policy was asked, or founding
    if (typeof says !== 'string' || typeof inputs !== 'string') {
      bad('does not say what it was made on')
      continue
    }
    const entities = record.bodies.get(inputs)
    if (!isEntities(entities)) {
      const what = 'the entities that it was made on are not here, so it cannot be taken again'
      // what retention took of the inventory leaves nothing to rebuild them from
      if (entities === undefined && mayBePruned(record, -1, proven.seq)) notShown.push(`${where}: ${what}`)
      else bad(what)
      continue
    }
    failures.push(...strangers(record, proven, entities, where, notShown))
    const set = record.policies.find(({ version }) => version === policy)
    const text = typeof schema === 'string' ? record.schemas.get(schema) : undefined
    if (set === undefined || text === undefined) {
      bad('the policy or schema that it ran is not here, so it cannot be taken again')
      continue
    }
    if (redecide === undefined) continue
    const why = redecide(entry, entities, set, text)
    if (why === undefined) again += 1
    else failures.push({ where, why })
  }
  const checked =
    again === 0
      ? []
      : [`${again} decisions, taken again with reference Cedar from what they were given, are the same`]
  return { failures, notShown, checked }
}

/** Entities that the inventory, as the entries before the decision say, does not have like this. */
function strangers(
  record: ProvenRecord,
  { seq, entry }: Proven,
  entities: readonly CedarEntity[],
  where: string,
  notShown: string[],
): Finding[] {
  const failures: Finding[] = []
  const said = new Map<string, { entity: Entity; seq: number }>()
  for (const one of record.entries) {
    if (one.seq >= seq) break
    if (one.kind === 'inventory.deleted') said.delete(String(one.entry['entity']))
    const listed = one.entry['entities']
    if (Array.isArray(listed))
      for (const entity of listed as Entity[]) said.set(refKey(entity), { entity, seq: one.seq })
  }
  const asserted = assertedBy(entry)
  const attempt = attemptOf(entry)
  const parties = new Set(attempt === undefined ? [] : [...attempt.chain, attempt.resource].map(refKey))
  /** What policy was to know of: those who act and what they act on, what these belong to, and whose they are. */
  const wanted = new Set(parties)
  for (const { uid, attrs, parents } of entities) {
    const key = refKey(uid)
    const known = said.get(key)
    const own = asserted.get(key) ?? {}
    if (known === undefined) {
      // a caller may speak of what nobody registered
      if (parents.length === 0 && asserted.has(key)) {
        if (rewrite(attrs) !== rewrite({ sensitivity: 4, ...own }))
          failures.push({ where, why: `\`${key}\` has attributes that nobody gave it` })
      } else if (mayBePruned(record, -1, seq)) {
        notShown.push(`${where}: what the inventory said of \`${key}\` is not here`)
      } else failures.push({ where, why: `no entry says what \`${key}\` is` })
      continue
    }
    const { entity } = known
    for (const parent of entity.parents) wanted.add(refKey(parent))
    if (parties.has(key))
      for (const owner of [entity.owner, entity.team]) if (owner !== undefined) wanted.add(refKey(owner))
    const expected = {
      ...entity.attrs,
      sensitivity: entity.sensitivity,
      ...(entity.owner === undefined ? {} : { owner: bare(entity.owner) }),
      ...(entity.team === undefined ? {} : { team: bare(entity.team) }),
      ...(entity.thirdParty === undefined ? {} : { third_party: entity.thirdParty }),
      ...(entity.environment === undefined ? {} : { environment: entity.environment }),
      ...own,
    }
    if (
      rewrite(attrs) !== rewrite(expected) ||
      rewrite(parents.map(bare)) !== rewrite(entity.parents.map(bare))
    )
      failures.push({ where, why: `\`${key}\` is not as entry ${known.seq} says` })
  }
  for (const { uid } of entities) wanted.delete(refKey(uid))
  for (const key of wanted) {
    const known = said.get(key)
    if (known !== undefined)
      failures.push({ where, why: `was made without \`${key}\`, which entry ${known.seq} tells of` })
  }
  return failures
}

/** Values that the caller was trusted for, by entity; they stand in the attempt. */
function assertedBy(entry: Proven['entry']): ReadonlyMap<string, Readonly<Record<string, unknown>>> {
  const asserted = entry['asserted'] as Readonly<Record<string, readonly string[] | undefined>> | undefined
  const attempt = attemptOf(entry)
  const found = new Map<string, Readonly<Record<string, unknown>>>()
  if (attempt === undefined || asserted === undefined) return found
  for (const side of ['subject', 'resource'] as const) {
    const { properties = {}, ...ref } = attempt[side]
    const names = asserted[side]
    if (names === undefined) continue
    const values = Object.fromEntries(names.map((name) => [name, properties[name]]))
    found.set(refKey(ref), { ...found.get(refKey(ref)), ...values })
  }
  return found
}

const bare = ({ type, id }: Readonly<{ type: string; id: string }>) => ({ type, id })

function isEntities(value: unknown): value is readonly CedarEntity[] {
  return (
    Array.isArray(value) &&
    value.every(
      (one: Partial<CedarEntity> | null) =>
        one?.uid !== undefined && one.attrs !== undefined && Array.isArray(one.parents),
    )
  )
}
