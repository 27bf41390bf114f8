/**
 * Cases with a schema: entities and contexts of its types, in every form that JSON allows, and now and then of other types.
 *
 * @module
 */
import type { Case } from './cases.ts'
import { Choices } from './cases.ts'

const SCHEMA = `
type Rec = { n: Long, o?: NS::Net };
namespace NS { type Net = ipaddr; entity Thing in [NS::Kind] { net: Net }; entity Kind; action act appliesTo { principal: [Thing], resource: [Thing] }; }
entity Group in [Team]; entity Team;
entity User in [Group] { n: Long, s?: String, yes?: Bool, owner?: User, set?: Set<User>, rec?: Rec, ip?: ipaddr, dec?: decimal,
  dt?: datetime, dur?: duration, nested?: { a: { b: ipaddr } }, opt?: NS::Thing, color?: Color, ips?: Set<ipaddr> } tags Long;
entity Doc; entity Color enum ["red", "green"];
action all; action edit in [all]; action view in [edit] appliesTo { principal: [User], resource: [Doc, Color],
  context: { n: Long, ip?: ipaddr, u?: User, color?: Color, ips?: Set<ipaddr>, rec?: Rec, dt?: datetime } };
action "other thing" appliesTo { principal: [User, Group], resource: [Doc] };
`

const POLICIES = [
  'principal.n == 1', 'principal.s == "a"', 'principal.owner == User::"a"', 'principal.set.contains(User::"a")', 'principal.rec.n == 1',
  'principal.rec.o == ip("10.0.0.1")', 'principal.ip == ip("10.0.0.1")', 'principal.dec == decimal("1.0")', 'principal.dt == datetime("2024-01-01T01:00:00Z")',
  'principal.dur == duration("1h")', 'principal.nested.a.b.isIpv4()', 'principal.opt.net == ip("10.0.0.1")', 'principal.color == Color::"red"',
  'principal.ips.containsAll([ip("10.0.0.1")])', 'principal.getTag("t") == 1', 'principal in Team::"a"', 'action in Action::"all"', 'action in Action::"edit"',
  'context.n == 1', 'context.ip == ip("10.0.0.1")', 'context.u == User::"a"', 'context.color == Color::"red"', 'context.ips.contains(ip("10.0.0.1"))',
  'context.rec.n == 1', 'context.dt < datetime("2024-01-01T01:00:00Z")', 'context == {}', 'resource == Color::"red"', 'principal.owner.owner.n > 0',
] // prettier-ignore

/** A case of the one schema that has everything, or of a schema of its own. */
export function typedCase(numbers: readonly number[]): Case {
  const c = new Choices(numbers)
  if (c.once(2)) return ownSchemaCase(c)
  const policies = Object.fromEntries(
    POLICIES.map((body, index) => [`p${index}`, `permit(principal, action, resource) when { ${body} };`]),
  )
  const uid = (type: string): { type: string; id: string } => ({ type, id: c.pick(['a', 'b']) })
  const entities: unknown[] = []
  for (const type of ['User', 'User', 'Group', 'Team', 'Doc', 'NS::Thing', 'Color', 'Action']) {
    if (c.once(2)) continue
    if (type === 'Action') {
      if (!c.once(4)) continue
      const [id, parents] = c.pick([
        ['view', ['edit']],
        ['view', ['edit', 'all']],
        ['view', ['all']],
        ['edit', ['all']],
        ['edit', []],
        ['all', []],
        ['zzz', []],
      ] as const)
      const above = parents.map((parent) => ({ type: 'Action', id: parent }))
      entities.push({ uid: { type, id }, attrs: c.once(20) ? { a: 1 } : {}, parents: above })
      continue
    }
    const above = { User: 'Group', Group: 'Team', 'NS::Thing': 'NS::Kind' }[type]
    const parents =
      above === undefined ? [] : c.list(1, () => uid(c.once(30) ? c.pick(['Team', 'Doc']) : above))
    entities.push({
      uid:
        type === 'Color'
          ? { type, id: c.once(10) ? 'blue' : 'red' }
          : { type: c.once(40) ? 'Zed' : type, id: entities.length % 2 === 0 ? 'a' : 'b' },
      attrs:
        type === 'User' ? user(c) : type === 'NS::Thing' ? { net: ip(c) } : c.once(40) ? { extra: 1 } : {},
      parents,
      ...(type === 'User' && c.once(3)
        ? { tags: { t: value(c, long) } }
        : c.once(40)
          ? { tags: { t: 1 } }
          : {}),
    })
  }
  const requests = Array.from({ length: 1 + c.next(4) }, () => {
    const action = c.pick(['view', 'view', 'view', 'other thing', 'all', 'zzz'])
    return {
      principal: uid(c.once(12) ? c.pick(['Group', 'Zed']) : 'User'),
      action: { type: 'Action', id: action },
      resource: c.once(4) ? { type: 'Color', id: c.pick(['red', 'green', 'blue']) } : uid('Doc'),
      context: action === 'view' ? context(c) : c.once(8) ? { n: 1 } : {},
    }
  })
  return { policies, templates: {}, links: [], entities, requests, schema: SCHEMA }
}

type Json = Readonly<Record<string, unknown>>
type Fields = Readonly<Record<string, Type & Readonly<{ required?: boolean }>>>
/** As Cedar's JSON for schemas has it. */
type Type = Readonly<{ type: string; element?: Type; attributes?: Fields; name?: string }>

const TYPES = ['A', 'B', 'N::C', 'E'] as const
const NAMES = ['a', 'b', '__proto__', 'x y'] as const

/**
 * Random types, common ones among them, in attributes, tags and context, some required; a hierarchy of types and of
 * actions; an enumerated type. Policies compare every attribute with a value of its type.
 */
function ownSchemaCase(c: Choices): Case {
  const common = { T: type(c, 2), R: { type: 'Record', attributes: fields(c, 1) }, 'N::U': type(c, 1) }
  const known: Readonly<Record<string, Type>> = common
  const shape = (): Type => (c.once(4) ? { type: 'R' } : { type: 'Record', attributes: fields(c, 2) })
  const declared = Object.fromEntries(
    TYPES.slice(0, 3).map((name) => [
      name,
      {
        memberOfTypes: c.list(2, () => c.pick(TYPES)),
        // in its own namespace, a name is as good without it
        shape: name === 'N::C' && c.once(8) ? { type: c.pick(['U', 'N::U']) } : shape(),
        ...(c.once(3) ? { tags: type(c, 1) } : {}),
      },
    ]),
  )
  const applies = () => ({
    principalTypes: [c.pick(TYPES), ...c.list(1, () => c.pick(TYPES))],
    resourceTypes: [c.pick(TYPES), ...c.list(1, () => c.pick(TYPES))],
    context: shape(),
  })
  const actions = {
    up: { memberOf: [] },
    go: { memberOf: c.once(2) ? [{ id: 'up' }] : [], appliesTo: applies() },
    run: {
      memberOf: c.once(2) ? [{ id: 'go' }, { type: 'N::Action', id: 'over' }] : [],
      appliesTo: applies(),
    },
  }
  const isCommon = (name: string): boolean => Object.hasOwn(known, name)
  const resolve = ({ type: name, ...rest }: Type): Type => {
    const full = name === 'U' ? 'N::U' : name
    return isCommon(full) ? resolve(known[full] as Type) : { type: name, ...rest }
  }
  const bare = ({ A, B, 'N::C': C }: Json): [Json, Json] => [{ A, B, E: { enum: ['e', 'f'] } }, { C }]
  const [own, inside] = bare(declared)
  const schema = {
    '': { commonTypes: { T: common.T, R: common.R }, entityTypes: own, actions },
    N: { commonTypes: { U: common['N::U'] }, entityTypes: inside, actions: { over: {} } },
  }

  const uid = (name: string = c.pick(TYPES)) => ({
    type: c.once(40) ? 'Zed' : name,
    id: name === 'E' ? c.pick(['e', 'f', c.once(10) ? 'g' : 'e']) : c.pick(['a', 'b']),
  })
  const random = (it: Type): unknown => {
    if (c.once(80)) return c.pick([1, 'a', [], {}, null, 1.5, { __entity: { type: 'A', id: 'a' } }])
    const { type: kind, element, attributes, name } = resolve(it)
    switch (kind) {
      case 'Set':
        return c.list(2, () => random(element as Type))
      case 'Record':
        return membersOf(attributes as Fields)
      case 'Long':
        return long(c)
      case 'String':
        return text(c)
      case 'Boolean':
        return bool(c)
      case 'Entity':
        return c.once(2) ? { __entity: uid(name) } : uid(name)
      default:
        return EXTENSIONS[name as keyof typeof EXTENSIONS](c)
    }
  }
  const membersOf = (of: Fields): Json =>
    Object.fromEntries([
      ...Object.entries(of).flatMap(([name, it]) =>
        (it.required === false ? c.once(2) : c.once(60)) ? [] : [[name, random(it)] as const],
      ),
      ...(c.once(60) ? [['undeclared', 1] as const] : []),
    ])
  const fieldsOf = (it: Type): Fields => resolve(it).attributes ?? {}

  const parentsOf = (types: readonly string[]): unknown[] =>
    c.once(40)
      ? [uid()]
      : types.filter(() => c.once(2)).map((name) => ({ type: name, id: name === 'E' ? 'f' : 'b' }))
  const entities = TYPES.flatMap((name) => {
    if (c.once(4)) return []
    const one = declared[name]
    return [
      {
        uid: { type: name, id: name === 'E' ? (c.once(20) ? 'g' : 'e') : 'a' },
        attrs: one === undefined ? {} : membersOf(fieldsOf(one.shape)),
        parents: parentsOf(one?.memberOfTypes ?? []),
        ...(one !== undefined && 'tags' in one && c.once(2) ? { tags: { t: random(one.tags) } } : {}),
      },
    ]
  })
  const bodies = ['principal in A::"b"', 'resource in N::C::"b"', 'action in Action::"up"', 'action in N::Action::"over"', 'context == {}',
    'principal.hasTag("t") && principal.getTag("t") == 1', 'principal == principal.a', 'principal has a.b', 'context has b.a.b', 'resource is E'] // prettier-ignore
  for (const root of ['principal', 'resource', 'context']) {
    for (const name of NAMES) {
      const wanted = literal(c, resolve(type(c, 1)))
      bodies.push(`${root}[${JSON.stringify(name)}] ${c.pick(['==', '!=', '<', 'in'])} ${wanted}`)
      bodies.push(`${root}[${JSON.stringify(name)}].contains(${wanted})`)
    }
  }
  const requests = Array.from({ length: 1 + c.next(3) }, () => {
    const action = c.pick(['go', 'run', 'up', 'zzz', 'go', 'run'])
    const to = action === 'go' || action === 'run' ? actions[action].appliesTo : undefined
    return {
      principal: uid(to?.principalTypes[0]),
      action: { type: 'Action', id: action },
      resource: uid(to?.resourceTypes[0]),
      context: to === undefined ? {} : membersOf(fieldsOf(to.context)),
    }
  })
  const policies = Object.fromEntries(
    bodies.map((body, index) => [`p${index}`, `permit(principal, action, resource) when { ${body} };`]),
  )
  return { policies, templates: {}, links: [], entities, requests, schema }
}

function type(c: Choices, depth: number): Type {
  if (depth > 0 && c.once(4)) return { type: 'Set', element: type(c, depth - 1) }
  if (depth > 0 && c.once(4)) return { type: 'Record', attributes: fields(c, depth - 1) }
  if (depth > 1 && c.once(4)) return { type: c.pick(['R', 'N::U']) }
  if (c.once(3)) return { type: 'Entity', name: c.pick(TYPES) }
  if (c.once(3)) return { type: 'Extension', name: c.pick(['ipaddr', 'decimal', 'datetime', 'duration']) }
  return { type: c.pick(['Long', 'String', 'Boolean']) }
}

function fields(c: Choices, depth: number): Fields {
  return Object.fromEntries(
    c.list(3, () => [c.pick(NAMES), { ...type(c, depth), ...(c.once(2) ? { required: false } : {}) }]),
  )
}

/** A value of a type as text of a policy. */
function literal(c: Choices, { type: kind, name, element }: Type): string {
  switch (kind) {
    case 'Long':
      return String(c.pick([0, 1]))
    case 'String':
      return '"a"'
    case 'Boolean':
      return 'true'
    case 'Set':
      return `[${literal(c, element as Type)}]`
    case 'Entity':
      return `${name}::"${name === 'E' ? 'e' : 'a'}"`
    case 'Extension':
      return { ipaddr: 'ip("10.0.0.1")', decimal: 'decimal("1.0")', datetime: 'datetime("2024-01-01")', duration: 'duration("1h")' }[name as string] as string // prettier-ignore
    default:
      return '{a: 1}'
  }
}

type Make = (c: Choices) => unknown

/** Something else, now and then. */
const value = (c: Choices, make: Make): unknown =>
  c.once(60) ? c.pick([long, text, ip, user1, decimal, () => [], () => ({})])(c) : make(c)

const long: Make = (c) => c.pick([1, 0, 9007199254740993n])
const text: Make = (c) => c.pick(['a', '', '10.0.0.1'])
const bool: Make = (c) => c.once(2)

function uidOf(type: string, ids: readonly string[]): Make {
  return (c) => {
    const it = { type, id: c.pick(ids) }
    return c.once(2) ? { __entity: it } : it
  }
}
const user1 = uidOf('User', ['a', 'b'])
const color: Make = (c) => uidOf('Color', c.once(20) ? ['blue'] : ['red', 'green'])(c)
const thing = uidOf('NS::Thing', ['a', 'b'])

/** The forms of an extension value: text, a call, an escaped call, one argument or a list. */
function extension(fn: string, args: readonly string[]): Make {
  return (c) => {
    const arg = c.pick(args)
    switch (c.next(5)) {
      case 1:
        return { fn, arg }
      case 2:
        return { fn, args: [arg] }
      case 3:
        return { __extn: { fn, arg } }
      case 4:
        return { __extn: { fn, args: [arg] } }
      default:
        return arg
    }
  }
}
const ip: Make = (c) =>
  extension('ip', c.once(30) ? ['10.0.0.256', ''] : ['10.0.0.1', '10.0.0.0/8', '::1'])(c)
const decimal: Make = (c) => extension('decimal', c.once(30) ? ['1'] : ['1.0', '1.50'])(c)
const duration = extension('duration', ['1h', '60m', '-1d'])
const plainDatetime = extension('datetime', ['2024-01-01', '2024-01-01T01:00:00Z'])
const datetime: Make = (c) => {
  if (!c.once(4)) return plainDatetime(c)
  const call = { fn: 'offset', args: [plainDatetime(c), duration(c)] }
  return c.once(2) ? { __extn: call } : call
}
const EXTENSIONS = { ipaddr: ip, decimal, duration, datetime } as const
const listOf =
  (make: Make): Make =>
  (c) =>
    c.list(2, () => value(c, make))
const rec: Make = (c) => members(c, { n: long }, { o: ip })

const user: Make = (c) =>
  members(
    c,
    { n: long },
    {
      s: text, yes: bool, owner: user1, set: listOf(user1), rec, ip, dec: decimal, dt: datetime, dur: duration,
      nested: (inner) => ({ a: { b: ip(inner) } }), opt: thing, color, ips: listOf(ip),
    }, // prettier-ignore
  ) // prettier-ignore

const context = (c: Choices): Readonly<Record<string, unknown>> =>
  members(c, { n: long }, { ip, u: user1, color, ips: listOf(ip), rec, dt: datetime })

function members(
  c: Choices,
  required: Readonly<Record<string, Make>>,
  optional: Readonly<Record<string, Make>>,
): Readonly<Record<string, unknown>> {
  const fields: [string, unknown][] = []
  for (const [name, make] of Object.entries(required)) if (!c.once(60)) fields.push([name, value(c, make)])
  for (const [name, make] of Object.entries(optional)) if (c.once(4)) fields.push([name, value(c, make)])
  if (c.once(60)) fields.push(['undeclared', 1])
  return Object.fromEntries(fields)
}
