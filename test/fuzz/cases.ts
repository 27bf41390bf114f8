/**
 * Policies, entities and requests out of a list of numbers: each number is a choice, and where the list ends the simplest
 * choice is taken. A shorter list with smaller numbers is therefore a simpler case, which is all that shrinking needs.
 *
 * @module
 */
type Json = Readonly<Record<string, unknown>>
type Uid = Readonly<{ type: string; id: string }>

/** What both evaluators are asked. Integers beyond 2^53 are `bigint`. */
export type Case = Readonly<{
  /** By id, or all in one text. */
  policies: Readonly<Record<string, unknown>> | string
  templates: Readonly<Record<string, unknown>>
  links: readonly Readonly<{ templateId: string; newId: string; values: Readonly<Record<string, Uid>> }>[]
  entities: readonly unknown[]
  requests: readonly Readonly<{ principal: Uid; action: Uid; resource: Uid; context: Json }>[]
  schema?: string | Readonly<Record<string, unknown>>
}>

export class Choices {
  readonly #numbers: readonly number[]
  #at = 0

  constructor(numbers: readonly number[]) {
    this.#numbers = numbers
  }

  /** Below `bound`. */
  next(bound: number): number {
    const number = this.#numbers[this.#at] ?? 0
    this.#at += 1
    return number % bound
  }

  pick<T>(options: readonly T[]): T {
    return options[this.next(options.length)] as T
  }

  /** True once in `times`; false where the list has ended. */
  once(times: number): boolean {
    return this.next(times) === times - 1
  }

  list<T>(most: number, item: () => T): T[] {
    return Array.from({ length: this.next(most + 1) }, item)
  }
}

const TYPES = ['User', 'Group', 'Doc', 'NS::Thing'] as const
const IDS = ['a', 'b', '"q\\', 'é😀'] as const
const ACTIONS: readonly Uid[] = ['view', 'edit', 'all', 'none'].map((id) => ({ type: 'Action', id }))
const UIDS: readonly Uid[] = TYPES.flatMap((type) => IDS.slice(0, 3).map((id) => ({ type, id })))

const kinds = [
  'bool', 'long', 'string', 'entity', 'set', 'record', 'decimal', 'ip', 'datetime', 'duration',
] as const // prettier-ignore
type Kind = (typeof kinds)[number]

/** An attribute has a kind, most of the time; some have names that objects of the host have too. */
const ATTRIBUTES: Readonly<Record<Kind, readonly string[]>> = {
  bool: ['yes', 'constructor'],
  long: ['n', '__proto__'],
  string: ['s', 'toString', 'x y'],
  entity: ['owner', 'e'],
  set: ['set', 'tags'],
  record: ['rec', ''],
  decimal: ['dec'],
  ip: ['ip'],
  datetime: ['dt'],
  duration: ['dur', 'if'],
}

const LONGS: readonly (number | bigint)[] = [
  0, 1, 2, -1, 10, 4096, -7, 9007199254740991, -9007199254740991, 9007199254740992n, 9007199254740993n,
  -9007199254740993n, 9223372036854775807n, -9223372036854775808n, 9223372036854775806n, 3037000500, 4611686018427387904n,
] // prettier-ignore
const STRINGS = [
  '',
  'a',
  'b',
  'ab',
  'a*b',
  'aXb',
  '*',
  '\\',
  '"',
  'é',
  '😀',
  '\n\0',
  '__entity',
  'a\u{300}',
  'aaaaab',
  '1.0',
] as const
const DECIMALS = [
  '0.0', '1.0', '1.00', '-1.5', '-0.0', '0.0001', '1.23456', '1', '.1', '1.', '+1.0', '01.10', '922337203685477.5807',
  '922337203685477.5808', '-922337203685477.5808', '-922337203685477.5809', '1.0 ', '１.0', '-0.5', '99999999999999999999.0', '',
] as const // prettier-ignore
const IPS = [
  '127.0.0.1', '127.0.0.1/8', '127.0.0.0/7', '10.0.0.1', '10.0.0.0/8', '10.1.2.3/32', '0.0.0.0/0', '010.0.0.1', '1.2.3', '1.2.3.4.5',
  '256.0.0.1', '1.2.3.4/33', '1.2.3.4/08', '1.2.3.4/', '1.2.3.4/+8', '1.2.3.4/8/8', '::1', '::1/128', '::1/127', '::', '::/0', 'ff00::', 'ff02::1/8',
  'ff02::1/7', '1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7::', '::2:3:4:5:6:7:8', '1::8', '1::2::3', '1:2:3:4:5:6:7:8::', '::ffff:1.2.3.4', '::FFFF:102:304',
  '00001::', '1:2:3:4:5:6:7', 'ffee::/64', 'ffee::/064', '::1%lo', '224.0.0.1', '224.0.0.0/4', '239.1.1.1/3', '::1/129', ' 1.2.3.4', '1.2.3.4/0', '',
  '0000:0000:0000:0000:0000:0000:0000:0001', '0000:0000:0000:0000:0000:0000:0000:0001/128', '1.2.3.4/00', ':::', ':1', '1:', '1.2.3.04', '1.2.3.4/1000',
] as const // prettier-ignore
const DATETIMES = [
  '1970-01-01', '1970-01-02', '2024-02-29', '2023-02-29', '1900-02-29', '2000-02-29', '1969-12-31T23:59:59.999Z', '2024-01-01T00:00:00Z',
  '2024-01-01T00:00:00.000Z', '2024-01-01T01:00:00+0100', '2024-01-01T01:00:00.5Z', '2024-01-01T01:00:00.500-2359', '2024-01-01T24:00:00Z',
  '2024-01-01T23:60:00Z', '2024-01-01T23:59:60Z', '2024-01-01T23:59:59+2400', '2024-01-01T23:59:59+0060', '0000-01-01', '0000-02-29', '0099-12-31', '9999-12-31T23:59:59.999Z',
  '10000-01-01', '-001-01-01', '2024-1-1', '2024-13-01', '2024-00-01', '2024-01-00', '2024-01-32', '2024-01-01T', '2024-01-01T00:00Z', '2024-01-01T00:00:00',
  '2024-01-01 00:00:00Z', '2024-01-01t00:00:00z', '2024-01-01T00:00:00+00:00', '2024-01-01T00:00:00-0000', '2024-01-01Z', '2024-01-01T00:00:00.0000Z', '', '２024-01-01',
] as const // prettier-ignore
const DURATIONS = [
  '0ms', '1ms', '1s', '1m', '1h', '1d', '-1d', '1d2h3m4s5ms', '1h1d', '1m1m', '', '-', '1', '1.5s', '+1s', '1 s', '-0s', '01s', '106751991167d', '106751991168d',
  '9223372036854775807ms', '9223372036854775808ms', '-9223372036854775808ms', '-9223372036854775809ms', '-106751991167d7h12m55s808ms',
  '106751991167d7h12m55s807ms', '106751991167d7h12m55s808ms', '1ms1s', '--1s', '1D', '00000000000000000000000000001s', '99999999999999999999999d', '1d-1h', '1mss',
] as const // prettier-ignore

/** A case of some policies and requests. */
export function makeCase(numbers: readonly number[]): Case {
  const c = new Choices(numbers)
  const policies: Record<string, unknown> = {}
  for (let index = 0; index <= c.next(6); index += 1)
    policies[c.pick(['p', 'q', 'constructor']) + index] = policy(c, false)
  const templates: Record<string, unknown> = {}
  const links: { templateId: string; newId: string; values: Record<string, Uid> }[] = []
  if (c.once(3)) {
    const template = policy(c, true) as Record<string, Json>
    templates['t'] = template
    for (let index = 0; index <= c.next(3); index += 1) {
      const values: Record<string, Uid> = {}
      for (const slot of slots(template)) values[slot] = c.pick(UIDS)
      links.push({ templateId: 't', newId: `link${index}`, values })
    }
  }
  const entities = entitiesOf(c)
  const requests = Array.from({ length: 1 + c.next(8) }, () => ({
    principal: uid(c, c.pick(UIDS)),
    action: uid(c, c.pick(ACTIONS)),
    resource: uid(c, c.pick(UIDS)),
    context: c.once(200) ? (c.pick(ODD) as Json) : attributes(c, 8),
  }))
  return { policies, templates, links, entities, requests }
}

/** What is no value, or looks like an escape and is none, or the other way round. */
export const ODD: readonly unknown[] = [
  null, 1.5, 2 ** 64, 9223372036854775808n, -9223372036854775809n, '\ud800', undefined, [null], { a: undefined }, { 'a\ud800': 1 },
  { __expr: 'User::"a"' }, { __expr: 1 }, { __entity: { type: 'User' } }, { __entity: { type: 'User', id: 'a', more: 1 } },
  { __entity: { type: 'if', id: 'a' } }, { __entity: { type: 'User', id: 'a' }, b: 1 }, { __entity: 'User::"a"' }, { __entity: null },
  { __extn: { fn: 'nope', arg: '1' } }, { __extn: { fn: 'ip', args: [] } }, { __extn: { fn: 'ip', args: ['::1', '::1'] } },
  { __extn: { fn: 'ip', arg: 1 } }, { __extn: { fn: 'ip', arg: '::1', args: ['::2'] } }, { __extn: { fn: 'ip' } }, { __extn: [] },
  { __extn: { arg: '1' } }, { __extn: { fn: 'isIpv4', arg: { __extn: { fn: 'ip', arg: '::1' } } } }, { __other: 1 }, { type: 'User', id: 'a' },
] // prettier-ignore

/** The name of an entity in one of its forms, and now and then what is none. */
function uid(c: Choices, it: Uid): Uid {
  if (c.once(12)) return { __entity: it } as unknown as Uid
  if (!c.once(250)) return it
  return c.pick<unknown>([
    { ...it, id: '\ud800' },
    ...['', 'if', 'a::', '::a', 'a::in', '1a', ' User', 'User ', 'Us-er', 'é', '__cedar', '__cedar::User', 'a::__x', 'is_', 'A::true'].map((type) => ({ ...it, type })),
    { type: it.type }, { id: it.id }, { ...it, id: 1 }, { ...it, more: 1 }, { __entity: { __entity: it } }, { __entity: it, more: 1 },
    `${it.type}::"${it.id}"`, null, [],
  ]) as Uid // prettier-ignore
}

function slots(template: Readonly<Record<string, Json>>): string[] {
  const text = JSON.stringify([template['principal'], template['resource']])
  return ['?principal', '?resource'].filter((slot) => text.includes(`"${slot}"`))
}

function policy(c: Choices, isTemplate: boolean): Json {
  const principal = isTemplate ? slotHead(c, '?principal') : head(c)
  return {
    effect: c.pick(['permit', 'permit', 'forbid']),
    principal,
    action: actionHead(c),
    resource:
      isTemplate && (principal['op'] === 'All' || c.once(2)) ? slotHead(c, '?resource', true) : head(c),
    conditions: c.list(2, () => ({ kind: c.pick(['when', 'unless']), body: condition(c) })),
  }
}

function head(c: Choices): Json {
  switch (c.next(8)) {
    case 4:
      return { op: '==', entity: c.pick(UIDS) }
    case 5:
      return { op: 'in', entity: c.pick(UIDS) }
    case 6:
      return { op: 'is', entity_type: c.pick(TYPES) }
    case 7:
      return { op: 'is', entity_type: c.pick(TYPES), in: { entity: c.pick(UIDS) } }
    default:
      return { op: 'All' }
  }
}

function slotHead(c: Choices, slot: string, must = false): Json {
  switch (c.next(must ? 3 : 4)) {
    case 0:
      return { op: '==', slot }
    case 1:
      return { op: 'in', slot }
    case 2:
      return { op: 'is', entity_type: c.pick(TYPES), in: { slot } }
    default:
      return { op: 'All' }
  }
}

function actionHead(c: Choices): Json {
  switch (c.next(6)) {
    case 3:
      return { op: '==', entity: c.pick(ACTIONS) }
    case 4:
      return { op: 'in', entity: c.pick(ACTIONS) }
    case 5:
      return { op: 'in', entities: c.list(3, () => c.pick(ACTIONS)) }
    default:
      return { op: 'All' }
  }
}

/** Often a chain that begins as guards do. */
function condition(c: Choices): Json {
  let body = c.once(2) ? guard(c) : expression(c, 'bool', 3)
  for (let more = c.next(3); more > 0; more -= 1) {
    const next = c.once(2) ? guard(c) : expression(c, 'bool', 2)
    body = { [c.pick(['&&', '&&', '||'])]: { left: body, right: next } }
  }
  return body
}

function guard(c: Choices): Json {
  const kind = c.pick(['string', 'bool', 'long', 'entity'] as const)
  const attr = c.pick(ATTRIBUTES[kind])
  const left = { Var: c.pick(['context', 'principal', 'resource', 'action']) }
  const read = { '.': { left, attr } }
  const literal = leaf(c, kind)
  const test = c.once(4)
    ? { contains: { left: { Set: c.list(3, () => leaf(c, kind)) }, right: read } }
    : c.once(2)
      ? { '==': { left: literal, right: read } }
      : { '==': { left: read, right: literal } }
  return c.once(2) ? { '&&': { left: { has: { left, attr } }, right: test } } : test
}

const val = (value: unknown): Json => ({ Value: value })
const ref = (uid: Uid): Json => val({ __entity: { type: uid.type, id: uid.id } })

/** A literal of a kind, well or ill formed. */
function leaf(c: Choices, kind: Kind): Json {
  switch (kind) {
    case 'bool':
      return val(c.once(2))
    case 'long':
      return val(c.pick(LONGS))
    case 'string':
      return val(c.pick(STRINGS))
    case 'entity':
      return c.once(2)
        ? { Var: c.pick(['principal', 'resource', 'action']) }
        : ref(c.once(6) ? c.pick(ACTIONS) : c.pick(UIDS))
    case 'set':
      return c.once(6)
        ? val(c.list(3, () => json(c, c.pick(kinds), 1, false)))
        : { Set: c.list(3, () => leaf(c, c.pick(['long', 'string', 'entity'] as const))) }
    case 'record':
      if (c.once(8)) return val(record(c, 2, () => json(c, c.pick(kinds), 1, false)))
      return c.once(2)
        ? { Var: 'context' }
        : { Record: record(c, 2, () => leaf(c, c.pick(['long', 'string'] as const))) }
    case 'decimal':
      return literal(c, kind, DECIMALS)
    case 'ip':
      return literal(c, kind, IPS)
    case 'datetime':
      return literal(c, kind, DATETIMES)
    case 'duration':
      return literal(c, kind, DURATIONS)
  }
}

function literal(c: Choices, fn: string, texts: readonly string[]): Json {
  const arg = c.pick(texts)
  return c.once(12) ? val({ __extn: { fn, arg } }) : { [fn]: [val(arg)] }
}

function record<T>(c: Choices, most: number, value: () => T): Readonly<Record<string, T>> {
  return Object.fromEntries(c.list(most, () => [name(c, c.pick(kinds)), value()]))
}

const name = (c: Choices, kind: Kind): string => c.pick(ATTRIBUTES[kind])

function expression(c: Choices, wanted: Kind, depth: number): Json {
  const kind = c.once(14) ? c.pick(kinds) : wanted
  if (depth <= 0) return c.once(2) ? leaf(c, kind) : access(c, kind, depth)
  const of = (inner: Kind): Json => expression(c, inner, depth - 1)
  // oxlint-disable-next-line unicorn/no-thenable -- that is how Cedar's form calls it
  if (c.once(12)) return { 'if-then-else': { if: of('bool'), then: of(kind), else: of(kind) } }
  if (c.once(4)) return access(c, kind, depth)
  if (c.once(4)) return leaf(c, kind)
  switch (kind) {
    case 'bool':
      return boolean(c, of)
    case 'long':
      switch (c.next(5)) {
        case 0:
          return { neg: { arg: of('long') } }
        case 4:
          return {
            [c.pick(['toMilliseconds', 'toSeconds', 'toMinutes', 'toHours', 'toDays'])]: [of('duration')],
          }
        default:
          return { [c.pick(['+', '-', '*'])]: { left: of('long'), right: of('long') } }
      }
    case 'set':
      return { Set: c.list(3, () => of(c.pick(kinds))) }
    case 'record':
      return { Record: record(c, 3, () => of(c.pick(kinds))) }
    case 'datetime':
      return c.once(2) ? { offset: [of('datetime'), of('duration')] } : { toDate: [of('datetime')] }
    case 'duration':
      return c.once(2) ? { durationSince: [of('datetime'), of('datetime')] } : { toTime: [of('datetime')] }
    case 'string':
      return { getTag: { left: of('entity'), right: val(c.pick(['t', 'toString', 'none'])) } }
    case 'decimal':
    case 'ip':
      return c.once(3) ? { [kind]: [of('string')] } : leaf(c, kind)
    default:
      return leaf(c, kind)
  }
}

function boolean(c: Choices, of: (kind: Kind) => Json): Json {
  switch (c.next(18)) {
    case 0:
    case 1:
      return { '&&': { left: of('bool'), right: of('bool') } }
    case 2:
    case 3:
      return { '||': { left: of('bool'), right: of('bool') } }
    case 4:
      return { '!': { arg: of('bool') } }
    case 5: {
      const kind = c.pick(kinds)
      return { [c.pick(['==', '!='])]: { left: of(kind), right: of(kind) } }
    }
    case 6:
      return { [c.pick(['<', '<=', '>', '>='])]: { left: of('long'), right: of('long') } }
    case 7: {
      const kind = c.pick(['datetime', 'duration'] as const)
      return { [c.pick(['<', '<=', '>', '>='])]: { left: of(kind), right: of(kind) } }
    }
    case 8:
      return { in: { left: of('entity'), right: of('entity') } }
    case 9:
      return { in: { left: of('entity'), right: { Set: c.list(3, () => of('entity')) } } }
    case 10:
      return { contains: { left: of('set'), right: of(c.pick(kinds)) } }
    case 11:
      return { [c.pick(['containsAll', 'containsAny'])]: { left: of('set'), right: of('set') } }
    case 12:
      return { isEmpty: { arg: of('set') } }
    case 13:
      return { hasTag: { left: of('entity'), right: of('string') } }
    case 14:
      return {
        like: {
          left: of('string'),
          pattern: c.list(4, () => (c.once(2) ? 'Wildcard' : { Literal: c.pick(['a', 'b', '*', 'é', '']) })),
        },
      }
    case 15:
      return c.once(2)
        ? { is: { left: of('entity'), entity_type: c.pick(TYPES) } }
        : { is: { left: of('entity'), entity_type: c.pick(TYPES), in: of('entity') } }
    case 16: {
      const left = c.once(2) ? of('entity') : of('record')
      const path = Array.from({ length: 1 + c.next(3) }, () =>
        name(c, c.pick(['record', 'entity', 'long'] as const)),
      )
      const plain = path.filter((one) => /^[a-z_]+$/i.test(one) && one !== 'if')
      return { has: { left, attr: plain.length > 1 ? plain : (path[0] as string) } }
    }
    default: {
      if (c.once(2)) return { [c.pick(['isIpv4', 'isIpv6', 'isLoopback', 'isMulticast'])]: [of('ip')] }
      if (c.once(2)) return { isInRange: [of('ip'), of('ip')] }
      const operator = c.pick(['lessThan', 'lessThanOrEqual', 'greaterThan', 'greaterThanOrEqual'])
      return { [operator]: [of('decimal'), of('decimal')] }
    }
  }
}

function access(c: Choices, kind: Kind, depth: number): Json {
  const left =
    depth > 0 && c.once(3)
      ? expression(c, c.pick(['record', 'entity'] as const), depth - 1)
      : { Var: c.pick(['context', 'principal', 'resource', 'action']) }
  return { '.': { left, attr: name(c, kind) } }
}

function entitiesOf(c: Choices): unknown[] {
  const entities: unknown[] = []
  const all = [...UIDS, ...ACTIONS]
  const isCyclic = c.once(200)
  for (const [index, name] of all.entries()) {
    if (c.once(4)) continue
    const isAction = name.type === 'Action'
    const above = isAction ? ACTIONS : UIDS
    const parents = c
      .list(2, () => c.pick(above))
      // upwards alone, or else there would be cycles in most cases
      .filter((parent) => isCyclic || all.findIndex((one) => one === parent) > index)
    if (c.once(1_200)) parents.push(c.pick([...UIDS, ...ACTIONS]))
    let entity: Json = { uid: name, attrs: isAction && c.once(2) ? {} : attributes(c, 6), parents }
    if (c.once(1_500)) entity = { ...entity, [c.pick(['uid', 'attrs', 'parents', 'tags'])]: c.pick(ODD) }
    entities.push(
      c.once(3)
        ? { ...entity, tags: record(c, 2, () => json(c, 'string', 1)) }
        : c.once(4)
          ? { ...entity, tags: { t: 'a' } }
          : entity,
    )
    if (c.once(800)) entities.push(c.once(2) ? entity : { ...entity, attrs: {} })
  }
  return entities
}

function attributes(c: Choices, most: number): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    c.list(most, () => {
      const kind = c.pick(kinds)
      return [name(c, kind), json(c, c.once(10) ? c.pick(kinds) : kind, 2)]
    }),
  )
}

/** A value in Cedar's JSON, or now and then an odd one. */
function json(c: Choices, kind: Kind, depth: number, mayBeOdd = true): unknown {
  if (mayBeOdd && c.once(1_500)) return c.pick(ODD)
  const inner = (of: Kind): unknown => json(c, of, depth - 1, mayBeOdd)
  switch (kind) {
    case 'bool':
      return c.once(2)
    case 'long':
      return c.pick(LONGS)
    case 'string':
      return c.pick(STRINGS)
    case 'entity': {
      const { type, id } = c.pick(UIDS)
      return { __entity: { type, id } }
    }
    case 'set':
      return c.list(3, () => inner(depth > 0 ? c.pick(kinds) : 'long'))
    case 'record':
      return record(c, 3, () => inner(depth > 0 ? c.pick(kinds) : 'string'))
    case 'decimal':
      return { __extn: { fn: 'decimal', arg: valid(c, DECIMALS, ['1.0', '-1.5']) } }
    case 'ip':
      return { __extn: { fn: 'ip', arg: valid(c, IPS, ['10.0.0.1', '::1', '10.0.0.0/8']) } }
    case 'datetime': {
      const plain = { __extn: { fn: 'datetime', arg: valid(c, DATETIMES, ['1970-01-02', '2024-02-29']) } }
      return c.once(6) ? { __extn: { fn: 'offset', args: [plain, inner('duration')] } } : plain
    }
    case 'duration':
      return {
        __extn: {
          fn: 'duration',
          arg: valid(c, DURATIONS, ['1h', '-1d', '-9223372036854775807ms', '9223370000000000000ms']),
        },
      }
  }
}

/** Mostly good, since one bad value refuses the whole request. */
function valid(c: Choices, all: readonly string[], good: readonly string[]): string {
  return c.once(150) ? c.pick(all) : c.pick(good)
}
