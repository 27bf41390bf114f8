/**
 * The human roots of law 4: the people behind what is asked for, none of whom may approve it.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import type { EntityRef } from '../model/entity.ts'
import { refKey, sameRef } from '../model/entity.ts'
import type { AccountRef } from '../model/identity.ts'
import type { Task } from '../model/task.ts'
import type { Picture } from '../store/picture.ts'
import { isAccount, isPerson, personOf } from './accounts.ts'
import { MAX_DEPTH, registered } from './inventory.ts'

/** The people behind something by `refKey`. `unresolved` when somebody behind it cannot be named: no approval counts. */
export type Roots = Readonly<{ roots: readonly string[]; unresolved: boolean }>

/**
 * Who stands behind a subject: the human itself (`human`), or its personal owners found along owner after owner; `team`
 * lists the members of owning teams. `resolved` is false when neither exists. A person with an owner is another name of
 * that person, and both are listed.
 */
export type Behind = Readonly<{
  human: boolean
  owners: readonly string[]
  team: readonly string[]
  resolved: boolean
}>

/** Loads and resolves who stands behind `ref`. Owner cycles end by themselves and resolve to nothing. */
export async function whoIsBehind(picture: Picture, ref: EntityRef): Promise<Behind> {
  const owners = new Set<string>()
  const team = new Set<string>()
  const visited = new Set<string>()
  let human = false
  let current: EntityRef | undefined = ref
  for (let depth = 0; current !== undefined && depth <= MAX_DEPTH; depth += 1) {
    const id = refKey(current)
    if (visited.has(id)) break
    visited.add(id)
    await picture.load([{ kind: 'entity', id }])
    const entity = registered(picture, current)
    if (entity === undefined) break
    if (entity.kind === 'human') {
      owners.add(id)
      if (depth === 0) human = true
    } else if (owners.size > 0) break
    else {
      if (entity.team !== undefined)
        for (const member of await humansIn(picture, entity.team)) team.add(member)
      if (entity.kind === 'group') {
        for (const member of await humansIn(picture, current)) team.add(member)
        break
      }
    }
    current = entity.owner
  }
  return { human, owners: [...owners], team: [...team], resolved: owners.size > 0 || team.size > 0 }
}

/** Humans who are members of `group`, directly or through groups in it. */
async function humansIn(picture: Picture, group: EntityRef): Promise<readonly string[]> {
  const humans = new Set<string>()
  const visited = new Set<string>()
  let next = [refKey(group)]
  for (let depth = 0; next.length > 0 && depth <= MAX_DEPTH; depth += 1) {
    next.forEach((id) => visited.add(id))
    await picture.load(next.map((value) => ({ index: 'entity.parent' as const, value })))
    const members = next.flatMap((value) =>
      picture.scan('entity.parent', value).map((stored) => stored.value),
    )
    for (const member of members) if (member.kind === 'human') humans.add(refKey(member))
    next = members
      .filter((m) => m.kind === 'group')
      .map(refKey)
      .filter((id) => !visited.has(id))
  }
  return [...humans]
}

/**
 * A person under all the names that lead to them: `people` are those of its owners, `root` the last of them, under which
 * it is counted. Whoever has two names is one.
 */
export async function personBehind(
  picture: Picture,
  person: EntityRef,
): Promise<Readonly<{ root: string; people: readonly string[] }>> {
  const own = refKey(person)
  const { owners } = await whoIsBehind(picture, person)
  return { root: owners.at(-1) ?? own, people: [...new Set([own, ...owners])] }
}

/**
 * The human roots of a request: its human instigators, those that accounts are linked to, and the personal owners of the
 * others; team members only where no instigator is a verified human.
 */
export async function humanRoots(
  picture: Picture,
  instigators: readonly EntityRef[],
  accounts: readonly AccountRef[] = [],
): Promise<Roots> {
  const linked = await Promise.all(accounts.map((account) => personOf(picture, account)))
  const parties = [...instigators, ...linked.filter((person) => person !== undefined)]
  const behind: Behind[] = []
  const seen = new Set<string>()
  for (const ref of parties) {
    if (seen.has(refKey(ref))) continue
    seen.add(refKey(ref))
    behind.push(await whoIsBehind(picture, ref))
  }
  const verified = behind.some((b) => b.human)
  const roots = new Set(behind.flatMap((b) => [...b.owners, ...(verified ? [] : b.team)]))
  const unresolved = roots.size === 0 || linked.includes(undefined) || behind.some((b) => !b.resolved)
  return { roots: [...roots], unresolved }
}

/**
 * Who is behind an attempt: the chain, whoever declared its tasks, the caller, and whoever set these going. A PEP that
 * carries another's request is no instigator; whoever set the PEP going is one.
 */
export async function rootsBehind(
  picture: Picture,
  caller: Caller,
  { subject, chain }: Pick<Attempt, 'subject' | 'chain'>,
  tasks: readonly Pick<Task, 'declaredBy' | 'instigators' | 'triggers'>[],
): Promise<Roots> {
  const carried = caller.kind !== 'session' && !sameRef(caller.subject, subject)
  const declarers = tasks.map((task) => task.declaredBy)
  const triggers = [...(caller.instigators ?? []), ...tasks.flatMap((task) => task.triggers ?? [])]
  const known = await humanRoots(
    picture,
    [
      ...chain,
      ...declarers.filter((declarer) => !(carried && sameRef(declarer, caller.subject))),
      ...(carried ? [] : [caller.subject]),
      ...triggers.filter(isPerson),
    ],
    triggers.filter(isAccount),
  )
  const roots = new Set([...known.roots, ...tasks.flatMap((task) => task.instigators)])
  return { roots: [...roots], unresolved: known.unresolved }
}
