/**
 * Why a decision is what it is: the policies that decided, and for a deny what kept the nearest permits from applying,
 * clause by clause, each judged by itself over what evaluation read.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import type { CedarValueJson } from '@cedar-policy/cedar-wasm/nodejs'
import type { Json } from '../model/canonical.ts'
import type { Annotations } from './annotations.ts'
import type { PlacedPolicy } from './derive.ts'
import type { EngineAnswer } from './evaluator.ts'
import { EngineFailure, evaluateOnce } from './evaluator.ts'
import type { Expression } from './expression.ts'
import { chainOf, children, readPolicy } from './expression.ts'
import type { Prepared } from './inputs.ts'
import type { Reads } from './reads.ts'
import { entityFieldsNone, isRead, readsOf } from './reads.ts'
import { clauses } from './scan.ts'
import type { Query } from './types.ts'
import { uidText } from './types.ts'
import type { Clause, Parsed, Shown } from './clauses.ts'
import { actualOf, clausesOf, headOf, hiddenFrom, judge } from './clauses.ts'
import type { Env } from './engine/closures.ts'
import type { SourceFile } from './problems.ts'
import type { Unknown } from './reads.ts'
import { unknownLabel } from './reads.ts'
import type { ClauseResult, Evaluation, Explanation, PolicyInfo, RuleResult } from './types.ts'

/** A policy that can be explained. */
export type Explained = Parsed & Readonly<{ info: PolicyInfo }>

export type Situation<P extends Explained> = Readonly<{
  /** Policies whose head matches, in the order of the set. */
  inScope: readonly P[]
  /** Those on the action, whoever they name; only asked for when no permit is in scope. */
  onAction: () => Iterable<P>
  env: Env
  /** Everything that nobody could say, and what of it makes a policy err. */
  unknowns: readonly Unknown[]
  unknownTo: (policy: P) => readonly Unknown[]
  evaluation: Pick<Evaluation, 'decision' | 'determining' | 'errors'>
}>

/** How many permits an explanation looks at before it names the nearest, how many those are, and how many forbids it shows. */
const NEAREST_OF = 50
const NEAREST = 3
const MOST_FIRED = 50

const NONE: readonly never[] = []

/**
 * The explanation of an evaluation. A permit is explained by the permits that gave it; a deny by the forbids that fired,
 * or failed, and by the permits that came nearest. Where a forbid alone stands in the way, nothing is near.
 */
export function explainRules<P extends Explained>(situation: Situation<P>): Omit<Explanation, 'mismatch'> {
  const { inScope, evaluation } = situation
  const decided = decidedBy(evaluation, inScope)
  const isDenied = evaluation.decision === 'deny'
  return {
    determining: decided.map(placeOf),
    fired: isDenied ? decided.slice(0, MOST_FIRED).map((policy) => whole(policy, situation)) : [],
    nearest: isDenied ? nearestOf(situation) : [],
    inScope: inScope.length,
  }
}

function decidedBy<P extends Explained>(
  { determining, errors }: Situation<P>['evaluation'],
  inScope: readonly P[],
): readonly P[] {
  if (determining.length === 0 && errors.length === 0) return NONE
  const deciding = new Set(determining)
  for (const { policy, effect } of errors) if (effect === 'forbid') deciding.add(policy)
  return inScope.filter(({ info }) => deciding.has(info.id))
}

/** Every policy in scope, clause by clause. */
export function examineRules<P extends Explained>(situation: Situation<P>): RuleResult[] {
  return situation.inScope.map((policy) => whole(policy, situation))
}

const placeOf = ({ info: { id, file, line, effect } }: Explained) => ({ policy: id, file, line, effect })

function nearestOf<P extends Explained>(situation: Situation<P>): RuleResult[] {
  const { inScope, onAction, env, unknownTo, unknowns } = situation
  const near = new Nearest<P>()
  let tried = 0
  for (const policy of inScope) {
    if (policy.info.effect !== 'permit') continue
    if ((tried += 1) > NEAREST_OF) break
    const hidden = unknowns.length === 0 ? NONE : unknownTo(policy)
    const count = inTheWay(shapeOf(policy).clauses, env, hidden, near.most)
    if (count === 0 && hidden.length === 0) return []
    near.add(policy, count)
  }
  if (tried > 0) return near.list.map(({ policy }) => whole(policy, situation))
  for (const policy of onAction()) {
    if (policy.info.effect !== 'permit') continue
    if ((tried += 1) > NEAREST_OF) break
    near.add(policy, inTheWay(headShape(policy), env, NONE, near.most))
  }
  return near.list.map(({ policy }) => ({
    ...placeOf(policy),
    clauses: resultsOf(headShape(policy), policy, env, NONE, NONE),
  }))
}

/** The few with the least in their way, those found first before others. */
class Nearest<P> {
  readonly list: { policy: P; count: number }[] = []

  /** From here on it is too many. */
  get most(): number {
    return this.list.length < NEAREST ? Infinity : (this.list.at(-1)?.count ?? Infinity)
  }

  add(policy: P, count: number): void {
    if (count >= this.most) return
    let at = this.list.length
    while (at > 0 && (this.list[at - 1]?.count ?? 0) > count) at -= 1
    this.list.splice(at, 0, { policy, count })
    if (this.list.length > NEAREST) this.list.pop()
  }
}

/** How many clauses do not hold; counted no further than `most`. */
function inTheWay(clauses: readonly Clause[], env: Env, unknowns: readonly Unknown[], most: number): number {
  let count = 0
  for (const clause of clauses) {
    if (judge(clause, env) === true && (unknowns.length === 0 || hiddenFrom(clause, unknowns).length === 0)) {
      continue
    }
    if ((count += 1) >= most) break
  }
  return count
}

function whole<P extends Explained>(policy: P, { env, unknowns, unknownTo }: Situation<P>): RuleResult {
  const hidden = unknowns.length === 0 ? NONE : unknownTo(policy)
  const { id, file, line, effect } = policy.info
  return {
    policy: id,
    file,
    line,
    effect,
    clauses: resultsOf(shapeOf(policy).clauses, policy, env, hidden, unknowns),
  }
}

type Shape = {
  readonly clauses: readonly Clause[]
  head: readonly Clause[] | undefined
  cursor: Cursor | undefined
}

/** What was found out about a policy, for as long as it lives. */
const shapes = new WeakMap<Explained, Shape>()

function shapeOf(policy: Explained): Shape {
  let shape = shapes.get(policy)
  if (shape === undefined) {
    shape = { clauses: clausesOf(policy), head: undefined, cursor: undefined }
    shapes.set(policy, shape)
  }
  return shape
}

function headShape(policy: Explained): readonly Clause[] {
  return (shapeOf(policy).head ??= headOf(policy))
}

type Draft = { -readonly [K in keyof ClauseResult]: ClauseResult[K] }

function resultsOf(
  clauses: readonly Clause[],
  policy: Explained,
  env: Env,
  hidden: readonly Unknown[],
  unknowns: readonly Unknown[],
): ClauseResult[] {
  const results: ClauseResult[] = []
  for (const clause of clauses) {
    const { text, line, column, endLine, endColumn } = clause.shown ?? showOf(clause, policy)
    const unknown = hiddenFrom(clause, hidden)
    const judged = unknown.length > 0 ? undefined : judge(clause, env)
    const result: Draft = {
      kind: clause.kind,
      text,
      line,
      column,
      endLine,
      endColumn,
      status:
        judged === undefined ? 'unknown' : judged === true ? 'holds' : judged === false ? 'fails' : 'errors',
      actual: actualOf(clause, env, unknowns),
    }
    if (judged === undefined) {
      result.message = `${unknown.map((one) => `\`${unknownLabel(one)}\``).join(', ')} is unknown`
    } else if (typeof judged === 'object') result.message = judged.message
    const required = clause.required?.(env)
    if (required !== undefined) result.required = required
    if (clause.parts.length > 0) result.any = resultsOf(clause.parts, policy, env, hidden, unknowns)
    results.push(result)
  }
  return results
}

/** Text and place of a clause, found when it is first shown. */
function showOf(clause: Clause, policy: Explained): Shown {
  const { start, end } = clause.span
  const cursor = (shapeOf(policy).cursor ??= new Cursor(policy.file, policy.slice.start))
  const { line, column } = cursor.place(start)
  const last = cursor.place(end)
  const text = policy.file.text.slice(start, end)
  return (clause.shown = { text, line, column, endLine: last.line, endColumn: last.column })
}

/** Places in a policy, counted from where it begins: a file may be one long line. */
class Cursor {
  readonly #text: string
  readonly #origin: Readonly<{ offset: number; line: number; column: number }>
  #at: Readonly<{ offset: number; line: number; column: number }>

  constructor(file: SourceFile, start: number) {
    this.#text = file.text
    this.#at = this.#origin = { offset: start, ...file.place(start) }
  }

  place(offset: number): Readonly<{ line: number; column: number }> {
    let { offset: from, line, column } = offset < this.#at.offset ? this.#origin : this.#at
    for (const character of this.#text.slice(from, offset)) {
      if (character === '\n') [line, column] = [line + 1, 1]
      else column += 1
    }
    this.#at = { offset, line, column }
    return this.#at
  }
}

type OldExplained = PlacedPolicy & Readonly<{ annotations: Annotations; reads: Reads }>

/** Each condition of the policy, or conjunct of one, by itself. */
export function explainPermit(
  policy: OldExplained,
  query: Query,
  prepared: Prepared,
  unknowns: readonly Unknown[],
): ClauseResult[] {
  const { file, slice } = policy
  const cut = clauses(slice).map(({ kind, span }) => ({
    kind,
    span,
    text: file.text.slice(span.start, span.end),
  }))
  const alone = (text: string) => `permit(principal, action, resource) when { ${text} };`
  const policies = Object.fromEntries(cut.map(({ text }, index) => [String(index), alone(text)]))
  let answer: EngineAnswer
  try {
    answer = evaluateOnce(policies, prepared.request)
  } catch (error) {
    if (!(error instanceof EngineFailure)) throw error
    answer = {
      decision: 'deny',
      reason: [],
      errors: cut.map((_, index) => ({ policy: String(index), message: error.message })),
    }
  }
  return cut.map(({ kind, span, text }, index): ClauseResult => {
    const parsed = parseClause(alone(text))
    const reads = parsed === undefined ? policy.reads : readsOf(parsed.policy, entityFieldsNone)
    const hidden = unknowns.filter((one) => isRead(reads, one))
    const failed = answer.errors.find(({ policy: id }) => id === String(index))?.message
    const isTrue = answer.reason.includes(String(index))
    const message =
      hidden.length > 0
        ? `${hidden.map((one) => `\`${unknownLabel(one)}\``).join(', ')} is unknown`
        : failed?.replace(/^error while evaluating policy `[^`]*`: /, '')
    return {
      kind,
      text,
      ...file.place(span.start),
      ...endOf(file.place(span.end)),
      status:
        hidden.length > 0
          ? 'unknown'
          : message !== undefined
            ? 'errors'
            : isTrue === (kind === 'when')
              ? 'holds'
              : 'fails',
      ...(message === undefined ? {} : { message }),
      actual: parsed === undefined ? [] : actual(parsed.body, query, prepared, unknowns),
    }
  })
}

const endOf = ({ line, column }: { line: number; column: number }) => ({ endLine: line, endColumn: column })

function parseClause(text: string) {
  const answer = cedar.policyToJson(text)
  if (answer.type === 'failure') return undefined
  const policy = readPolicy(answer.json)
  const [condition] = policy.conditions
  return condition === undefined ? undefined : { policy, body: condition.body }
}

/** Values of the attribute accesses in a clause, each once, at most sixteen. */
function actual(
  body: Expression,
  query: Query,
  prepared: Prepared,
  unknowns: readonly Unknown[],
): ClauseResult['actual'] {
  const found = new Map<string, { path: string; value?: Json; unknown?: true }>()
  const visit = (expression: Expression): void => {
    const chain = expression.op === 'attribute' ? chainOf(expression) : undefined
    const tested = expression.op === 'has' ? chainOf(expression.of) : undefined
    const root = chain?.root ?? tested?.root
    const names =
      chain?.names ??
      (tested === undefined ? [] : [...tested.names, ...(expression as { path: readonly string[] }).path])
    if (typeof root === 'string' && root !== 'action' && names.length > 0) {
      const path = [root, ...names].join('.')
      const unknown = unknowns.some((one) => {
        const label = one.kind === 'fact' ? `context.live.${one.name}` : unknownLabel(one)
        return path === label || path.startsWith(`${label}.`) || label.startsWith(`${path}.`)
      })
      const value = unknown ? undefined : lookup(root, names, query, prepared)
      if (!found.has(path))
        found.set(path, {
          path,
          ...(unknown ? { unknown: true as const } : value === undefined ? {} : { value }),
        })
      return
    }
    for (const child of children(expression)) visit(child)
  }
  visit(body)
  return [...found.values()].slice(0, 16)
}

function lookup(
  root: 'principal' | 'resource' | 'context',
  names: readonly string[],
  query: Query,
  { request }: Prepared,
): Json | undefined {
  const attributes = (uid: Readonly<{ type: string; id: string }>): CedarValueJson | undefined => {
    const key = uidText(uid)
    return request.entities.find((entity) => uidText(entity.uid as { type: string; id: string }) === key)
      ?.attrs
  }
  let at: CedarValueJson | undefined = root === 'context' ? request.context : attributes(query[root])
  for (const name of names) {
    if (typeof at !== 'object' || at === null || Array.isArray(at)) return undefined
    const entity =
      '__entity' in at ? attributes((at as { __entity: { type: string; id: string } }).__entity) : at
    if (typeof entity !== 'object' || entity === null || !Object.hasOwn(entity, name)) return undefined
    at = (entity as Readonly<Record<string, CedarValueJson>>)[name]
  }
  return at === undefined ? undefined : natural(at)
}

/** A Cedar value as people write it. */
function natural(value: CedarValueJson): Json {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(natural)
  if ('__entity' in value) return uidText((value as { __entity: { type: string; id: string } }).__entity)
  if ('__extn' in value) return natural((value as { __extn: { arg: CedarValueJson } }).__extn.arg)
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, natural(member)]))
}
