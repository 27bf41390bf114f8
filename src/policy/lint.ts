/**
 * What is valid and still looks wrong: policies that permit more than they seem to, or that do nothing.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import { parseDuration } from '../model/time.ts'
import type { Expr } from './engine/tree.ts'
import { walk } from './engine/tree.ts'
import { EntityRef } from './engine/values.ts'
import type { Formula } from './logic.ts'
import { formula, implies, judge } from './logic.ts'
import type { PlacedTree } from './placed.ts'
import { conjuncts, headSpan, placedTrees } from './placed.ts'
import type { Problem, ProblemCode, Span } from './problems.ts'
import { closest, suggest, tidy } from './problems.ts'
import type { EntityData, EntityUid, HeadConstraint, PolicyInfo, PolicySet } from './types.ts'
import { sameUid, uidText } from './types.ts'

export type LintCode = Extract<ProblemCode, `L${string}`>

/** The names that `@lint_ignore` takes. */
export const lintNames: Readonly<Record<LintCode, string>> = {
  L001: 'always-true',
  L002: 'never-true',
  L003: 'shadowed',
  L004: 'no-ttl',
  L005: 'self-approval',
  L006: 'wildcard-action',
  L007: 'wildcard-principal',
  L008: 'unknown-name',
  L009: 'open-administration',
  L010: 'unknown-ignore-forbid',
  L011: 'unused-pool',
  L012: 'unreachable-approval',
  L013: 'unknown-lint-rule',
}

/** Every condition of a policy by itself: all of them hold where it applies. */
type Rule = PlacedTree & Readonly<{ parts: readonly Formula[] }>

type Say = (code: LintCode, rule: Rule, span: Span | undefined, message: string, hint?: string) => void

/**
 * Findings in a set that loaded, all of them warnings. Without an inventory, nothing is said about who there is.
 *
 * A policy says with `@lint_ignore("wildcard-action")` that a finding is meant.
 */
export function lint(set: PolicySet, inventory: readonly EntityData[] = []): Problem[] {
  const rules = rulesOf(set)
  const problems: Problem[] = []
  const ignored = new Map(rules.map((rule) => [rule, ignoredBy(rule, problems)]))
  const say: Say = (code, rule, span, message, hint) => {
    if (ignored.get(rule)?.has(code) === true) return
    problems.push(rule.file.problem(code, span ?? rule.part, message, { hint, severity: 'warning' }))
  }
  const world = worldOf(inventory)
  for (const rule of rules) {
    conditions(rule, say)
    wildcards(rule, say)
    ceiling(rule, world, say)
    ignoresUnknown(rule, say)
    names(rule, world, set, say)
  }
  shadows(rules, world, say)
  approvals(rules, set, world, say)
  return tidy(problems)
}

function rulesOf(set: PolicySet): Rule[] {
  return placedTrees(set).map((placed) => ({
    ...placed,
    parts: conjuncts(placed.tree).map(({ kind, body }) => formula(body, kind === 'when')),
  }))
}

function ignoredBy(rule: Rule, problems: Problem[]): ReadonlySet<LintCode> {
  const codes = new Set<LintCode>()
  const given = rule.info.annotations['lint_ignore']
  if (given === undefined) return codes
  for (const word of given.split(/[\s,]+/u).filter((one) => one !== '')) {
    const found = (Object.keys(lintNames) as LintCode[]).find(
      (code) => code === word.toUpperCase() || lintNames[code] === word,
    )
    if (found !== undefined) codes.add(found)
    else {
      const hint = suggest(word, Object.values(lintNames), 'rules')
      const span = annotationSpan(rule, 'lint_ignore') ?? rule.part
      problems.push(
        rule.file.problem('L013', span, `unknown lint rule \`${word}\``, { hint, severity: 'warning' }),
      )
    }
  }
  return codes
}

// places

function annotationSpan({ part: { tokens } }: Rule, name: string): Span | undefined {
  for (let at = 0; tokens[at]?.text === '@';) {
    const [mark, word] = [tokens[at], tokens[at + 1]]
    const valued = tokens[at + 2]?.text === '('
    const last = valued ? tokens[at + 4] : word
    if (mark === undefined || last === undefined) return undefined
    if (word?.text === name) return { start: mark.start, end: last.end }
    at += valued ? 5 : 2
  }
  return undefined
}

function effectToken({ part: { tokens }, info }: Rule): Span | undefined {
  let at = 0
  while (tokens[at]?.text === '@') at += tokens[at + 2]?.text === '(' ? 5 : 2
  return tokens[at]?.text === info.effect ? tokens[at] : undefined
}

function* everywhere({ tree }: Rule): Generator<Expr> {
  for (const { body } of tree.conditions) yield* walk(body)
}

/** `['proof', 'approvals']` for `context.proof.approvals`. */
function contextPath(expr: Expr): string[] | undefined {
  const path: string[] = []
  let at = expr
  while (at.op === 'attribute') {
    path.unshift(at.name)
    at = at.of
  }
  return at.op === 'variable' && at.name === 'context' ? path : undefined
}

const mentionsPrincipal = (rule: Rule): boolean =>
  [...everywhere(rule)].some((expr) => expr.op === 'variable' && expr.name === 'principal')

const isOpen = ({ eq, in: group }: HeadConstraint): boolean => eq === undefined && group === undefined

const placeOf = ({ info: { id, file, line } }: Rule): string =>
  id === `${file}:${line}` ? `\`${id}\`` : `\`${id}\` (${file}:${line})`

// L001, L002

function conditions(rule: Rule, say: Say): void {
  let constant = false
  for (const { kind, body } of rule.tree.conditions) {
    const verdict = judge([formula(body)])
    if (verdict !== undefined) {
      constant = true
      const useless = (verdict === 'always') === (kind === 'when')
      say(
        useless ? 'L001' : 'L002',
        rule,
        body.span,
        verdict === 'always' ? 'this condition always holds' : 'this condition never holds',
        useless
          ? kind === 'when'
            ? 'it restricts nothing: remove it, or say what must hold'
            : 'it excludes nothing: remove it, or say what must not hold'
          : 'the policy can never apply',
      )
    } else parts(rule, body, say)
  }
  if (!constant && rule.parts.length > 1 && judge(rule.parts) === 'never')
    say('L002', rule, effectToken(rule), 'the conditions of this policy contradict each other')
}

/** Operands of `&&` and `||` that decide nothing by themselves. */
function parts(rule: Rule, expr: Expr, say: Say): void {
  if (expr.op !== 'and' && expr.op !== 'or') return
  for (const item of expr.items) {
    const verdict = judge([formula(item)])
    if (verdict === undefined) parts(rule, item, say)
    else if (verdict === 'always')
      say('L001', rule, item.span, 'this part always holds', 'it restricts nothing')
    else say('L002', rule, item.span, 'this part never holds', 'it adds nothing')
  }
}

// L006, L007, L009

function wildcards(rule: Rule, say: Say): void {
  const { info } = rule
  if (info.effect !== 'permit') return
  const { principal, action } = info.scope
  if (action.any)
    say(
      'L006',
      rule,
      headSpan(rule, 'action'),
      'this permits every action, also those to come',
      'name them: `action in [Action::"…"]`',
    )
  if (!info.governsWrit) {
    if (isOpen(principal) && principal.is === undefined && rule.tree.conditions.length === 0)
      say('L007', rule, headSpan(rule, 'principal'), 'this permits everybody, without a condition', 'say who')
    else if (isOpen(principal) && principal.is === undefined && rule.parts.every(({ key }) => ofTask(key)))
      say(
        'L007',
        rule,
        headSpan(rule, 'principal'),
        'this permits everybody who declares a task, and everybody may',
        'say who',
      )
    return
  }
  const names = action.any ? [] : action.oneOf.map(({ id }) => id).filter((id) => id !== 'approve')
  if (names.length > 0 && isOpen(principal) && !mentionsPrincipal(rule))
    say(
      'L009',
      rule,
      headSpan(rule, 'principal'),
      `everybody may ${names.join(', ')}`,
      'name a group: `principal in Group::"…"`',
    )
}

/** Whether a condition looks at nothing but the task, which is what its subject says of it. */
function ofTask(key: string): boolean {
  const rest = key.replaceAll(/context\."live"\."task"|has\(context\."live",\["task"[^\]]*\]\)/gu, '')
  return rest !== key && !/\b(?:context|principal|action|resource)\b/u.test(rest)
}

// L004

const READS = /(?:^|[^a-z])(?:read|get|list|ls|view|show|search|describe|query|watch|export)$/iu
const SENSITIVE = 3

function ceiling(rule: Rule, world: World, say: Say): void {
  const { info } = rule
  const { action } = info.scope
  if (info.effect !== 'permit' || info.governsWrit || action.any) return
  if (info.annotations['ttl'] !== undefined || action.oneOf.every(({ id }) => READS.test(id))) return
  const { approvals, justification, reauth } = info.reads
  const asks = justification || reauth || approvals.size > 0
  if (!asks && !isSensitive(rule, world)) return
  say(
    'L004',
    rule,
    effectToken(rule),
    asks ? 'this permit needs evidence and has no `@ttl`' : 'this permits a sensitive act and has no `@ttl`',
    'say how long it lives at most: `@ttl("10m")`',
  )
}

/** Whether it reaches sensitivity 3: it says so, or the inventory has such a thing that it could be about. */
function isSensitive(rule: Rule, world: World): boolean {
  const least = (bound: number): Formula =>
    formula({
      op: 'binary',
      name: '>=',
      left: { op: 'attribute', of: { op: 'variable', name: 'resource' }, name: 'sensitivity' },
      right: { op: 'literal', value: bound },
    })
  if (implies(rule.parts, least(SENSITIVE))) return true
  const { resource } = rule.info.scope
  if (resource.eq === undefined && resource.in === undefined && resource.is === undefined) return false
  return world.entities.some(({ uid, attrs }) => {
    const { sensitivity } = attrs
    if (typeof sensitivity !== 'number' || sensitivity < SENSITIVE || !matches(resource, uid, world))
      return false
    const is = formula({
      op: 'binary',
      name: '==',
      left: { op: 'attribute', of: { op: 'variable', name: 'resource' }, name: 'sensitivity' },
      right: { op: 'literal', value: sensitivity },
    })
    return judge([...rule.parts, is]) !== 'never'
  })
}

// L010

function ignoresUnknown(rule: Rule, say: Say): void {
  if (rule.info.effect !== 'forbid' || rule.info.annotations['unknown_ignore'] === undefined) return
  say(
    'L010',
    rule,
    annotationSpan(rule, 'unknown_ignore'),
    'this forbid is left out while what it reads is unknown',
    'a source that is down then permits; remove `@unknown_ignore`',
  )
}

// who there is

type World = Readonly<{
  entities: readonly EntityData[]
  /** Every name the inventory says, as an entity, a parent or an attribute, by `uidText`. */
  named: ReadonlySet<string>
  types: ReadonlySet<string>
  /** An entity and everything above it. */
  above(uid: EntityUid): ReadonlySet<string>
}>

function worldOf(entities: readonly EntityData[]): World {
  const parents = new Map(entities.map((entity) => [uidText(entity.uid), entity.parents]))
  const named = new Set<string>()
  const note = (value: Json | undefined): void => {
    if (typeof value === 'string') named.add(value)
    else if (Array.isArray(value)) value.forEach(note)
    else if (typeof value === 'object' && value !== null) {
      const { type, id } = value as Record<string, Json>
      if (typeof type === 'string' && typeof id === 'string') named.add(uidText({ type, id }))
      Object.values(value).forEach(note)
    }
  }
  for (const { uid, attrs, parents: above } of entities) {
    named.add(uidText(uid))
    for (const parent of above) named.add(uidText(parent))
    Object.values(attrs).forEach(note)
  }
  const lines = new Map<string, ReadonlySet<string>>()
  return {
    entities,
    named,
    types: new Set(entities.map(({ uid }) => uid.type)),
    above(uid) {
      const key = uidText(uid)
      const before = lines.get(key)
      if (before !== undefined) return before
      const line = new Set([key])
      for (const name of line) for (const parent of parents.get(name) ?? []) line.add(uidText(parent))
      lines.set(key, line)
      return line
    },
  }
}

function matches({ eq, is, in: group }: HeadConstraint, uid: EntityUid, world: World): boolean {
  if (eq !== undefined && !sameUid(eq, uid)) return false
  if (is !== undefined && is !== uid.type) return false
  return group === undefined || world.above(uid).has(uidText(group))
}

// L008

type Mention = Readonly<{ uid: EntityUid; below: boolean; span: Span | undefined }>

function mentionsOf(rule: Rule): Mention[] {
  const found: Mention[] = []
  for (const side of ['principal', 'resource'] as const) {
    const { eq, in: group } = rule.info.scope[side]
    const span = headSpan(rule, side)
    if (eq !== undefined) found.push({ uid: eq, below: false, span })
    if (group !== undefined) found.push({ uid: group, below: true, span })
  }
  const groups = new Set<Expr>()
  for (const expr of everywhere(rule)) {
    const right =
      expr.op === 'binary' && expr.name === 'in' ? expr.right : expr.op === 'is' ? expr.in : undefined
    if (right !== undefined) for (const item of right.op === 'set' ? right.items : [right]) groups.add(item)
    if (expr.op === 'literal' && expr.value instanceof EntityRef) {
      const { type, id } = expr.value
      found.push({ uid: { type, id }, below: groups.has(expr), span: expr.span })
    }
  }
  return found.filter(({ uid: { type } }) => type !== 'Action' && !type.endsWith('::Action'))
}

function names(rule: Rule, world: World, set: PolicySet, say: Say): void {
  if (world.entities.length === 0) return
  for (const { uid, below, span } of mentionsOf(rule)) {
    const key = uidText(uid)
    if (world.named.has(key) || uid.type === 'Writ::System') continue
    // the validator knows every id of an enumerated type
    if (
      new RegExp(`^\\s*entity [^;]*\\b${uid.type.split('::').at(-1) ?? ''}\\b[^;]* enum `, 'mu').test(
        set.schemaText,
      )
    )
      continue
    const known = [...world.named].filter((name) => name.startsWith(`${uid.type}::"`))
    const meant = closest(
      uid.id,
      known.map((name) => JSON.parse(name.slice(uid.type.length + 2)) as string),
    )
    const like = meant === undefined ? undefined : uidText({ type: uid.type, id: meant })
    // whoever may administer Writ is often named before there is anybody: only a slip of the pen is told
    if (rule.info.governsWrit && like === undefined) continue
    // what is not registered can still be named by itself, unless its kind is kept in the inventory
    if (!below && !world.types.has(uid.type)) continue
    const message = below ? `nothing in the inventory is in \`${key}\`` : `\`${key}\` is not in the inventory`
    say('L008', rule, span, message, like === undefined ? undefined : `did you mean \`${like}\`?`)
  }
}

// L003

const SAME_HEAD_MOST = 64

function shadows(rules: readonly Rule[], world: World, say: Say): void {
  const index = new Map<string, Rule[]>()
  for (const rule of rules) {
    const { action, principal, resource } = rule.info.scope
    for (const name of action.any ? ['*'] : action.oneOf.map(uidText)) {
      const key = [rule.info.effect, name, headKey(principal), headKey(resource)].join('\n')
      const known = index.get(key) ?? []
      if (known.push(rule) === 1) index.set(key, known)
    }
  }
  const order = new Map(rules.map((rule, at) => [rule, at]))
  for (const rule of rules) {
    const by = shadowOf(rule, index, order, world)
    if (by === undefined) continue
    const { other, same } = by
    const sees = placeOf(other)
    if (other.info.effect !== rule.info.effect)
      say('L003', rule, effectToken(rule), `the forbid ${sees} overrules all that this permits`)
    else if (same) say('L003', rule, effectToken(rule), `this says the same as ${sees}`, 'remove one')
    else if (rule.info.effect === 'forbid')
      say('L003', rule, effectToken(rule), `${sees} forbids all of this already`, 'remove one')
    else if (asksMore(rule, other))
      say(
        'L003',
        rule,
        effectToken(rule),
        `${sees} permits all of this without asking for it`,
        'narrow the broader one, or what this asks for is never needed',
      )
    else say('L003', rule, effectToken(rule), `${sees} permits all of this already`, 'remove one')
  }
}

type Shadow = Readonly<{ other: Rule; same: boolean }>

function shadowOf(
  rule: Rule,
  index: ReadonlyMap<string, readonly Rule[]>,
  order: ReadonlyMap<Rule, number>,
  world: World,
): Shadow | undefined {
  const { action, principal, resource } = rule.info.scope
  const [first] = action.any ? [] : action.oneOf
  const actions = [...(first === undefined ? [] : [uidText(first)]), ...(rule.info.governsWrit ? [] : ['*'])]
  const effects = rule.info.effect === 'permit' ? ['permit', 'forbid'] : ['forbid']
  let tries = 0
  for (const effect of effects) {
    for (const name of actions) {
      for (const who of headKeysAbove(principal, world)) {
        for (const what of headKeysAbove(resource, world)) {
          for (const other of index.get([effect, name, who, what].join('\n')) ?? []) {
            if (other === rule) continue
            if (++tries > SAME_HEAD_MOST) return undefined
            if (!covers(other, rule, world)) continue
            const same = effect === rule.info.effect && covers(rule, other, world)
            // of two that say the same, the later one is told
            if (same && (order.get(other) ?? 0) > (order.get(rule) ?? 0)) continue
            if (effect === rule.info.effect && tightens(rule, other) && !asksMore(rule, other)) continue
            return { other, same: same && !tightens(other, rule) }
          }
        }
      }
    }
  }
  return undefined
}

function headKey({ eq, is, in: group }: HeadConstraint): string {
  if (eq !== undefined) return `== ${uidText(eq)}`
  if (group !== undefined) return `in ${uidText(group)}`
  return is === undefined ? '*' : `is ${is}`
}

/** Keys of all heads that could match at least what this one does. */
function headKeysAbove({ eq, is, in: group }: HeadConstraint, world: World): string[] {
  const type = is ?? eq?.type
  const below = eq ?? group
  return [
    ...(eq === undefined ? [] : [`== ${uidText(eq)}`]),
    ...(below === undefined ? [] : [...world.above(below)].map((name) => `in ${name}`)),
    ...(type === undefined ? [] : [`is ${type}`]),
    '*',
  ]
}

/** Whether `broad` applies wherever `narrow` does. */
function covers(broad: Rule, narrow: Rule, world: World): boolean {
  const [all, some] = [broad.info.scope, narrow.info.scope]
  if (!all.action.any) {
    const within = all.action.oneOf
    if (some.action.any || !some.action.oneOf.every((one) => within.some((uid) => sameUid(uid, one))))
      return false
    if (all.action.exact && !some.action.exact) return false
  } else if (narrow.info.governsWrit) return false
  if (!headCovers(all.principal, some.principal, world) || !headCovers(all.resource, some.resource, world))
    return false
  // what an unknown fact does to one of them it must do to the other
  if ((broad.info.annotations['unknown_ignore'] ?? '') !== (narrow.info.annotations['unknown_ignore'] ?? ''))
    return false
  if (
    narrow.info.effect === 'forbid' &&
    'explain' in narrow.info.annotations !== 'explain' in broad.info.annotations
  )
    return false
  const given = [
    ...narrow.parts,
    ...headParts('principal', some.principal),
    ...headParts('resource', some.resource),
  ]
  return broad.parts.every((part) => implies(given, part))
}

function headCovers(all: HeadConstraint, some: HeadConstraint, world: World): boolean {
  if (all.eq !== undefined && (some.eq === undefined || !sameUid(all.eq, some.eq))) return false
  if (all.is !== undefined && all.is !== (some.is ?? some.eq?.type)) return false
  if (all.in === undefined) return true
  const below = some.eq ?? some.in
  return below !== undefined && world.above(below).has(uidText(all.in))
}

function headParts(name: 'principal' | 'resource', { eq, is, in: group }: HeadConstraint): Formula[] {
  const of: Expr = { op: 'variable', name }
  const entity = ({ type, id }: EntityUid): Expr => ({ op: 'literal', value: new EntityRef(type, id) })
  return [
    ...(eq === undefined ? [] : [formula({ op: 'binary', name: '==', left: of, right: entity(eq) })]),
    ...(is === undefined ? [] : [formula({ op: 'is', of, type: is, in: undefined })]),
    ...(group === undefined ? [] : [formula({ op: 'binary', name: 'in', left: of, right: entity(group) })]),
  ]
}

function asksMore(rule: Rule, than: Rule): boolean {
  const [mine, other] = [rule.info.reads, than.info.reads]
  return (
    (mine.justification && !other.justification) ||
    (mine.reauth && !other.reauth) ||
    [...mine.approvals.keys()].some((pool) => !other.approvals.has(pool))
  )
}

/** Whether the obligations of `rule` are stricter in anything: where both apply, the strictest count. */
function tightens(rule: Rule, than: Rule): boolean {
  const [mine, other] = [rule.info.annotations, than.info.annotations]
  const less = (name: string, read: (text: string) => number | undefined): boolean => {
    const [a, b] = [mine[name], other[name]].map((text) => (text === undefined ? undefined : read(text)))
    return a !== undefined && (b === undefined || a < b)
  }
  const notified = new Set((other['notify'] ?? '').split(' '))
  return (
    less('ttl', parseDuration) ||
    less('review', parseDuration) ||
    less('uses', Number) ||
    (mine['binding'] === 'attempt' && other['binding'] === 'task') ||
    (mine['notify'] ?? '').split(' ').some((name) => name !== '' && !notified.has(name))
  )
}

// L005, L011, L012

function approvals(rules: readonly Rule[], set: PolicySet, world: World, say: Say): void {
  const ordinary = rules.filter(({ info }) => !info.governsWrit)
  const approving = rules
    .filter(({ info }) => info.effect === 'permit' && approves(info))
    .map((rule) => ({ rule, pools: poolsGiven(rule, set) }))
  const asked = new Set(ordinary.flatMap(({ info }) => [...info.reads.approvals.keys()]))
  const people = world.entities.filter(({ uid }) => uid.type === 'Person')
  for (const { rule, pools } of approving) {
    const { principal } = rule.info.scope
    const names = [...pools.keys()]
    if (isOpen(principal) && !mentionsPrincipal(rule)) {
      const what = names.map((name) => `\`${name}\``).join(', ')
      say(
        'L005',
        rule,
        headSpan(rule, 'principal'),
        `everybody may give approvals of ${what}`,
        'name a group',
      )
      continue
    }
    if (mentionsPrincipal(rule)) continue
    const own = ordinary.find(
      (other) =>
        other.info.effect === 'permit' &&
        names.some((name) => other.info.reads.approvals.has(name)) &&
        typesMeet(rule.info.scope.resource, other.info.scope.resource) &&
        meets(principal, other.info.scope.principal, people, world) &&
        !mentionsPrincipal(other),
    )
    if (own !== undefined)
      say(
        'L005',
        rule,
        headSpan(rule, 'principal'),
        `those who need this approval for ${placeOf(own)} may give it to each other`,
        'name another group, or exclude those who ask with `unless { principal in … }`',
      )
  }
  const told = new Set<string>()
  for (const { rule, pools } of approving) {
    for (const [name, span] of pools) {
      if (span === undefined || asked.has(name) || told.has(name)) continue
      told.add(name)
      say(
        'L011',
        rule,
        span,
        `no policy asks for an approval of \`${name}\``,
        closestOf(name, asked) ?? `ask with \`context.proof.approvals.${name} >= 1\``,
      )
    }
  }
  if (people.length === 0) return
  const givers = new Map<string, Set<EntityData>>()
  for (const { rule, pools } of approving) {
    const some = people.filter(({ uid }) => matches(rule.info.scope.principal, uid, world))
    for (const pool of pools.keys()) givers.set(pool, new Set([...(givers.get(pool) ?? []), ...some]))
  }
  for (const rule of ordinary) {
    for (const [pool, counts] of rule.info.reads.approvals) {
      // whoever reads all of them asks for none in particular
      const span = poolRead(rule, pool)
      if (span === undefined) continue
      const there = givers.get(pool)?.size ?? 0
      const wanted = counts.find((count) => count > 0) ?? 1
      if (there === 0) say('L012', rule, span, `nobody in the inventory can give an approval of \`${pool}\``)
      else if (there < wanted && rule.info.effect === 'permit') {
        const who = there === 1 ? 'one person' : `${there} people`
        say(
          'L012',
          rule,
          span,
          `${wanted} approvals of \`${pool}\`, and ${who} in the inventory can give one`,
        )
      }
    }
  }
}

const closestOf = (name: string, known: Iterable<string>): string | undefined => {
  const meant = closest(name, known)
  return meant === undefined ? undefined : `did you mean \`${meant}\`?`
}

function approves({ scope: { action } }: PolicyInfo): boolean {
  return !action.any && action.oneOf.some(({ type, id }) => type === 'Writ::Action' && id === 'approve')
}

/** The pools that a permit on approving names, each with its place; all of them if it names none. */
function poolsGiven(rule: Rule, set: PolicySet): ReadonlyMap<string, Span | undefined> {
  const pools = new Map<string, Span | undefined>()
  const isPool = (expr: Expr): boolean => contextPath(expr)?.join('.') === 'pool'
  const add = (expr: Expr): void => {
    if (expr.op === 'literal' && typeof expr.value === 'string') pools.set(expr.value, expr.span)
    if (expr.op === 'set') expr.items.forEach(add)
  }
  for (const expr of everywhere(rule)) {
    if (expr.op !== 'binary' || (expr.name !== '==' && expr.name !== 'contains')) continue
    if (isPool(expr.left)) add(expr.right)
    else if (isPool(expr.right)) add(expr.left)
  }
  return pools.size > 0 ? pools : new Map(set.pools.map((name) => [name, undefined]))
}

function poolRead(rule: Rule, pool: string): Span | undefined {
  for (const expr of everywhere(rule)) {
    const path = contextPath(expr)
    if (path?.length === 3 && path[0] === 'proof' && path[1] === 'approvals' && path[2] === pool)
      return expr.span
  }
  return undefined
}

/** Whether those whom one head names may be those whom the other does, as far as the inventory knows people. */
function meets(a: HeadConstraint, b: HeadConstraint, people: readonly EntityData[], world: World): boolean {
  const [x, y] = [a.eq ?? a.in, b.eq ?? b.in]
  if (x === undefined || y === undefined) return false
  const both = people.filter(({ uid }) => matches(a, uid, world) && matches(b, uid, world)).length
  const nested = world.above(x).has(uidText(y)) || world.above(y).has(uidText(x))
  // of two groups that have nothing to do with each other it takes two members of both
  return nested ? people.length === 0 || both > 0 : both > 1
}

function typesMeet(a: HeadConstraint, b: HeadConstraint): boolean {
  const [x, y] = [a.is ?? a.eq?.type, b.is ?? b.eq?.type]
  return x === undefined || y === undefined || x === y
}
