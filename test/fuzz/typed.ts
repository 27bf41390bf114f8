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

export function typedCase(numbers: readonly number[]): Case {
  const c = new Choices(numbers)
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
