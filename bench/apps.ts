/**
 * P1, second set: three small applications as the Cedar paper describes them (OOPSLA 2024: gdrive, github, tinytodo),
 * written anew: few policies, much hierarchy. Against cedar-wasm with the same entities, which it reads at each call; and
 * with only those that the question touches, which is how one would help it.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { strict as assert } from 'node:assert'
import { compile } from '../src/policy/index.ts'

type Uid = Readonly<{ type: string; id: string }>
type Entity = Readonly<{ uid: Uid; attrs: Readonly<Record<string, unknown>>; parents: readonly Uid[] }>
type Request = Readonly<{
  principal: Uid
  action: Uid
  resource: Uid
  context: Readonly<Record<string, unknown>>
}>
type Application = Readonly<{
  name: string
  policies: string
  entities: readonly Entity[]
  requests: readonly Request[]
}>

/** People, groups and things of each. */
const MANY = 50

const uid = (type: string, id: string | number): Uid => ({ type, id: String(id) })
const ref = (type: string, id: string | number) => ({ __entity: uid(type, id) })
const entity = (of: Uid, attrs: Entity['attrs'] = {}, parents: readonly Uid[] = []): Entity => ({
  uid: of,
  attrs,
  parents,
})
const each = <T>(make: (index: number) => T): T[] => Array.from({ length: MANY }, (_, index) => make(index))

/** Questions that spread over who and what there is, some permitted, some not. */
const spread = (
  actions: readonly string[],
  ask: (index: number) => Readonly<{ principal: Uid; resource: Uid }>,
): Request[] =>
  Array.from({ length: 97 }, (_, index) => ({
    ...ask(index),
    action: uid('Action', actions[index % actions.length] as string),
    context: {},
  }))

/** Documents in folders; what somebody may see hangs on a view of their own, below which documents are put. */
const drive: Application = {
  name: 'gdrive',
  policies: `
permit(principal, action == Action::"read", resource) when { resource in principal.viewed };
permit(principal, action in [Action::"read", Action::"write", Action::"share"], resource) when { resource.owner == principal };
permit(principal, action == Action::"read", resource is Document) when { resource.isPublic };
permit(principal, action == Action::"share", resource) when { resource in principal.shared && !resource.isPrivate };
forbid(principal, action, resource is Document) when { resource.isPrivate && resource.owner != principal };`,
  entities: [
    ...each((n) => entity(uid('User', n), { viewed: ref('View', n), shared: ref('View', n + 1) })),
    ...each((n) => entity(uid('View', n))),
    ...each((n) =>
      entity(uid('Folder', n), {}, n === 0 ? [] : [uid('Folder', Math.floor(n / 2)), uid('View', n)]),
    ),
    ...each((n) =>
      entity(
        uid('Document', n),
        { owner: ref('User', n % 7), isPublic: n % 5 === 0, isPrivate: n % 11 === 0 },
        [uid('Folder', n)],
      ),
    ),
  ],
  requests: spread(['read', 'write', 'share'], (index) => ({
    principal: uid('User', index % 7),
    resource: uid('Document', (index * 3) % MANY),
  })),
}

/** Repositories whose roles are groups, each in the next wider one; teams in teams. */
const ROLES = ['readers', 'triagers', 'writers', 'maintainers', 'admins'] as const
const repositories: Application = {
  name: 'github',
  policies: `
permit(principal, action in [Action::"pull", Action::"fork"], resource) when { principal in resource.readers };
permit(principal, action == Action::"assign", resource) when { principal in resource.triagers };
permit(principal, action == Action::"push", resource) when { principal in resource.writers };
permit(principal, action == Action::"edit", resource) when { principal in resource.maintainers };
permit(principal, action == Action::"delete", resource) when { principal in resource.admins };
permit(principal is User, action == Action::"close", resource is Issue) when { principal == resource.reporter };
permit(principal is User, action == Action::"close", resource is Issue) when { principal in resource.repository.triagers };
forbid(principal, action in [Action::"push", Action::"edit"], resource is Repository) when { resource.isArchived };`,
  entities: [
    ...each((n) =>
      entity(
        uid('Team', n),
        {},
        n === 0 ? [] : [uid('Team', Math.floor(n / 2)), uid('Role', `${n % MANY}:triagers`)],
      ),
    ),
    ...each((n) => entity(uid('User', n), {}, [uid('Team', n), uid('Role', `${n}:writers`)])),
    ...each((n) =>
      ROLES.map((role, at) =>
        entity(uid('Role', `${n}:${role}`), {}, at === 0 ? [] : [uid('Role', `${n}:${ROLES[at - 1] ?? ''}`)]),
      ),
    ).flat(),
    ...each((n) =>
      entity(uid('Repository', n), {
        ...Object.fromEntries(ROLES.map((role) => [role, ref('Role', `${n}:${role}`)])),
        isArchived: n % 9 === 0,
      }),
    ),
    ...each((n) => entity(uid('Issue', n), { reporter: ref('User', n), repository: ref('Repository', n) })),
  ],
  requests: [
    ...spread(['pull', 'assign', 'push', 'edit', 'delete'], (index) => ({
      principal: uid('User', index % MANY),
      resource: uid('Repository', index % 3 === 0 ? 7 : index % MANY),
    })),
    ...spread(['close'], (index) => ({
      principal: uid('User', index % 8),
      resource: uid('Issue', index % 9),
    })),
  ],
}

/** Lists with an owner, readers and editors; temps may do less. */
const lists: Application = {
  name: 'tinytodo',
  policies: `
permit(principal, action in [Action::"create", Action::"list"], resource == Application::"todo");
permit(principal, action, resource is List) when { resource.owner == principal };
permit(principal, action == Action::"read", resource is List) when { principal in resource.readers || principal in resource.editors };
permit(principal, action in [Action::"update", Action::"add"], resource is List) when { principal in resource.editors };
forbid(principal in Team::"temps", action == Action::"create", resource == Application::"todo");
forbid(principal, action == Action::"remove", resource is List) unless { principal.rank >= 3 };`,
  entities: [
    entity(uid('Application', 'todo')),
    entity(uid('Team', 'temps')),
    ...each((n) => entity(uid('Team', n), {}, n === 0 ? [] : [uid('Team', Math.floor(n / 3))])),
    ...each((n) =>
      entity(uid('User', n), { rank: n % 5 }, [
        uid('Team', n),
        ...(n % 6 === 0 ? [uid('Team', 'temps')] : []),
      ]),
    ),
    ...each((n) =>
      entity(uid('List', n), {
        owner: ref('User', n),
        readers: ref('Team', n % 4),
        editors: ref('Team', n % 10),
      }),
    ),
  ],
  requests: spread(['create', 'read', 'update', 'remove'], (index) => ({
    principal: uid('User', index % 12),
    resource: index % 4 === 0 ? uid('Application', 'todo') : uid('List', index % 12),
  })),
}

export type Contest = Readonly<{ name: string; ours: () => void; whole: () => void; helped: () => void }>

/** The three, each with the answers of the reference, which every call is held against. */
export function contests(): Contest[] {
  return [drive, repositories, lists].map(({ name, policies, entities, requests }) => {
    const staticPolicies = Object.fromEntries(
      policies
        .trim()
        .split('\n')
        .map((text, index) => [`p${index}`, text]),
    )
    assert.equal(cedar.preparsePolicySet(name, { staticPolicies }).type, 'success')
    const byReference = (request: Request, given: readonly Entity[]): boolean => {
      const answer = cedar.statefulIsAuthorized({
        ...request,
        entities: given,
        preparsedPolicySetId: name,
      } as cedar.StatefulAuthorizationCall)
      return answer.type === 'success' && answer.response.decision === 'allow'
    }
    const asked = requests.map((request) => ({
      request,
      touched: touchedBy(request, entities),
      allowed: byReference(request, entities),
    }))
    for (const wanted of [true, false]) assert.ok(asked.some(({ allowed }) => allowed === wanted))
    const set = compile({ policies: staticPolicies })
    const store = set.prepareEntities(entities)
    const inTurn = (isAllowed: (one: (typeof asked)[number]) => boolean) => {
      let turn = 0
      return () => {
        const one = asked[turn++ % asked.length] as (typeof asked)[number]
        if (isAllowed(one) !== one.allowed) throw new Error(`a wrong answer in ${name}`)
      }
    }
    return {
      name,
      ours: inTurn(({ request }) => set.decide(request, store).decision === 'allow'),
      whole: inTurn(({ request }) => byReference(request, entities)),
      helped: inTurn(({ request, touched }) => byReference(request, touched)),
    }
  })
}

/** Principal, resource, and whatever those name or are in. */
function touchedBy({ principal, resource }: Request, entities: readonly Entity[]): Entity[] {
  const all = new Map(entities.map((one) => [JSON.stringify(one.uid), one]))
  const found = new Map<string, Entity>()
  const open: Uid[] = [principal, resource]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const key = JSON.stringify(next)
    const one = all.get(key)
    if (one === undefined || found.has(key)) continue
    found.set(key, one)
    open.push(...one.parents)
    for (const value of Object.values(one.attrs)) {
      if (typeof value === 'object' && value !== null && '__entity' in value) open.push(value.__entity as Uid)
    }
  }
  return [...found.values()]
}
