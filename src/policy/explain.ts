/**
 * Why a decision is what it is: the policies that decided, and for a deny what kept the nearest permits from applying,
 * clause by clause, each judged by itself over what evaluation read.
 *
 * @module
 */
import type { Clause, Parsed, Shown } from './clauses.ts'
import { actualOf, clausesOf, headOf, hiddenFrom, judge } from './clauses.ts'
import type { Env } from './engine/closures.ts'
import { Failure } from './engine/values.ts'
import type { SourceFile } from './problems.ts'
import type { Unknown } from './reads.ts'
import { unknownLabel } from './reads.ts'
import type { ClauseResult, Evaluation, Explanation, PolicyInfo, RuleResult } from './types.ts'

/** A policy that can be explained. */
export type Explained = Parsed & Readonly<{ info: PolicyInfo }>

/** What policies were evaluated on. */
export type Situation<P extends Explained> = Readonly<{
  env: Env
  /** Everything that nobody could say, and what of it makes a policy err. */
  unknowns: readonly Unknown[]
  unknownTo: (policy: P) => readonly Unknown[]
  /** Why nothing could be evaluated at all. */
  broken?: string | undefined
}>

/**
 * What an evaluation found, and where to look for what came near; in the order of the set. How many policies are in scope
 * makes no difference to what an explanation costs.
 */
export type Outcome<P extends Explained> = Readonly<{
  decision: Evaluation['decision']
  /** Policies that decided, or failed into the decision. */
  decided: readonly P[]
  /** How many heads match. */
  inScope: number
  /** Permits among those, to be looked at. */
  permits: readonly P[]
  /** Permits on the action, whoever they name; only asked for when none is in scope. */
  onAction: () => Iterable<P>
}>

/** How many permits an explanation names, and how many forbids it shows. */
const NEAREST = 3
const MOST_FIRED = 50

const NONE: readonly never[] = []

/**
 * The explanation of an evaluation. A permit is explained by the permits that gave it; a deny by the forbids that fired,
 * or failed, and by the permits that came nearest. Where a forbid alone stands in the way, nothing is near.
 */
export function explainRules<P extends Explained>(
  outcome: Outcome<P>,
  situation: Situation<P>,
): Omit<Explanation, 'mismatch'> {
  const { decided, inScope } = outcome
  const isDenied = outcome.decision === 'deny'
  return {
    determining: decided.map(placeOf),
    fired: isDenied ? decided.slice(0, MOST_FIRED).map((policy) => whole(policy, situation)) : [],
    nearest: isDenied ? nearestOf(outcome, situation) : [],
    inScope,
  }
}

/** Policies, clause by clause. */
export function examineRules<P extends Explained>(
  policies: readonly P[],
  situation: Situation<P>,
): RuleResult[] {
  return policies.map((policy) => whole(policy, situation))
}

const placeOf = ({ info: { id, file, line, effect } }: Explained) => ({ policy: id, file, line, effect })

function nearestOf<P extends Explained>(
  { permits, onAction }: Outcome<P>,
  situation: Situation<P>,
): RuleResult[] {
  const { env, unknownTo, unknowns, broken } = situation
  const near = new Nearest<P>()
  for (const policy of permits) {
    if (broken !== undefined) {
      near.add(policy, undefined, 1)
      continue
    }
    const hidden = unknowns.length === 0 ? NONE : unknownTo(policy)
    if (near.try(policy, shapeOf(policy).clauses, env, hidden) === 0 && hidden.length === 0) return []
  }
  if (permits.length > 0) return near.list.map(({ policy, judged }) => whole(policy, situation, judged))
  for (const policy of onAction()) near.try(policy, headShape(policy), env, NONE)
  const view = { env, hidden: NONE, unknowns: NONE, broken: undefined }
  return near.list.map(({ policy }) => ({
    ...placeOf(policy),
    clauses: resultsOf(headShape(policy), policy, view, undefined),
  }))
}

type Judged = readonly (boolean | Failure)[]

/** The few with the least in their way, those found first before others. */
class Nearest<P> {
  readonly list: { policy: P; judged: Judged | undefined; count: number }[] = []
  /** From here on it is too many. */
  #most = Infinity

  /** How many clauses do not hold; counted no further than matters. */
  try(policy: P, clauses: readonly Clause[], env: Env, unknowns: readonly Unknown[]): number {
    const judged: (boolean | Failure)[] = []
    let count = 0
    for (const clause of clauses) {
      const one = judge(clause, env)
      judged.push(one)
      if (one === true && (unknowns.length === 0 || hiddenFrom(clause, unknowns).length === 0)) continue
      if ((count += 1) >= this.#most) return count
    }
    this.add(policy, judged, count)
    return count
  }

  add(policy: P, judged: Judged | undefined, count: number): void {
    const { list } = this
    let at = list.length
    while (at > 0 && (list[at - 1]?.count ?? 0) > count) at -= 1
    list.splice(at, 0, { policy, judged, count })
    if (list.length > NEAREST) list.pop()
    if (list.length === NEAREST) this.#most = list[NEAREST - 1]?.count ?? Infinity
  }
}

function whole<P extends Explained>(
  policy: P,
  { env, unknowns, unknownTo, broken }: Situation<P>,
  judged?: Judged,
): RuleResult {
  const hidden = unknowns.length === 0 ? NONE : unknownTo(policy)
  const { id, file, line, effect } = policy.info
  return {
    policy: id,
    file,
    line,
    effect,
    clauses: resultsOf(shapeOf(policy).clauses, policy, { env, hidden, unknowns, broken }, judged),
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

/** What clauses are looked at in: `hidden` is what makes their policy err, of all that is unknown. */
type View = Readonly<{
  env: Env
  hidden: readonly Unknown[]
  unknowns: readonly Unknown[]
  broken: string | undefined
}>

/** `known` is how the clauses were judged already. */
function resultsOf(
  clauses: readonly Clause[],
  policy: Explained,
  view: View,
  known: Judged | undefined,
): ClauseResult[] {
  const { env, hidden, unknowns, broken } = view
  const results: ClauseResult[] = []
  for (let at = 0; at < clauses.length; at += 1) {
    const clause = clauses[at] as Clause
    const { text, line, column, endLine, endColumn } = clause.shown ?? showOf(clause, policy)
    const unknown = hiddenFrom(clause, hidden)
    const judged =
      unknown.length > 0
        ? undefined
        : broken === undefined
          ? (known?.[at] ?? judge(clause, env))
          : new Failure(broken)
    const result: Draft = {
      kind: clause.kind,
      text,
      line,
      column,
      endLine,
      endColumn,
      status:
        judged === undefined ? 'unknown' : judged === true ? 'holds' : judged === false ? 'fails' : 'errors',
      actual: broken === undefined ? actualOf(clause, env, unknowns) : NONE,
    }
    if (judged === undefined) {
      result.message = `${unknown.map((one) => `\`${unknownLabel(one)}\``).join(', ')} is unknown`
    } else if (typeof judged === 'object') result.message = judged.message
    const required = broken === undefined ? clause.required?.(env) : undefined
    if (required !== undefined) result.required = required
    if (clause.parts.length > 0) result.any = resultsOf(clause.parts, policy, view, undefined)
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
    const from = offset < this.#at.offset ? this.#origin : this.#at
    let { line, column } = from
    for (const character of this.#text.slice(from.offset, offset)) {
      if (character === '\n') [line, column] = [line + 1, 1]
      else column += 1
    }
    this.#at = { offset, line, column }
    return this.#at
  }
}
